//! The value of a Nix expression, as far as it is known without Nix: literals, and names that the file binds to
//! literals.

use rnix::SyntaxNode;
use rnix::ast::{self, AttrSet, Expr, HasEntry, InterpolPart, LiteralKind};
use rowan::ast::AstNode;
use serde_json::{Map, Value, json};

use crate::source::find::{Body, bodies};
use crate::source::name::segment;
use crate::source::scope::{self, DEEPEST};

/// The value of an expression, as JSON.
///
/// # Errors
/// The subexpression that only Nix can evaluate.
pub fn value(expression: &Expr) -> Result<Value, SyntaxNode> {
    evaluate(expression, 0)
}

fn evaluate(expression: &Expr, depth: usize) -> Result<Value, SyntaxNode> {
    let unknown = || expression.syntax().clone();
    if depth > DEEPEST {
        return Err(unknown());
    }
    let inner = match &bodies(&Body::plain(expression.clone()))[..] {
        [inner] => inner.value.clone(),
        _ => return Err(unknown()),
    };
    match &inner {
        Expr::Literal(literal) => match literal.kind() {
            LiteralKind::Integer(number) => number.value().map(Value::from).map_err(|_| unknown()),
            LiteralKind::Float(number) => number.value().map(Value::from).map_err(|_| unknown()),
            LiteralKind::Uri(_) => Err(unknown()),
        },
        Expr::Str(string) => text(string, depth),
        Expr::List(list) => list.items().map(|item| evaluate(&item, depth + 1)).collect(),
        Expr::AttrSet(set) => attributes(set, depth),
        Expr::Ident(name) => match name.to_string().as_str() {
            "true" => Ok(json!(true)),
            "false" => Ok(json!(false)),
            "null" => Ok(Value::Null),
            bound => match scope::binding(name.syntax(), bound) {
                Some(value) => evaluate(&value, depth + 1),
                None => Err(unknown()),
            },
        },
        Expr::Select(select) => selected(select, depth).unwrap_or_else(|| Err(unknown())),
        Expr::UnaryOp(negated) => match (negated.to_string().starts_with('-'), negated.expr()) {
            (true, Some(number)) => match evaluate(&number, depth + 1)? {
                Value::Number(number) => {
                    number.to_string().parse::<i64>().map(|it| json!(-it)).map_err(|_| unknown())
                }
                _ => Err(unknown()),
            },
            _ => Err(unknown()),
        },
        _ => Err(unknown()),
    }
}

fn text(string: &ast::Str, depth: usize) -> Result<Value, SyntaxNode> {
    let mut text = String::new();
    for part in string.normalized_parts() {
        match part {
            InterpolPart::Literal(literal) => text += &literal,
            InterpolPart::Interpolation(hole) => {
                let Some(inner) = hole.expr() else { return Err(hole.syntax().clone()) };
                match evaluate(&inner, depth + 1)? {
                    Value::String(inner) => text += &inner,
                    _ => return Err(hole.syntax().clone()),
                }
            }
        }
    }
    Ok(Value::String(text))
}

fn attributes(set: &AttrSet, depth: usize) -> Result<Value, SyntaxNode> {
    let mut whole = Value::Object(Map::new());
    for inherit in set.inherits() {
        for attr in inherit.attrs() {
            let name = segment(&attr).ok_or_else(|| inherit.syntax().clone())?;
            let bound = scope::inherited(&inherit, &name).ok_or_else(|| inherit.syntax().clone())?;
            whole[name] = evaluate(&bound, depth + 1)?;
        }
    }
    for statement in set.attrpath_values() {
        let unknown = || statement.syntax().clone();
        let (Some(path), Some(value)) = (statement.attrpath(), statement.value()) else {
            return Err(unknown());
        };
        let mut target = &mut whole;
        for attr in path.attrs() {
            let name = segment(&attr).ok_or_else(unknown)?;
            let Value::Object(map) = target else { return Err(unknown()) };
            target = map.entry(name).or_insert_with(|| Value::Object(Map::new()));
        }
        let value = evaluate(&value, depth + 1)?;
        match (target, value) {
            (Value::Object(known), Value::Object(more)) => known.extend(more),
            (target, value) => *target = value,
        }
    }
    Ok(whole)
}

fn selected(select: &ast::Select, depth: usize) -> Option<Result<Value, SyntaxNode>> {
    let mut value = match evaluate(&select.expr()?, depth + 1) {
        Ok(value) => value,
        Err(unknown) => return Some(Err(unknown)),
    };
    for attr in select.attrpath()?.attrs() {
        value = value.get_mut(segment(&attr)?)?.take();
    }
    Some(Ok(value))
}

/// The value of a name in an `inherit` statement, taken from the enclosing scope or from a literal set.
///
/// # Errors
/// The statement, if the file does not bind the name to a literal.
pub fn inherited(statement: &SyntaxNode, name: &str) -> Result<Value, SyntaxNode> {
    let inherit = ast::Inherit::cast(statement.clone());
    let bound = inherit.and_then(|inherit| scope::inherited(&inherit, name));
    bound.ok_or_else(|| statement.clone()).and_then(|bound| evaluate(&bound, 1))
}
