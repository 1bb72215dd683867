//! `completions`: what a shell needs to complete the command line.

use std::process::ExitCode;

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

use super::print;
use crate::cli::Cli;

/// Runs `completions`.
pub fn run(shell: Shell) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "nixvol-net", &mut script);
    let script = String::from_utf8(script)?;
    print(&match shell {
        // The script for bash names the states of a program with a hyphen in two ways, so that nothing is completed
        // behind a command (clap-rs/clap#6421).
        Shell::Bash => script.replace("nixvol__subcmd__net", "nixvol__net"),
        _ => script,
    })?;
    Ok(ExitCode::SUCCESS)
}
