//! Edits of the user's Nix file: adds or removes a volume, a provider, a link or an expectation; renames and moves.
//!
//! The file belongs to its author. An edit therefore follows the file's style (nested sets or dotted keys, one line or
//! several, order, indentation), changes nothing else, and is undone byte for byte by its inverse. What cannot be
//! edited safely is refused, with the text to write by hand; so is a change that would affect another Mac declared in
//! the same file. Sees: place, source, input. Never: guesses what only Nix can evaluate, or reads or writes files.

mod change;
mod declared;
mod fields;
mod file;
mod items;
mod literal;
mod part;
mod refused;
mod rename;
mod target;
mod write;

use std::ops::Range;

use rnix::ast::{self, Expr};
use rowan::ast::AstNode;
use serde_json::{Value, json};

use crate::source::find::{Definition, bytes};
pub use change::{Change, EntryKind, ListOption, ProviderLists};
pub use declared::{Declared, Unknown};
pub use file::NixFile;
use file::is_preset_file;
use items::{Container, Splice};
pub use part::Choice;
pub use refused::{Refused, Why};
use target::Insertion;
use write::FieldStyle;
pub use write::Fields;

impl NixFile<'_> {
    /// The text after a change. `line` chooses among several possible places for it; `declaration` is the whole
    /// declaration, of which the file may contain a part only.
    ///
    /// # Errors
    /// Why the file cannot be edited, with the text to write by hand.
    pub fn edited(
        &self,
        change: &Change,
        declaration: &Value,
        line: Option<usize>,
    ) -> Result<String, Refused> {
        if self.chosen.is_empty() && self.names().len() > 1 {
            return Err(self.ambiguous(None));
        }
        // A line that chose the declaration chooses a place only if a place contains it.
        let edited = match self.changed(change, declaration, line) {
            Err(Refused { why: Why::Nowhere { line: Some(_), .. }, .. }) if self.by_line => {
                self.changed(change, declaration, None)
            }
            other => other,
        };
        let edited = edited.and_then(|edited| self.verify(change, &edited).map(|()| edited));
        edited.map_err(|refused| refused.instead(change))
    }

    fn changed(&self, change: &Change, declaration: &Value, line: Option<usize>) -> Result<String, Refused> {
        let splices = match change {
            Change::Add { kind, name, fields } => {
                self.is_free(*kind, name, declaration)?;
                vec![self.add(*kind, name, fields, line)?]
            }
            Change::AddItem { list, fields } => vec![self.add_item(*list, fields, declaration, line)?],
            Change::Remove { kind, name } => return self.remove(*kind, name, declaration),
            Change::RemoveItem { list, index } => vec![self.remove_item(*list, *index, declaration)?],
            Change::Rename { kind, old, new } => self.rename(*kind, old, new, declaration)?,
            Change::Move { name, provider, address } => {
                if declaration["volumes"][name]["provider"].as_str() == Some(provider) {
                    let (name, provider) = (name.clone(), provider.clone());
                    return Err(Refused::new(Why::IsThere { name, provider }));
                }
                let fields = vec![("provider", json!(provider)), ("address", json!(address))];
                self.set_fields(EntryKind::Volume, name, &fields, declaration, line)?
            }
            Change::MoveProvider { name: _, mac: _, lists } => self.set_lists(lists, declaration)?,
            Change::WithMacs { change, lists } => {
                let text = self.changed(change, declaration, line)?;
                let rest = self.again(&text)?;
                return Ok(items::all_made(rest.set_lists(lists, declaration)?, &text));
            }
        };
        Ok(items::all_made(splices, self.text))
    }

    /// The edits that give Macs these providers.
    fn set_lists(&self, lists: &change::ProviderLists, declaration: &Value) -> Result<Vec<Splice>, Refused> {
        let mut splices = Vec::new();
        for (mac, list) in lists {
            let fields = vec![("providers", json!(list))];
            splices.extend(self.set_fields(EntryKind::Mac, mac, &fields, declaration, None)?);
        }
        Ok(splices)
    }

    /// Parses the edited text and checks its effect: every declaration being edited must equal its old value with the
    /// change applied, and all others must be unchanged.
    fn verify(&self, change: &Change, edited: &str) -> Result<(), Refused> {
        let after = self.again(edited)?;
        let lost = || Refused::new(Why::Lost);
        for name in self.names() {
            let (before, after) = if self.parts.is_single() && after.parts.is_single() {
                (self.declared(), after.declared())
            } else {
                (self.declared_by(name), after.declared_by(name))
            };
            let right = if !self.chosen.iter().any(|it| it == name) {
                before.json == after.json
            } else if let Change::RemoveItem { list, .. } = change {
                // The index counts the links of the whole declaration, which may be in other files, so only the number
                // of elements is checked.
                let split = |mut json: Value| {
                    let items = json.as_object_mut().and_then(|fields| fields.remove(list.option()));
                    (items.and_then(|items| items.as_array().map(Vec::len)).unwrap_or_default(), json)
                };
                let ((had, rest), (has, same)) = (split(before.json), split(after.json));
                had == has + 1 && rest == same
            } else {
                change.applied(&before.json) == after.json
            };
            // Expressions that only Nix can evaluate must be unchanged, except for a name being renamed.
            let renames = matches!(change, Change::Rename { .. });
            let same_rest = if renames {
                before.unknown.len() == after.unknown.len()
            } else {
                before.unknown == after.unknown
            };
            if !right || !same_rest {
                return Err(lost());
            }
        }
        if after.names().iter().all(|name| self.names().contains(name)) { Ok(()) } else { Err(lost()) }
    }

    /// Refuses a name that is already in use, here or in another file.
    fn is_free(&self, kind: EntryKind, name: &str, declaration: &Value) -> Result<(), Refused> {
        if let Some(known) = self.definitions.iter().find(|it| it.starts_with(&[kind.option(), name])) {
            return Err(Refused::new(Why::Exists { kind, name: name.to_owned() }).at(known.range()));
        }
        if declaration[kind.option()].get(name).is_some() {
            return Err(Refused::new(Why::Taken { kind, name: name.to_owned() }));
        }
        Ok(())
    }

    fn add(
        &self,
        kind: EntryKind,
        name: &str,
        fields: &Fields,
        line: Option<usize>,
    ) -> Result<Splice, Refused> {
        let own = self.own_definitions();
        let target = Insertion::of(self.text, &own, kind.option(), line);
        let target = target.map_err(|refused| self.shared_instead(refused, kind.option()))?;
        Ok(target.entry(&self.manner(), &self.models(kind), name, fields))
    }

    /// If every possible place is shared with other declarations, reports that as the reason.
    fn shared_instead(&self, refused: Refused, option: &str) -> Refused {
        if !matches!(refused.why, Why::Nowhere { .. }) {
            return refused;
        }
        let takes = |it: &&Definition| it.path.is_empty() || it.starts_with(&[option]);
        let shared = self.definitions.iter().filter(takes).find_map(|it| self.own(&it.range()).err());
        let any = || self.definitions.iter().find_map(|it| self.own(&it.range()).err());
        shared.or_else(any).unwrap_or(refused)
    }

    fn rename(
        &self,
        kind: EntryKind,
        old: &str,
        new: &str,
        declaration: &Value,
    ) -> Result<Vec<Splice>, Refused> {
        self.is_ours(kind, old)?;
        self.is_free(kind, new, declaration)?;
        if self.statements_of(kind, old).is_empty() {
            return Err(self.missing(kind, old, declaration));
        }
        if let Some(path) = self.named_in_other_files(kind, old, declaration) {
            let name = old.to_owned();
            return Err(Refused::new(Why::NamedElsewhere { kind, name, path }));
        }
        rename::Renaming::splices(self, kind, old, new)
    }

    /// The path of a reference to the name in the whole declaration that this file does not contain.
    fn named_in_other_files(&self, kind: EntryKind, name: &str, declaration: &Value) -> Option<String> {
        let mentions = |declaration: &Value| {
            let mut found: Vec<String> = Vec::new();
            change::mentions(&mut declaration.clone(), kind, &mut |path, at| {
                if at.as_str() == Some(name) {
                    found.push(path.to_owned());
                }
            });
            found
        };
        let (all, here) = (mentions(declaration), mentions(&self.declared().json));
        // Links may have other indices in the whole declaration, so references are compared by number first.
        (all.len() > here.len())
            .then(|| all.iter().find(|path| !here.contains(path)).or(all.last()).cloned())?
    }

    /// Refuses to change an entry that comes from the preset.
    fn is_ours(&self, kind: EntryKind, name: &str) -> Result<(), Refused> {
        if self.declared().preset && declared::is_in_preset(kind.option(), name) {
            return Err(Refused::new(Why::OfPreset { kind, name: name.to_owned() }));
        }
        Ok(())
    }

    /// Whether a byte range belongs to a declaration being edited.
    fn is_chosen(&self, range: &Range<usize>) -> bool {
        self.parts.takes_part(range, &self.chosen)
    }

    /// The style of the file as a whole.
    fn manner(&self) -> FieldStyle {
        FieldStyle::of_file(&self.root, self.text, None)
    }

    /// Entries whose style a new one can copy: those of the same kind first.
    fn models(&self, kind: EntryKind) -> Vec<ast::AttrSet> {
        let other = if kind == EntryKind::Volume { EntryKind::Provider } else { EntryKind::Volume };
        let of = |kind: EntryKind| {
            self.definitions.iter().filter(move |it| it.path.len() == 2 && it.starts_with(&[kind.option()]))
        };
        of(kind).chain(of(other)).filter_map(target::plain_set).collect()
    }

    fn add_item(
        &self,
        list: ListOption,
        fields: &Fields,
        declaration: &Value,
        line: Option<usize>,
    ) -> Result<Splice, Refused> {
        let target = Insertion::list(self.text, &self.own_definitions(), list.option(), line);
        let target = target.map_err(|refused| self.shared_instead(refused, list.option()))?;
        if list == ListOption::Links && target.is_new() && is_of_preset(declaration, &self.declared()) {
            return Err(Refused::new(Why::PresetLinks));
        }
        Ok(target.item(&self.manner(), fields))
    }

    fn remove(&self, kind: EntryKind, name: &str, declaration: &Value) -> Result<String, Refused> {
        self.is_ours(kind, name)?;
        let found = self.statements_of(kind, name);
        self.are_one(kind, name, &found)?;
        let Some(splice) = target::removal(self.text, &found) else {
            return Err(self.missing(kind, name, declaration));
        };
        if let Some(shared) = found.iter().find(|it| it.statement.kind() == rnix::SyntaxKind::NODE_INHERIT) {
            return Err(Refused::new(Why::Inherited { name: name.to_owned() }).at(shared.range()));
        }
        for definition in &found {
            self.own(&definition.range())?;
        }
        let text = splice.made(self.text);
        let rest = self.again(&text)?;
        if rest.statements_of(kind, name).is_empty() {
            Ok(text)
        } else {
            rest.remove(kind, name, declaration)
        }
    }

    /// Refuses an entry that defines the same field more than once, under different conditions.
    fn are_one(&self, kind: EntryKind, name: &str, found: &[&Definition]) -> Result<(), Refused> {
        for definition in found {
            let all = || self.definitions.iter().filter(|it| it.starts_with(&[kind.option(), name]));
            let inside = all().filter(|it| contains(&definition.range(), &it.range()) && it.path.len() > 2);
            for field in inside {
                let other = all().find(|it| {
                    it.path == field.path && it.range() != field.range() && it.conditions != field.conditions
                });
                if let Some(other) = other {
                    let refused = Refused::new(Why::Alternatives { kind, name: name.to_owned() });
                    return Err(refused.at(field.range()).at(other.range()));
                }
            }
        }
        Ok(())
    }

    /// The outermost statements that define an entry.
    fn statements_of(&self, kind: EntryKind, name: &str) -> Vec<&Definition> {
        let all = || self.definitions.iter().filter(|it| it.starts_with(&[kind.option(), name]));
        let inside = |inner: &Definition| {
            all().any(|outer| outer.range() != inner.range() && contains(&outer.range(), &inner.range()))
        };
        let mut found: Vec<&Definition> = all().filter(|it| !inside(it)).collect();
        found.dedup_by_key(|it| it.range());
        found
    }

    /// Why an entry that should be removed or renamed cannot be found.
    fn missing(&self, kind: EntryKind, name: &str, declaration: &Value) -> Refused {
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

    fn remove_item(&self, of: ListOption, index: usize, declaration: &Value) -> Result<Splice, Refused> {
        let option = of.option();
        let wanted = &declaration[option][index];
        let lists = target::lists(&self.definitions, option);
        let mut found = Vec::new();
        for (definition, list) in &lists {
            for (at, item) in list.items().enumerate() {
                if literal::value(&item).is_ok_and(|value| same_link(&value, wanted)) {
                    found.push((*definition, list, at, item));
                }
            }
        }
        // Links with equal fields are told apart by index, if this file has all of them.
        if found.len() > 1 && self.declared().json[option] == declaration[option] && lists.len() == 1 {
            found.retain(|(_, _, at, _)| *at == index);
        }
        match &found[..] {
            [(definition, list, at, item)] => {
                self.own(&bytes(item.syntax()))?;
                self.own(&definition.range())?;
                let items: Vec<Range<usize>> = list.items().map(|item| bytes(item.syntax())).collect();
                let container = Container { text: self.text, node: list.syntax().clone(), items };
                let only = container.items.len() == 1;
                let inner = container.inner();
                // An element of several lines that starts on the line of the bracket: `add` writes it so into a list
                // that exists, but not into a statement that it creates.
                let within = &self.text[inner.clone()];
                let hugged =
                    within.contains('\n') && !within.trim_matches([' ', '\t', '\r']).starts_with('\n');
                let around = [inner.start..container.items[*at].start, container.items[*at].end..inner.end];
                let is_bare = |text: &str| text.trim().is_empty() && text.matches('\n').count() < 2;
                let bare = around.into_iter().all(|range| is_bare(&self.text[range]));
                let alone =
                    definition.bodies.len() == 1 && matches!(&definition.bodies[0].value, Expr::List(_));
                let is_statement = ast::AttrpathValue::can_cast(definition.statement.kind());
                // Without any definition of `links`, the links of the preset would apply again.
                let comes_back = of == ListOption::Links && self.declared().preset;
                if only && bare && !hugged && alone && is_statement && !comes_back {
                    return target::removal(self.text, &[definition]).ok_or_else(|| Refused::new(Why::Lost));
                }
                Ok(container.without(*at))
            }
            [] => match target::opaque(&self.definitions, &[option]) {
                Some(opaque) => Err(opaque),
                None => Err(Refused::new(Why::ItemElsewhere { list: of, index })),
            },
            several => {
                let refused = Refused::new(Why::SeveralItems { list: of, index });
                Err(several.iter().fold(refused, |refused, (.., item)| refused.at(bytes(item.syntax()))))
            }
        }
    }
}

/// Whether two links have equal fields; null and false count as absent.
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

/// Whether the links of a declaration are those of the preset, which a definition would replace.
fn is_of_preset(declaration: &Value, own: &Declared) -> bool {
    let links = declaration["links"].as_array().is_some_and(|links| !links.is_empty());
    let place = &declaration["positions"]["links.0"]["file"];
    links && (own.preset || place.as_str().is_some_and(is_preset_file))
}

fn contains(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}
