//! The sheet: the position of everything, from the internet at the top to localhost at the bottom.

use std::fmt::Write;

use super::super::layout::{BoxEndpoint, Column, Joined, Layout, layout};
use super::super::scene::{DrawnLink, LinkRole, MAC, OUTSIDE, Scene};
use super::super::text::wrapped;
use super::boxes::{Boxes, FOOT};
use super::elements::{
    Alias, Boxed, FEW_LINES, LABEL, LINE, Line, Linked, MARGIN, MOST_ALIASES, MOST_LINKS, PAD, Rectangle,
    Styled, Text, bold, cut, small, wide,
};
use crate::model::Endpoint;

/// The distance between boxes.
const GAP: usize = 14;
/// The minimum and maximum width of the space for lines between a column and the links.
const LINES: (usize, usize) = (70, 150);
/// The x coordinate at which boxes begin.
const LEFT: usize = 2 * MARGIN;
/// The length of an arrowhead.
const HEAD: usize = 8;

/// The positions of everything.
pub struct Sheet {
    /// The width of the picture.
    pub width: usize,
    /// The y coordinate of the frame's upper edge.
    pub frame: usize,
    /// The indices of boxes that have lines; the layout has their positions.
    joined: Vec<usize>,
    /// The indices of all other boxes.
    loose: Vec<usize>,
    layout: Layout,
    /// The links that are drawn with lines: index in the scene, label, endpoints.
    drawn: Vec<Drawn>,
    /// The links from every provider to every provider, by index in the scene.
    banners: Vec<usize>,
    label: usize,
    lines: usize,
}

struct Drawn {
    link: usize,
    label: Vec<(&'static str, String)>,
    ends: Vec<Endpoint>,
}

impl Sheet {
    /// Lays out a scene.
    pub fn of(scene: &Scene, boxes: &Boxes) -> Self {
        let is_many = scene.groups.len() > FEW_LINES;
        let by_end = &boxes.ends;
        let (mut drawn, mut banners, mut joined_links) = (Vec::new(), Vec::new(), Vec::new());
        for (number, link) in scene.links.iter().enumerate() {
            if is_many && link.everywhere == [true, true] {
                banners.push(number);
                continue;
            }
            if drawn.len() == MOST_LINKS {
                continue;
            }
            let is_word = |end: &Endpoint| {
                is_many && matches!(end, Endpoint::Provider(_)) && link.everywhere != [false, false]
            };
            let shown = |(end, _): &(&Endpoint, &LinkRole)| !is_word(end) && by_end.contains_key(end);
            let (ends, joints): (Vec<Endpoint>, Vec<BoxEndpoint>) = link
                .taps
                .iter()
                .filter(shown)
                .map(|(end, manner)| (end.clone(), joint(by_end[end], *manner)))
                .unzip();
            let label = label(link, ends.len());
            joined_links.push(Joined { height: label.len() * LINE + 6, joints });
            drawn.push(Drawn { link: number, label, ends });
        }
        let count = boxes.all.len();
        let mut is_joined = vec![false; count];
        joined_links.iter().flat_map(|link| &link.joints).for_each(|joint| is_joined[joint.boxed] = true);
        let (joined, loose): (Vec<usize>, Vec<usize>) = (0..count).partition(|boxed| is_joined[*boxed]);
        let mut place = vec![0; count];
        joined.iter().enumerate().for_each(|(at, boxed)| place[*boxed] = at);
        for joint in joined_links.iter_mut().flat_map(|link| &mut link.joints) {
            joint.boxed = place[joint.boxed];
        }
        let slots: Vec<Vec<usize>> = joined.iter().map(|boxed| boxes.slots(*boxed)).collect();
        let layout = layout(&slots, FOOT, &joined_links);
        let of_label =
            |(class, words): &(&str, String)| if *class == "word" { wide(words) } else { small(words) };
        let label = drawn.iter().flat_map(|it| it.label.iter().map(of_label)).max().unwrap_or(0) + 2 * PAD;
        let lines: usize = joined_links.iter().map(|link| link.joints.len()).sum();
        let lines = (LINES.0 + lines * 2).min(LINES.1);
        let mut sheet = Self { width: 0, frame: 0, joined, loose, layout, drawn, banners, label, lines };
        sheet.width = sheet.wanted(boxes) + 4 * MARGIN;
        sheet
    }

    /// How many links are on it.
    pub fn links_shown(&self) -> usize {
        self.drawn.len() + self.banners.len()
    }

    /// The width inside the frame.
    fn wanted(&self, boxes: &Boxes) -> usize {
        let middle = if self.drawn.is_empty() { GAP } else { self.label + 2 * self.lines };
        let columns = if self.joined.is_empty() { 0 } else { 2 * boxes.width + middle };
        // Choose the number of columns such that the sheet is wider than high.
        let height: usize =
            self.loose.iter().map(|boxed| boxes.slots(*boxed).iter().sum::<usize>() + FOOT + GAP).sum();
        let mut beside = 1;
        while beside < self.loose.len() && beside * (boxes.width + GAP) * beside * 5 < height * 8 {
            beside += 1;
        }
        columns.max(beside * (boxes.width + GAP) - GAP.min(beside * (boxes.width + GAP))).max(620)
    }

    fn inner(&self) -> usize {
        self.width - 4 * MARGIN
    }

    /// Places the frame below the internet; returns the first y coordinate inside it.
    pub fn top(&mut self, _scene: &Scene) -> usize {
        self.frame = MARGIN + 40 + 28;
        self.frame + LINE + 16
    }

    /// The internet, above the frame.
    pub fn internet(&self, scene: &Scene) -> Styled {
        let (x, y) = (self.width / 2 - 90, MARGIN);
        let at = |y, class, words: &str, width: usize| Text {
            x: self.width / 2 - width / 2,
            y,
            class,
            words: words.to_owned(),
        };
        Styled {
            class: "outside",
            stands_for: "internet",
            note: format!("the internet is reached with NAT by {}; it {OUTSIDE}", scene.internet),
            area: Rectangle { x, y, width: 180, height: 40 },
            texts: vec![
                at(y + 17, "name", "internet", bold("internet")),
                at(y + 33, "small", OUTSIDE, small(OUTSIDE)),
            ],
        }
    }

    /// The links with their lines. Those between all providers are drawn as banners above all boxes.
    pub fn links(&mut self, scene: &Scene, boxes: &Boxes, y: &mut usize) -> Vec<Linked> {
        let mut links = Vec::new();
        for number in &self.banners {
            let link = &scene.links[*number];
            let words = format!("{}   {}", link.name, arrowed(link));
            let words = cut(&words, self.inner() * 2 / 15 - 4);
            let label = Rectangle { x: LEFT, y: *y, width: self.inner(), height: LINE + 8 };
            let x = LEFT + (self.inner() - wide(&words)) / 2;
            links.push(Linked {
                index: link.index,
                words: format!("{}: {}", link.name, link.words()),
                lines: Vec::new(),
                label,
                texts: vec![Text { x, y: *y + 16, class: "word", words }],
            });
            *y += LINE + 8 + GAP;
        }
        let x = LEFT + (self.inner() - self.label) / 2;
        for (at, drawn) in self.drawn.iter().enumerate() {
            let link = &scene.links[drawn.link];
            let top = *y + self.layout.links[at];
            let height = drawn.label.len() * LINE + 6;
            let texts = drawn.label.iter().enumerate().map(|(line, (class, words))| Text {
                x: x + PAD,
                y: top + 15 + line * LINE,
                class,
                words: words.clone(),
            });
            let at_label = self.spread(boxes, drawn, &self.layout.joints[at], height);
            let ends = drawn.ends.iter().zip(&self.layout.joints[at]).zip(at_label);
            let ends = ends.map(|((end, from), to)| self.line(scene, boxes, link, end, *y + from, top + to));
            links.push(Linked {
                index: link.index,
                words: format!("{}: {}", link.name, link.words()),
                lines: ends.collect(),
                label: Rectangle { x, y: top, width: self.label, height },
                texts: texts.collect(),
            });
        }
        links
    }

    /// The y coordinates at which the lines of a link meet its label: on each side from top to bottom, in the order of
    /// their boxes.
    fn spread(&self, boxes: &Boxes, drawn: &Drawn, joints: &[usize], height: usize) -> Vec<usize> {
        let side = |end: &Endpoint| self.layout.boxes[self.place(boxes.ends[end].0)].side;
        let mut at = vec![0; joints.len()];
        for wanted in [Column::Left, Column::Right] {
            let mut lines: Vec<usize> =
                (0..joints.len()).filter(|line| side(&drawn.ends[*line]) == wanted).collect();
            lines.sort_by_key(|line| joints[*line]);
            for (place, line) in lines.iter().enumerate() {
                at[*line] = height * (place + 1) / (lines.len() + 1);
            }
        }
        at
    }

    /// The index of a box among those that have lines.
    fn place(&self, boxed: usize) -> usize {
        self.joined.binary_search(&boxed).unwrap_or_default()
    }

    /// The line from a box to a link.
    fn line(
        &self,
        scene: &Scene,
        boxes: &Boxes,
        link: &DrawnLink,
        end: &Endpoint,
        from: usize,
        to: usize,
    ) -> Line {
        let (number, _) = boxes.ends[end];
        let is_left = self.layout.boxes[self.place(number)].side == Column::Left;
        let label = LEFT + (self.inner() - self.label) / 2;
        // From the box to the label.
        let (at_box, at_label) = if is_left {
            (LEFT + boxes.width, label)
        } else {
            (LEFT + self.inner() - boxes.width, label + self.label)
        };
        let manner = link.taps[end];
        let forth = |x: usize, by: usize| if is_left { x + by } else { x - by };
        let back = |x: usize, by: usize| if is_left { x - by } else { x + by };
        let starts = if manner == LinkRole::Opens { at_box } else { forth(at_box, HEAD - 1) };
        let stops = if manner == LinkRole::Reached { at_label } else { back(at_label, HEAD - 1) };
        let bend = self.lines * 11 / 20;
        let path = format!(
            "M{starts} {from}C{} {from} {} {to} {stops} {to}",
            forth(at_box, bend),
            back(at_label, bend)
        );
        let mut heads = String::new();
        let points = |heads: &mut String, x: usize, y: usize, is_right: bool| {
            let length = if is_right { format!("-{HEAD}") } else { HEAD.to_string() };
            let _ = write!(heads, "M{x} {y}l{length}-4v8z");
        };
        if manner != LinkRole::Opens {
            points(&mut heads, at_box, from, !is_left);
        }
        if manner != LinkRole::Reached {
            points(&mut heads, at_label, to, is_left);
        }
        Line { colour: scene.groups[number].identity.colour, end: end.name().to_string(), path, heads }
    }

    /// The boxes of the two columns, and below them those without lines.
    pub fn boxes(&self, _scene: &Scene, boxes: &Boxes, y: &mut usize) -> Vec<Boxed> {
        let mut drawn = Vec::new();
        for (boxed, placed) in self.joined.iter().zip(&self.layout.boxes) {
            let x = match placed.side {
                Column::Left => LEFT,
                Column::Right => LEFT + self.inner() - boxes.width,
            };
            drawn.push(self.boxed(boxes, *boxed, (x, *y + placed.y), &placed.slots));
        }
        *y += self.layout.height + if self.joined.is_empty() { 0 } else { GAP };
        let beside = ((self.inner() + GAP) / (boxes.width + GAP)).max(1);
        let mut tops = vec![*y; beside];
        for boxed in &self.loose {
            let slots = boxes.slots(*boxed);
            let height = slots.iter().sum::<usize>() + FOOT;
            let column = (0..beside).min_by_key(|column| tops[*column]).unwrap_or(0);
            let x = LEFT + column * (boxes.width + GAP);
            drawn.push(self.boxed(boxes, *boxed, (x, tops[column]), &slots));
            tops[column] += height + GAP;
        }
        *y = tops.into_iter().max().unwrap_or(*y);
        drawn
    }

    #[expect(clippy::unused_self, reason = "a box belongs to its sheet")]
    fn boxed(&self, boxes: &Boxes, number: usize, (x, y): (usize, usize), slots: &[usize]) -> Boxed {
        let content = &boxes.all[number];
        let height = slots.iter().sum::<usize>() + FOOT;
        Boxed {
            name: content.group.name.clone(),
            colour: content.group.identity.colour,
            note: content.note(),
            outline: Rectangle { x, y, width: boxes.width, height },
            bar: Rectangle { x, y, width: 4, height },
            mark: content.group.identity.path(),
            mark_x: x + PAD + 7,
            mark_y: y + 14,
            texts: content.texts(x, y, boxes.width),
            rows: content.rows(x, y, boxes.width, slots),
        }
    }

    /// This Mac and its localhost group, at the bottom of the frame.
    pub fn bottom(&self, scene: &Scene, y: &mut usize) -> (Vec<Styled>, Vec<Alias>) {
        let localhost = &scene.localhost;
        let mac = bold("this Mac").max(small(MAC)) + 2 * PAD;
        let x = LEFT + mac + GAP;
        let width = self.inner() - mac - GAP;
        let facts = format!("{} · gateway {} · aliases on lo0", localhost.bridge, localhost.gateway);
        let shown = localhost.lines.iter().take(MOST_ALIASES);
        let words = |(what, leads, _): &(String, String, String)| format!("{what} {leads}");
        let widest = shown.clone().map(|line| small(&words(line))).max().unwrap_or(0) + 2 * PAD;
        let beside = ((width - PAD) / widest.max(1)).max(1);
        let rows = localhost.lines.len().min(MOST_ALIASES).div_ceil(beside);
        let facts_width = (width - 2 * PAD) / 7;
        let facts = wrapped(&facts, facts_width, "");
        let first = *y + 18 + LINE * (facts.len() + 1);
        let mut aliases = Vec::new();
        for (number, line) in shown.enumerate() {
            let (column, row) = (number / rows.max(1), number % rows.max(1));
            let text = Text {
                x: x + PAD + column * widest,
                y: first + row * LINE,
                class: "small",
                words: words(line),
            };
            aliases.push(Alias { volume: line.2.clone(), text });
        }
        let more = localhost.lines.len().saturating_sub(MOST_ALIASES);
        let mut texts = vec![Text { x: x + PAD, y: *y + 18, class: "name", words: "localhost".to_owned() }];
        let lines = facts.into_iter().enumerate();
        texts.extend(lines.map(|(at, words)| Text {
            x: x + PAD,
            y: *y + 18 + LINE * (at + 1),
            class: "small",
            words,
        }));
        let mut height = first + rows * LINE - *y - 6;
        if more > 0 {
            texts.push(Text {
                x: x + PAD,
                y: first + rows * LINE,
                class: "small",
                words: format!("{more} more"),
            });
            height += LINE;
        }
        let at = |y, class, words: &str| Text { x: LEFT + PAD, y, class, words: words.to_owned() };
        let styled = |stands_for, note, area, texts| Styled { class: "here", stands_for, note, area, texts };
        let note = format!("this Mac {MAC}, and every volume answers it");
        let here = vec![
            styled(
                "mac",
                note,
                Rectangle { x: LEFT, y: *y, width: mac, height },
                vec![at(*y + 18, "name", "this Mac"), at(*y + 18 + LINE, "small", MAC)],
            ),
            styled(
                "localhost",
                "aliases of this Mac's loopback, each for a volume; published ports lead to the volume"
                    .to_owned(),
                Rectangle { x, y: *y, width, height },
                texts,
            ),
        ];
        *y += height + MARGIN;
        (here, aliases)
    }
}

fn joint((boxed, slot): (usize, usize), manner: LinkRole) -> BoxEndpoint {
    BoxEndpoint { boxed, slot, opens: manner != LinkRole::Reached, reached: manner != LinkRole::Opens }
}

/// The endpoints with an arrow for the direction.
fn arrowed(link: &DrawnLink) -> String {
    let arrow = if link.both { "↔" } else { "→" };
    format!("{}   {}", link.ends.replace("->", arrow), link.says.join(", "))
}

/// The lines of a label: name and service, other properties, and the endpoints if the lines do not show them.
fn label(link: &DrawnLink, lines: usize) -> Vec<(&'static str, String)> {
    let (service, rest) =
        link.says.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    let first = format!("{} {service}", link.name);
    let mut label = vec![("word", cut(&first, LABEL))];
    let rest: Vec<&str> = rest.iter().map(String::as_str).filter(|word| *word != "both ways").collect();
    if !rest.is_empty() {
        label.push(("small", cut(&rest.join(", "), LABEL)));
    }
    if lines != 2 || link.everywhere != [false, false] {
        let arrow = if link.both { "↔" } else { "→" };
        label.push(("small", cut(&link.ends.replace("->", arrow), LABEL)));
    }
    label
}
