//! Reads the words of a difference as a person would.

use std::net::Ipv4Addr;

use nixvol_net::diff::Statement;
use nixvol_net::plan::Plan;
use nixvol_net::plan::policy::{ICMP, TCP, UDP};
use nixvol_net::reach::{Flow, Opener};
use serde_json::Value;

use crate::diff_networks::{hosts, openers, services};
use crate::support::declared;

/// For each opener, destination and service above: whether a statement names it.
pub struct Read([Vec<bool>; 3]);

impl Read {
    pub fn of(reader: &Reader, statement: &Statement) -> Self {
        let (side, words) = (statement.verb.side(), statement.services.to_string());
        let opens = |opener: Opener| reader.opens(&statement.from, side, opener, &statement.to);
        let serves = |(protocol, port)| {
            let (opener, destination) = (Opener::ThisMac, Ipv4Addr::LOCALHOST);
            self::serves(&words, &Flow { opener, destination, protocol, port })
        };
        let names = |to: Ipv4Addr| reader.names(&statement.to, side, to, &statement.from);
        Self([
            openers().into_iter().map(opens).collect(),
            hosts().into_iter().map(names).collect(),
            services().into_iter().map(serves).collect(),
        ])
    }

    pub fn says(&self, place: [usize; 3]) -> bool {
        self.0.iter().zip(place).all(|(named, place)| named[place])
    }
}

/// Interprets the words of a difference as a person would.
pub struct Reader<'a> {
    pub inputs: [&'a Value; 2],
    pub plans: [Plan; 2],
}

impl<'a> Reader<'a> {
    pub fn of(old: &'a Value, new: &'a Value) -> Self {
        Self { inputs: [old, new], plans: [old, new].map(|input| Plan::of(&declared(input))) }
    }

    fn provider(&self, side: usize, address: Ipv4Addr) -> Option<&str> {
        let bridges = &self.plans[side].bridges;
        bridges.iter().find(|it| it.region.contains(address)).map(|bridge| bridge.provider.as_str())
    }

    /// Whether both endpoints are in one provider, before and after: nothing is reported for these.
    pub fn is_within(&self, from: Opener, to: Ipv4Addr) -> bool {
        let Opener::Address(from) = from else { return false };
        [0, 1].into_iter().all(|side| {
            self.provider(side, from).is_some() && self.provider(side, from) == self.provider(side, to)
        })
    }

    /// Whether the words name an address on one side (old or new); `peers` are the words of the other endpoint.
    pub fn names(&self, words: &[String], side: usize, address: Ipv4Addr, peers: &[String]) -> bool {
        words.iter().any(|word| self.word(word, side, address, peers))
    }

    fn word(&self, word: &str, side: usize, address: Ipv4Addr, peers: &[String]) -> bool {
        let (base, exceptions) = word.split_once(" but ").unwrap_or((word, ""));
        let excepted = exceptions.split(" and ").filter(|it| !it.is_empty());
        self.base(base, side, address, peers)
            && !excepted.into_iter().any(|it| self.base(it, side, address, peers))
    }

    fn base(&self, word: &str, side: usize, address: Ipv4Addr, peers: &[String]) -> bool {
        let (name, notes) = word.split_once(" (").unwrap_or((word, ""));
        let side = match () {
            () if notes.contains("outside before") => 1,
            () if notes.contains("outside now") => 0,
            () => side,
        };
        let ours = [0, 1].map(|side| self.provider(side, address));
        match name {
            "every provider" => ours[side].is_some(),
            "every other provider" => {
                ours[side].is_some() && !peers.iter().any(|peer| self.of_one_provider(peer, side, address))
            }
            "localhost" => address.is_loopback(),
            "outside" | "the internet" => ours == [None, None] && !address.is_loopback(),
            "this Mac" => false,
            name => self.is_network(side, name, address) || is_range(name, address),
        }
    }

    /// Whether an address belongs to the provider that a word names, or to the provider of the volume it names.
    fn of_one_provider(&self, peer: &str, side: usize, address: Ipv4Addr) -> bool {
        let base = peer.split(" but ").next().unwrap_or(peer);
        let (name, notes) = base.split_once(" (").unwrap_or((base, ""));
        let side = if notes.contains("outside before") {
            1
        } else if notes.contains("outside now") {
            0
        } else {
            side
        };
        let volume = &self.inputs[side]["volumes"][name]["provider"];
        let name = volume.as_str().unwrap_or(name);
        let name = if is_range_word(name) { notes.split([' ', ')']).next().unwrap_or("") } else { name };
        self.provider(side, address) == Some(name)
    }

    fn is_network(&self, side: usize, name: &str, address: Ipv4Addr) -> bool {
        let volume = &self.inputs[side]["volumes"][name]["address"];
        match volume.as_str() {
            Some(volume) => volume == address.to_string(),
            None => self.provider(side, address) == Some(name),
        }
    }

    /// Whether the words of a statement name a flow.
    pub fn says(&self, it: &Statement, flow: &Flow) -> bool {
        let side = it.verb.side();
        self.opens(&it.from, side, flow.opener, &it.to)
            && self.names(&it.to, side, flow.destination, &it.from)
            && serves(&it.services.to_string(), flow)
    }

    /// Whether the words name an opener on one side.
    pub fn opens(&self, from: &[String], side: usize, opener: Opener, to: &[String]) -> bool {
        match opener {
            Opener::ThisMac => from.iter().any(|word| word == "this Mac"),
            Opener::Address(address) => self.names(from, side, address, to),
        }
    }
}

fn is_range_word(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.')
}

fn is_range(word: &str, address: Ipv4Addr) -> bool {
    if !is_range_word(word) {
        return false;
    }
    let of = |word: &str| word.parse::<Ipv4Addr>().unwrap_or_else(|_| panic!("{word}"));
    match (word.split_once('-'), word.split_once('/')) {
        (Some((first, last)), _) => (of(first)..=of(last)).contains(&address),
        (None, Some(_)) => word.parse::<ipnet::Ipv4Net>().expect("a network").contains(&address),
        (None, None) => of(word) == address,
    }
}

/// Whether the words name the service of a flow.
pub fn serves(words: &str, flow: &Flow) -> bool {
    if words == "any protocol" {
        return true;
    }
    if let Some(missing) = words.strip_prefix("any protocol but ") {
        return !serves(missing, flow);
    }
    words.split(", ").any(|part| {
        let (protocols, ports): (&[u8], &str) = match part {
            "icmp" => return flow.protocol == ICMP,
            "other protocols" => return ![TCP, UDP, ICMP].contains(&flow.protocol),
            part => match part.strip_prefix("tcp and udp") {
                Some(ports) => (&[TCP, UDP], ports),
                None if part.starts_with("tcp") => (&[TCP], &part[3..]),
                None => (&[UDP], part.strip_prefix("udp").unwrap_or_else(|| panic!("{part}"))),
            },
        };
        let number = |word: &str| word.parse::<u16>().unwrap_or_else(|_| panic!("{words}"));
        let mut ranges = ports.trim().split(',').filter(|range| !range.is_empty()).map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            (number(first)..=number(last)).contains(&flow.port)
        });
        protocols.contains(&flow.protocol) && (ports.is_empty() || ranges.any(|is_in| is_in))
    })
}
