//! Connections that are open while the rules change: those no longer permitted end, the others continue.

use serde_json::{Value, json};

use crate::network::{AWKS, Network, SHELLS, slow, small, topology};

/// Opens a connection on the toy Mac: source, destination and destination port, over TCP.
fn open(network: &Network, from: &str, to: &str, port: u16) {
    network.mac.edit(|kernel| kernel + &format!("state\ttcp\t{from}\t49152\t{to}\t{port}\n"));
}

/// Source and destination of every open connection.
fn connected(network: &Network) -> Vec<String> {
    let states = network.mac.ok("pfctl -q -s states");
    let ends = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        format!("{} {}", words[2].split(':').next().unwrap_or(""), words[4])
    };
    states.lines().map(ends).collect()
}

/// The topology with these links.
fn linked(links: Value) -> Value {
    let mut input = topology();
    input["links"] = links;
    input
}

const FOREIGN: [(&str, &str, u16); 3] = [
    ("192.168.1.23", "93.184.216.34", 443),
    ("172.27.16.7", "172.27.16.9", 22),
    ("127.0.0.1", "127.0.0.1", 5432),
];

#[test]
fn connections_no_longer_permitted_end() {
    for (shell, awk) in [(0, 0), (1, 1), (2, 2), (3, 0)] {
        let mut network = Network::new(&linked(json!([
            { "from": ["aws"], "to": ["azure", "gcp"], "protocol": "tcp", "ports": [2379] },
            { "from": ["ibm"], "to": ["aws"] },
        ])));
        network.under(SHELLS[shell], AWKS[awk]);
        network.ok("start");
        for (from, to, port) in FOREIGN {
            open(&network, from, to, port);
        }
        open(&network, "10.0.1.2", "10.1.1.2", 2379);
        open(&network, "10.0.1.2", "10.2.1.2", 2379);
        open(&network, "10.3.1.2", "10.0.1.2", 6443);
        open(&network, "10.0.1.2", "10.0.2.2", 80);
        open(&network, "10.0.1.2", "93.184.216.34", 443);
        let all = connected(&network);
        network.ok("start");
        network.ok("reconcile");
        assert_eq!(connected(&network), all, "nothing changed");
        network.install(&linked(json!([
            { "from": ["aws"], "to": ["gcp"], "protocol": "tcp", "ports": [2379] },
            { "from": ["ibm"], "to": ["aws"] },
        ])));
        network.mac.forget_journal();
        network.ok("start");
        let left = connected(&network);
        let gone: Vec<&String> = all.iter().filter(|line| !left.contains(line)).collect();
        // One rule had covered both providers, so gcp's connection ends as well and has to be opened again.
        assert_eq!(gone, ["10.0.1.2 10.1.1.2:2379", "10.0.1.2 10.2.1.2:2379"]);
        let kills: Vec<String> = network
            .mac
            .journal()
            .iter()
            .map(crate::rig::Call::line)
            .filter(|line| line.contains(" -k "))
            .collect();
        assert_eq!(kills, ["pfctl -k 10.0.0.0/16 -k 10.1.0.0/16", "pfctl -k 10.0.0.0/16 -k 10.2.0.0/16"]);
        network.ok("cleanup");
        let left = connected(&network);
        assert_eq!(left.len(), FOREIGN.len(), "{left:?}");
    }
}

#[test]
fn a_network_that_loses_the_internet_loses_its_connections() {
    let network = Network::new(&topology());
    network.ok("start");
    for (from, to, port) in FOREIGN {
        open(&network, from, to, port);
    }
    open(&network, "10.1.1.2", "93.184.216.34", 443);
    open(&network, "10.0.1.2", "93.184.216.34", 443);
    open(&network, "10.0.1.2", "10.1.1.2", 443);
    let all = connected(&network);
    let mut input = topology();
    input["providers"]["azure"]["internet"] = json!(false);
    network.install(&input);
    network.ok("start");
    let left = connected(&network);
    let gone: Vec<&String> = all.iter().filter(|line| !left.contains(line)).collect();
    assert_eq!(gone, ["10.1.1.2 93.184.216.34:443"]);
}

#[test]
fn more_permissive_rules_end_no_connection() {
    let network = Network::new(&small());
    network.ok("start");
    open(&network, "10.0.1.2", "10.3.1.2", 6443);
    open(&network, "10.0.1.2", "93.184.216.34", 443);
    let all = connected(&network);
    let mut input = small();
    input["links"].as_array_mut().expect("links").push(json!({ "from": ["ibm"], "to": ["aws"] }));
    input["volumes"]["etcd-1"]["publish"] = json!([2379]);
    network.install(&input);
    network.ok("start");
    assert_eq!(connected(&network), all);
    open(&network, "127.0.0.1", "10.0.1.2", 2379);
    network.install(&small());
    network.ok("start");
    assert!(!connected(&network).contains(&"127.0.0.1 10.0.1.2:2379".to_owned()), "a publish that is gone");
}

#[test]
fn the_next_run_ends_connections_that_a_killed_run_left() {
    let tight = linked(json!([]));
    let prepare = || {
        let network = Network::new(&topology());
        network.ok("start");
        open(&network, "10.0.1.2", "10.1.1.2", 2379);
        network.install(&tight);
        network
    };
    let network = prepare();
    network.mac.forget_journal();
    network.ok("start");
    let journal = network.mac.journal();
    let first = journal.iter().position(|call| call.line().contains(" -k ")).expect("an end");
    for k in [first, first + 1, first + 8] {
        let network = prepare();
        network.mac.fault(Some(("kill-before", k)));
        network.run("start");
        network.mac.fault(None);
        network.ok("reconcile");
        assert_eq!(connected(&network), [""; 0], "killed at {k}");
    }
}

/// When the last provider is removed, every table that a rule named disappears too.
#[test]
fn an_emptied_network_ends_its_connections() {
    for input in [small(), slow()] {
        let network = Network::new(&input);
        let before = network.mac.kernel();
        network.ok("start");
        open(&network, "10.0.1.2", "93.184.216.34", 443);
        open(&network, "192.168.1.23", "93.184.216.34", 443);
        network.install(&json!({ "version": 1, "providers": {}, "volumes": {} }));
        network.ok("start");
        network.assert_up();
        assert_eq!(connected(&network), ["192.168.1.23 93.184.216.34:443"]);
        let log = || std::fs::read_to_string(network.mac.dir().join("var/log")).expect("the log");
        let told = log();
        network.ok("reconcile");
        assert_eq!(log(), told, "nobody emptied what is empty");
        assert!(!network.hosts().contains("\n\n"), "{}", network.hosts());
        // No rule names an interface, so a changed set of interfaces is no reason to reload.
        network.install(&input);
        network.ok("start");
        assert!(!log()[told.len()..].contains("changed from nothing"), "{}", log());
        network.mac.remove("state\t");
        network.ok("cleanup");
        network.assert_clean(&before);
    }
}
