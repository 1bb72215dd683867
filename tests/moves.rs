//! Changes of the Mac while the network is up: other egress interfaces, other programs, other volumes. The next
//! reconcile repairs what it may and logs who changed what; the one after it does nothing.

use std::fs;

use serde_json::{Value, json};

use crate::network::{HOSTS, Network, slow, small};
use crate::rig::{Mac, foreign, settled};

/// A change of the Mac while the network is up.
struct Move {
    name: &'static str,
    happens: fn(&Network),
    /// What the next reconcile logs about the cause; empty if nothing of ours is affected.
    says: &'static [&'static str],
    /// How many commands of that reconcile change the Mac.
    changes: usize,
    /// Its exit code: 0 if it repaired everything, 1 if the cause must be fixed by others.
    code: i32,
    /// Reverts the change. None if reconcile has already restored the kernel's previous state.
    back: Option<fn(&Network)>,
}

/// A network with everything that can change: a volume with a mount point, and a provider on vmnet.
fn network() -> Value {
    let mut input = small();
    input["volumes"]["etcd-1"]["mountPoint"] = json!("/Volumes/data");
    input["volumes"]["talos-9"] = json!({ "provider": "gcp", "address": "10.2.1.9", "attachment": "guest" });
    input["providers"]["gcp"] =
        json!({ "network": "10.2.0.0/16", "gateway": "10.2.1.1/24", "attachment": "vmnet" });
    input
}

const DATA: &str = "mount\t/dev/disk5s1 on /Volumes/data (apfs, local, nodev, nosuid, journaled)";
const APPLE: &str = "nat-anchor \"com.apple/*\" all\\nrdr-anchor \"com.apple/*\" all\\n\
    dummynet-anchor \"com.apple/*\" all\\nanchor \"com.apple/*\" all\\n";

/// vmnet creates a bridge with gcp's gateway address.
fn vmnet(mac: &Mac, unit: u32) {
    mac.add(&format!("if\tbridge{unit}\t{unit}\t1\t1\t1500\t36:7d:da:00:00:67\t\t\t10.2.1.1/24"));
    mac.add(&format!("route\t10.2.1.0/24\tlink#{unit}\tUC\tbridge{unit}\t!"));
}

/// Removes an interface and its routes.
fn gone(mac: &Mac, name: &str) {
    mac.edit(|kernel| {
        let of = |line: &str| {
            let fields: Vec<&str> = line.trim_end().split('\t').collect();
            match fields[0] {
                "if" => fields[1] == name,
                "route" => fields[4] == name,
                _ => false,
            }
        };
        kernel.split_inclusive('\n').filter(|line| !of(line)).collect()
    });
}

fn main_rules(mac: &Mac, from: &str, to: &str) {
    mac.edit(|kernel| {
        assert!(kernel.contains(from), "{kernel}");
        kernel.replace(from, to)
    });
}

/// Simulates `pfctl -d`, which disables pf and invalidates every token.
fn disable_pf(mac: &Mac) {
    mac.edit(|kernel| kernel.replace("pf\t1\n", "pf\t0\n"));
    mac.remove("token\t");
}

fn ethernet(network: &Network) {
    network.mac.edit(|kernel| {
        kernel
            .replace("route\t0.0.0.0/0\t192.168.1.1\tUGScg\ten0", "route\t0.0.0.0/0\t192.168.1.1\tUGScg\ten1")
            .replace("36:7d:da:00:00:01\t\t\t\n", "36:7d:da:00:00:01\t\t\t192.168.1.24/24\n")
    });
}

fn wifi(network: &Network) {
    network.mac.edit(|kernel| {
        kernel
            .replace("route\t0.0.0.0/0\t192.168.1.1\tUGScg\ten1", "route\t0.0.0.0/0\t192.168.1.1\tUGScg\ten0")
            .replace("36:7d:da:00:00:01\t\t\t192.168.1.24/24\n", "36:7d:da:00:00:01\t\t\t\n")
    });
}

fn offline(network: &Network) {
    network.mac.remove("route\t0.0.0.0/0\t192.168.1.1");
    network.mac.remove("route\t100.64.0.0/10");
}

fn online(network: &Network) {
    network.mac.add("route\t0.0.0.0/0\t192.168.1.1\tUGScg\ten0\t");
    network.mac.add("route\t100.64.0.0/10\tutun4\tUSc\tutun4\t");
}

/// A change that applies to networks with and without conditions.
const EMPTIED: Move = Move {
    name: "somebody empties our anchor",
    happens: |network| {
        network.mac.ok("pfctl -a com.apple/250.nixvol -F all");
    },
    says: &["another program emptied com.apple/250.nixvol"],
    changes: 1,
    code: 0,
    back: None,
};

const MOVES: &[Move] = &[
    Move {
        name: "Ethernet takes over from Wi-Fi",
        happens: ethernet,
        says: &[
            "the egress interfaces changed from en0, feth7, utun4 to en0, en1, feth7, utun4; the default route is by 192.168.1.1 en1",
        ],
        changes: 1,
        code: 0,
        back: Some(wifi),
    },
    Move {
        name: "a VPN takes the default route",
        happens: |network| {
            network.mac.add("if\tutun5\t40\t1\t1\t1380\t\t\t\t100.65.0.2/32/100.65.0.2");
            network.mac.edit(|kernel| {
                kernel.replace(
                    "route\t0.0.0.0/0\t192.168.1.1\tUGScg\ten0",
                    "route\t0.0.0.0/0\tutun5\tUSc\tutun5",
                )
            });
        },
        says: &[
            "the egress interfaces changed from en0, feth7, utun4 to en0, feth7, utun4, utun5; the default route is by utun5 utun5",
        ],
        changes: 1,
        code: 0,
        back: Some(|network| {
            gone(&network.mac, "utun5");
            network.mac.add("route\t0.0.0.0/0\t192.168.1.1\tUGScg\ten0\t");
        }),
    },
    Move {
        name: "a VPN takes both halves of the default route",
        happens: |network| {
            network.mac.add("if\tutun5\t40\t1\t1\t1380\t\t\t\t100.65.0.2/32/100.65.0.2");
            network.mac.add("route\t0.0.0.0/1\tutun5\tUSc\tutun5\t");
            network.mac.add("route\t128.0.0.0/1\tutun5\tUSc\tutun5\t");
        },
        says: &["the egress interfaces changed from en0, feth7, utun4 to en0, feth7, utun4, utun5"],
        changes: 1,
        code: 0,
        back: Some(|network| gone(&network.mac, "utun5")),
    },
    Move {
        name: "offline",
        happens: offline,
        says: &[
            "the egress interfaces changed from en0, feth7, utun4 to en0, feth7; the default route is gone",
        ],
        changes: 1,
        code: 0,
        back: Some(online),
    },
    Move {
        name: "asleep and awake: clones and pf stay, the network comes back before anyone looks",
        happens: |network| {
            offline(network);
            online(network);
        },
        says: &[],
        changes: 0,
        code: 0,
        back: None,
    },
    Move {
        name: "a restart",
        happens: |network| {
            network.mac.reboot();
            network.mac.add(DATA);
            vmnet(&network.mac, 101);
        },
        says: &["the Mac was restarted since the network came up"],
        changes: 21,
        code: 0,
        back: None,
    },
    Move {
        name: "a VM tool replaces the main ruleset",
        happens: |network| {
            let theirs = "nat-anchor \"com.example.vm/*\" all\\nanchor \"com.example.vm/*\" all\\n";
            main_rules(&network.mac, APPLE, theirs);
        },
        says: &[
            "the main ruleset of pf does not call com.apple/* any more (missing: nat rdr filter): another program replaced it",
        ],
        changes: 0,
        code: 1,
        back: Some(|network| {
            let theirs = "nat-anchor \"com.example.vm/*\" all\\nanchor \"com.example.vm/*\" all\\n";
            main_rules(&network.mac, theirs, APPLE);
        }),
    },
    Move {
        name: "a VM tool keeps the filter's call and drops nat's",
        happens: |network| main_rules(&network.mac, "nat-anchor \"com.apple/*\" all\\n", ""),
        says: &["(missing: nat): another program replaced it"],
        changes: 0,
        code: 1,
        back: Some(|network| {
            main_rules(
                &network.mac,
                "rdr-anchor \"com.apple",
                "nat-anchor \"com.apple/*\" all\\nrdr-anchor \"com.apple",
            );
        }),
    },
    Move {
        name: "an update writes /etc/pf.conf anew and loads it",
        happens: |network| {
            // Apple's default file has the same call points; rules loaded into anchors stay.
            main_rules(
                &network.mac,
                APPLE,
                &APPLE.replace("nat-anchor", "nat-anchor \"com.example/*\" all\\nnat-anchor"),
            );
        },
        says: &[],
        changes: 0,
        code: 0,
        back: Some(|network| main_rules(&network.mac, "nat-anchor \"com.example/*\" all\\n", "")),
    },
    Move {
        name: "an update flushes all of pf",
        happens: |network| {
            main_rules(&network.mac, APPLE, "");
            network.mac.remove("anchor\tcom.apple/250.nixvol");
        },
        says: &[
            "another program emptied com.apple/250.nixvol; pf is in use by socketfilterfw (618)",
            "missing: nat rdr filter",
        ],
        changes: 1,
        code: 1,
        back: Some(|network| {
            main_rules(
                &network.mac,
                "all fragment reassemble\\n",
                &format!("all fragment reassemble\\n{APPLE}"),
            );
        }),
    },
    EMPTIED,
    Move {
        name: "somebody loads other rules into our anchor",
        happens: |network| {
            let file = network.mac.dir().join("theirs");
            fs::write(&file, "pass quick all\n").expect("rules");
            network.mac.ok(&format!("pfctl -a com.apple/250.nixvol -f {}", file.display()));
        },
        says: &[
            "did not load, such as `pass quick all",
            "another program loaded them in the place of ours, which are not in force; pf is in use by socketfilterfw (618)",
        ],
        changes: 0,
        code: 1,
        back: Some(|network| drop(network.mac.ok("pfctl -a com.apple/250.nixvol -f /dev/null"))),
    },
    Move {
        name: "somebody takes the translation out of our anchor",
        happens: |network| {
            network.mac.ok("pfctl -a com.apple/250.nixvol -F nat");
        },
        says: &["another program changed the rules in com.apple/250.nixvol"],
        changes: 1,
        code: 0,
        back: None,
    },
    Move {
        name: "another tool turns pf off",
        happens: |network| disable_pf(&network.mac),
        says: &["the token of pf is gone: another program turned pf off (pfctl -d) or released it"],
        changes: 1,
        code: 0,
        back: Some(|network| network.mac.add("token\t9813589183660731843\t618\tsocketfilterfw")),
    },
    Move {
        name: "another tool gives our token back",
        happens: |network| {
            let held = network.mac.ok("pfctl -s References");
            let ours = held.lines().find(|line| line.contains(" pfctl ")).expect("our token");
            network.mac.ok(&format!("pfctl -X {}", ours.split_whitespace().nth(2).expect("its number")));
        },
        says: &["the token of pf is gone: another program turned pf off (pfctl -d) or released it"],
        changes: 1,
        code: 0,
        back: None,
    },
    Move {
        name: "pf skips lo0",
        happens: |network| network.mac.edit(|kernel| kernel + "skip\tlo0\n"),
        says: &["pf skips lo0, so no rule of ours is in force"],
        changes: 0,
        code: 1,
        back: Some(|network| network.mac.remove("skip\t")),
    },
    Move {
        name: "a bridge of ours is destroyed",
        happens: |network| {
            network.mac.ok("ifconfig bridge2000 destroy");
        },
        says: &["another program removed: bridge-aws (bridge2000)"],
        changes: 5,
        code: 0,
        back: None,
    },
    Move {
        name: "a port of ours is destroyed",
        happens: |network| {
            network.mac.ok("ifconfig feth20001 destroy");
        },
        says: &["another program removed: the far end of veth-etcd-1 (feth20001)"],
        changes: 3,
        code: 0,
        back: None,
    },
    Move {
        name: "a port is taken out of its bridge",
        happens: |network| {
            network.mac.ok("ifconfig bridge2000 deletem feth20001");
        },
        says: &["another program removed: veth-etcd-1 in bridge-aws"],
        changes: 2,
        code: 0,
        back: None,
    },
    Move {
        name: "a port is parted from its far end",
        happens: |network| {
            network.mac.ok("ifconfig feth20000 -peer");
        },
        says: &["another program removed: the far end of veth-etcd-1 (feth20001) from feth20000"],
        changes: 1,
        code: 0,
        back: None,
    },
    Move {
        name: "a bridge is set down",
        happens: |network| {
            network.mac.ok("ifconfig bridge2001 down");
        },
        says: &["another program disabled: bridge-ibm (bridge2001)"],
        changes: 1,
        code: 0,
        back: None,
    },
    Move {
        name: "a route of ours is deleted",
        happens: |network| {
            network.mac.ok("route -n delete -net 10.0.0.0/16 -interface bridge2000");
        },
        says: &["another program removed: the route 10.0.0.0/16"],
        changes: 1,
        code: 0,
        back: None,
    },
    Move {
        name: "an alias of ours is deleted",
        happens: |network| {
            network.mac.ok("ifconfig lo0 -alias 127.0.1.11");
        },
        says: &["another program removed: 127.0.1.11 on lo0"],
        changes: 1,
        code: 0,
        back: None,
    },
    Move {
        name: "an address of a bridge is deleted",
        happens: |network| {
            network.mac.ok("ifconfig bridge2001 -alias 10.3.1.1");
        },
        says: &["another program removed: 10.3.1.1 on bridge-ibm"],
        changes: 1,
        code: 0,
        back: None,
    },
    Move {
        name: "forwarding is switched off",
        happens: |network| {
            network.mac.ok("sysctl -w net.inet.ip.forwarding=0");
        },
        says: &["another program turned IP forwarding off"],
        changes: 1,
        code: 0,
        back: None,
    },
    Move {
        name: "the names are taken out of the hosts file",
        happens: |network| fs::write(network.mac.dir().join("hosts"), HOSTS).expect("hosts"),
        says: &["another program removed our names from"],
        changes: 0,
        code: 0,
        back: None,
    },
    Move {
        name: "a volume is unmounted",
        happens: |network| network.mac.remove(DATA),
        says: &["etcd-1 is not mounted at /Volumes/data any more"],
        changes: 4,
        code: 0,
        back: Some(|network| network.mac.add(DATA)),
    },
    Move {
        name: "a volume of others is mounted",
        happens: |network| network.mac.add("mount\t/dev/disk6s1 on /Volumes/other (apfs, local)"),
        says: &[],
        changes: 0,
        code: 0,
        back: Some(|network| network.mac.remove("mount\t/dev/disk6s1")),
    },
    Move {
        name: "vmnet's bridge goes",
        happens: |network| gone(&network.mac, "bridge101"),
        says: &["vmnet took its bridge for gcp (bridge101) away"],
        changes: 1,
        code: 0,
        back: Some(|network| vmnet(&network.mac, 101)),
    },
    Move {
        name: "vmnet's bridge comes back with another number",
        happens: |network| {
            gone(&network.mac, "bridge101");
            vmnet(&network.mac, 104);
        },
        says: &["vmnet brought bridge104 up for gcp"],
        changes: 2,
        code: 0,
        back: Some(|network| {
            gone(&network.mac, "bridge104");
            vmnet(&network.mac, 101);
        }),
    },
    Move {
        name: "a LAN that collides",
        happens: |network| {
            network.mac.add("if\ten5\t41\t1\t1\t1500\ta4:83:e7:01:02:04\t\t\t10.3.7.20/24");
            network.mac.add("route\t10.3.7.0/24\tlink#41\tUCS\ten5\t!");
        },
        says: &["the network 10.3.0.0/16 of ibm overlaps the route 10.3.7.0/24 on en5"],
        changes: 1,
        code: 1,
        back: Some(|network| gone(&network.mac, "en5")),
    },
    Move {
        name: "a VPN routes one of our networks",
        happens: |network| {
            network.mac.ok("route -n delete -net 10.3.0.0/16 -interface bridge2001");
            network.mac.add("route\t10.3.0.0/16\tutun4\tUSc\tutun4\t");
        },
        says: &["the network 10.3.0.0/16 of ibm overlaps the route 10.3.0.0/16 on utun4"],
        changes: 0,
        code: 1,
        back: Some(|network| network.mac.remove("route\t10.3.0.0/16\tutun4")),
    },
    Move {
        name: "other programs come and go",
        happens: |network| {
            network.mac.add("if\tbridge102\t42\t1\t1\t1500\t36:7d:da:00:00:66\t\t\t192.168.66.1/24");
            network.mac.add("route\t192.168.66.0/24\tlink#42\tUC\tbridge102\t!");
            network.mac.add("anchor\tcom.example.new\tblock drop in quick on en0 inet proto tcp from any to any port = 23\\n");
            network.mac.add("token\t9813589183660731999\t777\tMurus");
        },
        says: &["interfaces of other programs changed: bridge102 added, nothing removed"],
        changes: 1,
        code: 0,
        back: Some(|network| {
            gone(&network.mac, "bridge102");
            network.mac.remove("anchor\tcom.example.new");
            network.mac.remove("token\t9813589183660731999");
        }),
    },
];

/// Changes of a network with conditions.
const MOVES_OF_PIPES: &[Move] = &[
    Move {
        name: "a restart",
        happens: |network| network.mac.reboot(),
        says: &["the Mac was restarted since the network came up"],
        changes: 22,
        code: 0,
        back: None,
    },
    Move {
        name: "somebody flushes dummynet",
        happens: |network| network.mac.remove("pipe\t"),
        says: &["another program removed our pipes (dnctl flush?)"],
        changes: 2,
        code: 0,
        back: None,
    },
    Move {
        name: "somebody takes one pipe of ours",
        happens: |network| network.mac.remove("pipe\t20001\t"),
        says: &["another program removed: pipe 20001"],
        changes: 1,
        code: 0,
        back: None,
    },
    Move {
        name: "somebody changes a pipe of ours",
        happens: |network| {
            network.mac.ok("dnctl pipe 20000 config delay 40 plr 0.010001 bw 100000Kbit/s");
        },
        says: &["another program changed pipe 20000"],
        changes: 1,
        code: 0,
        back: None,
    },
    Move {
        name: "somebody makes two pipes of ours slower and faster",
        happens: |network| {
            network.mac.ok("dnctl pipe 20000 config delay 40 plr 0.010000 bw 99999Kbit/s");
            network.mac.ok("dnctl pipe 20001 config delay 40 plr 0.010000");
        },
        says: &["another program changed pipe 20000", "another program changed pipe 20001"],
        changes: 2,
        code: 0,
        back: None,
    },
    Move {
        name: "somebody makes pipes of other numbers",
        happens: |network| {
            network.mac.ok("dnctl pipe 7 config delay 300");
            network.mac.ok("dnctl pipe 20002 config delay 300");
        },
        says: &[],
        changes: 0,
        code: 0,
        back: Some(|network| {
            network.mac.remove("pipe\t7\t");
            network.mac.remove("pipe\t20002\t");
        }),
    },
    EMPTIED,
    Move {
        name: "somebody takes the rules of dummynet out of our anchor",
        happens: |network| {
            let kept = |line: &&str| !line.starts_with("dummynet ") && !line.starts_with("no dummynet ");
            network.mac.edit(|kernel| {
                let anchor = |line: &str| match line.strip_prefix("anchor\tcom.apple/250.nixvol\t") {
                    Some(rules) => {
                        let rules: Vec<&str> = rules.split("\\n").filter(kept).collect();
                        format!("anchor\tcom.apple/250.nixvol\t{}\n", rules.join("\\n"))
                    }
                    None => format!("{line}\n"),
                };
                kernel.lines().map(anchor).collect()
            });
        },
        says: &["another program changed the rules in com.apple/250.nixvol"],
        changes: 1,
        code: 0,
        back: None,
    },
    Move {
        name: "a VM tool drops the call of dummynet's rules",
        happens: |network| main_rules(&network.mac, "dummynet-anchor \"com.apple/*\" all\\n", ""),
        says: &["does not call com.apple/* for dummynet any more: another program replaced it"],
        changes: 0,
        code: 1,
        back: Some(|network| {
            let call = "dummynet-anchor \"com.apple/*\" all\\n";
            main_rules(
                &network.mac,
                "rdr-anchor \"com.apple/*\" all\\n",
                &format!("rdr-anchor \"com.apple/*\" all\\n{call}"),
            );
        }),
    },
];

fn log(network: &Network) -> String {
    fs::read_to_string(network.mac.dir().join("var/log")).expect("the log")
}

/// Applies one change to a Mac whose network is up, and checks what reconcile does.
fn happens(network: &Network, it: &Move, up: &[String]) {
    let name = it.name;
    let told = log(network).len();
    (it.happens)(network);
    network.mac.forget_journal();
    let ran = network.run("reconcile");
    assert_eq!(ran.code, it.code, "{name}: {}{}", ran.out, ran.err);
    let more = log(network)[told..].to_owned();
    for words in it.says {
        assert!(more.contains(words), "{name}: `{words}` is not in the log:\n{more}");
    }
    if it.says.is_empty() {
        assert_eq!(more, "", "{name}: nothing of ours is concerned");
    }
    let changes = network.mac.changes();
    assert_eq!(changes.len(), it.changes, "{name}: {changes:#?}");
    assert_eq!(network.run("status").code, it.code, "{name}: status");
    // A second reconcile has nothing to do and nothing new to log.
    let (kernel, told) = (network.mac.kernel(), log(network));
    network.mac.forget_journal();
    assert_eq!(network.run("reconcile").code, it.code, "{name}: again");
    assert_eq!(network.mac.changes(), [""; 0], "{name}: again");
    assert!(network.mac.kernel() == kernel, "{name}: again, the kernel changed");
    let again = log(network);
    assert!(again == told, "{name}: again, it says\n{}", again.strip_prefix(&told).unwrap_or(&again));
    if let Some(back) = it.back {
        back(network);
        network.ok("reconcile");
    }
    assert_eq!(settled(&network.mac.kernel()), up, "{name}: as before");
    let foreign = foreign(&network.mac.journal());
    assert!(foreign.is_empty(), "{name}: {foreign:?}");
}

#[test]
fn the_network_follows_changes_of_the_mac() {
    let network = Network::new(&network());
    network.mac.add(DATA);
    vmnet(&network.mac, 101);
    follows(&network, MOVES);
}

#[test]
fn conditions_follow_changes_of_the_mac() {
    follows(&Network::new(&slow()), MOVES_OF_PIPES);
}

fn follows(network: &Network, moves: &[Move]) {
    network.ok("start");
    network.assert_up();
    let (begin, up) = (network.keep(), settled(&network.mac.kernel()));
    let mut failed = Vec::new();
    for it in moves {
        network.put_back(&begin);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| happens(network, it, &up)));
        if outcome.is_err() {
            failed.push(it.name);
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// After `-F all` pf may keep the name of an empty anchor; only its contents count.
#[test]
fn an_empty_anchor_counts_as_absent() {
    let network = Network::new(&small());
    let bare = settled(&network.mac.kernel());
    network.mac.add("anchor\tcom.apple/250.nixvol\t");
    network.ok("start");
    network.assert_up();
    network.ok("stop");
    network.mac.add("anchor\tcom.apple/250.nixvol\t");
    network.mac.forget_journal();
    network.ok("stop");
    network.ok("reconcile");
    network.ok("cleanup");
    assert_eq!(network.mac.changes(), [""; 0]);
    network.mac.remove("anchor\tcom.apple/250.nixvol\t");
    assert_eq!(settled(&network.mac.kernel()), bare);
}
