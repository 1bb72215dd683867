//! Classes by name: providers as wholes where all of them is meant, volumes, and the world around them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;

use super::Side;
use super::space::{Class, Owner, Space};
use crate::model::{Declaration, Name};

/// How many providers may be named as exceptions, at most, and one in how many of all.
const EXCEPTIONS: usize = 3;

/// What the two sides call things.
pub struct Names<'a> {
    space: &'a Space,
    declarations: [&'a Declaration; 2],
    /// The classes of each provider, in order.
    classes: [HashMap<&'a Name, Vec<Class>>; 2],
    volumes: [HashMap<Ipv4Addr, &'a Name>; 2],
    aliases: HashMap<Ipv4Addr, &'a Name>,
    loopbacks: usize,
}

/// The words for one end of a statement.
struct Words {
    /// Providers and volumes, each with its name to sort by.
    ours: Vec<(String, String)>,
    /// localhost and what is outside.
    others: Vec<String>,
}

impl<'a> Names<'a> {
    /// The names of both sides.
    pub fn of(old: Side<'a>, new: Side<'a>, space: &'a Space) -> Self {
        let declarations = [old.declaration, new.declaration];
        let classes = [0, 1].map(|side: usize| {
            let mut classes: HashMap<&Name, Vec<Class>> = HashMap::new();
            for class in space.all() {
                let name = space.facts(class).owner[side].provider();
                let name = name.and_then(|name| declarations[side].providers.get_key_value(name));
                if let Some((name, _)) = name {
                    classes.entry(name).or_default().push(class);
                }
            }
            classes
        });
        let volumes =
            declarations.map(|it| it.volumes.iter().map(|(name, volume)| (volume.address, name)).collect());
        let aliases = declarations.iter().flat_map(|it| &it.volumes);
        let aliases = aliases.filter_map(|(name, volume)| Some((volume.localhost?, name))).collect();
        let loopback = |facts: &&super::space::Facts| matches!(facts.owner[0], Owner::Loopback(_));
        let loopbacks = space.classes.iter().filter(loopback).count();
        Self { space, declarations, classes, volumes, aliases, loopbacks }
    }

    /// A set of classes in the words of one side; `outside` is what nobody's addresses are called here, `peers` the
    /// other end: a network that only talks to itself besides is whole.
    pub fn set(&self, classes: &[Class], peers: &[Class], side: usize, outside: &str) -> Vec<String> {
        if classes.len() == self.space.classes.len() {
            return vec!["anyone".to_owned()];
        }
        if let Some(every) = self.every(classes, peers, side) {
            return vec![every];
        }
        let mut words = self.words(classes, side, outside);
        words.ours.sort();
        words.ours.into_iter().map(|(_, word)| word).chain(words.others).collect()
    }

    /// `every provider`, or all but a few of many.
    fn every(&self, classes: &[Class], peers: &[Class], side: usize) -> Option<String> {
        let providers = &self.classes[side];
        let mut missing: BTreeMap<&Name, usize> =
            providers.iter().map(|(name, all)| (*name, all.len())).collect();
        let home = self.space.home(peers[0]);
        let home = home.filter(|home| peers.iter().all(|peer| self.space.home(*peer) == Some(*home)));
        let own = self.space.all().filter(|class| home.is_some() && self.space.home(*class) == home);
        let all: BTreeSet<Class> = classes.iter().copied().chain(own).collect();
        for class in all {
            let facts = self.space.facts(class);
            let name = facts.owner[side].provider()?;
            *missing.get_mut(name)? -= 1;
        }
        missing.retain(|_, count| *count > 0);
        let whole = missing.iter().all(|(name, count)| providers[*name].len() == *count);
        let few = missing.len() <= EXCEPTIONS.min(providers.len() / 4);
        let names: Vec<&str> = missing.keys().map(|name| name.as_str()).collect();
        match names.as_slice() {
            [] if providers.len() > 1 => Some("every provider".to_owned()),
            names if whole && few && providers.len() > 2 => {
                Some(format!("every provider but {}", names.join(" and ")))
            }
            _ => None,
        }
    }

    fn words(&self, classes: &[Class], side: usize, outside: &str) -> Words {
        let mut words = Words { ours: Vec::new(), others: Vec::new() };
        let mut by_provider: BTreeMap<(&Name, usize), Vec<Class>> = BTreeMap::new();
        let mut loopback = Vec::new();
        let mut nobody = false;
        for class in classes {
            let owner = &self.space.facts(*class).owner;
            match (owner[side].provider(), owner[1 - side].provider()) {
                (Some(provider), _) => by_provider.entry((provider, side)).or_default().push(*class),
                (None, Some(provider)) => by_provider.entry((provider, 1 - side)).or_default().push(*class),
                _ if self.space.is_outside(*class) => nobody = true,
                _ => loopback.push(*class),
            }
        }
        for ((provider, named), classes) in by_provider {
            words.ours.extend(self.provider(provider, &classes, named, named == side));
        }
        words.others.extend(self.localhost(&loopback));
        if nobody {
            words.others.push(outside.to_owned());
        }
        words
    }

    /// Classes of one provider, as `named` calls them.
    fn provider(&self, provider: &Name, classes: &[Class], named: usize, own: bool) -> Vec<(String, String)> {
        let note = |notes: Vec<String>| match notes.as_slice() {
            [] => String::new(),
            _ => format!(" ({})", notes.join(", ")),
        };
        let mut notes = self.provider_notes(provider, classes, named);
        if !own {
            notes.push(format!("outside {}", other(1 - named)));
        }
        let whole = &self.classes[named][provider];
        if classes.len() == whole.len() {
            return vec![(provider.to_string(), format!("{provider}{}", note(notes)))];
        }
        let (volumes, rest): (Vec<Class>, Vec<Class>) =
            classes.iter().partition(|class| self.volume(**class, named).is_some());
        if rest.is_empty() {
            let volume = |class: Class| {
                let name = self.volume(class, named).expect("only volumes are left");
                let mut notes = self.volume_notes(name, class, named);
                if !own {
                    notes.push(format!("outside {}", other(1 - named)));
                }
                (name.to_string(), format!("{name}{}", note(notes)))
            };
            return volumes.into_iter().map(volume).collect();
        }
        let missing = whole.iter().filter(|class| classes.binary_search(class).is_err());
        let exceptions: Vec<String> = missing.map(|class| self.part(*class, named)).collect();
        let word = format!("{provider} but {}{}", exceptions.join(" and "), note(notes));
        vec![(provider.to_string(), word)]
    }

    /// The volume that a class is, all of it.
    fn volume(&self, class: Class, side: usize) -> Option<&'a Name> {
        match self.space.facts(class).stretches.as_slice() {
            [(first, last)] if first == last => self.volumes[side].get(&(*first).into()).copied(),
            _ => None,
        }
    }

    /// Part of a network: a volume, or its addresses.
    fn part(&self, class: Class, side: usize) -> String {
        if let Some(name) = self.volume(class, side) {
            return name.to_string();
        }
        let stretches = self.space.facts(class).stretches.iter().map(|(first, last)| {
            let [first, last] = [first, last].map(|it| Ipv4Addr::from(*it));
            if first == last { first.to_string() } else { format!("{first}-{last}") }
        });
        stretches.collect::<Vec<_>>().join(" and ")
    }

    /// What must be said beside a provider's name: its network if it is not the same on both sides, and who else
    /// has its addresses there.
    fn provider_notes(&self, provider: &Name, classes: &[Class], named: usize) -> Vec<String> {
        let mut notes = Vec::new();
        let network = |side: usize| self.declarations[side].providers.get(provider).map(|it| it.network);
        if let (Some(here), Some(there)) = (network(named), network(1 - named))
            && here != there
        {
            notes.push(here.to_string());
        }
        let owners = classes.iter().filter_map(|it| self.space.facts(*it).owner[1 - named].provider());
        let others: BTreeSet<&Name> = owners.filter(|name| *name != provider).collect();
        notes.extend(others.into_iter().map(|name| format!("{name} {}", other(1 - named))));
        notes
    }

    fn volume_notes(&self, volume: &Name, class: Class, named: usize) -> Vec<String> {
        let mut notes = Vec::new();
        let facts = self.space.facts(class);
        let address = Ipv4Addr::from(facts.stretches[0].0);
        if self.declarations[1 - named].volumes.get(volume).is_some_and(|it| it.address != address) {
            notes.push(address.to_string());
        }
        if let Some(name) = self.volumes[1 - named].get(&address).filter(|name| **name != volume) {
            notes.push(format!("{name} {}", other(1 - named)));
        }
        notes
    }

    fn localhost(&self, classes: &[Class]) -> Vec<String> {
        if classes.is_empty() {
            return Vec::new();
        }
        if classes.len() == self.loopbacks {
            return vec!["localhost".to_owned()];
        }
        let alias = |class: &Class| {
            self.space.facts(*class).owner.iter().find_map(|owner| match owner {
                Owner::Loopback(alias) => *alias,
                _ => None,
            })
        };
        let word = |alias: Ipv4Addr| match self.aliases.get(&alias) {
            Some(volume) => format!("{alias} (alias of {volume})"),
            None => alias.to_string(),
        };
        if classes.iter().all(|class| alias(class).is_some()) {
            return classes.iter().filter_map(alias).map(word).collect();
        }
        let missing = self.space.all().filter(|class| !classes.contains(class));
        let missing: Vec<String> = missing.filter_map(|class| alias(&class)).map(word).collect();
        vec![format!("localhost but {}", missing.join(" and "))]
    }
}

/// When a side is, seen from the other.
fn other(side: usize) -> &'static str {
    if side == 0 { "before" } else { "now" }
}
