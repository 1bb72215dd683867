//! Random rulesets generated from pf's grammar, with all of its options and names; most are valid.
//!
//! They cover mistakes that hand-written examples miss.

use nixvol_net::pf::Names;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// A system's names, as its tables list them.
#[derive(Clone)]
pub struct Known {
    pub services: Vec<String>,
    pub protocols: Vec<String>,
    pub users: Vec<String>,
    pub groups: Vec<String>,
}

fn first_words(table: &str) -> Vec<String> {
    table.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// The quoted words of one table in `openbsd.rs`.
fn quoted(table: &str) -> Vec<String> {
    let text = include_str!("../generator/src/pf/openbsd.rs");
    let start = text.find(&format!("static {table}: ")).unwrap_or_else(|| panic!("no table {table}"));
    let end = start + text[start..].find("\n];").expect("the end of the table");
    let quoted = text[start..end].split('"').skip(1).step_by(2);
    quoted.flat_map(|names| names.split(' ')).map(str::to_owned).collect()
}

impl Known {
    pub fn of(names: Names) -> Self {
        match names {
            Names::MacOs => Self {
                services: first_words(include_str!("../generator/src/pf/macos/services.txt")),
                protocols: include_str!("../generator/src/pf/macos/protocols.txt")
                    .lines()
                    .flat_map(|line| line.split(' ').skip(1))
                    // `divert` is 258, a number that no packet can carry.
                    .filter(|name| !name.eq_ignore_ascii_case("divert"))
                    .map(str::to_owned)
                    .collect(),
                users: first_words(include_str!("../generator/src/pf/macos/users.txt")),
                groups: first_words(include_str!("../generator/src/pf/macos/groups.txt")),
            },
            Names::OpenBsd => Self {
                services: quoted("SERVICES"),
                protocols: quoted("PROTOCOLS"),
                users: quoted("USERS"),
                groups: quoted("GROUPS"),
            },
        }
    }
}

/// A name in quotes, since it may also be a keyword.
fn name(names: &[String]) -> impl Strategy<Value = String> + use<> {
    select(names.to_vec()).prop_map(|name| format!("\"{name}\""))
}

fn word(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(words).prop_map(str::to_owned)
}

/// Empty in two of three cases.
fn maybe(some: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    prop_oneof![2 => Just(String::new()), 1 => some]
}

fn small() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 1..300u32, 1 => any::<u32>()]
}

/// A number or a name under every comparison operator; with `range` also two of them as `a:b`.
fn comparison(one: impl Strategy<Value = String> + Clone, range: bool) -> impl Strategy<Value = String> {
    let unary = (word(&["", "= ", "!= ", "< ", "<= ", "> ", ">= "]), one.clone())
        .prop_map(|(operator, one)| format!("{operator}{one}"));
    let between = if range { &[" >< ", " <> ", ":"][..] } else { &[" >< ", " <> "][..] };
    let binary = (one.clone(), word(between), one).prop_map(|(a, operator, b)| {
        if operator == ":" {
            format!("\"{}:{}\"", a.trim_matches('"'), b.trim_matches('"'))
        } else {
            a + &operator + &b
        }
    });
    prop_oneof![3 => unary, 1 => binary]
}

fn list(one: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    vec(one, 1..4)
        .prop_map(|all| if all.len() == 1 { all.concat() } else { format!("{{ {} }}", all.join(" , ")) })
}

fn port(known: &Known) -> impl Strategy<Value = String> + use<> {
    let one = prop_oneof![(0..=65535u32).prop_map(|port| port.to_string()), name(&known.services)].boxed();
    list(comparison(one, true)).prop_map(|ports| format!("port {ports}"))
}

fn owner(what: &'static str, names: &[String]) -> impl Strategy<Value = String> + use<> {
    let one =
        prop_oneof![any::<u32>().prop_map(|id| id.to_string()), name(names), Just("unknown".to_owned())]
            .boxed();
    list(comparison(one, false)).prop_map(move |owners| format!("{what} {owners}"))
}

#[rustfmt::skip]
const HOSTS: &[&str] = &[
    "any", "any", "10.0.0.0/8", "! 10.1.2.3", "{ 1.2.3.4, ::1 }", "<t>", "! <t>", "(en0)", "(en0:network:0)/24",
    "(lo0:peer)", "lo0", "en0:network", "en0:broadcast", "self", "no-route", "0/0", "! 0/0", "::/0",
    "1.2.3.4 - 1.2.3.9", "route blue", "fe80::1%lo0", "::1.2.3.4", "::ffff:1.2.3.4", "{ any 10/8 }", "10.1",
    "localhost",
];

fn endpoints(known: &Known) -> impl Strategy<Value = String> + use<> {
    let end = || (word(HOSTS), maybe(port(known))).prop_map(|(host, port)| format!("{host} {port}"));
    (end(), maybe(word(&["os \"Linux\"", "os { \"a b\" unknown }"])), end())
        .prop_map(|(from, os, to)| format!("from {from} {os} to {to}"))
}

#[rustfmt::skip]
const TIMEOUTS: &[&str] = &[
    "tcp.first", "tcp.opening", "tcp.established", "tcp.closing", "tcp.finwait", "tcp.closed", "udp.first",
    "udp.single", "udp.multiple", "icmp.first", "icmp.error", "grev1.first", "grev1.initiating",
    "grev1.established", "esp.first", "esp.initiating", "esp.established", "other.first", "other.single",
    "other.multiple", "adaptive.start", "adaptive.end", "src.track", "tcp.tsdiff",
];

fn state() -> impl Strategy<Value = String> {
    let counted = |word: &'static str| small().prop_map(move |count| format!("{word} {count}")).boxed();
    let rate = (small(), small()).prop_map(|(a, b)| format!("max-src-conn-rate {a}/{b}")).boxed();
    let timeout =
        (select(TIMEOUTS), any::<u32>()).prop_map(|(name, seconds)| format!("{name} {seconds}")).boxed();
    let fixed = |words| word(words).boxed();
    let options = [
        counted("max"),
        fixed(&["no-sync"]),
        fixed(&["source-track", "source-track global", "source-track rule"]),
        counted("max-src-states"),
        counted("max-src-conn"),
        rate,
        counted("max-src-nodes"),
        fixed(&["overload <bad>", "overload <b> flush", "overload <t> flush global"]),
        fixed(&["if-bound", "floating"]),
        timeout.clone(),
        timeout,
    ];
    let count = options.len();
    let chosen = subsequence((0..count).collect::<Vec<_>>(), 0..4);
    (word(&["keep", "keep", "modulate", "synproxy"]), chosen, options).prop_map(|(kind, chosen, options)| {
        let options: Vec<&str> = chosen.into_iter().map(|at| options[at].as_str()).collect();
        match options.as_slice() {
            [] => format!("{kind} state"),
            some => format!("{kind} state ({})", some.join(", ")),
        }
    })
}

#[rustfmt::skip]
const ICMP: &[&str] = &[
    "echoreq", "echorep", "unreach", "squench", "redir", "althost", "routeradv", "routersol", "timex", "paramprob",
    "timereq", "timerep", "inforeq", "inforep", "maskreq", "maskrep", "trace", "dataconv", "mobredir",
    "ipv6-where", "ipv6-here", "mobregreq", "mobregrep", "photuris", "unreach code net-unr", "unreach code 1",
    "unreach code needfrag", "redir code redir-host", "timex code reassemb", "paramprob code badhead", "photuris code 2",
    "8 code 200", "0", "39", "255",
];
#[rustfmt::skip]
const ICMP6: &[&str] = &[
    "unreach", "toobig", "timex", "paramprob", "echoreq", "echorep", "groupqry", "listqry", "grouprep", "listenrep",
    "groupterm", "listendone", "routersol", "routeradv", "neighbrsol", "neighbradv", "redir", "routrrenum", "wrureq",
    "wrurep", "fqdnreq", "fqdnrep", "niqry", "nirep", "mtraceresp", "mtrace", "unreach code admin-unr",
    "unreach code beyond-unr", "timex code transit", "paramprob code nxthdr", "redir code redironlink", "1 code 9", "7",
];

fn probability() -> impl Strategy<Value = String> {
    let share = prop_oneof![0.0..1.0f64, 0.0..1e-7f64, Just(1.0)];
    (share, any::<bool>()).prop_map(|(share, percent)| {
        if percent {
            format!("probability \"{}%\"", share * 100.0)
        } else {
            format!("probability \"{share}\"")
        }
    })
}

/// The options that may follow the endpoints of a filter or dummynet rule, in any order.
fn options(known: &Known) -> impl Strategy<Value = String> + use<> {
    let letters =
        || subsequence(vec!["F", "S", "R", "P", "A", "U", "E", "W"], 0..5).prop_map(|all| all.concat());
    let flags = (letters(), letters()).prop_map(|(set, mask)| format!("flags {set}/{set}{mask}"));
    let numbers =
        |word: &'static str, most: u32| (0..=most).prop_map(move |number| format!("{word} {number}"));
    let option = prop_oneof![
        3 => state(),
        1 => word(&["no state", "flags any", "allow-opts", "fragment", "tos lowdelay", "tos 0xb8"]),
        1 => flags,
        2 => probability(),
        1 => owner("user", &known.users),
        1 => owner("group", &known.groups),
        1 => list(word(ICMP)).prop_map(|types| format!("icmp-type {types}")),
        1 => list(word(ICMP6)).prop_map(|types| format!("icmp6-type {types}")),
        1 => numbers("tos", 255),
        1 => numbers("rtable", 255),
        1 => prop_oneof![numbers("pipe", 65_535), numbers("queue", 65_535)],
        1 => word(&["label \"a \\\" b\"", "label \"$if $srcaddr $dstport $nr\"", "label \"$proto\"", "tag x",
            "tag \"a  b\"", "tag keep", "tagged a b", "! tagged \"12\"", "tagged \"$proto $if\""]),
        1 => word(&["no-df", "random-id", "reassemble tcp", "fragment reassemble", "fragment crop", "fragment drop-ovl"]),
        1 => prop_oneof![numbers("min-ttl", 255), numbers("max-mss", 65_535)],
    ];
    vec(option, 0..4).prop_map(|options| options.join(" "))
}

/// `keep state (…) probability …` and the like, which a uniform choice would make too rare.
fn pass(known: &Known) -> impl Strategy<Value = String> + use<> {
    let protocol = word(&["", "proto tcp", "proto udp", "proto { tcp udp }"]);
    let (more, ports) = (maybe(probability()), maybe(port(known)));
    (word(&["pass", "pass in", "pass out quick"]), protocol, ports, state(), more).prop_map(
        |(head, protocol, port, state, more)| {
            format!("{head} {protocol} from any to any {port} {state} {more}\n")
        },
    )
}

#[rustfmt::skip]
const HEADS: &[&str] = &[
    "pass", "pass in", "pass out", "block", "block drop in", "block return", "pass in log (all, to pflog3) quick",
    "pass out log (user)", "block return-rst(ttl 9)", "block return-rst", "nat", "nat pass log", "no nat", "rdr",
    "rdr pass", "no rdr", "binat", "no binat", "scrub", "scrub in", "no scrub", "dummynet in", "dummynet out quick",
    "no dummynet quick", "anchor \"a/b\" in", "anchor x", "nat-anchor \"n/*\"", "rdr-anchor r", "binat-anchor b",
    "dummynet-anchor \"com.apple/*\"", "scrub-anchor s",
];

fn head() -> impl Strategy<Value = String> {
    let code = prop_oneof![
        word(&["host-unr", "needfrag", "cutoff-preced", "net-unk"]),
        (0..=255u8).prop_map(|code| code.to_string())
    ];
    let code6 = prop_oneof![
        word(&["admin-unr", "port-unr", "beyond-unr"]),
        (0..=255u8).prop_map(|code| code.to_string())
    ];
    let icmp = (code, maybe(code6)).prop_map(|(code, code6)| {
        let both = if code6.is_empty() { code } else { format!("{code}, {code6}") };
        format!("block return-icmp({both})")
    });
    prop_oneof![12 => word(HEADS), 1 => icmp, 1 => word(&["block return-icmp6(admin-unr)", "block return-icmp6"])]
}

#[rustfmt::skip]
const ROUTES: &[&str] = &[
    "fastroute", "route-to en0", "reply-to (en0 10.0.0.1)", "dup-to { (en0 10.0.0.1) (en1 10.0.0.2) } round-robin",
    "route-to (en0 10.0.0.0/24) random sticky-address", "route-to (en0 10.0.0.0/24) source-hash",
];
#[rustfmt::skip]
const TARGETS: &[&str] = &[
    "-> 10.0.0.1", "-> (en0)", "-> (en0:0)", "-> lo0", "-> { 10.0.0.1 10.0.0.2 }", "-> 10.0.0.0/8", "-> 0.0.0.0/0",
    "-> <t>", "-> en0", "-> ::1", "-> (en0:network)",
];

/// What may follow `->`: ports, the pool type, and extfilter or extmap of Apple's nat.
fn target() -> impl Strategy<Value = String> {
    let port = maybe(
        (0..=65535u32, word(&["", ":9999", ":*"])).prop_map(|(port, more)| format!("port \"{port}{more}\"")),
    );
    let kind = maybe(word(&[
        "bitmask",
        "random",
        "source-hash",
        "source-hash abc",
        "round-robin",
        "source-hash 0x0123456789abcdef0123456789abcdef",
    ]));
    let more = subsequence(vec!["sticky-address", "static-port"], 0..2).prop_map(|words| words.join(" "));
    let endpoint = |word: &'static str| {
        maybe(select(&["apd", "ad", "ei"][..]).prop_map(move |kind| format!("{word} {kind}")))
    };
    (word(TARGETS), port, kind, more, endpoint("extmap"), endpoint("extfilter"))
        .prop_map(|(to, port, kind, more, map, filter)| format!("{to} {port} {kind} {more} {map} {filter}"))
}

fn rule(known: &Known) -> impl Strategy<Value = String> + use<> {
    let interface = maybe(word(&["on en0", "on ! lo0", "on { en0 lo0 }", "on \"a b\""]));
    let family = word(&["", "", "inet", "inet6"]);
    let protocol = prop_oneof![
        3 => word(&["", "proto tcp", "proto tcp", "proto { tcp udp }", "proto icmp", "proto icmp6", "proto esp"]),
        1 => (1..=255u8).prop_map(|number| format!("proto {number}")),
        1 => list(name(&known.protocols)).prop_map(|names| format!("proto {names}")),
    ];
    (
        head(),
        interface,
        maybe(word(ROUTES)),
        family,
        protocol,
        endpoints(known),
        options(known),
        maybe(target()),
    )
        .prop_map(|(head, interface, route, family, protocol, ends, options, target)| {
            format!("{head} {interface} {route} {family} {protocol} {ends} {options} {target}\n")
        })
}

#[rustfmt::skip]
const SETTINGS: &[&str] = &[
    "set state-policy if-bound\n", "set state-policy floating\n", "set skip on { lo0 en0 }\n", "set skip on none\n",
    "set block-policy return\n", "set block-policy drop\n", "set timeout { tcp.first 9, frag 7 }\n",
    "set timeout interval 3\n", "set limit { states 9, table-entries 7 }\n", "set limit src-nodes 0\n",
    "set hostid 9\n", "set hostid 0xff\n", "set debug loud\n", "set optimization aggressive\n",
    "set optimization \"High-Latency\"\n", "set ruleset-optimization basic\n", "set loginterface none\n",
    "set loginterface all\n", "set loginterface en0\n", "set fingerprints \"/x\"\n", "m = \"a \\\" b\" 7\n",
    "table <t> persist { 10/8 !10.1/16 lo0 0/0 any }\n", "table <t> { any } { ::1 } const\n", "table <t> { }\n",
    "table <t> persist counters\n", "load anchor a from \"/b c\"\n",
    "anchor {\n pass\n anchor \"y/z\" in {\n block\n }\n}\n", "anchor on { en0 lo0 } {\n}\n", "anchor e {\n}\n",
    "anchor \"a/b\" {\n pass\n}\nanchor \"c/b\" {\n block\n}\n", "anchor \"c/b\" out {\n pass proto tcp to port 520\n}\n",
    "anchor \"d/\" {\n pass\n}\n", "anchor \"/d\" {\n pass\n}\n", "antispoof for en0\n",
    "antispoof log quick for (en0) inet label x\n", "anchor on { en0 en1 } {\n pass in\n}\n",
    "anchor k on { en0 en1 } {\n pass in\n nat-anchor q\n}\n",
];

/// A ruleset of a few statements, usually valid.
pub fn ruleset(known: &Known) -> impl Strategy<Value = String> + use<> {
    let statement = prop_oneof![4 => rule(known), 1 => pass(known), 1 => word(SETTINGS)];
    vec(statement, 1..4).prop_map(|statements| format!("set require-order no\n{}", statements.concat()))
}
