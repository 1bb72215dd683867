//! Temporary files and directories that exist until they are put in place. They are removed at the end, and also when
//! the program is interrupted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// The prefix of temporary names.
pub const PREFIX: &str = ".nixvol-net-";

/// The paths to remove when the program ends. Locked while something is written or put in place.
static SCRATCH: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// The signal handler for interruptions, installed on first use. If the installation fails, [`Scratch::make`] does.
static HEARD: LazyLock<io::Result<()>> = LazyLock::new(|| {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::Builder::new().spawn(move || {
        for signal in &mut signals {
            // Locked until the process ends: a step in progress is completed first, and no other can begin.
            let mut scratch = held();
            for path in scratch.drain(..) {
                // The process is about to end, so failures to remove are ignored.
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

/// A temporary file or directory that is removed if the program is interrupted during the lifetime of this value.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Creates something with `make` and registers the path that `path` returns for it.
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

/// Runs a step that must not be interrupted: signals are handled when it is done.
pub fn step<T>(step: impl FnOnce() -> T) -> T {
    let held = held();
    let done = step();
    drop(held);
    done
}
