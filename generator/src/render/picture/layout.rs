//! The positions of boxes and links in the SVG picture: boxes in two columns, links in a column between them, and a
//! line from each link to each of its endpoints.
//!
//! This is a layered layout with three layers. Every line connects neighbouring layers, so that none runs behind a box
//! or through another link. Sources are placed on the left and destinations on the right, as far as the links allow;
//! then boxes and links are sorted to reduce crossings, and aligned with what they are connected to. Never: knows the
//! content of boxes.

/// The minimum height that a line needs at a box.
const JOINT: usize = 7;
/// The distance between the boxes of a column.
const GAP: usize = 12;
/// The distance between links.
const LINK_GAP: usize = 6;
/// How many times boxes and links are sorted.
const SWEEPS: usize = 20;
/// How many boxes are tried in swapping sides pairwise, and up to how many lines neighbours are exchanged: each attempt
/// evaluates the layout anew.
const FEW: usize = 64;
const FEW_LINES: usize = 300;

/// The side of the links on which a box is placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// To the left of the links.
    Left,
    /// To the right of the links.
    Right,
}

/// An endpoint of a link: the slot of a box, and what the endpoint may do.
#[derive(Debug, Clone, Copy)]
pub struct BoxEndpoint {
    /// The index of the box.
    pub boxed: usize,
    /// The slot: 0 is the heading, rows count from 1.
    pub slot: usize,
    /// Whether it may open connections.
    pub opens: bool,
    /// Whether it may be reached.
    pub reached: bool,
}

/// A link: its height and its endpoints.
#[derive(Debug, Clone)]
pub struct Joined {
    /// In pixels.
    pub height: usize,
    /// Its endpoints.
    pub joints: Vec<BoxEndpoint>,
}

/// A box with its position.
#[derive(Debug, Clone)]
pub struct PlacedBox {
    /// The column.
    pub side: Column,
    /// The y coordinate of its upper edge.
    pub y: usize,
    /// The heights of its slots.
    pub slots: Vec<usize>,
}

/// The positions of everything.
#[derive(Debug)]
pub struct Layout {
    /// The boxes, in their given order.
    pub boxes: Vec<PlacedBox>,
    /// The y coordinate of each link's upper edge.
    pub links: Vec<usize>,
    /// For each link, the y coordinates at which its lines meet the boxes.
    pub joints: Vec<Vec<usize>>,
    /// The total height.
    pub height: usize,
}

/// Lays out boxes with slots of these heights, each with a margin `foot` at its bottom, and the links between them.
pub fn layout(slots: &[Vec<usize>], foot: usize, links: &[Joined]) -> Layout {
    let slots = roomy(slots, links);
    let heights: Vec<usize> = slots.iter().map(|slots| slots.iter().sum::<usize>() + foot).collect();
    let sides = sides(&heights, links);
    let mut work = Work { slots, heights, links, sides, boxes: [Vec::new(), Vec::new()], order: Vec::new() };
    work.sort();
    work.place()
}

/// Makes slots high enough for the lines that connect to them.
fn roomy(slots: &[Vec<usize>], links: &[Joined]) -> Vec<Vec<usize>> {
    let mut count: Vec<Vec<usize>> = slots.iter().map(|slots| vec![0; slots.len()]).collect();
    for joint in links.iter().flat_map(|link| &link.joints) {
        count[joint.boxed][joint.slot] += 1;
    }
    let wide = |(height, lines): (&usize, usize)| (*height).max((lines + 1) * JOINT);
    slots.iter().zip(count).map(|(slots, count)| slots.iter().zip(count).map(wide).collect()).collect()
}

/// Chooses the side of each box.
fn sides(heights: &[usize], links: &[Joined]) -> Vec<Column> {
    let count = heights.len();
    let mut side: Vec<Column> =
        (0..count).map(|it| if it % 2 == 0 { Column::Left } else { Column::Right }).collect();
    // For each pair of connected boxes: they should be on different sides, with the source on the left.
    let mut wishes: Vec<Vec<(usize, bool, i64)>> = vec![Vec::new(); count];
    for link in links.iter().filter(|link| link.joints.len() <= 12) {
        for opener in link.joints.iter().filter(|joint| joint.opens) {
            for reached in link.joints.iter().filter(|joint| joint.reached && joint.boxed != opener.boxed) {
                wishes[opener.boxed].push((reached.boxed, true, 1));
                wishes[reached.boxed].push((opener.boxed, false, 1));
            }
        }
    }
    let average = (heights.iter().sum::<usize>() / count.max(1)).max(1);
    let cost_of = |side: &[Column], boxed: usize| -> i64 {
        let one = |(other, opens, weight): &(usize, bool, i64)| {
            let wanted = if *opens { Column::Left } else { Column::Right };
            let apart = if side[boxed] == side[*other] { 20 } else { 0 };
            let against = if side[boxed] == wanted { 0 } else { 6 };
            weight * (apart + against)
        };
        wishes[boxed].iter().map(one).sum()
    };
    let balance = |side: &[Column]| -> i64 {
        let of = |wanted| -> usize {
            heights.iter().zip(side).filter(|(_, side)| **side == wanted).map(|(height, _)| height).sum()
        };
        let tenths = of(Column::Left).abs_diff(of(Column::Right)) * 10 / average;
        i64::try_from(tenths).unwrap_or(i64::MAX) * 3
    };
    let other = |side: Column| if side == Column::Left { Column::Right } else { Column::Left };
    for _ in 0..8 {
        let mut better = false;
        for boxed in 0..count {
            let before = cost_of(&side, boxed) * 2 + balance(&side);
            side[boxed] = other(side[boxed]);
            if cost_of(&side, boxed) * 2 + balance(&side) < before {
                better = true;
            } else {
                side[boxed] = other(side[boxed]);
            }
        }
        for a in 0..count.min(FEW) {
            for b in a + 1..count.min(FEW) {
                if side[a] == side[b] {
                    continue;
                }
                let cost = |side: &[Column]| cost_of(side, a) + cost_of(side, b);
                let before = cost(&side) * 2 + balance(&side);
                side.swap(a, b);
                if cost(&side) * 2 + balance(&side) < before {
                    better = true;
                } else {
                    side.swap(a, b);
                }
            }
        }
        if !better {
            break;
        }
    }
    side
}

struct Work<'a> {
    slots: Vec<Vec<usize>>,
    heights: Vec<usize>,
    links: &'a [Joined],
    sides: Vec<Column>,
    /// The boxes of each column, from top to bottom.
    boxes: [Vec<usize>; 2],
    /// The links, from top to bottom.
    order: Vec<usize>,
}

impl Work<'_> {
    fn column(&self, boxed: usize) -> usize {
        usize::from(self.sides[boxed] == Column::Right)
    }

    /// Sorts boxes and links to reduce crossings.
    fn sort(&mut self) {
        for boxed in 0..self.sides.len() {
            let column = self.column(boxed);
            self.boxes[column].push(boxed);
        }
        self.order = (0..self.links.len()).collect();
        let mut best = (usize::MAX, self.boxes.clone(), self.order.clone());
        for _ in 0..SWEEPS {
            let at = self.stacked();
            let middle = |link: &Joined| mean(link.joints.iter().map(|joint| self.middle(&at, joint)));
            let middles: Vec<usize> = self.links.iter().map(middle).collect();
            self.order.sort_by_key(|link| middles[*link]);
            let count = self.crossings();
            if count < best.0 {
                best = (count, self.boxes.clone(), self.order.clone());
            }
            let links = self.stacked_links();
            let mut wanted: Vec<Vec<usize>> = vec![Vec::new(); self.sides.len()];
            for (link, y) in self.links.iter().zip(&links) {
                for joint in &link.joints {
                    wanted[joint.boxed].push(*y);
                }
            }
            let wanted: Vec<usize> = wanted.into_iter().map(mean).collect();
            for column in &mut self.boxes {
                column.sort_by_key(|boxed| wanted[*boxed]);
            }
        }
        (_, self.boxes, self.order) = best;
        self.exchange();
    }

    /// Exchanges neighbours while that reduces crossings.
    fn exchange(&mut self) {
        if self.links.iter().map(|link| link.joints.len()).sum::<usize>() > FEW_LINES {
            return;
        }
        let mut count = self.crossings();
        for _ in 0..6 {
            let before = count;
            for column in 0..2 {
                for at in 1..self.boxes[column].len() {
                    self.boxes[column].swap(at - 1, at);
                    match self.crossings() {
                        fewer if fewer < count => count = fewer,
                        _ => self.boxes[column].swap(at - 1, at),
                    }
                }
            }
            for at in 1..self.order.len() {
                self.order.swap(at - 1, at);
                match self.crossings() {
                    fewer if fewer < count => count = fewer,
                    _ => self.order.swap(at - 1, at),
                }
            }
            if count == before {
                break;
            }
        }
    }

    /// The y coordinates of the boxes' upper edges, stacked without extra space.
    fn stacked(&self) -> Vec<usize> {
        let mut at = vec![0; self.heights.len()];
        for column in &self.boxes {
            let mut y = 0;
            for boxed in column {
                at[*boxed] = y;
                y += self.heights[*boxed] + GAP;
            }
        }
        at
    }

    /// The y coordinates of the links' middles, likewise.
    fn stacked_links(&self) -> Vec<usize> {
        let (mut at, mut y) = (vec![0; self.links.len()], 0);
        for link in &self.order {
            at[*link] = y + self.links[*link].height / 2;
            y += self.links[*link].height + LINK_GAP;
        }
        at
    }

    /// The y coordinate of the middle of an endpoint's slot.
    fn middle(&self, boxes: &[usize], joint: &BoxEndpoint) -> usize {
        let slots = &self.slots[joint.boxed];
        boxes[joint.boxed] + slots[..joint.slot].iter().sum::<usize>() + slots[joint.slot] / 2
    }

    /// The number of pairs of lines that cross.
    fn crossings(&self) -> usize {
        let (boxes, links) = (self.stacked(), self.stacked_links());
        let mut sides: [Vec<(usize, usize)>; 2] = Default::default();
        for (link, y) in self.links.iter().zip(&links) {
            for joint in &link.joints {
                sides[self.column(joint.boxed)].push((*y, self.middle(&boxes, joint)));
            }
        }
        sides.into_iter().map(inversions).sum()
    }

    /// Computes the final positions.
    fn place(self) -> Layout {
        let mut boxes = self.stacked();
        let mut links = vec![0; self.links.len()];
        for _ in 0..4 {
            let wanted = |link: &usize| {
                let middle = mean(self.links[*link].joints.iter().map(|joint| self.middle(&boxes, joint)));
                middle.saturating_sub(self.links[*link].height / 2)
            };
            let wanted: Vec<usize> = self.order.iter().map(wanted).collect();
            let heights: Vec<usize> =
                self.order.iter().map(|link| self.links[*link].height + LINK_GAP).collect();
            for (link, y) in self.order.iter().zip(level(&wanted, &heights)) {
                links[*link] = y;
            }
            let mut pulls: Vec<Vec<usize>> = vec![Vec::new(); self.sides.len()];
            for (link, y) in self.links.iter().zip(&links) {
                for joint in &link.joints {
                    let inside = self.middle(&boxes, joint) - boxes[joint.boxed];
                    pulls[joint.boxed].push((y + link.height / 2).saturating_sub(inside));
                }
            }
            let pulls: Vec<usize> = pulls.into_iter().map(mean).collect();
            for column in &self.boxes {
                let wanted: Vec<usize> = column.iter().map(|boxed| pulls[*boxed]).collect();
                let heights: Vec<usize> = column.iter().map(|boxed| self.heights[*boxed] + GAP).collect();
                for (boxed, y) in column.iter().zip(level(&wanted, &heights)) {
                    boxes[*boxed] = y;
                }
            }
        }
        let top = boxes.iter().chain(&links).copied().min().unwrap_or(0);
        boxes.iter_mut().chain(&mut links).for_each(|y| *y -= top);
        self.finish(boxes, links)
    }

    /// Distributes the lines over their slots, in the vertical order of their links.
    fn finish(self, boxes: Vec<usize>, links: Vec<usize>) -> Layout {
        let mut by_slot: std::collections::BTreeMap<(usize, usize), Vec<(usize, usize)>> =
            std::collections::BTreeMap::new();
        for (number, link) in self.links.iter().enumerate() {
            for (joint, it) in link.joints.iter().enumerate() {
                by_slot.entry((it.boxed, it.slot)).or_default().push((number, joint));
            }
        }
        let mut joints: Vec<Vec<usize>> = self.links.iter().map(|link| vec![0; link.joints.len()]).collect();
        for ((boxed, slot), mut lines) in by_slot {
            lines.sort_by_key(|(link, _)| links[*link] + self.links[*link].height / 2);
            let slots = &self.slots[boxed];
            let top = boxes[boxed] + slots[..slot].iter().sum::<usize>();
            for (place, (link, joint)) in lines.iter().enumerate() {
                joints[*link][*joint] = top + slots[slot] * (place + 1) / (lines.len() + 1);
            }
        }
        let ends = boxes.iter().zip(&self.heights).map(|(y, height)| y + height);
        let ends = ends.chain(links.iter().zip(self.links).map(|(y, link)| y + link.height));
        let height = ends.max().unwrap_or(0);
        let placed = boxes.into_iter().zip(self.sides).zip(self.slots);
        let boxes = placed.map(|((y, side), slots)| PlacedBox { side, y, slots }).collect();
        Layout { boxes, links, joints, height }
    }
}

fn mean(all: impl IntoIterator<Item = usize>) -> usize {
    let (sum, count) = all.into_iter().fold((0, 0), |(sum, count), it| (sum + it, count + 1));
    sum / std::cmp::max(count, 1)
}

/// Positions items of these heights in a column, each as near as possible to the wanted position and without overlap:
/// least squares, by pooling adjacent items that push each other.
fn level(wanted: &[usize], heights: &[usize]) -> Vec<usize> {
    // Each pool has the sum of its items' wishes and their number. A wish is the position that the first item of the
    // column would need.
    let mut pools: Vec<(i64, i64)> = Vec::new();
    let mut before = 0i64;
    let whole = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    for (wanted, height) in wanted.iter().zip(heights) {
        pools.push((whole(*wanted) - before, 1));
        before += whole(*height);
        while let [.., (a, m), (b, n)] = *pools.as_slice()
            && a * n > b * m
        {
            pools.pop();
            pools.pop();
            pools.push((a + b, m + n));
        }
    }
    let mut found = Vec::with_capacity(wanted.len());
    let (mut before, mut heights) = (0i64, heights.iter());
    for (sum, count) in pools {
        let first = (sum / count).max(0);
        for height in heights.by_ref().take(usize::try_from(count).unwrap_or(0)) {
            found.push(usize::try_from(first + before).unwrap_or(0));
            before += whole(*height);
        }
    }
    found
}

/// The number of inversions: pairs whose second numbers are in the reverse order of their first.
fn inversions(mut pairs: Vec<(usize, usize)>) -> usize {
    pairs.sort_unstable();
    let mut numbers: Vec<usize> = pairs.into_iter().map(|(_, number)| number).collect();
    let mut room = numbers.clone();
    sorted(&mut numbers, &mut room)
}

fn sorted(numbers: &mut [usize], room: &mut [usize]) -> usize {
    if numbers.len() < 2 {
        return 0;
    }
    let half = numbers.len() / 2;
    let mut count = sorted(&mut numbers[..half], room) + sorted(&mut numbers[half..], room);
    let (mut left, mut right) = (0, half);
    for place in room.iter_mut().take(numbers.len()) {
        if left < half && (right == numbers.len() || numbers[left] <= numbers[right]) {
            *place = numbers[left];
            left += 1;
        } else {
            *place = numbers[right];
            count += half - left;
            right += 1;
        }
    }
    let length = numbers.len();
    numbers.copy_from_slice(&room[..length]);
    count
}

#[cfg(test)]
mod tests {
    use super::{BoxEndpoint, Column, Joined, inversions, layout, level};

    fn link(from: usize, to: usize) -> Joined {
        let joint = |boxed, opens| BoxEndpoint { boxed, slot: 0, opens, reached: !opens };
        Joined { height: 20, joints: vec![joint(from, true), joint(to, false)] }
    }

    #[test]
    fn whoever_opens_stands_on_the_left() {
        let found = layout(&vec![vec![40]; 4], 0, &[link(3, 0), link(2, 1), link(3, 1)]);
        let sides: Vec<Column> = found.boxes.iter().map(|it| it.side).collect();
        assert_eq!(sides, [Column::Right, Column::Right, Column::Left, Column::Left]);
    }

    #[test]
    fn lines_that_need_not_cross_do_not() {
        let found = layout(&vec![vec![40]; 6], 0, &[link(0, 5), link(1, 4), link(2, 3)]);
        let (mut left, mut right): (Vec<usize>, Vec<usize>) =
            found.joints.iter().map(|it| (it[0], it[1])).unzip();
        let pairs: Vec<(usize, usize)> = left.drain(..).zip(right.drain(..)).collect();
        assert_eq!(inversions(pairs), 0);
    }

    #[test]
    fn nothing_stands_over_another() {
        assert_eq!(level(&[5, 5, 100], &[10, 10, 10]), [0, 10, 100]);
        assert_eq!(level(&[40, 0, 70], &[10, 20, 10]), [15, 25, 70]);
    }
}
