//! Distinguished names: of certificates and directories, as RFC 4514 writes them (`CN=a,O=b`), with blanks behind the
//! commas, or as OpenSSL's one line (`/CN=a/O=b`).

/// Calls `found` with each attribute: its type as written, and its value without escapes. `scratch` holds values that have
/// escapes.
pub fn attributes(name: &[u8], scratch: &mut Vec<u8>, mut found: impl FnMut(&[u8], &[u8])) {
    let name = name.trim_ascii();
    let (separators, name): (&[u8], &[u8]) = match name.strip_prefix(b"/") {
        Some(rest) => (b"/", rest),
        None => (b",;+", name),
    };
    let mut at = 0;
    while at < name.len() {
        let end = end_of_attribute(name, at, separators);
        let attribute = name.get(at..end).unwrap_or_default();
        if let Some(equals) = memchr::memchr(b'=', attribute) {
            let (kind, value) = (attribute[..equals].trim_ascii(), attribute[equals + 1..].trim_ascii());
            found(kind, unescaped(value, scratch));
        }
        at = end + 1;
    }
}

/// Whether a type is that of an e-mail address: `emailAddress` of PKCS #9 in its usual spellings, and `mail` (RFC 4524).
pub fn is_email(kind: &[u8]) -> bool {
    [&b"emailAddress"[..], b"E", b"mail", b"1.2.840.113549.1.9.1"].iter().any(|known| kind.eq_ignore_ascii_case(known))
}

/// Whether a type is that of a common name.
pub fn is_common_name(kind: &[u8]) -> bool {
    [&b"CN"[..], b"commonName", b"2.5.4.3"].iter().any(|known| kind.eq_ignore_ascii_case(known))
}

/// Where the attribute that begins at `at` ends: at a separator that is neither escaped nor inside quotes.
fn end_of_attribute(name: &[u8], mut at: usize, separators: &[u8]) -> usize {
    let mut is_quoted = false;
    while let Some(byte) = name.get(at) {
        match byte {
            b'\\' => at += 1,
            b'"' => is_quoted = !is_quoted,
            byte if !is_quoted && separators.contains(byte) => return at,
            _ => {}
        }
        at += 1;
    }
    name.len()
}

/// A value without quotes and escapes (RFC 4514, section 2.4).
fn unescaped<'v>(value: &'v [u8], scratch: &'v mut Vec<u8>) -> &'v [u8] {
    let value = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value);
    if memchr::memchr(b'\\', value).is_none() {
        return value;
    }
    scratch.clear();
    let mut rest = value;
    while let Some((byte, more)) = rest.split_first() {
        let hex = || u8::from_str_radix(std::str::from_utf8(more.get(..2)?).ok()?, 16).ok();
        match (byte, hex()) {
            (b'\\', Some(octet)) => {
                scratch.push(octet);
                rest = &more[2..];
            }
            (b'\\', None) => {
                scratch.extend(more.first());
                rest = more.get(1..).unwrap_or_default();
            }
            _ => {
                scratch.push(*byte);
                rest = more;
            }
        }
    }
    scratch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str) -> Vec<(String, String)> {
        let mut all = Vec::new();
        attributes(name.as_bytes(), &mut Vec::new(), |kind, value| {
            all.push((String::from_utf8_lossy(kind).into(), String::from_utf8_lossy(value).into()));
        });
        all
    }

    #[test]
    fn each_spelling_gives_the_same_attributes() {
        let expected = [("C", "DE"), ("O", "A, B"), ("CN", "www.example.com")];
        let expected = expected.map(|(kind, value)| (kind.to_owned(), value.to_owned()));
        for name in [
            r"C=DE,O=A\, B,CN=www.example.com",
            r#"C = DE, O = "A, B", CN = www.example.com"#,
            r"C=DE;O=A\2C B+CN=www.example.com",
            "/C=DE/O=A, B/CN=www.example.com",
            "C=DE,nothing,O=A\\, B,,CN=www.example.com,",
        ] {
            assert_eq!(read(name), expected, "{name}");
        }
        for name in ["", "/", ",", "\\", "CN", "=", "\"", "CN=\"", "CN=\\"] {
            read(name);
        }
        assert!(is_email(b"emailaddress") && is_common_name(b"cn") && !is_email(b"CN"));
    }
}
