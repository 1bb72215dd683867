//! The bits of one packet, by level of the diagrams.

use std::ops::Range;

/// A packet's bits by level, from the highest bit of the first word.
#[derive(Debug, Clone, Default)]
pub(super) struct Bits([u64; 8]);

impl Bits {
    pub(super) fn has(&self, level: u16) -> bool {
        self.0[usize::from(level >> 6)] >> (63 - (level & 63)) & 1 == 1
    }

    pub(super) fn put(&mut self, level: u16, bit: bool) {
        let (word, place) = (&mut self.0[usize::from(level >> 6)], 63 - (level & 63));
        *word = *word & !(1 << place) | u64::from(bit) << place;
    }

    /// The bits at these levels, as a number.
    pub(super) fn number(&self, mut levels: Range<u16>) -> u128 {
        let mut number = 0;
        while !levels.is_empty() {
            let (word, before) = (self.0[usize::from(levels.start >> 6)], levels.start & 63);
            let width = (64 - before).min(levels.end - levels.start);
            number = number << width | u128::from(word << before >> (64 - width));
            levels.start += width;
        }
        number
    }

    /// Sets the bits of a number at these levels, which must be unset.
    pub(super) fn put_number(&mut self, mut levels: Range<u16>, mut number: u128) {
        while !levels.is_empty() {
            let last = levels.end - 1;
            let width = ((last & 63) + 1).min(levels.end - levels.start);
            let low = u64::try_from(number & u128::from(u64::MAX)).unwrap_or(0);
            self.0[usize::from(last >> 6)] |= low << (63 - (last & 63));
            number >>= width;
            levels.end -= width;
        }
    }
}
