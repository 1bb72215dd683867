//! One packet as its headers: directions, families, sides and fields.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The direction in which a packet crosses an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PacketDirection {
    /// Into the machine.
    In,
    /// Out of the machine.
    Out,
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PacketFamily {
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
}

/// One of a packet's two addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The source address.
    Source,
    /// The destination address.
    Destination,
}

/// A numeric header field. Where a packet lacks a field, no function depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// The IANA protocol number.
    Protocol,
    /// 1 for a fragment that is evaluated without being reassembled.
    Fragment,
    /// The destination port of TCP and UDP.
    DestinationPort,
    /// The source port of TCP and UDP.
    SourcePort,
    /// The flags of TCP: F S R P A U E W, from the lowest bit.
    Flags,
    /// The type of ICMP.
    IcmpType,
    /// The code of ICMP.
    IcmpCode,
    /// 1 for a packet with IP options.
    Options,
}

/// The number of bits of the widest address.
pub(super) const ADDRESS: u16 = 128;
/// One packet at one of pf's hooks. Fields that its protocol lacks have no meaning.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WitnessPacket {
    /// The direction of the hook.
    pub direction: PacketDirection,
    /// The interface of the hook; a name that is not distinguished is the stranger.
    pub interface: String,
    /// The source address.
    pub source: IpAddr,
    /// The destination address, of the same family.
    pub destination: IpAddr,
    /// The IANA protocol number.
    pub protocol: u8,
    /// The source port, for TCP and UDP.
    pub source_port: u16,
    /// The destination port, for TCP and UDP.
    pub destination_port: u16,
    /// The flags, for TCP.
    pub flags: u8,
    /// The type, for ICMP.
    pub icmp_type: u8,
    /// The code, for ICMP.
    pub icmp_code: u8,
    /// Whether it is a fragment that is evaluated without being reassembled.
    pub fragment: bool,
    /// Whether it has IP options.
    pub options: bool,
}

impl Default for WitnessPacket {
    /// A SYN to port 443 that comes in on the stranger.
    fn default() -> Self {
        Self {
            direction: PacketDirection::In,
            interface: String::new(),
            source: IpAddr::from([198, 51, 100, 7]),
            destination: IpAddr::from([198, 51, 100, 7]),
            protocol: 6,
            source_port: 40_000,
            destination_port: 443,
            flags: 2,
            icmp_type: 8,
            icmp_code: 0,
            fragment: false,
            options: false,
        }
    }
}

impl PacketFamily {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Inet } else { Self::Inet6 }
    }

    /// The number of bits of its addresses.
    pub fn bits(self) -> u16 {
        match self {
            Self::Inet => 32,
            Self::Inet6 => ADDRESS,
        }
    }

    /// Its greatest address, as a number.
    pub fn last(self) -> u128 {
        u128::MAX >> (ADDRESS - self.bits())
    }

    /// The address that a number encodes.
    pub fn address(self, number: u128) -> IpAddr {
        match self {
            Self::Inet => Ipv4Addr::from(u32::try_from(number & self.last()).unwrap_or(u32::MAX)).into(),
            Self::Inet6 => Ipv6Addr::from(number).into(),
        }
    }
}

/// An address as a number.
pub fn number_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}
