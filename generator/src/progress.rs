//! Progress on a terminal: a line on standard error while something takes long, erased when it is done.

use std::io::{self, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::commands::paint::is_watched;

/// Shorter operations show nothing.
const PATIENCE: Duration = Duration::from_secs(1);
/// The interval at which the line is updated.
const BEAT: Duration = Duration::from_millis(200);

/// Runs `work`. On a terminal, if it takes longer than a second, shows `what` and the elapsed seconds on standard
/// error.
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
                // Progress is not essential: ignore write errors.
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
