//! The `nixvol-net` program: reads, asks the library, writes and prints. Nothing else does any of these.

mod cli;
mod commands;
mod disk;
#[cfg(target_os = "linux")]
mod lab;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match commands::run(&cli.command) {
        Ok(exit) => exit,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(commands::BAD_INPUT)
        }
    }
}
