//! A simulation of the sandbox in which Nix builds the flake's check `tests`: no network, no root, no /usr, a shell at
//! /bin/sh, and only the tools of stdenv and the check's inputs on the PATH. What passes here on another Linux must
//! pass there.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::rig::{Ran, program};
use crate::support::{is_long, root, skipped};
use crate::tools::tool;

/// The tools of Nixpkgs' stdenv: coreutils, findutils, diffutils, sed, grep, awk, tar, gzip, make, bash, patch, file;
/// and glibc's `getent`, which the compiler wrapper puts on the PATH.
const STDENV: &[&str] = &[
    "[",
    "awk",
    "b2sum",
    "base32",
    "base64",
    "basename",
    "bash",
    "cat",
    "chgrp",
    "chmod",
    "chown",
    "chroot",
    "cksum",
    "cmp",
    "comm",
    "cp",
    "csplit",
    "cut",
    "date",
    "dd",
    "df",
    "diff",
    "dir",
    "dirname",
    "du",
    "echo",
    "egrep",
    "env",
    "expand",
    "expr",
    "factor",
    "false",
    "fgrep",
    "file",
    "find",
    "fmt",
    "fold",
    "getent",
    "grep",
    "groups",
    "gunzip",
    "gzip",
    "head",
    "hostid",
    "id",
    "install",
    "join",
    "link",
    "ln",
    "logname",
    "ls",
    "make",
    "md5sum",
    "mkdir",
    "mkfifo",
    "mknod",
    "mktemp",
    "mv",
    "nice",
    "nl",
    "nohup",
    "nproc",
    "numfmt",
    "od",
    "paste",
    "patch",
    "pathchk",
    "pr",
    "printenv",
    "printf",
    "pwd",
    "readlink",
    "realpath",
    "rm",
    "rmdir",
    "sed",
    "seq",
    "sh",
    "sha1sum",
    "sha256sum",
    "sha512sum",
    "shred",
    "shuf",
    "sleep",
    "sort",
    "split",
    "stat",
    "stdbuf",
    "stty",
    "sum",
    "sync",
    "tac",
    "tail",
    "tar",
    "tee",
    "test",
    "timeout",
    "touch",
    "tr",
    "true",
    "truncate",
    "tsort",
    "tty",
    "uname",
    "unexpand",
    "uniq",
    "unlink",
    "wc",
    "which",
    "whoami",
    "xargs",
    "yes",
];

/// The commands of each package that may be among the check's inputs.
const PACKAGES: &[(&str, &[&str])] = &[
    ("dash", &["dash"]),
    ("iproute2", &["ip"]),
    ("iputils", &["ping"]),
    ("libplist", &["plistutil"]),
    ("mawk", &["mawk"]),
    ("mksh", &["mksh"]),
    ("nix", &["nix", "nix-build", "nix-instantiate", "nix-store"]),
    ("procps", &["ps", "pgrep", "kill", "free", "uptime", "sysctl"]),
    ("shellcheck", &["shellcheck"]),
];

/// Makes the directory `$1` the root directory of user 1000: read-only directories are bind-mounted, the rest exists
/// already.
const ENTER: &str = r#"
set -eu
root=$1 source=$2 target=$3 rust=$4
shift 4
mount --bind "$root" "$root"
for directory in /usr/lib /usr/lib64 /usr/libexec /usr/share; do
    if [ -d "$directory" ]; then mount --rbind "$directory" "$root$directory"; fi
done
mount --bind /usr/bin "$root/machine"
mount --bind "$source" "$root$source"
mount --bind "$target" "$root$target"
mount --bind "$rust" "$root$rust"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
cd "$root"
# As Nix does it: a process in a chroot can make no user namespace, one behind pivot_root may.
pivot_root . old
/machine/umount -l /old
exec /machine/setpriv --reuid 1000 --regid 1000 --clear-groups \
    /machine/env -i -C "$source" PATH=/tools HOME=/homeless-shelter TMPDIR=/build USER=nixbld NIX_BUILD_TOP=/build \
    CARGO="$rust/bin/cargo" CARGO_HOME=/build/cargo \
    /tools/bash -c '"$@"; exit "$?"' builder "$@"
"#;

/// The package names after `pkgs.` and `named` in the check's input list.
fn inputs() -> Vec<String> {
    let flake = fs::read_to_string(root().join("flake.nix")).unwrap();
    let list = flake.split_once("testInputs =").unwrap().1.split_once("];").unwrap().0;
    let word =
        |rest: &str| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect::<String>();
    let mut found: Vec<String> =
        list.lines().filter_map(|line| line.trim().strip_prefix("pkgs.")).map(word).collect();
    found.extend(list.split("(named \"").skip(1).map(word));
    found
}

/// A directory with the sandbox's tools; none, reported as skipped, where it cannot be created.
fn sandbox() -> Option<TempDir> {
    let directory = TempDir::new().unwrap();
    if directory.path().metadata().unwrap().uid() != 0 {
        skipped("only root can make Nix's sandbox here");
        return None;
    }
    let at = |path: &str| directory.path().join(path);
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for path in [
        "usr/lib",
        "usr/lib64",
        "usr/libexec",
        "usr/share",
        "machine",
        "bin",
        "etc",
        "tools",
        "build",
        "dev",
        "proc",
        "tmp",
        "old",
    ] {
        fs::create_dir_all(at(path)).unwrap();
    }
    symlink("usr/lib", at("lib")).unwrap();
    symlink("usr/lib64", at("lib64")).unwrap();
    for path in ["build", "tmp"] {
        fs::set_permissions(at(path), fs::Permissions::from_mode(0o1777)).unwrap();
    }
    fs::write(at("etc/passwd"), "root:x:0:0::/build:/noshell\nnixbld:x:1000:1000::/build:/noshell\n")
        .unwrap();
    fs::write(at("etc/group"), "root:x:0:\nnixbld:!:1000:\n").unwrap();
    fs::write(at("etc/hosts"), "127.0.0.1 localhost\n").unwrap();
    let mut commands: Vec<&str> = STDENV.to_vec();
    let inputs = inputs();
    for input in &inputs {
        match PACKAGES.iter().find(|(package, _)| package == input) {
            Some((_, brought)) => commands.extend(*brought),
            None => commands.push(input),
        }
    }
    for command in commands {
        let Ok(real) = fs::canonicalize(Path::new("/usr/bin").join(command)) else {
            if inputs.iter().any(|input| input == command) {
                skipped(&format!("{command} is not installed, so the sandbox is without it"));
            }
            continue;
        };
        // A tool that depends on the name it was called by keeps that name.
        symlink(
            Path::new("/machine").join(real.strip_prefix("/usr/bin").unwrap_or(&real)),
            at("tools").join(command),
        )
        .unwrap();
    }
    symlink("/machine/busybox", at("bin/sh")).unwrap();
    for path in [root(), target(), &rust()] {
        fs::create_dir_all(at(path.strip_prefix("/").unwrap().to_str().unwrap())).unwrap();
    }
    Some(directory)
}

/// Cargo's target directory.
fn target() -> &'static Path {
    program().ancestors().nth(3).unwrap()
}

/// The compiler's installation directory.
fn rust() -> PathBuf {
    let cargo =
        std::env::var_os("CARGO").map(PathBuf::from).or_else(|| tool("cargo")).expect("cargo is installed");
    cargo.ancestors().nth(2).unwrap().to_owned()
}

fn enter(sandbox: &TempDir, words: &[&str]) -> Ran {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "sh", "-c", ENTER, "sh"]);
    command.arg(sandbox.path()).arg(root()).arg(target()).arg(rust()).args(words).current_dir("/");
    Ran::of(&command.output().expect("unshare runs"))
}

#[test]
fn the_sandbox_has_the_tools_of_the_check() {
    let inputs = inputs();
    assert!(inputs.len() > 7 && inputs.iter().any(|input| input == "original-awk"), "{inputs:?}");
    let Some(sandbox) = sandbox() else { return };
    for (test, expected) in [
        ("test ! -e /usr/bin", 0),
        ("test \"$(id -u)\" = 1000", 0),
        ("command -v git || command -v chromium", 127),
        (
            "dash -c true && mksh -c true && busybox sh -c true && original-awk 'BEGIN { }' && nix-instantiate --version",
            0,
        ),
    ] {
        let ran = enter(&sandbox, &["/bin/sh", "-c", test]);
        assert_eq!(ran.code, expected, "{test}: {}{}", ran.out, ran.err);
    }
}

/// Tests that call other programs, one for each program and each way to call it. All tests run here with `--long`, and in
/// the real check.
const SAMPLE: &[&str] = &[
    "activation::installs",
    "manager::every_shell",
    "manager::up_and_down_under_busybox",
    "manager_world::a_volume",
    "nix::every",
    "nix_build::the_bundle",
    "problems::",
    "program::",
    "shells::",
    "status::a_network",
];

/// `NIXVOL_SANDBOX` selects other tests to run.
#[test]
fn every_test_passes_in_the_sandbox() {
    let Some(sandbox) = sandbox() else { return };
    let test = std::env::current_exe().unwrap();
    let mut words = vec![test.to_str().unwrap(), "--skip", "sandbox::"];
    let chosen = std::env::var("NIXVOL_SANDBOX").unwrap_or_default();
    if !chosen.is_empty() {
        words.extend(chosen.split_whitespace());
    } else if !is_long() {
        words.extend(SAMPLE);
    }
    let ran = enter(&sandbox, &words);
    let failures = ran.out.split_once("\nfailures:\n").map_or("", |(_, failures)| failures);
    assert_eq!(ran.code, 0, "{failures}\n{}", ran.err);
    assert!(ran.out.contains(" passed; 0 failed;"), "{}", ran.out);
}
