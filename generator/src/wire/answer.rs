//! The answers to a packet that does not get through: a RST, or an ICMP error, as macOS makes them.
//!
//! Never: whether there is one to give.

use std::net::Ipv4Addr;

use etherparse::{Icmpv4Type, PacketBuilder};

use super::read::{Datagram, v4};
use crate::pf::eval::{ICMP, SYN, Transport};

/// The TTL of what macOS sends itself.
const TTL: u8 = 64;
/// How much of what follows the IP header an error quotes.
const QUOTED: usize = 8;
const FIN: u8 = 0x01;
const RST: u8 = 0x04;

/// The RST that a segment gets, from the address that it was meant for; none for one that is a RST itself.
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

/// The ICMP error that a packet gets from `from`; none for what must not be answered (RFC 1122, 3.2.2): errors,
/// fragments but the first, and what no single machine sent or was to get.
///
/// `next` is the greatest packet that gets through, for `fragmentation needed` (3, 4).
pub fn error(
    bytes: &[u8],
    datagram: &Datagram,
    from: Ipv4Addr,
    (kind, code): (u8, u8),
    next: u16,
) -> Option<Vec<u8>> {
    let is_error = matches!(
        datagram.packet.transport,
        Transport::Icmp { kind, .. } if datagram.packet.protocol() == ICMP && !matches!(kind, 0 | 8 | 13..=18)
    );
    let (source, destination) = (v4(datagram.packet.source), v4(datagram.packet.destination));
    let is_crowd = |address: Ipv4Addr| address.is_multicast() || address.is_broadcast();
    if is_error || !datagram.is_first || is_crowd(destination) || is_crowd(source) || source.is_unspecified()
    {
        return None;
    }
    let quoted = &bytes[..(datagram.header + QUOTED).min(datagram.total)];
    let [high, low] = next.to_be_bytes();
    let rest = [0, 0, high, low];
    let builder = PacketBuilder::ipv4(from.octets(), source.octets(), TTL).icmpv4(Icmpv4Type::Unknown {
        type_u8: kind,
        code_u8: code,
        bytes5to8: rest,
    });
    let mut answer = Vec::with_capacity(56);
    builder.write_to_vec(&mut answer, quoted).ok()?;
    Some(answer)
}
