//! Names in pf that stand for numbers: pf's own (ICMP types and codes, flags, timeouts), and those of ports,
//! protocols, users and groups, which depend on the system.
//!
//! It exists so that the parser and the printer use the same tables. Sees: the tables of the systems. Never: a rule.

use super::syntax::Family;
use super::{macos, openbsd};

/// The system whose names a ruleset uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// macOS, whose pfctl prints ports as numbers.
    #[default]
    MacOs,
    /// OpenBSD, whose pfctl prints ports by name.
    OpenBsd,
}

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMP: u8 = 1;
pub(super) const ICMP6: u8 = 58;

/// ICMP type and code of a port unreachable.
pub(super) const PORT_UNREACHABLE: (u8, u8) = (3, 3);
/// ICMPv6 type and code of a port unreachable.
pub(super) const PORT_UNREACHABLE6: (u8, u8) = (1, 4);

/// The letters of TCP flags, from the lowest bit.
pub(super) const FLAG_LETTERS: &str = "FSRPAUEW";

static ICMP_TYPES: &[(&str, u8)] = &[
    ("echoreq", 8),
    ("echorep", 0),
    ("unreach", 3),
    ("squench", 4),
    ("redir", 5),
    ("althost", 6),
    ("routeradv", 9),
    ("routersol", 10),
    ("timex", 11),
    ("paramprob", 12),
    ("timereq", 13),
    ("timerep", 14),
    ("inforeq", 15),
    ("inforep", 16),
    ("maskreq", 17),
    ("maskrep", 18),
    ("trace", 30),
    ("dataconv", 31),
    ("mobredir", 32),
    ("ipv6-where", 33),
    ("ipv6-here", 34),
    ("mobregreq", 35),
    ("mobregrep", 36),
    ("photuris", 40),
];

static ICMP6_TYPES: &[(&str, u8)] = &[
    ("unreach", 1),
    ("toobig", 2),
    ("timex", 3),
    ("paramprob", 4),
    ("echoreq", 128),
    ("echorep", 129),
    ("groupqry", 130),
    ("listqry", 130),
    ("grouprep", 131),
    ("listenrep", 131),
    ("groupterm", 132),
    ("listendone", 132),
    ("routersol", 133),
    ("routeradv", 134),
    ("neighbrsol", 135),
    ("neighbradv", 136),
    ("redir", 137),
    ("routrrenum", 138),
    ("wrureq", 139),
    ("wrurep", 140),
    ("fqdnreq", 139),
    ("fqdnrep", 140),
    ("niqry", 139),
    ("nirep", 140),
    ("mtraceresp", 200),
    ("mtrace", 201),
];

static ICMP_CODES: &[(&str, u8, u8)] = &[
    ("net-unr", 3, 0),
    ("host-unr", 3, 1),
    ("proto-unr", 3, 2),
    ("port-unr", 3, 3),
    ("needfrag", 3, 4),
    ("srcfail", 3, 5),
    ("net-unk", 3, 6),
    ("host-unk", 3, 7),
    ("isolate", 3, 8),
    ("net-prohib", 3, 9),
    ("host-prohib", 3, 10),
    ("net-tos", 3, 11),
    ("host-tos", 3, 12),
    ("filter-prohib", 3, 13),
    ("host-preced", 3, 14),
    ("cutoff-preced", 3, 15),
    ("redir-net", 5, 0),
    ("redir-host", 5, 1),
    ("redir-tos-net", 5, 2),
    ("redir-tos-host", 5, 3),
    ("normal-adv", 9, 0),
    ("common-adv", 9, 16),
    ("transit", 11, 0),
    ("reassemb", 11, 1),
    ("badhead", 12, 0),
    ("optmiss", 12, 1),
    ("badlen", 12, 2),
    ("unknown-ind", 40, 1),
    ("auth-fail", 40, 2),
    ("decrypt-fail", 40, 3),
];

static ICMP6_CODES: &[(&str, u8, u8)] = &[
    ("admin-unr", 1, 1),
    ("noroute-unr", 1, 0),
    ("notnbr-unr", 1, 2),
    ("beyond-unr", 1, 2),
    ("addr-unr", 1, 3),
    ("port-unr", 1, 4),
    ("transit", 3, 0),
    ("reassemb", 3, 1),
    ("badhead", 4, 0),
    ("nxthdr", 4, 1),
    ("redironlink", 137, 0),
    ("redirrouter", 137, 1),
];

/// The names of timeouts, in the kernel's order.
pub(super) static TIMEOUTS: &[&str] = &[
    "tcp.first",
    "tcp.opening",
    "tcp.established",
    "tcp.closing",
    "tcp.finwait",
    "tcp.closed",
    "udp.first",
    "udp.single",
    "udp.multiple",
    "icmp.first",
    "icmp.error",
    "grev1.first",
    "grev1.initiating",
    "grev1.established",
    "esp.first",
    "esp.initiating",
    "esp.established",
    "other.first",
    "other.single",
    "other.multiple",
    "frag",
    "interval",
    "adaptive.start",
    "adaptive.end",
    "src.track",
    "tcp.tsdiff",
];

/// The limits of `set limit`.
pub(super) static LIMITS: &[&str] = &["states", "src-nodes", "frags", "tables", "table-entries"];

/// The profiles of `set optimization`.
pub(super) static OPTIMIZATIONS: &[&str] =
    &["normal", "satellite", "high-latency", "conservative", "aggressive"];

fn by_name<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    table.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

fn icmp_types(family: Family) -> &'static [(&'static str, u8)] {
    match family {
        Family::Inet => ICMP_TYPES,
        Family::Inet6 => ICMP6_TYPES,
    }
}

fn icmp_codes(family: Family) -> &'static [(&'static str, u8, u8)] {
    match family {
        Family::Inet => ICMP_CODES,
        Family::Inet6 => ICMP6_CODES,
    }
}

pub(super) fn icmp_type(family: Family, name: &str) -> Option<u8> {
    by_name(icmp_types(family), name)
}

pub(super) fn icmp_type_name(family: Family, kind: u8) -> Option<&'static str> {
    icmp_types(family).iter().find(|(_, value)| *value == kind).map(|(name, _)| *name)
}

pub(super) fn icmp_code(family: Family, kind: u8, name: &str) -> Option<u8> {
    let found = icmp_codes(family).iter().find(|(known, of, _)| *of == kind && *known == name);
    found.map(|(_, _, code)| *code)
}

pub(super) fn icmp_code_name(family: Family, kind: u8, code: u8) -> Option<&'static str> {
    let found = icmp_codes(family).iter().find(|(_, of, value)| *of == kind && *value == code);
    found.map(|(name, _, _)| *name)
}

impl Names {
    /// The system's name for messages.
    pub(super) fn system(self) -> &'static str {
        match self {
            Self::MacOs => "macOS",
            Self::OpenBsd => "OpenBSD",
        }
    }

    /// The other system, for hints about unknown names.
    pub(super) fn other(self) -> Self {
        match self {
            Self::MacOs => Self::OpenBsd,
            Self::OpenBsd => Self::MacOs,
        }
    }

    pub(super) fn service(self, name: &str) -> Option<u16> {
        match self {
            Self::MacOs => macos::service(name),
            Self::OpenBsd => openbsd::service(name),
        }
    }

    /// The name by which pfctl prints a port. Like pfctl, it treats every protocol but TCP as UDP.
    pub(super) fn service_name(self, protocol: Option<u8>, port: u16) -> Option<&'static str> {
        match self {
            Self::MacOs => None,
            Self::OpenBsd => openbsd::service_name(protocol == Some(TCP), port),
        }
    }

    pub(super) fn protocol(self, name: &str) -> Option<u8> {
        match self {
            Self::MacOs => macos::protocol(name),
            Self::OpenBsd => openbsd::protocol(name),
        }
    }

    pub(super) fn protocol_name(self, number: u8) -> Option<&'static str> {
        match self {
            Self::MacOs => macos::protocol_name(number),
            Self::OpenBsd => openbsd::protocol_name(number),
        }
    }

    pub(super) fn user(self, name: &str) -> Option<u32> {
        match self {
            Self::MacOs => macos::user(name),
            Self::OpenBsd => openbsd::user(name),
        }
    }

    pub(super) fn group(self, name: &str) -> Option<u32> {
        match self {
            Self::MacOs => macos::group(name),
            Self::OpenBsd => openbsd::group(name),
        }
    }
}
