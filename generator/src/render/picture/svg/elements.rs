//! The elements of the picture, with their sizes in pixels.

use serde::Serialize;

use super::super::text::columns;

/// The margin of the picture, and of the frame's content.
pub(super) const MARGIN: usize = 16;
/// The padding inside a box.
pub(super) const PAD: usize = 10;
/// The height of a line of text.
pub(super) const LINE: usize = 16;
/// The maximum length of a link's text, in characters.
pub(super) const LABEL: usize = 46;
/// More links are counted, and not drawn.
pub(super) const MOST_LINKS: usize = crate::render::picture::MOST_LINKS;
/// With more providers than these, a box is one line.
pub(super) const FEW_BOXES: usize = 16;
/// With more providers, `every provider` is written as words instead of a line to each.
pub(super) const FEW_LINES: usize = 8;
/// The maximum number of localhost lines; further ones are only counted.
pub(super) const MOST_ALIASES: usize = 60;

#[derive(Serialize, Clone, Copy, Default)]
pub(super) struct Rectangle {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

/// A rectangle with its CSS class, and what it represents.
#[derive(Serialize)]
pub(super) struct Styled {
    pub(super) class: &'static str,
    pub(super) stands_for: &'static str,
    pub(super) note: String,
    pub(super) area: Rectangle,
    pub(super) texts: Vec<Text>,
}

#[derive(Serialize)]
pub(super) struct Text {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) class: &'static str,
    pub(super) words: String,
}

/// A provider.
#[derive(Serialize)]
pub(super) struct Boxed {
    pub(super) name: String,
    pub(super) colour: usize,
    pub(super) note: String,
    pub(super) outline: Rectangle,
    /// The bar in the provider's colour.
    pub(super) bar: Rectangle,
    pub(super) mark: &'static str,
    pub(super) mark_x: usize,
    pub(super) mark_y: usize,
    pub(super) texts: Vec<Text>,
    pub(super) rows: Vec<Row>,
}

/// A volume, or a summary of several.
#[derive(Serialize)]
pub(super) struct Row {
    pub(super) volume: String,
    pub(super) note: String,
    pub(super) area: Rectangle,
    pub(super) texts: Vec<Text>,
}

/// A link.
#[derive(Serialize)]
pub(super) struct Linked {
    pub(super) index: usize,
    pub(super) words: String,
    /// One line for each endpoint.
    pub(super) lines: Vec<Line>,
    pub(super) label: Rectangle,
    pub(super) texts: Vec<Text>,
}

/// The line from a link to one of its endpoints.
#[derive(Serialize)]
pub(super) struct Line {
    pub(super) colour: usize,
    pub(super) end: String,
    pub(super) path: String,
    pub(super) heads: String,
}

/// A localhost alias or a published port.
#[derive(Serialize)]
pub(super) struct Alias {
    pub(super) volume: String,
    pub(super) text: Text,
}

/// The width of normal text in pixels: 12 px, of which a character takes 0.625.
pub(super) fn wide(text: &str) -> usize {
    (columns(text) * 15).div_ceil(2)
}

/// The width of small text (11 px).
pub(super) fn small(text: &str) -> usize {
    columns(text) * 7
}

/// The width of a name (13 px).
pub(super) fn bold(text: &str) -> usize {
    (columns(text) * 17).div_ceil(2)
}

/// Truncates text to a number of characters.
pub(super) fn cut(words: &str, most: usize) -> String {
    if columns(words) <= most {
        return words.to_owned();
    }
    words.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}
