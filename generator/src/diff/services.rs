//! Sets of services: what a packet's protocol and destination port can be, and how a person says so.

use std::fmt;

use crate::model::PortRange;
use crate::plan::policy::{ICMP, TCP, UDP};

/// Every port that a packet can carry. Port 0 is none that a link can name.
pub const EVERY_PORT: PortRange = PortRange { first: 0, last: u16::MAX };
/// A protocol that no link can name: GRE stands for all of them.
pub const OTHER: u8 = 47;

/// Ports that everybody knows.
const FAMILIAR: [u16; 3] = [443, 80, 22];

/// A set of services.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Services {
    tcp: Vec<PortRange>,
    udp: Vec<PortRange>,
    icmp: bool,
    other: bool,
}

impl Services {
    /// Every service.
    pub fn every() -> Self {
        Self { tcp: vec![EVERY_PORT], udp: vec![EVERY_PORT], icmp: true, other: true }
    }

    /// Adds ports of a protocol; of one that has none, all of it. Ranges come in order.
    pub fn add(&mut self, protocol: u8, range: PortRange) {
        let ranges = match protocol {
            TCP => &mut self.tcp,
            UDP => &mut self.udp,
            ICMP => return self.icmp = true,
            _ => return self.other = true,
        };
        match ranges.last_mut() {
            Some(last) if u32::from(last.last) + 1 == u32::from(range.first) => last.last = range.last,
            _ => ranges.push(range),
        }
    }

    /// Whether a packet of this protocol and port is meant.
    pub fn contains(&self, protocol: u8, port: u16) -> bool {
        let within = |ranges: &[PortRange]| ranges.iter().any(|it| it.first <= port && port <= it.last);
        match protocol {
            TCP => within(&self.tcp),
            UDP => within(&self.udp),
            ICMP => self.icmp,
            _ => self.other,
        }
    }

    /// Whether some of it is TCP.
    pub fn has_tcp(&self) -> bool {
        !self.tcp.is_empty()
    }

    /// The protocol and port of a packet that a person would try first.
    pub fn example(&self) -> (u8, u16) {
        let port = |ranges: &[PortRange]| match ranges.first() {
            // Ports without a name of their own: any that a person knows is as good as the lowest.
            Some(range) if range.first <= 1 => {
                let known = FAMILIAR.into_iter().find(|port| range.first <= *port && *port <= range.last);
                known.unwrap_or(range.last)
            }
            Some(range) => range.first,
            None => 0,
        };
        if self.has_tcp() {
            (TCP, port(&self.tcp))
        } else if !self.udp.is_empty() {
            (UDP, port(&self.udp))
        } else if self.icmp {
            (ICMP, 0)
        } else {
            (OTHER, 0)
        }
    }

    fn complement(&self) -> Self {
        let ports = |ranges: &[PortRange]| {
            let mut rest = Vec::new();
            let mut next = 0u32;
            for range in ranges {
                if next < u32::from(range.first) {
                    rest.push(between(next, u32::from(range.first) - 1));
                }
                next = u32::from(range.last) + 1;
            }
            if u16::try_from(next).is_ok() {
                rest.push(between(next, u32::from(u16::MAX)));
            }
            rest
        };
        Self { tcp: ports(&self.tcp), udp: ports(&self.udp), icmp: !self.icmp, other: !self.other }
    }

    /// The parts in words, and how many ranges and protocols they name.
    fn parts(&self) -> (Vec<String>, usize) {
        let ported = |word: &str, ranges: &[PortRange]| match ranges {
            [] => None,
            [range] if *range == EVERY_PORT => Some((word.to_owned(), 1)),
            _ => {
                let list: Vec<String> = ranges.iter().map(ToString::to_string).collect();
                Some((format!("{word} {}", list.join(",")), ranges.len()))
            }
        };
        let mut parts = Vec::new();
        if self.tcp == self.udp {
            parts.extend(ported("tcp and udp", &self.tcp));
        } else {
            parts.extend(ported("tcp", &self.tcp));
            parts.extend(ported("udp", &self.udp));
        }
        parts.extend(self.icmp.then(|| ("icmp".to_owned(), 1)));
        parts.extend(self.other.then(|| ("other protocols".to_owned(), 1)));
        let size = parts.iter().map(|(_, size)| size).sum();
        (parts.into_iter().map(|(words, _)| words).collect(), size)
    }
}

fn between(first: u32, last: u32) -> PortRange {
    let port = |it| u16::try_from(it).unwrap_or(u16::MAX);
    PortRange { first: port(first), last: port(last) }
}

impl fmt::Display for Services {
    /// `tcp 2379-2380`, `any protocol`, `any protocol but icmp`: whichever is shorter.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::every() {
            return f.write_str("any protocol");
        }
        let (parts, size) = self.parts();
        let (missing, missing_size) = self.complement().parts();
        if missing_size < size {
            write!(f, "any protocol but {}", missing.join(", "))
        } else {
            f.write_str(&parts.join(", "))
        }
    }
}
