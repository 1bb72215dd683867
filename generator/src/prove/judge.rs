//! The comparison: rules and policy as functions of all packets, equal or not.
//!
//! Two functions laid over each other fall into regions, on each of which one rule and one row of the policy decide. Of
//! each region one packet is put before the evaluator, which was held against Apple's own code, and before the policy as
//! it answers for a single packet: where either says something else than the functions, nothing is proven.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use super::packet::{answer, asked, evaluated};
use super::policy::{AS_THEY_ARE, Functions, Row, TOGETHER, WITHOUT_DF, errors};
use super::rules::{Lists, Outcome, Rules};
use super::world::World;
use super::{Astray, Counterexample, Finding, Found, Translated, Violation};
use crate::packets::{self, Field, Map, Set, Side, Space};
use crate::pf::eval::{
    Answer, Machine, Outcome as Action, Shaping, StateUse, TranslationKind, Verdict as Kernel, Via,
};
use crate::pf::print_rule;
use crate::pf::syntax::{self, Address, Block, Dummynet, Rule, StateKind};
use crate::plan::Plan;
use crate::plan::policy::{self, TCP, Translation, UDP, Verdict};

/// So many violations are told; who has more has them all over the place.
const MOST: usize = 25;

/// Everything that is held against each other.
pub struct Judge<'a> {
    pub plan: &'a Plan,
    pub world: &'a World,
    pub lists: Lists<'a>,
    pub space: Space,
    pub rules: Rules,
    pub policy: Functions,
    pub machine: Machine,
    /// Packets that a person would choose, the most wanted first.
    wishes: Vec<Set>,
    violations: Vec<Violation>,
    regions: usize,
    /// Filter rules whose answers were looked at.
    answered: HashSet<u32>,
}

/// How a region agrees.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Agreement {
    Same,
    /// But for a state, which ICMP errors never make.
    ButForState,
    Differs,
}

impl<'a> Judge<'a> {
    pub fn new(
        (plan, world, lists): (&'a Plan, &'a World, Lists<'a>),
        mut space: Space,
        (rules, policy): (Rules, Functions),
        machine: Machine,
    ) -> Self {
        let wishes = wishes(&mut space, plan);
        Self {
            plan,
            world,
            lists,
            space,
            rules,
            policy,
            machine,
            wishes,
            violations: Vec::new(),
            regions: 0,
            answered: HashSet::new(),
        }
    }

    /// Compares everything: how many regions there are, or what is wrong.
    pub fn judge(mut self) -> Result<usize, Vec<Violation>> {
        self.compare_reassembly();
        self.compare_outcomes();
        self.compare_fragments();
        self.compare_pipes();
        self.compare_translations();
        if self.violations.is_empty() {
            self.answers_inside();
        }
        self.violations.truncate(MOST);
        if self.violations.is_empty() { Ok(self.regions) } else { Err(self.violations) }
    }

    /// Regions of two functions: the numbers of both, and the function to the number of the pair.
    fn pairs(&mut self, one: Map, other: Map) -> (Vec<(u32, u32)>, Map) {
        let mut pairs: Vec<(u32, u32)> = Vec::new();
        let mut numbers: HashMap<(u32, u32), u32> = HashMap::new();
        let joined = self.space.join(one, other, &mut |one, other| {
            *numbers.entry((one, other)).or_insert_with(|| {
                pairs.push((one, other));
                u32::try_from(pairs.len() - 1).expect("fewer than 2^31 regions")
            })
        });
        (pairs, joined)
    }

    /// A packet that a person would choose; none where pf drops all of them unseen: those with a port 0, and segments
    /// without sense.
    fn witness(&mut self, set: Set) -> Option<packets::Packet> {
        let ports = [Field::SourcePort, Field::DestinationPort];
        let [source, destination] = ports.map(|field| self.space.number_is(field, 0));
        let zero = self.space.or(source, destination);
        let with_ports =
            self.space.numbers(Field::Protocol, &[(TCP.into(), TCP.into()), (UDP.into(), UDP.into())]);
        let unseen = self.space.and(zero, with_ports);
        let set = self.space.minus(set, unseen);
        self.space.witness(set, &self.wishes)
    }

    /// What both make of whole packets.
    fn compare_outcomes(&mut self) {
        let (pairs, joined) = self.pairs(self.policy.row, self.rules.outcome);
        let mut wrong: HashMap<u32, Agreement> = HashMap::new();
        for (number, packet) in self.space.each(joined) {
            let (row, outcome) = self.meaning(pairs[number as usize]);
            self.regions += 1;
            let agreement = self.agreement(row, outcome);
            if agreement != Agreement::Same {
                wrong.insert(number, agreement);
            }
            self.confirm((number, joined), (row, outcome), packet);
        }
        let mut wrong: Vec<(u32, Agreement)> = wrong.into_iter().collect();
        wrong.sort_unstable_by_key(|(number, _)| *number);
        let errors = errors(&mut self.space);
        let mut told = HashSet::new();
        for (number, agreement) in wrong {
            if self.violations.len() >= MOST {
                break;
            }
            let mut set = self.space.select(joined, |region| region == number);
            if agreement == Agreement::ButForState {
                set = self.space.minus(set, errors);
            }
            let Some(packet) = self.witness(set) else { continue };
            let (_, outcome) = self.meaning(pairs[number as usize]);
            if let Some(example) = self.counterexample(&packet, outcome)
                && told.insert((
                    example.found.rule.clone(),
                    example.expected.to_string(),
                    example.found.treatment,
                ))
            {
                self.violations.push(Violation::Packet(Box::new(example)));
            }
        }
    }

    fn meaning(&self, (row, outcome): (u32, u32)) -> (Row, Outcome) {
        (self.policy.rows[row as usize], self.rules.outcomes[outcome as usize])
    }

    fn agreement(&self, row: Row, outcome: Outcome) -> Agreement {
        let (verdict, translation) = (self.verdict(outcome), self.translation(outcome));
        if row.is_malformed {
            return Agreement::Same;
        }
        // What is blocked is not sent, whatever its addresses were.
        let is_translated = row.verdict.blocks() || row.translation == translation;
        match (row.verdict, verdict) {
            _ if !is_translated => Agreement::Differs,
            (wanted, found) if wanted == found => Agreement::Same,
            (Verdict::Pass, Verdict::Carry) | (Verdict::Carry, Verdict::Pass) => Agreement::ButForState,
            _ => Agreement::Differs,
        }
    }

    /// What the rules do with a packet of an outcome.
    fn verdict(&self, outcome: Outcome) -> Verdict {
        let filter = self.filter(outcome.filter);
        match filter.map(|rule| (rule.action, rule.state)) {
            Some((syntax::Action::Block(Block::Drop), _)) => Verdict::Drop,
            Some((syntax::Action::Block(Block::ReturnIcmp { .. }), _)) => {
                Verdict::Refuse(policy::Answer::Icmp)
            }
            Some((syntax::Action::Block(_), _)) => Verdict::Refuse(policy::Answer::Usual),
            // What is translated always has a state.
            _ if outcome.translation != 0 => Verdict::Pass,
            Some((_, StateKind::None)) => Verdict::Carry,
            Some(_) => Verdict::Pass,
            None => Verdict::Untouched,
        }
    }

    fn filter(&self, number: u32) -> Option<&'a Rule> {
        self.lists.filter.get((number as usize).checked_sub(1)?)
    }

    fn translating(&self, number: u32) -> Option<&'a Rule> {
        let index = (number as usize).checked_sub(1)?;
        match index.checked_sub(self.rules.nats) {
            None => self.lists.nat.get(index),
            Some(index) => self.lists.rdr.get(index),
        }
    }

    fn translation(&self, outcome: Outcome) -> Option<Translation> {
        let rule = self.translating(outcome.translation)?;
        let address = match &rule.redirect.as_ref()?.hosts.first()?.address {
            Address::Prefix { address: IpAddr::V4(address), .. } => *address,
            _ => return Some(Translation::EgressSource),
        };
        Some(if rule.action == syntax::Action::Rdr {
            Translation::Published(address)
        } else {
            Translation::GatewaySource(address)
        })
    }

    /// Asks the evaluator and the policy about a packet of a region.
    fn confirm(
        &mut self,
        (number, joined): (u32, Map),
        (row, outcome): (Row, Outcome),
        packet: packets::Packet,
    ) {
        let has_no_port =
            matches!(packet.protocol, TCP | UDP) && (packet.source_port == 0 || packet.destination_port == 0);
        let packet = if has_no_port {
            let region = self.space.select(joined, |region| region == number);
            match self.witness(region) {
                Some(packet) => packet,
                None => return,
            }
        } else {
            packet
        };
        let evaluated = evaluated(&packet);
        let Answer::Single(kernel) = self.machine.decide(&evaluated) else { return };
        let by_policy = asked(&packet, self.world).map(|asked| (asked, self.plan.policy.decide(&asked)));
        let agrees = match &by_policy {
            None => row.verdict == Verdict::Untouched,
            Some((asked, decision)) => {
                let is_error = asked.is_icmp_error() && row.verdict == Verdict::Pass;
                let wanted = if is_error { Verdict::Carry } else { row.verdict };
                decision.verdict == wanted && decision.translation == row.translation
            }
        };
        let is_error = by_policy.as_ref().is_some_and(|(asked, _)| asked.is_icmp_error());
        // What is put together and should not be is told by itself.
        let is_malformed = by_policy.as_ref().is_some_and(|(asked, _)| asked.is_malformed());
        if is_malformed && !row.is_malformed && self.space.of(self.rules.scrub, &packet) != 0 {
            return;
        }
        if !agrees {
            self.disagree(evaluated, "the policy's function and the policy itself disagree about it");
        } else if !(row.is_malformed && kernel.action == Action::Block
            || self.is_as_read(outcome, is_error, &kernel))
        {
            self.disagree(evaluated, "the rules' function and the evaluator disagree about it");
        } else if kernel.state == StateUse::Created
            && outcome.translation == 0
            && self.answered.insert(outcome.filter)
        {
            self.confirm_answer(evaluated);
        }
    }

    /// Whether the evaluator does with a packet what the functions say.
    fn is_as_read(&self, outcome: Outcome, is_error: bool, kernel: &Kernel) -> bool {
        let filter = kernel.rule.as_ref().map_or(0, |rule| rule.number + 1);
        let offset = u32::try_from(self.rules.nats).unwrap_or(u32::MAX);
        let translation = kernel.translation.as_ref().map_or(0, |it| match it.kind {
            TranslationKind::Nat => it.number + 1,
            TranslationKind::Rdr => it.number + 1 + offset,
            TranslationKind::Binat => u32::MAX,
        });
        let verdict = self.verdict(outcome);
        let keeps = verdict == Verdict::Pass && !is_error;
        let interface = self.translating(outcome.translation).and_then(|rule| rule.interface.as_ref());
        let (source, destination) = match self.translation(outcome).filter(|_| !verdict.blocks()) {
            None => (kernel.before.source, kernel.before.destination),
            Some(Translation::EgressSource) => {
                let own = interface.and_then(|interface| self.world.address_of(&interface.name));
                (own.unwrap_or(Ipv4Addr::UNSPECIFIED).into(), kernel.before.destination)
            }
            Some(Translation::GatewaySource(gateway)) => (gateway.into(), kernel.before.destination),
            Some(Translation::Published(volume)) => (kernel.before.source, volume.into()),
        };
        filter == outcome.filter
            && translation == outcome.translation
            && (kernel.action == Action::Block) == verdict.blocks()
            && (kernel.state == StateUse::Created) == keeps
            && (verdict.blocks() || (kernel.after.source, kernel.after.destination) == (source, destination))
    }

    fn disagree(&mut self, packet: crate::pf::eval::Packet, what: &'static str) {
        self.violations.push(Violation::Other(Box::new(Finding {
            packet: Some(packet),
            what: what.to_owned(),
            rule: None,
        })));
    }

    /// The answer to a packet that made a state comes back by it.
    fn confirm_answer(&mut self, packet: crate::pf::eval::Packet) {
        let there = self.machine.eval(&packet);
        let back = there.verdicts().first().and_then(|there| answer(&packet, there));
        let came_back = back.is_none_or(|back| match self.machine.eval(&back) {
            Answer::Single(verdict) => verdict.action == Action::Pass && verdict.via == Via::State,
            Answer::Path { .. } => false,
        });
        self.machine.forget();
        if !came_back {
            self.disagree(packet, "the rules pass it, and its answer does not come back");
        }
    }

    fn counterexample(&self, packet: &packets::Packet, outcome: Outcome) -> Option<Counterexample> {
        let expected = self.plan.policy.decide(&asked(packet, self.world)?);
        let translation = match (self.translation(outcome), self.verdict(outcome).blocks()) {
            (Some(known), false) => Translated::Known(known),
            _ => Translated::No,
        };
        let rule = self.filter(outcome.filter).or(self.translating(outcome.translation));
        let treatment = self.verdict(outcome);
        let found = Found { treatment, translation, rule: rule.map(|rule| self.shown(rule)) };
        Some(Counterexample { packet: evaluated(packet), expected, found })
    }

    /// A rule as a violation names it: its line, and its canonical text.
    fn shown(&self, rule: &Rule) -> (u32, String) {
        (self.world.origin(rule.place).line, print_rule(rule))
    }

    fn find(
        &mut self,
        set: Set,
        is_fragment: bool,
        rule: impl Fn(&Self, &packets::Packet) -> Option<&'a Rule>,
        what: &str,
    ) {
        if set.is_empty() || self.violations.len() >= MOST {
            return;
        }
        let Some(packet) = self.witness(set) else { return };
        let packet = packets::Packet { fragment: is_fragment, ..packet };
        let rule = rule(self, &packet).map(|rule| self.shown(rule));
        let finding = Finding { packet: Some(evaluated(&packet)), what: what.to_owned(), rule };
        self.violations.push(Violation::Other(Box::new(finding)));
    }

    /// How fragments are put together.
    fn compare_reassembly(&mut self) {
        let scrub = self.lists.scrub;
        let how = |number: u32| match (number as usize).checked_sub(1).and_then(|index| scrub.get(index)) {
            None => AS_THEY_ARE,
            Some(rule) if rule.scrub.no_df => WITHOUT_DF,
            Some(_) => TOGETHER,
        };
        let found = self.space.renumber(self.rules.scrub, &mut |number| how(number));
        let (pairs, joined) = self.pairs(self.policy.reassembly, found);
        let wrong: Vec<usize> = pairs
            .iter()
            .enumerate()
            .filter(|(_, (one, other))| one != other)
            .map(|(number, _)| number)
            .collect();
        for number in wrong {
            let set = self.space.select(joined, |region| region as usize == number);
            let word = |how| match how {
                AS_THEY_ARE => "left as they are",
                TOGETHER => "put together",
                _ => "put together, with don't-fragment cleared",
            };
            let (wanted, found) = pairs[number];
            let what = format!("its fragments are {}, but they must be {}", word(found), word(wanted));
            let rule = |judge: &Self, packet: &packets::Packet| {
                let number = judge.space.of(judge.rules.scrub, packet) as usize;
                judge.lists.scrub.get(number.checked_sub(1)?)
            };
            self.find(set, true, rule, &what);
        }
    }

    /// Fragments that nobody puts together count as their datagrams do: none of ours passes where a whole packet with the
    /// same addresses may not, or is left to others, or is blocked where every whole packet passes.
    fn compare_fragments(&mut self) {
        let lone = self.space.select(self.policy.reassembly, |how| how == AS_THEY_ARE);
        let rows = self.policy.rows.clone();
        let row = |number: u32| rows[number as usize];
        let blocked = self
            .space
            .select(self.policy.row, |number| row(number).verdict.blocks() && !row(number).is_malformed);
        let blocked = self.space.any_service(blocked);
        let others = self.space.select(self.policy.row, |number| row(number).verdict == Verdict::Untouched);
        let others = self.space.any_service(others);
        let filter = self.lists.filter;
        let passes = |number: u32| filter[number as usize - 1].action == syntax::Action::Pass;
        let met = self.space.select(self.rules.fragment, |number| number != 0);
        let passed = self.space.select(self.rules.fragment, |number| number != 0 && passes(number));
        let rule = |judge: &Self, packet: &packets::Packet| {
            judge.filter(judge.space.of(judge.rules.fragment, packet))
        };
        let check = |judge: &mut Self, one: Set, other: Set, what: &str| {
            let both = judge.space.and(one, other);
            let both = judge.space.and(both, lone);
            judge.find(both, true, rule, what);
        };
        check(self, met, others, "the rules match it, but it has nothing to do with any volume");
        let (unmet, ours) = (self.space.not(met), self.space.not(others));
        check(self, unmet, ours, "the rules leave it to other anchors");
        check(self, passed, blocked, "it passes alone, but the datagram that it is part of may not");
        let (stopped, open) = (self.space.minus(met, passed), self.space.not(blocked));
        check(self, stopped, open, "it is blocked, but the datagram that it is part of passes");
    }

    /// Which pipes packets go through. `no dummynet` keeps what came out of its pipe, and what is inside a provider, out of
    /// others; said of anything else it would keep that from the rules of others.
    fn compare_pipes(&mut self) {
        let (pairs, joined) = self.pairs(self.policy.pipe, self.rules.pipes);
        for (number, packet) in self.space.each(joined) {
            let (expected, sequence) = pairs[number as usize];
            self.regions += 1;
            let (found, keeps_out) = self.through(sequence);
            let is_right = found.iter().map(|pipe| u32::from(*pipe)).eq((expected != 0).then_some(expected));
            if is_right && !keeps_out {
                self.confirm_pipes(&packet, &found);
                continue;
            }
            let mut set = self.space.select(joined, |region| region == number);
            if is_right {
                set = self.space.minus(set, self.policy.within);
            }
            let Some(packet) = self.witness(set) else { continue };
            let last = self.rules.sequences[sequence as usize].last();
            let rule = last.and_then(|index| self.lists.dummynet.get(*index)).map(|rule| self.shown(rule));
            let expected = u16::try_from(expected).ok().filter(|pipe| *pipe != 0);
            let astray = Astray { packet: evaluated(&packet), expected, found, rule };
            if self.violations.len() < MOST {
                self.violations.push(Violation::Pipe(Box::new(astray)));
            }
        }
    }

    /// The pipes of a sequence of dummynet rules, and whether the first keeps out of all.
    fn through(&self, sequence: u32) -> (Vec<u16>, bool) {
        let rules = self.rules.sequences[sequence as usize]
            .iter()
            .filter_map(|index| self.lists.dummynet.get(*index));
        let pipes: Vec<Option<u16>> = rules
            .map(|rule| match rule.dummynet {
                Some(Dummynet::Pipe(number) | Dummynet::Queue(number)) => Some(number),
                None => None,
            })
            .collect();
        let keeps_out = pipes.first().is_some_and(Option::is_none);
        (pipes.into_iter().flatten().collect(), keeps_out)
    }

    fn confirm_pipes(&mut self, packet: &packets::Packet, expected: &[u16]) {
        let packet = evaluated(packet);
        let Answer::Single(kernel) = self.machine.decide(&packet) else { return };
        let found: Vec<u16> = kernel.shaping.iter().filter_map(Shaping::number).collect();
        if found != expected {
            self.disagree(packet, "the rules' function and the evaluator disagree about its pipes");
        }
    }

    /// Translation is settled where another anchor's must not have it, and left alone where it is none of ours.
    fn compare_translations(&mut self) {
        let rows = self.policy.rows.clone();
        let others =
            self.space.select(self.policy.row, |number| rows[number as usize].verdict == Verdict::Untouched);
        let settled = self.space.select(self.rules.translation, |number| number != 0);
        let taken = self.space.and(settled, others);
        let rule = |judge: &Self, packet: &packets::Packet| {
            judge.translating(judge.space.of(judge.rules.translation, packet))
        };
        self.find(
            taken,
            false,
            rule,
            "the rules keep other anchors from translating it, but it has nothing to do with any volume",
        );
        let left = self.space.minus(self.policy.settled, settled);
        self.find(left, false, |_, _| None, "the rules leave it to other anchors to redirect it");
    }

    /// What passes inside a provider without a state: its answer passes by itself.
    fn answers_inside(&mut self) {
        let rows = self.policy.rows.clone();
        let carried =
            |number: u32| rows[number as usize].is_within && rows[number as usize].verdict == Verdict::Carry;
        let carried = self.space.select(self.policy.row, carried);
        let answers = self.space.mirrored(carried);
        let passes: Vec<bool> =
            self.rules.outcomes.iter().map(|outcome| self.verdict(*outcome).passes()).collect();
        let passed = self.space.select(self.rules.outcome, |number| passes[number as usize]);
        let lost = self.space.minus(answers, passed);
        let rule = |judge: &Self, packet: &packets::Packet| {
            let outcome = judge.rules.outcomes[judge.space.of(judge.rules.outcome, packet) as usize];
            judge.filter(outcome.filter)
        };
        self.find(lost, false, rule, "it answers what passes without a state, and does not pass");
    }
}

/// Named volumes and usual services.
fn wishes(space: &mut Space, plan: &Plan) -> Vec<Set> {
    let mut addresses: Vec<u128> =
        plan.volumes.iter().map(|volume| u128::from(u32::from(volume.address))).collect();
    addresses.sort_unstable();
    let ranges: Vec<(u128, u128)> = addresses.into_iter().map(|address| (address, address)).collect();
    let ends = [Side::Source, Side::Destination];
    let mut wishes = ends.map(|side| space.addresses(side, packets::Family::Inet, &ranges)).to_vec();
    let usual = packets::Packet::default();
    wishes.push(space.number_is(Field::Protocol, usual.protocol));
    wishes.push(space.number_is(Field::Flags, usual.flags));
    wishes.push(space.number_is(Field::IcmpType, usual.icmp_type));
    wishes
}
