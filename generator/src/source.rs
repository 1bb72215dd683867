//! The user's Nix source: the text that a position refers to.
//!
//! Nix reports the position of an attribute's name, but what should be underlined is its value. rnix locates it, even
//! in files that do not evaluate. Sees: rnix. Never: evaluates anything, or reads files.

pub mod find;
pub mod hosts;
pub mod name;
mod nesting;
pub mod scope;

use std::ops::Range;

use rnix::SyntaxKind;
use rnix::ast::{self, AttrSet, AttrpathValue, Expr, HasEntry};
use rnix::{Root, SyntaxNode, SyntaxToken, TextSize};
use rowan::ast::AstNode;

use find::{Body, OPTION, bodies, bytes};
use name::segment;
pub use nesting::too_deep;

/// The byte range to underline for a position: the value of the attribute defined there; its name if the value spans
/// several lines; the token there if nothing is defined. `None` if the file has no such position.
///
/// `below` leads to a nested value, through literal sets and lists: for example from `ports` to its second element.
/// Lines and columns count from 1; columns count bytes, as in Nix.
pub fn underlined(text: &str, line: usize, column: usize, below: &[String]) -> Option<Range<usize>> {
    let (token, definition) = defined(text, line, column)?;
    match definition {
        Some(definition) => shown(text, &definition, below),
        None => Some(token.text_range().start().into()..token.text_range().end().into()),
    }
}

/// The syntax tree of a text, whatever its errors; `None` if it nests too deep.
fn tree(text: &str) -> Option<ast::Root> {
    too_deep(text).is_none().then(|| Root::parse(text).tree())
}

/// The names of the Macs that a flake declares.
pub fn configurations(text: &str) -> Vec<String> {
    let evaluations = tree(text).map(|it| hosts::evaluations(&it)).unwrap_or_default();
    evaluations.into_iter().map(|it| it.name).collect()
}

/// The byte range of one name in the definition at a position: of `etcd-1` in `volumes.etcd-1 = { … }`.
pub fn name(text: &str, line: usize, column: usize, name: &str) -> Option<Range<usize>> {
    let (_, definition) = defined(text, line, column)?;
    let mut attrs = definition?.attrpath()?.attrs();
    attrs.find(|attr| segment(attr).as_deref() == Some(name)).map(|attr| bytes(attr.syntax()))
}

/// The token at a position, and the definition if the token is part of its name.
fn defined(text: &str, line: usize, column: usize) -> Option<(SyntaxToken, Option<AttrpathValue>)> {
    let offset = offset(text, line, column)?;
    let root = tree(text)?.syntax().clone();
    let at = TextSize::try_from(offset).ok()?;
    let token = root.token_at_offset(at).right_biased().filter(|token| !token.kind().is_trivia())?;
    let definition = token
        .parent_ancestors()
        .take_while(|node| !matches!(node.kind(), SyntaxKind::NODE_ATTR_SET | SyntaxKind::NODE_LIST))
        .find_map(AttrpathValue::cast)
        .filter(|definition| {
            definition.attrpath().is_some_and(|path| bytes(path.syntax()).contains(&offset))
        });
    Some((token, definition))
}

/// The byte range of the list element that contains a position, such as a link in `links`, or of the value `below` it.
pub fn element(text: &str, line: usize, column: usize, below: &[String]) -> Option<Range<usize>> {
    let at = TextSize::try_from(offset(text, line, column)?).ok()?;
    let root = tree(text)?.syntax().clone();
    let token = root.token_at_offset(at).right_biased()?;
    let is_element = |node: &SyntaxNode| {
        let outside = node
            .ancestors()
            .skip(1)
            .find(|node| !matches!(node.kind(), SyntaxKind::NODE_PAREN | SyntaxKind::NODE_APPLY));
        outside.is_some_and(|node| node.kind() == SyntaxKind::NODE_LIST)
    };
    let set = token.parent_ancestors().filter_map(AttrSet::cast).find(|set| is_element(set.syntax()))?;
    let found = descend(Expr::AttrSet(set), below);
    Some(first_line(text, bytes(found.syntax())))
}

/// The byte range of an option's definition in a file that is known to have one, or of the value `below` it.
pub fn definition(text: &str, option: &[&str], below: &[String]) -> Option<Range<usize>> {
    let tree = tree(text)?;
    let definitions = find::definitions(&tree, &[]);
    let found = definitions.iter().find(|definition| definition.is_at(option)).cloned().or_else(|| {
        // The file may also be imported as the value of `services.nixvol-net`.
        let root: Vec<String> = OPTION.iter().map(|&name| name.to_owned()).collect();
        find::definitions(&tree, &root).into_iter().find(|definition| definition.is_at(option))
    })?;
    match AttrpathValue::cast(found.statement.clone()) {
        Some(definition) => shown(text, &definition, below),
        None => Some(found.range()),
    }
}

fn shown(text: &str, definition: &AttrpathValue, below: &[String]) -> Option<Range<usize>> {
    let name = definition.attrpath().map(|path| bytes(path.syntax()));
    let Some(value) = definition.value() else { return name };
    let found = descend(value.clone(), below);
    let range = bytes(found.syntax());
    if !text[range.clone()].contains('\n') {
        return Some(range);
    }
    if found == value { name } else { Some(first_line(text, range)) }
}

/// Follows a path of attribute names and element indices as far as the sets and lists are literal.
fn descend(value: Expr, below: &[String]) -> Expr {
    let Some((next, rest)) = below.split_first() else { return value };
    let inner = match &bodies(&Body::plain(value.clone()))[..] {
        [inner] => inner.value.clone(),
        _ => return value,
    };
    let found = match &inner {
        Expr::List(list) => next.parse().ok().and_then(|index: usize| list.items().nth(index)),
        Expr::AttrSet(set) => set.attrpath_values().find_map(|statement| {
            let mut attrs = statement.attrpath()?.attrs();
            let fits = segment(&attrs.next()?).as_deref() == Some(next) && attrs.next().is_none();
            if fits { statement.value() } else { None }
        }),
        _ => None,
    };
    found.map_or(value, |found| descend(found, rest))
}

fn first_line(text: &str, range: Range<usize>) -> Range<usize> {
    let length = text[range.clone()].find(['\r', '\n']).unwrap_or(range.len());
    range.start..range.start + length
}

/// The byte offset of a line and column.
fn offset(text: &str, line: usize, column: usize) -> Option<usize> {
    let start = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
    let rest: &str = text.get(start..)?;
    let here = rest.split('\n').next()?;
    let within = column.checked_sub(1)?;
    (within < here.len() && here.is_char_boundary(within)).then_some(start + within)
}

#[cfg(test)]
mod tests {
    use super::{definition, element, underlined};

    const SOURCE: &str = "{\n  volumes.etcd-1 = {\n    address = \"10.0.1.2\"; # ours\n    inherit (x) localhost;\n  };\n  links = [ { from = [ \"aws\" ]; } ];\n}\n";

    fn at(line: usize, column: usize) -> Option<&'static str> {
        underlined(SOURCE, line, column, &[]).map(|range| &SOURCE[range])
    }

    #[test]
    fn the_value_is_underlined_where_it_stands_on_one_line() {
        assert_eq!(at(3, 5), Some("\"10.0.1.2\""));
        assert_eq!(at(6, 15), Some("[ \"aws\" ]"));
    }

    #[test]
    fn the_name_is_underlined_where_the_value_is_long() {
        assert_eq!(at(2, 3), Some("volumes.etcd-1"));
        assert_eq!(at(2, 11), Some("volumes.etcd-1"));
    }

    #[test]
    fn columns_count_bytes() {
        // As in Nix: builtins.unsafeGetAttrPos reports column 14 for `a`.
        let text = "{ /* äö */ a = \"ü\"; b = 1; }\n";
        let at = |column| underlined(text, 1, column, &[]).map(|range| &text[range]);
        assert_eq!(at(14), Some("\"ü\""));
        assert_eq!(at(7), None, "in the middle of a character");
    }

    #[test]
    fn a_place_that_defines_nothing_is_underlined_itself() {
        assert_eq!(at(4, 17), Some("localhost"));
        assert_eq!(at(2, 20), Some("{"));
        assert_eq!(at(9, 1), None);
        assert_eq!(at(1, 40), None);
        assert_eq!(at(0, 0), None);
        assert_eq!(underlined("{ a = ", 1, 3, &[]).map(|range| range.start), Some(2));
    }

    #[test]
    fn what_is_below_a_place_is_found_as_far_as_it_is_written_out() {
        let below = |path: &str| path.split('.').map(str::to_owned).collect::<Vec<String>>();
        let text = "{\n  links = lib.mkIf x [\n    { from = [ \"a\" ]; }\n    {\n      from = [\n        \"a\"\n        (f \"b\")\n      ];\n    }\n  ] ++ more;\n}\n";
        let at = |line, column, path| underlined(text, line, column, &below(path)).map(|range| &text[range]);
        assert_eq!(at(5, 7, "1"), Some("(f \"b\")"));
        assert_eq!(at(5, 7, "2"), Some("from"), "there is no such element");
        assert_eq!(at(3, 7, "0"), Some("\"a\""));
        let link =
            |line, column, path: &[String]| element(text, line, column, path).map(|range| &text[range]);
        assert_eq!(link(3, 7, &[]), Some("{ from = [ \"a\" ]; }"));
        assert_eq!(link(5, 7, &[]), Some("{"));
        assert_eq!(link(5, 7, &below("from.0")), Some("\"a\""));
        assert_eq!(link(1, 1, &[]), None);
    }

    #[test]
    fn an_option_is_found_by_its_name() {
        let module = "{ services.nixvol-net = { enable = true; base = \"/srv\"; }; }";
        assert_eq!(definition(module, &["base"], &[]).map(|range| &module[range]), Some("\"/srv\""));
        let value = "{ enable = true;\n  allowOverlap = [\n \"10.0.0.0/8\" \"x\" ]; }";
        let second = definition(value, &["allowOverlap"], &["1".to_owned()]);
        assert_eq!(second.map(|range| &value[range]), Some("\"x\""));
        assert_eq!(definition(module, &["anchor"], &[]), None);
    }
}
