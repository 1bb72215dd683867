//! `add`, `remove`, `rename` and `move`: edit the user's Nix file. The change is checked before it is written, and the
//! flows that it opens and closes are shown.

mod effect;
mod fields;
mod macs;
mod opened;
mod views;

use std::process::ExitCode;

use anyhow::{Result, bail};
use nixvol_net::diagnostic;
use nixvol_net::edit::{Change, Choice, Declared, EntryKind, Fields, ListOption, NixFile, Refused};
use nixvol_net::model;
use serde_json::{Value, json};
use similar::TextDiff;

use super::paint::{Paint, painted};
use super::{BAD_INPUT, colour, expect, input_bytes, print, reject, versioned};
use crate::cli::edit::{Add, EditTarget, Move, Remove, Rename};
use crate::cli::{Format, InputSource};
use crate::disk::{self, given};
use effect::Effect;
use opened::{EVALUATE, OpenedFile, read};

/// Runs `add`.
pub fn add(what: &Add) -> Result<ExitCode> {
    let target = match what {
        Add::Volume { target, .. }
        | Add::Provider { target, .. }
        | Add::Mac { target, .. }
        | Add::Link { target, .. }
        | Add::Expect { target, .. } => target,
    };
    with(target, |edit| {
        let change = match what {
            Add::Link { .. } => Change::AddItem { list: ListOption::Links, fields: fields::link(what) },
            Add::Expect { .. } => {
                Change::AddItem { list: ListOption::Expect, fields: fields::expectation(what) }
            }
            Add::Provider { name, mac, .. } => {
                let lists = edit.lists_with_new(name, mac.as_deref())?;
                let Some(fields) = edit.provider(what)? else { return Ok(None) };
                macs::with(Change::Add { kind: EntryKind::Provider, name: name.clone(), fields }, lists)
            }
            Add::Mac { name, providers, .. } => {
                let fields = fields::mac(what);
                let lists = edit.lists_without(providers);
                macs::with(Change::Add { kind: EntryKind::Mac, name: name.clone(), fields }, lists)
            }
            Add::Volume { name, .. } => {
                let Some(fields) = edit.volume(what)? else { return Ok(None) };
                Change::Add { kind: EntryKind::Volume, name: name.clone(), fields }
            }
        };
        Ok(Some(change))
    })
}

/// Runs `remove`.
pub fn remove(what: &Remove) -> Result<ExitCode> {
    match what {
        Remove::Volume { name, target } => {
            with(target, |_| Ok(Some(Change::Remove { kind: EntryKind::Volume, name: name.clone() })))
        }
        Remove::Provider { name, target } => {
            let change = Change::Remove { kind: EntryKind::Provider, name: name.clone() };
            with(target, |edit| Ok(Some(macs::with(change, edit.lists_without(std::slice::from_ref(name))))))
        }
        Remove::Mac { name, to, target } => {
            with(target, |edit| edit.mac_to_remove(name, to.as_deref()).map(Some))
        }
        Remove::Link { target, .. } | Remove::Expect { target, .. } => {
            with(target, |edit| edit.item_to_remove(what).map(Some))
        }
    }
}

/// Runs `rename`.
pub fn rename(what: &Rename) -> Result<ExitCode> {
    let (kind, Names { old, new }, target) = match what {
        Rename::Volume { old, new, target } => (EntryKind::Volume, Names { old, new }, target),
        Rename::Provider { old, new, target } => (EntryKind::Provider, Names { old, new }, target),
    };
    with(target, |_| Ok(Some(Change::Rename { kind, old: old.clone(), new: new.clone() })))
}

struct Names<'a> {
    old: &'a String,
    new: &'a String,
}

/// Runs `move`.
pub fn relocate(what: &Move) -> Result<ExitCode> {
    let (name, to, address, target) = match what {
        Move::Volume { name, to, address, target } => (name, to, address, target),
        Move::Provider { name, to, target } => {
            return with(target, |edit| edit.provider_to_move(name, to).map(Some));
        }
    };
    with(target, |edit| {
        let mut at = *address;
        if at.is_none() {
            let Some(before) = edit.before() else { return Ok(None) };
            at = Some(edit.free_address(&before, to)?);
        }
        let address = at.map(|it| it.to_string()).unwrap_or_default();
        Ok(Some(Change::Move { name: name.clone(), provider: to.clone(), address }))
    })
}

/// Reads the file and its declaration, gets the change from `change`, applies and checks it, and writes the file.
fn with(target: &EditTarget, change: impl FnOnce(&OpenedFile) -> Result<Option<Change>>) -> Result<ExitCode> {
    let name = target.file.display().to_string();
    let text = given::read_plain_text(&target.file)?;
    let within = target.within.clone().unwrap_or_default().0;
    let choice = Choice { configurations: target.configuration.clone(), line: target.at };
    let file = match NixFile::parse(&text, &within).and_then(|file| file.choose(&choice)) {
        Ok(file) => file,
        Err(refused) => return Ok(refuse(&refused, &name, &text)),
    };
    let (source, declarations) = if target.input.is_some() {
        let (source, bytes) = input_bytes(&InputSource { input: target.input.clone() })?;
        let declared = file.declarations();
        if declared.len() > 1 {
            let names: Vec<&str> = declared.iter().map(|(name, _)| name.as_str()).collect();
            bail!(
                "the input is the declaration of one configuration, and {} are edited: {}\n\
                 hint: leave --input out, or edit the file by hand",
                names.len(),
                names.join(", ")
            );
        }
        let declaration: Value = match serde_json::from_slice(&bytes) {
            Ok(declaration @ Value::Object(_)) => declaration,
            // `model::read` reports what is wrong with it.
            _ => {
                return Ok(model::read(&bytes)
                    .err()
                    .map_or(ExitCode::from(BAD_INPUT), |it| reject(&source, &it)));
            }
        };
        let name = declared.into_iter().next().map(|(name, _)| name).unwrap_or_default();
        (source, vec![(name, declaration)])
    } else {
        let mut declared = file.declarations();
        if declared.is_empty() {
            declared.push((String::new(), file.declared()));
        }
        let mut declarations = Vec::new();
        for (configuration, declared) in declared {
            if !declared.unknown.is_empty() {
                return Ok(refuse_unknown(&declared, &name, &text));
            }
            let mut declaration = declared.json;
            declaration["positions"] = file.positions(&name, &declared.places);
            declarations.push((configuration, declaration));
        }
        (name.clone(), declarations)
    };
    let edit = OpenedFile { target, name, file, text: &text, source, declarations };
    match change(&edit)? {
        Some(change) => edit.make(&change),
        None => Ok(ExitCode::from(BAD_INPUT)),
    }
}

impl OpenedFile<'_> {
    fn make(&self, change: &Change) -> Result<ExitCode> {
        let edited = match self.file.edited(change, self.declaration(), self.target.at) {
            Ok(edited) => edited,
            Err(refused) => return Ok(refuse(&refused, &self.name, self.text)),
        };
        let mut effects = Vec::new();
        for (configuration, declaration) in &self.declarations {
            let before = views::views(declaration);
            for (mac, view) in views::views(&change.applied(declaration)) {
                let after = match read(&view) {
                    Ok(after) => after,
                    Err(rejected) => {
                        let exit = reject(&self.source, &rejected);
                        self.note_of_part(&rejected);
                        return Ok(exit);
                    }
                };
                if !expect::are_met(&after)? {
                    return Ok(ExitCode::from(BAD_INPUT));
                }
                let known = before.iter().position(|(known, _)| *known == mac);
                // The first Mac, and the last one that stays, are compared with the declaration for one Mac.
                let known = known.or((before.len() == 1 || mac.is_none()).then_some(0));
                // A Mac that is new has nothing to compare with.
                let Some((_, before)) = known.map(|at| &before[at]) else { continue };
                let name = mac.as_deref().unwrap_or(configuration);
                effects.push(Effect::of(name, read(before).ok().as_ref(), &after));
            }
        }
        let diff = TextDiff::from_lines(self.text, edited.as_str());
        let diff = diff.unified_diff().header(&self.name, &self.name).to_string();
        if !self.target.dry_run {
            disk::replace(&self.target.file, self.text, &edited)?;
        }
        if let Change::Rename { old, .. } = change {
            self.note_of_what_stays(old, &edited);
        }
        let said = said(change);
        let colour = colour(&std::io::stdout());
        print(&match (self.target.format, self.target.dry_run) {
            (Format::Text, true) => painted(&diff, Paint::Edit) + &effect::told(&effects, colour),
            (Format::Text, false) => format!("{}: {said}\n{}", self.name, effect::told(&effects, colour)),
            (Format::Json, dry) => {
                let record = json!({
                    "file": self.name,
                    "change": said,
                    "written": !dry,
                    "diff": diff,
                    "effects": effect::records(&effects)?,
                });
                versioned(&record)?
            }
        })?;
        Ok(ExitCode::SUCCESS)
    }

    /// Notes the lines that still have the old name after a rename, as comments and strings do.
    fn note_of_what_stays(&self, old: &str, edited: &str) {
        let lines: Vec<String> = self.file.lines_with(old, edited).iter().map(ToString::to_string).collect();
        if !lines.is_empty() {
            let word = if lines.len() == 1 { "line" } else { "lines" };
            eprintln!("note: `{old}` still stands on {word} {} of {}", lines.join(", "), self.name);
        }
    }

    fn item_to_remove(&self, what: &Remove) -> Result<Change> {
        let (list, number, ends) = match what {
            Remove::Link { link, from, to, protocol, ports, target: _ } => {
                (ListOption::Links, link.map(|it| it.0), (from, to, protocol, ports))
            }
            Remove::Expect { expect, from, to, protocol, ports, target: _ } => {
                (ListOption::Expect, expect.map(|it| it.0), (from, to, protocol, ports))
            }
            Remove::Volume { .. } | Remove::Provider { .. } | Remove::Mac { .. } => {
                bail!("neither a link nor an expectation")
            }
        };
        let (option, (from, to, protocol, ports)) = (list.option(), ends);
        let items = self.declaration()[option].as_array().map(Vec::as_slice).unwrap_or_default();
        if let Some(index) = number {
            if index >= items.len() {
                bail!("there is no `{option}.{index}`\nhint: {}", count_of(option, items.len()));
            }
            return Ok(Change::RemoveItem { list, index });
        }
        let sorted = |value: &Value| -> Vec<String> {
            let mut names: Vec<String> = value.as_array().into_iter().flatten().map(word).collect();
            names.sort();
            names
        };
        let same = |value: &Value, wanted: &[String]| sorted(value) == sorted(&json!(wanted));
        let fits = |link: &Value| {
            same(&link["from"], from)
                && same(&link["to"], to)
                && protocol.as_ref().is_none_or(|protocol| link["protocol"] == json!(protocol))
                && (ports.is_empty() || same(&link["ports"], ports))
        };
        let found: Vec<usize> = (0..items.len()).filter(|index| fits(&items[*index])).collect();
        match found[..] {
            [index] => Ok(Change::RemoveItem { list, index }),
            [] => {
                let what = if list == ListOption::Links { "link" } else { "expectation" };
                bail!("no {what} has these ends\nhint: {}", count_of(option, items.len()))
            }
            _ => {
                let names: Vec<String> = found.iter().map(|index| format!("{option}.{index}")).collect();
                bail!("several have these ends: {}\nhint: name one of them", names.join(", "))
            }
        }
    }
}

fn count_of(option: &str, items: usize) -> String {
    match items {
        0 => "none is declared".to_owned(),
        1 => format!("only `{option}.0` is declared"),
        _ => format!("`{option}.0` to `{option}.{}` are declared", items - 1),
    }
}

/// A port or a name as text.
fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A one-line summary of a change.
fn said(change: &Change) -> String {
    let told = |fields: &Fields| -> String {
        let field = |(name, value): &(&str, Value)| match value {
            Value::Array(items) => {
                format!("{name} {}", items.iter().map(word).collect::<Vec<_>>().join(", "))
            }
            Value::Object(inner) => {
                let inner = inner.iter().map(|(name, value)| format!("{name} {}", word(value)));
                inner.collect::<Vec<_>>().join(", ")
            }
            value => format!("{name} {}", word(value)),
        };
        fields.iter().map(field).collect::<Vec<_>>().join(", ")
    };
    match change {
        Change::Add { kind, name, fields } => format!("added {} `{name}`: {}", kind.word(), told(fields)),
        Change::AddItem { list, fields } => format!("added {}: {}", list.one(), told(fields)),
        Change::Remove { kind, name } => format!("removed {} `{name}`", kind.word()),
        Change::RemoveItem { list, index } => format!("removed `{}.{index}`", list.option()),
        Change::Rename { kind, old, new } => format!("renamed {} `{old}` to `{new}`", kind.word()),
        Change::Move { name, provider, address } => {
            format!("moved volume `{name}` to provider `{provider}`: address {address}")
        }
        Change::MoveProvider { name, mac, lists: _ } => format!("moved provider `{name}` to Mac `{mac}`"),
        Change::WithMacs { change, lists } => {
            let lists = lists.iter().map(|(mac, list)| format!("; Mac `{mac}` has {}", list.join(", ")));
            format!("{}{}", said(change), lists.collect::<String>())
        }
    }
}

/// Reports the parts that only Nix can evaluate.
fn refuse_unknown(declared: &Declared, name: &str, text: &str) -> ExitCode {
    let option = declared.unknown.first().map_or("", |unknown| unknown.option.as_str());
    let option = ["services.nixvol-net", option].join(".");
    let title = format!("`{}` cannot be determined from this file alone", option.trim_end_matches('.'));
    let ranges: Vec<_> = declared.unknown.iter().map(|unknown| unknown.at.clone()).collect();
    let colour = colour(&std::io::stderr());
    eprintln!("{}", diagnostic::pointed(&title, name, text, &ranges, Some(EVALUATE), colour));
    ExitCode::from(BAD_INPUT)
}

/// Reports why nothing was written, and what to write by hand.
fn refuse(refused: &Refused, name: &str, text: &str) -> ExitCode {
    let hint = refused.hint();
    let colour = colour(&std::io::stderr());
    let told = diagnostic::pointed(&refused.to_string(), name, text, &refused.at, hint.as_deref(), colour);
    eprintln!("{told}");
    if let Some(instead) = &refused.instead {
        let indented = format!("    {}\n", instead.replace('\n', "\n    "));
        eprint!(
            "\nnothing was written; to do it by hand, write this in a module of your configuration:\n\n{indented}"
        );
    }
    ExitCode::from(BAD_INPUT)
}
