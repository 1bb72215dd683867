//! Struck at every command in every way: the next reconcile converges, cleanup restores. CI tries everything on a
//! network of one volume and a spread of moments on the default topology; the long run everything on both.
//!
//! A run that is killed leaves what is on the disk and in the kernel at that moment. So one run is watched, what is
//! left before and after each of its commands is kept, and the Mac is put into each such state; with the kernel of a
//! reboot, it is a loss of power. A command that fails needs a run of its own. States that differ in nothing but
//! numbers of tokens are recovered from once. That a kill leaves just this is shown, with real kills, in `faults`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::network::{HOSTS, Network, topology};

/// What is left of a Mac: its kernel, and the manager's files by name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Left {
    kernel: String,
    hosts: String,
    /// Nothing where there is no state directory.
    state: Option<BTreeMap<String, String>>,
}

/// What stands in a file for the directory of the Mac that it is put on.
const PLACE: &str = "@PLACE@";

fn files(dir: &Path, network: &Network) -> Option<BTreeMap<String, String>> {
    let place = network.mac.dir().display().to_string();
    let entries = fs::read_dir(dir).ok()?.flatten();
    let file = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        (entry.file_name().to_string_lossy().into_owned(), text.replace(&place, PLACE))
    };
    Some(entries.map(file).collect())
}

impl Left {
    fn of(network: &Network) -> Self {
        Self { kernel: network.mac.kernel(), hosts: network.hosts(), state: files(&network.state(), network) }
    }

    fn kept(dir: &Path, network: &Network) -> Option<Self> {
        Some(Self {
            kernel: fs::read_to_string(dir.join("kernel")).ok()?,
            hosts: fs::read_to_string(dir.join("hosts")).ok()?,
            state: files(&dir.join("state"), network),
        })
    }

    fn put(&self, network: &Network) {
        network.mac.edit(|_| self.kernel.clone());
        fs::write(network.mac.dir().join("hosts"), &self.hosts).expect("hosts");
        if network.state().exists() {
            fs::remove_dir_all(network.state()).expect("the state");
        }
        let log = network.mac.dir().join("var/log");
        if log.exists() {
            fs::remove_file(log).expect("the log");
        }
        if let Some(state) = &self.state {
            fs::create_dir(network.state()).expect("the state");
            let place = network.mac.dir().display().to_string();
            for (name, text) in state {
                fs::write(network.state().join(name), text.replace(PLACE, &place))
                    .expect("a file of the state");
            }
        }
    }

    /// The same with the kernel that a restart leaves.
    fn without_power(&self, network: &Network) -> Self {
        let boot = fs::read_to_string(network.mac.root().join("boot")).expect("the boot");
        Self { kernel: boot.replacen("session-0", "session-again", 1), ..self.clone() }
    }

    /// What tells states apart: not the place, not the numbers of tokens and processes.
    fn key(&self) -> String {
        let mut text = format!("{}\n{}\n", records(&self.kernel).join("\n"), self.hosts);
        for (name, file) in self.state.iter().flatten() {
            if name != "lock" {
                let _ = writeln!(text, "{name}\n{file}");
            }
        }
        numberless(&text)
    }
}

/// A text with every long number as one sign.
fn numberless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut digits = String::new();
    for c in text.chars().chain(['\n']) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        out += if digits.len() > 12 { "N" } else { &digits };
        digits.clear();
        out.push(c);
    }
    out
}

/// The kernel's records in an order of their own, without what only tells when something was made.
fn records(kernel: &str) -> Vec<String> {
    let record = |line: &str| {
        let mut fields: Vec<String> = line.split('\t').map(str::to_owned).collect();
        match fields[0].as_str() {
            "boot" => fields.truncate(1),
            "if" => {
                fields[2].clear();
                for at in [8, 9] {
                    let mut list: Vec<&str> = fields[at].split(',').collect();
                    list.sort_unstable();
                    fields[at] = list.join(",");
                }
            }
            "route" if fields[2].starts_with("link#") => fields[2].clear(),
            // Ours are the long ones; the number of the process is when it was taken.
            "token" if fields[3] == "pfctl" => fields.truncate(1),
            _ => {}
        }
        fields.join("\t")
    };
    let mut records: Vec<String> = kernel.lines().map(record).collect();
    records.sort();
    records
}

/// Asserts that two kernels have the same records.
#[track_caller]
fn same(now: &[String], expected: &[String], why: &str) {
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|record| !those.contains(record)).cloned().collect()
    };
    let (more, fewer) = (only(now, expected), only(expected, now));
    assert!(now == expected, "{why}\nmore: {more:#?}\nfewer: {fewer:#?}");
}

/// One volume that has everything a volume can have.
pub fn tiny() -> Value {
    json!({
        "version": 1,
        "providers": { "aws": { "network": "10.0.0.0/16", "gateway": "10.0.1.1/24" } },
        "volumes": { "etcd-1": { "provider": "aws", "address": "10.0.1.2", "localhost": "127.0.1.11" } },
    })
}

/// The same with one volume more and one fewer.
fn upgraded(mut input: Value) -> Value {
    let volumes = input["volumes"].as_object_mut().expect("volumes");
    let first = volumes.keys().next().cloned().expect("a volume");
    volumes.remove(&first);
    volumes.insert(
        "etcd-9".to_owned(),
        json!({ "provider": "aws", "address": "10.0.1.9", "localhost": "127.0.1.99" }),
    );
    input
}

/// One command of the manager, and the Mac that it is called on.
struct Story {
    name: &'static str,
    command: &'static str,
    prepare: fn(&Network, &Value),
}

const STORIES: [Story; 5] = [
    Story { name: "start", command: "start", prepare: |_, _| {} },
    Story {
        name: "reconcile",
        command: "reconcile",
        prepare: |network, _| {
            network.ok("start");
            network.mac.reboot();
        },
    },
    Story {
        name: "upgrade",
        command: "start",
        prepare: |network, input| {
            network.ok("start");
            network.install(&upgraded(input.clone()));
        },
    },
    Story { name: "stop", command: "stop", prepare: |network, _| drop(network.ok("start")) },
    Story { name: "cleanup", command: "cleanup", prepare: |network, _| drop(network.ok("start")) },
];

/// A Mac that is put into one state after the other.
struct Stage {
    network: Network,
    prepared: Left,
    before: Vec<String>,
    up: Vec<String>,
}

/// What has been shown already.
#[derive(Default)]
struct Shown {
    recovered: Mutex<BTreeSet<String>>,
    cleaned: Mutex<BTreeSet<String>>,
    runs: AtomicUsize,
}

impl Stage {
    fn new(story: &Story, input: &Value) -> Self {
        let network = Network::new(input);
        let before = records(&network.mac.kernel());
        (story.prepare)(&network, input);
        let prepared = Left::of(&network);
        network.ok("start");
        let up = records(&network.mac.kernel());
        prepared.put(&network);
        Self { network, prepared, before, up }
    }

    /// How many commands the run has, and what is left of the Mac before and after each.
    fn watch(&self, story: &Story) -> (usize, Vec<(String, Left)>) {
        let root = self.network.mac.root();
        let watched = format!(
            "{}\n{}\n",
            self.network.mac.dir().join("hosts").display(),
            self.network.state().display()
        );
        self.network.mac.fault(None);
        fs::write(root.join("watch"), watched).expect("the watch");
        self.network.mac.forget_journal();
        self.network.ok(story.command);
        fs::remove_file(root.join("watch")).expect("the watch");
        let mut moments: Vec<_> = fs::read_dir(root.join("snaps")).expect("the moments").flatten().collect();
        moments.sort_by_key(fs::DirEntry::file_name);
        let left = |entry: &fs::DirEntry| {
            Some((
                entry.file_name().to_string_lossy().into_owned(),
                Left::kept(&entry.path(), &self.network)?,
            ))
        };
        let left = moments.iter().filter_map(left).collect();
        (self.network.mac.journal().len(), left)
    }

    /// From this state the next reconcile converges, and cleanup leaves nothing.
    fn recovers(&self, left: &Left, shown: &Shown, why: &str) {
        let network = &self.network;
        if !shown.recovered.lock().expect("the list").insert(left.key()) {
            return;
        }
        left.put(network);
        shown.runs.fetch_add(1, Ordering::Relaxed);
        let wish = left.state.as_ref().and_then(|state| state.get("wish").cloned());
        let ran = network.run("reconcile");
        assert_eq!(ran.code, 0, "{why}: reconcile: {}{}", ran.out, ran.err);
        let now = records(&network.mac.kernel());
        if wish.as_deref() == Some("up\n") {
            same(&now, &self.up, &format!("{why}: reconcile did not converge"));
            assert!(network.hosts().contains(".nixvol"), "{why}");
        } else {
            same(&now, &self.before, &format!("{why}: reconcile left something, by the wish {wish:?}"));
        }
        let converged = Left::of(network);
        if shown.cleaned.lock().expect("the list").insert(converged.key()) {
            let ran = network.run("cleanup");
            assert_eq!(ran.code, 0, "{why}: cleanup: {}{}", ran.out, ran.err);
            same(&records(&network.mac.kernel()), &self.before, &format!("{why}: cleanup left something"));
            assert_eq!(network.hosts(), HOSTS, "{why}");
            assert!(!network.state().exists(), "{why}: cleanup left its directory");
        }
    }

    /// A run whose k-th command fails.
    fn fails_at(&self, story: &Story, k: usize, shown: &Shown) {
        let network = &self.network;
        self.prepared.put(network);
        network.mac.forget_journal();
        network.mac.fault(Some(("fail", k)));
        let code = network.run(story.command).code;
        network.mac.fault(None);
        let failed = network.mac.journal().into_iter().find(|call| call.mark == '-');
        let why = format!(
            "{}, command {k} fails: {}",
            story.name,
            failed.map_or(String::new(), |call| call.line())
        );
        shown.runs.fetch_add(1, Ordering::Relaxed);
        if story.command == "start" && code != 0 {
            // Without `id` nobody knows that this is root.
            assert!(code == 1 || (k == 1 && code == 77), "{why}: exit {code}");
            assert_eq!(
                records(&network.mac.kernel()),
                records(&self.prepared.kernel),
                "{why}: not rolled back"
            );
            assert_eq!(network.hosts(), self.prepared.hosts, "{why}");
        }
        self.recovers(&Left::of(network), shown, &why);
    }
}

/// Strikes a story at every `step`-th moment, on two Macs at a time.
fn strike(story: &Story, input: &Value, step: usize) {
    let shown = Shown::default();
    let began = std::time::Instant::now();
    let first = Stage::new(story, input);
    let (commands, moments) = first.watch(story);
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (shown, moments) = (&shown, &moments);
            let first = (worker == 0).then_some(&first);
            scope.spawn(move || {
                let own = first.is_none().then(|| Stage::new(story, input));
                let stage = first.or(own.as_ref()).expect("a stage");
                for k in (1..=commands).filter(|k| k % (2 * step) == worker * step) {
                    stage.fails_at(story, k, shown);
                }
                for (index, (moment, left)) in moments.iter().enumerate() {
                    if index % (2 * step) != worker * step {
                        continue;
                    }
                    stage.recovers(left, shown, &format!("{}, killed at {moment}", story.name));
                    let dark = left.without_power(&stage.network);
                    stage.recovers(&dark, shown, &format!("{}, no power at {moment}", story.name));
                }
            });
        }
    });
    eprintln!(
        "{}, {} volumes: {commands} commands, {} moments, {} runs, {} s",
        story.name,
        input["volumes"].as_object().map_or(0, serde_json::Map::len),
        moments.len(),
        shown.runs.load(Ordering::Relaxed),
        began.elapsed().as_secs()
    );
}

fn every(story: &Story) {
    // Everything takes long: CI strikes at a spread of moments, the same every time.
    let step = if std::env::var_os("NIXVOL_LONG").is_some() { 1 } else { 23 };
    strike(story, &tiny(), 1);
    strike(story, &topology(), step);
}

#[test]
fn start() {
    every(&STORIES[0]);
}

#[test]
fn reconcile() {
    every(&STORIES[1]);
}

#[test]
fn upgrade() {
    every(&STORIES[2]);
}

#[test]
fn stop() {
    every(&STORIES[3]);
}

#[test]
fn cleanup() {
    every(&STORIES[4]);
}
