//! STIX 2.1 patterns (OASIS STIX 2.1, section 9) compiled to terms.
//!
//! A pattern compiles when it is an alternative of single comparisons; that is what feeds write. Everything else is
//! refused as a whole and by name, for half a pattern would match what its author did not mean. Only an alternative
//! whose value cannot be of its kind, and so could never match, is left out of an `OR` and reported.

mod parse;
mod token;

use std::sync::Arc;

use crate::fields::{FieldKind, FieldTable};
use crate::observable::{Kind, path, refang, text};

use super::indicator::{Comparison, Target, Term, TermValue};
use super::term;
use parse::{Alternative, Operator, Proposition};
use token::Literal;

/// Why a pattern does not compile. Positions count characters from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It does not follow the grammar.
    #[error("character {position}: expected {expected}; mend the pattern (STIX 2.1, section 9)")]
    Syntax {
        /// Where.
        position: usize,
        /// What the grammar wants there.
        expected: &'static str,
    },
    /// It is well formed up to here, but uses something that is not matched.
    #[error(
        "character {position}: {construct} is not supported; write one comparison, or several joined by OR, of object \
         paths that the field table knows"
    )]
    Unsupported {
        /// Where.
        position: usize,
        /// The construct, e.g. `FOLLOWEDBY` or `the object path mutex:name`.
        construct: String,
    },
    /// A value is not of the kind that its object path holds.
    #[error("character {position}: `{value}` is no {kind} value, which `{path}` holds; mend the value")]
    Value {
        /// Where.
        position: usize,
        /// The object path.
        path: String,
        /// The value as written.
        value: String,
        /// What the path holds.
        kind: Kind,
    },
}

/// A pattern, compiled.
#[derive(Clone, Debug, PartialEq)]
pub struct Compiled {
    /// Its alternatives; never empty.
    pub terms: Vec<Term>,
    /// The alternatives that can never match, because their value is none of its kind. Always
    /// [`PatternError::Value`].
    pub left_out: Vec<PatternError>,
}

/// Compiles a pattern to its alternatives. A term of a kind's own path (`ipv4-addr:value`, `domain-name:value`,
/// `file:hashes.…` and the like) targets every field of the kind; another path targets the fields that carry it in
/// `table`.
///
/// # Errors
/// The pattern is malformed or uses what is not supported, or none of its alternatives can match.
pub fn compile(pattern: &str, table: &FieldTable) -> Result<Compiled, PatternError> {
    let mut compiled = Compiled { terms: Vec::new(), left_out: Vec::new() };
    for alternative in parse::alternatives(pattern)? {
        match alternative {
            Alternative::One(comparison) => compile_one(&comparison, table, &mut compiled)?,
            Alternative::All { position, parts } => compiled.terms.push(compile_pair(position, &parts, table)?),
        }
    }
    match compiled.left_out.first() {
        Some(error) if compiled.terms.is_empty() => Err(error.clone()),
        _ => Ok(compiled),
    }
}

/// What an object path means: how the table spells it, what it holds, and which fields it targets.
struct Meaning {
    path: Arc<str>,
    kind: Kind,
    target: Target,
}

fn compile_one(comparison: &Proposition, table: &FieldTable, compiled: &mut Compiled) -> Result<(), PatternError> {
    let meaning = meaning(comparison, table)?;
    let order = match comparison.operator {
        Operator::Compare(order) => order,
        Operator::In => Comparison::Equal,
        Operator::IsSubset if meaning.kind == Kind::Ip => Comparison::Equal,
        Operator::IsSubset => return Err(unsupported(comparison.position, format!("ISSUBSET of `{}`", meaning.path))),
    };
    for (position, literal) in &comparison.values {
        match value(&meaning, *position, literal, order) {
            Ok(value) => compiled.terms.push(Term { value, target: meaning.target.clone() }),
            Err(error @ PatternError::Value { .. }) => compiled.left_out.push(error),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// An `AND` of the two paths of one `a&b` row: directory and file name, which together are one path.
fn compile_pair(position: usize, parts: &[Proposition], table: &FieldTable) -> Result<Term, PatternError> {
    let refused = || unsupported(position, "AND".to_owned());
    let [one, two] = parts else { return Err(refused()) };
    let (known, swapped) = table
        .iter()
        .flat_map(|(_, field)| &field.stix_paths)
        .find_map(|known| {
            let (directory, name) = known.split_once('&')?;
            let (directory, name) = (parse::path_key(directory)?, parse::path_key(name)?);
            let straight = one.key == directory && two.key == name;
            (straight || (two.key == directory && one.key == name)).then_some((known, !straight))
        })
        .ok_or_else(refused)?;
    let (directory, name) = if swapped { (two, one) } else { (one, two) };
    let text_of = |part: &Proposition| match (part.operator, part.values.as_slice()) {
        (Operator::Compare(Comparison::Equal), [(_, Literal::Text(text))]) => Ok(text.clone()),
        _ => Err(refused()),
    };
    let (directory, name) = (text_of(directory)?, text_of(name)?);
    let joined = path::join(directory.trim(), name.trim());
    let value = term::value(Kind::Path, &joined).ok_or_else(refused)?;
    Ok(Term { value, target: Target::StixPath(known.as_str().into()) })
}

/// The kinds' own object paths: they mean the value itself, wherever it stands.
const OWN_PATHS: [(&str, Kind); 5] = [
    ("ipv4-addr:value", Kind::Ip),
    ("ipv6-addr:value", Kind::Ip),
    ("domain-name:value", Kind::Domain),
    ("url:value", Kind::Url),
    ("email-addr:value", Kind::Email),
];

/// The hashes of a file that are looked for, without hyphens; the value's length tells which one it is.
const FILE_HASHES: [&str; 6] = ["MD5", "SHA1", "SHA256", "SHA512", "SSDEEP", "*"];

fn meaning(comparison: &Proposition, table: &FieldTable) -> Result<Meaning, PatternError> {
    let of_kind = |kind| Meaning { path: comparison.path.as_str().into(), kind, target: Target::Kind };
    if let Some((_, kind)) = OWN_PATHS.into_iter().find(|(path, _)| *path == comparison.path) {
        return Ok(of_kind(kind));
    }
    if comparison.key.file_hash().is_some_and(|algorithm| FILE_HASHES.contains(&algorithm)) {
        return Ok(of_kind(Kind::Md5));
    }
    let is = |known: &str| parse::path_key(known).is_some_and(|key| key == comparison.key);
    let known = table.iter().find_map(|(_, field)| Some((field.kind, field.stix_paths.iter().find(|path| is(path))?)));
    let Some((kind, path)) = known else {
        return Err(unsupported(comparison.position, format!("the object path `{}`", comparison.path)));
    };
    let path: Arc<str> = path.as_str().into();
    let kind = match kind {
        FieldKind::Of(kind) => kind,
        FieldKind::Hash => Kind::Md5,
        FieldKind::Auto => Kind::Text,
    };
    Ok(Meaning { kind, target: Target::StixPath(Arc::clone(&path)), path })
}

fn value(
    meaning: &Meaning,
    position: usize,
    literal: &Literal,
    comparison: Comparison,
) -> Result<TermValue, PatternError> {
    let written = match literal {
        Literal::Text(text) | Literal::Number(text) | Literal::Time(text) => text.as_str(),
        Literal::Other(what) => return Err(unsupported(position, format!("a {what} literal"))),
    };
    let kind = meaning.kind;
    let refanged = match kind {
        Kind::Ip | Kind::Domain | Kind::Url | Kind::Email => refang::refang(written.trim()),
        _ => written.into(),
    };
    let refused = || PatternError::Value { position, path: meaning.path.to_string(), value: written.to_owned(), kind };
    match (term::value(kind, &refanged).ok_or_else(refused)?, comparison) {
        (TermValue::Number { value, .. }, comparison) => Ok(TermValue::Number { comparison, value }),
        (TermValue::Time { value, .. }, comparison) => Ok(TermValue::Time { comparison, value }),
        (TermValue::Text(whole), Comparison::Equal) if meaning.path.ends_with(".request_version") => {
            let version = text::http_version(whole.as_bytes());
            Ok(TermValue::Text(std::str::from_utf8(version).map_err(|_| refused())?.into()))
        }
        (value, Comparison::Equal) => Ok(value),
        (_, _) => Err(unsupported(position, format!("an order comparison of `{}`", meaning.path))),
    }
}

fn unsupported(position: usize, construct: String) -> PatternError {
    PatternError::Unsupported { position, construct }
}

#[cfg(test)]
mod tests;
