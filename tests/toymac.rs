//! The toy Mac against known facts about macOS: output, exit codes, and what a command leaves unchanged.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::rig::{Mac, Ran};

fn refused(mac: &Mac, line: &str, code: i32, err: &str) {
    let before = mac.kernel();
    let ran = mac.run(line);
    let text = format!("{err}\n");
    let expected = Ran { code, out: String::new(), err: text };
    assert_eq!(ran, expected, "{line}");
    assert_eq!(mac.kernel(), before, "{line} changed something");
}

#[test]
fn names_are_a_cloner_and_a_unit() {
    let mac = Mac::new();
    for name in ["bridge-aws", "br0", "veth-etcd-1", "bridge0200", "feth20000x", "tap0"] {
        refused(&mac, &format!("ifconfig {name} create"), 1, "ifconfig: SIOCIFCREATE2: Invalid argument");
    }
    refused(&mac, "ifconfig bridge32768 create", 1, "ifconfig: SIOCIFCREATE2: Device not configured");
    refused(
        &mac,
        "ifconfig bridge12345678901 create",
        1,
        "ifconfig: bridge12345678901: cloning name too long",
    );
    refused(&mac, "ifconfig bridge0 create", 1, "ifconfig: SIOCIFCREATE2: File exists");
    refused(&mac, "ifconfig bridge9 up", 1, "ifconfig: interface bridge9 does not exist");
    assert_eq!(mac.ok("ifconfig bridge32767 create"), "");
    assert_eq!(mac.ok("ifconfig bridge create"), "bridge1\n");
    refused(&mac, "ifconfig en0 destroy", 1, "ifconfig: SIOCIFDESTROY: Invalid argument");
}

#[test]
fn a_bridge_is_running_only_after_ifconfig_up() {
    let mac = Mac::new();
    mac.ok("ifconfig bridge2000 create");
    mac.ok("ifconfig bridge2000 inet 10.0.1.1 netmask 255.255.255.0 alias");
    let shown = mac.ok("ifconfig bridge2000");
    assert!(
        shown.starts_with("bridge2000: flags=8823<UP,BROADCAST,SMART,SIMPLEX,MULTICAST> mtu 1500\n"),
        "{shown}"
    );
    assert!(shown.contains("\tinet 10.0.1.1 netmask 0xffffff00 broadcast 10.0.1.255\n"), "{shown}");
    assert!(shown.ends_with("\tstatus: inactive\n"), "{shown}");
    mac.ok("ifconfig bridge2000 up");
    assert!(
        mac.ok("ifconfig -a")
            .contains("bridge2000: flags=8863<UP,BROADCAST,SMART,RUNNING,SIMPLEX,MULTICAST>")
    );
}

#[test]
fn peers_and_members() {
    let mac = Mac::new();
    let before = mac.kernel();
    refused(
        &mac,
        "ifconfig feth20000 create peer feth20001",
        1,
        "ifconfig: SIOCDRVSPEC set peer: Device not configured",
    );
    mac.ok("ifconfig feth20000 create up");
    mac.ok("ifconfig feth20001 create up");
    mac.ok("ifconfig feth20000 peer feth20001");
    refused(&mac, "ifconfig feth20000 peer feth20001", 1, "ifconfig: SIOCDRVSPEC set peer: Resource busy");
    assert!(mac.ok("ifconfig feth20001").contains("\tether 66:65:74:68:4e:21\n\tpeer: feth20000\n"));
    mac.ok("ifconfig bridge2000 create up");
    mac.ok("ifconfig bridge2000 addm feth20001");
    refused(&mac, "ifconfig bridge2000 addm feth20001", 1, "ifconfig: BRDGADD feth20001: File exists");
    refused(&mac, "ifconfig bridge0 addm feth20001", 1, "ifconfig: BRDGADD feth20001: Resource busy");
    refused(
        &mac,
        "ifconfig bridge2000 addm feth20009",
        1,
        "ifconfig: BRDGADD feth20009: No such file or directory",
    );
    let shown = mac.ok("ifconfig bridge2000");
    assert!(shown.contains("\tmember: feth20001 flags=3<LEARNING,DISCOVER>\n"), "{shown}");
    assert!(shown.ends_with("\tstatus: active\n"), "{shown}");
    mac.ok("ifconfig feth20000 mtu 2000");
    refused(&mac, "ifconfig bridge2000 addm feth20000", 1, "ifconfig: BRDGADD feth20000: Invalid argument");
    mac.ok("ifconfig feth20001 destroy");
    assert!(mac.ok("ifconfig feth20000").contains("\tpeer: <none>\n"));
    assert!(!mac.ok("ifconfig bridge2000").contains("feth20001"));
    refused(
        &mac,
        "ifconfig bridge2000 deletem feth20001",
        1,
        "ifconfig: BRDGDEL feth20001: No such file or directory",
    );
    mac.ok("ifconfig feth20000 destroy");
    mac.ok("ifconfig bridge2000 destroy");
    assert_eq!(mac.kernel(), before);
}

#[test]
fn without_alias_the_first_address_is_replaced() {
    let mac = Mac::new();
    let before = mac.kernel();
    mac.ok("ifconfig lo0 alias 127.0.1.11 netmask 255.255.255.255");
    mac.ok("ifconfig lo0 alias 127.0.1.11 netmask 255.255.255.255");
    assert!(
        mac.ok("netstat -rn -f inet")
            .contains("127.0.1.11         127.0.1.11         UH                    lo0")
    );
    mac.ok("ifconfig lo0 -alias 127.0.1.11");
    refused(
        &mac,
        "ifconfig lo0 -alias 127.0.1.11",
        1,
        "ifconfig: ioctl (SIOCDIFADDR): Can't assign requested address",
    );
    assert_eq!(mac.kernel(), before);
    mac.ok("ifconfig lo0 127.0.1.11");
    assert!(!mac.ok("ifconfig lo0").contains("inet 127.0.0.1 "));
}

#[test]
fn route_exits_0_when_it_fails() {
    let mac = Mac::new();
    mac.ok("ifconfig bridge2000 create up");
    let add = "route -n add -net 10.0.0.0/16 -interface bridge2000";
    assert_eq!(mac.ok(add), "add net 10.0.0.0: gateway bridge2000\n");
    let again = mac.run(add);
    assert_eq!(again.code, 0);
    assert_eq!(again.out, "add net 10.0.0.0: gateway bridge2000: File exists\n");
    assert_eq!(again.err, "route: writing to routing socket: File exists\n");
    let get = mac.ok("route -n get 10.0.2.2");
    assert!(
        get.contains("destination: 10.0.0.0\n       mask: 255.255.0.0\n  interface: bridge2000\n"),
        "{get}"
    );
    assert!(mac.ok("route -n get default").contains("    gateway: 192.168.1.1\n  interface: en0\n"));
    mac.ok("route -n delete -net 10.0.0.0/16 -interface bridge2000");
    let gone = mac.run("route -n delete -net 10.0.0.0/16 -interface bridge2000");
    assert_eq!(
        (gone.code, gone.out.as_str()),
        (0, "delete net 10.0.0.0: gateway bridge2000: not in table\n")
    );
    refused(
        &mac,
        "route -n add -net 10.0.0.0/16 -interface bridge-aws",
        68,
        "route: bad address: bridge-aws",
    );
}

#[test]
fn netstat_abbreviates() {
    let mac = Mac::new();
    mac.ok("ifconfig bridge2000 create up");
    for (net, shown) in [
        ("10.0.0.0/16", "10/16 "),
        ("10.1.0.0/16", "10.1/16 "),
        ("12.0.0.0/8", "12 "),
        ("10.2.3.0/24", "10.2.3/24 "),
        ("10.2.3.4/30", "10.2.3.4/30 "),
        ("172.16.0.0/16", "172.16 "),
        ("172.20.0.0/14", "172.20/14 "),
        ("192.168.7.0/24", "192.168.7 "),
        ("192.168.0.0/16", "192.168.0/16 "),
        ("128.0.0.0/1", "128.0/1 "),
        ("0.0.0.0/1", "0/1 "),
    ] {
        mac.ok(&format!("route -n add -net {net} -interface bridge2000"));
        let table = mac.ok("netstat -rn -f inet");
        assert!(table.lines().any(|line| line.starts_with(shown)), "{net} in {table}");
    }
    let table = mac.ok("netstat -rn -f inet");
    assert!(table.starts_with("Routing tables\n\nInternet:\nDestination        Gateway            Flags               Netif Expire\ndefault            192.168.1.1        UGScg"), "{table}");
}

#[test]
fn commands_that_need_root_fail_without_it() {
    let mac = Mac::new();
    mac.edit(|kernel| kernel.replace("uid\t0\n", "uid\t501\n"));
    assert_eq!(mac.ok("id -u"), "501\n");
    refused(&mac, "ifconfig bridge2000 create", 1, "ifconfig: SIOCIFCREATE2: Operation not permitted");
    refused(&mac, "route -n delete -net 10.0.0.0/16", 77, "route: must be root to alter routing table");
    refused(&mac, "pfctl -s info", 1, "pfctl: /dev/pf: Permission denied");
}

#[test]
fn enable_tokens_are_counted() {
    let mac = Mac::new();
    let before = mac.kernel();
    let ran = mac.run("pfctl -E");
    assert_eq!((ran.code, ran.out.as_str()), (0, ""));
    let token = ran.err.lines().find_map(|line| line.strip_prefix("Token : ")).expect("a token");
    let held = mac.ok("pfctl -s References");
    assert!(
        held.starts_with(
            "TOKENS:\nPID      Process Name                 TOKEN                    TIMESTAMP\n"
        ),
        "{held}"
    );
    assert!(held.contains(token));
    assert!(
        held.contains("618      socketfilterfw               9813589183660731843      0 days 00:00:00\n"),
        "{held}"
    );
    mac.ok(&format!("pfctl -q -X {token}"));
    assert_eq!(mac.kernel(), before);
    assert_eq!(mac.run(&format!("pfctl -X {token}")).code, 1);
    mac.ok("pfctl -X 9813589183660731843");
    assert_eq!(mac.ok("pfctl -s References"), "No pf starter references held\n");
    assert!(mac.ok("pfctl -s info").starts_with("Status: Disabled"));
}

#[test]
fn anchors_are_loaded_atomically() {
    let mac = Mac::new();
    let file = mac.dir().join("rules");
    let load = format!("pfctl -a com.apple/250.nixvol -f {}", file.display());
    let good = "table <nets> { 10.0.0.0/16, 10.1.0.0/16 }\nnat on en0 inet from <nets> to ! <nets> -> (en0:0)\npass quick inet from <nets> to <nets>\n";
    fs::write(&file, good).expect("rules");
    let before = mac.kernel();
    mac.ok(&load.replace("-a", "-n -a"));
    assert_eq!(mac.kernel(), before);
    let loaded = mac.run(&load);
    assert_eq!((loaded.code, loaded.out.as_str()), (0, ""));
    assert!(loaded.err.starts_with("No ALTQ support in kernel\nALTQ related functions disabled\n"));
    let held = mac.kernel();
    for bad in [
        "pass quick inet from any to any",
        "pass quick\nnat on en0 inet from any to any -> (en0:0)\n",
        "nat on $egress inet from any to any -> ($egress:0)\n",
        "nat on { en0, en1 } inet from any to any -> ({ en0, en1 }:0)\n",
        "allow all\n",
    ] {
        fs::write(&file, bad).expect("rules");
        let ran = mac.run(&load);
        assert_eq!(ran.code, 1, "{bad}");
        assert!(
            ran.err.ends_with("pfctl: Syntax error in config file: pf rules not loaded\n"),
            "{}",
            ran.err
        );
        assert_eq!(mac.kernel(), held);
    }
    assert_eq!(
        mac.ok("pfctl -a com.apple/250.nixvol -s nat"),
        "nat on en0 inet from <nets> to ! <nets> -> (en0:0)\n"
    );
    assert_eq!(mac.ok("pfctl -a com.apple/250.nixvol -s Tables"), "nets\n");
    assert_eq!(mac.ok("pfctl -a com.apple/250.nixvol -t nets -T show"), "   10.0.0.0/16\n   10.1.0.0/16\n");
    mac.ok("pfctl -a com.apple/250.nixvol -F all");
    assert_eq!(mac.kernel(), before);
    let absent = mac.run("pfctl -q -a com.apple/250.nixvol -s nat");
    assert_eq!(
        (absent.code, absent.out.as_str(), absent.err.as_str()),
        (0, "", "pfctl: DIOCGETRULES: Invalid argument\n")
    );
}

#[test]
fn forbidden_commands_exit_99() {
    let mac = Mac::new();
    let file = mac.dir().join("rules");
    fs::write(&file, "set skip on lo0\n").expect("rules");
    for line in ["pfctl -F all", "pfctl -d", "pfctl -e", "pfctl -f /etc/pf.conf"] {
        let before = mac.kernel();
        assert_eq!(mac.run(line).code, 99, "{line}");
        assert_eq!(mac.kernel(), before);
    }
    assert_eq!(mac.run(&format!("pfctl -a com.apple/x -f {}", file.display())).code, 99);
    let nat = mac.ok("pfctl -s nat");
    assert_eq!(nat, "nat-anchor \"com.apple/*\" all\nrdr-anchor \"com.apple/*\" all\n");
    assert!(mac.ok("pfctl -s rules").ends_with("anchor \"com.apple/*\" all\n"));
}

#[test]
fn small_commands() {
    let mac = Mac::new();
    assert_eq!(mac.ok("sysctl -n net.inet.ip.forwarding kern.bootsessionuuid"), "0\nsession-0\n");
    assert_eq!(mac.ok("sysctl -w net.inet.ip.forwarding=1"), "net.inet.ip.forwarding: 0 -> 1\n");
    assert_eq!(mac.run("sysctl -n net.link.bridge.pfil_member").code, 1);
    assert!(mac.ok("mount").starts_with("/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)\n"));
    assert_eq!(mac.run("launchctl print system/org.nix-volumes.networking").code, 113);
    assert_eq!(mac.run("ping -n -q -c 1 -t 2 -S 10.0.1.2 192.168.1.1").code, 71);
    assert_eq!(mac.run("ping -n -q -c 1 -t 2 192.168.1.77").code, 2);
    let closed = mac.run("nc -z -G 2 -s 127.0.0.1 127.0.0.53 53");
    assert_eq!(closed.err, "nc: connectx to 127.0.0.53 port 53 (tcp) failed: Connection refused\n");
    mac.edit(|kernel| kernel + "listen\t127.0.0.53\t53\n");
    assert_eq!(mac.run("nc -z -G 2 -s 127.0.0.1 127.0.0.53 53").code, 0);
}

#[test]
fn a_reboot_resets_the_kernel_state() {
    let mac = Mac::new();
    let before = mac.kernel();
    mac.ok("ifconfig bridge2000 create up");
    mac.ok("pfctl -E");
    mac.reboot();
    let after = mac.kernel();
    assert_ne!(after, before, "another boot session");
    let rest = |text: &str| text.split_once('\n').map(|(_, rest)| rest.to_owned());
    assert_eq!(rest(&after), rest(&before));
}

#[test]
fn a_command_with_an_injected_failure_changes_nothing() {
    let mac = Mac::new();
    mac.fault(Some(("fail", 2)));
    let before = mac.kernel();
    mac.ok("ifconfig -a");
    assert_eq!(mac.run("ifconfig bridge2000 create").code, 1);
    assert_eq!(mac.kernel(), before);
    mac.ok("ifconfig bridge2000 create");
    let journal = mac.journal();
    let marks: String = journal.iter().map(|call| call.mark).collect();
    assert_eq!(marks, "=-!");
    assert_eq!(journal[1].code, Some(1));
    assert_eq!(mac.changes(), ["ifconfig bridge2000 create"]);
    mac.forget_journal();
    assert!(mac.journal().is_empty());
}

#[test]
fn peers_and_members_are_validated() {
    let mac = Mac::new();
    let before = mac.kernel();
    mac.ok("ifconfig feth20000 create");
    for (line, err) in [
        ("ifconfig feth20000 peer en0", "SIOCDRVSPEC set peer: Invalid argument"),
        ("ifconfig feth20000 peer feth20009", "SIOCDRVSPEC set peer: Device not configured"),
        ("ifconfig bridge0 addm lo0", "BRDGADD lo0: Invalid argument"),
        ("ifconfig bridge0 addm utun4", "BRDGADD utun4: Invalid argument"),
    ] {
        refused(&mac, line, 1, &format!("ifconfig: {err}"));
    }
    // An MTU above the maximum only causes a warning.
    mac.ok("ifconfig feth20000 mtu 2048");
    mac.ok("ifconfig feth20000 mtu 9000");
    assert!(mac.ok("ifconfig feth20000").contains("mtu 2048\n"));
    // An address makes a feth UP, but not RUNNING.
    mac.ok("ifconfig feth20000 10.9.9.1/24 alias");
    assert!(
        mac.ok("ifconfig feth20000").starts_with("feth20000: flags=8803<UP,BROADCAST,SIMPLEX,MULTICAST>")
    );
    mac.ok("ifconfig feth20000 destroy");
    // A bridge can be destroyed while it has members; its addresses and routes are removed.
    mac.ok("ifconfig bridge2000 create up");
    mac.ok("ifconfig feth20001 create up");
    mac.ok("ifconfig bridge2000 addm feth20001");
    mac.ok("ifconfig bridge2000 10.0.1.1 netmask 255.255.255.0 alias");
    mac.ok("route -n add -net 10.0.0.0/16 -interface bridge2000");
    mac.ok("ifconfig bridge2000 destroy");
    mac.ok("ifconfig feth20001 destroy");
    assert_eq!(mac.kernel(), before);
}

#[test]
fn a_destroyed_interface_may_linger() {
    let mac = Mac::new();
    mac.edit(|kernel| kernel + "linger\t3\n");
    mac.ok("ifconfig feth20000 create");
    mac.ok("ifconfig feth20000 destroy");
    refused(&mac, "ifconfig feth20000 create", 1, "ifconfig: SIOCIFCREATE2: File exists");
    assert!(mac.ok("ifconfig -a").contains("feth20000: flags=8802<BROADCAST,SIMPLEX,MULTICAST> mtu 1500\n"));
    mac.ok("ifconfig feth20000 create");
}

#[test]
fn states_survive_rule_changes_until_killed() {
    let mac = Mac::new();
    let file = mac.dir().join("rules");
    fs::write(&file, "pass quick inet from any to any\n").expect("rules");
    mac.ok(&format!("pfctl -a com.apple/250.nixvol -f {}", file.display()));
    let states = "state\ttcp\t10.0.1.2\t49152\t10.1.1.2\t2379\nstate\ttcp\t10.1.1.2\t49153\t10.0.1.2\t22\nstate\tudp\t192.168.1.23\t49154\t192.168.1.1\t53\n";
    mac.edit(|kernel| kernel + states);
    mac.ok("pfctl -a com.apple/250.nixvol -F all");
    assert!(mac.kernel().ends_with(states));
    assert!(
        mac.ok("pfctl -s states")
            .starts_with("ALL tcp 10.0.1.2:49152 -> 10.1.1.2:2379       ESTABLISHED:ESTABLISHED\n")
    );
    let kill = |line: &str| mac.run(line).err.lines().last().map(str::to_owned);
    let said = |text: &str| Some(text.to_owned());
    assert_eq!(
        kill("pfctl -k 10.1.0.0/16 -k 10.3.0.0/16"),
        said("killed 0 states from 1 sources and 1 destinations")
    );
    assert_eq!(
        kill("pfctl -k 10.0.0.0/16 -k 10.1.0.0/16"),
        said("killed 1 states from 1 sources and 1 destinations")
    );
    assert_eq!(kill("pfctl -k 10.1.1.2"), said("killed 1 states from 1 sources and 0 destinations"));
    assert_eq!(
        kill("pfctl -k 0.0.0.0/0 -k 10.0.0.0/16"),
        said("killed 0 states from 1 sources and 1 destinations")
    );
    assert_eq!(mac.run("pfctl -k 1.2.3.4 -k 1.2.3.4 -k 1.2.3.4").code, 1);
    assert_eq!(mac.ok("pfctl -s states").lines().count(), 1);
    mac.reboot();
    assert_eq!(mac.ok("pfctl -s states"), "");
}

#[test]
fn pfctl_prints_what_macos_prints() {
    let mac = Mac::new();
    let before = mac.kernel();
    assert_eq!(mac.run("pfctl -n -E").code, 0);
    assert_eq!(mac.kernel(), before, "-n cancels -E");
    assert_eq!(mac.run("pfctl -q -E").err, "", "with -q there is no token to read");
    mac.edit(|_| before.clone());
    assert_eq!(mac.ok("pfctl -v -s Interfaces -i lo0"), "lo0\n");
    mac.edit(|kernel| kernel + "skip\tlo0\n");
    assert_eq!(mac.ok("pfctl -v -s Interfaces -i lo0"), "lo0 (skip)\n");
    assert_eq!(mac.ok("pfctl -s Interfaces -i lo0"), "lo0\n");
    mac.remove("skip\tlo0");
    let file = mac.dir().join("rules");
    fs::write(&file, "block return out quick on lo0 inet from any to 127.0.0.53 label \"no\"\n")
        .expect("rules");
    for name in [format!("com.apple/{}", "x".repeat(64)), "_pf".to_owned(), "com.apple//x".to_owned()] {
        let ran = mac.run(&format!("pfctl -q -a {name} -f {}", file.display()));
        assert!(ran.code == 1 && ran.err.contains("invalid anchor name"), "{name}: {}", ran.err);
    }
    let loaded = mac.run(&format!("pfctl -q -a com.apple/250.nixvol -f {}", file.display()));
    assert!(
        loaded.err.starts_with("pfctl: Use of -f option, could result in flushing of rules\n"),
        "{}",
        loaded.err
    );
    // Traffic of the Mac to itself passes lo0, and labels count it.
    mac.run("nc -z -G 2 -s 127.0.0.1 127.0.0.53 53");
    assert_eq!(mac.ok("pfctl -a com.apple/250.nixvol -s labels"), "no 1 1 84 0 0 1 84\n");
    assert_eq!(mac.run("pfctl -a com.apple/250.nixvol -t none -T show").code, 255);
}

#[test]
fn launchctl_and_ls() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let mac = Mac::new();
    let label = "org.nix-volumes.networking";
    let gone = mac.run(&format!("launchctl bootout system/{label}"));
    assert_eq!((gone.code, gone.err.as_str()), (3, "Boot-out failed: 3: No such process\n"));
    mac.ok(&format!("launchctl bootstrap system /Library/LaunchDaemons/{label}.plist"));
    let twice = mac.run(&format!("launchctl bootstrap system /Library/LaunchDaemons/{label}.plist"));
    assert_eq!((twice.code, twice.err.as_str()), (5, "Bootstrap failed: 5: Input/output error\n"));
    assert!(mac.ok(&format!("launchctl print system/{label}")).contains("\tlast exit code = 0\n"));
    mac.ok(&format!("launchctl bootout system/{label}"));
    // `ls -lden` prints one line per path, sorted by name.
    let (dir, link) = (mac.dir().join("a dir"), mac.dir().join("a link"));
    fs::create_dir(&dir).expect("a directory");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o1777)).expect("its mode");
    symlink("a dir", &link).expect("a link");
    mac.edit(|kernel| kernel + &format!("owner\t{}\t501\t+\n", dir.display()));
    let ls = std::process::Command::new(mac.bin().join("ls")).arg("-lden").args([&link, &dir]).output();
    let ls = Ran::of(&ls.expect("ls runs"));
    let lines: Vec<&str> = ls.out.lines().collect();
    assert!(lines[0].starts_with("drwxrwxrwt+ ") && lines[0].contains(" 501  "), "{}", ls.out);
    assert!(lines[0].ends_with(&format!(" Nov 22 23:29 {}", dir.display())), "{}", ls.out);
    // The ACL entry is on a line in between.
    let last = lines.last().expect("a line");
    assert!(last.starts_with('l') && last.ends_with(&format!("{} -> a dir", link.display())), "{}", ls.out);
}

/// What it answers itself is what the real tools answer.
#[test]
fn frequent_tools_answer_as_the_real_ones() {
    let mac = Mac::new();
    let file = |name: &str| mac.dir().join(name).display().to_string();
    fs::write(file("one"), "1\n2").expect("a file");
    fs::write(file("two"), "1\n").expect("a file");
    fs::write(file("none"), "").expect("a file");
    let [one, two, none, absent] = ["one", "two", "none", "absent"].map(file);
    for words in [
        &["cat", &one, &two][..],
        &["cat", &one, &absent],
        &["cmp", "-s", &one, &one],
        &["cmp", "-s", &one, &two],
        &["cmp", "-s", &one, &absent],
        &["tail", "-c", "1", &one],
        &["tail", "-c", "1", &none],
        &["mkdir", "-p", &one],
        &["rmdir", &one],
        &["ln", &one, &two],
        &["date", "+%Y-%m-%dT%H:%M:%SZ"],
    ] {
        let answer = |program: &Path| {
            let output = Command::new(program).args(&words[1..]).env("TZ", "UTC0").output().expect("it runs");
            (output.status.code(), output.stdout)
        };
        let toy = mac.bin().join(words[0]);
        // A second may pass in between.
        let same = (0..3).any(|_| answer(&toy) == answer(Path::new(words[0])));
        assert!(same, "{words:?}: {:?}, really {:?}", answer(&toy), answer(Path::new(words[0])));
    }
}
