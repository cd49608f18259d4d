//! `hotlist nodes`: lists or removes the nodes that a control plane knows.

use std::io::{self, Write};

use anyhow::Context;
use serde_json::{Value, json};

use crate::cli::Failure;
use crate::cli::args::{NodesArgs, NodesCommand, RemoveNodeArgs};
use crate::cli::table::Rows;
use crate::cli::tls;
use crate::config::{Endpoint, without_credentials};
use crate::controlplane::operator::{
    Canary, Instance, NodeStatus, Operator, RemoveNodeResponse, Slot, SlotStatus, Statistics,
};
use crate::escape::Escaped;
use crate::net::tls::HTTP_2;

/// The maximum length of a reason in the table, in characters.
const EXCERPT: usize = 120;

pub(super) fn run(args: &NodesArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let endpoint = Endpoint::parse(&args.endpoint)
        .with_context(|| format!("--endpoint {}", without_credentials(&args.endpoint)))?;
    let connector = tls::connector("nodes", &args.tls, &endpoint, HTTP_2)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let tenant = args.tenant.as_deref().unwrap_or("");
    let mut operator = runtime.block_on(Operator::connect(&endpoint, connector)).map_err(anyhow::Error::new)?;
    let written = match &args.command {
        Some(NodesCommand::Remove(RemoveNodeArgs { name, alerts })) => {
            let removed = runtime.block_on(operator.remove_node(tenant, name, *alerts)).map_err(anyhow::Error::new)?;
            writeln!(out, "{}", removed_line(name, tenant, *alerts, removed))
        }
        None => {
            let nodes = runtime.block_on(operator.list_nodes(tenant)).map_err(anyhow::Error::new)?;
            list(&nodes, args.json, out)
        }
    };
    written.and_then(|()| out.flush()).map_err(Failure::of_output)
}

fn list(nodes: &[NodeStatus], json: bool, out: &mut dyn Write) -> io::Result<()> {
    if json {
        return nodes.iter().try_for_each(|node| writeln!(out, "{}", as_json(node)));
    }
    if nodes.is_empty() {
        return writeln!(out, "no nodes");
    }
    write!(out, "{}", table(nodes))?;
    nodes.iter().filter_map(duplicates).try_for_each(|line| writeln!(out, "{line}"))
}

/// Describes the processes that share one node name.
fn duplicates(status: &NodeStatus) -> Option<String> {
    if status.instances.len() < 2 {
        return None;
    }
    let name = status.node.as_ref().map_or("", |node| node.name.as_str());
    let one = |of: &Instance| {
        let from = if of.address.is_empty() { "a Unix socket" } else { &of.address };
        format!("{} (last seen {} ago)", Escaped(from), age(of.age_seconds))
    };
    let all: Vec<String> = status.instances.iter().map(one).collect();
    let (count, name, all) = (all.len(), Escaped(name), all.join(", "));
    Some(format!("{name}: {count} processes use this name: {all}; give each its own (`intel.control.node`)"))
}

fn removed_line(name: &str, tenant: &str, with_alerts: bool, of: RemoveNodeResponse) -> String {
    let tenant = if tenant.is_empty() { String::new() } else { format!(" of tenant {tenant}") };
    let RemoveNodeResponse { alert_files, alert_bytes } = of;
    let files = crate::counted::count(alert_files, "file", "files");
    let alerts = match (alert_files, with_alerts) {
        (0, _) => "it has no alerts".to_owned(),
        (_, true) => format!("{files} of its alerts ({alert_bytes} bytes) also removed"),
        (_, false) => {
            format!("{files} of its alerts ({alert_bytes} bytes) kept in the store, remove them with --alerts")
        }
    };
    format!("removed node {name}{tenant}; {alerts}")
}

fn table(nodes: &[NodeStatus]) -> Rows {
    let mut table = Rows::new([
        "NODE",
        "TENANT",
        "LABELS",
        "CONNECTED",
        "SILENT",
        "SERVES",
        "WANTED",
        "SHADOW",
        "EVENTS",
        "HITS",
        "INDICATORS",
        "CANARY",
        "REFUSED",
    ]);
    for status in nodes {
        let node = status.node.clone().unwrap_or_default();
        let mut labels: Vec<String> = node.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        labels.sort();
        let (serve, shadow) = (slot(status, Slot::Serve), slot(status, Slot::Shadow));
        let count = |of: fn(&Statistics) -> u64| {
            status.statistics.as_ref().map_or_else(|| "-".to_owned(), |statistics| of(statistics).to_string())
        };
        let shadow_versions = match &shadow {
            Some(shadow) if shadow.version == shadow.wanted_version => version(shadow.version),
            Some(shadow) => format!("{} of {}", version(shadow.version), version(shadow.wanted_version)),
            None => "-".to_owned(),
        };
        let row = [
            node.name,
            status.tenant.clone(),
            labels.join(","),
            match (status.connected, status.instances.len()) {
                (true, 0 | 1) => "yes".to_owned(),
                (true, several) => format!("{several} times"),
                (false, _) => "no".to_owned(),
            },
            age(status.age_seconds),
            version(serve.as_ref().map_or(0, |slot| slot.version)),
            version(serve.as_ref().map_or(0, |slot| slot.wanted_version)),
            shadow_versions,
            count(|of| of.events),
            count(|of| of.hits),
            count(|of| of.indicators),
            canary(status).unwrap_or("-").to_owned(),
            [serve, shadow].iter().flatten().filter_map(refusal).collect::<Vec<_>>().join("; "),
        ];
        table.add(row.map(|cell| Escaped(cell).to_string()));
    }
    table
}

fn slot(status: &NodeStatus, wanted: Slot) -> Option<SlotStatus> {
    status.slots.iter().find(|slot| slot.slot() == wanted).cloned()
}

fn version(version: u64) -> String {
    if version == 0 { "-".to_owned() } else { version.to_string() }
}

/// Returns whether the canary is found, if there is one.
fn canary(status: &NodeStatus) -> Option<&'static str> {
    match status.statistics.as_ref()?.canary() {
        Canary::Unspecified => None,
        Canary::Found => Some("found"),
        Canary::Missing => Some("missing"),
    }
}

/// Returns the version that was refused last, and the reason.
fn refusal(slot: &SlotStatus) -> Option<String> {
    let error = slot.error.as_ref()?;
    let reason: String = error.message.chars().take(EXCERPT).collect();
    let cut = if error.message.chars().nth(EXCERPT).is_some() { "…" } else { "" };
    Some(format!("{}: {reason}{cut}", slot.refused_version))
}

fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn as_json(status: &NodeStatus) -> Value {
    let node = status.node.clone().unwrap_or_default();
    let slots = status.slots.iter().map(|slot| {
        let error = slot.error.as_ref().map(|error| json!({ "code": error.code, "message": error.message }));
        json!({
            "slot": if slot.slot() == Slot::Shadow { "shadow" } else { "serve" },
            "version": slot.version,
            "wanted_version": slot.wanted_version,
            "refused_version": slot.refused_version,
            "error": error,
        })
    });
    let instances =
        status.instances.iter().map(|of| json!({ "id": of.id, "address": of.address, "age_seconds": of.age_seconds }));
    let labels: std::collections::BTreeMap<_, _> = node.labels.iter().collect();
    json!({
        "node": node.name,
        "tenant": status.tenant,
        "labels": labels,
        "software": node.software,
        "connected": status.connected,
        "age_seconds": status.age_seconds,
        "instances": instances.collect::<Vec<_>>(),
        "slots": slots.collect::<Vec<_>>(),
        "statistics": status.statistics.as_ref().map(|of| json!({
            "events": of.events,
            "hits": of.hits,
            "indicators": of.indicators,
            "newest_feed_age_seconds": of.newest_feed_age_seconds,
            "canary": canary(status),
        })),
    })
}
