//! URLs: the WHATWG form, with and without its scheme.

use std::fmt;

/// A URL in canonical form. A feed or an event may leave the scheme out; then only the rest is compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CanonicalUrl {
    text: Box<str>,
    /// Length of the scheme's name, 0 when there is none.
    scheme: u16,
}

impl CanonicalUrl {
    /// The scheme's name, lower case, when the URL has one.
    pub fn scheme(&self) -> Option<&str> {
        (self.scheme > 0).then(|| &self.text[..usize::from(self.scheme)])
    }

    /// What follows `scheme://`: user info, host, port, path and query. Starts with the host when there is no user
    /// info. Never without a path: the empty path is `/`.
    pub fn rest(&self) -> &str {
        match self.scheme {
            0 => &self.text,
            scheme => &self.text[usize::from(scheme) + "://".len()..],
        }
    }
}

impl fmt::Display for CanonicalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
