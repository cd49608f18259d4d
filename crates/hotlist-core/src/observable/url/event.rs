//! URLs in *event* values, read as a browser reads what is typed or linked.

use ::url::Url;

use super::{CanonicalUrl, SPECIAL, canonical, percent_encode_invalid, raw_host, whatwg};
use crate::observable::domain;

/// Words before a URL that say what to do with it. Each is taken off once.
const WRAPPERS: [&str; 3] = ["view-source:", "blob:", "feed:"];

/// The URL that an *event* value is: its [`canonical`] form, or what a browser makes of it where it has none. Control
/// characters and blanks at the ends, tabs and line breaks do not count, one slash or none may follow `http:`, a
/// backslash is a slash, and two slashes alone stand for any scheme.
pub fn event_url(value: &[u8]) -> Option<CanonicalUrl> {
    canonical(value).or_else(|| as_browser(value))
}

fn as_browser(value: &[u8]) -> Option<CanonicalUrl> {
    let is_control = |character: char| character <= ' ';
    let text = percent_encode_invalid(value);
    let text: String = text.trim_matches(is_control).chars().filter(|c| !matches!(c, '\t' | '\n' | '\r')).collect();
    let mut text = text.as_str();
    for wrapper in WRAPPERS {
        if let Some((start, rest)) = text.split_at_checked(wrapper.len())
            && start.eq_ignore_ascii_case(wrapper)
        {
            text = rest;
        }
    }
    if text.starts_with("//") || text.starts_with("\\\\") {
        let url = whatwg(&format!("http:{text}"))?;
        return CanonicalUrl::new("", url.rest());
    }
    let scheme = &text[..text.find(':')?];
    let url = if is_special(scheme.as_bytes()) { whatwg(text) } else { None };
    // Without the wrapper or the controls it may have a form of its own.
    url.or_else(|| canonical(text.as_bytes()).filter(|url| url.scheme().is_some()))
}

/// Whether URLs of a scheme always have a host.
fn is_special(scheme: &[u8]) -> bool {
    SPECIAL.iter().any(|(known, _)| scheme.eq_ignore_ascii_case(known.as_bytes()))
}

/// Whether an *event* value is a reference without a host: a path, a query, `*`, or a URL of a scheme that has no hosts
/// (`data:`, `mailto:`). Such a value is not a URL to look up, and not malformed either.
pub fn is_reference(value: &[u8]) -> bool {
    match value.trim_ascii() {
        [] | b"*" => true,
        [b'/', second, ..] => !matches!(second, b'/' | b'\\'),
        [b'/' | b'?' | b'#' | b'.', ..] => true,
        value => {
            let scheme = value.iter().position(|byte| *byte == b':').map(|at| &value[..at]);
            let is_word = |scheme: &[u8]| domain::split_scheme(&[scheme, b"://"].concat()).is_some();
            // `http` and its like always have a host. A wrapper (`view-source:`) has none of its own, but holds a URL.
            scheme.is_some_and(|scheme| is_word(scheme) && !is_special(scheme))
                && raw_host(value).is_none()
                && Url::parse(&percent_encode_invalid(value)).is_ok_and(|url| !url.has_host())
                && event_url(value).is_none()
        }
    }
}
