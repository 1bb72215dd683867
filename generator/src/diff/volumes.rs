//! What each new, removed, moved or renamed volume gains and loses, by name; flows are compared by address.
//!
//! A volume that moves to a provider with fewer permissions changes no flow by address, but loses some itself. So
//! the flows of its old address on the old side are compared with those of its new address on the new side; peers
//! that moved are treated alike.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::both::{Both, ENDS, FROM, TO};
use super::words::FlowSide;
use crate::model::Name;
use crate::packets::{PacketFamily, Set};
use crate::reach::{Opener, Services};

/// How a volume changed its name or place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum VolumeMove {
    /// Only on the new side.
    Added,
    /// Only on the old side.
    Removed,
    /// On both sides by name, with another address or provider.
    Moved,
    /// On both sides by address and provider, with another name.
    Renamed,
}

/// Volumes with the same kind of change that gained and lost the same access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeChange {
    /// The kind of change.
    pub turn: VolumeMove,
    /// The volumes: old and new place of each.
    pub volumes: Vec<[Option<VolumePlace>; 2]>,
    /// What they gained and lost, gains first.
    pub access: Vec<Access>,
}

/// The place of a volume.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VolumePlace {
    /// The volume's name.
    pub name: Name,
    /// Its address.
    pub address: Ipv4Addr,
    /// The provider that it belongs to.
    pub provider: Name,
}

/// Access that a volume has on one side of the comparison only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Access {
    /// Whether it was lost; otherwise gained.
    pub is_lost: bool,
    /// Whether the peers may open to the volume; otherwise the volume to the peers.
    pub is_opened: bool,
    /// The peers in words: by old names if access was lost, by new names if it was gained.
    pub peers: Vec<String>,
    /// The services.
    pub services: Services,
}

/// A changed volume, with the flows it may open and be opened by on either side, by the end at which its peers are.
#[derive(Debug, Clone)]
struct Turned {
    turn: VolumeMove,
    places: [Option<VolumePlace>; 2],
    open: [[Set; 2]; 2],
}

/// What every changed volume gained and lost.
pub fn changes(both: &mut Both) -> Vec<VolumeChange> {
    let turned = turned(both);
    if turned.is_empty() {
        return Vec::new();
    }
    let peers = Peers::of(both, &turned);
    // Volumes with the same old and new access gained and lost the same.
    let mut alike: BTreeMap<_, Vec<Turned>> = BTreeMap::new();
    for it in turned {
        let providers = it.places.each_ref().map(|place| place.as_ref().map(|place| place.provider.clone()));
        alike.entry((it.turn, providers, it.open)).or_default().push(it);
    }
    let mut all: BTreeMap<_, Vec<[Option<VolumePlace>; 2]>> = BTreeMap::new();
    for ((turn, providers, _), volumes) in alike {
        let access = access(both, &peers, &volumes[0]);
        all.entry((turn, providers, access)).or_default().extend(volumes.into_iter().map(|it| it.places));
    }
    let changes = all.into_iter().map(|((turn, _, access), volumes)| VolumeChange { turn, volumes, access });
    let mut changes: Vec<VolumeChange> = changes.collect();
    for change in &mut changes {
        change.volumes.sort();
    }
    changes
}

/// The changed volumes, by name.
fn turned(both: &mut Both) -> Vec<Turned> {
    let [old, new] = both.owners.clone();
    let place = |name: &Name, (address, provider): (Ipv4Addr, &Name)| VolumePlace {
        name: name.clone(),
        address,
        provider: provider.clone(),
    };
    let mut turned = Vec::new();
    let mut renamed = BTreeSet::new();
    for (name, now) in &new.places {
        let now = place(name, *now);
        match old.places.get(name) {
            Some(before) if *before == (now.address, &now.provider) => {}
            Some(before) => turned.push((VolumeMove::Moved, [Some(place(name, *before)), Some(now)])),
            None => {
                let before = old.volumes.get(&now.address).filter(|name| !new.places.contains_key(*name));
                let before = before.map(|name| place(name, old.places[name]));
                let before = before.filter(|before| before.provider == now.provider);
                renamed.extend(before.as_ref().map(|before| before.name.clone()));
                let turn = if before.is_some() { VolumeMove::Renamed } else { VolumeMove::Added };
                turned.push((turn, [before, Some(now)]));
            }
        }
    }
    for (name, before) in &old.places {
        if !new.places.contains_key(name) && !renamed.contains(*name) {
            turned.push((VolumeMove::Removed, [Some(place(name, *before)), None]));
        }
    }
    let passing = [0, 1].map(|side| {
        let reach = both.reach[side].clone();
        reach.passing(&mut both.flows)
    });
    let mut open = |end: usize, places: &[Option<VolumePlace>; 2]| {
        [0, 1].map(|side| {
            let Some(place) = &places[side] else { return Set::NONE };
            let (map, flows) = (passing[side].as_map(), &mut both.flows);
            let map = match end {
                TO => flows.from(map, Opener::Address(place.address)),
                _ => flows.to(map, place.address),
            };
            flows.select(map, |number| number == 1)
        })
    };
    let turned = turned.into_iter();
    turned
        .map(|(turn, places)| Turned { turn, open: [FROM, TO].map(|end| open(end, &places)), places })
        .collect()
}

/// The peers of changed volumes: which of them are the same on both sides, whatever their addresses.
struct Peers {
    /// Addresses that have the same owner on both sides, as sources and as destinations.
    same: [Set; 2],
    /// Volumes and providers that exist on one side only, by that side.
    single: [[Set; 2]; 2],
    /// Volumes and remainders of providers whose addresses or names changed: on each side one address, and all of them.
    moved: Vec<[(Ipv4Addr, [Set; 2]); 2]>,
    /// By side, the addresses that changed volumes have on the other side only.
    stale: [[Set; 2]; 2],
}

impl Peers {
    fn of(both: &mut Both, turned: &[Turned]) -> Self {
        let (mut single, mut all) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        // Moved volumes with the same access are one entry.
        let mut moved: BTreeMap<[[Set; 2]; 2], [Vec<Ipv4Addr>; 2]> = BTreeMap::new();
        for Turned { turn: _, places, open } in turned {
            let addresses = places.each_ref().map(|place| place.as_ref().map(|place| place.address));
            match addresses {
                [Some(old), Some(new)] => {
                    let alike = moved.entry(*open).or_default();
                    alike[0].push(old);
                    alike[1].push(new);
                }
                [Some(old), None] => single[0].push(old),
                [None, Some(new)] => single[1].push(new),
                [None, None] => {}
            }
            for (side, address) in addresses.into_iter().enumerate() {
                all[side].extend(address);
            }
        }
        let sets = |both: &mut Both, all: &[Ipv4Addr]| [FROM, TO].map(|end| both.addresses(end, all));
        let turned_away = [sets(both, &all[0]), sets(both, &all[1])];
        let single = [sets(both, &single[0]), sets(both, &single[1])];
        let moved: Vec<_> =
            moved.into_values().map(|alike| alike.map(|all| (all[0], sets(both, &all)))).collect();
        let mut peers = Self { same: [Set::ALL; 2], single, moved, stale: [[Set::NONE; 2]; 2] };
        let rests = peers.rests(both, &turned_away);
        for end in [FROM, TO] {
            let gone = rests[end].iter().chain(turned_away.iter().map(|side| &side[end]));
            let gone = gone.fold(Set::NONE, |all, set| both.flows.or(all, *set));
            // The access of a volume no longer tests the address family, so its peers are restricted to IPv4 here.
            let inet = both.flows.family(PacketFamily::Inet);
            peers.same[end] = both.flows.minus(inet, gone);
            for side in [0, 1] {
                peers.stale[side][end] = both.flows.minus(turned_away[1 - side][end], turned_away[side][end]);
            }
        }
        peers
    }

    /// Adds what remains, without volumes, of providers whose addresses changed to those that moved, or to those of one
    /// side. Returns all changed addresses.
    fn rests(&mut self, both: &mut Both, turned: &[[Set; 2]; 2]) -> [Vec<Set>; 2] {
        let mut gone = [Vec::new(), Vec::new()];
        let names: BTreeSet<&Name> =
            both.owners.iter().flat_map(|side| side.providers.keys().copied()).collect();
        for name in names {
            let owned = both.owners.each_ref().map(|side| side.providers.get(name).copied());
            if let [Some(old), Some(new)] = owned
                && old.sets == new.sets
            {
                continue;
            }
            let mut rest = [None, None];
            for side in [0, 1] {
                let Some(owned) = owned[side] else { continue };
                let sets = [FROM, TO].map(|end| {
                    let volumes = both.volumes[side][end];
                    let stays = both.flows.minus(volumes, turned[side][end]);
                    gone[end].push(both.flows.minus(owned.sets[end], stays));
                    both.flows.minus(owned.sets[end], volumes)
                });
                let first = both.ranges(TO, sets[TO]).first().map(|[_, last]| *last);
                rest[side] = first.map(|address| (address, sets));
            }
            match rest {
                [Some(old), Some(new)] => self.moved.push([old, new]),
                [Some((_, sets)), None] => self.add_single(both, 0, sets),
                [None, Some((_, sets))] => self.add_single(both, 1, sets),
                [None, None] => {}
            }
        }
        gone
    }

    fn add_single(&mut self, both: &mut Both, side: usize, sets: [Set; 2]) {
        for end in [FROM, TO] {
            self.single[side][end] = both.flows.or(self.single[side][end], sets[end]);
        }
    }
}

/// What a volume gained and lost.
fn access(both: &mut Both, peers: &Peers, volume: &Turned) -> Vec<Access> {
    let mut all = Vec::new();
    // The peers are receivers of what the volume opens, and senders of what it is opened by.
    for end in [TO, FROM] {
        let open = volume.open[end];
        for (side, is_lost) in [(1, false), (0, true)] {
            let mut set = both.flows.minus(open[side], open[1 - side]);
            set = both.flows.and(set, peers.same[end]);
            let single = both.flows.and(open[side], peers.single[side][end]);
            set = both.flows.or(set, single);
            for moved in &peers.moved {
                let at = [0, 1].map(|side| at(both, open[side], end, moved[side].0));
                let services = both.flows.minus(at[side], at[1 - side]);
                let more = both.flows.and(services, moved[side].1[end]);
                set = both.flows.or(set, more);
            }
            let own: Vec<Ipv4Addr> = volume.places[side].iter().map(|place| place.address).collect();
            let own = both.addresses(end, &own);
            let ignored = both.flows.or(own, peers.stale[side][end]);
            set = both.flows.minus(set, ignored);
            all.extend(told(both, (set, ignored), end, side, is_lost));
        }
    }
    all.sort();
    all
}

/// The services by which a peer is reached, or by which it reaches.
fn at(both: &mut Both, open: Set, end: usize, peer: Ipv4Addr) -> Set {
    let open = both.flows.on_wire(open);
    let map = both.flows.with_address(open.as_map(), ENDS[end], peer.into());
    both.flows.select(map, |number| number == 1)
}

fn told(both: &mut Both, (set, ignored): (Set, Set), end: usize, side: usize, is_lost: bool) -> Vec<Access> {
    let by_service = both.flows.by_service(set);
    let mut access = |(peers, services)| Access {
        is_lost,
        is_opened: end == FROM,
        peers: both.words(&FlowSide { at: end, set: peers, peers: None, ignored, side }),
        services: Services::of(&mut both.flows, services),
    };
    by_service.into_iter().map(&mut access).collect()
}
