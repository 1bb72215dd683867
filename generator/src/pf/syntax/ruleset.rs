//! Rulesets and rules, which contain each other: an anchor rule can have a ruleset in braces.

// The flags of a rule are independent of each other, as in the kernel.
#![allow(clippy::struct_excessive_bools)]

use super::action::{Action, Dummynet, Scrub};
use super::condition::{Direction, Family, HostMatch, Icmp, IdMatch, Interface, Tagged, TcpFlags};
use super::place::Position;
use super::pool::{Pool, Route};
use super::setting::Setting;
use super::state::{Log, StateKind, StateOptions};

/// One ruleset: a whole file, or the braces of an anchor.
///
/// The six lists are numbered separately, as in the kernel: `rules.filter[i].number == i`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Names of the files that places refer to; empty in nested rulesets.
    pub files: Vec<String>,
    /// Macros, options and tables in the order of the file; empty in nested rulesets.
    pub settings: Vec<Setting>,
    /// The rules by list.
    pub rules: RuleLists,
    /// `load anchor` statements in order, with the rulesets read for them; empty in nested rulesets.
    pub loads: Vec<LoadAnchor>,
    /// Remarks that are not errors; empty in nested rulesets.
    pub notes: Vec<Note>,
}

impl Ruleset {
    /// A copy without positions and file names, to compare rulesets for equal meaning.
    #[must_use]
    pub fn without_places(&self) -> Self {
        let mut plain = self.clone();
        plain.files.clear();
        plain.notes.clear();
        plain.settings.iter_mut().for_each(|setting| setting.place = Position::default());
        for load in &mut plain.loads {
            load.place = Position::default();
            load.ruleset = load.ruleset.take().map(|ruleset| Box::new(ruleset.without_places()));
        }
        let rules = &mut plain.rules;
        let lists = [&mut rules.scrub, &mut rules.nat, &mut rules.rdr, &mut rules.binat];
        for rule in lists.into_iter().chain([&mut rules.filter, &mut rules.dummynet]).flatten() {
            rule.place = Position::default();
            if let Some(call) = &mut rule.anchor {
                call.path = if call.name.is_empty() { String::new() } else { std::mem::take(&mut call.path) };
                call.body = call.body.take().map(|body| Box::new(body.without_places()));
            }
        }
        plain
    }
}

/// A remark about an input that is valid all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The position that it refers to.
    pub place: Position,
    /// The text, one sentence.
    pub message: String,
}

/// `load anchor NAME from FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadAnchor {
    /// Its position.
    pub place: Position,
    /// The full path of the anchor.
    pub anchor: String,
    /// The file, as written.
    pub file: String,
    /// The parsed file, if the environment could read it.
    pub ruleset: Option<Box<Ruleset>>,
}

/// The six lists of a ruleset, in the order in which pfctl prints them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleLists {
    /// `scrub`, `no scrub` and `scrub-anchor`.
    pub scrub: Vec<Rule>,
    /// `nat`, `no nat` and `nat-anchor`.
    pub nat: Vec<Rule>,
    /// `rdr`, `no rdr` and `rdr-anchor`.
    pub rdr: Vec<Rule>,
    /// `binat`, `no binat` and `binat-anchor`.
    pub binat: Vec<Rule>,
    /// `pass`, `block`, `antispoof` as expanded, and `anchor`.
    pub filter: Vec<Rule>,
    /// `dummynet`, `no dummynet` and `dummynet-anchor`: Apple's own list.
    pub dummynet: Vec<Rule>,
}

impl RuleLists {
    /// The lists, in the order in which pfctl prints them.
    pub fn lists(&self) -> [&Vec<Rule>; 6] {
        [&self.scrub, &self.nat, &self.rdr, &self.binat, &self.filter, &self.dummynet]
    }

    /// Number of rules, including those in braces.
    pub fn count(&self) -> usize {
        let inside = |rule: &Rule| {
            let body = rule.anchor.as_ref().and_then(|call| call.body.as_ref());
            1 + body.map_or(0, |body| body.rules.count())
        };
        self.lists().into_iter().flatten().map(inside).sum()
    }

    /// Whether all lists are empty.
    pub fn is_empty(&self) -> bool {
        self.lists().iter().all(|list| list.is_empty())
    }
}

/// A rule as the kernel holds it. Fields that do not apply to the rule's action are empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Where the statement begins that it was expanded from.
    pub place: Position,
    /// Its number in its list.
    pub number: u32,
    /// The action.
    pub action: Action,
    /// The call of `anchor`, `nat-anchor` and so on; the action is then `Pass`, `Nat` and so on.
    pub anchor: Option<AnchorCall>,
    /// `in` or `out`; `None` matches both.
    pub direction: Option<Direction>,
    /// `log`.
    pub log: Log,
    /// `quick`.
    pub quick: bool,
    /// `on`.
    pub interface: Option<Interface>,
    /// `inet` or `inet6`, explicit or derived from addresses.
    pub family: Option<Family>,
    /// The protocol number; `None` matches all protocols.
    pub protocol: Option<u8>,
    /// `from`.
    pub source: HostMatch,
    /// `to`.
    pub destination: HostMatch,
    /// `os "…"`.
    pub os: Option<String>,
    /// `user`.
    pub user: Option<IdMatch>,
    /// `group`.
    pub group: Option<IdMatch>,
    /// `icmp-type`, `icmp6-type` and `code`.
    pub icmp: Option<Icmp>,
    /// `flags A/B`; `0/0` is represented as `None`.
    pub tcp_flags: Option<TcpFlags>,
    /// `tos`; 0 for none.
    pub tos: u8,
    /// `keep state` and its variants.
    pub state: StateKind,
    /// The options in parentheses after it.
    pub state_options: StateOptions,
    /// `fragment`.
    pub fragment: bool,
    /// `allow-opts`.
    pub allow_opts: bool,
    /// `label "…"`, with variables substituted.
    pub label: Option<String>,
    /// `tag …`, with variables substituted.
    pub tag: Option<String>,
    /// `tagged …`.
    pub tagged: Option<Tagged>,
    /// `probability` as a fraction of 2^32; 0 for none.
    pub probability: u32,
    /// `rtable`.
    pub rtable: Option<u32>,
    /// `route-to`, `reply-to`, `dup-to`, `fastroute`.
    pub route: Option<Route>,
    /// `-> …` of nat, rdr and binat.
    pub redirect: Option<Pool>,
    /// `nat pass`, `rdr pass`: matching packets skip the filter.
    pub nat_pass: bool,
    /// The options of a scrub rule.
    pub scrub: Scrub,
    /// `pipe N` or `queue N` of a dummynet rule.
    pub dummynet: Option<Dummynet>,
}

impl Rule {
    /// A rule that matches all packets.
    pub fn new(action: Action) -> Self {
        Self {
            place: Position::default(),
            number: 0,
            action,
            anchor: None,
            direction: None,
            log: Log::default(),
            quick: false,
            interface: None,
            family: None,
            protocol: None,
            source: HostMatch::default(),
            destination: HostMatch::default(),
            os: None,
            user: None,
            group: None,
            icmp: None,
            tcp_flags: None,
            tos: 0,
            state: StateKind::None,
            state_options: StateOptions::default(),
            fragment: false,
            allow_opts: false,
            label: None,
            tag: None,
            tagged: None,
            probability: 0,
            rtable: None,
            route: None,
            redirect: None,
            nat_pass: false,
            scrub: Scrub::default(),
            dummynet: None,
        }
    }
}

/// The call in an anchor rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnchorCall {
    /// The name as printed (`foo`, `com.apple/*`, `/abs`, `../up`); empty for unnamed braces.
    pub name: String,
    /// The path of the called ruleset, relative to the one with this rule (`foo`, `com.apple`), without the trailing
    /// `*`. Unnamed braces get a generated name that begins with `_`.
    pub path: String,
    /// Whether the name ends in `*`, so that every direct child is visited.
    pub wildcard: bool,
    /// The ruleset in braces, if any.
    pub body: Option<Box<Ruleset>>,
}
