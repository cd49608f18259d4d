//! Revocations: the indicators that a manifest takes back from its segments.

use hotlist::intel::manifest::Revocation;
use hotlist::observable::Kind;
use jiff::Timestamp;

use crate::common::{Fleet, judged, serves};
use crate::next_hop::NextHop;
use crate::process::Hotlist;

const ID: &str = "indicator--11111111-1111-4111-8111-111111111111";

/// Scenario: indicators serve; a manifest of the same segments revokes one by its value and one by its id, the next
/// nothing. Guarantee: what is revoked does not hit, of the feed that is named only, and hits again when it is revoked
/// no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_revoked_does_not_hit() {
    let (fleet, next) = (Fleet::new(), NextHop::start().await);
    let table = format!("type,value,id\ndomain,id.example,{ID}\ndomain,value.example,x\ndomain,stays.example,y\n");
    fleet.compile(&[("table.csv", table), ("list.txt", "value.example\n".to_owned())]);
    fleet.publish(&[]);
    let _plane = fleet.plane();
    let hotlist = Hotlist::start(&fleet.sidecar("n1", &next, ""));
    serves(&hotlist, 1).await;
    let address = hotlist.address();
    let hosts = ["id.example", "value.example", "stays.example"];
    let all = ["list:value.example", "table:id.example", "table:stays.example", "table:value.example"];
    assert_eq!(judged(&address, &next, &hosts).await, all);

    let feed = || "table".to_owned();
    let mut draft = fleet.draft();
    draft.revocations = vec![
        Revocation::Id { feed: feed(), id: ID.to_owned() },
        Revocation::Value { feed: feed(), kind: Kind::Domain, value: "value.example".to_owned() },
    ];
    let published = fleet.store().publish(draft, Some(&fleet.key()), Timestamp::now()).unwrap();
    serves(&hotlist, published.manifest.version).await;
    assert_eq!(judged(&address, &next, &hosts).await, ["list:value.example", "table:stays.example"]);

    let version = fleet.publish(&[]);
    serves(&hotlist, version).await;
    assert_eq!(judged(&address, &next, &hosts).await, all);
}

/// Scenario: a manifest revokes a value that is not of its kind. Guarantee: the manifest is refused with the reason and
/// how to fix it, because the indicator that it means to revoke would still match; the previous version stays active.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_that_cannot_be_read_is_refused() {
    let (fleet, next) = (Fleet::new(), NextHop::start().await);
    fleet.serve("feed", &["a.example"]);
    let _plane = fleet.plane();
    let hotlist = Hotlist::start(&fleet.sidecar("n1", &next, ""));
    serves(&hotlist, 1).await;
    let mut draft = fleet.draft();
    let value = "no address".to_owned();
    draft.revocations = vec![Revocation::Value { feed: "feed".to_owned(), kind: Kind::Ip, value }];
    let published = fleet.store().publish(draft, Some(&fleet.key()), Timestamp::now()).unwrap();
    let version = published.manifest.version;
    let slot = fleet.node("n1", "serve", |slot| slot["refused_version"] == version).await;
    let reason = slot["error"]["message"].as_str().unwrap();
    for part in ["feed `feed`", "`no address`", "ip value", "publish the manifest again"] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    assert_eq!(slot["version"], 1);
    assert_eq!(judged(&hotlist.address(), &next, &["a.example"]).await, ["feed:a.example"]);
}
