//! Real rulesets, and what a real pfctl printed for them: `N.in` with its output, or with the lines that it rejected.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use nixvol_net::pf::{Environment, Names, ParseError, parse, print, print_dry_run};

/// The environment in which the corpus was made, with the names of macOS.
pub fn environment() -> Environment {
    environment_with(Names::MacOs)
}

pub fn environment_with(names: Names) -> Environment {
    let mut environment = Environment { names, ..Environment::default() };
    environment.add_address("en0", [192, 0, 2, 10].into(), 24);
    environment
}

/// Pairs of `.in` and `.ok` in a directory, as (name, input, expected), sorted by name; empty if the directory is
/// absent.
pub fn pairs(directory: &Path) -> Vec<(String, String, String)> {
    let Ok(entries) = fs::read_dir(directory) else {
        crate::support::skipped(&format!("no {}", directory.display()));
        return Vec::new();
    };
    let mut inputs: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable directory").path()).collect();
    inputs.retain(|path| path.extension().is_some_and(|extension| extension == "in"));
    inputs.sort();
    let read =
        |path: &Path| fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let pair = |path: PathBuf| (path.display().to_string(), read(&path), read(&path.with_extension("ok")));
    inputs.into_iter().map(pair).collect()
}

fn corpus(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/pf-corpus").join(kind)
}

fn ours(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pf").join(kind)
}

/// Checks accepted rulesets: printed exactly as expected, and printing the output again changes nothing.
fn accepted(directory: &Path, names: Names) {
    let environment = environment_with(names);
    let mut wrong: Vec<String> = Vec::new();
    for (name, input, wanted) in pairs(directory) {
        let ruleset = match parse(&input, &environment) {
            Ok(ruleset) => ruleset,
            Err(errors) => {
                wrong.push(format!("{name}: refused: {errors:?}\n"));
                continue;
            }
        };
        let printed = print_dry_run(&ruleset, names);
        if printed != wanted {
            wrong.push(format!("{name}:\n{}", difference(&wanted, &printed)));
        }
        let canonical = print(&ruleset, names);
        match parse(&canonical, &environment) {
            Err(errors) => wrong.push(format!("{name}: its print is refused: {errors:?}\n")),
            Ok(again) => {
                if again.without_places() != ruleset.without_places() {
                    wrong.push(format!("{name}: its print reads as another ruleset:\n{canonical}\n"));
                }
                if print(&again, names) != canonical {
                    wrong.push(format!(
                        "{name}: no fixed point:\n{}",
                        difference(&canonical, &print(&again, names))
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

fn difference(wanted: &str, found: &str) -> String {
    let mut text: Vec<String> = Vec::new();
    let (mut wanted, mut found) = (wanted.lines(), found.lines());
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return text.concat(),
            (a, b) if a == b => {}
            (a, b) => text.push(format!("  - {}\n  + {}\n", a.unwrap_or(""), b.unwrap_or(""))),
        }
    }
}

/// The line numbers in pfctl's messages, `stdin:LINE: …`.
fn lines_told(messages: &str) -> BTreeSet<u32> {
    let line = |message: &str| message.strip_prefix("stdin:")?.split(':').next()?.parse().ok();
    messages.lines().filter_map(line).collect()
}

#[test]
fn accepted_as_pfctl_prints_it() {
    accepted(&corpus("accept"), Names::OpenBsd);
}

#[test]
fn rulesets_print_as_in_the_corpus() {
    accepted(&ours("accept"), Names::MacOs);
}

#[test]
fn errors_are_at_the_lines_that_pfctl_rejects() {
    let mut wrong: Vec<String> = Vec::new();
    for (name, input, messages) in pairs(&corpus("reject")) {
        let errors = parse(&input, &environment_with(Names::OpenBsd)).err().unwrap_or_default();
        let found: BTreeSet<u32> = errors.iter().map(|error| error.line).collect();
        if found != lines_told(&messages) {
            wrong.push(format!("{name}: {errors:#?}\n{messages}\n"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

#[test]
fn refusals_are_worded_as_in_the_corpus() {
    let word = |error: &ParseError| format!("stdin:{error}\n");
    for (name, input, wanted) in pairs(&ours("reject")) {
        let errors = parse(&input, &environment()).expect_err(&name);
        let found: String = errors.iter().map(word).collect();
        assert_eq!(found, wanted, "{name}");
    }
}

#[test]
fn the_canonical_form_keeps_the_path_of_an_anchor() {
    let text =
        "scrub-anchor \"com.apple/*\"\nanchor \"com.apple/*\"\nload anchor \"com.apple\" from \"/etc/a\"\n";
    let ruleset = parse(text, &environment()).expect("a ruleset");
    let wanted = "scrub-anchor \"com.apple/*\" all fragment reassemble\nanchor \"com.apple/*\" all\n\
                  load anchor \"com.apple\" from \"/etc/a\"\n";
    assert_eq!(print(&ruleset, Names::MacOs), wanted);
}

#[test]
fn other_files_are_read_through_the_environment() {
    let mut environment = environment();
    environment.reader = Some(Box::new(|name| match name {
        "rules" => Ok("pass in # no break at the end".to_owned()),
        "good" => Ok("b = 22\npass out proto tcp to port $b\n".to_owned()),
        "bad" => Ok("pass\n\npass to port 22\n".to_owned()),
        "table" => Ok("10.0.0.0/8 # a\n!10.1.0.0/16\n\nlo0 ::1\n".to_owned()),
        "loop" => Ok("include \"loop\"\n".to_owned()),
        _ => Err("No such file or directory".to_owned()),
    }));
    let good =
        parse("include \"good\"\ntable <t> file \"table\"\nblock in proto tcp to port $b\n", &environment);
    let good = good.expect("a ruleset");
    assert_eq!(good.rules.filter.len(), 2);
    assert_eq!(good.files, ["", "good"]);
    assert_eq!((good.rules.filter[0].place.file, good.rules.filter[0].place.line), (1, 2));
    assert_eq!((good.rules.filter[1].place.file, good.rules.filter[1].place.line), (0, 3));
    let told = |text| parse(text, &environment).expect_err(text).remove(0);
    let bad = told("block in\ninclude \"bad\"\n");
    assert_eq!((bad.file.as_deref(), bad.line), (Some("bad"), 3));
    assert_eq!(told("pass\nload anchor x from \"bad\"\n").file.as_deref(), Some("bad"));
    assert_eq!(told("include \"nowhere\"\n").line, 1);
    assert_eq!(told("table <t> file \"nowhere\"\n").line, 1);
    assert_eq!(told("include \"loop\"\n").message, "failed to include file `loop`: too many files are open");
    // The line of the `include` directive ends a line that the included file left unterminated.
    let open = parse("include \"rules\"\npass out\n", &environment).expect("a ruleset");
    assert_eq!(open.rules.filter.len(), 2);
    let loaded = parse("load anchor \"a/b\" from \"good\"\n", &environment).expect("a ruleset");
    assert_eq!(loaded.loads[0].anchor, "a/b");
    assert_eq!(loaded.loads[0].ruleset.as_ref().map(|ruleset| ruleset.rules.filter.len()), Some(1));
}

#[test]
fn macros_from_outside_take_precedence() {
    let mut environment = environment();
    environment.macros.insert("egress".to_owned(), "en0".to_owned());
    let text = "egress = \"en1\"\nnat on $egress inet from 10/8 to any -> ($egress:0)\n";
    let ruleset = parse(text, &environment).expect("a ruleset");
    let wanted = "egress = \"en1\"\nnat on en0 inet from 10.0.0.0/8 to any -> (en0:0)\n";
    assert_eq!(print(&ruleset, Names::MacOs), wanted);
}

#[test]
fn nesting_depth_is_limited() {
    for (before, open) in [("pass from ", "{ "), ("", "anchor {\n"), ("table <t> ", "{ ")] {
        let text = format!("{before}{}", open.repeat(50_000));
        let errors = parse(&text, &environment()).expect_err(open);
        assert!(errors[0].message.contains("braces nested"), "{errors:?}");
    }
}

#[test]
fn expansion_is_limited() {
    let list = |count: u32| (1..=count).map(|port| port.to_string()).collect::<Vec<_>>().join(" ");
    let rule = format!("pass proto tcp from any port {{ {} }} to any port {{ {} }}\n", list(300), list(300));
    let wide = format!("anchor on {{ {} }} {{\n", list(50));
    let doubled = format!("a = \"x\"\n{}", "a = $a $a\n".repeat(25));
    let nested = format!("{}pass\n{}", wide.repeat(20), "}\n".repeat(20));
    for text in [rule.repeat(2), nested, doubled] {
        assert!(parse(&text, &environment()).is_err());
    }
}

#[test]
fn a_large_anchor_is_parsed_quickly() {
    use std::fmt::Write as _;
    let mut text = String::from("table <all_of_them> {\n");
    for index in 0..10_000u32 {
        let _ = writeln!(text, "10.{}.{}.0/24", index / 256, index % 256);
    }
    text.push_str("}\n");
    for index in 0..3_000u32 {
        let port = 1 + index % 60_000;
        let _ = writeln!(
            text,
            "pass quick inet proto tcp from <all_of_them> to 10.0.0.{} port {port}",
            index % 256
        );
    }
    let start = std::time::Instant::now();
    let ruleset = parse(&text, &environment()).expect("a ruleset");
    assert_eq!(ruleset.rules.filter.len(), 3_000);
    // A release build on a slow machine needs a tenth of this; the limit only rules out quadratic time.
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}
