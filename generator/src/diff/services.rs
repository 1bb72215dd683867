//! Sets of services (protocol and destination port), and their notation.

use std::fmt;

use crate::model::PortRange;
use crate::packets::{Field, Set};
use crate::plan::policy::{ICMP, TCP, UDP};
use crate::reach::Flows;

/// Every port that a packet can carry. Port 0 is none that a link can name.
const EVERY_PORT: PortRange = PortRange { first: 0, last: u16::MAX };
/// A protocol that no link can name: GRE stands for all of them.
const OTHER: u8 = 47;

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

    /// What a set of flows says of services; it is about nothing else.
    pub fn of(flows: &mut Flows, set: Set) -> Self {
        let mut of_protocol = |protocol: u8| {
            let map = flows.with_number(set.as_map(), Field::Protocol, protocol);
            let ports = flows.select(map, |number| number == 1);
            let port = |number: u128| u16::try_from(number).unwrap_or(u16::MAX);
            let ranges = flows.field_ranges(ports, Field::DestinationPort).into_iter();
            ranges.map(|(first, last)| PortRange { first: port(first), last: port(last) }).collect::<Vec<_>>()
        };
        let [tcp, udp, icmp, other] = [TCP, UDP, ICMP, OTHER].map(&mut of_protocol);
        Self { tcp, udp, icmp: !icmp.is_empty(), other: !other.is_empty() }
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
