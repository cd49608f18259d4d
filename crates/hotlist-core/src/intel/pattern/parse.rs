//! The grammar of STIX patterns, as far as one event can decide them: tokens to a tree of comparisons.

use super::token::{Literal, Token, tokens};
use super::{PatternError, unsupported};
use crate::intel::term::Comparison;

/// How deep brackets may nest.
const MAX_DEPTH: usize = 32;

/// Key words between and behind observations.
const KEY_WORDS: [&str; 5] = ["AND", "OR", "FOLLOWEDBY", "WITHIN", "REPEATS"];

/// A pattern as it is bracketed; brackets that say nothing are gone.
#[derive(Clone, Debug)]
pub enum Parsed {
    One(Proposition),
    /// `AND`, within an observation or between observations: two at least.
    All(Vec<Parsed>),
    /// `OR`, within an observation or between observations: two at least.
    Any(Vec<Parsed>),
    /// A pattern that is well formed but cannot be evaluated.
    Other {
        position: usize,
        construct: String,
    },
}

/// `path operator value`.
#[derive(Clone, Debug)]
pub struct Proposition {
    /// The position of the path.
    pub position: usize,
    /// The path as written, quotes normalised.
    pub path: String,
    /// The path for comparison with others.
    pub key: PathKey,
    /// Whether it holds for values that do not compare so: `NOT` or `!=`.
    pub negated: bool,
    pub operator: Operator,
    /// One value, or those of the list, with their positions.
    pub values: Vec<(usize, Literal)>,
}

/// A comparison operator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Operator {
    /// `=` and `!=`, `<`, `<=`, `>`, `>=`.
    Compare(Comparison),
    /// `IN`.
    In,
    /// `LIKE`.
    Like,
    /// `MATCHES`.
    Matches,
    /// `ISSUBSET`.
    IsSubset,
    /// `ISSUPERSET`.
    IsSuperset,
}

/// An object path without its spelling: object type and steps. Names of hash algorithms have neither case nor hyphens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathKey(Vec<String>);

impl PathKey {
    /// The path without its last step, if that is this one.
    pub fn parent_of(&self, step: &str) -> Option<&[String]> {
        self.0.split_last().filter(|(last, _)| *last == step).map(|(_, parent)| parent)
    }

    /// The algorithm of `hashes.…` of an object type.
    pub fn hash_of(&self, kind: &str) -> Option<&str> {
        match self.0.as_slice() {
            [object, property, algorithm] if object == kind && property == "hashes" => Some(algorithm),
            _ => None,
        }
    }
}

/// The key of a path as the field table writes it.
pub fn path_key(path: &str) -> Option<PathKey> {
    let mut parser = Parser { tokens: tokens(path).ok()?, at: 0 };
    let (_, key) = parser.path().ok()?;
    (parser.peek() == &Token::End).then_some(key)
}

/// A pattern, or the first construct in it that cannot be evaluated.
pub fn pattern(pattern: &str) -> Result<Parsed, PatternError> {
    let mut parser = Parser { tokens: tokens(pattern)?, at: 0 };
    let parsed = parser.observations(0)?;
    match parser.peek() {
        Token::End => Ok(parsed),
        Token::Word(word) if KEY_WORDS.iter().any(|known| known.eq_ignore_ascii_case(word)) => {
            Err(parser.expected("key words in capitals"))
        }
        _ => Err(parser.expected("the end of the pattern")),
    }
}

impl Parsed {
    /// The position of the first comparison.
    pub fn position(&self) -> usize {
        match self {
            Parsed::One(proposition) => proposition.position,
            Parsed::All(of) | Parsed::Any(of) => of.first().map_or(1, Parsed::position),
            Parsed::Other { position, .. } => *position,
        }
    }

    /// Joins neighbours; an `OR` in brackets within an `OR` is the same `OR`.
    fn any(mut of: Vec<Parsed>) -> Parsed {
        if of.iter().any(|inner| matches!(inner, Parsed::Any(_))) {
            let open = |inner| match inner {
                Parsed::Any(inner) => inner,
                other => vec![other],
            };
            of = of.into_iter().flat_map(open).collect();
        }
        if of.len() == 1 { of.remove(0) } else { Parsed::Any(of) }
    }

    fn all(mut of: Vec<Parsed>) -> Parsed {
        if of.iter().any(|inner| matches!(inner, Parsed::All(_))) {
            let open = |inner| match inner {
                Parsed::All(inner) => inner,
                other => vec![other],
            };
            of = of.into_iter().flat_map(open).collect();
        }
        if of.len() == 1 { of.remove(0) } else { Parsed::All(of) }
    }
}

struct Parser {
    /// Never empty: ends with [`Token::End`].
    tokens: Vec<(usize, Token)>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |(_, token)| token)
    }

    fn position(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |(position, _)| *position)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn expected(&self, expected: &'static str) -> PatternError {
        PatternError::Syntax { position: self.position(), expected }
    }

    fn unsupported(&self, construct: impl Into<String>) -> PatternError {
        unsupported(self.position(), construct.into())
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Token::Sign(known) if *known == sign);
        self.at += usize::from(found);
        found
    }

    /// Whether the next token is this key word; feeds write them in any case.
    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Word(known) if known.eq_ignore_ascii_case(word))
    }

    /// Whether the next token is this key word, in capitals as the standard has it.
    fn is_capital(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Word(known) if known == word)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.at += usize::from(found);
        found
    }

    fn deeper(&self, depth: usize) -> Result<usize, PatternError> {
        match depth < MAX_DEPTH {
            true => Ok(depth + 1),
            false => Err(self.unsupported(format!("nesting of more than {MAX_DEPTH} brackets"))),
        }
    }

    /// `alternatives (FOLLOWEDBY alternatives)*`
    fn observations(&mut self, depth: usize) -> Result<Parsed, PatternError> {
        let position = self.position();
        let first = self.alternatives(depth)?;
        if !self.is_capital("FOLLOWEDBY") {
            return Ok(first);
        }
        while self.is_capital("FOLLOWEDBY") {
            self.at += 1;
            self.alternatives(depth)?;
        }
        Ok(Parsed::Other { position, construct: "FOLLOWEDBY between observations".to_owned() })
    }

    /// `joined (OR joined)*`
    fn alternatives(&mut self, depth: usize) -> Result<Parsed, PatternError> {
        let mut all = vec![self.joined(depth)?];
        while self.take_word("OR") {
            all.push(self.joined(depth)?);
        }
        Ok(Parsed::any(all))
    }

    /// `observation (AND observation)*`: what one event fulfils alone is all observations at once.
    fn joined(&mut self, depth: usize) -> Result<Parsed, PatternError> {
        let mut all = vec![self.observation(depth)?];
        while self.take_word("AND") {
            all.push(self.observation(depth)?);
        }
        Ok(Parsed::all(all))
    }

    /// `[ comparisons ]` or `( observations )`, and its qualifiers.
    fn observation(&mut self, depth: usize) -> Result<Parsed, PatternError> {
        let (mut parsed, close) = if self.take_sign("[") {
            let depth = self.deeper(depth)?;
            (self.disjunction(depth)?, "]")
        } else if self.take_sign("(") {
            let depth = self.deeper(depth)?;
            (self.observations(depth)?, ")")
        } else {
            return Err(self.expected("`[` before a comparison"));
        };
        if !self.take_sign(close) {
            return Err(self.expected(if close == "]" { "AND, OR or `]`" } else { "AND, OR, FOLLOWEDBY or `)`" }));
        }
        let mut seen: Vec<&str> = Vec::new();
        while let Some(word) = ["WITHIN", "REPEATS", "START"].into_iter().find(|word| self.is_capital(word)) {
            let position = self.position();
            // Of observations in brackets each may have one of its own.
            if close == "]" && seen.contains(&word) {
                return Err(self.expected("a qualifier only once"));
            }
            seen.push(word);
            self.at += 1;
            self.qualifier(word)?;
            parsed = Parsed::Other { position, construct: format!("the qualifier {word}") };
        }
        Ok(parsed)
    }

    /// The argument of a qualifier.
    fn qualifier(&mut self, word: &str) -> Result<(), PatternError> {
        match word {
            "WITHIN" => self.positive(true).and_then(|()| self.wanted_word("SECONDS", "SECONDS")),
            "REPEATS" => self.positive(false).and_then(|()| self.wanted_word("TIMES", "TIMES")),
            _ => {
                self.instant()?;
                self.wanted_word("STOP", "STOP and a time")?;
                self.instant()
            }
        }
    }

    fn wanted_word(&mut self, word: &str, expected: &'static str) -> Result<(), PatternError> {
        if self.take_word(word) { Ok(()) } else { Err(self.expected(expected)) }
    }

    /// A number above 0, with a fraction or without.
    fn positive(&mut self, with_fraction: bool) -> Result<(), PatternError> {
        let fits = match self.peek() {
            Token::Literal(Literal::Number(number)) => {
                !number.starts_with(['-', '+']) && (with_fraction || !number.contains('.'))
            }
            _ => false,
        };
        if !fits {
            return Err(self.expected("a number above 0"));
        }
        self.at += 1;
        Ok(())
    }

    fn instant(&mut self) -> Result<(), PatternError> {
        match self.peek() {
            Token::Literal(Literal::Time(_) | Literal::Text(_)) => {
                self.at += 1;
                Ok(())
            }
            _ => Err(self.expected("a time as t'…'")),
        }
    }

    /// `conjunction (OR conjunction)*`
    fn disjunction(&mut self, depth: usize) -> Result<Parsed, PatternError> {
        let mut all = vec![self.conjunction(depth)?];
        while self.take_word("OR") {
            all.push(self.conjunction(depth)?);
        }
        Ok(Parsed::any(all))
    }

    /// `comparison (AND comparison)*`; `AND` binds closer than `OR`.
    fn conjunction(&mut self, depth: usize) -> Result<Parsed, PatternError> {
        let mut all = vec![self.comparison(depth)?];
        while self.take_word("AND") {
            all.push(self.comparison(depth)?);
        }
        Ok(Parsed::all(all))
    }

    /// `path operator value` or `( comparisons )`.
    fn comparison(&mut self, depth: usize) -> Result<Parsed, PatternError> {
        if self.take_sign("(") {
            let depth = self.deeper(depth)?;
            let all = self.disjunction(depth)?;
            return match self.take_sign(")") {
                true => Ok(all),
                false => Err(self.expected("AND, OR or `)`")),
            };
        }
        let position = self.position();
        if self.is_word("NOT") || self.is_word("EXISTS") {
            self.take_word("NOT");
            self.wanted_word("EXISTS", "EXISTS, or the object path before NOT")?;
            self.path()?;
            return Ok(Parsed::Other { position, construct: "EXISTS".to_owned() });
        }
        let (path, key) = self.path()?;
        let negated = self.take_word("NOT");
        let unequal = matches!(self.peek(), Token::Sign("!=" | "<>" | "\u{2260}"));
        let operator = self.operator()?;
        let values = match operator {
            Operator::In => self.list()?,
            Operator::Like | Operator::Matches | Operator::IsSubset | Operator::IsSuperset => vec![self.text()?],
            Operator::Compare(_) => vec![self.literal()?],
        };
        Ok(Parsed::One(Proposition { position, path, key, negated: negated != unequal, operator, values }))
    }

    /// `type:property.'property'[*]…`
    fn path(&mut self) -> Result<(String, PathKey), PatternError> {
        let Token::Word(object) = self.peek().clone() else { return Err(self.expected("an object path")) };
        self.at += 1;
        if !self.take_sign(":") {
            return Err(self.expected("`:` after the object type"));
        }
        let mut written = format!("{object}:");
        let mut key = vec![object];
        loop {
            let property = match self.next() {
                Token::Word(name) | Token::DoubleQuoted(name) | Token::Literal(Literal::Text(name)) => name,
                Token::Sign("*") => "*".to_owned(),
                _ => {
                    self.at -= 1;
                    return Err(self.expected("the name of a property"));
                }
            };
            written.push_str(&property);
            let algorithm = key.last().is_some_and(|previous| previous == "hashes");
            key.push(if algorithm { property.to_ascii_uppercase().replace('-', "") } else { property });
            while self.take_sign("[") {
                let index = match self.next() {
                    Token::Sign("*") => "[*]".to_owned(),
                    Token::Literal(Literal::Number(index)) => format!("[{index}]"),
                    _ => {
                        self.at -= 1;
                        return Err(self.expected("`*` or an index"));
                    }
                };
                if !self.take_sign("]") {
                    return Err(self.expected("`]` after the index"));
                }
                written.push_str(&index);
                key.push(index);
            }
            if !self.take_sign(".") {
                return Ok((written, PathKey(key)));
            }
            written.push('.');
        }
    }

    fn operator(&mut self) -> Result<Operator, PatternError> {
        for (word, operator) in [
            ("IN", Operator::In),
            ("LIKE", Operator::Like),
            ("MATCHES", Operator::Matches),
            ("ISSUBSET", Operator::IsSubset),
            ("ISSUPERSET", Operator::IsSuperset),
        ] {
            if self.take_word(word) {
                return Ok(operator);
            }
        }
        let comparison = match self.peek() {
            Token::Sign("=" | "==" | "!=" | "<>" | "\u{2260}") => Comparison::Equal,
            Token::Sign("<") => Comparison::Less,
            Token::Sign("<=") => Comparison::LessOrEqual,
            Token::Sign(">") => Comparison::Greater,
            Token::Sign(">=") => Comparison::GreaterOrEqual,
            _ => return Err(self.expected("a comparison operator")),
        };
        self.at += 1;
        Ok(Operator::Compare(comparison))
    }

    /// `( literal, … )`
    fn list(&mut self) -> Result<Vec<(usize, Literal)>, PatternError> {
        if !self.take_sign("(") {
            return Err(self.expected("`(` before a list"));
        }
        let mut values = vec![self.literal()?];
        while self.take_sign(",") {
            values.push(self.literal()?);
        }
        match self.take_sign(")") {
            true => Ok(values),
            false => Err(self.expected("`,` or `)`")),
        }
    }

    /// A text: these operators take nothing else.
    fn text(&mut self) -> Result<(usize, Literal), PatternError> {
        match self.peek() {
            Token::Literal(Literal::Text(_)) => self.literal(),
            _ => Err(self.expected("a text in `'…'`")),
        }
    }

    fn literal(&mut self) -> Result<(usize, Literal), PatternError> {
        let position = self.position();
        let literal = match self.peek() {
            Token::Literal(literal) => literal.clone(),
            Token::Word(word) if word.eq_ignore_ascii_case("true") || word.eq_ignore_ascii_case("false") => {
                Literal::Other("boolean")
            }
            _ => return Err(self.expected("a literal in `'…'`, a number or t'…'")),
        };
        self.at += 1;
        Ok((position, literal))
    }
}
