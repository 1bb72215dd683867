//! Prints the results of the probes, as text or JSON.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;

use anyhow::{Context, Result};
use nixvol_net::pf::eval::Transport;
use nixvol_net::router::NodeId;
use nixvol_net::wire;
use serde_json::{Value, json};

use super::hosts::Hosts;
use super::record::{Difference, Probe, ProbeResult, Trial};
use crate::commands::versioned;

/// The text of a cell if all probes connected.
const ALL: &str = "all";

/// Prints the results.
pub fn print(hosts: &Hosts, probes: &[Probe], difference: Option<&Difference>, json: bool) -> Result<()> {
    let text =
        if json { versioned(data(hosts, probes, difference))? } else { text(hosts, probes, difference) };
    io::Write::write_all(&mut io::stdout().lock(), text.as_bytes()).context("cannot write to standard output")
}

fn data(hosts: &Hosts, probes: &[Probe], difference: Option<&Difference>) -> Value {
    let probe = |probe: &Probe| {
        let port = (probe.service.port > 0).then_some(probe.service.port);
        json!({
            "from": hosts.node(probe.from).name,
            "to": hosts.node(probe.to).name,
            "source": probe.source,
            "destination": probe.destination,
            "protocol": probe.service.protocol.word(),
            "port": port,
            "bytes": probe.size,
            "trial": trial(&probe.trial),
            "expected": probe.expected,
            "found": probe.found,
        })
    };
    json!({
        "agrees": difference.is_none(),
        "difference": difference,
        "probes": probes.iter().map(probe).collect::<Vec<_>>(),
    })
}

/// A trial as JSON.
fn trial(trial: &Trial) -> Value {
    let (word, provider) = match trial {
        Trial::Whole => return json!({ "kind": "whole" }),
        Trial::Forged => return json!({ "kind": "forged" }),
        Trial::TunnelGone => return json!({ "kind": "tunnel-gone" }),
        Trial::TunnelGoneAndReloaded => return json!({ "kind": "tunnel-gone-and-reloaded" }),
        Trial::BridgeGone(provider) => ("bridge-gone", provider),
        Trial::BridgeGoneAndReloaded(provider) => ("bridge-gone-and-reloaded", provider),
    };
    json!({ "kind": word, "provider": provider })
}

/// A probe in words: `etcd-1 10.0.1.2 -> etcd-2 10.1.1.2 udp 53, 4000 bytes`.
pub fn asked(hosts: &Hosts, probe: &Probe) -> String {
    let Probe { trial, from, to, source, destination, service, .. } = probe;
    let (from, to) = (&hosts.node(*from).name, &hosts.node(*to).name);
    let size = if probe.is_big() { format!(", {} bytes", probe.size) } else { String::new() };
    match trial {
        Trial::Whole => format!("{from} {source} -> {to} {destination} {service}{size}"),
        Trial::Forged => format!("{from} as {source} -> {to} {destination} {service}{size}"),
        Trial::BridgeGone(provider) | Trial::BridgeGoneAndReloaded(provider) => {
            format!("{from} {source} -> {destination} {service}{size}, the bridge of {provider} gone")
        }
        Trial::TunnelGone | Trial::TunnelGoneAndReloaded => {
            format!("{from} {source} -> {destination} {service}{size}, the tunnel gone")
        }
    }
}

/// Number of probes of other kinds, as a line of text.
fn more(probes: &[Probe]) -> String {
    let count = |is_meant: fn(&Probe) -> bool| probes.iter().filter(|probe| is_meant(probe)).count();
    let cut = count(|probe| probe.trial == Trial::Whole && probe.is_big());
    let gone = count(|probe| matches!(probe.trial, Trial::BridgeGone(_) | Trial::BridgeGoneAndReloaded(_)));
    let tunnel = count(|probe| matches!(probe.trial, Trial::TunnelGone | Trial::TunnelGoneAndReloaded));
    let tunnel = if tunnel == 0 { String::new() } else { format!("{tunnel} while a tunnel is gone, ") };
    let forged = count(|probe| probe.trial == Trial::Forged);
    format!(
        "among them: {cut} with datagrams that are cut into fragments, {gone} while a bridge is gone, {tunnel}{forged} with a forged source\n"
    )
}

fn text(hosts: &Hosts, probes: &[Probe], difference: Option<&Difference>) -> String {
    let count = |answer: ProbeResult| probes.iter().filter(|probe| probe.found == answer).count();
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{} probes: {} connected, {} refused, {} unreachable, {} unanswered\n",
        probes.len(),
        count(ProbeResult::Connected),
        count(ProbeResult::Refused),
        count(ProbeResult::Unreachable),
        count(ProbeResult::Silence)
    );
    out.push_str(&matrix(hosts, probes));
    out.push_str(&more(probes));
    out.push('\n');
    match difference {
        None => out.push_str("no difference: every packet did what `explain` says\n"),
        Some(difference) => {
            let Difference { packet, by, expected, found, explanation, seen } = difference;
            let _ = writeln!(out, "DIFFERENCE: {packet}: {found}, and {by} says {expected}");
            let _ = writeln!(out, "  {by}: {explanation}");
            for seen in seen {
                let _ = writeln!(out, "  {seen}");
            }
        }
    }
    out
}

/// A table of which provider connected to which: all probes, a number of them, or none.
fn matrix(hosts: &Hosts, probes: &[Probe]) -> String {
    let group = |id: NodeId| {
        let node = hosts.node(id);
        node.provider.clone().unwrap_or_else(|| node.name.clone())
    };
    let mut names: Vec<String> = Vec::new();
    let mut cells: BTreeMap<(usize, usize), Vec<&Probe>> = BTreeMap::new();
    let mut number = |name: String| {
        names.iter().position(|known| *known == name).unwrap_or_else(|| {
            names.push(name);
            names.len() - 1
        })
    };
    let mut order: Vec<&Probe> = probes.iter().filter(|probe| probe.trial == Trial::Whole).collect();
    // Providers by name, then nodes without a provider.
    order.sort_by_key(|probe| {
        (hosts.node(probe.from).provider.is_none(), hosts.node(probe.from).provider.clone())
    });
    for probe in &order {
        number(group(probe.from));
    }
    for probe in order {
        let cell = (number(group(probe.from)), number(group(probe.to)));
        cells.entry(cell).or_default().push(probe);
    }
    let cell = |row: usize, column: usize| match cells.get(&(row, column)) {
        None => String::new(),
        Some(probes) => reached(probes),
    };
    let rows: Vec<Vec<String>> =
        (0..names.len()).map(|row| (0..names.len()).map(|column| cell(row, column)).collect()).collect();
    table(&names, &rows)
}

/// How many probes connected: `all`, `-`, or a fraction.
fn reached(probes: &[&Probe]) -> String {
    let connected = probes.iter().filter(|probe| probe.found == ProbeResult::Connected).count();
    match connected {
        0 => "-".to_owned(),
        all if all == probes.len() => ALL.to_owned(),
        some => format!("{some}/{}", probes.len()),
    }
}

fn table(names: &[String], rows: &[Vec<String>]) -> String {
    let first = names.iter().map(String::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().map(|row| row[column].len()).chain([names[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    let line = |title: &str, cells: &[String]| {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("  {cell:>width$}"));
        format!("  {title:<first$}{}\n", cells.collect::<String>()).trim_end().to_owned() + "\n"
    };
    let mut out = "What connected (rows) to what (columns), of the probes sent:\n".to_owned();
    out.push_str(&line("", names));
    for (name, row) in names.iter().zip(rows) {
        out.push_str(&line(name, row));
    }
    out
}

/// A packet in a few words: `10.0.1.2:40000 > 10.1.1.2:2379 tcp S`.
pub fn packet(bytes: &[u8]) -> String {
    let Ok(datagram) = wire::read(bytes) else { return "a broken packet".to_owned() };
    let (source, destination) = (datagram.source(), datagram.destination());
    match datagram.packet.transport {
        Transport::Tcp { source: from, destination: to, segment } => {
            format!("{source}:{from} > {destination}:{to} tcp {}", segment.letters())
        }
        Transport::Udp { source: from, destination: to } => {
            format!("{source}:{from} > {destination}:{to} udp")
        }
        Transport::Icmp { kind, code, .. } => format!("{source} > {destination} icmp {kind}/{code}"),
        Transport::Esp { spi } => format!("{source} > {destination} esp {spi:#x}"),
        Transport::Other(protocol) => format!("{source} > {destination} protocol {protocol}"),
    }
}
