//! `wireguard/nixvol.conf`: the tunnel to the other Macs, for wg-quick. It has no private key.

use serde::Serialize;

use super::{RenderError, engine};
use crate::plan::{self, OtherMac, Plan};

/// The file with the private key of a Mac, which no bundle contains.
const PRIVATE_KEY: &str = "/etc/wireguard/nixvol.key";

#[derive(Serialize)]
struct Tunnel<'a> {
    mac: &'a str,
    address: String,
    listen_port: u16,
    private_key: &'static str,
    peers: Vec<Other<'a>>,
}

#[derive(Serialize)]
struct Other<'a> {
    mac: &'a str,
    public_key: &'a str,
    endpoint: String,
    address: String,
    networks: Vec<String>,
}

/// The text of the file; `None` if there are no other Macs.
pub fn conf(plan: &Plan) -> Result<Option<String>, RenderError> {
    let Some(plan::Tunnel { mac, address, listen_port, peers }) = &plan.mesh else { return Ok(None) };
    let tunnel = Tunnel {
        mac: mac.as_str(),
        address: address.to_string(),
        listen_port: *listen_port,
        private_key: PRIVATE_KEY,
        peers: peers
            .iter()
            .map(|OtherMac { mac, endpoint, public_key, address, networks }| Other {
                mac: mac.as_str(),
                public_key: public_key.as_str(),
                endpoint: endpoint.to_string(),
                address: address.to_string(),
                networks: networks.iter().map(ToString::to_string).collect(),
            })
            .collect(),
    };
    engine::render("wireguard/nixvol.conf", tunnel).map(Some)
}
