//! Translation: the nat, rdr or binat rule that a packet matches, and its effect.
//!
//! It exists because translation precedes filtering, and because the kernel reverses a redirection for packets
//! without a state by more than matching rules in reverse. Sees: packets, rules and pools. Never: filter rules.

use super::address::{Bits, blend};
use super::filter::{has_tag, is_about};
use super::flow::{Flow, Kind, Ports};
use super::loaded::Loaded;
use super::memory::Memory;
use super::name::NameId;
use super::packet::{TCP, UDP};
use super::pool::{choose, choose_nat, current, first_number, redirected_port, single};
use super::rule::{AddressTest, CompiledRule, HostTest, Member, RuleList, Target};
use super::tables::Tables;
use super::walk::{Judgement, Walk};
use crate::pf::syntax::{Action, Direction, Family, PoolKind, PortMatch};

/// A translation rule that matches a packet, and the packet's new source and destination.
#[derive(Clone, Debug)]
pub(super) struct Translation<'a> {
    pub rule: &'a CompiledRule,
    source: Bits,
    destination: Bits,
    /// The new source port of an outgoing packet, or destination port of an incoming one.
    pub port: u16,
    /// Source, destination and ports before translation.
    pub before: (Bits, Bits, Ports),
}

/// The translation of a packet. Sets `flow.tag` if a rule on the way tags the packet.
pub(super) fn find<'a>(loaded: &'a Loaded, memory: &mut Memory, flow: &mut Flow) -> Option<Translation<'a>> {
    let order: &[RuleList] = match flow.direction {
        Direction::Out => &[RuleList::Binat, RuleList::Rdr, RuleList::Nat],
        Direction::In => &[RuleList::Rdr, RuleList::Binat],
    };
    let rule = order.iter().find_map(|list| find_in(loaded, *list, memory, flow))?;
    let mut found = Translation {
        rule,
        source: flow.source,
        destination: flow.destination,
        port: match flow.direction {
            Direction::Out => flow.header.source,
            Direction::In => flow.header.destination,
        },
        before: (flow.source, flow.destination, flow.header),
    };
    let tables = &loaded.tables;
    match (rule.syntax.action, flow.direction) {
        (Action::Nat, _) => (found.source, found.port) = choose_nat(rule, tables, memory, flow)?,
        (Action::Binat, Direction::Out) => {
            let pool = rule.redirect.as_deref()?;
            let (network, mask) = single(current(pool, rule.id, memory)?, tables, flow.family)?;
            found.source = blend(network, mask, flow.source, flow.family);
        }
        (Action::Binat, Direction::In) => {
            let (network, mask) = network_of(&rule.source, tables, flow.family)?;
            found.destination = blend(network, mask, flow.destination, flow.family);
        }
        (Action::Rdr, Direction::Out) => {
            // The kernel computes the new source from the rule's destination prefix and the host part of the packet's
            // destination. For a rule to a single address that is this address; for a rule to any it is the packet's
            // destination.
            let (network, mask) = network_of(&rule.destination, tables, flow.family)?;
            found.source = blend(network, mask, flow.destination, flow.family);
            let port = rule.destination.port.map_or(0, first_number);
            if port != 0 {
                found.port = port;
            }
        }
        (Action::Rdr, Direction::In) => redirect(&mut found, tables, memory, flow)?,
        _ => return None,
    }
    Some(found)
}

fn redirect(found: &mut Translation, tables: &Tables, memory: &mut Memory, flow: &Flow) -> Option<()> {
    let pool = found.rule.redirect.as_deref()?;
    let (address, member) = choose(found.rule, pool, tables, memory, flow.family, flow.source)?;
    found.destination = address;
    if let (PoolKind::Bitmask, Some((_, mask))) = (&pool.syntax.kind, single(member, tables, flow.family)) {
        found.destination = blend(address, mask, flow.destination, flow.family);
    }
    found.port = redirected_port(found.rule, pool, flow.header);
    Some(())
}

/// The prefix of one side of a rule; zero bits for a condition that is not a prefix (a table, a range).
fn network_of(side: &HostTest, tables: &Tables, family: Family) -> Option<(Bits, Bits)> {
    match &side.test {
        AddressTest::Net { bits, mask, .. } => Some((*bits, *mask)),
        AddressTest::Table(table) if tables.is_dynamic(*table) => {
            single(&Member { interface: None, target: Target::Dynamic(*table) }, tables, family)
        }
        _ => Some((0, 0)),
    }
}

/// The first matching rule of one list, unless it is a `no` rule.
fn find_in<'a>(
    loaded: &'a Loaded,
    list: RuleList,
    memory: &mut Memory,
    flow: &mut Flow,
) -> Option<&'a CompiledRule> {
    let mut walks = std::mem::take(&mut memory.walks);
    let mut tag = None;
    let rule = Walk::new(loaded, list, &mut walks).toward(flow.toward()).first(|rule| {
        let judgement = judge(rule, loaded, memory, flow);
        if !matches!(judgement, Judgement::Matches) {
            return judgement;
        }
        if !has_tag(rule, &mut tag, flow.tag) {
            return Judgement::Differs;
        }
        if rule.syntax.os.is_some() {
            return Judgement::Differs;
        }
        tag = rule.tag.or(tag);
        Judgement::Matches
    });
    memory.walks = walks;
    flow.tag = tag.filter(|&tag| tag != 0).unwrap_or(flow.tag);
    rule.filter(|rule| !matches!(rule.syntax.action, Action::NoNat | Action::NoRdr | Action::NoBinat))
}

/// Whether a rule matches. On a mismatch the kernel skips neighbours that share the failed condition, by the rule's
/// own source and destination even where it compares them reversed.
fn judge(rule: &CompiledRule, loaded: &Loaded, memory: &Memory, flow: &Flow) -> Judgement {
    if !is_about(rule, flow) {
        return Judgement::Differs;
    }
    match (rule.syntax.action, flow.direction) {
        (Action::Rdr, Direction::Out) => judge_backwards(rule, loaded, memory, flow),
        (Action::Binat, Direction::In) => judge_inward_binat(rule, loaded, memory, flow),
        _ => judge_plainly(rule, &loaded.tables, flow),
    }
}

fn judge_plainly(rule: &CompiledRule, tables: &Tables, flow: &Flow) -> Judgement {
    if !rule.source.matches(tables, flow.family, flow.source, true) {
        Judgement::Differs
    } else if !fits_port(rule, rule.source.port, flow.header.source) {
        Judgement::SkipTo(rule.skip.source_port)
    } else if !rule.destination.matches(tables, flow.family, flow.destination, false) {
        Judgement::SkipTo(rule.skip.destination)
    } else if !fits_port(rule, rule.destination.port, flow.header.destination) {
        Judgement::SkipTo(rule.skip.destination_port)
    } else {
        Judgement::Matches
    }
}

/// Matches an outgoing packet that looks like a reply from the target of a redirection, which takes the place of the
/// rule's destination. An anchor call has no target: its own destination is compared with the source.
fn judge_backwards(rule: &CompiledRule, loaded: &Loaded, memory: &Memory, flow: &Flow) -> Judgement {
    let tables = &loaded.tables;
    if let Some(pool) = rule.redirect.as_deref() {
        let port = pool.syntax.ports.map_or(0, |(low, _)| low);
        let is_target = current(pool, rule.id, memory)
            .is_some_and(|member| is_member(member, tables, flow.family, flow.source));
        if !is_target || port == 0 || !fits_port(rule, Some(PortMatch::Equal(port)), flow.header.source) {
            return Judgement::Differs;
        }
    } else if !rule.destination.matches(tables, flow.family, flow.source, true) {
        return Judgement::Differs;
    } else if !fits_port(rule, rule.destination.port, flow.header.source) {
        return Judgement::SkipTo(rule.skip.destination_port);
    }
    if !rule.source.matches(tables, flow.family, flow.destination, false) {
        Judgement::SkipTo(rule.skip.destination)
    } else if !fits_port(rule, rule.source.port, flow.header.destination) {
        Judgement::SkipTo(rule.skip.destination_port)
    } else {
        Judgement::Matches
    }
}

fn judge_inward_binat(rule: &CompiledRule, loaded: &Loaded, memory: &Memory, flow: &Flow) -> Judgement {
    let tables = &loaded.tables;
    let member = rule.redirect.as_deref().and_then(|pool| current(pool, rule.id, memory));
    if !rule.destination.matches(tables, flow.family, flow.source, true) {
        Judgement::Differs
    } else if !fits_port(rule, rule.destination.port, flow.header.source) {
        Judgement::SkipTo(rule.skip.destination_port)
    } else if member.is_some_and(|member| !is_member(member, tables, flow.family, flow.destination)) {
        Judgement::Differs
    } else {
        Judgement::Matches
    }
}

fn is_member(member: &Member, tables: &Tables, family: Family, bits: Bits) -> bool {
    match &member.target {
        Target::Net { bits: net, prefix } => {
            let mask = super::address::mask(family, *prefix);
            bits & mask == *net & mask
        }
        Target::Table(table) | Target::Dynamic(table) => tables.matches(*table, family, bits),
        Target::Nothing => true,
    }
}

/// A condition on a port applies only if the rule itself names a protocol with ports.
fn fits_port(rule: &CompiledRule, condition: Option<PortMatch>, port: u16) -> bool {
    let has_ports = matches!(rule.protocol, Some(TCP | UDP));
    !has_ports || condition.is_none_or(|condition| condition.matches(port))
}

impl Translation<'_> {
    /// Translates a packet: addresses in the packet itself, ports in the copy of the header.
    pub fn apply(&self, flow: &mut Flow) {
        let is_redirect = self.rule.syntax.action == Action::Rdr;
        match flow.kind {
            Kind::Tcp(_) | Kind::Udp => {
                if flow.source != self.source {
                    flow.source = self.source;
                    flow.header.source = self.port;
                }
                // Apple's kernel runs the second part also for reversed redirections of outgoing packets, for which
                // the port is meant for the source.
                if flow.destination != self.destination
                    || (is_redirect && flow.header.destination != self.port)
                {
                    flow.destination = self.destination;
                    if is_redirect {
                        flow.header.destination = self.port;
                    }
                }
            }
            Kind::Icmp { .. } => {
                if flow.source != self.source && flow.family == Family::Inet {
                    flow.header = Ports { source: self.port, destination: self.port };
                }
                flow.source = self.source;
                flow.destination = self.destination;
            }
            Kind::Esp(_) | Kind::Other => {
                flow.source = self.source;
                flow.destination = self.destination;
            }
        }
    }

    /// Restores the addresses before a blocking rule answers the sender. The kernel does not do so for ICMP, nor for
    /// outgoing GRE and ESP.
    pub fn undo(&self, flow: &mut Flow) {
        let is_kept = |flow: &Flow| match flow.kind {
            Kind::Icmp { .. } => true,
            Kind::Esp(_) => flow.direction == Direction::Out,
            Kind::Other => flow.protocol == 47 && flow.direction == Direction::Out,
            _ => false,
        };
        if is_kept(flow) {
            return;
        }
        let (source, destination, _) = self.before;
        match flow.direction {
            Direction::Out => flow.source = source,
            Direction::In => flow.destination = destination,
        }
    }

    /// The tag that the rule sets.
    pub fn tag(&self) -> Option<NameId> {
        self.rule.tag
    }
}
