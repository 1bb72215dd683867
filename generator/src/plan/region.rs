//! The addresses of a provider: its network, except what `allowOverlap` leaves to another network of the Mac.
//!
//! A prefix of `allowOverlap` that is part of a provider's network belongs to the other network, such as a LAN or VPN,
//! whose route is more specific. Its addresses are no longer the provider's, except those of volumes and of the
//! gateway. The provider's network itself, or a wider prefix, excludes nothing: there the provider's route leads to its
//! bridge.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::model::{Declaration, Name};

/// A network with excluded prefixes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressRegion {
    /// The network.
    pub network: Ipv4Net,
    /// The prefixes that are left to other networks: sorted, none inside another.
    pub given: Vec<Ipv4Net>,
    /// The addresses inside these prefixes that the provider keeps: its gateway's and its volumes'.
    pub kept: BTreeSet<Ipv4Addr>,
}

impl AddressRegion {
    /// The addresses of a provider.
    ///
    /// # Panics
    /// If the provider is from another declaration.
    pub fn of(declaration: &Declaration, name: &Name) -> Self {
        let provider = &declaration.providers[name];
        let network = provider.network;
        let is_part = |prefix: &&Ipv4Net| network.contains(*prefix) && **prefix != network;
        let parts: Vec<Ipv4Net> = declaration.allow_overlap.iter().filter(is_part).copied().collect();
        let is_whole = |part: &Ipv4Net| !parts.iter().any(|other| other != part && other.contains(part));
        let given: Vec<Ipv4Net> = parts.iter().copied().filter(is_whole).collect();
        if given.is_empty() {
            return Self { network, given, kept: BTreeSet::new() };
        }
        let volumes = declaration.volumes.values().filter(|volume| volume.provider == *name);
        let held = volumes.map(|volume| volume.address).chain([provider.gateway.addr()]);
        let kept = held.filter(|address| given.iter().any(|prefix| prefix.contains(address))).collect();
        Self { network, given, kept }
    }

    /// Whether an address is the provider's.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.network.contains(&address)
            && (self.kept.contains(&address) || !self.given.iter().any(|prefix| prefix.contains(&address)))
    }

    /// Prefixes with whether each is excluded; the longest one that contains an address decides.
    pub fn prefixes(&self) -> impl Iterator<Item = (Ipv4Net, bool)> {
        let given = self.given.iter().map(|prefix| (*prefix, true));
        [(self.network, false)]
            .into_iter()
            .chain(given)
            .chain(self.kept.iter().map(|address| ((*address).into(), false)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(allow_overlap: &str) -> AddressRegion {
        let json = format!(
            r#"{{ "version": 1, "allowOverlap": [{allow_overlap}],
                "providers": {{ "aws": {{ "network": "10.0.0.0/16", "gateway": "10.0.1.1/24" }} }},
                "volumes": {{ "etcd-1": {{ "provider": "aws", "address": "10.0.5.9" }} }} }}"#
        );
        let declaration = crate::model::read(json.as_bytes()).expect("it is valid");
        AddressRegion::of(&declaration, &Name::new("aws", Name::LONGEST).expect("a name"))
    }

    fn held(region: &AddressRegion, address: [u8; 4]) -> bool {
        region.contains(address.into())
    }

    #[test]
    fn a_prefix_inside_the_network_is_given_away_but_for_what_volumes_have() {
        let region = region(r#""10.0.5.0/24", "10.0.5.128/25", "192.168.0.0/16""#);
        assert!(held(&region, [10, 0, 5, 9]));
        assert!(!held(&region, [10, 0, 5, 10]));
        assert!(held(&region, [10, 0, 6, 10]));
        let words: Vec<String> = region
            .prefixes()
            .map(|(prefix, is_out)| format!("{}{prefix}", if is_out { "!" } else { "" }))
            .collect();
        assert_eq!(words, ["10.0.0.0/16", "!10.0.5.0/24", "10.0.5.9/32"]);
    }

    #[test]
    fn the_network_itself_or_a_wider_prefix_gives_nothing_away() {
        for prefix in [r#""10.0.0.0/16""#, r#""10.0.0.0/8""#] {
            assert!(held(&region(prefix), [10, 0, 5, 10]));
        }
    }
}
