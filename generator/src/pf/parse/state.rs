//! `keep state (…)`: the state of a pass rule, and what its options imply.
//!
//! It exists because pfctl adds much that is not written: a default state, its flags, timeouts. Sees: the parser,
//! names. Never: addresses.

use crate::pf::names;
use crate::pf::parse::options::{Options, StateOption, Track};
use crate::pf::parse::{Parsed, Parser};
use crate::pf::syntax::{Action, Overload, SourceTrack, StateKind, StateOptions, StatePolicy, TcpFlags};
use crate::pf::token::Kind;

/// Largest rate that the kernel can count.
const LARGEST_RATE: u32 = u32::MAX / 1000;
impl Parser<'_> {
    pub(super) fn state_option(&mut self, key: &str, options: &mut Options) -> Parsed<()> {
        self.next();
        self.expect_key("state")?;
        let kind = match key {
            "no" => StateKind::None,
            "keep" => StateKind::Keep,
            "modulate" => StateKind::Modulate,
            _ => StateKind::Synproxy,
        };
        let mut list = Vec::new();
        if kind != StateKind::None && self.eat_char('(') {
            loop {
                list.push(self.state_list_item()?);
                if self.eat_char(')') {
                    break;
                }
                self.eat_char(',');
            }
        }
        if options.state.replace((kind, list)).is_some() {
            return self.fail("modulate or keep cannot be redefined");
        }
        Ok(())
    }

    fn state_list_item(&mut self) -> Parsed<StateOption> {
        let Kind::Key(key) = *self.peek() else {
            return self.state_timeout();
        };
        Ok(match key {
            "if-bound" | "floating" => StateOption::Policy(self.state_policy()?),
            "sloppy" => return self.fail("`sloppy` does not exist on macOS"),
            "no-sync" => {
                self.next();
                StateOption::NoSync
            }
            "source-track" => {
                self.next();
                StateOption::SourceTrack(if self.eat_key("global") {
                    Track::Global
                } else if self.eat_key("rule") {
                    Track::Rule
                } else {
                    Track::Plain
                })
            }
            "overload" => {
                self.next();
                let table = self.table_name()?;
                let flush = self.eat_key("flush");
                let global = flush && self.eat_key("global");
                StateOption::Overload(Overload { table, flush, global })
            }
            "max" | "max-src-states" | "max-src-conn" | "max-src-nodes" | "max-src-conn-rate" => {
                self.next();
                let count = self.count()?;
                match key {
                    "max" => StateOption::Max(count),
                    "max-src-states" => StateOption::MaxSrcStates(count),
                    "max-src-conn" => StateOption::MaxSrcConn(count),
                    "max-src-nodes" => StateOption::MaxSrcNodes(count),
                    _ => {
                        self.expect_char('/')?;
                        StateOption::MaxSrcConnRate(count, self.count()?)
                    }
                }
            }
            _ => return self.unexpected(),
        })
    }

    fn state_timeout(&mut self) -> Parsed<StateOption> {
        let name = self.word()?;
        let seconds = self.count()?;
        match names::TIMEOUTS.iter().find(|known| **known == name) {
            Some(known) if known.contains('.') => Ok(StateOption::Timeout(known, seconds)),
            Some(_) => self.fail(format!("illegal state timeout `{name}`")),
            None => self.fail(format!("illegal timeout name `{name}`")),
        }
    }

    /// Applies the defaults of a pass rule, and what its options imply.
    pub(super) fn apply_state(&mut self, options: &mut Options) -> Parsed<()> {
        let pass = options.rule.action == Action::Pass;
        let default = if pass { StateKind::Keep } else { StateKind::None };
        let (kind, list) = options.state.take().unwrap_or((default, Vec::new()));
        let mut state = StateOptions::default();
        let mut policy = None;
        let mut track = None;
        for option in list {
            if let Err(message) = set_state_option(&mut state, &mut policy, &mut track, option) {
                return self.fail(message);
            }
        }
        if pass && options.flags.is_none_or(|flags| flags.set | flags.mask == 0) {
            let by_default = options.flags.is_none() && !options.rule.fragment && kind != StateKind::None;
            options.rule.tcp_flags = by_default.then_some(TcpFlags { set: 0x02, mask: 0x12 });
        } else {
            options.rule.tcp_flags = Self::plain_flags(options);
        }
        if let Err(message) = imply_state_options(&mut state, track) {
            return self.fail(message);
        }
        if kind != StateKind::None {
            state.policy = policy.unwrap_or(self.state_policy);
        }
        options.rule.state = kind;
        options.rule.state_options = state;
        Ok(())
    }
}

fn set_once<T>(slot: &mut Option<T>, value: T, name: &str) -> Result<(), String> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("state option `{name}` multiple definitions")),
    }
}

fn set_count(slot: &mut u32, value: u32, name: &str) -> Result<(), String> {
    if *slot != 0 {
        return Err(format!("state option `{name}` multiple definitions"));
    }
    if value == 0 && name != "max" {
        return Err(format!("`{name}` must be > 0"));
    }
    *slot = value;
    Ok(())
}

fn set_state_option(
    state: &mut StateOptions,
    policy: &mut Option<StatePolicy>,
    track: &mut Option<Track>,
    option: StateOption,
) -> Result<(), String> {
    match option {
        StateOption::Max(count) => set_count(&mut state.max, count, "max"),
        StateOption::NoSync if state.no_sync => Err("state option `no-sync` multiple definitions".to_owned()),
        StateOption::NoSync => {
            state.no_sync = true;
            Ok(())
        }
        StateOption::SourceTrack(kind) => set_once(track, kind, "source-track"),
        StateOption::MaxSrcStates(count) => set_count(&mut state.max_src_states, count, "max-src-states"),
        StateOption::MaxSrcConn(count) => set_count(&mut state.max_src_conn, count, "max-src-conn"),
        StateOption::MaxSrcNodes(count) => set_count(&mut state.max_src_nodes, count, "max-src-nodes"),
        StateOption::MaxSrcConnRate(0, _) | StateOption::MaxSrcConnRate(_, 0) => {
            Err("`max-src-conn-rate` values must be > 0".to_owned())
        }
        StateOption::MaxSrcConnRate(limit, _) if limit > LARGEST_RATE => {
            Err(format!("`max-src-conn-rate` maximum rate must be < {LARGEST_RATE}"))
        }
        StateOption::MaxSrcConnRate(limit, seconds) => {
            set_once(&mut state.max_src_conn_rate, (limit, seconds), "max-src-conn-rate")
        }
        StateOption::Overload(overload) => set_once(&mut state.overload, overload, "overload"),
        StateOption::Policy(value) => set_once(policy, value, "if-bound"),
        StateOption::Timeout(name, seconds) => {
            if state.timeouts.iter().any(|(known, _)| *known == name) {
                return Err(format!("state timeout `{name}` multiple definitions"));
            }
            // A timeout of zero means none.
            if seconds != 0 {
                state.timeouts.push((name, seconds));
            }
            Ok(())
        }
    }
}

fn imply_state_options(state: &mut StateOptions, track: Option<Track>) -> Result<(), String> {
    let adaptive = state.timeouts.iter().any(|(name, _)| name.starts_with("adaptive."));
    let tenth = state.max / 10;
    if !adaptive && tenth != 0 {
        state.timeouts.push(("adaptive.start", tenth.saturating_mul(6)));
        state.timeouts.push(("adaptive.end", tenth.saturating_mul(12)));
    }
    let per_rule = state.max_src_conn != 0 || state.max_src_nodes != 0 || state.max_src_conn_rate.is_some();
    if track.is_some() || per_rule || state.max_src_states != 0 {
        if track == Some(Track::Global) && per_rule {
            let option = if state.max_src_nodes != 0 {
                "max-src-nodes"
            } else if state.max_src_conn != 0 {
                "max-src-conn"
            } else {
                "max-src-conn-rate"
            };
            return Err(format!("`{option}` is incompatible with `source-track global`"));
        }
        let rule = per_rule || track == Some(Track::Rule);
        state.source_track = Some(if rule { SourceTrack::Rule } else { SourceTrack::Global });
        let seconds = state.max_src_conn_rate.map_or(0, |(_, seconds)| seconds);
        match state.timeouts.iter_mut().find(|(name, _)| *name == "src.track") {
            Some((_, known)) => *known = (*known).max(seconds),
            None if seconds != 0 => state.timeouts.push(("src.track", seconds)),
            None => {}
        }
    }
    let order = |name: &str| names::TIMEOUTS.iter().position(|known| *known == name);
    state.timeouts.sort_by_key(|(name, _)| order(name));
    Ok(())
}
