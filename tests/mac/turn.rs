//! Two concurrent runs of the manager, whose commands are interleaved in an order that the test chooses.
//!
//! The first line of the file `turns` next to the kernel file is the order: `random SEED`, or `at K` (the first run up
//! to its K-th command, then the second until it waits or ends, then the first). The next two lines are the process
//! groups of the runs; until they are there, every command waits. A run that has ended, or that waits for the other
//! with `sleep`, yields its turns.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use crate::fault::group_of;

/// The number of turns that a waiting run yields.
const NAP: u64 = 8;

/// The scheduler's state: the number of turns so far, and the turn until which each run sleeps.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct State {
    turn: u64,
    naps: [u64; 2],
}

impl State {
    fn read(root: &Path) -> Self {
        let text = fs::read_to_string(root.join("turn")).unwrap_or_default();
        let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        match numbers.as_slice() {
            [turn, one, two] => Self { turn: *turn, naps: [*one, *two] },
            _ => Self::default(),
        }
    }

    fn write(&self, root: &Path) {
        let [one, two] = self.naps;
        fs::write(root.join("turn"), format!("{} {one} {two}\n", self.turn))
            .expect("the turn can be written");
    }

    fn next(&self, order: &str) -> usize {
        match self.naps.map(|nap| nap > self.turn) {
            [true, false] => return 1,
            [false, true] => return 0,
            [false, false] | [true, true] => {}
        }
        match order.split_once(' ') {
            Some(("at", at)) => usize::from(at.parse().is_ok_and(|at: u64| self.turn >= at)),
            Some((_, seed)) => {
                let seed: u64 = seed.parse().unwrap_or_default();
                // A run gets several turns in a row; how many depends on the seed.
                let mut mixed =
                    (seed << 32 | (self.turn / (1 + seed % 5))).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                mixed ^= mixed >> 31;
                usize::from(mixed.wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 63 == 1)
            }
            None => 0,
        }
    }
}

fn lives(process: &str) -> bool {
    fs::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z')))
}

/// The order, the index of the calling run, and the process group of the other. None if there is no order, or the
/// caller is neither of the two.
fn part(root: &Path) -> Option<(String, usize, String)> {
    loop {
        let text = fs::read_to_string(root.join("turns")).ok()?;
        let lines: Vec<&str> = text.lines().collect();
        let [order, one, two] = lines.as_slice() else {
            sleep(Duration::from_millis(1));
            continue;
        };
        let group = group_of("self")?;
        return match [*one, *two].iter().position(|leader| *leader == group) {
            Some(0) => Some(((*order).to_owned(), 0, (*two).to_owned())),
            Some(_) => Some(((*order).to_owned(), 1, (*one).to_owned())),
            None => None,
        };
    }
}

fn locked<T>(root: &Path, work: impl FnOnce(&mut State) -> T) -> T {
    let file = fs::File::open(root.join("turns")).expect("the order can be opened");
    file.lock().expect("the order can be locked");
    let mut state = State::read(root);
    let before = state;
    let done = work(&mut state);
    if state != before {
        state.write(root);
    }
    done
}

/// Blocks until it is this run's turn.
pub fn take(root: &Path) {
    let Some((order, me, other)) = part(root) else { return };
    loop {
        let mine = locked(root, |state| {
            let mine = state.next(&order) == me || !lives(&other);
            state.turn += u64::from(mine);
            mine
        });
        if mine {
            return;
        }
        sleep(Duration::from_micros(500));
    }
}

/// Yields the next turns to the other run; false if there is no interleaving.
pub fn pause(root: &Path) -> bool {
    let Some((_, me, _)) = part(root) else { return false };
    locked(root, |state| state.naps[me] = state.turn + NAP);
    true
}
