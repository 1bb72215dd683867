//! The rules that pf holds against those that are rendered now, both as the reader of pf prints them.

use std::collections::{BTreeMap, BTreeSet};

use super::Capture;
use crate::darwin;
use crate::pf::syntax::{Ruleset, SettingValue};
use crate::pf::{self, Environment, print_rule};
use crate::plan::Plan;

/// How they differ, in words.
pub fn differences(plan: &Plan, anchor: &str, ways_out: &[String], capture: &Capture) -> Vec<String> {
    let place = plan.anchor.as_str();
    let (translation, filter) = (capture["pfctl-anchor-sn"].as_str(), capture["pfctl-anchor-sr"].as_str());
    let dummynet = capture.get("pfctl-anchor-dummynet").map(String::as_str);
    if [translation, filter, dummynet.unwrap_or_default()].iter().all(|text| text.trim().is_empty()) {
        return vec![format!("{place} is empty")];
    }
    let environment = Environment::default();
    let held = pf::parse(&format!("{translation}{}{filter}", dummynet.unwrap_or_default()), &environment);
    let wanted = pf::parse(&for_each_way(anchor, ways_out), &environment);
    let (Ok(held), Ok(mut wanted)) = (held, wanted) else {
        return vec![format!("what {place} holds cannot be read")];
    };
    if dummynet.is_none() {
        wanted.rules.dummynet.clear();
    }
    let (held_rules, wanted_rules) = (rules(&held), rules(&wanted));
    let mut found = Vec::new();
    if held_rules != wanted_rules {
        let only =
            |these: &[String], those: &[String]| these.iter().find(|rule| !those.contains(rule)).cloned();
        let what = match (only(&held_rules, &wanted_rules), only(&wanted_rules, &held_rules)) {
            (Some(rule), _) => format!("{place} holds a rule that is not declared: {rule}"),
            (None, Some(rule)) => format!("{place} lacks a rule: {rule}"),
            (None, None) => format!("{place} holds its rules in another order"),
        };
        found.push(what);
    }
    if let Some(text) =
        capture.get("pfctl-anchor-tables").filter(|text| text.lines().last() != Some("failed"))
    {
        let held = darwin::tables(text);
        for (name, entries) in tables(&wanted) {
            if held.get(&name) != Some(&entries) {
                found.push(format!("the table <{name}> of {place} is not as declared"));
            }
        }
    }
    found
}

/// The anchor with each line that names the way out once for every one in use; without one, not at all.
fn for_each_way(anchor: &str, ways_out: &[String]) -> String {
    let mut text = String::new();
    for line in anchor.lines() {
        if line.starts_with('#') || !line.contains("$egress") {
            text += line;
            text.push('\n');
            continue;
        }
        for way in ways_out {
            text += &line.replace("$egress", way);
            text.push('\n');
        }
    }
    text
}

fn rules(ruleset: &Ruleset) -> Vec<String> {
    ruleset.rules.lists().into_iter().flatten().map(print_rule).collect()
}

fn tables(ruleset: &Ruleset) -> BTreeMap<String, BTreeSet<String>> {
    let mut tables = BTreeMap::new();
    for setting in &ruleset.settings {
        if let SettingValue::Table(table) = &setting.value {
            let entry = |entry: &crate::pf::syntax::TableEntry| match entry.prefix {
                32 => entry.address.to_string(),
                prefix => format!("{}/{prefix}", entry.address),
            };
            tables.insert(table.name.clone(), table.entries().map(entry).collect());
        }
    }
    tables
}
