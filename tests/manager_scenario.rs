//! Scenarios on a Mac: the program plays them by the installed manager, and whatever ends it, nothing stays.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::network::{Network, slow, small};
use crate::rig::settled;
use crate::schema::validator_of;
use crate::support::program;

/// A Mac with a declaration and a scenario in files.
struct Stage {
    network: Network,
}

impl Stage {
    fn new(mut input: Value) -> Self {
        let network = Network::new(&input);
        input["base"] = json!(network.mac.dir().join("opt/nix-volumes"));
        fs::write(network.mac.dir().join("input.json"), input.to_string()).expect("the declaration");
        Self { network }
    }

    fn command(&self, scenario: &str, more: &[&str]) -> Command {
        let dir = self.network.mac.dir();
        fs::write(dir.join("scenario"), scenario).expect("the scenario");
        let mut command = program();
        command
            .arg("scenario")
            .arg(dir.join("scenario"))
            .arg("--input")
            .arg(dir.join("input.json"))
            .args(more);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn play(&self, scenario: &str, more: &[&str]) -> Output {
        self.command(scenario, more).output().expect("it runs")
    }

    /// Starts to play, and returns when the first step is in force.
    fn begin(&self, scenario: &str) -> Child {
        let mut child = self.command(scenario, &[]).spawn().expect("it runs");
        let out = child.stdout.as_mut().expect("its output");
        let mut line = String::new();
        BufReader::with_capacity(1, out).read_line(&mut line).expect("a line");
        assert!(line.contains("  partition "), "{line}");
        child
    }

    /// The lines of what is cut or slow, without the boot session; each has a deadline and a tag if a scenario made it.
    fn faults(&self) -> Vec<String> {
        let text = fs::read_to_string(self.network.state().join("faults")).unwrap_or_default();
        text.lines().skip(1).map(str::to_owned).collect()
    }

    fn assert_refused(&self, scenario: &str, words: &[&str]) {
        let (kernel, faults) = (self.network.mac.kernel(), self.faults());
        let output = self.play(scenario, &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), b"".as_slice()), "{said}");
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
        assert_eq!((self.network.mac.kernel(), self.faults()), (kernel, faults));
    }
}

fn signal(child: &Child, signal: &str) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(status.expect("kill runs").success());
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_scenario_is_played_by_the_manager_and_undone() {
    let stage = Stage::new(slow());
    stage.network.ok("start");
    stage.network.ok("partition etcd-1 ibm");
    let before = settled(&stage.network.mac.kernel());
    let scenario = json!({ "step": [
        { "at": 0, "partition": ["aws", "ibm"], "for": "3s" },
        { "at": 0.1, "slow": "aws", "latencyMs": 200, "loss": 0.000_001, "bandwidthKbit": 2000 },
        { "at": 0.2, "slow": ["etcd-1", "talos-4"], "latencyMs": 7 },
        { "at": 0.3, "heal": ["talos-4", "etcd-1"] },
        { "at": 3, "partition": "talos-4", "for": 1 },
    ] });
    let mut command = stage.command(&scenario.to_string(), &["--format", "json"]);
    let mut playing = command.spawn().expect("it runs");
    let lines = BufReader::new(playing.stdout.take().expect("its output")).lines();
    let schema = validator_of(&["scenario"]);
    let mut told: Vec<Value> = Vec::new();
    for line in lines {
        told.push(serde_json::from_str(&line.expect("a line")).expect("JSON"));
        assert!(schema.is_valid(&told[told.len() - 1]), "{told:?}");
        if told.len() == 2 {
            let faults = stage.faults();
            assert!(
                faults[0].starts_with("slow\taws\t-\t")
                    && faults[0].contains("\t200\t0.000001\t2000\tscenario-"),
                "{faults:#?}"
            );
            assert!(
                faults[1].starts_with("partition\taws\tibm\t") && !faults[1].contains("\t-\t"),
                "{faults:#?}"
            );
            assert!(faults[2].starts_with("partition\tetcd-1\tibm\t-\t"), "{faults:#?}");
        }
    }
    let output = playing.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", error(&output));
    let events: Vec<String> = told
        .iter()
        .map(|line| format!("{} {}", line["event"].as_str().unwrap(), line["action"].as_str().unwrap_or("")))
        .collect();
    assert_eq!(
        events,
        [
            "begin partition",
            "begin slow",
            "begin slow",
            "begin heal",
            "end partition",
            "begin partition",
            "end partition",
            "done "
        ]
    );
    assert_eq!(
        (&told[1]["to"], &told[1]["latencyMs"], &told[1]["version"]),
        (&json!(null), &json!(200), &json!(1))
    );
    // What somebody else had made stays, and nothing else does.
    assert_eq!(stage.faults().len(), 1, "{:#?}", stage.faults());
    let counted = |kernel: Vec<String>| -> Vec<String> {
        kernel.into_iter().filter(|line| !line.starts_with("count\t")).collect()
    };
    assert_eq!(counted(settled(&stage.network.mac.kernel())), counted(before));
    stage.network.ok("cleanup");
}

#[test]
fn an_interrupted_scenario_heals_what_it_made() {
    for name in ["-INT", "-TERM", "-HUP"] {
        let stage = Stage::new(small());
        stage.network.ok("start");
        let playing = stage.begin("[[step]]\nat = 0\npartition = ['aws', 'ibm']\nfor = 600\n");
        // Somebody else makes one meanwhile.
        stage.network.ok("partition etcd-1 talos-4");
        signal(&playing, name);
        let output = playing.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert_eq!(error(&output), "error: interrupted: what the scenario did is undone\n");
        assert!(String::from_utf8_lossy(&output.stdout).contains("  done: "));
        let faults = stage.faults();
        assert!(faults.len() == 1 && faults[0].starts_with("partition\tetcd-1\ttalos-4\t-"), "{faults:#?}");
        stage.network.ok("cleanup");
    }
}

#[test]
fn a_killed_scenario_leaves_nothing_beyond_its_deadline() {
    let stage = Stage::new(small());
    stage.network.ok("start");
    let up = settled(&stage.network.mac.kernel());
    let mut playing = stage.begin("[[step]]\nat = 0\npartition = 'aws'\nfor = 2\n");
    playing.kill().expect("it is killed");
    playing.wait().expect("it ends");
    assert_eq!(stage.faults().len(), 1);
    let since = Instant::now();
    while stage.network.state().join("faults").exists() || stage.network.state().join("lock").exists() {
        assert!(since.elapsed() < Duration::from_secs(60), "{:#?}", stage.faults());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(settled(&stage.network.mac.kernel()), up);
    // Where nobody reads the timeline, the scenario ends, and is undone.
    let mut playing =
        stage.begin("[[step]]\nat = 0\npartition = 'aws'\nfor = 600\n[[step]]\nat = 0.5\nheal = 'ibm'\n");
    drop(playing.stdout.take());
    let output = playing.wait_with_output().expect("it ends");
    assert_eq!(
        (output.status.code(), error(&output).as_str()),
        (Some(1), "error: nobody reads the timeline\n")
    );
    assert_eq!(settled(&stage.network.mac.kernel()), up);
    stage.network.ok("cleanup");
}

#[test]
fn a_step_that_fails_ends_the_scenario() {
    let stage = Stage::new(small());
    stage.network.ok("start");
    let up = settled(&stage.network.mac.kernel());
    let playing = stage.begin(
        "[[step]]\nat = 0\npartition = ['aws', 'ibm']\nfor = 600\n[[step]]\nat = 2\nslow = 'aws'\nlatencyMs = 5\nfor = 1\n",
    );
    let file = stage.network.mac.dir().join("theirs");
    fs::write(&file, "pass out quick on en0 route-to (en0 192.168.1.9) inet from 192.168.1.23 to any\n")
        .expect("rules");
    stage.network.mac.ok(&format!("pfctl -a com.example.vpn -f {}", file.display()));
    let output = playing.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1));
    let said = error(&output);
    assert!(said.contains("cannot slow aws 5 ms") && said.contains("route-to with dummynet"), "{said}");
    stage.network.mac.ok("pfctl -a com.example.vpn -F all");
    let ours = |kernel: Vec<String>| -> Vec<String> {
        kernel.into_iter().filter(|line| !line.contains("com.example.vpn")).collect()
    };
    assert_eq!(ours(settled(&stage.network.mac.kernel())), ours(up));
    stage.network.ok("cleanup");
}

#[test]
fn a_scenario_is_refused_before_its_first_step() {
    let stage = Stage::new(small());
    let cut = "[[step]]\nat = 0\npartition = ['aws', 'ibm']\nfor = 1\n";
    stage.assert_refused(cut, &["the network is not up: start it first"]);
    stage.network.ok("start");
    let unknown = "[[step]]\nat = 0\npartition = ['aws', 'ibmm']\nfor = 1\n[[step]]\nat = 0\nheal = 'lan'\n";
    stage.assert_refused(
        unknown,
        &["this network has no provider or volume ibmm\nhint: did you mean `ibm`?", "or volume lan"],
    );
    stage.assert_refused("[[step]]\nat = 0\n", &["scenario:1:1: the step says nothing to do"]);
    stage.assert_refused(
        "[[step]]\nat = 0\npartition = ['aws', 'aws']\nfor = 1\n",
        &["scenario:1:1: `partition` names aws twice"],
    );
    let week = "[[step]]\nat = '7days'\npartition = 'aws'\nfor = 1\n";
    stage.assert_refused(week, &["longer than a week"]);
    // What is in force already, and would be taken over or healed; a part of what is cut would not be.
    stage.network.ok("partition etcd-1 ibm");
    let step = |what: &str| format!("[[step]]\nat = 0\n{what}\n");
    for (scenario, names) in [
        (step("partition = ['ibm', 'etcd-1']\nfor = 1"), "`partition ibm etcd-1 for 1s`"),
        (step("heal = 'aws'"), "`heal aws`"),
        (step("heal = ['ibm', 'aws']"), "`heal ibm aws`"),
        (step("heal = []"), "`heal`"),
    ] {
        stage.assert_refused(&scenario, &["`partition etcd-1 ibm` is in force", names]);
    }
    let output = stage.play(&step("heal = ['etcd-1', 'talos-4']"), &[]);
    assert!(output.status.success(), "{}", error(&output));
    // Not root, and no manager.
    let id = stage.network.mac.dir().join("mac/bin/id");
    fs::remove_file(&id).expect("the link to the toy");
    fs::write(&id, "#!/bin/sh\necho 501\n").expect("another user");
    fs::set_permissions(&id, fs::Permissions::from_mode(0o755)).expect("its mode");
    stage.assert_refused(cut, &["this needs root: run it with sudo"]);
    fs::remove_file(stage.network.base().join("manage-macos-networking.sh")).expect("the manager");
    stage.assert_refused(cut, &["cannot run ", "in the lab: `nixvol-net lab scenario`"]);
}
