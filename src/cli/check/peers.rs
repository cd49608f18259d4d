//! Checks other hosts: next hops and the control plane answer, and their clocks agree with the clock of this host.

use jiff::Timestamp;
use tokio::runtime::Runtime;

use super::CheckResult;
use crate::app::probe::{self, PeerAnswer};
use crate::config::{Config, SinkKind};

/// Tolerated clock difference in seconds: `Date` is exact to one second, and responses take some time.
const SKEW: i64 = 30;

pub(super) fn checks(config: &Config, runtime: &Runtime) -> Vec<CheckResult> {
    let (mut checks, mut clocks) = (Vec::new(), Vec::new());
    for sink in &config.sinks {
        let (SinkKind::Otlp(settings) | SinkKind::Vector(settings)) = &sink.kind else { continue };
        let Some(answer) = runtime.block_on(probe::sink(sink)) else { continue };
        let check = format!("sinks.{}: {} answers", sink.id, settings.endpoint);
        checks.push(match answer {
            Ok(answer) => {
                clocks.extend(clock(&settings.endpoint.to_string(), answer));
                CheckResult::ok("next hops", check)
            }
            Err(cause) if sink.required => CheckResult::failed("next hops", check, cause)
                .hint("until it answers, collectors get UNAVAILABLE and keep their events"),
            Err(cause) => {
                CheckResult::warning("next hops", check, cause).hint("the sink is not required: its events are lost")
            }
        });
    }
    if let Some(control) = &config.intel.control {
        let check = format!("intel.control: {} answers", control.endpoint);
        checks.push(match runtime.block_on(probe::control(control)) {
            Ok(answer) => {
                clocks.extend(clock(&control.endpoint.to_string(), answer));
                CheckResult::ok("control plane", check)
            }
            Err(cause) => CheckResult::warning("control plane", check, cause)
                .hint("until it answers, the last good version in the cache stays active"),
        });
    }
    checks.extend(clocks);
    checks
}

fn clock(endpoint: &str, answer: PeerAnswer) -> Option<CheckResult> {
    let difference = Timestamp::now().as_second() - answer.time?.as_second();
    let check = format!("the clock agrees with that of {endpoint}");
    Some(match difference.abs() {
        ..=SKEW => CheckResult::ok("clock", check),
        seconds => {
            let word = if difference > 0 { "ahead of" } else { "behind" };
            CheckResult::warning("clock", check, format!("this host is {seconds} s {word} it"))
                .hint("indicator validity depends on the time: run NTP on both hosts")
        }
    })
}
