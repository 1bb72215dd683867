//! The manager on one of several Macs: the tunnel comes up, is gone, and comes back under another name.

use std::fs;

use serde_json::{Value, json};

use crate::network::{AWKS, Network, SHELLS, small};
use crate::support::{fixture, is_long};

/// The small network, with its second provider on another Mac.
fn two_macs() -> Value {
    let macs = fixture("macs.json")["macs"].clone();
    let mut input = small();
    input["mac"] = json!("studio");
    input["macs"] = json!({ "studio": macs["studio"], "mini": macs["mini"] });
    input["macs"]["studio"]["providers"] = json!(["aws"]);
    input["macs"]["mini"]["providers"] = json!(["ibm"]);
    input
}

/// The loaded rules, as the manager keeps them.
fn rules(network: &Network) -> String {
    fs::read_to_string(network.state().join("rules.conf")).expect("the rules")
}

fn bring_up(network: &Network, name: &str) {
    network.mac.add(&format!("if\t{name}\t77\t1\t1\t1420\t\t\t\t100.127.0.1/32/100.127.0.1"));
    network.mac.add(&format!("route\t10.3.0.0/16\t{name}\tUSc\t{name}\t"));
}

fn take_down(network: &Network, name: &str) {
    network.mac.remove(&format!("if\t{name}\t"));
    network.mac.remove(&format!("route\t10.3.0.0/16\t{name}\t"));
}

#[test]
fn the_tunnel_is_found_by_its_address_whatever_its_name() {
    let shells = if is_long() { &SHELLS[..] } else { &SHELLS[..1] };
    for (shell, awk) in shells.iter().zip(AWKS.iter().cycle()) {
        let mut network = Network::new(&two_macs());
        network.under(shell, awk);
        let before = network.mac.kernel();
        network.ok("start");
        network.assert_up();
        assert!(network.ok("status").contains("waiting for the mesh: no interface has 100.127.0.1"));
        let refused = "block return out quick on ! mesh inet from any to 10.3.0.0/16";
        assert!(rules(&network).contains(refused), "{}", rules(&network));
        for name in ["utun7", "utun9"] {
            bring_up(&network, name);
            network.ok("reconcile");
            network.assert_up();
            let loaded = rules(&network);
            assert!(loaded.contains(&format!("on ! {name} inet from any to 10.3.0.0/16")), "{loaded}");
            assert!(
                loaded.contains(&format!("pass in quick on {name} inet from 100.127.0.2 to 10.0.0.0/16"))
            );
            assert!(!loaded.contains(&format!("nat on {name} ")), "the tunnel is no way out");
            assert!(
                !loaded.contains(&format!("block drop in quick on {name} inet from <nixvol>")),
                "nor foreign"
            );
            assert!(network.ok("status").contains(&format!("mesh         {name} (100.127.0.1)")));
            network.mac.forget_journal();
            network.ok("reconcile");
            assert_eq!(network.mac.changes(), [""; 0], "nothing is left to do");
            take_down(&network, name);
            network.ok("reconcile");
            network.assert_up();
            assert!(rules(&network).contains(refused));
        }
        let log = fs::read_to_string(network.mac.dir().join("var/log")).expect("the log");
        assert!(
            log.contains("the tunnel to the other Macs is utun9")
                && log.contains("the tunnel to the other Macs is gone"),
            "{log}"
        );
        bring_up(&network, "utun7");
        network.ok("start");
        network.ok("stop");
        network.ok("cleanup");
        take_down(&network, "utun7");
        network.assert_clean(&before);
    }
}
