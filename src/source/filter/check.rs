//! Check: one unary call with a bounded number of values.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use prost::Message as _;
use tonic::body::Body;

use super::State;
use crate::encoding::wire::Fields;
use crate::net::grpc::Encoding;
use crate::pipeline::{BatchRefusal, ClientGuard, KnownIndicator, LookupResults, Work};
use crate::proto::filter::v1;
use crate::source::body::Message;
use crate::source::message;
use crate::source::outcome::RequestFailure;
use crate::source::unary::UnaryAnswer;

/// Most values per call, as filter.proto documents.
const MAX_VALUES: usize = 1_000;

/// Longest value in bytes, as filter.proto documents.
const MAX_VALUE_BYTES: usize = 16 << 10;

/// Copies of a value, with its escapes, that exist during its lookup.
const COPIES: usize = 800;

/// `CheckRequest.values`.
const VALUES: u32 = 1;

/// Answers one call.
pub(super) async fn call<B>(state: Arc<State>, request: Request<B>, encoding: Encoding) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let intake = &state.intake;
    let count = intake.count();
    let message = message::read(request.into_body(), encoding, intake.limits(), intake.in_flight()).await;
    let answer = match message {
        Ok(message) => look_up(&state, message).await,
        Err(not_taken) => Err(not_taken),
    };
    let answer = answer.map_or_else(UnaryAnswer::NotTaken, UnaryAnswer::Taken);
    count.end(answer.label());
    answer.into_response()
}

async fn look_up(state: &Arc<State>, message: Message) -> Result<Vec<u8>, RequestFailure> {
    state.intake.count_received(message.bytes.len());
    let of_work = Arc::clone(state);
    // A short message can hold many values, so its length does not predict the work.
    let client = ClientGuard::default();
    let work = Work::within(message.admission.clone()).until(&client);
    let answer = state.intake.run(None, move || of_work.check(message, &work)).await?;
    client.finish();
    answer
}

impl State {
    fn check(&self, message: Message, work: &Work) -> Result<Vec<u8>, RequestFailure> {
        let Message { encoding, bytes, .. } = message;
        let bytes = self.intake.inflate(bytes, encoding, work)?;
        // A decoded value takes far more memory than it may take on the wire, so the values are counted first.
        let mut fields = Fields::new(&bytes);
        let number = std::iter::from_fn(|| fields.next_field().ok().flatten()).filter(|field| field.number == VALUES);
        let number = number.count();
        if number > MAX_VALUES {
            let text = format!(
                "the request has {number} values, more than the {MAX_VALUES} of a call: send them in several calls"
            );
            return Err(RequestFailure::invalid(text));
        }
        work.take(bytes.len()).map_err(BatchRefusal::from)?;
        let asked = v1::CheckRequest::decode(bytes)
            .map_err(|error| RequestFailure::invalid(format!("the message is not a valid CheckRequest: {error}")))?;
        let longest = asked.values.iter().map(|value| value.value.len()).max().unwrap_or_default();
        if longest > MAX_VALUE_BYTES {
            let text = format!("a value has {longest} bytes, more than the {MAX_VALUE_BYTES} that can be looked up");
            return Err(RequestFailure::invalid(text));
        }
        // During its lookup a value is at every field of its kind.
        let _event = work.hold(longest * COPIES).map_err(BatchRefusal::from)?;
        let values: Vec<(&str, &str)> =
            asked.values.iter().map(|value| (value.kind.as_str(), value.value.as_str())).collect();
        let LookupResults { results, snapshot } = self.check.check(&values)?;
        let results = results.into_iter().map(|result| match result {
            Ok(known) => v1::Result { matches: known.into_iter().map(shown).collect(), error: String::new() },
            Err(error) => v1::Result { matches: Vec::new(), error },
        });
        let answer = v1::CheckResponse { results: results.collect(), snapshot: snapshot.to_string() };
        work.take(answer.encoded_len()).map_err(BatchRefusal::from)?;
        Ok(answer.encode_to_vec())
    }
}

fn shown(known: KnownIndicator) -> v1::Match {
    let KnownIndicator { indicator, feed, id, kind, enrichment } = known;
    v1::Match { indicator, feed, id, kind: kind.as_str().to_owned(), enrichment }
}
