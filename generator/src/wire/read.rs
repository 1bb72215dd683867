//! Parses a packet: the fields that pf and forwarding need, or why no host would accept it.
//!
//! Never: what happens to the packet.

use std::net::{IpAddr, Ipv4Addr};

use etherparse::{Ipv4HeaderSlice, TcpHeaderSlice, UdpHeaderSlice};

use super::checksum::{add, pseudo, sum};
use super::{IPV4_HEADER, field, long, word};
use crate::pf::eval::{ESP, FragmentPart, ICMP, Inner, Ip, Packet, TCP, TcpSegment, Transport, UDP};

/// Length of the SPI and the sequence number.
const ESP_HEADER: usize = 8;

/// A well-formed packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Length of the IP header.
    pub header: usize,
    /// Total length from the IP header; bytes beyond it are ignored.
    pub total: usize,
    /// The TTL.
    pub ttl: u8,
    /// Whether the don't-fragment bit is set.
    pub dont_fragment: bool,
    /// Whether it has IP options.
    pub has_options: bool,
    /// Whether its fragment offset is zero, so that it contains the transport header.
    pub is_first: bool,
    /// The fields that pf evaluates. It has no hooks yet.
    pub packet: Packet,
}

impl Datagram {
    /// The source address.
    pub fn source(&self) -> Ipv4Addr {
        v4(self.packet.source)
    }

    /// The destination address.
    pub fn destination(&self) -> Ipv4Addr {
        v4(self.packet.destination)
    }
}

/// The IPv4 address; 0.0.0.0 for IPv6, which does not occur here.
pub fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}

/// Why bytes are not a valid packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// The version is not 4.
    Version,
    /// The IP header is truncated, or longer than the packet.
    Header,
    /// The checksum of the IP header is wrong.
    Checksum,
    /// The total length exceeds the bytes present.
    Length,
    /// The transport header is truncated, or its length exceeds the bytes present.
    Transport,
    /// The packet quoted by an ICMP error is truncated.
    Quote,
}

impl Malformed {
    /// The reason in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Version => "no IPv4",
            Self::Header => "the IP header is cut short",
            Self::Checksum => "the checksum of the IP header is wrong",
            Self::Length => "the packet is cut short",
            Self::Transport => "the header behind the IP header is cut short",
            Self::Quote => "what the ICMP error quotes is cut short",
        }
    }
}

/// Parses a packet.
///
/// # Errors
/// Why a host would discard it before or inside pf.
pub fn read(bytes: &[u8]) -> Result<Datagram, Malformed> {
    if bytes.first().is_none_or(|first| first >> 4 != 4) {
        return Err(Malformed::Version);
    }
    let ip = Ipv4HeaderSlice::from_slice(bytes).map_err(|_| Malformed::Header)?;
    let (header, total) = (ip.slice().len(), usize::from(ip.total_len()));
    if total < header {
        return Err(Malformed::Header);
    }
    if sum(ip.slice()) != u16::MAX {
        return Err(Malformed::Checksum);
    }
    let payload = bytes.get(header..total).ok_or(Malformed::Length)?;
    let (fragment, is_first) = (ip.is_fragmenting_payload(), ip.fragments_offset().value() == 0);
    let protocol = ip.protocol().0;
    // The first fragment has a transport header, if it is long enough; pf evaluates it after reassembly.
    let transport = match (fragment, is_first) {
        (false, _) => transport(protocol, payload),
        (true, true) => Ok(begun(protocol, payload).unwrap_or_else(|| of_fragment(protocol))),
        (true, false) => Ok(of_fragment(protocol)),
    };
    let part = fragment.then(|| FragmentPart {
        id: ip.identification(),
        offset: ip.fragments_offset().byte_offset(),
        length: u16::try_from(payload.len()).unwrap_or(u16::MAX),
        more: ip.more_fragments(),
        payload: Some(payload.into()),
    });
    Ok(Datagram {
        header,
        total,
        ttl: ip.ttl(),
        dont_fragment: ip.dont_fragment(),
        has_options: header > IPV4_HEADER,
        is_first,
        packet: Packet {
            hooks: Vec::new(),
            is_path: true,
            source: ip.source_addr().into(),
            destination: ip.destination_addr().into(),
            transport: transport?,
            user: None,
            group: None,
            tag: None,
            tos: bytes[1],
            fragment,
            ip: Ip {
                dont_fragment: ip.dont_fragment(),
                ttl: Some(ip.ttl()),
                options: header > IPV4_HEADER,
                part,
            },
        },
    })
}

/// Only the protocol: pf reads nothing else of a fragment.
fn of_fragment(protocol: u8) -> Transport {
    match protocol {
        TCP => Transport::Tcp {
            source: 0,
            destination: 0,
            segment: TcpSegment { flags: 0, sequence: 0, acknowledgement: 0, length: 0, window: 0 },
        },
        UDP => Transport::Udp { source: 0, destination: 0 },
        ICMP => Transport::Icmp { kind: 0, code: 0, id: 0, inner: None },
        other => Transport::Other(other),
    }
}

/// The transport header of a first fragment.
fn begun(protocol: u8, payload: &[u8]) -> Option<Transport> {
    match protocol {
        UDP => {
            let header = UdpHeaderSlice::from_slice(payload).ok()?;
            Some(Transport::Udp { source: header.source_port(), destination: header.destination_port() })
        }
        ICMP if !matches!(payload.first(), Some(3 | 4 | 5 | 11 | 12)) => icmp(payload).ok(),
        TCP => tcp(payload).ok(),
        _ => None,
    }
}

fn transport(protocol: u8, payload: &[u8]) -> Result<Transport, Malformed> {
    match protocol {
        TCP => tcp(payload),
        UDP => {
            let header = UdpHeaderSlice::from_slice(payload).map_err(|_| Malformed::Transport)?;
            let length = usize::from(header.length());
            if length < header.slice().len() || length > payload.len() {
                return Err(Malformed::Transport);
            }
            Ok(Transport::Udp { source: header.source_port(), destination: header.destination_port() })
        }
        ICMP => icmp(payload),
        ESP if payload.len() >= ESP_HEADER => Ok(Transport::Esp { spi: long(payload, 0) }),
        ESP => Err(Malformed::Transport),
        other => Ok(Transport::Other(other)),
    }
}

fn tcp(payload: &[u8]) -> Result<Transport, Malformed> {
    let header = TcpHeaderSlice::from_slice(payload).map_err(|_| Malformed::Transport)?;
    let length = u32::try_from(payload.len() - header.slice().len()).unwrap_or(u32::MAX);
    Ok(Transport::Tcp {
        source: header.source_port(),
        destination: header.destination_port(),
        segment: TcpSegment {
            flags: payload[field::TCP_FLAGS],
            sequence: header.sequence_number(),
            acknowledgement: header.acknowledgment_number(),
            length,
            window: header.window_size(),
        },
    })
}

fn icmp(payload: &[u8]) -> Result<Transport, Malformed> {
    let (Some(&kind), Some(&code)) = (payload.first(), payload.get(1)) else {
        return Err(Malformed::Transport);
    };
    let quoted = payload.get(field::ICMP_QUOTE..).ok_or(Malformed::Transport)?;
    let is_error = matches!(kind, 3 | 4 | 5 | 11 | 12);
    let inner = is_error.then(|| quote(quoted)).transpose()?;
    // ICMP queries and their replies have an identifier.
    let is_query = matches!(kind, 0 | 8 | 13..=18);
    let id = if is_query { word(payload, field::ICMP_ID) } else { 0 };
    Ok(Transport::Icmp { kind, code, id, inner })
}

/// The packet quoted by an ICMP error: an IP header and eight bytes after it.
fn quote(quoted: &[u8]) -> Result<Inner, Malformed> {
    let ip = Ipv4HeaderSlice::from_slice(quoted).map_err(|_| Malformed::Quote)?;
    let transport = &quoted[ip.slice().len()..];
    let protocol = ip.protocol().0;
    let is_cut = match protocol {
        TCP | UDP | ICMP => transport.len() < 8,
        _ => false,
    };
    if is_cut || ip.fragments_offset().value() != 0 {
        return Err(Malformed::Quote);
    }
    let (source_port, destination_port) = match protocol {
        TCP | UDP => (word(transport, field::SOURCE_PORT), word(transport, field::DESTINATION_PORT)),
        ICMP => (word(transport, field::ICMP_ID), 0),
        _ => (0, 0),
    };
    Ok(Inner {
        protocol,
        source: ip.source_addr().into(),
        destination: ip.destination_addr().into(),
        source_port,
        destination_port,
        sequence: if protocol == TCP { long(transport, field::TCP_SEQUENCE) } else { 0 },
    })
}

/// Whether the TCP or UDP checksum is correct, which pf verifies before it answers with a RST.
pub fn is_transport_right(bytes: &[u8], datagram: &Datagram) -> bool {
    let transport = &bytes[datagram.header..datagram.total];
    let protocol = datagram.packet.protocol();
    match protocol {
        UDP if word(transport, field::UDP_CHECKSUM) == 0 => true,
        TCP | UDP => add(sum(transport), pseudo(bytes, protocol, transport.len())) == u16::MAX,
        _ => true,
    }
}
