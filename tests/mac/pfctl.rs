//! `pfctl`: atomic loads into anchors, enable tokens, and noise on standard error.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::net::Ipv4Addr;

use crate::kernel::Kernel;
use crate::net::Net;
use crate::pf::{self, Section};
use crate::{Answer, FORBIDDEN};

#[derive(Default)]
struct Options {
    dry: bool,
    quiet: bool,
    verbose: u8,
    anchor: Option<String>,
    file: Option<String>,
    enable: bool,
    release: Option<String>,
    flush: Option<String>,
    show: Option<String>,
    interface: Option<String>,
    kill: Vec<String>,
    table: Option<String>,
    table_command: Option<String>,
    defines: Vec<(String, String)>,
    forbidden: Option<&'static str>,
}

pub fn run(kernel: &mut Kernel, args: &[&str]) -> Answer {
    if kernel.uid != 0 {
        return Answer::fail(1, "pfctl: /dev/pf: Permission denied");
    }
    let options = match options(args) {
        Ok(options) => options,
        Err(answer) => return answer,
    };
    let main = options.anchor.is_none();
    let forbidden = options.forbidden.or(match (&options.flush, &options.file) {
        (Some(what), _) if main && what == "all" => Some("-F all without -a"),
        (Some(_), _) if main => Some("-F without -a"),
        (_, Some(_)) if main => Some("-f without -a"),
        _ => None,
    });
    if let Some(what) = forbidden {
        return Answer::fail(FORBIDDEN, format!("toymac: nobody may call pfctl {what} here"));
    }
    let mut answer = Answer::default();
    if !options.quiet {
        answer.warn("No ALTQ support in kernel\nALTQ related functions disabled");
    }
    if let Some(file) = &options.file {
        load(kernel, &options, file, &mut answer);
    }
    if answer.code == 0 && options.table_command.is_some() {
        table(kernel, &options, &mut answer);
    }
    if answer.code == 0 && !options.dry {
        act(kernel, &options, &mut answer);
    }
    answer
}

fn options(args: &[&str]) -> Result<Options, Answer> {
    let usage = || Answer::fail(1, "usage: pfctl [-AdeghmNnOqRrvz] [-a anchor] [-D macro=value] …");
    let mut o = Options::default();
    let mut args = args.iter();
    while let Some(&arg) = args.next() {
        let Some(letters) = arg.strip_prefix('-').filter(|l| !l.is_empty()) else {
            return Err(usage());
        };
        let mut letters = letters.chars();
        while let Some(letter) = letters.next() {
            let mut value = || {
                let attached: String = letters.by_ref().collect();
                if attached.is_empty() { args.next().map(|v| (*v).to_owned()) } else { Some(attached) }
            };
            match letter {
                'n' => o.dry = true,
                'q' => o.quiet = true,
                'v' => o.verbose += 1,
                'E' => o.enable = true,
                'e' => o.forbidden = Some("-e"),
                'd' => o.forbidden = Some("-d"),
                'a' => o.anchor = Some(value().ok_or_else(usage)?),
                'f' => o.file = Some(value().ok_or_else(usage)?),
                'X' => o.release = Some(value().ok_or_else(usage)?),
                'F' => o.flush = Some(value().ok_or_else(usage)?),
                's' => o.show = Some(value().ok_or_else(usage)?),
                'i' => o.interface = Some(value().ok_or_else(usage)?),
                'k' => o.kill.push(value().ok_or_else(usage)?),
                't' => o.table = Some(value().ok_or_else(usage)?),
                'T' => o.table_command = Some(value().ok_or_else(usage)?),
                'D' => {
                    let text = value().ok_or_else(usage)?;
                    let (name, text) = text.split_once('=').ok_or_else(usage)?;
                    o.defines.push((name.to_owned(), text.to_owned()));
                }
                _ => return Err(usage()),
            }
        }
    }
    Ok(o)
}

/// Parses the whole file first: a file with an error changes nothing.
fn load(kernel: &mut Kernel, options: &Options, file: &str, answer: &mut Answer) {
    let anchor = options.anchor.clone().unwrap_or_default();
    answer.warn(concat!(
        "pfctl: Use of -f option, could result in flushing of rules\n",
        "present in the main ruleset added by the system at startup.\n",
        "See /etc/pf.conf for further details.\n"
    ));
    let bad_name = anchor.split('/').any(|part| part.is_empty() || part.len() > 63);
    if bad_name || anchor.starts_with('_') {
        answer.warn(format!("pfctl: invalid anchor name `{anchor}`"));
        answer.code = 1;
        return;
    }
    let (name, text) = if file == "-" {
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        ("stdin", read.map(|_| text))
    } else {
        (file, fs::read_to_string(file))
    };
    let Ok(text) = text else {
        answer.warn(format!("pfctl: {file}: No such file or directory"));
        answer.code = 1;
        return;
    };
    let unknown = (1..)
        .zip(text.lines())
        .find(|(_, line)| kernel.lacks_extfilter && !line.starts_with('#') && line.contains(" extfilter "));
    if let Some((line, _)) = unknown {
        answer.warn(format!("{name}:{line}: syntax error"));
        answer.warn("pfctl: Syntax error in config file: pf rules not loaded");
        answer.code = 1;
        return;
    }
    match pf::read(&text, kernel, &options.defines) {
        Ok(ruleset) if ruleset.of(Section::Option).next().is_some() => {
            answer.warn("toymac: an option in an anchor changes the whole machine");
            answer.code = FORBIDDEN;
        }
        Ok(ruleset) => {
            if !options.dry {
                kernel.counts.retain(|(path, _), _| *path != anchor);
                if ruleset.is_empty() {
                    kernel.anchors.remove(&anchor);
                } else {
                    kernel.anchors.insert(anchor, ruleset);
                }
            }
        }
        Err((line, error)) => {
            answer.warn(format!("{name}:{line}: {error}"));
            answer.warn("pfctl: Syntax error in config file: pf rules not loaded");
            answer.code = 1;
        }
    }
}

fn act(kernel: &mut Kernel, options: &Options, answer: &mut Answer) {
    if let Some(what) = &options.flush {
        flush(kernel, options, what, answer);
    }
    if !options.kill.is_empty() {
        kill_states(kernel, &options.kill, answer);
    }
    if options.enable {
        let token = 15_000_000_000_000_000_000 + kernel.tick * 7919;
        let pid = u32::try_from(4000 + kernel.tick).unwrap_or(u32::MAX);
        kernel.tokens.insert(0, (token, pid, "pfctl".to_owned()));
        if !options.quiet {
            answer.warn(if kernel.pf_enabled { "pf already enabled" } else { "pf enabled" });
            answer.warn(format!("Token : {token}"));
        }
        kernel.pf_enabled = true;
    }
    if let Some(token) = &options.release {
        release(kernel, token, answer);
    }
    if let Some(what) = &options.show {
        show(kernel, options, what, answer);
    }
}

/// Kills states by their source network, or by source and destination if two networks are given.
fn kill_states(kernel: &mut Kernel, ends: &[String], answer: &mut Answer) {
    if ends.len() > 2 {
        answer.warn("pfctl: can only specify -k twice");
        answer.code = 1;
        return;
    }
    let mut nets: Vec<Net> = Vec::new();
    for end in ends {
        let Ok(net) = end.parse().or_else(|()| end.parse::<Ipv4Addr>().map(Net::from)) else {
            answer.warn(format!("pfctl: getaddrinfo: nodename nor servname provided, or not known: {end}"));
            answer.code = 1;
            return;
        };
        nets.push(net);
    }
    let before = kernel.states.len();
    kernel.states.retain(|state| {
        let from = nets.first().is_none_or(|net| net.contains(state.from.0));
        let to = nets.get(1).is_none_or(|net| net.contains(state.to.0));
        !(from && to)
    });
    let killed = before - kernel.states.len();
    let destinations = nets.len().saturating_sub(1);
    answer.warn(format!("killed {killed} states from 1 sources and {destinations} destinations"));
}

fn release(kernel: &mut Kernel, token: &str, answer: &mut Answer) {
    let before = kernel.tokens.len();
    kernel.tokens.retain(|(held, _, _)| held.to_string() != token);
    if kernel.tokens.len() == before {
        answer.warn("pfctl: DIOCSTOPREF: Invalid argument");
        answer.code = 1;
    } else if kernel.tokens.is_empty() {
        kernel.pf_enabled = false;
        answer.warn("pf disabled");
    }
}

fn flush(kernel: &mut Kernel, options: &Options, what: &str, answer: &mut Answer) {
    let anchor = options.anchor.clone().unwrap_or_default();
    let Some(ruleset) = kernel.anchors.get_mut(&anchor) else {
        answer.warn("rules cleared");
        return;
    };
    let spares = kernel.spares_dummynet;
    match what {
        "all" => ruleset.flush(|s| !spares || s != Section::Dummynet),
        "nat" => ruleset.flush(|s| s == Section::Translation),
        "rules" => {
            ruleset.flush(|s| matches!(s, Section::Normalization | Section::Queueing | Section::Filter));
        }
        "Tables" => ruleset.flush(|s| s == Section::Table),
        _ => {
            answer.warn(format!("pfctl: Unknown flush modifier '{what}'"));
            answer.code = 1;
            return;
        }
    }
    if ruleset.is_empty() {
        kernel.counts.retain(|(path, _), _| *path != anchor);
        kernel.anchors.remove(&anchor);
    }
    answer.warn("rules cleared\nnat cleared\n0 tables deleted.");
}

fn show(kernel: &Kernel, options: &Options, what: &str, answer: &mut Answer) {
    let anchor = options.anchor.clone().unwrap_or_default();
    let ruleset = kernel.anchors.get(&anchor);
    match what {
        "info" => {
            let status = if kernel.pf_enabled { "Enabled" } else { "Disabled" };
            answer.say(format!("Status: {status} for 0 days 00:01:02           Debug: Urgent"));
            let entries = kernel.crowd + kernel.states.len() as u64;
            answer.say("\nState Table                          Total             Rate");
            answer.say(format!("  current entries           {entries:>14}               "));
            answer.say("  searches                     812907123         1234.5/s\n  inserts                         403123           12.0/s");
        }
        "memory" => {
            let limit = kernel.state_limit.unwrap_or(10_000);
            answer.say(format!("states        hard limit {limit:>8}\napp-states    hard limit {limit:>8}"));
            answer.say("src-nodes     hard limit    10000\nfrags         hard limit     5000");
        }
        "References" | "references" => references(kernel, answer),
        // Direct children; with -v all descendants too (pfctl.c, pfctl_show_anchors).
        "Anchors" => {
            let parents = |path: &str| -> Vec<String> {
                path.match_indices('/')
                    .map(|(at, _)| path[..at].to_owned())
                    .chain([path.to_owned()])
                    .collect()
            };
            let paths: BTreeSet<String> = kernel.anchors.keys().flat_map(|path| parents(path)).collect();
            let below = |path: &String| match path.strip_prefix(&anchor) {
                Some(rest) if anchor.is_empty() => Some(rest.to_owned()),
                Some(rest) => rest.strip_prefix('/').map(str::to_owned),
                None => None,
            };
            for path in paths.iter().filter(|path| !path.is_empty()) {
                if below(path).is_some_and(|rest| options.verbose > 0 || !rest.contains('/')) {
                    answer.say(format!("  {path}"));
                }
            }
        }
        "nat" | "rules" | "dummynet" | "Tables" | "labels" => {
            let Some(rules) = ruleset else {
                answer.warn("pfctl: DIOCGETRULES: Invalid argument");
                return;
            };
            match what {
                "nat" => rules.of(Section::Translation).for_each(|line| answer.say(line)),
                "dummynet" => rules.of(Section::Dummynet).for_each(|line| answer.say(line)),
                "rules" => {
                    for section in [Section::Normalization, Section::Filter] {
                        for line in rules.of(section) {
                            answer.say(line);
                            if options.verbose > 0 {
                                answer.say("  [ Evaluations: 0         Packets: 0         Bytes: 0           States: 0     ]");
                                answer.say("  [ Inserted: uid 0 pid 0 ]");
                            }
                        }
                    }
                }
                "Tables" => rules.tables().iter().for_each(|name| answer.say(name)),
                _ => {
                    for label in rules.labels() {
                        let key = (anchor.clone(), label.to_owned());
                        let (n, bytes) = kernel.counts.get(&key).map_or((0, 0), |n| (*n, n * 84));
                        answer.say(format!("{label} {n} {n} {bytes} 0 0 {n} {bytes}"));
                    }
                }
            }
        }
        "states" => {
            for s in &kernel.states {
                answer.say(format!(
                    "ALL {} {}:{} -> {}:{}       ESTABLISHED:ESTABLISHED",
                    s.protocol, s.from.0, s.from.1, s.to.0, s.to.1
                ));
            }
        }
        "Interfaces" => {
            for i in &kernel.interfaces {
                if options.interface.as_ref().is_none_or(|only| *only == i.name) {
                    let skipped = options.verbose > 0 && kernel.skipped.contains(&i.name);
                    answer.say(format!("{}{}", i.name, if skipped { " (skip)" } else { "" }));
                }
            }
        }
        _ => {
            answer.warn(format!("pfctl: Unknown show modifier '{what}'"));
            answer.code = 1;
        }
    }
}

fn references(kernel: &Kernel, answer: &mut Answer) {
    if kernel.tokens.is_empty() {
        answer.say("No pf starter references held");
        return;
    }
    answer.say("TOKENS:");
    answer.say("PID      Process Name                 TOKEN                    TIMESTAMP");
    for (token, pid, name) in &kernel.tokens {
        answer.say(format!("{pid:<8} {name:<28} {token:<24} 0 days 00:00:00"));
    }
}

fn table(kernel: &Kernel, options: &Options, answer: &mut Answer) {
    let anchor = options.anchor.clone().unwrap_or_default();
    let name = options.table.clone().unwrap_or_default();
    let members = kernel.anchors.get(&anchor).and_then(|r| r.table(&name));
    match (options.table_command.as_deref(), members) {
        (Some("show"), Some(members)) => {
            for member in members {
                answer.say(format!("   {member}"));
            }
        }
        (Some("show"), None) => {
            answer.warn("pfctl: Table does not exist.");
            answer.code = 255;
        }
        _ => {
            answer.warn("toymac: tables are only shown here");
            answer.code = FORBIDDEN;
        }
    }
}
