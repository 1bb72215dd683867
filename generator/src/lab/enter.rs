//! Enters a lab: joins the namespaces of a node, and runs a command there.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use rustix::fs::fstat;

use super::client::{VARIABLE, address, ask};
use super::protocol::{Reply, Request};

/// The exit code if a command cannot be started.
const CANNOT_START: u8 = 127;

/// Runs a command as a node of a lab, and returns its exit code.
pub fn exec(node: &str, command: &[OsString]) -> Result<u8> {
    let (reply, spaces, _) = ask(&address(), &Request::Enter { node: node.to_owned() })?;
    if let Reply::Wrong { message } = reply {
        bail!(message);
    }
    let here = std::env::current_dir();
    enter(spaces)?;
    if let Ok(here) = here {
        // If the lab does not see the directory, the command starts in the root directory.
        let _ = std::env::set_current_dir(here);
    }
    let mut command = prepare(command)?;
    // Ctrl-C must end the command, not this process.
    leave_signals_to_the_command()?;
    match command.env(VARIABLE, address()).status() {
        Ok(status) => Ok(code(status)),
        Err(error) => {
            eprintln!("error: cannot run {}: {error}", command.get_program().display());
            Ok(CANNOT_START)
        }
    }
}

/// A command with its arguments; an error if it is empty.
pub fn prepare(command: &[OsString]) -> Result<Command> {
    let Some((program, arguments)) = command.split_first() else {
        bail!("no command\nhint: put `-- COMMAND` after the options");
    };
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

/// Ignores SIGINT and SIGQUIT here, but not in commands that are started later.
pub fn leave_signals_to_the_command() -> Result<()> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGQUIT] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(())
}

/// The exit code as a shell reports it: 128 plus the signal for a killed process.
pub fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Joins namespaces in the order that the kernel requires: user, PID, mount, network.
fn enter(spaces: Vec<OwnedFd>) -> Result<()> {
    let kinds = [
        (CloneFlags::CLONE_NEWUSER, "user"),
        (CloneFlags::CLONE_NEWPID, "pid"),
        (CloneFlags::CLONE_NEWNS, "mnt"),
        (CloneFlags::CLONE_NEWNET, "net"),
    ];
    if spaces.len() != kinds.len() {
        bail!("the lab gave {} namespaces", spaces.len());
    }
    let own = kinds.map(|(_, name)| File::open(format!("/proc/self/ns/{name}")).ok());
    for (((kind, name), space), own) in kinds.into_iter().zip(spaces).zip(own) {
        if own.is_none_or(|own| !is_same(&own, &space)) {
            setns(space, kind).with_context(|| format!("cannot enter the lab's {name} namespace"))?;
        }
    }
    Ok(())
}

fn is_same(one: impl AsFd, other: impl AsFd) -> bool {
    match (fstat(one), fstat(other)) {
        (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}
