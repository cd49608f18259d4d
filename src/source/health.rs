//! `grpc.health.v1` and gRPC reflection, which every source serves on its own port.
//!
//! The status is that of the process: the same for the whole server and for each service that receives events.

use std::pin::Pin;

use futures_util::stream::{self, Stream, StreamExt};
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health as HealthCalls, HealthServer};
use tonic_health::pb::{FILE_DESCRIPTOR_SET, HealthCheckRequest, HealthCheckResponse};

use crate::escape::Escaped;

/// The services whose health can be queried; the empty name is the whole server.
const SERVICES: [&str; 4] =
    ["", "opentelemetry.proto.collector.logs.v1.LogsService", "vector.Vector", "hotlist.filter.v1.Filter"];

/// The health that all sources report. Clones share one state.
#[derive(Clone, Debug)]
pub struct Health(watch::Sender<State>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    NotReady,
    Ready,
    /// Final: a process that drains never becomes ready again.
    Draining,
}

impl State {
    fn status(self) -> ServingStatus {
        match self {
            State::Ready => ServingStatus::Serving,
            State::NotReady | State::Draining => ServingStatus::NotServing,
        }
    }
}

impl Default for Health {
    fn default() -> Health {
        Health(watch::Sender::new(State::NotReady))
    }
}

impl Health {
    /// Sets SERVING or NOT_SERVING.
    pub fn set_ready(&self, ready: bool) {
        let wanted = if ready { State::Ready } else { State::NotReady };
        self.0.send_if_modified(|state| *state != State::Draining && std::mem::replace(state, wanted) != wanted);
    }

    /// Whether the status is SERVING now.
    pub fn is_ready(&self) -> bool {
        *self.0.borrow() == State::Ready
    }

    /// Sets NOT_SERVING permanently. Watching clients get it, and then their streams end, so that they do not hold up a
    /// drain.
    pub fn drain(&self) {
        self.0.send_replace(State::Draining);
    }

    /// Adds the health service.
    pub fn serve_in(&self, routes: Routes) -> Routes {
        routes.add_service(HealthServer::new(Calls(self.0.subscribe())))
    }
}

/// Adds gRPC reflection, which describes the served methods to any client. For sources that only this host can reach.
pub fn reflect_in(routes: Routes) -> Routes {
    reflect_with(routes, None)
}

/// Like [`reflect_in`], with an additional encoded `FileDescriptorSet`: that of the source's own service.
pub fn reflect_with(routes: Routes, own: Option<&'static [u8]>) -> Routes {
    let describe = || {
        let builder = tonic_reflection::server::Builder::configure();
        own.into_iter()
            .chain([FILE_DESCRIPTOR_SET])
            .fold(builder, |builder, set| builder.register_encoded_file_descriptor_set(set))
    };
    // Many grpcurl versions in use only know the older protocol.
    match (describe().build_v1(), describe().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => routes.add_service(v1).add_service(v1alpha),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(error = %Escaped(&error), "gRPC reflection is disabled: its descriptors cannot be read");
            routes
        }
    }
}

struct Calls(watch::Receiver<State>);

type Answers = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

#[tonic::async_trait]
impl HealthCalls for Calls {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let service = &request.get_ref().service;
        if !SERVICES.contains(&service.as_str()) {
            return Err(Status::not_found("this port does not serve that service"));
        }
        Ok(Response::new(answer(self.0.borrow().status())))
    }

    type WatchStream = Answers;

    /// The protocol demands that an unknown service is reported as such and may become known later. Here that never
    /// happens, so such a stream ends only with the process.
    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Answers>, Status> {
        let known = SERVICES.contains(&request.get_ref().service.as_str());
        let mut states = self.0.clone();
        states.mark_changed();
        let answers = stream::unfold((states, None, false), |(mut states, told, ended)| async move {
            if ended {
                return None;
            }
            loop {
                states.changed().await.ok()?;
                let state = *states.borrow_and_update();
                let ended = state == State::Draining;
                if told != Some(state.status()) || ended {
                    return Some((state, (states, Some(state.status()), ended)));
                }
            }
        });
        let mut first = true;
        let answers = answers.filter_map(move |state| {
            let status = if known { state.status() } else { ServingStatus::ServiceUnknown };
            let tell = known || std::mem::take(&mut first);
            std::future::ready(tell.then(|| Ok(answer(status))))
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
