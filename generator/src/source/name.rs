//! The names in attribute paths, and the text of strings.

use rnix::ast::{self, Attr, Expr, InterpolPart};

/// A segment of an attribute path; `None` if it is computed by an expression.
pub type AttributeName = Option<String>;

/// The name of an attribute; `None` if it is computed.
pub fn segment(attr: &Attr) -> AttributeName {
    match attr {
        Attr::Ident(name) => Some(name.to_string()),
        Attr::Str(name) => plain(name),
        Attr::Dynamic(name) => match name.expr() {
            Some(Expr::Str(name)) => plain(&name),
            _ => None,
        },
    }
}

/// The text of a string; `None` if it has interpolations.
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
