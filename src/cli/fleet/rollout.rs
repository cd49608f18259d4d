//! The report of `hotlist publish`, `promote` and `rollback`: the publication, and with `--wait` how nodes respond to
//! it, read from the store.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use jiff::{Span, SpanRelativeTo, Timestamp};
use serde_json::{Value, json};

use crate::cli::args::WaitArgs;
use crate::cli::{Failure, progress};
use crate::counted;
use crate::escape::Escaped;
use crate::store::{NodeProgress, NodeRecord, Publication, Rollout, Store};

/// The pause between two reads of the store, to which control planes write a node's state once per second.
const PAUSE: Duration = Duration::from_millis(500);
/// The maximum length of a shown reason, in characters.
const EXCERPT: usize = 200;

/// Returns how long to wait; `None` for not at all.
pub(super) fn timeout(args: &WaitArgs) -> anyhow::Result<Option<Duration>> {
    if !args.wait {
        return Ok(None);
    }
    let text = &args.timeout;
    let wanted = || format!("--timeout {text}: give a time, e.g. `2m` or `30s`");
    let span: Span = text.parse().with_context(wanted)?;
    let time = span.to_duration(SpanRelativeTo::days_are_24_hours()).with_context(wanted)?;
    let time = Duration::try_from(time).ok().filter(|time| !time.is_zero());
    time.map(Some).with_context(wanted)
}

/// Shows the publication; then, with a time, waits until the roll-out is over, and shows its result. As JSON, each is an
/// object on a line of its own.
pub(super) fn report(
    store: &Store,
    publication: &Publication,
    waits: Option<Duration>,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let published = if json { writeln!(out, "{}", publication_json(publication)) } else { announce(publication, out) };
    // The publication is reported before anything is waited for.
    published.and_then(|()| out.flush()).map_err(Failure::of_output)?;
    let Some(waits) = waits else { return Ok(()) };
    let (bar, start) = (progress::bar(0, "nodes answered"), Instant::now());
    let rollout = loop {
        let rollout = store.rollout(publication, Timestamp::now()).map_err(anyhow::Error::new)?;
        bar.set_length(rollout.nodes.len() as u64);
        bar.set_position((rollout.nodes.len() - rollout.count(NodeProgress::Waiting)) as u64);
        if rollout.is_over() || start.elapsed() >= waits {
            break rollout;
        }
        std::thread::sleep(PAUSE.min(waits.saturating_sub(start.elapsed())));
    };
    bar.finish_and_clear();
    let (failure, now) = (failure(publication, &rollout, waits), Timestamp::now());
    let shown = match json {
        true => writeln!(out, "{}", rollout_json(publication, &rollout, failure.as_deref(), now)),
        false => show(publication, &rollout, now, out),
    };
    shown.and_then(|()| out.flush()).map_err(Failure::of_output)?;
    match failure {
        Some(failure) => Err(Failure::Other(anyhow!("{failure}"))),
        None => Ok(()),
    }
}

fn announce(publication: &Publication, out: &mut dyn Write) -> io::Result<()> {
    let Publication { name, manifest, signatures, .. } = publication;
    let signed = signatures.first().map_or_else(|| "not signed".to_owned(), |of| format!("signed by {}", of.key_id));
    let (version, mode, audience) = (manifest.version, manifest.mode, &manifest.audience);
    let segments = counted::count(manifest.segments.len() as u64, "segment", "segments");
    writeln!(out, "{name} {mode} version {version} for {audience}: {segments}, {signed}")
}

fn publication_json(publication: &Publication) -> Value {
    let Publication { name, manifest, signatures, .. } = publication;
    let keys: Vec<&str> = signatures.iter().map(|signature| signature.key_id.as_str()).collect();
    json!({
        "type": "publication",
        "name": name.as_str(),
        "mode": manifest.mode.as_str(),
        "version": manifest.version,
        "audience": manifest.audience,
        "segments": manifest.segments.len(),
        "signed_by": keys,
    })
}

fn rollout_json(of: &Publication, rollout: &Rollout, failure: Option<&str>, now: Timestamp) -> Value {
    let count = |progress| rollout.count(progress);
    let nodes = rollout.nodes.iter().map(|(progress, node)| {
        let slot = node.slots.iter().find(|slot| slot.mode == of.manifest.mode);
        let refused = slot.filter(|_| *progress == NodeProgress::Refused);
        json!({
            "tenant": node.tenant,
            "name": node.name,
            "progress": word(*progress),
            "version": slot.map_or(0, |slot| slot.version),
            "reason": refused.map(|slot| &slot.reason),
            "age_seconds": node.age_seconds(now),
        })
    });
    json!({
        "type": "rollout",
        "name": of.name.as_str(),
        "mode": of.manifest.mode.as_str(),
        "version": of.manifest.version,
        "complete": failure.is_none(),
        "failure": failure,
        "superseded_by": rollout.superseded,
        "applied": count(NodeProgress::Applied),
        "canary_missing": count(NodeProgress::CanaryMissing),
        "refused": count(NodeProgress::Refused),
        "waiting": count(NodeProgress::Waiting),
        "gone": count(NodeProgress::Gone),
        "nodes": nodes.collect::<Vec<_>>(),
    })
}

fn word(progress: NodeProgress) -> &'static str {
    match progress {
        NodeProgress::Applied => "applied",
        NodeProgress::CanaryMissing => "canary_missing",
        NodeProgress::Refused => "refused",
        NodeProgress::Waiting => "waiting",
        NodeProgress::Gone => "gone",
    }
}

fn show(of: &Publication, rollout: &Rollout, now: Timestamp, out: &mut dyn Write) -> io::Result<()> {
    let (name, mode, version) = (&of.name, of.manifest.mode, of.manifest.version);
    let count = |progress| rollout.count(progress);
    let nodes = counted::count(rollout.nodes.len() as u64, "node", "nodes");
    write!(out, "{name} {mode} version {version}: applied by {} of {nodes}", count(NodeProgress::Applied))?;
    for (progress, word) in [
        (NodeProgress::Refused, "refused"),
        (NodeProgress::CanaryMissing, "without its canary"),
        (NodeProgress::Waiting, "waiting"),
        (NodeProgress::Gone, "gone"),
    ] {
        if count(progress) > 0 {
            write!(out, ", {} {word}", count(progress))?;
        }
    }
    writeln!(out)?;
    for (progress, node) in rollout.nodes.iter().filter(|(progress, _)| *progress != NodeProgress::Applied) {
        writeln!(out, "  {}: {}", named(node), Escaped(detail(*progress, node, of, now)))?;
    }
    Ok(())
}

fn named(node: &NodeRecord) -> String {
    match &node.tenant {
        Some(tenant) => format!("{} of tenant {}", Escaped(&node.name), Escaped(tenant)),
        None => Escaped(&node.name).to_string(),
    }
}

fn detail(progress: NodeProgress, node: &NodeRecord, of: &Publication, now: Timestamp) -> String {
    let slot = node.slots.iter().find(|slot| slot.mode == of.manifest.mode);
    let has = slot.map_or(0, |slot| slot.version);
    let has = if has == 0 { "nothing".to_owned() } else { format!("version {has}") };
    match progress {
        NodeProgress::Applied => format!("has {has}"),
        NodeProgress::CanaryMissing => format!("has {has}, but its canary is not found in it"),
        NodeProgress::Refused => {
            let reason: String = slot.map(|slot| slot.reason.chars().take(EXCERPT).collect()).unwrap_or_default();
            format!("refused it and still has {has}: {reason}")
        }
        NodeProgress::Waiting => format!("has not answered, and still has {has}"),
        NodeProgress::Gone => format!("not connected, silent for {} s, has {has}", node.age_seconds(now)),
    }
}

/// Returns the reason that the roll-out failed.
fn failure(of: &Publication, rollout: &Rollout, waits: Duration) -> Option<String> {
    let (name, version) = (&of.name, of.manifest.version);
    let count = |progress| rollout.count(progress);
    let nodes = |count: usize| counted::count(count as u64, "node", "nodes");
    if let Some(newer) = rollout.superseded {
        let by = if newer == 0 { "was removed".to_owned() } else { format!("was superseded by version {newer}") };
        return Some(format!("{name}: version {version} {by} during the wait"));
    }
    let (refused, missing) = (count(NodeProgress::Refused), count(NodeProgress::CanaryMissing));
    if refused > 0 {
        let refused = nodes(refused);
        return Some(format!("{name}: {refused} refused version {version}; fix it and publish again, or roll back"));
    }
    if missing > 0 {
        let missing = nodes(missing);
        return Some(format!(
            "{name}: the canary of {missing} was not found in version {version}; roll back, or publish a feed that has it"
        ));
    }
    if count(NodeProgress::Waiting) > 0 {
        let waiting = nodes(count(NodeProgress::Waiting));
        return Some(format!(
            "{name}: {waiting} did not answer within {waits:?}; see `hotlist nodes` and the logs of the nodes, or wait longer (--timeout)"
        ));
    }
    if count(NodeProgress::Applied) == 0 {
        return Some(format!(
            "{name}: version {version} targets no connected node; compare its labels with `hotlist nodes`, and check that a control plane serves this store"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_out_is_a_time() {
        let of = |wait, timeout: &str| timeout_of(wait, timeout);
        assert_eq!(of(false, "never").unwrap(), None);
        assert_eq!(of(true, "2m").unwrap(), Some(Duration::from_secs(120)));
        for bad in ["", "soon", "-1s", "0s", "5"] {
            assert!(of(true, bad).unwrap_err().to_string().starts_with("--timeout"), "{bad}");
        }
    }

    fn timeout_of(wait: bool, timeout: &str) -> anyhow::Result<Option<Duration>> {
        super::timeout(&WaitArgs { wait, timeout: timeout.to_owned(), json: false })
    }
}
