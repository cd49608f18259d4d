//! The answer of OTLP to an accepted request, over gRPC and HTTP.

use crate::encoding::wire;
use crate::pipeline::Accepted;

/// Writes an `Export…ServiceResponse`, whose fields have the same numbers for every signal: empty, or with
/// `partial_success` (1), which has the number of rejected records (1) and a message (2).
pub(super) fn export_response(accepted: &Accepted) -> Vec<u8> {
    if *accepted == Accepted::default() {
        return Vec::new();
    }
    let mut partial_success = Vec::with_capacity(accepted.message.len() + 16);
    if accepted.rejected > 0 {
        wire::put_varint(&mut partial_success, 1 << 3);
        // An int64 on the wire.
        wire::put_varint(&mut partial_success, accepted.rejected.min(i64::MAX as u64));
    }
    if !accepted.message.is_empty() {
        wire::put_bytes(&mut partial_success, 2, accepted.message.as_bytes());
    }
    let mut response = Vec::with_capacity(partial_success.len() + 16);
    wire::put_bytes(&mut response, 1, &partial_success);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
    use proptest::prelude::*;
    use prost::Message;

    proptest! {
        /// Law: prost reads the written bytes, and would write the same.
        #[test]
        fn prost_reads_the_response(rejected in 0..=i64::MAX, message: String) {
            let written = export_response(&Accepted { rejected: rejected as u64, message: message.clone() });
            let partial_success = ExportLogsPartialSuccess { rejected_log_records: rejected, error_message: message };
            let said = partial_success != ExportLogsPartialSuccess::default();
            let expected = ExportLogsServiceResponse { partial_success: said.then_some(partial_success) };
            prop_assert_eq!(&written, &expected.encode_to_vec());
            prop_assert_eq!(ExportLogsServiceResponse::decode(&*written).unwrap(), expected);
        }
    }
}
