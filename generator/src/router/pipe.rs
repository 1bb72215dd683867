//! A pipe: it delays packets, limits their rate or loses them, as a dummynet pipe does.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::Conditions;

/// Queue length of a pipe in packets, of whatever length: dummynet's default number of slots.
const SLOTS: usize = 50;

/// All packets sent into it share its bandwidth. Loss and jitter follow a sequence that is the same in every run.
#[derive(Debug, Clone)]
pub(super) struct Pipe {
    pub conditions: Conditions,
    /// When each queued packet will have left, in order.
    waiting: VecDeque<Duration>,
    /// When the last packet comes out: jitter never reorders packets.
    last: Duration,
    /// The state of the random sequence for loss and jitter.
    chance: u64,
}

impl Pipe {
    /// An empty pipe. Pipes with different seeds lose different packets.
    pub fn new(conditions: Conditions, seed: u64) -> Self {
        Self { conditions, waiting: VecDeque::new(), last: Duration::ZERO, chance: seed }
    }

    /// When a packet that enters now comes out; `None` if it is lost.
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

    /// The next number of the random sequence, in [0, 1) (splitmix64).
    fn draw(&mut self) -> f64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.chance;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // A float has a mantissa of 53 bits.
        #[expect(clippy::cast_precision_loss)]
        let share = ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
        share
    }
}
