//! An etcd on three clouds under a scenario: the leader's cloud is cut off, another is slow; the live page shows it, the
//! timeline tells when the leader moved, and afterwards all is as before.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::browser::{NO_CHROMIUM, gallery, has};
use crate::devtools::Browser;
use crate::lab::{Lab, text, within};
use crate::readme::with_program;
use crate::schema::validator_of;
use crate::serve::Server;
use crate::support::{has_lab, has_tool, is_long, root, run};

fn script(lab: &Lab, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(arguments).current_dir(root()).env("PATH", with_program()).env("NIXVOL_LAB", lab.address());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The cluster, with what ends it.
struct Cluster(Child);

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_leader_moves_when_its_cloud_is_cut_off_and_the_timeline_tells_when() {
    let has_etcd =
        || has_tool("etcd", "no scenario is played to it") && has_tool("etcdctl", "etcd is not asked");
    if !has_lab() || !has_etcd() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let over = directory.path().join("over");
    let lab = Lab::up("etcd-scenario", &["--input", "tests/lab/etcd.json"]);
    let cluster = script(&lab, &["tests/lab/etcd.sh", &over.to_string_lossy()]).spawn().expect("a shell");
    let mut cluster = Cluster(cluster);
    let leader =
        || text(&script(&lab, &["tests/lab/leader.sh"]).output().expect("a shell")).trim().to_owned();
    assert!(within(Duration::from_secs(30), || leader().starts_with("etcd-")), "no leader");
    let was = leader();
    let cloud = match was.as_str() {
        "etcd-1" => "aws",
        "etcd-2" => "azure",
        _ => "gcp",
    };

    let server = Server::start(&lab, &[]);
    let seconds = if is_long() { "20" } else { "8" };
    let playing = script(&lab, &["tests/lab/scenario.sh", seconds]).spawn().expect("a shell");
    assert!(within(Duration::from_secs(20), || server.state()["faults"].as_array().map(Vec::len) == Some(2)));
    shown(&server, cloud);
    let output = playing.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", text(&output));

    let told = String::from_utf8(output.stdout).expect("text");
    let schema = validator_of(&["lab", "scenario"]);
    let lines: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for line in &lines {
        assert!(schema.is_valid(line), "{line}");
    }
    let time = |event: &str| {
        let of = |line: &&Value| line["event"] == event && line["action"] == "partition";
        lines.iter().find(of).and_then(|line| line["seconds"].as_f64()).expect(event)
    };
    let values = lines.iter().filter(|line| line["event"] == "watch");
    let values: Vec<(f64, Value)> =
        values.map(|line| (line["seconds"].as_f64().expect("a time"), line["value"].clone())).collect();
    assert!(values[0].0 < 0.5 && values[0].1 == json!(was), "{told}");
    let moved =
        values.iter().find(|(_, value)| value.is_string() && *value != json!(was)).expect("another leads");
    assert!(time("begin") < moved.0 && moved.0 < time("end"), "{told}");
    std::fs::write(gallery().join("etcd.jsonl"), &told).expect("a timeline");

    assert_eq!(server.state()["faults"], json!([]));
    std::fs::write(&over, "").expect("a file");
    assert!(within(Duration::from_secs(20), || cluster.0.try_wait().expect("a shell").is_some()));
    let mut said = String::new();
    let mut out = cluster.0.stdout.take().expect("a pipe");
    std::io::Read::read_to_string(&mut out, &mut said).expect("text");
    assert!(said.ends_with("all as before: hello again\n"), "{said}");
}

/// What the page shows while the scenario is played.
fn shown(server: &Server, cloud: &str) {
    if !has("chromium", NO_CHROMIUM) {
        return;
    }
    let mut browser = Browser::new((1240, 452));
    browser.go(&server.url);
    browser.wait(&format!(
        "(document.querySelector('#faults li.partition span') || {{}}).textContent === 'cut: {cloud} ↔ all others'"
    ));
    browser.wait("document.querySelectorAll('.topology .troubles .slow').length === 2");
    browser.wait("document.querySelectorAll('#flow-rows tr').length > 2");
    std::fs::write(gallery().join("etcd.png"), browser.picture()).expect("a picture");
    assert_eq!(browser.console, Vec::<String>::new());
}

#[test]
fn a_recorded_timeline_is_drawn_as_in_the_readme() {
    let drawn = run(&["lab", "timeline", "tests/lab/etcd-timeline.jsonl"], "");
    assert!(drawn.status.success(), "{}", text(&drawn));
    let drawn = String::from_utf8(drawn.stdout).expect("text");
    roxmltree::Document::parse(&drawn).expect("XML");
    for words in ["cut", "leader", "etcd-2", "100 ms"] {
        assert!(drawn.contains(words), "{words}");
    }
    let path = root().join("tests/lab/etcd-timeline.svg");
    if std::env::var("NIXVOL_README").is_ok_and(|value| value == "update") {
        std::fs::write(&path, &drawn).expect("a file");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(kept, drawn, "hint: NIXVOL_README=update");
}

#[test]
fn a_timeline_that_cannot_be_drawn_is_refused_with_its_line() {
    let fault = r#"{"seconds":1,"event":"begin","action":"partition","from":"a"}"#;
    let line = |event: &str| format!("{{\"seconds\":3,\"event\":\"{event}\"}}");
    for (input, said) in [
        (String::new(), "has nothing to draw"),
        (line("done"), "has nothing to draw"),
        (format!("{fault}\n{}\nnonsense\n", line("done")), "standard input:3: this is no line of a timeline"),
        (line("stranger"), "standard input:1: this is no line of a timeline"),
    ] {
        let output = run(&["lab", "timeline", "-"], &input);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), error.contains(said)), (Some(2), true), "{input}: {error}");
    }
    // A name that is markup stays text.
    let hostile = fault.replace("\"a\"", "\"</svg><script>\"");
    let output = run(&["lab", "timeline", "-"], &format!("{hostile}\n{}\n", line("done")));
    let drawn = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && !drawn.contains("<script>"), "{drawn}");
}

#[test]
fn a_watch_needs_a_name_and_a_command() {
    for watch in ["leader", "=true", "leader=", "a b=true"] {
        let output = run(&["lab", "scenario", "/nowhere", "--watch", watch], "");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), error.contains("write NAME=COMMAND")), (Some(2), true), "{error}");
    }
}
