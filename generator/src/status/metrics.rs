//! A status as numbers in OpenMetrics text, for node_exporter's textfile collector and for scrapers.
//!
//! Only counters and gauges, which every reader supports. A value that the capture does not have is omitted rather than
//! 0.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Capture, Status};
use crate::darwin::{self, LabelCounters};
use crate::plan::Plan;

/// The values of the label for findings; each is exported even when it has none.
const PARTS: [&str; 11] = [
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
    /// The metadata of a metric family: name, type, unit if it has one, and help text.
    fn family(&mut self, name: &str, kind: &str, unit: Option<&str>, help: &str) {
        let _ = writeln!(self.0, "# TYPE {name} {kind}");
        if let Some(unit) = unit {
            let _ = writeln!(self.0, "# UNIT {name} {unit}");
        }
        let _ = writeln!(self.0, "# HELP {name} {help}");
    }

    fn gauge(&mut self, name: &str, unit: Option<&str>, help: &str) {
        self.family(name, "gauge", unit, help);
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

    /// A gauge with a single sample.
    fn single(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.gauge(name, None, help);
        self.sample(name, &[], value);
    }

    fn build(&mut self, plan: &Plan) {
        self.gauge(
            "nixvol_build_info",
            None,
            "Always 1: the version that judged, and the anchor that it judged.",
        );
        let labels = [("anchor", plan.anchor.as_str()), ("version", env!("CARGO_PKG_VERSION"))];
        self.sample("nixvol_build_info", &labels, 1);
    }

    fn health(&mut self, status: &Status, capture: &Capture) {
        let wished = u8::from(status.wish == Some("up"));
        self.single(
            "nixvol_wished_up",
            "Whether the network is to be up: it was started, and not stopped.",
            wished,
        );
        let healthy = u8::from(status.healthy);
        self.single("nixvol_healthy", "Whether the Mac is as wished.", healthy);
        let pending = capture.get("pending").filter(|_| capture.contains_key("starting"));
        let waits = pending.is_some_and(|text| !text.is_empty() && !text.starts_with('-'));
        let help = "Whether a start waits for its confirmation, and is rolled back without one.";
        self.single("nixvol_pending_confirm", help, u8::from(waits));
    }

    fn drift(&mut self, status: &Status) {
        let mut counts: BTreeMap<&str, usize> = PARTS.into_iter().map(|part| (part, 0)).collect();
        for finding in &status.findings {
            let part = finding.about.split(' ').next().unwrap_or_default();
            *counts.entry(part).or_default() += 1;
        }
        self.gauge("nixvol_drift", None, "How much of a part of the Mac is not as declared.");
        for (part, count) in counts {
            self.sample("nixvol_drift", &[("part", part)], count);
        }
        let help = "How many reasons there are for which a start would be refused.";
        self.single("nixvol_start_refusals", help, status.refused.len());
    }

    fn things(&mut self, plan: &Plan, status: &Status) {
        self.gauge("nixvol_provider_up", None, "Whether the bridge of a provider is as declared.");
        for it in &status.providers {
            self.sample("nixvol_provider_up", &[("provider", &it.name)], u8::from(it.state == "up"));
        }
        let help =
            "Whether a volume has its address and port; one whose mount point is not mounted has none.";
        self.gauge("nixvol_volume_up", None, help);
        for (it, volume) in status.volumes.iter().zip(&plan.volumes) {
            let labels = [("provider", volume.provider.as_str()), ("volume", it.name.as_str())];
            let is_up = matches!(it.state, "up" | "ready for its guest");
            self.sample("nixvol_volume_up", &labels, u8::from(is_up));
        }
    }

    /// The conditions as declared, and whether dummynet has them.
    fn pipes(&mut self, plan: &Plan, status: &Status) {
        let pipes: Vec<(String, String)> =
            plan.pipes.iter().map(|pipe| (pipe.number.to_string(), pipe.describe(&plan.bridges))).collect();
        if pipes.is_empty() {
            return;
        }
        let labels = |at: usize| [("path", pipes[at].1.as_str()), ("pipe", pipes[at].0.as_str())];
        self.gauge(
            "nixvol_pipe_up",
            None,
            "Whether dummynet has a pipe as declared; absent where it is not known.",
        );
        for (at, pipe) in status.pipes.iter().enumerate().filter(|(_, pipe)| pipe.state != "unknown") {
            self.sample("nixvol_pipe_up", &labels(at), u8::from(pipe.state == "up"));
        }
        let help = "The delay that a path is declared to have, one way.";
        self.gauge("nixvol_pipe_latency_seconds", Some("seconds"), help);
        for (at, pipe) in plan.pipes.iter().enumerate() {
            self.sample("nixvol_pipe_latency_seconds", &labels(at), f64::from(pipe.conditions.delay()) / 1e3);
        }
        self.gauge(
            "nixvol_pipe_loss_ratio",
            Some("ratio"),
            "The share of packets that a path is declared to lose.",
        );
        for (at, pipe) in plan.pipes.iter().enumerate() {
            let loss = f64::from(pipe.conditions.loss_millionths()) / 1e6;
            self.sample("nixvol_pipe_loss_ratio", &labels(at), loss);
        }
        let help = "The rate that a path is declared to have; absent where it has no limit.";
        self.gauge("nixvol_pipe_bandwidth_bytes_per_second", Some("bytes_per_second"), help);
        for (at, pipe) in plan.pipes.iter().enumerate() {
            if let Some(kbit) = pipe.conditions.bandwidth_kbit {
                self.sample("nixvol_pipe_bandwidth_bytes_per_second", &labels(at), u64::from(kbit) * 125);
            }
        }
    }

    fn states(&mut self, capture: &Capture) {
        let text = |file: &str| capture.get(file).map_or("", String::as_str);
        if let Some((states, limit)) = darwin::states(text("pfctl-info"), text("pfctl-memory")) {
            self.single("nixvol_pf_states", "How many states pf holds, of whatever anchor.", states);
            self.single(
                "nixvol_pf_states_limit",
                "How many it can hold; then new connections are dropped.",
                limit,
            );
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
        let seen = "as pf counts them: what the Mac sends to itself goes out and comes in.";
        let counted: [(&str, &str, Count); 2] =
            [("packets", "Packets", |counts| counts.packets), ("bytes", "Bytes", |counts| counts.bytes)];
        for (unit, word, count) in counted {
            let unit_of = (unit == "bytes").then_some("bytes");
            let name = format!("nixvol_link_{unit}");
            self.family(&name, "counter", unit_of, &format!("{word} that a link let through, {seen}"));
            self.directions(&name, "link", &mut links(), count);
            let name = format!("nixvol_rule_{unit}");
            self.family(
                &name,
                "counter",
                unit_of,
                &format!("{word} that rules beside those of links matched, {seen}"),
            );
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
