//! The shadow: what it would hit is counted, and tags nothing until it is promoted.

use crate::common::{Fleet, judged, lines, logged, metric, reports, serves};
use crate::next_hop::NextHop;
use crate::process::Hotlist;

/// Scenario: `old` is live; a shadow of `old` without one domain, and of `new`, is added, is promoted, and its slot is
/// emptied. Guarantee: the shadow's hits are counted by feed, separately those that only the shadow has and those that
/// it lacks, and none of them tags; after the promotion they tag, and the others no longer do; an empty slot counts
/// nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadow_counts_and_tags_only_when_promoted() {
    let (fleet, next) = (Fleet::new(), NextHop::start().await);
    let _plane = {
        fleet.serve("old", &["both.example", "gone.example"]);
        fleet.plane()
    };
    let hotlist = Hotlist::start(&fleet.sidecar("n1", &next, ""));
    let address = hotlist.address();
    serves(&hotlist, 1).await;
    fleet.compile(&[("old.txt", lines(&["both.example"])), ("new.txt", lines(&["comes.example"]))]);
    assert_eq!(fleet.publish(&["--mode", "shadow"]), 2);
    reports(&hotlist, "shadow: version 2").await;

    let hosts = ["both.example", "gone.example", "comes.example", "fine.example"];
    for _ in 0..3 {
        assert_eq!(judged(&address, &next, &hosts).await, ["old:both.example", "old:gone.example"]);
    }
    for (name, count) in [
        ("hotlist_shadow_hits_total{feed=\"old\"}", 3.0),
        ("hotlist_shadow_hits_total{feed=\"new\"}", 3.0),
        ("hotlist_shadow_only_hits_total{feed=\"new\"}", 3.0),
        ("hotlist_shadow_only_hits_total{feed=\"old\"}", 0.0),
        ("hotlist_shadow_missing_hits_total{feed=\"old\"}", 3.0),
        ("hotlist_shadow_missing_hits_total{feed=\"new\"}", 0.0),
        ("hotlist_hits_total{kind=\"domain\",feed=\"new\"}", 0.0),
        ("hotlist_hits_total{kind=\"domain\",feed=\"old\"}", 6.0),
    ] {
        assert_eq!(metric(&hotlist, name).await, count, "{name}");
    }
    assert!(hotlist.log().contains("shadow-only hit"));

    assert_eq!(fleet.promote(), 3);
    serves(&hotlist, 3).await;
    logged(&hotlist, "slot cleared", 1).await;
    assert_eq!(judged(&address, &next, &hosts).await, ["new:comes.example", "old:both.example"]);
    assert_eq!(metric(&hotlist, "hotlist_shadow_hits_total{feed=\"new\"}").await, 3.0);

    // A restart brings back what serves, and no shadow.
    hotlist.kill();
    let hotlist = Hotlist::start(&fleet.sidecar("n1", &next, ""));
    assert_eq!(judged(&hotlist.address(), &next, &hosts).await, ["new:comes.example", "old:both.example"]);
    assert_eq!(metric(&hotlist, "hotlist_shadow_hits_total{feed=\"new\"}").await, 0.0);
}

/// Scenario: the first thing that is ever published is a shadow. Guarantee: its hits are counted though nothing serves,
/// and every event passes as it came.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadow_counts_while_nothing_serves() {
    let (fleet, next) = (Fleet::new(), NextHop::start().await);
    fleet.compile(&[("new.txt", lines(&["comes.example"]))]);
    fleet.publish(&["--mode", "shadow"]);
    let _plane = fleet.plane();
    let hotlist = Hotlist::start(&fleet.sidecar("n1", &next, ""));
    reports(&hotlist, "shadow: version 1").await;
    let address = hotlist.address();
    assert!(judged(&address, &next, &["comes.example"]).await.is_empty());
    assert_eq!(metric(&hotlist, "hotlist_shadow_hits_total{feed=\"new\"}").await, 1.0);
    assert_eq!(metric(&hotlist, "hotlist_shadow_only_hits_total{feed=\"new\"}").await, 1.0);
    fleet.promote();
    serves(&hotlist, 2).await;
    assert_eq!(judged(&address, &next, &["comes.example"]).await, ["new:comes.example"]);
}
