//! Connections to a next hop that die without a word, as behind a firewall that forgot them, and clients that give up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hotlist::config::Endpoint;
use hotlist::sink::grpc::{GrpcSink, Settings};
use hotlist::sink::{Sink, SinkBackend};
use hotlist::source::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::client::Client;
use crate::metrics;
use crate::next_hop::NextHop;
use crate::sidecar::{Identity, Sidecar};
use crate::wire::frame;

/// Passes bytes on, until it forgets: then it takes bytes of the connections that are open, and passes nothing on.
struct Firewall {
    endpoint: String,
    forgotten: Arc<AtomicUsize>,
}

impl Firewall {
    async fn before(next_hop: &NextHop) -> Firewall {
        let behind: SocketAddr = next_hop.endpoint.strip_prefix("http://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let forgotten = Arc::new(AtomicUsize::new(0));
        let times = Arc::clone(&forgotten);
        tokio::spawn(async move {
            loop {
                let (here, _) = listener.accept().await.unwrap();
                let (there, known) = (TcpStream::connect(behind).await.unwrap(), times.load(Ordering::SeqCst));
                let ((here_in, here_out), (there_in, there_out)) = (here.into_split(), there.into_split());
                for (mut from, mut to) in [(here_in, there_out), (there_in, here_out)] {
                    let times = Arc::clone(&times);
                    tokio::spawn(async move {
                        let mut buffer = [0; 4096];
                        while let Ok(read @ 1..) = from.read(&mut buffer).await {
                            if times.load(Ordering::SeqCst) == known && to.write_all(&buffer[..read]).await.is_err() {
                                break;
                            }
                        }
                        // Both ends stay open when the connection was forgotten.
                        if times.load(Ordering::SeqCst) != known {
                            std::future::pending::<()>().await;
                        }
                    });
                }
            }
        });
        Firewall { endpoint, forgotten }
    }

    fn forget(&self) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
    }
}

/// A sink under a name of its own, so that its metrics are, too.
fn sink(name: &str, endpoint: &str, deadline: Duration) -> Arc<Sink> {
    let settings = Settings { deadline, ..Settings::default() };
    let sink = GrpcSink::otlp(Endpoint::parse(endpoint).unwrap(), settings);
    Arc::new(Sink::new(name, SinkBackend::Grpc(Box::new(sink))))
}

fn requests(sink: &str, status: &str) -> f64 {
    metrics::value(&format!("hotlist_sink_requests_total{{sink=\"{sink}\",status=\"{status}\"}}"))
}

/// Scenario: the network forgets the connection, again and again, while it idles. Guarantee: no request fails for it, nor
/// waits for its deadline, and the silent connections are counted.
#[tokio::test]
async fn a_forgotten_connection_costs_no_request() {
    metrics::install();
    let next_hop = NextHop::start().await;
    let firewall = Firewall::before(&next_hop).await;
    next_hop.accept_all();
    let deadline = Duration::from_secs(20);
    let sidecar = Sidecar::with(Limits::default(), Identity, [sink("forgotten", &firewall.endpoint, deadline)]);
    let client = Client::connect(&sidecar.address).await;
    assert_eq!(client.export(frame(0, b"abc")).await.status(), 0);
    for _ in 0..3 {
        // Long enough for the connection to count as silent.
        tokio::time::sleep(Duration::from_millis(400)).await;
        firewall.forget();
        let start = Instant::now();
        let answer = client.export(frame(0, b"abc")).await;
        assert_eq!(answer.status(), 0, "{answer:?}");
        assert!(start.elapsed() < deadline / 4, "{:?}", start.elapsed());
    }
    let silent = format!("hotlist_sink_connect_failures_total{{endpoint=\"{}\",reason=\"silent\"}}", firewall.endpoint);
    assert_eq!(metrics::value(&silent), 3.0);
}

/// Scenario: a request is under way when the network forgets its connection, and its client gives up before the deadline.
/// Guarantee: the next request is delivered on a new connection, and the one that was given up is counted.
#[tokio::test]
async fn a_client_that_gives_up_does_not_keep_a_dead_connection() {
    metrics::install();
    let mut next_hop = NextHop::start().await;
    let firewall = Firewall::before(&next_hop).await;
    let deadline = Duration::from_secs(60);
    let sidecar = Sidecar::with(Limits::default(), Identity, [sink("given-up", &firewall.endpoint, deadline)]);
    let client = Client::connect(&sidecar.address).await;
    let mut request = Box::pin(client.export(frame(0, b"abc")));
    // It arrives, and its answer never will.
    let arrived = tokio::select! {
        _ = &mut request => unreachable!("nobody answers"),
        arrived = next_hop.arrived() => arrived,
    };
    firewall.forget();
    assert!(tokio::time::timeout(Duration::from_millis(500), &mut request).await.is_err());
    drop(request);
    client.vanish();
    metrics::until("counted", || requests("given-up", "cancelled") == 1.0).await;
    assert_eq!(metrics::value("hotlist_next_hop_answers_total{sink=\"given-up\",status=\"cancelled\"}"), 1.0);
    drop(arrived);
    next_hop.accept_all();
    let client = Client::connect(&sidecar.address).await;
    let start = Instant::now();
    let answer = client.export(frame(0, b"abc")).await;
    assert_eq!(answer.status(), 0, "{answer:?}");
    assert!(start.elapsed() < deadline / 4, "{:?}", start.elapsed());
}
