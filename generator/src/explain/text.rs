//! An explanation as text for a terminal: the verdict first, then each hop with its rule and its reason.
//!
//! Never: colour, or information that the explanation does not have.

use std::fmt::Write;

use super::end::QuestionEndpoint;
use super::explanation::{Added, Explanation};
use super::hop::{ExplainedHook, RulePlace, Through};
use super::opening::Opening;
use super::reason::DeclaredValue;
use super::survey::{SamplePath, Survey, SurveyOutcome};
use crate::pf::eval::{Detail, Form, StateUse, Via};
use crate::place::Harmless;

/// The explanation of one packet. Writing to a string cannot fail.
fn text(explanation: &Explanation) -> String {
    let mut out = String::new();
    let (source, destination) = (&explanation.source, &explanation.destination);
    let title = format!("{} -> {} {}", source.name, destination.name, explanation.service);
    let _ = writeln!(out, "{title}: {}", explanation.verdict);
    disagreements(&mut out, explanation);
    ends(&mut out, &[source, destination]);
    path(&mut out, explanation);
    out.push('\n');
    notes(&mut out, &explanation.notes, &explanation.unknown);
    out
}

fn disagreements(out: &mut String, explanation: &Explanation) {
    for disagreement in &explanation.disagreements {
        if explanation.live {
            let _ = writeln!(out, "  NOTE: {disagreement}");
        } else {
            let _ = writeln!(out, "  THE RULES ARE WRONG: {disagreement}; do not load them, and report this");
        }
    }
}

fn notes(out: &mut String, notes: &[String], unknown: &str) {
    for note in notes {
        let _ = writeln!(out, "note: {note}");
    }
    let _ = writeln!(out, "not known here: {unknown}");
}

/// The hops of the packet and its reply, and the delay that pipes add.
fn path(out: &mut String, explanation: &Explanation) {
    if let Some(refused) = &explanation.refused {
        let _ = writeln!(out, "\nmacOS: {refused}");
    }
    hops(out, "The packet", &explanation.packet);
    hops(out, "Its answer", &explanation.answer);
    if let Some(added) = &explanation.added {
        let is_slowed = explanation.answer.iter().any(|hop| !hop.pipes.is_empty());
        let back = if is_slowed { "" } else { ": the answer goes through no pipe" };
        let Added { there_ms, back_ms, round_trip_ms } = added;
        let _ = writeln!(
            out,
            "\nadded to a round trip: {round_trip_ms} ms ({there_ms} ms there, {back_ms} ms back{back})"
        );
    }
}

/// Several answers: the question, the groups of endpoints, and for two endpoints the path of each answer.
fn survey(survey: &Survey) -> String {
    let mut out = match survey.answers.as_slice() {
        [one] if one.ends.is_empty() => format!("{}: {}\n", survey.question, one.summary),
        _ => format!("{}\n", survey.question),
    };
    let named: Vec<&QuestionEndpoint> = survey.ends.iter().collect();
    ends(&mut out, &named);
    for answers in survey.answers.iter().filter(|answers| !answers.ends.is_empty()) {
        let _ = writeln!(out, "\n{}\n  {}", answers.summary, answers.ends.join(", "));
    }
    for path in &survey.paths {
        let SamplePath { services, fate: _, explanation } = path;
        let _ = writeln!(out, "\n{services} ({}): {}", explanation.service, explanation.verdict);
        disagreements(&mut out, explanation);
        self::path(&mut out, explanation);
    }
    let mut groups = survey.answers.iter().filter(|answers| !answers.ends.is_empty());
    if let Some(last) = groups.next_back() {
        let _ = writeln!(out, "\nthe way of a packet: `{}`", last.explain);
    }
    if let Some(opening) = &survey.to_open {
        let closed = survey.paths.iter().find(|path| path.fate != SurveyOutcome::Passes);
        let what = closed.map_or("it", |path| path.services.as_str());
        let _ = write!(out, "\n{}", opened(what, opening));
    }
    out.push('\n');
    notes(&mut out, &survey.notes, &survey.unknown);
    out
}

impl Explanation {
    /// The explanation as text for a terminal.
    pub fn text(&self) -> String {
        self::text(self)
    }
}

impl Survey {
    /// The answers as text for a terminal.
    pub fn text(&self) -> String {
        self::survey(self)
    }
}

impl Opening {
    /// The command, and what else it opens, in two lines.
    pub fn text(&self) -> String {
        opened("it", self)
    }
}

fn opened(what: &str, opening: &Opening) -> String {
    let opens = match &opening.opens {
        Some(more) => format!("more than that: {more}"),
        None => "exactly that, and nothing else".to_owned(),
    };
    format!("to open {what}: {}\n  opens {opens}\n", opening.command)
}

fn ends(out: &mut String, ends: &[&QuestionEndpoint]) {
    let name = ends.iter().map(|end| end.name.chars().count()).max().unwrap_or_default();
    let address = ends.iter().map(|end| end.address.to_string().len()).max().unwrap_or_default();
    out.push('\n');
    for end in ends {
        let _ = writeln!(out, "  {:<name$}  {:<address$}  {}", end.name, end.address.to_string(), end.what);
    }
}

fn hops(out: &mut String, title: &str, hops: &[ExplainedHook]) {
    if hops.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{title}");
    let interface = hops.iter().map(|hop| hop.interface.len()).max().unwrap_or_default();
    let forms = hops.iter().map(|hop| form(&hop.before).len()).max().unwrap_or_default();
    let mut before = String::new();
    let mut is_piped = false;
    for (number, hop) in (1_usize..).zip(hops) {
        let _ = writeln!(
            out,
            "  {number}  {:<3} {:<interface$}  {:<forms$}  {}",
            hop.direction.word(),
            hop.interface,
            form(&hop.before),
            outcome(hop)
        );
        hop.pipes.iter().for_each(|pipe| out.push_str(&through(pipe)));
        let told = why(hop);
        // The two hops on lo0 are usually alike, except for the pipe, which a packet goes through once.
        if told == before && !told.is_empty() {
            let is_past = is_piped && hop.pipes.is_empty();
            line(out, "as above", if is_past { "but through no pipe" } else { "" });
        } else {
            out.push_str(&told);
        }
        before = told;
        is_piped = !hop.pipes.is_empty();
    }
}

/// The conditions of a pipe, the rule that sends the packet into it, and its declaration.
fn through(pipe: &Through) -> String {
    let mut out = String::new();
    let like = pipe.conditions.as_deref().unwrap_or("not of this network");
    line(&mut out, "through", &format!("{} {}: {like}", pipe.kind, pipe.number));
    line(&mut out, "by", &at(&pipe.rule));
    if let Some(declared) = &pipe.declared {
        let place = declared.place.as_ref().map_or(String::new(), |place| format!("  ({place})"));
        line(&mut out, "", &format!("{}{place}", declared.path));
    }
    out
}

/// The lines below a hop: rule and reason.
fn why(hop: &ExplainedHook) -> String {
    let mut out = String::new();
    if hop.before != hop.after {
        line(&mut out, "becomes", &form(&hop.after));
    }
    if let Some(rule) = &hop.translation {
        line(&mut out, "by", &at(rule));
    }
    if let Some(rule) = &hop.rule {
        line(&mut out, if hop.via == Via::State { "state of" } else { "rule" }, &at(rule));
    }
    if let Some(reason) = &hop.reason {
        // The declared reason does not apply to what another program's rule decides.
        let ours = hop.disagreement.is_none() && hop.rule.as_ref().is_none_or(|rule| rule.ours);
        line(&mut out, if ours { "because" } else { "declared" }, &reason.words);
        reason.declared.iter().for_each(|declared| line(&mut out, "", &said(declared)));
        reason.near.iter().for_each(|declared| line(&mut out, "but", &said(declared)));
    }
    out
}

fn line(out: &mut String, what: &str, text: &str) {
    let line = format!("       {what:<8}  {text}");
    let _ = writeln!(out, "{}", line.trim_end());
}

fn outcome(hop: &ExplainedHook) -> String {
    match (hop.passes(), hop.via) {
        (false, Via::State) => "BLOCKED by a state".to_owned(),
        (_, Via::Abandoned) => "NOT KNOWN: the evaluation was abandoned after a million rules".to_owned(),
        (false, _) => format!("BLOCKED, {}", hop.answered.unwrap_or("silently")),
        (true, Via::State) => "passes by state".to_owned(),
        (true, Via::Skip) => "passes, pf skips this interface (set skip)".to_owned(),
        (true, Via::Default) if hop.translation.is_none() => "passes, no rule matches".to_owned(),
        (true, _) if hop.state == StateUse::Created => "passes, and keeps a state".to_owned(),
        (true, _) => "passes".to_owned(),
    }
}

fn at(rule: &RulePlace) -> String {
    let place = match (&rule.file, rule.line) {
        (Some(file), Some(line)) => format!("{}:{line}", Harmless(file)),
        _ => format!("rule {} of {}", rule.number, rule.anchor),
    };
    let text = rule.text.as_deref().unwrap_or("(its text is not known)");
    let whose = match rule.anchor.as_str() {
        _ if rule.ours => String::new(),
        "" => "  (main ruleset)".to_owned(),
        anchor => format!("  (anchor {})", Harmless(anchor)),
    };
    format!("{place}  {text}{whose}")
}

fn said(declared: &DeclaredValue) -> String {
    let place = declared.place.as_ref().map_or(String::new(), |place| format!("  ({place})"));
    format!("{}  {}{place}", declared.path, declared.says)
}

fn form(form: &Form) -> String {
    match form.detail {
        Detail::Ports(source, destination) => {
            format!("{}:{source} -> {}:{destination}", form.source, form.destination)
        }
        Detail::Id(_) | Detail::None => format!("{} -> {}", form.source, form.destination),
    }
}
