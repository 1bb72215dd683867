//! Decomposition of a set of flows into few statements, each about every sender of a set, every receiver of a set, and
//! the same services.

use super::both::Both;
use crate::packets::Set;

/// A product set of flows: all from its senders to its receivers by its services, except those inside one provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowRectangle {
    /// The senders.
    pub from: Set,
    /// The receivers.
    pub to: Set,
    /// The services.
    pub services: Set,
    /// The flows.
    pub flows: Set,
}

/// The maximum number of rows for which columns are tried as an alternative.
const FEW: usize = 64;

impl Both<'_> {
    /// Decomposes a set of flows, none of them inside one provider, into disjoint rectangles: each pair of endpoints
    /// with all its services, or each service with all its pairs, whichever gives fewer.
    pub fn rectangles(&mut self, set: Set) -> Vec<FlowRectangle> {
        let by_pairs = self.flows.by_service(set);
        let rectangles = self.of_all(&by_pairs);
        if by_pairs.len() > FEW {
            return rectangles;
        }
        let by_service = self.columns(&by_pairs);
        let others = self.of_all(&by_service);
        if others.len() < rectangles.len() { others } else { rectangles }
    }

    fn of_all(&mut self, parts: &[(Set, Set)]) -> Vec<FlowRectangle> {
        parts.iter().flat_map(|(pairs, services)| self.of_pairs(*pairs, *services)).collect()
    }

    fn of_pairs(&mut self, pairs: Set, services: Set) -> Vec<FlowRectangle> {
        let flows = &mut self.flows;
        // Flows inside a provider may be included: no statement is about them, and a mesh becomes one rectangle.
        let (senders, receivers) = (flows.senders(pairs), flows.receivers(pairs));
        let both = flows.and(senders, receivers);
        let within = flows.and(both, self.within);
        let filled = flows.or(pairs, within);
        let rows = flows.by_sender(filled);
        let rows = self.trimmed(pairs, &rows);
        if rows.len() > FEW {
            return self.with_services(rows, services);
        }
        let columns = self.columns(&rows);
        let columns = self.trimmed(pairs, &columns);
        self.with_services(if columns.len() < rows.len() { columns } else { rows }, services)
    }

    /// The same pairs, regrouped so that the sets of receivers are disjoint.
    fn columns(&mut self, rows: &[(Set, Set)]) -> Vec<(Set, Set)> {
        let mut columns: Vec<(Set, Set)> = Vec::new();
        for (from, to) in rows {
            let mut left = *to;
            let mut parts = Vec::new();
            for (senders, receivers) in columns {
                let both = self.flows.and(receivers, left);
                let rest = self.flows.minus(receivers, left);
                left = self.flows.minus(left, receivers);
                parts.extend([(self.flows.or(senders, *from), both), (senders, rest)]);
            }
            parts.push((*from, left));
            parts.retain(|(_, receivers)| !receivers.is_empty());
            columns = parts;
        }
        // Receivers with the same senders share a column.
        columns.sort_unstable();
        let joined = columns.chunk_by(|a, b| a.0 == b.0).map(|same| {
            let to = same.iter().fold(Set::NONE, |all, (_, to)| self.flows.or(all, *to));
            (same[0].0, to)
        });
        joined.collect()
    }

    /// Removes senders and receivers that occur in none of the pairs.
    fn trimmed(&mut self, pairs: Set, all: &[(Set, Set)]) -> Vec<(Set, Set)> {
        let flows = &mut self.flows;
        let mut trim = |(from, to): &(Set, Set)| {
            let both = flows.and(*from, *to);
            let inside = flows.and(both, pairs);
            (flows.senders(inside), flows.receivers(inside))
        };
        all.iter().map(&mut trim).filter(|(from, _)| !from.is_empty()).collect()
    }

    fn with_services(&mut self, all: Vec<(Set, Set)>, services: Set) -> Vec<FlowRectangle> {
        let mut rectangle = |(from, to)| {
            let pairs = self.flows.and(from, to);
            let pairs = self.flows.minus(pairs, self.within);
            FlowRectangle { from, to, services, flows: self.flows.and(pairs, services) }
        };
        all.into_iter().map(&mut rectangle).collect()
    }
}
