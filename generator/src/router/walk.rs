//! The way of one packet through the Mac: where pf sees it, where macOS itself ends it, and to whom it goes.
//!
//! The way is found step by step, because pf changes where a packet goes. Never: what happens on a wire.

use std::net::Ipv4Addr;

use super::topology::{EGRESS, NodeId, Place, Side, Topology};
use super::watch::Story;
use crate::pf::eval::{Form, ICMP, Machine, Outcome, Passage, Shaping, TCP, Verdict};
use crate::pf::syntax::{Block, Direction};
use crate::wire::{self, Datagram, Malformed, Offload, answer, is_transport_right};

/// ICMP's type and code of a packet that is too long to get through whole.
const FRAGMENTATION_NEEDED: (u8, u8) = (3, 4);
const HOST_UNREACHABLE: (u8, u8) = (3, 1);
const TIME_EXCEEDED: (u8, u8) = (11, 0);
/// IANA's numbers of ESP and AH, to which pf answers nothing.
const IPSEC: [u8; 2] = [50, 51];
const RST: u8 = 0x04;

/// What became of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It goes to a node.
    Delivered(NodeId),
    /// It got no further.
    Stopped(Stop),
    /// It was none.
    Malformed(Malformed),
    /// The way between two nodes lost it.
    Lost,
    /// The way between two nodes is cut.
    Cut,
}

/// Why a packet got no further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// pf blocks it, and may answer from an address of the Mac.
    Blocked {
        /// How.
        reply: Option<Block>,
        /// Where an ICMP answer comes from.
        from: Ipv4Addr,
    },
    /// pf drops what has IP options, unless a rule allows them.
    Options,
    /// It has passed too many routers.
    Expired {
        /// Who says so.
        from: Ipv4Addr,
    },
    /// It is too long, and must not be cut.
    TooLong {
        /// Who says so.
        from: Ipv4Addr,
        /// The longest that gets through.
        mtu: u16,
    },
    /// macOS finds no way for it.
    Unreachable {
        /// Who says so.
        from: Ipv4Addr,
        /// Why.
        why: &'static str,
    },
    /// macOS drops it.
    Refused(&'static str),
    /// Nobody has its destination.
    Nobody,
}

impl Stop {
    /// The reason in words.
    pub fn words(&self) -> &'static str {
        match self {
            Self::Blocked { reply: None | Some(Block::Drop), .. } => "blocked in silence",
            Self::Blocked { .. } => "blocked with an answer",
            Self::Options => "pf drops IP options",
            Self::Expired { .. } => "its time to live is over",
            Self::TooLong { .. } => "too long for the way, and not to be cut",
            Self::Unreachable { why, .. } | Self::Refused(why) => why,
            Self::Nobody => "nobody has the address",
        }
    }

    /// What the sender gets.
    pub(super) fn answer(&self, bytes: &[u8], datagram: &Datagram, offload: &Offload) -> Option<Vec<u8>> {
        match *self {
            Self::Blocked { reply, from } => blocked(reply?, from, bytes, datagram, offload),
            Self::Expired { from } => answer::error(bytes, datagram, from, TIME_EXCEEDED, 0),
            Self::TooLong { from, mtu } => answer::error(bytes, datagram, from, FRAGMENTATION_NEEDED, mtu),
            Self::Unreachable { from, .. } => answer::error(bytes, datagram, from, HOST_UNREACHABLE, 0),
            Self::Options | Self::Refused(_) | Self::Nobody => None,
        }
    }
}

/// The answer of a blocking rule, as xnu's pf_test_rule gives it: a RST to TCP but to a RST, ICMP to the rest but to
/// ICMP, ESP and AH; nothing to fragments.
fn blocked(
    reply: Block,
    from: Ipv4Addr,
    bytes: &[u8],
    datagram: &Datagram,
    offload: &Offload,
) -> Option<Vec<u8>> {
    use crate::pf::eval::Transport;
    if datagram.packet.fragment {
        return None;
    }
    let protocol = datagram.packet.protocol();
    let is_reset =
        matches!(datagram.packet.transport, Transport::Tcp { segment, .. } if segment.flags & RST != 0);
    let (ttl, icmp) = match reply {
        Block::Drop => return None,
        Block::Return { icmp, .. } => (Some(0), Some(icmp)),
        Block::ReturnRst { ttl } => (Some(ttl), None),
        Block::ReturnIcmp { icmp, .. } => (None, Some(icmp)),
    };
    if let Some(ttl) = ttl.filter(|_| protocol == TCP && !is_reset) {
        let is_right = offload.checksum.is_some() || is_transport_right(bytes, datagram);
        return is_right.then(|| answer::reset(datagram, ttl))?;
    }
    let icmp = icmp.filter(|_| protocol != ICMP && !IPSEC.contains(&protocol))?;
    answer::error(bytes, datagram, from, icmp, 0)
}

/// An interface of the Mac. Bridges are numbered as the plan has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// lo0.
    Loopback,
    /// A bridge.
    Bridge(usize),
    /// The one that leads outside.
    Egress,
}

impl Over {
    /// Its name, the logical one of a bridge.
    pub fn name(self, topology: &Topology) -> &str {
        match self {
            Self::Loopback => "lo0",
            Self::Bridge(bridge) => topology.bridge_name(bridge),
            Self::Egress => EGRESS,
        }
    }
}

/// A place where pf saw a packet, and what it made of it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// Which way it went.
    pub direction: Direction,
    /// Over what.
    pub over: Over,
    /// What pf made of it.
    pub verdict: Verdict,
    /// The packet before pf.
    pub bytes: Vec<u8>,
}

/// A packet on its way.
pub(super) struct Walk<'a> {
    topology: &'a Topology,
    machine: &'a mut Machine,
    passage: Passage,
    offload: Offload,
    from: NodeId,
    /// The packet as it is now.
    pub datagram: Datagram,
    /// The pipes that it went through, in order.
    pub pipes: Vec<u16>,
    /// What is written down about it, if somebody watches.
    pub story: Option<Story>,
}

impl<'a> Walk<'a> {
    pub fn new(
        topology: &'a Topology,
        machine: &'a mut Machine,
        datagram: &Datagram,
        offload: Offload,
        story: Option<Story>,
    ) -> Self {
        let passage = machine.begin(&datagram.packet);
        let datagram = datagram.clone();
        Self { topology, machine, passage, offload, from: NodeId(0), datagram, pipes: Vec::new(), story }
    }

    /// The way from a node to a node.
    pub fn from(&mut self, from: NodeId, bytes: &mut [u8]) -> Result<NodeId, Stop> {
        self.from = from;
        match self.topology.node(from).side {
            Side::Here => self.start_here(bytes),
            Side::Bridge(bridge) => self.come_in(Over::Bridge(bridge), bytes),
            Side::Outside => {
                // What the neighbourhood and the internet have to say to each other does not come by.
                if let Place::Outside(Some(to)) = self.place() {
                    return Ok(to);
                }
                self.come_in(Over::Egress, bytes)
            }
        }
    }

    fn start_here(&mut self, bytes: &mut [u8]) -> Result<NodeId, Stop> {
        let place = self.place();
        match place {
            Place::Here(_) => {
                self.hop(Direction::Out, Over::Loopback, bytes)?;
                self.hop(Direction::In, Over::Loopback, bytes)?;
                match self.place() {
                    Place::Here(to) => Ok(to),
                    elsewhere => self.forward(elsewhere, bytes),
                }
            }
            _ if self.source().is_loopback() => Err(Stop::Refused(
                "a source in 127.0.0.0/8 never leaves lo0: macOS refuses it (EADDRNOTAVAIL)",
            )),
            Place::Outside(_) if self.topology.is_gateway(self.source()) => Err(Stop::Unreachable {
                from: self.topology.address_towards(self.from),
                why: "what is bound to a bridge's address finds no route outside on macOS (EHOSTUNREACH)",
            }),
            _ => self.leave(place, bytes),
        }
    }

    fn come_in(&mut self, over: Over, bytes: &mut [u8]) -> Result<NodeId, Stop> {
        if self.destination().is_loopback() || self.source().is_loopback() {
            return Err(Stop::Refused(
                "an address of 127.0.0.0/8 is this Mac's own: macOS drops it on any interface but lo0, before pf",
            ));
        }
        self.hop(Direction::In, over, bytes)?;
        match self.place() {
            // What comes in for an address of the Mac is delivered at once: it crosses no second interface.
            Place::Here(to) => Ok(to),
            elsewhere => self.forward(elsewhere, bytes),
        }
    }

    /// Sends on what came in.
    fn forward(&mut self, place: Place, bytes: &mut [u8]) -> Result<NodeId, Stop> {
        if self.source().is_loopback() {
            return Err(Stop::Refused(
                "the redirected packet has a source in 127.0.0.0/8, which macOS never forwards to a VM",
            ));
        }
        if self.datagram.ttl <= 1 {
            return Err(Stop::Expired { from: self.topology.address_towards(self.from) });
        }
        wire::lower_ttl(bytes);
        self.datagram.ttl -= 1;
        self.leave(place, bytes)
    }

    /// Out by a bridge, or by the interface that leads outside.
    fn leave(&mut self, place: Place, bytes: &mut [u8]) -> Result<NodeId, Stop> {
        let (over, to) = match place {
            Place::Bridge(bridge, to) => (Over::Bridge(bridge), to),
            Place::Outside(to) => (Over::Egress, to),
            Place::Here(to) => return Ok(to),
            Place::Nowhere => return Err(Stop::Nobody),
        };
        self.hop(Direction::Out, over, bytes)?;
        let to = to.ok_or(Stop::Nobody)?;
        let mtu = self.topology.mtu(to, to);
        let longest = match self.offload.segments {
            Some(gso) => usize::from(gso.size) + self.headers(bytes),
            None => self.datagram.total,
        };
        if longest > usize::from(mtu) && self.datagram.dont_fragment {
            return Err(Stop::TooLong { from: self.topology.address_towards(self.from), mtu });
        }
        Ok(to)
    }

    /// The length of all headers of a TCP or UDP packet.
    fn headers(&self, bytes: &[u8]) -> usize {
        let at = self.datagram.header;
        match self.datagram.packet.protocol() {
            TCP => at + bytes.get(at + 12).map_or(0, |offset| usize::from(offset >> 4) * 4),
            _ => at + 8,
        }
    }

    /// Lets pf see the packet.
    fn hop(&mut self, direction: Direction, over: Over, bytes: &mut [u8]) -> Result<(), Stop> {
        let quoted = self.passage.quoted();
        let verdict = self.machine.pass(&mut self.passage, direction, over.name(self.topology));
        let passes = verdict.action == Outcome::Pass;
        let (reply, before, after) = (verdict.reply, verdict.before, verdict.after);
        self.pipes.extend(verdict.shaping.iter().filter_map(Shaping::number));
        if let Some(story) = &mut self.story {
            let bytes = bytes[..self.datagram.total].to_vec();
            story.hops.push(Hop { direction, over, verdict, bytes });
        }
        if !passes {
            return Err(Stop::Blocked { reply, from: self.answer_address() });
        }
        if self.datagram.has_options {
            return Err(Stop::Options);
        }
        let quoted_after = self.passage.quoted();
        if before != after || quoted != quoted_after {
            let quoted = quoted_after.filter(|_| quoted != quoted_after);
            self.rewrite(bytes, &after, quoted.as_ref());
        }
        Ok(())
    }

    fn rewrite(&mut self, bytes: &mut [u8], after: &Form, quoted: Option<&crate::pf::eval::Inner>) {
        wire::rewrite(bytes, &self.datagram, &self.offload, after, quoted);
        self.datagram.packet.source = after.source;
        self.datagram.packet.destination = after.destination;
    }

    /// An ICMP error comes from the address that it is about where the Mac has it, else from the side of the sender.
    fn answer_address(&self) -> Ipv4Addr {
        match self.place() {
            Place::Here(_) => self.destination(),
            _ => self.topology.address_towards(self.from),
        }
    }

    fn place(&self) -> Place {
        self.topology.place(self.destination())
    }

    fn source(&self) -> Ipv4Addr {
        self.datagram.source()
    }

    fn destination(&self) -> Ipv4Addr {
        self.datagram.destination()
    }
}
