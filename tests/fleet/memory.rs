//! The limit of memory.

use hotlist::intel::prefilter::BITS_PER_KEY;

use crate::common::{Fleet, judged, lines, logged, metric, serves};
use crate::next_hop::NextHop;
use crate::process::Hotlist;

/// Scenario: a version that would take more than `intel.max_bytes`, then one that fits. Guarantee: the large version is
/// refused, and the refusal says how much it would take, how much is allowed and what to do; the previous version stays
/// active; the next one is accepted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_takes_too_much_memory_is_refused() {
    let (fleet, next) = (Fleet::new(), NextHop::start().await);
    fleet.serve("feed", &["small.example"]);
    let _plane = fleet.plane();
    let hotlist = Hotlist::start(&fleet.sidecar("n1", &next, "  max_bytes: 256KiB"));
    serves(&hotlist, 1).await;
    let many: String = (0..8_000).map(|number| format!("large-{number}.example\n")).collect();
    fleet.compile(&[("feed.txt", many + "small.example\n")]);
    assert_eq!(fleet.publish(&[]), 2);
    let slot = fleet.node("n1", "serve", |slot| slot["refused_version"] == 2).await;
    let reason = slot["error"]["message"].as_str().unwrap();
    assert!(reason.contains("`intel.max_bytes`") && reason.contains("262144"), "{reason}");
    assert_eq!(slot["version"], 1);
    assert_eq!(judged(&hotlist.address(), &next, &["small.example", "large-7.example"]).await, ["feed:small.example"]);
    fleet.compile(&[("feed.txt", lines(&["small.example", "other.example"]))]);
    fleet.prints(&["compact", "--store", "store"]);
    assert_eq!(fleet.publish(&[]), 3);
    serves(&hotlist, 3).await;
    assert_eq!(judged(&hotlist.address(), &next, &["other.example", "large-7.example"]).await, ["feed:other.example"]);
}

/// Scenario: a file that is loaded in addition to the manifest grows beyond the limit, and shrinks. Guarantee: the
/// active snapshot stays active, and the log gives the reason; then the file is loaded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_takes_too_much_memory_is_not_taken() {
    let (fleet, next) = (Fleet::new(), NextHop::start().await);
    fleet.serve("central", &["m.example"]);
    let _plane = fleet.plane();
    fleet.scene.indicators("local", &["f1.example"]);
    let intel = format!(
        "  max_bytes: 256KiB\n  on_shrink: accept\n  files: [{{ path: \"{}/*\" }}]",
        fleet.scene.path("indicators").display()
    );
    let hotlist = Hotlist::start(&fleet.sidecar("n1", &next, &intel));
    serves(&hotlist, 1).await;
    let (address, hosts) = (hotlist.address(), ["f1.example", "f2.example", "large-7.example", "m.example"]);
    let many: Vec<String> = (0..20_000).map(|number| format!("large-{number}.example")).collect();
    fleet.scene.indicators("local", &many.iter().map(String::as_str).collect::<Vec<_>>());
    logged(&hotlist, "`intel.max_bytes` allows 262144", 1).await;
    assert_eq!(judged(&address, &next, &hosts).await, ["central:m.example", "local:f1.example"]);
    let served = hotlist.log().matches("snapshot active").count();
    fleet.scene.indicators("local", &["f2.example"]);
    logged(&hotlist, "snapshot active", served + 1).await;
    assert_eq!(judged(&address, &next, &hosts).await, ["central:m.example", "local:f2.example"]);
}

/// Scenario: one feed more than a look-up goes through one by one, so that two are merged in memory; the segments in
/// the store would fit. Guarantee: the merged copy counts, too, and the version is refused; the previous version stays
/// active.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_merged_in_memory_counts_too() {
    const FEEDS: usize = 17;
    const DOMAINS: usize = 500;
    let (fleet, next) = (Fleet::new(), NextHop::start().await);
    let domains =
        |feed: usize| (0..DOMAINS).map(|number| format!("d{number}.feed{feed}.example\n")).collect::<String>();
    let feeds: Vec<_> = (1..=FEEDS).map(|feed| (format!("feed{feed}.txt"), domains(feed))).collect();
    let feeds: Vec<_> = feeds.iter().map(|(name, content)| (&**name, content.clone())).collect();
    fleet.compile(&feeds[1..]);
    assert_eq!(fleet.publish(&[]), 1);
    fleet.compile(&feeds[..1]);
    let stored: u64 = fleet.draft().segments.iter().map(|segment| segment.bytes).sum();
    let prefilter = FEEDS * DOMAINS * BITS_PER_KEY / 8;
    // A twentieth more than the files and the prefilter take; the copy is two of seventeen.
    let allowed = (stored as usize + prefilter) * 21 / 20;
    let _plane = fleet.plane();
    let hotlist = Hotlist::start(&fleet.sidecar("n1", &next, &format!("  max_bytes: {allowed}")));
    serves(&hotlist, 1).await;
    assert_eq!(fleet.publish(&[]), 2);
    let slot = fleet.node("n1", "serve", |slot| slot["refused_version"] == 2).await;
    let reason = slot["error"]["message"].as_str().unwrap();
    assert!(reason.contains(&format!("`intel.max_bytes` allows {allowed}")), "{reason}");
    assert_eq!(slot["version"], 1);
    let hosts = ["d7.feed1.example", "d7.feed2.example"];
    assert_eq!(judged(&hotlist.address(), &next, &hosts).await, ["feed2:d7.feed2.example"]);
    assert!(metric(&hotlist, "hotlist_snapshot_bytes").await < allowed as f64);
}
