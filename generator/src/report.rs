//! The report: one page that shows the network to whoever reviews it, and answers what they ask.
//!
//! It exists because people would rather look than read. Everything on it is text first: what a cell of a table means
//! stands below the table, and the script of the page only brings it near. The asker looks up answers that
//! [`crate::explain::every`] has given; it decides nothing. The page needs nothing but itself, and its script is the only
//! one that its policy lets run.
//! Sees: place, model, plan, matrix, render (its pictures, and the engine that escapes), explain, diff. Never: rules but by
//! what `explain` says of them, a file, or the time of day.

mod asker;
mod changes;
mod expectations;
mod rules;
mod services;
mod tables;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::diff::Diff;
use crate::explain::every::{Every, every};
use crate::explain::{Refused, Rules};
use crate::model::Declaration;
use crate::plan::{Plan, Volume};
use crate::render::engine::{self, Markup};
use crate::render::picture::{self, KernelNames};
use crate::render::{ANCHOR, Error};

/// The interface that leads outside, in answers.
const EGRESS: &str = "en0";
const SCRIPT: &str = include_str!("../../templates/report/page.js");
const STYLE: &str = include_str!("../../templates/report/page.css");

/// What the page is about.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// What was declared; all of its expectations hold.
    pub declaration: &'a Declaration,
    /// What follows from it.
    pub plan: &'a Plan,
    /// The anchor as it was rendered.
    pub anchor: &'a str,
    /// What was proven of it, in words.
    pub proven: &'a str,
    /// What it is compared to, and how it differs from that.
    pub against: Option<(&'a str, &'a Diff)>,
}

/// Why there is no page.
#[derive(Debug)]
pub enum Trouble {
    /// The rules cannot be read.
    Rules(Vec<Refused>),
    /// A value that HTML cannot hold.
    Page(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Page(error)
    }
}

#[derive(Serialize)]
struct Page {
    title: String,
    proven: String,
    script_hash: String,
    style: Markup,
    script: Markup,
    data: Markup,
    picture: Markup,
    names: Vec<String>,
    changes: Vec<changes::Changes>,
    providers: tables::Table,
    volumes: tables::Table,
    meanings: Vec<tables::Meaning>,
    ways: Vec<tables::Way>,
    expectations: Vec<expectations::Line>,
    rules: Vec<rules::Line>,
    clouds: Vec<tables::Cloud>,
    rows: Vec<tables::Row>,
}

/// The page, with its newline.
///
/// # Errors
/// Rules that cannot be read, or a value that HTML cannot hold: both a mistake of this program.
pub fn page(subject: &Subject) -> Result<String, Trouble> {
    let Subject { declaration, plan, anchor, proven, against } = *subject;
    let rules = Rules { anchor, name: ANCHOR, captured: &[] };
    let every = every(declaration, plan, &rules, EGRESS).map_err(Trouble::Rules)?;
    let mut meanings = tables::Meanings::of(plan, &every);
    let providers = tables::providers(plan, &every, &mut meanings);
    let volumes = tables::volumes(plan, &every, &mut meanings);
    let page = Page {
        title: title(plan),
        proven: proven.to_owned(),
        script_hash: format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(SCRIPT))),
        style: Markup::of_program(STYLE),
        script: Markup::of_program(SCRIPT),
        data: Markup::json(&asker::Data::of(plan, &every)),
        picture: Markup::rendered(picture::svg(plan, &KernelNames::new())?),
        names: names(plan, &every),
        changes: against.map(|(name, diff)| changes::Changes::of(name, diff)).into_iter().collect(),
        providers,
        volumes,
        meanings: meanings.told(),
        ways: tables::ways(plan),
        expectations: expectations::lines(declaration),
        rules: rules::lines(anchor, &every),
        clouds: tables::clouds(plan),
        rows: tables::rows(plan),
    };
    Ok(engine::render("report/page.html", page)?)
}

fn title(plan: &Plan) -> String {
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let (providers, volumes) =
        (counted(plan.bridges.len(), "provider"), counted(plan.volumes.len(), "volume"));
    format!("{providers}, {volumes}, {}", counted(plan.flows.len(), "link rule"))
}

/// What can be asked about by name.
fn names(plan: &Plan, every: &Every) -> Vec<String> {
    let volumes = plan.volumes.iter().map(|volume| volume.name.to_string());
    let of_alias = |volume: &Volume| volume.alias.map(|_| format!("{}.localhost", volume.name));
    let aliases = plan.volumes.iter().filter_map(of_alias);
    let providers = plan.bridges.iter().zip(&every.strangers).filter(|(_, stranger)| stranger.is_some());
    let gateways = plan.bridges.iter().map(|bridge| format!("{}.gateway", bridge.provider));
    let words = ["internet", "lan", "localhost", "mac"].map(str::to_owned);
    let providers = providers.map(|(bridge, _)| bridge.provider.to_string());
    volumes.chain(providers).chain(words).chain(aliases).chain(gateways).collect()
}
