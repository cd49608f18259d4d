//! Check: one unary call, a bounded number of values.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use prost::Message as _;
use tonic::body::Body;

use super::State;
use crate::delivery::{Checked, Client, Known, Work};
use crate::grpc::Encoding;
use crate::ingest::body::Message;
use crate::ingest::message;
use crate::ingest::outcome::NotTaken;
use crate::ingest::unary::Answer;
use crate::proto::filter::v1;

/// The most values of a call, as filter.proto says.
const MAX_VALUES: usize = 1_000;

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
    let answer = answer.map_or_else(Answer::NotTaken, Answer::Taken);
    count.end(answer.label());
    answer.into_response()
}

async fn look_up(state: &Arc<State>, message: Message) -> Result<Vec<u8>, NotTaken> {
    state.intake.count_received(message.bytes.len());
    let of_work = Arc::clone(state);
    // A short message holds many values, so its length says nothing about the work.
    let client = Client::default();
    let work = Work::within(message.admission.clone()).until(&client);
    let answer = state.intake.run(None, move || of_work.check(message, &work)).await?;
    client.finish();
    answer
}

impl State {
    fn check(&self, message: Message, work: &Work) -> Result<Vec<u8>, NotTaken> {
        let Message { encoding, bytes, .. } = message;
        let bytes = self.intake.inflate(bytes, encoding, work)?;
        let asked = v1::CheckRequest::decode(bytes)
            .map_err(|error| NotTaken::invalid(format!("the message is no CheckRequest: {error}")))?;
        if asked.values.len() > MAX_VALUES {
            let text = format!("{} values are more than the {MAX_VALUES} of a call: ask in parts", asked.values.len());
            return Err(NotTaken::invalid(text));
        }
        let values: Vec<(&str, &str)> =
            asked.values.iter().map(|value| (value.kind.as_str(), value.value.as_str())).collect();
        let Checked { results, snapshot } = self.check.check(&values)?;
        let results = results.into_iter().map(|result| match result {
            Ok(known) => v1::Result { matches: known.into_iter().map(shown).collect(), error: String::new() },
            Err(error) => v1::Result { matches: Vec::new(), error },
        });
        Ok(v1::CheckResponse { results: results.collect(), snapshot }.encode_to_vec())
    }
}

fn shown(known: Known) -> v1::Match {
    let Known { indicator, feed, id, kind, enrichment } = known;
    v1::Match { indicator, feed, id, kind: kind.as_str().to_owned(), enrichment }
}
