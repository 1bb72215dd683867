//! The live part of the page, which `serve` adds: what is in force now, counters and flows, and in a lab the controls.
//!
//! The page is the report with more sections, one more script, and a content security policy that names each of its
//! scripts and styles. Never: the state itself, which the script fetches.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::rules;
use crate::plan::Plan;
use crate::render::engine::Markup;

/// The script of the live part.
pub const LIVE_SCRIPT: &str = include_str!("../../../templates/serve/live.js");
/// Its style.
pub const LIVE_STYLE: &str = include_str!("../../../templates/serve/live.css");

/// A page to serve.
#[derive(Debug, Clone)]
pub struct Served {
    /// The page.
    pub html: String,
    /// Its content security policy.
    pub policy: String,
}

/// What the template needs of it.
#[derive(Serialize)]
pub struct LivePart {
    /// Whether faults can be made from the page.
    writable: bool,
    ends: Vec<String>,
    data: Markup,
}

/// The data of the live script.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LiveData<'a> {
    page: &'a str,
    writable: bool,
    /// The links behind each rule label.
    labels: BTreeMap<String, Vec<usize>>,
    /// The providers of volumes.
    providers: BTreeMap<&'a str, &'a str>,
}

impl LivePart {
    /// The part for a plan with an anchor; `page` identifies what the page was made from.
    pub fn of(plan: &Plan, anchor: &str, page: &str, writable: bool) -> Self {
        let providers = plan.volumes.iter().map(|it| (it.name.as_str(), it.provider.as_str())).collect();
        let labels = rules::links_by_label(plan, anchor);
        let bridges = plan.bridges.iter().map(|bridge| bridge.provider.to_string());
        let volumes = plan.volumes.iter().map(|volume| volume.name.to_string());
        Self {
            writable,
            ends: bridges.chain(volumes).chain(["mac", "lan", "internet"].map(str::to_owned)).collect(),
            data: Markup::json(&LiveData { page, writable, labels, providers }),
        }
    }
}

/// The hash of a script or a style, as a content security policy names it.
pub fn hash(text: &str) -> String {
    format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(text)))
}

/// A policy that permits the scripts and styles of this page, and requests to where it came from.
pub fn policy(html: &str) -> String {
    let hashes = |open: &str, close: &str| {
        let blocks = html.split(open).skip(1).filter_map(|rest| rest.split_once(close));
        let hashes = blocks.map(|(block, _)| format!("'{}'", hash(block)));
        hashes.collect::<Vec<_>>().join(" ")
    };
    format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
        hashes("<script>", "</script>"),
        hashes("<style>", "</style>")
    )
}
