//! Real deaths: a manager that is killed, with all its children, before or after a command, and a Mac that loses power.
//! The next run converges, cleanup leaves nothing behind, and nothing foreign is touched.

use serde_json::{Value, json};

use crate::faults_everywhere::tiny;
use crate::network::{HOSTS, Network};

/// What can strike, and whether the machine restarts.
const KINDS: [&str; 4] = ["fail", "kill-before", "kill-after", "power"];

/// How many commands a run of the manager spawns from here.
fn commands(network: &Network, command: &str) -> usize {
    network.mac.fault(None);
    network.mac.forget_journal();
    network.run(command);
    network.mac.journal().len()
}

/// A kernel's records without its boot session.
fn rest(kernel: &str) -> &str {
    kernel.split_once('\n').map_or("", |(_, rest)| rest)
}

/// Strikes at every command of a run in the long runs, else at a spread of them, each time on a Mac that `prepare` has
/// made ready, and calls `after`. What each of the states leads to is in `faults_everywhere`; here the deaths are real.
fn strike(command: &str, kind: &str, prepare: impl Fn() -> Network, after: impl Fn(&Network, usize, i32)) {
    let length = commands(&prepare(), command);
    assert!(length > 10, "{command} spawns {length} commands");
    let step = if std::env::var_os("NIXVOL_LONG").is_some() { 1 } else { 9 };
    // Each kind begins elsewhere, so that together they strike at more.
    let first = 1 + KINDS.iter().position(|other| *other == kind).unwrap_or(0) * step / KINDS.len();
    for k in (first..=length).step_by(step) {
        let network = prepare();
        network.mac.fault(Some((kind, k)));
        let code = network.run(command).code;
        network.mac.fault(None);
        after(&network, k, code);
    }
}

/// The next run mends what was struck; cleanup leaves nothing.
fn mends(network: &Network, before: &str, why: &str) {
    let wish = std::fs::read_to_string(network.state().join("wish")).unwrap_or_default();
    let ran = network.run("reconcile");
    assert_eq!(ran.code, 0, "{why}: reconcile: {}{}", ran.out, ran.err);
    if wish == "up\n" {
        network.assert_up();
    } else {
        assert_eq!(rest(&network.mac.kernel()), rest(before), "{why}: as it was, by the wish {wish:?}");
    }
    gone(network, before, why);
}

fn gone(network: &Network, before: &str, why: &str) {
    let ran = network.run("cleanup");
    assert_eq!(ran.code, 0, "{why}: cleanup: {}{}", ran.out, ran.err);
    assert_eq!(rest(&network.mac.kernel()), rest(before), "{why}: cleanup left something");
    assert_eq!(network.hosts(), HOSTS, "{why}");
    let left: Vec<_> =
        std::fs::read_dir(network.mac.dir().join("var")).into_iter().flatten().flatten().collect();
    assert!(left.is_empty(), "{why}: {left:?}");
}

fn every_start(kind: &str) {
    let before = Network::new(&tiny()).mac.kernel();
    strike(
        "start",
        kind,
        || Network::new(&tiny()),
        |network, k, code| {
            let why = format!("start, {kind} at {k}");
            if kind == "fail" && code != 0 {
                assert_eq!(network.mac.kernel(), before, "{why}: not rolled back");
                assert_eq!(network.hosts(), HOSTS, "{why}");
            }
            mends(network, &before, &why);
        },
    );
}

#[test]
fn a_start_whose_command_fails() {
    every_start(KINDS[0]);
}

#[test]
fn a_start_that_is_killed_before_a_command() {
    every_start(KINDS[1]);
}

#[test]
fn a_start_that_is_killed_after_a_command() {
    every_start(KINDS[2]);
}

#[test]
fn a_start_that_loses_power() {
    every_start(KINDS[3]);
}

fn started(input: &Value) -> Network {
    let network = Network::new(input);
    network.ok("start");
    network
}

fn every_cleanup(kind: &str) {
    let before = Network::new(&tiny()).mac.kernel();
    strike(
        "cleanup",
        kind,
        || started(&tiny()),
        |network, k, _| {
            gone(network, &before, &format!("cleanup, {kind} at {k}"));
        },
    );
}

#[test]
fn a_cleanup_whose_command_fails() {
    every_cleanup(KINDS[0]);
}

#[test]
fn a_cleanup_that_is_killed_after_a_command() {
    every_cleanup(KINDS[2]);
}

/// The network with another volume.
fn changed() -> Value {
    let mut input = tiny();
    let volumes = input["volumes"].as_object_mut().expect("volumes");
    volumes.remove("etcd-1");
    volumes.insert("etcd-9".to_owned(), json!({ "provider": "aws", "address": "10.0.1.9" }));
    input
}

fn every_upgrade(kind: &str) {
    let before = Network::new(&tiny()).mac.kernel();
    let prepare = || {
        let network = started(&tiny());
        network.install(&changed());
        network
    };
    let old = started(&tiny()).mac.kernel();
    let records = |kernel: &str| {
        let mut records: Vec<String> =
            kernel.lines().filter(|line| !line.starts_with("token\t15")).map(str::to_owned).collect();
        for record in &mut records {
            // A bridge lists its members as they came; an index tells only when an interface was made.
            let mut fields: Vec<String> = record.split('\t').map(str::to_owned).collect();
            if fields[0] == "if" {
                fields[2].clear();
                for at in [8, 9] {
                    let mut list: Vec<&str> = fields[at].split(',').collect();
                    list.sort_unstable();
                    fields[at] = list.join(",");
                }
            }
            *record = fields.join("\t");
        }
        records.sort();
        records
    };
    strike("start", kind, prepare, |network, k, code| {
        let why = format!("upgrade, {kind} at {k}");
        if kind == "fail" && code != 0 {
            assert_eq!(records(&network.mac.kernel()), records(&old), "{why}: not rolled back");
        }
        mends(network, &before, &why);
    });
}

#[test]
fn an_upgrade_whose_command_fails() {
    every_upgrade(KINDS[0]);
}

#[test]
fn an_upgrade_that_is_killed_after_a_command() {
    every_upgrade(KINDS[2]);
}

/// Every kind of fault at every command of what the tests above leave out.
#[test]
fn stop_reconcile_and_the_other_kinds() {
    if std::env::var_os("NIXVOL_LONG").is_none() {
        eprintln!("skipped: the long fault runs take a quarter of an hour; hint: tests/run.sh --long");
        return;
    }
    let before = Network::new(&tiny()).mac.kernel();
    for kind in KINDS {
        strike(
            "stop",
            kind,
            || started(&tiny()),
            |network, k, _| {
                let why = format!("stop, {kind} at {k}");
                network.run("stop");
                assert_eq!(rest(&network.mac.kernel()), rest(&before), "{why}");
                gone(network, &before, &why);
            },
        );
        let rebooted = || {
            let network = started(&tiny());
            network.mac.reboot();
            network
        };
        strike("reconcile", kind, rebooted, |network, k, _| {
            mends(network, &before, &format!("reconcile, {kind} at {k}"));
        });
        strike(
            "cleanup",
            kind,
            || started(&tiny()),
            |network, k, _| {
                gone(network, &before, &format!("cleanup, {kind} at {k}"));
            },
        );
        every_upgrade(kind);
    }
}
