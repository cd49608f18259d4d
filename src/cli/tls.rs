//! The TLS options of commands that connect to a running process.

use super::args::ClientTlsArgs;
use crate::config::{ClientTls, Endpoint};
use crate::net::tls::{Connector, Protocols};

/// Loads the files for an `https` endpoint; `None` for another one.
///
/// # Errors
/// The files cannot be used, or are given for an endpoint without TLS.
pub(super) fn connector(
    of: &str,
    args: &ClientTlsArgs,
    endpoint: &Endpoint,
    protocols: Protocols,
) -> anyhow::Result<Option<Connector>> {
    let ClientTlsArgs { ca_file, cert_file, key_file } = args.clone();
    if let Endpoint::Https { host, .. } = endpoint {
        let settings = ClientTls { ca_file, cert_file, key_file, server_name: None };
        return Ok(Some(Connector::load_for(of, &settings, host, protocols)?));
    }
    let given = [("--ca-file", ca_file), ("--cert-file", cert_file), ("--key-file", key_file)];
    match given.into_iter().find(|(_, file)| file.is_some()) {
        Some((name, _)) => anyhow::bail!("{name}: {endpoint} has no TLS; give an `https://` address, or leave it out"),
        None => Ok(None),
    }
}
