//! Two declarations in one space of flows: the outcomes under each, and the owners of addresses.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::sides::ComparedSide;
use crate::model::Name;
use crate::packets::{PacketFamily, Set, Side as End};
use crate::plan::AddressRegion;
use crate::reach::{Flows, Reach, ends};

/// Two declarations over the same space of flows. Arrays of two are old and new, or sources and destinations.
#[derive(Debug, Clone)]
pub struct Both<'a> {
    /// The common space.
    pub flows: Flows,
    /// The outcomes under the old and the new declaration.
    pub reach: [Reach; 2],
    /// The owners of addresses under each.
    pub owners: [Owners<'a>; 2],
    /// Flows inside one provider on both sides: nothing changes there, and no statement mentions them.
    pub within: Set,
    /// Addresses that nobody owns on either side, as sources and as destinations.
    pub outside: [Set; 2],
    /// 127.0.0.0/8, as sources and as destinations.
    pub localhost: [Set; 2],
    /// The addresses of volumes on the old and the new side, as sources and as destinations.
    pub volumes: [[Set; 2]; 2],
    /// Volumes by localhost alias, of both sides.
    pub aliases: BTreeMap<Ipv4Addr, &'a Name>,
}

/// The owners of addresses on one side.
#[derive(Debug, Clone)]
pub struct Owners<'a> {
    /// Providers by name.
    pub providers: BTreeMap<&'a Name, Owned<'a>>,
    /// Volumes by address.
    pub volumes: BTreeMap<Ipv4Addr, &'a Name>,
    /// The address of each volume, and its provider.
    pub places: BTreeMap<&'a Name, (Ipv4Addr, &'a Name)>,
    /// All addresses of providers, as sources and as destinations.
    pub ours: [Set; 2],
}

/// A provider's addresses.
#[derive(Debug, Clone, Copy)]
pub struct Owned<'a> {
    /// Its addresses.
    pub region: &'a AddressRegion,
    /// Its addresses, as sources and as destinations.
    pub sets: [Set; 2],
}

/// The two sides of a flow, in the order of arrays here.
pub const ENDS: [End; 2] = [End::Source, End::Destination];
/// The index of sources in such arrays.
pub const FROM: usize = 0;
/// The index of destinations in such arrays.
pub const TO: usize = 1;

impl<'a> Both<'a> {
    /// Computes the functions of both sides in one space.
    pub fn of(old: ComparedSide<'a>, new: ComparedSide<'a>) -> Self {
        let mut flows = Flows::default();
        let reach = [old, new].map(|side| Reach::of(&mut flows, side.plan));
        let owners = [old, new].map(|side| Owners::of(&mut flows, side));
        let mac = flows.of_this_mac();
        let within = flows.and(reach[0].within, reach[1].within);
        let within = flows.minus(within, mac);
        let localhost = ENDS.map(|end| flows.network(end, Ipv4Addr::new(127, 0, 0, 0).into(), 8));
        let localhost = [flows.minus(localhost[FROM], mac), localhost[TO]];
        let inet = flows.family(PacketFamily::Inet);
        let outside = [FROM, TO].map(|end| {
            let owned = owners.each_ref().map(|side| side.ours[end]);
            let known = [owned[0], owned[1], localhost[end]];
            known.into_iter().fold(inet, |left, known| flows.minus(left, known))
        });
        let outside = [flows.minus(outside[FROM], mac), outside[TO]];
        let all = [old, new].into_iter().flat_map(|side| &side.plan.volumes);
        let aliases = all.filter_map(|volume| Some((volume.alias?, &volume.name))).collect();
        let mut of_side =
            |side: &Owners, end: usize| ends::addresses(&mut flows, ENDS[end], side.volumes.keys());
        let volumes = owners.each_ref().map(|side| [FROM, TO].map(|end| of_side(side, end)));
        Self { flows, reach, owners, within, outside, localhost, volumes, aliases }
    }

    /// The flows whose source (except this Mac) or destination is one of these addresses.
    pub fn addresses<'b>(&mut self, end: usize, all: impl IntoIterator<Item = &'b Ipv4Addr>) -> Set {
        let set = ends::addresses(&mut self.flows, ENDS[end], all);
        let mac = self.flows.of_this_mac();
        if end == FROM { self.flows.minus(set, mac) } else { set }
    }

    /// The addresses of a set that restricts only one side, as ranges, without this Mac as a source.
    pub fn ranges(&mut self, end: usize, set: Set) -> Vec<[Ipv4Addr; 2]> {
        let set = self.flows.on_wire(set);
        let ranges = self.flows.address_ranges(set, ENDS[end], PacketFamily::Inet);
        let address = |number: u128| Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX));
        ranges.into_iter().map(|(first, last)| [address(first), address(last)]).collect()
    }
}

impl<'a> Owners<'a> {
    fn of(flows: &mut Flows, side: ComparedSide<'a>) -> Self {
        let mac = flows.of_this_mac();
        let mut providers = BTreeMap::new();
        for bridge in &side.plan.bridges {
            let sets = ENDS.map(|end| ends::region(flows, end, &bridge.region));
            let sets = [flows.minus(sets[FROM], mac), sets[TO]];
            providers.insert(&bridge.provider, Owned { region: &bridge.region, sets });
        }
        let ours = [FROM, TO]
            .map(|end| providers.values().map(|it: &Owned| it.sets[end]).collect::<Vec<_>>())
            .map(|sets| flows.union(&sets));
        let volumes = &side.plan.volumes;
        Self {
            providers,
            volumes: volumes.iter().map(|volume| (volume.address, &volume.name)).collect(),
            places: volumes.iter().map(|it| (&it.name, (it.address, &it.provider))).collect(),
            ours,
        }
    }

    /// The provider that an address belongs to.
    pub fn provider(&self, address: Ipv4Addr) -> Option<&'a Name> {
        self.providers.iter().find(|(_, owned)| owned.region.contains(address)).map(|(name, _)| *name)
    }
}
