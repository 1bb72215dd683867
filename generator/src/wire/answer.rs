//! The answers to a packet that does not get through, as macOS sends them: a RST, or an ICMP error.
//!
//! Never: whether there is an answer.

use std::net::Ipv4Addr;

use etherparse::{Icmpv4Type, PacketBuilder};

use super::read::{Datagram, v4};
use super::rewrite::clear_df;
use crate::pf::eval::{ICMP, SYN, Transport};

/// The TTL of packets that macOS originates.
const TTL: u8 = 64;
/// Number of bytes after the IP header that an ICMP error quotes.
const QUOTED: usize = 8;
const FIN: u8 = 0x01;
const RST: u8 = 0x04;
const REDIRECT: u8 = 5;

/// The RST for a TCP segment, from the segment's destination; `None` for a RST, a fragment or another protocol.
pub fn reset(datagram: &Datagram, ttl: u8) -> Option<Vec<u8>> {
    let Transport::Tcp { source, destination, segment } = datagram.packet.transport else { return None };
    if datagram.packet.fragment || segment.flags & RST != 0 {
        return None;
    }
    let flags = [SYN, FIN].iter().filter(|&&flag| segment.flags & flag != 0).count();
    let acknowledged = segment.sequence.wrapping_add(segment.length).wrapping_add(u32::try_from(flags).ok()?);
    let (from, to) = (v4(datagram.packet.destination), v4(datagram.packet.source));
    let ttl = if ttl == 0 { TTL } else { ttl };
    let builder = PacketBuilder::ipv4(from.octets(), to.octets(), ttl)
        .tcp(destination, source, segment.acknowledgement, 0)
        .rst()
        .ack(acknowledged);
    let mut answer = Vec::with_capacity(40);
    builder.write_to_vec(&mut answer, &[]).ok()?;
    Some(answer)
}

/// The contents of an ICMP error, apart from the quoted packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Complaint {
    /// The ICMP type.
    pub kind: u8,
    /// The ICMP code.
    pub code: u8,
    /// The four bytes between the checksum and the quoted packet.
    pub rest: [u8; 4],
}

impl Complaint {
    /// An error with only a type and a code.
    pub fn new((kind, code): (u8, u8)) -> Self {
        Self { kind, code, rest: [0; 4] }
    }

    /// Fragmentation needed and don't-fragment set (3, 4), with the MTU of the next hop.
    pub fn too_long(next: u16) -> Self {
        let [high, low] = next.to_be_bytes();
        Self { kind: 3, code: 4, rest: [0, 0, high, low] }
    }

    /// Redirect for a host (5, 1), with the address of the better next hop.
    pub fn redirect(by: Ipv4Addr) -> Self {
        Self { kind: REDIRECT, code: 1, rest: by.octets() }
    }
}

/// The ICMP error for a packet, sent from `from`; `None` where none may be sent (RFC 1122, 3.2.2): about an ICMP
/// error (except a redirect), a fragment other than the first, or a packet from or to a multicast or broadcast
/// address.
pub fn error(bytes: &[u8], datagram: &Datagram, from: Ipv4Addr, complaint: Complaint) -> Option<Vec<u8>> {
    let Complaint { kind, code, rest } = complaint;
    let is_error = matches!(
        datagram.packet.transport,
        Transport::Icmp { kind, .. } if datagram.packet.protocol() == ICMP && !matches!(kind, 0 | 8 | 13..=18)
    );
    let (source, destination) = (v4(datagram.packet.source), v4(datagram.packet.destination));
    let is_crowd = |address: Ipv4Addr| address.is_multicast() || address.is_broadcast();
    if (is_error && kind != REDIRECT)
        || !datagram.is_first
        || is_crowd(destination)
        || is_crowd(source)
        || source.is_unspecified()
    {
        return None;
    }
    let quoted = quoted(bytes, datagram);
    let builder = PacketBuilder::ipv4(from.octets(), source.octets(), TTL).icmpv4(Icmpv4Type::Unknown {
        type_u8: kind,
        code_u8: code,
        bytes5to8: rest,
    });
    let mut answer = Vec::with_capacity(56);
    builder.write_to_vec(&mut answer, quoted).ok()?;
    clear_df(&mut answer);
    Some(answer)
}

/// The part of a packet that an ICMP error quotes.
pub fn quoted<'a>(bytes: &'a [u8], datagram: &Datagram) -> &'a [u8] {
    &bytes[..(datagram.header + QUOTED).min(datagram.total).min(bytes.len())]
}
