//! The command line of `explain`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::ArgValueCompleter;

use super::{Format, InputSource, complete};

/// The arguments of `explain`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExplainArguments {
    /// The source: who opens the connection. `any` asks who can reach DST.
    #[arg(value_name = "SRC", add = ArgValueCompleter::new(complete::asked))]
    pub from: String,
    /// The destination; with :PORT for tcp and udp, without for every service. `any` asks whom SRC can reach.
    #[arg(value_name = "DST[:PORT]", add = ArgValueCompleter::new(complete::asked))]
    pub to: String,
    /// tcp, udp, icmp, another name or a number [default: tcp with a port, every one without]
    #[arg(long, value_name = "PROTOCOL")]
    pub protocol: Option<String>,
    /// What to read.
    #[command(flatten)]
    pub input: InputSource,
    /// A capture of a Mac's rulesets, as `pfctl -s rules`, `-s nat` and `-s dummynet` print them: NAME=FILE for an
    /// anchor, main=FILE for the main ruleset, or a FILE with a line `# anchor NAME` above each anchor's part. Shows
    /// which other rulesets decide.
    ///
    /// With a main ruleset, only the capture is used; without one, its anchors are loaded beside the rendered one,
    /// below the main ruleset of macOS.
    #[arg(long = "ruleset", value_name = "[NAME=]FILE")]
    pub rulesets: Vec<PathBuf>,
    /// The interface that leads outside [default: en0, or the first that captured rules of ours are for]
    #[arg(long, value_name = "NAME", value_parser = interface)]
    pub egress: Option<String>,
    /// The output format.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Accepts names of the form that macOS gives to interfaces: letters, then a number.
fn interface(name: &str) -> Result<String, String> {
    let kind = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let is_name =
        !kind.is_empty() && kind.len() < name.len() && kind.bytes().all(|c| c.is_ascii_alphabetic());
    is_name.then(|| name.to_owned()).ok_or_else(|| "expected an interface, as en0 or utun4".to_owned())
}

const EXAMPLES: &str = "Examples:
  nixvol-net explain etcd-1 etcd-2:2379
  nixvol-net explain etcd-1 etcd-2
  nixvol-net explain any etcd-2:2379
  nixvol-net explain etcd-1 any
  nixvol-net explain etcd-1.aws gcp --protocol icmp
  nixvol-net explain karpenter-worker-1 internet:443
  nixvol-net explain lan etcd-1:2379 --format json

Who else decides, on a Mac, as root:
  { pfctl -s rules; pfctl -s nat; pfctl -s dummynet
    pfctl -v -s Anchors | while read -r anchor; do
      echo \"# anchor $anchor\"; for what in dummynet rules nat; do pfctl -a \"$anchor\" -s $what; done
    done; } 2>/dev/null >capture
  nixvol-net explain etcd-1 etcd-2:2379 --ruleset capture

Exit: 0 the packet and its answer pass, or of several some; 1 blocked; 2 bad input.";
