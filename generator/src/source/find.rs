//! The definitions of a file under `services.nixvol-net`: every statement, through the wrappers of the module system
//! and the names that the file binds, in whatever form.

use std::collections::HashSet;
use std::ops::Range;

use rnix::ast::{self, Attr, AttrSet, AttrpathValue, Entry, Expr, HasEntry, InterpolPart};
use rnix::{SyntaxNode, TextRange};
use rowan::ast::AstNode;

use super::scope;

/// The name of the module's options.
pub const OPTION: [&str; 2] = ["services", "nixvol-net"];

/// The priority of a plain definition (nixpkgs `lib.modules.defaultOverridePriority`).
pub const PLAIN: u32 = 100;
/// The priority of `lib.mkDefault`.
pub const DEFAULT: u32 = 1000;

/// One segment of an attribute path; `None` where an expression makes it.
pub type Segment = Option<String>;

/// A statement under the option.
#[derive(Debug, Clone)]
pub struct Definition {
    /// The path below the option; empty for the option itself.
    pub path: Vec<Segment>,
    /// The statement: `a.b = value;`, or an `inherit`.
    pub statement: SyntaxNode,
    /// The set in which it stands.
    pub set: AttrSet,
    /// The text of each segment of the statement's own path.
    pub written: Vec<String>,
    /// What it says, without the wrappers. Empty for an `inherit`.
    pub bodies: Vec<Body>,
    /// The priority at each level above the last.
    pub above: Vec<u32>,
    /// The conditions under which it stands.
    pub conditions: Vec<usize>,
    /// The outermost set of the module in which it is read.
    pub root: Range<usize>,
    /// Where it takes part: the statement itself, or the one that names the set in which it stands.
    pub site: Range<usize>,
}

/// A value without the wrappers of the module system.
#[derive(Debug, Clone)]
pub struct Body {
    /// The value.
    pub value: Expr,
    /// Its priority; the smaller wins.
    pub priority: u32,
    /// The conditions under which it stands, each by the byte where its call begins.
    pub conditions: Vec<usize>,
}

impl Body {
    /// A value as it stands, before any wrapper is off.
    pub fn plain(value: Expr) -> Self {
        Self { value, priority: PLAIN, conditions: Vec::new() }
    }
}

impl Definition {
    /// Whether the path is these names, or goes on below them.
    pub fn starts_with(&self, names: &[&str]) -> bool {
        self.path.len() >= names.len() && self.is_prefix(names)
    }

    fn is_prefix(&self, names: &[&str]) -> bool {
        self.path.iter().zip(names).all(|(segment, name)| segment.as_deref() == Some(*name))
    }

    /// Whether the path is these names.
    pub fn is_at(&self, names: &[&str]) -> bool {
        self.path.len() == names.len() && self.is_prefix(names)
    }

    /// The statement's bytes.
    pub fn range(&self) -> Range<usize> {
        bytes(&self.statement)
    }

    /// The names of the path, where no expression makes one of them.
    pub fn names(&self) -> Option<Vec<&str>> {
        self.path.iter().map(Option::as_deref).collect()
    }
}

/// A node's bytes.
pub fn bytes(node: &SyntaxNode) -> Range<usize> {
    node.text_range().start().into()..node.text_range().end().into()
}

/// Every definition of a file, in the order of its text. `root` is the path that the file's own value defines, for a
/// file that is not a module.
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
    // A module that is bound by a name is read where it is and where it is used: once is enough.
    let mut known = HashSet::new();
    finder.found.retain(|it| {
        let is_followed = it.site != it.range();
        known.insert((it.statement.text_range(), it.path.clone(), is_followed.then(|| it.site.clone())))
    });
    finder.found.sort_by_key(|definition| definition.statement.text_range().start());
    finder.found
}

/// The body of a function, through all of its arguments.
fn innermost(value: Expr) -> Expr {
    match value {
        Expr::Lambda(function) => function.body().map_or(Expr::Lambda(function.clone()), innermost),
        Expr::Paren(paren) => paren.expr().map_or(Expr::Paren(paren.clone()), innermost),
        other => other,
    }
}

/// What is around a set or a statement.
#[derive(Debug, Clone)]
struct Around {
    /// The whole path.
    path: Vec<Segment>,
    /// The priority at each level below the option.
    above: Vec<u32>,
    /// The priority that is pushed down to the next level.
    priority: u32,
    conditions: Vec<usize>,
    /// The outermost set.
    root: Option<Range<usize>>,
    /// The statement through which a set that is elsewhere was reached.
    site: Option<Range<usize>>,
    /// How many names were followed.
    depth: usize,
}

impl Around {
    /// The part of the path below the option, if it gets there.
    fn below(&self) -> Option<&[Segment]> {
        let is_option = |window: &[Segment]| {
            window.iter().map(Option::as_deref).eq(OPTION.iter().map(|name| Some(*name)))
        };
        let at = self.path.windows(OPTION.len()).position(is_option)?;
        let declares = self.path[..at].iter().flatten().any(|name| name == "options");
        (!declares).then(|| &self.path[at + OPTION.len()..])
    }

    /// The same, with more segments. Only options have priorities; what is above them hands its own down.
    fn at(&self, segments: impl IntoIterator<Item = Segment>) -> Self {
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
                        // What is not a set has no statements of its own, and stays what the name says.
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
        let Some(path) = at.below().map(<[Segment]>::to_vec) else { return };
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

/// The name that an attribute has, unless an expression makes it.
pub fn segment(attr: &Attr) -> Segment {
    match attr {
        Attr::Ident(name) => Some(name.to_string()),
        Attr::Str(name) => plain(name),
        Attr::Dynamic(name) => match name.expr() {
            Some(Expr::Str(name)) => plain(&name),
            _ => None,
        },
    }
}

/// The text of a string without interpolation.
pub fn plain(string: &ast::Str) -> Option<String> {
    let parts = string.normalized_parts();
    parts
        .into_iter()
        .map(|part| match part {
            InterpolPart::Literal(text) => Some(text),
            InterpolPart::Interpolation(_) => None,
        })
        .collect()
}

/// What a value says once the wrappers of the module system are off: none, one or several.
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

/// The set or list that a name stands for, where the file binds it to one that is written out.
fn named(body: &Body) -> Option<Body> {
    let resolved = scope::resolve(&body.value)?;
    let is_written = |value: &Expr| matches!(value, Expr::AttrSet(_) | Expr::List(_));
    if is_written(&resolved) {
        return Some(Body { value: resolved, ..body.clone() });
    }
    // Wrapped: `let volumes = lib.mkIf x { … };`. What leads back to here leads nowhere.
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

/// The value inside a call of the module system's functions.
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

/// The last part of a function's name, and its arguments.
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

/// Both sides of `a // b` where they are sets that share no name, and of `a ++ b` where one of them is a list.
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

/// The names that a set defines at its first level.
fn first_names(body: &Body) -> Option<Vec<String>> {
    let Expr::AttrSet(set) = &body.value else { return None };
    if set.inherits().next().is_some() {
        return None;
    }
    set.attrpath_values().map(|it| segment(&it.attrpath()?.attrs().next()?)).collect()
}
