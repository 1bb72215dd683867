//! The outputs of the manager, the lab and `pf eval` match their schemas, and every JSON output has a schema.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::examples::commands;
use crate::lab::Lab;
use crate::manager_mesh::{ALLOWED, KEY, answer, answers, bring_up, now, two_macs};
use crate::network::{Network, slow, small, topology};
use crate::pf_program::too_many_calls;
use crate::replay::rows;
use crate::schema::{OUTPUTS, schema_of};
use crate::seen::Seen;
use crate::support::{has_lab, program, rendered, root, run};

/// Commands that print one line for each input line, in a format that is not ours: no version, and no `--format`.
const FOREIGN: [&str; 2] = ["lab replay", "pf eval"];

/// Commands whose output is compared with their schemas in this file.
const HERE: [&str; 8] = [
    "status",
    "manager status",
    "manager plan",
    "manager test",
    "scenario",
    "lab test",
    "lab status",
    "lab scenario",
];

/// What has another form than `--format json`; `serve.rs` compares it, and `manager_scenario.rs` the output of `scenario`.
const SERVED: &str = "serve";

/// The names of the schemas that must exist: commands of the program whose help has `--format json`, and commands of
/// the manager whose help has `--json`.
fn with_json() -> BTreeSet<String> {
    let has_json = |help: &str| {
        let (_, rest) = help.split_once("--format <").unwrap_or_default();
        let rest = rest.split("\n  -").next().unwrap_or_default();
        rest.contains("json")
    };
    let all = commands();
    let own = all.iter().filter(|(_, help)| has_json(help)).map(|(words, _)| words.join(" "));
    let help = Network::new(&small()).ok("help");
    let managers = help.lines().filter_map(|line| line.split_once(" [--json]"));
    let managers = managers.map(|(name, _)| format!("manager {}", name.trim())).collect::<Vec<_>>();
    assert!(!managers.is_empty(), "{help}");
    let mut all: BTreeSet<String> = own.chain(managers).collect();
    // All subcommands of these print the same form.
    let groups = ["add", "remove", "rename", "move"];
    for group in groups {
        let below: Vec<String> =
            all.iter().filter(|it| it.starts_with(&format!("{group} "))).cloned().collect();
        assert!(!below.is_empty(), "{group}");
        for name in below {
            assert_eq!(schema_of(&name.split(' ').collect::<Vec<_>>()), schema_of(&[group]), "{name}");
            all.remove(&name);
        }
        all.insert(group.to_owned());
    }
    all
}

#[test]
fn every_json_output_has_a_versioned_schema_and_is_tested() {
    let with_json = with_json();
    assert!(with_json.len() > 20 && !with_json.contains("lab replay"), "{with_json:?}");
    for name in &with_json {
        let schema = schema_of(&name.split(' ').collect::<Vec<_>>());
        let forms = schema["anyOf"].as_array().cloned().unwrap_or_else(|| vec![schema.clone()]);
        for form in forms {
            assert_eq!(form["properties"]["version"]["const"], 1, "{name}: {form:#}");
            let required = form["required"].as_array().expect("required fields");
            assert!(required.contains(&"version".into()), "{name}");
        }
    }
    let told = run(&["schema", "weather"], "");
    let told = String::from_utf8(told.stderr).expect("text");
    let (_, list) = told.split_once("hint: there is one of ").unwrap_or_else(|| panic!("{told}"));
    let known: BTreeSet<String> = list.trim_end().split(", ").map(str::to_owned).collect();
    let foreign = [FOREIGN[0], FOREIGN[1], SERVED].map(str::to_owned);
    assert_eq!(known, with_json.into_iter().chain(foreign.clone()).collect(), "schemas of commands");
    let held = OUTPUTS.iter().map(|(name, _)| *name).chain(HERE).chain(["scenario"]).map(str::to_owned);
    assert_eq!(known, held.chain(foreign).collect(), "outputs that tests hold against their schemas");
}

/// Compares the manager's `status` and `plan` for a Mac, and `nixvol-net status` for a capture of it, with their
/// schemas.
fn look(seen: &mut Seen, network: &Network, name: &str) {
    for command in ["status", "plan"] {
        let ran = network.run(&format!("{command} --json"));
        let value = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{name}: {error}: {ran:?}"));
        seen.hold(&format!("manager {command}"), &value, name);
    }
    let directory = network.mac.dir().join(name);
    network.ok(&format!("logs --collect {}", directory.display()));
    let input = network.base().join("network.json").display().to_string();
    let from = directory.display().to_string();
    let output = run(&["status", "--input", &input, "--from", &from, "--format", "json"], "");
    let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{name}: {error}"));
    seen.hold("status", &value, name);
}

fn probed(seen: &mut Seen, network: &Network, name: &str) -> Value {
    let ran = network.run("test --json");
    let value: Value =
        serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{name}: {error}: {ran:?}"));
    assert_eq!(value["agrees"], ran.code == 0, "{name}: {value:#}");
    seen.hold("manager test", &value, name);
    value
}

/// Plays a scenario by the manager, and compares its timeline with the schema.
fn play(seen: &mut Seen, network: &Network, mut input: Value) {
    let dir = network.mac.dir();
    input["base"] = json!(dir.join("opt/nix-volumes"));
    fs::write(dir.join("input.json"), input.to_string()).expect("the declaration");
    let scenario = json!({ "step": [
        { "at": 0, "partition": ["aws", "ibm"], "for": 0.1 },
        { "at": 0, "slow": "etcd-1", "latencyMs": 1, "loss": 0.5, "bandwidthKbit": 1000 },
        { "at": 0.2, "heal": [] },
    ] });
    fs::write(dir.join("scenario.json"), scenario.to_string()).expect("the scenario");
    let mut command = program();
    command.arg("scenario").arg(dir.join("scenario.json")).arg("--input").arg(dir.join("input.json"));
    let output = command.args(["--format", "json"]).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for line in lines(&output.stdout) {
        seen.hold("scenario", &line, "a scenario");
    }
}

/// A Mac with another one, which is in every state.
fn beside_another_mac(seen: &mut Seen) {
    let network = Network::new(&two_macs());
    network.ok("start");
    look(seen, &network, "waiting");
    bring_up(&network, "utun7");
    network.ok("reconcile");
    look(seen, &network, "unknown");
    let at = "192.168.1.20:51820";
    let states = [("new", KEY, 0), ("connected", KEY, now()), ("away", KEY, now() - 999)];
    for (name, key, handshake) in states.into_iter().chain([("stranger", &*"22".repeat(32), now())]) {
        answers(&network, "utun7", &answer(key, at, handshake, &ALLOWED));
        look(seen, &network, name);
    }
    network.mac.remove("if\tutun7\t");
    network.ok("stop");
    look(seen, &network, "alone");
}

#[test]
fn manager_output_matches_its_schemas() {
    let mut seen = Seen::default();
    let mut input = slow();
    input["volumes"]["etcd-1"]["mountPoint"] = json!("/Volumes/data");
    let network = Network::new(&input);
    look(&mut seen, &network, "never");
    // A network that the Mac has: the overlap is reported, with free networks.
    network.mac.ok("route -n add -net 10.0.8.0/24 -interface en0");
    look(&mut seen, &network, "overlap");
    network.mac.ok("route -n delete -net 10.0.8.0/24 -interface en0");
    network.mac.add("mount\t/dev/disk5s1 on /Volumes/data (apfs, local)");
    network.ok("start --confirm-within 600");
    look(&mut seen, &network, "pending");
    network.ok("confirm");
    look(&mut seen, &network, "up");
    probed(&mut seen, &network, "up");
    network.ok("partition aws ibm --for 600");
    network.ok("slow etcd-1 talos-4 --latency 20 --loss 0.05 --bandwidth 1000");
    look(&mut seen, &network, "faults");
    network.ok("slow ibm --latency 20");
    look(&mut seen, &network, "others");
    network.ok("heal");
    play(&mut seen, &network, input);
    // Packet loss on a path, a bridge that is gone, and a pf that skips lo0.
    let up = network.keep();
    network.mac.add("lost\t10.3.0.0/16\t10.0.0.0/16");
    network.mac.ok("ifconfig bridge2000 destroy");
    network.mac.edit(|kernel| kernel + "skip\tlo0\n");
    look(&mut seen, &network, "broken");
    let value = probed(&mut seen, &network, "broken");
    assert!(value["findings"][0]["about"] == "pf" && value["changes"][0].is_string(), "{value:#}");
    network.put_back(&up);
    network.ok("stop");
    look(&mut seen, &network, "down");
    // A run that fails has no JSON; it reports why it was refused.
    let foreign = Network::new(&small());
    foreign.ok("start");
    fs::set_permissions(foreign.state(), std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .expect("a mode");
    let refused = foreign.run("test --json");
    assert!(refused.code != 0, "{refused:?}");
    // Providers that may not open to each other, and a path that loses packets.
    let mut apart = topology();
    apart["links"] = json!([{ "from": ["aws", "gcp"], "to": ["azure"], "protocol": "tcp", "ports": [2379] }]);
    let network = Network::new(&apart);
    network.ok("start");
    network.mac.add("lost\t10.0.0.0/16\t10.1.0.0/16");
    probed(&mut seen, &network, "apart");
    beside_another_mac(&mut seen);
    // Only the lab watches values.
    seen.assert_all(&["Moment=\"watch\"", "scenario.name", "scenario.value"]);
}

/// The lines of an output, parsed as JSON.
fn lines(output: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(output).expect("text");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn written(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    fs::write(&path, text).expect("a file");
    path.display().to_string()
}

#[test]
fn lab_output_matches_its_schemas() {
    if !has_lab() {
        return;
    }
    let mut seen = Seen::default();
    let directory = tempfile::tempdir().expect("a directory");
    let nowhere = Lab::nowhere("schema-nowhere");
    let down = nowhere.lab(&["status", "--format", "json"]);
    seen.hold("lab status", &serde_json::from_slice(&down.stdout).expect("JSON"), "no lab");
    let lab = Lab::up("schema", &["--input", "tests/fixtures/conditions.json"]);
    assert!(lab.lab(&["slow", "etcd-1", "etcd-2", "--latency", "3", "--for", "600"]).status.success());
    assert!(lab.lab(&["partition", "etcd-1", "etcd-2"]).status.success());
    seen.hold("lab status", &lab.status(), "a lab with faults");
    let macs = Lab::up("schema-macs", &["--input", "tests/fixtures/macs.json"]);
    assert!(macs.sh("probe", "ping -c 1 -W 5 queue.nixvol").status.success());
    assert!(macs.lab(&["partition", "macs.mini"]).status.success());
    seen.hold("lab status", &macs.status(), "a lab of several Macs");
    drop(macs);
    let scenario = written(
        directory.path(),
        "scenario.toml",
        "[[step]]\nat = 0\npartition = ['etcd-1', 'etcd-2']\nfor = 0.1\n\
         [[step]]\nat = 0\nslow = 'etcd-1'\nlatencyMs = 1\nloss = 0.5\nbandwidthKbit = 1000\n\
         [[step]]\nat = 0.2\nheal = []\n",
    );
    let watch = ["--watch", "one=echo 1", "--watch", "none=false"];
    let output = lab.lab(&[&["scenario", &scenario, "--format", "json"], &watch[..]].concat());
    assert!(output.status.success());
    for line in lines(&output.stdout) {
        seen.hold("lab scenario", &line, "a scenario");
    }
    // Rules that let more through than the explanation says.
    let bundle = directory.path().join("bundle").display().to_string();
    let input = "tests/fixtures/restricted.json";
    let render = program()
        .args(["render", "--quiet", "--input", input, "--out", &bundle])
        .current_dir(root())
        .status();
    assert!(render.expect("the program runs").success());
    let anchor = Path::new(&bundle).join("pf/anchor.conf");
    let rules = fs::read_to_string(&anchor).expect("rules");
    for text in [rules.clone(), rules.replace("{ 2379:2380 }", "{ 2379:2381 }")] {
        fs::write(&anchor, &text).expect("a file");
        let output = run(&["lab", "test", "--bundle", &bundle, "--format", "json"], "");
        let value: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(value["agrees"], text == rules, "{}", value["difference"]);
        seen.hold("lab test", &value, "lab test");
    }
    // The trials without a tunnel are in the output of a lab of several Macs, which `lab_mesh` holds against the schema.
    let elsewhere = ["Trial|4", "Trial|4.kind", "Trial|5", "Trial|5.kind"];
    seen.assert_all(&[&elsewhere[..], &["Answer=\"unreachable\""]].concat());
}

/// Rules and packets that together produce every field of an answer.
const RULES: &str = "set skip on lo1
scrub in on en1 all no-df min-ttl 9 fragment reassemble
nat on en0 inet from 10.0.0.0/8 to any -> 192.0.2.10
rdr on lo0 inet proto tcp from any to 127.0.1.11 port 2379 -> 10.0.1.2 port 2380
binat on en2 inet from 10.9.0.1 to any -> 192.0.2.11
dummynet in on en3 all pipe 1
dummynet in on en4 all queue 2
no dummynet in on en5 all
block all
pass in on en1 all no state
pass out on en0 all label \"out\"
pass in on lo0 all
pass out on en2 all
";

const PACKETS: [&str; 12] = [
    r#"{"path":[["in","en1"],["out","en0"]],"proto":"tcp","src":"10.0.1.3","sport":4000,"dst":"192.0.2.99","dport":443}"#,
    r#"{"dir":"out","if":"en0","proto":"tcp","src":"10.0.1.2","sport":4000,"dst":"192.0.2.99","dport":443}"#,
    r#"{"dir":"out","if":"en0","proto":"tcp","src":"10.0.1.2","sport":4000,"dst":"192.0.2.99","dport":443,"flags":"A"}"#,
    r#"{"dir":"out","if":"en0","proto":"icmp","src":"10.0.1.2","dst":"192.0.2.99","icmp_type":8,"icmp_code":0,"icmp_id":77}"#,
    r#"{"dir":"in","if":"lo0","proto":"tcp","src":"127.0.0.1","sport":4000,"dst":"127.0.1.11","dport":2379}"#,
    r#"{"dir":"out","if":"en2","proto":"udp","src":"10.9.0.1","sport":4000,"dst":"192.0.2.99","dport":53}"#,
    r#"{"dir":"in","if":"lo1","proto":"udp","src":"10.9.0.1","sport":4000,"dst":"192.0.2.99","dport":53}"#,
    r#"{"path":[["in","en3"],["in","en4"],["in","en5"]],"proto":"udp","src":"10.9.0.1","sport":4000,"dst":"192.0.2.99","dport":53}"#,
    r#"{"path":[["in","en1"],["in","en4"]],"proto":"udp","src":"10.9.0.1","sport":4000,"dst":"192.0.2.99","dport":53,"df":true,"ttl":2}"#,
    r#"{"dir":"in","if":"en4","proto":"udp","src":"10.9.0.1","sport":4000,"dst":"192.0.2.99","dport":53}"#,
    r#"{"dir":"in","if":"en1","proto":"udp","src":"10.0.1.50","dst":"10.1.1.2","sport":4000,"dport":53,"frag_id":7,"frag_offset":0,"frag_len":1480,"frag_more":true}"#,
    r#"{"dir":"in","if":"en1","proto":"udp","src":"10.0.1.50","dst":"10.1.1.2","frag_id":7,"frag_offset":1480,"frag_len":48,"frag_more":false}"#,
];

#[test]
fn pf_eval_and_replay_output_matches_their_schemas() {
    let mut seen = Seen::default();
    let directory = tempfile::tempdir().expect("a directory");
    let main = written(directory.path(), "main.conf", RULES);
    let output = run(&["pf", "eval", "--main", &main], &(PACKETS.join("\n") + "\n"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answers = lines(&output.stdout);
    let anchor = rendered(&slow()).files["pf/anchor.conf"].text.clone();
    let anchor = written(directory.path(), "anchor.conf", &anchor);
    let anchor = format!("--anchor=com.apple/250.nixvol={anchor}");
    let ours = run(&["pf", "eval", &anchor, "-Degress=en0", "-Doutside=en0"], PACKETS[0]);
    let given = too_many_calls(directory.path());
    let given: Vec<&str> =
        ["pf", "eval", "--stateless"].into_iter().chain(given.iter().map(String::as_str)).collect();
    let path = r#"{"path":[["in","en0"],["out","en1"]],"proto":"icmp","src":"10.0.1.2","dst":"1.1.1.1"}"#;
    let unknown = lines(&run(&given, &format!("{}\n{path}\n", path.replace("icmp", "47"))).stdout);
    assert_eq!(unknown.iter().map(|it| &it["action"]).collect::<Vec<_>>(), ["unknown", "unknown"]);
    for answer in answers.iter().chain(&lines(&ours.stdout)).chain(&unknown) {
        seen.hold("pf eval", answer, "pf eval");
    }
    let rows = rows().iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    let output = run(&["lab", "replay", "-"], &rows);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for line in lines(&output.stdout) {
        seen.hold("lab replay", &line, "lab replay");
    }
    // In none of these rows does a packet that a client sends again leave the Mac.
    seen.assert_all(&["lab replay.later_wire"]);
}
