//! The Mac moves: ways out change, VM tools come and go, others take things away. The next reconcile mends just
//! that, the log says who took what, and then nothing is left to do.

use std::fs;

use serde_json::json;

use crate::network::{Network, small, topology};
use crate::rig::Mac;

/// The lines that the log has gained.
fn told(network: &Network, before: &str) -> String {
    let log = fs::read_to_string(network.mac.dir().join("var/log")).expect("the log");
    log.strip_prefix(before).expect("the log only grows").to_owned()
}

/// Lets something happen to a network that is up, and looks at what the next reconcile does and says.
fn mended(network: &Network, what: impl FnOnce(&Mac), words: &str, changes: &[&str]) {
    let log = fs::read_to_string(network.mac.dir().join("var/log")).expect("the log");
    what(&network.mac);
    network.mac.forget_journal();
    network.ok("reconcile");
    assert_eq!(network.mac.changes(), changes, "{words}");
    let said = told(network, &log);
    assert!(said.contains(&format!("Z reconcile: {words}")), "{words} is not in\n{said}");
    network.assert_up();
    let log = fs::read_to_string(network.mac.dir().join("var/log")).expect("the log");
    network.mac.forget_journal();
    network.ok("reconcile");
    assert_eq!(
        (network.mac.changes().as_slice(), told(network, &log).as_str()),
        ([].as_slice(), ""),
        "{words}"
    );
}

/// The load of the rules, as the journal has it.
fn load(network: &Network) -> String {
    format!("pfctl -a com.apple/250.nixvol -f {}/rules.loading", network.state().display())
}

#[test]
fn ways_out_that_change_are_followed() {
    let network = Network::new(&small());
    network.ok("start");
    let load = load(&network);
    let wifi_to_ethernet = |mac: &Mac| {
        mac.edit(|kernel| {
            kernel.replace("192.168.1.1\tUGScg\ten0", "192.168.1.1\tUGScg\ten1").replace(
                "\ten1\t3\t1\t1\t1500\t36:7d:da:00:00:01\t\t\t",
                "\ten1\t3\t1\t1\t1500\t36:7d:da:00:00:01\t\t\t192.168.1.24/24",
            )
        });
    };
    let words =
        "the ways out changed from en0, utun4 to en1, utun4; the default route is by 192.168.1.1 en1\n";
    mended(&network, wifi_to_ethernet, words, &[&load]);
    let vpn_up = |mac: &Mac| {
        mac.add("if\tutun5\t40\t1\t1\t1380\t\t\t\t100.99.0.2/32/100.99.0.2");
        mac.add("route\t172.31.0.0/16\tutun5\tUSc\tutun5\t");
    };
    mended(&network, vpn_up, "the ways out changed from en1, utun4 to en1, utun4, utun5;", &[&load]);
    let vpns_down = |mac: &Mac| {
        mac.remove("route\t172.31.0.0/16");
        mac.remove("route\t100.64.0.0/10");
    };
    mended(&network, vpns_down, "the ways out changed from en1, utun4, utun5 to en1;", &[&load]);
    let offline = |mac: &Mac| mac.remove("route\t0.0.0.0/0\t192.168.1.1");
    mended(
        &network,
        offline,
        "the ways out changed from en1 to nothing; the default route is gone\n",
        &[&load],
    );
}

#[test]
fn what_others_do_to_pf_is_mended_and_told() {
    let network = Network::new(&small());
    network.ok("start");
    let load = load(&network);
    mended(
        &network,
        |mac| drop(mac.ok("pfctl -q -a com.apple/250.nixvol -F all")),
        "another program emptied com.apple/250.nixvol; pf is in use by socketfilterfw (618)\n",
        &[&load],
    );
    mended(
        &network,
        |mac| mac.edit(|kernel| kernel.replace("label \"between\"", "label \"betwixt\"")),
        "another program changed the rules in com.apple/250.nixvol;",
        &[&load],
    );
    // `pfctl -d` makes every token invalid.
    let off = |mac: &Mac| {
        mac.remove("token\t");
        mac.edit(|kernel| kernel.replace("pf\t1\n", "pf\t0\n"));
    };
    mended(&network, off, "the token of pf is gone: another program turned pf off (pfctl -d)", &["pfctl -E"]);
    mended(
        &network,
        |mac| drop(mac.ok("sysctl -w net.inet.ip.forwarding=0")),
        "another program turned IP forwarding off",
        &["sysctl -w net.inet.ip.forwarding=1"],
    );
    // A VM tool that replaces the main ruleset: nothing is done, and once it calls us again nothing is left to do.
    let whole = network.mac.kernel();
    network.mac.edit(|kernel| kernel.replace("anchor \"com.apple/*\" all", "anchor \"vm.example/*\" all"));
    let log = fs::read_to_string(network.mac.dir().join("var/log")).expect("the log");
    network.mac.forget_journal();
    network.fails("reconcile", 1, "another program replaced it");
    network.fails("reconcile", 1, "another program replaced it");
    assert_eq!(network.mac.changes(), [""; 0]);
    assert_eq!(told(&network, &log).lines().count(), 1, "it is told once");
    network.mac.edit(|_| whole);
    network.ok("reconcile");
    assert_eq!(network.mac.changes(), [""; 0]);
    network.assert_up();
}

#[test]
fn what_others_take_away_comes_back_and_is_named() {
    let network = Network::new(&small());
    network.ok("start");
    mended(
        &network,
        |mac| drop(mac.ok("ifconfig lo0 -alias 10.0.1.2")),
        "another program took away: 10.0.1.2 on lo0\n",
        &["ifconfig lo0 alias 10.0.1.2 netmask 255.255.255.255"],
    );
    mended(
        &network,
        |mac| drop(mac.ok("route -n delete -net 10.0.0.0/16 -interface bridge2000")),
        "another program took away: the route 10.0.0.0/16\n",
        &["route -n add -net 10.0.0.0/16 -interface bridge2000"],
    );
    mended(
        &network,
        |mac| drop(mac.ok("ifconfig bridge2000 deletem feth20001")),
        "another program took away: veth-etcd-1 in bridge-aws\n",
        &["ifconfig bridge2000 addm feth20001"],
    );
    mended(
        &network,
        |mac| drop(mac.ok("ifconfig feth20000 destroy")),
        "another program took away: veth-etcd-1 (feth20000)\n",
        &["ifconfig feth20000 create up", "ifconfig feth20000 peer feth20001"],
    );
    mended(
        &network,
        |mac| drop(mac.ok("ifconfig bridge2000 destroy")),
        "another program took away: bridge-aws (bridge2000), the route 10.0.0.0/16\n",
        &[
            "ifconfig bridge2000 create up",
            "ifconfig bridge2000 alias 10.0.1.1 netmask 255.255.255.0",
            "route -n add -net 10.0.0.0/16 -interface bridge2000",
            "ifconfig bridge2000 addm feth20001",
        ],
    );
    let log = fs::read_to_string(network.mac.dir().join("var/log")).expect("the log");
    network.mac.reboot();
    network.ok("reconcile");
    network.assert_up();
    let said = told(&network, &log);
    assert!(said.contains("the Mac was restarted since the network came up\n"), "{said}");
    assert!(!said.contains("another program"), "{said}");
}

#[test]
fn a_volume_that_is_mounted_later_and_a_vmnet_that_comes_and_goes() {
    let mut input = small();
    input["volumes"]["etcd-1"]["mountPoint"] = json!("/Volumes/data");
    input["providers"]["ibm"]["attachment"] = json!("vmnet");
    let network = Network::new(&input);
    network.ok("start");
    let mounts = [
        "ifconfig feth20000 create up",
        "ifconfig feth20001 create up",
        "ifconfig feth20000 peer feth20001",
        "ifconfig bridge2000 addm feth20001",
        "ifconfig lo0 alias 10.0.1.2 netmask 255.255.255.255",
        "ifconfig lo0 alias 127.0.1.11 netmask 255.255.255.255",
    ];
    mended(
        &network,
        |mac| mac.add("mount\t/dev/disk5s1 on /Volumes/data (apfs, local)"),
        "etcd-1 was mounted at /Volumes/data\n",
        &mounts,
    );
    let leaves = [
        "ifconfig lo0 -alias 10.0.1.2",
        "ifconfig lo0 -alias 127.0.1.11",
        "ifconfig feth20000 destroy",
        "ifconfig feth20001 destroy",
    ];
    mended(
        &network,
        |mac| mac.remove("mount\t/dev/disk5s1"),
        "etcd-1 is not mounted at /Volumes/data any more\n",
        &leaves,
    );
    let comes = |mac: &Mac| {
        mac.add("if\tbridge103\t90\t1\t1\t1500\t36:7d:da:00:00:67\t\t\t10.3.1.1/24");
        mac.add("route\t10.3.1.0/24\tlink#90\tUC\tbridge103\t!");
    };
    let route = "route -n add -net 10.3.0.0/16 -interface bridge103";
    mended(&network, comes, "vmnet brought bridge103 up for ibm\n", &[route]);
    let goes = |mac: &Mac| {
        mac.remove("if\tbridge103");
        mac.remove("route\t10.3.1.0/24");
        mac.remove("route\t10.3.0.0/16");
    };
    mended(&network, goes, "vmnet took its bridge for ibm (bridge103) away\n", &[]);
}

#[test]
fn sleep_and_a_new_pf_conf_change_nothing() {
    let network = Network::new(&small());
    network.ok("start");
    // After sleep the ARP entries are gone, and the hardware has another index.
    network.mac.remove("route\t192.168.1.1/32\tf4:92");
    network.mac.forget_journal();
    network.ok("reconcile");
    // An OS update loads its own /etc/pf.conf again: call points of com.apple stand in it.
    network.mac.edit(|kernel| kernel.replace("scrub-anchor \"com.apple/*\" all fragment reassemble\\n", "scrub-anchor \"com.apple/*\" all fragment reassemble\\nscrub-anchor \"com.apple.new/*\" all fragment reassemble\\n"));
    network.ok("reconcile");
    assert_eq!(network.mac.changes(), [""; 0]);
    network.assert_up();
}

#[test]
fn an_upgrade_names_nothing_of_other_volumes() {
    let network = Network::new(&topology());
    network.ok("start");
    let names = fs::read_to_string(network.state().join("names")).expect("names");
    let mut input = topology();
    let volumes = input["volumes"].as_object_mut().expect("volumes");
    // The kernel names and addresses of whoever stays.
    let mut others: Vec<String> = Vec::new();
    for (name, volume) in volumes.iter().filter(|(name, _)| *name != "etcd-2") {
        others.extend(
            [&volume["address"], &volume["localhost"]].iter().filter_map(|it| it.as_str().map(str::to_owned)),
        );
        let port = format!("veth-{name}\t");
        let line = names.lines().find_map(|line| line.strip_prefix(&port)).expect("a port");
        others.extend(line.split('\t').map(str::to_owned));
    }
    assert_eq!(others.len(), 12 * 4);
    volumes.remove("etcd-2");
    volumes.insert(
        "added".to_owned(),
        json!({ "provider": "aws", "address": "10.0.9.9", "localhost": "127.0.1.99" }),
    );
    network.install(&input);
    network.mac.forget_journal();
    network.ok("start");
    network.assert_up();
    let journal = network.mac.journal();
    assert!(journal.iter().filter(|call| call.mark == '!').count() == 10);
    for call in &journal {
        for word in &call.words {
            assert!(!others.contains(word), "{}", call.line());
        }
    }
}

#[test]
fn another_volume_costs_a_handful_of_commands() {
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
    assert_eq!((none, one - none, two - one), (21, 33, 6), "the README says so");
}
