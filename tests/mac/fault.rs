//! Fault injection: the k-th command fails, the caller is killed before or after it, or the power fails.
//!
//! The file `fault` next to the kernel file says which: `fail 3`, `kill-before 3`, `kill-after 3`, `power 3`; `cut 3`
//! removes the default route before the third command runs, `blink 3` does until somebody sleeps, `flush 3` removes all of
//! dummynet's pipes; after `full:40 3` no file of the caller can grow beyond 40 bytes, as on a full disk. Commands are
//! counted over all of the toy's links, from 1, in the file `count`.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// The fault to inject at the command that is about to run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Fail,
    KillBefore,
    KillAfter,
    Power,
    Cut,
    Blink,
    Flush,
    Full(u64),
}

/// The number of this command. Commands of a pipeline run concurrently, so the counter is locked.
pub fn next_number(root: &Path) -> u64 {
    let file =
        OpenOptions::new().create(true).truncate(false).read(true).write(true).open(root.join("count"));
    let mut file = file.expect("the count can be opened");
    file.lock().expect("the count can be locked");
    let mut text = String::new();
    file.read_to_string(&mut text).expect("the count can be read");
    let number = text.trim().parse().unwrap_or(0) + 1;
    file.rewind().and_then(|()| writeln!(file, "{number}")).expect("the count can be written");
    number
}

/// The fault of this test, and the number of the command that it strikes.
pub fn told(root: &Path) -> Option<(Fault, u64)> {
    let text = fs::read_to_string(root.join("fault")).ok()?;
    let (kind, at) = text.trim().split_once(' ')?;
    let fault = match kind {
        "fail" => Fault::Fail,
        "kill-before" => Fault::KillBefore,
        "kill-after" => Fault::KillAfter,
        "power" => Fault::Power,
        "cut" => Fault::Cut,
        "blink" => Fault::Blink,
        "flush" => Fault::Flush,
        _ => Fault::Full(kind.strip_prefix("full:")?.parse().ok()?),
    };
    Some((fault, at.parse().ok()?))
}

/// The fault, if it strikes the command with this number.
pub fn strikes(told: Option<(Fault, u64)>, number: u64) -> Option<Fault> {
    told.filter(|(_, at)| *at == number).map(|(fault, _)| fault)
}

/// Injects a fault that strikes before the command does anything; returns the exit code if the command must not run.
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
        Fault::Blink => {
            let _ = fs::copy(root.join("kernel"), root.join("blinked"));
            take_away(root, "route\t0.0.0.0/0\t");
            None
        }
        Fault::Flush => {
            take_away(root, "pipe\t");
            None
        }
        Fault::Full(bytes) => {
            fill_disk(bytes);
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

/// The state after a reboot: what was saved as `boot`, with a new boot session.
pub fn power_loss(root: &Path) {
    let Ok(text) = fs::read_to_string(root.join("boot")) else {
        return;
    };
    let session = format!(
        "boot\tsession-{}\n",
        fs::read_to_string(root.join("count")).map_or(0, |c| c.trim().parse().unwrap_or(0))
    );
    let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
    // launchd's jobs, and the list of disabled ones, are on disk and survive.
    let kernel = fs::read_to_string(root.join("kernel")).unwrap_or_default();
    let stays = |line: &&str| line.starts_with("job\t") || line.starts_with("disabled\t");
    let stay: String = kernel.split_inclusive('\n').filter(stays).collect();
    let at = rest.split_inclusive('\n').take_while(|line| !line.starts_with("pf\t")).map(str::len).sum();
    let (before, behind) = rest.split_at(at);
    replace_kernel(root, &(session + before + &stay + behind));
}

/// Removes the records that begin with a text.
fn take_away(root: &Path, beginning: &str) {
    let text = fs::read_to_string(root.join("kernel")).unwrap_or_default();
    let mut kept: Vec<&str> = text.split_inclusive('\n').collect();
    kept.retain(|line| !line.starts_with(beginning));
    replace_kernel(root, &kept.concat());
}

/// Puts the default route back that a `blink` took away.
pub fn open_again(root: &Path) {
    let Ok(before) = fs::read_to_string(root.join("blinked")) else { return };
    let text = fs::read_to_string(root.join("kernel")).unwrap_or_default();
    let at = text.find("route\t").unwrap_or(text.len());
    let routes = before.split_inclusive('\n').filter(|line| line.starts_with("route\t0.0.0.0/0\t"));
    replace_kernel(root, &(text[..at].to_owned() + &routes.collect::<String>() + &text[at..]));
    let _ = fs::remove_file(root.join("blinked"));
}

/// Replaces the state by a rename, so that concurrent commands of a pipeline see either the old or the new state.
fn replace_kernel(root: &Path, text: &str) {
    let new = root.join(format!("kernel.{}", std::process::id()));
    let _ = fs::write(&new, text).and_then(|()| fs::rename(new, root.join("kernel")));
}

/// Lifts the limit of a full disk from this process, for the toy's own files, which stand for another disk.
pub fn lift_limit() {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let size = limits.lines().find_map(|line| line.strip_prefix("Max file size"));
    if size.is_none_or(|size| size.split_whitespace().next() != Some("unlimited")) {
        set_limit("unlimited", [std::process::id().to_string()]);
    }
}

/// Limits this process again, for a real tool, which writes to the caller's disk.
pub fn restore_limit(bytes: u64) {
    set_limit(&bytes.to_string(), [std::process::id().to_string()]);
}

/// Limits the file size for all processes of the caller's group and their later children.
fn fill_disk(bytes: u64) {
    let Some(group) = group_of("self") else { return };
    let own = std::process::id().to_string();
    let names = fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    set_limit(&bytes.to_string(), names.filter(|it| *it != own && group_of(it).as_ref() == Some(&group)));
}

/// Sets the file-size limit of processes. What is killed meanwhile has none.
fn set_limit(limit: &str, processes: impl IntoIterator<Item = String>) {
    for process in processes {
        let _ = Command::new("prlimit")
            .args(["--pid", &process, &format!("--fsize={limit}:")])
            .stderr(Stdio::null())
            .status();
    }
}

/// The process group of a process, by its pid or `self`.
pub fn group_of(process: &str) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(2).map(str::to_owned)
}

/// Kills this command's process group: the shell and all of its children.
fn kill_group() {
    let group = group_of("self");
    let Some(group) = group.filter(|group| group != "0" && group != "1") else {
        return;
    };
    let _ = Command::new("kill").args(["-KILL", "--", &format!("-{group}")]).status();
    // The signal may be delivered a moment later; nothing else may happen until then.
    std::thread::sleep(std::time::Duration::from_secs(5));
}
