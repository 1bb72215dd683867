//! Questions with several answers: who can open to an end, to whom an end can open, and by what services.
//!
//! Services and ends that nothing tells apart are asked about once, each by the question that a person would ask.
//! With captured rules every end is asked, since those may tell apart what the declaration does not. Never: an answer
//! of its own.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use schemars::JsonSchema;
use serde::Serialize;

use super::apart::{Apart, ESP, Key, Spot};
use super::end::{self, At, End, Resolver, Service, is_address, port_of};
use super::opening::{Opening, opening};
use super::text;
use super::{Error, Explainer, Explanation, Hop, Question, Rules, Wrong, way};
use crate::model::Declaration;
use crate::plan::Plan;
use crate::plan::policy::TCP;
use crate::reach::Services;

/// The word for everyone.
pub(super) const ANY: &str = "any";
/// Ports that a person would try.
const USUAL: [u16; 3] = [443, 80, 22];
/// So many exceptions are named beside a provider.
const EXCEPTIONS: usize = 3;

/// Several answers.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Survey {
    /// Whether anything that was asked about gets through.
    pub passes: bool,
    /// What was asked: `etcd-1 -> etcd-2`, `any -> etcd-2 tcp 2379`.
    pub question: String,
    /// The ends that were named.
    pub ends: Vec<End>,
    /// Who gets which answers.
    pub answers: Vec<Answers>,
    /// Between two ends, the way of a packet of each different answer.
    pub paths: Vec<Path>,
    /// What would open between two ends what is refused.
    pub to_open: Option<Opening>,
    /// What was taken for granted.
    pub notes: Vec<String>,
    /// What cannot be known here.
    pub unknown: String,
    /// Whether rules and declaration say the same of all that was asked, where only ours are asked.
    pub agrees: bool,
}

/// Ends with the same answers.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Answers {
    /// The ends at the other side, in words; none where both were named.
    pub ends: Vec<String>,
    /// All the answers in one line.
    pub summary: String,
    /// The answers.
    pub services: Vec<Part>,
    /// A command that shows the way of a packet of the last one.
    pub explain: String,
}

/// What becomes of some services.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// The services in words.
    pub services: String,
    /// The same by protocol.
    pub protocols: Vec<Protocol>,
    /// What becomes of them.
    pub fate: Fate,
}

/// Some services of a protocol.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, JsonSchema)]
pub struct Protocol {
    /// Its name; `other` is all that have none here.
    pub protocol: &'static str,
    /// Ranges of ports; none where all are meant, or there are none.
    pub ports: Option<Vec<String>>,
}

/// What becomes of a packet, as whoever opens sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Fate {
    /// It and its answer get through.
    Passes,
    /// It is blocked, and the opener is told where pf can tell it.
    Refused,
    /// It or its answer is blocked silently.
    Dropped,
    /// macOS itself has no way for it.
    Impossible,
}

/// The way of a packet that stands for others.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Path {
    /// The services that it stands for, in words.
    pub services: String,
    /// What becomes of it.
    pub fate: Fate,
    /// Its way.
    pub explanation: Explanation,
}

impl Survey {
    /// For people.
    pub fn text(&self) -> String {
        text::survey(self)
    }
}

impl Fate {
    fn of(explanation: &Explanation) -> Self {
        if explanation.passes {
            return Self::Passes;
        }
        let Some(hop) = explanation.packet.iter().find(|hop| !hop.passes()) else {
            return if explanation.refused.is_some() { Self::Impossible } else { Self::Dropped };
        };
        // pf answers nothing to some protocols that a rule refuses.
        let is_ours = hop.rule.as_ref().is_some_and(|rule| rule.ours);
        let is_refused = hop.reason.as_ref().is_some_and(|reason| reason.verdict == "refuse");
        let is_told = hop.answered.is_some_and(|words| !words.starts_with("silently"));
        if is_told || is_ours && is_refused { Self::Refused } else { Self::Dropped }
    }

    /// What is said of one thing, and of several.
    fn words(self) -> &'static str {
        match self {
            Self::Passes => "passes",
            Self::Refused => "is refused",
            Self::Dropped => "is dropped",
            Self::Impossible => "is impossible on macOS",
        }
    }
}

/// Whether a question has several answers.
pub fn is_survey(question: &Question) -> bool {
    let (to, port) = port_of(question.destination).unwrap_or((question.destination, None));
    let is_any = |word: &str| word.eq_ignore_ascii_case(ANY);
    is_any(question.source) || is_any(to) || port.is_none() && question.protocol.is_none_or(end::has_ports)
}

/// Answers a question that has several answers.
///
/// # Errors
/// A question that makes no sense, or rules that cannot be read.
pub fn survey(
    declaration: &Declaration,
    plan: &Plan,
    rules: &Rules,
    question: &Question,
) -> Result<Survey, Error> {
    let (to, port) = port_of(question.destination)?;
    let resolver = Resolver::new(plan);
    let explainer = Explainer::load(declaration, plan, rules, question.egress, resolver.mac());
    let explainer = explainer.map_err(Error::Rules)?;
    let only = match (question.protocol, port) {
        (None, None) => Only { protocol: None, service: None },
        (protocol, port) => {
            let is_whole = port.is_none() && protocol.is_some_and(end::has_ports);
            let service = end::service(protocol, if is_whole { Some(1) } else { port })?;
            let service_only = (!is_whole).then_some(service);
            Only { protocol: Some(service.protocol), service: service_only }
        }
    };
    let more = if explainer.live { explainer.loaded.ports() } else { BTreeSet::new() };
    let apart = Apart::of(declaration, plan);
    let mut asker = Asker {
        plan,
        resolver,
        explainer,
        apart,
        more,
        only,
        egress: question.egress,
        known: HashMap::new(),
        agrees: true,
    };
    let is_any = |word: &str| word.eq_ignore_ascii_case(ANY);
    match (is_any(question.source), is_any(to)) {
        (true, true) => Err(Wrong::new(
            "`any` can be one of the two ends",
            "`nixvol-net test` shows who may open what to whom",
        )
        .into()),
        (false, false) => asker.pair(declaration, question.source, to),
        (is_source, _) => asker.everyone(if is_source { to } else { question.source }, is_source),
    }
}

/// What a question is restricted to.
struct Only {
    protocol: Option<u8>,
    service: Option<Service>,
}

/// Asks one question after the other.
struct Asker<'a> {
    plan: &'a Plan,
    resolver: Resolver<'a>,
    explainer: Explainer<'a>,
    apart: Apart<'a>,
    /// Ports at which captured rules change their minds.
    more: BTreeSet<u16>,
    only: Only,
    egress: &'a str,
    known: HashMap<Key, Rc<Vec<Asked>>>,
    agrees: bool,
}

/// A range of services with its answer.
struct Asked {
    span: (u8, (u16, u16)),
    fate: Fate,
    explanation: Explanation,
}

impl Asker<'_> {
    /// The answers for one pair of ends.
    fn pair(&mut self, declaration: &Declaration, from: &str, to: &str) -> Result<Survey, Error> {
        let asked = self.ask(from, to)?;
        let parts = self.parts(&asked);
        let mut paths: Vec<(Services, Signature, &Asked)> = Vec::new();
        for one in asked.iter() {
            let signature = Signature::of(one);
            let known = paths.iter().position(|(_, known, _)| *known == signature).unwrap_or_else(|| {
                paths.push((Services::default(), signature, one));
                paths.len() - 1
            });
            paths[known].0.add(one.span.0, one.span.1);
        }
        paths.sort_by_key(|(_, _, one)| one.fate);
        let path = |(services, _, one): (Services, Signature, &Asked)| Path {
            services: parts.word(&services, one.fate),
            fate: one.fate,
            explanation: one.explanation.clone(),
        };
        let paths: Vec<Path> = paths.into_iter().map(path).collect();
        let first = &asked[0].explanation;
        let is_closed = asked.iter().any(|one| one.fate != Fate::Passes);
        let service = self.only.protocol.map(|protocol| Service { protocol, port: None });
        let ends = (&first.source, &first.destination);
        let is_told = is_closed && !self.explainer.live;
        let to_open = is_told.then(|| opening(declaration, self.plan, ends, service));
        let mut notes = Vec::new();
        for note in paths.iter().flat_map(|path| &path.explanation.notes) {
            if !notes.contains(note) {
                notes.push(note.clone());
            }
        }
        Ok(Survey {
            passes: asked.iter().any(|one| one.fate == Fate::Passes),
            question: self.titled(from, to),
            ends: vec![first.source.clone(), first.destination.clone()],
            unknown: first.unknown.clone(),
            agrees: self.agrees,
            to_open: to_open.flatten(),
            answers: vec![self.answers(Group {
                words: Vec::new(),
                parts,
                pair: (from.to_owned(), to.to_owned()),
                asked: asked.clone(),
            })],
            paths,
            notes,
        })
    }

    /// The answers for one end and everyone else.
    fn everyone(&mut self, named: &str, is_source: bool) -> Result<Survey, Error> {
        let own = self.resolver.end(named)?;
        let is_provider = |word: &str| self.plan.bridges.iter().any(|it| it.provider.as_str() == word);
        let mut groups: Vec<Group> = Vec::new();
        for block in self.blocks() {
            let speaks = block.first().is_some_and(|word| is_provider(word) || word == "localhost");
            let mut answers = Vec::new();
            for word in &block {
                // A provider's name stands for any of its machines; one machine reaches itself without this Mac.
                if self.resolver.end(word)?.address == own.address && !is_provider(word) {
                    continue;
                }
                let (from, to) = if is_source { (word.as_str(), named) } else { (named, word.as_str()) };
                match self.ask(from, to) {
                    Ok(asked) => answers.push(Group {
                        words: vec![word.clone()],
                        parts: self.parts(&asked),
                        pair: (from.to_owned(), to.to_owned()),
                        asked,
                    }),
                    // Two ends outside, or a network with one machine.
                    Err(Error::Question(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            let speaks = speaks && answers.first().is_some_and(|group| group.words[0] == block[0]);
            for group in merged(answers, speaks) {
                match groups.iter_mut().find(|known| known.parts.all == group.parts.all) {
                    Some(known) => known.words.extend(group.words),
                    None => groups.push(group),
                }
            }
        }
        groups.sort_by_key(|group| !group.parts.passes());
        let (from, to) = if is_source { (ANY, named) } else { (named, ANY) };
        let first = groups.first().and_then(|group| group.asked.first());
        let unknown = first.map_or_else(String::new, |one| one.explanation.unknown.clone());
        let mut notes: Vec<String> = self.resolver.note(&own).into_iter().collect();
        notes.extend(self.explainer.loaded.notes.iter().cloned());
        Ok(Survey {
            passes: groups.iter().any(|group| group.parts.passes()),
            question: self.titled(from, to),
            ends: vec![own],
            answers: groups.into_iter().map(|group| self.answers(group)).collect(),
            paths: Vec::new(),
            to_open: None,
            notes,
            unknown,
            agrees: self.agrees,
        })
    }

    /// Everyone who can be told from others, by provider; what stands first in a block speaks for it.
    fn blocks(&self) -> Vec<Vec<String>> {
        let mut blocks = Vec::new();
        for (index, bridge) in self.plan.bridges.iter().enumerate() {
            let volumes = self.plan.volumes.iter().filter(|volume| volume.provider == bridge.provider);
            let stranger = self.resolver.stranger(index, None).map(|_| bridge.provider.to_string());
            let names = volumes.map(|volume| volume.name.to_string());
            blocks.push(stranger.into_iter().chain(names).collect());
        }
        let aliases = self.plan.volumes.iter().filter(|volume| volume.alias.is_some());
        let aliases = aliases.map(|volume| format!("{}.localhost", volume.name));
        blocks.push(["localhost".to_owned()].into_iter().chain(aliases).collect());
        blocks.extend(["mac", "internet", "lan"].map(|word| vec![word.to_owned()]));
        blocks
    }

    /// The answers of each range of services between two ends.
    fn ask(&mut self, from: &str, to: &str) -> Result<Rc<Vec<Asked>>, Error> {
        let icmp = Question { source: from, destination: to, protocol: Some("icmp"), egress: self.egress };
        let asked = end::asked(self.plan, &icmp)?;
        let spot = |apart: &Apart, end: &End| Spot {
            binds: end.at == At::Mac && !is_address(&end.name),
            ..apart.spot(end.address, end.at)
        };
        let (source, destination) = (spot(&self.apart, &asked.source), spot(&self.apart, &asked.destination));
        let key = self.apart.key(&source, &destination);
        let is_shared = !self.explainer.live && source.address != destination.address;
        if let Some(known) = self.known.get(&key).filter(|_| is_shared) {
            return Ok(known.clone());
        }
        let spans = match self.only.service {
            Some(Service { protocol, port }) => vec![(protocol, (port.unwrap_or(0), port.unwrap_or(0)))],
            None => self.apart.spans(&key, &self.more),
        };
        let mut all = Vec::new();
        for (protocol, (first, last)) in spans {
            if self.only.protocol.map_or(protocol == ESP, |only| only != protocol) {
                continue;
            }
            let port = USUAL.into_iter().find(|port| (first..=last).contains(port)).unwrap_or(first);
            let destination = if port > 0 { format!("{to}:{port}") } else { to.to_owned() };
            let number = protocol.to_string();
            let question = Question { destination: &destination, protocol: Some(&number), ..icmp };
            let asked = end::asked(self.plan, &question)?;
            let way = way::way(self.plan, &asked)?;
            let explanation = self.explainer.explained(asked, way);
            self.agrees &= explanation.agrees();
            all.push(Asked { span: (protocol, (first, last)), fate: Fate::of(&explanation), explanation });
        }
        let all = Rc::new(all);
        if is_shared {
            self.known.insert(key, all.clone());
        }
        Ok(all)
    }

    fn titled(&self, from: &str, to: &str) -> String {
        let service = match (self.only.service, self.only.protocol) {
            (Some(service), _) => format!(" {service}"),
            (None, Some(protocol)) => format!(" {}", Service { protocol, port: None }),
            (None, None) => String::new(),
        };
        format!("{from} -> {to}{service}")
    }

    fn parts(&self, asked: &[Asked]) -> Parts {
        let mut all: Vec<(Services, Fate)> = Vec::new();
        for one in asked {
            let known = all.iter().position(|(_, fate)| *fate == one.fate).unwrap_or_else(|| {
                all.push((Services::default(), one.fate));
                all.len() - 1
            });
            all[known].0.add(one.span.0, one.span.1);
        }
        // What is asked about last has no bounds, and is all that is not named.
        let last = asked.last().map(|one| one.fate);
        all.sort_by_key(|(_, fate)| (Some(*fate) == last, *fate));
        let is_one = all.len() == 1;
        let rest = match (&self.only, is_one) {
            (Only { service: Some(_), .. }, _) | (Only { protocol: Some(_), .. }, true) => None,
            (Only { protocol: Some(_), .. }, false) => Some("every other port"),
            (Only { protocol: None, service: None }, true) => Some("everything"),
            (Only { protocol: None, service: None }, false) => Some("everything else"),
        };
        let service = self.only.service.map(|service| service.to_string());
        let word = |services: &Services, fate: Fate| match (&service, rest) {
            (Some(service), _) => service.clone(),
            (None, Some(rest)) if Some(fate) == last => rest.to_owned(),
            _ => services.to_string(),
        };
        let part = |(services, fate): &(Services, Fate)| {
            let by_protocol = services.by_protocol().into_iter();
            let protocols = by_protocol.map(|(protocol, ports)| Protocol { protocol, ports }).collect();
            Part { services: word(services, *fate), protocols, fate: *fate }
        };
        let parts = all.iter().map(part);
        Parts { all: parts.collect(), sets: all }
    }

    fn answers(&self, group: Group) -> Answers {
        let Group { words, parts, pair: (from, to), asked } = group;
        let said = parts.all.iter().map(Part::words).collect::<Vec<_>>().join("; ");
        let last = asked.last().and_then(|last| asked.iter().find(|one| one.fate == last.fate));
        let explain = last.map_or_else(String::new, |one| {
            let service = one.explanation.service;
            let port = service.port.map_or_else(String::new, |port| format!(":{port}"));
            let protocol = Service { port: None, ..service }.to_string();
            let protocol = match service.protocol {
                TCP => String::new(),
                _ => format!(" --protocol {}", protocol.trim_start_matches("protocol ")),
            };
            format!("nixvol-net explain {from} {to}{port}{protocol}")
        });
        Answers { ends: self.shortened(words), summary: said, services: parts.all, explain }
    }

    /// Every provider in one word, where that is so.
    fn shortened(&self, words: Vec<String>) -> Vec<String> {
        let is_provider = |word: &String| self.plan.bridges.iter().any(|it| it.provider.as_str() == word);
        let (providers, others): (Vec<String>, Vec<String>) = words.into_iter().partition(is_provider);
        let is_every = providers.len() > 1 && providers.len() == self.plan.bridges.len();
        let providers = if is_every { vec!["every provider".to_owned()] } else { providers };
        providers.into_iter().chain(others).collect()
    }
}

/// Ends with the same answers, and one pair of those.
struct Group {
    words: Vec<String>,
    parts: Parts,
    pair: (String, String),
    asked: Rc<Vec<Asked>>,
}

/// What becomes of all services, in words and as sets.
struct Parts {
    all: Vec<Part>,
    sets: Vec<(Services, Fate)>,
}

impl Parts {
    fn passes(&self) -> bool {
        self.all.iter().any(|part| part.fate == Fate::Passes)
    }

    /// Some services with a fate, in the words of the whole where they are that.
    fn word(&self, services: &Services, fate: Fate) -> String {
        let whole = self.sets.iter().zip(&self.all).find(|((set, of), _)| set == services && *of == fate);
        whole.map_or_else(|| services.to_string(), |(_, part)| part.services.clone())
    }
}

impl Part {
    /// `tcp 2379-2380 passes`.
    fn words(&self) -> String {
        format!("{} {}", self.services, self.fate.words())
    }
}

/// A block by its answers. The first end, if it speaks for the others, speaks for those with the same answers.
fn merged(answers: Vec<Group>, speaks: bool) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for group in answers {
        match groups.iter_mut().find(|known| known.parts.all == group.parts.all) {
            Some(known) => known.words.extend(group.words),
            None => groups.push(group),
        }
    }
    let others: Vec<String> = groups.iter().skip(1).flat_map(|group| group.words.clone()).collect();
    if let Some(first) = groups.first_mut().filter(|_| speaks) {
        first.words.truncate(1);
        if others.len() > EXCEPTIONS {
            first.words[0] = format!("the rest of {}", first.words[0]);
        } else if !others.is_empty() {
            first.words[0] = format!("{} but {}", first.words[0], others.join(" and "));
        }
    }
    groups
}

/// What of a path tells it from another: not how a sender is told, nor a port.
#[derive(PartialEq, Eq)]
struct Signature {
    fate: Fate,
    hops: Vec<Seen>,
}

#[derive(PartialEq, Eq)]
struct Seen {
    place: (&'static str, String),
    rules: [Option<(String, u32)>; 2],
    pipes: Vec<u16>,
    because: Option<(String, Vec<String>)>,
}

impl Signature {
    fn of(asked: &Asked) -> Self {
        let seen = |hop: &Hop| Seen {
            place: (hop.direction.word(), hop.interface.clone()),
            rules: [&hop.rule, &hop.translation]
                .map(|rule| rule.as_ref().map(|rule| (rule.anchor.clone(), rule.number))),
            pipes: hop.pipes.iter().map(|pipe| pipe.number).collect(),
            because: hop.reason.as_ref().map(|reason| {
                (reason.words.clone(), reason.declared.iter().map(|declared| declared.path.clone()).collect())
            }),
        };
        let explanation = &asked.explanation;
        Self {
            fate: asked.fate,
            hops: explanation.packet.iter().chain(&explanation.answer).map(seen).collect(),
        }
    }
}
