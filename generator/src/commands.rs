//! The commands, one per file, and their shared parts: reading a declaration and reporting its problems.

mod check;
mod completions;
mod diff;
mod edit;
mod expect;
mod explain;
mod graph;
mod help;
mod init;
mod lab;
mod macs;
mod man;
pub mod paint;
mod pf;
mod prove;
mod render;
mod report;
mod run;
mod scenario;
mod schema;
mod serve;
mod shared;
mod snapshot;
pub mod status;
mod test;
pub mod timeline;
mod verify;

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::Command;
use paint::colour;
pub use prove::words as proof_words;
pub use shared::{BAD_INPUT, print, sentence, tell, versioned, versioned_line};
use shared::{
    DATA, NOT_PROVEN, Reading, counted, input_bytes, note_what_is_not_done, print_with_marks, read, reject,
    shown, shown_at,
};

/// Runs a command.
pub fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Init(arguments) => init::run(arguments),
        Command::Render { source, out, picture, quiet, format } => {
            render::run(source, out, (*picture, *quiet), *format)
        }
        Command::Verify { directory, format } => verify::run(directory, *format),
        Command::Test { source, live, all_macs, format } => {
            if *all_macs {
                macs::run(source, *format)
            } else {
                test::run(source, *live, *format)
            }
        }
        Command::Check { source, format } => check::run(source, *format),
        Command::Explain(arguments) => explain::run(arguments),
        Command::Lab { command } => lab::run(command),
        Command::Run(arguments) => Ok(run::run(arguments)),
        Command::Pf { command } => pf::run(command),
        Command::Diff { old, new, format, lines } => diff::run(old, new, *format, *lines),
        Command::Add { what } => edit::add(what),
        Command::Remove { what } => edit::remove(what),
        Command::Rename { what } => edit::rename(what),
        Command::Move { what } => edit::relocate(what),
        Command::Snapshot { command } => snapshot::run(command),
        Command::Graph { source, from, providers, format } => {
            graph::run(source, from.as_deref(), providers, *format)
        }
        Command::Report { source, out, against } => report::run(source, out, against.as_deref()),
        Command::Serve(arguments) => serve::run(arguments),
        Command::Status { source, from, watch, format } => {
            status::run(source, from.as_deref(), *watch, *format)
        }
        Command::Scenario { source, file, format } => scenario::run(source, file, *format),
        Command::Schema(arguments) => schema::run(arguments),
        Command::Completions(arguments) => completions::run(arguments.shell),
        Command::Man(arguments) => man::run(arguments),
        Command::Help(arguments) => help::run(arguments),
    }
}
