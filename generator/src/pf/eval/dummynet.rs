//! Dummynet: the pipes that a packet goes through at one hook.
//!
//! It exists because Apple evaluates these rules before all others, with fewer conditions than a filter rule, and
//! continues a packet that leaves a pipe after the rule that sent it there. Below a wildcard (`com.apple/*`) only
//! `quick` rules have an effect: xnu's pf_test_dummynet discards other matches when it leaves the child. The effect
//! of a pipe on a packet is not here. Sees: packets before translation, and dummynet rules. Never: states,
//! translation, or the filter.

use super::filter::{CHANCE, has_tag, is_about};
use super::flow::{Flow, Kind};
use super::loaded::Loaded;
use super::name::NameId;
use super::packet::{ICMP, ICMP6, TCP, UDP};
use super::rule::{CompiledRule, HostTest, RuleList};
use super::verdict::{RuleRef, Shaping};
use super::walk::{Judgement, Walk, Walks};

/// Most pipes at one hook: a packet in more is in a loop.
pub(super) const MOST: usize = 16;

/// The decision of dummynet rules about a packet.
pub(super) struct Shaped {
    /// The rule that sends it into a pipe, or a `no dummynet` rule.
    pub rule: Option<Shaping>,
    /// Whether a rule without effect (`no dummynet`, or a discarded match) is left in the kernel's rule pointer. If
    /// no filter rule then matches a fragment, pf_test_fragment takes that rule as the deciding one, and since it is
    /// no `pass`, blocks.
    pub is_held: bool,
}

/// Finds the next rule for the packet, after the rule that sent it into the pipe that it left last; `no dummynet`
/// ends the search. A packet that enters a pipe gets the tag of the matching rules.
pub(super) fn shape(loaded: &Loaded, walks: &mut Walks, flow: &mut Flow) -> Shaped {
    // The kernel skips dummynet unless the main ruleset has a dummynet rule or anchor call.
    if loaded.ruleset(0).is_none_or(|main| main.rules(RuleList::Dummynet).is_empty()) {
        return Shaped { rule: None, is_held: false };
    }
    let (rule, has_match, tag) = next(loaded, walks, flow);
    let is_held = rule.is_some_and(|rule| !has_match || rule.syntax.dummynet.is_none());
    let Some(rule) = rule.filter(|_| has_match) else { return Shaped { rule: None, is_held } };
    let (number, anchor) = (rule.syntax.number, rule.anchor.clone());
    let into = rule.syntax.dummynet;
    if into.is_some() {
        flow.behind = Some(rule.id);
        if let Some(tag) = tag.filter(|&tag| tag != 0) {
            flow.tag = tag;
        }
    }
    let shaping = Shaping { rule: RuleRef { number, anchor, label: rule.label.clone() }, into };
    Shaped { rule: Some(shaping), is_held }
}

/// The last matching rule, or the first quick one, after the rule of the packet's last pipe; whether the match
/// counts; and the tag that matching rules have set.
fn next<'a>(
    loaded: &'a Loaded,
    walks: &mut Walks,
    flow: &Flow,
) -> (Option<&'a CompiledRule>, bool, Option<NameId>) {
    let mut is_behind = flow.behind.is_none();
    let mut tag = None;
    let walk = Walk::new(loaded, RuleList::Dummynet, walks).toward(flow.toward());
    let (rule, has_match) = walk.last_and_mark(|rule| {
        if !is_about(rule, flow) || !rule.source.matches(&loaded.tables, flow.family, flow.source, true) {
            return Judgement::Differs;
        }
        // A fragment has no ports: a rule for TCP or UDP does not match it, with or without a condition on ports, and
        // the kernel skips all following rules with the same condition on the source port.
        if flow.fragment && matches!(rule.protocol, Some(TCP | UDP)) {
            return Judgement::SkipTo(rule.skip.source_port);
        }
        let is_match =
            matches_ends(rule, loaded, flow) && matches_rest(rule, flow) && has_tag(rule, &mut tag, flow.tag);
        if !is_match {
            return Judgement::Differs;
        }
        if rule.call.is_none() && !is_behind {
            is_behind = flow.behind == Some(rule.id);
            return Judgement::Differs;
        }
        // Anchor calls do not set tags here.
        if rule.call.is_none() {
            tag = rule.tag.or(tag);
        }
        Judgement::Matches
    });
    (rule, has_match, tag)
}

fn matches_ends(rule: &CompiledRule, loaded: &Loaded, flow: &Flow) -> bool {
    let tables = &loaded.tables;
    let has_ports = matches!(rule.protocol, Some(TCP | UDP));
    let fits =
        |side: &HostTest, port| !has_ports || side.port.is_none_or(|condition| condition.matches(port));
    fits(&rule.source, flow.header.source)
        && rule.destination.matches(tables, flow.family, flow.destination, false)
        && fits(&rule.destination, flow.header.destination)
}

/// The other conditions that the kernel evaluates here: `user`, `group` and `os` are not among them.
fn matches_rest(rule: &CompiledRule, flow: &Flow) -> bool {
    let syntax = &*rule.syntax;
    if flow.fragment && (flow.protocol == TCP || (is_icmp(flow) && syntax.icmp.is_some())) {
        return false;
    }
    let icmp = match flow.kind {
        Kind::Icmp { kind, code, .. } => (kind, code),
        _ => (0, 0),
    };
    let fits_icmp = |wanted: crate::pf::syntax::Icmp| {
        wanted.kind == icmp.0 && wanted.code.is_none_or(|code| code == icmp.1)
    };
    (syntax.tos == 0 || syntax.tos == flow.tos)
        && !(syntax.probability != 0 && syntax.probability <= CHANCE)
        && !syntax.fragment
        && syntax.icmp.is_none_or(fits_icmp)
        && syntax
            .tcp_flags
            .is_none_or(|wanted| flow.tcp_flags().is_none_or(|flags| flags & wanted.mask == wanted.set))
}

fn is_icmp(flow: &Flow) -> bool {
    matches!(flow.protocol, ICMP | ICMP6)
}
