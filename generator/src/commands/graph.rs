//! `graph`: prints a picture of the network.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use nixvol_net::darwin;
use nixvol_net::model::{Declaration, End, Name};
use nixvol_net::plan::Plan;
use nixvol_net::render::picture::{self, KernelNames};
use serde_json::{Value, json};

use super::paint::{Paint, painted};
use super::{print, print_with_marks, read, reject, status, versioned};
use crate::cli::{GraphFormat, Source};

/// Runs `graph`.
pub fn run(source: &Source, from: Option<&Path>, format: GraphFormat) -> Result<ExitCode> {
    let reading = read(source)?;
    let declaration = match &reading.declaration {
        Ok(declaration) => declaration,
        Err(rejected) => return Ok(reject(&reading.name, rejected)),
    };
    let plan = Plan::of(declaration);
    let kernel: KernelNames = match from {
        None => KernelNames::new(),
        Some(directory) => {
            let capture = status::capture(directory)?;
            let names = capture.get("names").map_or("", String::as_str);
            darwin::names(names).into_iter().map(|(logical, (kernel, _))| (logical, kernel)).collect()
        }
    };
    match format {
        GraphFormat::Text => {
            print_with_marks(&plan, &painted(&picture::text(&plan, &kernel), Paint::Picture))?;
        }
        GraphFormat::Svg => print(&picture::svg(&plan, &kernel)?)?,
        GraphFormat::Json => print(&versioned(drawn(&plan, &kernel, declaration))?)?,
        GraphFormat::Mermaid => print(&picture::mermaid(&plan, &kernel))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The content of the pictures as JSON, with kernel names if a capture provides them.
fn drawn(plan: &Plan, kernel: &KernelNames, declaration: &Declaration) -> Value {
    let kernel_of = |logical: &str| kernel.get(logical);
    let providers = plan.bridges.iter().map(|it| {
        json!({ "name": it.provider.as_str(), "bridge": it.logical.as_str(), "kernel": kernel_of(it.logical.as_str()),
                "gateway": it.gateway, "network": it.network, "attachment": it.attachment, "internet": it.internet })
    });
    let volumes = plan.volumes.iter().map(|it| {
        let port = it.port.as_ref().map(Name::as_str);
        json!({ "name": it.name.as_str(), "provider": it.provider.as_str(), "address": it.address, "localhost": it.alias,
                "attachment": it.attachment, "port": port, "kernel": port.and_then(kernel_of),
                "mountPoint": it.mount_point.as_ref().map(ToString::to_string) })
    });
    let names = |ends: &std::collections::BTreeSet<End>| -> Vec<String> {
        ends.iter().map(|end| end.name().to_string()).collect()
    };
    let links = declaration.links.iter().map(|it| {
        json!({ "link": format!("links.{}", it.index), "from": names(&it.from), "to": names(&it.to),
                "protocol": it.protocol, "ports": it.ports.as_ref().map(ToString::to_string),
                "bidirectional": it.bidirectional, "masquerade": it.masquerade, "conditions": it.conditions.as_ref().map(ToString::to_string) })
    });
    json!({ "providers": providers.collect::<Vec<_>>(), "volumes": volumes.collect::<Vec<_>>(),
            "links": links.collect::<Vec<_>>() })
}
