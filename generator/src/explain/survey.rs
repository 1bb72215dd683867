//! Questions with several answers: who can open to an end, to whom an end can open, and by what services.
//!
//! This is what is answered, and its words; [`super::asker`] finds it. Never: an answer of its own.

use schemars::JsonSchema;
use serde::Serialize;

use super::asker::Asker;
use super::end::{self, End, port_of};
use super::opening::Opening;
use super::text;
use super::{Error, Explanation, Question, Rules, Wrong};
use crate::model::Declaration;
use crate::plan::Plan;

/// The word for everyone.
const ANY: &str = "any";

/// Several answers.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Survey {
    /// Whether anything that was asked about gets through.
    pub passes: bool,
    /// What was asked: `etcd-1 -> etcd-2`, `any -> etcd-2 tcp 2379`.
    pub question: String,
    /// The ends that were named.
    pub ends: Vec<End>,
    /// Who gets which answers.
    pub answers: Vec<Answers>,
    /// Between two ends, the way of a packet of each different answer.
    pub paths: Vec<Path>,
    /// What would open between two ends what is refused.
    pub to_open: Option<Opening>,
    /// What was taken for granted.
    pub notes: Vec<String>,
    /// What cannot be known here.
    pub unknown: String,
    /// Whether rules and declaration say the same of all that was asked, where only ours are asked.
    pub agrees: bool,
}

/// Ends with the same answers.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Answers {
    /// The ends at the other side, in words; none where both were named.
    pub ends: Vec<String>,
    /// All the answers in one line.
    pub summary: String,
    /// The answers.
    pub services: Vec<Part>,
    /// A command that shows the way of a packet of the last one.
    pub explain: String,
}

/// What becomes of some services.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// The services in words.
    pub services: String,
    /// The same by protocol.
    pub protocols: Vec<Protocol>,
    /// What becomes of them.
    pub fate: Fate,
}

/// Some services of a protocol.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, JsonSchema)]
pub struct Protocol {
    /// Its name; `other` is all that have none here.
    pub protocol: &'static str,
    /// Ranges of ports; none where all are meant, or there are none.
    pub ports: Option<Vec<String>>,
}

/// What becomes of a packet, as whoever opens sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Fate {
    /// It and its answer get through.
    Passes,
    /// It is blocked, and the opener is told where pf can tell it.
    Refused,
    /// It or its answer is blocked silently.
    Dropped,
    /// macOS itself has no way for it.
    Impossible,
}

/// The way of a packet that stands for others.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Path {
    /// The services that it stands for, in words.
    pub services: String,
    /// What becomes of it.
    pub fate: Fate,
    /// Its way.
    pub explanation: Explanation,
}

impl Survey {
    /// For people.
    pub fn text(&self) -> String {
        text::survey(self)
    }
}

impl Fate {
    pub(super) fn of(explanation: &Explanation) -> Self {
        if explanation.passes {
            return Self::Passes;
        }
        let Some(hop) = explanation.packet.iter().find(|hop| !hop.passes()) else {
            return if explanation.refused.is_some() { Self::Impossible } else { Self::Dropped };
        };
        // pf answers nothing to some protocols that a rule refuses.
        let is_ours = hop.rule.as_ref().is_some_and(|rule| rule.ours);
        let is_refused = hop.reason.as_ref().is_some_and(|reason| reason.verdict == "refuse");
        let is_told = hop.answered.is_some_and(|words| !words.starts_with("silently"));
        if is_told || is_ours && is_refused { Self::Refused } else { Self::Dropped }
    }

    /// What is said of one thing, and of several.
    fn words(self) -> &'static str {
        match self {
            Self::Passes => "passes",
            Self::Refused => "is refused",
            Self::Dropped => "is dropped",
            Self::Impossible => "is impossible on macOS",
        }
    }
}

/// Whether a question has several answers.
pub fn is_survey(question: &Question) -> bool {
    let (to, port) = port_of(question.destination).unwrap_or((question.destination, None));
    let is_any = |word: &str| word.eq_ignore_ascii_case(ANY);
    is_any(question.source) || is_any(to) || port.is_none() && question.protocol.is_none_or(end::has_ports)
}

/// Answers a question that has several answers.
///
/// # Errors
/// A question that makes no sense, or rules that cannot be read.
pub fn survey(
    declaration: &Declaration,
    plan: &Plan,
    rules: &Rules,
    question: &Question,
) -> Result<Survey, Error> {
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

impl Part {
    /// `tcp 2379-2380 passes`.
    pub(super) fn words(&self) -> String {
        format!("{} {}", self.services, self.fate.words())
    }
}
