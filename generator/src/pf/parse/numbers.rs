//! Numbers with operators (ports, users and groups), and TCP flags, ICMP types and TOS.
//!
//! It exists because all of them can be names, numbers, comparisons or ranges. Sees: the parser, names. Never: a
//! rule.

use crate::pf::host;
use crate::pf::names::{self, ICMP, ICMP6, Names};
use crate::pf::parse::{Parsed, Parser};
use crate::pf::syntax::{Family, Icmp, IdMatch, NumberMatch, PortMatch, TcpFlags, UNKNOWN_ID};
use crate::pf::token::Kind;

/// A port or a range of ports.
#[derive(Clone, Copy)]
pub(super) enum Ports {
    One(u16),
    Range(u16, u16),
    /// `8000:*`.
    From(u16),
}

/// A comparison operator without its operand.
type Unary<T> = fn(T) -> NumberMatch<T>;

impl Parser<'_> {
    fn unary<T>(&mut self) -> Parsed<Option<Unary<T>>> {
        if self.eat_char('=') {
            return Ok(Some(NumberMatch::Equal));
        }
        if self.eat_char('!') {
            self.expect_char('=')?;
            return Ok(Some(NumberMatch::NotEqual));
        }
        if self.eat_char('<') {
            return Ok(Some(if self.eat_char('=') { NumberMatch::LessEqual } else { NumberMatch::Less }));
        }
        if self.eat_char('>') {
            let or_equal = self.eat_char('=');
            return Ok(Some(if or_equal { NumberMatch::GreaterEqual } else { NumberMatch::Greater }));
        }
        Ok(None)
    }

    pub(super) fn port(&mut self) -> Parsed<PortMatch> {
        let unary = self.unary()?;
        let first = self.ports(false)?;
        let single = |parser: &mut Self, ports| match ports {
            Ports::One(port) => Ok(port),
            _ => parser.fail("`:` cannot be used with another port operator"),
        };
        if let Some(unary) = unary {
            return Ok(unary(single(self, first)?));
        }
        if let Kind::PortOperator(operator) = *self.peek() {
            self.next();
            let second = self.ports(false)?;
            let (first, second) = (single(self, first)?, single(self, second)?);
            return Ok(if operator == "><" {
                NumberMatch::Inside(first, second)
            } else {
                NumberMatch::Outside(first, second)
            });
        }
        Ok(match first {
            Ports::One(port) | Ports::From(port) => NumberMatch::Equal(port),
            Ports::Range(first, last) => NumberMatch::Range(first, last),
        })
    }

    /// `22`, `ssh`, `22:25`, and `22:*` if `star` is set.
    pub(super) fn ports(&mut self, star: bool) -> Parsed<Ports> {
        let text = self.number_or_word()?;
        let Some((first, last)) = text.split_once(':') else {
            return Ok(Ports::One(self.service(&text)?));
        };
        let first = self.service(first)?;
        if star && last == "*" {
            return Ok(Ports::From(first));
        }
        let last = self.service(last)?;
        Ok(if first == last { Ports::One(first) } else { Ports::Range(first, last) })
    }

    fn service(&mut self, text: &str) -> Parsed<u16> {
        match host::number(text) {
            Some(number) => match u16::try_from(number) {
                Ok(port) => Ok(port),
                Err(_) => self.fail(format!("illegal port value {number}")),
            },
            None => match self.environment.names.service(text) {
                Some(port) => Ok(port),
                None => self.unknown("port", text, |names| names.service(text).map(u32::from)),
            },
        }
    }

    pub(super) fn user(&mut self) -> Parsed<IdMatch> {
        self.id("user", |parser, name| {
            parser.environment.users.get(name).copied().or_else(|| parser.environment.names.user(name))
        })
    }

    pub(super) fn group(&mut self) -> Parsed<IdMatch> {
        self.id("group", |parser, name| {
            parser.environment.groups.get(name).copied().or_else(|| parser.environment.names.group(name))
        })
    }

    fn id(&mut self, what: &str, find: impl Fn(&Self, &str) -> Option<u32>) -> Parsed<IdMatch> {
        let unary = self.unary()?;
        let first = self.id_number(what, &find)?;
        let needs_equal = format!("{what} unknown requires operator = or !=");
        if let Some(unary) = unary {
            let condition = unary(first);
            if first == UNKNOWN_ID && !matches!(condition, NumberMatch::Equal(_) | NumberMatch::NotEqual(_)) {
                return self.fail(needs_equal);
            }
            return Ok(condition);
        }
        let Kind::PortOperator(operator) = *self.peek() else {
            return Ok(NumberMatch::Equal(first));
        };
        self.next();
        let second = self.id_number(what, &find)?;
        if first == UNKNOWN_ID || second == UNKNOWN_ID {
            return self.fail(needs_equal);
        }
        Ok(if operator == "><" {
            NumberMatch::Inside(first, second)
        } else {
            NumberMatch::Outside(first, second)
        })
    }

    fn id_number(&mut self, what: &str, find: impl Fn(&Self, &str) -> Option<u32>) -> Parsed<u32> {
        if let Kind::Number(number) = *self.peek() {
            self.next();
            return match u32::try_from(number) {
                Ok(number) if number != UNKNOWN_ID => Ok(number),
                _ => self.fail(format!("illegal {what} id {number}")),
            };
        }
        let name = self.word()?;
        if name == "unknown" {
            return Ok(UNKNOWN_ID);
        }
        match find(self, &name) {
            Some(number) => Ok(number),
            None if what == "user" => self.unknown(what, &name, |names| names.user(&name)),
            None => self.unknown(what, &name, |names| names.group(&name)),
        }
    }

    /// Reports a name that the system does not have, with the number in the other system or a hint.
    pub(super) fn unknown<T>(
        &mut self,
        what: &str,
        name: &str,
        find: impl Fn(Names) -> Option<u32>,
    ) -> Parsed<T> {
        let names = self.environment.names;
        let (system, other) = (names.system(), names.other().system());
        let why = match find(names.other()) {
            Some(number) => format!("it is {number} in {other}, and {system} has none of that name"),
            None => format!("{system} has none of that name; write its number"),
        };
        self.fail(format!("unknown {what} `{name}`: {why}"))
    }

    /// The flags after `flags`; `any` matches all segments.
    pub(super) fn tcp_flags(&mut self) -> Parsed<TcpFlags> {
        if self.eat_key("any") {
            return Ok(TcpFlags { set: 0, mask: 0 });
        }
        let set = if self.at_char('/') { 0 } else { self.flag_letters()? };
        self.expect_char('/')?;
        Ok(TcpFlags { set, mask: self.flag_letters()? })
    }

    fn flag_letters(&mut self) -> Parsed<u8> {
        let word = self.word()?;
        let mut flags = 0;
        for letter in word.chars() {
            match names::FLAG_LETTERS.find(letter) {
                Some(bit) => flags |= 1 << bit,
                None => return self.fail(format!("bad flags `{word}`")),
            }
        }
        Ok(if flags == 0 { u8::MAX } else { flags })
    }

    /// The types after `icmp-type` or `icmp6-type`, each with the protocol that it implies.
    pub(super) fn icmp(&mut self, family: Family) -> Parsed<Vec<(u8, Icmp)>> {
        let protocol = if family == Family::Inet { ICMP } else { ICMP6 };
        self.list(|parser| Ok((protocol, parser.icmp_item(family)?)))
    }

    fn icmp_item(&mut self, family: Family) -> Parsed<Icmp> {
        let kind = self.byte("icmp type", |name| names::icmp_type(family, name))?;
        let mut code = None;
        if self.eat_key("code") {
            code = Some(self.byte("icmp code", |name| names::icmp_code(family, kind, name))?);
        }
        Ok(Icmp { kind, code })
    }

    fn byte(&mut self, what: &str, find: impl Fn(&str) -> Option<u8>) -> Parsed<u8> {
        if let Kind::Number(number) = *self.peek() {
            self.next();
            return match u8::try_from(number) {
                Ok(number) => Ok(number),
                Err(_) => self.fail(format!("illegal {what} {number}")),
            };
        }
        let name = self.word()?;
        match find(&name) {
            Some(number) => Ok(number),
            None => self.fail(format!("unknown {what} `{name}`")),
        }
    }

    /// The code in `return-icmp(…)`, which is always one of an unreachable.
    pub(super) fn return_code(&mut self, family: Family, kind: u8) -> Parsed<(u8, u8)> {
        let code = self.byte("icmp code", |name| {
            names::icmp_code(family, kind, name)
                .or_else(|| host::number(name).and_then(|number| u8::try_from(number).ok()))
        })?;
        Ok((kind, code))
    }

    pub(super) fn tos(&mut self) -> Parsed<u8> {
        if let Kind::Number(number) = *self.peek() {
            self.next();
            return match u8::try_from(number) {
                Ok(tos) if tos != 0 => Ok(tos),
                _ => self.fail(format!("illegal tos value {number}")),
            };
        }
        let word = self.word()?;
        let tos = match word.as_str() {
            "lowdelay" => Some(0x10),
            "throughput" => Some(0x08),
            "reliability" => Some(0x04),
            _ => word.strip_prefix("0x").and_then(|digits| u8::from_str_radix(digits, 16).ok()),
        };
        match tos {
            Some(tos) if tos != 0 && !word.contains('+') => Ok(tos),
            _ => self.fail(format!("illegal tos value `{word}`")),
        }
    }

    /// A number from 0 to the maximum of 32 bits.
    pub(super) fn count(&mut self) -> Parsed<u32> {
        let number = self.number()?;
        match u32::try_from(number) {
            Ok(number) => Ok(number),
            Err(_) => self.fail("only positive values permitted"),
        }
    }

    pub(super) fn routing_table(&mut self) -> Parsed<u32> {
        let number = self.number()?;
        match u32::try_from(number) {
            Ok(number) if number <= 255 => Ok(number),
            _ => self.fail("invalid rtable id"),
        }
    }
}
