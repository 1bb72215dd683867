//! A difference as Markdown for a pull request: flows first, everything else folded.

use std::fmt::Write;

use super::text::{evidence, file, headline, object, volume, way};
use super::{Diff, FileChange, Statement};

/// The maximum length of a comment in bytes, after which details are left out: GitHub accepts 65,536 characters.
const LONGEST: usize = 60_000;

/// The whole difference.
pub fn markdown(diff: &Diff, lines: bool) -> String {
    let mut out = format!("### Network: {}\n", diff.summary());
    let statements = || diff.flows.iter().chain(&diff.translations);
    let volumes = diff.volumes.iter().flat_map(volume);
    let changed = statements().map(headline).chain(volumes).chain(diff.conditions.iter().map(way));
    block(&mut out, None, changed);
    let witnesses = statements().flat_map(|statement: &Statement| {
        let flows = statement.changes.iter().map(|change| format!("    {}", evidence(change)));
        std::iter::once(headline(statement)).chain(flows)
    });
    block(&mut out, Some("A flow for each"), witnesses);
    block(&mut out, Some("Providers, volumes and settings"), diff.objects.iter().map(object));
    block(&mut out, Some("Files"), diff.files.iter().map(file));
    if lines {
        block(&mut out, Some("Lines"), diff.files.iter().flat_map(FileChange::lines));
    }
    out
}

/// As many lines as fit, and a line that counts the rest.
fn fitting(mut lines: Vec<String>, room: usize) -> Vec<String> {
    let mut bytes = 0;
    let fit = lines.iter().take_while(|line| {
        bytes += line.len() + 1;
        bytes <= room
    });
    let fit = fit.count();
    let more = lines.len() - fit;
    lines.truncate(fit);
    if more > 0 {
        let are = if more == 1 { "line is" } else { "lines are" };
        lines.push(format!("({more} more {are} left out here)"));
    }
    lines
}

/// Lines in a fenced block; with a title, inside a collapsed section.
fn block(out: &mut String, title: Option<&str>, lines: impl Iterator<Item = String>) {
    let lines = fitting(lines.collect(), LONGEST.saturating_sub(out.len()));
    if lines.is_empty() {
        return;
    }
    let body = lines.join("\n");
    // The fence must be longer than any run of backticks inside: a path may contain some.
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
