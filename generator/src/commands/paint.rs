//! Colour on a terminal. It only repeats what the text says, so that nothing is lost without it.
//!
//! The text of a command is painted line by line, by matching its words, so that no module of the library deals with
//! colour. What passes is green, what is refused or wrong is red, partial results and warnings are yellow; labels are
//! faint.

use std::fmt::Write;
use std::io::{self, IsTerminal};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default();
const CALM: Style = AnsiColor::Cyan.on_default();
const FAINT: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// Words with their styles. A word comes before any shorter one that is its prefix.
type Words = &'static [(&'static str, Style)];

/// The kind of text that is painted.
#[derive(Debug, Clone, Copy)]
pub enum Paint {
    /// The result of a proof, and the matrix of permitted connections.
    Proof,
    /// The path of a packet.
    Way,
    /// A picture drawn with box characters.
    Picture,
    /// pf rules.
    Rules,
    /// A page of `help`.
    Page,
    /// The changed lines of a file, and the flows that the change opens and closes; the latter are coloured already.
    Edit,
    /// The status of the lab.
    #[cfg_attr(
        not(all(feature = "lab", target_os = "linux")),
        expect(dead_code, reason = "labs are of Linux")
    )]
    Lab,
}

const PROOF: Words = &[
    ("not proven", BAD),
    ("proven", GOOD),
    ("valid", GOOD),
    ("as expected", GOOD),
    ("written", GOOD),
    ("all", GOOD),
    ("some", WARNING),
    ("NAT", CALM),
];
const WAY: Words = &[
    ("BLOCKED", BAD),
    ("blocked", BAD),
    ("THE RULES ARE WRONG", BAD),
    ("NOTE", WARNING),
    ("passes", GOOD),
    ("refused", WARNING),
];
const RULES: Words = &[
    ("block", BAD),
    ("pass", GOOD),
    ("no nat", CALM),
    ("no rdr", CALM),
    ("nat", CALM),
    ("rdr", CALM),
    ("scrub", CALM),
    ("dummynet", CALM),
    ("anchor", CALM),
    ("table", CALM),
];
const LAB: Words = &[("cut off from", BAD), ("blocked", WARNING), ("dropped", WARNING), ("delivered", GOOD)];
/// The labels in the output of `explain`.
const LABELS: [&str; 6] = ["rule", "because", "but", "declared", "pipe", "state"];

/// Whether to use colour on a stream: as `--color` says; by default, on a terminal that supports it unless `NO_COLOR`
/// is set.
pub fn colour(stream: &impl anstream::stream::RawStream) -> bool {
    AutoStream::choice(stream) != ColorChoice::Never
}

/// The text, painted if standard output shows colour.
pub fn painted(text: &str, paint: Paint) -> String {
    if colour(&io::stdout()) { lines(text, paint) } else { text.to_owned() }
}

/// The text for standard error; if that shows colour, a leading `error:`, `hint:`, `note:` or `more:` of a line is
/// painted.
pub fn told(text: &str) -> String {
    if text.contains('\x1b') || !colour(&io::stderr()) {
        return text.to_owned();
    }
    let heads = [("error:", BAD), ("hint:", CALM), ("note:", WARNING), ("more:", FAINT)];
    let line = |line: &str| match heads.iter().find(|(head, _)| line.starts_with(head)) {
        Some((head, style)) => format!("{style}{head}{style:#}{}", &line[head.len()..]),
        None => line.to_owned(),
    };
    text.split_inclusive('\n').map(line).collect()
}

/// Whether standard error is a terminal on which a line can be rewritten.
pub fn is_watched() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

fn lines(text: &str, paint: Paint) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let body = line.strip_suffix('\n').unwrap_or(line);
        out.push_str(&match paint {
            Paint::Proof => words(body, PROOF),
            Paint::Way => way(body, index),
            Paint::Picture => picture(body),
            Paint::Rules => rule(body),
            Paint::Page if index == 0 => whole(body, BOLD),
            Paint::Page => page(body),
            Paint::Edit => edit(body),
            Paint::Lab => words(body, LAB),
        });
        out.push_str(&line[body.len()..]);
    }
    out
}

fn whole(line: &str, style: Style) -> String {
    if line.is_empty() { String::new() } else { format!("{style}{line}{style:#}") }
}

/// Paints known words where they are whole words.
fn words(line: &str, known: Words) -> String {
    let mut out = String::new();
    let mut rest = line;
    let mut before = None;
    while let Some(first) = rest.chars().next() {
        let is_start = before.is_none_or(is_between);
        let ends = |word: &str| rest[word.len()..].chars().next().is_none_or(is_between);
        let found = known.iter().find(|(word, _)| is_start && rest.starts_with(word) && ends(word));
        if let Some((word, style)) = found {
            let _ = write!(out, "{style}{word}{style:#}");
            rest = &rest[word.len()..];
            before = word.chars().last();
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            before = Some(first);
        }
    }
    out
}

/// Whether a character separates words. A name such as `all-in-one` is one word.
fn is_between(character: char) -> bool {
    !(character.is_alphanumeric() || "-_.".contains(character))
}

fn way(line: &str, index: usize) -> String {
    if index == 0 {
        let (title, verdict) = line.split_once(": ").unwrap_or((line, ""));
        let separator = if verdict.is_empty() { "" } else { ": " };
        return format!("{}{separator}{}", whole(title, BOLD), words(verdict, WAY));
    }
    let indent = line.len() - line.trim_start().len();
    let label = line.trim_start().split("  ").next().unwrap_or_default();
    let is_label = indent > 4 && LABELS.iter().any(|known| label.trim_end().starts_with(known));
    if is_label {
        let end = indent + label.len();
        return format!("{}{}{}", &line[..indent], whole(label, FAINT), &line[end..]);
    }
    if indent == 0 && !line.contains(':') {
        return whole(line, BOLD);
    }
    words(line, WAY)
}

/// Makes the lines of boxes faint, so that names stand out.
fn picture(line: &str) -> String {
    let is_line =
        |character: char| ('\u{2500}'..='\u{257f}').contains(&character) || "+|-=<>".contains(character);
    let mut out = String::new();
    let mut is_faint = false;
    let mut before = ' ';
    for character in line.chars() {
        // A hyphen inside a name belongs to the name.
        let line_here = is_line(character) && (character != '-' || !before.is_alphanumeric());
        if line_here != is_faint {
            let _ = if line_here { write!(out, "{FAINT}") } else { write!(out, "{FAINT:#}") };
            is_faint = line_here;
        }
        out.push(character);
        before = character;
    }
    if is_faint {
        let _ = write!(out, "{FAINT:#}");
    }
    out
}

fn rule(line: &str) -> String {
    // Only the first word is the action of a rule; later words may be names.
    let found =
        RULES.iter().find(|(word, _)| line.strip_prefix(word).is_some_and(|rest| rest.starts_with(' ')));
    found.map_or_else(
        || line.to_owned(),
        |(word, style)| format!("{style}{word}{style:#}{}", &line[word.len()..]),
    )
}

fn page(line: &str) -> String {
    if line.starts_with("    ") { whole(line, FAINT) } else { line.to_owned() }
}

fn edit(line: &str) -> String {
    if line.contains('\x1b') {
        return line.to_owned();
    }
    match line.chars().next() {
        _ if line.starts_with("---") || line.starts_with("+++") => whole(line, BOLD),
        Some('@') => whole(line, CALM),
        Some('+') => whole(line, GOOD),
        Some('-') => whole(line, AnsiColor::Red.on_default()),
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Paint, lines};

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn colour_changes_no_word() {
        let texts = [
            (Paint::Proof, "proven: 37 rules\n\n  aws  all  some  NAT  -\n  all-in-one  all\n"),
            (
                Paint::Way,
                "etcd-1 -> etcd-2 tcp 5432: blocked at hop 2\n\nThe packet\n  1  out lo0  passes\n       rule      x:1  pass\n",
            ),
            (Paint::Picture, "+--- aws ---+\n| veth-etcd-1 |\n└─┘ a-b\n"),
            (Paint::Rules, "block return quick\npass all\nblocked\n"),
            (Paint::Page, "title\n\n    $ code\ntext"),
            (Paint::Edit, "--- a\n+++ b\n@@ 1 @@\n+ x\n- y\n z\n"),
        ];
        for (paint, text) in texts {
            let painted = lines(text, paint);
            assert_ne!(painted, text, "{paint:?}");
            assert_eq!(plain(&painted), text, "{paint:?}");
        }
    }

    #[test]
    fn a_name_that_holds_a_word_is_no_word() {
        for name in ["all-in-one", "small", "not-all", "all.aws", "proven_1"] {
            assert_eq!(lines(name, Paint::Proof), name);
        }
        assert_eq!(lines("blocked \"x\"", Paint::Rules), "blocked \"x\"");
    }
}
