//! The commands, one a file, and what they share: reading a declaration and telling what is wrong with it.

mod check;
mod diff;
mod explain;
mod graph;
mod pf;
mod prove;
mod render;
mod report;
mod test;
mod verify;

use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::CommandFactory;
use nixvol_net::diagnostic::Shown;
use nixvol_net::input;
use nixvol_net::model::{self, Declaration, Rejected};

use crate::cli::{Cli, Command, Source};

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
        Command::Pf { command } => pf::run(command),
        Command::Diff { old, new, format, lines } => diff::run(old, new, *format, *lines),
        Command::Graph { source, format } => graph::run(source, *format),
        Command::Report { source, out, against } => report::run(source, out, against.as_deref()),
        Command::Schema => {
            let schema = serde_json::to_string_pretty(&input::schema())?;
            print(&format!("{schema}\n"))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "nixvol-net", &mut script);
            print(&String::from_utf8(script)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Man => {
            let mut page = Vec::new();
            manual(&Cli::command(), &mut page)?;
            print(&String::from_utf8(page)?)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// One manual page: the program, then each of its commands under a heading of its own.
fn manual(program: &clap::Command, page: &mut Vec<u8>) -> Result<()> {
    clap_mangen::Man::new(program.clone()).render(page)?;
    sections(program, &program.get_name().to_uppercase(), page)
}

/// The headings of a command's commands, and of theirs.
fn sections(parent: &clap::Command, title: &str, page: &mut Vec<u8>) -> Result<()> {
    for command in parent.get_subcommands() {
        let title = format!("{title} {}", command.get_name().to_uppercase());
        let man = clap_mangen::Man::new(command.clone());
        writeln!(page, ".SH \"{title}\"")?;
        man.render_synopsis_section(page)?;
        man.render_description_section(page)?;
        man.render_options_section(page)?;
        sections(command, &title, page)?;
    }
    Ok(())
}

/// A declaration, or everything that is wrong with it.
struct Reading {
    /// What the input is called in messages.
    name: String,
    declaration: Result<Declaration, Rejected>,
}

fn read(source: &Source) -> Result<Reading> {
    let (name, json) = match source.input.as_deref() {
        None => ("the embedded topology".to_owned(), input::DEFAULT.as_bytes().to_vec()),
        Some(path) if path == Path::new("-") => {
            let mut json = Vec::new();
            io::stdin().read_to_end(&mut json).context("cannot read standard input")?;
            ("standard input".to_owned(), json)
        }
        Some(path) => {
            let json = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            (path.display().to_string(), json)
        }
    };
    Ok(Reading { name, declaration: model::read(&json) })
}

/// Calls `show` with what is needed to show the problems of a declaration.
fn shown<T>(name: &str, rejected: &Rejected, show: impl FnOnce(&Shown) -> T) -> T {
    let text_of = |file: &str| fs::read_to_string(file).ok();
    show(&Shown {
        input: name,
        positions: &rejected.positions,
        text_of: &text_of,
        colour: colour(&io::stderr()),
    })
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

/// Writes to standard output. A reader that went away, as `head` does, is no error.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

/// Says on standard error what the declaration asks for in vain.
fn note_what_is_not_done(declaration: &Declaration) {
    for link in declaration.links.iter().filter(|link| link.conditions.is_some()) {
        eprintln!("note: links.{}.conditions: recorded, and not applied by this version", link.index);
    }
    for link in &declaration.links {
        let mut providers = link.from.iter().chain(&link.to).map(|end| declaration.provider_of(end));
        let first = providers.next();
        if let Some(provider) = first.filter(|first| providers.all(|other| other == *first)) {
            eprintln!(
                "note: links.{}: all of it lies in `{provider}`, where everything passes: it changes nothing",
                link.index
            );
        }
    }
}
