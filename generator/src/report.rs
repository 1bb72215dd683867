//! The report: one page that shows the network to whoever reviews it, and answers what they ask.
//!
//! One screen says whether the rules were proven, what changed, and who reaches whom, as a picture and as a table; whatever
//! is pointed at is explained beside them, from answers that [`crate::reach`] has given for all flows. The tables and rules are
//! there without a script, too. The page needs nothing but itself, and its script is the only one that its policy lets run.
//! Sees: place, model, plan, identity, matrix, packets, reach, render (its pictures, and the engine that escapes), explain (what
//! stands for whom), diff. Never: rules but by their labels and order, a file, or the time of day.

mod answers;
mod changes;
mod data;
mod expectations;
mod rules;
mod tables;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::diff::Diff;
use crate::identity::{COLOURS, Identities};
use crate::model::Declaration;
use crate::plan::{Plan, Volume};
use crate::render::Error;
use crate::render::engine::{self, Markup};
use crate::render::picture::{self, KernelNames};

/// The interface that leads outside, in answers.
const EGRESS: &str = "en0";
/// The script of the page, by its parts.
const SCRIPT: &str =
    concat!(include_str!("../../templates/report/ask.js"), include_str!("../../templates/report/page.js"));
const STYLE: &str = include_str!("../../templates/report/page.css");
/// Tables of more rows are left out of what is printed.
const PRINTED: usize = 150;

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

#[derive(Serialize)]
struct Page {
    title: String,
    proven: String,
    script_hash: String,
    style: Markup,
    colours: Vec<(usize, &'static str, &'static str)>,
    script: Markup,
    data: Markup,
    picture: Markup,
    names: Vec<String>,
    changes: Vec<changes::Changes>,
    providers: tables::Table,
    volumes: tables::Table,
    links: Vec<tables::LinkLine>,
    /// Whether the places of links are known.
    placed: bool,
    ways: Vec<tables::Way>,
    expectations: Vec<expectations::Line>,
    rules: Vec<rules::Line>,
    clouds: Vec<tables::Cloud>,
    rows: Vec<tables::Row>,
    /// How many expectations hold: all of them.
    held: usize,
    /// Whether tables are too long to be printed: rules, and volumes.
    long: (bool, bool),
}

/// The page, with its newline.
///
/// # Errors
/// A value that HTML cannot hold: a mistake of this program.
pub fn page(subject: &Subject) -> Result<String, Error> {
    let Subject { declaration, plan, anchor, proven, against } = *subject;
    let answers = answers::Answers::of(plan);
    let identities = Identities::of(plan);
    let (rules, lines) = rules::lines(declaration, plan, &identities, anchor);
    let listed = tables::links(declaration, plan);
    let page = Page {
        title: title(plan),
        proven: proven.to_owned(),
        script_hash: format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(SCRIPT))),
        style: Markup::of_program(STYLE),
        colours: COLOURS.iter().enumerate().map(|(number, it)| (number, it.light, it.dark)).collect(),
        script: Markup::of_program(SCRIPT),
        data: Markup::json(&data::Data::of(declaration, plan, &answers, &lines)),
        picture: Markup::rendered(picture::svg(plan, &KernelNames::new(), &[])?),
        names: names(plan, &answers),
        changes: against.map(|(name, diff)| changes::Changes::of(name, diff)).into_iter().collect(),
        providers: tables::providers(plan, &answers, &identities),
        volumes: tables::volumes(plan, &answers, &identities),
        placed: listed.iter().any(tables::LinkLine::is_placed),
        links: listed,
        ways: tables::ways(plan),
        expectations: expectations::lines(declaration),
        held: declaration.expectations.len(),
        long: (rules.len() > PRINTED, plan.volumes.len() > PRINTED),
        rules,
        clouds: tables::clouds(plan, &identities),
        rows: tables::rows(plan, &identities),
    };
    engine::render("report/page.html", page)
}

fn title(plan: &Plan) -> String {
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let (providers, volumes) =
        (counted(plan.bridges.len(), "provider"), counted(plan.volumes.len(), "volume"));
    format!("{providers}, {volumes}, {}", counted(plan.links.len(), "link"))
}

/// What can be asked about by name.
fn names(plan: &Plan, answers: &answers::Answers) -> Vec<String> {
    let volumes = plan.volumes.iter().map(|volume| volume.name.to_string());
    let of_alias = |volume: &Volume| volume.alias.map(|_| format!("{}.localhost", volume.name));
    let aliases = plan.volumes.iter().filter_map(of_alias);
    let providers = plan.bridges.iter().zip(&answers.examples.strangers).filter(|(_, it)| it.is_some());
    let gateways = plan.bridges.iter().map(|bridge| format!("{}.gateway", bridge.provider));
    let words = ["internet", "lan", "localhost", "mac"].map(str::to_owned);
    let providers = providers.map(|(bridge, _)| bridge.provider.to_string());
    providers.chain(volumes).chain(words).chain(aliases).chain(gateways).collect()
}
