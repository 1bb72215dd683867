//! The fields of a new entry: taken from the command line, or chosen as the next free value.

use std::net::Ipv4Addr;

use anyhow::{Result, bail};
use nixvol_net::edit::Fields;
use nixvol_net::model::Declaration;
use serde_json::{Map, Value, json};

use super::super::pf::harmless;
use super::opened::{EVALUATE, OpenedFile};
use crate::cli::edit::{Add, Alias};

impl OpenedFile<'_> {
    pub fn volume(&self, what: &Add) -> Result<Option<Fields>> {
        let Add::Volume { provider, address, localhost, attachment, publish, mount_point, .. } = what else {
            return Ok(None);
        };
        let is_guest = attachment.as_deref() == Some("guest");
        let wants_alias = localhost.is_none() && (!is_guest || !publish.is_empty());
        let mut fields: Fields = vec![("provider", json!(provider))];
        let (mut address, mut alias) = (
            *address,
            match localhost {
                Some(Alias::At(alias)) => Some(*alias),
                Some(Alias::None) | None => None,
            },
        );
        if address.is_none() || wants_alias {
            let Some(before) = self.before() else { return Ok(None) };
            if address.is_none() {
                address = Some(self.free_address(&before, provider)?);
            }
            if wants_alias {
                alias = before.free_alias();
                if alias.is_none() {
                    bail!(
                        "there is no free localhost alias\nhint: name one with --localhost, or `--localhost none`"
                    );
                }
            }
        }
        fields.extend(address.map(|it| ("address", json!(it))));
        fields.extend(alias.map(|it| ("localhost", json!(it))));
        fields.extend(attachment.as_ref().map(|it| ("attachment", json!(it))));
        if !publish.is_empty() {
            fields.push(("publish", json!(publish)));
        }
        fields.extend(mount_point.as_ref().map(|it| ("mountPoint", json!(it))));
        Ok(Some(fields))
    }

    pub fn provider(&self, what: &Add) -> Result<Option<Fields>> {
        let Add::Provider { network, gateway, bridge, attachment, no_internet, region, .. } = what else {
            return Ok(None);
        };
        let (mut network, mut gateway) = (network.clone(), gateway.clone());
        if network.is_none() || gateway.is_none() {
            let Some(before) = self.before() else { return Ok(None) };
            let free = match &network {
                None => before.free_network(),
                Some(network) => match network.parse() {
                    Ok(network) => Some(network),
                    Err(_) => bail!("`{}` is not a network; expected one as 10.5.0.0/16", harmless(network)),
                },
            };
            let Some(free) = free else { bail!("there is no free network\nhint: name one with --network") };
            gateway = gateway.or_else(|| before.gateway_for(free).map(|it| it.to_string()));
            network = Some(free.to_string());
        }
        let mut fields: Fields = vec![("network", json!(network)), ("gateway", json!(gateway))];
        fields.extend(bridge.as_ref().map(|it| ("bridge", json!(it))));
        fields.extend(attachment.as_ref().map(|it| ("attachment", json!(it))));
        if *no_internet {
            fields.push(("internet", json!(false)));
        }
        fields.extend(region.as_ref().map(|it| ("region", json!(it))));
        Ok(Some(fields))
    }

    /// The next free address of a provider. Fails if the provider does not exist or is full.
    pub fn free_address(&self, before: &Declaration, provider: &str) -> Result<Ipv4Addr> {
        if !before.providers.contains_key(provider) {
            let hint = match before.nearest_provider(provider) {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None => format!("`nixvol-net add provider {provider}` first"),
            };
            let error = format!("there is no provider `{}`", harmless(provider));
            let part = if self.target.input.is_none() {
                format!("; or it is in another file: {EVALUATE}")
            } else {
                String::new()
            };
            bail!("{error}\nhint: {hint}{part}");
        }
        match before.free_address(provider) {
            Some(free) => Ok(free),
            None => bail!("provider `{provider}` has no free address\nhint: name one with --address"),
        }
    }
}

/// The fields of a Mac.
pub fn mac(what: &Add) -> Fields {
    let Add::Mac { name: _, providers, endpoint, public_key, address, listen_port, target: _ } = what else {
        return Fields::new();
    };
    let mut fields: Fields = vec![
        ("providers", json!(providers)),
        ("endpoint", json!(endpoint)),
        ("publicKey", json!(public_key)),
        ("address", json!(address)),
    ];
    fields.extend(listen_port.map(|port| ("listenPort", json!(port))));
    fields
}

/// The fields of a link.
pub fn link(what: &Add) -> Fields {
    let Add::Link {
        from,
        to,
        protocol,
        ports,
        bidirectional,
        masquerade,
        latency_ms,
        latency,
        jitter_ms,
        loss,
        bandwidth_kbit,
        target: _,
    } = what
    else {
        return Fields::new();
    };
    let mut fields = covered(from, to, protocol.as_deref(), ports);
    for (name, is_set) in [("bidirectional", *bidirectional), ("masquerade", *masquerade)] {
        if is_set {
            fields.push((name, json!(true)));
        }
    }
    let conditions = [
        ("latencyMs", latency_ms.map(|it| json!(it))),
        ("latency", latency.as_ref().map(|it| json!(it))),
        ("jitterMs", jitter_ms.map(|it| json!(it))),
        ("loss", loss.map(|it| json!(it))),
        ("bandwidthKbit", bandwidth_kbit.map(|it| json!(it))),
    ];
    let conditions: Map<String, Value> =
        conditions.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    if !conditions.is_empty() {
        fields.push(("conditions", Value::Object(conditions)));
    }
    fields
}

/// The fields of an expectation.
pub fn expectation(what: &Add) -> Fields {
    let Add::Expect { from, to, protocol, ports, passes, refused: _, why, target: _ } = what else {
        return Fields::new();
    };
    let mut fields = covered(from, to, protocol.as_deref(), ports);
    fields.push(("passes", json!(passes)));
    fields.extend(why.as_ref().map(|it| ("why", json!(it))));
    fields
}

/// The fields `from`, `to`, `protocol` and `ports`.
fn covered(from: &[String], to: &[String], protocol: Option<&str>, ports: &[String]) -> Fields {
    let mut fields: Fields = vec![("from", json!(from)), ("to", json!(to))];
    fields.extend(protocol.map(|it| ("protocol", json!(it))));
    if !ports.is_empty() {
        let port = |port: &String| port.parse::<u16>().map_or_else(|_| json!(port), |number| json!(number));
        fields.push(("ports", ports.iter().map(port).collect()));
    }
    fields
}
