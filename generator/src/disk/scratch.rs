//! What is made beside a file or a directory until it is put in place: gone at the end, and when the program is interrupted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// How the names of what is made begin.
pub const PREFIX: &str = ".nixvol-net-";

/// What must be gone when the program ends; held while something is written or put in place.
static SCRATCH: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Whether whoever interrupts the program is heard. What cannot be heard ends it, as everywhere.
static HEARD: LazyLock<io::Result<()>> = LazyLock::new(|| {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::Builder::new().spawn(move || {
        for signal in &mut signals {
            // Held until the end: nothing is begun any more, and a step that was begun is done.
            let mut scratch = held();
            for path in scratch.drain(..) {
                // Whoever interrupts wants an end: what cannot be removed stays.
                let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            }
            let _ = emulate_default_handler(signal);
        }
    })?;
    Ok(())
});

fn held() -> MutexGuard<'static, Vec<PathBuf>> {
    SCRATCH.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something that is gone when the program is interrupted, as long as this lives.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes something by `make`, which says where it is by `path`.
    pub fn make<T>(
        make: impl FnOnce() -> io::Result<T>,
        path: impl FnOnce(&T) -> &Path,
    ) -> io::Result<(T, Self)> {
        if let Err(error) = &*HEARD {
            return Err(io::Error::new(error.kind(), error.to_string()));
        }
        let mut scratch = held();
        let thing = make()?;
        let path = path(&thing).to_owned();
        scratch.push(path.clone());
        Ok((thing, Self(path)))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        held().retain(|path| *path != self.0);
    }
}

/// Does a step that is done whole or not at all when the program is interrupted.
pub fn step<T>(step: impl FnOnce() -> T) -> T {
    let held = held();
    let done = step();
    drop(held);
    done
}
