//! The Mac against the plan: what is there, what is not as declared, and who is in the way.
//!
//! It judges by what macOS's commands printed, live or captured, and by the rules as they are rendered now; it shares no
//! code with the manager, whose own verdict it can be held against. What is not in a capture it does not know: names in
//! the hosts file, and owners of files.
//! Sees: place, model, plan, pf, darwin. Never: the manager, a Mac, or a change of anything.

mod rules;
mod text;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::Serialize;

use crate::darwin::{self, Interface, Ledger, Route};
use crate::model::{ProviderAttachment, VolumeAttachment};
use crate::place::Harmless;
use crate::plan::{Bridge, Plan, Volume};

pub use text::text;

/// The files of a capture that must be there.
const NEEDED: [&str; 9] = [
    "version",
    "ifconfig",
    "netstat-rn",
    "sysctl",
    "pfctl-references",
    "pfctl-sn",
    "pfctl-sr",
    "pfctl-anchor-sn",
    "pfctl-anchor-sr",
];
/// The form of captures that is known.
const FORM: &str = "format\t1";

/// The texts of a capture by the names of their files.
pub type Capture = BTreeMap<String, String>;

/// How the Mac is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// `up`, `down`, or nothing where nobody started it.
    pub wish: Option<&'static str>,
    /// It is as wished.
    pub healthy: bool,
    /// Providers in the order of their names.
    pub providers: Vec<Provider>,
    /// Volumes in the order of theirs.
    pub volumes: Vec<Placed>,
    /// The interfaces that NAT is loaded for.
    pub ways_out: Vec<String>,
    /// What is not as it should be. Empty where it is healthy, and where it was never started.
    pub findings: Vec<Finding>,
}

/// A provider on the Mac.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Provider {
    /// Its name.
    pub name: String,
    /// The logical name of its bridge.
    pub bridge: String,
    /// The kernel's.
    pub kernel: Option<String>,
    /// `up`, `down`, `not as declared`, `waiting for vmnet`.
    pub state: &'static str,
}

/// A volume on the Mac.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Placed {
    /// Its name.
    pub name: String,
    /// The logical name of its port.
    pub port: Option<String>,
    /// The kernel's.
    pub kernel: Option<String>,
    /// Its address.
    pub address: Ipv4Addr,
    /// `up`, `down`, `not as declared`, `not mounted`, `ready for its guest`.
    pub state: &'static str,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about: `provider aws`, `volume etcd-1`, `rules`, `pf`, `forwarding`, `leftover`, `overlap`.
    pub about: String,
    /// What is wrong.
    pub what: String,
}

/// Why a capture cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// A file is not there.
    Missing(&'static str),
    /// It has another form.
    Form(String),
    /// A command failed on the Mac.
    Failed(&'static str),
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(file) => write!(
                f,
                "the capture has no `{file}`\nhint: make one on the Mac with `manage-macos-networking.sh logs --collect DIR`"
            ),
            Self::Form(found) => write!(f, "the capture has a form that is not known: `{}`", Harmless(found)),
            Self::Failed(file) => write!(
                f,
                "the command behind `{file}` failed on the Mac, so nothing is known\nhint: collect again"
            ),
        }
    }
}

impl std::error::Error for Unreadable {}

/// What was seen.
struct Seen<'a> {
    capture: &'a Capture,
    interfaces: BTreeMap<String, Interface>,
    routes: Vec<Route>,
    forwarding: bool,
    mounts: std::collections::BTreeSet<String>,
    names: BTreeMap<String, (String, Option<String>)>,
    ledger: Ledger,
}

impl<'a> Seen<'a> {
    fn of(capture: &'a Capture) -> Result<Self, Unreadable> {
        for file in NEEDED {
            let text = capture.get(file).ok_or(Unreadable::Missing(file))?;
            if text.lines().last() == Some("failed") {
                return Err(Unreadable::Failed(file));
            }
        }
        let form = capture["version"].lines().next().unwrap_or_default();
        if form != FORM {
            return Err(Unreadable::Form(form.to_owned()));
        }
        let (forwarding, boot) = darwin::kernel(&capture["sysctl"]).ok_or(Unreadable::Failed("sysctl"))?;
        let text = |file: &str| capture.get(file).map_or("", String::as_str);
        Ok(Self {
            capture,
            interfaces: darwin::interfaces(text("ifconfig")),
            routes: darwin::routes(text("netstat-rn")),
            forwarding,
            mounts: darwin::mounts(text("mount")),
            names: darwin::names(text("names")),
            ledger: darwin::ledger(text("ledger"), &boot),
        })
    }

    fn text(&self, file: &str) -> &str {
        self.capture.get(file).map_or("", String::as_str)
    }

    fn kernel(&self, logical: &str) -> Option<&str> {
        self.names.get(logical).map(|(kernel, _)| kernel.as_str())
    }

    fn has(&self, interface: &str, address: Ipv4Addr) -> Option<u8> {
        self.interfaces.get(interface)?.addresses.get(&address).copied()
    }

    fn made(&self, what: &[&str]) -> bool {
        self.ledger.have.iter().any(|record| record.iter().map(String::as_str).eq(what.iter().copied()))
    }

    fn is_mounted(&self, volume: &Volume) -> bool {
        volume.mount_point.as_ref().is_none_or(|path| self.mounts.contains(path.as_str()))
    }

    /// The bridge that vmnet made for a provider: the one that has its gateway and is none of ours.
    fn vmnet(&self, bridge: &Bridge) -> Option<&str> {
        let has = |(name, interface): &(&String, &Interface)| {
            name.starts_with("bridge")
                && interface.addresses.contains_key(&bridge.gateway.addr())
                && !self.made(&["if", name.as_str()])
        };
        self.interfaces.iter().find(has).map(|(name, _)| name.as_str())
    }

    fn bridge(&self, bridge: &Bridge) -> Option<&str> {
        match bridge.attachment {
            ProviderAttachment::Bridge => self.kernel(bridge.logical.as_str()),
            ProviderAttachment::Vmnet => self.vmnet(bridge),
        }
    }

    /// Interfaces that packets leave by, in order.
    fn ways_out(&self) -> Vec<String> {
        let leads = |route: &&Route| {
            let (name, length) = (route.interface.as_str(), route.destination.prefix_len());
            let is = |kinds: &[&str]| kinds.contains(&name.trim_end_matches(|c: char| c.is_ascii_digit()));
            let inside = ["lo", "bridge", "feth", "vmenet", "awdl", "llw", "ap", "gif", "stf"];
            let everywhere = length <= 1 && u32::from(route.destination.addr()).trailing_zeros() >= 31;
            let tunnel = is(&["utun", "ppp", "ipsec", "tun", "tap"])
                && !route.flags.contains(['H', 'W'])
                && length > 0;
            (everywhere && !is(&inside)) || tunnel
        };
        let addressed = |name: &&str| self.interfaces.get(*name).is_some_and(|it| !it.addresses.is_empty());
        let names = self.routes.iter().filter(leads).map(|route| route.interface.as_str()).filter(addressed);
        names.map(str::to_owned).collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }
}

/// Holds a capture against a plan and the anchor that is rendered from it.
///
/// # Errors
/// A capture that cannot be read.
pub fn status(plan: &Plan, anchor: &str, capture: &Capture) -> Result<Status, Unreadable> {
    let seen = Seen::of(capture)?;
    let wish = match seen.text("wish").trim() {
        "up" => Some("up"),
        "down" => Some("down"),
        _ => None,
    };
    let is_up = wish == Some("up");
    let mut judge = Judge { plan, seen: &seen, findings: Vec::new() };
    let (mut providers, mut volumes) = (Vec::new(), Vec::new());
    for bridge in &plan.bridges {
        let state = if is_up { judge.provider(bridge) } else { "down" };
        let kernel = seen.bridge(bridge).map(str::to_owned);
        providers.push(Provider {
            name: bridge.provider.to_string(),
            bridge: bridge.logical.to_string(),
            kernel,
            state,
        });
    }
    for volume in &plan.volumes {
        let state = if is_up { judge.volume(volume) } else { "down" };
        let port = volume.port.as_ref().map(ToString::to_string);
        let kernel = port.as_ref().and_then(|port| seen.kernel(port)).map(str::to_owned);
        volumes.push(Placed { name: volume.name.to_string(), port, kernel, address: volume.address, state });
    }
    let ways_out = seen.ways_out();
    if is_up {
        judge.surroundings(anchor, &ways_out);
    } else {
        judge.leftovers();
    }
    let findings = judge.findings;
    Ok(Status {
        wish,
        healthy: wish.is_some() && findings.is_empty(),
        providers,
        volumes,
        ways_out,
        findings,
    })
}

struct Judge<'a> {
    plan: &'a Plan,
    seen: &'a Seen<'a>,
    findings: Vec<Finding>,
}

impl Judge<'_> {
    fn tell(&mut self, about: impl Into<String>, what: impl Into<String>) {
        self.findings.push(Finding { about: about.into(), what: what.into() });
    }

    fn provider(&mut self, bridge: &Bridge) -> &'static str {
        let before = self.findings.len();
        let about = format!("provider {}", bridge.provider);
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
                    self.tell(&about, format!("{name} belongs to another program now"))
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
        let routed = |route: &&Route| route.destination == bridge.network && !route.flags.contains('I');
        let through = self.seen.routes.iter().filter(routed).next_back().map(|route| route.interface.clone());
        if !own && through.as_deref() != Some(name.as_str()) {
            let now = through.map_or(String::new(), |through| format!(": it goes to {through}"));
            self.tell(&about, format!("{} is not routed to {both}{now}", bridge.network));
        }
        if self.findings.len() > before { "not as declared" } else { "up" }
    }

    fn volume(&mut self, volume: &Volume) -> &'static str {
        if !self.seen.is_mounted(volume) {
            return "not mounted";
        }
        let before = self.findings.len();
        let about = format!("volume {}", volume.name);
        if let Some(port) = &volume.port {
            self.port(&about, volume, port.as_str());
        }
        let is_host = volume.attachment == VolumeAttachment::Host;
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

    /// A port is a pair, joined, with its far end in the bridge of the provider.
    fn port(&mut self, about: &str, volume: &Volume, port: &str) {
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

    /// What all of them need: the group's address, rules in force, pf on, forwarding, and nobody else in the way.
    fn surroundings(&mut self, anchor: &str, ways_out: &[String]) {
        let group = self.plan.localhost.gateway.addr();
        if self.seen.has("lo0", group).is_none() {
            self.tell("localhost", format!("lo0 has no {group}"));
        }
        let calls = darwin::calls(self.seen.text("pfctl-sn"), self.seen.text("pfctl-sr"));
        let missing: Vec<&str> = ["nat", "rdr", "filter"]
            .into_iter()
            .zip(calls)
            .filter(|(_, called)| !called)
            .map(|(word, _)| word)
            .collect();
        if !missing.is_empty() {
            let what = format!(
                "the main ruleset does not call com.apple/* for {}: no rule of ours is in force",
                missing.join(", ")
            );
            self.tell("pf", what);
        }
        if darwin::skips_loopback(self.seen.text("pfctl-interfaces")) {
            self.tell("pf", "pf skips lo0: no rule of ours is in force between volumes of this Mac");
        }
        for what in rules::differences(self.plan, anchor, ways_out, self.seen.capture) {
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
        self.overlaps();
        self.unwanted();
    }

    /// Routes and addresses of others inside the providers' networks.
    fn overlaps(&mut self) {
        let ours: Vec<&str> =
            self.plan.bridges.iter().filter_map(|bridge| self.seen.bridge(bridge)).collect();
        let known = |net: Ipv4Net, interface: &str, flags: &str| {
            let on_loopback = interface == "lo0" && net.prefix_len() == 32;
            let own = self.seen.interfaces.iter().any(|(name, it)| {
                it.addresses.contains_key(&net.addr())
                    && ours.contains(&name.as_str())
                    && net.prefix_len() == 32
            });
            ours.contains(&interface)
                || flags.contains('W')
                || own
                || (on_loopback && self.seen.made(&["address", "lo0", &net.addr().to_string()]))
        };
        let routes = self
            .seen
            .routes
            .iter()
            .map(|route| (route.destination, route.interface.as_str(), route.flags.as_str(), "route"));
        let addresses = self.seen.interfaces.iter().flat_map(|(name, interface)| {
            let net = |(address, length): (&Ipv4Addr, &u8)| Ipv4Net::new(*address, *length).ok();
            interface.addresses.iter().filter_map(net).map(move |net| (net, name.as_str(), "", "address"))
        });
        let mut found = Vec::new();
        for (net, interface, flags, what) in routes.chain(addresses) {
            let everywhere =
                net.prefix_len() == 0 || (net.prefix_len() == 1 && u32::from(net.network()) % (1 << 31) == 0);
            let host = if what == "address" { Ipv4Net::from(net.addr()) } else { net };
            let allowed = self.plan.allow_overlap.iter().any(|allowed| allowed.contains(&net));
            let is_known = known(if interface == "lo0" { net } else { host }, interface, flags);
            if (what == "route" && everywhere) || allowed || is_known {
                continue;
            }
            for bridge in &self.plan.bridges {
                if bridge.network.contains(&host) || host.contains(&bridge.network) {
                    found.push(format!(
                        "the network {} of {} overlaps the {what} {net} on {interface}",
                        bridge.network, bridge.provider
                    ));
                }
            }
        }
        found.dedup();
        found.into_iter().for_each(|what| self.tell("overlap", what));
    }

    /// What was made for something that is no longer declared, or not mounted.
    fn unwanted(&mut self) {
        let mut wanted: std::collections::BTreeSet<String> = std::collections::BTreeSet::new();
        wanted.insert(self.plan.localhost.gateway.addr().to_string());
        for bridge in &self.plan.bridges {
            wanted.extend([bridge.gateway.addr().to_string(), bridge.network.to_string()]);
            wanted.extend(self.seen.kernel(bridge.logical.as_str()).map(str::to_owned));
        }
        for volume in self.plan.volumes.iter().filter(|volume| self.seen.is_mounted(volume)) {
            if volume.attachment == VolumeAttachment::Host {
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

    /// What is still there of what the manager made, though the wish is down.
    fn leftovers(&mut self) {
        self.remains(|_| true);
        let anchor = self.plan.anchor.as_str();
        if self.seen.made(&["anchor", anchor]) && !self.seen.text("pfctl-anchor-sr").trim().is_empty() {
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

    /// Whether a bridge of vmnet or Internet Sharing is there, which needs forwarding itself.
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
                ["route", network, interface] if unwanted(network) => {
                    let is_it = |route: &Route| {
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
        found.into_iter().for_each(|what| self.tell("leftover", what));
    }
}
