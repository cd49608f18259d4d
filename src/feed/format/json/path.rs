//! Paths of JSON: keys with dots between them, `*` for every key, `[*]` and `[0]` for elements. `$.` at the start, as in
//! JSONPath, says nothing.

use crate::feed::row::Role;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A member. A key may have dots itself, so that several steps may be one key.
    Key(String),
    /// Every member, or every element.
    Any,
    Element(usize),
}

/// A path, and what is found there.
pub(super) struct Path {
    pub(super) role: Role,
    pub(super) steps: Vec<Step>,
}

impl Path {
    /// Reads a path. Brackets with a number or `*` are elements, all other text is keys.
    pub(super) fn parse(role: Role, written: &str) -> Path {
        let path = written.trim();
        let path = path.strip_prefix("$.").or(path.strip_prefix('$')).unwrap_or(path);
        let mut steps = Vec::new();
        for part in path.split('.') {
            let (key, mut brackets) = match part.find('[') {
                Some(at) if part.ends_with(']') => part.split_at(at),
                _ => (part, ""),
            };
            match key {
                "" => {}
                "*" => steps.push(Step::Any),
                key => steps.push(Step::Key(key.to_owned())),
            }
            while let Some((inner, rest)) = brackets.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                match inner.trim_matches(['\'', '"']) {
                    // Every element of an array counts without it, too.
                    "*" | "" => {}
                    inner => match inner.parse() {
                        Ok(number) => steps.push(Step::Element(number)),
                        Err(_) => steps.push(Step::Key(inner.to_owned())),
                    },
                }
                brackets = rest;
            }
        }
        Path { role, steps }
    }
}

/// Whether a step means the element of an array with this number.
pub(super) fn takes_element(step: &Step, number: usize) -> bool {
    match step {
        Step::Element(wanted) => *wanted == number,
        // A star means members; the elements of an array count by themselves.
        Step::Any | Step::Key(_) => false,
    }
}

/// How many steps a key is: none, one, or several whose keys are joined by dots.
pub(super) fn takes_key(steps: &[Step], key: &str) -> Vec<usize> {
    let mut taken = Vec::new();
    if steps.first() == Some(&Step::Any) {
        taken.push(1);
    }
    let mut joined = String::new();
    for (at, step) in steps.iter().enumerate() {
        let Step::Key(part) = step else { break };
        if at > 0 {
            joined.push('.');
        }
        joined.push_str(part);
        if joined == key {
            taken.push(at + 1);
        }
        if joined.len() >= key.len() {
            break;
        }
    }
    taken
}

/// Whether two paths have the same first steps.
pub(super) fn is_same_start(one: &[Step], other: &[Step], steps: usize) -> bool {
    one.len() >= steps && one.get(..steps) == other.get(..steps)
}

/// The paths behind a step, those that have it.
pub(super) fn advanced<'p>(paths: &[(Role, &'p [Step])], step: &Step, by: usize) -> Vec<(Role, &'p [Step])> {
    let has = |steps: &[Step]| steps.first() == Some(step);
    paths
        .iter()
        .filter(|(_, steps)| has(steps))
        .map(|(role, steps)| (*role, steps.get(by..).unwrap_or_default()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_in_each_spelling() {
        let key = |key: &str| Step::Key(key.to_owned());
        for (path, steps) in [
            ("a.b", vec![key("a"), key("b")]),
            ("$.a.b", vec![key("a"), key("b")]),
            ("$.data[*].ioc", vec![key("data"), key("ioc")]),
            ("*.ioc", vec![Step::Any, key("ioc")]),
            ("data[0].ioc", vec![key("data"), Step::Element(0), key("ioc")]),
            ("$['data'].ioc", vec![key("data"), key("ioc")]),
        ] {
            assert_eq!(Path::parse(Role::Main, path).steps, steps, "{path}");
        }
        assert_eq!(takes_key(&[key("a"), key("b"), key("c")], "a.b"), [2]);
        assert_eq!(takes_key(&[Step::Any, key("b")], "x"), [1]);
    }
}
