//! The pages of `help`: every code has one, and each page shows the program's real output. `readme.rs` runs the guides.
//!
//! `NIXVOL_README=update cargo test help` updates the pages when the program's messages change.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use nixvol_net::help::{ERRORS, GUIDES, Page, WARNINGS};
use nixvol_net::render::MANAGER;
use serde_json::{Value, json};

use crate::network::{Network, topology};
use crate::nix::evaluate;
use crate::support::{program, root, run};

/// A page with its source and its three code blocks.
struct Told {
    page: &'static Page,
    markdown: String,
    /// The language of its declarations, `nix` or `json`.
    language: &'static str,
}

impl Told {
    fn of(page: &'static Page) -> Self {
        let path = root().join("generator/src/help").join(format!("{}.md", page.topic));
        let markdown = std::fs::read_to_string(path).expect(page.topic);
        let language = if markdown.contains("```nix\n") { "nix" } else { "json" };
        Self { page, markdown, language }
    }

    /// The range of the code block under a heading.
    fn block(&self, heading: &str, language: &str) -> std::ops::Range<usize> {
        let open = format!("\n{heading}:\n\n```{language}\n");
        let at = self.markdown.find(&open).unwrap_or_else(|| panic!("{}: no {open:?}", self.page.topic));
        let start = at + open.len();
        start..start + self.markdown[start..].find("```\n").expect("a closed block")
    }

    fn text(&self, heading: &str) -> &str {
        &self.markdown[self.block(heading, self.language)]
    }
}

/// The JSON of the pages' declarations under a heading; those in Nix are evaluated all at once.
fn inputs(pages: &[Told], heading: &str) -> Vec<String> {
    let mut expression = String::from(
        "let data = import ./modules/data.nix { lib = import ./tests/nix/lib; }; \
         of = config: data ({ providers = { }; volumes = { }; } // config.services.nixvol-net); in [\n",
    );
    for told in pages.iter().filter(|told| told.language == "nix") {
        writeln!(expression, "(of {{ {} }})", told.text(heading)).expect("a string");
    }
    let evaluated = evaluate(&format!("{expression}]")).expect("the examples evaluate");
    let mut evaluated = evaluated.as_array().expect("a list").iter().map(Value::to_string);
    let of = |told: &Told| match told.language {
        "nix" => evaluated.next().expect("one for each"),
        _ => told.text(heading).to_owned(),
    };
    let inputs = pages.iter().map(of).collect();
    assert_eq!(evaluated.next(), None);
    inputs
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let words = std::fs::read_to_string(root().join("generator/src/problem/words.rs")).expect("the words");
    let codes: Vec<&str> = words.split("=> \"").skip(1).filter_map(|rest| rest.get(..4)).collect();
    let codes: BTreeSet<&str> = codes.into_iter().filter(|code| code.starts_with(['E', 'W'])).collect();
    assert!(codes.len() > 30, "the codes were not found");
    let all = || ERRORS.iter().chain(WARNINGS);
    let pages: BTreeSet<&str> = all().map(|page| page.topic).collect();
    assert_eq!(pages, codes);
    assert!(all().is_sorted_by_key(|page| page.topic));
    for page in all() {
        let first = Told::of(page).markdown.lines().next().expect("a title").to_owned();
        assert_eq!(first, format!("# {}: {}", page.topic, page.title()));
    }
}

#[test]
fn every_page_shows_the_real_output() {
    let update = std::env::var("NIXVOL_README").is_ok_and(|value| value == "update");
    let mut pages: Vec<Told> = ERRORS.iter().chain(WARNINGS).map(Told::of).collect();
    let inputs = inputs(&pages, "Wrong");
    for (told, input) in pages.iter_mut().zip(&inputs) {
        let topic = told.page.topic;
        let data = run(&["check", "--input", "-", "--format", "json"], input);
        let (code, list) = if topic.starts_with('W') { (0, "warnings") } else { (2, "problems") };
        assert_eq!(data.status.code(), Some(code), "{topic}");
        let data: Value = serde_json::from_slice(&data.stdout).expect("JSON");
        let codes: Vec<&Value> =
            data[list].as_array().expect("problems").iter().map(|p| &p["code"]).collect();
        assert_eq!(codes, [topic], "the example gives exactly its own error");

        let text = run(&["check", "--input", "-"], input);
        let text = String::from_utf8(text.stderr).expect("text");
        let (error, _) = text.split_once("\n\n").expect("the error stands alone");
        let error = format!("{error}\n");
        let shown = told.block("Printed", "text");
        if update {
            told.markdown.replace_range(shown, &error);
            let path = root().join("generator/src/help").join(format!("{topic}.md"));
            std::fs::write(path, &told.markdown).expect("the page can be written");
        } else {
            assert_eq!(told.markdown[shown], error, "{topic}; hint: NIXVOL_README=update cargo test help");
        }
    }
}

#[test]
fn the_fix_on_every_page_is_valid() {
    let pages: Vec<Told> = ERRORS.iter().chain(WARNINGS).map(Told::of).collect();
    for (told, input) in pages.iter().zip(inputs(&pages, "Right")) {
        let output = run(&["check", "--input", "-"], &input);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{}: {error}", told.page.topic);
        assert!(!error.contains("warning["), "{error}");
        assert_ne!(told.text("Wrong"), told.text("Right"), "{}", told.page.topic);
    }
}

#[test]
fn the_migration_guide_removes_the_old_network() {
    let network = Network::new(&topology());
    let before = network.mac.kernel();
    for line in [
        "ifconfig bridge200 create",
        "ifconfig bridge200 inet 10.0.1.1 netmask 255.255.255.0 up",
        "ifconfig lo0 alias 10.0.2.2 netmask 255.255.255.255",
        "ifconfig lo0 alias 127.0.1.11 netmask 255.255.255.255",
        "route -n add -net 10.0.0.0/16 -interface bridge200",
    ] {
        network.mac.ok(line);
    }
    network.fails("start", 3, "refused: nothing was changed");
    let page = std::fs::read_to_string(root().join("generator/src/help/migration.md")).expect("the page");
    let blocks: Vec<&str> =
        page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().expect("a block")).collect();
    let [remove, plan] = blocks.as_slice() else { panic!("{blocks:?}") };
    for line in remove.lines() {
        network.mac.ok(line.trim_start_matches("sudo "));
    }
    assert_eq!(network.mac.kernel(), before, "all of the old network is gone");
    let command = plan.trim().rsplit_once(' ').expect("a command").1;
    assert!(plan.contains(MANAGER) && network.ok(command).contains("create bridge-aws (bridge2000)"));
    network.ok("start");
}

#[test]
fn the_manager_has_help_for_each_of_its_commands() {
    let network = Network::new(&topology());
    let help = network.ok("help");
    assert!(help.lines().all(|line| line.len() <= 100), "{help}");
    let script = std::fs::read_to_string(network.base().join(MANAGER)).expect("the manager");
    let known =
        script.lines().find(|line| line.trim_start().starts_with("help | ")).expect("the list of commands");
    let known: Vec<&str> = known.split(')').next().expect("a list").split('|').map(str::trim).collect();
    assert!(known.len() > 9, "{known:?}");
    for command in known {
        let start = format!("  {command} ");
        assert!(help.lines().any(|line| line.starts_with(&start)), "{command} is not in:\n{help}");
    }
}

#[test]
fn a_page_fits_a_terminal() {
    for page in ERRORS {
        let text = page.text();
        // Printed output may have any width; the text around it may not.
        let printed =
            text.split("Printed:").nth(1).expect("Printed").split("Right:").next().expect("Right").to_owned();
        for line in text.replace(&printed, "").lines() {
            assert!(line.chars().count() <= 100, "{}: {line}", page.topic);
            assert!(line.starts_with("    ") || line.len() <= 82, "{}: {line}", page.topic);
        }
        assert!(!text.contains("```") && !text.contains("# E"), "{}", page.topic);
    }
    for page in GUIDES {
        for line in page.text().lines() {
            // Commands and their output may have any width, and tables a little more than text.
            let width = if line.starts_with('|') { 98 } else { 82 };
            assert!(line.starts_with("    ") || line.len() <= width, "{}: {line}", page.topic);
            assert!(!line.starts_with('#') && !line.contains("```"), "{}: {line}", page.topic);
        }
    }
}

fn asked(words: &[&str]) -> (Option<i32>, String, String) {
    let output = run(&[&["help"], words].concat(), "");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_code_is_recognized_in_every_form() {
    let page = ERRORS.iter().find(|page| page.topic == "E012").expect("E012").text();
    for form in ["E012", "e012", "E12", "e12", "12", "012", "error[E012]", "error[E012]:"] {
        assert_eq!(asked(&[form]), (Some(0), page.clone(), String::new()), "{form}");
    }
}

#[test]
fn an_unknown_topic_is_reported_with_the_nearest() {
    let nearest = |word: &str| {
        let (code, out, error) = asked(&[word]);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{word}");
        let start = format!("error: there is no help on \"{word}\"\nhint: ");
        error.strip_prefix(&start).unwrap_or_else(|| panic!("{error}")).to_owned()
    };
    assert_eq!(nearest("E026"), "did you mean `nixvol-net help E025`?\n");
    assert_eq!(nearest("e99"), "did you mean `nixvol-net help E081`?\n");
    assert_eq!(nearest("0"), "did you mean `nixvol-net help E001`?\n");
    assert_eq!(nearest("chek"), "did you mean `nixvol-net help check`?\n");
    assert_eq!(nearest("error"), "did you mean `nixvol-net help errors`?\n");
    for word in ["weather", "", "E", "E99999999999999999999"] {
        assert!(nearest(word).contains("lists the commands"), "{word}");
    }
    assert_eq!(asked(&["pf", "evil"]).0, Some(2));
    assert_eq!(asked(&["E012", "E013"]).0, Some(2));
}

#[test]
fn the_help_of_a_command_is_the_commands_own() {
    for words in [&[][..], &["check"], &["pf"], &["pf", "eval"], &["help"]] {
        let own = program().args(words).arg("--help").output().expect("the program runs");
        assert_eq!(
            asked(words),
            (Some(0), String::from_utf8(own.stdout).expect("text"), String::new()),
            "{words:?}"
        );
    }
}

#[test]
fn the_table_and_its_json_list_every_code_once() {
    let (code, table, _) = asked(&["errors"]);
    assert_eq!(code, Some(0));
    let pages = || ERRORS.iter().chain(WARNINGS);
    assert_eq!(table.lines().count(), pages().count());
    let data: Value = serde_json::from_str(&asked(&["errors", "--format", "json"]).1).expect("JSON");
    let rows: Vec<Value> = pages().map(|page| json!({ "code": page.topic, "title": page.title() })).collect();
    assert_eq!(data, json!({ "version": 1, "errors": rows }));
    for (line, page) in table.lines().zip(pages()) {
        assert_eq!(line, format!("{}  {}", page.topic, page.title()));
    }
    let page = &ERRORS[0];
    let data: Value = serde_json::from_str(&asked(&["E1", "--format", "json"]).1).expect("JSON");
    assert_eq!(
        data,
        json!({ "version": 1, "topic": page.topic, "title": page.title(), "text": page.text() })
    );
    let data: Value = serde_json::from_str(&asked(&["pf", "eval", "--format", "json"]).1).expect("JSON");
    assert_eq!(data["text"], asked(&["pf", "eval"]).1);
}

#[test]
fn check_refers_to_help_once() {
    let more = |input: &str| {
        let output = run(&["check", "--input", "-"], input);
        let error = String::from_utf8(output.stderr).expect("text");
        assert_eq!(error.matches("nixvol-net help").count(), 1, "{error}");
        error.lines().last().expect("a last line").to_owned()
    };
    assert_eq!(more("{}"), "more: `nixvol-net help E003`");
    assert_eq!(
        more(r#"{ "version": 2, "colour": 1 }"#),
        "more: `nixvol-net help E003`, likewise for E004, E006"
    );
}
