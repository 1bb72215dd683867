//! What a switch does to the Mac's disk: a bundle's files are installed, replaced and removed.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// The activation script, with the tools of the machine that runs the tests.
fn script() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/templates/activation/activate.sh");
    let text = fs::read_to_string(path).unwrap();
    let (before, after) = text.split_once("\nPATH=/usr/bin:/bin:/usr/sbin:/sbin\n").unwrap();
    format!("{before}\n{after}")
}

/// A temporary disk, with a manager that only records its calls.
struct Disk(TempDir);

impl Disk {
    fn new() -> Self {
        let disk = Self(tempfile::tempdir().unwrap());
        disk.bundle("one", &["hosts", "guests/a/10-volume.network"]);
        fs::create_dir(disk.at("newsyslog.d")).unwrap();
        disk.write("called.sh", &script(), 0o644);
        disk
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// Writes a bundle with these files in addition to those that every bundle has.
    fn bundle(&self, name: &str, files: &[&str]) {
        let called = self.at("called");
        let manager = format!("#!/bin/sh\necho {name} \"$1\" >>{}\n[ ! -e {0}.fail ]\n", called.display());
        self.write(&format!("{name}/manage-macos-networking.sh"), &manager, 0o555);
        self.write(&format!("{name}/newsyslog.d/nix-volumes.conf"), &format!("# {name}\n"), 0o444);
        for file in files {
            self.write(&format!("{name}/{file}"), &format!("{file} of {name}\n"), 0o444);
        }
    }

    fn write(&self, path: &str, text: &str, mode: u32) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // A read-only file cannot be overwritten without root.
        let _ = fs::remove_file(&path);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }

    fn run_with(&self, script: &Path, arguments: &[&Path]) -> Output {
        Command::new("/bin/sh").arg(script).arg(self.at("db/receipt")).args(arguments).output().unwrap()
    }

    fn install_with(&self, script: &Path, bundle: &str, base: &str, state: &str) -> Output {
        let (bundle, newsyslog) = (self.at(bundle), self.at("newsyslog.d/nix-volumes.conf"));
        let install = Path::new("install");
        self.run_with(
            script,
            &[install, &bundle, &newsyslog, &self.at(base), Path::new(state), Path::new("")],
        )
    }

    /// Installs a bundle under a base, for a state directory that exists only by name.
    fn install(&self, bundle: &str, base: &str, state: &str) -> Output {
        self.install_with(&self.at("called.sh"), bundle, base, state)
    }

    fn remove(&self) -> Output {
        self.run_with(&self.at("called.sh"), &[Path::new("remove")])
    }

    /// Every file and directory, by path, except the bundles and the record of calls.
    fn listing(&self) -> Vec<String> {
        fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, found);
                }
                found.push(path);
            }
        }
        let mut found = Vec::new();
        walk(self.0.path(), &mut found);
        let relative = |path: PathBuf| path.strip_prefix(self.0.path()).unwrap().display().to_string();
        let mut found: Vec<_> = found.into_iter().map(relative).collect();
        found.retain(|path| !["one", "two", "called"].iter().any(|name| path.starts_with(name)));
        found.sort();
        found
    }
}

#[track_caller]
fn done(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[track_caller]
fn failed(output: &Output, words: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains(words), "`{words}` is not in: {error}");
}

#[test]
fn installs_copies_and_removes_them_without_a_trace() {
    let disk = Disk::new();
    fs::create_dir(disk.at("db")).unwrap();
    let before = disk.listing();

    done(&disk.install("one", "opt/base", "/state"));
    let manager = disk.at("opt/base/networking/manage-macos-networking.sh");
    assert_eq!(fs::metadata(&manager).unwrap().permissions().mode() & 0o7777, 0o755);
    let hosts = disk.at("opt/base/networking/hosts");
    assert_eq!(fs::symlink_metadata(hosts).unwrap().permissions().mode() & 0o7777, 0o644);
    assert_eq!(
        disk.read("opt/base/networking/guests/a/10-volume.network"),
        "guests/a/10-volume.network of one\n"
    );
    assert_eq!(disk.read("newsyslog.d/nix-volumes.conf"), "# one\n");
    let installed = disk.listing();
    assert!(!disk.at("called").exists(), "installing runs nothing");

    done(&disk.install("one", "opt/base", "/state"));
    assert_eq!(disk.listing(), installed, "twice is once");

    done(&disk.remove());
    assert_eq!(disk.read("called"), "one cleanup\n");
    fs::remove_dir(disk.at("opt")).unwrap();
    assert_eq!(disk.listing(), before);
    done(&disk.remove());
    assert_eq!(disk.read("called"), "one cleanup\n", "a second removal finds nothing");
}

#[test]
fn a_newer_bundle_replaces_the_older() {
    let disk = Disk::new();
    done(&disk.install("one", "opt", "/state"));
    disk.bundle("two", &["hosts", "guests/b/10-volume.network"]);
    done(&disk.install("two", "opt", "/state"));
    assert_eq!(disk.read("opt/networking/hosts"), "hosts of two\n");
    assert!(disk.at("opt/networking/guests/b").exists());
    assert!(!disk.at("opt/networking/guests/a").exists());
    assert!(!disk.at("called").exists(), "the same places: nothing to clean up");
}

#[test]
fn moving_to_other_paths_cleans_up_the_old_installation() {
    let disk = Disk::new();
    disk.bundle("two", &[]);
    done(&disk.install("one", "opt", "/state"));
    done(&disk.install("two", "opt", "/elsewhere"));
    assert_eq!(disk.read("called"), "one cleanup\n");
    assert!(!disk.at("opt/networking/hosts").exists());
    done(&disk.install("one", "srv", "/elsewhere"));
    assert_eq!(disk.read("called"), "one cleanup\ntwo cleanup\n");
    assert!(!disk.at("opt").exists());
    assert!(disk.at("srv/networking/hosts").exists());
}

#[test]
fn foreign_files_stay() {
    let disk = Disk::new();
    disk.write("opt/networking/notes", "mine\n", 0o644);
    disk.write("opt/networking/hosts", "mine\n", 0o644);
    let before = disk.listing();
    failed(
        &disk.install("one", "opt", "/state"),
        "opt/networking/hosts already exists; hint: move it elsewhere",
    );
    assert_eq!(disk.listing(), before);

    fs::remove_file(disk.at("opt/networking/hosts")).unwrap();
    done(&disk.install("one", "opt", "/state"));
    done(&disk.remove());
    assert_eq!(disk.read("opt/networking/notes"), "mine\n");
    assert_eq!(fs::read_dir(disk.at("opt/networking")).unwrap().count(), 1);
}

#[test]
fn the_check_refuses_beforehand_and_changes_nothing() {
    let disk = Disk::new();
    let script = disk.at("called.sh");
    let (bundle, newsyslog, base) = (disk.at("one"), disk.at("newsyslog.d/nix-volumes.conf"), disk.at("opt"));
    let check = || {
        let words = [Path::new("check"), &bundle, &newsyslog, &base, Path::new("/state"), Path::new("")];
        disk.run_with(&script, &words)
    };
    // The manager of the new bundle is asked.
    let before = disk.listing();
    done(&check());
    assert_eq!(disk.read("called"), "one plan\n");
    disk.write("called.fail", "", 0o644);
    failed(&check(), "the network cannot be started, so nothing was changed");
    fs::remove_file(disk.at("called.fail")).unwrap();
    assert_eq!(disk.listing(), before);

    disk.write("opt/networking/hosts", "mine\n", 0o644);
    failed(&check(), "opt/networking/hosts already exists");
    fs::remove_file(disk.at("opt/networking/hosts")).unwrap();
    fs::set_permissions(disk.at("opt"), fs::Permissions::from_mode(0o777)).unwrap();
    failed(&check(), "can be changed by users other than root");
    fs::set_permissions(disk.at("opt"), fs::Permissions::from_mode(0o755)).unwrap();

    // If the network moves to other paths, only its removal is checked; its manager is not asked to start anything.
    done(&disk.install("one", "opt", "/elsewhere"));
    fs::remove_file(disk.at("called")).unwrap();
    let output = check();
    done(&output);
    assert!(String::from_utf8_lossy(&output.stderr).contains("note: the network moves from"));
    assert!(!disk.at("called").exists());

    // The same checks for a removal.
    let check_remove = || disk.run_with(&script, &[Path::new("check-remove")]);
    done(&check_remove());
    fs::set_permissions(disk.at("opt"), fs::Permissions::from_mode(0o777)).unwrap();
    failed(&check_remove(), "can be changed by users other than root");
    fs::set_permissions(disk.at("opt"), fs::Permissions::from_mode(0o755)).unwrap();
    done(&disk.remove());
    done(&check_remove());
}

#[test]
fn a_failed_cleanup_keeps_everything_for_the_next_try() {
    let disk = Disk::new();
    done(&disk.install("one", "opt", "/state"));
    let installed = disk.listing();
    disk.write("called.fail", "", 0o644);
    assert!(!disk.remove().status.success());
    assert!(!disk.install("one", "srv", "/state").status.success());
    assert_eq!(disk.listing(), installed);
    fs::remove_file(disk.at("called.fail")).unwrap();
    done(&disk.remove());
}

#[test]
fn a_base_that_others_can_change_is_refused() {
    let disk = Disk::new();
    for directory in ["opt", "opt/networking"] {
        fs::create_dir_all(disk.at(directory)).unwrap();
        for mode in [0o775, 0o757] {
            fs::set_permissions(disk.at(directory), fs::Permissions::from_mode(mode)).unwrap();
            failed(&disk.install("one", "opt", "/state"), "can be changed by users other than root");
        }
        fs::set_permissions(disk.at(directory), fs::Permissions::from_mode(0o755)).unwrap();
    }
    done(&disk.install("one", "opt", "/state"));
}

/// The script, killed before the n-th command that changes the disk.
fn mortal(disk: &Disk, dies_at: usize) -> PathBuf {
    let count = disk.at("called.count").display().to_string();
    let mut mortal = format!(
        "set -eu\nstep() {{ echo >>{count}; [ $(wc -l <{count}) -ne {dies_at} ] || {{ kill -9 $$; exit 9; }}; }}\n"
    );
    for command in ["chmod", "cp", "mkdir", "mv", "rm", "rmdir"] {
        writeln!(mortal, "{command}() {{ step; command {command} \"$@\"; }}").unwrap();
    }
    disk.write("called.count", "", 0o644);
    disk.write("called.mortal", &script().replace("set -eu\n", &mortal), 0o644);
    disk.at("called.mortal")
}

#[test]
fn a_run_killed_at_any_step_converges() {
    for dies_at in 1.. {
        let disk = Disk::new();
        let first = disk.install_with(&mortal(&disk, dies_at), "one", "opt", "/state");
        done(&disk.install("one", "opt", "/state"));
        assert!(!disk.listing().iter().any(|path| path.contains(".new")), "{dies_at}: {:?}", disk.listing());

        let second = disk.run_with(&mortal(&disk, dies_at), &[Path::new("remove")]);
        done(&disk.remove());
        assert_eq!(disk.listing(), ["db", "newsyslog.d"], "{dies_at}");
        if first.status.success() && second.status.success() {
            assert!(dies_at > 20);
            break;
        }
    }
}

#[test]
fn a_first_install_killed_at_any_step_can_be_removed() {
    for dies_at in 1..12 {
        let disk = Disk::new();
        disk.install_with(&mortal(&disk, dies_at), "one", "opt", "/state");
        done(&disk.remove());
        let left = disk.listing();
        assert!(left.iter().all(|path| path == "db" || path == "newsyslog.d"), "{dies_at}: {left:?}");
    }
}

/// Runs `activate.sh remove` with a launchctl that has a job; if `stubborn`, it fails to unload it.
fn removed_under_launchd(disk: &Disk, program: &str, plist: &str, stubborn: bool) -> Output {
    let job = disk.at("tools/job");
    let tool = format!(
        "#!/bin/sh\necho \"$*\" >>{called}\ncase $1 in\nprint) [ -e {job} ] && cat {job} ;;\nbootout) {} ;;\nesac\n",
        if stubborn { "exit 36".to_owned() } else { format!("rm {}", job.display()) },
        called = disk.at("called").display(),
        job = job.display(),
    );
    disk.write("tools/launchctl", &tool, 0o755);
    disk.write("tools/job", &format!("\tprogram = {program}\n"), 0o644);
    disk.write("plists/org.nix-volumes.networking.plist", plist, 0o644);
    let path = format!("{}:{}", disk.at("tools").display(), std::env::var("PATH").unwrap());
    Command::new("/bin/sh")
        .arg(disk.at("called.sh"))
        .arg(disk.at("db/receipt"))
        .arg("remove")
        .arg(disk.at("plists"))
        .env("PATH", path)
        .output()
        .unwrap()
}

#[test]
fn a_removal_unloads_only_our_job() {
    let plist = "plists/org.nix-volumes.networking.plist";
    let disk = Disk::new();
    done(&disk.install("one", "opt", "/state"));
    let manager = disk.at("opt/networking/manage-macos-networking.sh").display().to_string();
    done(&removed_under_launchd(&disk, &manager, &format!("<string>{manager}</string>\n"), false));
    assert!(!disk.at("tools/job").exists() && !disk.at(plist).exists());
    // The job is unloaded before the network is taken down.
    let called = disk.read("called");
    let at = |words: &str| called.find(words).unwrap_or_else(|| panic!("{words}: {called}"));
    assert!(at("bootout system/org.nix-volumes.networking") < at("one cleanup"), "{called}");

    // A plist whose path is XML-escaped is recognized by its bytes.
    let disk = Disk::new();
    disk.bundle("one", &["launchd/org.nix-volumes.networking.plist"]);
    done(&disk.install("one", "opt", "/state"));
    let bytes = disk.read("opt/networking/launchd/org.nix-volumes.networking.plist");
    done(&removed_under_launchd(&disk, "/elsewhere/networking/manage-macos-networking.sh", &bytes, false));
    assert!(!disk.at(plist).exists());

    // The job of another base is left alone.
    let disk = Disk::new();
    done(&disk.install("one", "opt", "/state"));
    let other = "/elsewhere/networking/manage-macos-networking.sh";
    let output = removed_under_launchd(&disk, other, &format!("<string>{other}</string>\n"), false);
    done(&output);
    assert!(disk.at("tools/job").exists() && disk.at(plist).exists());
    assert!(String::from_utf8_lossy(&output.stderr).contains("does not belong to this network and is kept"));

    // If launchd does not unload the job, that is reported, and nothing is removed.
    let disk = Disk::new();
    done(&disk.install("one", "opt", "/state"));
    let manager = disk.at("opt/networking/manage-macos-networking.sh").display().to_string();
    failed(&removed_under_launchd(&disk, &manager, "", true), "launchd does not unload");
    assert!(!disk.read("called").contains("cleanup") && disk.at("opt/networking/hosts").exists());
}
