//! Plays a scenario in a lab: makes its faults when they are due, and undoes them at the end.
//!
//! The lab itself withdraws the faults when this process ends for any reason: it watches a connection that stays open
//! while the scenario runs.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nixvol_net::router::mac_end;
use nixvol_net::scenario::{Act, Event, Scenario};

use super::client::{address, ask};
use super::protocol::{Asked, Reply, Request};
use super::watch::Watched;
use crate::commands::timeline::{Timeline, unknown_ends};

/// How often to check whether the lab is still there.
const LOOK: Duration = Duration::from_millis(200);

/// Plays a scenario in the lab at [`address`]; false if the lab ended first. The timeline goes to standard output, as
/// text or as JSON lines.
pub fn play(scenario: &Scenario, watched: &[Watched], json: bool) -> Result<bool> {
    let address = address();
    are_known(scenario, &address)?;
    let (reply, _, lab) = ask(&address, &Request::Own)?;
    let Reply::Owner(owner) = reply else { bail!("the lab is of another version of this program") };
    let over = AtomicBool::new(false);
    let values = watched.iter().map(|it| it.look(&over)).collect::<Result<Vec<_>>>()?;
    let timeline = Timeline::new(json);
    for (it, value) in watched.iter().zip(&values) {
        timeline.watched(&it.name, value.as_deref())?;
    }
    let is_whole = thread::scope(|scope| {
        let (over, timeline) = (&over, &timeline);
        let follow = |(it, value): (&'_ Watched, Option<String>)| {
            let it = it.clone();
            scope.spawn(move || it.follow(value, over, |name, value| timeline.watched(name, value)))
        };
        let watchers: Vec<_> = watched.iter().zip(values).map(follow).collect();
        let played = steps(scenario, (&address, owner), &lab, timeline);
        over.store(true, Ordering::Relaxed);
        for watcher in watchers {
            watcher.join().map_err(|_| anyhow!("the watcher has failed"))??;
        }
        played
    })?;
    if is_whole {
        timeline.done()?;
    }
    Ok(is_whole)
}

/// Makes each fault when it is due; false if the lab ended first.
fn steps(
    scenario: &Scenario,
    (address, owner): (&str, u64),
    lab: &UnixStream,
    timeline: &Timeline,
) -> Result<bool> {
    for event in scenario.events() {
        if !wait(lab, timeline.began() + event.at)? {
            return Ok(false);
        }
        if event.begins {
            let (reply, ..) = ask(address, &request(&event, owner))?;
            if let Reply::Wrong { message } = reply {
                return Err(anyhow!(message)).with_context(|| format!("cannot {}", event.step));
            }
        }
        timeline.event(&event)?;
    }
    Ok(true)
}

/// Checks that the lab has all volumes, providers and Macs that the scenario names, before anything happens.
fn are_known(scenario: &Scenario, address: &str) -> Result<()> {
    let (Reply::Status(status), ..) = ask(address, &Request::Status)? else {
        bail!("the lab is of another version of this program")
    };
    let nodes = status.nodes.iter().filter(|node| node.provider.is_some());
    let macs: Vec<String> = status.macs.iter().map(|mac| mac_end(&mac.name)).collect();
    let known: BTreeSet<&str> = nodes
        .flat_map(|node| [Some(node.name.as_str()), node.provider.as_deref()])
        .flatten()
        .chain(macs.iter().map(String::as_str))
        .collect();
    let lines = unknown_ends(scenario, &known);
    if lines.is_empty() { Ok(()) } else { bail!(lines.join("\n")) }
}

fn request(event: &Event, owner: u64) -> Request {
    let fault = |one: &str, other: Option<&str>, slow| {
        let (one, other, lasts) = (one.to_owned(), other.map(str::to_owned), event.step.lasts);
        Request::Fault(Asked { one, other, slow, lasts, owner: Some(owner) })
    };
    match &event.step.act {
        Act::Partition { one, other } => fault(one, other.as_deref(), None),
        Act::Slow { one, other, conditions } => {
            let slow = (conditions.latency_ms, conditions.loss, conditions.bandwidth_kbit);
            fault(one, other.as_deref(), Some(slow))
        }
        Act::Heal { one, other } => Request::Heal { one: one.clone(), other: other.clone() },
    }
}

/// Waits until a time; false if the lab ends before it.
fn wait(mut lab: &UnixStream, until: Instant) -> Result<bool> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(true);
        }
        lab.set_nonblocking(true)?;
        match lab.read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            _ => return Ok(false),
        }
        thread::sleep(left.min(LOOK));
    }
}
