//! The decision about a packet at one hook: states first, then translation, then the filter.
//!
//! It exists to run the parts in the kernel's order and to report the outcome. Sees: all of the evaluator. Never:
//! JSON.

use super::dummynet::{MOST as MOST_PIPES, Shaped, shape};
use super::filter::decide;
use super::flow::{Flow, Kind, Normalized};
use super::loaded::Loaded;
use super::memory::{Memory, Source};
use super::name::NameId;
use super::normalize::normalize;
use super::packet::{ICMP, ICMP6, is_icmp_error};
use super::pool::choose;
use super::reply::{Found, find_state};
use super::rule::CompiledRule;
use super::state::{Find, Indices, Key, State, VARIANTS, variant};
use super::tcp::Peer;
use super::translate::{Translation, find};
use super::verdict::{
    Form, Outcome, RuleRef, Scrubbed, Shaping, StateUse, TranslationKind, TranslationRef, Verdict, Via,
};
use crate::pf::syntax::{Action, Direction, PoolKind, RouteKind, SourceTrack, StateKind, StatePolicy};

/// IKE's port, for which UDP states always match both endpoints exactly.
const IKE: u16 = 500;

/// What happens next to a packet at one hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookStep {
    /// A dummynet rule sends it into a pipe. Once it has left the pipe, evaluation continues by
    /// [`super::Machine::emerge`].
    Piped(Shaping),
    /// The final verdict at this hook. Its `shaping` has at most a `no dummynet` rule, not the pipes passed.
    Judged(Verdict),
}

/// The verdict at one hook, passing through all pipes at once.
pub(super) fn judge(loaded: &Loaded, memory: &mut Memory, flow: &mut Flow) -> Verdict {
    let before = flow.form();
    let mut met = Vec::new();
    let mut step = enter(loaded, memory, flow);
    loop {
        match step {
            HookStep::Piped(shaping) => {
                met.push(shaping);
                step = if met.len() < MOST_PIPES {
                    emerge(loaded, memory, flow)
                } else {
                    HookStep::Judged(judge_behind_pipes(loaded, memory, flow))
                };
            }
            HookStep::Judged(verdict) => {
                met.extend(verdict.shaping);
                return Verdict { shaping: met, before, ..verdict };
            }
        }
    }
}

/// The first step at a hook.
pub(super) fn enter(loaded: &Loaded, memory: &mut Memory, flow: &mut Flow) -> HookStep {
    if loaded.is_skipped(flow.interface) {
        return HookStep::Judged(Verdict { via: Via::Skip, ..blank(flow.form(), Outcome::Pass) });
    }
    let before = flow.form();
    let normalized = normalize(loaded, memory, flow);
    flow.normalized = normalized;
    // Held and dropped fragments never reach dummynet; segments with invalid TCP flags are dropped after it.
    if normalized == Normalized::Gone {
        let verdict = Verdict { scrubbed: flow.scrubbed, ..blank(before, Outcome::Block) };
        return HookStep::Judged(if_known(memory, verdict));
    }
    emerge(loaded, memory, flow)
}

/// A verdict, unless a walk on the way to it was abandoned.
fn if_known(memory: &mut Memory, verdict: Verdict) -> Verdict {
    if !std::mem::take(&mut memory.walks.is_abandoned) {
        return verdict;
    }
    Verdict { via: Via::Abandoned, ..blank(verdict.before, Outcome::Block) }
}

/// The next step, at first or after the packet has left a pipe.
pub(super) fn emerge(loaded: &Loaded, memory: &mut Memory, flow: &mut Flow) -> HookStep {
    let Shaped { rule, is_held } = shape(loaded, &mut memory.walks, flow);
    // After an abandoned walk it is not known which rule matches.
    let rule = rule.filter(|_| !memory.walks.is_abandoned);
    match rule {
        Some(shaping) if shaping.into.is_some() => HookStep::Piped(shaping),
        shaping => {
            let mut verdict = judge_behind_pipes(loaded, memory, flow);
            if flow.fragment && is_held && verdict.rule.is_none() {
                verdict.action = Outcome::Block;
            }
            HookStep::Judged(Verdict { shaping: shaping.into_iter().collect(), ..verdict })
        }
    }
}

fn judge_behind_pipes(loaded: &Loaded, memory: &mut Memory, flow: &mut Flow) -> Verdict {
    let before = flow.form();
    let verdict = judge_normalized(loaded, memory, flow, before);
    if_known(memory, Verdict { scrubbed: flow.scrubbed, ..verdict })
}

fn judge_normalized(loaded: &Loaded, memory: &mut Memory, flow: &mut Flow, before: Form) -> Verdict {
    match flow.normalized {
        Normalized::Nonsense | Normalized::Gone => return blank(before, Outcome::Block),
        Normalized::Tracked => flow.is_normalized = true,
        Normalized::Passed => {}
    }
    if flow.fragment {
        return judge_fragment(loaded, memory, flow, before);
    }
    let has_ports = matches!(flow.kind, Kind::Tcp(_) | Kind::Udp);
    if has_ports && (flow.header.source == 0 || flow.header.destination == 0) {
        return blank(before, Outcome::Block);
    }
    match find_state(memory, flow) {
        Found::Passed(at) => of_state(memory, flow, at, Outcome::Pass, before),
        Found::Refused(at) => of_state(memory, flow, at, Outcome::Block, before),
        Found::None => judge_by_rules(loaded, memory, flow, before),
    }
}

/// A verdict by default, without a rule or a state.
fn blank(form: Form, action: Outcome) -> Verdict {
    Verdict {
        action,
        via: Via::Default,
        rule: None,
        state: StateUse::None,
        translation: None,
        shaping: Vec::new(),
        before: form,
        after: form,
        reply: None,
        scrubbed: Scrubbed::default(),
    }
}

/// The verdict of a matching state; if the state blocks, the verdict names no rule.
fn of_state(memory: &Memory, flow: &mut Flow, at: usize, action: Outcome, before: Form) -> Verdict {
    let mut verdict = Verdict { via: Via::State, state: StateUse::Matched, ..blank(before, action) };
    if let Some((state, _)) = memory.states.get(at) {
        if action == Outcome::Pass {
            verdict.rule = state.rule.as_ref().map(rule_ref);
            if state.tag != 0 {
                flow.tag = state.tag;
            }
            if is_stopped_by_options(flow, state.rule.as_ref()) {
                verdict.action = Outcome::Block;
            }
        }
        verdict.translation = state.translation.as_ref().map(translation_ref);
    }
    verdict.after = flow.form();
    verdict
}

/// The verdict on a fragment: only filter rules apply, and one with a condition on its ports, TCP flags or ICMP type
/// does not match.
fn judge_fragment(loaded: &Loaded, memory: &mut Memory, flow: &mut Flow, before: Form) -> Verdict {
    let (rule, tag) = decide(loaded, &mut memory.walks, flow, None);
    if let Some(tag) = tag.filter(|&tag| tag != 0) {
        flow.tag = tag;
    }
    of_rule(rule, None, before, flow)
}

fn judge_by_rules(loaded: &Loaded, memory: &mut Memory, flow: &mut Flow, before: Form) -> Verdict {
    let translation = find(loaded, memory, flow);
    let mut tag = None;
    let mut is_passed = false;
    if let Some(translation) = &translation {
        translation.apply(flow);
        tag = translation.tag();
        is_passed = translation.rule.syntax.nat_pass;
    }
    let mut rule = None;
    if !is_passed {
        (rule, tag) = decide(loaded, &mut memory.walks, flow, tag);
    }
    if memory.walks.is_abandoned {
        // No state is made of a verdict that is not known.
        return blank(before, Outcome::Block);
    }
    let is_logged = rule.is_some_and(|rule| rule.syntax.log.on)
        || translation.as_ref().is_some_and(|translation| translation.rule.syntax.log.on);
    if is_logged && translation.is_some() {
        flow.commit();
    }
    if let Some(Action::Block(block)) = rule.map(|rule| rule.syntax.action) {
        if block != crate::pf::syntax::Block::Drop
            && let Some(translation) = &translation
        {
            translation.undo(flow);
        }
        return of_rule(rule, translation.as_ref(), before, flow);
    }
    if let Some(tag) = tag.filter(|&tag| tag != 0) {
        flow.tag = tag;
    }
    let is_error = matches!(flow.kind, Kind::Icmp { kind, .. } if is_icmp_error(flow.family, kind));
    let keeps = rule.is_some_and(|rule| rule.syntax.state != StateKind::None);
    let wants_state = !is_error && (keeps || translation.is_some() || flow.is_normalized);
    let made = !wants_state || make_state(loaded, memory, flow, rule, translation.as_ref(), tag);
    if made && translation.is_some() {
        flow.commit();
    }
    let mut verdict = of_rule(rule, translation.as_ref(), before, flow);
    if !made {
        verdict.action = Outcome::Block;
    } else if wants_state {
        verdict.state = StateUse::Created;
    }
    verdict
}

fn of_rule(
    rule: Option<&CompiledRule>,
    translation: Option<&Translation>,
    before: Form,
    flow: &Flow,
) -> Verdict {
    let reply = rule.and_then(|rule| match rule.syntax.action {
        Action::Block(block) => Some(block),
        _ => None,
    });
    let is_blocked = reply.is_some() || is_stopped_by_options(flow, rule);
    Verdict {
        action: if is_blocked { Outcome::Block } else { Outcome::Pass },
        via: if rule.is_some() { Via::Rule } else { Via::Default },
        rule: rule.map(rule_ref),
        translation: translation.map(|translation| translation_ref(translation.rule)),
        after: flow.form(),
        reply,
        ..blank(before, Outcome::Pass)
    }
}

/// Whether a packet that passes is dropped silently for its IP options nevertheless; a state that it created stays.
fn is_stopped_by_options(flow: &Flow, rule: Option<&CompiledRule>) -> bool {
    flow.ip.options && !rule.is_some_and(|rule| rule.syntax.allow_opts)
}

fn rule_ref(rule: &CompiledRule) -> RuleRef {
    RuleRef { number: rule.syntax.number, anchor: rule.anchor.clone(), label: rule.label.clone() }
}

fn translation_ref(rule: &CompiledRule) -> TranslationRef {
    let kind = match rule.syntax.action {
        Action::Rdr => TranslationKind::Rdr,
        Action::Binat => TranslationKind::Binat,
        _ => TranslationKind::Nat,
    };
    TranslationRef { kind, number: rule.syntax.number, anchor: rule.anchor.clone() }
}

/// Creates the state of a packet that passes; false if a limit is reached or its key is taken, which blocks the packet.
fn make_state(
    loaded: &Loaded,
    memory: &mut Memory,
    flow: &Flow,
    rule: Option<&CompiledRule>,
    translation: Option<&Translation>,
    tag: Option<NameId>,
) -> bool {
    if is_kept_waiting(memory, flow, translation) {
        return false;
    }
    let Some(sources) = track_sources(memory, flow, rule, translation) else {
        return false;
    };
    let opener = match flow.kind {
        Kind::Tcp(segment) => Peer::opener(&segment),
        _ => Peer::silent(),
    };
    let mut state =
        State::new(rule.cloned(), translation.map(|translation| translation.rule.clone()), opener);
    state.tag = tag.unwrap_or(0);
    if let Some(rule) = rule {
        let options = &rule.syntax.state_options;
        state.interface = (options.policy == StatePolicy::IfBound).then_some(flow.interface);
        state.routed_to = routed_to(loaded, memory, flow, rule);
    }
    if !memory.states.insert(key_of(flow, rule, translation), state) {
        return false;
    }
    for key in sources {
        memory.sources.entry(key).or_default().states += 1;
    }
    true
}

/// Whether an outgoing, translated ESP packet must wait: the state of another source to the same destination has not
/// seen the SPI of its replies yet. They could not be told apart, so the kernel allows only one such state at a time.
fn is_kept_waiting(memory: &Memory, flow: &Flow, translation: Option<&Translation>) -> bool {
    if translation.is_none() || flow.direction != Direction::Out || !matches!(flow.kind, Kind::Esp(_)) {
        return false;
    }
    let (near, far) = ((flow.source, 0), (flow.destination, 0));
    let find = Find::new(flow.family, flow.protocol, VARIANTS[0], near, far);
    let waiting = memory.states.find(Direction::In, &find, flow.interface);
    // The kernel compares the state's inner address with the packet's translated source.
    waiting.and_then(|at| memory.states.get(at)).is_some_and(|(_, key)| key.lan.0 != flow.source)
}

/// The interface that a rule with `route-to`, `reply-to` or `dup-to` sends the packet to.
fn routed_to(loaded: &Loaded, memory: &mut Memory, flow: &Flow, rule: &CompiledRule) -> Option<NameId> {
    let pool = rule.route.as_deref()?;
    if rule.syntax.route.as_ref()?.kind == RouteKind::Fast {
        return None;
    }
    let chosen = choose(rule, pool, &loaded.tables, memory, flow.family, flow.source);
    chosen.map(|(_, member)| member).or(pool.members.first())?.interface
}

/// Counts the sources of a new state; `None` if a limit is reached.
fn track_sources(
    memory: &mut Memory,
    flow: &Flow,
    rule: Option<&CompiledRule>,
    translation: Option<&Translation>,
) -> Option<Vec<super::memory::SourceKey>> {
    let mut counted = Vec::new();
    if let Some(rule) = rule {
        let options = &rule.syntax.state_options;
        if options.max != 0 && memory.states.count(rule.id) >= options.max {
            return None;
        }
        if let Some(track) = options.source_track {
            let of = (track == SourceTrack::Rule).then_some(rule.id);
            let key = (of, flow.family, flow.source);
            match memory.sources.get(&key) {
                Some(known) if options.max_src_states != 0 && known.states >= options.max_src_states => {
                    return None;
                }
                Some(_) => {}
                None => {
                    // Only the sources of one rule are counted, so a global limit never applies.
                    let nodes = memory.sources.keys().filter(|(other, ..)| *other == Some(rule.id)).count();
                    let limit = usize::try_from(options.max_src_nodes).unwrap_or(usize::MAX);
                    if limit != 0 && of.is_some() && nodes >= limit {
                        return None;
                    }
                    memory.sources.insert(key, Source::default());
                }
            }
            counted.push(key);
        }
    }
    if let Some(translation) = translation
        && let Some(pool) = translation.rule.redirect.as_deref()
        && pool.syntax.sticky
        && pool.syntax.kind != PoolKind::None
    {
        // Keyed by the source before translation; the value is the packet's new source. For rdr that is the unchanged
        // source, so Apple's sticky rdr redirects a client's second connection back to the client.
        let key = (Some(translation.rule.id), flow.family, translation.before.0);
        memory.sources.entry(key).or_default().address = Some(flow.source);
        counted.push(key);
    }
    Some(counted)
}

fn key_of(flow: &Flow, rule: Option<&CompiledRule>, translation: Option<&Translation>) -> Key {
    let is_icmp = matches!(flow.protocol, ICMP | ICMP6) && matches!(flow.kind, Kind::Icmp { .. });
    let (source, destination) = (flow.source, flow.destination);
    let ports = flow.header;
    let (old_source, old_destination, old_ports) =
        translation.map_or((source, destination, ports), |translation| translation.before);
    // ICMPv6 states are stored under the protocol number of ICMP, with the identifier at the inner endpoint.
    let (near, far) = match (flow.direction, translation) {
        (_, Some(translation)) if is_icmp => (translation.port, 0),
        (Direction::Out, _) if is_icmp => (ports.source, 0),
        (Direction::In, _) if is_icmp => (ports.destination, 0),
        (Direction::Out, _) => (ports.source, ports.destination),
        (Direction::In, _) => (ports.destination, ports.source),
    };
    let old_far = if is_icmp { 0 } else { old_ports.destination };
    let (lan, gateway, outside_lan, outside_gateway) = match flow.direction {
        Direction::Out => {
            ((old_source, old_ports.source), (source, near), (old_destination, old_far), (destination, far))
        }
        Direction::In => {
            ((destination, near), (old_destination, old_ports.destination), (source, far), (source, far))
        }
    };
    Key {
        family: flow.family,
        protocol: if is_icmp { ICMP } else { flow.protocol },
        variant: variant_of(flow, rule, translation),
        direction: flow.direction,
        lan,
        gateway,
        outside_lan,
        outside_gateway,
        spi: match flow.direction {
            Direction::Out => Indices { outward: flow.spi(), inward: 0 },
            Direction::In => Indices { outward: 0, inward: flow.spi() },
        },
    }
}

/// How strictly a UDP state matches the remote endpoint.
fn variant_of(flow: &Flow, rule: Option<&CompiledRule>, translation: Option<&Translation>) -> u8 {
    if (flow.header.source, flow.header.destination) == (IKE, IKE) {
        return VARIANTS[0];
    }
    let made_by = translation.map(|translation| translation.rule).or(rule);
    let pool = made_by.and_then(|rule| rule.redirect.as_deref());
    pool.and_then(|pool| pool.syntax.extfilter).map_or(VARIANTS[0], variant)
}
