//! Packets that match a state.
//!
//! It is separate from the state table because an ICMP error belongs to the state of the packet that it quotes, and
//! because the effect of a state on its packets depends on the protocol. Sees: states and packets. Never: what is
//! loaded.

use super::address::{address_of, bits_of, family_of};
use super::flow::{Flow, Kind, Ports};
use super::memory::Memory;
use super::packet::{ICMP, ICMP6, Inner, TCP, UDP, is_icmp_error};
use super::state::{End, Find, Key, States, VARIANTS};
use super::tcp::{Fit, is_plausible, track};
use crate::pf::syntax::{Direction, Family};

/// The result of the search for a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// This state matches, and passes the packet.
    Passed(usize),
    /// This state matches, and blocks the packet.
    Refused(usize),
    /// No state matches.
    None,
}

/// Finds the state of a packet, updates it, and translates the packet.
pub(super) fn find_state(memory: &mut Memory, flow: &mut Flow) -> Found {
    if let Kind::Icmp { kind, inner, .. } = flow.kind
        && is_icmp_error(flow.family, kind)
    {
        return inner.map_or(Found::None, |inner| find_quoted(&mut memory.states, flow, &inner));
    }
    let is_icmp = matches!(flow.kind, Kind::Icmp { .. });
    let (source, destination) =
        ((flow.source, flow.header.source), (flow.destination, flow.header.destination));
    let (near, far) = match flow.direction {
        Direction::Out => (source, destination),
        Direction::In => (destination, source),
    };
    let protocol = if is_icmp { ICMP } else { flow.protocol };
    let found = match flow.kind {
        Kind::Esp(spi) => match find_esp(&mut memory.states, flow, spi, near, far) {
            Ok(found) => found,
            Err(refused) => return refused,
        },
        Kind::Tcp(_) | Kind::Udp | Kind::Icmp { .. } | Kind::Other => {
            find(&memory.states, flow, protocol, near, far)
        }
    };
    let Some(at) = found else {
        return Found::None;
    };
    let Some((key, is_past)) = about(&memory.states, at, flow) else {
        return Found::None;
    };
    if is_past {
        return Found::Passed(at);
    }
    if let Kind::Tcp(segment) = flow.kind
        && let Some(state) = memory.states.get_mut(at)
    {
        let [opener, other] = &mut state.peers;
        let (from, to) = if flow.direction == key.direction { (opener, other) } else { (other, opener) };
        match track(from, to, &segment) {
            Fit::Good => {}
            Fit::Bad => return Found::Refused(at),
            Fit::Reopens => {
                memory.states.remove(at);
                return Found::None;
            }
        }
    }
    memory.states.touch(at, flow.direction == key.direction);
    memory.states.follow(at, flow.direction, far);
    if key.translates() {
        rewrite(flow, &key);
    }
    Found::Passed(at)
}

fn find(states: &States, flow: &Flow, protocol: u8, near: End, far: End) -> Option<usize> {
    // Only UDP has several variants of states.
    let variants = if protocol == UDP { &VARIANTS[..] } else { &VARIANTS[..1] };
    variants.iter().find_map(|&variant| {
        let find = Find::new(flow.family, protocol, variant, near, far);
        states.find(flow.direction, &find, flow.interface)
    })
}

/// The state of an ESP packet: the one with its SPI, otherwise one without an SPI in this direction, which takes this
/// one. If another state has that SPI already, the state without one is removed, and the packet blocked.
fn find_esp(states: &mut States, flow: &Flow, spi: u32, near: End, far: End) -> Result<Option<usize>, Found> {
    let with = |spi| Find::new(flow.family, flow.protocol, VARIANTS[0], near, far).with_spi(spi);
    if let Some(at) = states.find(flow.direction, &with(spi), flow.interface) {
        return Ok(Some(at));
    }
    let Some(at) = states.find(flow.direction, &with(0), flow.interface) else {
        return Ok(None);
    };
    if states.show_index(at, flow.direction, spi) { Ok(Some(at)) } else { Err(Found::Refused(at)) }
}

/// The key of a state, and whether the packet is at another interface than the one it was routed to.
fn about(states: &States, at: usize, flow: &Flow) -> Option<(Key, bool)> {
    let (state, key) = states.get(at)?;
    Some((*key, state.is_routed_past(flow.direction, flow.interface)))
}

fn rewrite(flow: &mut Flow, key: &Key) {
    let is_out = flow.direction == Direction::Out;
    let (address, port) = if is_out { key.gateway } else { key.lan };
    if is_out {
        flow.source = address;
    } else {
        flow.destination = address;
    }
    match flow.kind {
        Kind::Tcp(_) | Kind::Udp if is_out => flow.header.source = port,
        Kind::Tcp(_) | Kind::Udp => flow.header.destination = port,
        Kind::Icmp { .. } if flow.family == Family::Inet => {
            flow.header = Ports { source: port, destination: port };
        }
        Kind::Icmp { .. } | Kind::Esp(_) | Kind::Other => {}
    }
    flow.commit();
}

/// An ICMP error matches the state of the packet that it quotes, in the opposite direction.
fn find_quoted(states: &mut States, flow: &mut Flow, inner: &Inner) -> Found {
    if family_of(inner.source) != flow.family {
        return Found::None;
    }
    let is_query = matches!((inner.protocol, flow.family), (ICMP, Family::Inet) | (ICMP6, Family::Inet6));
    let source = (bits_of(inner.source), inner.source_port);
    let port = if is_query { inner.source_port } else { inner.destination_port };
    let destination = (bits_of(inner.destination), port);
    let (near, far) = match flow.direction {
        Direction::Out => (destination, source),
        Direction::In => (source, destination),
    };
    let Some(at) = find(states, flow, inner.protocol, near, far) else {
        return Found::None;
    };
    let Some((key, is_past)) = about(states, at, flow) else {
        return Found::None;
    };
    if is_past {
        return Found::Passed(at);
    }
    if inner.protocol == TCP
        && let Some(state) = states.get_mut(at)
    {
        let [opener, other] = &state.peers;
        let (to, from) = if flow.direction == key.direction { (opener, other) } else { (other, opener) };
        if !is_plausible(from, to, inner.sequence) {
            return Found::Refused(at);
        }
    }
    if key.translates() {
        let quoted = match flow.direction {
            Direction::Out => {
                flow.source = key.gateway.0;
                let destination = address_of(flow.family, key.gateway.0);
                let id = if is_query { key.gateway.1 } else { inner.source_port };
                Inner { destination, source_port: id, destination_port: key.gateway.1, ..*inner }
            }
            Direction::In => {
                flow.destination = key.lan.0;
                Inner { source: address_of(flow.family, key.lan.0), source_port: key.lan.1, ..*inner }
            }
        };
        if let Kind::Icmp { inner, .. } = &mut flow.kind {
            *inner = Some(quoted);
        }
    }
    Found::Passed(at)
}
