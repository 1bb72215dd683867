//! Answers questions about several packets: asks about one packet at a time and combines the answers.
//!
//! Of services and endpoints that cannot get different answers, one is asked about: the one that a person would choose.
//! With captured rules every endpoint is asked about, since those rules may distinguish what the declaration does not.
//! Never: an answer of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use super::apart::{Apart, ESP, Key, Spot};
use super::end::{self, At, QuestionEndpoint, Resolver, Service, is_address, port_of};
use super::explainer::{ExplainError, Explainer};
use super::explanation::Explanation;
use super::hop::ExplainedHook;
use super::live::ExplainedRules;
use super::opening::opening;
use super::question::Question;
use super::survey::{Protocol, SamplePath, ServiceOutcome, Survey, SurveyAnswers, SurveyOutcome};
use super::way;
use crate::model::{Declaration, Name};
use crate::plan::policy::TCP;
use crate::plan::{Plan, PlannedVolume};
use crate::reach::Services;

/// Ports that a person would try, the first preferred.
const USUAL: [u16; 3] = [443, 80, 22];
/// The maximum number of exceptions named beside a provider.
const EXCEPTIONS: usize = 3;

/// The services to which a question is restricted.
struct Only {
    protocol: Option<u8>,
    service: Option<Service>,
}

/// Answers questions one packet at a time.
pub(super) struct Asker<'a> {
    plan: &'a Plan,
    resolver: Resolver<'a>,
    explainer: Explainer<'a>,
    apart: Apart<'a>,
    /// Ports at which the match of a captured rule starts or ends.
    more: BTreeSet<u16>,
    only: Only,
    egress: &'a str,
    known: HashMap<Key, Rc<Vec<Asked>>>,
    agrees: bool,
}

/// A range of services with its answer.
struct Asked {
    span: (u8, (u16, u16)),
    fate: SurveyOutcome,
    explanation: Explanation,
}

impl<'a> Asker<'a> {
    /// Loads the rules for a question.
    pub fn of(
        declaration: &'a Declaration,
        plan: &'a Plan,
        rules: &ExplainedRules,
        question: &Question<'a>,
    ) -> Result<Self, ExplainError> {
        let (_, port) = port_of(question.destination)?;
        let resolver = Resolver::new(plan);
        let explainer = Explainer::load(declaration, plan, rules, question.egress, resolver.mac());
        let explainer = explainer.map_err(ExplainError::Rules)?;
        let only = match (question.protocol, port) {
            (None, None) => Only { protocol: None, service: None },
            (protocol, port) => {
                let is_whole = port.is_none() && protocol.is_some_and(end::has_ports);
                let service = end::service(protocol, if is_whole { Some(1) } else { port })?;
                Only { protocol: Some(service.protocol), service: (!is_whole).then_some(service) }
            }
        };
        let more = if explainer.live { explainer.loaded.ports() } else { BTreeSet::new() };
        let apart = Apart::of(plan);
        let (egress, known) = (question.egress, HashMap::new());
        Ok(Self { plan, resolver, explainer, apart, more, only, egress, known, agrees: true })
    }

    /// The answers for one pair of endpoints.
    pub fn pair(&mut self, from: &str, to: &str) -> Result<Survey, ExplainError> {
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
        let path = |(services, _, one): (Services, Signature, &Asked)| SamplePath {
            services: parts.word(&services, one.fate),
            fate: one.fate,
            explanation: one.explanation.clone(),
        };
        let paths: Vec<SamplePath> = paths.into_iter().map(path).collect();
        let first = &asked[0].explanation;
        let is_closed = asked.iter().any(|one| one.fate != SurveyOutcome::Passes);
        let service = self.only.protocol.map(|protocol| Service { protocol, port: None });
        let ends = (&first.source, &first.destination);
        let is_told = is_closed && !self.explainer.live;
        let to_open = is_told.then(|| opening(self.explainer.declaration, self.plan, ends, service));
        let mut notes = Vec::new();
        for note in paths.iter().flat_map(|path| &path.explanation.notes) {
            if !notes.contains(note) {
                notes.push(note.clone());
            }
        }
        Ok(Survey {
            passes: asked.iter().any(|one| one.fate == SurveyOutcome::Passes),
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

    /// The answers for one endpoint and every other.
    pub fn everyone(&mut self, named: &str, is_source: bool) -> Result<Survey, ExplainError> {
        let own = self.resolver.end(named)?;
        let mut groups: Vec<Group> = Vec::new();
        for block in self.blocks() {
            let speaks = block.first().is_some_and(|word| self.is_provider(word) || word == "localhost");
            let mut answers = Vec::new();
            for word in &block {
                // A provider's name stands for any of its hosts; what one host sends to itself never reaches this Mac.
                if self.resolver.end(word)?.address == own.address && !self.is_provider(word) {
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
                    // Both endpoints are outside, or the network has only one host.
                    Err(ExplainError::Question(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            let speaks = speaks && answers.first().is_some_and(|group| group.words[0] == block[0]);
            for group in merged(answers, speaks) {
                add(&mut groups, group);
            }
        }
        groups.sort_by_key(|group| !group.parts.passes());
        let (from, to) = if is_source { ("any", named) } else { (named, "any") };
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

    fn is_provider(&self, word: &str) -> bool {
        self.plan.bridges.binary_search_by(|bridge| bridge.provider.as_str().cmp(word)).is_ok()
    }

    /// All endpoints that may get different answers, in blocks by provider; the first of a block can represent it.
    fn blocks(&self) -> Vec<Vec<String>> {
        let mut blocks = Vec::new();
        let mut volumes: BTreeMap<&Name, Vec<&PlannedVolume>> = BTreeMap::new();
        for volume in &self.plan.volumes {
            volumes.entry(&volume.provider).or_default().push(volume);
        }
        for (index, bridge) in self.plan.bridges.iter().enumerate() {
            let stranger = self.resolver.stranger(index, None).map(|_| bridge.provider.to_string());
            let names =
                volumes.get(&bridge.provider).into_iter().flatten().map(|volume| volume.name.to_string());
            blocks.push(stranger.into_iter().chain(names).collect());
        }
        blocks.push(self.plan.bridges.iter().map(|bridge| gateway(bridge.provider.as_str())).collect());
        let aliases = self.plan.volumes.iter().filter(|volume| volume.alias.is_some());
        let aliases = aliases.map(|volume| format!("{}.localhost", volume.name));
        blocks.push(["localhost".to_owned()].into_iter().chain(aliases).collect());
        blocks.extend(["mac", "internet", "lan"].map(|word| vec![word.to_owned()]));
        blocks
    }

    /// The answers for each range of services between two endpoints.
    fn ask(&mut self, from: &str, to: &str) -> Result<Rc<Vec<Asked>>, ExplainError> {
        let icmp = Question { source: from, destination: to, protocol: Some("icmp"), egress: self.egress };
        let asked = end::asked(&self.resolver, &icmp)?;
        let spot = |apart: &Apart, end: &QuestionEndpoint| Spot {
            is_unbound: end.at == At::Mac && !is_address(&end.name),
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
            let asked = end::asked(&self.resolver, &question)?;
            let way = way::way(&asked)?;
            let explanation = self.explainer.explained(asked, way);
            self.agrees &= explanation.agrees();
            all.push(Asked {
                span: (protocol, (first, last)),
                fate: SurveyOutcome::of(&explanation),
                explanation,
            });
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
        let mut all: Vec<(Services, SurveyOutcome)> = Vec::new();
        for one in asked {
            let known = all.iter().position(|(_, fate)| *fate == one.fate).unwrap_or_else(|| {
                all.push((Services::default(), one.fate));
                all.len() - 1
            });
            all[known].0.add(one.span.0, one.span.1);
        }
        // The last range asked about stands for everything that is not named.
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
        let word = |services: &Services, fate: SurveyOutcome| match (&service, rest) {
            (Some(service), _) => service.clone(),
            (None, Some(rest)) if Some(fate) == last => rest.to_owned(),
            _ => services.to_string(),
        };
        let part = |(services, fate): &(Services, SurveyOutcome)| {
            let by_protocol = services.by_protocol().into_iter();
            let protocols = by_protocol.map(|(protocol, ports)| Protocol { protocol, ports }).collect();
            ServiceOutcome { services: word(services, *fate), protocols, fate: *fate }
        };
        let parts = all.iter().map(part);
        Parts { all: parts.collect(), sets: all }
    }

    fn answers(&self, group: Group) -> SurveyAnswers {
        let Group { words, parts, pair: (from, to), asked } = group;
        let said = parts.all.iter().map(ServiceOutcome::words).collect::<Vec<_>>().join("; ");
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
        SurveyAnswers { ends: self.shortened(words), summary: said, services: parts.all, explain }
    }

    /// Replaces the names of all providers, and of all gateways, by one phrase each.
    fn shortened(&self, words: Vec<String>) -> Vec<String> {
        let (providers, others): (Vec<_>, Vec<_>) = words.into_iter().partition(|it| self.is_provider(it));
        let is_gateway = |word: &String| word.split_once('.').is_some_and(|(_, rest)| rest == "gateway");
        let (gateways, others): (Vec<_>, Vec<_>) = others.into_iter().partition(is_gateway);
        let count = self.plan.bridges.len();
        let short = |all: Vec<String>, every: &str| {
            if count > 1 && all.len() == count { vec![every.to_owned()] } else { all }
        };
        let (providers, gateways) = (short(providers, "every provider"), short(gateways, "every gateway"));
        providers.into_iter().chain(gateways).chain(others).collect()
    }
}

/// The word for this Mac's address on a provider's bridge.
fn gateway(provider: &str) -> String {
    format!("{provider}.gateway")
}

/// Endpoints with the same answers, and one pair that has them.
struct Group {
    words: Vec<String>,
    parts: Parts,
    pair: (String, String),
    asked: Rc<Vec<Asked>>,
}

/// The fates of all services, in words and as sets.
struct Parts {
    all: Vec<ServiceOutcome>,
    sets: Vec<(Services, SurveyOutcome)>,
}

impl Parts {
    fn passes(&self) -> bool {
        self.all.iter().any(|part| part.fate == SurveyOutcome::Passes)
    }

    /// The wording for some services with a fate: that of the corresponding part, if they are all of it.
    fn word(&self, services: &Services, fate: SurveyOutcome) -> String {
        let whole = self.sets.iter().zip(&self.all).find(|((set, of), _)| set == services && *of == fate);
        whole.map_or_else(|| services.to_string(), |(_, part)| part.services.clone())
    }
}

/// Adds endpoints to those with the same answers.
fn add(groups: &mut Vec<Group>, group: Group) {
    match groups.iter_mut().find(|known| known.parts.all == group.parts.all) {
        Some(known) => known.words.extend(group.words),
        None => groups.push(group),
    }
}

/// Groups a block by answers. If its first endpoint `speaks` for the block, it replaces those with the same answers.
fn merged(answers: Vec<Group>, speaks: bool) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for group in answers {
        add(&mut groups, group);
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

/// What distinguishes one path from another. The kind of answer to a blocked packet, and ports, do not count.
#[derive(PartialEq, Eq)]
struct Signature {
    fate: SurveyOutcome,
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
        let seen = |hop: &ExplainedHook| Seen {
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
