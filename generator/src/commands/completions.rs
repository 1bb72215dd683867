//! `completions`: what a shell needs to complete the command line. The script asks the program itself, which knows the
//! declaration at hand.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap_complete::Shell;
use clap_complete::env::Shells;

use super::print;

/// What the program is called, by its command and by the script.
const NAME: &str = "nixvol-net";
/// The variable by which the script asks.
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
