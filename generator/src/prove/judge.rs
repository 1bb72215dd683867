//! The comparison: rules and policy as functions of all packets, equal or not.
//!
//! The product of the two functions divides the packets into regions in which each has one value. For each region,
//! each rule and each row of the policy, one packet is given to the evaluator, which was compared with Apple's own
//! code, and to the policy for a single packet: if either disagrees with the functions, nothing is proven.

use std::collections::{HashMap, HashSet};

use super::outcome::{Outcome, Outcomes};
use super::packet::{answer, asked, evaluated};
use super::policy::{AS_THEY_ARE, Functions, TOGETHER, errors};
use super::rules::{Lists, Rules};
use super::world::World;
use super::{Astray, Counterexample, Finding, Found, Translated, Violation};
use crate::packets::{self, Field, Map, Set, Side, Space};
use crate::pf::eval::{
    Answer, Machine, Outcome as Action, Shaping, StateUse, TranslationKind, Verdict as Kernel, Via,
};
use crate::pf::print_rule;
use crate::pf::syntax::Rule;
use crate::plan::Plan;
use crate::plan::policy::{self, TCP, UDP, Verdict};

/// So many violations are told; who has more has them all over the place.
const MOST: usize = 25;
/// So many packets are told of one difference, each with another rule.
const EXAMPLES: usize = 3;

/// Everything that is held against each other.
pub struct Judge<'a> {
    pub plan: &'a Plan,
    pub world: &'a World,
    pub lists: Lists<'a>,
    pub space: Space,
    pub rules: Rules,
    pub policy: Functions,
    pub outcomes: Outcomes,
    pub machine: Machine,
    /// Packets that a person would choose, the most wanted first.
    wishes: Vec<Set>,
    violations: Vec<Violation>,
    regions: usize,
    /// Filter rules whose answers were looked at.
    answered: HashSet<u32>,
}

impl<'a> Judge<'a> {
    pub fn new(
        (plan, world, lists): (&'a Plan, &'a World, Lists<'a>),
        mut space: Space,
        (rules, policy, outcomes): (Rules, Functions, Outcomes),
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
            outcomes,
            machine,
            wishes,
            violations: Vec::new(),
            regions: 0,
            answered: HashSet::new(),
        }
    }

    /// Compares everything: how many regions there are, or what is wrong.
    pub fn judge(mut self) -> Result<usize, Vec<Violation>> {
        self.confirm_each();
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

    /// Packets of a set on which rules and policy differ: one for each rule that decides, of a few.
    fn tell_differences(&mut self, set: Set) {
        let mut left = set;
        for _ in 0..EXAMPLES {
            if self.violations.len() >= MOST {
                return;
            }
            let Some(packet) = self.witness(left) else { return };
            let evaluated = evaluated(&packet);
            let asked = asked(&packet, self.world);
            if let (Some(asked), Answer::Single(kernel)) = (asked, self.machine.decide(&evaluated)) {
                let (expected, found) = (self.plan.policy.decide(&asked), self.found(&packet, &kernel));
                let about = kernel
                    .rule
                    .as_ref()
                    .and_then(|rule| self.rules.matches.get(self.place_of_filter(rule.number)).copied());
                left = match about {
                    Some(about) => self.space.minus(left, about),
                    None => Set::NONE,
                };
                let example = Counterexample { packet: evaluated, expected, found };
                self.violations.push(Violation::Packet(Box::new(example)));
            } else {
                left = Set::NONE;
            }
        }
    }

    /// Where the packets that a filter rule is about are in [`Rules::matches`].
    fn place_of_filter(&self, number: u32) -> usize {
        // Each list is there from its last rule to its first: scrub, then the filter.
        self.lists.scrub.len() + self.lists.filter.len() - 1 - number as usize
    }

    fn found(&self, packet: &packets::Packet, kernel: &Kernel) -> Found {
        let Outcome { verdict, translation } = Outcome::of(kernel, self.world.address_of(&packet.interface));
        let filter = kernel.rule.as_ref().and_then(|rule| self.lists.filter.get(rule.number as usize));
        let translating = kernel.translation.as_ref().and_then(|it| match it.kind {
            TranslationKind::Nat => self.lists.nat.get(it.number as usize),
            TranslationKind::Rdr => self.lists.rdr.get(it.number as usize),
            TranslationKind::Binat => None,
        });
        Found {
            treatment: verdict,
            translation: translation.map_or(Translated::No, Translated::Known),
            rule: filter.or(translating).map(|rule| self.shown(rule)),
        }
    }

    /// Asks the evaluator and the policy about a packet of each region, and of what each rule and each row is about.
    fn confirm_each(&mut self) {
        let (_, joined) = self.pairs(self.policy.outcome, self.rules.outcome);
        let mut packets: Vec<packets::Packet> =
            self.space.each(joined).into_iter().map(|(_, packet)| packet).collect();
        for set in self.rules.matches.iter().chain(&self.policy.rows) {
            packets.extend(self.space.any(*set));
        }
        self.regions = packets.len();
        for packet in packets {
            self.confirm(packet);
        }
    }

    fn confirm(&mut self, packet: packets::Packet) {
        // What has a port 0 never meets a rule.
        let port = |port: u16, other: u16| if port == 0 { other } else { port };
        let usual = packets::Packet::default();
        let packet = packets::Packet {
            source_port: port(packet.source_port, usual.source_port),
            destination_port: port(packet.destination_port, usual.destination_port),
            ..packet
        };
        let evaluated = evaluated(&packet);
        let Answer::Single(kernel) = self.machine.decide(&evaluated) else { return };
        let own = self.world.address_of(&packet.interface);
        let (policy, rules) = (&self.policy, &self.rules);
        let functions =
            [policy.outcome, policy.pipe, rules.outcome, rules.pipes, rules.reassembly, rules.fragment];
        let [outcome, pipe, found, sequence, reassembly, alone] =
            self.space.all_of_packet(functions, &packet);
        let (outcome, found) = (self.outcomes.outcome(outcome), self.outcomes.outcome(found));
        let agrees = match asked(&packet, self.world) {
            None => outcome.verdict == Verdict::Untouched,
            Some(asked) => {
                let policy::Decision { verdict, translation, .. } = self.plan.policy.decide(&asked);
                let is_piped = self.plan.policy.pipe(&asked).map_or(0, u32::from) == pipe;
                outcome == (Outcome { verdict, translation }) && is_piped
            }
        };
        let sequence = &self.rules.sequences[sequence as usize];
        let met = kernel.shaping.iter().map(Shaping::number);
        let is_as_read = found == Outcome::of(&kernel, own) && sequence.iter().copied().eq(met);
        if !agrees {
            self.disagree(evaluated, "the policy's function and the policy itself disagree about it");
        } else if !is_as_read {
            self.disagree(evaluated, "the rules' function and the evaluator disagree about it");
        } else if let Some(rule) = kernel.rule.as_ref().filter(|_| kernel.state == StateUse::Created)
            && self.answered.insert(rule.number)
        {
            self.confirm_answer(evaluated);
        }
        let is_held = reassembly != AS_THEY_ARE;
        let alone = self.outcomes.outcome(alone).verdict;
        self.confirm_fragment(
            packets::Packet { fragment: true, ..packet },
            if is_held { Verdict::Drop } else { alone },
        );
    }

    /// A fragment that is put together is held back; another meets the filter alone, and makes no state.
    fn confirm_fragment(&mut self, packet: packets::Packet, expected: Verdict) {
        let evaluated = evaluated(&packet);
        let Answer::Single(kernel) = self.machine.decide(&evaluated) else { return };
        let expected = if expected == Verdict::Pass { Verdict::Carry } else { expected };
        if Outcome::of(&kernel, None).verdict != expected {
            self.disagree(evaluated, "the rules' function and the evaluator disagree about it");
        }
    }

    fn disagree(&mut self, packet: crate::pf::eval::Packet, what: &'static str) {
        if self.violations.len() < MOST {
            let finding = Finding { packet: Some(packet), what: what.to_owned(), rule: None };
            self.violations.push(Violation::Other(Box::new(finding)));
        }
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

    /// A rule as a violation names it: its line, and its canonical text.
    fn shown(&self, rule: &Rule) -> (u32, String) {
        (self.world.origin(rule.place).line, print_rule(rule))
    }

    /// Tells of a packet of a set that something is so, and by which rule of a list that is about it.
    fn find(&mut self, set: Set, is_fragment: bool, rules: &'a [Rule], what: &str) {
        if set.is_empty() || self.violations.len() >= MOST {
            return;
        }
        let Some(packet) = self.witness(set) else { return };
        let packet = packets::Packet { fragment: is_fragment, ..packet };
        let about = self.first_about(&packet, rules);
        let rule = about.map(|rule| self.shown(rule));
        let finding = Finding { packet: Some(evaluated(&packet)), what: what.to_owned(), rule };
        self.violations.push(Violation::Other(Box::new(finding)));
    }

    /// The first rule of a list whose packets, as [`Rules::matches`] has them, include this one.
    fn first_about(&self, packet: &packets::Packet, rules: &'a [Rule]) -> Option<&'a Rule> {
        let Lists { scrub, nat, rdr, filter, dummynet } = self.lists;
        let mut start = 0;
        // The order in which lists are read, each from its last rule.
        for list in [scrub, filter, rdr, nat, dummynet] {
            let end = start + list.len();
            if std::ptr::eq(list, rules) {
                let sets = self.rules.matches[start..end].iter().rev();
                return rules
                    .iter()
                    .zip(sets)
                    .find(|(_, set)| self.space.has(**set, packet))
                    .map(|(rule, _)| rule);
            }
            start = end;
        }
        None
    }

    /// How fragments are put together.
    fn compare_reassembly(&mut self) {
        if self.policy.reassembly == self.rules.reassembly {
            return;
        }
        let (pairs, joined) = self.pairs(self.policy.reassembly, self.rules.reassembly);
        let word = |how| match how {
            AS_THEY_ARE => "left as they are",
            TOGETHER => "put together",
            _ => "reassembled, with don't-fragment cleared",
        };
        for (number, (wanted, found)) in
            pairs.into_iter().enumerate().filter(|(_, (one, other))| one != other)
        {
            let set = self.space.select(joined, |region| region as usize == number);
            let what = format!("its fragments are {}, but they must be {}", word(found), word(wanted));
            self.find(set, true, self.lists.scrub, &what);
        }
    }

    /// Fragments that no one puts together count as their datagrams do: none of ours passes where a whole packet with
    /// the same addresses may not, or is left to others, or is blocked where every whole packet passes.
    fn compare_fragments(&mut self) {
        let (whole, fragment) = (self.policy.outcome, self.rules.fragment);
        let lone = self.space.select(self.policy.reassembly, |how| how == AS_THEY_ARE);
        let blocked = self.outcomes.select(&mut self.space, whole, |it| it.verdict.blocks());
        let blocked = self.space.any_service(blocked);
        let others = self.outcomes.select(&mut self.space, whole, |it| it.verdict == Verdict::Untouched);
        let others = self.space.any_service(others);
        let met = self.outcomes.select(&mut self.space, fragment, |it| it.verdict != Verdict::Untouched);
        let passed = self.outcomes.select(&mut self.space, fragment, |it| it.verdict.passes());
        let (unmet, ours) = (self.space.not(met), self.space.not(others));
        let (stopped, open) = (self.space.minus(met, passed), self.space.not(blocked));
        for (one, other, what) in [
            (met, others, "the rules match it, but no volume is involved"),
            (unmet, ours, "the rules leave it to other anchors"),
            (passed, blocked, "it passes alone, but the datagram that it is part of may not"),
            (stopped, open, "it is blocked, but the datagram that it is part of passes"),
        ] {
            let both = self.space.and(one, other);
            let both = self.space.and(both, lone);
            self.find(both, true, self.lists.filter, what);
        }
    }

    /// Which pipes packets go through. `no dummynet` keeps what came out of its pipe, and what is inside a provider,
    /// out of others; said of anything else it would keep that from the rules of others.
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
            let rule = self.first_about(&packet, self.lists.dummynet).map(|rule| self.shown(rule));
            let expected = u16::try_from(expected).ok().filter(|pipe| *pipe != 0);
            let astray = Astray { packet: evaluated(&packet), expected, found, rule };
            self.violations.push(Violation::Pipe(Box::new(astray)));
        }
    }

    /// Translation is settled where another anchor's must not have it, and left alone where it is not one of this
    /// network's.
    fn compare_translations(&mut self) {
        let others =
            self.outcomes.select(&mut self.space, self.policy.outcome, |it| it.verdict == Verdict::Untouched);
        let taken = self.space.and(self.rules.settled, others);
        let direction = self.space.direction(packets::Direction::Out);
        let (out, inward) = (self.space.and(taken, direction), self.space.minus(taken, direction));
        let what = "the rules keep other anchors from translating it, but no volume is involved";
        self.find(out, false, self.lists.nat, what);
        self.find(inward, false, self.lists.rdr, what);
        let left = self.space.minus(self.policy.settled, self.rules.settled);
        self.find(left, false, &[], "the rules leave it to other anchors to redirect it");
    }

    /// What passes inside a provider without a state: its answer passes by itself.
    fn answers_inside(&mut self) {
        let errors = errors(&mut self.space);
        let carried =
            self.outcomes.select(&mut self.space, self.rules.outcome, |it| it.verdict == Verdict::Carry);
        let carried = self.space.and(carried, self.policy.within);
        let carried = self.space.minus(carried, errors);
        let answers = self.space.mirrored(carried);
        let passed = self.outcomes.select(&mut self.space, self.rules.outcome, |it| it.verdict.passes());
        let lost = self.space.minus(answers, passed);
        self.find(
            lost,
            false,
            self.lists.filter,
            "it answers what passes without a state, and does not pass",
        );
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
