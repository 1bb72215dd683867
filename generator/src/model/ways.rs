//! What a link's conditions come to: the ways that they are of, each with figures.

use std::collections::{BTreeMap, BTreeSet};

use super::regions::{Region, Span};
use super::{Conditions, Declaration, End, Link};

/// One direction of a link that has conditions; of one that goes by regions, the part between two of them.
pub struct Way<'a> {
    /// The link.
    pub link: &'a Link,
    /// Who sends.
    pub from: BTreeSet<End>,
    /// Who receives.
    pub to: BTreeSet<End>,
    /// What it is like.
    pub conditions: Conditions,
}

impl Declaration {
    /// Every way that has conditions, in the order of the links; there before back, and by the names of regions.
    pub fn ways(&self) -> Vec<Way<'_>> {
        let mut all = Vec::new();
        for link in &self.links {
            let Some(conditions) = link.conditions else { continue };
            for (from, to) in link.directions() {
                if conditions.goes_by_regions() {
                    self.between_regions(link, from, to, &mut all);
                } else {
                    let (from, to) = (from.clone(), to.clone());
                    all.push(Way { link, from, to, conditions: conditions.over(None) });
                }
            }
        }
        all
    }

    /// One way for each two regions between which packets of other providers go.
    fn between_regions<'a>(
        &self,
        link: &'a Link,
        from: &BTreeSet<End>,
        to: &BTreeSet<End>,
        all: &mut Vec<Way<'a>>,
    ) {
        let Some(conditions) = link.conditions else { return };
        let (from, to) = (self.by_region(from), self.by_region(to));
        for (sender, from) in &from {
            for (receiver, to) in &to {
                let span = Span { from: *sender, to: *receiver };
                let leaves = |end: &End| to.iter().any(|to| self.provider_of(to) != self.provider_of(end));
                if from.iter().any(leaves) {
                    let conditions = conditions.over(Some(span));
                    all.push(Way { link, from: from.clone(), to: to.clone(), conditions });
                }
            }
        }
    }

    /// The ends by the regions of their providers; those of a link that goes by regions have one.
    fn by_region(&self, ends: &BTreeSet<End>) -> BTreeMap<Region, BTreeSet<End>> {
        let mut all: BTreeMap<Region, BTreeSet<End>> = BTreeMap::new();
        for end in ends {
            if let Some(region) = self.providers[self.provider_of(end)].region {
                all.entry(region).or_default().insert(end.clone());
            }
        }
        all
    }
}
