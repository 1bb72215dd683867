//! The toy Mac against further facts about macOS, where a lenient test double would hide a mistake.
//!
//! Not modelled, because nothing here depends on it or can show it: lazy lo0 routes for addresses on Ethernet, ARP,
//! forwarding between bridge members, Local Network privacy, the Application Firewall, Private Relay, launchd's errors
//! 37 and 119, how long `bootout` takes to drain, and the hang of a wildcard `create` when all units are taken.

use std::fs;

use crate::rig::{Mac, Ran};

fn refused(mac: &Mac, line: &str, code: i32, err: &str) {
    let before = mac.kernel();
    let ran = mac.run(line);
    assert_eq!(ran, Ran { code, out: String::new(), err: format!("{err}\n") }, "{line}");
    assert_eq!(mac.kernel(), before, "{line} changed something");
}

/// Loads rules into an anchor; returns pfctl's result.
fn load(mac: &Mac, anchor: &str, rules: &str) -> Ran {
    let file = mac.dir().join("rules");
    fs::write(&file, rules).expect("rules");
    mac.run(&format!("pfctl -a {anchor} -f {}", file.display()))
}

const OURS: &str = "com.apple/250.nixvol";

#[test]
fn units_go_up_to_32767_and_names_up_to_15_characters() {
    let mac = Mac::new();
    mac.ok("ifconfig feth32767 create");
    refused(&mac, "ifconfig feth32768 create", 1, "ifconfig: SIOCIFCREATE2: Device not configured");
    refused(&mac, "ifconfig feth32767 create", 1, "ifconfig: SIOCIFCREATE2: File exists");
    refused(&mac, "ifconfig feth000000000001 create", 1, "ifconfig: feth000000000001: cloning name too long");
    refused(&mac, "ifconfig lo0 destroy", 1, "ifconfig: SIOCIFDESTROY: Invalid argument");
    refused(&mac, "ifconfig bridge2000 destroy", 1, "ifconfig: interface bridge2000 does not exist");
    // macOS cannot rename interfaces: `name` is parsed as an address.
    assert_eq!(mac.run("ifconfig feth32767 name veth-etcd-1").code, 1);
    assert!(mac.kernel().contains("if\tfeth32767\t"));
}

#[test]
fn only_an_unpeered_feth_can_be_a_peer() {
    let mac = Mac::new();
    for name in ["feth20000", "feth20001", "feth20002"] {
        mac.ok(&format!("ifconfig {name} create"));
    }
    let peer = "ifconfig: SIOCDRVSPEC set peer";
    refused(&mac, "ifconfig feth20000 peer feth20009", 1, &format!("{peer}: Device not configured"));
    refused(&mac, "ifconfig feth20000 peer en0", 1, &format!("{peer}: Invalid argument"));
    refused(&mac, "ifconfig bridge0 peer feth20000", 1, &format!("{peer}: Invalid argument"));
    refused(&mac, "ifconfig feth20000 peer feth7", 1, &format!("{peer}: Resource busy"));
    // Peering does not require either feth to be up, and both show it.
    mac.ok("ifconfig feth20000 peer feth20001");
    assert!(mac.ok("ifconfig feth20001").contains("\tpeer: feth20000\n"));
    refused(&mac, "ifconfig feth20002 peer feth20001", 1, &format!("{peer}: Resource busy"));
    mac.ok("ifconfig feth20001 -peer");
    assert!(mac.ok("ifconfig feth20000").contains("\tpeer: <none>\n"));
}

#[test]
fn a_refused_mtu_is_only_a_warning() {
    let mac = Mac::new();
    mac.ok("ifconfig feth20000 create");
    let ran = mac.run("ifconfig feth20000 mtu 9000");
    assert_eq!((ran.code, ran.out.as_str()), (0, ""));
    assert!(!ran.err.is_empty());
    assert!(mac.ok("ifconfig feth20000").contains(" mtu 1500\n"));
    mac.ok("ifconfig feth20000 mtu 2048");
    assert!(mac.ok("ifconfig feth20000").contains(" mtu 2048\n"));
    // A bridge takes the MTU of its first member.
    mac.ok("ifconfig bridge2000 create");
    mac.ok("ifconfig bridge2000 addm feth20000");
    assert!(mac.ok("ifconfig bridge2000").contains(" mtu 2048\n"));
}

#[test]
fn an_address_makes_a_feth_up_but_not_running() {
    let mac = Mac::new();
    mac.ok("ifconfig feth20000 create");
    assert!(mac.ok("ifconfig feth20000").starts_with("feth20000: flags=8802<BROADCAST,SIMPLEX,MULTICAST>"));
    mac.ok("ifconfig feth20000 inet 10.9.0.1 netmask 255.255.255.0 alias");
    assert!(
        mac.ok("ifconfig feth20000").starts_with("feth20000: flags=8803<UP,BROADCAST,SIMPLEX,MULTICAST>")
    );
    mac.ok("ifconfig feth20000 up");
    assert!(mac.ok("ifconfig feth20000").contains("<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST>"));
}

#[test]
fn a_bridge_is_active_with_a_running_peered_member() {
    let mac = Mac::new();
    for line in
        ["bridge2000 create up", "feth20000 create up", "feth20001 create", "bridge2000 addm feth20001"]
    {
        mac.ok(&format!("ifconfig {line}"));
    }
    let inactive = || mac.ok("ifconfig bridge2000").ends_with("\tstatus: inactive\n");
    assert!(inactive(), "neither up nor peered");
    mac.ok("ifconfig feth20001 up");
    assert!(inactive(), "not peered");
    mac.ok("ifconfig feth20000 peer feth20001");
    assert!(!inactive());
    mac.ok("ifconfig feth20001 down");
    assert!(inactive(), "down");
    refused(&mac, "ifconfig bridge2000 addm bridge0", 1, "ifconfig: BRDGADD bridge0: Invalid argument");
    refused(&mac, "ifconfig feth20000 addm feth20001", 1, "ifconfig: BRDGADD feth20001: Invalid argument");
}

#[test]
fn destroying_a_bridge_releases_members_and_removes_addresses_and_routes() {
    let mac = Mac::new();
    mac.ok("ifconfig feth20000 create up");
    let before = mac.kernel();
    for line in [
        "ifconfig bridge2000 create up",
        "ifconfig bridge2000 addm feth20000",
        "ifconfig bridge2000 inet 10.0.1.1 netmask 255.255.255.0 alias",
        "route -n add -net 10.0.0.0/16 -interface bridge2000",
    ] {
        mac.ok(line);
    }
    assert!(mac.ok("netstat -rn -f inet").contains("\n10.0.1/24 "));
    mac.ok("ifconfig bridge2000 destroy");
    // The released member is down.
    assert_ne!(mac.kernel(), before);
    mac.ok("ifconfig feth20000 up");
    assert_eq!(mac.kernel(), before);
}

#[test]
fn a_loopback_network_on_a_bridge_shadows_lo0() {
    let mac = Mac::new();
    mac.ok("ifconfig bridge2000 create up");
    mac.ok("ifconfig bridge2000 inet 127.0.1.1 netmask 255.255.255.0 alias");
    // It shadows 127/8 for its own /24.
    assert!(mac.ok("route -n get 127.0.1.9").contains("interface: bridge2000\n"));
    assert!(mac.ok("route -n get 127.0.2.9").contains("interface: lo0\n"));
}

#[test]
fn an_alias_without_a_netmask_gets_the_classful_one() {
    let mac = Mac::new();
    mac.ok("ifconfig lo0 alias 10.0.1.2");
    assert!(mac.ok("ifconfig lo0").contains("\tinet 10.0.1.2 netmask 0xff000000\n"));
    refused(&mac, "ifconfig lo0 alias 10.0.1", 1, "ifconfig: 10.0.1: bad value");
    refused(&mac, "ifconfig lo0 alias 10.0.1.3 netmask 255.0.255.0", 1, "ifconfig: 255.0.255.0: bad value");
}

#[test]
fn every_failure_of_route_exits_0() {
    let mac = Mac::new();
    mac.ok("ifconfig bridge2000 create up");
    mac.remove("route\t0.0.0.0/0\t192.168.1.1");
    for (line, out, err) in [
        ("get 10.0.2.2", "", "route: writing to routing socket: not in table\n"),
        ("get default", "", "route: writing to routing socket: not in table\n"),
        (
            "change -net 10.0.0.0/16 -interface bridge2000",
            "change net 10.0.0.0: gateway bridge2000: not in table\n",
            "route: writing to routing socket: not in table\n",
        ),
        (
            "add -net 10.0.0.0/16 10.99.0.1",
            "add net 10.0.0.0: gateway 10.99.0.1: Network is unreachable\n",
            "route: writing to routing socket: Network is unreachable\n",
        ),
    ] {
        let ran = mac.run(&format!("route -n {line}"));
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, out, err), "{line}");
    }
    assert_eq!(mac.run("route -n flush").code, 64);
}

#[test]
fn section_order_and_name_lengths_are_enforced() {
    let mac = Mac::new();
    let ran = load(&mac, OURS, "pass all\nnat on en0 inet from any to any -> (en0:0)\n");
    let order = "Rules must be in order: options, normalization, queueing, translation, filtering";
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains(order), "{}", ran.err);
    for (rules, name) in [
        (format!("table <{}> {{ 10.0.0.0/16 }}\n", "t".repeat(32)), "a table's name"),
        (format!("pass all label \"{}\"\n", "l".repeat(64)), "a label"),
    ] {
        assert_eq!(load(&mac, OURS, &rules).code, 1, "{name}");
        assert_eq!(
            load(&mac, OURS, &rules.replacen("tttt", "t", 1).replacen("llll", "l", 1)).code,
            0,
            "{name}"
        );
    }
    for anchor in [format!("com.apple/{}", "a".repeat(64)), "_pf".to_owned(), "com.apple//x".to_owned()] {
        assert_eq!(load(&mac, &anchor, "pass all\n").code, 1, "{anchor}");
    }
    // A rule may name an interface that does not exist yet.
    assert_eq!(load(&mac, OURS, "pass quick on bridge4000 all\n").code, 0);
}

#[test]
fn a_dry_run_cancels_every_other_option() {
    let mac = Mac::new();
    let before = mac.kernel();
    for line in ["-E", "-X 9813589183660731843", "-s rules", &format!("-a {OURS} -F all")] {
        let ran = mac.run(&format!("pfctl -n {line}"));
        assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{line}");
        assert!(!ran.err.contains("Token"), "{line}");
    }
    assert_eq!(mac.kernel(), before);
    let quiet = mac.run("pfctl -q -E");
    assert_eq!((quiet.code, quiet.out.as_str(), quiet.err.as_str()), (0, "", ""), "no token is printed");
    refused(&mac, "pfctl -q -X 1", 1, "pfctl: DIOCSTOPREF: Invalid argument");
}

#[test]
fn loads_and_flushes_keep_states() {
    let mac = Mac::new();
    mac.edit(|kernel| kernel + "state\ttcp\t10.0.1.2\t49152\t10.1.1.2\t2379\nstate\ttcp\t192.168.1.23\t49153\t93.184.216.34\t443\n");
    let states = || mac.ok("pfctl -q -s states").lines().count();
    assert_eq!(load(&mac, OURS, "block all\n").code, 0);
    mac.ok(&format!("pfctl -a {OURS} -F all"));
    assert_eq!(states(), 2);
    mac.ok("pfctl -k 10.1.0.0/16 -k 10.0.0.0/16");
    assert_eq!(states(), 2, "from and to are two things");
    mac.ok("pfctl -k 10.0.0.0/16 -k 10.1.0.0/16");
    assert_eq!(states(), 1);
}

#[test]
fn only_direct_children_of_com_apple_are_evaluated() {
    let mac = Mac::new();
    mac.ok("ifconfig lo0 alias 10.0.1.2 netmask 255.255.255.255");
    mac.ok("ifconfig lo0 alias 10.1.1.2 netmask 255.255.255.255");
    mac.edit(|kernel| kernel + "listen\t10.1.1.2\t2379\n");
    let connect = |source: &str| mac.run(&format!("nc -z -G 2 {source} 10.1.1.2 2379")).code;
    let block = "block return quick inet from 10.0.0.0/16 to 10.1.0.0/16\n";
    assert_eq!(connect("-s 10.0.1.2"), 0);
    load(&mac, "com.apple/250.nixvol/aws", block);
    assert_eq!(connect("-s 10.0.1.2"), 0, "a grandchild");
    load(&mac, "com.example.ours", block);
    assert_eq!(connect("-s 10.0.1.2"), 0, "nobody calls it");
    // pf sees this traffic on lo0, never on a bridge.
    load(&mac, OURS, &block.replace("quick", "quick on bridge2000"));
    assert_eq!(connect("-s 10.0.1.2"), 0, "not on a bridge");
    // Out and in are separate hooks: what passes out only is still blocked in.
    load(&mac, OURS, &format!("pass out quick inet from 10.0.0.0/16 to 10.1.0.0/16 no state\n{block}"));
    assert_eq!(connect("-s 10.0.1.2"), 1, "it must come in as well");
    load(&mac, OURS, block);
    assert_eq!(connect("-s 10.0.1.2"), 1);
    assert_eq!(connect(""), 0, "who is not bound comes from where it goes to");
    mac.edit(|kernel| kernel + "skip\tlo0\n");
    assert_eq!(connect("-s 10.0.1.2"), 0, "lo0 is skipped");
}

#[test]
fn only_lo0_addresses_can_use_the_default_route_of_another_interface() {
    let mac = Mac::new();
    mac.ok("ifconfig bridge2000 create up");
    mac.ok("ifconfig bridge2000 inet 10.0.1.1 netmask 255.255.255.0 alias");
    mac.ok("ifconfig lo0 alias 10.0.1.2 netmask 255.255.255.255");
    let ping = |source: &str| mac.run(&format!("ping -n -q -c 1 -t 2 {source} 93.184.216.34"));
    assert_eq!(ping("").code, 0);
    let scoped = ping("-S 10.0.1.1");
    assert_eq!((scoped.code, scoped.err.as_str()), (2, "ping: sendto: No route to host\n"));
    let untranslated = ping("-S 10.0.1.2");
    assert_eq!((untranslated.code, untranslated.err.as_str()), (2, ""), "no answer finds back");
    load(&mac, OURS, "nat on en0 inet from 10.0.0.0/16 to any -> (en0:0)\n");
    assert_eq!(ping("-S 10.0.1.2").code, 0);
    load(&mac, OURS, "nat on en1 inet from 10.0.0.0/16 to any -> (en1:0)\n");
    assert_eq!(ping("-S 10.0.1.2").code, 2, "another way out");
}

#[test]
fn nc_reports_the_reason() {
    let mac = Mac::new();
    let tcp = |why: &str| format!("nc: connectx to 10.9.9.9 port 80 (tcp) failed: {why}");
    refused(&mac, "nc -z -G 2 -s 10.9.9.1 10.9.9.9 80", 1, "nc: bind failed: Can't assign requested address");
    mac.ok("ifconfig bridge2000 create up");
    mac.ok("route -n add -net 10.9.0.0/16 -interface bridge2000");
    refused(&mac, "nc -z -G 2 10.9.9.9 80", 1, &tcp("Operation timed out"));
    mac.ok("route -n delete -net 10.9.0.0/16 -interface bridge2000");
    mac.remove("route\t0.0.0.0/0\t192.168.1.1");
    refused(&mac, "nc -z -G 2 10.9.9.9 80", 1, &tcp("No route to host"));
}

#[test]
fn launchctl_exit_codes_are_those_of_macos() {
    let mac = Mac::new();
    let plist = "/Library/LaunchDaemons/org.nix-volumes.networking.plist";
    let label = "system/org.nix-volumes.networking";
    let missing = "Could not find service \"org.nix-volumes.networking\" in domain for system";
    refused(&mac, &format!("launchctl print {label}"), 113, missing);
    refused(&mac, &format!("launchctl kickstart -k {label}"), 113, missing);
    refused(&mac, &format!("launchctl bootout {label}"), 3, "Boot-out failed: 3: No such process");
    mac.ok(&format!("launchctl bootstrap system {plist}"));
    refused(
        &mac,
        &format!("launchctl bootstrap system {plist}"),
        5,
        "Bootstrap failed: 5: Input/output error",
    );
    assert!(mac.ok(&format!("launchctl print {label}")).contains("\tstate = not running\n"));
    mac.ok(&format!("launchctl kickstart -k {label}"));
    mac.ok(&format!("launchctl bootout {label}"));
}

#[test]
fn pipes_are_printed_as_dnctl_prints_them() {
    let mac = Mac::new();
    assert_eq!(mac.ok("dnctl list"), "");
    let before = mac.kernel();
    assert_eq!(mac.ok("dnctl pipe 20000 config delay 40 plr 0.010000 bw 100000Kbit/s"), "");
    mac.ok("dnctl pipe 20001 config delay 0 plr 0.000000 bw 0");
    mac.ok("dnctl pipe 7 config bw 512Kbit/s plr 1");
    mac.ok("dnctl pipe 30000 config bw 999 delay 10000");
    let mask = "    mask: 0x00 0x00000000/0x0000 -> 0x00000000/0x0000\n";
    let lines = [
        "00007: 512.000 Kbit/s    0 ms   50 sl.plr 1.000000 0 queues (1 buckets) droptail\n",
        "20000: 100.000 Mbit/s   40 ms   50 sl.plr 0.010000 0 queues (1 buckets) droptail\n",
        "20001: unlimited    0 ms   50 sl. 0 queues (1 buckets) droptail\n",
        "30000: 999.000 bit/s  10000 ms   50 sl. 0 queues (1 buckets) droptail\n",
    ];
    assert_eq!(mac.ok("dnctl list"), lines.map(|line| line.to_owned() + mask).concat());
    // What is not given becomes 0.
    mac.ok("dnctl pipe 20000 config bw 2147483Kbit/s");
    let fastest = "20000: 2147.483 Mbit/s    0 ms   50 sl. 0 queues (1 buckets) droptail\n";
    assert!(mac.ok("dnctl list").contains(fastest), "{}", mac.ok("dnctl list"));
    refused(&mac, "dnctl pipe 20000 config bw 2147484Kbit/s", 65, "dnctl: bandwidth too large");
    // The loss rate survives the conversion to the kernel's integer and back.
    for share in ["0.000001", "0.012345", "0.333333", "0.999999", "1.000000"] {
        mac.ok(&format!("dnctl pipe 20002 config plr {share}"));
        assert!(mac.ok("dnctl list").contains(&format!(" 50 sl.plr {share} 0 queues")), "{share}");
    }
    for number in ["7", "20000", "20001", "20002"] {
        assert_eq!(mac.ok(&format!("dnctl pipe delete {number}")), "");
    }
    mac.ok("dnctl pipe 30000 delete");
    assert_eq!(mac.kernel(), before);
    refused(
        &mac,
        "dnctl pipe delete 20000",
        1,
        "dnctl: rule 20000: setsockopt(IP_DUMMYNET_DEL): Invalid argument",
    );
}

#[test]
fn dnctl_rejects_bad_syntax_and_flush_is_forbidden() {
    let mac = Mac::new();
    mac.ok("dnctl pipe 20000 config delay 40");
    for (line, code) in [
        ("dnctl flush", 99),
        ("dnctl -q flush", 99),
        ("dnctl -f flush", 99),
        ("dnctl pipe flush", 99),
        ("dnctl", 64),
        ("dnctl pipe", 64),
        ("dnctl show", 64),
        ("dnctl pipe 0 config delay 1", 64),
        ("dnctl pipe 65536 config delay 1", 64),
        ("dnctl pipe 20000 config delay", 64),
        ("dnctl pipe 20000 config delay ten", 64),
        ("dnctl pipe 20000 config bw 10Gbit/s", 64),
        ("dnctl pipe 20000 config speed 10", 64),
        ("dnctl queue 1 config pipe 20000", 64),
    ] {
        let before = mac.kernel();
        assert_eq!(mac.run(line).code, code, "{line}");
        assert_eq!(mac.kernel(), before, "{line}");
    }
    mac.edit(|kernel| kernel.replace("uid\t0\n", "uid\t501\n"));
    for line in ["list", "pipe 20000 config delay 1", "pipe delete 20000"] {
        refused(&mac, &format!("dnctl {line}"), 69, "dnctl: socket: Operation not permitted");
    }
    // Other programs can flush, and a reboot removes all pipes.
    mac.edit(|kernel| kernel.replace("uid\t501\n", "uid\t0\n"));
    mac.fault(Some(("flush", 2)));
    assert_ne!(mac.ok("dnctl list"), "");
    assert_eq!(mac.ok("dnctl list"), "");
    mac.fault(None);
    mac.ok("dnctl pipe 20000 config delay 40");
    mac.reboot();
    assert_eq!(mac.ok("dnctl list"), "");
}

/// A dummynet rule for each direction, a nat rule and a filter rule.
const SLOW: &str = "nat on en0 inet from 10.0.0.0/16 to any -> (en0:0)\n\
    dummynet in quick inet from 10.0.0.0/16 to 10.1.0.0/16 pipe 20000\n\
    dummynet out quick inet from 10.0.0.0/16 to 10.1.0.0/16 pipe 20000\n\
    pass quick inet from 10.0.0.0/16 to 10.1.0.0/16\n";

#[test]
fn dummynet_rules_have_a_list_of_their_own() {
    let mac = Mac::new();
    mac.ok("dnctl pipe 20000 config delay 40");
    assert_eq!(mac.ok("pfctl -s dummynet"), "dummynet-anchor \"com.apple/*\" all\n");
    for what in ["nat", "rules"] {
        assert!(!mac.ok(&format!("pfctl -s {what}")).contains("dummynet"), "{what}");
    }
    let shown = |what: &str| mac.ok(&format!("pfctl -a {OURS} -s {what}"));
    assert_eq!(shown("dummynet"), "");
    assert_eq!(load(&mac, OURS, SLOW).code, 0);
    let both = "dummynet in quick inet from 10.0.0.0/16 to 10.1.0.0/16 pipe 20000\n\
        dummynet out quick inet from 10.0.0.0/16 to 10.1.0.0/16 pipe 20000\n";
    assert_eq!(shown("dummynet"), both);
    assert!(!(shown("nat") + &shown("rules")).contains("dummynet"));
    let held = mac.kernel();
    let state = "dummynet in inet from any to any pipe 20000 keep state\n";
    for bad in [
        "dummynet inet from any to any pipe 20000\n",
        "dummynet in inet from any to any\n",
        "dummynet in inet from any to any pipe 0\n",
        "dummynet in inet from any to any pipe 65536\n",
        "pass in inet from any to any pipe 20000\n",
        "no dummynet in inet from any to any pipe 20000\n",
        state,
    ] {
        assert_eq!(load(&mac, OURS, bad).code, 1, "{bad}");
        assert_eq!(mac.kernel(), held);
    }
    assert_eq!(load(&mac, "com.apple/x", "no dummynet quick on lo0 inet from any to any\n").code, 0);
    mac.ok("pfctl -a com.apple/x -F all");
    // A load replaces the old dummynet rules.
    assert_eq!(load(&mac, OURS, "pass quick inet from 10.0.0.0/16 to 10.1.0.0/16\n").code, 0);
    assert_eq!(shown("dummynet"), "");
    load(&mac, OURS, SLOW);
    assert_eq!(mac.run(&format!("pfctl -a {OURS} -f /dev/null")).code, 0);
    assert_eq!(shown("dummynet"), "");
    assert_eq!(mac.holes(), "");
}

#[test]
fn a_flush_removes_or_keeps_dummynet_rules() {
    let mac = Mac::new();
    mac.ok("dnctl pipe 20000 config delay 40");
    let bare = mac.kernel();
    load(&mac, OURS, SLOW);
    mac.ok(&format!("pfctl -a {OURS} -F rules"));
    mac.ok(&format!("pfctl -a {OURS} -F nat"));
    assert_eq!(mac.ok(&format!("pfctl -a {OURS} -s dummynet")).lines().count(), 2);
    mac.ok(&format!("pfctl -a {OURS} -F all"));
    assert_eq!(mac.kernel(), bare);
    mac.spare_dummynet();
    let bare = mac.kernel();
    load(&mac, OURS, SLOW);
    mac.ok(&format!("pfctl -a {OURS} -F all"));
    assert_eq!(mac.ok(&format!("pfctl -a {OURS} -s dummynet")).lines().count(), 2);
    assert_eq!(mac.ok(&format!("pfctl -a {OURS} -s rules")), "");
    mac.run(&format!("pfctl -a {OURS} -f /dev/null"));
    assert_eq!(mac.kernel(), bare);
}

#[test]
fn a_rule_with_a_missing_pipe_drops_packets_and_is_recorded() {
    let hole = "com.apple/250.nixvol sends packets into pipe 20000, which is not there";
    let mac = Mac::new();
    // Rules loaded before their pipe exists.
    load(&mac, OURS, SLOW);
    assert_eq!(mac.holes().matches(hole).count(), 2, "{}", mac.holes());
    mac.ok("dnctl pipe 20000 config delay 40");
    mac.forget_holes();
    load(&mac, OURS, SLOW);
    mac.ok("dnctl pipe 20000 config delay 50");
    assert_eq!(mac.holes(), "");
    // A pipe deleted before its rules; later commands that only look or load elsewhere are not recorded.
    mac.ok("dnctl pipe delete 20000");
    assert!(mac.holes().contains(hole) && mac.holes().contains("pipe delete 20000"), "{}", mac.holes());
    mac.forget_holes();
    mac.ok("pfctl -s dummynet");
    mac.ok("pfctl -E");
    assert_eq!(mac.holes(), "");
    // Packets into a missing pipe are lost, as they are in a pipe with a loss rate of 1.
    mac.ok("ifconfig lo0 alias 10.0.1.2 netmask 255.255.255.255");
    mac.ok("ifconfig lo0 alias 10.1.1.2 netmask 255.255.255.255");
    let ping = || mac.run("ping -n -q -c 1 -t 2 -S 10.0.1.2 10.1.1.2").code;
    assert_eq!(ping(), 2, "no pipe");
    mac.ok("dnctl pipe 20000 config delay 40 plr 0.5");
    assert_eq!(ping(), 0);
    mac.ok("dnctl pipe 20000 config plr 1");
    assert_eq!(ping(), 2, "all of it is lost");
    mac.remove("pipe\t");
    // A reboot removes pipes and rules, but not the record.
    load(&mac, OURS, SLOW);
    mac.reboot();
    assert_ne!(mac.holes(), "");
}
