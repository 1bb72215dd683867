//! The files of launchd and newsyslog.

use serde::Serialize;

use super::{MANAGER, RenderError, engine};
use crate::plan::Plan;

#[derive(Serialize)]
struct Daemon {
    manager: String,
    log_file: String,
    reconcile_interval: u32,
}

/// The launchd job that keeps the network in its declared state.
pub fn plist(plan: &Plan) -> Result<String, RenderError> {
    let daemon = Daemon {
        manager: format!("{}/networking/{MANAGER}", plan.base),
        log_file: plan.log_file.to_string(),
        reconcile_interval: plan.reconcile_interval,
    };
    engine::render("launchd/daemon.plist", daemon)
}

#[derive(Serialize)]
struct Rotation {
    log_file: String,
}

/// The rotation of the manager's log.
pub fn newsyslog(plan: &Plan) -> Result<String, RenderError> {
    engine::render("newsyslog/nix-volumes.conf", Rotation { log_file: plan.log_file.to_string() })
}
