//! What each column of a CSV file means: by the configured mapping, by its header's name, or by what stands in it.

use super::super::declared::{TypeWord, type_word};
use super::super::row::{Role, is_pattern};
use super::super::{ColumnMapping, FeedError, classify};

/// Header names that mean one thing wherever they occur: lower case, blanks for `_` and `-`.
const HEADERS: [(Role, &[&str]); 12] = [
    (
        Role::Kind,
        &["type", "indicator type", "ioc type", "entity type", "value type", "observable type", "observable types"],
    ),
    (Role::ValidFrom, &["valid from", "creation date", "start of validity"]),
    (
        Role::ValidUntil,
        &["valid until", "end of validity", "valid to", "expiration", "expiration date", "expires", "expires at"],
    ),
    (Role::KillChain, &["kill chain", "kill chain phase", "kill chain phases"]),
    (
        Role::Description,
        &["description", "comment", "comments", "note", "notes", "context", "ioc description", "threat description"],
    ),
    (Role::Confidence, &["confidence", "confidence level", "confidence score"]),
    (Role::Tlp, &["tlp", "marking", "tlp marking"]),
    (Role::Name, &["name", "indicator name"]),
    (Role::Reference, &["link", "links", "reference", "references", "source", "sources", "report", "source url"]),
    (Role::Id, &["id", "stix id", "indicator id", "ioc id", "uuid"]),
    (Role::FirstSeen, &["first seen", "first seen utc", "firstseen"]),
    (Role::LastSeen, &["last seen", "last seen utc", "lastseen", "last online"]),
];

/// Words that make a column one of prose, or of things that look like indicators and are none: a certificate's
/// thumbprint has the length of a SHA-1.
const PROSE: [&str; 40] = [
    "link",
    "links",
    "source",
    "sources",
    "reference",
    "references",
    "comment",
    "comments",
    "note",
    "notes",
    "description",
    "report",
    "reports",
    "context",
    "tweet",
    "filename",
    "filenames",
    "package",
    "certificate",
    "uuid",
    "app",
    "kill",
    "pdb",
    "detection",
    "detections",
    "author",
    "title",
    "imphash",
    "authentihash",
    "vhash",
    "tlsh",
    "telfhash",
    "ja3",
    "ja3s",
    "jarm",
    "thumbprint",
    "serial",
    "permalink",
    "screenshot",
    "tags",
];

/// Words of a header that say an address or a hash stands there, even beside a word of prose (`source ip`).
const VALUE: [&str; 10] = ["ip", "ips", "ipv4", "ipv6", "address", "domain", "md5", "sha1", "sha256", "sha512"];

/// Header words that make a column one of hashes.
const HASH: [&str; 10] = ["hash", "hashes", "md5", "sha1", "sha256", "sha512", "ssdeep", "sha 1", "sha 256", "sha 512"];

/// Header names of the value, beside the names of types (`domain`, `ip`).
const MAIN: [&str; 12] = [
    "ioc",
    "iocs",
    "value",
    "indicator",
    "indicators",
    "data",
    "observable",
    "ioc value",
    "indicator value",
    "observable value",
    "indicator of compromise",
    "artifact",
];

/// The meaning of each column, in order.
#[derive(Debug, Default)]
pub(super) struct Columns {
    pub(super) roles: Vec<Role>,
    /// Whether the first record is a header, no data.
    pub(super) has_header: bool,
}

impl Columns {
    /// Tells the meaning of the columns from the header, if there is one, and a sample of the rows.
    pub(super) fn new<'a>(
        first: &[&'a str],
        sample: &[Vec<&'a str>],
        mapping: &ColumnMapping,
        file_name: &str,
    ) -> Result<Columns, FeedError> {
        let names: Vec<String> = first.iter().map(|name| normal(name)).collect();
        let mapped = mapped_columns(mapping, &names, first, file_name)?;
        let by_name = mapped.iter().any(|(_, _, by_name)| *by_name);
        let has_header = by_name || is_header(first);
        let mut roles: Vec<Role> = match has_header {
            true => {
                let has_data = names.iter().any(|name| name == "data");
                names.iter().map(|name| header_role(name, has_data)).collect()
            }
            false => sampled_roles(sample),
        };
        if mapping.value.is_some() {
            for role in
                roles.iter_mut().filter(|role| matches!(role, Role::Main | Role::Value | Role::Hash | Role::Name))
            {
                *role = Role::Ignored;
            }
        }
        for (role, at, _) in mapped {
            if at >= roles.len() {
                roles.resize(at + 1, Role::Value);
            }
            if let Some(column) = roles.get_mut(at) {
                *column = role;
            }
        }
        Ok(Columns { roles, has_header })
    }
}

/// Whether a first row is a header: it has text, and none of it is an indicator.
pub(super) fn is_header(row: &[&str]) -> bool {
    row.iter().any(|cell| !cell.trim().is_empty())
        && row.iter().all(|cell| classify::untyped(cell).is_none() && !is_pattern(cell))
}

fn normal(name: &str) -> String {
    let name = name.trim_matches(['\u{feff}', '"', '\'', '#', ' ', '\t', '\r']);
    let name: String = name.chars().map(|c| if matches!(c, '_' | '-') { ' ' } else { c }).collect();
    name.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

fn header_role(name: &str, has_data: bool) -> Role {
    // Some feeds call the type `indicator` and the value `data`.
    if name == "indicator" && has_data {
        return Role::Kind;
    }
    if let Some((role, _)) = HEADERS.iter().find(|(_, headers)| headers.contains(&name)) {
        return *role;
    }
    let has = |words: &[&str]| name.split(' ').any(|word| words.contains(&word));
    if has(&PROSE) && !has(&VALUE) || name.contains("file name") || name == "event id" {
        Role::Ignored
    } else if has(&HASH) || HASH.iter().any(|hash| hash.contains(' ') && name.contains(hash)) {
        Role::Hash
    } else if MAIN.contains(&name) || matches!(type_word(name), TypeWord::Declared(declared) if !declared.is_hash()) {
        Role::Main
    } else {
        Role::Value
    }
}

/// Without a header, a column in which nearly only type words stand is the type, and then the column that agrees with
/// it most often is the value: links and tags beside it are none.
fn sampled_roles(sample: &[Vec<&str>]) -> Vec<Role> {
    let width = sample.iter().map(Vec::len).max().unwrap_or(0);
    let mut roles = vec![Role::Value; width];
    let is_type = |row: &Vec<&str>, at: usize| row.get(at).is_some_and(|cell| type_word(cell) != TypeWord::Unknown);
    let Some(kind) = (0..width).find(|&at| {
        let types = sample.iter().filter(|row| is_type(row, at)).count();
        types * 10 >= sample.len() * 9
    }) else {
        return roles;
    };
    let agreeing = |at: usize| {
        let agrees = |row: &&Vec<&str>| {
            row.get(kind).zip(row.get(at)).is_some_and(|(word, cell)| match type_word(word) {
                TypeWord::Declared(declared) => classify::typed(cell, declared).is_ok(),
                TypeWord::Unsupported | TypeWord::Unknown => false,
            })
        };
        sample.iter().filter(agrees).count()
    };
    let value = (0..width).filter(|&at| at != kind).max_by_key(|&at| (agreeing(at), std::cmp::Reverse(at)));
    for (at, role) in roles.iter_mut().enumerate() {
        *role = match at {
            at if at == kind => Role::Kind,
            at if Some(at) == value => Role::Main,
            _ => Role::Ignored,
        };
    }
    roles
}

/// The mapped columns: role, index, and whether found by the header's name.
fn mapped_columns(
    mapping: &ColumnMapping,
    names: &[String],
    first: &[&str],
    file_name: &str,
) -> Result<Vec<(Role, usize, bool)>, FeedError> {
    let mut mapped = Vec::new();
    for (key, role, column) in mapping.named() {
        let name = normal(column);
        if let Some(at) = names.iter().position(|known| *known == name) {
            mapped.push((role, at, true));
        } else if let Some(number) = column.trim().parse::<usize>().ok().filter(|n| (1..=first.len()).contains(n)) {
            mapped.push((role, number - 1, false));
        } else {
            let header = if is_header(first) { first.join(", ") } else { format!("{}, without names", first.len()) };
            return Err(FeedError::NoColumn {
                file: file_name.to_owned(),
                column: column.to_owned(),
                role: key,
                header,
            });
        }
    }
    Ok(mapped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(header: &str) -> Vec<Role> {
        let first: Vec<&str> = header.split(',').collect();
        let columns = Columns::new(&first, &[], &ColumnMapping::default(), "x").unwrap();
        assert!(columns.has_header);
        columns.roles
    }

    #[test]
    fn headers_of_real_feeds_are_understood() {
        assert_eq!(
            roles("IOC, Valid From, Valid Until, Link"),
            [Role::Main, Role::ValidFrom, Role::ValidUntil, Role::Reference]
        );
        assert_eq!(roles("indicator,data"), [Role::Kind, Role::Main]);
        assert_eq!(roles("First Seen,Hostname,C2"), [Role::FirstSeen, Role::Main, Role::Value]);
        assert_eq!(roles("SHA256,Package Name,Certificate"), [Role::Hash, Role::Ignored, Role::Ignored]);
        assert_eq!(
            roles("source_ip,Source,File Name,SHA-256"),
            [Role::Value, Role::Reference, Role::Ignored, Role::Hash]
        );
    }

    #[test]
    fn without_header_a_column_of_type_words_decides_which_column_is_the_value() {
        let sample = vec![
            vec!["2024-01-01", "url", "http://evil.com/a", "https://example.org/1"],
            vec!["2024-01-01", "domain", "evil.com", "https://example.org/2"],
        ];
        let columns = Columns::new(&sample[0], &sample, &ColumnMapping::default(), "x").unwrap();
        assert!(!columns.has_header);
        assert_eq!(columns.roles, [Role::Ignored, Role::Kind, Role::Main, Role::Ignored]);
    }

    #[test]
    fn a_mapping_wins_and_a_missing_column_is_named() {
        let first = ["indicator", "data"];
        let mapping = ColumnMapping { value: Some("Indicator".into()), kind: Some("2".into()), ..Default::default() };
        let columns = Columns::new(&first, &[], &mapping, "x").unwrap();
        assert_eq!(columns.roles, [Role::Main, Role::Kind]);
        let mapping = ColumnMapping { tlp: Some("marking".into()), ..Default::default() };
        let error = Columns::new(&first, &[], &mapping, "x.csv").unwrap_err().to_string();
        assert!(error.contains("`marking`") && error.contains("columns.tlp") && error.contains("indicator, data"));
    }
}
