//! `scenario`: plays a scenario on a Mac by the commands of the installed manager.
//!
//! The manager decides and acts; this program only tells it when. Each fault has a tag, by which it is ended whatever
//! else was made meanwhile, and a deadline, at which the manager ends it if this program is gone.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nixvol_net::scenario::{Act, Event, LONGEST, Scenario};
use serde::Deserialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::timeline::{self, Timeline};
use super::{BAD_INPUT, sentence, status};
use crate::cli::{Format, InputSource};

/// How often an undo is tried where another run of the manager is at work; the manager itself waits for it each time.
const TRIES: u32 = 3;
/// The manager's exit code if another run of it is at work.
const LOCKED: i32 = 4;

/// Runs `scenario`.
pub fn run(source: &InputSource, file: &Path, format: Format) -> Result<ExitCode> {
    let scenario = match timeline::read(file)? {
        Ok(scenario) => scenario,
        Err(exit) => return Ok(exit),
    };
    let manager = Manager(status::manager(source)?);
    let refusals = manager.seen()?.refusals(&scenario);
    if !refusals.is_empty() {
        for refusal in refusals {
            eprintln!("error: {refusal}");
        }
        return Ok(ExitCode::from(BAD_INPUT));
    }
    let signals = signals()?;
    let timeline = Timeline::new(format == Format::Json);
    let mut player =
        Player { scenario: &scenario, manager: &manager, timeline: &timeline, made: BTreeSet::new() };
    let outcome = player.play(&signals);
    let undone = player.undo();
    for error in [outcome.as_ref().err(), undone.as_ref().err()].into_iter().flatten() {
        eprintln!("error: {error:#}");
    }
    if undone.is_err() {
        return Ok(ExitCode::FAILURE);
    }
    let told = timeline.done();
    match outcome {
        Ok(true) => told.map(|()| ExitCode::SUCCESS),
        Ok(false) => {
            eprintln!("error: interrupted: what the scenario did is undone");
            Ok(ExitCode::FAILURE)
        }
        Err(_) => Ok(ExitCode::FAILURE),
    }
}

/// Receives a message for each signal that ends a program. From here on they do not end this one.
fn signals() -> Result<Receiver<()>> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).context("cannot handle signals")?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for _ in signals.forever() {
            if sender.send(()).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

/// The installed manager.
struct Manager(PathBuf);

/// How a command of the manager ended: its exit code, and what it printed.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Manager {
    /// Runs a command. It is in a process group of its own, so that Ctrl-C does not end it halfway; and it prints into
    /// files, since its timer for a deadline outlives it.
    fn run(&self, arguments: &[String]) -> Result<Ran> {
        let [mut out, mut err] = [file()?, file()?];
        let status = Command::new(&self.0)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::from(out.try_clone()?))
            .stderr(Stdio::from(err.try_clone()?))
            .process_group(0)
            .status()
            .map_err(|error| {
                let hint = "it is on a Mac where the network is installed, `--input` names another base; in the lab: `nixvol-net lab scenario`";
                anyhow!("cannot run {}: {}\nhint: {hint}", self.0.display(), sentence(&error.to_string()))
            })?;
        Ok(Ran { code: status.code(), out: text(&mut out)?, err: text(&mut err)? })
    }

    /// What its `status` shows. It exits with 1 if the Mac is not as declared, which is no error here.
    fn seen(&self) -> Result<Seen> {
        let ran = self.run(&["status".to_owned(), "--json".to_owned()])?;
        match (ran.code, serde_json::from_str(&ran.out)) {
            (Some(0 | 1), Ok(seen)) => Ok(seen),
            (Some(0 | 1), Err(error)) if !ran.out.is_empty() => {
                Err(error).with_context(|| format!("{} is of another version", self.0.display()))
            }
            _ => bail!("{} status failed\n{}", self.0.display(), ran.err.trim_end()),
        }
    }
}

fn file() -> Result<File> {
    tempfile::tempfile().context("cannot make a file")
}

fn text(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What is needed of the manager's status.
#[derive(Deserialize)]
struct Seen {
    wish: Option<String>,
    providers: Vec<Named>,
    volumes: Vec<Named>,
    faults: Vec<Fault>,
}

/// A provider, or a volume with its provider.
#[derive(Deserialize)]
struct Named {
    name: String,
    provider: Option<String>,
}

/// A fault that is in force.
#[derive(Deserialize)]
struct Fault {
    action: String,
    from: String,
    to: Option<String>,
    state: String,
}

impl Seen {
    /// Why the scenario cannot be played, before anything is changed.
    fn refusals(&self, scenario: &Scenario) -> Vec<String> {
        let mut all = Vec::new();
        if self.wish.as_deref() != Some("up") {
            all.push("the network is not up: start it first".to_owned());
        }
        if scenario.lasts() > Duration::from_secs(LONGEST) {
            all.push(
                "the scenario lasts longer than a week, which is the longest time of a fault".to_owned(),
            );
        }
        let known: BTreeSet<&str> =
            self.providers.iter().chain(&self.volumes).map(|it| it.name.as_str()).collect();
        all.extend(timeline::unknown_ends(scenario, &known));
        for fault in self.faults.iter().filter(|fault| fault.state != "over") {
            let is_met = |act: &Act| self.meets(act, fault);
            if let Some(step) = scenario.steps.iter().find(|step| is_met(&step.act)) {
                let Fault { action, from, to, state: _ } = fault;
                let ends = to.as_ref().map_or_else(|| from.clone(), |to| format!("{from} {to}"));
                all.push(format!(
                    "`{action} {ends}` is in force, and `{step}` of the scenario would end it\nhint: heal it first, or leave that step out"
                ));
            }
        }
        all
    }

    /// Whether a step would take over a fault, or heal it: as the manager does.
    fn meets(&self, act: &Act, fault: &Fault) -> bool {
        let (from, to) = (Some(fault.from.as_str()), fault.to.as_deref());
        let [one, other] = act.ends();
        match act {
            Act::Partition { .. } | Act::Slow { .. } => {
                fault.action == act.word() && ((from, to) == (one, other) || (to, from) == (one, other))
            }
            Act::Heal { .. } => {
                let within = |name, end| self.is_within(name, end);
                (within(from, one) && within(to, other)) || (within(to, one) && within(from, other))
            }
        }
    }

    fn is_within(&self, name: Option<&str>, end: Option<&str>) -> bool {
        let is_of = |it: &Named| Some(it.name.as_str()) == name && it.provider.as_deref() == end;
        end.is_none() || name == end || self.volumes.iter().any(is_of)
    }
}

/// Plays a scenario.
struct Player<'a> {
    scenario: &'a Scenario,
    manager: &'a Manager,
    timeline: &'a Timeline,
    /// The steps whose faults may be in force, by number.
    made: BTreeSet<usize>,
}

impl Player<'_> {
    /// Plays it to its end; false if a signal interrupted it.
    fn play(&mut self, signals: &Receiver<()>) -> Result<bool> {
        for event in self.scenario.events() {
            let left = (self.timeline.began() + event.at).saturating_duration_since(Instant::now());
            if signals.recv_timeout(left) != Err(RecvTimeoutError::Timeout) {
                return Ok(false);
            }
            self.act(&event)?;
            self.timeline.event(&event)?;
        }
        Ok(true)
    }

    fn act(&mut self, event: &Event) -> Result<()> {
        let step = event.step;
        let number =
            self.scenario.steps.iter().position(|it| std::ptr::eq(it, step)).context("a step of another")?;
        if !event.begins {
            self.heal(number)?;
            return Ok(());
        }
        let mut words = vec![step.act.word().to_owned()];
        words.extend(step.act.ends().into_iter().flatten().map(str::to_owned));
        match &step.act {
            Act::Heal { .. } => {}
            Act::Partition { .. } => self.limit(event, number, &mut words),
            Act::Slow { conditions, one: _, other: _ } => {
                for (option, value) in [
                    ("--latency", conditions.latency_ms.map(|ms| ms.to_string())),
                    (
                        "--loss",
                        conditions.loss.map(|_| (f64::from(conditions.loss_millionths()) / 1e6).to_string()),
                    ),
                    ("--bandwidth", conditions.bandwidth_kbit.map(|kbit| kbit.to_string())),
                ] {
                    words.extend(value.into_iter().flat_map(|value| [option.to_owned(), value]));
                }
                self.limit(event, number, &mut words);
            }
        }
        self.ok(&words).with_context(|| format!("cannot {}", step.act))
    }

    /// Gives a fault its tag, and the deadline at which it ends if this program does not end it: when its step or the
    /// scenario does, in whole seconds.
    fn limit(&mut self, event: &Event, number: usize, words: &mut Vec<String>) {
        self.made.insert(number);
        let over = event.step.lasts.map_or_else(|| self.scenario.lasts(), |lasts| event.at + lasts);
        let left = (self.timeline.began() + over).saturating_duration_since(Instant::now());
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        words.extend(["--for".to_owned(), seconds.max(1).to_string(), "--tag".to_owned(), tag(number)]);
    }

    /// Ends the fault of a step, and no other.
    fn heal(&mut self, number: usize) -> Result<()> {
        let step = &self.scenario.steps[number];
        self.ok(&["heal".to_owned(), "--tag".to_owned(), tag(number)])
            .with_context(|| format!("cannot heal `{}`; it ends by itself at its deadline", step.act))?;
        self.made.remove(&number);
        Ok(())
    }

    /// Ends all faults of this scenario that may still be in force.
    fn undo(&mut self) -> Result<()> {
        let mut result = Ok(());
        for number in self.made.clone() {
            result = result.and(self.heal(number));
        }
        result
    }

    fn ok(&self, words: &[String]) -> Result<()> {
        for attempt in 1.. {
            let Ran { code, out: _, err } = self.manager.run(words)?;
            match code {
                Some(0) => break,
                Some(LOCKED) if attempt < TRIES => {}
                _ => bail!("{}", err.trim_end()),
            }
        }
        Ok(())
    }
}

/// The tag of the fault of a step.
fn tag(number: usize) -> String {
    format!("scenario-{}-{number}", std::process::id())
}
