//! Detects programs that the preloaded library of `run` cannot be loaded into.
//!
//! The dynamic linker ignores such a library silently, and the program would use the Mac's own addresses. The file is
//! therefore inspected first: whether a dynamic linker loads it at all, and which variables that linker honours. Sees:
//! nothing. Never: accesses the file system, or predicts what a program does once it runs.

use std::fmt;

use object::macho::{self, MachHeader64};
use object::read::elf::ElfFile64;
use object::read::macho::{FatArch as _, MachHeader as _, MachOFatFile32};
use object::{Architecture, BigEndian, Endianness, Object as _, ObjectSection as _};

/// The operating system of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// Linux: libraries are preloaded by LD_PRELOAD.
    Linux,
    /// macOS: libraries are preloaded by DYLD_INSERT_LIBRARIES.
    MacOs,
}

/// Why a library cannot be preloaded into a program, or has no effect there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// It is statically linked: no dynamic linker loads it.
    Static,
    /// It is written in Go and calls the kernel directly, not through the C library.
    Go,
    /// It is for another processor architecture.
    Foreign,
    /// It is setuid or setgid, so the linker ignores the variable.
    SetId,
    /// It is protected by SIP: macOS removes DYLD_ variables.
    Protected,
    /// It is signed with the hardened runtime, without the entitlement for DYLD_ variables.
    Hardened,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Static => "is statically linked: no library comes into it",
            Self::Go => "is written in Go, which on Linux calls the kernel past the C library",
            Self::Foreign => "is for another processor than the library",
            Self::SetId => {
                "runs with the rights of its owner (setuid, setgid): the linker loads no library into it"
            }
            Self::Protected => "is protected by macOS (SIP), which takes DYLD_INSERT_LIBRARIES from it",
            Self::Hardened => {
                "has a hardened runtime (codesign -d -v shows it), and does not allow DYLD_ variables"
            }
        })
    }
}

/// The directories that SIP protects, with the exception of `/usr/local`.
const PROTECTED: [&str; 4] = ["/System/", "/usr/", "/bin/", "/sbin/"];

/// Whether SIP protects a path. The path must not contain symbolic links.
pub fn is_protected(path: &str) -> bool {
    PROTECTED.iter().any(|directory| path.starts_with(directory)) && !path.starts_with("/usr/local/")
}

/// The interpreter line of a script: the words after `#!`, of which the first is the interpreter's path.
pub fn interpreter(bytes: &[u8]) -> Option<Vec<String>> {
    let line = bytes.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let words: Vec<String> = String::from_utf8_lossy(line).split_whitespace().map(str::to_owned).collect();
    (!words.is_empty()).then_some(words)
}

/// The obstacle that a program's bytes show, if any. Bytes that are not an executable have none: running them reports
/// the error.
pub fn obstacle(bytes: &[u8], system: System) -> Option<Obstacle> {
    match system {
        System::Linux => of_elf(bytes),
        System::MacOs => of_mach(bytes),
    }
}

fn of_elf(bytes: &[u8]) -> Option<Obstacle> {
    if !bytes.starts_with(&object::elf::ELFMAG) {
        return None;
    }
    let Ok(file) = ElfFile64::<Endianness>::parse(bytes) else { return Some(Obstacle::Foreign) };
    let is_own = match file.architecture() {
        Architecture::X86_64 => cfg!(target_arch = "x86_64"),
        Architecture::Aarch64 => cfg!(target_arch = "aarch64"),
        // On other hosts the architecture is not compared: the linker reports a mismatch itself.
        _ => !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")),
    };
    if !is_own {
        return Some(Obstacle::Foreign);
    }
    if file.sections().any(|section| section.name() == Ok(".go.buildinfo")) {
        return Some(Obstacle::Go);
    }
    let endian = file.endian();
    let has_linker =
        file.elf_program_headers().iter().any(|header| header.p_type.get(endian) == object::elf::PT_INTERP);
    (!has_linker).then_some(Obstacle::Static)
}

fn of_mach(bytes: &[u8]) -> Option<Obstacle> {
    if let Ok(fat) = MachOFatFile32::parse(bytes) {
        // Any of the architectures may be the one that runs.
        return fat.arches().iter().find_map(|arch| of_mach(arch.data(bytes).ok()?));
    }
    let header = MachHeader64::<Endianness>::parse(bytes, 0).ok()?;
    let endian = header.endian().ok()?;
    let mut commands = header.load_commands(endian, bytes, 0).ok()?;
    while let Ok(Some(command)) = commands.next() {
        if command.cmd() == macho::LC_CODE_SIGNATURE {
            let place: &macho::LinkeditDataCommand<Endianness> = command.data().ok()?;
            let start = usize::try_from(place.dataoff.get(endian)).ok()?;
            return of_signature(bytes.get(start..)?);
        }
    }
    None
}

/// Constants of code signatures: the magic numbers of the signature, a code directory and the entitlements (all
/// big-endian), and the flag of the hardened runtime.
const SIGNATURE: u32 = 0xfade_0cc0;
const CODE_DIRECTORY: u32 = 0xfade_0c02;
const ENTITLEMENTS: u32 = 0xfade_7171;
const RUNTIME: u32 = 0x1_0000;
const ALLOWED: &str = "com.apple.security.cs.allow-dyld-environment-variables";

fn of_signature(signature: &[u8]) -> Option<Obstacle> {
    let number = |bytes: &[u8], at: usize| -> Option<u32> {
        object::pod::from_bytes::<object::U32<BigEndian>>(bytes.get(at..)?)
            .ok()
            .map(|(it, _)| it.get(BigEndian))
    };
    let size = |bytes: &[u8], at: usize| number(bytes, at).and_then(|it| usize::try_from(it).ok());
    if number(signature, 0)? != SIGNATURE {
        return None;
    }
    let (mut is_hardened, mut is_allowed) = (false, false);
    for part in 0..size(signature, 8)?.min(64) {
        let part = signature.get(size(signature, 16 + 8 * part)?..)?;
        match number(part, 0)? {
            CODE_DIRECTORY => is_hardened |= number(part, 12)? & RUNTIME != 0,
            ENTITLEMENTS => {
                let text = part.get(8..size(part, 4)?)?;
                is_allowed |= String::from_utf8_lossy(text).contains(ALLOWED);
            }
            _ => {}
        }
    }
    (is_hardened && !is_allowed).then_some(Obstacle::Hardened)
}
