//! The protocol of a lab's socket: requests and replies, one line of JSON each; and the server side.

use std::fs::File;
use std::io::{BufRead, BufReader, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use ipnet::Ipv4Net;
use nixvol_net::model::{Conditions, Declaration};
use nixvol_net::plan::Plan;
use nixvol_net::router::{
    ExampleHosts, Fault, Filter, Node, NodeAttachment, NodeId, PacketCounts, Router, Topology, Trouble,
};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::{Deserialize, Serialize};

use super::capture::serve as serve_capture;
use super::client::is_own;
use super::observe::{Traffic, traffic};
use super::pump::Shared;
use super::serve::{declared, unreadable};

/// A request to the lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Request {
    /// Report its state.
    Status,
    /// End the lab.
    Down,
    /// Pass the namespaces of a node, to run a command in them.
    Enter {
        /// The node's name.
        node: String,
    },
    /// Cut or slow the paths between two endpoints, or between one and all other volumes and providers.
    Fault(Asked),
    /// Assign a number to this client; faults made with it are withdrawn when the client disconnects.
    Own,
    /// End the faults between two endpoints, those that one endpoint has, or all.
    Heal {
        /// A volume or a provider; `None` ends all faults.
        one: Option<String>,
        /// Another volume or provider; `None` means whatever `one` is cut or slowed from.
        other: Option<String>,
    },
    /// Load other rules.
    Apply {
        /// The declaration that they were rendered from, as JSON.
        input: String,
        /// The text of the anchor.
        anchor: String,
        /// Connections to end: the networks of their source and destination.
        ends: Vec<(Ipv4Net, Ipv4Net)>,
        /// Whether `ends` accounts for all rules loaded before, so that [`Request::Loaded`] starts over with this
        /// anchor.
        kill: bool,
    },
    /// Report its state with its traffic.
    Observe,
    /// Report the declaration and the anchor that it runs.
    Source,
    /// Report the texts of the anchor by which open connections may have been permitted.
    Loaded,
    /// Send the packets of a node or a link as pcapng after the reply.
    Capture {
        /// A node, or a link as `links.0`.
        what: String,
    },
}

/// A fault to be made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Asked {
    /// A volume or a provider.
    pub one: String,
    /// Another volume or provider; `None` for all other volumes and providers.
    pub other: Option<String>,
    /// Latency in milliseconds, loss between 0 and 1, bandwidth in kbit/s of a slowed path; `None` for a cut one.
    pub slow: Option<(Option<u16>, Option<f64>, Option<u32>)>,
    /// How long it lasts; `None` until it is healed.
    pub lasts: Option<Duration>,
    /// The number from [`Reply::Owner`], if the fault ends with that client's connection.
    pub owner: Option<u64>,
}

/// A reply of the lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Reply {
    /// The request was carried out.
    Done {
        /// What was done, or empty.
        message: String,
    },
    /// The request failed.
    Wrong {
        /// Why, and what to do.
        message: String,
    },
    /// The number assigned to the client.
    Owner(u64),
    /// The state of the lab.
    Status(Box<LabState>),
    /// The state of the lab with its traffic.
    Observed {
        /// Which lab this is, and which declaration it runs: another number after a restart or an `apply`.
        generation: u64,
        /// Its state.
        status: Box<LabState>,
        /// Its traffic.
        traffic: Traffic,
    },
    /// The declaration that the lab runs, as JSON, and its anchor.
    Source {
        /// As in [`Reply::Observed`].
        generation: u64,
        /// The declaration.
        input: String,
        /// The text of the anchor.
        anchor: String,
    },
    /// The texts of the anchor loaded since connections were last ended.
    Loaded {
        /// The texts, concatenated.
        text: String,
    },
}

/// The state of a lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LabState {
    /// All nodes.
    pub nodes: Vec<NodeStatus>,
    /// Number of rules in anchors.
    pub rules: usize,
    /// The pipes for conditions of links.
    pub pipes: Vec<PipeStatus>,
    /// The faults in force.
    pub faults: Vec<FaultStatus>,
    /// Number of states.
    pub states: usize,
    /// Number of packets delivered.
    pub delivered: u64,
    /// Number of packets blocked by a rule or a state.
    pub blocked: u64,
    /// Number of packets not delivered for any other reason.
    pub dropped: u64,
    /// Uptime in seconds.
    pub seconds: u64,
}

/// A pipe that rules send packets into.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PipeStatus {
    /// The number of the dummynet pipe.
    pub number: u16,
    /// Its conditions, in words.
    pub conditions: String,
    /// The endpoints of its path: `aws -> azure`.
    pub way: String,
}

/// A fault in force.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FaultStatus {
    /// `partition` or `slow`.
    pub action: String,
    /// A volume or a provider.
    pub from: String,
    /// Another volume or provider; `None` for all other volumes and providers.
    pub to: Option<String>,
    /// The conditions of a slowed path, in words.
    pub conditions: Option<String>,
    /// Seconds until it ends; `None` if only healing ends it.
    pub seconds: Option<u64>,
}

/// A node of the lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// The volume's name, `mac`, `lan` or `internet`, or the provider of a host that is not a volume.
    pub name: String,
    /// Its provider, if any.
    pub provider: Option<String>,
    /// Its addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// Where it is attached: `mac`, `bridge` or `outside`.
    pub side: String,
    /// The nodes to which a fault cuts its path.
    pub cut_from: Vec<String>,
}

/// A running lab.
pub struct Lab {
    /// What the packet loop works on.
    pub shared: Arc<Shared>,
    /// Network namespaces, by node.
    pub nets: Vec<File>,
    /// The user, PID and mount namespaces of the lab.
    pub own: [File; 3],
    /// The declaration that the lab was started with.
    pub declaration: Declaration,
    /// The plan of that declaration.
    pub plan: Plan,
    /// Addresses of the hosts that are not volumes.
    pub cast: ExampleHosts,
    /// The name of the anchor's file in messages.
    pub file: String,
    /// The texts of the anchor since connections were last ended: an open one may have been permitted by any of them.
    pub loaded: Mutex<String>,
    /// What it runs now.
    pub source: Mutex<Running>,
    /// The number for the next client that asks for one.
    pub owners: AtomicU64,
}

/// The declaration and the rules that a lab runs.
#[derive(Clone)]
pub struct Running {
    /// Another number for every start and every `apply`.
    pub generation: u64,
    /// The declaration, as JSON.
    pub input: String,
    /// The text of the anchor.
    pub anchor: String,
}

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
