//! `nat`, `rdr`, and the pools after `->` and `route-to`.
//!
//! It exists because translation chooses from addresses, whereas a filter compares with them. Sees: the parser,
//! expand. Never: states.

use crate::pf::expand::Draft;
use crate::pf::host::{self, Host};
use crate::pf::md5;
use crate::pf::parse::numbers::Ports;
use crate::pf::parse::scrub::shared_family;
use crate::pf::parse::{Parsed, Parser, Section};
use crate::pf::syntax::{
    Action, Address, EndpointKind, Family, NumberMatch, Pool, PoolKind, PortMatch, Route, RouteKind, Rule,
};
use crate::pf::token::Kind;

/// The default range of source ports for nat.
pub(in crate::pf) const NAT_PORTS: (u16, u16) = (50001, 65535);

/// The target after `->`.
pub(super) struct Target {
    pub hosts: Vec<Host>,
    pub ports: Option<Ports>,
}

impl Parser<'_> {
    pub(super) fn translation(&mut self, no: bool) -> Parsed<()> {
        let nat = self.eat_key("nat");
        if !nat {
            self.expect_key("rdr")?;
        }
        let mut rule = Rule::new(match (nat, no) {
            (true, false) => Action::Nat,
            (true, true) => Action::NoNat,
            (false, false) => Action::Rdr,
            (false, true) => Action::NoRdr,
        });
        self.pass_and_log(&mut rule, no)?;
        let interfaces = self.interfaces()?;
        rule.family = self.family();
        let protocols = self.protocols()?;
        let from_to = self.endpoints()?;
        self.tags_and_rtable(&mut rule)?;
        let target = self.target(true)?;
        let mut pool = self.pool_options()?;
        self.rule_ends()?;
        self.section(Section::Translation)?;
        for hosts in [&from_to.source, &from_to.destination] {
            if rule.family.is_none()
                && let Some(first) = hosts.first().filter(|first| first.scope.is_none())
            {
                rule.family = first.family;
            }
        }
        self.check_tags(&rule)?;
        let mut hosts = Vec::new();
        match (no, target) {
            (true, Some(_)) => return self.fail("translation rule with `no` does not need `->`"),
            (false, None) => return self.fail("translation rule requires `-> address`"),
            (true, None) => {}
            (false, Some(target)) => {
                let ports = target.ports;
                hosts = self.target_hosts(target.hosts, &mut rule.family, true)?;
                pool.ports =
                    if nat { Some(nat_ports(ports)) } else { rdr_ports(ports, &from_to.destination_ports) };
                self.check_pool(&mut pool, &hosts, "redirection")?;
                if !self.finish_pool(&mut pool, nat)? {
                    return self.fail("the `static-port` option is only valid with nat rules");
                }
                rule.redirect = Some(pool.clone());
            }
        }
        if no && pool.static_port {
            return self.fail("the `static-port` option is only valid with nat rules");
        }
        let mut draft = Draft::over(rule, interfaces, protocols, from_to);
        draft.pool = hosts;
        self.add(&draft);
        Ok(())
    }

    /// False if the pool has an option that only nat allows.
    fn finish_pool(&mut self, pool: &mut Pool, nat: bool) -> Parsed<bool> {
        if !pool.static_port {
            return Ok(true);
        }
        if !nat {
            return Ok(false);
        }
        if let Some((first, last)) = pool.ports
            && first != NAT_PORTS.0
            && last != NAT_PORTS.1
        {
            return self.fail("the `static-port` option can't be used when specifying a port range");
        }
        pool.ports = None;
        Ok(true)
    }

    fn pass_and_log(&mut self, rule: &mut Rule, no: bool) -> Parsed<()> {
        rule.nat_pass = self.eat_key("pass");
        rule.log = self.log()?;
        if no && rule.nat_pass {
            self.peek();
            return self.fail("`pass` not valid with `no`");
        }
        Ok(())
    }

    pub(super) fn tags_and_rtable(&mut self, rule: &mut Rule) -> Parsed<()> {
        if self.eat_key("tag") {
            rule.tag = Some(self.word()?).filter(|tag| !tag.is_empty());
        }
        if self.at_key("tagged") || self.at_char('!') {
            rule.tagged = self.tagged()?;
        }
        if self.eat_key("rtable") {
            rule.rtable = Some(self.routing_table()?);
        }
        Ok(())
    }

    /// `-> …`, with a list of hosts if `list` is set.
    pub(super) fn target(&mut self, list: bool) -> Parsed<Option<Target>> {
        if *self.peek() != Kind::Arrow {
            return Ok(None);
        }
        self.next();
        let hosts = if list { self.list(Self::host)?.into_iter().flatten().collect() } else { self.host()? };
        let ports = if self.eat_key("port") { Some(self.ports(true)?) } else { None };
        Ok(Some(Target { hosts, ports }))
    }

    pub(super) fn target_hosts(
        &mut self,
        mut hosts: Vec<Host>,
        family: &mut Option<Family>,
        derive: bool,
    ) -> Parsed<Vec<Host>> {
        if derive
            && family.is_none()
            && let Some(first) = hosts.first().filter(|first| first.scope.is_none())
        {
            *family = first.family;
        }
        keep_family(&mut hosts, family);
        let fixed = hosts.iter().any(|host| !matches!(host.address, Address::Table(_) | Address::Dynamic(_)));
        if family.is_none() && fixed {
            return self.fail(
                "address family not given and translation address expands to multiple address families",
            );
        }
        if hosts.is_empty() {
            return self.fail("no translation address with matching address family found");
        }
        if let Some(Err(message)) = hosts.iter().map(|host| host.mask_in(*family)).find(Result::is_err) {
            return self.fail(message);
        }
        Ok(hosts)
    }

    /// Checks how members of a pool are chosen: several addresses allow only round-robin.
    pub(super) fn check_pool(&mut self, pool: &mut Pool, hosts: &[Host], what: &str) -> Parsed<()> {
        let several = hosts.len() > 1 || hosts[0].is_table() || hosts[0].is_many();
        if pool.kind == PoolKind::None && several {
            pool.kind = PoolKind::RoundRobin;
        }
        if pool.kind == PoolKind::RoundRobin {
            return Ok(());
        }
        if hosts.iter().any(Host::is_table) {
            return self.fail(format!("tables are only supported in round-robin {what} pools"));
        }
        if hosts.iter().any(Host::is_many) {
            return self.fail(format!("an interface is only supported in round-robin {what} pools"));
        }
        if hosts.len() > 1 {
            return self.fail(format!("only round-robin valid for multiple {what} addresses"));
        }
        Ok(())
    }

    pub(super) fn pool_options(&mut self) -> Parsed<Pool> {
        let mut pool = Pool::default();
        loop {
            let Kind::Key(key) = *self.peek() else {
                return Ok(pool);
            };
            match key {
                "bitmask" | "random" | "source-hash" | "round-robin" => {
                    self.next();
                    let kind = match key {
                        "bitmask" => PoolKind::Bitmask,
                        "random" => PoolKind::Random,
                        "round-robin" => PoolKind::RoundRobin,
                        _ => PoolKind::SourceHash(self.hash_key()?),
                    };
                    if pool.kind != PoolKind::None {
                        return self.fail("pool type cannot be redefined");
                    }
                    pool.kind = kind;
                }
                "static-port" => {
                    self.next();
                    if std::mem::replace(&mut pool.static_port, true) {
                        return self.fail("static-port cannot be redefined");
                    }
                }
                "sticky-address" => {
                    self.next();
                    pool.sticky = true;
                }
                "extmap" | "extfilter" => self.endpoint(&mut pool, key)?,
                _ => return Ok(pool),
            }
        }
    }

    /// Apple's `extfilter ei`.
    fn endpoint(&mut self, pool: &mut Pool, key: &str) -> Parsed<()> {
        self.next();
        let word = self.word()?;
        let kind = match word.as_str() {
            "apd" => EndpointKind::AddressPortDependent,
            "ad" => EndpointKind::AddressDependent,
            "ei" => EndpointKind::EndpointIndependent,
            _ => return self.fail(format!("`{key}` is `apd`, `ad` or `ei`, not `{word}`")),
        };
        let slot = if key == "extmap" { &mut pool.extmap } else { &mut pool.extfilter };
        if slot.replace(kind).is_some() {
            return self.fail(format!("{key} cannot be redefined"));
        }
        Ok(())
    }

    /// An explicit key, a word to derive one from, or nothing. In the last case pfctl generates a random key; parsing
    /// must be repeatable, so the key is zero here.
    fn hash_key(&mut self) -> Parsed<[u32; 4]> {
        if !self.at_word() {
            return Ok([0; 4]);
        }
        let text = self.words()?;
        if !text.starts_with("0x") {
            return Ok(md5::key(text.as_bytes()));
        }
        match parse_key(&text) {
            Some(key) => Ok(key),
            None => self.fail("hex key must be 128 bits (32 hex digits) long"),
        }
    }

    /// `route-to (en0 10.0.0.1)` and its variants.
    pub(super) fn route(&mut self) -> Parsed<Option<(Route, Vec<Host>)>> {
        let Kind::Key(key) = *self.peek() else {
            return Ok(None);
        };
        let kind = match key {
            "fastroute" => RouteKind::Fast,
            "route-to" => RouteKind::To,
            "reply-to" => RouteKind::Reply,
            "dup-to" => RouteKind::Dup,
            _ => return Ok(None),
        };
        self.next();
        if kind == RouteKind::Fast {
            return Ok(Some((Route { kind, pool: Pool::default() }, Vec::new())));
        }
        let lists = self.list(Self::route_host)?;
        let mut first = None;
        for host in lists.iter().filter_map(|hosts| hosts.first()) {
            shared_family(std::slice::from_ref(host), &mut first);
            if host.family != first && lists.len() > 1 {
                return self.fail("all pool addresses must be in the same address family");
            }
        }
        let hosts = lists.into_iter().flatten().collect();
        let pool = self.pool_options()?;
        Ok(Some((Route { kind, pool }, hosts)))
    }

    fn route_host(&mut self) -> Parsed<Vec<Host>> {
        if !self.eat_char('(') {
            let mut host = Host::new(Address::Any);
            host.mask = 128;
            host.interface = Some(self.interface()?);
            return Ok(vec![host]);
        }
        let name = self.interface()?;
        let mut hosts = self.host()?;
        self.expect_char(')')?;
        for host in &mut hosts {
            host.interface = Some(name.clone());
        }
        Ok(hosts)
    }
}

/// Drops hosts of another family; if the rule has none, the first host with one determines it.
pub(super) fn keep_family(hosts: &mut Vec<Host>, family: &mut Option<Family>) {
    hosts.retain(|host| {
        if host.family.is_some() && family.is_some() && host.family != *family {
            return false;
        }
        *family = family.or(host.family);
        true
    });
}

fn nat_ports(ports: Option<Ports>) -> (u16, u16) {
    let (first, last) = match ports {
        None => (0, 0),
        Some(Ports::One(port) | Ports::From(port)) => (port, 0),
        Some(Ports::Range(first, last)) => (first, last),
    };
    match (first, last) {
        (0, 0) => NAT_PORTS,
        (first, 0) => (first, first),
        range => range,
    }
}

/// `port 8000:*` is as wide as the range of ports that the rule matches.
fn rdr_ports(ports: Option<Ports>, matched: &[PortMatch]) -> Option<(u16, u16)> {
    let ports = match ports? {
        Ports::One(port) => (port, 0),
        Ports::Range(first, last) => (first, last),
        Ports::From(port) => match matched.first() {
            Some(NumberMatch::Range(first, last) | NumberMatch::Inside(first, last)) => {
                (port, port.wrapping_add(last.wrapping_sub(*first)))
            }
            _ => (port, 0),
        },
    };
    (ports.0 != 0).then_some(ports)
}

/// Parses a key of 128 bits: `0x` and 32 hexadecimal digits.
fn parse_key(text: &str) -> Option<[u32; 4]> {
    let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 32 && digits.is_ascii())?;
    let mut key = [0; 4];
    for (part, slot) in key.iter_mut().enumerate() {
        let part = &digits[8 * part..8 * part + 8];
        *slot = host::number(&format!("0x{part}")).and_then(|number| u32::try_from(number).ok())?;
    }
    Some(key)
}
