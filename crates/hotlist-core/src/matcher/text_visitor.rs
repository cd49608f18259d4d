//! Visitors that read the values of fields and every text of an event as well.

use crate::encoding::{Value, Visitor};
use crate::schema::FieldId;

/// A reader of values of fields, and of texts as well.
pub trait TextVisitor: Visitor {
    /// Scans a text of the event.
    fn scan(&mut self, text: &[u8]);
    /// The walk goes to the value of a member.
    fn at_member(&mut self, _key: &[u8]) {}
    /// The walk is back from it.
    fn after_member(&mut self) {}
}

/// A visitor that gets the texts, too.
pub struct WithTexts<'v, V>(pub &'v mut V);

impl<V: TextVisitor> Visitor for WithTexts<'_, V> {
    const TEXTS: bool = true;

    #[inline]
    fn value(&mut self, field: FieldId, value: Value<'_>) {
        self.0.value(field, value);
    }

    #[inline]
    fn text(&mut self, text: &[u8]) {
        self.0.scan(text);
    }

    #[inline]
    fn enter(&mut self, key: &[u8]) {
        self.0.at_member(key);
    }

    #[inline]
    fn leave(&mut self) {
        self.0.after_member();
    }
}
