//! Environment variables in configuration values: `${VAR}`, `${VAR:-default}`, and `$$` for a dollar sign.
//!
//! They are replaced in the parsed values, not in the text of the file: a variable in a comment is not an error, places
//! in messages stay right, and what a variable holds can never become a key or another value.

use super::problem::Fault;

/// The text with its variables replaced; `None` when there is nothing to replace. A default is taken when the
/// variable is unset or empty, as in a POSIX shell, and is itself not searched for variables.
pub(super) fn interpolate(
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<String>, Vec<Fault>> {
    if !text.contains('$') {
        return Ok(None);
    }
    let mut out = String::with_capacity(text.len());
    let mut faults = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some((name, default, tail)) = variable(after) {
            match (environment(name), default) {
                (Some(value), None) => out.push_str(&value),
                (Some(value), Some(_)) if !value.is_empty() => out.push_str(&value),
                (_, Some(default)) => out.push_str(default),
                (None, None) => faults.push(Fault::UnsetVariable { name: name.to_owned() }),
            }
            rest = tail;
        } else {
            let before = &text[..text.len() - after.len()];
            faults.push(Fault::BadVariable { at: before.chars().count() });
            rest = after;
        }
    }
    out.push_str(rest);
    if faults.is_empty() { Ok(Some(out)) } else { Err(faults) }
}

/// Splits what follows a `$` into name, default and the remaining text.
fn variable(after: &str) -> Option<(&str, Option<&str>, &str)> {
    let (inside, tail) = after.strip_prefix('{')?.split_once('}')?;
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    let valid = name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit());
    valid.then_some((name, default, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<Option<String>, Vec<Fault>> {
        let environment = |name: &str| match name {
            "HOST" => Some("10.0.0.1".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        interpolate(text, &environment)
    }

    #[test]
    fn variables_defaults_and_escapes_are_replaced() {
        assert_eq!(run("plain"), Ok(None));
        assert_eq!(run("${HOST}:4317"), Ok(Some("10.0.0.1:4317".into())));
        assert_eq!(run("${HOST}${HOST}"), Ok(Some("10.0.0.110.0.0.1".into())));
        assert_eq!(run("${NONE:-a:b}"), Ok(Some("a:b".into())));
        assert_eq!(run("${NONE:-}x"), Ok(Some("x".into())));
        assert_eq!(run("${EMPTY:-d}"), Ok(Some("d".into())));
        assert_eq!(run("${EMPTY}"), Ok(Some(String::new())));
        assert_eq!(run("$${HOST} $$"), Ok(Some("${HOST} $".into())));
    }

    #[test]
    fn an_unset_variable_and_a_lone_dollar_are_errors_that_name_them_all() {
        assert_eq!(
            run("${NONE} ${OTHER}"),
            Err(["NONE", "OTHER"].map(|name| Fault::UnsetVariable { name: name.to_owned() }).into())
        );
        for text in ["$HOST", "${HOST", "${}", "${1A}", "${A B}", "x$"] {
            let faults = interpolate(text, &|_| None).unwrap_err();
            assert!(matches!(faults[..], [Fault::BadVariable { .. }]), "{text}: {faults:?}");
        }
    }

    #[test]
    fn what_a_variable_holds_is_not_searched_again() {
        let environment = |_: &str| Some("${X}$$".to_owned());
        assert_eq!(interpolate("${A}", &environment).unwrap().unwrap(), "${X}$$");
    }
}
