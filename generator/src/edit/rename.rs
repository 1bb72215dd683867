//! Renames a provider or a volume wherever the file refers to it: the entry, links and expectations, the provider of a
//! volume, and expressions that read the entry.

use std::ops::Range;

use rnix::SyntaxKind;
use rnix::ast::{self, Attr, AttrSet, AttrpathValue, Expr, HasEntry};
use rowan::ast::AstNode;

use super::change::{EntryKind, ListOption};
use super::file::NixFile;
use super::items::Splice;
use super::literal;
use super::refused::{Refused, Why};
use super::write::quoted_name;
use crate::source::find::{Body, OPTION, bodies, bytes};
use crate::source::name::segment;
use crate::source::scope;

/// A rename in progress.
pub struct Renaming<'f, 'a> {
    file: &'f NixFile<'a>,
    kind: EntryKind,
    old: &'f str,
    new: &'f str,
    splices: Vec<Splice>,
    /// References that were followed to the value they are bound to, as ranges of both. The value may be changed, so no
    /// other use of it is allowed.
    followed: Vec<(Range<usize>, Range<usize>)>,
}

impl<'f, 'a> Renaming<'f, 'a> {
    /// The edits that rename a provider or volume.
    ///
    /// # Errors
    /// A reference that cannot be edited, or that is shared with another declaration.
    pub fn splices(
        file: &'f NixFile<'a>,
        kind: EntryKind,
        old: &'f str,
        new: &'f str,
    ) -> Result<Vec<Splice>, Refused> {
        let mut renaming = Self { file, kind, old, new, splices: Vec::new(), followed: Vec::new() };
        let entries = renaming.entries()?;
        renaming.named_in_options()?;
        renaming.read_elsewhere(&entries)?;
        renaming.is_followed_by_nothing_else()?;
        let mut splices = renaming.splices;
        splices.sort_by_key(|splice| splice.at.start);
        splices.dedup();
        for splice in &splices {
            file.own(&splice.at)?;
        }
        Ok(splices)
    }

    /// Renames the entry itself; returns the statements that define it.
    fn entries(&mut self) -> Result<Vec<AttrpathValue>, Refused> {
        let mut statements = Vec::new();
        let names = [self.kind.option(), self.old];
        let file = self.file;
        for definition in file.definitions.iter().filter(|it| it.starts_with(&names)) {
            file.own(&definition.range())?;
            let Some(at) = (definition.written.len() + 1).checked_sub(definition.path.len()) else {
                continue;
            };
            let Some(statement) = AttrpathValue::cast(definition.statement.clone()) else {
                if definition.path.len() > 2 {
                    continue;
                }
                let refused = Refused::new(Why::Inherited { name: self.old.to_owned() });
                return Err(refused.at(definition.range()));
            };
            if at >= definition.written.len() {
                continue;
            }
            let attr = statement.attrpath().and_then(|path| path.attrs().nth(at));
            if let Some(attr) = attr {
                self.attr(&attr);
                statements.push(statement);
            }
        }
        Ok(statements)
    }

    /// Renames one segment of an attribute path. Quotes are kept, and added if the new name needs them.
    fn attr(&mut self, attr: &Attr) {
        let text = match attr {
            Attr::Ident(_) => quoted_name(self.new),
            Attr::Dynamic(_) | Attr::Str(_) => attr.to_string().replace(self.old, self.new),
        };
        self.splices.push(Splice { at: bytes(attr.syntax()), text });
    }

    /// Renames references in options: endpoints of links and expectations, providers of volumes and Macs.
    fn named_in_options(&mut self) -> Result<(), Refused> {
        let definitions = self.file.definitions.clone();
        for definition in &definitions {
            let path: Vec<&str> =
                definition.path.iter().map(|it| it.as_deref().unwrap_or_default()).collect();
            let is_list = ListOption::ALL.iter().any(|list| path == [list.option()]);
            let is_provider = self.kind == EntryKind::Provider
                && matches!(path[..], ["volumes", _, "provider"] | ["macs", _, "providers"]);
            if !is_list && !is_provider {
                continue;
            }
            if let Some(inherit) = ast::Inherit::cast(definition.statement.clone()) {
                let name = path.last().copied().unwrap_or_default();
                if let Some(value) = scope::inherited(&inherit, name) {
                    self.followed.push((definition.range(), bytes(value.syntax())));
                    if is_list { self.items(&value)? } else { self.names(&value)? }
                }
                continue;
            }
            let value = AttrpathValue::cast(definition.statement.clone()).and_then(|it| it.value());
            let Some(value) = value else { continue };
            if is_list { self.items(&value)? } else { self.names(&value)? }
        }
        Ok(())
    }

    /// Renames references in the elements of `links` or `expect`.
    fn items(&mut self, value: &Expr) -> Result<(), Refused> {
        for body in self.opened(value) {
            let Expr::List(list) = body else { continue };
            for item in list.items() {
                for body in self.opened(&item) {
                    let Expr::AttrSet(set) = body else { continue };
                    self.ends(&set)?;
                }
            }
        }
        Ok(())
    }

    fn ends(&mut self, set: &AttrSet) -> Result<(), Refused> {
        for statement in set.attrpath_values() {
            let name = statement.attrpath().and_then(|path| segment(&path.attrs().next()?));
            if let (Some("from" | "to"), Some(value)) = (name.as_deref(), statement.value()) {
                self.names(&value)?;
            }
        }
        for inherit in set.inherits() {
            for name in ["from", "to"] {
                let has = inherit.attrs().any(|attr| segment(&attr).as_deref() == Some(name));
                if let Some(value) = scope::inherited(&inherit, name).filter(|_| has) {
                    self.followed.push((bytes(inherit.syntax()), bytes(value.syntax())));
                    self.names(&value)?;
                }
            }
        }
        Ok(())
    }

    /// Renames references in a name or in a list of names.
    fn names(&mut self, value: &Expr) -> Result<(), Refused> {
        for body in self.opened(value) {
            match &body {
                Expr::List(list) => {
                    for item in list.items() {
                        self.names(&item)?;
                    }
                }
                Expr::Str(text) => {
                    let range = bytes(text.syntax());
                    let written = &self.file.text[range.clone()];
                    if literal::value(&body).ok().and_then(|it| it.as_str().map(|it| it == self.old))
                        != Some(true)
                    {
                        continue;
                    }
                    if crate::source::name::plain(text).is_none() || !written.contains(self.old) {
                        let by = "an expression".to_owned();
                        return Err(Refused::new(Why::Opaque { option: "the name".to_owned(), by }).at(range));
                    }
                    let text = written.replacen(self.old, self.new, 1);
                    self.splices.push(Splice { at: range, text });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The expressions inside wrappers such as `mkIf`. Names are followed to their values, and recorded.
    fn opened(&mut self, value: &Expr) -> Vec<Expr> {
        let mut opened = Vec::new();
        for body in bodies(&Body::plain(value.clone())) {
            let (from, to) = (bytes(value.syntax()), bytes(body.value.syntax()));
            if !(from.start <= to.start && to.end <= from.end) {
                self.followed.push((named(value).unwrap_or(from), to));
                opened.push(body.value);
                continue;
            }
            match scope::resolve(&body.value) {
                Some(to @ Expr::Str(_)) if matches!(body.value, Expr::Ident(_) | Expr::Select(_)) => {
                    self.followed.push((bytes(body.value.syntax()), bytes(to.syntax())));
                    opened.push(to);
                }
                _ => opened.push(body.value),
            }
        }
        opened
    }

    /// Renames expressions that read the entry: `config.services.nixvol-net.volumes.etcd-1.address`, `volumes.etcd-1`.
    fn read_elsewhere(&mut self, entries: &[AttrpathValue]) -> Result<(), Refused> {
        let root = self.file.root.clone();
        let values: Vec<Range<usize>> =
            entries.iter().filter_map(|it| Some(bytes(it.value()?.syntax()))).collect();
        for node in root.descendants() {
            let is_other = || !self.file.is_chosen(&bytes(&node));
            if let Some(select) = ast::Select::cast(node.clone()) {
                if !is_other() {
                    self.selected(&select, entries);
                }
                continue;
            }
            let bound = if let Some(name) = ast::Ident::cast(node.clone()).filter(scope::is_used) {
                scope::binding(&node, &name.to_string()).filter(|_| name.to_string() == self.old)
            } else {
                let inherit = ast::Inherit::cast(node.clone());
                let is_named =
                    |it: &ast::Inherit| it.attrs().any(|attr| segment(&attr).as_deref() == Some(self.old));
                inherit.filter(is_named).and_then(|it| scope::inherited(&it, self.old))
            };
            if bound.is_some_and(|bound| values.contains(&bytes(bound.syntax()))) {
                return Err(Refused::new(Why::UsedElsewhere { name: self.old.to_owned() }).at(bytes(&node)));
            }
        }
        Ok(())
    }

    fn selected(&mut self, select: &ast::Select, entries: &[AttrpathValue]) {
        let path = path_of(select, 0);
        let wanted = [OPTION[0], OPTION[1], self.kind.option(), self.old];
        for window in path.windows(wanted.len()) {
            let fits = window.iter().zip(wanted).all(|((name, _), wanted)| name.as_deref() == Some(wanted));
            if let Some((_, Some(attr))) = window.last().filter(|_| fits) {
                self.attr(attr);
            }
        }
        let Some(Expr::AttrSet(mut set)) = select.expr().and_then(|base| scope::resolve(&base)) else {
            return;
        };
        for attr in select.attrpath().into_iter().flat_map(|path| path.attrs()) {
            let is_entry = |it: &AttrpathValue| {
                let first = it.attrpath().and_then(|path| segment(&path.attrs().next()?));
                it.syntax().parent().as_ref() == Some(set.syntax()) && first.as_deref() == Some(self.old)
            };
            if segment(&attr).as_deref() == Some(self.old) && entries.iter().any(is_entry) {
                self.attr(&attr);
            }
            let inner = set.attrpath_values().find_map(|it| {
                let mut own = it.attrpath()?.attrs();
                let first = own.next().and_then(|first| segment(&first));
                (first == segment(&attr) && own.next().is_none()).then(|| it.value())?
            });
            match inner.as_ref().and_then(scope::resolve) {
                Some(Expr::AttrSet(inner)) => set = inner,
                _ => return,
            }
        }
    }

    /// Refuses the rename if a value that was changed through a name is also used for something else.
    fn is_followed_by_nothing_else(&self) -> Result<(), Refused> {
        let changed = |to: &Range<usize>| {
            self.splices.iter().any(|splice| to.start <= splice.at.start && splice.at.end <= to.end)
        };
        let targets: Vec<&Range<usize>> =
            self.followed.iter().map(|(_, to)| to).filter(|to| changed(to)).collect();
        if targets.is_empty() {
            return Ok(());
        }
        for node in self.file.root.descendants() {
            let uses = match Expr::cast(node.clone()) {
                Some(Expr::Ident(name)) if !scope::is_used(&name) => None,
                Some(it @ (Expr::Ident(_) | Expr::Select(_))) => scope::resolve(&it).map(|to| vec![to]),
                _ => ast::Inherit::cast(node.clone()).map(|inherit| {
                    let names = inherit.attrs().filter_map(|attr| segment(&attr));
                    names.filter_map(|name| scope::resolve(&scope::inherited(&inherit, &name)?)).collect()
                }),
            };
            let range = bytes(&node);
            for to in uses.into_iter().flatten() {
                let known = |(from, _): &(Range<usize>, Range<usize>)| {
                    from.start <= range.start && range.end <= from.end
                };
                if targets.contains(&&bytes(to.syntax())) && !self.followed.iter().any(known) {
                    let name = self.file.text[range.clone()].to_owned();
                    return Err(Refused::new(Why::UsedElsewhere { name }).at(range));
                }
            }
        }
        Ok(())
    }
}

/// The name inside of wrappers.
fn named(value: &Expr) -> Option<Range<usize>> {
    let mut names = value
        .syntax()
        .descendants()
        .filter(|node| matches!(node.kind(), SyntaxKind::NODE_IDENT | SyntaxKind::NODE_SELECT));
    let first = names.next()?;
    (first == *value.syntax()).then(|| bytes(&first))
}

/// The attribute path that an expression selects, including that of the names that its base is bound to.
fn path_of(select: &ast::Select, depth: usize) -> Vec<(Option<String>, Option<Attr>)> {
    let mut path = Vec::new();
    if depth < scope::DEEPEST
        && let Some(base) = select.expr()
    {
        let base = match &base {
            Expr::Ident(name) => scope::binding(name.syntax(), &name.to_string()),
            other => Some(other.clone()),
        };
        if let Some(Expr::Select(inner)) = base {
            path.extend(path_of(&inner, depth + 1).into_iter().map(|(name, _)| (name, None)));
        }
    }
    let own = select.attrpath().into_iter().flat_map(|path| path.attrs());
    path.extend(own.map(|attr| (segment(&attr), Some(attr))));
    path
}
