//! The path of a packet: where pf sees it on macOS, what the rules do with it there, and what in the declaration
//! asked for that.
//!
//! It exists because the answer to 'why does this not connect?' spans two lo0 hooks or a bridge and an egress
//! interface, a translation, a rule and a line of the user's Nix source. Two independent sources are evaluated: the
//! bytes of the anchor for what happens, the policy for what was declared; where the two differ, the explanation
//! reports it. Sees: place, input, model, plan, packets, reach, pf, others. Never: reads a file, asks the Mac, or knows
//! how a rule is written.

mod apart;
mod asker;
mod end;
mod explainer;
mod explanation;
mod hop;
mod live;
mod names;
mod opening;
mod question;
mod reason;
mod survey;
mod text;
mod way;

use crate::loading::Interfaces;
use crate::model::Declaration;
use crate::pf::syntax::Ruleset;
use crate::plan::Plan;

use asker::Asker;
use end::port_of;
pub use end::{Examples, QuestionEndpoint, Service, examples};
pub use explainer::ExplainError;
use explainer::{Explainer, environment};
pub use explanation::{Added, Explanation};
pub use hop::{ExplainedHook, RESET, RulePlace, Through, UNREACHABLE};
pub use live::{Captured, ExplainedRules, RefusedStatement, STOCK_MAIN};
pub use opening::{Opening, opening};
pub use question::{Question, Wrong};
pub use reason::{DeclaredValue, PolicyReason};
pub use survey::{Protocol, SamplePath, ServiceOutcome, Survey, SurveyAnswers, SurveyOutcome};

/// The word for every endpoint.
const ANY: &str = "any";

/// The egress interface that is assumed unless the user names one.
pub const WAY_OUT: &str = "en0";

/// Explains the path of a packet and of its reply.
///
/// # Errors
/// If the question cannot be answered, or the rules cannot be read.
pub fn explain(
    declaration: &Declaration,
    plan: &Plan,
    rules: &ExplainedRules,
    question: &Question,
) -> Result<Explanation, ExplainError> {
    let asked = end::asked(&end::Resolver::new(plan), question)?;
    let way = way::way(&asked)?;
    let (egress, address) = (&asked.egress, asked.egress_address);
    let mut explainer =
        Explainer::load(declaration, plan, rules, egress, address).map_err(ExplainError::Rules)?;
    Ok(explainer.explained(asked, way))
}

/// The parsed rules that a question is about.
#[derive(Debug)]
pub struct Read {
    /// By anchor path; the main ruleset's is empty.
    pub rulesets: Vec<(String, Ruleset)>,
    /// The interfaces for which a captured anchor of ours was loaded.
    pub names: Option<Interfaces>,
}

/// Reads the rules that a question is about.
///
/// # Errors
/// If the question cannot be answered, or the rules cannot be read.
pub fn read(plan: &Plan, rules: &ExplainedRules, question: &Question) -> Result<Read, ExplainError> {
    let asked = end::asked(&end::Resolver::new(plan), question)?;
    let environment = environment(plan, &asked.egress, asked.egress_address);
    let loaded = live::load(plan, rules, &environment).map_err(ExplainError::Rules)?;
    Ok(Read { rulesets: loaded.read, names: loaded.names })
}

/// The egress interfaces for which a captured anchor of ours was loaded; empty if they cannot be told.
pub fn ways_out(plan: &Plan, rules: &ExplainedRules) -> Vec<String> {
    live::ways_out(plan, rules, &environment(plan, WAY_OUT, examples(plan).mac))
}

/// Whether a question asks about several packets.
pub fn is_survey(question: &Question) -> bool {
    let (to, port) = port_of(question.destination).unwrap_or((question.destination, None));
    let is_any = |word: &str| word.eq_ignore_ascii_case(ANY);
    is_any(question.source) || is_any(to) || port.is_none() && question.protocol.is_none_or(end::has_ports)
}

/// Answers a question about several packets.
///
/// # Errors
/// If the question cannot be answered, or the rules cannot be read.
pub fn survey(
    declaration: &Declaration,
    plan: &Plan,
    rules: &ExplainedRules,
    question: &Question,
) -> Result<Survey, ExplainError> {
    let (to, _) = port_of(question.destination)?;
    let mut asker = Asker::of(declaration, plan, rules, question)?;
    let is_any = |word: &str| word.eq_ignore_ascii_case(ANY);
    match (is_any(question.source), is_any(to)) {
        (true, true) => Err(Wrong::new(
            "`any` can be one of the two ends",
            "`nixvol-net test` shows who may open what to whom",
        )
        .into()),
        (false, false) => asker.pair(question.source, to),
        (is_source, _) => asker.everyone(if is_source { to } else { question.source }, is_source),
    }
}
