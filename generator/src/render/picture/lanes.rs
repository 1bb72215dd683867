//! Lanes of the text picture: where links run between the two columns, and where their numbers fit.
//!
//! Positions are rows. Links whose rows do not overlap share a lane, so that a chain of neighbours needs two lanes
//! instead of one for each pair.

use std::collections::BTreeMap;

use super::scene::{Link, Manner};
use crate::model::End;

/// The side of the lanes on which an endpoint is placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// To the left of the lanes.
    Left,
    /// To the right of the lanes.
    Right,
}

/// The row and side at which each endpoint is connected to the lanes.
pub type Spots = BTreeMap<End, (usize, Side)>;

/// A link in its lane.
pub struct Run<'a> {
    /// The link.
    pub link: &'a Link,
    /// The index of the lane, from 0 on the left.
    pub lane: usize,
    /// The first and the last row that it connects.
    pub rows: (usize, usize),
    /// Its connections: row, side, and what the endpoint may do.
    pub taps: Vec<(usize, Side, Manner)>,
}

/// Assigns a lane to every link, from the top row down, long ones first; links in one lane have at least `apart` rows
/// between them.
pub fn runs<'a>(links: &'a [Link], spots: &Spots, apart: usize) -> Vec<Run<'a>> {
    let mut runs: Vec<Run> = links.iter().filter_map(|link| run(link, spots)).collect();
    let mut order: Vec<usize> = (0..runs.len()).collect();
    order.sort_by_key(|index| {
        let (first, last) = runs[*index].rows;
        (first, std::cmp::Reverse(last), *index)
    });
    // For each lane, the first free row.
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

/// The lane to which the horizontal line of each connection must extend: the farthest one that it connects to.
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

/// Distributes items of these heights over two columns, each item into the one that is shorter. Returns the side and
/// first row of each, and the height of the taller column.
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
