//! A packet in transit, and the effect of pf's verdict on its bytes.
//!
//! Never: where it goes next.

use std::time::Duration;

use super::super::topology::NodeId;
use super::super::trace::{Hop, Made, Over, Piped, Story};
use crate::pf::eval::{Detail, Form, Inner, Passage, Scrubbed, TCP, Transport};
use crate::pf::syntax::Direction;
use crate::wire::{self, Datagram, Offload, answer};

/// The bytes of a packet: in its sender's buffer, or its own.
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

/// A packet on its way.
#[derive(Debug)]
pub(super) struct Moving<'b> {
    pub(super) bytes: Bytes<'b>,
    pub(super) datagram: Datagram,
    pub(super) offload: Offload,
    pub(super) passage: Passage,
    pub(super) from: NodeId,
    /// Over what it came in; on lo0 the interface that has its destination.
    pub(super) came: Option<Over>,
    /// The Mac sent it: its sum is finished no earlier than the interface wants.
    pub(super) is_own: bool,
    /// pf made it: on its way out no rule is asked.
    pub(super) is_pfs: bool,
    /// Since the Mac sends it on: what its sender may be told.
    pub(super) forwarded: Option<Forwarded>,
    pub(super) at: Duration,
    /// When pf was asked here first, and as the so many-th.
    pub(super) asked: (Duration, u64),
    /// The packet as it was then, if someone watches.
    pub(super) before: Vec<u8>,
    /// The pipes that held it here.
    pub(super) pipes: Vec<Piped>,
    pub(super) story: Option<Story>,
}

/// What is kept of a packet that the Mac sends on.
#[derive(Debug, Clone)]
pub(super) struct Forwarded {
    pub(super) sent: Sent,
    pub(super) came: Over,
}

/// A packet as it was sent, as far as errors quote it: before pf gave it another source.
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
    /// The packet as whoever watches sees it; nothing where no one does.
    pub(super) fn seen(&self) -> Vec<u8> {
        self.story.as_ref().map(|_| self.bytes.all()[..self.datagram.total].to_vec()).unwrap_or_default()
    }
}

/// Makes a packet what normalization has made of it.
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

/// Makes a packet what pf has made of it.
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

/// A fragment that was the last one missing becomes its datagram.
fn become_whole(packet: &mut Moving, payload: &[u8]) {
    let whole = wire::whole(packet.bytes.all(), &packet.datagram, payload);
    // What pf has put together is as long as its header says; a header after it may still be broken.
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

/// The length of all headers of a TCP or UDP packet.
pub(super) fn headers(packet: &Moving) -> usize {
    let at = packet.datagram.header;
    match packet.datagram.packet.protocol() {
        TCP => at + packet.bytes.all().get(at + 12).map_or(0, |offset| usize::from(offset >> 4) * 4),
        _ => at + 8,
    }
}

/// Writes down what pf made of a packet, if someone watches.
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
        story.hops.push(Hop { at, number, direction, over, made, pipes, bytes, now });
    }
}

/// xnu's own errors may come from 127.0.0.1, which no other stack hears on an interface like a lab's: there they come from
/// whom they are about.
pub(super) fn make_audible(packet: &mut Moving) {
    let Transport::Icmp { inner: Some(inner), .. } = packet.datagram.packet.transport else { return };
    if packet.datagram.source().is_loopback() && !packet.datagram.destination().is_loopback() {
        let form = Form { source: inner.destination, ..packet.passage.form() };
        wire::rewrite(packet.bytes.all_mut(), &packet.datagram, &packet.offload, &form, None);
        packet.datagram.packet.source = inner.destination;
    }
}
