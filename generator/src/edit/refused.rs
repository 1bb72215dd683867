//! The reasons why a file is not edited, and what to write instead.

use std::fmt;
use std::ops::Range;

use super::write::{FieldStyle, quoted_name};
use super::{Change, EntryKind, Fields, ListOption};
use crate::source::find::OPTION;

/// An edit that was refused.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// The reason.
    pub why: Why,
    /// The byte ranges that prevent the edit.
    pub at: Vec<Range<usize>>,
    /// The text to write by hand, if there is one.
    pub instead: Option<String>,
}

/// The reason why a file is not edited.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words of each say what its fields are")]
pub enum Why {
    NotNix,
    TooDeep,
    Nowhere { option: String, line: Option<usize> },
    Several { option: String },
    Opaque { option: String, by: String },
    MadeName { option: String },
    Inherited { name: String },
    Exists { kind: EntryKind, name: String },
    Taken { kind: EntryKind, name: String },
    NotThere { kind: EntryKind, name: String, nearest: Option<String> },
    Elsewhere { kind: EntryKind, name: String },
    OfPreset { kind: EntryKind, name: String },
    PresetLinks,
    ItemElsewhere { list: ListOption, index: usize },
    SeveralItems { list: ListOption, index: usize },
    Ambiguous { choices: Vec<(String, usize)>, line: Option<usize> },
    NoConfiguration { name: String, empty: bool, choices: Vec<(String, usize)> },
    Shared { own: Vec<String>, others: Vec<String> },
    NotShared { own: Vec<String> },
    Untold { by: String },
    Alternatives { kind: EntryKind, name: String },
    UsedElsewhere { name: String },
    NamedElsewhere { kind: EntryKind, name: String, path: String },
    IsThere { name: String, provider: String },
    Lost,
}

impl Refused {
    /// A refusal that does not point at any text yet.
    pub fn new(why: Why) -> Self {
        Self { why, at: Vec::new(), instead: None }
    }

    /// Adds a byte range that the refusal points at.
    #[must_use]
    pub fn at(mut self, range: Range<usize>) -> Self {
        self.at.push(range);
        self
    }

    /// Adds the text to write by hand for a change, unless the reason makes that pointless.
    #[must_use]
    pub fn instead(mut self, change: &Change) -> Self {
        let needs_no_text = matches!(
            self.why,
            Why::Exists { .. }
                | Why::Taken { .. }
                | Why::NotNix
                | Why::TooDeep
                | Why::Ambiguous { .. }
                | Why::NoConfiguration { .. }
                | Why::IsThere { .. }
                | Why::NotThere { .. }
        );
        if needs_no_text {
            return self;
        }
        self.instead = match (&self.why, change) {
            (_, Change::WithMacs { change, lists: _ }) => return self.instead(change),
            (_, Change::Add { kind, name, fields }) => Some(entry(*kind, name, fields)),
            (Why::PresetLinks, Change::AddItem { list, fields }) => {
                Some(item(*list, fields, "lib.mkDefault "))
            }
            (_, Change::AddItem { list, fields }) => Some(item(*list, fields, "")),
            (_, Change::Move { name, provider, address }) => {
                let fields =
                    vec![("provider", provider.as_str().into()), ("address", address.as_str().into())];
                Some(entry(EntryKind::Volume, name, &fields))
            }
            (_, Change::MoveProvider { name: _, mac: _, lists }) => {
                let one = |(mac, list): &(String, Vec<String>)| {
                    entry(EntryKind::Mac, mac, &vec![("providers", list.clone().into())])
                };
                Some(lists.iter().map(one).collect::<Vec<_>>().join("\n"))
            }
            (_, Change::Remove { .. } | Change::RemoveItem { .. } | Change::Rename { .. }) => None,
        };
        self
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        let option = OPTION.join(".");
        let text = match &self.why {
            Why::NotNix => {
                "`nix-instantiate --parse FILE` shows the error; the file must be valid before it can be edited"
                    .to_owned()
            }
            Why::Nowhere { line: Some(_), .. } => {
                "name a line inside the set or list that is to be edited".to_owned()
            }
            Why::Nowhere { line: None, .. } => format!(
                "add `{option}.enable = true;` to the file first, or pass `--as {option}` if the file is \
                 imported as its value"
            ),
            Why::TooDeep => "split the expression up, or edit the file by hand".to_owned(),
            Why::Several { .. } => "choose one by a line inside it: `--at LINE`".to_owned(),
            Why::Opaque { .. }
            | Why::MadeName { .. }
            | Why::Inherited { .. }
            | Why::Untold { .. }
            | Why::IsThere { .. }
            | Why::Lost => return None,
            Why::Exists { kind, name } => {
                format!("edit it there, or `nixvol-net remove {} {name}` first", kind.word())
            }
            Why::Taken { .. } => "choose another name, or override parts of it by hand".to_owned(),
            Why::NotThere { nearest, .. } => {
                return nearest.as_ref().map(|it| format!("did you mean `{it}`?"));
            }
            Why::Ambiguous { choices, .. } => choose(choices),
            Why::NoConfiguration { empty: true, .. } => {
                format!("add `{option}.enable = true;` to one of its modules first")
            }
            Why::NoConfiguration { choices, .. } => match &choices[..] {
                [] => format!("the file defines nothing under `{option}`"),
                [(name, _)] if name.is_empty() => "leave `--configuration` out: there is only one".to_owned(),
                _ => choose(choices),
            },
            Why::Shared { own, others } => {
                let all: Vec<&str> = own.iter().chain(others).map(String::as_str).collect();
                format!("`--configuration {}` changes all of them", all.join(","))
            }
            Why::NotShared { own } => format!("`--configuration {}` changes it there", own.join(",")),
            Why::Alternatives { .. } => "only Nix can decide which of them applies: edit them by hand".to_owned(),
            Why::UsedElsewhere { .. } => {
                "write the name out where it is used, or rename it by hand".to_owned()
            }
            Why::NamedElsewhere { .. } => "rename it by hand, in every file".to_owned(),
            Why::Elsewhere { .. } | Why::ItemElsewhere { .. } => "name the file that declares it".to_owned(),
            Why::OfPreset { kind, name } => {
                format!("switch it off: `{option}.{}.{} .enable = false;`", kind.option(), quoted_name(name))
                    .replace(" .", ".")
            }
            Why::PresetLinks => {
                "with `lib.mkDefault` it is added to them; without, it replaces them, and what no \
                                 link permits is blocked"
                    .to_owned()
            }
            Why::SeveralItems { .. } => {
                "equal elements count once; remove all but one by hand".to_owned()
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
            Why::TooDeep => write!(f, "the file nests too deep here to be edited"),
            Why::Nowhere { option: what, line: Some(line) } => {
                write!(f, "nothing on line {line} can take `{option}.{what}`")
            }
            Why::Nowhere { line: None, .. } => write!(f, "the file defines nothing under `{option}`"),
            Why::Several { option: what } => write!(f, "there is more than one place for `{option}.{what}`"),
            Why::Opaque { option, by } => {
                write!(f, "`{option}` is made by {by}, which only Nix can evaluate")
            }
            Why::MadeName { option } => write!(f, "a name under `{option}` is computed by an expression"),
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
                write!(f, "the links are those of the preset, which a definition would replace")
            }
            Why::ItemElsewhere { list, index } => {
                write!(f, "`{}.{index}` is not written out in this file", list.option())
            }
            Why::SeveralItems { list, index } => {
                let list = list.option();
                write!(f, "more than one element of `{list}` says what `{list}.{index}` says")
            }
            Why::Ambiguous { choices, line: None } => {
                write!(f, "the file declares {} separate networks", choices.len())
            }
            Why::Ambiguous { line: Some(line), .. } => {
                write!(f, "line {line} is in none of the networks that the file declares")
            }
            Why::NoConfiguration { name, empty: true, .. } => {
                write!(f, "the configuration `{name}` defines nothing under `{option}`")
            }
            Why::NoConfiguration { name, .. } => {
                write!(f, "the file has no configuration `{name}`")
            }
            Why::Shared { others, .. } => {
                write!(f, "what would be changed belongs to {} too", quoted(others))
            }
            Why::NotShared { own } => {
                write!(f, "what would be changed belongs to {} alone", quoted(own))
            }
            Why::Untold { by } => write!(
                f,
                "the configurations are produced by `{by}`, and only Nix can decide which of these modules belong together"
            ),
            Why::Alternatives { kind, name } => {
                write!(f, "{} `{name}` is declared more than once, under different conditions", kind.word())
            }
            Why::UsedElsewhere { name } => {
                write!(f, "`{name}` is used here for something that is not a name of the network")
            }
            Why::NamedElsewhere { kind, name, path } => {
                write!(f, "`{path}` names {} `{name}` too, and is not written out in this file", kind.word())
            }
            Why::IsThere { name, provider } => {
                write!(f, "volume `{name}` belongs to provider `{provider}` already")
            }
            Why::Lost => write!(f, "the file has a structure that this program does not support"),
        }
    }
}

fn manner() -> FieldStyle {
    FieldStyle {
        newline: "\n",
        unit: "  ".to_owned(),
        tight: false,
        one_line: false,
        columns: None,
        order: Vec::new(),
    }
}

fn entry(kind: EntryKind, name: &str, fields: &Fields) -> String {
    let option = OPTION.join(".");
    format!("{option}.{}.{} = {};", kind.option(), quoted_name(name), manner().set(fields, "", 0))
}

fn item(list: ListOption, fields: &Fields, wrapper: &str) -> String {
    let (option, list) = (OPTION.join("."), list.option());
    format!("{option}.{list} = {wrapper}[\n  {}\n];", manner().set(fields, "  ", 0))
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// How to choose each of several declarations on the command line.
fn choose(choices: &[(String, usize)]) -> String {
    let choice = |(name, line): &(String, usize)| match name.as_str() {
        "" => format!("`--at {line}`"),
        name if name.contains('…') => format!("`--at {line}` ({name})"),
        name => format!("`--configuration {name}` (line {line})"),
    };
    let choices: Vec<String> = choices.iter().map(choice).collect();
    format!("choose one: {}; or a line inside it: `--at LINE`", choices.join(", "))
}
