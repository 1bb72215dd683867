//! A difference to paste into a pull request: what opens and closes first, all else folded away.

use std::fmt::Write;

use super::text::{evidence, file, headline, object};
use super::{Diff, Statement, Verb};

/// The whole difference.
pub fn markdown(diff: &Diff, lines: bool) -> String {
    let mut out = format!("### Network: {}\n", summary(diff));
    let statements = || diff.flows.iter().chain(&diff.translations);
    block(&mut out, None, statements().map(headline));
    let witnesses = statements().flat_map(|statement: &Statement| {
        let packets = statement.changes.iter().map(|change| format!("    {}", evidence(change)));
        std::iter::once(headline(statement)).chain(packets)
    });
    block(&mut out, Some("A packet for each"), witnesses);
    block(&mut out, Some("Providers, volumes and settings"), diff.objects.iter().map(object));
    block(&mut out, Some("Files"), diff.files.iter().map(file));
    if lines {
        let lines = diff.files.iter().flat_map(|file| file.unified.lines()).map(str::to_owned);
        block(&mut out, Some("Lines"), lines);
    }
    out
}

/// How much opened and closed, in a few words.
pub fn summary(diff: &Diff) -> String {
    if diff.is_empty() {
        return "no difference".to_owned();
    }
    let count = |verbs: &[Verb], word: &str| {
        let count = diff.flows.iter().filter(|statement| verbs.contains(&statement.verb)).count();
        (count > 0).then(|| format!("{count} {word}"))
    };
    let opened = count(&[Verb::Opens, Verb::Admits], "opened");
    let closed = count(&[Verb::Closes, Verb::Blocks], "closed");
    let other = count(&[Verb::Silences, Verb::Answers, Verb::Leaves], "otherwise");
    let translated = diff.translations.len();
    let translated = (translated > 0).then(|| format!("{translated} translated otherwise"));
    let parts: Vec<String> = [opened, closed, other, translated].into_iter().flatten().collect();
    if parts.is_empty() { "no flow opened or closed".to_owned() } else { parts.join(", ") }
}

/// Lines in a block of their own, under a title that unfolds them if there is one.
fn block(out: &mut String, title: Option<&str>, lines: impl Iterator<Item = String>) {
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() {
        return;
    }
    let body = lines.join("\n");
    // A fence longer than any run of backticks inside: a path may hold some.
    let fence = "`".repeat(longest_run(&body).max(2) + 1);
    let block = format!("{fence}diff\n{body}\n{fence}\n");
    let _ = match title {
        None => write!(out, "\n{block}"),
        Some(title) => write!(out, "\n<details><summary>{title}</summary>\n\n{block}\n</details>\n"),
    };
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}
