//! Sets of services: the protocols and destination ports of packets, and their wording.

use std::fmt;

use super::Flows;
use crate::packets::{Field, Set};
use crate::plan::policy::{ICMP, TCP, UDP};

/// A range of ports, inclusive.
type Ports = (u16, u16);

/// Every port number. A link cannot name port 0, but a packet can carry it.
const EVERY_PORT: Ports = (0, u16::MAX);
/// A protocol that no link can name (GRE); it represents all of these.
const OTHER: u8 = 47;

/// A set of services.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Services {
    tcp: Vec<Ports>,
    udp: Vec<Ports>,
    icmp: bool,
    other: bool,
}

impl Services {
    /// All services.
    pub fn all() -> Self {
        Self { tcp: vec![EVERY_PORT], udp: vec![EVERY_PORT], icmp: true, other: true }
    }

    /// The services that a protocol and ports permit; ports without a protocol mean those of TCP and UDP.
    pub fn permitted(protocol: Option<u8>, ports: Option<&[Ports]>) -> Self {
        let mut services = Self::default();
        let ports = ports.unwrap_or(&[EVERY_PORT]);
        match protocol {
            None if ports == [EVERY_PORT] => return Self::all(),
            None => {
                (services.tcp, services.udp) = (ports.to_vec(), ports.to_vec());
            }
            Some(protocol) => ports.iter().for_each(|ports| services.add(protocol, *ports)),
        }
        services
    }

    /// Adds all services of another set.
    pub fn join(&mut self, other: &Self) {
        for (own, more) in [(&mut self.tcp, &other.tcp), (&mut self.udp, &other.udp)] {
            let mut all: Vec<Ports> = own.iter().chain(more).copied().collect();
            all.sort_unstable();
            own.clear();
            for (first, last) in all {
                match own.last_mut() {
                    Some((_, end)) if u32::from(first) <= u32::from(*end) + 1 => *end = last.max(*end),
                    _ => own.push((first, last)),
                }
            }
        }
        self.icmp |= other.icmp;
        self.other |= other.other;
    }

    /// Whether another set is a subset of this one.
    pub fn holds(&self, other: &Self) -> bool {
        let mut joined = self.clone();
        joined.join(other);
        joined == *self
    }

    /// Adds a protocol, with these ports if it has ports. Ranges must be added in order.
    pub fn add(&mut self, protocol: u8, (first, last): Ports) {
        let known = match protocol {
            TCP => &mut self.tcp,
            UDP => &mut self.udp,
            ICMP => return self.icmp = true,
            _ => return self.other = true,
        };
        let first = if first <= 1 { 0 } else { first };
        match known.last_mut() {
            Some((_, end)) if end.checked_add(1) == Some(first) => *end = last,
            _ => known.push((first, last)),
        }
    }

    /// The services by protocol name, `other` for all that have no name here, each with its port ranges; `None` if all
    /// ports are meant or the protocol has none.
    pub fn by_protocol(&self) -> Vec<(&'static str, Option<Vec<String>>)> {
        let ported = |name, ranges: &[Ports]| match ranges {
            [] => None,
            [EVERY_PORT] => Some((name, None)),
            _ => Some((name, Some(ranges.iter().copied().map(range).collect()))),
        };
        let portless = |name, is_there: bool| is_there.then_some((name, None));
        let all = [ported("tcp", &self.tcp), ported("udp", &self.udp), portless("icmp", self.icmp)];
        all.into_iter().chain([portless("other", self.other)]).flatten().collect()
    }

    /// The services of a set of flows, which must not depend on anything else.
    pub fn of(flows: &mut Flows, set: Set) -> Self {
        let mut of_protocol = |protocol: u8| {
            let map = flows.with_number(set.as_map(), Field::Protocol, protocol);
            let ports = flows.select(map, |number| number == 1);
            let port = |number: u128| u16::try_from(number).unwrap_or(u16::MAX);
            let ranges = flows.field_ranges(ports, Field::DestinationPort).into_iter();
            ranges.map(|(first, last)| (port(first), port(last))).collect::<Vec<_>>()
        };
        let [tcp, udp, icmp, other] = [TCP, UDP, ICMP, OTHER].map(&mut of_protocol);
        Self { tcp, udp, icmp: !icmp.is_empty(), other: !other.is_empty() }
    }

    fn complement(&self) -> Self {
        let ports = |ranges: &[Ports]| {
            let mut rest = Vec::new();
            let mut next = 0u32;
            for range in ranges {
                if next < u32::from(range.0) {
                    rest.push(between(next, u32::from(range.0) - 1));
                }
                next = u32::from(range.1) + 1;
            }
            if u16::try_from(next).is_ok() {
                rest.push(between(next, u32::from(u16::MAX)));
            }
            rest
        };
        Self { tcp: ports(&self.tcp), udp: ports(&self.udp), icmp: !self.icmp, other: !self.other }
    }

    /// The wording in parts, and the number of ranges and protocols that they name.
    fn parts(&self) -> (Vec<String>, usize) {
        let ported = |word: &str, ranges: &[Ports]| match ranges {
            [] => None,
            [EVERY_PORT] => Some((word.to_owned(), 1)),
            _ => {
                let list: Vec<String> = ranges.iter().copied().map(range).collect();
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

fn between(first: u32, last: u32) -> Ports {
    let port = |it| u16::try_from(it).unwrap_or(u16::MAX);
    (port(first), port(last))
}

fn range((first, last): Ports) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

impl fmt::Display for Services {
    /// Such as `tcp 2379-2380`, `any protocol` or `any protocol but icmp`: listing or exclusion, whichever is shorter.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::all() {
            return f.write_str("any protocol");
        }
        let (parts, size) = self.parts();
        // Nothing is shorter than one part, which most services are.
        if size > 1 {
            let (missing, missing_size) = self.complement().parts();
            if missing_size < size {
                return write!(f, "any protocol but {}", missing.join(", "));
            }
        }
        f.write_str(&parts.join(", "))
    }
}
