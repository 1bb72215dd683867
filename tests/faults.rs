//! Whatever single command fails, or is the last one before death: the next run converges, cleanup leaves
//! nothing behind, and nothing foreign is touched.
//!
//! Each story is one run of the manager. At one of its commands something strikes; then `reconcile` must bring
//! the Mac to what a run that nothing disturbed leaves, and `cleanup` to what was before. The network of one
//! volume is struck at every command; the default topology at some, and with `NIXVOL_LONG` at every one too, in every way.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::network::{HOSTS, Kept, Network, topology};
use crate::rig::{Call, Ran, TUNNELS, foreign, settled};
use crate::support::{fixture, is_long, run};

/// What can strike: the command fails, the run dies before or after it, the machine restarts there.
const KINDS: [&str; 4] = ["fail", "kill-before", "kill-after", "power"];
/// From there on no file of the manager grows beyond so many bytes: a disk that is full, at any byte of any write.
const FULL: [&str; 6] = ["full:0", "full:50", "full:90", "full:300", "full:900", "full:3000"];
/// And what another program may do in between: it takes all pipes of dummynet away.
const FLUSH: &str = "flush";
/// How many commands of a story are struck on the default topology, for each kind, when time is short.
const SPREAD: usize = 2;

/// One volume that has everything a volume can have.
fn tiny() -> Value {
    json!({
        "version": 1,
        "providers": { "aws": { "network": "10.0.0.0/16", "gateway": "10.0.1.1/24" } },
        "volumes": { "etcd-1": { "provider": "aws", "address": "10.0.1.2", "localhost": "127.0.1.11" } },
    })
}

/// The same with a second provider, and conditions each way between both: two pipes.
fn slow() -> Value {
    let mut input = tiny();
    input["providers"]["gcp"] = json!({ "network": "10.2.0.0/16", "gateway": "10.2.1.1/24" });
    let conditions = json!({ "latencyMs": 40, "loss": 0.01, "bandwidthKbit": 100_000 });
    input["links"] =
        json!([{ "from": ["aws"], "to": ["gcp"], "bidirectional": true, "conditions": conditions }]);
    input
}

/// The same on the first of two Macs, with a third provider on the other.
fn meshed() -> Value {
    let macs = &fixture("macs.json")["macs"];
    let mut input = tiny();
    input["providers"]["gcp"] = json!({ "network": "10.2.0.0/16", "gateway": "10.2.1.1/24" });
    input["providers"]["ibm"] = json!({ "network": "10.3.0.0/16", "gateway": "10.3.1.1/24" });
    input["volumes"]["db"] = json!({ "provider": "gcp", "address": "10.2.1.2", "localhost": "127.0.1.12" });
    input["links"] = json!([{ "from": ["aws"], "to": ["gcp", "ibm"], "bidirectional": true }]);
    input["mac"] = json!("studio");
    input["macs"] = json!({ "studio": macs["studio"], "mini": macs["mini"] });
    input["macs"]["studio"]["providers"] = json!(["aws", "gcp"]);
    input["macs"]["mini"]["providers"] = json!(["ibm"]);
    input
}

/// The tunnel is there, also behind a restart, but none of its routes.
fn join(network: &Network) {
    let tunnel = format!("if\t{}\t77\t1\t1\t1420\t\t\t\t100.127.0.1/32/100.127.0.1", TUNNELS[0]);
    network.mac.add(&tunnel);
    let boot = network.mac.root().join("boot");
    let text = fs::read_to_string(&boot).expect("what a restart leaves");
    let at = text.find("route\t").expect("a route");
    fs::write(&boot, format!("{}{tunnel}\n{}", &text[..at], &text[at..])).expect("what a restart leaves");
}

/// The tunnel went away, with its routes, and came back under another name.
fn rejoin(network: &Network) {
    let [old, new] = TUNNELS.map(|name| format!("\t{name}\t"));
    let renamed = |text: String| {
        let stays = |line: &&str| !(line.starts_with("route\t") && line.contains(&old));
        text.split_inclusive('\n').filter(stays).collect::<String>().replace(&old, &new)
    };
    network.mac.edit(renamed);
    let boot = network.mac.root().join("boot");
    let text = fs::read_to_string(&boot).expect("what a restart leaves");
    fs::write(&boot, renamed(text)).expect("what a restart leaves");
}

/// A network with one volume added, one removed, and what is permitted changed.
fn next(mut input: Value) -> Value {
    if input["macs"].is_object() {
        // A provider with its volume moves to the other Mac.
        input["macs"]["studio"]["providers"] = json!(["aws"]);
        input["macs"]["mini"]["providers"] = json!(["gcp", "ibm"]);
        return input;
    }
    let volumes = input["volumes"].as_object_mut().expect("volumes");
    volumes.remove("etcd-1");
    volumes.insert(
        "etcd-9".to_owned(),
        json!({ "provider": "aws", "address": "10.0.1.9", "localhost": "127.0.1.99" }),
    );
    match input["links"].as_array_mut().and_then(|links| links.first_mut()) {
        Some(link) => {
            link["protocol"] = json!("tcp");
            link["ports"] = json!([6443]);
            if link["conditions"].is_object() {
                // One pipe goes, and the other changes.
                link["bidirectional"] = json!(false);
                link["conditions"] = json!({ "latencyMs": 80 });
            }
        }
        None => input["providers"]["aws"]["internet"] = json!(false),
    }
    input
}

/// A run of the manager that is struck, and what it starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Story {
    Start,
    Reconcile,
    Upgrade,
    Stop,
    Cleanup,
    /// Two ends are cut from each other, beside a pair that is cut already.
    Partition,
    /// The paths between one end and all others become slow.
    Slow,
    /// Two pairs that were cut, and one that was slow, are healed.
    Heal,
    /// A reconcile, behind the deadline of one of two.
    Deadline,
    /// A stop while there is something cut and something slow.
    StopCut,
}

/// Only what is cut or slow between ends differs before and behind these.
const OF_FAULTS: [Story; 4] = [Story::Partition, Story::Slow, Story::Heal, Story::Deadline];

impl Story {
    fn command(self) -> &'static str {
        match self {
            Self::Start | Self::Upgrade => "start",
            Self::Reconcile | Self::Deadline => "reconcile",
            Self::Stop | Self::StopCut => "stop",
            Self::Cleanup => "cleanup",
            Self::Partition => "partition aws gcp",
            Self::Slow => "slow aws --latency 5 --tag a",
            Self::Heal => "heal",
        }
    }

    /// Brings a Mac with the bundle on it to where the run begins.
    fn prepare(self, network: &Network, input: &Value) {
        if self != Self::Start {
            network.ok("start");
        }
        match self {
            Self::Upgrade => network.install(&next(input.clone())),
            Self::Reconcile if input["macs"].is_object() => rejoin(network),
            Self::Reconcile => drift(network),
            Self::Partition | Self::Slow => drop(network.ok("partition etcd-1 gcp")),
            Self::Heal | Self::Deadline | Self::StopCut => {
                network.ok("slow aws gcp --latency 5");
                network.ok("partition etcd-1 gcp");
                network.ok("partition aws gcp");
                if self == Self::Deadline {
                    let file = network.state().join("faults");
                    let text = fs::read_to_string(&file).expect("what is cut");
                    let over = text.replacen("gcp\t-\t0\t-", "gcp\t1000\t60\t1970-01-01T00:16:40Z", 1);
                    assert_ne!(over, text);
                    fs::write(&file, over).expect("what is cut");
                }
            }
            Self::Start | Self::Stop | Self::Cleanup => {}
        }
    }
}

/// Someone takes away one of each kind of thing.
fn drift(network: &Network) {
    for line in [
        "ifconfig bridge2000 destroy",
        "ifconfig feth20000 destroy",
        "ifconfig lo0 -alias 10.0.1.2",
        "sysctl -w net.inet.ip.forwarding=0",
        "pfctl -a com.apple/250.nixvol -F all",
    ] {
        network.mac.ok(line);
    }
    fs::write(network.mac.dir().join("hosts"), HOSTS).expect("hosts");
    if network.mac.kernel().contains("\npipe\t") {
        network.mac.remove("pipe\t20000\t");
        network.mac.ok("dnctl pipe 20001 config delay 1");
    }
}

/// What of the Mac and of the files must come out the same, whatever happened on the way.
#[derive(Clone, PartialEq, Eq)]
struct Outcome {
    kernel: Vec<String>,
    hosts: String,
    files: Vec<(&'static str, Option<String>)>,
}

/// The files of the state directory that say what is and what shall be. The others are means to an end.
const FILES: [&str; 5] = ["names", "wish", "rules.conf", "applied", "faults"];
const NAMES: usize = 0;
const APPLIED: usize = 3;
const FAULTS: usize = 4;

fn outcome(network: &Network) -> Outcome {
    let file = |name| (name, fs::read_to_string(network.state().join(name)).ok());
    Outcome {
        kernel: settled(&network.mac.kernel()),
        hosts: network.hosts(),
        files: FILES.into_iter().map(file).collect(),
    }
}

/// Holds an outcome against the one that it must be, and shows only the lines that differ.
fn same(now: &Outcome, must: &Outcome, why: &str) {
    let lines = |outcome: &Outcome| {
        let mut lines: BTreeSet<String> = outcome.kernel.iter().cloned().collect();
        let files =
            outcome.files.iter().map(|(name, text)| (*name, text.as_deref().unwrap_or("is not there")));
        for (name, text) in files.chain([("hosts", outcome.hosts.as_str())]) {
            lines.extend(text.lines().enumerate().map(|(at, line)| format!("{name}:{at}: {line}")));
        }
        lines
    };
    if now != must {
        let (now, must) = (lines(now), lines(must));
        let (more, less): (Vec<_>, Vec<_>) =
            (now.difference(&must).collect(), must.difference(&now).collect());
        panic!("{why}: it has {more:#?}, and lacks {less:#?}");
    }
}

/// All that a later run can see of a Mac but the bundle, without what differs from run to run: the numbers of tokens,
/// processes and boot sessions, and times.
fn world(kept: &Kept) -> String {
    let numberless = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "#");
    let mut world = String::new();
    for (path, bytes) in kept.files().filter(|(path, _)| !is_bundle(path)) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name == "log" {
            let _ = writeln!(world, "{}", path.display());
        } else if name.starts_with("lock") {
            // Who holds it is dead, and since when it ran tells nobody more.
            let place = path.with_file_name(&*numberless(&name));
            let fields = String::from_utf8_lossy(bytes).split('\t').count();
            let is_whole = bytes.ends_with(b"\n");
            let _ = writeln!(world, "{} {fields} {is_whole}", place.display());
        } else {
            let _ = writeln!(world, "{}", path.display());
            for line in String::from_utf8_lossy(bytes).lines() {
                let line = match line.split_once('\t') {
                    Some(("token" | "token-pid" | "tokens", rest)) if !rest.ends_with("socketfilterfw") => {
                        "token"
                    }
                    _ => line,
                };
                let _ = writeln!(world, "{}", line.split("session-").next().unwrap_or_default());
            }
        }
    }
    world
}

fn is_bundle(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "nix-volumes")
}

/// A kernel's records without its boot session.
fn rest(kernel: &str) -> &str {
    kernel.split_once('\n').map_or("", |(_, rest)| rest)
}

/// A story on one Mac, with the Macs that it can end on.
struct Stage {
    story: Story,
    network: Network,
    /// The Mac before anything of ours was there.
    bare: String,
    /// Where the struck run begins.
    begin: Kept,
    found: Outcome,
    /// The same with nothing cut or slow.
    plain: Outcome,
    /// What the run leaves when nothing strikes.
    undisturbed: Outcome,
    /// Whether there are other Macs.
    is_meshed: bool,
    /// What it spawns, and how many commands that is.
    calls: Vec<Call>,
    length: usize,
    /// The strikes so far.
    strikes: Cell<usize>,
    /// The worlds that a fault left and that were repaired since, and those that a cleanup began with. What follows
    /// depends on nothing else.
    mended: RefCell<BTreeSet<String>>,
    cleaned: RefCell<BTreeSet<String>>,
}

impl Stage {
    fn new(story: Story, input: &Value) -> Self {
        Self::on(Network::new(input), story, input)
    }

    fn on(network: Network, story: Story, input: &Value) -> Self {
        let mut bare = network.mac.kernel();
        story.prepare(&network, input);
        if story == Story::Reconcile && input["macs"].is_object() {
            bare = bare.replace(TUNNELS[0], TUNNELS[1]);
        }
        let begin = network.keep();
        let found = outcome(&network);
        let plain = if found.files[FAULTS].1.is_some() {
            network.ok("heal");
            let plain = outcome(&network);
            network.put_back(&begin);
            plain
        } else {
            found.clone()
        };
        network.mac.fault(None);
        network.mac.forget_journal();
        network.ok(story.command());
        let calls = network.mac.journal();
        let length = calls.len();
        let undisturbed = outcome(&network);
        assert!(length > 10, "{story:?} spawns {length} commands");
        let is_meshed = input["macs"].is_object();
        Self {
            story,
            network,
            bare,
            begin,
            found,
            plain,
            undisturbed,
            is_meshed,
            calls,
            length,
            strikes: Cell::default(),
            mended: RefCell::default(),
            cleaned: RefCell::default(),
        }
    }

    /// Whether the k-th command and the one before only look at the kernel. Who dies between them leaves what is left by
    /// who dies before or behind both, unless the shell itself wrote a file in between.
    fn is_between_looks(&self, k: usize) -> bool {
        k > 1 && self.calls[k - 2..k].iter().all(|call| call.mark == '=')
    }

    /// Runs the command, and strikes at the k-th that it spawns.
    fn disturb(&self, kind: &str, k: usize) -> Ran {
        self.network.put_back(&self.begin);
        self.network.mac.forget_journal();
        self.network.mac.fault(Some((kind, k)));
        let ran = self.network.run(self.story.command());
        self.network.mac.fault(None);
        ran
    }

    fn world(&self) -> String {
        let kept = self.network.keep();
        let bundle = |kept: &Kept| -> Vec<_> {
            let files = kept.files().filter(|(path, _)| is_bundle(path));
            files.map(|(path, bytes)| (path.to_owned(), bytes.to_vec())).collect()
        };
        assert!(bundle(&kept) == bundle(&self.begin), "{:?} changed the bundle", self.story);
        world(&kept)
    }

    /// Strikes at the k-th command, and holds what follows against the laws.
    fn strike(&self, kind: &str, k: usize) {
        let network = &self.network;
        self.strikes.set(self.strikes.get() + 1);
        let mut why = format!("{:?}, {kind} at {k} of {}", self.story, self.length);
        let ran = self.disturb(kind, k);
        if let Some(call) = network.mac.journal().iter().find(|call| call.mark == '-') {
            let _ = write!(why, " ({})", call.line());
        }
        self.ends_well(kind, &ran, &format!("{why}: {}{}", ran.out, ran.err));
        self.touched_nothing_foreign(&why);
        if self.is_meshed {
            self.leaks_nothing(kind, &why);
        }
        if kind == FLUSH {
            network.mac.forget_holes();
        }
        assert_eq!(network.mac.holes(), "", "{why}");
        if self.mended.borrow_mut().insert(self.world()) {
            self.mend(&why);
        }
    }

    /// A run that was struck but went on ends as it says.
    fn ends_well(&self, kind: &str, ran: &Ran, told: &str) {
        if kind == "fail" {
            self.failed_well(ran.code, told);
        }
        if kind.starts_with("full:") {
            assert!(ran.code < 2, "exit {}, {told}", ran.code);
            assert!(ran.code == 0 || ran.err.contains("the disk is full, or does not let us"), "{told}");
            // What says that it is as before, or done, is right.
            if ran.code == 0 || ran.err.contains("rolled back: nothing of the start is left") {
                self.failed_well(ran.code, told);
            }
        }
    }

    /// What is meant for a provider on another Mac, now or before, leaves by no way out.
    fn leaks_nothing(&self, kind: &str, why: &str) {
        let kernel = self.network.mac.kernel();
        let anchor = kernel.lines().find_map(|line| line.strip_prefix("anchor\tcom.apple/250.nixvol\t"));
        let rules = anchor.unwrap_or_default().replace("\\n", "\n");
        if rules.is_empty() {
            let may = kind == "power" || !matches!(self.story, Story::Upgrade | Story::Reconcile);
            assert!(may, "{why}: no rules are loaded");
            return;
        }
        let file = self.network.mac.dir().join("loaded");
        fs::write(&file, rules).expect("the rules");
        let to = ["10.2.1.2", "10.3.1.2"];
        let packet = |to: &&str| {
            format!(
                r#"{{"dir":"out","if":"en0","proto":"tcp","src":"10.0.1.2","sport":40000,"dst":"{to}","dport":80,"flags":"S"}}"#
            )
        };
        let packets: Vec<String> = to.iter().map(packet).collect();
        let output = run(&["pf", "eval", &file.display().to_string()], &packets.join("\n"));
        let verdicts = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(verdicts.matches(r#""action":"block""#).count(), to.len(), "{why}: {verdicts}");
    }

    /// Reconcile converges on what the wish says, and cleanup takes everything away.
    fn mend(&self, why: &str) {
        let network = &self.network;
        let mut ran = network.run("reconcile");
        // What a full disk kept from being rolled back is rolled back now.
        if ran.code == 1
            && why.contains("full:")
            && ran.err.contains("rolled back: nothing of the start is left")
        {
            ran = network.run("reconcile");
        }
        assert_eq!(ran.code, 0, "{why}: reconcile: {}{}", ran.out, ran.err);
        let (wish, now) = (network.wish(), outcome(network));
        if wish == "up" {
            // A stop or cleanup that died before it turned the wish has not begun.
            let up = match self.story {
                Story::Stop | Story::Cleanup => &self.found,
                Story::StopCut => {
                    if now.files[FAULTS].1.is_none() {
                        &self.plain
                    } else {
                        &self.found
                    }
                }
                // A start that died before it wrote down what it is to put in force has not begun either.
                Story::Upgrade if now.files[APPLIED] == self.found.files[APPLIED] => &self.found,
                // With a restart all that was cut is over.
                _ if OF_FAULTS.contains(&self.story) && now.files[FAULTS].1.is_none() => {
                    let over = why.contains(", power at") || self.undisturbed.files[FAULTS].1.is_none();
                    assert!(over, "{why}: nothing is cut any more");
                    &self.plain
                }
                Story::Partition | Story::Slow | Story::Heal
                    if now.files[FAULTS] == self.found.files[FAULTS] =>
                {
                    &self.found
                }
                Story::Start
                | Story::Upgrade
                | Story::Reconcile
                | Story::Partition
                | Story::Slow
                | Story::Heal
                | Story::Deadline => &self.undisturbed,
            };
            let mut up = up.clone();
            if self.story == Story::Upgrade {
                // A kernel name is kept for good, also one that was given in vain.
                up.files[NAMES].1.clone_from(&now.files[NAMES].1);
            }
            same(&now, &up, &format!("{why}: reconcile did not converge"));
        } else {
            assert_eq!(
                rest(&network.mac.kernel()),
                rest(&self.bare),
                "{why}: not as it was, by the wish {wish:?}"
            );
            assert_eq!(network.hosts(), HOSTS, "{why}");
        }
        self.touched_nothing_foreign(why);
        if self.cleaned.borrow_mut().insert(self.world()) {
            self.clean(why);
        }
    }

    fn clean(&self, why: &str) {
        let network = &self.network;
        let ran = network.run("cleanup");
        assert_eq!(ran.code, 0, "{why}: cleanup: {}{}", ran.out, ran.err);
        assert_eq!(rest(&network.mac.kernel()), rest(&self.bare), "{why}: cleanup left something");
        network.assert_no_files(why);
        assert_eq!(network.mac.holes(), "", "{why}");
        self.touched_nothing_foreign(why);
    }

    fn touched_nothing_foreign(&self, why: &str) {
        let foreign = foreign(&self.network.mac.journal());
        assert!(foreign.is_empty(), "{why}: {foreign:#?}");
    }

    /// A start whose command failed has done its work, or ends with 1 on the Mac that it found.
    fn failed_well(&self, code: i32, why: &str) {
        let now = outcome(&self.network);
        match (self.story, code) {
            (
                Story::Start
                | Story::Upgrade
                | Story::Reconcile
                | Story::Partition
                | Story::Slow
                | Story::Heal
                | Story::Deadline,
                0,
            ) => {
                same(&now, &self.undisturbed, why);
            }
            (Story::Start | Story::Upgrade, _) => {
                assert!(code == 1 || !self.begun(code, why), "{why}: exit {code}");
                let mut found = self.found.clone();
                // A kernel name is kept for good, also one that was given in vain.
                found.files[NAMES].1.clone_from(&now.files[NAMES].1);
                same(&now, &found, &format!("{why}: not rolled back"));
            }
            // What failed is not done, and what was before is.
            (Story::Partition | Story::Slow, 1) => same(&now, &self.found, why),
            (Story::Stop | Story::Cleanup | Story::StopCut, 0) => {
                assert_eq!(rest(&self.network.mac.kernel()), rest(&self.bare), "{why}");
            }
            _ => assert!(code == 1 || !self.begun(code, why), "{why}: exit {code}"),
        }
    }

    /// Who cannot learn that it is root, or whose the files are, does not even begin.
    fn begun(&self, code: i32, why: &str) -> bool {
        let excused = (code == 77 && why.contains("needs root"))
            || (code == 3 && why.contains("could not look at the owners of our files"));
        !excused || self.network.mac.kernel() != self.begin.kernel()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let strikes = self.strikes.get();
        let (mended, cleaned) = (self.mended.borrow().len(), self.cleaned.borrow().len());
        let (story, length) = (self.story, self.length);
        eprintln!(
            "{story:?}: {strikes} strikes at {length} commands: {mended} worlds to repair, {cleaned} to clean up"
        );
    }
}

/// Strikes at every command: lets it fail, and ends the run or fills the disk at it in one way after the other; where one
/// look follows another, at each third of them. Of all stories but the start, one half of the commands fails, and the
/// run ends at the other half. With `NIXVOL_LONG` every one is struck in every way.
fn everywhere(story: Story, input: &Value) {
    everywhere_on(&Stage::new(story, input));
}

fn everywhere_on(stage: &Stage) {
    // At one command the run ends, at the next the disk is full.
    let others = [&FULL[..], &KINDS[1..]];
    let mut turn = 0;
    for k in 1..=stage.length {
        let (fails, ends) = match stage.story {
            Story::Start => (true, !stage.is_between_looks(k) || k % 3 == 0),
            _ => (k % 2 == 0, k % 2 == 1),
        };
        if fails || is_long() {
            stage.strike(KINDS[0], k);
        }
        if is_long() {
            others.concat().iter().for_each(|kind| stage.strike(kind, k));
        } else if ends {
            let in_turn = others[turn % 2];
            stage.strike(in_turn[turn / 2 % in_turn.len()], k);
            turn += 1;
        }
    }
}

/// Strikes at commands that lie evenly over the run, at others for each kind; with `NIXVOL_LONG` at every one.
fn spread(story: Story) {
    if is_long() {
        everywhere(story, &topology());
        return;
    }
    let stage = Stage::new(story, &topology());
    for (offset, kind) in KINDS.iter().enumerate() {
        let place =
            |i: usize| 1 + (i * KINDS.len() + offset) * (stage.length - 1) / (SPREAD * KINDS.len() - 1);
        let places: BTreeSet<usize> = (0..SPREAD).map(place).collect();
        for k in places {
            stage.strike(kind, k);
        }
    }
}

/// Strikes at every command that has to do with pipes and the rules that name them: at one that looks for those rules,
/// by letting it fail; at the first that acts in its way, with every kind. With `NIXVOL_LONG` at all the others too.
/// `-F all` takes rules of dummynet, or `spares` them: no one knows, so both are tried, each by some of the stories.
fn pipes(story: Story, spares: bool) {
    let stage = |spares: bool| {
        let network = Network::new(&slow());
        if spares {
            network.mac.spare_dummynet();
        }
        Stage::on(network, story, &slow())
    };
    if is_long() {
        for stage in [false, true].map(stage) {
            everywhere_on(&stage);
            (1..=stage.length).for_each(|at| stage.strike(FLUSH, at));
        }
        return;
    }
    let stage = stage(spares);
    let mut struck = BTreeSet::new();
    for (call, at) in stage.calls.iter().zip(1..) {
        let is = |word: &str| call.words.iter().any(|it| it == word);
        let alike = call.line().replace(|c: char| c.is_ascii_digit(), "");
        let acts = (is("pipe") || is("-f") || is("-F")) && struck.insert(alike);
        let kinds = match call.words[0].as_str() {
            "dnctl" | "pfctl" if acts => &KINDS[..],
            "pfctl" if is("dummynet") && is("-a") => &KINDS[..1],
            _ => &[],
        };
        for kind in kinds {
            stage.strike(kind, at);
        }
        if kinds.len() > 1 && matches!(story, Story::Start | Story::Upgrade | Story::Stop) {
            stage.strike(FLUSH, at);
        }
    }
}

/// Strikes at every command of a partition, and at every other one of the others, with one kind after the other; with
/// `NIXVOL_LONG` at every one with every kind.
fn in_turn(story: Story) {
    let stage = Stage::new(story, &slow());
    if is_long() {
        everywhere_on(&stage);
        return;
    }
    let step = if story == Story::Partition { 1 } else { 2 };
    for (turn, k) in (1..=stage.length).step_by(step).enumerate() {
        stage.strike(KINDS[turn % KINDS.len()], k);
        if (turn + 1).is_multiple_of(FULL.len()) {
            stage.strike(FULL[turn / FULL.len() % FULL.len()], k);
        }
    }
}

/// A Mac with another one, whose tunnel is there: struck at one command of twenty, and at some that change
/// the Mac, each with another kind; with
/// `NIXVOL_LONG` at every one in every way.
fn with_another_mac(story: Story) {
    let network = Network::new(&meshed());
    join(&network);
    let stage = Stage::on(network, story, &meshed());
    let is_network = |line: &&String| line.starts_with("if\t") || line.starts_with("route\t");
    let kernel = stage.undisturbed.kernel.iter().filter(is_network).cloned().collect::<Vec<_>>().join("\n");
    let into = |net: &str, name: &str| {
        kernel.contains(&format!("route\t{net}\t")) && kernel.contains(&format!("\t{name}\t"))
    };
    match story {
        Story::Start => assert!(into("10.3.0.0/16", TUNNELS[0]), "{kernel}"),
        Story::Reconcile => {
            assert!(into("10.3.0.0/16", TUNNELS[1]) && !kernel.contains(TUNNELS[0]), "{kernel}");
        }
        Story::Upgrade => {
            assert!(into("10.2.0.0/16", TUNNELS[0]) && kernel.matches("10.2.").count() == 1, "{kernel}");
            assert!(!kernel.contains("127.0.1.12") && !kernel.contains("bridge2001"), "{kernel}");
        }
        _ => {}
    }
    if is_long() {
        everywhere_on(&stage);
        return;
    }
    let all = [&KINDS[..], &FULL[..1]].concat();
    for (turn, k) in (1 + stage.length % 3..=stage.length).step_by(20).enumerate() {
        stage.strike(all[turn % all.len()], k);
    }
    // The changes themselves, each in one way.
    let acts = |call: &&Call, at: usize| call.mark == '!' && at.is_multiple_of(5);
    for (turn, (_, k)) in stage.calls.iter().zip(1..).filter(|(call, at)| acts(call, *at)).enumerate() {
        stage.strike(all[turn % all.len()], k);
    }
}

#[test]
fn a_start_beside_another_mac_survives_faults() {
    with_another_mac(Story::Start);
}

#[test]
fn a_tunnel_that_comes_back_survives_faults() {
    with_another_mac(Story::Reconcile);
}

#[test]
fn a_provider_that_moves_to_another_mac_survives_faults() {
    with_another_mac(Story::Upgrade);
}

#[test]
fn a_stop_beside_another_mac_survives_faults() {
    with_another_mac(Story::Stop);
}

#[test]
fn a_cleanup_beside_another_mac_survives_faults() {
    with_another_mac(Story::Cleanup);
}

#[test]
fn a_partition_is_struck() {
    in_turn(Story::Partition);
}

#[test]
fn a_slow_path_is_struck() {
    in_turn(Story::Slow);
}

#[test]
fn a_heal_is_struck() {
    in_turn(Story::Heal);
}

#[test]
fn the_end_of_a_deadline_is_struck() {
    in_turn(Story::Deadline);
}

#[test]
fn a_stop_with_partitions_is_struck() {
    in_turn(Story::StopCut);
}

#[test]
fn a_start_with_conditions_survives_faults() {
    pipes(Story::Start, false);
}

#[test]
fn a_reconcile_with_conditions_survives_faults() {
    pipes(Story::Reconcile, true);
}

#[test]
fn an_upgrade_of_conditions_survives_faults() {
    pipes(Story::Upgrade, false);
}

#[test]
fn a_stop_with_conditions_survives_faults() {
    pipes(Story::Stop, true);
}

#[test]
fn a_cleanup_with_conditions_survives_faults() {
    pipes(Story::Cleanup, false);
}

#[test]
fn a_start_survives_faults() {
    everywhere(Story::Start, &tiny());
}

#[test]
fn a_reconcile_survives_faults() {
    everywhere(Story::Reconcile, &tiny());
}

#[test]
fn an_upgrade_survives_faults() {
    everywhere(Story::Upgrade, &tiny());
}

#[test]
fn a_stop_survives_faults() {
    everywhere(Story::Stop, &tiny());
}

#[test]
fn a_cleanup_survives_faults() {
    everywhere(Story::Cleanup, &tiny());
}

#[test]
fn a_start_of_the_default_topology_survives_faults() {
    spread(Story::Start);
}

#[test]
fn a_reconcile_of_the_default_topology_survives_faults() {
    spread(Story::Reconcile);
}

#[test]
fn an_upgrade_of_the_default_topology_survives_faults() {
    spread(Story::Upgrade);
}

#[test]
fn a_stop_of_the_default_topology_survives_faults() {
    spread(Story::Stop);
}

#[test]
fn a_cleanup_of_the_default_topology_survives_faults() {
    spread(Story::Cleanup);
}
