//! Next hops that speak another protocol than the one configured, and which setting the error names to the operator.

use hotlist::config::{ClientTls, Endpoint};
use hotlist::net::tls::Connector;
use hotlist::sink::grpc::{GrpcSink, Settings};
use hotlist::sink::{Sink, SinkBackend};
use hotlist::source::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::authority::{Authority, server_config};
use crate::client::Client;
use crate::next_hop::NextHop;
use crate::sidecar::{Identity, Sidecar, otlp};
use crate::wire::frame;

/// Answers every connection with these bytes, and closes it.
async fn answers(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(bytes).await;
        }
    });
    address.to_string()
}

async fn refusal_from(sidecar: &Sidecar) -> String {
    let client = Client::connect(&sidecar.address).await;
    let answer = client.export(frame(0, b"abc")).await;
    assert_eq!(answer.status(), 14, "{answer:?}");
    answer.message()
}

fn over_tls(address: &str, tls: &ClientTls) -> Sidecar {
    let endpoint = format!("https://{address}");
    let sink = GrpcSink::otlp(Endpoint::parse(&endpoint).unwrap(), Settings::default());
    let sink = sink.with_tls(Connector::load("next", tls, "127.0.0.1").unwrap());
    let sink = std::sync::Arc::new(Sink::new("next", SinkBackend::Grpc(Box::new(sink))));
    Sidecar::with(Limits::default(), Identity, [sink])
}

/// Guarantee: what the peer speaks is named, with what to set.
#[tokio::test]
async fn a_wrong_protocol_is_named() {
    let authority = Authority::new();
    let secured = NextHop::start_tls(server_config(&authority.sign(), None)).await;
    let tls_port = secured.endpoint.strip_prefix("https://").unwrap().to_owned();
    for (address, says) in [
        (answers(b"HTTP/1.1 400 Bad Request\r\n\r\n").await, ["speaks HTTP/1", "`protocol: http`"]),
        (answers(b"<html>505</html>").await, ["speaks HTTP/1", "<html>"]),
        (tls_port, ["speaks TLS", "`https://`"]),
        (answers(b"").await, ["closed", "no connection: "]),
        (answers(b"\0\0\x02\x07").await, ["does not speak HTTP/2", "no connection: "]),
    ] {
        let message = refusal_from(&Sidecar::with(
            Limits::default(),
            Identity,
            [otlp(&format!("http://{address}"), Settings::default())],
        ))
        .await;
        assert!(says.iter().all(|part| message.contains(part)), "{message}");
    }
    let plain = NextHop::start().await;
    let plain_port = plain.endpoint.strip_prefix("http://").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, &authority.pem).unwrap();
    let tls = ClientTls { ca_file: Some(ca_file), ..ClientTls::default() };
    let message = refusal_from(&over_tls(plain_port, &tls)).await;
    assert!(message.contains("does not speak TLS") && message.contains("`http://`"), "{message}");
}

/// Guarantee: a self-signed certificate that is itself in `ca_file` is trusted, whether or not it says that it is an
/// authority; one of another name, or out of date, is not.
#[tokio::test]
async fn a_self_signed_certificate_is_its_own_authority() {
    let directory = tempfile::tempdir().unwrap();
    for (is_authority, name, expired, delivered) in [
        (true, "127.0.0.1", false, true),
        (false, "127.0.0.1", false, true),
        (true, "elsewhere.example", false, false),
        (true, "127.0.0.1", true, false),
    ] {
        let certificate = crate::authority::Identity::self_signed(is_authority, name, expired);
        let mut next_hop = NextHop::start_tls(server_config(&certificate, None)).await;
        let ca_file = directory.path().join("self.pem");
        std::fs::write(&ca_file, &certificate.pem).unwrap();
        let tls = ClientTls { ca_file: Some(ca_file), ..ClientTls::default() };
        let sidecar = over_tls(next_hop.endpoint.strip_prefix("https://").unwrap(), &tls);
        let client = Client::connect(&sidecar.address).await;
        let mut exported = Box::pin(client.export(frame(0, b"abc")));
        let answer = loop {
            tokio::select! {
                answer = &mut exported => break answer,
                arrived = next_hop.arrived() => drop(arrived.ok()),
            }
        };
        assert_eq!(answer.status(), if delivered { 0 } else { 14 }, "{is_authority} {name} {expired}: {answer:?}");
    }
}
