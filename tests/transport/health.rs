//! `grpc.health.v1` and reflection on a source's own port, asked with tonic's clients.

use hotlist::config::Address;
use hotlist::sink::grpc::Settings;
use hotlist::source::Limits;
use hotlist::source::health::{Health, reflect_in};
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::client::Client;
use crate::metrics::PATIENCE;
use crate::next_hop::NextHop;
use crate::sidecar::{Identity, Sidecar, bind, loopback, otlp};
use crate::wire::frame;

const LOGS: &str = "opentelemetry.proto.collector.logs.v1.LogsService";

async fn start() -> (Sidecar, Health) {
    let (next_hop, health) = (NextHop::start().await, Health::default());
    let bound =
        bind("health", &loopback(), Limits::default(), Identity, [otlp(&next_hop.endpoint, Settings::default())]);
    next_hop.accept_all();
    (Sidecar::serve(bound.with_services(|routes| reflect_in(health.serve_in(routes)))), health)
}

async fn channel(sidecar: &Sidecar) -> Channel {
    let Address::Tcp(address) = sidecar.address else { panic!("{}", sidecar.address) };
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

fn ask(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

/// Guarantee: the server as a whole and the service of logs report the state of the process, another name is not found,
/// and events are served on the same socket.
#[tokio::test]
async fn health_is_that_of_the_process() {
    let (sidecar, health) = start().await;
    let mut client = HealthClient::new(channel(&sidecar).await);
    for (ready, status) in [(false, ServingStatus::NotServing), (true, ServingStatus::Serving)] {
        health.set_ready(ready);
        for service in ["", LOGS] {
            assert_eq!(client.check(ask(service)).await.unwrap().into_inner().status(), status, "{service}");
        }
    }
    assert_eq!(client.check(ask("nobody")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(Client::connect(&sidecar.address).await.export(frame(0, b"x")).await.status(), 0);
}

/// Scenario: two clients watch while the process becomes ready and then drains. Guarantee: each change is sent once,
/// and the streams end, so that they do not delay the drain.
#[tokio::test]
async fn who_watches_is_told_and_does_not_hold_up_a_drain() {
    let (sidecar, health) = start().await;
    let mut client = HealthClient::new(channel(&sidecar).await);
    let mut known = client.watch(ask(LOGS)).await.unwrap().into_inner();
    let mut unknown = client.watch(ask("nobody")).await.unwrap().into_inner();
    assert_eq!(known.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert_eq!(unknown.message().await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
    health.set_ready(true);
    health.set_ready(true);
    assert_eq!(known.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    health.drain();
    health.set_ready(true);
    assert_eq!(known.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    let stopped = sidecar.stop();
    assert!(known.message().await.unwrap().is_none());
    assert!(unknown.message().await.unwrap().is_none());
    timeout(PATIENCE, stopped).await.expect("the sidecar does not stop").unwrap();
}

/// Guarantee: reflection lists what it describes.
#[tokio::test]
async fn reflection_lists_the_services() {
    let (sidecar, _) = start().await;
    let mut client = ServerReflectionClient::new(channel(&sidecar).await);
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = client.server_reflection_info(tokio_stream::iter([ask])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(services)) = answer else { panic!("{answer:?}") };
    let mut names: Vec<String> = services.service.into_iter().map(|service| service.name).collect();
    names.sort();
    assert_eq!(names, ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"]);
}
