//! The bundle: every file that is installed on the Mac, rendered from the plan.
//!
//! A file is made from a typed context of strings, numbers and lists, and a template that only places them. Sees:
//! model (to write it to `network.json`), plan. Never: `pf`, which reads what is written here.

pub(crate) mod engine;
mod guest;
mod launchd;
mod network;
mod pf;
pub mod picture;
mod probes;
mod script;

use std::collections::BTreeMap;
use std::fmt;

use crate::model::{Declaration, Name};
use crate::plan::Plan;
use picture::KernelNames;
pub use script::KILL_STEP;

/// The rendered files by path inside the bundle, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// `pf/anchor.conf` and so on.
    pub files: BTreeMap<String, File>,
}

/// One rendered file. It ends in exactly one newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its text.
    pub text: String,
    /// Whether it is a program (0755) or data (0644).
    pub executable: bool,
}

/// A value that the language of a file cannot hold. Never the user's mistake: the model refuses such values, and
/// this is the second fence.
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
/// The path of the log's rotation inside a bundle.
pub const ROTATION: &str = "newsyslog.d/nix-volumes.conf";
/// The path of the volumes' names inside a bundle.
pub const HOSTS: &str = "hosts";
/// The path of the drawing inside a bundle, as text.
pub const PICTURE: &str = "topology.txt";
/// The path of the drawing inside a bundle, as an image.
pub const DRAWING: &str = "topology.svg";

/// Every file that a bundle has whatever the declaration.
const FILES: [&str; 8] = [ANCHOR, NETWORK, MANAGER, DAEMON, ROTATION, HOSTS, PICTURE, DRAWING];

/// Renders the anchor alone, which is all that a proof reads.
///
/// # Errors
/// A value that its language cannot hold.
pub fn anchor(plan: &Plan) -> Result<String, Error> {
    pf::anchor(plan)
}

/// Renders every file of the bundle.
///
/// # Errors
/// A value that a file's language cannot hold.
pub fn bundle(declaration: &Declaration, plan: &Plan) -> Result<Bundle, Error> {
    let mut files = BTreeMap::new();
    let mut data = |path: &str, text: String| {
        files.insert(path.to_owned(), File { text, executable: false });
    };
    data(ANCHOR, pf::anchor(plan)?);
    data(DAEMON, launchd::plist(plan)?);
    data(ROTATION, launchd::newsyslog(plan)?);
    data(HOSTS, guest::hosts(plan)?);
    for (path, text) in guest::guests(plan)? {
        data(&path, text);
    }
    // Files that are reviewed together call a link the same.
    let drawn = plan.in_canonical_order();
    data(PICTURE, picture::text(&drawn, &KernelNames::new(), &[]));
    data(DRAWING, picture::svg(&drawn, &KernelNames::new(), &[])?);
    data(NETWORK, network::json(declaration, plan));
    let manager = File { text: script::manager(plan)?, executable: true };
    files.insert(MANAGER.to_owned(), manager);
    Ok(Bundle { files })
}

/// Whether a file of this path can be part of a bundle, of this declaration or another.
pub fn is_bundle_path(path: &str) -> bool {
    let guest = |path: &str| {
        let (name, file) = path.strip_prefix("guests/")?.split_once('/')?;
        Name::new(name, Name::LONGEST)?;
        guest::FILES.contains(&file).then_some(())
    };
    FILES.contains(&path) || guest(path).is_some()
}
