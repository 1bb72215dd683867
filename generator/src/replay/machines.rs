//! The hosts around the Mac, with fixed answers to a SYN, a datagram or a ping; port 81 is closed. The router outside
//! answers for every address.
//!
//! Never: a connection.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use etherparse::{Icmpv4Type, PacketBuilder};

use crate::pf::eval::{ACK, RST, SYN, Transport};
use crate::wire::answer::{self, Complaint};
use crate::wire::{Datagram, clear_df};

/// The port without a listener.
const CLOSED: u16 = 81;
const PORT_UNREACHABLE: (u8, u8) = (3, 3);
const TTL: u8 = 64;
/// Initial sequence number of their SYN-ACKs.
const SEQUENCE: u32 = 70_000;
const WINDOW: u16 = 65_535;

/// The flows that these hosts have answered. Each is answered once, so that two hosts cannot answer each other
/// endlessly.
#[derive(Debug, Default)]
pub struct Machines {
    answered: BTreeSet<(u8, Ipv4Addr, u16, Ipv4Addr, u16)>,
}

impl Machines {
    /// The answer to a packet that reaches a host. Fragments get none: these hosts do not reassemble.
    pub fn answer(&mut self, bytes: &[u8], datagram: &Datagram) -> Option<Vec<u8>> {
        if datagram.packet.fragment {
            return None;
        }
        let (from, to) = (datagram.source(), datagram.destination());
        let protocol = datagram.packet.protocol();
        let (source, destination) = match datagram.packet.transport {
            Transport::Tcp { source, destination, segment } => {
                if segment.flags & (SYN | ACK | RST) != SYN {
                    return None;
                }
                (source, destination)
            }
            Transport::Udp { source, destination } => (source, destination),
            Transport::Icmp { kind: 8, id, .. } => (id, 0),
            _ => return None,
        };
        if !self.answered.insert((protocol, from, source, to, destination)) {
            return None;
        }
        match datagram.packet.transport {
            Transport::Tcp { .. } if destination == CLOSED => answer::reset(datagram, TTL),
            Transport::Tcp { segment, .. } => {
                let flags = SYN | ACK;
                let acknowledged = segment.sequence.wrapping_add(1);
                Some(tcp((to, destination), (from, source), flags, SEQUENCE, acknowledged))
            }
            Transport::Udp { .. } if destination == CLOSED => {
                answer::error(bytes, datagram, to, Complaint::new(PORT_UNREACHABLE))
            }
            Transport::Udp { .. } => {
                let payload = bytes.get(datagram.header + 8..datagram.total)?;
                Some(udp((to, destination), (from, source), payload, false))
            }
            _ => echo_reply(bytes, datagram),
        }
    }
}

/// The echo reply to a ping, with the same payload.
pub fn echo_reply(bytes: &[u8], datagram: &Datagram) -> Option<Vec<u8>> {
    let payload = bytes.get(datagram.header + 4..datagram.total)?;
    let message = [&[0, 0][..], payload].concat();
    Some(icmp(datagram.destination(), datagram.source(), &message, datagram.dont_fragment))
}

/// A TCP segment with the don't-fragment bit.
pub fn tcp(
    from: (Ipv4Addr, u16),
    to: (Ipv4Addr, u16),
    flags: u8,
    sequence: u32,
    acknowledged: u32,
) -> Vec<u8> {
    let mut header = etherparse::TcpHeader::new(from.1, to.1, sequence, WINDOW);
    let has = |bit: u8| flags & bit != 0;
    (header.fin, header.syn, header.rst, header.psh) = (has(1), has(SYN), has(RST), has(8));
    (header.ack, header.urg, header.ece, header.cwr) = (has(ACK), has(0x20), has(0x40), has(0x80));
    header.acknowledgment_number = if has(ACK) { acknowledged } else { 0 };
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv4(from.0.octets(), to.0.octets(), TTL).tcp_header(header);
    // Writing to a buffer in memory cannot fail.
    let _: Result<(), _> = builder.write_to_vec(&mut bytes, &[]);
    bytes
}

/// A UDP datagram.
pub fn udp(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8], df: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv4(from.0.octets(), to.0.octets(), TTL).udp(from.1, to.1);
    let _: Result<(), _> = builder.write_to_vec(&mut bytes, payload);
    whether_cut(bytes, df)
}

/// An ICMP packet. `message` has the type, the code and what follows the checksum.
pub fn icmp(from: Ipv4Addr, to: Ipv4Addr, message: &[u8], df: bool) -> Vec<u8> {
    let at = |at: usize| message.get(at).copied().unwrap_or(0);
    let kind =
        Icmpv4Type::Unknown { type_u8: at(0), code_u8: at(1), bytes5to8: [at(2), at(3), at(4), at(5)] };
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv4(from.octets(), to.octets(), TTL).icmpv4(kind);
    let _: Result<(), _> = builder.write_to_vec(&mut bytes, message.get(6..).unwrap_or_default());
    whether_cut(bytes, df)
}

fn whether_cut(mut bytes: Vec<u8>, df: bool) -> Vec<u8> {
    if !df {
        clear_df(&mut bytes);
    }
    bytes
}
