//! The loaded rules: the anchor below the main ruleset, with the place of each rule.
//!
//! Never: a packet.

use std::collections::HashMap;

use super::topology::Topology;
use super::trace::Over;
use crate::loading::{self, Interfaces};
use crate::pf::eval::{Machine, TranslationKind, Verdict};
use crate::pf::syntax::Ruleset;
use crate::pf::{self, Environment, InterfaceInfo, print_rule};

/// What the anchor is, and where its text comes from.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The main ruleset, which calls it.
    pub main: &'a str,
    /// The path of the anchor.
    pub path: &'a str,
    /// Its text.
    pub text: &'a str,
    /// What its file is called.
    pub file: &'a str,
    /// The names that are put in for its macros.
    pub interfaces: &'a Interfaces,
}

/// A rule and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleAt {
    /// The file.
    pub file: String,
    /// The line there.
    pub line: u32,
    /// The rule as pfctl prints it.
    pub text: String,
}

/// Loaded rules, and the states that they have made.
#[derive(Debug)]
pub struct Rules {
    machine: Machine,
    /// What the rules may ask the Mac for.
    interfaces: Vec<InterfaceInfo>,
    /// The names that are put in for macros.
    put_in: Interfaces,
    path: String,
    file: String,
    at: HashMap<(Kind, u32), RuleAt>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Filter,
    Nat,
    Rdr,
    Binat,
}

impl Rules {
    /// Loads an anchor under a main ruleset, for the interfaces of a topology.
    ///
    /// # Errors
    /// What pf would not read.
    pub fn load(topology: &Topology, source: &Source) -> Result<Self, Vec<pf::Error>> {
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

    /// Rules that were read elsewhere, by the path of their ruleset; the main one's is empty.
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

    /// Loads another text in place of the anchor's, as one step; states stay. Where it cannot be read, all stays.
    ///
    /// # Errors
    /// What pf would not read.
    pub fn apply(&mut self, text: &str) -> Result<(), Vec<pf::Error>> {
        self.apply_for(text, &self.put_in.clone())
    }

    /// The same for other interfaces than before: what the manager loads when a bridge comes or goes.
    ///
    /// # Errors
    /// What pf would not read.
    pub fn apply_for(&mut self, text: &str, put_in: &Interfaces) -> Result<(), Vec<pf::Error>> {
        let loaded = loading::load(text, put_in);
        let at_origin = |error: pf::Error| pf::Error { line: loaded.origin(error.line), ..error };
        let ruleset = pf::parse(&loaded.text, &environment(&self.interfaces))
            .map_err(|errors| errors.into_iter().map(at_origin).collect::<Vec<_>>())?;
        self.machine.load(&self.path, &ruleset);
        self.machine.index();
        self.at = places(&ruleset, &self.file, |line| loaded.origin(line));
        self.put_in = put_in.clone();
        Ok(())
    }

    /// The names that are put in for macros.
    pub fn put_in(&self) -> &Interfaces {
        &self.put_in
    }

    /// The machine that decides.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The same, to let it decide.
    pub fn machine_mut(&mut self) -> &mut Machine {
        &mut self.machine
    }

    /// The filter rule of a verdict, if it is in the anchor. A state's is the one that made it, whose place may
    /// have been taken since.
    pub fn deciding(&self, verdict: &Verdict) -> Option<&RuleAt> {
        let rule = verdict.rule.as_ref().filter(|rule| *rule.anchor == *self.path)?;
        self.at.get(&(Kind::Filter, rule.number))
    }

    /// The rule that changed an address.
    pub fn translating(&self, verdict: &Verdict) -> Option<&RuleAt> {
        let rule = verdict.translation.as_ref().filter(|rule| *rule.anchor == *self.path)?;
        let kind = match rule.kind {
            TranslationKind::Nat => Kind::Nat,
            TranslationKind::Rdr => Kind::Rdr,
            TranslationKind::Binat => Kind::Binat,
        };
        self.at.get(&(kind, rule.number))
    }
}

/// The interfaces, each with its addresses.
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

fn places(ruleset: &Ruleset, file: &str, origin: impl Fn(u32) -> u32) -> HashMap<(Kind, u32), RuleAt> {
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
            let place = RuleAt { file: file.to_owned(), line, text: print_rule(rule) };
            ((kind, rule.number), place)
        };
        rules.iter().map(at).collect::<Vec<_>>()
    };
    lists.into_iter().flat_map(of_list).collect()
}
