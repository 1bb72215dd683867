//! The declaration of a file, determined without Nix: the JSON that the module would produce if no other file had
//! definitions. Conditions count as true.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::ops::Range;

use rnix::ast::Expr;
use rowan::ast::AstNode;
use serde_json::{Map, Value, json};

use super::change::ListOption;
use super::literal;
use crate::input;
use crate::source::find::{DEFAULT, Definition, PLAIN, bytes};
use crate::source::name::segment;

/// The declaration of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    /// The declaration as JSON, in the format of the input, without `positions`.
    pub json: Value,
    /// The byte offset of each value, by dotted path.
    pub places: BTreeMap<String, usize>,
    /// The values that only Nix can evaluate.
    pub unknown: Vec<Unknown>,
    /// Whether the preset is enabled.
    pub preset: bool,
}

/// A value that only Nix can evaluate.
#[derive(Debug, Clone)]
pub struct Unknown {
    /// The path of the option, below `services.nixvol-net`.
    pub option: String,
    /// The byte range of the expression.
    pub at: Range<usize>,
    /// The text of the expression.
    pub text: String,
}

impl PartialEq for Unknown {
    /// Compares option and text but not the byte range, so that values can be compared across an edit.
    fn eq(&self, other: &Self) -> bool {
        (&self.option, &self.text) == (&other.option, &other.text)
    }
}

/// Options whose values are attribute sets with an entry per name.
const PARTS: [&str; 3] = ["providers", "volumes", "macs"];
/// Options that the input has as plain values under the same name.
const SCALARS: [&str; 7] =
    ["mac", "base", "stateDir", "logFile", "anchor", "allowOverlap", "reconcileInterval"];

/// The definitions of each entry, by option and name: the priorities of the option and of the entry, and its byte
/// offset.
type Entries = BTreeMap<[String; 2], Vec<([u32; 2], Option<usize>)>>;
type Leaves = BTreeMap<Vec<String>, Vec<Leaf>>;

#[derive(Debug, Clone)]
struct Leaf {
    /// The priority at each level of the path.
    priorities: Vec<u32>,
    value: Value,
    at: Option<usize>,
    /// The length of the statement in bytes.
    length: usize,
}

#[derive(Default)]
struct Reader {
    leaves: Leaves,
    /// The entries of [`PARTS`].
    entries: Entries,
    unknown: Vec<Unknown>,
    /// Elements of `links` and of `expect`, with the priority of their definition.
    items: [Vec<Item>; 2],
}

type Item = (u32, Value, BTreeMap<String, usize>);

/// Merges the definitions of a file into a declaration.
pub fn declared(definitions: &[Definition]) -> Declared {
    let mut reader = Reader::default();
    for definition in definitions {
        reader.read(definition);
    }
    let preset = reader.settled(&["preset"]).is_some_and(|leaf| leaf.value == json!("multi-cloud"));
    if preset {
        reader.preset();
    }
    reader.settle_entries();
    reader.conflicts();
    if preset {
        reader.preset_links();
    }
    reader.json(preset)
}

impl Reader {
    fn read(&mut self, definition: &Definition) {
        let Some(path) = definition.names() else {
            self.unknown(definition, definition.statement.text_range().into());
            return;
        };
        let at = definition.range().start;
        match path[..] {
            [part, name] if PARTS.contains(&part) => {
                for body in &definition.bodies {
                    self.entry(part, name, [definition.above[0], body.priority], Some(at));
                }
            }
            [part, name, _, ..] if PARTS.contains(&part) => {
                self.entry(part, name, [definition.above[0], definition.above[1]], Some(at));
            }
            [] | ["localhost" | "links" | "expect" | "preset"] | ["localhost" | "hosts", _] => {}
            [option] if PARTS.contains(&option) || SCALARS.contains(&option) => {}
            ["presetBase"] => {}
            // Options that do not affect the declaration.
            _ => return,
        }
        if definition.statement.kind() == rnix::SyntaxKind::NODE_INHERIT {
            let split = path.split_last();
            let value = split.map(|(name, _)| literal::inherited(&definition.statement, name));
            match (split, value) {
                (Some((name, above)), Some(Ok(value))) => {
                    // Equivalent to writing the value in place of the inherited name.
                    let inner = Map::from_iter([((*name).to_owned(), value)]);
                    self.flatten(above, &definition.above[..above.len()], at, inner);
                }
                _ => self.unknown(definition, definition.statement.text_range().into()),
            }
            return;
        }
        let list = list_of(&path);
        for body in &definition.bodies {
            match (&body.value, list) {
                // The statements inside are separate definitions.
                (Expr::AttrSet(_), None) if path.len() < 3 => {}
                (Expr::List(items), Some(list)) => {
                    for item in items.items() {
                        self.item(list, definition, body.priority, &item);
                    }
                }
                (value, _) => match literal::value(value) {
                    Ok(value) if list.is_some() => {
                        for item in value.as_array().into_iter().flatten() {
                            let item = (body.priority, item.clone(), BTreeMap::new());
                            self.items[list.unwrap_or_default()].push(item);
                        }
                    }
                    Ok(Value::Object(inner)) if path.len() < 3 => {
                        let priorities = [&definition.above[..], &[body.priority]].concat();
                        self.flatten(&path, &priorities[..path.len()], at, inner);
                    }
                    // An attribute set is required here.
                    Ok(_) if path.is_empty() || (path.len() < 3 && PARTS.contains(&path[0])) => {
                        self.unknown(definition, bytes(value.syntax()));
                    }
                    Ok(value) => {
                        let path = path.iter().map(|&name| name.to_owned()).collect();
                        let priorities = [&definition.above[..], &[body.priority]].concat();
                        let length = definition.range().len();
                        let leaf = Leaf { priorities, value, at: Some(at), length };
                        self.leaves.entry(path).or_default().push(leaf);
                    }
                    Err(unknown) => self.unknown(definition, unknown.text_range().into()),
                },
            }
        }
    }

    fn entry(&mut self, part: &str, name: &str, priorities: [u32; 2], at: Option<usize>) {
        self.entries.entry([part.to_owned(), name.to_owned()]).or_default().push((priorities, at));
    }

    /// Adds the leaves of a set that a name is bound to.
    fn flatten(&mut self, path: &[&str], priorities: &[u32], at: usize, inner: Map<String, Value>) {
        for (name, value) in inner {
            let path: Vec<&str> = path.iter().copied().chain([name.as_str()]).collect();
            let priorities = [priorities, &[PLAIN]].concat();
            if let [part, name] = path[..]
                && PARTS.contains(&part)
            {
                self.entry(part, name, [priorities[0], priorities[1]], Some(at));
            }
            match value {
                Value::Array(items) if list_of(&path).is_some() => {
                    let items = items.into_iter().map(|item| (PLAIN, item, BTreeMap::new()));
                    self.items[list_of(&path).unwrap_or_default()].extend(items);
                }
                Value::Object(inner) if path.len() < 3 => self.flatten(&path, &priorities, at, inner),
                value => {
                    let path = path.iter().map(|&name| name.to_owned()).collect();
                    self.leaves.entry(path).or_default().push(Leaf {
                        priorities,
                        value,
                        at: Some(at),
                        length: 1,
                    });
                }
            }
        }
    }

    /// Drops definitions that one with a higher priority, of the entry or of the whole option, overrides.
    fn settle_entries(&mut self) {
        for part in PARTS {
            let strongest = |definitions: &Entries, level: usize, name: Option<&str>| {
                let of = definitions
                    .iter()
                    .filter(|(key, _)| key[0] == part && name.is_none_or(|name| key[1] == name));
                of.flat_map(|(_, all)| all).map(|(priorities, _)| priorities[level]).min().unwrap_or(PLAIN)
            };
            let all = strongest(&self.entries, 0, None);
            for (_, definitions) in self.entries.iter_mut().filter(|(key, _)| key[0] == part) {
                definitions.retain(|(priorities, _)| priorities[0] == all);
            }
            self.entries.retain(|_, definitions| !definitions.is_empty());
            for (path, leaves) in self.leaves.iter_mut().filter(|(path, _)| path.len() > 2 && path[0] == part)
            {
                let one = strongest(&self.entries, 1, Some(&path[1]));
                leaves.retain(|leaf| leaf.priorities[0] == all && leaf.priorities[1] == one);
            }
        }
    }

    /// Marks values that contradict each other as unknown: they are under conditions, and only Nix knows which of these
    /// hold.
    fn conflicts(&mut self) {
        for (path, leaves) in &self.leaves {
            let own = |leaf: &&Leaf| leaf.priorities.last().copied();
            let strongest = leaves.iter().map(|leaf| own(&leaf)).min().flatten();
            let mut strong = leaves.iter().filter(|leaf| own(leaf) == strongest);
            let Some(first) = strong.next() else { continue };
            for other in strong.filter(|it| it.value != first.value && !it.value.is_array()) {
                let at = other.at.unwrap_or_default();
                let (option, text) = (path.join("."), other.value.to_string());
                self.unknown.push(Unknown { option, at: at..at + other.length, text });
            }
        }
    }

    fn item(&mut self, list: usize, definition: &Definition, priority: u32, item: &Expr) {
        match literal::value(item) {
            Ok(value) => {
                let mut places = BTreeMap::from([(String::new(), bytes(item.syntax()).start)]);
                for statement in item.syntax().descendants().filter_map(rnix::ast::AttrpathValue::cast) {
                    let name = statement.attrpath().and_then(|path| segment(&path.attrs().next()?));
                    if let Some(name) = name {
                        places.entry(format!(".{name}")).or_insert(bytes(statement.syntax()).start);
                    }
                }
                self.items[list].push((priority, value, places));
            }
            Err(unknown) => self.unknown(definition, unknown.text_range().into()),
        }
    }

    fn unknown(&mut self, definition: &Definition, at: Range<usize>) {
        let segment = |segment: &Option<String>| segment.clone().unwrap_or_else(|| "…".to_owned());
        let option = definition.path.iter().map(segment).collect::<Vec<_>>().join(".");
        let start: usize = definition.statement.text_range().start().into();
        let text = definition.statement.text().to_string();
        let text = text.get(at.start - start..at.end - start).unwrap_or_default().to_owned();
        self.unknown.push(Unknown { option, at, text });
    }

    /// Adds the embedded declaration with the priority of defaults, moved to `presetBase`.
    fn preset(&mut self) {
        let Ok(Value::Object(preset)) = serde_json::from_str(input::DEFAULT) else { return };
        let base = self
            .settled(&["presetBase"])
            .and_then(|leaf| leaf.value.as_str()?.parse::<ipnet::Ipv4Net>().ok());
        for part in PARTS {
            for (name, fields) in preset.get(part).and_then(Value::as_object).into_iter().flatten() {
                self.entry(part, name, [PLAIN; 2], None);
                for (field, value) in fields.as_object().into_iter().flatten() {
                    let path = vec![part.to_owned(), name.clone(), field.clone()];
                    let priorities = vec![PLAIN, PLAIN, DEFAULT];
                    let leaf = Leaf { priorities, value: moved(value, base), at: None, length: 0 };
                    self.leaves.entry(path).or_default().insert(0, leaf);
                }
            }
        }
    }

    /// Adds the preset's link between all of its clouds that are enabled.
    fn preset_links(&mut self) {
        let Ok(Value::Object(preset)) = serde_json::from_str(input::DEFAULT) else { return };
        let clouds: Vec<&String> =
            preset["providers"].as_object().into_iter().flatten().map(|it| it.0).collect();
        let is_there = |name: &&&String| self.is_present("providers", name);
        let clouds: Vec<&String> = clouds.iter().filter(is_there).copied().collect();
        if clouds.len() > 1 {
            let link = json!({ "from": clouds, "to": clouds });
            self.items[0].insert(0, (DEFAULT, link, BTreeMap::new()));
        }
    }

    fn is_present(&self, part: &str, name: &str) -> bool {
        let declared = self.entries.contains_key(&[part.to_owned(), name.to_owned()]);
        declared && self.settled(&[part, name, "enable"]).is_none_or(|leaf| leaf.value != json!(false))
    }

    /// The value with the highest priority at a path; lists of the same priority are concatenated.
    fn settled(&self, path: &[&str]) -> Option<Leaf> {
        let path: Vec<String> = path.iter().map(|&name| name.to_owned()).collect();
        settle(self.leaves.get(&path)?)
    }

    fn json(self, preset: bool) -> Declared {
        let mut places = BTreeMap::new();
        let mut json = Map::from_iter([("version".to_owned(), json!(input::VERSION))]);
        for part in PARTS {
            json.insert(part.to_owned(), json!({}));
        }
        let off: BTreeSet<String> = self
            .entries
            .keys()
            .filter(|[part, name]| part == "providers" && !self.is_present(part, name))
            .map(|[_, name]| name.clone())
            .collect();
        for ([part, name], definitions) in &self.entries {
            let of_off = self
                .settled(&[part, name, "provider"])
                .is_some_and(|leaf| leaf.value.as_str().is_some_and(|provider| off.contains(provider)));
            if self.is_present(part, name) && !(part == "volumes" && of_off) {
                json[part][name] = json!({});
                let at = definitions.iter().find_map(|(_, at)| *at);
                places.extend(at.map(|at| (format!("{part}.{name}"), at)));
            }
        }
        for (path, leaves) in &self.leaves {
            let Some(leaf) = settle(leaves).filter(|leaf| !leaf.value.is_null()) else { continue };
            match &path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                [_, _, "enable"] => continue,
                [part, name, field] => match json[*part].get_mut(*name) {
                    Some(entry) => entry[*field] = leaf.value,
                    None => continue,
                },
                ["localhost", field] => {
                    json.entry("localhost").or_insert_with(|| json!({}))[*field] = leaf.value;
                }
                ["hosts", "enable"] if leaf.value == json!(false) => {
                    json.insert("hostsFile".to_owned(), Value::Null);
                }
                [scalar] if SCALARS.contains(scalar) => {
                    json.insert((*scalar).to_owned(), leaf.value);
                }
                _ => continue,
            }
            places.extend(leaf.at.map(|at| (path.join("."), at)));
        }
        for (list, mut items) in ListOption::ALL.into_iter().zip(self.items) {
            let option = list.option();
            let strongest = items.iter().map(|(priority, ..)| *priority).min();
            items.retain(|(priority, ..)| Some(*priority) == strongest);
            if items.is_empty() {
                continue;
            }
            for (index, (_, _, item)) in items.iter().enumerate() {
                places.extend(item.iter().map(|(field, at)| (format!("{option}.{index}{field}"), *at)));
            }
            let items: Vec<Value> = items.into_iter().map(|(_, item, _)| without_nulls(item)).collect();
            json.insert(option.to_owned(), Value::Array(items));
        }
        if json["macs"] == json!({}) {
            json.remove("macs");
        }
        Declared { json: Value::Object(json), places, unknown: self.unknown, preset }
    }
}

fn settle(leaves: &[Leaf]) -> Option<Leaf> {
    let own = |leaf: &Leaf| leaf.priorities.last().copied();
    let strongest = leaves.iter().map(own).min()?;
    let mut strong = leaves.iter().filter(|leaf| own(leaf) == strongest);
    let mut settled = strong.next()?.clone();
    for leaf in strong {
        match (&mut settled.value, &leaf.value) {
            (Value::Array(list), Value::Array(more)) => list.extend(more.iter().cloned()),
            _ => settled = leaf.clone(),
        }
    }
    Some(settled)
}

/// The index in [`ListOption::ALL`] of the list that an option is.
fn list_of(path: &[&str]) -> Option<usize> {
    ListOption::ALL.iter().position(|list| path == [list.option()])
}

/// Removes fields that are null, which is equivalent to absent.
fn without_nulls(mut link: Value) -> Value {
    if let Value::Object(fields) = &mut link {
        fields.retain(|_, value| !value.is_null());
    }
    link
}

/// Whether the preset has an entry with this name.
pub fn is_in_preset(part: &str, name: &str) -> bool {
    serde_json::from_str::<Value>(input::DEFAULT).is_ok_and(|preset| preset[part].get(name).is_some())
}

/// A value of the embedded declaration, with an address moved from `10.0.0.0/16` to `base`: each cloud keeps its
/// distance, in /16 networks.
fn moved(value: &Value, base: Option<ipnet::Ipv4Net>) -> Value {
    let moved = || {
        let (address, length) = value.as_str().map(|text| text.split_once('/').unwrap_or((text, "")))?;
        let [10, cloud, rest @ ..] = address.parse::<Ipv4Addr>().ok()?.octets() else { return None };
        let [first, second, ..] = base?.addr().octets();
        let address = Ipv4Addr::from([first, second.checked_add(cloud)?, rest[0], rest[1]]);
        Some(json!(if length.is_empty() { address.to_string() } else { format!("{address}/{length}") }))
    };
    moved().unwrap_or_else(|| value.clone())
}
