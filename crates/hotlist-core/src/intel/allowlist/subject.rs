//! The value of a finding, in the forms that entries are compared with.

use std::net::IpAddr;

use crate::intel::term;
use crate::observable::url::CanonicalUrl;
use crate::observable::{Kind, domain, ip, url, user};

/// The observable of an event that a finding is about.
#[derive(Clone, Debug)]
pub struct Subject {
    kind: Kind,
    /// Its canonical text; of a user name with a domain before it also the whole.
    texts: Vec<String>,
    address: Option<IpAddr>,
    host: Option<String>,
    /// The part after the scheme of a URL, and whether there is a scheme.
    url: Option<(String, bool)>,
    /// A URL that says more than its scheme and its host.
    has_path: bool,
}

impl Subject {
    /// The value of an event at which an indicator of this kind was found. `indicator` is the indicator's value in
    /// canonical form.
    pub fn new(kind: Kind, value: &[u8], indicator: &str) -> Subject {
        let mut subject = Subject { kind, texts: Vec::new(), address: None, host: None, url: None, has_path: false };
        match kind {
            Kind::Ip => {
                subject.address = ip::event_address(value).or_else(|| ip::canonical(indicator.as_bytes()));
                subject.texts.extend(subject.address.map(|address| address.to_string()));
            }
            Kind::Domain => {
                let name = name(value).unwrap_or_else(|| indicator.to_owned());
                subject.host = Some(name.clone());
                subject.texts.push(name);
            }
            Kind::Url => {
                let found = url::canonical(value).or_else(|| url::canonical(indicator.as_bytes()));
                match found {
                    Some(found) => subject.set_url(&found, indicator),
                    None => subject.texts.push(indicator.to_owned()),
                }
            }
            Kind::Number | Kind::Time => {
                // A comparison shows its operator in the indicator; the event has the plain value.
                let text = String::from_utf8_lossy(value);
                subject.texts.extend(term::value(kind, &text).map(|value| value.to_string()));
            }
            Kind::User => {
                subject.texts.push(indicator.to_owned());
                let whole =
                    user::canonical(value, &mut Vec::new()).map(|whole| String::from_utf8_lossy(whole).into_owned());
                subject.texts.extend(whole.filter(|whole| whole != indicator));
            }
            _ => {
                subject.texts.push(indicator.to_owned());
                // An expression shows itself in the indicator; the event has the plain value.
                let value = std::str::from_utf8(value).ok().and_then(|value| term::value(kind, value));
                subject.texts.extend(value.map(|value| value.to_string()).filter(|value| value != indicator));
            }
        }
        subject
    }

    /// A URL, which borrows the indicator's scheme when the event leaves it out.
    fn set_url(&mut self, found: &CanonicalUrl, indicator: &str) {
        let scheme = found.scheme().map(str::to_owned).or_else(|| {
            let indicator = url::canonical(indicator.as_bytes())?;
            (indicator.rest() == found.rest()).then(|| indicator.scheme().map(str::to_owned))?
        });
        let (host, rest) = (found.host(), found.rest());
        self.has_path = rest.strip_prefix(host) != Some("/");
        if !self.has_path {
            self.address = ip::canonical(host.as_bytes());
            self.host = Some(host.to_owned());
        }
        self.texts.push(match &scheme {
            Some(scheme) => format!("{scheme}://{rest}"),
            None => rest.to_owned(),
        });
        self.url = Some((rest.to_owned(), scheme.is_some()));
    }

    /// The kind of the finding.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its canonical texts.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(String::as_str)
    }

    /// An address, also as the host of a URL that says nothing more.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// A domain, also as the host of a URL that says nothing more.
    pub(super) fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The part after the scheme of a URL, and whether there is a scheme.
    pub(super) fn url(&self) -> Option<(&str, bool)> {
        self.url.as_ref().map(|(rest, scheme)| (rest.as_str(), *scheme))
    }

    /// Whether it is a URL that says more than its scheme and its host, so that no entry of a host holds it.
    pub(super) fn has_path(&self) -> bool {
        self.has_path
    }
}

/// The name that the matcher reads in an event's value.
fn name(value: &[u8]) -> Option<String> {
    let mut scratch = Vec::new();
    let name = match domain::canonical(value, &mut scratch) {
        Some(name) => name.to_vec(),
        None => domain::canonical(domain::event_host(value)?, &mut Vec::new())?.to_vec(),
    };
    String::from_utf8(name).ok()
}
