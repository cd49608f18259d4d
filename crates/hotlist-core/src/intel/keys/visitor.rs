//! The receiver of the keys of a value.

use std::net::IpAddr;

use super::KeySpace;
use crate::intel::indicator::RangeValue;
use crate::observable::url::CanonicalUrl;

/// Receives the keys of a value.
pub trait KeyVisitor {
    /// A key of a name space.
    fn key(&mut self, space: KeySpace, key: &[u8]);
    /// A parent of a domain whose own key was given before, for indicators that stand for the names below them.
    #[inline]
    fn parent(&mut self, space: KeySpace, parent: &[u8]) {
        self.key(space, parent);
    }
    /// An address, for the networks that cover it; its key was given before.
    fn networks(&mut self, address: IpAddr);
    /// A number or an instant, for comparisons other than `=`.
    fn range(&mut self, value: RangeValue);
    /// The host of a URL that was not parsed yet. Whether it is worth parsing.
    fn url_host(&mut self, host: &[u8]) -> bool;
    /// A URL.
    fn url(&mut self, url: &CanonicalUrl);
    /// Whether keys of a name space are of any use. `false` spares the work of making them.
    fn wants(&self, space: KeySpace) -> bool;
}
