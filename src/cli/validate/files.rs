//! Checks the files that a configuration needs: reports whatever would stop `run`, or make an allowlist unusable.

use std::path::Path;

use crate::app;
use crate::config::{self, Config, Endpoint, GrpcSink, HeaderSource, ServerTls, SinkKind};
use crate::feed::allowlist;
use crate::net::tls::{self, TlsError};
use crate::provider::control;
use crate::sink::Headers;

/// Returns all problems, each with the key that names the file. Reads only.
pub(in crate::cli) fn problems(config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    for source in &config.sources {
        problems.extend(certificate(&format!("sources.{}.tls", source.id), source.tls()));
    }
    for sink in &config.sinks {
        let key = format!("sinks.{}", sink.id);
        match &sink.kind {
            SinkKind::Otlp(otlp) | SinkKind::Vector(otlp) => {
                sink_files(&key, otlp, &mut problems);
                let rejected = otlp.rejected.as_ref().map(|rejected| rejected.path.as_path());
                problems.extend(written(&format!("{key}.rejected.path"), rejected));
            }
            SinkKind::Ndjson(ndjson) => problems.extend(written(&format!("{key}.path"), ndjson.path.as_deref())),
            SinkKind::Blackhole => {}
        }
    }
    if let Some(admin) = &config.admin {
        problems.extend(certificate("admin.tls", admin.tls.as_ref()));
    }
    if let Some(probes) = &config.probes {
        problems.extend(certificate("probes.tls", probes.tls.as_ref()));
    }
    if let Some(control) = &config.intel.control {
        control_files(control, &mut problems);
    }
    problems.extend(app::field_table(&config.r#match).err().map(|error| format!("match: {error}")));
    let (_, unusable) = allowlist::load(&config.intel);
    let lists = unusable.iter().filter(|error| error.costs_a_list());
    problems.extend(lists.map(|error| format!("intel.allowlists: {error}")));
    problems
}

fn certificate(key: &str, settings: Option<&ServerTls>) -> Option<String> {
    settings.and_then(|settings| problem(key, tls::Acceptor::load(key, settings, tls::HTTP_2)))
}

fn problem<T>(key: &str, loaded: Result<T, TlsError>) -> Option<String> {
    loaded.err().map(|error| format!("{key}: {error}"))
}

fn sink_files(key: &str, sink: &GrpcSink, problems: &mut Vec<String>) {
    for header in &sink.headers {
        if let HeaderSource::File(from) = &header.value {
            let read = Headers::default().file(header.name.clone(), from.file.clone());
            problems.extend(read.err().map(|error| format!("{key}.headers.{}: {error}", header.name)));
        }
    }
    if let Endpoint::Https { host, .. } = &sink.endpoint {
        let key = format!("{key}.tls");
        problems.extend(problem(&key, tls::Connector::load(&key, &sink.tls.clone().unwrap_or_default(), host)));
    }
}

fn control_files(control: &config::Control, problems: &mut Vec<String>) {
    problems.extend(control::Settings::load(control, "").err().map(|error| error.to_string()));
    if let Endpoint::Https { host, .. } = &control.endpoint {
        let (key, tls) = ("intel.control.tls", control.tls.clone().unwrap_or_default());
        problems.extend(problem(key, tls::Connector::load(key, &tls, host)));
    }
    // A missing cache directory is created.
    if control.cache.exists() {
        let cache = written("intel.control.cache", Some(&control.cache.join("lock")));
        let foreign = || Some(format!("intel.control.cache: {}", control::check_cache(&control.cache).err()?));
        problems.extend(cache.or_else(foreign));
    }
}

/// Checks the directory of a written file: the file itself may not exist yet.
fn written(key: &str, path: Option<&Path>) -> Option<String> {
    let path = path?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let reason = match std::fs::metadata(directory) {
        Ok(found) if !found.is_dir() => "is not a directory".to_owned(),
        Ok(_) if path.is_dir() => return Some(format!("{key}: {} is a directory; give a file", path.display())),
        Ok(_) => return None,
        Err(error) => format!("cannot be used: {error}"),
    };
    Some(format!("{key}: {} {reason}; create the directory, or give another path", directory.display()))
}
