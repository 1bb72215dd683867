//! The command line of `init`.

use std::path::PathBuf;

use clap::Args;

use super::Format;

/// What a first file is made of.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  nixvol-net init --provider aws --provider gcp --volumes 2 --link-all --dry-run
  nixvol-net init --from compose.yaml --out network.nix
  terraform show -json | nixvol-net init --from -

Exit: 0 written, 2 not: the file is there already, or nothing can be made of the input.")]
pub struct InitArguments {
    /// Take networks, machines and ports from a Compose file, a kind cluster, `terraform show -json`, a state or
    /// .tf.json; `-` is standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["providers", "volumes", "link_all"])]
    pub from: Option<PathBuf>,
    /// A provider, with its network where it matters: aws, or aws=10.0.0.0/16; repeat it or write `A,B` for more.
    #[arg(long = "provider", value_name = "NAME[=NETWORK]", value_delimiter = ',')]
    pub providers: Vec<String>,
    /// How many volumes each provider gets [default: 1]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub volumes: Option<u8>,
    /// Link all providers to each other; without it, nothing passes between them.
    #[arg(long)]
    pub link_all: bool,
    /// The file to write.
    #[arg(long, value_name = "FILE", default_value = "nixvol.nix")]
    pub out: PathBuf,
    /// Replace an existing file.
    #[arg(long)]
    pub force: bool,
    /// Print the file and write nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// The output format.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}
