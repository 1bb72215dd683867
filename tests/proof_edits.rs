//! Wrong edits of rendered anchors are refused with a packet or a reason; and of a thousand random edits, none that
//! changes the fate of a packet is accepted.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use nixvol_net::loading::{self, Interfaces};
use nixvol_net::packets;
use nixvol_net::pf::eval::{self, Hook, Machine, Packet, PathVerdicts, Shaping, TcpSegment, Transport};
use nixvol_net::pf::syntax::Direction;
use nixvol_net::pf::{self, Environment};
use nixvol_net::plan::Plan;
use nixvol_net::plan::policy::{self, PolicyVerdict};
use nixvol_net::prove::outcome::{HookOutcome, Outcomes};
use nixvol_net::prove::policy::FragmentTreatment;
use nixvol_net::prove::{self, Refutation, World, prove};
use serde_json::{Value, json};

use crate::support::{declared, default_input, fixture, rendered};

/// Every kind of rule, and few of each.
fn every_kind() -> Value {
    let mut input = fixture("rich.json");
    input["links"].as_array_mut().expect("links").truncate(4);
    input
}

fn plan_and_anchor(input: &Value) -> (Plan, String) {
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

/// A deterministic sequence (splitmix64), so that every run has the same edits and packets.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("it is below a usize")
    }

    fn of<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }
}

/// Parts of rules to insert, in addition to those of the anchor.
const PARTS: [&str; 38] = [
    "in",
    "out",
    "quick",
    "on lo0",
    "on ! lo0",
    "on $egress",
    "on $outside",
    "on bridge2000",
    "on en0",
    "proto tcp",
    "proto udp",
    "proto icmp",
    "from any",
    "to any",
    "from <nixvol>",
    "to <nixvol>",
    "to ! <local>",
    "from <internet>",
    "from <here>",
    "from 127.0.0.0/8",
    "to 127.0.0.0/8",
    "to 8.8.8.0/24",
    "from ! <nixvol>",
    "port 443",
    "port { 53 5432 }",
    "flags S/SA",
    "flags any",
    "flags R/R",
    "keep state",
    "no state",
    "icmp-type unreach",
    "no-df",
    "fragment reassemble",
    "allow-opts",
    "label \"x\"",
    "static-port",
    "pipe 20001",
    "inet",
];
const RULES: [&str; 7] = ["pass", "block", "nat", "no", "rdr", "dummynet", "scrub"];

/// Splits a rule into its parts; `from X`, `on X` and `keep state (…)` are one part each.
fn parts(line: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut is_open = false;
    for word in line.split(' ').filter(|word| !word.is_empty()) {
        let behind = [
            "from",
            "to",
            "on",
            "proto",
            "port",
            "flags",
            "keep",
            "icmp-type",
            "fragment",
            "label",
            "->",
            "!",
            "pipe",
        ];
        let last = parts.last().and_then(|part| part.split(' ').next_back()).unwrap_or_default();
        let belongs =
            is_open || behind.contains(&last) || word.starts_with('(') || (last == "no" && word == "state");
        match parts.last_mut() {
            Some(part) if belongs => *part = format!("{part} {word}"),
            _ => parts.push(word.to_owned()),
        }
        is_open = (is_open || word.starts_with(['(', '{'])) && !word.ends_with([')', '}']);
    }
    parts
}

/// Applies one to three random changes to the rules of an anchor.
fn edited(anchor: &str, chance: &mut Chance) -> String {
    let mut lines: Vec<String> = anchor.lines().map(str::to_owned).collect();
    for _ in 0..=chance.below(3) {
        let is_rule = |line: &str| RULES.iter().any(|word| line.split(' ').next() == Some(word));
        let rules: Vec<usize> = (0..lines.len()).filter(|at| is_rule(&lines[*at])).collect();
        let (at, other) = (chance.of(&rules), chance.of(&rules));
        let mut own = parts(&lines[at]);
        let foreign: Vec<String> =
            PARTS.iter().map(|part| (*part).to_owned()).chain(parts(&lines[other])).collect();
        let part = chance.below(own.len());
        match chance.below(8) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(other, lines[at].clone()),
            2 => lines.swap(at, other),
            3 => {
                own.remove(part);
                lines[at] = own.join(" ");
            }
            4 => {
                own.insert(part, chance.of(&foreign));
                lines[at] = own.join(" ");
            }
            _ => {
                // Replace it by a part of the same kind, if there is one.
                let kind = own[part].split(' ').next().unwrap_or_default().to_owned();
                let same: Vec<String> =
                    foreign.iter().filter(|it| it.split(' ').next() == Some(&kind)).cloned().collect();
                own[part] = chance.of(if same.is_empty() { &foreign } else { &same });
                lines[at] = own.join(" ");
            }
        }
    }
    lines.join("\n") + "\n"
}

/// Pairs of foreign anchors below `com.apple`, evaluated before and after ours.
const OTHERS: [(&str, &str); 3] = [
    ("", ""),
    ("", "rdr pass on lo0 inet proto tcp from any to any port 443 -> 127.0.0.1\nblock return quick all\n"),
    (
        "pass out on en0 all keep state\n",
        "nat on en1 inet from 8.8.8.0/24 to any -> 192.0.2.99\npass quick all keep state\n",
    ),
];
const MAIN: &str = "scrub-anchor \"com.apple/*\"\nnat-anchor \"com.apple/*\"\nrdr-anchor \"com.apple/*\"\ndummynet-anchor \"com.apple/*\"\nanchor \"com.apple/*\"\n";
const INTERFACES: [&str; 8] = ["lo0", "en0", "en1", "utun4", "bridge100", "bridge2000", "bridge2001", "en7"];

/// A machine with several interfaces, on which the anchor is loaded between two foreign ones; none if pfctl would
/// reject it.
fn machine(plan: &Plan, anchor: &str, (first, last): (&str, &str)) -> Option<Machine> {
    let mut environment = Environment::default();
    for (name, address) in [("en0", [192, 0, 2, 10]), ("en1", [198, 51, 100, 10]), ("utun4", [100, 64, 0, 9])]
    {
        environment.add_address(name, Ipv4Addr::from(address).into(), 24);
    }
    let bridges = plan
        .bridges
        .iter()
        .zip(2000..)
        .map(|(bridge, unit)| (bridge.provider.to_string(), format!("bridge{unit}")));
    let bridges: Vec<(String, String)> = bridges.collect();
    let bridges = bridges.iter().map(|(provider, name)| (provider.as_str(), name.as_str()));
    let interfaces = Interfaces::new(["en0", "en1"], bridges).with_foreign(["utun4", "bridge100"]);
    let loaded = loading::load(anchor, &interfaces);
    let mut machine = Machine::new(environment.interfaces.clone());
    machine.load("", &pf::parse(MAIN, &environment).expect("the main ruleset"));
    machine.load("com.apple/100.before", &pf::parse(first, &environment).expect("another's anchor"));
    machine.load("com.apple/250.nixvol", &pf::parse(&loaded.text, &environment).ok()?);
    machine.load("com.apple/300.behind", &pf::parse(last, &environment).expect("another's anchor"));
    Some(machine)
}

/// The addresses in these texts, their neighbours, and a few others.
fn addresses(texts: &[&str]) -> Vec<Ipv4Addr> {
    let mut all: BTreeSet<u32> =
        ["127.0.0.1", "127.0.1.11", "8.8.8.8", "192.0.2.10", "198.51.100.10", "224.0.0.251"]
            .iter()
            .map(|address| u32::from(address.parse::<Ipv4Addr>().expect("an address")))
            .collect();
    for word in
        texts.iter().flat_map(|text| text.split(|c: char| !(c.is_ascii_digit() || c == '.' || c == '/')))
    {
        let (address, prefix) = word.split_once('/').unwrap_or((word, "32"));
        let (Ok(address), Ok(prefix)) = (address.parse::<Ipv4Addr>(), prefix.parse::<u32>()) else {
            continue;
        };
        let mask = u32::MAX.checked_shl(32 - prefix.min(32)).unwrap_or(0);
        let (low, high) = (u32::from(address) & mask, u32::from(address) | !mask);
        all.extend([low, high, low.wrapping_add(9), low.wrapping_sub(1), high.wrapping_add(1)]);
    }
    all.into_iter().map(Ipv4Addr::from).collect()
}

fn packet(chance: &mut Chance, addresses: &[Ipv4Addr], ports: &[u16]) -> Packet {
    let direction = chance.of(&[Direction::In, Direction::Out]);
    let (source, destination) = (chance.of(addresses), chance.of(addresses));
    let (sport, dport) = (chance.of(&[40_000, 443, 53]), chance.of(ports));
    let flags = chance.of(&[0x02, 0x02, 0x10, 0x12, 0x04, 0x14, 0x11, 0x00, 0x06, 0x29]);
    let segment = TcpSegment { flags, sequence: 1000, acknowledgement: 0, length: 0, window: 65_535 };
    let transport = match chance.below(5) {
        0 | 1 => Transport::Tcp { source: sport, destination: dport, segment },
        2 => Transport::Udp { source: sport, destination: dport },
        3 => Transport::Icmp {
            kind: chance.of(&[8, 3, 11, 0]),
            code: chance.of(&[0, 1, 3]),
            id: 7,
            inner: None,
        },
        _ => Transport::Other(chance.of(&[47, 50, 132, 2])),
    };
    Packet {
        hooks: vec![Hook { direction, interface: chance.of(&INTERFACES).to_owned() }],
        is_path: false,
        source: source.into(),
        destination: destination.into(),
        transport,
        user: None,
        group: None,
        tag: None,
        tos: 0,
        fragment: chance.below(6) == 0,
        ip: eval::Ip { options: chance.below(6) == 0, ..eval::Ip::default() },
    }
}

/// Everything of a verdict except which rule decided.
fn what(answer: &PathVerdicts) -> impl PartialEq + std::fmt::Debug + use<> {
    let eval::Verdict { action, via, state, translation, shaping, after, reply, .. } =
        answer.verdicts()[0].clone();
    let translation = translation.map(|translation| (translation.kind, translation.anchor));
    let shaping: Vec<_> = shaping.into_iter().map(|shaping| (shaping.into, shaping.rule.anchor)).collect();
    (action, via, state, translation, shaping, after, reply)
}

#[test]
fn no_edit_that_changes_a_verdict_is_proven() {
    let mut chance = Chance(20_261_126);
    let inputs = [default_input(), every_kind(), fixture("conditions.json"), fixture("restricted.json")];
    let originals: Vec<(Plan, String)> = inputs.iter().map(plan_and_anchor).collect();
    let machines = |(plan, anchor): &(Plan, String)| -> Vec<Machine> {
        OTHERS.iter().map(|others| machine(plan, anchor, *others).expect("it is rendered")).collect()
    };
    let before: Vec<Vec<Machine>> = originals.iter().map(machines).collect();
    let (mut proven, mut refuted, mut seen) = (0, 0, 0);
    for round in 0..1000 {
        let (plan, anchor) = &originals[round % originals.len()];
        let edited = loop {
            let edited = edited(anchor, &mut chance);
            // Skip edits that pfctl would not load.
            if machine(plan, &edited, OTHERS[0]).is_some() {
                break edited;
            }
        };
        let refusal = refusal(plan, &edited);
        if let Some(refusal) = &refusal {
            assert!(!refusal.contains("disagree"), "{refusal}\n{edited}");
        }
        // Edits that are proven get many more packets.
        let (worlds, packets) = if refusal.is_none() { (OTHERS.len(), 300) } else { (1, 40) };
        let addresses = addresses(&[anchor, &edited]);
        let differs = (0..worlds).find_map(|world| {
            let after = machine(plan, &edited, OTHERS[world])?;
            (0..packets).find_map(|_| {
                let packet = packet(&mut chance, &addresses, &[443, 53, 5432, 2379, 2381, 1, 65_535]);
                let machine = &before[round % originals.len()][world];
                let (one, other) = (what(&machine.decide(&packet)), what(&after.decide(&packet)));
                (one != other).then(|| format!("{packet:?}\n{one:?}\n{other:?}"))
            })
        });
        match (refusal, differs) {
            (None, Some(difference)) => panic!("proven, but it differs: {difference}\n{edited}"),
            (None, None) => proven += 1,
            (Some(_), Some(_)) => seen += 1,
            (Some(_), None) => refuted += 1,
        }
    }
    assert!(proven > 50 && seen > 200, "{proven} proven, {seen} refuted and seen, {refuted} refuted");
}

/// Converts a packet of the evaluator to one of the packet sets.
pub fn asked(packet: &Packet) -> packets::WitnessPacket {
    let hook = &packet.hooks[0];
    let mut asked = packets::WitnessPacket {
        direction: if hook.direction == Direction::In {
            packets::PacketDirection::In
        } else {
            packets::PacketDirection::Out
        },
        interface: hook.interface.clone(),
        source: packet.source,
        destination: packet.destination,
        protocol: packet.protocol(),
        fragment: packet.fragment,
        options: packet.ip.options,
        ..packets::WitnessPacket::default()
    };
    match packet.transport {
        Transport::Tcp { source, destination, segment } => {
            (asked.source_port, asked.destination_port, asked.flags) = (source, destination, segment.flags);
        }
        Transport::Udp { source, destination } => {
            (asked.source_port, asked.destination_port) = (source, destination);
        }
        Transport::Icmp { kind, code, .. } => (asked.icmp_type, asked.icmp_code) = (kind, code),
        Transport::Esp { .. } | Transport::Other(_) => {}
    }
    asked
}

/// The functions of a proof agree with the evaluator and the policy about single packets.
#[test]
fn functions_agree_with_the_evaluator_and_the_policy() {
    let mut chance = Chance(4);
    for input in
        [default_input(), fixture("rich.json"), fixture("conditions.json"), fixture("restricted.json")]
    {
        let (plan, anchor) = plan_and_anchor(&input);
        let world = World::new(&plan, &anchor);
        let environment = world.environment();
        let ruleset = pf::parse(world.text(), &environment).expect("a ruleset");
        let mut machine = Machine::new(environment.interfaces);
        machine.load("", &ruleset);
        let lists = &ruleset.rules;
        let mut space = world.space(lists);
        let mut outcomes = Outcomes::default();
        let rules = prove::rules::read(&mut space, lists, machine.loaded(), &world, &mut outcomes);
        let policy = prove::policy::functions(&mut space, &plan, &world, &mut outcomes);
        assert_eq!(rules.outcome, policy.outcome, "equal functions are one");
        let interfaces: Vec<&str> =
            world.interfaces().map(|(name, _)| name).chain([space.stranger()]).collect();
        let addresses = addresses(&[&anchor]);
        for _ in 0..4000 {
            let mut packet = packet(&mut chance, &addresses, &[443, 53, 5432, 2379, 2381, 1, 65_535]);
            packet.hooks[0].interface = chance.of(&interfaces).to_owned();
            let asked = asked(&packet);
            let answer = machine.decide(&packet);
            let kernel = &answer.verdicts()[0];
            if packet.ip.options {
                // pf drops packets with IP options whatever the rules say; rules that would let them pass are not
                // proven.
                assert_eq!(kernel.action, eval::Outcome::Block, "{packet:?}");
                continue;
            }
            let own = world.address_of(&asked.interface);
            let found = HookOutcome::of(kernel, own);
            if packet.fragment {
                let alone = outcomes.outcome(space.of(rules.fragment, &asked)).verdict;
                let alone = if alone == PolicyVerdict::Pass { PolicyVerdict::Carry } else { alone };
                let is_held = FragmentTreatment::of(space.of(rules.reassembly, &asked)).is_held();
                assert_eq!(found.verdict, if is_held { PolicyVerdict::Drop } else { alone }, "{packet:?}");
                continue;
            }
            let decision = plan.policy.decide(&policy_packet(&packet, &world));
            let expected = HookOutcome { verdict: decision.verdict, translation: decision.translation };
            assert_eq!(outcomes.outcome(space.of(policy.outcome, &asked)), expected, "{packet:?}");
            assert_eq!(outcomes.outcome(space.of(rules.outcome, &asked)), found, "{packet:?}");
            let sequence = &rules.sequences[space.of(rules.pipes, &asked) as usize];
            let met: Vec<Option<u16>> = kernel.shaping.iter().map(Shaping::number).collect();
            assert_eq!(sequence, &met, "{packet:?}");
            let pipe = plan.policy.pipe(&policy_packet(&packet, &world));
            assert_eq!(space.of(policy.pipe, &asked), pipe.map_or(0, u32::from), "{packet:?}");
        }
    }
}

fn policy_packet(packet: &Packet, world: &World) -> policy::PolicyPacket {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (packet.source, packet.destination) else {
        panic!("only IPv4 is asked about");
    };
    let (port, flags, icmp) = match packet.transport {
        Transport::Tcp { destination, segment, .. } => (destination, segment.flags, 0),
        Transport::Udp { destination, .. } => (destination, 0, 0),
        Transport::Icmp { kind, .. } => (0, 0, kind),
        Transport::Esp { .. } | Transport::Other(_) => (0, 0, 0),
    };
    policy::PolicyPacket {
        direction: match packet.hooks[0].direction {
            Direction::In => policy::PolicyDirection::In,
            Direction::Out => policy::PolicyDirection::Out,
        },
        interface: world.kind(&packet.hooks[0].interface),
        source,
        destination,
        protocol: packet.protocol(),
        port,
        flags,
        icmp,
    }
}
