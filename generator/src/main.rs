//! The `nixvol-net` program: reads, calls the library, writes and prints. The library does no input or output.

// Shadow std's macros: these add colour, and do not panic if the reader has closed standard error (`2>&1 | head`).
macro_rules! eprint {
    ($($text:tt)*) => {
        $crate::commands::tell(&format!($($text)*))
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
mod progress;
mod serve;

use std::process::ExitCode;

use anstream::ColorChoice;
use clap::{CommandFactory, FromArgMatches};
use clap_complete::CompleteEnv;

use cli::{Cli, ColourChoice};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    CompleteEnv::with_factory(Cli::command).complete();
    let asked = colour_asked_for(std::env::args_os().skip(1).map(|it| it.to_string_lossy().into_owned()));
    let colour = match asked {
        ColourChoice::Auto => ColorChoice::Auto,
        ColourChoice::Always => ColorChoice::Always,
        ColourChoice::Never => ColorChoice::Never,
    };
    colour.write_global();
    let of_clap = match asked {
        ColourChoice::Auto => clap::ColorChoice::Auto,
        ColourChoice::Always => clap::ColorChoice::Always,
        ColourChoice::Never => clap::ColorChoice::Never,
    };
    let matches = Cli::command().color(of_clap).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match commands::run(&cli.command) {
        Ok(exit) => exit,
        Err(error) => {
            eprintln!("error: {}", commands::sentence(&format!("{error:#}")));
            ExitCode::from(commands::BAD_INPUT)
        }
    }
}

/// The value of `--color`, before the command line is parsed, because clap's help and errors are coloured too. Invalid
/// values are ignored here; clap rejects them.
fn colour_asked_for(mut arguments: impl Iterator<Item = String>) -> ColourChoice {
    let mut asked = ColourChoice::Auto;
    while let Some(argument) = arguments.next() {
        let value = match argument.as_str() {
            "--" => break,
            "--color" => arguments.next(),
            other => other.strip_prefix("--color=").map(str::to_owned),
        };
        asked = value.and_then(|value| clap::ValueEnum::from_str(&value, false).ok()).unwrap_or(asked);
    }
    asked
}
