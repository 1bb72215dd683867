//! What a proof refuses to judge: statements whose effect depends on more than the packet.
//!
//! An anchor of ours has none of them. Whoever puts one in gets no proof, rather than a proof of something else.

use super::Violation;
use crate::pf::Ruleset;
use crate::pf::eval::{CompiledRule, List, Machine, Side};
use crate::pf::syntax::{Action, Address, Dummynet, Family, Rule, SettingValue, StateKind, StatePolicy};

/// Everything in a ruleset that no proof accounts for, in the order of its lists.
pub fn unprovable(ruleset: &Ruleset) -> Vec<Violation> {
    let rules = &ruleset.rules;
    let of_lists = [(&rules.binat, "a binat rule")];
    let mut found: Vec<Violation> = of_lists
        .into_iter()
        .flat_map(|(list, what)| {
            list.iter().map(move |rule| Violation::Unprovable { place: rule.place, what })
        })
        .collect();
    for setting in &ruleset.settings {
        if matches!(setting.value, SettingValue::Option(_)) {
            found.push(Violation::Unprovable {
                place: setting.place,
                what: "an option, which is not the anchor's to set",
            });
        }
    }
    for load in &ruleset.loads {
        found.push(Violation::Unprovable { place: load.place, what: "`load anchor`" });
    }
    for rule in rules.nat.iter().chain(&rules.rdr).chain(&rules.dummynet).chain(&rules.filter) {
        found.extend(of_rule(rule).map(|what| Violation::Unprovable { place: rule.place, what }));
    }
    found
}

/// Why a rule cannot be judged.
fn of_rule(rule: &Rule) -> Option<&'static str> {
    let odd_address = |address: &Address| {
        matches!(
            address,
            Address::Range(..) | Address::NoRoute | Address::UrpfFailed | Address::RouteLabel(_)
        )
    };
    let options = &rule.state_options;
    let limited = options.max != 0
        || options.max_src_states != 0
        || options.max_src_conn != 0
        || options.max_src_nodes != 0;
    let odd_pool = rule.redirect.as_ref().is_some_and(|pool| {
        let single = |address: &Address| match address {
            Address::Prefix { address, prefix } => *prefix == if address.is_ipv4() { 32 } else { 128 },
            Address::Dynamic(_) => true,
            _ => false,
        };
        !matches!(pool.hosts.as_slice(), [host] if single(&host.address))
    });
    // With a port behind `->`, the kernel takes what leaves that port for an answer and rewrites it, state or not.
    let to_port =
        rule.action == Action::Rdr && rule.redirect.as_ref().is_some_and(|pool| pool.ports.is_some());
    let checks = [
        (odd_pool, "a translation to more than one address"),
        (to_port, "a redirection to a port"),
        (matches!(rule.dummynet, Some(Dummynet::Queue(_))), "a dummynet queue"),
        // The anchor is the child of a wildcard, behind which the kernel forgets a match that was not quick.
        (
            matches!(rule.action, Action::Dummynet | Action::NoDummynet) && !rule.quick,
            "a dummynet rule that is not quick, which has no effect below `com.apple/*`",
        ),
        (rule.anchor.is_some(), "a call of another anchor"),
        (rule.os.is_some(), "a condition on the operating system"),
        (rule.user.is_some() || rule.group.is_some(), "a condition on the owner of a socket"),
        (rule.tag.is_some() || rule.tagged.is_some(), "a tag"),
        (rule.tos != 0, "a condition on the type of service"),
        (rule.probability != 0, "a probability"),
        (rule.route.is_some(), "a route of its own"),
        (rule.rtable.is_some(), "a routing table of its own"),
        (rule.fragment, "a condition on fragments"),
        (
            odd_address(&rule.source.address) || odd_address(&rule.destination.address),
            "an address that depends on routes",
        ),
        (limited || options.overload.is_some(), "a limit on states"),
        (options.policy != StatePolicy::Floating, "states that are bound to an interface"),
        (matches!(rule.state, StateKind::Synproxy), "a SYN proxy"),
        (
            matches!(rule.action, Action::Scrub | Action::NoScrub | Action::Binat | Action::NoBinat),
            "a rule of another kind",
        ),
    ];
    checks.into_iter().find(|(is_so, _)| *is_so).map(|(_, what)| what)
}

/// Rules that IPv6 packets can match: the policy is about IPv4, and nothing else is the anchor's business.
pub fn for_ipv6(machine: &Machine) -> Vec<Violation> {
    let loaded = machine.loaded();
    let any = |side: &Side, is_source| {
        side.addresses(loaded, Family::Inet6, is_source).is_none_or(|ranges| ranges.iter().next().is_some())
    };
    let matches = |rule: &&CompiledRule| {
        rule.syntax().family != Some(Family::Inet)
            && any(rule.source(), true)
            && any(rule.destination(), false)
    };
    let lists = [List::Nat, List::Rdr, List::Filter, List::Dummynet];
    let rules =
        lists.into_iter().flat_map(|list| loaded.ruleset(0).map_or(&[][..], |ruleset| ruleset.rules(list)));
    let violation = |rule: &CompiledRule| Violation::Unprovable {
        place: rule.syntax().place,
        what: "a rule that IPv6 packets can match",
    };
    rules.filter(matches).map(violation).collect()
}
