//! Input that was meant as a ruleset but is not one: a file with CR LF line ends, or other output of pfctl.
//!
//! It exists because pfctl rejects every line of both, and none of a hundred errors would name the cause. Sees: the
//! parser. Never: a rule.

use super::{Failed, Parsed, Parser};
use crate::pf::token::Kind;

/// Headings in the output of `pfctl -s all` and other lines besides rules: the first word, and the start of the next.
const HEADINGS: &[(&str, &str)] = &[
    ("TRANSLATION", "RULES:"),
    ("FILTER", "RULES:"),
    ("DUMMYNET", "RULES:"),
    ("STATES:", ""),
    ("SOURCE", "TRACKING"),
    ("INFO:", ""),
    ("Status:", ""),
    ("LABEL", "COUNTERS:"),
    ("TIMEOUTS:", ""),
    ("LIMITS:", ""),
    ("TABLES:", ""),
    ("QUEUES:", ""),
    ("INTERFACES:", ""),
    ("OS", "FINGERPRINTS:"),
    ("No", "ALTQ"),
    ("ALTQ", "related"),
    ("pfctl:", ""),
];

/// How to print the rules of a running pf without anything else.
const ALONE: &str =
    "give the reader rules alone, as `pfctl -s nat`, `pfctl -s rules` and `pfctl -s dummynet` print them";

impl Parser<'_> {
    /// Reports that the input is not meant for pfctl; later errors are discarded.
    fn give_up<T>(&mut self, message: String) -> Parsed<T> {
        if self.given_up.is_none() {
            self.errors.push((self.lexer.place, message));
            self.given_up = Some(self.errors.len());
        }
        Err(Failed)
    }

    /// A carriage return, which precedes the line break in files from Windows.
    pub(super) fn carriage_return<T>(&mut self) -> Parsed<T> {
        self.give_up(
            "the line ends in CR LF, as Windows writes it, and pfctl reads LF alone: take the CRs out with \
             `tr -d '\\r' <FILE >NEW`"
                .to_owned(),
        )
    }

    /// Detects a line that `pfctl -v` prints between rules.
    pub(super) fn printed_by_pfctl(&mut self) -> Parsed<()> {
        match *self.peek() {
            Kind::Char('[') => self.give_up(
                "`[` begins a line of counters of `pfctl -v`: show the rules without `-v`".to_owned(),
            ),
            Kind::Char('@') => self.give_up(
                "`@` begins the number of a rule of `pfctl -vv`: show the rules without `-v`".to_owned(),
            ),
            _ => Ok(()),
        }
    }

    /// Detects a heading of `pfctl -s all`, whose first word has been consumed.
    pub(super) fn heading(&mut self, first: &str) -> Parsed<()> {
        let place = self.lexer.place;
        let next = match self.peek() {
            Kind::Word(word) => word.clone(),
            _ => String::new(),
        };
        let found = HEADINGS.iter().find(|(word, start)| *word == first && next.starts_with(start));
        let is_definition = *self.peek() == Kind::Char('=');
        let Some((_, start)) = found.filter(|_| !is_definition) else { return Ok(()) };
        let text = if start.is_empty() { first.to_owned() } else { format!("{first} {next}") };
        self.lexer.place = place;
        self.give_up(format!(
            "`{text}` is what pfctl prints beside rules (`pfctl -s all`), not a rule: {ALONE}"
        ))
    }
}
