//! The report: one HTML page that shows the network to a reviewer and answers questions about it.
//!
//! The first screen shows whether the rules are proven, what changed, and who reaches whom, as a picture and as a
//! table. Whatever is selected is explained beside them, from answers that [`crate::reach`] computed for all flows.
//! Tables and rules are readable without JavaScript too. The page is self-contained, and its content security policy
//! permits its own script only. Sees: place, model, plan, identity, matrix, packets, reach, render (its pictures, and
//! the engine that escapes), explain (its example addresses), diff. Never: uses rules except for their labels and
//! order, or reads a file or the time of day.

mod answers;
mod changes;
mod data;
mod expectations;
mod live;
mod rules;
mod tables;

use serde::Serialize;

use crate::diff::Diff;
use crate::identity::{COLOURS, Identities};
use crate::model::Declaration;
use crate::plan::{Plan, PlannedVolume};
use crate::render::RenderError;
use crate::render::engine::{self, Markup};
use crate::render::picture::{self, KernelNames};

pub use live::Served;

/// The script of the page, concatenated from its parts.
const SCRIPT: &str =
    concat!(include_str!("../../templates/report/ask.js"), include_str!("../../templates/report/page.js"));
const STYLE: &str = include_str!("../../templates/report/page.css");
/// Tables with more rows are omitted in print.
const PRINTED: usize = 150;

/// The subject of the page.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The declaration; all of its expectations hold.
    pub declaration: &'a Declaration,
    /// The plan of the declaration.
    pub plan: &'a Plan,
    /// The rendered anchor.
    pub anchor: &'a str,
    /// The result of the proof, in words, or why there is none.
    pub proven: Result<&'a str, &'a str>,
    /// The name of what it is compared with, and the difference.
    pub against: Option<(&'a str, &'a Diff)>,
}

#[derive(Serialize)]
struct Page {
    title: String,
    proven: String,
    /// Whether the rules are not proven, or some expectation does not hold; only a live page shows such rules.
    unproven: bool,
    /// The live part, in a list of one, or empty.
    live: Vec<live::LivePart>,
    script_hash: String,
    style: Markup,
    colours: Vec<(usize, &'static str, &'static str)>,
    script: Markup,
    data: Markup,
    picture: Markup,
    names: Vec<String>,
    changes: Vec<changes::Changes>,
    providers: tables::MatrixTable,
    volumes: tables::MatrixTable,
    links: Vec<tables::LinkLine>,
    /// Whether the source places of links are known.
    placed: bool,
    ways: Vec<tables::ConditionedPath>,
    expectations: Vec<expectations::ExpectationLine>,
    rules: Vec<rules::AnchorLine>,
    clouds: Vec<tables::ProviderRow>,
    rows: Vec<tables::VolumeRow>,
    /// The number of expectations; all of them hold.
    held: usize,
    /// Whether tables are too long to be printed: rules, and volumes.
    long: (bool, bool),
}

/// The page, ending with a newline.
///
/// # Errors
/// A value that HTML cannot express, which would be a mistake of this program.
pub fn page(subject: &Subject) -> Result<String, RenderError> {
    rendered(subject, SCRIPT.to_owned(), STYLE.to_owned(), None)
}

/// The same with its live part, to be served; `name` identifies what it was made from.
///
/// # Errors
/// As of [`page`].
pub fn served(subject: &Subject, name: &str, writable: bool) -> Result<Served, RenderError> {
    let part = live::LivePart::of(subject.plan, subject.anchor, name, writable);
    let (script, style) = (live::LIVE_SCRIPT, live::LIVE_STYLE);
    let html = rendered(subject, format!("{SCRIPT}{script}"), format!("{STYLE}{style}"), Some(part))?;
    let policy = live::policy(&html);
    Ok(Served { html, policy })
}

fn rendered(
    subject: &Subject,
    script: String,
    style: String,
    live: Option<live::LivePart>,
) -> Result<String, RenderError> {
    let Subject { declaration, plan, anchor, proven, against } = *subject;
    let answers = answers::AnswerTable::of(plan);
    let identities = Identities::of(plan);
    let (rules, lines) = rules::lines(declaration, plan, &identities, anchor);
    let listed = tables::links(declaration, plan);
    let page = Page {
        title: title(plan),
        proven: proven.unwrap_or_else(|why| why).to_owned(),
        unproven: proven.is_err(),
        live: live.into_iter().collect(),
        script_hash: live::hash(&script),
        style: Markup::rendered(style),
        colours: COLOURS.iter().enumerate().map(|(number, it)| (number, it.light, it.dark)).collect(),
        script: Markup::rendered(script),
        data: Markup::json(&data::PageData::of(declaration, plan, &answers, &lines)),
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

/// The names that can be asked about.
fn names(plan: &Plan, answers: &answers::AnswerTable) -> Vec<String> {
    let volumes = plan.volumes.iter().map(|volume| volume.name.to_string());
    let of_alias = |volume: &PlannedVolume| volume.alias.map(|_| format!("{}.localhost", volume.name));
    let aliases = plan.volumes.iter().filter_map(of_alias);
    let providers = plan.bridges.iter().zip(&answers.examples.strangers).filter(|(_, it)| it.is_some());
    let gateways = plan.bridges.iter().map(|bridge| format!("{}.gateway", bridge.provider));
    let words = ["internet", "lan", "localhost", "mac"].map(str::to_owned);
    let providers = providers.map(|(bridge, _)| bridge.provider.to_string());
    providers.chain(volumes).chain(words).chain(aliases).chain(gateways).collect()
}
