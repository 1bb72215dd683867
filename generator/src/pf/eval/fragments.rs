//! Reassembly of fragments.
//!
//! It exists because only the first fragment has the ports of a datagram, and fragments arrive in any order. As in
//! xnu's pf_reassemble, earlier data wins where it overlaps the start of a later fragment, and loses where it
//! overlaps its end; a fragment beyond the last one discards the datagram; none is held longer than half a minute.
//! Sees: fragments. Never: rules.

use std::collections::HashMap;
use std::sync::Arc;

use super::address::Bits;
use super::flow::{Flow, Kind, Ports};
use super::packet::FragmentPart;
use crate::pf::syntax::Family;

/// Most fragments held: the kernel's default (`set limit frags`).
const MOST: usize = 5000;
/// How long an incomplete datagram is held, in seconds.
const PATIENCE: u64 = 30;
/// Length of the longest datagram.
const LONGEST: usize = 65_535;
/// Length of the shortest IP header.
const HEADER: usize = 20;

/// What happens to a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is held.
    Held,
    /// It completes its datagram.
    Whole,
    /// It is not part of a valid datagram.
    Dropped,
}

/// The fragments held.
#[derive(Clone, Debug, Default)]
pub(super) struct Fragments {
    datagrams: HashMap<Key, Datagram>,
    count: usize,
    now: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    family: Family,
    source: Bits,
    destination: Bits,
    protocol: u8,
    id: u16,
}

#[derive(Clone, Debug)]
struct Datagram {
    /// Sorted, without overlap.
    pieces: Vec<Piece>,
    /// The highest end seen, and whether the last fragment has arrived.
    end: usize,
    has_last: bool,
    since: u64,
}

#[derive(Clone, Debug)]
struct Piece {
    start: usize,
    end: usize,
    /// Ports and header, if it is the first fragment.
    head: Option<(Ports, Kind)>,
    /// The payload, and its offset in the datagram.
    bytes: Option<(Arc<[u8]>, usize)>,
}

impl Fragments {
    /// Advances the clock, in seconds; datagrams held too long are dropped.
    pub fn tell_time(&mut self, now: u64) {
        self.now = now;
        self.datagrams.retain(|_, datagram| datagram.since + PATIENCE >= now);
        self.count = self.datagrams.values().map(|datagram| datagram.pieces.len()).sum();
    }

    /// Takes a fragment. If its datagram is complete, the packet becomes the datagram.
    pub fn take(&mut self, flow: &mut Flow) -> Arrival {
        let Some(part) = flow.ip.part.clone() else { return Arrival::Dropped };
        let key = Key {
            family: flow.family,
            source: flow.source,
            destination: flow.destination,
            protocol: flow.protocol,
            id: part.id,
        };
        let (start, end) = (usize::from(part.offset), usize::from(part.offset) + usize::from(part.length));
        let is_beyond =
            self.datagrams.get(&key).is_some_and(|datagram| datagram.has_last && end > datagram.end);
        if (part.more && part.length % 8 != 0) || end > LONGEST || is_beyond {
            self.forget(&key);
            return Arrival::Dropped;
        }
        if self.count >= MOST {
            return Arrival::Dropped;
        }
        let now = self.now;
        let datagram = self.datagrams.entry(key).or_insert_with(|| Datagram::new(now));
        let before = datagram.pieces.len();
        let head = (start == 0).then_some((flow.header, flow.kind));
        let taken = datagram.insert(&part, head, start, end);
        self.count = self.count + datagram.pieces.len() - before.min(self.count + datagram.pieces.len());
        if !taken {
            return Arrival::Dropped;
        }
        if !datagram.is_whole() {
            return Arrival::Held;
        }
        let whole = datagram.clone();
        self.forget(&key);
        let total = whole.end;
        if HEADER + total > LONGEST {
            return Arrival::Dropped;
        }
        let Some((ports, kind)) = whole.pieces.first().and_then(|piece| piece.head) else {
            return Arrival::Dropped;
        };
        flow.payload = whole.bytes();
        flow.become_whole(ports, with_length(kind, &whole.pieces[0], total));
        Arrival::Whole
    }

    fn forget(&mut self, key: &Key) {
        if let Some(datagram) = self.datagrams.remove(key) {
            self.count = self.count.saturating_sub(datagram.pieces.len());
        }
    }
}

/// A TCP header with the payload length of the whole datagram.
fn with_length(kind: Kind, first: &Piece, total: usize) -> Kind {
    match kind {
        Kind::Tcp(mut segment) => {
            let rest = u32::try_from(total - (first.end - first.start)).unwrap_or(0);
            segment.length += rest;
            Kind::Tcp(segment)
        }
        other => other,
    }
}

impl Datagram {
    fn new(since: u64) -> Self {
        Self { pieces: Vec::new(), end: 0, has_last: false, since }
    }

    /// Inserts a fragment; false if it contains nothing new.
    fn insert(&mut self, part: &FragmentPart, head: Option<(Ports, Kind)>, start: usize, end: usize) -> bool {
        let behind = self.pieces.partition_point(|piece| piece.start <= start);
        let covered = behind.checked_sub(1).map_or(0, |at| self.pieces[at].end);
        let from = start.max(covered.min(end));
        if covered >= end && !self.pieces.is_empty() && behind > 0 {
            return false;
        }
        while let Some(next) = self.pieces.get_mut(behind).filter(|next| next.start < end) {
            if next.end > end {
                next.start = end;
                break;
            }
            self.pieces.remove(behind);
        }
        let bytes = part.payload.clone().map(|bytes| (bytes, start));
        self.pieces.insert(behind, Piece { start: from, end, head, bytes });
        self.end = self.end.max(end);
        self.has_last |= !part.more;
        true
    }

    fn is_whole(&self) -> bool {
        let mut reached = 0;
        for piece in &self.pieces {
            if piece.start != reached {
                return false;
            }
            reached = piece.end;
        }
        self.has_last && reached >= self.end
    }

    /// The payload of a complete datagram, if all fragments have their bytes.
    fn bytes(&self) -> Option<Vec<u8>> {
        let mut all = Vec::with_capacity(self.end);
        for piece in &self.pieces {
            let (bytes, begin) = piece.bytes.as_ref()?;
            all.extend_from_slice(bytes.get(piece.start - begin..piece.end - begin)?);
        }
        Some(all)
    }
}
