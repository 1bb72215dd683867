//! The addresses, cut into classes that neither declaration tells apart.
//!
//! A class is what has one owner on the old side and one on the new side. Only volumes that a link names are cut
//! out of their network: the others are treated as the rest of it is.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::Side;
use crate::model::{Declaration, End, Name};

/// A class, by number.
pub type Class = u32;

/// Whose addresses a class is, on one side.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Owner {
    /// 127.0.0.0/8; an alias that something is published on stands by itself.
    Loopback(Option<Ipv4Addr>),
    /// A provider's network, or a volume of it that a link names.
    Network {
        /// The provider.
        provider: Name,
        /// Its network.
        range: Ipv4Net,
        /// Whether NAT takes it outside.
        internet: bool,
        /// The volume.
        volume: Option<Name>,
    },
    /// Everything else.
    Outside,
}

impl Owner {
    /// The provider, if it is one's.
    pub fn provider(&self) -> Option<&Name> {
        match self {
            Self::Network { provider, .. } => Some(provider),
            Self::Loopback(_) | Self::Outside => None,
        }
    }

    /// The network, if it is one's.
    pub fn range(&self) -> Option<Ipv4Net> {
        match self {
            Self::Network { range, .. } => Some(*range),
            Self::Loopback(_) | Self::Outside => None,
        }
    }
}

/// What is known of a class.
#[derive(Debug)]
pub struct Facts {
    /// The owners: old, new.
    pub owner: [Owner; 2],
    /// Its addresses: first and last of every stretch.
    pub stretches: Vec<(u32, u32)>,
    /// One of them that a person may know: a volume's where there is one.
    pub representative: Ipv4Addr,
}

/// All addresses.
#[derive(Debug)]
pub struct Space {
    /// Where the stretches begin, from 0, and the class of each.
    stretches: Vec<(u32, Class)>,
    /// Every class.
    pub classes: Vec<Facts>,
}

/// Addresses for those who have none of their own: this Mac, a host of the Internet (RFC 5737), localhost.
pub const FAMILIAR: [Ipv4Addr; 3] =
    [Ipv4Addr::new(203, 0, 113, 7), Ipv4Addr::new(192, 168, 1, 10), Ipv4Addr::LOCALHOST];

const LOOPBACK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);

/// One side's owners, for looking up.
struct Owners<'a> {
    networks: Vec<(&'a Name, Ipv4Net, bool)>,
    volumes: HashMap<Ipv4Addr, &'a Name>,
    aliases: BTreeSet<Ipv4Addr>,
}

impl<'a> Owners<'a> {
    fn of(declaration: &'a Declaration) -> Self {
        let mut networks: Vec<_> =
            declaration.providers.iter().map(|(name, it)| (name, it.network, it.internet)).collect();
        networks.sort_by_key(|(_, range, _)| range.network());
        let ends = declaration.links.iter().flat_map(|link| link.from.iter().chain(&link.to));
        let volumes = ends.filter_map(|end| match end {
            End::Volume(name) => Some((declaration.volumes[name].address, name)),
            End::Provider(_) => None,
        });
        let published = declaration.volumes.values().filter(|volume| !volume.publish.is_empty());
        Self {
            networks,
            volumes: volumes.collect(),
            aliases: published.filter_map(|volume| volume.localhost).collect(),
        }
    }

    /// The first address of every stretch, and the one behind its last.
    fn cuts(&self) -> impl Iterator<Item = u64> {
        let networks = self.networks.iter().map(|(_, range, _)| *range);
        let singles = self.volumes.keys().chain(&self.aliases).map(|address| Ipv4Net::from(*address));
        networks.chain(singles).flat_map(|range| {
            [u64::from(u32::from(range.network())), u64::from(u32::from(range.broadcast())) + 1]
        })
    }

    fn owner(&self, address: Ipv4Addr) -> Owner {
        if LOOPBACK.contains(&address) {
            return Owner::Loopback(self.aliases.get(&address).copied());
        }
        let behind = self.networks.partition_point(|(_, range, _)| range.network() <= address);
        match self.networks[..behind].last() {
            Some((provider, range, internet)) if range.contains(&address) => Owner::Network {
                provider: (*provider).clone(),
                range: *range,
                internet: *internet,
                volume: self.volumes.get(&address).map(|name| (*name).clone()),
            },
            _ => Owner::Outside,
        }
    }
}

impl Space {
    /// The classes of two declarations.
    pub fn of(old: Side, new: Side) -> Self {
        let sides = [Owners::of(old.declaration), Owners::of(new.declaration)];
        let loopback = [LOOPBACK.network(), Ipv4Addr::new(128, 0, 0, 0)].map(|it| u64::from(u32::from(it)));
        let mut cuts: Vec<u64> =
            sides.iter().flat_map(Owners::cuts).chain(loopback).chain([0, 1 << 32]).collect();
        cuts.sort_unstable();
        cuts.dedup();
        let mut numbers: HashMap<[Owner; 2], Class> = HashMap::new();
        let mut space = Self { stretches: Vec::with_capacity(cuts.len()), classes: Vec::new() };
        for pair in cuts.windows(2) {
            let [first, last] = [pair[0], pair[1] - 1].map(|it| u32::try_from(it).unwrap_or(u32::MAX));
            let owner = sides.each_ref().map(|side| side.owner(first.into()));
            let class = *numbers.entry(owner.clone()).or_insert_with(|| {
                space.classes.push(Facts { owner, stretches: Vec::new(), representative: first.into() });
                u32::try_from(space.classes.len() - 1).expect("fewer classes than addresses")
            });
            space.stretches.push((first, class));
            space.classes[class as usize].stretches.push((first, last));
        }
        space.choose_representatives(old, new);
        space
    }

    /// A volume's address says more than the first of a network, and a host's more than 0.0.0.0.
    fn choose_representatives(&mut self, old: Side, new: Side) {
        for facts in &mut self.classes {
            let (first, last) = facts.stretches[0];
            facts.representative = first.saturating_add(9).min(last).into();
        }
        let volumes = |side: Side| -> Vec<Ipv4Addr> {
            side.declaration.volumes.values().map(|volume| volume.address).collect()
        };
        let familiar = FAMILIAR.iter().rev().copied();
        // The last that is set stays: the first volume of the new side.
        let known = familiar.chain(volumes(old).into_iter().rev()).chain(volumes(new).into_iter().rev());
        for address in known.collect::<Vec<_>>() {
            let class = self.class(address);
            self.classes[class as usize].representative = address;
        }
    }

    /// The class of an address.
    pub fn class(&self, address: Ipv4Addr) -> Class {
        let address = u32::from(address);
        let behind = self.stretches.partition_point(|(first, _)| *first <= address);
        self.stretches[behind.max(1) - 1].1
    }

    /// What is known of a class.
    pub fn facts(&self, class: Class) -> &Facts {
        &self.classes[class as usize]
    }

    /// All classes.
    pub fn all(&self) -> impl Iterator<Item = Class> + use<> {
        0..u32::try_from(self.classes.len()).expect("fewer classes than addresses")
    }

    /// The networks of a class on both sides, if it lies in one on both.
    pub fn home(&self, class: Class) -> Option<(Ipv4Net, Ipv4Net)> {
        let [old, new] = &self.facts(class).owner;
        old.range().zip(new.range())
    }

    /// Whether two classes share a network on both sides: nothing changes there, and no arrow speaks of it.
    pub fn within(&self, a: Class, b: Class) -> bool {
        self.home(a).is_some_and(|home| self.home(b) == Some(home))
    }

    /// Whether a class belongs to nobody on both sides: this Mac, the networks around it, the Internet.
    pub fn is_outside(&self, class: Class) -> bool {
        self.facts(class).owner == [Owner::Outside, Owner::Outside]
    }
}
