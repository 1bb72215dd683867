//! The files of a bundle: their texts and paths, and why one cannot be rendered.

use std::collections::BTreeMap;
use std::fmt;

/// The rendered files, by path inside the bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The files by path, such as `pf/anchor.conf`.
    pub files: BTreeMap<String, RenderedFile>,
}

/// A rendered file. Its text ends with exactly one newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedFile {
    /// The text of the file.
    pub text: String,
    /// Whether it is a program (mode 0755) or data (mode 0644).
    pub executable: bool,
}

/// A value that the language of a file cannot express. This is never the user's mistake: the model refuses such values
/// first, and this is a second check.
#[derive(Debug)]
pub struct RenderError(pub(super) minijinja::Error);

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for RenderError {}

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
pub(super) const FILES: [&str; 8] = [ANCHOR, NETWORK, MANAGER, DAEMON, ROTATION, HOSTS, PICTURE, DRAWING];
