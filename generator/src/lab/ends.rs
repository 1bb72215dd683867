//! Runs the manager's step that kills states which new rules no longer permit, exactly as the manager does.
//!
//! It exists so that a change of rules has the same effect on open connections in the lab as on the Mac. The step is
//! a part of the manager's awk program, and awk runs it here. Never: which states exist.

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use ipnet::Ipv4Net;
use nixvol_net::loading::load;
use nixvol_net::plan::Plan;
use nixvol_net::render::KILL_STEP;

use super::running::interfaces;

/// Source and destination networks whose connections must end when the anchor text `new` replaces `old`.
pub fn ends(plan: &Plan, old: &str, new: &str) -> Result<Vec<(Ipv4Net, Ipv4Net)>> {
    let directory = tempfile::tempdir().context("cannot make a directory")?;
    let at = |name: &str| directory.path().join(name);
    let interfaces = interfaces(plan);
    let loaded = |text: &str| load(text, &interfaces).text;
    fs::write(at("rules.conf"), loaded(old))?;
    fs::write(at("rules.new"), loaded(new))?;
    let mut begin = "BEGIN {\n    sameboot = 1\n".to_owned();
    for (number, bridge) in (1..).zip(&plan.bridges) {
        let (name, network) = (&bridge.provider, bridge.network);
        writeln!(begin, "    np = {number}; provider[np] = \"{name}\"; network[\"{name}\"] = \"{network}\"")?;
    }
    begin += "    P[\"state\"] = state\n    while ((getline line < (state \"/rules.new\")) > 0) rule[++nrules] = line\n";
    begin += "    say_ends()\n}\n";
    let output = Command::new("awk")
        .arg("-v")
        .arg(format!("state={}", directory.path().display()))
        .arg(KILL_STEP.to_owned() + &begin)
        .stdin(Stdio::null())
        .output()
        .context("cannot run awk, which the manager's step needs")?;
    if !output.status.success() {
        bail!("the manager's step failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8(output.stdout).context("the manager's step says no text")?;
    text.lines().map(pair).collect()
}

fn pair(line: &str) -> Result<(Ipv4Net, Ipv4Net)> {
    let net = |word: &str| word.parse().or_else(|_| format!("{word}/32").parse::<Ipv4Net>());
    let pair = line.strip_prefix("end\t").and_then(|pair| pair.split_once('\t'));
    let (from, to) = pair.with_context(|| format!("not a pair: {line}"))?;
    Ok((net(from)?, net(to)?))
}
