//! The lab with real packets: namespaces, network stacks and programs, and that nothing remains when it ends.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nixvol_net::render::{ANCHOR, NETWORK};
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use serde_json::{Value, json};
use socket2::{Domain, Protocol, Socket, Type};

use crate::router::{Random, anything};
use crate::schema::validator_of;
use crate::support::{fixture, has_lab, is_long, program, rendered, root, run};

/// A lab that only this test uses, with a name of its own; it is torn down when the test ends.
pub struct Lab {
    name: String,
}

impl Lab {
    /// A lab that has not been started.
    pub fn nowhere(name: &str) -> Self {
        Self { name: format!("nixvol-net/test-{name}-{}", std::process::id()) }
    }

    pub fn up(name: &str, arguments: &[&str]) -> Self {
        let lab = Self::nowhere(name);
        let output = lab.lab(&[&["up"], arguments].concat());
        assert!(output.status.success(), "{}", text(&output));
        lab
    }

    /// Its socket address.
    pub fn address(&self) -> &str {
        &self.name
    }

    /// A `lab` command that addresses this lab.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.arg("lab").args(arguments).current_dir(root()).env("NIXVOL_LAB", &self.name);
        command
    }

    pub fn lab(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program runs")
    }

    /// Runs a shell script on a node.
    pub fn sh(&self, node: &str, script: &str) -> Output {
        self.lab(&["exec", node, "--", "sh", "-c", script])
    }

    pub fn status(&self) -> Value {
        let output = self.lab(&["status", "--format", "json"]);
        let status = serde_json::from_slice(&output.stdout).expect("JSON");
        let errors: Vec<String> =
            validator_of(&["lab", "status"]).iter_errors(&status).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:#?}");
        status
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.lab(&["down"]);
    }
}

pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

/// Polls until a condition holds; false if it does not within `patience`.
pub fn within(patience: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let ends = Instant::now() + patience;
    while !holds() {
        if Instant::now() > ends {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}

fn fixture_path(name: &str) -> String {
    format!("tests/fixtures/{name}.json")
}

/// The processes of this machine whose command line contains a word, as `PID ARGS` lines.
fn processes(word: &str) -> Vec<String> {
    let ps = Command::new("ps").args(["-e", "-o", "pid=,args="]).output().expect("ps runs");
    let lines = String::from_utf8(ps.stdout).expect("text");
    lines.lines().filter(|line| line.contains(word)).map(str::to_owned).collect()
}

/// The restricted fixture with etcd-2 as a guest, and a published port on etcd-1.
fn guests() -> Value {
    let mut input = fixture("restricted.json");
    input["volumes"]["etcd-2"]["attachment"] = json!("guest");
    input["volumes"]["etcd-1"]["localhost"] = json!("127.0.1.11");
    input["volumes"]["etcd-1"]["publish"] = json!([2379]);
    input
}

fn written(directory: &Path, name: &str, input: &Value) -> String {
    let path = directory.join(name);
    fs::write(&path, input.to_string()).expect("a file");
    path.to_string_lossy().into_owned()
}

fn bundle(directory: &Path, name: &str, input: &str) -> PathBuf {
    let out = directory.join(name);
    let rendered = run(&["render", "--input", input, "--out", &out.to_string_lossy()], "");
    assert!(rendered.status.success(), "{}", text(&rendered));
    out
}

#[test]
fn every_topology_behaves_as_explain_reports() {
    if !has_lab() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let guests = written(directory.path(), "guests.json", &guests());
    // A probe that gets no answer takes until its timeout, so the short run tries only some of the inputs.
    let names = ["single", "restricted-more", "conditions", "restricted", "rich", "ways"];
    let cases = ["masquerade-guest", "fragments", "public-space"]
        .map(|name| format!("tests/cases/public/{name}.json"));
    let (names, cases) = if is_long() { (&names[..], &cases[..]) } else { (&names[..3], &cases[..1]) };
    let names = names.iter().map(|name| fixture_path(name)).chain(cases.iter().cloned());
    let inputs = names.chain([guests]).map(Some).chain([None]);
    for input in inputs {
        let mut command = program();
        command.args(["lab", "test", "--format", "json"]).current_dir(root());
        command.args(input.iter().flat_map(|input| ["--input", input]));
        let output = command.output().expect("the program runs");
        assert!(output.status.success(), "{input:?}: {}", text(&output));
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let probes = told["probes"].as_array().expect("probes");
        assert_eq!(told["agrees"], true);
        assert!(probes.iter().all(|probe| probe["expected"] == probe["found"]), "{input:?}");
        let is_whole = |probe: &&Value| probe["trial"]["kind"] == "whole";
        let found: BTreeSet<&str> =
            probes.iter().filter(is_whole).filter_map(|probe| probe["found"].as_str()).collect();
        assert!(found.contains("connected") && found.contains("silence"), "{input:?}: {found:?}");
        let is_refusing = input.as_deref().is_some_and(|input| !input.contains("single"));
        // `refused` is not required where rules refuse, since macOS's pf cannot always answer; each probe was compared
        // with its own expectation above.
        assert!(is_refusing || !found.contains("refused"), "{input:?}: {found:?}");
        let trials: BTreeSet<&str> =
            probes.iter().filter_map(|probe| probe["trial"]["kind"].as_str()).collect();
        assert_eq!(
            trials,
            ["bridge-gone", "bridge-gone-and-reloaded", "forged", "whole"].into(),
            "{input:?}"
        );
        let is_cut = |probe: &&Value| probe["bytes"] == 4000 && is_whole(probe);
        let cut: BTreeSet<&str> =
            probes.iter().filter(is_cut).filter_map(|probe| probe["found"].as_str()).collect();
        assert!(cut.contains("connected") && cut.len() > 1, "{input:?}: {cut:?}");
        let kinds: BTreeSet<&str> = probes.iter().filter_map(|probe| probe["protocol"].as_str()).collect();
        assert_eq!(kinds, ["icmp", "tcp", "udp"].into(), "{input:?}");
        let ends = ["mac", "lan", "internet"];
        assert!(ends.iter().all(|end| probes.iter().any(|probe| probe["from"] == *end)), "{input:?}");
    }
}

#[test]
fn deviating_rules_are_found_by_probe_packets() {
    if !has_lab() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let bundle = bundle(directory.path(), "bundle", &fixture_path("restricted"));
    let anchor = bundle.join(ANCHOR);
    let rules = fs::read_to_string(&anchor).expect("rules");
    // Simulates an edit by hand that opens one more port.
    let wider = rules.replace("{ 2379:2380 }", "{ 2379:2381 }");
    assert_ne!(rules, wider);
    fs::write(&anchor, wider).expect("a file");
    let output = run(&["lab", "test", "--bundle", &bundle.to_string_lossy()], "");
    let told = text(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains(
            "DIFFERENCE: etcd-1 10.0.1.2 -> etcd-2 10.1.1.2 tcp 2381: connected, and `explain` says "
        ),
        "{told}"
    );
    assert!(told.contains("tcp S passed by") && told.contains("port 2379:2381 flags S/SA"), "{told}");
}

/// Leaks (after a bridge is gone) and forged sources are detected where a weakened ruleset lets them through.
#[test]
fn rules_that_allow_leaks_or_forgery_are_found() {
    if !has_lab() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let input = written(directory.path(), "guests.json", &guests());
    let bundle = bundle(directory.path(), "bundle", &input);
    let anchor = bundle.join(ANCHOR);
    let rules = fs::read_to_string(&anchor).expect("rules");
    for (label, seen, says) in [
        ("leak", "out en0", "what is meant for a volume never leaves this Mac another way"),
        ("forged:azure", "in bridge-azure", "a forged source gets nowhere"),
        ("forged:outside", "in en0", "a forged source gets nowhere"),
    ] {
        let label = format!("label \"{label}\"");
        let weaker: String =
            rules.lines().filter(|line| !line.contains(&label)).map(|line| line.to_owned() + "\n").collect();
        assert_ne!(rules, weaker);
        fs::write(&anchor, weaker).expect("a file");
        let output = run(&["lab", "test", "--bundle", &bundle.to_string_lossy()], "");
        let told = text(&output);
        assert_eq!(output.status.code(), Some(1), "{label}: {told}");
        assert!(told.contains("DIFFERENCE: ") && told.contains(says), "{label}: {told}");
        assert!(told.contains(&format!("  {seen}: ")), "{label}: {told}");
    }
}

#[test]
fn lab_run_executes_a_command_as_the_mac_and_returns_its_exit_code() {
    if !has_lab() {
        return;
    }
    let run = |arguments: &[&str]| {
        run(&[&["lab", "run", "--input", "tests/fixtures/single.json"], arguments].concat(), "")
    };
    assert_eq!(run(&["--", "sh", "-c", "exit 7"]).status.code(), Some(7));
    assert_eq!(run(&["--", "sh", "-c", "kill -9 $$"]).status.code(), Some(137));
    let missing = run(&["--", "no-such-command"]);
    assert_eq!(missing.status.code(), Some(127));
    assert!(text(&missing).contains("cannot run no-such-command"), "{}", text(&missing));
    let output = run(&["--", "sh", "-c", "cat && ip -o -4 addr show dev eth0"]);
    assert!(text(&output).contains("192.0.2.10/32"), "{}", text(&output));
    // An invalid declaration starts no lab.
    let bad =
        crate::support::run(&["lab", "run", "--input", "tests/fixtures/overlap.json", "--", "true"], "");
    assert_eq!(bad.status.code(), Some(2));
    assert!(text(&bad).contains("error[E025]"));
}

#[test]
fn it_works_in_a_user_namespace() {
    if !has_lab() {
        return;
    }
    let output = Command::new("unshare")
        .args([
            "-Urn",
            env!("CARGO_BIN_EXE_nixvol-net"),
            "lab",
            "run",
            "--input",
            "tests/fixtures/single.json",
            "--",
        ])
        .args([
            "sh",
            "-c",
            "\"$0\" lab exec etcd-1 -- ping -c 1 -W 5 internet",
            env!("CARGO_BIN_EXE_nixvol-net"),
        ])
        .current_dir(root())
        .output()
        .expect("unshare runs");
    assert!(output.status.success(), "{}", text(&output));
}

/// An unprivileged user needs nothing of root where /dev/net/tun is world-accessible, as distributions ship it: neither
/// in a user namespace of their own nor in the one that the lab makes.
#[test]
fn it_works_for_a_user_who_is_not_root() {
    if !has_lab() || !rustix::process::geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("a directory for all");
    fs::copy(env!("CARGO_BIN_EXE_nixvol-net"), at("nixvol-net")).expect("the program");
    fs::write(at("input.json"), fixture("single.json").to_string()).expect("a declaration");
    let script = "set -e; cd \"$1\"; mknod tun c 10 200; chmod 666 tun; mount --bind tun /dev/net/tun
        for own in '' 'unshare -Urn'; do
            setpriv --reuid 65534 --regid 65534 --clear-groups $own ./nixvol-net lab test --input input.json
        done";
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", script, "sh"])
        .arg(directory.path())
        .output()
        .expect("unshare runs");
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(text(&output).matches("no difference").count(), 2, "{}", text(&output));
}

#[test]
fn up_exec_status_and_down() {
    if !has_lab() {
        return;
    }
    let lab = Lab::up("up", &["--input", "tests/fixtures/restricted-more.json"]);
    let again = lab.lab(&["up"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again).contains("a lab is up already\nhint: "), "{}", text(&again));
    // Names and addresses resolve, and packets get through.
    let hosts = lab.sh("etcd-1", "cat /etc/hosts");
    let bundle = rendered(&fixture("restricted-more.json")).files["hosts"].text.clone();
    assert!(text(&hosts).contains(&bundle), "{}", text(&hosts));
    let ping = lab.sh("etcd-1", "ping -c 1 -W 5 etcd-1.nixvol && ping -c 1 -W 5 internet");
    assert!(ping.status.success(), "{}", text(&ping));
    assert_eq!(lab.sh("etcd-1", "exit 3").status.code(), Some(3));
    // A command keeps the caller's directory, and `lab exec` works from inside the lab.
    assert_eq!(text(&lab.sh("etcd-1", "pwd")).trim(), root().to_string_lossy());
    let inner = lab.sh(
        "etcd-1",
        &format!("{} lab exec etcd-2 -- ip -o -4 addr show dev eth0", env!("CARGO_BIN_EXE_nixvol-net")),
    );
    assert!(text(&inner).contains("10.1.1.2/32"), "{}", text(&inner));
    let wrong = lab.lab(&["exec", "etcd-9", "--", "true"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        text(&wrong).contains("the lab has no host `etcd-9`\nhint: did you mean `etcd-"),
        "{}",
        text(&wrong)
    );
    let status = lab.status();
    assert_eq!(status["nodes"].as_array().map(Vec::len), Some(6));
    assert!(status["delivered"].as_u64() > Some(0) && status["rules"].as_u64() > Some(5), "{status}");
    assert!(text(&lab.lab(&["status"])).contains("etcd-1    aws"), "{}", text(&lab.lab(&["status"])));
    assert_eq!(lab.lab(&["down"]).status.code(), Some(0));
    assert_eq!(lab.lab(&["down"]).status.code(), Some(0));
    let gone = lab.lab(&["status"]);
    assert_eq!((gone.status.code(), text(&gone).as_str()), (Some(1), "no lab is up\n"));
    let exec = lab.lab(&["exec", "etcd-1", "--", "true"]);
    assert_eq!(exec.status.code(), Some(2));
    assert!(text(&exec).contains("no lab is up\nhint: "), "{}", text(&exec));
}

#[test]
fn nothing_is_left_when_it_is_killed() {
    if !has_lab() {
        return;
    }
    let before = (interfaces(), mounts());
    let lab = Lab::up("kill", &["--input", "tests/fixtures/single.json"]);
    let mark = format!("sleep 8{}", std::process::id());
    let mut stays: Child = lab
        .command(&["exec", "etcd-1", "--", "sh", "-c", &format!("{mark} & setsid {mark} & wait")])
        .spawn()
        .expect("it starts");
    assert!(within(Duration::from_secs(10), || processes(&mark)
        .iter()
        .filter(|line| line.contains("sleep 8") && !line.contains("sh -c"))
        .count()
        >= 2));
    assert_eq!((interfaces(), mounts()), before, "the host sees nothing of it");
    // The router process plays the Mac; killing it must take everything down.
    let router = router_of(&lab);
    assert!(Command::new("kill").args(["-9", &router]).status().expect("kill runs").success());
    assert!(within(Duration::from_secs(10), || processes(&mark).is_empty()), "{:?}", processes(&mark));
    let _ = stays.wait();
    assert_eq!((interfaces(), mounts()), before);
    // Until its socket is gone, `status` finds a lab that does not answer.
    assert!(within(Duration::from_secs(10), || lab.lab(&["status"]).status.code() == Some(1)));
}

/// The pid of the process that serves this lab, found by the lab's name in its environment.
fn router_of(lab: &Lab) -> String {
    let routers = processes("lab serve").into_iter().filter_map(|line| {
        let pid = line.split_whitespace().next()?.to_owned();
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        String::from_utf8_lossy(&environment).contains(&lab.name).then_some(pid)
    });
    let routers: Vec<String> = routers.collect();
    assert_eq!(routers.len(), 1, "{routers:?}");
    routers[0].clone()
}

fn interfaces() -> String {
    let ip = Command::new("ip").args(["-o", "addr"]).output().expect("ip runs");
    String::from_utf8_lossy(&ip.stdout).into_owned()
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mounts").expect("mounts")
}

#[test]
fn rules_change_under_open_connections() {
    if !has_lab() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let before = bundle(directory.path(), "before", &fixture_path("restricted-more"));
    let after = bundle(directory.path(), "after", &fixture_path("restricted"));
    let foreign = bundle(directory.path(), "foreign", &fixture_path("single"));
    let lab = Lab::up("apply", &["--bundle", &before.to_string_lossy()]);
    let mut kept = talk(&lab, directory.path(), "kept", ("mac", "etcd-2"));
    let mut cut = talk(&lab, directory.path(), "cut", ("etcd-1", "etcd-3"));
    // `apply` accepts a bundle that differs only in its rules.
    let refused = lab.lab(&["apply", &foreign.to_string_lossy()]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused).contains("hint: `lab down` and `lab up` with it"), "{}", text(&refused));
    let applied = lab.lab(&["apply", &after.to_string_lossy()]);
    assert!(applied.status.success() && text(&applied).contains("rules loaded"), "{}", text(&applied));
    assert!(kept.says("one") && cut.says("two"), "states survive");
    let applied = lab.lab(&["apply", &after.to_string_lossy(), "--kill"]);
    // A connection across a link has two states, from passing out on lo0 and in on lo0; within a provider there are
    // none.
    assert!(text(&applied).contains(", 2 states killed, 0 states stay"), "{}", text(&applied));
    assert!(kept.says("three") && !cut.says("four"));
    // Applying the same rules again kills nothing.
    let applied = lab.lab(&["apply", &after.to_string_lossy(), "--kill"]);
    assert!(text(&applied).contains(", 0 states killed"), "{}", text(&applied));
    assert!(kept.says("five"));
    // Rules that do not match the bundle's declaration are never loaded.
    let anchor = after.join(ANCHOR);
    fs::write(&anchor, fs::read_to_string(&anchor).expect("rules").replace("block return", "pass"))
        .expect("a file");
    let refused = lab.lab(&["apply", &after.to_string_lossy()]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
}

/// A TCP connection that stays open: the server appends each line that it receives to a file.
struct Talk {
    client: Child,
    heard: PathBuf,
    server: Child,
}

/// Opens a connection between two nodes. Client and server are this test binary itself, which saves a tool.
fn talk(lab: &Lab, directory: &Path, name: &str, (from, to): (&str, &str)) -> Talk {
    let heard = directory.join(name);
    let myself = std::env::current_exe().expect("this binary");
    let spawn = |node: &str, role: &str| {
        let mut command = lab.command(&["exec", node, "--"]);
        command.arg(&myself).args(["--exact", &format!("lab::{role}"), "--ignored", "--nocapture"]);
        command
            .env("TALK_HEARD", &heard)
            .env("TALK_TO", address_of(to))
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        command.spawn().expect("it starts")
    };
    let server = spawn(to, "the_end_that_hears");
    assert!(within(Duration::from_secs(20), || heard.exists()), "nobody listens");
    let mut talk = Talk { client: spawn(from, "the_end_that_speaks"), heard, server };
    assert!(talk.says("hello"), "no connection");
    talk
}

fn address_of(volume: &str) -> String {
    let number: u8 = volume.trim_start_matches("etcd-").parse().expect("a number");
    format!("10.{}.1.2:2379", number - 1)
}

impl Talk {
    /// Sends a line; returns whether the server received it.
    fn says(&mut self, line: &str) -> bool {
        use std::io::Write;
        let input = self.client.stdin.as_mut().expect("a pipe");
        if writeln!(input, "{line}").and_then(|()| input.flush()).is_err() {
            return false;
        }
        within(Duration::from_secs(3), || {
            fs::read_to_string(&self.heard).is_ok_and(|heard| heard.contains(line))
        })
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        drop(self.client.stdin.take());
        let _ = self.client.kill();
        let _ = self.client.wait();
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
#[ignore = "runs inside a lab"]
fn the_end_that_hears() {
    use std::io::{BufRead, BufReader, Write};
    let (Ok(heard), Ok(to)) = (std::env::var("TALK_HEARD"), std::env::var("TALK_TO")) else { return };
    let listener = std::net::TcpListener::bind(to).expect("it listens");
    let mut file = fs::File::create(heard).expect("a file");
    let (stream, _) = listener.accept().expect("somebody comes");
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        writeln!(file, "{line}").expect("written");
    }
}

#[test]
#[ignore = "runs inside a lab"]
fn the_end_that_speaks() {
    use std::io::Write;
    let Ok(to) = std::env::var("TALK_TO") else { return };
    let mut stream = std::net::TcpStream::connect(to).expect("a connection");
    for line in std::io::stdin().lines().map_while(Result::ok) {
        if writeln!(stream, "{line}").is_err() {
            return;
        }
    }
}

#[test]
fn a_partition_cuts_and_heals() {
    if !has_lab() {
        return;
    }
    let lab = Lab::up("partition", &[]);
    let reaches = |to: &str| lab.sh("etcd-1", &format!("ping -c 1 -W 2 {to}.nixvol")).status.success();
    assert!(reaches("etcd-2") && reaches("etcd-3"));
    let cut = lab.lab(&["partition", "aws", "azure"]);
    assert_eq!(text(&cut), "partition aws azure, until it is healed\n");
    assert!(!reaches("etcd-2") && reaches("etcd-3"));
    assert!(
        text(&lab.lab(&["status"])).contains("cut off from etcd-2, karpenter-worker-2"),
        "{}",
        text(&lab.lab(&["status"]))
    );
    assert!(lab.lab(&["partition", "etcd-1"]).status.success());
    assert!(!reaches("etcd-3") && !reaches("talos-control-plane-1"));
    // A volume of its provider is less than what was cut; the provider means its volumes too.
    assert_eq!(
        text(&lab.lab(&["heal", "etcd-1", "gcp"])),
        "there is nothing to heal between etcd-1 and gcp\n"
    );
    assert!(!reaches("etcd-3"));
    let healed = text(&lab.lab(&["heal", "aws"]));
    assert_eq!(healed, "partition aws azure: healed\npartition etcd-1: healed\n");
    assert_eq!(text(&lab.lab(&["heal"])), "there is nothing to heal\n");
    assert!(reaches("etcd-2") && reaches("etcd-3"));
    // A volume and its own provider: all the others of it. One endpoint: not the internet, and not this Mac.
    assert!(lab.lab(&["partition", "etcd-1", "aws"]).status.success());
    assert!(!reaches("karpenter-worker-1") && reaches("etcd-2"));
    assert!(lab.lab(&["heal"]).status.success());
    assert!(lab.lab(&["partition", "etcd-1", "--for", "1h30m"]).status.success());
    let ping = |to: &str| lab.sh("etcd-1", &format!("ping -c 1 -W 2 {to}")).status.success();
    assert!(ping("internet") && !reaches("karpenter-worker-1") && !reaches("etcd-2"));
    assert!(text(&lab.lab(&["status"])).contains("partition  etcd-1 <-> all others, for 5"));
    assert!(lab.lab(&["heal"]).status.success());
    for (args, why) in [
        (vec!["partition", "awz"], "this network has no provider or volume awz\nhint: did you mean `aws`?"),
        (vec!["partition", "aws", "lan"], "this network has no provider or volume lan"),
        (vec!["heal", "aws", "nowhere-at-all"], "this network has no provider or volume nowhere-at-all"),
        (vec!["partition", "aws", "aws"], "both endpoints are aws"),
        (vec!["slow", "etcd-2", "etcd-2", "--latency", "5"], "both endpoints are etcd-2"),
        (vec!["partition", "aws", "--for", "1.5"], "it takes a time such as 30, 30s or 1m30s"),
    ] {
        let wrong = lab.lab(&args);
        assert_eq!(wrong.status.code(), Some(2), "{args:?}");
        assert!(text(&wrong).contains(why), "{args:?}: {}", text(&wrong));
    }
    assert!(reaches("etcd-2"), "what was refused has cut something");
}

#[test]
fn status_excludes_expired_states() {
    if !has_lab() {
        return;
    }
    let lab = Lab::up("states", &[]);
    let states = || {
        let status = lab.lab(&["status", "--format", "json"]);
        let status: Value = serde_json::from_slice(&status.stdout).expect("JSON");
        status["states"].as_u64().expect("a number")
    };
    assert!(lab.sh("etcd-1", "ping -c 1 -W 2 etcd-2.nixvol").status.success());
    assert!(states() > 0);
    // No more packets arrive, so only the status query advances the router's clock. icmp.error lasts 10 s, and the
    // purge visits every state once in 10 s.
    let patience = std::time::Instant::now();
    while states() > 0 {
        assert!(patience.elapsed().as_secs() < 60, "{} states", states());
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
}

/// Links with a different latency each: from aws, from one of its volumes, and between azure and gcp, where some
/// volumes are guests.
fn slow() -> Value {
    let link = |from: &str, to: &str, ms: u16| json!({ "from": [from], "to": [to], "protocol": "icmp", "conditions": { "latencyMs": ms } });
    let volume = |provider: &str, address: &str, attachment: &str| json!({ "provider": provider, "address": address, "attachment": attachment });
    let mut input = fixture("restricted.json");
    input["volumes"]["api"] = volume("aws", "10.0.1.3", "host");
    input["volumes"]["worker"] = volume("azure", "10.1.1.3", "guest");
    input["volumes"]["talos"] = volume("gcp", "10.2.1.3", "guest");
    input["links"] = json!([
        link("aws", "azure", 100),
        link("etcd-1", "azure", 30),
        link("azure", "gcp", 60),
        link("gcp", "azure", 140),
    ]);
    input
}

/// The shorter of two round-trip times, in milliseconds.
fn round_trip(lab: &Lab, from: &str, to: &str) -> f64 {
    let to = if to == "internet" { to.to_owned() } else { format!("{to}.nixvol") };
    let ping = text(&lab.sh(from, &format!("ping -c 2 -i 0.2 -W 5 {to}")));
    ping.rsplit_once(" = ")
        .and_then(|(_, times)| times.split('/').next()?.parse().ok())
        .unwrap_or_else(|| panic!("{from} {to}: {ping}"))
}

/// Checks for each (source, destination) that its round-trip time is the expected latency in milliseconds, with 29 ms
/// of tolerance.
fn feel(lab: &Lab, expected: &[(&str, &str, f64)]) {
    for (from, to, least) in expected {
        let time = round_trip(lab, from, to);
        assert!((*least..least + 29.0).contains(&time), "{from} -> {to}: {time} ms, and not {least}");
    }
}

#[test]
fn declared_latency_is_measurable() {
    if !has_lab() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let input = written(directory.path(), "slow.json", &slow());
    let lab = Lab::up("slow", &["--input", &input]);
    feel(
        &lab,
        &[
            // On lo0 pf sees a packet twice, but delays it once; replies of a one-way link have no pipe.
            ("api", "etcd-2", 100.0),
            // The more specific link takes precedence, in its own direction.
            ("etcd-1", "etcd-2", 30.0),
            ("etcd-1", "worker", 30.0),
            // From a guest to the Mac, from the Mac to a guest, and between guests: one delay in each direction.
            ("worker", "etcd-3", 200.0),
            ("etcd-3", "worker", 200.0),
            ("worker", "talos", 200.0),
            ("talos", "etcd-2", 200.0),
            // Paths without conditions.
            ("etcd-1", "api", 0.0),
            ("worker", "etcd-2", 0.0),
            ("api", "internet", 0.0),
        ],
    );
    let status = lab.status();
    assert_eq!(
        status["pipes"][3],
        json!({ "number": 20003, "mac": null, "conditions": "30 ms", "way": "etcd-1 -> azure" }),
        "{status}"
    );
    // A slow path takes the place of the link's conditions, and the latest one that of the others.
    for (args, ms) in [(["etcd-1", "azure", "60"], 120.0), (["aws", "azure", "10"], 20.0)] {
        assert!(lab.lab(&["slow", args[0], args[1], "--latency", args[2]]).status.success());
        feel(&lab, &[("etcd-1", "etcd-2", ms)]);
    }
    assert!(lab.lab(&["heal", "aws"]).status.success());
    feel(&lab, &[("etcd-1", "etcd-2", 30.0)]);
    let told = text(&lab.lab(&["status"]));
    assert!(told.contains("\n  pipe 20000  aws -> azure: 100 ms\n  pipe 20001  "), "{told}");
}

#[test]
fn the_rules_cause_the_delay() {
    if !has_lab() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let input = written(directory.path(), "slow.json", &slow());
    let bundle = bundle(directory.path(), "bundle", &input);
    let anchor = fs::read_to_string(bundle.join(ANCHOR)).expect("rules");
    let without = |name: &str, start: &str| {
        let kept = anchor.lines().filter(|line| !line.starts_with(start)).map(|line| line.to_owned() + "\n");
        fs::write(bundle.join(ANCHOR), kept.collect::<String>()).expect("a file");
        Lab::up(name, &["--bundle", &bundle.to_string_lossy()])
    };
    // Without the rules that match what arrives from a guest for the Mac.
    let lab = without("rules-in", "dummynet in quick on ! lo0 ");
    feel(&lab, &[("worker", "etcd-3", 140.0), ("etcd-3", "worker", 140.0), ("worker", "talos", 200.0)]);
    drop(lab);
    let lab = without("rules-none", "dummynet ");
    feel(
        &lab,
        &[
            ("api", "etcd-2", 0.0),
            ("etcd-1", "worker", 0.0),
            ("worker", "etcd-3", 0.0),
            ("worker", "talos", 0.0),
        ],
    );
}

#[test]
fn loss_and_bandwidth_take_effect_and_can_be_changed() {
    if !has_lab() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let bundled = |name: &str, conditions: &Value| {
        let mut input = slow();
        input["links"][0]["conditions"] = conditions.clone();
        let input = written(directory.path(), &format!("{name}.json"), &input);
        bundle(directory.path(), name, &input).to_string_lossy().into_owned()
    };
    let lossy = bundled("lossy", &json!({ "loss": 0.5 }));
    let narrow = bundled("narrow", &json!({ "bandwidthKbit": 96 }));
    let none = bundled("none", &Value::Null);
    let lab = Lab::up("like", &["--bundle", &lossy]);
    let lost = || {
        let ping = text(&lab.sh("api", "ping -c 40 -i 0.01 -W 1 etcd-2.nixvol"));
        let received =
            ping.split(" transmitted, ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
        received.map_or_else(|| panic!("{ping}"), |received: u32| 40 - received)
    };
    // The pipe's random sequence is deterministic, so the number of losses among forty packets is the same in every
    // run.
    let first = lost();
    assert!((10..=30).contains(&first), "{first}");
    let applied = |bundle: &str| {
        let output = lab.lab(&["apply", bundle]);
        assert!(output.status.success(), "{}", text(&output));
    };
    applied(&lossy);
    assert_eq!(lost(), first, "the pipe is another, and its sequence begins again");
    // 1,200 bytes take 100 ms at 96 kbit/s, and packets sent back to back queue behind each other.
    applied(&narrow);
    assert_eq!(lab.status()["pipes"][0]["conditions"], "96 kbit/s");
    let ping = text(&lab.sh("api", "ping -c 3 -l 3 -s 1172 -W 5 etcd-2.nixvol"));
    let times: Vec<f64> =
        ping.lines().filter_map(|line| line.split_once("time=")?.1.split(' ').next()?.parse().ok()).collect();
    let [one, two, three] = times[..] else { panic!("{ping}") };
    assert!((100.0..130.0).contains(&one), "{ping}");
    assert!((190.0..230.0).contains(&two) && (290.0..330.0).contains(&three), "{ping}");
    applied(&none);
    feel(&lab, &[("api", "etcd-2", 0.0), ("etcd-1", "etcd-2", 30.0)]);
    assert_eq!(lab.status()["pipes"].as_array().map(Vec::len), Some(3));
}

#[test]
fn lab_test_works_under_extreme_conditions() {
    if !has_lab() {
        return;
    }
    let mut input = fixture("restricted.json");
    input["links"][0]["conditions"] = json!({ "latencyMs": 10_000, "loss": 1, "bandwidthKbit": 1 });
    let output = run(&["lab", "test", "--input", "-"], &input.to_string());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("no difference: "), "{}", text(&output));
    // A pipe that does not exist drops everything.
    let directory = tempfile::tempdir().expect("a directory");
    let input = written(directory.path(), "input.json", &input);
    let bundle = bundle(directory.path(), "bundle", &input);
    let anchor = fs::read_to_string(bundle.join(ANCHOR)).expect("rules");
    fs::write(bundle.join(ANCHOR), anchor.replace("pipe 20000\n", "pipe 20007\n")).expect("a file");
    let output = run(&["lab", "test", "--bundle", &bundle.to_string_lossy()], "");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(
        text(&output).contains("; through pipe 20007 (not there); then lost, by the link's conditions"),
        "{}",
        text(&output)
    );
}

#[test]
fn a_capture_has_every_packet_with_the_rule_that_decided() {
    if !has_lab() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("link.pcapng");
    let lab = Lab::up("capture", &["--input", "tests/fixtures/restricted.json"]);
    let mut capture = lab
        .command(&["capture", "links.0", "--out", &file.to_string_lossy()])
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    assert!(within(Duration::from_secs(10), || fs::metadata(&file).is_ok_and(|file| file.len() > 0)));
    // etcd-1 and etcd-2 are joined by a link for etcd's ports only, so the ping is refused; etcd-3 is not part of the
    // link.
    let _ = lab.sh("etcd-1", "ping -c 1 -W 1 etcd-2.nixvol; ping -c 1 -W 1 etcd-3.nixvol");
    let read = || comments(&file);
    assert!(within(Duration::from_secs(10), || !read().is_empty()), "nothing was captured");
    thread::sleep(Duration::from_millis(300));
    capture.kill().expect("it ends");
    let _ = capture.wait();
    let packets = read();
    // It passes out on lo0, and is refused in on lo0.
    let [(first, passed, _), (interface, comment, bytes)] = packets.as_slice() else { panic!("{packets:?}") };
    assert!(passed.starts_with("passed by pf/anchor.conf:"), "{passed}");
    // The capture records each hook as an interface of its own.
    assert_eq!([first.as_str(), interface.as_str()], ["lo0 out", "lo0 in"]);
    assert!(comment.starts_with("blocked with an answer by pf/anchor.conf:"), "{comment}");
    assert!(
        comment.contains("block return quick inet from <nixvol> to <nixvol> label \"between\""),
        "{comment}"
    );
    let datagram = nixvol_net::wire::read(bytes).expect("a packet");
    assert_eq!(
        (datagram.source(), datagram.destination()),
        (Ipv4Addr::new(10, 0, 1, 2), Ipv4Addr::new(10, 1, 1, 2))
    );
    let wrong = lab.lab(&["capture", "links.7"]);
    assert_eq!(wrong.status.code(), Some(2));
    // The packet goes through a pipe, once, on lo0.
    let slow = written(directory.path(), "slow.json", &slow());
    let through = Lab::up("capture-slow", &["--input", &slow]);
    let file_of_pipe = directory.path().join("pipe.pcapng");
    let mut capture = through
        .command(&["capture", "etcd-1", "--out", &file_of_pipe.to_string_lossy()])
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    assert!(within(Duration::from_secs(10), || fs::metadata(&file_of_pipe).is_ok_and(|file| file.len() > 0)));
    let _ = through.sh("etcd-1", "ping -c 1 -W 5 etcd-2.nixvol");
    assert!(
        within(Duration::from_secs(10), || comments(&file_of_pipe).len() == 4),
        "a question and an answer"
    );
    capture.kill().expect("it ends");
    let _ = capture.wait();
    let told: Vec<bool> = comments(&file_of_pipe)
        .iter()
        .map(|(_, comment, _)| comment.ends_with("; through pipe 20003 (30 ms)"))
        .collect();
    assert_eq!(told, [true, false, false, false], "{:?}", comments(&file_of_pipe));
    // Also read it with Wireshark's own reader, if tshark is installed.
    if let Ok(told) =
        Command::new("tshark").arg("-r").arg(&file).args(["-T", "fields", "-e", "frame.comment"]).output()
    {
        assert_eq!(String::from_utf8_lossy(&told.stdout).trim(), comment.as_str(), "{}", text(&told));
    }
}

/// Interface, comment and bytes of every packet that the capture file holds so far.
pub fn comments(file: &Path) -> Vec<(String, String, Vec<u8>)> {
    use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
    let Ok(mut reader) =
        fs::File::open(file).map_err(drop).and_then(|file| PcapNgReader::new(file).map_err(drop))
    else {
        return Vec::new();
    };
    let (mut names, mut packets) = (Vec::new(), Vec::new());
    while let Some(Ok(block)) = reader.next_block() {
        match block {
            Block::InterfaceDescription(interface) => {
                assert_eq!(interface.linktype, pcap_file::DataLink::IPV4, "tcpdump reads no other with two");
                names.extend(interface.options.iter().filter_map(|option| match option {
                    InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
                    _ => None,
                }));
            }
            Block::EnhancedPacket(packet) => {
                let comment = packet.options.iter().find_map(|option| match option {
                    EnhancedPacketOption::Comment(comment) => Some(comment.to_string()),
                    _ => None,
                });
                let interface = names[usize::try_from(packet.interface_id).expect("small")].clone();
                packets.push((interface, comment.expect("a comment"), packet.data.to_vec()));
            }
            _ => {}
        }
    }
    packets
}

/// Sends malformed packets for [`broken_packets_through_a_real_device`]; does nothing when run by itself.
#[test]
#[ignore = "runs inside a lab"]
fn the_end_that_throws() {
    let Ok(seed) = std::env::var("THROW_SEED") else { return };
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).expect("a raw socket");
    socket.set_header_included_v4(true).expect("its own headers");
    let mut random = Random(seed.parse().expect("a number"));
    let own: Ipv4Addr = std::env::var("THROW_FROM").expect("an address").parse().expect("an address");
    let targets = [[10, 0, 1, 2], [10, 1, 1, 2], [10, 2, 1, 2], [10, 0, 1, 1]].map(Ipv4Addr::from);
    let mut thrown = 0;
    while thrown < 100_000 {
        let bytes = anything(&mut random, &[own], &targets);
        let to = SocketAddrV4::new(targets[random.below(targets.len())], 0).into();
        // The kernel fixes some header fields, and rejects what is no packet at all.
        if socket.send_to(&bytes, &to).is_ok() {
            thrown += 1;
        }
    }
    println!("thrown {thrown}");
}

#[test]
fn broken_packets_through_a_real_device() {
    if !has_lab() {
        return;
    }
    let lab = Lab::up("broken", &["--input", "tests/fixtures/restricted.json"]);
    let before = received(&lab, "etcd-3");
    let myself = std::env::current_exe().expect("this binary");
    for (node, from) in [("etcd-1", "10.0.1.2"), ("lan", "192.0.2.77")] {
        let mut command = lab.command(&["exec", node, "--"]);
        command.arg(&myself).args(["--exact", "lab::the_end_that_throws", "--ignored", "--nocapture"]);
        let output = command.env("THROW_SEED", "11").env("THROW_FROM", from).output().expect("it runs");
        assert!(text(&output).contains("thrown 100000"), "{}", text(&output));
    }
    let status = lab.status();
    let count = |field: &str| status[field].as_u64().expect("a number");
    assert!(count("delivered") + count("blocked") + count("dropped") > 10_000, "{status}");
    // gcp has no link with any provider, so only refusals (a RST, an ICMP error) reach it, and its stack still works.
    let reached = received(&lab, "etcd-3") - before;
    assert!(reached < 1000, "{reached} packets of 200000");
    assert!(lab.sh("etcd-3", "ping -c 1 -W 5 internet").status.success());
}

/// How many packets a node's interface has received.
fn received(lab: &Lab, node: &str) -> u64 {
    let output = lab.sh(node, "cat /proc/net/dev");
    let text = text(&output);
    let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:")).expect("the device");
    line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number")
}

#[test]
fn guests_are_configured_as_their_files_say() {
    if !has_lab() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let input = written(directory.path(), "guests.json", &guests());
    let bundle = bundle(directory.path(), "bundle", &input);
    assert!(bundle.join(NETWORK).is_file());
    let lab = Lab::up("guests", &["--bundle", &bundle.to_string_lossy()]);
    let file = bundle.join("guests/etcd-2/05-nixvol.network");
    let networkd = ini(&fs::read_to_string(file).expect("a file"));
    let said = |section: &str, key: &str| {
        let found = networkd.iter().find(|(in_, name, _)| (in_.as_str(), name.as_str()) == (section, key));
        found.map_or_else(|| panic!("no {key}"), |(_, _, value)| value.clone())
    };
    let output = lab.sh("etcd-2", "ip -o -4 addr show dev eth0; ip route");
    let has = text(&output);
    assert!(has.contains(&format!("inet {} ", said("Network", "Address"))), "{has}");
    let gateway = said("Route", "Gateway");
    assert_eq!(said("Route", "Destination"), "0.0.0.0/0");
    assert!(has.contains(&format!("default via {gateway} dev eth0")), "{has}");
    assert!(has.contains(&format!("{gateway} dev eth0 scope link")), "{has}");
    // ifupdown's file has the same address and gateway.
    let interfaces = fs::read_to_string(bundle.join("guests/etcd-2/interfaces")).expect("a file");
    let word = |name: &str| {
        interfaces
            .lines()
            .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(' '))
            .expect("a value")
            .to_owned()
    };
    assert_eq!((word("address"), word("gateway")), (said("Network", "Address"), gateway));
}

/// Section, key and value of each line of a systemd unit file.
fn ini(text: &str) -> Vec<(String, String, String)> {
    let mut section = String::new();
    let mut values = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            name.clone_into(&mut section);
        } else if let Some((key, value)) = line.split_once('=') {
            values.push((section.clone(), key.to_owned(), value.to_owned()));
        }
    }
    values
}

#[test]
fn without_the_link_etcd_forms_no_cluster() {
    if !has_lab() {
        return;
    }
    let mut command = program();
    command.args(["lab", "run", "--input", "tests/lab/etcd-without-peers.json", "--", "tests/lab/etcd.sh"]);
    let here = Path::new(env!("CARGO_BIN_EXE_nixvol-net")).parent().expect("a directory");
    let path = format!("{}:{}", here.display(), std::env::var("PATH").expect("a PATH"));
    let output =
        command.env("PATH", path).env("PATIENCE", "2").current_dir(root()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert_eq!(text(&output), "no cluster: the members do not reach each other\n");
    let why = run(&["explain", "etcd-1", "etcd-2:2380", "--input", "tests/lab/etcd-without-peers.json"], "");
    assert!(text(&why).contains("block return quick") && text(&why).contains("links.0  has other ports"));
}
