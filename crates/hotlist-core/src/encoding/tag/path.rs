//! Values at dotted paths, nested or dotted at any of their dots.

use super::{Codec, Entry, Shape};

/// The string at a path; the last of duplicates. What cannot be read is not there.
pub(super) fn text_at<C: Codec>(members: &[Entry<'_>], path: &str) -> Option<Vec<u8>> {
    for member in members.iter().rev() {
        let Some(rest) = path.as_bytes().strip_prefix(&*member.key) else { continue };
        if rest.is_empty() {
            return match C::shape(member.value).ok()? {
                Shape::Text(text) => Some(text.into_owned()),
                _ => None,
            };
        }
        if let Some(rest) = rest.strip_prefix(b".").and_then(|rest| str::from_utf8(rest).ok())
            && let Ok(Shape::Object(inner)) = C::shape(member.value)
            && let Some(text) = text_at::<C>(&inner, rest)
        {
            return Some(text);
        }
    }
    None
}
