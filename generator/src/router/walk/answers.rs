//! The Mac's answers to packets that do not get through, as its kernel and pf send them.
//!
//! Never: whether a packet gets through.

use std::time::Duration;

use super::super::host::{ChosenRoute, Sender};
use super::super::interface::Over;
use super::super::trace::Delivery;
use super::packet::{Bytes, Forwarded, Moving, Sent};
use super::{Entry, Stage, Walk};
use crate::pf::eval::{ICMP, RST, TCP, Transport};
use crate::pf::syntax::{Block, Direction};
use crate::wire::answer::{self, Complaint};
use crate::wire::{self, Offload, is_transport_right};

/// IP protocol numbers of ESP and AH, to which pf answers nothing.
const IPSEC: [u8; 2] = [50, 51];

impl Walk<'_> {
    /// Sends an ICMP redirect to a host that could reach the next hop directly, whatever pf decides about the packet.
    pub(super) fn redirect(&mut self, packet: &Moving, path: &ChosenRoute) {
        let Some(Forwarded { sent, came }) = &packet.forwarded else { return };
        let network = self.topology.host().network(path.over, path.address);
        let is_near = network.is_some_and(|network| network.contains(&sent.datagram.source()));
        if path.over == *came && !path.is_default && is_near {
            let by = path.gateway.unwrap_or(sent.datagram.destination());
            self.say(sent, Some(*came), packet.asked.0, Complaint::redirect(by));
        }
    }

    /// Reports why a packet that pf passed does not leave: to its sender, quoting it as it was sent, or to the local
    /// socket.
    pub(super) fn cannot_leave(&mut self, packet: &Moving, sent: Option<&Sent>, complaint: Complaint) {
        match (&packet.forwarded, sent) {
            (Some(Forwarded { sent, came }), _) => {
                let (sent, came) = (sent.clone(), *came);
                self.say(&sent, Some(came), packet.at, complaint);
            }
            (None, Some(sent)) => self.tell_socket(packet, sent, complaint),
            (None, None) => self.tell_socket(packet, &Sent::of(packet), complaint),
        }
    }

    /// Answers for a blocking rule, as xnu's pf_test_rule does: a RST to a TCP segment that is no RST and has a
    /// correct checksum; ICMP to other protocols except ICMP, ESP and AH, unless the don't-fragment bit is set (pf
    /// passes the header in network order, and icmp_error mistakes the bit for a fragment offset); nothing to
    /// fragments.
    pub(super) fn refuse(&mut self, packet: &Moving, direction: Direction, over: Over, reply: Option<Block>) {
        let packet_ = &packet.datagram.packet;
        let (ttl, icmp) = match reply {
            None | Some(Block::Drop) => return,
            Some(_) if packet_.fragment => return,
            Some(Block::Return { icmp, .. }) => (Some(0), Some(icmp)),
            Some(Block::ReturnRst { ttl }) => (Some(ttl), None),
            Some(Block::ReturnIcmp { icmp, .. }) => (None, Some(icmp)),
        };
        let protocol = packet_.protocol();
        let is_reset =
            matches!(packet_.transport, Transport::Tcp { segment, .. } if segment.flags & RST != 0);
        if let Some(ttl) = ttl.filter(|_| protocol == TCP && !is_reset) {
            if self.is_sum_right(packet, direction, over) {
                let reset = answer::reset(&packet.datagram, ttl);
                self.send(reset, Sender::Pf, packet.at, true);
            }
            return;
        }
        let icmp = icmp.filter(|_| protocol != ICMP && !IPSEC.contains(&protocol));
        if let Some(icmp) = icmp.filter(|_| !packet.datagram.dont_fragment) {
            self.complain(packet, Complaint::new(icmp));
        }
    }

    /// Whether pf finds the checksum of a TCP segment correct.
    pub(super) fn is_sum_right(&self, packet: &Moving, direction: Direction, over: Over) -> bool {
        match direction {
            Direction::In if over == Over::Loopback => true,
            Direction::Out
                if packet.is_own && self.topology.host().link(over).is_some_and(|l| l.offloads) =>
            {
                false
            }
            _ => {
                packet.offload.checksum.is_some() || is_transport_right(packet.bytes.all(), &packet.datagram)
            }
        }
    }

    /// Sends an ICMP error about a packet to its source.
    pub(super) fn complain(&mut self, packet: &Moving, complaint: Complaint) {
        self.say(&Sent::of(packet), packet.came, packet.at, complaint);
    }

    /// The same, quoting a packet as it was sent. Its source is the packet's destination if that is an address of the
    /// Mac, otherwise an address of the interface that it arrived on, otherwise the Mac's first address.
    pub(super) fn say(&mut self, sent: &Sent, came: Option<Over>, at: Duration, complaint: Complaint) {
        let (host, asked) = (self.topology.host(), sent.datagram.destination());
        let own = host.owner(asked).map(|_| asked);
        let from = own.or_else(|| host.answers_from(came?, asked)).unwrap_or_else(|| host.first());
        let error = answer::error(&sent.quote, &sent.datagram, from, complaint);
        self.send(error, Sender::Icmp(came), at, false);
    }

    /// Reports an error to the local socket that sent a packet: as an ICMP error, because the node's stack is not
    /// xnu's.
    pub(super) fn tell_socket(&mut self, packet: &Moving, sent: &Sent, complaint: Complaint) {
        let host = self.topology.host();
        let egress = host.link(Over::Egress).and_then(|link| link.addresses.first());
        let from = egress.map_or_else(|| host.first(), ipnet::Ipv4Net::addr);
        let Some(bytes) = answer::error(&sent.quote, &sent.datagram, from, complaint) else { return };
        let (to, at, length) = (packet.from, packet.at, bytes.len());
        self.out.push(Delivery { to, at, length, bytes: Some(bytes), offload: Offload::default() });
    }

    /// Queues a packet that the Mac itself sends, after those already queued.
    pub(super) fn send(&mut self, bytes: Option<Vec<u8>>, sender: Sender, at: Duration, is_pfs: bool) {
        let Some(bytes) = bytes else { return };
        let Ok(datagram) = wire::read(&bytes) else { return };
        let (from, to) = (datagram.source(), datagram.destination());
        let Ok(path) = self.topology.host().way(from, to, sender) else { return };
        let mut packet = self.moving(self.topology.mac(), Bytes::Own(bytes), datagram, at);
        packet.is_pfs = is_pfs;
        self.waiting.push_back((packet, Stage::Out(path), Entry::Fresh));
    }
}
