//! Chooses the comparisons that are the keys of a composite pattern.

use super::program::{Atoms, Expression};
use crate::intel::guard::{self, GuardReason};
use crate::intel::term::{Comparison, Term, TermValue};
use crate::observable::Kind;

/// The atoms of which one is found wherever the expression holds: of an `AND` those of the child that says most, of an
/// `OR` those of all children. `None` when there are none such, because an alternative consists of `NOT` alone.
pub(super) fn choose(expression: &Expression, terms: &[Term]) -> Option<Atoms> {
    best(expression, terms).map(|(_, atoms)| Atoms::from_numbers(atoms))
}

/// How little a key says, the least first: what becomes of it alone, its kind, whether it is a range.
type Rank = (u8, u8, bool);

fn best(expression: &Expression, terms: &[Term]) -> Option<(Rank, Vec<u8>)> {
    match expression {
        Expression::Is(atom) => Some((rank(&terms.get(usize::from(*atom))?.value), vec![*atom])),
        Expression::IsNot(_) => None,
        Expression::All(of) => of.iter().filter_map(|inner| best(inner, terms)).min_by_key(|(rank, _)| *rank),
        Expression::Any(of) => {
            let mut worst = Rank::default();
            let mut atoms = Vec::new();
            for inner in of {
                let (rank, mut keys) = best(inner, terms)?;
                worst = worst.max(rank);
                atoms.append(&mut keys);
            }
            Some((worst, atoms))
        }
    }
}

fn rank(value: &TermValue) -> Rank {
    let kind = match value.kind() {
        Kind::Md5 | Kind::Sha1 | Kind::Sha256 | Kind::Sha512 | Kind::Ssdeep => 0,
        Kind::Url => 1,
        Kind::Domain => 2,
        Kind::Ip => 3,
        Kind::Email => 4,
        Kind::Path => 5,
        Kind::User => 6,
        Kind::Text => 7,
        Kind::Name => 8,
        Kind::DnsType => 9,
        Kind::Number => 10,
        Kind::Time => 11,
    };
    // A hash, name or address that the guard refuses says more than a number does, and the guard still refuses it:
    // `8.8.8.8` and port 53 is no more of an indicator than `8.8.8.8` is.
    let class = match guard::refuse(value) {
        None if kind < 5 => 0,
        None => 1,
        Some(_) if kind < 5 => 2,
        Some(GuardReason::Generic) => 3,
        Some(_) => 4,
    };
    // Found only by a search in each value, and never said exactly: any exact value is a better key.
    if let TermValue::Expression(_) = value {
        return (class.max(1), 9, true);
    }
    let is_range = match value {
        TermValue::Network(_) => true,
        TermValue::Number { comparison, .. } | TermValue::Time { comparison, .. } => *comparison != Comparison::Equal,
        _ => false,
    };
    (class, kind, is_range)
}
