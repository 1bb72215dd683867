//! Conditions: pipes of dummynet that come before the rules that name them, and go after.

use std::fs;

use serde_json::{Value, json};

use crate::network::{AWKS, HOSTS, Network, SHELLS, slow, small};
use crate::rig::{Call, foreign, settled};

const OURS: &str = "com.apple/250.nixvol";

/// The numbers of the pipes that are there.
fn pipes(network: &Network) -> Vec<u16> {
    let kernel = network.mac.kernel();
    let number = |line: &str| line.strip_prefix("pipe\t")?.split('\t').next()?.parse().ok();
    kernel.lines().filter_map(number).collect()
}

/// The calls since the journal was last forgotten that concern pipes or load and unload rules.
fn steps(network: &Network) -> Vec<String> {
    let of = |call: &Call| match call.words[0].as_str() {
        "dnctl" => true,
        "pfctl" => call.words.iter().any(|word| ["-f", "-F", "dummynet"].contains(&word.as_str())),
        _ => false,
    };
    let state = network.state().display().to_string();
    let journal = network.mac.journal();
    journal.iter().filter(|call| of(call)).map(|call| call.line().replace(&state, "STATE")).collect()
}

const LOOKS: [&str; 3] = ["dnctl list", "pfctl -s dummynet", "pfctl -a com.apple/250.nixvol -s dummynet"];

#[test]
fn pipes_are_made_before_rules_and_deleted_after_them() {
    for (shell, awk, spares) in [(0, 0, false), (1, 1, true), (2, 2, true), (3, 0, false)] {
        let mut network = Network::new(&slow());
        network.under(SHELLS[shell], AWKS[awk]);
        if spares {
            network.mac.spare_dummynet();
        }
        let before = network.mac.kernel();
        let planned = network.ok("plan");
        let making = "make pipe 20000 (aws -> ibm): 40 ms, 1% lost, 100000 kbit/s\nmake pipe 20001 (ibm -> aws): 40 ms, 1% lost, 100000 kbit/s\nload the rules";
        let (summary, changes) = planned.split_once('\n').expect("a summary");
        assert!(summary.starts_with("23 changes: ") && changes.starts_with(making), "{planned}");
        network.mac.forget_journal();
        assert_eq!(network.ok("start"), planned + "the network is up\n");
        let made = [
            "dnctl pipe 20000 config delay 40 plr 0.010000 bw 100000Kbit/s",
            "dnctl pipe 20001 config delay 40 plr 0.010000 bw 100000Kbit/s",
            "pfctl -n -a com.apple/250.nixvol -f STATE/rules.new",
            "pfctl -a com.apple/250.nixvol -f STATE/rules.loading",
            "pfctl -a com.apple/250.nixvol -s dummynet",
        ];
        assert_eq!(steps(&network), [&LOOKS[..], &made, &LOOKS].concat());
        network.assert_up();
        assert!(network.mac.kernel().contains("pipe\t20000\t40\t21474836\t100000000\n"));
        network.mac.forget_journal();
        for command in ["start", "reconcile", "status", "plan"] {
            network.ok(command);
        }
        assert_eq!(network.mac.changes(), [""; 0]);
        network.mac.forget_journal();
        network.ok("stop");
        let gone = [
            "pfctl -a com.apple/250.nixvol -f /dev/null",
            "pfctl -a com.apple/250.nixvol -s dummynet",
            "pfctl -a com.apple/250.nixvol -F all",
            "pfctl -a com.apple/250.nixvol -s dummynet",
            "dnctl pipe delete 20000",
            "pfctl -a com.apple/250.nixvol -s dummynet",
            "dnctl pipe delete 20001",
        ];
        assert_eq!(steps(&network), [&LOOKS[..], &gone, &LOOKS].concat(), "{spares} {shell}");
        assert_eq!(foreign(&network.mac.journal()), [""; 0]);
        assert_eq!(network.mac.kernel(), before);
        network.ok("start");
        network.ok("cleanup");
        network.assert_clean(&before);
    }
}

#[test]
fn only_conditions_are_observed_at_the_cost_of_three_commands() {
    let calls = |input: &Value| {
        let network = Network::new(input);
        network.ok("start");
        network.mac.forget_journal();
        network.ok("reconcile");
        assert_eq!(network.mac.changes(), [""; 0]);
        network.mac.journal().iter().map(Call::line).collect::<Vec<_>>()
    };
    let (without, with) = (calls(&small()), calls(&slow()));
    assert_eq!((without.len(), with.len()), (12, 15));
    let more: Vec<&String> = with.iter().filter(|call| LOOKS.contains(&call.as_str())).collect();
    assert_eq!(more, LOOKS);
    // A network that lost its conditions costs what it did without.
    let network = Network::new(&slow());
    network.ok("start");
    network.install(&small());
    network.ok("start");
    assert_eq!(pipes(&network), [0; 0]);
    network.mac.forget_journal();
    network.ok("reconcile");
    assert_eq!(network.mac.journal().len(), 12);
    assert!(!network.state().join("pipes").exists());
}

#[test]
fn a_foreign_pipe_is_refused_before_anything_is_changed() {
    let network = Network::new(&slow());
    network.mac.ok("dnctl pipe 20001 config delay 300 bw 512Kbit/s plr 0.5");
    network.mac.ok("dnctl pipe 7 config delay 300");
    let before = network.mac.kernel();
    let said = "pipe 20001 of dummynet belongs to another program (300 ms, 50% lost, 512 kbit/s), and ibm -> aws needs that number; hint: where nothing needs it, sudo dnctl pipe delete 20001";
    network.fails("start", 3, said);
    assert_eq!((network.mac.kernel(), network.hosts()), (before.clone(), HOSTS.to_owned()));
    assert_eq!(network.run("plan").code, 3);
    network.ok("stop");
    network.ok("cleanup");
    network.assert_clean(&before);
    // Whoever took the number while the Mac was down is not touched either.
    network.mac.remove("pipe\t20001");
    network.ok("start");
    network.mac.reboot();
    network.mac.ok("dnctl pipe 20001 config delay 300");
    let booted = network.mac.kernel();
    network.fails("reconcile", 3, "pipe 20001 of dummynet belongs to another program (300 ms)");
    assert_eq!(network.mac.kernel(), booted);
    network.mac.remove("pipe\t20001");
    network.ok("reconcile");
    network.assert_up();
    // What was ours and is not any more is not taken for ours again, whoever took it away.
    for flushed in [false, true] {
        if flushed {
            network.mac.remove("pipe\t");
        }
        network.install(&small());
        network.ok("start");
        network.install(&slow());
        network.mac.ok("dnctl pipe 20001 config delay 300");
        network.fails("start", 3, "pipe 20001 of dummynet belongs to another program (300 ms)");
        network.mac.remove("pipe\t20001");
        network.ok("start");
    }
    // Other numbers are no one's business.
    network.mac.ok("dnctl pipe 20002 config delay 300");
    network.ok("reconcile");
    network.assert_up();
    network.ok("cleanup");
    assert_eq!(pipes(&network), [20_002]);
}

#[test]
fn conditions_are_added_changed_and_removed() {
    let network = Network::new(&small());
    let before = network.mac.kernel();
    network.ok("start");
    let plain = network.mac.kernel();
    let step = |input: &Value| {
        network.install(input);
        network.mac.forget_journal();
        network.ok("start");
        network.assert_up();
        let mut changes = network.mac.changes();
        changes.retain(|line| line.starts_with("dnctl") || line.contains("-f"));
        changes.iter().map(|line| line.split_whitespace().take(4).collect::<Vec<_>>().join(" ")).collect()
    };
    let load = "pfctl -a com.apple/250.nixvol -f";
    let steps: Vec<String> = step(&slow());
    assert_eq!(steps, ["dnctl pipe 20000 config", "dnctl pipe 20001 config", load]);
    // Other conditions: the rules stay as they are, up to a comment.
    let mut faster = slow();
    faster["links"][0]["conditions"] = json!({ "latencyMs": 5 });
    let steps: Vec<String> = step(&faster);
    assert_eq!(steps[..2], ["dnctl pipe 20000 config", "dnctl pipe 20001 config"]);
    assert!(network.mac.kernel().contains("pipe\t20000\t5\t0\t0\npipe\t20001\t5\t0\t0\n"));
    // A link in front gives the others new numbers.
    faster["links"][0]["from"] = json!(["ibm"]);
    faster["links"][0]["to"] = json!(["aws"]);
    let _: Vec<String> = step(&faster);
    let mut more = faster.clone();
    let front = json!({ "from": ["aws"], "to": ["talos-4"], "conditions": { "loss": 0.25 } });
    more["links"].as_array_mut().expect("links").insert(0, front);
    let steps: Vec<String> = step(&more);
    let last = steps.last().map(String::as_str);
    assert_eq!((steps.len(), last), (3, Some(load)), "{steps:?}");
    assert_eq!(pipes(&network), [20_000, 20_001, 20_002]);
    let (_, status) = network.status();
    assert_eq!(
        (&status["pipes"][0]["way"], &status["pipes"][2]["way"]),
        (&json!("aws -> talos-4"), &json!("aws -> ibm"))
    );
    let steps: Vec<String> = step(&faster);
    assert_eq!(
        steps.last().map(String::as_str),
        Some("dnctl pipe delete 20002"),
        "behind the rules: {steps:?}"
    );
    let steps: Vec<String> = step(&small());
    assert_eq!(steps, [load, "dnctl pipe delete 20000", "dnctl pipe delete 20001"]);
    assert_eq!(network.mac.kernel(), plain);
    let log = fs::read_to_string(network.mac.dir().join("var/log")).expect("the log");
    assert!(log.contains("change pipe 20000") && !log.contains("another program"), "{log}");
    network.ok("cleanup");
    network.assert_clean(&before);
}

#[test]
fn pipes_follow_a_change_of_the_anchor() {
    for spares in [false, true] {
        let network = Network::new(&slow());
        if spares {
            network.mac.spare_dummynet();
        }
        let before = network.mac.kernel();
        network.ok("start");
        let mut input = slow();
        input["anchor"] = json!("com.apple/260.other");
        network.install(&input);
        network.ok("start");
        network.assert_up();
        assert!(!network.mac.kernel().contains(OURS));
        input["links"] = json!([]);
        input["anchor"] = json!(OURS);
        network.install(&input);
        network.ok("start");
        assert_eq!(pipes(&network), [0; 0]);
        network.ok("cleanup");
        network.assert_clean(&before);
    }
}

/// Rules that could not be replaced or unloaded keep their pipes, whoever comes to take those away.
#[test]
fn rules_that_cannot_be_removed_keep_their_pipes() {
    let mut elsewhere = small();
    elsewhere["anchor"] = json!("com.apple/260.other");
    for next in [small(), elsewhere] {
        let network = Network::new(&slow());
        network.ok("start");
        network.install(&next);
        let begin = network.keep();
        for command in ["start", "reconcile", "cleanup"] {
            network.put_back(&begin);
            network.mac.forget_journal();
            network.ok(command);
            let journal = network.mac.journal();
            let loads = |call: &Call| call.words[0] == "pfctl" && call.line().contains(" -f ");
            for (_, at) in journal.iter().zip(1..).filter(|(call, _)| loads(call)) {
                network.put_back(&begin);
                network.mac.fault(Some(("fail", at)));
                network.run(command);
                network.mac.fault(None);
                assert_eq!(network.mac.holes(), "", "{command}, {at}");
            }
        }
    }
}

#[test]
fn a_failed_start_restores_the_old_conditions() {
    for (from, to) in [(small(), slow()), (slow(), small())] {
        let network = Network::new(&from);
        network.ok("start");
        let up = network.mac.kernel();
        let mut input = to.clone();
        input["hostsFile"] = json!(network.mac.dir().join("none/hosts"));
        network.install(&input);
        network.fails("start", 1, "rolled back: nothing of the start is left");
        assert_eq!(network.mac.kernel(), up);
        network.install(&from);
        network.assert_up();
    }
}

/// Better rules without conditions than none, and better none of dummynet's than one into a pipe that is not there.
#[test]
fn if_a_pipe_cannot_be_made_rules_are_loaded_without_conditions() {
    let network = Network::new(&slow());
    network.ok("start");
    let (up, manager) = (network.mac.kernel(), network.base().join("manage-macos-networking.sh"));
    network.mac.reboot();
    let bare = network.mac.kernel();
    // dnctl takes no such number.
    let whole = fs::read_to_string(&manager).expect("the manager");
    for file in [&manager, &network.state().join("applied")] {
        let text = fs::read_to_string(file).expect("the table");
        let text =
            text.replace("pipe\t20001\t40\t0.010000\t100000\t", "pipe\t20001\t40\t0.010000\t9999999\t");
        fs::write(file, text).expect("the table");
    }
    for _ in 0..2 {
        network.fails("reconcile", 1, "dnctl: bandwidth too large");
        let kernel = network.mac.kernel();
        assert!(
            !kernel.contains(" pipe 2000") && kernel.contains("block return quick inet from <nixvol>"),
            "{kernel}"
        );
        assert_eq!(pipes(&network), [20_000]);
    }
    network.ok("stop");
    assert_eq!(network.mac.kernel(), bare);
    network.fails("start", 1, "rolled back: nothing of the start is left");
    assert_eq!(network.mac.kernel(), bare);
    fs::write(&manager, whole).expect("the manager");
    network.ok("start");
    assert_eq!(settled(&network.mac.kernel()), settled(&up));
}

/// Two bundles without conditions are exchanged, also in vain, without a look at dummynet.
#[test]
fn without_conditions_dummynet_is_never_touched() {
    let network = Network::new(&small());
    network.ok("start");
    let mut input = small();
    input["hostsFile"] = json!(network.mac.dir().join("none/hosts"));
    input["links"] = json!([]);
    network.install(&input);
    network.fails("start", 1, "rolled back: nothing of the start is left");
    network.install(&small());
    for command in ["status", "plan", "test", "stop", "start", "cleanup"] {
        network.ok(command);
    }
    let of_pipes = |line: &&String| ["dnctl", "dummynet", "/dev/null"].iter().any(|word| line.contains(word));
    assert_eq!(steps(&network).iter().find(of_pipes), None);
}

#[test]
fn no_pipes_are_left_behind() {
    let mut input = slow();
    input["hostsFile"] = Value::Null;
    let network = Network::new(&input);
    network.ok("start");
    network.mac.reboot();
    let bare = network.mac.kernel();
    network.ok("cleanup");
    network.assert_clean(&bare);
}

#[test]
fn status_shows_pipes() {
    let network = Network::new(&slow());
    network.ok("start");
    let text = network.ok("status");
    let row = "20000    40 ms, 1% lost, 100000 kbit/s";
    assert!(text.contains("\nPIPE     CONDITIONS ") && text.contains(row), "{text}");
    assert!(text.contains(", called for nat rdr filter dummynet; "), "{text}");
    let (_, status) = network.status();
    let one = json!({ "number": 20_001, "latencyMs": 40, "loss": 0.01, "bandwidthKbit": 100_000, "way": "ibm -> aws", "state": "up" });
    assert_eq!((&status["pipes"][1], &status["rules"]["called"]["dummynet"]), (&one, &json!(true)));
    network.mac.remove("pipe\t20000");
    let plan: Value = serde_json::from_str(&network.ok("plan --json")).expect("JSON");
    assert_eq!(plan["pipes"][0]["state"], "missing");
    assert_eq!(plan["changes"], json!(["make pipe 20000 (aws -> ibm): 40 ms, 1% lost, 100000 kbit/s"]));
    network.mac.ok("dnctl pipe 20001 config delay 41");
    let (code, status) = network.status();
    assert_eq!((code, &status["pipes"][1]["state"]), (1, &json!("not as declared")));
    network.ok("reconcile");
    network.ok("stop");
    assert!(network.ok("status").contains(" down\n"));
    let network = Network::new(&small());
    network.ok("start");
    assert!(!network.ok("status").contains("PIPE") && !network.ok("status").contains("dummynet"));
    let (_, status) = network.status();
    assert_eq!((&status["pipes"], &status["rules"]["called"]["dummynet"]), (&json!([]), &json!(null)));
}

#[test]
fn missing_dummynet_call_points_are_reported() {
    let network = Network::new(&slow());
    network.ok("start");
    network.mac.edit(|kernel| kernel.replace("dummynet-anchor \"com.apple/*\" all\\n", ""));
    let said = "does not call com.apple/* for dummynet any more: another program replaced it, and the conditions of links have no effect until it does";
    network.fails("reconcile", 1, said);
    let (code, status) = network.status();
    assert_eq!((code, &status["rules"]["called"]["dummynet"]), (1, &json!(false)));
    network.install(&small());
    network.ok("start");
    network.assert_up();
    network.install(&slow());
    network.fails("start", 1, said);
}

#[test]
fn a_report_has_everything_that_is_read_about_pipes() {
    let network = Network::new(&slow());
    network.ok("start");
    let dir = network.mac.dir().join("report");
    network.ok(&format!("logs --collect {}", dir.display()));
    for (file, command) in [
        ("dnctl-list", "dnctl list"),
        ("pfctl-dummynet", "pfctl -s dummynet"),
        ("pfctl-anchor-dummynet", "pfctl -a com.apple/250.nixvol -s dummynet"),
    ] {
        let text = fs::read_to_string(dir.join(file)).expect("a file of the report");
        assert_eq!(text, network.mac.ok(command), "{file}");
        assert_ne!(text, "");
    }
}
