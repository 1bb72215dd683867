//! Which files and directories the manager trusts: those of root, in directories of root, that others cannot write.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::network::{Network, small};

/// Every command refuses a path with a wrong owner or mode, with a message that names it.
#[test]
fn paths_that_others_can_write_are_refused() {
    let network = Network::new(&small());
    network.ok("start");
    let up = network.mac.kernel();
    let (base, state, log) = (network.base(), network.state(), network.mac.dir().join("var/log"));
    let manager = base.join("manage-macos-networking.sh");
    let refused = |path: &std::path::Path, words: &str| {
        let files = || {
            let entries = fs::read_dir(&state).expect("the state").flatten();
            let mut files: Vec<_> = entries
                .map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap_or_default()))
                .collect();
            files.sort();
            (files, fs::read(&log).expect("the log"))
        };
        let before = files();
        for command in ["start", "reconcile", "stop", "cleanup", "confirm"] {
            network.fails(command, 3, &format!("{} {words}", path.display()));
        }
        let (code, status) = network.status();
        assert_eq!(code, 1);
        assert!(status["refused"].to_string().contains(words), "{status}");
        // Nothing was compared, so nothing is called up.
        assert_eq!(status["providers"][0]["state"], "unknown");
        assert_eq!(status["volumes"][0]["state"], "unknown");
        let told = network.run("status").out;
        assert!(told.starts_with("network      unknown: it was not compared"), "{told}");
        let metrics = network.run("status --format openmetrics").out;
        assert!(metrics.contains("nixvol_healthy 0\n") && metrics.ends_with("# EOF\n"), "{metrics}");
        for family in ["nixvol_provider_up", "nixvol_volume_up", "nixvol_drift"] {
            assert!(!metrics.contains(family), "{metrics}");
        }
        assert_eq!(network.run("plan").code, 3);
        assert_eq!(files(), before, "{words}");
    };
    for (path, mode) in
        [(&base, 0o755), (&manager, 0o755), (&state, 0o700), (&log, 0o600), (&state.join("ledger"), 0o600)]
    {
        for bit in [0o020, 0o002] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode | bit)).expect("a mode");
            refused(path, "can be changed by users other than root");
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
        }
        // The sticky bit makes a parent directory acceptable, but not one of our own.
        fs::set_permissions(path, fs::Permissions::from_mode(mode | 0o1022)).expect("a mode");
        refused(path, "can be changed by users other than root");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
        for (mark, words) in
            [("501\t", "belongs to user 501, not to root"), ("0\t+", "has an access control list")]
        {
            network.mac.edit(|_| format!("{up}owner\t{}\t{mark}\n", path.display()));
            if path == &manager && mark.starts_with("501") {
                // In this case only the shell's own test could notice, and the toy cannot affect that.
                continue;
            }
            refused(path, words);
        }
        network.mac.edit(|_| up.clone());
    }
    for path in [&network.mac.dir().join("opt/nix-volumes"), &network.mac.dir().join("var")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("a mode");
        refused(path, "can be changed by users other than root");
        fs::set_permissions(path, fs::Permissions::from_mode(0o1777)).expect("a mode");
        network.ok("reconcile");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
        network.mac.edit(|_| format!("{up}owner\t{}\t501\t\n", path.display()));
        refused(path, "belongs to user 501");
        network.mac.edit(|_| up.clone());
    }
    // A symlink among our files, and our own directory being a symlink.
    symlink("/etc/passwd", state.join("rules.new")).expect("a link");
    refused(&state.join("rules.new"), "is a symbolic link, which is not allowed here");
    fs::remove_file(state.join("rules.new")).expect("the link");
    let elsewhere = network.mac.dir().join("elsewhere");
    fs::rename(&state, &elsewhere).expect("moved");
    symlink(&elsewhere, &state).expect("a link");
    refused(&state, "is a symbolic link, which is not allowed here");
    fs::remove_file(&state).expect("the link");
    fs::rename(&elsewhere, &state).expect("moved back");
    assert_eq!(network.mac.kernel(), up);
    network.ok("cleanup");
}

#[test]
fn a_prepared_state_directory_with_links_is_not_used() {
    let network = Network::new(&small());
    let before = network.mac.kernel();
    let victim = network.mac.dir().join("victim");
    fs::write(&victim, "mine\n").expect("a file");
    fs::create_dir(network.state()).expect("the state");
    fs::set_permissions(network.state(), fs::Permissions::from_mode(0o777)).expect("a mode");
    for name in ["lock", "wish", "wish.new", "ledger", "changes", "names.new", "told", "pending"] {
        symlink(&victim, network.state().join(name)).expect("a link");
    }
    for command in ["start", "reconcile", "stop", "cleanup", "confirm"] {
        network.fails(command, 3, "refused: nothing was changed");
    }
    assert_eq!(fs::read_to_string(&victim).expect("it"), "mine\n");
    assert_eq!(network.mac.kernel(), before);
    assert_eq!(fs::read_dir(network.state()).expect("the state").count(), 8);
}

#[test]
fn the_directory_layout_of_macos_is_accepted() {
    // On macOS /var is a link to /private/var, and a parent directory may be world-writable if it is sticky.
    let network = Network::new(&small());
    let dir = network.mac.dir();
    fs::create_dir_all(dir.join("private")).expect("private");
    fs::rename(dir.join("var"), dir.join("private/var")).expect("moved");
    symlink("private/var", dir.join("var")).expect("a link");
    network.ok("start");
    network.assert_up();
    // The directories behind the link are checked too.
    fs::set_permissions(dir.join("private"), fs::Permissions::from_mode(0o777)).expect("a mode");
    network.fails("reconcile", 3, &format!("{} can be changed", dir.join("private").display()));
    fs::set_permissions(dir.join("private"), fs::Permissions::from_mode(0o755)).expect("a mode");
    network.ok("cleanup");
    // The hosts file may be a link to anywhere.
    let network = Network::new(&small());
    fs::rename(network.mac.dir().join("hosts"), network.mac.dir().join("real")).expect("moved");
    symlink("real", network.mac.dir().join("hosts")).expect("a link");
    network.fails("start", 3, "hosts is a symbolic link");
}
