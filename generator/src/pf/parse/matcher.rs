//! The common start of all rules: direction, log, interface, family, protocol, from and to.
//!
//! It exists because scrub, translation, filter and anchor rules share it. Sees: the parser, hosts and numbers.
//! Never: a whole rule.

use crate::pf::expand::FromTo;
use crate::pf::host::Host;
use crate::pf::parse::{Parsed, Parser};
use crate::pf::syntax::{Address, Direction, Family, Interface, Log, PortMatch};
use crate::pf::token::Kind;

/// Longest name of an interface.
const LONGEST_INTERFACE: usize = 15;

impl Parser<'_> {
    pub(super) fn direction(&mut self) -> Option<Direction> {
        if self.eat_key("in") {
            Some(Direction::In)
        } else if self.eat_key("out") {
            Some(Direction::Out)
        } else {
            None
        }
    }

    pub(super) fn log_quick(&mut self) -> Parsed<(Log, bool)> {
        let mut quick = self.eat_key("quick");
        let log = self.log()?;
        if log.on && !quick {
            quick = self.eat_key("quick");
        }
        Ok((log, quick))
    }

    pub(super) fn log(&mut self) -> Parsed<Log> {
        let mut log = Log::default();
        if !self.eat_key("log") {
            return Ok(log);
        }
        log.on = true;
        if !self.eat_char('(') {
            return Ok(log);
        }
        loop {
            self.log_option(&mut log)?;
            if self.eat_char(')') {
                return Ok(log);
            }
            self.eat_char(',');
        }
    }

    fn log_option(&mut self, log: &mut Log) -> Parsed<()> {
        match *self.peek() {
            Kind::Key("all") => log.all = true,
            Kind::Key("user" | "group") => log.user = true,
            Kind::Key("to") => {
                self.next();
                let name = self.words()?;
                let Some(unit) = name.strip_prefix("pflog") else {
                    return self.fail(format!("`{name}` should be a pflog interface"));
                };
                let Ok(unit) = unit.parse::<u8>() else {
                    return self.fail(format!("`{name}` is not a pflog interface from 0 to 255"));
                };
                if unit != 0 {
                    log.interface = unit;
                }
                return Ok(());
            }
            _ => return self.unexpected(),
        }
        self.next();
        Ok(())
    }

    /// `on …`; empty if absent.
    pub(super) fn interfaces(&mut self) -> Parsed<Vec<Interface>> {
        if !self.eat_key("on") {
            return Ok(Vec::new());
        }
        self.list(Self::interface_not)
    }

    pub(super) fn interface_not(&mut self) -> Parsed<Interface> {
        let not = self.eat_char('!');
        Ok(Interface { not, name: self.interface()? })
    }

    pub(super) fn interface(&mut self) -> Parsed<String> {
        let name = self.word()?;
        if name.is_empty() || name.len() > LONGEST_INTERFACE {
            return self.fail(format!("interface name `{name}` is empty or longer than {LONGEST_INTERFACE}"));
        }
        Ok(name)
    }

    pub(super) fn family(&mut self) -> Option<Family> {
        if self.eat_key("inet") {
            Some(Family::Inet)
        } else if self.eat_key("inet6") {
            Some(Family::Inet6)
        } else {
            None
        }
    }

    pub(super) fn protocols(&mut self) -> Parsed<Vec<u8>> {
        if !self.eat_key("proto") {
            return Ok(Vec::new());
        }
        self.list(Self::protocol)
    }

    fn protocol(&mut self) -> Parsed<u8> {
        let protocol = if let Kind::Number(number) = *self.peek() {
            self.next();
            match u8::try_from(number) {
                Ok(number) => number,
                Err(_) => return self.fail(format!("protocol {number} is not from 1 to 255")),
            }
        } else {
            let name = self.word()?;
            match self.environment.names.protocol(&name) {
                Some(number) => number,
                None => {
                    return self.unknown("protocol", &name, |names| names.protocol(&name).map(u32::from));
                }
            }
        };
        if protocol == 0 {
            return self.fail("proto 0 cannot be used");
        }
        Ok(protocol)
    }

    /// `all`, or `from`, `os` and `to`, each of them optional.
    pub(super) fn endpoints(&mut self) -> Parsed<FromTo> {
        let mut result = FromTo::default();
        if self.eat_key("all") {
            return Ok(result);
        }
        if self.eat_key("from") {
            (result.source, result.source_ports) = self.host_and_port()?;
        }
        if self.eat_key("os") {
            result.oses = self.list(Self::word)?;
        }
        if self.eat_key("to") {
            (result.destination, result.destination_ports) = self.host_and_port()?;
            if result.destination.iter().any(|host| host.address == Address::UrpfFailed) {
                return self.fail("`urpf-failed` is not permitted in a destination address");
            }
        }
        Ok(result)
    }

    fn host_and_port(&mut self) -> Parsed<(Vec<Host>, Vec<PortMatch>)> {
        let hosts = if self.at_key("port") { Vec::new() } else { self.hosts()? };
        let ports = if self.eat_key("port") { self.list(Self::port)? } else { Vec::new() };
        Ok((hosts, ports))
    }
}
