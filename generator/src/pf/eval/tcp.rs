//! Tracking of TCP sequence numbers by a state.
//!
//! It exists because a segment outside the window is dropped although its state is found. Window scaling is not
//! modelled (packets here carry no options), nor is the modulation of sequence numbers. Sees: segments. Never:
//! addresses or rules.

use super::packet::{ACK, FIN, RST, SYN, TcpSegment};

/// How far an acknowledgement may lag or lead: a window and some slack.
const SKEW: u32 = 0xffff + 1500;
/// The largest window scale, assumed because none is negotiated.
const SCALE: u32 = 14;

/// The name of the timeout of a TCP state.
pub(super) fn timeout(peers: &[Peer; 2]) -> &'static str {
    let both = |stage: Stage| peers.iter().all(|peer| peer.stage >= stage);
    let any = |stage: Stage| peers.iter().any(|peer| peer.stage >= stage);
    if both(Stage::FinWait) {
        "tcp.closed"
    } else if both(Stage::Closing) {
        "tcp.finwait"
    } else if !both(Stage::Established) {
        "tcp.opening"
    } else if any(Stage::Closing) {
        "tcp.closing"
    } else {
        "tcp.established"
    }
}

/// The progress of a peer in a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    #[default]
    Closed,
    SynSent,
    Established,
    Closing,
    FinWait,
    TimeWait,
}

/// What a state knows of one peer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Peer {
    stage: Stage,
    low: u32,
    high: u32,
    window: u16,
}

/// How a segment fits its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It is valid.
    Good,
    /// It is invalid, and dropped.
    Bad,
    /// The connection had ended, and this SYN opens a new one: the state is removed.
    Reopens,
}

/// `a >= b` in sequence number arithmetic.
fn at_least(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() >= 0
}

impl Peer {
    /// The peer that opens a connection with this segment.
    pub fn opener(segment: &TcpSegment) -> Self {
        let flags = [SYN, FIN].iter().filter(|&&flag| segment.flags & flag != 0).count();
        let extra = u32::try_from(flags).unwrap_or(0) + 1;
        Self {
            stage: Stage::SynSent,
            low: segment.sequence,
            high: segment.sequence.wrapping_add(segment.length).wrapping_add(extra),
            window: segment.window.max(1),
        }
    }

    /// The peer that has not sent a segment yet.
    pub fn silent() -> Self {
        Self { stage: Stage::Closed, low: 0, high: 1, window: 1 }
    }
}

/// Checks a segment against its state, and updates the state. `from` is the peer that sent it.
pub(super) fn track(from: &mut Peer, to: &mut Peer, segment: &TcpSegment) -> Fit {
    let has = |flag: u8| segment.flags & flag != 0;
    if segment.flags & (SYN | ACK) == SYN && to.stage >= Stage::FinWait && from.stage >= Stage::FinWait {
        return Fit::Reopens;
    }
    let scale = if has(SYN) { 0 } else { SCALE };
    let scaled = |window: u16| u32::from(window) << scale;
    let mut sequence = segment.sequence;
    let mut end = sequence.wrapping_add(segment.length);
    end = end.wrapping_add(u32::from(has(SYN))).wrapping_add(u32::from(has(FIN)));
    if from.low == 0 {
        // The first segment from this peer.
        from.low = sequence;
        from.stage = from.stage.max(Stage::SynSent);
        let high = end.wrapping_add(scaled(to.window).max(1));
        if from.high == 1 || at_least(high, from.high) {
            from.high = high;
        }
        from.window = from.window.max(segment.window);
    }
    let mut acknowledged = segment.acknowledgement;
    let is_bare_reset = acknowledged == 0 && segment.flags & (ACK | RST) == ACK | RST;
    if !has(ACK) || is_bare_reset || to.stage < Stage::SynSent {
        acknowledged = to.low;
    }
    if sequence == end {
        sequence = from.low;
        end = sequence;
    }
    let skew = to.low.wrapping_sub(acknowledged).cast_signed();
    let limit = SKEW.cast_signed();
    let is_inside = at_least(from.high, end)
        && at_least(sequence, from.low.wrapping_sub(scaled(to.window)))
        && skew >= -limit
        && skew <= limit << scale;
    let is_loose = !is_inside
        && (to.stage < Stage::SynSent || to.stage >= Stage::FinWait || from.stage >= Stage::FinWait)
        && at_least(from.high.wrapping_add(SKEW), end)
        && at_least(sequence, from.low.wrapping_sub(SKEW));
    if !is_inside && !is_loose {
        if to.stage == Stage::SynSent && from.stage == Stage::SynSent {
            *from = Peer { stage: from.stage, ..Peer::silent() };
        }
        return Fit::Bad;
    }
    from.window = from.window.max(segment.window);
    if at_least(end, from.low) {
        from.low = end;
    }
    let reach = acknowledged.wrapping_add(scaled(segment.window));
    if at_least(reach, to.high) {
        to.high = acknowledged.wrapping_add(scaled(segment.window).max(1));
    }
    if is_inside && has(SYN) {
        from.stage = from.stage.max(Stage::SynSent);
    }
    if has(FIN) {
        from.stage = from.stage.max(Stage::Closing);
    }
    if is_inside && has(ACK) {
        match to.stage {
            Stage::SynSent => to.stage = Stage::Established,
            Stage::Closing => to.stage = Stage::FinWait,
            _ => {}
        }
    }
    if has(RST) {
        from.stage = Stage::TimeWait;
        to.stage = Stage::TimeWait;
    }
    Fit::Good
}

/// Whether this peer can have sent the segment that an ICMP error quotes.
pub(super) fn is_plausible(from: &Peer, to: &Peer, sequence: u32) -> bool {
    at_least(from.high, sequence) && at_least(sequence, from.low.wrapping_sub(u32::from(to.window) << SCALE))
}
