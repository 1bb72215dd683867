//! The process that plays the Mac, or all Macs: sets up the lab, forwards packets, answers requests, and ends with its task.

use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow, bail};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nixvol_net::explain::{STOCK_MAIN, examples};
use nixvol_net::plan::Plan;
use nixvol_net::router::{
    AnchorSource, ExampleHosts, Node, NodeAttachment, NodeId, Router, RouterRules, Topology, Ways,
};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount,
};
use rustix::process::{Signal, set_parent_process_death_signal, setsid};
use tun_rs::SyncDevice;

use super::client::VARIABLE;
use super::control;
use super::enter::prepare;
use super::macs::Macs;
use super::node::{self, NodeNamespace};
use super::probe;
use super::pump::{Shared, pump};
use super::running::{Lab, OneMac, Running, declared, interfaces, unreadable};
use super::setup::{MacSetup, Setup, Task};

/// Plays the Mac until the task is done; returns its exit code. `descriptor` is a file with the [`Setup`] as JSON.
pub fn serve(descriptor: i32) -> Result<ExitCode> {
    let setup: Setup = serde_json::from_slice(&fs::read(format!("/proc/self/fd/{descriptor}"))?)
        .context("this command is for the lab's own use")?;
    nix::unistd::close(descriptor)?;
    if setup.task == Task::Stay {
        setsid()?;
    } else {
        set_parent_process_death_signal(Some(Signal::KILL))?;
    }
    let (macs, routers): (Vec<OneMac>, Vec<Router>) =
        setup.macs.iter().map(|mac| one(mac, &setup.task)).collect::<Result<Vec<_>>>()?.into_iter().unzip();
    let played = Macs::new(routers, &macs.iter().map(|mac| &mac.plan).collect::<Vec<_>>())?;
    own_mounts(&hosts(&setup, &played))?;
    let outside = node::listen(&setup.address)?;
    let made = |(mac, _, node): (usize, NodeId, &Node)| Ok((mac, node::make(node, &setup.address)?));
    let spaces = played.hosts().map(made).collect::<Result<Vec<_>>>()?;
    let mac = played.router(setup.this).topology().mac();
    let shared =
        Arc::new(Shared { macs: Mutex::new(played), sinks: Mutex::default(), began: Instant::now() });
    let mut nets = Vec::new();
    let mut devices = Vec::new();
    let mut attached = Vec::new();
    let mut listeners = vec![outside];
    for (mac, NodeNamespace { net, device, listener }) in spaces {
        attached.push(mac);
        nets.push(net);
        devices.push(device);
        listeners.push(listener);
    }
    let lab = Arc::new(Lab {
        shared: Arc::clone(&shared),
        nets,
        own: own_spaces()?,
        macs,
        this: setup.this,
        attached: attached.clone(),
        generation: AtomicU64::new(generation()),
        owners: AtomicU64::new(1),
    });
    carry(&shared, devices.into_iter().zip(attached).collect());
    for listener in listeners {
        let lab = Arc::clone(&lab);
        thread::spawn(move || control::answer(&lab, &listener));
    }
    setns(&lab.nets[mac.0], CloneFlags::CLONE_NEWNET)?;
    match setup.task {
        Task::Stay => {
            let null = File::options().read(true).write(true).open("/dev/null")?;
            rustix::stdio::dup2_stdout(&null)?;
            rustix::stdio::dup2_stderr(&null)?;
            reap(None)
        }
        Task::Run(command) => {
            let mut command = prepare(&command)?;
            match command.env(VARIABLE, &setup.address).spawn() {
                Ok(child) => reap(Some(child.id())),
                Err(error) => {
                    eprintln!("error: cannot run {}: {error}", command.get_program().display());
                    Ok(ExitCode::from(127))
                }
            }
        }
        Task::Test { json } => probe::run(&lab, json),
    }
}

/// A Mac as it is set up, and its router.
fn one(setup: &MacSetup, task: &Task) -> Result<(OneMac, Router)> {
    let MacSetup { input, anchor, file, hosts: _ } = setup;
    let declaration = declared(input)?;
    let plan = Plan::of(&declaration);
    let cast = cast(&plan, task);
    let topology = Topology::of(&plan, &cast);
    let interfaces = &interfaces(&plan);
    let source =
        AnchorSource { main: STOCK_MAIN, path: plan.anchor.as_str(), text: anchor, file, interfaces };
    let rules = RouterRules::load(&topology, &source).map_err(|errors| anyhow!(unreadable(file, &errors)))?;
    let mut ways = Ways::new(&plan.pipes);
    if let Task::Test { .. } = task {
        ways.ease();
    }
    let (loaded, file) = (Mutex::new(anchor.clone()), file.clone());
    let source = Mutex::new(Running { input: input.clone(), anchor: anchor.clone() });
    let mac = OneMac { declaration, plan, cast, file, loaded, source };
    Ok((mac, Router::new(topology, rules, ways)))
}

/// A number that no earlier lab had: the time of its start.
fn generation() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or_default()
}

/// Runs the packet loop in a thread of its own; if it fails, the whole process exits.
fn carry(shared: &Arc<Shared>, devices: Vec<(SyncDevice, usize)>) {
    let shared = Arc::clone(shared);
    let carrier = thread::spawn(move || pump(&shared, &devices));
    thread::spawn(move || {
        match carrier.join() {
            Ok(Err(error)) => eprintln!("error: the lab has failed: {error:#}"),
            _ => eprintln!("error: the lab has failed"),
        }
        std::process::exit(1);
    });
}

/// Addresses of the hosts that are not volumes. Only probes need a host in a provider's network that is not a volume.
fn cast(plan: &Plan, task: &Task) -> ExampleHosts {
    let examples = examples(plan);
    let is_needed = |bridge: &usize| {
        let provider = &plan.bridges[*bridge].provider;
        plan.volumes.iter().all(|volume| volume.provider != *provider)
    };
    let strangers = (0..plan.bridges.len())
        .filter(|bridge| matches!(task, Task::Test { .. }) && is_needed(bridge))
        .filter_map(|bridge| Some((bridge, examples.strangers[bridge]?)));
    ExampleHosts {
        mac: examples.mac,
        lan: examples.lan,
        internet: examples.internet,
        strangers: strangers.collect(),
    }
}

/// The names in the lab: those of all Macs' bundles, and of this Mac and the hosts around it.
fn hosts(setup: &Setup, macs: &Macs) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in setup.macs.iter().flat_map(|mac| mac.hosts.lines()) {
        if line.is_empty() || !lines.iter().any(|known| known == line) {
            lines.push(line.to_owned());
        }
    }
    let is_single = setup.macs.len() == 1;
    let outside = macs.hosts().filter(|(_, _, node)| node.provider.is_none());
    let own = outside.filter_map(|(mac, _, node)| {
        // Every Mac of several has its own LAN, with the same addresses: the name of a Mac is that of its address in
        // the tunnel.
        let address = if is_single { node.addresses.first() } else { node.addresses.last() };
        let is_told = is_single || node.side == NodeAttachment::Here || mac == setup.this;
        // The words alone are for this Mac and what is around it.
        let word = match (node.side, node.name.split_once('.')) {
            (NodeAttachment::Here, Some(_)) if mac == setup.this => " mac".to_owned(),
            (NodeAttachment::Outside, Some((word, _))) => format!(" {word}"),
            _ => String::new(),
        };
        is_told.then(|| format!("{} {}{word}", address.copied().unwrap_or(Ipv4Addr::LOCALHOST), node.name))
    });
    lines.extend(own);
    format!("127.0.0.1 localhost\n{}\n", lines.join("\n"))
}

/// Mounts that only the lab sees: its own /proc and name files, and no resolver beyond them.
fn own_mounts(hosts: &str) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("cannot isolate mounts")?;
    let hide = MountFlags::NOSUID | MountFlags::NODEV;
    // In a container with a partly covered /proc a user may not mount a new one: the old one then shows too many
    // processes, which does no harm.
    let _: rustix::io::Result<()> = mount("proc", "/proc", "proc", hide | MountFlags::NOEXEC, None);
    let place = Path::new("/tmp");
    mount("tmpfs", place, "tmpfs", hide, None).context("cannot mount a tmpfs")?;
    let files = [
        ("/etc/hosts", hosts),
        ("/etc/resolv.conf", "# The lab has the names of /etc/hosts and no others.\n"),
        ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
    ];
    for (number, (path, text)) in files.iter().enumerate() {
        let own = place.join(number.to_string());
        fs::write(&own, text)?;
        match fs::canonicalize(path) {
            Ok(path) => {
                mount_bind(&own, &path).with_context(|| format!("cannot cover {}", path.display()))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot find {path}")),
        }
    }
    unmount(place, UnmountFlags::DETACH).context("cannot expose /tmp")
}

/// The user, PID and mount namespaces of this process.
fn own_spaces() -> Result<[File; 3]> {
    let open = |name: &str| {
        File::open(format!("/proc/self/ns/{name}")).with_context(|| format!("no {name} namespace"))
    };
    Ok([open("user")?, open("pid")?, open("mnt")?])
}

/// Reaps children, as the init process of a PID namespace must, until the command ends.
fn reap(command: Option<u32>) -> Result<ExitCode> {
    loop {
        let (pid, code) = match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, code),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(Errno::ECHILD) if command.is_none() => {
                thread::sleep(Duration::from_millis(200));
                continue;
            }
            Err(error) => bail!("cannot wait for the command: {error}"),
        };
        if command.is_some_and(|command| i64::from(command) == i64::from(pid.as_raw())) {
            return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
        }
    }
}
