//! Shared by the commands that check expectations: the report of failed ones, and all results as data.

use std::net::Ipv4Addr;

use anyhow::Result;
use nixvol_net::diagnostic::{Finding, Shown};
use nixvol_net::expect::{self, Failure, Held};
use nixvol_net::explain::{
    ExplainedHook, ExplainedRules, Explanation, Opening, Question, RulePlace, Service, explain, opening,
};
use nixvol_net::model::{Declaration, Party};
use nixvol_net::place::{FieldPath, Harmless};
use nixvol_net::plan::Plan;
use nixvol_net::plan::policy::{TCP, UDP};
use nixvol_net::reach::{Flow, FlowVerdict, Opener, Reason};
use nixvol_net::render::{ANCHOR, bundle};
use serde_json::{Value, json};

use super::shown_at;
use crate::progress;

/// The egress interface that the explanations assume.
const EGRESS: &str = "en0";

/// A declaration and the results of its expectations.
pub struct Expectations<'a> {
    declaration: &'a Declaration,
    plan: &'a Plan,
    anchor: &'a str,
    /// One result for each expectation, in the order of the user's list.
    pub held: Vec<Held<'a>>,
}

impl<'a> Expectations<'a> {
    /// Checks every expectation. `anchor` is the rendered ruleset.
    pub fn of(declaration: &'a Declaration, plan: &'a Plan, anchor: &'a str) -> Self {
        let held = progress::during("holding expectations", || expect::hold(declaration, plan));
        Self { declaration, plan, anchor, held }
    }

    /// Whether all of them hold.
    pub fn hold(&self) -> bool {
        self.held.iter().all(|held| held.failure.is_none())
    }

    /// A line with the number of expectations that hold; empty if there are none or if one fails.
    pub fn holding(&self) -> String {
        match self.held.len() {
            _ if !self.hold() => String::new(),
            0 => String::new(),
            1 => "as expected: 1 expectation holds, for all packets\n".to_owned(),
            count => format!("as expected: {count} expectations hold, for all packets\n"),
        }
    }

    /// Reports on standard error which expectations fail, and why.
    pub fn tell(&self) {
        let findings = self.findings();
        if findings.is_empty() {
            return;
        }
        let text = shown_at(&self.declaration.positions, |shown| shown.findings(&findings));
        let (failed, all) = (findings.len(), self.held.len());
        eprintln!(
            "{text}{failed} of {} {}; nothing was written",
            counted(all),
            if failed == 1 { "does not hold" } else { "do not hold" }
        );
    }

    /// A finding for each expectation that fails.
    pub fn findings(&self) -> Vec<Finding> {
        let finding = |held: &Held| Some(self.finding(held, held.failure.as_ref()?));
        self.held.iter().filter_map(finding).collect()
    }

    fn finding(&self, held: &Held, failure: &Failure) -> Finding {
        let wanted = if held.expectation.passes {
            "all of this must get through"
        } else {
            "none of this may get through"
        };
        let flow = &failure.flow;
        let (service, from, to) = (service(flow), self.opener(flow), self.name(flow.destination));
        let fate = match failure.outcome.fate {
            fate @ FlowVerdict::Passes(_) => fate.to_string().replacen("passed", "passes", 1),
            fate @ (FlowVerdict::Refused | FlowVerdict::Dropped | FlowVerdict::Untouched) => {
                format!("is {fate}")
            }
        };
        let message = format!("{wanted}, but {service} from {from} to {to} {fate}");
        let rule = self.rule(flow).map(|rule| format!("by {rule}"));
        let why = held.expectation.why.as_ref().map(|why| format!("expected because: {}", Harmless(why)));
        Finding {
            kind: "expectation",
            message,
            at: path(held),
            with: failure.declared.clone(),
            notes: [Some(failure.because.clone()), rule, why].into_iter().flatten().collect(),
            hint: Some(self.hint(failure)),
        }
    }

    /// All results as JSON.
    pub fn data(&self) -> Value {
        shown_at(&self.declaration.positions, |shown| {
            self.held.iter().map(|held| self.record(held, shown)).collect()
        })
    }

    fn record(&self, held: &Held, shown: &Shown) -> Value {
        let it = held.expectation;
        let words = |parties: &std::collections::BTreeSet<Party>| -> Value {
            parties.iter().map(Party::word).collect()
        };
        let mut value = json!(shown.located(&path(held)));
        value["from"] = words(&it.from);
        value["to"] = words(&it.to);
        value["protocol"] = json!(it.protocol);
        value["ports"] = json!(it.ports.as_ref().map(ToString::to_string));
        value["passes"] = json!(it.passes);
        value["why"] = json!(it.why);
        value["holds"] = json!(held.failure.is_none());
        if let Some(failure) = &held.failure {
            let flow = &failure.flow;
            let source = match flow.opener {
                Opener::ThisMac => "mac".to_owned(),
                Opener::Address(address) => address.to_string(),
            };
            let declared: Vec<_> = failure.declared.iter().map(|path| shown.located(path)).collect();
            value["witness"] = json!({
                "protocol": Service { protocol: flow.protocol, port: None }.to_string(),
                "source": source,
                "destination": flow.destination,
                "port": port(flow),
                "outcome": failure.outcome.fate.to_string(),
                "because": failure.because,
                "declared": declared,
                "rule": self.rule(flow),
                "explain": self.command(flow),
            });
        }
        value
    }

    /// What to do: the command that adds the missing link if that is the reason, and the one that shows the path.
    fn hint(&self, failure: &Failure) -> String {
        let flow = &failure.flow;
        let shown = format!("`{}` shows the path", self.command(flow));
        let of = |it: Explanation| {
            opening(self.declaration, self.plan, (&it.source, &it.destination), Some(it.service))
        };
        match self.explained(flow).filter(|_| failure.outcome.reason == Reason::NoLink).and_then(of) {
            Some(Opening { command, opens: _ }) => format!("`{command}` lets it pass; {shown}"),
            None => shown,
        }
    }

    /// The `explain` command that shows the path of a flow, with the names of volumes.
    fn command(&self, flow: &Flow) -> String {
        let name = |address: Ipv4Addr| {
            let volume = self.plan.volumes.iter().find(|volume| volume.address == address);
            volume.map_or_else(|| address.to_string(), |volume| volume.name.to_string())
        };
        let source = match flow.opener {
            Opener::ThisMac => "mac".to_owned(),
            Opener::Address(address) => name(address),
        };
        let port = port(flow).map_or_else(String::new, |port| format!(":{port}"));
        let protocol = Service { protocol: flow.protocol, port: None }.to_string();
        let protocol = match flow.protocol {
            TCP => String::new(),
            _ => format!(" --protocol {}", protocol.trim_start_matches("protocol ")),
        };
        format!("nixvol-net explain {source} {}{port}{protocol}", name(flow.destination))
    }

    fn opener(&self, flow: &Flow) -> String {
        match flow.opener {
            Opener::ThisMac => "this Mac".to_owned(),
            Opener::Address(address) => self.name(address),
        }
    }

    /// An address with the name of the volume, alias, gateway or provider that it belongs to.
    fn name(&self, address: Ipv4Addr) -> String {
        let volume = self.plan.volumes.iter().find(|volume| volume.address == address);
        let alias = self.plan.volumes.iter().find(|volume| volume.alias == Some(address));
        let bridge = self.plan.bridges.iter().find(|bridge| bridge.region.contains(address));
        match (volume, alias, bridge) {
            (Some(volume), _, _) => format!("{} ({address})", volume.name),
            (None, Some(volume), _) => format!("the alias of {} ({address})", volume.name),
            (None, None, Some(bridge)) if bridge.gateway.addr() == address => {
                format!("the gateway of {} ({address})", bridge.provider)
            }
            (None, None, Some(bridge)) => format!("{address} in {}", bridge.provider),
            (None, None, None) => address.to_string(),
        }
    }

    /// The path of a flow, as `explain` shows it.
    fn explained(&self, flow: &Flow) -> Option<Explanation> {
        let (source, destination) = ends(flow);
        let protocol = flow.protocol.to_string();
        let question = Question {
            source: &source,
            destination: &destination,
            protocol: Some(&protocol),
            egress: EGRESS,
        };
        let rules = ExplainedRules { anchor: self.anchor, name: ANCHOR, captured: &[] };
        explain(self.declaration, self.plan, &rules, &question).ok()
    }

    /// The rule that decides a flow, with its file and line; `None` if no rule matches.
    fn rule(&self, flow: &Flow) -> Option<String> {
        let explanation = self.explained(flow)?;
        let blocked = explanation.packet.iter().find(|hop| !hop.passes());
        // A packet that passes may match a translation only.
        let decides = |hop: &'_ ExplainedHook| hop.rule.clone().or_else(|| hop.translation.clone());
        let found = blocked.and_then(decides).or_else(|| explanation.packet.iter().find_map(decides))?;
        let RulePlace { anchor: _, number: _, file, line, text, label: _, ours: _ } = found;
        Some(format!("{}:{}: {}", file?, line?, text?))
    }
}

/// Whether a declaration meets its expectations. Reports the failed ones on standard error.
pub fn are_met(declaration: &Declaration) -> Result<bool> {
    if declaration.expectations.is_empty() {
        return Ok(true);
    }
    let plan = Plan::of(declaration);
    let bundle = bundle(declaration, &plan)?;
    let expectations = Expectations::of(declaration, &plan, &bundle.files[ANCHOR].text);
    expectations.tell();
    Ok(expectations.hold())
}

/// `1 expectation` or `N expectations`.
pub fn counted(count: usize) -> String {
    match count {
        1 => "1 expectation".to_owned(),
        _ => format!("{count} expectations"),
    }
}

fn path(held: &Held) -> FieldPath {
    FieldPath::of(&["expect".to_owned(), held.expectation.index.to_string()])
}

fn port(flow: &Flow) -> Option<u16> {
    matches!(flow.protocol, TCP | UDP).then_some(flow.port)
}

fn service(flow: &Flow) -> Service {
    Service { protocol: flow.protocol, port: port(flow) }
}

/// Source and destination of a flow, in the notation of `explain`.
fn ends(flow: &Flow) -> (String, String) {
    let source = match flow.opener {
        Opener::ThisMac => "mac".to_owned(),
        Opener::Address(address) => address.to_string(),
    };
    let port = port(flow).map_or_else(String::new, |port| format!(":{port}"));
    (source, format!("{}{port}", flow.destination))
}
