//! Logs of Zeek as tab-separated values: a header with the names and types of the columns, then one event per line.
//!
//! The format is that of Zeek's ASCII writer, see <https://docs.zeek.org/en/master/log-formats.html>. A row becomes the JSON
//! document that Zeek writes with `LogAscii::use_json=T`: unset columns are left out.

use std::sync::Arc;

use serde_json::Number;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    layout: Layout,
    columns: Vec<Column>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Layout {
    separator: u8,
    set_separator: u8,
    unset: Vec<u8>,
    empty: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Column {
    /// The name as a JSON string.
    key: Vec<u8>,
    form: Form,
    is_list: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Number,
    Bool,
}

/// Reads the header of a log.
#[derive(Debug, Default)]
pub struct Header {
    layout: Option<Layout>,
    names: Vec<Vec<u8>>,
}

/// The meaning of a line of a header.
#[derive(Debug, PartialEq, Eq)]
pub enum HeaderLine {
    /// It is not a part of a header.
    No,
    /// It is a part of a header, and the columns do not change.
    Part,
    /// Rows with these columns follow.
    Columns(Arc<Columns>),
}

impl Header {
    /// Reads a line that starts with `#`. A header begins with `#separator`, so that other comments stay events.
    pub fn line(&mut self, line: &[u8]) -> HeaderLine {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(separator) = line.strip_prefix(b"#separator ") {
            let [separator] = unescaped(separator)[..] else { return HeaderLine::No };
            let (unset, empty) = (b"-".to_vec(), b"(empty)".to_vec());
            *self = Header { layout: Some(Layout { separator, set_separator: b',', unset, empty }), names: Vec::new() };
            return HeaderLine::Part;
        }
        let Some(layout) = &mut self.layout else { return HeaderLine::No };
        let mut parts = line.split(|byte| *byte == layout.separator);
        let (key, value) = (parts.next().unwrap_or_default(), parts.clone().next().unwrap_or_default());
        match key {
            b"#set_separator" => {
                layout.set_separator = unescaped(value).first().copied().unwrap_or(b',');
                HeaderLine::Part
            }
            b"#empty_field" => {
                layout.empty = value.to_vec();
                HeaderLine::Part
            }
            b"#unset_field" => {
                layout.unset = value.to_vec();
                HeaderLine::Part
            }
            b"#path" | b"#open" | b"#close" => HeaderLine::Part,
            b"#fields" => {
                self.names = parts.map(<[u8]>::to_vec).collect();
                self.columns(&[])
            }
            b"#types" => {
                let types: Vec<&[u8]> = parts.collect();
                self.columns(&types)
            }
            _ => HeaderLine::No,
        }
    }

    fn columns(&self, types: &[&[u8]]) -> HeaderLine {
        let Some(layout) = self.layout.clone() else { return HeaderLine::No };
        let types = types.iter().copied().chain(std::iter::repeat(&b"string"[..]));
        let column = |(name, of): (&Vec<u8>, &[u8])| {
            let list = [&b"set["[..], b"vector["].iter().find_map(|prefix| of.strip_prefix(*prefix));
            let form = match list.map_or(of, |inner| inner.strip_suffix(b"]").unwrap_or(inner)) {
                b"bool" => Form::Bool,
                b"count" | b"int" | b"double" | b"port" | b"interval" | b"time" => Form::Number,
                _ => Form::Text,
            };
            Column { key: json_string(name), form, is_list: list.is_some() }
        };
        let columns = self.names.iter().zip(types).map(column).collect();
        HeaderLine::Columns(Arc::new(Columns { layout, columns }))
    }
}

impl Columns {
    /// Returns a row as a JSON document.
    pub fn document(&self, row: &[u8]) -> Vec<u8> {
        let layout = &self.layout;
        let mut document = Vec::with_capacity(row.len() * 2);
        document.push(b'{');
        for (column, cell) in self.columns.iter().zip(row.split(|byte| *byte == layout.separator)) {
            if cell == layout.unset {
                continue;
            }
            if document.len() > 1 {
                document.push(b',');
            }
            document.extend_from_slice(&column.key);
            document.push(b':');
            if !column.is_list {
                let cell = if cell == layout.empty { &b""[..] } else { cell };
                column.form.write(cell, &mut document);
                continue;
            }
            document.push(b'[');
            if cell != layout.empty {
                for (number, element) in cell.split(|byte| *byte == layout.set_separator).enumerate() {
                    if number > 0 {
                        document.push(b',');
                    }
                    column.form.write(element, &mut document);
                }
            }
            document.push(b']');
        }
        document.push(b'}');
        document
    }
}

impl Form {
    /// Writes a value. What is not of the column's type is written as text, so that nothing is lost.
    fn write(self, value: &[u8], document: &mut Vec<u8>) {
        match (self, value) {
            (Form::Bool, b"T") => document.extend_from_slice(b"true"),
            (Form::Bool, b"F") => document.extend_from_slice(b"false"),
            (Form::Number, value) if serde_json::from_slice::<Number>(value).is_ok() => {
                document.extend_from_slice(value)
            }
            _ => document.extend_from_slice(&json_string(&unescaped(value))),
        }
    }
}

fn json_string(text: &[u8]) -> Vec<u8> {
    // A text can always be serialised.
    serde_json::to_vec(&String::from_utf8_lossy(text)).unwrap_or_default()
}

/// Resolves the escapes of Zeek: `\x` and two hexadecimal digits.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some((&first, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, after.first(), digit(1), digit(2)) {
            (b'\\', Some(b'x'), Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                rest = after.get(3..).unwrap_or_default();
            }
            _ => {
                out.push(first);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn columns(header: &str) -> Arc<Columns> {
        let mut reader = Header::default();
        let mut last = None;
        for line in header.lines() {
            match reader.line(line.as_bytes()) {
                HeaderLine::No => panic!("{line}"),
                HeaderLine::Part => {}
                HeaderLine::Columns(columns) => last = Some(columns),
            }
        }
        last.unwrap()
    }

    fn read(columns: &Columns, row: &str) -> Value {
        serde_json::from_slice(&columns.document(row.as_bytes())).unwrap()
    }

    #[test]
    fn a_row_becomes_the_document_that_zeek_writes_as_json() {
        let header = "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tdns\n\
            #open\t2012-03-16-12-30-00\n\
            #fields\tts\tid.orig_h\tid.resp_p\tquery\tanswers\tTTLs\tAA\tsan\n\
            #types\ttime\taddr\tport\tstring\tvector[string]\tvector[interval]\tbool\tset[string]";
        let row = "1331901000.000000\t203.0.113.9\t53\ta\\x09\"b\ta.example,203.0.113.1\t1.5,60\tF\t(empty)";
        let expected = json!({
            "ts": 1331901000.0, "id.orig_h": "203.0.113.9", "id.resp_p": 53, "query": "a\t\"b",
            "answers": ["a.example", "203.0.113.1"], "TTLs": [1.5, 60], "AA": false, "san": [],
        });
        assert_eq!(read(&columns(header), row), expected);
        let short = read(&columns(header), "x\t-\t-\t(empty)");
        assert_eq!(short, json!({"ts": "x", "query": ""}));
    }

    #[test]
    fn only_a_line_of_a_header_that_has_begun_is_one() {
        let mut header = Header::default();
        for line in ["#fields\ta\tb", "# comment", "#separator", "#separator \\x0909", "#close"] {
            assert_eq!(header.line(line.as_bytes()), HeaderLine::No, "{line}");
        }
        assert_eq!(header.line(b"#separator |"), HeaderLine::Part);
        assert_eq!(header.line(b"#other|x"), HeaderLine::No);
        let HeaderLine::Columns(columns) = header.line(b"#fields|a|b") else { panic!() };
        assert_eq!(read(&columns, "1|-"), json!({"a": "1"}));
    }

    proptest! {
        /// Guarantee: every row is a JSON document, whatever its bytes and its header.
        #[test]
        fn every_row_is_a_document(
            names in "[a-z\t\"\\\\é]{0,12}",
            types in "(\t(count|bool|set\\[addr\\]|vector\\[|x)){0,4}",
            row in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let header = format!("#separator \\x09\n#fields\t{names}\n#types{types}");
            let document = columns(&header).document(&row);
            prop_assert!(serde_json::from_slice::<Value>(&document).unwrap().is_object());
        }
    }
}
