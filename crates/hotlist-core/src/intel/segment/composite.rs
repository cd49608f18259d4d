//! Composite patterns in a segment: a program and the terms that its atoms are.

use super::bytes::{Cursor, put_text, put_varint};
use crate::intel::expression::{Expression, Syntax};
use crate::intel::indicator::{Comparison, NameScope, Target, Term, TermValue};
use crate::intel::keys::IndicatorOptions;
use crate::intel::pattern::program::{Atoms, Program};
use crate::intel::term;
use crate::observable::Kind;

/// The atoms that have to be found together in one event.
#[derive(Clone, Debug, PartialEq)]
pub struct Composite {
    /// The expression over the terms.
    pub program: Program,
    /// The terms, by their number in the program.
    pub terms: Vec<Term>,
    /// The terms that are URLs which stand for longer paths, too.
    pub longer: Atoms,
}

/// The numbers of comparisons; those of [`Syntax::ALL`] follow.
const COMPARISONS: [Comparison; 5] =
    [Comparison::Equal, Comparison::Less, Comparison::LessOrEqual, Comparison::Greater, Comparison::GreaterOrEqual];

/// The names of a domain that count, and for a URL whether longer paths count, too, in the order of their numbers in a
/// segment.
const SCOPES: [NameScope; 3] = [NameScope::Exact, NameScope::AndBelow, NameScope::Below];

/// The program's length and bytes, then each term: kind, comparison, number of its scope, the canonical value or the expression, and the STIX
/// path, which is empty for none (`text` each). `options` are those of the feed, for domains and URLs.
pub(super) fn encode(program: &Program, terms: &[Term], options: IndicatorOptions) -> Vec<u8> {
    let bytes = program.to_bytes();
    let mut out = Vec::new();
    put_varint(&mut out, bytes.len());
    out.extend(bytes);
    for term in terms {
        let compared = |comparison| COMPARISONS.iter().position(|known| *known == comparison).unwrap_or(0);
        let place = match &term.value {
            TermValue::Number { comparison, .. } | TermValue::Time { comparison, .. } => compared(*comparison),
            TermValue::Expression(expression) => COMPARISONS.len() + expression.syntax as usize,
            _ => 0,
        };
        let more = match term.value {
            TermValue::Domain { scope, .. } if options.subdomains => scope.with_below(),
            TermValue::Domain { scope, .. } => scope,
            TermValue::Url(_) if options.url_prefix => NameScope::AndBelow,
            _ => NameScope::Exact,
        };
        let more = SCOPES.iter().position(|known| *known == more).unwrap_or(0);
        out.extend([term.value.kind() as u8, place as u8, more as u8]);
        match &term.value {
            TermValue::Expression(expression) => put_text(&mut out, &expression.text),
            value => put_text(&mut out, &value.to_string()),
        }
        match &term.target {
            Target::Kind => put_text(&mut out, ""),
            Target::StixPath(path) => put_text(&mut out, path),
        }
    }
    out
}

/// The composite that fills the bytes; `None` when they are none.
pub(super) fn decode(bytes: &[u8]) -> Option<Composite> {
    let mut cursor = Cursor::new(bytes);
    let length = cursor.varint()?;
    let program = Program::from_bytes(cursor.take(length)?).ok()?;
    let mut terms = Vec::with_capacity(program.atoms());
    let mut longer = Vec::new();
    for number in (0u8..).take(program.atoms()) {
        let kind = *Kind::ALL.get(usize::from(cursor.u8()?))?;
        let place = usize::from(cursor.u8()?);
        let (wanted, syntax) = match place.checked_sub(COMPARISONS.len()) {
            None => (*COMPARISONS.get(place)?, None),
            Some(place) => (Comparison::Equal, Some(*Syntax::ALL.get(place)?)),
        };
        let scope = *SCOPES.get(usize::from(cursor.u8()?))?;
        let text = cursor.text()?;
        let mut value = match syntax {
            Some(syntax) => TermValue::Expression(Expression { of: kind, syntax, text: text.into() }),
            None => term::value(kind, text)?,
        };
        match &mut value {
            TermValue::Number { comparison, .. } | TermValue::Time { comparison, .. } => *comparison = wanted,
            TermValue::Domain { scope: of_name, .. } => *of_name = scope,
            TermValue::Url(_) if scope == NameScope::AndBelow => longer.push(number),
            _ => {}
        }
        let target = match cursor.text()? {
            "" => Target::Kind,
            path => Target::StixPath(path.into()),
        };
        terms.push(Term { value, target });
    }
    cursor.rest().is_empty().then_some(Composite { program, terms, longer: Atoms::from_numbers(longer) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intel::pattern;
    use crate::schema::FieldTable;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let table = FieldTable::embedded(true).unwrap();
        for written in [
            "[file:name = 'a.exe' AND (ipv4-addr:value = '192.0.2.1' OR ipv4-addr:value ISSUBSET '198.51.100.0/25')]",
            "[domain-name:value = '*.evil.example' AND network-traffic:dst_port > 1024 AND network-traffic:dst_port != 8080.5]",
            "[url:value = 'http://evil.example/a?b' AND process:created_time >= t'2024-01-31T00:00:00.5Z']",
            "[process:command_line = 'a \\'b\\' C:\\\\x' AND email-addr:value = 'Bad@Evil.example']",
            "[file:name MATCHES '^evil.*[.]exe$' AND domain-name:value LIKE '%evil%' AND process:command_line = 'x']",
            "[user-account:user_id = 'CORP\\\\Bad' AND file:hashes.MD5 = '0123456789ABCDEF0123456789abcdef']",
        ] {
            let compiled = pattern::compile(written, &table).unwrap_or_else(|error| panic!("{written}: {error}"));
            let composite =
                Composite { program: compiled.program.unwrap(), terms: compiled.terms, longer: Atoms::default() };
            let bytes = encode(&composite.program, &composite.terms, IndicatorOptions::default());
            assert_eq!(decode(&bytes).as_ref(), Some(&composite), "{written}");
            for cut in 0..bytes.len() {
                assert_eq!(decode(&bytes[..cut]), None);
            }
            assert_eq!(decode(&[&bytes[..], &[0]].concat()), None);
        }
    }
}
