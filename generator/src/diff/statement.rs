//! Statements: flows that are opened, closed or changed in another way, each with witness flows.

use std::net::Ipv4Addr;

use super::both::{Both, FROM, TO};
use super::rectangles::FlowRectangle;
use super::words::FlowSide;
use crate::packets::{Field, Map, Set};
use crate::plan::policy::{TCP, Translation};
use crate::reach::{Flow, FlowOutcome, FlowVerdict, Services};

/// The kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Was blocked, passes.
    Opens,
    /// Passed, is blocked.
    Closes,
    /// Was untouched by this network, is blocked.
    Blocks,
    /// Was untouched by this network, passes.
    Admits,
    /// Was refused, is dropped.
    Silences,
    /// Was dropped, is refused.
    Answers,
    /// Was decided by this network, is untouched.
    Leaves,
    /// Is now translated.
    Translates(TranslationChange),
    /// Is no longer translated.
    Keeps(TranslationChange),
    /// Is translated in another way.
    Retranslates(TranslationChange),
}

/// A kind of translation, regardless of the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TranslationChange {
    /// NAT to the address of the egress interface.
    Nat,
    /// Masquerading as the gateway of the receiving provider.
    Masquerade,
    /// Redirection from a published port to a volume's address.
    Publish,
}

impl Verb {
    /// The change of a flow's outcome; `None` if it is the same.
    fn of(old: FlowVerdict, new: FlowVerdict) -> Option<Self> {
        use FlowVerdict::{Dropped, Passes, Refused, Untouched};
        if old == new {
            return None;
        }
        Some(match (old, new) {
            (Untouched, Passes(Some(Translation::Published(_)))) => {
                Self::Translates(TranslationChange::Publish)
            }
            (Passes(Some(Translation::Published(_))), Untouched) => Self::Keeps(TranslationChange::Publish),
            (Passes(None), Passes(Some(to))) => Self::Translates(TranslationChange::of(to)),
            (Passes(Some(from)), Passes(None)) => Self::Keeps(TranslationChange::of(from)),
            (Passes(_), Passes(to)) => {
                Self::Retranslates(to.map_or(TranslationChange::Nat, TranslationChange::of))
            }
            (Refused | Dropped, Passes(_)) => Self::Opens,
            (Passes(_), Refused | Dropped) => Self::Closes,
            (Untouched, Refused | Dropped) => Self::Blocks,
            (Untouched, Passes(_)) => Self::Admits,
            (Refused | Dropped, Dropped) => Self::Silences,
            (Refused | Dropped, Refused) => Self::Answers,
            (Passes(_) | Refused | Dropped | Untouched, Untouched) => Self::Leaves,
        })
    }

    /// Whether it is about the translation of flows that pass on both sides.
    fn is_translation(self) -> bool {
        match self {
            Self::Translates(_) | Self::Keeps(_) | Self::Retranslates(_) => true,
            Self::Opens
            | Self::Closes
            | Self::Blocks
            | Self::Admits
            | Self::Silences
            | Self::Answers
            | Self::Leaves => false,
        }
    }

    /// The word that precedes the flow.
    pub fn word(self) -> &'static str {
        match self {
            Self::Opens => "opens",
            Self::Closes => "closes",
            Self::Blocks => "now blocks",
            Self::Admits => "now passes",
            Self::Silences => "now silent",
            Self::Answers => "now answered",
            Self::Leaves => "now untouched",
            Self::Translates(TranslationChange::Nat) => "NAT",
            Self::Keeps(TranslationChange::Nat) => "no NAT",
            Self::Retranslates(TranslationChange::Nat) => "NAT otherwise",
            Self::Translates(TranslationChange::Masquerade) => "masquerades",
            Self::Keeps(TranslationChange::Masquerade) => "no masquerade",
            Self::Retranslates(TranslationChange::Masquerade) => "masquerades otherwise",
            Self::Translates(TranslationChange::Publish) => "publishes",
            Self::Keeps(TranslationChange::Publish) => "no publish",
            Self::Retranslates(TranslationChange::Publish) => "publishes otherwise",
        }
    }

    /// `+` for more, `-` for less, `~` for any other change.
    pub fn sign(self) -> char {
        match self {
            Self::Opens | Self::Admits | Self::Translates(_) => '+',
            Self::Closes | Self::Blocks | Self::Keeps(_) => '-',
            Self::Silences | Self::Answers | Self::Leaves | Self::Retranslates(_) => '~',
        }
    }

    /// The side whose names are used, 0 for old and 1 for new: what no longer exists has its old name.
    pub fn side(self) -> usize {
        match self {
            Self::Closes | Self::Leaves | Self::Keeps(_) => 0,
            Self::Opens
            | Self::Admits
            | Self::Blocks
            | Self::Silences
            | Self::Answers
            | Self::Translates(_)
            | Self::Retranslates(_) => 1,
        }
    }
}

impl TranslationChange {
    fn of(translation: Translation) -> Self {
        match translation {
            Translation::EgressSource => Self::Nat,
            Translation::GatewaySource(_) => Self::Masquerade,
            Translation::Published(_) => Self::Publish,
        }
    }
}

/// A change of outcome, for some flows of a statement.
#[derive(Debug, Clone)]
pub struct OutcomeChange {
    /// The old and the new outcome, in words: `refused`, `passed from 10.1.1.1`.
    pub words: [String; 2],
    /// A flow with this change.
    pub witness: Flow,
}

/// Sources, destinations and services that share a change.
#[derive(Debug, Clone)]
pub struct Statement {
    /// The kind of change.
    pub verb: Verb,
    /// The sources in words.
    pub from: Vec<String>,
    /// The destinations in words.
    pub to: Vec<String>,
    /// The services.
    pub services: Services,
    /// The changed outcomes; several if gateways or addresses differ.
    pub changes: Vec<OutcomeChange>,
    flows: Set,
}

impl Statement {
    /// The flow in the words of a declaration: `aws, azure -> gcp tcp 2379-2380`.
    pub fn flow(&self) -> String {
        format!("{} -> {} {}", self.from.join(", "), self.to.join(", "), self.services)
    }

    /// The flows that the statement is about.
    pub fn flows(&self) -> Set {
        self.flows
    }
}

/// All statements about outcomes, and all about translations of flows that pass on both sides.
pub fn statements(both: &mut Both) -> [Vec<Statement>; 2] {
    let [old, new] = both.reach.each_ref().map(|reach| reach.outcomes.clone());
    let pair = |number: u32| {
        let number = number as usize;
        (old[number / new.len()], new[number % new.len()])
    };
    let number = |number: usize| u32::try_from(number).expect("fewer pairs of outcomes than numbers");
    let count = number(new.len());
    let outcomes = both.reach.each_ref().map(|reach| reach.outcome);
    let pairs = both.flows.join(outcomes[0], outcomes[1], &mut |old, new| old * count + new);
    let mut verbs: Vec<Verb> = Vec::new();
    let verb = |(old, new): (FlowOutcome, FlowOutcome)| Verb::of(old.fate, new.fate);
    let found: Vec<u32> = both.flows.each(pairs).into_iter().map(|(number, _)| number).collect();
    verbs.extend(found.iter().filter_map(|number| verb(pair(*number))));
    verbs.sort_unstable();
    verbs.dedup();
    let mut sections = [Vec::new(), Vec::new()];
    for it in verbs {
        let set = both.flows.select(pairs, |number| verb(pair(number)) == Some(it));
        let speaker = StatementWriter { pairs, fates: &|number| (pair(number).0.fate, pair(number).1.fate) };
        let statements =
            both.rectangles(set).into_iter().map(|rectangle| speaker.statement(both, it, &rectangle));
        sections[usize::from(it.is_translation())].extend(statements.collect::<Vec<_>>());
    }
    for statements in &mut sections {
        statements.sort_by(|a: &Statement, b| a.order().cmp(&b.order()));
    }
    sections
}

impl Statement {
    fn order(&self) -> (Verb, &[String], &[String], &Services) {
        (self.verb, &self.from, &self.to, &self.services)
    }
}

/// What the wording of statements needs: the function to pairs of outcomes, and the fates of each pair.
struct StatementWriter<'a> {
    pairs: Map,
    fates: &'a dyn Fn(u32) -> (FlowVerdict, FlowVerdict),
}

impl StatementWriter<'_> {
    fn statement(&self, both: &mut Both, verb: Verb, rectangle: &FlowRectangle) -> Statement {
        let FlowRectangle { from, to, services, flows } = *rectangle;
        let changes = self.changes(both, flows);
        let end =
            |at, set, peers| FlowSide { at, set, peers: Some(peers), ignored: Set::NONE, side: verb.side() };
        Statement {
            verb,
            from: both.words(&end(FROM, from, to)),
            to: both.words(&end(TO, to, from)),
            services: Services::of(&mut both.flows, services),
            changes,
            flows,
        }
    }

    fn changes(&self, both: &mut Both, flows: Set) -> Vec<OutcomeChange> {
        // No pair of outcomes has this number.
        let inside = both.flows.choose(flows, self.pairs, Map::constant(u32::MAX >> 1));
        let mut all: Vec<((FlowVerdict, FlowVerdict), Vec<u32>)> = Vec::new();
        for (number, _) in both.flows.each(inside).into_iter().filter(|(number, _)| *number != u32::MAX >> 1)
        {
            let fates = (self.fates)(number);
            match all.iter_mut().find(|(known, _)| *known == fates) {
                Some((_, numbers)) => numbers.push(number),
                None => all.push((fates, vec![number])),
            }
        }
        let is_one = all.len() == 1;
        let change = |((old, new), numbers): ((FlowVerdict, FlowVerdict), Vec<u32>)| {
            let set =
                if is_one { flows } else { both.flows.select(inside, |number| numbers.contains(&number)) };
            OutcomeChange { words: [old, new].map(|fate| fate.to_string()), witness: both.witness(set) }
        };
        let mut changes: Vec<OutcomeChange> = all.into_iter().map(change).collect();
        changes.sort_by(|a, b| (&a.words, a.witness).cmp(&(&b.words, b.witness)));
        changes
    }
}

impl Both<'_> {
    /// A flow of a set; preferably TCP and between volumes.
    pub fn witness(&mut self, set: Set) -> Flow {
        let mut preferences = vec![self.flows.number_is(Field::Protocol, TCP)];
        for side in [1, 0] {
            for end in [FROM, TO] {
                preferences.push(self.volumes[side][end]);
            }
        }
        for end in [FROM, TO] {
            preferences.push(self.addresses(end, [&Ipv4Addr::LOCALHOST]));
        }
        for port in [443, 80, 22] {
            preferences.push(self.flows.numbers(Field::DestinationPort, &[(port, port)]));
        }
        self.flows.example(set, &preferences).expect("a statement is about some flow")
    }
}
