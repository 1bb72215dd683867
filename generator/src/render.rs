//! The bundle: every file that is installed on the Mac, rendered from the plan.
//!
//! A file is rendered from a typed context of strings, numbers and lists, by a template that only places them. Sees:
//! model (to write it to `network.json`), plan. Never: imports `pf`, which reads what is written here.

pub(crate) mod engine;
mod guest;
mod launchd;
mod network;
mod pf;
pub mod picture;
mod probes;
mod script;
mod wireguard;

use std::collections::BTreeMap;
use std::fmt;

use crate::model::{Declaration, Name};
use crate::plan::Plan;
use picture::KernelNames;
pub use script::KILL_STEP;

/// The rendered files, by path inside the bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The files by path, such as `pf/anchor.conf`.
    pub files: BTreeMap<String, File>,
}

/// A rendered file. Its text ends with exactly one newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The text of the file.
    pub text: String,
    /// Whether it is a program (mode 0755) or data (mode 0644).
    pub executable: bool,
}

/// A value that the language of a file cannot express. This is never the user's mistake: the model refuses such values
/// first, and this is a second check.
#[derive(Debug)]
pub struct Error(minijinja::Error);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for Error {}

/// The path of the anchor inside a bundle.
pub const ANCHOR: &str = "pf/anchor.conf";
/// The path of the resolved declaration inside a bundle.
pub const NETWORK: &str = "network.json";
/// The path of the manager inside a bundle.
pub const MANAGER: &str = "manage-macos-networking.sh";

/// The path of the launchd job inside a bundle.
pub const DAEMON: &str = "launchd/org.nix-volumes.networking.plist";
/// The path of the log rotation (newsyslog.conf) inside a bundle.
pub const ROTATION: &str = "newsyslog.d/nix-volumes.conf";
/// The path of the volumes' host names inside a bundle.
pub const HOSTS: &str = "hosts";
/// The path of the text picture inside a bundle.
pub const PICTURE: &str = "topology.txt";
/// The path of the SVG picture inside a bundle.
pub const DRAWING: &str = "topology.svg";

/// The path of the tunnel's configuration inside a bundle; only with several Macs.
pub const TUNNEL: &str = "wireguard/nixvol.conf";

/// The files that every bundle has, whatever the declaration.
const FILES: [&str; 8] = [ANCHOR, NETWORK, MANAGER, DAEMON, ROTATION, HOSTS, PICTURE, DRAWING];

/// Renders the anchor alone, which is all that the proof needs.
///
/// # Errors
/// A value that pf cannot express.
pub fn anchor(plan: &Plan) -> Result<String, Error> {
    pf::anchor(plan)
}

/// Renders every file of the bundle.
///
/// # Errors
/// A value that a file's language cannot express.
pub fn bundle(declaration: &Declaration, plan: &Plan) -> Result<Bundle, Error> {
    let mut files = BTreeMap::new();
    let mut data = |path: &str, text: String| {
        files.insert(path.to_owned(), File { text, executable: false });
    };
    data(ANCHOR, pf::anchor(plan)?);
    data(DAEMON, launchd::plist(plan)?);
    data(ROTATION, launchd::newsyslog(plan)?);
    data(HOSTS, guest::hosts(plan)?);
    if let Some(text) = wireguard::conf(plan)? {
        data(TUNNEL, text);
    }
    for (path, text) in guest::guests(plan)? {
        data(&path, text);
    }
    // The pictures are reviewed together with `network.json`, which has the links in canonical order.
    let drawn = plan.in_canonical_order();
    data(PICTURE, picture::text(&drawn, &KernelNames::new(), &[]));
    data(DRAWING, picture::svg(&drawn, &KernelNames::new(), &[])?);
    data(NETWORK, network::json(declaration, plan));
    let manager = File { text: script::manager(plan)?, executable: true };
    files.insert(MANAGER.to_owned(), manager);
    Ok(Bundle { files })
}

/// Whether a bundle, of any declaration, can have a file at this path.
pub fn is_bundle_path(path: &str) -> bool {
    let guest = |path: &str| {
        let (name, file) = path.strip_prefix("guests/")?.split_once('/')?;
        Name::new(name, Name::LONGEST)?;
        guest::FILES.contains(&file).then_some(())
    };
    FILES.contains(&path) || path == TUNNEL || guest(path).is_some()
}
