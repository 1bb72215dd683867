//! The values of names in a Nix file, as far as the file itself determines them: `let`, `rec`, `inherit`, and paths
//! into literal sets.

use rnix::SyntaxNode;
use rnix::ast::{self, AttrSet, Expr, HasEntry};
use rowan::ast::AstNode;

use super::name::segment;

/// How many names are followed at most: a name may be bound to itself.
pub const DEEPEST: usize = 20;

/// What a scope binds a name to.
enum Bound {
    /// The scope does not bind it.
    Not,
    /// An expression.
    To(Expr),
    /// An `inherit` statement, which takes it from an expression or from the enclosing scope.
    Inherited(ast::Inherit),
    /// A value that cannot be followed.
    Otherwise,
}

/// The expression to which a name is bound at the place where it is used.
pub fn binding(from: &SyntaxNode, name: &str) -> Option<Expr> {
    bound(from, name, 0)
}

/// The value that an `inherit` statement gives a name: from the enclosing scope, or from an expression.
pub fn inherited(inherit: &ast::Inherit, name: &str) -> Option<Expr> {
    inherited_at(inherit, name, 0)
}

fn inherited_at(inherit: &ast::Inherit, name: &str, depth: usize) -> Option<Expr> {
    if depth > DEEPEST {
        return None;
    }
    if let Some(from) = inherit.from() {
        let set = resolved(&from.expr()?, depth + 1)?;
        return step(&set, &[name.to_owned()], depth + 1);
    }
    let scope = inherit.syntax().parent()?;
    bound(&scope.parent()?, name, depth + 1)
}

fn bound(from: &SyntaxNode, name: &str, depth: usize) -> Option<Expr> {
    if depth > DEEPEST {
        return None;
    }
    for around in from.ancestors() {
        let bound = if let Some(set) = AttrSet::cast(around.clone()) {
            if set.rec_token().is_some() { bound_in(&set, name) } else { Bound::Not }
        } else if let Some(bindings) = ast::LetIn::cast(around.clone()) {
            bound_in(&bindings, name)
        } else if let Some(function) = ast::Lambda::cast(around) {
            let names =
                |param: ast::Param| param.syntax().descendants().filter_map(ast::Ident::cast).collect();
            let names: Vec<ast::Ident> = function.param().map(names).unwrap_or_default();
            if names.iter().any(|it| it.to_string() == name) { Bound::Otherwise } else { Bound::Not }
        } else {
            Bound::Not
        };
        match bound {
            Bound::Not => {}
            Bound::To(value) => return Some(value),
            Bound::Inherited(inherit) => return inherited_at(&inherit, name, depth + 1),
            Bound::Otherwise => return None,
        }
    }
    None
}

fn bound_in(scope: &impl HasEntry, name: &str) -> Bound {
    let inherits = |it: &ast::Inherit| it.attrs().any(|attr| segment(&attr).as_deref() == Some(name));
    if let Some(inherit) = scope.inherits().find(inherits) {
        return Bound::Inherited(inherit);
    }
    let mut found = Bound::Not;
    for statement in scope.attrpath_values() {
        let attrs: Vec<_> = statement.attrpath().into_iter().flat_map(|path| path.attrs()).collect();
        if attrs.first().and_then(segment).as_deref() == Some(name) {
            found = match (found, attrs.len(), statement.value()) {
                (Bound::Not, 1, Some(value)) => Bound::To(value),
                _ => Bound::Otherwise,
            };
        }
    }
    found
}

/// The expression that a name or a path into a set refers to; any other expression is returned unchanged. `None` if the
/// file does not determine it.
pub fn resolve(expression: &Expr) -> Option<Expr> {
    resolved(expression, 0)
}

fn resolved(expression: &Expr, depth: usize) -> Option<Expr> {
    if depth > DEEPEST {
        return None;
    }
    match expression {
        Expr::Paren(paren) => resolved(&paren.expr()?, depth + 1),
        Expr::Ident(name) => resolved(&bound(name.syntax(), &name.to_string(), depth)?, depth + 1),
        Expr::Select(select) if select.default_expr().is_none() => {
            let path: Vec<String> =
                select.attrpath()?.attrs().map(|attr| segment(&attr)).collect::<Option<_>>()?;
            step(&resolved(&select.expr()?, depth + 1)?, &path, depth + 1)
        }
        Expr::Select(_) => None,
        other => Some(other.clone()),
    }
}

/// The value at a path of a set; `None` if there is none, or if a segment is computed.
pub fn below(set: &Expr, path: &[Option<String>]) -> Option<Expr> {
    let path: Vec<String> = path.iter().cloned().collect::<Option<_>>()?;
    step(set, &path, 0)
}

/// The value at a path of a set.
fn step(set: &Expr, path: &[String], depth: usize) -> Option<Expr> {
    if path.is_empty() {
        return Some(set.clone());
    }
    let Expr::AttrSet(set) = set else { return None };
    let mut found = None;
    for statement in set.attrpath_values() {
        let own: Vec<Option<String>> = statement.attrpath()?.attrs().map(|attr| segment(&attr)).collect();
        let names = || own.iter().zip(path);
        if !names().all(|(own, wanted)| own.as_ref() == Some(wanted)) {
            continue;
        }
        // Several statements define the value together, or one defines only a part of it.
        if found.is_some() || own.len() > path.len() {
            return None;
        }
        found = Some(step(&resolved(&statement.value()?, depth + 1)?, &path[own.len()..], depth + 1)?);
    }
    if found.is_some() {
        return found;
    }
    let inherits = |it: &ast::Inherit| it.attrs().any(|attr| segment(&attr).as_ref() == path.first());
    let inherit = set.inherits().find(inherits)?;
    let value = inherited_at(&inherit, &path[0], depth + 1)?;
    step(&resolved(&value, depth + 1)?, &path[1..], depth + 1)
}

/// Whether a name is used here: it is not part of a path, a parameter, or an inherited name.
pub fn is_used(name: &ast::Ident) -> bool {
    use rnix::SyntaxKind::{NODE_ATTRPATH, NODE_IDENT_PARAM, NODE_INHERIT, NODE_PAT_BIND, NODE_PAT_ENTRY};
    let parent = name.syntax().parent();
    let Some(parent) = parent else { return false };
    match parent.kind() {
        NODE_ATTRPATH | NODE_IDENT_PARAM | NODE_INHERIT | NODE_PAT_BIND => false,
        // `{ a ? b }`: the first child is the parameter, the other its default.
        NODE_PAT_ENTRY => parent.first_child().as_ref() != Some(name.syntax()),
        _ => true,
    }
}
