//! The command line of `serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::InputSource;

/// The arguments of `serve`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  nixvol-net serve
  nixvol-net serve --listen 127.0.0.1:8800
  sudo nixvol-net serve --input network.json

Exit: 0 ended by Ctrl-C or SIGTERM, 2 bad input, or an address that is in use or not of this machine alone.")]
pub struct Serve {
    /// The declaration. A lab that is up has its own.
    #[command(flatten)]
    pub source: InputSource,
    /// A capture of a Mac, as for `status`; it is read again every five seconds.
    #[arg(long, value_name = "DIR")]
    pub from: Option<PathBuf>,
    /// The address to listen on, of the loopback interface; port 0 is a free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
}
