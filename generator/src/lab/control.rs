//! The server side of a lab's socket: answers each request of the protocol.

use std::io::{BufRead, BufReader, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use nixvol_net::model::Conditions;
use nixvol_net::plan::Plan;
use nixvol_net::router::{
    Fault, Filter, Node, NodeAttachment, NodeId, PacketCounts, Router, Topology, Trouble,
};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::capture::serve as serve_capture;
use super::client::is_own;
use super::observe::traffic;
use super::protocol::{Asked, FaultStatus, LabState, NodeStatus, PipeStatus, Reply, Request};
use super::running::{Lab, Running, declared, unreadable};

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
    lab.shared.router().ways_mut().faults_mut().withdraw(owner);
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
    let mut router = lab.shared.router();
    router.tell_time(lab.shared.began.elapsed());
    let message = match request {
        Request::Fault(asked) => fault(lab, &mut router, asked)?,
        Request::Heal { one, other } => heal(lab, &mut router, [one.as_deref(), other.as_deref()])?,
        Request::Apply { input, anchor, ends, kill } => {
            let declaration = declared(input)?;
            let new = Plan::of(&declaration);
            if Topology::of(&new, &lab.cast) != *router.topology() || new.anchor != lab.plan.anchor {
                bail!(
                    "its volumes, providers or anchor differ from the lab's\nhint: `lab down` and `lab up` with it"
                );
            }
            router.rules_mut().apply(anchor).map_err(|errors| anyhow!(unreadable(&lab.file, &errors)))?;
            router.ways_mut().set_pipes(&new.pipes);
            let killed = router.end(ends);
            let mut loaded = lab.loaded.lock().unwrap_or_else(PoisonError::into_inner);
            if *kill {
                loaded.clear();
            }
            loaded.push_str(anchor);
            let mut source = lab.source.lock().unwrap_or_else(PoisonError::into_inner);
            *source =
                Running { generation: source.generation + 1, input: input.clone(), anchor: anchor.clone() };
            let states = router.rules().machine().states();
            let cut = if *kill { format!(", {killed} states killed") } else { String::new() };
            format!("{} rules loaded{cut}, {states} states stay", count(&router))
        }
        Request::Observe => {
            let generation = lab.source.lock().unwrap_or_else(PoisonError::into_inner).generation;
            let (status, traffic) = (Box::new(status(lab, &router)), traffic(&router));
            return Ok(Reply::Observed { generation, status, traffic });
        }
        Request::Source => {
            let Running { generation, input, anchor } =
                lab.source.lock().unwrap_or_else(PoisonError::into_inner).clone();
            return Ok(Reply::Source { generation, input, anchor });
        }
        Request::Loaded => {
            let text = lab.loaded.lock().unwrap_or_else(PoisonError::into_inner).clone();
            return Ok(Reply::Loaded { text });
        }
        _ => return Ok(Reply::Status(Box::new(status(lab, &router)))),
    };
    Ok(Reply::Done { message })
}

/// Makes a fault, and describes it in words.
fn fault(lab: &Lab, router: &mut Router, asked: &Asked) -> Result<String> {
    let Asked { one, other, slow, lasts, owner } = asked;
    let trouble = match *slow {
        None => Trouble::Cut,
        Some((latency, loss, bandwidth)) => {
            Trouble::Slow(Conditions::checked(latency, loss, bandwidth).map_err(|what| anyhow!(what))?)
        }
    };
    are_ends(lab, [Some(one.as_str()), other.as_deref()])?;
    let topology = router.topology();
    let ones = topology.group(one);
    let others = if let Some(other) = other {
        topology.group(other)
    } else {
        let is_other = |(id, node): &(NodeId, &Node)| node.provider.is_some() && !ones.contains(id);
        topology.nodes().filter(is_other).map(|(id, _)| id).collect()
    };
    let mut fault = Fault::new((one.clone(), &ones), (other.clone(), &others), trouble);
    fault.owner = *owner;
    fault.until = lasts.map(|lasts| lab.shared.began.elapsed() + lasts);
    let told = told(&fault);
    router.ways_mut().faults_mut().add(fault);
    let lasts = lasts.map_or_else(
        || "until it is healed".to_owned(),
        |lasts| format!("for {}", humantime::format_duration(lasts)),
    );
    Ok(format!("{told}, {lasts}"))
}

/// Ends faults, and says which.
fn heal(lab: &Lab, router: &mut Router, ends: [Option<&str>; 2]) -> Result<String> {
    are_ends(lab, ends)?;
    let provider = |name: &str| {
        lab.plan.volumes.iter().find(|it| it.name.as_str() == name).map(|it| it.provider.to_string())
    };
    let belongs = |name: &str, end: &str| name == end || provider(name).as_deref() == Some(end);
    let healed = router.ways_mut().faults_mut().heal(ends, belongs);
    if healed.is_empty() {
        return Ok(match ends {
            [Some(one), Some(other)] => format!("there is nothing to heal between {one} and {other}"),
            [Some(one), None] => format!("there is nothing to heal of {one}"),
            _ => "there is nothing to heal".to_owned(),
        });
    }
    let lines: Vec<String> = healed.iter().map(|fault| format!("{}: healed", told(fault))).collect();
    Ok(lines.join("\n"))
}

/// A fault in words: `slow aws gcp: 5 ms`.
fn told(Fault { one, other, trouble, .. }: &Fault) -> String {
    let other = other.as_deref().map_or_else(String::new, |other| format!(" {other}"));
    match trouble {
        Trouble::Cut => format!("partition {one}{other}"),
        Trouble::Slow(conditions) => format!("slow {one}{other}: {conditions}"),
    }
}

/// Checks that the endpoints of a fault are two different volumes or providers of this network, as the manager does.
fn are_ends(lab: &Lab, ends: [Option<&str>; 2]) -> Result<()> {
    let providers = lab.plan.bridges.iter().map(|bridge| bridge.provider.as_str());
    let known: Vec<&str> = providers.chain(lab.plan.volumes.iter().map(|it| it.name.as_str())).collect();
    if let Some(end) = ends.into_iter().flatten().find(|end| !known.contains(end)) {
        let near = nixvol_net::input::nearest(end, known.iter().copied());
        let hint = near
            .map_or_else(|| format!("it has {}", known.join(", ")), |near| format!("did you mean `{near}`?"));
        bail!("this network has no provider or volume {end}\nhint: {hint}");
    }
    match ends {
        [Some(one), Some(other)] if one == other => bail!("both endpoints are {one}"),
        _ => Ok(()),
    }
}

fn count(router: &Router) -> usize {
    use nixvol_net::pf::eval::RuleList;
    let loaded = router.rules().machine().loaded();
    let rulesets = loaded.rulesets().iter().filter(|ruleset| !ruleset.path().is_empty());
    rulesets.map(|ruleset| RuleList::ALL.iter().map(|list| ruleset.rules(*list).len()).sum::<usize>()).sum()
}

fn status(lab: &Lab, router: &Router) -> LabState {
    let topology = router.topology();
    let cut_from = |id: NodeId| {
        let cut = topology.nodes().filter(|(other, _)| router.ways().faults().is_cut(id, *other));
        cut.map(|(_, node)| node.name.clone()).collect()
    };
    let node = |(id, node): (NodeId, &Node)| NodeStatus {
        name: node.name.clone(),
        provider: node.provider.clone(),
        addresses: node.addresses.clone(),
        side: match node.side {
            NodeAttachment::Here => "mac",
            NodeAttachment::Bridge(_) => "bridge",
            NodeAttachment::Outside => "outside",
        }
        .to_owned(),
        cut_from: cut_from(id),
    };
    let pipes = router.ways().pipes().map(|(number, way, conditions)| PipeStatus {
        number,
        conditions: conditions.to_string(),
        way: way.to_owned(),
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
    let PacketCounts { delivered, blocked, dropped } = router.counts();
    LabState {
        nodes: topology.nodes().map(node).collect(),
        rules: count(router),
        pipes: pipes.collect(),
        faults: router.ways().faults().all().iter().map(fault).collect(),
        states: router.rules().machine().states(),
        delivered,
        blocked,
        dropped,
        seconds: lab.shared.began.elapsed().as_secs(),
    }
}

fn named(lab: &Lab, name: &str) -> Result<NodeId> {
    let router = lab.shared.router();
    let topology = router.topology();
    let plain = name.strip_suffix(".nixvol").unwrap_or(name);
    let found = topology.named(plain).or_else(|| {
        let (volume, provider) = plain.split_once('.')?;
        let id = topology.named(volume)?;
        (topology.node(id).provider.as_deref() == Some(provider)).then_some(id)
    });
    found.ok_or_else(|| unknown(name, topology.nodes().map(|(_, node)| node.name.as_str())))
}

fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> anyhow::Error {
    let known: Vec<&str> = known.collect();
    match nixvol_net::input::nearest(name, known.iter().copied()) {
        Some(near) => anyhow!("the lab has no host `{name}`\nhint: did you mean `{near}`?"),
        None => anyhow!("the lab has no host `{name}`\nhint: {}", known.join(", ")),
    }
}

fn group(lab: &Lab, name: &str, router: &Router) -> Result<Vec<NodeId>> {
    let topology = router.topology();
    let group = topology.group(name);
    if group.is_empty() {
        let providers = lab.plan.bridges.iter().map(|bridge| bridge.provider.as_str());
        return Err(unknown(name, topology.nodes().map(|(_, node)| node.name.as_str()).chain(providers)));
    }
    Ok(group)
}

/// The packets to capture for a node, a provider or a link.
fn filter(lab: &Lab, what: &str) -> Result<Filter> {
    let Some(number) = what.strip_prefix("links.") else {
        let router = lab.shared.router();
        return Ok(Filter::Nodes(group(lab, what, &router)?));
    };
    let link = lab.declaration.links.iter().find(|link| link.index.to_string() == number);
    let Some(link) = link else {
        bail!("there is no link `{what}`\nhint: links are numbered from 0 in the order of their declaration");
    };
    let router = lab.shared.router();
    let members = |ends: &std::collections::BTreeSet<nixvol_net::model::Endpoint>| {
        ends.iter().flat_map(|end| router.topology().group(end.name().as_str())).collect()
    };
    Ok(Filter::Between(members(&link.from), members(&link.to)))
}
