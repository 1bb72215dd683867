//! The internet checksum: of a whole packet, and its update when a word changes (RFC 1624).
//!
//! Never: which words change.

use etherparse::checksum::Sum16BitWords;

use super::read::Datagram;
use super::{field, length, put, word};
use crate::pf::eval::{TCP, UDP};

/// The ones' complement sum of some bytes behind others, not inverted.
pub fn sum(bytes: &[u8]) -> u16 {
    !Sum16BitWords::new().add_slice(bytes).ones_complement().to_be()
}

/// The sum of what TCP and UDP add of the IP header, not inverted.
pub fn pseudo(bytes: &[u8], protocol: u8, transport: usize) -> u16 {
    let addresses = bytes.get(field::SOURCE..field::SOURCE + 8).unwrap_or_default();
    add(add(sum(addresses), u16::from(protocol)), length(transport))
}

/// Adds with the carry around.
pub fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u16::from(carry)
}

/// A field that sums up others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// Where it lies.
    pub at: usize,
    pub kind: Kind,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The inverted sum.
    Whole,
    /// UDP's, which is not there where it is zero.
    Optional,
    /// The sum of the pseudo header alone: the device adds the rest and inverts.
    Partial,
}

/// Writes a word, and repairs the checksums that cover it.
pub fn replace(bytes: &mut [u8], at: usize, value: u16, checks: &[Check]) {
    let old = word(bytes, at);
    if old == value {
        return;
    }
    put(bytes, at, value);
    for check in checks {
        let field = word(bytes, check.at);
        let mended = match check.kind {
            Kind::Optional if field == 0 => continue,
            Kind::Whole | Kind::Optional => !add(add(!field, !old), value),
            Kind::Partial => add(add(field, !old), value),
        };
        // Zero would mean that there is none.
        let is_none = check.kind == Kind::Optional && mended == 0;
        put(bytes, check.at, if is_none { u16::MAX } else { mended });
    }
}

/// Whether the checksum of TCP or UDP is right, which pf looks at before it answers with a RST.
pub fn is_transport_right(bytes: &[u8], datagram: &Datagram) -> bool {
    let transport = &bytes[datagram.header..datagram.total];
    let protocol = datagram.packet.protocol();
    match protocol {
        UDP if word(transport, field::UDP_CHECKSUM) == 0 => true,
        TCP | UDP => add(sum(transport), pseudo(bytes, protocol, transport.len())) == u16::MAX,
        _ => true,
    }
}
