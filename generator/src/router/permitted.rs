//! Which conversations the loaded rules would still let begin.
//!
//! It exists because states outlive the rules that made them: after a change, what is open and no longer permitted
//! is found by asking about its first packet again. Never: a packet's bytes.

use super::topology::{EGRESS, Place};
use super::{Router, Topology};
use crate::pf::eval::{Conversation, Hook, Machine, Outcome, Packet, SYN, Segment, TCP, Transport, UDP};
use crate::wire::v4;

/// Removes the states of what is not permitted any more, and says how many.
pub fn kill(router: &mut Router) -> usize {
    let now = router.rules.machine().clone();
    let topology = router.topology.clone();
    router.rules.machine_mut().kill(|talk| !begins(&now, &topology, talk))
}

/// Whether its first packet would pass where the state was made.
fn begins(machine: &Machine, topology: &Topology, talk: &Conversation) -> bool {
    let transport = match talk.protocol {
        TCP => Transport::Tcp {
            source: talk.source.1,
            destination: talk.destination.1,
            segment: Segment { flags: SYN, sequence: 1, acknowledgement: 0, length: 0, window: u16::MAX },
        },
        UDP => Transport::Udp { source: talk.source.1, destination: talk.destination.1 },
        1 => Transport::Icmp { kind: 8, code: 0, id: talk.source.1, inner: None },
        other => Transport::Other(other),
    };
    let packet = Packet {
        hooks: vec![Hook { direction: talk.direction, interface: interface(topology, talk) }],
        is_path: true,
        source: talk.source.0,
        destination: talk.destination.0,
        transport,
        user: None,
        group: None,
        tag: None,
        tos: 0,
        fragment: false,
    };
    machine.decide(&packet).action() == Outcome::Pass
}

/// Where the state was made.
fn interface(topology: &Topology, talk: &Conversation) -> String {
    use crate::pf::syntax::Direction;
    let (source, destination) = (topology.place(v4(talk.source.0)), topology.place(v4(talk.destination.0)));
    let there = match talk.direction {
        Direction::In => source,
        Direction::Out => destination,
    };
    match there {
        Place::Bridge(bridge, _) => topology.bridge_name(bridge).to_owned(),
        Place::Outside(_) | Place::Nowhere => EGRESS.to_owned(),
        Place::Here(_) => "lo0".to_owned(),
    }
}
