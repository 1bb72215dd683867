//! A packet in transit, and the effect of pf's verdict on its bytes.
//!
//! Never: where it goes next.

use std::time::Duration;

use super::super::interface::Over;
use super::super::node::NodeId;
use super::super::trace::{Made, PacketTrace, PipePassage, TracedHook};
use crate::pf::eval::{Detail, Form, Inner, Passage, Scrubbed, TCP, Transport};
use crate::pf::syntax::Direction;
use crate::wire::{self, Datagram, Offload, answer};

/// The bytes of a packet: borrowed from the sender's buffer, or owned.
#[derive(Debug)]
pub(super) enum Bytes<'b> {
    Lent(&'b mut [u8]),
    Own(Vec<u8>),
}

impl Bytes<'_> {
    pub(super) fn all(&self) -> &[u8] {
        match self {
            Self::Lent(bytes) => bytes,
            Self::Own(bytes) => bytes,
        }
    }

    pub(super) fn all_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Lent(bytes) => bytes,
            Self::Own(bytes) => bytes,
        }
    }
}

/// A packet on its path.
#[derive(Debug)]
pub(super) struct Moving<'b> {
    pub(super) bytes: Bytes<'b>,
    pub(super) datagram: Datagram,
    pub(super) offload: Offload,
    pub(super) passage: Passage,
    pub(super) from: NodeId,
    /// The interface that it arrived on; for a packet looped back on lo0, the interface that has its destination.
    pub(super) came: Option<Over>,
    /// Whether the Mac sent it: then its checksum may still be incomplete, if the outgoing interface offloads
    /// checksums.
    pub(super) is_own: bool,
    /// Whether it is pf's own RST: outbound, no rule is evaluated.
    pub(super) is_pfs: bool,
    /// Set when the Mac forwards it: what ICMP errors to its sender quote.
    pub(super) forwarded: Option<Forwarded>,
    pub(super) at: Duration,
    /// When pf was first evaluated at this hook, and the number of that evaluation.
    pub(super) asked: (Duration, u64),
    /// The packet at that time; empty if stories are not recorded.
    pub(super) before: Vec<u8>,
    /// The pipes that it went through at this hook.
    pub(super) pipes: Vec<PipePassage>,
    pub(super) story: Option<PacketTrace>,
}

/// The packet as it arrived, for ICMP errors about a packet that the Mac forwards.
#[derive(Debug, Clone)]
pub(super) struct Forwarded {
    pub(super) sent: Sent,
    pub(super) came: Over,
}

/// The part of a packet that errors quote, as it was before pf translated the source.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) quote: Vec<u8>,
    pub(super) datagram: Datagram,
}

impl Sent {
    pub(super) fn of(packet: &Moving) -> Self {
        let quote = answer::quoted(packet.bytes.all(), &packet.datagram).to_vec();
        Self { quote, datagram: packet.datagram.clone() }
    }
}

impl Moving<'_> {
    /// A copy of the packet for its story; empty if stories are not recorded.
    pub(super) fn seen(&self) -> Vec<u8> {
        self.story.as_ref().map(|_| self.bytes.all()[..self.datagram.total].to_vec()).unwrap_or_default()
    }
}

/// Applies the effects of `scrub` to the bytes.
pub(super) fn scrub(packet: &mut Moving, scrubbed: Scrubbed) {
    let Scrubbed { held: _, whole: _, cleared_df, raised_ttl } = scrubbed;
    if cleared_df {
        wire::clear_df(packet.bytes.all_mut());
        packet.datagram.dont_fragment = false;
    }
    if let Some(ttl) = raised_ttl {
        wire::raise_ttl(packet.bytes.all_mut(), ttl);
        packet.datagram.ttl = ttl;
    }
    if let Some(payload) = packet.passage.take_payload() {
        become_whole(packet, &payload);
    }
}

/// Applies a translation to the bytes.
pub(super) fn rewrite(packet: &mut Moving, before: &Form, after: &Form) {
    let quoted = packet.passage.quoted();
    let was: Option<Inner> = match packet.datagram.packet.transport {
        Transport::Icmp { inner, .. } => inner,
        _ => None,
    };
    if before == after && quoted == was {
        return;
    }
    let changed = quoted.filter(|_| quoted != was);
    wire::rewrite(packet.bytes.all_mut(), &packet.datagram, &packet.offload, after, changed.as_ref());
    packet.datagram.packet.source = after.source;
    packet.datagram.packet.destination = after.destination;
    match (&mut packet.datagram.packet.transport, after.detail) {
        (Transport::Icmp { inner, .. }, _) => *inner = quoted,
        (
            Transport::Tcp { source, destination, .. } | Transport::Udp { source, destination },
            Detail::Ports(from, to),
        ) => (*source, *destination) = (from, to),
        _ => {}
    }
}

/// Replaces the last missing fragment by the reassembled datagram.
fn become_whole(packet: &mut Moving, payload: &[u8]) {
    let whole = wire::whole(packet.bytes.all(), &packet.datagram, payload);
    // The length matches the header after reassembly; the transport header may still be malformed.
    if let Ok(datagram) = wire::read(&whole) {
        packet.datagram = datagram;
    } else {
        packet.datagram.total = whole.len();
        packet.datagram.packet.fragment = false;
        packet.datagram.is_first = true;
    }
    packet.bytes = Bytes::Own(whole);
    packet.offload = Offload::default();
}

/// The packets that a packet becomes without a device that completes checksums and segments: each no longer than the MTU.
pub(super) fn cut(packet: &Moving, mtu: usize) -> Vec<Vec<u8>> {
    let segments = wire::segments(packet.bytes.all(), &packet.datagram, &packet.offload);
    let cut = |segment: Vec<u8>| match wire::read(&segment) {
        Ok(datagram) if datagram.total > mtu => wire::fragments(&segment, &datagram, mtu),
        _ => vec![segment],
    };
    segments.into_iter().flat_map(cut).collect()
}

/// Total length of the headers of a TCP or UDP packet.
pub(super) fn headers(packet: &Moving) -> usize {
    let at = packet.datagram.header;
    match packet.datagram.packet.protocol() {
        TCP => at + packet.bytes.all().get(at + 12).map_or(0, |offset| usize::from(offset >> 4) * 4),
        _ => at + 8,
    }
}

/// Adds a hop to the story, if one is recorded.
pub(super) fn told(packet: &mut Moving, direction: Direction, over: Over, made: Made) {
    if packet.story.is_none() {
        return;
    }
    let (at, number) = packet.asked;
    let (after, bytes) = (packet.seen(), std::mem::take(&mut packet.before));
    let pipes = std::mem::take(&mut packet.pipes);
    let before = pipes.last().map_or(&bytes, |piped| &piped.bytes);
    let now = (*before != after && !matches!(made, Made::Swallowed)).then_some(after);
    if let Some(story) = &mut packet.story {
        story.hops.push(TracedHook { at, number, direction, over, made, pipes, bytes, now });
    }
}

/// xnu may send ICMP errors from 127.0.0.1, which another stack does not accept on a lab's interface: there the
/// source is replaced by the destination of the quoted packet.
pub(super) fn make_audible(packet: &mut Moving) {
    let Transport::Icmp { inner: Some(inner), .. } = packet.datagram.packet.transport else { return };
    if packet.datagram.source().is_loopback() && !packet.datagram.destination().is_loopback() {
        let form = Form { source: inner.destination, ..packet.passage.form() };
        wire::rewrite(packet.bytes.all_mut(), &packet.datagram, &packet.offload, &form, None);
        packet.datagram.packet.source = inner.destination;
    }
}
