//! The individual checks, which report what is not as declared.

use std::collections::{BTreeMap, BTreeSet};

use super::record::StatusFinding;
use super::rules;
use super::seen::Seen;
use crate::darwin::{self, RouteEntry};
use crate::model::ProviderAttachment;
use crate::others::others;
use crate::pf::{self, Environment};
use crate::place::Harmless;
use crate::plan::{Bridge, Pipe, Plan, PlannedVolume};

/// Compares the captured state with the plan.
pub(super) struct StateComparison<'a> {
    pub plan: &'a Plan,
    pub seen: &'a Seen<'a>,
    pub findings: Vec<StatusFinding>,
    pub notes: Vec<String>,
}

impl StateComparison<'_> {
    pub fn tell(&mut self, about: impl Into<String>, what: impl Into<String>) {
        self.findings.push(StatusFinding { about: about.into(), what: what.into() });
    }

    /// Checks a provider's bridge, and the route to it. Returns its state.
    pub fn provider(&mut self, bridge: &Bridge) -> &'static str {
        let before = self.findings.len();
        let about = format!("provider {}", bridge.provider);
        if !bridge.is_here() {
            return self.remote(&about, bridge);
        }
        let (gateway, length) = (bridge.gateway.addr(), bridge.gateway.prefix_len());
        let name = match (bridge.attachment, self.seen.bridge(bridge)) {
            (ProviderAttachment::Vmnet, None) => return "waiting for vmnet",
            (_, None) => {
                self.tell(about, format!("{} was never made", bridge.logical));
                return "not as declared";
            }
            (_, Some(name)) => name.to_owned(),
        };
        let both = format!("{} ({name})", bridge.logical);
        if bridge.attachment == ProviderAttachment::Bridge {
            match self.seen.interfaces.get(&name) {
                Some(_) if !self.seen.made(&["if", &name]) => {
                    self.tell(&about, format!("{name} belongs to another program now"));
                }
                None => self.tell(&about, format!("{both} is gone")),
                Some(interface) if !interface.running => self.tell(&about, format!("{both} is not running")),
                Some(_) => {}
            }
            match self.seen.has(&name, gateway) {
                Some(found) if found == length => {}
                Some(found) => self.tell(&about, format!("{both} has {gateway}/{found}, not /{length}")),
                None => self.tell(&about, format!("{both} has no address {gateway}/{length}")),
            }
        }
        let own = self.seen.has(&name, gateway) == Some(bridge.network.prefix_len());
        let routed = |route: &&RouteEntry| route.destination == bridge.network && !route.flags.contains('I');
        let through = self.seen.routes.iter().rfind(routed).map(|route| route.interface.clone());
        if !own && through.as_deref() != Some(name.as_str()) {
            let now = through.map_or(String::new(), |through| format!(": it goes to {through}"));
            self.tell(&about, format!("{} is not routed to {both}{now}", bridge.network));
        }
        if self.findings.len() > before { "not as declared" } else { "up" }
    }

    /// Checks the route to a provider on another Mac. Returns its state. A tunnel that is absent holds nothing up.
    fn remote(&mut self, about: &str, bridge: &Bridge) -> &'static str {
        let Some(tunnel) = self.seen.tunnel(self.plan) else { return "waiting for the mesh" };
        let is_there =
            |route: &&RouteEntry| route.destination == bridge.network && !route.flags.contains('I');
        let through = self.seen.routes.iter().rfind(is_there).map(|route| route.interface.as_str());
        if through == Some(tunnel) {
            return "on another Mac";
        }
        let now = through.map_or(String::new(), |through| format!(": it goes to {through}"));
        self.tell(about, format!("{} is not routed to the tunnel {tunnel}{now}", bridge.network));
        "not as declared"
    }

    /// Checks a volume's port and addresses. Returns its state.
    pub fn volume(&mut self, volume: &PlannedVolume) -> &'static str {
        if !volume.is_here() {
            return "on another Mac";
        }
        if !self.seen.is_mounted(volume) {
            return "not mounted";
        }
        let before = self.findings.len();
        let about = format!("volume {}", volume.name);
        if let Some(port) = &volume.port {
            self.port(&about, volume, port.as_str());
        }
        let is_host = volume.is_served();
        for address in is_host.then_some(volume.address).into_iter().chain(volume.alias) {
            if self.seen.has("lo0", address).is_none() {
                self.tell(&about, format!("lo0 has no {address}"));
            }
        }
        match self.findings.len() > before {
            true => "not as declared",
            false if is_host => "up",
            false => "ready for its guest",
        }
    }

    /// Checks that a port is a connected feth pair whose far interface is a member of the provider's bridge.
    fn port(&mut self, about: &str, volume: &PlannedVolume, port: &str) {
        let Some((near, Some(far))) = self.seen.names.get(port).cloned() else {
            self.tell(about, format!("{port} was never made"));
            return;
        };
        for (name, end) in [(&near, "near"), (&far, "far")] {
            match self.seen.interfaces.get(name) {
                None => self.tell(about, format!("the {end} end of {port} ({name}) is gone")),
                Some(_) if !self.seen.made(&["if", name]) => {
                    self.tell(about, format!("{name} belongs to another program now"));
                }
                Some(interface) if !interface.running => {
                    self.tell(about, format!("the {end} end of {port} ({name}) is not running"));
                }
                Some(_) => {}
            }
        }
        let peer = self.seen.interfaces.get(&near).and_then(|interface| interface.peer.as_ref());
        if peer != Some(&far) {
            self.tell(about, format!("the ends of {port} ({near}, {far}) are not joined"));
        }
        let bridge = self.plan.bridges.iter().find(|bridge| bridge.provider == volume.provider);
        let kernel = bridge.and_then(|bridge| self.seen.bridge(bridge)).unwrap_or_default();
        let is_member = self.seen.interfaces.get(kernel).is_some_and(|it| it.members.contains(&far));
        if !is_member {
            let bridge = bridge.map(|bridge| bridge.logical.to_string()).unwrap_or_default();
            self.tell(about, format!("{port} ({far}) is not in {bridge} ({kernel})"));
        }
    }

    /// Checks a dummynet pipe. Returns its state.
    pub fn pipe(&mut self, pipe: &Pipe) -> &'static str {
        let Some(pipes) = &self.seen.pipes else { return "unknown" };
        let (number, conditions) = (pipe.number, pipe.conditions);
        let wanted = darwin::DummynetPipe {
            delay: conditions.delay().into(),
            loss: conditions.loss_millionths(),
            rate: u64::from(conditions.bandwidth_kbit.unwrap_or(0)) * 1_000_000,
        };
        let both = format!("{} ({conditions})", pipe.way());
        let (state, what) = match pipes.get(&number) {
            None => ("missing", format!("{both} is gone, and its packets are lost")),
            Some(_) if !self.seen.made(&["pipe", &number.to_string()]) => {
                ("of another program", format!("another program has the number that {both} needs"))
            }
            Some(found) if *found != wanted => {
                ("not as declared", format!("{both} was changed to {}", like(*found)))
            }
            Some(_) => return "up",
        };
        self.tell(format!("pipe {number}"), what);
        state
    }

    /// Checks what the whole network needs: the group's address, rules in force, pf enabled, IP forwarding, and no
    /// conflicts with others.
    pub fn surroundings(&mut self, anchor: &str, overlaps: Vec<String>) {
        let group = self.plan.localhost.gateway.addr();
        if self.seen.has("lo0", group).is_none() {
            self.tell("localhost", format!("lo0 has no {group}"));
        }
        let calls = darwin::calls(self.seen.text("pfctl-sn"), self.seen.text("pfctl-sr"));
        let scrubs = anchor.lines().any(|line| line.starts_with("scrub "));
        let missing: Vec<&str> = ["nat", "rdr", "filter", "scrub"]
            .into_iter()
            .zip(calls)
            .filter(|(word, called)| !called && (*word != "scrub" || scrubs))
            .map(|(word, _)| word)
            .collect();
        if !missing.is_empty() {
            let what = format!(
                "the main ruleset does not call com.apple/* for {}: no rule of ours is in force",
                missing.join(", ")
            );
            self.tell("pf", what);
        }
        let calls_dummynet = self.seen.capture.get("pfctl-dummynet").map(|text| darwin::calls_dummynet(text));
        if !self.plan.pipes.is_empty() && calls_dummynet == Some(false) {
            self.tell(
                "pf",
                "the main ruleset does not call com.apple/* for dummynet: no condition of a link has an effect",
            );
        }
        if darwin::skips_loopback(self.seen.text("pfctl-interfaces")) {
            self.tell("pf", "pf skips lo0: no rule of ours is in force between volumes of this Mac");
        }
        self.others();
        self.health();
        for what in rules::differences(self.plan, anchor, self.seen) {
            self.tell("rules", what);
        }
        let listed = darwin::references(self.seen.text("pfctl-references"));
        match &self.seen.ledger.token {
            Some(token) if listed.iter().any(|reference| reference.token == *token) => {}
            _ => self.tell("pf", "our reference to pf is gone: another program may turn pf off"),
        }
        if !self.seen.forwarding {
            self.tell("forwarding", "IP forwarding is off");
        }
        for what in overlaps {
            self.tell("overlap", what);
        }
        self.unwanted();
    }

    /// Checks the launchd job, and the remaining capacity of pf's state table.
    fn health(&mut self) {
        if let Some(text) =
            self.seen.capture.get("launchctl-print").filter(|text| !text.ends_with("failed\n"))
        {
            let job = darwin::job(text);
            let program = format!("{}/networking/manage-macos-networking.sh", self.plan.base.as_str());
            if job.disabled {
                self.tell("launchd", "our job is disabled (in Login Items?)");
            } else if !job.loaded {
                self.tell(
                    "launchd",
                    "our job is not loaded: nothing repairs the network or starts it after a restart",
                );
            }
            if job.loaded && job.program != program {
                self.tell(
                    "launchd",
                    format!("it runs {} for our job, not {program}", Harmless(&job.program)),
                );
            } else if job.differs {
                self.tell("launchd", "it loaded a plist that differs from the installed one");
            }
        }
        if let Some((entries, limit)) =
            darwin::states(self.seen.text("pfctl-info"), self.seen.text("pfctl-memory"))
            && limit > 0
            && entries.saturating_mul(10) > limit.saturating_mul(8)
        {
            self.tell(
                "pf",
                format!("it holds {entries} of {limit} states; at the limit no new connection succeeds"),
            );
        }
    }

    /// Checks what else decides on this Mac.
    fn others(&mut self) {
        let text = |file: &str| self.seen.text(file).to_owned();
        let mut texts = darwin::anchors(&text("pfctl-others"));
        // The manager flushes anchors of its earlier bundles.
        texts.retain(|path, _| !self.seen.made(&["anchor", path]));
        texts.insert(String::new(), text("pfctl-sn") + &text("pfctl-sr") + &text("pfctl-dummynet"));
        let mut loaded = BTreeMap::new();
        for (path, text) in &texts {
            match pf::parse(&darwin::in_order(text), &Environment::default()) {
                Ok(ruleset) => drop(loaded.insert(path.as_str(), ruleset.rules)),
                Err(_) => self.notes.push(match path.as_str() {
                    "" => "the main ruleset cannot be read: what else decides is not known".to_owned(),
                    path => format!(
                        "the anchor {path} cannot be read: whether it decides before ours is not known"
                    ),
                }),
            }
        }
        let bridges: Vec<&str> = self.plan.own_bridges().filter_map(|it| self.seen.bridge(it)).collect();
        let rules = loaded.iter().map(|(path, rules)| (*path, rules)).collect();
        for other in others(self.plan, &rules, &bridges) {
            if other.decides { self.tell("others", other.what) } else { self.notes.push(other.what) }
        }
    }

    /// Reports objects of the manager that are no longer declared, or whose volume is not mounted.
    fn unwanted(&mut self) {
        let mut wanted: BTreeSet<String> = BTreeSet::new();
        wanted.insert(self.plan.localhost.gateway.addr().to_string());
        for bridge in self.plan.own_bridges() {
            wanted.extend([bridge.gateway.addr().to_string(), bridge.network.to_string()]);
            wanted.extend(self.seen.kernel(bridge.logical.as_str()).map(str::to_owned));
        }
        wanted.extend(self.plan.pipes.iter().map(|pipe| pipe.number.to_string()));
        // The two pipes of every `slow` that the manager has in force.
        let slow =
            self.seen.text("faults").lines().filter_map(|line| line.split('\t').nth(6)?.parse::<u16>().ok());
        wanted.extend(slow.flat_map(|pipe| [pipe, pipe.saturating_sub(1)]).map(|pipe| pipe.to_string()));
        for volume in self.plan.own_volumes().filter(|volume| self.seen.is_mounted(volume)) {
            if volume.is_served() {
                wanted.insert(volume.address.to_string());
            }
            wanted.extend(volume.alias.map(|alias| alias.to_string()));
            if let Some((near, far)) =
                volume.port.as_ref().and_then(|port| self.seen.names.get(port.as_str()))
            {
                wanted.extend([Some(near.clone()), far.clone()].into_iter().flatten());
            }
        }
        self.remains(|what| !wanted.contains(what));
    }

    /// Reports objects of the manager that still exist although the network should be down.
    pub fn leftovers(&mut self) {
        self.remains(|_| true);
        let anchor = self.plan.anchor.as_str();
        let loaded = ["pfctl-anchor-sr", "pfctl-anchor-dummynet"]
            .iter()
            .any(|file| !self.seen.text(file).trim().is_empty());
        if self.seen.made(&["anchor", anchor]) && loaded {
            self.tell("leftover", format!("rules are still loaded in {anchor}"));
        }
        if self.seen.ledger.token.is_some() {
            self.tell("leftover", "our reference keeps pf on");
        }
        if self.seen.ledger.forwarding_before == Some(false) && self.seen.forwarding && !self.others_forward()
        {
            self.tell("leftover", "IP forwarding is still on");
        }
    }

    /// Whether there is a bridge of vmnet or Internet Sharing, which needs IP forwarding too.
    fn others_forward(&self) -> bool {
        let others = |name: &String| {
            let unit = name.strip_prefix("bridge").and_then(|unit| unit.parse::<u32>().ok());
            unit.is_some_and(|unit| unit >= 100) && !self.seen.made(&["if", name])
        };
        self.seen.interfaces.keys().any(others)
    }

    fn remains(&mut self, unwanted: impl Fn(&str) -> bool) {
        let mut found = Vec::new();
        for record in &self.seen.ledger.have {
            let words: Vec<&str> = record.iter().map(String::as_str).collect();
            match words.as_slice() {
                ["if", name] if unwanted(name) && self.seen.interfaces.contains_key(*name) => {
                    found.push(format!("{name} is still there"));
                }
                ["address", interface, address] if unwanted(address) => {
                    let there = address.parse().ok().and_then(|address| self.seen.has(interface, address));
                    found.extend(there.map(|_| format!("{interface} still has {address}")));
                }
                ["pipe", number] if unwanted(number) => {
                    let pipes = self.seen.pipes.as_ref();
                    let there = pipes.zip(number.parse().ok()).filter(|(pipes, it)| pipes.contains_key(it));
                    found.extend(there.map(|_| format!("pipe {number} is still there")));
                }
                ["route", network, interface] if unwanted(network) => {
                    let is_it = |route: &RouteEntry| {
                        route.destination.to_string() == *network && route.interface == *interface
                    };
                    found.extend(
                        self.seen
                            .routes
                            .iter()
                            .any(is_it)
                            .then(|| format!("{network} is still routed to {interface}")),
                    );
                }
                _ => {}
            }
        }
        for what in found {
            self.tell("leftover", what);
        }
    }
}

/// A pipe's settings, in the wording of conditions.
fn like(pipe: darwin::DummynetPipe) -> String {
    let mut words = vec![format!("{} ms", pipe.delay)];
    if pipe.loss > 0 {
        words.push(format!("{}% lost", f64::from(pipe.loss) / 1e4));
    }
    if pipe.rate > 0 {
        words.push(format!("{} kbit/s", pipe.rate / 1_000_000));
    }
    words.join(", ")
}
