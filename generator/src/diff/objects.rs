//! The objects that the manager creates for a declaration: bridges with their routes, volumes with their addresses,
//! ports, aliases and names, and the paths of its files.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use super::sides::ComparedSide;
use crate::model::{AbsolutePath, Guest, Name};
use crate::plan::{Bridge, OtherMac, Plan, PlannedVolume};

/// Whether something is new, removed or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// Only on the new side.
    Added,
    /// Only on the old side.
    Removed,
    /// On both sides, with differences.
    Changed,
}

impl Presence {
    /// The presence of something on the old and the new side, one of which has it.
    pub fn of(is_old: bool, is_new: bool) -> Self {
        match (is_old, is_new) {
            (false, _) => Self::Added,
            (true, false) => Self::Removed,
            (true, true) => Self::Changed,
        }
    }
}

/// An object that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ObjectChange {
    /// Whether it is new, removed or changed.
    #[serde(rename = "change")]
    pub presence: Presence,
    /// The kind of object: `provider`, `volume`, `mac` or `settings`.
    pub kind: &'static str,
    /// The name of the object.
    pub name: String,
    /// The fields that differ.
    pub fields: Vec<FieldChange>,
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FieldChange {
    /// The name of the field.
    pub field: &'static str,
    /// The old value; null if there was none.
    #[serde(rename = "before")]
    pub old: Option<String>,
    /// The new value; null if there is none.
    #[serde(rename = "now")]
    pub new: Option<String>,
}

/// The fields of an object, by name; empty for an object that does not exist.
pub(super) type ObjectFields = Vec<(&'static str, Option<String>)>;
type Objects = BTreeMap<(&'static str, String), ObjectFields>;

/// The objects that differ, by kind and name.
pub fn changes(old: ComparedSide, new: ComparedSide) -> Vec<ObjectChange> {
    let [old, new] = [objects(old.plan), objects(new.plan)];
    let keys: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let change = |key: &(&'static str, String)| {
        let (old, new) = (old.get(key), new.get(key));
        let none = ObjectFields::new();
        let fields = fields(old.unwrap_or(&none), new.unwrap_or(&none));
        let presence = Presence::of(old.is_some(), new.is_some());
        let differs = presence != Presence::Changed || !fields.is_empty();
        differs.then(|| ObjectChange { presence, kind: key.0, name: key.1.clone(), fields })
    };
    keys.into_iter().filter_map(change).collect()
}

/// The fields that differ.
pub(super) fn fields(old: &ObjectFields, new: &ObjectFields) -> Vec<FieldChange> {
    let value = |fields: &ObjectFields, field| fields.iter().find(|(name, _)| *name == field)?.1.clone();
    let known = if new.is_empty() { old } else { new }.iter().map(|(field, _)| *field);
    let fields = known.map(|field| FieldChange { field, old: value(old, field), new: value(new, field) });
    fields.filter(|field| field.old != field.new).collect()
}

fn objects(plan: &Plan) -> Objects {
    let mut objects = Objects::new();
    objects.insert(("settings", String::new()), settings(plan));
    for bridge in &plan.bridges {
        objects.insert(("provider", bridge.provider.to_string()), provider(plan, bridge));
    }
    for peer in plan.mesh.iter().flat_map(|mesh| &mesh.peers) {
        objects.insert(("mac", peer.mac.to_string()), mac(peer));
    }
    let mut published: BTreeMap<&Name, Vec<String>> = BTreeMap::new();
    for publish in &plan.publishes {
        published.entry(&publish.volume).or_default().push(publish.port.to_string());
    }
    for it in &plan.volumes {
        let ports = published.get(&it.name).map(|ports| ports.join(", "));
        objects.insert(("volume", it.name.to_string()), volume(it, ports));
    }
    objects
}

fn settings(plan: &Plan) -> ObjectFields {
    let overlap: Vec<String> = plan.allow_overlap.iter().map(ToString::to_string).collect();
    vec![
        ("base", Some(plan.base.to_string())),
        ("state directory", Some(plan.state_dir.to_string())),
        ("log", Some(plan.log_file.to_string())),
        ("hosts file", plan.hosts_file.as_ref().map(ToString::to_string)),
        ("anchor", Some(plan.anchor.to_string())),
        ("reconcile interval", Some(format!("{} s", plan.reconcile_interval))),
        ("allowed overlap", (!overlap.is_empty()).then(|| overlap.join(", "))),
        ("localhost group", Some(format!("{} {}", plan.localhost.logical, plan.localhost.gateway))),
    ]
}

/// Another Mac. Its providers are told with the providers.
fn mac(peer: &OtherMac) -> ObjectFields {
    let OtherMac { mac: _, endpoint, public_key, address, networks: _ } = peer;
    vec![
        ("endpoint", Some(endpoint.to_string())),
        ("public key", Some(public_key.as_str().to_owned())),
        ("address", Some(address.to_string())),
    ]
}

fn provider(plan: &Plan, bridge: &Bridge) -> ObjectFields {
    vec![
        ("bridge", Some(bridge.logical.to_string())),
        ("gateway", Some(bridge.gateway.to_string())),
        ("route", Some(bridge.network.to_string())),
        ("attachment", Some(bridge.attachment.word().to_owned())),
        ("Mac", plan.mac_of(bridge).map(ToString::to_string)),
        ("internet", Some(if bridge.internet { "NAT" } else { "none" }.to_owned())),
    ]
}

fn volume(volume: &PlannedVolume, published: Option<String>) -> ObjectFields {
    let names = volume.host_names().join(" ");
    // The gateway and the Mac are those of the provider, and told with it.
    let PlannedVolume {
        name: _,
        provider,
        address,
        attachment,
        port,
        alias,
        mount_point,
        gateway: _,
        guest,
        mac: _,
    } = volume;
    let Guest { mac, interface, dns } = guest;
    let servers: Vec<String> = dns.iter().map(ToString::to_string).collect();
    vec![
        ("provider", Some(provider.to_string())),
        ("address", Some(address.to_string())),
        ("attachment", Some(attachment.word().to_owned())),
        ("port", port.as_ref().map(ToString::to_string)),
        ("alias", alias.map(|alias| alias.to_string())),
        ("publishes", published),
        ("names", Some(names)),
        ("mount point", mount_point.as_ref().map(AbsolutePath::to_string)),
        ("guest's MAC address", mac.as_ref().map(|mac| mac.as_str().to_owned())),
        ("guest's interface", interface.as_ref().map(|name| name.as_str().to_owned())),
        ("guest's name servers", (!dns.is_empty()).then(|| servers.join(" "))),
    ]
}
