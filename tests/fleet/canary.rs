//! The canary.

use crate::common::{Fleet, logged, metric, says, serves};
use crate::next_hop::NextHop;
use crate::process::Hotlist;

/// Scenario: the feed of the canary withdraws it, and has it again. Guarantee: metric, log and readiness say so each
/// time, at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_that_is_not_found_is_told() {
    let (fleet, next) = (Fleet::new(), NextHop::start().await);
    fleet.serve("feed", &["canary.example", "other.example", "third.example"]);
    let _plane = fleet.plane();
    let hotlist = Hotlist::start(&fleet.sidecar("n1", &next, "  canary: canary.example"));
    serves(&hotlist, 1).await;
    logged(&hotlist, "canary found", 1).await;
    assert_eq!(metric(&hotlist, "hotlist_canary_found").await, 1.0);
    assert!(says(&hotlist, "canary").await.contains("canary.example is found"));

    fleet.serve("feed", &["other.example", "third.example"]);
    serves(&hotlist, 2).await;
    logged(&hotlist, "canary.example IS NOT FOUND", 1).await;
    assert_eq!(metric(&hotlist, "hotlist_canary_found").await, 0.0);
    assert!(says(&hotlist, "canary").await.contains("IS NOT FOUND"));

    fleet.serve("feed", &["canary.example", "other.example", "third.example"]);
    serves(&hotlist, 3).await;
    logged(&hotlist, "canary found", 2).await;
    assert_eq!(metric(&hotlist, "hotlist_canary_found").await, 1.0);
    assert!(says(&hotlist, "canary").await.contains("canary.example is found"));
}
