//! A record of a run: what is on the Mac before and after each of its commands.
//!
//! While there is a directory `record` next to the kernel file, every command copies the kernel and the files that the
//! manager writes to `record/K/before` and `record/K/after`, with their modes. A run that ends there leaves just that.

use std::fs;
use std::io;
use std::path::Path;

/// What is copied, relative to the directory above the kernel's.
const RECORDED: [&str; 3] = ["mac/kernel", "hosts", "var"];

pub fn is_on(root: &Path) -> bool {
    root.join("record").is_dir()
}

/// Copies the state at the command of this number, if that is wanted.
pub fn keep(root: &Path, number: u64, when: &str) {
    if !is_on(root) {
        return;
    }
    let to = root.join("record").join(number.to_string()).join(when);
    fs::create_dir_all(to.join("mac")).expect("a directory for the record");
    let above = root.parent().expect("the Mac's directory");
    for path in RECORDED {
        copy(&above.join(path), &to.join(path)).expect("the state can be recorded");
    }
}

/// Copies a file, or a directory with all that is in it. What another command of a pipeline removes meanwhile is gone.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let copied = fs::symlink_metadata(from).and_then(|meta| {
        if !meta.is_dir() {
            return fs::copy(from, to).map(|_| ());
        }
        fs::create_dir(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        fs::set_permissions(to, meta.permissions())
    });
    match copied {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
