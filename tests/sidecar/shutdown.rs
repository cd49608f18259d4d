//! The end of a process and the start after it: SIGTERM under load, the end of patience, and the socket that a killed
//! run left behind.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hotlist::encoding::envelope::OTLP;
use hotlist::encoding::otlp::{render_record, request_of};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::client::{Connection, export};
use crate::next_hop::{Mood, NextHop};
use crate::process::{Hotlist, PATIENCE, Scene};

fn event(id: usize) -> Vec<u8> {
    request_of([(1, &json!({ "id": id, "source": { "ip": "192.0.2.1" } }))])
}

fn ids(next_hop: &NextHop) -> Vec<usize> {
    let mut ids = Vec::new();
    for request in next_hop.take() {
        let message = request.message();
        OTLP.records(&message, |span| {
            let event: Value = serde_json::from_slice(&render_record(&message[span.record.payload()])).unwrap();
            ids.push(usize::try_from(event["id"].as_u64().unwrap()).unwrap());
        })
        .unwrap();
    }
    ids.sort_unstable();
    ids
}

/// Asks again until the readiness probe says so.
async fn until_ready_is(hotlist: &Hotlist, wanted: u16) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (status, body) = hotlist.admin("/readyz?verbose").await;
        if status == wanted {
            return body;
        }
        assert!(Instant::now() < deadline, "/readyz stays {status}: {body}");
    }
}

/// Scenario: SIGTERM while every client waits for a slow next hop. Guarantee: readiness goes off while the process
/// lives and finishes, new connections are refused, each request in flight is acknowledged once the next hop has
/// answered, everything acknowledged is there, and the exit code is 0.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_to_end_finishes_what_is_in_flight() {
    const CLIENTS: usize = 8;
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["198.51.100.23"]);
    let mut hotlist = Hotlist::start(&scene.readme(&next_hop.endpoint));
    until_ready_is(&hotlist, 200).await;
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let (count, mut progress) = watch::channel(0);
    let count = Arc::new(count);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (address, acknowledged, count) = (hotlist.address(), Arc::clone(&acknowledged), Arc::clone(&count));
            tokio::spawn(async move {
                let mut id = client;
                // The first refused connection ends the client: nothing is in flight then.
                while let Ok(answer) = export(&address, &event(id)).await {
                    assert_eq!(answer.status, 0, "{answer:?}");
                    acknowledged.lock().unwrap().push(id);
                    count.send_modify(|count| *count += 1);
                    id += CLIENTS;
                }
            })
        })
        .collect();
    tokio::time::timeout(PATIENCE, progress.wait_for(|count| *count >= 10 * CLIENTS)).await.unwrap().unwrap();
    next_hop.set(Mood::Hold);
    next_hop.held(CLIENTS).await;
    let before = *progress.borrow();

    hotlist.signal(Signal::SIGTERM);
    let report = until_ready_is(&hotlist, 503).await;
    assert!(report.contains("[-] draining\n"), "{report}");
    assert_eq!(hotlist.admin("/livez").await.0, 200);
    let address = hotlist.address();
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(&address).await.is_ok() {
        assert!(Instant::now() < deadline, "new connections are still taken");
    }
    assert!(hotlist.is_running(), "{}", hotlist.log());
    assert_eq!(*progress.borrow(), before, "nothing is acknowledged before the next hop did");

    next_hop.set(Mood::Accept);
    for client in clients {
        tokio::time::timeout(PATIENCE, client).await.unwrap().unwrap();
    }
    let (status, log) = hotlist.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("drained: all requests"), "{log}");
    let mut acknowledged = std::mem::take(&mut *acknowledged.lock().unwrap());
    acknowledged.sort_unstable();
    assert_eq!(acknowledged.len(), before + CLIENTS, "what was in flight is acknowledged");
    assert_eq!(ids(&next_hop), acknowledged);
}

/// Scenario: SIGTERM while clients with connections that stay open send without a pause, and each answer of the next hop
/// takes half a second. Guarantee: the process ends by itself well within its grace period, with exit code 0; every
/// acknowledged event is at the next hop once, and what was under way when the signal came is acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_under_load_with_a_slow_next_hop_loses_nothing() {
    const CLIENTS: usize = 16;
    const SLOW: Duration = Duration::from_millis(500);
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["198.51.100.23"]);
    let hotlist = Hotlist::start(&scene.sidecar(&next_hop.endpoint, "", "shutdown: { grace: 20s }\n"));
    next_hop.set(Mood::Slow(SLOW));
    let (count, mut progress) = watch::channel(0);
    let count = Arc::new(count);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (address, count) = (hotlist.address(), Arc::clone(&count));
            tokio::spawn(async move {
                let mut connection = Connection::open(&address).await.unwrap();
                let (mut acknowledged, mut id) = (Vec::new(), client);
                // Refused by a connection that got a GOAWAY: the event was not taken.
                while let Ok(answer) = connection.export(&event(id)).await {
                    assert_eq!(answer.status, 0, "{answer:?}");
                    acknowledged.push(id);
                    count.send_modify(|count| *count += 1);
                    id += CLIENTS;
                }
                acknowledged
            })
        })
        .collect();
    tokio::time::timeout(PATIENCE, progress.wait_for(|count| *count >= 2 * CLIENTS)).await.unwrap().unwrap();
    // The clients' requests come and go together, so for a moment there may be none.
    let under_way = async { while hotlist.metric("hotlist_in_flight_bytes").await == 0.0 {} };
    tokio::time::timeout(PATIENCE, under_way).await.unwrap();
    let before = *progress.borrow();
    hotlist.signal(Signal::SIGTERM);
    let begun = Instant::now();
    let (status, log) = hotlist.wait();
    let took = begun.elapsed();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("drained: all requests"), "{log}");
    assert!(took < Duration::from_secs(20) / 2, "the drain took {took:?}");
    let mut acknowledged = Vec::new();
    for client in clients {
        acknowledged.extend(tokio::time::timeout(PATIENCE, client).await.unwrap().unwrap());
    }
    acknowledged.sort_unstable();
    assert_eq!(ids(&next_hop), acknowledged, "each once, and nothing else");
    assert!(acknowledged.len() > before, "{before} before the signal, {} after", acknowledged.len());
    println!(
        "{} acknowledged, {} of them after the signal, ended after {took:?}",
        acknowledged.len(),
        acknowledged.len() - before
    );
}

/// Scenario: SIGTERM while the next hop never answers. Guarantee: the grace period ends it with exit code 1 and says
/// so, and the client has no acknowledgement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_grace_period_ends_what_never_ends() {
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["198.51.100.23"]);
    let hotlist = Hotlist::start(&scene.sidecar(&next_hop.endpoint, "", "shutdown: { grace: 200ms }\n"));
    next_hop.set(Mood::Hold);
    let address = hotlist.address();
    let client = tokio::spawn(async move { export(&address, &event(1)).await });
    next_hop.held(1).await;
    hotlist.signal(Signal::SIGTERM);
    let (status, log) = hotlist.wait();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("the grace period ended"), "{log}");
    let answer = tokio::time::timeout(PATIENCE, client).await.unwrap().unwrap();
    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(ids(&next_hop), Vec::<usize>::new());
}

/// Scenario: a killed run leaves its Unix socket. Guarantee: the next start replaces the socket and serves; a start
/// while another process serves there is refused with the reason, and the other process is not affected; a clean end
/// removes the file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_unix_socket_is_replaced_and_a_live_one_is_not() {
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["198.51.100.23"]);
    let config = scene.readme(&next_hop.endpoint);
    let socket = scene.path("hotlist.sock");
    let address = format!("unix:{}", socket.display());
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replacen("address: \"127.0.0.1:0\"", &format!("address: \"{address}\""), 1);
    let config = scene.write("hotlist.yaml", &text);

    Hotlist::start(&config).kill();
    assert!(socket.exists(), "a killed run leaves its socket");
    let second = Hotlist::start(&config);
    assert_eq!(export(&address, &event(1)).await.unwrap().status, 0);

    // A file of hits of its own, since that of the other process is locked.
    let third = scene.write("third.yaml", &text.replace("hits.ndjson", "others.ndjson"));
    let (status, log) = Hotlist::spawn(&third).wait();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("another process listens there"), "{log}");
    assert_eq!(export(&address, &event(2)).await.unwrap().status, 0);
    assert_eq!(ids(&next_hop), [1, 2]);

    second.signal(Signal::SIGTERM);
    let (status, log) = second.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!socket.exists());
}

/// Scenario: a new process starts at the sockets of one that got SIGTERM and still accepts requests, with a request in
/// flight. Guarantee: the new one starts and serves, the request is answered, and the end of the old one does not take the
/// sockets of the new one away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_goes_to_the_next_process() {
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    let [socket, admin] = ["agents.sock", "admin.sock"].map(|name| scene.path(name));
    let address = format!("unix:{}", socket.display());
    let config = scene.write(
        "hotlist.yaml",
        &format!(
            r#"sources: {{ agents: {{ type: otlp, address: "{address}" }} }}
sinks: {{ next: {{ type: otlp, inputs: [agents], endpoint: "{}" }} }}
admin: {{ address: "unix:{}" }}
shutdown: {{ delay: 1h, grace: 2h }}
log: {{ format: json }}
"#,
            next_hop.endpoint,
            admin.display()
        ),
    );
    let old = Hotlist::start(&config);
    next_hop.set(Mood::Hold);
    let of_old = address.clone();
    let client = tokio::spawn(async move { export(&of_old, &event(1)).await });
    next_hop.held(1).await;
    let (status, log) = Hotlist::spawn(&config).wait();
    assert_eq!(status.code(), Some(1), "before the signal: {log}");
    old.signal(Signal::SIGTERM);
    old.wait_for("sources stay open for");
    let new = Hotlist::start(&config);
    next_hop.set(Mood::Accept);
    assert_eq!(client.await.unwrap().unwrap().status, 0);
    assert_eq!(export(&address, &event(2)).await.unwrap().status, 0);
    old.signal(Signal::SIGTERM);
    old.wait();
    assert!(socket.exists() && admin.exists());
    assert_eq!(export(&address, &event(3)).await.unwrap().status, 0);
    assert_eq!(ids(&next_hop), [1, 2, 3]);
    new.signal(Signal::SIGINT);
    let (status, log) = new.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!socket.exists() && !admin.exists());
}
