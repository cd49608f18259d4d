//! The literals of a regular expression: texts of which everything that it matches contains one.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};

/// The shortest literal that an expression is searched by, in bytes.
pub const MIN_LITERAL: usize = 4;

/// The most literals of one expression.
const MAX_LITERALS: usize = 16;

/// The longest literal, in bytes: a longer one does not rule out more.
const MAX_LITERAL: usize = 64;

/// Texts of which everything that the expression matches contains one, whatever the case of their ASCII letters; `None`
/// if there are none of at least [`MIN_LITERAL`] bytes. An error is the parser's.
pub(super) fn required_literals(pattern: &str) -> Result<Option<Vec<Vec<u8>>>, String> {
    let parser = ParserBuilder::new().utf8(false).unicode(false).dot_matches_new_line(true).build().parse(pattern);
    parser.map(|parsed| needed(&parsed)).map_err(|error| error.to_string())
}

fn needed(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Capture(capture) => needed(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => needed(&repetition.sub),
        HirKind::Alternation(of) => {
            let mut all = Vec::new();
            for inner in of {
                all.extend(needed(inner)?);
                if all.len() > MAX_LITERALS {
                    return None;
                }
            }
            Some(all)
        }
        HirKind::Concat(of) => best(of),
        _ => best(std::slice::from_ref(hir)),
    }
}

/// The literals of a sequence: its longest run of fixed characters, or what one of its members needs.
fn best(of: &[Hir]) -> Option<Vec<Vec<u8>>> {
    let mut candidates: Vec<Vec<Vec<u8>>> = Vec::new();
    let mut run = Vec::new();
    let finish = |run: &mut Vec<u8>, candidates: &mut Vec<Vec<Vec<u8>>>| {
        let run = std::mem::take(run);
        if run.len() >= MIN_LITERAL {
            candidates.push(vec![run]);
        }
    };
    for inner in of {
        if !fixed(inner, &mut run) {
            finish(&mut run, &mut candidates);
            // Nothing is known of a single member that is not fixed; `needed` has asked its members already.
            if of.len() > 1 {
                candidates.extend(needed(inner));
            }
        }
    }
    finish(&mut run, &mut candidates);
    let shortest = |literals: &Vec<Vec<u8>>| literals.iter().map(Vec::len).min().unwrap_or(0);
    let mut best = candidates.into_iter().max_by_key(shortest)?;
    best.iter_mut().for_each(|literal| literal.truncate(MAX_LITERAL));
    Some(best)
}

/// Appends the text that this always is, in lower case where it may be either; `false` if it may be another text.
fn fixed(hir: &Hir, run: &mut Vec<u8>) -> bool {
    let before = run.len();
    let is_fixed = match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Literal(literal) => {
            run.extend_from_slice(&literal.0);
            true
        }
        HirKind::Class(class) => letter(class).inspect(|letter| run.push(*letter)).is_some(),
        HirKind::Capture(capture) => fixed(&capture.sub, run),
        HirKind::Concat(of) => of.iter().all(|inner| fixed(inner, run)),
        HirKind::Repetition(_) | HirKind::Alternation(_) => false,
    };
    if !is_fixed {
        run.truncate(before);
    }
    is_fixed
}

/// The letter of a class that is one ASCII letter in both cases.
fn letter(class: &Class) -> Option<u8> {
    let Class::Bytes(bytes) = class else { return None };
    let [upper, lower] = bytes.ranges() else { return None };
    let is_one = upper.start() == upper.end() && lower.start() == lower.end();
    (is_one && upper.start().is_ascii_uppercase() && upper.start().to_ascii_lowercase() == lower.start())
        .then_some(lower.start())
}
