//! YAML and JSON with the line of every value. JSON is parsed as YAML.

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

use super::unusable::Unusable;

/// A value and its line.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The line, from 1.
    pub line: usize,
    pub data: Data,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    Null,
    Bool(bool),
    /// Strings and numbers, as written.
    Text(String),
    List(Vec<Node>),
    /// In the order of the file.
    Map(Vec<(String, Node)>),
}

/// The maximum nesting; nobody writes a deeper file by hand.
const DEEPEST: usize = 64;

/// All documents of a file.
pub fn read(text: &str) -> Result<Vec<Node>, Unusable> {
    let documents = MarkedYaml::load_from_str(text.trim_start_matches('\u{feff}')).map_err(|error| {
        let place = error.marker();
        Unusable::Syntax {
            line: place.line().max(1),
            column: place.col() + 1,
            reason: error.info().to_owned(),
        }
    })?;
    Ok(documents.iter().map(|document| node(document, 0)).collect())
}

fn node(yaml: &MarkedYaml, depth: usize) -> Node {
    let line = yaml.span.start.line();
    let data = match &yaml.data {
        _ if depth > DEEPEST => Data::Null,
        YamlData::Value(Scalar::Null) | YamlData::Alias(_) | YamlData::BadValue => Data::Null,
        YamlData::Value(Scalar::Boolean(value)) => Data::Bool(*value),
        YamlData::Value(Scalar::Integer(value)) => Data::Text(value.to_string()),
        YamlData::Value(Scalar::FloatingPoint(value)) => Data::Text(value.to_string()),
        YamlData::Value(Scalar::String(value)) => Data::Text(value.to_string()),
        YamlData::Representation(text, ..) => Data::Text(text.to_string()),
        YamlData::Tagged(_, inner) => node(inner, depth + 1).data,
        YamlData::Sequence(items) => Data::List(items.iter().map(|item| node(item, depth + 1)).collect()),
        YamlData::Mapping(entries) => {
            let entry = |(key, value): (&MarkedYaml, &MarkedYaml)| {
                // A value that is absent has the line of its key.
                let mut value = node(value, depth + 1);
                value.line =
                    if matches!(value.data, Data::Map(_)) { key.span.start.line() } else { value.line };
                Some((node(key, depth + 1).as_text()?.to_owned(), value))
            };
            Data::Map(merged(entries.iter().filter_map(entry).collect()))
        }
    };
    Node { line, data }
}

/// Merges what `<<` refers to; the map's own keys take precedence.
fn merged(entries: Vec<(String, Node)>) -> Vec<(String, Node)> {
    let (merges, mut own): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(key, _)| key == "<<");
    for (_, merge) in merges {
        let sources = match merge.data {
            Data::List(sources) => sources,
            _ => vec![merge],
        };
        for source in sources {
            let Data::Map(entries) = source.data else { continue };
            for (key, value) in entries {
                if !own.iter().any(|(known, _)| *known == key) {
                    own.push((key, value));
                }
            }
        }
    }
    own
}

impl Node {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// The value at a path of keys.
    pub fn at(&self, keys: &[&str]) -> Option<&Node> {
        keys.iter().try_fold(self, |node, key| node.get(key))
    }

    /// Whether the value is null.
    pub fn is_empty(&self) -> bool {
        matches!(self.data, Data::Null)
    }

    /// This value merged over another: lists are appended to the other's, maps are merged, and of other values this one
    /// is kept.
    pub fn over(&self, other: &Node) -> Node {
        let data = match (&self.data, &other.data) {
            (Data::Null, _) => return other.clone(),
            (Data::List(own), Data::List(others)) => Data::List(others.iter().chain(own).cloned().collect()),
            (Data::Map(own), Data::Map(others)) => {
                let merged = own.iter().map(|(key, value)| match other.get(key) {
                    Some(below) => (key.clone(), value.over(below)),
                    None => (key.clone(), value.clone()),
                });
                let rest = others.iter().filter(|(key, _)| self.get(key).is_none());
                Data::Map(merged.chain(rest.cloned()).collect())
            }
            (own, _) => own.clone(),
        };
        Node { line: self.line, data }
    }

    /// The entries of a map; empty for other values.
    pub fn entries(&self) -> &[(String, Node)] {
        match &self.data {
            Data::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; another value counts as one item, null as none.
    pub fn items(&self) -> &[Node] {
        match &self.data {
            Data::List(items) => items,
            Data::Null => &[],
            _ => std::slice::from_ref(self),
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The text at a key.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_text()
    }

    /// Whether the value at a key is true.
    pub fn is(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| match &value.data {
            Data::Bool(value) => *value,
            Data::Text(text) => text == "true",
            _ => false,
        })
    }
}
