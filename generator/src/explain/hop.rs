//! One hop of a packet: what the rules do with it there, and what was declared.
//!
//! Both are evaluated for every packet that is not passed by a state, and compared. Never: why a hop is on the path.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Serialize;

use super::end::Asked;
use super::live::Loaded;
use super::reason::{self, DeclaredValue, PolicyReason};
use super::way::{Step, Way};
use crate::model::Declaration;
use crate::pf::eval::{
    self, ACK, Detail, Form, Hook, Outcome, RuleList, SYN, Shaping, StateUse, TcpSegment, TranslationKind,
    Transport, Via,
};
use crate::pf::print_rule;
use crate::pf::syntax::{self, Address, Block, Dummynet};
use crate::plan::policy::{self, Decision, ICMP, PolicyDirection, TCP, Translation, UDP};
use crate::plan::{Plan, faults};

/// The source port of the opening packet: the first of macOS's ephemeral range.
const EPHEMERAL: u16 = 49_152;
/// An arbitrary TCP sequence number.
const SEQUENCE: u32 = 1000;
/// The answer to a blocked packet: a TCP RST.
pub const RESET: &str = "answered with a RST";
/// The answer to a blocked packet: an ICMP error.
pub const UNREACHABLE: &str = "answered with an ICMP unreachable";
/// The protocol numbers of ESP and AH, which pf blocks without an answer.
const IPSEC: [u8; 2] = [50, 51];

/// A hook that a packet crosses, and what pf does there.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Hop")]
pub struct ExplainedHook {
    /// `in` or `out`.
    #[serde(serialize_with = "as_word")]
    #[schemars(with = "String")]
    pub direction: PolicyDirection,
    /// The interface; a bridge by its logical name.
    pub interface: String,
    /// The packet before pf.
    #[serde(serialize_with = "as_addresses")]
    #[schemars(with = "Addresses")]
    pub before: Form,
    /// The packet after pf.
    #[serde(serialize_with = "as_addresses")]
    #[schemars(with = "Addresses")]
    pub after: Form,
    /// What pf does with the packet.
    #[schemars(with = "String")]
    pub action: Outcome,
    /// What decided: a rule, a state, or the default.
    #[schemars(with = "String")]
    pub via: Via,
    /// What happened in the state table.
    #[schemars(with = "String")]
    pub state: StateUse,
    /// How the sender of a blocked packet is answered, or `silently`.
    pub answered: Option<&'static str>,
    /// The filter rule that decides; if a state does, the rule that created it.
    pub rule: Option<RulePlace>,
    /// The rule by which an address was changed, now or when the state was created.
    pub translation: Option<RulePlace>,
    /// The pipes that the packet goes through before the filter, in order.
    pub pipes: Vec<Through>,
    /// What was declared; null if a state passes the packet.
    pub reason: Option<PolicyReason>,
    /// The difference between the rules and the declaration, if there is one.
    pub disagreement: Option<String>,
}

/// A rule and its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "RuleAt")]
pub struct RulePlace {
    /// The anchor path of its ruleset; empty for the main ruleset.
    pub anchor: String,
    /// Its number within its list of that ruleset.
    pub number: u32,
    /// The file, if the text of the rule is known.
    pub file: Option<String>,
    /// The line in the file, from 1.
    pub line: Option<u32>,
    /// The rule in canonical form, as pfctl prints it.
    pub text: Option<String>,
    /// Its label.
    pub label: Option<String>,
    /// Whether it is in this program's anchor.
    pub ours: bool,
}

/// A dummynet pipe or queue that a packet goes through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Through {
    /// `pipe` or `queue`.
    pub kind: &'static str,
    /// Its number.
    pub number: u16,
    /// Its conditions in words; of the manager's `slow`, whose it is; null if it is another program's.
    pub conditions: Option<String>,
    /// The delay that it adds, in milliseconds.
    #[serde(rename = "latencyMs")]
    pub delay: Option<u16>,
    /// The rule that sends the packet into it.
    pub rule: RulePlace,
    /// The value of the declaration that it comes from.
    pub declared: Option<DeclaredValue>,
}

impl ExplainedHook {
    /// The sum of the known delays of its pipes, in milliseconds.
    pub fn delay(&self) -> u32 {
        self.pipes.iter().filter_map(|pipe| pipe.delay).map(u32::from).sum()
    }

    /// Whether the packet passes this hop.
    pub fn passes(&self) -> bool {
        self.action == Outcome::Pass
    }
}

impl PolicyDirection {
    /// `in` or `out`.
    pub fn word(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// The addresses and ports of a packet, with the field names that all commands use.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Addresses {
    source: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_port: Option<u16>,
    destination: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    /// The identifier of an ICMP query.
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp_id: Option<u16>,
}

fn as_addresses<S: serde::Serializer>(form: &Form, serializer: S) -> Result<S::Ok, S::Error> {
    let (source_port, port, icmp_id) = match form.detail {
        Detail::Ports(source, destination) => (Some(source), Some(destination), None),
        Detail::Id(id) => (None, None, Some(id)),
        Detail::None => (None, None, None),
    };
    let (source, destination) = (form.source, form.destination);
    Addresses { source, source_port, destination, port, icmp_id }.serialize(serializer)
}

// serde passes a reference.
#[expect(clippy::trivially_copy_pass_by_ref)]
fn as_word<S: serde::Serializer>(direction: &PolicyDirection, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(direction.word())
}

/// Evaluates the rules and the policy for a question.
pub(super) struct HookEvaluator<'a> {
    pub declaration: &'a Declaration,
    pub plan: &'a Plan,
    pub asked: &'a Asked,
}

impl HookEvaluator<'_> {
    /// The hops of the packet, and those of its reply if it arrives.
    pub fn both_ways(&self, rules: &mut Loaded, way: &Way) -> (Vec<ExplainedHook>, Vec<ExplainedHook>) {
        let packet = self.hops(rules, &way.steps, self.opening(), true);
        let arrives = packet.len() == way.steps.len() && packet.iter().all(ExplainedHook::passes);
        match packet.last() {
            Some(last) if arrives && way.refused.is_none() => {
                let answer = self.answering(last.after);
                let answer = self.hops(rules, &way.back(), answer, false);
                (packet, answer)
            }
            _ => (packet, Vec::new()),
        }
    }

    fn hops(
        &self,
        rules: &mut Loaded,
        steps: &[Step],
        packet: eval::Packet,
        opening: bool,
    ) -> Vec<ExplainedHook> {
        let hooks = steps.iter().map(|step| Hook {
            direction: match step.direction {
                PolicyDirection::In => syntax::Direction::In,
                PolicyDirection::Out => syntax::Direction::Out,
            },
            interface: rules
                .name(self.plan, step.over)
                .map_or_else(|| step.over.name(self.plan, self.asked), str::to_owned),
        });
        let packet = eval::Packet { hooks: hooks.collect(), is_path: true, ..packet };
        if packet.hooks.is_empty() {
            return Vec::new();
        }
        let answer = rules.machine.eval(&packet);
        let verdicts = steps.iter().zip(answer.verdicts());
        verdicts.map(|(step, verdict)| self.hop(rules, *step, verdict, opening)).collect()
    }

    fn hop(&self, rules: &Loaded, step: Step, verdict: &eval::Verdict, opening: bool) -> ExplainedHook {
        let mut rule = verdict.rule.as_ref().map(|rule| RulePlace {
            label: rule.label.as_deref().map(str::to_owned),
            ..self.rule_at(rules, &rule.anchor, RuleList::Filter, rule.number)
        });
        let changed = verdict.before != verdict.after;
        let translation = verdict.translation.as_ref().filter(|_| changed).map(|translation| {
            let list = match translation.kind {
                TranslationKind::Nat => RuleList::Nat,
                TranslationKind::Rdr => RuleList::Rdr,
                TranslationKind::Binat => RuleList::Binat,
            };
            self.rule_at(rules, &translation.anchor, list, translation.number)
        });
        if verdict.via == Via::Skip {
            rule = None;
        }
        let packet = self.policy_packet(step, verdict.before, opening);
        let decision = (verdict.via != Via::State).then(|| self.plan.policy.decide(&packet));
        let disagreement = decision.as_ref().and_then(|decision| self.differs(decision, verdict));
        // Dummynet rules are evaluated before states, so they apply to packets that a state passes, too.
        let is_asked = rules.knows_pipes && verdict.via != Via::Skip;
        let strays = || self.strays(self.plan.policy.pipe(&packet), verdict).filter(|_| is_asked);
        let disagreement = disagreement.or_else(strays);
        let protocol = self.asked.service.protocol;
        ExplainedHook {
            direction: step.direction,
            interface: step.over.name(self.plan, self.asked),
            before: verdict.before,
            after: verdict.after,
            action: verdict.action,
            via: verdict.via,
            state: verdict.state,
            answered: verdict.reply.map(|block| answered(block, protocol)),
            rule,
            translation,
            pipes: verdict.shaping.iter().filter_map(|shaping| self.through(rules, shaping)).collect(),
            reason: decision.map(|decision| reason::reason(self.declaration, &decision, &packet)),
            disagreement,
        }
    }

    fn rule_at(&self, rules: &Loaded, anchor: &str, list: RuleList, number: u32) -> RulePlace {
        let found = rules.find(anchor, list, number);
        RulePlace {
            anchor: anchor.to_owned(),
            number,
            file: found.as_ref().map(|found| found.file.to_owned()),
            line: found.as_ref().map(|found| found.line),
            text: found.as_ref().map(|found| print_rule(found.rule)),
            label: None,
            ours: anchor == self.plan.anchor.as_str(),
        }
    }

    /// The pipe that a dummynet rule sends the packet into; `None` for `no dummynet`.
    fn through(&self, rules: &Loaded, shaping: &Shaping) -> Option<Through> {
        let kind = match shaping.into? {
            Dummynet::Pipe(_) => "pipe",
            Dummynet::Queue(_) => "queue",
        };
        let number = shaping.number()?;
        let rule = self.rule_at(rules, &shaping.rule.anchor, RuleList::Dummynet, shaping.rule.number);
        let ours = self.plan.pipe(number).filter(|_| rule.ours);
        let link = ours.and_then(|pipe| self.plan.policy.link_of_pipe(pipe.number));
        Some(Through {
            kind,
            number,
            conditions: ours
                .map(|pipe| pipe.conditions.to_string())
                .or_else(|| on_demand(rules, &shaping.rule.anchor, shaping.rule.number)),
            delay: ours.map(|pipe| pipe.conditions.delay()),
            rule,
            declared: link.map(|link| reason::conditions(self.declaration, link)),
        })
    }

    /// How the pipes differ from the declared one, if they do.
    fn strays(&self, expected: Option<u16>, verdict: &eval::Verdict) -> Option<String> {
        let found: Vec<u16> = verdict.shaping.iter().filter_map(Shaping::number).collect();
        if found.iter().copied().eq(expected) {
            return None;
        }
        let declared = expected.map_or_else(|| "no pipe".to_owned(), |number| format!("pipe {number}"));
        let of = |shaping: &Shaping| match &*shaping.rule.anchor {
            anchor if anchor == self.plan.anchor.as_str() => String::new(),
            "" => " of the main ruleset".to_owned(),
            anchor => format!(" of the anchor {anchor}"),
        };
        let met = verdict.shaping.iter().map(|shaping| match shaping.number() {
            Some(number) => format!("pipe {number}{}", of(shaping)),
            None => format!("`no dummynet`{}", of(shaping)),
        });
        let met = met.collect::<Vec<_>>().join(", then ");
        let met =
            if met.is_empty() { "no rule sends it there".to_owned() } else { format!("it matches {met}") };
        Some(format!("as declared this packet goes through {declared}, but {met}"))
    }

    /// The packet in the form that the policy takes.
    fn policy_packet(&self, step: Step, form: Form, opening: bool) -> policy::PolicyPacket {
        let address = |address: IpAddr| match address {
            IpAddr::V4(address) => address,
            // Questions are about IPv4 only.
            IpAddr::V6(_) => std::net::Ipv4Addr::UNSPECIFIED,
        };
        let protocol = self.asked.service.protocol;
        policy::PolicyPacket {
            direction: step.direction,
            interface: step.over.kind(),
            source: address(form.source),
            destination: address(form.destination),
            protocol,
            port: if let Detail::Ports(_, port) = form.detail { port } else { 0 },
            flags: if opening { SYN } else { ACK },
            icmp: policy::ECHO,
        }
    }

    /// How the verdict of the rules differs from the declared one, if it does.
    fn differs(&self, decision: &Decision, verdict: &eval::Verdict) -> Option<String> {
        let anchor = self.plan.anchor.as_str();
        let mine = |of: &str| of == anchor;
        let decider = verdict.rule.as_ref().map(|rule| &*rule.anchor);
        let returns = !matches!(verdict.reply, None | Some(Block::Drop));
        let passes = verdict.action == Outcome::Pass;
        let translated = verdict.translation.as_ref().is_some_and(|by| mine(&by.anchor));
        let said = match decision.verdict {
            policy::PolicyVerdict::Pass => (passes && decider.map_or(translated, mine), "passes"),
            policy::PolicyVerdict::Carry => (
                passes && decider.is_some_and(mine) && verdict.state == StateUse::None,
                "passes without a state",
            ),
            policy::PolicyVerdict::Refuse(_) => {
                (!passes && returns && decider.is_some_and(mine), "is refused")
            }
            policy::PolicyVerdict::Drop => (!passes && !returns && decider.is_some_and(mine), "is dropped"),
            policy::PolicyVerdict::Untouched => {
                (!decider.is_some_and(mine) && !translated, "is not one of this network's")
            }
        };
        let moved = (verdict.before.source, verdict.before.destination);
        let expected = match decision.translation {
            None => moved,
            Some(Translation::EgressSource) => (self.asked.egress_address.into(), moved.1),
            Some(Translation::GatewaySource(gateway)) => (gateway.into(), moved.1),
            Some(Translation::Published(volume)) => (moved.0, volume.into()),
        };
        let (after, is_ours) = (verdict.after, decision.verdict != policy::PolicyVerdict::Untouched);
        let place = match decider {
            _ if verdict.via == Via::Skip => "pf skips this interface (`set skip`)".to_owned(),
            Some(path) if mine(path) => format!("the anchor {path} decides differently"),
            Some("") => "the main ruleset decides instead".to_owned(),
            Some(path) => format!("the anchor {path} decides instead"),
            None => match verdict.translation.as_ref().filter(|by| !mine(&by.anchor)) {
                Some(by) if by.anchor.is_empty() => "the main ruleset translates it".to_owned(),
                Some(by) => format!("the anchor {} translates it", by.anchor),
                None => "no rule decides".to_owned(),
            },
        };
        let same = passes != decision.verdict.blocks();
        if !said.0 && same && decider.is_some_and(|path| !mine(path)) {
            return Some(format!("{place}, to the same effect"));
        }
        if !said.0 {
            return Some(format!("as declared this packet {}, but {place}", said.1));
        }
        if is_ours && (after.source, after.destination) != expected {
            return Some(format!(
                "as declared this packet becomes {} -> {}, but the rules make it {} -> {}",
                expected.0, expected.1, after.source, after.destination
            ));
        }
        None
    }

    /// The packet that opens the connection or exchange.
    fn opening(&self) -> eval::Packet {
        let service = self.asked.service;
        let port = service.port.unwrap_or_default();
        let transport = match service.protocol {
            TCP => Transport::Tcp { source: EPHEMERAL, destination: port, segment: segment(SYN, 0) },
            UDP => Transport::Udp { source: EPHEMERAL, destination: port },
            ICMP => Transport::Icmp { kind: 8, code: 0, id: 1, inner: None },
            other => Transport::Other(other),
        };
        packet(self.asked.source.address.into(), self.asked.destination.address.into(), transport)
    }

    /// The reply to a packet that arrived.
    fn answering(&self, arrived: Form) -> eval::Packet {
        let transport = match (self.asked.service.protocol, arrived.detail) {
            (TCP, Detail::Ports(theirs, ours)) => Transport::Tcp {
                source: ours,
                destination: theirs,
                segment: segment(SYN | ACK, SEQUENCE + 1),
            },
            (UDP, Detail::Ports(theirs, ours)) => Transport::Udp { source: ours, destination: theirs },
            (ICMP, Detail::Id(id)) => Transport::Icmp { kind: 0, code: 0, id, inner: None },
            (other, _) => Transport::Other(other),
        };
        packet(arrived.destination, arrived.source, transport)
    }
}

fn segment(flags: u8, acknowledgement: u32) -> TcpSegment {
    TcpSegment { flags, sequence: SEQUENCE, acknowledgement, length: 0, window: u16::MAX }
}

fn packet(source: IpAddr, destination: IpAddr, transport: Transport) -> eval::Packet {
    eval::Packet {
        hooks: Vec::new(),
        is_path: true,
        source,
        destination,
        transport,
        user: None,
        group: None,
        tag: None,
        tos: 0,
        fragment: false,
        ip: eval::Ip::default(),
    }
}

/// How the sender of a blocked packet is answered.
fn answered(block: Block, protocol: u8) -> &'static str {
    const SILENCE: &str = "silently";
    let unreachable = match protocol {
        ICMP => "silently (pf sends no ICMP error for ICMP)",
        other if IPSEC.contains(&other) => SILENCE,
        _ => UNREACHABLE,
    };
    match block {
        Block::Return { .. } | Block::ReturnRst { .. } if protocol == TCP => RESET,
        Block::Drop | Block::ReturnRst { .. } => SILENCE,
        Block::Return { .. } | Block::ReturnIcmp { .. } => unreachable,
    }
}

/// The slow path that a dummynet rule of the manager belongs to, in words. What its pipes do to a packet is not in a
/// capture of rules.
fn on_demand(rules: &Loaded, anchor: &str, number: u32) -> Option<String> {
    let found = rules.find(anchor, RuleList::Dummynet, number).filter(|_| anchor == faults::ANCHOR)?;
    let (Address::Table(from), Address::Table(to)) =
        (&found.rule.source.address, &found.rule.destination.address)
    else {
        return None;
    };
    let (one, other) = faults::ends(from, to)?;
    let other = other.map_or_else(String::new, |other| format!(" {other}"));
    Some(format!("`slow {one}{other}` of the manager; how slow, a capture of rules does not tell"))
}
