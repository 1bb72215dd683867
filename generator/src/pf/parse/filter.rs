//! `pass`, `block` and Apple's `dummynet`.
//!
//! It exists because filter rules have the most options, in any order.
//! Sees: the parser, expand. Never: addresses of translation.

use crate::pf::expand::Draft;
use crate::pf::host::Host;
use crate::pf::names::{PORT_UNREACHABLE, PORT_UNREACHABLE6, TCP};
use crate::pf::parse::options::Options;
use crate::pf::parse::scrub::shared_family;
use crate::pf::parse::{Parsed, Parser, Section};
use crate::pf::syntax::{Action, Block, BlockPolicy, Dummynet, Family, Pool, RouteKind, TcpFlags};
use crate::pf::token::Kind;

impl Parser<'_> {
    pub(super) fn filter(&mut self) -> Parsed<()> {
        let action = if self.eat_key("pass") { Action::Pass } else { self.block()? };
        let direction = self.direction();
        let (log, quick) = self.log_quick()?;
        let interfaces = self.interfaces()?;
        let route = self.route()?;
        let mut family = self.family();
        let protocols = self.protocols()?;
        let from_to = self.endpoints()?;
        let mut options = self.filter_options(action)?;
        self.rule_ends()?;
        self.section(Section::Filtering)?;
        options.rule.direction = direction;
        options.rule.log = log;
        options.rule.quick = quick;
        self.check_tags(&options.rule)?;
        self.check_flags(&options, &protocols, !from_to.oses.is_empty())?;
        self.apply_state(&mut options)?;
        shared_family(&from_to.source, &mut family);
        shared_family(&from_to.destination, &mut family);
        let mut pool = Vec::new();
        if let Some((mut route, hosts)) = route {
            if direction.is_none() {
                return self.fail("direction must be explicit with rules that specify routing");
            }
            pool = self.routing_pool(&mut route.pool, hosts, &mut family, route.kind)?;
            options.rule.route = Some(route);
        }
        options.rule.family = family;
        let mut draft = Draft::over(options.rule, interfaces, protocols, from_to);
        draft.users = options.users;
        draft.groups = options.groups;
        draft.icmp = options.icmp;
        draft.pool = pool;
        self.add(&draft);
        Ok(())
    }

    fn routing_pool(
        &mut self,
        pool: &mut Pool,
        mut hosts: Vec<Host>,
        family: &mut Option<Family>,
        kind: RouteKind,
    ) -> Parsed<Vec<Host>> {
        if kind == RouteKind::Fast {
            return Ok(hosts);
        }
        shared_family(&hosts, family);
        super::translate::keep_family(&mut hosts, family);
        if hosts.is_empty() {
            return self.fail("no routing address with matching address family found");
        }
        self.check_pool(pool, &hosts, "routing")?;
        Ok(hosts)
    }

    /// Apple's `dummynet in all pipe 1`: like a filter rule, in a list of its own.
    pub(super) fn dummynet(&mut self, no: bool) -> Parsed<()> {
        self.next();
        let action = if no { Action::NoDummynet } else { Action::Dummynet };
        let direction = self.direction();
        let (log, quick) = self.log_quick()?;
        let interfaces = self.interfaces()?;
        let mut family = self.family();
        let protocols = self.protocols()?;
        let from_to = self.endpoints()?;
        let mut options = self.filter_options(action)?;
        self.rule_ends()?;
        self.section(Section::Filtering)?;
        if options.state.is_some() {
            return self.fail("cannot specify state handling on dummynet rules");
        }
        if no == options.rule.dummynet.is_some() {
            return self.fail(if no {
                "`no dummynet` does not need a pipe or queue"
            } else {
                "dummynet rule requires `pipe N` or `queue N`"
            });
        }
        if !no && direction.is_none() {
            return self.fail("dummynet rule requires a direction");
        }
        self.check_tags(&options.rule)?;
        self.check_flags(&options, &protocols, !from_to.oses.is_empty())?;
        shared_family(&from_to.source, &mut family);
        shared_family(&from_to.destination, &mut family);
        options.rule.tcp_flags = options.flags.filter(|flags| flags.set | flags.mask != 0);
        options.rule.direction = direction;
        options.rule.log = log;
        options.rule.quick = quick;
        options.rule.family = family;
        let mut draft = Draft::over(options.rule, interfaces, protocols, from_to);
        draft.users = options.users;
        draft.groups = options.groups;
        draft.icmp = options.icmp;
        self.add(&draft);
        Ok(())
    }

    fn block(&mut self) -> Parsed<Action> {
        self.next();
        let (icmp, icmp6) = (PORT_UNREACHABLE, PORT_UNREACHABLE6);
        let Kind::Key(key) = *self.peek() else {
            return Ok(Action::Block(self.default_block()));
        };
        let block = match key {
            "drop" => Block::Drop,
            "return" => Block::Return { icmp, icmp6 },
            "return-rst" => return self.return_rst(),
            "return-icmp" | "return-icmp6" => return self.return_icmp(key == "return-icmp6"),
            _ => return Ok(Action::Block(self.default_block())),
        };
        self.next();
        Ok(Action::Block(block))
    }

    fn default_block(&self) -> Block {
        match self.block_policy {
            BlockPolicy::Drop => Block::Drop,
            BlockPolicy::Return => Block::Return { icmp: PORT_UNREACHABLE, icmp6: PORT_UNREACHABLE6 },
        }
    }

    fn return_rst(&mut self) -> Parsed<Action> {
        self.next();
        let mut ttl = 0;
        if self.eat_char('(') {
            self.expect_key("ttl")?;
            let number = self.number()?;
            self.expect_char(')')?;
            ttl = match u8::try_from(number) {
                Ok(ttl) => ttl,
                Err(_) => return self.fail(format!("illegal ttl value {number}")),
            };
        }
        Ok(Action::Block(Block::ReturnRst { ttl }))
    }

    fn return_icmp(&mut self, six: bool) -> Parsed<Action> {
        self.next();
        let (mut icmp, mut icmp6) = (PORT_UNREACHABLE, PORT_UNREACHABLE6);
        if self.eat_char('(') {
            if six {
                icmp6 = self.return_code(Family::Inet6, icmp6.0)?;
            } else {
                icmp = self.return_code(Family::Inet, icmp.0)?;
                if !self.at_char(')') {
                    self.eat_char(',');
                    icmp6 = self.return_code(Family::Inet6, icmp6.0)?;
                }
            }
            self.expect_char(')')?;
        }
        Ok(Action::Block(Block::ReturnIcmp { icmp, icmp6 }))
    }

    /// Options in any order, up to the first word that is not one.
    pub(super) fn filter_options(&mut self, action: Action) -> Parsed<Options> {
        let mut options = Options::new(action);
        loop {
            let key = match *self.peek() {
                Kind::Key(key) => key,
                Kind::Char('!') => "tagged",
                _ => break,
            };
            if !self.filter_option(key, &mut options)? && !self.matching_option(key, &mut options)? {
                break;
            }
        }
        let empty = |text: &String| !text.is_empty();
        options.rule.label = options.rule.label.filter(empty);
        options.rule.tag = options.rule.tag.filter(empty);
        Ok(options)
    }

    /// Options that say what a rule does besides its action.
    fn filter_option(&mut self, key: &str, options: &mut Options) -> Parsed<bool> {
        match key {
            "no" | "keep" | "modulate" | "synproxy" => self.state_option(key, options)?,
            "label" => {
                self.next();
                let label = self.word()?;
                if std::mem::replace(&mut options.label, true) {
                    return self.fail("label cannot be redefined");
                }
                options.rule.label = Some(label);
            }
            "tag" => {
                self.next();
                options.rule.tag = Some(self.words()?);
            }
            "rtable" => {
                self.next();
                options.rule.rtable = Some(self.routing_table()?);
            }
            "allow-opts" => {
                self.next();
                options.rule.allow_opts = true;
            }
            "pipe" | "queue" if options.rule.action == Action::Dummynet => {
                self.next();
                let number = self.number()?;
                let Some(number) = u16::try_from(number).ok().filter(|number| *number != 0) else {
                    return self.fail(format!("illegal {key} number {number}"));
                };
                options.rule.dummynet =
                    Some(if key == "pipe" { Dummynet::Pipe(number) } else { Dummynet::Queue(number) });
            }
            "queue" => return self.fail("queueing (altq) does not exist on macOS"),
            "divert-to" | "divert-reply" => return self.fail(format!("`{key}` does not exist on macOS")),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Options that restrict what a rule matches.
    fn matching_option(&mut self, key: &str, options: &mut Options) -> Parsed<bool> {
        match key {
            "user" | "group" => {
                self.next();
                let user = key == "user";
                let mut ids = self.list(if user { Self::user } else { Self::group })?;
                let known = if user { &mut options.users } else { &mut options.groups };
                // Later entries come first, because pfctl prepends to its list.
                ids.append(known);
                *known = ids;
            }
            "flags" => {
                self.next();
                let flags = self.tcp_flags()?;
                if options.flags.replace(flags).is_some() {
                    return self.fail("flags cannot be redefined");
                }
            }
            "icmp-type" | "icmp6-type" => {
                self.next();
                let icmp = self.icmp(if key == "icmp-type" { Family::Inet } else { Family::Inet6 })?;
                if !options.icmp.is_empty() {
                    return self.fail("icmp-type cannot be redefined");
                }
                options.icmp = icmp;
            }
            "tos" => {
                self.next();
                let tos = self.tos()?;
                if std::mem::replace(&mut options.tos, true) {
                    return self.fail("tos cannot be redefined");
                }
                options.rule.tos = tos;
            }
            "fragment" => {
                self.next();
                options.rule.fragment = true;
            }
            "tagged" => options.rule.tagged = self.tagged()?,
            "probability" => {
                self.next();
                options.rule.probability = self.probability()?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn probability(&mut self) -> Parsed<u32> {
        let text = self.number_or_word()?;
        let Some(probability) = parse_probability(&text) else {
            return self.fail(format!("invalid probability `{text}`"));
        };
        Ok(probability)
    }

    pub(super) fn check_flags(&mut self, options: &Options, protocols: &[u8], os: bool) -> Parsed<()> {
        let flags = options.flags.unwrap_or(TcpFlags { set: 0, mask: 0 });
        if flags.set & flags.mask != flags.set {
            return self.fail("flags always false");
        }
        if protocols.is_empty() || protocols.contains(&TCP) {
            return Ok(());
        }
        if flags.set | flags.mask != 0 {
            return self.fail("flags only apply to tcp");
        }
        if os {
            return self.fail("OS fingerprinting only applies to tcp");
        }
        Ok(())
    }

    /// The flags of a rule that creates no state, such as an anchor rule.
    pub(super) fn plain_flags(options: &Options) -> Option<TcpFlags> {
        options.flags.filter(|flags| flags.set | flags.mask != 0)
    }
}

/// Parses `0.5` or `50%` to a fraction of 2^32; never 0, which would mean no probability.
pub(in crate::pf) fn parse_probability(text: &str) -> Option<u32> {
    let (number, scale) = match text.strip_suffix('%') {
        Some(number) => (number, 0.01),
        None => (text, 1.0),
    };
    let decimal =
        number.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'-' | b'+'));
    let share = number.parse::<f64>().ok().filter(|_| decimal)? * scale;
    let share = (share * f64::from(u32::MAX) + 0.5).floor();
    if !(0.0..=f64::from(u32::MAX)).contains(&share) {
        return None;
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let share = share as u32;
    Some(share.max(1))
}
