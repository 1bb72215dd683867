//! Where this machine has the tools that tests call.

use std::path::PathBuf;

/// The directories in which this machine has its tools. Nix's sandbox has none of them in /usr.
pub fn tools() -> String {
    std::env::var("PATH").expect("tests have a PATH")
}

/// Where this machine has a tool, by the first of the directories that do.
pub fn tool(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&tools()).map(|directory| directory.join(name)).find(|path| path.is_file())
}
