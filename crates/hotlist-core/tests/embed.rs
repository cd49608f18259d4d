//! The example of embedding does what it shows.

// Says to clippy what cargo knows: helpers here are test code, too.
#![cfg(test)]

#[path = "../examples/embed.rs"]
#[expect(dead_code, reason = "its `main` writes to the terminal")]
mod embed;

/// Guarantee: the example reports the line that it cannot use, finds each value that is listed and nothing else, and
/// gives the events back with their enrichments.
#[test]
fn the_example_finds_what_is_listed() {
    let mut written = Vec::new();
    embed::run(&mut written).unwrap();
    let written = String::from_utf8(written).unwrap();
    let (tagged, lines): (Vec<&str>, Vec<&str>) = written.lines().partition(|line| line.starts_with('{'));
    let digest = "275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f";
    // The subject is the output as a whole: a reader of the example sees it.
    assert_eq!(
        lines,
        [
            "line 5 is not used: `not a domain` is not of the kind domain",
            "destination.ip is 203.0.113.80, the ip 203.0.113.0/24 of blocklist",
            "dns.question.name is CDN.Evil.example., the domain evil.example of blocklist",
            &format!("file.hash.sha256 is {digest}, the sha256 {digest} of blocklist"),
        ]
    );
    let enrichments = tagged.iter().map(|event| {
        let event: serde_json::Value = serde_json::from_str(event).unwrap();
        event["threat"]["enrichments"].as_array().map(Vec::len)
    });
    assert_eq!(Vec::from_iter(enrichments), [Some(1), Some(2)]);
}
