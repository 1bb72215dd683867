//! `binat`: one address for another, in both directions.
//!
//! It exists because a binat rule is never expanded: it has one source, one destination and one target. Sees: the
//! parser, translate. Never: a list.

use crate::pf::host::Host;
use crate::pf::parse::translate::Target;
use crate::pf::parse::{Parsed, Parser, Section};
use crate::pf::syntax::{Action, Address, Family, Interface, Pool, PoolHost, Rule};

impl Parser<'_> {
    pub(super) fn binat(&mut self, no: bool) -> Parsed<()> {
        self.next();
        let mut rule = Rule::new(if no { Action::NoBinat } else { Action::Binat });
        rule.nat_pass = self.eat_key("pass");
        rule.log = self.log()?;
        let interface = self.interfaces()?.into_iter().next();
        rule.family = self.family();
        rule.protocol = self.protocols()?.first().copied();
        self.expect_key("from")?;
        let source = self.host()?;
        let destination = if self.eat_key("to") { self.hosts()? } else { Vec::new() };
        self.tags_and_rtable(&mut rule)?;
        let target = self.target(false)?;
        if target.as_ref().is_none_or(|target| target.ports.is_none()) {
            self.rule_ends()?;
        }
        self.section(Section::Translation)?;
        if no && rule.nat_pass {
            return self.fail("`pass` not valid with `no`");
        }
        self.finish_binat(rule, interface, &source, &destination, target)
    }

    fn finish_binat(
        &mut self,
        mut rule: Rule,
        interface: Option<Interface>,
        source: &[Host],
        destination: &[Host],
        target: Option<Target>,
    ) -> Parsed<()> {
        if destination.iter().any(|host| host.address == Address::UrpfFailed) {
            return self.fail("`urpf-failed` is not permitted as a binat destination");
        }
        let targets = target.as_ref().map_or(&[] as &[Host], |target| &target.hosts);
        for hosts in [source, destination, targets] {
            rule.family = rule.family.or_else(|| hosts.first().and_then(|first| first.family));
        }
        let family = rule.family;
        if family.is_none() {
            return self.fail("address family (inet/inet6) undefined");
        }
        rule.interface = interface;
        self.check_tags(&rule)?;
        for (hosts, what) in [(source, "source"), (targets, "redirect")] {
            if hosts.iter().any(Host::is_table) {
                return self.fail(format!("invalid use of a table as the {what} address of a binat rule"));
            }
            if hosts.iter().any(Host::is_many) {
                return self
                    .fail(format!("invalid use of an interface as the {what} address of a binat rule"));
            }
        }
        let from = self.binat_host(source, family, false)?;
        rule.source.address = from.map_or(Ok(Address::Any), |from| self.finished(from, family))?;
        if let Some(to) = self.binat_host(destination, family, true)? {
            rule.destination.not = to.not;
            rule.destination.address = self.finished(to, family)?;
        }
        rule.redirect = self.binat_target(rule.action, from, target, rule.family)?;
        self.add_binat(rule);
        Ok(())
    }

    fn add_binat(&mut self, mut rule: Rule) {
        rule.place = self.start;
        let frame = self.frames.last_mut().expect("the file's own frame is always there");
        let list = &mut frame.ruleset.rules.binat;
        rule.number = u32::try_from(list.len()).unwrap_or(u32::MAX);
        list.push(rule);
        self.rules += 1;
    }

    fn finished(&mut self, host: &Host, family: Option<Family>) -> Parsed<Address> {
        match host.finish(family) {
            Ok(address) => Ok(address),
            Err(message) => self.fail(message),
        }
    }

    fn binat_host<'h>(
        &mut self,
        hosts: &'h [Host],
        family: Option<Family>,
        loose: bool,
    ) -> Parsed<Option<&'h Host>> {
        match hosts {
            [] => Ok(None),
            [host] => {
                let follows = matches!(host.address, Address::Dynamic(_)) || (loose && host.family.is_none());
                if !follows && host.family != family {
                    return self.fail("binat ip versions must match");
                }
                Ok(Some(host))
            }
            _ => self.fail("multiple binat ip addresses"),
        }
    }

    fn binat_target(
        &mut self,
        action: Action,
        source: Option<&Host>,
        target: Option<Target>,
        mut family: Option<Family>,
    ) -> Parsed<Option<Pool>> {
        if action == Action::NoBinat {
            return match target {
                Some(_) => self.fail("`no binat` rule does not need `->`"),
                None => Ok(None),
            };
        }
        let Some(target) = target else {
            return self.fail("`binat` rule requires `-> address`");
        };
        let hosts = self.target_hosts(target.hosts, &mut family, false)?;
        let [host] = hosts.as_slice() else {
            return self.fail("binat rule must redirect to a single address");
        };
        let (Ok(theirs), Ok(ours)) =
            (source.map_or(Ok(0), |host| host.mask_in(family)), host.mask_in(family))
        else {
            return self.fail("netmask invalid for IPv4 address");
        };
        if theirs != 0 && theirs != ours {
            return self.fail("`binat` source mask and redirect mask must be the same");
        }
        let address = self.finished(host, family)?;
        Ok(Some(Pool { hosts: vec![PoolHost { interface: None, address }], ..Pool::default() }))
    }
}
