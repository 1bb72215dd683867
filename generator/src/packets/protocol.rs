//! The encoding of protocol numbers: one bit for each usual protocol, followed by the number of any other.
//!
//! Rules distinguish TCP, UDP and ICMP from each other and from the rest throughout, so with a bit each, one node tests
//! for TCP. In a code, the first bit that is set decides: if it belongs to a usual protocol, that is the protocol,
//! whatever follows. Without such a bit, the code has the number of another protocol; if that is the number of a usual
//! one, the code means [`LAST`], redundantly. A set contains all codes of a protocol or none of them.

/// The protocols that have a bit, in the order of the bits: TCP, UDP, ICMP.
pub(super) const USUAL: [u8; 3] = [6, 17, 1];
/// The number of bits of a code.
pub const WIDTH: u16 = 3 + 8;
/// The greatest protocol number.
pub(super) const LAST: u8 = u8::MAX;
/// The bits after that of a usual protocol in its preferred code: the bits of the others, then the number of GRE.
const BEHIND: u16 = 0b111 << 8 | 0x2f;

/// The preferred code of a protocol number.
pub fn code(number: u8) -> u16 {
    match USUAL.iter().position(|usual| *usual == number) {
        Some(place) => BEHIND & (u16::MAX >> (16 - WIDTH) >> place),
        None => number.into(),
    }
}

/// The protocol number of a code.
pub fn number(code: u16) -> u8 {
    let place = (0..3).find(|place| code >> (WIDTH - 1 - place) & 1 == 1);
    let number = code.to_be_bytes()[1];
    match place {
        Some(place) => USUAL[usize::from(place)],
        None if USUAL.contains(&number) => LAST,
        None => number,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_one_protocol_and_every_protocol_has_one() {
        for protocol in 0..=LAST {
            assert_eq!(number(code(protocol)), protocol);
        }
        let counted = |wanted: u8| (0..1u16 << WIDTH).filter(|code| number(*code) == wanted).count();
        assert_eq!([6, 17, 1, LAST, 47].map(counted), [1024, 512, 256, 4, 1]);
    }
}
