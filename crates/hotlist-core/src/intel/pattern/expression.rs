//! `LIKE` and `MATCHES`, as far as they say no more than a value, or the names below a name.

use super::parse::{Operator, Proposition};
use super::token::Literal;
use super::{Comparison, Compiler, Meaning, Node, PatternError, unsupported, value};
use crate::intel::indicator::{NameScope, Term, TermValue};
use crate::observable::Kind;

/// What an expression says.
#[derive(Debug, PartialEq, Eq)]
enum Says {
    /// One value.
    Is(String),
    /// Every name below this one.
    Below(String),
}

impl Compiler<'_> {
    /// The term of an expression; what cannot be looked up by a value is not supported.
    pub(super) fn expression(
        &mut self,
        comparison: &Proposition,
        meaning: &Meaning,
    ) -> Result<Option<Node>, PatternError> {
        let is_like = comparison.operator == Operator::Like;
        let word = if is_like { "LIKE" } else { "MATCHES" };
        let refused = || {
            let construct = format!("{word} with a wildcard, but for the names below a name,");
            unsupported(comparison.position, construct)
        };
        let Some((position, Literal::Text(text))) = comparison.values.first() else { return Err(refused()) };
        let says = if is_like { like(text) } else { matches(text) };
        let (text, scope) = match says {
            Some(Says::Is(text)) => (text, NameScope::Exact),
            Some(Says::Below(name)) if meaning.kind == Kind::Domain => (name, NameScope::Below),
            _ => return Err(refused()),
        };
        let mut value = value(meaning, *position, &Literal::Text(text), Comparison::Equal)?;
        if let TermValue::Domain { scope: of_name, .. } = &mut value
            && scope == NameScope::Below
        {
            *of_name = scope;
        }
        let term = Term { value, target: meaning.target.clone() };
        Ok(Some(if comparison.negated { Node::IsNot(term) } else { Node::Is(term) }))
    }
}

/// `%` stands for any text, `_` for any character (STIX 2.1, section 9.6.1).
fn like(text: &str) -> Option<Says> {
    match text.strip_prefix("%.") {
        Some(name) if !name.contains(['%', '_']) => Some(Says::Below(name.to_owned())),
        None if !text.contains(['%', '_']) => Some(Says::Is(text.to_owned())),
        _ => None,
    }
}

/// An expression of nothing but characters between `^` and `$`, or of any text, a dot and a name.
fn matches(text: &str) -> Option<Says> {
    let body = text.strip_suffix('$')?;
    if let Some(rest) = body.strip_prefix('^')
        && let Some(whole) = literal(rest)
    {
        return Some(Says::Is(whole));
    }
    let body = body.strip_prefix('^').map_or_else(
        || Some(body.trim_start_matches(".*").trim_start_matches(".+")),
        |body| body.strip_prefix(".*").or(body.strip_prefix(".+")),
    )?;
    literal(body.strip_prefix("\\.")?).map(Says::Below)
}

/// The text that an expression without any operator means.
fn literal(expression: &str) -> Option<String> {
    let mut text = String::new();
    let mut characters = expression.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => match characters.next()? {
                c if c.is_ascii_alphanumeric() => return None,
                c => text.push(c),
            },
            '.' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '|' | '^' | '$' => return None,
            c => text.push(c),
        }
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_a_value_or_the_names_below_one_is_understood() {
        let is = |text: &str| Some(Says::Is(text.to_owned()));
        let below = |text: &str| Some(Says::Below(text.to_owned()));
        for (expression, says) in [
            (r"^evil\.example$", is("evil.example")),
            (r"^.*\.evil\.example$", below("evil.example")),
            (r"\.evil\.example$", below("evil.example")),
            (r".+\.evil\.example$", below("evil.example")),
            (r"evil\.example$", None),
            (r"^evil.example$", None),
            (r"^evil\.example", None),
            (r"^a\d$", None),
            (r"^(a|b)$", None),
            ("", None),
        ] {
            assert_eq!(matches(expression), says, "{expression}");
        }
        assert_eq!(like("%.evil.example"), below("evil.example"));
        assert_eq!(like("evil.example"), is("evil.example"));
        assert_eq!((like("%evil.example"), like("e_il.example")), (None, None));
    }
}
