//! The place of a value of the declaration: its path in the input, and its position in the user's Nix source.
//!
//! Every error, rule and explanation refers by one of these to what the user wrote. Sees: nothing. Never: reads source
//! files (only the program does).

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The path of a value in the input: `volumes.etcd-1.address`, `links.0.ports.1`; empty for the whole input.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct FieldPath(Vec<String>);

impl FieldPath {
    /// The path of the whole input: no segments.
    pub fn root() -> Self {
        Self::default()
    }

    /// A path from its segments, outermost first.
    pub fn of<S: ToString>(segments: &[S]) -> Self {
        Self(segments.iter().map(ToString::to_string).collect())
    }

    /// This path with one more segment.
    #[must_use]
    pub fn child(&self, segment: impl ToString) -> Self {
        let mut segments = self.0.clone();
        segments.push(segment.to_string());
        Self(segments)
    }

    /// The segments of this path and of its ancestors, longest first, without the root.
    fn upward(&self) -> impl Iterator<Item = &[String]> {
        (1..=self.0.len()).rev().map(|length| &self.0[..length])
    }

    /// The segments, outermost first.
    pub fn segments(&self) -> &[String] {
        &self.0
    }

    /// The module option that defines the value, in words; `None` if no option does.
    pub fn option(&self) -> Option<String> {
        let option = match &self.0[..] {
            [] => return None,
            [field] if field == "version" || field == "positions" => return None,
            [field, ..] if field == "hostsFile" => "hosts.enable".to_owned(),
            [list, index, ..] if list == "links" || list == "expect" => {
                let number = index.parse::<usize>().ok()? + 1;
                return Some(format!("services.nixvol-net.{list}, entry {number}"));
            }
            _ => self.to_string(),
        };
        Some(format!("services.nixvol-net.{option}"))
    }

    /// The last segment, if there is one.
    pub fn last(&self) -> Option<&str> {
        self.0.last().map(String::as_str)
    }
}

/// The path of a value while it is read and checked. It borrows its segments, and so allocates only when a problem
/// needs the path.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    segments: [Segment<'a>; At::DEEPEST],
    length: usize,
}

/// A segment of a path: the name of a field or entry, or the index of a list element.
#[derive(Debug, Clone, Copy)]
pub enum Segment<'a> {
    /// The name of a field or of an entry.
    Name(&'a str),
    /// The index of a list element.
    Index(usize),
}

impl<'a> At<'a> {
    /// More than the depth of any value of the input; segments below that depth are dropped.
    const DEEPEST: usize = 8;
    /// The path of the whole input.
    pub const ROOT: Self = Self { segments: [Segment::Index(0); At::DEEPEST], length: 0 };

    /// The path with these names as segments, outermost first.
    pub fn of(names: &[&'a str]) -> Self {
        let mut at = Self::ROOT;
        for (place, name) in at.segments.iter_mut().zip(names) {
            *place = Segment::Name(name);
            at.length += 1;
        }
        at
    }

    /// The path of a field or an element of this value.
    #[must_use]
    pub fn child(&self, segment: impl Into<Segment<'a>>) -> Self {
        let mut child = *self;
        if let Some(place) = child.segments.get_mut(self.length) {
            *place = segment.into();
            child.length += 1;
        }
        child
    }

    /// The same path as an owned value.
    pub fn path(&self) -> FieldPath {
        let text = |segment: &Segment| match segment {
            Segment::Name(name) => (*name).to_owned(),
            Segment::Index(index) => index.to_string(),
        };
        FieldPath(self.segments.iter().take(self.length).map(text).collect())
    }
}

impl<'a> From<&'a str> for Segment<'a> {
    fn from(name: &'a str) -> Self {
        Self::Name(name)
    }
}

impl<'a> From<&'a String> for Segment<'a> {
    fn from(name: &'a String) -> Self {
        Self::Name(name)
    }
}

impl From<usize> for Segment<'_> {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

impl From<At<'_>> for FieldPath {
    fn from(at: At) -> Self {
        at.path()
    }
}

impl From<&At<'_>> for FieldPath {
    fn from(at: &At) -> Self {
        at.path()
    }
}

impl Ord for FieldPath {
    /// Orders by segments; list indices are compared as numbers.
    fn cmp(&self, other: &Self) -> Ordering {
        let segment = |a: &String, b: &String| match (a.parse::<usize>(), b.parse::<usize>()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            _ => a.cmp(b),
        };
        let differing = self.0.iter().zip(&other.0).map(|(a, b)| segment(a, b)).find(|order| order.is_ne());
        differing.unwrap_or(self.0.len().cmp(&other.0.len()))
    }
}

impl PartialOrd for FieldPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if !segment.is_empty() && segment.chars().all(plain) {
                f.write_str(segment)?;
            } else {
                write!(f, "{}", Quoted(segment))?;
            }
        }
        Ok(())
    }
}

/// Displays a string for an error: control and bidirectional characters escaped, truncated at 80 characters, in double
/// quotes. A hostile value must not be able to control the reader's terminal.
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", Harmless(self.0))
    }
}

/// Like [`Quoted`], without the quotes.
pub struct Harmless<'a>(pub &'a str);

impl fmt::Display for Harmless<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 80;
        for (count, character) in self.0.chars().enumerate() {
            if count == LONGEST {
                return f.write_str("…");
            }
            if is_hostile(character) {
                write!(f, "{}", character.escape_unicode())?;
            } else {
                write!(f, "{character}")?;
            }
        }
        Ok(())
    }
}

/// Whether a character can affect its surroundings on a terminal or in a file: control characters, line and paragraph
/// separators, zero-width and bidirectional formatting characters.
pub fn is_hostile(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A place in a Nix file. Line and column count from 1; a line of 0 means that only the file is known, as for options
/// of which Nix does not report the position.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The file, as Nix names it.
    pub file: String,
    /// The line, from 1; 0 if only the file is known.
    pub line: usize,
    /// The column, from 1; 0 if only the file is known.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", Harmless(&self.file)),
            line => write!(f, "{}:{line}:{}", Harmless(&self.file), self.column),
        }
    }
}

/// The source places that Nix supplied, by input path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Positions(BTreeMap<String, Place>);

impl Positions {
    /// From the input's `positions`: places by dotted path.
    pub fn new(places: BTreeMap<String, Place>) -> Self {
        Self(places)
    }

    /// The place of a value, or of its nearest ancestor that has one.
    pub fn find(&self, path: &FieldPath) -> Option<&Place> {
        self.nearest(path).map(|(place, _)| place)
    }

    /// Like [`Self::find`], with the length of the path that has the place.
    pub fn nearest(&self, path: &FieldPath) -> Option<(&Place, usize)> {
        path.upward().find_map(|segments| Some((self.0.get(&segments.join("."))?, segments.len())))
    }
}
