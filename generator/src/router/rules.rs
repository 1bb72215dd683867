//! The loaded rules: the anchor below the main ruleset, with the position of each rule in its file.
//!
//! Never: a packet.

use std::collections::HashMap;

use super::interface::Over;
use super::topology::Topology;
use crate::loading::{self, Interfaces};
use crate::pf::eval::{Machine, TranslationKind, Verdict};
use crate::pf::syntax::Ruleset;
use crate::pf::{self, Environment, InterfaceInfo, print_rule};

/// An anchor, and where its text comes from.
#[derive(Debug, Clone, Copy)]
pub struct AnchorSource<'a> {
    /// The text of the main ruleset, which calls the anchor.
    pub main: &'a str,
    /// The path of the anchor.
    pub path: &'a str,
    /// The text of the anchor, before its interface macros are defined.
    pub text: &'a str,
    /// The file name to report for its rules.
    pub file: &'a str,
    /// The interface names to define as macros.
    pub interfaces: &'a Interfaces,
}

/// A rule and its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedRule {
    /// The file name.
    pub file: String,
    /// The line in that file.
    pub line: u32,
    /// The rule as pfctl prints it.
    pub text: String,
}

/// Loaded rules, and the states that they have created.
#[derive(Debug, Clone)]
pub struct RouterRules {
    machine: Machine,
    /// The interfaces and addresses that rules can refer to.
    interfaces: Vec<InterfaceInfo>,
    /// The interface names defined as macros.
    put_in: Interfaces,
    path: String,
    file: String,
    at: HashMap<(Kind, u32), LoadedRule>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Filter,
    Nat,
    Rdr,
    Binat,
}

impl RouterRules {
    /// Loads an anchor below a main ruleset, for the interfaces of a topology.
    ///
    /// # Errors
    /// What pfctl would reject in either text.
    pub fn load(topology: &Topology, source: &AnchorSource) -> Result<Self, Vec<pf::ParseError>> {
        let interfaces = interfaces(topology);
        let main = pf::parse(source.main, &environment(&interfaces))?;
        let mut machine = Machine::new(interfaces.clone());
        machine.load("", &main);
        machine.take_chances(0);
        let mut rules = Self {
            machine,
            interfaces,
            put_in: source.interfaces.clone(),
            path: source.path.to_owned(),
            file: source.file.to_owned(),
            at: HashMap::new(),
        };
        rules.apply(source.text)?;
        Ok(rules)
    }

    /// Loads parsed rulesets by anchor path; the main ruleset's path is empty.
    pub fn of(topology: &Topology, rulesets: &[(String, Ruleset)]) -> Self {
        let interfaces = interfaces(topology);
        let mut machine = Machine::new(interfaces.clone());
        for (path, ruleset) in rulesets {
            machine.load(path, ruleset);
        }
        machine.take_chances(0);
        machine.index();
        let (put_in, at) = (Interfaces::default(), HashMap::new());
        Self { machine, interfaces, put_in, path: String::new(), file: String::new(), at }
    }

    /// Replaces the anchor's rules atomically; states stay. On an error nothing changes.
    ///
    /// # Errors
    /// What pfctl would reject.
    pub fn apply(&mut self, text: &str) -> Result<(), Vec<pf::ParseError>> {
        self.apply_for(text, &self.put_in.clone())
    }

    /// Like [`Self::apply`], with other interface names: what the manager loads when a bridge comes or goes.
    ///
    /// # Errors
    /// What pfctl would reject.
    pub fn apply_for(&mut self, text: &str, put_in: &Interfaces) -> Result<(), Vec<pf::ParseError>> {
        let loaded = loading::load(text, put_in);
        let at_origin = |error: pf::ParseError| pf::ParseError { line: loaded.origin(error.line), ..error };
        let ruleset = pf::parse(&loaded.text, &environment(&self.interfaces))
            .map_err(|errors| errors.into_iter().map(at_origin).collect::<Vec<_>>())?;
        self.machine.load(&self.path, &ruleset);
        self.machine.index();
        self.at = places(&ruleset, &self.file, |line| loaded.origin(line));
        self.put_in = put_in.clone();
        Ok(())
    }

    /// The interface names defined as macros.
    pub fn put_in(&self) -> &Interfaces {
        &self.put_in
    }

    /// The pf instance that evaluates packets.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The pf instance, to evaluate packets.
    pub fn machine_mut(&mut self) -> &mut Machine {
        &mut self.machine
    }

    /// The filter rule of a verdict, if it is in the anchor. For a state it is the rule with the number of the one
    /// that created it; a reload may have put another rule there.
    pub fn deciding(&self, verdict: &Verdict) -> Option<&LoadedRule> {
        let rule = verdict.rule.as_ref().filter(|rule| *rule.anchor == *self.path)?;
        self.at.get(&(Kind::Filter, rule.number))
    }

    /// The translation rule that changed the packet, if it is in the anchor.
    pub fn translating(&self, verdict: &Verdict) -> Option<&LoadedRule> {
        let rule = verdict.translation.as_ref().filter(|rule| *rule.anchor == *self.path)?;
        let kind = match rule.kind {
            TranslationKind::Nat => Kind::Nat,
            TranslationKind::Rdr => Kind::Rdr,
            TranslationKind::Binat => Kind::Binat,
        };
        self.at.get(&(kind, rule.number))
    }
}

/// All interfaces with their addresses.
fn interfaces(topology: &Topology) -> Vec<InterfaceInfo> {
    let mut environment = Environment::default();
    for link in topology.host().links().iter().filter(|link| link.over != Over::Loopback) {
        for address in &link.addresses {
            environment.add_address(&link.name, address.addr().into(), address.prefix_len());
        }
    }
    environment.interfaces
}

fn environment(interfaces: &[InterfaceInfo]) -> Environment {
    Environment { interfaces: interfaces.to_vec(), ..Environment::default() }
}

fn places(ruleset: &Ruleset, file: &str, origin: impl Fn(u32) -> u32) -> HashMap<(Kind, u32), LoadedRule> {
    let lists = &ruleset.rules;
    let lists = [
        (Kind::Filter, &lists.filter),
        (Kind::Nat, &lists.nat),
        (Kind::Rdr, &lists.rdr),
        (Kind::Binat, &lists.binat),
    ];
    let of_list = |(kind, rules): (Kind, &Vec<pf::syntax::Rule>)| {
        let at = |rule: &pf::syntax::Rule| {
            let line = origin(rule.place.line);
            let place = LoadedRule { file: file.to_owned(), line, text: print_rule(rule) };
            ((kind, rule.number), place)
        };
        rules.iter().map(at).collect::<Vec<_>>()
    };
    lists.into_iter().flat_map(of_list).collect()
}
