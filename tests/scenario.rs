//! Scenarios: how a file is parsed, how errors are reported, and how playing one affects a lab.

use std::time::Duration;

use nixvol_net::scenario::{self, Act};

fn mistakes(text: &str) -> Vec<String> {
    match scenario::read(text) {
        Ok(scenario) => panic!("read: {scenario:?}"),
        Err(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
    }
}

const CUT_AND_SLOW: &str = r#"
# The second step stands first.
[[step]]
at = "1m"
slow = ["gcp", "ibm"]
for = 5
latencyMs = 200
loss = 0.01

[[step]]
at = 10.5
partition = ["aws", "azure"]
for = 30

[[step]]
at = 40.5
heal = "gcp"
"#;

#[test]
fn steps_are_ordered_by_time_and_ends_come_first() {
    let scenario = scenario::read(CUT_AND_SLOW).expect("a scenario");
    let steps: Vec<String> = scenario.steps.iter().map(ToString::to_string).collect();
    assert_eq!(steps, ["partition aws azure for 30s", "heal gcp", "slow gcp ibm 200 ms, 1% lost for 5s"]);
    let events = scenario.events();
    let told: Vec<(Duration, &str, bool)> =
        events.iter().map(|event| (event.at, event.step.act.word(), event.begins)).collect();
    let at = Duration::from_millis;
    assert_eq!(
        told,
        [
            (at(10_500), "partition", true),
            (at(40_500), "partition", false),
            (at(40_500), "heal", true),
            (at(60_000), "slow", true),
            (at(65_000), "slow", false)
        ]
    );
    assert_eq!(scenario.steps[1].act, Act::Heal { one: Some("gcp".to_owned()), other: None });
}

#[test]
fn json_from_nix_gives_the_same_scenario() {
    let json = r#"{ "step": [
        { "at": 10.5, "partition": ["aws", "azure"], "for": "30s" },
        { "at": 40.5, "heal": ["gcp"] },
        { "at": 60, "slow": ["gcp", "ibm"], "for": 5, "latencyMs": 200, "loss": 0.01 } ] }"#;
    assert_eq!(scenario::read(json), scenario::read(CUT_AND_SLOW));
}

#[test]
fn all_errors_are_reported_at_once_with_their_places() {
    let text = r#"[[step]]
at = -1
partition = ["aws", "azure", "gcp"]

[[step]]
at = "soon"
for = 0
slow = "aws"

  [[step]]
at = 1
heal = []
for = 3
loss = 0.5

[[step]]
at = 1
slow = ["aws"]
loss = 2

[[step]]
at = 1
slow = []
latencyMs = 10001

[[step]]
at = 999999999
partition = []
heal = []

[[step]]
at = 1
"#;
    assert_eq!(
        mistakes(text),
        [
            "1:1: `at` is -1: write seconds, or a text such as \"1m 30s\"; from 0 to a week",
            "1:1: `partition` names 3 ends: at most two",
            "5:1: `at` is \"soon\": write seconds, or a text such as \"1m 30s\"; from 0 to a week",
            "5:1: `for` is 0, so that nothing would happen",
            "5:1: nothing is asked for: give a latency, a loss or a bandwidth",
            "10:3: `heal` has no duration: what it heals stays healed",
            "10:3: `latencyMs`, `loss` and `bandwidthKbit` belong to `slow`",
            "16:1: the loss is 2; it is a fraction from 0 to 1, so that 0.01 is 1 %",
            "21:1: `slow` names no end: name one or two volumes or providers",
            "21:1: the latency is 10001 ms; it may be from 0 to 10000 milliseconds",
            "26:1: `at` is 999999999: write seconds, or a text such as \"1m 30s\"; from 0 to a week",
            "26:1: the step says several things: write a [[step]] for each",
            "31:1: the step says nothing to do: one of `partition`, `slow` or `heal`",
        ]
    );
}

#[test]
fn syntax_errors_are_reported_with_their_place() {
    assert_eq!(
        mistakes(""),
        ["there is no step: a scenario is a list of [[step]], each with `at` and what happens"]
    );
    assert!(mistakes("[[step]]\nat = 1\ncut = 3\n")[0].starts_with("3:1: unknown field `cut`"));
    assert!(mistakes("[[step]]\nat = \n")[0].starts_with("2:6: "), "{:?}", mistakes("[[step]]\nat = \n"));
    assert!(mistakes("[[step]]\nat = true\n")[0].contains("a time is a number of seconds"));
    let json = mistakes("{ \"step\": [\n  { \"at\": 1, \"partitoin\": [] } ] }");
    assert!(json[0].starts_with("2:") && json[0].contains("`partitoin`"), "{json:?}");
    assert_eq!(
        mistakes("{ \"step\": [ { \"at\": 1 } ] }"),
        ["step[0]: the step says nothing to do: one of `partition`, `slow` or `heal`"]
    );
}

#[cfg(all(feature = "lab", target_os = "linux"))]
mod played {
    use std::fs;
    use std::process::Stdio;
    use std::time::Instant;

    use serde_json::Value;

    use super::*;
    use crate::lab::{Lab, text, within};
    use crate::support::has_lab;

    fn file(directory: &tempfile::TempDir, text: &str) -> String {
        let path = directory.path().join("scenario.toml");
        fs::write(&path, text).expect("a file");
        path.to_string_lossy().into_owned()
    }

    fn reaches(lab: &Lab, from: &str, to: &str) -> bool {
        lab.sh(from, &format!("ping -c 1 -W 1 {to}.nixvol")).status.success()
    }

    #[test]
    fn a_scenario_partitions_slows_heals_and_cleans_up() {
        if !has_lab() {
            return;
        }
        let (directory, lab) = (tempfile::tempdir().expect("a directory"), Lab::up("scenario", &[]));
        assert!(lab.lab(&["partition", "etcd-3", "ibm"]).status.success());
        let path = file(
            &directory,
            "[[step]]\nat = 0\npartition = ['aws', 'azure']\nfor = 4\n\
             [[step]]\nat = 0.2\nslow = ['aws', 'gcp']\nlatencyMs = 300\n\
             [[step]]\nat = 8\nheal = ['aws', 'gcp']\n",
        );
        let mut command = lab.command(&["scenario", &path, "--format", "json"]);
        let playing = command.stdout(Stdio::piped()).spawn().expect("it runs");
        let faults = || lab.status()["faults"].as_array().expect("faults").clone();
        assert!(within(Duration::from_secs(3), || faults().len() == 3));
        assert!(!reaches(&lab, "etcd-1", "etcd-2") && !reaches(&lab, "etcd-2", "etcd-1"));
        assert!(within(Duration::from_secs(10), || faults().len() == 2));
        assert!(reaches(&lab, "etcd-1", "etcd-2"));
        let before = Instant::now();
        assert!(lab.sh("etcd-1", "ping -c 1 -W 3 etcd-3.nixvol").status.success());
        assert!(before.elapsed() >= Duration::from_millis(600), "{:?}", before.elapsed());
        let output = playing.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", text(&output));
        let lines: Vec<Value> =
            text(&output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let told: Vec<(&str, &str)> = lines
            .iter()
            .map(|line| (line["event"].as_str().unwrap(), line["action"].as_str().unwrap_or("")))
            .collect();
        assert_eq!(
            told,
            [
                ("begin", "partition"),
                ("begin", "slow"),
                ("end", "partition"),
                ("begin", "heal"),
                ("done", "")
            ]
        );
        assert_eq!(lines[1]["latencyMs"], 300);
        assert!((lines[2]["seconds"].as_f64().unwrap() - 4.0).abs() < 1.0, "{}", lines[2]);
        // A partition that someone else made remains.
        assert!(within(Duration::from_secs(2), || faults().len() == 1), "{:?}", faults());
        assert_eq!((&faults()[0]["from"], &faults()[0]["to"]), (&"etcd-3".into(), &"ibm".into()));
    }

    #[test]
    fn an_interrupted_scenario_is_undone() {
        if !has_lab() {
            return;
        }
        let (directory, lab) = (tempfile::tempdir().expect("a directory"), Lab::up("interrupted", &[]));
        let path = file(&directory, "[[step]]\nat = 0\npartition = 'aws'\n[[step]]\nat = 600\nheal = []\n");
        let mut playing = lab.command(&["scenario", &path]).stdout(Stdio::null()).spawn().expect("it runs");
        assert!(within(Duration::from_secs(5), || !reaches(&lab, "etcd-1", "etcd-2")));
        playing.kill().expect("killed");
        playing.wait().expect("it ends");
        assert!(within(Duration::from_secs(5), || reaches(&lab, "etcd-1", "etcd-2")));
        assert_eq!(lab.status()["faults"], serde_json::json!([]));
    }

    #[test]
    fn a_scenario_in_no_lab_or_with_unknown_names_changes_nothing() {
        if !has_lab() {
            return;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let path = file(&directory, "[[step]]\nat = 0\npartition = ['aws', 'azur']\nfor = 1\n");
        let nowhere = Lab::nowhere("no-scenario");
        let output = nowhere.lab(&["scenario", &path]);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output).contains("no lab is up"), "{}", text(&output));
        let lab = Lab::up("unknown", &[]);
        let output = lab.lab(&["scenario", &path]);
        assert_eq!(output.status.code(), Some(2));
        assert!(
            text(&output).contains("no provider or volume azur\n")
                && text(&output).contains("did you mean `azure`")
        );
        assert_eq!(lab.status()["faults"], serde_json::json!([]));
        let wrong = lab.lab(&["scenario", "/no/such/file"]);
        assert_eq!(wrong.status.code(), Some(2));
    }

    #[test]
    fn a_lab_that_ends_ends_its_scenario() {
        if !has_lab() {
            return;
        }
        let (directory, lab) = (tempfile::tempdir().expect("a directory"), Lab::up("ends", &[]));
        let path = file(&directory, "[[step]]\nat = 600\npartition = 'aws'\nfor = 1\n");
        let mut command = lab.command(&["scenario", &path]);
        let playing = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        std::thread::sleep(Duration::from_millis(500));
        assert!(lab.lab(&["down"]).status.success());
        let output = playing.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(text(&output).contains("the lab has ended"), "{}", text(&output));
    }
}
