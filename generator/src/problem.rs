//! The problems of a declaration, as data.
//!
//! A problem has the values that it is about. Only this module turns it into a message and a hint, so that text, JSON
//! and tests agree. Sees: place. Never: decides what is wrong (`input` and `model` do).

mod words;

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::place::FieldPath;

/// One problem with the declaration.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The kind of problem, with the values that it is about.
    pub kind: ProblemKind,
    /// The path of the value at fault.
    pub at: FieldPath,
    /// The paths of other values involved, such as the second of two networks that overlap.
    pub with: Vec<FieldPath>,
}

impl Problem {
    /// A problem that involves one value only.
    pub fn new(at: impl Into<FieldPath>, kind: ProblemKind) -> Self {
        Self { kind, at: at.into(), with: Vec::new() }
    }

    /// Adds the path of another value involved.
    #[must_use]
    pub fn with(mut self, other: impl Into<FieldPath>) -> Self {
        self.with.push(other.into());
        self
    }
}

/// The kinds of problems. The code (`E024`) of each is in [`ProblemKind::code`], its wording in [`ProblemKind::message`] and
/// [`ProblemKind::hint`].
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the words of each kind say what its fields are")]
pub enum ProblemKind {
    // The shape of the JSON.
    NotJson { line: usize, column: usize, reason: String },
    WrongType { expected: &'static str, found: String },
    Missing { field: &'static str },
    UnknownField { field: String, nearest: Option<&'static str> },
    Duplicate { key: String },
    Version { found: i64 },
    EmptyList { what: &'static str, optional: bool },
    UnknownWord { found: String, known: &'static [&'static str] },
    NumberOutOfRange { found: String, range: &'static str },
    // Names and paths.
    Name { found: String, longest: usize },
    ReservedName { found: String },
    NamesCollide { name: String, first: String, second: String },
    Path { found: String, reason: PathReason },
    PathsMeet { path: String, other: String, with: String },
    Anchor { found: String, reason: AnchorReason },
    // Networks and addresses.
    NotANetwork { found: String },
    NotAnAddress { found: String },
    HostBits { found: Ipv4Net },
    ReservedSpace { found: Ipv4Net, reserved: Ipv4Net, what: &'static str },
    NoRoom { found: Ipv4Net },
    NetworksOverlap { first: (String, Ipv4Net), second: (String, Ipv4Net), free: Option<Ipv4Net> },
    GatewayOutside { provider: String, gateway: Ipv4Net, network: Ipv4Net },
    GatewayWider { provider: String, gateway: Ipv4Net, network: Ipv4Net },
    EdgeAddress { address: Ipv4Addr, network: Ipv4Net, edge: Edge },
    // Regions.
    UnknownRegion { found: String, cloud: Option<&'static str>, nearest: Option<&'static str> },
    RegionOfAnother { found: &'static str, cloud: &'static str, of: &'static str, near: Option<&'static str> },
    // Volumes.
    UnknownProvider { found: String, nearest: Option<String> },
    AddressOutside { address: Ipv4Addr, provider: String, network: Ipv4Net, free: Option<Ipv4Addr> },
    AddressIsGateway { address: Ipv4Addr, of: String, free: Option<Ipv4Addr> },
    AddressTaken { address: Ipv4Addr, by: String, free: Option<Ipv4Addr> },
    Mac { found: String, reason: MacReason },
    MacTaken { mac: String, by: String },
    Interface { found: String },
    // Localhost aliases.
    NotLoopback { found: Ipv4Net },
    MacsOwn { found: Ipv4Addr },
    AliasOutside { alias: Ipv4Addr, range: Ipv4Net, free: Option<Ipv4Addr> },
    AliasIsGateway { alias: Ipv4Addr, free: Option<Ipv4Addr> },
    AliasTaken { alias: Ipv4Addr, by: String, free: Option<Ipv4Addr> },
    PublishWithoutAlias { volume: String },
    PublishTwice { alias: Ipv4Addr, port: u16 },
    PublishOnGuest { volume: String, address: Option<Ipv4Addr>, ports: String },
    // Links.
    UnknownEnd { found: String, nearest: Option<String> },
    LinkToItself { end: String },
    NotAPort { found: String, ranges: bool },
    PortsReversed { found: String, first: u16, last: u16 },
    PortsWithoutPorts { protocol: &'static str },
    WaysDiffer { from: String, to: String, other: usize },
    NoRegion { provider: String },
    LatencyTwice,
    // Several Macs.
    UnknownMac { found: String, nearest: Option<String> },
    MacWithoutMacs,
    ProviderOnNoMac { provider: String },
    ProviderOnTwoMacs { provider: String, first: String, second: String },
    Endpoint { found: String },
    EndpointInside { found: String, provider: String, network: Ipv4Net },
    EndpointTaken { found: String, by: String },
    PublicKey { found: String },
    PublicKeyTaken { by: String },
    MeshAddressReserved { address: Ipv4Addr, reserved: Ipv4Net, what: &'static str },
    MeshAddressInside { address: Ipv4Addr, provider: String, network: Ipv4Net },
    MeshAddressTaken { address: Ipv4Addr, by: String },
    // Warnings.
    PublicSpace { found: Ipv4Net },
    MasqueradeFromGuest { guest: String, address: Ipv4Addr, volume: String },
    JitterOnMac,
    MasqueradeFromMac { sender: String, address: Ipv4Addr, volume: String },
}

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words say it")]
pub enum PathReason {
    Relative,
    Root,
    NotNormal,
    HostileCharacter(char),
    TooLong,
    Shared,
    /// A character that newsyslog.conf cannot express.
    LogLine(char),
}

/// Why a MAC address is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words say it")]
pub enum MacReason {
    Form,
    Group,
    Nobody,
}

/// Why an anchor is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words say it")]
pub enum AnchorReason {
    NotAChild,
    Word,
    Apples,
    TooLong,
}

/// The addresses of a network that no interface can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the field's own words")]
pub enum Edge {
    Network,
    Broadcast,
}
