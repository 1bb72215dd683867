//! A status on a terminal: tables, with colours that only repeat what the words say.

use std::fmt::Write;

use super::Status;

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";

/// The whole status.
pub fn text(status: &Status, colour: bool) -> String {
    let mut out = String::new();
    let (words, hue) = match (status.wish, status.healthy) {
        (Some("up"), true) => ("up, as declared", GREEN),
        (Some("up"), false) => ("up, but not as declared", RED),
        (Some(_), true) => ("down, as requested", GREEN),
        (Some(_), false) => ("down, but something is left", RED),
        (None, _) => ("down: not started", YELLOW),
    };
    let _ = writeln!(out, "network   {}", painted(words, hue, colour));
    let _ = writeln!(
        out,
        "ways out  {}\n",
        if status.ways_out.is_empty() { "none".to_owned() } else { status.ways_out.join(", ") }
    );
    let both = |logical: &str, kernel: &Option<String>| match kernel {
        Some(kernel) => format!("{logical} = {kernel}"),
        None => logical.to_owned(),
    };
    let providers = status
        .providers
        .iter()
        .map(|it| [it.name.clone(), both(&it.bridge, &it.kernel), String::new(), it.state.to_owned()]);
    let volumes = status.volumes.iter().map(|it| {
        let port = it.port.as_ref().map_or_else(|| "-".to_owned(), |port| both(port, &it.kernel));
        [it.name.clone(), port, it.address.to_string(), it.state.to_owned()]
    });
    table(&mut out, ["PROVIDER", "BRIDGE", "", "STATE"], providers.collect(), colour);
    table(&mut out, ["VOLUME", "PORT", "ADDRESS", "STATE"], volumes.collect(), colour);
    if !status.pipes.is_empty() {
        let pipes = status
            .pipes
            .iter()
            .map(|it| [it.number.to_string(), it.conditions.clone(), it.way.clone(), it.state.to_owned()]);
        table(&mut out, ["PIPE", "CONDITIONS", "PATH", "STATE"], pipes.collect(), colour);
    }
    for refused in &status.refused {
        let _ = writeln!(out, "{}", painted(&format!("! a start would be refused: {refused}"), RED, colour));
    }
    for finding in &status.findings {
        let _ = writeln!(out, "{}", painted(&format!("! {}: {}", finding.about, finding.what), RED, colour));
    }
    for note in &status.notes {
        let _ = writeln!(out, "{}", painted(&format!("note: {note}"), YELLOW, colour));
    }
    for line in &status.advice {
        let _ = writeln!(out, "{line}");
    }
    if status.findings.is_empty() && status.refused.is_empty() {
        out.push_str("no problems\n");
    }
    out
}

fn table(out: &mut String, heading: [&str; 4], rows: Vec<[String; 4]>, colour: bool) {
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).chain([heading[column].len()]).max().unwrap_or(0)
    };
    let widths = [0, 1, 2].map(width);
    let mut line = |cells: [&str; 4], hue: &str| {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(widths).filter(|(_, width)| *width > 0) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        let _ = writeln!(
            out,
            "{line}{}",
            if hue.is_empty() { cells[3].to_owned() } else { painted(cells[3], hue, colour) }
        );
    };
    line(heading, "");
    for row in &rows {
        let hue = match row[3].as_str() {
            "up" | "ready for its guest" => GREEN,
            "not as declared" | "missing" | "of another program" => RED,
            _ => YELLOW,
        };
        line([&row[0], &row[1], &row[2], &row[3]], hue);
    }
    out.push('\n');
}

fn painted(text: &str, hue: &str, colour: bool) -> String {
    if colour { format!("{hue}{text}{PLAIN}") } else { text.to_owned() }
}
