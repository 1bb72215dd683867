//! Each statement that the proof refuses, with the reason that it gives. One statement is the whole anchor, so that
//! nothing else can be refused.

use nixvol_net::plan::Plan;
use nixvol_net::prove::{Refutation, Violation, prove};
use serde_json::Value;

use crate::support::{declared, default_input};

/// A statement, and the reason for its refusal.
type Refusal = (&'static str, &'static str);

/// The reasons for which a text is refused, in order.
fn reasons(plan: &Plan, text: &str) -> Vec<&'static str> {
    match prove(plan, text) {
        Ok(_) => Vec::new(),
        Err(Refutation::Unreadable(errors)) => panic!("{text}: {errors:?}"),
        Err(Refutation::Violations(violations)) => {
            let what = |violation| match violation {
                Violation::Unprovable { place: _, what } => Some(what),
                Violation::Packet(_) | Violation::Pipe(_) | Violation::Other(_) => None,
            };
            violations.into_iter().filter_map(what).collect()
        }
    }
}

/// What is refused of each statement, loaded alone.
fn check(input: &Value, refusals: &[Refusal]) {
    let plan = Plan::of(&declared(input));
    let mut wrong = Vec::new();
    for (text, reason) in refusals {
        let found = reasons(&plan, &format!("{text}\n"));
        if found.is_empty() != reason.is_empty() || found.iter().any(|it| it != reason) {
            wrong.push(format!("{text}\n    {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn tables_and_names() {
    check(
        &default_input(),
        &[
            ("table <t> const { 10.0.0.1 }", ""),
            ("table <t> { 10.0.0.1 }", "a table that is not const"),
            (
                "table <t> persist const { 10.0.0.1 }",
                "a table that is `persist`, which stays when the anchor is gone",
            ),
            ("table <t> const counters { 10.0.0.1 }", "a table with counters"),
            ("table <t> const { 10.0.0.1 fd00::1 }", "a table with IPv6 addresses"),
            ("table <t> const { 10.0.0.1 }\ntable <t> const { 10.0.0.2 }", "a table that is defined twice"),
            (
                "pass quick inet from <t> to any",
                "a table that the anchor does not define, so that it is another's",
            ),
            (
                "pass quick inet from any to <t>",
                "a table that the anchor does not define, so that it is another's",
            ),
            ("pass quick on ! lo0 inet from any to any", ""),
            (
                "pass quick on ! $egress inet from any to any",
                "a rule for every interface but one, which is loaded for each of several",
            ),
            ("pass quick on en7 inet from any to any", "an interface by its name, which may be any"),
            ("pass quick on ! en7 inet from any to any", "an interface by its name, which may be any"),
            ("load anchor \"x\" from \"/etc/x\"", "`load anchor`"),
            ("set skip on lo0", "an option, which is not the anchor's to set"),
            ("x = \"lo0\"\npass quick on $x inet from any to any", "a macro of its own"),
        ],
    );
}

#[test]
fn conditions_of_filter_rules() {
    check(
        &default_input(),
        &[
            ("pass log quick inet from any to any", "a log"),
            (
                "pass quick inet proto tcp from any os \"OpenBSD\" to any",
                "a condition on the operating system",
            ),
            ("pass quick inet proto tcp from any to any user root", "a condition on the owner of a socket"),
            ("pass quick inet proto tcp from any to any group wheel", "a condition on the owner of a socket"),
            ("pass quick inet from any to any tos 16", "a condition on the type of service"),
            ("pass quick inet from any to any tag x", "a tag"),
            ("pass quick inet from any to any tagged x", "a tag"),
            ("pass quick inet from any to any probability 50%", "a probability"),
            ("pass quick inet from any to any rtable 1", "a routing table of its own"),
            (
                "pass out quick route-to (en0 192.0.2.1) inet from any to any",
                "a `route-to` of its own, which panics the kernel while any dummynet rule is in force",
            ),
            ("block quick inet from any to any fragment", "a condition on fragments"),
            (
                "pass quick inet from any to any allow-opts",
                "`allow-opts`, which lets pass what has IP options",
            ),
            ("pass quick from any to any", "a rule that IPv6 packets can match"),
            ("pass quick inet6 from any to any", "a rule that IPv6 packets can match"),
            ("pass inet from any to any", "a filter rule that is not quick, so that a later anchor decides"),
            ("block return-rst quick inet proto tcp from any to any", "`return-rst`"),
            ("block return-icmp(host-unr) quick inet from any to any", "an answer of its own"),
            ("anchor \"x\"", "a call of another anchor"),
        ],
    );
}

#[test]
fn addresses() {
    const MACHINE: &str = "an address that the machine has";
    const ROUTES: &str = "an address that depends on routes";
    const RANGE: &str = "a range of addresses, which the kernel compares in an order of its own";
    check(
        &default_input(),
        &[
            ("block quick inet from 247.83.151.1 to any", MACHINE),
            ("block quick inet from any to 247.83.151.1", MACHINE),
            ("block quick inet from 192.0.2.10 to any", MACHINE),
            ("block quick inet from any to (lo0)", "an address that an interface has"),
            ("block quick inet from 10.0.0.1 - 10.0.0.9 to any", RANGE),
            ("block quick inet from no-route to any", ROUTES),
            ("block quick inet from urpf-failed to any", ROUTES),
            ("block quick inet from route \"x\" to any", ROUTES),
        ],
    );
}

#[test]
fn states() {
    const LIMIT: &str = "a limit on states";
    const OPTION: &str = "an option of its states";
    const MODIFIED: &str = "a state that changes segments";
    let rule = |state: &str| format!("pass quick inet proto tcp from any to any {state}");
    let plan = Plan::of(&declared(&default_input()));
    for (state, reason) in [
        ("modulate state", MODIFIED),
        ("synproxy state", MODIFIED),
        ("keep state (max 10)", LIMIT),
        ("keep state (source-track)", LIMIT),
        ("keep state (source-track rule, max-src-states 3)", LIMIT),
        ("keep state (source-track rule, max-src-nodes 3)", LIMIT),
        ("keep state (max-src-conn 3)", LIMIT),
        ("keep state (max-src-conn-rate 3/5)", LIMIT),
        ("keep state (if-bound)", "states that are bound to an interface"),
        ("keep state (no-sync)", OPTION),
        ("keep state (tcp.closed 2)", "timeouts of its own"),
    ] {
        assert_eq!(reasons(&plan, &format!("{}\n", rule(state))), [reason], "{state}");
    }
}

#[test]
fn translations() {
    const SEVERAL: &str = "a translation to more than one address";
    const WAY_OUT: &str = "more than the address of the interface";
    const REDIRECTIONS: &str = "a redirection to more than one address";
    check(
        &default_input(),
        &[
            (
                "nat on $egress inet from 10.0.0.0/16 to any port > 80 -> ($egress:0)",
                "a port that is no range",
            ),
            (
                "nat on $egress inet proto udp from any port 5 to any -> ($egress:0)",
                "a translation by source port",
            ),
            (
                "nat pass on $egress inet from any to any -> ($egress:0)",
                "a translation that skips the filter",
            ),
            ("nat on $egress inet from any to any -> { 10.9.0.1, 10.9.0.2 }", SEVERAL),
            ("nat on $egress inet from any to any -> 10.9.0.0/24 bitmask", SEVERAL),
            ("nat on $egress inet from any to any -> 10.9.0.0/24 source-hash sticky-address", SEVERAL),
            (
                "nat on $egress inet from any to any -> ($egress:0) static-port",
                "`static-port`, with which two volumes with the same source port collide",
            ),
            (
                "nat on $egress inet from any to any -> ($egress:0) port 1024:2048",
                "a range of ports of its own",
            ),
            ("nat on lo0 inet from any to any -> ($egress:0)", "an address of another interface"),
            ("nat inet from any to any -> ($egress:0)", "an address of another interface"),
            (
                "nat on lo0 inet from any to any -> (lo0:0)",
                "an address of an interface that is not `$egress`",
            ),
            ("nat on $egress inet from any to any -> ($egress)", SEVERAL),
            ("nat on $egress inet from any to any -> ($egress:network:0)", WAY_OUT),
            ("nat on $egress inet from any to any -> ($egress:broadcast:0)", WAY_OUT),
            ("nat on $egress inet from any to any -> ($egress:peer:0)", WAY_OUT),
            ("nat on lo0 inet from any to any -> 247.83.151.1", "an address that the machine has at load"),
            (
                "rdr on lo0 inet proto tcp from any to 127.0.1.11 port 80 -> 10.0.1.2",
                "a redirection that does not pass by itself",
            ),
            (
                "rdr pass on lo0 inet proto tcp from any to 127.0.1.11 port 80 -> 10.0.1.2 port 8080",
                "a redirection to a port",
            ),
            (
                "rdr pass on lo0 inet proto tcp from any to 127.0.1.11 port 80 -> { 10.0.1.2, 10.0.1.3 }",
                REDIRECTIONS,
            ),
            (
                "rdr pass on lo0 inet proto tcp from any to 127.0.1.11 port 80 -> 10.0.1.2 bitmask",
                REDIRECTIONS,
            ),
            (
                "rdr pass on lo0 inet proto tcp from any to 127.0.1.11 port 80 -> 10.0.1.2 sticky-address",
                REDIRECTIONS,
            ),
            (
                "rdr pass on lo0 inet proto tcp from any to 127.0.1.11 port 80 -> 10.0.1.0/24 bitmask",
                REDIRECTIONS,
            ),
            (
                "rdr pass on lo0 inet proto tcp from any to 127.0.1.11 port 80 -> 247.83.151.1",
                "an address that the machine has at load",
            ),
            ("binat on $egress inet from 10.0.0.1 to any -> 10.9.0.1", "a pool of addresses"),
            ("no binat on $egress inet from 10.0.0.1 to any", "a binat rule"),
        ],
    );
}

#[test]
fn normalization_and_pipes() {
    const CHANGED: &str = "normalization that changes packets";
    const FRAGMENTS: &str = "fragments that are not reassembled";
    const SERVICE: &str = "a dummynet rule by service";
    check(
        &default_input(),
        &[
            ("scrub in inet all random-id fragment reassemble", CHANGED),
            ("scrub in inet all min-ttl 3 fragment reassemble", CHANGED),
            ("scrub in inet all max-mss 1400 fragment reassemble", CHANGED),
            ("scrub inet all reassemble tcp", "normalization of TCP"),
            ("scrub in inet all fragment crop", FRAGMENTS),
            ("scrub in inet all fragment drop-ovl", FRAGMENTS),
            ("scrub in inet proto tcp from any port 5 to any", "normalization by ports"),
            ("scrub in inet proto tcp from any to any port 5", "normalization by ports"),
            ("scrub in on lo0 inet from any to ($egress:0)", "an address of another interface"),
            ("scrub in inet from any to ($egress:0)", "an address of another interface"),
            ("scrub in on $egress inet from any to ! ($egress:0)", "what is not for the interface itself"),
            (
                "scrub in on $egress inet from any to ($egress)",
                "an address of the interface that may be an alias",
            ),
            ("no scrub in inet all", "an exception from normalization"),
            (
                "dummynet out inet from 10.0.0.0/16 to 10.1.0.0/16 pipe 20000",
                "a dummynet rule that is not quick, which has no effect below `com.apple/*`",
            ),
            ("dummynet out quick inet from 10.0.0.0/16 to 10.1.0.0/16 queue 20000", "a dummynet queue"),
            ("dummynet out quick inet proto tcp from any to any pipe 20000", SERVICE),
            ("dummynet out quick inet proto udp from any port 5 to any pipe 20000", SERVICE),
            ("dummynet out quick inet proto udp from any to any port 5 pipe 20000", SERVICE),
            ("dummynet out quick inet proto icmp from any to any icmp-type echoreq pipe 20000", SERVICE),
        ],
    );
}
