//! Parsers for the output of macOS's commands: interfaces, routes, mounts, pf's references, dummynet's pipes, and the
//! manager's own records.
//!
//! The state of a Mac can thus be evaluated anywhere, from captured text. A line that does not have the form that macOS
//! prints is skipped: no text is an error, and none panics. Sees: nothing. Never: the desired state, or a real Mac.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// One interface, from `ifconfig -a`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InterfaceState {
    /// Whether its flags include UP and RUNNING.
    pub running: bool,
    /// Its IPv4 addresses with their prefix lengths.
    pub addresses: BTreeMap<Ipv4Addr, u8>,
    /// The other interface of a feth pair.
    pub peer: Option<String>,
    /// The members of a bridge.
    pub members: BTreeSet<String>,
}

/// One route, from `netstat -rn -f inet`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteEntry {
    /// The destination network; `0.0.0.0/0` for the default route.
    pub destination: Ipv4Net,
    /// The next hop: an address, or `link#N` for a directly connected network.
    pub gateway: String,
    /// The flags as printed, for example `UGScg`.
    pub flags: String,
    /// The kernel name of the outgoing interface.
    pub interface: String,
}

/// A reference that keeps pf enabled, from `pfctl -s References`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The name of the process that took it.
    pub process: String,
    /// Its token, as `pfctl -E` printed it.
    pub token: String,
}

/// A dummynet pipe, from `dnctl list`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DummynetPipe {
    /// The delay in milliseconds.
    pub delay: u32,
    /// The loss rate in millionths.
    pub loss: u32,
    /// The rate in thousandths of a bit per second; 0 means unlimited.
    pub rate: u64,
}

/// The counters of the rules with one label, each as `[in, out]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LabelCounters {
    /// Packets.
    pub packets: [u64; 2],
    /// Bytes.
    pub bytes: [u64; 2],
}

/// A record of the manager's ledger, split into words: `if bridge2000`, `address lo0 10.0.1.2`,
/// `route 10.0.0.0/16 bridge2000`, `pipe 20000`.
pub type LedgerRecord = Vec<String>;

/// The manager's ledger: what it has created since this boot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The objects that it created or was about to create.
    pub have: BTreeSet<LedgerRecord>,
    /// The token by which it keeps pf enabled.
    pub token: Option<String>,
    /// Whether IP forwarding was on before it turned it on; `None` if it has not.
    pub forwarding_before: Option<bool>,
}

/// The interfaces by kernel name, from `ifconfig -a`.
pub fn interfaces(text: &str) -> BTreeMap<String, InterfaceState> {
    let mut all: BTreeMap<String, InterfaceState> = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        if !line.starts_with([' ', '\t']) {
            let Some((word, flags)) = line.split_once(':') else { continue };
            word.clone_into(&mut name);
            let has = |flag: &str| flags.split(['<', '>', ',']).any(|word| word == flag);
            all.insert(
                name.clone(),
                InterfaceState { running: has("UP") && has("RUNNING"), ..InterfaceState::default() },
            );
            continue;
        }
        let Some(interface) = all.get_mut(&name) else { continue };
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["inet", address, rest @ ..] => {
                let mask = rest.iter().position(|word| *word == "netmask").and_then(|at| rest.get(at + 1));
                let length = mask.and_then(|mask| prefix(mask)).unwrap_or(32);
                interface.addresses.extend(address.parse().ok().map(|address: Ipv4Addr| (address, length)));
            }
            ["peer:", peer, ..] if *peer != "<none>" => interface.peer = Some((*peer).to_owned()),
            ["member:", member, ..] => {
                interface.members.insert((*member).to_owned());
            }
            _ => {}
        }
    }
    all
}

/// The prefix length of a netmask such as `0xffffff00`; `None` if its bits are not contiguous.
fn prefix(mask: &str) -> Option<u8> {
    let bits = u32::from_str_radix(mask.strip_prefix("0x")?, 16).ok()?;
    u8::try_from(bits.leading_ones()).ok().filter(|length| bits.count_ones() == u32::from(*length))
}

/// The routes, in order, from `netstat -rn -f inet`.
pub fn routes(text: &str) -> Vec<RouteEntry> {
    let route = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [destination, gateway, flags, interface, ..] = words.as_slice() else { return None };
        Some(RouteEntry {
            destination: self::destination(destination, flags)?,
            gateway: (*gateway).to_owned(),
            flags: (*flags).to_owned(),
            interface: (*interface).to_owned(),
        })
    };
    text.lines().filter_map(route).collect()
}

/// A destination as netstat prints it: `10.1/16`. Without a length, that of the address class applies.
fn destination(text: &str, flags: &str) -> Option<Ipv4Net> {
    if text == "default" {
        return Some(Ipv4Net::default());
    }
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse().ok()?)),
        None => (text, None),
    };
    let mut octets = [0; 4];
    let parts: Vec<&str> = address.split('.').collect();
    if parts.len() > 4 {
        return None;
    }
    for (octet, part) in octets.iter_mut().zip(&parts) {
        *octet = part.parse().ok()?;
    }
    let by_class = match octets[0] {
        _ if flags.contains('H') => 32,
        0..128 => 8,
        128..192 => 16,
        _ => 24,
    };
    Ipv4Net::new(octets.into(), length.unwrap_or(by_class)).ok().map(|net| net.trunc())
}

/// Whether IP forwarding is on, and the UUID of the boot session: two lines, from `sysctl -n`.
pub fn kernel(text: &str) -> Option<(bool, String)> {
    let mut lines = text.lines();
    let forwarding = lines.next()?.trim() == "1";
    Some((forwarding, lines.next()?.to_owned()))
}

/// The mount points, from `mount`. The device ends at the first ` on /`.
pub fn mounts(text: &str) -> BTreeSet<String> {
    let path = |line: &str| {
        let (rest, options) = line.rsplit_once(" (")?;
        options.strip_suffix(')')?;
        let at = rest.find(" on /")?;
        Some(rest[at + 4..].to_owned())
    };
    text.lines().filter_map(path).collect()
}

/// The references that keep pf enabled, from `pfctl -s References`.
pub fn references(text: &str) -> Vec<Reference> {
    let reference = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_one = words.len() >= 6 && words[0].chars().all(|c| c.is_ascii_digit());
        is_one.then(|| Reference { process: words[1].to_owned(), token: words[words.len() - 4].to_owned() })
    };
    text.lines().filter_map(reference).collect()
}

/// Whether the main ruleset calls the anchors of `com.apple/*` for nat, rdr, filter and scrub, in that order.
pub fn calls(translation: &str, filter: &str) -> [bool; 4] {
    ["nat-anchor", "rdr-anchor", "anchor", "scrub-anchor"].map(|word| {
        let call = format!("{word} \"com.apple/*\"");
        translation.lines().chain(filter.lines()).any(|line| line.starts_with(&call))
    })
}

/// Whether the main ruleset calls the anchors of `com.apple/*` for dummynet, from `pfctl -s dummynet`.
pub fn calls_dummynet(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("dummynet-anchor \"com.apple/*\""))
}

/// The rules of other anchors, by path. Each anchor is a line `anchor`, a tab and the path, followed by the output of
/// `pfctl -s nat` and `pfctl -s rules` for it.
pub fn anchors(text: &str) -> BTreeMap<String, String> {
    let mut anchors: BTreeMap<String, String> = BTreeMap::new();
    let mut path = None;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("anchor\t") {
            path = Some(name.to_owned());
        } else if let Some(path) = &path {
            let rules = anchors.entry(path.clone()).or_default();
            rules.push_str(line);
            rules.push('\n');
        }
    }
    anchors
}

/// Printed rules in the order in which pf reads them; pfctl prints scrub rules with the filter rules.
pub fn in_order(text: &str) -> String {
    let section = |line: &&str| {
        let mut words = line.split_whitespace().filter(|word| *word != "no");
        match words.next().unwrap_or_default() {
            "scrub" | "scrub-anchor" => 0,
            "nat" | "rdr" | "binat" | "nat-anchor" | "rdr-anchor" | "binat-anchor" => 1,
            _ => 2,
        }
    };
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_by_key(section);
    lines.into_iter().flat_map(|line| [line, "\n"]).collect()
}

/// The pipes by number, from `dnctl list`. Of the two lines for each pipe, the first has its settings:
/// `20000: 100.000 Mbit/s   40 ms   50 sl.plr 0.010000 0 queues (64 buckets) droptail`.
pub fn pipes(text: &str) -> BTreeMap<u16, DummynetPipe> {
    let pipe = |line: &str| {
        let (number, rest) = line.split_once(": ")?;
        let words: Vec<&str> = rest.split_whitespace().collect();
        let (rate, delay) = match words.as_slice() {
            ["unlimited", delay, "ms", ..] => (0, delay),
            [rate, unit, delay, "ms", ..] => {
                let unit = match *unit {
                    "bit/s" => 1,
                    "Kbit/s" => 1_000,
                    "Mbit/s" => 1_000_000,
                    _ => return None,
                };
                (fixed(rate, 3)?.checked_mul(unit)?, delay)
            }
            _ => return None,
        };
        let loss = match rest.split_once("plr ") {
            Some((_, rest)) => fixed(rest.split_whitespace().next()?, 6)?,
            None => 0,
        };
        let pipe = DummynetPipe { delay: delay.parse().ok()?, loss: u32::try_from(loss).ok()?, rate };
        Some((number.parse().ok()?, pipe))
    };
    text.lines().filter_map(pipe).collect()
}

/// Parses a number with exactly `decimals` decimals, as an integer in units of the last one.
fn fixed(text: &str, decimals: usize) -> Option<u64> {
    let (whole, fraction) = text.split_once('.')?;
    let is_number = fraction.len() == decimals && fraction.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| format!("{whole}{fraction}").parse().ok())?
}

/// The launchd job, as the manager collects it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Job {
    /// Whether it is loaded.
    pub loaded: bool,
    /// Whether it is disabled, in Login Items or by `launchctl disable`.
    pub disabled: bool,
    /// Whether launchd loaded a plist other than the installed one.
    pub differs: bool,
    /// The path of the program that it runs; empty if unknown.
    pub program: String,
}

/// The job, from lines `not loaded`, `disabled` and `differs` if they apply, and the `KEY = VALUE` lines of
/// `launchctl print`.
pub fn job(text: &str) -> Job {
    let has = |word: &str| text.lines().any(|line| line == word);
    let program = text.lines().find_map(|line| line.strip_prefix("program = "));
    Job {
        loaded: !has("not loaded"),
        disabled: has("disabled"),
        differs: has("differs"),
        program: program.unwrap_or_default().to_owned(),
    }
}

/// The current number of pf states (`pfctl -s info`), and their limit (`pfctl -s memory`).
pub fn states(info: &str, memory: &str) -> Option<(u64, u64)> {
    let number = |text: &str, begin: &str| {
        text.lines()
            .find_map(|line| line.trim_start().strip_prefix(begin)?.split_whitespace().next()?.parse().ok())
    };
    let limit = memory.lines().find(|line| line.starts_with("states "))?;
    Some((number(info, "current entries")?, limit.split_whitespace().next_back()?.parse().ok()?))
}

/// The counters by label, from `pfctl -s labels`. Columns: label, evaluations, packets, bytes, packets and bytes in,
/// packets and bytes out. Rules with the same label are added up.
pub fn labels(text: &str) -> BTreeMap<String, LabelCounters> {
    let mut all: BTreeMap<String, LabelCounters> = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let Some(at) = words.len().checked_sub(7).filter(|at| *at > 0) else { continue };
        let numbers: Option<Vec<u64>> = words[at..].iter().map(|word| word.parse().ok()).collect();
        let Some([_, _, _, packets_in, bytes_in, packets_out, bytes_out]) = numbers.as_deref() else {
            continue;
        };
        let counts = all.entry(words[..at].join(" ")).or_default();
        for (count, more) in counts.packets.iter_mut().zip([packets_in, packets_out]) {
            *count = count.saturating_add(*more);
        }
        for (count, more) in counts.bytes.iter_mut().zip([bytes_in, bytes_out]) {
            *count = count.saturating_add(*more);
        }
    }
    all
}

/// Whether pf skips lo0 (`set skip on lo0`), from `pfctl -v -s Interfaces -i lo0`.
pub fn skips_loopback(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("lo0 ") && line.contains("(skip)"))
}

/// The tables of an anchor by name, with the entries indented below each name.
pub fn tables(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut tables: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut name = "";
    for line in text.lines() {
        if line.starts_with([' ', '\t']) {
            tables.entry(name.to_owned()).or_default().insert(line.trim().to_owned());
        } else {
            name = line.trim_end();
            tables.entry(name.to_owned()).or_default();
        }
    }
    tables
}

/// The kernel names that the manager keeps, by logical name; for a feth pair, with the kernel name of its other
/// interface.
pub fn names(text: &str) -> BTreeMap<String, (String, Option<String>)> {
    let name = |line: &str| {
        let mut words = line.split('\t');
        let (logical, kernel) = (words.next()?, words.next()?);
        let far = words.next().filter(|far| !matches!(*far, "" | "-"));
        (!logical.is_empty() && !kernel.is_empty())
            .then(|| (logical.to_owned(), (kernel.to_owned(), far.map(str::to_owned))))
    };
    text.lines().filter_map(name).collect()
}

/// The ledger's records of this boot. A line without its terminator was not written completely, and is ignored.
pub fn ledger(text: &str, boot: &str) -> Ledger {
    let mut ledger = Ledger::default();
    let mut current = false;
    for line in text.lines().skip(1) {
        let words: Vec<&str> = line.split('\t').collect();
        let Some((&".", words)) = words.split_last() else { continue };
        match words {
            ["boot", session] => current = *session == boot,
            // Changes of files survive a restart; they are not evaluated here.
            [_, "hosts" | "hosts-file", ..] => {}
            _ if !current => {}
            ["gone", "token", token] if ledger.token.as_deref() == Some(token) => ledger.token = None,
            ["gone", "forwarding", ..] => ledger.forwarding_before = None,
            ["want" | "have", what @ ..] if what.first().is_some_and(|kind| *kind != "token") => {
                ledger.have.insert(what.iter().map(|word| (*word).to_owned()).collect());
            }
            ["gone", what @ ..] => {
                let what: LedgerRecord = what.iter().map(|word| (*word).to_owned()).collect();
                ledger.have.remove(&what);
            }
            ["forwarding", before, ..] => ledger.forwarding_before = Some(*before == "1"),
            ["token", token] => ledger.token = Some((*token).to_owned()),
            _ => {}
        }
    }
    ledger
}

#[cfg(test)]
mod tests {
    use super::{DummynetPipe, destination, mounts, pipes, prefix};

    #[test]
    fn destinations_are_as_netstat_shortens_them() {
        let read = |text: &str, flags: &str| destination(text, flags).map(|net| net.to_string());
        assert_eq!(read("default", "UGScg").as_deref(), Some("0.0.0.0/0"));
        assert_eq!(read("127", "UCS").as_deref(), Some("127.0.0.0/8"));
        assert_eq!(read("10.1/16", "USc").as_deref(), Some("10.1.0.0/16"));
        assert_eq!(read("192.168.1", "UCS").as_deref(), Some("192.168.1.0/24"));
        assert_eq!(read("192.168.1.7", "UHLWI").as_deref(), Some("192.168.1.7/32"));
        assert_eq!(read("128.0/1", "USc").as_deref(), Some("128.0.0.0/1"));
        assert_eq!(read("Destination", "Flags"), None);
        assert_eq!(read("1.2.3.4.5", "U"), None);
        assert_eq!(read("10/99", "U"), None);
    }

    #[test]
    fn masks_are_lengths() {
        assert_eq!(
            [prefix("0xffffff00"), prefix("0xffffffff"), prefix("0x0")],
            [Some(24), Some(32), Some(0)]
        );
        assert_eq!([prefix("0xff00ff00"), prefix("255.0.0.0"), prefix("0x")], [None; 3]);
    }

    #[test]
    fn pipes_are_as_dnctl_prints_them() {
        let mask = "    mask: 0x00 0x00000000/0x0000 -> 0x00000000/0x0000\n";
        let text = format!(
            "00007: unlimited    0 ms   50 sl. 0 queues (64 buckets) droptail\n{mask}\
             20000: 100.000 Mbit/s   40 ms   50 sl.plr 0.010000 0 queues (64 buckets) droptail\n{mask}\
             20001: 512.000 Kbit/s 10000 ms  100 KBplr 1.000000 1 queues (64 buckets) droptail\n{mask}\
             20002: 300.000 bit/s     1 ms   50 sl. 0 queues (64 buckets) droptail\n{mask}\
             q00001: weight 1 pipe 7   50 sl. 0 queues (64 buckets) droptail\n\
             20003: utun4   1 ms   50 sl.\n99999: unlimited 0 ms 50 sl.\n20004: unlimited 0 ms plr 1\n"
        );
        let found: Vec<(u16, DummynetPipe)> = pipes(&text).into_iter().collect();
        let pipe = |delay, loss, rate| DummynetPipe { delay, loss, rate };
        let expected = [
            (7, pipe(0, 0, 0)),
            (20_000, pipe(40, 10_000, 100_000_000_000)),
            (20_001, pipe(10_000, 1_000_000, 512_000_000)),
            (20_002, pipe(1, 0, 300_000)),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn no_name_of_a_device_passes_for_a_mount() {
        let text = "a on /b on /Volumes/data (apfs, local)\n- on /Volumes/x (y) (apfs)\nnonsense\n";
        let paths: Vec<String> = mounts(text).into_iter().collect();
        assert_eq!(paths, ["/Volumes/x (y)", "/b on /Volumes/data"]);
    }
}
