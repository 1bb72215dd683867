//! The bundle: every file that is installed on the Mac, rendered from the plan.
//!
//! A file is rendered from a typed context of strings, numbers and lists, by a template that only places them. Sees:
//! model (to write it to `network.json`), plan. Never: imports `pf`, which reads what is written here.

pub(crate) mod engine;
mod file;
mod guest;
mod launchd;
mod network;
mod pf;
pub mod picture;
mod probes;
mod script;
mod wireguard;

use std::collections::BTreeMap;

use crate::model::{Declaration, Name};
use crate::plan::Plan;
use file::FILES;
pub use file::{
    ANCHOR, Bundle, DAEMON, DRAWING, HOSTS, MANAGER, NETWORK, PICTURE, ROTATION, RenderError, RenderedFile,
    TUNNEL,
};
use picture::KernelNames;
pub use script::KILL_STEP;

/// Renders the anchor alone, which is all that the proof needs.
///
/// # Errors
/// A value that pf cannot express.
pub fn anchor(plan: &Plan) -> Result<String, RenderError> {
    pf::anchor(plan)
}

/// Renders every file of the bundle.
///
/// # Errors
/// A value that a file's language cannot express.
pub fn bundle(declaration: &Declaration, plan: &Plan) -> Result<Bundle, RenderError> {
    let mut files = BTreeMap::new();
    let mut data = |path: &str, text: String| {
        files.insert(path.to_owned(), RenderedFile { text, executable: false });
    };
    data(ANCHOR, pf::anchor(plan)?);
    data(DAEMON, launchd::plist(plan)?);
    data(ROTATION, launchd::newsyslog(plan)?);
    data(HOSTS, guest::hosts(plan)?);
    if let Some(text) = wireguard::conf(plan)? {
        data(TUNNEL, text);
    }
    for (path, text) in guest::guests(plan)? {
        data(&path, text);
    }
    // The pictures are reviewed together with `network.json`, which has the links in canonical order.
    let drawn = plan.in_canonical_order();
    data(PICTURE, picture::text(&drawn, &KernelNames::new(), &[]));
    data(DRAWING, picture::svg(&drawn, &KernelNames::new(), &[])?);
    data(NETWORK, network::json(declaration, plan));
    let manager = RenderedFile { text: script::manager(plan)?, executable: true };
    files.insert(MANAGER.to_owned(), manager);
    Ok(Bundle { files })
}

/// Whether a bundle, of any declaration, can have a file at this path.
pub fn is_bundle_path(path: &str) -> bool {
    let guest = |path: &str| {
        let (name, file) = path.strip_prefix("guests/")?.split_once('/')?;
        Name::new(name, Name::LONGEST)?;
        guest::FILES.contains(&file).then_some(())
    };
    FILES.contains(&path) || path == TUNNEL || guest(path).is_some()
}
