//! Conversion of a packet for the evaluator and for the policy, the reply to it, and its notation.

use std::net::IpAddr;

use super::world::World;
use crate::packets::{self, PacketDirection};
use crate::pf::eval::{
    ACK, Detail, Hook, ICMP, Ip, Packet, SYN, TCP, TcpSegment, Transport, UDP, Verdict as Kernel,
};
use crate::pf::syntax;
use crate::plan::policy::{self, ECHO};

const ECHO_REPLY: u8 = 0;
/// An arbitrary TCP sequence number.
const SEQUENCE: u32 = 1000;

/// A packet in the form that the evaluator takes.
pub fn evaluated(packet: &packets::WitnessPacket) -> Packet {
    let direction = match packet.direction {
        PacketDirection::In => syntax::Direction::In,
        PacketDirection::Out => syntax::Direction::Out,
    };
    let (source, destination) = (packet.source_port, packet.destination_port);
    let transport = match packet.protocol {
        TCP => {
            let segment = TcpSegment {
                flags: packet.flags,
                sequence: SEQUENCE,
                acknowledgement: 0,
                length: 0,
                window: u16::MAX,
            };
            Transport::Tcp { source, destination, segment }
        }
        UDP => Transport::Udp { source, destination },
        ICMP if packet.source.is_ipv4() => {
            Transport::Icmp { kind: packet.icmp_type, code: packet.icmp_code, id: 7, inner: None }
        }
        other => Transport::Other(other),
    };
    Packet {
        hooks: vec![Hook { direction, interface: packet.interface.clone() }],
        is_path: false,
        source: packet.source,
        destination: packet.destination,
        transport,
        user: None,
        group: None,
        tag: None,
        tos: 0,
        fragment: packet.fragment,
        ip: Ip::default(),
    }
}

/// A packet in the form that the policy takes; `None` for IPv6, which the policy does not cover.
pub fn asked(packet: &packets::WitnessPacket, world: &World) -> Option<policy::PolicyPacket> {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (packet.source, packet.destination) else {
        return None;
    };
    let only = |protocol, number| if packet.protocol == protocol { number } else { 0 };
    Some(policy::PolicyPacket {
        direction: match packet.direction {
            PacketDirection::In => policy::PolicyDirection::In,
            PacketDirection::Out => policy::PolicyDirection::Out,
        },
        interface: world.kind(&packet.interface),
        source,
        destination,
        protocol: packet.protocol,
        port: if matches!(packet.protocol, TCP | UDP) { packet.destination_port } else { 0 },
        flags: only(TCP, packet.flags),
        icmp: only(ICMP, packet.icmp_type),
    })
}

/// The reply to a packet that passed; `None` for ICMP other than echo.
pub fn answer(packet: &Packet, there: &Kernel) -> Option<Packet> {
    let hooks = packet.hooks.iter().map(|hook| Hook {
        direction: match hook.direction {
            syntax::Direction::In => syntax::Direction::Out,
            syntax::Direction::Out => syntax::Direction::In,
        },
        interface: hook.interface.clone(),
    });
    let ports = match there.after.detail {
        Detail::Ports(source, destination) => (source, destination),
        Detail::Id(id) => (id, id),
        Detail::None => (0, 0),
    };
    let transport = match packet.transport {
        Transport::Tcp { source: _, destination: _, segment } => {
            // A SYN-ACK to a SYN; an ACK to anything else.
            let flags = if segment.flags & (SYN | ACK) == SYN { SYN | ACK } else { ACK };
            let acknowledgement = segment.sequence.wrapping_add(u32::from(segment.flags & SYN != 0));
            let segment = TcpSegment { flags, sequence: 5000, acknowledgement, length: 0, window: u16::MAX };
            Transport::Tcp { source: ports.1, destination: ports.0, segment }
        }
        Transport::Udp { source: _, destination: _ } => {
            Transport::Udp { source: ports.1, destination: ports.0 }
        }
        Transport::Icmp { kind: ECHO, code, id: _, inner } => {
            Transport::Icmp { kind: ECHO_REPLY, code, id: ports.0, inner }
        }
        Transport::Icmp { kind: _, code: _, id: _, inner: _ } => return None,
        other @ (Transport::Esp { spi: _ } | Transport::Other(_)) => other,
    };
    Some(Packet {
        hooks: hooks.collect(),
        source: there.after.destination,
        destination: there.after.source,
        transport,
        ..packet.clone()
    })
}

/// A packet in one line: `in lo0: tcp 10.0.1.2:40000 -> 10.1.1.2:2379 flags S`.
pub fn describe(packet: &Packet) -> String {
    let hook = packet.hooks.first().map_or_else(String::new, |hook| {
        let direction = match hook.direction {
            syntax::Direction::In => "in",
            syntax::Direction::Out => "out",
        };
        format!("{direction} {}: ", hook.interface)
    });
    let fragment = if packet.fragment { "fragment of " } else { "" };
    let (source, destination) = (packet.source, packet.destination);
    let ends = match packet.transport {
        Transport::Tcp { .. } if packet.fragment => format!("tcp {source} -> {destination}"),
        Transport::Udp { .. } if packet.fragment => format!("udp {source} -> {destination}"),
        Transport::Icmp { .. } if packet.fragment => format!("icmp {source} -> {destination}"),
        Transport::Tcp { source: from, destination: to, segment } => {
            let letters = segment.letters();
            let letters = if letters.is_empty() { "none".to_owned() } else { letters };
            format!("tcp {source}:{from} -> {destination}:{to} flags {letters}")
        }
        Transport::Udp { source: from, destination: to } => {
            format!("udp {source}:{from} -> {destination}:{to}")
        }
        Transport::Icmp { kind, code, .. } => {
            format!("icmp {source} -> {destination} type {kind} code {code}")
        }
        Transport::Esp { spi } => format!("esp {spi:#x} {source} -> {destination}"),
        Transport::Other(protocol) => format!("protocol {protocol} {source} -> {destination}"),
    };
    format!("{hook}{fragment}{ends}")
}
