//! What `build.rs` generates from `proto/`: messages and clients of Hotlist's own services.
//!
//! Generated types are for programs that call Hotlist, and for its unary calls. Events never pass through them: sources
//! walk and splice the bytes that arrived.

/// `hotlist.filter.v1`: the Filter stream and Check.
pub mod filter {
    /// Version 1.
    #[expect(unused_qualifications, reason = "the generator writes every path in full")]
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/hotlist.filter.v1.rs"));
    }
}

/// The descriptors of all of them, comments included, for reflection: an encoded
/// `google.protobuf.FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hotlist.bin"));
