//! `diff`: the words for senders, receivers and services.

use serde_json::{Value, json};

use crate::diff::{add_link, headlines, narrow};
use crate::support::{default_input, names, providers};

#[test]
fn the_reverse_diff_has_opposite_signs() {
    let (old, mut new) = (narrow(), narrow());
    add_link(&mut new, json!([6443]));
    assert_eq!(headlines(&old, &new), ["+ opens aws, azure -> gcp tcp 6443"]);
    assert_eq!(headlines(&new, &old), ["- closes aws, azure -> gcp tcp 6443"]);
}

#[test]
fn flows_that_a_volume_already_had_are_not_reported() {
    let (old, mut new) = (narrow(), narrow());
    add_link(&mut new, json!(["2379-2380"]));
    // etcd-1 and etcd-2 had a flow to etcd-3 of gcp before, and to nothing else there.
    let said = [
        "+ opens aws but etcd-1, azure but etcd-2 -> gcp tcp 2379-2380",
        "+ opens etcd-1, etcd-2 -> gcp but etcd-3 tcp 2379-2380",
    ];
    assert_eq!(headlines(&old, &new), said);
}

#[test]
fn the_form_of_a_link_does_not_matter() {
    let mut pairs = default_input();
    let all = ["aws", "azure", "digitalocean", "gcp", "ibm"];
    let pair = |from: &str, to: &str| json!({ "from": [from], "to": [to], "protocol": "tcp", "ports": [80, "81-90"] });
    let each =
        all.iter().flat_map(|from| all.iter().filter(move |to| *to != from).map(move |to| pair(from, to)));
    pairs["links"] = each.collect();
    let mut mesh = default_input();
    mesh["links"] = json!([{ "from": all, "to": all, "protocol": "tcp", "ports": ["80-90"] }]);
    assert_eq!(headlines(&pairs, &mesh), [""; 0]);
    let mut none = default_input();
    none["links"] = json!([]);
    assert_eq!(headlines(&none, &pairs), ["+ opens every provider -> every provider tcp 80-90"]);
    assert_eq!(
        headlines(&default_input(), &mesh),
        ["- closes every provider -> every provider any protocol but tcp 80-90"]
    );
}

#[test]
fn one_direction_between_two_providers_is_not_every_provider() {
    let with = |link: Value| {
        let mut input = providers(2);
        input["links"] = link;
        input
    };
    let none = with(json!([]));
    let there = with(json!([{ "from": ["p0"], "to": ["p1"], "protocol": "tcp", "ports": [80] }]));
    assert_eq!(headlines(&none, &there), ["+ opens p0 -> p1 tcp 80"]);
    let both = with(json!([{ "from": ["p0", "p1"], "to": ["p1", "p0"], "protocol": "tcp", "ports": [80] }]));
    assert_eq!(headlines(&none, &both), ["+ opens every provider -> every provider tcp 80"]);
    assert_eq!(headlines(&there, &both), ["+ opens p1 -> p0 tcp 80"]);
    let mut wide = providers(4);
    wide["links"] = json!([{ "from": ["p0"], "to": ["p1", "p2", "p3"], "protocol": "icmp" }]);
    assert_eq!(headlines(&providers(4), &wide), ["+ opens p0 -> every other provider icmp"]);
}

#[test]
fn an_added_provider_takes_a_handful_of_lines() {
    let mesh = |count: usize| {
        let mut input = providers(count);
        input["links"] = json!([{ "from": names(count), "to": names(count) }]);
        input
    };
    let (few, many) = (headlines(&mesh(5), &mesh(6)), headlines(&mesh(40), &mesh(41)));
    assert_eq!(few.len(), many.len(), "{few:#?}\n{many:#?}");
    assert!(many.len() < 10, "{many:#?}");
}

/// Providers by name, network and gateway, without volumes or links.
pub fn networks(all: &[(&str, &str, &str)]) -> Value {
    let mut input = providers(0);
    for (name, network, gateway) in all {
        input["providers"][name] = json!({ "network": network, "gateway": gateway });
    }
    input
}

const P0: (&str, &str, &str) = ("p0", "10.0.0.0/24", "10.0.0.1/24");
const P1: (&str, &str, &str) = ("p1", "10.1.0.0/16", "10.1.0.1/24");

fn with_link(mut input: Value, from: &[&str], to: &[&str], port: u16) -> Value {
    let link = json!({ "from": from, "to": to, "protocol": "tcp", "ports": [port] });
    input["links"].as_array_mut().expect("links").push(link);
    input
}

fn with_volumes(mut input: Value, provider: &str, all: &[(&str, &str)]) -> Value {
    for (name, address) in all {
        input["volumes"][name] = json!({ "provider": provider, "address": address });
    }
    input
}

/// What opens if a port is open to all of p1 that was open to some of its volumes.
fn opened_beside(input: &Value, open: &[&str]) -> Vec<String> {
    let link = |to: &[&str]| with_link(input.clone(), &["p0"], to, 80);
    headlines(&link(open), &link(&["p1"]))
}

#[test]
fn a_provider_is_named_with_exceptions_if_these_are_fewer_than_its_parts() {
    let volumes = [("v0", "10.1.1.20"), ("v1", "10.1.1.21"), ("v2", "10.1.1.22")];
    let input = with_volumes(networks(&[P0, P1]), "p1", &volumes);
    assert_eq!(opened_beside(&input, &["v0"]), ["+ opens p0 -> p1 but v0 tcp 80"]);
    // As many as the ranges around them: names are better than addresses.
    assert_eq!(opened_beside(&input, &["v0", "v1"]), ["+ opens p0 -> p1 but v0 and v1 tcp 80"]);
    assert_eq!(
        opened_beside(&input, &["v0", "v1", "v2"]),
        ["+ opens p0 -> 10.1.0.0-10.1.1.19 (p1), 10.1.1.23-10.1.255.255 (p1) tcp 80"]
    );
    // Outside the half that may overlap, the parts are a range and x, the exceptions w and v.
    let volumes = [("w", "10.1.127.253"), ("x", "10.1.127.254"), ("v", "10.1.127.255")];
    let mut input = with_volumes(networks(&[P0, P1]), "p1", &volumes);
    input["allowOverlap"] = json!(["10.1.128.0/17"]);
    assert_eq!(opened_beside(&input, &["v", "w"]), ["+ opens p0 -> p1 but w and v tcp 80"]);
}

/// What opens from p0 to the first of so many other providers, all but some.
fn opened_but(count: usize, exceptions: usize) -> Vec<String> {
    let all = names(count + 1);
    let to: Vec<&str> = all[1..=count - exceptions].iter().map(String::as_str).collect();
    headlines(&providers(count + 1), &with_link(providers(count + 1), &["p0"], &to, 80))
}

#[test]
fn every_provider_has_few_exceptions() {
    assert_eq!(opened_but(2, 1), ["+ opens p0 -> p1 tcp 80"]);
    assert_eq!(opened_but(3, 1), ["+ opens p0 -> every other provider but p3 tcp 80"]);
    assert_eq!(opened_but(5, 2), ["+ opens p0 -> p1, p2, p3 tcp 80"]);
    assert_eq!(opened_but(6, 2), ["+ opens p0 -> every other provider but p5 and p6 tcp 80"]);
    assert_eq!(opened_but(8, 3), ["+ opens p0 -> p1, p2, p3, p4, p5 tcp 80"]);
    assert_eq!(opened_but(9, 3), ["+ opens p0 -> every other provider but p7 and p8 and p9 tcp 80"]);
    assert_eq!(opened_but(12, 4), ["+ opens p0 -> p1, p2, p3, p4, p5, p6, p7, p8 tcp 80"]);
}

#[test]
fn an_exception_has_no_exceptions() {
    let some = with_volumes(providers(5), "p4", &[("v", "10.0.4.20")]);
    let new = with_link(some.clone(), &["p0"], &["p1", "p2", "p3", "v"], 80);
    assert_eq!(headlines(&some, &new), ["+ opens p0 -> p1, p2, p3, v tcp 80"]);
    let more = with_volumes(providers(8), "p7", &[("v", "10.0.7.20")]);
    let new = with_link(more.clone(), &["p0"], &["p1", "p2", "p3", "p4", "p5", "v"], 80);
    assert_eq!(headlines(&more, &new), ["+ opens p0 -> p1, p2, p3, p4, p5, v tcp 80"]);
}

#[test]
fn a_network_that_became_smaller_is_named_by_what_it_lost() {
    let old = with_link(networks(&[P0, P1]), &["p0"], &["p1"], 80);
    let half = networks(&[P0, ("p1", "10.1.0.0/17", "10.1.0.1/24")]);
    let new = with_link(half, &["p0"], &["p1"], 80);
    assert_eq!(
        headlines(&old, &new),
        [
            "+ opens p0 -> 10.1.128.0/17 (p1 before) any protocol but tcp 80",
            "- closes 10.1.128.0/17 (p1) -> 10.1.0.0/17 (p1) any protocol",
            "~ now silent 10.1.128.0/17 (p1 before) -> p0 any protocol",
            "~ now untouched 10.1.128.0/17 (p1) -> 10.1.128.0/17 (p1), localhost, the internet any protocol",
            "~ now untouched localhost, this Mac, outside -> 10.1.128.0/17 (p1) any protocol",
            "+ NAT p0 -> 10.1.128.0/17 (p1 before) tcp 80",
            "+ NAT p1 (10.1.0.0/17) -> 10.1.128.0/17 (p1 before) any protocol",
        ]
    );
    let widened = headlines(&new, &old);
    assert_eq!(
        widened[..3],
        [
            "+ opens 10.1.128.0/17 (p1) -> 10.1.0.0/17 (p1) any protocol",
            "- closes p0 -> 10.1.128.0/17 (p1 now) any protocol but tcp 80",
            "- now blocks outside -> 10.1.128.0/17 (p1) any protocol",
        ]
    );
}

#[test]
fn addresses_of_a_removed_provider_have_its_name_only_if_nobody_else_has_them() {
    let old = with_volumes(networks(&[P0, P1]), "p1", &[("v", "10.1.0.20")]);
    let old = with_link(old, &["p0"], &["v"], 80);
    let gone = headlines(&old, &networks(&[P0]));
    assert_eq!(
        gone,
        [
            "+ opens p0 -> p1 (outside now) but v (outside now) any protocol",
            "+ opens p0 -> v (outside now) any protocol but tcp 80",
            "~ now silent p1 (outside now) -> p0 any protocol",
            "~ now untouched localhost, this Mac, outside -> p1 (outside now) any protocol",
            "~ now untouched p1 (outside now) -> p1 (outside now), localhost, the internet any protocol",
            "+ NAT p0 -> v (outside now) tcp 80",
        ]
    );
    let carved = networks(&[P0, ("new", "10.1.5.0/24", "10.1.5.1/24")]);
    let said = headlines(&networks(&[P0, P1]), &carved);
    assert_eq!(
        said[..2],
        [
            "+ opens p0 -> 10.1.0.0-10.1.4.255 (p1 before), 10.1.6.0-10.1.255.255 (p1 before) any protocol",
            "- closes p1 (new now) but 10.1.5.0/24 -> 10.1.5.0/24 (p1) any protocol",
        ]
    );
}

#[test]
fn a_name_that_has_another_meaning_on_the_other_side_has_a_note() {
    let old = with_link(networks(&[P0, P1]), &["p0"], &["p1"], 80);
    let renamed = networks(&[P0, ("p2", P1.1, P1.2)]);
    assert_eq!(
        headlines(&old, &with_link(renamed, &["p0"], &["p2"], 81)),
        ["+ opens p0 -> p2 (p1 before) tcp 81", "- closes p0 -> p1 (p2 now) tcp 80"]
    );
    let [a, b] = [("10.1.0.0/16", "10.1.0.1/24"), ("10.2.0.0/16", "10.2.0.1/24")];
    let of = |a: (&str, &str), b: (&str, &str)| {
        with_link(networks(&[P0, ("a", a.0, a.1), ("b", b.0, b.1)]), &["p0"], &["a"], 80)
    };
    assert_eq!(
        headlines(&of(a, b), &of(b, a)),
        ["+ opens p0 -> a (10.2.0.0/16, b before) tcp 80", "- closes p0 -> a (10.1.0.0/16, b now) tcp 80",]
    );
    // Half of the network is another provider's now.
    let split = [P0, ("p1", "10.1.0.0/17", "10.1.0.1/24"), ("p2", "10.1.128.0/17", "10.1.128.1/24")];
    assert_eq!(
        headlines(&old, &with_link(networks(&split), &["p0"], &["p1", "p2"], 80)),
        ["- closes p1 (10.1.0.0/16, p2 now) -> p1 (10.1.0.0/16, p2 now) any protocol"]
    );
}

#[test]
fn ranges_are_networks_or_single_addresses_where_they_can() {
    let mut new = networks(&[P0, P1]);
    new["allowOverlap"] = json!(["10.1.5.9/32"]);
    let said = headlines(&networks(&[P0, P1]), &new);
    assert_eq!(
        said[..2],
        [
            "+ opens p0 -> 10.1.5.9 (p1 before) any protocol",
            "- closes 10.1.5.9 (p1) -> p1 but 10.1.5.9 any protocol",
        ]
    );
}

#[test]
fn localhost_is_named_with_its_aliases_where_they_differ() {
    let published = |all: &[(&str, &str, &str)]| {
        let mut input = networks(&[P0]);
        for (name, address, alias) in all {
            input["volumes"][name] =
                json!({ "provider": "p0", "address": address, "localhost": alias, "publish": [80] });
        }
        let mut new = input.clone();
        new["providers"]["p1"] = json!({ "network": P1.1, "gateway": P1.2 });
        headlines(&input, &new)
    };
    assert_eq!(
        published(&[("v", "10.0.0.9", "127.0.1.11")]),
        [
            "- closes p0 -> p1 (outside before) any protocol",
            "- now blocks outside -> p1 (outside before) any protocol",
            "+ now passes localhost, this Mac -> p1 (outside before) any protocol",
            "+ now passes p1 (outside before) -> 127.0.1.11 (alias of v) any protocol but tcp 80",
            "+ now passes p1 (outside before) -> p1 (outside before), localhost but 127.0.1.11 (alias of v), the internet any protocol",
            "~ now answered p1 (outside before) -> p0 any protocol",
            "+ publishes p1 (outside before) -> 127.0.1.11 (alias of v) tcp 80",
        ]
    );
    let three = published(&[
        ("v", "10.0.0.9", "127.0.1.11"),
        ("w", "10.0.0.10", "127.0.1.12"),
        ("x", "10.0.0.11", "127.0.1.14"),
    ]);
    let aliases = "127.0.1.11-127.0.1.12, 127.0.1.14 (alias of x)";
    assert_eq!(three[3], format!("+ now passes p1 (outside before) -> {aliases} any protocol but tcp 80"));
    let but = aliases.replace(", ", " and ");
    assert_eq!(
        three[4],
        format!(
            "+ now passes p1 (outside before) -> p1 (outside before), localhost but {but}, the internet any protocol"
        )
    );
}
