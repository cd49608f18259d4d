//! `LIKE` and `MATCHES`. Where they mean no more than a list of values, a network, or the names below a name, they are
//! looked up as any other value is. Anything else is an [`Expression`](crate::intel::expression::Expression), which is
//! evaluated on values.

use regex_syntax::hir::{Class, Hir, HirKind, Look, Repetition};

use super::parse::{Operator, Proposition};
use super::program::MAX_ATOMS;
use super::token::Literal;
use super::{Comparison, Compiler, Meaning, Node, PatternError, unsupported, value};
use crate::intel::expression::{Expression, Syntax};
use crate::intel::keys::KeyPlan;
use crate::intel::term::{NameScope, Target, Term, TermValue};
use crate::observable::Kind;

/// The longest expression, in bytes, and the longest value that one means.
const MAX_LENGTH: usize = 1024;

#[derive(Debug, PartialEq, Eq)]
enum Meant {
    Values(Vec<String>),
    /// Names below these, and these as well where the scope has them.
    Names(Vec<String>, NameScope),
}

impl Compiler<'_> {
    /// The terms of an expression: values where it means a list of them, else one that is evaluated.
    pub(super) fn expression(
        &mut self,
        comparison: &Proposition,
        meaning: &Meaning,
    ) -> Result<Option<Node>, PatternError> {
        let syntax = if comparison.operator == Operator::Like { Syntax::Like } else { Syntax::Matches };
        let refused = |reason: &str| {
            unsupported(comparison.position, format!("{} of `{}` ({reason})", syntax.as_str(), meaning.path))
        };
        let Some((position, Literal::Text(text))) = comparison.values.first() else {
            return Err(refused("it takes a string"));
        };
        let meant = match syntax {
            Syntax::Like => like(text, meaning.kind),
            Syntax::Matches => matches(text, meaning.kind),
        };
        let (texts, names) = match meant {
            Some(Meant::Values(values)) => (values, None),
            Some(Meant::Names(names, scope)) if meaning.kind == Kind::Domain => (names, Some(scope)),
            Some(Meant::Names(..)) | None => {
                let expression = Expression { of: meaning.kind, syntax, text: text.as_str().into() };
                let usable = expression.literals().and_then(|_| expression.compile());
                usable.map_err(|error| refused(&error.to_string()))?;
                if !self.has_values(&expression, &meaning.target) {
                    return Err(refused(&format!("no field of it holds values of kind {}", expression.of)));
                }
                let term = Term { value: TermValue::Expression(expression), target: meaning.target.clone() };
                return Ok(Some(if comparison.negated { Node::IsNot(term) } else { Node::Is(term) }));
            }
        };
        let mut terms = Vec::with_capacity(texts.len());
        for text in texts {
            let mut value = value(meaning, *position, &Literal::Text(text), Comparison::Equal)?;
            if let (TermValue::Domain { scope: of_name, .. }, Some(scope)) = (&mut value, names) {
                *of_name = scope;
            }
            terms.push(Term { value, target: meaning.target.clone() });
        }
        if !comparison.negated {
            return Ok(Node::any(terms.into_iter().map(Node::Is).collect()));
        }
        let mut nodes: Vec<Node> = terms.into_iter().map(Node::IsNot).collect();
        Ok(if nodes.len() > 1 { Some(Node::All(nodes)) } else { nodes.pop() })
    }

    /// Whether values that an expression is evaluated on are at one of its fields.
    fn has_values(&self, expression: &Expression, target: &Target) -> bool {
        let Target::StixPath(path) = target else { return true };
        let space = Expression::space_of(expression.of);
        let has = |plan: KeyPlan| plan.spaces(false).into_iter().any(|of| Some(of) == space);
        self.table.by_stix_path(path).into_iter().any(|field| has(KeyPlan::of_field(self.table.get(field))))
    }
}

/// `%` is any text, `_` for any character (STIX 2.1, section 9.6.1).
fn like(text: &str, kind: Kind) -> Option<Meant> {
    let is_plain = |text: &str| !text.is_empty() && !text.contains(['%', '_']);
    if let Some(name) = text.strip_prefix("%.") {
        return is_plain(name).then(|| Meant::Names(vec![name.to_owned()], NameScope::Below));
    }
    if let Some(octets) = text.strip_suffix(".%").filter(|_| kind == Kind::Ip) {
        let count = octets.split('.').count();
        let is_network = count < 4 && octets.split('.').all(|octet| octet.parse::<u8>().is_ok());
        return is_network.then(|| Meant::Values(vec![format!("{octets}{}/{}", ".0".repeat(4 - count), 8 * count)]));
    }
    is_plain(text).then(|| Meant::Values(vec![text.to_owned()]))
}

/// The meaning of a regular expression, which matches where any part of a value does.
fn matches(text: &str, kind: Kind) -> Option<Meant> {
    if text.len() > MAX_LENGTH {
        return None;
    }
    let hir = regex_syntax::parse(text).ok()?;
    // Letters of a class in both cases are one where the kind has no case.
    let folds = !matches!(kind, Kind::Text | Kind::Url | Kind::Path);
    let parts = match hir.kind() {
        HirKind::Concat(parts) => parts.as_slice(),
        _ => std::slice::from_ref(&hir),
    };
    let (end, parts) = parts.split_last()?;
    if !is_look(end, Look::End) {
        return None;
    }
    let (is_anchored, parts) = match parts.split_first() {
        Some((start, rest)) if is_look(start, Look::Start) => (true, rest),
        _ => (false, parts),
    };
    let all = |parts: &[Hir]| sequence(parts, folds).filter(|values| values.iter().all(|value| !value.is_empty()));
    let below = |values: Vec<String>| {
        let names: Option<Vec<String>> = values.iter().map(|value| Some(value.strip_prefix('.')?.to_owned())).collect();
        names.map(|names| Meant::Names(names, NameScope::Below))
    };
    if let Some(values) = all(parts) {
        // An expression that is not anchored at the start may follow anything.
        return if is_anchored { Some(Meant::Values(values)) } else { below(values) };
    }
    let (first, rest) = parts.split_first()?;
    let values = all(rest)?;
    if is_any(first) {
        return below(values);
    }
    let scope = names_before(first, is_anchored)?;
    Some(Meant::Names(values, scope))
}

fn is_look(hir: &Hir, wanted: Look) -> bool {
    matches!(hir.kind(), HirKind::Look(look) if *look == wanted)
}

/// The content of a group.
fn open(hir: &Hir) -> &Hir {
    match hir.kind() {
        HirKind::Capture(capture) => open(&capture.sub),
        _ => hir,
    }
}

/// Whether it is any text, of which a name may have some.
fn is_any(hir: &Hir) -> bool {
    matches!(open(hir).kind(), HirKind::Repetition(Repetition { min: 0 | 1, max: None, sub, .. }) if covers(sub, true))
}

/// Whether it is any character of a label, and a dot if wanted.
fn covers(hir: &Hir, with_dot: bool) -> bool {
    let HirKind::Class(class) = open(hir).kind() else { return false };
    let has = |c: char| match class {
        Class::Unicode(class) => class.iter().any(|range| (range.start()..=range.end()).contains(&c)),
        Class::Bytes(class) => class.iter().any(|range| (range.start()..=range.end()).contains(&(c as u8))),
    };
    ('a'..='z').chain('0'..='9').chain(['-', '_']).all(has) && (!with_dot || has('.'))
}

/// The labels that may precede a name: `(.*\.)?`, `([^.]+\.)*`, `(^|\.)` have the name itself, `([^.]+\.)+` has not.
fn names_before(hir: &Hir, is_anchored: bool) -> Option<NameScope> {
    match open(hir).kind() {
        HirKind::Repetition(Repetition { min, max, sub, .. }) if is_anchored && is_labels(sub) => match (min, max) {
            (0, None) => Some(NameScope::AndBelow),
            (1, None) => Some(NameScope::Below),
            // Once, and then it must be able to hold many labels.
            (0, Some(1)) if has_many_labels(sub) => Some(NameScope::AndBelow),
            _ => None,
        },
        HirKind::Alternation(of) if !is_anchored && of.len() == 2 => {
            let is_start = |hir: &Hir| is_look(open(hir), Look::Start);
            let is_start_or_dot = of.iter().any(is_start) && of.iter().any(is_dot);
            is_start_or_dot.then_some(NameScope::AndBelow)
        }
        _ => None,
    }
}

fn is_dot(hir: &Hir) -> bool {
    matches!(open(hir).kind(), HirKind::Literal(literal) if &*literal.0 == b".")
}

/// Whether it is any label or labels with a dot behind.
fn is_labels(hir: &Hir) -> bool {
    let HirKind::Concat(of) = open(hir).kind() else { return false };
    let [label, dot] = of.as_slice() else { return false };
    let is_label = matches!(
        open(label).kind(),
        HirKind::Repetition(Repetition { min: 0 | 1, max: None, sub, .. }) if covers(sub, false)
    );
    is_label && is_dot(dot)
}

fn has_many_labels(hir: &Hir) -> bool {
    matches!(open(hir).kind(), HirKind::Concat(of) if of.first().is_some_and(is_any))
}

/// The texts of a sequence, if they are few.
fn sequence(parts: &[Hir], folds: bool) -> Option<Vec<String>> {
    let mut all = vec![String::new()];
    for part in parts {
        all = product(&all, &texts(part, folds)?)?;
    }
    Some(all)
}

fn product(heads: &[String], tails: &[String]) -> Option<Vec<String>> {
    let is_few = heads.len() * tails.len() <= MAX_ATOMS;
    is_few.then(|| heads.iter().flat_map(|head| tails.iter().map(move |tail| format!("{head}{tail}"))).collect())
}

/// The texts that it matches, if they are few.
fn texts(hir: &Hir, folds: bool) -> Option<Vec<String>> {
    let all: Vec<String> = match hir.kind() {
        HirKind::Empty => vec![String::new()],
        HirKind::Literal(literal) => vec![std::str::from_utf8(&literal.0).ok()?.to_owned()],
        HirKind::Class(Class::Unicode(class)) => {
            let characters: Vec<char> =
                class.iter().flat_map(|range| range.start()..=range.end()).take(2 * MAX_ATOMS + 1).collect();
            let is_known = |c: &char| folds && c.is_ascii_uppercase() && characters.contains(&c.to_ascii_lowercase());
            characters.iter().filter(|c| !is_known(c)).map(char::to_string).collect()
        }
        HirKind::Capture(capture) => texts(&capture.sub, folds)?,
        HirKind::Concat(parts) => sequence(parts, folds)?,
        HirKind::Alternation(of) => {
            let mut all = Vec::new();
            for inner in of {
                all.extend(texts(inner, folds)?);
                if all.len() > MAX_ATOMS {
                    return None;
                }
            }
            all
        }
        HirKind::Repetition(Repetition { min, max: Some(max), sub, .. }) if *max <= 8 => {
            let once = texts(sub, folds)?;
            let (mut all, mut repeated) = (Vec::new(), vec![String::new()]);
            for times in 0..=*max {
                if times >= *min {
                    all.extend(repeated.iter().cloned());
                }
                if times < *max {
                    repeated = product(&repeated, &once)?;
                }
            }
            all
        }
        HirKind::Class(Class::Bytes(_)) | HirKind::Repetition(_) | HirKind::Look(_) => return None,
    };
    let is_short = all.iter().all(|text| text.len() <= MAX_LENGTH);
    (is_short && all.len() <= MAX_ATOMS).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use regex::Regex;

    fn values(texts: &[&str]) -> Option<Meant> {
        Some(Meant::Values(texts.iter().map(|text| (*text).to_owned()).collect()))
    }

    fn names(texts: &[&str], scope: NameScope) -> Option<Meant> {
        Some(Meant::Names(texts.iter().map(|text| (*text).to_owned()).collect(), scope))
    }

    #[test]
    fn lists_of_values_and_names_below_others_are_understood() {
        let (below, and_below) = (NameScope::Below, NameScope::AndBelow);
        for (expression, meant) in [
            (r"^evil\.example$", values(&["evil.example"])),
            (r"^(evil|bad)\.example$", values(&["evil.example", "bad.example"])),
            (r"^ns[1-3]\.evil\.example$", values(&["ns1.evil.example", "ns2.evil.example", "ns3.evil.example"])),
            (r"^(www\.)?evil\.example$", values(&["evil.example", "www.evil.example"])),
            (r"(?i)^c2\.x$", values(&["c2.x"])),
            (r"^.*\.evil\.example$", names(&["evil.example"], below)),
            (r"\.evil\.example$", names(&["evil.example"], below)),
            (r"\.(evil|bad)\.example$", names(&["evil.example", "bad.example"], below)),
            (r".+\.evil\.example$", names(&["evil.example"], below)),
            (r"^([^.]+\.)+evil\.example$", names(&["evil.example"], below)),
            (r"^(.*\.)?evil\.example$", names(&["evil.example"], and_below)),
            (r"^(?:[^.]+\.)*evil\.example$", names(&["evil.example"], and_below)),
            (r"(^|\.)evil\.example$", names(&["evil.example"], and_below)),
            (r"(?:\.|^)(evil|bad)\.example$", names(&["evil.example", "bad.example"], and_below)),
            // One label only, and not every character of one.
            (r"^([^.]+\.)?evil\.example$", None),
            (r"^([a-z]+\.)*evil\.example$", None),
            (r"^[^.]+\.evil\.example$", None),
            (r"evil\.example$", None),
            (r"^evil.example$", None),
            (r"^evil\.example", None),
            (r"^a\d{3}$", None),
            (r"^$", None),
            ("", None),
            ("(", None),
        ] {
            assert_eq!(matches(expression, Kind::Domain), meant, "{expression}");
        }
        assert_eq!(matches(r"(?i)^Ab$", Kind::Text), values(&["AB", "Ab", "aB", "ab"]));
        assert_eq!(like("%.evil.example", Kind::Domain), names(&["evil.example"], below));
        assert_eq!(like("evil.example", Kind::Domain), values(&["evil.example"]));
        assert_eq!(like("198.51.100.%", Kind::Ip), values(&["198.51.100.0/24"]));
        assert_eq!(like("10.%", Kind::Ip), values(&["10.0.0.0/8"]));
        for (text, kind) in
            [("%evil.example", Kind::Domain), ("e_il", Kind::Name), ("198.51.1%", Kind::Ip), ("%", Kind::Text)]
        {
            assert_eq!(like(text, kind), None, "{text}");
        }
    }

    proptest! {
        /// Guarantee: a name is one of what an expression was understood to mean if and only if the expression matches it.
        #[test]
        fn an_expression_means_what_it_matches(
            head in proptest::sample::select(vec!["", "^", ".*", "^.*", "^.+", "(^|\\.)", "^(.*\\.)?", "^(.+\\.)?", "^([^.]+\\.)*", "^([^.]+\\.)+", "^(www\\.)?", "^(a|b)"]),
            middle in proptest::sample::select(vec!["\\.", "", "[ab]", "x?", "(c|d)\\."]),
            tail in proptest::sample::select(vec!["evil\\.example$", "(evil|bad)\\.example$", "evil\\.example", "\\.example$"]),
            name in "(www|a|b|c|x|sub)?(\\.(a|b|c|d|sub))?\\.?(a|b|x)?(evil|bad|notevil)\\.example",
        ) {
            prop_assume!(!name.starts_with('.') && !name.contains(".."));
            let expression = format!("{head}{middle}{tail}");
            let is_below = |below: &str| name.strip_suffix(below).is_some_and(|before| before.ends_with('.') && before.len() > 1);
            let is_meant = match matches(&expression, Kind::Domain) {
                None => return Ok(()),
                Some(Meant::Values(values)) => values.contains(&name),
                Some(Meant::Names(names, NameScope::Below)) => names.iter().any(|below| is_below(below)),
                Some(Meant::Names(names, _)) => names.iter().any(|below| *below == name || is_below(below)),
            };
            prop_assert_eq!(is_meant, Regex::new(&expression).unwrap().is_match(&name), "{} on {}", expression, name);
        }
    }
}
