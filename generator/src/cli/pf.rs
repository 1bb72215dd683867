//! The command line of `pf`, which gives direct access to the pf reader.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};

use super::Format;

/// What to do with a ruleset.
#[derive(Debug, Subcommand)]
pub enum Pf {
    /// Read rulesets and report every error in them.
    ///
    /// Refuses the lines that pfctl refuses. Errors go to standard error, one a line, in the order of the files
    /// and their lines: FILE:LINE:COLUMN: MESSAGE. For a ruleset without errors nothing is printed, as by pfctl,
    /// except a note about a file that every Mac has and this machine lacks: its content is not checked.
    #[command(after_help = "Examples:
  nixvol-net pf check /etc/pf.conf
  nixvol-net pf check -D egress=en0 bundle/pf/anchor.conf
  pfctl -a com.apple/250.nixvol -s rules | nixvol-net pf check -

Exit: 0 no errors, 1 errors, 2 wrong use or a file that cannot be read.")]
    Check {
        /// The rulesets; `-` is standard input, which errors call `stdin`.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The machine.
        #[command(flatten)]
        machine: MachineArguments,
        /// The format of the errors: lines on standard error, or an object on standard output.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Print a ruleset in canonical form: lists multiplied out, names as numbers, defaults written.
    ///
    /// As `pfctl -o none -nvf FILE` prints it on a Mac: ports are numbers, and only the last part of an anchor's path
    /// is shown. The output can be read again and prints the same; so state options are printed before a probability,
    /// where pfctl prints them after it and cannot read them back.
    #[command(after_help = "Examples:
  nixvol-net pf print /etc/pf.conf
  echo 'pass in proto tcp to port { 22, 80 }' | nixvol-net pf print -

Exit: 0 printed, 1 errors in the ruleset, 2 wrong use or a file that cannot be read.")]
    Print {
        /// The ruleset; `-` is standard input, which errors call `stdin`.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The machine.
        #[command(flatten)]
        machine: MachineArguments,
        /// How to print it: as text, or the lines of it as data, with the errors where there are any.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Evaluate packets as pf does: one JSON object per line in, one answer per line out.
    ///
    /// A packet has the hook at which pf sees it, `dir` and `if`, or several hooks in a row, `path`; then `proto` (a
    /// name or a number), `src`, `dst`, and where the protocol has them `sport`, `dport`, `flags` (S when left out),
    /// `icmp_type`, `icmp_code`, `icmp_id`, `spi` (of esp; left out, it follows from the addresses). The lines are
    /// one sequence: states that earlier packets created pass later ones. The answer names the deciding rule by its
    /// number in its ruleset, -1 if none matched.
    ///
    /// Where anchors call each other very often, the evaluation is abandoned after a million rules, a limit that pf does
    /// not have: the action is then `unknown`, and without --stateless no further packet is answered.
    #[command(after_help = "Examples:
  nixvol-net pf eval --anchor com.apple/250.nixvol=bundle/pf/anchor.conf -D egress=en0 <<'END'
  {\"dir\":\"out\",\"if\":\"lo0\",\"proto\":\"tcp\",\"src\":\"10.0.1.2\",\"sport\":4000,\"dst\":\"10.1.1.2\",\"dport\":22}
  {\"path\":[[\"in\",\"bridge2000\"],[\"out\",\"en0\"]],\"proto\":\"icmp\",\"src\":\"10.0.1.2\",\"dst\":\"1.1.1.1\"}
  END

Exit: 0 every packet answered, whatever the answers; 1 errors in a ruleset, or a verdict that is not known;
2 wrong use, a file that cannot be read, or a line that is no packet.")]
    Eval {
        /// The main ruleset, as with --main
        #[arg(value_name = "FILE", conflicts_with = "main")]
        file: Option<PathBuf>,
        /// The main ruleset [default: that of macOS, which calls the anchors com.apple/*]
        #[arg(long, value_name = "FILE")]
        main: Option<PathBuf>,
        /// An anchor and its ruleset. Only what the main ruleset calls takes part.
        #[arg(long = "anchor", value_name = "NAME=FILE")]
        anchors: Vec<AnchorFile>,
        /// The machine.
        #[command(flatten)]
        machine: MachineArguments,
        /// Evaluate every packet as if it were the first.
        #[arg(long)]
        stateless: bool,
    },
}

/// What a ruleset's meaning depends on besides its bytes.
#[derive(Debug, Args)]
pub struct MachineArguments {
    /// A macro; a definition in the file does not override it.
    #[arg(short = 'D', value_name = "NAME=VALUE")]
    pub macros: Vec<Macro>,
    /// An interface and one of its addresses; repeat it for more. lo0 is always there [default: en0=192.0.2.10/24]
    #[arg(long = "interface", value_name = "NAME=ADDRESS/LENGTH")]
    pub interfaces: Vec<InterfaceArgument>,
    /// The system whose names of services, protocols, users and groups are read, and whose pfctl is imitated.
    #[arg(long, value_enum, default_value_t, value_name = "SYSTEM")]
    pub services: ServiceNames,
}

/// A system that gives names to ports, protocols, users and groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ServiceNames {
    /// Those of macOS, whose pfctl prints ports as numbers
    #[default]
    Macos,
    /// Those of OpenBSD, whose pfctl prints ports by name, as FreeBSD's does
    Openbsd,
}

/// The argument of `--anchor`: `NAME=FILE`.
#[derive(Debug, Clone)]
pub struct AnchorFile {
    /// The anchor's path.
    pub name: String,
    /// Its ruleset.
    pub file: PathBuf,
}

/// The argument of `-D`: `NAME=VALUE`.
#[derive(Debug, Clone)]
pub struct Macro {
    /// The macro's name.
    pub name: String,
    /// The text that replaces `$NAME`.
    pub value: String,
}

/// The argument of `--interface`: `NAME=ADDRESS/LENGTH`.
#[derive(Debug, Clone)]
pub struct InterfaceArgument {
    /// The interface's name.
    pub name: String,
    /// One of its addresses.
    pub address: IpAddr,
    /// The prefix length of its network.
    pub prefix: u8,
}

/// Splits at the first `=`. Fails if there is none, or if the left side is empty.
fn pair<'a>(text: &'a str, form: &str) -> Result<(&'a str, &'a str), String> {
    text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| format!("expected {form}"))
}

impl FromStr for AnchorFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, file) = pair(text, "NAME=FILE, as com.apple/250.nixvol=pf/anchor.conf")?;
        let name = name.trim_matches('/').to_owned();
        if name.is_empty() || file.is_empty() {
            return Err("expected NAME=FILE with neither of them empty".to_owned());
        }
        Ok(Self { name, file: PathBuf::from(file) })
    }
}

impl FromStr for Macro {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = pair(text, "NAME=VALUE, as egress=en0")?;
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }
}

impl FromStr for InterfaceArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "NAME=ADDRESS/LENGTH, as en0=192.0.2.10/24";
        let (name, address) = pair(text, form)?;
        let (address, prefix) = match address.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (address, None),
        };
        let address: IpAddr =
            address.parse().map_err(|_| format!("`{address}` is not an address; expected {form}"))?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(prefix) => prefix
                .parse()
                .ok()
                .filter(|length| *length <= longest)
                .ok_or_else(|| format!("`{prefix}` is not a prefix length from 0 to {longest}"))?,
        };
        Ok(Self { name: name.to_owned(), address, prefix })
    }
}
