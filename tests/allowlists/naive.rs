//! Lists against an oracle that asks every entry, one after the other, as the format describes them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hotlist::intel::allowlist::{self, Subject};
use hotlist::observable::Kind;
use ipnet::IpNet;
use proptest::prelude::*;
use serde_json::json;

/// Whether one entry holds a value. Both are canonical; an expression is a name that values start with.
fn held(kind: &str, entry: &str, value: &str) -> bool {
    let below = |name: &str, entry: &str| name == entry || name.ends_with(&format!(".{entry}"));
    match kind {
        "string" => value == entry,
        "hostname" => below(value, entry),
        "substring" => value.contains(entry),
        "cidr" => {
            let network = entry.parse::<IpNet>().or_else(|_| entry.parse::<IpAddr>().map(IpNet::from)).unwrap();
            network.contains(&value.parse::<IpAddr>().unwrap())
        }
        "regex" => value.starts_with(entry),
        other => panic!("{other}"),
    }
}

/// Names over few labels, so that they often meet.
fn name() -> impl Strategy<Value = String> {
    proptest::collection::vec("[ab]{1,2}", 1..4).prop_map(|labels| labels.join("."))
}

/// Networks and addresses over few bits, so that they nest.
fn network() -> impl Strategy<Value = String> {
    let v4 = (0u32..64, 24u8..=32).prop_map(|(low, prefix)| {
        let network = IpNet::new(Ipv4Addr::from(0xc000_0200 | low).into(), prefix).unwrap();
        if prefix == 32 { network.addr().to_string() } else { network.to_string() }
    });
    let v6 = (0u128..64, 120u8..=128).prop_map(|(low, prefix)| format!("{}/{prefix}", Ipv6Addr::from(low << 64 | low)));
    prop_oneof![v4, v6]
}

fn address() -> impl Strategy<Value = String> {
    prop_oneof![
        (0u32..300).prop_map(|low| Ipv4Addr::from(0xc000_0200 | low).to_string()),
        (0u128..64).prop_map(|low| Ipv6Addr::from(low << 64 | low).to_string()),
    ]
}

fn agree(kind: &str, of: Kind, entries: &[String], values: &[String]) -> Result<(), TestCaseError> {
    let text = json!({ "name": "x", "type": kind, "list": entries }).to_string();
    let import = allowlist::read(text.as_bytes(), "").unwrap();
    prop_assert_eq!(&import.unusable, &[]);
    for value in values {
        let found = import.list.find(&Subject::new(of, value.as_bytes(), value));
        let expected = entries.iter().any(|entry| held(kind, entry, value));
        prop_assert_eq!(found.is_some(), expected, "{} in {:?} of {}: {:?}", value, entries, kind, found);
        // The entry that is named is one that holds the value.
        if let Some(found) = found {
            prop_assert!(held(kind, &found, value), "{} does not hold {}", found, value);
        }
    }
    Ok(())
}

proptest! {
    /// Guarantee: a list of names, of whatever type, holds what some entry of it holds, and names such an entry.
    #[test]
    fn lists_of_names_agree(entries in proptest::collection::vec(name(), 0..12), values in proptest::collection::vec(name(), 1..12)) {
        for kind in ["string", "hostname", "substring"] {
            agree(kind, Kind::Domain, &entries, &values)?;
        }
        let anchored: Vec<String> = entries.iter().map(|entry| format!("/^{}/", entry.replace('.', "\\."))).collect();
        let text = json!({ "name": "x", "type": "regex", "list": anchored }).to_string();
        let list = allowlist::read(text.as_bytes(), "").unwrap().list;
        for value in &values {
            let found = list.find(&Subject::new(Kind::Domain, value.as_bytes(), value)).is_some();
            prop_assert_eq!(found, entries.iter().any(|entry| held("regex", entry, value)));
        }
    }

    /// Guarantee: a list of networks holds an address exactly when some network of it covers the address.
    #[test]
    fn lists_of_networks_agree(entries in proptest::collection::vec(network(), 0..16), values in proptest::collection::vec(address(), 1..24)) {
        agree("cidr", Kind::Ip, &entries, &values)?;
    }

    /// Guarantee: no bytes and no value make reading or asking panic.
    #[test]
    fn arbitrary_bytes_do_no_harm(
        bytes in proptest::collection::vec(any::<u8>(), 0..60), entries in proptest::collection::vec("\\PC{0,12}", 0..6),
        value in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let _ = allowlist::read(&bytes, "");
        for kind in ["string", "hostname", "substring", "cidr", "regex"] {
            let text = json!({ "name": "x", "type": kind, "list": entries }).to_string();
            let import = allowlist::read(text.as_bytes(), "").unwrap();
            prop_assert_eq!(import.list.len() + import.unusable.len(), entries.len());
            for of in Kind::ALL {
                import.list.find(&Subject::new(of, &value, &String::from_utf8_lossy(&value)));
            }
        }
    }
}
