//! The boxes of providers before they have positions: their content and size.

use std::collections::{HashMap, HashSet};

use super::super::scene::{ProviderBox, Scene, VolumeCell};
use super::elements::{FEW_BOXES, LINE, PAD, Rectangle, Row, Text, bold, cut, small, wide};
use crate::model::Endpoint;

/// The height of a volume's row.
const ROW: usize = 22;
/// The height of a row that shows the port's kernel name too.
const TALL: usize = 36;
/// The space below the last row.
pub const FOOT: usize = 6;
/// With at most this many volumes, all have a row; with more, only those that links name.
const MOST_ROWS: usize = 64;
/// How many names a note has at most.
const MOST_NAMES: usize = 40;

/// All boxes, in the order of the scene.
pub struct Boxes<'a> {
    /// The content of the boxes.
    pub all: Vec<Content<'a>>,
    /// The width, which is common to all boxes.
    pub width: usize,
    /// For each endpoint that is shown, the index of its box and its slot there.
    pub ends: HashMap<&'a Endpoint, (usize, usize)>,
}

/// The content of a box.
pub struct Content<'a> {
    /// The provider.
    pub group: &'a ProviderBox,
    /// The lines of the heading after the name.
    pub facts: Vec<String>,
    /// The volumes that have a row.
    pub cells: Vec<&'a VolumeCell>,
    /// The volumes that are only counted.
    pub hidden: Vec<&'a VolumeCell>,
    /// Whether the network is on the same line as the name.
    pub is_one_line: bool,
}

impl<'a> Boxes<'a> {
    /// The boxes of a scene.
    pub fn of(scene: &'a Scene) -> Self {
        let total: usize = scene.groups.iter().map(|group| group.cells.len()).sum();
        let named: HashSet<&Endpoint> = scene.links.iter().flat_map(|link| link.taps.keys()).collect();
        let shows_all = total <= MOST_ROWS;
        let content = |group: &'a ProviderBox| {
            let is_one_line = scene.groups.len() > FEW_BOXES;
            let (cells, hidden): (Vec<&VolumeCell>, Vec<&VolumeCell>) =
                group.cells.iter().partition(|cell| shows_all || named.contains(&cell.end));
            Content { group, facts: facts(group, is_one_line), cells, hidden, is_one_line }
        };
        let all: Vec<Content> = scene.groups.iter().map(content).collect();
        let width = all.iter().map(Content::width).max().unwrap_or(0).max(180);
        let mut ends = HashMap::new();
        for (number, content) in all.iter().enumerate() {
            ends.insert(&content.group.end, (number, 0));
            ends.extend(content.cells.iter().enumerate().map(|(row, cell)| (&cell.end, (number, row + 1))));
        }
        Self { all, width, ends }
    }

    /// The heights of a box's slots: the heading, and each row.
    pub fn slots(&self, boxed: usize) -> Vec<usize> {
        let content = &self.all[boxed];
        let rows = content.cells.iter().map(|cell| row(cell));
        let hidden = content.has_hidden_row().then_some(ROW);
        [content.heading()].into_iter().chain(rows).chain(hidden).collect()
    }
}

fn row(cell: &VolumeCell) -> usize {
    if has_kernel_name(cell) { TALL } else { ROW }
}

fn has_kernel_name(cell: &VolumeCell) -> bool {
    cell.port.as_ref().is_some_and(|port| port.contains(" = "))
}

fn facts(group: &ProviderBox, is_one_line: bool) -> Vec<String> {
    let internet = if group.internet { "NAT to the internet" } else { "no internet" };
    if is_one_line {
        let kernel = group.bridge.contains(" = ").then(|| group.bridge.clone());
        let internet = (!group.internet).then(|| internet.to_owned());
        return kernel.into_iter().chain(internet).collect();
    }
    vec![format!("{} · gateway {}", group.network, group.gateway), format!("{} · {internet}", group.bridge)]
}

impl Content<'_> {
    fn heading(&self) -> usize {
        26 + self.facts.len() * LINE
    }

    /// Whether hidden volumes are counted in a row of their own; a box of one line counts them next to the network.
    fn has_hidden_row(&self) -> bool {
        !self.hidden.is_empty() && !self.is_one_line
    }

    /// The text on the same line as the name.
    fn beside(&self) -> String {
        let network = &self.group.network;
        match (self.hidden.len(), self.group.cells.len()) {
            (0, _) => network.clone(),
            (_, 1) => format!("{network} · 1 volume"),
            (_, all) => format!("{network} · {all} volumes"),
        }
    }

    fn width(&self) -> usize {
        let group = self.group;
        let beside = if self.is_one_line { small(&self.beside()) + PAD } else { 0 };
        let name = PAD + 18 + bold(&group.name) + beside + PAD;
        let facts = self.facts.iter().map(|line| small(line) + 3 * PAD);
        let cells = self.cells.iter().map(|cell| {
            let port = if has_kernel_name(cell) { cell.port.as_deref().map_or(0, small) } else { 0 };
            (wide(&cell.name) + small(&cell.address) + 2 * PAD).max(port) + 4 * PAD
        });
        facts.chain(cells).chain([name]).max().unwrap_or(0)
    }

    /// The provider's facts in one line, for the tooltip.
    pub fn note(&self) -> String {
        let group = self.group;
        let internet = if group.internet { "NAT to the internet" } else { "no internet" };
        let volumes = if self.has_hidden_row() || self.hidden.is_empty() {
            String::new()
        } else {
            format!("; {}", names(&self.hidden))
        };
        format!(
            "{}: {}, network {}, gateway {}, {internet}{volumes}",
            group.name, group.bridge, group.network, group.gateway
        )
    }

    /// The texts of the heading of a box at this position.
    pub fn texts(&self, x: usize, y: usize, width: usize) -> Vec<Text> {
        let mut texts =
            vec![Text { x: x + PAD + 18, y: y + 18, class: "name", words: self.group.name.clone() }];
        if self.is_one_line {
            let words = self.beside();
            texts.push(Text { x: x + width - PAD - small(&words), y: y + 18, class: "small", words });
        }
        for (number, words) in self.facts.iter().enumerate() {
            texts.push(Text {
                x: x + PAD,
                y: y + 18 + LINE * (number + 1),
                class: "small",
                words: words.clone(),
            });
        }
        texts
    }

    /// The rows of a box at this position. `slots` are the heights that the layout assigned.
    pub fn rows(&self, x: usize, y: usize, width: usize, slots: &[usize]) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut top = y + slots[0];
        let area = |top: usize, height: usize| Rectangle {
            x: x + PAD,
            y: top + 1,
            width: width - 2 * PAD,
            height: height - 3,
        };
        for (cell, height) in self.cells.iter().zip(&slots[1..]) {
            let (left, right) = (x + 2 * PAD, x + width - 2 * PAD);
            let base = top + 15;
            let mut texts = vec![
                Text { x: left, y: base, class: "word", words: cell.name.clone() },
                Text {
                    x: right - small(&cell.address),
                    y: base,
                    class: "small",
                    words: cell.address.clone(),
                },
            ];
            if let Some(port) = cell.port.clone().filter(|_| has_kernel_name(cell)) {
                texts.push(Text { x: left, y: base + 14, class: "small", words: port });
            }
            rows.push(Row {
                volume: cell.end.name().to_string(),
                note: cell.note.clone(),
                area: area(top, *height),
                texts,
            });
            top += height;
        }
        if let (true, Some(height)) = (self.has_hidden_row(), slots.last()) {
            let more = if self.cells.is_empty() { "" } else { " more" };
            let plural = if self.hidden.len() == 1 { "" } else { "s" };
            let words = format!("{}{more} volume{plural}", self.hidden.len());
            rows.push(Row {
                volume: String::new(),
                note: names(&self.hidden),
                area: area(top, *height),
                texts: vec![Text {
                    x: x + 2 * PAD,
                    y: top + 15,
                    class: "small",
                    words: cut(&words, width / 7),
                }],
            });
        }
        rows
    }
}

fn names(cells: &[&VolumeCell]) -> String {
    let shown: Vec<&str> = cells.iter().take(MOST_NAMES).map(|cell| cell.name.as_str()).collect();
    let more = cells.len().saturating_sub(MOST_NAMES);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", shown.join(", "))
}
