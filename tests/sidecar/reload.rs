//! Indicators and configuration change while the real process runs and takes events.

use std::time::{Duration, Instant};

use hotlist::encoding::otlp::request_of;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::client::{Connection, export};
use crate::next_hop::NextHop;
use crate::process::{Hotlist, PATIENCE, Scene};

/// Whether an event with this address is tagged now.
async fn hits(hotlist: &Hotlist, next_hop: &NextHop, address: &str) -> bool {
    let message = request_of([(1, &json!({ "source": { "ip": address } }))]);
    assert_eq!(export(&hotlist.address(), &message).await.unwrap().status, 0, "{}", hotlist.log());
    let delivered = next_hop.take();
    delivered.iter().any(|request| request.message() != message)
}

/// Waits until an address hits or does not, and says how long that took.
async fn until(hotlist: &Hotlist, next_hop: &NextHop, address: &str, wanted: bool) -> Duration {
    let start = Instant::now();
    while hits(hotlist, next_hop, address).await != wanted {
        assert!(start.elapsed() < PATIENCE, "{address}: {}", hotlist.log());
    }
    start.elapsed()
}

/// Written elsewhere and moved into place, as careful writers do.
fn replace(scene: &Scene, name: &str, content: &str) {
    std::fs::rename(scene.write("staged", content), scene.path(name)).unwrap();
}

/// Guarantee: an added or removed indicator takes effect about a second later, without a restart, whether the file is
/// written in place, moved into place, or created.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_a_file_is_live_at_once() {
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["198.51.100.1", "198.51.100.2"]);
    let hotlist = Hotlist::start(&scene.readme(&next_hop.endpoint));
    assert!(hits(&hotlist, &next_hop, "198.51.100.1").await);
    assert!(!hits(&hotlist, &next_hop, "198.51.100.3").await);

    let mut waits = Vec::new();
    scene.indicators("planted", &["198.51.100.2", "198.51.100.3"]);
    waits.push(until(&hotlist, &next_hop, "198.51.100.3", true).await);
    assert!(!hits(&hotlist, &next_hop, "198.51.100.1").await, "one event sees one snapshot: the old one is gone");
    replace(&scene, "indicators/planted.txt", "198.51.100.4\n198.51.100.5\n");
    waits.push(until(&hotlist, &next_hop, "198.51.100.4", true).await);
    scene.indicators("second", &["198.51.100.6"]);
    waits.push(until(&hotlist, &next_hop, "198.51.100.6", true).await);
    assert!(hits(&hotlist, &next_hop, "198.51.100.4").await);
    // The pipeline's own promise is a second; a busy machine gets more before it counts as broken.
    assert!(waits.iter().all(|wait| *wait < Duration::from_secs(5)), "{waits:?}");
    let (_, metrics) = hotlist.admin("/metrics").await;
    assert!(metrics.contains("hotlist_snapshot_reloads_total{result=\"applied\"}"), "{metrics}");
}

/// Scenario: a file changes, and a directory is created with a file in it, before the process has begun to watch them.
/// Guarantee: both are active within seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_before_anything_is_watched_is_not_missed() {
    for _ in 0..3 {
        let (scene, next_hop) = (Scene::new(), NextHop::start().await);
        scene.indicators("planted", &["198.51.100.1"]);
        let config = scene.readme(&next_hop.endpoint);
        let later = format!("files: [\"{}/*\", ", scene.path("later").display());
        let text = std::fs::read_to_string(&config).unwrap().replacen("files: [", &later, 1);
        let hotlist = Hotlist::start(&scene.write("hotlist.yaml", &text));
        scene.indicators("planted", &["198.51.100.2"]);
        let wait = until(&hotlist, &next_hop, "198.51.100.2", true).await;
        assert!(wait < Duration::from_secs(5), "{wait:?}");
        std::fs::create_dir(scene.path("later")).unwrap();
        scene.write("later/more.txt", "198.51.100.3\n");
        let wait = until(&hotlist, &next_hop, "198.51.100.3", true).await;
        assert!(wait < Duration::from_secs(5), "{wait:?}");
    }
}

/// Scenario: the directory is a Kubernetes volume: `..data` is a link to a directory of this version, each file a link
/// through it, and an update swaps the one link. Guarantee: the update is live, and no other link changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kubernetes_volume_is_followed() {
    use std::os::unix::fs::symlink;
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    let volume = scene.path("indicators");
    let version = |name: &str, address: &str| {
        std::fs::create_dir_all(volume.join(name)).unwrap();
        std::fs::write(volume.join(name).join("feed.txt"), format!("{address}\n")).unwrap();
    };
    version("..2026_01", "198.51.100.1");
    symlink("..2026_01", volume.join("..data")).unwrap();
    symlink("..data/feed.txt", volume.join("feed.txt")).unwrap();
    let hotlist = Hotlist::start(&scene.readme(&next_hop.endpoint));
    assert!(hits(&hotlist, &next_hop, "198.51.100.1").await);

    version("..2026_02", "198.51.100.2");
    symlink("..2026_02", volume.join("..data_tmp")).unwrap();
    std::fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    std::fs::remove_dir_all(volume.join("..2026_01")).unwrap();
    until(&hotlist, &next_hop, "198.51.100.2", true).await;
    assert!(!hits(&hotlist, &next_hop, "198.51.100.1").await);
}

/// Guarantee: a file that becomes malformed, or empty, or is removed, keeps its last good indicators active; the log, a
/// counter and `/readyz?verbose` report it, and the process stays ready.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_file_keeps_its_last_good_indicators_and_shows() {
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["198.51.100.1"]);
    let hotlist = Hotlist::start(&scene.readme(&next_hop.endpoint));
    let path = scene.path("indicators/planted.txt");
    let bad: [(&str, Option<&[u8]>); 3] =
        [("unusable", Some(&[0, 159, 146, 150])), ("empty", Some(b"")), ("vanished", None)];
    for (reason, content) in bad {
        match content {
            Some(content) => std::fs::write(&path, content).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        hotlist.wait_for(&format!("\"reason\":\"{reason}\""));
        let (status, report) = hotlist.admin("/readyz?verbose").await;
        assert_eq!(status, 200, "{report}");
        assert!(report.contains(&format!("planted.txt: {reason}")), "{report}");
        // The pattern of the configuration finds no file any more when it has vanished, which may be reported already.
        assert!(
            ["1", "2"].iter().any(|n| report.contains(&format!("[i] feeds: 1 file, {n} with problems: "))),
            "{report}"
        );
        let (_, metrics) = hotlist.admin("/metrics").await;
        let counter = format!("hotlist_feed_errors_total{{feed=\"planted\",reason=\"{reason}\"}} 1\n");
        assert!(metrics.contains(&counter), "{metrics}");
        assert!(metrics.contains("hotlist_feed_indicators{feed=\"planted\"} 1\n"), "{metrics}");
        assert!(hits(&hotlist, &next_hop, "198.51.100.1").await, "{reason}");
    }
    replace(&scene, "indicators/planted.txt", "198.51.100.9\n");
    until(&hotlist, &next_hop, "198.51.100.9", true).await;
    let (_, report) = hotlist.admin("/readyz?verbose").await;
    assert!(report.contains("[+] feeds: 1 file OK\n"), "{report}");
}

/// Scenario: a feed falls to less than half. Guarantee: the old indicators stay until someone confirms over the admin
/// listener; a name that no feed has is not found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_that_shrank_waits_for_confirmation() {
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["198.51.100.1", "198.51.100.2", "198.51.100.3"]);
    let hotlist = Hotlist::start(&scene.readme(&next_hop.endpoint));
    scene.indicators("planted", &["198.51.100.1"]);
    hotlist.wait_for("\"reason\":\"shrunk\"");
    assert!(hits(&hotlist, &next_hop, "198.51.100.3").await);
    assert_eq!(hotlist.admin_by("POST", "/feeds/planned/confirm").await.0, 404);
    assert_eq!(hotlist.admin("/feeds/planted/confirm").await.0, 405, "looking confirms nothing");
    assert_eq!(hotlist.admin_by("POST", "/feeds/planted/confirm").await, (200, "confirmed\n".to_owned()));
    until(&hotlist, &next_hop, "198.51.100.3", false).await;
    assert!(hits(&hotlist, &next_hop, "198.51.100.1").await);
}

/// Guarantee: what is looked for and never seen is in metrics, and named in the log when the process ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blind_spots_are_told() {
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("hitting", &["a@evil.example.com"]);
    scene.indicators("silent", &["b@evil.example.com"]);
    let hotlist = Hotlist::start(&scene.readme(&next_hop.endpoint));
    let blind = |metrics: &str, name: &str| -> usize {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} in {metrics}")).parse().unwrap()
    };
    let (_, metrics) = hotlist.admin("/metrics").await;
    assert_eq!(blind(&metrics, "hotlist_blind_feeds"), 2);
    let fields = blind(&metrics, "hotlist_blind_fields");
    let message = request_of([(1, &json!({ "user": { "email": "a@evil.example.com" } }))]);
    assert_eq!(export(&hotlist.address(), &message).await.unwrap().status, 0);
    let (_, metrics) = hotlist.admin("/metrics").await;
    assert_eq!(blind(&metrics, "hotlist_blind_feeds"), 1);
    assert_eq!(blind(&metrics, "hotlist_blind_fields"), fields - 1);
    hotlist.signal(Signal::SIGTERM);
    let (_, log) = hotlist.wait();
    let line = log.lines().find(|line| line.contains("blind spots since the start")).unwrap_or_else(|| panic!("{log}"));
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!((line["unhit_feeds"].as_str(), line["feeds"].as_u64()), (Some("silent"), Some(1)));
    let unseen = line["unseen_fields"].as_str().unwrap();
    assert!(!unseen.split(' ').any(|field| field == "user.email") && unseen.contains("email."), "{unseen}");
}

/// Scenario: SIGHUP with a configuration that adds a source, another sink and other matching, while a connection to the
/// first source is open. Guarantee: the connection and its address stay, and every new setting is active.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_takes_a_new_configuration_and_keeps_connections() {
    let (scene, next_hop, other) = (Scene::new(), NextHop::start().await, NextHop::start().await);
    scene.indicators("planted", &["evil.example.com"]);
    let text = std::fs::read_to_string(scene.readme(&next_hop.endpoint)).unwrap();
    let hotlist = Hotlist::start(&scene.path("hotlist.yaml"));
    let mut connection = Connection::open(&hotlist.address()).await.unwrap();
    let below = request_of([(1, &json!({ "dns": { "question": { "name": "www.evil.example.com" } } }))]);
    assert_eq!(connection.export(&below).await.unwrap().status, 0);
    assert_eq!(next_hop.take()[0].message(), below, "only the name itself is an indicator");

    let socket = scene.path("second.sock");
    let second = format!("  second: {{ type: otlp, address: \"unix:{}\" }}\nintel:", socket.display());
    let changed = text
        .replacen("intel:", &second, 1)
        .replacen("inputs: [agents], endpoint", "inputs: [agents, second], endpoint", 1)
        .replacen(&next_hop.endpoint, &other.endpoint, 1)
        + "match: { subdomains: true }\n";
    scene.write("hotlist.yaml", &changed);
    hotlist.signal(Signal::SIGHUP);
    hotlist.wait_for("configuration is reloaded");
    assert_eq!(connection.export(&below).await.unwrap().status, 0, "the same connection");
    assert!(next_hop.take().is_empty());
    assert_ne!(other.take()[0].message(), below, "subdomains match now, at the new next hop");
    assert!(socket.exists(), "the second source is bound");
    let (_, metrics) = hotlist.admin("/metrics").await;
    assert!(metrics.contains("hotlist_config_reloads_total{result=\"applied\"} 1\n"), "{metrics}");
}

/// Guarantee: a configuration with a mistake, and one that requires what is not available, is refused as a whole with
/// the reason; the old one stays active.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_configuration_is_refused_and_the_old_one_stays() {
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["198.51.100.1"]);
    let text = std::fs::read_to_string(scene.readme(&next_hop.endpoint)).unwrap();
    let hotlist = Hotlist::start(&scene.path("hotlist.yaml"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = format!("  busy: {{ type: otlp, address: \"{}\" }}\nintel:", taken.local_addr().unwrap());
    let wrong = [
        (text.replacen("endpoint", "endpont", 1), "endpont"),
        (text.replacen("intel:", &busy, 1).replace("inputs: [agents]", "inputs: [agents, busy]"), "source `busy`"),
        (text.replacen("hits.ndjson", "no/such/directory/hits.ndjson", 1), "sink `hits`"),
    ];
    for (number, (text, reason)) in wrong.into_iter().enumerate() {
        scene.write("hotlist.yaml", &text);
        hotlist.signal(Signal::SIGHUP);
        let refused = format!("hotlist_config_reloads_total{{result=\"refused\"}} {}\n", number + 1);
        let start = Instant::now();
        while !hotlist.admin("/metrics").await.1.contains(&refused) {
            assert!(start.elapsed() < PATIENCE, "{reason}: {}", hotlist.log());
        }
        // The log comes through a pipe, and may be a moment behind the metric.
        let line = loop {
            let log = hotlist.log();
            let lines: Vec<&str> =
                log.lines().filter(|line| line.contains("refused; the previous one stays")).collect();
            if let Some(line) = lines.get(number) {
                break (*line).to_owned();
            }
            assert!(start.elapsed() < PATIENCE, "{reason}: {log}");
        };
        assert!(line.contains(reason), "{reason}: {line}");
        assert!(hits(&hotlist, &next_hop, "198.51.100.1").await);
    }
}

/// Scenario: a service manager that passed a socket and a watchdog. Guarantee: it is notified of readiness, of a
/// reload, of the end, and regularly that the process lives. When it no longer reads, it delays nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_manager_is_kept_informed() {
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["198.51.100.1"]);
    let manager = std::os::unix::net::UnixDatagram::bind(scene.path("notify.sock")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut heard = String::new();
    let mut wait_for = |text: &str| {
        while !heard.contains(text) {
            let mut buffer = [0; 4096];
            let length = manager.recv(&mut buffer).unwrap_or_else(|error| panic!("{text}: {error}: {heard}"));
            heard.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        }
        heard.clear();
    };
    let socket = scene.path("notify.sock").display().to_string();
    let variables = [("NOTIFY_SOCKET", socket.as_str()), ("WATCHDOG_USEC", "100000")];
    let hotlist = Hotlist::spawn_with(&scene.readme(&next_hop.endpoint), &variables);
    wait_for("READY=1");
    wait_for("WATCHDOG=1");
    wait_for("WATCHDOG=1");
    hotlist.signal(Signal::SIGHUP);
    wait_for("RELOADING=1");
    wait_for("READY=1");
    hotlist.signal(Signal::SIGTERM);
    wait_for("STOPPING=1");
    // From now on the watchdog's messages are not read, and the process ends nevertheless.
    let (status, log) = hotlist.wait();
    assert!(status.success(), "{log}");
}

/// Scenario: two files, with rules that change with each reload: for one file, for both, of a kind that neither has, for
/// a feed that is not there, with none enabled, and none at all.
/// Guarantee: each event is matched by the rules of its time; feeds that rules leave out are named in log and readiness
/// at the start and after each reload, and so are rules of which none is enabled; a wrong rule changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_rules_apply_to_the_next_event() {
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("one", &["198.51.100.1"]);
    scene.indicators("two", &["198.51.100.2"]);
    let text = std::fs::read_to_string(scene.readme(&next_hop.endpoint)).unwrap();
    let with = |rules: &str| scene.write("hotlist.yaml", &format!("{text}rules: {rules}\n"));
    let hotlist = Hotlist::start(&with("{ first: { feeds: [one] } }"));
    let warning = hotlist.wait_for("no enabled rule selects this feed");
    assert_eq!((&warning["level"], &warning["feed"]), (&json!("WARN"), &json!("two")), "{warning}");
    let both =
        async || (hits(&hotlist, &next_hop, "198.51.100.1").await, hits(&hotlist, &next_hop, "198.51.100.2").await);
    assert_eq!(both().await, (true, false));
    let reloaded = async |count: usize, word: &str| {
        hotlist.signal(Signal::SIGHUP);
        let start = Instant::now();
        while hotlist.log().matches(word).count() < count {
            assert!(start.elapsed() < PATIENCE, "{}", hotlist.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        hotlist.admin("/readyz?verbose").await
    };
    let (_, report) = hotlist.admin("/readyz?verbose").await;
    assert!(report.contains("[i] rules: ") && report.contains("selects two"), "{report}");
    for (count, (rules, expected, parts)) in [
        ("{ first: { feeds: [one] }, second: { feeds: ['*'], kinds: [ip] } }", (true, true), &["[+] rules: "][..]),
        ("{ second: { feeds: ['*'], kinds: [domain] } }", (false, false), &["[+] rules: "]),
        ("{ second: { feeds: [two, three] } }", (false, true), &["[i] rules: ", "selects one", "second names three"]),
        ("{ second: { feeds: ['*'], enabled: false } }", (false, false), &["[i] rules: ", "NOTHING IS MATCHED"]),
    ]
    .into_iter()
    .enumerate()
    {
        with(rules);
        let (status, report) = reloaded(count + 1, "configuration is reloaded").await;
        assert!(status == 200 && parts.iter().all(|part| report.contains(part)), "{parts:?} in {report}");
        assert_eq!(both().await, expected, "{rules}");
    }
    let log = hotlist.log();
    for part in ["no rule is enabled: NOTHING IS MATCHED", "names a feed that is not loaded", "\"feed\":\"three\""] {
        assert!(log.contains(part), "{part} in {log}");
    }
    with("{ second: { feeds: [two], kinds: [adress] } }");
    reloaded(1, "configuration refused").await;
    assert_eq!(both().await, (false, false));
    scene.write("hotlist.yaml", &text);
    let (_, report) = reloaded(5, "configuration is reloaded").await;
    assert!(report.contains("[+] rules: "), "{report}");
    assert_eq!(both().await, (true, true));
    let (_, metrics) = hotlist.admin("/metrics").await;
    assert!(metrics.contains("hotlist_suppressions_total{reason=\"no_rule\"} 8"), "{metrics}");
}
