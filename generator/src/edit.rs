//! Edits of the user's own Nix file: a volume, a provider or a link more, or less.
//!
//! Whoever writes their configuration by hand wants it to stay theirs: so an edit takes the form that the file has
//! (nested sets or dotted keys, one line or many, order, indentation), changes nothing else, and is undone by its
//! opposite to the byte. What cannot be edited safely is refused, with the text to write instead.
//! Sees: place, source, input. Never: guesses what only Nix can evaluate, or reads or writes a file.

mod declared;
mod items;
mod literal;
mod refused;
mod target;
mod write;

use std::collections::BTreeMap;
use std::ops::Range;

use rnix::ast::{self, Expr};
use rnix::{Root, SyntaxNode};
use rowan::ast::AstNode;
use serde_json::{Value, json};

use crate::source::find::{self, Definition, bytes};
pub use declared::{Declared, Unknown};
use items::{Container, Splice};
pub use refused::{Refused, Why};
use target::Target;
pub use write::Fields;
use write::Manner;

use crate::place::Place;

/// What has a name of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A provider.
    Provider,
    /// A volume.
    Volume,
}

impl Kind {
    /// The option that holds them.
    pub fn option(self) -> &'static str {
        match self {
            Kind::Provider => "providers",
            Kind::Volume => "volumes",
        }
    }

    /// What one is called.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Provider => "provider",
            Kind::Volume => "volume",
        }
    }
}

/// What is to be changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A provider or volume more.
    Add {
        /// What.
        kind: Kind,
        /// Its name.
        name: String,
        /// What is said of it.
        fields: Fields,
    },
    /// A link more.
    AddLink {
        /// What is said of it.
        fields: Fields,
    },
    /// A provider or volume less.
    Remove {
        /// What.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// A link less: that of this index in the declaration.
    RemoveLink {
        /// `links.N`.
        index: usize,
    },
}

impl Change {
    /// The declaration with this change made.
    pub fn applied(&self, declaration: &Value) -> Value {
        let mut changed = declaration.clone();
        match self {
            Change::Add { kind, name, fields } => {
                changed[kind.option()][name] = object(fields);
            }
            Change::AddLink { fields } => match changed.get_mut("links").and_then(Value::as_array_mut) {
                Some(links) => links.push(object(fields)),
                None => changed["links"] = json!([object(fields)]),
            },
            Change::Remove { kind, name } => {
                if let Some(entries) = changed.get_mut(kind.option()).and_then(Value::as_object_mut) {
                    entries.remove(name);
                }
            }
            Change::RemoveLink { index } => {
                if let Some(links) = changed.get_mut("links").and_then(Value::as_array_mut)
                    && *index < links.len()
                {
                    links.remove(*index);
                }
            }
        }
        changed
    }
}

fn object(fields: &Fields) -> Value {
    Value::Object(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

/// A Nix file that is to be edited.
pub struct File<'a> {
    text: &'a str,
    root: SyntaxNode,
    definitions: Vec<Definition>,
    within: Vec<String>,
}

impl<'a> File<'a> {
    /// Reads a file. `within` is the option that its value defines, as `services.nixvol-net.volumes`, where it is no
    /// module; empty where it is one.
    ///
    /// # Errors
    /// What is no Nix.
    pub fn parse(text: &'a str, within: &[String]) -> Result<Self, Refused> {
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
        Ok(Self { text, root: tree.syntax().clone(), definitions, within: within.to_vec() })
    }

    /// The declaration that the file holds, as far as it can be read without Nix.
    pub fn declared(&self) -> Declared {
        declared::declared(&self.definitions)
    }

    /// The line and column of a byte, both from 1, columns in characters.
    pub fn place(&self, file: &str, at: usize) -> Place {
        let start = write::line_start(self.text, at);
        let line = self.text[..start].matches('\n').count() + 1;
        Place { file: file.to_owned(), line, column: self.text[start..at].chars().count() + 1 }
    }

    /// The places of what the file declares, as `positions` of the input has them.
    pub fn positions(&self, file: &str, places: &BTreeMap<String, usize>) -> Value {
        let place = |(path, at): (&String, &usize)| (path.clone(), json!(self.place(file, *at)));
        Value::Object(places.iter().map(place).collect())
    }

    /// The text after a change. `line` chooses among several places where the change could be made; `declaration` is
    /// the whole of what is declared, which the file may be only a part of.
    ///
    /// # Errors
    /// Why the file cannot be edited, and what to write instead.
    pub fn edited(
        &self,
        change: &Change,
        declaration: &Value,
        line: Option<usize>,
    ) -> Result<String, Refused> {
        let edited = self.changed(change, declaration, line);
        let edited = edited.and_then(|edited| self.verify(change, &edited).map(|()| edited));
        edited.map_err(|refused| refused.instead(change))
    }

    fn changed(&self, change: &Change, declaration: &Value, line: Option<usize>) -> Result<String, Refused> {
        let splice = match change {
            Change::Add { kind, name, fields } => {
                if declaration[kind.option()].get(name).is_some()
                    && self.statements_of(*kind, name).is_empty()
                {
                    return Err(Refused::new(Why::Taken { kind: *kind, name: name.clone() }));
                }
                self.add(*kind, name, fields, line)?
            }
            Change::AddLink { fields } => self.add_link(fields, declaration, line)?,
            Change::Remove { kind, name } => return self.remove(*kind, name, declaration),
            Change::RemoveLink { index } => self.remove_link(*index, declaration)?,
        };
        Ok(splice.made(self.text))
    }

    /// Reads the new text: it must declare what the old one did, with the change made, and nothing else.
    fn verify(&self, change: &Change, edited: &str) -> Result<(), Refused> {
        let before = self.declared();
        let after = File::parse(edited, &self.within).map_err(|_| Refused::new(Why::Lost))?.declared();
        let own = match change {
            // The index is that of the whole declaration: here it is enough that one link less is there.
            Change::RemoveLink { .. } => {
                let count = |json: &Value| json["links"].as_array().map_or(0, Vec::len);
                count(&before.json) == count(&after.json) + 1
            }
            _ => change.applied(&before.json) == after.json,
        };
        if own && before.unknown == after.unknown { Ok(()) } else { Err(Refused::new(Why::Lost)) }
    }

    fn add(&self, kind: Kind, name: &str, fields: &Fields, line: Option<usize>) -> Result<Splice, Refused> {
        if let Some(known) = self.definitions.iter().find(|it| it.starts_with(&[kind.option(), name])) {
            return Err(Refused::new(Why::Exists { kind, name: name.to_owned() }).at(known.range()));
        }
        let target = Target::of(self.text, &self.definitions, kind.option(), line)?;
        Ok(target.entry(&self.manner(), &self.models(kind), name, fields))
    }

    /// The manner of the file as a whole.
    fn manner(&self) -> Manner {
        Manner::of_file(&self.root, self.text, None)
    }

    /// Entries whose form a new one can take: of its own kind first.
    fn models(&self, kind: Kind) -> Vec<ast::AttrSet> {
        let other = if kind == Kind::Volume { Kind::Provider } else { Kind::Volume };
        let of = |kind: Kind| {
            self.definitions.iter().filter(move |it| it.path.len() == 2 && it.starts_with(&[kind.option()]))
        };
        of(kind).chain(of(other)).filter_map(target::plain_set).collect()
    }

    fn add_link(&self, fields: &Fields, declaration: &Value, line: Option<usize>) -> Result<Splice, Refused> {
        let target = Target::links(self.text, &self.definitions, line)?;
        if target.is_new() && is_of_preset(declaration, &self.declared()) {
            return Err(Refused::new(Why::PresetLinks));
        }
        Ok(target.link(&self.manner(), fields))
    }

    fn remove(&self, kind: Kind, name: &str, declaration: &Value) -> Result<String, Refused> {
        if self.declared().preset && declared::is_in_preset(kind.option(), name) {
            return Err(Refused::new(Why::OfPreset { kind, name: name.to_owned() }));
        }
        let found = self.statements_of(kind, name);
        let Some(splice) = target::removal(self.text, &found) else {
            return Err(self.missing(kind, name, declaration));
        };
        if let Some(shared) = found.iter().find(|it| it.statement.kind() == rnix::SyntaxKind::NODE_INHERIT) {
            return Err(Refused::new(Why::Inherited { name: name.to_owned() }).at(shared.range()));
        }
        let text = splice.made(self.text);
        let rest = File::parse(&text, &self.within).map_err(|_| Refused::new(Why::Lost))?;
        if rest.statements_of(kind, name).is_empty() {
            Ok(text)
        } else {
            rest.remove(kind, name, declaration)
        }
    }

    /// The statements that define an entry, those inside of others left out.
    fn statements_of(&self, kind: Kind, name: &str) -> Vec<&Definition> {
        let all = || self.definitions.iter().filter(|it| it.starts_with(&[kind.option(), name]));
        let inside = |inner: &Definition| {
            all().any(|outer| outer.range() != inner.range() && contains(&outer.range(), &inner.range()))
        };
        all().filter(|it| !inside(it)).collect()
    }

    /// Why there is nothing to remove.
    fn missing(&self, kind: Kind, name: &str, declaration: &Value) -> Refused {
        if let Some(opaque) = target::opaque(&self.definitions, &[kind.option()]) {
            return opaque;
        }
        let entries = &declaration[kind.option()];
        if entries.get(name).is_some() {
            let place = &declaration["positions"][format!("{}.{name}", kind.option())]["file"];
            if place.as_str().is_some_and(is_preset_file) {
                return Refused::new(Why::OfPreset { kind, name: name.to_owned() });
            }
            return Refused::new(Why::Elsewhere { kind, name: name.to_owned() });
        }
        let names = entries.as_object().into_iter().flatten().map(|it| it.0.as_str());
        let nearest = crate::input::nearest(name, names).map(str::to_owned);
        Refused::new(Why::NotThere { kind, name: name.to_owned(), nearest })
    }

    fn remove_link(&self, index: usize, declaration: &Value) -> Result<Splice, Refused> {
        let wanted = &declaration["links"][index];
        let lists = target::link_lists(&self.definitions);
        let mut found = Vec::new();
        for (definition, list) in &lists {
            for (at, item) in list.items().enumerate() {
                if literal::value(&item).is_ok_and(|value| same_link(&value, wanted)) {
                    found.push((*definition, list, at, item));
                }
            }
        }
        // Links that say the same are told apart by their number, where all of them are here.
        if found.len() > 1 && self.declared().json["links"] == declaration["links"] && lists.len() == 1 {
            found.retain(|(_, _, at, _)| *at == index);
        }
        match &found[..] {
            [(definition, list, at, _)] => {
                let items: Vec<Range<usize>> = list.items().map(|item| bytes(item.syntax())).collect();
                let container = Container { text: self.text, node: list.syntax().clone(), items };
                let only = container.items.len() == 1;
                let inner = container.inner();
                // The form in which `add` fills an empty list, as opposed to a statement that it makes.
                let within = &self.text[inner.clone()];
                let hugged =
                    within.contains('\n') && !within.trim_matches([' ', '\t', '\r']).starts_with('\n');
                let around = [inner.start..container.items[*at].start, container.items[*at].end..inner.end];
                let is_bare = |text: &str| text.trim().is_empty() && text.matches('\n').count() < 2;
                let bare = around.into_iter().all(|range| is_bare(&self.text[range]));
                let alone =
                    definition.bodies.len() == 1 && matches!(&definition.bodies[0].value, Expr::List(_));
                if only && bare && !hugged && alone && !self.declared().preset {
                    return target::removal(self.text, &[definition]).ok_or_else(|| Refused::new(Why::Lost));
                }
                Ok(container.without(*at))
            }
            [] => match target::opaque(&self.definitions, &["links"]) {
                Some(opaque) => Err(opaque),
                None => Err(Refused::new(Why::LinkElsewhere { index })),
            },
            several => {
                let refused = Refused::new(Why::SeveralLinks { index });
                Err(several.iter().fold(refused, |refused, (.., item)| refused.at(bytes(item.syntax()))))
            }
        }
    }
}

/// Whether two links say the same; what is null, or what everyone assumes, is as good as left out.
fn same_link(one: &Value, other: &Value) -> bool {
    let said = |link: &Value| -> Value {
        let mut link = link.clone();
        if let Some(fields) = link.as_object_mut() {
            fields.retain(|_, value| !value.is_null() && *value != json!(false));
        }
        link
    };
    said(one) == said(other)
}

/// Whether the links of a declaration are those of the preset, which a definition would take the place of.
fn is_of_preset(declaration: &Value, own: &Declared) -> bool {
    let links = declaration["links"].as_array().is_some_and(|links| !links.is_empty());
    let place = &declaration["positions"]["links.0"]["file"];
    links && (own.preset || place.as_str().is_some_and(is_preset_file))
}

/// Whether a position points into a preset, as `modules/positions.nix` names its file.
fn is_preset_file(file: &str) -> bool {
    file.starts_with("nixvol-net/modules/presets/")
}

fn contains(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}
