//! What takes a while says so on a terminal: one line on standard error, gone when it is done.

use std::io::{self, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::commands::paint::is_watched;

/// Nothing is said of what takes less.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the line is written again.
const BEAT: Duration = Duration::from_millis(200);

/// Does something, and says what on standard error, with the seconds, once it has taken more than one.
pub fn during<T>(what: &str, work: impl FnOnce() -> T) -> T {
    if !is_watched() {
        return work();
    }
    let (done, is_done) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let begun = Instant::now();
            let mut wait = PATIENCE;
            let mut shown = false;
            while is_done.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                wait = BEAT;
                shown = true;
                // A line that cannot be written is not missed.
                let _ = write!(io::stderr(), "\r\x1b[K{what} … {} s", begun.elapsed().as_secs());
            }
            if shown {
                let _ = write!(io::stderr(), "\r\x1b[K");
            }
        });
        let result = work();
        drop(done);
        result
    })
}
