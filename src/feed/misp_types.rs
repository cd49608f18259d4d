//! MISP's attribute types: the kinds that can be matched, and the parts of composite types.
//!
//! The types are those of the MISP core format, section 2.4.2.

use crate::feed::classify::{self, Found};
use crate::feed::declared::Declared;
use crate::observable::Kind;

/// The meaning of an attribute.
pub(in crate::feed) enum MispValue {
    /// Values, each of which is the indicator.
    Values(Vec<Found>),
    /// Its value is a STIX pattern.
    Pattern,
}

/// The types of one value.
const SIMPLE: [(Declared, &[&str]); 10] = [
    (Declared::Of(Kind::Ip), &["ip-src", "ip-dst"]),
    (Declared::Of(Kind::Domain), &["domain", "hostname"]),
    (Declared::Of(Kind::Url), &["url", "uri", "link"]),
    (Declared::Of(Kind::Md5), &["md5"]),
    (Declared::Of(Kind::Sha1), &["sha1"]),
    (Declared::Of(Kind::Sha256), &["sha256"]),
    (Declared::Of(Kind::Sha512), &["sha512"]),
    (Declared::Of(Kind::Ssdeep), &["ssdeep"]),
    (
        Declared::Of(Kind::Email),
        &["email", "email-src", "email-dst", "email-reply-to", "whois-registrant-email", "dns-soa-email"],
    ),
    (Declared::Of(Kind::User), &["target-user"]),
];

/// The meaning of an attribute of type `text` by its role in an object of MISP (`object_relation`).
const BY_RELATION: [(Declared, &[&str]); 1] =
    [(Declared::Of(Kind::User), &["username", "user-id", "account-login", "login"])];

/// The values of an attribute; an error says why there are none.
pub(in crate::feed) fn parts(kind: &str, relation: &str, value: &str) -> Result<MispValue, String> {
    let simple = |kind: &str| SIMPLE.iter().find(|(_, words)| words.contains(&kind)).map(|(declared, _)| *declared);
    let one = |declared, value: &str| classify::typed(value, declared).map(|found| vec![found]);
    let unsupported = || format!("type `{kind}` cannot be looked for in events");
    let found = match kind.split_once('|') {
        None => match kind {
            "stix2-pattern" => return Ok(MispValue::Pattern),
            "malware-sample" => one(Declared::Of(Kind::Md5), last(value)?)?,
            "text" => {
                let role = BY_RELATION.iter().find(|(_, words)| words.contains(&relation));
                let Some((declared, _)) = role else { return Err(unsupported()) };
                one(*declared, value)?
            }
            _ => one(simple(kind).ok_or_else(unsupported)?, value)?,
        },
        Some(("filename", hash)) => {
            let declared = simple(hash).filter(|declared| declared.is_hash()).ok_or_else(unsupported)?;
            one(declared, last(value)?)?
        }
        Some((host, "port")) => {
            let declared = simple(host).ok_or_else(unsupported)?;
            // Old events have a colon between the parts.
            let (host, port) = value.rsplit_once('|').or_else(|| value.rsplit_once(':')).ok_or("has no port")?;
            let port = port.trim().parse().map_err(|_| format!("`{port}` is not a port"))?;
            let found = classify::typed(host, declared)?;
            vec![Found { port: Some(port), ..found }]
        }
        Some(("domain", "ip")) => {
            let (name, address) = value.split_once('|').ok_or("is not of two parts")?;
            let name = classify::typed(name, Declared::Of(Kind::Domain))?;
            vec![name, classify::typed(address, Declared::Of(Kind::Ip))?]
        }
        Some(_) => return Err(unsupported()),
    };
    Ok(MispValue::Values(found))
}

/// The hash behind a file's name, which may have a bar itself.
fn last(value: &str) -> Result<&str, &'static str> {
    value.rsplit_once('|').map(|(_, hash)| hash).ok_or("has no hash behind a `|`")
}
