//! A UDP datagram that a program of the Mac itself sends or receives.
//!
//! Never: what its payload means.

use std::net::SocketAddrV4;

use etherparse::PacketBuilder;

use super::field;
use super::read::Datagram;
use super::word;
use crate::pf::eval::UDP;

/// The TTL of packets that macOS originates.
const TTL: u8 = 64;
const UDP_HEADER: usize = 8;

/// The packet that carries a payload, which may be fragmented; `None` if it is too long for one.
pub fn udp(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Option<Vec<u8>> {
    let builder = PacketBuilder::ipv4(from.ip().octets(), to.ip().octets(), TTL).udp(from.port(), to.port());
    let mut packet = Vec::with_capacity(builder.size(payload.len()));
    builder.write_to_vec(&mut packet, payload).ok()?;
    super::clear_df(&mut packet);
    Some(packet)
}

/// The ends and the payload of a UDP packet; `None` for another protocol or a fragment.
pub fn udp_payload<'a>(
    bytes: &'a [u8],
    datagram: &Datagram,
) -> Option<(SocketAddrV4, SocketAddrV4, &'a [u8])> {
    if datagram.packet.fragment || datagram.packet.protocol() != UDP {
        return None;
    }
    let udp = bytes.get(datagram.header..datagram.total)?;
    let length = usize::from(word(udp, field::UDP_LENGTH));
    let from = SocketAddrV4::new(datagram.source(), word(udp, field::SOURCE_PORT));
    let to = SocketAddrV4::new(datagram.destination(), word(udp, field::DESTINATION_PORT));
    Some((from, to, udp.get(UDP_HEADER..length)?))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::wire::{is_transport_right, read};

    #[test]
    fn a_payload_comes_out_as_it_went_in() {
        let end = |last, port| SocketAddrV4::new(Ipv4Addr::new(198, 18, 16, last), port);
        let packet = udp(end(1, 51820), end(2, 51821), b"sealed").expect("it fits");
        let datagram = read(&packet).expect("a packet");
        assert!(is_transport_right(&packet, &datagram) && !datagram.dont_fragment);
        assert_eq!(udp_payload(&packet, &datagram), Some((end(1, 51820), end(2, 51821), &b"sealed"[..])));
        assert_eq!(udp(end(1, 1), end(2, 2), &vec![0; 70_000]), None);
    }
}
