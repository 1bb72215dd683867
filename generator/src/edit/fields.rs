//! Fields of an existing entry: replaces values, and adds fields that are missing.

use rnix::SyntaxKind;
use rnix::ast::{AttrSet, Expr, HasEntry};
use rowan::ast::AstNode;
use serde_json::Value;

use super::Definition;
use super::change::EntryKind;
use super::declared;
use super::file::{NixFile, is_preset_file};
use super::items::{Container, Splice, Spot};
use super::refused::{Refused, Why};
use super::write::{Fields, quoted_name};
use crate::source::find::bytes;

impl NixFile<'_> {
    /// The edits that give the fields of an entry these values.
    pub(super) fn set_fields(
        &self,
        kind: EntryKind,
        name: &str,
        fields: &Fields,
        declaration: &Value,
        line: Option<usize>,
    ) -> Result<Vec<Splice>, Refused> {
        let (mut splices, mut missing) = (Vec::new(), Fields::new());
        for (field, value) in fields {
            match self.leaf(kind, name, field)? {
                Some((definition, expression)) => {
                    self.own(&definition.range())?;
                    let text = self.manner().value(value);
                    splices.push(Splice { at: bytes(expression.syntax()), text });
                }
                None => missing.push((*field, value.clone())),
            }
        }
        if !missing.is_empty() {
            splices.push(self.more_fields(kind, name, &missing, declaration, line)?);
        }
        Ok(splices)
    }

    /// The one expression that defines a field in this file, if there is one.
    fn leaf(&self, kind: EntryKind, name: &str, field: &str) -> Result<Option<(&Definition, Expr)>, Refused> {
        let path = [kind.option(), name, field];
        let mut found = Vec::new();
        for definition in self.definitions.iter().filter(|it| it.is_at(&path)) {
            if definition.statement.kind() == SyntaxKind::NODE_INHERIT {
                return Err(Refused::new(Why::Inherited { name: field.to_owned() }).at(definition.range()));
            }
            found.extend(definition.bodies.iter().map(|body| (body.priority, definition, &body.value)));
        }
        let strongest = found.iter().map(|it| it.0).min();
        found.retain(|it| Some(it.0) == strongest);
        match found[..] {
            [] => Ok(None),
            [(_, definition, expression)] => Ok(Some((definition, expression.clone()))),
            _ => {
                let refused = Refused::new(Why::Alternatives { kind, name: name.to_owned() });
                Err(found.iter().fold(refused, |refused, (_, it, _)| refused.at(it.range())))
            }
        }
    }

    /// Adds fields that the entry does not have in this file: to its set, next to its statements, or, for an entry of
    /// the preset, in a new entry that extends it.
    fn more_fields(
        &self,
        kind: EntryKind,
        name: &str,
        fields: &Fields,
        declaration: &Value,
        line: Option<usize>,
    ) -> Result<Splice, Refused> {
        let statements = self.statements_of(kind, name);
        let own = |it: &&&Definition| self.own(&it.range()).is_ok();
        if let Some(definition) = statements.iter().find(own) {
            let set = definition.bodies.iter().find_map(|body| match &body.value {
                Expr::AttrSet(set) if definition.path.len() == 2 => Some(set),
                _ => None,
            });
            if let Some(set) = set {
                return Ok(self.beside(set, None, "", fields));
            }
            let above = definition.written.len().checked_sub(1);
            if let (Some(above), 3) = (above.filter(|it| *it > 0), definition.path.len()) {
                let prefix = definition.written[..above].join(".") + ".";
                return Ok(self.beside(&definition.set, Some(definition), &prefix, fields));
            }
        }
        if let Some(shared) = statements.first() {
            self.own(&shared.range())?;
            return Err(Refused::new(Why::Lost).at(shared.range()));
        }
        let place = &declaration["positions"][format!("{}.{name}", kind.option())]["file"];
        let of_preset = place.as_str().is_some_and(is_preset_file)
            || (self.declared().preset && declared::is_in_preset(kind.option(), name));
        if of_preset {
            self.add(kind, name, fields, line)
        } else {
            Err(self.missing(kind, name, declaration))
        }
    }

    /// Inserts statements after another one of the set, or after the last.
    fn beside(&self, set: &AttrSet, behind: Option<&Definition>, prefix: &str, fields: &Fields) -> Splice {
        let items: Vec<_> = set.entries().map(|entry| bytes(entry.syntax())).collect();
        let at = behind.and_then(|it| items.iter().position(|item| *item == it.range()));
        let spot = at.or(items.len().checked_sub(1)).map_or(Spot::Alone, Spot::Behind);
        let container = Container { text: self.text, node: set.syntax().clone(), items };
        let manner = self.manner();
        let joint = container.joint(spot, &manner.unit, manner.newline, false);
        let gap = if joint.one_line { " ".to_owned() } else { format!("{}{}", manner.newline, joint.indent) };
        let statement = |(name, value): &(&str, Value)| {
            format!("{prefix}{} = {};", quoted_name(name), manner.value(value))
        };
        joint.with(&fields.iter().map(statement).collect::<Vec<_>>().join(&gap))
    }
}
