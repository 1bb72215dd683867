//! `schema`: the JSON Schema of the input, and of what each command prints as JSON.
//!
//! What a command prints is described by types: the library's own where the command serializes those, and those in
//! `printed`, `lab`, `manager` and `eval` for the rest. `tests/schema.rs` and `tests/schema_mac.rs` check every output
//! against its schema, so that neither changes alone.

mod eval;
mod lab;
mod manager;
pub mod printed;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::CommandFactory;
use nixvol_net::diff::record::DiffRecord as Difference;
use nixvol_net::input;
use nixvol_net::live::Live;
use nixvol_net::replay::Played;
use nixvol_net::scenario::Told;
use nixvol_net::status::Status;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Value, json};

use super::{DATA, print};
use crate::cli::{Cli, papers};

/// Runs `schema`.
pub fn run(arguments: &papers::Schema) -> Result<ExitCode> {
    let command = arguments.command.join(" ");
    if command.is_empty() {
        print(&format!("{:#}\n", serde_json::to_value(input::schema())?))?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some((known, form, make)) = KNOWN.iter().find(|(known, ..)| is_meant(known, &command)) else {
        let known: Vec<&str> = KNOWN.iter().map(|(known, ..)| *known).collect();
        bail!(
            "there is no schema of `{}`\nhint: there is one of {}",
            super::pf::harmless(&command),
            known.join(", ")
        )
    };
    print(&format!("{:#}\n", titled(known, *form, serde_json::to_value(make())?)))?;
    Ok(ExitCode::SUCCESS)
}

/// Whether a command has the schema of `known`: it is that command, or a subcommand of it, as `add volume` of `add`.
fn is_meant(known: &str, command: &str) -> bool {
    let below = || {
        let (outer, inner) = command.rsplit_once(' ')?;
        let program = Cli::command();
        let group = program.find_subcommand(known).filter(|_| outer == known)?;
        group.find_subcommand(inner).map(drop)
    };
    known == command || below().is_some()
}

/// Generates a schema.
type Make = fn() -> Schema;

/// The form in which a command prints its JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// One value, with `--format json`.
    Whole,
    /// One value per line, with `--format json`.
    Lines,
    /// One value per line, always, in a format that is not ours and so has no version.
    Foreign,
    /// Printed by the manager, with `--json`.
    Manager,
    /// The answer of `serve` to `GET /state`, and the data of its events.
    Served,
}

use Form::{Foreign, Lines, Manager, Served, Whole};

/// The commands that print JSON, with the type of what each prints; `version` is added to all but the foreign formats.
const KNOWN: &[(&str, Form, Make)] = &[
    ("render", Whole, of::<printed::Render>),
    ("verify", Whole, of::<printed::Verify>),
    ("test", Whole, of::<printed::TestSchema>),
    ("check", Whole, of::<printed::CheckSchema>),
    ("explain", Whole, of::<printed::ExplainSchema>),
    ("diff", Whole, of::<Difference>),
    ("snapshot check", Whole, of::<printed::SnapshotCheck>),
    ("snapshot accept", Whole, of::<printed::SnapshotAccept>),
    ("graph", Whole, of::<super::graph::Drawn>),
    ("add", Whole, of::<printed::Edit>),
    ("remove", Whole, of::<printed::Edit>),
    ("rename", Whole, of::<printed::Edit>),
    ("move", Whole, of::<printed::Edit>),
    ("init", Whole, of::<printed::InitSchema>),
    ("status", Whole, of::<Status>),
    ("pf check", Whole, of::<printed::PfCheck>),
    ("pf print", Whole, of::<printed::PfPrint>),
    ("pf eval", Foreign, of::<eval::Eval>),
    ("lab test", Whole, of::<lab::LabTest>),
    ("lab status", Whole, of::<lab::LabStatus>),
    ("lab scenario", Lines, of::<Told>),
    ("scenario", Lines, of::<Told>),
    ("lab replay", Foreign, of::<Played>),
    ("serve", Served, of::<Live>),
    ("help", Whole, of::<printed::HelpSchema>),
    ("manager status", Manager, of::<manager::ManagerStatus>),
    ("manager plan", Manager, of::<manager::ManagerPlan>),
    ("manager test", Manager, of::<manager::ManagerTest>),
];

/// The schema of a serialized type.
fn of<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>()
}

/// Completes a schema: adds the title, allows no properties but those described, and adds the version that every output
/// has except the foreign formats.
fn titled(command: &str, form: Form, mut schema: Value) -> Value {
    close(&mut schema);
    let name = command.strip_prefix("manager ").unwrap_or(command);
    schema["title"] = match form {
        Whole => format!("nixvol-net {name} --format json, version {DATA}"),
        Lines => format!("a line of nixvol-net {name} --format json, version {DATA}"),
        Foreign => format!("a line of nixvol-net {name}"),
        Served => format!("GET /state of nixvol-net {name}, version {DATA}"),
        Manager => format!("manage-macos-networking.sh {name} --json, version {DATA}"),
    }
    .into();
    if form == Foreign {
        return schema;
    }
    // In a choice of forms, each form has the version.
    if schema["anyOf"].is_null() {
        add_version(&mut schema);
        return schema;
    }
    let defs = schema["$defs"].clone();
    for form in schema["anyOf"].as_array_mut().into_iter().flatten() {
        let meant =
            form["$ref"].as_str().and_then(|it| it.strip_prefix("#/$defs/")).map(|name| defs[name].clone());
        if let Some(meant) = meant {
            *form = meant;
        }
        add_version(form);
    }
    schema
}

fn add_version(schema: &mut Value) {
    schema["properties"]["version"] = json!({ "description": "The version of this output.", "const": DATA });
    if let Some(required) = schema["required"].as_array_mut() {
        required.push("version".into());
    } else {
        schema["required"] = json!(["version"]);
    }
}

/// Sets `additionalProperties: false` on every object that lists its properties.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.values_mut().for_each(close);
            if fields.get("properties").is_some_and(Value::is_object)
                && fields.get("type") == Some(&json!("object"))
            {
                fields.entry("additionalProperties").or_insert(json!(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}
