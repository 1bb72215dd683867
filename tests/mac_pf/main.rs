//! The toy Mac's pf: reads rulesets and says what they do with packets, by the project's own reader.
//!
//! Standard input has a line for each thing, its fields separated by tabs, which `escape` keeps out of texts:
//! - `address NAME IP LENGTH`: an address of an interface.
//! - `define NAME VALUE`: a macro, as `pfctl -D` gives it.
//! - `read TEXT`: answered by the rules of the text, one a line, or by `error LINE MESSAGE`.
//! - `anchor PATH TEXT`: rules in force.
//! - `packet JSON`: answered, for each rule that decided, by what is true of `label ANCHOR LABEL`, `pipe NUMBER` (in dummynet),
//!   `drop` or `refuse` (the packet ends there), and `source ADDRESS` (translated).
//!
//! Sees: what is asked. Never: the toy Mac's kernel, and what an answer means there.

#[path = "../mac/escape.rs"]
mod escape;

use std::io::{self, Read as _};

use nixvol_net::pf::eval::{Machine, Outcome, Packet, Shaping};
use nixvol_net::pf::syntax::Block;
use nixvol_net::pf::{self, Environment, Names};

use escape::{escape, unescape};

fn main() {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).expect("a question");
    let mut environment = Environment { interfaces: Vec::new(), ..Environment::default() };
    let mut anchors = Vec::new();
    let mut packets = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields.as_slice() {
            ["address", name, address, length] => environment.add_address(
                name,
                address.parse().expect("an address"),
                length.parse().expect("a length"),
            ),
            ["define", name, value] => {
                environment.macros.insert((*name).to_owned(), unescape(value));
            }
            ["read", text] => print!("{}", read(&unescape(text), &environment)),
            ["anchor", path, text] => anchors.push((*path, unescape(text))),
            ["packet", json] => packets.push(*json),
            other => panic!("no such question: {other:?}"),
        }
    }
    let mut machine = Machine::new(environment.interfaces.clone());
    for (path, text) in &anchors {
        if let Ok(ruleset) = pf::parse(text, &environment) {
            machine.load(path, &ruleset);
        }
    }
    for packet in packets {
        print!("{}", send(&mut machine, packet));
    }
}

fn read(text: &str, environment: &Environment) -> String {
    match pf::parse(text, environment) {
        Ok(ruleset) => pf::print(&ruleset, Names::MacOs),
        Err(errors) => {
            let (line, message) =
                errors.first().map_or((0, ""), |error| (error.line, error.message.as_str()));
            format!("error\t{line}\t{}\n", escape(message))
        }
    }
}

fn send(machine: &mut Machine, packet: &str) -> String {
    let packet: Packet = serde_json::from_str(packet).expect("a packet of the toy");
    let mut lines = Vec::new();
    for verdict in machine.eval(&packet).verdicts() {
        if let Some((rule, label)) = verdict.rule.as_ref().and_then(|rule| Some((rule, rule.label.as_ref()?)))
        {
            lines.push(format!("label\t{}\t{label}", rule.anchor));
        }
        let pipes = verdict.shaping.iter().filter_map(Shaping::number);
        lines.extend(pipes.map(|number| format!("pipe\t{number}")));
        if verdict.action == Outcome::Block {
            let is_silent = matches!(verdict.reply, None | Some(Block::Drop));
            lines.push(if is_silent { "drop" } else { "refuse" }.to_owned());
        } else if verdict.before.source != verdict.after.source {
            lines.push(format!("source\t{}", verdict.after.source));
        }
    }
    lines.into_iter().map(|line| line + "\n").collect()
}
