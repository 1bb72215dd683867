//! Faults made and healed on request: of volumes and providers by their name, of Macs as `macs.NAME`.
//!
//! Every Mac knows every fault, and the one that the sender is attached to applies it. Never: a packet.

use anyhow::{Result, anyhow, bail};
use nixvol_net::input::nearest;
use nixvol_net::model::Conditions;
use nixvol_net::router::{Fault, MACS, NodeId, Trouble};

use super::macs::Macs;
use super::protocol::Asked;
use super::running::Lab;

/// Makes a fault, and describes it in words.
pub fn fault(lab: &Lab, macs: &mut Macs, asked: &Asked) -> Result<String> {
    let Asked { one, other, slow, lasts, owner } = asked;
    let trouble = match *slow {
        None => Trouble::Cut,
        Some((latency, loss, bandwidth)) => {
            Trouble::Slow(Conditions::checked(latency, loss, bandwidth).map_err(|what| anyhow!(what))?)
        }
    };
    are_ends(lab, [Some(one.as_str()), other.as_deref()])?;
    let ones = group(lab, macs, one);
    let others = match other {
        Some(other) => group(lab, macs, other),
        None => all_but(macs, &ones, one.starts_with(MACS)),
    };
    let mut fault = Fault::new((one.clone(), &ones), (other.clone(), &others), trouble);
    fault.owner = *owner;
    fault.until = lasts.map(|lasts| lab.shared.began.elapsed() + lasts);
    let told = told(&fault);
    for mac in macs.all_mut() {
        mac.router.ways_mut().faults_mut().add(fault.clone());
    }
    let lasts = lasts.map_or_else(
        || "until it is healed".to_owned(),
        |lasts| format!("for {}", humantime::format_duration(lasts)),
    );
    Ok(format!("{told}, {lasts}"))
}

/// Ends faults, and says which.
pub fn heal(lab: &Lab, macs: &mut Macs, ends: [Option<&str>; 2]) -> Result<String> {
    are_ends(lab, ends)?;
    let volumes = &lab.this().plan.volumes;
    let provider =
        |name: &str| volumes.iter().find(|it| it.name.as_str() == name).map(|it| it.provider.to_string());
    let belongs = |name: &str, end: &str| name == end || provider(name).as_deref() == Some(end);
    let mut healed = Vec::new();
    for mac in macs.all_mut() {
        healed = mac.router.ways_mut().faults_mut().heal(ends, belongs);
    }
    if healed.is_empty() {
        return Ok(match ends {
            [Some(one), Some(other)] => format!("there is nothing to heal between {one} and {other}"),
            [Some(one), None] => format!("there is nothing to heal of {one}"),
            _ => "there is nothing to heal".to_owned(),
        });
    }
    let lines: Vec<String> = healed.iter().map(|fault| format!("{}: healed", told(fault))).collect();
    Ok(lines.join("\n"))
}

/// Ends the faults of a client.
pub fn withdraw(macs: &mut Macs, owner: u64) {
    for mac in macs.all_mut() {
        mac.router.ways_mut().faults_mut().withdraw(owner);
    }
}

/// A fault in words: `slow aws gcp: 5 ms`.
fn told(Fault { one, other, trouble, .. }: &Fault) -> String {
    let other = other.as_deref().map_or_else(String::new, |other| format!(" {other}"));
    match trouble {
        Trouble::Cut => format!("partition {one}{other}"),
        Trouble::Slow(conditions) => format!("slow {one}{other}: {conditions}"),
    }
}

/// The nodes that an endpoint stands for: of a Mac its WireGuard, since what is cut is the link between the Macs.
fn group(lab: &Lab, macs: &Macs, name: &str) -> Vec<NodeId> {
    match name.strip_prefix(MACS) {
        Some(mac) => {
            let mac = lab.macs.iter().position(|it| it.name() == Some(mac));
            mac.and_then(|mac| macs.wire(mac)).into_iter().collect()
        }
        None => macs.router(lab.this).topology().group(name),
    }
}

/// All volumes, or all Macs, but these.
fn all_but(macs: &Macs, ones: &[NodeId], of_macs: bool) -> Vec<NodeId> {
    let all: Vec<NodeId> = if of_macs {
        (0..macs.all().len()).filter_map(|mac| macs.wire(mac)).collect()
    } else {
        macs.hosts().filter(|(_, _, node)| node.provider.is_some()).map(|(_, id, _)| id).collect()
    };
    all.into_iter().filter(|id| !ones.contains(id)).collect()
}

/// Checks that the endpoints of a fault are two different volumes or providers of this network, as the manager does, or
/// two of its Macs.
fn are_ends(lab: &Lab, ends: [Option<&str>; 2]) -> Result<()> {
    let plan = &lab.this().plan;
    let macs: Vec<String> =
        lab.macs.iter().filter_map(|mac| Some(format!("{MACS}{}", mac.name()?))).collect();
    let providers = plan.bridges.iter().map(|bridge| bridge.provider.as_str());
    let known: Vec<&str> = providers
        .chain(plan.volumes.iter().map(|it| it.name.as_str()))
        .chain(macs.iter().map(String::as_str))
        .collect();
    if let Some(end) = ends.into_iter().flatten().find(|end| !known.contains(end)) {
        if end.starts_with(MACS) && macs.is_empty() {
            bail!("the lab has one Mac, so there is no {end}\nhint: several Macs are declared in `macs`");
        }
        let whole = format!("{MACS}{end}");
        let near =
            if macs.contains(&whole) { Some(whole.as_str()) } else { nearest(end, known.iter().copied()) };
        let hint = near
            .map_or_else(|| format!("it has {}", known.join(", ")), |near| format!("did you mean `{near}`?"));
        let what = if end.starts_with(MACS) { "Mac" } else { "provider or volume" };
        bail!("this network has no {what} {end}\nhint: {hint}");
    }
    match ends {
        [Some(one), Some(other)] if one == other => bail!("both endpoints are {one}"),
        [Some(one), Some(other)] if one.starts_with(MACS) != other.starts_with(MACS) => bail!(
            "one of {one} and {other} is a Mac, and the other is not\nhint: name two Macs, or two volumes or providers"
        ),
        _ => Ok(()),
    }
}
