//! `set …`.
//!
//! It exists because options are the only section about pf itself and not about packets. Sees: the parser, names.
//! Never: a rule, except for the policies that later rules inherit.

use crate::pf::host;
use crate::pf::names;
use crate::pf::parse::{Parsed, Parser};
use crate::pf::syntax::{BlockPolicy, Interface, SetOption, SettingValue, StatePolicy};
use crate::pf::token::Kind;

impl Parser<'_> {
    pub(super) fn option(&mut self) -> Parsed<()> {
        self.next();
        let Kind::Key(key) = *self.peek() else {
            return self.unexpected();
        };
        match key {
            "optimization" | "debug" | "fingerprints" => self.named_option(key),
            "ruleset-optimization" => self.ruleset_optimization(),
            "timeout" => self.settings_list(Self::timeout),
            "limit" => self.settings_list(Self::limit),
            "loginterface" => self.log_interface(),
            "hostid" => self.host_id(),
            "block-policy" => self.set_block_policy(),
            "require-order" => self.set_require_order(),
            "state-policy" => {
                self.next();
                self.state_policy = self.state_policy()?;
                self.set_option(SetOption::StatePolicy(self.state_policy));
                Ok(())
            }
            "skip" => self.skip(),
            _ => self.unexpected(),
        }
    }

    fn set_option(&mut self, option: SetOption) {
        self.set(SettingValue::Option(option));
    }

    fn named_option(&mut self, key: &str) -> Parsed<()> {
        self.next();
        let value = self.word()?;
        self.in_options()?;
        let option = match key {
            "optimization" => {
                if !names::OPTIMIZATIONS.contains(&value.to_ascii_lowercase().as_str()) {
                    return self.fail(format!("unknown optimization `{value}`"));
                }
                SetOption::Optimization(value)
            }
            "debug" => {
                if !["none", "urgent", "misc", "loud"].contains(&value.as_str()) {
                    return self.fail(format!("unknown debug level `{value}`"));
                }
                SetOption::Debug(value)
            }
            _ => {
                if self.environment.reader.is_some()
                    && let Err(reason) = self.read(&value)
                {
                    let error = format!("error loading fingerprints `{value}`: {reason}");
                    self.absent(self.lexer.place, &value, &error);
                }
                SetOption::Fingerprints(value)
            }
        };
        self.set_option(option);
        Ok(())
    }

    /// Affects only how pfctl loads rules, not what they mean, so it is not part of the ruleset.
    fn ruleset_optimization(&mut self) -> Parsed<()> {
        self.next();
        let value = self.words()?;
        if ["none", "basic", "profile"].contains(&value.as_str()) {
            return Ok(());
        }
        self.fail(format!("unknown ruleset-optimization `{value}`"))
    }

    fn settings_list(&mut self, item: fn(&mut Self) -> Parsed<()>) -> Parsed<()> {
        self.next();
        self.list(item)?;
        Ok(())
    }

    fn timeout(&mut self) -> Parsed<()> {
        let name = self.word()?;
        if !matches!(self.peek(), Kind::Number(_)) {
            return self.unexpected();
        }
        let seconds = self.number()?;
        self.in_options()?;
        let Ok(seconds) = u32::try_from(seconds) else {
            return self.fail("only positive values permitted");
        };
        match names::TIMEOUTS.iter().find(|known| known.eq_ignore_ascii_case(&name)) {
            Some(known) => self.set_option(SetOption::Timeout(known, seconds)),
            None => return self.fail(format!("unknown timeout `{name}`")),
        }
        Ok(())
    }

    fn limit(&mut self) -> Parsed<()> {
        let name = self.word()?;
        let count = self.number()?;
        self.in_options()?;
        let Ok(count) = u32::try_from(count) else {
            return self.fail("only positive values permitted");
        };
        match names::LIMITS.iter().find(|known| known.eq_ignore_ascii_case(&name)) {
            Some(known) => self.set_option(SetOption::Limit(known, count)),
            None => return self.fail(format!("unable to set limit `{name}`")),
        }
        Ok(())
    }

    fn log_interface(&mut self) -> Parsed<()> {
        self.next();
        let name = if self.eat_key("all") { "all".to_owned() } else { self.word()? };
        self.in_options()?;
        self.set_option(SetOption::LogInterface((name != "none").then_some(name)));
        Ok(())
    }

    fn host_id(&mut self) -> Parsed<()> {
        self.next();
        let number = if let Kind::Number(number) = *self.peek() {
            self.next();
            number
        } else {
            let word = self.word()?;
            match host::number(&word).and_then(|number| i64::try_from(number).ok()) {
                Some(number) => number,
                None => return self.fail(format!("`{word}` is not a number")),
            }
        };
        match u32::try_from(number) {
            Ok(number) if number != 0 => self.set_option(SetOption::HostId(number)),
            _ => return self.fail("hostid must be non-zero"),
        }
        Ok(())
    }

    fn set_block_policy(&mut self) -> Parsed<()> {
        self.next();
        let policy = if self.eat_key("drop") {
            BlockPolicy::Drop
        } else {
            self.expect_key("return")?;
            BlockPolicy::Return
        };
        self.in_options()?;
        self.block_policy = policy;
        self.set_option(SetOption::BlockPolicy(policy));
        Ok(())
    }

    fn set_require_order(&mut self) -> Parsed<()> {
        self.next();
        self.require_order = if self.eat_key("no") {
            false
        } else {
            let word = self.word()?;
            if word != "yes" {
                return self.fail(format!("invalid value `{word}`, expected `yes` or `no`"));
            }
            true
        };
        self.set_option(SetOption::RequireOrder(self.require_order));
        Ok(())
    }

    pub(super) fn state_policy(&mut self) -> Parsed<StatePolicy> {
        if self.eat_key("if-bound") {
            return Ok(StatePolicy::IfBound);
        }
        self.expect_key("floating")?;
        Ok(StatePolicy::Floating)
    }

    fn skip(&mut self) -> Parsed<()> {
        self.next();
        let mut interfaces = self.interfaces()?;
        if interfaces.is_empty() {
            interfaces.push(Interface { not: false, name: "none".to_owned() });
        }
        if interfaces.iter().any(|interface| interface.not) {
            return self.fail("skip on ! <interface> is not supported");
        }
        for interface in interfaces {
            self.set_option(SetOption::Skip(interface));
        }
        Ok(())
    }
}
