//! Plays a scenario in a lab: makes its faults when they are due, prints each with its time, and undoes them at the
//! end.
//!
//! The lab itself withdraws the faults when this process ends for any reason: it watches a connection that stays open
//! while the scenario runs.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow, bail};
use nixvol_net::input::nearest;
use nixvol_net::scenario::{Act, Event, Scenario, Told};

use super::client::{address, ask};
use super::control::{Asked, Reply, Request};
use super::watch::Watched;
use crate::commands::versioned_line;

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
    let began = Instant::now();
    let tell_value = |name: &str, value: Option<&str>| {
        tell(|now, since| line_of_value((name, value), now, since, json), began)
    };
    for (it, value) in watched.iter().zip(&values) {
        let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        print(&line_of_value((&it.name, value.as_deref()), now, 0.0, json)?)?;
    }
    let is_whole = thread::scope(|scope| {
        let (over, tell_value) = (&over, &tell_value);
        let follow = |(it, value): (&'_ Watched, Option<String>)| {
            let it = it.clone();
            scope.spawn(move || it.follow(value, over, tell_value))
        };
        let watchers: Vec<_> = watched.iter().zip(values).map(follow).collect();
        let played = steps(scenario, (&address, owner), &lab, began, json);
        over.store(true, Ordering::Relaxed);
        for watcher in watchers {
            watcher.join().map_err(|_| anyhow!("the watcher has failed"))??;
        }
        played
    })?;
    if is_whole {
        tell(|now, since| done(now, since, json), began)?;
    }
    Ok(is_whole)
}

/// Makes each fault when it is due; false if the lab ended first.
fn steps(
    scenario: &Scenario,
    (address, owner): (&str, u64),
    lab: &UnixStream,
    began: Instant,
    json: bool,
) -> Result<bool> {
    for event in scenario.events() {
        if !wait(lab, began + event.at)? {
            return Ok(false);
        }
        if event.begins {
            let (reply, ..) = ask(address, &request(&event, owner))?;
            if let Reply::Wrong { message } = reply {
                return Err(anyhow!(message)).with_context(|| format!("cannot {}", event.step));
            }
        }
        tell(|now, since| line(&event, now, since, json), began)?;
    }
    Ok(true)
}

/// Checks that the lab has all volumes and providers that the scenario names, before anything happens.
fn are_known(scenario: &Scenario, address: &str) -> Result<()> {
    let (Reply::Status(status), ..) = ask(address, &Request::Status)? else {
        bail!("the lab is of another version of this program")
    };
    let nodes = status.nodes.iter();
    let known: BTreeSet<&str> =
        nodes.flat_map(|node| [Some(node.name.as_str()), node.provider.as_deref()]).flatten().collect();
    let named = scenario.steps.iter().flat_map(|step| step.act.ends()).flatten();
    let unknown: BTreeSet<&str> = named.filter(|end| !known.contains(end)).collect();
    let lines: Vec<String> = unknown
        .into_iter()
        .map(|end| match nearest(end, known.iter().copied()) {
            Some(near) => format!("nobody in the lab is called `{end}`\nhint: did you mean `{near}`?"),
            None => format!("nobody in the lab is called `{end}`"),
        })
        .collect();
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

/// Prints one line, given the time of day and the seconds since the start.
fn tell(line: impl Fn(String, f64) -> Result<String>, began: Instant) -> Result<()> {
    let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    print(&line(now, (began.elapsed().as_secs_f64() * 1000.0).round() / 1000.0)?)
}

fn print(line: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => bail!("nobody reads the timeline"),
        written => written.context("cannot write to standard output"),
    }
}

/// The line for the begin or the end of a step.
fn line(event: &Event, now: String, since: f64, json: bool) -> Result<String> {
    if json {
        return versioned_line(Told::of(event, now, since));
    }
    let Event { at: _, step, begins } = event;
    let what = if *begins { step.to_string() } else { format!("over: {}", step.act) };
    Ok(format!("{now}  +{since:.3} s  {what}\n"))
}

/// The line for a watched value.
fn line_of_value((name, value): (&str, Option<&str>), now: String, since: f64, json: bool) -> Result<String> {
    if json {
        return versioned_line(Told::watched(name, value, now, since));
    }
    Ok(format!("{now}  +{since:.3} s  {name}: {}\n", value.unwrap_or("none")))
}

/// The last line: everything that the scenario did is undone.
fn done(now: String, since: f64, json: bool) -> Result<String> {
    if json {
        return versioned_line(Told::done(now, since));
    }
    Ok(format!("{now}  +{since:.3} s  done: what the scenario did is undone\n"))
}
