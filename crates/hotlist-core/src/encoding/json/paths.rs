//! Finds which of many dotted paths a document has, in one pass.

use super::JsonError;
use super::scan::Scanner;

/// Says of each path whether something stands there, nested or dotted at any of its dots. The paths must be ascending
/// and different. The cost is that of one scan and one binary search a member, however many paths there are.
///
/// # Errors
/// The document is not a JSON object.
pub(crate) fn find(document: &[u8], paths: &[&[u8]]) -> Result<Vec<bool>, JsonError> {
    debug_assert!(paths.is_sorted_by(|left, right| left < right), "paths are ascending and different");
    let mut scanner = Scanner::new(document);
    if scanner.peek() != Some(b'{') {
        return Err(JsonError::NotAnObject { at: scanner.at });
    }
    let mut found = vec![false; paths.len()];
    object(&mut scanner, Wanted { paths, first: 0, taken: 0 }, &mut found)?;
    scanner.end()?;
    Ok(found)
}

/// The paths that may still be met: they are ascending, and begin with the same `taken` bytes.
#[derive(Clone, Copy)]
struct Wanted<'p> {
    paths: &'p [&'p [u8]],
    /// The index of the first of them among all.
    first: usize,
    taken: usize,
}

impl<'p> Wanted<'p> {
    /// Those that continue with `key`.
    fn below(self, key: &[u8]) -> Wanted<'p> {
        let start = self.paths.partition_point(|path| rest(path, self.taken) < key);
        let paths = self.paths.get(start..).unwrap_or_default();
        let end = paths.partition_point(|path| rest(path, self.taken).starts_with(key));
        let paths = paths.get(..end).unwrap_or_default();
        Wanted { paths, first: self.first + start, taken: self.taken + key.len() }
    }
}

fn rest(path: &[u8], taken: usize) -> &[u8] {
    path.get(taken..).unwrap_or_default()
}

/// Goes through the object whose brace was peeked.
fn object(scanner: &mut Scanner<'_>, wanted: Wanted<'_>, found: &mut [bool]) -> Result<(), JsonError> {
    if !scanner.open(b'}') {
        return Ok(());
    }
    loop {
        let key = scanner.key()?.to_cow();
        let below = wanted.below(&key);
        // The shortest stands first: the one path that ends here, when there is one.
        if below.paths.first().is_some_and(|path| path.len() == below.taken)
            && let Some(found) = found.get_mut(below.first)
        {
            *found = true;
        }
        let first = scanner.peek().ok_or_else(|| scanner.unexpected("a value"))?;
        let inside = below.below(b".");
        if first == b'{' && !inside.paths.is_empty() {
            object(scanner, inside, found)?;
        } else {
            scanner.skip(first)?;
        }
        if !scanner.more(b'}')? {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// The simple version: every path of a document, spelled out.
    fn every_path(document: &Value, before: &str, paths: &mut Vec<String>) {
        for (key, value) in document.as_object().into_iter().flatten() {
            let path = format!("{before}{key}");
            every_path(value, &format!("{path}."), paths);
            paths.push(path);
        }
    }

    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), ".{0,3}".prop_map(Value::from)];
        let value = leaf.prop_recursive(4, 24, 4, |inner| {
            let object = prop::collection::btree_map("[ab.]{0,3}", inner.clone(), 0..4);
            prop_oneof![
                object.prop_map(|members| members.into_iter().collect::<Value>()),
                prop::collection::vec(inner, 0..3).prop_map(Value::from),
            ]
        });
        prop::collection::btree_map("[ab.\\\\\"\n]{0,3}", value, 0..4)
            .prop_map(|members| members.into_iter().collect::<Value>())
    }

    proptest! {
        /// One pass finds what looking at every path of the document would.
        #[test]
        fn found_is_what_the_document_has(document in document(), paths in prop::collection::btree_set("[ab.]{0,6}", 0..12)) {
            let mut has = Vec::new();
            every_path(&document, "", &mut has);
            let keys: Vec<&[u8]> = paths.iter().map(String::as_bytes).collect();
            let expected: Vec<bool> = paths.iter().map(|path| has.contains(path)).collect();
            prop_assert_eq!(find(document.to_string().as_bytes(), &keys).unwrap(), expected);
        }

        /// The paths that a document has are all found.
        #[test]
        fn nothing_is_missed(document in document()) {
            let mut has = Vec::new();
            every_path(&document, "", &mut has);
            has.sort();
            has.dedup();
            let keys: Vec<&[u8]> = has.iter().map(String::as_bytes).collect();
            prop_assert!(find(document.to_string().as_bytes(), &keys).unwrap().into_iter().all(|found| found));
        }
    }
}
