//! An endpoint of flows in the names of a declaration: whole providers, volumes, addresses, and the outside.
//!
//! A name has the meaning of the side that a statement is about. If it has another meaning on the other side, a note
//! says so: `(outside before)` after what is declared on the new side only, `(outside now)` on the old side only.

use std::net::Ipv4Addr;

use super::both::{Both, FROM, Owned, TO};
use crate::model::Name;
use crate::packets::Set;

/// The maximum number of providers or volumes named as exceptions.
const EXCEPTIONS: usize = 3;

/// One side of some flows, with what its wording depends on.
#[derive(Debug, Clone, Copy)]
pub struct FlowSide {
    /// [`FROM`] or [`TO`].
    pub at: usize,
    /// The addresses to name.
    pub set: Set,
    /// The addresses on the other side of the flows, if `every other provider` is a possible wording.
    pub peers: Option<Set>,
    /// Addresses that the wording may include or exclude.
    pub ignored: Set,
    /// The side of the comparison whose names are used: 0 for old, 1 for new.
    pub side: usize,
}

/// The word for a side of the comparison as seen from the other.
fn when(side: usize) -> &'static str {
    if side == 0 { "before" } else { "now" }
}

fn with_notes(word: String, notes: &[String]) -> String {
    if notes.is_empty() { word } else { format!("{word} ({})", notes.join(", ")) }
}

impl Both<'_> {
    /// The wording.
    pub fn words(&mut self, it: &FlowSide) -> Vec<String> {
        let mac = self.flows.of_this_mac();
        let is_mac = it.at == FROM && !self.flows.and(it.set, mac).is_empty();
        let set = if it.at == FROM { self.flows.minus(it.set, mac) } else { it.set };
        let it = FlowSide { set, ..*it };
        let mut words = match self.every_provider(&it) {
            Some(every) => vec![every],
            None => self.providers(&it, it.side, Set::NONE),
        };
        let ours = self.owners[it.side].ours[it.at];
        words.extend(self.providers(&it, 1 - it.side, ours));
        words.extend(self.loopback(&it));
        words.extend(is_mac.then(|| "this Mac".to_owned()));
        let outside = self.outside[it.at];
        if !self.flows.and(set, outside).is_empty() {
            let word = if it.at == FROM { "outside" } else { "the internet" };
            words.push(word.to_owned());
        }
        words
    }

    /// `every provider` or `every other provider`, perhaps with a few exceptions.
    fn every_provider(&mut self, it: &FlowSide) -> Option<String> {
        let count = self.owners[it.side].providers.len();
        let known = self.flows.or(it.set, it.ignored);
        let missing = self.flows.minus(self.owners[it.side].ours[it.at], known);
        let home = self.home(it).filter(|home| self.flows.implies(*home, missing));
        let missing = home.map_or(missing, |home| self.flows.minus(missing, home));
        // `every` needs at least two providers; otherwise both sides of a flow could be each other's `every other`.
        let count = count - usize::from(home.is_some());
        if count < 2 {
            return None;
        }
        let every = if home.is_some() { "every other provider" } else { "every provider" };
        if missing.is_empty() {
            return Some(every.to_owned());
        }
        let missing = FlowSide { set: missing, peers: None, ignored: Set::NONE, ..*it };
        let names = self.providers(&missing, it.side, Set::NONE);
        let is_few = names.len() <= EXCEPTIONS && names.len() <= count / 3;
        let is_plain = !names.iter().any(|name| name.contains(" but "));
        (is_few && is_plain).then(|| format!("{every} but {}", names.join(" and ")))
    }

    /// The provider that contains all peers, as addresses of this side, if there is exactly one.
    fn home(&mut self, it: &FlowSide) -> Option<Set> {
        let peers = it.peers?;
        let mac = self.flows.of_this_mac();
        if it.at == TO && !self.flows.and(peers, mac).is_empty() {
            return None;
        }
        let [first, _] = *self.ranges(1 - it.at, peers).first()?;
        let owners = &self.owners[it.side];
        let sets = owners.providers[owners.provider(first)?].sets;
        self.flows.implies(peers, sets[1 - it.at]).then_some(sets[it.at])
    }

    /// The wording for addresses of providers by the names of a side, without addresses already named.
    fn providers(&mut self, it: &FlowSide, named: usize, known: Set) -> Vec<String> {
        let mut words = Vec::new();
        let ours = self.owners[named].ours[it.at];
        let mut left = self.flows.and(it.set, ours);
        left = self.flows.minus(left, known);
        let providers: Vec<(&Name, Owned)> =
            self.owners[named].providers.iter().map(|(name, owned)| (*name, *owned)).collect();
        for (name, owned) in providers {
            if left.is_empty() {
                break;
            }
            let region = owned.sets[it.at];
            let part = self.flows.and(left, region);
            if part.is_empty() {
                continue;
            }
            left = self.flows.minus(left, region);
            words.extend(self.provider(it, named, name, region, part));
        }
        words.sort();
        words
    }

    /// The wording for part of a provider, or all of it.
    fn provider(&mut self, it: &FlowSide, named: usize, name: &Name, region: Set, part: Set) -> Vec<String> {
        let known = self.flows.or(part, it.ignored);
        let missing = self.flows.minus(region, known);
        let notes = self.provider_notes(it, named, name, region);
        if missing.is_empty() {
            return vec![with_notes(name.to_string(), &notes)];
        }
        let [parts, missing] = [part, missing].map(|set| self.pieces(it, named, set));
        // A provider of the other side is named here only if its addresses are outside on the side that gives the
        // names.
        let ours = self.owners[it.side].ours[it.at];
        let has_name = named == it.side || self.flows.and(region, ours).is_empty();
        let is_range = |pieces: &[(String, bool)]| pieces.iter().any(|(_, is_range)| *is_range);
        let is_less = missing.len() < parts.len()
            || missing.len() == parts.len() && is_range(&parts) && !is_range(&missing);
        if has_name && is_less {
            let missing: Vec<String> = missing.into_iter().map(|(word, _)| word).collect();
            return vec![format!("{} but {}", with_notes(name.to_string(), &notes), missing.join(" and "))];
        }
        let note = |(word, is_range): (String, bool)| {
            let of = if named == it.side { name.to_string() } else { format!("{name} {}", when(named)) };
            if is_range { with_notes(word, &[of]) } else { word }
        };
        parts.into_iter().map(note).collect()
    }

    /// Part of a network as volumes and ranges of addresses; true marks a range.
    fn pieces(&mut self, it: &FlowSide, named: usize, set: Set) -> Vec<(String, bool)> {
        let mut pieces = Vec::new();
        for [first, last] in self.ranges(it.at, set) {
            let volumes =
                self.owners[named].volumes.range(first..=last).map(|(address, name)| (*address, *name));
            let volumes: Vec<(Ipv4Addr, &Name)> = volumes.collect();
            if volumes.len() as u64 == u64::from(u32::from(last)) - u64::from(u32::from(first)) + 1 {
                let word = |(address, name)| (self.volume(named, name, address), false);
                pieces.extend(volumes.into_iter().map(word));
            } else {
                pieces.push((range(first, last), true));
            }
        }
        pieces
    }

    fn volume(&self, named: usize, name: &Name, address: Ipv4Addr) -> String {
        let there = &self.owners[1 - named];
        let mut notes = Vec::new();
        if there.places.get(name).is_some_and(|(other, _)| *other != address) {
            notes.push(address.to_string());
        }
        if let Some(other) = there.volumes.get(&address).filter(|other| **other != name) {
            notes.push(format!("{other} {}", when(1 - named)));
        }
        if there.provider(address).is_none() {
            notes.push(format!("outside {}", when(1 - named)));
        }
        with_notes(name.to_string(), &notes)
    }

    /// The notes on a provider's name: its network if that differs on the other side, and who owns its addresses there.
    fn provider_notes(&mut self, it: &FlowSide, named: usize, name: &Name, region: Set) -> Vec<String> {
        let [here, there] = [&self.owners[named], &self.owners[1 - named]];
        let other = there.providers.get(name);
        if other.is_some_and(|other| other.sets[it.at] == region) {
            return Vec::new();
        }
        let network = here.providers[name].region.network;
        let mut notes = Vec::new();
        if other.is_some_and(|other| other.region.network != network) {
            notes.push(network.to_string());
        }
        let (ours, providers) = (there.ours[it.at], there.providers.clone());
        if self.flows.and(region, ours).is_empty() {
            notes.push(format!("outside {}", when(1 - named)));
            return notes;
        }
        for (other, owned) in providers.into_iter().filter(|(other, _)| *other != name) {
            if !self.flows.and(region, owned.sets[it.at]).is_empty() {
                notes.push(format!("{other} {}", when(1 - named)));
            }
        }
        notes
    }

    fn loopback(&mut self, it: &FlowSide) -> Vec<String> {
        let all = self.localhost[it.at];
        let part = self.flows.and(it.set, all);
        if part.is_empty() {
            return Vec::new();
        }
        let missing = self.flows.minus(all, part);
        let [parts, missing] = [part, missing].map(|set| self.ranges(it.at, set));
        let word = |[first, last]: &[Ipv4Addr; 2]| match self.aliases.get(first).filter(|_| first == last) {
            Some(volume) => format!("{first} (alias of {volume})"),
            None => range(*first, *last),
        };
        let words = |ranges: &[[Ipv4Addr; 2]]| ranges.iter().map(word).collect::<Vec<_>>();
        match missing.len() {
            0 => vec!["localhost".to_owned()],
            few if few < parts.len() => vec![format!("localhost but {}", words(&missing).join(" and "))],
            _ => words(&parts),
        }
    }
}

/// Such as `10.0.5.0/24`, `10.0.5.3-10.0.5.9` or `10.0.5.3`.
fn range(first: Ipv4Addr, last: Ipv4Addr) -> String {
    let nets = ipnet::Ipv4Subnets::new(first, last, 0);
    match nets.collect::<Vec<_>>().as_slice() {
        [net] if net.prefix_len() == 32 => first.to_string(),
        [net] => net.to_string(),
        _ => format!("{first}-{last}"),
    }
}
