//! The importers against real feeds, as an independent program reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use hotlist::feed::{FeedFormat, FeedOptions, Import, import};
use hotlist::intel::indicator::{NameScope, TermValue};
use hotlist::observable::url;
use hotlist::schema::FieldTable;
use serde::Deserialize;

use crate::shared::shared;

/// What the oracle read.
#[derive(Deserialize)]
struct Expected {
    file: String,
    format: String,
    values: BTreeSet<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    /// The importer has it, the oracle does not.
    Extra,
    /// The oracle has it, the importer does not.
    Missing,
}

/// A disagreement in which the importer is right.
struct Known {
    file: &'static str,
    side: Side,
    kind: &'static str,
    /// How the value begins.
    value: &'static str,
    /// Why; shown when the disagreement is gone.
    reason: &'static str,
}

/// Files that are of another format than the catalogue says: one name a line, without an address.
const READ_OTHERWISE: &[&str] =
    &["assoechap-stalkerware-indicators/generated__hosts", "assoechap-stalkerware-indicators/generated__hosts_full"];

const TYPED_URL: &str = "the feed says that it is a URL, so that a bare host is a URL without path";
const WILDCARD: &str = "the star is a wildcard, and a URL with one never matches: it is listed";
const TYPED_DOMAIN: &str = "the type column says domain, which an address and a URL are not";

const KNOWN: &[Known] = &[
    Known {
        file: "0xdaniellopez-tweetfeed/week.csv",
        side: Side::Missing,
        kind: "url",
        value: "https://x.com/",
        reason: "the last column links to the post that names the indicator; the third one says which is the value",
    },
    Known {
        file: "assoechap-stalkerware-indicators/generated__network.csv",
        side: Side::Missing,
        kind: "ip",
        value: "178.63.71.15",
        reason: TYPED_DOMAIN,
    },
    Known {
        file: "assoechap-stalkerware-indicators/generated__network.csv",
        side: Side::Missing,
        kind: "url",
        value: "https://github.com/",
        reason: TYPED_DOMAIN,
    },
    typed_url(Side::Missing, "domain", "getgooogle.hopto.org"),
    typed_url(Side::Missing, "domain", "googleads.hopto.org"),
    typed_url(Side::Missing, "domain", "shopcloths.ddns.net"),
    typed_url(Side::Extra, "url", "getgooogle.hopto.org/"),
    typed_url(Side::Extra, "url", "googleads.hopto.org/"),
    typed_url(Side::Extra, "url", "shopcloths.ddns.net/"),
    bare_url_of_misp(Side::Missing, "domain"),
    bare_url_of_misp(Side::Extra, "url"),
    Known {
        file: "0xdaniellopez-tweetfeed/week.csv",
        side: Side::Missing,
        kind: "url",
        value: "https://j4suf.test-app.link/****",
        reason: WILDCARD,
    },
    Known {
        file: "pan-unit42-iocs/iran_linked_operators__MuddyWater.csv",
        side: Side::Missing,
        kind: "url",
        value: "http://185.",
        reason: WILDCARD,
    },
    Known {
        file: "pan-unit42-iocs/CAPTCHA_Protected_Phishing__IOCs_August2021",
        side: Side::Missing,
        kind: "url",
        value: "members.paidsurveydepot.com/go/",
        reason: WILDCARD,
    },
    Known {
        file: "pan-unit42-iocs/macro_loader__iocs.csv",
        side: Side::Extra,
        kind: "url",
        value: "http://149.56.65.124/~",
        reason: "a URL with blanks in its path, alone in a column of URLs; the oracle ends a URL at a blank",
    },
    Known {
        file: "pan-unit42-iocs/samsa__updated_iocs.csv",
        side: Side::Missing,
        kind: "ip",
        value: "",
        reason: "numbers of versions in the column `Version`, which the oracle takes for addresses",
    },
    url_in_url("gravoice.com/verimfaxa/veri.php%3F"),
    url_in_url("linkprotect.cudasvc.com/url%3Fa="),
    url_in_url("luevoice.com/mvoice"),
    url_in_url("nextype.ru/bitrix/redirect.php%3F"),
    url_in_url("sba.yandex.net/redirect%3Furl="),
];

const fn typed_url(side: Side, kind: &'static str, value: &'static str) -> Known {
    Known { file: "pan-unit42-iocs/iran_linked_operators__MuddyWater.csv", side, kind, value, reason: TYPED_URL }
}

/// Six names of one event, all of which begin so.
const fn bare_url_of_misp(side: Side, kind: &'static str) -> Known {
    let file = "misp-pymisp/tests__reportlab_testfiles__long_event.json";
    Known { file, side, kind, value: "www.", reason: TYPED_URL }
}

const fn url_in_url(value: &'static str) -> Known {
    Known {
        file: "pan-unit42-iocs/CAPTCHA_Protected_Phishing__IOCs_August2021",
        side: Side::Extra,
        kind: "url",
        value,
        reason: "a URL without scheme that redirects to another one; the oracle looks for a scheme before its `://`",
    }
}

/// Type and value in the oracle's words; kinds that it does not know are left out.
fn in_oracle_words(value: &TermValue) -> Option<(String, String)> {
    let kind = match value {
        TermValue::Network(_) => "cidr",
        TermValue::Expression(_)
        | TermValue::Text(_)
        | TermValue::Name { .. }
        | TermValue::Path(_)
        | TermValue::Number { .. }
        | TermValue::Time { .. } => return None,
        other => other.kind().as_str(),
    };
    Some((kind.to_owned(), value.to_string()))
}

/// The oracle leaves percent-encoding and dot segments of URLs alone; the WHATWG form decides here.
fn in_our_form((kind, value): (String, String)) -> (String, String) {
    match url::canonical(value.as_bytes()).filter(|_| kind == "url") {
        Some(url) => (kind, url.to_string()),
        None => (kind, value),
    }
}

/// What is wrong with a file that a format of its own has, however its values compare: it is read as another one, or
/// block lists of DNS servers do not cover the names below theirs.
fn misread(expected: &Expected, import: &Import) -> Option<String> {
    let below = |value: &TermValue| !matches!(value, TermValue::Domain { scope: NameScope::Exact, .. });
    let format = FeedFormat::parse(&expected.format)?;
    if import.format != format {
        return Some(format!("{} is {format} and read as {}", expected.file, import.format));
    }
    let is_block_list =
        matches!(format, FeedFormat::Rpz | FeedFormat::Adblock | FeedFormat::Dnsmasq | FeedFormat::Unbound);
    let exact = import.indicators.iter().flat_map(|indicator| &indicator.terms).find(|term| !below(&term.value));
    exact.filter(|_| is_block_list).map(|term| format!("{}: {} without the names below", expected.file, term.value))
}

/// Scenario: every real file in a format that is read, detected from its content alone.
/// Guarantee: the same set of values as an independent parser reads, but for the disagreements listed above, and each
/// of those still exists; lists that block a name with those below it give both.
#[test]
#[ignore = "needs ../shared"]
fn real_feeds_give_what_the_oracle_reads() {
    let data = shared("data");
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/feeds.py");
    let mut oracle = crate::system_python::system_python()
        .arg(script)
        .arg(&data)
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    let lines = BufReader::new(oracle.stdout.take().unwrap()).lines();
    let table = FieldTable::embedded(true).unwrap();
    let mut used = vec![false; KNOWN.len()];
    let mut wrong = Vec::new();
    let mut files = 0;
    let mut formats = BTreeMap::new();
    for line in lines {
        let expected: Expected = serde_json::from_str(&line.unwrap()).unwrap();
        let bytes = std::fs::read(data.join("iocs/feeds").join(&expected.file)).unwrap();
        let import = import(&bytes, &expected.file, &FeedOptions::default(), &table).unwrap();
        files += 1;
        *formats.entry(import.format.as_str()).or_insert(0) += 1;
        wrong.extend(misread(&expected, &import).filter(|_| !READ_OTHERWISE.contains(&expected.file.as_str())));
        let ours: BTreeSet<_> = import
            .indicators
            .iter()
            .flat_map(|indicator| &indicator.terms)
            .filter_map(|term| in_oracle_words(&term.value))
            .collect();
        let theirs: BTreeSet<_> = expected.values.into_iter().map(in_our_form).collect();
        let extra = ours.difference(&theirs).map(|value| (Side::Extra, value));
        let missing = theirs.difference(&ours).map(|value| (Side::Missing, value));
        for (side, (kind, value)) in extra.chain(missing) {
            let known = KNOWN.iter().position(|known| {
                expected.file == known.file
                    && (side, kind.as_str()) == (known.side, known.kind)
                    && value.starts_with(known.value)
            });
            match known {
                Some(at) => used[at] = true,
                None => wrong.push(format!(
                    "{side:?} in {} ({} read as {}): {kind} {value}",
                    expected.file, expected.format, import.format
                )),
            }
        }
    }
    assert!(oracle.wait().unwrap().success(), "the oracle failed, see above");
    assert!(
        files == 343 - OTHERS.len() && formats.len() == FeedFormat::ALL.len() - 1,
        "only {files} files compared: {formats:?}"
    );
    for (known, _) in KNOWN.iter().zip(used).filter(|(_, used)| !used) {
        wrong.push(format!("no longer so, remove it: {} {} ({})", known.file, known.value, known.reason));
    }
    assert!(wrong.is_empty(), "{} disagreements in {files} files:\n{}", wrong.len(), wrong.join("\n"));
}

/// What a file gives that the oracle does not read: indicators, and places that are listed.
struct Other {
    file: &'static str,
    indicators: usize,
    listed: usize,
    reason: &'static str,
}

const ASCIIDOC: &str =
    "a report in AsciiDoc: cells of its tables that are a line of their own, or the first of one, are values";
const PROSE: &str = "a report in prose: values in the middle of sentences are listed, not guessed";

const OTHERS: &[Other] = &[
    other("sekoia-io-community/IOCs__Interlock__interlock_IOCs.txt", 143, 0, "a list with comments"),
    other("sekoia-io-community/IOCs__acrstealer__acrstealer_iocs_20240429.md", 25, 21, "a list under headings"),
    other("eset-malware-ioc/glupteba__README.adoc", 42, 34, ASCIIDOC),
    other("eset-malware-ioc/invisimole__README.adoc", 102, 453, ASCIIDOC),
    other("eset-malware-ioc/kryptocibule__README.adoc", 86, 155, ASCIIDOC),
    other("eset-malware-ioc/machete__README.adoc", 5, 198, ASCIIDOC),
    other("eset-malware-ioc/mozi__README.adoc", 21, 19, ASCIIDOC),
    other("eset-malware-ioc/stantinko__README.adoc", 192, 592, ASCIIDOC),
    other("eset-malware-ioc/turla__README.adoc", 75, 794, ASCIIDOC),
    other("eset-malware-ioc/winter_vivern__README.adoc", 3, 18, ASCIIDOC),
    other("pan-unit42-iocs/BazarCall__Appendix-A.txt", 0, 221, PROSE),
    other("pan-unit42-iocs/TA551__2020-07-06-TA551-IOCs-for-Valak-with-IcedID.txt", 0, 77, PROSE),
    other("pan-unit42-iocs/TA551__2020-07-07-TA551-IOCs-for-Ursnif-with-IcedID.txt", 0, 151, PROSE),
    other("pan-unit42-iocs/TA551__2020-07-09-TA551-IOCs-for-Ursnif.txt", 0, 123, PROSE),
    other("pan-unit42-iocs/TA551__2020-12-11-TA551-IOCs-for-IcedID.txt", 0, 152, PROSE),
    other("pan-unit42-iocs/fake_Flash_updates__2018-09-fake-Flash-updates-APPENDIX-A.txt", 0, 116, PROSE),
    other(
        "assoechap-stalkerware-indicators/ioc.yaml",
        0,
        4016,
        "YAML, which is not a format of feeds: every line is listed",
    ),
];

const fn other(file: &'static str, indicators: usize, listed: usize, reason: &'static str) -> Other {
    Other { file, indicators, listed, reason }
}

/// Scenario: the real files that the oracle does not read, because they are reports for people.
/// Guarantee: together with those that it reads they are all, and each gives what the table says.
#[test]
#[ignore = "needs ../shared"]
fn real_feeds_that_the_oracle_does_not_read_give_what_the_table_says() {
    let data = shared("data");
    let sources: serde_json::Value =
        serde_json::from_slice(&std::fs::read(data.join("iocs/sources.json")).unwrap()).unwrap();
    let is_other = |file: &&serde_json::Value| {
        ["freetext", "adoc", "stalker_yaml"].iter().any(|format| file["format"].as_str() == Some(*format))
    };
    let files: Vec<&serde_json::Value> = sources["files"].as_array().unwrap().iter().collect();
    assert_eq!(files.len(), 343);
    let others = files.iter().copied().filter(is_other).map(|file| file["file"].as_str().unwrap());
    let others: BTreeSet<&str> = others.map(|file| file.split_once('/').unwrap().1).collect();
    assert_eq!(others, OTHERS.iter().map(|other| other.file).collect());
    let table = FieldTable::embedded(true).unwrap();
    for Other { file, indicators, listed, reason } in OTHERS {
        let bytes = std::fs::read(data.join("iocs/feeds").join(file)).unwrap();
        let import = import(&bytes, file, &FeedOptions::default(), &table).unwrap();
        assert_eq!((import.indicators.len(), import.unusable_lines()), (*indicators, *listed), "{file}: {reason}");
    }
}

/// Scenario: the planted indicators of the acceptance data, typed, some of them host names of a single label.
/// Guarantee: not one row is lost.
#[test]
#[ignore = "needs ../shared"]
fn every_planted_indicator_is_read() {
    let bytes = std::fs::read(shared("data/truth/planted.indicators.csv")).unwrap();
    let table = FieldTable::embedded(true).unwrap();
    let import = import(&bytes, "planted.indicators.csv", &FeedOptions::default(), &table).unwrap();
    assert!(import.unusable.is_empty(), "{:?}", import.unusable);
    assert_eq!(import.indicators.len(), 408);
}
