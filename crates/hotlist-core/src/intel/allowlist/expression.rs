//! Regular expressions as MISP writes them, `/pattern/flags`, in an engine whose time is linear in the value. What needs
//! more (look-around, back-references) is refused.

use regex::{Regex, RegexBuilder};

use super::Subject;

/// The most expressions of one list: each is tried on its own.
pub(super) const MAX_EXPRESSIONS: usize = 1_000;

/// The longest expression, in bytes.
const MAX_LENGTH: usize = 4096;

/// The most memory that one compiled expression may take, in bytes.
const MAX_COMPILED: usize = 1 << 18;

/// Longer values are not tried, and so stay hits: an event's author decides how long a value is.
const MAX_VALUE: usize = 8192;

/// The expressions of a list.
#[derive(Debug)]
pub(super) struct Expressions(Box<[(Regex, Box<str>)]>);

impl Expressions {
    pub(super) fn new(expressions: Vec<(Regex, Box<str>)>) -> Expressions {
        Expressions(expressions.into())
    }

    /// The first expression that matches the value.
    pub(super) fn find(&self, subject: &Subject) -> Option<&str> {
        subject.texts().filter(|text| text.len() <= MAX_VALUE).find_map(|text| {
            self.0.iter().find(|(expression, _)| expression.is_match(text)).map(|(_, written)| &**written)
        })
    }
}

/// One expression.
///
/// # Errors
/// The reason that it cannot be used.
pub(super) fn compile(written: &str) -> Result<Regex, String> {
    if written.len() > MAX_LENGTH {
        return Err(format!("is longer than {MAX_LENGTH} bytes"));
    }
    let (pattern, flags) = delimited(written).unwrap_or((written, ""));
    let mut builder = RegexBuilder::new(pattern);
    builder.size_limit(MAX_COMPILED).dfa_size_limit(MAX_COMPILED);
    for flag in flags.chars() {
        match flag {
            'i' => builder.case_insensitive(true),
            'm' => builder.multi_line(true),
            's' => builder.dot_matches_new_line(true),
            'x' => builder.ignore_whitespace(true),
            // Unicode is on in any case; greed and the study hint change no answer.
            'u' | 'U' | 'S' => &mut builder,
            other => return Err(format!("has the flag `{other}`; known are i, m, s, x and u")),
        };
    }
    let expression = builder.build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => format!("takes more than {MAX_COMPILED} bytes when it is compiled"),
        error => {
            let text = error.to_string();
            // The message draws the pattern over several lines; its last one says what is wrong.
            format!(
                "is not a usable regular expression: {}",
                text.lines().last().unwrap_or(&text).trim_start_matches("error: ")
            )
        }
    })?;
    match expression.is_match("") {
        true => Err("matches the empty text, so it would hold every value".to_owned()),
        false => Ok(expression),
    }
}

/// The pattern and the flags of `/pattern/flags`; `#` and `~` may stand for the slashes.
fn delimited(written: &str) -> Option<(&str, &str)> {
    let delimiter = written.chars().next().filter(|first| ['/', '#', '~'].contains(first))?;
    let (pattern, flags) = written[1..].rsplit_once(delimiter)?;
    flags.chars().all(|flag| flag.is_ascii_alphabetic()).then_some((pattern, flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters_and_flags_are_read_as_misp_writes_them() {
        for (written, value, matches) in [
            (r"/^(noc|abuse)\@.*\..*$/i", "ABUSE@example.org", true),
            (r"/^(noc|abuse)\@.*\..*$/", "ABUSE@example.org", false),
            (r"/^https?:\/\/a\.example\//", "https://a.example/x", true),
            ("#^a/b$#i", "A/B", true),
            ("^plain$", "plain", true),
            ("plain", "is plain text", true),
            ("/one/two/", "is one/two", true),
        ] {
            assert_eq!(compile(written).unwrap().is_match(value), matches, "{written}");
        }
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let long = "a".repeat(MAX_LENGTH + 1);
        for (written, reason) in [
            ("/(a/", "unclosed group"),
            ("/a(?=b)/", "look-around"),
            (r"/(a)\1/", "backreferences"),
            ("/a/e", "has the flag `e`"),
            ("/((a{1000}){1000}){1000}/", "takes more than 262144 bytes"),
            ("/a|/", "matches the empty text"),
            ("/.*/", "matches the empty text"),
            (&long, "is longer than 4096 bytes"),
        ] {
            let error = compile(written).unwrap_err();
            assert!(error.contains(reason), "{written:.40}: {error}");
        }
    }
}
