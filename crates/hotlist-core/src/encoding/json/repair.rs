//! Reads a text that begins like a JSON document and is malformed, as far as possible.
//!
//! Programs write `NaN`, `True`, comments, trailing commas, byte order marks and two documents in one text; lines are cut
//! short. None of that may hide the values next to it. A repair makes well-formed documents of such a text, in one pass
//! and never longer than the text by more than a few bytes a token: what is understood is copied, a scalar that JSON does
//! not know becomes null, and at the first token that could be read in two ways the repair ends and closes what is open.
//! So every value of a repaired document stands at its path in the text, too.

use super::scan::Scanner;

/// U+FEFF in UTF-8, which some programs write before a text.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// In what way a text that begins like a JSON document is not one. A closed set, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Malformation {
    /// A byte order mark stands before it.
    ByteOrderMark,
    /// A list of documents stands where one should.
    List,
    /// Several documents stand in one text.
    Several,
    /// More follows the document, and is none.
    Trailing,
    /// A comment.
    Comment,
    /// A comma too many, or a value missing next to one.
    Comma,
    /// A key without quotes, in single quotes, or without a value.
    Key,
    /// A scalar that JSON does not know: `NaN`, `True`, `01`, text in single quotes.
    Scalar,
    /// The text ends too early.
    CutShort,
    /// Something else; what follows it was not read.
    Other,
}

impl Malformation {
    /// All of them, for metrics that start at zero.
    pub const ALL: [Malformation; 10] = [
        Malformation::ByteOrderMark,
        Malformation::List,
        Malformation::Several,
        Malformation::Trailing,
        Malformation::Comment,
        Malformation::Comma,
        Malformation::Key,
        Malformation::Scalar,
        Malformation::CutShort,
        Malformation::Other,
    ];

    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Malformation::ByteOrderMark => "byte_order_mark",
            Malformation::List => "list",
            Malformation::Several => "several_documents",
            Malformation::Trailing => "trailing",
            Malformation::Comment => "comment",
            Malformation::Comma => "comma",
            Malformation::Key => "key",
            Malformation::Scalar => "scalar",
            Malformation::CutShort => "cut_short",
            Malformation::Other => "other",
        }
    }
}

/// Well-formed documents made of a malformed text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// The documents, one after the other.
    pub documents: Vec<u8>,
    /// The first fault.
    pub malformation: Malformation,
}

/// Repairs a text. `None`: it does not begin like a document or a list of them.
pub fn repair(text: &[u8]) -> Option<Repaired> {
    let mut repair = Repair::new(text);
    if text.starts_with(BYTE_ORDER_MARK) {
        repair.record_fault(Malformation::ByteOrderMark);
        repair.scanner.at = BYTE_ORDER_MARK.len();
    }
    let mut first = repair.token();
    if first == Some(b'[') {
        repair.record_fault(Malformation::List);
        repair.scanner.at += 1;
        first = repair.token();
    }
    if first != Some(b'{') {
        return None;
    }
    repair.documents();
    // A text without a fault of its own is one that a stricter reader refused.
    Some(Repaired { documents: repair.out, malformation: repair.fault.unwrap_or(Malformation::Other) })
}

struct Repair<'a> {
    scanner: Scanner<'a>,
    out: Vec<u8>,
    /// How much of `out` is well-formed, but for the closing brackets of `open`.
    whole: usize,
    /// The closing brackets of what is open.
    open: Vec<u8>,
    fault: Option<Malformation>,
}

/// The text cannot be read any further.
struct End(Malformation);

impl<'a> Repair<'a> {
    fn new(text: &'a [u8]) -> Repair<'a> {
        let out = Vec::with_capacity(text.len() + 1);
        Repair { scanner: Scanner::new(text), out, whole: 0, open: Vec::new(), fault: None }
    }

    fn record_fault(&mut self, fault: Malformation) {
        self.fault.get_or_insert(fault);
    }

    /// Writes what makes the output well-formed again.
    fn write(&mut self, end: &[u8]) {
        self.out.extend_from_slice(end);
        self.whole = self.out.len();
    }

    /// The first byte of the next token, past white space and comments.
    fn token(&mut self) -> Option<u8> {
        loop {
            let first = self.scanner.peek()?;
            let rest = self.scanner.text.get(self.scanner.at..)?;
            let length = match rest {
                [b'/', b'*', inside @ ..] => memchr::memmem::find(inside, b"*/").map_or(rest.len(), |end| end + 4),
                [b'/', b'/', ..] | [b'#', ..] => memchr::memchr(b'\n', rest).unwrap_or(rest.len()),
                _ => return Some(first),
            };
            self.record_fault(Malformation::Comment);
            self.scanner.at += length;
        }
    }

    /// The first byte of a token that must follow.
    fn next(&mut self) -> Result<u8, End> {
        self.token().ok_or(End(Malformation::CutShort))
    }

    fn documents(&mut self) {
        loop {
            match self.token() {
                Some(b'{') => {
                    if self.whole > 0 {
                        self.record_fault(Malformation::Several);
                    }
                    self.open(b'{');
                    if let Err(End(fault)) = self.members() {
                        self.record_fault(fault);
                        self.out.truncate(self.whole);
                        self.out.extend(self.open.drain(..).rev());
                        return;
                    }
                    self.write(b"\n");
                }
                Some(b',' | b']') if self.fault.is_some() => self.scanner.at += 1,
                // Some writers end a text with it.
                Some(0) => {
                    self.record_fault(Malformation::Trailing);
                    self.scanner.at += 1;
                }
                Some(_) => return self.record_fault(Malformation::Trailing),
                None => return,
            }
        }
    }

    fn open(&mut self, bracket: u8) {
        self.scanner.at += 1;
        // Both brackets are two apart in ASCII.
        self.open.push(bracket + 2);
        self.write(&[bracket]);
    }

    /// Everything up to the end of what is open.
    fn members(&mut self) -> Result<(), End> {
        // Whether another member may follow; not without a comma.
        let mut may_follow = true;
        while let Some(&close) = self.open.last() {
            let first = self.next()?;
            let is_first = matches!(self.out.last(), Some(b'{' | b'['));
            if first == b',' {
                if may_follow {
                    self.record_fault(Malformation::Comma);
                }
                self.scanner.at += 1;
                may_follow = true;
            } else if first == close {
                if may_follow && !is_first {
                    self.record_fault(Malformation::Comma);
                }
                self.scanner.at += 1;
                self.open.pop();
                self.write(&[close]);
                may_follow = false;
            } else if may_follow {
                if !is_first {
                    self.out.push(b',');
                }
                may_follow = self.member(first, close == b'}')?;
            } else {
                return Err(End(Malformation::Other));
            }
        }
        Ok(())
    }

    /// A member of an object or an element, of a container its bracket only. Whether a member may follow at once.
    fn member(&mut self, mut first: u8, has_key: bool) -> Result<bool, End> {
        if has_key {
            self.key(first)?;
            self.out.push(b':');
            first = self.next()?;
            if first == b':' {
                self.scanner.at += 1;
                first = self.next()?;
            } else if !matches!(first, b',' | b'}') {
                return Err(End(Malformation::Key));
            }
        }
        match first {
            b'{' | b'[' => {
                self.open(first);
                return Ok(true);
            }
            b'"' => self.string()?,
            b'\'' => self.quoted(Malformation::Scalar)?,
            b',' | b'}' if has_key => {
                self.record_fault(Malformation::Key);
                self.out.extend_from_slice(b"null");
            }
            _ => self.scalar()?,
        }
        self.write(b"");
        Ok(false)
    }

    fn key(&mut self, first: u8) -> Result<(), End> {
        match first {
            b'"' => self.string(),
            b'\'' => self.quoted(Malformation::Key),
            _ => {
                self.record_fault(Malformation::Key);
                let word = self.word()?;
                write_string(&mut self.out, word);
                Ok(())
            }
        }
    }

    /// A string in double quotes, as it is.
    fn string(&mut self) -> Result<(), End> {
        let start = self.scanner.at;
        self.scanner.string().map_err(|_| End(Malformation::CutShort))?;
        self.out.extend_from_slice(self.scanner.text.get(start..self.scanner.at).unwrap_or_default());
        Ok(())
    }

    /// A string in single quotes, in which a backslash escapes as in one of JSON.
    fn quoted(&mut self, fault: Malformation) -> Result<(), End> {
        self.record_fault(fault);
        let start = self.scanner.at + 1;
        let mut at = start;
        loop {
            match self.scanner.text.get(at).ok_or(End(Malformation::CutShort))? {
                b'\\' => at += 2,
                b'\'' => break,
                _ => at += 1,
            }
        }
        write_string(&mut self.out, self.scanner.text.get(start..at).unwrap_or_default());
        self.scanner.at = at + 1;
        Ok(())
    }

    /// A number, `true`, `false` or `null` as it is; any other word is null.
    fn scalar(&mut self) -> Result<(), End> {
        let word = self.word()?;
        if self.scanner.at == self.scanner.text.len() {
            // How it continues is unknown.
            return Err(End(Malformation::CutShort));
        }
        let mut alone = Scanner::new(word);
        if alone.scalar().is_ok() && alone.at == word.len() {
            self.out.extend_from_slice(word);
        } else {
            self.record_fault(Malformation::Scalar);
            self.out.extend_from_slice(b"null");
        }
        Ok(())
    }

    /// A run of bytes that are neither white space nor punctuation.
    fn word(&mut self) -> Result<&'a [u8], End> {
        let rest = self.scanner.text.get(self.scanner.at..).unwrap_or_default();
        let is_end = |byte: &u8| byte.is_ascii_whitespace() || b"{}[],:\"'/#\0".contains(byte);
        let length = rest.iter().position(is_end).unwrap_or(rest.len());
        self.scanner.at += length;
        rest.get(..length).filter(|word| !word.is_empty()).ok_or(End(Malformation::Other))
    }
}

/// Writes the content of a string that had no double quotes around it.
fn write_string(out: &mut Vec<u8>, content: &[u8]) {
    out.push(b'"');
    let mut bytes = content.iter();
    while let Some(&byte) = bytes.next() {
        match (byte, bytes.as_slice().first()) {
            (b'\\', Some(b'\'')) => {}
            (b'\\', Some(&next)) => {
                out.extend_from_slice(&[b'\\', next]);
                bytes.next();
            }
            (b'\\', None) => out.extend_from_slice(br"\\"),
            (b'"', _) => out.extend_from_slice(br#"\""#),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}
