//! The manager's commands on the toy Mac: what they do, print and exit with.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::network::{AWKS, HOSTS, Network, SHELLS, many, shell_of_macos, small, topology};
use crate::rig::{Ran, foreign};
use crate::support::has_tool;

fn lifecycle(shell: &'static [&'static str]) {
    let mut network = Network::new(&topology());
    let before = network.mac.kernel();
    for awk in AWKS {
        network.under(shell, awk);
        network.mac.forget_journal();
        network.ok("start");
        network.assert_up();
        assert_eq!(foreign(&network.mac.journal()), [""; 0], "{shell:?} {awk}");
        let up = network.mac.kernel();
        assert_ne!(up, before);
        network.mac.forget_journal();
        network.ok("start");
        network.ok("reconcile");
        network.ok("status");
        network.ok("plan");
        assert_eq!(network.mac.changes(), [""; 0], "{shell:?} {awk}");
        assert_eq!(network.mac.kernel(), up);
        network.ok("stop");
        assert_eq!(network.mac.kernel(), before, "{shell:?} {awk}");
        assert_eq!(foreign(&network.mac.journal()), [""; 0], "{shell:?} {awk}");
        assert_eq!(network.hosts(), HOSTS);
        network.mac.forget_journal();
        network.ok("stop");
        network.ok("reconcile");
        assert_eq!(network.mac.changes(), [""; 0]);
        network.ok("cleanup");
        network.assert_clean(&before);
        network.mac.forget_journal();
        network.ok("cleanup");
        network.assert_clean(&before);
        assert_eq!(network.mac.changes(), [""; 0]);
    }
}

#[test]
fn up_and_down_under_the_shell_of_macos() {
    if let Some(shell) = shell_of_macos() {
        lifecycle(shell);
    }
}

#[test]
fn up_and_down_under_dash() {
    lifecycle(SHELLS[0]);
}

#[test]
fn up_and_down_under_bash() {
    lifecycle(SHELLS[1]);
}

#[test]
fn up_and_down_under_busybox() {
    lifecycle(SHELLS[2]);
}

#[test]
fn up_and_down_under_mksh() {
    lifecycle(SHELLS[3]);
}

#[test]
fn every_shell_reads_it_and_shellcheck_is_silent() {
    let mut input = small();
    input["volumes"]["etcd-1"]["mountPoint"] = json!("/Volumes/a 'b' \"c\" $(d) `e` \\f END OF NETWORK");
    let network = Network::new(&input);
    let manager = network.base().join("manage-macos-networking.sh");
    for shell in SHELLS {
        let mut check = Command::new(shell[0]);
        let output = check.args(&shell[1..]).arg("-n").arg(&manager).output();
        let ran = Ran::of(&output.expect("the shell runs"));
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{shell:?}");
    }
    let output = Command::new("shellcheck").args(["-s", "sh"]).arg(&manager).output();
    let ran = Ran::of(&output.expect("shellcheck runs"));
    assert_eq!((ran.code, ran.out.as_str()), (0, ""));
    let text = fs::read_to_string(manager).expect("the manager");
    assert!(!text.contains("eval ") && !text.contains("/nix/store") && !text.contains("/tmp/nix"));
    // In several shells a here-document is a temporary file in a directory that others can write.
    assert!(!text.contains("<<") && !text.contains("mktemp"));
}

#[test]
fn start_does_what_plan_printed() {
    let network = Network::new(&small());
    let before = network.mac.kernel();
    let planned = network.ok("plan");
    assert_eq!(network.mac.kernel(), before);
    assert!(!network.state().exists());
    let done = network.ok("start");
    assert_eq!(done, format!("{planned}the network is up\n"));
    assert_eq!(network.ok("plan"), "nothing to change\n");
    let plan: serde_json::Value = serde_json::from_str(&network.ok("plan --json")).expect("JSON");
    assert_eq!(
        plan,
        json!({ "refused": [], "version": 1, "advice": [], "findings": [], "notes": [], "changes": [], "pipes": [],
            "waysOut": ["en0", "feth7", "utun4"], "defaultInterface": "en0", "pending": null, "faults": [] })
    );
}

#[test]
fn wrong_use_and_no_root() {
    let network = Network::new(&small());
    let help = network.ok("help");
    let bare = network.run("");
    assert_eq!((bare.code, bare.out), (2, help));
    network.fails("up", 2, "there is no command 'up'");
    network.fails("status --yaml", 2, "'status' has no option '--yaml'");
    network.fails("start --confirm-within soon", 2, "--confirm-within takes a number of seconds");
    let before = network.mac.kernel();
    network.mac.edit(|kernel| kernel.replace("uid\t0\n", "uid\t501\n"));
    for command in ["status", "start", "stop", "plan", "reconcile", "cleanup", "logs", "confirm"] {
        network.fails(command, 77, "this needs root");
    }
    assert!(!network.state().exists());
    network.mac.edit(|_| before);
}

#[test]
fn reconcile_does_nothing_before_the_first_start() {
    let network = Network::new(&small());
    network.ok("reconcile");
    let calls: Vec<String> = network.mac.journal().iter().map(crate::rig::Call::line).collect();
    assert_eq!(calls, ["id -u"]);
    assert!(!network.state().exists());
}

#[test]
fn changing_volumes_touches_only_their_objects() {
    let network = Network::new(&topology());
    network.ok("start");
    let mut input = topology();
    let volumes = input["volumes"].as_object_mut().expect("volumes");
    volumes.remove("etcd-2");
    volumes.insert(
        "added".to_owned(),
        json!({ "provider": "aws", "address": "10.0.9.9", "localhost": "127.0.1.99" }),
    );
    network.install(&input);
    network.mac.forget_journal();
    network.ok("start");
    let changes = network.mac.changes();
    // The rules are loaded first, with the kernel names.
    assert!(changes[0].starts_with("pfctl -a com.apple/250.nixvol -f "), "{changes:?}");
    assert_eq!(
        changes[1..],
        [
            "ifconfig lo0 -alias 10.1.1.2",
            "ifconfig lo0 -alias 127.0.1.12",
            "ifconfig feth20002 destroy",
            "ifconfig feth20003 destroy",
            "ifconfig feth20026 create up",
            "ifconfig feth20027 create up",
            "ifconfig feth20026 peer feth20027",
            "ifconfig bridge2000 addm feth20027",
            "ifconfig lo0 alias 10.0.9.9 netmask 255.255.255.255",
            "ifconfig lo0 alias 127.0.1.99 netmask 255.255.255.255",
        ]
    );
    network.assert_up();
    assert!(network.hosts().contains("10.0.9.9\tadded.aws.nixvol added.nixvol\n"));
    network.install(&topology());
    network.ok("start");
    let (_, status) = network.status();
    assert_eq!(status["volumes"][1]["kernel"], "feth20002", "it has its name again");
}

#[test]
fn a_requested_stop_is_healthy() {
    let network = Network::new(&small());
    let (code, status) = network.status();
    assert_eq!((code, &status["healthy"], &status["wish"]), (1, &json!(false), &json!(null)));
    network.ok("start");
    network.ok("stop");
    assert!(network.ok("status").starts_with("network      down, as requested; desired: down\n"));
    let (code, status) = network.status();
    assert_eq!((code, &status["healthy"], &status["wish"]), (0, &json!(true), &json!("down")));
    network.mac.ok("ifconfig lo0 alias 10.0.1.2 netmask 255.255.255.255");
    assert_eq!(network.status().0, 0, "what others gave lo0 is theirs");
    network.ok("cleanup");
    assert_eq!(network.status().0, 1);
}

#[test]
fn a_lock_is_honoured_while_its_holder_lives() {
    let network = Network::new(&small());
    network.ok("start");
    let lock = network.state().join("lock");
    let me = std::process::id();
    let began = network.mac.began();
    fs::write(&lock, format!("{me}\t{began}")).expect("a lock");
    network.fails("stop", 4, "another run");
    network.ok("status");
    network.ok("plan");
    for dead in [
        format!("{me}\tMon Jan  1 00:00:00 2001\n"),
        "4194303\tx\n".to_owned(),
        String::new(),
        "tor".to_owned(),
    ] {
        fs::write(&lock, dead).expect("a lock");
        network.ok("start");
        assert!(!lock.exists());
    }
}

#[test]
fn a_foreign_ledger_is_refused() {
    let network = Network::new(&small());
    network.ok("start");
    let up = network.mac.kernel();
    let file = network.state().join("ledger");
    let ledger = fs::read_to_string(&file).expect("the ledger");
    for (from, to) in [
        ("nixvol-net ledger\t1\t.", "nixvol-net ledger\t9\t."),
        ("nixvol-net ledger\t1\t.", "bridges of another program"),
        ("opt/nix-volumes\t.", "opt/other\t."),
    ] {
        fs::write(&file, ledger.replacen(from, to, 1)).expect("a ledger");
        for command in ["start", "stop", "cleanup", "reconcile"] {
            network.fails(command, 3, "");
            assert_eq!(network.wish(), "up", "{command} changes nothing");
        }
        assert_eq!(network.mac.kernel(), up);
    }
}

#[test]
fn an_unconfirmed_start_is_rolled_back() {
    let network = Network::new(&small());
    let before = network.mac.kernel();
    network.fails("confirm", 1, "nothing to confirm");
    network.ok("start --confirm-within 600");
    network.ok("confirm");
    network.fails("confirm", 1, "nothing to confirm");
    network.assert_up();
    network.ok("stop");
    network.ok("start --confirm-within 2");
    // However slow the machine is, it must be rolled back in the end.
    for _ in 0..600 {
        if !network.state().join("pending").exists() && !network.state().join("lock").exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(network.mac.kernel(), before);
    assert_eq!(fs::read_to_string(network.state().join("wish")).expect("the wish"), "down\n");
}

/// A start that waits for confirmation, and whose waiting process was killed, so that no rollback happens on its own.
fn unconfirmed(seconds: u32) -> (Network, String) {
    let network = Network::new(&small());
    let before = network.mac.kernel();
    network.ok(&format!("start --confirm-within {seconds}"));
    // The waiting process is a shell in `sleep`, in the manager's process group.
    let ps = Command::new("ps").args(["-eo", "pgid=,args="]).output().expect("ps");
    let text = String::from_utf8_lossy(&ps.stdout).into_owned();
    let base = network.base().display().to_string();
    let group =
        text.lines().find(|line| line.contains(&base)).and_then(|line| line.split_whitespace().next());
    let group = format!("-{}", group.expect("somebody waits"));
    assert!(Command::new("kill").args(["-KILL", "--", &group]).status().expect("kill").success());
    (network, before)
}

#[test]
fn an_unconfirmed_start_is_rolled_back_by_the_next_run() {
    let (network, before) = unconfirmed(600);
    network.ok("reconcile");
    network.assert_up();
    // Simulate that the deadline has passed.
    let pending = fs::read_to_string(network.state().join("pending")).expect("what waits");
    let (_, rest) = pending.split_once('\t').expect("a deadline");
    fs::write(network.state().join("pending"), format!("1\t{rest}")).expect("what waits");
    network.fails("reconcile", 1, "the start was not confirmed in time");
    assert_eq!(network.mac.kernel(), before);
    network.ok("reconcile");
    assert_eq!(network.mac.kernel(), before);
    // A reboot before the confirmation rolls back too, since the start may be the reason for it.
    let (network, before) = unconfirmed(600);
    network.mac.reboot();
    network.fails("reconcile", 1, "the Mac was restarted before the start was confirmed");
    // A real launchd would load its jobs at boot; the toy does not.
    let is_ours = |line: &&str| !line.starts_with("boot\t") && !line.starts_with("job\t");
    let rest = |kernel: &str| kernel.lines().filter(is_ours).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(rest(&network.mac.kernel()), rest(&before));
    network.fails("confirm", 1, "nothing to confirm");
    network.ok("reconcile");
    assert_eq!(rest(&network.mac.kernel()), rest(&before));
    // If a network was up before, it is restored.
    let network = Network::new(&small());
    network.ok("start");
    let up = network.mac.ok("pfctl -q -a com.apple/250.nixvol -s rules");
    let mut input = small();
    input["links"] = json!([]);
    network.install(&input);
    network.ok("start --confirm-within 600");
    assert_ne!(network.mac.ok("pfctl -q -a com.apple/250.nixvol -s rules"), up);
    network.mac.reboot();
    network.fails("reconcile", 1, "the Mac was restarted before the start was confirmed");
    assert_eq!(network.mac.ok("pfctl -q -a com.apple/250.nixvol -s rules"), up);
}

#[test]
fn progress_is_shown_on_a_terminal_only() {
    if !has_tool("script", "nothing was shown on a terminal") {
        return;
    }
    let network = Network::new(&small());
    let manager = network.base().join("manage-macos-networking.sh");
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &format!("sh {} start", manager.display()), "/dev/null"]);
    let ran = Ran::of(&terminal.output().expect("script runs"));
    assert_eq!(ran.code, 0, "{}", ran.out);
    assert!(ran.out.contains("[3/21] turn IP forwarding on\r\n"), "{}", ran.out);
    network.ok("stop");
    assert!(
        network.ok("start").contains("\nturn IP forwarding on\n"),
        "without a terminal there is no count"
    );
}

#[test]
fn a_network_too_large_for_macos_is_refused() {
    let mut input = many(6400);
    input["localhost"] = json!({ "gateway": "127.0.1.1/24" });
    let network = Network::new(&input);
    let before = network.mac.kernel();
    let ran = network.run("plan");
    assert_eq!(ran.code, 3);
    let refused: Vec<&str> = ran.out.lines().filter(|line| line.starts_with("refused: ")).collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(
        refused[0].contains("too few unit numbers of feth left") && refused[0].contains("6384"),
        "{refused:?}"
    );
    network.fails("start", 3, "6384 such volumes are the maximum");
    assert_eq!(network.mac.kernel(), before);
}

#[test]
fn lingering_interfaces_are_waited_for() {
    let network = Network::new(&small());
    let before = network.mac.kernel();
    network.mac.edit(|kernel| kernel + "linger\t25\n");
    let names = |network: &Network| fs::read_to_string(network.state().join("names")).expect("names");
    network.ok("start");
    let first = names(&network);
    network.ok("stop");
    network.ok("start");
    network.assert_up();
    assert_eq!(names(&network), first);
    // An interface that was destroyed a moment ago is created again under the same name.
    network.mac.ok("ifconfig feth20000 destroy");
    network.ok("reconcile");
    network.assert_up();
    assert_eq!(names(&network), first);
    network.mac.remove("linger");
    network.ok("cleanup");
    network.mac.remove("dying");
    network.assert_clean(&before);
    // The wait has a limit.
    network.mac.edit(|kernel| kernel + "linger\t100000\n");
    network.ok("start");
    network.fails("stop", 1, "something is left");
    network.mac.remove("dying");
    network.ok("stop");
}

#[test]
fn logs_record_what_was_done() {
    let network = Network::new(&small());
    network.ok("start");
    let logs = network.ok("logs");
    assert!(logs.contains("Z start: create bridge-aws (bridge2000)\n"), "{logs}");
    assert!(logs.contains("\nlink:"), "{logs}");
    let log = network.mac.dir().join("var/log");
    let lines = fs::read_to_string(&log).expect("the log");
    network.ok("reconcile");
    network.ok("start");
    assert_eq!(fs::read_to_string(&log).expect("the log"), lines, "what changes nothing is no event");
    // A problem that persists is logged once.
    network.mac.add("route\t10.3.7.0/24\tutun4\tUSc\tutun4\t");
    for _ in 0..3 {
        network.fails("reconcile", 1, "overlaps");
    }
    let told = fs::read_to_string(&log).expect("the log");
    assert_eq!(told.strip_prefix(&lines).expect("more").lines().count(), 1);
}

#[test]
fn test_probes_the_declaration_and_requires_evidence() {
    for shell in SHELLS {
        for awk in AWKS {
            let mut network = Network::new(&small());
            network.under(shell, awk);
            network.fails("test", 1, "the network is not up");
            network.ok("start");
            let said = network.ok("test");
            let expected = [
                "ok: etcd-1 (10.0.1.2) to bridge-aws (10.0.1.1), icmp: expected pass, found pass: it answered",
                "1 tried, 0 failed, 0 skipped because a volume is not mounted",
            ];
            assert_eq!(said.lines().collect::<Vec<_>>(), expected, "{shell:?} {awk}");
        }
    }
    let mut input = topology();
    input["links"] = json!([
        { "from": ["aws", "gcp"], "to": ["azure"], "protocol": "tcp", "ports": [2379] },
        { "from": ["ibm"], "to": ["aws"] },
        { "from": ["ibm"], "to": ["gcp"], "protocol": "udp", "ports": [53] },
    ]);
    input["providers"]["gcp"]["internet"] = json!(false);
    let network = Network::new(&input);
    network.ok("start");
    network.mac.edit(|kernel| kernel + "listen\t10.1.1.2\t2379\n");
    let said = network.ok("test");
    for line in [
        "ok: etcd-1 (10.0.1.2) to etcd-2 (10.1.1.2), tcp port 2379: expected pass, found pass: it answered",
        "ok: karpenter-worker-4 (10.3.2.2) to etcd-1 (10.0.1.2), icmp: expected pass, found pass: it answered",
        "ok: etcd-2 (10.1.1.2) to karpenter-worker-5 (10.4.2.2), icmp: expected block, found block: a rule of ours blocked it",
        "ok: etcd-2 (10.1.1.2) to karpenter-worker-5 (10.4.2.2), tcp port 9: expected block, found block: a rule of ours blocked it",
        "ok: etcd-3 (10.2.1.2) to the internet (192.0.2.1), tcp port 443: expected block, found block: a rule of ours blocked it",
        "ok: karpenter-worker-4 (10.3.2.2) to etcd-3 (10.2.1.2), udp port 53: expected pass, found pass: a rule of ours let it pass",
    ] {
        assert!(said.lines().any(|said| said == line), "{line} in\n{said}");
    }
    let json: serde_json::Value = serde_json::from_str(&network.ok("test --json")).expect("JSON");
    assert_eq!(json["agrees"], true);
    // A rule that lets everything pass, and a path that loses packets.
    network.mac.edit(|kernel| {
        kernel.replace(
            "block return quick inet from <nixvol> to <nixvol>",
            "pass quick inet from <nixvol> to <nixvol>",
        )
    });
    network.mac.add("lost\t10.3.0.0/16\t10.0.0.0/16");
    let ran = network.run("test");
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("icmp: expected block, found pass: it answered"), "{}", ran.out);
    assert!(
        ran.out.contains("icmp: expected pass, found lost: no answer, and none of our rules blocked it"),
        "{}",
        ran.out
    );
}

#[test]
fn observation_costs_the_same_for_13_volumes_and_300() {
    let mut calls = Vec::new();
    for volumes in [13, 300] {
        let network = Network::new(&many(volumes));
        network.ok("start");
        network.mac.forget_journal();
        network.ok("reconcile");
        let mut lines: Vec<String> = network.mac.journal().iter().map(|call| call.words[0].clone()).collect();
        // The engine starts while the shell still runs commands, so the order of their calls varies.
        lines.sort();
        assert_eq!(network.mac.changes(), [""; 0]);
        calls.push(lines);
    }
    assert_eq!(calls[0], calls[1]);
    assert_eq!(calls[0].len(), 12, "`help manager` says so: {:?}", calls[0]);
}
