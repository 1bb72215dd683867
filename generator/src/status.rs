//! Compares the Mac with the plan: what exists, what is not as declared, and what conflicts.
//!
//! The comparison uses the output of macOS's commands, live or captured, and the rules as they are rendered now. It
//! shares no code with the manager, so that the two verdicts can be compared. What a capture lacks is not checked:
//! names in the hosts file, and owners of files. Sees: place, model, plan, loading, pf, darwin, others. Never: calls
//! the manager, accesses a Mac, or changes anything.

mod faults;
mod free;
mod judge;
mod metrics;
mod outside;
mod rules;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::Serialize;

use crate::darwin::{self, DummynetPipe, InterfaceState, Ledger, RouteEntry};
use crate::model::ProviderAttachment;
use crate::place::Harmless;
use crate::plan::{Bridge, Plan, PlannedVolume};

pub use faults::OnDemand;
use free::Moves;
use judge::StateComparison;
pub use metrics::metrics;
use outside::Overlap;
pub use text::text;

/// The files that every capture must have.
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
/// Files that a capture has only if pipes are declared and the manager is recent enough to check them.
const OF_PIPES: [&str; 3] = ["dnctl-list", "pfctl-dummynet", "pfctl-anchor-dummynet"];
/// The supported format of captures.
const FORM: &str = "format\t1";

/// The files of a capture: text by file name.
pub type Capture = BTreeMap<String, String>;

/// The state of the Mac, compared with the plan.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The last requested state, `up` or `down`; null if the network was never started.
    pub wish: Option<&'static str>,
    /// Whether the Mac is as requested.
    pub healthy: bool,
    /// The providers, sorted by name.
    pub providers: Vec<ProviderState>,
    /// The volumes, sorted by name.
    pub volumes: Vec<VolumeState>,
    /// The dummynet pipes, sorted by number. Each emulates the conditions of one path.
    pub pipes: Vec<PipeState>,
    /// Partitions and slow paths that the manager's `partition` and `slow` made, the latest first.
    pub faults: Vec<OnDemand>,
    /// The egress interfaces for which NAT rules are loaded.
    pub ways_out: Vec<String>,
    /// The egress interface of the default route.
    pub default_interface: Option<String>,
    /// Reasons why a start would be refused, if the network is down or was never started.
    pub refused: Vec<String>,
    /// Lines of a declaration that move every provider whose network collides to a free network.
    pub advice: Vec<String>,
    /// What differs from the declaration or conflicts with it. Empty if healthy, or never started.
    pub findings: Vec<StatusFinding>,
    /// Information that needs no action.
    pub notes: Vec<String>,
}

/// A provider on the Mac.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Provider")]
pub struct ProviderState {
    /// The name of the provider.
    pub name: String,
    /// The logical name of its bridge.
    pub bridge: String,
    /// The kernel name of its bridge, if the bridge exists.
    pub kernel: Option<String>,
    /// The address of the bridge, with the prefix length of its interface.
    #[schemars(with = "String")]
    pub gateway: Ipv4Net,
    /// The provider's network, which is routed to the bridge.
    #[schemars(with = "String")]
    pub network: Ipv4Net,
    /// `up`, `down`, `not as declared` or `waiting for vmnet`.
    pub state: &'static str,
}

/// A volume on the Mac.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Placed")]
pub struct VolumeState {
    /// The name of the volume.
    pub name: String,
    /// The provider that it belongs to.
    pub provider: String,
    /// The logical name of its bridge port; null if it has none.
    pub port: Option<String>,
    /// The kernel name of that port, if the port exists.
    pub kernel: Option<String>,
    /// The volume's address.
    pub address: Ipv4Addr,
    /// Its alias on lo0, in the localhost group.
    pub localhost: Option<Ipv4Addr>,
    /// Its mount point; the addresses exist only while something is mounted there.
    pub mount_point: Option<String>,
    /// `up`, `down`, `not as declared`, `not mounted` or `ready for its guest`.
    pub state: &'static str,
}

/// A pipe of dummynet on the Mac.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Piped")]
pub struct PipeState {
    /// The number of the pipe.
    pub number: u16,
    /// The declared conditions, in words.
    pub conditions: String,
    /// The delay that the pipe adds to each packet, in milliseconds.
    pub latency_ms: u16,
    /// The share of packets that the pipe loses, from 0 to 1.
    pub loss: f64,
    /// The bandwidth in kilobits per second; null means no limit.
    pub bandwidth_kbit: Option<u32>,
    /// The sources and destinations of the packets that go through the pipe.
    pub way: String,
    /// `up`, `down`, `missing`, `not as declared`, `of another program`, or `unknown` if the capture does not show it.
    pub state: &'static str,
}

/// One difference or conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Finding")]
pub struct StatusFinding {
    /// The subject: `provider aws`, `volume etcd-1`, `pipe 20000`, `localhost`, `rules`, `pf`, `forwarding`,
    /// `leftover`, `overlap`, `others`, `launchd`, `faults` or `look`.
    pub about: String,
    /// What is wrong.
    pub what: String,
}

/// Why a capture cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// The capture lacks this file.
    Missing(&'static str),
    /// The capture has this format, which is not supported.
    Form(String),
    /// The command whose output is this file failed on the Mac.
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

/// The captured state of the Mac.
struct Seen<'a> {
    capture: &'a Capture,
    interfaces: BTreeMap<String, InterfaceState>,
    routes: Vec<RouteEntry>,
    forwarding: bool,
    mounts: BTreeSet<String>,
    names: BTreeMap<String, (String, Option<String>)>,
    ledger: Ledger,
    /// `None` if the capture has no list of pipes.
    pipes: Option<BTreeMap<u16, DummynetPipe>>,
}

impl<'a> Seen<'a> {
    fn of(capture: &'a Capture) -> Result<Self, Unreadable> {
        for file in NEEDED {
            capture.get(file).ok_or(Unreadable::Missing(file))?;
        }
        for file in NEEDED.into_iter().chain(OF_PIPES) {
            if capture.get(file).is_some_and(|text| text.lines().last() == Some("failed")) {
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
            pipes: capture.get("dnctl-list").map(|text| darwin::pipes(text)),
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

    fn is_mounted(&self, volume: &PlannedVolume) -> bool {
        volume.mount_point.as_ref().is_none_or(|path| self.mounts.contains(path.as_str()))
    }

    /// The bridge that vmnet created for a provider: one with the provider's gateway address that the manager did not
    /// create.
    fn vmnet(&self, bridge: &Bridge) -> Option<&str> {
        let has = |(name, interface): &(&String, &InterfaceState)| {
            name.starts_with("bridge")
                && interface.addresses.contains_key(&bridge.gateway.addr())
                && !self.made(&["if", name.as_str()])
        };
        self.interfaces.iter().find(has).map(|(name, _)| name.as_str())
    }

    /// Like [`Self::vmnet`], for providers attached to vmnet only.
    fn vmnet_of(&self, bridge: &Bridge) -> Option<&str> {
        (bridge.attachment == ProviderAttachment::Vmnet).then(|| self.vmnet(bridge)).flatten()
    }

    fn bridge(&self, bridge: &Bridge) -> Option<&str> {
        match bridge.attachment {
            ProviderAttachment::Bridge => self.kernel(bridge.logical.as_str()),
            ProviderAttachment::Vmnet => self.vmnet(bridge),
        }
    }
}

/// Compares a capture with a plan and the anchor rendered from it.
///
/// # Errors
/// The capture cannot be read.
pub fn status(plan: &Plan, anchor: &str, capture: &Capture) -> Result<Status, Unreadable> {
    let seen = Seen::of(capture)?;
    let wish = match seen.text("wish").trim() {
        "up" => Some("up"),
        "down" => Some("down"),
        _ => None,
    };
    let is_up = wish == Some("up");
    let mut judge = StateComparison { plan, seen: &seen, findings: Vec::new(), notes: Vec::new() };
    let (mut providers, mut volumes) = (Vec::new(), Vec::new());
    for bridge in &plan.bridges {
        let state = if is_up { judge.provider(bridge) } else { "down" };
        let kernel = seen.bridge(bridge).map(str::to_owned);
        providers.push(ProviderState {
            name: bridge.provider.to_string(),
            bridge: bridge.logical.to_string(),
            kernel,
            gateway: bridge.gateway,
            network: bridge.network,
            state,
        });
    }
    for volume in &plan.volumes {
        let state = if is_up { judge.volume(volume) } else { "down" };
        let port = volume.port.as_ref().map(ToString::to_string);
        let kernel = port.as_ref().and_then(|port| seen.kernel(port)).map(str::to_owned);
        volumes.push(VolumeState {
            name: volume.name.to_string(),
            provider: volume.provider.to_string(),
            port,
            kernel,
            address: volume.address,
            localhost: volume.alias,
            mount_point: volume.mount_point.as_ref().map(ToString::to_string),
            state,
        });
    }
    let mut pipes = Vec::new();
    for pipe in &plan.pipes {
        let state = if is_up { judge.pipe(pipe) } else { "down" };
        let it = pipe.conditions;
        pipes.push(PipeState {
            number: pipe.number,
            conditions: it.to_string(),
            latency_ms: it.delay(),
            loss: it.loss.unwrap_or(0.0),
            bandwidth_kbit: it.bandwidth_kbit,
            way: pipe.way(),
            state,
        });
    }
    let faults = faults::faults(capture, is_up);
    if faults.iter().any(|fault| fault.state == "not in force") {
        judge.tell("faults", faults::NOT_IN_FORCE);
    }
    let overlaps = seen.overlaps(plan);
    let moves = seen.moves(plan, &overlaps);
    let advice = free::advice(plan, &moves);
    let mut refused: Vec<String> = overlaps.into_iter().map(|overlap| proposed(overlap, &moves)).collect();
    if is_up {
        judge.surroundings(anchor, std::mem::take(&mut refused));
    } else {
        judge.leftovers();
    }
    let StateComparison { findings, notes, plan: _, seen: _ } = judge;
    Ok(Status {
        wish,
        healthy: wish.is_some() && findings.is_empty(),
        providers,
        volumes,
        pipes,
        faults,
        ways_out: seen.ways_out(plan),
        default_interface: seen.default_interface().map(str::to_owned),
        refused,
        advice,
        findings,
        notes,
    })
}

/// The description of an overlap, with advice on what to do.
fn proposed(overlap: Overlap, moves: &Moves<'_>) -> String {
    let Overlap { provider, text } = overlap;
    match moves.get(provider.as_str()) {
        Some((_, Some(free))) => format!("{text}: {free} is free; or name it in allowOverlap"),
        _ => format!("{text}; or name it in allowOverlap"),
    }
}
