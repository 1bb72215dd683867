//! Text that was meant as a ruleset but is none: a file with CR LF line ends, or other output of pfctl.
//!
//! It exists because both are refused from the first line to the last, and none of the hundred errors would say what
//! is wrong. Sees: the parser. Never: a rule.

use super::{Failed, Parsed, Parser};
use crate::pf::token::Kind;

/// How the sections of `pfctl -s all` begin, and what pfctl says beside rules: a word, and what the next begins with.
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

/// Where the rules of a running pf are to be had alone.
const ALONE: &str =
    "give the reader rules alone, as `pfctl -s nat`, `pfctl -s rules` and `pfctl -s dummynet` print them";

impl Parser<'_> {
    /// The one error of a file that is none for pfctl: what comes after it is not told.
    fn give_up<T>(&mut self, message: String) -> Parsed<T> {
        if self.given_up.is_none() {
            self.errors.push((self.lexer.place, message));
            self.given_up = Some(self.errors.len());
        }
        Err(Failed)
    }

    /// A carriage return, which is in front of the line break where Windows wrote the file.
    pub(super) fn carriage_return<T>(&mut self) -> Parsed<T> {
        self.give_up(
            "the line ends in CR LF, as Windows writes it, and pfctl reads LF alone: take the CRs out with \
             `tr -d '\\r' <FILE >NEW`"
                .to_owned(),
        )
    }

    /// A line that `pfctl -v` puts among the rules, at its beginning.
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

    /// A heading of `pfctl -s all` whose first word has been read.
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
