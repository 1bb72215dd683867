//! A packet as a question.
//!
//! It exists so that everything after it works on a packet that can exist: one family, ports where the protocol has
//! them, and at least one hook at which pf sees it. Sees: JSON's shape. Never: rules or states.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;

use super::address::{Bits, bits_of, family_of};
use crate::pf::names::FLAG_LETTERS;
use crate::pf::syntax::{Direction, Family};

/// ICMP's protocol number.
pub const ICMP: u8 = 1;
/// TCP's protocol number.
pub const TCP: u8 = 6;
/// UDP's protocol number.
pub const UDP: u8 = 17;
/// ESP's protocol number.
pub const ESP: u8 = 50;
/// ICMP's protocol number in IPv6.
pub const ICMP6: u8 = 58;

/// FIN of a TCP header.
pub const FIN: u8 = 0x01;
/// SYN of a TCP header.
pub const SYN: u8 = 0x02;
/// RST of a TCP header.
pub const RST: u8 = 0x04;
/// PUSH of a TCP header.
pub const PUSH: u8 = 0x08;
/// ACK of a TCP header.
pub const ACK: u8 = 0x10;
/// URG of a TCP header.
pub const URG: u8 = 0x20;

/// A packet and the places where pf sees it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawPacket")]
pub struct Packet {
    /// Where pf sees it, in order: one place or more.
    pub hooks: Vec<Hook>,
    /// It was asked about as a path, and is answered as one.
    pub is_path: bool,
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes to; of the same family.
    pub destination: IpAddr,
    /// What follows the IP header.
    pub transport: Transport,
    /// The owner of the local socket.
    pub user: Option<u32>,
    /// The group of that owner.
    pub group: Option<u32>,
    /// The tag that it already carries.
    pub tag: Option<String>,
    /// The type of service.
    pub tos: u8,
    /// It is a fragment other than the first, or the first of several.
    pub fragment: bool,
    /// What of its IP header only normalization looks at.
    pub ip: Ip,
}

/// What of an IP header no rule looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ip {
    /// It must not be cut.
    pub dont_fragment: bool,
    /// How many routers it may still pass, where that is known.
    pub ttl: Option<u8>,
    /// It has IP options: it passes only where a rule with `allow-opts` passes it.
    pub options: bool,
    /// Which part of a datagram a fragment is. A fragment without it never becomes whole.
    pub part: Option<Part>,
}

/// Which part of a datagram a fragment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The number of the datagram.
    pub id: u16,
    /// Where it begins behind the IP header, in bytes.
    pub offset: u16,
    /// How long it is, in bytes.
    pub length: u16,
    /// More follow.
    pub more: bool,
    /// Its bytes, for whoever wants those of the datagram.
    pub payload: Option<Arc<[u8]>>,
}

/// One place where pf sees a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Which way it goes there.
    pub direction: Direction,
    /// The interface.
    pub interface: String,
}

/// What follows the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp {
        /// Where from.
        source: u16,
        /// Where to.
        destination: u16,
        /// The rest of the header.
        segment: Segment,
    },
    /// UDP.
    Udp {
        /// Where from.
        source: u16,
        /// Where to.
        destination: u16,
    },
    /// ICMP in the family that it belongs to.
    Icmp {
        /// The type.
        kind: u8,
        /// The code.
        code: u8,
        /// The identifier of a query; 0 where there is none.
        id: u16,
        /// What an error is about.
        inner: Option<Inner>,
    },
    /// ESP, whose two directions are distinguished by an index each.
    Esp {
        /// The security parameters' index.
        spi: u32,
    },
    /// Any other protocol, of which pf sees addresses only.
    Other(u8),
}

/// What the state table looks at in a TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The flags.
    pub flags: u8,
    /// The sequence number.
    pub sequence: u32,
    /// The acknowledgement number.
    pub acknowledgement: u32,
    /// The bytes of data.
    pub length: u32,
    /// The window.
    pub window: u16,
}

/// The packet that an ICMP error quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    /// Its protocol.
    pub protocol: u8,
    /// Where it came from.
    pub source: IpAddr,
    /// Where it went.
    pub destination: IpAddr,
    /// Its source port, or the identifier of an ICMP query.
    pub source_port: u16,
    /// Its destination port.
    pub destination_port: u16,
    /// The sequence number of a TCP segment.
    pub sequence: u32,
}

impl Segment {
    /// The flags that letters stand for.
    ///
    /// # Errors
    /// A letter that is not a flag.
    pub fn flags_of(letters: &str) -> Result<u8, PacketError> {
        letters.chars().try_fold(0, |flags, letter| {
            let bit = FLAG_LETTERS.find(letter).ok_or(PacketError::Flag(letter))?;
            Ok(flags | 1 << bit)
        })
    }

    /// Its flags as letters, as `pfctl` writes them; empty without any.
    pub fn letters(&self) -> String {
        let set = |(bit, _): &(usize, char)| self.flags >> bit & 1 == 1;
        FLAG_LETTERS.char_indices().filter(set).map(|(_, letter)| letter).collect()
    }
}

impl Packet {
    /// The family of its addresses.
    pub fn family(&self) -> Family {
        family_of(self.source)
    }

    /// Its protocol number.
    pub fn protocol(&self) -> u8 {
        match (self.transport, self.family()) {
            (Transport::Tcp { .. }, _) => TCP,
            (Transport::Udp { .. }, _) => UDP,
            (Transport::Icmp { .. }, Family::Inet) => ICMP,
            (Transport::Icmp { .. }, Family::Inet6) => ICMP6,
            (Transport::Esp { .. }, _) => ESP,
            (Transport::Other(protocol), _) => protocol,
        }
    }
}

/// Whether an ICMP message of this type quotes another packet.
pub(super) fn is_icmp_error(family: Family, kind: u8) -> bool {
    match family {
        // Unreachable, source quench, redirect, time exceeded, parameter problem.
        Family::Inet => matches!(kind, 3 | 4 | 5 | 11 | 12),
        Family::Inet6 => kind < 128,
    }
}

/// Why a packet cannot exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PacketError {
    /// Neither `dir` and `if` nor a `path`, or both.
    Place,
    /// The addresses are of two families.
    Families,
    /// `proto` is neither a name that is known nor a number.
    Protocol(String),
    /// A port is missing.
    Port(&'static str),
    /// A letter of `flags` is not a flag.
    Flag(char),
    /// A fragment whose place in its datagram is told by halves, or cannot be.
    Part(&'static str),
    /// `spi` where there is none.
    Spi,
}

impl fmt::Display for PacketError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place => {
                write!(out, "a packet needs either `dir` and `if` or a `path` of one hook or more")
            }
            Self::Families => write!(out, "`src` and `dst` must be of one family"),
            Self::Protocol(name) => {
                write!(out, "unknown `proto` `{name}`; hint: tcp, udp, icmp, icmp6, esp, gre or a number")
            }
            Self::Spi => write!(out, "`spi` is a number of esp, from 1"),
            Self::Port(field) => write!(out, "tcp and udp need `{field}`"),
            Self::Flag(letter) => {
                write!(out, "unknown flag `{letter}`; hint: the letters are {FLAG_LETTERS}")
            }
            Self::Part(why) => write!(out, "{why}"),
        }
    }
}

impl std::error::Error for PacketError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPacket {
    dir: Option<RawDirection>,
    #[serde(rename = "if")]
    interface: Option<String>,
    path: Option<Vec<(RawDirection, String)>>,
    proto: RawProtocol,
    src: IpAddr,
    dst: IpAddr,
    sport: Option<u16>,
    dport: Option<u16>,
    flags: Option<String>,
    seq: Option<u32>,
    ack: Option<u32>,
    len: Option<u32>,
    win: Option<u16>,
    icmp_type: Option<u8>,
    icmp_code: Option<u8>,
    icmp_id: Option<u16>,
    spi: Option<u32>,
    inner: Option<RawInner>,
    uid: Option<u32>,
    gid: Option<u32>,
    tag: Option<String>,
    #[serde(default)]
    tos: u8,
    #[serde(default, alias = "frag")]
    fragment: bool,
    frag_id: Option<u16>,
    frag_offset: Option<u16>,
    frag_len: Option<u16>,
    frag_more: Option<bool>,
    #[serde(default)]
    df: bool,
    ttl: Option<u8>,
    #[serde(default)]
    options: bool,
}

/// The place of a fragment in its datagram, as it is told.
struct RawPart {
    id: Option<u16>,
    offset: Option<u16>,
    length: Option<u16>,
    more: Option<bool>,
}

impl RawPart {
    fn check(self) -> Result<Option<Part>, PacketError> {
        let Self { id, offset, length, more } = self;
        if id.is_none() && offset.is_none() && length.is_none() && more.is_none() {
            return Ok(None);
        }
        let length = length.ok_or(PacketError::Part("a part of a datagram needs `frag_len`"))?;
        let (id, offset, more) = (id.unwrap_or(0), offset.unwrap_or(0), more.unwrap_or(false));
        if offset % 8 != 0 {
            return Err(PacketError::Part("`frag_offset` must be a multiple of 8"));
        }
        if offset.checked_add(length).is_none() {
            return Err(PacketError::Part("`frag_offset` and `frag_len` go beyond 65535 bytes"));
        }
        if offset == 0 && !more {
            return Err(PacketError::Part(
                "a datagram of one part is not a fragment: `frag_more` or `frag_offset`",
            ));
        }
        Ok(Some(Part { id, offset, length, more, payload: None }))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawInner {
    proto: RawProtocol,
    src: IpAddr,
    dst: IpAddr,
    #[serde(default)]
    sport: u16,
    #[serde(default)]
    dport: u16,
    #[serde(default)]
    icmp_id: u16,
    seq: Option<u32>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawDirection {
    In,
    Out,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawProtocol {
    Number(u8),
    Name(String),
}

/// The index of an ESP packet that does not say: one for each pair of ends and direction, and never 0, which is none.
pub(super) fn index_between(source: IpAddr, destination: IpAddr) -> u32 {
    let fold = |bits: Bits| (0..4).fold(0, |sum: u32, word| sum.rotate_left(5) ^ part(bits, word));
    (fold(bits_of(source)).rotate_left(7) ^ fold(bits_of(destination))).max(1)
}

/// One of the four words of an address.
fn part(bits: Bits, word: u32) -> u32 {
    u32::try_from(bits >> (32 * word) & Bits::from(u32::MAX)).unwrap_or(0)
}

/// Sequence numbers that a packet has when it does not say: any will do that are near each other.
const SEQUENCE: u32 = 1000;

impl RawProtocol {
    fn number(self) -> Result<u8, PacketError> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Name(name) => Ok(match name.as_str() {
                "icmp" => ICMP,
                "tcp" => TCP,
                "udp" => UDP,
                "gre" => 47,
                "esp" => ESP,
                "ah" => 51,
                "icmp6" | "ipv6-icmp" => ICMP6,
                other => other.parse().map_err(|_| PacketError::Protocol(name))?,
            }),
        }
    }
}

impl From<RawDirection> for Direction {
    fn from(raw: RawDirection) -> Self {
        match raw {
            RawDirection::In => Self::In,
            RawDirection::Out => Self::Out,
        }
    }
}

impl TryFrom<RawPacket> for Packet {
    type Error = PacketError;

    fn try_from(raw: RawPacket) -> Result<Self, PacketError> {
        let is_path = raw.path.is_some();
        let hooks = match (raw.dir, raw.interface, raw.path) {
            (Some(direction), Some(interface), None) => vec![(direction, interface)],
            (None, None, Some(path)) if !path.is_empty() => path,
            _ => return Err(PacketError::Place),
        };
        let hooks = hooks
            .into_iter()
            .map(|(direction, interface)| Hook { direction: direction.into(), interface })
            .collect();
        let family = family_of(raw.src);
        if family != family_of(raw.dst) {
            return Err(PacketError::Families);
        }
        let part =
            RawPart { id: raw.frag_id, offset: raw.frag_offset, length: raw.frag_len, more: raw.frag_more };
        let part = part.check()?;
        // Only the first part has a header behind that of IP.
        let is_headless = part.as_ref().is_some_and(|part| part.offset > 0);
        let or_none =
            |port: Option<u16>, name| port.or(is_headless.then_some(0)).ok_or(PacketError::Port(name));
        let (source, destination) = (or_none(raw.sport, "sport"), or_none(raw.dport, "dport"));
        let segment = RawSegment { flags: raw.flags, seq: raw.seq, ack: raw.ack, len: raw.len, win: raw.win };
        let protocol = raw.proto.number()?;
        if raw.spi.is_some_and(|spi| spi == 0 || protocol != ESP) {
            return Err(PacketError::Spi);
        }
        let transport = match (protocol, family) {
            (TCP, _) => {
                Transport::Tcp { source: source?, destination: destination?, segment: segment.check()? }
            }
            (UDP, _) => Transport::Udp { source: source?, destination: destination? },
            (ICMP, Family::Inet) | (ICMP6, Family::Inet6) => {
                let kind = raw.icmp_type.unwrap_or(if family == Family::Inet { 8 } else { 128 });
                let id = u16::from(!is_icmp_error(family, kind));
                Transport::Icmp {
                    kind,
                    code: raw.icmp_code.unwrap_or(0),
                    id: raw.icmp_id.unwrap_or(id),
                    inner: raw.inner.map(RawInner::check).transpose()?,
                }
            }
            (ESP, _) => Transport::Esp { spi: raw.spi.unwrap_or_else(|| index_between(raw.src, raw.dst)) },
            (other, _) => Transport::Other(other),
        };
        Ok(Self {
            hooks,
            is_path,
            source: raw.src,
            destination: raw.dst,
            transport,
            user: raw.uid,
            group: raw.gid,
            tag: raw.tag,
            tos: raw.tos,
            fragment: raw.fragment || part.is_some(),
            ip: Ip { dont_fragment: raw.df, ttl: raw.ttl, options: raw.options, part },
        })
    }
}

struct RawSegment {
    flags: Option<String>,
    seq: Option<u32>,
    ack: Option<u32>,
    len: Option<u32>,
    win: Option<u16>,
}

impl RawSegment {
    fn check(self) -> Result<Segment, PacketError> {
        let flags = Segment::flags_of(self.flags.as_deref().unwrap_or("S"))?;
        let acknowledgement = if flags & ACK == 0 { 0 } else { SEQUENCE + 1 };
        Ok(Segment {
            flags,
            sequence: self.seq.unwrap_or(SEQUENCE),
            acknowledgement: self.ack.unwrap_or(acknowledgement),
            length: self.len.unwrap_or(0),
            window: self.win.unwrap_or(u16::MAX),
        })
    }
}

impl RawInner {
    fn check(self) -> Result<Inner, PacketError> {
        if family_of(self.src) != family_of(self.dst) {
            return Err(PacketError::Families);
        }
        let protocol = self.proto.number()?;
        let is_icmp = matches!(protocol, ICMP | ICMP6);
        Ok(Inner {
            protocol,
            source: self.src,
            destination: self.dst,
            source_port: if is_icmp { self.icmp_id } else { self.sport },
            destination_port: self.dport,
            sequence: self.seq.unwrap_or(SEQUENCE),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Packet, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults() {
        let packet = read(
            r#"{"dir":"in","if":"en0","proto":"tcp","src":"10.0.0.1","dst":"10.0.0.2","sport":1,"dport":2}"#,
        )
        .expect("a packet");
        assert!(matches!(packet.transport, Transport::Tcp { segment: Segment { flags: SYN, .. }, .. }));
        let ping = read(r#"{"dir":"out","if":"en0","proto":"icmp","src":"10.0.0.1","dst":"10.0.0.2"}"#);
        assert!(matches!(ping.expect("a packet").transport, Transport::Icmp { kind: 8, code: 0, id: 1, .. }));
    }

    #[test]
    fn what_cannot_exist_is_refused() {
        for (text, error) in [
            (r#"{"dir":"in","proto":"icmp","src":"10.0.0.1","dst":"10.0.0.2"}"#, "either `dir` and `if`"),
            (r#"{"path":[],"proto":"icmp","src":"10.0.0.1","dst":"10.0.0.2"}"#, "either `dir` and `if`"),
            (r#"{"dir":"in","if":"x","proto":"icmp","src":"10.0.0.1","dst":"::1"}"#, "of one family"),
            (r#"{"dir":"in","if":"x","proto":"udp","src":"1.1.1.1","dst":"1.1.1.2"}"#, "`sport`"),
            (r#"{"dir":"in","if":"x","proto":"xyz","src":"1.1.1.1","dst":"1.1.1.2"}"#, "`xyz`"),
            (r#"{"dir":"in","if":"x","proto":"icmp","src":"1.1.1.1","dst":"1.1.1.2","tpyo":1}"#, "tpyo"),
            (r#"{"dir":"in","if":"x","proto":"gre","src":"1.1.1.1","dst":"1.1.1.2","spi":1}"#, "`spi`"),
            (r#"{"dir":"in","if":"x","proto":"esp","src":"1.1.1.1","dst":"1.1.1.2","spi":0}"#, "`spi`"),
            (
                r#"{"dir":"in","if":"x","proto":6,"src":"1.1.1.1","dst":"1.1.1.2","sport":1,"dport":1,"flags":"X"}"#,
                "flag `X`",
            ),
        ] {
            let message = read(text).expect_err(text);
            assert!(message.contains(error), "{message}");
        }
    }
}
