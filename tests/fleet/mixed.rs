//! Files and a control plane together.

use nix::sys::signal::Signal;

use crate::common::{Fleet, judged, logged, serves};
use crate::next_hop::NextHop;
use crate::process::Hotlist;

/// Scenario: files first and no control plane; then its manifest; the file changes, the manifest changes, the file goes bad,
/// the configuration is loaded anew, the manifest changes, the file is mended. Guarantee: both sides tag all along, each
/// with its newest good state.
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

    let served = hotlist.log().matches("snapshot serves").count();
    fleet.scene.indicators("local", &["f2.example"]);
    logged(&hotlist, "snapshot serves", served + 1).await;
    tags(&["central:m1.example", "local:f2.example"]).await;

    fleet.serve("central", &["m2.example"]);
    serves(&hotlist, 2).await;
    tags(&["central:m2.example", "local:f2.example"]).await;

    std::fs::write(fleet.scene.path("indicators/local.txt"), [0, 159, 146, 150, 0, 1]).unwrap();
    logged(&hotlist, "its last good indicators stay in force", 1).await;
    tags(&["central:m2.example", "local:f2.example"]).await;
    hotlist.signal(Signal::SIGHUP);
    logged(&hotlist, "the configuration is ", 1).await;
    tags(&["central:m2.example", "local:f2.example"]).await;

    fleet.serve("central", &["m3.example"]);
    serves(&hotlist, 3).await;
    tags(&["central:m3.example", "local:f2.example"]).await;

    let served = hotlist.log().matches("snapshot serves").count();
    fleet.scene.indicators("local", &["f3.example"]);
    logged(&hotlist, "snapshot serves", served + 1).await;
    tags(&["central:m3.example", "local:f3.example"]).await;
    hotlist.signal(Signal::SIGHUP);
    logged(&hotlist, "the configuration is ", 2).await;
    tags(&["central:m3.example", "local:f3.example"]).await;
}
