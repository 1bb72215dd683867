//! Finds the tools that tests call.

use std::path::PathBuf;

/// The PATH of this machine's tools. Nix's sandbox has none of them in /usr.
pub fn tools() -> String {
    std::env::var("PATH").expect("tests have a PATH")
}

/// The path of a tool, in the first directory of the PATH that has it.
pub fn tool(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&tools()).map(|directory| directory.join(name)).find(|path| path.is_file())
}
