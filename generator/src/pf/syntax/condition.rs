//! The conditions of a rule.

// The modifiers of an interface's addresses are independent of each other, as in the kernel.
#![allow(clippy::struct_excessive_bools)]

use std::net::IpAddr;

/// The direction of a packet at an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Incoming.
    In,
    /// Outgoing.
    Out,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
}

/// An interface. Names match exactly: macOS has no interface groups.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Interface {
    /// Whether `!` negates it: `! en0`.
    pub not: bool,
    /// The name.
    pub name: String,
}

/// The conditions on one side of a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostMatch {
    /// Whether `!` negates the address.
    pub not: bool,
    /// The condition on the address.
    pub address: Address,
    /// The condition on the port, if any.
    pub port: Option<PortMatch>,
}

/// An address in a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Address {
    /// Any address; also `0.0.0.0/0` and `::/0`, which the rule's family distinguishes.
    #[default]
    Any,
    /// A prefix, of full length for a single address. Bits beyond the prefix are zero.
    Prefix {
        /// The network address.
        address: IpAddr,
        /// The prefix length: at most 32 or 128.
        prefix: u8,
    },
    /// `a - b`, bounds included.
    Range(IpAddr, IpAddr),
    /// `(en0)` and its modifiers: the current addresses of the interface.
    Dynamic(Dynamic),
    /// `<name>`.
    Table(String),
    /// `no-route`.
    NoRoute,
    /// `urpf-failed`.
    UrpfFailed,
    /// `route "label"`.
    RouteLabel(String),
}

/// An address that follows an interface: `(en0:network:0)/24`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dynamic {
    /// The name of the interface.
    pub interface: String,
    /// `:network`.
    pub network: bool,
    /// `:broadcast`.
    pub broadcast: bool,
    /// `:peer`.
    pub peer: bool,
    /// `:0`: without alias addresses.
    pub no_alias: bool,
    /// `/24`, if given.
    pub prefix: Option<u8>,
}

/// A condition on a port.
pub type PortMatch = NumberMatch<u16>;
/// A condition on a user or group id.
pub type IdMatch = NumberMatch<u32>;
/// The id that `unknown` stands for.
pub const UNKNOWN_ID: u32 = u32::MAX;

/// A condition on a number. Values are in host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NumberMatch<T> {
    /// `= a`.
    Equal(T),
    /// `!= a`.
    NotEqual(T),
    /// `< a`.
    Less(T),
    /// `<= a`.
    LessEqual(T),
    /// `> a`.
    Greater(T),
    /// `>= a`.
    GreaterEqual(T),
    /// `a:b`: bounds included.
    Range(T, T),
    /// `a >< b`: bounds excluded.
    Inside(T, T),
    /// `a <> b`: less than a or greater than b.
    Outside(T, T),
}

impl<T: PartialOrd + Copy> NumberMatch<T> {
    /// Whether `value` fulfils the condition.
    pub fn matches(&self, value: T) -> bool {
        match *self {
            Self::Equal(a) => value == a,
            Self::NotEqual(a) => value != a,
            Self::Less(a) => value < a,
            Self::LessEqual(a) => value <= a,
            Self::Greater(a) => value > a,
            Self::GreaterEqual(a) => value >= a,
            Self::Range(a, b) => value >= a && value <= b,
            Self::Inside(a, b) => value > a && value < b,
            Self::Outside(a, b) => value < a || value > b,
        }
    }
}

/// An ICMP type and code; the rule's protocol determines ICMP or ICMPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Icmp {
    /// The type.
    pub kind: u8,
    /// The code; `None` matches all codes.
    pub code: Option<u8>,
}

/// `flags SET/MASK`, as bits of the TCP header: F S R P A U E W from the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TcpFlags {
    /// The bits that must be set.
    pub set: u8,
    /// The bits that are compared.
    pub mask: u8,
}

/// `tagged x`, `! tagged x`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tagged {
    /// Whether `!` negates it.
    pub not: bool,
    /// The tag.
    pub tag: String,
}
