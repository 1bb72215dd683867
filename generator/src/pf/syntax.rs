//! The shape of a loaded ruleset: what a kernel holds after pfctl has read a file.
//!
//! It exists so that evaluation and printing share one structure: macros are gone, lists are multiplied out, names
//! of hosts and ports are numbers, and every rule has one address, one port and one protocol. What matters only to a
//! reader of the printed form (macros as they were written, the order of settings) is kept separately. Sees:
//! nothing. Never: text, or a decision about a packet.

// The flags of a rule are independent of each other, as they are in the kernel.
#![allow(clippy::struct_excessive_bools)]

use std::net::IpAddr;

mod setting;

pub use setting::{
    BlockPolicy, LoadAnchor, SetOption, Setting, SettingValue, StatePolicy, Table, TableEntry, TableSource,
};

/// Where in the input a thing stands: a file (0 is the main one, see [`Ruleset::files`]), and a line and a
/// column that both start at 1. Columns count bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Index into [`Ruleset::files`] of the root.
    pub file: u32,
    /// The line, from 1.
    pub line: u32,
    /// The column in bytes, from 1.
    pub column: u32,
}

/// One ruleset: the main one, or what stands between the braces of an anchor.
///
/// The six lists are numbered apart, as the kernel numbers them: `rules.filter[i].number == i`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Names of the files that places refer to; empty in nested rulesets.
    pub files: Vec<String>,
    /// Macros, options and tables in the order in which they were read; empty in nested rulesets.
    pub settings: Vec<Setting>,
    /// The rules, list by list.
    pub rules: Rules,
    /// `load anchor` statements, in order, and what was read for them; empty in nested rulesets.
    pub loads: Vec<LoadAnchor>,
    /// What there is to say though nothing is wrong; empty in nested rulesets.
    pub notes: Vec<Note>,
}

/// Something that a reader of a file should know, and that makes it no worse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it is about.
    pub place: Place,
    /// A sentence.
    pub message: String,
}

impl Ruleset {
    /// The same ruleset without places and names of files: what two inputs have in common that say the same.
    #[must_use]
    pub fn without_places(&self) -> Self {
        let mut plain = self.clone();
        plain.files.clear();
        plain.notes.clear();
        plain.settings.iter_mut().for_each(|setting| setting.place = Place::default());
        for load in &mut plain.loads {
            load.place = Place::default();
            load.ruleset = load.ruleset.take().map(|ruleset| Box::new(ruleset.without_places()));
        }
        let rules = &mut plain.rules;
        let lists = [&mut rules.scrub, &mut rules.nat, &mut rules.rdr, &mut rules.binat];
        for rule in lists.into_iter().chain([&mut rules.filter, &mut rules.dummynet]).flatten() {
            rule.place = Place::default();
            if let Some(call) = &mut rule.anchor {
                call.path = if call.name.is_empty() { String::new() } else { std::mem::take(&mut call.path) };
                call.body = call.body.take().map(|body| Box::new(body.without_places()));
            }
        }
        plain
    }
}

/// The six lists of one ruleset, in the order in which pfctl prints them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// `scrub`, `no scrub` and `scrub-anchor`.
    pub scrub: Vec<Rule>,
    /// `nat`, `no nat` and `nat-anchor`.
    pub nat: Vec<Rule>,
    /// `rdr`, `no rdr` and `rdr-anchor`.
    pub rdr: Vec<Rule>,
    /// `binat`, `no binat` and `binat-anchor`.
    pub binat: Vec<Rule>,
    /// `pass`, `block`, `antispoof` as expanded, and `anchor`.
    pub filter: Vec<Rule>,
    /// `dummynet`, `no dummynet` and `dummynet-anchor`: Apple's own list.
    pub dummynet: Vec<Rule>,
}

impl Rules {
    /// The lists in pfctl's order of printing.
    pub fn lists(&self) -> [&Vec<Rule>; 6] {
        [&self.scrub, &self.nat, &self.rdr, &self.binat, &self.filter, &self.dummynet]
    }

    /// How many rules there are, those between braces included.
    pub fn count(&self) -> usize {
        let inside = |rule: &Rule| {
            let body = rule.anchor.as_ref().and_then(|call| call.body.as_ref());
            1 + body.map_or(0, |body| body.rules.count())
        };
        self.lists().into_iter().flatten().map(inside).sum()
    }

    /// True when no list holds a rule.
    pub fn is_empty(&self) -> bool {
        self.lists().iter().all(|list| list.is_empty())
    }
}

/// A rule as the kernel holds it. Fields that make no sense for the rule's action have their empty value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Where the statement that it came from begins.
    pub place: Place,
    /// Its number inside its list.
    pub number: u32,
    /// What it does.
    pub action: Action,
    /// For `anchor`, `nat-anchor` and so on: what it calls. The action is then `Pass`, `Nat`, `Rdr`, …
    pub anchor: Option<AnchorCall>,
    /// `in` or `out`; none is both.
    pub direction: Option<Direction>,
    /// `log`.
    pub log: Log,
    /// `quick`.
    pub quick: bool,
    /// `on`.
    pub interface: Option<Interface>,
    /// `inet` or `inet6`, written or derived from addresses.
    pub family: Option<Family>,
    /// The protocol's number; none matches all.
    pub protocol: Option<u8>,
    /// `from`.
    pub source: Endpoint,
    /// `to`.
    pub destination: Endpoint,
    /// `os "…"`.
    pub os: Option<String>,
    /// `user`.
    pub user: Option<IdMatch>,
    /// `group`.
    pub group: Option<IdMatch>,
    /// `icmp-type`, `icmp6-type` and `code`.
    pub icmp: Option<Icmp>,
    /// `flags A/B`; `0/0` never stands here, it is `None`.
    pub tcp_flags: Option<TcpFlags>,
    /// `tos`: 0 is none.
    pub tos: u8,
    /// `keep state` and its relatives.
    pub state: StateKind,
    /// What is in parentheses after it.
    pub state_options: StateOptions,
    /// `fragment`.
    pub fragment: bool,
    /// `allow-opts`.
    pub allow_opts: bool,
    /// `label "…"`, with its variables filled in.
    pub label: Option<String>,
    /// `tag …`, with its variables filled in.
    pub tag: Option<String>,
    /// `tagged …`.
    pub tagged: Option<Tagged>,
    /// `probability`: out of 2^32; 0 is none.
    pub probability: u32,
    /// `rtable`.
    pub rtable: Option<u32>,
    /// `route-to`, `reply-to`, `dup-to`, `fastroute`.
    pub route: Option<Route>,
    /// `-> …` of nat, rdr and binat.
    pub redirect: Option<Pool>,
    /// `nat pass`, `rdr pass`: skip the filter.
    pub nat_pass: bool,
    /// What a scrub rule does.
    pub scrub: Scrub,
    /// `pipe N` or `queue N` of a dummynet rule.
    pub dummynet: Option<Dummynet>,
}

impl Rule {
    /// A rule that does `action` to everything.
    pub fn new(action: Action) -> Self {
        Self {
            place: Place::default(),
            number: 0,
            action,
            anchor: None,
            direction: None,
            log: Log::default(),
            quick: false,
            interface: None,
            family: None,
            protocol: None,
            source: Endpoint::default(),
            destination: Endpoint::default(),
            os: None,
            user: None,
            group: None,
            icmp: None,
            tcp_flags: None,
            tos: 0,
            state: StateKind::None,
            state_options: StateOptions::default(),
            fragment: false,
            allow_opts: false,
            label: None,
            tag: None,
            tagged: None,
            probability: 0,
            rtable: None,
            route: None,
            redirect: None,
            nat_pass: false,
            scrub: Scrub::default(),
            dummynet: None,
        }
    }
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `pass`, and the action of an `anchor` call.
    Pass,
    /// `block`.
    Block(Block),
    /// `scrub`.
    Scrub,
    /// `no scrub`.
    NoScrub,
    /// `nat`.
    Nat,
    /// `no nat`.
    NoNat,
    /// `rdr`.
    Rdr,
    /// `no rdr`.
    NoRdr,
    /// `binat`.
    Binat,
    /// `no binat`.
    NoBinat,
    /// `dummynet`.
    Dummynet,
    /// `no dummynet`.
    NoDummynet,
}

/// How a block answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// `block drop`.
    Drop,
    /// `block return`: a RST for tcp, for others an unreachable with these codes.
    Return {
        /// ICMP type and code for IPv4.
        icmp: (u8, u8),
        /// ICMP type and code for IPv6.
        icmp6: (u8, u8),
    },
    /// `block return-rst`, with a TTL or 0.
    ReturnRst {
        /// The TTL of the answer; 0 is the system's.
        ttl: u8,
    },
    /// `block return-icmp` or `return-icmp6`.
    ReturnIcmp {
        /// ICMP type and code for IPv4.
        icmp: (u8, u8),
        /// ICMP type and code for IPv6.
        icmp6: (u8, u8),
    },
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Into this machine.
    In,
    /// Out of it.
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

/// `log`, `log (all, user, to pflog0)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// It logs at all.
    pub on: bool,
    /// Every packet of the state.
    pub all: bool,
    /// The owner of the socket too.
    pub user: bool,
    /// The unit of the pflog interface.
    pub interface: u8,
}

/// An interface, exactly named: macOS has no interface groups.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Interface {
    /// `! en0`.
    pub not: bool,
    /// The name.
    pub name: String,
}

/// One side of a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// `!` before the address.
    pub not: bool,
    /// The address.
    pub address: Address,
    /// The port.
    pub port: Option<PortMatch>,
}

/// An address in a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Address {
    /// Every address; `0.0.0.0/0` and `::/0` too, the rule's family tells them apart.
    #[default]
    Any,
    /// A prefix; a single address has the full length. Bits beyond the prefix are cleared.
    Prefix {
        /// The address.
        address: IpAddr,
        /// The length: 0 to 32 or 128.
        prefix: u8,
    },
    /// `a - b`, both included.
    Range(IpAddr, IpAddr),
    /// `(en0)` and its modifiers: follows the interface.
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
    /// The interface.
    pub interface: String,
    /// `:network`.
    pub network: bool,
    /// `:broadcast`.
    pub broadcast: bool,
    /// `:peer`.
    pub peer: bool,
    /// `:0`: no aliases.
    pub no_alias: bool,
    /// `/24`, where written.
    pub prefix: Option<u8>,
}

/// A condition on a port.
pub type PortMatch = NumberMatch<u16>;
/// A condition on a user or group number.
pub type IdMatch = NumberMatch<u32>;
/// The number that `user unknown` stands for.
pub const UNKNOWN_ID: u32 = u32::MAX;

/// A condition on a number, in host order.
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
    /// `a:b`: both included.
    Range(T, T),
    /// `a >< b`: neither included.
    Inside(T, T),
    /// `a <> b`: below a or above b.
    Outside(T, T),
}

impl<T: PartialOrd + Copy> NumberMatch<T> {
    /// Whether `value` fulfils it.
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

/// An ICMP type and code; which ICMP it is follows from the rule's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Icmp {
    /// The type.
    pub kind: u8,
    /// The code; none matches all.
    pub code: Option<u8>,
}

/// `flags SET/MASK`, as the bits of a TCP header: F S R P A U E W from the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TcpFlags {
    /// The bits that are set.
    pub set: u8,
    /// The bits that are looked at.
    pub mask: u8,
}

/// Whether a match makes a state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StateKind {
    /// No state: `no state`, every `block`, and rules that cannot have one.
    #[default]
    None,
    /// `keep state`.
    Keep,
    /// `modulate state`.
    Modulate,
    /// `synproxy state`.
    Synproxy,
}

/// What is in parentheses behind `keep state`. Zero is the same as absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateOptions {
    /// `max`.
    pub max: u32,
    /// `no-sync`.
    pub no_sync: bool,
    /// `source-track`, written or implied.
    pub source_track: Option<SourceTrack>,
    /// `max-src-states`.
    pub max_src_states: u32,
    /// `max-src-conn`.
    pub max_src_conn: u32,
    /// `max-src-conn-rate LIMIT / SECONDS`.
    pub max_src_conn_rate: Option<(u32, u32)>,
    /// `max-src-nodes`.
    pub max_src_nodes: u32,
    /// `overload <table> flush global`.
    pub overload: Option<Overload>,
    /// `if-bound`, or `set state-policy`.
    pub policy: StatePolicy,
    /// `sloppy`.
    pub sloppy: bool,
    /// Timeouts by name (`tcp.first`, …), in the kernel's order.
    pub timeouts: Vec<(&'static str, u32)>,
}

/// How far `source-track` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceTrack {
    /// Over all rules.
    Global,
    /// For this rule.
    Rule,
}

/// `overload <table> flush global`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Overload {
    /// The table.
    pub table: String,
    /// `flush`.
    pub flush: bool,
    /// `flush global`.
    pub global: bool,
}

/// `tagged x`, `! tagged x`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tagged {
    /// `!`.
    pub not: bool,
    /// The tag.
    pub tag: String,
}

/// `route-to (…)` and its relatives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Which of them.
    pub kind: RouteKind,
    /// Where to; empty for `fastroute`.
    pub pool: Pool,
}

/// The four ways to route by rule.
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

/// The addresses that a translation or a route chooses from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// The members, in order.
    pub hosts: Vec<PoolHost>,
    /// How one is chosen.
    pub kind: PoolKind,
    /// `sticky-address`.
    pub sticky: bool,
    /// `static-port`.
    pub static_port: bool,
    /// `port a:b`; a single port has b = 0. For nat without `port` and without `static-port` the kernel's
    /// default range 50001:65535 stands here.
    pub ports: Option<(u16, u16)>,
    /// `extmap`: Apple's.
    pub extmap: Option<EndpointKind>,
    /// `extfilter`: Apple's.
    pub extfilter: Option<EndpointKind>,
}

/// A member of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolHost {
    /// Where to send, for routes.
    pub interface: Option<String>,
    /// The address; `Any` where a route names an interface only.
    pub address: Address,
}

/// How a member of a pool is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PoolKind {
    /// The only one.
    #[default]
    None,
    /// `bitmask`.
    Bitmask,
    /// `random`.
    Random,
    /// `source-hash`, with its key.
    SourceHash([u32; 4]),
    /// `round-robin`, written or implied by more than one address.
    RoundRobin,
}

/// How much of the far end a translation remembers: Apple's `extmap` and `extfilter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndpointKind {
    /// `apd`: address and port dependent.
    AddressPortDependent,
    /// `ad`: address dependent.
    AddressDependent,
    /// `ei`: endpoint independent.
    EndpointIndependent,
}

/// What a scrub rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrub {
    /// `no-df`.
    pub no_df: bool,
    /// `random-id`.
    pub random_id: bool,
    /// `min-ttl`; 0 is none.
    pub min_ttl: u8,
    /// `max-mss`; 0 is none.
    pub max_mss: u16,
    /// `reassemble tcp`.
    pub reassemble_tcp: bool,
    /// `fragment …`.
    pub fragments: FragmentCache,
}

/// What scrub does with fragments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FragmentCache {
    /// `fragment reassemble`: the default.
    #[default]
    Reassemble,
    /// `fragment crop`.
    Crop,
    /// `fragment drop-ovl`.
    DropOverlap,
}

/// The target of a dummynet rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dummynet {
    /// `pipe N`.
    Pipe(u16),
    /// `queue N`.
    Queue(u16),
}

/// What an anchor rule calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnchorCall {
    /// The name as printed (`foo`, `com.apple/*`, `/abs`, `../up`); empty for unnamed braces.
    pub name: String,
    /// The path of the ruleset below the one that holds this rule (`foo`, `com.apple`), without the final
    /// `*`. For unnamed braces a name of its own that begins with `_`.
    pub path: String,
    /// The name ends in `*`: every direct child is visited.
    pub wildcard: bool,
    /// What is in braces, where it does.
    pub body: Option<Box<Ruleset>>,
}
