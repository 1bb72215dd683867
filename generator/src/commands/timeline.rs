//! The timeline of a scenario while it is played: a line for each event, as text or as JSON, with the time of day.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result, bail};
use nixvol_net::input::nearest;
use nixvol_net::scenario::{self, Event, Scenario, Told};

use super::{BAD_INPUT, versioned_line};
use crate::disk::given;

/// Reads a scenario file; `-` is standard input. Reports its mistakes, and returns the exit code then.
pub fn read(file: &Path) -> Result<std::result::Result<Scenario, ExitCode>> {
    let name = if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() };
    let text = String::from_utf8(given::read(file)?).with_context(|| format!("cannot read {name}"))?;
    Ok(scenario::read(&text).map_err(|mistakes| {
        for mistake in mistakes {
            eprintln!("error: {name}:{}{mistake}", if mistake.place.is_some() { "" } else { " " });
        }
        ExitCode::from(BAD_INPUT)
    }))
}

/// What is wrong with the names of a scenario in a network that has these providers and volumes: a message for each that it
/// does not have.
pub fn unknown_ends(scenario: &Scenario, known: &BTreeSet<&str>) -> Vec<String> {
    let named = scenario.steps.iter().flat_map(|step| step.act.ends()).flatten();
    let unknown: BTreeSet<&str> = named.filter(|end| !known.contains(end)).collect();
    let message = |end| {
        let near = nearest(end, known.iter().copied());
        let hint = near.map_or_else(String::new, |near| format!("\nhint: did you mean `{near}`?"));
        format!("this network has no provider or volume {end}{hint}")
    };
    unknown.into_iter().map(message).collect()
}

/// Writes the timeline to standard output.
pub struct Timeline {
    json: bool,
    began: Instant,
}

impl Timeline {
    /// A timeline that begins now.
    pub fn new(json: bool) -> Self {
        Self { json, began: Instant::now() }
    }

    /// When it began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// A step has begun or ended.
    pub fn event(&self, event: &Event) -> Result<()> {
        let Event { at: _, step, begins } = event;
        let what = if *begins { step.to_string() } else { format!("over: {}", step.act) };
        self.line(&what, |now, since| Told::of(event, now, since))
    }

    /// A watched value is another one; only the lab watches values.
    #[cfg(all(feature = "lab", target_os = "linux"))]
    pub fn watched(&self, name: &str, value: Option<&str>) -> Result<()> {
        let text = format!("{name}: {}", value.unwrap_or("none"));
        self.line(&text, |now, since| Told::watched(name, value, now, since))
    }

    /// All is over and undone.
    pub fn done(&self) -> Result<()> {
        self.line("done: what the scenario did is undone", Told::done)
    }

    /// Writes one line, with the time of day and the seconds since the start.
    fn line(&self, text: &str, data: impl FnOnce(String, f64) -> Told) -> Result<()> {
        let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        let since = (self.began.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
        let line = if self.json {
            versioned_line(data(now, since))?
        } else {
            format!("{now}  +{since:.3} s  {text}\n")
        };
        let mut out = io::stdout().lock();
        match out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => bail!("nobody reads the timeline"),
            written => written.context("cannot write to standard output"),
        }
    }
}
