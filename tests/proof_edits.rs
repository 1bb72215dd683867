//! Wrong edits of rendered anchors are refused with a packet or a reason.

use nixvol_net::plan::Plan;
use nixvol_net::prove::{Refutation, prove};
use serde_json::{Value, json};

use crate::support::{declared, default_input, fixture, rendered};

/// Every kind of rule, and few of each.
pub fn every_kind() -> Value {
    let mut input = fixture("rich.json");
    input["links"].as_array_mut().expect("links").truncate(4);
    input
}

pub fn plan_and_anchor(input: &Value) -> (Plan, String) {
    (Plan::of(&declared(input)), rendered(input).files["pf/anchor.conf"].text.clone())
}

/// All violations of a refused anchor in one text; none if it is proven.
pub fn refusal(plan: &Plan, anchor: &str) -> Option<String> {
    match prove(plan, anchor) {
        Ok(_) => None,
        Err(Refutation::Unreadable(errors)) => Some(format!("{errors:?}")),
        Err(Refutation::Violations(violations)) => {
            Some(violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        }
    }
}

/// The first line with this beginning that contains `holds`.
pub fn line<'a>(anchor: &'a str, begins: &str, holds: &str) -> &'a str {
    let is_it = |line: &&str| line.starts_with(begins) && line.contains(holds);
    anchor.lines().find(is_it).unwrap_or_else(|| panic!("no line `{begins} … {holds}`"))
}

/// The anchor with that line changed.
pub fn with(anchor: &str, begins: &str, holds: &str, change: impl Fn(&str) -> String) -> String {
    let old = line(anchor, begins, holds);
    anchor.replacen(old, &change(old), 1)
}

/// The anchor with a new line before the first line with this beginning.
pub fn before(anchor: &str, begins: &str, new: &str) -> String {
    with(anchor, begins, "", |line| format!("{new}\n{line}"))
}

fn filter(anchor: &str, new: &str) -> String {
    before(anchor, "block drop in quick on $outside", new)
}

#[test]
fn wrong_edits_are_refused_with_the_packet_or_the_reason() {
    let (plan, anchor) = plan_and_anchor(&fixture("rich.json"));
    assert_eq!(refusal(&plan, &anchor), None);
    let a = anchor.as_str();
    let nat = |change: &dyn Fn(&str) -> String| with(a, "nat on $egress", "", |line| change(line));
    let without_quick = |label: &str| with(a, "pass", label, |line| line.replacen(" quick", "", 1));
    let drop_without_quick = with(a, "block drop", "\"outside\"", |line| line.replacen(" quick", "", 1));
    let table = |change: &dyn Fn(&str) -> String| with(a, "table <internet>", "", |line| change(line));
    let evil = |count: u32| {
        let nothing = |n: u32| {
            format!("block return quick inet from 10.21.{}.{} to 172.20.4.9\n", 100 + n / 100, n % 100)
        };
        let many: String = (0..count).map(nothing).collect();
        with(a, "block return quick", "\"between\"", |line| {
            format!("{many}pass quick inet from 10.21.200.7 to 172.20.4.9 keep state\n{line}")
        })
    };
    let edits: Vec<(&str, String, &str)> = vec![
        // The kernel's choice of address and port.
        (
            "other hosts by the mapped port",
            nat(&|line| format!("{line} extfilter ei")),
            "lets other hosts in",
        ),
        ("other ports of the server", nat(&|line| format!("{line} extfilter ad")), "lets other hosts in"),
        ("one mapping for all", nat(&|line| format!("{line} extmap ei")), "extmap"),
        ("the volume's own port", nat(&|line| format!("{line} static-port")), "static-port"),
        ("one port for all", nat(&|line| format!("{line} port 2000:2000")), "range of ports"),
        (
            "the address at load",
            nat(&|line| line.replace("($egress:0)", "$egress:0")),
            "address that the machine has",
        ),
        (
            "every address at load",
            nat(&|line| line.replace("($egress:0)", "$egress")),
            "address that the machine has",
        ),
        ("aliases too", nat(&|line| line.replace(":0", "")), "more than one address"),
        ("one interface by name", nat(&|line| line.replace("$egress", "en0")), "not `$egress`"),
        (
            "its address by name",
            nat(&|line| line.replace("($egress", "(en0")),
            "address of another interface",
        ),
        ("a fixed address", nat(&|line| line.replace("($egress:0)", "10.21.0.1")), "from 10.21.0.1"),
        ("past the filter", nat(&|line| line.replacen("nat on", "nat pass on", 1)), "skips the filter"),
        (
            "many addresses",
            nat(&|line| line.replace("($egress:0)", "{ 192.0.2.1 192.0.2.2 }")),
            "more than one address",
        ),
        (
            "hidden by the source port",
            nat(&|line| line.replace("from <internet>", "proto tcp from <internet> port 1024:65535")),
            "source port",
        ),
        // Tables.
        ("a table that pfctl changes", table(&|line| line.replace(" const", "")), "not const"),
        ("a table that stays", table(&|line| line.replace(" const", " persist const")), "persist"),
        ("a table from a file", before(a, "scrub", "table <x> const file \"/etc/x\""), "/etc/x"),
        (
            "another's table",
            a.replace("<internet>", "<others>").replace("table <others>", "table <internet>"),
            "does not define",
        ),
        // Header fields other than ports.
        (
            "IP options",
            with(a, "pass quick", "within:gcp", |line| line.replace(" label", " allow-opts label")),
            "allow-opts",
        ),
        ("fragments that pass", filter(a, "pass quick inet from any to <nixvol> fragment"), "fragment"),
        ("fragments as they are", with(a, "scrub in on ! lo0", "", |_| String::new()), "left as they are"),
        (
            "fragments with DF",
            with(a, "scrub out on $egress", "from any", |line| line.replace(" no-df", "")),
            "don't-fragment",
        ),
        (
            "the lost ones",
            with(a, "scrub in on $egress inet proto udp", "", |line| line.replace(" no-df", "")),
            "don't-fragment",
        ),
        ("only some of them", with(a, "scrub in on $egress inet proto icmp", "", |_| String::new()), "icmp"),
        (
            "cropped",
            with(a, "scrub in inet", "", |line| line.replace("reassemble", "crop")),
            "not reassembled",
        ),
        // The effect of other anchors that follow.
        ("localhost without quick", without_quick("localhost:to"), "not quick"),
        (
            "states of a link that last",
            with(a, "pass quick inet", "label \"link:", |line| {
                line.replace(" (tcp.finwait 5, tcp.closed 1)", "")
            }),
            "its state lasts for 90 s",
        ),
        (
            "states from localhost that last",
            with(a, "pass quick inet", "localhost:from", |line| {
                line.replace(" (tcp.finwait 5, tcp.closed 1)", "")
            }),
            "its state lasts for 90 s",
        ),
        ("internet without quick", without_quick("internet"), "not quick"),
        ("outside without quick", drop_without_quick, "not quick"),
        (
            "a redirection of another",
            with(a, "no rdr", "", |_| String::new()),
            "leave it to other anchors to redirect it",
        ),
        // The contents of other anchors.
        (
            "no nat for all",
            before(a, "nat on $egress", "no nat on $egress inet from any to any"),
            "no volume is involved",
        ),
        (
            "no rdr for all",
            before(a, "no rdr", "no rdr on lo0 inet from any to any"),
            "no volume is involved",
        ),
        ("all fragments", before(a, "scrub", "scrub in inet all fragment reassemble"), "reassembled"),
        (
            "all fragments of a way out",
            with(a, "scrub in on $egress inet proto udp", "", |line| line.replace("($egress:0)", "any")),
            "reassembled",
        ),
        (
            "others' names",
            filter(a, "block drop out quick inet proto udp from any to any port 53"),
            "left alone",
        ),
        (
            "others' pipes",
            before(a, "no dummynet", "no dummynet quick inet from any to any"),
            "keep it out of all pipes",
        ),
        // Interfaces that the proof cannot know.
        (
            "a bridge by name",
            filter(a, "pass in quick on { en0 bridge2000 } inet from any to <nixvol>"),
            "an interface by its name",
        ),
        (
            "every bridge but one",
            filter(a, "pass in quick on ! bridge2000 inet from any to <nixvol>"),
            "an interface by its name",
        ),
        (
            "lets other hosts in",
            filter(a, "pass quick on { lo0 utun3 } inet from any to <nixvol> flags any"),
            "an interface by its name",
        ),
        (
            "every other way out",
            with(a, "block drop in quick on $outside", "", |line| {
                line.replace("on $outside", "on ! $outside")
            }),
            "every interface but one",
        ),
        (
            "the way out only",
            with(a, "block drop in quick on $outside", "", |line| line.replace("$outside", "$egress")),
            "forged",
        ),
        (
            "another's bridge",
            with(a, "block drop in quick on $bridge_gcp", "", |line| line.replace("_gcp", "_lab")),
            "may send from addresses of `gcp` only",
        ),
        ("no interface that there is", filter(a, "pass quick on $wan inet from any to <nixvol>"), "wan"),
        // Addresses that depend on the machine.
        ("self", filter(a, "pass quick inet from self to <nixvol>"), "address that the machine has"),
        ("lo0", filter(a, "block drop quick inet from lo0 to <nixvol>"), "address that the machine has"),
        (
            "lo0:network",
            filter(a, "pass quick inet from lo0:network to <nixvol>"),
            "address that the machine has",
        ),
        (
            "(lo0:network)",
            filter(a, "pass quick inet from (lo0:network) to <nixvol>"),
            "address that an interface has",
        ),
        ("antispoof", filter(a, "antispoof quick for lo0 inet"), "address that the machine has"),
        (
            "the way out's address",
            filter(a, "pass in quick on $egress inet from any to ($egress:0)"),
            "address that an interface has",
        ),
        ("localhost by name", filter(a, "pass quick inet from localhost to <nixvol>"), "localhost"),
        // A single wrong rule among many.
        ("one evil rule among seven", evil(7), "10.21.200.7"),
        ("one evil rule among 140", evil(140), "10.21.200.7"),
        ("one evil rule among 141", evil(141), "10.21.200.7"),
        // States and answers.
        (
            "few states",
            with(a, "pass quick inet", "within:gcp", |line| line.replace("(tcp", "(max 5, tcp")),
            "limit on states",
        ),
        (
            "bound states",
            with(a, "pass quick", "link:", |line| line.replace("(tcp", "(if-bound, tcp")),
            "bound to an interface",
        ),
        (
            "short states",
            with(a, "pass quick inet", "within:gcp", |line| line.replace("finwait 5", "established 5")),
            "timeouts",
        ),
        (
            "another answer",
            with(a, "block return ", "\"between\"", |line| {
                line.replace("block return", "block return-icmp(host-unr)")
            }),
            "answer of its own",
        ),
        (
            "a RST where none is sent",
            with(a, "block return-icmp", "\"leak\"", |line| line.replace("return-icmp", "return")),
            "ICMP error",
        ),
        (
            "a guest's ICMP errors",
            with(a, "pass in quick on lo0 inet proto icmp", "", |line| line.replace("on lo0 ", "")),
            "pass it without a state",
        ),
        (
            "a RST with a state",
            with(a, "pass in quick on lo0 inet proto tcp", "refusal", |line| {
                line.replace("no state", "keep state")
            }),
            "flags R",
        ),
        (
            "out by a bridge",
            with(a, "pass out quick on lo0", "between:out", |line| line.replace("on lo0 ", "")),
            "pass it without a state",
        ),
        // Miscellaneous.
        (
            "a tag",
            with(a, "pass quick", "within:gcp", |line| line.replace(" label", " tag x label")),
            "a tag",
        ),
        (
            "a log",
            with(a, "pass quick", "within:gcp", |line| line.replace("pass quick", "pass log quick")),
            "a log",
        ),
        (
            "a route",
            filter(a, "pass out quick on $egress route-to (utun9 10.9.9.9) inet from <nixvol> to any"),
            "`route-to` of its own",
        ),
        ("an option", format!("set skip on lo0\n{a}"), "option"),
        ("a macro", format!("x = \"10.0.0.0/8\"\n{a}"), "macro"),
        ("another anchor", format!("{a}anchor \"other\"\n"), "another anchor"),
        (
            "a port behind the arrow",
            with(a, "rdr pass", "", |line| format!("{line} port 8080")),
            "redirection to a port",
        ),
        ("judged again", with(a, "rdr pass", "", |line| line.replace("rdr pass", "rdr")), "pass by itself"),
        (
            "another volume's port",
            with(a, "rdr pass", "port 443", |line| line.replace("-> 10.20.1.10", "-> 10.21.7.9")),
            "to 10.20.1.10",
        ),
    ];
    let mut wrong = Vec::new();
    for (name, edited, told) in edits {
        assert_ne!(edited, anchor, "{name}: nothing is edited");
        match refusal(&plan, &edited) {
            None => wrong.push(format!("{name}: proven")),
            Some(refusal) if !refusal.contains(told) || refusal.contains("disagree") => {
                wrong.push(format!("{name}: `{told}` is not in\n{refusal}"));
            }
            Some(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    let strict = nat(&|line| format!("{line} extfilter apd"));
    assert_eq!(refusal(&plan, &strict), None, "the form that a Mac may load");
}

/// Regression test: options of a translation that were once accepted and are wrong.
#[test]
fn options_of_a_translation_are_checked() {
    let mut input = default_input();
    input["links"] = json!([]);
    let (plan, anchor) = plan_and_anchor(&input);
    for (option, is_right) in [
        ("", true),
        ("extfilter apd", true),
        ("extfilter ei", false),
        ("static-port", false),
        ("port 2000:2000", false),
    ] {
        let edited = with(&anchor, "nat on $egress", "", |line| format!("{line} {option}"));
        assert_eq!(prove(&plan, &edited).is_ok(), is_right, "{option}");
    }
}

#[test]
fn a_fragment_that_is_decided_unlike_its_datagram_is_refused() {
    let (plan, anchor) = plan_and_anchor(&default_input());
    // A condition on ports holds for no fragment. So the first rule decides on whole datagrams as the rule behind the
    // two does, and the second one on fragments alone.
    let by_ports = |line: &str| line.replacen(" from any", " proto udp from any port 0:65535", 1);
    let of_udp = |line: &str, action: &str| {
        format!(
            "{action}{}",
            line.replacen(" from any", " proto udp from any", 1).split_once(" in quick").expect("a rule").1
        )
    };
    let outside = line(&anchor, "block drop in quick", "\"outside\"");
    let own = line(&anchor, "pass quick on lo0", "\"this-mac\"").replacen("pass quick", "pass in quick", 1);
    for (begins, two, told) in [
        (
            "block drop in quick inet from any",
            [by_ports(outside), of_udp(outside, "pass in quick").replacen(" label", " no state label", 1)],
            "it passes alone, but the datagram that it is part of may not",
        ),
        (
            "pass quick on lo0 inet from any",
            [by_ports(&own), "block drop in quick on lo0 inet proto udp from any to <nixvol>".to_owned()],
            "it is blocked, but the datagram that it is part of passes",
        ),
    ] {
        let edited = before(&anchor, begins, &two.join("\n"));
        let refused = refusal(&plan, &edited).unwrap_or_default();
        let reasons: Vec<&str> = refused.lines().filter(|line| line.contains("datagram")).collect();
        assert!(
            !reasons.is_empty() && reasons.iter().all(|reason| reason.contains(told)),
            "{edited}\n{refused}"
        );
    }
}
