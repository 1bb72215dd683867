//! The program on a terminal and beside other runs of itself: colour, interrupts, many at once, completions of names.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use serde_json::json;

use crate::support::{fixture, program, root, run};

fn told(words: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = program();
    command.env_remove("NO_COLOR").envs(environment.iter().copied()).args(words).current_dir(root());
    let output = command.output().expect("the program runs");
    String::from_utf8(output.stdout).expect("text") + &String::from_utf8(output.stderr).expect("text")
}

/// Commands that print text, each with what it needs.
const TEXT: &[&[&str]] = &[
    &["check"],
    &["check", "--input", "tests/fixtures/overlap.json"],
    &["check", "--input", "/nowhere"],
    &["test"],
    &["explain", "etcd-1", "etcd-2:5432", "--input", "tests/fixtures/restricted.json"],
    &["diff", "tests/fixtures/restricted.json", "tests/fixtures/restricted-more.json"],
    &["graph"],
    &["help", "E025"],
    &["pf", "print", "tests/pf/cases/services.conf"],
    &[
        "add",
        "volume",
        "etcd-9",
        "--provider",
        "aws",
        "--dry-run",
        "--file",
        "templates/flake/configuration.nix",
    ],
    &["--help"],
];

#[test]
fn every_output_has_colour_when_asked_and_the_same_text_without() {
    for words in TEXT {
        let with = |when: &'static str| [*words, &["--color", when][..]].concat();
        let (always, never) = (told(&with("always"), &[]), told(&with("never"), &[]));
        assert!(always.contains('\x1b'), "{words:?}");
        assert!(!never.contains('\x1b'), "{words:?}");
        assert_eq!(anstream::adapter::strip_str(&always).to_string(), never, "{words:?}");
        assert_eq!(told(&with("auto"), &[]), never, "{words:?}: no terminal, no colour");
        assert_eq!(told(&with("auto"), &[("CLICOLOR_FORCE", "1")]), always, "{words:?}");
        assert_eq!(told(&with("auto"), &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]), never, "{words:?}");
        assert_eq!(told(&with("always"), &[("NO_COLOR", "1"), ("TERM", "dumb")]), always, "{words:?}");
    }
}

/// A terminal with a command line on it, whatever the environment of these tests says of colour and interrupts.
fn script(line: &str) -> Command {
    // A shell's background job ignores SIGINT, and so does all that it starts: these tests may be in one.
    let mut command = Command::new("env");
    command.args(["--default-signal=INT", "script", "-qec", line, "/dev/null"]);
    for variable in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
        command.env_remove(variable);
    }
    command.current_dir(root()).env("TERM", "xterm");
    command
}

/// What a command writes on a terminal.
fn on_a_terminal(line: &str, environment: &[(&str, &str)]) -> String {
    let line = format!("{} {line}", env!("CARGO_BIN_EXE_nixvol-net"));
    let mut command = script(&line);
    command.stdin(Stdio::null()).envs(environment.iter().copied());
    String::from_utf8_lossy(&command.output().expect("script runs").stdout).into_owned()
}

#[test]
fn a_terminal_has_colour_unless_it_is_dumb_or_colour_is_turned_off() {
    if !crate::support::has_tool("script", "no terminal was tried") {
        return;
    }
    assert!(on_a_terminal("check", &[]).contains('\x1b'));
    for environment in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        assert_eq!(on_a_terminal("check", &[environment]), "5 providers, 13 volumes, 1 link: valid\r\n");
    }
    assert!(!on_a_terminal("check --color never", &[]).contains('\x1b'));
}

#[test]
fn render_prints_a_summary_and_more_when_asked() {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("bundle").display().to_string();
    let render = |more: &[&str]| told(&[&["render", "--out", &out], more].concat(), &[]);
    let summary = render(&[]);
    assert!(summary.lines().count() < 15 && summary.contains("5 providers, 13 volumes, 1 link"), "{summary}");
    assert_eq!(render(&["--quiet"]), "");
    let picture = render(&["--picture"]);
    assert!(picture.contains("bridge-aws") && picture.contains("What may open connections"), "{picture}");
    let refused = run(&["render", "--out", "-"], "");
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && error.contains("a bundle is a directory"), "{error}");
}

/// Twenty providers with fifty volumes each: what takes a while to write.
fn thousand(directory: &Path) -> String {
    let mut input = crate::support::providers(20);
    for n in 0..1000 {
        let (provider, host) = (n % 20, n / 20 + 2);
        input["volumes"][format!("v{n}")] =
            json!({ "provider": format!("p{provider}"), "address": format!("10.0.{provider}.{host}") });
    }
    let path = directory.join("input.json");
    fs::write(&path, input.to_string()).expect("a file");
    path.display().to_string()
}

#[test]
#[cfg(unix)]
fn an_interrupt_leaves_nothing_behind() {
    use std::os::unix::process::ExitStatusExt;
    let directory = tempfile::tempdir().expect("a directory");
    let input = thousand(directory.path());
    let place = directory.path().join("place");
    fs::create_dir(&place).expect("a directory");
    let names = || -> Vec<String> {
        let entries = fs::read_dir(&place).expect("a directory");
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    };
    let mut interrupted = 0;
    for (signal, delay) in [("INT", 0), ("TERM", 20), ("HUP", 40), ("INT", 80)] {
        let out = place.join("bundle").display().to_string();
        let mut child = program()
            .args(["render", "--quiet", "--input", &input, "--out", &out])
            .spawn()
            .expect("the program starts");
        let begun = Instant::now();
        while !names().iter().any(|name| name.starts_with(".nixvol-net-")) {
            assert!(
                child.try_wait().expect("a child").is_none() || begun.elapsed() < Duration::from_secs(60)
            );
            if child.try_wait().expect("a child").is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(delay));
        let _ = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
        let status = child.wait().expect("the program ends");
        interrupted += usize::from(status.signal().is_some());
        let left = names();
        let whole = if status.success() { vec!["bundle".to_owned()] } else { Vec::new() };
        assert_eq!(left, whole, "{signal} after {delay} ms: {status}");
        let _ = fs::remove_dir_all(place.join("bundle"));
    }
    assert!(interrupted > 0, "no run was caught at work");
}

/// A terminal with a command on it, and what is typed there.
fn terminal(line: &str) -> Child {
    let mut command = script(line);
    command.env("NO_COLOR", "1").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script runs")
}

/// What a terminal shows in the end: carriage returns go back, and `erase to the end of the line` erases.
fn shown(written: &str) -> String {
    let line = |line: &str| {
        let (mut cells, mut at): (Vec<char>, usize) = (Vec::new(), 0);
        let mut rest = line;
        while let Some(next) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix("\x1b[K") {
                cells.truncate(at);
                rest = after;
                continue;
            }
            rest = &rest[next.len_utf8()..];
            if next == '\r' {
                at = 0;
                continue;
            }
            assert!(next != '\x1b', "{written:?}");
            cells.resize(cells.len().max(at + 1), ' ');
            cells[at] = next;
            at += 1;
        }
        cells.into_iter().collect::<String>()
    };
    written.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

const WAITING: &str = "waiting for another program that writes there";

#[test]
#[cfg(unix)]
fn what_takes_a_while_says_so_on_a_terminal_alone_and_is_erased() {
    if !crate::support::has_tool("script", "no progress was watched") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name).display().to_string();
    // As another run does that writes beside it.
    let others = fs::File::open(directory.path()).expect("a directory");
    flock(&others, FlockOperation::LockExclusive).expect("a lock");
    let program_and = |rest: &str| {
        format!(
            "{} render --out {}/bundle {rest}",
            env!("CARGO_BIN_EXE_nixvol-net"),
            directory.path().display()
        )
    };
    let on_terminal = terminal(&program_and(""));
    let to_a_file = terminal(&program_and(&format!(">{}", at("stdout"))));
    let dumb = terminal(&format!("TERM=dumb {}", program_and("")));
    let piped = program()
        .args(["render", "--out", &at("bundle")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let piped = piped.expect("the program starts");
    std::thread::sleep(Duration::from_millis(2600));
    flock(&others, FlockOperation::Unlock).expect("no lock");
    let ended = |child: Child| {
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success());
        (String::from_utf8(output.stdout).expect("text"), String::from_utf8(output.stderr).expect("text"))
    };
    let (written, _) = ended(on_terminal);
    assert!(
        written.contains(&format!("{WAITING} … 1 s")) && written.contains(&format!("{WAITING} … 2 s")),
        "{written:?}"
    );
    let summary = |text: &str| text.contains("5 providers, 13 volumes, 1 link") && text.contains("proven: ");
    let left = shown(&written);
    assert!(summary(&left) && !left.contains(WAITING) && !left.contains('…'), "{left:?}");
    let (written, _) = ended(to_a_file);
    assert!(written.contains(WAITING) && shown(&written).is_empty(), "{written:?}");
    let file = fs::read_to_string(at("stdout")).expect("the file");
    assert!(summary(&file) && !file.contains('\x1b') && !file.contains('…'), "{file:?}");
    let (written, _) = ended(dumb);
    assert!(summary(&written) && !written.contains(WAITING), "{written:?}");
    let (out, error) = ended(piped);
    assert!(summary(&out) && !out.contains('…') && error.is_empty(), "{out:?} {error:?}");
}

#[test]
#[cfg(unix)]
fn control_c_ends_what_waits_and_what_writes_and_leaves_nothing() {
    if !crate::support::has_tool("script", "no interrupt was typed") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let input = thousand(directory.path());
    let place = directory.path().join("place");
    fs::create_dir(&place).expect("a directory");
    let out = place.join("bundle").display().to_string();
    let line = format!("{} render --quiet --input {input} --out {out}", env!("CARGO_BIN_EXE_nixvol-net"));
    let names = || fs::read_dir(&place).expect("a directory").count();
    let interrupted = |mut child: Child| {
        // What is typed before the program is in the foreground interrupts nothing, so it is typed again.
        let mut keyboard = child.stdin.take().expect("the keyboard");
        let begun = Instant::now();
        while child.try_wait().expect("a status").is_none() && keyboard.write_all(b"\x03").is_ok() {
            assert!(begun.elapsed() < Duration::from_secs(60), "Ctrl-C does not end it");
            std::thread::sleep(Duration::from_millis(500));
        }
        let output = child.wait_with_output().expect("it ends");
        (output.status.code(), shown(&String::from_utf8_lossy(&output.stdout)))
    };
    // As shells tell the end by SIGINT.
    let by_interrupt = Some(128 + 2);
    let others = fs::File::open(&place).expect("a directory");
    flock(&others, FlockOperation::LockExclusive).expect("a lock");
    let child = terminal(&line);
    std::thread::sleep(Duration::from_millis(1800));
    assert_eq!(interrupted(child).0, by_interrupt);
    flock(&others, FlockOperation::Unlock).expect("no lock");
    assert_eq!(names(), 0);
    let mut caught = 0;
    for _ in 0..4 {
        let child = terminal(&line);
        let begun = Instant::now();
        while names() == 0 && begun.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let (code, _) = interrupted(child);
        caught += usize::from(code == by_interrupt);
        assert!(
            code == by_interrupt && names() == 0 || code == Some(0) && names() == 1,
            "{code:?}, {} left",
            names()
        );
        let _ = fs::remove_dir_all(place.join("bundle"));
    }
    assert!(caught > 0, "no run was caught at work");
}

#[test]
fn concurrent_renders_into_one_directory_all_succeed() {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("bundle");
    for _ in 0..3 {
        let children: Vec<_> = (0..16)
            .map(|n| {
                let input =
                    if n % 2 == 0 { "tests/fixtures/single.json" } else { "tests/fixtures/ways.json" };
                program()
                    .args(["render", "--input", input, "--out"])
                    .arg(&out)
                    .current_dir(root())
                    .stdout(Stdio::null())
                    .stderr(Stdio::piped())
                    .spawn()
                    .expect("the program starts")
            })
            .collect();
        for child in children {
            let output = child.wait_with_output().expect("the program ends");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let verified = program().arg("verify").arg(&out).output().expect("the program runs");
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1);
        fs::remove_dir_all(&out).expect("a bundle");
    }
}

#[test]
#[cfg(unix)]
fn a_bundle_whose_declaration_is_a_link_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let bundle = directory.path().join("bundle");
    assert!(program().args(["render", "--quiet", "--out"]).arg(&bundle).status().expect("it runs").success());
    fs::rename(bundle.join("network.json"), directory.path().join("network.json")).expect("moved");
    std::os::unix::fs::symlink("../network.json", bundle.join("network.json")).expect("a link");
    let bundle = bundle.display().to_string();
    for words in [
        &["verify", &bundle][..],
        &["snapshot", "check", "--dir", &bundle],
        &["snapshot", "accept", "--dir", &bundle],
        &["diff", &bundle, "tests/fixtures/single.json"],
    ] {
        let output = program().args(words).current_dir(root()).output().expect("the program runs");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {error}");
        assert!(error.contains("network.json is a symbolic link") && error.contains("hint: "), "{error}");
    }
}

#[test]
fn a_nix_file_as_input_is_refused_with_the_command_to_use() {
    let hint = |words: &[&str]| {
        let output = program().args(words).current_dir(root()).output().expect("the program runs");
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        let error = String::from_utf8(output.stderr).expect("text");
        error.split_once("\nhint: ").unwrap_or_else(|| panic!("{error}")).1.to_owned()
    };
    let of = "config.services.nixvol-net.input";
    let file = "templates/flake/configuration.nix";
    assert_eq!(
        hint(&["check", "--input", file]),
        format!(
            "nix eval --json templates/flake#darwinConfigurations.mac.{of} | nixvol-net check --input -\n"
        )
    );
    assert_eq!(
        hint(&["diff", file, "tests/fixtures/single.json"]),
        format!(
            "nix eval --json templates/flake#darwinConfigurations.mac.{of} | nixvol-net diff - tests/fixtures/single.json\n"
        )
    );
    let missing = run(&["check", "--input", "/nowhere/a.nix"], "");
    assert_eq!(
        String::from_utf8_lossy(&missing.stderr),
        "error: cannot read /nowhere/a.nix: No such file or directory\n"
    );
}

/// What the program offers for the last of these words.
fn offered(words: &[&str]) -> Vec<String> {
    let mut command = program();
    command.env("COMPLETE", "fish").arg("--").arg("nixvol-net").args(words).current_dir(root());
    let output = command.output().expect("the program runs");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn completions_offer_the_names_of_the_declaration() {
    assert_eq!(offered(&["explain", "etcd"]), ["etcd-1", "etcd-2", "etcd-3"]);
    assert_eq!(offered(&["explain", "--input", "tests/fixtures/rich.json", "d"]), ["db"]);
    assert_eq!(offered(&["explain", "--input=tests/fixtures/rich.json", "db", "int"]), ["internet"]);
    assert_eq!(offered(&["explain", "aws.g"]), ["aws.gateway"]);
    let file = "--file=templates/flake/configuration.nix";
    assert_eq!(offered(&["move", "volume", file, "karpenter-worker-5", "--to", "di"]), ["digitalocean"]);
    assert_eq!(offered(&["remove", "provider", file, "az"]), ["azure"]);
    assert_eq!(offered(&["add", "expect", file, "--from", "inter"]), ["internet"]);
    let links = offered(&["remove", "link", "--input", "tests/fixtures/rich.json", "links."]);
    assert_eq!(links.len(), fixture("rich.json")["links"].as_array().expect("links").len());
    assert_eq!(offered(&["help", "E02"]), ["E020", "E021", "E022", "E023", "E024", "E025"]);
    // What cannot be read completes nothing, and is no failure.
    for input in ["/nowhere", "tests/main.rs", "tests"] {
        assert_eq!(offered(&["explain", "--input", input, "etcd"]), [] as [&str; 0], "{input}");
    }
    assert!(!offered(&["lab", ""]).contains(&"serve".to_owned()));
}
