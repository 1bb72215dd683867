//! The comparison: rules and policy as functions of all packets, equal or not.
//!
//! The product of the two functions divides the packets into regions in which each has one value. For each region,
//! each rule and each row of the policy, one packet is given to the evaluator, which was compared with Apple's own
//! code, and to the policy for a single packet: if either disagrees with the functions, nothing is proven.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use super::outcome::{HookOutcome, Outcomes};
use super::packet::{answer, asked, evaluated};
use super::policy::{FragmentTreatment, Functions, errors};
use super::refutation::{Counterexample, ProofFinding, RuleOutcome, Translated, Violation, WrongPipes};
use super::rules::{self, RuleFunctions};
use super::world::{LOOPBACK, World};
use crate::packets::{self, Field, Map, Set, Side, Space};
use crate::pf::eval::{Machine, PathVerdicts, Shaping, StateUse, TranslationKind, Verdict as Kernel};
use crate::pf::print_rule;
use crate::pf::syntax::{self, Action as Does, Rule, StateKind};
use crate::plan::Plan;
use crate::plan::policy::{self, PolicyVerdict, TCP, UDP};

/// The maximum number of violations reported; more would add nothing.
const MOST: usize = 25;
/// The maximum number of packets reported for one difference, each decided by another rule.
const EXAMPLES: usize = 3;

/// Everything that is compared.
pub struct Comparison<'a> {
    pub plan: &'a Plan,
    pub world: &'a World,
    pub lists: &'a syntax::RuleLists,
    pub space: Space,
    pub rules: RuleFunctions,
    pub policy: Functions,
    pub outcomes: Outcomes,
    pub machine: Machine,
    /// Preferences for witnesses, the most important first; made on first use.
    wishes: Option<Vec<Set>>,
    violations: Vec<Violation>,
    regions: usize,
    /// The filter rules for which the reply was checked.
    answered: HashSet<u32>,
}

impl<'a> Comparison<'a> {
    pub fn new(
        (plan, world, lists): (&'a Plan, &'a World, &'a syntax::RuleLists),
        space: Space,
        (rules, policy, outcomes): (RuleFunctions, Functions, Outcomes),
        machine: Machine,
    ) -> Self {
        Self {
            plan,
            world,
            lists,
            space,
            rules,
            policy,
            outcomes,
            machine,
            wishes: None,
            violations: Vec::new(),
            regions: 0,
            answered: HashSet::new(),
        }
    }

    /// Compares everything. Returns the number of regions and of diagram nodes, or what is wrong.
    pub fn judge(mut self) -> Result<(usize, usize), Vec<Violation>> {
        self.confirm_each();
        self.compare_reassembly();
        self.compare_outcomes();
        self.compare_fragments();
        self.compare_pipes();
        self.compare_translations();
        if self.violations.is_empty() {
            self.answers_inside();
            self.states_are_brief();
        }
        self.violations.truncate(MOST);
        if self.violations.is_empty() { Ok((self.regions, self.space.size())) } else { Err(self.violations) }
    }

    /// The regions of two functions: the pairs of their values, and the function to the index of the pair.
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

    /// A realistic packet of a set. `None` if it has only packets with port 0, which pf drops before it evaluates
    /// rules, or is empty.
    fn witness(&mut self, set: Set) -> Option<packets::WitnessPacket> {
        let ports = [Field::SourcePort, Field::DestinationPort];
        let [source, destination] = ports.map(|field| self.space.number_is(field, 0));
        let zero = self.space.or(source, destination);
        let with_ports =
            self.space.numbers(Field::Protocol, &[(TCP.into(), TCP.into()), (UDP.into(), UDP.into())]);
        let unseen = self.space.and(zero, with_ports);
        let set = self.space.minus(set, unseen);
        let wishes = self.wishes.get_or_insert_with(|| wishes(&mut self.space, self.plan));
        self.space.witness(set, wishes)
    }

    /// Compares the outcomes of unfragmented packets.
    fn compare_outcomes(&mut self) {
        if self.policy.outcome == self.rules.outcome {
            return;
        }
        let (pairs, joined) = self.pairs(self.policy.outcome, self.rules.outcome);
        let wrong = pairs.iter().enumerate().filter(|(_, (one, other))| one != other);
        let wrong: Vec<usize> = wrong.map(|(number, _)| number).collect();
        for number in wrong {
            let set = self.space.select(joined, |region| region as usize == number);
            self.tell_differences(set);
        }
    }

    /// Reports packets of a set on which rules and policy differ: up to [`EXAMPLES`], each decided by another rule.
    fn tell_differences(&mut self, set: Set) {
        let mut left = set;
        for _ in 0..EXAMPLES {
            if self.violations.len() >= MOST {
                return;
            }
            let Some(packet) = self.witness(left) else { return };
            let evaluated = evaluated(&packet);
            let asked = asked(&packet, self.world);
            if let (Some(asked), PathVerdicts::Single(kernel)) = (asked, self.machine.decide(&evaluated)) {
                let (expected, found) = (self.plan.policy.decide(&asked), self.found(&packet, &kernel));
                let rule = kernel.rule.as_ref().and_then(|rule| self.lists.filter.get(rule.number as usize));
                left = match rule {
                    Some(rule) => {
                        let about = self.about(rule);
                        self.space.minus(left, about)
                    }
                    None => Set::NONE,
                };
                let example = Counterexample { packet: evaluated, expected, found };
                self.violations.push(Violation::Packet(Box::new(example)));
            } else {
                left = Set::NONE;
            }
        }
    }

    /// The packets that a rule matches, regardless of the rules before it.
    fn about(&mut self, rule: &Rule) -> Set {
        rules::about(&mut self.space, self.machine.loaded(), self.world, rule)
    }

    fn found(&self, packet: &packets::WitnessPacket, kernel: &Kernel) -> RuleOutcome {
        let HookOutcome { verdict, translation } =
            HookOutcome::of(kernel, self.world.address_of(&packet.interface));
        let filter = kernel.rule.as_ref().and_then(|rule| self.lists.filter.get(rule.number as usize));
        let translating = kernel.translation.as_ref().and_then(|it| match it.kind {
            TranslationKind::Nat => self.lists.nat.get(it.number as usize),
            TranslationKind::Rdr => self.lists.rdr.get(it.number as usize),
            TranslationKind::Binat => None,
        });
        RuleOutcome {
            treatment: verdict,
            translation: translation.map_or(Translated::No, Translated::Known),
            rule: filter.or(translating).map(|rule| self.shown(rule)),
        }
    }

    /// Asks the evaluator and the policy about one packet of each region, and the examples of each rule and policy row.
    fn confirm_each(&mut self) {
        let (policy, rules) = (self.policy.outcome, self.rules.outcome);
        // If the functions are equal, their regions are those of either.
        let joined = if policy == rules { policy } else { self.pairs(policy, rules).1 };
        let mut packets: Vec<packets::WitnessPacket> =
            self.space.each(joined).into_iter().map(|(_, packet)| packet).collect();
        packets.append(&mut self.rules.examples);
        packets.append(&mut self.policy.examples);
        self.regions = packets.len();
        for packet in packets {
            self.confirm(packet);
        }
    }

    fn confirm(&mut self, packet: packets::WitnessPacket) {
        // pf drops packets with port 0 before it evaluates rules.
        let port = |port: u16, other: u16| if port == 0 { other } else { port };
        let usual = packets::WitnessPacket::default();
        let packet = packets::WitnessPacket {
            source_port: port(packet.source_port, usual.source_port),
            destination_port: port(packet.destination_port, usual.destination_port),
            ..packet
        };
        let evaluated = evaluated(&packet);
        let PathVerdicts::Single(kernel) = self.machine.decide(&evaluated) else { return };
        let own = self.world.address_of(&packet.interface);
        let (policy, rules) = (&self.policy, &self.rules);
        let functions =
            [policy.outcome, policy.pipe, rules.outcome, rules.pipes, rules.reassembly, rules.fragment];
        let [outcome, pipe, found, sequence, reassembly, alone] =
            self.space.all_of_packet(functions, &packet);
        let (outcome, found) = (self.outcomes.outcome(outcome), self.outcomes.outcome(found));
        let agrees = match asked(&packet, self.world) {
            None => outcome.verdict == PolicyVerdict::Untouched,
            Some(asked) => {
                let policy::Decision { verdict, translation, because: _ } = self.plan.policy.decide(&asked);
                let is_piped = self.plan.policy.pipe(&asked).map_or(0, u32::from) == pipe;
                outcome == (HookOutcome { verdict, translation }) && is_piped
            }
        };
        let sequence = &self.rules.sequences[sequence as usize];
        let met = kernel.shaping.iter().map(Shaping::number);
        let is_as_read = found == HookOutcome::of(&kernel, own) && sequence.iter().copied().eq(met);
        if !agrees {
            self.disagree(evaluated, "the policy's function and the policy itself disagree about it");
        } else if !is_as_read {
            self.disagree(evaluated, "the rules' function and the evaluator disagree about it");
        } else if let Some(rule) = kernel.rule.as_ref().filter(|_| kernel.state == StateUse::Created)
            && self.answered.insert(rule.number)
        {
            self.confirm_answer(evaluated);
        }
        let is_held = FragmentTreatment::of(reassembly).is_held();
        let alone = self.outcomes.outcome(alone).verdict;
        self.confirm_fragment(
            packets::WitnessPacket { fragment: true, ..packet },
            if is_held { PolicyVerdict::Drop } else { alone },
        );
    }

    /// Checks the fragment of a packet: held for reassembly, or evaluated by the filter alone without creating a state.
    fn confirm_fragment(&mut self, packet: packets::WitnessPacket, expected: PolicyVerdict) {
        let evaluated = evaluated(&packet);
        let PathVerdicts::Single(kernel) = self.machine.decide(&evaluated) else { return };
        let expected = if expected == PolicyVerdict::Pass { PolicyVerdict::Carry } else { expected };
        if HookOutcome::of(&kernel, None).verdict != expected {
            self.disagree(evaluated, "the rules' function and the evaluator disagree about it");
        }
    }

    fn disagree(&mut self, packet: crate::pf::eval::Packet, what: &'static str) {
        if self.violations.len() < MOST {
            let finding = ProofFinding { packet: Some(packet), what: what.to_owned(), rule: None };
            self.violations.push(Violation::Other(Box::new(finding)));
        }
    }

    /// Checks that the reply to a packet that created a state is passed by that state.
    fn confirm_answer(&mut self, packet: crate::pf::eval::Packet) {
        let there = self.machine.eval(&packet);
        let back = there.verdicts().first().and_then(|there| answer(&packet, there));
        let came_back = back.is_none_or(|back| self.machine.eval(&back).is_passed_by_state());
        self.machine.forget();
        if !came_back {
            self.disagree(packet, "the rules pass it, and its answer does not come back");
        }
    }

    /// A rule as a violation names it: its line and its canonical text.
    fn shown(&self, rule: &Rule) -> (u32, String) {
        (self.world.origin(rule.place).line, print_rule(rule))
    }

    /// Reports a packet of a set, if there is one, with the first rule of a list that matches it.
    fn find(&mut self, set: Set, is_fragment: bool, rules: &'a [Rule], what: &str) {
        if set.is_empty() || self.violations.len() >= MOST {
            return;
        }
        let Some(packet) = self.witness(set) else { return };
        let packet = packets::WitnessPacket { fragment: is_fragment, ..packet };
        let about = self.first_about(&packet, rules);
        let rule = about.map(|rule| self.shown(rule));
        let finding = ProofFinding { packet: Some(evaluated(&packet)), what: what.to_owned(), rule };
        self.violations.push(Violation::Other(Box::new(finding)));
    }

    /// The first rule of a list that matches a packet.
    fn first_about(&mut self, packet: &packets::WitnessPacket, rules: &'a [Rule]) -> Option<&'a Rule> {
        rules.iter().find(|rule| {
            let about = self.about(rule);
            self.space.has(about, packet)
        })
    }

    /// Compares which fragments are reassembled, and how.
    fn compare_reassembly(&mut self) {
        if self.policy.reassembly == self.rules.reassembly {
            return;
        }
        let (pairs, joined) = self.pairs(self.policy.reassembly, self.rules.reassembly);
        let word = |how| match FragmentTreatment::of(how) {
            FragmentTreatment::AsTheyAre => "left as they are",
            FragmentTreatment::Together => "reassembled",
            FragmentTreatment::WithoutDf => "reassembled, with don't-fragment cleared",
        };
        for (number, (wanted, found)) in
            pairs.into_iter().enumerate().filter(|(_, (one, other))| one != other)
        {
            let set = self.space.select(joined, |region| region as usize == number);
            let what = format!("its fragments are {}, but they must be {}", word(found), word(wanted));
            self.find(set, true, &self.lists.scrub, &what);
        }
    }

    /// Fragments that are not reassembled are held against all datagrams between the same addresses. The rules must not
    /// pass one where such a datagram may be blocked, nor leave one to other anchors unless some such datagram is left
    /// to them, nor block one where every such datagram passes.
    fn compare_fragments(&mut self) {
        const BLOCKED: u32 = 1;
        const OTHERS: u32 = 2;
        const WRONG: [(u32, &str); 4] = [
            (1, "the rules match it, but no volume is involved"),
            (2, "the rules leave it to other anchors"),
            (4, "it passes alone, but the datagram that it is part of may not"),
            (8, "it is blocked, but the datagram that it is part of passes"),
        ];
        let outcomes = &self.outcomes;
        let lone = self.space.select(self.policy.reassembly, |how| !FragmentTreatment::of(how).is_held());
        let outcome = self.space.only(lone, self.policy.outcome);
        let whole = self.space.of_any_service(outcome, &mut |number| {
            let Some(outcome) = outcomes.decided(number) else { return 0 };
            let verdict = outcome.verdict;
            let others = if verdict == PolicyVerdict::Untouched { OTHERS } else { 0 };
            others | if verdict.blocks() { BLOCKED } else { 0 }
        });
        let wrong = self.space.join(whole, self.rules.fragment, &mut |whole, fragment| {
            let verdict = outcomes.outcome(fragment).verdict;
            let (is_blocked, is_others) = (whole & BLOCKED != 0, whole & OTHERS != 0);
            if verdict == PolicyVerdict::Untouched {
                return if is_others { 0 } else { 2 };
            }
            let (is_wrong, what) = if verdict.passes() { (is_blocked, 4) } else { (!is_blocked, 8) };
            u32::from(is_others) | if is_wrong { what } else { 0 }
        });
        let wrong = self.space.choose(lone, wrong, Map::constant(0));
        for (bit, what) in WRONG.into_iter().filter(|_| wrong != Map::constant(0)) {
            let set = self.space.select(wrong, |all| all & bit != 0);
            self.find(set, true, &self.lists.filter, what);
        }
    }

    /// Compares the pipes that packets go through. `no dummynet` may match only packets inside a provider: anywhere
    /// else it would keep a packet out of other programs' pipes.
    fn compare_pipes(&mut self) {
        let (pairs, joined) = self.pairs(self.policy.pipe, self.rules.pipes);
        for (number, (expected, sequence)) in pairs.into_iter().enumerate() {
            let sequence = self.rules.sequences[sequence as usize].clone();
            let found: Vec<u16> = sequence.iter().copied().flatten().collect();
            let keeps_out = sequence.first().is_some_and(Option::is_none);
            let is_right = found.iter().map(|pipe| u32::from(*pipe)).eq((expected != 0).then_some(expected));
            if is_right && !keeps_out {
                continue;
            }
            let mut set = self.space.select(joined, |region| region as usize == number);
            if is_right {
                set = self.space.minus(set, self.policy.within);
            }
            if self.violations.len() >= MOST {
                return;
            }
            let Some(packet) = self.witness(set) else { continue };
            let rule = self.first_about(&packet, &self.lists.dummynet).map(|rule| self.shown(rule));
            let expected = u16::try_from(expected).ok().filter(|pipe| *pipe != 0);
            let astray = WrongPipes { packet: evaluated(&packet), expected, found, rule };
            self.violations.push(Violation::Pipe(Box::new(astray)));
        }
    }

    /// The rules must decide translation where another anchor's must not apply, and never where no volume is involved.
    fn compare_translations(&mut self) {
        let taken =
            self.inside(self.rules.settled, self.policy.outcome, |it| it.verdict == PolicyVerdict::Untouched);
        let direction = self.space.direction(packets::PacketDirection::Out);
        let (out, inward) = (self.space.and(taken, direction), self.space.minus(taken, direction));
        let what = "the rules keep other anchors from translating it, but no volume is involved";
        self.find(out, false, &self.lists.nat, what);
        self.find(inward, false, &self.lists.rdr, what);
        let left = self.space.minus(self.policy.settled, self.rules.settled);
        self.find(left, false, &[], "the rules leave it to other anchors to redirect it");
    }

    /// The packets of a set whose outcome satisfies a predicate.
    fn inside(&mut self, set: Set, outcome: Map, is_meant: impl Fn(HookOutcome) -> bool) -> Set {
        let outcomes = &self.outcomes;
        self.space.select_within(set, outcome, |number| outcomes.decided(number).is_some_and(&is_meant))
    }

    /// TCP states on lo0 must expire soon after their connection: pf's table holds 10,000, and with the default
    /// timeouts a hundred connections per second would fill it.
    fn states_are_brief(&mut self) {
        let filter = &self.lists.filter;
        let is_lasting = |rule: &Rule| {
            rule.action == Does::Pass
                && rule.state == StateKind::Keep
                && rule.state_options.timeouts.is_empty()
        };
        let loopback = self.space.interface(LOOPBACK);
        let tcp = self.space.number_is(Field::Protocol, TCP);
        let localhost = self.space.network(Side::Destination, Ipv4Addr::LOCALHOST.into(), 8);
        let here = self.space.or(self.policy.inward, localhost);
        let domain = self.space.and(loopback, tcp);
        let domain = self.space.and(domain, here);
        for (number, rule) in filter.iter().enumerate().filter(|(_, rule)| is_lasting(rule)) {
            let about = self.about(rule);
            let mut set = self.space.and(about, domain);
            for earlier in &filter[..number] {
                if set.is_empty() {
                    break;
                }
                let earlier = self.about(earlier);
                set = self.space.minus(set, earlier);
            }
            let what = "its state lasts for 90 s after the connection has ended, so that pf's table fills up";
            self.find(set, false, &filter[number..=number], what);
        }
    }

    /// What passes inside a provider without a state needs its replies to pass without one. On one interface, what stays
    /// inside a provider is its own mirror image: so on lo0 all of it passes, and elsewhere none of it is without a state
    /// except ICMP errors, which have no replies.
    fn answers_inside(&mut self) {
        let (within, outcome) = (self.policy.within, self.rules.outcome);
        let (lo0, errors) = (self.space.interface(LOOPBACK), errors(&mut self.space));
        let local = self.space.and(within, lo0);
        let lost = self.inside(local, outcome, |it| !it.verdict.passes());
        let elsewhere = self.space.minus(within, lo0);
        let carried = self.inside(elsewhere, outcome, |it| it.verdict == PolicyVerdict::Carry);
        let carried = self.space.minus(carried, errors);
        let what = "it stays inside a provider, where it or its answer does not pass without a state";
        for set in [lost, carried] {
            self.find(set, false, &self.lists.filter, what);
        }
    }
}

/// Preferences for witnesses: named volumes and usual services.
fn wishes(space: &mut Space, plan: &Plan) -> Vec<Set> {
    let mut addresses: Vec<u128> =
        plan.volumes.iter().map(|volume| u128::from(u32::from(volume.address))).collect();
    addresses.sort_unstable();
    let ranges: Vec<(u128, u128)> = addresses.into_iter().map(|address| (address, address)).collect();
    let ends = [Side::Source, Side::Destination];
    let mut wishes = ends.map(|side| space.addresses(side, packets::PacketFamily::Inet, &ranges)).to_vec();
    let usual = packets::WitnessPacket::default();
    wishes.push(space.number_is(Field::Protocol, usual.protocol));
    wishes.push(space.number_is(Field::Flags, usual.flags));
    wishes.push(space.number_is(Field::IcmpType, usual.icmp_type));
    wishes
}
