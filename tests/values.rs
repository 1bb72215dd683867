//! Edges of single values, and the plan that is made of the smallest declarations that show an edge.

use std::net::Ipv4Addr;

use nixvol_net::model::regions::{Region, RegionPair};
use nixvol_net::model::{self, Conditions, Declaration, FreeNetworks};
use nixvol_net::plan::Plan;
use nixvol_net::plan::faults::{FaultTable, reach, table};
use serde_json::{Value, json};

use crate::boundaries::problems;
use crate::support::{declared, default_input, fixture};

fn with_macs(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut input = fixture("macs.json");
    change(&mut input);
    problems(&input)
}

#[test]
fn conditions_from_outside_the_declaration_have_the_same_limits() {
    let of =
        |latency, loss, bandwidth| Conditions::checked(latency, loss, bandwidth).err().unwrap_or_default();
    for (latency, loss, bandwidth) in [
        (Some(10_000), None, None),
        (None, Some(0.0), None),
        (None, Some(1.0), None),
        (None, None, Some(1)),
        (None, None, Some(2_147_483)),
        (Some(0), Some(0.5), Some(7)),
    ] {
        assert_eq!(of(latency, loss, bandwidth), "", "{latency:?} {loss:?} {bandwidth:?}");
    }
    for (latency, loss, bandwidth, told) in [
        (Some(10_001), None, None, "the latency is 10001 ms; it may be from 0 to 10000 milliseconds"),
        (None, Some(1.5), None, "the loss is 1.5; it is a fraction from 0 to 1, so that 0.01 is 1 %"),
        (None, Some(-0.5), None, "the loss is -0.5; it is a fraction from 0 to 1, so that 0.01 is 1 %"),
        (None, None, Some(0), "the bandwidth is 0 kbit/s; it may be from 1 to 2147483"),
        (None, None, Some(2_147_484), "the bandwidth is 2147484 kbit/s; it may be from 1 to 2147483"),
        (None, None, None, "nothing is asked for: give a latency, a loss or a bandwidth"),
    ] {
        assert_eq!(of(latency, loss, bandwidth), told);
    }
}

#[test]
fn the_port_of_an_endpoint_is_a_number_in_plain_digits() {
    for (port, is_valid) in [
        ("1", true),
        ("65535", true),
        ("0", false),
        ("65536", false),
        ("+51820", false),
        ("", false),
        ("5182a", false),
    ] {
        let found = with_macs(|input| input["macs"]["mini"]["endpoint"] = json!(format!("mini.lan:{port}")));
        let wanted: &[&str] = if is_valid { &[] } else { &["E074 macs.mini.endpoint"] };
        assert_eq!(found, wanted, "{port}");
    }
    for (port, is_valid) in [(1, true), (65_535, true), (0, false), (65_536, false)] {
        let found = with_macs(|input| input["macs"]["mini"]["listenPort"] = json!(port));
        assert_eq!(found.is_empty(), is_valid, "{port}: {found:?}");
    }
    for (length, is_valid) in [(253, true), (254, false)] {
        let host = format!("{}{}", "abc.".repeat(62), "d".repeat(length - 248));
        let found = with_macs(|input| input["macs"]["mini"]["endpoint"] = json!(format!("{host}:51820")));
        assert_eq!(found.is_empty(), is_valid, "{length}: {found:?}");
    }
}

#[test]
fn each_byte_of_a_mac_address_has_two_hexadecimal_digits() {
    for (mac, is_valid) in [
        ("52:54:00:12:34:5a", true),
        ("2:54:00:12:34:56", false),
        ("+2:54:00:12:34:56", false),
        ("52:54:00:12:34:056", false),
        ("52:54:00:12:34:5g", false),
        ("52:54:00:12:34:", false),
    ] {
        let mut input = default_input();
        input["volumes"]["etcd-1"]["attachment"] = json!("guest");
        input["volumes"]["etcd-1"]["guest"] = json!({ "mac": mac });
        assert_eq!(problems(&input).is_empty(), is_valid, "{mac}: {:?}", problems(&input));
    }
}

#[test]
fn a_path_has_1023_bytes_at_most() {
    for (length, is_valid) in [(1_023, true), (1_024, false)] {
        let mut input = default_input();
        input["volumes"]["etcd-1"]["mountPoint"] = json!(format!("/{}", "a".repeat(length - 1)));
        assert_eq!(problems(&input).is_empty(), is_valid, "{length}: {:?}", problems(&input));
    }
}

#[test]
fn a_link_to_an_entry_with_a_wrong_name_is_not_reported_for_it() {
    for kind in ["providers", "volumes"] {
        let mut input = default_input();
        input[kind]["A_b"] = match kind {
            "providers" => json!({ "network": "10.90.0.0/16", "gateway": "10.90.1.1/24" }),
            _ => json!({ "provider": "aws", "address": "10.0.1.77" }),
        };
        input["links"] = json!([{ "from": ["aws"], "to": ["A_b"] }]);
        let found = problems(&input);
        assert_eq!(found, [format!("E010 {kind}.A_b")]);
    }
}

#[test]
fn only_jitter_that_does_something_is_warned_of() {
    for (jitter, warned) in [(0, 0), (1, 1)] {
        let mut input = default_input();
        let conditions = json!({ "latencyMs": 1, "jitterMs": jitter });
        input["links"] = json!([{ "from": ["aws"], "to": ["gcp"], "conditions": conditions }]);
        assert_eq!(declared(&input).warnings().len(), warned, "{jitter}");
    }
}

#[test]
fn ten_thousand_paths_have_conditions_at_most() {
    let declaration = |links: usize| {
        let volumes: serde_json::Map<String, Value> = (0..102)
            .map(|number| {
                let network = if number % 2 == 0 { "a" } else { "b" };
                let address = format!("10.{}.0.{}", number % 2, number / 2 + 2);
                (format!("v{number}"), json!({ "provider": network, "address": address }))
            })
            .collect();
        let pairs = (0..102).flat_map(|from| (0..102).map(move |to| (from, to)));
        // 51 volumes of each provider: 2 * 51 * 51 pairs between them are too few, so inner ones count, too.
        let links: Vec<Value> = pairs
            .filter(|(from, to)| from != to)
            .take(links)
            .map(|(from, to)| {
                json!({ "from": [format!("v{from}")], "to": [format!("v{to}")], "conditions": { "latencyMs": 1 } })
            })
            .collect();
        json!({
            "version": 1,
            "providers": {
                "a": { "network": "10.0.0.0/16", "gateway": "10.0.0.1/24" },
                "b": { "network": "10.1.0.0/16", "gateway": "10.1.0.1/24" },
            },
            "volumes": volumes,
            "links": links,
        })
    };
    let told = |links: usize| problems(&declaration(links)).iter().filter(|it| *it == "E009 links").count();
    assert_eq!((told(10_000), told(10_001)), (0, 1));
}

#[test]
fn a_free_network_overlaps_none_in_use() {
    let free = |taken: &[&str], length| {
        let taken = taken.iter().map(|network| network.parse().expect("a network"));
        FreeNetworks::new(taken).take(length).map(|network| network.to_string())
    };
    assert_eq!(free(&[], 16).as_deref(), Some("10.0.0.0/16"));
    // Smaller ones inside it: at its beginning, a single address, and at its end.
    assert_eq!(free(&["10.0.0.0/24"], 16).as_deref(), Some("10.1.0.0/16"));
    assert_eq!(free(&["10.0.0.0/32"], 16).as_deref(), Some("10.1.0.0/16"));
    assert_eq!(free(&["10.0.255.255/32"], 16).as_deref(), Some("10.1.0.0/16"));
    // A wider one.
    assert_eq!(free(&["10.0.0.0/8"], 16).as_deref(), Some("172.16.0.0/16"));
    assert_eq!(free(&["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"], 16), None);
}

#[test]
fn a_region_is_its_name() {
    let region = |name| Region::find(name).expect("a region");
    let (east, west) = (region("us-east-1"), region("eu-west-1"));
    assert_eq!(east, region("us-east-1"));
    assert_ne!(east, west);
    let pair = RegionPair { from: east, to: west };
    assert_ne!(pair, RegionPair { from: west, to: east });
    assert!(!pair.landings().is_empty(), "a cable crosses the Atlantic");
    assert!(RegionPair { from: east, to: region("us-west-2") }.landings().is_empty());
}

#[test]
fn tables_of_faults() {
    let known = |is_first, is_here, end| Some(FaultTable { is_first, is_here, end });
    for (name, expected) in [
        ("one1-aws", known(true, false, Some("aws"))),
        ("two12-etcd-1", known(false, false, Some("etcd-1"))),
        ("two1", known(false, false, None)),
        ("one1h-aws", known(true, true, Some("aws"))),
        ("two3h", known(false, true, None)),
        ("one1", None),
        ("one-aws", None),
        ("oneh-aws", None),
        ("onex-aws", None),
        ("three1-aws", None),
    ] {
        assert_eq!(table(name), expected, "{name}");
    }
    let plan = Plan::of(&declared(&default_input()));
    let networks = |end| reach(&plan, Some(end), None).map(|end| end.networks);
    let aws = networks("aws").expect("a provider");
    assert!(aws.iter().any(|network| network.to_string() == "10.0.0.0/16"), "{aws:?}");
    assert!(!aws.iter().any(|network| network.contains(&Ipv4Addr::new(10, 1, 1, 2))), "{aws:?}");
    assert_eq!(networks("nobody"), None);
}

/// Five providers with a volume each: `a` with `a-1`, `b` with `b-1`, and so on.
fn five(links: &Value) -> Declaration {
    let names = ["a", "b", "c", "d", "e"];
    let provider = |(number, name): (usize, &&str)| {
        let network =
            json!({ "network": format!("10.{number}.0.0/16"), "gateway": format!("10.{number}.0.1/24") });
        ((*name).to_owned(), network)
    };
    let volume = |(number, name): (usize, &&str)| {
        (format!("{name}-1"), json!({ "provider": name, "address": format!("10.{number}.0.2") }))
    };
    let providers: serde_json::Map<String, Value> = names.iter().enumerate().map(provider).collect();
    let volumes: serde_json::Map<String, Value> = names.iter().enumerate().map(volume).collect();
    declared(&json!({ "version": 1, "providers": providers, "volumes": volumes, "links": links }))
}

fn names(ends: &[model::Endpoint]) -> String {
    ends.iter().map(|end| end.name().as_str()).collect::<Vec<_>>().join(" ")
}

/// What a plan permits: `a b -> c d`.
fn permitted(links: &Value) -> Vec<String> {
    let plan = Plan::of(&five(links));
    plan.flows.iter().map(|flow| format!("{} -> {}", names(&flow.from), names(&flow.to))).collect()
}

/// What a plan steers into which of its pipes, in order: `a -> b: 0`.
fn steered(links: &Value) -> Vec<String> {
    let plan = Plan::of(&five(links));
    let number = |pipe| plan.pipes.iter().position(|it| it.number == pipe).expect("a pipe of the plan");
    plan.steering
        .iter()
        .map(|it| format!("{} -> {}: {}", names(&it.from), names(&it.to), number(it.pipe)))
        .collect()
}

#[test]
fn steering_leaves_out_what_stays_inside_a_provider_and_what_is_steered_before() {
    let slow = |to: &[&str], ms: u32| json!({ "from": ["a"], "to": to, "conditions": { "latencyMs": ms } });
    assert_eq!(steered(&json!([slow(&["a", "b"], 5)])), ["a -> b: 0"]);
    assert_eq!(steered(&json!([slow(&["b"], 5), slow(&["b", "c"], 5)])), ["a -> c: 1", "a -> b: 0"]);
}

#[test]
fn a_provider_of_a_mac_that_cannot_be_read_is_not_said_to_be_on_no_mac() {
    let found = with_macs(|input| {
        input["macs"]["mini"].as_object_mut().expect("a Mac").remove("providers");
    });
    assert_eq!(found, ["E003 macs.mini"]);
}

#[test]
fn destinations_of_one_source_are_merged_in_order() {
    let link = |from: &[&str], to: &[&str]| json!({ "from": from, "to": to });
    // The same source: destinations are merged, in order, and only once each.
    assert_eq!(permitted(&json!([link(&["a"], &["b", "e"]), link(&["a"], &["c"])])), ["a -> b c e"]);
    // A volume is left out beside its provider, also if they come from different links.
    assert_eq!(
        permitted(&json!([link(&["a"], &["b", "e"]), link(&["a"], &["c"]), link(&["a"], &["c-1"])])),
        ["a -> b c e"]
    );
}
