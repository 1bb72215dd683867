//! The server side of a lab's socket: answers each request of the protocol.

use std::io::{BufRead, BufReader, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use ipnet::Ipv4Net;
use nixvol_net::plan::Plan;
use nixvol_net::router::{
    Fault, Filter, Node, NodeAttachment, NodeId, PacketCounts, Router, Topology, Trouble,
};
use nixvol_net::tunnel::PeerCounts;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::capture::serve as serve_capture;
use super::client::is_own;
use super::faults::{fault, heal, withdraw};
use super::macs::Macs;
use super::observe::traffic;
use super::protocol::{FaultStatus, LabState, MacStatus, NodeStatus, PeerStatus, PipeStatus, Reply, Request};
use super::running::{Lab, OneMac, Running, declared, unreadable};

/// Serves each connection in a thread of its own.
pub fn answer(lab: &Arc<Lab>, listener: &UnixListener) {
    for stream in listener.incoming().flatten() {
        let lab = Arc::clone(lab);
        thread::spawn(move || {
            // A client that disconnects in the middle of an answer needs none.
            let _: Result<()> = converse(&lab, &stream);
        });
    }
}

fn converse(lab: &Lab, stream: &UnixStream) -> Result<()> {
    if !is_own(stream)? {
        bail!("another user");
    }
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let request: Request = serde_json::from_str(&line)?;
    match request {
        Request::Down => {
            reply(stream, &Reply::Done { message: String::new() }, &[])?;
            std::process::exit(0);
        }
        Request::Enter { node } => match named(lab, &node) {
            Ok(id) => {
                let [user, pid, mount] = &lab.own;
                let spaces = [user.as_fd(), pid.as_fd(), mount.as_fd(), lab.nets[id.0].as_fd()];
                reply(stream, &Reply::Done { message: String::new() }, &spaces)
            }
            Err(error) => reply(stream, &wrong(&error), &[]),
        },
        Request::Capture { what } => match filter(lab, &what) {
            Ok(filter) => {
                reply(stream, &Reply::Done { message: String::new() }, &[])?;
                serve_capture(lab, stream, filter)
            }
            Err(error) => reply(stream, &wrong(&error), &[]),
        },
        Request::Own => own(lab, stream),
        request => {
            let answer = act(lab, &request).unwrap_or_else(|error| wrong(&error));
            reply(stream, &answer, &[])
        }
    }
}

/// Assigns a number to a client, and withdraws the faults made with it when the client disconnects, even by a crash.
fn own(lab: &Lab, mut stream: &UnixStream) -> Result<()> {
    let owner = lab.owners.fetch_add(1, Ordering::Relaxed);
    reply(stream, &Reply::Owner(owner), &[])?;
    let ended = stream.read(&mut [0]);
    withdraw(&mut lab.shared.macs(), owner);
    ended.map(|_| ()).context("the asker is gone")
}

fn wrong(error: &anyhow::Error) -> Reply {
    Reply::Wrong { message: format!("{error:#}") }
}

/// Sends one byte with descriptors, then the reply as a line.
fn reply(mut stream: &UnixStream, reply: &Reply, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        bail!("too many descriptors");
    }
    sendmsg(stream, &[IoSlice::new(b"\n")], &mut ancillary, SendFlags::empty())?;
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    stream.write_all(&line).context("cannot answer")
}

fn act(lab: &Lab, request: &Request) -> Result<Reply> {
    let mut macs = lab.shared.macs();
    macs.tell_time(lab.shared.began.elapsed());
    let message = match request {
        Request::Fault(asked) => fault(lab, &mut macs, asked)?,
        Request::Heal { one, other } => heal(lab, &mut macs, [one.as_deref(), other.as_deref()])?,
        Request::Apply { input, anchor, ends, kill } => apply(lab, &mut macs, (input, anchor), ends, *kill)?,
        Request::Observe => {
            let generation = lab.generation.load(Ordering::Relaxed);
            let (status, traffic) = (Box::new(status(lab, &macs)), traffic(&macs));
            return Ok(Reply::Observed { generation, status, traffic });
        }
        Request::Source => {
            let Running { input, anchor } = locked(&lab.this().source).clone();
            return Ok(Reply::Source { generation: lab.generation.load(Ordering::Relaxed), input, anchor });
        }
        Request::Loaded { mac } => {
            return Ok(Reply::Loaded {
                text: locked(&lab.macs[of_name(lab, mac.as_deref())?].loaded).clone(),
            });
        }
        _ => return Ok(Reply::Status(Box::new(status(lab, &macs)))),
    };
    Ok(Reply::Done { message })
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The Mac of this name; the only one has none.
fn of_name(lab: &Lab, name: Option<&str>) -> Result<usize> {
    let Some(mac) = lab.macs.iter().position(|mac| mac.name() == name) else {
        let known: Vec<&str> = lab.macs.iter().filter_map(OneMac::name).collect();
        match (name, known.as_slice()) {
            (Some(name), []) => {
                bail!("the bundle is of the Mac {name}, and the lab has one Mac without a name")
            }
            (Some(name), known) => bail!("the lab has no Mac {name}\nhint: it has {}", known.join(", ")),
            (None, _) => bail!("the lab has several Macs, and the bundle is of none of them"),
        }
    };
    Ok(mac)
}

/// Loads other rules on the Mac that they are for.
fn apply(
    lab: &Lab,
    macs: &mut Macs,
    (input, anchor): (&str, &str),
    ends: &[(Ipv4Net, Ipv4Net)],
    kill: bool,
) -> Result<String> {
    let declaration = declared(input)?;
    let new = Plan::of(&declaration);
    let at = of_name(lab, new.mesh.as_ref().map(|mesh| mesh.mac.as_str()))?;
    let mac = &lab.macs[at];
    let router = macs.router_mut(at);
    if Topology::of(&new, &mac.cast) != *router.topology() || new.anchor != mac.plan.anchor {
        bail!(
            "its volumes, providers or anchor differ from the lab's\nhint: `lab down` and `lab up` with it"
        );
    }
    router.rules_mut().apply(anchor).map_err(|errors| anyhow!(unreadable(&mac.file, &errors)))?;
    router.ways_mut().set_pipes(&new.pipes);
    let killed = router.end(ends);
    let mut loaded = locked(&mac.loaded);
    if kill {
        loaded.clear();
    }
    loaded.push_str(anchor);
    *locked(&mac.source) = Running { input: input.to_owned(), anchor: anchor.to_owned() };
    lab.generation.fetch_add(1, Ordering::Relaxed);
    let states = router.rules().machine().states();
    let cut = if kill { format!(", {killed} states killed") } else { String::new() };
    let on = mac.name().map_or_else(String::new, |name| format!(" on {name}"));
    Ok(format!("{} rules loaded{on}{cut}, {states} states stay", count(router)))
}

fn count(router: &Router) -> usize {
    use nixvol_net::pf::eval::RuleList;
    let loaded = router.rules().machine().loaded();
    let rulesets = loaded.rulesets().iter().filter(|ruleset| !ruleset.path().is_empty());
    rulesets.map(|ruleset| RuleList::ALL.iter().map(|list| ruleset.rules(*list).len()).sum::<usize>()).sum()
}

fn status(lab: &Lab, macs: &Macs) -> LabState {
    // Every Mac knows all faults.
    let faults = macs.router(lab.this).ways().faults();
    let name = |id: NodeId| macs.router(lab.this).topology().node(id).name.clone();
    let hosts: Vec<(NodeId, &Node)> = macs.hosts().map(|(_, id, node)| (id, node)).collect();
    let cut_from = |id: NodeId| {
        let cut = hosts.iter().filter(|(other, _)| faults.is_cut(id, *other));
        cut.map(|(other, _)| name(*other)).collect()
    };
    let node = |(id, node): &(NodeId, &Node)| NodeStatus {
        name: node.name.clone(),
        provider: node.provider.clone(),
        addresses: node.addresses.clone(),
        mac: lab.macs[lab.mac_of(*id)].name().map(str::to_owned),
        side: match node.side {
            NodeAttachment::Here => "mac",
            NodeAttachment::Bridge(_) => "bridge",
            NodeAttachment::Outside
            | NodeAttachment::Elsewhere
            | NodeAttachment::Mesh
            | NodeAttachment::Underlay => "outside",
        }
        .to_owned(),
        cut_from: cut_from(*id),
    };
    let pipes = macs.all().iter().zip(&lab.macs).flat_map(|(played, mac)| {
        played.router.ways().pipes().map(|(number, way, conditions)| PipeStatus {
            number,
            mac: mac.name().map(str::to_owned),
            conditions: conditions.to_string(),
            way: way.to_owned(),
        })
    });
    let now = lab.shared.began.elapsed();
    let fault = |fault: &Fault| FaultStatus {
        action: match fault.trouble {
            Trouble::Cut => "partition",
            Trouble::Slow(_) => "slow",
        }
        .to_owned(),
        from: fault.one.clone(),
        to: fault.other.clone(),
        conditions: match fault.trouble {
            Trouble::Cut => None,
            Trouble::Slow(conditions) => Some(conditions.to_string()),
        },
        seconds: fault.until.map(|until| until.saturating_sub(now).as_secs()),
    };
    let counts: Vec<PacketCounts> = macs.all().iter().map(|mac| mac.router.counts()).collect();
    let sum = |of: fn(&PacketCounts) -> u64| counts.iter().map(of).sum();
    LabState {
        nodes: hosts.iter().map(node).collect(),
        macs: (0..macs.all().len()).filter_map(|mac| mac_status(lab, macs, mac)).collect(),
        rules: macs.all().iter().map(|mac| count(&mac.router)).sum(),
        pipes: pipes.collect(),
        faults: faults.all().iter().map(fault).collect(),
        states: macs.all().iter().map(|mac| mac.router.rules().machine().states()).sum(),
        delivered: sum(|counts| counts.delivered),
        blocked: sum(|counts| counts.blocked),
        dropped: sum(|counts| counts.dropped),
        seconds: lab.shared.began.elapsed().as_secs(),
    }
}

/// A Mac of several, with its WireGuard.
fn mac_status(lab: &Lab, macs: &Macs, mac: usize) -> Option<MacStatus> {
    let name = |mac: usize| lab.macs[mac].name().map(str::to_owned);
    let (at, peers) = macs.peers(mac)?;
    let router = macs.router(mac);
    let faults = router.ways().faults();
    let is_cut = |other: usize| Some(faults.is_cut(macs.wire(mac)?, macs.wire(other)?));
    let peer = |(other, counts): &(usize, PeerCounts)| {
        let PeerCounts { handshake, sent, received, dropped } = *counts;
        Some(PeerStatus {
            name: name(*other)?,
            handshake_seconds: handshake.map(|since| since.as_secs()),
            sent,
            received,
            dropped,
            cut: is_cut(*other)?,
        })
    };
    Some(MacStatus {
        name: name(mac)?,
        address: lab.macs[mac].plan.mesh.as_ref()?.address,
        endpoint: at.to_string(),
        rules: count(router),
        states: router.rules().machine().states(),
        peers: peers.iter().filter_map(peer).collect(),
    })
}

/// The host of a name. The words for the Mac and what is around it mean this Mac if there are several.
fn named(lab: &Lab, name: &str) -> Result<NodeId> {
    let macs = lab.shared.macs();
    let topology = macs.router(lab.this).topology();
    let plain = name.strip_suffix(".nixvol").unwrap_or(name);
    let is_host = |id: &NodeId| id.0 < lab.nets.len();
    let found = topology.named(plain).or_else(|| group_of_words(lab, topology, plain)).or_else(|| {
        let (volume, provider) = plain.split_once('.')?;
        let id = topology.named(volume)?;
        (topology.node(id).provider.as_deref() == Some(provider)).then_some(id)
    });
    found.filter(is_host).ok_or_else(|| unknown(name, macs.hosts().map(|(_, _, node)| node.name.as_str())))
}

/// `mac`, `lan` or `internet` of several Macs: those of this Mac.
fn group_of_words(lab: &Lab, topology: &Topology, word: &str) -> Option<NodeId> {
    let this = lab.this().name()?;
    match word {
        "mac" => Some(topology.mac()),
        "lan" | "internet" => topology.named(&format!("{word}.{this}")),
        _ => None,
    }
}

fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> anyhow::Error {
    let known: Vec<&str> = known.collect();
    match nixvol_net::input::nearest(name, known.iter().copied()) {
        Some(near) => anyhow!("the lab has no host `{name}`\nhint: did you mean `{near}`?"),
        None => anyhow!("the lab has no host `{name}`\nhint: {}", known.join(", ")),
    }
}

fn group(lab: &Lab, name: &str, macs: &Macs) -> Result<Vec<NodeId>> {
    let topology = macs.router(lab.this).topology();
    let mut group = topology.group(name);
    group.extend(group_of_words(lab, topology, name).filter(|_| group.is_empty()));
    group.retain(|id| id.0 < lab.nets.len());
    if group.is_empty() {
        let providers = lab.this().plan.bridges.iter().map(|bridge| bridge.provider.as_str());
        return Err(unknown(name, macs.hosts().map(|(_, _, node)| node.name.as_str()).chain(providers)));
    }
    Ok(group)
}

/// The packets to capture for a node, a provider, a link, or the link between the Macs.
fn filter(lab: &Lab, what: &str) -> Result<Filter> {
    let macs = lab.shared.macs();
    if what == "macs" {
        let wires = macs.router(lab.this).topology().wires().to_vec();
        if wires.is_empty() {
            bail!(
                "the lab has one Mac, so there is no link between Macs\nhint: several are declared in `macs`"
            );
        }
        return Ok(Filter::Nodes(wires));
    }
    let Some(number) = what.strip_prefix("links.") else {
        return Ok(Filter::Nodes(group(lab, what, &macs)?));
    };
    let link = lab.this().declaration.links.iter().find(|link| link.index.to_string() == number);
    let Some(link) = link else {
        bail!("there is no link `{what}`\nhint: links are numbered from 0 in the order of their declaration");
    };
    let topology = macs.router(lab.this).topology();
    let members = |ends: &std::collections::BTreeSet<nixvol_net::model::Endpoint>| {
        ends.iter().flat_map(|end| topology.group(end.name().as_str())).collect()
    };
    Ok(Filter::Between(members(&link.from), members(&link.to)))
}
