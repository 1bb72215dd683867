//! `man`: manual pages, one for the program and one for each command.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Command, CommandFactory};
use clap_mangen::roff::{Roff, italic, roman};
use nixvol_net::place::Quoted;

use super::print;
use crate::cli::Cli;
use crate::cli::papers::Man;

/// The manual section of user commands.
const SECTION: &str = "1";

/// Runs `man`.
pub fn run(man: &Man) -> Result<ExitCode> {
    let mut program = Cli::command();
    program.build();
    match &man.out {
        Some(directory) => {
            fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
            write(&program, directory)?;
        }
        None => print(&page(find(&program, &man.command)?)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn find<'a>(program: &'a Command, words: &[String]) -> Result<&'a Command> {
    let mut command = program;
    for word in words {
        let Some(found) = command.find_subcommand(word) else {
            let name = command.get_bin_name().unwrap_or("nixvol-net");
            bail!("`{name}` has no command {}\nhint: `{name} --help` lists them", Quoted(word));
        };
        command = found;
    }
    Ok(command)
}

/// Writes the pages of a command and of its subcommands.
fn write(command: &Command, directory: &Path) -> Result<()> {
    let path = directory.join(format!("{}.{SECTION}", name(command)));
    fs::write(&path, page(command)?).with_context(|| format!("cannot write {}", path.display()))?;
    below(command).try_for_each(|command| write(command, directory))
}

/// The name of the page, for example `nixvol-net-pf-eval`.
fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

/// The subcommands that have pages: all except hidden ones and the `help` that clap adds to a group.
fn below(command: &Command) -> impl Iterator<Item = &Command> {
    let added = |command: &&Command| command.get_name() == "help" && command.get_after_help().is_none();
    command.get_subcommands().filter(move |command| !added(command) && !command.is_hide_set())
}

fn page(command: &Command) -> Result<String> {
    let man = clap_mangen::Man::new(command.clone());
    // The third argument of `.TH` is a date. It is required, and left empty to keep the output reproducible.
    let title =
        format!(".TH \"{}\" {SECTION} \"\" \"nixvol-net {}\"\n", name(command), env!("CARGO_PKG_VERSION"));
    let mut text = title.into_bytes();
    man.render_name_section(&mut text)?;
    synopsis(command).to_writer(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    let mut rest = Roff::new();
    commands(command, &mut rest);
    if let Some(after) = command.get_after_help() {
        examples(&after.to_string(), &mut rest);
    }
    see_also(command, &mut rest);
    rest.to_writer(&mut text)?;
    Ok(String::from_utf8(text)?)
}

/// The usage lines, as in `--help`.
fn synopsis(command: &Command) -> Roff {
    let usage = command.clone().render_usage().to_string();
    let mut page = Roff::new();
    page.control("SH", ["SYNOPSIS"]);
    for (index, line) in usage.trim_start_matches("Usage:").lines().enumerate() {
        if index > 0 {
            page.control("br", []);
        }
        page.text([roman(line.trim())]);
    }
    page
}

fn commands(command: &Command, page: &mut Roff) {
    let mut below = below(command).peekable();
    if below.peek().is_some() {
        page.control("SH", ["COMMANDS"]);
    }
    for command in below {
        page.control("TP", []);
        page.text([italic(name(command)), roman(format!("({SECTION})"))]);
        page.text([roman(command.get_about().map(ToString::to_string).unwrap_or_default())]);
    }
}

/// The text below the options. `Examples:` and `Exit:` start sections; indented lines are kept verbatim.
fn examples(after: &str, page: &mut Roff) {
    for block in after.split("\n\n") {
        let (first, rest) = block.split_once('\n').unwrap_or((block, ""));
        if first == "Examples:" {
            page.control("SH", ["EXAMPLES"]);
        } else if let Some(exit) = block.strip_prefix("Exit: ") {
            page.control("SH", ["EXIT STATUS"]);
            page.text([roman(exit.replace('\n', " "))]);
            continue;
        } else {
            page.control("PP", []);
            page.text([roman(first)]);
        }
        if rest.starts_with("  ") {
            page.control("nf", []);
            for line in rest.lines() {
                page.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
            }
            page.control("fi", []);
        } else if !rest.is_empty() {
            page.text([roman(rest.replace('\n', " "))]);
        }
    }
}

fn see_also(command: &Command, page: &mut Roff) {
    let name = name(command);
    let Some((above, _)) = name.rsplit_once('-').filter(|(above, _)| above.starts_with("nixvol-net")) else {
        return;
    };
    page.control("SH", ["SEE ALSO"]);
    page.text([italic(above), roman(format!("({SECTION})"))]);
}
