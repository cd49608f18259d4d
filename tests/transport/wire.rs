//! Bytes on the wire, made by hand and not with the code under test.

use bytes::Bytes;

/// Frames a message as gRPC does.
pub fn frame(flag: u8, message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    Bytes::from([&[flag], length.as_slice(), message].concat())
}

/// The first bytes of an HTTP/2 client: the preface, and SETTINGS without any setting (RFC 9113 section 3.4).
pub fn greeting() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &http2(4, 0, 0, &[])].concat()
}

/// An HTTP/2 frame (RFC 9113 section 4.1).
pub fn http2(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Bytes that look random and are the same in every run.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

pub fn gzip(message: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(message).unwrap();
    encoder.finish().unwrap()
}

pub fn gunzip(message: &[u8]) -> Vec<u8> {
    use std::io::Read;
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(message).read_to_end(&mut plain).unwrap();
    plain
}

/// An OTLP request of so many records, each a text of so many bytes.
pub fn records(count: usize, bytes: usize) -> Vec<u8> {
    let documents: Vec<_> = (0..count).map(|at| serde_json::json!({ "message": format!("{at:0bytes$}") })).collect();
    hotlist::encoding::otlp::request_of((1..).zip(&documents))
}
