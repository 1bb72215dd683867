//! The place in a file for a change: the set or list that has such entries already, or the nearest one that can have
//! them.

use std::ops::Range;

use rnix::SyntaxKind;
use rnix::ast::{AttrSet, Entry, Expr, HasEntry, List};
use rowan::ast::AstNode;

use super::items::{Container, Splice, Spot};
use super::refused::{Refused, Why};
use super::write::{FieldStyle, Fields, quoted_name};
use crate::source::find::{Definition, OPTION, bytes};
use crate::source::name::segment;

/// A new statement goes after the first of these that exists. This yields the usual order of a declaration.
const READING_ORDER: [&str; 6] = ["links", "volumes", "providers", "localhost", "preset", "enable"];

/// A place for a new entry or element.
pub struct Insertion<'a> {
    container: Container<'a>,
    /// The attribute path before the new entry's name, such as `services.nixvol-net.volumes`.
    prefix: Vec<String>,
    /// The entries of the same kind in the container.
    siblings: Vec<Sibling>,
    /// Whether the container has no entry of this kind yet.
    is_new: bool,
}

/// An entry of the same kind, in one statement or several.
struct Sibling {
    name: String,
    /// The indices of its statements among the container's items.
    items: Vec<usize>,
    /// Whether its fields are separate dotted statements.
    dotted: bool,
    /// Whether one of those defines a field that every entry must have.
    whole: bool,
    set: Option<AttrSet>,
}

impl<'a> Insertion<'a> {
    /// The place for a new entry of `option`. Fails if there is none, or if several are equally suitable.
    pub fn of(
        text: &'a str,
        definitions: &[Definition],
        option: &str,
        line: Option<usize>,
    ) -> Result<Self, Refused> {
        let mut holders = Vec::new();
        // Enclosing sets of a nested set that was found: dotted entries next to it do not count as a second place.
        let mut around = Vec::new();
        for definition in definitions.iter().filter(|it| it.is_at(&[option])) {
            for body in &definition.bodies {
                if let Expr::AttrSet(set) = &body.value {
                    around.push(definition.set.clone());
                    if holders.iter().any(|(_, known, _): &Holder<AttrSet>| known == set) {
                        continue;
                    }
                    holders.push((body.conditions.len(), set.clone(), Vec::new()));
                }
            }
        }
        for definition in definitions.iter().filter(|it| it.path.len() > 1 && it.starts_with(&[option])) {
            if let Some(above) = definition.written.len().checked_sub(definition.path.len() - 1) {
                let prefix = definition.written[..above].to_vec();
                if !holders.iter().any(|(_, set, _)| *set == definition.set)
                    && !around.contains(&definition.set)
                {
                    holders.push((definition.conditions.len(), definition.set.clone(), prefix));
                }
            }
        }
        let made = definitions.iter().find(|it| it.starts_with(&[option]) && it.path.get(1) == Some(&None));
        if let Some(made) = made {
            let option = [&OPTION[..], &[option]].concat().join(".");
            return Err(Refused::new(Why::MadeName { option }).at(made.range()));
        }
        let is_new = holders.is_empty();
        if is_new {
            holders = roots(definitions, option)?;
        }
        let (set, prefix) = chosen(text, holders, option, line)?;
        Ok(Self::in_set(text, set, prefix, option, is_new))
    }

    /// The place for a new element of a list: after the existing ones, or in a new statement.
    pub fn list(
        text: &'a str,
        definitions: &[Definition],
        option: &str,
        line: Option<usize>,
    ) -> Result<Self, Refused> {
        let mut holders = Vec::new();
        for definition in definitions.iter().filter(|it| it.is_at(&[option])) {
            for body in &definition.bodies {
                if let Expr::List(list) = &body.value {
                    if holders.iter().any(|(_, known, _): &Holder<List>| known == list) {
                        continue;
                    }
                    holders.push((body.conditions.len(), list.clone(), Vec::new()));
                }
            }
        }
        if holders.is_empty() {
            let (set, prefix) = chosen(text, roots(definitions, option)?, option, line)?;
            return Ok(Self::in_set(text, set, prefix, option, true));
        }
        let (list, _) = chosen(text, holders, option, line)?;
        let items = list.items().map(|item| bytes(item.syntax())).collect();
        let container = Container { text, node: list.syntax().clone(), items };
        Ok(Self { container, prefix: Vec::new(), siblings: Vec::new(), is_new: false })
    }

    fn in_set(text: &'a str, set: AttrSet, prefix: Vec<String>, option: &str, is_new: bool) -> Self {
        let entries: Vec<Entry> = set.entries().collect();
        let items = entries.iter().map(|entry| bytes(entry.syntax())).collect();
        let siblings = if is_new { Vec::new() } else { siblings(&entries, &prefix) };
        let container = Container { text, node: set.syntax().clone(), items };
        let mut target = Self { container, prefix, siblings, is_new };
        if is_new {
            target.siblings = target.neighbour(&entries, option).into_iter().collect();
        }
        target
    }

    /// Whether the container has no entry of this kind yet.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// The statement after which a new one is inserted.
    fn neighbour(&self, entries: &[Entry], option: &str) -> Option<Sibling> {
        let path = |entry: &Entry| -> Vec<String> {
            let attrs = match entry {
                Entry::AttrpathValue(statement) => statement.attrpath(),
                Entry::Inherit(_) => None,
            };
            attrs.into_iter().flat_map(|path| path.attrs()).map(|attr| attr.to_string()).collect()
        };
        let above = &self.prefix[..self.prefix.len() - 1];
        let ours: Vec<(usize, String)> = entries
            .iter()
            .map(path)
            .enumerate()
            .filter(|(_, path)| path.starts_with(above))
            .filter_map(|(index, path)| Some((index, path.get(above.len())?.clone())))
            .collect();
        let rank = |name: &str| {
            READING_ORDER
                .iter()
                .filter(|it| match **it {
                    "links" => option == "expect",
                    "volumes" => option == "links" || option == "expect",
                    _ => true,
                })
                .position(|it| *it == name)
        };
        let best = ours.iter().filter_map(|(_, name)| rank(name)).min();
        let behind = match best {
            Some(best) => ours.iter().rev().find(|(_, name)| rank(name) == Some(best)),
            None => ours.last(),
        };
        let last = behind.map(|(index, _)| *index).or_else(|| entries.len().checked_sub(1))?;
        Some(Sibling { name: String::new(), items: vec![last], dotted: false, whole: false, set: None })
    }

    /// The edit that inserts a new entry.
    pub fn entry(&self, manner: &FieldStyle, models: &[AttrSet], name: &str, fields: &Fields) -> Splice {
        let text = self.container.text;
        let (spot, model) = self.spot(name);
        let model = model.or_else(|| self.siblings.iter().rev().find(|it| it.set.is_some()));
        let model = model.and_then(|it| it.set.clone()).or_else(|| models.first().cloned());
        let manner = match &model {
            Some(model) => manner.clone().like(text, model),
            None => manner.clone(),
        };
        let dotted = !self.is_new
            && self.siblings.iter().any(|it| it.dotted && it.whole)
            && self.siblings.iter().all(|it| it.set.is_none());
        let joint = self.container.joint(spot, &manner.unit, manner.newline, self.has_blanks(spot));
        let path = [&self.prefix[..], &[quoted_name(name)]].concat().join(".");
        if dotted && !joint.one_line {
            let statements = manner.statements(&path, fields, &joint.indent);
            return joint.with(&statements);
        }
        let set = if joint.one_line {
            manner.flat(fields)
        } else {
            manner.set(fields, &joint.indent, joint.column + path.len() + 4)
        };
        joint.with(&format!("{path} = {set};"))
    }

    /// The edit that inserts a new element.
    pub fn item(&self, manner: &FieldStyle, fields: &Fields) -> Splice {
        let text = self.container.text;
        if self.is_new {
            let spot = self.siblings.first().map_or(Spot::Alone, |it| Spot::Behind(it.items[0]));
            let joint = self.container.joint(spot, &manner.unit, manner.newline, self.has_blanks(spot));
            let inner = format!("{}{}", joint.indent, manner.unit);
            let (open, end) = if joint.one_line {
                let space = if manner.tight { "" } else { " " };
                (space.to_owned(), space.to_owned())
            } else {
                (format!("{}{inner}", manner.newline), format!("{}{}", manner.newline, joint.indent))
            };
            let link =
                if joint.one_line { manner.flat(fields) } else { manner.set(fields, &inner, inner.len()) };
            let statement = format!("{} = [{open}{link}{end}];", self.prefix.join("."));
            return joint.with(&statement);
        }
        let last = List::cast(self.container.node.clone()).and_then(|list| list.items().last());
        let manner = match last {
            Some(Expr::AttrSet(model)) => manner.clone().like(text, &model),
            _ => manner.clone(),
        };
        let spot = self.container.items.len().checked_sub(1).map_or(Spot::Alone, Spot::Behind);
        let joint = self.container.joint(spot, &manner.unit, manner.newline, self.gaps_are_blank());
        let link = if joint.one_line {
            manner.flat(fields)
        } else {
            manner.set(fields, &joint.indent, joint.column)
        };
        joint.with(&link)
    }

    /// The position of an entry among its siblings, and the one whose style it copies: in sorted order if they are
    /// sorted; otherwise after those of its family (`worker-3` after `worker-2`); otherwise at the end.
    fn spot(&self, name: &str) -> (Spot, Option<&Sibling>) {
        let siblings = &self.siblings;
        let Some(last) = siblings.last() else {
            // The container is empty, or has `inherit` statements only.
            return (self.container.items.len().checked_sub(1).map_or(Spot::Alone, Spot::Behind), None);
        };
        let behind = |it: &'_ Sibling| Spot::Behind(it.items.iter().copied().max().unwrap_or_default());
        if self.is_new {
            return (behind(last), None);
        }
        let names: Vec<&str> = siblings.iter().map(|it| it.name.as_str()).collect();
        let sorted = |key: fn(&str) -> Vec<Word>| names.windows(2).all(|pair| key(pair[0]) <= key(pair[1]));
        let key: Option<fn(&str) -> Vec<Word>> = match siblings.len() {
            0 | 1 => None,
            _ if sorted(natural) => Some(natural),
            _ if sorted(plain) => Some(plain),
            _ => None,
        };
        if let Some(key) = key {
            let smaller = siblings.iter().rev().find(|it| key(&it.name) < key(name));
            if let Some(before) = smaller {
                return (behind(before), Some(before));
            }
            let first = &siblings[0];
            let before = first.items.iter().copied().min().unwrap_or_default();
            return (Spot::Before(before), Some(first));
        }
        let family = |name: &str| name.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
        let relative = siblings.iter().rev().find(|it| family(&it.name) == family(name));
        let before = relative.unwrap_or(last);
        (behind(before), Some(before))
    }

    /// Whether an empty line separates a new item from its neighbour.
    fn has_blanks(&self, spot: Spot) -> bool {
        let Spot::Behind(index) = spot else { return self.gaps_are_blank() };
        let neighbour = &self.container.items[index];
        let is_long = self.is_new && self.container.text[neighbour.clone()].contains('\n');
        is_long || self.gaps_are_blank()
    }

    /// Whether empty lines separate all items of this kind.
    fn gaps_are_blank(&self) -> bool {
        let items: Vec<&Range<usize>> = if self.siblings.len() > 1 {
            self.siblings.iter().map(|it| &self.container.items[it.items[0]]).collect()
        } else {
            self.container.items.iter().collect()
        };
        let gap = |pair: &[&Range<usize>]| {
            let between = self.container.text.get(pair[0].end..pair[1].start).unwrap_or_default();
            let lines: Vec<&str> = between.split('\n').collect();
            lines.len() > 2 && lines[1..lines.len() - 1].iter().any(|line| line.trim().is_empty())
        };
        items.len() > 1 && items.windows(2).all(gap)
    }
}

/// A part of a name, for comparison; digits compare as a number.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Number(u64),
    Text(String),
}

fn plain(name: &str) -> Vec<Word> {
    vec![Word::Text(name.to_owned())]
}

fn natural(name: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let length =
            if digits > 0 { digits } else { rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len()) };
        let (word, tail) = rest.split_at(length);
        words.push(word.parse().map_or_else(|_| Word::Text(word.to_owned()), Word::Number));
        rest = tail;
    }
    words
}

/// The entries of a set below the same option, by name, in source order.
fn siblings(entries: &[Entry], prefix: &[String]) -> Vec<Sibling> {
    let mut siblings: Vec<Sibling> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let Entry::AttrpathValue(statement) = entry else { continue };
        let attrs: Vec<_> = statement.attrpath().into_iter().flat_map(|path| path.attrs()).collect();
        let inside = attrs.len() > prefix.len()
            && attrs.iter().zip(prefix).all(|(attr, text)| attr.to_string() == *text);
        let Some(name) = attrs.get(prefix.len()).and_then(segment).filter(|_| inside) else { continue };
        let below: Vec<String> = attrs[prefix.len() + 1..].iter().filter_map(segment).collect();
        let set = match statement.value() {
            Some(Expr::AttrSet(set)) if below.is_empty() && set.entries().next().is_some() => Some(set),
            _ => None,
        };
        let (dotted, whole) =
            (!below.is_empty(), below.first().is_some_and(|it| it == "provider" || it == "network"));
        match siblings.iter_mut().find(|it| it.name == name) {
            Some(known) => {
                known.items.push(index);
                known.whole |= whole;
                known.set = known.set.take().or(set);
            }
            None => siblings.push(Sibling { name, items: vec![index], dotted, whole, set }),
        }
    }
    siblings
}

type Holder<N> = (usize, N, Vec<String>);

/// The sets that can take a statement for an option that has none yet.
fn roots(definitions: &[Definition], option: &str) -> Result<Vec<Holder<AttrSet>>, Refused> {
    if let Some(opaque) = opaque(definitions, &[option]) {
        return Err(opaque);
    }
    let mut roots: Vec<Holder<AttrSet>> = Vec::new();
    let mut push = |conditions: usize, set: &AttrSet, prefix: Vec<String>| {
        if !roots.iter().any(|(_, known, _)| known == set) {
            roots.push((conditions, set.clone(), prefix));
        }
    };
    for definition in definitions {
        if definition.path.is_empty() {
            for body in &definition.bodies {
                if let Expr::AttrSet(set) = &body.value {
                    push(body.conditions.len(), set, vec![option.to_owned()]);
                }
            }
        } else if let Some(above) =
            definition.written.len().checked_sub(definition.path.len()).filter(|it| *it > 0)
        {
            let prefix = definition.written[..above].iter().cloned().chain([option.to_owned()]).collect();
            push(definition.conditions.len(), &definition.set, prefix);
        } else if definition.path.len() == 1 {
            push(definition.conditions.len(), &definition.set, vec![option.to_owned()]);
        }
    }
    Ok(roots)
}

/// Chooses one place: the innermost one that contains the line, or without a line the one under the fewest conditions.
fn chosen<N: AstNode<Language = rnix::NixLanguage>>(
    text: &str,
    mut holders: Vec<Holder<N>>,
    option: &str,
    line: Option<usize>,
) -> Result<(N, Vec<String>), Refused> {
    let number = |at: usize| text[..at].matches('\n').count() + 1;
    if let Some(line) = line {
        holders.retain(|(_, node, _)| {
            let range = bytes(node.syntax());
            (number(range.start)..=number(range.end)).contains(&line)
        });
        // Of nested sets, the innermost.
        if let Some(least) = holders.iter().map(|(_, node, _)| node.syntax().text_range().len()).min() {
            holders.retain(|(_, node, _)| node.syntax().text_range().len() == least);
        }
    } else if let Some(fewest) = holders.iter().map(|(conditions, ..)| *conditions).min() {
        holders.retain(|(conditions, ..)| *conditions == fewest);
    }
    match holders.len() {
        0 => Err(Refused::new(Why::Nowhere { option: option.to_owned(), line })),
        1 => {
            let (_, node, prefix) = holders.remove(0);
            Ok((node, prefix))
        }
        _ => {
            let refused = Refused::new(Why::Several { option: option.to_owned() });
            Err(holders.iter().fold(refused, |refused, (_, node, _)| {
                let start = bytes(node.syntax()).start;
                refused.at(start..start + 1)
            }))
        }
    }
}

/// A refusal if only Nix can evaluate the definition of an option, or of one that encloses it.
pub fn opaque(definitions: &[Definition], names: &[&str]) -> Option<Refused> {
    for definition in definitions {
        let around = definition.path.len() <= names.len()
            && definition
                .path
                .iter()
                .zip(names)
                .all(|(segment, name)| segment.as_deref().is_none_or(|it| it == *name));
        if !around {
            continue;
        }
        let option: Vec<&str> =
            OPTION.iter().copied().chain(names.iter().take(definition.path.len()).copied()).collect();
        let option = option.join(".");
        if definition.path.iter().any(Option::is_none) {
            return Some(Refused::new(Why::MadeName { option }).at(definition.range()));
        }
        if definition.statement.kind() == SyntaxKind::NODE_INHERIT {
            return Some(Refused::new(Why::Inherited { name: option }).at(definition.range()));
        }
        let closed =
            definition.bodies.iter().find(|body| !matches!(body.value, Expr::AttrSet(_) | Expr::List(_)));
        if let Some(closed) = closed {
            let by = maker(&closed.value);
            return Some(Refused::new(Why::Opaque { option, by }).at(bytes(closed.value.syntax())));
        }
    }
    None
}

/// The operation that produces a value, for messages.
fn maker(value: &Expr) -> String {
    match value {
        Expr::Apply(call) => {
            let mut function = call.lambda();
            while let Some(Expr::Apply(inner)) = function {
                function = inner.lambda();
            }
            function.map_or_else(|| "a function".to_owned(), |function| format!("`{function}`"))
        }
        Expr::Ident(name) => format!("`{name}`"),
        Expr::Select(path) => format!("`{path}`"),
        Expr::BinOp(operation) => match operation.operator() {
            Some(rnix::ast::BinOpKind::Update) => "`//`".to_owned(),
            Some(rnix::ast::BinOpKind::Concat) => "`++`".to_owned(),
            _ => "an expression".to_owned(),
        },
        Expr::IfElse(_) => "`if`".to_owned(),
        _ => "an expression".to_owned(),
    }
}

/// The set of an entry that is written as a plain, non-empty set.
pub fn plain_set(definition: &Definition) -> Option<AttrSet> {
    match &definition.bodies[..] {
        [body] => match &body.value {
            Expr::AttrSet(set) if set.entries().next().is_some() => Some(set.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// The lists that define an option in a file, each with its definition.
pub fn lists<'d>(definitions: &'d [Definition], option: &str) -> Vec<(&'d Definition, List)> {
    let mut lists: Vec<(&Definition, List)> = Vec::new();
    for definition in definitions.iter().filter(|it| it.is_at(&[option])) {
        for body in &definition.bodies {
            if let Expr::List(list) = &body.value
                && !lists.iter().any(|(_, known)| known == list)
            {
                lists.push((definition, list.clone()));
            }
        }
    }
    lists
}

/// The edit that removes the first of some statements from its set, with those of them that directly follow it.
pub fn removal(text: &str, statements: &[&Definition]) -> Option<Splice> {
    let first = statements.first()?;
    let goes = |item: &Range<usize>| statements.iter().any(|it| it.range() == *item);
    let mut items: Vec<Range<usize>> = first.set.entries().map(|entry| bytes(entry.syntax())).collect();
    let index = items.iter().position(|item| *item == first.range())?;
    let run = items[index..].iter().take_while(|item| goes(item)).count();
    let end = items[index + run - 1].end;
    items[index].end = end;
    items.drain(index + 1..index + run);
    let container = Container { text, node: first.set.syntax().clone(), items };
    Some(container.without(index))
}
