//! Which interfaces a captured anchor was loaded for, and whether its rules are those that the declaration renders.
//!
//! A loaded ruleset has no macros: the manager has substituted names, one line for each interface. So the names are
//! inferred from the rules that resulted, and the rendered anchor is loaded with the same names for comparison.
//! Never: what a rule means.

use std::collections::BTreeMap;

use crate::loading::{self, ABSENT, EGRESS, Interfaces, MESH, OUTSIDE, bridge_macro};
use crate::pf::syntax::{Rule, Ruleset};
use crate::pf::{self, Environment, print_rule};
use crate::plan::Plan;

/// A captured anchor of ours, and what it is compared with.
pub(super) struct Held<'a> {
    pub plan: &'a Plan,
    /// The captured rules.
    pub captured: &'a Ruleset,
    /// The text of the rendered anchor.
    pub rendered: &'a str,
    /// The environment in which text is parsed.
    pub environment: &'a Environment,
}

impl Held<'_> {
    /// The interfaces for which its rules were loaded.
    pub fn interfaces(&self) -> Interfaces {
        let held: Vec<&Rule> = self.captured.rules.lists().into_iter().flatten().collect();
        let printed: Vec<String> = held.iter().map(|rule| plain(rule)).collect();
        let mut names: Vec<&str> =
            held.iter().filter_map(|rule| Some(rule.interface.as_ref()?.name.as_str())).collect();
        names.sort_unstable();
        names.dedup();
        let lines: Vec<&str> = self.rendered.lines().filter(|line| is_rule(line)).collect();
        let found = |of: &str| -> Vec<String> {
            let lines: Vec<&&str> =
                lines.iter().filter(|line| loading::macros(line).any(|name| name == of)).collect();
            let place = |name: &&str| lines.iter().find_map(|line| self.place(line, of, name, &printed));
            let mut placed: Vec<(usize, &str)> =
                names.iter().filter_map(|name| Some((place(name)?, *name))).collect();
            placed.sort_unstable();
            placed.into_iter().map(|(_, name)| name.to_owned()).collect()
        };
        let bridge = |bridge: &crate::plan::Bridge| {
            let of = bridge_macro(bridge.provider.as_str());
            Some((of.clone(), found(&of).into_iter().next()?))
        };
        Interfaces {
            egress: found(EGRESS),
            outside: found(OUTSIDE),
            bridges: self.plan.own_bridges().filter_map(bridge).collect(),
            mesh: self.plan.mesh.as_ref().and_then(|_| found(MESH).into_iter().find(|name| name != ABSENT)),
            extfilter: false,
        }
    }

    /// The index of the first captured rule that a line gives with this name for its macro, if all its rules are there.
    fn place(&self, line: &str, of: &str, name: &str, printed: &[String]) -> Option<usize> {
        let mut put_in = Interfaces::default();
        match of {
            EGRESS => put_in.egress.push(name.to_owned()),
            OUTSIDE => put_in.outside.push(name.to_owned()),
            MESH => put_in.mesh = Some(name.to_owned()),
            _ => {
                put_in.bridges.insert(of.to_owned(), name.to_owned());
            }
        }
        let ruleset = pf::parse(&loading::load(line, &put_in).text, self.environment).ok()?;
        let rules: Vec<String> = ruleset.rules.lists().into_iter().flatten().map(plain).collect();
        let first = printed.iter().position(|held| Some(held) == rules.first())?;
        rules.iter().all(|rule| printed.contains(rule)).then_some(first)
    }

    /// Notes on differences from what the declaration renders for these interfaces, and on lists that are missing.
    pub fn differences(&self, interfaces: &Interfaces) -> Vec<String> {
        let ours = self.plan.anchor.as_str();
        let loaded = loading::load(self.rendered, interfaces);
        let Ok(wanted) = pf::parse(&loaded.text, self.environment) else { return Vec::new() };
        let (held, wanted) = (&self.captured.rules, &wanted.rules);
        let mut notes = Vec::new();
        let has_translation = |lists: &pf::syntax::RuleLists| !lists.nat.is_empty() || !lists.rdr.is_empty();
        let translates = has_translation(held);
        if !translates && has_translation(wanted) {
            notes.push(format!("no translation of {ours} is in the capture (`pfctl -s nat`)"));
        }
        let knows_pipes = !held.dummynet.is_empty();
        let rules = |lists: &pf::syntax::RuleLists| -> Vec<String> {
            let translation = lists.nat.iter().chain(&lists.rdr).filter(|_| translates);
            let pipes = lists.dummynet.iter().filter(|_| knows_pipes);
            lists.scrub.iter().chain(translation).chain(&lists.filter).chain(pipes).map(plain).collect()
        };
        let (held, wanted) = (rules(held), rules(wanted));
        if held != wanted {
            let only =
                |these: &[String], those: &[String]| these.iter().find(|rule| !those.contains(rule)).cloned();
            let how = match (only(&held, &wanted), only(&wanted, &held)) {
                (Some(rule), _) => format!("it holds `{rule}`"),
                (None, Some(rule)) => format!("it lacks `{rule}`"),
                (None, None) => "its rules are in another order".to_owned(),
            };
            notes.push(format!(
                "the captured {ours} is not what this declaration renders: the Mac holds an older one, or another's ({how})"
            ));
        }
        notes
    }

    /// Notes on the names: kernel names of bridges, absent bridges, several egress interfaces.
    pub fn notes(&self, interfaces: &Interfaces, egress: &str) -> Vec<String> {
        let mut notes = Vec::new();
        let named: BTreeMap<&str, Option<&String>> = self
            .plan
            .bridges
            .iter()
            .map(|bridge| {
                (bridge.logical.as_str(), interfaces.bridges.get(&bridge_macro(bridge.provider.as_str())))
            })
            .collect();
        let others = named.iter().filter_map(|(logical, kernel)| {
            kernel.filter(|kernel| *kernel != logical).map(|kernel| format!("{logical} is {kernel}"))
        });
        let others: Vec<String> = others.collect();
        if !others.is_empty() {
            notes.push(format!("in the capture {}", others.join(", ")));
        }
        let gone: Vec<&str> =
            named.iter().filter(|(_, kernel)| kernel.is_none()).map(|(logical, _)| *logical).collect();
        let is_asked = |logical: &&&str| self.rendered.contains(&format!("\"{logical}\""));
        let gone: Vec<&str> = gone.iter().filter(is_asked).copied().collect();
        if !gone.is_empty() {
            notes.push(format!(
                "no rule of the capture is for {}: not there when they were loaded",
                gone.join(", ")
            ));
        }
        if interfaces.egress.len() > 1 {
            notes.push(format!(
                "the capture has the ways out {}: {egress} is asked, `--egress` names another",
                interfaces.egress.join(", ")
            ));
        }
        notes
    }
}

/// Whether a line is a rule.
fn is_rule(line: &str) -> bool {
    let first = line.split_whitespace().next().unwrap_or_default();
    ["scrub", "no", "nat", "rdr", "binat", "pass", "block", "dummynet"].contains(&first)
}

/// A rule in canonical form, without `extfilter`, which not every pfctl supports.
fn plain(rule: &Rule) -> String {
    let text = print_rule(rule);
    match text.split_once(" extfilter apd") {
        Some((before, behind)) if text.starts_with("nat ") => format!("{before}{behind}"),
        _ => text,
    }
}
