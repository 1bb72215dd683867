//! `init`: writes a first declaration in Nix, from answers, from flags, or from the file of another tool.

use std::fs;
use std::io::{self, BufRead, IsTerminal};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use nixvol_net::import::{self, Draft, DraftLink, DraftProvider, DraftVolume, Tool};
use nixvol_net::model;
use nixvol_net::plan::Plan;
use nixvol_net::render::{self, ANCHOR};

use super::pf::harmless;
use super::schema::printed::{self, LeftSchema};
use super::{NOT_PROVEN, counted, print, prove, reject, versioned};
use crate::cli::Format;
use crate::cli::init::InitArguments;
use crate::disk::{self, given};

/// Runs `init`.
pub fn run(init: &InitArguments) -> Result<ExitCode> {
    if !init.dry_run && !init.force && fs::symlink_metadata(&init.out).is_ok() {
        bail!(
            "{} is there already\nhint: name another file with `--out`, or replace it with `--force`",
            init.out.display()
        );
    }
    let (name, draft) = match &init.from {
        Some(file) => taken(file)?,
        None => (String::new(), asked(init)?),
    };
    tell(&name, &draft.left);
    let json = draft.json();
    let declaration = match model::read(json.to_string().as_bytes()) {
        Ok(declaration) => declaration,
        Err(rejected) => return Ok(reject("the draft", &rejected)),
    };
    let plan = Plan::of(&declaration);
    let anchor = render::anchor(&plan)?;
    if prove::proven(&plan, &declaration.positions, ANCHOR, &anchor).is_err() {
        return Ok(ExitCode::from(NOT_PROVEN));
    }
    let text = draft.nix(&heading(&name));
    if !init.dry_run {
        disk::create(&init.out, &text, init.force)?;
    }
    print(&match init.format {
        Format::Json => {
            let left = |it: &import::Left| {
                let import::Left { line, what, why } = it;
                LeftSchema { file: name.clone(), line: *line, what: what.clone(), why: why.clone() }
            };
            versioned(printed::InitSchema {
                file: init.out.display().to_string(),
                written: !init.dry_run,
                input: json,
                left: draft.left.iter().map(left).collect(),
            })?
        }
        Format::Text if init.dry_run => text,
        Format::Text => {
            let left = match draft.left.len() {
                0 => String::new(),
                1 => "; 1 line of it was not taken as it is, see above".to_owned(),
                count => format!("; {count} lines of it were not taken as they are, see above"),
            };
            format!(
                "{}: {}: valid, proven{left}\nnext: add it to the `modules` of your configuration, beside nixvol-net's own; \
                 `nixvol-net add --help` edits it\n",
                init.out.display(),
                counted(&declaration)
            )
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Reports on standard error what was not imported, one line each, with its place.
fn tell(name: &str, left: &[import::Left]) {
    for left in left {
        eprintln!("{}", harmless(&format!("{name}:{}: {}: {}", left.line, left.what, left.why)));
    }
}

/// The comment at the top of the written file.
fn heading(from: &str) -> Vec<String> {
    let from = if from.is_empty() { String::new() } else { format!(" from {}", harmless(from)) };
    vec![
        format!("A network of volumes, written by `nixvol-net init`{from}. It is yours to change."),
        "Import it beside the module of nixvol-net.".to_owned(),
    ]
}

/// A draft from the file of another tool, with the name of that file for messages.
fn taken(file: &Path) -> Result<(String, Draft)> {
    let bytes = given::read(file)?;
    let name = if file == Path::new("-") { "stdin".to_owned() } else { file.display().to_string() };
    let Some(text) = decoded(&bytes) else {
        bail!("{name} is not text\nhint: of a plan of Terraform, `terraform show -json PLAN` is the text")
    };
    match import::read(&text) {
        Ok((Tool::Compose | Tool::Kind | Tool::Terraform, draft)) => Ok((name, draft)),
        Err(import::Unusable::Syntax { line, column, reason }) => {
            bail!("{name}:{line}:{column}: {}\nhint: the file is read as YAML or JSON", harmless(&reason))
        }
        Err(unusable @ (import::Unusable::Unknown | import::Unusable::Nothing(_))) => {
            if let import::Unusable::Nothing(left) = &unusable {
                tell(&name, left);
            }
            bail!("{name}: {unusable}\nhint: `nixvol-net init` without `--from` starts from nothing")
        }
    }
}

/// The text of a file in UTF-8, or in UTF-16 with a byte order mark, as PowerShell's `>` writes it.
fn decoded(bytes: &[u8]) -> Option<String> {
    let wide = |of: fn([u8; 2]) -> u16| {
        let units = bytes.get(2..)?.chunks_exact(2);
        if !units.remainder().is_empty() {
            return None;
        }
        String::from_utf16(&units.map(|pair| of([pair[0], pair[1]])).collect::<Vec<_>>()).ok()
    };
    match bytes {
        [0xff, 0xfe, ..] => wide(u16::from_le_bytes),
        [0xfe, 0xff, ..] => wide(u16::from_be_bytes),
        _ => String::from_utf8(bytes.to_vec()).ok(),
    }
}

/// A draft from flags, or from answers if standard input and standard error are a terminal.
fn asked(init: &InitArguments) -> Result<Draft> {
    let (mut providers, mut volumes, mut link_all) = (init.providers.clone(), init.volumes, init.link_all);
    if providers.is_empty() {
        if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
            bail!(
                "there is nobody to ask\nhint: name providers (`--provider aws --provider gcp`), or a file to take them from \
                 (`--from compose.yaml`)"
            );
        }
        let answer = answer("Providers, by name, with commas between them", "aws, gcp")?;
        providers =
            answer.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
        if volumes.is_none() {
            let count = self::answer("Volumes in each", "1")?;
            volumes = Some(
                count
                    .parse()
                    .ok()
                    .filter(|count| *count <= 100)
                    .with_context(|| format!("`{}` is not a number from 0 to 100", harmless(&count)))?,
            );
        }
        if !link_all && providers.len() > 1 {
            let yes = self::answer("May they all reach each other? yes or no", "no")?;
            link_all = match yes.as_str() {
                "yes" | "y" => true,
                "no" | "n" => false,
                other => bail!("`{}` is neither yes nor no", harmless(other)),
            };
        }
    }
    let mut draft = Draft::default();
    for (line, provider) in (1..).zip(&providers) {
        let (name, network) =
            provider.split_once('=').map_or((provider.as_str(), None), |(name, it)| (name, Some(it)));
        if model::Name::new(name, model::Name::LONGEST).is_none() || model::Name::RESERVED.contains(&name) {
            bail!(
                "`{}` is not a name for a provider\nhint: lower-case letters, digits and `-`, 24 characters at most",
                harmless(name)
            );
        }
        if draft.providers.iter().any(|known| known.name == name) {
            bail!("`{name}` is named twice");
        }
        let network = match network {
            None => None,
            Some(text) => match text.parse() {
                Ok(network) => Some((network, line)),
                Err(_) => bail!("`{}` is not a network\nhint: write it as 10.0.0.0/16", harmless(text)),
            },
        };
        draft.providers.push(DraftProvider {
            name: name.to_owned(),
            network,
            line,
            ..DraftProvider::default()
        });
        for number in 1..=volumes.unwrap_or(1) {
            let name = format!("{name}-{number}");
            draft.volumes.push(DraftVolume {
                name,
                provider: draft.providers[draft.providers.len() - 1].name.clone(),
                line,
                ..DraftVolume::default()
            });
        }
    }
    if link_all && draft.providers.len() > 1 {
        let all: Vec<String> = draft.providers.iter().map(|provider| provider.name.clone()).collect();
        draft.links.push(DraftLink { from: all.clone(), to: all, ..DraftLink::default() });
    }
    draft.finish();
    // A network that the user names is not replaced by another one, so a problem with it is an error.
    if let Some(left) = draft.left.first() {
        bail!("{}: {}", left.what, left.why.trim_end_matches(": another is chosen"));
    }
    Ok(draft)
}

/// Asks one question on the terminal. An empty answer means the default; end of input is an error.
fn answer(question: &str, default: &str) -> Result<String> {
    eprint!("{question} [{default}]: ");
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line).context("cannot read the answer")?;
    if read == 0 {
        eprintln!("");
        bail!("no answer; nothing was written");
    }
    let line = line.trim();
    Ok(if line.is_empty() { default.to_owned() } else { line.to_owned() })
}
