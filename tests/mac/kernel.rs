//! The kernel's state and its file format: one record per line, fields separated by tabs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use crate::dummynet::Pipe;
use crate::escape::{escape, unescape};
use crate::net::Net;
use crate::pf::Ruleset;

/// An IPv4 address on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub ip: Ipv4Addr,
    pub len: u8,
    /// The peer address of a point-to-point interface.
    pub far: Option<Ipv4Addr>,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub index: u32,
    pub up: bool,
    pub running: bool,
    pub mtu: u32,
    pub ether: String,
    pub peer: String,
    pub members: Vec<String>,
    pub addresses: Vec<Address>,
}

impl Interface {
    /// The name without its unit number, such as `feth`.
    pub fn cloner(&self) -> &str {
        self.name.trim_end_matches(|c: char| c.is_ascii_digit())
    }

    /// Whether the medium is active: a peered feth, a bridge with an active member, or hardware.
    pub fn active(&self, kernel: &Kernel) -> bool {
        match self.cloner() {
            "feth" => !self.peer.is_empty(),
            "bridge" => self.members.iter().any(|member| {
                kernel.interface(member).is_some_and(|member| member.running && member.active(kernel))
            }),
            _ => true,
        }
    }
}

/// A route of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub net: Net,
    pub gateway: String,
    pub flags: String,
    pub interface: String,
    pub expire: String,
}

/// A job that launchd has loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub label: String,
    /// The plist that it was loaded from.
    pub path: String,
    /// The program that it runs.
    pub program: String,
}

/// One of pf's states, with its source as the side that opened the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub protocol: String,
    pub from: (Ipv4Addr, u16),
    pub to: (Ipv4Addr, u16),
}

/// Everything that a command can read or change.
#[derive(Default)]
pub struct Kernel {
    pub boot: String,
    pub uid: u32,
    pub interfaces: Vec<Interface>,
    pub routes: Vec<Route>,
    pub sysctl: BTreeMap<String, String>,
    /// The line that `mount` prints for each mount, and its mount point.
    pub mounts: Vec<(String, String)>,
    pub dns: String,
    pub jobs: Vec<Job>,
    /// Jobs that launchd must not run: disabled in Login Items, or by `launchctl disable`.
    pub disabled: Vec<String>,
    /// The number of pf states in addition to those in `states`, and the maximum of pf's table.
    pub crowd: u64,
    pub state_limit: Option<u64>,
    /// Dummynet's pipes by number.
    pub pipes: BTreeMap<u16, Pipe>,
    /// Whether `pfctl -a A -F all` keeps the dummynet rules. Which one macOS does is not known, so tests cover both.
    pub spares_dummynet: bool,
    /// Whether pfctl rejects `extfilter`.
    pub lacks_extfilter: bool,
    /// What WireGuard answers at the socket of each tunnel, by interface.
    pub wireguard: BTreeMap<String, String>,
    /// Pairs of source and destination networks whose packets are lost, whatever pf decides.
    pub lost: Vec<(Net, Net)>,
    pub pf_enabled: bool,
    /// Token, process id, process name.
    pub tokens: Vec<(u64, u32, String)>,
    /// Rulesets by anchor path; the main one has the empty path.
    pub anchors: BTreeMap<String, Ruleset>,
    /// Packets by anchor and label.
    pub counts: BTreeMap<(String, String), u64>,
    /// Address and port pairs with a listener.
    pub listening: Vec<(Ipv4Addr, u16)>,
    /// Open connections, as pf's states.
    pub states: Vec<State>,
    /// Interfaces that pf skips.
    pub skipped: Vec<String>,
    /// For how many commands a destroyed interface remains listed, with its name taken.
    pub linger: u64,
    /// Destroyed interfaces that are still listed, and the command number at which each disappears.
    pub dying: Vec<(String, u64)>,
    /// File ownership that differs from the real disk's: path, user id, and what `ls` appends to the mode (`+`, `@`).
    pub owners: Vec<(String, u32, String)>,
    /// The number of this command; not part of the state.
    pub tick: u64,
}

impl Kernel {
    /// The state that a text describes.
    pub fn read(text: &str) -> io::Result<Self> {
        let mut kernel = Self::default();
        for line in text.lines() {
            kernel
                .read_record(line)
                .ok_or_else(|| io::Error::other(format!("kernel: bad record `{line}`")))?;
        }
        Ok(kernel)
    }

    /// The state at a command with this number.
    pub fn at(text: &str, number: u64) -> io::Result<Self> {
        let mut kernel = Self::read(text)?;
        kernel.tick = number;
        kernel.dying.retain(|(_, until)| *until > number);
        Ok(kernel)
    }

    /// Writes the state atomically, by a rename.
    pub fn save(root: &Path, text: &str) -> io::Result<()> {
        let new = root.join(format!("kernel.{}", std::process::id()));
        fs::write(&new, text)?;
        fs::rename(&new, root.join("kernel"))
    }

    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|i| i.name == name)
    }

    pub fn interface_mut(&mut self, name: &str) -> Option<&mut Interface> {
        self.interfaces.iter_mut().find(|i| i.name == name)
    }

    /// The interface that has this address.
    pub fn holder(&self, ip: Ipv4Addr) -> Option<&Interface> {
        self.interfaces.iter().find(|i| i.addresses.iter().any(|a| a.ip == ip))
    }

    pub fn next_index(&self) -> u32 {
        self.interfaces.iter().map(|i| i.index).max().unwrap_or(0) + 1
    }

    /// Adds an address and the route that the kernel makes for it.
    pub fn add_address(&mut self, name: &str, address: &Address) {
        let Some(interface) = self.interface_mut(name) else {
            return;
        };
        interface.up = true;
        let (index, cloner) = (interface.index, interface.cloner().to_owned());
        interface.addresses.retain(|a| a.ip != address.ip);
        interface.addresses.push(address.clone());
        let route = connected(address, name, index, &cloner);
        if !self.routes.iter().any(|r| r.net == route.net && !r.flags.contains('I')) {
            self.routes.push(route);
        }
    }

    /// Removes an address and its route; false when it was not there.
    pub fn remove_address(&mut self, name: &str, ip: Ipv4Addr) -> bool {
        let Some(interface) = self.interface_mut(name) else {
            return false;
        };
        let Some(at) = interface.addresses.iter().position(|a| a.ip == ip) else {
            return false;
        };
        let gone = interface.addresses.remove(at);
        let (index, cloner) = (interface.index, interface.cloner().to_owned());
        let route = connected(&gone, name, index, &cloner);
        self.routes.retain(|r| *r != route);
        true
    }

    pub fn text(&self) -> String {
        let mut t = String::with_capacity(16 * 1024);
        let _ = writeln!(t, "boot\t{}\nuid\t{}", self.boot, self.uid);
        for i in &self.interfaces {
            let addresses: Vec<String> = i.addresses.iter().map(address_text).collect();
            let _ = writeln!(
                t,
                "if\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
                i.name,
                i.index,
                u8::from(i.up),
                u8::from(i.running),
                i.mtu,
                i.ether,
                i.peer,
                i.members.join(","),
                addresses.join(",")
            );
        }
        for r in &self.routes {
            let _ =
                writeln!(t, "route\t{}\t{}\t{}\t{}\t{}", r.net, r.gateway, r.flags, r.interface, r.expire);
        }
        for (key, value) in &self.sysctl {
            let _ = writeln!(t, "sysctl\t{key}\t{value}");
        }
        for (text, path) in &self.mounts {
            let told = if mounted_at(text).unwrap_or_default() == *path {
                String::new()
            } else {
                format!("\t{}", escape(path))
            };
            let _ = writeln!(t, "mount\t{}{told}", escape(text));
        }
        let _ = writeln!(t, "dns\t{}", escape(&self.dns));
        for job in &self.jobs {
            let _ = writeln!(t, "job\t{}\t{}\t{}", job.label, job.path, job.program);
        }
        for label in &self.disabled {
            let _ = writeln!(t, "disabled\t{label}");
        }
        if self.crowd > 0 {
            let _ = writeln!(t, "crowd\t{}", self.crowd);
        }
        if let Some(limit) = self.state_limit {
            let _ = writeln!(t, "limit\t{limit}");
        }
        for (number, pipe) in &self.pipes {
            let _ = writeln!(t, "pipe\t{number}\t{}\t{}\t{}", pipe.delay, pipe.loss, pipe.rate);
        }
        for (name, answer) in &self.wireguard {
            let _ = writeln!(t, "wireguard\t{name}\t{}", escape(answer));
        }
        for (from, to) in &self.lost {
            let _ = writeln!(t, "lost\t{from}\t{to}");
        }
        let _ = writeln!(t, "pf\t{}", u8::from(self.pf_enabled));
        for (token, pid, name) in &self.tokens {
            let _ = writeln!(t, "token\t{token}\t{pid}\t{name}");
        }
        for (path, ruleset) in &self.anchors {
            let _ = writeln!(t, "anchor\t{path}\t{}", escape(&ruleset.source()));
        }
        for ((anchor, label), packets) in &self.counts {
            let _ = writeln!(t, "count\t{anchor}\t{label}\t{packets}");
        }
        for (ip, port) in &self.listening {
            let _ = writeln!(t, "listen\t{ip}\t{port}");
        }
        for s in &self.states {
            let _ = writeln!(t, "state\t{}\t{}\t{}\t{}\t{}", s.protocol, s.from.0, s.from.1, s.to.0, s.to.1);
        }
        for name in &self.skipped {
            let _ = writeln!(t, "skip\t{name}");
        }
        if self.linger > 0 {
            let _ = writeln!(t, "linger\t{}", self.linger);
        }
        for (name, until) in &self.dying {
            let _ = writeln!(t, "dying\t{name}\t{until}");
        }
        for (path, user, mark) in &self.owners {
            let _ = writeln!(t, "owner\t{path}\t{user}\t{mark}");
        }
        if self.lacks_extfilter {
            t.push_str("lacks\textfilter\n");
        }
        if self.spares_dummynet {
            t.push_str("spares\tdummynet\n");
        }
        t
    }

    fn read_record(&mut self, line: &str) -> Option<()> {
        let f: Vec<&str> = line.split('\t').collect();
        match *f.first()? {
            "boot" => (*f.get(1)?).clone_into(&mut self.boot),
            "uid" => self.uid = f.get(1)?.parse().ok()?,
            "if" => self.interfaces.push(Interface {
                name: (*f.get(1)?).to_owned(),
                index: f.get(2)?.parse().ok()?,
                up: *f.get(3)? == "1",
                running: *f.get(4)? == "1",
                mtu: f.get(5)?.parse().ok()?,
                ether: (*f.get(6)?).to_owned(),
                peer: (*f.get(7)?).to_owned(),
                members: list(f.get(8)?).map(str::to_owned).collect(),
                addresses: list(f.get(9)?).map(read_address).collect::<Option<_>>()?,
            }),
            "route" => self.routes.push(Route {
                net: f.get(1)?.parse().ok()?,
                gateway: (*f.get(2)?).to_owned(),
                flags: (*f.get(3)?).to_owned(),
                interface: (*f.get(4)?).to_owned(),
                expire: (*f.get(5)?).to_owned(),
            }),
            "sysctl" => {
                self.sysctl.insert((*f.get(1)?).to_owned(), (*f.get(2)?).to_owned());
            }
            "mount" => {
                let text = unescape(f.get(1)?);
                let path =
                    f.get(2).map(|path| unescape(path)).or_else(|| mounted_at(&text)).unwrap_or_default();
                self.mounts.push((text, path));
            }
            "dns" => self.dns = unescape(f.get(1)?),
            "job" => {
                let field = |at: usize| f.get(at).map_or(String::new(), |field| (*field).to_owned());
                self.jobs.push(Job { label: (*f.get(1)?).to_owned(), path: field(2), program: field(3) });
            }
            "disabled" => self.disabled.push((*f.get(1)?).to_owned()),
            "crowd" => self.crowd = f.get(1)?.parse().ok()?,
            "limit" => self.state_limit = Some(f.get(1)?.parse().ok()?),
            "pipe" => {
                let pipe = Pipe {
                    delay: f.get(2)?.parse().ok()?,
                    loss: f.get(3)?.parse().ok()?,
                    rate: f.get(4)?.parse().ok()?,
                };
                self.pipes.insert(f.get(1)?.parse().ok()?, pipe);
            }
            "lacks" => self.lacks_extfilter = *f.get(1)? == "extfilter",
            "spares" => self.spares_dummynet = *f.get(1)? == "dummynet",
            "wireguard" => {
                self.wireguard.insert((*f.get(1)?).to_owned(), unescape(f.get(2)?));
            }
            "lost" => self.lost.push((f.get(1)?.parse().ok()?, f.get(2)?.parse().ok()?)),
            "pf" => self.pf_enabled = *f.get(1)? == "1",
            "token" => {
                self.tokens.push((f.get(1)?.parse().ok()?, f.get(2)?.parse().ok()?, (*f.get(3)?).to_owned()));
            }
            "count" => {
                let key = ((*f.get(1)?).to_owned(), (*f.get(2)?).to_owned());
                self.counts.insert(key, f.get(3)?.parse().ok()?);
            }
            "listen" => self.listening.push((f.get(1)?.parse().ok()?, f.get(2)?.parse().ok()?)),
            "state" => self.states.push(State {
                protocol: (*f.get(1)?).to_owned(),
                from: (f.get(2)?.parse().ok()?, f.get(3)?.parse().ok()?),
                to: (f.get(4)?.parse().ok()?, f.get(5)?.parse().ok()?),
            }),
            "skip" => self.skipped.push((*f.get(1)?).to_owned()),
            "linger" => self.linger = f.get(1)?.parse().ok()?,
            "dying" => self.dying.push(((*f.get(1)?).to_owned(), f.get(2)?.parse().ok()?)),
            "owner" => {
                self.owners.push(((*f.get(1)?).to_owned(), f.get(2)?.parse().ok()?, (*f.get(3)?).to_owned()));
            }
            "anchor" => {
                let ruleset = Ruleset::kept(&unescape(f.get(2)?));
                self.anchors.insert((*f.get(1)?).to_owned(), ruleset);
            }
            _ => return None,
        }
        Some(())
    }
}

/// The mount point in a line of `mount`, where it can be parsed unambiguously.
fn mounted_at(text: &str) -> Option<String> {
    let (_, path) = text.rsplit_once(" (")?.0.split_once(" on ")?;
    Some(path.to_owned())
}

/// The route that is added and removed with an address.
fn connected(address: &Address, name: &str, index: u32, cloner: &str) -> Route {
    let net = Net::new(address.ip, address.len).unwrap_or_else(|| Net::from(address.ip)).trunc();
    let (net, gateway, flags, expire) = if cloner == "lo" && net.len < 32 {
        (net, address.ip.to_string(), "UCS", "")
    } else if cloner == "lo" {
        (net, address.ip.to_string(), "UH", "")
    } else if let Some(far) = address.far {
        (Net::from(far), address.ip.to_string(), "UH", "")
    } else {
        (net, format!("link#{index}"), "UC", "!")
    };
    Route { net, gateway, flags: flags.to_owned(), interface: name.to_owned(), expire: expire.to_owned() }
}

fn address_text(address: &Address) -> String {
    match address.far {
        Some(far) => format!("{}/{}/{far}", address.ip, address.len),
        None => format!("{}/{}", address.ip, address.len),
    }
}

fn read_address(text: &str) -> Option<Address> {
    let mut parts = text.split('/');
    Some(Address {
        ip: parts.next()?.parse().ok()?,
        len: parts.next()?.parse().ok()?,
        far: parts.next().and_then(|far| far.parse().ok()),
    })
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|item| !item.is_empty())
}
