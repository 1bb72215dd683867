//! Rules of the code base: which module imports which, which modules do I/O, no unused template, no forgotten test.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::support::{files_below, root};

mod imports;

/// The modules that each module of the library may import. Data flows one way.
const SEES: &[(&str, &[&str])] = &[
    ("place", &[]),
    ("problem", &["place"]),
    ("source", &[]),
    ("diagnostic", &["help", "place", "problem", "source"]),
    ("input", &["place", "problem"]),
    ("model", &["place", "problem", "input"]),
    ("plan", &["model"]),
    ("loading", &["plan"]),
    ("identity", &["model", "plan"]),
    ("matrix", &["model", "plan", "identity", "reach"]),
    ("diff", &["place", "model", "plan", "packets", "reach"]),
    ("edit", &["place", "source", "input"]),
    ("render", &["place", "input", "loading", "model", "plan", "identity"]),
    ("pf", &[]),
    ("packets", &[]),
    ("reach", &["plan", "packets"]),
    ("executable", &[]),
    ("expect", &["place", "model", "plan", "packets", "reach"]),
    ("prove", &["plan", "loading", "packets", "pf", "reach"]),
    ("darwin", &[]),
    ("others", &["plan", "pf"]),
    ("status", &["place", "model", "plan", "loading", "pf", "darwin", "others"]),
    (
        "report",
        &["place", "model", "plan", "identity", "matrix", "packets", "reach", "render", "explain", "diff"],
    ),
    ("live", &["darwin", "status"]),
    ("help", &[]),
    ("import", &["place", "model"]),
    ("explain", &["place", "input", "loading", "model", "plan", "packets", "reach", "pf", "others"]),
    ("wire", &["pf"]),
    ("tunnel", &[]),
    ("router", &["loading", "model", "plan", "pf", "wire"]),
    ("scenario", &["model", "identity", "render"]),
    ("replay", &["loading", "model", "plan", "pf", "wire", "router"]),
];

fn source_of(path: &std::path::Path) -> String {
    fs::read_to_string(root().join(path)).expect("a source file")
}

/// The top-level module that a file of the library belongs to.
fn room(path: &std::path::Path) -> Option<String> {
    let inside = path.strip_prefix("generator/src").ok()?;
    let first = inside.components().next()?.as_os_str().to_string_lossy().into_owned();
    Some(first.trim_end_matches(".rs").to_owned())
}

fn sources() -> Vec<std::path::PathBuf> {
    let mut files = files_below("generator/src");
    files.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    files
}

/// The modules of the program, which may import the whole library.
const PROGRAM: [&str; 7] = ["main", "cli", "commands", "disk", "lab", "progress", "serve"];

#[test]
fn modules_import_only_what_they_may() {
    let sees: BTreeMap<&str, &[&str]> = SEES.iter().copied().collect();
    let mut rooms = BTreeSet::new();
    for path in sources() {
        let room = room(&path).expect("a room");
        if room == "lib" || PROGRAM.contains(&room.as_str()) {
            continue;
        }
        let allowed =
            sees.get(room.as_str()).unwrap_or_else(|| panic!("the room {room} is not in the table"));
        let text = source_of(&path);
        for used in text.split("crate::").skip(1) {
            let used: String = used.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            // The crate of a macro, and imports from within the module.
            if used.is_empty() || used == room {
                continue;
            }
            assert!(allowed.contains(&used.as_str()), "{} uses {used}", path.display());
        }
        rooms.insert(room);
    }
    let listed: BTreeSet<String> = SEES.iter().map(|(room, _)| (*room).to_owned()).collect();
    assert_eq!(rooms, listed, "a room without a rule, or a rule without a room");
}

#[test]
fn only_the_program_reads_writes_and_prints() {
    for path in sources() {
        let room = room(&path).expect("a room");
        if PROGRAM.contains(&room.as_str()) {
            continue;
        }
        let text = source_of(&path);
        for deed in ["std::fs", "std::io", "std::process", "std::env", "println!", "print!(", "dbg!"] {
            assert!(!text.contains(deed), "{} has {deed}", path.display());
        }
    }
}

#[test]
fn every_module_documents_what_it_sees_and_never_does() {
    for (room, _) in SEES {
        let text = source_of(std::path::Path::new(&format!("generator/src/{room}.rs")));
        let docs: String = text.lines().take_while(|line| line.starts_with("//!")).collect();
        assert!(
            docs.contains("Sees:") && docs.contains("Never:"),
            "{room} does not say what it sees and never does"
        );
    }
}

#[test]
fn every_file_is_declared_by_its_parent_module() {
    for path in sources() {
        let (name, above) =
            (path.file_stem().expect("a name").to_string_lossy(), path.parent().expect("a directory"));
        let above = match above.to_str() {
            Some("generator/src") if ["lib", "main"].contains(&name.as_ref()) => continue,
            Some("generator/src") => source_of(&above.join("lib.rs")) + &source_of(&above.join("main.rs")),
            _ => source_of(&above.with_extension("rs")),
        };
        assert!(above.contains(&format!("mod {name};")), "{} is compiled nowhere", path.display());
    }
}

#[test]
fn every_template_is_used() {
    let mut code: String = sources().iter().map(|path| source_of(path)).collect();
    for template in files_below("templates") {
        if template.extension().is_some_and(|extension| extension == "j2") {
            code += &source_of(&template);
        }
    }
    for template in files_below("templates") {
        let name = template.strip_prefix("templates").expect("below it").to_string_lossy().into_owned();
        let Some(rendered) = name.strip_suffix(".j2") else { continue };
        assert!(code.contains(&format!("templates/{name}")), "{name} is embedded nowhere");
        let name = rendered;
        let (_, file) = name.rsplit_once('/').unwrap_or(("", name));
        assert!(code.contains(&format!("\"{name}\"")) && code.contains(file), "{name} is rendered nowhere");
    }
}

#[test]
fn every_test_module_is_listed() {
    let contents = source_of(std::path::Path::new("tests/main.rs"));
    for entry in fs::read_dir(root().join("tests")).expect("the tests") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        if let Some(story) = name.strip_suffix(".rs").filter(|story| *story != "main") {
            assert!(
                contents.contains(&format!("mod {story};")),
                "tests/{name} is not in the table of contents"
            );
        }
    }
}

#[test]
fn no_files_use_each_other() {
    let program = imports::Program::read(&sources());
    assert!(program.is_used("render/engine.rs", "render/pf.rs"), "uses are found");
    let circles = program.circles();
    for circle in &circles {
        println!("circle of {}:\n{}", circle.len(), program.between(circle));
    }
    assert!(circles.is_empty(), "move what two files share into a third");
}

#[test]
fn no_two_public_types_share_a_name() {
    let program = imports::Program::read(&sources());
    let doubled = program.doubled();
    println!("{} public types, {} names used more than once", program.public_types(), doubled.len());
    for (name, files) in &doubled {
        println!("  {name}: {files:?}");
    }
    assert!(
        doubled.is_empty(),
        "give one of them another name, and keep the glossary in CONTRIBUTING.md true"
    );
}
