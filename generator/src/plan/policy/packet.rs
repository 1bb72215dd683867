//! A packet at a hook, and the policy's possible decisions about it.

use std::fmt;
use std::net::Ipv4Addr;

use crate::model::Name;

/// IANA's number of ICMP.
pub const ICMP: u8 = 1;
/// IANA's number of TCP.
pub const TCP: u8 = 6;
/// IANA's number of UDP.
pub const UDP: u8 = 17;
/// The type of ICMP's destination unreachable.
pub const UNREACHABLE: u8 = 3;
/// The types of ICMP's errors: destination unreachable, source quench, redirect, time exceeded, parameter problem.
pub const ICMP_ERRORS: [u8; 5] = [UNREACHABLE, 4, 5, 11, 12];
/// The type of ICMP's echo request.
pub const ECHO: u8 = 8;
/// TCP's flags.
pub const FIN: u8 = 0x01;
/// See [`FIN`].
pub const SYN: u8 = 0x02;
/// See [`FIN`].
pub const RST: u8 = 0x04;
/// See [`FIN`].
pub const PUSH: u8 = 0x08;
/// See [`FIN`].
pub const ACK: u8 = 0x10;
/// See [`FIN`].
pub const URG: u8 = 0x20;

/// A whole packet at one of pf's hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Packet {
    /// Whether it comes in or goes out there.
    pub direction: Direction,
    /// Over what.
    pub interface: Interface,
    /// Its source.
    pub source: Ipv4Addr,
    /// Its destination.
    pub destination: Ipv4Addr,
    /// Its protocol, by IANA's number.
    pub protocol: u8,
    /// Its destination port, where the protocol has ports.
    pub port: u16,
    /// The flags of a TCP segment.
    pub flags: u8,
    /// The type of an ICMP message.
    pub icmp: u8,
}

/// The direction in which a packet crosses an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Into the Mac.
    In,
    /// Out of it.
    Out,
}

/// The kinds of interface that the policy distinguishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Interface {
    /// lo0: the Mac talks to itself.
    Loopback,
    /// The bridge of a provider, by its index in the plan's bridges.
    Bridge(usize),
    /// One that leads outside, and that NAT is loaded for.
    Egress,
    /// One of another program that was there at load: it leads nowhere, and nothing of ours belongs on it.
    Foreign,
    /// One that came up since the anchor was loaded.
    New,
}

/// What happens to a packet, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether it passes.
    pub verdict: Verdict,
    /// The row of the table that says so.
    pub because: Because,
    /// The outcome of its addresses.
    pub translation: Option<Translation>,
}

/// Whether a packet passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It passes, and so do the answers, by state.
    Pass,
    /// It passes here, and makes no state: it is evaluated again where it is seen next, and so are answers.
    Carry,
    /// It does not pass, and the sender is told.
    Refuse(Answer),
    /// It does not, silently.
    Drop,
    /// It is not one of this network's: no rule of the anchor may match it.
    Untouched,
}

/// How the sender of a refused packet is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// TCP gets a RST, the rest an ICMP error.
    Usual,
    /// An ICMP error: where checksums are unfinished, macOS makes no RST.
    Icmp,
}

/// The row that decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Because {
    /// Its source is a volume's network, and it arrives over what leads to none.
    Forged,
    /// Its source is the Mac's own, and it arrives over a wire.
    ForgedHere,
    /// A guest of this provider speaks as another host.
    ForgedGuest(Name),
    /// It is meant for a volume, and would leave the Mac by an egress interface.
    Leak,
    /// Between a volume's network and 127.0.0.0/8.
    Loopback,
    /// Inside one provider.
    Within(Name),
    /// These links of the user's list cover it, by index.
    Links(Vec<usize>),
    /// It tells a sender that a packet was refused.
    Refusal,
    /// No link covers it.
    NoLink,
    /// The provider may open connections to the outside.
    Internet(Name),
    /// The provider does not.
    NoInternet(Name),
    /// The Mac itself talks to a volume.
    ThisMac,
    /// It comes from outside, and no one asked for it.
    Outside,
    /// Its TCP flags make no sense, and pf drops it where it puts fragments together.
    Malformed,
    /// It has nothing to do with any volume.
    NotOurs,
}

/// A changed address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Translation {
    /// The source becomes the address of the interface that the packet leaves by.
    EgressSource,
    /// The source becomes the gateway of the receiving provider.
    GatewaySource(Ipv4Addr),
    /// The destination becomes the volume's address.
    Published(Ipv4Addr),
}

/// How fragments of a datagram are put together before anything else looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reassembly {
    /// Whether its don't-fragment bit is cleared, so that a refusal can be answered.
    pub clears_df: bool,
}

impl Packet {
    /// Whether it opens something: a TCP segment that is a SYN and no ACK, or anything that is not TCP.
    pub fn opens(&self) -> bool {
        self.protocol != TCP || self.flags & (SYN | ACK) == SYN
    }

    /// Whether it is a TCP segment with a RST, which opens nothing.
    pub fn resets(&self) -> bool {
        self.protocol == TCP && self.flags & RST != 0
    }

    /// Whether it is a TCP segment with flags that make no sense: pf drops these wherever it puts fragments together.
    pub fn is_malformed(&self) -> bool {
        let has = |flags: u8| self.flags & flags != 0;
        let says_nothing = !has(SYN | RST | ACK);
        let is_both = has(SYN) && has(RST);
        let needs_ack = if has(SYN) { PUSH | URG } else { FIN | PUSH | URG };
        self.protocol == TCP && (says_nothing || is_both || !has(ACK) && has(needs_ack))
    }

    /// Whether it is an ICMP error, which opens nothing: it makes no state.
    pub fn is_icmp_error(&self) -> bool {
        self.protocol == ICMP && ICMP_ERRORS.contains(&self.icmp)
    }

    /// Whether it is ICMP's destination unreachable.
    pub fn is_unreachable(&self) -> bool {
        self.protocol == ICMP && self.icmp == UNREACHABLE
    }
}

impl Verdict {
    /// Whether the packet gets through here, by us.
    pub fn passes(self) -> bool {
        matches!(self, Self::Pass | Self::Carry)
    }

    /// Whether it is blocked.
    pub fn blocks(self) -> bool {
        matches!(self, Self::Refuse(_) | Self::Drop)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "passed",
            Self::Carry => "passed without a state",
            Self::Refuse(Answer::Usual) => "refused with an answer",
            Self::Refuse(Answer::Icmp) => "refused with an ICMP error",
            Self::Drop => "dropped silently",
            Self::Untouched => "left alone",
        })
    }
}

impl fmt::Display for Decision {
    /// `passed, as 10.1.1.1: links.0 covers it`.
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
    /// The row of the table that decides, in words.
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
