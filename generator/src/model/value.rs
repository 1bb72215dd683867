//! Values that are valid by construction: names, paths, anchors, ports.

use std::fmt;
use std::ops::RangeInclusive;

use crate::place::is_hostile;
use crate::problem::{AnchorReason, MacReason, PathReason};

/// A name: lower-case letters, digits and `-`, not `-` first. Safe as a word of pf, sh, XML and hosts alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The longest name of a provider or volume, in characters.
    pub const LONGEST: usize = 24;
    /// What questions and expectations call something else than a provider or a volume.
    pub const RESERVED: [&str; 5] = ["any", "internet", "lan", "localhost", "mac"];
    /// The longest logical name of a bridge: that of a provider behind `bridge-`.
    pub const LONGEST_LOGICAL: usize = 31;

    /// A name of at most `longest` characters.
    pub fn new(text: &str, longest: usize) -> Option<Self> {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let valid =
            !text.is_empty() && text.len() <= longest && text.bytes().all(allowed) && !text.starts_with('-');
        valid.then(|| Self(text.to_owned()))
    }

    /// The logical name of something of this name: `bridge-aws`, `veth-etcd-1`.
    #[must_use]
    pub fn behind(&self, prefix: &str) -> Self {
        Self(format!("{prefix}-{}", self.0))
    }

    /// The name's text.
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

/// An absolute path in its shortest form, without control characters: it fits on one line of any file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AbsolutePath(String);

impl AbsolutePath {
    /// macOS's `PATH_MAX` without the final NUL.
    const LONGEST: usize = 1023;

    /// Any path that one line can hold.
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

    /// A path that also fits a field of newsyslog.conf, which has neither quotes nor escapes.
    pub fn for_log(text: &str) -> Result<Self, PathReason> {
        let path = Self::new(text)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "._/@%+,:=~-".contains(c);
        match text.chars().find(|c| !plain(*c)) {
            Some(found) => Err(PathReason::LogLine(found)),
            None => Ok(path),
        }
    }

    /// The path's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AbsolutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The MAC address of one interface: six bytes, lower-case with colons.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MacAddress(String);

impl MacAddress {
    /// An address as `52:54:00:12:34:56`; not one of a group, nor of nobody.
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

    /// The address's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of an interface of Linux.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceName(String);

impl InterfaceName {
    /// `IFNAMSIZ` without the final NUL.
    const LONGEST: usize = 15;

    /// A name as `enp0s1`: no pattern, and nothing that a file's syntax takes for something else.
    pub fn new(text: &str) -> Option<Self> {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
        let is_begun = text.bytes().next().is_some_and(|first| first.is_ascii_alphabetic());
        let valid = is_begun && text.len() <= Self::LONGEST && text.bytes().all(allowed);
        valid.then(|| Self(text.to_owned()))
    }

    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A pf anchor that macOS's main ruleset calls: a direct child of `com.apple`, not one of Apple's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnchorPath(String);

impl AnchorPath {
    /// Apple treats these as its own and lets the kernel's fast paths go by them (xnu bsd/net/pf.c).
    const APPLES: &[&str] = &["200.AirDrop", "250.ApplicationFirewall", "internet-sharing"];
    /// `PF_ANCHOR_NAME_SIZE` without the final NUL.
    const LONGEST: usize = 63;

    /// `com.apple/NAME`.
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

    /// The anchor's path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AnchorPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Ports from the first to the last, both included, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

impl fmt::Display for PortRange {
    /// `2379` or `2379-2380`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// A set of ports: ranges in order that neither overlap nor touch. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortSet(Vec<PortRange>);

impl PortSet {
    /// The union of ranges; `None` of no ranges.
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

    /// Its ranges, in order.
    pub fn ranges(&self) -> &[PortRange] {
        &self.0
    }

    /// Whether a port is in it.
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| RangeInclusive::new(range.first, range.last).contains(&port))
    }

    /// Whether every port of `other` is in it.
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|wanted| self.0.iter().any(|r| r.first <= wanted.first && wanted.last <= r.last))
    }

    /// Both together.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::new([self.0.as_slice(), other.0.as_slice()].concat()).unwrap_or_else(|| self.clone())
    }
}

impl fmt::Display for PortSet {
    /// `2379-2380,6443`.
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
