//! The Mac's interfaces, addresses and routes, and xnu's choice of a route for a packet.
//!
//! It exists because the egress interface decides what pf evaluates, and because xnu's choice depends on more than
//! the destination: the address that a socket is bound to, and the interface of the packet that is answered
//! (route.c, ip_output.c). Never: a rule, or which hosts are on a wire.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::interface::Over;

/// An interface of the Mac.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MacInterface {
    /// Which interface it is.
    pub over: Over,
    /// Its name: for a bridge the logical name, if there is one.
    pub name: String,
    /// Its addresses with their networks; the first is the default source of ICMP errors.
    pub addresses: Vec<Ipv4Net>,
    /// Whether TCP and UDP checksums are left to the hardware: outbound, pf then sees incomplete ones.
    pub offloads: bool,
    /// The MTU in bytes.
    pub mtu: u16,
}

/// A route, apart from the connected networks of [`MacInterface::addresses`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StaticRoute {
    /// The destination network.
    pub network: Ipv4Net,
    /// The outgoing interface.
    pub over: Over,
    /// The next hop, if the network is not directly connected.
    pub gateway: Option<Ipv4Addr>,
}

/// A chosen route for a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChosenRoute {
    /// The outgoing interface.
    pub over: Over,
    /// The next hop, if the destination is not on a connected network.
    pub gateway: Option<Ipv4Addr>,
    /// The Mac's source address on this route.
    pub address: Ipv4Addr,
    /// Whether it is the default route.
    pub is_default: bool,
}

/// Why the Mac fails to send a packet of its own, before pf is evaluated; each names the errno.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// `EADDRNOTAVAIL`: the source is not an address of the Mac.
    NotAvailable,
    /// `EHOSTUNREACH`: the interface that has the source has no route to the destination.
    Unreachable,
}

/// What sends a packet of the Mac, which restricts the choice of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// A TCP connection; if it was opened from outside, with the interface that its first segment arrived on.
    Tcp(Option<Over>),
    /// A UDP socket.
    Udp,
    /// The RST that TCP sends for an unknown connection; with the interface that the segment arrived on, if it did
    /// not come from the Mac itself. The source must be an address of that interface, or no RST is sent
    /// (`tcp_respond`).
    Reset(Option<Over>),
    /// Any other socket.
    Raw,
    /// The kernel's ICMP; with the interface that the packet it answers arrived on.
    Icmp(Option<Over>),
    /// pf's RST, which nothing restricts.
    Pf,
}

/// A matching route: prefix length, interface, next hop and source address.
type Found = (u8, Over, Option<Ipv4Addr>, Ipv4Addr);

/// The Mac's interfaces, addresses and routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MacNetwork {
    links: Vec<MacInterface>,
    roads: Vec<StaticRoute>,
    forwards: bool,
    by_address: HashMap<Ipv4Addr, Over>,
}

impl MacNetwork {
    /// A Mac. The first interface must be lo0.
    pub fn new(links: Vec<MacInterface>, roads: Vec<StaticRoute>, forwards: bool) -> Self {
        let addresses = links
            .iter()
            .flat_map(|link| link.addresses.iter().map(move |address| (address.addr(), link.over)));
        let by_address = addresses.collect();
        Self { links, roads, forwards, by_address }
    }

    /// All interfaces.
    pub fn links(&self) -> &[MacInterface] {
        &self.links
    }

    /// An interface, if it exists.
    pub fn link(&self, over: Over) -> Option<&MacInterface> {
        self.links.iter().find(|link| link.over == over)
    }

    /// Whether IP forwarding is on.
    pub fn forwards(&self) -> bool {
        self.forwards
    }

    /// The interface that has an address.
    pub fn owner(&self, address: Ipv4Addr) -> Option<Over> {
        self.by_address.get(&address).copied()
    }

    /// A copy with the interfaces renamed where `name` returns a name.
    #[must_use]
    pub fn named_as(&self, name: impl Fn(Over) -> Option<String>) -> Self {
        let named = |link: &MacInterface| MacInterface {
            name: name(link.over).unwrap_or_else(|| link.name.clone()),
            ..link.clone()
        };
        Self { links: self.links.iter().map(named).collect(), ..self.clone() }
    }

    /// A copy without an interface and its routes, as when a bridge is gone.
    #[must_use]
    pub fn without(&self, over: Over) -> Self {
        let links = self.links.iter().filter(|link| link.over != over).cloned().collect();
        let roads = self.roads.iter().filter(|road| road.over != over).copied().collect();
        Self::new(links, roads, self.forwards)
    }

    /// The network of an interface's address.
    pub fn network(&self, over: Over, address: Ipv4Addr) -> Option<Ipv4Net> {
        let link = self.link(over)?;
        link.addresses.iter().find(|net| net.addr() == address).map(Ipv4Net::trunc)
    }

    /// Whether an address is the broadcast address of a network of the Mac, lo0 excepted.
    pub fn is_broadcast(&self, address: Ipv4Addr) -> bool {
        let of = |net: &Ipv4Net| net.prefix_len() < 31 && net.broadcast() == address;
        self.links.iter().filter(|link| link.over != Over::Loopback).flat_map(|link| &link.addresses).any(of)
    }

    /// The source address that an interface uses for an error about a packet to `asked` (`ifaof_ifpforaddr`).
    pub fn answers_from(&self, over: Over, asked: Ipv4Addr) -> Option<Ipv4Addr> {
        let addresses = &self.link(over)?.addresses;
        addresses.iter().find(|net| net.contains(&asked)).or(addresses.first()).map(Ipv4Net::addr)
    }

    /// The Mac's first address, which is lo0's.
    pub fn first(&self) -> Ipv4Addr {
        self.links.iter().find_map(|link| link.addresses.first()).map_or(Ipv4Addr::LOCALHOST, Ipv4Net::addr)
    }

    /// The source address of a packet from an unbound socket.
    pub fn source_for(&self, to: Ipv4Addr) -> Option<Ipv4Addr> {
        self.path(to, None).map(|path| path.address)
    }

    /// The route to an address. A scope restricts it to routes by that interface, except for the Mac's own addresses
    /// and 127/8.
    pub fn path(&self, to: Ipv4Addr, scope: Option<Over>) -> Option<ChosenRoute> {
        if self.owner(to).is_some() {
            return Some(ChosenRoute { over: Over::Loopback, gateway: None, address: to, is_default: false });
        }
        if to.is_loopback() {
            let address = Ipv4Addr::LOCALHOST;
            return Some(ChosenRoute { over: Over::Loopback, gateway: None, address, is_default: false });
        }
        let found = self.longest(to);
        match scope {
            None => found,
            Some(scope) => found
                .filter(|path| path.over == scope)
                .or_else(|| self.default().filter(|path| path.over == scope)),
        }
    }

    fn longest(&self, to: Ipv4Addr) -> Option<ChosenRoute> {
        let connected = self.links.iter().filter(|link| link.over != Over::Loopback).flat_map(|link| {
            let path = |net: &Ipv4Net| (net.prefix_len(), link.over, None, net.addr());
            link.addresses.iter().filter(|net| net.contains(&to)).map(path)
        });
        let roads = self.roads.iter().filter(|road| road.network.contains(&to)).filter_map(|road| {
            let near = road.gateway.unwrap_or(to);
            let address = self.answers_from(road.over, near)?;
            Some((road.network.prefix_len(), road.over, road.gateway, address))
        });
        // Of equally long prefixes the connected network wins: it comes first.
        let longer = |best: Option<Found>, next: Found| match best {
            Some(best) if best.0 >= next.0 => Some(best),
            _ => Some(next),
        };
        let best = connected.chain(roads).fold(None, longer);
        best.map(|(length, over, gateway, address)| ChosenRoute {
            over,
            gateway,
            address,
            is_default: length == 0,
        })
    }

    fn default(&self) -> Option<ChosenRoute> {
        let road = self.roads.iter().find(|road| road.network.prefix_len() == 0)?;
        let address = self.answers_from(road.over, road.gateway.unwrap_or(Ipv4Addr::UNSPECIFIED))?;
        Some(ChosenRoute { over: road.over, gateway: road.gateway, address, is_default: true })
    }

    /// The route of a packet that the Mac sends itself.
    ///
    /// # Errors
    /// The error that the sender gets instead.
    pub fn way(&self, from: Ipv4Addr, to: Ipv4Addr, sender: Sender) -> Result<ChosenRoute, SendError> {
        let (scope, known) = match sender {
            Sender::Pf => return self.path(to, None).ok_or(SendError::Unreachable),
            Sender::Tcp(came) => (None, self.path(to, came)),
            Sender::Udp | Sender::Raw => (None, None),
            Sender::Icmp(came) | Sender::Reset(came) => (came, None),
        };
        let has_ports = matches!(sender, Sender::Tcp(_) | Sender::Udp | Sender::Reset(_));
        let chosen = self.choose(from, to, has_ports, scope, known);
        if chosen.is_none() && scope != Some(Over::Loopback) {
            return Err(SendError::NotAvailable);
        }
        if let Some(known) = known.filter(|known| chosen == Some(known.over) || known.over == Over::Loopback)
        {
            return Ok(known);
        }
        // A source on lo0 does not restrict the interface: NAT is expected to replace it.
        let scope = scope.or(chosen).filter(|scope| *scope != Over::Loopback);
        self.path(to, scope).ok_or(SendError::Unreachable)
    }

    /// The interface that a source address selects (`in_selectsrcif`).
    fn choose(
        &self,
        from: Ipv4Addr,
        to: Ipv4Addr,
        has_ports: bool,
        scope: Option<Over>,
        known: Option<ChosenRoute>,
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
            // A forwarding Mac sends its own packets out of any interface whose network contains the destination.
            Some(path) if self.forwards && path.gateway.is_none() => Some(path.over),
            _ => Some(owner),
        }
    }

    fn has(&self, over: Over, address: Ipv4Addr) -> bool {
        self.link(over).is_some_and(|link| link.addresses.iter().any(|net| net.addr() == address))
    }
}
