//! The command line: subcommands, arguments and help texts.

pub mod complete;
pub mod edit;
pub mod explain;
pub mod init;
pub mod lab;
pub mod papers;
pub mod pf;
pub mod run;
pub mod serve;
mod shared;
pub mod snapshot;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::engine::ArgValueCompleter;

pub use shared::{CheckFormat, DiffFormat, Format, GraphFormat, InputSource, StatusFormat};

/// Declare a network of volumes; get a pf ruleset and a manager for macOS.
///
/// Without --input, every command works on the embedded topology: five cloud providers, thirteen volumes.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, subcommand_required = true, arg_required_else_help = true)]
#[command(
    disable_help_subcommand = true,
    after_help = "Examples:
  nixvol-net test
  nixvol-net render --input network.json --out /tmp/bundle
  nixvol-net explain etcd-1 etcd-2:2379

Exit: 0 done, or yes; 1 no, as each command says; 2 wrong use or bad input."
)]
pub struct Cli {
    /// When to use colour: auto is on a terminal, unless NO_COLOR is set.
    #[arg(long, value_enum, value_name = "WHEN", global = true, default_value_t)]
    pub color: ColourChoice,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// When colour is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ColourChoice {
    /// On a terminal that shows it, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a first declaration in Nix: from your answers, from flags, or from a Compose file, a kind cluster or Terraform.
    ///
    /// On a terminal it asks. With --from, networks become providers, machines volumes, published ports `publish`, and
    /// anything without a counterpart is reported with its place. The draft is checked and proven before it is written.
    Init(init::InitArguments),
    /// Write the bundle: pf anchor, manager, launchd job, names, guests' files, picture.
    ///
    /// Before anything is written, the rendered rules are read back and proven to do what was declared.
    /// The directory is replaced as a whole or not at all. One that holds anything but a bundle is refused.
    #[command(after_help = "Examples:
  nixvol-net render --out /tmp/bundle
  nixvol-net render --out /tmp/bundle --picture
  nix eval --json .#darwinConfigurations.mac.config.services.nixvol-net.input \\
    | nixvol-net render --input - --out /tmp/bundle

Exit: 0 written, 1 not proven or not as expected, 2 bad input or a directory that is not ours.")]
    Render {
        /// The declaration.
        #[command(flatten)]
        source: InputSource,
        /// The directory to write.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Show the picture and who may open connections to whom, too.
        #[arg(long, conflicts_with_all = ["quiet", "format"])]
        picture: bool,
        /// Print nothing when it is written.
        #[arg(short, long, conflicts_with = "format")]
        quiet: bool,
        /// The output format.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Prove that a bundle's bytes do what was declared, for all packets.
    ///
    /// The anchor is parsed and compared with the declaration in network.json; every other file must be what that
    /// declaration renders. A violation is shown with a packet.
    #[command(after_help = "Examples:
  nixvol-net verify /tmp/bundle
  nixvol-net verify /opt/nix-volumes/networking --format json

Exit: 0 proven, 1 not, 2 no bundle or a bad one.")]
    Verify {
        /// The bundle.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// The output format.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Render in memory, prove, and show what may open connections to what.
    #[command(after_help = "Examples:
  nixvol-net test
  nixvol-net test --input network.json --format json
  sudo nixvol-net test --input network.json --live

Exit: 0 proven (and probed), 1 not proven, not as expected or a probe failed, 2 bad input.")]
    Test {
        /// The declaration.
        #[command(flatten)]
        source: InputSource,
        /// Probe the running network too: on a Mac where it is installed, as root.
        #[arg(long)]
        live: bool,
        /// Prove the rules of every Mac of `macs`, and that through those of any two exactly the declared traffic
        /// passes.
        #[arg(long, conflicts_with = "live")]
        all_macs: bool,
        /// The output format.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Validate the declaration: report every problem at once, each with its place and a fix.
    ///
    /// A valid declaration is then checked against its expectations (`expect`), for all packets: one that fails is
    /// shown with a flow, and with the rule and the declaration that decide.
    #[command(after_help = "Examples:
  nixvol-net check --input network.json
  nixvol-net check --input network.json --format sarif >nixvol-net.sarif
  nix eval --json .#darwinConfigurations.mac.config.services.nixvol-net.input \\
    | nixvol-net check --input - --format json

Exit: 0 valid and as expected, 1 valid but not as expected, 2 not valid. `nixvol-net help E025` tells more of the error with that code.")]
    Check {
        /// The declaration.
        #[command(flatten)]
        source: InputSource,
        /// The output format.
        #[arg(long, value_enum, default_value_t)]
        format: CheckFormat,
    },
    /// Show the path of a packet, and the rule and the declaration that decide.
    ///
    /// Shows every hop at which pf sees the packet on macOS (what the Mac sends to itself, out and in on lo0; what a VM
    /// sends, in on its bridge and out where it leaves), what the rendered anchor does with it there, the line of the
    /// rule, and the link or default of the declaration behind it; then the same for the reply.
    ///
    /// An endpoint is a volume (etcd-1, etcd-1.aws, etcd-1.aws.nixvol), its localhost alias (etcd-1.localhost), a provider
    /// (a host in its network that is not a volume) or its gateway (aws.gateway), an IPv4 address, `internet`, `lan`,
    /// `localhost`, or `mac`.
    Explain(explain::ExplainArguments),
    /// Read pf rulesets without a Mac: check their syntax, print them as pfctl does, evaluate packets.
    Pf {
        /// What to do.
        #[command(subcommand)]
        command: pf::Pf,
    },
    /// Show which flows a change opens and closes, end to end, in the names of the declaration.
    ///
    /// Each flow is shown with a packet that the two sides treat differently. Then follow: what each new, removed,
    /// moved or renamed volume gained and lost, conditions, objects that the manager creates, and files. A flow
    /// between providers excludes traffic inside one of them, which always passes. `(outside before)` marks what is
    /// declared on the new side only. Signs: + more passes or exists, - less, ~ different.
    #[command(after_help = "Examples:
  nixvol-net diff /tmp/before /tmp/after
  nixvol-net diff result/ new.json --format markdown | gh pr comment --body-file -
  nix eval --json .#darwinConfigurations.mac.config.services.nixvol-net.input \\
    | nixvol-net diff /opt/nix-volumes/networking -

Exit: 0 the same, 1 different, 2 bad input.")]
    Diff {
        /// The old side: a bundle's directory, an input, or `-` for an input from standard input.
        #[arg(value_name = "OLD")]
        old: PathBuf,
        /// The new side, in the same forms. Only one of the two can be standard input.
        #[arg(value_name = "NEW")]
        new: PathBuf,
        /// The output format.
        #[arg(long, value_enum, default_value_t)]
        format: DiffFormat,
        /// Show the lines of the files that differ, too.
        #[arg(long)]
        lines: bool,
    },
    /// Compare what the declaration renders with the bundle that was reviewed and accepted.
    ///
    /// The accepted bundle is a directory in your repository. `check` fails when the declaration, or a new version of
    /// this program, renders anything else, and shows the flows that open and close; `accept` accepts it.
    #[command(after_help = snapshot::EXAMPLES)]
    Snapshot {
        /// What to do.
        #[command(subcommand)]
        command: snapshot::Snapshot,
    },
    /// Draw the network: the internet, this Mac, localhost, providers with their volumes, and the links between them.
    ///
    /// Each link is drawn once, as it was declared, with a line to each endpoint, so a mesh is one link, not one for each pair.
    /// The bundle holds the same drawing as topology.txt and topology.svg.
    #[command(after_help = "Examples:
  nixvol-net graph
  nixvol-net graph --format svg >topology.svg
  nixvol-net graph --format mermaid --input network.json
  nixvol-net graph --from collected --input network.json
  nixvol-net graph --provider aws,gcp

Exit: 0 drawn, 2 bad input.")]
    Graph {
        /// The declaration.
        #[command(flatten)]
        source: InputSource,
        /// A capture of a Mac, as for `status`: kernel names are shown beside the logical ones.
        #[arg(long, value_name = "DIR")]
        from: Option<PathBuf>,
        /// Draw only the links of these providers and of their volumes, with the endpoints at the other side.
        #[arg(long = "provider", value_name = "NAME", value_delimiter = ',', add = ArgValueCompleter::new(complete::providers))]
        providers: Vec<String>,
        /// The format of the drawing.
        #[arg(long, value_enum, default_value_t)]
        format: GraphFormat,
    },
    /// Add a volume, a provider, a link or an expectation to your Nix file, in its own style.
    ///
    /// What you leave out is chosen: the next free address, localhost alias or network. Comments, order, indentation
    /// and everything else stay as they are. A change that does not pass `check` is not written; a file that cannot
    /// be edited safely is not changed, and what to write by hand is printed. If the file has several Macs,
    /// `--configuration` or `--at` selects one. What the change opens and closes is printed.
    Add {
        /// What to add.
        #[command(subcommand)]
        what: edit::Add,
    },
    /// Remove a volume, a provider, a link or an expectation from your Nix file; undoes `add`.
    Remove {
        /// What to remove.
        #[command(subcommand)]
        what: edit::Remove,
    },
    /// Rename a volume or a provider in your Nix file, wherever the file names it.
    ///
    /// Changes the entry, links, expectations, the volumes of a provider, and expressions that read the entry.
    /// Comments and strings are not changed; if they use the name, that is reported.
    Rename {
        /// What to rename.
        #[command(subcommand)]
        what: edit::Rename,
    },
    /// Move a volume to another provider in your Nix file.
    Move {
        /// What to move.
        #[command(subcommand)]
        what: edit::Move,
    },
    /// Compare the Mac with the plan: what is up, under which kernel names, and what is not as declared.
    ///
    /// It reads what the manager reads: on a Mac, as root, the installed manager collects it; elsewhere it reads the
    /// directory that `manage-macos-networking.sh logs --collect DIR` wrote. It judges independently of the manager:
    /// interfaces, routes, the loaded rules, the token that keeps pf enabled. A capture does not contain the hosts
    /// file, so names are not checked.
    #[command(after_help = "Examples:
  sudo nixvol-net status --input network.json
  nixvol-net status --from collected --format json
  sudo nixvol-net status --input network.json --format openmetrics >nixvol.prom

Exit: 0 as wished, 1 not, 2 bad input.")]
    Status {
        /// The declaration.
        #[command(flatten)]
        source: InputSource,
        /// A capture of a Mac.
        #[arg(long, value_name = "DIR")]
        from: Option<PathBuf>,
        /// Look again every two seconds, until interrupted.
        #[arg(long)]
        watch: bool,
        /// The output format.
        #[arg(long, value_enum, default_value_t)]
        format: StatusFormat,
    },
    /// Play a scenario on this Mac: partitions and slow paths at set times. Its effects are undone when it ends or is
    /// interrupted.
    ///
    /// The file is that of `lab scenario`: TOML, or the JSON that Nix evaluates; `nixvol-net help scenario` shows one.
    /// The installed manager makes each fault, with a deadline, so that nothing stays if this program is killed. Before
    /// the first step it is refused if the network is not up, if it does not have all named volumes and providers, or
    /// if the scenario would take over or heal what is already partitioned or slow. It needs root.
    #[command(after_help = "Examples:
  sudo nixvol-net scenario scenario.toml --input network.json
  sudo nixvol-net scenario scenario.toml --input network.json --format json >timeline.jsonl

Exit: 0 played to its end, 1 a step failed or it was interrupted, 2 refused, or a mistake in the file.")]
    Scenario {
        /// The declaration, whose `base` tells where the manager is.
        #[command(flatten)]
        source: InputSource,
        /// The file; `-` is standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The output format of the timeline; JSON is an object a line.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Write one HTML page: the picture, the flows, the rules and the declaration behind each, addresses.
    ///
    /// The page is self-contained: it needs no network and no server. It answers questions as `explain` does, works
    /// with a keyboard and in print, and all text is there without JavaScript. The rules are proven before it is
    /// written.
    #[command(after_help = "Examples:
  nixvol-net report --out page.html
  nixvol-net report --input network.json --against /opt/nix-volumes/networking --out page.html

Exit: 0 written, 1 not proven or not as expected, 2 bad input.")]
    Report {
        /// The declaration.
        #[command(flatten)]
        source: InputSource,
        /// The file to write; `-` is standard output.
        #[arg(long, value_name = "PAGE.html")]
        out: PathBuf,
        /// What to compare it with: a bundle's directory or an input. The page starts with the differences.
        #[arg(long, value_name = "OLD")]
        against: Option<PathBuf>,
    },
    /// Run the declared network with real packets, on Linux: a namespace for every volume, and this Mac between them.
    ///
    /// One process plays the Mac: for every packet that a program in a namespace sends, it does what macOS would do
    /// under the bundle's own rules. It runs as root or in a user namespace, touches nothing of
    /// the host's network, and leaves nothing behind.
    Lab {
        /// What to do.
        #[command(subcommand)]
        command: lab::LabCommand,
    },
    /// Show the running network in a browser, live: the report with counters, flows, faults and differences.
    ///
    /// On Linux it shows the lab, and can cut, slow and heal its paths; on a Mac, or with --from, it only shows. Prints the
    /// address of the page. It listens on this machine only; the address holds a random token, and whoever has it can use
    /// the page, so do not pass it on. `nixvol-net help serve` tells more.
    Serve(serve::Serve),
    /// Run a program as a volume: sockets that it does not bind itself are bound to the volume's address.
    ///
    /// A small library is preloaded into the program and everything it starts (`nixvol-net help run`): sockets that connect, listen
    /// or send without an address, or on 0.0.0.0, get that of the volume, so that links and conditions apply to them.
    /// NIXVOL_VOLUME, NIXVOL_ADDRESS, NIXVOL_NAME, NIXVOL_PROVIDER, NIXVOL_NETWORK, NIXVOL_GATEWAY, NIXVOL_LOCALHOST (where
    /// it has an alias) and NIXVOL_HOSTS (lines for /etc/hosts, for every volume) identify the volume. Programs that cannot
    /// load the library are refused: on macOS those that SIP protects or that have a hardened runtime, on Linux static
    /// programs and those written in Go, on both setuid programs.
    Run(run::RunArguments),
    /// Print the JSON Schema of the input, or of what a command prints with `--format json`.
    Schema(papers::Schema),
    /// Print the completions of a shell.
    Completions(papers::Completions),
    /// Print a manual page, or write all of them.
    Man(papers::Man),
    /// Print a page: about an error by its code, a command, or a topic such as `macos`.
    Help(papers::HelpArguments),
}
