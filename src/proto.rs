//! The code that is generated from `proto/`: messages, clients and servers of Hotlist's own services.
//! `tests/generated.rs` generates it.
//!
//! Generated types are for programs that call Hotlist, for its unary calls and for the control stream. Events never use
//! them: sources walk and splice the received bytes.

/// `hotlist.control.v1`: the control stream between a control plane and its sidecars.
pub mod control {
    /// Version 1.
    #[expect(unused_qualifications, reason = "the generator writes every path in full")]
    pub mod v1 {
        include!("../proto/generated/hotlist.control.v1.rs");
    }

    /// Its descriptors for reflection, comments included: an encoded `google.protobuf.FileDescriptorSet`.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("../proto/generated/hotlist.control.bin");
}

/// `hotlist.filter.v1`: the Filter stream and Check.
pub mod filter {
    /// Version 1.
    #[expect(unused_qualifications, reason = "the generator writes every path in full")]
    pub mod v1 {
        include!("../proto/generated/hotlist.filter.v1.rs");
    }

    /// Its descriptors for reflection, comments included: an encoded `google.protobuf.FileDescriptorSet`.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("../proto/generated/hotlist.filter.bin");
}
