//! The rules that are evaluated: the rendered anchor below macOS's own main ruleset, or a capture of a Mac.
//!
//! A capture is the output of `pfctl -s rules`, `-s nat` and `-s dummynet`, of the main ruleset and of anchors. Each
//! prints a part of one ruleset, so the lines of a section are sorted into pf's order before they are read, and
//! errors and rules are reported by their lines in the capture. pfctl does not print table contents there: those of
//! this program are taken from the rendered anchor. Never: what the rules mean for a packet.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ipnet::Ipv4Net;

use crate::loading::{EGRESS, Interfaces, MESH, bridge_macro};
use crate::others;
use crate::pf::eval::{Machine, RuleList};
use crate::pf::syntax::{Address, NumberMatch, Rule, RuleLists as Lists, Ruleset, SettingValue};
use crate::pf::{self, Environment};
use crate::plan::{Plan, faults};

use super::names::Held;
use super::way::Over;

/// The main ruleset that macOS ships in `/etc/pf.conf`: it calls what is loaded below `com.apple`, and filters
/// nothing itself.
pub const STOCK_MAIN: &str = "\
scrub-anchor \"com.apple/*\"
nat-anchor \"com.apple/*\"
rdr-anchor \"com.apple/*\"
dummynet-anchor \"com.apple/*\"
anchor \"com.apple/*\"
";

/// The name of the stock main ruleset.
const STOCK_NAME: &str = "/etc/pf.conf";

/// A file with output of pfctl.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// The name of the file.
    pub name: String,
    /// The anchor that it belongs to, `main` for the main ruleset; `None` if lines `# anchor NAME` in it tell.
    pub anchor: Option<String>,
    /// The output of pfctl.
    pub text: String,
}

/// The rules to evaluate.
#[derive(Debug, Clone, Copy)]
pub struct ExplainedRules<'a> {
    /// The text of the anchor as rendered.
    pub anchor: &'a str,
    /// Its file name, for errors and explanations.
    pub name: &'a str,
    /// Captured output of `pfctl` on a Mac; empty to evaluate the rendered rules.
    pub captured: &'a [Captured],
}

/// A statement that pf would refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedStatement {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for RefusedStatement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

/// Loaded rules, with the place of each.
pub(super) struct Loaded {
    pub machine: Machine,
    rulesets: BTreeMap<String, (Lists, usize)>,
    texts: Vec<Text>,
    /// Whether the dummynet rules are known; a capture may lack them.
    pub knows_pipes: bool,
    /// Notes on the capture.
    pub notes: Vec<String>,
    /// The interfaces for which the captured anchor of ours was loaded.
    pub names: Option<Interfaces>,
    /// The parsed rulesets by path; the main ruleset first.
    pub read: Vec<(String, Ruleset)>,
}

/// A rule and its place.
pub(super) struct Found<'a> {
    pub rule: &'a Rule,
    pub file: &'a str,
    pub line: u32,
}

impl Loaded {
    /// The kernel name that the captured rules have for a bridge, if known.
    pub fn name(&self, plan: &Plan, over: Over) -> Option<&str> {
        let Over::Bridge(bridge) = over else { return None };
        let name = bridge_macro(plan.bridges[bridge].provider.as_str());
        self.names.as_ref()?.bridges.get(&name).map(String::as_str)
    }

    /// A rule by its number in a list of a ruleset.
    pub fn find(&self, path: &str, list: RuleList, number: u32) -> Option<Found<'_>> {
        let (lists, text) = self.rulesets.get(path)?;
        let list = match list {
            RuleList::Scrub => &lists.scrub,
            RuleList::Nat => &lists.nat,
            RuleList::Rdr => &lists.rdr,
            RuleList::Binat => &lists.binat,
            RuleList::Filter => &lists.filter,
            RuleList::Dummynet => &lists.dummynet,
        };
        let rule = list.get(usize::try_from(number).ok()?)?;
        let origin = self.texts.get(*text)?.origin(rule.place.line)?;
        Some(Found { rule, file: &origin.file, line: origin.number })
    }

    /// The destination ports at which the match of some rule starts or ends.
    pub fn ports(&self) -> BTreeSet<u16> {
        let rules = self.rulesets.values().flat_map(|(lists, _)| lists.lists().into_iter().flatten());
        let ranges = rules.filter_map(|rule| rule.destination.port).map(|port| match port {
            NumberMatch::Equal(a)
            | NumberMatch::NotEqual(a)
            | NumberMatch::Less(a)
            | NumberMatch::LessEqual(a)
            | NumberMatch::Greater(a)
            | NumberMatch::GreaterEqual(a) => (a, a),
            NumberMatch::Range(a, b) | NumberMatch::Inside(a, b) | NumberMatch::Outside(a, b) => (a, b),
        });
        // A bound may itself be excluded, so the port after it counts too.
        let starts = ranges.flat_map(|(first, last)| {
            [Some(first), first.checked_add(1), Some(last), last.checked_add(1)].into_iter().flatten()
        });
        starts.filter(|port| *port > 0).collect()
    }

    fn add(&mut self, path: &str, ruleset: &Ruleset, text: usize) {
        for rule in ruleset.rules.lists().into_iter().flatten() {
            if let Some((call, body)) =
                rule.anchor.as_ref().and_then(|call| Some((call, call.body.as_ref()?)))
            {
                let inner = if path.is_empty() { call.path.clone() } else { format!("{path}/{}", call.path) };
                self.add(&inner, body, text);
            }
        }
        self.rulesets.insert(path.to_owned(), (ruleset.rules.clone(), text));
    }
}

/// A text to parse, with the origin of each line.
#[derive(Debug, Default)]
struct Text {
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    text: String,
    file: String,
    number: u32,
    /// The number of characters that precede the text in the line of the file.
    offset: u32,
}

impl Text {
    fn of(name: &str, text: &str) -> Self {
        let line = |(number, line): (u32, &str)| Line {
            text: line.to_owned(),
            file: name.to_owned(),
            number,
            offset: 0,
        };
        Self { lines: (1..).zip(text.lines()).map(line).collect() }
    }

    fn text(&self) -> String {
        self.lines.iter().flat_map(|line| [line.text.as_str(), "\n"]).collect()
    }

    /// The origin of a line of the text; of the last line, for numbers after it.
    fn origin(&self, line: u32) -> Option<&Line> {
        let index = usize::try_from(line).ok()?.saturating_sub(1);
        self.lines.get(index).or(self.lines.last())
    }

    fn parse(&self, environment: &Environment) -> Result<Ruleset, Vec<RefusedStatement>> {
        pf::parse(&self.text(), environment).map_err(|errors| {
            let refused = |error: pf::parse::ParseError| {
                let origin = self.origin(error.line);
                let file = origin.map_or(String::new(), |line| line.file.clone());
                let (line, offset) = origin.map_or((error.line, 0), |line| (line.number, line.offset));
                RefusedStatement { file, line, column: error.column + offset, message: error.message }
            };
            errors.into_iter().map(refused).collect()
        })
    }
}

/// Whether this is the logical name of a provider's bridge, or of the tunnel to the other Macs.
fn is_logical(plan: &Plan, name: &str) -> bool {
    plan.bridges.iter().any(|bridge| bridge.logical.as_str() == name) || plan.mesh.is_some() && name == MESH
}

/// Loads the rules to evaluate: the rendered ones, or those of a capture.
pub(super) fn load(
    plan: &Plan,
    rules: &ExplainedRules,
    environment: &Environment,
) -> Result<Loaded, Vec<RefusedStatement>> {
    let ours = plan.anchor.as_str();
    let mut sections = sections(rules.captured);
    let mut notes = Vec::new();
    let is_whole = sections.contains_key("");
    sections.entry(String::new()).or_insert_with(|| Text::of(STOCK_NAME, STOCK_MAIN));
    let rendered = Text::of(rules.name, rules.anchor);
    let rendered_rules = rendered.parse(environment)?;
    let is_captured = sections.contains_key(ours);
    if is_captured || !is_whole {
        sections.entry(ours.to_owned()).or_insert(rendered);
    } else {
        notes.push(format!("the anchor {ours} is not in the capture: none of its rules are in force"));
    }
    let mut loaded = Loaded {
        machine: Machine::new(environment.interfaces.clone()),
        rulesets: BTreeMap::new(),
        texts: Vec::new(),
        knows_pipes: !is_captured && !is_whole,
        notes,
        names: None,
        read: Vec::new(),
    };
    let mut refused = Vec::new();
    let mut elsewhere = BTreeSet::new();
    // The main ruleset has the empty path and so comes first. It must: loading it discards tables that it does not use.
    for (path, text) in sections {
        match text.parse(environment) {
            Err(errors) => refused.extend(errors),
            Ok(mut ruleset) => {
                if path == ours && is_captured {
                    add_tables(&mut ruleset, &rendered_rules);
                    let held = Held { plan, captured: &ruleset, rendered: rules.anchor, environment };
                    let names = held.interfaces();
                    loaded.notes.extend(held.differences(&names));
                    loaded.notes.extend(held.notes(&names, asked_egress(environment)));
                    loaded.names = Some(names);
                }
                if path == faults::ANCHOR {
                    add_ends(&mut ruleset, plan);
                }
                loaded.notes.extend(unknown_tables(&path, &ruleset));
                elsewhere.extend(
                    interfaces(&ruleset)
                        .filter(|name| environment.interface(name).is_none() && !is_logical(plan, name))
                        .map(str::to_owned),
                );
                loaded.knows_pipes |= !ruleset.rules.dummynet.is_empty();
                loaded.machine.load(&path, &ruleset);
                let number = loaded.texts.len();
                loaded.texts.push(text);
                loaded.add(&path, &ruleset, number);
                loaded.read.push((path, ruleset));
            }
        }
    }
    if is_whole {
        let rulesets = loaded.rulesets.iter().map(|(path, (lists, _))| (path.as_str(), lists)).collect();
        let found = others::others(plan, &rulesets, &[]).into_iter().chain(others::uncalled(plan, &rulesets));
        loaded.notes.extend(found.map(|other| other.what));
    }
    if !loaded.knows_pipes && !plan.pipes.is_empty() {
        loaded.notes.push(
            "no dummynet rules are in the capture: which pipes a packet goes through is not known (`pfctl -s dummynet`)"
                .to_owned(),
        );
    }
    if let Some(names) = &loaded.names {
        let known = |name: &String| {
            names.egress.contains(name)
                || names.outside.contains(name)
                || names.bridges.values().any(|it| it == name)
        };
        elsewhere.retain(|name| !known(name));
    }
    if !elsewhere.is_empty() {
        let names = elsewhere.into_iter().collect::<Vec<_>>().join(", ");
        loaded.notes.push(format!(
            "rules on {names}: no hop uses them as far as is known here; `--egress` names another egress interface"
        ));
    }
    if refused.is_empty() { Ok(loaded) } else { Err(refused) }
}

/// The egress interface that the question names.
fn asked_egress(environment: &Environment) -> &str {
    environment.macros.get(EGRESS).map_or("", String::as_str)
}

/// The egress interfaces for which the captured anchor was loaded, as far as its rules tell.
pub(super) fn ways_out(plan: &Plan, rules: &ExplainedRules, environment: &Environment) -> Vec<String> {
    let captured =
        sections(rules.captured).remove(plan.anchor.as_str()).and_then(|text| text.parse(environment).ok());
    let held =
        |captured: &Ruleset| Held { plan, captured, rendered: rules.anchor, environment }.interfaces().egress;
    captured.as_ref().map(held).unwrap_or_default()
}

/// The captured lines by the path of their ruleset, each section in pf's order.
fn sections(captured: &[Captured]) -> BTreeMap<String, Text> {
    let mut sections: BTreeMap<String, Text> = BTreeMap::new();
    for file in captured {
        let mut path = file.anchor.as_deref().map_or(String::new(), path_of);
        for (number, line) in (1..).zip(file.text.lines()) {
            if file.anchor.is_none()
                && let Some(header) = header(line)
            {
                path = header;
                sections.entry(path.clone()).or_default();
            } else if let Some(rule) = rule_of(line) {
                let section = sections.entry(path.clone()).or_default();
                let offset = line.find(rule).and_then(|at| u32::try_from(at).ok()).unwrap_or_default();
                let (text, file) = (rule.to_owned(), file.name.clone());
                section.lines.push(Line { text, file, number, offset });
            }
        }
        if file.anchor.is_some() {
            sections.entry(path).or_default();
        }
    }
    sections.values_mut().for_each(in_order);
    sections
}

/// The path that a line `# anchor NAME` or `# main` introduces.
fn header(line: &str) -> Option<String> {
    let comment = line.trim().strip_prefix('#')?.trim();
    if comment == "main" {
        return Some(String::new());
    }
    let name = comment.strip_prefix("anchor ")?.trim();
    (!name.contains(char::is_whitespace)).then(|| path_of(name))
}

fn path_of(name: &str) -> String {
    let name = name.trim_matches('"').trim_matches('/');
    if name == "main" { String::new() } else { name.to_owned() }
}

/// The rule in a line, without what pfctl adds: rule numbers (`-vv`), counters (`-v`), remarks on ALTQ.
fn rule_of(line: &str) -> Option<&str> {
    let rule = line.trim();
    let is_remark = rule.starts_with('[') || rule.starts_with('#') || rule.contains("ALTQ");
    if rule.is_empty() || is_remark || rule.starts_with("pfctl:") {
        return None;
    }
    match rule.strip_prefix('@') {
        Some(numbered) => numbered.split_once(' ').map(|(_, rule)| rule.trim_start()),
        None => Some(rule),
    }
}

/// Sorts statements into the order that pf requires. Lines joined by braces or a backslash stay together.
fn in_order(text: &mut Text) {
    let mut statements: Vec<(u8, Vec<Line>)> = Vec::new();
    let mut depth = 0_usize;
    let mut goes_on = false;
    for line in text.lines.drain(..) {
        let begins = depth == 0 && !goes_on;
        goes_on = line.text.ends_with('\\');
        depth = (depth + line.text.matches('{').count()).saturating_sub(line.text.matches('}').count());
        match statements.last_mut() {
            Some((_, statement)) if !begins => statement.push(line),
            _ => statements.push((section_of(&line.text), vec![line])),
        }
    }
    statements.sort_by_key(|(section, _)| *section);
    text.lines = statements.into_iter().flat_map(|(_, lines)| lines).collect();
}

/// The rank of a statement in that order: options and tables, normalization, translation, filtering.
fn section_of(line: &str) -> u8 {
    let mut words = line.split_whitespace();
    let first = words.next().unwrap_or_default();
    match if first == "no" { words.next().unwrap_or_default() } else { first } {
        "scrub" | "scrub-anchor" => 1,
        "nat" | "rdr" | "binat" | "nat-anchor" | "rdr-anchor" | "binat-anchor" => 2,
        "pass" | "block" | "anchor" | "antispoof" | "dummynet" | "dummynet-anchor" | "load" => 3,
        _ => 0,
    }
}

/// The names of the tables that a ruleset defines.
fn defined(ruleset: &Ruleset) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for setting in &ruleset.settings {
        if let SettingValue::Table(table) = &setting.value {
            names.insert(table.name.as_str());
        }
    }
    names
}

/// Adds the tables of the rendered anchor that the captured one does not define.
fn add_tables(ruleset: &mut Ruleset, rendered: &Ruleset) {
    let known: BTreeSet<String> = defined(ruleset).into_iter().map(str::to_owned).collect();
    for setting in &rendered.settings {
        if let SettingValue::Table(table) = &setting.value
            && !known.contains(&table.name)
        {
            ruleset.settings.push(setting.clone());
        }
    }
}

/// Adds the tables that the rules of partitions and slow paths use; their names tell what is in them.
fn add_ends(ruleset: &mut Ruleset, plan: &Plan) {
    let mut tables = BTreeMap::new();
    for rule in ruleset.rules.lists().into_iter().flatten() {
        let (Address::Table(from), Address::Table(to)) = (&rule.source.address, &rule.destination.address)
        else {
            continue;
        };
        let (Some(one), Some(two)) = (faults::table(from), faults::table(to)) else { continue };
        for (name, table, other) in [(from, one, two), (to, two, one)] {
            let reach = if table.is_here {
                let networks =
                    faults::here(plan, table.end, other.end).into_iter().map(Ipv4Net::from).collect();
                Some(faults::FaultEndpoint { networks, without: Vec::new() })
            } else {
                faults::reach(plan, table.end, other.end)
            };
            tables.insert(name.clone(), reach);
        }
    }
    let known: BTreeSet<String> = defined(ruleset).into_iter().map(str::to_owned).collect();
    for (name, reach) in tables.into_iter().filter(|(name, _)| !known.contains(name)) {
        let Some(faults::FaultEndpoint { networks, without }) = reach else { continue };
        let without = without.iter().map(|address| format!("!{address}"));
        let entries: Vec<String> = networks.iter().map(ToString::to_string).chain(without).collect();
        let text = format!("table <{name}> const {{ {} }}\n", entries.join(" "));
        if let Ok(table) = pf::parse(&text, &Environment::default()) {
            ruleset.settings.extend(table.settings);
        }
    }
}

/// The interfaces that rules of a ruleset name.
fn interfaces(ruleset: &Ruleset) -> impl Iterator<Item = &str> {
    let rules = ruleset.rules.lists().into_iter().flatten();
    rules.filter_map(|rule| rule.interface.as_ref()).filter(|on| !on.not).map(|on| on.name.as_str())
}

/// A note on the tables that a ruleset uses and the capture does not define.
fn unknown_tables(path: &str, ruleset: &Ruleset) -> Option<String> {
    let defined = defined(ruleset);
    let mut unknown = BTreeSet::new();
    for rule in ruleset.rules.lists().into_iter().flatten() {
        for side in [&rule.source, &rule.destination] {
            if let Address::Table(name) = &side.address
                && !defined.contains(name.as_str())
            {
                unknown.insert(format!("<{name}>"));
            }
        }
    }
    let names = unknown.into_iter().collect::<Vec<_>>().join(", ");
    let whose = if path.is_empty() { "the main ruleset".to_owned() } else { format!("the anchor {path}") };
    (!names.is_empty()).then(|| {
        format!(
            "{names} of {whose}: not in the capture, taken as empty; a line `table <NAME> {{ … }}` fills it"
        )
    })
}
