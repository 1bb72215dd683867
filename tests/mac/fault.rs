//! Faults: the k-th command fails, the caller dies before or after it, the power goes.
//!
//! The file `fault` beside the kernel says which: `fail 3`, `kill-before 3`, `kill-after 3`, `power 3`;
//! `cut 3` takes the default route away before the third command runs, and `flush 3` all of dummynet's pipes.
//! Commands are counted over all of the toy's links, from 1, in the file `count`.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::process::Command;

use rustix::fs::FlockOperation;

/// What strikes at the command that is about to run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Fail,
    KillBefore,
    KillAfter,
    Power,
    Cut,
    Flush,
}

/// The number of this command. Commands of a pipeline run side by side, so the count is kept under a lock.
pub fn next_number(root: &Path) -> u64 {
    let file =
        OpenOptions::new().create(true).truncate(false).read(true).write(true).open(root.join("count"));
    let mut file = file.expect("the count can be opened");
    rustix::fs::flock(&file, FlockOperation::LockExclusive).expect("the count can be locked");
    let mut text = String::new();
    file.read_to_string(&mut text).expect("the count can be read");
    let number = text.trim().parse().unwrap_or(0) + 1;
    file.rewind().and_then(|()| writeln!(file, "{number}")).expect("the count can be written");
    number
}

pub fn at(root: &Path, number: u64) -> Option<Fault> {
    let text = fs::read_to_string(root.join("fault")).ok()?;
    let (kind, at) = text.trim().split_once(' ')?;
    if at.parse() != Ok(number) {
        return None;
    }
    match kind {
        "fail" => Some(Fault::Fail),
        "kill-before" => Some(Fault::KillBefore),
        "kill-after" => Some(Fault::KillAfter),
        "power" => Some(Fault::Power),
        "cut" => Some(Fault::Cut),
        "flush" => Some(Fault::Flush),
        _ => None,
    }
}

/// The exit code of a command that fails before it does anything.
pub fn before(root: &Path, fault: Option<Fault>) -> Option<u8> {
    match fault? {
        Fault::Fail => {
            eprintln!("toymac: this command was told to fail");
            Some(1)
        }
        Fault::KillBefore => {
            kill_group();
            Some(137)
        }
        Fault::Power => {
            power_loss(root);
            kill_group();
            Some(137)
        }
        Fault::Cut => {
            take_away(root, "route\t0.0.0.0/0\t");
            None
        }
        Fault::Flush => {
            take_away(root, "pipe\t");
            None
        }
        Fault::KillAfter => None,
    }
}

pub fn after(_root: &Path, fault: Option<Fault>) {
    if fault == Some(Fault::KillAfter) {
        kill_group();
    }
}

/// What a reboot leaves: the state that was kept as `boot`, with another boot session.
pub fn power_loss(root: &Path) {
    let Ok(text) = fs::read_to_string(root.join("boot")) else {
        return;
    };
    let session = format!(
        "boot\tsession-{}\n",
        fs::read_to_string(root.join("count")).map_or(0, |c| c.trim().parse().unwrap_or(0))
    );
    let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
    replace_kernel(root, &(session + rest));
}

/// Takes away the records that begin like this.
fn take_away(root: &Path, beginning: &str) {
    let text = fs::read_to_string(root.join("kernel")).unwrap_or_default();
    let mut kept: Vec<&str> = text.split_inclusive('\n').collect();
    kept.retain(|line| !line.starts_with(beginning));
    replace_kernel(root, &kept.concat());
}

/// Commands of a pipeline run side by side: each sees the old state or the new one.
fn replace_kernel(root: &Path, text: &str) {
    let new = root.join(format!("kernel.{}", std::process::id()));
    let _ = fs::write(&new, text).and_then(|()| fs::rename(new, root.join("kernel")));
}

/// Kills the process group that this command runs in: the shell and all of its children.
fn kill_group() {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let group = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(2).map(str::to_owned));
    let Some(group) = group.filter(|group| group != "0" && group != "1") else {
        return;
    };
    let _ = Command::new("kill").args(["-KILL", "--", &format!("-{group}")]).status();
    // The signal may arrive a moment later; nothing may happen in between.
    std::thread::sleep(std::time::Duration::from_secs(5));
}
