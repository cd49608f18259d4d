//! Check: one unary call, a bounded number of values.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use prost::Message as _;
use tonic::body::Body;

use super::outbox::{Outbox, OutboxBody};
use super::{State, needs_encoding, refuse, refuse_work, respond, status_of};
use crate::delivery::{Checked, Known, Refusal};
use crate::encoding::Rope;
use crate::grpc::{Code, Encoding, Status};
use crate::ingest::message::{self, Message, Unread};
use crate::proto::filter::v1;

/// The most values of a call, as filter.proto says.
const MAX_VALUES: usize = 1_000;

/// Answers one call.
pub(super) async fn answer(state: &Arc<State>, request: Request<Body>, encoding: Encoding) -> Response<Body> {
    let answer = match message::read(request.into_body(), &state.limits, &state.shared.in_flight).await {
        Ok(message) => look_up(state, message, encoding).await,
        Err(Unread::Refused(refusal)) => Err(refusal),
        Err(Unread::Gone) => Err(Refusal::Unavailable("the request was not received whole".to_owned())),
    };
    match answer {
        Ok(answer) => {
            state.count_answer("ok");
            let outbox = Outbox::new();
            let body = OutboxBody { outbox: Arc::clone(&outbox), _work: () };
            match outbox.send(&Rope::from(answer), &()) {
                Ok(()) => outbox.finish(&Status::new(Code::Ok, "")),
                Err(text) => outbox.finish(&Status::new(Code::ResourceExhausted, text)),
            }
            respond(Body::new(body))
        }
        Err(refusal) => {
            state.count_answer(refusal.label());
            refuse(&status_of(refusal))
        }
    }
}

async fn look_up(state: &Arc<State>, message: Message, encoding: Encoding) -> Result<Bytes, Refusal> {
    state.count_received(message.bytes.len());
    needs_encoding(message.compressed, encoding)?;
    let (wait, of_work) = (state.limits.admission_wait, Arc::clone(state));
    let work = move || of_work.check(message, encoding);
    state.shared.workers.run(wait, work).await.map_err(refuse_work)?
}

impl State {
    fn check(&self, mut message: Message, encoding: Encoding) -> Result<Bytes, Refusal> {
        self.inflate(&mut message, encoding)?;
        let asked = v1::CheckRequest::decode(message.bytes.clone())
            .map_err(|error| Refusal::InvalidArgument(format!("the message is no CheckRequest: {error}")))?;
        if asked.values.len() > MAX_VALUES {
            let text = format!("{} values are more than the {MAX_VALUES} of a call: ask in parts", asked.values.len());
            return Err(Refusal::InvalidArgument(text));
        }
        let values: Vec<(&str, &str)> =
            asked.values.iter().map(|value| (value.kind.as_str(), value.value.as_str())).collect();
        let Checked { results, snapshot } = self.check.check(&values)?;
        let results = results.into_iter().map(|result| match result {
            Ok(known) => v1::Result { matches: known.into_iter().map(shown).collect(), error: String::new() },
            Err(error) => v1::Result { matches: Vec::new(), error },
        });
        Ok(v1::CheckResponse { results: results.collect(), snapshot }.encode_to_vec().into())
    }
}

fn shown(known: Known) -> v1::Match {
    let Known { indicator, feed, id, kind, enrichment } = known;
    v1::Match { indicator, feed, id, kind: kind.as_str().to_owned(), enrichment }
}
