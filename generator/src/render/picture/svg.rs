//! The picture as SVG: the layout in pixels, for a template that only places it.
//!
//! Widths are computed for a monospaced font, generously, so that no text leaves its box in any of the usual ones.

use serde::Serialize;

use super::KernelNames;
use super::lanes::{self, Run, Side, Spots};
use super::scene::{CONDITIONS, Cell, Group, Manner, Scene};
use super::text::{columns, wrapped};
use crate::plan::Plan;
use crate::render::{Error, engine};

/// The height of a row, and the unit of everything that is stacked.
const ROW: usize = 28;
/// Where the lines that join the lanes leave a row: each side its own, so that they never run into one, and both
/// clear of the numbers, which stand where two rows meet.
const JOINT: [usize; 2] = [10, 18];
/// Half the height of a number's badge.
const BADGE: usize = 6;
/// Rows above a box's first cell: its name, its bridge and gateway, its network.
const HEADING: usize = 3;
/// Between a box and what is in it.
const PAD: usize = 12;
/// Between the frame and the boxes, and around the frame.
const MARGIN: usize = 20;
/// Colours of lanes; then they repeat with another dash.
const COLOURS: usize = 8;
const DASHES: [&str; 4] = ["none", "9 4", "2 4", "12 4 2 4"];
/// The least width, for the legend's sake.
const NARROWEST: usize = 640;

#[derive(Serialize)]
struct Drawing {
    width: usize,
    height: usize,
    frame: Rectangle,
    title: String,
    description: String,
    boxes: Vec<Boxed>,
    /// Joints that tap several lanes, as one path.
    stubs: String,
    lanes: Vec<Lane>,
    texts: Vec<Text>,
    swatches: Vec<Swatch>,
}

#[derive(Serialize)]
struct Rectangle {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
}

#[derive(Serialize)]
struct Text {
    x: usize,
    y: usize,
    class: &'static str,
    words: String,
}

#[derive(Serialize)]
struct Boxed {
    outline: Rectangle,
    texts: Vec<Text>,
    cells: Vec<Celled>,
}

#[derive(Serialize)]
struct Celled {
    note: String,
    volume: Rectangle,
    texts: Vec<Text>,
    ports: Vec<Rectangle>,
    /// The line from the volume to its port.
    wires: Vec<String>,
}

#[derive(Serialize)]
struct Lane {
    colour: usize,
    dash: &'static str,
    words: String,
    line: String,
    marks: String,
    badge: Rectangle,
    number: Text,
}

#[derive(Serialize)]
struct Swatch {
    colour: usize,
    dash: &'static str,
    line: String,
}

/// The drawing, with its newline.
pub fn svg(plan: &Plan, kernel: &KernelNames) -> Result<String, Error> {
    let scene = Scene::of(plan, kernel);
    engine::render("picture/topology.svg", drawing(plan, &scene))
}

fn drawing(plan: &Plan, scene: &Scene) -> Drawing {
    let measures = Measures::of(scene);
    let heights = scene.groups.iter().map(|group| HEADING + group.cells.len() + 1);
    let (places, rows) = lanes::columns(heights);
    let mut spots = Spots::new();
    for (group, (side, row)) in scene.groups.iter().zip(&places) {
        let cells = (row + HEADING..).zip(&group.cells).map(|(row, cell)| (row, &cell.end));
        for (row, end) in [(*row, &group.end)].into_iter().chain(cells) {
            spots.extend(end.clone().map(|end| (end, (row, *side))));
        }
    }
    let runs = lanes::runs(&scene.links, &spots, 1);
    let sheet =
        Sheet { widest: scene.links.len(), lanes: runs.iter().map(|run| run.lane + 1).max(), measures };
    let boxes = scene.groups.iter().zip(&places).map(|(group, place)| sheet.boxed(group, *place));
    let boxes: Vec<Boxed> = boxes.collect();
    let (stubs, own) = sheet.stubs(&runs, &spots, scene);
    let lanes = runs.iter().zip(own).map(|(run, own)| sheet.lane(run, own)).collect();
    let width = sheet.width();
    let bottom = y(rows) - ROW + MARGIN;
    let frame = Rectangle { x: MARGIN, y: MARGIN, width: width - 2 * MARGIN, height: bottom - MARGIN };
    let mut texts = vec![Text { x: MARGIN + PAD, y: MARGIN + 20, class: "name", words: "macOS".to_owned() }];
    let (mut swatches, mut y) = (Vec::new(), bottom + ROW);
    legend(scene, width, &mut y, &mut texts, &mut swatches);
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let title = format!(
        "nixvol-net: {}, {}, {}",
        counted(plan.bridges.len(), "provider"),
        counted(plan.volumes.len(), "volume"),
        counted(scene.links.len(), "link rule")
    );
    Drawing {
        width,
        height: y,
        frame,
        title,
        description: description(scene),
        boxes,
        stubs,
        lanes,
        texts,
        swatches,
    }
}

/// What the widest thing of each kind needs.
struct Measures {
    port: usize,
    name: usize,
    address: usize,
    outline: usize,
}

impl Measures {
    fn of(scene: &Scene) -> Self {
        let cells = || scene.groups.iter().flat_map(|group| &group.cells);
        let widest = |of: fn(&Cell) -> usize| cells().map(of).max().unwrap_or(0);
        let port = widest(|cell| cell.port.as_deref().map_or(0, |port| wide(port) + 2 * PAD));
        let name = widest(|cell| wide(&cell.name));
        let address = widest(|cell| wide(&cell.address));
        let heading = scene.groups.iter().flat_map(|group| heading(group).map(|line| wide(&line) + 2 * PAD));
        let inside = name + PAD + address + 2 * PAD + if port > 0 { port + PAD } else { 0 };
        let outline = heading.chain([inside + 2 * PAD]).max().unwrap_or(0);
        Self { port, name, address, outline }
    }

    fn volume(&self) -> usize {
        self.name + self.address + 3 * PAD
    }
}

/// The three lines above a box's cells.
fn heading(group: &Group) -> [String; HEADING] {
    let (gateway, rest) = group.facts.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
    [group.name.clone(), format!("{}, {gateway}", group.bridge), rest.join(", ")]
}

/// The width of a text of the usual size, in pixels: 0.625 of 12 a character.
fn wide(text: &str) -> usize {
    (columns(text) * 15).div_ceil(2)
}

/// The upper side of a row, below the frame's own name.
fn y(row: usize) -> usize {
    2 * MARGIN + PAD + row * ROW
}

/// The line from an end of a row to its lanes.
fn joint(row: usize, side: Side) -> usize {
    y(row) + JOINT[usize::from(side == Side::Right)]
}

/// The whole sheet: what lies where.
struct Sheet {
    measures: Measures,
    lanes: Option<usize>,
    /// The largest number of a rule.
    widest: usize,
}

impl Sheet {
    /// From lane to lane: room for a number in its badge.
    fn pitch(&self) -> usize {
        self.badge() + 6
    }

    fn badge(&self) -> usize {
        self.widest.to_string().len() * 7 + 8
    }

    fn left_edge(&self) -> usize {
        2 * MARGIN + self.measures.outline
    }

    fn right_edge(&self) -> usize {
        self.left_edge() + self.lanes.map_or(MARGIN, |lanes| (lanes + 1) * self.pitch() + PAD)
    }

    fn width(&self) -> usize {
        (self.right_edge() + self.measures.outline + 2 * MARGIN).max(NARROWEST)
    }

    fn x(&self, lane: usize) -> usize {
        self.left_edge() + PAD / 2 + (lane + 1) * self.pitch()
    }

    fn boxed(&self, group: &Group, (side, row): (Side, usize)) -> Boxed {
        let x = if side == Side::Left { 2 * MARGIN } else { self.right_edge() };
        let (width, height) = (self.measures.outline, (HEADING + group.cells.len()) * ROW + 8);
        let classes = ["name", "", "faint"];
        let lines = heading(group).into_iter().zip(classes).zip([18, 12, 4]).zip(row..);
        let text = |(((words, class), below), row)| Text { x: x + PAD, y: y(row) + below, class, words };
        let texts = lines.map(text).collect();
        // Only what is joined to the lanes turns towards them.
        let side = if group.end.is_some() { side } else { Side::Left };
        let cells = (row + HEADING..).zip(&group.cells).map(|(row, cell)| self.cell(cell, x, side, row));
        Boxed { outline: Rectangle { x, y: y(row) - 4, width, height }, texts, cells: cells.collect() }
    }

    /// A volume and its port, the port on the side of the lanes.
    fn cell(&self, cell: &Cell, x: usize, side: Side, row: usize) -> Celled {
        let (measures, y) = (&self.measures, y(row));
        let (inner, far) = (x + PAD, x + measures.outline - PAD);
        let (volume, port) = match side {
            Side::Left => (inner, far - measures.port),
            Side::Right => (far - measures.volume(), inner),
        };
        let rectangle = |x, width| Rectangle { x, y: y + 3, width, height: ROW - 6 };
        let text = |x, class, text: &str| Text { x, y: y + 18, class, words: text.to_owned() };
        let address = volume + 2 * PAD + measures.name;
        let mut texts = vec![text(volume + PAD, "", &cell.name), text(address, "", &cell.address)];
        texts.extend(cell.port.as_ref().map(|name| text(port + PAD, "faint", name)));
        let middle = y + ROW / 2;
        let wire = match side {
            Side::Left => format!("M{} {middle}H{port}", volume + measures.volume()),
            Side::Right => format!("M{} {middle}H{volume}", port + measures.port),
        };
        Celled {
            note: cell.note.clone(),
            volume: rectangle(volume, measures.volume()),
            texts,
            ports: cell.port.iter().map(|_| rectangle(port, measures.port)).collect(),
            wires: cell.port.iter().map(|_| wire.clone()).collect(),
        }
    }

    /// Where the line from an end to its lanes begins: at a provider's box, a volume's port, or a volume without one.
    fn origin(&self, end: &crate::model::End, side: Side, scene: &Scene) -> usize {
        let edge = if side == Side::Left { self.left_edge() } else { self.right_edge() };
        let cells = || scene.groups.iter().flat_map(|group| &group.cells);
        let cell = match end {
            crate::model::End::Provider(_) => None,
            crate::model::End::Volume(_) => cells().find(|cell| cell.end.as_ref() == Some(end)),
        };
        let inside = match cell {
            None => 0,
            Some(cell) if cell.port.is_some() => PAD,
            Some(_) => self.measures.outline - PAD - self.measures.volume(),
        };
        if side == Side::Left { edge - inside } else { edge + inside }
    }

    /// The lines from ends to lanes: those that tap several, and by rule those that tap it alone.
    fn stubs(&self, runs: &[Run], spots: &Spots, scene: &Scene) -> (String, Vec<String>) {
        let reach = lanes::stubs(runs);
        let mut own = vec![String::new(); runs.len()];
        let mut shared = String::new();
        let mut taps: std::collections::BTreeMap<(usize, Side), Vec<usize>> =
            std::collections::BTreeMap::new();
        for (index, run) in runs.iter().enumerate() {
            for (row, side, _) in &run.taps {
                taps.entry((*row, *side)).or_default().push(index);
            }
        }
        for (end, (row, side)) in spots {
            let Some(lane) = reach.get(&(*row, *side)) else { continue };
            let path =
                format!("M{} {}H{}", self.origin(end, *side, scene), joint(*row, *side), self.x(*lane));
            match taps[&(*row, *side)].as_slice() {
                [index] => own[*index].push_str(&path),
                _ => shared.push_str(&path),
            }
        }
        (shared, own)
    }

    fn lane(&self, run: &Run, own: String) -> Lane {
        let x = self.x(run.lane);
        let place = |(row, side, _): &(usize, Side, Manner)| joint(*row, *side);
        let first = run.taps.iter().map(place).min().unwrap_or(0);
        let last = run.taps.iter().map(place).max().unwrap_or(0);
        let top = y(run.rows.0);
        let mark = |tap: &(usize, Side, Manner)| mark(x, place(tap), tap.1, tap.2);
        let number = run.link.number.to_string();
        let badge = self.badge();
        Lane {
            colour: (run.link.number - 1) % COLOURS,
            dash: dash(run.link.number),
            words: format!("{}: {}", run.link.number, run.link.words),
            line: format!("M{x} {}V{last}{own}", top.min(first)),
            marks: run.taps.iter().map(mark).collect(),
            badge: Rectangle { x: x - badge / 2, y: top - BADGE, width: badge, height: 2 * BADGE },
            number: Text { x, y: top + 3, class: "number", words: number },
        }
    }
}

fn dash(number: usize) -> &'static str {
    DASHES[(number - 1) / COLOURS % DASHES.len()]
}

/// A dot for both; an arrow out of the box for who opens, into it for who is reached.
fn mark(x: usize, y: usize, side: Side, manner: Manner) -> String {
    let points_right = match manner {
        Manner::Both => return format!("M{} {y}a4 4 0 1 0 8 0a4 4 0 1 0-8 0z", x - 4),
        Manner::Opens => side == Side::Left,
        Manner::Reached => side == Side::Right,
    };
    if points_right {
        format!("M{} {}l9 4-9 4z", x - 5, y - 4)
    } else {
        format!("M{} {}l-9 4 9 4z", x + 5, y - 4)
    }
}

/// The rules in words, below the frame.
fn legend(scene: &Scene, width: usize, y: &mut usize, texts: &mut Vec<Text>, swatches: &mut Vec<Swatch>) {
    const LINE: usize = 18;
    let room = (width - 4 * MARGIN - 80) * 2 / 15;
    let mut line = |x: usize, y: usize, class, words: String| texts.push(Text { x, y, class, words });
    line(MARGIN + PAD, *y, "name", scene.heading().to_owned());
    *y += LINE;
    for link in &scene.links {
        swatches.push(Swatch {
            colour: (link.number - 1) % COLOURS,
            dash: dash(link.number),
            line: format!("M{} {}h36", MARGIN + PAD, *y - 4),
        });
        line(MARGIN + PAD + 44, *y, "", link.number.to_string());
        for words in wrapped(&link.words, room, "") {
            line(MARGIN + PAD + 80, *y, "", words);
            *y += LINE;
        }
    }
    let lists =
        [("Masqueraded as the receiving gateway:", &scene.masquerades), (CONDITIONS, &scene.conditions)];
    for (heading, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        *y += LINE / 2;
        line(MARGIN + PAD, *y, "name", heading.to_owned());
        *y += LINE;
        for words in list.iter().flat_map(|words| wrapped(words, room, "")) {
            line(MARGIN + PAD + 80, *y, "", words);
            *y += LINE;
        }
    }
    if !scene.links.is_empty() {
        *y += LINE / 2;
        for words in ["dot: may open and be reached", "arrow out of a box: may open; into it: may be reached"]
        {
            line(MARGIN + PAD, *y, "faint", words.to_owned());
            *y += LINE;
        }
    }
}

/// The picture in words, for those who hear it.
fn description(scene: &Scene) -> String {
    let mut sentences: Vec<String> = Vec::new();
    for group in &scene.groups {
        let facts = group.facts.join(", ");
        sentences.push(format!("{}: {}, {facts}.", group.name, group.bridge));
        for cell in &group.cells {
            let port = cell.port.as_ref().map_or(String::new(), |port| format!(" at {port}"));
            sentences.push(format!("{} {}{port}.", cell.name, cell.address));
        }
    }
    sentences.push(scene.heading().to_owned());
    sentences.extend(scene.links.iter().map(|link| format!("{}: {}.", link.number, link.words)));
    sentences.extend(scene.conditions.first().map(|_| CONDITIONS.to_owned()));
    sentences.extend(scene.conditions.iter().map(|way| format!("{way}.")));
    sentences.join(" ")
}
