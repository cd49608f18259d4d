//! The interface for operators: probes, metrics, the log, failure modes and exit codes of the real process.

use hotlist::encoding::otlp::request_of;
use serde_json::{Value, json};

use crate::client::export;
use crate::next_hop::{Closed, Mood, NextHop};
use crate::process::{Hotlist, Scene};

fn batch(documents: &[Value]) -> Vec<u8> {
    request_of(documents.iter().map(|document| (1, document)))
}

/// The value of one series, as Prometheus prints it.
fn series<'m>(metrics: &'m str, name: &str) -> Option<&'m str> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
}

fn assert_series(metrics: &str, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(series(metrics, name), Some(*value), "{name} in:\n{metrics}");
    }
}

/// Scenario: one batch of four known events, then one that the next hop refuses. Guarantee: the probes answer, and
/// every counter has the number that the batches say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_answer_and_metrics_count_what_happened() {
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["198.51.100.23", "evil.example.com", "not an indicator at all"]);
    let hotlist = Hotlist::start(&scene.readme(&next_hop.endpoint));
    assert_eq!(hotlist.admin("/livez").await, (200, "ok\n".to_owned()));
    let (status, report) = hotlist.admin("/readyz?verbose").await;
    assert_eq!(status, 200, "{report}");
    let (_, metrics) = hotlist.admin("/metrics").await;
    let info = metrics.lines().find_map(|line| line.strip_prefix("hotlist_snapshot_info{snapshot=\"")).unwrap();
    let name = info.strip_suffix("\"} 1").unwrap();
    assert!(name.starts_with("files:"), "{name}");
    // The subject is the report as a whole: operators and health checks read it.
    let sinks = ["next", "hits"].map(|sink| format!("[+] sink {sink}: no success yet, no failure\n")).concat();
    let checks = format!("[+] listeners: bound\n[+] snapshot: {name}, 2 indicators\n[+] feeds: 1 file OK\n");
    assert_eq!(report, format!("{checks}{sinks}ok\n"));
    let (_, metrics) = hotlist.admin("/metrics").await;
    assert_series(
        &metrics,
        &[
            ("hotlist_indicators{kind=\"ip\"}", "1"),
            ("hotlist_indicators{kind=\"domain\"}", "1"),
            ("hotlist_feed_indicators{feed=\"planted\"}", "2"),
            ("hotlist_feed_unusable_lines{feed=\"planted\"}", "1"),
            ("hotlist_suppressions_total{reason=\"event_is_indicator\"}", "0"),
        ],
    );
    let message = batch(&[
        json!({ "source": { "ip": "198.51.100.23" }, "destination": { "domain": "evil.example.com" } }),
        json!({ "source.ip": "198.51.100.23" }),
        json!({ "event": { "kind": "enrichment" }, "source": { "ip": "198.51.100.23" } }),
        json!({ "source": { "ip": "192.0.2.1" } }),
    ]);
    let address = hotlist.address();
    assert_eq!(export(&address, &message).await.unwrap().status, 0);
    next_hop.set(Mood::Refuse(14));
    assert_eq!(export(&address, &batch(&[json!({ "message": "x" })])).await.unwrap().status, 14);
    let (status, report) = hotlist.admin("/readyz?verbose").await;
    let of_next = report.lines().find(|line| line.starts_with("[i] sink next: last success ")).unwrap();
    assert!(of_next.contains(", last failure ") && of_next.contains(" (unavailable): sink next, "), "{of_next}");
    assert!(report.contains("[+] sink hits: last success "), "{report}");
    assert_eq!(status, 200, "{report}");
    let bytes = message.len() + batch(&[json!({ "message": "x" })]).len();
    let (_, metrics) = hotlist.admin("/metrics").await;
    let sent = series(&metrics, "hotlist_sink_sent_bytes_total{sink=\"next\"}").unwrap();
    assert_eq!(sent, next_hop.take()[0].message().len().to_string());
    assert_series(
        &metrics,
        &[
            ("hotlist_events_total", "5"),
            ("hotlist_event_bytes_total", &bytes.to_string()),
            ("hotlist_source_received_bytes_total{source=\"agents\"}", &bytes.to_string()),
            ("hotlist_observables_total", "5"),
            ("hotlist_hits_total{kind=\"ip\",feed=\"planted\"}", "2"),
            ("hotlist_hits_total{kind=\"domain\",feed=\"planted\"}", "1"),
            ("hotlist_suppressions_total{reason=\"event_is_indicator\"}", "1"),
            ("hotlist_suppressions_total{reason=\"expired\"}", "0"),
            ("hotlist_source_requests_total{source=\"agents\",status=\"ok\"}", "1"),
            ("hotlist_source_requests_total{source=\"agents\",status=\"unavailable\"}", "1"),
            ("hotlist_sink_requests_total{sink=\"next\",status=\"ok\"}", "1"),
            ("hotlist_sink_requests_total{sink=\"next\",status=\"unavailable\"}", "1"),
            ("hotlist_stage_seconds_count{stage=\"match\"}", "2"),
        ],
    );
}

/// Guarantee: whatever the next hop answers, the collector gets a status that it retries: RESOURCE_EXHAUSTED as it is,
/// everything else, and silence, as UNAVAILABLE with the sink's name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_of_the_next_hop_become_unavailable() {
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["198.51.100.23"]);
    let hotlist = Hotlist::start(&scene.sidecar(&next_hop.endpoint, ", timeout: 300ms", ""));
    let message = batch(&[json!({ "source": { "ip": "198.51.100.23" } })]);
    for refused in 1..=16 {
        next_hop.set(Mood::Refuse(refused));
        let answer = export(&hotlist.address(), &message).await.unwrap();
        assert_eq!(answer.status, if refused == 8 { 8 } else { 14 }, "{answer:?}");
        assert!(answer.message.contains("sink next"), "{answer:?}");
    }
    next_hop.set(Mood::Hold);
    let answer = export(&hotlist.address(), &message).await.unwrap();
    assert_eq!(answer.status, 14);
    assert!(answer.message.contains("sink next") && answer.message.contains("300 ms"), "{answer:?}");
    assert!(next_hop.take().is_empty());
    assert_eq!(scene.ndjson("hits.ndjson"), Vec::<Value>::new(), "a hit that was not delivered will come again");
}

/// Scenario: a sidecar sends over HTTP to another one, which sends on over gRPC. Guarantee: the hit that the first one tags
/// arrives once, and both report their sinks as good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn otlp_over_http_to_another_sidecar() {
    let (scene, behind, next_hop) = (Scene::new(), Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["198.51.100.23"]);
    behind.indicators("planted", &["192.0.2.99"]);
    let second = Hotlist::start(&behind.readme(&next_hop.endpoint));
    let endpoint = format!("http://{}", second.address());
    let first = Hotlist::start(&scene.sidecar(&endpoint, ", protocol: http, compression: gzip", ""));
    let message = batch(&[json!({ "source": { "ip": "198.51.100.23" } })]);
    assert_eq!(export(&first.address(), &message).await.unwrap().status, 0);
    let arrived = next_hop.take();
    assert_eq!(arrived.len(), 1);
    assert!(arrived[0].message().windows(12).any(|part| part == b"threat-match"));
    for hotlist in [first, second] {
        let (_, report) = hotlist.admin("/readyz?verbose").await;
        assert!(report.contains("[+] sink next: last success "), "{report}");
    }
}

/// Scenario: the next hop does not listen yet, and later it does. Guarantee: UNAVAILABLE, ready nevertheless, and
/// delivery begins by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_next_hop_that_is_down_is_unavailable_until_it_is_up() {
    let (scene, closed) = (Scene::new(), Closed::bind());
    scene.indicators("planted", &["198.51.100.23"]);
    let hotlist = Hotlist::start(&scene.readme(&closed.endpoint));
    let message = batch(&[json!({ "source": { "ip": "198.51.100.23" } })]);
    let answer = export(&hotlist.address(), &message).await.unwrap();
    assert_eq!(answer.status, 14);
    assert!(answer.message.contains("onnection refused"), "{answer:?}");
    assert_eq!(hotlist.admin("/readyz").await.0, 200);
    let next_hop = closed.open();
    let deadline = std::time::Instant::now() + crate::process::PATIENCE;
    // The client of this test has no pause between its attempts; the sidecar's own back-off bounds the connections.
    while export(&hotlist.address(), &message).await.unwrap().status != 0 {
        assert!(std::time::Instant::now() < deadline, "{}", hotlist.log());
    }
    assert_eq!(next_hop.take().len(), 1);
}

/// Scenario: a second sink with `required: false` whose next hop holds every request. Guarantee: the collector is
/// acknowledged nevertheless and the required sink has everything; batches for which the other sink has no room are
/// dropped and counted, and its failures are only counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_sink_that_is_not_required() {
    let (scene, next_hop, copy) = (Scene::new(), NextHop::start().await, NextHop::start().await);
    scene.indicators("planted", &["198.51.100.23"]);
    copy.set(Mood::Hold);
    let text = std::fs::read_to_string(scene.readme(&next_hop.endpoint)).unwrap();
    let second = format!(
        "sinks:\n  copy: {{ type: otlp, inputs: [agents], endpoint: \"{}\", required: false }}\n",
        copy.endpoint
    );
    let hotlist = Hotlist::start(&scene.write("hotlist.yaml", &text.replacen("sinks:\n", &second, 1)));
    let message = batch(&[json!({ "source": { "ip": "192.0.2.1" } })]);
    // Eight may be on their way.
    for _ in 0..9 {
        assert_eq!(export(&hotlist.address(), &message).await.unwrap().status, 0);
    }
    assert_eq!(next_hop.take().len(), 9);
    copy.held(8).await;
    let (_, metrics) = hotlist.admin("/metrics").await;
    assert_series(&metrics, &[("hotlist_sink_requests_total{sink=\"copy\",status=\"dropped\"}", "1")]);
    copy.set(Mood::Refuse(3));
    let deadline = std::time::Instant::now() + crate::process::PATIENCE;
    let failures = "hotlist_sink_requests_total{sink=\"copy\",status=\"unavailable\"}";
    while series(&hotlist.admin("/metrics").await.1, failures) != Some("8") {
        assert!(std::time::Instant::now() < deadline, "{}", hotlist.admin("/metrics").await.1);
    }
    assert!(copy.take().is_empty());
}

/// Scenario: indicator files are configured, and none can be loaded. Guarantee: `open` passes everything untagged, logs
/// a warning and is ready; `closed` refuses with UNAVAILABLE and is not ready, but alive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_loadable_file_the_failure_mode_decides() {
    let message = batch(&[json!({ "source": { "ip": "198.51.100.23" } })]);
    for (mode, status, ready) in [("open", 0, 200), ("closed", 14, 503)] {
        let (scene, next_hop) = (Scene::new(), NextHop::start().await);
        let config = scene.sidecar(&next_hop.endpoint, "", &format!("failure_mode: {mode}\n"));
        let hotlist = Hotlist::start(&config);
        let said = hotlist.wait_for("NOTHING IS MATCHED");
        assert_eq!(said["level"], "ERROR", "{said}");
        let answer = export(&hotlist.address(), &message).await.unwrap();
        assert_eq!(answer.status, status, "{mode}: {answer:?}");
        let arrived: Vec<bytes::Bytes> = next_hop.take().iter().map(|request| request.message()).collect();
        let (is_ready, report) = hotlist.admin("/readyz?verbose").await;
        assert_eq!(is_ready, ready, "{mode}: {report}");
        assert!(report.contains("snapshot: no indicator file"), "{mode}: {report}");
        assert_eq!(hotlist.admin("/livez").await.0, 200);
        let (_, metrics) = hotlist.admin("/metrics").await;
        if mode == "open" {
            assert!(arrived == [message.clone()], "untouched");
            assert_series(&metrics, &[("hotlist_malformed_records_total{reason=\"no_snapshot\"}", "1")]);
        } else {
            assert!(arrived.is_empty());
            assert!(answer.message.contains("failure_mode"), "{answer:?}");
        }
    }
}

/// Scenario: no feed at all, and only feeds that are turned off. Guarantee: events pass, and the log warns that nothing
/// is matched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_enabled_feed_is_said_loudly() {
    let message = batch(&[json!({ "source": { "ip": "198.51.100.23" } })]);
    for (from, to) in [("allow_generic: true", "enabled: false"), ("files: [", "files: [] # [")] {
        let (scene, next_hop) = (Scene::new(), NextHop::start().await);
        scene.indicators("planted", &["198.51.100.23"]);
        let text = std::fs::read_to_string(scene.readme(&next_hop.endpoint)).unwrap();
        let hotlist = Hotlist::start(&scene.write("hotlist.yaml", &text.replacen(from, to, 1)));
        let said = hotlist.wait_for("NOTHING IS MATCHED");
        assert_eq!(said["level"], "WARN");
        assert!(!hotlist.log().contains("ERROR"), "what was not asked for cannot be missing: {}", hotlist.log());
        assert_eq!(export(&hotlist.address(), &message).await.unwrap().status, 0);
        assert!(next_hop.take().iter().map(|request| request.message()).eq([message.clone()]));
    }
}

/// Guarantee: a mistyped key stops the start with exit code 64 and names place and nearest key; an address in use
/// stops it with 1 and names the setting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_start_says_why_in_its_exit_code_and_its_words() {
    let (scene, next_hop) = (Scene::new(), NextHop::start().await);
    scene.indicators("planted", &["198.51.100.23"]);
    let text = std::fs::read_to_string(scene.readme(&next_hop.endpoint)).unwrap();
    let mistyped = scene.write("mistyped.yaml", &text.replace("endpoint:", "endpont:"));
    let (status, log) = Hotlist::spawn(&mistyped).wait();
    assert_eq!(status.code(), Some(64), "{log}");
    assert!(log.contains("sinks.next.endpont: ") && log.contains("`endpoint`"), "{log}");

    let other = NextHop::start().await;
    let taken = other.endpoint.trim_start_matches("http://");
    let taken = text.replacen("address: \"127.0.0.1:0\"", &format!("address: \"{taken}\""), 1);
    let (status, log) = Hotlist::spawn(&scene.write("taken.yaml", &taken)).wait();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("`sources.agents.address`"), "{log}");
}
