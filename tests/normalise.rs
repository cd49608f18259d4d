//! The normalisers against an independent implementation, over every value of the shared events and feeds.

#[path = "support/shared.rs"]
mod shared;
#[path = "support/system_python.rs"]
mod system_python;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use hotlist::observable::{domain, email, hash, ip, url, user};
use serde::Deserialize;

/// The verdict of the oracle about one value.
#[derive(Deserialize)]
struct Row {
    class: String,
    value: String,
    ip: Option<String>,
    event_ip: Option<String>,
    domain: Option<String>,
    event_domain: Option<String>,
    url: Option<String>,
    hash: Option<(String, String)>,
    emails: Vec<String>,
    user: Option<String>,
}

/// Runs the oracle over the data in one of its modes.
fn oracle(mode: &str, data: &Path, input: String) -> std::io::Result<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/normalise.py");
    let mut child = system_python::system_python()
        .arg(script)
        .arg(mode)
        .arg(data)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
    // Written while reading, so that neither pipe fills up while the other waits. A mode that reads nothing may close.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    let _ = writer.join();
    if !output.status.success() {
        return Err(std::io::Error::other(format!("the oracle ended with {}", output.status)));
    }
    String::from_utf8(output.stdout).map_err(std::io::Error::other)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// WHATWG percent-encodes what a URL may not hold as it is, the oracle keeps it: a difference that both sides of a match
/// share, so it is taken out before comparing.
fn percent_decoded(url: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = url.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|&digit| char::from(digit).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((16 * high + low) as u8);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Disagreements by what disagrees, each `value: oracle / ours`.
#[derive(Default)]
struct Differences(BTreeMap<&'static str, Vec<String>>);

impl Differences {
    fn check<T: PartialEq + std::fmt::Debug>(&mut self, what: &'static str, value: &str, oracle: T, ours: T) {
        if oracle != ours {
            self.0.entry(what).or_default().push(format!("{value:?}: {oracle:?} / {ours:?}"));
        }
    }
}

#[test]
#[ignore = "needs ../shared"]
fn the_normalisers_agree_with_the_oracle_on_every_real_value() {
    let data = shared::shared("data");
    let rows: Vec<Row> = oracle("values", &data, String::new())
        .expect("the oracle runs")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a row"))
        .collect();
    assert!(rows.len() > 10_000, "only {} values", rows.len());
    let mut differences = Differences::default();
    let (mut one, mut two) = (Vec::new(), Vec::new());
    let mut urls = Vec::new();
    for row in &rows {
        let value = row.value.as_bytes();
        let address = |found: Option<std::net::IpAddr>| found.map(|address| address.to_string());
        differences.check("ip", &row.value, row.ip.clone(), address(ip::canonical(value)));
        differences.check("event ip", &row.value, row.event_ip.clone(), address(ip::event_address(value)));
        differences.check("domain", &row.value, row.domain.clone(), domain::canonical(value, &mut one).map(text));
        let host = domain::event_host(value).and_then(|host| domain::canonical(host, &mut one)).map(text);
        differences.check("event domain", &row.value, row.event_domain.clone(), host);
        let digest = hash::canonical(value, &mut one).map(|(kind, digest)| (kind.to_string(), text(digest)));
        differences.check("hash", &row.value, row.hash.clone(), digest);
        let mut emails = Vec::new();
        email::event_addresses(value, &mut two, &mut |address| emails.push(text(address)));
        differences.check("email", &row.value, row.emails.clone(), emails);
        differences.check("user", &row.value, row.user.clone(), user::canonical(value, &mut one).map(text));
        if row.class == "url" {
            urls.push((row, url::canonical(value)));
        }
    }
    // URLs in WHATWG form are brought to the oracle's form before they are compared.
    let asked: String = urls
        .iter()
        .map(|(_, ours)| match ours {
            Some(ours) => serde_json::to_string(&format!("{}://{}", ours.scheme().unwrap_or("http"), ours.rest())),
            None => serde_json::to_string(""),
        })
        .map(|line| line.expect("a string is JSON") + "\n")
        .collect();
    let answers = oracle("urls", &data, asked).expect("the oracle runs");
    assert_eq!(answers.lines().count(), urls.len());
    for ((row, ours), answer) in urls.iter().zip(answers.lines()) {
        let answer: Option<String> = serde_json::from_str(answer).expect("a string");
        let rest = |url: &str| url.split_once("://").map_or(url.to_owned(), |(_, rest)| rest.to_owned());
        let comparable = |url: Option<&str>| {
            url.map(|url| percent_decoded(&rest(url)).to_lowercase().trim_end_matches('/').to_owned())
        };
        differences.check("url", &row.value, comparable(row.url.as_deref()), comparable(answer.as_deref()));
        let scheme = row.url.as_ref().and_then(|url| url.split_once("://")).map(|(scheme, _)| scheme.to_owned());
        if row.url.is_some() {
            let ours = ours.as_ref().and_then(|ours| ours.scheme()).map(str::to_owned);
            differences.check("url scheme", &row.value, scheme, ours);
        }
    }
    for (what, all) in &differences.0 {
        println!("{what}: {}", all.len());
        all.iter().take(60).for_each(|line| println!("    {line}"));
    }
    assert!(differences.0.is_empty());
}
