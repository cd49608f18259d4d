//! STIX 2.1 patterns (OASIS STIX 2.1, section 9) compiled to terms.
//!
//! A pattern compiles if one event decides it: comparisons joined by `AND` and `OR`, `NOT` among them. Where `OR` is
//! all that joins them its terms are alternatives, which is what most feeds write; otherwise a [`Program`] says which of
//! them must be found together. Everything else is refused by name, for half a pattern would match what its author did not
//! mean. Only an alternative of an `OR` that cannot be evaluated is left out and reported: the others mean what they say.

mod expression;
mod keys;
mod parse;
pub mod program;
mod token;

use std::sync::Arc;

use crate::observable::{Kind, path, refang, text};
use crate::schema::{FieldKind, FieldTable};

use super::term;
use super::term::{Comparison, Target, Term, TermValue};
use parse::{Operator, Parsed, Proposition};
use program::{Expression, MAX_ATOMS, MAX_DEPTH, Program, ProgramError};
use token::Literal;

/// The reason that a pattern does not compile. Positions count characters from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It does not follow the grammar.
    #[error("character {position}: expected {expected}; fix the pattern (STIX 2.1, section 9)")]
    Syntax {
        /// Where.
        position: usize,
        /// The construct that the grammar expects there.
        expected: &'static str,
    },
    /// It is well formed up to here, but uses something that is not matched.
    #[error(
        "character {position}: {construct} is not supported; write comparisons of object paths that the field table \
         knows, joined by AND and OR"
    )]
    Unsupported {
        /// Where.
        position: usize,
        /// The construct, e.g. `FOLLOWEDBY` or `the object path mutex:name`.
        construct: String,
    },
    /// A value is not of the kind that its object path holds.
    #[error("character {position}: `{value}` is not a value of kind {}, which `{path}` requires; fix the value", what(*.kind))]
    Value {
        /// Where.
        position: usize,
        /// The object path.
        path: String,
        /// The value as written.
        value: String,
        /// The kind of the values at the path.
        kind: Kind,
    },
}

/// A kind for people; the length of a hash says which one it is.
fn what(kind: Kind) -> &'static str {
    match kind {
        Kind::Md5 | Kind::Sha1 | Kind::Sha256 | Kind::Sha512 | Kind::Ssdeep => "hash",
        other => other.as_str(),
    }
}

/// A pattern, compiled.
#[derive(Clone, Debug, PartialEq)]
pub struct Compiled {
    /// Its comparisons; never empty. Without a program they are alternatives.
    pub terms: Vec<Term>,
    /// The terms that must be found, or must not, in one event; its atoms are their numbers.
    pub program: Option<Program>,
    /// The alternatives that are left out: their value is none of its kind, so that they can never match, or they use what
    /// is not matched. Never [`PatternError::Syntax`].
    pub left_out: Vec<PatternError>,
}

/// Compiles a pattern. A term of a kind's own path (`ipv4-addr:value`, `domain-name:value`, `file:hashes.…` and the
/// like) targets every field of the kind; another path targets the fields that carry it in `table`.
///
/// # Errors
/// The pattern is malformed or uses what is not supported, none of its alternatives can match, or it could match
/// without any value that could be looked for.
pub fn compile(pattern: &str, table: &FieldTable) -> Result<Compiled, PatternError> {
    let parsed = parse::pattern(pattern)?;
    let mut compiler = Compiler { table, left_out: Vec::new() };
    let node = compiler.node(&parsed)?;
    let left_out = compiler.left_out;
    let Some(node) = node else {
        let nothing = || unsupported(parsed.position(), "a pattern that can never match".to_owned());
        return Err(left_out.into_iter().next().unwrap_or_else(nothing));
    };
    match node.alternatives() {
        Ok(terms) => Ok(Compiled { terms, program: None, left_out }),
        Err(node) => {
            let (terms, program) = composite(node).map_err(|construct| unsupported(parsed.position(), construct))?;
            Ok(Compiled { terms, program: Some(program), left_out })
        }
    }
}

/// The terms of a pattern that takes a program, each once; an error is the construct that is not supported.
fn composite(node: Node) -> Result<(Vec<Term>, Program), String> {
    let mut terms = Vec::new();
    let too_many = || format!("AND or NOT with more than {MAX_ATOMS} different comparisons");
    let expression = node.numbered(&mut terms).ok_or_else(too_many)?;
    let keys = keys::choose(&expression, &terms)
        .ok_or("an alternative of nothing but NOT, which nearly every event fulfils,")?;
    let program = Program::new(expression, terms.len(), keys).map_err(|error| match error {
        ProgramError::Deep => format!("AND and OR within each other more than {MAX_DEPTH} deep"),
        ProgramError::Atoms(_) => too_many(),
        other => format!("so large a pattern ({other})"),
    })?;
    Ok((terms, program))
}

/// A parsed pattern whose comparisons are terms.
enum Node {
    Is(Term),
    IsNot(Term),
    All(Vec<Node>),
    Any(Vec<Node>),
}

impl Node {
    /// The terms when they are nothing but alternatives; itself when not.
    fn alternatives(self) -> Result<Vec<Term>, Node> {
        match self {
            Node::Is(term) => Ok(vec![term]),
            Node::Any(of) if of.iter().all(|node| matches!(node, Node::Is(_))) => Ok(of
                .into_iter()
                .filter_map(|node| match node {
                    Node::Is(term) => Some(term),
                    _ => None,
                })
                .collect()),
            other => Err(other),
        }
    }

    /// The expression over the numbers of the terms, which are gathered; `None` when there are too many.
    fn numbered(self, terms: &mut Vec<Term>) -> Option<Expression> {
        let mut number = |term: Term| {
            let at = terms.iter().position(|known| *known == term).unwrap_or_else(|| {
                terms.push(term);
                terms.len() - 1
            });
            u8::try_from(at).ok().filter(|_| at < MAX_ATOMS)
        };
        Some(match self {
            Node::Is(term) => Expression::Is(number(term)?),
            Node::IsNot(term) => Expression::IsNot(number(term)?),
            Node::All(of) => Expression::all(of.into_iter().map(|node| node.numbered(terms)).collect::<Option<_>>()?),
            Node::Any(of) => Expression::any(of.into_iter().map(|node| node.numbered(terms)).collect::<Option<_>>()?),
        })
    }

    /// Any of several, the ones in brackets among them; `None` of none.
    fn any(of: Vec<Node>) -> Option<Node> {
        let open = |node| match node {
            Node::Any(inner) => inner,
            other => vec![other],
        };
        let mut of: Vec<Node> = of.into_iter().flat_map(open).collect();
        match of.len() {
            0 | 1 => of.pop(),
            _ => Some(Node::Any(of)),
        }
    }
}

/// Turns what was parsed into terms.
struct Compiler<'t> {
    table: &'t FieldTable,
    left_out: Vec<PatternError>,
}

impl Compiler<'_> {
    /// `None`: it can never match, for reasons that are in `left_out`.
    fn node(&mut self, parsed: &Parsed) -> Result<Option<Node>, PatternError> {
        match parsed {
            Parsed::One(comparison) => self.comparison(comparison),
            Parsed::Other { position, construct } => Err(unsupported(*position, construct.clone())),
            Parsed::Any(of) => {
                let mut nodes = Vec::with_capacity(of.len());
                for inner in of {
                    let before = self.left_out.len();
                    match self.node(inner) {
                        Ok(node) => nodes.extend(node),
                        Err(error) => {
                            self.left_out.truncate(before);
                            self.left_out.push(error);
                        }
                    }
                }
                Ok(Node::any(nodes))
            }
            Parsed::All(of) => {
                let pair = pair(of, self.table)?;
                let implied = implied_types(of);
                let joined =
                    |at: usize| implied.contains(&at) || pair.as_ref().is_some_and(|pair| pair.parts.contains(&at));
                let mut nodes = Vec::with_capacity(of.len());
                let mut is_possible = true;
                for (_, inner) in of.iter().enumerate().filter(|(at, _)| !joined(*at)) {
                    match self.node(inner)? {
                        Some(node) => nodes.push(node),
                        None => is_possible = false,
                    }
                }
                nodes.extend(pair.map(|pair| Node::Is(pair.term)));
                Ok(match nodes.len() {
                    _ if !is_possible => None,
                    0 | 1 => nodes.pop(),
                    _ => Some(Node::All(nodes)),
                })
            }
        }
    }

    fn comparison(&mut self, comparison: &Proposition) -> Result<Option<Node>, PatternError> {
        let meaning = meaning(comparison, self.table)?;
        let order = match comparison.operator {
            Operator::Compare(order) => order,
            Operator::In => Comparison::Equal,
            Operator::IsSubset if meaning.kind == Kind::Ip => Comparison::Equal,
            Operator::Like | Operator::Matches => return self.expression(comparison, &meaning),
            Operator::IsSubset | Operator::IsSuperset => {
                let word = if comparison.operator == Operator::IsSubset { "ISSUBSET" } else { "ISSUPERSET" };
                return Err(unsupported(comparison.position, format!("{word} of `{}`", meaning.path)));
            }
        };
        let mut terms = Vec::with_capacity(comparison.values.len());
        let before = self.left_out.len();
        for (position, literal) in &comparison.values {
            match value(&meaning, *position, literal, order) {
                Ok(value) => terms.push(Term { target: meaning.target_of(&value), value }),
                Err(error @ PatternError::Value { .. }) => self.left_out.push(error),
                Err(error) => return Err(error),
            }
        }
        match comparison.negated {
            false => Ok(Node::any(terms.into_iter().map(Node::Is).collect())),
            // An atom that must not be found cannot be left out.
            true if self.left_out.len() > before => Ok(None),
            true => {
                let mut nodes: Vec<Node> = terms.into_iter().map(Node::IsNot).collect();
                Ok(if nodes.len() > 1 { Some(Node::All(nodes)) } else { nodes.pop() })
            }
        }
    }
}

/// The comparisons of an `AND` with the type of a reference (`dst_ref.type = 'ipv4-addr'`) next to one with its value,
/// which says the type by itself.
fn implied_types(of: &[Parsed]) -> Vec<usize> {
    let one = |part: &Parsed| match part {
        Parsed::One(proposition) if !proposition.negated => Some(proposition.key.clone()),
        _ => None,
    };
    let keys: Vec<_> = of.iter().map(one).collect();
    let is_implied = |at: &usize| {
        let reference = keys.get(*at).and_then(Option::as_ref).and_then(|key| key.parent_of("type"));
        let is_reference = |steps: &&[String]| {
            let mut names = steps.iter().rev().filter(|step| !step.starts_with('['));
            names.next().is_some_and(|name| name.ends_with("_ref") || name.ends_with("_refs"))
        };
        reference
            .filter(is_reference)
            .is_some_and(|reference| keys.iter().flatten().any(|key| key.parent_of("value") == Some(reference)))
    };
    (0..of.len()).filter(is_implied).collect()
}

/// The meaning of an object path: how the table spells it, what it holds, and which fields it targets.
struct Meaning {
    path: Arc<str>,
    kind: Kind,
    target: Target,
}

impl Meaning {
    /// The fields at which a value of the path may be.
    fn target_of(&self, value: &TermValue) -> Target {
        let named = NAMED_ENDS.iter().find(|(path, _)| **path == *self.path);
        match (value, named) {
            (TermValue::Domain { .. }, Some((_, field))) => Target::StixPath((*field).into()),
            _ => self.target.clone(),
        }
    }
}

/// Two comparisons of an `AND` that are one path: the directory and the file name of an `a&b` row.
struct Pair {
    /// The two parts.
    parts: [usize; 2],
    term: Term,
}

fn pair(of: &[Parsed], table: &FieldTable) -> Result<Option<Pair>, PatternError> {
    // Only the equality of a text is a half of a path.
    let text_at = |key: &parse::PathKey| {
        of.iter().enumerate().find_map(|(at, part)| match part {
            Parsed::One(Proposition {
                key: known,
                negated: false,
                operator: Operator::Compare(Comparison::Equal),
                values,
                ..
            }) if known == key => match values.as_slice() {
                [(_, Literal::Text(text))] => Some((at, text)),
                _ => None,
            },
            _ => None,
        })
    };
    for known in table.iter().flat_map(|(_, field)| &field.stix_paths) {
        let Some((directory, name)) = known.split_once('&') else { continue };
        let (Some(directory), Some(name)) = (parse::path_key(directory), parse::path_key(name)) else { continue };
        let (Some((first, directory)), Some((second, name))) = (text_at(&directory), text_at(&name)) else { continue };
        let joined = path::join(directory.trim(), name.trim());
        let position = of.get(first).map_or(1, Parsed::position);
        let value = term::value(Kind::Path, &joined).ok_or_else(|| unsupported(position, "AND".to_owned()))?;
        let term = Term { value, target: Target::StixPath(known.as_str().into()) };
        return Ok(Some(Pair { parts: [first, second], term }));
    }
    Ok(None)
}

/// The kinds' own object paths: they mean the value at any field of the kind.
const OWN_PATHS: [(&str, Kind); 5] = [
    ("ipv4-addr:value", Kind::Ip),
    ("ipv6-addr:value", Kind::Ip),
    ("domain-name:value", Kind::Domain),
    ("url:value", Kind::Url),
    ("email-addr:value", Kind::Email),
];

/// The results of resolving a name: objects of the types `ipv4-addr`, `ipv6-addr` and `domain-name` (STIX 2.1, section
/// 6.4).
const RESOLVES_TO: &str = "domain-name:resolves_to_refs[*].value";

/// The ends of a connection may be names, too (STIX 2.1, section 6.12), which a field of their own holds.
const NAMED_ENDS: [(&str, &str); 2] =
    [("network-traffic:dst_ref.value", "destination.domain"), ("network-traffic:src_ref.value", "source.domain")];

/// Object paths of STIX 2.0 and what they became in 2.1.
const RENAMED: [(&str, &str); 6] = [
    ("file:created", "file:ctime"),
    ("file:modified", "file:mtime"),
    ("process:name", "process:image_ref.name"),
    ("process:binary_ref.name", "process:image_ref.name"),
    ("process:created", "process:created_time"),
    ("process:parent_ref.name", "process:parent_ref.image_ref.name"),
];

/// The hashes of a file that are looked for, without hyphens; the value's length decides which one it is.
const FILE_HASHES: [&str; 7] = ["MD5", "SHA1", "SHA256", "SHA512", "SSDEEP", "*", "[*]"];

/// The hashes of a certificate that are looked for, without hyphens.
const CERTIFICATE_HASHES: [&str; 4] = ["MD5", "SHA1", "SHA256", "SHA512"];

/// The path by which the field table names certificate fingerprints of any algorithm; the value's length decides which one.
const FINGERPRINT: &str = "x509-certificate:hashes.*";

fn meaning(comparison: &Proposition, table: &FieldTable) -> Result<Meaning, PatternError> {
    let of_kind = |kind| Meaning { path: comparison.path.as_str().into(), kind, target: Target::Kind };
    if let Some((_, kind)) = OWN_PATHS.into_iter().find(|(path, _)| *path == comparison.path) {
        return Ok(of_kind(kind));
    }
    if comparison.key.hash_of("file").is_some_and(|algorithm| FILE_HASHES.contains(&algorithm)) {
        return Ok(of_kind(Kind::Md5));
    }
    let renamed = RENAMED.iter().find(|(old, _)| parse::path_key(old).is_some_and(|key| key == comparison.key));
    let renamed = renamed.and_then(|(_, new)| parse::path_key(new));
    let of_certificate = comparison.key.hash_of("x509-certificate");
    let of_certificate = of_certificate.filter(|algorithm| CERTIFICATE_HASHES.contains(algorithm));
    let fingerprint = of_certificate.and_then(|_| parse::path_key(FINGERPRINT));
    let wanted = renamed.as_ref().or(fingerprint.as_ref()).unwrap_or(&comparison.key);
    let is = |known: &str| parse::path_key(known).is_some_and(|key| key == *wanted);
    let Some((path, kind)) = table.stix_paths().find(|(path, _)| is(path)) else {
        return Err(unsupported(comparison.position, format!("the object path `{}`", comparison.path)));
    };
    let path: Arc<str> = path.into();
    let kind = match kind {
        FieldKind::Of(kind) => kind,
        FieldKind::Hash => Kind::Md5,
        FieldKind::UrlPart => Kind::Url,
        _ => Kind::Text,
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
    let read = term::value(kind, &refanged);
    // A name resolves to addresses, or to another name; so may the end of a connection be either.
    let read = match read {
        None if is_name_or_address(&meaning.path) => term::value(Kind::Domain, &refanged),
        read => read,
    };
    match (read.ok_or_else(refused)?, comparison) {
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

fn is_name_or_address(path: &str) -> bool {
    path == RESOLVES_TO || NAMED_ENDS.iter().any(|(known, _)| *known == path)
}

fn unsupported(position: usize, construct: String) -> PatternError {
    PatternError::Unsupported { position, construct }
}

#[cfg(test)]
mod tests;
