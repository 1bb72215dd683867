//! Checks links: endpoints that exist, protocols, ports, conditions; and puts them into canonical order.

use std::collections::{BTreeMap, BTreeSet};

use super::{Check, Declaration, Name};
use crate::input::{self, Port, Protocol, nearest};
use crate::model::{
    Endpoint, Latency, Link, LinkConditions, LinkDirection, MOST_BANDWIDTH, MOST_LATENCY, PortRange, PortSet,
};
use crate::place::{At, FieldPath};
use crate::problem::{Problem, ProblemKind};

/// The maximum number of paths with conditions: each has a dummynet pipe, numbered 20000 to 29999.
const MOST_WAYS: usize = 10_000;

impl Check<'_> {
    /// The links in canonical order, unless one of them is invalid.
    pub(super) fn links(&mut self) -> Option<Vec<Link>> {
        let raw = self.input.links.as_deref().unwrap_or_default();
        let links: Vec<Option<Link>> =
            raw.iter().enumerate().map(|(index, raw)| self.link(index, raw)).collect();
        let mut links: Vec<Link> = links.into_iter().collect::<Option<_>>()?;
        links.sort_by(|a, b| order(a).cmp(&order(b)));
        Some(links)
    }

    fn link(&mut self, index: usize, raw: &input::RawLink) -> Option<Link> {
        let at = At::of(&["links"]).child(index);
        let from = self.ends(&at.child("from"), raw.from.as_deref());
        let to = self.ends(&at.child("to"), raw.to.as_deref());
        if let (Some(from), Some(to)) = (&from, &to)
            && let Some(end) = from.first()
            && from == to
            && from.len() == 1
        {
            self.wrong(at, ProblemKind::LinkToItself { end: end.name().to_string() });
        }
        let (protocol, ports) = self.service(&at, raw.protocol.as_deref(), raw.ports.as_deref());
        let conditions =
            raw.conditions.as_ref().and_then(|raw| self.conditions(&at.child("conditions"), raw));
        if conditions.is_some_and(|conditions| conditions.goes_by_regions()) {
            let at = at.child("conditions").child("latency");
            self.regions(&at, from.iter().chain(&to).flatten());
        }
        Some(Link {
            from: from?,
            to: to?,
            protocol,
            ports,
            bidirectional: raw.bidirectional.unwrap_or(false),
            masquerade: raw.masquerade.unwrap_or(false),
            conditions,
            index,
        })
    }

    /// The protocol and ports of a link or an expectation.
    pub(super) fn service(
        &mut self,
        at: &At,
        protocol: Option<&str>,
        ports: Option<&[Option<Port>]>,
    ) -> (Option<Protocol>, Option<PortSet>) {
        let protocol = protocol.and_then(|found| {
            self.word(
                &at.child("protocol"),
                Some(found),
                None,
                |word| Protocol::from_word(word).map(Some),
                Protocol::WORDS,
            )
        });
        if let (Some(Protocol::Icmp), Some(_)) = (protocol, ports) {
            self.wrong(at.child("ports"), ProblemKind::PortsWithoutPorts { protocol: Protocol::Icmp.word() });
        }
        (protocol, self.ports(&at.child("ports"), ports))
    }

    fn ends(&mut self, at: &At, names: Option<&[Option<String>]>) -> Option<BTreeSet<Endpoint>> {
        self.all_ends(at, names, &[], Self::end)
    }

    /// The endpoints of a list: providers, volumes, and the given keywords.
    pub(super) fn all_ends<T: Ord>(
        &mut self,
        at: &At,
        names: Option<&[Option<String>]>,
        words: &[&str],
        meant: fn(&Self, &str) -> Option<T>,
    ) -> Option<BTreeSet<T>> {
        let names = names?;
        if names.is_empty() {
            self.wrong(at, ProblemKind::EmptyList { what: "the list of ends", optional: false });
            return None;
        }
        let mut ends = BTreeSet::new();
        let mut known = true;
        for (index, found) in names.iter().enumerate() {
            let Some(found) = found else { continue };
            match meant(self, found) {
                Some(end) => {
                    ends.insert(end);
                }
                None => known &= self.unknown_end(at.child(index), found, words),
            }
        }
        known.then_some(ends)
    }

    /// The endpoint with this name, if it is declared under a valid name.
    pub(super) fn end(&self, found: &str) -> Option<Endpoint> {
        let name = Name::new(found, Name::LONGEST)?;
        if self.input.providers.as_ref().is_some_and(|all| all.contains_key(found)) {
            return Some(Endpoint::Provider(name));
        }
        let volumes = self.input.volumes.as_ref()?;
        volumes.contains_key(found).then_some(Endpoint::Volume(name))
    }

    /// Reports an unknown endpoint, unless its declaration was already reported as a problem. Always false: the
    /// endpoint is not usable.
    fn unknown_end(&mut self, at: At, found: &str, words: &[&str]) -> bool {
        let (Some(providers), Some(volumes)) = (&self.input.providers, &self.input.volumes) else {
            return false;
        };
        if !providers.contains_key(found) && !volumes.contains_key(found) {
            let known = providers.keys().chain(volumes.keys()).map(String::as_str);
            let known = known.chain(words.iter().copied());
            let nearest = nearest(found, known).map(str::to_owned);
            self.wrong(at, ProblemKind::UnknownEnd { found: found.to_owned(), nearest });
        }
        false
    }

    fn ports(&mut self, at: &At, ports: Option<&[Option<Port>]>) -> Option<PortSet> {
        let ports = ports?;
        if ports.is_empty() {
            self.wrong(at, ProblemKind::EmptyList { what: "the list of ports", optional: true });
        }
        let mut ranges = Vec::new();
        for (index, port) in ports.iter().enumerate() {
            if let Some(port) = port {
                ranges.extend(self.port(at.child(index), port));
            }
        }
        PortSet::new(ranges)
    }

    fn port(&mut self, at: At, port: &Port) -> Option<PortRange> {
        let number = |text: &str| -> Option<u16> {
            let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
            text.parse().ok().filter(|port| digits && *port > 0)
        };
        let text = match port {
            Port::Number(port) => port.to_string(),
            Port::Range(text) => text.clone(),
        };
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        let (Some(first), Some(last)) = (number(first), number(last)) else {
            let found = match port {
                Port::Number(_) => text,
                Port::Range(_) => crate::place::Quoted(&text).to_string(),
            };
            self.wrong(at, ProblemKind::NotAPort { found, ranges: true });
            return None;
        };
        if first > last {
            self.wrong(at, ProblemKind::PortsReversed { found: text, first, last });
            return None;
        }
        Some(PortRange { first, last })
    }

    fn conditions(&mut self, at: &At, raw: &input::RawConditions) -> Option<LinkConditions> {
        let latency = match (raw.latency_ms, raw.latency.as_deref()) {
            (Some(_), Some(_)) => {
                self.wrong(at.child("latency"), ProblemKind::LatencyTwice);
                None
            }
            (Some(found), None) => self.milliseconds(at.child("latencyMs"), found).map(Latency::Ms),
            (None, word) => {
                let meant = |word: &str| input::Latency::from_word(word).map(|_| Some(Latency::Regions));
                self.word(&at.child("latency"), word, None, meant, input::Latency::WORDS)
            }
        };
        let jitter_ms = raw.jitter_ms.and_then(|found| self.milliseconds(at.child("jitterMs"), found));
        let loss = raw.loss.and_then(|found| {
            let share = (0.0..=1.0).contains(&found).then_some(found);
            self.in_range(at.child("loss"), found, share, "a fraction from 0 to 1")
        });
        let bandwidth_kbit = raw.bandwidth_kbit.and_then(|found| {
            let rate = u32::try_from(found).ok().filter(|kbit| (1..=MOST_BANDWIDTH).contains(kbit));
            self.in_range(at.child("bandwidthKbit"), found, rate, "from 1 to 2147483 kilobits a second")
        });
        let any = latency.is_some() || jitter_ms.is_some() || loss.is_some() || bandwidth_kbit.is_some();
        any.then_some(LinkConditions { latency, jitter_ms, loss, bandwidth_kbit })
    }

    fn milliseconds(&mut self, at: At, found: i64) -> Option<u16> {
        let value = u16::try_from(found).ok().filter(|ms| *ms <= MOST_LATENCY);
        self.in_range(at, found, value, "from 0 to 10000 milliseconds")
    }

    /// Reports each provider of these endpoints that has no region. An unknown region is reported where it is declared.
    fn regions<'b>(&mut self, at: &At, ends: impl Iterator<Item = &'b Endpoint>) {
        let (Some(providers), Some(volumes)) = (&self.input.providers, &self.input.volumes) else { return };
        let mut lacking = BTreeSet::new();
        for end in ends {
            let provider = match end {
                Endpoint::Provider(name) => Some(name.as_str()),
                Endpoint::Volume(name) => {
                    volumes.get(name.as_str()).and_then(|volume| volume.provider.as_deref())
                }
            };
            let known = provider.and_then(|name| Some((name, providers.get(name)?)));
            lacking.extend(known.filter(|(_, it)| it.region.is_none()).map(|(name, _)| name.to_owned()));
        }
        for provider in lacking {
            let declared = FieldPath::from(At::of(&["providers", &provider]));
            self.problems.push(Problem::new(*at, ProblemKind::NoRegion { provider }).with(declared));
        }
    }
}

impl Check<'_> {
    /// Checks the paths that have conditions: there must be a pipe for each, and the conditions of each must be
    /// unambiguous.
    ///
    /// Of conditions for a provider and for a volume of it, the narrower ones take precedence; between the same two
    /// endpoints neither would.
    pub(super) fn ways(&mut self, declaration: &Declaration) {
        let ways = declaration.ways();
        if ways.len() > MOST_WAYS {
            let range = "at most 10000 paths with conditions, one dummynet pipe each";
            self.wrong(
                At::of(&["links"]),
                ProblemKind::NumberOutOfRange { found: ways.len().to_string(), range },
            );
            return;
        }
        let mut by_sender: BTreeMap<&Endpoint, Vec<usize>> = BTreeMap::new();
        let mut told = BTreeSet::new();
        for (number, LinkDirection { link, from, to, conditions: _ }) in ways.iter().enumerate() {
            for sender in from {
                let known = by_sender.entry(sender).or_default();
                for other in known.iter().map(|known| &ways[*known]) {
                    let meets = |end: &&Endpoint| {
                        to.contains(end) && declaration.provider_of(end) != declaration.provider_of(sender)
                    };
                    let receiver =
                        other.to.iter().find(meets).filter(|_| link.conditions != other.link.conditions);
                    let pair = (link.index.min(other.link.index), link.index.max(other.link.index));
                    if let Some(receiver) = receiver.filter(|_| told.insert(pair)) {
                        let at = |index: usize| At::of(&["links"]).child(index).child("conditions");
                        let kind = ProblemKind::WaysDiffer {
                            from: sender.name().to_string(),
                            to: receiver.name().to_string(),
                            other: pair.0,
                        };
                        self.problems.push(Problem::new(at(pair.1), kind).with(at(pair.0)));
                    }
                }
                known.push(number);
            }
        }
    }
}

/// A sort key that orders links by content, and equal ones by index.
fn order(link: &Link) -> impl Ord + '_ {
    let conditions =
        link.conditions.map(|c| (c.latency, c.jitter_ms, c.loss.map(f64::to_bits), c.bandwidth_kbit));
    let service = (link.protocol, &link.ports);
    ((&link.from, &link.to), service, link.bidirectional, link.masquerade, conditions, link.index)
}
