//! No credential of a configuration is in an error, wherever it was put and however the file is broken.

use super::*;

/// Texts with a credential, `hush`, in each of the ways in which a URL, or what is nearly one, has it.
const CREDENTIALS: [&str; 14] = [
    "https://user:hush@next.example:4317",
    "http://user:hush@next.example",
    "http://hush@next.example:4317",
    "https://user:a/hush@next.example:4317",
    "https://user:a#hush@next.example:4317",
    "https://user:a@hush@next.example:4317",
    "https://next.example:4317/?token=hush",
    "https://next.example:4317/v1/logs?token=hush#x",
    "grpc://user:hush@next.example:4317",
    "http://user:hush@[::1",
    "user:hush@next.example:4317",
    "hush@next.example:4317",
    "unix:user:hush@next.example",
    "http://user:a$hush@next.example:4317",
];

/// A configuration in which every kind of address and endpoint stands, one value per line.
const EVERYTHING: &str = "sources:
  a:
    type: otlp
    address: '127.0.0.1:1'
sinks:
  s:
    type: otlp
    inputs: [a]
    only: all
    endpoint: 'http://127.0.0.1:2'
    compression: none
    timeout: 1s
    headers: { authorization: x }
    rejected: { path: r.ndjson }
  v:
    type: vector
    inputs: [a]
    endpoint: 'http://127.0.0.1:3'
intel:
  control:
    endpoint: 'http://127.0.0.1:4'
    node: n
    audience: fleet
    cache: cache
admin:
  address: '127.0.0.1:5'
shutdown:
  grace: 30s
log:
  level: info
limits:
  in_flight_bytes: 1GiB
match:
  subdomains: true
";

fn errors(text: &str) -> Option<String> {
    Config::parse(text, Format::Yaml, &|name| (name == "HUSH").then(|| "hush".to_owned())).err().map(|e| e.to_string())
}

#[test]
fn a_credential_at_any_key_is_in_no_error_and_no_endpoint_takes_one() {
    assert_eq!(errors(EVERYTHING), None);
    let lines: Vec<&str> = EVERYTHING.lines().collect();
    let variable = "http://user:${HUSH}@next.example:4317";
    let mut endpoints = 0;
    for (at, line) in lines.iter().enumerate() {
        let key = line.split_once(':').map_or(*line, |(key, _)| key);
        for credential in CREDENTIALS.into_iter().chain([variable]) {
            for value in [
                format!("'{credential}'"),
                credential.to_owned(),
                format!("{credential}: ["),
                format!("['{credential}']"),
            ] {
                let changed = format!("{key}: {value}");
                let text: Vec<&str> =
                    lines.iter().enumerate().map(|(n, line)| if n == at { &*changed } else { line }).collect();
                let found = errors(&text.join("\n"));
                if let Some(error) = &found {
                    assert!(!error.contains("hush"), "{changed}: {error}");
                }
                if matches!(key.trim(), "endpoint" | "address") && !credential.starts_with("unix:") {
                    assert!(found.is_some(), "{changed} was taken");
                    endpoints += 1;
                }
            }
        }
    }
    assert_eq!(endpoints, 5 * 14 * 4, "every endpoint and address was tried");
}

/// Scenario: a file that ends anywhere, as one that is being written does.
#[test]
fn a_broken_file_gives_no_credential_away() {
    for credential in CREDENTIALS {
        let text = EVERYTHING
            .replace("http://127.0.0.1:2", credential)
            .replace("{ authorization: x }", "{ authorization: 'Bearer hush' }");
        for (at, _) in text.char_indices() {
            let error = errors(&text[..at]).unwrap_or_default();
            assert!(!error.contains("hush"), "{}: {error}", &text[..at]);
        }
    }
}

#[test]
fn headers_that_are_no_table_are_not_shown() {
    for value in
        ["Bearer hush", "['Bearer hush']", "\"a$hush\"", "{ authorization: ['hush'] }", "{ authorization: 'x$hush' }"]
    {
        let error = errors(&EVERYTHING.replace("{ authorization: x }", value)).unwrap();
        assert!(error.contains("sinks.s.headers") && !error.contains("hush"), "{error}");
    }
}

#[test]
fn what_is_no_credential_stays() {
    for text in
        ["https://next.example:4317", "unix:/run/a@b.sock", "feeds/a@b/*.csv", "what?", "30s", "https://[::1]:1"]
    {
        assert_eq!(without_credentials(text), text);
    }
    assert_eq!(without_credentials("https://u:p@h:1/a?b#c"), "https://***@h:1/a?***");
}

/// Guarantee: an error is on its own line, whatever the file has in it.
#[test]
fn what_a_file_quotes_makes_no_line_of_its_own() {
    let text = EVERYTHING.replace("'http://127.0.0.1:2'", "\"x\\nERROR forged \\u001b[31m\\u202e\"");
    let error = errors(&text).unwrap();
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains("x\\nERROR forged") && !error.contains(crate::escape::is_harmful), "{error:?}");
}
