//! Several Macs in the lab: each with its own rules, joined by WireGuard, of which nothing else is on the link.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nixvol_net::render::{ANCHOR, NETWORK};
use nixvol_net::wire;
use serde_json::{Value, json};

use crate::lab::{Lab, comments, text, within};
use crate::readme::with_program;
use crate::schema::validator_of;
use crate::support::{has_lab, has_tool, is_long, root, run};

const TWO: &str = "tests/lab/macs.json";
/// What a ping carries, and its words.
const PATTERN: &str = "766f6c756d65732d696e2d636c656172";
const CLEAR: &[u8] = b"volumes-in-clear";
/// Longest wait on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn pings(lab: &Lab) -> bool {
    let ping = format!("ping -c 1 -W 1 -s 100 -p {PATTERN} worker.nixvol");
    lab.sh("api", &ping).status.success()
}

/// A capture in the background, until it is dropped.
struct Capture(Child);

impl Capture {
    fn of(lab: &Lab, what: &str, file: &Path) -> Self {
        let mut command = lab.command(&["capture", what, "--out", &file.to_string_lossy()]);
        let capture = Self(command.stderr(Stdio::null()).spawn().expect("it starts"));
        assert!(within(PATIENCE, || fs::metadata(file).is_ok_and(|file| file.len() > 0)), "no capture");
        capture
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_clear(bytes: &[u8]) -> bool {
    bytes.windows(CLEAR.len()).any(|window| window == CLEAR)
}

#[test]
fn packets_between_macs_do_what_explain_says_of_both() {
    if !has_lab() {
        return;
    }
    let inputs = if is_long() { &[TWO, "tests/fixtures/macs.json"][..] } else { &[TWO] };
    for input in inputs {
        let output = run(&["lab", "test", "--input", input, "--format", "json"], "");
        assert!(output.status.success(), "{input}: {}", text(&output));
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let errors: Vec<String> =
            validator_of(&["lab", "test"]).iter_errors(&told).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:#?}");
        assert_eq!(told["agrees"], true);
        let probes = told["probes"].as_array().expect("probes");
        assert!(probes.iter().all(|probe| probe["expected"] == probe["found"]), "{input}");
        let trials: BTreeSet<&str> =
            probes.iter().filter_map(|probe| probe["trial"]["kind"].as_str()).collect();
        let gone = ["bridge-gone", "bridge-gone-and-reloaded", "tunnel-gone", "tunnel-gone-and-reloaded"];
        assert_eq!(trials, gone.into_iter().chain(["forged", "whole"]).collect(), "{input}");
        let found = |from: &str, to: &str, is_big: bool| -> BTreeSet<&str> {
            let is_meant = |probe: &&Value| {
                let ends = probe["from"] == from && probe["to"] == to;
                ends && probe["trial"]["kind"] == "whole" && is_big == (probe["bytes"] == 4000)
            };
            probes.iter().filter(is_meant).filter_map(|probe| probe["found"].as_str()).collect()
        };
        if *input == TWO {
            // Some of it passes both Macs, some is refused by the second, and datagrams that the tunnel cuts arrive.
            assert_eq!(found("worker", "api", false), ["connected", "refused", "silence"].into());
            assert!(found("worker", "api", true).contains("connected"));
            assert!(found("api", "worker", false).contains("connected"));
            assert!(found("macs.studio", "worker", false).contains("connected"));
            assert_eq!(found("lan.studio", "worker", false), ["silence"].into());
        }
    }
}

#[test]
fn rules_of_one_mac_that_deviate_are_found_and_replaced() {
    if !has_lab() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let mut input: Value =
        serde_json::from_str(&fs::read_to_string(root().join(TWO)).expect("a file")).expect("JSON");
    input["mac"] = json!("mini");
    let [file, out] = ["mini.json", "mini"].map(|name| directory.path().join(name));
    fs::write(&file, input.to_string()).expect("a file");
    let (file, bundle) = (file.to_string_lossy().into_owned(), out.to_string_lossy().into_owned());
    assert!(run(&["render", "--input", &file, "--out", &bundle], "").status.success());
    let anchor = out.join(ANCHOR);
    let rules = fs::read_to_string(&anchor).expect("rules");
    let label = "label \"link:api:worker:icmp\"";
    let fewer: Vec<&str> = rules.lines().filter(|line| !line.contains(label)).collect();
    assert_ne!(fewer.len(), rules.lines().count());
    fs::write(&anchor, fewer.join("\n") + "\n").expect("a file");
    if is_long() {
        let output = run(&["lab", "test", "--bundle", &bundle], "");
        let told = text(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("DIFFERENCE: api 10.20.1.10 -> worker 10.22.1.20 icmp: "), "{told}");
        assert!(told.contains("on studio it passes") && told.contains("mini: in mesh: "), "{told}");
    }

    // The rules of one Mac are loaded on it alone, and only rules that are proven.
    let lab = Lab::up("mesh-apply", &["--bundle", &bundle]);
    assert!(!pings(&lab), "mini does not let it in");
    let refused = lab.lab(&["apply", &bundle]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    fs::write(&anchor, &rules).expect("a file");
    let applied = lab.lab(&["apply", &bundle, "--kill"]);
    assert!(text(&applied).contains(" rules loaded on mini, "), "{}", text(&applied));
    assert!(within(PATIENCE, || pings(&lab)));
    let single = directory.path().join("single").to_string_lossy().into_owned();
    let rendered = run(&["render", "--input", "tests/fixtures/single.json", "--out", &single], "");
    assert!(rendered.status.success(), "{}", text(&rendered));
    let foreign = lab.lab(&["apply", &single]);
    assert!(text(&foreign).contains("the bundle is of none of them"), "{}", text(&foreign));

    // Bundles that are not of different Macs of one declaration are refused.
    let twice = run(&["lab", "test", "--bundle", &bundle, "--bundle", &bundle], "");
    assert_eq!(twice.status.code(), Some(2));
    assert!(text(&twice).contains("are both of the Mac mini"), "{}", text(&twice));
    let other = directory.path().join("other");
    let network = fs::read_to_string(out.join(NETWORK)).expect("a file");
    let status = Command::new("cp").arg("-r").arg(&out).arg(&other).status().expect("cp runs");
    assert!(status.success());
    fs::write(other.join(NETWORK), network.replace("\"mini\"", "\"studio\"").replace("443", "444"))
        .expect("a file");
    let other = other.to_string_lossy().into_owned();
    let mixed = run(&["lab", "test", "--bundle", &bundle, "--bundle", &other], "");
    assert_eq!(mixed.status.code(), Some(2), "{}", text(&mixed));
}

/// One lab for what its link shows, a Mac that is cut off and back, and wrong names.
#[test]
fn only_wireguard_is_on_the_link_and_a_mac_is_cut_off_and_back() {
    if !has_lab() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let lab = Lab::up("mesh", &["--input", TWO]);
    let [link, inside] = ["link.pcapng", "inside.pcapng"].map(|name| directory.path().join(name));
    let captures = [Capture::of(&lab, "macs", &link), Capture::of(&lab, "api", &inside)];
    assert!(within(PATIENCE, || pings(&lab)));
    let large = lab.sh("api", "ping -c 1 -W 5 -s 4000 worker.nixvol");
    assert!(large.status.success(), "{}", text(&large));
    assert!(within(PATIENCE, || comments(&link).len() >= 14), "{:?}", comments(&link).len());
    drop(captures);
    let packets = comments(&link);
    let mut kinds = BTreeSet::new();
    for (interface, comment, bytes) in &packets {
        assert!(["studio en1", "mini en1"].contains(&interface.as_str()), "{interface}: {comment}");
        let datagram = wire::read(bytes).expect("a packet");
        let (from, to, message) = wire::udp_payload(bytes, &datagram).expect("UDP");
        let ends = [(*from.ip(), from.port()), (*to.ip(), to.port())]
            .map(|(address, port)| (address.octets()[3], port));
        assert!(ends == [(2, 51820), (1, 51821)] || ends == [(1, 51821), (2, 51820)], "{from} {to}");
        let is_whole = match message {
            [1, 0, 0, 0, ..] => message.len() == 148,
            [2, 0, 0, 0, ..] => message.len() == 92,
            [3, 0, 0, 0, ..] => message.len() == 64,
            [4, 0, 0, 0, ..] => message.len() >= 32,
            _ => false,
        };
        assert!(is_whole && !is_clear(bytes), "{from} > {to}: {message:?}");
        kinds.insert(message[0]);
    }
    assert_eq!(kinds, [1, 2, 4].into());
    // The same ping is in the clear where it goes into the tunnel and comes out of it.
    let seen: BTreeSet<String> =
        comments(&inside).into_iter().filter(|packet| is_clear(&packet.2)).map(|packet| packet.0).collect();
    assert!(["studio mesh", "mini mesh", "mini bridge-gcp"].iter().all(|it| seen.contains(*it)), "{seen:?}");

    a_mac_is_cut_off_and_back(&lab, directory.path());
    wrong_names_are_refused(&lab, directory.path());
}

fn a_mac_is_cut_off_and_back(lab: &Lab, directory: &Path) {
    let scenario = directory.join("scenario.toml");
    let steps = "[[step]]\nat = 0\npartition = \"macs.mini\"\nfor = 3\n[[step]]\nat = 4\nheal = []\n";
    fs::write(&scenario, steps).expect("a file");
    let mut command = lab.command(&["scenario", &scenario.to_string_lossy(), "--format", "json"]);
    let playing = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let cut = |status: &Value| status["macs"][1]["peers"][0]["cut"] == true;
    assert!(within(PATIENCE, || cut(&lab.status())), "{}", lab.status());
    let status = lab.status();
    assert_eq!(status["faults"][0]["from"], "macs.mini");
    assert!(text(&lab.lab(&["status"])).contains("peer mini: handshake "), "{status}");
    assert!(!pings(lab), "the link is cut");
    // What stays on one Mac goes on.
    assert!(lab.sh("worker", "ping -c 1 -W 5 10.22.1.1").status.success());
    let output = playing.wait_with_output().expect("it ends");
    let told = text(&output);
    assert!(output.status.success(), "{told}");
    let events: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let words = |event: &Value| (event["event"].clone(), event["from"].clone());
    assert_eq!(words(&events[0]), (json!("begin"), json!("macs.mini")));
    assert_eq!(words(&events[1]), (json!("end"), json!("macs.mini")));
    assert!(within(PATIENCE, || pings(lab)), "{}", lab.status());
    assert!(!cut(&lab.status()));
    // By hand, and one end named.
    let done = lab.lab(&["partition", "macs.studio", "macs.mini"]);
    assert!(
        text(&done).starts_with("partition macs.studio macs.mini, until it is healed"),
        "{}",
        text(&done)
    );
    assert!(!pings(lab));
    assert!(text(&lab.lab(&["heal", "macs.mini"])).contains("healed"));
    assert!(within(PATIENCE, || pings(lab)));
}

fn wrong_names_are_refused(lab: &Lab, directory: &Path) {
    let refused = |arguments: &[&str], said: &str| {
        let output = lab.lab(arguments);
        let error = text(&output);
        assert_eq!((output.status.code(), error.contains(said)), (Some(2), true), "{arguments:?}: {error}");
    };
    refused(&["partition", "macs.mimi"], "no Mac macs.mimi\nhint: did you mean `macs.mini`?");
    refused(&["partition", "mini"], "no provider or volume mini\nhint: did you mean `macs.mini`?");
    refused(&["partition", "macs.mini", "api"], "name two Macs, or two volumes or providers");
    refused(&["partition", "macs.mini", "macs.mini"], "both endpoints are macs.mini");
    refused(&["exec", "wireguard.mini", "--", "true"], "the lab has no host `wireguard.mini`");
    refused(&["exec", "macs.mimi", "--", "true"], "did you mean `macs.mini`?");
    let scenario = directory.join("wrong.toml");
    fs::write(&scenario, "[[step]]\nat = 0\npartition = \"macs.mimi\"\nfor = 1\n").expect("a file");
    refused(&["scenario", &scenario.to_string_lossy()], "did you mean `macs.mini`?");
    let address = lab.sh("macs.mini", "ip -o -4 addr show dev eth0");
    assert!(text(&address).contains("100.127.0.2/32"), "{}", text(&address));
    let own = lab.sh("mac", "ip -o -4 addr show dev eth0");
    assert!(text(&own).contains("100.127.0.1/32"), "{}", text(&own));
    let known = lab.sh("api", "getent hosts mac macs.mini lan internet");
    for line in ["100.127.0.1 ", "100.127.0.2 ", "192.0.2.77 ", "198.51.100.7 "] {
        assert!(text(&known).lines().any(|told| told.starts_with(line)), "{}", text(&known));
    }
}

#[test]
fn one_mac_has_no_link_to_cut_or_to_look_at() {
    if !has_lab() {
        return;
    }
    let lab = Lab::up("mesh-one", &["--input", "tests/fixtures/single.json"]);
    for (arguments, said) in [
        (&["partition", "macs.mini"][..], "the lab has one Mac, so there is no macs.mini"),
        (&["capture", "macs"], "the lab has one Mac, so there is no link between Macs"),
    ] {
        let output = lab.lab(arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output).contains(said), "{}", text(&output));
    }
    assert_eq!(lab.status()["macs"], json!([]));
}

/// Three members of an etcd, two on one Mac: while the other Mac is cut off, those two go on and the third answers nothing.
#[test]
fn an_etcd_on_two_macs_outlives_the_loss_of_one() {
    let has_etcd =
        || has_tool("etcd", "no Mac is cut off from it") && has_tool("etcdctl", "etcd is not asked");
    if !is_long() || !has_lab() || !has_etcd() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let over = directory.path().join("over");
    let lab = Lab::up("mesh-etcd", &["--input", "tests/lab/etcd-macs.json"]);
    let mut command = Command::new("sh");
    command.args(["tests/lab/etcd.sh", &over.to_string_lossy()]).current_dir(root());
    command.env("PATH", with_program()).env("NIXVOL_LAB", lab.address()).stdout(Stdio::piped());
    let mut cluster = command.spawn().expect("a shell");
    let ask = |members: &[&str], arguments: &str| {
        let ends: Vec<String> = members.iter().map(|it| format!("http://{it}.nixvol:2379")).collect();
        let ends = ends.join(",");
        let output = lab.sh(
            "worker",
            &format!(
                "ETCDCTL_API=3 etcdctl --dial-timeout 1s --command-timeout 2s --endpoints {ends} {arguments}"
            ),
        );
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let (near, far) = (["etcd-1", "etcd-2"], ["etcd-3"]);
    let get = |members: &[&str]| ask(members, "get --print-value-only key");
    assert!(within(Duration::from_secs(60), || ask(&far, "put key before").is_some()), "no cluster");
    assert_eq!(get(&near).as_deref(), Some("before"));
    assert!(text(&lab.lab(&["partition", "macs.mini"])).contains("partition macs.mini"));
    assert!(within(Duration::from_secs(30), || ask(&near, "put key during").is_some()), "no quorum");
    assert_eq!(get(&near).as_deref(), Some("during"));
    assert_eq!(get(&far), None, "one of three answers nothing");
    assert!(lab.lab(&["heal"]).status.success());
    assert!(within(Duration::from_secs(30), || get(&far).as_deref() == Some("during")), "{}", lab.status());
    fs::write(&over, "").expect("a file");
    assert!(within(Duration::from_secs(30), || cluster.try_wait().expect("a shell").is_some()));
}
