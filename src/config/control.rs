//! `intel.control`: the control plane that sends the versions of indicators.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::intel::manifest::{MAX_AUDIENCE, is_audience};

use super::address::Endpoint;
use super::problem::Fault;
use super::reader::{Item, Table};
use super::tls::ClientTls;
use super::units::{Size, Time};

/// The most labels of a node.
const MAX_LABELS: usize = 32;
/// The longest name or value of a label, in characters.
const MAX_LABEL: usize = 63;

/// The control plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Control {
    /// The control plane: `https://host:port`, `http://host:port` or `unix:/path`.
    #[schemars(with = "String")]
    pub endpoint: Endpoint,
    /// The name of this node, `[a-z0-9.-]{1,63}`, unique within its tenant. Absent: the host name made such a name; in a pod, `${HOSTNAME}` is the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Labels that select publications for this node, such as `zone` and `group`: up to 32 names `[a-z0-9._/-]` and values, each of 1 to 63 characters.
    #[schemars(extend("default" = {}))]
    pub labels: BTreeMap<String, String>,
    /// The audience of this node: only manifests with exactly this `audience` are accepted. 1 to 128 characters of `[a-z0-9._/-]`.
    pub audience: String,
    /// Files of public keys (PEM, Ed25519). A manifest must be signed by one of them. Empty: manifests need no signature, and the control plane is trusted.
    #[schemars(extend("default" = []))]
    pub trusted_keys: Vec<PathBuf>,
    /// The directory for segments and the last good manifests, which are active at start while the control plane is away. It is created if it does not exist, and must not be used for anything else. Relative paths start at the working directory.
    pub cache: PathBuf,
    /// The maximum size of the segments in it. It needs space for the active version and the next one; segments that both share count once.
    #[serde(with = "Size")]
    #[schemars(extend("default" = "8GiB"))]
    pub cache_bytes: usize,
    /// TLS settings for an `https` endpoint. Absent: the system's authorities, and no client certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ClientTls>,
    /// Time without a byte after which the control plane's health is checked; every answer counts.
    #[serde(with = "Time")]
    #[schemars(extend("default" = "10s"))]
    pub ping_after: Duration,
    /// Time for an answer to the health check; after that the connection is closed.
    #[serde(with = "Time")]
    #[schemars(extend("default" = "10s"))]
    pub ping_timeout: Duration,
}

impl Control {
    pub(super) const KEYS: &[&'static str] = &[
        "endpoint",
        "node",
        "labels",
        "audience",
        "trusted_keys",
        "cache",
        "cache_bytes",
        "tls",
        "ping_after",
        "ping_timeout",
    ];

    pub(super) fn read(item: &Item<'_>) -> Option<Control> {
        let table = item.table(Control::KEYS)?;
        let wanted = "an endpoint such as `https://host:port`, `http://host:port` or `unix:/path`";
        let endpoint = table
            .required("endpoint", "the control plane, e.g. `https://control.example:14400`")
            .and_then(|item| item.parsed(wanted, Endpoint::parse));
        let node = table.get("node").and_then(|item| item.parsed("a name", node));
        let labels = table.or("labels", BTreeMap::new(), |item| Some(labels(&item.any_table()?)));
        let audience = table.required("audience", "the audience of the manifests, e.g. `acme`").and_then(|item| {
            item.parsed("an audience", |text| match is_audience(text) {
                true => Ok(text.to_owned()),
                false => Err(format!("is not an audience; give 1 to {MAX_AUDIENCE} characters of `[a-z0-9._/-]`")),
            })
        });
        let trusted_keys = table.or("trusted_keys", Vec::new(), |list| {
            let items = list.list("a list of files, e.g. `[\"keys/release.pub\"]`")?;
            Some(items.iter().filter_map(|item| path(item, "the path of a PEM file")).collect())
        });
        let cache = table
            .required("cache", "a directory, e.g. `cache`")
            .and_then(|item| path(&item, "the path of a directory"));
        let cache_bytes = table.or("cache_bytes", 8 << 30, Item::size);
        let tls = table.get("tls").and_then(|item| ClientTls::read(&item));
        let ping_after = table.or("ping_after", Duration::from_secs(10), Item::timeout);
        let ping_timeout = table.or("ping_timeout", Duration::from_secs(10), Item::timeout);
        let (endpoint, audience, cache) = (endpoint?, audience?, cache?);
        if let Some(item) = table.get("tls").filter(|_| !matches!(endpoint, Endpoint::Https { .. })) {
            item.report(Fault::BadValue {
                value: endpoint.to_string(),
                reason: "does not use TLS; give an `https://` endpoint, or leave `tls` out".to_owned(),
            });
        }
        Some(Control {
            endpoint,
            node,
            labels,
            audience,
            trusted_keys,
            cache,
            cache_bytes,
            tls,
            ping_after,
            ping_timeout,
        })
    }

    /// The name of the node: the configured one, or the host name with what no name may have replaced.
    pub fn node_name(&self, host: &str) -> String {
        let made = || {
            let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '-');
            let name: String = host.trim().chars().flat_map(char::to_lowercase).take(63).collect();
            name.chars().map(|c| if allowed(c) { c } else { '-' }).collect()
        };
        let name = self.node.clone().unwrap_or_else(made);
        if node(&name).is_ok() { name } else { "node".to_owned() }
    }
}

fn node(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
    match text.len() <= 63 && text.bytes().all(allowed) && !matches!(text, "" | "." | "..") {
        true => Ok(text.to_owned()),
        false => {
            Err("is not a node name; give 1 to 63 lower-case letters, digits, `.` and `-`, not `.` or `..`".to_owned())
        }
    }
}

fn labels(table: &Table<'_>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (name, item) in table.iter() {
        let fault = |value: &str, reason: String| item.report(Fault::BadValue { value: value.to_owned(), reason });
        let Some(value) = item.text() else { continue };
        if name.len() > MAX_LABEL || !is_audience(name) {
            fault(name, format!("is not a label name; give 1 to {MAX_LABEL} characters of `[a-z0-9._/-]`"));
        } else if value.chars().count() > MAX_LABEL || value.chars().any(char::is_control) {
            fault(&value, format!("is not a label value; give 1 to {MAX_LABEL} printable characters"));
        } else {
            labels.insert(name.to_owned(), value);
        }
    }
    if labels.len() > MAX_LABELS {
        let reason = format!("labels are more than the {MAX_LABELS} that are allowed; leave some out");
        table.item.report(Fault::BadValue { value: labels.len().to_string(), reason });
    }
    labels
}

fn path(item: &Item<'_>, expected: &'static str) -> Option<PathBuf> {
    item.parsed(expected, |text| match text.contains('\0') {
        true => Err("has a NUL character, which no path can have".to_owned()),
        false => Ok(PathBuf::from(text)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Format, Problem};

    fn parse(control: &str) -> Result<Control, Vec<String>> {
        let text =
            format!("sources: {{ a: {{ type: filter, address: 'unix:/a' }} }}\nintel:\n  control: {{ {control} }}\n");
        let environment = |name: &str| (name == "HOSTNAME").then(|| "pod-1.a".to_owned());
        match Config::parse(&text, Format::Yaml, &environment) {
            Ok(config) => Ok(config.intel.control.unwrap()),
            Err(errors) => Err(errors.problems.iter().map(Problem::to_string).collect()),
        }
    }

    const LEAST: &str = "endpoint: 'https://c:1', audience: acme/prod, cache: c";

    #[test]
    fn everything_but_three_keys_has_a_default() {
        let control = parse(LEAST).unwrap();
        assert_eq!(control.cache_bytes, 8 << 30);
        assert!(control.trusted_keys.is_empty() && control.labels.is_empty() && control.tls.is_none());
        let full = format!(
            "{LEAST}, node: '${{HOSTNAME}}', labels: {{ zone: b, tenant: a }}, trusted_keys: [k.pub], \
             cache_bytes: 1GiB, tls: {{ ca_file: ca }}, ping_after: 1s, ping_timeout: 500ms"
        );
        let control = parse(&full).unwrap();
        assert_eq!(control.node.as_deref(), Some("pod-1.a"));
        assert_eq!(control.labels["zone"], "b");
        let problems = parse("cache_bytes: 1").unwrap_err();
        assert_eq!(problems.len(), 3, "{problems:?}");
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (change, wanted) in [
            ("node: A", "is not a node name"),
            ("node: '..'", "is not a node name"),
            ("node: a/b", "is not a node name"),
            ("labels: { Zone: a }", "is not a label name"),
            ("labels: { zone: \"a\\nb\" }", "is not a label value"),
            ("labels: { zone: 1 }", "expected a string"),
            ("tls: {}, endpoint_: x", "did you mean `endpoint`"),
            ("trusted_keys: k.pub", "expected a list of files"),
            ("cache_bytes: 0", "lets nothing through"),
            ("ping_after: 0s", "leaves no time"),
        ] {
            let problems = parse(&format!("{LEAST}, {change}")).unwrap_err();
            assert!(problems.iter().any(|problem| problem.contains(wanted)), "{change}: {problems:?}");
        }
        let problems = parse("endpoint: 'http://c:1', audience: ACME, cache: c, tls: {}").unwrap_err();
        assert!(problems[0].contains("`ACME` is not an audience"), "{problems:?}");
        let problems = parse("endpoint: 'http://c:1', audience: a, cache: c, tls: {}").unwrap_err();
        assert!(problems[0].contains("does not use TLS"), "{problems:?}");
        let many: Vec<String> = (0..33).map(|n| format!("l{n}: x")).collect();
        let problems = parse(&format!("{LEAST}, labels: {{ {} }}", many.join(", "))).unwrap_err();
        assert!(problems[0].contains("more than the 32"), "{problems:?}");
    }

    #[test]
    fn a_host_name_becomes_a_name_of_a_node() {
        let control = parse(LEAST).unwrap();
        assert_eq!(control.node_name("Web_01.Example\n"), "web-01.example");
        assert_eq!(control.node_name(&"x".repeat(100)), "x".repeat(63));
        for nothing in ["", ".", ".."] {
            assert_eq!(control.node_name(nothing), "node");
        }
        assert_eq!(parse(&format!("{LEAST}, node: n1")).unwrap().node_name("host"), "n1");
    }
}
