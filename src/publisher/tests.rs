//! Random orders of candidates, refusals and withdrawals against a model.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::counted::count;
use crate::intel::indicator::{Feed, Indicator, Target, Term};
use crate::intel::manifest::{Manifest, Origin, Revocation, Rule, SegmentRef};
use crate::intel::segment::{HashKey, SegmentBuilder};
use crate::intel::snapshot::{MatchOptions, SnapshotBuilder};
use crate::intel::term;
use crate::observable::Kind;
use crate::readiness::SNAPSHOT;
use crate::schema::FieldTable;

/// Indicators per unit of size.
const UNIT: usize = 64;
/// The sizes of files and manifests, in units.
const SIZES: usize = 5;

/// The matching step of a test.
struct Stage {
    rules: MatchRules,
    active: Mutex<Option<Arc<Snapshot>>>,
    shadow: Mutex<Option<Arc<Snapshot>>>,
}

impl Stage {
    fn new(active: Option<Arc<Snapshot>>) -> Arc<Stage> {
        let rules = MatchRules {
            policy: Policy::default(),
            tagging: Tagging::default(),
            budgets: Budgets::default(),
            failure_mode: FailureMode::Open,
        };
        Arc::new(Stage { rules, active: Mutex::new(active), shadow: Mutex::default() })
    }

    fn active_name(&self) -> Option<String> {
        self.active.lock().unwrap().as_ref().map(|snapshot| snapshot.name().to_string())
    }

    /// Only the address: a snapshot that is still in use is not freed at once.
    fn active_address(&self) -> Option<*const Snapshot> {
        self.active.lock().unwrap().as_ref().map(Arc::as_ptr)
    }

    fn shadow_name(&self) -> Option<String> {
        self.shadow.lock().unwrap().as_ref().map(|snapshot| snapshot.name().to_string())
    }
}

impl Activate for Stage {
    fn rules(&self) -> MatchRules {
        self.rules.clone()
    }

    fn activate(&self, _: MatchRules, snapshot: Option<Arc<Snapshot>>) {
        *self.active.lock().unwrap() = snapshot;
    }

    fn set_shadow(&self, snapshot: Option<Arc<Snapshot>>) {
        *self.shadow.lock().unwrap() = snapshot;
    }
}

fn indicator(name: &str) -> Indicator {
    Indicator {
        id: None,
        terms: vec![Term { value: term::value(Kind::Domain, name).unwrap(), target: Target::Kind }],
        program: None,
        context: Arc::default(),
        valid_from: None,
        valid_until: None,
        revoked: false,
        port: None,
        line: 1,
    }
}

fn indicators(of: &str, units: usize) -> Vec<Indicator> {
    (0..units * UNIT).map(|number| indicator(&format!("d{number}.{of}.example"))).collect()
}

fn settings(max_bytes: Option<usize>) -> BuildSettings {
    let table = Arc::new(FieldTable::embedded(true).unwrap());
    BuildSettings { table, options: MatchOptions::default(), seed: 7, max_bytes }
}

fn files(settings: &BuildSettings, name: &str, units: usize) -> Arc<Snapshot> {
    let mut builder = SnapshotBuilder::new(Arc::clone(&settings.table), settings.options, settings.seed);
    if units > 0 {
        builder.add_feed(Feed::named("f"), indicators("file", units)).unwrap();
    }
    Arc::new(builder.build(name))
}

/// The segments by size, built once.
struct Segments(HashMap<usize, Arc<Segment>>);

impl Segments {
    fn new() -> Segments {
        let segment = |units| {
            let mut builder = SegmentBuilder::with_fingerprints();
            builder.feed(&Feed::named("m"));
            indicators("manifest", units).iter().for_each(|indicator| builder.add(indicator).unwrap());
            builder.into_segment(HashKey::Content).unwrap()
        };
        Segments((0..SIZES).map(|units| (units, segment(units))).collect())
    }

    fn manifest(&self, mode: Mode, version: u64, units: usize, is_valid: bool) -> OpenedManifest {
        let segment = Arc::clone(&self.0[&units]);
        let digest = segment.digest();
        let bad = Revocation::Value { feed: "m".to_owned(), kind: Kind::Ip, value: "no address".to_owned() };
        let manifest = Manifest {
            audience: "acme".to_owned(),
            version,
            mode,
            issued: Timestamp::UNIX_EPOCH,
            expires: None,
            segments: vec![SegmentRef { digest, bytes: segment.as_bytes().len() as u64 }],
            revocations: if is_valid { Vec::new() } else { vec![bad] },
            rules: vec![Rule { feed: "m".to_owned(), enabled: true, origin: Origin::Feed }],
        };
        OpenedManifest::new(Arc::new(manifest), vec![(digest, segment)])
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// The files change to this size; `None`: there are none.
    Files(Option<usize>),
    /// A manifest is prepared.
    Prepare {
        shadow: bool,
        units: usize,
        is_valid: bool,
    },
    /// The manifest that was prepared last becomes active.
    Publish,
    Supersede,
    /// The shadow slot is emptied.
    Withdraw,
}

fn step() -> impl Strategy<Value = Step> {
    let prepare = (any::<bool>(), 0..SIZES, prop::bool::weighted(0.8));
    prop_oneof![
        3 => prop::option::weighted(0.9, 0..SIZES).prop_map(Step::Files),
        4 => prepare.prop_map(|(shadow, units, is_valid)| Step::Prepare { shadow, units, is_valid }),
        4 => Just(Step::Publish),
        1 => Just(Step::Supersede),
        1 => Just(Step::Withdraw),
    ]
}

/// Files of a size, by their name.
type Files = Option<(String, usize)>;

/// The expected active snapshot.
#[derive(Default)]
struct Model {
    /// The newest files that are within the limit.
    newest: Files,
    /// The files in the active snapshot.
    in_use: Files,
    /// The active manifest.
    serve: Option<(u64, usize)>,
    name: Option<String>,
    shadow: Option<String>,
}

/// A prepared manifest, and what it was combined with.
struct Held {
    mode: Mode,
    version: u64,
    units: usize,
    with: Files,
    newest: Files,
    ready: PreparedSnapshot,
}

fn name(version: u64, with: &Files) -> String {
    match with.as_ref().filter(|(_, units)| *units > 0) {
        Some((name, _)) => format!("acme@{version}+{name}"),
        None => format!("acme@{version}"),
    }
}

fn check(has_control: bool) {
    let (free, segments) = (settings(None), Segments::new());
    // Three units of files fit, and one size of the two together does not.
    let limit = files(&free, "limit", SIZES - 1).memory_bytes() - 1;
    let limited = settings(Some(limit));
    let alone: Vec<bool> =
        (0..SIZES).map(|units| within(&files(&limited, "alone", units), Some(limit)).is_ok()).collect();
    let fits_alone = |units: usize| alone[units];
    let combined = |with: Option<usize>, units| {
        let with = with.map(|units| files(&limited, "with", units));
        compose(&limited, with.as_deref(), &segments.manifest(Mode::Serve, 1, units, true), None).is_ok()
    };
    let sizes = || (0..SIZES).map(Some).chain([None]);
    let fitting: HashMap<(Option<usize>, usize), bool> = sizes()
        .flat_map(|with| (0..SIZES).map(move |units| (with, units)))
        .map(|of| (of, combined(of.0, of.1)))
        .collect();
    let fits = |with: &Files, units| fitting[&(with.as_ref().map(|(_, units)| *units), units)];
    assert!(!fits_alone(SIZES - 1) && fits_alone(SIZES - 2));
    assert!(fits(&None, 2) && fits(&Some(("a".to_owned(), 1)), 1) && !fits(&Some(("a".to_owned(), 3)), 3));
    let seen = Mutex::new([0; 4]);
    let mut runner = TestRunner::new(Config { cases: 64, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&prop::collection::vec(step(), 1..24), |steps| {
        let readiness = Readiness::default();
        readiness.register(SNAPSHOT, true);
        let stage = Stage::new(None);
        let live: Arc<dyn Activate> = stage.clone();
        let publisher =
            SnapshotPublisher::new(live, readiness.clone(), Timestamp::now, limited.clone(), has_control, None);
        let (mut model, mut held): (Model, Option<Held>) = Default::default();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Files(units) => {
                    let offered = units.map(|units| (format!("files:{number}"), units));
                    let snapshot = offered.as_ref().map(|(name, units)| files(&limited, name, *units));
                    let before = stage.active_address();
                    publisher.set_files(snapshot, Arc::default());
                    if units.is_none_or(fits_alone) {
                        model.newest = offered;
                    } else {
                        // The same snapshot, not one that is built again from the same parts.
                        prop_assert_eq!(before, stage.active_address());
                        seen.lock().unwrap()[0] += 1;
                        continue;
                    }
                    match model.serve {
                        Some((version, units)) if fits(&model.newest, units) => {
                            model.in_use.clone_from(&model.newest);
                            model.name = Some(name(version, &model.in_use));
                        }
                        Some(_) => seen.lock().unwrap()[1] += 1,
                        None => {
                            model.in_use.clone_from(&model.newest);
                            let is_used = |units: usize| !has_control || units > 0;
                            let used = model.newest.as_ref().filter(|(_, units)| is_used(*units));
                            model.name = used.map(|(name, _)| name.clone());
                        }
                    }
                }
                // Without a control plane there are no manifests.
                Step::Prepare { shadow, units, is_valid } if has_control => {
                    let (mode, version) = (if shadow { Mode::Shadow } else { Mode::Serve }, number as u64 + 1);
                    let prepared = publisher.prepare(segments.manifest(mode, version, units, is_valid));
                    let each = [&model.newest, &model.in_use];
                    let with = each.into_iter().find(|with| is_valid && fits(with, units)).cloned();
                    prop_assert_eq!(prepared.is_ok(), with.is_some());
                    if let (Ok(ready), Some(with)) = (prepared, with) {
                        let newest = model.newest.clone();
                        held = Some(Held { mode, version, units, with, newest, ready });
                    } else {
                        seen.lock().unwrap()[2] += 1;
                    }
                }
                Step::Publish => {
                    let Some(Held { mode, version, units, with, newest, ready }) = held.take() else { continue };
                    publisher.publish(mode, ready);
                    let each = [&model.newest, &model.in_use];
                    let again = each.into_iter().find(|with| fits(with, units)).cloned();
                    // Files that changed since are used if they fit.
                    let with = if newest == model.newest { with } else { again.unwrap_or(with) };
                    let name = name(version, &with);
                    match mode {
                        Mode::Shadow => model.shadow = Some(name),
                        Mode::Serve => {
                            (model.serve, model.name, model.in_use) = (Some((version, units)), Some(name), with);
                            seen.lock().unwrap()[3] += 1;
                        }
                    }
                }
                Step::Supersede => held = None,
                Step::Withdraw => {
                    publisher.clear(Mode::Shadow);
                    model.shadow = None;
                }
                Step::Prepare { .. } => {}
            }
            prop_assert_eq!(stage.active_name(), model.name.clone());
            prop_assert_eq!(stage.shadow_name().is_some(), model.shadow.is_some());
            let active = stage.active.lock().unwrap().clone();
            prop_assert!(active.as_ref().is_none_or(|active| active.memory_bytes() <= limit));
            prop_assert_eq!(publisher.figures().0, active.as_ref().map_or(0, |active| active.len() as u64));
            let check = readiness.checks().into_iter().find(|check| check.name == SNAPSHOT).unwrap();
            prop_assert_eq!(check.good, active.is_some());
            let detail = active
                .map(|active| format!("{}, {}", active.name(), count(active.len() as u64, "indicator", "indicators")));
            prop_assert!(detail.is_none_or(|detail| check.detail == detail), "{}", check.detail);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    let seen = seen.into_inner().unwrap();
    assert!(seen[0] > 0 && (!has_control || seen.iter().all(|count| *count > 0)), "{seen:?}");
}

/// Scenario: files change, and manifests are prepared, published, superseded and withdrawn, in any order; some are
/// invalid, and some exceed the memory limit alone or together with what is active. Guarantee: the last good candidate
/// is active, a failed one never replaces it, and readiness and figures are those of the active snapshot.
#[test]
fn the_last_good_candidate_is_active() {
    check(true);
}

/// Guarantee: the same with files alone.
#[test]
fn the_last_good_files_are_active() {
    check(false);
}
