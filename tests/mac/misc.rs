//! The small commands: sysctl, mount, scutil, launchctl, ping, nc, ls, ps, sw_vers.

use std::fs;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::Answer;
use crate::kernel::{Job, Kernel};
use crate::pf::{self, Way};
use crate::route;

pub fn sysctl(kernel: &mut Kernel, args: &[&str]) -> Answer {
    let (names_only, words) = match args {
        ["-n", rest @ ..] => (true, rest),
        ["-w", rest @ ..] | rest => (false, rest),
    };
    let mut answer = Answer::default();
    for word in words {
        let (key, new) = word.split_once('=').map_or((*word, None), |(key, new)| (key, Some(new)));
        let old = if key == "kern.bootsessionuuid" {
            kernel.boot.clone()
        } else if let Some(value) = kernel.sysctl.get(key) {
            value.clone()
        } else {
            answer.warn(format!("sysctl: unknown oid '{key}'"));
            answer.code = 1;
            continue;
        };
        match new {
            Some(_) if kernel.uid != 0 => {
                answer.warn(format!("sysctl: {key}={old}: Operation not permitted"));
                answer.code = 1;
            }
            Some(new) => {
                kernel.sysctl.insert(key.to_owned(), new.to_owned());
                answer.say(format!("{key}: {old} -> {new}"));
            }
            None if names_only => answer.say(old),
            None => answer.say(format!("{key}: {old}")),
        }
    }
    answer
}

pub fn mount(kernel: &Kernel, args: &[&str]) -> Answer {
    if !args.is_empty() {
        return Answer::fail(64, "toymac: mount only lists");
    }
    let mut answer = Answer::default();
    kernel.mounts.iter().for_each(|(line, _)| answer.say(line));
    answer
}

/// `ps -o pid= -o lstart= -p PIDS`: each process that lives, and when it began. The time is that since the machine booted,
/// as if it had booted in the first second of 1970.
pub fn ps(pids: &str) -> Answer {
    let mut answer = Answer { code: 1, ..Answer::default() };
    for pid in pids.split(',') {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let ticks: Option<u64> =
            stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19)?.parse().ok());
        let Some(ticks) = ticks else { continue };
        let seconds = ticks / 100;
        let (day, hour, minute) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
        let week = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        let named = week[usize::try_from(day % 7).unwrap_or_default()];
        // The month goes on as long as the machine is up.
        answer.say(format!(
            "{pid:>5} {named} Jan {:>2} {hour:02}:{minute:02}:{:02} 1970",
            day + 1,
            seconds % 60
        ));
        answer.code = 0;
    }
    answer
}

/// `stat -f '%d %i %N'`: device and number of each path, and the path as it was given.
pub fn stat(kernel: &Kernel, args: &[&str]) -> Answer {
    let ["-f", "%d %i %N", paths @ ..] = args else {
        return Answer::fail(64, "toymac: stat knows one format");
    };
    let mut answer = Answer::default();
    for path in paths {
        let Some(at) = directory(kernel, path) else {
            answer.warn(format!("stat: {path}: stat: No such file or directory"));
            answer.code = 1;
            continue;
        };
        let within = |(number, (_, mount)): (usize, &(String, String))| {
            (!mount.is_empty() && at.starts_with(composed(mount))).then_some((mount.len(), number))
        };
        let (_, device) = kernel.mounts.iter().enumerate().filter_map(within).max().unwrap_or_default();
        if kernel.mounts.get(device).is_some_and(|(line, _)| line.ends_with(", server gone)")) {
            answer.warn(format!("stat: {path}: stat: Operation timed out"));
            answer.code = 1;
            continue;
        }
        let root = kernel.mounts.iter().any(|(_, mount)| composed(mount) == at);
        // The root of every volume has inode number 2.
        let number = if root { 2 } else { at.as_os_str().len() + 1000 };
        answer.say(format!("{} {number} {path}", 16_777_220 + device));
    }
    answer
}

/// Resolves a path to a mount point of the toy, a directory above one, or a path on the real disk.
fn directory(kernel: &Kernel, path: &str) -> Option<PathBuf> {
    let (base, above) = match path.strip_suffix("/..") {
        Some(base) => (base, true),
        None => (path.strip_suffix("/.").unwrap_or(path), false),
    };
    let base = if base.is_empty() { "/" } else { base };
    let at = fs::canonicalize(base).or_else(|_| fs::read_link(base)).unwrap_or_else(|_| PathBuf::from(base));
    let at = composed(&at.to_string_lossy());
    let is_there = at.exists() || kernel.mounts.iter().any(|(_, mount)| composed(mount).starts_with(&at));
    is_there.then(|| if above { at.parent().unwrap_or(&at).to_owned() } else { at })
}

/// Normalizes the spellings that macOS's file systems treat as equal: a decomposed accent becomes the composed letter.
fn composed(path: &str) -> PathBuf {
    PathBuf::from(path.replace("e\u{301}", "\u{e9}"))
}

pub fn scutil(kernel: &Kernel, args: &[&str]) -> Answer {
    match args {
        ["--dns"] => Answer { out: kernel.dns.clone(), ..Answer::default() },
        _ => Answer::fail(64, "usage: scutil --dns"),
    }
}

pub fn launchctl(kernel: &mut Kernel, args: &[&str]) -> Answer {
    let mut answer = Answer::default();
    match args {
        ["print", target] => {
            let label = target.strip_prefix("system/").unwrap_or(target);
            if let Some(job) = kernel.jobs.iter().find(|job| job.label == label) {
                // Some lines of a real `launchctl print`, including those of nested blocks.
                answer.say(format!(
                    "system/{label} = {{\n\tactive count = 0\n\tpath = {}\n\ttype = LaunchDaemon\n\tstate = not running\n\n\tprogram = {}\n\tdefault environment = {{\n\t\tPATH => /usr/bin:/bin\n\t}}\n\n\truns = 1\n\tlast exit code = 0\n\n\tresource coalition = {{\n\t\tID = 602\n\t\tstate = active\n\t\tname = {label}\n\t}}\n}}",
                    job.path, job.program
                ));
            } else {
                answer.warn(format!("Could not find service \"{label}\" in domain for system"));
                answer.code = 113;
            }
        }
        ["print-disabled", "system"] => {
            answer.say(
                "disabled services = {\n\t\"com.apple.ftpd\" => disabled\n\t\"com.openssh.sshd\" => enabled",
            );
            kernel.disabled.iter().for_each(|label| answer.say(format!("\t\"{label}\" => disabled")));
            answer.say("}");
        }
        ["bootstrap", "system", plist] => {
            if !load(kernel, plist) {
                answer.warn("Bootstrap failed: 5: Input/output error");
                answer.code = 5;
            }
        }
        // The legacy subcommands, which nix-darwin uses. They exit 0 even when they fail.
        ["load", "-w", plist] => {
            let label = label_of(plist);
            kernel.disabled.retain(|other| other != label);
            if !load(kernel, plist) {
                answer.warn("Load failed: 5: Input/output error");
            }
        }
        ["unload", plist] => {
            let before = kernel.jobs.len();
            kernel.jobs.retain(|job| job.label != label_of(plist));
            if kernel.jobs.len() == before {
                answer.warn("Unload failed: 5: Input/output error");
            }
        }
        ["bootout", target] => {
            let label = target.strip_prefix("system/").unwrap_or(target);
            let before = kernel.jobs.len();
            kernel.jobs.retain(|job| job.label != label);
            if kernel.jobs.len() == before {
                answer.warn("Boot-out failed: 3: No such process");
                answer.code = 3;
            }
        }
        ["kickstart", "-k", target] | ["kickstart", target] => {
            let label = target.strip_prefix("system/").unwrap_or(target);
            if !kernel.jobs.iter().any(|job| job.label == label) {
                answer.warn(format!("Could not find service \"{label}\" in domain for system"));
                answer.code = 113;
            }
        }
        ["enable", target] => {
            let label = target.strip_prefix("system/").unwrap_or(target);
            kernel.disabled.retain(|other| other != label);
        }
        ["disable", target] => {
            kernel.disabled.push(target.strip_prefix("system/").unwrap_or(target).to_owned());
        }
        _ => return Answer::fail(64, "Unrecognized subcommand"),
    }
    answer
}

/// The label of a job, taken from the file name of its plist.
fn label_of(plist: &str) -> &str {
    plist.rsplit('/').next().unwrap_or(plist).trim_end_matches(".plist")
}

/// Loads a job; false if it is loaded or disabled.
fn load(kernel: &mut Kernel, plist: &str) -> bool {
    let label = label_of(plist);
    let text = fs::read_to_string(plist).unwrap_or_default();
    let program = text
        .split_once("<key>ProgramArguments</key>")
        .and_then(|(_, rest)| Some(rest.split_once("<string>")?.1.split_once("</string>")?.0));
    let is_free = !kernel.jobs.iter().any(|job| job.label == label)
        && !kernel.disabled.iter().any(|other| other == label);
    if is_free {
        let program = plain(program.unwrap_or_default());
        kernel.jobs.push(Job { label: label.to_owned(), path: plist.to_owned(), program });
    }
    is_free
}

/// Unescapes XML text.
fn plain(text: &str) -> String {
    let escapes = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#x27;", "'"),
        ("&#39;", "'"),
        ("&apos;", "'"),
        ("&amp;", "&"),
    ];
    escapes.into_iter().fold(text.to_owned(), |text, (escape, sign)| text.replace(escape, sign))
}

/// The outcome of a packet between two addresses.
enum Fate {
    /// The source is not an address of this machine.
    NoSource,
    NoRoute,
    Refused,
    Lost,
    Arrives,
}

/// Sends a packet and its reply through pf; `form` has the remaining fields of both as JSON.
fn fate(kernel: &mut Kernel, from: Option<&str>, to: &str, form: [&str; 2]) -> Fate {
    let Ok(to) = to.parse::<Ipv4Addr>() else {
        return Fate::NoRoute;
    };
    let (from, bound) = match from.map(str::parse::<Ipv4Addr>) {
        Some(Ok(from)) if kernel.holder(from).is_some() => (from, true),
        Some(_) => return Fate::NoSource,
        None => (to, false),
    };
    if kernel.lost.iter().any(|(a, b)| a.contains(from) && b.contains(to)) {
        return Fate::Lost;
    }
    if kernel.holder(to).is_some() {
        let way = |form: &str, from: Ipv4Addr, to: Ipv4Addr| {
            format!(r#"{{"path":[["out","lo0"],["in","lo0"]],"src":"{from}","dst":"{to}",{form}}}"#)
        };
        return match pf::send(kernel, "lo0", &[way(form[0], from, to), way(form[1], to, from)]).0 {
            Way::Through => Fate::Arrives,
            Way::Refused => Fate::Refused,
            Way::Dropped => Fate::Lost,
        };
    }
    let Some(route) = route::lookup(kernel, to) else {
        return Fate::NoRoute;
    };
    let (interface, beyond) = (route.interface.clone(), route.flags.contains('G'));
    let holder = kernel.holder(from).map_or("lo0", |holder| &holder.name);
    // Binding a source scopes the route lookup to the interface that has it, and another interface's default route does
    // not match. Addresses of lo0 are exempt.
    if bound && route.net.len == 0 && holder != "lo0" && holder != interface {
        return Fate::NoRoute;
    }
    // An unbound socket gets the first address of the interface that the packet leaves by.
    let first = kernel.interface(&interface).and_then(|i| i.addresses.first()).map(|address| address.ip);
    let from = if bound { from } else { first.unwrap_or(from) };
    let packet = format!(r#"{{"dir":"out","if":"{interface}","src":"{from}","dst":"{to}",{}}}"#, form[0]);
    let (way, translated) = pf::send(kernel, &interface, &[packet]);
    let source = translated.unwrap_or(IpAddr::V4(from));
    // A reply comes back only if the source is an address of the egress interface.
    let returns =
        kernel.interface(&interface).is_some_and(|i| i.addresses.iter().any(|a| IpAddr::V4(a.ip) == source));
    match way {
        Way::Refused => Fate::Refused,
        Way::Through if beyond && returns => Fate::Arrives,
        Way::Through | Way::Dropped => Fate::Lost,
    }
}

fn value_of<'a>(args: &[&'a str], option: &str) -> Option<&'a str> {
    let at = args.iter().position(|arg| *arg == option)?;
    args.get(at + 1).copied()
}

pub fn ping(kernel: &mut Kernel, args: &[&str]) -> Answer {
    let Some(to) = args.last() else {
        return Answer::fail(64, "usage: ping host");
    };
    let mut answer = Answer::default();
    let echo =
        [r#""proto":"icmp","icmp_type":8,"icmp_id":77"#, r#""proto":"icmp","icmp_type":0,"icmp_id":77"#];
    let (received, loss) = match fate(kernel, value_of(args, "-S"), to, echo) {
        Fate::NoSource => {
            return Answer::fail(71, "ping: bind: Can't assign requested address");
        }
        Fate::NoRoute => {
            answer.warn("ping: sendto: No route to host");
            (0, "100.0")
        }
        Fate::Lost | Fate::Refused => (0, "100.0"),
        Fate::Arrives => (1, "0.0"),
    };
    answer.say(format!("PING {to} ({to}): 56 data bytes\n\n--- {to} ping statistics ---"));
    answer.say(format!("1 packets transmitted, {received} packets received, {loss}% packet loss"));
    answer.code = if received == 1 { 0 } else { 2 };
    answer
}

/// `nc -U`: sends standard input to a Unix socket, and prints what comes back. WireGuard answers `get=1` and an empty
/// line at `/var/run/wireguard/NAME.sock`, while its interface is there.
fn socket(kernel: &Kernel, path: &str) -> Answer {
    let mut asked = String::new();
    let _ = std::io::stdin().read_to_string(&mut asked);
    let name = path.strip_prefix("/var/run/wireguard/").and_then(|file| file.strip_suffix(".sock"));
    let answer =
        name.filter(|name| kernel.interface(name).is_some()).and_then(|name| kernel.wireguard.get(name));
    match answer {
        Some(answer) if asked == "get=1\n\n" => Answer { out: answer.clone(), ..Answer::default() },
        Some(_) => Answer { out: "errno=1\n\n".to_owned(), ..Answer::default() },
        None => Answer::fail(
            1,
            format!(
                "nc: unix connect failed: No such file or directory\nnc: {path}: No such file or directory"
            ),
        ),
    }
}

pub fn nc(kernel: &mut Kernel, args: &[&str]) -> Answer {
    if let ["-U", "-w", "2", path] = args {
        return socket(kernel, path);
    }
    let [.., to, port] = args else {
        return Answer::fail(1, "usage: nc [-z] [-G seconds] [-s source] host port");
    };
    let number: u16 = port.parse().unwrap_or(0);
    if args.contains(&"-u") {
        return datagram(kernel, args, to, number);
    }
    let there = format!(r#""proto":"tcp","sport":50000,"dport":{number},"flags":"S","seq":1000"#);
    let back = format!(r#""proto":"tcp","sport":{number},"dport":50000,"flags":"SA","seq":5000,"ack":1001"#);
    let failed = |why: &str| Answer::fail(1, format!("nc: connectx to {to} port {port} (tcp) failed: {why}"));
    match fate(kernel, value_of(args, "-s"), to, [&there, &back]) {
        Fate::Arrives => {
            let to = to.parse().unwrap_or(Ipv4Addr::UNSPECIFIED);
            if kernel.holder(to).is_some() && !kernel.listening.contains(&(to, number)) {
                return failed("Connection refused");
            }
            Answer {
                err: format!("Connection to {to} port {port} [tcp/*] succeeded!\n"),
                ..Answer::default()
            }
        }
        Fate::NoSource => Answer::fail(1, "nc: bind failed: Can't assign requested address"),
        Fate::NoRoute => failed("No route to host"),
        Fate::Refused => failed("Connection refused"),
        Fate::Lost => failed("Operation timed out"),
    }
}

/// A datagram gets no answer: `nc` reports success wherever it can be sent.
fn datagram(kernel: &mut Kernel, args: &[&str], to: &str, port: u16) -> Answer {
    let there = format!(r#""proto":"udp","sport":50000,"dport":{port}"#);
    let back = format!(r#""proto":"udp","sport":{port},"dport":50000"#);
    match fate(kernel, value_of(args, "-s"), to, [&there, &back]) {
        Fate::NoSource => Answer::fail(1, "nc: bind failed: Can't assign requested address"),
        Fate::NoRoute => {
            Answer::fail(1, format!("nc: connectx to {to} port {port} (udp) failed: No route to host"))
        }
        Fate::Refused => Answer { code: 1, ..Answer::default() },
        Fate::Lost | Fate::Arrives => Answer {
            err: format!("Connection to {to} port {port} [udp/*] succeeded!\n"),
            ..Answer::default()
        },
    }
}

/// `ls -lden` in macOS's format. The owner of the toy's directory counts as root.
pub fn ls(kernel: &Kernel, root: &Path, paths: &[&str]) -> Answer {
    let own = fs::symlink_metadata(root).map_or(0, |meta| meta.uid());
    let mut answer = Answer::default();
    let mut paths = paths.to_vec();
    paths.sort_unstable();
    for path in paths {
        let Ok(meta) = fs::symlink_metadata(path) else {
            answer.warn(format!("ls: {path}: No such file or directory"));
            answer.code = 1;
            continue;
        };
        let told = kernel.owners.iter().find(|(of, _, _)| of == path);
        let user = told.map_or(if meta.uid() == own { 0 } else { meta.uid() }, |(_, user, _)| *user);
        // An ACL entry is printed on the line below; if there are extended attributes as well, the mark is `@` instead
        // of `+`.
        let mark = told.map_or("", |(_, _, mark)| mark.as_str());
        let sign = mark.chars().next().unwrap_or(' ');
        let name = match fs::read_link(path) {
            Ok(target) => format!("{path} -> {}", target.display()),
            Err(_) => path.to_owned(),
        };
        answer.say(format!(
            "{}{sign} {} {user}  {}  {} Nov 22 23:29 {name}",
            mode_text(meta.mode()),
            meta.nlink(),
            meta.gid(),
            meta.size()
        ));
        if mark.contains('+') {
            answer.say(" 0: user:eve allow write,append");
        }
    }
    answer
}

/// A mode as ten characters, such as `drwxr-xr-t`.
fn mode_text(mode: u32) -> String {
    let mut text = String::from(match mode & 0o170_000 {
        0o040_000 => "d",
        0o120_000 => "l",
        _ => "-",
    });
    for (shift, special, letters) in [(6, 0o4000, "sS"), (3, 0o2000, "sS"), (0, 0o1000, "tT")] {
        let bits = mode >> shift;
        let (set, executes) = (mode & special != 0, bits & 1 != 0);
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (set, executes) {
            (true, true) => letters.as_bytes()[0].into(),
            (true, false) => letters.as_bytes()[1].into(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

pub fn sw_vers() -> Answer {
    Answer {
        out: "ProductName:\t\tmacOS\nProductVersion:\t\t15.5\nBuildVersion:\t\t24F74\n".to_owned(),
        ..Answer::default()
    }
}
