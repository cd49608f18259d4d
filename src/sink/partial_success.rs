//! Reads the only content of an OTLP answer: `partial_success` of `ExportLogsServiceResponse`.
//!
//! A separate reader for two fields, because answers come from outside and must not fail a batch that was accepted:
//! content that cannot be read is ignored.

use crate::pipeline::Accepted;

/// Field 1 of the response.
const PARTIAL_SUCCESS: u64 = 1;
/// Field 1 of `ExportLogsPartialSuccess`, an int64.
const REJECTED_LOG_RECORDS: u64 = 1;
/// Field 2 of `ExportLogsPartialSuccess`, a string.
const ERROR_MESSAGE: u64 = 2;
/// Longest text that is kept, in characters.
const MAX_TEXT: usize = 4096;

/// Reads an `ExportLogsServiceResponse`: the records that the next hop received and discarded (OTLP specification,
/// "Partial Success": they must not be sent again).
pub fn read(response: &[u8]) -> Accepted {
    let mut found = Accepted::default();
    each_field(response, |field, value| {
        if let (PARTIAL_SUCCESS, Field::Bytes(inner)) = (field, value) {
            each_field(inner, |field, value| match (field, value) {
                // A negative number is not valid here.
                (REJECTED_LOG_RECORDS, Field::Varint(count)) => {
                    found.rejected = i64::try_from(count).unwrap_or(0) as u64
                }
                (ERROR_MESSAGE, Field::Bytes(text)) => {
                    found.message = String::from_utf8_lossy(text).chars().take(MAX_TEXT).collect();
                }
                _ => {}
            });
        }
    });
    found
}

enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
}

/// Calls `visit` for every field that is used, and stops where the message is malformed.
fn each_field<'a>(mut rest: &'a [u8], mut visit: impl FnMut(u64, Field<'a>)) {
    while !rest.is_empty() {
        let Some(tag) = varint(&mut rest) else { return };
        match tag & 7 {
            0 => {
                let Some(value) = varint(&mut rest) else { return };
                visit(tag >> 3, Field::Varint(value));
            }
            1 => {
                let Some(tail) = rest.get(8..) else { return };
                rest = tail;
            }
            2 => {
                let Some(len) = varint(&mut rest).and_then(|len| usize::try_from(len).ok()) else { return };
                // Only the beginning of a long answer is kept.
                let (value, tail) = rest.split_at_checked(len).unwrap_or((rest, &[]));
                visit(tag >> 3, Field::Bytes(value));
                rest = tail;
            }
            5 => {
                let Some(tail) = rest.get(4..) else { return };
                rest = tail;
            }
            _ => return,
        }
    }
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
    use proptest::prelude::*;
    use prost::Message;

    proptest! {
        /// Law: what prost encodes is read back.
        #[test]
        fn reads_what_prost_writes(rejected in 0i64.., message: String) {
            let response = ExportLogsServiceResponse {
                partial_success: Some(ExportLogsPartialSuccess {
                    rejected_log_records: rejected,
                    error_message: message.clone(),
                }),
            };
            let expected = Accepted { rejected: rejected as u64, message };
            prop_assert_eq!(read(&response.encode_to_vec()), expected);
        }

        /// Law: arbitrary bytes never panic.
        #[test]
        fn reading_anything_is_safe(bytes: Vec<u8>) {
            read(&bytes);
        }
    }

    /// Scenario: the text is so long that only the beginning of the answer was kept. Guarantee: the count is read, and
    /// a part of the text.
    #[test]
    fn the_beginning_of_a_long_answer_is_read() {
        let response = ExportLogsServiceResponse {
            partial_success: Some(ExportLogsPartialSuccess {
                rejected_log_records: 7,
                error_message: "w".repeat(300_000),
            }),
        };
        let found = read(&response.encode_to_vec()[..64 << 10]);
        assert_eq!((found.rejected, found.message.len()), (7, MAX_TEXT));
    }

    #[test]
    fn an_empty_answer_is_full_success() {
        assert_eq!(read(b""), Accepted::default());
    }
}
