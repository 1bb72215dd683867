//! `route`, which exits 0 when it fails, and `netstat -rn`, which abbreviates destinations.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::Answer;
use crate::kernel::{Kernel, Route};
use crate::net::Net;

pub fn run(kernel: &mut Kernel, args: &[&str]) -> Answer {
    let words: Vec<&str> =
        args.iter().copied().skip_while(|word| matches!(*word, "-n" | "-q" | "-v")).collect();
    let Some((&verb, rest)) = words.split_first() else {
        return Answer::fail(64, "usage: route [-dnqtv] command [[modifiers] args]");
    };
    if !matches!(verb, "add" | "delete" | "change" | "get") {
        return Answer::fail(64, "usage: route [-dnqtv] command [[modifiers] args]");
    }
    if verb != "get" && kernel.uid != 0 {
        return Answer::fail(77, "route: must be root to alter routing table");
    }
    match request(kernel, rest) {
        Ok(request) if verb == "get" => get(kernel, &request),
        Ok(request) => alter(kernel, verb, &request),
        Err(answer) => answer,
    }
}

struct Request {
    net: Net,
    host: bool,
    dest: String,
    gateway: String,
    interface: bool,
}

fn request(kernel: &Kernel, words: &[&str]) -> Result<Request, Answer> {
    let (mut host, mut force_net, mut interface) = (false, false, false);
    let (mut dest, mut gateway, mut mask) = (None, None, None);
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        match word {
            "-net" => force_net = true,
            "-host" => host = true,
            "-interface" | "-iface" => interface = true,
            "-inet" | "-static" => {}
            "-netmask" => mask = words.next().copied(),
            _ if word.starts_with('-') => {
                return Err(Answer::fail(64, format!("route: bad keyword: {}", &word[1..])));
            }
            _ if dest.is_none() => dest = Some(word),
            _ if gateway.is_none() => gateway = Some(word),
            _ => mask = Some(word),
        }
    }
    let text = dest.unwrap_or("");
    let bad = |word: &str| Answer::fail(68, format!("route: bad address: {word}"));
    let (net, is_net) = destination(text, mask).ok_or_else(|| bad(text))?;
    let gateway = gateway.unwrap_or("");
    let known = if interface {
        kernel.interface(gateway).is_some()
    } else {
        gateway.is_empty() || gateway.parse::<Ipv4Addr>().is_ok()
    };
    if !known {
        return Err(bad(gateway));
    }
    Ok(Request {
        net,
        host: host || !(force_net || is_net),
        dest: text.split('/').next().unwrap_or(text).to_owned(),
        gateway: gateway.to_owned(),
        interface,
    })
}

fn destination(text: &str, mask: Option<&str>) -> Option<(Net, bool)> {
    if text == "default" {
        return Some((Net::ALL, true));
    }
    if let Some(mask) = mask {
        let bits = u32::from(mask.parse::<Ipv4Addr>().ok()?);
        let len = u8::try_from(bits.leading_ones()).ok()?;
        return Some((Net::new(text.parse().ok()?, len)?.trunc(), true));
    }
    if text.contains('/') {
        return Some((text.parse::<Net>().ok()?.trunc(), true));
    }
    Some((Net::from(text.parse::<Ipv4Addr>().ok()?), false))
}

fn alter(kernel: &mut Kernel, verb: &str, request: &Request) -> Answer {
    let outcome = match verb {
        "add" => add(kernel, request),
        "delete" => delete(kernel, request),
        _ => change(kernel, request),
    };
    let mut answer = Answer::default();
    let kind = if request.host { "host" } else { "net" };
    let mut line = format!("{verb} {kind} {}", request.dest);
    if !request.gateway.is_empty() {
        let _ = write!(line, ": gateway {}", request.gateway);
    }
    if let Err(error) = outcome {
        answer.warn(format!("route: writing to routing socket: {error}"));
        let _ = write!(line, ": {error}");
    }
    answer.say(line);
    answer
}

fn same(route: &Route, request: &Request) -> bool {
    route.net == request.net && !route.flags.contains('I')
}

fn add(kernel: &mut Kernel, request: &Request) -> Result<(), &'static str> {
    if kernel.routes.iter().any(|r| same(r, request)) {
        return Err("File exists");
    }
    let (flags, interface) = if request.interface {
        ("UCSc", request.gateway.clone())
    } else {
        let gateway: Ipv4Addr = request.gateway.parse().map_err(|_| "Network is unreachable")?;
        let via = lookup(kernel, gateway).ok_or("Network is unreachable")?;
        ("UGSc", via.interface.clone())
    };
    // An interface route shows the interface's index instead of its name.
    let index = kernel.interface(&request.gateway).map(|i| format!("link#{}", i.index));
    kernel.routes.push(Route {
        net: request.net,
        gateway: index.filter(|_| request.interface).unwrap_or_else(|| request.gateway.clone()),
        flags: if request.host { flags.replace('c', "") + "H" } else { flags.to_owned() },
        interface,
        expire: if request.interface { "!".to_owned() } else { String::new() },
    });
    Ok(())
}

fn delete(kernel: &mut Kernel, request: &Request) -> Result<(), &'static str> {
    let at = kernel.routes.iter().position(|r| same(r, request)).ok_or("not in table")?;
    kernel.routes.remove(at);
    Ok(())
}

fn change(kernel: &mut Kernel, request: &Request) -> Result<(), &'static str> {
    delete(kernel, request)?;
    add(kernel, request)
}

/// The route for an address: longest prefix match, without scoped routes.
pub fn lookup(kernel: &Kernel, ip: Ipv4Addr) -> Option<&Route> {
    kernel.routes.iter().filter(|r| !r.flags.contains('I') && r.net.contains(ip)).max_by_key(|r| r.net.len)
}

fn get(kernel: &Kernel, request: &Request) -> Answer {
    let found = if request.net.len == 0 {
        kernel.routes.iter().find(|r| r.net.len == 0 && !r.flags.contains('I'))
    } else {
        lookup(kernel, request.net.address)
    };
    let mut answer = Answer::default();
    let Some(route) = found else {
        answer.warn("route: writing to routing socket: not in table");
        return answer;
    };
    let name = |net: Net, of_mask: bool| match (net.len, of_mask) {
        (0, _) => "default".to_owned(),
        (_, true) => net.netmask().to_string(),
        (_, false) => net.address.to_string(),
    };
    answer.say(format!("   route to: {}", name(request.net, false)));
    answer.say(format!("destination: {}", name(route.net, false)));
    if route.net.len < 32 {
        answer.say(format!("       mask: {}", name(route.net, true)));
    }
    if route.flags.contains('G') {
        answer.say(format!("    gateway: {}", route.gateway));
    }
    answer.say(format!("  interface: {}", route.interface));
    let flags: Vec<&str> = [
        ('U', "UP"),
        ('G', "GATEWAY"),
        ('H', "HOST"),
        ('U', "DONE"),
        ('C', "CLONING"),
        ('S', "STATIC"),
        ('c', "PRCLONING"),
    ]
    .into_iter()
    .filter(|(letter, _)| route.flags.contains(*letter))
    .map(|(_, name)| name)
    .collect();
    answer.say(format!("      flags: <{}>", flags.join(",")));
    answer.say(" recvpipe  sendpipe  ssthresh  rtt,msec    rttvar  hopcount      mtu     expire");
    answer.say("       0         0         0         0         0         0      1500         0 ");
    answer
}

pub fn netstat(kernel: &Kernel, args: &[&str]) -> Answer {
    if !matches!(args, ["-rn" | "-nr", "-f", "inet"] | ["-n", "-r", "-f", "inet"]) {
        return Answer::fail(64, "toymac: netstat knows only -rn -f inet");
    }
    let mut answer = Answer::default();
    answer.say("Routing tables\n\nInternet:");
    answer.say(format!(
        "{:<18} {:<18} {:<10} {:>14} {:>6}",
        "Destination", "Gateway", "Flags", "Netif", "Expire"
    ));
    let mut routes: Vec<&Route> = kernel.routes.iter().collect();
    routes.sort_by_key(|r| (r.net.address, r.net.len, r.flags.contains('I')));
    for r in routes {
        answer.say(format!(
            "{:<18} {:<18} {:<10} {:>14} {:>6}",
            abbreviated(r),
            r.gateway,
            r.flags,
            r.interface,
            r.expire
        ));
    }
    answer
}

/// A destination as netstat abbreviates it: trailing zero octets are dropped as far as the address's class allows, and
/// the prefix length is omitted where it is that of the class.
fn abbreviated(route: &Route) -> String {
    let (net, len) = (route.net.address, route.net.len);
    if len == 0 {
        return "default".to_owned();
    }
    if route.flags.contains('H') {
        return net.to_string();
    }
    let octets = net.octets();
    let (class, at_least) = match octets[0] {
        0..=127 => (8, 1),
        128..=191 => (16, 2),
        _ => (24, 3),
    };
    let shown = (at_least..=4).find(|&n| octets[n..].iter().all(|&o| o == 0)).unwrap_or(4);
    let text: Vec<String> = octets[..shown].iter().map(u8::to_string).collect();
    if len == class { text.join(".") } else { format!("{}/{len}", text.join(".")) }
}
