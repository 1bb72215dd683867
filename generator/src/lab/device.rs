//! The network of a node's namespace: its TUN device, addresses and routes.
//!
//! Everything here acts on the namespace of the calling thread.

use std::fs;
use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail};
use ipnet::Ipv4Net;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol, RouteScope,
    RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nixvol_net::router::{Node, NodeAttachment};
use tun_rs::{DeviceBuilder, SyncDevice};

/// The name of the TUN device in every namespace.
pub const NAME: &str = "eth0";
/// The interface index of the loopback device, the first in every namespace.
const LOOPBACK: u32 = 1;
/// The MSS that macOS announces on lo0: its MTU minus the IP and TCP headers.
const LOOPBACK_SEGMENT: u32 = 16_384 - HEADERS;
/// Length of the headers of a TCP segment.
const HEADERS: u32 = 40;
/// Transmit queue length of the TUN device in packets: a burst of one connection must fit.
const QUEUE: u32 = 4096;

/// Creates the TUN device of a node, with its addresses and routes.
pub fn make(node: &Node) -> Result<SyncDevice> {
    if !fs::exists("/dev/net/tun").unwrap_or(false) {
        bail!("there is no /dev/net/tun\nhint: `modprobe tun`, or let the container have the device");
    }
    let device = DeviceBuilder::new()
        .name(NAME)
        .offload(true)
        .enable(false)
        .build_sync()
        .context("cannot make a TUN device\nhint: /dev/net/tun must be readable and writable for you")?;
    let index = device.if_index().context("cannot find the TUN device")?;
    settle(node);
    let mut netlink = Netlink::open()?;
    netlink.up(LOOPBACK, None)?;
    if node.side == NodeAttachment::Here {
        // Aliases of volumes in 127/8 belong to other namespaces, so this one keeps 127.0.0.1 alone.
        netlink.remove_address(LOOPBACK, Ipv4Addr::LOCALHOST, 8)?;
        netlink.add_address(LOOPBACK, Ipv4Addr::LOCALHOST)?;
    }
    netlink.up(index, Some(node.mtu))?;
    for address in &node.addresses {
        netlink.add_address(index, *address)?;
    }
    let everywhere = Ipv4Net::default();
    let source = node.addresses.first().copied();
    if let Some(gateway) = node.gateway {
        netlink.add_route(index, Ipv4Net::from(gateway), None, None, None)?;
    }
    let segment = (node.side == NodeAttachment::Here).then_some(LOOPBACK_SEGMENT);
    // The MSS of a route is that of the interface that macOS would send by.
    let by = |mtu: Option<u16>| mtu.map_or(segment, |mtu| Some(u32::from(mtu) - HEADERS));
    netlink.add_route(index, everywhere, node.gateway, source, segment)?;
    for route in &node.routes {
        netlink.add_route(index, route.network, None, Some(route.source), by(route.mtu))?;
    }
    Ok(device)
}

/// Adds an address to the TUN device of the current namespace, or removes it.
pub fn borrow_address(address: Ipv4Addr, is_wanted: bool) -> Result<()> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("cannot make a socket")?;
    let index = rustix::net::netdevice::name_to_index(&socket, NAME).context("cannot find the TUN device")?;
    let mut netlink = Netlink::open()?;
    if is_wanted { netlink.add_address(index, address) } else { netlink.remove_address(index, address, 32) }
}

/// Sets sysctls: no IPv6, no reverse-path filter, loopback addresses on the TUN device for the Mac's own nodes, and
/// ordinary users may bind any port and ping. A kernel without one of them keeps its behaviour.
fn settle(node: &Node) {
    let ipv4 = "/proc/sys/net/ipv4";
    let mut switches = vec![
        ("/proc/sys/net/ipv6/conf/all/disable_ipv6".to_owned(), "1"),
        ("/proc/sys/net/ipv6/conf/default/disable_ipv6".to_owned(), "1"),
        (format!("{ipv4}/ip_unprivileged_port_start"), "0"),
    ];
    // A user namespace rejects group ids without a mapping; then only group 0 is allowed.
    let pings = format!("{ipv4}/ping_group_range");
    if fs::write(&pings, "0 2147483647").is_err()
        && let Err(error) = fs::write(&pings, "0 0")
    {
        eprintln!("note: cannot write {pings} ({error}): ping will not work");
    }
    for scope in ["all", "default", NAME] {
        switches.push((format!("{ipv4}/conf/{scope}/rp_filter"), "0"));
        if node.side == NodeAttachment::Here {
            switches.push((format!("{ipv4}/conf/{scope}/route_localnet"), "1"));
        }
    }
    for (switch, value) in switches {
        if let Err(error) = fs::write(&switch, value)
            && switch.contains("route_localnet")
        {
            eprintln!("note: cannot write {switch} ({error}): localhost aliases will not answer");
        }
    }
}

/// A netlink socket for devices, addresses and routes.
struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    fn open() -> Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE).context("cannot speak with the kernel (netlink)")?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    fn ask(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<()> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let (answer, _) = self.socket.recv_from_full()?;
        match NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)?.payload {
            NetlinkPayload::Error(error) => match error.code {
                None => Ok(()),
                Some(_) => Err(error.to_io().into()),
            },
            other => bail!("the kernel answered {other:?}"),
        }
    }

    fn up(&mut self, index: u32, mtu: Option<u16>) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        if let Some(mtu) = mtu {
            message.attributes.push(LinkAttribute::Mtu(mtu.into()));
            message.attributes.push(LinkAttribute::TxQueueLen(QUEUE));
        }
        self.ask(RouteNetlinkMessage::SetLink(message), 0).context("cannot bring a device up")
    }

    fn add_address(&mut self, index: u32, address: Ipv4Addr) -> Result<()> {
        let message = RouteNetlinkMessage::NewAddress(address_message(index, address, 32));
        self.ask(message, NLM_F_CREATE | NLM_F_EXCL).with_context(|| format!("cannot add {address}"))
    }

    fn remove_address(&mut self, index: u32, address: Ipv4Addr, prefix: u8) -> Result<()> {
        let message = RouteNetlinkMessage::DelAddress(address_message(index, address, prefix));
        self.ask(message, 0).with_context(|| format!("cannot remove {address}/{prefix}"))
    }

    fn add_route(
        &mut self,
        index: u32,
        network: Ipv4Net,
        gateway: Option<Ipv4Addr>,
        source: Option<Ipv4Addr>,
        segment: Option<u32>,
    ) -> Result<()> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.destination_prefix_length = network.prefix_len();
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Boot;
        message.header.kind = RouteType::Unicast;
        message.header.scope = if gateway.is_some() { RouteScope::Universe } else { RouteScope::Link };
        let attributes = [
            (network.prefix_len() > 0)
                .then(|| RouteAttribute::Destination(RouteAddress::Inet(network.addr()))),
            Some(RouteAttribute::Oif(index)),
            gateway.map(|gateway| RouteAttribute::Gateway(RouteAddress::Inet(gateway))),
            source.map(|source| RouteAttribute::PrefSource(RouteAddress::Inet(source))),
            segment.map(|segment| RouteAttribute::Metrics(vec![RouteMetric::Advmss(segment)])),
        ];
        message.attributes.extend(attributes.into_iter().flatten());
        self.ask(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL)
            .with_context(|| format!("cannot add the route to {network}"))
    }
}

fn address_message(index: u32, address: Ipv4Addr, prefix: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.index = index;
    message.header.prefix_len = prefix;
    message.header.scope = if index == LOOPBACK { AddressScope::Host } else { AddressScope::Universe };
    message.attributes =
        vec![AddressAttribute::Address(address.into()), AddressAttribute::Local(address.into())];
    message
}
