//! Shared by `render`, `verify` and `test`: running the proof, and reporting its failure.

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
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::expect::Expectations;
use super::{NOT_PROVEN, note_what_is_not_done, read, reject};
use crate::cli::InputSource;
use crate::progress;

/// A declaration, the bundle rendered from it, and the proof of its rules.
pub struct Proven {
    pub declaration: Declaration,
    pub plan: Plan,
    pub bundle: Bundle,
    pub proof: Proof,
}

impl Proven {
    /// The results of its expectations.
    pub fn expectations(&self) -> Expectations<'_> {
        Expectations::of(&self.declaration, &self.plan, &self.bundle.files[ANCHOR].text)
    }
}

/// Reads a declaration, renders it in memory, proves it and checks its expectations. On failure the problem has been
/// reported, and the exit code is returned.
pub fn rendered(source: &InputSource) -> Result<std::result::Result<Proven, ExitCode>> {
    let proven = match rendered_and_proven(source)? {
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

/// A declaration, and its anchor with the proof; no other files are rendered.
pub struct Alone {
    pub declaration: Declaration,
    pub plan: Plan,
    pub anchor: String,
    pub proof: Proof,
}

impl Alone {
    /// The results of its expectations.
    pub fn expectations(&self) -> Expectations<'_> {
        Expectations::of(&self.declaration, &self.plan, &self.anchor)
    }
}

/// Reads a declaration and proves the anchor rendered from it, without rendering the other files of the bundle.
/// Expectations are not checked.
pub fn proven_alone(source: &InputSource) -> Result<std::result::Result<Alone, ExitCode>> {
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

/// The result of a proof, in words.
pub fn words(proof: &Proof) -> String {
    match proof.rules {
        1 => "1 rule permits exactly the declared traffic".to_owned(),
        rules => format!("{rules} rules permit exactly the declared traffic"),
    }
}

/// Renders a declaration in memory and proves its anchor, without warnings and expectations. On failure the problem has
/// been reported, under this name of the anchor, and the exit code is returned.
#[cfg(all(feature = "lab", target_os = "linux"))]
pub fn rendered_for_lab(
    declaration: &Declaration,
    name: &str,
) -> Result<std::result::Result<Bundle, ExitCode>> {
    Ok(bundle_and_proof(declaration, name)?.map(|(_, bundle, _)| bundle))
}

/// Reads a declaration, renders it in memory and proves it. On failure the problem has been reported, and the exit code
/// is returned.
fn rendered_and_proven(source: &InputSource) -> Result<std::result::Result<Proven, ExitCode>> {
    let reading = read(source)?;
    let declaration = match reading.declaration {
        Ok(declaration) => declaration,
        Err(rejected) => return Ok(Err(reject(&reading.name, &rejected))),
    };
    let made = bundle_and_proof(&declaration, ANCHOR)?;
    Ok(made.map(|(plan, bundle, proof)| Proven { declaration, plan, bundle, proof }))
}

fn bundle_and_proof(
    declaration: &Declaration,
    name: &str,
) -> Result<std::result::Result<(Plan, Bundle, Proof), ExitCode>> {
    let plan = progress::during("planning", || Plan::of(declaration));
    let bundle = progress::during("rendering", || render::bundle(declaration, &plan))?;
    let proof = proven(&plan, &declaration.positions, name, &bundle.files[ANCHOR].text);
    Ok(proof.map(|proof| (plan, bundle, proof)).map_err(|_| ExitCode::from(NOT_PROVEN)))
}

/// Proves an anchor; a refutation is also reported on standard error.
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

/// The places in the user's source that declare what the rules do not do.
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

/// A violation as data.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Violated {
    /// What is wrong.
    message: String,
    /// The line of the ruleset.
    line: Option<u32>,
    /// The column, where the ruleset cannot be read.
    column: Option<u32>,
    /// The rule that decides.
    rule: Option<String>,
    /// What was declared.
    expected: Option<Told>,
    /// What the rules do.
    found: Option<Told>,
    /// A packet, in the form that `pf eval` reads.
    packet: Option<Value>,
    /// Where it was declared.
    declared: Vec<String>,
}

/// What is declared of a packet, or done with it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
enum Told {
    /// In words.
    Words(String),
    /// The number of the pipe that it goes through.
    Pipe(u16),
    /// The numbers of several, or of none.
    Pipes(Vec<u16>),
}

/// A refutation as JSON.
pub fn data(refutation: &Refutation, positions: &Positions) -> Vec<Violated> {
    match refutation {
        Refutation::Unreadable(errors) => errors
            .iter()
            .map(|error| Violated {
                message: error.message.clone(),
                line: Some(error.line),
                column: Some(error.column),
                ..Violated::default()
            })
            .collect(),
        Refutation::Violations(violations) => {
            violations.iter().map(|violation| violated(violation, positions)).collect()
        }
    }
}

fn violated(violation: &Violation, positions: &Positions) -> Violated {
    let message = violation.to_string();
    let of = |rule: &Option<(u32, String)>, packet: Option<&Packet>| Violated {
        message: message.clone(),
        line: rule.as_ref().map(|(line, _)| *line),
        rule: rule.as_ref().map(|(_, rule)| rule.clone()),
        packet: packet.map(self::packet),
        ..Violated::default()
    };
    match violation {
        Violation::Unprovable { place, what } => {
            Violated { message: (*what).to_owned(), line: Some(place.line), ..Violated::default() }
        }
        Violation::Packet(example) => Violated {
            expected: Some(Told::Words(example.expected.to_string())),
            found: Some(Told::Words(example.found.to_string())),
            declared: declared(example, positions),
            ..of(&example.found.rule, Some(&example.packet))
        },
        Violation::Other(finding) => Violated {
            found: Some(Told::Words(finding.what.clone())),
            ..of(&finding.rule, finding.packet.as_ref())
        },
        Violation::Pipe(example) => Violated {
            expected: example.expected.map(Told::Pipe),
            found: Some(Told::Pipes(example.found.clone())),
            ..of(&example.rule, Some(&example.packet))
        },
    }
}

/// The packet as JSON, in the form that `pf eval` reads.
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
