//! Statements: what opens, closes or becomes of a packet otherwise, each with packets that show it.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::Side;
use super::cover::Rectangle;
use super::judge::Turn;
use super::names::Names;
use super::services::Services;
use super::space::{Class, FAMILIAR, Space};
use super::spots::{self, Aspect, KINDS, Kind, SPOTS, Seen, VERDICTS};
use crate::plan::policy::{Interface, Packet, TCP, Translation, Verdict};

/// What becomes otherwise, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Was blocked, passes.
    Opens,
    /// Passed, is blocked.
    Closes,
    /// Was none of ours, is blocked.
    Blocks,
    /// Was none of ours, passes.
    Admits,
    /// Was refused, is dropped.
    Silences,
    /// Was dropped, is refused.
    Answers,
    /// Was ours, is none of ours.
    Leaves,
    /// Is translated.
    Translates(Kind),
    /// Is translated no more.
    Keeps(Kind),
    /// Is translated otherwise.
    Retranslates(Kind),
}

impl Verb {
    fn of_verdicts(old: Verdict, new: Verdict) -> Self {
        use Verdict::{Carry, Drop, Pass, Refuse, Untouched};
        match (old, new) {
            (Refuse(_) | Drop, Pass | Carry) => Self::Opens,
            (Pass | Carry, Refuse(_) | Drop) => Self::Closes,
            (Untouched, Refuse(_) | Drop) => Self::Blocks,
            (Untouched, Pass | Carry) => Self::Admits,
            (_, Drop) => Self::Silences,
            (_, Refuse(_)) => Self::Answers,
            (_, Untouched | Pass | Carry) => Self::Leaves,
        }
    }

    fn of_kinds(old: Kind, new: Kind) -> Self {
        match (old, new) {
            (Kind::None, new) => Self::Translates(new),
            (old, Kind::None) => Self::Keeps(old),
            (_, new) => Self::Retranslates(new),
        }
    }

    /// The word that stands before the flow.
    pub fn word(self) -> &'static str {
        match self {
            Self::Opens => "opens",
            Self::Closes => "closes",
            Self::Blocks => "now blocks",
            Self::Admits => "now passes",
            Self::Silences => "now silent",
            Self::Answers => "now answered",
            Self::Leaves => "now untouched",
            Self::Translates(Kind::Nat) => "NAT",
            Self::Keeps(Kind::Nat) => "no NAT",
            Self::Translates(Kind::Masquerade) => "masquerades",
            Self::Keeps(Kind::Masquerade) => "no masquerade",
            Self::Retranslates(Kind::Masquerade) => "masquerades otherwise",
            Self::Translates(Kind::Publish) => "publishes",
            Self::Keeps(Kind::Publish) => "no publish",
            Self::Retranslates(Kind::Publish) => "publishes otherwise",
            Self::Translates(Kind::None) | Self::Keeps(Kind::None) | Self::Retranslates(_) => {
                "translates otherwise"
            }
        }
    }

    /// `+` for more, `-` for less, `~` for otherwise.
    pub fn sign(self) -> char {
        match self {
            Self::Opens | Self::Admits | Self::Translates(_) => '+',
            Self::Closes | Self::Blocks | Self::Keeps(_) => '-',
            Self::Silences | Self::Answers | Self::Leaves | Self::Retranslates(_) => '~',
        }
    }

    /// Whose names say it: what is no more is called as it was.
    fn side(self) -> usize {
        usize::from(!matches!(self, Self::Closes | Self::Leaves | Self::Keeps(_)))
    }
}

/// One thing that happens otherwise, to the packets of a statement at some spots.
#[derive(Debug, Clone)]
pub struct Change {
    /// In a word.
    pub verb: Verb,
    /// Before and now, in words: `refused`, `passes`.
    pub words: [String; 2],
    /// Where, in words; nothing where everywhere.
    pub place: String,
    /// A packet for which the two sides decide so.
    pub witness: Packet,
}

/// Sources, destinations and services that share a change.
#[derive(Debug, Clone)]
pub struct Statement {
    /// The chief of its changes, in a word.
    pub verb: Verb,
    /// The sources in words.
    pub from: Vec<String>,
    /// The destinations in words.
    pub to: Vec<String>,
    /// The services.
    pub services: Services,
    /// What changes: the chief change first.
    pub changes: Vec<Change>,
    space: Arc<Space>,
    rectangle: Rectangle,
    aspect: Aspect,
}

impl Statement {
    /// Whether this is said of a packet.
    pub fn covers(&self, packet: &Packet) -> bool {
        let [from, to] = [packet.source, packet.destination].map(|address| self.space.class(address));
        self.rectangle.from.binary_search(&from).is_ok()
            && self.rectangle.to.binary_search(&to).is_ok()
            && !self.space.within(from, to)
            && self.services.contains(packet.protocol, packet.port)
            && self.aspect[spots::spot(packet)].is_some()
    }

    /// The flow in the words of a declaration: `aws, azure -> gcp tcp 2379-2380`.
    pub fn flow(&self) -> String {
        let under_way = if self.under_way() { ", under way" } else { "" };
        format!("{} -> {} {}{under_way}", self.from.join(", "), self.to.join(", "), self.services)
    }

    /// Whether it is said only of packets that open nothing and belong to no state.
    pub fn under_way(&self) -> bool {
        self.changes.iter().all(|change| !change.witness.opens())
    }

    /// What statements are sorted by.
    pub fn order(&self) -> (bool, Verb, &[String], &[String], &Services) {
        (self.under_way(), self.verb, &self.from, &self.to, &self.services)
    }
}

/// What is needed to make statements.
pub struct Speaker<'a> {
    sides: [Side<'a>; 2],
    space: &'a Arc<Space>,
    names: &'a Names<'a>,
}

impl<'a> Speaker<'a> {
    /// Speaks of two sides.
    pub fn new(old: Side<'a>, new: Side<'a>, space: &'a Arc<Space>, names: &'a Names<'a>) -> Self {
        Self { sides: [old, new], space, names }
    }

    /// The statement of a rectangle that shares a change.
    pub fn statement(&self, turn: &Turn, rectangle: Rectangle) -> Statement {
        let mut changes: Vec<Change> = spots::changes(&turn.aspect)
            .into_iter()
            .map(|((old, new), spots)| self.change(turn, (old, new), &spots, &rectangle))
            .collect();
        changes.sort_by_key(|change| (!change.witness.opens(), change.verb));
        let verb = changes[0].verb;
        let (services, side) = (turn.services.clone(), verb.side());
        let outside = if spots::is_on_loopback(&turn.aspect) { "this Mac" } else { "outside" };
        let from = self.names.set(&rectangle.from, &rectangle.to, side, outside);
        let to = self.names.set(&rectangle.to, &rectangle.from, side, "the internet");
        let (space, aspect) = (Arc::clone(self.space), turn.aspect);
        Statement { verb, from, to, services, changes, space, rectangle, aspect }
    }

    fn change(&self, turn: &Turn, (old, new): (u8, u8), spots: &[usize], rectangle: &Rectangle) -> Change {
        let witness = self.witness(&turn.services, spots[0], rectangle);
        let decisions = self.sides.map(|side| side.plan.policy.decide(&witness));
        let [old, new] = [usize::from(old), usize::from(new)];
        let (verb, words) = match turn.seen {
            Seen::Verdict => (
                Verb::of_verdicts(VERDICTS[old], VERDICTS[new]),
                [verdict_word(VERDICTS[old]), verdict_word(VERDICTS[new])].map(str::to_owned),
            ),
            Seen::Translation => (
                Verb::of_kinds(KINDS[old], KINDS[new]),
                decisions.map(|decision| translation_words(decision.translation)),
            ),
        };
        let mut place: Vec<&str> = Vec::new();
        if spots::under_way_only(spots) {
            place.push("under way");
        }
        place.extend(Some(spots::hooks(spots)).filter(|hooks| !hooks.is_empty()));
        Change { verb, words, place: place.join(", "), witness }
    }

    fn witness(&self, services: &Services, spot: usize, rectangle: &Rectangle) -> Packet {
        let (direction, interface, opening) = SPOTS[spot];
        let pairs = rectangle.from.iter().flat_map(|from| rectangle.to.iter().map(move |to| (*from, *to)));
        let (from, to) = pairs
            .into_iter()
            .find(|(from, to)| !self.space.within(*from, *to))
            .expect("a rectangle holds more than pairs within a network");
        let (protocol, port) = services.example();
        debug_assert!(opening || protocol == TCP, "only TCP can be under way");
        let (source, destination) = (self.source(from, interface), self.space.facts(to).representative);
        spots::packet((direction, interface, opening), (source, destination), (protocol, port))
    }

    /// On lo0 a source outside is this Mac, by an address of its own.
    fn source(&self, class: Class, interface: Interface) -> Ipv4Addr {
        let own = FAMILIAR[1];
        if interface == Interface::Loopback && self.space.is_outside(class) && self.space.class(own) == class
        {
            return own;
        }
        self.space.facts(class).representative
    }
}

fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass | Verdict::Carry => "passed",
        Verdict::Refuse(_) => "refused",
        Verdict::Drop => "dropped",
        Verdict::Untouched => "untouched",
    }
}

fn translation_words(translation: Option<Translation>) -> String {
    match translation {
        None => "not translated".to_owned(),
        Some(Translation::EgressSource) => "source of the interface that it leaves by".to_owned(),
        Some(Translation::GatewaySource(gateway)) => format!("source {gateway}"),
        Some(Translation::Published(address)) => format!("destination {address}"),
    }
}
