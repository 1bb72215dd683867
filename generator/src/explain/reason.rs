//! The row of the policy that decides, in words, and the declaration behind it.
//!
//! If no link covers a packet, the links that nearly do are named: those with the other direction, or another port.
//! Never: a rule; the reasons do not depend on what was rendered.

use schemars::JsonSchema;
use serde::Serialize;

use super::way::link_protocol;
use crate::model::{Declaration, Endpoint, Link, Name};
use crate::place::{FieldPath, Place};
use crate::plan::policy::{Because, Decision, PolicyPacket, PolicyVerdict, Translation};

/// The maximum number of nearly matching links that are named.
const NEAR: usize = 3;

/// Why the declaration passes or blocks a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Reason")]
pub struct PolicyReason {
    /// The declared verdict: `pass`, `refuse`, `drop` or `untouched`.
    pub verdict: &'static str,
    /// The row of the policy, in words.
    pub words: String,
    /// The values of the declaration that it follows from; empty for what always holds.
    pub declared: Vec<DeclaredValue>,
    /// Links that nearly cover the packet.
    pub near: Vec<DeclaredValue>,
}

/// A value of the declaration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Declared")]
pub struct DeclaredValue {
    /// Its path in the input.
    pub path: String,
    /// The value, in words.
    pub says: String,
    /// Its place in the user's Nix source, if known.
    pub place: Option<Place>,
}

/// The reason for a decision.
pub(super) fn reason(declaration: &Declaration, decision: &Decision, packet: &PolicyPacket) -> PolicyReason {
    let says = Says { declaration };
    let mut declared = Vec::new();
    let mut near = Vec::new();
    let words = match &decision.because {
        Because::Forged => "no volume is reached by this interface, so the source is forged".to_owned(),
        Because::ForgedHere => "this Mac has that address itself, so the source is forged".to_owned(),
        Because::ForgedGuest(provider) => {
            declared.push(says.provider(provider, "network"));
            format!(
                "a guest of {provider} may send from addresses of {provider} only, so the source is forged"
            )
        }
        Because::Elsewhere => "it is from a volume on another Mac, and not for one on this Mac".to_owned(),
        Because::ForgedMesh => "that volume is on this Mac, so the source is forged".to_owned(),
        Because::OtherMac => "the other Macs themselves may open connections to every volume".to_owned(),
        Because::NotByMesh => {
            "only what volumes and this Mac itself send to volumes on other Macs goes into the tunnel"
                .to_owned()
        }
        Because::MeshOnly => {
            "what is for a volume on another Mac leaves by the tunnel only, even while it is absent"
                .to_owned()
        }
        Because::Leak => {
            "traffic for a volume never leaves this Mac, even while a bridge is absent".to_owned()
        }
        Because::Malformed => "its TCP flags are invalid: pf drops it during reassembly".to_owned(),
        Because::Refusal => "it reports to a sender that a packet was refused".to_owned(),
        Because::Loopback => match decision.translation {
            Some(Translation::Published(_)) => {
                declared.extend(says.publish(packet));
                "the port is published on this localhost alias".to_owned()
            }
            _ => "between volumes and 127.0.0.0/8 everything passes".to_owned(),
        },
        Because::Within(provider) => {
            declared.push(says.provider(provider, "network"));
            format!("inside {provider} everything passes")
        }
        Because::Links(links) => {
            let links = links.iter().filter_map(|index| says.find(*index));
            declared.extend(links.map(|link| says.link(link)));
            if declared.len() == 1 { "a link covers it" } else { "links cover it" }.to_owned()
        }
        Because::NoLink => {
            near = says.near(packet);
            let later =
                if decision.verdict == PolicyVerdict::Carry { ": it is refused `in` on lo0" } else { "" };
            format!("no link covers it, and between providers nothing else passes{later}")
        }
        Because::Internet(provider) => {
            declared.push(says.provider(provider, "internet"));
            format!("{provider} may open connections to the outside")
        }
        Because::NoInternet(provider) => {
            declared.push(says.provider(provider, "internet"));
            let later =
                if decision.verdict == PolicyVerdict::Carry { ": it is refused `in` on lo0" } else { "" };
            format!("{provider} may not open connections to the outside{later}")
        }
        Because::ThisMac => "this Mac may open connections to every volume".to_owned(),
        Because::Outside => "nothing outside may open connections to a volume".to_owned(),
        Because::NotOurs => "no volume is involved: no rule of the anchor matches it".to_owned(),
    };
    let verdict = match decision.verdict {
        PolicyVerdict::Pass => "pass",
        PolicyVerdict::Carry => "carry",
        PolicyVerdict::Refuse(_) => "refuse",
        PolicyVerdict::Drop => "drop",
        PolicyVerdict::Untouched => "untouched",
    };
    PolicyReason { verdict, words, declared, near }
}

/// The conditions of a link, by its index in the user's list.
pub(super) fn conditions(declaration: &Declaration, link: usize) -> DeclaredValue {
    let says = Says { declaration };
    let conditions = says.find(link).and_then(|link| link.conditions);
    let path = FieldPath::of(&["links", &link.to_string(), "conditions"]);
    says.at(path, conditions.map_or(String::new(), |conditions| conditions.to_string()))
}

struct Says<'a> {
    declaration: &'a Declaration,
}

impl Says<'_> {
    fn at(&self, path: FieldPath, says: String) -> DeclaredValue {
        let place = self.declaration.positions.find(&path).cloned();
        DeclaredValue { path: path.to_string(), says, place }
    }

    fn provider(&self, name: &Name, field: &str) -> DeclaredValue {
        let says = self.declaration.providers.get(name).map(|provider| match field {
            "internet" => provider.internet.to_string(),
            _ => provider.network.to_string(),
        });
        self.at(FieldPath::of(&["providers", name.as_str(), field]), says.unwrap_or_default())
    }

    fn publish(&self, packet: &PolicyPacket) -> Option<DeclaredValue> {
        let is_alias =
            |(_, volume): &(&Name, &crate::model::Volume)| volume.localhost == Some(packet.destination);
        let (name, volume) = self.declaration.volumes.iter().find(is_alias)?;
        let (alias, port) = (packet.destination, packet.port);
        let says = format!("{alias}:{port} is {}:{port}", volume.address);
        Some(self.at(FieldPath::of(&["volumes", name.as_str(), "publish"]), says))
    }

    fn find(&self, index: usize) -> Option<&Link> {
        self.declaration.links.iter().find(|link| link.index == index)
    }

    fn link(&self, link: &Link) -> DeclaredValue {
        self.at(FieldPath::of(&["links", &link.index.to_string()]), self.words(link))
    }

    /// A link in words: `aws, etcd-1 -> gcp, tcp 443, both ways`.
    fn words(&self, link: &Link) -> String {
        let providers = &self.declaration.providers;
        let set = |ends: &std::collections::BTreeSet<Endpoint>| {
            let all = providers.len() > 1
                && providers.keys().all(|name| ends.contains(&Endpoint::Provider(name.clone())));
            if all {
                return "every provider".to_owned();
            }
            ends.iter().map(|end| end.name().as_str()).collect::<Vec<_>>().join(", ")
        };
        let protocol = link.protocol.map_or("any protocol", crate::model::Protocol::word);
        let ports = link.ports.as_ref().map_or(String::new(), |ports| match link.protocol {
            Some(_) => format!(" {ports}"),
            None => format!(" with port {ports}"),
        });
        let both = if link.bidirectional { ", both ways" } else { "" };
        let masquerade = if link.masquerade { ", masqueraded" } else { "" };
        format!("{} -> {}, {protocol}{ports}{both}{masquerade}", set(&link.from), set(&link.to))
    }

    /// Links between the same endpoints that do not cover the packet, those in its direction first.
    fn near(&self, packet: &PolicyPacket) -> Vec<DeclaredValue> {
        let holds = |ends: &std::collections::BTreeSet<Endpoint>, address| {
            ends.iter().any(|end| match end {
                Endpoint::Provider(name) => {
                    self.declaration.providers.get(name).is_some_and(|p| p.network.contains(&address))
                }
                Endpoint::Volume(name) => {
                    self.declaration.volumes.get(name).is_some_and(|v| v.address == address)
                }
            })
        };
        let (source, destination) = (packet.source, packet.destination);
        let joins = |link: &Link| {
            let forth = holds(&link.from, source) && holds(&link.to, destination);
            let back = holds(&link.from, destination) && holds(&link.to, source);
            (forth || (back && link.bidirectional), back)
        };
        let mut near: Vec<((bool, usize), DeclaredValue)> = Vec::new();
        for link in &self.declaration.links {
            let (forth, back) = joins(link);
            if !forth && !back {
                continue;
            }
            let why = match (forth, link.protocol) {
                (false, _) => "permits the other direction only",
                (true, Some(_)) if link_protocol(packet.protocol) != link.protocol => "has another protocol",
                (true, _) => "has other ports",
            };
            let mut declared = self.link(link);
            declared.says = format!("{why}: {}", declared.says);
            near.push(((!forth, link.index), declared));
        }
        near.sort_by_key(|(order, _)| *order);
        near.into_iter().take(NEAR).map(|(_, declared)| declared).collect()
    }
}
