//! Rewrites a packet as pf does: addresses, ports, and the packet quoted by an ICMP error.
//!
//! Checksums are updated, not recomputed: a corrupted packet stays corrupted. Never: why something changes.

use std::net::IpAddr;

use super::checksum::{ChecksumField, ChecksumKind, replace};
use super::offload::Offload;
use super::read::{Datagram, v4};
use super::{field, word};
use crate::pf::eval::{Detail, Form, ICMP, Inner, TCP, UDP};

/// Applies a translation to the bytes of a packet.
pub fn rewrite(
    bytes: &mut [u8],
    datagram: &Datagram,
    offload: &Offload,
    after: &Form,
    quoted: Option<&Inner>,
) {
    let ip = ChecksumField { at: field::IP_CHECKSUM, kind: ChecksumKind::Whole };
    let transport = transport_check(datagram, offload);
    let of_address: Vec<ChecksumField> =
        [ip].into_iter().chain(transport.filter(|_| has_pseudo(datagram))).collect();
    put_address(bytes, field::SOURCE, after.source, &of_address);
    put_address(bytes, field::DESTINATION, after.destination, &of_address);
    let ports_at = datagram.header;
    // A partial checksum covers only the pseudo header, which has no ports: the device adds them.
    let whole: Vec<ChecksumField> =
        transport.into_iter().filter(|check| check.kind != ChecksumKind::Partial).collect();
    match after.detail {
        _ if datagram.packet.fragment => {}
        Detail::Ports(source, destination) => {
            replace(bytes, ports_at + field::SOURCE_PORT, source, &whole);
            replace(bytes, ports_at + field::DESTINATION_PORT, destination, &whole);
        }
        Detail::Id(id) if is_query(bytes, datagram) => replace(bytes, ports_at + field::ICMP_ID, id, &whole),
        Detail::Id(_) | Detail::None => {}
    }
    if let Some(quoted) = quoted {
        rewrite_quote(bytes, ports_at, quoted);
    }
}

fn has_pseudo(datagram: &Datagram) -> bool {
    matches!(datagram.packet.protocol(), TCP | UDP)
}

fn is_query(bytes: &[u8], datagram: &Datagram) -> bool {
    matches!(bytes.get(datagram.header), Some(0 | 8 | 13..=18))
}

/// The checksum that covers the ports, and for TCP and UDP also the addresses. Fragments are never rewritten.
fn transport_check(datagram: &Datagram, offload: &Offload) -> Option<ChecksumField> {
    let kind = if offload.checksum.is_some() { ChecksumKind::Partial } else { ChecksumKind::Whole };
    let (at, kind) = match datagram.packet.protocol() {
        _ if datagram.packet.fragment => return None,
        TCP => (field::TCP_CHECKSUM, kind),
        UDP if kind == ChecksumKind::Whole => (field::UDP_CHECKSUM, ChecksumKind::Optional),
        UDP => (field::UDP_CHECKSUM, kind),
        ICMP => (field::ICMP_CHECKSUM, ChecksumKind::Whole),
        _ => return None,
    };
    Some(ChecksumField { at: datagram.header + at, kind })
}

fn put_address(bytes: &mut [u8], at: usize, address: IpAddr, checks: &[ChecksumField]) {
    let [a, b, c, d] = v4(address).octets();
    replace(bytes, at, u16::from_be_bytes([a, b]), checks);
    replace(bytes, at + 2, u16::from_be_bytes([c, d]), checks);
}

fn rewrite_quote(bytes: &mut [u8], icmp: usize, quoted: &Inner) {
    let outer = ChecksumField { at: icmp + field::ICMP_CHECKSUM, kind: ChecksumKind::Whole };
    let ip = icmp + field::ICMP_QUOTE;
    let Some(first) = bytes.get(ip) else { return };
    let transport = ip + usize::from(first & 0xf) * 4;
    let inner = ChecksumField { at: ip + field::IP_CHECKSUM, kind: ChecksumKind::Whole };
    // The sum over the quoted header, its own checksum included, stays constant, so the outer checksum needs no
    // update.
    put_address(bytes, ip + field::SOURCE, quoted.source, &[inner]);
    put_address(bytes, ip + field::DESTINATION, quoted.destination, &[inner]);
    match quoted.protocol {
        TCP | UDP => {
            replace(bytes, transport + field::SOURCE_PORT, quoted.source_port, &[outer]);
            replace(bytes, transport + field::DESTINATION_PORT, quoted.destination_port, &[outer]);
        }
        ICMP => replace(bytes, transport + field::ICMP_ID, quoted.source_port, &[outer]),
        _ => {}
    }
}

/// Decrements the TTL.
pub fn lower_ttl(bytes: &mut [u8]) {
    let old = word(bytes, field::TTL);
    let ip = ChecksumField { at: field::IP_CHECKSUM, kind: ChecksumKind::Whole };
    replace(bytes, field::TTL, old.wrapping_sub(0x0100), &[ip]);
}

/// Sets the TTL.
pub fn raise_ttl(bytes: &mut [u8], ttl: u8) {
    let protocol = word(bytes, field::TTL) & 0xff;
    let ip = ChecksumField { at: field::IP_CHECKSUM, kind: ChecksumKind::Whole };
    replace(bytes, field::TTL, u16::from(ttl) << 8 | protocol, &[ip]);
}

/// Clears the don't-fragment bit.
pub fn clear_df(bytes: &mut [u8]) {
    const DONT_FRAGMENT: u16 = 0x4000;
    let ip = ChecksumField { at: field::IP_CHECKSUM, kind: ChecksumKind::Whole };
    replace(bytes, field::FRAGMENT, word(bytes, field::FRAGMENT) & !DONT_FRAGMENT, &[ip]);
}
