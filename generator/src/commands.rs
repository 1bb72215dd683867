//! The commands, one per file, and what they share: reading a declaration and reporting its problems.

mod check;
mod completions;
mod diff;
mod edit;
mod expect;
mod explain;
mod graph;
mod help;
mod lab;
mod man;
mod pf;
mod prove;
mod render;
mod report;
mod run;
mod snapshot;
mod status;
mod test;
mod verify;

use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use nixvol_net::diagnostic::Shown;
use nixvol_net::identity::Identities;
use nixvol_net::input;
use nixvol_net::model::{self, Declaration, Rejected};
use nixvol_net::place::Positions;
use nixvol_net::plan::Plan;
use nixvol_net::render::NETWORK;

use crate::cli::{Command, Source};

/// The exit code of bad input and of wrong use.
pub const BAD_INPUT: u8 = 2;
/// The exit code of rules that do not do what was declared.
const NOT_PROVEN: u8 = 1;

/// Runs a command.
pub fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Render { source, out, format } => render::run(source, out, *format),
        Command::Verify { directory, format } => verify::run(directory, *format),
        Command::Test { source, live, format } => test::run(source, *live, *format),
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
        Command::Graph { source, from, format } => graph::run(source, from.as_deref(), *format),
        Command::Report { source, out, against } => report::run(source, out, against.as_deref()),
        Command::Status { source, from, watch, format } => {
            status::run(source, from.as_deref(), *watch, *format)
        }
        Command::Schema => {
            let schema = serde_json::to_string_pretty(&input::schema())?;
            print(&format!("{schema}\n"))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Completions(arguments) => completions::run(arguments.shell),
        Command::Man(arguments) => man::run(arguments),
        Command::Help(arguments) => help::run(arguments),
    }
}

/// A declaration, or everything that is wrong with it.
struct Reading {
    /// What the input is called in messages.
    name: String,
    declaration: Result<Declaration, Rejected>,
}

fn read(source: &Source) -> Result<Reading> {
    let (name, json) = input_bytes(source)?;
    Ok(Reading { name, declaration: model::read(&json) })
}

/// The JSON of a declaration, and what it is called in messages.
fn input_bytes(source: &Source) -> Result<(String, Vec<u8>)> {
    match source.input.as_deref() {
        None => Ok(("the embedded topology".to_owned(), input::DEFAULT.as_bytes().to_vec())),
        Some(path) if path == Path::new("-") => {
            let mut json = Vec::new();
            io::stdin().read_to_end(&mut json).context("cannot read standard input")?;
            Ok(("standard input".to_owned(), json))
        }
        Some(path) if path.is_dir() => bail!(
            "{} is a directory\nhint: name a file; a bundle's declaration is its {NETWORK}",
            path.display()
        ),
        Some(path) => {
            let json = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok((path.display().to_string(), json))
        }
    }
}

/// Calls `show` with what is needed to show the problems of a declaration.
fn shown<T>(name: &str, rejected: &Rejected, show: impl FnOnce(&Shown) -> T) -> T {
    shown_of(name, &rejected.positions, show)
}

/// The same for a declaration that is valid.
fn shown_at<T>(positions: &Positions, show: impl FnOnce(&Shown) -> T) -> T {
    shown_of("", positions, show)
}

fn shown_of<T>(input: &str, positions: &Positions, show: impl FnOnce(&Shown) -> T) -> T {
    let text_of = |file: &str| fs::read_to_string(file).ok();
    show(&Shown { input, positions, text_of: &text_of, colour: colour(&io::stderr()) })
}

/// Whether to use colour on a stream: a terminal, and no `NO_COLOR` (no-color.org).
fn colour(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Tells on standard error what is wrong.
fn reject(name: &str, rejected: &Rejected) -> ExitCode {
    eprint!("{}", shown(name, rejected, |shown| shown.text(&rejected.problems)));
    ExitCode::from(BAD_INPUT)
}

/// Writes to standard output, on a terminal with the colours of providers.
fn print_with_marks(plan: &Plan, text: &str) -> Result<()> {
    if colour(&io::stdout()) { print(&Identities::of(plan).painted(text)) } else { print(text) }
}

/// Writes to standard output. A reader that went away, as `head` does, is not an error.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

/// The system's words without the numbers that Rust puts behind them.
pub fn sentence(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once(')').map_or(part, |(_, rest)| rest))
}

/// Says on standard error what the declaration asks for in vain, or hardly means.
fn note_what_is_not_done(declaration: &Declaration) {
    let warnings = declaration.warnings();
    eprint!("{}", shown_at(&declaration.positions, |shown| shown.warnings(&warnings)));
    for link in declaration.links.iter().filter(|link| link.conditions.is_some() && link.masquerade) {
        eprintln!(
            "note: links.{}.conditions: replies to masqueraded traffic go to the gateway and are not delayed",
            link.index
        );
    }
    for link in &declaration.links {
        let mut providers = link.from.iter().chain(&link.to).map(|end| declaration.provider_of(end));
        let first = providers.next();
        if let Some(provider) = first.filter(|first| providers.all(|other| other == *first)) {
            eprintln!(
                "note: links.{}: both ends are inside `{provider}`, where everything passes: it has no effect",
                link.index
            );
        }
    }
}
