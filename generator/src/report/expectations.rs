//! The expectations, in the order of the user's list. The page is written only if all of them hold.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::model::{Declaration, Expectation, Party, Protocol};
use crate::place::Harmless;

/// An expectation in words.
#[derive(Serialize)]
pub struct ExpectationLine {
    path: String,
    says: String,
    why: String,
}

/// All expectations.
pub fn lines(declaration: &Declaration) -> Vec<ExpectationLine> {
    let mut all: Vec<&Expectation> = declaration.expectations.iter().collect();
    all.sort_by_key(|expectation| expectation.index);
    all.into_iter().map(line).collect()
}

fn line(expectation: &Expectation) -> ExpectationLine {
    let Expectation { from, to, protocol, ports, passes, why, index } = expectation;
    let words = |parties: &BTreeSet<Party>| parties.iter().map(Party::word).collect::<Vec<_>>().join(", ");
    let service = protocol.map_or("any protocol", Protocol::word);
    let ports = ports.as_ref().map_or_else(String::new, |ports| match protocol {
        Some(_) => format!(" {ports}"),
        None => format!(" with port {ports}"),
    });
    let verdict = if *passes { "everything gets through" } else { "nothing gets through" };
    ExpectationLine {
        path: format!("expect.{index}"),
        says: format!("{} -> {}, {service}{ports}: {verdict}", words(from), words(to)),
        why: why.as_ref().map_or_else(String::new, |why| Harmless(why).to_string()),
    }
}
