//! `explain`: shows the path of a packet and what decides on it.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use nixvol_net::explain::{
    self, Captured, ExplainError, ExplainedRules, Explanation, Opening, Question, STOCK_MAIN, Survey,
    WAY_OUT, examples, explain, read as read_rules, ways_out,
};
use nixvol_net::loading::{Interfaces, bridge_macro};
use nixvol_net::model::{Declaration, Name};
use nixvol_net::pf::eval::{ICMP, TCP, UDP};
use nixvol_net::plan::Plan;
use nixvol_net::render::{ANCHOR, bundle};
use nixvol_net::replay::{Opened, Stack, client_sees};
use nixvol_net::router::{AnchorSource, EGRESS, ExampleHosts, Over, RouterRules as Loaded, Topology};

use super::paint::{Paint, painted};
use super::pf::{self, harmless};
use super::{BAD_INPUT, print, read, reject, versioned};
use crate::cli::Format;
use crate::cli::explain::ExplainArguments;

/// The exit code when the packet or its reply is blocked.
const BLOCKED: u8 = 1;

/// Runs `explain`.
pub fn run(arguments: &ExplainArguments) -> Result<ExitCode> {
    let reading = read(&arguments.input)?;
    let declaration = match &reading.declaration {
        Ok(declaration) => declaration,
        Err(rejected) => return Ok(reject(&reading.name, rejected)),
    };
    let is_stdin = |file: &Path| file == Path::new("-") || file.to_string_lossy().ends_with("=-");
    let readers = arguments.rulesets.iter().chain(&arguments.input.input).filter(|file| is_stdin(file));
    if readers.count() > 1 {
        bail!("`-` is standard input, which can be read only once");
    }
    let captured = arguments.rulesets.iter().map(|file| captured(file)).collect::<Result<Vec<_>>>()?;
    let plan = Plan::of(declaration);
    let bundle = bundle(declaration, &plan)?;
    let anchor = &bundle.files[ANCHOR].text;
    let rules = ExplainedRules { anchor, name: ANCHOR, captured: &captured };
    let egress = egress(arguments, &plan, &rules);
    let question = Question {
        source: &arguments.from,
        destination: &arguments.to,
        protocol: arguments.protocol.as_deref(),
        egress: &egress,
    };
    if let Some(macs) = macs_between(declaration, &plan, &rules, &question) {
        return on_both(declaration, &macs, &question, arguments.format);
    }
    let passes = if explain::is_survey(&question) {
        explain::survey(declaration, &plan, &rules, &question)
            .map(|survey| several(&survey, arguments.format))
    } else {
        explain(declaration, &plan, &rules, &question)
            .map(|explanation| one((declaration, &plan), (&rules, &question), &explanation, arguments.format))
    };
    match passes {
        Ok(passes) => Ok(if passes? { ExitCode::SUCCESS } else { ExitCode::from(BLOCKED) }),
        Err(ExplainError::Question(wrong)) => {
            eprintln!("error: {wrong}");
            Ok(ExitCode::from(BAD_INPUT))
        }
        Err(ExplainError::Rules(refused)) => {
            for refused in refused {
                eprintln!("{}", harmless(&refused.to_string()));
            }
            Ok(ExitCode::from(BAD_INPUT))
        }
    }
}

/// The Macs of the sender and of the receiver, if they are two. A capture is of one Mac, so it is asked alone.
fn macs_between(
    declaration: &Declaration,
    plan: &Plan,
    rules: &ExplainedRules,
    question: &Question,
) -> Option<[Name; 2]> {
    if plan.mesh.is_none() || !rules.captured.is_empty() || explain::is_survey(question) {
        return None;
    }
    let explanation = explain(declaration, plan, rules, question).ok()?;
    let [from, to] = [explanation.source.address, explanation.destination.address].map(|address| {
        let bridge = plan.bridges.iter().find(|bridge| bridge.region.contains(address))?;
        plan.mac_of(bridge).cloned()
    });
    let macs = [from?, to?];
    (macs[0] != macs[1]).then_some(macs)
}

/// Explains a packet on the Mac of its sender and, if it passes there, on that of its receiver.
fn on_both(
    declaration: &Declaration,
    macs: &[Name; 2],
    question: &Question,
    format: Format,
) -> Result<ExitCode> {
    let mut told = Vec::new();
    let mut passes = true;
    for mac in macs {
        let Some(declaration) = declaration.on(mac).filter(|_| passes) else { break };
        let plan = Plan::of(&declaration);
        let bundle = bundle(&declaration, &plan)?;
        let rules = ExplainedRules { anchor: &bundle.files[ANCHOR].text, name: ANCHOR, captured: &[] };
        let explanation = match explain(&declaration, &plan, &rules, question) {
            Ok(explanation) => explanation,
            Err(ExplainError::Question(wrong)) => bail!("on the Mac {mac}: {wrong}"),
            Err(ExplainError::Rules(refused)) => {
                let refused: Vec<String> = refused.iter().map(|it| harmless(&it.to_string())).collect();
                bail!("on the Mac {mac}: {}", refused.join("; "))
            }
        };
        passes = explanation.passes;
        told.push((mac, explanation));
    }
    match format {
        Format::Text => {
            let one = |(mac, explanation): &(&Name, Explanation)| {
                format!("On the Mac {mac}:\n{}", explanation.text())
            };
            let text = told.iter().map(one).collect::<Vec<_>>().join("\n");
            let stopped =
                if told.len() == 2 { String::new() } else { format!("\nit never reaches {}\n", macs[1]) };
            print(&painted(&format!("{text}{stopped}"), Paint::Way))?;
        }
        Format::Json => {
            let one = |(mac, explanation): &(&Name, Explanation)| serde_json::json!({ "mac": mac.as_str(), "explanation": explanation });
            print(&versioned(
                serde_json::json!({ "passes": passes, "macs": told.iter().map(one).collect::<Vec<_>>() }),
            )?)?;
        }
    }
    Ok(if passes { ExitCode::SUCCESS } else { ExitCode::from(BLOCKED) })
}

/// Prints the answers to a question with `any`. Returns whether something passes and all sources agree.
fn several(survey: &Survey, format: Format) -> Result<bool> {
    match format {
        Format::Text => print(&painted(&survey.text(), Paint::Way))?,
        Format::Json => print(&versioned(survey)?)?,
    }
    Ok(survey.passes && survey.agrees)
}

/// Prints one answer. Returns whether the packet passes and all sources agree.
fn one(
    (declaration, plan): (&Declaration, &Plan),
    (rules, question): (&ExplainedRules, &Question),
    explanation: &Explanation,
    format: Format,
) -> Result<bool> {
    // The lab's Mac has no tunnel.
    let client = if explanation.passes || plan.mesh.is_some() {
        None
    } else {
        client(plan, rules, question, explanation)
    };
    let is_blocked = !explanation.passes && rules.captured.is_empty();
    let ends = (&explanation.source, &explanation.destination);
    let opening = is_blocked.then(|| explain::opening(declaration, plan, ends, Some(explanation.service)));
    let opening = opening.flatten();
    match format {
        Format::Text => {
            let client = client.map_or_else(String::new, |client| format!("the client sees: {client}\n"));
            let opening = opening.as_ref().map_or_else(String::new, Opening::text);
            print(&painted(&format!("{}{client}{opening}", explanation.text()), Paint::Way))?;
        }
        Format::Json => {
            let mut told = serde_json::to_value(explanation)?;
            told["clientSees"] = client.into();
            told["toOpen"] = serde_json::to_value(opening)?;
            print(&versioned(&told)?)?;
        }
    }
    Ok(explanation.passes && explanation.agrees())
}

/// The egress interface: the one given; otherwise `WAY_OUT`, or the capture's first if it has others only.
fn egress(arguments: &ExplainArguments, plan: &Plan, rules: &ExplainedRules) -> String {
    let known = if rules.captured.is_empty() { Vec::new() } else { ways_out(plan, rules) };
    let usual = known.is_empty() || known.iter().any(|name| name == WAY_OUT);
    let first = if usual { WAY_OUT.to_owned() } else { known[0].clone() };
    arguments.egress.clone().unwrap_or(first)
}

/// What the client sees, in words: the connection is played through the lab's Mac with the rules being explained.
fn client(
    plan: &Plan,
    rules: &ExplainedRules,
    question: &Question,
    explanation: &Explanation,
) -> Option<String> {
    let examples = examples(plan);
    let strangers =
        (0..).zip(&examples.strangers).filter_map(|(bridge, address)| Some((bridge, (*address)?)));
    let (mac, lan, internet) = (examples.mac, examples.lan, examples.internet);
    let cast = ExampleHosts { mac, lan, internet, strangers: strangers.collect() };
    let (topology, rules) = played(plan, rules, question, Topology::of(plan, &cast))?;
    let (from, to) = (explanation.source.address, explanation.destination.address);
    let service = explanation.service;
    let protocol = match service.protocol {
        ICMP => "icmp",
        TCP => "tcp",
        UDP => "udp",
        _ => return None,
    };
    let opened = Opened { from, to, protocol, port: service.port, size: None };
    Some(client_sees(plan, topology, rules, &opened, Stack::Own)?.words())
}

/// The rules that the lab's Mac loads: the rendered ones, or the captured ones with that Mac's interface names.
fn played(
    plan: &Plan,
    rules: &ExplainedRules,
    question: &Question,
    topology: Topology,
) -> Option<(Topology, Loaded)> {
    if rules.captured.is_empty() {
        let interfaces = Interfaces::logical(plan, EGRESS);
        let (path, text) = (plan.anchor.as_str(), rules.anchor);
        let source = AnchorSource { main: STOCK_MAIN, path, text, file: ANCHOR, interfaces: &interfaces };
        let rules = Loaded::load(&topology, &source).ok()?;
        return Some((topology, rules));
    }
    let read = read_rules(plan, rules, question).ok()?;
    let name = |over| match over {
        Over::Loopback | Over::Underlay => None,
        Over::Mesh => read.names.as_ref()?.mesh.clone(),
        Over::Egress => Some(question.egress.to_owned()),
        Over::Bridge(bridge) => {
            let bridge = bridge_macro(plan.bridges[bridge].provider.as_str());
            read.names.as_ref()?.bridges.get(&bridge).cloned()
        }
    };
    let topology = topology.named_as(name);
    let rules = Loaded::of(&topology, &read.rulesets);
    Some((topology, rules))
}

/// Reads `NAME=FILE`, or a file with a line `# anchor NAME` above each anchor's part. A path that contains `=` needs a
/// leading `./` or `/`.
fn captured(argument: &Path) -> Result<Captured> {
    let text = argument.to_string_lossy();
    let named = text.split_once('=').filter(|_| !text.starts_with(['.', '/']));
    let (anchor, file) = match named {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => {
            (Some(name.to_owned()), Path::new(file))
        }
        Some(_) => bail!("`{text}` is not of the form NAME=FILE"),
        None => (None, argument),
    };
    let text = pf::read(file)?;
    Ok(Captured { name: text.name, anchor, text: text.text })
}
