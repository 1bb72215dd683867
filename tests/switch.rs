//! Whole switches: the activation of nix-darwin (its real script if its source is given, otherwise the same order of
//! steps), run by root in a namespace whose root directory is a Mac's, with the toy Mac's commands.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nixvol_net::model;
use nixvol_net::plan::Plan;
use nixvol_net::render::{self, MANAGER};
use serde_json::Value;
use tempfile::TempDir;

use crate::nix::{evaluate, sources};
use crate::rig::{Mac, Ran, program, settled};
use crate::support::skipped;

const PLIST: &str = "Library/LaunchDaemons/org.nix-volumes.networking.plist";
const JOB: &str = "job\torg.nix-volumes.networking\t";
/// A VPN's route inside ibm's network.
const OVERLAP: &str = "route\t10.3.7.0/24\tutun4\tUSc\tutun4\t";

/// The command that removes everything, however it was installed.
pub const UNINSTALL: &str = "/opt/nix-volumes/uninstall.sh";

const ON: &str = "{ enable = true; }";
const OFF: &str = "{ enable = false; }";
const ONE_MORE: &str = r#"{ enable = true; volumes.added = { provider = "aws"; address = "10.0.9.9"; }; }"#;
const ONE_MORE_CONFIRMED: &str =
    r#"{ enable = true; confirmWithin = 2; volumes.added = { provider = "aws"; address = "10.0.9.9"; }; }"#;
const WITHOUT_THE_MODULE: &str = "null";

/// Mounts that turn the directory `$1` into a Mac's root: the Mac's commands in /usr/bin, those of this machine in
/// /bin.
const ENTER: &str = r#"
set -eu
root=$1 mac=$2 toy=$3
shift 3
mount --bind "$mac" "$root/usr"
for directory in lib lib32 lib64 libexec share; do
    if [ -d "/usr/$directory" ]; then mount --rbind "/usr/$directory" "$root/usr/$directory"; fi
done
mount --bind /usr/bin "$root/bin"
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --bind "$toy" "$root$toy"
exec chroot "$root" /bin/env -i PATH=/usr/bin:/bin:/usr/sbin:/sbin HOME=/var/root "$@"
"#;

/// The build directory, which has the toy Mac's binary and the program below it.
fn built() -> &'static Path {
    program().ancestors().nth(2).unwrap()
}

/// A Mac that is switched between systems.
pub struct Disk {
    pub mac: Mac,
    directory: TempDir,
    systems: std::cell::Cell<u32>,
}

impl Disk {
    /// None, reported as skipped, where no namespace can be created.
    pub fn new() -> Option<Self> {
        let disk = Self { mac: Mac::new(), directory: TempDir::new().unwrap(), systems: 0.into() };
        let root = disk.directory.path();
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
        for directory in [
            "usr",
            "bin",
            "sbin",
            "proc",
            "dev",
            "tmp",
            "nix/store",
            "opt",
            "var/db",
            "var/log",
            "var/run",
            "var/root",
            "Applications",
            "Library/LaunchDaemons",
            "Library/LaunchAgents",
            "Library/Fonts",
            "etc/ssh",
            "etc/pam.d",
            "etc/newsyslog.d",
        ] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::create_dir_all(disk.path(built())).unwrap();
        for directory in ["lib", "lib32", "lib64", "libexec", "share"] {
            fs::create_dir_all(disk.mac.root().join(directory)).unwrap();
            if directory.starts_with("lib") {
                symlink(format!("usr/{directory}"), root.join(directory)).unwrap();
            }
        }
        symlink("var/run", root.join("run")).unwrap();
        // awk may be a link into /etc, which the new root does not have.
        let awk = fs::canonicalize("/usr/bin/awk").unwrap_or_default();
        symlink(Path::new("/bin").join(awk.file_name().unwrap_or_default()), root.join("sbin/awk")).unwrap();
        for (file, text) in [
            ("etc/hosts", crate::network::HOSTS),
            ("etc/profile", ""),
            ("etc/synthetic.conf", "run\tprivate/var/run\n"),
            ("etc/pam.d/sudo", "auth include sudo_local\n"),
            ("etc/ssh/ssh_host_rsa_key", "key\n"),
            ("etc/ssh/ssh_host_ecdsa_key", "key\n"),
            ("etc/ssh/ssh_host_ed25519_key", "key\n"),
        ] {
            fs::write(root.join(file), text).unwrap();
            fs::set_permissions(root.join(file), fs::Permissions::from_mode(0o644)).unwrap();
        }
        let tried = disk.enter(&["/bin/bash", "-c", "test -x /usr/bin/ifconfig"]);
        if tried.code != 0 {
            let required = std::env::var_os("NIXVOL_LAB_REQUIRED").is_some();
            assert!(!required, "no namespace for a switch can be made here: {}", tried.err);
            skipped(&format!("no namespace for a switch can be made here: {}", tried.err.trim_end()));
            return None;
        }
        Some(disk)
    }

    /// The path on this machine of a path on the Mac.
    fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.directory.path().join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Runs a command as root of the Mac.
    pub fn enter(&self, words: &[&str]) -> Ran {
        let mut command = Command::new("unshare");
        command.arg(if self.directory.path().metadata().unwrap().uid() == 0 { "-m" } else { "-Urm" });
        command.args(["sh", "-c", ENTER, "sh"]).arg(self.directory.path()).arg(self.mac.root());
        command.arg(built()).args(words);
        command.output().map_or_else(
            |error| Ran { code: 127, out: String::new(), err: error.to_string() },
            |output| Ran::of(&output),
        )
    }

    fn manager(&self, words: &str) -> Ran {
        let manager = format!("/opt/nix-volumes/networking/{MANAGER}");
        let words: Vec<&str> = [manager.as_str()].into_iter().chain(words.split(' ')).collect();
        self.enter(&words)
    }

    pub fn write(&self, path: &str, text: &str, mode: u32) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Builds the system with these settings into the Mac's store; returns its path.
    fn build(&self, settings: &str) -> String {
        let real = sources()
            .map_or(String::new(), |(darwin, lib)| format!("nixDarwin = {darwin}; nixpkgsLib = {lib};"));
        let switch =
            evaluate(&format!("import ./tests/nix/switch.nix {{ settings = {settings}; {real} }}")).unwrap();
        let text = |field: &str| switch[field].as_str().unwrap();
        if !switch["bundle"].is_null() {
            self.bundle(text("bundle"), &switch["input"]);
        }
        let launchd = format!("{}/Library", text("launchd"));
        for directory in ["LaunchAgents", "LaunchDaemons"] {
            fs::create_dir_all(self.path(format!("{launchd}/{directory}"))).unwrap();
        }
        for (name, source) in switch["daemons"].as_object().unwrap() {
            let source = source.as_str().unwrap();
            if !self.path(source).exists() {
                self.write(source, "<plist/>\n", 0o444);
            }
            let link = self.path(format!("{launchd}/LaunchDaemons/{name}"));
            if !link.exists() && fs::symlink_metadata(&link).is_err() {
                symlink(source, link).unwrap();
            }
        }
        // Other store paths that the script calls.
        let script = text("script");
        let words = script.split(|c: char| c.is_whitespace() || "'\"$".contains(c));
        for word in words.filter(|word| word.starts_with("/nix/store/")) {
            if word.ends_with("-activate.sh") {
                let path = concat!(env!("CARGO_MANIFEST_DIR"), "/templates/activation/activate.sh");
                self.write(word, &fs::read_to_string(path).unwrap(), 0o444);
            } else if word.ends_with("/bin/rsync") {
                self.write(word, "#!/bin/sh\n", 0o555);
            } else if let Some((_, name)) = word.split_once("-coreutils/bin/") {
                fs::create_dir_all(self.path(word).parent().unwrap()).unwrap();
                // It exists already if the system is built twice.
                let _ = symlink(format!("/bin/{name}"), self.path(word));
            }
        }
        self.systems.set(self.systems.get() + 1);
        let system = format!("/nix/store/system-{}", self.systems.get());
        self.write(&format!("{system}/activate"), &script.replace("@out@", &system), 0o555);
        fs::create_dir_all(self.path(format!("{system}/etc"))).unwrap();
        symlink(launchd, self.path(format!("{system}/Library"))).unwrap();
        system
    }

    fn bundle(&self, at: &str, input: &Value) {
        let declaration = model::read(input.to_string().as_bytes()).expect("a valid declaration");
        for (path, file) in render::bundle(&declaration, &Plan::of(&declaration)).expect("a bundle").files {
            self.write(&format!("{at}/{path}"), &file.text, if file.executable { 0o555 } else { 0o444 });
        }
    }

    fn activate(&self, system: &str) -> Ran {
        self.enter(&["/bin/bash", &format!("{system}/activate")])
    }

    /// Switches to a system; the switch must succeed.
    #[track_caller]
    fn switch(&self, settings: &str) -> String {
        let system = self.build(settings);
        let ran = self.activate(&system);
        assert_eq!(ran.code, 0, "{settings}\n{}{}", ran.out, ran.err);
        assert_eq!(self.current().as_deref(), Some(system.as_str()));
        system
    }

    /// Tries a switch that must fail with this exit code and these words.
    #[track_caller]
    fn refused(&self, settings: &str, code: i32, words: &[&str]) {
        let before = self.current();
        let ran = self.activate(&self.build(settings));
        assert_eq!(ran.code, code, "{settings}\n{}{}", ran.out, ran.err);
        assert_eq!(self.current(), before);
        for word in words {
            assert!(ran.err.contains(word), "`{word}` is not in:\n{}", ran.err);
        }
    }

    fn current(&self) -> Option<String> {
        let link = fs::read_link(self.path("/run/current-system")).ok()?;
        Some(link.to_string_lossy().into_owned())
    }

    fn has_job(&self) -> bool {
        let (loaded, plist) = (self.mac.kernel().contains(JOB), self.path(PLIST).exists());
        assert_eq!(loaded, plist, "launchd has the job of the plist");
        loaded
    }

    /// Our paths that exist on the disk.
    fn ours(&self) -> Vec<&'static str> {
        let all = [
            PLIST,
            "opt/nix-volumes",
            "etc/newsyslog.d/nix-volumes.conf",
            "var/db/org.nix-volumes.networking.receipt",
            "var/db/org.nix-volumes.networking.receipt.files",
            "var/db/nix-volumes-networking",
            "var/log/nix-volumes-networking.log",
        ];
        all.into_iter().filter(|path| fs::symlink_metadata(self.path(path)).is_ok()).collect()
    }

    /// Asserts that nothing of ours is left: disk, launchd, kernel, hosts file.
    #[track_caller]
    pub fn assert_clean(&self, kernel: &str) {
        assert_eq!(self.ours(), [""; 0]);
        assert!(!self.has_job());
        // nix-darwin's own job stays.
        let others = self.mac.kernel().lines().find(|line| line.starts_with("job\t")).map(str::to_owned);
        let kernel: Vec<String> =
            settled(kernel).into_iter().filter(|line| !line.starts_with("job\t")).chain(others).collect();
        self.assert_kernel(&kernel);
        assert_eq!(fs::read_to_string(self.path("etc/hosts")).unwrap(), crate::network::HOSTS);
    }

    /// Asserts that the kernel is in the same state, regardless of the order in which things were created.
    #[track_caller]
    fn assert_kernel(&self, expected: &[String]) {
        let now = settled(&self.mac.kernel());
        let only = |here: &[String], there: &[String]| {
            here.iter().filter(|line| !there.contains(line)).cloned().collect::<Vec<_>>().join("\n")
        };
        assert_eq!(only(&now, expected), only(expected, &now));
    }

    #[track_caller]
    fn assert_up(&self, added: bool) {
        let status = self.manager("status");
        assert_eq!(status.code, 0, "{}{}", status.out, status.err);
        assert_eq!(self.mac.kernel().contains("10.0.9.9"), added);
    }
}

#[test]
fn enabling_twice_and_disabling() {
    let Some(disk) = Disk::new() else { return };
    let before = disk.mac.kernel();
    disk.switch(WITHOUT_THE_MODULE);
    disk.switch(OFF);
    disk.assert_clean(&before);
    let first = disk.activate(&disk.build(ON));
    assert_eq!(first.code, 0, "{}", first.err);
    assert!(!first.err.contains("nixvol: launchd"), "{}", first.err);
    disk.assert_up(false);
    assert!(disk.has_job());
    let up = disk.mac.kernel();
    disk.mac.forget_journal();
    disk.switch(ON);
    assert_eq!(disk.mac.changes(), [""; 0]);
    assert_eq!(disk.mac.kernel(), up);
    disk.switch(ONE_MORE);
    disk.assert_up(true);
    disk.switch(OFF);
    disk.assert_clean(&before);
}

#[test]
fn a_first_switch_that_is_refused_changes_nothing() {
    let Some(disk) = Disk::new() else { return };
    disk.mac.add(OVERLAP);
    let before = disk.mac.kernel();
    let words =
        ["the network 10.3.0.0/16 of ibm overlaps the route 10.3.7.0/24 on utun4", "nothing was changed"];
    disk.refused(ON, 2, &words);
    disk.assert_clean(&before);
    disk.switch(OFF);
    disk.assert_clean(&before);

    // A problem that appears only after the checks: the switch fails at its end, and disabling removes everything.
    disk.mac.remove(OVERLAP);
    let clean = disk.mac.kernel();
    let system = disk.build(ON);
    let activate = disk.path(format!("{system}/activate"));
    let text = fs::read_to_string(&activate).unwrap();
    let late = format!("printf '{}\\n' >>/usr/kernel\n", OVERLAP.replace('\t', "\\t"));
    let (head, tail) = text.rsplit_once("/opt/nix-volumes/networking/manage-macos-networking.sh").unwrap();
    let at = head.rfind('\n').unwrap() + 1;
    fs::remove_file(&activate).unwrap();
    disk.write(
        &format!("{system}/activate"),
        &format!(
            "{}{late}{}/opt/nix-volumes/networking/manage-macos-networking.sh{tail}",
            &head[..at],
            &head[at..]
        ),
        0o555,
    );
    let ran = disk.activate(&system);
    assert_eq!(ran.code, 3, "{}", ran.err);
    assert!(disk.has_job() && disk.current().is_some_and(|current| current != system));
    disk.mac.remove(OVERLAP);
    assert_eq!(disk.manager("reconcile").code, 0);
    disk.switch(OFF);
    disk.assert_clean(&clean);
}

#[test]
fn a_later_overlap_fails_no_unrelated_switch() {
    let Some(disk) = Disk::new() else { return };
    let before = disk.mac.kernel();
    disk.switch(ON);
    disk.mac.add(OVERLAP);
    let up = disk.mac.kernel();
    // Only the package changes; the network is the same.
    disk.switch(ON);
    assert_eq!(disk.mac.kernel(), up);
    // A change to the network that does not concern the overlap.
    disk.switch(ONE_MORE);
    assert!(disk.mac.kernel().contains("10.0.9.9"));
    assert_eq!(disk.manager("status").code, 1, "it is told");

    // After a reboot with the overlap in place reconcile refuses to start, but a switch that leaves the network as it
    // is succeeds.
    disk.mac.reboot();
    disk.mac.add(OVERLAP);
    let down = disk.mac.kernel();
    assert_eq!(disk.manager("reconcile").code, 3);
    disk.switch(ONE_MORE);
    assert_eq!(disk.mac.kernel(), down);
    // A switch that would change the network fails.
    disk.refused(ON, 2, &["the network 10.3.0.0/16 of ibm overlaps"]);
    disk.mac.remove(OVERLAP);
    assert_eq!(disk.manager("reconcile").code, 0);
    disk.assert_up(true);
    disk.switch(OFF);
    disk.assert_clean(&before);
}

#[test]
fn missing_call_points_fail_only_switches_with_changes() {
    let Some(disk) = Disk::new() else { return };
    disk.switch(ON);
    disk.mac.edit(|kernel| kernel.replace("\\nanchor \"com.apple/*\" all", ""));
    disk.switch(ON);
    disk.refused(ONE_MORE, 2, &["does not call com.apple/*", "nothing was changed"]);
}

#[test]
fn a_failed_start_keeps_the_old_network() {
    let Some(disk) = Disk::new() else { return };
    disk.switch(ON);
    let old = settled(&disk.mac.kernel());
    let names = fs::read_to_string(disk.path("etc/hosts")).unwrap();
    // Adding the new volume's address fails.
    let ifconfig = disk.mac.bin().join("ifconfig");
    fs::create_dir(disk.mac.root().join("toy")).unwrap();
    fs::rename(&ifconfig, disk.mac.root().join("toy/ifconfig")).unwrap();
    let broken = "#!/bin/sh\ncase $* in *10.0.9.9*) echo 'ifconfig: no' >&2; exit 1 ;; esac\nexec /usr/toy/ifconfig \"$@\"\n";
    fs::write(&ifconfig, broken).unwrap();
    fs::set_permissions(&ifconfig, fs::Permissions::from_mode(0o755)).unwrap();
    let same = || {
        disk.assert_kernel(&old);
        assert_eq!(fs::read_to_string(disk.path("etc/hosts")).unwrap(), names);
        assert!(disk.has_job());
    };
    disk.refused(ONE_MORE, 1, &["rolled back: nothing of the start is left"]);
    same();
    disk.manager("reconcile");
    same();
    disk.switch(ON);
    same();
    fs::remove_file(&ifconfig).unwrap();
    fs::rename(disk.mac.root().join("toy/ifconfig"), &ifconfig).unwrap();
    disk.switch(ONE_MORE);
    disk.assert_up(true);
}

#[test]
fn one_command_removes_what_a_generation_without_the_module_leaves() {
    let Some(disk) = Disk::new() else { return };
    let before = disk.mac.kernel();
    let without = disk.switch(WITHOUT_THE_MODULE);
    disk.switch(ON);
    let rolled_back = disk.activate(&without);
    assert_eq!((rolled_back.code, disk.current()), (0, Some(without)), "{}", rolled_back.err);
    assert!(!disk.has_job());
    let status = disk.manager("status");
    assert_eq!(status.code, 1);
    assert!(status.out.contains("problem      our launchd job is not loaded"), "{}", status.out);
    let removed = disk.enter(&[UNINSTALL]);
    assert_eq!(removed.code, 0, "{}{}", removed.out, removed.err);
    disk.assert_clean(&before);
    // Switching back to the module works.
    disk.switch(ON);
    disk.assert_up(false);
    // The command also unloads the job of a system that has the module; the next switch restores everything.
    assert_eq!(disk.enter(&[UNINSTALL]).code, 0);
    disk.assert_clean(&before);
    disk.switch(ON);
    assert!(disk.has_job());
    disk.assert_up(false);
}

#[test]
fn a_switch_without_confirmation_is_rolled_back() {
    let Some(disk) = Disk::new() else { return };
    disk.switch(ON);
    let old = settled(&disk.mac.kernel());
    disk.switch(ONE_MORE_CONFIRMED);
    assert!(disk.mac.kernel().contains("10.0.9.9"));
    let deadline = Instant::now() + Duration::from_secs(20);
    while disk.path("var/db/nix-volumes-networking/pending").exists()
        || disk.path("var/db/nix-volumes-networking/lock").exists()
    {
        assert!(Instant::now() < deadline, "it was not taken back");
        std::thread::sleep(Duration::from_millis(100));
    }
    disk.assert_kernel(&old);
    // The next reconcile by launchd does not bring it back.
    disk.manager("reconcile");
    disk.assert_kernel(&old);
    // A confirmed one stays.
    disk.switch(ONE_MORE_CONFIRMED);
    assert_eq!(disk.manager("confirm").code, 0);
    disk.assert_up(true);
}

#[test]
fn a_reconcile_between_install_and_start_keeps_the_old_network() {
    let Some(disk) = Disk::new() else { return };
    disk.switch(ON);
    let old = settled(&disk.mac.kernel());
    let system = disk.build(ONE_MORE);
    let text = fs::read_to_string(disk.path(format!("{system}/activate"))).unwrap();
    let install = text.lines().find(|line| line.contains("receipt") && line.contains("install")).unwrap();
    assert_eq!(disk.enter(&["/bin/sh", "-c", install]).code, 0);
    disk.manager("reconcile");
    disk.assert_kernel(&old);
    let ran = disk.activate(&system);
    assert_eq!(ran.code, 0, "{}", ran.err);
    disk.assert_up(true);
}
