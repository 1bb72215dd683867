//! A packet while pf processes it at one hook.
//!
//! It exists because pf rewrites addresses in the packet at once, but ports in a copy of the header, which it writes
//! back only when the packet passes (or is logged): a blocked packet shows the difference. Sees: a packet, and the
//! numbers of names. Never: rules.

use super::address::{Bits, address_of, bits_of};
use super::index::Toward;
use super::name::NameId;
use super::packet::{ESP, Hook, Inner, Ip, Packet, TcpSegment, Transport, index_between};
use super::rule::RuleId;
use super::verdict::{Detail, Form, Scrubbed};
use crate::pf::syntax::{Direction, Family};

/// The ports of a packet. For ICMP both are the identifier, and only `source` counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ports {
    pub source: u16,
    pub destination: u16,
}

/// A packet at one hook of pf.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    pub direction: Direction,
    pub interface: NameId,
    pub family: Family,
    pub protocol: u8,
    /// The current source address.
    pub source: Bits,
    /// The current destination address.
    pub destination: Bits,
    /// The copy of the ports that rules match and translation writes to.
    pub header: Ports,
    /// The ports in the packet itself.
    wire: Ports,
    pub kind: Kind,
    pub user: Option<u32>,
    pub group: Option<u32>,
    /// The packet's tag; 0 is none.
    pub tag: NameId,
    pub tos: u8,
    pub fragment: bool,
    pub ip: Ip,
    /// The result of normalization at this hook.
    pub normalized: Normalized,
    /// What normalization has changed at this hook.
    pub scrubbed: Scrubbed,
    /// The dummynet rule that sent it into the pipe that it left last, at this hook.
    pub behind: Option<RuleId>,
    /// The payload of the datagram that was reassembled at this hook.
    pub payload: Option<Vec<u8>>,
    /// Whether a scrub rule with `reassemble tcp` has matched it.
    pub is_normalized: bool,
}

/// What the evaluator needs of the transport header besides ports.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Tcp(TcpSegment),
    Udp,
    Icmp {
        kind: u8,
        code: u8,
        inner: Option<Inner>,
    },
    /// ESP, with its security parameters index (SPI).
    Esp(u32),
    Other,
}

/// The result of normalization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Normalized {
    /// The packet continues.
    Passed,
    /// The packet continues, and takes part in `reassemble tcp`.
    Tracked,
    /// A TCP segment with an invalid combination of flags, which is dropped after dummynet.
    Nonsense,
    /// A fragment that is held or dropped: no further rule is evaluated.
    Gone,
}

impl Flow {
    /// The packet at one of its hooks. `interface` and `tag` are the numbers of their names.
    pub fn new(packet: &Packet, hook: &Hook, interface: NameId, tag: NameId) -> Self {
        let (header, kind) = match packet.transport {
            Transport::Tcp { source, destination, segment } => {
                (Ports { source, destination }, Kind::Tcp(segment))
            }
            Transport::Udp { source, destination } => (Ports { source, destination }, Kind::Udp),
            Transport::Icmp { kind, code, id, inner } => {
                (Ports { source: id, destination: id }, Kind::Icmp { kind, code, inner })
            }
            Transport::Esp { spi } => (Ports::default(), Kind::Esp(spi)),
            Transport::Other(ESP) => {
                (Ports::default(), Kind::Esp(index_between(packet.source, packet.destination)))
            }
            Transport::Other(_) => (Ports::default(), Kind::Other),
        };
        Self {
            direction: hook.direction,
            interface,
            family: packet.family(),
            protocol: packet.protocol(),
            source: bits_of(packet.source),
            destination: bits_of(packet.destination),
            header,
            wire: header,
            kind,
            user: packet.user,
            group: packet.group,
            tag,
            tos: packet.tos,
            fragment: packet.fragment,
            ip: packet.ip.clone(),
            normalized: Normalized::Passed,
            scrubbed: Scrubbed::default(),
            behind: None,
            payload: None,
            is_normalized: false,
        }
    }

    /// A copy of the packet at its next hook, as this one left it.
    pub fn onward(&self, hook: &Hook, interface: NameId) -> Self {
        let mut next = self.clone();
        next.enter(hook.direction, interface);
        next
    }

    /// Moves the packet to its next hook.
    pub fn enter(&mut self, direction: Direction, interface: NameId) {
        self.direction = direction;
        self.interface = interface;
        self.header = self.wire;
        self.normalized = Normalized::Passed;
        self.scrubbed = Scrubbed::default();
        self.behind = None;
        self.is_normalized = false;
    }

    /// Turns the last missing fragment into the reassembled datagram.
    pub fn become_whole(&mut self, header: Ports, kind: Kind) {
        (self.header, self.wire, self.kind) = (header, header, kind);
        self.fragment = false;
        self.ip.part = None;
        self.scrubbed.whole = true;
    }

    /// What an index needs of the packet.
    pub fn toward(&self) -> Toward {
        Toward {
            interface: self.interface,
            direction: self.direction,
            family: self.family,
            source: self.source,
            destination: self.destination,
        }
    }

    /// Writes the copy of the ports back to the packet.
    pub fn commit(&mut self) {
        self.wire = self.header;
    }

    /// The current addresses and ports of the packet.
    pub fn form(&self) -> Form {
        Form {
            source: address_of(self.family, self.source),
            destination: address_of(self.family, self.destination),
            detail: match self.kind {
                Kind::Tcp(_) | Kind::Udp => Detail::Ports(self.wire.source, self.wire.destination),
                Kind::Icmp { .. } => Detail::Id(self.wire.source),
                Kind::Esp(_) | Kind::Other => Detail::None,
            },
        }
    }

    /// The SPI of an ESP packet; 0 for other protocols.
    pub fn spi(&self) -> u32 {
        match self.kind {
            Kind::Esp(spi) => spi,
            Kind::Tcp(_) | Kind::Udp | Kind::Icmp { .. } | Kind::Other => 0,
        }
    }

    /// The flags of a TCP segment; `None` for other protocols.
    pub fn tcp_flags(&self) -> Option<u8> {
        match self.kind {
            Kind::Tcp(segment) => Some(segment.flags),
            _ => None,
        }
    }
}
