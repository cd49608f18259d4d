//! The files that a configuration names and that must be there when it becomes active.

use std::path::Path;

use super::tls::{ClientTls, ServerTls};
use super::{Config, HeaderSource, SinkKind};

impl Config {
    /// Certificates, keys, authorities, header values and allowlists: what a configuration is refused without. Globs of
    /// allowlists stand as they are written.
    pub fn needed_files(&self) -> Vec<&Path> {
        let mut files = Vec::new();
        let listeners = self.sources.iter().filter_map(|source| source.tls());
        let admin = self.admin.iter().filter_map(|admin| admin.tls.as_ref());
        let probes = self.probes.iter().filter_map(|probes| probes.tls.as_ref());
        listeners.chain(admin).chain(probes).for_each(|tls| files.extend(of_server(tls)));
        for sink in &self.sinks {
            if let SinkKind::Otlp(sink) | SinkKind::Vector(sink) = &sink.kind {
                sink.tls.iter().for_each(|tls| files.extend(of_client(tls)));
                files.extend(sink.headers.iter().filter_map(|header| match &header.value {
                    HeaderSource::File(from) => Some(from.file.as_path()),
                    HeaderSource::Literal(_) => None,
                }));
            }
        }
        if let Some(control) = &self.intel.control {
            files.extend(control.trusted_keys.iter().map(|path| path.as_path()));
            control.tls.iter().for_each(|tls| files.extend(of_client(tls)));
        }
        files.extend(self.intel.allowlists.iter().map(|entry| Path::new(entry.path.as_str())));
        files
    }
}

fn of_server(tls: &ServerTls) -> impl Iterator<Item = &Path> {
    [Some(&tls.cert_file), Some(&tls.key_file), tls.client_ca_file.as_ref()]
        .into_iter()
        .flatten()
        .map(|path| path.as_path())
}

fn of_client(tls: &ClientTls) -> impl Iterator<Item = &Path> {
    [&tls.ca_file, &tls.cert_file, &tls.key_file].into_iter().flatten().map(|path| path.as_path())
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::*;

    /// Guarantee: every key that names a file which a start or a reload reads is in the list.
    #[test]
    fn every_file_that_is_read_is_named() {
        let text = "
sources: { a: { type: otlp, address: '127.0.0.1:1', tls: { cert_file: f1, key_file: f2, client_ca_file: f3 } } }
intel:
  files: ['feed.csv']
  allowlists: ['f4']
  control: { endpoint: 'https://b:1', audience: acme, cache: c, trusted_keys: [f5], tls: { ca_file: f6 } }
sinks:
  s: { type: otlp, inputs: [a], endpoint: 'https://b:2', headers: { x: { file: f7 } }, tls: { ca_file: f8, cert_file: f9, key_file: f10 } }
admin: { address: '127.0.0.1:2', tls: { cert_file: f11, key_file: f12 } }
probes: { address: '0.0.0.0:3', tls: { cert_file: f13, key_file: f14 } }
";
        let config = Config::parse(text, Format::Yaml, &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
        let mut named: Vec<usize> =
            config.needed_files().iter().map(|path| path.to_str().unwrap()[1..].parse().unwrap()).collect();
        named.sort_unstable();
        assert_eq!(named, (1..=14).collect::<Vec<_>>());
    }
}
