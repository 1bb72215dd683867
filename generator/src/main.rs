//! The `nixvol-net` program: reads, asks the library, writes and prints. Nothing else does any of these.

// Standard error that no one reads, as behind `2>&1 | head`, is not a reason to panic, as std's own do.
macro_rules! eprint {
    ($($text:tt)*) => {
        std::io::Write::write_fmt(&mut std::io::stderr(), format_args!($($text)*)).unwrap_or_default()
    };
}
macro_rules! eprintln {
    ($($text:tt)*) => { eprint!("{}\n", format_args!($($text)*)) };
}

mod cli;
mod commands;
mod disk;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod lab;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match commands::run(&cli.command) {
        Ok(exit) => exit,
        Err(error) => {
            eprintln!("error: {}", commands::sentence(&format!("{error:#}")));
            ExitCode::from(commands::BAD_INPUT)
        }
    }
}
