//! The definitions under `services.nixvol-net` in a file: every statement, through the wrappers of the module system
//! and the names that the file binds, in any form.

use std::collections::HashSet;
use std::ops::Range;

use rnix::ast::{self, AttrSet, AttrpathValue, Entry, Expr, HasEntry};
use rnix::{SyntaxNode, TextRange};
use rowan::ast::AstNode;

use super::name::{AttributeName, segment};
use super::scope;

/// The path of the module's options.
pub const OPTION: [&str; 2] = ["services", "nixvol-net"];

/// The priority of a plain definition (nixpkgs `lib.modules.defaultOverridePriority`).
pub const PLAIN: u32 = 100;
/// The priority of `lib.mkDefault`.
pub const DEFAULT: u32 = 1000;

/// A statement that defines an option of the module, or part of one.
#[derive(Debug, Clone)]
pub struct Definition {
    /// The path below `services.nixvol-net`; empty for that option itself.
    pub path: Vec<AttributeName>,
    /// The statement: `a.b = value;`, or an `inherit`.
    pub statement: SyntaxNode,
    /// The set that contains the statement.
    pub set: AttrSet,
    /// The source text of each segment of the statement's own path.
    pub written: Vec<String>,
    /// The values that it defines, without wrappers. Empty for most `inherit` statements.
    pub bodies: Vec<Body>,
    /// The priority at each level above the last.
    pub above: Vec<u32>,
    /// The conditions that enclose it, as in [`Body`].
    pub conditions: Vec<usize>,
    /// The byte range of the module's outermost set.
    pub root: Range<usize>,
    /// The byte range by which it takes part in a declaration: the statement itself, or the statement that refers to
    /// its set by name.
    pub site: Range<usize>,
}

/// A value without the wrappers of the module system.
#[derive(Debug, Clone)]
pub struct Body {
    /// The value.
    pub value: Expr,
    /// Its priority; the smallest wins.
    pub priority: u32,
    /// The enclosing conditions, each by the byte offset of its call (`mkIf`).
    pub conditions: Vec<usize>,
}

impl Body {
    /// A value with wrappers not yet removed.
    pub fn plain(value: Expr) -> Self {
        Self { value, priority: PLAIN, conditions: Vec::new() }
    }
}

impl Definition {
    /// Whether the path starts with these names.
    pub fn starts_with(&self, names: &[&str]) -> bool {
        self.path.len() >= names.len() && self.is_prefix(names)
    }

    fn is_prefix(&self, names: &[&str]) -> bool {
        self.path.iter().zip(names).all(|(segment, name)| segment.as_deref() == Some(*name))
    }

    /// Whether the path is exactly these names.
    pub fn is_at(&self, names: &[&str]) -> bool {
        self.path.len() == names.len() && self.is_prefix(names)
    }

    /// The byte range of the statement.
    pub fn range(&self) -> Range<usize> {
        bytes(&self.statement)
    }

    /// The names of the path; `None` if one of them is computed.
    pub fn names(&self) -> Option<Vec<&str>> {
        self.path.iter().map(Option::as_deref).collect()
    }
}

/// The byte range of a node.
pub fn bytes(node: &SyntaxNode) -> Range<usize> {
    node.text_range().start().into()..node.text_range().end().into()
}

/// Every definition of a file, in source order. `root` is the option whose value the file is, if it is not a module.
pub fn definitions(file: &ast::Root, root: &[String]) -> Vec<Definition> {
    let mut finder = Finder { seen: HashSet::new(), found: Vec::new() };
    let module = Around {
        path: Vec::new(),
        above: Vec::new(),
        priority: PLAIN,
        conditions: Vec::new(),
        root: None,
        site: None,
        depth: 0,
    };
    if !root.is_empty()
        && let Some(value) = file.expr()
    {
        let from = Body::plain(innermost(value));
        let path = root.iter().cloned().map(Some).collect();
        finder.bodies(&bodies(&from), &Around { path, ..module.clone() }, file.syntax());
    }
    for set in file.syntax().descendants().filter_map(AttrSet::cast) {
        if !finder.seen.contains(&set.syntax().text_range()) {
            finder.set(&set, &module);
        }
    }
    // A module that is bound to a name is found both there and where it is used; keep one of each.
    let mut known = HashSet::new();
    finder.found.retain(|it| {
        let is_followed = it.site != it.range();
        known.insert((it.statement.text_range(), it.path.clone(), is_followed.then(|| it.site.clone())))
    });
    finder.found.sort_by_key(|definition| definition.statement.text_range().start());
    finder.found
}

/// The innermost body of a function with several arguments.
fn innermost(value: Expr) -> Expr {
    match value {
        Expr::Lambda(function) => function.body().map_or(Expr::Lambda(function.clone()), innermost),
        Expr::Paren(paren) => paren.expr().map_or(Expr::Paren(paren.clone()), innermost),
        other => other,
    }
}

/// The context of a set or statement.
#[derive(Debug, Clone)]
struct Around {
    /// The whole path.
    path: Vec<AttributeName>,
    /// The priority at each level below the option.
    above: Vec<u32>,
    /// The priority that applies to the next level.
    priority: u32,
    conditions: Vec<usize>,
    /// The byte range of the outermost set.
    root: Option<Range<usize>>,
    /// The statement by which a set elsewhere was referred to.
    site: Option<Range<usize>>,
    /// How many names were followed.
    depth: usize,
}

impl Around {
    /// The part of the path below the module's option, if it reaches that.
    fn below(&self) -> Option<&[AttributeName]> {
        let is_option = |window: &[AttributeName]| {
            window.iter().map(Option::as_deref).eq(OPTION.iter().map(|name| Some(*name)))
        };
        let at = self.path.windows(OPTION.len()).position(is_option)?;
        let declares = self.path[..at].iter().flatten().any(|name| name == "options");
        (!declares).then(|| &self.path[at + OPTION.len()..])
    }

    /// The context of a nested path. Only options have priorities; one above them is passed down.
    fn at(&self, segments: impl IntoIterator<Item = AttributeName>) -> Self {
        let mut around = self.clone();
        for segment in segments {
            if around.below().is_some_and(|below| !below.is_empty()) {
                around.above.push(around.priority);
                around.priority = PLAIN;
            }
            around.path.push(segment);
        }
        around
    }
}

struct Finder {
    seen: HashSet<TextRange>,
    found: Vec<Definition>,
}

impl Finder {
    fn set(&mut self, set: &AttrSet, around: &Around) {
        self.seen.insert(set.syntax().text_range());
        let mut around = around.clone();
        around.root.get_or_insert(bytes(set.syntax()));
        for entry in set.entries() {
            match entry {
                Entry::Inherit(inherit) => {
                    for attr in inherit.attrs() {
                        let at = around.at([segment(&attr)]);
                        let value = segment(&attr).and_then(|name| scope::inherited(&inherit, &name));
                        let body = value.map(|value| Body {
                            value,
                            priority: at.priority,
                            conditions: at.conditions.clone(),
                        });
                        // Values other than sets and lists have no statements of their own, and stay bound to the name.
                        let mut bodies = body.map(|body| bodies(&body)).unwrap_or_default();
                        bodies.retain(|body| matches!(body.value, Expr::AttrSet(_) | Expr::List(_)));
                        self.bodies(&bodies, &at, inherit.syntax());
                        self.record(&at, inherit.syntax(), set, vec![attr.to_string()], bodies);
                    }
                }
                Entry::AttrpathValue(statement) => self.statement(&statement, set, &around),
            }
        }
    }

    fn statement(&mut self, statement: &AttrpathValue, set: &AttrSet, around: &Around) {
        let (Some(attrpath), Some(value)) = (statement.attrpath(), statement.value()) else { return };
        let at = around.at(attrpath.attrs().map(|attr| segment(&attr)));
        let written = attrpath.attrs().map(|attr| attr.to_string()).collect();
        let bodies = bodies(&Body { value, priority: at.priority, conditions: at.conditions.clone() });
        self.bodies(&bodies, &at, statement.syntax());
        self.record(&at, statement.syntax(), set, written, bodies);
    }

    fn bodies(&mut self, bodies: &[Body], at: &Around, statement: &SyntaxNode) {
        for body in bodies {
            let Expr::AttrSet(inner) = &body.value else { continue };
            let (priority, conditions) = (body.priority, body.conditions.clone());
            let mut around = Around { priority, conditions, ..at.clone() };
            if !statement.text_range().contains_range(inner.syntax().text_range()) {
                around.site.get_or_insert(bytes(statement));
                around.depth += 1;
                if around.depth > scope::DEEPEST {
                    continue;
                }
            }
            self.set(inner, &around);
        }
    }

    fn record(
        &mut self,
        at: &Around,
        statement: &SyntaxNode,
        set: &AttrSet,
        written: Vec<String>,
        bodies: Vec<Body>,
    ) {
        let Some(path) = at.below().map(<[AttributeName]>::to_vec) else { return };
        self.found.push(Definition {
            path,
            statement: statement.clone(),
            set: set.clone(),
            written,
            bodies,
            above: at.above.clone(),
            conditions: at.conditions.clone(),
            root: at.root.clone().unwrap_or_else(|| bytes(set.syntax())),
            site: at.site.clone().unwrap_or_else(|| bytes(statement)),
        });
    }
}

/// The values inside the wrappers of the module system: none, one or several.
pub fn bodies(wrapped: &Body) -> Vec<Body> {
    let mut found = Vec::new();
    unwrap(wrapped.clone(), &mut found);
    found
}

fn unwrap(body: Body, found: &mut Vec<Body>) {
    let inside = |value: Option<Expr>| value.map(|value| Body { value, ..body.clone() });
    let inner = match &body.value {
        Expr::Paren(it) => inside(it.expr()),
        Expr::With(it) => inside(it.body()),
        Expr::LetIn(it) => inside(it.body()),
        Expr::Assert(it) => inside(it.body()),
        Expr::Ident(_) | Expr::Select(_) => named(&body),
        Expr::BinOp(it) => {
            if let Some(sides) = operands(it, &body) {
                found.extend(sides);
                return;
            }
            None
        }
        Expr::Apply(call) => {
            if let Some(("mkMerge", [Expr::List(parts)])) =
                call_of(call).as_ref().map(|(name, given)| (name.as_str(), &given[..]))
            {
                for value in parts.items() {
                    unwrap(Body { value, ..body.clone() }, found);
                }
                return;
            }
            wrapper(call, &body)
        }
        _ => None,
    };
    match inner {
        Some(inner) => unwrap(inner, found),
        None => found.push(body),
    }
}

/// The literal set or list that a name is bound to in the file.
fn named(body: &Body) -> Option<Body> {
    let resolved = scope::resolve(&body.value)?;
    let is_written = |value: &Expr| matches!(value, Expr::AttrSet(_) | Expr::List(_));
    if is_written(&resolved) {
        return Some(Body { value: resolved, ..body.clone() });
    }
    // The bound value may itself be wrapped: `let volumes = lib.mkIf x { … };`. A reference to itself is not followed.
    let uses = |node: &SyntaxNode| node.text_range().contains_range(body.value.syntax().text_range());
    match &resolved {
        Expr::Apply(call) if !uses(call.syntax()) => {
            let inner = wrapper(call, body)?;
            let value = scope::resolve(&inner.value).filter(is_written)?;
            Some(Body { value, ..inner })
        }
        _ => None,
    }
}

/// The value inside a call of one of the module system's functions.
fn wrapper(call: &ast::Apply, body: &Body) -> Option<Body> {
    let (name, given) = call_of(call)?;
    let of = |value: &Expr, priority| {
        Some(Body { value: value.clone(), priority, conditions: body.conditions.clone() })
    };
    match (name.as_str(), &given[..]) {
        ("mkIf" | "optionalAttrs" | "optionals", [_, value]) => {
            let conditions = [&body.conditions[..], &[bytes(call.syntax()).start]].concat();
            Some(Body { value: value.clone(), priority: body.priority, conditions })
        }
        ("mkDefault", [value]) => of(value, DEFAULT),
        ("mkOptionDefault", [value]) => of(value, 1500),
        ("mkForce", [value]) => of(value, 50),
        ("mkVMOverride", [value]) => of(value, 10),
        ("mkOverride", [number, value]) => of(value, number.to_string().parse().ok()?),
        ("mkBefore" | "mkAfter", [value]) | ("mkOrder", [_, value]) => of(value, body.priority),
        _ => None,
    }
}

/// The last segment of a function's name, and its arguments.
pub fn call_of(call: &ast::Apply) -> Option<(String, Vec<Expr>)> {
    let mut given = vec![call.argument()?];
    let mut function = call.lambda()?;
    while let Expr::Apply(inner) = function {
        given.insert(0, inner.argument()?);
        function = inner.lambda()?;
    }
    let name = match &function {
        Expr::Ident(name) => name.to_string(),
        Expr::Select(select) => select.attrpath()?.attrs().last()?.to_string(),
        _ => return None,
    };
    Some((name, given))
}

/// Both operands of `a // b` if they are sets without common names, and of `a ++ b` if one of them is a list.
fn operands(operation: &ast::BinOp, body: &Body) -> Option<Vec<Body>> {
    use rnix::ast::BinOpKind::{Concat, Update};
    let side = |value: Option<Expr>| Some(bodies(&Body { value: value?, ..body.clone() }));
    let (left, right) = (side(operation.lhs())?, side(operation.rhs())?);
    let fits = match operation.operator()? {
        Update => {
            let names = |bodies: &[Body]| -> Option<HashSet<String>> {
                bodies
                    .iter()
                    .map(first_names)
                    .collect::<Option<Vec<_>>>()
                    .map(|all| all.concat().into_iter().collect())
            };
            names(&left)?.is_disjoint(&names(&right)?)
        }
        Concat => left.iter().chain(&right).any(|body| matches!(body.value, Expr::List(_))),
        _ => false,
    };
    fits.then(|| [left, right].concat())
}

/// The names that a set defines at its first level; `None` if they are not all known.
fn first_names(body: &Body) -> Option<Vec<String>> {
    let Expr::AttrSet(set) = &body.value else { return None };
    if set.inherits().next().is_some() {
        return None;
    }
    set.attrpath_values().map(|it| segment(&it.attrpath()?.attrs().next()?)).collect()
}
