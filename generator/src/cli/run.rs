//! The arguments of `run`.

use std::ffi::OsString;

use clap::Args;

use super::InputSource;

/// What is run, and as whom.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  nixvol-net run etcd-1 -- curl http://etcd-2.nixvol:2379/health
  nixvol-net run etcd-1 -- python3 -m http.server 8080
  nixvol-net run --input network.json --no-library etcd-1 -- \\
    sh -c 'exec etcd --listen-client-urls http://$NIXVOL_ADDRESS:2379'

Exit: what the command exits with; 125 it cannot act as the volume, 126 it cannot be run, 127 it is not there.")]
pub struct RunArguments {
    /// The declaration.
    #[command(flatten)]
    pub source: InputSource,
    /// Only set the variables: the program binds $NIXVOL_ADDRESS itself.
    #[arg(long)]
    pub no_library: bool,
    /// The volume to run as.
    #[arg(value_name = "VOLUME")]
    pub volume: String,
    /// The command.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}
