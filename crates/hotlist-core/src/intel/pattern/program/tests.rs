//! Programs as bytes and as verdicts.

use super::*;
use crate::intel::term::{Target, TermValue};
use proptest::prelude::*;

fn is(atom: u8) -> Expression {
    Expression::Is(atom)
}

fn is_not(atom: u8) -> Expression {
    Expression::IsNot(atom)
}

/// `0 AND NOT 1 AND (2 OR 3)`, looked for by 0.
fn program() -> Program {
    let expression = Expression::All(vec![is(0), is_not(1), Expression::Any(vec![is(2), is(3)])]);
    Program::new(expression, 4, Atoms::from_numbers([0])).unwrap()
}

#[test]
fn it_holds_on_all_of_its_terms_and_never_on_some() {
    use AtomState::{Found, Missing, Other};
    let holds = |states: [AtomState; 4]| program().holds(&mut |atom| states[usize::from(atom)]);
    assert!(holds([Found, Other, Found, Missing]));
    assert!(holds([Found, Other, Other, Found]));
    assert!(!holds([Found, Missing, Found, Found]), "NOT wants a value that is another");
    assert!(!holds([Found, Found, Found, Found]));
    assert!(!holds([Found, Other, Other, Missing]));
    assert!(!holds([Other, Other, Found, Found]));
    assert_eq!(program().keys().iter().collect::<Vec<_>>(), [0]);
    assert_eq!(program().parts().iter().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((program().atoms(), program().parts().len(), program().keys().is_empty()), (4, 3, false));
}

#[test]
fn a_program_is_within_bounds_and_needs_a_key() {
    let of = |expression: Expression, atoms, keys: &[u8]| {
        Program::new(expression, atoms, Atoms::from_numbers(keys.to_vec()))
    };
    assert_eq!(of(is(0), 0, &[0]), Err(ProgramError::Atoms(0)));
    assert_eq!(of(is(0), 65, &[0]), Err(ProgramError::Atoms(65)));
    assert_eq!(of(is(0), 300, &[0]), Err(ProgramError::Atoms(300)));
    assert_eq!(of(is(1), 2, &[1]), Err(ProgramError::Unknown), "an atom that nothing asks for");
    assert_eq!(of(is(0), 1, &[0, 1]), Err(ProgramError::Unknown), "a key that is no atom");
    assert_eq!(of(is(77), 1, &[0]), Err(ProgramError::Unknown));
    assert_eq!(of(is_not(0), 1, &[0]), Err(ProgramError::Uncovered));
    assert_eq!(of(Expression::Any(vec![is(0), is(1)]), 2, &[0]), Err(ProgramError::Uncovered));
    assert_eq!(of(Expression::Any(vec![is(0), is_not(1)]), 2, &[0, 1]), Err(ProgramError::Uncovered));
    assert_eq!(of(Expression::All(vec![is(0)]), 1, &[0]), Err(ProgramError::Instruction));
    let nested = |depth: usize| {
        (0..depth).fold(is(0), |inner, at| match at % 2 {
            0 => Expression::All(vec![inner, is(0)]),
            _ => Expression::Any(vec![inner, is(0)]),
        })
    };
    assert!(of(nested(MAX_DEPTH), 1, &[0]).is_ok());
    assert_eq!(of(nested(MAX_DEPTH + 1), 1, &[0]), Err(ProgramError::Deep));
    let wide = |count: usize| Expression::All(vec![is(0); count]);
    let room = (MAX_BYTES - 10 - 3) / 2;
    assert!(of(wide(room), 1, &[0]).is_ok());
    assert_eq!(of(wide(room + 1), 1, &[0]), Err(ProgramError::Long));
    assert_eq!(of(wide(70_000), 1, &[0]), Err(ProgramError::Long));
}

#[test]
fn bytes_that_are_no_program_are_refused_by_reason() {
    let good = program().to_bytes();
    assert_eq!(good[..10], [1, 4, 1, 0, 0, 0, 0, 0, 0, 0]);
    for length in 0..good.len() {
        assert_eq!(Program::from_bytes(&good[..length]), Err(ProgramError::Short), "{length}");
    }
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        Program::from_bytes(&bytes)
    };
    assert_eq!(with(0, 2), Err(ProgramError::Version(2)));
    assert_eq!(with(1, 3), Err(ProgramError::Unknown));
    assert_eq!(with(1, 5), Err(ProgramError::Unknown));
    assert_eq!(with(2, 2), Err(ProgramError::Uncovered));
    assert_eq!(with(10, 9), Err(ProgramError::Instruction));
    assert_eq!(with(12, 255), Err(ProgramError::Short), "a count that lies");
    assert_eq!(Program::from_bytes(&[&good[..], &[0]].concat()), Err(ProgramError::Trailing));
    assert_eq!(Program::from_bytes(&vec![0; MAX_BYTES + 1]), Err(ProgramError::Long));
    let deep = [&good[..10], &[ALL, 2, 0].repeat(1000)].concat();
    assert_eq!(Program::from_bytes(&deep), Err(ProgramError::Deep));
}

#[test]
fn without_a_key_the_alternatives_that_need_it_go() {
    let alternatives = Expression::Any(vec![Expression::All(vec![is(0), is(1)]), Expression::All(vec![is(2), is(3)])]);
    let program = Program::new(alternatives, 4, Atoms::from_numbers([0, 2])).unwrap();
    assert_eq!(program.without(Atoms::from_numbers([0])), Some(Expression::All(vec![is(2), is(3)])));
    assert_eq!(program.without(Atoms::from_numbers([0, 2])), None);
    let inner = Expression::All(vec![is(0), Expression::Any(vec![is(1), is(2)])]);
    let program = Program::new(inner, 3, Atoms::from_numbers([1, 2])).unwrap();
    assert_eq!(program.without(Atoms::from_numbers([1])), Some(Expression::All(vec![is(0), is(2)])));
}

#[test]
fn it_is_shown_with_its_terms() {
    let terms: Vec<Term> = ["a", "b", "c", "d"]
        .map(|text| Term { value: TermValue::Text(text.into()), target: Target::StixPath("x:y".into()) })
        .to_vec();
    assert_eq!(
        program().shown(&terms).to_string(),
        "text a at x:y AND NOT text b at x:y AND (text c at x:y OR text d at x:y)"
    );
}

fn expressions() -> impl Strategy<Value = Expression> {
    let leaf = (0u8..8, any::<bool>()).prop_map(|(atom, not)| if not { is_not(atom) } else { is(atom) });
    leaf.prop_recursive(4, 40, 4, |inner| {
        (proptest::collection::vec(inner, 2..4), any::<bool>())
            .prop_map(|(of, all)| if all { Expression::all(of) } else { Expression::any(of) })
    })
}

proptest! {
    /// A program comes back from its bytes, and is false wherever no key is found.
    #[test]
    fn a_program_survives_its_bytes_and_needs_its_keys(
        expression in expressions(),
        keys in any::<u8>(),
        states in proptest::collection::vec(0u8..3, 8),
    ) {
        let keys = Atoms::from_numbers((0..8).filter(|atom| keys >> atom & 1 == 1));
        // Every atom is asked for.
        let whole = Expression::all((0..8).map(is).chain([expression.clone()]).collect());
        if let Ok(program) = Program::new(whole, 8, keys) {
            prop_assert_eq!(Program::from_bytes(&program.to_bytes()), Ok(program));
        }
        let mut state = |atom: u8| match states[usize::from(atom)] {
            0 => AtomState::Missing,
            1 => AtomState::Other,
            _ if keys.contains(atom) => AtomState::Other,
            _ => AtomState::Found,
        };
        prop_assert!(!expression.needs(keys) || !expression.holds(&mut state));
    }

    /// No bytes do harm, and what is read is written the same.
    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in proptest::collection::vec(0u8..5, 0..80)) {
        let bytes = [&[1, 4, 1, 0, 0, 0, 0, 0, 0, 0], &bytes[..]].concat();
        if let Ok(program) = Program::from_bytes(&bytes) {
            prop_assert_eq!(program.to_bytes(), bytes);
        }
    }
}
