//! Feed files that become malformed while the real process runs: each is logged, and the last good indicators, and
//! every other feed, stay active.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Instant;

use hotlist::encoding::otlp::request_of;
use serde_json::json;

use crate::client::Connection;
use crate::next_hop::NextHop;
use crate::process::{Hotlist, PATIENCE, Scene};

/// Lines that the last import could not use.
const UNUSABLE: &str = "hotlist_feed_unusable_lines{feed=\"feed\"}";
const INDICATORS: &str = "hotlist_feed_indicators{feed=\"feed\"}";

struct Watched {
    scene: Scene,
    next_hop: NextHop,
    hotlist: Hotlist,
    connection: Connection,
}

impl Watched {
    /// A sidecar with the feed `feed`, a file of that name, and another that nothing happens to.
    async fn start(name: &str, content: &[u8]) -> Watched {
        let (scene, next_hop) = (Scene::new(), NextHop::start().await);
        scene.indicators("other", &["203.0.113.5"]);
        std::fs::write(scene.path("indicators").join(name), content).unwrap();
        let hotlist = Hotlist::start(&scene.readme(&next_hop.endpoint));
        let connection = Connection::open(&hotlist.address()).await.unwrap();
        Watched { scene, next_hop, hotlist, connection }
    }

    /// Written next to its place and moved there.
    fn replace(&self, name: &str, content: &[u8]) {
        std::fs::write(self.scene.path("staged"), content).unwrap();
        std::fs::rename(self.scene.path("staged"), self.scene.path("indicators").join(name)).unwrap();
    }

    async fn hits(&mut self, address: &str) -> bool {
        let message = request_of([(0, &json!({ "source": { "ip": address } }))]);
        let answer = self.connection.export(&message).await.unwrap();
        assert_eq!(answer.status, 0, "{answer:?}");
        self.next_hop.take().iter().any(|request| request.message() != message)
    }

    async fn until_hits(&mut self, address: &str) {
        let begun = Instant::now();
        while !self.hits(address).await {
            assert!(begun.elapsed() < PATIENCE, "{address}: {}", self.hotlist.log());
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A STIX bundle with one address.
fn stix(address: &str) -> String {
    let pattern = format!("[ipv4-addr:value = '{address}']");
    let id = "indicator--01234567-89ab-4cde-8f01-23456789abcd";
    let indicator = json!({ "type": "indicator", "spec_version": "2.1", "id": id, "pattern_type": "stix",
        "pattern": pattern, "created": "2026-01-01T00:00:00Z", "modified": "2026-01-01T00:00:00Z",
        "valid_from": "2020-01-01T00:00:00Z" });
    let bundle = "bundle--01234567-89ab-4cde-8f01-23456789abcd";
    json!({ "type": "bundle", "id": bundle, "objects": [indicator] }).to_string()
}

/// Scenario: a file that was good becomes, one after another, half of its JSON, JSON of another kind, a program, noise,
/// nesting without an end, a packed bomb, nothing, blank lines, a directory. Guarantee: each is logged and counted
/// under its reason; the last good indicators and the other feed match all the while; a good file is active again at
/// once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_way_to_go_bad_is_told_and_costs_nothing() {
    let whole = stix("198.51.100.1");
    let noise: Vec<u8> = (0..1_000_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let elf = [b"\x7fELF\x02\x01\x01\0".as_slice(), &noise[..100_000]].concat();
    // Six gigabytes: a frame that unpacks to 64 MiB, a hundred times.
    let bomb = zstd::encode_all(vec![b'x'; 64 << 20].as_slice(), 1).unwrap().repeat(100);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("half of its JSON", whole.as_bytes()[..whole.len() - 40].to_vec(), "unusable"),
        ("the first byte of it", b"{".to_vec(), "unusable"),
        ("a program", elf, "unusable"),
        ("noise", noise, "unusable"),
        ("JSON of another kind", b"{\"hello\": [1, 2, 3]}".to_vec(), "unusable"),
        ("open brackets", b"[".repeat(1 << 20), "unusable"),
        ("objects in each other", b"{\"objects\":[".repeat(100_000), "unusable"),
        ("a bomb", bomb, "unusable"),
        ("a cut archive", gzip(whole.as_bytes())[..100].to_vec(), "unusable"),
        ("nothing", Vec::new(), "empty"),
        ("blank lines", b"\n\n# a comment\n\n".to_vec(), "empty"),
    ];
    let mut watched = Watched::start("feed.json", whole.as_bytes()).await;
    assert!(watched.hits("198.51.100.1").await);
    let before = watched.hotlist.resident_kib();
    for (number, (case, content, reason)) in cases.iter().enumerate() {
        let begun = Instant::now();
        let errors = async |watched: &Watched| {
            let (_, metrics) = watched.hotlist.admin("/metrics").await;
            let of_feed = |line: &&str| line.starts_with("hotlist_feed_errors_total{feed=\"feed\",");
            let counted = metrics.lines().filter(of_feed).map(|line| {
                let (series, value) = line.split_once("} ").unwrap();
                let (_, reason) = series.split_once("reason=\"").unwrap();
                (reason.trim_end_matches('"').to_owned(), value.parse::<f64>().unwrap())
            });
            counted.collect::<std::collections::BTreeMap<String, f64>>()
        };
        let known = errors(&watched).await;
        watched.replace("feed.json", content);
        let told = loop {
            let now = errors(&watched).await;
            if let Some(reason) = now.iter().find(|(reason, count)| known.get(*reason) != Some(count)) {
                break reason.0.clone();
            }
            assert!(begun.elapsed() < PATIENCE, "{case} is not counted: {}", watched.hotlist.log());
        };
        assert_eq!(told, *reason, "{case}");
        // The line comes behind the metric, through a pipe.
        let line = loop {
            let log = watched.hotlist.log();
            let mut lines = log.lines().filter(|line| line.contains("last good indicators"));
            if let Some(line) = lines.nth(number) {
                break line.to_owned();
            }
            assert!(begun.elapsed() < PATIENCE, "{case} is not told: {log}");
            tokio::task::yield_now().await;
        };
        assert!(line.contains("feed.json") && line.contains(&told), "{case}: {line}");
        assert!(watched.hits("198.51.100.1").await, "{case}: the last good file");
        assert!(watched.hits("203.0.113.5").await, "{case}: the other feed");
        assert_eq!(watched.hotlist.metric(INDICATORS).await, 1.0, "{case}");
        let address = format!("198.51.100.{}", 100 + number);
        watched.replace("feed.json", stix(&address).as_bytes());
        watched.until_hits(&address).await;
        watched.replace("feed.json", whole.as_bytes());
        watched.until_hits("198.51.100.1").await;
    }
    std::fs::remove_file(watched.scene.path("indicators/feed.json")).unwrap();
    std::fs::create_dir(watched.scene.path("indicators/feed.json")).unwrap();
    watched.hotlist.wait_for("\"reason\":\"vanished\"");
    assert!(watched.hits("198.51.100.1").await, "a directory in its place");
    let grown = watched.hotlist.peak_kib().saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB more at most");
}

/// Scenario: of a list that is replaced, three lines of ten thousand cannot be used; then one line is 40 MB long; then
/// the list is a CSV with 100,000 columns, in its header and in a line. Guarantee: every other line is active; the
/// unusable ones are counted, and the log names them with their numbers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_lines_cost_only_themselves() {
    let list = |last: &str| {
        let mut text: String = (0..9_999u32).fold(String::new(), |mut text, number| {
            match number {
                17 => text.push_str("<<<<<<< HEAD\n"),
                5_000 => text.push_str("not an indicator\n"),
                9_000 => text.push_str("\u{1}\u{2}\n"),
                _ => writeln!(text, "{}", std::net::Ipv4Addr::from(0x0b00_0000 + number)).unwrap(),
            }
            text
        });
        text.push_str(last);
        text.push('\n');
        text
    };
    let mut watched = Watched::start("feed.txt", b"198.51.100.1\n").await;
    watched.replace("feed.txt", list("198.51.100.2").as_bytes());
    watched.until_hits("198.51.100.2").await;
    assert!(!watched.hits("198.51.100.1").await);
    assert_eq!(watched.hotlist.metric(UNUSABLE).await, 3.0);
    assert_eq!(watched.hotlist.metric(INDICATORS).await, 9_997.0);
    let log = watched.hotlist.log();
    for line in [18, 5_001, 9_001] {
        assert!(log.contains(&format!("\"line\":{line},")), "{line}: {log}");
    }

    let before = watched.hotlist.resident_kib();
    let long = format!("{}198.51.100.9{}\n", "x".repeat(20 << 20), "y".repeat(20 << 20));
    watched.replace("feed.txt", (long + &list("198.51.100.3")).as_bytes());
    watched.until_hits("198.51.100.3").await;
    assert_eq!(watched.hotlist.metric(UNUSABLE).await, 4.0);
    let grown = watched.hotlist.peak_kib().saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB more for a line of 40 MiB");

    // Half of what it had is needed, or it would have to be confirmed.
    let columns = ",x".repeat(100_000);
    let rows: String =
        (0..6_000u32).map(|number| format!("{}\n", std::net::Ipv4Addr::from(0x0b00_0000 + number))).collect();
    let wide = format!("ioc{columns}\n198.51.100.4{columns}\n198.51.100.5,y\n{rows}");
    watched.replace("feed.txt", wide.as_bytes());
    watched.until_hits("198.51.100.5").await;
    // The header and the line as wide.
    assert_eq!(watched.hotlist.metric(UNUSABLE).await, 2.0);
    assert_eq!(watched.hotlist.metric(INDICATORS).await, 6_001.0);
    assert!(watched.hits("203.0.113.5").await, "the other feed");
}
