//! A store, its control plane, and sidecars, all in one directory.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hotlist::encoding::envelope::OTLP;
use hotlist::encoding::otlp::{render_record, request_of};
use hotlist::intel::manifest::{Key, Mode, Origin, Rule, SegmentRef};
use hotlist::names::Name;
use hotlist::store::{Draft, FeedState, Labels, Store};
use serde_json::{Value, json};

use crate::client::export;
use crate::next_hop::NextHop;
use crate::process::{Hotlist, PATIENCE, Scene};

pub const AUDIENCE: &str = "acme";
/// The name of what is published.
pub const NAME: &str = "main";

/// Everything that a fleet has on disk.
pub struct Fleet {
    pub scene: Scene,
}

impl Fleet {
    /// With a key that signs.
    pub fn new() -> Fleet {
        let fleet = Fleet { scene: Scene::new() };
        std::fs::create_dir(fleet.scene.path("feeds")).unwrap();
        fleet.prints(&["keygen", "--out", "key.pem"]);
        fleet
    }

    fn hotlist(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hotlist"));
        command.args(arguments).current_dir(self.scene.path("")).env_remove("HOTLIST_LOG").output().unwrap()
    }

    /// The output of a subcommand that succeeds.
    pub fn prints(&self, arguments: &[&str]) -> String {
        let output = self.hotlist(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Compiles files of indicators, `name.extension` and content, each a feed.
    pub fn compile(&self, feeds: &[(&str, String)]) {
        let mut paths = Vec::new();
        for (name, content) in feeds {
            paths.push(self.scene.write(&format!("feeds/{name}"), content).display().to_string());
        }
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        self.prints(&[&["compile", "--out", "store", "--allow-shrink"][..], &paths].concat());
    }

    /// Publishes what is compiled, and says the version.
    pub fn publish(&self, more: &[&str]) -> u64 {
        let of = ["publish", "--store", "store", "--name", NAME, "--audience", AUDIENCE, "--key", "key.pem"];
        version_in(&self.prints(&[&of[..], more].concat()))
    }

    /// Compiles one feed of domains and publishes everything.
    pub fn serve(&self, feed: &str, domains: &[&str]) -> u64 {
        self.compile(&[(&format!("{feed}.txt"), lines(domains))]);
        self.publish(&[])
    }

    pub fn promote(&self) -> u64 {
        version_in(&self.prints(&["promote", "--store", "store", "--name", NAME, "--key", "key.pem"]))
    }

    /// When the newest publication came under its name: nodes get to know of it from then on.
    pub fn in_force(&self) -> Instant {
        let (now, metadata) = (
            Instant::now(),
            std::fs::metadata(self.scene.path(&format!("store/publications/{NAME}.serve.json"))).unwrap(),
        );
        let at = UNIX_EPOCH + Duration::new(metadata.ctime().unsigned_abs(), metadata.ctime_nsec() as u32);
        now.checked_sub(SystemTime::now().duration_since(at).unwrap_or_default()).unwrap()
    }

    pub fn store(&self) -> Store {
        Store::open(self.scene.path("store")).unwrap()
    }

    pub fn key(&self) -> Key {
        Key::from_pem(&std::fs::read(self.scene.path("key.pem")).unwrap()).unwrap()
    }

    /// What `publish` would publish of the store, to be changed.
    pub fn draft(&self) -> Draft {
        let feeds = self.store().feeds().unwrap();
        let segments = feeds.iter().flat_map(|feed| &feed.segments);
        let segments = segments.map(|of| SegmentRef { digest: of.digest.parse().unwrap(), bytes: of.bytes });
        let rule = |feed: &FeedState| Rule { feed: feed.feed.clone(), enabled: true, origin: Origin::Feed };
        Draft {
            name: Name::parse(NAME).unwrap(),
            labels: Labels::new(),
            audience: AUDIENCE.to_owned(),
            mode: Mode::Serve,
            segments: segments.collect(),
            revocations: Vec::new(),
            rules: feeds.iter().map(rule).collect(),
            lifetime: None,
        }
    }

    /// Starts the control plane at the socket `plane.sock`.
    pub fn plane(&self) -> Plane {
        let listen = format!("unix:{}", self.scene.path("plane.sock").display());
        self.plane_with(&["--listen", &listen])
    }

    pub fn plane_with(&self, more: &[&str]) -> Plane {
        std::fs::create_dir_all(self.scene.path("store")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hotlist"));
        command
            .args(["control-plane", "--admin", "none", "--store", "store"])
            .args(more)
            .current_dir(self.scene.path(""));
        let command = command.env_remove("HOTLIST_LOG").stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (line, log) = channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|text| drop(line.send(text))));
        let mut plane = Plane { child, log, address: String::new() };
        let line = plane.wait_for("control plane is listening");
        plane.address = line.split("address=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        plane
    }

    /// A node of the control plane at `plane.sock`, with files of indicators, too.
    pub fn sidecar(&self, node: &str, next: &NextHop, intel: &str) -> PathBuf {
        let endpoint = format!("unix:{}", self.scene.path("plane.sock").display());
        self.config(node, "127.0.0.1:0", &endpoint, &next.endpoint, "", intel)
    }

    /// The configuration `<node>.yaml`: `control` is more of `intel.control`, `intel` more lines of `intel`.
    pub fn config(&self, node: &str, source: &str, endpoint: &str, next: &str, control: &str, intel: &str) -> PathBuf {
        let path = |name: &str| self.scene.path(name).display().to_string();
        let (key, cache) = (path("key.pem.pub"), path(&format!("cache-{node}")));
        let text = format!(
            r#"sources:
  agents: {{ type: otlp, address: "{source}" }}
intel:
  control: {{ endpoint: "{endpoint}", audience: {AUDIENCE}, node: {node}, trusted_keys: ["{key}"], cache: "{cache}"{control} }}
{intel}
sinks:
  next: {{ type: otlp, inputs: [agents], endpoint: "{next}" }}
admin: {{ address: "127.0.0.1:0" }}
log: {{ format: json }}
"#
        );
        self.scene.write(&format!("{node}.yaml"), &text)
    }

    /// What the control plane at `plane.sock` says of a node's slot, once `is_so`.
    pub async fn node(&self, node: &str, slot: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let endpoint = format!("unix:{}", self.scene.path("plane.sock").display());
        let deadline = Instant::now() + PATIENCE;
        loop {
            let printed = self.prints(&["nodes", "--endpoint", &endpoint, "--json"]);
            let of = printed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let found = of.into_iter().find(|of| of["node"] == node);
            let slots = found.as_ref().and_then(|found| found["slots"].as_array());
            let found = slots.and_then(|slots| slots.iter().find(|of| of["slot"] == slot));
            if let Some(found) = found.filter(|found| is_so(found)) {
                return found.clone();
            }
            assert!(Instant::now() < deadline, "{node}, {slot}: {printed}");
            pause().await;
        }
    }
}

/// The version in what a command printed.
fn version_in(printed: &str) -> u64 {
    printed.split("version ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// Domains as a file.
pub fn lines(domains: &[&str]) -> String {
    domains.iter().map(|domain| format!("{domain}\n")).collect()
}

/// Between two looks; nothing relies on how long.
pub async fn pause() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

/// A running `hotlist control-plane`. Killed when dropped.
pub struct Plane {
    child: Child,
    log: Receiver<String>,
    pub address: String,
}

impl Plane {
    pub fn wait_for(&self, text: &str) -> String {
        loop {
            let line = self.log.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no line with {text:?}"));
            if line.contains(text) {
                return line;
            }
        }
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        // SIGKILL. It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The report of a part of readiness.
pub async fn says(hotlist: &Hotlist, part: &str) -> String {
    let (_, text) = hotlist.admin("/readyz?verbose").await;
    text.lines().find(|line| line.contains(part)).unwrap_or_default().to_owned()
}

/// Ready when the manifest of this version serves and is written down, so that it does after a restart, too.
pub async fn serves(hotlist: &Hotlist, version: u64) {
    reports(hotlist, &format!("serve: version {version}")).await;
}

/// Ready when some line of readiness has this text, and it is not the beginning of a longer number.
pub async fn reports(hotlist: &Hotlist, words: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (_, text) = hotlist.admin("/readyz?verbose").await;
        let mut after = text.match_indices(words).map(|(at, _)| text[at + words.len()..].chars().next());
        if after.any(|next| next.is_none_or(|next| !next.is_ascii_digit())) {
            return;
        }
        assert!(Instant::now() < deadline, "never {words:?}:\n{text}\n{}", hotlist.log());
        pause().await;
    }
}

/// Ready when so many lines of the log have this text.
pub async fn logged(hotlist: &Hotlist, words: &str, times: usize) {
    let deadline = Instant::now() + PATIENCE;
    while hotlist.log().matches(words).count() < times {
        assert!(Instant::now() < deadline, "not {times} times {words:?}:\n{}", hotlist.log());
        pause().await;
    }
}

/// The value of a metric, with its labels in the name; 0 when there is none.
pub async fn metric(hotlist: &Hotlist, name: &str) -> f64 {
    let (_, text) = hotlist.admin("/metrics").await;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

/// An event with an id and hosts.
pub fn event(id: &str, hosts: &[String]) -> Value {
    json!({ "event": { "id": id }, "related": { "hosts": hosts } })
}

/// The events of a request that arrived.
pub fn events_in(message: &[u8]) -> Vec<Value> {
    let mut events = Vec::new();
    OTLP.records(message, |span| {
        events.push(serde_json::from_slice(&render_record(&message[span.record.payload()])).unwrap());
    })
    .unwrap();
    events
}

/// The enrichments of an event.
pub fn enrichments(event: &Value) -> &[Value] {
    event["threat"]["enrichments"].as_array().map_or(&[], Vec::as_slice)
}

/// The findings in an event, as `feed:name`.
pub fn found(event: &Value) -> BTreeSet<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of = |one: &Value| format!("{}:{}", text(&one["feed"]["name"]), text(&one["indicator"]["name"]));
    enrichments(event).iter().map(of).collect()
}

/// Sends one event with these hosts through a sidecar, and says what was found in it. Nobody else may send meanwhile.
pub async fn judged(address: &str, next: &NextHop, hosts: &[&str]) -> Vec<String> {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    next.take();
    let answer = export(address, &request_of([(0, &event("one", &hosts))])).await.unwrap();
    assert_eq!(answer.status, 0, "{answer:?}");
    let arrived = next.take();
    assert_eq!(arrived.len(), 1);
    found(&events_in(&arrived[0].message())[0]).into_iter().collect()
}
