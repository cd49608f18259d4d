//! Patterns with `AND` and `NOT`: which terms they are looked for by, and that they hold as the standard says.

use std::collections::BTreeMap;

use super::super::program::AtomState;
use super::*;

/// The keys and the program as shown.
fn composite(pattern: &str) -> (Vec<String>, String) {
    let compiled = compile(pattern, &table()).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    let program = compiled.program.unwrap_or_else(|| panic!("{pattern} has no program"));
    let keys = program.keys().iter().map(|key| compiled.terms[usize::from(key)].value.to_string());
    (keys.collect(), program.shown(&compiled.terms).to_string())
}

fn keys(pattern: &str) -> Vec<String> {
    composite(pattern).0
}

#[test]
fn and_or_and_not_become_a_program_over_the_terms() {
    let (keys, shown) = composite(
        "[domain-name:value = 'evil.example' AND (network-traffic:dst_port = 443 OR network-traffic:dst_port > 8000) \
         AND user-account:user_id != 'bob']",
    );
    assert_eq!(keys, ["evil.example"]);
    assert_eq!(
        shown,
        "domain evil.example AND (number 443 at network-traffic:dst_port OR number > 8000 at network-traffic:dst_port) \
         AND NOT user bob at user-account:user_id"
    );
    for (pattern, wanted) in [
        ("[file:name = 'a' AND file:size NOT = 3]", "name a at file:name AND NOT number 3 at file:size"),
        ("[file:name = 'a' AND file:size NOT != 3]", "name a at file:name AND number 3 at file:size"),
        ("[file:name = 'a' AND file:size NOT < 3]", "name a at file:name AND NOT number < 3 at file:size"),
        (
            "[file:name = 'a' AND file:size NOT IN (3, 4)]",
            "name a at file:name AND NOT number 3 at file:size AND NOT number 4 at file:size",
        ),
        (
            "[file:name = 'a' AND file:size IN (3, 4)]",
            "name a at file:name AND (number 3 at file:size OR number 4 at file:size)",
        ),
        (
            "[file:name = 'a' AND file:size = 3] OR [ipv4-addr:value = '192.0.2.1']",
            "(name a at file:name AND number 3 at file:size) OR ip 192.0.2.1",
        ),
        (
            "[domain-name:value = 'a.example' AND ipv4-addr:value NOT ISSUBSET '192.0.2.0/24']",
            "domain a.example AND NOT ip 192.0.2.0/24",
        ),
    ] {
        assert_eq!(composite(pattern).1, wanted, "{pattern}");
    }
}

#[test]
fn a_plain_or_has_no_program_and_a_term_that_comes_twice_is_one_atom() {
    let plain = compile("[file:name = 'a' OR (file:name = 'b' OR file:size IN (1, 2))]", &table()).unwrap();
    assert_eq!((plain.terms.len(), plain.program), (4, None));
    let twice = "[(file:name = 'a' AND file:size = 1) OR (file:name = 'a' AND file:size = 2)]";
    assert_eq!(compile(twice, &table()).unwrap().terms.len(), 3);
    assert_eq!(keys(twice), ["a"]);
}

#[test]
fn the_keys_are_what_says_most_and_every_alternative_has_one() {
    let md5 = "ab".repeat(16);
    for (pattern, wanted) in [
        (format!("[domain-name:value = 'evil.example' AND file:hashes.MD5 = '{md5}']"), vec![md5.as_str()]),
        ("[ipv4-addr:value = '192.0.2.1' AND domain-name:value = 'evil.example']".to_owned(), vec!["evil.example"]),
        ("[process:command_line = 'x' AND ipv4-addr:value = '192.0.2.1']".to_owned(), vec!["192.0.2.1"]),
        ("[ipv4-addr:value = '192.0.2.0/24' AND ipv4-addr:value = '198.51.100.1']".to_owned(), vec!["198.51.100.1"]),
        ("[ipv4-addr:value = '8.8.8.8' AND ipv4-addr:value = '203.0.113.1']".to_owned(), vec!["203.0.113.1"]),
        ("[ipv4-addr:value = '8.8.8.8' AND network-traffic:dst_port = 4444]".to_owned(), vec!["8.8.8.8"]),
        ("[ipv4-addr:value = '8.8.8.8' AND user-account:user_id = 'svc-evil']".to_owned(), vec!["svc-evil"]),
        ("[user-account:user_id = 'root' AND file:name = 'x']".to_owned(), vec!["x"]),
        ("[file:size > 1 AND file:size = 7]".to_owned(), vec!["7"]),
        (
            "[(url:value = 'http://a.example/' OR ipv4-addr:value = '192.0.2.1') AND domain-name:value = 'b.example']"
                .to_owned(),
            vec!["b.example"],
        ),
        (
            "[(url:value = 'http://a.example/' OR domain-name:value = 'b.example') AND ipv4-addr:value = '192.0.2.1']"
                .to_owned(),
            vec!["http://a.example/", "b.example"],
        ),
    ] {
        assert_eq!(keys(&pattern), wanted, "{pattern}");
    }
}

#[test]
fn nothing_but_not_and_what_is_too_large_is_refused_by_name() {
    let only_not = "nothing but NOT";
    for pattern in [
        "[ipv4-addr:value != '192.0.2.1']",
        "[ipv4-addr:value NOT IN ('192.0.2.1', '192.0.2.2') AND file:size != 1]",
        "[file:name = 'a' OR file:size != 1]",
    ] {
        assert!(refused(pattern).contains(only_not), "{pattern}: {}", refused(pattern));
    }
    let list = |count: usize| (0..count).map(|number| number.to_string()).collect::<Vec<_>>().join(",");
    let with = |count| format!("[file:name = 'a' AND file:size IN ({})]", list(count));
    assert!(compile(&with(63), &table()).is_ok());
    for count in [64, 5000] {
        let refused = refused(&with(count));
        assert!(refused.contains("more than 64 different comparisons"), "{count}: {refused}");
    }
    assert!(compile(&format!("[file:size IN ({})]", list(5000)), &table()).is_ok());
    let deep = |depth: usize| {
        let mut pattern = "file:size = 1".to_owned();
        for at in 0..depth {
            pattern = format!("({pattern}) {} file:name = 'n{at}'", ["AND", "OR"][at % 2]);
        }
        format!("[{pattern}]")
    };
    assert!(compile(&deep(16), &table()).is_ok());
    assert!(refused(&deep(17)).contains("more than 16 deep"), "{}", refused(&deep(17)));
}

#[test]
fn an_and_with_a_value_that_cannot_be_is_left_out_as_a_whole() {
    let compiled =
        compile("[domain-name:value = 'a b' AND file:size = 1] OR [ipv4-addr:value = '192.0.2.1']", &table()).unwrap();
    assert_eq!((compiled.terms.len(), compiled.program, compiled.left_out.len()), (1, None, 1));
    let list = "[file:name = 'a' AND ipv4-addr:value NOT IN ('192.0.2.1', 'x')]";
    assert!(matches!(compile(list, &table()), Err(PatternError::Value { .. })));
}

#[test]
fn directory_and_name_are_one_path_beside_other_comparisons_too() {
    assert_eq!(
        composite(r"[file:name = 'A.exe' AND file:size > 3 AND file:parent_directory_ref.path = 'C:\\X']").1,
        r"number > 3 at file:size AND path c:\x\a.exe at file:parent_directory_ref.path&file:name"
    );
}

/// A pattern as its author means it, over small numbers at three paths.
#[derive(Clone, Debug)]
enum Meant {
    Equal(usize, u8),
    Unequal(usize, u8, bool),
    In(usize, Vec<u8>),
    NotIn(usize, Vec<u8>),
    More(usize, u8),
    All(Vec<Meant>),
    Any(Vec<Meant>),
}

const PATHS: [&str; 3] = ["network-traffic:dst_port", "file:size", "network-traffic:src_port"];

impl Meant {
    fn write(&self) -> String {
        let list = |values: &[u8]| values.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
        let joined = |of: &[Meant], word: &str| {
            of.iter().map(|inner| format!("({})", inner.write())).collect::<Vec<_>>().join(word)
        };
        match self {
            Meant::Equal(path, value) => format!("{} = {value}", PATHS[*path]),
            Meant::Unequal(path, value, true) => format!("{} NOT = {value}", PATHS[*path]),
            Meant::Unequal(path, value, false) => format!("{} != {value}", PATHS[*path]),
            Meant::In(path, values) => format!("{} IN ({})", PATHS[*path], list(values)),
            Meant::NotIn(path, values) => format!("{} NOT IN ({})", PATHS[*path], list(values)),
            Meant::More(path, value) => format!("{} > {value}", PATHS[*path]),
            Meant::All(of) => joined(of, " AND "),
            Meant::Any(of) => joined(of, " OR "),
        }
    }

    /// Whether an event with these values at the paths fulfils it.
    fn holds(&self, event: &[Vec<u8>; 3]) -> bool {
        match self {
            Meant::Equal(path, value) => event[*path].contains(value),
            Meant::Unequal(path, value, _) => !event[*path].is_empty() && !event[*path].contains(value),
            Meant::In(path, values) => event[*path].iter().any(|known| values.contains(known)),
            Meant::NotIn(path, values) => {
                !event[*path].is_empty() && !event[*path].iter().any(|known| values.contains(known))
            }
            Meant::More(path, value) => event[*path].iter().any(|known| known > value),
            Meant::All(of) => of.iter().all(|inner| inner.holds(event)),
            Meant::Any(of) => of.iter().any(|inner| inner.holds(event)),
        }
    }

    /// Whether it can hold though nothing is found that it says.
    fn is_free(&self) -> bool {
        match self {
            Meant::Unequal(..) | Meant::NotIn(..) => true,
            Meant::Equal(..) | Meant::In(..) | Meant::More(..) => false,
            Meant::All(of) => of.iter().all(Meant::is_free),
            Meant::Any(of) => of.iter().any(Meant::is_free),
        }
    }
}

fn meant() -> impl Strategy<Value = Meant> {
    let values = || proptest::collection::vec(0u8..5, 1..4);
    let leaf = prop_oneof![
        3 => (0usize..3, 0u8..5).prop_map(|(path, value)| Meant::Equal(path, value)),
        2 => (0usize..3, 0u8..5, any::<bool>()).prop_map(|(path, value, word)| Meant::Unequal(path, value, word)),
        1 => (0usize..3, values()).prop_map(|(path, values)| Meant::In(path, values)),
        1 => (0usize..3, values()).prop_map(|(path, values)| Meant::NotIn(path, values)),
        1 => (0usize..3, 0u8..5).prop_map(|(path, value)| Meant::More(path, value)),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        (proptest::collection::vec(inner, 1..4), any::<bool>())
            .prop_map(|(of, all)| if all { Meant::All(of) } else { Meant::Any(of) })
    })
}

proptest! {
    /// Whatever the pattern and the event: the terms and the program say what the pattern says; it is refused exactly
    /// where it can hold without anything that is looked for; and where it holds a key is found.
    #[test]
    fn a_compiled_pattern_holds_as_it_is_written(
        meant in meant(),
        events in proptest::collection::vec(proptest::array::uniform3(proptest::collection::vec(0u8..5, 0..3)), 1..20),
    ) {
        let pattern = format!("[{}]", meant.write());
        let compiled = match compile(&pattern, &table()) {
            Ok(compiled) => compiled,
            Err(error) => {
                prop_assert!(meant.is_free(), "{}: {}", pattern, error);
                return Ok(());
            }
        };
        prop_assert!(!meant.is_free(), "{}", pattern);
        let places: BTreeMap<&str, usize> = PATHS.into_iter().zip(0..).collect();
        for event in &events {
            let state = |atom: u8| {
                let Term { value: TermValue::Number { comparison, value }, target: Target::StixPath(path) } =
                    &compiled.terms[usize::from(atom)]
                else {
                    panic!("{pattern}");
                };
                let values = &event[places[&**path]];
                let found = |known: &u8| comparison.holds(f64::from(*known).partial_cmp(value).unwrap());
                match values.iter().any(found) {
                    _ if values.is_empty() => AtomState::Missing,
                    true => AtomState::Found,
                    false => AtomState::Other,
                }
            };
            let atoms = 0..compiled.terms.len() as u8;
            let is_found = |atom: u8| state(atom) == AtomState::Found;
            let holds = match &compiled.program {
                Some(program) => {
                    let holds = program.holds(&mut |atom| state(atom));
                    prop_assert!(!holds || program.keys().iter().any(is_found), "{}: {:?}", pattern, event);
                    holds
                }
                None => atoms.into_iter().any(is_found),
            };
            prop_assert_eq!(holds, meant.holds(event), "{}: {:?}", pattern, event);
        }
    }
}
