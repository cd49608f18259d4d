//! Access with certificates, and the data that a certificate opens to its bearer.

use std::time::Duration;

use hotlist::config::{Address, ServerTls};
use hotlist::controlplane::server::{Limits, Server, ServerError};
use hotlist::proto::control::v1::Slot;
use tokio::time::{sleep, timeout};
use tonic::Code;

use crate::certificates::{Authority, Identity, connect, write};
use crate::common::{Agent, PATIENCE, Plane, Scene, list};
use crate::fetch::fetch;

const A: &str = "spiffe://example.org/tenant/a";
const B: &str = "spiffe://example.org/tenant/b/node/n1";
const ADMIN: &str = "spiffe://example.org/role/admin";

async fn start(scene: &Scene, authority: &Authority) -> Plane {
    let tls = authority.files(scene.path(), &authority.sign());
    Plane::start_with(scene, Some(&tls)).await
}

async fn agent(plane: &Plane, authority: &Authority, identity: &Identity, labels: &[(&str, &str)]) -> Agent {
    let channel = connect(&plane.address, authority, Some(identity)).await.unwrap();
    Agent::open(channel, "n1", labels).await
}

/// Scenario: tenants A and B with publications and segments of their own; a node of A says in its labels that it is of
/// B. Guarantee: the certificate counts: it gets A's manifest and segment, and B's segment is not there for it.
#[tokio::test]
async fn a_tenant_sees_nothing_of_another() {
    let scene = Scene::new();
    let [of_a, of_b, of_all] = [&b"for A"[..], b"for B", b"for all"].map(|content| scene.segment(content));
    scene.publish("a", &[("tenant", "a")], &[of_a]);
    scene.publish("b", &[("tenant", "b")], &[of_b]);
    scene.publish("b-eu", &[("tenant", "b"), ("zone", "eu")], &[of_b]);
    scene.publish("all", &[], &[of_all]);
    let authority = Authority::new();
    let plane = start(&scene, &authority).await;
    for (uri, version, sees, not) in [(A, 1, of_a, of_b), (B, 2, of_b, of_a)] {
        let identity = authority.client(&[uri]);
        let mut node = agent(&plane, &authority, &identity, &[("tenant", "b"), ("colour", "red")]).await;
        node.ask(Slot::Serve, 0, 0).await;
        assert_eq!(node.next_version().await, (Slot::Serve, version), "{uri}");
        let channel = connect(&plane.address, &authority, Some(&identity)).await.unwrap();
        assert!(fetch(channel.clone(), &sees.digest.0, 0).await.is_ok());
        assert!(fetch(channel.clone(), &of_all.digest.0, 0).await.is_ok());
        assert_eq!(fetch(channel, &not.digest.0, 0).await.unwrap_err().code(), Code::NotFound);
    }
    let admin = connect(&plane.address, &authority, Some(&authority.client(&[ADMIN]))).await.unwrap();
    let nodes = list(admin).await.unwrap();
    let seen: Vec<_> =
        nodes.iter().map(|node| (node.tenant.as_str(), node.node.as_ref().unwrap().name.as_str())).collect();
    assert_eq!(seen, [("a", "n1"), ("b", "n1")]);
    assert_eq!(nodes[0].node.as_ref().unwrap().labels["tenant"], "a");
}

/// Scenario: certificates of another authority, none, and one whose time is over. Guarantee: none gets in.
#[tokio::test]
async fn a_certificate_of_another_authority_or_time_is_refused() {
    let scene = Scene::new();
    scene.publish("all", &[], &[]);
    let (authority, stranger) = (Authority::new(), Authority::new());
    let plane = start(&scene, &authority).await;
    let (foreign, expired) = (stranger.client(&[A]), authority.expired(&[A]));
    for (what, shows) in [("another authority", Some(&foreign)), ("expired", Some(&expired)), ("none", None)] {
        // With TLS 1.3 a client learns of it at its first read only.
        let Ok(channel) = connect(&plane.address, &authority, shows).await else { continue };
        let error = list(channel).await.expect_err(what);
        assert!(matches!(error.code(), Code::Unavailable | Code::Unknown | Code::Internal), "{what}: {error}");
    }
    let error = connect(&plane.address, &stranger, Some(&authority.client(&[A]))).await.unwrap_err();
    assert!(error.contains("InvalidCertificate"), "the server is checked, too: {error}");
}

/// Scenario: certificates without a tenant, with two, with one that is no name; one of a tenant that calls as an
/// operator. Guarantee: PERMISSION_DENIED with what the certificate lacks.
#[tokio::test]
async fn a_certificate_gives_what_it_names_and_no_more() {
    let scene = Scene::new();
    let segment = scene.segment(b"x");
    scene.publish("all", &[], &[segment]);
    let authority = Authority::new();
    let plane = start(&scene, &authority).await;
    for (uris, words) in [
        (&[][..], "names no tenant"),
        (&["https://example.org/tenant/a"], "names no tenant"),
        (&[ADMIN], "names no tenant"),
        (&[A, B], "several tenants"),
        (&["spiffe://example.org/tenant/.."], "is not of the form"),
    ] {
        let channel = connect(&plane.address, &authority, Some(&authority.client(uris))).await.unwrap();
        let sync = Agent::try_open(channel.clone(), "n1", &[("tenant", "a")]).await.err().unwrap();
        let fetched = fetch(channel, &segment.digest.0, 0).await.unwrap_err();
        for status in [sync, fetched] {
            assert_eq!(status.code(), Code::PermissionDenied, "{uris:?}");
            assert!(status.message().contains(words), "{uris:?}: {status}");
        }
    }
    let of_a = connect(&plane.address, &authority, Some(&authority.client(&[A]))).await.unwrap();
    let status = list(of_a).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("URI:spiffe://<trust domain>/role/admin"), "{status}");
    let both = connect(&plane.address, &authority, Some(&authority.client(&[A, ADMIN]))).await.unwrap();
    assert!(list(both).await.unwrap().is_empty());
}

/// Scenario: the server's certificate and the authority of clients are replaced while a stream is open. Guarantee: new
/// connections use the new ones, and the stream continues.
#[tokio::test]
async fn renewed_certificates_are_used_without_a_restart() {
    let scene = Scene::new();
    scene.publish("all", &[], &[]);
    let (old, new) = (Authority::new(), Authority::new());
    let plane = start(&scene, &old).await;
    let mut node = agent(&plane, &old, &old.client(&[A]), &[]).await;
    node.ask(Slot::Serve, 0, 0).await;
    let response = node.next().await;
    let server = new.sign();
    for (name, content) in [("ca.pem", &new.pem), ("server.pem", &server.pem), ("server.key", &server.key)] {
        write(scene.path(), name, content);
    }
    let renewed = async {
        loop {
            let identity = new.client(&[A, ADMIN]);
            if let Ok(channel) = connect(&plane.address, &new, Some(&identity)).await
                && list(channel).await.is_ok()
            {
                return;
            }
            // Files are looked at once a second, at a handshake.
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, renewed).await.expect("the new certificates are not used");
    node.ack(&response).await;
    scene.publish("all", &[], &[]);
    assert_eq!(node.next_version().await, (Slot::Serve, 2));
}

/// Scenario: the client's certificate expires while its stream is open. Guarantee: the stream ends with that reason, and
/// so does the next call on the connection.
#[tokio::test]
async fn a_connection_is_worth_no_more_than_its_certificate() {
    let scene = Scene::new();
    scene.publish("all", &[], &[]);
    let authority = Authority::new();
    let plane = start(&scene, &authority).await;
    let channel = connect(&plane.address, &authority, Some(&authority.short(&[A, ADMIN], 3))).await.unwrap();
    let mut node = Agent::open(channel.clone(), "n1", &[]).await;
    node.ask(Slot::Serve, 0, 0).await;
    assert_eq!(node.next_version().await, (Slot::Serve, 1));
    let status = node.try_next().await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    let status = list(channel).await.unwrap_err();
    assert!(status.code() == Code::PermissionDenied && status.message().contains("expired"), "{status}");
}

/// Scenario: an address that other hosts can reach, without client certificates. Guarantee: nothing is bound, and the
/// error says how to fix it; with client certificates the server starts.
#[tokio::test]
async fn an_open_address_needs_client_certificates() {
    let scene = Scene::new();
    let authority = Authority::new();
    let with = authority.files(scene.path(), &authority.sign());
    let without = ServerTls { client_ca_file: None, ..with.clone() };
    for address in ["0.0.0.0:0", "[::]:0"] {
        let address = Address::parse(address).unwrap();
        for tls in [None, Some(&without)] {
            let error = Server::bind(scene.store.clone(), &address, tls, Limits::default()).await.err().unwrap();
            assert!(matches!(&error, ServerError::Open(open) if *open == address), "{error}");
            assert!(error.to_string().contains("--tls-client-ca"), "{error}");
        }
    }
    let address = Address::parse("0.0.0.0:0").unwrap();
    assert!(Server::bind(scene.store.clone(), &address, Some(&with), Limits::default()).await.is_ok());
}
