//! `tls`: certificates of listeners and of the connections to next hops. All are PEM files that are loaded again when
//! they change.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::reader::Item;

/// TLS of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ServerTls {
    /// The certificate, with its chain, in PEM. The files are reloaded when they change.
    pub cert_file: PathBuf,
    /// Its private key in PEM, not encrypted.
    pub key_file: PathBuf,
    /// The authorities of clients in PEM. When set, a client without a certificate of one of them is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<PathBuf>,
}

/// TLS towards a next hop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(
    deny_unknown_fields,
    extend("dependentRequired" = { "cert_file": ["key_file"], "key_file": ["cert_file"] })
)]
pub struct ClientTls {
    /// The authorities of the next hop in PEM. Absent: the system's authorities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The client certificate, with its chain, in PEM, for a next hop that requires one. The files are reloaded when they change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// Its private key in PEM, not encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// The name that the next hop's certificate must have. Absent: the host of `endpoint`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

impl ServerTls {
    pub(super) const KEYS: &[&'static str] = &["cert_file", "key_file", "client_ca_file"];

    pub(super) fn read(item: &Item<'_>) -> Option<ServerTls> {
        let table = item.table(ServerTls::KEYS)?;
        // Each is read before any is missed, so that all problems are reported together.
        let cert_file = table.required("cert_file", "the path of a PEM file").and_then(|item| path(&item));
        let key_file = table.required("key_file", "the path of a PEM file").and_then(|item| path(&item));
        let client_ca_file = table.get("client_ca_file").map(|item| path(&item));
        // A list of authorities that cannot be read must not mean that none is asked for.
        let client_ca_file = match client_ca_file {
            None => None,
            Some(path) => Some(path?),
        };
        Some(ServerTls { cert_file: cert_file?, key_file: key_file?, client_ca_file })
    }
}

impl ClientTls {
    pub(super) const KEYS: &[&'static str] = &["ca_file", "cert_file", "key_file", "server_name"];

    pub(super) fn read(item: &Item<'_>) -> Option<ClientTls> {
        let table = item.table(ClientTls::KEYS)?;
        let file = |key| table.get(key).and_then(|item| path(&item));
        let tls = ClientTls {
            ca_file: file("ca_file"),
            cert_file: file("cert_file"),
            key_file: file("key_file"),
            server_name: table.get("server_name").and_then(|item| item.text()),
        };
        const WANTED: &str = "the path of a PEM file, or leave out both the certificate and its key";
        match (table.get("cert_file"), table.get("key_file")) {
            (Some(_), None) => drop(table.required("key_file", WANTED)),
            (None, Some(_)) => drop(table.required("cert_file", WANTED)),
            _ => {}
        }
        Some(tls)
    }
}

fn path(item: &Item<'_>) -> Option<PathBuf> {
    item.parsed("the path of a PEM file", |text| match text {
        _ if text.contains('\0') => Err("has a NUL character, which no path can have".to_owned()),
        _ if text.ends_with('/') => Err("is a directory; give the path of a PEM file".to_owned()),
        _ => Ok(PathBuf::from(text)),
    })
}
