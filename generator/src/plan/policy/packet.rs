//! A packet at one of pf's hooks, and the policy's possible decisions on it.

use std::fmt;
use std::net::Ipv4Addr;

use crate::model::Name;

/// The protocol number of ICMP.
pub const ICMP: u8 = 1;
/// The protocol number of TCP.
pub const TCP: u8 = 6;
/// The protocol number of UDP.
pub const UDP: u8 = 17;
/// The ICMP type of destination unreachable.
pub const UNREACHABLE: u8 = 3;
/// The ICMP types of errors: destination unreachable, source quench, redirect, time exceeded, parameter problem.
pub const ICMP_ERRORS: [u8; 5] = [UNREACHABLE, 4, 5, 11, 12];
/// The ICMP type of echo request.
pub const ECHO: u8 = 8;
/// The TCP flag FIN, as a bit mask.
pub const FIN: u8 = 0x01;
/// The TCP flag SYN, as a bit mask.
pub const SYN: u8 = 0x02;
/// The TCP flag RST, as a bit mask.
pub const RST: u8 = 0x04;
/// The TCP flag PSH, as a bit mask.
pub const PUSH: u8 = 0x08;
/// The TCP flag ACK, as a bit mask.
pub const ACK: u8 = 0x10;
/// The TCP flag URG, as a bit mask.
pub const URG: u8 = 0x20;

/// A packet, reassembled if it was fragmented, at one of pf's hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PolicyPacket {
    /// The direction of the hook.
    pub direction: PolicyDirection,
    /// The interface of the hook.
    pub interface: PolicyInterface,
    /// The source address.
    pub source: Ipv4Addr,
    /// The destination address.
    pub destination: Ipv4Addr,
    /// The protocol number.
    pub protocol: u8,
    /// The destination port, if the protocol has ports.
    pub port: u16,
    /// The TCP flags, if it is a TCP segment.
    pub flags: u8,
    /// The type, if it is an ICMP message.
    pub icmp: u8,
}

/// The direction in which a packet crosses an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PolicyDirection {
    /// Into the Mac.
    In,
    /// Out of the Mac.
    Out,
}

/// The kinds of interface that the policy distinguishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PolicyInterface {
    /// lo0, for traffic of the Mac to itself.
    Loopback,
    /// The bridge of a provider, by its index in the plan's bridges.
    Bridge(usize),
    /// An egress interface, for which NAT is loaded.
    Egress,
    /// An interface of another program that existed when the anchor was loaded. It leads nowhere, and none of our
    /// traffic belongs on it.
    Foreign,
    /// The tunnel to the other Macs.
    Mesh,
    /// An interface that came up after the anchor was loaded.
    New,
}

/// The decision on a packet, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether it passes, and if not, how the sender is notified.
    pub verdict: PolicyVerdict,
    /// The row of the table that decides.
    pub because: Because,
    /// The address translation; `None` if addresses are unchanged.
    pub translation: Option<Translation>,
}

/// What happens to a packet at a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PolicyVerdict {
    /// It passes and creates a state, by which replies pass too.
    Pass,
    /// It passes here without creating a state: it is evaluated again at the next hook, and so are replies.
    Carry,
    /// It is blocked, and the sender gets an answer.
    Refuse(Refusal),
    /// It is blocked without an answer.
    Drop,
    /// It is not traffic of this network: no rule of the anchor may match it.
    Untouched,
}

/// The answer that the sender of a refused packet gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// A RST for TCP, an ICMP error for everything else.
    Usual,
    /// An ICMP error, because macOS creates no RST while checksums are incomplete.
    Icmp,
}

/// The row of the table that decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Because {
    /// The source is in a provider's network, but the packet arrived on an interface that leads to none.
    Forged,
    /// The source is an address of the Mac itself, but the packet arrived on another interface than lo0.
    ForgedHere,
    /// A guest of this provider sent it with a source that is not the provider's.
    ForgedGuest(Name),
    /// The source is in the network of a provider on another Mac, and the destination is not on this one.
    Elsewhere,
    /// The source is in the network of a provider on this Mac, but the packet arrived from another Mac.
    ForgedMesh,
    /// It opens a connection from another Mac itself to a volume of this one.
    OtherMac,
    /// It would go to another Mac, but is not from a volume or this Mac itself to a volume there.
    NotByMesh,
    /// The destination is on another Mac, and the packet would leave by something else than the tunnel.
    MeshOnly,
    /// The destination is in a provider's network, but the packet would leave the Mac by an egress interface.
    Leak,
    /// It is between a provider's network and 127.0.0.0/8.
    Loopback,
    /// Source and destination are both in this provider.
    Within(Name),
    /// These links cover it, by index in the user's list.
    Links(Vec<usize>),
    /// It notifies a sender that a packet was refused.
    Refusal,
    /// No link covers it.
    NoLink,
    /// This provider may open connections to the outside.
    Internet(Name),
    /// This provider may not open connections to the outside.
    NoInternet(Name),
    /// It is between the Mac itself and a volume.
    ThisMac,
    /// It comes from outside without having been requested.
    Outside,
    /// Its TCP flags are invalid, and pf drops such segments where it reassembles fragments.
    Malformed,
    /// Neither address is in a provider's network.
    NotOurs,
}

/// The translation of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Translation {
    /// The source becomes the address of the interface by which the packet leaves.
    EgressSource,
    /// The source becomes this gateway, that of the receiving provider.
    GatewaySource(Ipv4Addr),
    /// The destination becomes this address, that of the volume which publishes the port.
    Published(Ipv4Addr),
}

/// How pf reassembles the fragments of a packet before it evaluates any rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reassembly {
    /// Whether the don't-fragment bit is cleared, so that a refusal can be answered.
    pub clears_df: bool,
}

impl PolicyPacket {
    /// Whether it can open a connection: a TCP segment with SYN and without ACK, or any packet that is not TCP.
    pub fn opens(&self) -> bool {
        self.protocol != TCP || self.flags & (SYN | ACK) == SYN
    }

    /// Whether it is a TCP segment with RST.
    pub fn resets(&self) -> bool {
        self.protocol == TCP && self.flags & RST != 0
    }

    /// Whether it is a TCP segment with invalid flags, which pf drops wherever it reassembles fragments.
    pub fn is_malformed(&self) -> bool {
        let has = |flags: u8| self.flags & flags != 0;
        let says_nothing = !has(SYN | RST | ACK);
        let is_both = has(SYN) && has(RST);
        let needs_ack = if has(SYN) { PUSH | URG } else { FIN | PUSH | URG };
        self.protocol == TCP && (says_nothing || is_both || !has(ACK) && has(needs_ack))
    }

    /// Whether it is an ICMP error, which creates no state.
    pub fn is_icmp_error(&self) -> bool {
        self.protocol == ICMP && ICMP_ERRORS.contains(&self.icmp)
    }

    /// Whether it is an ICMP destination unreachable.
    pub fn is_unreachable(&self) -> bool {
        self.protocol == ICMP && self.icmp == UNREACHABLE
    }
}

impl PolicyVerdict {
    /// Whether a rule of ours passes the packet here.
    pub fn passes(self) -> bool {
        match self {
            Self::Pass | Self::Carry => true,
            Self::Refuse(_) | Self::Drop | Self::Untouched => false,
        }
    }

    /// Whether the packet is refused or dropped.
    pub fn blocks(self) -> bool {
        match self {
            Self::Refuse(_) | Self::Drop => true,
            Self::Pass | Self::Carry | Self::Untouched => false,
        }
    }
}

impl fmt::Display for PolicyVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "passed",
            Self::Carry => "passed without a state",
            Self::Refuse(Refusal::Usual) => "refused with an answer",
            Self::Refuse(Refusal::Icmp) => "refused with an ICMP error",
            Self::Drop => "dropped silently",
            Self::Untouched => "left alone",
        })
    }
}

impl fmt::Display for Decision {
    /// In words: `passed, as 10.1.1.1: links.0 covers it`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.verdict.fmt(f)?;
        if let Some(translation) = self.translation {
            write!(f, ", {translation}")?;
        }
        write!(f, ": {}", self.because)
    }
}

impl fmt::Display for Translation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EgressSource => f.write_str("from the address of the interface that it leaves by"),
            Self::GatewaySource(gateway) => write!(f, "from {gateway}"),
            Self::Published(address) => write!(f, "to {address}"),
        }
    }
}

impl fmt::Display for Because {
    /// The deciding row of the table, in words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forged => f.write_str("its source is forged: no volume is reached by this interface"),
            Self::ForgedHere => f.write_str("its source is forged: this Mac has that address itself"),
            Self::ForgedGuest(provider) => {
                write!(
                    f,
                    "its source is forged: a guest of `{provider}` may send from addresses of `{provider}` only"
                )
            }
            Self::Elsewhere => f.write_str("it is from a volume on another Mac, and not for one on this Mac"),
            Self::ForgedMesh => f.write_str("its source is forged: that volume is on this Mac"),
            Self::OtherMac => f.write_str("the other Macs themselves reach every volume"),
            Self::NotByMesh => f.write_str(
                "only traffic for volumes on other Macs goes to them, from volumes and the Mac itself",
            ),
            Self::MeshOnly => {
                f.write_str("that volume is on another Mac, which is reached by the tunnel only")
            }
            Self::Leak => f.write_str("traffic for a volume does not leave this Mac"),
            Self::Loopback => f.write_str("volumes and localhost reach each other"),
            Self::Within(provider) => write!(f, "it stays inside `{provider}`"),
            Self::Links(links) => {
                for (index, link) in links.iter().enumerate() {
                    write!(f, "{}links.{link}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str(if links.len() == 1 { " covers it" } else { " cover it" })
            }
            Self::Refusal => f.write_str("it reports to a sender that a packet was refused"),
            Self::NoLink => f.write_str("no link covers it"),
            Self::Internet(provider) => write!(f, "`{provider}` may open connections to the outside"),
            Self::NoInternet(provider) => write!(f, "`{provider}` has no internet"),
            Self::ThisMac => f.write_str("the Mac itself reaches every volume"),
            Self::Outside => f.write_str("nothing outside may open connections to a volume"),
            Self::Malformed => f.write_str("its TCP flags are invalid"),
            Self::NotOurs => f.write_str("no volume is involved"),
        }
    }
}
