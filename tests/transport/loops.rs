//! Requests that come by other Hotlists, and by way of a loop through this one again.

use hotlist::sink::grpc::Settings;
use hotlist::source::Limits;

use crate::client::{Client, full, request};
use crate::http_client::{HttpClient, LOGS, PROTOBUF};
use crate::next_hop::NextHop;
use crate::sidecar::{Identity, Sidecar, otlp};
use crate::wire::frame;

/// Guarantee: each Hotlist on the way counts itself, over gRPC and HTTP.
#[tokio::test]
async fn each_hotlist_on_the_way_is_counted() {
    let mut next_hop = NextHop::start().await;
    let second = Sidecar::start(&next_hop.endpoint);
    let first = Sidecar::start(&format!("http://{}", second.address));
    let client = Client::connect(&first.address).await;
    let (answer, hops) = tokio::join!(client.export(frame(0, b"abc")), async {
        let arrived = next_hop.arrived().await;
        let hops = arrived.head.headers["hotlist-hops"].clone();
        arrived.ok();
        hops
    });
    assert_eq!((answer.status(), hops.to_str().unwrap()), (0, "2"));
}

/// Scenario: requests say that they passed as many Hotlists as may be, and one more. Guarantee: the first is taken, and the
/// other is refused as a transient fault that names the loop; a header that makes no sense is none.
#[tokio::test]
async fn a_loop_is_refused() {
    let mut next_hop = NextHop::start().await;
    let limits = Limits { max_hops: 3, ..Limits::default() };
    let sidecar = Sidecar::with(limits, Identity, [otlp(&next_hop.endpoint, Settings::default())]);
    let client = Client::connect(&sidecar.address).await;
    for (hops, passes) in [("3", true), ("4", false), ("4000000000", false), ("many", true)] {
        let send = client.send(request(&[("hotlist-hops", hops)]).body(full(frame(0, b"abc"))).unwrap());
        let answer = match passes {
            true => tokio::join!(send, async { next_hop.arrived().await.ok() }).0,
            false => send.await,
        };
        assert_eq!(answer.status(), if passes { 0 } else { 14 }, "{hops}: {answer:?}");
        assert!(passes || answer.message().contains("limits.max_hops"), "{}", answer.message());
    }
    let mut http = HttpClient::connect(&sidecar.address).await;
    let answer = http.post(LOGS, &[PROTOBUF, ("hotlist-hops", "4")], b"abc").await;
    assert_eq!(answer.http, 503);
    assert!(next_hop.is_idle());
}

/// Scenario: a sink's endpoint is the source that it takes from. Guarantee: a batch goes around a few times, and the
/// collector gets the reason.
#[tokio::test]
async fn a_sink_that_leads_back_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("loop.sock");
    let address = hotlist::config::Address::Unix(path.clone());
    let sinks = [otlp(&format!("unix:{}", path.display()), Settings::default())];
    let sidecar = Sidecar::at(&address, Limits::default(), Identity, sinks);
    let client = Client::connect(&sidecar.address).await;
    let answer = client.export(frame(0, b"abc")).await;
    assert_eq!(answer.status(), 14);
    assert!(answer.message().contains("limits.max_hops"), "{}", answer.message());
}
