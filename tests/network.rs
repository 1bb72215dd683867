//! A network installed on a toy Mac, whose manager runs under any of several shells and awks.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use jsonschema::Validator;
use nixvol_net::model;
use nixvol_net::plan::Plan;
use nixvol_net::render::{self, MANAGER};
use serde_json::{Value, json};

use crate::rig::{Mac, Ran};
use crate::tools::{tool, tools};

/// The shells that the manager must work with.
pub const SHELLS: [&[&str]; 4] = [&["dash"], &["bash", "--posix"], &["busybox", "sh"], &["mksh"]];
/// The shell of macOS (bash 3.2 in POSIX mode), if `NIXVOL_BASH32` names one; otherwise reports that it was skipped.
pub fn shell_of_macos() -> Option<&'static [&'static str]> {
    let Ok(path) = std::env::var("NIXVOL_BASH32") else {
        eprintln!("skipped: NIXVOL_BASH32 names no bash 3.2, which is the shell of macOS");
        return None;
    };
    let version = Command::new(&path).arg("--version").output().expect("the shell that NIXVOL_BASH32 names");
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    assert!(version.contains("version 3.2."), "NIXVOL_BASH32 names another: {version}");
    let words: [&'static str; 2] = [path.leak(), "--posix"];
    Some(Box::leak(Box::new(words)))
}

/// The awks that it must work with.
pub const AWKS: [&str; 3] = ["mawk", "original-awk", "busybox"];

/// The hosts file of a Mac before anything is added to it.
pub const HOSTS: &str = "##\n# Host Database\n##\n127.0.0.1\tlocalhost\n255.255.255.255\tbroadcasthost\n::1             localhost\n";

/// A toy Mac with a bundle installed.
pub struct Network {
    pub mac: Mac,
    shell: &'static [&'static str],
    base: PathBuf,
}

/// The embedded topology.
pub fn topology() -> Value {
    serde_json::from_str(nixvol_net::input::DEFAULT).expect("the embedded topology is JSON")
}

/// Two providers with a volume each: small enough to try everything.
pub fn small() -> Value {
    json!({
        "version": 1,
        "providers": {
            "aws": { "network": "10.0.0.0/16", "gateway": "10.0.1.1/24" },
            "ibm": { "network": "10.3.0.0/16", "gateway": "10.3.1.1/24", "internet": false },
        },
        "volumes": {
            "etcd-1": { "provider": "aws", "address": "10.0.1.2", "localhost": "127.0.1.11" },
            "talos-4": { "provider": "ibm", "address": "10.3.1.2", "attachment": "guest" },
        },
        "links": [{ "from": ["aws"], "to": ["ibm"], "protocol": "tcp", "ports": [6443] }],
    })
}

/// The same with conditions on its link, in both directions: pipes 20000 and 20001.
pub fn slow() -> Value {
    let mut input = small();
    input["links"][0]["bidirectional"] = json!(true);
    input["links"][0]["conditions"] = json!({ "latencyMs": 40, "loss": 0.01, "bandwidthKbit": 100_000 });
    input
}

/// A network with this number of volumes in five providers.
pub fn many(volumes: usize) -> serde_json::Value {
    let mut input = topology();
    let providers = ["aws", "azure", "gcp", "ibm", "digitalocean"];
    let nets = [0, 1, 2, 3, 4];
    let volume = |index: usize| {
        let (which, number) = (index % 5, index / 5);
        let address = format!("10.{}.{}.{}", nets[which], 16 + number / 200, 2 + number % 200);
        (format!("volume-{index}"), json!({ "provider": providers[which], "address": address }))
    };
    input["volumes"] = (0..volumes).map(volume).collect::<serde_json::Map<_, _>>().into();
    input
}

/// A snapshot of everything that a run of the manager can change: kernel, bundle, hosts file, state and log.
pub struct Kept {
    directories: Vec<(PathBuf, u32)>,
    files: Vec<(PathBuf, Vec<u8>, u32)>,
}

/// One entry of a snapshot, with its mode.
#[derive(PartialEq, Eq)]
enum Entry<'a> {
    Directory(u32),
    File(&'a [u8], u32),
}

/// The paths of a snapshot, relative to the Mac's directory.
const KEPT: [&str; 4] = ["mac/kernel", "opt", "hosts", "var"];

impl Kept {
    pub fn files(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        self.files.iter().map(|(path, bytes, _)| (path.as_path(), bytes.as_slice()))
    }

    pub fn kernel(&self) -> String {
        String::from_utf8_lossy(&self.files[0].1).into_owned()
    }

    /// All entries; a directory comes before what is in it.
    fn by_path(&self) -> BTreeMap<&Path, Entry<'_>> {
        let directories =
            self.directories.iter().map(|(path, mode)| (path.as_path(), Entry::Directory(*mode)));
        let files = self.files.iter().map(|(path, bytes, mode)| (path.as_path(), Entry::File(bytes, *mode)));
        directories.chain(files).collect()
    }

    fn read(&mut self, path: &Path) {
        let Ok(meta) = fs::symlink_metadata(path) else { return };
        let mode = meta.mode() & 0o7777;
        if !meta.is_dir() {
            self.files.push((path.to_owned(), fs::read(path).expect("a file"), mode));
            return;
        }
        self.directories.push((path.to_owned(), mode));
        let entries = fs::read_dir(path).expect("a directory");
        let mut entries: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        entries.sort();
        for path in &entries {
            self.read(path);
        }
    }
}

/// Every test also checks that no rule ever sent packets into a missing pipe. A test in which other programs delete
/// pipes must call `forget_holes`.
impl Drop for Network {
    fn drop(&mut self) {
        if self.mac.has_slept() {
            self.end_watchers();
        }
        if !std::thread::panicking() {
            assert_eq!(self.mac.holes(), "", "rules were left without their pipes");
        }
    }
}

/// Holds what the manager printed against its published schema.
fn fits(command: &str, text: &str) {
    static KNOWN: Mutex<BTreeMap<String, Validator>> = Mutex::new(BTreeMap::new());
    let value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{command}: {error}: {text}"));
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let of = || {
        let mut program = Command::new(env!("CARGO_BIN_EXE_nixvol-net"));
        let schema = program.args(["schema", "manager", command]).output().expect("the program runs");
        let schema = serde_json::from_slice(&schema.stdout).expect("the schema is JSON");
        jsonschema::validator_for(&schema).expect("the schema compiles")
    };
    let validator = known.entry(command.to_owned()).or_insert_with(of);
    let errors: Vec<String> =
        validator.iter_errors(&value).map(|it| format!("{}: {it}", it.instance_path())).collect();
    assert!(errors.is_empty(), "{command}: {errors:#?}\n{value:#}");
}

impl Network {
    /// Kills the runs that wait in the background for a deadline, with all of their process group unless it is this one.
    pub fn end_watchers(&self) {
        let base = self.base().display().to_string();
        let own = rustix::process::getpgrp().as_raw_nonzero().to_string();
        let ps = Command::new("ps").args(["-eo", "pid=,pgid=,args="]).output().expect("ps");
        for line in String::from_utf8_lossy(&ps.stdout).lines().filter(|line| line.contains(&base)) {
            let mut words = line.split_whitespace();
            let (process, group) = (words.next().expect("a process"), words.next().expect("a group"));
            let who = if group == own { process.to_owned() } else { format!("-{group}") };
            // One that has ended meanwhile cannot be killed.
            let _ = Command::new("kill").args(["-KILL", "--", &who]).output();
        }
    }

    /// Takes a snapshot.
    pub fn keep(&self) -> Kept {
        let mut kept = Kept { directories: Vec::new(), files: Vec::new() };
        for path in KEPT {
            kept.read(&self.mac.dir().join(path));
        }
        kept
    }

    /// Restores a snapshot of this Mac. What is as it was is not touched.
    pub fn put_back(&self, kept: &Kept) {
        let now = self.keep();
        let (must, is) = (kept.by_path(), now.by_path());
        for (path, entry) in is.iter().rev().filter(|(path, entry)| must.get(*path) != Some(*entry)) {
            match (entry, must.get(path)) {
                // Its mode is another.
                (Entry::Directory(_), Some(Entry::Directory(_))) => {}
                (Entry::Directory(_), _) => fs::remove_dir(path).expect("an empty directory"),
                (Entry::File(..), _) => fs::remove_file(path).expect("a file"),
            }
        }
        for (path, entry) in must.iter().filter(|(path, entry)| is.get(*path) != Some(*entry)) {
            let mode = match entry {
                Entry::Directory(mode) => {
                    if !path.is_dir() {
                        fs::create_dir(path).expect("a directory");
                    }
                    mode
                }
                Entry::File(bytes, mode) => {
                    fs::write(path, bytes).expect("a file");
                    mode
                }
            };
            fs::set_permissions(path, fs::Permissions::from_mode(*mode)).expect("its mode");
        }
    }

    /// A Mac with a bundle installed, and nothing started.
    pub fn new(input: &Value) -> Self {
        let mac = Mac::new();
        fs::write(mac.dir().join("hosts"), HOSTS).expect("hosts");
        fs::create_dir_all(mac.dir().join("var")).expect("var");
        fs::create_dir_all(mac.dir().join("tools")).expect("tools");
        let base = mac.dir().join("opt/nix-volumes/networking");
        let mut network = Self { mac, shell: SHELLS[0], base };
        network.install(input);
        network.under(SHELLS[0], AWKS[0]);
        network.load_job();
        network
    }

    /// Loads the bundle's plist into launchd.
    pub fn load_job(&self) {
        let plist = self.base().join("launchd/org.nix-volumes.networking.plist");
        let plist = plist.display().to_string();
        let output =
            Command::new(self.mac.bin().join("launchctl")).args(["bootstrap", "system", &plist]).output();
        assert_eq!(Ran::of(&output.expect("launchctl runs")).code, 0, "{plist}");
        self.mac.forget_journal();
    }

    /// Runs the manager under this shell and awk from now on.
    pub fn under(&mut self, shell: &'static [&'static str], awk: &str) {
        self.shell = shell;
        let link = self.mac.dir().join("tools").join("awk");
        if link.exists() {
            fs::remove_file(&link).expect("the old awk");
        }
        symlink(tool(awk).unwrap_or_else(|| panic!("{awk} is not installed")), link).expect("the awk");
    }

    /// Installs a bundle over the current one.
    pub fn install(&self, input: &Value) {
        let dir = self.mac.dir();
        let mut input = input.clone();
        for (field, path) in [
            ("base", "opt/nix-volumes"),
            ("stateDir", "var/state"),
            ("logFile", "var/log"),
            ("hostsFile", "hosts"),
        ] {
            if input.get(field).is_none() {
                input[field] = json!(dir.join(path));
            }
        }
        let declaration = model::read(input.to_string().as_bytes()).expect("a valid declaration");
        let bundle = render::bundle(&declaration, &Plan::of(&declaration)).expect("a bundle");
        for (path, file) in bundle.files {
            let target = self.base().join(&path);
            fs::create_dir_all(target.parent().expect("a directory")).expect("a directory");
            let text = if path == MANAGER { self.on_the_toy(&file.text) } else { file.text };
            fs::write(&target, text).expect("a file of the bundle");
            let mode = if file.executable { 0o755 } else { 0o644 };
            fs::set_permissions(&target, fs::Permissions::from_mode(mode)).expect("its mode");
        }
    }

    /// The manager's text with the toy's commands first in its PATH, and shorter waits.
    fn on_the_toy(&self, text: &str) -> String {
        let own = "\nPATH=/usr/bin:/bin:/usr/sbin:/sbin\n";
        assert_eq!(text.matches(own).count(), 1, "one line sets PATH");
        let dir = self.mac.dir().display();
        let toy = format!("\nPATH={dir}/mac/bin:{dir}/tools:{}\n", tools());
        text.replace(own, &toy).replace("\nLOCK_SECONDS=30\n", "\nLOCK_SECONDS=2\n")
    }

    /// Restores the manager's real timeout for the lock.
    pub fn be_patient(&self) {
        let manager = self.base().join(MANAGER);
        let text = fs::read_to_string(&manager).expect("the manager");
        fs::write(&manager, text.replace("\nLOCK_SECONDS=2\n", "\nLOCK_SECONDS=30\n")).expect("the manager");
    }

    pub fn base(&self) -> PathBuf {
        self.base.clone()
    }

    /// Installs a bundle in another directory, and uses that from now on.
    pub fn install_at(&mut self, input: &Value, base: &Path) {
        self.base = base.to_path_buf();
        self.install(input);
        self.mac.ok("launchctl bootout system/org.nix-volumes.networking");
        self.load_job();
    }

    pub fn state(&self) -> PathBuf {
        self.mac.dir().join("var/state")
    }

    /// The desired state: `up`, `down`, or empty.
    pub fn wish(&self) -> String {
        fs::read_to_string(self.state().join("wish")).unwrap_or_default().trim_end().to_owned()
    }

    pub fn hosts(&self) -> String {
        fs::read_to_string(self.mac.dir().join("hosts")).expect("hosts")
    }

    /// Runs the manager in a process group of its own with an empty environment.
    pub fn run(&self, args: &str) -> Ran {
        let ran = Ran::of(&self.command(args).output().expect("the manager runs"));
        if args.ends_with(" --json") && !ran.out.is_empty() {
            fits(args.trim_end_matches(" --json"), &ran.out);
        }
        ran
    }

    /// The same command without running it. SIGXFSZ is ignored, so that a write beyond the file-size limit fails
    /// instead of killing the process.
    pub fn command(&self, args: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]).env_clear().env("PATH", tools());
        command.args(self.shell).arg(self.base().join(MANAGER)).args(args.split_whitespace());
        command.process_group(0);
        command
    }

    /// Runs a command of the manager that must succeed; returns its output.
    pub fn ok(&self, args: &str) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{:?} {args}\n{}{}", self.shell, ran.out, ran.err);
        ran.out
    }

    /// Runs a command of the manager that must exit with this code and print these words on standard error.
    pub fn fails(&self, args: &str, code: i32, words: &str) {
        let ran = self.run(args);
        assert_eq!(ran.code, code, "{args}\n{}{}", ran.out, ran.err);
        assert!(ran.err.contains(words), "{args}: {}", ran.err);
    }

    /// Exit code and JSON of `status`.
    pub fn status(&self) -> (i32, Value) {
        let ran = self.run("status --json");
        let value = serde_json::from_str(&ran.out);
        (ran.code, value.unwrap_or_else(|error| panic!("{error}: {}{}", ran.out, ran.err)))
    }

    /// Asserts that status is healthy.
    pub fn assert_up(&self) {
        let (code, status) = self.status();
        assert_eq!((code, &status["healthy"]), (0, &json!(true)), "{status:#}");
    }

    /// Asserts that nothing of the network is on the Mac: kernel, hosts file, state and log.
    pub fn assert_clean(&self, kernel: &str) {
        assert_eq!(self.mac.kernel(), kernel);
        self.assert_no_files("");
    }

    /// Asserts that no file of the network is left.
    pub fn assert_no_files(&self, why: &str) {
        assert_eq!(self.hosts(), HOSTS, "{why}");
        let left = fs::read_dir(self.mac.dir().join("var")).expect("var");
        let left: Vec<_> = left.flatten().map(|entry| entry.path()).collect();
        assert!(left.is_empty(), "{why}: {left:?}");
    }
}
