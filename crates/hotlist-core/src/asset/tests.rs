//! Assets: the names of pods, and a property test over events whose fields come in any order.

use proptest::prelude::*;

use super::*;

#[test]
fn a_pod_is_known_by_its_controller() {
    for (pod, controller) in [
        ("web-7d4b9c6f5-x2x7q", "web"),
        ("web-frontend-5d78c9869d-tb2kz", "web-frontend"),
        ("node-exporter-x2x7q", "node-exporter"),
        ("db-0", "db"),
        ("backup-28391234-x2x7q", "backup"),
        ("test-pod-cdcws", "test-pod"),
        ("nginx", "nginx"),
        ("my-queue", "my-queue"),
        ("-x2x7q", "-x2x7q"),
        ("", ""),
    ] {
        assert_eq!(controller_of_pod(pod), controller, "{pod}");
    }
}

#[test]
fn addresses_that_many_machines_have_name_none() {
    for (address, expected) in [
        ("10.1.2.3", true),
        ("127.0.0.1", false),
        ("0.0.0.0", false),
        ("169.254.1.1", false),
        ("::1", false),
        ("fe80::1", false),
        ("fd00::1", true),
    ] {
        assert_eq!(names_one_machine(address.parse().unwrap()), expected, "{address}");
    }
}

/// A field of an event.
#[derive(Clone, Debug)]
enum Part {
    Endpoint(Option<Side>, [u8; 4], bool),
    Text(AssetPart, String),
}

fn part() -> impl Strategy<Value = Part> {
    use AssetPart::{
        Cluster, HostAddress, HostId, HostName, Namespace, ObjectKind, ObjectName, Observer, Pod, ReplicaSet, User,
        Workload,
    };
    let parts = [
        HostId,
        HostName,
        HostAddress,
        Observer,
        Cluster,
        Namespace,
        Workload,
        ReplicaSet,
        Pod,
        ObjectKind,
        ObjectName,
        User,
    ];
    let text = prop_oneof!["[a-zA-Z0-9.-]{0,8}", Just("pods".to_owned()), Just("10.9.8.7".to_owned()), "\\PC{0,300}"];
    prop_oneof![
        1 => (prop::sample::select(vec![None, Some(Side::Initiator), Some(Side::Responder)]), any::<[u8; 4]>(), any::<bool>()).prop_map(|(side, address, is_internal)| {
            Part::Endpoint(side, address, is_internal)
        }),
        3 => (prop::sample::select(parts.to_vec()), text).prop_map(|(part, text)| Part::Text(part, text)),
    ]
}

fn facts<'p>(parts: impl Iterator<Item = (u32, &'p Part)>) -> AssetFacts {
    let mut candidates = AssetCandidates::default();
    for (rank, part) in parts {
        match part {
            Part::Endpoint(side, address, is_internal) => {
                candidates.add_endpoint(*side, rank, IpAddr::from(*address), *is_internal);
            }
            Part::Text(part, text) => candidates.add(AssetField { part: *part, rank }, text.as_bytes()),
        }
    }
    candidates.into_facts()
}

proptest! {
    /// The order of an event's fields does not matter; the other endpoint counts before anything else if it is ours; an
    /// asset has a name in lower case that is not longer than a field may be.
    #[test]
    fn an_asset_is_what_the_event_says_in_any_order(
        (parts, order) in prop::collection::vec(part(), 0..10)
            .prop_flat_map(|parts| {
                let order: Vec<usize> = (0..parts.len()).collect();
                (Just(parts), Just(order).prop_shuffle())
            }),
    ) {
        let one = facts((0..).zip(&parts));
        let other = facts(order.iter().map(|at| (*at as u32, &parts[*at])));
        prop_assert_eq!(&one, &other);
        let of = |role| one.of_finding(role, Kind::Ip).cloned();
        for (role, side) in [(Role::Responder, &one.initiator), (Role::Initiator, &one.responder)] {
            if side.is_some() {
                prop_assert_eq!(&of(role), side);
            }
        }
        for role in [Role::None, Role::Initiator, Role::Responder, Role::Forwarded, Role::Asset] {
            let asset = of(role);
            let assets = [&one.initiator, &one.responder, &one.endpoint, &one.about];
            let has_any = assets.into_iter().any(Option::is_some);
            prop_assert_eq!(asset.is_some(), has_any, "{:?}", role);
            if let Some(asset) = asset {
                prop_assert!(!asset.name.is_empty());
                prop_assert_eq!(asset.name.to_lowercase(), &*asset.name);
            }
        }
    }

    /// Whatever a controller is called, its pods are known by it.
    #[test]
    fn generated_ends_are_cut(name in "[a-z][a-z0-9]{0,9}", hash in "[bcdfghjklmnpqrstvwxz2456789]{7,10}",
        random in "[bcdfghjklmnpqrstvwxz2456789]{5}", number in 0u32..1000)
    {
        let pods = [format!("{name}-{hash}-{random}"), format!("{name}-{number}")];
        prop_assert_eq!(pods.each_ref().map(|pod| controller_of_pod(pod)), [&name, &name]);
        let set = format!("{name}-{hash}");
        prop_assert_eq!(controller_of_set(&set), &name);
    }
}
