//! The structure of a parsed ruleset: what pfctl passes to the kernel.
//!
//! It exists so that evaluation and printing share one structure: macros are expanded, lists are multiplied out,
//! names of hosts and ports are resolved, and every rule has one address per side, one port and one protocol. What
//! matters only for the printed form (macros as written, the order of settings) is kept separately. Sees: nothing.
//! Never: text, or a decision about a packet.

// The flags of a rule are independent of each other, as in the kernel.
#![allow(clippy::struct_excessive_bools)]

use std::net::IpAddr;

mod setting;

pub use setting::{
    BlockPolicy, LoadAnchor, SetOption, Setting, SettingValue, StatePolicy, Table, TableEntry, TableSource,
};

/// A position in the input: a file (0 is the main one, see [`Ruleset::files`]), and line and column, both from 1.
/// Columns count bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Index into [`Ruleset::files`] of the main ruleset.
    pub file: u32,
    /// The line, from 1.
    pub line: u32,
    /// The column in bytes, from 1.
    pub column: u32,
}

/// One ruleset: a whole file, or the braces of an anchor.
///
/// The six lists are numbered separately, as in the kernel: `rules.filter[i].number == i`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Names of the files that places refer to; empty in nested rulesets.
    pub files: Vec<String>,
    /// Macros, options and tables in the order of the file; empty in nested rulesets.
    pub settings: Vec<Setting>,
    /// The rules by list.
    pub rules: Rules,
    /// `load anchor` statements in order, with the rulesets read for them; empty in nested rulesets.
    pub loads: Vec<LoadAnchor>,
    /// Remarks that are not errors; empty in nested rulesets.
    pub notes: Vec<Note>,
}

/// A remark about an input that is valid all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The position that it refers to.
    pub place: Place,
    /// The text, one sentence.
    pub message: String,
}

impl Ruleset {
    /// A copy without positions and file names, to compare rulesets for equal meaning.
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

/// The six lists of a ruleset, in the order in which pfctl prints them.
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
    /// The lists, in the order in which pfctl prints them.
    pub fn lists(&self) -> [&Vec<Rule>; 6] {
        [&self.scrub, &self.nat, &self.rdr, &self.binat, &self.filter, &self.dummynet]
    }

    /// Number of rules, including those in braces.
    pub fn count(&self) -> usize {
        let inside = |rule: &Rule| {
            let body = rule.anchor.as_ref().and_then(|call| call.body.as_ref());
            1 + body.map_or(0, |body| body.rules.count())
        };
        self.lists().into_iter().flatten().map(inside).sum()
    }

    /// Whether all lists are empty.
    pub fn is_empty(&self) -> bool {
        self.lists().iter().all(|list| list.is_empty())
    }
}

/// A rule as the kernel holds it. Fields that do not apply to the rule's action are empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Where the statement begins that it was expanded from.
    pub place: Place,
    /// Its number in its list.
    pub number: u32,
    /// The action.
    pub action: Action,
    /// The call of `anchor`, `nat-anchor` and so on; the action is then `Pass`, `Nat` and so on.
    pub anchor: Option<AnchorCall>,
    /// `in` or `out`; `None` matches both.
    pub direction: Option<Direction>,
    /// `log`.
    pub log: Log,
    /// `quick`.
    pub quick: bool,
    /// `on`.
    pub interface: Option<Interface>,
    /// `inet` or `inet6`, explicit or derived from addresses.
    pub family: Option<Family>,
    /// The protocol number; `None` matches all protocols.
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
    /// `flags A/B`; `0/0` is represented as `None`.
    pub tcp_flags: Option<TcpFlags>,
    /// `tos`; 0 for none.
    pub tos: u8,
    /// `keep state` and its variants.
    pub state: StateKind,
    /// The options in parentheses after it.
    pub state_options: StateOptions,
    /// `fragment`.
    pub fragment: bool,
    /// `allow-opts`.
    pub allow_opts: bool,
    /// `label "…"`, with variables substituted.
    pub label: Option<String>,
    /// `tag …`, with variables substituted.
    pub tag: Option<String>,
    /// `tagged …`.
    pub tagged: Option<Tagged>,
    /// `probability` as a fraction of 2^32; 0 for none.
    pub probability: u32,
    /// `rtable`.
    pub rtable: Option<u32>,
    /// `route-to`, `reply-to`, `dup-to`, `fastroute`.
    pub route: Option<Route>,
    /// `-> …` of nat, rdr and binat.
    pub redirect: Option<Pool>,
    /// `nat pass`, `rdr pass`: matching packets skip the filter.
    pub nat_pass: bool,
    /// The options of a scrub rule.
    pub scrub: Scrub,
    /// `pipe N` or `queue N` of a dummynet rule.
    pub dummynet: Option<Dummynet>,
}

impl Rule {
    /// A rule that matches all packets.
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

/// The action of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `pass`, also for `anchor` calls.
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

/// How a blocking rule answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// `block drop`.
    Drop,
    /// `block return`: a RST for TCP, an ICMP unreachable with these codes for other protocols.
    Return {
        /// ICMP type and code for IPv4.
        icmp: (u8, u8),
        /// ICMP type and code for IPv6.
        icmp6: (u8, u8),
    },
    /// `block return-rst`.
    ReturnRst {
        /// The TTL of the RST; 0 for the system default.
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

/// `log`, `log (all, user, to pflog0)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// Whether the rule logs.
    pub on: bool,
    /// Log every packet of the state, not only the first.
    pub all: bool,
    /// Log the owner of the socket as well.
    pub user: bool,
    /// The unit of the pflog interface.
    pub interface: u8,
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
pub struct Endpoint {
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

/// Whether a matching packet creates a state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StateKind {
    /// No state: `no state`, `block`, and rules that cannot create one.
    #[default]
    None,
    /// `keep state`.
    Keep,
    /// `modulate state`.
    Modulate,
    /// `synproxy state`.
    Synproxy,
}

/// The options in parentheses after `keep state`. Zero means absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateOptions {
    /// `max`.
    pub max: u32,
    /// `no-sync`.
    pub no_sync: bool,
    /// `source-track`, explicit or implied.
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
    /// `if-bound`, or the policy of `set state-policy`.
    pub policy: StatePolicy,
    /// `sloppy`.
    pub sloppy: bool,
    /// Timeouts by name (`tcp.first`, …) in seconds, in the kernel's order.
    pub timeouts: Vec<(&'static str, u32)>,
}

/// The scope of `source-track`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceTrack {
    /// One count for all rules.
    Global,
    /// A count per rule.
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
    /// Whether `!` negates it.
    pub not: bool,
    /// The tag.
    pub tag: String,
}

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

/// The options of a scrub rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrub {
    /// `no-df`.
    pub no_df: bool,
    /// `random-id`.
    pub random_id: bool,
    /// `min-ttl`; 0 for none.
    pub min_ttl: u8,
    /// `max-mss`; 0 for none.
    pub max_mss: u16,
    /// `reassemble tcp`.
    pub reassemble_tcp: bool,
    /// `fragment …`.
    pub fragments: FragmentCache,
}

/// What a scrub rule does with fragments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FragmentCache {
    /// `fragment reassemble`, the default.
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

/// The call in an anchor rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnchorCall {
    /// The name as printed (`foo`, `com.apple/*`, `/abs`, `../up`); empty for unnamed braces.
    pub name: String,
    /// The path of the called ruleset, relative to the one with this rule (`foo`, `com.apple`), without the trailing
    /// `*`. Unnamed braces get a generated name that begins with `_`.
    pub path: String,
    /// Whether the name ends in `*`, so that every direct child is visited.
    pub wildcard: bool,
    /// The ruleset in braces, if any.
    pub body: Option<Box<Ruleset>>,
}
