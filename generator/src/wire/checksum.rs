//! The internet checksum (RFC 1071), and its incremental update when a word changes (RFC 1624).
//!
//! Never: which words change.

use etherparse::checksum::Sum16BitWords;

use super::{field, length, put, word};

/// The ones' complement sum of the bytes, not inverted.
pub fn sum(bytes: &[u8]) -> u16 {
    !Sum16BitWords::new().add_slice(bytes).ones_complement().to_be()
}

/// The sum of the TCP or UDP pseudo header, not inverted.
pub fn pseudo(bytes: &[u8], protocol: u8, transport: usize) -> u16 {
    let addresses = bytes.get(field::SOURCE..field::SOURCE + 8).unwrap_or_default();
    add(add(sum(addresses), u16::from(protocol)), length(transport))
}

/// Ones' complement addition.
pub fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u16::from(carry)
}

/// A checksum field that covers changed words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChecksumField {
    /// Its offset.
    pub at: usize,
    pub kind: ChecksumKind,
}

/// What a checksum field contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumKind {
    /// The inverted sum.
    Whole,
    /// UDP's checksum, which is absent if it is zero.
    Optional,
    /// The sum of the pseudo header alone, not inverted: the device completes it.
    Partial,
}

/// Writes a word, and updates the checksums that cover it.
pub fn replace(bytes: &mut [u8], at: usize, value: u16, checks: &[ChecksumField]) {
    let old = word(bytes, at);
    if old == value {
        return;
    }
    put(bytes, at, value);
    for check in checks {
        let field = word(bytes, check.at);
        let mended = match check.kind {
            ChecksumKind::Optional if field == 0 => continue,
            ChecksumKind::Whole | ChecksumKind::Optional => !add(add(!field, !old), value),
            ChecksumKind::Partial => add(add(field, !old), value),
        };
        // In UDP zero would mean that there is no checksum.
        let is_none = check.kind == ChecksumKind::Optional && mended == 0;
        put(bytes, check.at, if is_none { u16::MAX } else { mended });
    }
}
