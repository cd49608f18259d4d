//! A trie over dotted paths that answers, key by key, which fields lie below.
//!
//! A document may spell `source.ip` as two nested objects, as one dotted key, or as a mixture at any depth: a key is
//! split at its dots and each label is one step. Children of a node are grouped by the length of their label, so that a
//! key that is not wanted usually costs one table look-up and no comparison.

mod lists;

use super::{FieldId, NamedList};
use lists::Marks;

/// A node of a [`PathTrie`]; [`PathTrie::ROOT`] is the document itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeId(u32);

/// The paths at which Hotlist itself writes. Every trie has them, and they come first, so that a walker recognises one
/// by its number alone.
const OWN_PATHS: [&str; 14] = [
    "tags",
    "hotlist",
    "hotlist.tags",
    "hotlist.truncated",
    "hotlist.enrichments",
    "threat.enrichments",
    "enrichments",
    "osint",
    "hotlist.osint",
    "hotlist.matched",
    "hotlist.detection",
    "hotlist.indicators",
    "hotlist.severity",
    "hotlist.alert_key",
];
/// The nodes of [`OWN_PATHS`] are those from 1 to this one, without `threat` itself.
const LAST_OWN: u32 = 15;
const THREAT: u32 = 6;

/// The meaning of a path at which Hotlist writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnPlace {
    /// A list of words, of which one is Hotlist's.
    Words,
    /// The enrichments of OCSF, of which some may be Hotlist's.
    Shared,
    /// The list of indicators (`osint` of OCSF), which comes with enrichments.
    Context,
    /// Only what may pass as Hotlist's.
    Whole,
}

impl NodeId {
    /// Whether Hotlist writes at this node, so that what stands there may pass as its own.
    #[inline]
    pub fn is_own(self) -> bool {
        self.0.wrapping_sub(1) < LAST_OWN && self.0 != THREAT
    }

    /// The meaning of an own node.
    pub fn own_place(self) -> OwnPlace {
        match self.0 {
            1 | 3 => OwnPlace::Words,
            8 => OwnPlace::Shared,
            9 => OwnPlace::Context,
            _ => OwnPlace::Whole,
        }
    }
}

/// Dotted paths compiled for stepping.
#[derive(Clone, Debug, Default)]
pub struct PathTrie {
    nodes: Vec<Node>,
    children: Vec<Child>,
    /// For each slot of each node in turn, its first child.
    slots: Vec<u32>,
}

/// The longest label whose ends are all of it.
const SHORT: usize = 16;

const NO_CHILD: u32 = u32::MAX;

#[derive(Clone, Debug, Default)]
struct Node {
    field: Option<FieldId>,
    marks: Marks,
    /// Bit `n` is set when a child's label is `n` bytes long (63 stands for 63 and more).
    lengths: u64,
    /// Its first place in `slots`.
    slots: u32,
    /// How far a hash is shifted to give a slot: a node has about two slots per child.
    shift: u32,
}

/// A node under construction: its field, and its children by label.
#[derive(Default)]
struct Building {
    field: Option<FieldId>,
    marks: Marks,
    children: Vec<(Vec<u8>, usize)>,
}

#[derive(Clone, Debug)]
struct Child {
    /// Ends of the label; with its length they are the whole label when that has 16 bytes or fewer.
    ends: (u64, u64),
    label: Box<[u8]>,
    node: NodeId,
    /// The next child in the same slot.
    next: u32,
}

impl PathTrie {
    /// The node of the document itself.
    pub const ROOT: NodeId = NodeId(0);
    /// The node of everything that is not wanted: nothing lies below it.
    pub const NOWHERE: NodeId = NodeId(u32::MAX);

    /// Compiles paths such as `source.ip`.
    pub fn new<'a>(paths: impl IntoIterator<Item = (&'a str, FieldId)>) -> PathTrie {
        PathTrie::with_lists(paths.into_iter().map(|(path, field)| (path, Some(field))), [])
    }

    /// The same with lists of named values. A path without a field is one that is known, and not wanted: a value whose name
    /// leads there is not read elsewhere.
    pub fn with_lists<'a>(
        paths: impl IntoIterator<Item = (&'a str, Option<FieldId>)>,
        lists: impl IntoIterator<Item = (&'a str, &'a NamedList)>,
    ) -> PathTrie {
        let mut building = vec![Building::default()];
        let mut unwanted = Vec::new();
        for path in OWN_PATHS {
            node_of(&mut building, path);
        }
        for (path, field) in paths {
            match field {
                Some(_) => {
                    let node = node_of(&mut building, path);
                    building[node].field = field;
                }
                None => unwanted.push(path),
            }
        }
        for (path, list) in lists {
            if lists::mark(&mut building, path, list) {
                let is_below = |name: &&&str| name.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
                for name in unwanted.iter().filter(is_below) {
                    node_of(&mut building, name);
                }
            }
        }
        PathTrie::compile(building)
    }

    fn compile(building: Vec<Building>) -> PathTrie {
        let mut trie = PathTrie::default();
        for Building { field, marks, children } in building {
            let lengths = children.iter().fold(0, |bits, (label, _)| bits | length_bit(label.len()));
            let slots = (2 * children.len()).next_power_of_two().max(2);
            let shift = u64::BITS - slots.trailing_zeros();
            trie.nodes.push(Node { field, marks, lengths, slots: trie.slots.len() as u32, shift });
            let first = trie.slots.len();
            trie.slots.resize(first + slots, NO_CHILD);
            for (label, node) in children {
                let (ends, child) = (ends(&label), trie.children.len() as u32);
                let next = std::mem::replace(&mut trie.slots[first + slot(ends, shift)], child);
                trie.children.push(Child { ends, label: label.into(), node: NodeId(node as u32), next });
            }
        }
        trie
    }

    /// The node below `node` that `key` leads to, or `None` when nothing below is wanted. `key` may be dotted.
    #[inline]
    pub fn step(&self, node: NodeId, key: &[u8]) -> Option<NodeId> {
        if key.len() > SHORT {
            return self.steps(node, key);
        }
        let ends = ends(key);
        match self.short_child(node, key.len(), ends) {
            None if has_dot(ends) => self.steps(node, key),
            child => child,
        }
    }

    /// The node that the labels of any key lead to.
    #[inline(never)]
    fn steps(&self, node: NodeId, key: &[u8]) -> Option<NodeId> {
        let (mut at, mut rest) = (node, key);
        while let Some(dot) = memchr::memchr(b'.', rest) {
            let (label, after) = rest.split_at(dot);
            at = self.child(at, label)?;
            rest = after.get(1..)?;
        }
        self.child(at, rest)
    }

    /// The field that ends at `node`, if one does.
    #[inline]
    pub fn field(&self, node: NodeId) -> Option<FieldId> {
        self.nodes.get(node.0 as usize)?.field
    }

    /// Whether fields lie below `node`.
    #[inline]
    pub fn has_children(&self, node: NodeId) -> bool {
        self.nodes.get(node.0 as usize).is_some_and(|node| node.lengths != 0)
    }

    fn child(&self, node: NodeId, label: &[u8]) -> Option<NodeId> {
        let ends = ends(label);
        match label.len() > SHORT {
            true => {
                self.in_slot(self.slot(node, label.len(), ends)?, |child| child.ends == ends && *child.label == *label)
            }
            false => self.short_child(node, label.len(), ends),
        }
    }

    /// The child whose label has this length and these ends, which are all of it.
    #[inline(always)]
    fn short_child(&self, node: NodeId, length: usize, ends: (u64, u64)) -> Option<NodeId> {
        let first = self.slot(node, length, ends)?;
        self.in_slot(first, |child| child.ends == ends && child.label.len() == length)
    }

    /// The first child in the slot of a label; `None` when no child of the node has a label of this length.
    #[inline(always)]
    fn slot(&self, node: NodeId, length: usize, ends: (u64, u64)) -> Option<u32> {
        let node = self.nodes.get(node.0 as usize)?;
        if node.lengths & length_bit(length) == 0 {
            return None;
        }
        self.slots.get(node.slots as usize + slot(ends, node.shift)).copied()
    }

    #[inline(always)]
    fn in_slot(&self, first: u32, is_label: impl Fn(&Child) -> bool) -> Option<NodeId> {
        let mut at = first;
        loop {
            let child = self.children.get(at as usize)?;
            if is_label(child) {
                return Some(child.node);
            }
            at = child.next;
        }
    }
}

/// The node of a path, added if it is not there.
fn node_of(building: &mut Vec<Building>, path: &str) -> usize {
    path.split('.').fold(0, |at, label| child_of(building, at, label.as_bytes()))
}

/// The child of this label, added if it is not there.
fn child_of(building: &mut Vec<Building>, at: usize, label: &[u8]) -> usize {
    if let Some((_, node)) = building[at].children.iter().find(|(known, _)| known == label) {
        return *node;
    }
    building.push(Building::default());
    let node = building.len() - 1;
    building[at].children.push((label.to_vec(), node));
    node
}

/// The first and the last eight bytes of a label as numbers, overlapping when it is shorter than 16: comparing two
/// numbers is much cheaper than a call that compares bytes, and most labels have fewer.
#[inline(always)]
fn ends(label: &[u8]) -> (u64, u64) {
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    let half = |bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes));
    if let Some(first) = label.first_chunk::<8>() {
        return (word(first), label.last_chunk().map_or(0, word));
    }
    if let Some(first) = label.first_chunk::<4>() {
        return (half(first), label.last_chunk().map_or(0, half));
    }
    match label {
        [] => (0, 0),
        [first, .., last] => (u64::from(*first), u64::from(*last) << 8 | u64::from(label[label.len() / 2])),
        [only] => (u64::from(*only), 0),
    }
}

/// Whether a key has a dot whose ends are all of it.
#[inline(always)]
fn has_dot((first, last): (u64, u64)) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7);
    zero_bytes(first ^ (ONES * u64::from(b'.'))) | zero_bytes(last ^ (ONES * u64::from(b'.'))) != 0
}

/// The slot of a label among those of its node.
#[inline]
fn slot((first, last): (u64, u64), shift: u32) -> usize {
    // Fibonacci hashing: the upper bits of the product depend on all bits.
    ((first ^ last.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> shift) as usize
}

#[inline]
fn length_bit(length: usize) -> u64 {
    1 << length.min(63)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nested_dotted_and_mixed_keys_lead_to_the_same_node() {
        let trie = PathTrie::new([("source.nat.ip", FieldId(0)), ("source.ip", FieldId(1))]);
        let root = PathTrie::ROOT;
        let source = trie.step(root, b"source").unwrap();
        let nat = trie.step(source, b"nat").unwrap();
        let ip = trie.step(nat, b"ip").unwrap();
        assert_eq!(trie.field(ip), Some(FieldId(0)));
        assert_eq!(trie.step(root, b"source.nat.ip"), Some(ip));
        assert_eq!(trie.step(source, b"nat.ip"), Some(ip));
        assert_eq!(trie.step(root, b"source.nat"), Some(nat));
        assert!(trie.has_children(nat) && !trie.has_children(ip));
        for other in [&b""[..], b".", b"source.", b".source", b"Source", b"source..ip", b"sourc", b"source.nat.ip.x"] {
            assert_eq!(trie.step(root, other), None, "{other:?}");
        }
    }

    #[test]
    fn the_own_nodes_are_those_where_hotlist_writes() {
        for trie in [PathTrie::new([]), PathTrie::new([("source.ip", FieldId(0)), ("tags", FieldId(1))])] {
            let step = |path: &str| trie.step(PathTrie::ROOT, path.as_bytes()).unwrap();
            for path in OWN_PATHS {
                assert!(step(path).is_own(), "{path}");
                let place = match path {
                    "tags" | "hotlist.tags" => OwnPlace::Words,
                    "enrichments" => OwnPlace::Shared,
                    "osint" => OwnPlace::Context,
                    _ => OwnPlace::Whole,
                };
                assert_eq!(step(path).own_place(), place, "{path}");
            }
            assert!(!PathTrie::ROOT.is_own() && !step("threat").is_own());
        }
        let trie = PathTrie::new([("source.ip", FieldId(0))]);
        assert!(
            ["source", "source.ip"].iter().all(|path| !trie.step(PathTrie::ROOT, path.as_bytes()).unwrap().is_own())
        );
    }

    proptest! {
        /// Whether a key has a dot is seen at every place and length.
        #[test]
        fn a_dot_is_seen_wherever_it_stands(key in proptest::collection::vec(prop_oneof![Just(b'.'), Just(b'/'), any::<u8>()], 0..=SHORT)) {
            prop_assert_eq!(has_dot(ends(&key)), key.contains(&b'.'));
        }

        /// Stepping by any split of a path at its dots finds exactly the fields of the table.
        #[test]
        fn any_split_of_a_path_steps_to_its_field(splits in proptest::collection::vec(any::<bool>(), 8)) {
            let table = crate::schema::FieldTable::embedded(true).unwrap();
            let trie = table.trie(|_, _| true);
            for (id, field) in table.iter() {
                let mut node = PathTrie::ROOT;
                let mut key = String::new();
                for (at, label) in field.name.split('.').enumerate() {
                    if !key.is_empty() { key.push('.'); }
                    key.push_str(label);
                    if splits[at % splits.len()] {
                        node = trie.step(node, key.as_bytes()).unwrap();
                        key.clear();
                    }
                }
                if !key.is_empty() { node = trie.step(node, key.as_bytes()).unwrap(); }
                prop_assert_eq!(trie.field(node), Some(id));
            }
        }
    }
}
