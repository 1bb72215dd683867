//! Questions with several answers: who can open to an endpoint, what an endpoint can open to, and by which services.
//!
//! This module has the form of the answers and their wording; [`super::asker`] finds them. Never: an answer of its own.

use schemars::JsonSchema;
use serde::Serialize;

use super::end::QuestionEndpoint;
use super::explanation::Explanation;
use super::opening::Opening;

/// The answers to a question about several packets.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Survey {
    /// Whether any of the packets gets through.
    pub passes: bool,
    /// The question: `etcd-1 -> etcd-2`, `any -> etcd-2 tcp 2379`.
    pub question: String,
    /// The endpoints that the question names.
    pub ends: Vec<QuestionEndpoint>,
    /// The answers, grouped by endpoints that have the same.
    pub answers: Vec<SurveyAnswers>,
    /// For a question with two endpoints: the path of one packet for each distinct answer.
    pub paths: Vec<SamplePath>,
    /// For a question with two endpoints: the link that would open what is blocked.
    pub to_open: Option<Opening>,
    /// Assumptions, and other facts of use to the reader.
    pub notes: Vec<String>,
    /// What cannot be known here.
    pub unknown: String,
    /// Whether rules and declaration agree on all packets. Not checked for captured rules.
    pub agrees: bool,
}

/// Endpoints with the same answers.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Answers")]
pub struct SurveyAnswers {
    /// The endpoints on the other side, in words; empty if the question names both.
    pub ends: Vec<String>,
    /// All answers in one line.
    pub summary: String,
    /// The answers, each for some services.
    pub services: Vec<ServiceOutcome>,
    /// A command that shows the path of a packet of the last answer.
    pub explain: String,
}

/// The outcome for some services.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Part")]
pub struct ServiceOutcome {
    /// The services, in words.
    pub services: String,
    /// The services, by protocol.
    pub protocols: Vec<Protocol>,
    /// The outcome.
    pub fate: SurveyOutcome,
}

/// Some services of one protocol.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, JsonSchema)]
pub struct Protocol {
    /// `tcp`, `udp`, `icmp`, or `other` for every other protocol.
    pub protocol: &'static str,
    /// Port ranges; null means all ports, or that the protocol has none.
    pub ports: Option<Vec<String>>,
}

/// The outcome of a packet, as the opener sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Fate")]
pub enum SurveyOutcome {
    /// The packet and its reply get through.
    Passes,
    /// The packet is blocked, and the opener gets an answer if pf can send one.
    Refused,
    /// The packet or its reply is blocked without an answer.
    Dropped,
    /// macOS itself does not deliver the packet.
    Impossible,
}

/// The path of one packet that represents others.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Path")]
pub struct SamplePath {
    /// The services that it represents, in words.
    pub services: String,
    /// The outcome.
    pub fate: SurveyOutcome,
    /// The path.
    pub explanation: Explanation,
}

impl SurveyOutcome {
    pub(super) fn of(explanation: &Explanation) -> Self {
        if explanation.passes {
            return Self::Passes;
        }
        let Some(hop) = explanation.packet.iter().find(|hop| !hop.passes()) else {
            return if explanation.refused.is_some() { Self::Impossible } else { Self::Dropped };
        };
        // For some protocols, pf sends no answer although the rule refuses.
        let is_ours = hop.rule.as_ref().is_some_and(|rule| rule.ours);
        let is_refused = hop.reason.as_ref().is_some_and(|reason| reason.verdict == "refuse");
        let is_told = hop.answered.is_some_and(|words| !words.starts_with("silently"));
        if is_told || is_ours && is_refused { Self::Refused } else { Self::Dropped }
    }

    /// The verb, for one service and for several.
    fn words(self) -> &'static str {
        match self {
            Self::Passes => "passes",
            Self::Refused => "is refused",
            Self::Dropped => "is dropped",
            Self::Impossible => "is impossible on macOS",
        }
    }
}

impl ServiceOutcome {
    /// Such as `tcp 2379-2380 passes`.
    pub(super) fn words(&self) -> String {
        format!("{} {}", self.services, self.fate.words())
    }
}
