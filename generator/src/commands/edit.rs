//! `add` and `remove`: a change of the user's own Nix file, checked before it is written.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use nixvol_net::diagnostic;
use nixvol_net::edit::{Change, Fields, File, Kind, Refused};
use nixvol_net::model::{self, Declaration, Rejected};
use nixvol_net::problem;
use serde_json::{Value, json};
use similar::TextDiff;

use super::pf::harmless;
use super::{BAD_INPUT, colour, input_bytes, print, reject};
use crate::cli::edit::{Add, Alias, LinkIndex, Remove, Target};
use crate::cli::{Format, Source};
use crate::disk;

/// A file that is being edited, and the declaration that it is part of.
struct Edit<'a> {
    target: &'a Target,
    name: String,
    file: File<'a>,
    text: &'a str,
    /// What the declaration was read from, as messages call it.
    source: String,
    declaration: Value,
}

/// Runs `add`.
pub fn add(what: &Add) -> Result<ExitCode> {
    let target = match what {
        Add::Volume { target, .. } | Add::Provider { target, .. } | Add::Link { target, .. } => target,
    };
    with(target, |edit| {
        let change = match what {
            Add::Link { .. } => Change::AddLink { fields: link(what) },
            Add::Provider { name, .. } => {
                let Some(fields) = edit.provider(what)? else { return Ok(None) };
                Change::Add { kind: Kind::Provider, name: name.clone(), fields }
            }
            Add::Volume { name, .. } => {
                let Some(fields) = edit.volume(what)? else { return Ok(None) };
                Change::Add { kind: Kind::Volume, name: name.clone(), fields }
            }
        };
        Ok(Some(change))
    })
}

/// Runs `remove`.
pub fn remove(what: &Remove) -> Result<ExitCode> {
    match what {
        Remove::Volume { name, target } => {
            with(target, |_| Ok(Some(Change::Remove { kind: Kind::Volume, name: name.clone() })))
        }
        Remove::Provider { name, target } => {
            with(target, |_| Ok(Some(Change::Remove { kind: Kind::Provider, name: name.clone() })))
        }
        Remove::Link { target, .. } => with(target, |edit| edit.link_to_remove(what).map(Some)),
    }
}

/// Reads the file and the declaration, asks for the change, makes it, checks it, and writes the file.
fn with(target: &Target, change: impl FnOnce(&Edit) -> Result<Option<Change>>) -> Result<ExitCode> {
    let name = target.file.display().to_string();
    let text = fs::read_to_string(&target.file).with_context(|| format!("cannot read {name}"))?;
    let within = target.within.clone().unwrap_or_default().0;
    let file = match File::parse(&text, &within) {
        Ok(file) => file,
        Err(refused) => return Ok(refuse(&refused, &name, &text)),
    };
    let source = Source { input: target.input.clone() };
    let (source, declaration) = if target.input.is_some() {
        let (source, bytes) = input_bytes(&source)?;
        let declaration: Value = match serde_json::from_slice(&bytes) {
            Ok(declaration @ Value::Object(_)) => declaration,
            // The reader of declarations tells what is wrong with it.
            _ => {
                return Ok(model::read(&bytes)
                    .err()
                    .map_or(ExitCode::from(BAD_INPUT), |it| reject(&source, &it)));
            }
        };
        (source, declaration)
    } else {
        let declared = file.declared();
        if let Some(unknown) = declared.unknown.first() {
            let option = ["services.nixvol-net", &unknown.option].join(".");
            let title = format!("`{}` is more than this file alone tells", option.trim_end_matches('.'));
            let ranges: Vec<_> = declared.unknown.iter().map(|unknown| unknown.at.clone()).collect();
            let told = diagnostic::pointed(
                &title,
                &name,
                &text,
                &ranges,
                Some(EVALUATE),
                colour(&std::io::stderr()),
            );
            eprintln!("{told}");
            return Ok(ExitCode::from(BAD_INPUT));
        }
        let mut declaration = declared.json;
        declaration["positions"] = file.positions(&name, &declared.places);
        (name.clone(), declaration)
    };
    let edit = Edit { target, name, file, text: &text, source, declaration };
    match change(&edit)? {
        Some(change) => edit.make(&change),
        None => Ok(ExitCode::from(BAD_INPUT)),
    }
}

/// How to get at the whole declaration.
const EVALUATE: &str = "give the whole declaration: \
    nix eval --json .#darwinConfigurations.NAME.config.services.nixvol-net.input | nixvol-net … --input -";

impl Edit<'_> {
    fn make(&self, change: &Change) -> Result<ExitCode> {
        let edited = match self.file.edited(change, &self.declaration, self.target.at) {
            Ok(edited) => edited,
            Err(refused) => return Ok(refuse(&refused, &self.name, self.text)),
        };
        let declaration = change.applied(&self.declaration).to_string();
        if let Err(rejected) = model::read(declaration.as_bytes()) {
            let exit = reject(&self.source, &rejected);
            self.note_of_part(&rejected);
            return Ok(exit);
        }
        let diff = TextDiff::from_lines(self.text, edited.as_str());
        let diff = diff.unified_diff().header(&self.name, &self.name).to_string();
        if !self.target.dry_run {
            disk::replace(&self.target.file, self.text, &edited)?;
        }
        let said = said(change);
        print(&match (self.target.format, self.target.dry_run) {
            (Format::Text, true) => diff,
            (Format::Text, false) => format!("{}: {said}\n", self.name),
            (Format::Json, dry) => {
                let record = json!({ "file": self.name, "change": said, "written": !dry, "diff": diff });
                format!("{record:#}\n")
            }
        })?;
        Ok(ExitCode::SUCCESS)
    }

    /// The declaration before the change, where something is to be chosen in it.
    fn before(&self) -> Option<Declaration> {
        match model::read(self.declaration.to_string().as_bytes()) {
            Ok(declaration) => Some(declaration),
            Err(rejected) => {
                reject(&self.source, &rejected);
                self.note_of_part(&rejected);
                None
            }
        }
    }

    /// What is missing may be declared in another file.
    fn note_of_part(&self, rejected: &Rejected) {
        let is_missing = |kind: &problem::Kind| {
            matches!(
                kind,
                problem::Kind::UnknownProvider { .. }
                    | problem::Kind::UnknownEnd { .. }
                    | problem::Kind::Missing { .. }
            )
        };
        if self.target.input.is_none() && rejected.problems.iter().any(|problem| is_missing(&problem.kind)) {
            eprintln!("note: only what {} says was looked at; hint: {EVALUATE}", self.name);
        }
    }

    fn volume(&self, what: &Add) -> Result<Option<Fields>> {
        let Add::Volume { provider, address, localhost, attachment, publish, mount_point, .. } = what else {
            return Ok(None);
        };
        let is_guest = attachment.as_deref() == Some("guest");
        let wants_alias = localhost.is_none() && (!is_guest || !publish.is_empty());
        let mut fields: Fields = vec![("provider", json!(provider))];
        let (mut address, mut alias) = (
            *address,
            match localhost {
                Some(Alias::At(alias)) => Some(*alias),
                Some(Alias::None) | None => None,
            },
        );
        if address.is_none() || wants_alias {
            let Some(before) = self.before() else { return Ok(None) };
            if address.is_none() {
                if !before.providers.contains_key(provider.as_str()) {
                    let hint = match before.nearest_provider(provider) {
                        Some(nearest) => format!("did you mean `{nearest}`?"),
                        None => format!("`nixvol-net add provider {provider}` first"),
                    };
                    let error = format!("there is no provider `{}`", harmless(provider));
                    let part = if self.target.input.is_none() {
                        format!("; or it is in another file: {EVALUATE}")
                    } else {
                        String::new()
                    };
                    bail!("{error}\nhint: {hint}{part}");
                }
                address = before.free_address(provider);
                if address.is_none() {
                    bail!("provider `{provider}` has no free address\nhint: name one with --address");
                }
            }
            if wants_alias {
                alias = before.free_alias();
                if alias.is_none() {
                    bail!(
                        "there is no free localhost alias\nhint: name one with --localhost, or `--localhost none`"
                    );
                }
            }
        }
        fields.extend(address.map(|it| ("address", json!(it))));
        fields.extend(alias.map(|it| ("localhost", json!(it))));
        fields.extend(attachment.as_ref().map(|it| ("attachment", json!(it))));
        if !publish.is_empty() {
            fields.push(("publish", json!(publish)));
        }
        fields.extend(mount_point.as_ref().map(|it| ("mountPoint", json!(it))));
        Ok(Some(fields))
    }

    fn provider(&self, what: &Add) -> Result<Option<Fields>> {
        let Add::Provider { network, gateway, bridge, attachment, no_internet, .. } = what else {
            return Ok(None);
        };
        let (mut network, mut gateway) = (network.clone(), gateway.clone());
        if network.is_none() || gateway.is_none() {
            let Some(before) = self.before() else { return Ok(None) };
            let free = match &network {
                None => before.free_network(),
                Some(network) => match network.parse() {
                    Ok(network) => Some(network),
                    Err(_) => bail!("`{}` is not a network; expected one as 10.5.0.0/16", harmless(network)),
                },
            };
            let Some(free) = free else { bail!("there is no free network\nhint: name one with --network") };
            gateway = gateway.or_else(|| before.gateway_for(free).map(|it| it.to_string()));
            network = Some(free.to_string());
        }
        let mut fields: Fields = vec![("network", json!(network)), ("gateway", json!(gateway))];
        fields.extend(bridge.as_ref().map(|it| ("bridge", json!(it))));
        fields.extend(attachment.as_ref().map(|it| ("attachment", json!(it))));
        if *no_internet {
            fields.push(("internet", json!(false)));
        }
        Ok(Some(fields))
    }

    fn link_to_remove(&self, what: &Remove) -> Result<Change> {
        let Remove::Link { link, from, to, protocol, ports, .. } = what else { bail!("no link") };
        let links = self.declaration["links"].as_array().map(Vec::as_slice).unwrap_or_default();
        if let Some(LinkIndex(index)) = link {
            if *index >= links.len() {
                bail!("there is no `links.{index}`\nhint: {}", count_of(links.len()));
            }
            return Ok(Change::RemoveLink { index: *index });
        }
        let sorted = |value: &Value| -> Vec<String> {
            let mut names: Vec<String> = value.as_array().into_iter().flatten().map(text).collect();
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
        let found: Vec<usize> = (0..links.len()).filter(|index| fits(&links[*index])).collect();
        match found[..] {
            [index] => Ok(Change::RemoveLink { index }),
            [] => bail!("no link has these ends\nhint: {}", count_of(links.len())),
            _ => {
                let names: Vec<String> = found.iter().map(|index| format!("links.{index}")).collect();
                bail!("several links have these ends: {}\nhint: name one of them", names.join(", "))
            }
        }
    }
}

fn count_of(links: usize) -> String {
    match links {
        0 => "none is declared".to_owned(),
        1 => "only `links.0` is declared".to_owned(),
        _ => format!("`links.0` to `links.{}` are declared", links - 1),
    }
}

/// A port or a name as text.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn link(what: &Add) -> Fields {
    let Add::Link { from, to, protocol, ports, bidirectional, masquerade, .. } = what else {
        return Fields::new();
    };
    let mut fields: Fields = vec![("from", json!(from)), ("to", json!(to))];
    fields.extend(protocol.as_ref().map(|it| ("protocol", json!(it))));
    if !ports.is_empty() {
        let port = |port: &String| port.parse::<u16>().map_or_else(|_| json!(port), |number| json!(number));
        fields.push(("ports", ports.iter().map(port).collect()));
    }
    for (name, is_set) in [("bidirectional", *bidirectional), ("masquerade", *masquerade)] {
        if is_set {
            fields.push((name, json!(true)));
        }
    }
    fields
}

/// A change in a few words.
fn said(change: &Change) -> String {
    let told = |fields: &Fields| -> String {
        let field = |(name, value): &(&str, Value)| match value {
            Value::Array(items) => {
                format!("{name} {}", items.iter().map(text).collect::<Vec<_>>().join(", "))
            }
            value => format!("{name} {}", text(value)),
        };
        fields.iter().map(field).collect::<Vec<_>>().join(", ")
    };
    match change {
        Change::Add { kind, name, fields } => format!("added {} `{name}`: {}", kind.word(), told(fields)),
        Change::AddLink { fields } => format!("added a link: {}", told(fields)),
        Change::Remove { kind, name } => format!("removed {} `{name}`", kind.word()),
        Change::RemoveLink { index } => format!("removed `links.{index}`"),
    }
}

/// Says why nothing was written, and what to write by hand.
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
