//! The hosts of *event* values that hold several: lists, alternative names of certificates, and answers of the DNS as
//! servers, resolvers and sensors write them.

use super::malformed::{Malformed, is_placeholder};
use super::text;

/// The most hosts that are read from one value.
const MOST_HOSTS: usize = 64;

/// The prefixes of names in the text form of alternative names (OpenSSL, the Windows crypto API).
const LABELS: [&[u8]; 5] = [b"DNS:", b"DNS Name=", b"IP Address:", b"IP Address=", b"IP:"];

/// Hands over what may be a host in each part of a value, parts being separated by commas, semicolons and line ends. A part
/// is one word, the data of a DNS record (`10 mx.example.org.`, `type:  5 www.example.org`), or a whole record. `read` returns
/// whether it was a host. Gives why not all of the value is read. The caller bounds the value's length.
pub fn event_hosts(value: &[u8], read: &mut dyn FnMut(&[u8]) -> bool) -> Option<Malformed> {
    let mut parts = value.split(|byte| matches!(byte, b',' | b';' | b'\n' | b'\r'));
    let mut malformed = None;
    for part in parts.by_ref().map(text::trimmed).filter(|part| !part.is_empty()).take(MOST_HOSTS) {
        if !is_placeholder(part) && !hosts_of(part, read) {
            malformed = Some(Malformed::NotDomain);
        }
    }
    if parts.any(|part| !text::trimmed(part).is_empty()) { Some(Malformed::TooMany) } else { malformed }
}

/// Hands over the hosts of one part; whether it has any.
fn hosts_of(part: &[u8], read: &mut dyn FnMut(&[u8]) -> bool) -> bool {
    let part = LABELS.iter().find_map(|label| without_label(part, label)).unwrap_or(part);
    let mut words = [&b""[..]; 7];
    let mut count = 0;
    for word in part.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
        match words.get_mut(count) {
            Some(place) => *place = word,
            None => return false,
        }
        count += 1;
    }
    let is_number = |word: &&[u8]| word.iter().all(u8::is_ascii_digit);
    match &words[..count] {
        [] => false,
        [word] => read(word),
        // Sysmon and the Windows resolver write the type of all records but addresses.
        [label, kind, data] if label.eq_ignore_ascii_case(b"type:") && is_number(kind) => read(data),
        // A record in the form of a zone file (RFC 1035, section 5.1): owner, TTL, class, type, data.
        [owner, ttl, class, _, .., data] if is_number(ttl) && is_class(class) => {
            let is_owner = read(owner);
            read(data) || is_owner
        }
        // Two names and five numbers: the data of SOA (RFC 1035, section 3.3.13).
        [server, mailbox, numbers @ ..] if numbers.len() == 5 && numbers.iter().all(is_number) => {
            let is_server = read(server);
            read(mailbox) || is_server
        }
        // One number before a name: MX (RFC 1035, section 3.3.9); three: SRV (RFC 2782).
        [numbers @ .., data] if matches!(numbers.len(), 1 | 3) && numbers.iter().all(is_number) => read(data),
        _ => false,
    }
}

fn without_label<'a>(part: &'a [u8], label: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = part.split_at_checked(label.len())?;
    start.eq_ignore_ascii_case(label).then_some(rest)
}

fn is_class(word: &[u8]) -> bool {
    [&b"IN"[..], b"CH", b"HS"].iter().any(|class| word.eq_ignore_ascii_case(class))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hosts(value: &str) -> (Vec<String>, Option<Malformed>) {
        let mut found = Vec::new();
        let malformed = event_hosts(value.as_bytes(), &mut |host| {
            let is_host = host.contains(&b'.');
            found.extend(is_host.then(|| String::from_utf8_lossy(host).into_owned()));
            is_host
        });
        (found, malformed)
    }

    #[test]
    fn hosts_of_lists_names_and_answers_are_handed_over() {
        for (value, wanted) in [
            ("a.example", &["a.example"][..]),
            ("a.example, b.example;c.example\nd.example", &["a.example", "b.example", "c.example", "d.example"]),
            ("a.example;", &["a.example"]),
            ("DNS:a.example, DNS:b.example, IP Address:192.0.2.1", &["a.example", "b.example", "192.0.2.1"]),
            ("DNS Name=a.example", &["a.example"]),
            ("type:  5 a.example;::ffff:192.0.2.1;", &["a.example", "::ffff:192.0.2.1"]),
            ("10 mx.example.", &["mx.example."]),
            ("0 5 5060 sip.example.", &["sip.example."]),
            ("ns.example. admin.example. 1 7200 3600 86400 300", &["ns.example.", "admin.example."]),
            ("q.example.\t300\tIN\tcname\ta.example.", &["q.example.", "a.example."]),
            ("q.example. 300 IN MX 10 a.example.", &["q.example.", "a.example."]),
            ("-, a.example", &["a.example"]),
        ] {
            assert_eq!(hosts(value), (wanted.iter().map(|host| (*host).to_owned()).collect(), None), "{value}");
        }
    }

    #[test]
    fn text_is_not_a_list_of_hosts() {
        for value in ["printer a.example", "see a.example now", "v=spf1 include:a.example ~all", "1 2 a.example"] {
            assert_eq!(hosts(value), (Vec::new(), Some(Malformed::NotDomain)), "{value}");
        }
        let many = "a.example,".repeat(MOST_HOSTS + 1);
        assert_eq!(hosts(&many), (vec!["a.example".to_owned(); MOST_HOSTS], Some(Malformed::TooMany)));
    }

    proptest! {
        /// A list has the hosts of its parts.
        #[test]
        fn a_list_has_the_hosts_of_its_parts(
            parts in proptest::collection::vec("[a-c. 0-9:]{0,9}", 0..8), separator in "[,;\n] {0,2}",
        ) {
            let alone: Vec<String> = parts.iter().flat_map(|part| hosts(part).0).collect();
            prop_assert_eq!(hosts(&parts.join(&separator)).0, alone);
        }
    }
}
