//! What a run calls most of all tools, in the one form that it does: answered here, without starting the real ones.

use std::env;
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::Answer;

/// What the tool does and prints, in macOS's words. None for any other use, which the real tool has to see.
pub fn run(name: &str, args: &[String]) -> Option<Answer> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let are_files = |files: &[&str]| !files.is_empty() && !files.iter().any(|file| file.starts_with('-'));
    match (name, words.as_slice()) {
        ("mv", ["-f", from, to]) if are_files(&[from, to]) && !Path::new(to).is_dir() => mv(from, to),
        ("rm", ["-f", files @ ..]) if are_files(files) => Some(rm(files)),
        ("mkdir", ["-p", dirs @ ..]) if are_files(dirs) => done(dirs.iter().try_for_each(fs::create_dir_all)),
        ("rmdir", dirs) if are_files(dirs) => done(dirs.iter().try_for_each(fs::remove_dir)),
        ("ln", [from, to]) if are_files(&[from, to]) && !Path::new(to).is_dir() => {
            done(fs::hard_link(from, to))
        }
        ("cat", files) if are_files(files) => done(cat(files)),
        ("cmp", ["-s", one, other]) if are_files(&[one, other]) => cmp(one, other),
        ("tail", ["-c", "1", file]) if are_files(&[file]) => tail(file),
        ("date", ["+%Y-%m-%dT%H:%M:%SZ"]) if env::var("TZ").is_ok_and(|zone| zone == "UTC0") => Some(date()),
        _ => None,
    }
}

/// Success, or what the real tool makes of it: doing it again fails again, in its own words.
fn done(result: io::Result<()>) -> Option<Answer> {
    result.ok().map(|()| Answer::default())
}

fn cat(files: &[&str]) -> io::Result<()> {
    let opened: Vec<fs::File> = files.iter().map(fs::File::open).collect::<io::Result<_>>()?;
    opened.into_iter().try_for_each(|mut file| io::copy(&mut file, &mut io::stdout().lock()).map(drop))
}

fn cmp(one: &str, other: &str) -> Option<Answer> {
    let differs = fs::read(one).ok()? != fs::read(other).ok()?;
    Some(Answer { code: differs.into(), ..Answer::default() })
}

fn tail(file: &str) -> Option<Answer> {
    let text = fs::read(file).ok()?;
    done(io::stdout().write_all(&text[text.len().saturating_sub(1)..]))
}

/// The time of day; the calendar is counted in years that begin on the first of March.
fn date() -> Answer {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year + u64::from(month < 3);
    let day = day - (153 * shifted + 2) / 5 + 1;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let mut answer = Answer::default();
    answer.say(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"));
    answer
}

fn mv(from: &str, to: &str) -> Option<Answer> {
    match fs::rename(from, to) {
        Ok(()) => Some(Answer::default()),
        // The real tool copies then.
        Err(error) if error.kind() == ErrorKind::CrossesDevices => None,
        Err(error) => Some(Answer::fail(1, format!("mv: rename {from} to {to}: {}", words(&error)))),
    }
}

fn rm(files: &[&str]) -> Answer {
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
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
