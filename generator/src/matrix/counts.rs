//! Counts the pairs of providers that pass everything, or something, with bit sets: for tables too large to print.

use crate::model::{Endpoint, Name};
use crate::plan::Plan;

/// The numbers of cells with everything, and with something but not everything.
pub fn of(plan: &Plan) -> (usize, usize) {
    let count = plan.bridges.len();
    let width = count.div_ceil(64);
    let (mut all, mut some) = (vec![0u64; width * count], vec![0u64; width * count]);
    for flow in &plan.flows {
        let [(from_whole, from_part), (to_whole, to_part)] =
            [&flow.from, &flow.to].map(|ends| touched(plan, ends, width));
        for row in ones(from_whole.iter().zip(&from_part).map(|(whole, part)| whole | part)) {
            let takes_all = from_whole[row / 64] >> (row % 64) & 1 == 1 && flow.protocol.is_none();
            for word in 0..width {
                all[row * width + word] |= if takes_all { to_whole[word] } else { 0 };
                some[row * width + word] |= to_whole[word] | to_part[word];
            }
        }
    }
    for own in 0..count {
        all[own * width + own / 64] |= 1 << (own % 64);
    }
    let count = |words: &mut dyn Iterator<Item = u64>| words.map(|word| word.count_ones() as usize).sum();
    let mut something = some.iter().zip(&all).map(|(some, all)| some & !all);
    (count(&mut all.iter().copied()), count(&mut something))
}

/// Bit sets of the providers that endpoints cover as a whole, and of those that they cover in part.
fn touched(plan: &Plan, ends: &[Endpoint], width: usize) -> (Vec<u64>, Vec<u64>) {
    let number = |name: &Name| plan.bridges.binary_search_by(|bridge| bridge.provider.cmp(name)).ok();
    let (mut whole, mut part) = (vec![0; width], vec![0; width]);
    for end in ends {
        let (number, bits) = match end {
            Endpoint::Provider(name) => (number(name), &mut whole),
            Endpoint::Volume(name) => (plan.volume(name).and_then(|it| number(&it.provider)), &mut part),
        };
        if let Some(number) = number {
            bits[number / 64] |= 1u64 << (number % 64);
        }
    }
    (whole, part)
}

/// The indices of the bits that are set.
fn ones(words: impl Iterator<Item = u64>) -> impl Iterator<Item = usize> {
    words.enumerate().flat_map(|(number, word)| {
        let places = std::iter::successors(Some(word), |left| left.checked_sub(1).map(|less| left & less));
        places.take_while(|left| *left != 0).map(move |left| number * 64 + left.trailing_zeros() as usize)
    })
}
