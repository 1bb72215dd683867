//! Enters a lab: the namespaces of a node, and a command in them.

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
use super::control::{Reply, Request};

/// The exit code of a command that cannot be started.
const CANNOT_START: u8 = 127;

/// Runs a command as a node of a lab, and gives its exit code.
pub fn exec(node: &str, command: &[OsString]) -> Result<u8> {
    let (reply, spaces, _) = ask(&address(), &Request::Enter { node: node.to_owned() })?;
    if let Reply::Wrong { message } = reply {
        bail!(message);
    }
    let here = std::env::current_dir();
    enter(spaces)?;
    if let Ok(here) = here {
        // A directory that the lab does not see is left for the root.
        let _ = std::env::set_current_dir(here);
    }
    let mut command = prepare(command)?;
    // What is typed to end the command is for the command.
    leave_signals_to_the_command()?;
    match command.env(VARIABLE, address()).status() {
        Ok(status) => Ok(code(status)),
        Err(error) => {
            eprintln!("error: cannot run {}: {error}", command.get_program().display());
            Ok(CANNOT_START)
        }
    }
}

/// A command with its arguments.
pub fn prepare(command: &[OsString]) -> Result<Command> {
    let Some((program, arguments)) = command.split_first() else {
        bail!("no command\nhint: put `-- COMMAND` after the options");
    };
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

/// Ignores what a terminal sends to everybody in front of it, but not for commands that are started later.
pub fn leave_signals_to_the_command() -> Result<()> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGQUIT] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(())
}

/// The code that a shell would give.
pub fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Enters namespaces in the order that the kernel asks for: user, process, mount, network.
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
