//! Files that a user names or that a declaration points at: bounded, so that a device or a pipe without an end does not
//! fill the memory, and never opened where that could block for good.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Bytes that are read of one file at most. A declaration of 40,000 volumes with all its positions has less than a tenth.
const LARGEST: u64 = 256 << 20;

/// Reads a file that the command line names; `-` is standard input. Pipes are read, too: `<(nix eval …)` is one.
pub fn read(file: &Path) -> Result<Vec<u8>> {
    if file == Path::new("-") {
        return bounded(io::stdin().lock(), "standard input");
    }
    let name = file.display().to_string();
    let opened = File::open(file).with_context(|| format!("cannot read {name}"))?;
    bounded(opened, &name)
}

/// Reads a plain file, or a link to one. Anything else is refused unopened: opening a FIFO waits for a writer.
pub fn read_plain(file: &Path) -> Result<Vec<u8>> {
    let cannot = || format!("cannot read {}", file.display());
    if !fs::metadata(file).with_context(cannot)?.is_file() {
        bail!("{} is not a plain file", file.display());
    }
    read(file)
}

/// Reads a plain file of text.
pub fn read_plain_text(file: &Path) -> Result<String> {
    String::from_utf8(read_plain(file)?).with_context(|| format!("cannot read {}", file.display()))
}

fn bounded(from: impl Read, name: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(LARGEST + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {name}"))?;
    if bytes.len() as u64 > LARGEST {
        bail!("{name} has more than {} MB, which nothing that is read here needs", LARGEST >> 20);
    }
    Ok(bytes)
}
