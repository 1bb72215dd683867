//! Another bundle over a network that is up: only what changed is touched, and nothing else is even named.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::network::{Network, topology};
use crate::rig::{Call, foreign};

/// What each volume has on the Mac: the kernel names of its feth pair, its address, and its localhost alias.
fn objects(network: &Network) -> BTreeMap<String, Vec<String>> {
    let (_, status) = network.status();
    let names = std::fs::read_to_string(network.state().join("names")).expect("the names");
    let ends: BTreeMap<&str, Vec<String>> = names
        .lines()
        .map(|line| {
            let mut fields = line.split('\t');
            (fields.next().unwrap_or_default(), fields.map(str::to_owned).collect())
        })
        .collect();
    let volumes = status["volumes"].as_array().expect("volumes");
    let objects = volumes.iter().map(|volume| {
        let field = |name: &str| volume[name].as_str().map(str::to_owned);
        let mut list = ends[field("port").expect("a port").as_str()].clone();
        list.extend(field("address"));
        list.extend(field("localhost"));
        (field("name").expect("a name"), list)
    });
    objects.collect()
}

/// The calls of an upgrade to another declaration, and what each volume had before and has after it.
struct Upgrade {
    network: Network,
    calls: Vec<Call>,
    objects: BTreeMap<String, Vec<String>>,
}

fn upgrade(change: impl Fn(&mut Value)) -> Upgrade {
    let network = Network::new(&topology());
    network.ok("start");
    let mut all = objects(&network);
    let mut input = topology();
    change(&mut input);
    network.install(&input);
    network.mac.forget_journal();
    network.ok("start");
    let calls = network.mac.journal();
    network.assert_up();
    all.append(&mut objects(&network));
    Upgrade { network, calls, objects: all }
}

impl Upgrade {
    /// Calls that name something of any other volume. Every word of every command counts, including commands that only
    /// look and tools that handle files.
    fn named_others(&self, changed: &[&str]) -> Vec<String> {
        let others: Vec<&String> = self
            .objects
            .iter()
            .filter(|(name, _)| !changed.contains(&name.as_str()))
            .flat_map(|(name, list)| list.iter().chain([name]))
            .collect();
        assert!(others.len() >= 5 * 10, "{others:?}");
        let names = |call: &Call| {
            let words = call
                .words
                .iter()
                .flat_map(|word| word.split(|c: char| !(c.is_alphanumeric() || ".-".contains(c))));
            words.into_iter().any(|word| others.iter().any(|other| *other == word))
        };
        self.calls.iter().filter(|call| names(call)).map(Call::line).collect()
    }

    fn changes(&self) -> Vec<&str> {
        self.calls.iter().filter(|call| call.mark == '!').map(|call| call.words[0].as_str()).collect()
    }
}

#[test]
fn adding_and_removing_a_volume_names_no_other() {
    let it = upgrade(|input| {
        let volumes = input["volumes"].as_object_mut().expect("volumes");
        volumes.remove("etcd-2");
        let added = json!({ "provider": "gcp", "address": "10.2.9.9", "localhost": "127.0.1.99" });
        volumes.insert("added".to_owned(), added);
    });
    assert_eq!(it.named_others(&["etcd-2", "added"]), [""; 0]);
    let changes = it.changes();
    assert_eq!(changes.len(), 11, "{changes:?}");
    assert_eq!(changes[0], "pfctl", "the rules name what the Mac has: {changes:?}");
    assert!(changes[1..].iter().all(|name| *name == "ifconfig"), "{changes:?}");
    assert_eq!(foreign(&it.calls), [""; 0]);
    // The reverse upgrade: the returning volume gets its old kernel names.
    let before = objects(&it.network);
    it.network.install(&topology());
    it.network.ok("start");
    let after = objects(&it.network);
    assert_eq!(after["etcd-2"], it.objects["etcd-2"]);
    assert!(after.iter().filter(|(name, _)| *name != "etcd-2").all(|(name, list)| before[name] == *list));
}

#[test]
fn changing_the_address_of_a_volume_names_no_other() {
    let it = upgrade(|input| input["volumes"]["etcd-3"]["address"] = json!("10.2.1.77"));
    assert_eq!(it.named_others(&["etcd-3"]), [""; 0]);
    assert_eq!(it.changes(), ["pfctl", "ifconfig", "ifconfig"]);
}

#[test]
fn turning_internet_off_changes_only_pf() {
    let it = upgrade(|input| input["providers"]["ibm"]["internet"] = json!(false));
    assert_eq!(it.named_others(&[]), [""; 0]);
    let changes = it.changes();
    assert!(!changes.is_empty() && changes.iter().all(|name| *name == "pfctl"), "{changes:?}");
}

#[test]
fn changing_links_changes_only_pf() {
    let it = upgrade(|input| {
        input["links"] =
            json!([{ "from": ["aws"], "to": ["gcp", "etcd-2"], "protocol": "tcp", "ports": [2379] }]);
    });
    // A link may name a volume, whose address its rule then has; only that volume is named.
    assert_eq!(it.named_others(&["etcd-2"]), [""; 0]);
    let changes = it.changes();
    assert!(!changes.is_empty() && changes.iter().all(|name| *name == "pfctl"), "{changes:?}");
}

#[test]
fn changing_conditions_changes_only_dummynet_and_pf() {
    let it = upgrade(|input| {
        input["links"] = json!([{ "from": ["aws"], "to": ["gcp"], "conditions": { "latencyMs": 40 } }]);
    });
    assert_eq!(it.named_others(&[]), [""; 0]);
    let changes = it.changes();
    assert_eq!(changes.first(), Some(&"dnctl"), "{changes:?}");
    assert!(changes[1..].iter().all(|name| *name == "pfctl"), "{changes:?}");
    // Changed and removed conditions: no port, no address and no other pipe is named.
    for (latency, expected) in [(Some(80), "dnctl pipe 20000 config"), (None, "dnctl pipe delete 20000")] {
        let mut input = topology();
        input["links"] = json!([{ "from": ["aws"], "to": ["gcp"] }]);
        if let Some(latency) = latency {
            input["links"][0]["conditions"] = json!({ "latencyMs": latency });
        }
        it.network.install(&input);
        it.network.mac.forget_journal();
        it.network.ok("start");
        it.network.assert_up();
        let pipes: Vec<String> = it.network.mac.changes();
        let pipes: Vec<&String> = pipes.iter().filter(|line| line.starts_with("dnctl")).collect();
        assert!(pipes.len() == 1 && pipes[0].starts_with(expected), "{pipes:?}");
        let calls = it.network.mac.changes();
        assert!(calls.iter().all(|line| line.starts_with("dnctl") || line.starts_with("pfctl")), "{calls:?}");
    }
}

#[test]
fn adding_a_volume_costs_a_handful_of_commands() {
    let commands = |added: usize| {
        let network = Network::new(&topology());
        network.ok("start");
        let mut input = topology();
        let volumes = input["volumes"].as_object_mut().expect("volumes");
        for index in 0..added {
            volumes.insert(
                format!("added-{index}"),
                json!({ "provider": "aws", "address": format!("10.0.9.{}", 9 + index), "localhost": format!("127.0.1.{}", 90 + index) }),
            );
        }
        network.install(&input);
        network.mac.forget_journal();
        network.ok("start");
        network.mac.journal().len()
    };
    let (none, one, two) = (commands(0), commands(1), commands(2));
    assert_eq!(
        (none, one - none, two - one),
        (38, 44, 6),
        "nothing to do, the first volume more, each further volume"
    );
}
