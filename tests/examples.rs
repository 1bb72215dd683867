//! The examples in `--help`: every command has some, and every example runs as it is printed, on a toy Mac with the
//! files that it names.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nixvol_net::explain::STOCK_MAIN;
use serde_json::{Value, json};

use crate::edits_macs::MACS;
use crate::network::{Network, topology};
use crate::rig::Ran;
use crate::support::{fixture, has_lab, has_namespaces, program, run};
use crate::tools::tools;

/// Examples that exit with 1, since they find a difference or a blocked packet. All others exit with 0.
const NO: &[&str] = &["nixvol-net diff ", "nixvol-net explain lan "];

/// A configuration for the examples of `add` and `remove`.
const CONFIGURATION: &str = r#"{
  services.nixvol-net = {
    enable = true;
    providers = {
      aws = { network = "10.0.0.0/16"; gateway = "10.0.1.1/24"; };
      azure = { network = "10.1.0.0/16"; gateway = "10.1.1.1/24"; };
      gcp = { network = "10.2.0.0/16"; gateway = "10.2.1.1/24"; };
      ibm = { network = "10.3.0.0/16"; gateway = "10.3.1.1/24"; };
    };
    volumes = {
      etcd-1 = { provider = "aws"; address = "10.0.1.2"; };
      etcd-3 = { provider = "gcp"; address = "10.2.1.2"; };
      spare = { provider = "ibm"; address = "10.3.1.2"; };
    };
    links = [
      { from = [ "azure" ]; to = [ "gcp" ]; protocol = "tcp"; ports = [ 443 ]; }
      { from = [ "aws" ]; to = [ "gcp" ]; protocol = "icmp"; }
    ];
  };
}
"#;

/// Every command with its `--help`, including the program itself and command groups.
pub fn commands() -> Vec<(Vec<String>, String)> {
    let mut found = Vec::new();
    let mut open = vec![Vec::new()];
    while let Some(words) = open.pop() {
        let output = program().args(&words).arg("--help").output().expect("the program runs");
        assert!(output.status.success(), "{words:?}");
        let help = String::from_utf8(output.stdout).expect("text");
        open.extend(below(&help).into_iter().map(|name| [words.clone(), vec![name]].concat()));
        found.push((words, help));
    }
    found.sort();
    found
}

/// The names under `Commands:`, without clap's own `help`.
fn below(help: &str) -> Vec<String> {
    let Some((_, list)) = help.split_once("\nCommands:\n") else { return Vec::new() };
    let list = list.split("\n\n").next().expect("a list");
    let names = list.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let own = help.contains("\n  help  ") && !help.contains("Print this message or the help");
    names.filter(|name| !name.is_empty() && (own || *name != "help")).map(str::to_owned).collect()
}

/// The examples in a help text; one that spans several lines ends where bash finds it syntactically complete.
fn examples(help: &str) -> Vec<String> {
    let Some(at) = help.find("\nExamples:\n") else { return Vec::new() };
    let mut commands = Vec::new();
    let mut open = String::new();
    for line in help[at..].lines().filter_map(|line| line.strip_prefix("  ")) {
        open += line;
        open.push('\n');
        if !line.ends_with('\\') && is_whole(&open) {
            commands.push(std::mem::take(&mut open));
        }
    }
    assert_eq!(open, "", "an example that does not end");
    commands
}

fn is_whole(command: &str) -> bool {
    let output = Command::new("bash").args(["-n", "-c", command]).output().expect("bash runs");
    output.status.success() && output.stderr.is_empty()
}

/// A toy Mac with the network up, and the files and tools that examples name.
pub struct World {
    network: Network,
    /// The lab's name for the examples that use one.
    lab: String,
}

impl World {
    pub fn new() -> Self {
        let mut network = Network::new(&topology());
        let dir = network.mac.dir().to_owned();
        let mut input = topology();
        for (field, path) in
            [("base", "live"), ("stateDir", "var/state"), ("logFile", "var/log"), ("hostsFile", "hosts")]
        {
            input[field] = json!(dir.join(path));
        }
        network.install_at(&input, &dir.join("live/networking"));
        network.ok("start");
        network.ok(&format!("logs --collect {}", dir.join("collected").display()));
        let lab = format!("nixvol-net{}", dir.display());
        let world = Self { network, lab };
        world.write("network.json", &input.to_string());
        world.write("new.json", &fixture("restricted.json").to_string());
        world.write("scenarios.jsonl", &format!("{}\n", crate::replay::rows()[0]));
        world.write("scenario.toml", "[[step]]\nat = 0\npartition = ['aws', 'azure']\nfor = 0.2\n");
        world.write("scenario.json", r#"{"step":[{"at":0,"slow":"etcd-1","latencyMs":1,"for":0.2}]}"#);
        world.write("etc/pf.conf", STOCK_MAIN);
        world.write("configuration.nix", CONFIGURATION);
        world.write("macs.nix", MACS);
        world.write("volumes.nix", "{\n  services.nixvol-net.volumes.etcd-1.publish = [ 2379 ];\n}\n");
        world.write("links.nix", "{\n  services.nixvol-net.links = [\n  ];\n}\n");
        for (bundle, input) in [
            ("bundle", topology()),
            ("tmp/bundle", topology()),
            ("result", topology()),
            ("nixvol-snapshot", input.clone()),
            ("tmp/before", fixture("restricted.json")),
            ("tmp/after", fixture("restricted-more.json")),
        ] {
            world.render(bundle, &input);
        }
        fs::remove_dir_all(dir.join("opt")).expect("what was installed first");
        world.render("opt/nix-volumes/networking", &topology());
        for name in ["compose.yaml", "show.json"] {
            world.write(
                name,
                &fs::read_to_string(crate::support::root().join("tests/import").join(name))
                    .expect("an example"),
            );
        }
        world.tool("terraform", "exec cat show.json");
        world.tool("wireshark", "exit 0");
        world.tool("sudo", "exec \"$@\"");
        for served in ["curl", "python3", "etcd", "zsh"] {
            // Stubs for commands that would run for long, or need a server.
            world.tool(served, "test \"$NIXVOL_ADDRESS\" = 10.0.1.2");
        }
        world.tool("gh", "exec cat >/dev/null");
        world.tool("git", "shift; for file; do test -e \"$file\" || exit 1; done");
        let nix = "case \"$*\" in *scenario.nix) exec cat scenario.json ;; esac; \
                   case $1 in eval) exec cat network.json ;; run) shift 3; exec nixvol-net \"$@\" ;; \
                   flake) test \"$2 $3\" = 'init -t' ;; *) exit 1 ;; esac";
        world.tool("nix", nix);
        world.tool("darwin-rebuild", "test \"$*\" = 'switch --flake .#mac'");
        for directory in [".local/share/bash-completion/completions", ".config/fish/completions", ".zsh"] {
            fs::create_dir_all(dir.join("home").join(directory)).expect("a directory");
        }
        world
    }

    fn dir(&self) -> &Path {
        self.network.mac.dir()
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir().join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    fn tool(&self, name: &str, script: &str) {
        let path = format!("tools/{name}");
        self.write(&path, &format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(self.dir().join(path), fs::Permissions::from_mode(0o755)).expect("its mode");
    }

    fn render(&self, out: &str, input: &Value) {
        let out = self.dir().join(out).display().to_string();
        let output = run(&["render", "--input", "-", "--out", &out], &input.to_string());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts a lab for an example that uses one, and stops it for an example that starts one.
    fn prepare_lab(&self, command: &str) {
        let starts = command.contains("lab up");
        let lab = |words: &[&str]| {
            let ran =
                program().arg("lab").args(words).env("NIXVOL_LAB", &self.lab).output().expect("it runs");
            ran.status.success()
        };
        if starts {
            assert!(lab(&["down"]));
        } else if !lab(&["status"]) {
            assert!(lab(&["up"]));
        }
    }

    /// Runs a command as it is printed, with absolute paths redirected into the temporary directory.
    pub fn run(&self, command: &str) -> Ran {
        let dir = self.dir().display().to_string();
        let mut text = command.to_owned();
        for root in ["/tmp/", "/opt/", "/etc/"] {
            text = text.replace(&format!(" {root}"), &format!(" {dir}{root}"));
        }
        // `serve` runs until it is ended: here, when it has printed its address.
        if text.contains("nixvol-net serve") {
            text = format!(
                "rm -f served\n{} >served &\nuntil grep -qs token= served || ! kill -0 $!; do sleep 0.1; done\nkill $!\nwait $!",
                text.trim_end()
            );
        }
        // `run` needs the volume's address on the machine.
        let acts = command.contains("nixvol-net run ");
        if acts {
            text = format!("ip link set lo up && ip addr add 10.0.1.2/32 dev lo\n{text}");
        }
        let bin = Path::new(env!("CARGO_BIN_EXE_nixvol-net")).parent().expect("a directory");
        let path = format!("{dir}/mac/bin:{dir}/tools:{}:{}", bin.display(), tools());
        let bash = ["bash", "-o", "pipefail", "-c", &text];
        let shell = if acts { [&["unshare", "-Urn"], &bash[..]].concat() } else { bash.to_vec() };
        let output = Command::new(shell[0])
            .args(&shell[1..])
            .current_dir(self.dir())
            .env("PATH", path)
            .env("HOME", self.dir().join("home"))
            .env("NO_COLOR", "1")
            .env("NIXVOL_LAB", &self.lab)
            .stdin(Stdio::null())
            .output();
        Ran::of(&output.expect("bash runs"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if cfg!(target_os = "linux") {
            let _ = program().args(["lab", "down"]).env("NIXVOL_LAB", &self.lab).output();
        }
    }
}

#[test]
fn every_command_has_examples_that_run() {
    let world = World::new();
    let commands = commands();
    assert!(commands.len() > 10, "{commands:?}");
    let mut wrong = Vec::new();
    for (words, help) in &commands {
        let name =
            ["nixvol-net"].into_iter().chain(words.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
        let examples = examples(help);
        let is_group = !words.is_empty() && help.contains("\nCommands:\n");
        if is_group && examples.is_empty() {
            continue;
        }
        if examples.is_empty() {
            wrong.push(format!("{name}: no `Examples:` in --help"));
        }
        if !examples.iter().any(|example| example.contains(&name)) {
            wrong.push(format!("{name}: no example calls it"));
        }
        for example in examples {
            if example.contains("nixvol-net run ") && !has_namespaces() {
                continue;
            }
            if example.contains("nixvol-net lab ") {
                if !has_lab() {
                    continue;
                }
                world.prepare_lab(&example);
            }
            let ran = world.run(&example);
            let no = NO.iter().any(|command| example.contains(command));
            if ran.code != i32::from(no) || ran.err.contains("error:") {
                wrong.push(format!("{name}: exit {}\n{example}{}", ran.code, ran.err));
            }
        }
    }
    let capture =
        fs::read_to_string(world.dir().join("capture")).expect("the capture of `explain`'s example");
    assert!(
        capture.contains("# anchor com.apple/250.nixvol\n") && capture.contains("label \"between\""),
        "{capture}"
    );
    assert!(
        wrong.is_empty(),
        "{}\nhint: files and tools that examples name are made in World::new",
        wrong.join("\n")
    );
}

#[test]
fn examples_fit_a_terminal() {
    for (words, help) in commands() {
        for line in examples(&help).iter().flat_map(|example| example.lines()) {
            assert!(line.len() <= 98, "{words:?}: {line}");
        }
    }
}
