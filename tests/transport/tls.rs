//! TLS on both sides: who is served and who is refused, and that certificates are renewed under running connections.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hotlist::config::{Address, ClientTls, Endpoint, ServerTls};
use hotlist::net::tls::{Acceptor, Connector, HTTP_2};
use hotlist::sink::grpc::{GrpcSink, Settings};
use hotlist::sink::{Sink, SinkBackend};
use hotlist::source::Limits;
use hyper::client::conn::http2::Builder;
use hyper_util::rt::TokioExecutor;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};

use crate::authority::{Authority, Identity as Certificate, Offer, server_config};
use crate::client::Client;
use crate::http_client::HttpClient;
use crate::metrics::{self, PATIENCE, closed, until};
use crate::next_hop::NextHop;
use crate::sidecar::{Identity, Sidecar, bind, loopback, otlp};
use crate::wire::frame;

/// A source with TLS whose batches are taken by any sink behind it.
struct Secured {
    sidecar: Sidecar,
    directory: TempDir,
}

async fn start(name: &str, certificate: &Certificate, clients: Option<&Authority>) -> Secured {
    metrics::install();
    let directory = tempfile::tempdir().unwrap();
    let (cert_file, key_file) = certificate.mount(directory.path());
    let client_ca_file = clients.map(|clients| write(directory.path(), "clients.pem", &clients.pem));
    let tls = Acceptor::load(name, &ServerTls { cert_file, key_file, client_ca_file }, HTTP_2).unwrap();
    let next_hop = NextHop::start().await;
    let sinks = [otlp(&next_hop.endpoint, Settings::default())];
    next_hop.accept_all();
    let bound = bind(name, &loopback(), Limits::default(), Identity, sinks).with_tls(tls);
    Secured { sidecar: Sidecar::serve(bound), directory }
}

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    fs::write(directory.join(name), text).unwrap();
    directory.join(name)
}

async fn dial(sidecar: &Sidecar, offer: &Offer<'_>) -> io::Result<TlsStream<TcpStream>> {
    let Address::Tcp(address) = sidecar.address else { panic!("{}", sidecar.address) };
    let stream = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(offer.config()).connect(ServerName::from(address.ip()), stream).await
}

/// The status of one export, or `None` when there is no connection to make it on.
async fn export(sidecar: &Sidecar, offer: &Offer<'_>) -> Option<i32> {
    let stream = dial(sidecar, offer).await.ok()?;
    let client = Client::over(stream, &mut Builder::new(TokioExecutor::new())).await?;
    Some(client.try_export(frame(0, b"x")).await?.status())
}

/// The certificate that a new connection is shown.
async fn shown(sidecar: &Sidecar, authority: &Authority) -> CertificateDer<'static> {
    let stream = dial(sidecar, &Offer::new(authority)).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

/// Guarantee: TLS 1.2 and 1.3 are served, with ALPN `h2` and, as Vector does it, with no ALPN at all. Another protocol,
/// no TLS, and an authority that does not know the sidecar end in the handshake and are counted.
#[tokio::test]
async fn a_source_speaks_tls_only() {
    let (authority, other) = (Authority::new(), Authority::new());
    let secured = start("tls", &authority.sign(), None).await;
    let sidecar = &secured.sidecar;
    for offer in [Offer::new(&authority), Offer::old(&authority), Offer { alpn: &[], ..Offer::new(&authority) }] {
        assert_eq!(export(sidecar, &offer).await, Some(0), "{:?} {:?}", offer.version, offer.alpn);
    }
    assert_eq!(export(sidecar, &Offer { alpn: &[b"http/1.1"], ..Offer::new(&authority) }).await, None);
    until("the protocol is counted", || closed("tls", "tls") == 1.0).await;
    assert_eq!(export(sidecar, &Offer::new(&other)).await, None);
    until("the client's refusal is counted", || closed("tls", "tls") == 2.0).await;
    let Address::Tcp(address) = sidecar.address else { panic!("{}", sidecar.address) };
    let plain = TcpStream::connect(address).await.unwrap();
    let client = Client::over(plain, &mut Builder::new(TokioExecutor::new())).await.unwrap();
    assert!(client.try_export(frame(0, b"x")).await.is_none());
    until("plain text is counted", || closed("tls", "tls") == 3.0).await;
}

/// Guarantee: a source that speaks HTTP/1.1 too offers both by ALPN, and goes by what the client then says, with ALPN or
/// without.
#[tokio::test]
async fn both_protocols_are_spoken_over_tls() {
    let authority = Authority::new();
    let (directory, next_hop) = (tempfile::tempdir().unwrap(), NextHop::start().await);
    let (cert_file, key_file) = authority.sign().mount(directory.path());
    let bound =
        bind("tls-http", &loopback(), Limits::default(), Identity, [otlp(&next_hop.endpoint, Settings::default())]);
    let settings = ServerTls { cert_file, key_file, client_ca_file: None };
    let tls = Acceptor::load("tls-http", &settings, bound.protocols()).unwrap();
    let sidecar = Sidecar::serve(bound.with_tls(tls));
    next_hop.accept_all();
    for alpn in [&[b"http/1.1".as_slice()] as &[_], &[]] {
        let stream = dial(&sidecar, &Offer { alpn, ..Offer::new(&authority) }).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), alpn.first().copied());
        assert_eq!(HttpClient::over(stream).await.export(b"x").await.http, 200);
    }
    for alpn in [&[b"h2".as_slice(), b"http/1.1"] as &[_], &[]] {
        assert_eq!(export(&sidecar, &Offer { alpn, ..Offer::new(&authority) }).await, Some(0));
    }
}

/// Guarantee: with an authority for clients, only a valid certificate of that authority is served.
#[tokio::test]
async fn a_source_wants_the_certificate_of_its_clients() {
    let (authority, other) = (Authority::new(), Authority::new());
    let secured = start("mtls", &authority.sign(), Some(&authority)).await;
    let (good, expired, foreign) = (authority.sign(), authority.sign_expired(), other.sign());
    let offer = |shows| Offer { shows, ..Offer::new(&authority) };
    assert_eq!(export(&secured.sidecar, &offer(Some(&good))).await, Some(0));
    for (count, shows) in [None, Some(&expired), Some(&foreign)].into_iter().enumerate() {
        assert_eq!(export(&secured.sidecar, &offer(shows)).await, None, "{count}");
        until("the refusal is counted", || closed("mtls", "tls") == (count + 1) as f64).await;
    }
    assert_eq!(export(&secured.sidecar, &offer(Some(&good))).await, Some(0));
}

/// Scenario: the certificate is replaced as Kubernetes does it, then by half a file, then by a good one again.
/// Guarantee: new handshakes use each good one, the broken one is counted and changes nothing, and the connection that
/// was open from the beginning stays open.
#[tokio::test]
async fn a_source_renews_its_certificate_under_running_connections() {
    let authority = Authority::new();
    let (first, second, third) = (authority.sign(), authority.sign(), authority.sign());
    let secured = start("renewed", &first, None).await;
    let (sidecar, directory) = (&secured.sidecar, secured.directory.path());
    let stream = dial(sidecar, &Offer::new(&authority)).await.unwrap();
    let old = Client::over(stream, &mut Builder::new(TokioExecutor::new())).await.unwrap();
    assert_eq!(shown(sidecar, &authority).await, first.der());

    let until_shown = async |wanted: &Certificate| {
        let deadline = Instant::now() + PATIENCE;
        while shown(sidecar, &authority).await != wanted.der() {
            assert!(Instant::now() < deadline, "the new certificate is never shown");
        }
    };
    second.mount(directory);
    until_shown(&second).await;
    assert_eq!(old.try_export(frame(0, b"x")).await.unwrap().status(), 0);

    let failed = || metrics::value("hotlist_tls_reloads_total{result=\"failed\"}");
    let before = failed();
    Certificate { pem: third.pem[..third.pem.len() / 2].to_owned(), key: third.key.clone() }.mount(directory);
    let deadline = Instant::now() + PATIENCE;
    while failed() == before {
        assert_eq!(shown(sidecar, &authority).await, second.der());
        assert!(Instant::now() < deadline, "the broken file is never tried");
    }
    assert_eq!(shown(sidecar, &authority).await, second.der());

    third.mount(directory);
    until_shown(&third).await;
    assert_eq!(old.try_export(frame(0, b"x")).await.unwrap().status(), 0);
}

/// A sidecar without TLS in front of a next hop with TLS.
fn to(endpoint: &str, tls: &ClientTls) -> Sidecar {
    metrics::install();
    let Endpoint::Https { host, .. } = Endpoint::parse(endpoint).unwrap() else { panic!("{endpoint}") };
    let sink = GrpcSink::otlp(Endpoint::parse(endpoint).unwrap(), Settings::default());
    let sink = sink.with_tls(Connector::load("next", tls, &host).unwrap());
    let sink = std::sync::Arc::new(Sink::new("next", SinkBackend::Grpc(Box::new(sink))));
    Sidecar::with(Limits::default(), Identity, [sink])
}

fn failures(endpoint: &str) -> f64 {
    ["tls", "lost"]
        .map(|reason| {
            let labels = format!("endpoint=\"{endpoint}\",reason=\"{reason}\"");
            metrics::value(&format!("hotlist_sink_connect_failures_total{{{labels}}}"))
        })
        .iter()
        .sum()
}

/// Guarantee: a sink delivers to a next hop that its authority vouches for, under the endpoint's name or the one that
/// is configured, and with a certificate of its own where one is wanted.
#[tokio::test]
async fn a_sink_delivers_over_tls() {
    let (authority, directory) = (Authority::new(), tempfile::tempdir().unwrap());
    let (cert_file, key_file) = authority.sign().mount(directory.path());
    let ca_file = Some(write(directory.path(), "ca.pem", &authority.pem));
    let ours = ClientTls { ca_file, cert_file: Some(cert_file), key_file: Some(key_file), server_name: None };
    let named = ClientTls { server_name: Some("next.example".to_owned()), ..ours.clone() };
    for (certificate, tls) in [(authority.sign(), &ours), (authority.sign_name("next.example"), &named)] {
        let mut next_hop = NextHop::start_tls(server_config(&certificate, Some(&authority))).await;
        let sidecar = to(&next_hop.endpoint, tls);
        let client = Client::connect(&sidecar.address).await;
        let (answer, scheme) = tokio::join!(client.export(frame(0, b"x")), async {
            let arrived = next_hop.arrived().await;
            let scheme = arrived.head.uri.scheme_str().map(str::to_owned);
            arrived.ok();
            scheme
        });
        assert_eq!((answer.status(), scheme.as_deref()), (0, Some("https")), "{answer:?}");
    }
}

/// Guarantee: a next hop of another authority, with an expired certificate or of another name is not sent anything, nor
/// is one that does not accept our certificate; the collector gets UNAVAILABLE with the reason, and it is counted.
#[tokio::test]
async fn a_sink_refuses_the_wrong_next_hop() {
    let (authority, other, directory) = (Authority::new(), Authority::new(), tempfile::tempdir().unwrap());
    let trusting =
        ClientTls { ca_file: Some(write(directory.path(), "ca.pem", &authority.pem)), ..ClientTls::default() };
    let cases = [
        ("BadSignature", server_config(&other.sign(), None)),
        ("xpired", server_config(&authority.sign_expired(), None)),
        ("not valid for name", server_config(&authority.sign_name("elsewhere.example"), None)),
        ("ertificateRequired", server_config(&authority.sign(), Some(&authority))),
    ];
    for (reason, config) in cases {
        let mut next_hop = NextHop::start_tls(config).await;
        let sidecar = to(&next_hop.endpoint, &trusting);
        let client = Client::connect(&sidecar.address).await;
        let answer = client.export(frame(0, b"x")).await;
        assert_eq!(answer.status(), 14);
        assert!(answer.message().contains(reason), "{reason}: {answer:?}");
        // A connection that was lost after the handshake is found to be so by the next request.
        assert_eq!(client.export(frame(0, b"x")).await.status(), 14);
        assert!(failures(&next_hop.endpoint) >= 1.0, "{reason}");
        assert!(next_hop.is_idle(), "{reason}");
    }
}

/// Scenario: a sink does not know the authority of the next hop, until its file is replaced. Guarantee: delivery begins
/// by itself.
#[tokio::test]
async fn a_sink_learns_a_new_authority() {
    let (authority, other, directory) = (Authority::new(), Authority::new(), tempfile::tempdir().unwrap());
    let ca_file = write(directory.path(), "ca.pem", &other.pem);
    let next_hop = NextHop::start_tls(server_config(&authority.sign(), None)).await;
    let sidecar = to(&next_hop.endpoint, &ClientTls { ca_file: Some(ca_file.clone()), ..ClientTls::default() });
    next_hop.accept_all();
    let client = Client::connect(&sidecar.address).await;
    assert_eq!(client.export(frame(0, b"x")).await.status(), 14);
    write(directory.path(), "ca.next", &authority.pem);
    fs::rename(directory.path().join("ca.next"), ca_file).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while client.export(frame(0, b"x")).await.status() != 0 {
        assert!(Instant::now() < deadline, "the new authority is never used");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Guarantee: files that cannot be used stop the start with the path and what to do.
#[tokio::test]
async fn bad_files_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = Authority::new().sign();
    let good = write(directory.path(), "good.pem", &certificate.pem);
    let key = write(directory.path(), "good.key", &certificate.key);
    let other = write(directory.path(), "other.key", &Authority::new().sign().key);
    let empty = write(directory.path(), "empty.pem", "");
    let missing = directory.path().join("missing.pem");
    for (cert_file, key_file, at, why) in [
        (&missing, &key, &missing, "cannot read the file"),
        (&empty, &key, &empty, "no certificate in this file"),
        (&good, &empty, &empty, "no private key in this file"),
        (&good, &other, &good, "cannot use this file"),
    ] {
        let tls = ServerTls { cert_file: cert_file.clone(), key_file: key_file.clone(), client_ca_file: None };
        let error = Acceptor::load("test", &tls, HTTP_2).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: {why}", at.display())), "{error}");
    }
    let error = Connector::load("test", &ClientTls::default(), "not a name").unwrap_err().to_string();
    assert!(error.contains("set `tls.server_name`"), "{error}");
}
