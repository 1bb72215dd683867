//! Protocols as bits: a bit for each of the usual ones, and behind them the number of any other.
//!
//! Rules tell TCP, UDP and ICMP from each other and from the rest, in all they are about; so it is one node that knows
//! TCP. A code whose first bit that is set is that of a usual protocol is that protocol, whatever stands behind. One
//! without such a bit is the number of another; where it is the number of a usual one, it is [`LAST`] once more. A set
//! holds all codes of a protocol or none.

use super::{Field, Set, Space};

/// The protocols that have a bit, the first before the others.
const USUAL: [u8; 3] = [6, 17, 1];
/// How many bits there are.
pub const WIDTH: u16 = 3 + 8;
/// The greatest number.
const LAST: u8 = u8::MAX;
/// What stands behind the bit of a usual protocol: the next usual one where it is not that, and then GRE.
const BEHIND: u16 = 0b111 << 8 | 0x2f;

/// A code of a protocol.
pub fn code(number: u8) -> u16 {
    match USUAL.iter().position(|usual| *usual == number) {
        Some(place) => BEHIND & (u16::MAX >> (16 - WIDTH) >> place),
        None => number.into(),
    }
}

/// The protocol of a code.
pub fn number(code: u16) -> u8 {
    let place = (0..3).find(|place| code >> (WIDTH - 1 - place) & 1 == 1);
    let number = code.to_be_bytes()[1];
    match place {
        Some(place) => USUAL[usize::from(place)],
        None if USUAL.contains(&number) => LAST,
        None => number,
    }
}

impl Space {
    /// The packets of protocols in these ranges.
    pub(super) fn protocols(&mut self, ranges: &[(u128, u128)]) -> Set {
        let has = |number: u8| ranges.iter().any(|(first, last)| (*first..=*last).contains(&number.into()));
        let levels = self.field_levels(Field::Protocol);
        let others: Vec<(u128, u128)> = match ranges {
            // The usual question, of which the general answer is the same.
            [(first, last)] if first == last && *first != LAST.into() => ranges
                .iter()
                .filter(|(number, _)| !USUAL.iter().any(|it| u128::from(*it) == *number))
                .copied()
                .collect(),
            _ => {
                let is_in = |code: &u8| has(if USUAL.contains(code) { LAST } else { *code });
                (0..=LAST).filter(is_in).map(|code| (code.into(), code.into())).collect()
            }
        };
        let mut set = self.ranges(levels.start + 3..levels.end, &others).as_map();
        for (level, usual) in (levels.start..levels.start + 3).zip(USUAL).rev() {
            let is_it = if has(usual) { Set::ALL } else { Set::NONE };
            set = self.diagrams.make(level, set, is_it.as_map());
        }
        self.diagrams.set(set)
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
