//! The path of packets through the Mac: the hooks where pf sees them, where macOS itself stops them, and where they
//! go.
//!
//! The path is computed hook by hook, because pf can change the destination. Answers of the Mac take paths of their
//! own, on which pf is evaluated again. It follows xnu's ip_output.c, ip_input.c and ip_icmp.c, and what pf.c sends.
//! Never: what happens on a wire.

mod answers;
mod packet;

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

use self::packet::{Bytes, Forwarded, Moving, Sent, cut, headers, make_audible, rewrite, scrub, told};
use super::host::{ChosenRoute, SendError, Sender};
use super::interface::Over;
use super::node::{NodeAttachment, NodeId};
use super::tally::Tallies;
use super::topology::Topology;
use super::trace::{Delivery, Made, PacketFate, PacketTrace, PipePassage, Stop};
use super::ways::Ways;
use crate::pf::eval::{HookStep, Machine, Outcome, Shaping, TCP, UDP, Verdict};
use crate::pf::syntax::Direction;
use crate::wire::answer::Complaint;
use crate::wire::{self, Datagram, Offload, complete};

const HOST_UNREACHABLE: (u8, u8) = (3, 1);
const TIME_EXCEEDED: (u8, u8) = (11, 0);
/// Most packets that one packet may cause: answers are never answered endlessly, but the loop is bounded all the
/// same.
const MOST: usize = 256;

/// The next hook of a packet.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Out(ChosenRoute),
    In(Over),
}

/// How it enters pf at that hook.
#[derive(Debug)]
enum Entry {
    /// For the first time.
    Fresh,
    /// A rule has sent it into a pipe, which it enters now.
    Piped(Shaping),
}

/// A packet to be followed after the current one.
type Waiting = (Moving<'static>, Stage, Entry);

/// Why a packet goes no further in its current form.
enum End {
    Fate(PacketFate),
    /// It was segmented, and each segment goes on by itself.
    Split,
}

impl From<Stop> for End {
    fn from(stop: Stop) -> Self {
        Self::Fate(PacketFate::Stopped(stop))
    }
}

/// Follows one packet, and the packets that it causes.
pub(super) struct Walk<'a> {
    pub topology: &'a Topology,
    pub machine: &'a mut Machine,
    pub ways: &'a mut Ways,
    /// The counters of rules.
    pub tallies: &'a mut Tallies,
    /// Whether stories are recorded.
    pub is_watched: bool,
    /// How often pf has been evaluated.
    pub asked: &'a mut u64,
    /// Packets to deliver, in order.
    pub out: &'a mut Vec<Delivery>,
    /// The records of finished packets, in the order in which they finished.
    pub stories: Vec<PacketTrace>,
    waiting: VecDeque<Waiting>,
}

impl<'a> Walk<'a> {
    pub fn new(
        topology: &'a Topology,
        machine: &'a mut Machine,
        ways: &'a mut Ways,
        tallies: &'a mut Tallies,
        asked: &'a mut u64,
        out: &'a mut Vec<Delivery>,
    ) -> Self {
        let (is_watched, stories, waiting) = (false, Vec::new(), VecDeque::new());
        Self { topology, machine, ways, tallies, is_watched, asked, out, stories, waiting }
    }

    /// Follows a packet from a node, and all packets that it causes; returns its own fate.
    pub fn carry(
        &mut self,
        from: NodeId,
        bytes: &mut [u8],
        datagram: &Datagram,
        offload: Offload,
        now: Duration,
        sender: Option<Sender>,
    ) -> PacketFate {
        let is_own = self.topology.node(from).side == NodeAttachment::Here;
        let mut packet = self.moving(from, Bytes::Lent(bytes), datagram.clone(), now);
        (packet.offload, packet.is_own) = (offload, is_own);
        let fate = match self.start(&mut packet, sender) {
            Ok(stage) => self.follow(packet, stage, Entry::Fresh),
            Err(fate) => self.end(packet, fate),
        };
        for _ in 0..MOST {
            let Some((packet, stage, entry)) = self.waiting.pop_front() else { break };
            self.follow(packet, stage, entry);
        }
        self.waiting.clear();
        fate
    }

    fn moving<'b>(&self, from: NodeId, bytes: Bytes<'b>, datagram: Datagram, at: Duration) -> Moving<'b> {
        let over = match self.topology.node(from).side {
            NodeAttachment::Here => Over::Loopback,
            NodeAttachment::Bridge(bridge) => Over::Bridge(bridge),
            NodeAttachment::Outside | NodeAttachment::Elsewhere => Over::Egress,
            NodeAttachment::Mesh => Over::Mesh,
            NodeAttachment::Underlay => Over::Underlay,
        };
        let story = self.is_watched.then(|| PacketTrace {
            at,
            from,
            over,
            destination: datagram.destination(),
            bytes: bytes.all()[..datagram.total].to_vec(),
            hops: Vec::new(),
            fate: None,
        });
        Moving {
            bytes,
            offload: Offload::default(),
            passage: self.machine.begin(&datagram.packet),
            datagram,
            from,
            came: None,
            is_own: true,
            is_pfs: false,
            forwarded: None,
            at,
            asked: (at, 0),
            before: Vec::new(),
            pipes: Vec::new(),
            story,
        }
    }

    /// The first hook of a node's packet, or its fate if it never comes to one.
    fn start(&mut self, packet: &mut Moving, sender: Option<Sender>) -> Result<Stage, PacketFate> {
        let (from, to) = (packet.datagram.source(), packet.datagram.destination());
        match self.topology.node(packet.from).side {
            NodeAttachment::Here => {
                if is_for_many(to) || self.topology.host().is_broadcast(to) {
                    return Err(PacketFate::Stopped(Stop::Nobody));
                }
                let sender = sender.unwrap_or(match packet.datagram.packet.protocol() {
                    TCP => Sender::Tcp(None),
                    UDP => Sender::Udp,
                    _ => Sender::Raw,
                });
                match self.topology.host().way(from, to, sender) {
                    Ok(path) => Ok(Stage::Out(path)),
                    Err(no) => {
                        self.tell_socket(packet, &Sent::of(packet), Complaint::new(HOST_UNREACHABLE));
                        Err(PacketFate::Stopped(Stop::Unreachable(match no {
                            SendError::NotAvailable => {
                                "the source is not an address of this Mac (EADDRNOTAVAIL)"
                            }
                            SendError::Unreachable => {
                                "a socket bound to a bridge's address has no route outside on macOS (EHOSTUNREACH)"
                            }
                        })))
                    }
                }
            }
            NodeAttachment::Bridge(bridge) if self.topology.host().link(Over::Bridge(bridge)).is_none() => {
                Err(PacketFate::Stopped(Stop::Refused("its bridge is not there")))
            }
            NodeAttachment::Bridge(bridge) => Ok(Stage::In(Over::Bridge(bridge))),
            NodeAttachment::Mesh if self.topology.host().link(Over::Mesh).is_none() => {
                Err(PacketFate::Stopped(Stop::Refused("the tunnel is not there")))
            }
            NodeAttachment::Mesh => Ok(Stage::In(Over::Mesh)),
            NodeAttachment::Underlay => Ok(Stage::In(Over::Underlay)),
            NodeAttachment::Elsewhere => Err(PacketFate::Stopped(Stop::Nobody)),
            NodeAttachment::Outside => {
                // Traffic between the LAN and the internet does not cross the Mac.
                let owner = self.topology.owner(to);
                match owner.filter(|id| self.topology.node(*id).side == NodeAttachment::Outside) {
                    Some(neighbour) => Err(self.deliver(packet, neighbour)),
                    None => Ok(Stage::In(Over::Egress)),
                }
            }
        }
    }

    /// Follows a packet to its fate.
    fn follow(&mut self, mut packet: Moving, stage: Stage, entry: Entry) -> PacketFate {
        let fate = match self.go(&mut packet, stage, entry) {
            Ok(to) => self.deliver(&mut packet, to),
            Err(End::Fate(fate)) => fate,
            // Each segment has a story with a fate of its own.
            Err(End::Split) => PacketFate::Delivered(self.topology.here(packet.datagram.destination())),
        };
        self.end(packet, fate)
    }

    fn end(&mut self, packet: Moving, fate: PacketFate) -> PacketFate {
        if let Some(mut story) = packet.story {
            story.fate = Some(fate.clone());
            self.stories.push(story);
        }
        fate
    }

    /// Takes a packet from a hook to the node that receives it.
    fn go(&mut self, packet: &mut Moving, stage: Stage, entry: Entry) -> Result<NodeId, End> {
        let (mut stage, mut entry) = (stage, entry);
        loop {
            stage = match stage {
                Stage::Out(path) if path.over == Over::Loopback => {
                    let owner = self.topology.host().owner(packet.datagram.destination());
                    packet.came = owner.or(Some(Over::Loopback));
                    self.hop(packet, Direction::Out, &stage, entry)?;
                    // A packet looped back on lo0 is a new packet to pf.
                    packet.is_pfs = false;
                    Stage::In(Over::Loopback)
                }
                Stage::Out(path) => {
                    let sent = self.is_too_long(packet, &path).then(|| Sent::of(packet));
                    let asked = self.hop(packet, Direction::Out, &stage, entry);
                    self.redirect(packet, &path);
                    asked?;
                    return Ok(self.leave(packet, &path, sent.as_ref())?);
                }
                Stage::In(over) => {
                    if over != Over::Loopback {
                        packet.came = Some(over);
                        refuse_loopback(&packet.datagram)?;
                    }
                    self.hop(packet, Direction::In, &stage, entry)?;
                    let to = packet.datagram.destination();
                    match self.topology.host().owner(to) {
                        // A packet for an address of the Mac is delivered here, whichever interface has the address:
                        // it crosses no second one.
                        Some(_) => return Ok(self.topology.here(to)),
                        None => Stage::Out(self.forward(packet, over)?),
                    }
                }
            };
            entry = Entry::Fresh;
        }
    }

    /// Forwards a packet that came in on `over`.
    fn forward(&mut self, packet: &mut Moving, over: Over) -> Result<ChosenRoute, Stop> {
        let to = packet.datagram.destination();
        if to.is_loopback() {
            return Err(Stop::Refused(
                "127.0.0.0/8 is never forwarded, and this Mac does not have this address",
            ));
        }
        if is_for_many(to) || self.topology.host().is_broadcast(to) {
            return Err(Stop::Nobody);
        }
        if !self.topology.host().forwards() {
            return Err(Stop::Refused("this Mac does not forward packets"));
        }
        let came = packet.came.unwrap_or(over);
        if packet.datagram.ttl <= 1 {
            self.complain(packet, Complaint::new(TIME_EXCEEDED));
            return Err(Stop::Expired);
        }
        let Some(path) = self.topology.host().path(to, None) else {
            self.complain(packet, Complaint::new(HOST_UNREACHABLE));
            return Err(Stop::Unreachable("no route leads there"));
        };
        packet.forwarded = Some(Forwarded { sent: Sent::of(packet), came });
        wire::lower_ttl(packet.bytes.all_mut());
        packet.datagram.ttl -= 1;
        packet.is_own = false;
        Ok(path)
    }

    /// Sends a packet out by a bridge or the egress interface.
    fn leave(
        &mut self,
        packet: &mut Moving,
        path: &ChosenRoute,
        sent: Option<&Sent>,
    ) -> Result<NodeId, Stop> {
        let (from, to) = (packet.datagram.source(), packet.datagram.destination());
        if from.is_loopback() || to.is_loopback() {
            self.cannot_leave(packet, None, Complaint::new(HOST_UNREACHABLE));
            return Err(Stop::Refused(
                "a source in 127.0.0.0/8 never leaves lo0: macOS refuses it (EADDRNOTAVAIL)",
            ));
        }
        if self.is_too_long(packet, path) {
            let mtu = self.mtu(path);
            self.cannot_leave(packet, sent, Complaint::too_long(mtu));
            return Err(Stop::TooLong { mtu });
        }
        self.topology.receiver(path, to).ok_or(Stop::Nobody)
    }

    fn mtu(&self, path: &ChosenRoute) -> u16 {
        self.topology.host().link(path.over).map_or(0, |link| link.mtu)
    }

    /// Whether a packet exceeds the MTU of its outgoing interface and has the don't-fragment bit set.
    fn is_too_long(&self, packet: &Moving, path: &ChosenRoute) -> bool {
        let longest = match packet.offload.segments {
            Some(gso) => usize::from(gso.size) + headers(packet),
            None => packet.datagram.total,
        };
        packet.datagram.dont_fragment && longest > usize::from(self.mtu(path))
    }

    /// Evaluates pf at a hook.
    fn hop(
        &mut self,
        packet: &mut Moving,
        direction: Direction,
        stage: &Stage,
        entry: Entry,
    ) -> Result<(), End> {
        let over = match *stage {
            Stage::Out(path) => path.over,
            Stage::In(over) => over,
        };
        let mut step = match entry {
            Entry::Piped(shaping) => HookStep::Piped(shaping),
            Entry::Fresh => {
                packet.asked = (packet.at, self.count());
                packet.pipes.clear();
                packet.before = packet.seen();
                if packet.is_pfs {
                    told(packet, direction, over, Made::Own);
                    return Ok(());
                }
                self.machine.enter(&mut packet.passage, direction, self.topology.name(over))
            }
        };
        let verdict = loop {
            match step {
                HookStep::Judged(verdict) => break verdict,
                HookStep::Piped(shaping) if packet.offload.segments.is_some() => {
                    self.split(packet, *stage, &shaping);
                    return Err(End::Split);
                }
                HookStep::Piped(shaping) => {
                    self.pipe(packet, direction, over, shaping)?;
                    step = self.machine.emerge(&mut packet.passage);
                }
            }
        };
        self.obey(packet, direction, over, verdict)
    }

    /// Applies a verdict to the packet.
    fn obey(
        &mut self,
        packet: &mut Moving,
        direction: Direction,
        over: Over,
        verdict: Verdict,
    ) -> Result<(), End> {
        let (reply, passes, after) = (verdict.reply, verdict.action == Outcome::Pass, verdict.after);
        let scrubbed = verdict.scrubbed;
        if let Some(label) = verdict.rule.as_ref().and_then(|rule| rule.label.as_ref()) {
            self.tallies.count(label, direction, packet.datagram.total);
        }
        scrub(packet, scrubbed);
        if passes {
            rewrite(packet, &verdict.before, &after);
        }
        told(packet, direction, over, Made::Judged(verdict));
        match passes {
            true => Ok(()),
            false if scrubbed.held => Err(Stop::Held.into()),
            // A blocking rule has an action for the answer; without one, pf dropped it for its options.
            false if packet.datagram.has_options && reply.is_none() => Err(Stop::Options.into()),
            false => {
                self.refuse(packet, direction, over, reply);
                Err(Stop::Blocked { reply }.into())
            }
        }
    }

    /// Sends a packet through a pipe of links, unless its path is slowed on demand, which takes the place of pipes.
    fn pipe(
        &mut self,
        packet: &mut Moving,
        direction: Direction,
        over: Over,
        shaping: Shaping,
    ) -> Result<(), End> {
        scrub(packet, packet.passage.scrubbed());
        let to = self.topology.owner(packet.datagram.destination());
        if to.is_some_and(|to| self.ways.faults().is_slowed(packet.from, to)) {
            return Ok(());
        }
        let out = shaping.number().and_then(|pipe| self.ways.carry(pipe, packet.datagram.total, packet.at));
        let Some(at) = out else {
            packet.pipes.push(PipePassage { shaping, out: None, bytes: Vec::new() });
            told(packet, direction, over, Made::Swallowed);
            return Err(End::Fate(PacketFate::Lost));
        };
        packet.at = at;
        let bytes = packet.seen();
        packet.pipes.push(PipePassage { shaping, out: Some((at, self.count())), bytes });
        Ok(())
    }

    /// Segments a packet with generic segmentation offload, and queues each segment to enter the pipe.
    fn split(&mut self, packet: &mut Moving, stage: Stage, shaping: &Shaping) {
        let parts = wire::segments(packet.bytes.all(), &packet.datagram, &packet.offload);
        for part in parts {
            let Ok(datagram) = wire::read(&part) else { continue };
            let part = Moving {
                bytes: Bytes::Own(part),
                datagram,
                offload: Offload::default(),
                passage: packet.passage.clone(),
                from: packet.from,
                came: packet.came,
                is_own: packet.is_own,
                is_pfs: packet.is_pfs,
                forwarded: packet.forwarded.clone(),
                at: packet.at,
                asked: packet.asked,
                before: packet.before.clone(),
                pipes: packet.pipes.clone(),
                story: packet.story.clone(),
            };
            self.waiting.push_back((part, stage, Entry::Piped(shaping.clone())));
        }
        packet.story = None;
    }

    /// Delivers a packet to a node, fragmented if it exceeds the MTU.
    fn deliver(&mut self, packet: &mut Moving, to: NodeId) -> PacketFate {
        if packet.from != self.topology.mac() && !self.is_through_another_mac(packet.from) {
            let (path, faults) = ((packet.from, to), self.ways.faults_mut());
            if faults.is_cut(packet.from, to) {
                return PacketFate::Cut;
            }
            let Some(at) = faults.carry(path, packet.datagram.total, packet.at) else {
                return PacketFate::LostByFault;
            };
            packet.at = at;
        }
        if self.topology.node(to).side == NodeAttachment::Here {
            make_audible(packet);
        }
        let mtu = usize::from(self.topology.mtu(packet.from, to).min(self.topology.node(to).mtu));
        let (at, mut offload) = (packet.at, packet.offload);
        let datagram = &packet.datagram;
        let mut pieces = Vec::new();
        if self.topology.node(to).side == NodeAttachment::Mesh {
            // WireGuard seals complete packets: no device does the rest.
            pieces = cut(packet, mtu);
            offload = Offload::default();
        } else if offload.segments.is_none() && datagram.total > mtu {
            complete(&mut packet.bytes.all_mut()[..datagram.total], &mut offload);
            pieces = wire::fragments(packet.bytes.all(), datagram, mtu);
        }
        if pieces.is_empty() {
            let bytes = match &packet.bytes {
                Bytes::Lent(_) => None,
                Bytes::Own(bytes) => Some(bytes[..datagram.total].to_vec()),
            };
            self.out.push(Delivery { to, at, bytes, length: datagram.total, offload });
        }
        for piece in pieces {
            let length = piece.len();
            self.out.push(Delivery { to, at, bytes: Some(piece), length, offload });
        }
        PacketFate::Delivered(to)
    }

    /// Whether another Mac has sent the packet, and has applied the faults of its path.
    fn is_through_another_mac(&self, from: NodeId) -> bool {
        matches!(self.topology.node(from).side, NodeAttachment::Mesh | NodeAttachment::Underlay)
    }

    fn count(&mut self) -> u64 {
        *self.asked += 1;
        *self.asked
    }
}

fn refuse_loopback(datagram: &Datagram) -> Result<(), Stop> {
    if datagram.destination().is_loopback() || datagram.source().is_loopback() {
        return Err(Stop::Refused(
            "an address of 127.0.0.0/8 is this Mac's own: macOS drops it on any interface but lo0, before pf",
        ));
    }
    Ok(())
}

/// Whether an address is multicast, the limited broadcast address or 0.0.0.0.
fn is_for_many(address: Ipv4Addr) -> bool {
    address.is_multicast() || address.is_broadcast() || address.is_unspecified()
}
