//! The traffic of a lab, for `serve`: the counters of rules, and the flows that have a state.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use nixvol_net::router::{Tally, Topology};
use serde::{Deserialize, Serialize};

use super::macs::Macs;

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
pub fn traffic(macs: &Macs) -> Traffic {
    let mut labels: BTreeMap<String, [u64; 4]> = BTreeMap::new();
    for (label, tally) in macs.all().iter().flat_map(|mac| mac.router.tallies()) {
        let Tally { packets: [packets_in, packets_out], bytes: [bytes_in, bytes_out] } = tally;
        let sums = labels.entry(label).or_default();
        for (sum, more) in sums.iter_mut().zip([packets_in, packets_out, bytes_in, bytes_out]) {
            *sum += more;
        }
    }
    let mut flows = flows(macs);
    let more = flows.len().saturating_sub(MOST);
    flows.truncate(MOST);
    Traffic { labels, flows, more }
}

/// The flows that have a state. What the Mac sends to itself has two states, one for each direction on lo0, and what it
/// sends to another Mac has some on both.
fn flows(macs: &Macs) -> Vec<FlowCount> {
    const ICMP: u8 = nixvol_net::pf::eval::ICMP;
    let talks: BTreeSet<_> = macs
        .all()
        .iter()
        .flat_map(|mac| mac.router.rules().machine().conversations())
        .map(|talk| (talk.protocol, talk.source, talk.destination))
        .collect();
    let mut counts: BTreeMap<(String, String, u8, u16), usize> = BTreeMap::new();
    for (protocol, source, destination) in talks {
        let port = if protocol == ICMP { 0 } else { destination.1 };
        let key = (name(macs, source.0), name(macs, destination.0), protocol, port);
        *counts.entry(key).or_default() += 1;
    }
    let flow = |((from, to, protocol, port), count)| FlowCount { from, to, protocol, port, count };
    let mut flows: Vec<FlowCount> = counts.into_iter().map(flow).collect();
    flows.sort_by_key(|flow| std::cmp::Reverse(flow.count));
    flows
}

fn name(macs: &Macs, address: IpAddr) -> String {
    let owner = |topology: &Topology| match address {
        IpAddr::V4(address) => topology.owner(address).map(|id| topology.node(id).name.clone()),
        IpAddr::V6(_) => None,
    };
    let known = macs.all().iter().find_map(|mac| owner(mac.router.topology()));
    known.unwrap_or_else(|| address.to_string())
}
