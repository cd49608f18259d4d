//! `LIKE` and `MATCHES` of STIX patterns on values that a list cannot name.
//!
//! An expression is evaluated on the canonical form of a value, in time linear in its length. Each expression has literals
//! of which every matching value contains one, so that a single search for the literals of all expressions finds the few
//! that are worth evaluating ([`ExpressionIndex`]). An expression without such a literal is refused.

mod index;
mod literals;

pub use index::ExpressionIndex;
pub use literals::MIN_LITERAL;

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};

use super::keys::KeySpace;
use crate::observable::{Kind, path};

/// The longest expression, in bytes.
const MAX_LENGTH: usize = 1024;

/// The most memory that one compiled expression takes, in bytes.
const MAX_COMPILED: usize = 1 << 16;
/// The most memory of the automaton that is built while it is evaluated, in bytes for each thread.
const MAX_AUTOMATON: usize = 1 << 17;

/// The operator of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Syntax {
    /// `LIKE`: `%` is any text, `_` any character, and the whole value must match (STIX 2.1, section 9.6.1).
    Like,
    /// `MATCHES`: a regular expression, which some part of the value must match. `.` includes line ends.
    Matches,
}

impl Syntax {
    /// Both, each at its number in a segment.
    pub const ALL: [Syntax; 2] = [Syntax::Like, Syntax::Matches];

    /// The operator as STIX patterns spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Syntax::Like => "LIKE",
            Syntax::Matches => "MATCHES",
        }
    }
}

/// An expression as its pattern spells it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Expression {
    /// The kind of the values that it is evaluated on.
    pub of: Kind,
    /// The operator.
    pub syntax: Syntax,
    /// The text behind the operator.
    pub text: Box<str>,
}

/// The operator and the text, as hits show it.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} '{}'", self.syntax.as_str(), self.text)
    }
}

/// The reason that an expression cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// Values of this kind are not compared as text.
    #[error("values of kind {0} are not compared as text")]
    Kind(Kind),
    /// Longer than an expression may be.
    #[error("it is longer than {MAX_LENGTH} bytes")]
    Long,
    /// Only kind `text` has such values.
    #[error("it has a character outside ASCII, which no canonical value of kind {0} is compared by")]
    NotAscii(Kind),
    /// It takes too much memory.
    #[error("it takes more than {MAX_COMPILED} bytes of memory when it is compiled")]
    Large,
    /// Look-around, a back-reference, or a fault of syntax.
    #[error("it is not a regular expression of the engine, whose time is linear: {0}")]
    Engine(String),
    /// There is no text to search for.
    #[error("no text of at least {MIN_LITERAL} bytes is in every value that it matches")]
    NoLiteral,
}

/// An expression that can be evaluated.
#[derive(Clone, Debug)]
pub struct Compiled {
    regex: Regex,
    /// For paths of Windows, which have no case.
    folded: Option<Regex>,
}

impl Compiled {
    /// Returns whether the canonical form of a value matches.
    pub fn is_match(&self, form: &[u8]) -> bool {
        match &self.folded {
            Some(folded) if path::is_windows(form) => folded.is_match(form),
            _ => self.regex.is_match(form),
        }
    }
}

impl Expression {
    /// The name space whose keys expressions on values of a kind are evaluated on; `None` if values of the kind are not
    /// compared as text.
    pub fn space_of(kind: Kind) -> Option<KeySpace> {
        match kind {
            Kind::Domain
            | Kind::Url
            | Kind::Email
            | Kind::User
            | Kind::Text
            | Kind::Name
            | Kind::DnsType
            | Kind::Path => KeySpace::of_kind(kind).first().copied(),
            Kind::Ip
            | Kind::Md5
            | Kind::Sha1
            | Kind::Sha256
            | Kind::Sha512
            | Kind::Ssdeep
            | Kind::Number
            | Kind::Time => None,
        }
    }

    /// Compiles it. Letters compare as the values of its kind do: texts, URLs and paths that are not of Windows have case.
    ///
    /// # Errors
    /// It cannot be used, for one of the reasons of [`ExpressionError`].
    pub fn compile(&self) -> Result<Compiled, ExpressionError> {
        let pattern = self.pattern()?;
        let build = |ignores_case: bool| {
            let built = RegexBuilder::new(&pattern)
                .unicode(false)
                .dot_matches_new_line(true)
                .case_insensitive(ignores_case)
                .size_limit(MAX_COMPILED)
                .dfa_size_limit(MAX_AUTOMATON)
                .build();
            built.map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => ExpressionError::Large,
                error => ExpressionError::Engine(last(&error.to_string())),
            })
        };
        let regex = build(!matches!(self.of, Kind::Text | Kind::Url | Kind::Path))?;
        let folded = if self.of == Kind::Path { Some(build(true)?) } else { None };
        Ok(Compiled { regex, folded })
    }

    /// Texts of which every matching value contains one, whatever the case of its ASCII letters.
    ///
    /// # Errors
    /// There are none that are long enough, or it cannot be used for another reason.
    pub fn literals(&self) -> Result<Vec<Vec<u8>>, ExpressionError> {
        let literals =
            literals::required_literals(&self.pattern()?).map_err(|error| ExpressionError::Engine(last(&error)))?;
        literals.ok_or(ExpressionError::NoLiteral)
    }

    /// As a regular expression.
    fn pattern(&self) -> Result<String, ExpressionError> {
        if Expression::space_of(self.of).is_none() {
            return Err(ExpressionError::Kind(self.of));
        }
        if self.text.len() > MAX_LENGTH {
            return Err(ExpressionError::Long);
        }
        if self.of != Kind::Text && !self.text.is_ascii() {
            return Err(ExpressionError::NotAscii(self.of));
        }
        Ok(match self.syntax {
            Syntax::Like => like(&self.text),
            Syntax::Matches => self.text.to_string(),
        })
    }

    /// The bytes under which a segment has it: kind, operator and text.
    pub fn key(&self) -> Vec<u8> {
        let mut key = vec![self.of as u8, self.syntax as u8];
        key.extend_from_slice(self.text.as_bytes());
        key
    }

    /// The inverse of [`Expression::key`].
    pub fn from_key(key: &[u8]) -> Option<Expression> {
        let [of, syntax, text @ ..] = key else { return None };
        let of = *Kind::ALL.get(usize::from(*of))?;
        let syntax = *Syntax::ALL.get(usize::from(*syntax))?;
        Some(Expression { of, syntax, text: std::str::from_utf8(text).ok()?.into() })
    }
}

/// The last line of an error of the engine, which says what is wrong; the lines before it draw the expression.
fn last(error: &str) -> String {
    error.lines().last().unwrap_or(error).trim_start_matches("error: ").to_owned()
}

/// A `LIKE` as a regular expression.
fn like(text: &str) -> String {
    let mut out = String::from(r"\A");
    for part in text.split_inclusive(['%', '_']) {
        let plain = part.trim_end_matches(['%', '_']);
        out.push_str(&regex::escape(plain));
        match part.strip_prefix(plain) {
            Some("%") => out.push_str(".*"),
            // A character outside ASCII has more than one byte.
            Some("_") => out.push_str(r"(?:[\x00-\x7f]|[\xc0-\xff][\x80-\xbf]*)"),
            _ => {}
        }
    }
    out.push_str(r"\z");
    out
}

#[cfg(test)]
mod tests;
