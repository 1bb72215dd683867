//! Real rulesets, and what a real pfctl says of them: `N.in` with its print, or the lines that it refuses.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use nixvol_net::pf::{Environment, Error, parse, print, print_dry_run};

/// The machine of the corpus.
pub fn environment() -> Environment {
    let mut environment = Environment::default();
    environment.add_address("en0", [192, 0, 2, 10].into(), 24);
    environment
}

/// Pairs of `.in` and `.ok` in a directory, sorted by name; none when it is absent.
pub fn pairs(directory: &Path) -> Vec<(String, String, String)> {
    let Ok(entries) = fs::read_dir(directory) else {
        println!("skipped: no {}", directory.display());
        return Vec::new();
    };
    let mut inputs: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable directory").path())
        .collect();
    inputs.retain(|path| path.extension().is_some_and(|extension| extension == "in"));
    inputs.sort();
    let read =
        |path: &Path| fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let pair = |path: PathBuf| {
        (
            path.display().to_string(),
            read(&path),
            read(&path.with_extension("ok")),
        )
    };
    inputs.into_iter().map(pair).collect()
}

fn corpus(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/pf-corpus")
        .join(kind)
}

fn ours(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pf").join(kind)
}

/// Accepted: printed to the letter, and the print is a fixed point of itself.
fn accepted(directory: &Path) {
    let environment = environment();
    let mut wrong = String::new();
    for (name, input, wanted) in pairs(directory) {
        let ruleset = match parse(&input, &environment) {
            Ok(ruleset) => ruleset,
            Err(errors) => {
                wrong += &format!("{name}: refused: {errors:?}\n");
                continue;
            }
        };
        let printed = print_dry_run(&ruleset);
        if printed != wanted {
            wrong += &format!("{name}:\n{}", difference(&wanted, &printed));
        }
        let canonical = print(&ruleset);
        match parse(&canonical, &environment) {
            Err(errors) => wrong += &format!("{name}: its print is refused: {errors:?}\n"),
            Ok(again) => {
                if again.without_places() != ruleset.without_places() {
                    wrong += &format!("{name}: its print reads as another ruleset:\n{canonical}\n");
                }
                if print(&again) != canonical {
                    wrong += &format!(
                        "{name}: no fixed point:\n{}",
                        difference(&canonical, &print(&again))
                    );
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn difference(wanted: &str, found: &str) -> String {
    let mut text = String::new();
    let (mut wanted, mut found) = (wanted.lines(), found.lines());
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return text,
            (a, b) if a == b => {}
            (a, b) => text += &format!("  - {}\n  + {}\n", a.unwrap_or(""), b.unwrap_or("")),
        }
    }
}

/// Lines of a pfctl's messages, `stdin:LINE: …`.
fn lines_told(messages: &str) -> BTreeSet<u32> {
    let line = |message: &str| message.strip_prefix("stdin:")?.split(':').next()?.parse().ok();
    messages.lines().filter_map(line).collect()
}

#[test]
fn accepted_as_pfctl_prints_it() {
    accepted(&corpus("accept"));
}

#[test]
fn our_rulesets_print_as_written_beside_them() {
    accepted(&ours("accept"));
}

#[test]
fn refused_at_the_lines_that_pfctl_refuses() {
    let mut wrong = String::new();
    for (name, input, messages) in pairs(&corpus("reject")) {
        let errors = parse(&input, &environment()).err().unwrap_or_default();
        let found: BTreeSet<u32> = errors.iter().map(|error| error.line).collect();
        if found != lines_told(&messages) {
            wrong += &format!("{name}: {errors:#?}\n{messages}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn our_refusals_are_worded_as_written_beside_them() {
    let word = |error: &Error| format!("stdin:{error}\n");
    for (name, input, wanted) in pairs(&ours("reject")) {
        let errors = parse(&input, &environment()).expect_err(&name);
        let found: String = errors.iter().map(word).collect();
        assert_eq!(found, wanted, "{name}");
    }
}
