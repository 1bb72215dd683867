//! `scrub`, and `antispoof`, which is shorthand for filter rules.
//!
//! It exists because normalization has options of its own. Sees: the parser, expand. Never: states or translation.

use crate::pf::expand::Draft;
use crate::pf::host::{self, Host, Modifiers};
use crate::pf::parse::{Parsed, Parser, Section};
use crate::pf::syntax::{
    Action, Address, Block, Direction, Dynamic, Family, FragmentCache, Interface, Log, Rule, Tagged,
};
use crate::pf::token::Kind;

/// Longest tag or label.
pub(super) const LONGEST_TAG: usize = 63;

/// The options of a scrub rule that have been given: none may be repeated.
#[derive(Default)]
struct Given {
    min_ttl: bool,
    max_mss: bool,
    fragments: bool,
}

impl Parser<'_> {
    pub(super) fn scrub(&mut self, no: bool) -> Parsed<()> {
        self.next();
        let mut rule = Rule::new(if no { Action::NoScrub } else { Action::Scrub });
        rule.direction = self.direction();
        let (log, quick) = self.log_quick()?;
        rule.log = log;
        let interfaces = self.interfaces()?;
        rule.family = self.family();
        let protocols = self.protocols()?;
        let from_to = self.endpoints()?;
        let mut given = Given::default();
        while self.scrub_option(&mut rule, &mut given)? {}
        self.rule_ends()?;
        self.section(Section::Normalization)?;
        if quick {
            return self.fail("scrub rules do not support `quick`");
        }
        if rule.scrub.reassemble_tcp && rule.direction.is_some() {
            return self.fail("reassemble tcp rules can not specify direction");
        }
        if no {
            // They have no effect there, and pfctl does not print them.
            rule.scrub.reassemble_tcp = false;
            rule.scrub.fragments = FragmentCache::default();
        }
        self.check_tags(&rule)?;
        self.add(&Draft::over(rule, interfaces, protocols, from_to));
        Ok(())
    }

    fn scrub_option(&mut self, rule: &mut Rule, given: &mut Given) -> Parsed<bool> {
        let key = match *self.peek() {
            Kind::Key(key) => key,
            Kind::Char('!') => "tagged",
            _ => return Ok(false),
        };
        match key {
            "no-df" => {
                self.next();
                if std::mem::replace(&mut rule.scrub.no_df, true) {
                    return self.fail("no-df cannot be respecified");
                }
            }
            "random-id" => {
                self.next();
                if std::mem::replace(&mut rule.scrub.random_id, true) {
                    return self.fail("random-id cannot be respecified");
                }
            }
            "min-ttl" => {
                self.next();
                let ttl = self.number()?;
                if std::mem::replace(&mut given.min_ttl, true) {
                    return self.fail("min-ttl cannot be respecified");
                }
                let Ok(ttl) = u8::try_from(ttl) else {
                    return self.fail(format!("illegal min-ttl value {ttl}"));
                };
                rule.scrub.min_ttl = ttl;
            }
            "max-mss" => {
                self.next();
                let mss = self.number()?;
                if std::mem::replace(&mut given.max_mss, true) {
                    return self.fail("max-mss cannot be respecified");
                }
                let Ok(mss) = u16::try_from(mss) else {
                    return self.fail(format!("illegal max-mss value {mss}"));
                };
                rule.scrub.max_mss = mss;
            }
            "fragment" => self.fragment_cache(rule, given)?,
            "reassemble" => {
                self.next();
                let what = self.word()?;
                if !what.eq_ignore_ascii_case("tcp") {
                    return self.fail(format!("scrub reassemble supports only tcp, not `{what}`"));
                }
                if std::mem::replace(&mut rule.scrub.reassemble_tcp, true) {
                    return self.fail("reassemble tcp cannot be respecified");
                }
            }
            "rtable" => {
                self.next();
                rule.rtable = Some(self.routing_table()?);
            }
            "tagged" => rule.tagged = self.tagged()?,
            "set-tos" => return self.fail("`set-tos` does not exist on macOS"),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn fragment_cache(&mut self, rule: &mut Rule, given: &mut Given) -> Parsed<()> {
        self.next();
        let Kind::Key(key) = *self.peek() else {
            return self.unexpected();
        };
        let cache = match key {
            "reassemble" => FragmentCache::Reassemble,
            "crop" => FragmentCache::Crop,
            "drop-ovl" => FragmentCache::DropOverlap,
            _ => return self.unexpected(),
        };
        self.next();
        if std::mem::replace(&mut given.fragments, true) {
            return self.fail("fragcache cannot be respecified");
        }
        rule.scrub.fragments = cache;
        Ok(())
    }

    /// `tagged x`, `! tagged x`.
    pub(super) fn tagged(&mut self) -> Parsed<Option<Tagged>> {
        let not = self.eat_char('!');
        self.expect_key("tagged")?;
        let tag = self.words()?;
        Ok((!tag.is_empty()).then_some(Tagged { not, tag }))
    }

    pub(super) fn check_tags(&mut self, rule: &Rule) -> Parsed<()> {
        let long = |tag: Option<&str>| tag.is_some_and(|tag| tag.len() > LONGEST_TAG);
        if long(rule.tag.as_deref()) || long(rule.tagged.as_ref().map(|tagged| tagged.tag.as_str())) {
            return self.fail(format!("tag too long, max {LONGEST_TAG} chars"));
        }
        if long(rule.label.as_deref()) {
            return self.fail(format!("rule label too long, max {LONGEST_TAG} chars"));
        }
        Ok(())
    }

    pub(super) fn antispoof(&mut self) -> Parsed<()> {
        self.next();
        let (log, quick) = self.log_quick()?;
        self.expect_key("for")?;
        let interfaces = self.list(Self::antispoof_interface)?;
        let mut rule = Rule::new(Action::Block(Block::Drop));
        rule.direction = Some(Direction::In);
        rule.quick = quick;
        rule.family = self.family();
        loop {
            if self.eat_key("label") {
                let label = self.word()?;
                if rule.label.replace(label).is_some() {
                    return self.fail("label cannot be redefined");
                }
            } else if self.eat_key("rtable") {
                rule.rtable = Some(self.routing_table()?);
            } else {
                break;
            }
        }
        self.rule_ends()?;
        self.section(Section::Filtering)?;
        self.check_tags(&rule)?;
        rule.label = rule.label.filter(|label| !label.is_empty());
        for (name, dynamic) in &interfaces {
            self.antispoof_rules(&rule, log, name, *dynamic);
        }
        Ok(())
    }

    fn antispoof_interface(&mut self) -> Parsed<(String, bool)> {
        if !self.eat_char('(') {
            return Ok((self.interface()?, false));
        }
        let name = self.interface()?;
        self.expect_char(')')?;
        if !name.starts_with(|first: char| first.is_ascii_alphabetic()) || name.contains(':') {
            return self.fail(format!("invalid interface name `{name}`"));
        }
        Ok((name, true))
    }

    /// Adds rules for packets from the interface's networks on another interface, and from its own addresses on any
    /// interface.
    fn antispoof_rules(&mut self, rule: &Rule, log: Log, name: &str, dynamic: bool) {
        let networks = Modifiers { network: true, ..Modifiers::default() };
        let environment = self.environment;
        let sources = |modifiers| {
            if dynamic {
                vec![whole(name, modifiers)]
            } else {
                host::addresses_of(environment, name, modifiers)
            }
        };
        let from_networks = sources(networks);
        if !from_networks.is_empty() {
            let mut draft = Draft::new(Rule { log, ..rule.clone() });
            draft.interfaces = vec![Interface { not: true, name: name.to_owned() }];
            draft.source = from_networks;
            self.add(&draft);
        }
        if environment.interface(name).is_some_and(|interface| interface.loopback) {
            return;
        }
        let own = sources(Modifiers::default());
        if !own.is_empty() {
            // pfctl loses the unit of the pflog interface here.
            let mut draft = Draft::new(Rule { log: Log { interface: 0, ..log }, ..rule.clone() });
            draft.source = own;
            self.add(&draft);
        }
    }
}

fn whole(name: &str, modifiers: Modifiers) -> Host {
    let mut host = Host::new(Address::Dynamic(Dynamic {
        interface: name.to_owned(),
        network: modifiers.network,
        broadcast: false,
        peer: false,
        no_alias: false,
        prefix: None,
    }));
    host.mask = 128;
    host
}

/// Sets the family that all hosts share, unless the rule has one.
pub(super) fn shared_family(hosts: &[Host], family: &mut Option<Family>) {
    if family.is_some() {
        return;
    }
    if let Some((first, rest)) = hosts.split_first()
        && rest.iter().all(|host| host.family == first.family)
    {
        *family = first.family;
    }
}
