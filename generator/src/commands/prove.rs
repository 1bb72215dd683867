//! What `render`, `verify` and `test` share: the proof, and the report of its failure.

use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::Result;
use nixvol_net::model::Declaration;
use nixvol_net::pf::eval::Packet;
use nixvol_net::place::{FieldPath, Positions};
use nixvol_net::plan::Plan;
use nixvol_net::plan::policy::Because;
use nixvol_net::prove::{Counterexample, Proof, Refutation, Violation, prove};
use nixvol_net::render::{self, ANCHOR, Bundle};
use serde_json::{Value, json};

use super::expect::Expectations;
use super::{NOT_PROVEN, note_what_is_not_done, read, reject};
use crate::cli::Source;
use crate::progress;

/// A declaration, and what was rendered and proven of it.
pub struct Proven {
    pub declaration: Declaration,
    pub plan: Plan,
    pub bundle: Bundle,
    pub proof: Proof,
}

impl Proven {
    /// Its expectations, held.
    pub fn expectations(&self) -> Expectations<'_> {
        Expectations::of(&self.declaration, &self.plan, &self.bundle.files[ANCHOR].text)
    }
}

/// Reads a declaration, renders it in memory, proves it and holds its expectations; or has told what is wrong, and
/// gives the exit code.
pub fn rendered(source: &Source) -> Result<std::result::Result<Proven, ExitCode>> {
    let proven = match rendered_for_lab(source)? {
        Ok(proven) => proven,
        Err(exit) => return Ok(Err(exit)),
    };
    note_what_is_not_done(&proven.declaration);
    let expectations = proven.expectations();
    if !expectations.hold() {
        expectations.tell();
        return Ok(Err(ExitCode::from(NOT_PROVEN)));
    }
    Ok(Ok(proven))
}

/// A declaration, and what was proven of its anchor alone.
pub struct Alone {
    pub declaration: Declaration,
    pub plan: Plan,
    pub anchor: String,
    pub proof: Proof,
}

impl Alone {
    /// Its expectations, held.
    pub fn expectations(&self) -> Expectations<'_> {
        Expectations::of(&self.declaration, &self.plan, &self.anchor)
    }
}

/// Reads a declaration and proves the anchor that it renders, without the other files of a bundle.
pub fn proven_alone(source: &Source) -> Result<std::result::Result<Alone, ExitCode>> {
    let reading = read(source)?;
    let declaration = match reading.declaration {
        Ok(declaration) => declaration,
        Err(rejected) => return Ok(Err(reject(&reading.name, &rejected))),
    };
    let plan = progress::during("planning", || Plan::of(&declaration));
    let anchor = progress::during("rendering", || render::anchor(&plan))?;
    let Ok(proof) = proven(&plan, &declaration.positions, ANCHOR, &anchor) else {
        return Ok(Err(ExitCode::from(NOT_PROVEN)));
    };
    note_what_is_not_done(&declaration);
    Ok(Ok(Alone { declaration, plan, anchor, proof }))
}

/// What a proof says, for people.
pub fn words(proof: &Proof) -> String {
    match proof.rules {
        1 => "1 rule permits exactly the declared traffic".to_owned(),
        rules => format!("{rules} rules permit exactly the declared traffic"),
    }
}

/// What [`rendered`] does, for the lab, which does what a Mac does not yet.
pub fn rendered_for_lab(source: &Source) -> Result<std::result::Result<Proven, ExitCode>> {
    let reading = read(source)?;
    let declaration = match reading.declaration {
        Ok(declaration) => declaration,
        Err(rejected) => return Ok(Err(reject(&reading.name, &rejected))),
    };
    let plan = progress::during("planning", || Plan::of(&declaration));
    let bundle = progress::during("rendering", || render::bundle(&declaration, &plan))?;
    let Ok(proof) = proven(&plan, &declaration.positions, ANCHOR, &bundle.files[ANCHOR].text) else {
        return Ok(Err(ExitCode::from(NOT_PROVEN)));
    };
    Ok(Ok(Proven { declaration, plan, bundle, proof }))
}

/// Proves an anchor, or tells on standard error why it is not what was declared.
pub fn proven(
    plan: &Plan,
    positions: &Positions,
    name: &str,
    anchor: &str,
) -> std::result::Result<Proof, Refutation> {
    progress::during("proving the rules", || prove(plan, anchor))
        .inspect_err(|refutation| tell(refutation, positions, name))
}

fn tell(refutation: &Refutation, positions: &Positions, name: &str) {
    match refutation {
        Refutation::Unreadable(errors) => {
            for error in errors {
                eprintln!("{name}:{error}");
            }
        }
        Refutation::Violations(violations) => {
            for violation in violations {
                eprintln!("{name}: {violation}");
                if let Violation::Packet(example) = violation {
                    for place in declared(example, positions) {
                        eprintln!("  declared at {place}");
                    }
                }
            }
            let count = violations.len();
            eprintln!("{name}: not proven: {count} {}", if count == 1 { "violation" } else { "violations" });
        }
    }
}

/// Where the user's source asks for what the rules do not do.
fn declared(example: &Counterexample, positions: &Positions) -> Vec<String> {
    let paths = match &example.expected.because {
        Because::Links(links) => {
            links.iter().map(|link| FieldPath::of(&["links".to_owned(), link.to_string()])).collect()
        }
        Because::Within(provider) | Because::Internet(provider) | Because::NoInternet(provider) => {
            vec![FieldPath::of(&["providers", provider.as_str()])]
        }
        _ => Vec::new(),
    };
    paths.iter().filter_map(|path| positions.find(path)).map(ToString::to_string).collect()
}

/// A refutation as data.
pub fn data(refutation: &Refutation, positions: &Positions) -> Value {
    match refutation {
        Refutation::Unreadable(errors) => errors
            .iter()
            .map(|error| json!({ "line": error.line, "column": error.column, "message": error.message }))
            .collect(),
        Refutation::Violations(violations) => violations
            .iter()
            .map(|violation| match violation {
                Violation::Unprovable { place, what } => json!({ "line": place.line, "message": what }),
                Violation::Packet(example) => json!({
                    "message": violation.to_string(),
                    "line": example.found.rule.as_ref().map(|(line, _)| line),
                    "rule": example.found.rule.as_ref().map(|(_, rule)| rule),
                    "expected": example.expected.to_string(),
                    "found": example.found.to_string(),
                    "packet": packet(&example.packet),
                    "declared": declared(example, positions),
                }),
                Violation::Other(finding) => json!({
                    "message": violation.to_string(),
                    "line": finding.rule.as_ref().map(|(line, _)| line),
                    "rule": finding.rule.as_ref().map(|(_, rule)| rule),
                    "found": finding.what,
                    "packet": finding.packet.as_ref().map(packet),
                }),
                Violation::Pipe(example) => json!({
                    "message": violation.to_string(),
                    "line": example.rule.as_ref().map(|(line, _)| line),
                    "rule": example.rule.as_ref().map(|(_, rule)| rule),
                    "expected": example.expected,
                    "found": example.found,
                    "packet": packet(&example.packet),
                }),
            })
            .collect(),
    }
}

/// The packet in the form that `pf eval` reads.
fn packet(packet: &Packet) -> Value {
    use nixvol_net::pf::eval::Transport;
    use nixvol_net::pf::syntax::Direction;
    let mut value =
        json!({ "src": IpAddr::to_string(&packet.source), "dst": packet.destination.to_string() });
    if let Some(hook) = packet.hooks.first() {
        value["dir"] = json!(if hook.direction == Direction::In { "in" } else { "out" });
        value["if"] = json!(hook.interface);
    }
    match packet.transport {
        Transport::Tcp { source, destination, segment } => {
            value["proto"] = json!("tcp");
            value["sport"] = json!(source);
            value["dport"] = json!(destination);
            value["flags"] = json!(segment.letters());
        }
        Transport::Udp { source, destination } => {
            value["proto"] = json!("udp");
            value["sport"] = json!(source);
            value["dport"] = json!(destination);
        }
        Transport::Icmp { kind, code, id, .. } => {
            value["proto"] = json!("icmp");
            value["icmp_type"] = json!(kind);
            value["icmp_code"] = json!(code);
            value["icmp_id"] = json!(id);
        }
        Transport::Esp { spi } => {
            value["proto"] = json!("esp");
            value["spi"] = json!(spi);
        }
        Transport::Other(protocol) => value["proto"] = json!(protocol),
    }
    if packet.fragment {
        value["fragment"] = json!(true);
    }
    value
}
