//! `hotlist check`: checks everything that must work before and while a configuration runs.
//!
//! Nothing is changed: addresses are bound briefly, next hops receive a request without events, files are read.

mod indicators;
mod local;
mod peers;

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use super::args::CheckArgs;
use super::{Failure, validate};
use crate::config::Config;
use crate::counted::count;
use crate::escape::Escaped;

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Warning,
    Failed,
}

#[derive(Debug, Serialize)]
struct CheckResult {
    category: &'static str,
    /// The checked condition, as a sentence that is true if the check passes.
    check: String,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// How to fix the problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl CheckResult {
    fn ok(category: &'static str, check: impl Into<String>) -> CheckResult {
        CheckResult { category, check: check.into(), status: Status::Ok, detail: None, hint: None }
    }

    fn warning(category: &'static str, check: impl Into<String>, detail: impl Into<String>) -> CheckResult {
        CheckResult { status: Status::Warning, detail: Some(detail.into()), ..CheckResult::ok(category, check) }
    }

    fn failed(category: &'static str, check: impl Into<String>, detail: impl Into<String>) -> CheckResult {
        CheckResult { status: Status::Failed, detail: Some(detail.into()), ..CheckResult::ok(category, check) }
    }

    fn hint(self, hint: impl Into<String>) -> CheckResult {
        CheckResult { hint: Some(hint.into()), ..self }
    }
}

pub(super) fn run(
    args: &CheckArgs,
    environment: &dyn Fn(&str) -> Option<String>,
    seed: u64,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let config = Config::load(&args.config, environment)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let mut checks = Vec::new();
    let mut printer = Printer { out, json: args.json, category: "" };
    let mut show = |found: Vec<CheckResult>| -> Result<(), Failure> {
        found.iter().try_for_each(|check| printer.check(check)).map_err(Failure::of_output)?;
        checks.extend(found);
        Ok(())
    };
    show(configuration(&args.config, &config))?;
    show(local::addresses(&config, &runtime))?;
    show(local::certificates(&config))?;
    show(indicators::checks(&config, seed))?;
    show(local::disks(&config))?;
    show(local::descriptors(&config))?;
    show(peers::checks(&config, &runtime))?;
    let of = |status| checks.iter().filter(|check| check.status == status).count() as u64;
    let (failed, warnings) = (of(Status::Failed), of(Status::Warning));
    printer.end(&checks, failed, warnings).map_err(Failure::of_output)?;
    match failed {
        0 => Ok(()),
        failed => Err(Failure::Other(anyhow::anyhow!("{} failed", count(failed, "check", "checks")))),
    }
}

fn configuration(path: &Path, config: &Config) -> Vec<CheckResult> {
    const CATEGORY: &str = "configuration";
    let mut checks = vec![CheckResult::ok(CATEGORY, format!("{} is valid", path.display()))];
    let problems = validate::problems(config);
    if problems.is_empty() {
        checks.push(CheckResult::ok(CATEGORY, "every required file can be used"));
    }
    checks.extend(problems.into_iter().map(|problem| {
        let (key, problem) = problem.split_once(": ").unwrap_or(("a file", &problem));
        CheckResult::failed(CATEGORY, format!("{key} can be used"), problem)
    }));
    checks
}

/// Prints checks as they complete, grouped by category, or all at the end as JSON.
struct Printer<'a> {
    out: &'a mut dyn Write,
    json: bool,
    category: &'static str,
}

impl Printer<'_> {
    fn check(&mut self, check: &CheckResult) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        if self.category != check.category {
            let blank = if self.category.is_empty() { "" } else { "\n" };
            self.category = check.category;
            writeln!(self.out, "{blank}{}\n{}", check.category, "-".repeat(check.category.len()))?;
        }
        let tick = match check.status {
            Status::Ok => "√",
            Status::Warning => "‼",
            Status::Failed => "×",
        };
        writeln!(self.out, "{tick} {}", Escaped(&check.check))?;
        if let Some(detail) = &check.detail {
            writeln!(self.out, "    {}", Escaped(detail))?;
        }
        if let Some(hint) = &check.hint {
            writeln!(self.out, "    hint: {}", Escaped(hint))?;
        }
        self.out.flush()
    }

    fn end(&mut self, checks: &[CheckResult], failed: u64, warnings: u64) -> io::Result<()> {
        if self.json {
            let report = serde_json::json!({ "failed": failed, "warnings": warnings, "checks": checks });
            return writeln!(self.out, "{report}").and_then(|()| self.out.flush());
        }
        let tick = if failed > 0 { "×" } else { "√" };
        let warnings = match warnings {
            0 => String::new(),
            warnings => format!(", {}", count(warnings, "warning", "warnings")),
        };
        let all = count(checks.len() as u64, "check", "checks");
        writeln!(self.out, "\nstatus: {tick} {all}, {failed} failed{warnings}").and_then(|()| self.out.flush())
    }
}
