//! Mutual TLS and signatures: tenants see their own, and what is old does not come back.

use std::path::PathBuf;

use crate::certificates::Authority;
use crate::common::{Fleet, NAME, judged, lines, metric, serves};
use crate::next_hop::NextHop;
use crate::process::Hotlist;

/// The configuration of a node with the certificate of a tenant.
fn node(fleet: &Fleet, authority: &Authority, tenant: &str, endpoint: &str, next: &NextHop) -> PathBuf {
    let identity = authority.client(&[&format!("spiffe://example.org/tenant/{tenant}")]);
    let certificate = fleet.scene.write(&format!("{tenant}.pem"), &identity.pem);
    let key = fleet.scene.write(&format!("{tenant}.key"), &identity.key);
    let tls = format!(
        ", tls: {{ ca_file: \"{}\", cert_file: \"{}\", key_file: \"{}\" }}",
        fleet.scene.path("ca.pem").display(),
        certificate.display(),
        key.display()
    );
    fleet.config(tenant, "127.0.0.1:0", endpoint, &next.endpoint, &tls, "")
}

const TLS: [&str; 8] =
    ["--listen", "127.0.0.1:0", "--tls-cert", "server.pem", "--tls-key", "server.key", "--tls-client-ca", "ca.pem"];

/// Scenario: tenants A and B, each with a publication of its own, and a node each. Guarantee: each node serves what is
/// its tenant's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_serve_their_own() {
    let (fleet, next, authority) = (Fleet::new(), NextHop::start().await, Authority::new());
    authority.files(&fleet.scene.path(""), &authority.sign());
    fleet.compile(&[("of-a.txt", lines(&["a.example"])), ("of-b.txt", lines(&["b.example"]))]);
    for tenant in ["a", "b"] {
        let (label, feed) = (format!("tenant={tenant}"), format!("of-{tenant}"));
        let of = ["--store", "store", "--audience", "acme", "--key", "key.pem"];
        let what = ["publish", "--name", tenant, "--label", &label, "--feed", &feed];
        fleet.prints(&[&what[..], &of].concat());
    }
    let plane = fleet.plane_with(&TLS);
    let endpoint = format!("https://{}", plane.address);
    for (tenant, version, expected) in [("a", 1, "of-a:a.example"), ("b", 2, "of-b:b.example")] {
        let hotlist = Hotlist::start(&node(&fleet, &authority, tenant, &endpoint, &next));
        serves(&hotlist, version).await;
        assert_eq!(judged(&hotlist.address(), &next, &["a.example", "b.example"]).await, [expected]);
    }
}

/// Scenario: an old publication is copied back into the store by hand, with its good signature, for a node that is
/// connected, and for one that restarts, at a control plane that restarts, too. Guarantee: it is refused each time and
/// the newer one stays active.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_manifest_is_refused_after_a_restart_too() {
    let (fleet, next, authority) = (Fleet::new(), NextHop::start().await, Authority::new());
    authority.files(&fleet.scene.path(""), &authority.sign());
    fleet.serve("feed", &["old.example"]);
    let path = fleet.scene.path(&format!("store/publications/{NAME}.serve.json"));
    let old = std::fs::read(&path).unwrap();
    let plane = fleet.plane_with(&TLS);
    let config = node(&fleet, &authority, "a", &format!("https://{}", plane.address), &next);
    let hotlist = Hotlist::start(&config);
    serves(&hotlist, 1).await;
    fleet.serve("feed", &["new.example"]);
    serves(&hotlist, 2).await;

    let replayed = fleet.scene.path("replayed.json");
    std::fs::write(&replayed, &old).unwrap();
    std::fs::rename(&replayed, &path).unwrap();
    let refused = "hotlist_control_refused_total{slot=\"serve\",reason=\"version\"}";
    let hosts = ["old.example", "new.example"];
    hotlist.wait_for("version 1 is older than 2");
    assert_eq!(judged(&hotlist.address(), &next, &hosts).await, ["feed:new.example"]);
    assert_eq!(metric(&hotlist, refused).await, 1.0);

    hotlist.kill();
    drop(plane);
    let plane = fleet.plane_with(&TLS);
    let hotlist = Hotlist::start(&node(&fleet, &authority, "a", &format!("https://{}", plane.address), &next));
    assert_eq!(judged(&hotlist.address(), &next, &hosts).await, ["feed:new.example"]);
    hotlist.wait_for("version 1 is older than 2");
    assert_eq!(judged(&hotlist.address(), &next, &hosts).await, ["feed:new.example"]);
    // Published again it has a higher version.
    let version = fleet.serve("feed", &["old.example"]);
    serves(&hotlist, version).await;
    assert_eq!(judged(&hotlist.address(), &next, &hosts).await, ["feed:old.example"]);
}

/// Scenario: somebody who can write to the store signs with a key of his own, or not at all. Guarantee: the node
/// refuses both and serves on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_trusted_key_signed_is_refused() {
    let (fleet, next) = (Fleet::new(), NextHop::start().await);
    fleet.serve("feed", &["good.example"]);
    let _plane = fleet.plane();
    let hotlist = Hotlist::start(&fleet.sidecar("n1", &next, ""));
    serves(&hotlist, 1).await;
    fleet.prints(&["keygen", "--out", "other.pem"]);
    fleet.compile(&[("feed.txt", lines(&["evil.example"]))]);
    let publish = ["publish", "--store", "store", "--name", NAME, "--audience", "acme"];
    fleet.prints(&[&publish[..], &["--key", "other.pem"]].concat());
    let refused = |version: u64| move |slot: &serde_json::Value| slot["refused_version"] == version;
    let slot = fleet.node("n1", "serve", refused(2)).await;
    assert_eq!((&slot["version"], &slot["error"]["code"]), (&1.into(), &16.into()), "{slot}");

    let publications = fleet.scene.path("store/publications");
    std::fs::remove_file(publications.join(format!("{NAME}.serve.json"))).unwrap();
    fleet.prints(&publish);
    let slot = fleet.node("n1", "serve", refused(3)).await;
    assert_eq!((&slot["version"], &slot["error"]["code"]), (&1.into(), &16.into()), "{slot}");
    let hosts = ["good.example", "evil.example"];
    assert_eq!(judged(&hotlist.address(), &next, &hosts).await, ["feed:good.example"]);
    serves(&hotlist, 1).await;
}
