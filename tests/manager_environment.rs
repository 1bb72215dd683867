//! The environment has no effect on the manager: neither variables, nor functions that some shells import from it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::network::{Network, SHELLS, shell_of_macos, small};
use crate::rig::Ran;

/// Builtins that are not special builtins, so that a function of the same name takes precedence. A bash started in
/// POSIX mode does not import a function named `[`, and prints a complaint.
const BUILTINS: [&str; 22] = [
    "test", "printf", "echo", "read", "cd", "pwd", "command", "type", "umask", "true", "false", "kill",
    "wait", "local", "declare", "let", "builtin", "enable", "hash", "getopts", "alias", "jobs",
];

/// Every name in the manager's text that is used as a variable.
fn variables(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices('$') {
        let rest = text[at + 1..].trim_start_matches('{');
        let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        if name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            names.insert(name);
        }
    }
    assert!(names.len() > 60, "{names:?}");
    names
}

fn hostile(network: &Network, stolen: &Path, more: &[&str]) -> Vec<String> {
    let text = fs::read_to_string(network.base().join("manage-macos-networking.sh")).expect("the manager");
    let tools = fs::read_dir(network.mac.bin()).expect("the tools").flatten();
    let tools: Vec<String> = tools.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let mut words: Vec<String> =
        variables(&text).iter().map(|name| format!("{name}=evil\nexport {name}=x")).collect();
    words.extend(
        ["ENV", "BASH_ENV", "CDPATH", "GREP_OPTIONS", "CLICOLOR_FORCE", "COMMAND_MODE"]
            .map(|name| format!("{name}=/evil")),
    );
    words.push("COLUMNS=1".to_owned());
    for name in BUILTINS.iter().chain(more).map(|name| (*name).to_owned()).chain(tools) {
        words.push(format!(
            "BASH_FUNC_{name}%%=() {{ /bin/echo {name} >>'{}'; return 1; }}",
            stolen.display()
        ));
    }
    words
}

/// Exit code, output lines and errors of a run, with paths, tokens and times removed.
fn told(ran: &Ran, of: &Network) -> (i32, Vec<String>, String) {
    let place = of.mac.dir().display().to_string();
    let line = |line: &str| {
        line.split("; token ").next().unwrap_or_default().split("Z ").last().unwrap_or_default().to_owned()
    };
    (ran.code, ran.out.replace(&place, "").lines().map(line).collect(), ran.err.replace(&place, ""))
}

fn nothing_counts(shell: &[&str], more: &[&str]) {
    let (network, plain) = (Network::new(&small()), Network::new(&small()));
    let stolen = network.mac.dir().join("stolen");
    let words = hostile(&network, &stolen, more);
    let bare = network.mac.kernel();
    let manager = network.base().join("manage-macos-networking.sh");
    for command in ["plan", "start", "status", "reconcile", "start", "logs", "test", "stop", "cleanup"] {
        let mut run = Command::new("/usr/bin/env");
        run.arg("-i").args(&words).args(shell).arg(&manager).arg(command);
        let ran = Ran::of(&run.output().expect("the manager runs"));
        assert_eq!(told(&ran, &network), told(&plain.run(command), &plain), "{shell:?} {command}");
        assert!(!stolen.exists(), "{shell:?} {command}: {}", fs::read_to_string(&stolen).unwrap_or_default());
    }
    network.assert_clean(&bare);
}

#[test]
fn the_environment_has_no_effect() {
    for shell in SHELLS {
        nothing_counts(shell, &[]);
    }
}

#[test]
fn the_environment_has_no_effect_under_the_shell_of_macos() {
    let Some(shell) = shell_of_macos() else { return };
    nothing_counts(shell, &[]);
    // macOS runs the shell under the name `sh`, and bash imports functions before it enters POSIX mode.
    let directory = tempfile::tempdir().expect("a directory");
    let sh = directory.path().join("sh");
    symlink(shell[0], &sh).expect("a link");
    nothing_counts(&[&sh.display().to_string()], &["[", "a-b"]);
}
