//! Dummynet: the pipes that a packet goes through at one hook.
//!
//! It exists because Apple evaluates these rules before all others, compares less than a filter rule does, and
//! continues a packet that leaves a pipe after the rule that sent it there. Below a wildcard (`com.apple/*`) only
//! `quick` rules have an effect: xnu's pf_test_dummynet forgets the others when it leaves the child. The effect of a
//! pipe on a packet is not here. Sees: packets as they came, and dummynet rules. Never: states, translation, or the
//! filter.

use super::filter::{CHANCE, has_tag, is_about};
use super::flow::{Flow, Kind};
use super::loaded::{List, Loaded, NameId};
use super::packet::{ICMP, ICMP6, TCP, UDP};
use super::rule::{CompiledRule, Side};
use super::verdict::{RuleRef, Shaping};
use super::walk::{Judgement, Walk};

/// A packet in more pipes than this is in a circle.
pub(super) const MOST: usize = 16;

/// What dummynet makes of a packet.
pub(super) struct Shaped {
    /// The rule that sends it into a pipe, or says `no dummynet`.
    pub rule: Option<Shaping>,
    /// A rule that sent it nowhere (`no dummynet`, or one that was forgotten) stays in the kernel's hand. Where a
    /// fragment then meets no filter rule, pf_test_fragment takes that one for the rule that decides, which is no `pass`.
    pub is_held: bool,
}

/// The next rule that is about the packet, behind the one that sent it into the pipe that it came out of; one that says
/// `no dummynet` ends it. A packet that goes into a pipe takes the tag of the rules that match.
pub(super) fn shape(loaded: &Loaded, matched: &mut Vec<bool>, flow: &mut Flow) -> Shaped {
    // Without a rule or a call of an anchor in the main ruleset the kernel asks none.
    if loaded.ruleset(0).is_none_or(|main| main.rules(List::Dummynet).is_empty()) {
        return Shaped { rule: None, is_held: false };
    }
    let (rule, has_match, tag) = next(loaded, matched, flow);
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

/// The last rule that matches, or the first quick one, of those behind the one that it came through; whether it counts;
/// and the tag that they left.
fn next<'a>(
    loaded: &'a Loaded,
    matched: &mut Vec<bool>,
    flow: &Flow,
) -> (Option<&'a CompiledRule>, bool, Option<NameId>) {
    let mut is_behind = flow.behind.is_none();
    let mut tag = None;
    let walk = Walk::new(loaded, List::Dummynet, matched).toward(flow.toward());
    let (rule, has_match) = walk.last_and_mark(|rule| {
        if !is_about(rule, flow) || !rule.source.matches(&loaded.tables, flow.family, flow.source, true) {
            return Judgement::Differs;
        }
        // A fragment shows no ports: a rule about a protocol that has them is not about it, whether it names one or
        // not, and the kernel jumps over all after it with the same condition on the source port.
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
        // A call has no part in tags here.
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
    let fits = |side: &Side, port| !has_ports || side.port.is_none_or(|condition| condition.matches(port));
    fits(&rule.source, flow.header.source)
        && rule.destination.matches(tables, flow.family, flow.destination, false)
        && fits(&rule.destination, flow.header.destination)
}

/// The rest that the kernel looks at here: no owner of a socket, no operating system.
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
