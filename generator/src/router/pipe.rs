//! A pipe: packets come out of it late, at a limited rate, or not at all, as dummynet's do.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::Conditions;

/// How many packets wait before a slow pipe, whatever their length: dummynet's slots where nothing else is said.
const SLOTS: usize = 50;

/// One for all that is sent into it: its bandwidth is shared. Loss and jitter follow a sequence that
/// is the same in every run.
#[derive(Debug, Clone)]
pub(super) struct Pipe {
    pub conditions: Conditions,
    /// When each of those that wait will have left, in order.
    waiting: VecDeque<Duration>,
    /// When the last packet comes out: chance delays packets, and none overtakes another.
    last: Duration,
    /// The sequence of its losses.
    chance: u64,
}

impl Pipe {
    /// An empty pipe. Pipes with different seeds lose different packets.
    pub fn new(conditions: Conditions, seed: u64) -> Self {
        Self { conditions, waiting: VecDeque::new(), last: Duration::ZERO, chance: seed }
    }

    /// When a packet comes out that goes in now; never, where it is lost.
    pub fn carry(&mut self, bytes: usize, now: Duration) -> Option<Duration> {
        if self.conditions.loss.is_some_and(|loss| self.draw() < loss) {
            return None;
        }
        let mut leaves = now;
        if let Some(kilobits) = self.conditions.bandwidth_kbit {
            while self.waiting.front().is_some_and(|leaves| *leaves <= now) {
                self.waiting.pop_front();
            }
            if self.waiting.len() >= SLOTS {
                return None;
            }
            let time = Duration::from_nanos(bytes as u64 * 8 * 1_000_000 / u64::from(kilobits));
            leaves = self.waiting.back().map_or(now, |last| *last) + time;
            self.waiting.push_back(leaves);
        }
        let mut comes = leaves + Duration::from_millis(self.conditions.delay().into());
        if let Some(jitter) = self.conditions.jitter_ms {
            comes += Duration::from_millis(jitter.into()).mul_f64(self.draw());
            comes = comes.max(self.last);
            self.last = comes;
        }
        Some(comes)
    }

    /// The next number of a sequence, at least 0 and below 1 (splitmix64).
    fn draw(&mut self) -> f64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.chance;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // 53 bits are what a float holds.
        #[expect(clippy::cast_precision_loss)]
        let share = ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
        share
    }
}
