//! `mv -f FILE FILE` and `rm -f FILES`, which a run calls most of all tools: answered here, without starting the real ones.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::Answer;

/// What the tool does and prints, in macOS's words. None for any other use, which the real tool has to see.
pub fn run(name: &str, args: &[String]) -> Option<Answer> {
    let [option, files @ ..] = args else { return None };
    if option != "-f" || files.is_empty() || files.iter().any(|file| file.starts_with('-')) {
        return None;
    }
    match (name, files) {
        ("mv", [from, to]) if !Path::new(to).is_dir() => mv(from, to),
        ("rm", files) => Some(rm(files)),
        _ => None,
    }
}

fn mv(from: &str, to: &str) -> Option<Answer> {
    match fs::rename(from, to) {
        Ok(()) => Some(Answer::default()),
        // The real tool copies then.
        Err(error) if error.kind() == ErrorKind::CrossesDevices => None,
        Err(error) => Some(Answer::fail(1, format!("mv: rename {from} to {to}: {}", words(&error)))),
    }
}

fn rm(files: &[String]) -> Answer {
    let mut answer = Answer::default();
    for file in files {
        let reason = match fs::remove_file(file) {
            Ok(()) => continue,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(_) if Path::new(file).is_dir() => "is a directory".to_owned(),
            Err(error) => words(&error),
        };
        answer.warn(format!("rm: {file}: {reason}"));
        answer.code = 1;
    }
    answer
}

/// An error as `strerror` names it.
fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
