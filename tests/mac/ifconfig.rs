//! `ifconfig`: cloning, addresses, peers, members, flags and MTU, with macOS's texts and exit codes.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::Answer;
use crate::kernel::{Address, Interface, Kernel};

/// The highest unit of a bridge or a feth.
const MAX_UNIT: u32 = 32767;
/// The size of an interface name, including its terminating NUL.
const NAME_SIZE: usize = 16;

pub fn run(kernel: &mut Kernel, args: &[&str]) -> Answer {
    let (name, rest) = match args {
        [] | ["-a"] => return list(kernel, None),
        ["-a", "inet"] => return list(kernel, Some("inet")),
        ["-l"] => {
            let names: Vec<&str> = kernel.interfaces.iter().map(|i| i.name.as_str()).collect();
            return Answer { out: names.join(" ") + "\n", ..Answer::default() };
        }
        ["-v", name, rest @ ..] | [name, rest @ ..] => (*name, rest),
    };
    if name.starts_with('-') {
        return Answer::fail(64, "usage: ifconfig interface address_family [address …]");
    }
    let exists = kernel.interface(name).is_some();
    if !exists && !matches!(rest.first(), Some(&("create" | "plumb"))) {
        return Answer::fail(1, format!("ifconfig: interface {name} does not exist"));
    }
    if rest.is_empty() {
        let mut answer = Answer::default();
        if let Some(interface) = kernel.interface(name) {
            show(&mut answer.out, kernel, interface, true);
        }
        return answer;
    }
    if kernel.uid != 0 {
        let call = match rest.first() {
            Some(&("create" | "plumb")) => "SIOCIFCREATE2: Operation not permitted",
            Some(&"destroy") => "SIOCIFDESTROY: Operation not permitted",
            _ => "ioctl (SIOCDIFADDR): permission denied",
        };
        return Answer::fail(1, format!("ifconfig: {call}"));
    }
    match change(kernel, name, rest) {
        Ok(answer) => answer,
        Err(text) => Answer::fail(1, format!("ifconfig: {text}")),
    }
}

/// What the words of one command specify about an address.
#[derive(Default)]
struct Request {
    alias: i8,
    clear: bool,
    new: Option<Ipv4Addr>,
    old: Option<Ipv4Addr>,
    len: Option<u8>,
    /// Printed on standard error although the command succeeds.
    warning: String,
}

fn change(kernel: &mut Kernel, name: &str, words: &[&str]) -> Result<Answer, String> {
    let mut words = words;
    let mut out = String::new();
    let mut name = name.to_owned();
    let mut create = false;
    if let Some(&("create" | "plumb")) = words.first() {
        create = true;
        words = &words[1..];
        if name.len() >= NAME_SIZE {
            return Err(format!("{name}: cloning name too long"));
        }
    }
    // `peer` is checked before the interface is created; the other words only after it.
    if create && words.first() != Some(&"peer") {
        let made = clone(kernel, &name)?;
        if made != name {
            let _ = writeln!(out, "{made}");
        }
        name = made;
        create = false;
    }
    let mut request = Request::default();
    while let Some((&word, rest)) = words.split_first() {
        let needed = match word {
            "peer" | "addm" | "deletem" | "mtu" | "netmask" | "broadcast" | "lladdr" | "ether" => 1,
            _ => 0,
        };
        if rest.len() < needed {
            return Err(format!("'{word}' requires argument"));
        }
        let value = if needed == 1 { rest[0] } else { "" };
        keyword(kernel, &name, word, value, create, &mut request)?;
        words = &rest[needed..];
    }
    finish(kernel, &name, &request)?;
    if create {
        clone(kernel, &name)?;
    }
    Ok(Answer { out, err: request.warning, ..Answer::default() })
}

fn keyword(
    kernel: &mut Kernel,
    name: &str,
    word: &str,
    value: &str,
    not_made_yet: bool,
    request: &mut Request,
) -> Result<(), String> {
    match word {
        "inet" | "inet6" | "-arp" | "arp" | "broadcast" => {}
        "up" | "down" => set_up(kernel, name, word == "up"),
        "destroy" | "unplumb" => destroy(kernel, name)?,
        "peer" if not_made_yet => {
            return Err("SIOCDRVSPEC set peer: Device not configured".to_owned());
        }
        "peer" => set_peer(kernel, name, value)?,
        "-peer" => unpeer(kernel, name),
        "addm" => add_member(kernel, name, value)?,
        "deletem" => remove_member(kernel, name, value)?,
        "mtu" => set_mtu(kernel, name, value, request)?,
        "netmask" => {
            let mask = dotted_mask(value).ok_or_else(|| format!("{value}: bad value"))?;
            request.len = Some(mask);
        }
        "alias" | "add" => {
            request.alias = 1;
            request.clear = false;
        }
        "-alias" | "delete" | "remove" => {
            if request.old.is_none() {
                request.old = request.new.take();
            }
            request.alias = -1;
            request.clear = true;
        }
        "lladdr" | "ether" => {
            if let Some(interface) = kernel.interface_mut(name) {
                value.clone_into(&mut interface.ether);
            }
        }
        address => {
            let (ip, len) =
                address.split_once('/').map_or((address, None), |(ip, len)| (ip, len.parse().ok()));
            let ip: Ipv4Addr = ip.parse().map_err(|_| format!("{address}: bad value"))?;
            if len.is_some() {
                request.len = len;
            }
            if request.alias < 0 {
                request.old = Some(ip);
            } else {
                // Without `alias`, the new address replaces the interface's first one.
                request.clear |= request.alias == 0;
                request.new = Some(ip);
            }
        }
    }
    Ok(())
}

fn finish(kernel: &mut Kernel, name: &str, request: &Request) -> Result<(), String> {
    if request.alias < 0 {
        let old = request.old.ok_or("'-alias' requires argument")?;
        return if kernel.remove_address(name, old) {
            Ok(())
        } else {
            Err("ioctl (SIOCDIFADDR): Can't assign requested address".to_owned())
        };
    }
    let Some(ip) = request.new else {
        return Ok(());
    };
    if request.clear {
        let first = kernel.interface(name).and_then(|i| i.addresses.first()).map(|a| a.ip);
        if let Some(first) = first {
            kernel.remove_address(name, first);
        }
    }
    let len = request.len.unwrap_or_else(|| class_length(ip));
    kernel.add_address(name, &Address { ip, len, far: None });
    Ok(())
}

/// Creates an interface; if the name has no unit, the first free one is used. Returns the full name.
fn clone(kernel: &mut Kernel, name: &str) -> Result<String, String> {
    let call = "SIOCIFCREATE2";
    let digits = name.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let cloner = &name[..name.len() - digits.len()];
    if !matches!(cloner, "bridge" | "feth") || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("{call}: Invalid argument"));
    }
    if digits.len() > 1 && digits.starts_with('0') {
        return Err(format!("{call}: Invalid argument"));
    }
    if !digits.is_empty() && digits.parse::<u32>().map_or(true, |unit| unit > MAX_UNIT) {
        return Err(format!("{call}: Device not configured"));
    }
    let name = if digits.is_empty() {
        (0..=MAX_UNIT)
            .map(|unit| format!("{cloner}{unit}"))
            .find(|name| kernel.interface(name).is_none())
            .ok_or_else(|| format!("{call}: Device not configured"))?
    } else {
        name.to_owned()
    };
    if kernel.interface(&name).is_some() || kernel.dying.iter().any(|(dying, _)| *dying == name) {
        return Err(format!("{call}: File exists"));
    }
    let unit: u32 = name[cloner.len()..].parse().unwrap_or(0);
    let (high, low) = (unit >> 8 & 0xff, unit & 0xff);
    let ether = if cloner == "feth" {
        format!("66:65:74:68:{high:02x}:{low:02x}")
    } else {
        format!("36:7d:da:12:34:{low:02x}")
    };
    kernel.interfaces.push(Interface {
        name: name.clone(),
        index: kernel.next_index(),
        mtu: 1500,
        ether,
        ..Interface::default()
    });
    Ok(name)
}

fn destroy(kernel: &mut Kernel, name: &str) -> Result<(), String> {
    let cloned = kernel.interface(name).is_some_and(|i| matches!(i.cloner(), "bridge" | "feth"));
    if !cloned {
        return Err("SIOCIFDESTROY: Invalid argument".to_owned());
    }
    unpeer(kernel, name);
    // Destroying a bridge releases its members and brings them down.
    let members = kernel.interface(name).map(|i| i.members.clone()).unwrap_or_default();
    for member in &members {
        set_up(kernel, member, false);
    }
    if kernel.linger > 0 {
        kernel.dying.push((name.to_owned(), kernel.tick + kernel.linger));
    }
    kernel.interfaces.retain(|i| i.name != name);
    kernel.routes.retain(|r| r.interface != name);
    for interface in &mut kernel.interfaces {
        interface.members.retain(|member| member != name);
    }
    Ok(())
}

fn set_up(kernel: &mut Kernel, name: &str, up: bool) {
    if let Some(interface) = kernel.interface_mut(name) {
        interface.up = up;
        interface.running = up;
    }
}

fn set_peer(kernel: &mut Kernel, name: &str, peer: &str) -> Result<(), String> {
    let fail = |text: &str| Err(format!("SIOCDRVSPEC set peer: {text}"));
    let Some(ours) = kernel.interface(name) else {
        return fail("Device not configured");
    };
    if ours.cloner() != "feth" {
        return fail("Invalid argument");
    }
    let Some(other) = kernel.interface(peer) else {
        return fail("Device not configured");
    };
    if other.cloner() != "feth" || peer == name {
        return fail("Invalid argument");
    }
    if !ours.peer.is_empty() || !other.peer.is_empty() {
        return fail("Resource busy");
    }
    for (end, far) in [(name, peer), (peer, name)] {
        if let Some(interface) = kernel.interface_mut(end) {
            far.clone_into(&mut interface.peer);
        }
    }
    Ok(())
}

fn unpeer(kernel: &mut Kernel, name: &str) {
    for interface in &mut kernel.interfaces {
        if interface.peer == name || interface.name == name {
            interface.peer.clear();
        }
    }
}

fn add_member(kernel: &mut Kernel, name: &str, member: &str) -> Result<(), String> {
    let fail = |text: &str| Err(format!("BRDGADD {member}: {text}"));
    let Some(bridge) = kernel.interface(name) else {
        return fail("No such file or directory");
    };
    if bridge.cloner() != "bridge" {
        return fail("Invalid argument");
    }
    let Some(other) = kernel.interface(member) else {
        return fail("No such file or directory");
    };
    if !matches!(other.cloner(), "feth" | "en" | "vmenet" | "vlan" | "bond") {
        return fail("Invalid argument");
    }
    if bridge.members.iter().any(|m| m == member) {
        return fail("File exists");
    }
    let taken = |i: &Interface| i.members.iter().any(|m| m == member);
    if kernel.interfaces.iter().any(taken) {
        return fail("Resource busy");
    }
    let mtu = other.mtu;
    if !bridge.members.is_empty() && bridge.mtu != mtu {
        return fail("Invalid argument");
    }
    if let Some(bridge) = kernel.interface_mut(name) {
        bridge.mtu = mtu;
        bridge.members.push(member.to_owned());
    }
    Ok(())
}

fn remove_member(kernel: &mut Kernel, name: &str, member: &str) -> Result<(), String> {
    let bridge = kernel
        .interface_mut(name)
        .filter(|bridge| bridge.members.iter().any(|m| m == member))
        .ok_or_else(|| format!("BRDGDEL {member}: No such file or directory"))?;
    bridge.members.retain(|m| m != member);
    // macOS brings a removed member down.
    set_up(kernel, member, false);
    Ok(())
}

/// A refused MTU is only a warning: the exit code stays 0.
fn set_mtu(kernel: &mut Kernel, name: &str, value: &str, request: &mut Request) -> Result<(), String> {
    let mtu: u32 = value.parse().map_err(|_| format!("{value}: bad value"))?;
    let most = kernel.sysctl.get("net.link.fake.max_mtu").and_then(|most| most.parse().ok()).unwrap_or(2048);
    if let Some(interface) = kernel.interface_mut(name) {
        if interface.cloner() == "feth" && mtu > most {
            "ifconfig: ioctl (set mtu): Invalid argument\n".clone_into(&mut request.warning);
        } else {
            interface.mtu = mtu;
        }
    }
    Ok(())
}

fn dotted_mask(text: &str) -> Option<u8> {
    let bits = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
        None => u32::from(text.parse::<Ipv4Addr>().ok()?),
    };
    let len = bits.leading_ones();
    (bits.count_ones() == len).then(|| u8::try_from(len).unwrap_or(32))
}

fn class_length(ip: Ipv4Addr) -> u8 {
    match ip.octets()[0] {
        0..=127 => 8,
        128..=191 => 16,
        _ => 24,
    }
}

fn list(kernel: &Kernel, family: Option<&str>) -> Answer {
    let mut answer = Answer::default();
    for interface in &kernel.interfaces {
        if family.is_none() || !interface.addresses.is_empty() {
            show(&mut answer.out, kernel, interface, false);
        }
    }
    for (name, _) in &kernel.dying {
        answer.say(format!("{name}: flags=8802<BROADCAST,SIMPLEX,MULTICAST> mtu 1500"));
    }
    answer
}

fn show(out: &mut String, kernel: &Kernel, i: &Interface, alone: bool) {
    let joined = kernel.interfaces.iter().any(|bridge| bridge.members.contains(&i.name));
    let (bits, names) = flags(i, joined);
    let _ = writeln!(out, "{}: flags={bits:x}<{names}> mtu {}", i.name, i.mtu);
    match i.cloner() {
        "lo" => {
            out.push_str("\toptions=1203<RXCSUM,TXCSUM,TXSTATUS,SW_TIMESTAMP>\n");
        }
        // The capabilities that all members share.
        "bridge" if !i.members.is_empty() => out.push_str("\toptions=3<RXCSUM,TXCSUM>\n"),
        "bridge" => out.push_str("\toptions=63<RXCSUM,TXCSUM,TSO4,TSO6>\n"),
        "en" => out.push_str("\toptions=6460<TSO4,TSO6,CHANNEL_IO,PARTIAL_CSUM,ZEROINVERT_CSUM>\n"),
        _ => {}
    }
    if !i.ether.is_empty() {
        let _ = writeln!(out, "\tether {}", i.ether);
    }
    if i.cloner() == "lo" {
        out.push_str("\tinet6 ::1 prefixlen 128\n\tinet6 fe80::1%lo0 prefixlen 64 scopeid 0x1\n");
    }
    for a in &i.addresses {
        let mask = u32::MAX.checked_shl(32 - u32::from(a.len)).unwrap_or(0);
        let _ = write!(out, "\tinet {}", a.ip);
        if let Some(far) = a.far {
            let _ = write!(out, " --> {far}");
        }
        let _ = write!(out, " netmask 0x{mask:x}");
        if !i.ether.is_empty() {
            let _ = write!(out, " broadcast {}", Ipv4Addr::from(u32::from(a.ip) | !mask));
        }
        out.push('\n');
    }
    match i.cloner() {
        "bridge" => show_bridge(out, kernel, i, alone),
        "feth" => {
            let peer = if i.peer.is_empty() { "<none>" } else { &i.peer };
            let _ = writeln!(out, "\tpeer: {peer}");
            out.push_str("\tmedia: autoselect (1000baseT <full-duplex>)\n");
        }
        "en" => out.push_str("\tnd6 options=201<PERFORMNUD,DAD>\n\tmedia: autoselect\n"),
        "lo" | "utun" => out.push_str("\tnd6 options=201<PERFORMNUD,DAD>\n"),
        _ => {}
    }
    if matches!(i.cloner(), "bridge" | "feth" | "en") {
        let status = if i.active(kernel) { "active" } else { "inactive" };
        let _ = writeln!(out, "\tstatus: {status}");
    }
}

fn show_bridge(out: &mut String, kernel: &Kernel, i: &Interface, alone: bool) {
    out.push_str(concat!(
        "\tConfiguration:\n",
        "\t\tid 0:0:0:0:0:0 priority 0 hellotime 0 fwddelay 0\n",
        "\t\tmaxage 0 holdcnt 0 proto stp maxaddr 100 timeout 1200\n",
        "\t\troot id 0:0:0:0:0:0 priority 0 ifcost 0 port 0\n",
        "\t\tipfilter disabled flags 0x0\n",
    ));
    for member in &i.members {
        let port = kernel.interface(member).map_or(0, |m| m.index);
        let _ = writeln!(out, "\tmember: {member} flags=3<LEARNING,DISCOVER>");
        let _ = writeln!(out, "\t        ifmaxaddr 0 port {port} priority 0 path cost 0");
    }
    if alone {
        out.push_str("\tAddress cache:\n");
    }
    out.push_str("\tmedia: <unknown type>\n");
}

/// The flags of an interface, as bits and as names. A bridge member is in promiscuous mode.
fn flags(i: &Interface, joined: bool) -> (u32, String) {
    let mut all: Vec<(u32, &str)> = Vec::new();
    let (up, running) = ((0x1, "UP"), (0x40, "RUNNING"));
    let fixed: &[(u32, &str)] = match i.cloner() {
        "lo" => &[(0x8, "LOOPBACK"), (0x8000, "MULTICAST")],
        "utun" => &[(0x10, "POINTOPOINT"), (0x8000, "MULTICAST")],
        "feth" => &[(0x2, "BROADCAST"), (0x800, "SIMPLEX"), (0x8000, "MULTICAST")],
        _ => &[(0x2, "BROADCAST"), (0x20, "SMART"), (0x800, "SIMPLEX"), (0x8000, "MULTICAST")],
    };
    all.extend_from_slice(fixed);
    if i.up {
        all.push(up);
    }
    if joined {
        all.push((0x100, "PROMISC"));
    }
    if i.running {
        all.push(running);
    }
    all.sort_unstable();
    let bits = all.iter().map(|(bit, _)| bit).sum();
    let names: Vec<&str> = all.iter().map(|(_, name)| *name).collect();
    (bits, names.join(","))
}
