//! Compares the rules in pf with those that are rendered now, both as the pf reader prints them.

use std::collections::{BTreeMap, BTreeSet};

use super::seen::Seen;
use crate::darwin;
use crate::loading::{Interfaces, bridge_macro, load};
use crate::pf::syntax::{Ruleset, SettingValue};
use crate::pf::{self, Environment, print_rule};
use crate::plan::{Bridge, Plan};

/// The differences, in words.
pub(super) fn differences(plan: &Plan, anchor: &str, seen: &Seen<'_>) -> Vec<String> {
    let (place, capture) = (plan.anchor.as_str(), seen.capture);
    let (translation, filter) = (capture["pfctl-anchor-sn"].as_str(), capture["pfctl-anchor-sr"].as_str());
    let dummynet = capture.get("pfctl-anchor-dummynet").map(String::as_str);
    if [translation, filter, dummynet.unwrap_or_default()].iter().all(|text| text.trim().is_empty()) {
        return vec![format!("{place} is empty")];
    }
    let environment = Environment::default();
    // Whether this Mac's pfctl accepts `extfilter` is unknown, so both forms are right.
    let held = format!("{}{}{filter}", without_extfilter(translation), dummynet.unwrap_or_default());
    let held = pf::parse(&darwin::in_order(&held), &environment);
    let wanted = pf::parse(&without_extfilter(&load(anchor, &interfaces(plan, seen)).text), &environment);
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

/// The interfaces of this Mac that the anchor uses.
fn interfaces(plan: &Plan, seen: &Seen<'_>) -> Interfaces {
    let bridge = |bridge: &Bridge| {
        let kernel = seen.bridge(bridge)?.to_owned();
        Some((bridge_macro(bridge.provider.as_str()), kernel))
    };
    Interfaces {
        egress: seen.ways_out(plan),
        outside: seen.outside(plan),
        bridges: plan.own_bridges().filter_map(bridge).collect(),
        mesh: seen.tunnel(plan).map(str::to_owned),
        extfilter: false,
    }
}

fn without_extfilter(text: &str) -> String {
    let plain = |line: &str| match line.split_once(" extfilter ") {
        Some((before, after)) if line.starts_with("nat ") => {
            let rest = after.split_once(' ').map_or(String::new(), |(_, rest)| format!(" {rest}"));
            format!("{before}{rest}\n")
        }
        _ => format!("{line}\n"),
    };
    text.lines().map(plain).collect()
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
