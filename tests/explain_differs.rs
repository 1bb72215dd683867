//! `explain` on captured rules: how what they do differs from what is declared, and the command that would open a flow.

use nixvol_net::explain::Captured;
use nixvol_net::loading::Interfaces;
use serde_json::{Value, json};

use crate::explain::{World, held, mine, rich};
use crate::support::run;

const OURS: &str = "com.apple/250.nixvol";
const MAIN: &str = "main";
const OTHER: &str = "com.apple/100.x";

/// What is said against these rules, hop by hop; `protocol` is that of the question.
fn said(
    world: &World,
    (from, to, protocol): (&str, &str, Option<&str>),
    anchor: &str,
    text: &str,
) -> Vec<String> {
    let captured =
        Captured { name: "capture".to_owned(), anchor: Some(anchor.to_owned()), text: text.to_owned() };
    world.captured(from, to, protocol, &[captured]).expect("an explanation").disagreements
}

/// Our own rules as a Mac holds them, changed.
fn changed(world: &World, from: &str, to: &str) -> String {
    let bridges = world.plan.bridges.iter().map(|it| (it.provider.as_str(), it.logical.as_str()));
    let text = held(&world.anchor, &Interfaces::new(["en0"], bridges.collect::<Vec<_>>())).text;
    assert!(text.contains(from), "{text}");
    text.replace(from, to)
}

#[test]
fn what_is_refused_is_neither_dropped_nor_refused_by_others() {
    let (rich, ask) = (rich(), ("db", "api:5432", None));
    let silent = changed(&rich, "block return ", "block drop ");
    let told = [
        said(&rich, ask, "com.apple/250.rich", &silent),
        said(&rich, ask, OTHER, "block return in quick all\n"),
    ];
    assert_eq!(
        told,
        [
            ["as declared this packet is refused, but the anchor com.apple/250.rich decides differently"],
            ["the anchor com.apple/100.x decides instead, to the same effect"],
        ]
    );
}

#[test]
fn what_is_dropped_is_not_answered() {
    let (mine, ask) = (mine(), ("lan", "etcd-1:22", None));
    let loud = changed(&mine, "block drop", "block return");
    assert_eq!(
        said(&mine, ask, OURS, &loud),
        ["as declared this packet is dropped, but the anchor com.apple/250.nixvol decides differently"]
    );
}

#[test]
fn what_passes_without_a_state_has_a_rule_and_no_state() {
    let (mine, ask) = (mine(), ("etcd-1", "karpenter-worker-1:80", None));
    let kept = changed(&mine, " no state", " keep state");
    let stateless = "as declared this packet passes without a state, but";
    let differently = format!("{stateless} the anchor {OURS} decides differently");
    assert_eq!(said(&mine, ask, OURS, &kept), [differently.as_str(); 2]);
    // Both hooks of the packet, and both of its answer.
    let instead = "the main ruleset decides instead, to the same effect";
    assert_eq!(said(&mine, ask, MAIN, "pass quick all no state\n"), [instead; 4]);
    let nothing = format!("{stateless} no rule decides");
    assert_eq!(said(&mine, ask, MAIN, ""), [nothing.as_str(); 4]);
}

#[test]
fn what_is_not_ours_has_no_rule_of_ours() {
    let (mine, ask) = (mine(), ("mac", "internet:443", None));
    let all = changed(&mine, "", "") + "pass out quick all flags S/SA keep state\n";
    assert_eq!(
        said(&mine, ask, OURS, &all),
        [
            "as declared this packet is not one of this network's, but the anchor com.apple/250.nixvol decides differently"
        ]
    );
}

#[test]
fn the_place_that_decides_instead_is_named() {
    let mine = mine();
    let skip = format!("set skip on en0\n{}", nixvol_net::explain::STOCK_MAIN);
    assert_eq!(
        said(&mine, ("lan", "etcd-1:22", None), MAIN, &skip),
        [
            "as declared this packet is dropped, but pf skips this interface (`set skip`)",
            "as declared this packet passes, but pf skips this interface (`set skip`)",
        ]
    );
    let nat = "nat on en0 inet from any to any -> 192.0.2.1\n";
    assert_eq!(
        said(&mine, ("karpenter-worker-1", "internet:443", None), MAIN, nat),
        ["as declared this packet passes, but the main ruleset translates it"]
    );
}

#[test]
fn a_refused_packet_is_answered_as_its_protocol_allows() {
    let rich = rich();
    let told = |protocol| {
        let text = rich.ask("db", "api", Some(protocol)).expect("an explanation").text();
        text.lines().next().expect("a line").to_owned()
    };
    let at = "blocked at hop 2 (in lo0),";
    assert_eq!(told("50"), format!("db -> api esp: {at} silently"));
    assert_eq!(told("51"), format!("db -> api ah: {at} silently"));
    assert_eq!(told("47"), format!("db -> api gre: {at} answered with an ICMP unreachable"));
    assert_eq!(told("icmp"), format!("db -> api icmp: {at} silently (pf sends no ICMP error for ICMP)"));
}

/// The lines about what would open a flow, if the links are in this file.
fn to_open(file: &str) -> String {
    let input: Value = json!({
        "version": 1,
        "providers": {
            "a": { "network": "10.0.0.0/24", "gateway": "10.0.0.1/24" },
            "b": { "network": "10.1.0.0/24", "gateway": "10.1.0.1/24" },
        },
        "volumes": {
            "v": { "provider": "a", "address": "10.0.0.9" },
            "w": { "provider": "b", "address": "10.1.0.9" },
        },
        "links": [{ "from": ["a"], "to": ["b"], "protocol": "tcp", "ports": [80] }],
        "positions": { "links.0": { "file": file, "line": 3, "column": 4 } },
    });
    let output = run(&["explain", "v", "w:81", "--input", "-"], &input.to_string());
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    told.lines().filter(|line| line.contains("to open it")).collect()
}

#[test]
fn the_command_that_opens_names_only_a_file_that_can_stand_in_a_command() {
    let command = |file: &str| {
        format!("to open it: nixvol-net add link --from v --to w --protocol tcp --port 81 --file {file}")
    };
    for file in ["network.nix", "/home/me/net_1-x.nix@", "x/nix/store/y.nix"] {
        assert_eq!(to_open(file), command(file));
    }
    for file in ["-x.nix", "/nix/store/abc/n.nix", "my net.nix", "net$.nix", "net;.nix"] {
        assert_eq!(to_open(file), command("FILE"), "{file}");
    }
}

/// The notes of an explanation.
fn notes(world: &World, from: &str, to: &str) -> Vec<String> {
    world.ask(from, to, None).expect("an explanation").notes
}

#[test]
fn a_word_is_told_with_its_address_and_an_address_is_not() {
    let mine = mine();
    let bridges = "bridges are shown by their logical names; `status` knows the kernel's";
    let provider = "`aws` stands for 10.0.1.254, an address of 10.0.0.0/16 that no volume has";
    assert_eq!(notes(&mine, "aws", "etcd-2:2379"), [provider, bridges]);
    assert_eq!(notes(&mine, "10.0.9.9", "etcd-2:2379"), [bridges]);
    let outside = "en0 with 192.0.2.10 stands for the interface that leads outside";
    let internet = "`internet` stands for 198.51.100.7";
    assert_eq!(notes(&mine, "etcd-1", "internet:443"), [internet, outside]);
    assert_eq!(notes(&mine, "etcd-1", "203.0.113.9:443"), [outside]);
}

#[test]
fn an_address_of_no_single_host_is_refused() {
    for address in ["0.0.0.0", "224.0.0.1", "240.0.0.0", "255.255.255.255"] {
        let refused =
            format!("{:?}", mine().ask("etcd-1", &format!("{address}:80"), None).expect_err("refused"));
        assert!(refused.contains(&format!("`{address}` is not the address of a single host")), "{refused}");
    }
}

#[test]
fn example_hosts_are_in_no_declared_network() {
    let lan = |network: &str, gateway: &str| {
        let input = json!({
            "version": 1,
            "providers": { "a": { "network": network, "gateway": gateway } },
            "volumes": {},
            "links": [],
        });
        World::new(&input).ask("lan", "a", None).expect("an explanation").source.address.to_string()
    };
    let lans = [
        lan("10.0.0.0/16", "10.0.0.1/24"),
        lan("192.0.2.0/24", "192.0.2.1/24"),
        lan("192.0.0.0/16", "192.0.1.1/24"),
        lan("192.0.2.64/26", "192.0.2.65/26"),
    ];
    assert_eq!(lans, ["192.0.2.77", "198.51.100.77", "198.51.100.77", "198.51.100.77"]);
}
