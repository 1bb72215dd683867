//! Chooses an address and a port from a pool.
//!
//! It exists because pools keep a position between packets, and because Apple's choice of ports has rules of its own.
//! Random choices of the kernel are fixed by default: the middle for addresses, one position in the range for ports.
//! Sees: pools, tables and states. Never: how a rule came to match.

use super::address::{Bits, blend, mask, next};
use super::flow::{Flow, Kind, Ports};
use super::memory::{Cursor, Memory};
use super::packet::{ICMP, TCP, UDP};
use super::rule::{CompiledPool, CompiledRule, Member, RuleId, Target};
use super::state::{Probe, VARIANTS};
use super::tables::{TableId, Tables};
use crate::pf::syntax::{EndpointKind, Family, PoolKind};

/// Stands for the kernel's random number if there is no random sequence.
const CHANCE: u32 = 10_907;
/// IKE's port, which NAT never changes.
const IKE: u16 = 500;
/// Most addresses to try for a free port: more than any sensible pool has.
const ATTEMPTS: usize = 65_536;

/// The address and mask of a pool member, if it is a single prefix.
pub(super) fn single(member: &Member, tables: &Tables, family: Family) -> Option<(Bits, Bits)> {
    match &member.target {
        Target::Net { bits, prefix } => Some((*bits, mask(family, *prefix))),
        Target::Dynamic(table) => {
            let block = tables.active(*table)?.blocks(family).first()?;
            Some((block.bits, mask(family, block.prefix)))
        }
        Target::Table(_) | Target::Nothing => None,
    }
}

/// The member at the current position of a rule's pool.
pub(super) fn current<'a>(pool: &'a CompiledPool, rule: RuleId, memory: &Memory) -> Option<&'a Member> {
    let cursor = memory.cursors.get(&rule).copied().unwrap_or_default();
    pool.members.get(cursor.member)
}

/// The address chosen for `source`, and the member that it is from.
pub(super) fn choose<'a>(
    rule: &CompiledRule,
    pool: &'a CompiledPool,
    tables: &Tables,
    memory: &mut Memory,
    family: Family,
    source: Bits,
) -> Option<(Bits, &'a Member)> {
    if pool.syntax.sticky && pool.syntax.kind != PoolKind::None {
        let known = memory.sources.get(&(Some(rule.id), family, source));
        if let Some(address) = known.and_then(|source| source.address) {
            return Some((address, current(pool, rule.id, memory)?));
        }
    }
    let cursor = memory.cursors.get(&rule.id).copied().unwrap_or_default();
    let member = pool.members.get(cursor.member)?;
    if pool.syntax.kind == PoolKind::RoundRobin {
        return round_robin(rule.id, pool, tables, memory, family);
    }
    let (network, netmask) = single(member, tables, family)?;
    let chosen = match &pool.syntax.kind {
        PoolKind::None | PoolKind::RoundRobin => network,
        PoolKind::Bitmask => blend(network, netmask, source, family),
        PoolKind::Random => {
            let middle = netmask | (!netmask >> 1);
            blend(network, netmask, middle, family)
        }
        PoolKind::SourceHash(key) => blend(network, netmask, hash(source, *key, family), family),
    };
    Some((chosen, member))
}

/// The next address of a round-robin pool. The very first address is never used first: the kernel compares its
/// counter, which is zero, with the first member, and advances to the next one.
fn round_robin<'a>(
    rule: RuleId,
    pool: &'a CompiledPool,
    tables: &Tables,
    memory: &mut Memory,
    family: Family,
) -> Option<(Bits, &'a Member)> {
    let cursor = memory.cursors.entry(rule).or_default();
    let start = cursor.member;
    let member = pool.members.get(start)?;
    let block = if cursor.is_used { cursor.block } else { Some(0) };
    cursor.is_used = true;
    let mut found = match &member.target {
        Target::Net { bits, prefix } => {
            let netmask = mask(family, *prefix);
            (cursor.counter & netmask == *bits & netmask).then_some((None, cursor.counter))
        }
        Target::Table(table) | Target::Dynamic(table) => draw(tables, *table, family, block, cursor.counter),
        Target::Nothing => return None,
    };
    while found.is_none() {
        cursor.member = if cursor.member + 1 < pool.members.len() { cursor.member + 1 } else { 0 };
        found = match &pool.members.get(cursor.member)?.target {
            Target::Net { bits, .. } => Some((None, *bits)),
            Target::Table(table) | Target::Dynamic(table) => draw(tables, *table, family, None, 0),
            Target::Nothing => return None,
        };
        if found.is_none() && cursor.member == start {
            return None;
        }
    }
    let (block, chosen) = found?;
    let member = pool.members.get(cursor.member)?;
    *cursor = Cursor { block, counter: next(family, chosen), ..*cursor };
    Some((chosen, member))
}

fn draw(
    tables: &Tables,
    table: TableId,
    family: Family,
    block: Option<usize>,
    from: Bits,
) -> Option<(Option<usize>, Bits)> {
    let (block, bits) = tables.active(table)?.draw(family, block, from)?;
    Some((Some(block), bits))
}

/// The source address and port that a nat rule assigns. `None` if no port is free: then the packet is not translated
/// at all.
pub(super) fn choose_nat(
    rule: &CompiledRule,
    tables: &Tables,
    memory: &mut Memory,
    flow: &Flow,
) -> Option<(Bits, u16)> {
    let pool = rule.redirect.as_deref()?;
    let (first, _) = choose(rule, pool, tables, memory, flow.family, flow.source)?;
    if let Some(port) = bound_port(rule, pool, memory, flow) {
        return Some((first, port));
    }
    let mut address = first;
    for _ in 0..ATTEMPTS {
        if let Some(port) = free_port(pool, memory, flow, address) {
            return Some((address, port));
        }
        if !matches!(pool.syntax.kind, PoolKind::Random | PoolKind::RoundRobin) {
            return None;
        }
        (address, _) = choose(rule, pool, tables, memory, flow.family, flow.source)?;
        if address == first {
            return None;
        }
    }
    None
}

/// The port already assigned to the source by this rule, if it is kept: for TCP always, for UDP with `extmap`.
fn bound_port(rule: &CompiledRule, pool: &CompiledPool, memory: &Memory, flow: &Flow) -> Option<u16> {
    let port = flow.header.source;
    match flow.kind {
        Kind::Udp if port == IKE => Some(port),
        Kind::Udp => {
            let any_address = match pool.syntax.extmap? {
                EndpointKind::AddressPortDependent => return None,
                EndpointKind::AddressDependent => false,
                EndpointKind::EndpointIndependent => true,
            };
            memory.states.binding(rule.id, UDP, flow, (!any_address).then_some(flow.destination))
        }
        Kind::Tcp(_) => memory.states.binding(rule.id, TCP, flow, None),
        _ => None,
    }
}

fn free_port(pool: &CompiledPool, memory: &mut Memory, flow: &Flow, address: Bits) -> Option<u16> {
    let is_drawn = memory.chance.is_some();
    let chance = memory.draw(CHANCE);
    let is_free_of = |port: u16, variant: u8| {
        memory.states.is_free(&Probe {
            family: flow.family,
            protocol: flow.protocol,
            variant,
            gateway: (address, port),
            outside: (flow.destination, flow.header.destination),
            spi: flow.spi(),
        })
    };
    // Without `extfilter` the kernel searches for a variant of UDP state that never exists.
    let variant = pool.syntax.extfilter.map_or(0, super::state::variant);
    let is_free = |port: u16| is_free_of(port, variant);
    let (low, high) = match (flow.kind, pool.syntax.ports) {
        (Kind::Icmp { .. }, _) if flow.protocol == ICMP => (1, u16::MAX),
        // ICMPv6 is not among the protocols with a choice of ports.
        (Kind::Esp(_) | Kind::Other | Kind::Icmp { .. }, _) => {
            return is_free(flow.header.destination).then_some(flow.header.source);
        }
        (_, None | Some((0, 0))) => {
            return is_free(flow.header.source).then_some(flow.header.source);
        }
        (_, Some((low, 0))) => (low, low),
        (_, Some((low, high))) => (low.min(high), low.max(high)),
    };
    let start = chance % (u32::from(high - low) + 1) + u32::from(low);
    let start = u16::try_from(start).unwrap_or(low);
    // So the kernel may choose a port that is taken, and then drops the packet: with random ports, once in as many
    // times as there are ports. With the fixed choice all flows would start at the same port and collide every time,
    // so taken ports are skipped then.
    let is_chosen =
        |port: u16| is_free(port) && (is_drawn || low == high || is_free_of(port, variant.max(VARIANTS[0])));
    (start..=high).chain((low..start).rev()).find(|&port| is_chosen(port))
}

/// The port that an rdr rule assigns to a packet to `ports.destination`.
pub(super) fn redirected_port(rule: &CompiledRule, pool: &CompiledPool, ports: Ports) -> u16 {
    let Some((low, high)) = pool.syntax.ports else {
        return ports.destination;
    };
    if high == 0 {
        return if low == 0 { ports.destination } else { low };
    }
    let first = rule.destination.port.map_or(0, first_number);
    let offset = i64::from(ports.destination) - i64::from(first);
    let count = i64::from(high) - i64::from(low) + 1;
    // A remainder that can be negative, truncated to 32 and then 16 bits, as in the kernel.
    let port = offset.checked_rem(count).unwrap_or(0) + i64::from(low);
    let port = if (0..=65_535).contains(&port) { port } else { port - 65_535 };
    u16::try_from(port.rem_euclid(65_536)).unwrap_or(low)
}

/// The first number of a condition on a port.
pub(super) fn first_number(port: crate::pf::syntax::PortMatch) -> u16 {
    use crate::pf::syntax::NumberMatch::{
        Equal, Greater, GreaterEqual, Inside, Less, LessEqual, NotEqual, Outside, Range,
    };
    match port {
        Equal(a)
        | NotEqual(a)
        | Less(a)
        | LessEqual(a)
        | Greater(a)
        | GreaterEqual(a)
        | Range(a, _)
        | Inside(a, _)
        | Outside(a, _) => a,
    }
}

/// The kernel's hash of a source address, whose host part is used.
fn hash(source: Bits, key: [u32; 4], family: Family) -> Bits {
    // The kernel computes with words in network byte order as if they were in host order.
    let word = |index: u32| {
        let shift = 96 - 32 * index;
        u32::try_from((source >> shift) & Bits::from(u32::MAX)).unwrap_or(0).swap_bytes()
    };
    let golden = 0x9e37_79b9_u32;
    let mut state = [golden, golden, key[0]];
    if family == Family::Inet {
        state[0] = state[0].wrapping_add(word(3));
        state[1] = state[1].wrapping_add(key[1]);
        mix(&mut state);
        return Bits::from(state[2].wrapping_add(key[2]).swap_bytes());
    }
    let mut hash = 0;
    for (a, b, round) in [(0, 2, 0), (1, 3, 1), (2, 1, 2), (3, 0, 3)] {
        state[0] = state[0].wrapping_add(word(a));
        state[1] = state[1].wrapping_add(word(b));
        if round > 0 {
            state[2] = state[2].wrapping_add(key[round]);
        }
        mix(&mut state);
        hash = hash << 32 | Bits::from(state[2].swap_bytes());
    }
    hash
}

fn mix(state: &mut [u32; 3]) {
    // Each step subtracts the two other words from one word, and XORs it with one of them, shifted.
    for (target, shift) in
        [(0, -13), (1, 8), (2, -13), (0, -12), (1, 16), (2, -5), (0, -3), (1, 10), (2, -15_i32)]
    {
        let previous = state[(target + 2) % 3];
        let other = state[(target + 1) % 3];
        let folded = if shift < 0 { previous >> -shift } else { previous << shift };
        state[target] = state[target].wrapping_sub(other).wrapping_sub(previous) ^ folded;
    }
}
