//! What single values become, where odd ones go, and what is refused.

use super::*;

#[test]
fn nothing_is_an_empty_request() {
    assert_eq!(from_json(b" {} \n").unwrap(), Converted::default());
}
