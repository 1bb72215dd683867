//! The bundle on disk: replaced atomically, or left unchanged.

pub mod given;
mod scratch;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nixvol_net::render::{Bundle, NETWORK, RenderedFile, is_bundle_path};
use rustix::fs::{FlockOperation, flock};

use crate::progress;
use scratch::{PREFIX, Scratch};

/// The texts of a bundle's files, by path relative to its directory.
pub type FileTexts = BTreeMap<String, String>;

/// Reads a bundle. Bytes that are not UTF-8 are replaced; files that cannot be part of a bundle are listed without
/// their content. Fails if the directory has no `network.json`, or one that is a symbolic link.
pub fn read(directory: &Path) -> Result<FileTexts> {
    let network = directory.join(NETWORK);
    if fs::symlink_metadata(&network).is_ok_and(|found| found.is_symlink()) {
        bail!(
            "{} is a symbolic link, and the files of a bundle are plain files\nhint: name the bundle that it leads to, or \
             copy it with `cp -RL`",
            network.display()
        );
    }
    if !network.is_file() {
        let what = match fs::metadata(directory) {
            Ok(found) if found.is_dir() => format!("has no {NETWORK}"),
            Ok(_) => "is not a directory".to_owned(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot look into {}", directory.display()));
            }
        };
        bail!(
            "{} {what}\nhint: name a bundle, as `nixvol-net render --out DIR` writes it",
            directory.display()
        );
    }
    let mut paths = BTreeSet::new();
    gather(directory, "", &mut paths).with_context(|| format!("cannot look into {}", directory.display()))?;
    let text = |path: String| {
        if !is_bundle_path(&path) {
            return Ok((path, String::new()));
        }
        let file = directory.join(&path);
        let bytes = given::read_plain(&file)?;
        Ok((path, String::from_utf8_lossy(&bytes).into_owned()))
    };
    paths.into_iter().map(text).collect()
}

/// What is wrong with the mode of a bundle's file; `None` if it is as it must be. Write permission of the group is not
/// looked at: a checkout has it where the umask is 002. Fails if the metadata cannot be read.
pub fn wrong_mode(path: &Path, executable: bool) -> Result<Option<&'static str>> {
    let metadata = fs::metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
    let mode = metadata.permissions().mode();
    Ok(match executable {
        _ if mode & 0o7000 != 0 => Some("must be neither setuid, setgid nor sticky"),
        _ if mode & 0o002 != 0 => Some("must not be writable for everyone"),
        true if mode & 0o111 == 0 => Some("must be executable"),
        false if mode & 0o111 != 0 => Some("must not be executable"),
        true | false => None,
    })
}

/// Replaces the text of a file atomically. A symbolic link is kept: its target is replaced. `old` is the text that the
/// new one was derived from.
///
/// Fails, without a change, if the file is read-only, no longer has the text `old`, or cannot keep its mode and owner.
pub fn replace(path: &Path, old: &str, new: &str) -> Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    let file = fs::canonicalize(path).with_context(cannot)?;
    let metadata = fs::metadata(&file).with_context(cannot)?;
    if metadata.permissions().readonly() {
        bail!("{} is read-only; nothing was written", path.display());
    }
    let directory = file.parent().with_context(cannot)?;
    let make = || tempfile::Builder::new().prefix(PREFIX).tempfile_in(directory);
    let (mut staged, _scratch) = Scratch::make(make, tempfile::NamedTempFile::path)
        .with_context(|| format!("cannot write into {}", directory.display()))?;
    staged.write_all(new.as_bytes()).with_context(cannot)?;
    staged.as_file().set_permissions(metadata.permissions()).with_context(cannot)?;
    let (user, group) = (Some(metadata.uid()), Some(metadata.gid()));
    let own = staged.as_file().metadata().with_context(cannot)?;
    if (own.uid(), own.gid()) != (metadata.uid(), metadata.gid()) {
        std::os::unix::fs::fchown(staged.as_file(), user, group)
            .with_context(|| format!("cannot keep the owner of {}", path.display()))?;
    }
    staged.as_file().sync_all().with_context(cannot)?;
    if fs::read(&file).with_context(cannot)? != old.as_bytes() {
        bail!("{} was changed by another program in the meantime; nothing was written", path.display());
    }
    staged.persist(&file).with_context(cannot)?;
    Ok(())
}

/// Writes a new file atomically. An existing one is replaced if `replaces` is set, otherwise that is an error.
pub fn create(path: &Path, text: &str, replaces: bool) -> Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::metadata(directory).with_context(|| format!("cannot write into {}", directory.display()))?;
    let make = || {
        tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(directory)
    };
    let (mut staged, _scratch) = Scratch::make(make, tempfile::NamedTempFile::path)
        .with_context(|| format!("cannot write into {}", directory.display()))?;
    staged.write_all(text.as_bytes()).with_context(cannot)?;
    staged.as_file().sync_all().with_context(cannot)?;
    if replaces {
        // A symbolic link is kept: its target is replaced.
        let file = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        staged.persist(file).with_context(cannot)?;
    } else {
        staged.persist_noclobber(path).with_context(cannot)?;
    }
    Ok(())
}

/// Writes the bundle as the directory `out`, and returns whether anything changed.
///
/// It is built beside `out` and swapped in atomically, so that no reader sees half of it and a failure leaves the old
/// one. A directory that contains anything that is not part of a bundle is refused.
pub fn write(bundle: &Bundle, out: &Path) -> Result<bool> {
    let parent = parent(out)?;
    fs::create_dir_all(&parent).with_context(|| format!("cannot make {}", parent.display()))?;
    let _alone = alone(&parent)?;
    let old = target(out)?;
    if let Some(old) = &old
        && is_same(bundle, out, old)?
    {
        return Ok(false);
    }
    let make = || tempfile::Builder::new().prefix(PREFIX).tempdir_in(&parent);
    let (staging, _scratch) = Scratch::make(make, tempfile::TempDir::path)
        .with_context(|| format!("cannot write into {}", parent.display()))?;
    let new = staging.path().join("bundle");
    scratch::step(|| directory(&new))?;
    for (path, file) in &bundle.files {
        scratch::step(|| put(&new.join(path), file))?;
    }
    scratch::step(|| match old {
        None => fs::rename(&new, out),
        Some(_) => exchange(&new, out, &staging.path().join("old")),
    })
    .with_context(|| format!("cannot put the bundle in place at {}", out.display()))?;
    // The staging directory now contains the old bundle only.
    scratch::step(|| staging.close())
        .context("the bundle is in place, but what it replaced could not be removed")?;
    Ok(true)
}

/// Writes one file, with the directories above it.
fn put(path: &Path, file: &RenderedFile) -> Result<()> {
    if let Some(parent) = path.parent() {
        directory(parent)?;
    }
    fs::write(path, &file.text).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(mode(file)))?;
    Ok(())
}

/// Locks a directory against other instances of this program, waiting for them, until the returned file is dropped.
fn alone(directory: &Path) -> Result<Option<fs::File>> {
    // A directory that is writable but not readable cannot be opened, and some file systems have no locks: go on
    // without.
    let Ok(held) = fs::File::open(directory) else { return Ok(None) };
    let locked = progress::during("waiting for another program that writes there", || {
        loop {
            match flock(&held, FlockOperation::LockExclusive) {
                Err(rustix::io::Errno::INTR) => {}
                other => return other,
            }
        }
    });
    match locked {
        Ok(()) => Ok(Some(held)),
        Err(
            rustix::io::Errno::NOTSUP
            | rustix::io::Errno::INVAL
            | rustix::io::Errno::NOSYS
            | rustix::io::Errno::NOLCK,
        ) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot lock {}", directory.display())),
    }
}

fn mode(file: &RenderedFile) -> u32 {
    if file.executable { 0o755 } else { 0o644 }
}

/// Creates a directory and its parents, readable for everyone whatever the umask.
fn directory(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        directory(parent)?;
    }
    fs::create_dir(path).with_context(|| format!("cannot make {}", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(0o755))?;
    Ok(())
}

/// Swaps two directories: atomically if the file system supports it, otherwise by two renames, the first of which is
/// undone if the second fails.
fn exchange(new: &Path, out: &Path, old: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    if renameat_with(CWD, new, CWD, out, RenameFlags::EXCHANGE).is_ok() {
        return Ok(());
    }
    fs::rename(out, old)?;
    fs::rename(new, out).inspect_err(|_| {
        // Restore the old bundle; if this fails too, the first error is the one to report.
        let _ = fs::rename(old, out);
    })
}

/// The message that refuses a path as the place of a bundle.
fn refusal(out: &Path, why: &str) -> String {
    format!("{} {why}; name a new directory, or one that holds a bundle", out.display())
}

/// The directory that contains `out`. Fails if `out` has no file name.
fn parent(out: &Path) -> Result<PathBuf> {
    if out.file_name().is_none() {
        bail!(refusal(out, "has no file name"));
    }
    Ok(match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    })
}

/// The files of the existing bundle; `None` if there is no such directory. Fails if it is anything but a bundle.
fn target(out: &Path) -> Result<Option<BTreeSet<String>>> {
    let refuse = |why: &str| refusal(out, why);
    let Ok(found) = fs::symlink_metadata(out) else {
        return Ok(None);
    };
    if found.is_symlink() {
        bail!(refuse("is a symbolic link"));
    }
    if !found.is_dir() {
        bail!(refuse("is not a directory"));
    }
    let mut files = BTreeSet::new();
    gather(out, "", &mut files).with_context(|| format!("cannot look into {}", out.display()))?;
    if let Some(foreign) = files.iter().find(|path| !is_bundle_path(path)) {
        bail!(refuse(&format!("holds {foreign:?}, which is not part of a bundle")));
    }
    if !files.is_empty() && !files.contains(NETWORK) {
        bail!(refuse(&format!("has no {NETWORK}")));
    }
    Ok(Some(files))
}

/// The Finder leaves this file in every directory that it shows; it is safe to replace.
const FINDERS: &str = ".DS_Store";

/// The paths of everything below a directory except directories, relative to it.
fn gather(directory: &Path, below: &str, files: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name() == FINDERS {
            continue;
        }
        let path = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            gather(&entry.path(), &format!("{path}/"), files)?;
        } else if entry.file_type()?.is_file() {
            files.insert(path);
        } else {
            files.insert(format!("{path} (not a plain file)"));
        }
    }
    Ok(())
}

fn is_same(bundle: &Bundle, out: &Path, old: &BTreeSet<String>) -> Result<bool> {
    if !bundle.files.keys().eq(old) {
        return Ok(false);
    }
    for (path, file) in &bundle.files {
        let path = out.join(path);
        let same_mode = fs::metadata(&path)?.permissions().mode() & 0o777 == mode(file);
        if !same_mode || fs::read(&path)? != file.text.as_bytes() {
            return Ok(false);
        }
    }
    Ok(true)
}
