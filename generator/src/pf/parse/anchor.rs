//! `anchor` and its variants, braces, and `load anchor`.
//!
//! It exists because an anchor rule is a filter rule that calls a ruleset, whose rules may be inline in braces. Sees:
//! the parser, expand. Never: where a file is.

use crate::pf::expand::Draft;
use crate::pf::expand::FromTo;
use crate::pf::parse::scrub::shared_family;
use crate::pf::parse::{Frame, Parsed, Parser, Section, parse_at};
use crate::pf::syntax::{Action, AnchorCall, LoadAnchor, NumberMatch, Position, Rule, RuleLists, Ruleset};
use crate::pf::token::Kind;

/// Longest component of an anchor path, and longest path.
const LONGEST_COMPONENT: usize = 63;
const LONGEST_PATH: usize = 1023;

impl Parser<'_> {
    pub(super) fn anchor_rule(&mut self) -> Parsed<()> {
        let Kind::Key(key) = self.next() else {
            return self.unexpected();
        };
        match key {
            "anchor" => self.filter_anchor(),
            "nat-anchor" => self.plain_anchor(Action::Nat, Section::Translation),
            "rdr-anchor" => self.plain_anchor(Action::Rdr, Section::Translation),
            "binat-anchor" => self.plain_anchor(Action::Binat, Section::Translation),
            "scrub-anchor" => self.plain_anchor(Action::Scrub, Section::Normalization),
            _ => self.plain_anchor(Action::Dummynet, Section::Filtering),
        }
    }

    fn plain_anchor(&mut self, action: Action, section: Section) -> Parsed<()> {
        let name = self.words()?;
        let mut rule = Rule::new(action);
        if matches!(action, Action::Scrub | Action::Dummynet) {
            rule.direction = self.direction();
            (rule.log, rule.quick) = self.log_quick()?;
        }
        let mut interfaces = self.interfaces()?;
        if action == Action::Binat {
            // pfctl accepts and ignores them.
            interfaces.clear();
        }
        rule.family = self.family();
        let protocols = self.protocols()?;
        let from_to = self.endpoints()?;
        // pfctl prints this after a scrub-anchor, and so accepts it.
        if action == Action::Scrub && self.eat_key("fragment") {
            self.expect_key("reassemble")?;
        }
        if self.eat_key("rtable") {
            rule.rtable = Some(self.routing_table()?);
        }
        self.rule_ends()?;
        self.section(section)?;
        self.check_name(&name)?;
        self.check_plain_anchor(action, &protocols, &from_to)?;
        shared_family(&from_to.source, &mut rule.family);
        shared_family(&from_to.destination, &mut rule.family);
        rule.anchor = Some(call(&name, None));
        self.add(&Draft::over(rule, interfaces, protocols, from_to));
        Ok(())
    }

    fn check_plain_anchor(&mut self, action: Action, protocols: &[u8], from_to: &FromTo) -> Parsed<()> {
        if action == Action::Binat {
            if protocols.len() > 1 {
                return self.fail("proto list expansion not supported in binat-anchor");
            }
            let FromTo { source, source_ports, destination, destination_ports, .. } = from_to;
            let plain = source.is_empty() && destination.is_empty();
            if !plain || !source_ports.is_empty() || !destination_ports.is_empty() {
                return self.fail("fromto parameter not supported in binat-anchor");
            }
        }
        if action == Action::Rdr {
            if !from_to.source_ports.is_empty() {
                return self.fail("source port parameter not supported in rdr-anchor");
            }
            match from_to.destination_ports.as_slice() {
                [] | [NumberMatch::Equal(_)] => {}
                [_] => return self.fail("destination port operators not supported in rdr-anchor"),
                _ => return self.fail("destination port list expansion not supported in rdr-anchor"),
            }
        }
        Ok(())
    }

    fn filter_anchor(&mut self) -> Parsed<()> {
        let start = self.start;
        let name = if self.at_word() { Some(self.word()?) } else { None };
        let direction = self.direction();
        let quick = self.eat_key("quick");
        let interfaces = self.interfaces()?;
        let mut family = self.family();
        let protocols = self.protocols()?;
        let from_to = self.endpoints()?;
        let mut options = self.filter_options(Action::Pass)?;
        let body = if self.at_char('{') {
            Some(self.body()?)
        } else {
            self.rule_ends()?;
            None
        };
        self.start = start;
        self.section(Section::Filtering)?;
        let call = self.filter_call(name, body)?;
        self.check_tags(&options.rule)?;
        self.check_flags(&options, &protocols, !from_to.oses.is_empty())?;
        if options.state.as_ref().is_some_and(|(kind, _)| *kind != crate::pf::syntax::StateKind::None) {
            return self.fail("cannot specify state handling on anchors");
        }
        shared_family(&from_to.source, &mut family);
        shared_family(&from_to.destination, &mut family);
        options.rule.tcp_flags = Self::plain_flags(&options);
        let mut rule = Rule { anchor: Some(call), direction, quick, family, ..options.rule };
        // pfctl accepts both options in an anchor rule, and ignores them.
        rule.fragment = false;
        rule.allow_opts = false;
        let mut draft = Draft::over(rule, interfaces, protocols, from_to);
        draft.users = options.users;
        draft.groups = options.groups;
        draft.icmp = options.icmp;
        self.add(&draft);
        Ok(())
    }

    fn filter_call(&mut self, name: Option<String>, body: Option<Ruleset>) -> Parsed<AnchorCall> {
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            let Some(body) = body else {
                return self.fail("anchors without explicit rules must specify a name");
            };
            self.unnamed += 1;
            let path = format!("_{}", self.unnamed);
            return Ok(AnchorCall { name: String::new(), path, wildcard: false, body: Some(Box::new(body)) });
        };
        if name.starts_with('_') || name.contains("/_") {
            return self.fail("anchor names beginning with `_` are reserved for internal use");
        }
        self.check_name(&name)?;
        if let Some(body) = &body {
            let frame = self.frames.last_mut().expect("the file's own frame is always there");
            if frame.inline.contains(&name) {
                return self.fail(format!("inline anchor `{name}` already exists"));
            }
            if !body.rules.is_empty() {
                frame.inline.push(name.clone());
            }
        }
        Ok(call(&name, body.filter(|body| !body.rules.is_empty())))
    }

    fn check_name(&mut self, name: &str) -> Parsed<()> {
        let long = name.len() > LONGEST_PATH || name.split('/').any(|part| part.len() > LONGEST_COMPONENT);
        if long || name.is_empty() {
            return self.fail(format!("anchor name `{name}` is empty or too long"));
        }
        Ok(())
    }

    /// The rules in braces; nothing may follow the opening brace on its line.
    fn body(&mut self) -> Parsed<Ruleset> {
        self.expect_char('{')?;
        self.descend()?;
        self.end_of_line()?;
        self.frames.push(Frame::default());
        loop {
            if self.eat_newline() {
                continue;
            }
            if self.eat_char('}') {
                break;
            }
            self.peek();
            self.start = self.lexer.place;
            match *self.peek() {
                Kind::Key("pass" | "block") => self.filter()?,
                Kind::Key(key) if key == "anchor" || key.ends_with("-anchor") => self.anchor_rule()?,
                _ => return self.unexpected(),
            }
            self.end_of_line()?;
        }
        self.ascend();
        let mut ruleset = self.frames.pop().map(|frame| frame.ruleset).unwrap_or_default();
        // pfctl loads only the filter rules in braces.
        ruleset.rules = RuleLists { filter: ruleset.rules.filter, ..RuleLists::default() };
        Ok(ruleset)
    }

    pub(super) fn load_anchor(&mut self) -> Parsed<()> {
        self.next();
        self.expect_key("anchor")?;
        let name = self.words()?;
        self.expect_key("from")?;
        let file = self.words()?;
        self.peek();
        let anchor = if self.anchor.is_empty() { name } else { format!("{}/{name}", self.anchor) };
        self.check_name(&anchor)?;
        self.loads.push(LoadAnchor { place: self.start, anchor, file, ruleset: None });
        Ok(())
    }

    /// Handles a file that cannot be read: an error, unless every Mac has that file.
    pub(super) fn absent(&mut self, place: Position, file: &str, error: &str) {
        if STOCK_FILES.contains(&file) {
            self.note(place, format!("`{file}`, which every Mac has, is not here: read without it"));
        } else {
            self.errors.push((place, error.to_owned()));
        }
    }

    /// Parses the files of `load anchor`, after everything else and only for the main ruleset.
    pub(super) fn load_anchors(&mut self) {
        if self.environment.reader.is_none() || !self.anchor.is_empty() || !self.errors.is_empty() {
            return;
        }
        let mut loads = std::mem::take(&mut self.loads);
        let mut at = 0;
        while at < loads.len() {
            let load = &mut loads[at];
            at += 1;
            let parsed = match self.read(&load.file) {
                Ok(text) => parse_at(&text, self.environment, &load.anchor),
                Err(reason) => {
                    let (place, file) = (load.place, load.file.clone());
                    self.absent(place, &file, &format!("cannot load `{file}`: {reason}"));
                    continue;
                }
            };
            match parsed {
                Ok(mut ruleset) => {
                    // pfctl appends the `load anchor` statements of a loaded file to the same list.
                    let more = std::mem::take(&mut ruleset.loads);
                    load.ruleset = Some(Box::new(ruleset));
                    let place = load.place;
                    if loads.len() + more.len() <= MOST_LOADS {
                        loads.extend(more.into_iter().map(|more| LoadAnchor { place, ..more }));
                    }
                }
                Err(mut errors) => {
                    let name = load.file.clone();
                    for error in &mut errors {
                        error.file.get_or_insert_with(|| name.clone());
                    }
                    self.foreign_errors.append(&mut errors);
                }
            }
        }
        self.loads = loads;
    }
}

/// Files that the stock ruleset of macOS refers to, and that no other system has.
const STOCK_FILES: [&str; 2] = ["/etc/pf.anchors/com.apple", "/etc/pf.os"];

/// Most anchors loaded, directly and indirectly: a file that loads itself ends here.
const MOST_LOADS: usize = 1000;

fn call(name: &str, body: Option<Ruleset>) -> AnchorCall {
    let (path, wildcard) = match name.strip_suffix("/*") {
        Some(parent) => (parent, true),
        None => (name, false),
    };
    AnchorCall { name: name.to_owned(), path: path.to_owned(), wildcard, body: body.map(Box::new) }
}
