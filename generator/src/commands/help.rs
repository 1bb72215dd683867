//! `help`: prints the page of an error code, a guide, or clap's help of a command.

use std::io;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::CommandFactory;
use nixvol_net::help::{ERRORS, GUIDES, Page, TABLE, WARNINGS, nearest, page, table};
use nixvol_net::input;
use nixvol_net::place::Quoted;
use serde_json::json;

use super::paint::{Paint, painted};
use super::{BAD_INPUT, print, versioned};
use crate::cli::papers::HelpArguments;
use crate::cli::{Cli, Format};

/// Runs `help`.
pub fn run(help: &HelpArguments) -> Result<ExitCode> {
    let data = help.format == Format::Json;
    if let [topic] = help.topic.as_slice() {
        if topic == TABLE {
            let rows = || {
                ERRORS.iter().chain(WARNINGS).map(|page| json!({ "code": page.topic, "title": page.title() }))
            };
            let rows = || rows().collect::<serde_json::Value>();
            return told(&if data { versioned(json!({ "errors": rows() }))? } else { table() });
        }
        if let Some(page) = page(topic) {
            return told(&if data { as_data(page)? } else { painted(&page.text(), Paint::Page) });
        }
    }
    let words = help.topic.iter().map(String::as_str);
    let line = ["nixvol-net"].into_iter().chain(words).chain(["--help"]);
    match unknown(&help.topic) {
        Some(word) => Ok(refuse(word)),
        // clap prints it itself, so that words, widths and colours are those of `COMMAND --help`.
        None => match Cli::command().try_get_matches_from(line) {
            Err(text) if data => {
                let topic = help.topic.join(" ");
                told(&versioned(json!({ "topic": topic, "text": text.render().to_string() }))?)
            }
            Err(text) => match text.print() {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    Err(error).context("cannot write to standard output")
                }
                _ => Ok(ExitCode::SUCCESS),
            },
            Ok(_) => Ok(ExitCode::SUCCESS),
        },
    }
}

fn told(text: &str) -> Result<ExitCode> {
    print(text)?;
    Ok(ExitCode::SUCCESS)
}

fn as_data(page: &Page) -> Result<String> {
    versioned(json!({ "topic": page.topic, "title": page.title(), "text": page.text() }))
}

/// The first word that is not a subcommand of the words before it.
fn unknown(topic: &[String]) -> Option<&str> {
    let mut command = Cli::command();
    for word in topic {
        match command.find_subcommand(word) {
            Some(found) => command = found.clone(),
            None => return Some(word),
        }
    }
    None
}

fn refuse(word: &str) -> ExitCode {
    let program = Cli::command();
    let commands = program.get_subcommands().map(clap::Command::get_name);
    let known = commands.chain(GUIDES.iter().map(|page| page.topic)).chain([TABLE]);
    let near = nearest(word).or_else(|| input::nearest(word, known));
    eprintln!("error: there is no help on {}", Quoted(word));
    match near {
        Some(near) => eprintln!("hint: did you mean `nixvol-net help {near}`?"),
        None => eprintln!("hint: `nixvol-net help` lists the commands, `nixvol-net help {TABLE}` the errors"),
    }
    ExitCode::from(BAD_INPUT)
}
