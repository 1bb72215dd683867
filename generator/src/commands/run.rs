//! `run`: runs a program whose sockets are bound to a volume's address.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use nixvol_net::executable::{self, Obstacle, System};
use nixvol_net::input::nearest;
use nixvol_net::model::{Declaration, VolumeAttachment};
use nixvol_net::plan::{Plan, PlannedVolume};

use super::pf::harmless;
use super::{read, reject, sentence};
use crate::cli::run::RunArguments;

/// The exit code if the program cannot act as the volume.
const NOT_AS_VOLUME: u8 = 125;
/// The exit code if the program exists but cannot be run.
const CANNOT_RUN: u8 = 126;
/// The exit code if there is no such program.
const NOT_THERE: u8 = 127;

/// The preloaded library, as built by the build script; empty if it could not be built.
const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/preload"));

const HERE: System = if cfg!(target_os = "macos") { System::MacOs } else { System::Linux };
/// The variable that names libraries for the dynamic linker to preload.
const VARIABLE: &str = match HERE {
    System::MacOs => "DYLD_INSERT_LIBRARIES",
    System::Linux => "LD_PRELOAD",
};
/// The file name extension of a shared library.
const ENDING: &str = match HERE {
    System::MacOs => "dylib",
    System::Linux => "so",
};

/// Runs `run`.
pub fn run(arguments: &RunArguments) -> ExitCode {
    let started = read(&arguments.source).and_then(|reading| match &reading.declaration {
        Ok(declaration) => start(declaration, arguments),
        Err(rejected) => {
            reject(&reading.name, rejected);
            Ok(NOT_AS_VOLUME)
        }
    });
    let code = started.unwrap_or_else(|error| {
        eprintln!("error: {}", sentence(&format!("{error:#}")));
        NOT_AS_VOLUME
    });
    ExitCode::from(code)
}

/// Replaces this process with the program; returns only on failure, with the exit code or an error.
fn start(declaration: &Declaration, arguments: &RunArguments) -> Result<u8> {
    let RunArguments { source: _, no_library, volume, command } = arguments;
    let plan = Plan::of(declaration);
    let volume = volume_of(&plan, volume)?;
    is_here(volume)?;
    let Some((name, rest)) = command.split_first() else {
        bail!("no command\nhint: `-- COMMAND` behind the volume")
    };
    let Some(path) = find(name) else {
        eprintln!("error: cannot run {}: there is no such program", harmless(&name.to_string_lossy()));
        return Ok(NOT_THERE);
    };
    let mut program = Command::new(&path);
    program.arg0(name).args(rest).envs(variables(declaration, &plan, volume));
    if !no_library {
        if let Some((path, obstacle)) = obstacle(&path, 0) {
            let hint = hint(&obstacle);
            bail!("{} {obstacle}\nhint: {hint}", harmless(&path.to_string_lossy()));
        }
        program.env(VARIABLE, libraries(&library()?));
    }
    let error = program.exec();
    eprintln!("error: cannot run {}: {}", harmless(&path.to_string_lossy()), sentence(&error.to_string()));
    Ok(if error.kind() == io::ErrorKind::NotFound { NOT_THERE } else { CANNOT_RUN })
}

fn volume_of<'a>(plan: &'a Plan, name: &str) -> Result<&'a PlannedVolume> {
    if let Some(volume) = plan.volumes.iter().find(|volume| volume.name.as_str() == name) {
        return Ok(volume);
    }
    let hint = match nearest(name, plan.volumes.iter().map(|volume| volume.name.as_str())) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "--input names the declaration; that of an installed network is BASE/networking/network.json"
            .to_owned(),
    };
    bail!("there is no volume `{}`\nhint: {hint}", harmless(name))
}

/// Checks that a program on this machine can bind the volume's address. Fails if the volume is a guest, or if the
/// address does not exist here.
fn is_here(volume: &PlannedVolume) -> Result<()> {
    let (name, address) = (&volume.name, volume.address);
    if let Some(mac) = &volume.mac {
        bail!("volume `{name}` is on the Mac `{mac}`\nhint: run the program there");
    }
    if volume.attachment == VolumeAttachment::Guest {
        bail!("volume `{name}` is a guest: a VM has its address\nhint: run the program inside the VM");
    }
    match UdpSocket::bind((address, 0)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            let mounted = match &volume.mount_point {
                Some(path) => format!(", and is something mounted at {path}"),
                None => String::new(),
            };
            bail!(
                "this machine does not have {address}, the address of `{name}`\nhint: is the network up{mounted}? \
                 `manage-macos-networking.sh status` shows it; in the lab, run it as that volume: `nixvol-net lab exec`"
            )
        }
        Err(error) => Err(error).with_context(|| format!("cannot bind {address}")),
    }
}

/// The environment variables that tell a program which volume it is.
fn variables(declaration: &Declaration, plan: &Plan, volume: &PlannedVolume) -> Vec<(&'static str, String)> {
    let provider = &declaration.providers[&volume.provider];
    let hosts = plan.volumes.iter().map(|it| format!("{} {}", it.address, it.host_names().join(" ")));
    let mut all = vec![
        ("NIXVOL_VOLUME", volume.name.to_string()),
        ("NIXVOL_ADDRESS", volume.address.to_string()),
        ("NIXVOL_NAME", volume.host_names()[0].clone()),
        ("NIXVOL_PROVIDER", volume.provider.to_string()),
        ("NIXVOL_NETWORK", provider.network.to_string()),
        ("NIXVOL_GATEWAY", provider.gateway.addr().to_string()),
        ("NIXVOL_HOSTS", hosts.collect::<Vec<_>>().join("\n")),
    ];
    // Always set, empty without an alias: otherwise the value of an enclosing `run` would be inherited.
    let alias = volume.alias.as_ref().map(Ipv4Addr::to_string);
    all.push(("NIXVOL_LOCALHOST", alias.unwrap_or_default()));
    all
}

/// The path of a command: as given if it contains a slash, otherwise from the first directory of PATH that has it.
fn find(name: &OsStr) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Path::new(name).exists().then(|| PathBuf::from(name));
    }
    let is_program = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(is_program)
}

/// The reason why a program, or the interpreter of a script, cannot take the library, with the path of the file
/// concerned. A file that cannot be read has none: running it reports the error.
fn obstacle(path: &Path, depth: u8) -> Option<(PathBuf, Obstacle)> {
    let path = fs::canonicalize(path).ok()?;
    if HERE == System::MacOs && executable::is_protected(&path.to_string_lossy()) {
        return Some((path, Obstacle::Protected));
    }
    let bytes = fs::read(&path).ok()?;
    if let Some(words) = executable::interpreter(&bytes) {
        // Interpreters that are scripts themselves are followed a few levels deep, as the system does.
        return obstacle(Path::new(words.first()?), depth + 1).filter(|_| depth < 4);
    }
    if fs::metadata(&path).is_ok_and(|it| it.mode() & 0o6000 != 0) {
        return Some((path, Obstacle::SetId));
    }
    executable::obstacle(&bytes, HERE).map(|obstacle| (path, obstacle))
}

fn hint(obstacle: &Obstacle) -> &'static str {
    match obstacle {
        Obstacle::Protected => {
            "take one from Nix or Homebrew (a shell too); or let it bind $NIXVOL_ADDRESS itself, with --no-library"
        }
        Obstacle::Static | Obstacle::Go | Obstacle::Foreign | Obstacle::SetId | Obstacle::Hardened => {
            "let it bind $NIXVOL_ADDRESS itself, as by a flag of its own, with --no-library"
        }
    }
}

/// The path of the library in the user's cache. It is written only if its content differs, and replaced atomically, so
/// that no program loads half a file.
fn library() -> Result<PathBuf> {
    if LIBRARY.is_empty() {
        bail!("this nixvol-net was built without the library\nhint: build it on the system that it is for");
    }
    let directory = cache()?.join("nixvol-net");
    let path = directory.join(format!("volume-{}.{ENDING}", digest()));
    if path.as_os_str().as_bytes().iter().any(|byte| b": ".contains(byte)) {
        bail!(
            "{} has a colon or a space, which {VARIABLE} cannot hold\nhint: set XDG_CACHE_HOME",
            path.display()
        );
    }
    if fs::read(&path).is_ok_and(|bytes| bytes == LIBRARY) {
        return Ok(path);
    }
    let write = || -> io::Result<()> {
        fs::create_dir_all(&directory)?;
        let mut file = tempfile::NamedTempFile::new_in(&directory)?;
        file.write_all(LIBRARY)?;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
        file.persist(&path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// The user's cache directory. Fails if neither HOME nor XDG_CACHE_HOME is set.
fn cache() -> Result<PathBuf> {
    let given = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = |below: &str| given("HOME").map(|home| home.join(below));
    let at = match HERE {
        System::MacOs => given("XDG_CACHE_HOME").or_else(|| home("Library/Caches")),
        System::Linux => given("XDG_CACHE_HOME").or_else(|| home(".cache")),
    };
    at.context("there is no directory for the library\nhint: set HOME or XDG_CACHE_HOME")
}

/// Half of the library's SHA-256, in hexadecimal, for its file name: several versions can coexist.
fn digest() -> String {
    use sha2::{Digest as _, Sha256};
    let half =
        Sha256::digest(LIBRARY).iter().take(16).fold(0_u128, |half, byte| half << 8 | u128::from(*byte));
    format!("{half:032x}")
}

/// The value of the preload variable: our library, then those that were set before.
fn libraries(ours: &Path) -> OsString {
    let before = std::env::var_os(VARIABLE).unwrap_or_default();
    let mut all = ours.as_os_str().to_owned();
    let others = before.as_bytes().split(|byte| b": ".contains(byte));
    for other in others.filter(|other| !other.is_empty() && *other != ours.as_os_str().as_bytes()) {
        all.push(":");
        all.push(OsStr::from_bytes(other));
    }
    all
}
