//! `hotlist publish`, `promote`, `rollback` and `keygen`: put signed publications into a store.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use ring::rand::SystemRandom;

use super::rollout;
use crate::cli::args::{KeygenArgs, PromoteArgs, PublishArgs, RollbackArgs};
use crate::cli::{Failure, environment};
use crate::durable;
use crate::intel::manifest::{Digest, Key, Origin, Rule, SegmentRef};
use crate::names::Name;
use crate::provider::control::host_name;
use crate::store::{Draft, Labels, Store};

/// The maximum length of a note, in characters.
const MAX_NOTE: usize = 200;

pub(super) fn run(args: &PublishArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let store = authored(&args.store, args.note.as_deref())?;
    let known = store.published_segments().map_err(anyhow::Error::new)?;
    let segment = |text: &str| segment(&store, &known, text);
    let mut segments = args.segments.iter().map(|text| segment(text)).collect::<Result<Vec<_>, _>>()?;
    let mut rules = args.rules.iter().map(|text| rule(text)).collect::<Result<Vec<_>, _>>()?;
    if args.segments.is_empty() {
        let (of_feeds, enabled) = feeds(&store, args, segment)?;
        segments.extend(of_feeds);
        if rules.is_empty() {
            rules = enabled;
        }
    }
    publish(&store, args, segments, rules, out)
}

/// Returns the segments of the feeds that were compiled into the store, and rules that enable them.
fn feeds(
    store: &Store,
    args: &PublishArgs,
    segment: impl Fn(&str) -> anyhow::Result<SegmentRef>,
) -> anyhow::Result<(Vec<SegmentRef>, Vec<Rule>)> {
    let known = store.feeds().context("the feeds of the store")?;
    if let Some(unknown) = args.feeds.iter().find(|name| known.iter().all(|feed| feed.feed != **name)) {
        bail!("--feed {unknown}: the store has no such feed; compile it into the store first");
    }
    let (mut segments, mut rules) = (Vec::new(), Vec::new());
    for feed in known.iter().filter(|feed| args.feeds.is_empty() || args.feeds.contains(&feed.feed)) {
        for of_feed in &feed.segments {
            segments.push(segment(&of_feed.digest).with_context(|| format!("feed {}", feed.feed))?);
        }
        rules.push(Rule { feed: feed.feed.clone(), enabled: true, origin: feed.origin });
    }
    Ok((segments, rules))
}

/// Publishes segments under rules, in this order.
fn publish(
    store: &Store,
    args: &PublishArgs,
    segments: Vec<SegmentRef>,
    rules: Vec<Rule>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let draft = Draft {
        name: Name::parse(&args.name).context("--name")?,
        labels: labels(&args.labels)?,
        audience: args.audience.clone(),
        mode: args.mode,
        segments,
        revocations: Vec::new(),
        rules,
        lifetime: lifetime(args.expires.as_deref())?,
    };
    let (key, waits) = (key(args.key.as_deref())?, rollout::timeout(&args.wait)?);
    let publication = store.publish(draft, key.as_ref(), Timestamp::now()).map_err(anyhow::Error::new)?;
    rollout::report(store, &publication, waits, args.wait.json, out)
}

pub(super) fn promote(args: &PromoteArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let name = Name::parse(&args.name).context("--name")?;
    let (key, lifetime) = (key(args.key.as_deref())?, lifetime(args.expires.as_deref())?);
    let (store, waits) = (authored(&args.store, args.note.as_deref())?, rollout::timeout(&args.wait)?);
    let promoted = store.promote(&name, lifetime, key.as_ref(), Timestamp::now()).map_err(anyhow::Error::new)?;
    rollout::report(&store, &promoted, waits, args.wait.json, out)
}

pub(super) fn rollback(args: &RollbackArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let name = Name::parse(&args.name).context("--name")?;
    let (key, lifetime) = (key(args.key.as_deref())?, lifetime(args.expires.as_deref())?);
    let (store, waits) = (authored(&args.store, args.note.as_deref())?, rollout::timeout(&args.wait)?);
    let again = store.rollback(&name, args.to, lifetime, key.as_ref(), Timestamp::now()).map_err(anyhow::Error::new)?;
    rollout::report(&store, &again, waits, args.wait.json, out)
}

pub(super) fn keygen(args: &KeygenArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let key = Key::generate(&SystemRandom::new()).map_err(anyhow::Error::new)?;
    let mut public = args.out.clone().into_os_string();
    public.push(".pub");
    let public = PathBuf::from(public);
    create(&args.out, 0o600, &key.to_pem())?;
    create(&public, 0o644, &key.public().to_pem())?;
    let (id, private) = (key.public().id(), args.out.display());
    writeln!(out, "key {id}: sign with {private}, copy {} to the nodes", public.display())
        .and_then(|()| out.flush())
        .map_err(Failure::of_output)
}

/// Opens the store with the author of the publication.
fn authored(path: &Path, note: Option<&str>) -> anyhow::Result<Store> {
    let note = note.unwrap_or("").trim();
    if note.chars().count() > MAX_NOTE {
        bail!("--note: the note is longer than {MAX_NOTE} characters; shorten it");
    }
    let user = ["USER", "LOGNAME"].into_iter().find_map(environment).filter(|user| !user.is_empty());
    let number =
        || std::fs::metadata("/proc/self").map_or_else(|_| "unknown".to_owned(), |of| format!("user {}", of.uid()));
    let (user, host) = (user.unwrap_or_else(number), host_name());
    Ok(open(path)?.with_author(if host.is_empty() { user } else { format!("{user}@{host}") }, note.to_owned()))
}

/// Opens an existing store: a mistyped path must not create another one.
pub(super) fn open(path: &Path) -> anyhow::Result<Store> {
    if !path.is_dir() {
        bail!("--store {}: is not a directory; create it, or give another", path.display());
    }
    Store::open(path).context("--store")
}

/// Returns a segment of the store. A segment that is already published must exist, but is not read again: a feed of
/// millions of indicators takes a second to read, and its change is to be published at once.
fn segment(store: &Store, known: &[SegmentRef], text: &str) -> anyhow::Result<SegmentRef> {
    let digest: Digest = text.parse().with_context(|| format!("--segment {text}"))?;
    if let Some(known) = known.iter().find(|known| known.digest == digest) {
        return Ok(*known);
    }
    store.check_segment(digest).with_context(|| format!("--segment {text}"))
}

fn rule(text: &str) -> anyhow::Result<Rule> {
    let (feed, origin) = match text.split_once('=') {
        None => (text, Origin::Feed),
        Some((feed, "collection")) => (feed, Origin::Collection),
        Some((feed, "feed")) => (feed, Origin::Feed),
        Some((_, other)) => bail!("--rule {text}: {other:?} is not an origin; give `feed` or `collection`"),
    };
    Ok(Rule { feed: feed.to_owned(), enabled: true, origin })
}

fn labels(texts: &[String]) -> anyhow::Result<Labels> {
    let mut labels = Labels::new();
    for text in texts {
        let (key, value) = text.split_once('=').with_context(|| format!("--label {text}: give KEY=VALUE"))?;
        if labels.insert(key.to_owned(), value.to_owned()).is_some() {
            bail!("--label {text}: {key} is given twice");
        }
    }
    Ok(labels)
}

/// Parses a duration, in which a day has 24 hours.
fn lifetime(text: Option<&str>) -> anyhow::Result<Option<SignedDuration>> {
    let Some(text) = text else { return Ok(None) };
    let wanted = || format!("--expires {text}: give a time from now on, e.g. `30d` or `12h`");
    let span: Span = text.parse().with_context(wanted)?;
    let lifetime = span.to_duration(SpanRelativeTo::days_are_24_hours()).with_context(wanted)?;
    if !lifetime.is_positive() {
        bail!(wanted());
    }
    Ok(Some(lifetime))
}

fn key(path: Option<&Path>) -> anyhow::Result<Option<Key>> {
    let Some(path) = path else { return Ok(None) };
    let pem = std::fs::read(path).with_context(|| format!("--key {}: cannot be read", path.display()))?;
    Ok(Some(Key::from_pem(&pem).with_context(|| format!("--key {}", path.display()))?))
}

/// Creates a new file, never overwriting an existing key.
fn create(path: &Path, mode: u32, content: &str) -> anyhow::Result<()> {
    let written = durable::create_new(path, mode, content.as_bytes());
    written.with_context(|| format!("{}: cannot be created; give another --out", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_labels_and_rules_are_read_or_refused_with_what_was_given() {
        assert_eq!(lifetime(None).unwrap(), None);
        assert_eq!(lifetime(Some("30d")).unwrap(), Some(SignedDuration::from_hours(720)));
        assert_eq!(lifetime(Some("12h")).unwrap(), Some(SignedDuration::from_hours(12)));
        for bad in ["", "30", "soon", "-1d", "0s"] {
            assert!(lifetime(Some(bad)).unwrap_err().to_string().starts_with("--expires"), "{bad}");
        }
        assert_eq!(rule("a").unwrap().origin, Origin::Feed);
        assert_eq!(rule("a=collection").unwrap().origin, Origin::Collection);
        assert!(rule("a=b").is_err());
        assert!(labels(&["a".to_owned()]).is_err() && labels(&["a=1".to_owned(), "a=2".to_owned()]).is_err());
    }
}
