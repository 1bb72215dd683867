//! Writes Nix text in the style of its surroundings: indentation, line endings, spaces inside brackets, aligned `=`.

use std::fmt::Write;
use std::ops::Range;

use rnix::ast::{AttrSet, Entry, HasEntry, List};
use rnix::{SyntaxKind, SyntaxNode};
use rowan::ast::AstNode;
use serde_json::Value;

use crate::source::find::bytes;
use crate::source::name::segment;

/// Longer lines are broken, whatever the style of the neighbours.
const WIDEST: usize = 120;

/// Keywords, which are names only if quoted.
const KEYWORDS: [&str; 10] = ["assert", "else", "if", "in", "inherit", "let", "or", "rec", "then", "with"];

/// The fields of a new entry, in order.
pub type Fields = Vec<(&'static str, Value)>;

/// The style in which a set of fields is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldStyle {
    /// The line ending: `"\n"` or `"\r\n"`.
    pub newline: &'static str,
    /// One level of indentation.
    pub unit: String,
    /// Whether there are no spaces inside brackets: `{x = [1];}`.
    pub tight: bool,
    /// Whether a set is on one line.
    pub one_line: bool,
    /// The width of the name column, if the `=` of the fields are aligned; 0 means the width of the widest name.
    pub columns: Option<usize>,
    /// The order of the fields in the neighbour; other fields follow.
    pub order: Vec<String>,
}

impl FieldStyle {
    /// The style of a file as a whole. Brackets inside `except` are not counted.
    pub fn of_file(root: &SyntaxNode, text: &str, except: Option<&Range<usize>>) -> Self {
        let newline = match text.find('\n') {
            Some(at) if text[..at].ends_with('\r') => "\r\n",
            _ => "\n",
        };
        let indents = text.lines().filter_map(|line| {
            let indent = &line[..line.len() - line.trim_start_matches([' ', '\t']).len()];
            (!indent.is_empty() && !line.trim().is_empty()).then_some(indent)
        });
        let unit = indents.min_by_key(|indent| indent.len()).unwrap_or("  ").to_owned();
        let unit = if unit.starts_with('\t') { "\t".to_owned() } else { unit };
        let tight = is_tight(root, except);
        Self { newline, unit, tight, one_line: false, columns: None, order: Vec::new() }
    }

    /// The same style, with the details of one of the file's sets.
    #[must_use]
    pub fn like(mut self, text: &str, set: &AttrSet) -> Self {
        let range = bytes(set.syntax());
        let body = &text[range.clone()];
        self.one_line = !body.contains('\n');
        self.order =
            set.attrpath_values().filter_map(|it| segment(&it.attrpath()?.attrs().next()?)).collect();
        if let Some(first) = set.entries().next() {
            let (outer, inner) = (indent_of(text, range.start), indent_of(text, bytes(first.syntax()).start));
            if let Some(unit) = inner.strip_prefix(outer)
                && !unit.is_empty()
            {
                unit.clone_into(&mut self.unit);
            }
        }
        self.columns = in_columns(text, set);
        self
    }

    /// Writes a set of fields. `indent` is the indentation of the line on which it starts, `before` the column there.
    pub fn set(&self, fields: &Fields, indent: &str, before: usize) -> String {
        let fields = self.ordered(fields);
        let flat = self.bare(&fields);
        if self.one_line && before + flat.len() <= WIDEST {
            return flat;
        }
        let widest = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        let width = self.columns.map_or(0, |columns| columns.max(widest));
        let mut text = "{".to_owned();
        for (name, value) in &fields {
            let value = self.value(value);
            let _ = write!(text, "{}{indent}{}{name:width$} = {value};", self.newline, self.unit);
        }
        text + self.newline + indent + "}"
    }

    /// Writes the fields as separate statements with the prefix.
    pub fn statements(&self, prefix: &str, fields: &Fields, indent: &str) -> String {
        let statement = |(name, value): &(&str, Value)| format!("{prefix}.{name} = {};", self.value(value));
        let fields = self.ordered(fields);
        fields.iter().map(statement).collect::<Vec<_>>().join(&format!("{}{indent}", self.newline))
    }

    fn ordered(&self, fields: &Fields) -> Fields {
        let mut fields = fields.clone();
        let known = |name: &str| self.order.iter().position(|known| known == name);
        fields.sort_by_key(|(name, _)| known(name).unwrap_or(usize::MAX));
        fields
    }

    /// Writes a set of fields on one line, whatever its length.
    pub fn flat(&self, fields: &Fields) -> String {
        self.bare(&self.ordered(fields))
    }

    fn bare(&self, fields: &Fields) -> String {
        let fields: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name} = {};", self.value(value))).collect();
        self.bracketed("{", &fields, "}")
    }

    fn bracketed(&self, open: &str, parts: &[String], close: &str) -> String {
        let space = if self.tight { "" } else { " " };
        match parts {
            [] => format!("{open}{space}{close}"),
            _ => format!("{open}{space}{}{space}{close}", parts.join(" ")),
        }
    }

    /// Writes a value on one line.
    pub fn value(&self, value: &Value) -> String {
        match value {
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(|item| self.value(item)).collect();
                self.bracketed("[", &items, "]")
            }
            Value::Object(fields) => {
                let fields: Vec<String> = fields
                    .iter()
                    .map(|(name, value)| format!("{} = {};", quoted_name(name), self.value(value)))
                    .collect();
                self.bracketed("{", &fields, "}")
            }
            Value::String(text) => string(text),
            other => other.to_string(),
        }
    }
}

/// A Nix string literal with special characters escaped.
fn string(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace("${", "\\${");
    format!("\"{}\"", escaped.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t"))
}

/// A name as a segment of an attribute path, quoted if necessary.
pub fn quoted_name(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_'-".contains(c);
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if begins && name.chars().all(plain) && !KEYWORDS.contains(&name) {
        name.to_owned()
    } else {
        string(name)
    }
}

/// The leading whitespace of the line that contains a byte offset.
pub fn indent_of(text: &str, at: usize) -> &str {
    let line = &text[line_start(text, at)..];
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

/// The start of the line that contains a byte offset.
pub fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// Whether brackets have no spaces inside, decided by the majority of brackets on one line.
pub fn is_tight(root: &SyntaxNode, except: Option<&Range<usize>>) -> bool {
    let mut vote = 0_i32;
    for node in
        root.descendants().filter(|node| AttrSet::can_cast(node.kind()) || List::can_cast(node.kind()))
    {
        let range = bytes(&node);
        if except.is_some_and(|except| except.start <= range.start && range.end <= except.end) {
            continue;
        }
        let opened = node
            .children_with_tokens()
            .find(|it| matches!(it.kind(), SyntaxKind::TOKEN_L_BRACE | SyntaxKind::TOKEN_L_BRACK));
        let Some(opened) = opened.and_then(rnix::NodeOrToken::into_token) else { continue };
        let after: String = opened.next_token().map(|token| token.text().to_owned()).unwrap_or_default();
        if after.contains('\n') {
            continue;
        }
        vote += if after.starts_with(char::is_whitespace) { -1 } else { 1 };
    }
    vote > 0
}

/// The width of the name column, if the `=` are aligned and that needs padding; 0 if the column is only as wide as the
/// widest name.
fn in_columns(text: &str, set: &AttrSet) -> Option<usize> {
    let (mut columns, mut padded, mut widest) = (Vec::new(), false, 0);
    for entry in set.entries() {
        let Entry::AttrpathValue(statement) = entry else { continue };
        let (name, sign) =
            (bytes(statement.attrpath()?.syntax()), statement.assign_token()?.text_range().start());
        let sign = usize::from(sign);
        padded |= sign > name.end + 1;
        widest = widest.max(name.len());
        columns.push((sign - line_start(text, sign), sign - name.start - 1));
    }
    let (_, width) = *columns.first()?;
    let is_one = columns.windows(2).all(|pair| pair[0] == pair[1]);
    (padded && is_one).then_some(if width > widest { width } else { 0 })
}
