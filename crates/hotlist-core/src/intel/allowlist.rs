//! Allowlists: values that a SOC knows to be harmless or shared, in the format of MISP warninglists.
//!
//! A list applies to a finding when the event's value lies inside one of its entries. Whatever an indicator stands for
//! includes the event's value, so an indicator that lies inside an entry as a whole needs no question of its own, and
//! one that merely contains an entry is not touched. Only confirmed findings are asked about, never every value.

mod action;
mod attribute;
mod exact;
mod expression;
mod network;
mod read;
mod subject;
mod substring;

use std::sync::Arc;

use ipnet::IpNet;

pub use action::Action;
pub use read::{Import, MAX_BYTES, ReadError, Unusable, read};
pub use subject::Subject;

use attribute::Kinds;
use exact::Names;
use expression::Expressions;
use network::Networks;
use substring::Substrings;

/// Every active allowlist, in the order of the configuration.
#[derive(Debug, Default)]
pub struct Allowlists {
    lists: Vec<Allowlist>,
}

/// One list.
#[derive(Debug)]
pub struct Allowlist {
    name: Arc<str>,
    action: Action,
    kinds: Kinds,
    entries: Entries,
    len: usize,
}

/// The kind of the entries of a list: the `type` of the format.
#[derive(Debug)]
enum Entries {
    /// `string`: one value each.
    Exact(Names),
    /// `hostname`: a name and everything below it, or an address.
    Hostnames(Names),
    /// `substring`: a part of a value.
    Substrings(Substrings),
    /// `cidr`: addresses and networks.
    Networks(Networks),
    /// `regex`: a pattern.
    Expressions(Expressions),
}

/// That a list holds a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The list.
    pub list: Arc<str>,
    /// The entry that holds the value, in canonical form.
    pub entry: Box<str>,
    /// The action of the list.
    pub action: Action,
}

impl Allowlists {
    /// The lists, asked in this order.
    pub fn new(lists: Vec<Allowlist>) -> Allowlists {
        Allowlists { lists }
    }

    /// Whether there is nothing to ask.
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// Every list.
    pub fn lists(&self) -> &[Allowlist] {
        &self.lists
    }

    /// Every list that holds the value, with the entry that does.
    pub fn listings(&self, subject: &Subject) -> Vec<Listing> {
        let listing = |list: &Allowlist| {
            let entry = list.find(subject)?;
            Some(Listing { list: list.name.clone(), entry: entry.into(), action: list.action })
        };
        self.lists.iter().filter_map(listing).collect()
    }
}

impl Allowlist {
    /// Its name, as shown in hits and metrics.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its action.
    pub fn action(&self) -> Action {
        self.action
    }

    /// The list under another name.
    pub fn named(self, name: &str) -> Allowlist {
        Allowlist { name: name.into(), ..self }
    }

    /// The list with another action.
    pub fn with_action(self, action: Action) -> Allowlist {
        Allowlist { action, ..self }
    }

    /// Number of usable entries, duplicates included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no entry is usable.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The entry that holds the value, in canonical form.
    pub fn find(&self, subject: &Subject) -> Option<String> {
        if !self.kinds.contains(subject.kind()) {
            return None;
        }
        match &self.entries {
            Entries::Exact(names) => names.exact(subject).map(str::to_owned),
            Entries::Hostnames(names) => match (subject.address(), subject.host()) {
                (Some(address), _) => names.host(&address.to_string()).map(str::to_owned),
                (None, Some(host)) => above(host).find_map(|name| names.host(name)).map(str::to_owned),
                (None, None) => None,
            },
            Entries::Substrings(parts) => parts.find(subject).map(str::to_owned),
            Entries::Networks(networks) => networks.covering(subject.address()?).map(shown),
            Entries::Expressions(expressions) => expressions.find(subject).map(str::to_owned),
        }
    }
}

/// An entry of one address as an address.
fn shown(network: IpNet) -> String {
    match network.prefix_len() == network.max_prefix_len() {
        true => network.addr().to_string(),
        false => network.to_string(),
    }
}

/// A name and every name above it, down to the last label.
fn above(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| name.split_once('.').map(|(_, above)| above))
}
