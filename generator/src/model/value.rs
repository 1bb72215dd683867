//! Values that are valid by construction: names, paths, anchors, MAC addresses, endpoints, keys, ports.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::place::is_hostile;
use crate::problem::{AnchorReason, MacReason, PathReason};

/// A name: lower-case letters, digits and `-`, not starting with `-`. It needs no quoting in pf, sh, XML or a hosts
/// file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The maximum length of a provider's or volume's name, in characters.
    pub const LONGEST: usize = 24;
    /// Keywords of questions and expectations, which cannot be names of providers or volumes.
    pub const RESERVED: [&str; 5] = ["any", "internet", "lan", "localhost", "mac"];
    /// The maximum length of a bridge's logical name: a provider's name after `bridge-`.
    pub const LONGEST_LOGICAL: usize = 31;

    /// A name of at most `longest` characters; `None` if the text is not one.
    pub fn new(text: &str, longest: usize) -> Option<Self> {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let valid =
            !text.is_empty() && text.len() <= longest && text.bytes().all(allowed) && !text.starts_with('-');
        valid.then(|| Self(text.to_owned()))
    }

    /// The logical name of an object that belongs to this name: `bridge-aws`, `veth-etcd-1`.
    #[must_use]
    pub fn behind(&self, prefix: &str) -> Self {
        Self(format!("{prefix}-{}", self.0))
    }

    /// The text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Where the WireGuard of a Mac is reached: a host name, an IPv4 address or an IPv6 address, and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TunnelEndpoint {
    host: String,
    /// The UDP port.
    pub port: u16,
}

impl TunnelEndpoint {
    /// The maximum length of a host name, in characters.
    const LONGEST: usize = 253;

    /// Parses `HOST:PORT`; an IPv6 address is in brackets.
    pub fn new(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let is_number = !port.is_empty() && port.bytes().all(|it| it.is_ascii_digit());
        let port = port.parse().ok().filter(|port| is_number && *port > 0)?;
        let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let is_host = match inner {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => host.parse::<Ipv4Addr>().is_ok() || is_host_name(host),
        };
        is_host.then(|| Self { host: host.to_ascii_lowercase(), port })
    }

    /// Its address, if it is an IPv4 address and not a name.
    pub fn ipv4(&self) -> Option<Ipv4Addr> {
        self.host.parse().ok()
    }
}

/// Whether a text is a host name whose last part is not a number, so that it is not a mistyped address.
fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_inner = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(is_inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= TunnelEndpoint::LONGEST
        && text.split('.').all(is_label)
        && !last.bytes().all(|it| it.is_ascii_digit())
}

impl fmt::Display for TunnelEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// A WireGuard public key: 32 bytes in base64.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey(String);

impl PublicKey {
    /// The length of a key in bytes.
    const BYTES: usize = 32;

    /// A key; `None` if the text is not one.
    pub fn new(text: &str) -> Option<Self> {
        let bytes = BASE64.decode(text).ok()?;
        // WireGuard uses the key of zeros for "no key".
        let is_key = bytes.len() == Self::BYTES && bytes.iter().any(|byte| *byte != 0);
        is_key.then(|| Self(text.to_owned()))
    }

    /// The text of the key.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key in hexadecimal, as WireGuard's own interface writes it.
    pub fn hexadecimal(&self) -> String {
        let bytes = BASE64.decode(&self.0).unwrap_or_default();
        let mut text = String::with_capacity(2 * bytes.len());
        for byte in bytes {
            let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default();
            text.extend([digit(byte >> 4), digit(byte & 0xf)]);
        }
        text
    }
}

/// A normalized absolute path without control characters, so that it fits on one line of any file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AbsolutePath(String);

impl AbsolutePath {
    /// macOS's `PATH_MAX` without the final NUL.
    const LONGEST: usize = 1023;

    /// Checks a path: absolute, normalized, not the root. The error is the first reason against it.
    pub fn new(text: &str) -> Result<Self, PathReason> {
        if let Some(found) = text.chars().find(|c| is_hostile(*c)) {
            return Err(PathReason::HostileCharacter(found));
        }
        if text.len() > Self::LONGEST {
            return Err(PathReason::TooLong);
        }
        let Some(parts) = text.strip_prefix('/') else {
            return Err(PathReason::Relative);
        };
        if parts.is_empty() {
            return Err(PathReason::Root);
        }
        if parts.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(PathReason::NotNormal);
        }
        Ok(Self(text.to_owned()))
    }

    /// Checks a path that must also fit a field of newsyslog.conf, which has neither quotes nor escapes.
    pub fn for_log(text: &str) -> Result<Self, PathReason> {
        let path = Self::new(text)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "._/@%+,:=~-".contains(c);
        match text.chars().find(|c| !plain(*c)) {
            Some(found) => Err(PathReason::LogLine(found)),
            None => Ok(path),
        }
    }

    /// The text of the path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AbsolutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The MAC address of one interface: six bytes in lower-case hexadecimal, separated by colons.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MacAddress(String);

impl MacAddress {
    /// Parses an address such as `52:54:00:12:34:56`. Fails for group addresses and for all zeros.
    pub fn new(text: &str) -> Result<Self, MacReason> {
        let parts: Vec<&str> = text.split(':').collect();
        let byte = |part: &&str| {
            let is_hex = part.len() == 2 && part.bytes().all(|c| c.is_ascii_hexdigit());
            is_hex.then(|| u8::from_str_radix(part, 16).ok()).flatten()
        };
        let bytes: Option<Vec<u8>> = parts.iter().map(byte).collect();
        let bytes = bytes.filter(|bytes| bytes.len() == 6).ok_or(MacReason::Form)?;
        if bytes[0] & 1 == 1 {
            return Err(MacReason::Group);
        }
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(MacReason::Nobody);
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    /// The text of the address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a Linux interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceName(String);

impl InterfaceName {
    /// `IFNAMSIZ` without the final NUL.
    const LONGEST: usize = 15;

    /// A name such as `enp0s1`, without wildcards and without characters that are special in any file; `None`
    /// otherwise.
    pub fn new(text: &str) -> Option<Self> {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
        let is_begun = text.bytes().next().is_some_and(|first| first.is_ascii_alphabetic());
        let valid = is_begun && text.len() <= Self::LONGEST && text.bytes().all(allowed);
        valid.then(|| Self(text.to_owned()))
    }

    /// The text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An anchor that macOS's main ruleset calls: a direct child of `com.apple` that is not one of Apple's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnchorPath(String);

impl AnchorPath {
    /// Prefixes of Apple's own anchors: the kernel treats these specially, fast paths included (xnu bsd/net/pf.c).
    const APPLES: &[&str] = &["200.AirDrop", "250.ApplicationFirewall", "internet-sharing"];
    /// `PF_ANCHOR_NAME_SIZE` without the final NUL.
    const LONGEST: usize = 63;

    /// Checks a path of the form `com.apple/NAME`. The error is the first reason against it.
    pub fn new(text: &str) -> Result<Self, AnchorReason> {
        let child = text.strip_prefix("com.apple/").ok_or(AnchorReason::NotAChild)?;
        let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
        if child.contains('/') || child.is_empty() {
            return Err(AnchorReason::NotAChild);
        }
        if !child.bytes().all(allowed) || child.starts_with('_') || child.bytes().all(|c| c == b'.') {
            return Err(AnchorReason::Word);
        }
        if child.len() > Self::LONGEST {
            return Err(AnchorReason::TooLong);
        }
        if Self::APPLES.iter().any(|own| child.starts_with(own)) {
            return Err(AnchorReason::Apples);
        }
        Ok(Self(text.to_owned()))
    }

    /// The path of the anchor.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AnchorPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A range of ports, inclusive, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// The lowest port.
    pub first: u16,
    /// The highest port, at least `first`.
    pub last: u16,
}

impl fmt::Display for PortRange {
    /// Prints `2379` or `2379-2380`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// A set of ports, as sorted ranges that neither overlap nor are adjacent. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortSet(Vec<PortRange>);

impl PortSet {
    /// The union of ranges; `None` if there are none.
    pub fn new(mut ranges: Vec<PortRange>) -> Option<Self> {
        ranges.sort_unstable();
        let mut merged: Vec<PortRange> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match merged.last_mut() {
                Some(last) if u32::from(range.first) <= u32::from(last.last) + 1 => {
                    last.last = last.last.max(range.last);
                }
                _ => merged.push(range),
            }
        }
        (!merged.is_empty()).then_some(Self(merged))
    }

    /// The ranges, in ascending order.
    pub fn ranges(&self) -> &[PortRange] {
        &self.0
    }

    /// Whether it contains a port.
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| RangeInclusive::new(range.first, range.last).contains(&port))
    }

    /// Whether it contains every port of `other`.
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|wanted| self.0.iter().any(|r| r.first <= wanted.first && wanted.last <= r.last))
    }

    /// The union with `other`.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::new([self.0.as_slice(), other.0.as_slice()].concat()).unwrap_or_else(|| self.clone())
    }
}

impl fmt::Display for PortSet {
    /// Prints the ranges, such as `2379-2380,6443`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{range}")?;
        }
        Ok(())
    }
}
