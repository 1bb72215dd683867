//! The files that configure a VM for a volume's address, and the host names of volumes.

use serde::Serialize;

use super::{RenderError, engine};
use crate::model;
use crate::plan::Plan;

#[derive(Serialize)]
struct Guest {
    name: String,
    provider: String,
    address: String,
    gateway: String,
    /// Whether the declaration says that the Mac serves the address.
    served_by_mac: bool,
    mac: Option<String>,
    interface: Option<String>,
    dns: Vec<String>,
}

/// The files in a guest's directory; the templates have the same names.
pub const FILES: [&str; 5] =
    ["05-nixvol.network", "99-nixvol.yaml", "interfaces", "nixvol.nmconnection", "talos.yaml"];

/// The files of every volume, by path. Those of a volume that the Mac serves contain a note about that.
pub fn guests(plan: &Plan) -> Result<Vec<(String, String)>, RenderError> {
    let mut files = Vec::new();
    for volume in plan.own_volumes() {
        let model::Guest { mac, interface, dns } = &volume.guest;
        let guest = Guest {
            name: volume.name.to_string(),
            provider: volume.provider.to_string(),
            address: volume.address.to_string(),
            gateway: volume.gateway.to_string(),
            served_by_mac: volume.is_served(),
            mac: mac.as_ref().map(|mac| mac.as_str().to_owned()),
            interface: interface.as_ref().map(|name| name.as_str().to_owned()),
            dns: dns.iter().map(ToString::to_string).collect(),
        };
        for file in FILES {
            files.push((
                format!("guests/{}/{file}", volume.name),
                engine::render(&format!("guest/{file}"), &guest)?,
            ));
        }
    }
    Ok(files)
}

#[derive(Serialize)]
struct Hosts {
    lines: Vec<HostLine>,
}

#[derive(Serialize)]
struct HostLine {
    address: String,
    names: [String; 2],
}

/// The lines for the hosts file.
pub fn hosts(plan: &Plan) -> Result<String, RenderError> {
    let lines = plan
        .volumes
        .iter()
        .map(|volume| HostLine { address: volume.address.to_string(), names: volume.host_names() });
    engine::render("hosts/hosts", Hosts { lines: lines.collect() })
}
