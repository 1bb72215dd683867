//! A file that is being edited, with the declarations that an edit applies to.

use anyhow::Result;
use nixvol_net::edit::NixFile;
use nixvol_net::model::{self, Declaration, Name, Rejected};
use nixvol_net::problem::ProblemKind;
use serde_json::Value;

use super::views::views;
use crate::cli::edit::EditTarget;
use crate::commands::reject;

/// A hint: how to pass the whole declaration.
pub const EVALUATE: &str = "give the whole declaration: \
    nix eval --json .#darwinConfigurations.NAME.config.services.nixvol-net.input | nixvol-net … --input -";

/// A file that is being edited, and what it declares.
pub struct OpenedFile<'a> {
    pub target: &'a EditTarget,
    pub name: String,
    pub file: NixFile<'a>,
    pub text: &'a str,
    /// The name, in messages, of the input that the declaration was read from.
    pub source: String,
    /// Name and declaration of every configuration that the edit applies to. Never empty.
    pub declarations: Vec<(String, Value)>,
}

impl OpenedFile<'_> {
    /// The declaration that the edit applies to; the first one if there are several configurations.
    pub fn declaration(&self) -> &Value {
        &self.declarations[0].1
    }

    /// The declaration before the change, for choosing free values; several configurations are merged into one. Reports
    /// the problems and returns `None` if it is not valid.
    pub fn before(&self) -> Option<Declaration> {
        let mut declarations = Vec::new();
        for (_, declaration) in &self.declarations {
            // Networks and addresses are those of all Macs, whichever sees them.
            let view = views(declaration).swap_remove(0).1;
            match read(&view) {
                Ok(declaration) => declarations.push(declaration),
                Err(rejected) => {
                    reject(&self.source, &rejected);
                    self.note_of_part(&rejected);
                    return None;
                }
            }
        }
        united(declarations)
    }

    /// Notes that a missing entry may be declared in another file.
    pub fn note_of_part(&self, rejected: &Rejected) {
        let is_missing = |kind: &ProblemKind| {
            matches!(
                kind,
                ProblemKind::UnknownProvider { .. }
                    | ProblemKind::UnknownEnd { .. }
                    | ProblemKind::Missing { .. }
            )
        };
        if self.target.input.is_none() && rejected.problems.iter().any(|problem| is_missing(&problem.kind)) {
            eprintln!("note: only what {} says was looked at; hint: {EVALUATE}", self.name);
        }
    }
}

/// Reads a declaration from a JSON value.
pub fn read(declaration: &Value) -> Result<Declaration, Rejected> {
    model::read(declaration.to_string().as_bytes())
}

/// Merges declarations into one, so that a value free in the result is free in all of them. Entries of all but the
/// first are renamed.
fn united(mut declarations: Vec<Declaration>) -> Option<Declaration> {
    if declarations.is_empty() {
        return None;
    }
    let mut first = declarations.remove(0);
    for (index, other) in declarations.into_iter().enumerate() {
        for (at, volume) in other.volumes.into_values().enumerate() {
            first
                .volumes
                .extend(Name::new(&format!("{index}-{at}"), Name::LONGEST).map(|name| (name, volume)));
        }
        for (at, provider) in other.providers.into_values().enumerate() {
            if !first.providers.values().any(|known| known.network == provider.network) {
                let name = Name::new(&format!("{index}-{at}"), Name::LONGEST);
                first.providers.extend(name.map(|name| (name, provider)));
            }
        }
    }
    Some(first)
}
