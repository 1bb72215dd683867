//! The Mac before the network is installed: everything on it belongs to others.
//!
//! `toymac new DIR` creates one, with links to every command in `DIR/bin`.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::ExitCode;

use crate::fault;
use crate::kernel::Kernel;

/// The commands that the toy answers.
pub const COMMANDS: [&str; 15] = [
    "ifconfig",
    "route",
    "netstat",
    "pfctl",
    "sysctl",
    "mount",
    "stat",
    "scutil",
    "launchctl",
    "ping",
    "nc",
    "dnctl",
    "sw_vers",
    "logger",
    "id",
];

/// Real tools: they run unchanged, but are counted, and faults can be injected.
const STRUCK: [&str; 18] = [
    "mv", "rm", "mkdir", "rmdir", "cp", "cat", "awk", "ps", "date", "head", "tail", "wc", "cmp", "sleep",
    "sh", "ls", "ln", "chmod",
];

/// What is on the Mac: hardware, Thunderbolt Bridge, a VM tool's vmnet, a VPN, another tool's feth.
const WORLD: &str = "\
boot\tsession-0
uid\t0
if\tlo0\t1\t1\t1\t16384\t\t\t\t127.0.0.1/8,127.0.0.53/32
if\ten0\t2\t1\t1\t1500\ta4:83:e7:01:02:03\t\t\t192.168.1.23/24
if\ten1\t3\t1\t1\t1500\t36:7d:da:00:00:01\t\t\t
if\tbridge0\t4\t1\t1\t1500\t36:7d:da:00:00:00\t\ten1\t
if\tutun4\t5\t1\t1\t1380\t\t\t\t100.64.7.9/32/100.64.7.9
if\tvmenet0\t6\t1\t1\t1500\t6e:1b:2c:00:00:01\t\t\t
if\tbridge100\t7\t1\t1\t1500\t36:7d:da:00:00:64\t\tvmenet0\t192.168.64.1/24
if\tfeth7\t8\t1\t1\t1500\t66:65:74:68:00:07\tfeth5007\t\t172.27.16.7/16
if\tfeth5007\t9\t1\t1\t1500\t66:65:74:68:13:8f\tfeth7\t\t
route\t0.0.0.0/0\t192.168.1.1\tUGScg\ten0\t
route\t0.0.0.0/0\tlink#7\tUCSIg\tbridge100\t!
route\t100.64.0.0/10\tutun4\tUSc\tutun4\t
route\t100.64.7.9/32\t100.64.7.9\tUH\tutun4\t
route\t127.0.0.0/8\t127.0.0.1\tUCS\tlo0\t
route\t127.0.0.1/32\t127.0.0.1\tUH\tlo0\t
route\t127.0.0.53/32\t127.0.0.53\tUH\tlo0\t
route\t169.254.0.0/16\tlink#2\tUCS\ten0\t!
route\t172.27.0.0/16\tlink#8\tUCS\tfeth7\t!
route\t192.168.1.0/24\tlink#2\tUCS\ten0\t!
route\t192.168.1.1/32\tlink#2\tUCS\ten0\t!
route\t192.168.1.1/32\tf4:92:bf:a:b:c\tUHLWIir\ten0\t1179
route\t192.168.1.23/32\tlink#2\tUCS\ten0\t!
route\t192.168.64.0/24\tlink#7\tUC\tbridge100\t!
route\t192.168.64.1/32\t36.7d.da.0.0.64\tUHLWIi\tlo0\t
route\t224.0.0.0/4\tlink#2\tUmCS\ten0\t!
route\t255.255.255.255/32\tlink#2\tUCS\ten0\t!
sysctl\tnet.inet.ip.forwarding\t0
sysctl\tnet.link.fake.max_mtu\t2048
mount\t/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
mount\tdevfs on /dev (devfs, local, nobrowse)
mount\tmap auto_home on /System/Volumes/Data/home (autofs, automounted, nobrowse)
dns\tDNS configuration\\n\\nresolver #1\\n  nameserver[0] : 192.168.1.1\\n  if_index : 2 (en0)\\n  flags    : Request A records\\n  reach    : 0x00020002 (Reachable,Directly Reachable Address)\\n
pf\t1
token\t9813589183660731843\t618\tsocketfilterfw
anchor\t\tscrub-anchor \"com.apple/*\" all fragment reassemble\\nnat-anchor \"com.apple/*\" all\\nrdr-anchor \"com.apple/*\" all\\ndummynet-anchor \"com.apple/*\" all\\nanchor \"com.apple/*\" all\\n
anchor\tcom.apple/250.ApplicationFirewall\tblock drop in inet proto icmp all icmp-type echoreq\\n
anchor\tcom.example.other\tpass in quick on en0 inet proto tcp from any to any port = 8022 flags S/SA keep state\\n
";

pub fn command(args: &[String]) -> ExitCode {
    let done = match args {
        [verb, dir] if verb == "new" => new(Path::new(dir)),
        [verb, dir] if verb == "reboot" => {
            fault::power_loss(Path::new(dir));
            Ok(())
        }
        [verb, dir] if verb == "check" => {
            fs::read_to_string(Path::new(dir).join("kernel")).and_then(|text| Kernel::read(&text)).map(drop)
        }
        _ => Err(io::Error::other("usage: toymac new|reboot|check DIR")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("toymac: {error}");
            ExitCode::from(2)
        }
    }
}

fn new(root: &Path) -> io::Result<()> {
    let program = std::env::current_exe()?;
    fs::create_dir_all(root.join("bin"))?;
    for name in COMMANDS.iter().chain(&STRUCK) {
        symlink(&program, root.join("bin").join(name))?;
    }
    fs::write(root.join("boot"), WORLD)?;
    fs::write(root.join("kernel"), WORLD)?;
    fs::write(root.join("journal"), "")
}
