//! A packet as a query to the evaluator.
//!
//! It exists so that all later code works on a packet that can exist: one address family, ports if the protocol has
//! them, and at least one hook. Sees: the JSON form. Never: rules or states.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;

use super::address::{Bits, bits_of, family_of};
use crate::pf::names::FLAG_LETTERS;
use crate::pf::syntax::{Direction, Family};

/// Protocol number of ICMP.
pub const ICMP: u8 = 1;
/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;
/// Protocol number of ESP.
pub const ESP: u8 = 50;
/// Protocol number of ICMPv6.
pub const ICMP6: u8 = 58;

/// The FIN bit of TCP flags.
pub const FIN: u8 = 0x01;
/// The SYN bit of TCP flags.
pub const SYN: u8 = 0x02;
/// The RST bit of TCP flags.
pub const RST: u8 = 0x04;
/// The PUSH bit of TCP flags.
pub const PUSH: u8 = 0x08;
/// The ACK bit of TCP flags.
pub const ACK: u8 = 0x10;
/// The URG bit of TCP flags.
pub const URG: u8 = 0x20;

/// A packet, and the hooks at which pf sees it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawPacket")]
pub struct Packet {
    /// The hooks in order, at least one.
    pub hooks: Vec<Hook>,
    /// Whether it was given as a path, so that the answer is one verdict per hook.
    pub is_path: bool,
    /// The source address.
    pub source: IpAddr,
    /// The destination address, of the same family.
    pub destination: IpAddr,
    /// The transport header.
    pub transport: Transport,
    /// The user id of the local socket; `None` if there is no socket.
    pub user: Option<u32>,
    /// The group id of the local socket; `None` if there is no socket.
    pub group: Option<u32>,
    /// The tag that it carries already.
    pub tag: Option<String>,
    /// The type of service.
    pub tos: u8,
    /// Whether it is a fragment, the first one included.
    pub fragment: bool,
    /// Fields of the IP header that no filter rule matches.
    pub ip: Ip,
}

/// Fields of the IP header that only normalization and the handling of options need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ip {
    /// Whether the don't-fragment bit is set.
    pub dont_fragment: bool,
    /// The TTL, if it is known.
    pub ttl: Option<u8>,
    /// Whether it has IP options: then it passes only by a rule with `allow-opts`.
    pub options: bool,
    /// The part of its datagram that a fragment contains. A fragment without it is never reassembled.
    pub part: Option<FragmentPart>,
}

/// The part of a datagram that a fragment contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FragmentPart {
    /// The IP identification.
    pub id: u16,
    /// The fragment offset in bytes.
    pub offset: u16,
    /// The length of the payload in bytes.
    pub length: u16,
    /// Whether the more-fragments bit is set.
    pub more: bool,
    /// The payload; if all fragments have theirs, the reassembled payload is available.
    pub payload: Option<Arc<[u8]>>,
}

/// A point where pf sees a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The direction at the interface.
    pub direction: Direction,
    /// The name of the interface.
    pub interface: String,
}

/// The transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp {
        /// The source port.
        source: u16,
        /// The destination port.
        destination: u16,
        /// Flags, sequence numbers, payload length and window.
        segment: TcpSegment,
    },
    /// UDP.
    Udp {
        /// The source port.
        source: u16,
        /// The destination port.
        destination: u16,
    },
    /// ICMP for IPv4, ICMPv6 for IPv6.
    Icmp {
        /// The ICMP type.
        kind: u8,
        /// The ICMP code.
        code: u8,
        /// The identifier of a query; 0 for other types.
        id: u16,
        /// The packet quoted by an ICMP error.
        inner: Option<Inner>,
    },
    /// ESP, which has an SPI for each direction.
    Esp {
        /// The security parameters index.
        spi: u32,
    },
    /// Another protocol by its number; pf sees only the addresses.
    Other(u8),
}

/// The fields of a TCP segment that state tracking needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSegment {
    /// The flag bits.
    pub flags: u8,
    /// The sequence number.
    pub sequence: u32,
    /// The acknowledgement number.
    pub acknowledgement: u32,
    /// The length of the payload in bytes.
    pub length: u32,
    /// The unscaled window.
    pub window: u16,
}

/// The packet quoted by an ICMP error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    /// The IP protocol number.
    pub protocol: u8,
    /// The source address.
    pub source: IpAddr,
    /// The destination address.
    pub destination: IpAddr,
    /// The source port, or the identifier of an ICMP query.
    pub source_port: u16,
    /// The destination port.
    pub destination_port: u16,
    /// The TCP sequence number; 0 for other protocols.
    pub sequence: u32,
}

impl TcpSegment {
    /// The flag bits for letters such as `SA`.
    ///
    /// # Errors
    /// The first letter that stands for no flag.
    pub fn flags_of(letters: &str) -> Result<u8, PacketError> {
        letters.chars().try_fold(0, |flags, letter| {
            let bit = FLAG_LETTERS.find(letter).ok_or(PacketError::Flag(letter))?;
            Ok(flags | 1 << bit)
        })
    }

    /// The flags as letters, as `pfctl` prints them; empty for none.
    pub fn letters(&self) -> String {
        let set = |(bit, _): &(usize, char)| self.flags >> bit & 1 == 1;
        FLAG_LETTERS.char_indices().filter(set).map(|(_, letter)| letter).collect()
    }
}

impl Packet {
    /// The address family.
    pub fn family(&self) -> Family {
        family_of(self.source)
    }

    /// The IP protocol number.
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

/// Whether ICMP messages of this type quote a packet.
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
    /// Source and destination are of different families.
    Families,
    /// `proto` is neither a known name nor a number.
    Protocol(String),
    /// A port is missing.
    Port(&'static str),
    /// A letter of `flags` stands for no flag.
    Flag(char),
    /// The part of a fragment is incomplete or impossible.
    Part(&'static str),
    /// An `spi` of 0, or with a protocol other than ESP.
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

/// The part of a fragment, as given.
struct RawPart {
    id: Option<u16>,
    offset: Option<u16>,
    length: Option<u16>,
    more: Option<bool>,
}

impl RawPart {
    fn check(self) -> Result<Option<FragmentPart>, PacketError> {
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
        Ok(Some(FragmentPart { id, offset, length, more, payload: None }))
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

/// The SPI of an ESP packet given without one: derived from both addresses in their order, and never 0, which means
/// none.
pub(super) fn index_between(source: IpAddr, destination: IpAddr) -> u32 {
    let fold = |bits: Bits| (0..4).fold(0, |sum: u32, word| sum.rotate_left(5) ^ part(bits, word));
    (fold(bits_of(source)).rotate_left(7) ^ fold(bits_of(destination))).max(1)
}

/// One of the four words of an address.
fn part(bits: Bits, word: u32) -> u32 {
    u32::try_from(bits >> (32 * word) & Bits::from(u32::MAX)).unwrap_or(0)
}

/// Default sequence and acknowledgement number: any values that are close to each other will do.
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
        // Only the first fragment has a transport header.
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
    fn check(self) -> Result<TcpSegment, PacketError> {
        let flags = TcpSegment::flags_of(self.flags.as_deref().unwrap_or("S"))?;
        let acknowledgement = if flags & ACK == 0 { 0 } else { SEQUENCE + 1 };
        Ok(TcpSegment {
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
        assert!(matches!(packet.transport, Transport::Tcp { segment: TcpSegment { flags: SYN, .. }, .. }));
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
