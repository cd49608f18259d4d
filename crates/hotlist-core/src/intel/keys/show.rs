//! Keys as text for people.

use std::net::IpAddr;

use jiff::Timestamp;

use super::KeySpace;
use crate::intel::expression::Expression;

/// Returns a key as text: addresses, numbers and instants in their usual notation, anything else as it is.
pub fn show_key(space: KeySpace, key: &[u8]) -> String {
    let text = || String::from_utf8_lossy(key).into_owned();
    match space {
        KeySpace::Ipv4 => <[u8; 4]>::try_from(key).map_or_else(|_| text(), |bytes| IpAddr::from(bytes).to_string()),
        KeySpace::Ipv6 => <[u8; 16]>::try_from(key).map_or_else(|_| text(), |bytes| IpAddr::from(bytes).to_string()),
        KeySpace::Number => {
            <[u8; 8]>::try_from(key).map_or_else(|_| text(), |bytes| f64::from_be_bytes(bytes).to_string())
        }
        KeySpace::Time => <[u8; 16]>::try_from(key)
            .ok()
            .and_then(|bytes| Timestamp::from_nanosecond(i128::from_be_bytes(bytes)).ok())
            .map_or_else(text, |instant| instant.to_string()),
        KeySpace::Expression => Expression::from_key(key).map_or_else(text, |expression| expression.to_string()),
        _ => text(),
    }
}
