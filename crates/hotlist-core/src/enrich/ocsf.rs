//! A hit as OCSF: an element of `enrichments`, whose `data` is the enrichment as ECS has it, and one of `osint`.
//!
//! Facts of <https://github.com/ocsf/ocsf-schema>, versions 1.3.0 to 1.8.0: attributes and enums of
//! `objects/enrichment.json`, `objects/osint.json` and `objects/kill_chain_phase.json`, types and the enum of
//! `confidence_id` in `dictionary.json`. Only attributes that all these versions have are written.

use std::sync::Arc;

use super::{Form, TAG};
use crate::encoding::tag::Node;
use crate::intel::indicator::{Confidence, Context, Tlp};
use crate::intel::snapshot::Snapshot;
use crate::matcher::{Hit, Relation};
use crate::observable::Kind;

/// The element of `enrichments`. Its type is the word that an ECS event gets in `tags`.
pub(super) fn enrichment(path: &Arc<str>, feed: &Arc<str>, data: Node) -> Node {
    Node::Object(vec![
        ("name", Node::Text(Arc::clone(path))),
        ("value", Node::EventValue),
        ("type", Node::Word(TAG)),
        ("provider", Node::Text(Arc::clone(feed))),
        ("data", data),
    ])
}

/// The element of `osint`: what the feed says of the indicator.
pub(super) fn osint(
    snapshot: &Snapshot,
    hit: &Hit,
    context: &Context,
    form: Form,
    (path, id, feed): (&Arc<str>, &Arc<str>, &Arc<str>),
) -> Node {
    let (type_id, caption) = type_of(snapshot, hit);
    let mut members = vec![
        ("name", Node::Text(Arc::clone(path))),
        ("uid", Node::Text(Arc::clone(id))),
        ("type_id", Node::Number(type_id)),
        ("type", Node::Text(caption)),
        ("value", Node::Text(hit.name.clone().into())),
        ("vendor_name", Node::Text(Arc::clone(feed))),
    ];
    if form == Form::Short {
        return Node::Object(members);
    }
    let (confidence_id, confidence) = confidence_of(context.confidence);
    members.push(("confidence_id", Node::Number(confidence_id)));
    members.push(("confidence", Node::Word(confidence)));
    let comment = match (&context.name, &context.description) {
        (Some(name), Some(description)) => Some(format!("{name}: {description}").into()),
        (Some(one), None) | (None, Some(one)) => Some(Arc::from(&**one)),
        (None, None) => None,
    };
    members.extend(comment.map(|comment| ("comment", Node::Text(comment))));
    members.extend(context.tlp.map(|tlp| ("tlp", Node::Word(tlp_of(tlp)))));
    members.extend(context.reference.as_deref().map(|url| ("src_url", Node::Text(url.into()))));
    let phases: Vec<Node> = context.kill_chain_phases.iter().map(|phase| phase_of(phase)).collect();
    if !phases.is_empty() {
        members.push(("kill_chain", Node::List(phases)));
    }
    Node::Object(members)
}

/// `osint.type_id` and its caption. What has none is `Other`, whose caption is the source's own word.
fn type_of(snapshot: &Snapshot, hit: &Hit) -> (u64, Arc<str>) {
    let (id, caption) = match hit.kind {
        Kind::Ip if hit.relation == Relation::Is => (1, "IP Address"),
        Kind::Ip => (99, "IP Network"),
        Kind::Domain => (2, "Domain"),
        Kind::Md5 | Kind::Sha1 | Kind::Sha256 | Kind::Sha512 | Kind::Ssdeep => (4, "Hash"),
        Kind::Url => (5, "URL"),
        Kind::Email => (9, "Email Address"),
        Kind::User => (99, "User"),
        Kind::Path | Kind::Name | Kind::DnsType | Kind::Text | Kind::Number | Kind::Time => {
            let paths = &snapshot.table().get(hit.field).stix_paths;
            return (99, paths.first().map_or("Artifact", String::as_str).into());
        }
    };
    (id, caption.into())
}

/// `confidence_id` and its caption. STIX's `None` is a statement of the source that the enum does not have.
fn confidence_of(confidence: Confidence) -> (u64, &'static str) {
    match confidence {
        Confidence::NotSpecified => (0, "Unknown"),
        Confidence::None => (99, "None"),
        Confidence::Low => (1, "Low"),
        Confidence::Medium => (2, "Medium"),
        Confidence::High => (3, "High"),
    }
}

/// `osint.tlp`.
fn tlp_of(tlp: Tlp) -> &'static str {
    match tlp {
        Tlp::AmberStrict => "AMBER STRICT",
        other => other.as_str(),
    }
}

/// A phase of Lockheed Martin's kill chain; one of another kill chain is `Other`, with the feed's own word.
fn phase_of(phase: &str) -> Node {
    let folded: String = phase.trim().chars().map(|c| if c == '-' || c == '_' { ' ' } else { c }).collect();
    let (id, caption): (u64, Arc<str>) = match folded.to_lowercase().as_str() {
        "reconnaissance" => (1, "Reconnaissance".into()),
        "weaponization" => (2, "Weaponization".into()),
        "delivery" => (3, "Delivery".into()),
        "exploitation" => (4, "Exploitation".into()),
        "installation" => (5, "Installation".into()),
        "command and control" | "c2" | "c&c" | "command & control" => (6, "Command & Control".into()),
        "actions on objectives" => (7, "Actions on Objectives".into()),
        _ => (99, phase.into()),
    };
    Node::Object(vec![("phase_id", Node::Number(id)), ("phase", Node::Text(caption))])
}
