//! `completions`: prints the completion script of a shell. The script calls this program for candidates, because they
//! depend on the declaration that the command line refers to.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap_complete::Shell;
use clap_complete::env::Shells;

use super::print;

/// The name of the program: the command's name, and the one that the script calls.
const NAME: &str = "nixvol-net";
/// The environment variable by which the script requests candidates.
const ASKED: &str = "COMPLETE";

/// Runs `completions`.
pub fn run(shell: Shell) -> Result<ExitCode> {
    let shells = Shells::builtins();
    let completer = shells.completer(&shell.to_string()).context("there is no script for this shell")?;
    let mut script = Vec::new();
    completer.write_registration(ASKED, NAME, NAME, NAME, &mut script)?;
    print(&String::from_utf8(script)?)?;
    Ok(ExitCode::SUCCESS)
}
