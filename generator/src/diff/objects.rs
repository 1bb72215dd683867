//! The objects that the manager creates for a declaration: bridges with their routes, volumes with their addresses,
//! ports, aliases and names, and the paths of its files.

use std::collections::BTreeMap;

use super::Side;
use crate::model::{AbsolutePath, Guest, Name};
use crate::plan::{Bridge, OtherMac, Plan, Volume};

/// Whether something is new, removed or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Presence {
    /// Only on the new side.
    Added,
    /// Only on the old side.
    Removed,
    /// On both sides, with differences.
    Changed,
}

/// An object that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectChange {
    /// The kind of object: `provider`, `volume`, `mac` or `settings`.
    pub kind: &'static str,
    /// The name of the object.
    pub name: String,
    /// Whether it is new, removed or changed.
    pub presence: Presence,
    /// The fields that differ.
    pub fields: Vec<FieldChange>,
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldChange {
    /// The name of the field.
    pub field: &'static str,
    /// The old value; `None` if there was none.
    pub old: Option<String>,
    /// The new value; `None` if there is none.
    pub new: Option<String>,
}

type Fields = Vec<(&'static str, Option<String>)>;
type Objects = BTreeMap<(&'static str, String), Fields>;

/// The objects that differ, by kind and name.
pub fn changes(old: Side, new: Side) -> Vec<ObjectChange> {
    let [old, new] = [objects(old.plan), objects(new.plan)];
    let mut keys: Vec<_> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter().filter_map(|key| change(key, old.get(key), new.get(key))).collect()
}

fn change(
    (kind, name): &(&'static str, String),
    old: Option<&Fields>,
    new: Option<&Fields>,
) -> Option<ObjectChange> {
    let value = |fields: Option<&Fields>, field| {
        fields.and_then(|fields| fields.iter().find(|(name, _)| *name == field)?.1.clone())
    };
    let known = new.or(old)?.iter().map(|(field, _)| *field);
    let fields = known.map(|field| FieldChange { field, old: value(old, field), new: value(new, field) });
    let fields: Vec<FieldChange> = fields.filter(|field| field.old != field.new).collect();
    let presence = match (old, new) {
        (None, _) => Presence::Added,
        (_, None) => Presence::Removed,
        _ => Presence::Changed,
    };
    let differs = presence != Presence::Changed || !fields.is_empty();
    differs.then(|| ObjectChange { kind, name: name.clone(), presence, fields })
}

/// Those of the named fields that differ.
pub fn fields(
    names: &[&'static str],
    old: &[(&'static str, String)],
    new: &[(&'static str, String)],
) -> Vec<FieldChange> {
    let value = |fields: &[(&'static str, String)], field| {
        fields.iter().find(|(name, _)| *name == field).map(|(_, value)| value.clone())
    };
    let fields =
        names.iter().map(|field| FieldChange { field, old: value(old, *field), new: value(new, *field) });
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

fn settings(plan: &Plan) -> Fields {
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
fn mac(peer: &OtherMac) -> Fields {
    let OtherMac { mac: _, endpoint, public_key, address, networks: _ } = peer;
    vec![
        ("endpoint", Some(endpoint.to_string())),
        ("public key", Some(public_key.as_str().to_owned())),
        ("address", Some(address.to_string())),
    ]
}

fn provider(plan: &Plan, bridge: &Bridge) -> Fields {
    vec![
        ("bridge", Some(bridge.logical.to_string())),
        ("gateway", Some(bridge.gateway.to_string())),
        ("route", Some(bridge.network.to_string())),
        ("attachment", Some(bridge.attachment.word().to_owned())),
        ("Mac", plan.mac_of(bridge).map(ToString::to_string)),
        ("internet", Some(if bridge.internet { "NAT" } else { "none" }.to_owned())),
    ]
}

fn volume(volume: &Volume, published: Option<String>) -> Fields {
    let names = volume.host_names().join(" ");
    let Guest { mac, interface, dns } = &volume.guest;
    let servers: Vec<String> = dns.iter().map(ToString::to_string).collect();
    vec![
        ("provider", Some(volume.provider.to_string())),
        ("address", Some(volume.address.to_string())),
        ("attachment", Some(volume.attachment.word().to_owned())),
        ("port", volume.port.as_ref().map(ToString::to_string)),
        ("alias", volume.alias.map(|alias| alias.to_string())),
        ("publishes", published),
        ("names", Some(names)),
        ("mount point", volume.mount_point.as_ref().map(AbsolutePath::to_string)),
        ("guest's MAC address", mac.as_ref().map(|mac| mac.as_str().to_owned())),
        ("guest's interface", interface.as_ref().map(|name| name.as_str().to_owned())),
        ("guest's name servers", (!dns.is_empty()).then(|| servers.join(" "))),
    ]
}
