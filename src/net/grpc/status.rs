//! Statuses of gRPC, and their form in HTTP headers (`PROTOCOL-HTTP2.md`, "Status" and "Status-Message").

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::code::Code;
use super::retry;

/// The header or trailer with the status code.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// The header or trailer with the percent-encoded message.
pub const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// The header or trailer with a base64-encoded `google.rpc.Status`.
pub const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
/// When a client should retry after RESOURCE_EXHAUSTED, unless the status specifies it.
const RETRY_SOON: Duration = Duration::from_secs(1);
/// Longest message that is written into a header, in characters of the plain text; a longer one is truncated.
const MAX_MESSAGE: usize = 1024;

/// A code with its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub code: Code,
    /// A text for humans; may be empty.
    pub message: String,
    /// When the client should retry (`google.rpc.RetryInfo`).
    pub retry_delay: Option<Duration>,
}

impl Status {
    pub fn new(code: Code, message: impl Into<String>) -> Status {
        Status { code, message: message.into(), retry_delay: None }
    }

    /// Adds the time after which the client should retry.
    #[must_use]
    pub fn with_retry_delay(self, delay: Duration) -> Status {
        Status { retry_delay: Some(delay), ..self }
    }

    /// Reads the status from headers or trailers, if there is one.
    pub fn read(headers: &HeaderMap) -> Option<Status> {
        let number = headers.get(&GRPC_STATUS)?;
        let code =
            number.to_str().ok().and_then(|text| text.trim().parse().ok()).map_or(Code::Unknown, Code::from_number);
        let message = headers.get(&GRPC_MESSAGE).map(|value| decode_message(value.as_bytes())).unwrap_or_default();
        let retry_delay = headers.get(&GRPC_STATUS_DETAILS).and_then(retry::decode);
        Some(Status { code, message, retry_delay })
    }

    /// Writes the status into headers (a trailers-only answer) or trailers.
    pub fn write(&self, headers: &mut HeaderMap) {
        headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(self.code.number())));
        if !self.message.is_empty() {
            headers.insert(GRPC_MESSAGE, encode_message(&self.message));
        }
        let soon = || (self.code == Code::ResourceExhausted).then_some(RETRY_SOON);
        if let Some(delay) = self.retry_delay.or_else(soon) {
            headers.insert(GRPC_STATUS_DETAILS, retry::encode(self.code, delay));
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() { self.code.fmt(f) } else { write!(f, "{}: {}", self.code, self.message) }
    }
}

/// Percent-encodes a message: printable ASCII except `%` is kept, every other byte becomes `%XX`.
pub fn encode_message(message: &str) -> HeaderValue {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    let mut encoded = String::with_capacity(message.len());
    let mut buffer = [0; 4];
    for character in message.chars().take(MAX_MESSAGE) {
        if matches!(character, ' '..='~') && character != '%' {
            encoded.push(character);
            continue;
        }
        for byte in character.encode_utf8(&mut buffer).bytes() {
            encoded.push('%');
            encoded.extend([byte >> 4, byte & 15].iter().filter_map(|digit| HEX.get(usize::from(*digit))));
        }
    }
    // Only printable ASCII was written, so this never falls back.
    HeaderValue::try_from(encoded).unwrap_or(HeaderValue::from_static(""))
}

/// Reverses [`encode_message`]. As gRPC requires, never fails: invalid escapes are kept, bytes that are not UTF-8 are
/// replaced.
pub fn decode_message(encoded: &[u8]) -> String {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let [byte, tail @ ..] = rest {
        match (byte, digit(tail.first()), digit(tail.get(1))) {
            (b'%', Some(high), Some(low)) => {
                // Two hexadecimal digits always fit a byte.
                decoded.push((high * 16 + low) as u8);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                decoded.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_status_without_number_is_unknown_and_none_is_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(Status::read(&headers), None);
        headers.insert(GRPC_STATUS, HeaderValue::from_static("abc"));
        assert_eq!(Status::read(&headers), Some(Status::new(Code::Unknown, "")));
    }

    /// Overload asks OTLP exporters to retry after a second; no other status does.
    #[test]
    fn resource_exhausted_carries_a_retry_delay() {
        use base64::Engine as _;
        let written = |code| {
            let mut headers = HeaderMap::new();
            Status::new(code, "").write(&mut headers);
            headers.get(GRPC_STATUS_DETAILS).cloned()
        };
        assert_eq!(written(Code::Unavailable), None);
        let details = written(Code::ResourceExhausted).unwrap();
        let details = base64::engine::general_purpose::STANDARD.decode(details.as_bytes()).unwrap();
        let any = b"\x0a\x28type.googleapis.com/google.rpc.RetryInfo\x12\x04\x0a\x02\x08\x01";
        assert_eq!(details, [b"\x08\x08\x1a\x30".as_slice(), any].concat());
    }

    #[test]
    fn broken_escapes_stay_as_they_are() {
        assert_eq!(decode_message(b"100% sure %2"), "100% sure %2");
        assert_eq!(decode_message(b"%zz%41"), "%zzA");
    }

    proptest! {
        /// Law: every message becomes a valid header that reads back as itself.
        #[test]
        fn message_round_trips(message in "\\PC{0,200}|[\\x00-\\x7f]{0,200}") {
            let mut headers = HeaderMap::new();
            let status = Status::new(Code::Unavailable, message);
            status.write(&mut headers);
            prop_assert_eq!(Status::read(&headers), Some(status));
        }

        /// Law: decoding arbitrary bytes never panics.
        #[test]
        fn decoding_anything_is_safe(bytes: Vec<u8>) {
            decode_message(&bytes);
        }
    }
}
