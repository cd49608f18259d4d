//! The program of a composite pattern: a boolean expression over the terms of an indicator, which is evaluated on one event.
//!
//! Its atoms are the numbers of the terms. Some are keys: the expression is false unless one of them is found, so only
//! they are looked for. The others are parts, which are asked for when a key was found, and never count alone.

use std::fmt;

use crate::intel::term::Term;

/// The most atoms of a program; sets of them are the bits of a word.
pub const MAX_ATOMS: usize = 64;
/// How deep expressions nest.
pub const MAX_DEPTH: usize = 16;
/// The longest program in bytes.
pub const MAX_BYTES: usize = 4096;

/// The first byte of every program.
const VERSION: u8 = 1;

/// The state of an atom in an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtomState {
    /// The term is found at one of its fields.
    Found,
    /// The event has a value at one of its fields, and the term is found at none.
    Other,
    /// The event has no value at its fields.
    Missing,
}

/// A boolean expression over atoms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// The atom is found.
    Is(u8),
    /// There is a value where the atom is looked for, and it is not found (STIX 2.1, section 9.6: a comparison is
    /// false where the object has no such property, `!=` and `NOT` as well).
    IsNot(u8),
    /// All hold: `AND`.
    All(Vec<Expression>),
    /// One holds: `OR`.
    Any(Vec<Expression>),
}

/// A set of atoms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Atoms(u64);

impl Atoms {
    /// These atoms; numbers beyond [`MAX_ATOMS`] are none.
    pub fn from_numbers(atoms: impl IntoIterator<Item = u8>) -> Atoms {
        Atoms(atoms.into_iter().fold(0, |set, atom| set | 1u64.checked_shl(atom.into()).unwrap_or(0)))
    }

    /// Whether an atom is in it.
    pub fn contains(self, atom: u8) -> bool {
        Atoms::from_numbers([atom]).0 & self.0 != 0
    }

    /// Its atoms, ascending.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..MAX_ATOMS as u8).filter(move |atom| self.contains(*atom))
    }

    /// How many there are.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The reasons why bytes or an expression are not a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// A format of another release.
    #[error("a pattern program of format {0}, this release reads {VERSION}; compile the feed with this release")]
    Version(u8),
    /// Cut off.
    #[error("a pattern program ends early; compile the feed again")]
    Short,
    /// More than the expression.
    #[error("a pattern program has bytes behind its end; compile the feed again")]
    Trailing,
    /// Longer than [`MAX_BYTES`].
    #[error("a pattern program of more than {MAX_BYTES} bytes; split the pattern")]
    Long,
    /// More atoms than [`MAX_ATOMS`], or none.
    #[error("a pattern of {0} different comparisons; a composite one has 1 to {MAX_ATOMS}, split it")]
    Atoms(usize),
    /// Nests deeper than [`MAX_DEPTH`].
    #[error("a pattern that nests more than {MAX_DEPTH} deep; split it")]
    Deep,
    /// An instruction that does not exist, or an `AND` or `OR` of fewer than two.
    #[error("a pattern program with an instruction that does not exist; compile the feed again")]
    Instruction,
    /// An atom that is not one of its terms, or a term that no atom asks for.
    #[error("a pattern program whose atoms are not its terms; compile the feed again")]
    Unknown,
    /// It could be true though no key is found.
    #[error("a pattern that can be true without any of the values that it is looked for by")]
    Uncovered,
}

/// A composite pattern over the terms of one indicator: checked, bounded, and never true without one of its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    expression: Expression,
    atoms: u8,
    keys: Atoms,
}

impl Program {
    /// A program over so many terms.
    ///
    /// # Errors
    /// The expression is beyond the bounds, names other atoms, leaves one out, or may hold without a key.
    pub fn new(expression: Expression, atoms: usize, keys: Atoms) -> Result<Program, ProgramError> {
        let number = u8::try_from(atoms).ok().filter(|number| (1..=MAX_ATOMS).contains(&usize::from(*number)));
        let program = Program { expression, atoms: number.ok_or(ProgramError::Atoms(atoms))?, keys };
        let mut seen = Atoms::default();
        program.expression.check(0, &mut seen)?;
        let all = Atoms::from_numbers(0..program.atoms);
        if seen != all || keys.0 & !all.0 != 0 {
            return Err(ProgramError::Unknown);
        }
        if !program.expression.needs(keys) {
            return Err(ProgramError::Uncovered);
        }
        match program.to_bytes().len() <= MAX_BYTES {
            true => Ok(program),
            false => Err(ProgramError::Long),
        }
    }

    /// The expression.
    pub fn expression(&self) -> &Expression {
        &self.expression
    }

    /// How many terms it is over.
    pub fn atoms(&self) -> usize {
        usize::from(self.atoms)
    }

    /// The atoms that are looked for: it holds only where one of them is found.
    pub fn keys(&self) -> Atoms {
        self.keys
    }

    /// The atoms that are only asked for when a key is found.
    pub fn parts(&self) -> Atoms {
        Atoms(Atoms::from_numbers(0..self.atoms).0 & !self.keys.0)
    }

    /// Whether it holds for an event. Asks for no more atoms than it takes, and may ask for one again.
    pub fn holds(&self, state: &mut dyn FnMut(u8) -> AtomState) -> bool {
        self.expression.holds(state)
    }

    /// The program without some keys: alternatives that would need them go. `None` when that is
    /// all of it.
    pub fn without(&self, refused: Atoms) -> Option<Expression> {
        self.expression.kept(Atoms(self.keys.0 & !refused.0))
    }

    /// The bytes that [`Program::from_bytes`] reads: version, number of atoms, keys (eight bytes, little-endian), then
    /// the expression, each operator before what it joins.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, self.atoms];
        bytes.extend_from_slice(&self.keys.0.to_le_bytes());
        self.expression.write(&mut bytes);
        bytes
    }

    /// Reads a program, and checks all that [`Program::new`] does.
    ///
    /// # Errors
    /// The bytes are not a program of this release.
    pub fn from_bytes(bytes: &[u8]) -> Result<Program, ProgramError> {
        if bytes.len() > MAX_BYTES {
            return Err(ProgramError::Long);
        }
        let (version, rest) = bytes.split_first().ok_or(ProgramError::Short)?;
        if *version != VERSION {
            return Err(ProgramError::Version(*version));
        }
        let (atoms, rest) = rest.split_first().ok_or(ProgramError::Short)?;
        let (keys, mut rest) = rest.split_first_chunk().ok_or(ProgramError::Short)?;
        let expression = Expression::read(&mut rest, 0)?;
        if !rest.is_empty() {
            return Err(ProgramError::Trailing);
        }
        Program::new(expression, usize::from(*atoms), Atoms(u64::from_le_bytes(*keys)))
    }

    /// The program with the terms of its indicator, for people.
    pub fn shown<'a>(&'a self, terms: &'a [Term]) -> impl fmt::Display + 'a {
        Shown { expression: &self.expression, terms, is_inner: false }
    }
}

/// The instructions.
const IS: u8 = 0;
const IS_NOT: u8 = 1;
const ALL: u8 = 2;
const ANY: u8 = 3;

impl Expression {
    /// All of several, without brackets that say nothing.
    pub fn all(of: Vec<Expression>) -> Expression {
        Expression::joined(of, Expression::All, |inner| match inner {
            Expression::All(inner) => Ok(inner),
            other => Err(other),
        })
    }

    /// Any of several, without brackets that say nothing.
    pub fn any(of: Vec<Expression>) -> Expression {
        Expression::joined(of, Expression::Any, |inner| match inner {
            Expression::Any(inner) => Ok(inner),
            other => Err(other),
        })
    }

    fn joined(
        of: Vec<Expression>,
        join: fn(Vec<Expression>) -> Expression,
        open: fn(Expression) -> Result<Vec<Expression>, Expression>,
    ) -> Expression {
        let mut all = Vec::with_capacity(of.len());
        for inner in of {
            match open(inner) {
                Ok(mut several) => all.append(&mut several),
                Err(one) => all.push(one),
            }
        }
        match all.len() {
            1 => all.remove(0),
            _ => join(all),
        }
    }

    fn holds(&self, state: &mut dyn FnMut(u8) -> AtomState) -> bool {
        match self {
            Expression::Is(atom) => state(*atom) == AtomState::Found,
            Expression::IsNot(atom) => state(*atom) == AtomState::Other,
            Expression::All(of) => of.iter().all(|inner| inner.holds(state)),
            Expression::Any(of) => of.iter().any(|inner| inner.holds(state)),
        }
    }

    /// Whether it is false wherever none of these atoms is found.
    fn needs(&self, keys: Atoms) -> bool {
        match self {
            Expression::Is(atom) => keys.contains(*atom),
            Expression::IsNot(_) => false,
            Expression::All(of) => of.iter().any(|inner| inner.needs(keys)),
            Expression::Any(of) => of.iter().all(|inner| inner.needs(keys)),
        }
    }

    /// The alternatives of it that need one of these keys.
    fn kept(&self, keys: Atoms) -> Option<Expression> {
        match self {
            _ if self.needs(keys) => Some(self.clone()),
            Expression::Is(_) | Expression::IsNot(_) => None,
            Expression::All(of) => {
                let (at, kept) = of.iter().enumerate().find_map(|(at, inner)| Some((at, inner.kept(keys)?)))?;
                let mut of = of.clone();
                *of.get_mut(at)? = kept;
                Some(Expression::all(of))
            }
            Expression::Any(of) => {
                let kept: Vec<Expression> = of.iter().filter_map(|inner| inner.kept(keys)).collect();
                (!kept.is_empty()).then(|| Expression::any(kept))
            }
        }
    }

    /// The terms that it still asks for, and a program over them unless they are mere alternatives. `None` when it is
    /// no program with these keys.
    pub fn compact(self, terms: &[Term], keys: Atoms) -> Option<(Vec<Term>, Option<Program>)> {
        let mut kept: Vec<u8> = Vec::new();
        let expression = self.renumbered(&mut |atom| {
            let at = kept.iter().position(|known| *known == atom).unwrap_or_else(|| {
                kept.push(atom);
                kept.len() - 1
            });
            at as u8
        });
        let terms: Vec<Term> = kept.iter().map(|atom| terms.get(usize::from(*atom)).cloned()).collect::<Option<_>>()?;
        if expression.is_alternatives() {
            return Some((terms, None));
        }
        let keys = Atoms::from_numbers((0u8..).zip(&kept).filter(|(_, old)| keys.contains(**old)).map(|(new, _)| new));
        let program = Program::new(expression, terms.len(), keys).ok()?;
        Some((terms, Some(program)))
    }

    fn renumbered(self, number: &mut impl FnMut(u8) -> u8) -> Expression {
        match self {
            Expression::Is(atom) => Expression::Is(number(atom)),
            Expression::IsNot(atom) => Expression::IsNot(number(atom)),
            Expression::All(of) => Expression::All(of.into_iter().map(|inner| inner.renumbered(number)).collect()),
            Expression::Any(of) => Expression::Any(of.into_iter().map(|inner| inner.renumbered(number)).collect()),
        }
    }

    /// Whether it is nothing but alternatives.
    fn is_alternatives(&self) -> bool {
        match self {
            Expression::Is(_) => true,
            Expression::Any(of) => of.iter().all(|inner| matches!(inner, Expression::Is(_))),
            Expression::IsNot(_) | Expression::All(_) => false,
        }
    }

    fn check(&self, depth: usize, seen: &mut Atoms) -> Result<(), ProgramError> {
        match self {
            Expression::Is(atom) | Expression::IsNot(atom) if usize::from(*atom) < MAX_ATOMS => {
                seen.0 |= Atoms::from_numbers([*atom]).0;
                Ok(())
            }
            Expression::Is(_) | Expression::IsNot(_) => Err(ProgramError::Unknown),
            Expression::All(_) | Expression::Any(_) if depth == MAX_DEPTH => Err(ProgramError::Deep),
            Expression::All(of) | Expression::Any(of) if of.len() < 2 => Err(ProgramError::Instruction),
            Expression::All(of) | Expression::Any(of) if of.len() > MAX_BYTES => Err(ProgramError::Long),
            Expression::All(of) | Expression::Any(of) => of.iter().try_for_each(|inner| inner.check(depth + 1, seen)),
        }
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        let (instruction, of) = match self {
            Expression::Is(atom) => return bytes.extend_from_slice(&[IS, *atom]),
            Expression::IsNot(atom) => return bytes.extend_from_slice(&[IS_NOT, *atom]),
            Expression::All(of) => (ALL, of),
            Expression::Any(of) => (ANY, of),
        };
        bytes.push(instruction);
        bytes.extend_from_slice(&(of.len() as u16).to_le_bytes());
        of.iter().for_each(|inner| inner.write(bytes));
    }

    fn read(bytes: &mut &[u8], depth: usize) -> Result<Expression, ProgramError> {
        let (instruction, rest) = bytes.split_first().ok_or(ProgramError::Short)?;
        match *instruction {
            IS | IS_NOT => {
                let (atom, rest) = rest.split_first().ok_or(ProgramError::Short)?;
                *bytes = rest;
                Ok(if *instruction == IS { Expression::Is(*atom) } else { Expression::IsNot(*atom) })
            }
            ALL | ANY if depth == MAX_DEPTH => Err(ProgramError::Deep),
            ALL | ANY => {
                let (count, rest) = rest.split_first_chunk().ok_or(ProgramError::Short)?;
                *bytes = rest;
                let count = usize::from(u16::from_le_bytes(*count));
                // Each takes two bytes at least, so a count that lies reserves nothing.
                if count > bytes.len() / 2 {
                    return Err(ProgramError::Short);
                }
                let of: Vec<Expression> =
                    (0..count).map(|_| Expression::read(bytes, depth + 1)).collect::<Result<_, _>>()?;
                Ok(if *instruction == ALL { Expression::All(of) } else { Expression::Any(of) })
            }
            _ => Err(ProgramError::Instruction),
        }
    }
}

struct Shown<'a> {
    expression: &'a Expression,
    terms: &'a [Term],
    is_inner: bool,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let term = |f: &mut fmt::Formatter<'_>, atom: u8| match self.terms.get(usize::from(atom)) {
            Some(term) => term.fmt(f),
            None => write!(f, "term {atom}"),
        };
        let (of, word) = match self.expression {
            Expression::Is(atom) => return term(f, *atom),
            Expression::IsNot(atom) => {
                f.write_str("NOT ")?;
                return term(f, *atom);
            }
            Expression::All(of) => (of, " AND "),
            Expression::Any(of) => (of, " OR "),
        };
        f.write_str(if self.is_inner { "(" } else { "" })?;
        for (at, expression) in of.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { word })?;
            Shown { expression, terms: self.terms, is_inner: true }.fmt(f)?;
        }
        f.write_str(if self.is_inner { ")" } else { "" })
    }
}

#[cfg(test)]
mod tests;
