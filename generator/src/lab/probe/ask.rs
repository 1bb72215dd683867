//! Sends probes: from each source node in a thread in its namespace, with listeners at their destinations.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use nixvol_net::router::NodeId;

use super::super::node::inside;
use super::super::running::Lab;
use super::hosts::Hosts;
use super::record::{Probe, ProbedService};
use super::sockets::{self, Ask};

/// How long to wait for an answer, at first and on retry: on a busy machine answers are late.
pub const PATIENCE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];
/// How long to wait for further packets of a difference.
pub const SEEN: Duration = Duration::from_millis(100);

/// Opens listeners for all probes, which live until the result is dropped.
pub fn listen(hosts: &Hosts, probes: &[Probe]) -> Result<Vec<sockets::Listeners>> {
    let mut asked: BTreeMap<NodeId, BTreeSet<(Ipv4Addr, ProbedService)>> = BTreeMap::new();
    for probe in probes {
        asked.entry(probe.to).or_default().insert((probe.destination, probe.service));
    }
    sockets::allow_many()?;
    let listen = |(id, asked): (NodeId, BTreeSet<(Ipv4Addr, ProbedService)>)| {
        let node = hosts.node(id);
        // A published port is translated from the alias to the volume's own address.
        let at = asked.into_iter().map(|(address, service)| {
            (if node.addresses.contains(&address) { address } else { node.addresses[0] }, service)
        });
        inside(&hosts.lab.nets[id.0], || sockets::Listeners::new(at.collect::<BTreeSet<_>>()))?
            .with_context(|| format!("cannot listen as {}", node.name))
    };
    asked.into_iter().map(listen).collect()
}

/// Runs the probes, then those with an unexpected result again with more patience: the machine may be busy.
pub fn ask_twice(lab: &Lab, probes: &mut [Probe]) -> Result<()> {
    ask_all(lab, probes, PATIENCE[0])?;
    let (places, mut again): (Vec<usize>, Vec<Probe>) = probes
        .iter()
        .enumerate()
        .filter(|(_, probe)| probe.found != probe.expected)
        .map(|(place, probe)| (place, probe.clone()))
        .unzip();
    ask_all(lab, &mut again, PATIENCE[1])?;
    for (place, second) in places.into_iter().zip(again) {
        probes[place].found = second.found;
    }
    Ok(())
}

/// Runs the probes, those of each source node in a thread in its namespace.
pub fn ask_all(lab: &Lab, probes: &mut [Probe], patience: Duration) -> Result<()> {
    let mut by_source: BTreeMap<NodeId, Vec<&mut Probe>> = BTreeMap::new();
    for probe in probes {
        by_source.entry(probe.from).or_default().push(probe);
    }
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for (from, mut probes) in by_source {
            let net = &lab.nets[from.0];
            threads.push(scope.spawn(move || {
                let asks: Vec<Ask> = probes
                    .iter()
                    .map(|probe| Ask {
                        source: probe.source,
                        destination: probe.destination,
                        service: probe.service,
                        size: probe.size,
                    })
                    .collect();
                let answers = inside(net, || sockets::ask(&asks, patience))??;
                probes.iter_mut().zip(answers).for_each(|(probe, answer)| probe.found = answer);
                anyhow::Ok(())
            }));
        }
        for thread in threads {
            thread.join().map_err(|_| anyhow!("a thread of probes failed"))??;
        }
        Ok(())
    })
}
