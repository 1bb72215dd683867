//! `status`: the Mac against the plan, on a toy Mac that is intact and on ones where each thing is broken, compared
//! with the manager's own verdict.

use std::path::PathBuf;

use nixvol_net::darwin;
use nixvol_net::plan::Plan;
use nixvol_net::render::{ANCHOR, bundle};
use nixvol_net::status::{Capture, Status, Unreadable, status, text};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::network::{Network, slow, small};
use crate::schema::validator_of;
use crate::support::{cases, declared, program, run};

/// A report that the manager collects now: its directory, and its files.
pub fn collected(network: &Network, name: &str) -> (PathBuf, Capture) {
    let dir = network.mac.dir().join(name);
    network.ok(&format!("logs --collect {}", dir.display()));
    let files = std::fs::read_dir(&dir).expect("a capture").flatten();
    let file = |entry: std::fs::DirEntry| {
        let text = std::fs::read_to_string(entry.path()).expect("text");
        (entry.file_name().to_string_lossy().into_owned(), text)
    };
    let capture = files.map(file).collect();
    (dir, capture)
}

fn judged(input: &Value, capture: &Capture) -> Result<Status, Unreadable> {
    let mut input = input.clone();
    if let Some(json) = capture.get("network.json") {
        let installed: Value = serde_json::from_str(json).expect("JSON");
        input["base"] = installed["base"].clone();
    }
    let declaration = declared(&input);
    let plan = Plan::of(&declaration);
    let bundle = bundle(&declaration, &plan).expect("a bundle");
    status(&plan, &bundle.files[ANCHOR].text, capture)
}

/// The declaration with the paths of the test's network.
fn input() -> Value {
    let mut input = small();
    input["volumes"]["etcd-1"]["mountPoint"] = json!("/Volumes/data");
    input["volumes"]["etcd-2"] = json!({ "provider": "aws", "address": "10.0.1.3" });
    input
}

/// A network that is up.
fn started() -> Network {
    let network = Network::new(&input());
    network.mac.add("mount\t/dev/disk5s1 on /Volumes/data (apfs, local)");
    network.ok("start");
    network
}

/// Compares the program's verdict with the manager's, overall and for each part.
fn compare(network: &Network, name: &str) -> Status {
    compared(network, name, &input())
}

fn compared(network: &Network, name: &str, input: &Value) -> Status {
    let (_, capture) = collected(network, name);
    let ours = judged(input, &capture).unwrap_or_else(|error| panic!("{name}: {error}"));
    let theirs: Value = serde_json::from_str(&capture["status.json"]).expect("JSON");
    let what = format!("{name}: {:#?}\n{theirs:#}", ours.findings);
    assert_eq!(json!(ours.healthy), theirs["healthy"], "{what}");
    let mut ours_json = serde_json::to_value(&ours).expect("JSON");
    // The manager has the numbers alone.
    for pipe in ours_json["pipes"].as_array_mut().expect("pipes") {
        pipe.as_object_mut().expect("a pipe").remove("conditions");
    }
    for part in ["wish", "providers", "volumes", "pipes", "waysOut", "defaultInterface"] {
        assert_eq!(ours_json[part], theirs[part], "{what}");
    }
    ours
}

#[test]
fn a_network_that_is_up_is_healthy() {
    let network = started();
    let status = compare(&network, "up");
    assert!(status.healthy && status.findings.is_empty());
    assert_eq!(status.ways_out, ["en0", "feth7", "utun4"]);
    let kernel =
        |name: &str| status.volumes.iter().find(|it| it.name == name).and_then(|it| it.kernel.clone());
    assert_eq!(kernel("etcd-1").as_deref(), Some("feth20000"));
    let text = text(&status, false);
    assert!(text.starts_with("network      up; desired: up\n") && !text.contains("problem"), "{text}");
    assert!(text.contains("bridge-aws (bridge2000)") && text.contains("veth-etcd-1 (feth20000)"), "{text}");
}

/// The program's status is worded like the manager's: every line of ours is the beginning of a line of the manager's,
/// in its order.
fn is_in_the_words_of_the_manager(ours: &str, managers: &str) {
    let mut lines = managers.lines();
    for line in ours.lines().filter(|line| !line.is_empty()) {
        let found = lines.by_ref().any(|theirs| theirs.starts_with(line.trim_end()));
        assert!(found, "the manager has no {line:?} there:\n{managers}\n{ours}");
    }
}

#[test]
fn both_statuses_are_worded_alike() {
    let network = Network::new(&slow());
    let shown = |network: &Network, name: &str| text(&compared(network, name, &slow()), false);
    is_in_the_words_of_the_manager(&shown(&network, "never"), &network.run("status").out);
    network.ok("start");
    is_in_the_words_of_the_manager(&shown(&network, "up"), &network.ok("status"));
    network.ok("stop");
    is_in_the_words_of_the_manager(&shown(&network, "down"), &network.ok("status"));
}

#[test]
fn each_kind_of_damage_is_reported() {
    let breaks: &[(&str, &str, &str)] = &[
        ("bridge", "ifconfig bridge2000 destroy", "bridge-aws (bridge2000) is gone"),
        (
            "gateway",
            "ifconfig bridge2000 inet 10.0.1.1 -alias",
            "bridge-aws (bridge2000) has no address 10.0.1.1/24",
        ),
        (
            "route",
            "route -n delete -net 10.0.0.0/16 -interface bridge2000",
            "10.0.0.0/16 is not routed to bridge-aws (bridge2000)",
        ),
        ("down", "ifconfig bridge2000 down", "bridge-aws (bridge2000) is not running"),
        ("alias", "ifconfig lo0 inet 10.0.1.2 -alias", "lo0 has no 10.0.1.2"),
        ("localhost", "ifconfig lo0 inet 127.0.1.11 -alias", "lo0 has no 127.0.1.11"),
        ("group", "ifconfig lo0 inet 127.0.1.1 -alias", "lo0 has no 127.0.1.1"),
        ("pair", "ifconfig feth20000 destroy", "the near end of veth-etcd-1 (feth20000) is gone"),
        ("far", "ifconfig feth20001 destroy", "the far end of veth-etcd-1 (feth20001) is gone"),
        ("peer", "ifconfig feth20000 -peer", "the ends of veth-etcd-1 (feth20000, feth20001) are not joined"),
        (
            "member",
            "ifconfig bridge2000 deletem feth20001",
            "veth-etcd-1 (feth20001) is not in bridge-aws (bridge2000)",
        ),
        ("port", "ifconfig feth20000 down", "the near end of veth-etcd-1 (feth20000) is not running"),
        ("rules", "pfctl -a com.apple/250.nixvol -F rules", "com.apple/250.nixvol lacks a rule: "),
        ("anchor", "pfctl -a com.apple/250.nixvol -F all", "com.apple/250.nixvol is empty"),
        ("forwarding", "sysctl -w net.inet.ip.forwarding=0", "IP forwarding is off"),
    ];
    let network = started();
    let up = network.keep();
    for (name, command, expected) in breaks {
        network.put_back(&up);
        network.mac.ok(command);
        let status = compare(&network, name);
        assert!(!status.healthy, "{name}");
        assert!(
            status.findings.iter().any(|finding| finding.what.starts_with(expected)),
            "{name}: {:#?}",
            status.findings
        );
    }
}

#[test]
fn foreign_changes_of_pf_and_routes_are_reported() {
    let network = started();
    let up = network.keep();
    let foreign = |name: &str, change: &dyn Fn(&Network), expected: &str| {
        network.put_back(&up);
        change(&network);
        let status = compare(&network, name);
        let found = status.findings.iter().any(|finding| finding.what.contains(expected));
        assert!(!status.healthy && found, "{name}: {:#?}", status.findings);
    };
    for (call, word) in [
        ("nat-anchor \"com.apple/*\" all\\n", "nat"),
        ("rdr-anchor \"com.apple/*\" all\\n", "rdr"),
        ("\\nanchor \"com.apple/*\" all\\n", "filter"),
    ] {
        let edited = |network: &Network| {
            network.mac.edit(|kernel| kernel.replace(call, "\\n").replace("\\n\\n", "\\n"));
        };
        foreign(word, &edited, &format!("the main ruleset does not call com.apple/* for {word}"));
    }
    foreign("skipped", &|network| network.mac.edit(|kernel| kernel + "skip\tlo0\n"), "pf skips lo0");
    foreign(
        "off",
        &|network| {
            network.mac.remove("token\t15");
        },
        "our reference to pf is gone: another program may turn pf off",
    );
    foreign(
        "table",
        &|network| {
            network.mac.edit(|kernel| kernel.replace("10.0.0.0/16 10.3.0.0/16", "10.0.0.0/16 10.9.0.0/16"));
        },
        "the table <nixvol> of com.apple/250.nixvol is not as declared",
    );
    foreign(
        "overlapped",
        &|network| {
            network.mac.ok("route -n add -net 10.0.8.0/24 -interface en0");
        },
        "the network 10.0.0.0/16 of aws overlaps the route 10.0.8.0/24 on en0",
    );
}

/// An action of another program.
type Harm = fn(&Network);

#[test]
fn pipes_that_are_not_as_declared_are_reported() {
    let broken: &[(&str, Harm, &str, &str)] = &[
        (
            "gone",
            |network| network.mac.remove("pipe\t20000\t"),
            "pipe 20000: aws -> ibm (40 ms, 1% lost, 100000 kbit/s) is gone, and its packets are lost",
            "missing",
        ),
        (
            "changed",
            |network| {
                network.mac.ok("dnctl pipe 20000 config delay 41 plr 0.5");
            },
            "pipe 20000: aws -> ibm (40 ms, 1% lost, 100000 kbit/s) was changed to 41 ms, 50% lost",
            "not as declared",
        ),
        (
            "uncalled",
            |network| {
                network.mac.edit(|kernel| kernel.replace("dummynet-anchor \"com.apple/*\" all\\n", ""));
            },
            "pf: the main ruleset does not call com.apple/* for dummynet: no condition of a link has an effect",
            "up",
        ),
        (
            "rule",
            |network| {
                let rule = "dummynet out quick inet from 10.0.0.0/16 to 10.3.0.0/16 pipe 20000\\n";
                network.mac.edit(|kernel| kernel.replace(rule, ""));
            },
            "rules: com.apple/250.nixvol lacks a rule: dummynet out quick inet from 10.0.0.0/16",
            "up",
        ),
        (
            "restarted",
            |network| {
                network.mac.reboot();
                network.mac.ok("dnctl pipe 20000 config delay 300");
            },
            "pipe 20000: another program has the number that aws -> ibm",
            "of another program",
        ),
    ];
    let network = Network::new(&slow());
    network.ok("start");
    let up = network.keep();
    let whole = compared(&network, "whole", &slow());
    assert!(whole.healthy && whole.pipes.iter().all(|it| it.state == "up"), "{whole:?}");
    let shown = text(&whole, false);
    assert!(shown.contains("\nPIPE     CONDITIONS ") && shown.contains("aws -> ibm "), "{shown}");
    is_in_the_words_of_the_manager(&shown, &network.ok("status"));
    for (name, harm, expected, state) in broken {
        network.put_back(&up);
        harm(&network);
        let status = compared(&network, name, &slow());
        let told = |it: &nixvol_net::status::StatusFinding| {
            format!("{}: {}", it.about, it.what).starts_with(expected)
        };
        assert!(!status.healthy && status.findings.iter().any(told), "{name}: {:#?}", status.findings);
        assert_eq!(status.pipes[0].state, *state, "{name}");
    }
    // Pipes that the bundle no longer has.
    network.put_back(&up);
    network.install(&small());
    let (_, capture) = collected(&network, "undeclared");
    let status = judged(&small(), &capture).expect("a capture");
    assert!(
        status.findings.iter().any(|it| it.what == "pipe 20001 is still there"),
        "{:#?}",
        status.findings
    );
    network.put_back(&up);
    network.ok("stop");
    assert!(compared(&network, "down", &slow()).healthy);
}

#[test]
fn a_capture_without_pipes_is_accepted() {
    let network = Network::new(&slow());
    network.ok("start");
    let (_, mut capture) = collected(&network, "whole");
    let failed = capture.insert("dnctl-list".to_owned(), "failed\n".to_owned());
    assert_eq!(judged(&slow(), &capture), Err(Unreadable::Failed("dnctl-list")));
    assert_ne!(failed, None);
    for file in ["dnctl-list", "pfctl-dummynet", "pfctl-anchor-dummynet"] {
        capture.remove(file).expect("a file of the capture");
    }
    let status = judged(&slow(), &capture).expect("a capture");
    assert!(status.healthy && status.pipes.iter().all(|it| it.state == "unknown"), "{status:?}");
}

#[test]
fn a_volume_that_is_not_mounted_is_healthy_and_shown_so() {
    let network = started();
    network.mac.remove("mount\t/dev/disk5s1");
    network.ok("reconcile");
    let status = compare(&network, "unmounted");
    assert!(status.healthy);
    assert_eq!(status.volumes[0].state, "not mounted");
}

#[test]
fn down_is_healthy_when_nothing_is_left() {
    let network = Network::new(&input());
    let never = compare(&network, "never");
    assert!(!never.healthy && never.wish.is_none() && never.findings.is_empty());
    network.ok("start");
    network.ok("stop");
    let down = compare(&network, "down");
    assert!(down.healthy && down.wish == Some("down"));
    network.mac.reboot();
    assert!(compare(&network, "restarted").healthy);
}

#[test]
fn a_reboot_leaves_the_repair_to_the_next_reconcile() {
    let network = started();
    network.mac.reboot();
    let status = compare(&network, "restarted");
    assert!(!status.healthy);
    network.ok("reconcile");
}

#[test]
fn the_program_reads_a_capture_and_asks_the_installed_manager() {
    let network = started();
    let (dir, _) = collected(&network, "capture");
    let dir = dir.display().to_string();
    let output = run(&["status", "--from", &dir], "");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("network      up; desired: up\n"));
    network.mac.ok("ifconfig bridge2000 destroy");
    let (dir, _) = collected(&network, "broken");
    let dir = dir.display().to_string();
    let output = run(&["status", "--from", &dir, "--format", "json"], "");
    assert_eq!(output.status.code(), Some(1));
    let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(status["healthy"], false);
    let errors: Vec<String> =
        validator_of(&["status"]).iter_errors(&status).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let picture = run(&["graph", "--from", &dir, "--input", &format!("{dir}/network.json")], "");
    assert!(String::from_utf8_lossy(&picture.stdout).contains("veth-etcd-1 = feth20000"));
    assert_eq!(run(&["status", "--from", "/nowhere"], "").status.code(), Some(2));
    assert_eq!(run(&["status", "--from", "/tmp"], "").status.code(), Some(2));
    // Live, it asks the manager below the declaration's base.
    let output = program()
        .args(["status", "--input", &format!("{}/network.json", network.base().display())])
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("bridge-aws (bridge2000) is gone"));
}

#[test]
fn incomplete_captures_are_refused() {
    let network = started();
    let (_, whole) = collected(&network, "whole");
    let refused = |change: &dyn Fn(&mut Capture)| {
        let mut capture = whole.clone();
        change(&mut capture);
        judged(&input(), &capture).expect_err("no capture")
    };
    assert_eq!(refused(&|it| drop(it.remove("ifconfig"))), Unreadable::Missing("ifconfig"));
    let failed = |it: &mut Capture| drop(it.insert("pfctl-sr".to_owned(), "failed\n".to_owned()));
    assert_eq!(refused(&failed), Unreadable::Failed("pfctl-sr"));
    let other = |it: &mut Capture| drop(it.insert("version".to_owned(), "format\t2\n".to_owned()));
    assert_eq!(refused(&other), Unreadable::Form("format\t2".to_owned()));
}

proptest! {
    #![proptest_config(cases(50))]

    #[test]
    fn random_captures_are_read_without_panic(texts in proptest::collection::vec("(\\PC|[\\t\\n 0-9./:<>,()x-]|inet |netmask |peer: |member: |have|gone|boot|token| on /|pipe|200|: unlimited | ms |plr |bit/s ){0,120}", 19)) {
        let names = ["ifconfig", "netstat-rn", "sysctl", "mount", "pfctl-references", "pfctl-sn", "pfctl-sr", "pfctl-interfaces",
            "pfctl-anchor-sn", "pfctl-anchor-sr", "pfctl-anchor-tables", "names", "ledger", "wish", "rules.conf", "told", "dnctl-list", "pfctl-dummynet", "pfctl-anchor-dummynet"];
        let mut capture: Capture = names.iter().zip(&texts).map(|(name, text)| ((*name).to_owned(), text.clone())).collect();
        capture.insert("version".to_owned(), "format\t1\n".to_owned());
        capture.insert("sysctl".to_owned(), "1\nboot\n".to_owned());
        for wish in ["up\n", "down\n", ""] {
            capture.insert("wish".to_owned(), wish.to_owned());
            for input in [input(), slow()] {
                if let Ok(status) = judged(&input, &capture) {
                    prop_assert!(!status.healthy || wish == "down\n");
                }
            }
        }
        let _ = darwin::references(&texts[0]);
    }
}
