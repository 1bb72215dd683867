//! The parts of a file that belong to each evaluation: a flake may declare several Macs, and each is a separate
//! network.
//!
//! An evaluation is an entry of `darwinConfigurations`, or a call of `darwinSystem` elsewhere. It reaches its own text
//! and whatever the names in it are bound to in this file: sets, modules, functions. Text that no evaluation reaches
//! may be a module that another file imports.

use std::collections::HashSet;
use std::ops::Range;

use rnix::ast::{self, AttrSet, AttrpathValue, Entry, Expr, HasEntry};
use rnix::{SyntaxNode, TextRange};
use rowan::ast::AstNode;

use super::find::{Body, bodies, bytes, call_of};
use super::name::{plain, segment};
use super::scope;

/// The flake output that contains the Macs.
const CONFIGURATIONS: &str = "darwinConfigurations";
/// The outputs of flakes and flake-parts that contain modules, with the number of further names on the path to a
/// module.
const MODULES: [(&str, usize); 3] = [("darwinModule", 0), ("darwinModules", 1), ("modules", 2)];
/// The functions that evaluate a configuration.
const MAKERS: [&str; 2] = ["darwinSystem", "evalModules"];
/// The last segment of a path that refers to the outputs of the file itself.
const OWN: [&str; 3] = ["self", "flake", "outputs"];
/// Attributes of a configuration that others read without being part of it.
const READ: [&str; 4] = ["config", "options", "pkgs", "system"];

/// A configuration that the file declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    /// Its name.
    pub name: String,
    /// The byte range of its declaration.
    pub at: Range<usize>,
    /// The function that creates it, if that creates several configurations.
    pub made_by: Option<String>,
    reach: Vec<Range<usize>>,
}

impl Evaluation {
    /// Whether a byte range of the file takes part in it.
    pub fn reaches(&self, range: &Range<usize>) -> bool {
        self.reach.iter().any(|reached| reached.start <= range.start && range.end <= reached.end)
    }
}

/// An evaluation before its reach is computed.
struct Seed {
    name: String,
    at: SyntaxNode,
    from: Vec<SyntaxNode>,
    made_by: Option<String>,
}

/// The evaluations of a file, in source order.
pub fn evaluations(file: &ast::Root) -> Vec<Evaluation> {
    let modules = Modules::of(file);
    let mut seeds = Vec::new();
    for statement in file.syntax().descendants().filter_map(AttrpathValue::cast) {
        seeds.extend(configurations(&statement));
    }
    for inherit in file.syntax().descendants().filter_map(ast::Inherit::cast) {
        let names = |attr: &ast::Attr| segment(attr).as_deref() == Some(CONFIGURATIONS);
        if inherit.attrs().any(|attr| names(&attr))
            && let Some(value) = scope::inherited(&inherit, CONFIGURATIONS)
        {
            entries(value, inherit.syntax(), &mut seeds);
        }
    }
    let mut found: Vec<Evaluation> = Vec::new();
    for seed in seeds {
        modules.add(seed, &mut found);
    }
    for call in file.syntax().descendants().filter_map(ast::Apply::cast).filter(is_making) {
        let range = bytes(call.syntax());
        if !found.iter().any(|it| it.reaches(&range)) {
            let statement = call.syntax().ancestors().find_map(AttrpathValue::cast);
            let name = statement.as_ref().and_then(|it| it.attrpath()?.attrs().last());
            let name = name.map_or_else(|| "system".to_owned(), |attr| name_of(&attr));
            let at = statement.map_or(call.syntax().clone(), |it| it.syntax().clone());
            modules.add(Seed { name, at, from: vec![call.syntax().clone()], made_by: None }, &mut found);
        }
    }
    found.sort_by_key(|it| it.at.start);
    found
}

/// The modules that a file exports: name and byte range. Of nested ones, the outer comes first.
pub fn modules(file: &ast::Root) -> Vec<(String, Range<usize>)> {
    let statements = file.syntax().descendants().filter_map(AttrpathValue::cast);
    let found = statements.filter_map(|statement| {
        let path = whole_path(statement.syntax());
        let (at, length) = module_at(&path)?;
        let name = path.get(at..=at + length)?.iter().map(|it| it.as_deref().unwrap_or("…"));
        Some((name.collect::<Vec<&str>>().join("."), bytes(statement.syntax())))
    });
    found.collect()
}

/// The index in a path of an output that contains modules, and the number of further names to a module.
fn module_at(path: &[Option<String>]) -> Option<(usize, usize)> {
    let length = |name: &str| MODULES.iter().find(|it| it.0 == name).map(|it| it.1);
    path.iter().enumerate().find_map(|(at, name)| Some((at, length(name.as_deref()?)?)))
}

/// The configurations that a statement declares, if it defines `darwinConfigurations` or part of it.
fn configurations(statement: &AttrpathValue) -> Vec<Seed> {
    let mut seeds = Vec::new();
    let (Some(path), Some(value)) = (statement.attrpath(), statement.value()) else { return seeds };
    let attrs: Vec<ast::Attr> = path.attrs().collect();
    let at = attrs.iter().position(|attr| segment(attr).as_deref() == Some(CONFIGURATIONS));
    let Some(at) = at else { return seeds };
    match attrs.get(at + 1) {
        Some(name) => seeds.push(Seed {
            name: name_of(name),
            at: statement.syntax().clone(),
            from: vec![value.syntax().clone()],
            made_by: None,
        }),
        None => entries(value, statement.syntax(), &mut seeds),
    }
    seeds
}

/// The configurations of a value that defines all of `darwinConfigurations`.
fn entries(value: Expr, at: &SyntaxNode, seeds: &mut Vec<Seed>) {
    for body in bodies(&Body::plain(value)) {
        match &body.value {
            Expr::AttrSet(set) => of_set(set, &[], seeds),
            Expr::Apply(call) => {
                let mapped = call_of(call).and_then(|(name, given)| match (name.as_str(), &given[..]) {
                    ("mapAttrs", [function, set]) => Some((function.clone(), scope::resolve(set)?)),
                    _ => None,
                });
                if let Some((function, Expr::AttrSet(set))) = mapped {
                    of_set(&set, &[function.syntax().clone()], seeds);
                } else {
                    let by = call_of(call).map_or_else(|| "a function".to_owned(), |(name, _)| name);
                    seeds.push(opaque(&body.value, at, by));
                }
            }
            other => seeds.push(opaque(other, at, "an expression".to_owned())),
        }
    }
}

fn opaque(value: &Expr, at: &SyntaxNode, by: String) -> Seed {
    Seed {
        name: CONFIGURATIONS.to_owned(),
        at: at.clone(),
        from: vec![value.syntax().clone()],
        made_by: Some(by),
    }
}

fn of_set(set: &AttrSet, shared: &[SyntaxNode], seeds: &mut Vec<Seed>) {
    for entry in set.entries() {
        match entry {
            Entry::AttrpathValue(statement) => {
                let name = statement.attrpath().and_then(|path| path.attrs().next());
                let (Some(name), Some(value)) = (name, statement.value()) else { continue };
                let from = shared.iter().cloned().chain([value.syntax().clone()]).collect();
                let at = statement.syntax().clone();
                seeds.push(Seed { name: name_of(&name), at, from, made_by: None });
            }
            Entry::Inherit(inherit) => {
                for attr in inherit.attrs() {
                    let Some(name) = segment(&attr) else { continue };
                    let Some(value) = scope::inherited(&inherit, &name) else { continue };
                    let from = shared.iter().cloned().chain([value.syntax().clone()]).collect();
                    let at = value.syntax().parent().unwrap_or_else(|| value.syntax().clone());
                    seeds.push(Seed { name, at, from, made_by: None });
                }
            }
        }
    }
}

/// The name of an attribute, with computed parts resolved in the file; the source text if they cannot be.
fn name_of(attr: &ast::Attr) -> String {
    let bound = |expression: Option<Expr>| match scope::resolve(&expression?)? {
        Expr::Str(text) => plain(&text),
        _ => None,
    };
    let inside = match attr {
        ast::Attr::Dynamic(name) => bound(name.expr()),
        ast::Attr::Str(name) => {
            let mut holes = name.parts().map(|part| match part {
                ast::InterpolPart::Literal(_) => None,
                ast::InterpolPart::Interpolation(hole) => bound(hole.expr()),
            });
            let first = holes.next().flatten();
            first.filter(|_| holes.next().is_none())
        }
        ast::Attr::Ident(_) => None,
    };
    segment(attr).or(inside).unwrap_or_else(|| attr.to_string())
}

/// Whether a call evaluates a configuration, directly or through a function of the file, and is not itself inside such
/// a function.
fn is_making(call: &ast::Apply) -> bool {
    let is_head = call.syntax().parent().and_then(ast::Apply::cast).and_then(|it| it.lambda());
    if is_head.is_some_and(|head| head.syntax() == call.syntax()) || !makes(call, 0) {
        return false;
    }
    let mut functions = call.syntax().ancestors().filter_map(ast::Lambda::cast);
    !functions.any(|function| is_bound(&function))
}

fn makes(call: &ast::Apply, depth: usize) -> bool {
    let Some((name, _)) = call_of(call).filter(|_| depth < 4) else { return false };
    if MAKERS.contains(&name.as_str()) {
        return true;
    }
    let mut head = call.lambda();
    while let Some(Expr::Apply(inner)) = head {
        head = inner.lambda();
    }
    match head.as_ref().and_then(scope::resolve) {
        Some(Expr::Lambda(function)) => {
            let mut calls = function.syntax().descendants().filter_map(ast::Apply::cast);
            calls.any(|call| makes(&call, depth + 1))
        }
        _ => false,
    }
}

/// Whether a function is bound to a name by `let` or `rec`, and so is called elsewhere.
fn is_bound(function: &ast::Lambda) -> bool {
    let above = function.syntax().ancestors().skip(1);
    let mut above = above.skip_while(|node| {
        matches!(node.kind(), rnix::SyntaxKind::NODE_PAREN | rnix::SyntaxKind::NODE_LAMBDA)
    });
    let statement = above.next().and_then(AttrpathValue::cast);
    let scope = statement.and_then(|it| it.syntax().parent());
    scope.is_some_and(|scope| {
        ast::LetIn::can_cast(scope.kind())
            || AttrSet::cast(scope).is_some_and(|set| set.rec_token().is_some())
    })
}

/// The path of a statement, starting at the outermost enclosing set.
fn whole_path(statement: &SyntaxNode) -> Vec<Option<String>> {
    let mut path = Vec::new();
    for node in statement.ancestors() {
        if let Some(statement) = AttrpathValue::cast(node.clone()) {
            let own: Vec<Option<String>> =
                statement.attrpath().into_iter().flat_map(|it| it.attrs()).map(|it| segment(&it)).collect();
            path = [own, path].concat();
        } else if matches!(node.kind(), rnix::SyntaxKind::NODE_APPLY | rnix::SyntaxKind::NODE_LIST) {
            break;
        }
    }
    path
}

/// The path of a selection, with its base as the first segment, which is unknown unless the base is a name.
fn path_of(select: &ast::Select) -> Vec<Option<String>> {
    let base = match select.expr() {
        Some(Expr::Ident(name)) => vec![Some(name.to_string())],
        Some(Expr::Select(inner)) => path_of(&inner),
        _ => vec![None],
    };
    let own = select.attrpath().into_iter().flat_map(|it| it.attrs()).map(|it| segment(&it));
    base.into_iter().chain(own).collect()
}

/// The modules that a file exports by name, to resolve references from configurations.
struct Modules(Vec<(Vec<Option<String>>, SyntaxNode)>);

impl Modules {
    fn of(file: &ast::Root) -> Self {
        let statements = file.syntax().descendants().filter_map(AttrpathValue::cast);
        let with_path = statements.filter_map(|statement| {
            let path = whole_path(statement.syntax());
            let (at, length) = module_at(&path)?;
            let named = path.get(at..).filter(|it| it.len() > length)?;
            Some((named.to_vec(), statement.value()?.syntax().clone()))
        });
        Self(with_path.collect())
    }

    /// The module at a path such as `self.darwinModules.network`, or below it. Paths to other flakes have no match.
    fn at(&self, path: &[Option<String>]) -> Vec<SyntaxNode> {
        // `args.modules` is a function argument, not an output.
        let Some((at, length)) = module_at(path).filter(|(at, length)| *length < 2 || path.len() > at + 1)
        else {
            return Vec::new();
        };
        let above = at.checked_sub(1).and_then(|above| path[above].as_deref());
        if !above.is_some_and(|above| OWN.contains(&above)) {
            return Vec::new();
        }
        let wanted = &path[at..];
        let fits = |own: &[Option<String>]| {
            own.iter().zip(wanted).all(|(own, wanted)| own.is_none() || wanted.is_none() || own == wanted)
        };
        let found = self.0.iter().filter(|(own, _)| own.len() >= wanted.len().min(length + 1) && fits(own));
        found.map(|(_, value)| value.clone()).collect()
    }

    /// Adds the evaluation of a seed. A repeated name gets a number.
    fn add(&self, seed: Seed, found: &mut Vec<Evaluation>) {
        let reach = self.reach(&seed.from);
        let at = bytes(&seed.at);
        // It was already found through another name.
        if found.iter().any(|it| it.at == at) {
            return;
        }
        let like = found.iter().filter(|it| it.name.split('#').next() == Some(&seed.name)).count();
        let name = if like == 0 { seed.name } else { format!("{}#{}", seed.name, like + 1) };
        found.push(Evaluation { name, at, made_by: seed.made_by, reach });
    }

    /// The text that is reachable from some nodes through names.
    fn reach(&self, from: &[SyntaxNode]) -> Vec<Range<usize>> {
        let mut waiting = from.to_vec();
        let mut known: HashSet<TextRange> = HashSet::new();
        while let Some(node) = waiting.pop() {
            if !known.insert(node.text_range()) {
                continue;
            }
            for inner in node.descendants() {
                waiting.extend(self.named_by(&inner));
            }
        }
        known.into_iter().map(|range| range.start().into()..range.end().into()).collect()
    }

    /// The nodes elsewhere in the file that a node refers to.
    fn named_by(&self, node: &SyntaxNode) -> Vec<SyntaxNode> {
        // A `with` makes names available; only those that are used count.
        let with = node.parent().and_then(ast::With::cast).and_then(|it| it.namespace());
        if with.is_some_and(|it| it.syntax() == node && matches!(it, Expr::Ident(_) | Expr::Select(_))) {
            return Vec::new();
        }
        if let Some(inherit) = ast::Inherit::cast(node.clone()) {
            let from = match inherit.from().and_then(|from| from.expr()) {
                Some(Expr::Select(from)) => path_of(&from),
                _ => Vec::new(),
            };
            let names = inherit.attrs().filter_map(|attr| segment(&attr));
            let meant = |name: String| match scope::inherited(&inherit, &name) {
                Some(value) => vec![value.syntax().clone()],
                None => self.at(&[&from[..], &[Some(name)]].concat()),
            };
            return names.flat_map(meant).collect();
        }
        if let Some(select) = ast::Select::cast(node.clone()) {
            return self.selected(&select);
        }
        let Some(name) = ast::Ident::cast(node.clone()).filter(scope::is_used) else { return Vec::new() };
        let is_base = node.parent().and_then(ast::Select::cast).and_then(|it| it.expr());
        if is_base.is_some_and(|base| base.syntax() == node) {
            // The selection as a whole is handled instead.
            return Vec::new();
        }
        match scope::binding(node, &name.to_string()) {
            Some(bound) => vec![bound.syntax().clone()],
            None => self.with(node, &[Some(name.to_string())]),
        }
    }

    fn selected(&self, select: &ast::Select) -> Vec<SyntaxNode> {
        let whole = path_of(select);
        let path = &whole[1..];
        let modules = self.at(&whole);
        if !modules.is_empty() {
            return modules;
        }
        let is_read = path.first().and_then(Option::as_deref).is_some_and(|first| READ.contains(&first));
        if is_read {
            return Vec::new();
        }
        if let Some(found) = scope::resolve(&Expr::Select(select.clone())) {
            return vec![found.syntax().clone()];
        }
        // If the path cannot be resolved, everything that its base is bound to counts.
        match select.expr() {
            Some(Expr::Ident(base)) => match scope::binding(base.syntax(), &base.to_string()) {
                Some(bound) => vec![bound.syntax().clone()],
                None => self.with(base.syntax(), &whole),
            },
            _ => Vec::new(),
        }
    }

    /// What a name can refer to through an enclosing `with`, such as `with self.darwinModules;`.
    fn with(&self, node: &SyntaxNode, path: &[Option<String>]) -> Vec<SyntaxNode> {
        let mut found = Vec::new();
        for with in node.ancestors().filter_map(ast::With::cast) {
            let Some(namespace) = with.namespace() else { continue };
            let inside = namespace.syntax().text_range().contains_range(node.text_range());
            if let Some(set) = scope::resolve(&namespace).filter(|_| !inside) {
                found.extend(scope::below(&set, path).map(|value| value.syntax().clone()));
            }
            if let Expr::Select(namespace) = &namespace {
                found.extend(self.at(&[&path_of(namespace)[..], path].concat()));
            }
        }
        found
    }
}
