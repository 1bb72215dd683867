//! Compares the Mac with the plan: what exists, what is not as declared, and what conflicts.
//!
//! The comparison uses the output of macOS's commands, live or captured, and the rules as they are rendered now. It
//! shares no code with the manager, so that the two verdicts can be compared. What a capture lacks is not checked:
//! names in the hosts file, and owners of files. Sees: place, model, plan, loading, pf, darwin, others. Never: calls
//! the manager, accesses a Mac, or changes anything.

mod faults;
mod free;
mod judge;
mod metrics;
mod outside;
mod record;
mod rules;
mod seen;
mod text;

use crate::plan::Plan;

pub use faults::OnDemand;
use free::Moves;
use judge::StateComparison;
pub use metrics::metrics;
use outside::Overlap;
pub use record::{PipeState, ProviderState, Status, StatusFinding, VolumeState};
use seen::Seen;
pub use seen::{Capture, Unreadable};
pub use text::text;

/// Compares a capture with a plan and the anchor rendered from it.
///
/// # Errors
/// The capture cannot be read.
pub fn status(plan: &Plan, anchor: &str, capture: &Capture) -> Result<Status, Unreadable> {
    let seen = Seen::of(capture)?;
    let wish = match seen.text("wish").trim() {
        "up" => Some("up"),
        "down" => Some("down"),
        _ => None,
    };
    let is_up = wish == Some("up");
    let mut judge = StateComparison { plan, seen: &seen, findings: Vec::new(), notes: Vec::new() };
    let (mut providers, mut volumes) = (Vec::new(), Vec::new());
    for bridge in &plan.bridges {
        let state = if is_up { judge.provider(bridge) } else { "down" };
        let kernel = seen.bridge(bridge).map(str::to_owned);
        providers.push(ProviderState {
            name: bridge.provider.to_string(),
            bridge: bridge.logical.to_string(),
            kernel,
            gateway: bridge.gateway,
            network: bridge.network,
            state,
        });
    }
    for volume in &plan.volumes {
        let state = if is_up { judge.volume(volume) } else { "down" };
        let port = volume.port.as_ref().map(ToString::to_string);
        let kernel = port.as_ref().and_then(|port| seen.kernel(port)).map(str::to_owned);
        volumes.push(VolumeState {
            name: volume.name.to_string(),
            provider: volume.provider.to_string(),
            port,
            kernel,
            address: volume.address,
            localhost: volume.alias,
            mount_point: volume.mount_point.as_ref().map(ToString::to_string),
            state,
        });
    }
    let mut pipes = Vec::new();
    for pipe in &plan.pipes {
        let state = if is_up { judge.pipe(pipe) } else { "down" };
        let it = pipe.conditions;
        pipes.push(PipeState {
            number: pipe.number,
            conditions: it.to_string(),
            latency_ms: it.delay(),
            loss: it.loss.unwrap_or(0.0),
            bandwidth_kbit: it.bandwidth_kbit,
            way: pipe.way(),
            state,
        });
    }
    let faults = faults::faults(capture, is_up);
    if faults.iter().any(|fault| fault.state == "not in force") {
        judge.tell("faults", faults::NOT_IN_FORCE);
    }
    let overlaps = seen.overlaps(plan);
    let moves = seen.moves(plan, &overlaps);
    let advice = free::advice(plan, &moves);
    let mut refused: Vec<String> = overlaps.into_iter().map(|overlap| proposed(overlap, &moves)).collect();
    if is_up {
        judge.surroundings(anchor, std::mem::take(&mut refused));
    } else {
        judge.leftovers();
    }
    let StateComparison { findings, notes, plan: _, seen: _ } = judge;
    Ok(Status {
        wish,
        healthy: wish.is_some() && findings.is_empty(),
        providers,
        volumes,
        pipes,
        faults,
        ways_out: seen.ways_out(plan),
        default_interface: seen.default_interface().map(str::to_owned),
        refused,
        advice,
        findings,
        notes,
    })
}

/// The description of an overlap, with advice on what to do.
fn proposed(overlap: Overlap, moves: &Moves<'_>) -> String {
    let Overlap { provider, text } = overlap;
    match moves.get(provider.as_str()) {
        Some((_, Some(free))) => format!("{text}: {free} is free; or name it in allowOverlap"),
        _ => format!("{text}; or name it in allowOverlap"),
    }
}
