//! `pf`: applies the pf reader to rulesets and packets that the user supplies.

use std::fmt::{Display, Write as _};
use std::io::{self, BufRead, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use nixvol_net::explain::STOCK_MAIN;
use nixvol_net::pf::eval::{self, Packet};
use nixvol_net::pf::syntax::Note;
use nixvol_net::pf::{self, Environment, Names, ParseError, Ruleset};
use nixvol_net::place::is_hostile;

use super::paint::{Paint, painted};
use super::schema::printed::{AtLine, PfCheck, PfPrint};
use super::{BAD_INPUT, print, sentence, versioned};
use crate::cli::Format;
use crate::cli::pf::{AnchorFile, MachineArguments, Pf, ServiceNames};
use crate::disk::given;

/// The exit code for a ruleset with errors, or one of which a verdict is not known.
const ERRORS: u8 = 1;

/// The interface that is assumed if the user names none, so that `(en0)` and `(en0:0)` have an address (RFC 5737).
const EXAMPLE: (&str, [u8; 4], u8) = ("en0", [192, 0, 2, 10], 24);

/// Runs `pf`.
pub fn run(command: &Pf) -> Result<ExitCode> {
    match command {
        Pf::Check { files, machine, format } => check(files, machine, *format),
        Pf::Print { file, machine, format } => print_canonical(file, machine, *format),
        Pf::Eval { file, main, anchors, machine, stateless } => {
            eval(file.as_deref().or(main.as_deref()), anchors, machine, *stateless)
        }
    }
}

fn check(files: &[impl AsRef<Path>], machine: &MachineArguments, format: Format) -> Result<ExitCode> {
    let environment = environment(machine);
    if files.iter().filter(|file| is_stdin(file.as_ref())).count() > 1 {
        bail!("`-` is standard input, which can be read only once");
    }
    let (mut errors, mut notes) = (Vec::new(), Vec::new());
    let mut unreadable = false;
    for file in files {
        match read(file.as_ref()) {
            Ok(text) => match parse(&text, &environment) {
                Ok(ruleset) => notes.extend(notes_of(&text, &ruleset)),
                Err(more) => errors.extend(more),
            },
            Err(error) => {
                unreadable = true;
                eprintln!("error: {}", sentence(&format!("{error:#}")));
            }
        }
    }
    match format {
        Format::Text => tell(notes.iter().chain(&errors)),
        Format::Json => {
            print(&versioned(PfCheck { errors: at_lines(&errors), notes: at_lines(&notes) })?)?;
        }
    }
    Ok(match (unreadable, errors.is_empty()) {
        (true, _) => ExitCode::from(BAD_INPUT),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::from(ERRORS),
    })
}

fn print_canonical(file: &Path, machine: &MachineArguments, format: Format) -> Result<ExitCode> {
    let text = read(file)?;
    let environment = environment(machine);
    match (parse(&text, &environment), format) {
        (Ok(ruleset), Format::Text) => {
            tell(&notes_of(&text, &ruleset));
            print(&painted(&pf::print_dry_run(&ruleset, environment.names), Paint::Rules))?;
            Ok(ExitCode::SUCCESS)
        }
        (Ok(ruleset), Format::Json) => {
            let printed = pf::print_dry_run(&ruleset, environment.names);
            let notes = at_lines(&notes_of(&text, &ruleset));
            let lines = printed.lines().map(str::to_owned).collect();
            print(&versioned(PfPrint { lines, errors: Vec::new(), notes })?)?;
            Ok(ExitCode::SUCCESS)
        }
        (Err(errors), format) => {
            match format {
                Format::Text => tell(&errors),
                Format::Json => {
                    let errors = at_lines(&errors);
                    print(&versioned(PfPrint { lines: Vec::new(), errors, notes: Vec::new() })?)?;
                }
            }
            Ok(ExitCode::from(ERRORS))
        }
    }
}

fn eval(
    main: Option<&Path>,
    anchors: &[AnchorFile],
    machine: &MachineArguments,
    stateless: bool,
) -> Result<ExitCode> {
    let environment = environment(machine);
    // The main ruleset is loaded first: unused tables of it are discarded before the anchors are loaded.
    let main = match main {
        Some(file) => read_file(file)?,
        None => Text { name: "/etc/pf.conf".to_owned(), text: STOCK_MAIN.to_owned() },
    };
    let mut texts = vec![(String::new(), main)];
    for anchor in anchors {
        if texts.iter().any(|(path, _)| *path == anchor.name) {
            bail!("the anchor `{}` is given twice", anchor.name);
        }
        texts.push((anchor.name.clone(), read_file(&anchor.file)?));
    }
    let mut machine = eval::Machine::new(environment.interfaces.clone());
    let mut errors = Vec::new();
    for (path, text) in &texts {
        match parse(text, &environment) {
            Ok(ruleset) => {
                tell(&notes_of(text, &ruleset));
                machine.load(path, &ruleset);
            }
            Err(more) => errors.extend(more),
        }
    }
    if !errors.is_empty() {
        tell(&errors);
        return Ok(ExitCode::from(ERRORS));
    }
    answer(&mut machine, stateless)
}

/// Answers the packets from standard input, each as soon as its line is complete. After a packet whose verdict is not
/// known, neither is the state table: the rest is answered only if it does not depend on states.
fn answer(machine: &mut eval::Machine, stateless: bool) -> Result<ExitCode> {
    let mut input = io::stdin().lock();
    let mut line = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for number in 1_u64.. {
        line.clear();
        if input.read_until(b'\n', &mut line).context("cannot read standard input")? == 0 {
            break;
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let packet: Packet = match serde_json::from_slice(&line) {
            Ok(packet) => packet,
            Err(error) => {
                eprintln!("stdin:{number}:{}: {}", error.column().max(1), harmless(&without_place(&error)));
                return Ok(ExitCode::from(BAD_INPUT));
            }
        };
        let answer = if stateless { machine.decide(&packet) } else { machine.eval(&packet) };
        let mut text = serde_json::to_vec(&answer)?;
        text.push(b'\n');
        match io::stdout().lock().write_all(&text) {
            // The reader of the output has closed it.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            written => written.context("cannot write to standard output")?,
        }
        if !answer.is_known() {
            eprintln!(
                "stdin:{number}: the verdict is not known: anchors call each other so often that the evaluation was \
                 abandoned after a million rules, a limit that pf itself does not have; remove calls from anchors to \
                 anchors that call others"
            );
            code = ExitCode::from(ERRORS);
            if !stateless {
                break;
            }
        }
    }
    Ok(code)
}

/// serde_json's message without its ` at line 1 column 2`: each packet is one line, so that line number would mislead.
fn without_place(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    message.strip_suffix(&place).unwrap_or(&message).to_owned()
}

/// A ruleset's text, and its name in error messages.
pub(super) struct Text {
    /// The name: the file's path, or `stdin`.
    pub name: String,
    /// The text; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// Reads a ruleset; `-` is standard input. Fails if it cannot be read.
pub(super) fn read(file: &Path) -> Result<Text> {
    if !is_stdin(file) {
        return read_file(file);
    }
    Ok(Text { name: "stdin".to_owned(), text: text_of(&given::read(file)?) })
}

/// Reads a ruleset from a file. Fails for `-`, because standard input has the packets.
fn read_file(file: &Path) -> Result<Text> {
    if is_stdin(file) {
        bail!("`-` cannot be a file here: standard input has the packets");
    }
    let bytes = given::read(file)?;
    Ok(Text { name: file.display().to_string(), text: text_of(&bytes) })
}

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

/// Converts lossily: comments may contain any bytes, and pf itself is not limited to UTF-8.
fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn at_lines(all: &[Located]) -> Vec<AtLine> {
    all.iter().map(Located::at_line).collect()
}

/// An error or a note, with the name of its file.
struct Located {
    file: String,
    error: ParseError,
    is_note: bool,
}

impl Located {
    fn at_line(&self) -> AtLine {
        let ParseError { file: _, line, column, message } = &self.error;
        AtLine { file: self.file.clone(), line: *line, column: *column, message: message.clone() }
    }
}

impl Display for Located {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ParseError { line, column, message, .. } = &self.error;
        let note = if self.is_note { "note: " } else { "" };
        write!(f, "{}", harmless(&format!("{}:{line}:{column}: {note}{message}", self.file)))
    }
}

/// Parses a text. Errors carry the name of the file that each is in, which may be an included one.
fn parse(text: &Text, environment: &Environment) -> Result<Ruleset, Vec<Located>> {
    pf::parse(&text.text, environment).map_err(|errors| {
        let located = |error: ParseError| {
            let file = error.file.clone().unwrap_or_else(|| text.name.clone());
            Located { file, error, is_note: false }
        };
        errors.into_iter().map(located).collect()
    })
}

/// The notes on a ruleset without errors.
fn notes_of(text: &Text, ruleset: &Ruleset) -> Vec<Located> {
    let located = |note: &Note| {
        let Note { place, message } = note;
        let included = ruleset.files.get(place.file as usize).filter(|name| !name.is_empty());
        let message = message.clone();
        let error = ParseError { file: included.cloned(), line: place.line, column: place.column, message };
        Located { file: included.unwrap_or(&text.name).clone(), error, is_note: true }
    };
    ruleset.notes.iter().map(located).collect()
}

/// Prints errors and notes on standard error, one per line.
fn tell<'l>(all: impl IntoIterator<Item = &'l Located>) {
    for one in all {
        eprintln!("{one}");
    }
}

/// Escapes characters that could control a terminal or break the line.
pub(super) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if is_hostile(character) {
            let _ = write!(out, "{}", character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
}

/// The machine that the user describes: lo0 and the named interfaces, or an example en0 if none is named.
fn environment(machine: &MachineArguments) -> Environment {
    let names = match machine.services {
        ServiceNames::Macos => Names::MacOs,
        ServiceNames::Openbsd => Names::OpenBsd,
    };
    let mut environment = Environment { names, ..Environment::default() };
    for given in &machine.macros {
        environment.macros.insert(given.name.clone(), given.value.clone());
    }
    if machine.interfaces.is_empty() {
        let (name, address, prefix) = EXAMPLE;
        environment.add_address(name, address.into(), prefix);
    }
    for given in &machine.interfaces {
        let known = environment.interface(&given.name);
        if known.is_none_or(|known| !known.addresses.contains(&(given.address, given.prefix))) {
            environment.add_address(&given.name, given.address, given.prefix);
        }
    }
    environment.reader = Some(Box::new(|name| {
        let bytes =
            given::read_plain(Path::new(name)).map_err(|error| sentence(&error.root_cause().to_string()))?;
        Ok(text_of(&bytes))
    }));
    environment
}
