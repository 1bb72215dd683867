//! The bits of one packet, by level of the diagrams.

use std::ops::Range;

/// A packet's bits by level, from the highest bit of the first word.
#[derive(Debug, Clone, Default)]
pub(super) struct Bits([u128; 4]);

impl Bits {
    pub(super) fn has(&self, level: u16) -> bool {
        self.0[usize::from(level >> 7)] >> (127 - (level & 127)) & 1 == 1
    }

    pub(super) fn put(&mut self, level: u16, bit: bool) {
        let (word, place) = (&mut self.0[usize::from(level >> 7)], 127 - (level & 127));
        *word = *word & !(1 << place) | u128::from(bit) << place;
    }

    /// The bits at these levels, as a number.
    pub(super) fn number(&self, levels: Range<u16>) -> u128 {
        let (word, place) = (usize::from((levels.end - 1) >> 7), 127 - u32::from((levels.end - 1) & 127));
        let before = word.checked_sub(1).map_or(0, |before| self.0[before]);
        let number = self.0[word] >> place | before.checked_shl(128 - place).unwrap_or(0);
        number & u128::MAX.checked_shr(128 - u32::from(levels.end - levels.start)).unwrap_or(0)
    }

    /// Sets the bits of a number at these levels, which must be unset.
    pub(super) fn put_number(&mut self, levels: Range<u16>, number: u128) {
        let (word, place) = (usize::from((levels.end - 1) >> 7), 127 - u32::from((levels.end - 1) & 127));
        self.0[word] |= number << place;
        if let Some(before) = word.checked_sub(1) {
            self.0[before] |= number.checked_shr(128 - place).unwrap_or(0);
        }
    }
}
