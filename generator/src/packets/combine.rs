//! Combining functions: first match over rows, and joins of their values.

use super::diagram::{CacheKey, Diagrams, Map, Memo, OVER, Set};

/// A row of a first-match table: some packets and their value. Adjacent rows with the same `top` are combined first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstMatchRow {
    /// The first part of the match; usually direction, interface, family and source.
    pub top: Set,
    /// The value for the packets of `top` that match; undecided for those that do not, usually by destination and
    /// service.
    pub then: Map,
}

impl Diagrams {
    /// The first function, with the second wherever the first is undecided.
    pub fn over(&mut self, front: Map, behind: Map) -> Map {
        if front == Map::UNDECIDED {
            return behind;
        }
        if behind == Map::UNDECIDED || front == behind || front.as_constant().is_some() {
            return front;
        }
        let key = CacheKey::new([OVER, front.0, behind.0]);
        if let Some(answer) = self.known(key) {
            return answer;
        }
        let (level, [front, behind]) = self.both_sides(front, behind);
        let low = self.over(front.0, behind.0);
        let high = self.over(front.1, behind.1);
        let answer = self.make(level, low, high);
        self.remember(key, answer);
        answer
    }

    /// A function inside a set, undecided outside it.
    pub fn only(&mut self, set: Set, then: Map) -> Map {
        self.choose(set, then, Map::UNDECIDED)
    }

    /// For each packet the value of the first row that matches; undecided if none does. The rows are combined by
    /// halves, which avoids applying each row to the combination of all rows after it.
    pub fn first_match(&mut self, rows: &[FirstMatchRow]) -> Map {
        let runs: Vec<&[FirstMatchRow]> = rows.chunk_by(|one, other| one.top == other.top).collect();
        let first = self.by_halves(
            &runs,
            &|run| run.len(),
            &mut |diagrams, run| {
                let then = diagrams.by_halves(run, &|_| 1, &mut |_, row| row.then, &mut Self::over);
                diagrams.only(run[0].top, then.unwrap_or(Map::UNDECIDED))
            },
            &mut Self::over,
        );
        first.unwrap_or(Map::UNDECIDED)
    }

    /// The union of many sets.
    pub fn union(&mut self, sets: &[Set]) -> Set {
        self.by_halves(sets, &|_| 1, &mut |_, set| *set, &mut Self::or).unwrap_or(Set::NONE)
    }

    /// Combines what `one` makes of each item, by halves of equal weight: a heavy item is combined with few others.
    fn by_halves<T, R>(
        &mut self,
        items: &[T],
        weight: &impl Fn(&T) -> usize,
        one: &mut impl FnMut(&mut Self, &T) -> R,
        two: &mut impl FnMut(&mut Self, R, R) -> R,
    ) -> Option<R> {
        if items.len() < 2 {
            return items.first().map(|item| one(self, item));
        }
        let half = items.iter().map(weight).sum::<usize>() / 2;
        let mut so_far = 0;
        let middle = items.iter().take_while(|item| {
            so_far += weight(item);
            so_far <= half
        });
        let (front, behind) = items.split_at(middle.count().max(1));
        let (front, behind) =
            (self.by_halves(front, weight, one, two), self.by_halves(behind, weight, one, two));
        front.zip(behind).map(|(front, behind)| two(self, front, behind))
    }

    /// The function whose value is `join` of the values of two functions, packet by packet.
    pub fn join(&mut self, one: Map, other: Map, join: &mut impl FnMut(u32, u32) -> u32) -> Map {
        self.join_within(one, other, None, join, &mut Memo::default())
    }

    /// Joins many functions. `neutral` must be a neutral element: joined with it, a value does not change.
    pub fn join_all(&mut self, maps: &[Map], neutral: u32, join: &mut impl FnMut(u32, u32) -> u32) -> Map {
        let neutral = Map::constant(neutral);
        let all = self.by_halves(maps, &|_| 1, &mut |_, map| *map, &mut |diagrams, front, behind| {
            diagrams.join_within(front, behind, Some(neutral), join, &mut Memo::default())
        });
        all.unwrap_or(neutral)
    }

    fn join_within(
        &mut self,
        one: Map,
        other: Map,
        neutral: Option<Map>,
        join: &mut impl FnMut(u32, u32) -> u32,
        memo: &mut Memo<(Map, Map), Map>,
    ) -> Map {
        if Some(one) == neutral {
            return other;
        }
        if Some(other) == neutral {
            return one;
        }
        if let (Some(one), Some(other)) = (one.as_constant(), other.as_constant()) {
            return Map::constant(join(one, other));
        }
        if let Some(known) = memo.get(&(one, other)) {
            return *known;
        }
        let (level, [ones, others]) = self.both_sides(one, other);
        let low = self.join_within(ones.0, others.0, neutral, join, memo);
        let high = self.join_within(ones.1, others.1, neutral, join, memo);
        let joined = self.make(level, low, high);
        memo.insert((one, other), joined);
        joined
    }

    /// Inside a set, `number` applied to the first function; outside, the second function. The cost depends only on the
    /// part of the first function inside the set.
    pub fn overlay(&mut self, set: Set, then: Map, other: Map, number: &mut impl FnMut(u32) -> u32) -> Map {
        self.overlay_within((set, then, other), number, &mut Memo::default())
    }

    /// The packets of a set whose value satisfies a predicate. If there are none, no node is made.
    pub fn select_within(&mut self, set: Set, map: Map, is_meant: impl Fn(u32) -> bool) -> Set {
        Set(self.overlay(set, map, Set::NONE.as_map(), &mut |number| u32::from(is_meant(number))))
    }

    fn overlay_within(
        &mut self,
        (set, then, other): (Set, Map, Map),
        number: &mut impl FnMut(u32) -> u32,
        memo: &mut Memo<(Set, Map, Map), Map>,
    ) -> Map {
        // If the set is everything, the other function does not matter: use one constant, for more cache hits.
        let other = if set == Set::ALL { Map::constant(0) } else { other };
        match (set, then.as_constant()) {
            (Set::NONE, _) => return other,
            (Set::ALL, Some(constant)) => return Map::constant(number(constant)),
            _ => {}
        }
        if let Some(known) = memo.get(&(set, then, other)) {
            return *known;
        }
        let level = self.level(set.0).min(self.level(then)).min(self.level(other));
        let (set_low, set_high) = self.sides(set.0, level);
        let (then_low, then_high) = self.sides(then, level);
        let (other_low, other_high) = self.sides(other, level);
        let low = self.overlay_within((Set(set_low), then_low, other_low), number, memo);
        let high = self.overlay_within((Set(set_high), then_high, other_high), number, memo);
        let made = self.make(level, low, high);
        memo.insert((set, then, other), made);
        made
    }
}
