//! Tests of expressions: their matches, refusals, and a literal in every match.

use proptest::prelude::*;

use super::*;

fn expression(of: Kind, syntax: Syntax, text: &str) -> Expression {
    Expression { of, syntax, text: text.into() }
}

#[test]
fn like_is_about_the_whole_value_and_matches_about_a_part() {
    for (of, syntax, text, value, matches) in [
        (Kind::Text, Syntax::Like, "%-enc %", "powershell -enc AAAA", true),
        (Kind::Text, Syntax::Like, "%-enc %", "powershell -ENC AAAA", false),
        (Kind::Text, Syntax::Like, "evil_name", "evil.name", true),
        (Kind::Text, Syntax::Like, "evil_name", "evil\u{e4}name", true),
        (Kind::Text, Syntax::Like, "evil_name", "evilname", false),
        (Kind::Text, Syntax::Like, "evil", "evil", true),
        (Kind::Text, Syntax::Like, "evil", "an evil", false),
        (Kind::Domain, Syntax::Like, "LOGIN-%.example", "login-bank.example", true),
        (Kind::Domain, Syntax::Matches, r"^Login-[a-z]+\.example$", "login-bank.example", true),
        (Kind::Name, Syntax::Matches, r"^Final Report.+\.exe$", "final report 7.exe", true),
        (Kind::Url, Syntax::Matches, "/gate\\.php", "http://a.example/gate.php?x", true),
        (Kind::Url, Syntax::Matches, "/gate\\.php", "http://a.example/Gate.php", false),
        (Kind::Path, Syntax::Like, r"%\Temp\%.exe", r"c:\temp\a.exe", true),
        (Kind::Path, Syntax::Like, "/Opt/%", "/Opt/a", true),
        (Kind::Path, Syntax::Like, "/Opt/%", "/opt/a", false),
        (Kind::Text, Syntax::Matches, "first.second", "first\nsecond", true),
    ] {
        let compiled = expression(of, syntax, text).compile().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(compiled.is_match(value.as_bytes()), matches, "{text} on {value}");
    }
}

#[test]
fn an_expression_that_cannot_be_used_is_refused_with_the_reason() {
    let refused = |of: Kind, text: &str| {
        let expression = expression(of, Syntax::Matches, text);
        expression.literals().err().or_else(|| expression.compile().err()).unwrap()
    };
    for (of, text, expected) in [
        (Kind::Ip, "^198[.]51", ExpressionError::Kind(Kind::Ip)),
        (Kind::Domain, "b\u{fc}cher", ExpressionError::NotAscii(Kind::Domain)),
        (Kind::Text, "(long[a-z]{99}){99}", ExpressionError::Large),
        (Kind::Text, "[a-z]+\\d", ExpressionError::NoLiteral),
        (Kind::Text, "evil|x", ExpressionError::NoLiteral),
        (Kind::Text, "", ExpressionError::NoLiteral),
    ] {
        assert_eq!(refused(of, text), expected, "{text}");
    }
    // In the words of the engine.
    for (text, cause) in [("(evil)\\1", "backreferences"), ("evil(?=x)", "look-around"), ("evil(", "unclosed group")] {
        let error = refused(Kind::Text, text);
        assert!(matches!(&error, ExpressionError::Engine(found) if found.contains(cause)), "{text}: {error}");
    }
    let long = expression(Kind::Text, Syntax::Like, &"a".repeat(MAX_LENGTH + 1)).compile();
    assert_eq!(long.unwrap_err(), ExpressionError::Long);
}

/// Scenario: more expressions on one value than are evaluated. Guarantee: the index says that some were left out, and the
/// others match.
#[test]
fn so_many_expressions_are_evaluated_on_a_value() {
    let all =
        |count: usize| (0..count).map(|n| expression(Kind::Text, Syntax::Like, &format!("%evil{}", "%".repeat(n + 1))));
    for (count, is_complete) in [(256, true), (257, false)] {
        let mut found = 0;
        let index = ExpressionIndex::new(all(count));
        assert_eq!(index.matching(KeySpace::Text, b"an evil text", |_| found += 1), is_complete);
        assert_eq!(found, 256);
    }
}

proptest! {
    /// Guarantee: the index finds what each expression by itself matches, and a value that it rules out matches none.
    #[test]
    fn the_index_finds_what_each_expression_matches(
        texts in proptest::collection::vec(
            (
                proptest::collection::vec(
                    proptest::sample::select(vec!["evil", "Name", "a", ".", "x+", "(?i)", "(bad|Worse)", "[a-c]", "(nice)?", "^", "$", "\\.", "\\d{2}", "%", "_", "(evil){2}"]),
                    1..6,
                ),
                any::<bool>(),
                proptest::sample::select(vec![Kind::Text, Kind::Domain, Kind::Path]),
            ),
            1..5,
        ),
        value in "(evil|Name|NAME|bad|worse|Worse|nice|[a-cx.%_1]|12|\\\\){0,6}",
        space in proptest::sample::select(vec![KeySpace::Text, KeySpace::Domain, KeySpace::Path]),
    ) {
        let all: Vec<Expression> = texts
            .into_iter()
            .map(|(pieces, like, of)| expression(of, if like { Syntax::Like } else { Syntax::Matches }, &pieces.concat()))
            .filter(|expression| expression.literals().is_ok() && expression.compile().is_ok())
            .collect();
        let index = ExpressionIndex::new(all.clone());
        let is_here = |expression: &&Expression| {
            Expression::space_of(expression.of) == Some(space) && expression.compile().unwrap().is_match(value.as_bytes())
        };
        let mut expected: Vec<Vec<u8>> = all.iter().filter(is_here).map(Expression::key).collect();
        let mut found = Vec::new();
        prop_assert!(index.matching(space, value.as_bytes(), |expression| found.push(expression.key())));
        found.sort();
        expected.sort();
        prop_assert!(index.may_match(space, value.as_bytes()) || expected.is_empty());
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_key_is_read_as_what_it_was_written_from(text in "\\PC{0,20}", kind in 0usize..Kind::ALL.len(), like in any::<bool>()) {
        let syntax = if like { Syntax::Like } else { Syntax::Matches };
        let expression = expression(Kind::ALL[kind], syntax, &text);
        prop_assert_eq!(Expression::from_key(&expression.key()), Some(expression));
    }
}
