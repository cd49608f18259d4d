//! Fingerprints of indicators: equal if two say the same and look for the same.

use sha2::{Digest, Sha256};

use crate::intel::indicator::{Indicator, NameScope, Target, TermValue};
use crate::intel::keys::IndicatorOptions;
use crate::intel::segment::bytes::put_text;
use crate::intel::segment::context;
use crate::intel::segment::lists::time_bytes;

/// The first eight bytes of the SHA-256 over everything that a segment stores of an indicator. `options` are those of its
/// feed, which decide how its values are looked for.
pub fn fingerprint(indicator: &Indicator, options: IndicatorOptions) -> u64 {
    let mut bytes = vec![u8::from(options.subdomains), u8::from(options.url_prefix), u8::from(indicator.revoked)];
    put_text(&mut bytes, indicator.id.as_deref().unwrap_or_default());
    bytes.extend((indicator.terms.len() as u32).to_le_bytes());
    for term in &indicator.terms {
        match &term.value {
            // As releases wrote it that knew of no wildcard alone, so that their segments compare with newer ones.
            TermValue::Domain { name, scope } if *scope != NameScope::Below => {
                let subdomains = scope.has_below();
                put_text(&mut bytes, &format!("Domain {{ name: {name:?}, subdomains: {subdomains} }}"));
            }
            value => put_text(&mut bytes, &format!("{value:?}")),
        }
        match &term.target {
            Target::Kind => put_text(&mut bytes, ""),
            Target::StixPath(path) => put_text(&mut bytes, path),
        }
    }
    if let Some(program) = &indicator.program {
        bytes.extend(program.to_bytes());
    }
    for time in [indicator.valid_from, indicator.valid_until] {
        bytes.push(u8::from(time.is_some()));
        bytes.extend(time.map(time_bytes).unwrap_or_default());
    }
    bytes.extend(indicator.port.map_or(0, |port| u32::from(port) + 1).to_le_bytes());
    context::encode(&indicator.context, &mut bytes);
    let digest = Sha256::digest(&bytes);
    digest.first_chunk().copied().map_or(0, u64::from_le_bytes)
}
