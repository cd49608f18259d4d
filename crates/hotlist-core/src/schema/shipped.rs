//! The tables that are shipped. Each is a file next to this one, which names its sources.

macro_rules! tables {
    ($($name:literal)*) => { &[$(($name, include_str!(concat!($name, ".csv")))),*] };
}

/// A table: its name, and its CSV text. ECS comes first: the others refer to its fields.
pub(super) const TABLES: &[(&str, &str)] = tables! {
    "ecs" "ecs-extra" "otel"
    "zeek" "suricata" "ocsf"
    "windows"
    "flow"
    "cloudtrail" "vpcflow" "route53" "guardduty" "securityhub" "waf" "networkfirewall" "elb"
    "gcp" "azure"
    "kubernetes"
    "okta" "github" "m365" "salesforce" "atlassian"
    "cef" "leef" "fortigate" "sophos" "cisco" "netfilter"
    "journald"
    "nginx" "apache" "caddy" "traefik" "envoy"
    "defender" "crowdstrike" "sentinelone" "carbonblack" "paloalto"
    "cloudflare" "akamai" "zscaler" "netskope" "w3c"
    "auth0" "gitlab" "slack" "workspace" "identity" "mail"
    "falco" "auditd" "osquery" "velociraptor" "cowrie" "wazuh" "dnstap" "database"
    "cim" "asim" "udm" "graylog"
};

/// The head of a table: its subject, then the sources of its facts. Empty for an unknown name.
pub fn head(name: &str) -> Vec<&'static str> {
    let text = TABLES.iter().find(|(known, _)| *known == name).map_or("", |(_, text)| *text);
    text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim).collect()
}

/// The most schemas that can be shipped.
pub const MAX_SCHEMAS: usize = 96;
const _: () = assert!(TABLES.len() <= MAX_SCHEMAS);

/// The place of a schema in [`names`].
pub fn number(name: &str) -> Option<u8> {
    names().position(|known| known == name).and_then(|number| u8::try_from(number).ok())
}

/// The names of the schemas, in the order of their tables.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLES.iter().map(|(name, _)| *name)
}
