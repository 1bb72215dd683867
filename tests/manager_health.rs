//! What the network depends on: launchd's job, pf's state table, and an anchor that holds only our rules.

use std::fs;

use nixvol_net::darwin;
use serde_json::{Value, json};

use crate::network::{AWKS, Network, SHELLS, slow, small};
use crate::rig::settled;
use crate::support::{root, run};

/// Checks that status reports exactly one problem with these words, and that `status --from` reports one finding too.
fn one_problem(network: &Network, name: &str, words: &str) {
    let (code, status) = network.status();
    let problems = status["findings"].as_array().expect("findings");
    assert_eq!((code, problems.len()), (1, 1), "{name}: {status:#}");
    assert!(problems[0]["what"].as_str().is_some_and(|text| text.contains(words)), "{name}: {problems:?}");
    let directory = network.mac.dir().join(name);
    network.ok(&format!("logs --collect {}", directory.display()));
    let output = run(&["status", "--from", &directory.display().to_string(), "--format", "json"], "");
    let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let findings = status["findings"].as_array().expect("findings");
    assert_eq!((output.status.code(), findings.len()), (Some(1), 1), "{name}: {status:#}");
}

#[test]
fn a_job_that_is_disabled_or_not_loaded_is_a_problem() {
    let label = "org.nix-volumes.networking";
    for (shell, awk) in [(0, 0), (1, 1), (2, 2), (3, 0)] {
        let mut network = Network::new(&small());
        network.under(SHELLS[shell], AWKS[awk]);
        network.ok("start");
        network.assert_up();
        network.mac.ok(&format!("launchctl disable system/{label}"));
        one_problem(&network, "disabled", "disabled (in Login Items?)");
        network.mac.ok(&format!("launchctl bootout system/{label}"));
        one_problem(&network, "disabled-and-gone", "disabled (in Login Items?)");
        network.mac.ok(&format!("launchctl enable system/{label}"));
        one_problem(
            &network,
            "gone",
            "sudo launchctl bootstrap system /Library/LaunchDaemons/org.nix-volumes.networking.plist",
        );
        // A network that is down does not need the job.
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
        one_problem(&network, "older", "which differs from the installed plist");
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
fn a_nearly_full_state_table_is_a_problem() {
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
fn foreign_rules_in_our_anchor_are_not_overwritten() {
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
    // If launchd runs the manager of another base, the message names that one.
    network.mac.edit(|kernel| kernel.replace(&base, "/opt/elsewhere"));
    network.fails("start", 3, "they are of /opt/elsewhere/networking/manage-macos-networking.sh");
    network.mac.edit(|_| before.clone());
    for command in ["stop", "cleanup", "reconcile"] {
        network.ok(command);
        assert_eq!(network.mac.kernel(), before, "{command}");
    }
    // The suggested remedy works.
    network.mac.ok("pfctl -q -a com.apple/250.nixvol -f /dev/null");
    network.ok("start");
    // After a reboot, a network that was up does not overwrite foreign rules either.
    network.mac.reboot();
    network.mac.add(rules);
    let before = network.mac.kernel();
    network.fails("reconcile", 3, words);
    assert_eq!(network.mac.kernel(), before);
    network.mac.remove("anchor\tcom.apple/250.nixvol\t");
    network.ok("reconcile");
    network.assert_up();
}

/// pf replaces the rules of an anchor as a whole: if one rule is not ours, another program loaded the whole set.
#[test]
fn foreign_rules_loaded_over_ours_are_left_alone() {
    let network = Network::new(&slow());
    let bare = network.mac.kernel();
    network.ok("start");
    let anchor = "com.apple/250.nixvol";
    let ours = network.mac.ok(&format!("pfctl -q -a {anchor} -s rules"));
    let file = network.mac.dir().join("theirs");
    let load = |text: &str| {
        fs::write(&file, text).expect("rules");
        network.mac.ok(&format!("pfctl -a {anchor} -f {}", file.display()));
    };
    // The rules of another base share many with ours.
    let first = ours.lines().find(|line| line.starts_with("block drop in quick on ! lo0")).expect("a rule");
    let theirs = "table <here> const { 10.0.1.2 }\n".to_owned()
        + first
        + "\npass quick inet proto tcp from any to 10.0.1.2 port = 22 flags S/SA keep state\n";
    load(&theirs);
    let held = network.mac.kernel();
    for command in ["start", "plan"] {
        let ran = network.run(command);
        let said = ran.out + &ran.err;
        assert!(
            ran.code == 3 && said.contains("did not load") && said.contains("port = 22"),
            "{command}: {said}"
        );
    }
    // Everything else is still repaired, and the problem is logged once.
    network.mac.ok("ifconfig bridge2000 destroy");
    network.fails("reconcile", 1, "another program loaded them in the place of ours, which are not in force");
    assert!(network.mac.kernel().contains("\nif\tbridge2000\t"));
    network.fails("reconcile", 1, "did not load");
    let log = fs::read_to_string(network.mac.dir().join("var/log")).expect("the log");
    assert_eq!(log.matches("did not load").count(), 2, "{log}");
    let (code, status) = network.status();
    let problems = status["findings"].to_string();
    assert!(code == 1 && problems.contains("pf is in use by socketfilterfw (618)"), "{status:#}");
    assert_eq!((&status["changes"], &status["rules"]["loaded"]), (&json!([]), &json!(false)));
    network.fails("test", 1, "did not load");
    assert_eq!(settled(&network.mac.kernel()), settled(&held));
    // stop and cleanup remove everything of ours and leave the foreign rules.
    for command in ["stop", "cleanup"] {
        let ran = network.run(command);
        assert!(ran.code == 0 && ran.err.contains("did not load"), "{}", ran.err);
        let rules = network.mac.ok(&format!("pfctl -q -a {anchor} -s rules"));
        assert!(rules.contains("port = 22") && !network.mac.kernel().contains("bridge2000"), "{rules}");
    }
    network.fails("start", 3, "of another program, or of a network whose state");
    network.mac.ok(&format!("pfctl -q -a {anchor} -f /dev/null"));
    network.ok("start");
    network.assert_up();
    network.ok("cleanup");
    assert_eq!(settled(&network.mac.kernel()), settled(&bare));
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
fn logs_have_a_header_and_can_be_followed() {
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

#[test]
fn unsuitable_paths_are_refused() {
    // A directory that macOS empties, given by its canonical path.
    for field in ["stateDir", "base"] {
        let mut input = small();
        input[field] = json!("/private/tmp/nixvol-of-a-test");
        let network = Network::new(&small());
        let before = network.mac.kernel();
        network.install(&input);
        network.fails("start", 3, "which macOS empties; hint: declare another");
        assert_eq!(network.mac.kernel(), before);
    }
    // A log file that existed before and holds something else.
    let network = Network::new(&small());
    let log = network.mac.dir().join("var/log");
    fs::write(&log, "my diary\n").expect("a file");
    for command in ["start", "stop", "cleanup"] {
        let ran = network.run(command);
        assert_eq!(fs::read_to_string(&log).expect("the file"), "my diary\n", "{command}");
        assert!(
            command == "stop" || ran.code == 3 && ran.err.contains("does not belong to this program"),
            "{command}: {}",
            ran.err
        );
    }
    // A log that launchd, newsyslog or a shell has written first is accepted.
    let base = network.mac.dir().join("opt/nix-volumes").display().to_string();
    let turned = "Nov 26 00:30:00 mac newsyslog[612]: logfile turned over due to size>1024K".to_owned();
    for line in [
        "2026-11-26T12:00:00Z start: x".to_owned(),
        turned,
        format!("/bin/sh: {base}/x: No such file"),
        String::new(),
    ] {
        fs::write(&log, format!("{line}\n")).expect("a log");
        network.ok("start");
        // After the first start the content is not checked again.
        fs::write(&log, "torn\n").expect("a log");
        network.ok("reconcile");
        network.ok("cleanup");
        assert!(!log.exists(), "{line}");
    }
}

#[test]
fn output_of_real_macs_is_parsed() {
    let text =
        |name: &str| fs::read_to_string(root().join("tests/cases/outputs").join(name)).expect("an output");
    let tokens = |name: &str| -> Vec<String> {
        darwin::references(&text(name)).into_iter().map(|reference| reference.token).collect()
    };
    assert_eq!(tokens("References-none"), [""; 0]);
    assert_eq!(
        tokens("References-two"),
        ["9813589183660731843", "15053025338191571182", "15053025338191571999"]
    );
    let pipes: Vec<_> =
        ["dnctl-list-26.5", "dnctl-list-flows"].map(|name| darwin::pipes(&text(name))[&1]).into();
    let pipe = |delay, loss, rate| darwin::DummynetPipe { delay, loss, rate };
    assert_eq!(pipes, [pipe(150, 5_000, 50_000_000_000), pipe(0, 10_000, 0)]);
    let job = darwin::job(&text("launchctl-print").replace('\t', ""));
    assert!(
        job.loaded
            && !job.disabled
            && job.program == "/opt/nix-volumes/networking/manage-macos-networking.sh"
    );
    // The manager parses these outputs in the same way.
    for (shell, awk) in [(0, 0), (1, 1), (2, 2), (3, 0)] {
        let mut network = Network::new(&slow());
        network.under(SHELLS[shell], AWKS[awk]);
        network.ok("start");
        let captured = network.mac.root().join("captured");
        fs::create_dir_all(&captured).expect("a directory");
        fs::write(captured.join("launchctl"), text("launchctl-print")).expect("a text");
        let (_, status) = network.status();
        assert_eq!(status["job"], "not running, last exit code 0");
        for name in ["dnctl-list-26.5", "dnctl-list-flows"] {
            let printed = text(name).replace("00001:", "20000:");
            fs::write(captured.join("dnctl"), printed).expect("a text");
            let (_, status) = network.status();
            let changes = status["changes"].to_string();
            let wanted = "change pipe 20000 (aws -> ibm): 40 ms, 1% lost, 100000 kbit/s";
            assert!(changes.contains(wanted) && changes.contains("make pipe 20001"), "{name}: {changes}");
        }
        let same = "20000: 100.000 Mbit/s   40 ms  50 sl.plr 0.010000 0 queues (1 buckets) droptail\n";
        fs::write(captured.join("dnctl"), same).expect("a text");
        assert!(!network.status().1["changes"].to_string().contains("pipe 20000"));
        fs::remove_dir_all(captured).expect("the texts");
        network.assert_up();
    }
}
