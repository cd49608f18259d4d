//! Checks this host: free addresses, valid certificates, disk space, file descriptors.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::{Access, access, statvfs};
use rustix::process::{Resource, getrlimit};
use tokio::runtime::Runtime;

use super::CheckResult;
use crate::app;
use crate::cli::admin;
use crate::config::{Address, ClientTls, Config, ServerTls, SinkKind};
use crate::net::{socket, tls};

/// A certificate that expires within this time is a warning.
const EXPIRES_SOON: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Less free space than this is a warning.
const LITTLE_SPACE: u64 = 1 << 30;
/// Less free space than this is a failure.
const NO_SPACE: u64 = 64 << 20;

/// Checks that each address can be bound, or is bound by a running sidecar.
pub(super) fn addresses(config: &Config, runtime: &Runtime) -> Vec<CheckResult> {
    let admin = config.admin.as_ref().map(|admin| &admin.address);
    let is_running = admin.is_some_and(|address| runtime.block_on(admin::is_alive(address)));
    let sources = config.sources.iter().map(|source| (format!("sources.{}", source.id), source.address()));
    let probes = config.probes.as_ref().map(|probes| ("probes".to_owned(), &probes.address));
    let all = sources.chain(admin.map(|address| ("admin".to_owned(), address))).chain(probes);
    all.map(|(key, address)| free(&key, address, is_running)).collect()
}

fn free(key: &str, address: &Address, is_running: bool) -> CheckResult {
    const CATEGORY: &str = "addresses";
    let check = format!("{key}: {address} can be bound");
    let bound = match address {
        Address::Tcp(address) => TcpListener::bind(address).map(drop),
        Address::Unix(path) => unix(path),
    };
    match bound {
        Ok(()) => CheckResult::ok(CATEGORY, check),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && is_running => {
            CheckResult::ok(CATEGORY, format!("{key}: {address} is bound, and a sidecar answers at admin.address"))
        }
        Err(error) => CheckResult::failed(CATEGORY, check, error.to_string()).hint(match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                format!("end the process that listens there (`ss -lptn`), or set another `{key}.address`")
            }
            std::io::ErrorKind::AddrNotAvailable => {
                format!(
                    "this host does not have that address: set `{key}.address` to one of `ip address`, or to 0.0.0.0"
                )
            }
            std::io::ErrorKind::PermissionDenied => {
                format!("set `{key}.address` to a port above 1023, or give the process CAP_NET_BIND_SERVICE")
            }
            _ => format!("set another `{key}.address`"),
        }),
    }
}

/// Checks the path and the directory of a socket: the socket of a process that ended or is shutting down is replaced at
/// the start.
fn unix(path: &Path) -> std::io::Result<()> {
    socket::unix::check(path)?;
    writable(directory_of(path))
}

fn writable(directory: &Path) -> std::io::Result<()> {
    Ok(access(directory, Access::WRITE_OK | Access::EXEC_OK)?)
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Checks that each certificate is valid, and for how long.
pub(super) fn certificates(config: &Config) -> Vec<CheckResult> {
    let mut files: Vec<(String, PathBuf)> = Vec::new();
    let mut server = |key: &str, tls: Option<&ServerTls>| {
        if let Some(tls) = tls {
            files.push((format!("{key}.tls.cert_file"), tls.cert_file.clone()));
            files.extend(tls.client_ca_file.clone().map(|file| (format!("{key}.tls.client_ca_file"), file)));
        }
    };
    config.sources.iter().for_each(|source| server(&format!("sources.{}", source.id), source.tls()));
    server("admin", config.admin.as_ref().and_then(|admin| admin.tls.as_ref()));
    server("probes", config.probes.as_ref().and_then(|probes| probes.tls.as_ref()));
    let mut client = |key: &str, tls: Option<&ClientTls>| {
        if let Some(tls) = tls {
            files.extend(tls.cert_file.clone().map(|file| (format!("{key}.tls.cert_file"), file)));
            files.extend(tls.ca_file.clone().map(|file| (format!("{key}.tls.ca_file"), file)));
        }
    };
    for sink in &config.sinks {
        if let SinkKind::Otlp(settings) | SinkKind::Vector(settings) = &sink.kind {
            client(&format!("sinks.{}", sink.id), settings.tls.as_ref());
        }
    }
    client("intel.control", config.intel.control.as_ref().and_then(|control| control.tls.as_ref()));
    files.iter().map(|(key, file)| certificate(key, file, Timestamp::now())).collect()
}

fn certificate(key: &str, file: &Path, now: Timestamp) -> CheckResult {
    const CATEGORY: &str = "certificates";
    let check = format!("{key}: {} is valid", file.display());
    let bounds = match tls::validities(file) {
        Ok(bounds) => bounds,
        Err(error) => return CheckResult::failed(CATEGORY, check, error.to_string()),
    };
    // A chain is valid while all of its certificates are, a list of authorities while any of them is.
    let is_chain = key.ends_with("cert_file");
    let (from, until) = bounds
        .into_iter()
        .reduce(|all, one| match is_chain {
            true => (all.0.max(one.0), all.1.min(one.1)),
            false => (all.0.min(one.0), all.1.max(one.1)),
        })
        .unwrap_or_default();
    let time = |seconds| Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    let (from, until) = (time(from), time(until));
    if now < from {
        return CheckResult::failed(CATEGORY, check, format!("it is not valid before {from}"))
            .hint("check the clock of this host");
    }
    let renew = "renew the certificate; a changed file is used without a restart";
    match until.duration_since(now) {
        left if left.is_negative() || left.is_zero() => {
            CheckResult::failed(CATEGORY, check, format!("it expired at {until}")).hint(renew)
        }
        left if left.unsigned_abs() < EXPIRES_SOON => {
            CheckResult::warning(CATEGORY, check, format!("it expires at {until}")).hint(renew)
        }
        _ => CheckResult::ok(CATEGORY, format!("{check} until {until}")),
    }
}

/// Checks that the directories of written files are writable and have free space.
pub(super) fn disks(config: &Config) -> Vec<CheckResult> {
    let mut written: Vec<(String, PathBuf)> = Vec::new();
    for sink in &config.sinks {
        match &sink.kind {
            SinkKind::Ndjson(ndjson) => {
                written.extend(ndjson.path.clone().map(|path| (format!("sinks.{}.path", sink.id), path)))
            }
            SinkKind::Otlp(settings) | SinkKind::Vector(settings) => written.extend(
                settings.rejected.iter().map(|file| (format!("sinks.{}.rejected", sink.id), file.path.clone())),
            ),
            SinkKind::Blackhole => {}
        }
    }
    let control = config.intel.control.iter();
    written.extend(control.map(|control| ("intel.control.cache".to_owned(), control.cache.join("segments"))));
    written.iter().map(|(key, path)| disk(key, path)).collect()
}

fn disk(key: &str, path: &Path) -> CheckResult {
    const CATEGORY: &str = "disks";
    // A missing cache is created: check the nearest existing directory.
    let mut directory = directory_of(path);
    while key == "intel.control.cache" && !directory.exists() && directory != directory_of(directory) {
        directory = directory_of(directory);
    }
    let check = format!("{key}: {} can be written and has space", directory.display());
    if let Err(error) = writable(directory) {
        return CheckResult::failed(CATEGORY, check, error.to_string())
            .hint(format!("make the directory for the user of this process, or set another `{key}`"));
    }
    let space = match statvfs(directory) {
        Ok(found) => found.f_bavail.saturating_mul(found.f_frsize),
        Err(error) => return CheckResult::warning(CATEGORY, check, std::io::Error::from(error).to_string()),
    };
    let detail = format!("{} MiB are free", space >> 20);
    let hint = "free some disk space: while the disk is full, events are refused and collectors retry";
    match space {
        ..NO_SPACE => CheckResult::failed(CATEGORY, check, detail).hint(hint),
        NO_SPACE..LITTLE_SPACE => CheckResult::warning(CATEGORY, check, detail).hint(hint),
        _ => CheckResult::ok(CATEGORY, format!("{check}: {} GiB", space >> 30)),
    }
}

/// Checks that the process may open as many file descriptors as the limits need.
pub(super) fn descriptors(config: &Config) -> Vec<CheckResult> {
    let needed = app::descriptors::wanted(config);
    let limit = getrlimit(Resource::Nofile).maximum;
    let check = format!("{needed} file descriptors may be open");
    vec![match limit {
        Some(limit) if limit < needed => CheckResult::warning(
            "limits",
            check,
            format!("the hard limit is {limit}: sources accept fewer connections"),
        )
        .hint("raise it (`ulimit -Hn`, `LimitNOFILE=` of systemd), or lower `limits.max_connections`"),
        _ => CheckResult::ok("limits", check),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::Status;

    /// Guarantee: an address in use fails with a hint, one that is bound by a running sidecar passes, a free one passes.
    #[test]
    fn an_address_is_free_or_taken_by_a_sidecar() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Tcp(taken.local_addr().unwrap());
        let failed = free("sources.a", &address, false);
        assert_eq!(failed.status, Status::Failed);
        assert!(failed.hint.unwrap().contains("`sources.a.address`"));
        assert_eq!(free("sources.a", &address, true).status, Status::Ok);
        drop(taken);
        assert_eq!(free("sources.a", &address, false).status, Status::Ok);
        let missing = Address::Unix("/nowhere/at/all.sock".into());
        assert_eq!(free("admin", &missing, false).status, Status::Failed);
    }

    /// Guarantee: a certificate is checked at its bounds.
    #[test]
    fn a_certificate_is_valid_expires_soon_or_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("cert.pem");
        let key = rcgen::KeyPair::generate().unwrap();
        let mut of = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
        of.not_before = rcgen::date_time_ymd(2026, 1, 1);
        of.not_after = rcgen::date_time_ymd(2026, 12, 1);
        std::fs::write(&file, of.self_signed(&key).unwrap().pem()).unwrap();
        let at = |time: &str| certificate("k.cert_file", &file, time.parse().unwrap()).status;
        assert_eq!(at("2025-12-31T23:59:59Z"), Status::Failed);
        assert_eq!(at("2026-06-01T00:00:00Z"), Status::Ok);
        assert_eq!(at("2026-11-15T00:00:00Z"), Status::Warning);
        assert_eq!(at("2026-12-01T00:00:01Z"), Status::Failed);
    }
}
