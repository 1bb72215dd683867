//! `nixvol-net pf` as a user runs it: real rulesets, real verdicts, and which output goes where.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::pf_corpus::pairs;
use crate::support::{rendered, root, run};

/// The interface with which the corpus was made, and the names with which it was printed.
const EN0: [&str; 4] = ["--interface", "en0=192.0.2.10/24", "--services", "openbsd"];

/// The number of rulesets with verdicts that are tried; the evaluator's own tests try all of them.
const RULESETS: usize = 25;

fn corpus(kind: &str) -> PathBuf {
    root().join("../shared/pf-corpus").join(kind)
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs `pf …` with a standard input and checks its exit code.
fn pf(arguments: &[&str], input: &str, code: i32) -> Output {
    let output = run(&[&["pf"], arguments].concat(), input);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}{}", out(&output), err(&output));
    output
}

#[test]
fn print_is_what_pfctl_prints() {
    for (name, _, wanted) in pairs(&corpus("accept")) {
        let output = pf(&[&["print", &name], &EN0[..]].concat(), "", 0);
        assert_eq!(out(&output), wanted, "{name}");
        assert!(output.stderr.is_empty(), "{name}: {}", err(&output));
    }
}

#[test]
fn check_reports_the_lines_that_pfctl_reports() {
    for (name, input, messages) in pairs(&corpus("reject")) {
        let output = pf(&[&["check", "-"], &EN0[..]].concat(), &input, 1);
        assert!(output.stdout.is_empty(), "{name}");
        let lines = |text: &str| -> BTreeSet<u32> {
            let line = |line: &str| line.strip_prefix("stdin:")?.split(':').next()?.parse().ok();
            text.lines().filter_map(line).collect()
        };
        assert_eq!(lines(&err(&output)), lines(&messages), "{name}: {}", err(&output));
    }
}

#[test]
fn eval_answers_as_a_kernel_does() {
    let directory = tempfile::tempdir().expect("a directory");
    for file in ["cases.jsonl", "translate.jsonl"] {
        let file = corpus("verdicts").join(file);
        let Ok(text) = fs::read_to_string(&file) else {
            crate::support::skipped(&format!("no {}", file.display()));
            continue;
        };
        for line in text.lines().take(RULESETS) {
            let case: Value = serde_json::from_str(line).expect("a line of JSON");
            let output = evaluated(directory.path(), &case);
            let answers: Vec<Value> =
                output.lines().map(|line| serde_json::from_str(line).expect("an answer")).collect();
            assert_eq!(Some(&answers), case["answers"].as_array(), "{}", case["id"]);
        }
    }
}

/// The program's answers to the packets of a case.
fn evaluated(directory: &Path, case: &Value) -> String {
    let write = |name: String, text: &Value| {
        let file = directory.join(name);
        fs::write(&file, text.as_str().expect("a ruleset")).expect("a file");
        path(&file).to_owned()
    };
    let mut arguments: Vec<String> = ["eval"].iter().chain(&EN0).map(|word| (*word).to_owned()).collect();
    arguments.extend(["--main".to_owned(), write("main.conf".to_owned(), &case["main"])]);
    for (number, (name, text)) in case["anchors"].as_object().into_iter().flatten().enumerate() {
        let file = write(format!("{number}.conf"), text);
        arguments.extend(["--anchor".to_owned(), format!("{name}={file}")]);
    }
    for (name, value) in case["macros"].as_object().into_iter().flatten() {
        arguments.extend(["-D".to_owned(), format!("{name}={}", value.as_str().expect("text"))]);
    }
    let packets = case["packets"].as_array().expect("packets");
    let packets: String = packets.iter().flat_map(|packet| [packet.to_string(), "\n".to_owned()]).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    out(&pf(&arguments, &packets, 0))
}

const SYN: &str = r#"{"dir":"out","if":"lo0","proto":"tcp","src":"10.0.1.2","sport":40000,"dst":"10.1.1.2","dport":2379,"flags":"S"}"#;
const REPLY: &str = r#"{"dir":"in","if":"lo0","proto":"tcp","src":"10.1.1.2","sport":2379,"dst":"10.0.1.2","dport":40000,"flags":"SA"}"#;

#[test]
fn eval_of_a_rendered_anchor_needs_no_main_ruleset_and_keeps_states() {
    let directory = tempfile::tempdir().expect("a directory");
    let anchor = directory.path().join("anchor.conf");
    let bundle = rendered(&crate::support::default_input());
    fs::write(&anchor, &bundle.files["pf/anchor.conf"].text).expect("a file");
    let anchor = format!("--anchor=com.apple/250.nixvol={}", path(&anchor));
    let answers = |more: &[&str]| {
        let arguments = [&["eval", &anchor, "-Degress=en0"], more].concat();
        let text = out(&pf(&arguments, &format!("{SYN}\n\n  \n{REPLY}"), 0));
        text.lines().map(|line| serde_json::from_str(line).expect("an answer")).collect::<Vec<Value>>()
    };
    let sequence = answers(&[]);
    assert_eq!(sequence.len(), 2, "blank lines are no packets");
    assert_eq!(sequence[0]["anchor"], "com.apple/250.nixvol");
    assert_eq!((&sequence[0]["action"], &sequence[0]["state"]), (&"pass".into(), &"created".into()));
    assert_eq!((&sequence[1]["action"], &sequence[1]["via"]), (&"pass".into(), &"state".into()));
    let alone = answers(&["--stateless"]);
    assert_eq!(alone[0], sequence[0]);
    assert_eq!((&alone[1]["action"], &alone[1]["label"]), (&"block".into(), &"between".into()));
}

#[test]
fn a_line_that_is_not_a_packet_ends_the_sequence_there() {
    let output = pf(&["eval"], &format!("{SYN}\n{{\"dir\":\"up\"}}\n{SYN}\n"), 2);
    assert_eq!(out(&output).lines().count(), 1, "what came before is answered");
    assert!(err(&output).starts_with("stdin:2:11: unknown variant `up`"), "{}", err(&output));
    let families = SYN.replace("10.1.1.2", "::1");
    let output = pf(&["eval"], &format!("\n{families}"), 2);
    assert_eq!(err(&output), "stdin:2:1: `src` and `dst` must be of one family\n");
    assert!(err(&pf(&["eval"], "{}\u{7}", 2)).starts_with("stdin:1:"));
    assert_eq!(out(&pf(&["eval"], "", 0)), "");
}

/// A main ruleset whose anchors call each other: 10 calls on each of 7 levels. UDP is decided before the calls.
pub fn too_many_calls(directory: &Path) -> Vec<String> {
    let file = |name: &str, text: &str| {
        let file = directory.join(name);
        fs::write(&file, text).expect("a file");
        path(&file).to_owned()
    };
    let main = file("main.conf", "pass quick proto udp no state\nanchor \"l0\"\nblock all\n");
    let level = |number: usize| {
        let calls = format!("anchor \"/l{}\"\n", number + 1).repeat(10);
        format!("--anchor=l{number}={}", file(&format!("l{number}.conf"), &calls))
    };
    ["--main".to_owned(), main].into_iter().chain((0..7).map(level)).collect()
}

#[test]
fn a_verdict_that_is_not_known_is_no_verdict() {
    let directory = tempfile::tempdir().expect("a directory");
    let given = too_many_calls(directory.path());
    let given: Vec<&str> = ["eval"].into_iter().chain(given.iter().map(String::as_str)).collect();
    let udp = SYN.replace("tcp", "udp").replace(",\"flags\":\"S\"", "");
    let packets = format!("{udp}\n{SYN}\n{udp}\n");
    let answers = |output: &Output| -> Vec<Value> {
        let words = |line: &str| {
            let answer: Value = serde_json::from_str(line).expect("an answer");
            Value::from(vec![answer["action"].clone(), answer["via"].clone()])
        };
        out(output).lines().map(words).collect()
    };
    let (known, unknown) = (Value::from(vec!["pass", "rule"]), Value::from(vec!["unknown", "abandoned"]));
    let output = pf(&given, &packets, 1);
    assert_eq!(answers(&output), [known.clone(), unknown.clone()], "what comes after would need its states");
    let told = err(&output);
    assert!(told.starts_with("stdin:2: the verdict is not known: anchors call each other"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    let output = pf(&[&given[..], &["--stateless"]].concat(), &packets, 1);
    assert_eq!(answers(&output), [known.clone(), unknown, known.clone()]);
    assert_eq!(answers(&pf(&given, &udp, 0)), [known]);
}

#[test]
fn errors_are_reported_in_order_with_their_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let (first, second) = (directory.path().join("first.conf"), directory.path().join("second.conf"));
    let inner = directory.path().join("inner.conf");
    fs::write(&inner, "pass\npass to port 80\n").expect("a file");
    fs::write(&first, format!("include \"{}\"\npass in\npass to port 22\n", path(&inner))).expect("a file");
    fs::write(&second, "block bogus\n").expect("a file");
    let output = pf(&["check", path(&second), path(&first)], "", 1);
    let mut told: Vec<String> =
        err(&output).lines().map(|line| line.split(": ").next().expect("a place").to_owned()).collect();
    told.dedup();
    let wanted =
        [format!("{}:1:7", path(&second)), format!("{}:3:1", path(&first)), format!("{}:2:1", path(&inner))];
    assert_eq!(told, wanted, "in the order of the arguments, what is included behind what includes it");
    assert!(output.stdout.is_empty());

    let output = pf(&["check", path(&second), "--format", "json"], "", 1);
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&json["errors"][0]["line"], &json["errors"][0]["file"]), (&1.into(), &path(&second).into()));
    assert!(output.stderr.is_empty());
    let output = pf(&["check", "-", "--format", "json"], "pass\n", 0);
    assert_eq!(
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")["errors"],
        Value::Array(vec![])
    );

    let output = pf(&["print", "-"], "pass in\npass \u{1b}[2J\n", 1);
    assert!(err(&output).starts_with("stdin:2:6: "), "{}", err(&output));
    assert!(!err(&output).contains('\u{1b}') && output.stdout.is_empty());
    let output = pf(&["print", "-"], "include \"/nowhere/a.conf\"\n", 1);
    assert!(err(&output).ends_with("No such file or directory\n"), "{}", err(&output));
}

#[test]
fn wrong_use_is_distinguished_from_errors() {
    for arguments in [
        &["check"][..],
        &["check", "/nowhere/a.conf"],
        &["check", "-", "-"],
        &["print", "/nowhere/a.conf"],
        &["print"],
        &["print", "-", "-D", "egress"],
        &["print", "-", "--interface", "en0"],
        &["print", "-", "--interface", "en0=1.2.3.4/33"],
        &["eval", "--main", "-"],
        &["eval", "--main", "/nowhere/a.conf"],
        &["eval", "--anchor", "a"],
        &["eval", "--anchor", "/=a"],
        &[],
    ] {
        let output = pf(arguments, "", 2);
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let broken = directory.path().join("broken.conf");
    fs::write(&broken, "pass to port 22\n").expect("a file");
    let output = pf(&["eval", "--main", path(&broken)], SYN, 1);
    assert!(output.stdout.is_empty() && err(&output).starts_with(path(&broken)));
    // A file that cannot be read does not hide the errors in another one.
    let output = pf(&["check", "/nowhere/a.conf", path(&broken)], "", 2);
    assert!(err(&output).contains("cannot read") && err(&output).contains(":1:"), "{}", err(&output));
}

#[test]
fn macros_and_interfaces_come_from_outside() {
    let ruleset = "nat on $egress from 10.0.0.0/8 to any -> ($egress:0)\npass on en7 to en7\n";
    let output = pf(&["print", "-", "-D", "egress=en7", "--interface", "en7=198.51.100.7/24"], ruleset, 0);
    let wanted = "nat on en7 inet from 10.0.0.0/8 to any -> (en7:0)";
    assert!(out(&output).starts_with(wanted), "{}", out(&output));
    assert!(out(&output).contains("198.51.100.7"), "{}", out(&output));
    assert!(err(&pf(&["check", "-"], ruleset, 1)).starts_with("stdin:1:"));
    // If no interface is given, an example en0 exists.
    pf(&["check", "-"], "pass on en0 to en0\n", 0);
    pf(&["check", "-", "--interface", "en7=198.51.100.7"], "pass on en0 to en0\n", 1);
}
