//! Two commands of the manager at the same time, in random orders of what they call: the end is one that some order of
//! both could give, and neither fails for the other's sake.

use std::fmt::Write as _;
use std::fs;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::network::{Kept, Network};
use crate::rig::{Ran, foreign, settled};
use crate::support::is_long;

const COMMANDS: [&str; 6] = ["start", "stop", "reconcile", "cleanup", "confirm", "status"];

/// Where both begin.
#[derive(Clone, Copy, Debug)]
enum Begin {
    Bare,
    Up,
    /// Someone took something away.
    Drifted,
    /// Another bundle was installed, and not started.
    Installed,
    /// It was started, and waits for its confirmation, over another network that was up.
    Waiting,
    /// A run died with the lock.
    Died,
    /// Two ends are cut from each other.
    Cut,
}

const BEGINS: [Begin; 6] =
    [Begin::Bare, Begin::Up, Begin::Drifted, Begin::Installed, Begin::Waiting, Begin::Died];

fn tiny(port: u16) -> Value {
    json!({
        "version": 1,
        "providers": {
            "aws": { "network": "10.0.0.0/16", "gateway": "10.0.1.1/24" },
            "gcp": { "network": "10.2.0.0/16", "gateway": "10.2.1.1/24" },
        },
        "volumes": { "etcd-1": { "provider": "aws", "address": "10.0.1.2", "localhost": "127.0.1.11" } },
        "links": [{ "from": ["aws"], "to": ["gcp"], "protocol": "tcp", "ports": [port] }],
    })
}

impl Begin {
    fn prepare(self, network: &Network) {
        if !matches!(self, Self::Bare) {
            network.ok("start");
        }
        match self {
            Self::Bare | Self::Up => {}
            Self::Drifted => {
                network.mac.ok("ifconfig bridge2000 destroy");
                network.mac.ok("pfctl -a com.apple/250.nixvol -F all");
            }
            Self::Installed => network.install(&tiny(443)),
            Self::Waiting => {
                network.install(&tiny(443));
                network.ok("start --confirm-within 9999");
                network.end_watchers();
            }
            Self::Died => {
                network.mac.ok("ifconfig lo0 -alias 10.0.1.2");
                fs::write(network.state().join("lock"), "4194303\tSun Nov 22 23:29:10 2026\n")
                    .expect("a lock");
            }
            Self::Cut => drop(network.ok("partition etcd-1 gcp")),
        }
    }
}

/// All that a later run goes by.
fn outcome(network: &Network) -> String {
    let mut text = settled(&network.mac.kernel()).join("\n");
    let _ = writeln!(text, "\nhosts: {}", network.hosts());
    let Ok(entries) = fs::read_dir(network.state()) else { return text };
    let mut entries: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let kept = fs::read_to_string(&path).unwrap_or_default();
        match name.as_str() {
            "names" | "wish" | "applied" | "starting" | "rules.conf" | "faults" => {
                let _ = writeln!(text, "{name}: {kept}");
            }
            "lock" if kept.starts_with("4194303\t") => {}
            "pending" => text += "something waits\n",
            _ => assert!(!name.starts_with("lock"), "{name} is left"),
        }
    }
    text
}

struct Pair {
    network: Network,
    begin: Kept,
    commands: [&'static str; 2],
    /// What both orders give: exit codes, and the end.
    orders: Vec<([i32; 2], String)>,
    why: String,
}

impl Pair {
    fn new(begin: Begin, commands: [&'static str; 2]) -> Self {
        let network = Network::new(&tiny(80));
        begin.prepare(&network);
        network.be_patient();
        let kept = network.keep();
        let why = format!("{begin:?}: {} and {}", commands[0], commands[1]);
        let mut pair = Self { network, begin: kept, commands, orders: Vec::new(), why };
        for order in [[0, 1], [1, 0]] {
            pair.network.put_back(&pair.begin);
            let mut codes = [0; 2];
            for at in order {
                codes[at] = pair.network.run(commands[at]).code;
            }
            pair.orders.push((codes, outcome(&pair.network)));
        }
        pair
    }

    fn spawn(&self, at: usize) -> Child {
        let mut command = self.network.command(self.commands[at]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the manager runs")
    }

    /// Runs both in this order of turns.
    fn play(&self, order: &str) {
        let network = &self.network;
        network.put_back(&self.begin);
        network.mac.forget_journal();
        let (turns, turn) = (network.mac.root().join("turns"), network.mac.root().join("turn"));
        fs::write(&turns, format!("{order}\n")).expect("the order");
        fs::write(&turn, "").expect("the turn");
        let both = [self.spawn(0), self.spawn(1)];
        // Whoever reads sees the old file or the new one.
        let new = network.mac.root().join("turns.new");
        fs::write(&new, format!("{order}\n{}\n{}\n", both[0].id(), both[1].id())).expect("the order");
        fs::rename(&new, &turns).expect("the order");
        let ran = both.map(|child| Ran::of(&child.wait_with_output().expect("the manager ends")));
        fs::remove_file(&turns).expect("the order");
        let told = ran
            .iter()
            .map(|ran| format!("\n{}: {}{}", ran.code, ran.out, ran.err))
            .collect::<Vec<_>>()
            .concat();
        let why = format!("{}, {order}{told}", self.why);
        let looks = |at: usize| self.commands[at] == "status";
        let alike = |codes: &[i32; 2]| (0..2).all(|at| looks(at) || codes[at] == ran[at].code);
        for at in [0, 1] {
            assert!(!looks(at) || (ran[at].code < 2 && ran[at].err.is_empty()), "{why}");
        }
        let end = outcome(network);
        if !self.orders.iter().any(|(codes, must)| alike(codes) && *must == end) {
            let orders: String = self
                .orders
                .iter()
                .map(|(codes, must)| format!("\n{codes:?}\n{must}"))
                .collect::<Vec<_>>()
                .concat();
            panic!("{why}\n\nended as\n{end}\n\nthe orders give{orders}");
        }
        assert_eq!(foreign(&network.mac.journal()), [""; 0], "{why}");
    }

    /// How many commands both are.
    fn length(&self) -> usize {
        self.network.put_back(&self.begin);
        self.network.mac.forget_journal();
        for command in self.commands {
            self.network.run(command);
        }
        self.network.mac.journal().len()
    }
}

/// Plays every pair with this command and those after it.
fn company(first: usize) {
    let long = is_long();
    for (second, command) in COMMANDS.into_iter().enumerate().skip(first) {
        for (number, begin) in BEGINS.into_iter().enumerate() {
            // One of the beginnings for each pair, when time is short.
            if !long && (first + second) % BEGINS.len() != number {
                continue;
            }
            let pair = Pair::new(begin, [COMMANDS[first], command]);
            let seed = first * 100 + second * 10 + number;
            if long {
                let length = pair.length();
                for at in 0..=length {
                    pair.play(&format!("at {at}"));
                }
                for n in 0..20 {
                    pair.play(&format!("random {}", seed * 100 + n));
                }
                continue;
            }
            pair.play(&format!("random {seed}"));
            pair.play(&format!("at {}", 8 + seed % 40));
        }
    }
}

/// Whoever cuts or heals while another is at work.
#[test]
fn a_partition_and_a_heal_in_company() {
    let long = is_long();
    let mut seed = 0;
    for first in ["partition aws gcp", "heal"] {
        for second in ["start", "stop", "reconcile", "cleanup", "status", "heal", "partition gcp aws"] {
            for begin in [Begin::Up, Begin::Drifted, Begin::Installed, Begin::Cut] {
                seed += 1;
                if !long && seed % 3 > 0 {
                    continue;
                }
                let pair = Pair::new(begin, [first, second]);
                pair.play(&format!("random {seed}"));
                for at in if long { 0..pair.length() } else { 8 + seed % 40..9 + seed % 40 } {
                    pair.play(&format!("at {at}"));
                }
            }
        }
    }
}

#[test]
fn a_start_is_safe_beside_another_run() {
    company(0);
}

#[test]
fn a_stop_is_safe_beside_another_run() {
    company(1);
}

#[test]
fn a_reconcile_is_safe_beside_another_run() {
    company(2);
}

#[test]
fn a_cleanup_is_safe_beside_another_run() {
    company(3);
}

#[test]
fn confirm_and_status_are_safe_beside_another_run() {
    company(4);
    company(5);
}
