//! The surroundings of the network as real Macs printed them: egress interfaces, overlapping networks, and rules with
//! interface names filled in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use nixvol_net::plan::Plan;
use nixvol_net::render::{ANCHOR, bundle};
use nixvol_net::status::{Capture, Status, status};
use serde_json::{Value, json};

use crate::network::{AWKS, Network, SHELLS, small, topology};
use crate::support::{declared, root};

/// The output of `ifconfig` and `netstat` on a real Mac, and what is expected of it.
struct Case {
    name: String,
    texts: BTreeMap<String, String>,
    expected: Value,
}

fn routes() -> Vec<Case> {
    let directory = root().join("tests/cases/routes");
    let mut cases: Vec<Case> = fs::read_dir(&directory)
        .expect("cases")
        .map(|entry| {
            let path = entry.expect("a case").path();
            let text = |name: &str| fs::read_to_string(path.join(name)).expect("a text");
            Case {
                name: path.file_name().expect("a name").to_string_lossy().into_owned(),
                texts: ["ifconfig", "netstat-rn"].map(|name| (name.to_owned(), text(name))).into(),
                expected: serde_json::from_str(&text("expected.json")).expect("JSON"),
            }
        })
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(cases.len() > 12);
    cases
}

/// Makes the toy Mac print the output of a case.
fn printing(network: &Network, case: &Case) {
    let captured = network.mac.root().join("captured");
    fs::create_dir_all(&captured).expect("a directory");
    fs::write(captured.join("ifconfig"), &case.texts["ifconfig"]).expect("a text");
    fs::write(captured.join("netstat"), &case.texts["netstat-rn"]).expect("a text");
}

fn judged(input: &Value, capture: &Capture) -> Status {
    let declaration = declared(input);
    let plan = Plan::of(&declaration);
    let bundle = bundle(&declaration, &plan).expect("a bundle");
    status(&plan, &bundle.files[ANCHOR].text, capture).expect("a capture")
}

/// A capture of a Mac on which the network was never started.
fn capture(texts: &BTreeMap<String, String>) -> Capture {
    let mut capture: Capture = texts.clone();
    for (name, text) in [
        ("version", "format\t1\n"),
        ("sysctl", "0\nsession-0\n"),
        ("pfctl-references", "No pf starter references held\n"),
    ] {
        capture.insert(name.to_owned(), text.to_owned());
    }
    for name in ["pfctl-sn", "pfctl-sr", "pfctl-anchor-sn", "pfctl-anchor-sr"] {
        capture.insert(name.to_owned(), String::new());
    }
    capture
}

#[test]
fn egress_interfaces_and_refusals_match_real_macs() {
    for (number, case) in routes().iter().enumerate() {
        let mut network = Network::new(&topology());
        network.under(SHELLS[number % SHELLS.len()], AWKS[number % AWKS.len()]);
        printing(&network, case);
        let expected = &case.expected;
        let (_, seen) = network.status();
        assert_eq!(seen["waysOut"], expected["waysOut"], "{}", case.name);
        assert_eq!(seen["defaultInterface"], expected["defaultInterface"], "{}", case.name);
        let ran = network.run("plan --json");
        let plan: Value = serde_json::from_str(&ran.out).expect("JSON");
        let ours = judged(&topology(), &capture(&case.texts));
        assert_eq!(json!(ours.ways_out), expected["waysOut"], "{}", case.name);
        assert_eq!(json!(ours.default_interface), expected["defaultInterface"], "{}", case.name);
        match expected["refused"].as_str() {
            None => {
                assert_eq!(
                    (ran.code, &plan["refused"], &plan["advice"]),
                    (0, &json!([]), &json!([])),
                    "{}",
                    case.name
                );
                assert_eq!((&ours.refused[..], &ours.advice[..]), (&[][..], &[][..]), "{}", case.name);
            }
            Some(words) => {
                assert_eq!(ran.code, 3, "{}", case.name);
                let refused = plan["refused"].as_array().expect("refusals");
                assert!(
                    refused.iter().any(|text| text.as_str().is_some_and(|text| text.contains(words))),
                    "{}: {refused:?}",
                    case.name
                );
                // `status --from` reports the same refusals and the same advice.
                let sorted = |list: &Value| {
                    let list = list.as_array().expect("a list").iter();
                    list.map(|text| text.as_str().expect("a text").to_owned()).collect::<BTreeSet<_>>()
                };
                assert_eq!(sorted(&plan["refused"]), sorted(&json!(ours.refused)), "{}", case.name);
                assert_eq!(plan["advice"], json!(ours.advice), "{}", case.name);
            }
        }
    }
}

/// The interfaces of the toy Mac that belong to others.
const OTHERS: [&str; 8] = ["bridge0", "bridge100", "en0", "en1", "feth5007", "feth7", "utun4", "vmenet0"];

/// The interfaces in the loaded rules with a label.
fn on(network: &Network, label: &str) -> Vec<String> {
    let rules = network.mac.ok("pfctl -q -a com.apple/250.nixvol -s rules");
    let word = format!("label \"{label}\"");
    let name =
        |line: &str| line.split(" on ").nth(1).and_then(|rest| rest.split(' ').next()).map(str::to_owned);
    let names = rules.lines().filter(|line| line.contains(&word)).filter_map(name);
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

#[test]
fn interface_names_are_filled_in_at_load() {
    for (shell, awk) in [(0, 0), (1, 1), (2, 2), (3, 0)] {
        let mut network = Network::new(&small());
        network.under(SHELLS[shell], AWKS[awk]);
        let before = network.mac.kernel();
        let anchor = fs::read_to_string(network.base().join("pf/anchor.conf")).expect("the anchor");
        network.ok("start");
        network.assert_up();
        assert_eq!(on(&network, "leak"), ["en0", "feth7", "utun4"]);
        assert_eq!(on(&network, "forged:outside"), OTHERS);
        assert_eq!(
            (on(&network, "forged:aws"), on(&network, "forged:ibm")),
            (vec!["bridge2000".to_owned()], vec!["bridge2001".to_owned()])
        );
        assert!(
            network
                .mac
                .ok("pfctl -q -a com.apple/250.nixvol -s nat")
                .contains("nat on utun4 inet from <internet> to ! <local> -> (utun4:0) extfilter apd\n")
        );
        // The program's own status judges the same rules.
        let directory = network.mac.dir().join("collected");
        network.ok(&format!("logs --collect {}", directory.display()));
        let captured: Capture = fs::read_dir(&directory)
            .expect("a capture")
            .flatten()
            .map(|entry| {
                (
                    entry.file_name().to_string_lossy().into_owned(),
                    fs::read_to_string(entry.path()).expect("text"),
                )
            })
            .collect();
        let mut input = small();
        input["base"] = json!(network.mac.dir().join("opt/nix-volumes"));
        let plan = Plan::of(&declared(&input));
        let ours = status(&plan, &anchor, &captured).expect("a capture");
        assert!(ours.healthy, "{:?}", ours.findings);
        // An interface is added and removed again.
        network.mac.forget_journal();
        network.ok("reconcile");
        assert_eq!(network.mac.changes(), [""; 0]);
        network.mac.add("if\tutun9\t77\t1\t1\t1380\t\t\t\t");
        network.ok("reconcile");
        assert_eq!(network.mac.changes().len(), 1, "{:?}", network.mac.changes());
        assert_eq!(on(&network, "forged:outside"), [&OTHERS[..7], &["utun9", "vmenet0"]].concat());
        let log = fs::read_to_string(network.mac.dir().join("var/log")).expect("the log");
        assert!(
            log.ends_with("load the rules into com.apple/250.nixvol\n")
                && log.contains("interfaces of other programs changed: utun9 added, nothing removed\n"),
            "{log}"
        );
        network.mac.forget_journal();
        network.ok("reconcile");
        assert_eq!(network.mac.changes(), [""; 0]);
        network.mac.remove("if\tutun9");
        network.ok("reconcile");
        assert_eq!(on(&network, "forged:outside"), OTHERS);
        network.ok("cleanup");
        network.assert_clean(&before);
    }
}

#[test]
fn lines_for_absent_interfaces_are_left_out() {
    let mut input = small();
    input["providers"]["ibm"]["attachment"] = json!("vmnet");
    let network = Network::new(&input);
    for route in ["route\t0.0.0.0/0", "route\t100.64.0.0/10", "route\t172.27", "route\t192.168.1."] {
        network.mac.remove(route);
    }
    network.ok("start");
    network.assert_up();
    assert_eq!((on(&network, "leak"), on(&network, "forged:ibm")), (vec![], vec![]));
    assert_eq!(on(&network, "forged:outside"), OTHERS);
    assert!(!network.mac.ok("pfctl -q -a com.apple/250.nixvol -s nat").contains("nat on "));
    // A vmnet bridge belongs to the provider as soon as it has the provider's gateway address.
    network.mac.add("if\tbridge103\t90\t1\t1\t1500\t36:7d:da:00:00:67\t\tvmenet1\t10.3.1.1/24");
    network.mac.add("if\tvmenet1\t91\t1\t1\t1500\t6e:1b:2c:00:00:02\t\t\t");
    network.ok("reconcile");
    network.assert_up();
    assert_eq!(on(&network, "forged:ibm"), ["bridge103"]);
    assert_eq!(on(&network, "forged:outside"), [&OTHERS[..], &["vmenet1"]].concat());
    // When it loses the gateway address, our route to it is still recognized as ours.
    network.mac.edit(|kernel| kernel.replace("\tvmenet1\t10.3.1.1/24", "\tvmenet1\t"));
    let (_, status) = network.status();
    assert_eq!((&status["findings"], &status["refused"]), (&json!([]), &json!([])), "{status:#}");
    assert_eq!(network.run("plan").code, 0);
    network.ok("reconcile");
    assert_eq!(on(&network, "forged:ibm"), [""; 0]);
    assert!(on(&network, "forged:outside").contains(&"bridge103".to_owned()));
}

#[test]
fn macros_are_replaced_as_whole_words() {
    let mut input = small();
    input["providers"]["aws-2"] = json!({ "network": "10.7.0.0/16", "gateway": "10.7.1.1/24" });
    let network = Network::new(&input);
    let file = network.base().join("pf/anchor.conf");
    let anchor = fs::read_to_string(&file).expect("the anchor");
    let lines = "block drop in quick on $bridge_aws_2 inet from any to 10.7.0.1 label \"two\"\nblock drop in quick on $bridge_aws inet from any to 10.0.0.1 label \"one\"\n";
    fs::write(&file, anchor + lines).expect("the anchor");
    network.ok("start");
    let names = fs::read_to_string(network.state().join("names")).expect("names");
    let kernel = |logical: &str| {
        names
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{logical}\t"))?.split('\t').next())
            .expect("a name")
            .to_owned()
    };
    assert_eq!(on(&network, "two"), [kernel("bridge-aws-2")]);
    assert_eq!(on(&network, "one"), [kernel("bridge-aws")]);
}

#[test]
fn hostile_interface_names_are_refused() {
    for name in ["en0 all pass quick", "en9\"", "en", "{en1", "en1,", "averyveryverylongname0", "1en0"] {
        let network = Network::new(&small());
        network.mac.add(&format!("if\t{name}\t77\t1\t1\t1500\t\t\t\t"));
        let before = network.mac.kernel();
        network.fails("start", 1, "no rule can name such an interface");
        assert_eq!(network.mac.kernel(), before, "{name}");
    }
}

#[test]
fn nat_omits_extfilter_where_pfctl_rejects_it() {
    let nat = |network: &Network| network.mac.ok("pfctl -q -a com.apple/250.nixvol -s nat");
    let network = Network::new(&small());
    let before = network.mac.kernel();
    network.mac.add("lacks\textfilter");
    network.ok("start");
    network.assert_up();
    assert!(nat(&network).contains("nat on en0 ") && !nat(&network).contains("extfilter"));
    // The result of the attempt is remembered.
    network.mac.forget_journal();
    network.ok("reconcile");
    assert_eq!(network.mac.journal().len(), 12, "{:?}", network.mac.journal());
    network.mac.add("route\t10.77.0.0/16\t192.168.1.1\tUGSc\ten1\t");
    network.mac.edit(|kernel| {
        kernel.replace("36:7d:da:00:00:01\t\t\t\n", "36:7d:da:00:00:01\t\t\t192.168.5.2/24\n")
    });
    network.mac.forget_journal();
    network.ok("reconcile");
    let tried = network.mac.journal().iter().filter(|call| call.line().starts_with("pfctl -n ")).count();
    assert_eq!((tried, nat(&network).matches("nat on ").count()), (1, 4), "{}", nat(&network));
    // After a reboot it is tried again, since macOS may have been updated.
    network.mac.reboot();
    network.ok("reconcile");
    assert!(nat(&network).contains("-> (en0:0) extfilter apd\n"));
    network.ok("cleanup");
    network.mac.edit(|_| before.clone());
    // Any other error of the dry run is an error.
    let file = network.base().join("pf/anchor.conf");
    let anchor = fs::read_to_string(&file).expect("the anchor");
    fs::write(&file, anchor + "pass quick nonsense\n").expect("the anchor");
    network.fails("start", 1, "pfctl -n");
    assert_eq!(network.mac.kernel(), before);
}

/// All addresses except a network, in the minimal number of prefixes.
fn all_but(network: (u32, u8)) -> Vec<String> {
    let (address, length) = network;
    let piece = |bit: u8| {
        let other = (address ^ (1 << (32 - bit))) >> (32 - bit) << (32 - bit);
        format!("{}/{bit}", std::net::Ipv4Addr::from(other))
    };
    (1..=length).map(piece).collect()
}

#[test]
fn a_default_route_in_pieces_is_no_overlap() {
    let lan = "Routing tables\n\nInternet:\nDestination        Gateway            Flags               Netif Expire\ndefault            192.168.1.1        UGScg                 en0       \n192.168.1          link#5             UCS                   en0      !\n";
    let interfaces = "lo0: flags=8049<UP,LOOPBACK,RUNNING,MULTICAST> mtu 16384\n\tinet 127.0.0.1 netmask 0xff000000\nen0: flags=8863<UP,BROADCAST,SMART,RUNNING,SIMPLEX,MULTICAST> mtu 1500\n\tinet 192.168.1.23 netmask 0xffffff00 broadcast 192.168.1.255\nutun4: flags=8051<UP,POINTOPOINT,RUNNING,MULTICAST> mtu 1380\n\tinet 100.64.0.2 --> 100.64.0.2 netmask 0xffffffff\n";
    let by = |routes: &[String], gateway: &str, flags: &str, name: &str| -> String {
        routes
            .iter()
            .map(|net| format!("{net:<18} {gateway:<18} {flags:<18} {name}\n"))
            .collect::<Vec<_>>()
            .concat()
    };
    let tunnel = |routes: &[&str]| {
        by(&routes.iter().map(|net| (*net).to_owned()).collect::<Vec<_>>(), "100.64.0.1", "UGSc", "utun4")
    };
    let cases = [
        // WireGuard excludes its server's address (in no provider's network), or another LAN.
        ("wireguard", by(&all_but((0x0a40_0005, 32)), "link#20", "UCS", "utun4"), None),
        ("halves", tunnel(&["0/1", "128.0/1"]), None),
        // A more specific route next to the default halves counts as an overlap.
        (
            "halves and a network",
            tunnel(&["0/1", "128.0/1", "10.1/16"]),
            Some("10.1.0.0/16 of azure overlaps"),
        ),
        ("a tunnel to networks", tunnel(&["10", "172.16/12"]), Some("10.0.0.0/16 of aws overlaps")),
        // A route that bypasses the tunnel by the LAN's router leads where the default route would have led.
        ("bypass", tunnel(&["0/1", "128.0/1"]) + &by(&["10".to_owned()], "192.168.1.1", "UGSc", "en0"), None),
        (
            "a static route",
            by(&["10".to_owned()], "192.168.1.1", "UGSc", "en0"),
            Some("10.0.0.0/16 of aws overlaps"),
        ),
        (
            "beyond another router",
            tunnel(&["0/1", "128.0/1"]) + &by(&["10.1/16".to_owned()], "192.168.1.9", "UGSc", "en0"),
            Some("10.1.0.0/16 of azure overlaps"),
        ),
    ];
    for (number, (name, routes, refused)) in cases.into_iter().enumerate() {
        let texts = BTreeMap::from([
            ("ifconfig".to_owned(), interfaces.to_owned()),
            ("netstat-rn".to_owned(), lan.to_owned() + &routes),
        ]);
        let case = Case { name: name.to_owned(), texts, expected: json!(null) };
        let mut network = Network::new(&topology());
        network.under(SHELLS[number % SHELLS.len()], AWKS[number % AWKS.len()]);
        printing(&network, &case);
        let ran = network.run("plan --json");
        let plan: Value = serde_json::from_str(&ran.out).expect("JSON");
        let texts: Vec<String> =
            plan["refused"].as_array().expect("refusals").iter().map(ToString::to_string).collect();
        let ours = judged(&topology(), &capture(&case.texts)).refused;
        match refused {
            None => assert_eq!((ran.code, texts.len(), ours.len()), (0, 0, 0), "{name}: {texts:?} {ours:?}"),
            Some(words) => {
                assert!(ran.code == 3 && texts.iter().any(|text| text.contains(words)), "{name}: {texts:?}");
                assert!(ours.iter().any(|text| text.contains(words)), "{name}: {ours:?}");
            }
        }
    }
}

#[test]
fn a_refusal_proposes_free_networks_for_all_providers() {
    let network = Network::new(&topology());
    // Almost all of 10/8 is taken.
    network.mac.add("route\t10.0.0.0/9\tutun4\tUSc\tutun4\t");
    network.mac.add("route\t10.128.0.0/10\tutun4\tUSc\tutun4\t");
    network.mac.add("route\t10.192.0.0/11\tutun4\tUSc\tutun4\t");
    network.mac.add("route\t10.224.0.0/12\tutun4\tUSc\tutun4\t");
    network.mac.add("route\t10.240.0.0/13\tutun4\tUSc\tutun4\t");
    network.mac.add("route\t10.248.0.0/14\tutun4\tUSc\tutun4\t");
    network.mac.add("route\t10.252.0.0/15\tutun4\tUSc\tutun4\t");
    let ran = network.run("start");
    assert_eq!(ran.code, 3);
    let proposed: Vec<&str> = ran.err.lines().skip_while(|line| !line.starts_with("# ")).collect();
    let providers = [
        ("aws", "10.254.0.0/16", "10.254.1.1/24"),
        ("azure", "10.255.0.0/16", "10.255.1.1/24"),
        ("digitalocean", "172.16.0.0/16", "172.16.1.1/24"),
        ("gcp", "172.17.0.0/16", "172.17.1.1/24"),
        ("ibm", "172.18.0.0/16", "172.18.1.1/24"),
    ];
    for (name, net, gateway) in providers {
        let line = format!(
            "services.nixvol-net.providers.{name} = {{ network = \"{net}\"; gateway = \"{gateway}\"; }};"
        );
        assert!(proposed.contains(&line.as_str()), "{name}: {proposed:#?}");
    }
    assert!(
        proposed.contains(&"services.nixvol-net.volumes.etcd-1.address = \"10.254.1.2\";"),
        "{proposed:#?}"
    );
    assert_eq!(proposed.len(), 1 + 5 + 13);
    assert_eq!(network.run("plan").out.lines().last(), proposed.last().copied());
    // The proposed networks are accepted.
    let mut moved = topology();
    for (name, net, gateway) in providers {
        moved["providers"][name]["network"] = json!(net);
        moved["providers"][name]["gateway"] = json!(gateway);
    }
    for line in proposed.iter().filter_map(|line| line.strip_prefix("services.nixvol-net.volumes.")) {
        let (name, rest) = line.split_once(".address = \"").expect("an address");
        moved["volumes"][name]["address"] = json!(rest.trim_end_matches("\";"));
    }
    network.install(&moved);
    network.ok("plan");
}
