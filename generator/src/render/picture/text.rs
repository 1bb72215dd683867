//! The picture as text, in the shape of the user's own drawing, at most [`WIDTH`] columns wide whatever the names are.

use std::fmt::Write;

use super::lanes::{self, LaneRun, LaneSide, Spots};
use super::scene::{CONDITIONS, LinkRole, LocalhostBox, MAC, OUTSIDE, ProviderBox, Scene};
use super::{KernelNames, WIDTH};
use crate::model::{Endpoint, Name};
use crate::plan::Plan;

/// The maximum width of a line inside a provider's box; two boxes, the frame and three lanes still fit.
const INNER: usize = 38;
/// The distance between lanes; a number of two digits fits in between.
const PITCH: usize = 3;
/// The rows between two links in one lane: one for the number of the lower link, and an empty one.
const APART: usize = 2;

/// The drawing.
pub fn text(plan: &Plan, kernel: &KernelNames, around: &[Name]) -> String {
    let scene = Scene::of(plan, kernel, around);
    let boxes = scene.groups.iter().map(Boxed::of).chain([Boxed::of_localhost(&scene.localhost)]);
    let boxes: Vec<Boxed> = boxes.collect();
    let inner = boxes.iter().map(Boxed::width).max().unwrap_or(0);
    let drawing = Drawing::of(&scene, boxes, inner);
    let frame = framed(&drawing.rows());
    let mut out = outside(&scene, frame.lines().next().map_or(0, columns));
    out += &frame;
    legend(&scene, &drawing, &mut out);
    out
}

/// The internet, above the frame.
fn outside(scene: &Scene, width: usize) -> String {
    let nat = format!("NAT: {}", scene.internet);
    let mut out = String::new();
    for words in
        ["internet".to_owned(), OUTSIDE.to_owned()].into_iter().chain(wrapped(&nat, WIDTH - 4, "     "))
    {
        let _ = writeln!(out, "{}", format!("{words:^width$}").trim_end());
    }
    let _ = writeln!(out, "{}", format!("{:^width$}", "▲").trim_end());
    out
}

/// A box: its lines, and those at which an endpoint can be connected.
struct Boxed {
    title: Vec<String>,
    cells: Vec<Vec<String>>,
    /// Endpoints, each with the range of its lines counted from the top of the box.
    joints: Vec<(Endpoint, std::ops::Range<usize>)>,
}

impl Boxed {
    fn of(group: &ProviderBox) -> Self {
        let internet = if group.internet { "NAT to the internet" } else { "no internet" };
        let heading = [
            format!("{} {}", group.identity.mark(), group.name),
            group.bridge.clone(),
            format!("gateway {}", group.gateway),
            format!("network {}", group.network),
            internet.to_owned(),
        ];
        let title: Vec<String> = heading.iter().flat_map(|line| wrapped(line, INNER, "")).collect();
        let mut boxed = Self { title, cells: Vec::new(), joints: vec![(group.end.clone(), 1..3)] };
        let mut row = 1 + boxed.title.len();
        for cell in &group.cells {
            let lines = cell.port.iter().chain([&cell.name, &cell.address]);
            let lines: Vec<String> = lines.flat_map(|line| wrapped(line, INNER - 4, "  ")).collect();
            boxed.joints.push((cell.end.clone(), row + 1..row + 1 + lines.len()));
            row += lines.len() + 2;
            boxed.cells.push(lines);
        }
        boxed
    }

    fn of_localhost(localhost: &LocalhostBox) -> Self {
        let heading = [
            "localhost".to_owned(),
            localhost.bridge.clone(),
            format!("gateway {}", localhost.gateway),
            "aliases on lo0".to_owned(),
        ];
        let title = heading.iter().flat_map(|line| wrapped(line, INNER, "")).collect();
        let lines = |(what, leads, _): &(String, String, String)| {
            wrapped(&format!("{what} {leads}"), INNER - 4, "  ")
        };
        let lines: Vec<String> = localhost.lines.iter().flat_map(lines).collect();
        let cells = Some(lines).filter(|lines| !lines.is_empty()).into_iter().collect();
        Self { title, cells, joints: Vec::new() }
    }

    /// The width that its lines need. A cell is a box of its own, and so four columns wider.
    fn width(&self) -> usize {
        let cells = self.cells.iter().flatten().map(|line| columns(line) + 4);
        self.title.iter().map(|line| columns(line)).chain(cells).max().unwrap_or(0)
    }

    fn height(&self) -> usize {
        self.title.len() + self.cells.iter().map(|cell| cell.len() + 2).sum::<usize>() + 2
    }

    fn lines(&self, inner: usize) -> Vec<String> {
        let side = |line: &str| format!("│ {line:<inner$} │");
        let mut lines = vec![format!("┌{}┐", "─".repeat(inner + 2))];
        lines.extend(self.title.iter().map(|line| side(&format!("{line:^inner$}"))));
        for cell in &self.cells {
            let within = inner - 4;
            lines.push(side(&format!("┌{}┐", "─".repeat(inner - 2))));
            lines.extend(cell.iter().map(|line| side(&format!("│ {line:<within$} │"))));
            lines.push(side(&format!("└{}┘", "─".repeat(inner - 2))));
        }
        lines.push(format!("└{}┘", "─".repeat(inner + 2)));
        lines
    }
}

/// Everything inside the frame, with its position.
struct Drawing<'a> {
    boxes: Vec<(Boxed, LaneSide, usize)>,
    runs: Vec<LaneRun<'a>>,
    /// The number of lanes that are drawn; links in further lanes are only listed.
    lanes: usize,
    inner: usize,
    height: usize,
}

impl<'a> Drawing<'a> {
    fn of(scene: &'a Scene, boxes: Vec<Boxed>, inner: usize) -> Self {
        let (places, height) = lanes::columns(boxes.iter().map(|boxed| boxed.height() + 1));
        let boxes: Vec<_> =
            boxes.into_iter().zip(places).map(|(boxed, (side, row))| (boxed, side, row)).collect();
        let mut spots = Spots::new();
        for (boxed, side, top) in &boxes {
            // Connections of the two sides never share a row: it would be ambiguous which lane belongs to which.
            let parity = usize::from(*side == LaneSide::Right);
            for (end, lines) in &boxed.joints {
                let row = lines.clone().map(|line| top + line).find(|row| row % 2 == parity);
                spots.extend(row.map(|row| (end.clone(), (row, *side))));
            }
        }
        let mut runs = lanes::runs(&scene.links, &spots, APART);
        let room = (WIDTH - 4 - 2 * (inner + 4)).saturating_sub(PITCH - 1) / PITCH;
        let wanted = runs.iter().map(|run| run.lane + 1).max().unwrap_or(0);
        let lanes = wanted.min(room);
        runs.retain(|run| run.lane < lanes);
        Self { boxes, runs, lanes, inner, height }
    }

    /// The column of a lane.
    fn x(&self, lane: usize) -> usize {
        self.inner + 4 + PITCH - 1 + lane * PITCH
    }

    /// The column at which the boxes on the right begin.
    fn right(&self) -> usize {
        if self.lanes == 0 { self.inner + 5 } else { self.x(self.lanes) }
    }

    fn rows(&self) -> Vec<String> {
        let mut canvas =
            Canvas(vec![vec![' '; self.right() + self.inner + 4]; self.height.saturating_sub(1)]);
        for (boxed, side, top) in &self.boxes {
            let x = if *side == LaneSide::Left { 0 } else { self.right() };
            for (row, line) in boxed.lines(self.inner).iter().enumerate() {
                canvas.put(x, top + row, line);
            }
        }
        for run in &self.runs {
            for row in run.rows.0..=run.rows.1 {
                canvas.put(self.x(run.lane), row, "│");
            }
        }
        let stubs = lanes::stubs(&self.runs);
        for ((row, side), lane) in &stubs {
            let (from, to) = match side {
                LaneSide::Left => (self.inner + 3, self.x(*lane)),
                LaneSide::Right => (self.x(*lane), self.right()),
            };
            for x in from..=to {
                canvas.cross(x, *row);
            }
            match side {
                LaneSide::Left => canvas.put(from, *row, "├"),
                LaneSide::Right => canvas.put(to, *row, "┤"),
            }
        }
        for run in &self.runs {
            for (row, side, manner) in &run.taps {
                canvas.put(self.x(run.lane), *row, mark(*side, *manner));
            }
        }
        for run in &self.runs {
            let number = run.link.index.to_string();
            let above = run.rows.0.checked_sub(1);
            let inside = (run.rows.0..run.rows.1).map(|row| row + 1);
            let mut rows = above.into_iter().chain(inside).chain([run.rows.1 + 1]);
            let x = self.x(run.lane);
            if let Some(row) = rows.find(|row| canvas.is_free(x, *row)) {
                canvas.put(x, row, &number);
            }
        }
        canvas.0.into_iter().map(|row| row.into_iter().collect()).collect()
    }
}

/// Characters by row and column.
struct Canvas(Vec<Vec<char>>);

impl Canvas {
    fn put(&mut self, x: usize, y: usize, text: &str) {
        for (x, character) in (x..).zip(text.chars()) {
            if let Some(place) = self.0.get_mut(y).and_then(|row| row.get_mut(x)) {
                *place = character;
            }
        }
    }

    /// Draws a horizontal line across the side of a box or across a lane.
    fn cross(&mut self, x: usize, y: usize) {
        let is_lane = self.0.get(y).and_then(|row| row.get(x)) == Some(&'│');
        self.put(x, y, if is_lane { "┼" } else { "─" });
    }

    /// Whether a two-digit number fits here: only a lane may be in the way.
    fn is_free(&self, x: usize, y: usize) -> bool {
        let at = |x: usize| self.0.get(y).and_then(|row| row.get(x)).copied();
        matches!(at(x), Some(' ' | '│')) && at(x + 1) == Some(' ')
    }
}

/// The arrow of a connection: both ways for both, out of the box for a source, into it for a destination.
fn mark(side: LaneSide, manner: LinkRole) -> &'static str {
    match (manner, side) {
        (LinkRole::Both, _) => "↔",
        (LinkRole::Opens, LaneSide::Left) | (LinkRole::Reached, LaneSide::Right) => "▶",
        (LinkRole::Opens, LaneSide::Right) | (LinkRole::Reached, LaneSide::Left) => "◀",
    }
}

fn framed(rows: &[String]) -> String {
    let title = format!("macOS: this Mac {MAC}");
    let width = rows.iter().map(|row| columns(row)).chain([columns(&title)]).max().unwrap_or(0);
    let rule = "─".repeat(width + 2);
    let mut out = format!("┌{rule}┐\n");
    let empty = String::new();
    let title = format!("{title:^width$}");
    for row in [&title, &empty].into_iter().chain(rows).chain([&empty]) {
        let _ = writeln!(out, "│ {row:<width$} │");
    }
    let _ = writeln!(out, "└{rule}┘");
    out
}

/// The links in words.
fn legend(scene: &Scene, drawing: &Drawing, out: &mut String) {
    let _ = writeln!(out, "\n{}", scene.heading());
    let wide = scene.links.iter().map(|link| columns(&link.name)).max().unwrap_or(0);
    for link in &scene.links {
        listed(out, &format!("  {:<wide$}  {}", link.name, link.words()));
    }
    if scene.conditions {
        let _ = writeln!(out, "\n{CONDITIONS}");
    }
    if drawing.lanes > 0 {
        out.push_str("\nAn arrow out of a box: it may open. Into a box: it may be reached. ↔ both.\n");
    }
    let left = scene.left.clone().into_iter();
    for line in left.chain(Scene::no_room(scene.links.len() - drawing.runs.len())) {
        let _ = writeln!(out, "{line}");
    }
}

/// Prints a line, wrapped at the maximum width; continuation lines are indented.
fn listed(out: &mut String, line: &str) {
    for line in wrapped(line, WIDTH, "       ") {
        let _ = writeln!(out, "{line}");
    }
}

/// Wraps a line at spaces to at most `width` columns, except for longer words; all lines but the first begin with
/// `indent`.
pub(super) fn wrapped(line: &str, width: usize, indent: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for (index, word) in line.split(' ').enumerate() {
        let last = lines.last_mut().expect("one at least");
        let is_bare = last.trim().is_empty();
        if index > 0 && !is_bare && columns(last) + 1 + columns(word) > width {
            lines.push(format!("{indent}{word}"));
        } else {
            if index > 0 {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

pub(super) fn columns(line: &str) -> usize {
    line.chars().count()
}
