//! Checks providers and the localhost group: networks, gateways, reserved ranges, overlaps.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{Check, Name};
use crate::input::{self, ProviderAttachment, nearest};
use crate::model::free::FreeNetworks;
use crate::model::regions::{Cloud, Region};
use crate::model::{Localhost, Provider};
use crate::place::At;
use crate::problem::{Edge, Problem, ProblemKind};

/// Ranges that no provider can have: macOS, or every system, treats them specially.
pub(super) const RESERVED: [(Ipv4Net, &str); 5] = [
    (net(0, 0, 8), "reserved (this network)"),
    (net(127, 0, 8), "loopback"),
    (net(169, 254, 16), "link-local"),
    (net(224, 0, 4), "multicast"),
    (net(240, 0, 4), "reserved"),
];

const LOOPBACK: Ipv4Net = net(127, 0, 8);

const fn net(first: u8, second: u8, prefix_len: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(first, second, 0, 0), prefix_len)
}

/// Whether two networks share an address.
fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other) || other.contains(&one)
}

/// The problem with an address that no interface can have: the network or broadcast address of this network.
pub fn edge(address: Ipv4Addr, network: Ipv4Net) -> Option<ProblemKind> {
    if network.prefix_len() > 30 {
        return None;
    }
    let network = network.trunc();
    let edge = match address {
        _ if address == network.network() => Edge::Network,
        _ if address == network.broadcast() => Edge::Broadcast,
        _ => return None,
    };
    Some(ProblemKind::EdgeAddress { address, network, edge })
}

impl Check<'_> {
    pub(super) fn providers(&mut self) -> BTreeMap<String, Option<Provider>> {
        let mut networks = Vec::new();
        let mut providers = BTreeMap::new();
        for (name, raw) in self.input.providers.iter().flatten() {
            let at = At::of(&["providers", name]);
            let network =
                raw.network.as_deref().and_then(|text| self.provider_network(&at.child("network"), text));
            networks.extend(network.map(|network| (network, name)));
            let provider = self.provider(name, raw, network);
            providers.insert(name.clone(), provider);
        }
        self.overlaps(networks);
        providers
    }

    fn provider(
        &mut self,
        name: &str,
        raw: &input::RawProvider,
        network: Option<Ipv4Net>,
    ) -> Option<Provider> {
        let at = At::of(&["providers", name]);
        let gateway = raw.gateway.as_deref().and_then(|text| self.cidr(&at.child("gateway"), text));
        if let (Some(network), Some(gateway)) = (network, gateway) {
            self.gateway(&at.child("gateway"), name, gateway, network);
        }
        let bridge = match raw.bridge.as_deref() {
            Some(given) => self.name(&at.child("bridge"), given, Name::LONGEST_LOGICAL),
            None => Name::new(name, Name::LONGEST).map(|name| name.behind("bridge")),
        };
        let attachment = self.word(
            &at.child("attachment"),
            raw.attachment.as_deref(),
            ProviderAttachment::Bridge,
            ProviderAttachment::from_word,
            ProviderAttachment::WORDS,
        );
        let internet = raw.internet.unwrap_or(true);
        let region = match raw.region.as_deref() {
            Some(found) => Some(self.region(at.child("region"), name, found)?),
            None => None,
        };
        Some(Provider { network: network?, gateway: gateway?, bridge: bridge?, attachment, internet, region })
    }

    /// The region with this name. If the provider's name is that of a cloud, the region must be of that cloud.
    fn region(&mut self, at: At, provider: &str, found: &str) -> Option<Region> {
        let cloud = Cloud::of_name(provider);
        match (Region::find(found), cloud) {
            (Some(region), Some(cloud)) if region.cloud != cloud => {
                let there = cloud.regions().iter().find(|other| other.city == region.city);
                let near = nearest(found, cloud.regions().iter().map(|region| region.name));
                let kind = ProblemKind::RegionOfAnother {
                    found: region.name,
                    cloud: cloud.name(),
                    of: region.cloud.name(),
                    near: near.or(there.map(|region| region.name)),
                };
                self.wrong(at, kind);
                None
            }
            (Some(region), _) => Some(region),
            (None, cloud) => {
                let known = Region::all().filter(|region| cloud.is_none_or(|cloud| region.cloud == cloud));
                let nearest = nearest(found, known.map(|region| region.name));
                let cloud = cloud.map(Cloud::name);
                self.wrong(at, ProblemKind::UnknownRegion { found: found.to_owned(), cloud, nearest });
                None
            }
        }
    }

    fn provider_network(&mut self, at: &At, text: &str) -> Option<Ipv4Net> {
        let found = self.network(at, text)?;
        let mut right = true;
        for (reserved, what) in RESERVED {
            if overlap(found, reserved) {
                self.wrong(at, ProblemKind::ReservedSpace { found, reserved, what });
                right = false;
            }
        }
        if found.prefix_len() > 30 {
            self.wrong(at, ProblemKind::NoRoom { found });
            right = false;
        }
        right.then_some(found)
    }

    fn gateway(&mut self, at: &At, name: &str, gateway: Ipv4Net, network: Ipv4Net) {
        let provider = name.to_owned();
        if !network.contains(&gateway.addr()) {
            self.wrong(at, ProblemKind::GatewayOutside { provider, gateway, network });
        } else if gateway.prefix_len() < network.prefix_len() {
            self.wrong(at, ProblemKind::GatewayWider { provider, gateway, network });
        } else if let Some(kind) = edge(gateway.addr(), network).or_else(|| edge(gateway.addr(), gateway)) {
            self.wrong(at, kind);
        }
    }

    /// Reports each network that overlaps one with a lower address.
    fn overlaps(&mut self, mut networks: Vec<(Ipv4Net, &String)>) {
        networks.sort_unstable_by_key(|(network, name)| (network.network(), network.prefix_len(), *name));
        let mut free = FreeNetworks::new(networks.iter().map(|(network, _)| *network));
        let mut widest: Option<(Ipv4Net, &String)> = None;
        for (network, name) in networks {
            match widest {
                Some((before, owner)) if overlap(before, network) => {
                    let kind = ProblemKind::NetworksOverlap {
                        first: (owner.clone(), before),
                        second: (name.clone(), network),
                        free: free.take(network.prefix_len()),
                    };
                    let at = |provider: &str| At::of(&["providers", provider, "network"]).path();
                    self.problems.push(Problem::new(at(name), kind).with(at(owner)));
                }
                _ => widest = Some((network, name)),
            }
        }
    }

    pub(super) fn localhost(&mut self) -> Option<Localhost> {
        let raw = self.input.localhost.as_ref();
        let at = At::of(&["localhost"]);
        let bridge = raw.and_then(|raw| raw.bridge.as_deref()).unwrap_or("bridge-localhost");
        let bridge = self.name(&at.child("bridge"), bridge, Name::LONGEST_LOGICAL);
        let text = raw.and_then(|raw| raw.gateway.as_deref()).unwrap_or("127.0.1.1/24");
        let at = at.child("gateway");
        let gateway = self.cidr(&at, text)?;
        if !LOOPBACK.contains(&gateway) {
            self.wrong(at, ProblemKind::NotLoopback { found: gateway });
            return None;
        }
        if gateway.addr() == Ipv4Addr::LOCALHOST {
            self.wrong(at, ProblemKind::MacsOwn { found: gateway.addr() });
        } else if let Some(kind) = edge(gateway.addr(), gateway) {
            self.wrong(at, kind);
        }
        Some(Localhost { bridge: bridge?, gateway })
    }
}
