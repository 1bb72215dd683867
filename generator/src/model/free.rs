//! Free addresses and networks, for hints. Each is proposed only once, so that following all hints of a run causes no
//! new collision.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{Declaration, Name};

impl Declaration {
    /// The next free address of a provider; `None` if there is no such provider or no free address.
    pub fn free_address(&self, provider: &str) -> Option<Ipv4Addr> {
        let at = self.providers.get(provider)?;
        let taken = self.volumes.values().map(|volume| volume.address).collect();
        FreeAddresses::new(at.network, at.gateway, taken).take()
    }

    /// The next free localhost alias; `None` if there is none.
    pub fn free_alias(&self) -> Option<Ipv4Addr> {
        let group = self.localhost.gateway;
        // 127.0.0.1 is the Mac's own, even if the range includes it.
        let taken = self.volumes.values().filter_map(|volume| volume.localhost).chain([Ipv4Addr::LOCALHOST]);
        FreeAddresses::new(group.trunc(), group, taken.collect()).take()
    }

    /// The next free private network, with the prefix length that most providers have.
    pub fn free_network(&self) -> Option<Ipv4Net> {
        let mut lengths = BTreeMap::new();
        for provider in self.providers.values() {
            *lengths.entry(provider.network.prefix_len()).or_insert(0) += 1;
        }
        let length = lengths.into_iter().max_by_key(|(_, count)| *count).map_or(16, |(length, _)| length);
        let taken = self.providers.values().map(|provider| provider.network);
        FreeNetworks::new(taken.chain(self.allow_overlap.iter().copied())).take(length)
    }

    /// A gateway for a network: at the offset that most providers use, otherwise the first address.
    pub fn gateway_for(&self, network: Ipv4Net) -> Option<Ipv4Net> {
        let mut places = BTreeMap::new();
        for provider in self.providers.values() {
            let offset = u32::from(provider.gateway.addr()) - u32::from(provider.network.network());
            *places.entry((offset, provider.gateway.prefix_len())).or_insert(0) += 1;
        }
        let first = (1, network.prefix_len());
        let (offset, length) =
            places.into_iter().max_by_key(|(_, count)| *count).map_or(first, |(place, _)| place);
        let at = |offset: u32, length: u8| {
            let address = u32::from(network.network()).checked_add(offset)?;
            let gateway = Ipv4Net::new(address.into(), length).ok()?;
            let fits = network.contains(&gateway.addr())
                && length >= network.prefix_len()
                && gateway.addr() != gateway.broadcast()
                && gateway.addr() != gateway.network();
            fits.then_some(gateway)
        };
        at(offset, length).or_else(|| at(first.0, first.1))
    }

    /// The provider whose name is nearest to a mistyped one.
    pub fn nearest_provider(&self, name: &str) -> Option<&str> {
        crate::input::nearest(name, self.providers.keys().map(Name::as_str))
    }
}

/// The free addresses of a network, in ascending order from the one after its gateway.
pub struct FreeAddresses {
    taken: BTreeSet<Ipv4Addr>,
    network: Ipv4Net,
    next: u32,
}

impl FreeAddresses {
    /// The addresses of `network` that are not `taken`; `prefix` is the gateway with the prefix length of its
    /// interface.
    pub fn new(network: Ipv4Net, prefix: Ipv4Net, mut taken: BTreeSet<Ipv4Addr>) -> Self {
        taken.extend([
            network.network(),
            network.broadcast(),
            prefix.network(),
            prefix.broadcast(),
            prefix.addr(),
        ]);
        // If the gateway itself is outside the network, start at the network's first address.
        let first = if network.contains(&prefix.addr()) { prefix.addr() } else { network.network() };
        Self { taken, network, next: first.into() }
    }

    /// Takes the next free address; `None` if there is none.
    pub fn take(&mut self) -> Option<Ipv4Addr> {
        loop {
            self.next = self.next.checked_add(1)?;
            let candidate = Ipv4Addr::from(self.next);
            if !self.network.contains(&candidate) {
                return None;
            }
            if self.taken.insert(candidate) {
                return Some(candidate);
            }
        }
    }
}

/// Free networks in private-use ranges (RFC 1918).
pub struct FreeNetworks {
    /// The last address of each network in use, by its first address. Disjoint: of nested networks, only the widest is
    /// kept.
    taken: BTreeMap<u32, u32>,
    /// Where the search for each prefix length continues: networks are never freed.
    next: BTreeMap<u8, (usize, Ipv4Net)>,
}

impl FreeNetworks {
    const PRIVATE: [Ipv4Net; 3] = [
        Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
        Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
        Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
    ];

    /// The networks that overlap none of `taken`.
    pub fn new(taken: impl IntoIterator<Item = Ipv4Net>) -> Self {
        let mut networks: Vec<Ipv4Net> = taken.into_iter().collect();
        networks.sort_unstable_by_key(|network| (network.network(), network.prefix_len()));
        let mut free = Self { taken: BTreeMap::new(), next: BTreeMap::new() };
        for network in networks {
            if free.in_the_way(network).is_none() {
                free.occupy(network);
            }
        }
        free
    }

    /// Takes the next free network with this prefix length; `None` if there is none.
    pub fn take(&mut self, prefix_len: u8) -> Option<Ipv4Net> {
        let (mut space, mut candidate) = match self.next.get(&prefix_len) {
            Some(next) => *next,
            None => (0, Ipv4Net::new(Self::PRIVATE[0].network(), prefix_len).ok()?),
        };
        loop {
            if !Self::PRIVATE[space].contains(&candidate) {
                space += 1;
                candidate = Ipv4Net::new(Self::PRIVATE.get(space)?.network(), prefix_len).ok()?;
                continue;
            }
            let Some(last) = self.in_the_way(candidate) else {
                self.occupy(candidate);
                self.next.insert(prefix_len, (space, candidate));
                return Some(candidate);
            };
            // Skip past the network in the way, so that the number of steps depends on the networks in use, not on the
            // size of the range.
            let behind = last.max(candidate.broadcast().into()).checked_add(1)?;
            candidate = Ipv4Net::new(behind.into(), prefix_len).ok()?;
        }
    }

    /// The last address of the network in use that overlaps this one, if there is one.
    fn in_the_way(&self, network: Ipv4Net) -> Option<u32> {
        let (first, last) = (u32::from(network.network()), u32::from(network.broadcast()));
        let (_, end) = self.taken.range(..=last).next_back()?;
        (*end >= first).then_some(*end)
    }

    fn occupy(&mut self, network: Ipv4Net) {
        self.taken.insert(network.network().into(), network.broadcast().into());
    }
}
