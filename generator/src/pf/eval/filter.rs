//! Filtering: which rule decides about a packet.
//!
//! It exists to implement "last match, or first quick match" with the kernel's conditions, in the kernel's order.
//! Sees: packets after translation, and filter rules. Never: states.

use super::flow::{Flow, Kind};
use super::loaded::Loaded;
use super::name::NameId;
use super::packet::{ICMP, ICMP6, TCP, UDP};
use super::rule::{CompiledRule, HostTest, RuleList};
use super::walk::{Judgement, Walk, Walks};
use crate::pf::syntax::{IdMatch, NumberMatch, UNKNOWN_ID};

/// Stands for the kernel's random number: a rule with `probability` of one half or more matches.
pub(super) const CHANCE: u32 = u32::MAX / 2;

/// The deciding rule, and the tag set by the rules that match on the way.
pub(super) fn decide<'a>(
    loaded: &'a Loaded,
    walks: &mut Walks,
    flow: &Flow,
    tag: Option<NameId>,
) -> (Option<&'a CompiledRule>, Option<NameId>) {
    let mut tag = tag;
    let rule = Walk::new(loaded, RuleList::Filter, walks).toward(flow.toward()).last(|rule| {
        let is_match = is_about(rule, flow)
            && matches_ends(rule, loaded, flow)
            && matches_rest(rule, flow)
            && has_tag(rule, &mut tag, flow.tag);
        if !is_match {
            return Judgement::Differs;
        }
        // Every matching rule tags, not only the deciding one; but fragments are not tagged.
        if !flow.fragment {
            tag = rule.tag.or(tag);
        }
        Judgement::Matches
    });
    (rule, tag)
}

/// Whether a rule's interface, direction, family and protocol match.
pub(super) fn is_about(rule: &CompiledRule, flow: &Flow) -> bool {
    rule.is_on(flow.interface)
        && rule.direction.is_none_or(|direction| direction == flow.direction)
        && rule.family.is_none_or(|family| family == flow.family)
        && rule.protocol.is_none_or(|protocol| protocol == flow.protocol)
}

/// The condition `tagged`: it compares the packet's own tag until a rule of this walk sets another.
pub(super) fn has_tag(rule: &CompiledRule, tag: &mut Option<NameId>, on_packet: NameId) -> bool {
    let Some((wanted, not)) = rule.tagged else {
        return true;
    };
    (*tag.get_or_insert(on_packet) == wanted) != not
}

fn matches_ends(rule: &CompiledRule, loaded: &Loaded, flow: &Flow) -> bool {
    let tables = &loaded.tables;
    rule.source.matches(tables, flow.family, flow.source, true)
        && fits_port(rule, &rule.source, flow, flow.header.source)
        && rule.destination.matches(tables, flow.family, flow.destination, false)
        && fits_port(rule, &rule.destination, flow, flow.header.destination)
}

fn fits_port(rule: &CompiledRule, side: &HostTest, flow: &Flow, port: u16) -> bool {
    let Some(condition) = side.port else { return true };
    if flow.fragment {
        // A fragment has no ports.
        return !matches!(flow.protocol, TCP | UDP);
    }
    !matches!(rule.protocol, Some(TCP | UDP)) || condition.matches(port)
}

fn matches_rest(rule: &CompiledRule, flow: &Flow) -> bool {
    let syntax = &*rule.syntax;
    if syntax.tos != 0 && syntax.tos & flow.tos == 0 {
        return false;
    }
    if syntax.os.is_some() || (syntax.probability != 0 && syntax.probability <= CHANCE) {
        return false;
    }
    if flow.fragment {
        let about_header = match flow.protocol {
            TCP => syntax.tcp_flags.is_some(),
            ICMP | ICMP6 => syntax.icmp.is_some(),
            _ => false,
        };
        return !about_header;
    }
    // A rule with `fragment` matches only fragments.
    !syntax.fragment
        && fits_icmp(rule, flow)
        && syntax
            .tcp_flags
            .is_none_or(|wanted| flow.tcp_flags().is_none_or(|flags| flags & wanted.mask == wanted.set))
        && syntax.user.is_none_or(|user| fits_owner(user, flow.user))
        && syntax.group.is_none_or(|group| fits_owner(group, flow.group))
}

fn fits_icmp(rule: &CompiledRule, flow: &Flow) -> bool {
    let Some(wanted) = rule.syntax.icmp else {
        return true;
    };
    let (kind, code) = match flow.kind {
        Kind::Icmp { kind, code, .. } => (kind, code),
        _ => (0, 0),
    };
    wanted.kind == kind && wanted.code.is_none_or(|wanted| wanted == code)
}

/// Without a local socket the owner is unknown, which can be equal or unequal to an id, but is never less or greater.
fn fits_owner(condition: IdMatch, owner: Option<u32>) -> bool {
    let has_order = !matches!(condition, NumberMatch::Equal(_) | NumberMatch::NotEqual(_));
    let owner = owner.unwrap_or(UNKNOWN_ID);
    !(owner == UNKNOWN_ID && has_order) && condition.matches(owner)
}
