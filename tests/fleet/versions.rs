//! Versions that go back and versions that end.

use crate::common::{Fleet, NAME, judged, logged, metric, reports, serves};
use crate::next_hop::NextHop;
use crate::process::Hotlist;

/// Scenario: two versions, and `rollback` to the first. Guarantee: its content serves again, under a new version.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_serves_what_served_before() {
    let (fleet, next) = (Fleet::new(), NextHop::start().await);
    fleet.serve("feed", &["first.example"]);
    let _plane = fleet.plane();
    let hotlist = Hotlist::start(&fleet.sidecar("n1", &next, ""));
    serves(&hotlist, 1).await;
    fleet.serve("feed", &["second.example"]);
    serves(&hotlist, 2).await;
    let (address, hosts) = (hotlist.address(), ["first.example", "second.example"]);
    assert_eq!(judged(&address, &next, &hosts).await, ["feed:second.example"]);
    fleet.prints(&["rollback", "--store", "store", "--name", NAME, "--to", "1", "--key", "key.pem"]);
    serves(&hotlist, 3).await;
    assert_eq!(judged(&address, &next, &hosts).await, ["feed:first.example"]);
}

/// Scenario: a version expires while it is active, and the sidecar is restarted. Guarantee: the version stays active,
/// and metric, log and readiness show that it has expired, until a newer one arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expires_serves_on_and_is_told() {
    let (fleet, next) = (Fleet::new(), NextHop::start().await);
    fleet.compile(&[("feed.txt", "old.example\n".to_owned())]);
    let _plane = fleet.plane();
    let config = fleet.sidecar("n1", &next, "");
    let mut hotlist = Hotlist::start(&config);
    fleet.publish(&["--expires", "3s"]);
    serves(&hotlist, 1).await;
    let expired = "hotlist_control_expired{slot=\"serve\"}";
    for again in 0..2 {
        reports(&hotlist, "serve: version 1, expired at").await;
        logged(&hotlist, "expired", 1).await;
        assert_eq!(metric(&hotlist, expired).await, 1.0);
        assert_eq!(judged(&hotlist.address(), &next, &["old.example"]).await, ["feed:old.example"]);
        assert_eq!(hotlist.admin("/readyz").await.0, 200);
        if again == 0 {
            hotlist.kill();
            hotlist = Hotlist::start(&config);
        }
    }
    let version = fleet.serve("feed", &["new.example"]);
    serves(&hotlist, version).await;
    assert_eq!(metric(&hotlist, expired).await, 0.0);
    assert_eq!(judged(&hotlist.address(), &next, &["old.example", "new.example"]).await, ["feed:new.example"]);
}
