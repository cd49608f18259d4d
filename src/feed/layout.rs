//! The meaning of columns in known layouts: tables of header words, one file a layout, and one of the words that mean
//! the same wherever they occur.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::declared::{Declared, TypeWord, squeezed, type_word};
use super::row::Role;

/// The layouts of publishers, the more telling ones first where one is a part of another.
const FILES: &[&str] = &[
    include_str!("layouts/urlhaus.txt"),
    include_str!("layouts/threatfox.txt"),
    include_str!("layouts/malwarebazaar.txt"),
    include_str!("layouts/feodo.txt"),
    include_str!("layouts/sslbl.txt"),
    include_str!("layouts/sslbl-ip.txt"),
    include_str!("layouts/sslbl-ja3.txt"),
    include_str!("layouts/phishtank.txt"),
    include_str!("layouts/dshield.txt"),
    include_str!("layouts/otx.txt"),
    include_str!("layouts/otx-json.txt"),
    include_str!("layouts/misp-csv.txt"),
    include_str!("layouts/defender.txt"),
    include_str!("layouts/crowdstrike.txt"),
    include_str!("layouts/crowdstrike-intel.txt"),
    include_str!("layouts/opencti.txt"),
    include_str!("layouts/threatstream.txt"),
    include_str!("layouts/recorded-future.txt"),
    include_str!("layouts/spamhaus-drop.txt"),
    include_str!("layouts/threatconnect.txt"),
    include_str!("layouts/virustotal.txt"),
    include_str!("layouts/trend-micro.txt"),
    include_str!("layouts/pulsedive.txt"),
    include_str!("layouts/phishstats.txt"),
    include_str!("layouts/kaspersky.txt"),
    include_str!("layouts/elastic-url.txt"),
    include_str!("layouts/eclecticiq.txt"),
];

const GENERAL: &str = include_str!("layouts/general.txt");

static LAYOUTS: LazyLock<Vec<Layout>> = LazyLock::new(|| FILES.iter().map(|text| Layout::read(text)).collect());
static WORDS: LazyLock<HashMap<String, Role>> = LazyLock::new(|| Layout::read(GENERAL).words);

/// Parts of header words that say a column is about an indicator and holds none, whatever other words are there.
const ABOUT: &[&str] = &[
    "detail",
    "details",
    "reference",
    "references",
    "ref",
    "report",
    "reports",
    "reported",
    "reporter",
    "link",
    "links",
    "permalink",
    "screenshot",
    "blog",
    "post",
    "article",
    "tweet",
    "twitter",
    "analysis",
    "sandbox",
    "lookup",
    "virustotal",
    "vt",
    "victim",
    "victims",
    "target",
    "targets",
    "targeted",
    "brand",
    "impersonated",
    "imitated",
    "legitimate",
    "real",
    "original",
    "owner",
    "contact",
    "abuse",
    "submitter",
    "submitted",
    "author",
    "analyst",
    "finder",
    "registrar",
    "registrant",
    "whois",
    "asn",
    "as",
    "org",
    "isp",
    "hoster",
    "hosting",
    "country",
    "city",
    "region",
    "geo",
    "nameserver",
    "nameservers",
    "ns",
    "mx",
    "feed",
    "provider",
    "vendor",
    "publisher",
    "count",
    "number",
    "total",
    "hits",
    "status",
    "score",
    "rank",
    "date",
    "time",
    "seen",
    "age",
    "type",
    "category",
    "size",
    "length",
    "name",
    "names",
    "id",
    "title",
    "comment",
    "note",
    "notes",
    "description",
    "context",
    "tag",
    "tags",
    "severity",
    "filename",
    "filenames",
    "package",
    "app",
    "pdb",
    "kill",
    "detection",
    "detections",
    "uuid",
    "certificate",
];

/// Parts of header words that make a digest none of a file's content.
const DIGESTS: &[&str] = &[
    "cert",
    "certificate",
    "certs",
    "ssl",
    "tls",
    "x509",
    "thumbprint",
    "fingerprint",
    "ssh",
    "key",
    "pubkey",
    "ja3",
    "ja3s",
    "ja4",
    "jarm",
    "hassh",
    "imphash",
    "pehash",
    "imp",
    "import",
    "authentihash",
    "vhash",
    "tlsh",
    "telfhash",
    "icon",
    "favicon",
    "section",
    "serial",
    "rich",
    "signer",
];

/// Parts of header words that say that the column has a file's hash.
const HASHES: &[&str] = &["hash", "hashes", "md5", "sha1", "sha256", "sha512", "ssdeep", "checksum"];

/// Parts of header words that say that the column has a value, and of which type.
const VALUES: &[(&str, Option<Declared>)] = {
    use crate::observable::Kind::{Domain, Ip, Url};
    &[
        ("ip", Some(Declared::Of(Ip))),
        ("ips", Some(Declared::Of(Ip))),
        ("ipv4", Some(Declared::Of(Ip))),
        ("ipv6", Some(Declared::Of(Ip))),
        ("cidr", Some(Declared::Of(Ip))),
        ("subnet", Some(Declared::Of(Ip))),
        ("domain", Some(Declared::Of(Domain))),
        ("domains", Some(Declared::Of(Domain))),
        ("hostname", Some(Declared::Of(Domain))),
        ("hostnames", Some(Declared::Of(Domain))),
        ("fqdn", Some(Declared::Of(Domain))),
        ("host", Some(Declared::Host)),
        ("hosts", Some(Declared::Host)),
        ("url", Some(Declared::Of(Url))),
        ("urls", Some(Declared::Of(Url))),
        ("uri", Some(Declared::Of(Url))),
        ("address", None),
        ("addresses", None),
        ("ioc", None),
        ("iocs", None),
        ("indicator", None),
        ("indicators", None),
        ("observable", None),
        ("observables", None),
        ("c2", None),
        ("cnc", None),
    ]
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) role: Role,
    /// The type that the header's word says of its values.
    pub(super) declared: Option<Declared>,
    /// Whether a table of words knows the header, and not only a part of it.
    pub(super) is_known: bool,
}

impl Column {
    pub(super) fn with_role(role: Role) -> Column {
        Column { role, declared: None, is_known: true }
    }
}

#[derive(Debug)]
pub(super) struct Layout {
    /// Its publisher.
    pub(super) title: &'static str,
    /// The header words that only it has all of.
    header: Vec<String>,
    words: HashMap<String, Role>,
}

impl Layout {
    fn read(text: &'static str) -> Layout {
        let mut layout = Layout { title: "", header: Vec::new(), words: HashMap::new() };
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some(title) = line.strip_prefix("layout: ") {
                layout.title = title;
            } else if let Some(header) = line.strip_prefix("header: ") {
                layout.header = header.split(',').map(squeezed).collect();
            } else if let Some((words, meaning)) = line.split_once(" -> ")
                && let Some(role) = Role::parse(meaning)
            {
                layout.words.extend(words.split(',').map(|word| (squeezed(word), role)));
            }
        }
        layout
    }

    /// The layout whose header these words are.
    pub(super) fn recognise(words: &[&str]) -> Option<&'static Layout> {
        let words: Vec<String> = words.iter().map(|word| squeezed(word)).collect();
        LAYOUTS.iter().find(|layout| layout.header.iter().all(|word| words.contains(word)))
    }
}

/// The meaning of a header's word, in a layout and wherever it occurs.
pub(super) fn column(written: &str, layout: Option<&Layout>) -> Column {
    spellings(written).find_map(|word| known(word, layout)).unwrap_or_else(|| by_parts(written))
}

/// A header's word as it is written, without a unit or a note in brackets (`Expiry (UTC)`), and the last of several labels
/// (`extract.value`, as flattened JSON has them).
fn spellings(written: &str) -> impl Iterator<Item = &str> {
    let plain = written.split('(').next().map(str::trim).filter(|word| !word.is_empty() && *word != written);
    let whole = plain.unwrap_or(written);
    let last = whole.rsplit_once('.').map(|(_, last)| last).filter(|last| last.len() > 1);
    [Some(written), plain, last].into_iter().flatten()
}

/// The meaning of a word that a table has.
fn known(word: &str, layout: Option<&Layout>) -> Option<Column> {
    let word = squeezed(word);
    if let Some(role) = layout.and_then(|layout| layout.words.get(&word)) {
        return Some(Column { declared: declared(&word, *role), ..Column::with_role(*role) });
    }
    let known_type = type_word(&word);
    match (WORDS.get(&word), known_type) {
        (Some(role), _) => Some(Column { declared: declared(&word, *role), ..Column::with_role(*role) }),
        (None, TypeWord::Declared(declared)) => {
            let role = if declared.is_hash() { Role::Hash } else { Role::Main };
            Some(Column { role, declared: Some(declared), is_known: true })
        }
        (None, TypeWord::Digest) => Some(Column::with_role(Role::Digest)),
        (None, TypeWord::Unsupported) => Some(Column::with_role(Role::Ignored)),
        (None, TypeWord::Unknown) => None,
    }
}

fn declared(word: &str, role: Role) -> Option<Declared> {
    match (role, type_word(word)) {
        (Role::Main | Role::Hash, TypeWord::Declared(declared)) => Some(declared),
        _ => None,
    }
}

/// The meaning of the parts of an unknown word: `victim_ip` is about a victim, `SourceIp` an address.
fn by_parts(written: &str) -> Column {
    let parts = parts(written);
    let has = |words: &[&str]| parts.iter().any(|part| words.contains(&part.as_str()));
    let guessed = |role, declared| Column { role, declared, is_known: false };
    if has(HASHES) {
        return match (has(DIGESTS), has(ABOUT)) {
            (true, _) => guessed(Role::Digest, None),
            (false, true) => guessed(Role::Ignored, None),
            (false, false) => guessed(Role::Hash, Some(Declared::Hash)),
        };
    }
    if has(ABOUT) || has(DIGESTS) {
        return guessed(Role::Ignored, None);
    }
    let mut values = VALUES.iter().filter(|(word, _)| parts.iter().any(|part| part == word));
    match (values.next(), values.next()) {
        (Some((_, declared)), None) => guessed(Role::Main, *declared),
        // `IP/Domain`: either.
        (Some(_), Some(_)) => guessed(Role::Main, None),
        (None, _) => guessed(Role::Value, None),
    }
}

/// The words of a header in lower case: cut at punctuation, and where a capital follows a small letter.
fn parts(written: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut after_small = false;
    for c in written.chars() {
        if !c.is_alphanumeric() || (after_small && c.is_uppercase()) {
            parts.push(String::new());
        }
        after_small = c.is_lowercase() || c.is_ascii_digit();
        if c.is_alphanumeric()
            && let Some(part) = parts.last_mut()
        {
            part.extend(c.to_lowercase());
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(header: &str) -> Vec<Role> {
        let words: Vec<&str> = header.split(',').collect();
        let layout = Layout::recognise(&words);
        words.iter().map(|word| column(word, layout).role).collect()
    }

    #[test]
    fn every_line_of_every_layout_is_understood() {
        for text in FILES.iter().chain([&GENERAL]) {
            for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
                let is_head = line.starts_with("layout: ") || line.starts_with("header: ");
                let meaning = line.split_once(" -> ").map(|(_, meaning)| Role::parse(meaning));
                assert!(is_head || matches!(meaning, Some(Some(_))), "{line}");
            }
            assert!(text.lines().next().is_some_and(|line| line.starts_with("# ")), "{text}");
        }
        for layout in LAYOUTS.iter() {
            assert!(!layout.title.is_empty() && layout.header.len() > 2, "{layout:?}");
            let words: Vec<&str> = layout.header.iter().map(String::as_str).collect();
            assert_eq!(Layout::recognise(&words).unwrap().title, layout.title);
            let is_value = |word: &&str| {
                matches!(column(word, Some(layout)).role, Role::Main | Role::Hash | Role::RangeStart | Role::Digest)
            };
            assert!(words.iter().any(is_value), "{layout:?}");
        }
    }

    #[test]
    fn a_word_means_one_thing_in_the_general_table() {
        let mut known: HashMap<String, &str> = HashMap::new();
        for line in GENERAL.lines().filter(|line| !line.starts_with('#')) {
            let Some((words, meaning)) = line.split_once(" -> ") else { continue };
            for word in words.split(',') {
                let before = known.insert(squeezed(word), meaning);
                assert!(before.is_none_or(|before| before == meaning), "{word}: {before:?} and {meaning}");
            }
        }
    }

    #[test]
    fn words_of_many_vendors_are_understood() {
        for (header, expected) in [
            ("validUntil,ExpirationTime,expires_on,end date", vec![Role::ValidUntil; 4]),
            ("victim_ip,reported_by_domain,Phish Detail URL,screenshot_url", vec![Role::Ignored; 4]),
            ("certificate_sha1,ImpHash,ja3_md5,ssl-cert-sha256", vec![Role::Digest; 4]),
            ("Malicious URL,C2_IP,remote host,Attack Domain,SourceIp", vec![Role::Main; 5]),
            ("Payload SHA256,md5sum,FileHash", vec![Role::Hash; 3]),
            ("Expiry (UTC),valid until (local time),meta.expires_at", vec![Role::ValidUntil; 3]),
            ("extract.value,ioc.value,data.ip (v4)", vec![Role::Main; 3]),
        ] {
            assert_eq!(roles(header), expected, "{header}");
        }
        assert_eq!(
            roles("id,dateadded,url,url_status,urlhaus_link")[2..],
            [Role::Main, Role::Ignored, Role::Reference]
        );
    }
}
