//! A status as numbers in OpenMetrics text, for node_exporter's textfile collector and for scrapers.
//!
//! Only counters and gauges, which every reader supports. A value that the capture does not have is omitted rather than
//! 0.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::faults::OnDemand;
use super::record::Status;
use super::seen::Capture;
use crate::darwin::{self, LabelCounters};
use crate::plan::Plan;

/// Type, unit and help of each metric family; the manager prints the same.
const FAMILIES: &str = include_str!("../../../templates/script/families.table.j2");

/// The values of the label for findings; each is exported even when it has none.
const PARTS: [&str; 12] = [
    "faults",
    "forwarding",
    "launchd",
    "leftover",
    "localhost",
    "others",
    "overlap",
    "pf",
    "pipe",
    "provider",
    "rules",
    "volume",
];

/// The complete text.
pub fn metrics(plan: &Plan, status: &Status, capture: &Capture) -> String {
    let mut page = Page(String::new());
    page.build(plan);
    page.health(status, capture);
    page.drift(status);
    page.things(plan, status);
    page.pipes(plan, status);
    page.faults(status);
    page.states(capture);
    page.traffic(capture);
    page.0.push_str("# EOF\n");
    page.0
}

struct Page(String);

/// A selector of one of pf's counters, as `[in, out]`.
type Count = fn(&LabelCounters) -> [u64; 2];

/// The labels of a sample: name and value.
type Labels<'a> = &'a [(&'a str, &'a str)];

impl Page {
    /// The metadata of a metric family.
    fn family(&mut self, name: &str) {
        for line in FAMILIES.lines().filter(|line| line.split(' ').nth(2) == Some(name)) {
            let _ = writeln!(self.0, "{line}");
        }
    }

    fn sample(&mut self, name: &str, labels: Labels, value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{before}{label}=\"{}\"", escaped(value));
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    /// A family with a single sample.
    fn single(&mut self, name: &str, value: impl std::fmt::Display) {
        self.family(name);
        self.sample(name, &[], value);
    }

    fn build(&mut self, plan: &Plan) {
        self.family("nixvol_build_info");
        let labels = [("anchor", plan.anchor.as_str()), ("version", env!("CARGO_PKG_VERSION"))];
        self.sample("nixvol_build_info", &labels, 1);
    }

    fn health(&mut self, status: &Status, capture: &Capture) {
        self.single("nixvol_wished_up", u8::from(status.wish == Some("up")));
        self.single("nixvol_healthy", u8::from(status.healthy));
        let pending = capture.get("pending").filter(|_| capture.contains_key("starting"));
        let waits = pending.is_some_and(|text| !text.is_empty() && !text.starts_with('-'));
        self.single("nixvol_pending_confirm", u8::from(waits));
    }

    fn drift(&mut self, status: &Status) {
        let mut counts: BTreeMap<&str, usize> = PARTS.into_iter().map(|part| (part, 0)).collect();
        for finding in &status.findings {
            let part = finding.about.split(' ').next().unwrap_or_default();
            *counts.entry(part).or_default() += 1;
        }
        self.family("nixvol_drift");
        for (part, count) in counts {
            self.sample("nixvol_drift", &[("part", part)], count);
        }
        self.single("nixvol_start_refusals", status.refused.len());
    }

    fn things(&mut self, plan: &Plan, status: &Status) {
        self.family("nixvol_provider_up");
        for it in &status.providers {
            self.sample("nixvol_provider_up", &[("provider", &it.name)], u8::from(it.state == "up"));
        }
        self.family("nixvol_volume_up");
        for (it, volume) in status.volumes.iter().zip(&plan.volumes) {
            let labels = [("provider", volume.provider.as_str()), ("volume", it.name.as_str())];
            let is_up = matches!(it.state, "up" | "ready for its guest");
            self.sample("nixvol_volume_up", &labels, u8::from(is_up));
        }
    }

    /// The conditions as declared, and whether dummynet has them.
    fn pipes(&mut self, plan: &Plan, status: &Status) {
        let pipes: Vec<(String, String)> =
            plan.pipes.iter().map(|pipe| (pipe.number.to_string(), pipe.way())).collect();
        if pipes.is_empty() {
            return;
        }
        let labels = |at: usize| [("path", pipes[at].1.as_str()), ("pipe", pipes[at].0.as_str())];
        self.family("nixvol_pipe_up");
        for (at, pipe) in status.pipes.iter().enumerate().filter(|(_, pipe)| pipe.state != "unknown") {
            self.sample("nixvol_pipe_up", &labels(at), u8::from(pipe.state == "up"));
        }
        self.family("nixvol_pipe_latency_seconds");
        for (at, pipe) in plan.pipes.iter().enumerate() {
            self.sample("nixvol_pipe_latency_seconds", &labels(at), f64::from(pipe.conditions.delay()) / 1e3);
        }
        self.family("nixvol_pipe_loss_ratio");
        for (at, pipe) in plan.pipes.iter().enumerate() {
            let loss = f64::from(pipe.conditions.loss_millionths()) / 1e6;
            self.sample("nixvol_pipe_loss_ratio", &labels(at), loss);
        }
        self.family("nixvol_pipe_bandwidth_bytes_per_second");
        for (at, pipe) in plan.pipes.iter().enumerate() {
            if let Some(kbit) = pipe.conditions.bandwidth_kbit {
                self.sample("nixvol_pipe_bandwidth_bytes_per_second", &labels(at), u64::from(kbit) * 125);
            }
        }
    }

    /// Partitions and slow paths.
    fn faults(&mut self, status: &Status) {
        if status.faults.is_empty() {
            return;
        }
        let labels = |it: &'_ OnDemand| {
            let to = it.to.clone().unwrap_or_else(|| "any".to_owned());
            [("action", it.action.clone()), ("from", it.from.clone()), ("to", to)]
        };
        self.family("nixvol_fault_in_force");
        for it in &status.faults {
            let labels = labels(it);
            let labels = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
            self.sample("nixvol_fault_in_force", &labels, u8::from(it.state == "in force"));
        }
        self.family("nixvol_fault_deadline_timestamp_seconds");
        for it in &status.faults {
            let labels = labels(it);
            let labels = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
            if let Some(deadline) = it.deadline {
                self.sample("nixvol_fault_deadline_timestamp_seconds", &labels, deadline);
            }
        }
    }

    fn states(&mut self, capture: &Capture) {
        let text = |file: &str| capture.get(file).map_or("", String::as_str);
        if let Some((states, limit)) = darwin::states(text("pfctl-info"), text("pfctl-memory")) {
            self.single("nixvol_pf_states", states);
            self.single("nixvol_pf_states_limit", limit);
        }
    }

    /// pf's counters by rule label: those of links by link, the others by label.
    fn traffic(&mut self, capture: &Capture) {
        let Some(labels) = capture.get("pfctl-anchor-labels").map(|text| darwin::labels(text)) else {
            return;
        };
        let links =
            || labels.iter().filter_map(|(label, counts)| Some((label.strip_prefix("link:")?, counts)));
        let others = || {
            let is_other = |(label, _): &(&String, &LabelCounters)| !label.starts_with("link:");
            labels.iter().filter(is_other).map(|(label, counts)| (label.as_str(), counts))
        };
        let counted: [(&str, Count); 2] =
            [("packets", |counts| counts.packets), ("bytes", |counts| counts.bytes)];
        for (unit, count) in counted {
            let name = format!("nixvol_link_{unit}");
            self.family(&name);
            self.directions(&name, "link", &mut links(), count);
            let name = format!("nixvol_rule_{unit}");
            self.family(&name);
            self.directions(&name, "rule", &mut others(), count);
        }
    }

    fn directions<'a>(
        &mut self,
        name: &str,
        label: &str,
        all: &mut dyn Iterator<Item = (&'a str, &'a LabelCounters)>,
        count: Count,
    ) {
        let name = format!("{name}_total");
        for (it, counts) in all {
            for (direction, value) in ["in", "out"].into_iter().zip(count(counts)) {
                self.sample(&name, &[("direction", direction), (label, it)], value);
            }
        }
    }
}

/// A label value, escaped for double quotes.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
