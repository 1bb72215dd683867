//! What the network lives on beside itself: launchd's job, pf's state table, an anchor that is ours alone.

use std::fs;

use serde_json::{Value, json};

use crate::network::{AWKS, Network, SHELLS, small};
use crate::support::run;

/// The only problem of a status, and that `status --from` has it too.
fn one_problem(network: &Network, name: &str, words: &str) {
    let (code, status) = network.status();
    let problems = status["problems"].as_array().expect("problems");
    assert_eq!((code, problems.len()), (1, 1), "{name}: {status:#}");
    assert!(problems[0].as_str().is_some_and(|text| text.contains(words)), "{name}: {problems:?}");
    let directory = network.mac.dir().join(name);
    network.ok(&format!("logs --collect {}", directory.display()));
    let output = run(&["status", "--from", &directory.display().to_string(), "--format", "json"], "");
    let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let findings = status["findings"].as_array().expect("findings");
    assert_eq!((output.status.code(), findings.len()), (Some(1), 1), "{name}: {status:#}");
}

#[test]
fn a_job_that_launchd_does_not_run_is_a_problem() {
    let label = "org.nix-volumes.networking";
    for (shell, awk) in [(0, 0), (1, 1), (2, 2), (3, 0)] {
        let mut network = Network::new(&small());
        network.under(SHELLS[shell], AWKS[awk]);
        network.ok("start");
        network.assert_up();
        network.mac.ok(&format!("launchctl disable system/{label}"));
        one_problem(&network, "disabled", "disabled in Login Items");
        network.mac.ok(&format!("launchctl bootout system/{label}"));
        one_problem(&network, "disabled-and-gone", "disabled in Login Items");
        network.mac.ok(&format!("launchctl enable system/{label}"));
        one_problem(
            &network,
            "gone",
            "sudo launchctl bootstrap system /Library/LaunchDaemons/org.nix-volumes.networking.plist",
        );
        // A network that is down needs nobody who mends it.
        network.ok("stop");
        assert_eq!(network.status().0, 0);
        network.ok("start");
        network.mac.add(&format!("job\t{label}\t/Library/LaunchDaemons/{label}.plist\t/opt/other/networking/manage-macos-networking.sh"));
        one_problem(
            &network,
            "another",
            "launchd runs /opt/other/networking/manage-macos-networking.sh for our job",
        );
        network.mac.ok(&format!("launchctl bootout system/{label}"));
        network.load_job();
        network.assert_up();
        let plist = network.base().join("launchd").join(format!("{label}.plist"));
        let text = fs::read_to_string(&plist).expect("the plist");
        let copy = network.mac.dir().join(format!("{label}.plist"));
        fs::write(&copy, text.replace("<integer>18<", "<integer>22<")).expect("another plist");
        network.mac.ok(&format!("launchctl bootout system/{label}"));
        network.mac.ok(&format!("launchctl bootstrap system {}", copy.display()));
        one_problem(&network, "older", "which is not the one that is installed");
        let logs = network.ok("logs");
        assert!(
            logs.contains("differs\n")
                && logs.contains("state = not running\n")
                && !logs.contains("state = active"),
            "{logs}"
        );
    }
}

#[test]
fn a_state_table_that_fills_is_a_problem() {
    let network = Network::new(&small());
    network.ok("start");
    let shown = |network: &Network| network.status().1["states"].clone();
    assert_eq!(shown(&network), json!({ "entries": 0, "limit": 10_000 }));
    network.mac.add("crowd\t8000");
    assert_eq!(network.status().0, 0);
    network.mac.remove("crowd");
    network.mac.add("crowd\t8001");
    one_problem(&network, "crowd", "8001 of 10000 states (80 %)");
    network.mac.add("limit\t100000");
    assert_eq!((network.status().0, shown(&network)), (0, json!({ "entries": 8001, "limit": 100_000 })));
    assert!(network.ok("status").contains("\nstates       8001 of 100000\n"));
}

#[test]
fn rules_of_others_in_our_anchor_are_not_overwritten() {
    let network = Network::new(&small());
    let rules = "anchor\tcom.apple/250.nixvol\tpass in quick on en0 inet proto tcp from any to any port = 8022 flags S/SA keep state\\n";
    network.mac.add(rules);
    let before = network.mac.kernel();
    let words = "com.apple/250.nixvol holds rules that ";
    network.fails("start", 3, words);
    let ran = network.run("start");
    let base = network.mac.dir().join("opt/nix-volumes").display().to_string();
    assert!(
        ran.err.contains(&base) && ran.err.contains("of another program") && ran.err.contains("port = 8022"),
        "{}",
        ran.err
    );
    assert_eq!((network.run("plan").code, network.mac.kernel()), (3, before.clone()));
    // Where launchd runs the manager of another base, that is who it was.
    network.mac.edit(|kernel| kernel.replace(&base, "/opt/elsewhere"));
    network.fails("start", 3, "they are of /opt/elsewhere/networking/manage-macos-networking.sh");
    network.mac.edit(|_| before.clone());
    for command in ["stop", "cleanup", "reconcile"] {
        network.ok(command);
        assert_eq!(network.mac.kernel(), before, "{command}");
    }
    // As it says, so it goes.
    network.mac.ok("pfctl -q -a com.apple/250.nixvol -f /dev/null");
    network.ok("start");
    // A network that was up when the Mac went down does not overwrite them either.
    network.mac.reboot();
    network.mac.add(rules);
    let before = network.mac.kernel();
    network.fails("reconcile", 3, words);
    assert_eq!(network.mac.kernel(), before);
    network.mac.remove("anchor\tcom.apple/250.nixvol\t");
    network.ok("reconcile");
    network.assert_up();
}

#[test]
fn help_and_version_need_no_root() {
    let network = Network::new(&small());
    network.mac.edit(|kernel| kernel.replace("uid\t0\n", "uid\t501\n"));
    let help = network.ok("help");
    assert_eq!((network.ok("--help"), network.ok("-h")), (help.clone(), help));
    assert_eq!(
        network.ok("--version"),
        format!("manage-macos-networking.sh {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn logs_have_a_header_and_follow() {
    let network = Network::new(&small());
    network.ok("start");
    network.mac.run("nc -z -G 2 -s 127.0.0.1 10.0.1.2 80");
    let logs = network.ok("logs");
    let heading = logs.lines().position(|line| line.starts_with("LABEL ")).expect("a header");
    let words: Vec<&str> = logs.lines().nth(heading).expect("it").split_whitespace().collect();
    assert_eq!(words, ["LABEL", "EVALUATIONS", "PACKETS", "BYTES"]);
    let row = logs.lines().find(|line| line.starts_with("localhost:from ")).expect("a row");
    assert_eq!(row.split_whitespace().count(), 4, "{row}");
    network.mac.forget_journal();
    let manager = network.base().join("manage-macos-networking.sh");
    let ran = std::process::Command::new("timeout")
        .args(["3", "sh"])
        .arg(manager)
        .args(["logs", "--follow"])
        .output()
        .expect("it runs");
    assert_eq!(ran.status.code(), Some(124), "it goes on");
    assert!(network.mac.journal().iter().any(|call| call.line().starts_with("tail -n 100 -F ")));
}
