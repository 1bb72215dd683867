//! YAML and JSON with the line of every value. JSON is parsed as YAML.

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

use super::unusable::Unusable;

/// A value and its line.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentNode {
    /// The line, from 1.
    pub line: usize,
    pub data: NodeData,
}

#[derive(Debug, Clone, PartialEq)]
pub enum NodeData {
    Null,
    Bool(bool),
    /// Strings and numbers, as written.
    Text(String),
    List(Vec<DocumentNode>),
    /// In the order of the file.
    Map(Vec<(String, DocumentNode)>),
}

/// The maximum nesting; nobody writes a deeper file by hand.
const DEEPEST: usize = 64;

/// All documents of a file.
pub fn read(text: &str) -> Result<Vec<DocumentNode>, Unusable> {
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

fn node(yaml: &MarkedYaml, depth: usize) -> DocumentNode {
    let line = yaml.span.start.line();
    let data = match &yaml.data {
        _ if depth > DEEPEST => NodeData::Null,
        YamlData::Value(Scalar::Null) | YamlData::Alias(_) | YamlData::BadValue => NodeData::Null,
        YamlData::Value(Scalar::Boolean(value)) => NodeData::Bool(*value),
        YamlData::Value(Scalar::Integer(value)) => NodeData::Text(value.to_string()),
        YamlData::Value(Scalar::FloatingPoint(value)) => NodeData::Text(value.to_string()),
        YamlData::Value(Scalar::String(value)) => NodeData::Text(value.to_string()),
        YamlData::Representation(text, ..) => NodeData::Text(text.to_string()),
        YamlData::Tagged(_, inner) => node(inner, depth + 1).data,
        YamlData::Sequence(items) => NodeData::List(items.iter().map(|item| node(item, depth + 1)).collect()),
        YamlData::Mapping(entries) => {
            let entry = |(key, value): (&MarkedYaml, &MarkedYaml)| {
                // A value that is absent has the line of its key.
                let mut value = node(value, depth + 1);
                value.line =
                    if matches!(value.data, NodeData::Map(_)) { key.span.start.line() } else { value.line };
                Some((node(key, depth + 1).as_text()?.to_owned(), value))
            };
            NodeData::Map(merged(entries.iter().filter_map(entry).collect()))
        }
    };
    DocumentNode { line, data }
}

/// Merges what `<<` refers to; the map's own keys take precedence.
fn merged(entries: Vec<(String, DocumentNode)>) -> Vec<(String, DocumentNode)> {
    let (merges, mut own): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(key, _)| key == "<<");
    for (_, merge) in merges {
        let sources = match merge.data {
            NodeData::List(sources) => sources,
            _ => vec![merge],
        };
        for source in sources {
            let NodeData::Map(entries) = source.data else { continue };
            for (key, value) in entries {
                if !own.iter().any(|(known, _)| *known == key) {
                    own.push((key, value));
                }
            }
        }
    }
    own
}

impl DocumentNode {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&DocumentNode> {
        self.entries().iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// The value at a path of keys.
    pub fn at(&self, keys: &[&str]) -> Option<&DocumentNode> {
        keys.iter().try_fold(self, |node, key| node.get(key))
    }

    /// Whether the value is null.
    pub fn is_empty(&self) -> bool {
        matches!(self.data, NodeData::Null)
    }

    /// This value merged over another: lists are appended to the other's, maps are merged, and of other values this one
    /// is kept.
    pub fn over(&self, other: &DocumentNode) -> DocumentNode {
        let data = match (&self.data, &other.data) {
            (NodeData::Null, _) => return other.clone(),
            (NodeData::List(own), NodeData::List(others)) => {
                NodeData::List(others.iter().chain(own).cloned().collect())
            }
            (NodeData::Map(own), NodeData::Map(others)) => {
                let merged = own.iter().map(|(key, value)| match other.get(key) {
                    Some(below) => (key.clone(), value.over(below)),
                    None => (key.clone(), value.clone()),
                });
                let rest = others.iter().filter(|(key, _)| self.get(key).is_none());
                NodeData::Map(merged.chain(rest.cloned()).collect())
            }
            (own, _) => own.clone(),
        };
        DocumentNode { line: self.line, data }
    }

    /// The entries of a map; empty for other values.
    pub fn entries(&self) -> &[(String, DocumentNode)] {
        match &self.data {
            NodeData::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; another value counts as one item, null as none.
    pub fn items(&self) -> &[DocumentNode] {
        match &self.data {
            NodeData::List(items) => items,
            NodeData::Null => &[],
            _ => std::slice::from_ref(self),
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        match &self.data {
            NodeData::Text(text) => Some(text),
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
            NodeData::Bool(value) => *value,
            NodeData::Text(text) => text == "true",
            _ => false,
        })
    }
}
