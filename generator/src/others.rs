//! Other rules that decide on a Mac: those of the main ruleset and of anchors evaluated before ours, calls of our
//! anchor that are limited to some traffic, and rules that conflict with dummynet.
//!
//! A proof of our own rules says nothing about packets that never reach them. Sees: plan, pf. Never: accesses a Mac, or
//! judges our own rules.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;

use crate::pf::print_rule;
use crate::pf::syntax::{Action, Address, Family, HostMatch, Interface, Rule, RuleLists};
use crate::plan::{Plan, faults};

/// The maximum length of a rule when shown, in characters.
const LONGEST: usize = 120;

/// A finding about rules that are not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// Whether it decides on packets of this network; otherwise it is for information only.
    pub decides: bool,
    /// The finding in words.
    pub what: String,
}

/// The rules of every loaded ruleset by anchor path; the path of the main ruleset is empty.
pub type LoadedRulesets<'a> = BTreeMap<&'a str, &'a RuleLists>;

/// What decides before our rules, or prevents them from being evaluated. `bridges` are the kernel names of our bridges,
/// if known. Empty if the main ruleset is not loaded.
pub fn others(plan: &Plan, loaded: &LoadedRulesets<'_>, bridges: &[&str]) -> Vec<Other> {
    let Some(main) = loaded.get("") else { return Vec::new() };
    let mut judge = Judge { plan, bridges, found: Vec::new() };
    let filter = judge.list(loaded, "filter", &main.filter);
    let rdr = judge.list(loaded, "rdr", &main.rdr);
    let mut earlier = filter;
    earlier.extend(rdr.into_iter().map(|name| format!("{name} for rdr")));
    if !earlier.is_empty() {
        judge.say(false, format!("the main ruleset calls other anchors before ours: {}", earlier.join(", ")));
    }
    if let Some(rules) = loaded.get(faults::ANCHOR) {
        for rule in &rules.dummynet {
            judge.fault(rule);
        }
    }
    if !plan.pipes.is_empty() {
        for (path, rules) in loaded {
            rules.lists().into_iter().flatten().for_each(|rule| judge.route(rule, path));
        }
    }
    judge.found
}

/// Anchors that have rules but are not called.
pub fn uncalled(plan: &Plan, loaded: &LoadedRulesets<'_>) -> Vec<Other> {
    let calls = |(path, rules): (&&str, &&RuleLists)| -> Vec<String> {
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
        let calls = rules.lists().into_iter().flatten().filter_map(|rule| rule.anchor.as_ref());
        calls.map(|call| below(call.path.trim_matches('/'))).collect()
    };
    let called: Vec<String> = loaded.iter().flat_map(calls).collect();
    let is_called = |path: &str| called.iter().any(|top| is_below(path, top));
    let alone =
        loaded.iter().filter(|(path, rules)| !path.is_empty() && !rules.is_empty() && !is_called(path));
    let told = |(path, _): (&&str, &&RuleLists)| Other {
        decides: **path == *plan.anchor.as_str(),
        what: format!("nothing calls the anchor {path}: its rules are not evaluated"),
    };
    if loaded.contains_key("") { alone.map(told).collect() } else { Vec::new() }
}

struct Judge<'a> {
    plan: &'a Plan,
    bridges: &'a [&'a str],
    found: Vec<Other>,
}

impl Judge<'_> {
    fn say(&mut self, decides: bool, what: String) {
        let other = Other { decides, what };
        if !self.found.contains(&other) {
            self.found.push(other);
        }
    }

    /// Examines one list of the main ruleset, and the rules evaluated before the call of our anchor. Returns the
    /// anchors that are called before it.
    fn list(&mut self, loaded: &LoadedRulesets<'_>, kind: &str, rules: &[Rule]) -> Vec<String> {
        let ours = self.plan.anchor.as_str();
        let (parent, own) = ours.rsplit_once('/').unwrap_or(("", ours));
        let calls = |rule: &&Rule| {
            rule.anchor.as_ref().is_some_and(|call| {
                let path = call.path.trim_matches('/');
                path == ours || (call.wildcard && path == parent)
            })
        };
        let called = rules.iter().filter(calls).find(|rule| is_whole(rule));
        if let Some(limited) = rules.iter().find(calls).filter(|_| called.is_none()) {
            let what = format!(
                "the main ruleset calls {parent}/* for {kind} only for a part of all traffic, {}: for the rest, no rule of ours is in force",
                shown(limited)
            );
            self.say(true, what);
        }
        let before =
            called.map_or(rules.len(), |rule| rules.iter().take_while(|it| it.number < rule.number).count());
        let mut earlier = Vec::new();
        for rule in rules[..before].iter().filter(|rule| !calls(rule)) {
            match &rule.anchor {
                None => self.rule(rule, ""),
                Some(call) => {
                    earlier.push(call.name.clone());
                    for (path, rules) in
                        loaded.iter().filter(|(path, _)| is_below(path, call.path.trim_matches('/')))
                    {
                        self.of_kind(kind, rules, path);
                    }
                }
            }
        }
        let sibling =
            |path: &str| path.rsplit_once('/').is_some_and(|(above, name)| above == parent && name < own);
        for (path, rules) in loaded.iter().filter(|(path, _)| sibling(path)) {
            self.of_kind(kind, rules, path);
        }
        earlier
    }

    fn of_kind(&mut self, kind: &str, rules: &RuleLists, path: &str) {
        let list = if kind == "rdr" { &rules.rdr } else { &rules.filter };
        list.iter().filter(|rule| rule.anchor.is_none()).for_each(|rule| self.rule(rule, path));
    }

    /// Reports a rule that is evaluated before ours, if it can match packets of this network.
    fn rule(&mut self, rule: &Rule, path: &str) {
        if path == faults::ANCHOR && self.fault(rule) {
            return;
        }
        let on = rule.interface.as_ref();
        if rule.family == Some(Family::Inet6) || !(self.meets(&rule.source) || self.meets(&rule.destination))
        {
            return;
        }
        let on_loopback = on.is_none_or(|on| on.not != (on.name == "lo0"));
        if rule.action == Action::Rdr && on_loopback && self.meets(&rule.destination) {
            let what = format!(
                "{} of {} comes before our rules: what it matches never reaches a volume",
                shown(rule),
                whose(path)
            );
            self.say(true, what);
        }
        if !matches!(rule.action, Action::Pass | Action::Block(_)) || !rule.quick {
            return;
        }
        let on_bridge = on.is_some_and(|on| self.bridges.contains(&on.name.as_str()));
        let place = on.map_or(String::new(), |Interface { not, name }| {
            format!(" on {}{name}", if *not { "! " } else { "" })
        });
        let what = if on_loopback || on_bridge {
            format!(
                "{} of {} decides before our rules, and with `quick`, so what matches it never reaches them",
                shown(rule),
                whose(path)
            )
        } else {
            format!("{} of {} decides{place} before our rules", shown(rule), whose(path))
        };
        self.say(on_loopback || on_bridge, what);
    }

    /// Reports the partition or slow path that a rule belongs to, if it is one of the manager's.
    fn fault(&mut self, rule: &Rule) -> bool {
        let (Address::Table(from), Address::Table(to)) = (&rule.source.address, &rule.destination.address)
        else {
            return false;
        };
        let Some((one, other)) = faults::ends(from, to) else { return false };
        let ends = format!("{one} and {}", other.unwrap_or("all others"));
        let what = match rule.action {
            Action::Dummynet | Action::NoDummynet => format!(
                "the path between {ends} is slowed on demand (`slow`), in place of the conditions of links"
            ),
            _ => format!("a partition of {ends} is in force, which decides before our rules"),
        };
        self.say(false, what);
        true
    }

    /// Whether an endpoint of a rule can be an address in a provider's network. Conservative: unknown addresses can.
    fn meets(&self, end: &HostMatch) -> bool {
        let meets = |net: Ipv4Net| {
            self.plan
                .bridges
                .iter()
                .any(|bridge| bridge.network.contains(&net) || net.contains(&bridge.network))
        };
        match &end.address {
            Address::Prefix { address: std::net::IpAddr::V4(address), prefix } if !end.not => {
                Ipv4Net::new(*address, *prefix).is_ok_and(meets)
            }
            Address::Prefix { address: std::net::IpAddr::V6(_), .. } | Address::Dynamic(_) if !end.not => {
                false
            }
            Address::Any
            | Address::Prefix { .. }
            | Address::Range(..)
            | Address::Dynamic(_)
            | Address::Table(_)
            | Address::NoRoute
            | Address::UrpfFailed
            | Address::RouteLabel(_) => true,
        }
    }

    /// With dummynet rules in force, XNU passes packets of `route-to` rules on without a required argument, and
    /// dereferences a null pointer.
    fn route(&mut self, rule: &Rule, path: &str) {
        if rule.route.is_some() {
            let what = format!(
                "{} of {} and the conditions of our links cannot be in force together: the kernel can panic (route-to with dummynet)",
                shown(rule),
                whose(path)
            );
            self.say(true, what);
        }
    }
}

fn is_below(path: &str, top: &str) -> bool {
    path == top || path.strip_prefix(top).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether a call applies to all traffic, with no restriction that could exclude ours.
fn is_whole(rule: &Rule) -> bool {
    let any = HostMatch::default();
    rule.direction.is_none()
        && rule.interface.is_none()
        && rule.family != Some(Family::Inet6)
        && rule.protocol.is_none()
        && (&rule.source, &rule.destination) == (&any, &any)
}

fn whose(path: &str) -> &str {
    if path.is_empty() { "the main ruleset" } else { path }
}

fn shown(rule: &Rule) -> String {
    let text = print_rule(rule);
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("`{}...`", &text[..end]),
        None => format!("`{text}`"),
    }
}
