//! Inserts an item into a set or list, or removes one. No other text changes, and removal is the inverse of insertion.

use std::ops::Range;

use rnix::ast::List;
use rnix::{SyntaxKind, SyntaxNode};
use rowan::ast::AstNode;

use super::write::{indent_of, is_tight, line_start};
use crate::source::find::bytes;

/// A set or list with its items.
#[derive(Debug, Clone)]
pub struct Container<'a> {
    /// The text of the whole file.
    pub text: &'a str,
    /// The syntax node of the set or list.
    pub node: SyntaxNode,
    /// The byte ranges of the items (statements or elements), in order.
    pub items: Vec<Range<usize>>,
}

/// A replacement of a byte range by other text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splice {
    /// The byte range that is replaced.
    pub at: Range<usize>,
    /// The text that replaces it.
    pub text: String,
}

impl Splice {
    /// The text with this replacement applied.
    pub fn made(&self, text: &str) -> String {
        [&text[..self.at.start], &self.text, &text[self.at.end..]].concat()
    }
}

/// The text with all of these replacements applied; they must not overlap.
pub fn all_made(mut splices: Vec<Splice>, text: &str) -> String {
    splices.sort_by_key(|splice| splice.at.start);
    splices.iter().rev().fold(text.to_owned(), |text, splice| splice.made(&text))
}

/// The position of a new item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spot {
    /// After the item with this index.
    Behind(usize),
    /// Before the item with this index.
    Before(usize),
    /// The first item of an empty container.
    Alone,
}

/// How a new item is joined to its neighbours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Separator {
    splice: Range<usize>,
    before: String,
    after: String,
    /// The indentation of the new item's lines after the first.
    pub indent: String,
    /// How many bytes of the line the text before the item takes.
    pub column: usize,
    /// Whether the item must be on one line, as its neighbour is.
    pub one_line: bool,
}

impl Separator {
    /// The edit that inserts an item here.
    pub fn with(self, item: &str) -> Splice {
        Splice { at: self.splice, text: format!("{}{item}{}", self.before, self.after) }
    }
}

impl Container<'_> {
    /// Determines how to join a new item at a position. `blank` requests an empty line between it and its neighbour.
    pub fn joint(&self, spot: Spot, unit: &str, newline: &str, blank: bool) -> Separator {
        match spot {
            Spot::Behind(index) => self.behind(index, newline, blank),
            Spot::Before(index) => self.before(index, newline, blank),
            Spot::Alone => self.alone(unit, newline),
        }
    }

    fn behind(&self, index: usize, newline: &str, blank: bool) -> Separator {
        let item = &self.items[index];
        let Some(end) = self.line_end(item.end) else {
            return self.inline(item.end..item.end, " ", "", item);
        };
        let own = self.items.iter().find(|other| self.begins_its_line(other.start)).unwrap_or(item);
        let own = if self.begins_its_line(item.start) { item } else { own };
        let indent = indent_of(self.text, own.start).to_owned();
        let next = next_line(self.text, end);
        let blank = blank && (is_blank(self.text, next) || self.closes(next));
        let gap = if blank { newline } else { "" };
        Separator {
            splice: end..end,
            before: format!("{gap}{newline}{indent}"),
            after: String::new(),
            column: indent.len(),
            indent,
            one_line: false,
        }
    }

    fn before(&self, index: usize, newline: &str, blank: bool) -> Separator {
        let item = &self.items[index];
        if !self.begins_its_line(item.start) {
            return self.inline(item.start..item.start, "", " ", item);
        }
        let indent = indent_of(self.text, item.start).to_owned();
        // The comments directly above an item belong to it.
        let start = self.comments_above(line_start(self.text, item.start));
        let blank = blank && (self.opens(start) || is_blank_above(self.text, start));
        let gap = if blank { newline } else { "" };
        Separator {
            splice: start..start,
            before: indent.clone(),
            after: format!("{newline}{gap}"),
            column: indent.len(),
            indent,
            one_line: false,
        }
    }

    /// Joins an item to a neighbour on the same line.
    fn inline(&self, splice: Range<usize>, before: &str, after: &str, neighbour: &Range<usize>) -> Separator {
        Separator {
            column: splice.start - line_start(self.text, splice.start),
            indent: indent_of(self.text, neighbour.start).to_owned(),
            one_line: !self.text[neighbour.clone()].contains('\n'),
            splice,
            before: before.to_owned(),
            after: after.to_owned(),
        }
    }

    /// Joins the first item of a container. Its removal must be able to restore what was there: `{ }`, `{}`, or several
    /// lines.
    fn alone(&self, unit: &str, newline: &str) -> Separator {
        let inner = self.inner();
        let outer = indent_of(self.text, inner.start).to_owned();
        let indent = format!("{outer}{unit}");
        let lines = |splice: Range<usize>, before: String, after: String| Separator {
            splice,
            before,
            after,
            column: indent.len(),
            indent: indent.clone(),
            one_line: false,
        };
        let within = &self.text[inner.clone()];
        if List::can_cast(self.node.kind()) && within.trim().is_empty() && !within.contains('\n') {
            // A one-line list stays on one line, so that removing the element leaves the empty list rather than
            // removing the statement.
            return Separator {
                column: inner.start - line_start(self.text, inner.start),
                splice: inner,
                before: within.to_owned(),
                after: within.to_owned(),
                indent: outer,
                one_line: false,
            };
        }
        if !within.trim().is_empty() {
            // Only comments: insert after the last of them.
            let end = inner.start + within.trim_end().len();
            let after = if self.text[end..].starts_with(['\r', '\n']) {
                String::new()
            } else {
                format!("{newline}{outer}")
            };
            return lines(end..end, format!("{newline}{newline}{indent}"), after);
        }
        if within.contains('\n') {
            return lines(inner, format!("{newline}{indent}"), format!("{newline}{newline}{outer}"));
        }
        if within.is_empty() == self.is_tight() {
            return lines(inner, format!("{newline}{indent}"), format!("{newline}{outer}"));
        }
        let (before, after) = if within.is_empty() { ("", "") } else { (" ", " ") };
        Separator {
            column: inner.start - line_start(self.text, inner.start),
            splice: inner,
            before: before.to_owned(),
            after: after.to_owned(),
            indent: outer,
            one_line: true,
        }
    }

    /// The edit that removes an item, with comments that refer only to it.
    pub fn without(&self, index: usize) -> Splice {
        let item = &self.items[index];
        match self.line_end(item.end).filter(|_| self.begins_its_line(item.start)) {
            Some(end) => self.without_lines(item, end),
            None => self.without_words(item),
        }
    }

    fn without_words(&self, item: &Range<usize>) -> Splice {
        let blank = |c: char| c == ' ' || c == '\t';
        let before = self.text[..item.start].trim_end_matches(blank).len();
        let rest = &self.text[item.end..];
        let after = item.end + (rest.len() - rest.trim_start_matches(blank).len());
        let at = if before < item.start { before..item.end } else { item.start..after };
        Splice { at, text: String::new() }
    }

    fn without_lines(&self, item: &Range<usize>, end: usize) -> Splice {
        let text = self.text;
        let next = next_line(text, end);
        let mut start = line_start(text, item.start);
        // Comments above the last item of a paragraph refer to that item only.
        if self.closes(next) || is_blank(text, next) {
            start = self.comments_above(start);
        }
        let (above, below) = (is_blank_above(text, start), is_blank(text, next));
        let at = if above && (below || self.closes(next)) {
            line_start(text, start - 1)..next
        } else if below && self.opens(start) {
            start..next_line(text, next)
        } else {
            return self.closed_up(start..next);
        };
        Splice { at, text: String::new() }
    }

    /// A container that loses its last item is written like other empty ones in the file.
    fn closed_up(&self, at: Range<usize>) -> Splice {
        let inner = self.inner();
        let left = |range: Range<usize>| self.text.get(range).is_none_or(|text| !text.trim().is_empty());
        if left(inner.start..at.start) || left(at.end..inner.end) {
            return Splice { at, text: String::new() };
        }
        let text = if self.is_tight() { "" } else { " " };
        Splice { at: inner, text: text.to_owned() }
    }

    /// The byte range between the brackets.
    pub fn inner(&self) -> Range<usize> {
        let token = |kinds: [SyntaxKind; 2]| {
            let mut found = self.node.children_with_tokens().filter(move |it| kinds.contains(&it.kind()));
            found.next()
        };
        let whole = bytes(&self.node);
        let start = token([SyntaxKind::TOKEN_L_BRACE, SyntaxKind::TOKEN_L_BRACK])
            .map_or(whole.start, |it| it.text_range().end().into());
        let end = token([SyntaxKind::TOKEN_R_BRACE, SyntaxKind::TOKEN_R_BRACK])
            .map_or(whole.end, |it| it.text_range().start().into());
        start..end
    }

    fn is_tight(&self) -> bool {
        let root = self.node.ancestors().last().unwrap_or_else(|| self.node.clone());
        is_tight(&root, Some(&bytes(&self.node)))
    }

    /// The end of the line on which an item ends, if only comments follow the item there.
    fn line_end(&self, end: usize) -> Option<usize> {
        let rest = &self.text[end..self.inner().end.max(end)];
        let line = &rest[..rest.find('\n')?];
        let line = line.strip_suffix('\r').unwrap_or(line);
        let mut comment = line.trim_start();
        while let Some(inside) = comment.strip_prefix("/*") {
            comment = inside.split_once("*/")?.1.trim_start();
        }
        (comment.is_empty() || comment.starts_with('#')).then_some(end + line.len())
    }

    fn begins_its_line(&self, start: usize) -> bool {
        self.text[line_start(self.text, start)..start].trim().is_empty()
    }

    /// The start of the comment lines directly above a line.
    fn comments_above(&self, mut start: usize) -> usize {
        while start > self.inner().start {
            let above = line_start(self.text, start - 1);
            if above < self.inner().start || !self.text[above..start].trim_start().starts_with('#') {
                break;
            }
            start = above;
        }
        start
    }

    /// Whether the line that starts here has only whitespace before the closing bracket.
    fn closes(&self, start: usize) -> bool {
        let end = self.inner().end;
        start <= end && self.text[start..end].trim().is_empty() && !self.text[start..end].contains('\n')
    }

    /// Whether the opening bracket is on the line above the one that starts here.
    fn opens(&self, start: usize) -> bool {
        let open = self.inner().start;
        start > open && line_start(self.text, start - 1) <= open
    }
}

/// The start of the line after the one that contains a byte offset.
fn next_line(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |newline| at + newline + 1)
}

fn is_blank(text: &str, start: usize) -> bool {
    text[start..].split_once('\n').is_some_and(|(line, _)| line.trim().is_empty())
}

fn is_blank_above(text: &str, start: usize) -> bool {
    start > 0 && text[line_start(text, start - 1)..start].trim().is_empty()
}
