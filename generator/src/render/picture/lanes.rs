//! Lanes of the text picture: where links run between the two columns, and where their numbers fit.
//!
//! Positions are rows. Links whose rows do not overlap share a lane, so that a chain of neighbours needs two lanes
//! instead of one for each pair.

use std::collections::BTreeMap;

use super::scene::{DrawnLink, LinkRole};
use crate::model::Endpoint;

/// The side of the lanes on which an endpoint is placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LaneSide {
    /// To the left of the lanes.
    Left,
    /// To the right of the lanes.
    Right,
}

/// The row and side at which each endpoint is connected to the lanes.
pub type Spots = BTreeMap<Endpoint, (usize, LaneSide)>;

/// A link in its lane.
pub struct LaneRun<'a> {
    /// The link.
    pub link: &'a DrawnLink,
    /// The index of the lane, from 0 on the left.
    pub lane: usize,
    /// The first and the last row that it connects.
    pub rows: (usize, usize),
    /// Its connections: row, side, and what the endpoint may do.
    pub taps: Vec<(usize, LaneSide, LinkRole)>,
}

/// Assigns a lane to every link, from the top row down, long ones first; links in one lane have at least `apart` rows
/// between them.
pub fn runs<'a>(links: &'a [DrawnLink], spots: &Spots, apart: usize) -> Vec<LaneRun<'a>> {
    let mut runs: Vec<LaneRun> = links.iter().filter_map(|link| run(link, spots)).collect();
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

fn run<'a>(link: &'a DrawnLink, spots: &Spots) -> Option<LaneRun<'a>> {
    let tap =
        |(end, manner): (&Endpoint, &LinkRole)| spots.get(end).map(|(row, side)| (*row, *side, *manner));
    let mut taps: Vec<_> = link.taps.iter().filter_map(tap).collect();
    taps.sort_by_key(|(row, side, _)| (*row, *side));
    let rows = (taps.first()?.0, taps.last()?.0);
    Some(LaneRun { link, lane: 0, rows, taps })
}

/// The lane to which the horizontal line of each connection must extend: the farthest one that it connects to.
pub fn stubs(runs: &[LaneRun]) -> BTreeMap<(usize, LaneSide), usize> {
    let mut stubs = BTreeMap::new();
    for run in runs {
        for (row, side, _) in &run.taps {
            let reach = stubs.entry((*row, *side)).or_insert(run.lane);
            *reach = match side {
                LaneSide::Left => run.lane.max(*reach),
                LaneSide::Right => run.lane.min(*reach),
            };
        }
    }
    stubs
}

/// Distributes items of these heights over two columns, each item into the one that is shorter. Returns the side and
/// first row of each, and the height of the taller column.
pub fn columns(heights: impl IntoIterator<Item = usize>) -> (Vec<(LaneSide, usize)>, usize) {
    let mut ends = [0, 0];
    let places = heights.into_iter().map(|height| {
        let (side, column) = if ends[0] <= ends[1] { (LaneSide::Left, 0) } else { (LaneSide::Right, 1) };
        let row = ends[column];
        ends[column] += height;
        (side, row)
    });
    (places.collect(), ends[0].max(ends[1]))
}
