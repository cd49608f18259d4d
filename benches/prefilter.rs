//! The cost of a look-up: our prefilter, compared with a hash set of the same keys and two published Bloom filters.
//!
//! `cargo bench --bench prefilter [-- --json] [-- --quick]`. Every candidate is asked for the same keys, all of them
//! absent, as most observables are; each figure is the best of several passes in one run, interleaved.

use std::collections::HashSet;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use hotlist::intel::indicator::{Context, Feed, Indicator, NameScope, Target, Term, TermValue};
use hotlist::intel::keys::{KeyHasher, KeySpace};
use hotlist::intel::prefilter::Prefilter;
use hotlist::intel::segment::{HashKey, SegmentBuilder, TableId};

/// Look-ups in one pass.
const PROBES: usize = 1 << 20;

#[expect(clippy::print_stdout, reason = "a benchmark talks to the person at the terminal")]
fn main() {
    let flag = |name: &str| std::env::args().any(|argument| argument == name);
    let sizes: &[usize] = if flag("--quick") { &[100_000, 1_000_000] } else { &[100_000, 1_000_000, 10_000_000] };
    let passes = if flag("--quick") { 3 } else { 7 };
    println!("ns a look-up of an absent key, best of {passes} passes of {PROBES} look-ups\n");
    println!(
        "{:>11} {:>10} {:>10} {:>10} {:>12} {:>10} {:>8} {:>10}",
        "keys", "prefilter", "hash set", "exact set", "bloomfilter", "fastbloom", "ratio", "passed"
    );
    let mut rows = Vec::new();
    for keys in sizes {
        let row = measure(*keys, passes);
        println!(
            "{keys:>11} {:>10.1} {:>10.1} {:>10.1} {:>12.1} {:>10.1} {:>8.2} {:>9.3}%",
            row.prefilter,
            row.hash_set,
            row.exact,
            row.bloomfilter,
            row.fastbloom,
            row.prefilter / row.hash_set,
            row.passed * 100.0
        );
        rows.push((*keys, row));
    }
    if flag("--json") {
        let rows: Vec<_> = rows
            .iter()
            .map(|(keys, row)| {
                serde_json::json!({
                    "keys": keys, "prefilter_ns": row.prefilter, "hash_set_ns": row.hash_set, "exact_set_ns": row.exact,
                    "bloomfilter_ns": row.bloomfilter, "fastbloom_ns": row.fastbloom,
                    "ratio_to_hash_set": row.prefilter / row.hash_set, "false_positive_rate": row.passed,
                })
            })
            .collect();
        println!("{}", serde_json::json!({ "prefilter": rows }));
    }
}

struct Row {
    prefilter: f64,
    hash_set: f64,
    exact: f64,
    bloomfilter: f64,
    fastbloom: f64,
    passed: f64,
}

/// A domain of ordinary length; the first byte separates present keys from absent ones.
fn key(prefix: char, number: usize) -> String {
    format!("{prefix}{:x}.host{}.example", (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24, number % 977)
}

fn indicator(name: &str, context: &Arc<Context>) -> Indicator {
    Indicator {
        id: None,
        terms: vec![Term {
            value: TermValue::Domain { name: name.into(), scope: NameScope::Exact },
            target: Target::Kind,
        }],
        program: None,
        context: Arc::clone(context),
        valid_from: None,
        valid_until: None,
        revoked: false,
        port: None,
        line: 0,
    }
}

#[expect(clippy::expect_used, reason = "the sizes are constants")]
fn measure(keys: usize, passes: usize) -> Row {
    let hasher = KeyHasher::new(0x5eed);
    let mut prefilter = Prefilter::with_capacity(keys);
    let mut exact = SegmentBuilder::default();
    exact.feed(&Feed::named("bench"));
    let context = Arc::new(Context::default());
    let mut set: HashSet<String, foldhash::quality::RandomState> = HashSet::default();
    let mut classic = bloomfilter::Bloom::<[u8]>::new_for_fp_rate(keys, 0.001).expect("a valid size");
    let mut fast = fastbloom::BloomFilter::with_false_pos(0.001).expected_items(keys);
    for number in 0..keys {
        let key = key('a', number);
        let hash = hasher.hash(KeySpace::Domain, key.as_bytes());
        prefilter.insert(hash);
        exact.add(&indicator(&key, &context)).expect("room for the keys");
        classic.set(key.as_bytes());
        fast.insert(key.as_bytes());
        set.insert(key);
    }
    let exact = exact.into_segment(HashKey::Given(1)).expect("room for the keys");
    let probes: Vec<String> = (0..PROBES).map(|number| key('b', number)).collect();
    let mut best = [f64::INFINITY; 5];
    let mut passed = 0;
    for _ in 0..passes {
        best[0] = best[0].min(time(
            &probes,
            |probe| prefilter.contains(hasher.hash(KeySpace::Domain, probe.as_bytes())),
            &mut passed,
        ));
        best[1] = best[1].min(time(&probes, |probe| set.contains(probe), &mut 0));
        best[2] = best[2].min(time(
            &probes,
            |probe| {
                let mut is_there = false;
                exact.find(TableId::Space(KeySpace::Domain), probe.as_bytes(), |_| is_there = true);
                is_there
            },
            &mut 0,
        ));
        best[3] = best[3].min(time(&probes, |probe| classic.check(probe.as_bytes()), &mut 0));
        best[4] = best[4].min(time(&probes, |probe| fast.contains(probe.as_bytes()), &mut 0));
    }
    let [prefilter, hash_set, exact, bloomfilter, fastbloom] = best;
    Row { prefilter, hash_set, exact, bloomfilter, fastbloom, passed: passed as f64 / PROBES as f64 }
}

/// Nanoseconds a look-up; `found` gets the number of keys that were claimed to be there.
fn time(probes: &[String], contains: impl Fn(&str) -> bool, found: &mut usize) -> f64 {
    let start = Instant::now();
    *found = probes.iter().filter(|probe| black_box(contains(black_box(probe)))).count();
    start.elapsed().as_nanos() as f64 / probes.len() as f64
}
