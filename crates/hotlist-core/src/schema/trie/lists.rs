//! Lists of named values in the trie: `[{"Name": "SourceIp", "Value": "192.0.2.1"}]`, whose values are read as if they were
//! members of that name.
//!
//! A list, and the members of its elements that have the name or the value, are nodes like others, with marks. A walker asks
//! for the marks when an object begins; other objects cost nothing more.

use super::{Building, NodeId, PathTrie};
use crate::schema::NamedList;

/// Marks of a node, joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks(u8);

impl Marks {
    /// Its elements are named.
    const LIST: Marks = Marks(1);
    /// It is an object inside of an element, with the name or the value below it.
    const ABOVE: Marks = Marks(2);
    /// It is the name of its element.
    const NAME: Marks = Marks(4);
    /// It is the value of its element.
    const VALUE: Marks = Marks(8);

    fn add(&mut self, marks: Marks) {
        self.0 |= marks.0;
    }

    fn has(self, marks: Marks) -> bool {
        self.0 & marks.0 != 0
    }
}

impl PathTrie {
    #[inline]
    fn marks(&self, node: NodeId) -> Marks {
        self.nodes.get(node.0 as usize).map_or(Marks::default(), |node| node.marks)
    }

    /// Whether an object at `node` is an element of a list of named values, or part of one.
    #[inline]
    pub fn is_element(&self, node: NodeId) -> bool {
        self.marks(node).has(Marks(Marks::LIST.0 | Marks::ABOVE.0))
    }

    /// Whether an object at `node` is an element of a list of named values.
    pub fn is_list(&self, node: NodeId) -> bool {
        self.marks(node).has(Marks::LIST)
    }

    /// Whether a text at `node` is the name of its element.
    pub fn is_name(&self, node: NodeId) -> bool {
        self.marks(node).has(Marks::NAME)
    }

    /// Whether `node` is the value of its element.
    pub fn is_value(&self, node: NodeId) -> bool {
        self.marks(node).has(Marks::VALUE)
    }

    /// Whether an object at `node` may have the name of its element below it.
    pub fn is_above(&self, node: NodeId) -> bool {
        self.marks(node).has(Marks::ABOVE)
    }

    /// The node of a name below the list at `list`, [`PathTrie::NOWHERE`] if there is none.
    pub fn named(&self, list: NodeId, name: &[u8]) -> NodeId {
        match name.len() {
            0..=LONGEST_NAME => self.step(list, name).unwrap_or(PathTrie::NOWHERE),
            _ => PathTrie::NOWHERE,
        }
    }

    /// As [`PathTrie::step`], inside of an element whose name leads to `named`: its value is there.
    pub fn step_in_element(
        &self,
        node: NodeId,
        key: &[u8],
        named: NodeId,
        is_object: impl FnOnce() -> bool,
    ) -> Option<NodeId> {
        let child = self.step(node, key)?;
        let marks = self.marks(child);
        let is_value = marks.has(Marks::VALUE) && named != PathTrie::NOWHERE;
        Some(if is_value && !(marks.has(Marks::ABOVE) && is_object()) { named } else { child })
    }
}

/// No row has a longer name.
const LONGEST_NAME: usize = 1024;

/// Marks a list, if a field is below it. Returns whether there is.
pub(super) fn mark(building: &mut Vec<Building>, path: &str, list: &NamedList) -> bool {
    let Some(root) = find(building, path) else { return false };
    if !has_fields_below(building, root) {
        return false;
    }
    building[root].marks.add(Marks::LIST);
    for (paths, marks) in [(&list.names, Marks::NAME), (&list.values, Marks::VALUE)] {
        for path in paths {
            let mut at = root;
            for label in path.split('.') {
                if at != root {
                    building[at].marks.add(Marks::ABOVE);
                }
                at = super::child_of(building, at, label.as_bytes());
            }
            building[at].marks.add(marks);
        }
    }
    true
}

fn find(building: &[Building], path: &str) -> Option<usize> {
    path.split('.').try_fold(0, |at, label| {
        let mut children = building[at].children.iter();
        children.find(|(known, _)| **known == *label.as_bytes()).map(|(_, node)| *node)
    })
}

fn has_fields_below(building: &[Building], node: usize) -> bool {
    let mut children = building[node].children.iter();
    children.any(|(_, child)| building[*child].field.is_some() || has_fields_below(building, *child))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::FieldId;

    fn list(words: &[&str]) -> NamedList {
        let mut list = NamedList::default();
        assert!(words.iter().all(|word| list.add(word)));
        list
    }

    #[test]
    fn a_value_is_where_its_name_says_and_other_members_where_they_are() {
        let windows = list(&["name@Name", "name@$.Name", "value@#text", "value@$"]);
        let rows = [("a.Data.Ip", Some(FieldId(0))), ("a.Data.#text", Some(FieldId(1))), ("a.Data.Port", None)];
        let trie = PathTrie::with_lists(rows, [("a.Data", &windows)]);
        let data = trie.step(PathTrie::ROOT, b"a.Data").unwrap();
        let at = |key: &[u8], name: &[u8], is_object: bool| {
            let node = trie.step_in_element(data, key, trie.named(data, name), || is_object);
            node.and_then(|node| trie.field(node))
        };
        assert!(
            trie.is_element(data) && trie.is_list(data) && !trie.is_element(trie.step(PathTrie::ROOT, b"a").unwrap())
        );
        assert_eq!(at(b"#text", b"Ip", false), Some(FieldId(0)));
        assert_eq!(at(b"#text", b"Other", false), Some(FieldId(1)), "the row of the value itself");
        assert_eq!(at(b"#text", b"Port", false), None, "of a row that is not wanted");
        assert_eq!(at(b"Ip", b"Other", false), Some(FieldId(0)));
        assert_eq!((at(b"$", b"Ip", false), at(b"$", b"Ip", true)), (Some(FieldId(0)), None));
        let dollar = trie.step(data, b"$").unwrap();
        assert!(trie.is_element(dollar) && trie.is_above(dollar) && !trie.is_list(dollar));
        assert!(trie.is_name(trie.step(dollar, b"Name").unwrap()));
        assert_eq!(trie.named(data, &b"n".repeat(LONGEST_NAME + 1)), PathTrie::NOWHERE);
    }

    #[test]
    fn a_list_below_which_nothing_is_wanted_is_not_marked() {
        let words = list(&["name@Name", "value@Value"]);
        for rows in [vec![("Data", Some(FieldId(0))), ("Data.Ip", None)], vec![("x.Data.Ip", Some(FieldId(0)))]] {
            let trie = PathTrie::with_lists(rows, [("Data", &words)]);
            assert!(trie.step(PathTrie::ROOT, b"Data").is_none_or(|node| !trie.is_element(node)));
            assert!(
                trie.step(PathTrie::ROOT, b"Data.Ip").is_none() && trie.step(PathTrie::ROOT, b"Data.Name").is_none()
            );
        }
    }
}
