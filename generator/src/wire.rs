//! The bytes of IPv4 packets: what pf reads in them, what it changes, and what it answers with.
//!
//! It exists so that the reader of pf, which has packets as values, can decide about packets that programs send.
//! Bytes that a host would not accept as a packet (a truncated header, a wrong checksum) are reported with the
//! reason. Sees: pf, for the type of a packet. Never: a rule, a device, or who sent the bytes.

pub mod answer;
mod checksum;
mod datagram;
mod fragment;
mod offload;
mod read;
mod rewrite;

pub use datagram::{udp, udp_payload};
pub use fragment::{fragments, whole};
pub use offload::{Gso, OFFLOAD_HEADER, Offload, complete, segments};
pub use read::{Datagram, Malformed, is_transport_right, read, v4};
pub use rewrite::{clear_df, lower_ttl, raise_ttl, rewrite};

/// Length of an IPv4 header without options.
const IPV4_HEADER: usize = 20;

/// Offsets of header fields.
mod field {
    pub const TOTAL_LENGTH: usize = 2;
    pub const ID: usize = 4;
    pub const FRAGMENT: usize = 6;
    pub const TTL: usize = 8;
    pub const IP_CHECKSUM: usize = 10;
    pub const SOURCE: usize = 12;
    pub const DESTINATION: usize = 16;
    /// Offsets from here on are relative to the end of the IP header.
    pub const SOURCE_PORT: usize = 0;
    pub const DESTINATION_PORT: usize = 2;
    pub const TCP_SEQUENCE: usize = 4;
    pub const TCP_FLAGS: usize = 13;
    pub const TCP_CHECKSUM: usize = 16;
    pub const UDP_LENGTH: usize = 4;
    pub const UDP_CHECKSUM: usize = 6;
    pub const ICMP_CHECKSUM: usize = 2;
    pub const ICMP_ID: usize = 4;
    /// Where the packet quoted by an ICMP error begins.
    pub const ICMP_QUOTE: usize = 8;
}

/// Two bytes in network order; 0 beyond the end.
fn word(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |two| u16::from_be_bytes([two[0], two[1]]))
}

/// Four bytes in network order; 0 beyond the end.
fn long(bytes: &[u8], at: usize) -> u32 {
    u32::from(word(bytes, at)) << 16 | u32::from(word(bytes, at + 2))
}

/// Writes two bytes in network order; does nothing beyond the end.
fn put(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(two) = bytes.get_mut(at..at + 2) {
        two.copy_from_slice(&value.to_be_bytes());
    }
}

/// A length as 16 bits; packets are never longer.
fn length(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}
