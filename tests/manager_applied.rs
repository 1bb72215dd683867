//! `reconcile` keeps the network that was applied last: installing a bundle changes nothing, and a start that was
//! rolled back, not confirmed, or took the default route away stays rolled back until the next start.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::network::{Network, small};

/// The same providers and volumes with other links, so that the rules differ.
fn other() -> Value {
    let mut input = small();
    input["links"] = json!([]);
    input["providers"]["aws"]["internet"] = json!(false);
    input
}

fn rules(network: &Network) -> String {
    network.mac.ok("pfctl -q -a com.apple/250.nixvol -s rules")
}

fn log(network: &Network) -> String {
    fs::read_to_string(network.mac.dir().join("var/log")).unwrap_or_default()
}

/// Waits until nothing is pending and no run holds the lock.
fn taken_back(network: &Network) {
    let since = Instant::now();
    while network.state().join("starting").exists() || network.state().join("lock").exists() {
        assert!(since.elapsed() < Duration::from_secs(120), "it is not rolled back: {}", log(network));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Runs reconcile repeatedly, as launchd does: nothing changes, and nothing is printed or logged.
fn stays(network: &Network, kernel: &str) {
    for _ in 0..2 {
        network.mac.forget_journal();
        let told = log(network);
        let ran = network.run("reconcile");
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "", ""));
        assert_eq!(network.mac.changes(), [""; 0]);
        assert_eq!(network.mac.kernel(), kernel);
        assert_eq!(log(network), told);
    }
}

#[test]
fn installing_changes_nothing() {
    let network = Network::new(&small());
    network.ok("start");
    let up = network.mac.kernel();
    network.install(&other());
    stays(&network, &up);
    // It also repairs the old network.
    network.mac.ok("ifconfig bridge2000 destroy");
    network.mac.ok("pfctl -a com.apple/250.nixvol -F all");
    let before = rules(&network);
    network.ok("reconcile");
    assert_ne!(rules(&network), before);
    assert!(rules(&network).contains("6443"), "{}", rules(&network));
    let (code, status) = network.status();
    assert_eq!((code, &status["healthy"], &status["installed"]), (0, &json!(true), &json!(false)));
    assert!(
        network
            .ok("status")
            .contains("\ninstalled    a bundle other than the one in force: start applies it\n")
    );
    network.ok("start");
    assert!(!rules(&network).contains("6443"));
    let (code, status) = network.status();
    assert_eq!((code, &status["installed"]), (0, &json!(true)));
    // After a stop, the next start applies whatever is installed then.
    network.ok("stop");
    network.install(&small());
    network.ok("reconcile");
    network.ok("start");
    network.assert_up();
    network.ok("cleanup");
}

#[test]
fn a_start_after_an_install_is_a_change_even_if_the_mac_needs_none() {
    let network = Network::new(&small());
    network.ok("start");
    let up = network.mac.kernel();
    let mut input = small();
    input["allowOverlap"] = json!(["10.200.0.0/16"]);
    network.install(&input);
    let planned = network.ok("plan");
    assert_eq!(
        planned,
        "1 change\nput the installed bundle in force, which differs in nothing that the Mac has\n"
    );
    assert!(network.ok("start --confirm-within 600").starts_with(&planned));
    assert_eq!(network.status().1["installed"], true);
    network.ok("confirm");
    assert_eq!(network.mac.kernel(), up);
    assert_eq!(network.ok("start"), "the network is up already: nothing to change\n");
    network.ok("cleanup");
}

#[test]
fn an_unconfirmed_start_stays_rolled_back() {
    let network = Network::new(&small());
    network.ok("start");
    let up = network.mac.kernel();
    network.install(&other());
    network.ok("start --confirm-within 1");
    taken_back(&network);
    assert_eq!(network.mac.kernel(), up);
    stays(&network, &up);
    network.fails("confirm", 1, "there is nothing to confirm");
    network.ok("start");
    assert_ne!(network.mac.kernel(), up);
    network.ok("cleanup");
}

#[test]
fn a_failed_start_stays_rolled_back() {
    let network = Network::new(&small());
    network.ok("start");
    let up = network.mac.kernel();
    let mut input = other();
    input["hostsFile"] = json!(network.mac.dir().join("none/hosts"));
    network.install(&input);
    network.fails("start", 1, "rolled back: nothing of the start is left");
    assert_eq!(network.mac.kernel(), up);
    stays(&network, &up);
    network.ok("cleanup");
}

/// The number of the first command of a run that begins with this text, counted from one.
fn command(network: &Network, run: &str, beginning: &str) -> usize {
    let kept = network.keep();
    network.mac.fault(None);
    network.mac.forget_journal();
    network.ok(run);
    let journal = network.mac.journal();
    let at = journal.iter().position(|call| call.line().starts_with(beginning)).expect("the command") + 1;
    network.put_back(&kept);
    at
}

#[test]
fn a_run_that_loses_the_default_route_stays_rolled_back() {
    // Lost during a start of another network: the old one is restored.
    let network = Network::new(&small());
    network.ok("start");
    network.install(&other());
    let at = command(&network, "start", "pfctl -a com.apple/250.nixvol -f");
    network.mac.fault(Some(("cut", at)));
    network.fails("start", 1, "the Mac has lost its default route (192.168.1.1 en0)");
    network.mac.fault(None);
    assert!(rules(&network).contains("6443"));
    let kernel = network.mac.kernel();
    stays(&network, &kernel);
    network.ok("cleanup");

    // Lost during a reconcile: the network is taken down, and stays down until the next start.
    let network = Network::new(&small());
    let bare = network.mac.kernel();
    network.ok("start");
    network.mac.ok("ifconfig bridge2000 destroy");
    let at = command(&network, "reconcile", "ifconfig bridge2000 create");
    network.mac.fault(Some(("cut", at)));
    network.fails("reconcile", 1, "the Mac has lost its default route (192.168.1.1 en0)");
    network.mac.fault(None);
    for line in [
        "the Mac has lost its default route",
        "taking the network down",
        "the network is down until the next start",
    ] {
        assert!(log(&network).contains(&format!("reconcile: {line}")), "{line}: {}", log(&network));
    }
    let without = network.mac.kernel();
    let routeless = |kernel: &str| {
        kernel
            .lines()
            .filter(|line| !line.starts_with("route\t0.0.0.0/0\t"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(routeless(&without), routeless(&bare));
    network.mac.edit(|_| bare.clone());
    stays(&network, &bare);
    assert_eq!(network.status().0, 1);
    network.ok("start");
    network.assert_up();

    // While a start waits for its confirmation, what was before it is restored.
    let up = network.keep();
    network.install(&other());
    network.ok("start --confirm-within 9999");
    network.end_watchers();
    assert!(!rules(&network).contains("6443"));
    network.mac.ok("ifconfig bridge2000 destroy");
    let at = command(&network, "reconcile", "ifconfig bridge2000 create");
    network.mac.fault(Some(("cut", at)));
    network.fails("reconcile", 1, "restoring the state before the start");
    network.mac.fault(None);
    assert!(rules(&network).contains("6443"));
    assert_eq!(network.wish(), "up");
    network.put_back(&up);

    // One that is away for a moment only was not lost: macOS changes the network while reconcile runs.
    network.mac.ok("ifconfig bridge2000 destroy");
    network.mac.fault(Some(("blink", command(&network, "reconcile", "ifconfig bridge2000 create"))));
    network.ok("reconcile");
    network.mac.fault(None);
    network.assert_up();

    // A default route that disappears together with its interface was not lost because of the network.
    network.mac.ok("ifconfig bridge2000 destroy");
    network.mac.edit(|kernel| kernel.replace("\t192.168.1.23/24\n", "\t\n"));
    network.mac.remove("route\t0.0.0.0/0\t192.168.1.1");
    network.ok("reconcile");
    network.assert_up();
    network.ok("cleanup");
}

#[test]
fn a_pending_confirmation_is_shown_with_its_deadline() {
    let network = Network::new(&small());
    assert_eq!(network.status().1["pending"], json!(null));
    let before = std::process::Command::new("date").arg("+%s").output().expect("date");
    let before: u64 = String::from_utf8_lossy(&before.stdout).trim().parse().expect("seconds");
    let said = network.ok("start --confirm-within 600");
    let (code, status) = network.status();
    assert_eq!((code, &status["healthy"], &status["pending"]["seconds"]), (0, &json!(true), &json!(600)));
    let until = status["pending"]["until"].as_str().expect("a time").to_owned();
    let seconds =
        std::process::Command::new("date").args(["-u", "-d", &until, "+%s"]).output().expect("date");
    let seconds: u64 = String::from_utf8_lossy(&seconds.stdout).trim().parse().expect("seconds");
    assert!((before + 600..before + 720).contains(&seconds), "{until}");
    assert!(
        said.ends_with(&format!("run 'confirm' within 600 seconds (until {until}), or it is rolled back\n")),
        "{said}"
    );
    let line = format!(
        "a start waits to be confirmed until {until}; then it is rolled back, unless: manage-macos-networking.sh confirm\n"
    );
    assert!(network.ok("status").contains(&format!("\npending      {line}")));
    assert!(network.ok("plan").starts_with(&format!("pending: {line}")));
    let plan: Value = serde_json::from_str(&network.ok("plan --json")).expect("JSON");
    assert_eq!(plan["pending"]["until"], json!(until));
    assert!(log(&network).contains(&format!("Z start: it is rolled back at {until} unless confirmed\n")));
    // Another start restarts the countdown, and still rolls back to the same state.
    std::thread::sleep(Duration::from_millis(1100));
    let said = network.ok("start --confirm-within 900");
    assert!(said.contains("run 'confirm' within 900 seconds"), "{said}");
    let (_, status) = network.status();
    assert_eq!(status["pending"]["seconds"], 900);
    assert_ne!(status["pending"]["until"].as_str(), Some(until.as_str()));
    network.ok("reconcile");
    assert_eq!(network.status().1["pending"], status["pending"]);
    network.ok("confirm");
    assert_eq!(network.status().1["pending"], json!(null));
    let said = network.ok("start --confirm-within 600");
    assert_eq!(said, "the network is up already: nothing to change, and nothing to roll back\n");
    network.fails("confirm", 1, "there is nothing to confirm");
    network.ok("cleanup");
}

/// The countdown begins when the start is done, however long it takes; a second unconfirmed start rolls back to the
/// state that was confirmed last.
#[test]
fn the_countdown_begins_when_the_start_is_done() {
    let network = Network::new(&small());
    let before = network.mac.kernel();
    // The allowance below is for slow commands: on a Mac each destroyed name must be waited for.
    network.ok("start --confirm-within 1");
    network.ok("status");
    let pending = fs::read_to_string(network.state().join("pending"));
    if let Ok(pending) = pending {
        let deadline: u64 = pending.split('\t').next().expect("a deadline").parse().expect("seconds");
        let now = std::process::Command::new("date").arg("+%s").output().expect("date");
        let now: u64 = String::from_utf8_lossy(&now.stdout).trim().parse().expect("seconds");
        assert!(deadline + 120 > now);
    }
    network.run("start --confirm-within 1");
    taken_back(&network);
    assert_eq!(network.mac.kernel(), before);
    assert_eq!(network.wish(), "");
    stays(&network, &before);
}

/// A clock that was set back does not extend the deadline.
#[test]
fn a_clock_that_was_set_back_does_not_extend_the_deadline() {
    let network = Network::new(&small());
    let before = network.mac.kernel();
    network.ok("start --confirm-within 600");
    let file = network.state().join("pending");
    let pending = fs::read_to_string(&file).expect("what waits");
    let (deadline, rest) = pending.split_once('\t').expect("a deadline");
    let deadline: u64 = deadline.parse().expect("seconds");
    fs::write(&file, format!("{}\t{rest}", deadline + 86_400)).expect("what waits");
    network.fails("reconcile", 1, "the start was not confirmed in time");
    assert_eq!(network.mac.kernel(), before);
}

/// A reboot before the confirmation may have been caused by the network, so the start is rolled back.
#[test]
fn a_reboot_rolls_back_a_pending_start() {
    for (before, first) in [
        ("up", "reconcile"),
        ("up", "confirm"),
        ("up", "start"),
        ("down", "reconcile"),
        ("none", "reconcile"),
        ("none", "confirm"),
    ] {
        let network = Network::new(&small());
        match before {
            "up" => drop(network.ok("start")),
            "down" => {
                network.ok("start");
                network.ok("stop");
            }
            _ => {}
        }
        let ours = rules(&network);
        network.install(&other());
        network.ok("start --confirm-within 600");
        assert_ne!(rules(&network), ours);
        network.mac.reboot();
        let bare = network.mac.kernel();
        // Before the next run nothing is in force, and status reports that the pending start will be rolled back.
        let (code, status) = network.status();
        assert_eq!((code, &status["healthy"]), (1, &json!(false)), "{before}");
        assert!(network.run("status").out.contains(
            "pending      the Mac was restarted before a start was confirmed: the next run takes it back"
        ));
        assert_eq!(network.mac.kernel(), bare);
        if first == "start" {
            // Another start supersedes the pending one and must be confirmed itself.
            network.ok("start --confirm-within 600");
            network.ok("confirm");
            network.assert_up();
            continue;
        }
        network.fails(first, 1, "the Mac was restarted before the start was confirmed");
        assert!(log(&network).contains(": rolled back: nothing of the start is left\n"), "{}", log(&network));
        assert_eq!(rules(&network), ours, "{before} {first}");
        assert_eq!(network.wish(), if before == "none" { "" } else { before });
        let kernel = network.mac.kernel();
        stays(&network, &kernel);
        assert_eq!(network.status().1["pending"], json!(null));
        assert_eq!(network.run("status").code, i32::from(before == "none"), "{before}");
        network.fails("confirm", 1, "there is nothing to confirm");
    }
}

/// The files of the state directory with everything that a read-only command must not change.
fn files(network: &Network) -> Vec<(String, Vec<u8>, i64, u64)> {
    let entries = fs::read_dir(network.state()).expect("the state").flatten();
    let mut files: Vec<_> = entries
        .map(|entry| {
            let meta = entry.metadata().expect("a file");
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).expect("a file"), meta.mtime_nsec(), meta.ino())
        })
        .collect();
    files.sort();
    files
}

/// Only the holder of the lock may write the state directory; commands without the lock leave every file alone.
#[test]
fn commands_without_the_lock_write_nothing() {
    let network = Network::new(&small());
    network.ok("start");
    let me = std::process::id();
    let began = network.mac.began();
    for begin in ["nothing", "drift", "install"] {
        match begin {
            "drift" => drop(network.mac.ok("pfctl -a com.apple/250.nixvol -F all")),
            "install" => network.install(&other()),
            _ => {}
        }
        fs::write(network.state().join("lock"), format!("{me}\t{began}")).expect("a lock");
        let before = files(&network);
        network.run("status");
        network.run("plan");
        network.run("status --json");
        network.run("test");
        network.run("logs");
        network.run("reconcile");
        for command in ["start", "stop", "cleanup", "confirm"] {
            network.fails(command, 4, "another run");
        }
        assert_eq!(files(&network), before, "{begin}");
        fs::remove_file(network.state().join("lock")).expect("the lock");
    }
    network.ok("cleanup");
}

/// Locks without the start time of their holder, as another version wrote them or a full disk left them.
#[test]
fn a_lock_of_a_dead_holder_is_taken_over() {
    let network = Network::new(&small());
    for lock in ["4194303", "4194303\n", "4194303\t\n", "none", "4194303\tSun Nov 22 23:29:10 2026\n"] {
        network.ok("start");
        fs::write(network.state().join("lock"), lock).expect("a lock");
        // The process that took the lock over died as well, and so did a third one.
        fs::write(network.state().join("lock.4194303"), "4194302\t\n").expect("a lock");
        fs::write(network.state().join("lock.4194302"), "").expect("a lock");
        network.ok("stop");
        assert!(
            !fs::read_dir(network.state())
                .expect("it")
                .flatten()
                .any(|entry| entry.file_name().to_string_lossy().starts_with("lock"))
        );
    }
    // A lock without a start time is honoured while its holder is alive.
    network.ok("start");
    fs::write(network.state().join("lock"), format!("{}\n", std::process::id())).expect("a lock");
    network.fails("stop", 4, "another run");
    fs::remove_file(network.state().join("lock")).expect("the lock");
    network.ok("cleanup");
}
