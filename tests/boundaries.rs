//! Both sides of each limit: the last value that is accepted, and the first that is refused, with its code and place.

use nixvol_net::model::{self, LinkConditions};
use nixvol_net::pf::{Environment, parse, print};
use serde_json::{Value, json};

use crate::support::default_input;

/// The problems of a declaration: codes and paths.
pub fn problems(input: &Value) -> Vec<String> {
    match model::read(input.to_string().as_bytes()) {
        Ok(_) => Vec::new(),
        Err(rejected) => rejected
            .problems
            .iter()
            .map(|problem| format!("{} {}", problem.kind.code(), problem.at))
            .collect(),
    }
}

fn with_link(link: &Value) -> Value {
    let mut input = default_input();
    input["links"] = json!([link]);
    input
}

fn of_conditions(conditions: &Value) -> Vec<String> {
    problems(&with_link(&json!({ "from": ["aws"], "to": ["gcp"], "conditions": conditions })))
}

fn of_ports(ports: &Value) -> Vec<String> {
    problems(&with_link(&json!({ "from": ["aws"], "to": ["gcp"], "protocol": "tcp", "ports": ports })))
}

#[test]
fn conditions_are_accepted_up_to_their_limits() {
    let none: [&str; 0] = [];
    for (field, accepted, refused) in [
        ("latencyMs", [json!(0), json!(10_000)], [json!(-1), json!(10_001)]),
        ("jitterMs", [json!(0), json!(10_000)], [json!(-1), json!(10_001)]),
        ("loss", [json!(0.0), json!(1.0)], [json!(-0.000_001), json!(1.000_001)]),
        ("bandwidthKbit", [json!(1), json!(2_147_483)], [json!(0), json!(2_147_484)]),
    ] {
        for value in accepted {
            assert_eq!(of_conditions(&json!({ field: value })), none, "{field} {value}");
        }
        for value in refused {
            let wanted = [format!("E009 links.0.conditions.{field}")];
            assert_eq!(of_conditions(&json!({ field: value })), wanted, "{field} {value}");
        }
    }
}

#[test]
fn conditions_arrive_as_they_were_declared() {
    let conditions = json!({ "latencyMs": 10_000, "jitterMs": 1, "loss": 0.25, "bandwidthKbit": 2_147_483 });
    let input = with_link(&json!({ "from": ["aws"], "to": ["gcp"], "conditions": conditions }));
    let declaration = model::read(input.to_string().as_bytes()).unwrap();
    let LinkConditions { latency, jitter_ms, loss, bandwidth_kbit } =
        declaration.links[0].conditions.as_ref().unwrap();
    assert_eq!(latency, &Some(model::Latency::Ms(10_000)));
    assert_eq!((*jitter_ms, *loss, *bandwidth_kbit), (Some(1), Some(0.25), Some(2_147_483)));
}

#[test]
fn a_port_is_a_number_from_1_to_65535_in_plain_digits() {
    let none: [&str; 0] = [];
    for port in [json!(1), json!(65_535), json!("1"), json!("65535"), json!("1-65535"), json!("80-80")] {
        assert_eq!(of_ports(&json!([port])), none, "{port}");
    }
    let malformed = [
        json!(0),
        json!(-1),
        json!(65_536),
        json!("0"),
        json!("65536"),
        json!("+80"),
        json!("-80"),
        json!("80-"),
        json!(" 80"),
        json!("80 "),
        json!("80 - 90"),
        json!("0x50"),
        json!("+80-90"),
        json!("80-+90"),
        json!("80-90-100"),
        json!("0-80"),
        json!("80-65536"),
        json!(""),
    ];
    for port in malformed {
        assert_eq!(of_ports(&json!([port])), ["E062 links.0.ports.0"], "{port}");
    }
    assert_eq!(of_ports(&json!(["81-80"])), ["E063 links.0.ports.0"]);
    for port in [0, 65_536] {
        let mut input = default_input();
        input["volumes"]["etcd-1"]["publish"] = json!([port]);
        assert_eq!(problems(&input), ["E062 volumes.etcd-1.publish.0"], "{port}");
    }
}

#[test]
fn a_link_needs_two_ends_whichever_way_they_are_written() {
    for (from, to, joins_nothing) in [
        (json!(["aws"]), json!(["aws"]), true),
        (json!(["etcd-1"]), json!(["etcd-1"]), true),
        (json!(["aws"]), json!(["etcd-1"]), false),
        (json!(["etcd-1"]), json!(["aws"]), false),
        (json!(["aws", "gcp"]), json!(["aws"]), false),
        (json!(["aws"]), json!(["aws", "gcp"]), false),
    ] {
        let found = problems(&with_link(&json!({ "from": from, "to": to })));
        assert_eq!(
            found.iter().any(|it| it.starts_with("E061 ")),
            joins_nothing,
            "{from} -> {to}: {found:?}"
        );
        assert_eq!(found.is_empty(), !joins_nothing, "{from} -> {to}: {found:?}");
    }
}

/// Two links with different conditions for the same path conflict, whichever of them has the path the other way round.
#[test]
fn conditions_conflict_whichever_way_a_bidirectional_link_is_written() {
    let link = |from: &str, to: &str, both: bool, latency: u16| json!({ "from": [from], "to": [to], "bidirectional": both, "conditions": { "latencyMs": latency } });
    for (first, second, conflicts) in [
        (link("aws", "gcp", false, 1), link("aws", "gcp", false, 2), true),
        (link("aws", "gcp", false, 1), link("gcp", "aws", false, 2), false),
        (link("aws", "gcp", true, 1), link("gcp", "aws", false, 2), true),
        (link("aws", "gcp", false, 1), link("gcp", "aws", true, 2), true),
        (link("aws", "gcp", true, 1), link("gcp", "aws", true, 2), true),
        (link("aws", "gcp", true, 1), link("gcp", "aws", true, 1), false),
    ] {
        let mut input = default_input();
        input["links"] = json!([first, second]);
        let found = problems(&input);
        assert_eq!(found.iter().any(|it| it.starts_with("E065 ")), conflicts, "{first} {second}: {found:?}");
    }
}

#[test]
fn the_smallest_network_has_room_for_a_gateway_and_a_volume() {
    for (prefix, address, expected) in [
        (30, "10.9.0.2", None),
        (30, "10.9.0.0", Some("E032 volumes.tiny-1.address")),
        (30, "10.9.0.3", Some("E032 volumes.tiny-1.address")),
        (31, "10.9.0.0", Some("E024 providers.tiny.network")),
    ] {
        let mut input = default_input();
        input["providers"]["tiny"] =
            json!({ "network": format!("10.9.0.0/{prefix}"), "gateway": format!("10.9.0.1/{prefix}") });
        input["volumes"]["tiny-1"] = json!({ "provider": "tiny", "address": address });
        let found = problems(&input);
        match expected {
            None => assert!(found.is_empty(), "{found:?}"),
            Some(expected) => {
                assert!(found.iter().any(|it| it == expected), "/{prefix} {address}: {found:?}");
            }
        }
    }
}

#[test]
fn only_a_log_may_be_in_the_state_directory() {
    let none: [&str; 0] = [];
    for (base, state, log, expected) in [
        ("/opt/v", "/var/v", "/var/log/v.log", &none[..]),
        ("/opt/v", "/var/v", "/var/v/v.log", &none),
        ("/opt/v", "/var/v", "/var/v/v.txt", &["E014 logFile"]),
        ("/opt/v", "/var/v", "/var/v", &["E014 logFile"]),
        ("/opt/v", "/var/v", "/opt/v/networking/v.log", &["E014 logFile"]),
        ("/opt/v", "/opt/v/networking", "/var/log/v.log", &["E014 stateDir"]),
        ("/opt/v", "/opt/v/networking/state", "/var/log/v.log", &["E014 stateDir"]),
        ("/opt/v/base", "/opt/v", "/var/log/v.log", &["E014 stateDir"]),
        ("/opt/v", "/opt/v2", "/opt/v2.log", &none),
    ] {
        let mut input = default_input();
        (input["base"], input["stateDir"], input["logFile"]) = (json!(base), json!(state), json!(log));
        assert_eq!(problems(&input), expected, "{base} {state} {log}");
    }
}

/// What is wrong with an entry is told once: nothing that refers to the entry is reported because of it.
#[test]
fn an_entry_that_could_not_be_read_is_not_missing() {
    let mut input = default_input();
    input["volumes"]["etcd-1"]["address"] = json!("10.0.1");
    input["links"] = json!([{ "from": ["etcd-1"], "to": ["gcp"] }]);
    assert_eq!(problems(&input), ["E021 volumes.etcd-1.address"]);
    let mut input = default_input();
    let macs = crate::support::fixture("macs.json")["macs"].clone();
    input["mac"] = json!("studio");
    input["macs"] = json!({ "studio": macs["studio"], "mini": macs["mini"] });
    input["macs"]["studio"]["providers"] = json!(["aws", "azure"]);
    input["macs"]["mini"]["providers"] = json!(["gcp", 5]);
    let found = problems(&input);
    assert_eq!(found, ["E002 macs.mini.providers.1"]);
    input["macs"]["mini"]["providers"] = json!(["gcp", "ibm"]);
    assert_eq!(problems(&input), ["E072 providers.digitalocean"]);
}

#[test]
fn one_condition_is_enough() {
    for conditions in [
        json!({ "latencyMs": 1 }),
        json!({ "jitterMs": 1 }),
        json!({ "loss": 0.5 }),
        json!({ "bandwidthKbit": 1 }),
    ] {
        let input = with_link(&json!({ "from": ["aws"], "to": ["gcp"], "conditions": conditions }));
        let declaration = model::read(input.to_string().as_bytes()).expect("a declaration");
        assert!(declaration.links[0].conditions.is_some(), "{conditions}");
    }
    let words = |loss| {
        let latency = Some(model::Latency::Regions);
        LinkConditions { latency, jitter_ms: None, loss, bandwidth_kbit: None }.to_string()
    };
    assert_eq!(words(None), "latency of the regions");
    assert_eq!(words(Some(0.01)), "latency of the regions, 1% lost");
}

#[test]
fn a_new_network_gets_its_gateway_where_the_others_have_theirs() {
    for (gateway, network, expected) in [
        ("10.0.1.1/24", "10.9.0.0/16", "10.9.1.1/24"),
        // The place is outside this network.
        ("10.0.1.1/24", "10.9.0.0/24", "10.9.0.1/24"),
        ("10.0.0.2/24", "10.9.0.0/24", "10.9.0.2/24"),
        ("10.0.0.2/24", "10.9.0.0/23", "10.9.0.2/24"),
        // A bridge may not be wider than its network.
        ("10.0.0.2/24", "10.9.0.0/25", "10.9.0.1/25"),
    ] {
        let input = json!({
            "version": 1,
            "providers": { "aws": { "network": "10.0.0.0/16", "gateway": gateway } },
            "volumes": {},
        });
        let declaration = model::read(input.to_string().as_bytes()).expect("a declaration");
        let found = declaration.gateway_for(network.parse().expect("a network"));
        assert_eq!(found.expect("a gateway").to_string(), expected, "{gateway} {network}");
    }
}

#[test]
fn ports_that_touch_are_one_range() {
    let ports = |ports: Value| {
        let input = with_link(&json!({ "from": ["aws"], "to": ["gcp"], "protocol": "tcp", "ports": ports }));
        let declaration = model::read(input.to_string().as_bytes()).expect("a declaration");
        declaration.links[0].ports.as_ref().expect("ports").to_string()
    };
    assert_eq!(ports(json!([80, 81, "82-90"])), ports(json!(["80-90"])));
    assert_eq!(ports(json!(["80-90", "85-87"])), ports(json!(["80-90"])));
    assert_ne!(ports(json!([80, "82-90"])), ports(json!(["80-90"])));
}

#[test]
fn names_outside_the_declaration() {
    let of_endpoint = |host: &str| {
        let mut input = default_input();
        let macs = crate::support::fixture("macs.json")["macs"].clone();
        input["mac"] = json!("studio");
        input["macs"] = json!({ "studio": macs["studio"], "mini": macs["mini"] });
        input["macs"]["studio"]["providers"] = json!(["aws", "azure", "digitalocean"]);
        input["macs"]["mini"]["providers"] = json!(["gcp", "ibm"]);
        input["macs"]["mini"]["endpoint"] = json!(format!("{host}:51820"));
        problems(&input)
    };
    let label = "a".repeat(63);
    for host in ["mini.lan2", "3com.example", "mini", &label, "192.168.1.30", "a-b.c-d"] {
        assert!(of_endpoint(host).is_empty(), "{host}: {:?}", of_endpoint(host));
    }
    let long = "a".repeat(64);
    for host in ["mini.2", "192.168.1", "-a.b", "a-.b", "a..b", "a_b", &long, ""] {
        assert_eq!(of_endpoint(host), ["E074 macs.mini.endpoint"], "{host}");
    }
    let of_guest = |interface: &str| {
        let mut input = default_input();
        input["volumes"]["etcd-1"]["attachment"] = json!("guest");
        input["volumes"]["etcd-1"]["guest"] = json!({ "mac": "52:54:00:12:34:56", "interface": interface });
        problems(&input).len()
    };
    for (interface, wrong) in [
        ("enp0s1", 0),
        ("a", 0),
        ("", 1),
        ("0a", 1),
        ("-a", 1),
        ("a".repeat(15).as_str(), 0),
        ("a".repeat(16).as_str(), 1),
    ] {
        assert_eq!(of_guest(interface), wrong, "{interface}");
    }
}

#[test]
fn names_have_24_characters_at_most() {
    for (name, accepted) in [
        ("a".repeat(24), true),
        ("a".repeat(25), false),
        ("0".to_owned(), true),
        ("-a".to_owned(), false),
        ("a-".to_owned(), true),
        ("A".to_owned(), false),
        ("a_b".to_owned(), false),
        ("ä".to_owned(), false),
        (String::new(), false),
    ] {
        let mut input = default_input();
        input["volumes"][&name] = json!({ "provider": "aws", "address": "10.0.1.77" });
        let found = problems(&input);
        let found: Vec<&String> = found.iter().filter(|it| it.starts_with("E010")).collect();
        assert_eq!(found.is_empty(), accepted, "{name}: {found:?}");
    }
}

fn messages(text: &str) -> Vec<String> {
    match parse(text, &Environment::default()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(|error| format!("{}: {}", error.line, error.message)).collect(),
    }
}

#[test]
fn pf_braces_nest_64_deep_at_most() {
    let anchors = |count: usize| format!("{}{}", "anchor \"a\" {\n".repeat(count), "}\n".repeat(count));
    assert_eq!(messages(&anchors(64)), Vec::<String>::new());
    assert_eq!(messages(&anchors(65))[0], "65: braces nested more than 64 deep");
}

#[test]
fn pf_lists_expand_to_100_000_rules_at_most() {
    let list = |second: u8, count: usize| {
        let addresses: Vec<String> =
            (0..count).map(|n| format!("10.{second}.{}.{}", n / 250, n % 250)).collect();
        format!("{{ {} }}", addresses.join(" "))
    };
    let rules = |from: usize, to: usize| format!("pass from {} to {}\n", list(0, from), list(1, to));
    let told = "1: the lists expand to more than 100000 rules";
    assert_eq!(messages(&rules(400, 251)), [told]);
    // The limit is of the whole ruleset.
    assert_eq!(
        messages(&(rules(40, 50).repeat(50) + "pass\n")),
        ["51: the lists expand to more than 100000 rules"]
    );
    let full = parse(&rules(40, 50).repeat(2), &Environment::default()).unwrap();
    assert_eq!(full.rules.filter.len(), 4_000);
    assert_eq!(print(&full, Environment::default().names).lines().count(), 4_000);
}

#[test]
fn pf_macros_have_256_kib_at_most_and_stand_for_64_mib_in_all() {
    let long = |count: usize| format!("a = \"{}\"\nb = {}\n", "x".repeat(4_000), "$a ".repeat(count));
    assert_eq!(messages(&long(65)), Vec::<String>::new());
    assert_eq!(messages(&long(66)), ["2: macro `b` is longer than 262144 bytes"]);
    // White space, so that the rule is the same however often the macro is used.
    let used = |count: usize| format!("a = \"{}\"\npass {}\n", " ".repeat(8_000), "$a ".repeat(count));
    assert_eq!(messages(&used(67_108_864 / 8_000)), Vec::<String>::new());
    let told = ["2: the macros stand for more than 67108864 bytes"];
    assert_eq!(messages(&used(67_108_864 / 8_000 + 1)), told);
    // What comes after is not read, whatever the place: in a list, in an anchor, at the beginning of a line.
    let space = format!("a = \"{}\"\n", " ".repeat(8_000));
    for rest in ["pass from { 10.0.0.1, %", "anchor \"x\" {\npass %", "%"] {
        let text =
            space.clone() + &rest.replace('%', &"$a ".repeat(67_108_864 / 8_000 + 1)) + "\npass pass\n";
        let told: Vec<String> =
            messages(&text).iter().map(|one| one.split_once(": ").expect("a line").1.to_owned()).collect();
        assert_eq!(told, ["the macros stand for more than 67108864 bytes"], "{rest}");
    }
}
