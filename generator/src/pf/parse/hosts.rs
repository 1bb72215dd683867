//! Hosts in a rule: `any`, literals, `(en0)`, `<table>`, lists of them.
//!
//! It exists because `from`, `to`, `->` and tables share these forms. Sees: the parser, host. Never: a rule.

use crate::pf::host::{self, Host, Modifiers};
use crate::pf::parse::{Parsed, Parser};
use crate::pf::syntax::{Address, Dynamic, Family};
use crate::pf::token::Kind;

/// Longest name of a table or a route label.
pub(super) const LONGEST_TABLE: usize = 31;

impl Parser<'_> {
    /// One host or a list; `any` gives an empty list, and in a list adds nothing.
    pub(super) fn hosts(&mut self) -> Parsed<Vec<Host>> {
        if self.eat_key("any") {
            return Ok(Vec::new());
        }
        if self.eat_char('{') {
            self.eat_newlines();
            return self.rest_of_hosts();
        }
        self.host_not()
    }

    /// The rest of a list of hosts after its opening brace and line breaks; lists can be nested.
    pub(super) fn rest_of_hosts(&mut self) -> Parsed<Vec<Host>> {
        self.descend()?;
        let hosts = self.rest_of_list(Self::hosts)?.into_iter().flatten().collect();
        self.ascend();
        Ok(hosts)
    }

    fn host_not(&mut self) -> Parsed<Vec<Host>> {
        let not = self.eat_char('!');
        let mut hosts = match *self.peek() {
            Kind::Key("no-route") => {
                self.next();
                vec![Host::new(Address::NoRoute)]
            }
            Kind::Key("urpf-failed") => {
                self.next();
                vec![Host::new(Address::UrpfFailed)]
            }
            _ => self.host()?,
        };
        for host in &mut hosts {
            host.not = not;
        }
        Ok(hosts)
    }

    /// The hosts that one word stands for: an interface may have several addresses.
    pub(super) fn host(&mut self) -> Parsed<Vec<Host>> {
        match *self.peek() {
            Kind::Word(_) => {
                let word = self.word()?;
                if self.eat_char('-') {
                    return self.range(&word);
                }
                if self.eat_char('/') {
                    let mask = self.number()?;
                    return self.resolve(&format!("{word}/{mask}"));
                }
                self.resolve(&word)
            }
            Kind::Number(number) => {
                self.next();
                self.expect_char('/')?;
                let mask = self.number()?;
                self.resolve(&format!("{number}/{mask}"))
            }
            Kind::Char('(') => self.dynamic(),
            Kind::Char('<') => Ok(vec![Host::new(Address::Table(self.table_name()?))]),
            Kind::Key("route") => {
                self.next();
                let label = self.word()?;
                if label.len() > LONGEST_TABLE {
                    return self.fail(format!("route label too long, max {LONGEST_TABLE} chars"));
                }
                Ok(vec![Host::new(Address::RouteLabel(label))])
            }
            _ => self.unexpected(),
        }
    }

    fn resolve(&mut self, text: &str) -> Parsed<Vec<Host>> {
        match host::resolve(self.environment, text) {
            Ok(hosts) => Ok(hosts),
            Err(message) => self.fail(message),
        }
    }

    fn range(&mut self, first: &str) -> Parsed<Vec<Host>> {
        let last = self.word()?;
        let first = self.resolve(first)?;
        let last = self.resolve(&last)?;
        let ([first], [last]) = (first.as_slice(), last.as_slice()) else {
            return self.fail("invalid address range");
        };
        let full = if first.family == Some(Family::Inet) { 32 } else { 128 };
        match (&first.address, &last.address) {
            (Address::Prefix { address: from, .. }, Address::Prefix { address: to, .. })
                if first.family == last.family && first.mask == full && last.mask == full =>
            {
                let mut range = Host::new(Address::Range(*from, *to));
                range.family = first.family;
                range.scope.clone_from(&first.scope);
                Ok(vec![range])
            }
            _ => self.fail("invalid address range"),
        }
    }

    /// `<name>`.
    pub(super) fn table_name(&mut self) -> Parsed<String> {
        self.expect_char('<')?;
        let name = self.word()?;
        self.expect_char('>')?;
        if name.is_empty() || name.len() > LONGEST_TABLE {
            return self.fail(format!("table name `{name}` is empty or longer than {LONGEST_TABLE}"));
        }
        Ok(name)
    }

    /// `(en0:network:0)/24`.
    fn dynamic(&mut self) -> Parsed<Vec<Host>> {
        self.expect_char('(')?;
        let text = self.word()?;
        self.expect_char(')')?;
        if !text.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return self.fail(format!("invalid interface name `{text}`"));
        }
        let Ok((name, modifiers)) = Modifiers::split(&text) else {
            return self.fail(format!("interface `{text}` has a bad modifier"));
        };
        if modifiers.conflict() {
            return self.fail("illegal combination of interface modifiers");
        }
        if name.len() > 15 {
            return self.fail(format!("interface name `{name}` too long"));
        }
        let mut host = Host::new(Address::Dynamic(Dynamic {
            interface: name.to_owned(),
            network: modifiers.network,
            broadcast: modifiers.broadcast,
            peer: modifiers.peer,
            no_alias: modifiers.no_alias,
            prefix: None,
        }));
        host.mask = 128;
        if self.eat_char('/') {
            let mask = self.number()?;
            match u8::try_from(mask) {
                Ok(mask) if mask <= 128 => host.mask = mask,
                _ => return self.fail("bit number too big"),
            }
        }
        Ok(vec![host])
    }
}
