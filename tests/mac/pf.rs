//! Rulesets: what a load accepts and what the kernel keeps of it.

use std::collections::BTreeMap;

/// The rules of one anchor, one line each, macros replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    lines: Vec<String>,
}

/// The sections of a ruleset, in the only order that macOS takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    Table,
    Option,
    Normalization,
    Queueing,
    Translation,
    Filter,
}

impl Ruleset {
    /// A ruleset as it was kept on disk.
    pub fn kept(source: &str) -> Self {
        Self {
            lines: source.lines().map(str::to_owned).collect(),
        }
    }

    pub fn source(&self) -> String {
        self.lines.iter().map(|line| line.clone() + "\n").collect()
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub fn of(&self, wanted: Section) -> impl Iterator<Item = &str> {
        self.lines
            .iter()
            .map(String::as_str)
            .filter(move |line| section(line) == Some(wanted))
    }

    /// The names of the tables.
    pub fn tables(&self) -> Vec<&str> {
        let name = |line| between(line, '<', '>');
        self.of(Section::Table).filter_map(name).collect()
    }

    /// The members of a table.
    pub fn table(&self, name: &str) -> Option<Vec<&str>> {
        let line = self
            .of(Section::Table)
            .find(|line| between(line, '<', '>') == Some(name))?;
        let members = between(line, '{', '}').unwrap_or("");
        Some(members.split([',', ' ']).filter(|m| !m.is_empty()).collect())
    }

    /// The labels, in order, each once.
    pub fn labels(&self) -> Vec<&str> {
        let mut labels: Vec<&str> = Vec::new();
        for line in &self.lines {
            let label = line
                .split_once("label \"")
                .and_then(|(_, rest)| rest.split('"').next());
            labels.extend(label.filter(|label| !labels.contains(label)));
        }
        labels
    }

    /// Drops what `-F` names.
    pub fn flush(&mut self, drop: impl Fn(Section) -> bool) {
        self.lines.retain(|line| section(line).is_none_or(|s| !drop(s)));
    }
}

/// Reads a ruleset for an anchor, or says on which line it is wrong.
///
/// This is the place where the project's own reader of pf belongs; until then it looks only at what a
/// load most often fails for.
pub fn read(text: &str, defines: &[(String, String)]) -> Result<Ruleset, (usize, String)> {
    let syntax = |line: usize| (line, "syntax error".to_owned());
    if !text.is_empty() && !text.ends_with('\n') {
        return Err(syntax(text.lines().count()));
    }
    let mut macros: BTreeMap<String, String> = defines.iter().cloned().collect();
    let mut rules = Ruleset::default();
    let mut reached = Section::Option;
    let mut pending = String::new();
    for (index, raw) in text.lines().enumerate() {
        let number = index + 1;
        if let Some(start) = raw.strip_suffix('\\') {
            pending.push_str(start);
            pending.push(' ');
            continue;
        }
        let whole = std::mem::take(&mut pending) + raw;
        let line = whole.split('#').next().unwrap_or("").trim();
        if line.is_empty() {
            continue;
        }
        if let Some((name, value)) = definition(line) {
            macros.entry(name.to_owned()).or_insert_with(|| value.to_owned());
            continue;
        }
        let line = expand(line, &macros).map_err(|error| (number, error))?;
        let section = section(&line).ok_or_else(|| syntax(number))?;
        if line.contains("({") || line.matches('{').count() != line.matches('}').count() {
            return Err(syntax(number));
        }
        if section != Section::Table {
            if section < reached {
                let order =
                    "Rules must be in order: options, normalization, queueing, translation, filtering";
                return Err((number, order.to_owned()));
            }
            reached = section;
        }
        rules.lines.push(line);
    }
    Ok(rules)
}

fn section(line: &str) -> Option<Section> {
    let mut words = line.split_whitespace();
    let first = words.next()?;
    Some(match first {
        "table" => Section::Table,
        "set" => Section::Option,
        "scrub" | "scrub-anchor" => Section::Normalization,
        "no" if words.next() == Some("scrub") => Section::Normalization,
        "altq" | "queue" | "dummynet" | "dummynet-anchor" => Section::Queueing,
        "nat" | "rdr" | "binat" | "no" | "nat-anchor" | "rdr-anchor" | "binat-anchor" => Section::Translation,
        "pass" | "block" | "anchor" | "antispoof" => Section::Filter,
        _ => return None,
    })
}

fn definition(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    let word = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    word.then(|| (name, value.trim().trim_matches('"')))
}

fn expand(line: &str, macros: &BTreeMap<String, String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let end = after
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(after.len());
        let name = &after[..end];
        let value = macros
            .get(name)
            .ok_or_else(|| format!("macro '{name}' not defined"))?;
        out.push_str(value);
        rest = &after[end..];
    }
    Ok(out + rest)
}

fn between(text: &str, open: char, close: char) -> Option<&str> {
    let (_, rest) = text.split_once(open)?;
    Some(rest.split_once(close)?.0)
}
