//! A parsed file: its definitions, the declarations that they belong to, and the one that is edited.

use std::collections::BTreeMap;
use std::ops::Range;

use rnix::{Root, SyntaxNode, ast};
use rowan::ast::AstNode;
use serde_json::{Value, json};

use super::declared::{self, Declared};
use super::part::{Choice, DeclarationGroup, FileDeclarations};
use super::refused::{Refused, Why};
use super::write;
use crate::place::Place;
use crate::source;
use crate::source::find::{self, Definition, bytes};

/// Functions that create configurations from one and the same module text.
const SAME: [&str; 1] = ["genAttrs"];

/// A parsed Nix file that is to be edited.
pub struct NixFile<'a> {
    pub(super) text: &'a str,
    pub(super) root: SyntaxNode,
    pub(super) within: Vec<String>,
    /// Every definition of the module's options in the file.
    pub(super) all: Vec<Definition>,
    /// The declarations in the file, and which of them each definition belongs to.
    pub(super) parts: FileDeclarations,
    /// The names of the declarations to edit; empty if there are several and none was chosen.
    pub(super) chosen: Vec<String>,
    /// Whether a line chose the declaration: then the place of the edit need not contain that line.
    pub(super) by_line: bool,
    /// The definitions of the first declaration to edit.
    pub(super) definitions: Vec<Definition>,
}

impl<'a> NixFile<'a> {
    /// Parses a file. `within` is the option whose value the file is, such as `services.nixvol-net.volumes`; it is
    /// empty for a module.
    ///
    /// # Errors
    /// Syntax errors, and nesting that is too deep.
    pub fn parse(text: &'a str, within: &[String]) -> Result<Self, Refused> {
        if let Some(at) = source::too_deep(text) {
            return Err(Refused::new(Why::TooDeep).at(at..at));
        }
        let parsed = Root::parse(text);
        if let Some(error) = parsed.errors().first() {
            use rnix::ParseError::{
                DuplicatedArgs, Unexpected, UnexpectedDoubleBind, UnexpectedExtra, UnexpectedWanted,
            };
            let at = match error {
                Unexpected(range)
                | UnexpectedExtra(range)
                | UnexpectedWanted(_, range, _)
                | UnexpectedDoubleBind(range)
                | DuplicatedArgs(range, _) => (*range).into(),
                _ => text.trim_end().len()..text.trim_end().len(),
            };
            return Err(Refused::new(Why::NotNix).at(at));
        }
        let tree: ast::Root = parsed.tree();
        let definitions = find::definitions(&tree, within);
        let parts = FileDeclarations::of(&tree, &definitions);
        let mut file = Self {
            text,
            root: tree.syntax().clone(),
            within: within.to_vec(),
            all: definitions.clone(),
            parts,
            chosen: Vec::new(),
            by_line: false,
            definitions,
        };
        if let [name] = file.names()[..] {
            file.chosen = vec![name.to_owned()];
        }
        Ok(file)
    }

    /// The declaration to edit, as far as it can be determined without Nix.
    pub fn declared(&self) -> Declared {
        declared::declared(&self.definitions)
    }

    /// The line and column of a byte offset, both from 1; columns count characters.
    pub fn place(&self, file: &str, at: usize) -> Place {
        let start = write::line_start(self.text, at);
        let line = self.text[..start].matches('\n').count() + 1;
        Place { file: file.to_owned(), line, column: self.text[start..at].chars().count() + 1 }
    }

    /// The places of what the file declares, in the form of the input's `positions`.
    pub fn positions(&self, file: &str, places: &BTreeMap<String, usize>) -> Value {
        let place = |(path, at): (&String, &usize)| (path.clone(), json!(self.place(file, *at)));
        Value::Object(places.iter().map(place).collect())
    }
}

impl NixFile<'_> {
    /// The names of the declarations in the file.
    pub fn names(&self) -> Vec<&str> {
        self.parts.groups.iter().map(|group| group.name.as_str()).collect()
    }

    /// The same file, restricted to the chosen declarations.
    ///
    /// # Errors
    /// There are several declarations and none is chosen, or the chosen one does not exist.
    pub fn choose(mut self, choice: &Choice) -> Result<Self, Refused> {
        let Choice { configurations, line } = choice;
        let mut chosen = Vec::new();
        for name in configurations {
            match self.parts.groups.iter().position(|group| group.name == *name) {
                Some(index) if !chosen.contains(&index) => chosen.push(index),
                Some(_) => {}
                None => return Err(self.no_such(name)),
            }
        }
        self.by_line = false;
        if chosen.is_empty() {
            chosen = match (self.parts.groups.len(), line) {
                (0 | 1, _) => (0..self.parts.groups.len()).collect(),
                (_, Some(line)) => match self.at_line(*line) {
                    Some(chosen) => {
                        self.by_line = true;
                        chosen
                    }
                    None => return Err(self.ambiguous(Some(*line))),
                },
                (_, None) => return Err(self.ambiguous(None)),
            };
        }
        for index in &chosen {
            self.is_one(*index)?;
        }
        let names = chosen.iter().map(|index| self.parts.groups[*index].name.clone());
        self.chosen = names.collect();
        self.definitions = self.definitions_of(self.chosen.first());
        Ok(self)
    }

    /// Parses another text with the same choice.
    pub(super) fn again<'b>(&self, text: &'b str) -> Result<NixFile<'b>, Refused> {
        let mut file = NixFile::parse(text, &self.within).map_err(|_| Refused::new(Why::Lost))?;
        if !self.parts.is_single() || !file.parts.is_single() {
            file.chosen.clone_from(&self.chosen);
            file.definitions = file.definitions_of(file.chosen.first());
        }
        Ok(file)
    }

    /// The chosen declarations, by name.
    pub fn declarations(&self) -> Vec<(String, Declared)> {
        self.chosen.iter().map(|name| (name.clone(), self.declared_by(name))).collect()
    }

    /// The declaration with this name.
    pub(super) fn declared_by(&self, name: &str) -> Declared {
        declared::declared(&self.definitions_of(Some(&name.to_owned())))
    }

    fn definitions_of(&self, name: Option<&String>) -> Vec<Definition> {
        let index = self.parts.groups.iter().position(|group| Some(&group.name) == name);
        let all = self.all.iter().zip(&self.parts.owners);
        all.filter(|(_, owners)| index.is_some_and(|index| owners.contains(&index)))
            .map(|(definition, _)| definition.clone())
            .collect()
    }

    /// The names of the declarations that a byte range belongs to.
    fn owners(&self, range: &Range<usize>) -> Vec<String> {
        let is_group = |name: &str| self.parts.groups.iter().any(|group| group.name == name);
        let reached = self.parts.evaluations.iter().filter(|it| it.reaches(range)).map(|it| it.name.clone());
        let owned = self.all.iter().zip(&self.parts.owners).filter(|(it, _)| it.range() == *range);
        let owned = owned.flat_map(|(_, owners)| owners).map(|index| self.parts.groups[*index].name.clone());
        let mut names: Vec<String> = reached.filter(|name| is_group(name)).chain(owned).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Refuses a change that would affect a declaration that is not chosen, or only some of those that are.
    pub(super) fn own(&self, range: &Range<usize>) -> Result<(), Refused> {
        let owners = self.owners(range);
        let without = |all: &[String], some: &[String]| -> Vec<String> {
            all.iter().filter(|name| !some.contains(name)).cloned().collect()
        };
        let others = without(&owners, &self.chosen);
        if !others.is_empty() {
            return Err(Refused::new(Why::Shared { own: self.chosen.clone(), others }).at(range.clone()));
        }
        if !owners.is_empty() && !without(&self.chosen, &owners).is_empty() {
            return Err(Refused::new(Why::NotShared { own: owners }).at(range.clone()));
        }
        Ok(())
    }

    /// The definitions that belong to the chosen declarations only.
    pub(super) fn own_definitions(&self) -> Vec<Definition> {
        self.definitions.iter().filter(|it| self.own(&it.range()).is_ok()).cloned().collect()
    }

    /// Refuses configurations that a function creates from several modules, because only Nix can tell which modules
    /// belong to which.
    fn is_one(&self, index: usize) -> Result<(), Refused> {
        let group = &self.parts.groups[index];
        let Some(by) = group.made_by.as_ref().filter(|by| !SAME.contains(&by.as_str())) else {
            return Ok(());
        };
        let owned = self.all.iter().zip(&self.parts.owners).filter(|(_, owners)| owners.contains(&index));
        let mut roots: Vec<Range<usize>> = owned.map(|(it, _)| it.root.clone()).collect();
        roots.dedup();
        if roots.len() < 2 {
            return Ok(());
        }
        let refused = Refused::new(Why::Untold { by: by.clone() });
        Err(roots.into_iter().fold(refused, |refused, root| refused.at(root.start..root.start + 1)))
    }

    fn at_line(&self, line: usize) -> Option<Vec<usize>> {
        let covers = |range: &Range<usize>| {
            (self.line_of(range.start)..=self.line_of(range.end.max(range.start + 1) - 1)).contains(&line)
        };
        let mut found: Vec<(usize, Vec<usize>)> = Vec::new();
        for (definition, owners) in self.all.iter().zip(&self.parts.owners) {
            let (statement, root) = (definition.range(), &definition.root);
            if covers(&statement) {
                found.push((statement.len(), owners.clone()));
            } else if covers(root) {
                found.push((root.len(), owners.clone()));
            }
        }
        for (index, group) in self.parts.groups.iter().enumerate() {
            if covers(&group.at) {
                found.push((group.at.len(), vec![index]));
            }
        }
        let least = found.iter().map(|(length, _)| *length).min()?;
        // A set that two declarations share belongs to both.
        let mut chosen: Vec<usize> =
            found.into_iter().filter(|(length, _)| *length == least).flat_map(|(_, it)| it).collect();
        chosen.sort_unstable();
        chosen.dedup();
        Some(chosen)
    }

    /// The lines of the edited text that still contain a renamed word, except those of other declarations.
    pub fn lines_with(&self, word: &str, edited: &str) -> Vec<usize> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let is_whole =
            |at: &usize| !edited[..*at].ends_with(is_part) && !edited[at + word.len()..].starts_with(is_part);
        let Ok(file) = self.again(edited) else { return Vec::new() };
        let is_others = |at: &usize| {
            let range = *at..at + word.len();
            file.parts.evaluations.iter().any(|it| it.reaches(&range)) && !file.is_chosen(&range)
        };
        let found = edited.match_indices(word).map(|(at, _)| at).filter(is_whole);
        let mut lines: Vec<usize> = found.filter(|at| !is_others(at)).map(|at| file.line_of(at)).collect();
        lines.dedup();
        lines
    }

    /// The line of a byte offset, from 1.
    pub(super) fn line_of(&self, at: usize) -> usize {
        self.text[..write::line_start(self.text, at)].matches('\n').count() + 1
    }

    fn choices(&self) -> Vec<(String, usize)> {
        self.parts.groups.iter().map(|group| (group.name.clone(), self.line_of(group.at.start))).collect()
    }

    /// The refusal of a file with several declarations of which none is chosen.
    pub(super) fn ambiguous(&self, line: Option<usize>) -> Refused {
        let refused = Refused::new(Why::Ambiguous { choices: self.choices(), line });
        self.parts.groups.iter().fold(refused, |refused, group| refused.at(self.head(group)))
    }

    fn no_such(&self, name: &str) -> Refused {
        let known = self.parts.evaluations.iter().any(|it| it.name == name);
        let why = Why::NoConfiguration { name: name.to_owned(), empty: known, choices: self.choices() };
        Refused::new(why)
    }

    /// The byte range to underline for a group: its name if its statement has one, otherwise its first byte.
    fn head(&self, group: &DeclarationGroup) -> Range<usize> {
        let token = self.root.token_at_offset(rowan_offset(group.at.start)).right_biased();
        let statement = token.and_then(|it| it.parent_ancestors().find_map(ast::AttrpathValue::cast));
        let path = statement.filter(|it| bytes(it.syntax()) == group.at).and_then(|it| it.attrpath());
        path.map_or(group.at.start..group.at.start + 1, |path| bytes(path.syntax()))
    }
}

/// Whether a position's file is a preset, as `modules/positions.nix` names it.
pub(super) fn is_preset_file(file: &str) -> bool {
    file.starts_with("nixvol-net/modules/presets/")
}

fn rowan_offset(at: usize) -> rnix::TextSize {
    rnix::TextSize::try_from(at).unwrap_or_default()
}
