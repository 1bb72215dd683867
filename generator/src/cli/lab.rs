//! The command line of `lab`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use clap_complete::ArgValueCompleter;

use nixvol_net::scenario;

use super::{Format, complete};

/// What the lab does.
#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// Start a lab, run a command in it as this Mac, and end the lab with the command.
    ///
    /// The command and its children see only the lab's network and names. `nixvol-net lab exec` and the other lab
    /// commands work inside, on this lab.
    #[command(after_help = "Examples:
  nixvol-net lab run -- nixvol-net lab exec etcd-1 -- getent hosts etcd-2.nixvol
  nixvol-net lab run --input network.json -- ip route

Exit: what the command exits with; 1 not proven or no lab, 2 bad input, 127 no such command.")]
    Run {
        /// What to build it from.
        #[command(flatten)]
        from: From,
        /// The command.
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Start a lab that stays until `lab down`.
    #[command(after_help = "Examples:
  nixvol-net lab up
  nixvol-net lab up --bundle result/

Exit: 0 up, 1 not proven or it did not come up, 2 bad input.")]
    Up {
        /// What to build it from.
        #[command(flatten)]
        from: From,
    },
    /// End the lab, and everything that runs in it.
    #[command(after_help = "Examples:
  nixvol-net lab down

Exit: 0 ended, or there was none.")]
    Down,
    /// Show the hosts of the lab and the fate of their packets.
    #[command(after_help = "Examples:
  nixvol-net lab status
  nixvol-net lab status --format json >lab.json

Exit: 0 a lab is up, 1 none is.")]
    Status {
        /// The output format.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Run a command as a volume, or as `mac`, `lan` or `internet`; with several Macs also as `macs.NAME`.
    #[command(after_help = "Examples:
  nixvol-net lab exec etcd-1 -- bash
  nixvol-net lab exec karpenter-worker-1 -- getent hosts etcd-2.azure.nixvol
  nixvol-net lab exec internet -- ip addr

Exit: what the command exits with; 2 no such lab or volume, 127 no such command.")]
    Exec {
        /// The volume that runs it.
        #[arg(value_name = "VOLUME", add = ArgValueCompleter::new(complete::asked))]
        node: String,
        /// The command.
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Probe every declared flow and samples of the others with real packets, and compare each with `explain`.
    ///
    /// Every volume, this Mac, a host on its LAN and a host on the internet probe each other by TCP, UDP and ICMP:
    /// at both ends of every declared port range, just outside it, and at a port that no link names. With several Macs
    /// all of them are played, and what goes from one to another is compared with what `explain` says of both.
    #[command(after_help = "Examples:
  nixvol-net lab test --input network.json
  nixvol-net lab test --bundle result/ --format json >probes.json

Exit: 0 no difference, 1 a difference, told with its packets and rules, 2 bad input.")]
    Test {
        /// What to build it from.
        #[command(flatten)]
        from: From,
        /// The output format.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Load the rules of another bundle, as one step. Open connections stay.
    #[command(after_help = "Examples:
  nixvol-net lab apply result/
  nixvol-net lab apply result/ --kill

Exit: 0 loaded, 2 it cannot be, and nothing changed.")]
    Apply {
        /// The bundle.
        #[arg(value_name = "BUNDLE")]
        bundle: PathBuf,
        /// End open connections as the manager does on the Mac: those that a removed rule permitted.
        #[arg(long)]
        kill: bool,
    },
    /// Cut the paths between two volumes or providers, or between one and all other volumes and providers.
    ///
    /// The arguments are those of the manager's `partition` on a Mac. With several Macs, `macs.NAME` is the link between
    /// that Mac and the others, or the one named: what is on the same Mac goes on.
    #[command(after_help = "Examples:
  nixvol-net lab partition aws
  nixvol-net lab partition etcd-1 azure --for 30s

Exit: 0 cut, 2 no such lab, volume or Mac.")]
    Partition {
        /// The two endpoints.
        #[command(flatten)]
        ends: PathArguments,
    },
    /// Slow the paths between two volumes or providers, or between one and all other volumes and providers.
    ///
    /// It applies in each direction, in place of the conditions that links have and of what slowed the path before.
    /// The arguments are those of the manager's `slow` on a Mac. With several Macs, `macs.NAME` is the link between that
    /// Mac and the others.
    #[command(after_help = "Examples:
  nixvol-net lab slow aws gcp --latency 100
  nixvol-net lab slow etcd-1 azure --latency 40 --loss 0.05 --bandwidth 2000 --for 1m

Exit: 0 slowed, 2 no such lab or volume, or conditions out of range.")]
    Slow {
        /// The two endpoints.
        #[command(flatten)]
        ends: PathArguments,
        /// Added latency in each direction, in milliseconds.
        #[arg(long, value_name = "MS")]
        latency: Option<u16>,
        /// The share of packets that is lost in each direction, from 0 to 1.
        #[arg(long, value_name = "SHARE")]
        loss: Option<f64>,
        /// The bandwidth of each direction, in kilobits a second.
        #[arg(long, value_name = "KBIT")]
        bandwidth: Option<u32>,
    },
    /// End what `partition` and `slow` did: all of it, what one endpoint has, or what is between two.
    ///
    /// A provider means its volumes too. The arguments are those of the manager's `heal` on a Mac.
    #[command(after_help = "Examples:
  nixvol-net lab heal aws
  nixvol-net lab heal

Exit: 0 healed, 2 no such lab or volume.")]
    Heal {
        /// A volume or a provider, or a Mac as `macs.NAME`.
        #[arg(value_name = "A", add = ArgValueCompleter::new(complete::cut))]
        one: Option<String>,
        /// Another; without it, whatever A is cut or slowed from.
        #[arg(value_name = "B", add = ArgValueCompleter::new(complete::cut))]
        other: Option<String>,
    },
    /// Play a scenario: partitions and slow paths at set times. Its effects are undone when it ends or is interrupted.
    ///
    /// The file is TOML, or the JSON that Nix evaluates; `nixvol-net help lab` shows one. Each step is printed as it
    /// happens, with the time of day.
    #[command(after_help = "Examples:
  nixvol-net lab scenario scenario.toml
  nix eval --json --file scenario.nix | nixvol-net lab scenario - --format json >timeline.jsonl
  nixvol-net lab scenario scenario.toml --watch leader='sh leader.sh'

Exit: 0 played to its end, 1 the lab ended before it, 2 no such lab, or a mistake in the file.")]
    Scenario {
        /// The file; `-` is standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// A value to tell whenever it changes: the first line that COMMAND prints, which sh runs again and again.
        #[arg(long, value_name = "NAME=COMMAND", value_parser = watched)]
        watch: Vec<(String, String)>,
        /// The output format of the timeline; JSON is an object a line.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Draw the timeline of a scenario as SVG: what was cut or slow when, and the values that were watched.
    ///
    /// It reads what `lab scenario --format json` printed, and needs no lab.
    #[command(after_help = "Examples:
  nixvol-net lab timeline timeline.jsonl >timeline.svg

Exit: 0 drawn, 2 no such file, or no timeline.")]
    Timeline {
        /// The file; `-` is standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Write the packets of a volume, a provider or a link as pcapng, each with the rule that decided as its comment.
    ///
    /// A packet is written once for every hop at which pf saw it: lo0 going out and coming in, or its bridge and where
    /// it leaves. Ends after --seconds, with Ctrl-C, with its reader, or with the lab. With several Macs, `macs` is what
    /// is on the link between them, which is WireGuard.
    #[command(after_help = "Examples:
  nixvol-net lab capture etcd-1 | wireshark -k -i -
  nixvol-net lab capture links.0 --seconds 1 --out link.pcapng

Exit: 0, 2 no such lab, volume or link.")]
    Capture {
        /// A volume, a provider, `mac`, `lan`, `internet`, a link by its number (`links.0`), or `macs`.
        #[arg(value_name = "VOLUME|LINK", add = ArgValueCompleter::new(complete::captured))]
        what: String,
        /// The file; without it, standard output.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// For how long; without it, until interrupted.
        #[arg(long, value_name = "SECONDS")]
        seconds: Option<u64>,
    },
    /// Play recorded scenarios of Apple's own stack through the lab's Mac, and report where the two differ.
    ///
    /// One scenario per line, as JSON: rules, interfaces, routes, machines, what is sent, each evaluation by pf, the
    /// packets that left, and the outcome. It needs no namespaces and works everywhere. Prints one line for each
    /// scenario.
    #[command(after_help = "Examples:
  nixvol-net lab replay scenarios.jsonl
  head -n 1 scenarios.jsonl | nixvol-net lab replay - >played.jsonl

Exit: 0 all as the file says, 1 some differ (which and how is told), 2 no such file, or no scenario.")]
    Replay {
        /// The file; `-` is standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Play the Mac. For the lab's own use.
    #[command(hide = true)]
    Serve {
        /// The descriptor that the setup is read from.
        descriptor: i32,
    },
}

/// The ends of paths, and for how long something is done to them.
#[derive(Debug, Args)]
pub struct PathArguments {
    /// A volume or a provider, or a Mac as `macs.NAME`.
    #[arg(value_name = "A", add = ArgValueCompleter::new(complete::cut))]
    pub one: String,
    /// Another; without it, all other volumes and providers, or all other Macs.
    #[arg(value_name = "B", add = ArgValueCompleter::new(complete::cut))]
    pub other: Option<String>,
    /// For how long: seconds, or a time such as `1m30s`; without it, until `heal`.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub lasts: Option<Duration>,
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    scenario::duration(text).ok_or("it takes a time such as 30, 30s or 1m30s, up to a week")
}

/// `NAME=COMMAND`.
fn watched(text: &str) -> Result<(String, String), String> {
    let is_name =
        |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let parts = text.split_once('=').filter(|(name, command)| is_name(name) && !command.trim().is_empty());
    let parts = parts.map(|(name, command)| (name.to_owned(), command.to_owned()));
    parts.ok_or_else(|| "write NAME=COMMAND, with a name of letters, digits, `-`, `_` and `.`".to_owned())
}

/// What a lab is built from.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct From {
    /// The JSON that Nix evaluates; `-` is standard input [default: the embedded topology]
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// A bundle, whose rules are taken as they are; of several Macs that share a declaration each has one, and those that
    /// are not given are rendered.
    #[arg(long, value_name = "DIR")]
    pub bundle: Vec<PathBuf>,
}
