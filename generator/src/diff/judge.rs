//! What changes for a pair of classes: the policies are asked, with packets of which each stands for all like it.
//!
//! What the policy can tell apart about a packet is what its ends are, whether a link covers it, and where it is
//! seen. Whatever agrees in all of these is asked once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::rc::Rc;

use super::Side;
use super::links::{Links, Manners};
use super::services::{EVERY_PORT, OTHER, Services};
use super::space::{Class, Owner, Space};
use super::spots::{self, Aspect, SPOTS, Seen};
use crate::model::PortRange;
use crate::plan::policy::{ICMP, TCP, UDP};

/// A change that pairs of classes can share: one statement for all of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Turn {
    /// Whether it is the verdict that changes, or the translation.
    pub seen: Seen,
    /// Of these services,
    pub services: Services,
    /// at these spots, from this to that.
    pub aspect: Aspect,
}

/// What an end is to a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum End {
    Loopback(Option<Ipv4Addr>),
    Network { internet: bool },
    Outside,
}

/// All that tells one pair of classes from another, on one side.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Relationship {
    from: End,
    to: End,
    within: bool,
    manners: Vec<u32>,
}

/// All that tells a packet from another, but for where it is seen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Situation {
    side: usize,
    from: End,
    to: End,
    within: bool,
    covered: bool,
    gateway: Option<Ipv4Addr>,
    published: Option<Ipv4Addr>,
}

/// Asks two policies, and remembers what they said.
pub struct Judge<'a> {
    sides: [Side<'a>; 2],
    space: &'a Space,
    /// The links of both sides.
    pub links: [Links; 2],
    manners: Manners,
    /// What is published: alias and port, and the address behind.
    published: [BTreeMap<Ipv4Addr, BTreeMap<u16, Ipv4Addr>>; 2],
    said: HashMap<Situation, Rc<spots::Profile>>,
    turns: HashMap<[Relationship; 2], Rc<[usize]>>,
    /// Every change that was found, by number.
    pub found: Vec<Turn>,
    numbers: HashMap<Turn, usize>,
}

impl<'a> Judge<'a> {
    /// A judge of two sides.
    pub fn new(old: Side<'a>, new: Side<'a>, space: &'a Space) -> Self {
        let mut manners = Manners::default();
        let links = [Links::of(old, 0, space, &mut manners), Links::of(new, 1, space, &mut manners)];
        let published = |side: Side| {
            let mut published: BTreeMap<Ipv4Addr, BTreeMap<u16, Ipv4Addr>> = BTreeMap::new();
            for it in &side.plan.publishes {
                published.entry(it.alias).or_default().insert(it.port, it.address);
            }
            published
        };
        Self {
            sides: [old, new],
            space,
            links,
            manners,
            published: [published(old), published(new)],
            said: HashMap::new(),
            turns: HashMap::new(),
            found: Vec::new(),
            numbers: HashMap::new(),
        }
    }

    /// Whether other ports, or ports of another volume, answer on an alias.
    pub fn publishes_otherwise(&self, class: Class) -> bool {
        let [old, new] = [0, 1].map(|side| match &self.space.facts(class).owner[side] {
            Owner::Loopback(Some(alias)) => self.published[side].get(alias),
            _ => None,
        });
        old != new
    }

    /// The numbers of all that changes from one class to another.
    pub fn turns(&mut self, from: Class, to: Class) -> Rc<[usize]> {
        if self.space.within(from, to) {
            return Rc::new([]);
        }
        let key = [0, 1].map(|side| self.relationship(side, from, to));
        if let Some(known) = self.turns.get(&key) {
            return Rc::clone(known);
        }
        let turns = self.compare(from, to, &key);
        let number = |turn: Turn| {
            *self.numbers.entry(turn).or_insert_with_key(|turn| {
                self.found.push(turn.clone());
                self.found.len() - 1
            })
        };
        let turns: Rc<[usize]> = turns.into_iter().map(number).collect();
        self.turns.insert(key, Rc::clone(&turns));
        turns
    }

    fn relationship(&self, side: usize, from: Class, to: Class) -> Relationship {
        let owner = |class| &self.space.facts(class).owner[side];
        let end = |class| match owner(class) {
            Owner::Loopback(alias) => End::Loopback(*alias),
            Owner::Network { internet, .. } => End::Network { internet: *internet },
            Owner::Outside => End::Outside,
        };
        let within = owner(from).range().is_some() && owner(from).range() == owner(to).range();
        let manners = if within { Vec::new() } else { self.links[side].manners(from, to) };
        Relationship { from: end(from), to: end(to), within, manners }
    }

    /// The services between two classes, as finely as either side cuts them.
    fn services(&self, key: &[Relationship; 2]) -> Vec<(u8, PortRange)> {
        let manners: BTreeSet<u32> = key.iter().flat_map(|it| it.manners.iter().copied()).collect();
        let mut cuts: BTreeSet<u32> =
            manners.iter().flat_map(|it| self.manners.all[*it as usize].cuts()).collect();
        for (side, relationship) in key.iter().enumerate() {
            for port in self.published_at(side, relationship).into_iter().flat_map(BTreeMap::keys) {
                cuts.extend([u32::from(*port), u32::from(*port) + 1]);
            }
        }
        cuts.extend([0, u32::from(u16::MAX) + 1]);
        let cuts: Vec<u32> = cuts.into_iter().collect();
        let port = |it: u32| u16::try_from(it).unwrap_or(u16::MAX);
        let ranges = cuts.windows(2).map(|it| PortRange { first: port(it[0]), last: port(it[1] - 1) });
        let ranges: Vec<PortRange> = ranges.collect();
        let mut services: Vec<(u8, PortRange)> = Vec::new();
        for protocol in [TCP, UDP] {
            services.extend(ranges.iter().map(|range| (protocol, *range)));
        }
        services.extend([(ICMP, EVERY_PORT), (OTHER, EVERY_PORT)]);
        services
    }

    fn published_at(&self, side: usize, it: &Relationship) -> Option<&BTreeMap<u16, Ipv4Addr>> {
        match it.to {
            End::Loopback(Some(alias)) => self.published[side].get(&alias),
            _ => None,
        }
    }

    fn compare(&mut self, from: Class, to: Class, key: &[Relationship; 2]) -> Vec<Turn> {
        let mut by_aspect: BTreeMap<(Seen, Aspect), Services> = BTreeMap::new();
        for (protocol, range) in self.services(key) {
            let [old, new] =
                [0, 1].map(|side| self.profile(side, &key[side], from, to, protocol, range.first));
            for seen in [Seen::Verdict, Seen::Translation] {
                for aspect in parts(spots::aspect(seen, &old, &new), key) {
                    // What is under way without opening anything is TCP's alone.
                    if protocol == TCP || spots::opens(&aspect) {
                        by_aspect.entry((seen, aspect)).or_default().add(protocol, range);
                    }
                }
            }
        }
        let turn = |((seen, aspect), services): ((Seen, Aspect), Services)| {
            let aspect = if services.has_tcp() { aspect } else { spots::opening_only(aspect) };
            Turn { seen, services, aspect }
        };
        by_aspect.into_iter().map(turn).collect()
    }

    /// What a side says to a packet, wherever it is seen.
    fn profile(
        &mut self,
        side: usize,
        it: &Relationship,
        from: Class,
        to: Class,
        protocol: u8,
        port: u16,
    ) -> Rc<spots::Profile> {
        let manners = it.manners.iter().map(|manner| &self.manners.all[*manner as usize]);
        let covering: Vec<_> = manners.filter(|manner| manner.covers(protocol, port)).collect();
        let published = self.published_at(side, it).filter(|_| protocol == TCP);
        let situation = Situation {
            side,
            from: it.from,
            to: it.to,
            within: it.within,
            covered: !covering.is_empty(),
            gateway: covering.iter().find_map(|manner| manner.gateway),
            published: published.and_then(|ports| ports.get(&port)).copied(),
        };
        if let Some(known) = self.said.get(&situation) {
            return Rc::clone(known);
        }
        let [source, destination] = [from, to].map(|class| self.space.facts(class).representative);
        let policy = &self.sides[side].plan.policy;
        let profile = Rc::new(SPOTS.map(|spot| {
            let (direction, interface, opening) = spot;
            let decision = policy.decide(&spots::packet(
                (direction, interface, opening),
                (source, destination),
                (protocol, port),
            ));
            (spots::essence(&decision), decision.translation)
        }));
        self.said.insert(situation, Rc::clone(&profile));
        profile
    }
}

/// What changes for a source outside is two things, since they have two names: this Mac on lo0, others elsewhere.
fn parts(aspect: Aspect, key: &[Relationship; 2]) -> Vec<Aspect> {
    let outside = key.iter().all(|side| side.from == End::Outside);
    let parts = if outside { spots::on_and_off_loopback(aspect).to_vec() } else { vec![aspect] };
    parts.into_iter().filter(|part| *part != Aspect::default()).collect()
}
