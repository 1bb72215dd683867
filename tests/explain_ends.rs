//! `explain`: the words for endpoints, the answers for everybody, and the command that would open a flow.

use serde_json::{Value, json};

use crate::explain::{World, mine};
use crate::support::{fixture, run};

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
            "providers": {
                "a": { "network": network, "gateway": gateway },
                "b": { "network": "10.99.0.0/24", "gateway": "10.99.0.1/24" },
            },
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

/// The answers for `v` and everybody: provider a has v, b has five volumes, and some of these are linked.
fn answers(providers: &[&str], linked: &[&str], arguments: &[&str]) -> Vec<String> {
    let mut input = json!({ "version": 1, "providers": {}, "volumes": {}, "links": [] });
    for (name, net) in providers.iter().zip(0..) {
        let (network, gateway) = (format!("10.{net}.0.0/24"), format!("10.{net}.0.1/24"));
        input["providers"][name] = json!({ "network": network, "gateway": gateway });
    }
    input["volumes"]["v"] = json!({ "provider": "a", "address": "10.0.0.9" });
    for name in linked {
        input["volumes"][name] = json!({ "provider": "b", "address": format!("10.1.0.2{}", &name[1..]) });
    }
    if !linked.is_empty() {
        input["links"] = json!([{ "from": ["v"], "to": linked, "protocol": "tcp", "ports": [80] }]);
    }
    let arguments = [&["explain"], arguments, &["--input", "-"]].concat();
    let output = run(&arguments, &input.to_string());
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = told.lines().skip(4).take_while(|line| !line.starts_with("the way"));
    lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn a_provider_has_up_to_three_exceptions() {
    let own = ["everything passes", "  a, a.gateway, localhost, mac, internet, lan"];
    let some = "tcp 80 passes; everything else is refused";
    let three = answers(&["a", "b"], &["w0", "w1", "w2"], &["v", "any"]);
    let rest = ["  w0, w1, w2", "everything is refused", "  b.gateway, b but w0 and w1 and w2"];
    assert_eq!(three, [&own[..], &[some], &rest].concat());
    let four = answers(&["a", "b"], &["w0", "w1", "w2", "w3"], &["v", "any"]);
    let rest = ["  w0, w1, w2, w3", "everything is refused", "  b.gateway, the rest of b"];
    assert_eq!(four, [&own[..], &[some], &rest].concat());
}

#[test]
fn one_provider_is_not_every_provider_and_one_service_has_its_own_name() {
    let own = "  a, a.gateway, localhost, mac, internet, lan";
    assert_eq!(answers(&["a"], &[], &["v", "any"]), ["everything passes", own]);
    assert_eq!(
        answers(&["a", "b"], &[], &["v", "any", "--protocol", "esp"]),
        ["esp passes", own, "esp is refused", "  b, b.gateway"]
    );
}

#[test]
fn the_addresses_of_the_tunnel_are_those_of_the_macs() {
    let world = World::new(&fixture("macs.json"));
    let what = |address: &str| {
        world.ask("api", &format!("{address}:80"), None).expect("an explanation").destination.what
    };
    assert_eq!(what("100.127.0.1"), "this Mac's address in the tunnel to the other Macs");
    assert_eq!(what("100.127.0.2"), "the address of the Mac mini in the tunnel");
    assert_eq!(what("100.127.0.3"), "the address of the Mac laptop in the tunnel");
    assert_eq!(what("100.127.0.9"), "outside the declared networks");
}
