//! The addresses that a translation or a route chooses from.

use super::condition::Address;

/// `route-to (…)` and its variants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The variant.
    pub kind: RouteKind,
    /// The targets; empty for `fastroute`.
    pub pool: Pool,
}

/// The variants of policy routing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// `fastroute`.
    Fast,
    /// `route-to`.
    To,
    /// `reply-to`.
    Reply,
    /// `dup-to`.
    Dup,
}

/// The addresses from which a translation or a route chooses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// The members, in order.
    pub hosts: Vec<PoolHost>,
    /// How a member is chosen.
    pub kind: PoolKind,
    /// `sticky-address`.
    pub sticky: bool,
    /// `static-port`.
    pub static_port: bool,
    /// `port a:b`; for a single port b is 0. For nat without `port` and `static-port` it is the kernel's default
    /// range 50001:65535.
    pub ports: Option<(u16, u16)>,
    /// `extmap`, an extension of Apple.
    pub extmap: Option<EndpointKind>,
    /// `extfilter`, an extension of Apple.
    pub extfilter: Option<EndpointKind>,
}

/// A member of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolHost {
    /// The outgoing interface, for routes.
    pub interface: Option<String>,
    /// The address; `Any` if a route names only an interface.
    pub address: Address,
}

/// How a member of a pool is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PoolKind {
    /// The pool has a single address.
    #[default]
    None,
    /// `bitmask`.
    Bitmask,
    /// `random`.
    Random,
    /// `source-hash` with its key.
    SourceHash([u32; 4]),
    /// `round-robin`, explicit or implied by several addresses.
    RoundRobin,
}

/// How much of the remote endpoint a UDP mapping or filter depends on: Apple's `extmap` and `extfilter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndpointKind {
    /// `apd`: address and port dependent.
    AddressPortDependent,
    /// `ad`: address dependent.
    AddressDependent,
    /// `ei`: endpoint independent.
    EndpointIndependent,
}
