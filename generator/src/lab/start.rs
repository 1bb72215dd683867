//! Starts a lab: the process that plays the Mac, as init of a new PID namespace.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{getegid, geteuid};

use super::client::{ask, connect};
use super::enter::{code, leave_signals_to_the_command};
use super::protocol::Request;
use super::setup::Setup;

/// Poll interval while a lab starts.
const LOOK: Duration = Duration::from_millis(5);

/// Starts a lab that stays up, and returns when it is ready.
pub fn up(setup: &Setup) -> Result<()> {
    if connect(&setup.address)?.is_some() {
        bail!("a lab is up already\nhint: `nixvol-net lab down`, or `lab apply BUNDLE` for other rules");
    }
    let mut child = launch(setup, Stdio::null())?;
    loop {
        // It listens before it is ready, but answers only when it is.
        if connect(&setup.address)?.is_some() && ask(&setup.address, &Request::Status).is_ok() {
            return Ok(());
        }
        if let Some(status) = child.try_wait()? {
            bail!("the lab did not come up ({status})");
        }
        thread::sleep(LOOK);
    }
}

/// Starts a lab for a task, waits for it, and returns its exit code.
pub fn run(setup: &Setup) -> Result<u8> {
    let mut child = launch(setup, Stdio::inherit())?;
    leave_signals_to_the_command()?;
    Ok(code(child.wait()?))
}

fn launch(setup: &Setup, input: Stdio) -> Result<Child> {
    let mut file = File::from(memfd_create("nixvol-lab", MemfdFlags::empty()).context("no memory file")?);
    file.write_all(&serde_json::to_vec(setup)?)?;
    separate()?;
    Command::new("/proc/self/exe")
        .arg0("nixvol-net")
        .args(["lab", "serve", &file.as_raw_fd().to_string()])
        .stdin(input)
        .spawn()
        .context("cannot start the lab's process")
}

/// Creates the namespaces for the child: PID, and also user if the process is not root, or is root but not allowed to
/// create PID namespaces.
fn separate() -> Result<()> {
    let (user, group) = (geteuid(), getegid());
    if user.is_root() && unshare(CloneFlags::CLONE_NEWPID).is_ok() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID).context(
        "cannot make namespaces\nhint: run it as root, or allow user namespaces: \
         `sysctl kernel.unprivileged_userns_clone=1`, on Ubuntu `sysctl kernel.apparmor_restrict_unprivileged_userns=0`",
    )?;
    fs::write("/proc/self/setgroups", "deny").context("cannot set up the user namespace")?;
    fs::write("/proc/self/uid_map", format!("0 {} 1", user.as_raw()))
        .context("cannot set up the user namespace")?;
    fs::write("/proc/self/gid_map", format!("0 {} 1", group.as_raw()))
        .context("cannot set up the user namespace")
}
