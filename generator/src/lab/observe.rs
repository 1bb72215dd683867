//! The traffic of a lab, for `serve`: the counters of rules, and the flows that have a state.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use nixvol_net::router::{Router, Tally, Topology};
use serde::{Deserialize, Serialize};

/// Most flows in one reply: those with the most connections.
const MOST: usize = 200;

/// The traffic of a lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Traffic {
    /// The counters by rule label: packets in and out, bytes in and out.
    pub labels: BTreeMap<String, [u64; 4]>,
    /// The flows that have a state, by ends and service.
    pub flows: Vec<FlowCount>,
    /// The number of flows that were left out.
    pub more: usize,
}

/// Connections between two ends to one port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowCount {
    /// Who opened them: a node, or an address.
    pub from: String,
    /// To whom.
    pub to: String,
    /// The IP protocol number.
    pub protocol: u8,
    /// The destination port; 0 if the protocol has none.
    pub port: u16,
    /// How many there are.
    pub count: usize,
}

/// The traffic so far, and now.
pub fn traffic(router: &Router) -> Traffic {
    let label = |(label, tally): (String, Tally)| {
        let [[packets_in, packets_out], [bytes_in, bytes_out]] = [tally.packets, tally.bytes];
        (label, [packets_in, packets_out, bytes_in, bytes_out])
    };
    let mut flows = flows(router);
    let more = flows.len().saturating_sub(MOST);
    flows.truncate(MOST);
    Traffic { labels: router.tallies().into_iter().map(label).collect(), flows, more }
}

/// The flows that have a state. What the Mac sends to itself has two states, one for each direction on lo0.
fn flows(router: &Router) -> Vec<FlowCount> {
    const ICMP: u8 = nixvol_net::pf::eval::ICMP;
    let topology = router.topology();
    let talks: BTreeSet<_> = router
        .rules()
        .machine()
        .conversations()
        .map(|talk| (talk.protocol, talk.source, talk.destination))
        .collect();
    let mut counts: BTreeMap<(String, String, u8, u16), usize> = BTreeMap::new();
    for (protocol, source, destination) in talks {
        let port = if protocol == ICMP { 0 } else { destination.1 };
        let key = (name(topology, source.0), name(topology, destination.0), protocol, port);
        *counts.entry(key).or_default() += 1;
    }
    let flow = |((from, to, protocol, port), count)| FlowCount { from, to, protocol, port, count };
    let mut flows: Vec<FlowCount> = counts.into_iter().map(flow).collect();
    flows.sort_by_key(|flow| std::cmp::Reverse(flow.count));
    flows
}

fn name(topology: &Topology, address: IpAddr) -> String {
    let owner = match address {
        IpAddr::V4(address) => topology.owner(address),
        IpAddr::V6(_) => None,
    };
    owner.map_or_else(|| address.to_string(), |id| topology.node(id).name.clone())
}
