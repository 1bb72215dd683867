//! Every answer there is: endpoints in classes that no rule and no row of the policy distinguishes, and one answer
//! for each pair of classes and each range of services.
//!
//! Each answer is that of the ordinary question, asked once, for the first member of either class. Pairs that the
//! same rules and links can match share it, so the work grows with the rules and not with the pairs. Never: an
//! answer of its own.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use super::end::{self, At, Resolver};
use super::hop::{Hop, Through};
use super::live::Loaded;
use super::sets::{Bits, Members, Sets, links};
use super::{Declared, Explainer, Explanation, Question, Refused, Rules, way};
use crate::model::{Declaration, PortSet};
use crate::pf::eval::{Outcome, Via};
use crate::plan::Plan;
use crate::plan::policy::{ICMP, TCP, UDP};

/// A protocol whose packets pf answers with nothing, and one that has no name here: for AH and for all others.
const ESP: u8 = 50;
const OTHER: u8 = 132;

/// Every answer.
#[derive(Debug)]
pub struct Every {
    /// The class of each volume, in the order of the plan.
    pub volumes: Vec<usize>,
    /// The class of each volume's localhost alias.
    pub aliases: Vec<Option<usize>>,
    /// The class of someone in each provider who is not a volume, and that one's address; none where its network is full.
    pub strangers: Vec<Option<(usize, Ipv4Addr)>>,
    /// The class of each provider's gateway.
    pub gateways: Vec<usize>,
    /// The class of 127.0.0.0/8 but for aliases.
    pub loopback: usize,
    /// The class of this Mac, whose processes bind what suits the destination.
    pub mac: usize,
    /// The class of this Mac's own address, bound or reached as it is, and that address.
    pub own: (usize, Ipv4Addr),
    /// The class of the outside.
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
    let classes = Classes::of(declaration, plan, &explainer.loaded, &ends);
    let mut teller = Teller {
        plan,
        egress,
        classes: &classes,
        cells: Vec::new(),
        stories: Vec::new(),
        numbers: HashMap::new(),
    };
    let mut known: HashMap<Key, u32> = HashMap::new();
    let mut rows = Vec::with_capacity(classes.all.len());
    for from in 0..classes.all.len() {
        let mut row = Vec::with_capacity(classes.all.len());
        for to in 0..classes.all.len() {
            let key = classes.key(from, to);
            let number = known
                .get(&key)
                .copied()
                .unwrap_or_else(|| teller.cell(&mut explainer, Pair { from, to, is_one: false }, &key));
            known.insert(key, number);
            row.push(number);
        }
        rows.push(row);
    }
    let themselves = |class| Pair { from: class, to: class, is_one: true };
    let selves = (0..classes.all.len())
        .map(|class| teller.cell(&mut explainer, themselves(class), &classes.key(class, class)));
    let selves = selves.collect();
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
        members: classes.all.iter().map(|class| class.address).collect(),
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

/// Ends that nothing distinguishes.
struct Class {
    /// The first of them.
    address: Ipv4Addr,
    /// Another of them, if there is one.
    second: Option<Ipv4Addr>,
    at: At,
    /// The provider whose network they are in.
    provider: Option<usize>,
    members: Members,
    /// Whether it binds an address that suits the destination.
    binds: bool,
}

impl Class {
    /// What a question calls it.
    fn word(&self, address: Ipv4Addr) -> String {
        if self.binds { "mac".to_owned() } else { address.to_string() }
    }

    fn bridge(&self) -> Option<usize> {
        match self.at {
            At::Bridge(bridge) => Some(bridge),
            _ => None,
        }
    }
}

/// All that the answer of a pair depends on, but for the names and addresses of the ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    places: [(u8, Option<usize>); 2],
    same_bridge: bool,
    rules: Vec<Bits>,
    links: [Bits; 2],
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
    sets: Sets,
}

impl Classes {
    fn of(declaration: &Declaration, plan: &Plan, loaded: &Loaded, ends: &Ends) -> Self {
        let sets = Sets::of(declaration, plan, loaded);
        let mut all: Vec<Class> = Vec::new();
        let mut of_address = HashMap::new();
        let mut known: HashMap<(At, Option<usize>, Members), usize> = HashMap::new();
        for (address, at) in &ends.all {
            let provider = plan.bridges.iter().position(|bridge| bridge.region.contains(*address));
            let members = sets.members(*address);
            let number = *known.entry((*at, provider, members.clone())).or_insert_with(|| {
                all.push(Class { address: *address, second: None, at: *at, provider, members, binds: false });
                all.len() - 1
            });
            if all[number].address != *address && all[number].second.is_none() {
                all[number].second = Some(*address);
            }
            of_address.insert(*address, number);
        }
        let own = ends.own;
        let members = sets.members(own);
        all.push(Class { address: own, second: None, at: At::Mac, provider: None, members, binds: true });
        Self { all, of_address, sets }
    }

    fn key(&self, from: usize, to: usize) -> Key {
        let (a, b) = (&self.all[from], &self.all[to]);
        let place = |class: &Class, other: &Class, number: usize| match class.at {
            At::Loopback => (0, None),
            At::Host => (1, class.provider.filter(|_| other.provider.is_none())),
            At::Gateway(_) => (2, class.provider.filter(|_| other.provider.is_none())),
            // What a process of the Mac that binds no address gets depends on whom it talks to.
            At::Mac if class.binds => (3, Some(number)),
            At::Mac => (6, None),
            At::Bridge(_) => (4, class.provider.filter(|_| other.provider.is_none())),
            At::Outside => (5, None),
        };
        Key {
            places: [place(a, b, to), place(b, a, from)],
            same_bridge: a.bridge().is_some() && a.bridge() == b.bridge(),
            rules: self.sets.rules(&a.members, &b.members),
            links: [links(&a.members, &b.members), links(&b.members, &a.members)],
        }
    }
}

/// Asks the questions.
struct Teller<'a> {
    plan: &'a Plan,
    egress: &'a str,
    classes: &'a Classes,
    cells: Vec<Cell>,
    stories: Vec<Story>,
    numbers: HashMap<Story, u32>,
}

impl Teller<'_> {
    /// Asks about every range of services between two classes, and gives the number of the cell.
    fn cell(&mut self, explainer: &mut Explainer, pair: Pair, key: &Key) -> u32 {
        let mut cell: Cell = Vec::new();
        let mut starts = BTreeSet::from([1]);
        for (first, last) in self.classes.sets.ports(key.rules.iter(), &key.links[0]) {
            starts.extend([Some(first), last.checked_add(1)].into_iter().flatten().filter(|port| *port > 0));
        }
        let starts: Vec<u16> = starts.into_iter().collect();
        let ends = starts.iter().skip(1).map(|next| next - 1).chain([u16::MAX]);
        let ranges: Vec<(u16, u16)> = starts.iter().copied().zip(ends).collect();
        let ported =
            [TCP, UDP].into_iter().flat_map(|protocol| ranges.iter().map(move |range| (protocol, *range)));
        for (protocol, (first, last)) in ported.chain([ICMP, ESP, OTHER].map(|protocol| (protocol, (0, 0)))) {
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
        let source = a.word(a.address);
        let destination = if from == to && !is_one { b.second.unwrap_or(b.address) } else { b.address };
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

/// The ports of a link, as ranges.
pub(super) fn ranges(ports: &PortSet) -> impl Iterator<Item = (u16, u16)> + '_ {
    ports.ranges().iter().map(|range| (range.first, range.last))
}
