//! Timeouts and limits of states: macOS's defaults, and what `set` changes.
//!
//! It exists because the state table fills sooner than expected: a local connection makes two states, which stay for
//! a minute and a half after it ends. Sees: names and numbers. Never: a state.

/// How often each state is checked, in seconds.
pub(super) const INTERVAL: u64 = 10;
/// Each check, once a second, covers this fraction of the states.
pub(super) const LOOKS: usize = 10;

/// Timeouts in seconds, and the numbers of states between which they shrink (`pfctl -s timeouts`).
const TIMEOUTS: [(&str, u64); 19] = [
    ("tcp.first", 120),
    ("tcp.opening", 30),
    ("tcp.established", 86_400),
    ("tcp.closing", 900),
    ("tcp.finwait", 45),
    ("tcp.closed", 90),
    ("udp.first", 60),
    ("udp.single", 30),
    ("udp.multiple", 60),
    ("icmp.first", 20),
    ("icmp.error", 10),
    ("esp.first", 120),
    ("esp.initiating", 30),
    ("esp.established", 900),
    ("other.first", 60),
    ("other.single", 30),
    ("other.multiple", 60),
    ("adaptive.start", 6000),
    ("adaptive.end", 12_000),
];

/// The limits in force.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// Most states in the table.
    pub states: usize,
    changed: Vec<(&'static str, u64)>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { states: 10_000, changed: Vec::new() }
    }
}

impl Limits {
    /// A timeout in seconds, or a number of states from which timeouts shrink; 0 if the name is unknown.
    pub fn timeout(&self, name: &str) -> u64 {
        let all = self.changed.iter().rev().chain(&TIMEOUTS);
        all.copied().find(|(known, _)| *known == name).map_or(0, |(_, value)| value)
    }

    /// Applies a `set timeout` or `set limit`. pfctl also derives `adaptive.start` and `adaptive.end` from a limit of
    /// states; here only explicit settings change them.
    pub fn set(&mut self, name: &'static str, value: u32) {
        if name == "states" {
            self.states = usize::try_from(value).unwrap_or(usize::MAX);
        } else {
            self.changed.push((name, value.into()));
        }
    }
}
