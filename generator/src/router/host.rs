//! The Mac's interfaces, addresses and routes, and xnu's choice of a route for a packet.
//!
//! It exists because the egress interface decides what pf evaluates, and because xnu's choice depends on more than
//! the destination: the address that a socket is bound to, and the interface of the packet that is answered
//! (route.c, ip_output.c). Never: a rule, or which hosts are on a wire.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::trace::Over;

/// An interface of the Mac.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Which.
    pub over: Over,
    /// Its name: of a bridge the logical one, where there is one.
    pub name: String,
    /// Its addresses with their networks; the first is the one that it answers from.
    pub addresses: Vec<Ipv4Net>,
    /// The sums of TCP and UDP are left to it, so that pf sees them unfinished on their way out.
    pub offloads: bool,
    /// The longest packet that it takes.
    pub mtu: u16,
}

/// A route beside those to the networks of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Road {
    /// Where to.
    pub network: Ipv4Net,
    /// By which interface.
    pub over: Over,
    /// The router, where there is one.
    pub gateway: Option<Ipv4Addr>,
}

/// The way that a route gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// By which interface.
    pub over: Over,
    /// The router, where there is one.
    pub gateway: Option<Ipv4Addr>,
    /// The address of the Mac that goes with it.
    pub address: Ipv4Addr,
    /// It is that to everywhere.
    pub is_default: bool,
}

/// Why the Mac does not even ask pf about a packet of its own, by the name of the error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoWay {
    /// `EADDRNOTAVAIL`: the source is none of its addresses.
    NotAvailable,
    /// `EHOSTUNREACH`: no route leads there from the interface that has the source.
    Unreachable,
}

/// What narrows the choice of a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// A TCP connection; with the interface over which its first segment came in, if it was opened from outside.
    Tcp(Option<Over>),
    /// A UDP socket.
    Udp,
    /// The RST of a TCP that knows no such connection; with the interface over which the segment came in, if it did not
    /// come from the Mac itself. Its address must be that interface's, or there is none (`tcp_respond`).
    Reset(Option<Over>),
    /// Any other socket.
    Raw,
    /// The kernel's ICMP: with the interface over which the packet came in that it is about.
    Icmp(Option<Over>),
    /// pf's RST: nothing does.
    Pf,
}

/// The length of a route's prefix, its interface, its router, and the address that goes with it.
type Found = (u8, Over, Option<Ipv4Addr>, Ipv4Addr);

/// The Mac's interfaces, addresses and routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    links: Vec<Link>,
    roads: Vec<Road>,
    forwards: bool,
    by_address: HashMap<Ipv4Addr, Over>,
}

impl Host {
    /// A Mac. The first interface is lo0.
    pub fn new(links: Vec<Link>, roads: Vec<Road>, forwards: bool) -> Self {
        let addresses = links
            .iter()
            .flat_map(|link| link.addresses.iter().map(move |address| (address.addr(), link.over)));
        let by_address = addresses.collect();
        Self { links, roads, forwards, by_address }
    }

    /// Its interfaces.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// An interface, if it is there.
    pub fn link(&self, over: Over) -> Option<&Link> {
        self.links.iter().find(|link| link.over == over)
    }

    /// Whether it sends on what is not for itself.
    pub fn forwards(&self) -> bool {
        self.forwards
    }

    /// The interface that has an address.
    pub fn owner(&self, address: Ipv4Addr) -> Option<Over> {
        self.by_address.get(&address).copied()
    }

    /// With other names of interfaces where there is one.
    #[must_use]
    pub fn named_as(&self, name: impl Fn(Over) -> Option<String>) -> Self {
        let named =
            |link: &Link| Link { name: name(link.over).unwrap_or_else(|| link.name.clone()), ..link.clone() };
        Self { links: self.links.iter().map(named).collect(), ..self.clone() }
    }

    /// Without an interface and its routes, as when a bridge is gone.
    #[must_use]
    pub fn without(&self, over: Over) -> Self {
        let links = self.links.iter().filter(|link| link.over != over).cloned().collect();
        let roads = self.roads.iter().filter(|road| road.over != over).copied().collect();
        Self::new(links, roads, self.forwards)
    }

    /// The network of one of an interface's addresses.
    pub fn network(&self, over: Over, address: Ipv4Addr) -> Option<Ipv4Net> {
        let link = self.link(over)?;
        link.addresses.iter().find(|net| net.addr() == address).map(Ipv4Net::trunc)
    }

    /// Whether an address is that of everybody on a network of the Mac's.
    pub fn is_broadcast(&self, address: Ipv4Addr) -> bool {
        let of = |net: &Ipv4Net| net.prefix_len() < 31 && net.broadcast() == address;
        self.links.iter().filter(|link| link.over != Over::Loopback).flat_map(|link| &link.addresses).any(of)
    }

    /// The address that an interface answers from to someone who asked another (`ifaof_ifpforaddr`).
    pub fn answers_from(&self, over: Over, asked: Ipv4Addr) -> Option<Ipv4Addr> {
        let addresses = &self.link(over)?.addresses;
        addresses.iter().find(|net| net.contains(&asked)).or(addresses.first()).map(Ipv4Net::addr)
    }

    /// The first address of all: of lo0.
    pub fn first(&self) -> Ipv4Addr {
        self.links.iter().find_map(|link| link.addresses.first()).map_or(Ipv4Addr::LOCALHOST, Ipv4Net::addr)
    }

    /// The address that a socket takes which is bound to none.
    pub fn source_for(&self, to: Ipv4Addr) -> Option<Ipv4Addr> {
        self.path(to, None).map(|path| path.address)
    }

    /// The route to an address; with a scope only one by that interface, but for what is the Mac's own.
    pub fn path(&self, to: Ipv4Addr, scope: Option<Over>) -> Option<Path> {
        if self.owner(to).is_some() {
            return Some(Path { over: Over::Loopback, gateway: None, address: to, is_default: false });
        }
        if to.is_loopback() {
            let address = Ipv4Addr::LOCALHOST;
            return Some(Path { over: Over::Loopback, gateway: None, address, is_default: false });
        }
        let found = self.longest(to);
        match scope {
            None => found,
            Some(scope) => found
                .filter(|path| path.over == scope)
                .or_else(|| self.default().filter(|path| path.over == scope)),
        }
    }

    fn longest(&self, to: Ipv4Addr) -> Option<Path> {
        let connected = self.links.iter().filter(|link| link.over != Over::Loopback).flat_map(|link| {
            let path = |net: &Ipv4Net| (net.prefix_len(), link.over, None, net.addr());
            link.addresses.iter().filter(|net| net.contains(&to)).map(path)
        });
        let roads = self.roads.iter().filter(|road| road.network.contains(&to)).filter_map(|road| {
            let near = road.gateway.unwrap_or(to);
            let address = self.answers_from(road.over, near)?;
            Some((road.network.prefix_len(), road.over, road.gateway, address))
        });
        // Of equal ones the connected network: it came first.
        let longer = |best: Option<Found>, next: Found| match best {
            Some(best) if best.0 >= next.0 => Some(best),
            _ => Some(next),
        };
        let best = connected.chain(roads).fold(None, longer);
        best.map(|(length, over, gateway, address)| Path { over, gateway, address, is_default: length == 0 })
    }

    fn default(&self) -> Option<Path> {
        let road = self.roads.iter().find(|road| road.network.prefix_len() == 0)?;
        let address = self.answers_from(road.over, road.gateway.unwrap_or(Ipv4Addr::UNSPECIFIED))?;
        Some(Path { over: road.over, gateway: road.gateway, address, is_default: true })
    }

    /// The path of a packet that the Mac sends itself.
    ///
    /// # Errors
    /// What the sender gets instead.
    pub fn way(&self, from: Ipv4Addr, to: Ipv4Addr, sender: Sender) -> Result<Path, NoWay> {
        let (scope, known) = match sender {
            Sender::Pf => return self.path(to, None).ok_or(NoWay::Unreachable),
            Sender::Tcp(came) => (None, self.path(to, came)),
            Sender::Udp | Sender::Raw => (None, None),
            Sender::Icmp(came) | Sender::Reset(came) => (came, None),
        };
        let has_ports = matches!(sender, Sender::Tcp(_) | Sender::Udp | Sender::Reset(_));
        let chosen = self.choose(from, to, has_ports, scope, known);
        if chosen.is_none() && scope != Some(Over::Loopback) {
            return Err(NoWay::NotAvailable);
        }
        if let Some(known) = known.filter(|known| chosen == Some(known.over) || known.over == Over::Loopback)
        {
            return Ok(known);
        }
        // What has its address on lo0 may leave by any interface: pf is to give it another.
        let scope = scope.or(chosen).filter(|scope| *scope != Over::Loopback);
        self.path(to, scope).ok_or(NoWay::Unreachable)
    }

    /// The interface that a source stands for (`in_selectsrcif`).
    fn choose(
        &self,
        from: Ipv4Addr,
        to: Ipv4Addr,
        has_ports: bool,
        scope: Option<Over>,
        known: Option<Path>,
    ) -> Option<Over> {
        let owner = self.owner(from);
        let mut is_scoped = scope.is_some();
        if let Some(scope) = scope.or(known.map(|known| known.over)) {
            if self.has(scope, from) {
                return Some(scope);
            }
            if !has_ports && self.forwards && owner.is_some() {
                is_scoped = false;
            }
        }
        let owner = owner.filter(|_| !is_scoped)?;
        match known.or_else(|| self.path(to, None)) {
            Some(path) if path.over == owner || self.has(path.over, from) => Some(path.over),
            // Who forwards lets what is its own out by any interface that is on the destination's network.
            Some(path) if self.forwards && path.gateway.is_none() => Some(path.over),
            _ => Some(owner),
        }
    }

    fn has(&self, over: Over, address: Ipv4Addr) -> bool {
        self.link(over).is_some_and(|link| link.addresses.iter().any(|net| net.addr() == address))
    }
}
