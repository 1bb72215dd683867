//! Why a file is not edited, and what its owner should write instead.

use std::fmt;
use std::ops::Range;

use super::Kind;
use super::write::{Manner, quoted_name};
use super::{Change, Fields};
use crate::source::find::OPTION;

/// An edit that is not made.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// Why.
    pub why: Why,
    /// The bytes of the file that are in the way.
    pub at: Vec<Range<usize>>,
    /// What to write instead, where something is to be written.
    pub instead: Option<String>,
}

/// Why a file is not edited.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words of each say what its fields are")]
pub enum Why {
    NotNix,
    Nowhere { option: String, line: Option<usize> },
    Several { option: String },
    Opaque { option: String, by: String },
    MadeName { option: String },
    Inherited { name: String },
    Exists { kind: Kind, name: String },
    Taken { kind: Kind, name: String },
    NotThere { kind: Kind, name: String, nearest: Option<String> },
    Elsewhere { kind: Kind, name: String },
    OfPreset { kind: Kind, name: String },
    PresetLinks,
    LinkElsewhere { index: usize },
    SeveralLinks { index: usize },
    Lost,
}

impl Refused {
    /// A refusal that points nowhere yet.
    pub fn new(why: Why) -> Self {
        Self { why, at: Vec::new(), instead: None }
    }

    /// The same, pointing at some bytes too.
    #[must_use]
    pub fn at(mut self, range: Range<usize>) -> Self {
        self.at.push(range);
        self
    }

    /// The same, with what to write by hand for a change.
    #[must_use]
    pub fn instead(mut self, change: &Change) -> Self {
        self.instead = match (&self.why, change) {
            (Why::Exists { .. } | Why::Taken { .. } | Why::NotNix, _) => None,
            (_, Change::Add { kind, name, fields }) => Some(entry(*kind, name, fields)),
            (Why::PresetLinks, Change::AddLink { fields }) => Some(link(fields, "lib.mkDefault ")),
            (_, Change::AddLink { fields }) => Some(link(fields, "")),
            _ => None,
        };
        self
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let option = OPTION.join(".");
        let text = match &self.why {
            Why::NotNix => {
                "`nix-instantiate --parse FILE` tells more; it must be valid before it can be edited"
                    .to_owned()
            }
            Why::Nowhere { line: Some(_), .. } => {
                "name a line inside the set or list that is to be edited".to_owned()
            }
            Why::Nowhere { line: None, .. } => format!(
                "put `{option}.enable = true;` into the file first, or say with `--as {option}` that the file is \
                 imported as its value"
            ),
            Why::Several { .. } => "choose one by a line inside it: `--at LINE`".to_owned(),
            Why::Opaque { .. } | Why::MadeName { .. } | Why::Inherited { .. } | Why::Lost => return None,
            Why::Exists { kind, name } => {
                format!("edit it where it stands, or `nixvol-net remove {} {name}` first", kind.word())
            }
            Why::Taken { .. } => "choose another name, or override parts of it by hand".to_owned(),
            Why::NotThere { nearest, .. } => {
                return nearest.as_ref().map(|it| format!("did you mean `{it}`?"));
            }
            Why::Elsewhere { .. } | Why::LinkElsewhere { .. } => "name the file that declares it".to_owned(),
            Why::OfPreset { kind, name } => {
                format!("switch it off: `{option}.{}.{} .enable = false;`", kind.option(), quoted_name(name))
                    .replace(" .", ".")
            }
            Why::PresetLinks => {
                "with `lib.mkDefault` it is added to them; without, it takes their place, and what no \
                                 link permits is blocked"
                    .to_owned()
            }
            Why::SeveralLinks { .. } => {
                "links that say the same count once; remove all but one by hand".to_owned()
            }
        };
        Some(text)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let option = OPTION.join(".");
        match &self.why {
            Why::NotNix => write!(f, "the file is not Nix: its syntax is broken here"),
            Why::Nowhere { option: what, line: Some(line) } => {
                write!(f, "nothing on line {line} can take `{option}.{what}`")
            }
            Why::Nowhere { line: None, .. } => write!(f, "the file defines nothing under `{option}`"),
            Why::Several { option: what } => write!(f, "there is more than one place for `{option}.{what}`"),
            Why::Opaque { option, by } => {
                write!(f, "`{option}` is made by {by}, which only Nix can look into")
            }
            Why::MadeName { option } => write!(f, "a name under `{option}` is made by an expression"),
            Why::Inherited { name } => write!(f, "`{name}` is inherited from elsewhere"),
            Why::Exists { kind, name } => write!(f, "{} `{name}` is already there", kind.word()),
            Why::Taken { kind, name } => {
                write!(f, "{} `{name}` is already declared, by another file or the preset", kind.word())
            }
            Why::NotThere { kind, name, .. } => write!(f, "there is no {} `{name}`", kind.word()),
            Why::Elsewhere { kind, name } => {
                write!(f, "{} `{name}` is declared in another file", kind.word())
            }
            Why::OfPreset { kind, name } => write!(f, "{} `{name}` is part of the preset", kind.word()),
            Why::PresetLinks => {
                write!(f, "the links are those of the preset, which a definition takes the place of")
            }
            Why::LinkElsewhere { index } => write!(f, "`links.{index}` is not written out in this file"),
            Why::SeveralLinks { index } => write!(f, "more than one link says what `links.{index}` says"),
            Why::Lost => write!(f, "the file is put together in a way that this program does not follow"),
        }
    }
}

fn manner() -> Manner {
    Manner {
        newline: "\n",
        unit: "  ".to_owned(),
        tight: false,
        one_line: false,
        columns: None,
        order: Vec::new(),
    }
}

fn entry(kind: Kind, name: &str, fields: &Fields) -> String {
    let option = OPTION.join(".");
    format!("{option}.{}.{} = {};", kind.option(), quoted_name(name), manner().set(fields, "", 0))
}

fn link(fields: &Fields, wrapper: &str) -> String {
    format!("{}.links = {wrapper}[\n  {}\n];", OPTION.join("."), manner().set(fields, "  ", 0))
}
