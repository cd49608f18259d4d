//! Reading a feed's file within bounds: bytes to text, text to lines or to the objects of a document.

mod decode;
pub(super) mod document;
pub(super) mod input;
pub(super) mod lines;
