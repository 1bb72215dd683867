//! The canonical form: a ruleset as text, as `pfctl -o none -nv` prints it.
//!
//! It exists so that a person can read what the kernel gets, and so that parsing can be verified: the output parses
//! to the same ruleset. Sees: names, syntax, the keywords of the grammar. Never: the original text.

use std::fmt::Display;

use super::names::{self, Names};
use super::syntax::{
    Action, Address, AnchorCall, Block, Direction, Dummynet, Family, FragmentCache, HostMatch, Icmp, Log,
    NumberMatch, PortMatch, Rule, Ruleset, StateKind, TcpFlags, UNKNOWN_ID,
};

mod pool;
mod printer;
mod setting;
mod state;

use printer::{Printer, bare, bare_words, is_bare, last_part, quoted, show_address};

pub(super) use printer::ip;

/// Prints a ruleset, with the names of a system.
///
/// Settings come first, then scrub, nat, rdr, binat, filter and dummynet rules, then `load anchor`. The output of
/// `parse` on the result is the same ruleset, positions aside. It deviates from pfctl where pfctl's output would not
/// parse to the same rule: state options precede a probability, a name that is a keyword is printed as a number, and
/// words are quoted where necessary.
pub fn print(ruleset: &Ruleset, names: Names) -> String {
    Printer::new(ruleset, names, false).ruleset(ruleset)
}

/// Prints a ruleset as `pfctl -nv` does, which is less than [`print()`]: only the last component of an anchor's path,
/// with its slash, no `load anchor`, and six digits of a probability. The output can be parsed, and prints the same
/// again.
pub fn print_dry_run(ruleset: &Ruleset, names: Names) -> String {
    Printer::new(ruleset, names, true).ruleset(ruleset)
}

/// One rule on one line as macOS prints it, without a line break and without the rules in its braces.
pub fn print_rule(rule: &Rule) -> String {
    let mut printer = Printer::new(&Ruleset::default(), Names::MacOs, false);
    printer.rule(rule);
    printer.out
}

impl Printer {
    fn ruleset(mut self, ruleset: &Ruleset) -> String {
        let mut settings = ruleset.settings.as_slice();
        while let Some(first) = settings.first() {
            let together = settings
                .iter()
                .take_while(|next| setting::is_skip(next) && next.place == first.place)
                .count();
            let (now, later) = settings.split_at(together.max(1));
            if together > 0 {
                self.skips(now);
            } else {
                self.setting(&first.value);
            }
            settings = later;
        }
        self.rules(ruleset, 0);
        if !self.dry_run {
            for load in &ruleset.loads {
                self.put(format_args!("load anchor {} from {}\n", quoted(&load.anchor), quoted(&load.file)));
            }
        }
        self.out
    }

    fn rules(&mut self, ruleset: &Ruleset, depth: usize) {
        let bodies = |rule: &Rule| {
            let call = rule.anchor.as_ref().filter(|call| call.body.is_some());
            call.map(|call| last_part(&call.name).to_owned())
        };
        let parts: Vec<String> = ruleset.rules.filter.iter().filter_map(bodies).collect();
        for rule in ruleset.rules.lists().into_iter().flatten() {
            self.put("  ".repeat(depth));
            let call = rule.anchor.as_ref();
            self.whole_path = call.is_some_and(|call| {
                let part = last_part(&call.name);
                call.body.is_some() && parts.iter().filter(|other| *other == part).count() > 1
            });
            self.rule(rule);
            match call.and_then(|call| call.body.as_ref()) {
                Some(body) => {
                    self.put(" {\n");
                    self.rules(body, depth + 1);
                    self.put("  ".repeat(depth));
                    self.put("}\n");
                }
                None => self.put("\n"),
            }
        }
    }

    fn rule(&mut self, rule: &Rule) {
        self.action(rule);
        match rule.direction {
            Some(Direction::In) => self.put(" in"),
            Some(Direction::Out) => self.put(" out"),
            None => {}
        }
        self.log(rule.log);
        if rule.quick {
            self.put(" quick");
        }
        if let Some(interface) = &rule.interface {
            let not = if interface.not { "! " } else { "" };
            self.put(format_args!(" on {not}{}", bare(&interface.name)));
        }
        if let Some(route) = &rule.route {
            self.route(route);
        }
        match rule.family {
            Some(Family::Inet) => self.put(" inet"),
            Some(Family::Inet6) => self.put(" inet6"),
            None => {}
        }
        if let Some(protocol) = rule.protocol {
            let name = self.names.protocol_name(protocol);
            match name.filter(|name| is_bare(name) && self.names.protocol(name) == Some(protocol)) {
                Some(name) => self.put(format_args!(" proto {name}")),
                None => self.put(format_args!(" proto {protocol}")),
            }
        }
        self.endpoints(rule);
        self.conditions(rule);
        self.state(rule);
        self.tail(rule);
    }

    fn action(&mut self, rule: &Rule) {
        if let Some(call) = &rule.anchor {
            return self.anchor(rule.action, call);
        }
        self.put(match rule.action {
            Action::Pass => "pass",
            Action::Block(_) => "block",
            Action::Scrub => "scrub",
            Action::NoScrub => "no scrub",
            Action::Nat => "nat",
            Action::NoNat => "no nat",
            Action::Rdr => "rdr",
            Action::NoRdr => "no rdr",
            Action::Binat => "binat",
            Action::NoBinat => "no binat",
            Action::Dummynet => "dummynet",
            Action::NoDummynet => "no dummynet",
        });
        if rule.nat_pass {
            self.put(" pass");
        }
        if let Action::Block(block) = rule.action {
            self.block(block, rule.family);
        }
    }

    fn anchor(&mut self, action: Action, call: &AnchorCall) {
        self.put(match action {
            Action::Pass | Action::Block(_) => "anchor",
            Action::Scrub | Action::NoScrub => "scrub-anchor",
            Action::Nat | Action::NoNat => "nat-anchor",
            Action::Rdr | Action::NoRdr => "rdr-anchor",
            Action::Binat | Action::NoBinat => "binat-anchor",
            Action::Dummynet | Action::NoDummynet => "dummynet-anchor",
        });
        let cut = match call.name.rfind('/') {
            Some(_) if self.dry_run && !self.whole_path && call.body.is_some() => last_part(&call.name),
            Some(at) if self.dry_run && call.body.is_none() => &call.name[at..],
            _ => &call.name,
        };
        if !cut.is_empty() {
            self.put(format_args!(" {}", quoted(cut)));
        }
    }

    fn block(&mut self, block: Block, family: Option<Family>) {
        let code = |family, (kind, code): (u8, u8)| {
            names::icmp_code_name(family, kind, code).map_or_else(|| code.to_string(), str::to_owned)
        };
        match block {
            Block::Drop => self.put(" drop"),
            Block::Return { .. } => self.put(" return"),
            Block::ReturnRst { ttl: 0 } => self.put(" return-rst"),
            Block::ReturnRst { ttl } => self.put(format_args!(" return-rst(ttl {ttl})")),
            Block::ReturnIcmp { icmp, icmp6 } => {
                let (four, six) = (code(Family::Inet, icmp), code(Family::Inet6, icmp6));
                self.put(match family {
                    Some(Family::Inet) => format!(" return-icmp({four})"),
                    Some(Family::Inet6) => format!(" return-icmp6({six})"),
                    None => format!(" return-icmp({four}, {six})"),
                });
            }
        }
    }

    fn log(&mut self, log: Log) {
        if !log.on {
            return;
        }
        self.put(" log");
        let mut options = Vec::new();
        if log.all {
            options.push("all".to_owned());
        }
        if log.user {
            options.push("user".to_owned());
        }
        if log.interface != 0 {
            options.push(format!("to pflog{}", log.interface));
        }
        if !options.is_empty() {
            self.put(format_args!(" ({})", options.join(", ")));
        }
    }

    fn endpoints(&mut self, rule: &Rule) {
        let everything = HostMatch::default();
        let binat = is_binat(rule);
        if rule.source == everything && rule.destination == everything && rule.os.is_none() && !binat {
            return self.put(" all");
        }
        self.put(" from ");
        self.endpoint(&rule.source, rule);
        if let Some(os) = &rule.os {
            self.put(format_args!(" os {}", quoted(os)));
        }
        self.put(" to ");
        self.endpoint(&rule.destination, rule);
    }

    fn endpoint(&mut self, endpoint: &HostMatch, rule: &Rule) {
        if endpoint.not {
            self.put("! ");
        }
        // The grammar has no `! any`, and binat does not accept `any` as its source.
        let is_host = endpoint.not || (is_binat(rule) && std::ptr::eq(endpoint, &raw const rule.source));
        match (&endpoint.address, rule.family) {
            (Address::Any, Some(Family::Inet)) if is_host => self.put("0.0.0.0/0"),
            (Address::Any, Some(Family::Inet6)) if is_host => self.put("::/0"),
            (address, _) => self.put(show_address(address)),
        }
        if let Some(port) = endpoint.port {
            self.put(" port");
            self.port(port, rule.protocol);
        }
    }

    fn port(&mut self, port: PortMatch, protocol: Option<u8>) {
        let names = self.names;
        self.comparison(port, |port: &u16| {
            let name = names.service_name(protocol, *port);
            let name = name.filter(|name| is_bare(name) && names.service(name) == Some(*port));
            name.map_or_else(|| port.to_string(), str::to_owned)
        });
    }

    fn comparison<T: Display>(&mut self, comparison: NumberMatch<T>, named: impl Fn(&T) -> String) {
        match comparison {
            NumberMatch::Equal(a) => self.put(format_args!(" = {}", named(&a))),
            NumberMatch::NotEqual(a) => self.put(format_args!(" != {}", named(&a))),
            NumberMatch::Less(a) => self.put(format_args!(" < {a}")),
            NumberMatch::LessEqual(a) => self.put(format_args!(" <= {a}")),
            NumberMatch::Greater(a) => self.put(format_args!(" > {a}")),
            NumberMatch::GreaterEqual(a) => self.put(format_args!(" >= {a}")),
            NumberMatch::Range(a, b) => self.put(format_args!(" {a}:{b}")),
            NumberMatch::Inside(a, b) => self.put(format_args!(" {a} >< {b}")),
            NumberMatch::Outside(a, b) => self.put(format_args!(" {a} <> {b}")),
        }
    }

    /// The conditions of a rule besides addresses.
    fn conditions(&mut self, rule: &Rule) {
        for (ids, word) in [(rule.user, "user"), (rule.group, "group")] {
            if let Some(ids) = ids {
                self.put(format_args!(" {word}"));
                self.comparison(
                    ids,
                    |id: &u32| {
                        if *id == UNKNOWN_ID { "unknown".to_owned() } else { id.to_string() }
                    },
                );
            }
        }
        self.flags(rule);
        if let Some(icmp) = rule.icmp {
            self.icmp(icmp, rule.family.unwrap_or(Family::Inet));
        }
        if rule.tos != 0 {
            self.put(format_args!(" tos 0x{:02x}", rule.tos));
        }
    }

    fn flags(&mut self, rule: &Rule) {
        if let Some(TcpFlags { set, mask }) = rule.tcp_flags {
            let letters = |bits: u8| -> String {
                let letters = names::FLAG_LETTERS.chars().enumerate();
                letters.filter(|(bit, _)| bits & (1 << bit) != 0).map(|(_, letter)| letter).collect()
            };
            self.put(format_args!(" flags {}/{}", letters(set), letters(mask)));
        } else if rule.action == Action::Pass
            && matches!(rule.protocol, None | Some(names::TCP))
            && !rule.fragment
            && rule.anchor.is_none()
            && rule.state != StateKind::None
        {
            self.put(" flags any");
        }
    }

    fn icmp(&mut self, icmp: Icmp, family: Family) {
        self.put(if family == Family::Inet { " icmp-type " } else { " icmp6-type " });
        match names::icmp_type_name(family, icmp.kind) {
            Some(name) => self.put(name),
            None => self.put(icmp.kind),
        }
        if let Some(code) = icmp.code {
            self.put(" code ");
            match names::icmp_code_name(family, icmp.kind, code) {
                Some(name) => self.put(name),
                None => self.put(code),
            }
        }
    }

    /// What a rule does besides its action.
    fn tail(&mut self, rule: &Rule) {
        if rule.fragment {
            self.put(" fragment");
        }
        self.scrub(rule);
        if let Some(label) = &rule.label {
            self.put(format_args!(" label {}", quoted(label)));
        }
        // In a filter rule a tag may be several words, in a translation rule only one.
        let several = matches!(rule.action, Action::Pass | Action::Block(_));
        if let Some(tag) = &rule.tag {
            self.put(format_args!(" tag {}", if several { bare_words(tag) } else { bare(tag) }));
        }
        if let Some(tagged) = &rule.tagged {
            let not = if tagged.not { "! " } else { "" };
            self.put(format_args!(" {not}tagged {}", bare_words(&tagged.tag)));
        }
        if let Some(table) = rule.rtable {
            self.put(format_args!(" rtable {table}"));
        }
        match rule.dummynet {
            Some(Dummynet::Pipe(number)) => self.put(format_args!(" pipe {number}")),
            Some(Dummynet::Queue(number)) => self.put(format_args!(" queue {number}")),
            None => {}
        }
        if let Some(pool) = &rule.redirect {
            self.put(" -> ");
            self.redirect(pool, rule.action);
        }
    }

    fn scrub(&mut self, rule: &Rule) {
        let scrub = rule.scrub;
        if scrub.no_df {
            self.put(" no-df");
        }
        if scrub.random_id {
            self.put(" random-id");
        }
        if scrub.min_ttl != 0 {
            self.put(format_args!(" min-ttl {}", scrub.min_ttl));
        }
        if scrub.max_mss != 0 {
            self.put(format_args!(" max-mss {}", scrub.max_mss));
        }
        if rule.allow_opts {
            self.put(" allow-opts");
        }
        if rule.action == Action::Scrub {
            if scrub.reassemble_tcp {
                self.put(" reassemble tcp");
            }
            self.put(match scrub.fragments {
                FragmentCache::Reassemble => " fragment reassemble",
                FragmentCache::Crop => " fragment crop",
                FragmentCache::DropOverlap => " fragment drop-ovl",
            });
        }
    }
}

/// Whether it is a binat rule, not an anchor call; binat does not accept `all`.
fn is_binat(rule: &Rule) -> bool {
    matches!(rule.action, Action::Binat | Action::NoBinat) && rule.anchor.is_none()
}
