//! Words, signs and literals of a STIX pattern.

use super::PatternError;

/// A literal as written.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// `'…'`, unescaped.
    Text(String),
    /// An integer or a float.
    Number(String),
    /// `t'…'`.
    Time(String),
    /// A literal that no field holds: `a boolean`, `a hex`, `a binary`, without its article.
    Other(&'static str),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// Letters, digits, `_` and `-`: an object type, a property, a key word, a boolean.
    Word(String),
    /// `"…"`: only as a property, a common misspelling of `'…'`.
    DoubleQuoted(String),
    Literal(Literal),
    /// An operator or a bracket.
    Sign(&'static str),
    End,
}

/// Longer signs first, so that `<=` is not read as `<`.
const SIGNS: [&str; 17] =
    ["==", "!=", "<>", "<=", ">=", "=", "<", ">", "(", ")", "[", "]", ",", ":", ".", "*", "\u{2260}"];

/// The tokens with their positions, in characters from 1. The last one is [`Token::End`].
pub fn tokens(pattern: &str) -> Result<Vec<(usize, Token)>, PatternError> {
    let mut tokens = Vec::new();
    let mut rest = pattern;
    let mut position = 1;
    loop {
        let blanks = rest.len() - rest.trim_start().len();
        let (skipped, following) = rest.split_at(blanks);
        position += skipped.chars().count();
        if following.is_empty() {
            tokens.push((position, Token::End));
            return Ok(tokens);
        }
        let (token, length) = next(following, position, matches!(tokens.last(), Some((_, Token::Sign("." | ":")))))?;
        let (read, after) = following.split_at(length);
        tokens.push((position, token));
        position += read.chars().count();
        rest = after;
    }
}

/// The token at the start of the text and its length in bytes. After `.` and `:` a digit starts a property, elsewhere a
/// number.
fn next(text: &str, position: usize, in_path: bool) -> Result<(Token, usize), PatternError> {
    let expected = |expected| PatternError::Syntax { position, expected };
    if text.starts_with('\'') {
        let (text, length) = quoted(text, '\'').ok_or(expected("a closing `'`"))?;
        return Ok((Token::Literal(Literal::Text(text)), length));
    }
    if text.starts_with('"') {
        let (text, length) = quoted(text, '"').ok_or(expected("a closing `\"`"))?;
        return Ok((Token::DoubleQuoted(text), length));
    }
    for (prefix, literal) in [("t'", None), ("h'", Some("hex")), ("b'", Some("binary"))] {
        if text.starts_with(prefix) {
            let (text, length) = quoted(&text[1..], '\'').ok_or(expected("a closing `'`"))?;
            match literal {
                None if !is_timestamp(&text) => return Err(expected("a time as t'YYYY-MM-DDThh:mm:ssZ'")),
                Some("binary") if !is_base64(&text) => return Err(expected("Base64 in b'…'")),
                Some("hex") if !is_hex(&text) => return Err(expected("pairs of hex digits in h'…'")),
                _ => {}
            }
            return Ok((Token::Literal(literal.map_or(Literal::Time(text), Literal::Other)), length + 1));
        }
    }
    if !in_path && let Some(length) = number(text) {
        return Ok((Token::Literal(Literal::Number(text[..length].to_owned())), length));
    }
    let word = text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))).unwrap_or(text.len());
    if word > 0 {
        return Ok((Token::Word(text[..word].to_owned()), word));
    }
    let sign = SIGNS.into_iter().find(|sign| text.starts_with(sign));
    sign.map(|sign| (Token::Sign(sign), sign.len())).ok_or(expected("an operator, a bracket, a word or a literal"))
}

/// Reads `'…'` or `"…"`, with `\'` and `\\` unescaped. A lone backslash stays: feeds write `'C:\x'`.
fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut out = String::new();
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        match (character, characters.peek()) {
            ('\\', Some(&(_, next))) if next == quote || next == '\\' => {
                out.push(next);
                characters.next();
            }
            (character, _) if character == quote => return Some((out, at + character.len_utf8())),
            (character, _) => out.push(character),
        }
    }
    None
}

/// Whether it has the form of a timestamp (STIX 2.1, section 9.2). Whether there is such a day is another question.
fn is_timestamp(text: &str) -> bool {
    let Some((whole, fraction)) = text.strip_suffix('Z').and_then(|text| text.split_at_checked(19)) else {
        return false;
    };
    let is_shaped = whole.bytes().zip(*b"dddd-dd-ddTdd:dd:dd").all(|(byte, shape)| match shape {
        b'd' => byte.is_ascii_digit(),
        other => byte == other,
    });
    let within = |from: usize, least: u8, most: u8| {
        whole
            .get(from..from + 2)
            .and_then(|digits| digits.parse().ok())
            .is_some_and(|n: u8| (least..=most).contains(&n))
    };
    let has_fraction = || {
        fraction
            .strip_prefix('.')
            .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
    };
    is_shaped
        && within(5, 1, 12)
        && within(8, 1, 31)
        && within(11, 0, 23)
        && within(14, 0, 59)
        && within(17, 0, 60)
        && (fraction.is_empty() || has_fraction())
}

fn is_hex(text: &str) -> bool {
    text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// RFC 4648, section 4, with its padding.
fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    text.len().is_multiple_of(4)
        && text.len() - digits.len() <= 2
        && !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

/// The length of the number at the start of the text, if there is one.
fn number(text: &str) -> Option<usize> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let sign = text.len() - unsigned.len();
    let whole = unsigned.bytes().take_while(u8::is_ascii_digit).count();
    if whole == 0 {
        return None;
    }
    let fraction = match unsigned[whole..].strip_prefix('.') {
        Some(after) => match after.bytes().take_while(u8::is_ascii_digit).count() {
            0 => 0,
            digits => digits + 1,
        },
        None => 0,
    };
    Some(sign + whole + fraction)
}
