//! The command line of `snapshot`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{DiffFormat, Source};

/// What to do with the snapshot.
#[derive(Debug, Subcommand)]
pub enum Snapshot {
    /// Hold what the declaration renders now against the accepted bundle.
    ///
    /// A difference is told as `diff` tells it: first what opens and closes, each with a packet that shows it, then
    /// the lines of the files. Nothing is written.
    #[command(after_help = "Examples:
  nixvol-net snapshot check --input result/network.json
  nixvol-net snapshot check --input result/network.json --format markdown | gh pr comment --body-file -

With Nix, `lib.snapshotCheck` of the flake makes a check of it: see the README.
Exit: 0 the same, 1 different or not proven, 2 bad input or no snapshot.")]
    Check {
        /// The snapshot and what it is held against.
        #[command(flatten)]
        sides: Sides,
        /// How to tell what differs.
        #[arg(long, value_enum, default_value_t)]
        format: DiffFormat,
    },
    /// Take what the declaration renders now as accepted. It is proven before.
    ///
    /// Commit the directory: its history is that of your network. It is replaced as a whole or not at all, and one that
    /// holds anything but a bundle is refused.
    #[command(after_help = "Examples:
  nix build .#network && nixvol-net snapshot accept --input result/network.json
  git add nixvol-snapshot && git commit

Exit: 0 accepted, 1 not proven, 2 bad input or a directory that is not ours.")]
    Accept {
        /// The snapshot and what becomes of it.
        #[command(flatten)]
        sides: Sides,
        /// How to tell what was accepted.
        #[arg(long, value_enum, default_value_t)]
        format: DiffFormat,
    },
}

/// The snapshot, and the declaration.
#[derive(Debug, Args)]
pub struct Sides {
    /// The directory of the accepted bundle, in your repository.
    #[arg(long, value_name = "DIR", default_value = "nixvol-snapshot")]
    pub dir: PathBuf,
    /// What to read.
    #[command(flatten)]
    pub source: Source,
}
