//! The printed form of state options: `keep state (…)` and probability.
//!
//! It exists because the options of a state are a list of their own. Sees: the printer. Never: a state.

use super::printer::{Printer, bare};
use crate::pf::parse::parse_probability;
use crate::pf::syntax::{Action, Rule, SourceTrack, StateKind, StatePolicy};

impl Printer {
    pub(super) fn state(&mut self, rule: &Rule) {
        match rule.state {
            StateKind::None if rule.action == Action::Pass && rule.anchor.is_none() => self.put(" no state"),
            StateKind::None => {}
            StateKind::Keep => self.put(" keep state"),
            StateKind::Modulate => self.put(" modulate state"),
            StateKind::Synproxy => self.put(" synproxy state"),
        }
        let options = self.state_options(rule);
        if !options.is_empty() {
            self.put(format_args!(" ({})", options.join(", ")));
        }
        // pfctl prints it before the options, where its parser does not accept it.
        self.probability(rule);
    }

    fn probability(&mut self, rule: &Rule) {
        if rule.probability != 0 {
            let digits = if self.dry_run { 6..7 } else { 6..18 };
            self.put(format_args!(" probability {}%", percent(rule.probability, digits)));
        }
    }

    fn state_options(&self, rule: &Rule) -> Vec<String> {
        let options = &rule.state_options;
        let mut list = Vec::new();
        let count = |list: &mut Vec<String>, count: u32, word: &str| {
            if count != 0 {
                list.push(format!("{word} {count}"));
            }
        };
        count(&mut list, options.max, "max");
        if options.no_sync {
            list.push("no-sync".to_owned());
        }
        match options.source_track {
            Some(SourceTrack::Rule) => list.push("source-track rule".to_owned()),
            Some(SourceTrack::Global) => list.push("source-track global".to_owned()),
            None => {}
        }
        count(&mut list, options.max_src_states, "max-src-states");
        count(&mut list, options.max_src_conn, "max-src-conn");
        if let Some((limit, seconds)) = options.max_src_conn_rate {
            list.push(format!("max-src-conn-rate {limit}/{seconds}"));
        }
        count(&mut list, options.max_src_nodes, "max-src-nodes");
        if let Some(overload) = &options.overload {
            let flush = if overload.flush { " flush" } else { "" };
            let global = if overload.global { " global" } else { "" };
            list.push(format!("overload <{}>{flush}{global}", bare(&overload.table)));
        }
        match options.policy {
            StatePolicy::IfBound => list.push("if-bound".to_owned()),
            StatePolicy::Floating if rule.state != StateKind::None && self.policy == StatePolicy::IfBound => {
                list.push("floating".to_owned());
            }
            StatePolicy::Floating => {}
        }
        list.extend(options.timeouts.iter().map(|(name, seconds)| format!("{name} {seconds}")));
        list
    }
}

/// A fraction of 2^32 as a percentage, with six digits or as many as it takes to parse to the same value. pfctl
/// parses a percentage as a fraction of 2^32 - 1: if a percentage of 2^32 does not parse to the value, one of 2^32 -
/// 1 is used.
fn percent(probability: u32, digits: std::ops::Range<usize>) -> String {
    let rounded = |whole: f64, digits: usize| {
        let value = f64::from(probability) * 100.0 / whole;
        let text = format!("{value:.digits$}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let whole = f64::from(u32::MAX) + 1.0;
    let reads_back = |text: &String| parse_probability(&format!("{text}%")) == Some(probability);
    let all =
        [whole, whole - 1.0].into_iter().flat_map(|whole| digits.clone().map(move |digits| (whole, digits)));
    let found = all.map(|(whole, digits)| rounded(whole, digits)).find(reads_back);
    found.unwrap_or_else(|| rounded(whole, digits.start))
}
