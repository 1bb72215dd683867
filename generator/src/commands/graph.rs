//! `graph`: prints a picture of the network.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use ipnet::Ipv4Net;
use nixvol_net::darwin;
use nixvol_net::input::nearest;
use nixvol_net::model::{Declaration, Endpoint, Name};
use nixvol_net::plan::Plan;
use nixvol_net::render::picture::{self, KernelNames};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::paint::{Paint, painted};
use super::{print, print_with_marks, read, reject, status, versioned};
use crate::cli::{GraphFormat, InputSource};

/// Runs `graph`.
pub fn run(
    source: &InputSource,
    from: Option<&Path>,
    providers: &[String],
    format: GraphFormat,
) -> Result<ExitCode> {
    let reading = read(source)?;
    let declaration = match &reading.declaration {
        Ok(declaration) => declaration,
        Err(rejected) => return Ok(reject(&reading.name, rejected)),
    };
    let plan = Plan::of(declaration);
    let around = around(&plan, providers)?;
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
            print_with_marks(&plan, &painted(&picture::text(&plan, &kernel, &around), Paint::Picture))?;
        }
        GraphFormat::Svg => print(&picture::svg(&plan, &kernel, &around)?)?,
        GraphFormat::Json => print(&versioned(drawn(&plan, &kernel, declaration, &around))?)?,
        GraphFormat::Mermaid => print(&picture::mermaid(&plan, &kernel, &around))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The providers that somebody asks for.
fn around(plan: &Plan, names: &[String]) -> Result<Vec<Name>> {
    let known = || plan.bridges.iter().map(|it| &it.provider);
    let found = |name: &String| match known().find(|it| it.as_str() == name) {
        Some(name) => Ok(name.clone()),
        None => bail!(
            "there is no provider `{}`\nhint: {}",
            super::pf::harmless(name),
            match nearest(name, known().map(Name::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("one of {}", known().map(Name::as_str).collect::<Vec<_>>().join(", ")),
            }
        ),
    };
    names.iter().map(found).collect()
}

/// The network that is drawn.
#[derive(Serialize, JsonSchema)]
pub struct Drawn {
    providers: Vec<Provider>,
    volumes: Vec<Volume>,
    links: Vec<Declared>,
}

/// A provider.
#[derive(Serialize, JsonSchema)]
struct Provider {
    name: String,
    /// The logical name of its bridge.
    bridge: String,
    /// The kernel's, where a capture tells it.
    kernel: Option<String>,
    #[schemars(with = "String")]
    gateway: Ipv4Net,
    #[schemars(with = "String")]
    network: Ipv4Net,
    attachment: String,
    internet: bool,
    /// The Mac that it is on, where several share the declaration.
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<String>,
}

/// A volume.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Volume {
    name: String,
    provider: String,
    address: Ipv4Addr,
    localhost: Option<Ipv4Addr>,
    attachment: String,
    /// The logical name of its port.
    port: Option<String>,
    /// The kernel's, where a capture tells it.
    kernel: Option<String>,
    mount_point: Option<String>,
}

/// A link, as it was declared.
#[derive(Serialize, JsonSchema)]
struct Declared {
    /// As every command names it: `links.0`.
    link: String,
    from: Vec<String>,
    to: Vec<String>,
    protocol: Option<String>,
    ports: Option<String>,
    bidirectional: bool,
    masquerade: bool,
    /// In words: `40 ms, 1% lost`.
    conditions: Option<String>,
}

/// What the pictures show.
fn drawn(plan: &Plan, kernel: &KernelNames, declaration: &Declaration, around: &[Name]) -> Drawn {
    let part = picture::Excerpt::of(plan, around);
    let kernel_of = |logical: &Name| kernel.get(logical.as_str()).cloned();
    let word = |attachment: Value| attachment.as_str().unwrap_or_default().to_owned();
    let providers =
        plan.bridges.iter().filter(|it| part.providers.contains(&it.provider)).map(|it| Provider {
            name: it.provider.to_string(),
            bridge: it.logical.to_string(),
            kernel: kernel_of(&it.logical),
            gateway: it.gateway,
            network: it.network,
            attachment: word(json!(it.attachment)),
            internet: it.internet,
            mac: plan.mac_of(it).map(ToString::to_string),
        });
    let volumes = plan.volumes.iter().filter(|it| part.providers.contains(&it.provider)).map(|it| Volume {
        name: it.name.to_string(),
        provider: it.provider.to_string(),
        address: it.address,
        localhost: it.alias,
        attachment: word(json!(it.attachment)),
        port: it.port.as_ref().map(ToString::to_string),
        kernel: it.port.as_ref().and_then(kernel_of),
        mount_point: it.mount_point.as_ref().map(ToString::to_string),
    });
    let names = |ends: &BTreeSet<Endpoint>| -> Vec<String> {
        ends.iter().map(|end| end.name().to_string()).collect()
    };
    let links = declaration.links.iter().filter(|it| part.links.contains(&it.index)).map(|it| Declared {
        link: format!("links.{}", it.index),
        from: names(&it.from),
        to: names(&it.to),
        protocol: it.protocol.map(|it| it.word().to_owned()),
        ports: it.ports.as_ref().map(ToString::to_string),
        bidirectional: it.bidirectional,
        masquerade: it.masquerade,
        conditions: it.conditions.as_ref().map(ToString::to_string),
    });
    Drawn { providers: providers.collect(), volumes: volumes.collect(), links: links.collect() }
}
