//! What a scenario watches: the output of a command that is run again and again, told whenever it changes.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// The time from one run to the next.
const PAUSE: Duration = Duration::from_millis(300);
/// How long a run may take; then the value is not known.
const LONGEST: Duration = Duration::from_secs(5);
/// The longest value, in characters; more is left out.
const MOST: usize = 60;

/// A value to watch.
#[derive(Debug, Clone)]
pub struct Watched {
    /// Its name in the timeline.
    pub name: String,
    /// The command that prints it, for sh.
    pub command: String,
}

impl Watched {
    /// Runs the command once: the first line that it prints, or `None` if it fails or prints nothing.
    pub fn look(&self, over: &AtomicBool) -> Result<Option<String>> {
        let mut child = Command::new("sh")
            .args(["-c", &self.command])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run sh")?;
        let began = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if over.load(Ordering::Relaxed) || began.elapsed() > LONGEST {
                end(&mut child)?;
                return Ok(None);
            }
            thread::sleep(Duration::from_millis(20));
        };
        let mut text = String::new();
        child.stdout.take().context("a pipe")?.read_to_string(&mut text).unwrap_or_default();
        let line = text.lines().next().unwrap_or_default().trim();
        let line: String = line.chars().filter(|c| !c.is_control()).take(MOST).collect();
        Ok(Some(line).filter(|line| status.success() && !line.is_empty()))
    }

    /// Runs it until all is over, and tells every value that differs from the one before.
    pub fn follow(
        &self,
        first: Option<String>,
        over: &AtomicBool,
        tell: impl Fn(&str, Option<&str>) -> Result<()>,
    ) -> Result<()> {
        let mut before = first;
        while !over.load(Ordering::Relaxed) {
            thread::sleep(PAUSE);
            let now = self.look(over)?;
            if now != before && !over.load(Ordering::Relaxed) {
                tell(&self.name, now.as_deref())?;
                before = now;
            }
        }
        Ok(())
    }
}

fn end(child: &mut Child) -> Result<()> {
    child.kill().context("cannot end a command")?;
    child.wait().context("cannot end a command")?;
    Ok(())
}
