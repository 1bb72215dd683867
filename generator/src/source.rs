//! The user's Nix source: which text a position means.
//!
//! Nix tells where an attribute's name starts; what a reader wants underlined is its value. rnix finds the one
//! from the other, in files that evaluate and in files that do not.
//! Sees: rnix. Never: evaluates anything, or reads a file.

use std::ops::Range;

use rnix::SyntaxKind;
use rnix::ast::AttrpathValue;
use rnix::{Root, SyntaxNode, TextSize};
use rowan::ast::AstNode;

/// The bytes of `text` that the position means: the value of the attribute that is defined there, its name where
/// the value runs over several lines, the token there otherwise. `None` where the file has no such place.
///
/// Lines and columns count from 1, columns in characters.
pub fn underlined(text: &str, line: usize, column: usize) -> Option<Range<usize>> {
    let offset = offset(text, line, column)?;
    let root = Root::parse(text).syntax();
    let at = TextSize::try_from(offset).ok()?;
    let token = root.token_at_offset(at).right_biased().filter(|token| !token.kind().is_trivia())?;
    let definition = token
        .parent_ancestors()
        .take_while(|node| !matches!(node.kind(), SyntaxKind::NODE_ATTR_SET | SyntaxKind::NODE_LIST))
        .find_map(AttrpathValue::cast)
        .filter(|definition| {
            definition.attrpath().is_some_and(|path| bytes(path.syntax()).contains(&offset))
        });
    let Some(definition) = definition else {
        return Some(token.text_range().start().into()..token.text_range().end().into());
    };
    let value = definition.value().map(|value| bytes(value.syntax()));
    let name = definition.attrpath().map(|path| bytes(path.syntax()));
    value.filter(|range| !text[range.clone()].contains('\n')).or(name)
}

fn bytes(node: &SyntaxNode) -> Range<usize> {
    node.text_range().start().into()..node.text_range().end().into()
}

/// The byte at which a line and column stand.
fn offset(text: &str, line: usize, column: usize) -> Option<usize> {
    let start = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
    let rest: &str = text.get(start..)?;
    let here = rest.split('\n').next()?;
    let (within, _) = here.char_indices().nth(column.checked_sub(1)?)?;
    Some(start + within)
}

#[cfg(test)]
mod tests {
    use super::underlined;

    const SOURCE: &str = "{\n  volumes.etcd-1 = {\n    address = \"10.0.1.2\"; # ours\n    inherit (x) localhost;\n  };\n  links = [ { from = [ \"aws\" ]; } ];\n}\n";

    fn at(line: usize, column: usize) -> Option<&'static str> {
        underlined(SOURCE, line, column).map(|range| &SOURCE[range])
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
    fn a_place_that_defines_nothing_is_underlined_itself() {
        assert_eq!(at(4, 17), Some("localhost"));
        assert_eq!(at(2, 20), Some("{"));
        assert_eq!(at(9, 1), None);
        assert_eq!(at(1, 40), None);
        assert_eq!(at(0, 0), None);
        assert_eq!(underlined("{ a = ", 1, 3).map(|range| range.start), Some(2));
    }
}
