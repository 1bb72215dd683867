//! End to end: the outcome of a flow follows from what its packets meet at the hooks of macOS, one after the other.

use std::net::Ipv4Addr;

use nixvol_net::model::VolumeAttachment;
use nixvol_net::packets::{Along, Side};
use nixvol_net::plan::Plan;
use nixvol_net::plan::policy::{
    Because, ECHO, ICMP, PolicyDirection, PolicyInterface, PolicyPacket, PolicyVerdict, SYN, TCP,
    Translation, UDP,
};
use nixvol_net::reach::{Flow, FlowOutcome, FlowVerdict, Flows, Opener, Reach, Reason};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::diff_networks::networks;
use crate::sizes;
use crate::support::{Shape, declared, default_input, topologies};

/// The Mac's own address; below, one of an outside host.
const MAC: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 10);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);

/// The path of a packet over the hooks of the Mac.
pub struct Walk<'a> {
    plan: &'a Plan,
    here: Vec<Ipv4Addr>,
}

impl<'a> Walk<'a> {
    pub fn of(plan: &'a Plan) -> Self {
        Self { plan, here: plan.policy.parts().here.iter().copied().collect() }
    }

    fn bridge(&self, address: Ipv4Addr) -> Option<usize> {
        self.plan.bridges.iter().position(|bridge| bridge.region.contains(address))
    }

    fn has(&self, address: Ipv4Addr) -> bool {
        self.here.contains(&address) || address.is_loopback() || address == MAC
    }

    /// The hooks at which pf sees the first packet of a flow.
    fn hooks(&self, flow: &Flow) -> Vec<(PolicyDirection, PolicyInterface)> {
        use PolicyDirection::{In, Out};
        let source = match flow.opener {
            Opener::ThisMac => MAC,
            Opener::Address(address) => address,
        };
        let to = self.bridge(flow.destination);
        let leaving = to.map_or(PolicyInterface::Egress, PolicyInterface::Bridge);
        // No packet for localhost comes over a wire; such traffic passes lo0.
        if self.has(source) && self.has(flow.destination)
            || flow.destination.is_loopback() && self.bridge(source).is_some()
        {
            return vec![(Out, PolicyInterface::Loopback), (In, PolicyInterface::Loopback)];
        }
        if self.has(source) {
            return vec![(Out, leaving)];
        }
        let from = self.bridge(source);
        let mut hooks = vec![(In, from.map_or(PolicyInterface::Egress, PolicyInterface::Bridge))];
        if !self.has(flow.destination) && from != to {
            hooks.push((Out, leaving));
        }
        hooks
    }

    /// The outcome of a flow, hook by hook, and the last reason.
    pub fn fate(&self, flow: &Flow) -> (FlowVerdict, Vec<Because>) {
        let source = match flow.opener {
            Opener::ThisMac => MAC,
            Opener::Address(address) => address,
        };
        let (mut source, mut destination, mut translation, mut passes) =
            (source, flow.destination, None, false);
        let mut because = Vec::new();
        for (direction, interface) in self.hooks(flow) {
            let packet = PolicyPacket {
                direction,
                interface,
                source,
                destination,
                protocol: flow.protocol,
                port: flow.port,
                flags: if flow.protocol == TCP { SYN } else { 0 },
                icmp: if flow.protocol == ICMP { ECHO } else { 0 },
            };
            let decision = self.plan.policy.decide(&packet);
            because.push(decision.because);
            match decision.verdict {
                PolicyVerdict::Refuse(_) => return (FlowVerdict::Refused, because),
                PolicyVerdict::Drop => return (FlowVerdict::Dropped, because),
                PolicyVerdict::Pass | PolicyVerdict::Carry => passes = true,
                PolicyVerdict::Untouched => {}
            }
            match decision.translation {
                Some(Translation::GatewaySource(gateway)) => source = gateway,
                Some(Translation::Published(volume)) => destination = volume,
                Some(Translation::EgressSource) | None => {}
            }
            translation = decision.translation.or(translation);
        }
        // A connection from the Mac itself to a guest meets no rule, and passes.
        passes |= flow.opener == Opener::ThisMac && self.bridge(flow.destination).is_some();
        (if passes { FlowVerdict::Passes(translation) } else { FlowVerdict::Untouched }, because)
    }
}

fn is_reason(reason: Reason, because: &[Because]) -> bool {
    because.iter().any(|because| {
        matches!(
            (reason, because),
            (Reason::Within, Because::Within(_))
                | (Reason::Links, Because::Links(_))
                | (Reason::NoLink, Because::NoLink)
                | (Reason::Internet, Because::Internet(_))
                | (Reason::NoInternet, Because::NoInternet(_))
                | (Reason::Localhost, Because::Loopback)
                | (Reason::ThisMac, Because::ThisMac | Because::NotOurs)
                | (Reason::Outside, Because::Outside)
                | (Reason::NotOurs, Because::NotOurs)
        )
    })
}

/// Networks with some volumes as guests, and with part of a network left to others.
pub fn input() -> impl Strategy<Value = Value> {
    let guests = proptest::sample::subsequence(vec!["etcd-2", "talos"], 0..=2);
    (networks(), guests, any::<bool>()).prop_map(|(mut input, guests, overlap)| {
        for guest in guests {
            input["volumes"][guest]["attachment"] = json!("guest");
        }
        if overlap {
            input["allowOverlap"] = json!(["10.1.9.0/24", "10.0.0.0/24"]);
        }
        input
    })
}

fn flow() -> impl Strategy<Value = Flow> {
    let address = || {
        let near = [
            "10.0.1.1",
            "10.0.1.2",
            "10.0.1.3",
            "10.0.1.4",
            "10.0.0.9",
            "10.1.1.1",
            "10.1.9.2",
            "10.1.9.3",
            "10.2.1.1",
            "10.2.7.7",
            "10.3.9.9",
            "127.0.0.1",
            "127.0.1.11",
        ];
        let near = near.map(|address| address.parse::<Ipv4Addr>().expect("an address")).to_vec();
        prop_oneof![9 => proptest::sample::select(near), 1 => Just(OUTSIDE), 1 => any::<u32>().prop_map(Ipv4Addr::from)]
    };
    let opener = prop_oneof![1 => Just(Opener::ThisMac), 5 => address().prop_map(Opener::Address)];
    let service = prop_oneof![
        (prop_oneof![Just(TCP), Just(UDP)], prop_oneof![78u16..83, Just(443)]),
        Just((ICMP, 0)),
        Just((47, 0)),
    ];
    (opener, address(), service).prop_map(|(opener, destination, (protocol, port))| Flow {
        opener,
        destination,
        protocol,
        port,
    })
}

proptest! {
    #![proptest_config(crate::support::cases(60))]

    /// The end-to-end table of the policy agrees with the policy at the hooks.
    #[test]
    fn the_outcome_follows_from_the_hooks(input in input(), sample in proptest::collection::vec(flow(), 200)) {
        let plan = Plan::of(&declared(&input));
        let mut flows = Flows::default();
        let reach = Reach::of(&mut flows, &plan);
        let walk = Walk::of(&plan);
        for flow in sample {
            let (fate, because) = walk.fate(&flow);
            let FlowOutcome { fate: told, reason } = reach.outcome_of(&flows, &flow);
            prop_assert_eq!(told, fate, "{:?} {:?}", flow, because);
            prop_assert!(is_reason(reason, &because), "{:?}: {:?} {:?}", flow, reason, because);
            if let Opener::Address(source) = flow.opener {
                let pipe = plan.policy.pipe_between(source, flow.destination).map_or(0, u32::from);
                prop_assert_eq!(flows.of_flow(reach.pipe, &flow), pipe, "{:?}", flow);
            }
        }
    }
}

#[test]
fn every_row_of_the_table_occurs() {
    let mut input = default_input();
    input["links"] =
        json!([{ "from": ["aws"], "to": ["azure"], "protocol": "tcp", "ports": [443], "masquerade": true }]);
    input["providers"]["gcp"]["internet"] = json!(false);
    input["volumes"]["etcd-1"]["publish"] = json!([2379]);
    let plan = Plan::of(&declared(&input));
    assert!(plan.volumes.iter().all(|volume| volume.attachment == VolumeAttachment::Host));
    let mut flows = Flows::default();
    let reach = Reach::of(&mut flows, &plan);
    let told = |from: &str, to: &str, protocol: u8, port: u16| {
        let opener = match from {
            "mac" => Opener::ThisMac,
            address => Opener::Address(address.parse().expect("an address")),
        };
        let destination = to.parse().expect("an address");
        let outcome = reach.outcome_of(&flows, &Flow { opener, destination, protocol, port });
        format!("{}: {:?}", outcome.fate, outcome.reason)
    };
    assert_eq!(told("10.0.1.2", "10.0.1.3", UDP, 9), "passed: Within");
    assert_eq!(told("10.0.1.2", "10.1.1.2", TCP, 443), "passed from 10.1.1.1: Links");
    assert_eq!(
        told("10.0.9.9", "10.1.1.2", TCP, 443),
        "passed: Links",
        "to what the Mac has nothing goes out"
    );
    assert_eq!(told("10.1.1.2", "10.0.1.2", TCP, 443), "refused: NoLink");
    assert_eq!(told("10.0.1.2", "203.0.113.7", ICMP, 0), "passed with NAT: Internet");
    assert_eq!(told("10.2.1.2", "203.0.113.7", ICMP, 0), "refused: NoInternet");
    assert_eq!(told("10.2.1.2", "127.0.0.1", TCP, 1), "passed: Localhost");
    assert_eq!(told("mac", "127.0.1.11", TCP, 2379), "passed to 10.0.1.2: Localhost");
    assert_eq!(told("mac", "127.0.1.11", TCP, 2380), "untouched: NotOurs");
    assert_eq!(told("mac", "10.2.1.2", TCP, 1), "passed: ThisMac");
    assert_eq!(told("203.0.113.7", "10.2.1.2", TCP, 1), "dropped: Outside");
    assert_eq!(told("203.0.113.7", "127.0.1.11", TCP, 2379), "untouched: NotOurs");
}

/// A function restricted to an opener or a destination agrees with each of its flows.
#[test]
fn the_function_can_be_restricted_to_one_opener() {
    for (topology, input) in topologies() {
        let plan = Plan::of(&declared(&input));
        let mut flows = Flows::default();
        let reach = Reach::of(&mut flows, &plan);
        let Some(volume) = plan.volumes.first() else { continue };
        for opener in [Opener::ThisMac, Opener::Address(volume.address)] {
            let of_opener = flows.from(reach.outcome, opener);
            for destination in plan.volumes.iter().map(|volume| volume.address).chain([OUTSIDE]) {
                let flow = Flow { opener, destination, protocol: TCP, port: 443 };
                let anyone = Flow { opener: Opener::Address(OUTSIDE), ..flow };
                assert_eq!(
                    flows.of_flow(of_opener, &anyone),
                    flows.of_flow(reach.outcome, &flow),
                    "{topology} {flow:?}"
                );
            }
        }
    }
}

/// A function along a list of addresses is what it is of the flows to each of them.
#[test]
fn a_function_along_addresses_is_what_it_is_to_each() {
    for (topology, input) in topologies() {
        let plan = Plan::of(&declared(&input));
        let mut flows = Flows::default();
        let reach = Reach::of(&mut flows, &plan);
        let strangers = nixvol_net::explain::examples(&plan).strangers.into_iter().flatten();
        let volumes = plan.volumes.iter().flat_map(|volume| [Some(volume.address), volume.alias]).flatten();
        let mut addresses: Vec<Ipv4Addr> =
            volumes.chain(strangers).chain([OUTSIDE, MAC, MAC, Ipv4Addr::LOCALHOST]).collect();
        addresses.sort_unstable();
        let mut along = Along::new(Side::Destination, &addresses);
        for opener in addresses.iter().copied().map(Opener::Address).chain([Opener::ThisMac]) {
            let of_opener = flows.from(reach.outcome, opener);
            let runs = flows.along(of_opener, &mut along);
            assert!(runs.windows(2).all(|pair| pair[0].0 != pair[1].0), "{topology} {opener:?}");
            let mut first = 0;
            for (map, behind) in runs.iter() {
                for address in &addresses[first..*behind] {
                    assert_eq!(flows.to(of_opener, *address), *map, "{topology} {opener:?} {address}");
                }
                first = *behind;
            }
            assert_eq!(first, addresses.len());
        }
    }
}

/// What is asked of all pairs costs what is declared, and not the pairs.
#[test]
fn the_answers_to_all_pairs_cost_twice_as_much_for_twice_as_much() {
    let all: [Shape; 3] = [
        ("mesh", |count| sizes::mesh(count, 4 * count)),
        ("links", |count| sizes::links(count, 4 * count)),
        ("hosts", |count| sizes::hosts(4 * count)),
    ];
    for (name, input) in all {
        let cost = |count| {
            let plan = Plan::of(&declared(&input(count)));
            let mut flows = Flows::default();
            let reach = Reach::of(&mut flows, &plan);
            let mut addresses: Vec<Ipv4Addr> = plan.volumes.iter().map(|volume| volume.address).collect();
            addresses.sort_unstable();
            let mut along = Along::new(Side::Destination, &addresses);
            for address in &addresses {
                let of_opener = flows.from(reach.outcome, Opener::Address(*address));
                flows.along(of_opener, &mut along);
            }
            along.parts()
        };
        let (once, twice) = (cost(60), cost(120));
        // A path to each as well; pairs would be four times as many.
        assert!(twice * 10 <= once * 27, "{name}: {once}, {twice}");
    }
}
