//! Normalization: the effect of scrub rules on a packet, before all other rules.
//!
//! It exists because a fragment has neither ports nor flags: if a scrub rule matches it, it is held until its
//! datagram is complete, and the datagram continues. It follows xnu's pf_normalize_ip and pf_normalize_tcp, except
//! for the latter's treatment of options and windows. Sees: packets before translation, and scrub rules. Never:
//! states, or filter rules.

use super::filter::is_about;
use super::flow::{Flow, Normalized};
use super::fragments::{Arrival, Fragments};
use super::loaded::Loaded;
use super::memory::Memory;
use super::packet::{ACK, FIN, PUSH, RST, SYN, URG};
use super::rule::{CompiledRule, HostTest, RuleList};
use super::walk::{Judgement, Walk, Walks};
use crate::pf::syntax::{Action, FragmentCache, PortMatch};

/// Applies the matching scrub rules to a packet.
pub(super) fn normalize(loaded: &Loaded, memory: &mut Memory, flow: &mut Flow) -> Normalized {
    if let Some(rule) = scrub_rule(loaded, &mut memory.walks, flow, false)
        && !normalize_ip(rule, &mut memory.fragments, flow)
    {
        return Normalized::Gone;
    }
    if flow.fragment {
        return Normalized::Passed;
    }
    normalize_tcp(loaded, &mut memory.walks, flow)
}

/// Normalizes the IP header; false if the packet goes no further.
fn normalize_ip(rule: &CompiledRule, fragments: &mut Fragments, flow: &mut Flow) -> bool {
    let scrub = &rule.syntax.scrub;
    if scrub.no_df && flow.ip.dont_fragment {
        flow.ip.dont_fragment = false;
        flow.scrubbed.cleared_df = true;
    }
    if flow.fragment {
        // A fragment with the don't-fragment bit contradicts itself, and is dropped.
        if flow.ip.dont_fragment {
            return false;
        }
        match scrub.fragments {
            FragmentCache::Reassemble => match fragments.take(flow) {
                Arrival::Whole => {}
                Arrival::Held => {
                    flow.scrubbed.held = true;
                    return false;
                }
                Arrival::Dropped => return false,
            },
            FragmentCache::Crop | FragmentCache::DropOverlap => {}
        }
    }
    if scrub.min_ttl > 0 && flow.ip.ttl.is_some_and(|ttl| ttl < scrub.min_ttl) {
        flow.ip.ttl = Some(scrub.min_ttl);
        flow.scrubbed.raised_ttl = Some(scrub.min_ttl);
    }
    true
}

fn normalize_tcp(loaded: &Loaded, walks: &mut Walks, flow: &Flow) -> Normalized {
    let Some(flags) = flow.tcp_flags() else {
        return Normalized::Passed;
    };
    let Some(rule) = scrub_rule(loaded, walks, flow, true) else {
        return Normalized::Passed;
    };
    let has = |flag: u8| flags & flag != 0;
    let is_nonsense = if has(SYN) { has(RST) } else { !has(ACK) && !has(RST) };
    // FIN in a segment with SYN is cleared instead of making it invalid.
    let needs_ack = (has(FIN) && !has(SYN)) || has(PUSH) || has(URG);
    if is_nonsense || (!has(ACK) && needs_ack) {
        Normalized::Nonsense
    } else if rule.syntax.scrub.reassemble_tcp {
        Normalized::Tracked
    } else {
        Normalized::Passed
    }
}

/// The first matching scrub rule, unless it is a `no scrub`.
fn scrub_rule<'a>(
    loaded: &'a Loaded,
    walks: &mut Walks,
    flow: &Flow,
    with_ports: bool,
) -> Option<&'a CompiledRule> {
    let rule = Walk::new(loaded, RuleList::Scrub, walks).first(|rule| {
        let ports = [(&rule.source, flow.header.source), (&rule.destination, flow.header.destination)];
        let is_match = is_about(rule, flow)
            && rule.source.matches(&loaded.tables, flow.family, flow.source, true)
            && rule.destination.matches(&loaded.tables, flow.family, flow.destination, false)
            && (!with_ports || ports.iter().all(|(side, port)| scrub_fits_port(side, *port)));
        if is_match { Judgement::Matches } else { Judgement::Differs }
    });
    rule.filter(|rule| rule.syntax.action == Action::Scrub)
}

/// Scrub rules honour ports only with `><` and `>`: for other operators the kernel passes the number of the operator
/// as the protocol, and no such number is a protocol with ports.
fn scrub_fits_port(side: &HostTest, port: u16) -> bool {
    match side.port {
        Some(condition @ (PortMatch::Inside(..) | PortMatch::Greater(_))) => condition.matches(port),
        _ => true,
    }
}
