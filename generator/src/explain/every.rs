//! Every answer there is: ends in classes that nothing tells apart, and one answer for each pair of classes and each range
//! of services.
//!
//! Each answer is that of the question itself, asked once: of the first member of either class. Pairs whose flows are alike
//! share it, so the work grows with what is declared and not with the pairs. Never: an answer of its own.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use super::apart::{Apart, Key, Spot};
use super::end::{self, At, Resolver};
use super::hop::{Hop, Through};
use super::{Declared, Explainer, Explanation, Question, Refused, Rules, way};
use crate::model::Declaration;
use crate::packets::Map;
use crate::pf::eval::{Outcome, Via};
use crate::plan::Plan;

/// Every answer.
#[derive(Debug)]
pub struct Every {
    /// The class of each volume, in the order of the plan.
    pub volumes: Vec<usize>,
    /// The class of each volume's localhost alias.
    pub aliases: Vec<Option<usize>>,
    /// The class of somebody in each provider who is no volume, and that one's address; none where its network is full.
    pub strangers: Vec<Option<(usize, Ipv4Addr)>>,
    /// The class of each provider's gateway.
    pub gateways: Vec<usize>,
    /// The class of 127.0.0.0/8 but for aliases.
    pub loopback: usize,
    /// The class of this Mac, whose processes bind what suits the destination.
    pub mac: usize,
    /// The class of this Mac's own address, bound or reached as it is, and that address.
    pub own: (usize, Ipv4Addr),
    /// The class of the world outside.
    pub outside: usize,
    /// What stands for the words `internet` and `lan`.
    pub examples: [Ipv4Addr; 2],
    /// The first member of each class.
    pub members: Vec<Ipv4Addr>,
    /// The bridge behind which a class lives, by its number in the plan.
    pub bridges: Vec<Option<usize>>,
    /// The cell of each pair of classes: by source, then by destination.
    pub rows: Vec<Vec<u32>>,
    /// The cell of each class for a member that talks to itself: its states are those of both directions.
    pub selves: Vec<u32>,
    /// Answers by service.
    pub cells: Vec<Cell>,
    /// Every answer, once.
    pub stories: Vec<Story>,
}

/// The answers of a pair of classes: ranges of services in order, each with the number of its story.
pub type Cell = Vec<Span>;

/// A range of services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// TCP, UDP, ICMP, ESP (AH too), or 132 for whatever else there is.
    pub protocol: u8,
    /// The first port; 0 where there are none.
    pub first: u16,
    /// The last port.
    pub last: u16,
    /// The number of the story.
    pub story: u32,
}

/// An answer without the names and addresses of its ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Story {
    /// The packet and its answer both get through.
    pub passes: bool,
    /// The same in words. `{from}` and `{to}` stand for the bridges of the ends.
    pub verdict: String,
    /// The question has no answer, and why.
    pub wrong: bool,
    /// What macOS itself refuses.
    pub refused: Option<String>,
    /// Where pf sees the packet.
    pub packet: Vec<Scene>,
    /// Where pf sees the answer.
    pub answer: Vec<Scene>,
    /// The milliseconds that pipes add there and back, where it goes through some.
    pub added: Option<(u32, u32)>,
}

/// One place of a story.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scene {
    /// `in` or `out`.
    pub direction: &'static str,
    /// Over what; `{from}` and `{to}` stand for the bridges of the ends.
    pub interface: String,
    /// Whether the packet gets through.
    pub passes: bool,
    /// How the sender learns that it does not.
    pub answered: Option<&'static str>,
    /// Whether a state decides.
    pub by_state: bool,
    /// The line of the rule that decides, or made the state.
    pub line: Option<u32>,
    /// The line of the rule that translates.
    pub translation: Option<u32>,
    /// The pipes that it goes through.
    pub pipes: Vec<Piped>,
    /// What the translation makes of it: `from 10.1.1.1`; only said of the packet that opens.
    pub becomes: Option<String>,
    /// Why, in words.
    pub because: Option<String>,
    /// What asked for it.
    pub declared: Vec<Said>,
    /// What nearly covers it.
    pub near: Vec<Said>,
}

/// A pipe that a packet goes through.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Piped {
    /// Its number.
    pub number: u16,
    /// The line of the rule that sends it there.
    pub line: Option<u32>,
    /// What it is like, and what asked for it.
    pub declared: Option<Said>,
}

/// A value of the declaration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Said {
    /// Its path in the input.
    pub path: String,
    /// What it says.
    pub says: String,
    /// Its place in the user's Nix source.
    pub place: Option<String>,
}

/// Every answer of rendered rules.
///
/// # Errors
/// Rules that cannot be read.
pub fn every(
    declaration: &Declaration,
    plan: &Plan,
    rules: &Rules,
    egress: &str,
) -> Result<Every, Vec<Refused>> {
    let resolver = Resolver::new(plan);
    let mut explainer = Explainer::load(declaration, plan, rules, egress, resolver.mac())?;
    let ends = Ends::of(plan, &resolver);
    let mut apart = Apart::of(declaration, plan);
    let classes = Classes::of(&mut apart, &ends);
    let mut teller = Teller {
        plan,
        egress,
        classes: &classes,
        apart: &mut apart,
        cells: Vec::new(),
        stories: Vec::new(),
        numbers: HashMap::new(),
    };
    let mut known: HashMap<Key, u32> = HashMap::new();
    let mut rows = Vec::with_capacity(classes.all.len());
    for from in 0..classes.all.len() {
        let mut row = Vec::with_capacity(classes.all.len());
        for to in 0..classes.all.len() {
            let key = teller.key(from, to);
            // A class with one member has no other to talk to.
            let shared = known.get(&key).copied().filter(|_| from != to);
            let pair = Pair { from, to, is_one: false };
            let number = shared.unwrap_or_else(|| teller.cell(&mut explainer, pair, &key));
            if from != to {
                known.insert(key, number);
            }
            row.push(number);
        }
        rows.push(row);
    }
    let mut selves = Vec::with_capacity(classes.all.len());
    for class in 0..classes.all.len() {
        let key = teller.key(class, class);
        selves.push(teller.cell(&mut explainer, Pair { from: class, to: class, is_one: true }, &key));
    }
    let (cells, stories) = (teller.cells, teller.stories);
    let class = |address: Ipv4Addr| classes.of_address[&address];
    Ok(Every {
        volumes: plan.volumes.iter().map(|volume| class(volume.address)).collect(),
        aliases: plan.volumes.iter().map(|volume| volume.alias.map(class)).collect(),
        strangers: ends.strangers.iter().map(|it| it.map(|address| (class(address), address))).collect(),
        gateways: plan.bridges.iter().map(|bridge| class(bridge.gateway.addr())).collect(),
        loopback: class(Ipv4Addr::LOCALHOST),
        mac: classes.all.len() - 1,
        own: (class(resolver.mac()), resolver.mac()),
        outside: class(resolver.internet()),
        examples: [resolver.internet(), resolver.lan()],
        members: classes.all.iter().map(|class| class.first.address).collect(),
        bridges: classes.all.iter().map(Class::bridge).collect(),
        rows,
        selves,
        cells,
        stories,
    })
}

/// Every end that can be told from another: an address, and where it lives.
struct Ends {
    all: Vec<(Ipv4Addr, At)>,
    strangers: Vec<Option<Ipv4Addr>>,
    own: Ipv4Addr,
}

impl Ends {
    fn of(plan: &Plan, resolver: &Resolver) -> Self {
        let strangers: Vec<Option<Ipv4Addr>> =
            (0..plan.bridges.len()).map(|bridge| resolver.stranger(bridge, None)).collect();
        let mut all: Vec<(Ipv4Addr, At)> = Vec::new();
        for (index, volume) in plan.volumes.iter().enumerate() {
            all.push((volume.address, resolver.volume(volume.name.as_str(), index).at));
        }
        all.extend(plan.volumes.iter().filter_map(|volume| Some((volume.alias?, At::Loopback))));
        for (bridge, first) in strangers.iter().enumerate() {
            // Two of them, who can talk to each other.
            let second = first.and_then(|first| resolver.stranger(bridge, Some(first)));
            all.extend(first.iter().chain(&second).map(|address| (*address, At::Bridge(bridge))));
        }
        let gateways = plan.bridges.iter().map(|bridge| bridge.gateway.addr());
        all.extend((0..).zip(gateways).map(|(bridge, address)| (address, At::Gateway(bridge))));
        all.extend([
            (Ipv4Addr::LOCALHOST, At::Loopback),
            (resolver.mac(), At::Mac),
            (resolver.internet(), At::Outside),
        ]);
        Self { all, strangers, own: resolver.mac() }
    }
}

/// Ends that nothing tells apart.
struct Class {
    /// The first of them.
    first: Spot,
    /// The address of another of them, if there is one.
    second: Option<Ipv4Addr>,
}

impl Class {
    /// What a question calls it.
    fn word(&self, address: Ipv4Addr) -> String {
        if self.first.binds { "mac".to_owned() } else { address.to_string() }
    }

    fn bridge(&self) -> Option<usize> {
        match self.first.at {
            At::Bridge(bridge) => Some(bridge),
            _ => None,
        }
    }
}

/// Two classes, or one end of a class and itself.
#[derive(Debug, Clone, Copy)]
struct Pair {
    from: usize,
    to: usize,
    is_one: bool,
}

struct Classes {
    all: Vec<Class>,
    of_address: HashMap<Ipv4Addr, usize>,
}

impl Classes {
    fn of(apart: &mut Apart, ends: &Ends) -> Self {
        let spots: Vec<Spot> = ends.all.iter().map(|(address, at)| apart.spot(*address, *at)).collect();
        let as_source: Vec<Map> = spots.iter().map(|spot| apart.from(spot)).collect();
        let sources: BTreeSet<Map> = as_source.iter().copied().collect();
        let mut all: Vec<Class> = Vec::new();
        let mut of_address = HashMap::new();
        let mut known: HashMap<(At, Option<usize>, Map, Vec<Map>), usize> = HashMap::new();
        for (spot, from) in spots.into_iter().zip(as_source) {
            let as_destination = sources.iter().map(|from| apart.to(*from, &spot)).collect();
            let number = *known.entry((spot.at, spot.provider, from, as_destination)).or_insert_with(|| {
                all.push(Class { first: spot, second: None });
                all.len() - 1
            });
            if all[number].first.address != spot.address && all[number].second.is_none() {
                all[number].second = Some(spot.address);
            }
            of_address.insert(spot.address, number);
        }
        let own = Spot { binds: true, ..apart.spot(ends.own, At::Mac) };
        all.push(Class { first: own, second: None });
        Self { all, of_address }
    }
}

/// Asks the questions.
struct Teller<'a> {
    plan: &'a Plan,
    egress: &'a str,
    classes: &'a Classes,
    apart: &'a mut Apart<'a>,
    cells: Vec<Cell>,
    stories: Vec<Story>,
    numbers: HashMap<Story, u32>,
}

impl Teller<'_> {
    fn key(&mut self, from: usize, to: usize) -> Key {
        self.apart.key(&self.classes.all[from].first, &self.classes.all[to].first)
    }

    /// Asks about every range of services between two classes, and gives the number of the cell.
    fn cell(&mut self, explainer: &mut Explainer, pair: Pair, key: &Key) -> u32 {
        let mut cell: Cell = Vec::new();
        for (protocol, (first, last)) in self.apart.spans(key, &BTreeSet::new()) {
            let story = self.story(explainer, pair, protocol, first);
            let story = self.number(story);
            match cell.last_mut() {
                Some(span) if span.protocol == protocol && span.story == story => span.last = last,
                _ => cell.push(Span { protocol, first, last, story }),
            }
        }
        self.cells.push(cell);
        u32::try_from(self.cells.len() - 1).unwrap_or(u32::MAX)
    }

    fn number(&mut self, story: Story) -> u32 {
        let next = u32::try_from(self.stories.len()).unwrap_or(u32::MAX);
        *self.numbers.entry(story).or_insert_with_key(|story| {
            self.stories.push(story.clone());
            next
        })
    }

    fn story(&self, explainer: &mut Explainer, pair: Pair, protocol: u8, port: u16) -> Story {
        let Pair { from, to, is_one } = pair;
        let (a, b) = (&self.classes.all[from], &self.classes.all[to]);
        let source = a.word(a.first.address);
        let destination = b.first.address;
        let destination = if from == to && !is_one { b.second.unwrap_or(destination) } else { destination };
        let destination = b.word(destination);
        let destination = if port > 0 { format!("{destination}:{port}") } else { destination };
        let protocol = protocol.to_string();
        let question = Question {
            source: &source,
            destination: &destination,
            protocol: Some(&protocol),
            egress: self.egress,
        };
        let asked =
            end::asked(self.plan, &question).and_then(|asked| Ok((way::way(self.plan, &asked)?, asked)));
        match asked {
            Ok((way, asked)) => self.told(&explainer.explained(asked, way), a, b),
            Err(wrong) => Story {
                passes: false,
                verdict: wrong.hint.unwrap_or_default(),
                wrong: true,
                refused: None,
                packet: Vec::new(),
                answer: Vec::new(),
                added: None,
            },
        }
    }

    /// An explanation without the names and addresses of its ends.
    fn told(&self, explanation: &Explanation, a: &Class, b: &Class) -> Story {
        let name = |class: &Class| class.bridge().map(|bridge| self.plan.bridges[bridge].logical.as_str());
        let names = [(name(a), "{from}"), (name(b), "{to}")];
        let interface = |interface: &str| {
            let stands = names.iter().find(|(name, _)| *name == Some(interface));
            stands.map_or(interface, |(_, word)| word).to_owned()
        };
        let mut verdict = explanation.verdict.clone();
        for (name, word) in names.iter().filter_map(|(name, word)| Some(((*name)?, word))) {
            verdict = verdict.replace(&format!(" {name})"), &format!(" {word})"));
        }
        let scenes = |hops: &[Hop], opens: bool| {
            hops.iter().map(|hop| scene(hop, interface(&hop.interface), opens)).collect()
        };
        Story {
            passes: explanation.passes,
            verdict,
            wrong: false,
            refused: explanation.refused.clone(),
            packet: scenes(&explanation.packet, true),
            answer: scenes(&explanation.answer, false),
            added: explanation.added.map(|added| (added.there_ms, added.back_ms)),
        }
    }
}

fn scene(hop: &Hop, interface: String, opens: bool) -> Scene {
    let (before, after) = (hop.before, hop.after);
    let becomes = match () {
        () if !opens => None,
        () if before.source != after.source => Some(format!("from {}", after.source)),
        () if before.destination != after.destination => Some(format!("to {}", after.destination)),
        () => None,
    };
    let said = |declared: &Vec<Declared>| declared.iter().map(Said::of).collect();
    let piped = |pipe: &Through| Piped {
        number: pipe.number,
        line: pipe.rule.line,
        declared: pipe.declared.as_ref().map(Said::of),
    };
    let reason = hop.reason.as_ref();
    Scene {
        direction: hop.direction.word(),
        interface,
        passes: hop.action == Outcome::Pass,
        answered: hop.answered,
        by_state: hop.via == Via::State,
        line: hop.rule.as_ref().and_then(|rule| rule.line),
        translation: hop.translation.as_ref().and_then(|rule| rule.line),
        pipes: hop.pipes.iter().map(piped).collect(),
        becomes,
        because: reason.map(|reason| reason.words.clone()),
        declared: reason.map(|reason| said(&reason.declared)).unwrap_or_default(),
        near: reason.map(|reason| said(&reason.near)).unwrap_or_default(),
    }
}

impl Said {
    fn of(declared: &Declared) -> Self {
        Self {
            path: declared.path.clone(),
            says: declared.says.clone(),
            place: declared.place.as_ref().map(ToString::to_string),
        }
    }
}
