//! A capture as it was read: interfaces, routes, mounts, names, pipes and the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::darwin::{self, DummynetPipe, InterfaceState, Ledger, RouteEntry};
use crate::model::ProviderAttachment;
use crate::place::Harmless;
use crate::plan::{Bridge, PlannedVolume};

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
pub(super) struct Seen<'a> {
    pub(super) capture: &'a Capture,
    pub(super) interfaces: BTreeMap<String, InterfaceState>,
    pub(super) routes: Vec<RouteEntry>,
    pub(super) forwarding: bool,
    pub(super) mounts: BTreeSet<String>,
    pub(super) names: BTreeMap<String, (String, Option<String>)>,
    pub(super) ledger: Ledger,
    /// `None` if the capture has no list of pipes.
    pub(super) pipes: Option<BTreeMap<u16, DummynetPipe>>,
}

impl<'a> Seen<'a> {
    pub(super) fn of(capture: &'a Capture) -> Result<Self, Unreadable> {
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

    pub(super) fn text(&self, file: &str) -> &str {
        self.capture.get(file).map_or("", String::as_str)
    }

    pub(super) fn kernel(&self, logical: &str) -> Option<&str> {
        self.names.get(logical).map(|(kernel, _)| kernel.as_str())
    }

    pub(super) fn has(&self, interface: &str, address: Ipv4Addr) -> Option<u8> {
        self.interfaces.get(interface)?.addresses.get(&address).copied()
    }

    pub(super) fn made(&self, what: &[&str]) -> bool {
        self.ledger.have.iter().any(|record| record.iter().map(String::as_str).eq(what.iter().copied()))
    }

    pub(super) fn is_mounted(&self, volume: &PlannedVolume) -> bool {
        volume.mount_point.as_ref().is_none_or(|path| self.mounts.contains(path.as_str()))
    }

    /// The bridge that vmnet created for a provider: one with the provider's gateway address that the manager did not
    /// create.
    pub(super) fn vmnet(&self, bridge: &Bridge) -> Option<&str> {
        let has = |(name, interface): &(&String, &InterfaceState)| {
            name.starts_with("bridge")
                && interface.addresses.contains_key(&bridge.gateway.addr())
                && !self.made(&["if", name.as_str()])
        };
        self.interfaces.iter().find(has).map(|(name, _)| name.as_str())
    }

    /// Like [`Self::vmnet`], for providers attached to vmnet only.
    pub(super) fn vmnet_of(&self, bridge: &Bridge) -> Option<&str> {
        (bridge.attachment == ProviderAttachment::Vmnet).then(|| self.vmnet(bridge)).flatten()
    }

    pub(super) fn bridge(&self, bridge: &Bridge) -> Option<&str> {
        match bridge.attachment {
            ProviderAttachment::Bridge => self.kernel(bridge.logical.as_str()),
            ProviderAttachment::Vmnet => self.vmnet(bridge),
        }
    }
}
