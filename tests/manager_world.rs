//! The manager on a Mac that other programs use too: what it detects, follows and leaves alone.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use serde_json::json;

use crate::network::{AWKS, HOSTS, Network, SHELLS, small, topology};
use crate::support::is_long;

#[test]
fn a_network_that_overlaps_a_route_is_refused() {
    let network = Network::new(&topology());
    network.mac.add("route\t10.2.0.0/15\tutun4\tUSc\tutun4\t");
    network.mac.add("route\t10.5.0.0/16\tutun4\tUSc\tutun4\t");
    let before = network.mac.kernel();
    network.fails(
        "start",
        3,
        "the network 10.2.0.0/16 of gcp overlaps the route 10.2.0.0/15 on utun4: 10.6.0.0/16 is free",
    );
    assert_eq!(network.mac.kernel(), before);
    assert_eq!(network.run("plan").code, 3);
    network.ok("reconcile");
    assert_eq!(network.mac.kernel(), before);
    let mut allowed = topology();
    allowed["allowOverlap"] = json!(["10.0.0.0/8"]);
    network.install(&allowed);
    network.ok("start");
    network.ok("cleanup");
    network.assert_clean(&before);
    // A default route in two halves is how VPNs redirect all traffic; it does not count as an overlap.
    network.install(&topology());
    network.mac.edit(|_| before.replace("10.2.0.0/15", "128.0.0.0/1").replace("10.5.0.0/16", "0.0.0.0/1"));
    network.ok("start");
}

#[test]
fn a_later_overlap_is_reported_and_nothing_is_torn_down() {
    let network = Network::new(&small());
    network.ok("start");
    let up = network.mac.kernel();
    network.mac.add("route\t10.3.7.0/24\tutun4\tUSc\tutun4\t");
    network.fails("reconcile", 1, "the network 10.3.0.0/16 of ibm overlaps the route 10.3.7.0/24 on utun4");
    assert_eq!(network.status().0, 1);
    // A start accepts an overlap that the running network already has, and refuses one that it would introduce.
    network.ok("start");
    network.ok("plan --switch");
    let mut more = small();
    more["volumes"]["added"] = json!({ "provider": "aws", "address": "10.0.9.9" });
    network.install(&more);
    network.fails(
        "plan --switch",
        0,
        "the network 10.3.0.0/16 of ibm overlaps the route 10.3.7.0/24 on utun4",
    );
    network.ok("start");
    network.install(&small());
    network.ok("start");
    let mut moved = small();
    moved["providers"]["ibm"]["network"] = json!("10.3.0.0/20");
    network.install(&moved);
    for command in ["plan --switch", "start", "start --switch"] {
        network.fails(command, 3, "the network 10.3.0.0/20 of ibm overlaps the route 10.3.7.0/24 on utun4");
    }
    network.mac.remove("route\t10.3.7.0/24");
    network.install(&small());
    network.ok("start");
    assert_eq!(crate::rig::settled(&network.mac.kernel()), crate::rig::settled(&up));
}

#[test]
fn a_switch_that_does_not_change_the_network_never_fails() {
    let network = Network::new(&small());
    let route = "route\t10.3.7.0/24\tutun4\tUSc\tutun4\t";
    network.ok("start");
    network.mac.reboot();
    network.mac.add(route);
    let down = network.mac.kernel();
    network.fails("start", 3, "overlaps");
    network.fails("plan --switch", 0, "overlaps");
    network.fails("start --switch", 0, "this switch does not change the network");
    assert_eq!(network.mac.kernel(), down);
    // If the network was stopped or never started, a switch is a start.
    network.ok("stop");
    for command in ["plan --switch", "start --switch"] {
        network.fails(command, 3, "overlaps");
    }
    network.mac.remove("route\t10.3.7.0/24");
    network.ok("start --switch");
    network.assert_up();
    // `plan` writes nothing, even where there are changes to make.
    network.ok("cleanup");
    network.ok("plan --switch");
    assert!(!network.state().exists());
}

#[test]
fn foreign_units_are_skipped_and_ours_are_kept() {
    let network = Network::new(&small());
    for line in [
        "ifconfig bridge2000 create",
        "ifconfig feth20001 create up",
        "ifconfig lo0 alias 127.0.1.11 netmask 255.255.255.255",
    ] {
        network.mac.ok(line);
    }
    let before = network.mac.kernel();
    network.ok("start");
    let (_, status) = network.status();
    assert_eq!(status["providers"][0]["kernel"], "bridge2001");
    assert_eq!(status["volumes"][0]["kernel"], "feth20000");
    let names = fs::read_to_string(network.state().join("names")).expect("names");
    assert!(names.contains("veth-etcd-1\tfeth20000\tfeth20002\n"), "{names}");
    network.mac.reboot();
    network.mac.ok("ifconfig bridge2002 create");
    network.ok("reconcile");
    network.assert_up();
    let (_, again) = network.status();
    assert_eq!(again["providers"][0]["kernel"], "bridge2001", "kept over a reboot");
    assert_eq!(again["providers"][1]["kernel"], "bridge2000", "the old name was taken meanwhile");
    network.ok("stop");
    network.mac.ok("ifconfig bridge2002 destroy");
    network.mac.reboot();
    network.ok("cleanup");
    let gone = network.mac.kernel();
    assert!(!gone.contains("bridge2001") && !gone.contains("feth20000"));
    assert!(before.contains("feth20001"));
}

#[test]
fn a_volume_is_up_while_it_is_mounted() {
    for point in ["/Volumes/data", "/Volumes/My Disk (old) on $HOME `x` \"q\" 'p' \\n"] {
        let mut input = small();
        input["volumes"]["etcd-1"]["mountPoint"] = json!(point);
        let network = Network::new(&input);
        network.ok("start");
        let (code, status) = network.status();
        assert_eq!((code, &status["volumes"][0]["state"]), (0, &json!("not mounted")));
        assert_eq!(status["volumes"][0]["mountPoint"], point);
        assert_eq!(status["volumes"][0]["kernel"], "feth20000");
        assert!(!network.mac.kernel().contains("10.0.1.2/32"));
        let line = format!("/dev/disk5s1 on {point} (apfs, local, nodev, nosuid, journaled)");
        let unmounted = network.mac.kernel();
        network.mac.edit(|kernel| {
            kernel.replace("mount\tdevfs", &format!("mount\t{}\nmount\tdevfs", line.replace('\\', "\\\\")))
        });
        network.ok("reconcile");
        assert_eq!(network.status().1["volumes"][0]["state"], "up");
        assert!(network.mac.kernel().contains("10.0.1.2/32"));
        network.mac.remove("mount\t/dev/disk5s1");
        network.ok("reconcile");
        let sorted = |text: String| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(network.mac.kernel()), sorted(unmounted));
    }
}

#[test]
fn the_hosts_file_keeps_every_other_byte() {
    for text in [HOSTS, "", "127.0.0.1 localhost", "# no end\r\n\n\n127.0.0.1 localhost\n\n"] {
        let network = Network::new(&small());
        let file = network.mac.dir().join("hosts");
        fs::write(&file, text).expect("hosts");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("mode");
        let inode = fs::metadata(&file).expect("hosts").ino();
        network.ok("start");
        let block = "# nixvol-net: begin\n10.0.1.2\tetcd-1.aws.nixvol etcd-1.nixvol\n10.3.1.2\ttalos-4.ibm.nixvol talos-4.nixvol\n# nixvol-net: end\n";
        assert_eq!(network.hosts().replace(block, ""), text);
        // A line that the user adds after the block.
        fs::write(&file, network.hosts() + "192.168.1.9 printer\n").expect("hosts");
        network.ok("start");
        network.ok("stop");
        assert_eq!(network.hosts(), format!("{text}192.168.1.9 printer\n"));
        let meta = fs::metadata(&file).expect("hosts");
        assert_eq!((meta.ino(), meta.mode() & 0o777), (inode, 0o640));
    }
    let network = Network::new(&small());
    fs::remove_file(network.mac.dir().join("hosts")).expect("hosts");
    network.ok("start");
    assert!(network.hosts().contains("etcd-1.nixvol"));
    network.ok("stop");
    assert!(!network.mac.dir().join("hosts").exists(), "it was made for the names");
    let mut without = small();
    without["hostsFile"] = json!(null);
    let network = Network::new(&without);
    network.ok("start");
    assert_eq!(network.hosts(), HOSTS);
}

/// Its path is not a pattern, and a file that is made again can be read by everybody.
#[test]
fn a_hosts_file_may_be_called_like_a_pattern_and_be_made_again() {
    let network = Network::new(&small());
    let at = |path: &str| network.mac.dir().join(path);
    for directory in ["h[1]", "h1"] {
        fs::create_dir(at(directory)).expect("a directory");
        fs::write(at(directory).join("hosts"), HOSTS).expect("hosts");
    }
    let mut input = small();
    input["hostsFile"] = json!(at("h[1]/hosts"));
    network.install(&input);
    network.ok("start");
    let whole = fs::read_to_string(at("h[1]/hosts")).expect("hosts");
    assert!(whole.contains("etcd-1.nixvol"), "{whole}");
    assert_eq!(fs::read_to_string(at("h1/hosts")).expect("hosts"), HOSTS);
    network.assert_up();
    // A run died before it wrote, and then somebody removed the file.
    fs::write(network.state().join("hosts.pending"), &whole).expect("pending");
    fs::remove_file(at("h[1]/hosts")).expect("hosts");
    network.ok("reconcile");
    let mode = fs::metadata(at("h[1]/hosts")).expect("hosts").mode() & 0o777;
    assert_eq!((mode, fs::read_to_string(at("h[1]/hosts")).expect("hosts")), (0o644, whole));
    network.ok("stop");
    assert_eq!(fs::read_to_string(at("h[1]/hosts")).expect("hosts"), HOSTS);
}

#[test]
fn a_partly_written_hosts_file_is_completed() {
    let network = Network::new(&small());
    network.ok("start");
    let whole = network.hosts();
    fs::write(network.state().join("hosts.pending"), &whole).expect("pending");
    fs::write(network.mac.dir().join("hosts"), &whole[..70]).expect("hosts");
    network.ok("reconcile");
    assert_eq!(network.hosts(), whole);
    assert!(!network.state().join("hosts.pending").exists());
}

#[test]
fn missing_call_points_are_reported() {
    for (call, word) in [
        ("nat-anchor \"com.apple/*\" all\\n", "nat"),
        ("rdr-anchor \"com.apple/*\" all\\n", "rdr"),
        ("\\nanchor \"com.apple/*\" all\\n", "filter"),
    ] {
        let network = Network::new(&small());
        let whole = network.mac.kernel();
        network.ok("start");
        network.mac.edit(|kernel| kernel.replace(call, "\\n").replace("\\n\\n", "\\n"));
        let said = format!("does not call com.apple/* any more (missing: {word})");
        network.fails("reconcile", 1, &said);
        let (code, status) = network.status();
        assert_eq!((code, &status["rules"]["called"][word]), (1, &json!(false)));
        network.ok("stop");
        network.fails("start", 1, &said);
        network.mac.edit(|_| whole.clone());
        network.ok("reconcile");
        network.ok("start");
    }
}

#[test]
fn skip_on_lo0_is_reported() {
    let network = Network::new(&small());
    network.ok("start");
    network.mac.edit(|kernel| kernel + "skip\tlo0\n");
    network.fails("reconcile", 1, "pf skips lo0");
    network.fails("test", 1, "pf skips lo0");
    let (code, status) = network.status();
    assert_eq!((code, &status["rules"]["skipsLoopback"]), (1, &json!(true)));
    assert!(
        status["findings"][0]["what"]
            .as_str()
            .is_some_and(|text| text.contains("sudo pfctl -f /etc/pf.conf"))
    );
    network.mac.remove("skip\t");
    network.ok("reconcile");
    network.assert_up();
}

#[test]
fn a_changed_table_is_loaded_again() {
    let network = Network::new(&small());
    network.ok("start");
    let up = network.mac.kernel();
    assert!(up.contains("table <nixvol> const { 10.0.0.0/16 10.3.0.0/16 }"), "{up}");
    for (from, to) in [
        ("table <nixvol> const { 10.0.0.0/16 10.3.0.0/16 }", "table <nixvol> const { 10.0.0.0/16 }"),
        (
            "table <nixvol> const { 10.0.0.0/16 10.3.0.0/16 }",
            "table <nixvol> const { 10.0.0.0/16 10.9.0.0/16 }",
        ),
        ("table <internet> const { 10.0.0.0/16 }\\n", ""),
    ] {
        network.mac.edit(|kernel| kernel.replace(from, to));
        assert_ne!(network.mac.kernel(), up);
        let (code, status) = network.status();
        let change = status["changes"][0].as_str().expect("a change");
        assert!(code == 1 && change.contains("its table <") && change.ends_with("was changed"), "{status}");
        network.ok("start");
        assert_eq!(network.mac.kernel(), up);
    }
}

#[test]
fn device_and_directory_names_cannot_fake_a_mount() {
    let mut input = small();
    input["volumes"]["etcd-1"]["mountPoint"] = json!("/Volumes/data");
    let network = Network::new(&input);
    network.ok("start");
    let waiting = network.mac.kernel();
    for (text, path) in [
        ("/dev/disk9s1 on /Volumes/x on /Volumes/data (apfs, local)", "/Volumes/x on /Volumes/data"),
        ("/dev/z on /Volumes/data on /tmp/x (apfs, local)", "/tmp/x"),
        ("/dev/disk9s1 on /Volumes/data (old) (apfs, local)", "/Volumes/data (old)"),
        ("/dev/disk9s1 on /Volumes/data2 (apfs, local)", "/Volumes/data2"),
        ("//eve@server/x\\n/dev/z on /Volumes/data (smbfs)\\n on /tmp/x (smbfs)", "/tmp/x"),
        ("/dev/disk9s1 on /tmp/x\\n/dev/z on /Volumes/data (apfs)\\n@@nixvol failed\\tx (apfs)", "/tmp/x"),
        (
            "/dev/disk9s1 on /tmp/x\\n16777230 2 /Volumes/data/.\\n (apfs)",
            "/tmp/x\\n16777230 2 /Volumes/data/.\\n",
        ),
    ] {
        network
            .mac
            .edit(|_| waiting.replace("mount\tdevfs", &format!("mount\t{text}\t{path}\nmount\tdevfs")));
        network.mac.forget_journal();
        network.ok("reconcile");
        assert_eq!(network.mac.changes(), [""; 0], "{text}");
        network.assert_up();
    }
    network.mac.edit(|_| waiting.clone());
    network.ok("cleanup");
}

/// A directory is a mount point if it and its parent are on different devices, whatever its path looks like and whether
/// links lead to it.
#[test]
fn mounts_are_detected_by_device_number() {
    for path in ["/Volumes/x on /data", "/Volumes/data (old)", "/Volumes/caf\u{e9}"] {
        let mut input = small();
        input["volumes"]["etcd-1"]["mountPoint"] = json!(path);
        let network = Network::new(&input);
        let bare = network.mac.kernel();
        network.ok("start");
        let has = |network: &Network| network.mac.kernel().contains("10.0.1.2/32");
        assert!(!has(&network), "{path}");
        network.mac.add(&format!("mount\tsomewhere on {path} (macfuse, local)\t{path}"));
        network.ok("reconcile");
        assert!(has(&network), "{path}");
        // A directory that cannot be examined is not taken for unmounted.
        let place = network.mac.journal().iter().rposition(|call| call.words[0] == "stat").expect("a look");
        network.mac.forget_journal();
        network.mac.fault(None);
        network.ok("reconcile");
        let place =
            network.mac.journal().iter().rposition(|call| call.words[0] == "stat").map_or(place, |at| at + 1);
        network.mac.fault(Some(("fail", place)));
        // The check without the lock fails, and the repeated one under the lock succeeds.
        network.ok("reconcile");
        network.mac.fault(None);
        assert!(has(&network), "{path}");
        network.mac.edit(|kernel| {
            kernel
                .lines()
                .filter(|line| !line.starts_with("mount\tsomewhere"))
                .flat_map(|line| [line, "\n"])
                .collect::<String>()
        });
        network.ok("reconcile");
        assert!(!has(&network), "{path}");
        network.ok("cleanup");
        network.assert_clean(&bare);
    }
}

/// macOS treats composed and decomposed accents as the same name, and a link stands for its target.
#[test]
fn a_mount_point_is_found_by_every_name() {
    // Each path under one of the shells, and the first shell with all.
    let is_due = |shell: usize, path: usize| shell == 0 || shell == 1 + path % 3 || is_long();
    for (shell, awk) in [(0, 0), (1, 1), (2, 2), (3, 0)] {
        let mut network = Network::new(&small());
        network.under(SHELLS[shell], AWKS[awk]);
        let link = network.mac.dir().join("link");
        std::os::unix::fs::symlink("/Volumes/caf\u{e9}", &link).expect("a link");
        network.mac.add("mount\t/dev/disk5s1 on /Volumes/caf\u{e9} (apfs, local)\t/Volumes/caf\u{e9}");
        let link = link.display().to_string();
        let there = ["/Volumes/caf\u{e9}", "/Volumes/cafe\u{301}", &link];
        for path in (0..).zip(there).filter(|(at, _)| is_due(shell, *at)).map(|(_, path)| path) {
            let mut input = small();
            input["volumes"]["etcd-1"]["mountPoint"] = json!(path);
            network.install(&input);
            network.ok("start");
            network.assert_up();
            let (_, status) = network.status();
            assert_eq!(status["volumes"][0]["state"], "up", "{path}");
            network.ok("stop");
        }
        // A path that does not exist, or lies inside a volume, is not a mount point.
        let other = ["/Volumes/other", "/Volumes/caf\u{e9}/within"];
        for path in (0..).zip(other).filter(|(at, _)| is_due(shell, *at)).map(|(_, path)| path) {
            let mut input = small();
            input["volumes"]["etcd-1"]["mountPoint"] = json!(path);
            network.install(&input);
            network.ok("start");
            assert_eq!(network.status().1["volumes"][0]["state"], "not mounted", "{path}");
            network.ok("stop");
        }
    }
}

/// A mount that does not respond counts as neither mounted nor gone: nothing is changed because of it, and the network
/// can still be stopped.
#[test]
fn an_unresponsive_mount_takes_nothing_down() {
    for (shell, awk) in [(0, 0), (1, 1), (2, 2), (3, 0)] {
        let mut input = small();
        input["volumes"]["etcd-1"]["mountPoint"] = json!("/Volumes/data");
        let mut network = Network::new(&input);
        network.under(SHELLS[shell], AWKS[awk]);
        let bare = network.mac.kernel();
        let server = "mount\tserver:/data on /Volumes/data (nfs)\t/Volumes/data";
        network.mac.add(server);
        network.ok("start");
        let up = network.mac.kernel();
        network.mac.edit(|kernel| kernel.replace("(nfs)", "(nfs, server gone)"));
        let words = "could not look at the Mac: /Volumes/data/.: stat: Operation timed out; try again";
        for command in ["reconcile", "reconcile", "status", "plan", "start"] {
            network.fails(command, 1, words);
        }
        // The problem persists, and launchd keeps calling reconcile: it is logged once.
        let log = fs::read_to_string(network.mac.dir().join("var/log")).expect("the log");
        assert_eq!(log.matches("Z reconcile: could not look").count(), 1, "{log}");
        assert_eq!(network.mac.kernel().replace("(nfs, server gone)", "(nfs)"), up);
        network.ok("stop");
        network.ok("status");
        network.ok("cleanup");
        network.mac.remove("mount\tserver:");
        network.assert_clean(&bare);
    }
}

#[test]
fn nat_follows_the_egress_interface() {
    let network = Network::new(&small());
    network.ok("start");
    let nat = |network: &Network| {
        let rules = network.mac.ok("pfctl -q -a com.apple/250.nixvol -s nat");
        rules.replace("no rdr on lo0 inet from any to <nixvol>\n", "")
    };
    let all: String = ["en0", "feth7", "utun4"]
        .map(|name| format!("nat on {name} inet from <internet> to ! <local> -> ({name}:0) extfilter apd\n"))
        .concat();
    assert_eq!(nat(&network), all);
    // Another interface takes over the address and every route.
    network.mac.edit(|kernel| {
        let moved = |line: &str| {
            let line = if line.starts_with("route\t") {
                line.replace("\ten0\t", "\ten1\t")
            } else {
                line.to_owned()
            };
            line.replace("a4:83:e7:01:02:03\t\t\t192.168.1.23/24", "a4:83:e7:01:02:03\t\t\t")
                .replace("36:7d:da:00:00:01\t\t\t", "36:7d:da:00:00:01\t\t\t192.168.1.24/24")
        };
        kernel.lines().map(|line| moved(line) + "\n").collect()
    });
    network.mac.forget_journal();
    network.ok("reconcile");
    assert_eq!(nat(&network), all.replace("en0", "en1"));
    assert_eq!(network.mac.changes().len(), 1);
    network.ok("stop");
    for route in ["route\t0.0.0.0/0", "route\t100.64.0.0/10", "route\t172.27", "route\t192.168.1."] {
        network.mac.remove(route);
    }
    network.ok("start");
    assert_eq!(nat(&network), "");
    network.assert_up();
}

#[test]
fn vmnet_keeps_its_bridge() {
    let mut input = small();
    input["providers"]["ibm"]["attachment"] = json!("vmnet");
    let network = Network::new(&input);
    network.ok("start");
    assert_eq!(network.status().1["providers"][1]["state"], "waiting for vmnet");
    let waiting = network.mac.kernel();
    network.mac.add("if\tbridge103\t90\t1\t1\t1500\t36:7d:da:00:00:67\t\t\t10.3.1.1/24");
    network.mac.add("route\t10.3.1.0/24\tlink#90\tUC\tbridge103\t!");
    network.ok("reconcile");
    network.assert_up();
    assert_eq!(network.status().1["providers"][1]["kernel"], "bridge103");
    assert!(network.mac.ok("route -n get 10.3.9.9").contains("interface: bridge103"));
    network.ok("start");
    network.mac.edit(|_| waiting.clone());
    network.ok("reconcile");
    assert_eq!(network.mac.kernel(), waiting);
}

#[test]
fn forwarding_is_restored_unless_another_bridge_needs_it() {
    let forwarding = |network: &Network| network.mac.ok("sysctl -n net.inet.ip.forwarding");
    let network = Network::new(&small());
    network.mac.ok("sysctl -w net.inet.ip.forwarding=1");
    network.ok("start");
    network.ok("stop");
    assert_eq!(forwarding(&network), "1\n", "it was on before");
    network.mac.ok("sysctl -w net.inet.ip.forwarding=0");
    network.ok("start");
    network.mac.ok("ifconfig bridge101 create up");
    network.ok("stop");
    assert_eq!(forwarding(&network), "1\n", "a bridge of another came up since");
}

#[test]
fn a_start_that_loses_the_default_route_is_rolled_back() {
    let network = Network::new(&small());
    network.mac.fault(Some(("cut", 30)));
    let before = network.mac.kernel();
    network.fails("start", 1, "the Mac has lost its default route");
    let after = network.mac.kernel();
    network.mac.edit(|_| before);
    network.mac.remove("route\t0.0.0.0/0");
    assert_eq!(after, network.mac.kernel());
    assert!(!network.state().join("wish").exists());
    assert_eq!(network.hosts(), HOSTS);
}

#[test]
fn a_truncated_ledger_does_no_harm() {
    let network = Network::new(&small());
    let before = network.mac.kernel();
    network.ok("start");
    let up = network.mac.kernel();
    let state = network.mac.dir().join("kept");
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        fs::create_dir_all(to).expect("a directory");
        for entry in fs::read_dir(from).expect("the state").flatten() {
            fs::copy(entry.path(), to.join(entry.file_name())).expect("a file of the state");
        }
    };
    copy(&network.state(), &state);
    let hosts = network.hosts();
    let ledger = fs::read_to_string(state.join("ledger")).expect("the ledger");
    let last = ledger.trim_end().rfind('\n').expect("several lines") + 1;
    for end in last..ledger.len() {
        copy(&state, &network.state());
        fs::write(network.state().join("ledger"), &ledger[..end]).expect("a torn ledger");
        fs::write(network.mac.dir().join("hosts"), &hosts).expect("hosts");
        network.mac.edit(|_| up.clone());
        network.assert_up();
        network.ok("cleanup");
        network.assert_clean(&before);
    }
}

#[test]
fn paths_may_be_hostile() {
    let mut input = small();
    for (shell, awk) in [(0, 0), (1, 1), (2, 2), (3, 0)] {
        let plain = Network::new(&small());
        let dir = plain.mac.dir().join("a 'b' \"c\" $(d) `e` \\f=g");
        fs::create_dir_all(&dir).expect("a directory");
        fs::write(dir.join("hosts"), HOSTS).expect("hosts");
        for (field, name) in [("base", "base"), ("stateDir", "state"), ("hostsFile", "hosts")] {
            input[field] = json!(dir.join(name));
        }
        let mut network = plain;
        network.install_at(&input, &dir.join("base/networking"));
        network.under(crate::network::SHELLS[shell], crate::network::AWKS[awk]);
        let before = network.mac.kernel();
        network.ok("start");
        network.assert_up();
        assert!(fs::read_to_string(dir.join("hosts")).expect("hosts").contains("etcd-1.nixvol"));
        network.ok("cleanup");
        assert_eq!(network.mac.kernel(), before);
        assert_eq!(fs::read_to_string(dir.join("hosts")).expect("hosts"), HOSTS);
        assert!(!dir.join("state").exists());
    }
}

#[test]
fn an_empty_network_starts_and_stops() {
    let network = Network::new(&json!({ "version": 1, "providers": {}, "volumes": {} }));
    let before = network.mac.kernel();
    network.ok("start");
    network.assert_up();
    network.ok("test");
    network.ok("start");
    network.ok("cleanup");
    network.assert_clean(&before);
}

#[test]
fn a_changed_anchor_and_hosts_file_leave_nothing_of_the_old() {
    for command in ["start", "cleanup"] {
        let network = Network::new(&small());
        let before = network.mac.kernel();
        network.ok("start");
        let other = network.mac.dir().join("hosts2");
        fs::write(&other, "127.0.0.1 localhost\n").expect("hosts");
        let mut input = small();
        input["anchor"] = json!("com.apple/260.other");
        input["hostsFile"] = json!(other);
        network.install(&input);
        network.ok(command);
        assert!(!network.mac.kernel().contains("250.nixvol"));
        assert_eq!(network.hosts(), HOSTS);
        if command == "start" {
            network.assert_up();
            assert!(network.mac.kernel().contains("260.other"));
            assert!(fs::read_to_string(&other).expect("hosts").contains("etcd-1.nixvol"));
            network.ok("cleanup");
        }
        assert_eq!(fs::read_to_string(&other).expect("hosts"), "127.0.0.1 localhost\n");
        network.assert_clean(&before);
    }
    // A start that fails restores the previous anchor and hosts file.
    let network = Network::new(&small());
    network.ok("start");
    let up = network.mac.kernel();
    let mut input = small();
    input["anchor"] = json!("com.apple/260.other");
    input["hostsFile"] = json!(network.mac.dir().join("none/hosts"));
    network.install(&input);
    network.fails("start", 1, "rolled back: nothing of the start is left");
    assert_eq!(network.mac.kernel(), up);
    assert!(network.hosts().contains("etcd-1.nixvol"));
    network.install(&small());
    network.assert_up();
}

#[test]
fn damaged_hosts_blocks_are_removed_and_other_lines_stay() {
    let begin = "# nixvol-net: begin\n";
    let end = "# nixvol-net: end\n";
    let ours = "10.0.1.2\tetcd-1.aws.nixvol etcd-1.nixvol\n";
    let texts = [
        (format!("a\n{begin}{ours}{end}b\n{begin}{ours}{ours}{end}c\n"), "a\nb\nc\n"),
        (format!("a\n{begin}{ours}b\n10.0.0.1 mine\n"), "a\nb\n10.0.0.1 mine\n"),
        (format!("a\n{begin}{ours}b\n{begin}{ours}{end}c"), "a\nb\nc"),
        (format!("{end}a\n{begin}"), "a\n"),
        (format!("{begin}mine\n{ours}{end}\n\r\n"), "mine\n\n\r\n"),
        (format!("{begin}{begin}{ours}{end}{end}x"), "x"),
    ];
    for awk in crate::network::AWKS {
        let mut network = Network::new(&small());
        network.under(crate::network::SHELLS[0], awk);
        let file = network.mac.dir().join("hosts");
        let bare = network.keep();
        network.ok("start");
        let up = network.keep();
        for (text, rest) in &texts {
            for command in ["stop", "cleanup"] {
                network.put_back(&up);
                fs::write(&file, text).expect("hosts");
                network.ok(command);
                assert_eq!(network.hosts(), *rest, "{awk}: {text:?}");
            }
            network.put_back(&bare);
            fs::write(&file, text).expect("hosts");
            network.ok("start");
            let hosts = network.hosts();
            assert_eq!((hosts.matches(begin).count(), hosts.matches(end).count()), (1, 1), "{hosts}");
            network.assert_up();
            network.ok("stop");
            assert_eq!(network.hosts(), *rest, "{awk}: {text:?}");
        }
    }
}
