//! The encodings' laws: a walk equals decoding first, a splice equals decoding and adding, and nothing panics.

mod common;
mod json;
mod otlp;
mod real;
