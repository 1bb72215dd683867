//! `lab`: runs the declared network with real packets.

mod replay;
mod timeline;

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::lab::LabCommand;

/// Runs `lab`.
pub fn run(command: &LabCommand) -> Result<ExitCode> {
    match command {
        LabCommand::Replay { file } => replay::run(file),
        LabCommand::Timeline { file } => timeline::run(file),
        command => in_namespaces(command),
    }
}

#[cfg(not(all(feature = "lab", target_os = "linux")))]
/// Reports that labs need Linux.
fn in_namespaces(_: &LabCommand) -> Result<ExitCode> {
    anyhow::bail!(
        "the lab needs Linux namespaces\nhint: run it on Linux, in a VM or in CI; a Mac has the network itself, and `lab replay`"
    )
}

#[cfg(all(feature = "lab", target_os = "linux"))]
use linux::run as in_namespaces;

#[cfg(all(feature = "lab", target_os = "linux"))]
mod linux {
    use std::path::{Path, PathBuf};
    use std::time::Duration;
    use std::{process, thread};

    use anyhow::{Context, bail};
    use nixvol_net::model::{self, Declaration, Name};
    use nixvol_net::plan::Plan;
    use nixvol_net::render::{ANCHOR, HOSTS, NETWORK};
    use serde_json::{Value, json};

    use super::{ExitCode, LabCommand, Result};
    use crate::cli::lab::{From, PathArguments};
    use crate::cli::{Format, InputSource};
    use crate::commands::paint::{Paint, painted};
    use crate::commands::prove;
    use crate::commands::{Reading, print, read, reject, timeline, versioned};
    use crate::disk;
    use crate::lab::{self, Asked, LabState, MacSetup, Reply, Request, Setup, Task, Watched};

    /// The exit code of `status` if no lab is up.
    const NO_LAB: u8 = 1;

    /// Runs the subcommands that need namespaces.
    pub fn run(command: &LabCommand) -> Result<ExitCode> {
        match command {
            LabCommand::Replay { file } => super::replay::run(file),
            LabCommand::Timeline { file } => super::timeline::run(file),
            LabCommand::Run { from, command } => start(from, &Task::Run(command.clone())),
            LabCommand::Test { from, format } => start(from, &Task::Test { json: *format == Format::Json }),
            LabCommand::Up { from } => start(from, &Task::Stay),
            LabCommand::Serve { descriptor } => lab::serve(*descriptor),
            LabCommand::Exec { node, command } => Ok(ExitCode::from(lab::exec(node, command)?)),
            LabCommand::Down => down(),
            LabCommand::Status { format } => status(*format),
            LabCommand::Apply { bundle, kill } => apply(bundle, *kill),
            LabCommand::Partition { ends } => fault(ends, None),
            LabCommand::Slow { ends, latency, loss, bandwidth } => {
                fault(ends, Some((*latency, *loss, *bandwidth)))
            }
            LabCommand::Scenario { file, watch, format } => scenario(file, watch, *format),
            LabCommand::Heal { one, other } => {
                command_lab(&Request::Heal { one: one.clone(), other: other.clone() })
            }
            LabCommand::Capture { what, out, seconds } => {
                lab::capture(what, out.as_deref(), seconds.map(Duration::from_secs))?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }

    /// Starts a lab: at the user's address if it stays up, at an address of its own if it exists for one task.
    fn start(from: &From, task: &Task) -> Result<ExitCode> {
        let address = match task {
            Task::Stay => lab::address(),
            _ => format!("{}-{}", lab::address(), process::id()),
        };
        let setup = match setup(from, address, task.clone())? {
            Ok(setup) => setup,
            Err(exit) => return Ok(exit),
        };
        if *task == Task::Stay {
            lab::up(&setup)?;
            return Ok(ExitCode::SUCCESS);
        }
        Ok(ExitCode::from(lab::run(&setup)?))
    }

    /// What the lab is started with; on failure the problem has been reported, and the exit code is returned.
    fn setup(from: &From, address: String, task: Task) -> Result<std::result::Result<Setup, ExitCode>> {
        let bundles = from.bundle.iter().map(|directory| bundle(directory)).collect::<Result<Vec<_>>>()?;
        let declaration = match bundles.split_first() {
            None => match read(&InputSource { input: from.input.clone() })? {
                Reading { declaration: Ok(declaration), .. } => declaration,
                Reading { declaration: Err(rejected), name } => return Ok(Err(reject(&name, &rejected))),
            },
            Some((first, others)) => {
                are_of_one_declaration(first, others)?;
                first.declaration.clone()
            }
        };
        let given = |mac: Option<&Name>| bundles.iter().find(|bundle| mac_of(&bundle.declaration) == mac);
        let mut macs = Vec::new();
        let mut this = 0;
        for (number, mac) in names(&declaration).into_iter().enumerate() {
            if mac == mac_of(&declaration) {
                this = number;
            }
            if let Some(Bundle { setup, .. }) = given(mac) {
                macs.push(setup.clone());
                continue;
            }
            let own = mac.and_then(|mac| declaration.on(mac));
            let own = own.as_ref().unwrap_or(&declaration);
            let file = mac.map_or_else(|| ANCHOR.to_owned(), |mac| format!("{mac}/{ANCHOR}"));
            let bundle = match prove::rendered_for_lab(own, &file)? {
                Ok(bundle) => bundle,
                Err(exit) => return Ok(Err(exit)),
            };
            let text = |name: &str| bundle.files[name].text.clone();
            macs.push(MacSetup { input: text(NETWORK), anchor: text(ANCHOR), hosts: text(HOSTS), file });
        }
        Ok(Ok(Setup { address, macs, this, task }))
    }

    /// The names of the Macs that share a declaration; one without a name if it has no others.
    fn names(declaration: &Declaration) -> Vec<Option<&Name>> {
        let several = declaration.several_macs();
        several.map_or_else(|| vec![None], |mesh| mesh.macs.keys().map(Some).collect())
    }

    /// The Mac that a declaration calls this Mac, if it has others.
    fn mac_of(declaration: &Declaration) -> Option<&Name> {
        declaration.several_macs().map(|mesh| &mesh.mac)
    }

    /// A bundle as the lab uses it.
    struct Bundle {
        directory: PathBuf,
        declaration: Declaration,
        setup: MacSetup,
    }

    /// Checks that bundles are those of different Macs that share a declaration.
    fn are_of_one_declaration(first: &Bundle, others: &[Bundle]) -> Result<()> {
        let shared = |bundle: &Bundle| -> Result<Value> {
            let mut input: Value = serde_json::from_str(&bundle.setup.input)?;
            input["mac"] = Value::Null;
            Ok(input)
        };
        for (number, other) in others.iter().enumerate() {
            let (one, two) = (first.directory.display(), other.directory.display());
            let Some(mac) = mac_of(&other.declaration) else {
                bail!(
                    "{one} and {two}: one bundle is enough\nhint: several are for Macs that share a declaration"
                );
            };
            if shared(first)? != shared(other)? {
                bail!(
                    "{one} and {two} are not of one declaration: only `mac` may differ\nhint: render both again"
                );
            }
            let before = [first].into_iter().chain(&others[..number]);
            if let Some(same) = before.into_iter().find(|it| mac_of(&it.declaration) == Some(mac)) {
                bail!("{} and {two} are both of the Mac {mac}", same.directory.display());
            }
        }
        Ok(())
    }

    /// Reads a bundle: its declaration, and the texts of its input, anchor and hosts file. The rules are used unproven: the
    /// lab shows what they do.
    fn bundle(directory: &Path) -> Result<Bundle> {
        let files = disk::read(directory)?;
        let text = |name: &str| {
            files.get(name).cloned().with_context(|| format!("{} has no {name}", directory.display()))
        };
        let input = text(NETWORK)?;
        let declaration = match model::read(input.as_bytes()) {
            Ok(declaration) => declaration,
            Err(rejected) => {
                reject(&directory.join(NETWORK).display().to_string(), &rejected);
                bail!("{} is not a usable bundle", directory.display());
            }
        };
        let file = directory.join(ANCHOR).display().to_string();
        let setup = MacSetup { input, anchor: text(ANCHOR)?, hosts: text(HOSTS)?, file };
        Ok(Bundle { directory: directory.to_owned(), declaration, setup })
    }

    fn apply(directory: &Path, kill: bool) -> Result<ExitCode> {
        let Bundle { declaration, setup, directory: _ } = bundle(directory)?;
        let MacSetup { input, anchor, file: name, hosts: _ } = setup;
        let plan = Plan::of(&declaration);
        if prove::proven(&plan, &declaration.positions, &name, &anchor).is_err() {
            bail!("the rules are not what {NETWORK} declares, and were not loaded");
        }
        let mut ends = Vec::new();
        let mac = mac_of(&declaration).map(ToString::to_string);
        if kill && let Reply::Loaded { text } = lab::ask(&lab::address(), &Request::Loaded { mac })?.0 {
            ends = lab::ends(&plan, &text, &anchor)?;
        }
        command_lab(&Request::Apply { input, anchor, ends, kill })
    }

    fn fault(
        ends: &PathArguments,
        slow: Option<(Option<u16>, Option<f64>, Option<u32>)>,
    ) -> Result<ExitCode> {
        let PathArguments { one, other, lasts } = ends;
        let asked = Asked { one: one.clone(), other: other.clone(), slow, lasts: *lasts, owner: None };
        command_lab(&Request::Fault(asked))
    }

    /// Plays a scenario. Mistakes in the file, and the absence of a lab, are reported before anything happens.
    fn scenario(file: &Path, watch: &[(String, String)], format: Format) -> Result<ExitCode> {
        let watched =
            |(name, command): &(String, String)| Watched { name: name.clone(), command: command.clone() };
        let watched: Vec<Watched> = watch.iter().map(watched).collect();
        let scenario = match timeline::read(file)? {
            Ok(scenario) => scenario,
            Err(exit) => return Ok(exit),
        };
        if lab::play(&scenario, &watched, format == Format::Json)? {
            return Ok(ExitCode::SUCCESS);
        }
        eprintln!("error: the lab has ended before the scenario");
        Ok(ExitCode::FAILURE)
    }

    /// Sends a request to the user's lab, and prints the reply.
    fn command_lab(request: &Request) -> Result<ExitCode> {
        match lab::ask(&lab::address(), request)?.0 {
            Reply::Wrong { message } => bail!(message),
            Reply::Done { message } => print(&format!("{message}\n"))?,
            Reply::Status(status) => print(&painted(&text(&status), Paint::Lab))?,
            Reply::Loaded { text } => print(&text)?,
            Reply::Owner(_) | Reply::Observed { .. } | Reply::Source { .. } => {
                bail!("the lab is of another version of this program")
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn down() -> Result<ExitCode> {
        if !lab::is_up()? {
            return Ok(ExitCode::SUCCESS);
        }
        lab::ask(&lab::address(), &Request::Down)?;
        while lab::is_up()? {
            thread::sleep(Duration::from_millis(5));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn status(format: Format) -> Result<ExitCode> {
        if !lab::is_up()? {
            match format {
                Format::Text => print("no lab is up\n")?,
                Format::Json => print(&versioned(json!({ "up": false }))?)?,
            }
            return Ok(ExitCode::from(NO_LAB));
        }
        match (lab::ask(&lab::address(), &Request::Status)?.0, format) {
            (Reply::Status(status), Format::Text) => print(&painted(&text(&status), Paint::Lab))?,
            (Reply::Status(status), Format::Json) => {
                let mut told = serde_json::to_value(&status)?;
                told["up"] = true.into();
                print(&versioned(told)?)?;
            }
            (Reply::Wrong { message } | Reply::Done { message } | Reply::Loaded { text: message }, _) => {
                bail!(message)
            }
            (Reply::Owner(_) | Reply::Observed { .. } | Reply::Source { .. }, _) => {
                bail!("the lab is of another version of this program")
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn text(status: &LabState) -> String {
        let LabState { rules, states, delivered, blocked, dropped, seconds, .. } = status;
        let mut out = format!(
            "up for {seconds} s: {rules} rules, {states} states; packets: {delivered} delivered, {blocked} blocked, \
             {dropped} dropped\n\n"
        );
        let name = status.nodes.iter().map(|node| node.name.len()).max().unwrap_or(0);
        let provider = |node: &lab::NodeStatus| node.provider.clone().unwrap_or_default();
        let width = status.nodes.iter().map(|node| provider(node).len()).max().unwrap_or(0);
        let mac_width = status.macs.iter().map(|mac| mac.name.len()).max().unwrap_or(0);
        for node in &status.nodes {
            let addresses: Vec<String> = node.addresses.iter().map(ToString::to_string).collect();
            let on = node.mac.as_ref().map_or_else(String::new, |mac| format!("{mac:<mac_width$}  "));
            let mut line = format!(
                "  {:<name$}  {:<width$}  {on}{:<7}  {}",
                node.name,
                provider(node),
                node.side,
                addresses.join(" ")
            );
            if !node.cut_from.is_empty() {
                line = format!("{line}  cut off from {}", node.cut_from.join(", "));
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        if !status.pipes.is_empty() || !status.faults.is_empty() {
            out.push('\n');
        }
        for lab::FaultStatus { action, from, to, conditions, seconds } in &status.faults {
            let to = to.as_deref().unwrap_or("all others");
            let like = conditions.as_ref().map_or_else(String::new, |like| format!(": {like}"));
            let lasts = seconds.map_or_else(String::new, |seconds| format!(", for {seconds} s more"));
            out.push_str(&["  ", action, "  ", from, " <-> ", to, &like, &lasts, "\n"].concat());
        }
        for lab::PipeStatus { number, mac, way, conditions } in &status.pipes {
            let on = mac.as_ref().map_or_else(String::new, |mac| format!("{mac} "));
            out.push_str(
                &["  ", &on, "pipe ", &number.to_string(), "  ", way, ": ", conditions, "\n"].concat(),
            );
        }
        out + &macs(&status.macs)
    }

    /// The Macs with their WireGuard.
    fn macs(all: &[lab::MacStatus]) -> String {
        let mut out = String::new();
        for lab::MacStatus { name, address, endpoint, rules, states, peers } in all {
            let at = format!("{address} in the tunnel, WireGuard at {endpoint}");
            out.push_str(&["\nthe Mac ", name, ": ", &at, "; "].concat());
            out.push_str(&[&rules.to_string(), " rules, ", &states.to_string(), " states\n"].concat());
            for lab::PeerStatus { name, handshake_seconds, sent, received, dropped, cut } in peers {
                let handshake = handshake_seconds.map_or_else(
                    || "no handshake yet".to_owned(),
                    |since| format!("handshake {since} s ago"),
                );
                let cut = if *cut { ", cut off" } else { "" };
                let bytes = format!("{sent} bytes sent, {received} received, {dropped} dropped");
                out.push_str(&["  peer ", name, ": ", &handshake, ", ", &bytes, cut, "\n"].concat());
            }
        }
        if !all.is_empty() {
            out += "\nThe lab has keys of its own: the private keys of the declared ones are on the Macs alone.\n";
        }
        out
    }
}
