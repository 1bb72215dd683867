//! Addresses as written: literals, prefixes, interface names, host names.
//!
//! It exists because pfctl resolves every host to addresses at load time, and one word may stand for several. Sees:
//! environment, syntax. Never: a rule.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::environment::{Environment, InterfaceInfo};
use super::syntax::{Address, Dynamic, Family};

/// One host of a list, before expansion.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub not: bool,
    /// `None` for tables, interfaces in parentheses and so on.
    pub family: Option<Family>,
    /// The interface of a link-local address.
    pub scope: Option<String>,
    pub address: Address,
    /// The prefix length as given: up to 128 for every family.
    pub mask: u8,
    /// The interface in `route-to (en0 10.0.0.1)`.
    pub interface: Option<String>,
}

impl Host {
    pub(super) fn new(address: Address) -> Self {
        Self { not: false, family: None, scope: None, address, mask: 0, interface: None }
    }

    pub(super) fn literal(address: IpAddr, mask: u8) -> Self {
        let mut host = Self::new(Address::Prefix { address, prefix: mask });
        host.family = Some(family_of(address));
        host.set_mask(mask);
        host
    }

    /// Sets the prefix length, and clears the bits beyond it.
    pub(super) fn set_mask(&mut self, mask: u8) {
        self.mask = mask;
        if let Address::Prefix { address, prefix } = &mut self.address {
            *address = clear_beyond(*address, mask);
            *prefix = mask;
        }
    }

    /// Whether it is an interface in parentheses that can have several addresses.
    pub(super) fn is_many(&self) -> bool {
        matches!(&self.address, Address::Dynamic(dynamic)
            if !dynamic.no_alias || !dynamic.interface.ends_with(|last: char| last.is_ascii_digit()))
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.address, Address::Table(_))
    }

    /// The prefix length in a rule of `family`; an error if it is too long.
    pub(super) fn mask_in(&self, family: Option<Family>) -> Result<u8, String> {
        if family != Some(Family::Inet) || self.mask <= 32 {
            return Ok(self.mask);
        }
        match self.address {
            Address::Dynamic(_) => Ok(32),
            Address::Prefix { .. } => Err(format!("netmask {} invalid for IPv4 address", self.mask)),
            _ => Ok(self.mask),
        }
    }

    /// The address in a rule of `family`.
    pub(super) fn finish(&self, family: Option<Family>) -> Result<Address, String> {
        let mask = self.mask_in(family)?;
        let full = if family == Some(Family::Inet) { 32 } else { 128 };
        Ok(match &self.address {
            Address::Prefix { address, .. } if mask == 0 && is_zero(*address) => Address::Any,
            Address::Prefix { address, .. } => Address::Prefix { address: *address, prefix: mask },
            Address::Dynamic(dynamic) => {
                Address::Dynamic(Dynamic { prefix: (mask != full).then_some(mask), ..dynamic.clone() })
            }
            other => other.clone(),
        })
    }
}

pub(super) fn family_of(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::Inet } else { Family::Inet6 }
}

pub(super) fn is_zero(address: IpAddr) -> bool {
    address.is_unspecified()
}

/// The address with the bits beyond the prefix cleared.
pub(super) fn clear_beyond(address: IpAddr, mask: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let keep = u32::MAX.checked_shl(32 - u32::from(mask.min(32))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & keep))
        }
        IpAddr::V6(v6) => {
            let keep = u128::MAX.checked_shl(128 - u32::from(mask.min(128))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & keep))
        }
    }
}

/// Modifiers after an interface name.
#[derive(Clone, Copy, Default)]
#[allow(clippy::struct_excessive_bools)]
pub(super) struct Modifiers {
    pub network: bool,
    pub broadcast: bool,
    pub peer: bool,
    pub no_alias: bool,
}

impl Modifiers {
    /// Splits `:network` and the like off the end of `text`. `Err` contains the rest up to and including an unknown
    /// modifier.
    pub(super) fn split(text: &str) -> Result<(&str, Self), &str> {
        let mut modifiers = Self::default();
        let mut name = text;
        while let Some((rest, modifier)) = name.rsplit_once(':') {
            match modifier {
                "network" => modifiers.network = true,
                "broadcast" => modifiers.broadcast = true,
                "peer" => modifiers.peer = true,
                "0" => modifiers.no_alias = true,
                _ => return Err(name),
            }
            name = rest;
        }
        Ok((name, modifiers))
    }

    pub(super) fn conflict(self) -> bool {
        usize::from(self.network) + usize::from(self.broadcast) + usize::from(self.peer) > 1
    }
}

/// All addresses that `text` stands for; an error if there is none.
pub(super) fn resolve(environment: &Environment, text: &str) -> Result<Vec<Host>, String> {
    let (name, mask) = match text.rsplit_once('/') {
        None => (text, None),
        Some((name, mask)) => {
            let mask = number(mask).filter(|mask| *mask <= 128);
            let mask = mask.and_then(|mask| u8::try_from(mask).ok());
            (name, Some(mask.ok_or_else(|| format!("invalid netmask in `{text}`"))?))
        }
    };
    let mut hosts = from_interface(environment, name, mask)?;
    if hosts.is_empty() {
        hosts.extend(from_literal(environment, name, mask));
    }
    if hosts.is_empty() {
        hosts = from_name(environment, name, mask);
    }
    if hosts.is_empty() {
        return Err(format!("no IP address found for `{text}`"));
    }
    Ok(hosts)
}

fn from_interface(environment: &Environment, text: &str, mask: Option<u8>) -> Result<Vec<Host>, String> {
    let Ok((name, modifiers)) = Modifiers::split(text) else {
        return Ok(Vec::new());
    };
    if environment.interface(name).is_none() && name != "self" {
        return Ok(Vec::new());
    }
    if modifiers.conflict() {
        return Err(format!("illegal combination of interface modifiers in `{text}`"));
    }
    if (modifiers.network || modifiers.broadcast) && mask.is_some() {
        return Err(format!("`{text}` has a netmask already"));
    }
    let mut hosts = addresses_of(environment, name, modifiers);
    if let Some(mask) = mask {
        for host in &mut hosts {
            host.set_mask(mask);
        }
    }
    Ok(hosts)
}

/// The addresses of an interface named without parentheses; `self` stands for all interfaces.
pub(super) fn addresses_of(environment: &Environment, name: &str, modifiers: Modifiers) -> Vec<Host> {
    let interfaces = environment.interfaces.iter();
    let interfaces = interfaces.filter(|interface| name == "self" || interface.name == name);
    interfaces.flat_map(|interface| addresses(interface, modifiers)).collect()
}

fn addresses(interface: &InterfaceInfo, modifiers: Modifiers) -> Vec<Host> {
    let mut hosts: Vec<Host> = Vec::new();
    for &(address, prefix) in &interface.addresses {
        let scoped = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        if modifiers.peer
            || (modifiers.broadcast && (interface.loopback || address.is_ipv6()))
            || (modifiers.network && scoped)
            || (modifiers.no_alias && hosts.iter().any(|host| host.family == Some(family_of(address))))
        {
            continue;
        }
        let mut host = match address {
            IpAddr::V4(v4) if modifiers.broadcast => {
                let beyond = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
                Host::literal(IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() | beyond)), 32)
            }
            _ if modifiers.network => Host::literal(address, prefix),
            IpAddr::V4(_) => Host::literal(address, 32),
            IpAddr::V6(_) => Host::literal(address, 128),
        };
        host.scope = scoped.then(|| interface.name.clone());
        hosts.push(host);
    }
    hosts
}

fn from_literal(environment: &Environment, text: &str, mask: Option<u8>) -> Option<Host> {
    if let Some(mask) = mask.filter(|mask| *mask <= 32)
        && let Some(address) = short_prefix(text)
    {
        return Some(Host::literal(IpAddr::V4(address), mask));
    }
    if mask.is_none()
        && let Ok(address) = text.parse::<Ipv4Addr>()
    {
        return Some(Host::literal(IpAddr::V4(address), 32));
    }
    let (address, scope) = match text.split_once('%') {
        Some((address, scope)) => (address, Some(scope.to_owned())),
        None => (text, None),
    };
    let address: Ipv6Addr = address.parse().ok()?;
    // Only a link-local address has a scope, which must be an existing interface.
    if let Some(name) = &scope
        && (!address.is_unicast_link_local() || environment.interface(name).is_none())
    {
        return None;
    }
    let mut host = Host::literal(IpAddr::V6(address), mask.unwrap_or(128));
    host.scope = scope;
    Some(host)
}

/// `10`, `10.1`, `192.168.0`: missing octets are 0.
fn short_prefix(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    for (count, part) in text.split('.').enumerate() {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        *octets.get_mut(count)? = part.parse().ok().filter(|_| digits)?;
    }
    Some(Ipv4Addr::from(octets))
}

fn from_name(environment: &Environment, text: &str, mask: Option<u8>) -> Vec<Host> {
    if let Some(address) = loose_ipv4(text) {
        return vec![Host::literal(IpAddr::V4(address), mask.unwrap_or(32))];
    }
    let (name, first_only) = match text.strip_suffix(":0") {
        Some(name) => (name, true),
        None => (text, false),
    };
    let mut hosts: Vec<Host> = Vec::new();
    for &address in environment.hosts.get(name).into_iter().flatten() {
        let full = if address.is_ipv4() { 32 } else { 128 };
        if first_only && hosts.iter().any(|host| host.family == Some(family_of(address))) {
            continue;
        }
        hosts.push(Host::literal(address, mask.unwrap_or(full)));
    }
    hosts
}

/// The traditional forms that resolvers accept as addresses: `10.1` is 10.0.0.1, parts may be octal or hexadecimal.
fn loose_ipv4(text: &str) -> Option<Ipv4Addr> {
    let parts: Option<Vec<u32>> =
        text.split('.').map(|part| number(part).and_then(|number| u32::try_from(number).ok())).collect();
    let parts = parts.filter(|parts| parts.len() <= 4)?;
    let (last, leading) = parts.split_last()?;
    let room = 8 * (4 - u32::try_from(leading.len()).ok()?);
    if leading.iter().any(|part| *part > 255) || u64::from(*last) >= 1u64 << room {
        return None;
    }
    let leading = leading.iter().enumerate().map(|(index, part)| part << (24 - 8 * index)).sum::<u32>();
    Some(Ipv4Addr::from_bits(leading | last))
}

/// A number in C syntax: `0x10`, `010`, `10`.
pub(super) fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        None => (text, 10),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}
