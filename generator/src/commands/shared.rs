//! What the commands share: reading a declaration, reporting its problems, and printing.

use std::fs;
use std::io::{self, Write};
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
use nixvol_net::source;
use serde::Serialize;
use serde_json::Value;

use super::paint::{self, colour};
use crate::cli::InputSource;
use crate::disk::given;

/// The exit code for bad input and wrong usage.
pub const BAD_INPUT: u8 = 2;
/// The exit code when the rules do not do what was declared.
pub const NOT_PROVEN: u8 = 1;

/// The result of reading a declaration: its value, or all of its problems.
pub struct Reading {
    /// The name of the input in messages.
    pub name: String,
    pub declaration: Result<Declaration, Rejected>,
}

pub fn read(source: &InputSource) -> Result<Reading> {
    let (name, json) = input_bytes(source)?;
    Ok(Reading { name, declaration: model::read(&json) })
}

/// The JSON of a declaration, and the name of the input in messages.
pub fn input_bytes(source: &InputSource) -> Result<(String, Vec<u8>)> {
    match source.input.as_deref() {
        None => Ok(("the embedded topology".to_owned(), input::DEFAULT.as_bytes().to_vec())),
        Some(path) if path == Path::new("-") => Ok(("standard input".to_owned(), given::read(path)?)),
        Some(path) if path.is_dir() => bail!(
            "{} is a directory\nhint: name a file; a bundle's declaration is its {NETWORK}",
            path.display()
        ),
        Some(path) if path.extension().is_some_and(|extension| extension == "nix") => {
            fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
            bail!(
                "{} is Nix, and the input is the JSON that Nix evaluates it to\nhint: {}",
                path.display(),
                evaluated(path)
            )
        }
        Some(path) => Ok((path.display().to_string(), given::read(path)?)),
    }
}

/// The command line as typed, preceded by the Nix command that evaluates the file.
pub fn evaluated(path: &Path) -> String {
    let flake = path.ancestors().skip(1).find_map(|above| {
        let directory = if above == Path::new("") { Path::new(".") } else { above };
        directory.join("flake.nix").is_file().then_some(directory)
    });
    let text = flake.and_then(|directory| given::read_plain_text(&directory.join("flake.nix")).ok());
    let names = text.map(|text| source::configurations(&text)).unwrap_or_default();
    let name = match names.as_slice() {
        [name] => name,
        _ => "NAME",
    };
    // Quoting differs between shells, so any word that would need quotes is replaced by `…`.
    let is_plain = |text: &str| text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_./:=,".contains(&c));
    let words = std::env::args_os().skip(1).map(|word| {
        let word = word.to_string_lossy().into_owned();
        if Path::new(&word) == path {
            "-".to_owned()
        } else if word.strip_prefix("--input=").is_some_and(|file| Path::new(file) == path) {
            "--input=-".to_owned()
        } else if is_plain(&word) {
            word
        } else {
            "…".to_owned()
        }
    });
    let words = words.collect::<Vec<_>>().join(" ");
    let from = match flake {
        Some(directory) if is_plain(&directory.to_string_lossy()) => directory.display().to_string(),
        _ => ".".to_owned(),
    };
    format!(
        "nix eval --json {from}#darwinConfigurations.{name}.config.services.nixvol-net.input | nixvol-net {words}"
    )
}

/// Calls `show` with the context for displaying the problems of a declaration that was rejected.
pub fn shown<T>(name: &str, rejected: &Rejected, show: impl FnOnce(&Shown) -> T) -> T {
    shown_of(name, &rejected.positions, show)
}

/// Like [`shown`], for a valid declaration.
pub fn shown_at<T>(positions: &Positions, show: impl FnOnce(&Shown) -> T) -> T {
    shown_of("", positions, show)
}

pub fn shown_of<T>(input: &str, positions: &Positions, show: impl FnOnce(&Shown) -> T) -> T {
    let text_of = |file: &str| given::read_plain_text(Path::new(file)).ok();
    show(&Shown { input, positions, text_of: &text_of, colour: colour(&io::stderr()) })
}

/// Reports all problems on standard error, and returns the exit code for bad input.
pub fn reject(name: &str, rejected: &Rejected) -> ExitCode {
    eprint!("{}", shown(name, rejected, |shown| shown.text(&rejected.problems)));
    ExitCode::from(BAD_INPUT)
}

/// Writes to standard output. On a terminal, the names of providers are coloured.
pub fn print_with_marks(plan: &Plan, text: &str) -> Result<()> {
    if colour(&io::stdout()) { print(&Identities::of(plan).painted(text)) } else { print(text) }
}

/// Writes to standard output. A reader that closed the pipe early, as `head` does, is not an error.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

/// Writes to standard error and ignores failures: `eprint!` would panic if the reader has closed the pipe, as in
/// `2>&1 | head`.
pub fn tell(text: &str) {
    io::stderr().write_all(paint::told(text).as_bytes()).unwrap_or_default();
}

/// An error message of the system without the ` (os error N)` that Rust appends.
pub fn sentence(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once(')').map_or(part, |(_, rest)| rest))
}

/// Warns on standard error about parts of the declaration that have no effect, or that are probably a mistake.
pub fn note_what_is_not_done(declaration: &Declaration) {
    let warnings = declaration.warnings();
    eprint!("{}", shown_at(&declaration.positions, |shown| shown.warnings(&warnings)));
    if declaration.several_macs().is_some() {
        eprintln!(
            "note: macs: the tunnel is brought up by wg-quick, not by the manager: while it is absent, what is for volumes \
             on other Macs is refused, with an answer"
        );
    }
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

/// The size of a declaration in words, for example `5 providers, 13 volumes, 1 link`.
pub fn counted(declaration: &Declaration) -> String {
    let count = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    let providers = count(declaration.providers.len(), "provider");
    let volumes = count(declaration.volumes.len(), "volume");
    let links = count(declaration.links.len(), "link");
    format!("{providers}, {volumes}, {links}")
}

/// The version of the JSON output of commands. Changing the meaning of a field or removing one increments it; adding
/// one does not.
pub const DATA: u64 = 1;

/// The JSON output of a command: the value with the field `version` added.
pub fn versioned(value: impl Serialize) -> Result<String> {
    Ok(format!("{:#}\n", with_version(value)?))
}

/// The same on a single line, for output that has many.
pub fn versioned_line(value: impl Serialize) -> Result<String> {
    Ok(format!("{}\n", with_version(value)?))
}

pub fn with_version(value: impl Serialize) -> Result<Value> {
    let mut value = serde_json::to_value(value)?;
    value["version"] = DATA.into();
    Ok(value)
}
