//! Checks expectations: endpoints that exist, a service, a verdict; and puts them into canonical order.

use super::Check;
use crate::input::{self, Word};
use crate::model::{Expectation, Party};
use crate::place::At;

impl Check<'_> {
    /// The expectations in canonical order, unless one of them is invalid.
    pub(super) fn expectations(&mut self) -> Option<Vec<Expectation>> {
        let raw = self.input.expect.as_deref().unwrap_or_default();
        let all: Vec<Option<Expectation>> =
            raw.iter().enumerate().map(|(index, raw)| self.expectation(index, raw)).collect();
        let mut all: Vec<Expectation> = all.into_iter().collect::<Option<_>>()?;
        // The order is by content: the index is the last field.
        all.sort();
        Some(all)
    }

    fn expectation(&mut self, index: usize, raw: &input::RawExpectation) -> Option<Expectation> {
        let at = At::of(&["expect"]).child(index);
        let from = self.all_ends(&at.child("from"), raw.from.as_deref(), Word::WORDS, Self::party);
        let to = self.all_ends(&at.child("to"), raw.to.as_deref(), Word::WORDS, Self::party);
        let (protocol, ports) = self.service(&at, raw.protocol.as_deref(), raw.ports.as_deref());
        Some(Expectation {
            from: from?,
            to: to?,
            protocol,
            ports,
            passes: raw.passes?,
            why: raw.why.clone(),
            index,
        })
    }

    fn party(&self, found: &str) -> Option<Party> {
        Word::from_word(found).map(Party::from).or_else(|| self.end(found).map(Party::End))
    }
}
