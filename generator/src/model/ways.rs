//! Resolves the conditions of links: the paths that they apply to, each with figures.

use std::collections::{BTreeMap, BTreeSet};

use super::conditions::Conditions;
use super::declaration::{Declaration, Endpoint, Link};
use super::regions::{Region, RegionPair};

/// One direction of a link with conditions. If they depend on regions, it is limited to the endpoints in two of these.
pub struct LinkDirection<'a> {
    /// The link.
    pub link: &'a Link,
    /// The senders.
    pub from: BTreeSet<Endpoint>,
    /// The receivers.
    pub to: BTreeSet<Endpoint>,
    /// The conditions, with the latency of regions resolved.
    pub conditions: Conditions,
}

impl Declaration {
    /// All directions that have conditions, in the order of links; forward before reverse, then by region names. With
    /// several Macs, those of senders on this one: a packet goes through a pipe once, on the Mac of its sender.
    pub fn ways(&self) -> Vec<LinkDirection<'_>> {
        let mut all = Vec::new();
        for link in &self.links {
            let Some(conditions) = link.conditions else { continue };
            for (from, to) in link.directions() {
                let is_here = |end: &&Endpoint| self.remote_mac(self.provider_of(end)).is_none();
                let from: BTreeSet<Endpoint> = from.iter().filter(is_here).cloned().collect();
                if from.is_empty() {
                    continue;
                }
                if conditions.goes_by_regions() {
                    self.between_regions(link, &from, to, &mut all);
                } else {
                    let to = to.clone();
                    all.push(LinkDirection { link, from, to, conditions: conditions.over(None) });
                }
            }
        }
        all
    }

    /// One entry for each pair of regions between which traffic leaves its provider.
    fn between_regions<'a>(
        &self,
        link: &'a Link,
        from: &BTreeSet<Endpoint>,
        to: &BTreeSet<Endpoint>,
        all: &mut Vec<LinkDirection<'a>>,
    ) {
        let Some(conditions) = link.conditions else { return };
        let (from, to) = (self.by_region(from), self.by_region(to));
        for (sender, from) in &from {
            for (receiver, to) in &to {
                let span = RegionPair { from: *sender, to: *receiver };
                let leaves =
                    |end: &Endpoint| to.iter().any(|to| self.provider_of(to) != self.provider_of(end));
                if from.iter().any(leaves) {
                    let conditions = conditions.over(Some(span));
                    all.push(LinkDirection { link, from: from.clone(), to: to.clone(), conditions });
                }
            }
        }
    }

    /// Groups endpoints by the region of their provider. The model ensures that each has one.
    fn by_region(&self, ends: &BTreeSet<Endpoint>) -> BTreeMap<Region, BTreeSet<Endpoint>> {
        let mut all: BTreeMap<Region, BTreeSet<Endpoint>> = BTreeMap::new();
        for end in ends {
            if let Some(region) = self.providers[self.provider_of(end)].region {
                all.entry(region).or_default().insert(end.clone());
            }
        }
        all
    }
}
