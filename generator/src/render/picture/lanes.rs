//! Lanes: which link runs where between the two columns of the text, and where its number fits.
//!
//! Units are rows. Links whose spans do not meet share a lane, so that a chain of neighbours needs two lanes
//! and not one for each pair.

use std::collections::BTreeMap;

use super::scene::{Link, Manner};
use crate::model::End;

/// The side of the lanes that an end stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// To their left.
    Left,
    /// To their right.
    Right,
}

/// Where an end is joined to the lanes.
pub type Spots = BTreeMap<End, (usize, Side)>;

/// A link in its lane.
pub struct Run<'a> {
    /// The link.
    pub link: &'a Link,
    /// From 0, left to right.
    pub lane: usize,
    /// The first and the last row that it joins.
    pub rows: (usize, usize),
    /// Where it joins whom.
    pub taps: Vec<(usize, Side, Manner)>,
}

/// Gives every link a lane, the long ones first; at least `apart` rows lie between two links of one lane.
pub fn runs<'a>(links: &'a [Link], spots: &Spots, apart: usize) -> Vec<Run<'a>> {
    let mut runs: Vec<Run> = links.iter().filter_map(|link| run(link, spots)).collect();
    let mut order: Vec<usize> = (0..runs.len()).collect();
    order.sort_by_key(|index| {
        let (first, last) = runs[*index].rows;
        (first, std::cmp::Reverse(last), *index)
    });
    // By lane, the row from which it is free.
    let mut free: Vec<usize> = Vec::new();
    for index in order {
        let (first, last) = runs[index].rows;
        let lane = free.iter().position(|from| *from <= first).unwrap_or_else(|| {
            free.push(0);
            free.len() - 1
        });
        free[lane] = last + 1 + apart;
        runs[index].lane = lane;
    }
    runs
}

fn run<'a>(link: &'a Link, spots: &Spots) -> Option<Run<'a>> {
    let tap = |(end, manner): (&End, &Manner)| spots.get(end).map(|(row, side)| (*row, *side, *manner));
    let mut taps: Vec<_> = link.taps.iter().filter_map(tap).collect();
    taps.sort_by_key(|(row, side, _)| (*row, *side));
    let rows = (taps.first()?.0, taps.last()?.0);
    Some(Run { link, lane: 0, rows, taps })
}

/// How far each joint reaches: the outermost lane that it taps, by its row and side.
pub fn stubs(runs: &[Run]) -> BTreeMap<(usize, Side), usize> {
    let mut stubs = BTreeMap::new();
    for run in runs {
        for (row, side, _) in &run.taps {
            let reach = stubs.entry((*row, *side)).or_insert(run.lane);
            *reach = match side {
                Side::Left => run.lane.max(*reach),
                Side::Right => run.lane.min(*reach),
            };
        }
    }
    stubs
}

/// Puts things of these heights into two columns, each into the one that is shorter: the column and the first row
/// of each, and the height of the taller column.
pub fn columns(heights: impl IntoIterator<Item = usize>) -> (Vec<(Side, usize)>, usize) {
    let mut ends = [0, 0];
    let places = heights.into_iter().map(|height| {
        let (side, column) = if ends[0] <= ends[1] { (Side::Left, 0) } else { (Side::Right, 1) };
        let row = ends[column];
        ends[column] += height;
        (side, row)
    });
    (places.collect(), ends[0].max(ends[1]))
}
