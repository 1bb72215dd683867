//! The manager on one of several Macs: the tunnel comes up, is gone, and comes back under another name.

use std::fs;

use serde_json::{Value, json};

use crate::network::{AWKS, Network, SHELLS, small};
use crate::rig::settled;
use crate::support::{fixture, is_long};

/// The small network, with its second provider on another Mac.
pub fn two_macs() -> Value {
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

/// The public key of the other Mac, as WireGuard's interface writes it.
pub const KEY: &str = "1c8828f7137324c58b2804928624ea2326f1674537c062e251e2753ca7fcca4c";
const SECRET: &str = "e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a";

pub fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("a time after 1970").as_secs()
}

/// WireGuard's answer for a tunnel with one peer.
pub fn answer(key: &str, endpoint: &str, handshake: u64, allowed: &[&str]) -> String {
    let allowed = allowed.iter().fold(String::new(), |all, it| all + "allowed_ip=" + it + "\n");
    format!(
        "private_key={SECRET}\nlisten_port=51820\npublic_key={key}\npreshared_key={SECRET}\nprotocol_version=1\n\
         endpoint={endpoint}\nlast_handshake_time_sec={handshake}\nlast_handshake_time_nsec=0\ntx_bytes=1\nrx_bytes=2\n\
         persistent_keepalive_interval=25\n{allowed}errno=0\n\n"
    )
}

pub fn answers(network: &Network, name: &str, text: &str) {
    network.mac.remove("wireguard\t");
    network.mac.add(&format!("wireguard\t{name}\t{}", text.replace('\n', "\\n")));
}

pub fn bring_up(network: &Network, name: &str) {
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

pub const ALLOWED: [&str; 2] = ["10.3.0.0/16", "100.127.0.2/32"];

/// Every state that a Mac can have for another; none of them makes this one unhealthy, or slows it down.
#[test]
fn status_shows_the_other_macs() {
    let mut network = Network::new(&two_macs());
    let peer = |network: &Network, state: &str, seconds: &Value, text: &str| {
        let (code, status) = network.status();
        assert_eq!((code, &status["healthy"]), (0, &json!(true)), "{state}: {status:#}");
        let peer = &status["mesh"]["peers"][0];
        assert_eq!((&peer["mac"], &peer["state"]), (&json!("mini"), &json!(state)));
        assert_eq!(peer["networks"], json!(["10.3.0.0/16"]));
        match seconds.as_u64() {
            Some(least) => {
                let age = peer["lastHandshakeSeconds"].as_u64().expect("an age");
                assert!((least..least + 60).contains(&age), "{peer}");
            }
            None => assert_eq!(peer["lastHandshakeSeconds"], json!(null), "{peer}"),
        }
        let printed = network.ok("status");
        let line = printed.lines().find(|line| line.starts_with("mini ")).expect("a line for it");
        assert!(line.contains("100.127.0.2") && line.contains(text), "{line}");
        peer["endpoint"].as_str().expect("an endpoint").to_owned()
    };
    network.ok("start");
    let waits = "waiting for the mesh";
    assert_eq!(peer(&network, waits, &json!(null), waits), "192.168.1.20:51820");
    bring_up(&network, "utun7");
    network.ok("reconcile");
    peer(&network, "unknown", &json!(null), "WireGuard does not answer at /var/run/wireguard/utun7.sock");
    answers(&network, "utun7", &answer(KEY, "192.168.1.20:51820", 0, &ALLOWED));
    peer(&network, "no handshake yet", &json!(null), "no handshake yet");
    for (shell, awk) in SHELLS.iter().zip(AWKS.iter().cycle()) {
        network.under(shell, awk);
        // It has moved to another address, which WireGuard follows.
        answers(&network, "utun7", &answer(KEY, "192.168.1.77:51820", now() - 40, &ALLOWED));
        let at = peer(&network, "connected", &json!(40), "connected, last handshake 4");
        assert_eq!(at, "192.168.1.77:51820");
    }
    answers(&network, "utun7", &answer(KEY, "[fd00::7]:51820", now() - 7300, &ALLOWED));
    assert_eq!(peer(&network, "away", &json!(7300), "away, last handshake 2 h ago"), "[fd00::7]:51820");
    // A clock that was set back, and what no WireGuard would say.
    answers(&network, "utun7", &answer(KEY, "x\\\"; rm", now() + 9000, &ALLOWED));
    let at = peer(&network, "connected", &json!(0), "connected, last handshake 0 s ago");
    assert_eq!(at, "192.168.1.20:51820");
    // No key that is secret is printed or kept.
    let report = network.mac.dir().join("report");
    network.ok(&format!("logs --collect {}", report.display()));
    let collected = fs::read_to_string(report.join("wireguard")).expect("what WireGuard reports");
    assert!(collected.contains(KEY) && !collected.contains(SECRET), "{collected}");
    // A tunnel of another address is not asked.
    take_down(&network, "utun7");
    answers(&network, "utun4", &answer(KEY, "192.168.1.20:51820", now(), &ALLOWED));
    network.ok("reconcile");
    peer(&network, waits, &json!(null), waits);
    network.ok("stop");
    let (code, status) = network.status();
    assert_eq!((code, &status["mesh"]["peers"][0]["state"]), (0, &json!("down")));
}

/// A new key or network of another Mac is a change of the declaration, which the running tunnel does not follow.
#[test]
fn a_tunnel_with_another_configuration_is_reported() {
    let network = Network::new(&two_macs());
    bring_up(&network, "utun7");
    let at = "192.168.1.20:51820";
    let other = "22".repeat(32);
    let declared = answer(KEY, at, now(), &ALLOWED);
    answers(&network, "utun7", &declared);
    network.ok("start");
    network.assert_up();
    let cases = [
        (
            answer(&other, at, now(), &ALLOWED),
            "it has no peer with the public key of mini",
            "not in the tunnel",
        ),
        (answer(KEY, at, now(), &ALLOWED[1..]), "the AllowedIPs of mini are others", "connected"),
        (
            answer(KEY, at, now(), &["10.3.0.0/16", "10.4.0.0/16", "100.127.0.2/32"]),
            "the AllowedIPs of mini are others",
            "connected",
        ),
        (declared.replace("51820\npublic", "9\npublic"), "it listens on port 9, not on 51820", "connected"),
        (
            declared.replace("errno", &format!("public_key={other}\nerrno")),
            "it has 1 peer that the declaration does not have",
            "connected",
        ),
    ];
    let mut input = two_macs();
    for (turn, (text, said, state)) in cases.into_iter().enumerate() {
        answers(&network, "utun7", &text);
        let (code, status) = network.status();
        assert_eq!((code, &status["healthy"]), (1, &json!(false)), "{said}: {status:#}");
        let finding = &status["findings"][0];
        assert_eq!(finding["about"], "mesh");
        let what = finding["what"].as_str().expect("a text");
        assert!(
            what.contains(said) && what.contains("sudo wg-quick down nixvol; sudo wg-quick up"),
            "{what}"
        );
        assert_eq!(status["mesh"]["peers"][0]["state"], state);
        // It keeps neither a start nor a reconcile from its work.
        input["volumes"]["etcd-1"]["address"] = json!(format!("10.0.1.{}", 10 + turn));
        network.install(&input);
        let ran = network.run("start");
        assert!(ran.code == 0 && ran.err.contains(said), "{}{}", ran.out, ran.err);
        assert_eq!(network.run("reconcile").code, 0);
    }
    answers(&network, "utun7", &declared);
    network.assert_up();
}

fn routes(network: &Network) -> Vec<String> {
    let is_remote = |line: &&str| line.starts_with("route\t10.3.");
    network.mac.kernel().lines().filter(is_remote).map(str::to_owned).collect()
}

/// wg-quick adds the routes of a tunnel, once. Those that are missing then, or lead elsewhere, are repaired; a route of
/// another program is not.
#[test]
fn the_routes_into_the_tunnel_are_repaired() {
    let network = Network::new(&two_macs());
    bring_up(&network, "utun7");
    network.ok("start");
    let up = network.mac.kernel();
    for change in ["", "route\t10.3.0.0/16\tlink#9\tUSc\tutun3\t"] {
        network.mac.remove("route\t10.3.0.0/16\t");
        if !change.is_empty() {
            network.mac.add(change);
        }
        assert_eq!(network.status().0, 1);
        network.ok("reconcile");
        network.assert_up();
        let now = routes(&network);
        assert!(matches!(now.as_slice(), [one] if one.contains("\tutun7\t")), "{now:?}");
        // Under another name it comes with its routes, and what was added before is gone with the interface.
        take_down(&network, "utun7");
        network.mac.remove("route\t10.3.0.0/16\t");
        network.ok("reconcile");
        network.assert_up();
        assert_eq!(routes(&network), [""; 0]);
        bring_up(&network, "utun7");
        network.ok("reconcile");
        assert_eq!(settled(&network.mac.kernel()), settled(&up));
    }
    let log = fs::read_to_string(network.mac.dir().join("var/log")).expect("the log");
    assert!(log.contains("route 10.3.0.0/16 of ibm into the tunnel utun7"), "{log}");
    assert!(log.contains("remove the route 10.3.0.0/16 to utun3, which is gone"), "{log}");
    // A route that was added is removed with the network; one of wg-quick stays.
    network.mac.remove("route\t10.3.0.0/16\t");
    network.ok("reconcile");
    network.ok("stop");
    assert_eq!(routes(&network), [""; 0]);
    network.ok("cleanup");
}

/// A network of another Mac that this Mac's LAN has too: the rules would cut it off.
#[test]
fn a_network_of_another_mac_must_not_be_one_of_this_mac() {
    let lan = "route\t10.3.0.0/16\tlink#2\tUCS\ten0\t!";
    let overlaps = "the network 10.3.0.0/16 of ibm overlaps the route 10.3.0.0/16 on en0";
    let network = Network::new(&two_macs());
    let bare = network.mac.kernel();
    network.mac.add(lan);
    network.fails("start", 3, overlaps);
    network.mac.remove(lan);
    assert_eq!(network.mac.kernel(), bare);
    network.ok("start");
    // One that appears later is reported, and nothing is taken down.
    network.mac.add(lan);
    let (code, status) = network.status();
    assert_eq!((code, &status["findings"][0]["about"]), (1, &json!("overlap")), "{status:#}");
    network.fails("reconcile", 1, overlaps);
    let mut input = two_macs();
    input["volumes"]["etcd-1"]["address"] = json!("10.0.1.9");
    network.install(&input);
    let ran = network.run("start");
    assert!(ran.code == 0 && ran.err.contains(overlaps), "{}{}", ran.out, ran.err);
    network.ok("stop");
    // The user decides that the address space is the declaration's: then its route is left alone, and reported.
    input["allowOverlap"] = json!(["10.3.0.0/16"]);
    network.install(&input);
    network.ok("start");
    network.assert_up();
    network.mac.add("if\tutun7\t77\t1\t1\t1420\t\t\t\t100.127.0.1/32/100.127.0.1");
    network.fails(
        "reconcile",
        1,
        "the network 10.3.0.0/16 of ibm on mini is routed to en0, not into the tunnel utun7",
    );
    assert!(routes(&network)[0].contains("\ten0\t"));
    network.ok("cleanup");
}
