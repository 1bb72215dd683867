//! The declaration as it arrives: a raw mirror of the JSON that Nix evaluates (version 1).
//!
//! A `None` was absent, null, or reported as a problem. A declaration with problems has no model, so the three are not
//! distinguished, except where null has a meaning of its own (`hostsFile`). Sees: place, problem. Never: validates more
//! than the shape of a value (`model` does the rest), or fills in defaults.

mod raw;
mod read;
mod tree;

use crate::problem::Problem;
pub use raw::{
    DeclaredMac, HostsFile, Ignored, Input, Latency, Port, Protocol, ProviderAttachment, RawConditions,
    RawExpectation, RawGuest, RawLink, RawLocalhost, RawProvider, RawVolume, VolumeAttachment, Word,
};
pub use read::nearest;

/// The JSON of the embedded declaration: five providers and thirteen volumes.
pub const DEFAULT: &str = include_str!("../default.json");

/// The only version of the input format.
pub const VERSION: i64 = 1;

/// Reads the JSON of a declaration.
///
/// Everything with the right shape is in the [`Input`]; everything else is in the problems, all of which are reported.
pub fn read(bytes: &[u8]) -> (Input, Vec<Problem>) {
    read::input(bytes)
}

/// The JSON Schema of the input, generated from the types of [`Input`].
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Input)
}
