//! The Mac's own sockets, and what its kernel answers by itself: a TCP client, a listener, UDP, pings.
//!
//! Only as much of a stack as it takes to open a connection. Never: where a packet goes.

use std::net::Ipv4Addr;

use super::machines::{echo_reply, tcp, udp};
use super::row::RecordedPacket;
use crate::pf::eval::{ACK, ICMP, RST, SYN, TCP, Transport, UDP};
use crate::router::{Over, Sender};
use crate::wire::answer::{self, Complaint};
use crate::wire::{self, Datagram};

const PORT_UNREACHABLE: (u8, u8) = (3, 3);
/// Initial sequence number of the Mac's listener.
const SEQUENCE: u32 = 90_000;

/// The Mac's sockets and their state.
#[derive(Debug)]
pub struct Sockets {
    port: u16,
    listens: bool,
    /// Clients whose SYN the TCP listener has answered, until their ACK arrives.
    half_open: Vec<(Ipv4Addr, u16)>,
    /// Whether the UDP listener has answered; it does so only once.
    has_answered: bool,
    /// The source address that a listener saw.
    pub saw: Option<Ipv4Addr>,
    /// Fragments of incomplete datagrams.
    parts: Vec<(Datagram, Vec<u8>)>,
}

/// A packet that the Mac sends, and its sender, which restricts the route.
pub type SentPacket = (Vec<u8>, Sender);

impl Sockets {
    /// The sockets of a scenario.
    pub fn new(act: &RecordedPacket) -> Self {
        Self {
            port: act.port.unwrap_or(0),
            listens: act.listener,
            half_open: Vec::new(),
            has_answered: false,
            saw: None,
            parts: Vec::new(),
        }
    }

    /// The datagram that a packet is, or the one that it completes as the last fragment.
    pub fn whole(&mut self, bytes: Vec<u8>, datagram: Datagram) -> Option<(Vec<u8>, Datagram)> {
        let Some(part) = &datagram.packet.ip.part else { return Some((bytes, datagram)) };
        let key = |other: &Datagram| {
            let id = other.packet.ip.part.as_ref().map(|part| part.id);
            (other.packet.source, other.packet.destination, other.packet.protocol(), id)
        };
        let own =
            (datagram.packet.source, datagram.packet.destination, datagram.packet.protocol(), Some(part.id));
        self.parts.push((datagram, bytes));
        let mut all: Vec<&(Datagram, Vec<u8>)> =
            self.parts.iter().filter(|(other, _)| key(other) == own).collect();
        all.sort_by_key(|(other, _)| other.packet.ip.part.as_ref().map(|part| part.offset));
        let mut payload = Vec::new();
        let mut is_last = false;
        for (datagram, bytes) in &all {
            let part = datagram.packet.ip.part.as_ref()?;
            if usize::from(part.offset) != payload.len() {
                return None;
            }
            payload.extend_from_slice(&bytes[datagram.header..datagram.total]);
            is_last = !part.more;
        }
        let (first, bytes) = all.first()?;
        let whole = is_last.then(|| wire::whole(bytes, first, &payload))?;
        let datagram = wire::read(&whole).ok()?;
        Some((whole, datagram))
    }

    /// The Mac's answer to a packet for one of its addresses that is not for its client. `came` is the interface that
    /// it arrived on, unless the Mac itself sent it.
    pub fn receive(&mut self, bytes: &[u8], datagram: &Datagram, came: Option<Over>) -> Option<SentPacket> {
        let (from, to) = (datagram.source(), datagram.destination());
        match datagram.packet.transport {
            Transport::Tcp { source, destination, segment } => {
                let is_served = self.listens && destination == self.port;
                match segment.flags & (SYN | ACK | RST) {
                    SYN if is_served => {
                        self.half_open.push((from, source));
                        let acknowledged = segment.sequence.wrapping_add(1);
                        let answer =
                            tcp((to, destination), (from, source), SYN | ACK, SEQUENCE, acknowledged);
                        Some((answer, Sender::Tcp(came)))
                    }
                    ACK if is_served && self.half_open.contains(&(from, source)) => {
                        self.saw = self.saw.or(Some(from));
                        None
                    }
                    flags if flags & RST != 0 => None,
                    flags if flags & ACK != 0 => {
                        let sequence = segment.acknowledgement;
                        let mut reset = tcp((to, destination), (from, source), RST, sequence, 0);
                        wire::clear_df(&mut reset);
                        Some((reset, Sender::Reset(came)))
                    }
                    _ => {
                        let mut reset = answer::reset(datagram, 0)?;
                        wire::clear_df(&mut reset);
                        Some((reset, Sender::Reset(came)))
                    }
                }
            }
            Transport::Udp { source, destination } if self.listens && destination == self.port => {
                self.saw = self.saw.or(Some(from));
                if std::mem::replace(&mut self.has_answered, true) {
                    return None;
                }
                let payload = bytes.get(datagram.header + 8..datagram.total)?;
                Some((udp((to, destination), (from, source), payload, false), Sender::Udp))
            }
            Transport::Udp { .. } => {
                let error = answer::error(bytes, datagram, to, Complaint::new(PORT_UNREACHABLE))?;
                Some((error, Sender::Icmp(came)))
            }
            Transport::Icmp { kind: 8, .. } if datagram.packet.protocol() == ICMP => {
                Some((echo_reply(bytes, datagram)?, Sender::Icmp(came)))
            }
            _ => None,
        }
    }
}

/// What a packet means to the client that waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The connection is open; contains the acknowledgement number for the last ACK of the handshake.
    Open(u32),
    /// A reply of UDP or ICMP echo.
    Answered,
    /// A RST with an ACK.
    Reset,
    /// A RST without an ACK.
    BareReset,
    /// An ICMP error about the client's packet: type and code.
    Error(u8, u8),
}

/// The client, which waits for an answer to its packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// The IP protocol number.
    pub protocol: u8,
    /// Source address and port; for a ping, the identifier.
    pub from: (Ipv4Addr, u16),
    /// Destination address and port.
    pub to: (Ipv4Addr, u16),
    /// The sequence number of the SYN.
    pub sequence: u32,
}

impl Waiting {
    /// What a packet means to the client; `None` if it is not for the client.
    pub fn hear(&self, datagram: &Datagram) -> Option<Heard> {
        if datagram.destination() != self.from.0 || datagram.packet.fragment {
            return None;
        }
        let is_peer = |source: u16, destination: u16| {
            datagram.source() == self.to.0 && source == self.to.1 && destination == self.from.1
        };
        match datagram.packet.transport {
            Transport::Tcp { source, destination, segment }
                if self.protocol == TCP && is_peer(source, destination) =>
            {
                match segment.flags & (SYN | ACK | RST) {
                    flags
                        if flags == SYN | ACK && segment.acknowledgement == self.sequence.wrapping_add(1) =>
                    {
                        Some(Heard::Open(segment.sequence.wrapping_add(1)))
                    }
                    flags if flags == RST | ACK => Some(Heard::Reset),
                    RST => Some(Heard::BareReset),
                    _ => None,
                }
            }
            Transport::Udp { source, destination }
                if self.protocol == UDP && is_peer(source, destination) =>
            {
                Some(Heard::Answered)
            }
            Transport::Icmp { kind: 0, id, .. } if self.protocol == ICMP && id == self.from.1 => {
                Some(Heard::Answered)
            }
            Transport::Icmp { kind, code, inner: Some(inner), .. } => {
                let is_about = inner.protocol == self.protocol
                    && inner.source == self.from.0
                    && inner.destination == self.to.0
                    && inner.source_port == self.from.1
                    && (self.protocol == ICMP || inner.destination_port == self.to.1);
                is_about.then_some(Heard::Error(kind, code))
            }
            _ => None,
        }
    }
}
