//! `explain`: the way of a packet, and who decides.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use nixvol_net::explain::{
    self, Captured, Error, Explanation, Opening, Question, Rules, STOCK_MAIN, Survey, examples, explain,
};
use nixvol_net::loading::logical_bridges;
use nixvol_net::model::Declaration;
use nixvol_net::pf::eval::{ICMP, TCP, UDP};
use nixvol_net::plan::Plan;
use nixvol_net::render::{ANCHOR, bundle};
use nixvol_net::replay::{Stack, client_sees};
use nixvol_net::router::{Cast, Source};

use super::pf::{self, harmless};
use super::{BAD_INPUT, print, read, reject};
use crate::cli::Format;
use crate::cli::explain::Explain;

/// The exit code of a packet that does not get through.
const BLOCKED: u8 = 1;

/// Runs `explain`.
pub fn run(arguments: &Explain) -> Result<ExitCode> {
    let reading = read(&arguments.input)?;
    let declaration = match &reading.declaration {
        Ok(declaration) => declaration,
        Err(rejected) => return Ok(reject(&reading.name, rejected)),
    };
    let is_stdin = |file: &Path| file == Path::new("-") || file.to_string_lossy().ends_with("=-");
    let readers = arguments.rulesets.iter().chain(&arguments.input.input).filter(|file| is_stdin(file));
    if readers.count() > 1 {
        bail!("`-` is standard input and can be read once only");
    }
    let captured = arguments.rulesets.iter().map(|file| captured(file)).collect::<Result<Vec<_>>>()?;
    let plan = Plan::of(declaration);
    let bundle = bundle(declaration, &plan)?;
    let anchor = &bundle.files[ANCHOR].text;
    let question = Question {
        source: &arguments.from,
        destination: &arguments.to,
        protocol: arguments.protocol.as_deref(),
        egress: &arguments.egress,
    };
    let rules = Rules { anchor, name: ANCHOR, captured: &captured };
    let passes = if explain::is_survey(&question) {
        explain::survey(declaration, &plan, &rules, &question)
            .map(|survey| several(&survey, arguments.format))
    } else {
        explain(declaration, &plan, &rules, &question)
            .map(|explanation| one((declaration, &plan), &rules, &explanation, arguments.format))
    };
    match passes {
        Ok(passes) => Ok(if passes? { ExitCode::SUCCESS } else { ExitCode::from(BLOCKED) }),
        Err(Error::Question(wrong)) => {
            eprintln!("error: {wrong}");
            Ok(ExitCode::from(BAD_INPUT))
        }
        Err(Error::Rules(refused)) => {
            for refused in refused {
                eprintln!("{}", harmless(&refused.to_string()));
            }
            Ok(ExitCode::from(BAD_INPUT))
        }
    }
}

/// Prints several answers, and says whether anything passes.
fn several(survey: &Survey, format: Format) -> Result<bool> {
    match format {
        Format::Text => print(&survey.text())?,
        Format::Json => print(&format!("{}\n", serde_json::to_string_pretty(survey)?))?,
    }
    Ok(survey.passes && survey.agrees)
}

/// Prints one answer, and says whether it passes.
fn one(
    (declaration, plan): (&Declaration, &Plan),
    rules: &Rules,
    explanation: &Explanation,
    format: Format,
) -> Result<bool> {
    let is_blocked = !explanation.passes && rules.captured.is_empty();
    let client = client(plan, rules.anchor, explanation).filter(|_| is_blocked);
    let ends = (&explanation.source, &explanation.destination);
    let opening = is_blocked.then(|| explain::opening(declaration, plan, ends, Some(explanation.service)));
    let opening = opening.flatten();
    match format {
        Format::Text => {
            let client = client.map_or_else(String::new, |client| format!("the client sees: {client}\n"));
            let opening = opening.as_ref().map_or_else(String::new, Opening::text);
            print(&format!("{}{client}{opening}", explanation.text()))?;
        }
        Format::Json => {
            let mut told = serde_json::to_value(explanation)?;
            told["clientSees"] = client.into();
            told["toOpen"] = serde_json::to_value(opening)?;
            print(&format!("{}\n", serde_json::to_string_pretty(&told)?))?;
        }
    }
    Ok(explanation.passes && explanation.agrees())
}

/// What whoever opens sees, in words: it is played on the lab's Mac.
fn client(plan: &Plan, anchor: &str, explanation: &Explanation) -> Option<String> {
    let examples = examples(plan);
    let strangers =
        (0..).zip(&examples.strangers).filter_map(|(bridge, address)| Some((bridge, (*address)?)));
    let (mac, lan, internet) = (examples.mac, examples.lan, examples.internet);
    let cast = Cast { mac, lan, internet, strangers: strangers.collect() };
    let bridges: Vec<_> = logical_bridges(plan).collect();
    let path = plan.anchor.as_str();
    let rules = Source { main: STOCK_MAIN, path, text: anchor, file: ANCHOR, bridges: &bridges };
    let (source, destination) = (explanation.source.address, explanation.destination.address);
    let service = explanation.service;
    let protocol = match service.protocol {
        ICMP => "icmp",
        TCP => "tcp",
        UDP => "udp",
        _ => return None,
    };
    let sees = client_sees(plan, &cast, &rules, (source, destination), (protocol, service.port), Stack::Own)?;
    Some(sees.words())
}

/// Reads `NAME=FILE`, or a file whose lines name the anchors. A path that holds a `=` is written with its `./`.
fn captured(argument: &Path) -> Result<Captured> {
    let text = argument.to_string_lossy();
    let named = text.split_once('=').filter(|_| !text.starts_with(['.', '/']));
    let (anchor, file) = match named {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => {
            (Some(name.to_owned()), Path::new(file))
        }
        Some(_) => bail!("`{text}` names no anchor or no file; expected NAME=FILE"),
        None => (None, argument),
    };
    let text = pf::read(file)?;
    Ok(Captured { name: text.name, anchor, text: text.text })
}
