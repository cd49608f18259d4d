//! Files and a control plane together.

use hotlist::encoding::otlp::request_of;
use nix::sys::signal::Signal;

use crate::client::export;
use crate::common::{Fleet, event, judged, lines, logged, metric, serves};
use crate::next_hop::NextHop;
use crate::process::Hotlist;

/// Scenario: files first and no control plane; then its manifest; the file changes, the manifest changes, the file
/// becomes malformed, the configuration is reloaded, the manifest changes, the file is fixed. Guarantee: both sides tag
/// all along, each with its newest good state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_and_manifests_serve_together() {
    let (fleet, next) = (Fleet::new(), NextHop::start().await);
    fleet.scene.indicators("local", &["f1.example"]);
    let intel = format!("  files: [{{ path: \"{}/*\" }}]", fleet.scene.path("indicators").display());
    let hotlist = Hotlist::start(&fleet.sidecar("n1", &next, &intel));
    let address = hotlist.address();
    let hosts = ["f1.example", "f2.example", "f3.example", "m1.example", "m2.example", "m3.example"];
    let tags = async |expected: &[&str]| assert_eq!(judged(&address, &next, &hosts).await, expected);
    tags(&["local:f1.example"]).await;

    fleet.serve("central", &["m1.example"]);
    let _plane = fleet.plane();
    serves(&hotlist, 1).await;
    tags(&["central:m1.example", "local:f1.example"]).await;

    let served = hotlist.log().matches("snapshot active").count();
    fleet.scene.indicators("local", &["f2.example"]);
    logged(&hotlist, "snapshot active", served + 1).await;
    tags(&["central:m1.example", "local:f2.example"]).await;

    fleet.serve("central", &["m2.example"]);
    serves(&hotlist, 2).await;
    tags(&["central:m2.example", "local:f2.example"]).await;

    std::fs::write(fleet.scene.path("indicators/local.txt"), [0, 159, 146, 150, 0, 1]).unwrap();
    logged(&hotlist, "last good indicators", 1).await;
    tags(&["central:m2.example", "local:f2.example"]).await;
    hotlist.signal(Signal::SIGHUP);
    logged(&hotlist, "configuration is reloaded", 1).await;
    tags(&["central:m2.example", "local:f2.example"]).await;

    fleet.serve("central", &["m3.example"]);
    serves(&hotlist, 3).await;
    tags(&["central:m3.example", "local:f2.example"]).await;

    let served = hotlist.log().matches("snapshot active").count();
    fleet.scene.indicators("local", &["f3.example"]);
    logged(&hotlist, "snapshot active", served + 1).await;
    tags(&["central:m3.example", "local:f3.example"]).await;
    hotlist.signal(Signal::SIGHUP);
    logged(&hotlist, "configuration is reloaded", 2).await;
    tags(&["central:m3.example", "local:f3.example"]).await;
}

/// Scenario: nothing may pass unmatched, there are files and a control plane that is away; then the configuration names
/// no files any more; then the control plane comes. Guarantee: the files serve and the node is ready; without them it
/// is not, and says so in metrics, too; with a manifest it is again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_serve_alone_while_the_control_plane_is_away() {
    let (fleet, next) = (Fleet::new(), NextHop::start().await);
    fleet.scene.indicators("local", &["f1.example"]);
    let configure = |intel: &str| {
        let config = fleet.sidecar("n1", &next, intel);
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, text + "failure_mode: closed\n").unwrap();
        config
    };
    let files = format!("  files: [{{ path: \"{}/*\" }}]", fleet.scene.path("indicators").display());
    let hotlist = Hotlist::start(&configure(&files));
    let address = hotlist.address();
    assert_eq!(judged(&address, &next, &["f1.example"]).await, ["local:f1.example"]);
    assert_eq!(hotlist.admin("/readyz").await.0, 200, "{}", hotlist.admin("/readyz?verbose").await.1);
    assert_eq!(metric(&hotlist, "hotlist_indicators{kind=\"domain\"}").await, 1.0);
    assert_eq!(metric(&hotlist, "hotlist_feed_indicators{feed=\"local\"}").await, 1.0);

    configure("");
    hotlist.signal(Signal::SIGHUP);
    logged(&hotlist, "configuration is reloaded", 1).await;
    let answer = export(&address, &request_of([(0, &event("x", &[]))])).await.unwrap();
    assert_eq!(answer.status, 14, "{answer:?}");
    assert_eq!(hotlist.admin("/readyz").await.0, 503);
    assert_eq!(metric(&hotlist, "hotlist_indicators{kind=\"domain\"}").await, 0.0);
    assert_eq!(metric(&hotlist, "hotlist_feed_indicators{feed=\"local\"}").await, 0.0);

    fleet.serve("central", &["m1.example"]);
    let _plane = fleet.plane();
    serves(&hotlist, 1).await;
    assert_eq!(hotlist.admin("/readyz").await.0, 200);
    assert_eq!(judged(&address, &next, &["f1.example", "m1.example"]).await, ["central:m1.example"]);
}

/// Scenario: a manifest of two feeds, then of one of them. Guarantee: metrics do not show the other at its last size.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_that_is_gone_is_shown_empty() {
    let (fleet, next) = (Fleet::new(), NextHop::start().await);
    fleet.compile(&[("stays.txt", lines(&["s.example"])), ("goes.txt", lines(&["g1.example", "g2.example"]))]);
    fleet.publish(&[]);
    let _plane = fleet.plane();
    let hotlist = Hotlist::start(&fleet.sidecar("n1", &next, ""));
    serves(&hotlist, 1).await;
    let of = async |feed: &str| metric(&hotlist, &format!("hotlist_feed_indicators{{feed=\"{feed}\"}}")).await;
    assert_eq!((of("stays").await, of("goes").await), (1.0, 2.0));
    fleet.publish(&["--feed", "stays"]);
    serves(&hotlist, 2).await;
    assert_eq!((of("stays").await, of("goes").await), (1.0, 0.0));
    assert_eq!(judged(&hotlist.address(), &next, &["s.example", "g1.example"]).await, ["stays:s.example"]);
}
