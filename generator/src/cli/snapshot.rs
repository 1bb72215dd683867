//! The command line of `snapshot`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{DiffFormat, InputSource};

/// What to do with the accepted bundle.
#[derive(Debug, Subcommand)]
pub enum Snapshot {
    /// Check that the declaration still renders what was accepted, and show what opens and closes if not.
    ///
    /// First the flows, with a packet for each change, then the objects that the manager creates, then the files, line
    /// by line. What is rendered now is proven before it is compared.
    #[command(after_help = "Examples:
  nixvol-net snapshot check --input network.json
  nixvol-net snapshot check --input network.json --format markdown | gh pr comment --body-file -

Exit: 0 as accepted, 1 different, not proven or not as expected, 2 bad input or nothing accepted.")]
    Check(Arguments),
    /// Accept what the declaration renders now, and show what changes with it.
    ///
    /// It is proven first. The directory is replaced as a whole or not at all; one that holds anything but a bundle
    /// is refused.
    #[command(after_help = "Examples:
  nixvol-net snapshot accept --input network.json
  nix eval --json .#darwinConfigurations.mac.config.services.nixvol-net.input \\
    | nixvol-net snapshot accept --input -

Exit: 0 accepted, 1 not proven or not as expected, 2 bad input or a directory that is not ours.")]
    Accept(Arguments),
}

/// The two sides of a comparison, and its format.
#[derive(Debug, Args)]
pub struct Arguments {
    /// What to read.
    #[command(flatten)]
    pub source: InputSource,
    /// The accepted bundle.
    #[arg(long = "dir", value_name = "DIR", default_value = "nixvol-snapshot")]
    pub directory: PathBuf,
    /// The output format.
    #[arg(long, value_enum, default_value_t)]
    pub format: DiffFormat,
}

/// Examples of `accept` and `check` used together.
pub const EXAMPLES: &str = "Examples:
  nixvol-net snapshot accept --input network.json    # once, and after each review
  git add nixvol-snapshot
  nixvol-net snapshot check --input network.json     # in CI

With Nix, `lib.snapshotCheck` of the flake is the check as a derivation.";
