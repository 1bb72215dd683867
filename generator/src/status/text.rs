//! A status as text, with the wording and order of the manager. Colours only repeat what the words say.

use std::fmt::Write;

use super::faults::OnDemand;
use super::record::Status;

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";

/// The widths of all columns but the last.
const PROVIDERS: [usize; 4] = [14, 34, 18, 18];
const VOLUMES: [usize; 4] = [24, 42, 15, 15];
const PIPES: [usize; 3] = [8, 42, 42];

/// The complete text.
pub fn text(status: &Status, colour: bool) -> String {
    let mut out = String::new();
    let (words, hue) = match (status.wish, status.healthy) {
        (Some("up"), true) => ("up", GREEN),
        (Some("up"), false) => ("up, but not as declared", RED),
        (Some(_), true) => ("down, as requested", GREEN),
        (Some(_), false) => ("down, but something is left", RED),
        (None, _) => ("down: not started", YELLOW),
    };
    let wish = status.wish.unwrap_or("none");
    let _ = writeln!(out, "network      {}; desired: {wish}", painted(words, hue, colour));
    let both = |logical: &str, kernel: &Option<String>| match kernel {
        Some(kernel) => format!("{logical} ({kernel})"),
        None => logical.to_owned(),
    };
    let providers = status.providers.iter().map(|it| {
        let bridge = both(&it.bridge, &it.kernel);
        ([it.name.clone(), bridge, it.gateway.to_string(), it.network.to_string()], it.state)
    });
    table(&mut out, ["PROVIDER", "BRIDGE", "GATEWAY", "NETWORK"], PROVIDERS, providers.collect(), colour);
    let volumes = status.volumes.iter().map(|it| {
        let port = it.port.as_ref().map_or_else(|| "-".to_owned(), |port| both(port, &it.kernel));
        let alias = it.localhost.map_or_else(|| "-".to_owned(), |alias| alias.to_string());
        ([it.name.clone(), port, it.address.to_string(), alias], it.state)
    });
    table(&mut out, ["VOLUME", "PORT", "ADDRESS", "LOCALHOST"], VOLUMES, volumes.collect(), colour);
    if !status.pipes.is_empty() {
        let pipes = status
            .pipes
            .iter()
            .map(|it| ([it.number.to_string(), it.conditions.clone(), it.way.clone()], it.state));
        table(&mut out, ["PIPE", "CONDITIONS", "PATH"], PIPES, pipes.collect(), colour);
    }
    out.push('\n');
    for OnDemand {
        action,
        from,
        to,
        until,
        deadline: _,
        state,
        conditions,
        latency_ms: _,
        loss: _,
        bandwidth_kbit: _,
    } in &status.faults
    {
        let to = to.as_ref().map_or_else(String::new, |to| format!(" {to}"));
        let like = conditions.as_ref().map_or_else(String::new, |like| format!(": {like}"));
        let until = until.as_ref().map_or_else(
            || "until it is healed, a stop or a restart".to_owned(),
            |until| format!("until {until}"),
        );
        let hue = if *state == "in force" { YELLOW } else { RED };
        let state = painted(state, hue, colour);
        let _ = writeln!(out, "fault        {action} {from}{to}{like}, {until} ({state})");
    }
    let ways = if status.ways_out.is_empty() { "none".to_owned() } else { status.ways_out.join(", ") };
    let _ = writeln!(out, "egress       {ways}");
    for refused in &status.refused {
        let _ = writeln!(out, "refused      {}", painted(refused, RED, colour));
    }
    for finding in &status.findings {
        let _ = writeln!(
            out,
            "problem      {}",
            painted(&format!("{}: {}", finding.about, finding.what), RED, colour)
        );
    }
    for note in &status.notes {
        let _ = writeln!(out, "note         {}", painted(note, YELLOW, colour));
    }
    for line in &status.advice {
        let _ = writeln!(out, "{line}");
    }
    out
}

fn table<const N: usize>(
    out: &mut String,
    heading: [&str; N],
    widths: [usize; N],
    rows: Vec<([String; N], &str)>,
    colour: bool,
) {
    out.push('\n');
    let mut line = |cells: [&str; N], state: &str| {
        let cells = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$} "));
        let _ = writeln!(out, "{}{state}", cells.collect::<String>());
    };
    line(heading, "STATE");
    for (row, state) in &rows {
        let hue = match *state {
            "up" | "ready for its guest" => GREEN,
            "not as declared" | "missing" | "of another program" => RED,
            _ => YELLOW,
        };
        line(row.each_ref().map(String::as_str), &painted(state, hue, colour));
    }
}

fn painted(text: &str, hue: &str, colour: bool) -> String {
    if colour { format!("{hue}{text}{PLAIN}") } else { text.to_owned() }
}
