//! `hotlist publications`: lists the versions that a store keeps: which are active, their authors, and their content.

use std::collections::HashMap;
use std::io::{self, Write};

use anyhow::Context;
use serde_json::{Value, json};

use super::publish;
use crate::cli::args::PublicationsArgs;
use crate::cli::table::Rows;
use crate::cli::{Failure, progress};
use crate::escape::Escaped;
use crate::intel::manifest::{Digest, Manifest};
use crate::names::Name;
use crate::store::{KeptVersion, Labels, Store};

/// The maximum number of feeds in a row of the table.
const FEEDS: usize = 3;

pub(super) fn run(args: &PublicationsArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let name = args.name.as_deref().map(Name::parse).transpose().context("--name")?;
    let store = publish::open(&args.store)?;
    let (versions, unusable) = store.catalogue(name.as_ref()).map_err(anyhow::Error::new)?;
    unusable.iter().for_each(|line| progress::write_line(line));
    let mut counts = SegmentCounts::read(&store);
    let written = if args.json {
        versions.iter().try_for_each(|one| writeln!(out, "{}", as_json(one, &mut counts)))
    } else if versions.is_empty() {
        writeln!(out, "nothing is published")
    } else {
        table(&versions, &mut counts, out)
    };
    written.and_then(|()| out.flush()).map_err(Failure::of_output)
}

/// The number of indicators per segment, read once each.
struct SegmentCounts<'s> {
    store: &'s Store,
    known: HashMap<Digest, Option<i64>>,
}

impl SegmentCounts<'_> {
    /// Reads the counts that `hotlist compile` recorded, which include what a change withdrew.
    fn read(store: &Store) -> SegmentCounts<'_> {
        let feeds = store.feeds().unwrap_or_default();
        let segments = feeds.iter().flat_map(|feed| &feed.segments).filter_map(|segment| {
            // A change may withdraw more than it adds.
            let count = segment.indicators as i64 - segment.withdrawn as i64;
            Some((segment.digest.parse().ok()?, Some(count)))
        });
        SegmentCounts { store, known: segments.collect() }
    }

    /// Returns the number of indicators of a manifest; `None` when a segment is missing from the store.
    fn indicators(&mut self, manifest: &Manifest) -> Option<i64> {
        let store = self.store;
        let mut count_of = |digest: Digest| {
            *self.known.entry(digest).or_insert_with(|| store.segment_indicators(&digest).map(i64::from))
        };
        manifest.segments.iter().map(|segment| count_of(segment.digest)).sum()
    }
}

fn feeds(manifest: &Manifest) -> Vec<&str> {
    manifest.rules.iter().filter(|rule| rule.enabled).map(|rule| rule.feed.as_str()).collect()
}

fn pairs(labels: &Labels) -> String {
    let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if labels.is_empty() { "-".to_owned() } else { labels.join(",") }
}

fn table(versions: &[KeptVersion], counts: &mut SegmentCounts<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut table = Rows::new([
        "NAME",
        "MODE",
        "VERSION",
        "ACTIVE",
        "PUBLISHED",
        "BY",
        "HOW",
        "AUDIENCE",
        "LABELS",
        "FEEDS",
        "INDICATORS",
        "NOTE",
    ]);
    for KeptVersion { publication, is_active } in versions {
        let manifest = &publication.manifest;
        let (feeds, made) = (feeds(manifest), publication.made.clone().unwrap_or_default());
        let more = feeds.len().saturating_sub(FEEDS);
        let named = feeds.into_iter().take(FEEDS).collect::<Vec<_>>().join(",");
        let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        let row = [
            publication.name.to_string(),
            manifest.mode.to_string(),
            manifest.version.to_string(),
            if *is_active { "yes" } else { "" }.to_owned(),
            format!("{:.0}", manifest.issued),
            or_dash(made.by),
            or_dash(made.how),
            manifest.audience.clone(),
            pairs(&publication.labels),
            or_dash(if more > 0 { format!("{named} and {more} more") } else { named }),
            counts.indicators(manifest).map_or_else(|| "segments are missing".to_owned(), |count| count.to_string()),
            made.note,
        ];
        table.add(row.map(|cell| Escaped(cell).to_string()));
    }
    write!(out, "{table}")
}

fn as_json(one: &KeptVersion, counts: &mut SegmentCounts<'_>) -> Value {
    let KeptVersion { publication, is_active } = one;
    let manifest = &publication.manifest;
    let made = publication.made.as_ref();
    let keys: Vec<&str> = publication.signatures.iter().map(|signature| signature.key_id.as_str()).collect();
    json!({
        "name": publication.name.as_str(),
        "mode": manifest.mode.as_str(),
        "version": manifest.version,
        "active": is_active,
        "published": manifest.issued.to_string(),
        "expires": manifest.expires.map(|expires| expires.to_string()),
        "by": made.map(|made| &made.by),
        "how": made.map(|made| &made.how),
        "note": made.map(|made| &made.note).filter(|note| !note.is_empty()),
        "audience": manifest.audience,
        "labels": publication.labels,
        "feeds": feeds(manifest),
        "segments": manifest.segments.len(),
        "indicators": counts.indicators(manifest),
        "revocations": manifest.revocations.len(),
        "signed_by": keys,
    })
}
