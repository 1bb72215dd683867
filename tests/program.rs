//! The program as a user runs it: exit codes, which output goes where, and that a bundle is replaced atomically.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{default_input, fixture, has_tool, program, rendered, root, run};

fn render(out: &Path, arguments: &[&str]) -> std::process::Output {
    program().arg("render").arg("--out").arg(out).args(arguments).output().expect("the program runs")
}

#[test]
fn render_writes_every_file_and_a_second_run_changes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("a/b/bundle");
    let first = render(&out, &[]);
    assert_eq!(first.status.code(), Some(0), "{}", String::from_utf8_lossy(&first.stderr));
    for (path, file) in rendered(&default_input()).files {
        let on_disk = out.join(&path);
        assert_eq!(fs::read_to_string(&on_disk).expect(&path), file.text, "{path}");
        let mode = fs::metadata(&on_disk).expect(&path).permissions().mode() & 0o7777;
        assert_eq!(mode, if file.executable { 0o755 } else { 0o644 }, "{path}");
    }
    for kind in [
        "manage-macos-networking.sh",
        "pf/anchor.conf",
        "launchd/org.nix-volumes.networking.plist",
        "newsyslog.d/nix-volumes.conf",
        "hosts",
        "guests/etcd-1/05-nixvol.network",
        "guests/etcd-1/99-nixvol.yaml",
        "guests/etcd-1/interfaces",
        "guests/etcd-1/nixvol.nmconnection",
        "guests/etcd-1/talos.yaml",
        "topology.txt",
        "topology.svg",
        "network.json",
    ] {
        assert!(out.join(kind).is_file(), "{kind}");
    }
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).expect("the bundle"));
    let before = inode(&out);
    let second = render(&out, &[]);
    assert!(String::from_utf8_lossy(&second.stdout).contains("(as it was; "));
    assert_eq!(inode(&out), before, "an unchanged bundle was replaced");
    let left: Vec<_> = fs::read_dir(out.parent().expect("a parent")).expect("a directory").collect();
    assert_eq!(left.len(), 1, "something was left beside the bundle");
}

#[test]
fn a_new_bundle_replaces_the_old_one_completely() {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("bundle");
    render(&out, &[]);
    let single = root().join("tests/fixtures/single.json");
    let output = render(&out, &["--input", &single.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(0));
    assert!(!out.join("guests/etcd-2").exists(), "a file of the old bundle survived");
    let text = fs::read_to_string(out.join("network.json")).expect("network.json");
    assert_eq!(text, rendered(&fixture("single.json")).files["network.json"].text);
}

#[test]
fn a_failed_run_leaves_the_old_bundle() {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("bundle");
    render(&out, &[]);
    let before = fs::read(out.join("network.json")).expect("network.json");
    let missing = render(&out, &["--input", "/nowhere/input.json"]);
    assert_eq!(missing.status.code(), Some(2));
    let broken = run(&["render", "--input", "-", "--out", &out.to_string_lossy()], "{}");
    assert_eq!(broken.status.code(), Some(2));
    assert_eq!(fs::read(out.join("network.json")).expect("network.json"), before);
    assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1);
}

#[test]
fn a_directory_that_is_not_ours_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let refused = |out: &Path| {
        let output = render(out, &[]);
        assert_eq!(output.status.code(), Some(2), "{}", out.display());
        assert!(output.stdout.is_empty());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let foreign = directory.path().join("home");
    fs::create_dir(&foreign).expect("a directory");
    fs::write(foreign.join("thesis.tex"), "years of work").expect("a file");
    assert!(refused(&foreign).contains("thesis.tex"));
    assert_eq!(fs::read_to_string(foreign.join("thesis.tex")).expect("still there"), "years of work");

    let mixed = directory.path().join("mixed");
    render(&mixed, &[]);
    fs::write(mixed.join("guests/etcd-1/notes"), "mine").expect("a file");
    assert!(refused(&mixed).contains("guests/etcd-1/notes"));
    assert!(mixed.join("guests/etcd-1/notes").exists());

    let file = directory.path().join("file");
    fs::write(&file, "").expect("a file");
    refused(&file);
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&foreign, &link).expect("a link");
    refused(&link);
    let hosts_only = directory.path().join("etc");
    fs::create_dir(&hosts_only).expect("a directory");
    fs::write(hosts_only.join("hosts"), "127.0.0.1 localhost").expect("a file");
    assert!(refused(&hosts_only).contains("network.json"));
    refused(Path::new("/"));

    let empty = directory.path().join("empty");
    fs::create_dir(&empty).expect("a directory");
    assert_eq!(render(&empty, &[]).status.code(), Some(0), "an empty directory is nobody's");
}

#[test]
fn data_goes_to_standard_output_and_problems_do_not() {
    let valid = run(&["check"], "");
    assert_eq!(
        (valid.status.code(), String::from_utf8_lossy(&valid.stdout).as_ref()),
        (Some(0), "5 providers, 13 volumes, 1 link: valid\n")
    );
    let broken = run(&["check", "--input", "-"], "{}");
    assert_eq!(broken.status.code(), Some(2));
    assert!(broken.stdout.is_empty());
    let json = run(&["check", "--input", "-", "--format", "json"], "{}");
    assert_eq!(json.status.code(), Some(2));
    let problems: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(problems["problems"].as_array().map(Vec::len), Some(3));
    assert_eq!(problems["problems"][0]["code"], "E003");
    let wrong_use = run(&["check", "--no-such-flag"], "");
    assert_eq!(wrong_use.status.code(), Some(2));
    assert_eq!(run(&[], "").status.code(), Some(2));
    assert_eq!(run(&["--help"], "").status.code(), Some(0));
}

#[test]
fn conditions_are_listed_below_the_matrix() {
    let input = fixture("ways.json").to_string();
    let told = |format: &str, input: &str| {
        let output = run(&["test", "--input", "-", "--format", format], input);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let text = told("text", &input);
    let (_, below) =
        text.split_once("\nConditions of the paths between them; the narrower applies:\n").expect("a list");
    assert_eq!(
        below,
        "  aws -> azure: 40 ms, 1% lost, 100000 kbit/s\n  aws, azure -> gcp: 10 ms\n  gcp -> aws, azure: 10 ms\n  \
         etcd-1 -> gcp: 25% lost\n"
    );
    let json: Value = serde_json::from_str(&told("json", &input)).expect("JSON");
    assert_eq!(json["conditions"].as_array().map(Vec::len), Some(4));
    assert_eq!(
        json["conditions"][0],
        json!({ "pipe": 20000, "from": ["aws"], "to": ["azure"], "latencyMs": 40, "regions": null, "jitterMs": null,
                "loss": 0.01, "bandwidthKbit": 100_000 })
    );
    assert!(!told("text", &default_input().to_string()).contains("What ways"));
    // A long list is cut off with a count.
    let mut many = crate::support::providers(6);
    let pair = |n: usize| json!({ "from": [format!("p{}", n / 5)], "to": [format!("p{}", (n / 5 + n % 5 + 1) % 6)], "conditions": { "latencyMs": n } });
    many["links"] = (0..30).map(pair).collect();
    assert!(told("text", &many.to_string()).ends_with("\n  and 10 more (`--format json` has all)\n"));
}

#[test]
fn conditions_of_masqueraded_traffic_come_with_a_note() {
    let mut input = fixture("rich.json");
    input["links"][1]["conditions"] = json!({ "latencyMs": 10 });
    let output = run(&["check", "--input", "-"], &input.to_string());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let notes = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(notes.contains("links.1.conditions: replies to masqueraded traffic"), "{notes}");
}

#[test]
fn an_independent_plist_parser_accepts_the_job() {
    if !has_tool("plistutil", "no other reader has read the launchd job") {
        return;
    }
    let text = &rendered(&default_input()).files["launchd/org.nix-volumes.networking.plist"].text;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("job.plist");
    fs::write(&path, text).expect("a file");
    let output = std::process::Command::new("plistutil").arg("-i").arg(&path).arg("-o").arg("-").output();
    let output = output.expect("plistutil runs; hint: it is in Debian's libplist-utils");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let list = plist::Value::from_reader_xml(text.as_bytes()).expect("a property list");
    let job = list.as_dictionary().expect("a dictionary");
    let is_true = |key: &str| job.get(key).and_then(plist::Value::as_boolean);
    assert_eq!(
        (is_true("RunAtLoad"), is_true("StartOnMount"), is_true("KeepAlive")),
        (Some(true), Some(true), Some(false))
    );
    assert_eq!(job.get("Label").and_then(plist::Value::as_string), Some("org.nix-volumes.networking"));
}
