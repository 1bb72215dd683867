//! The declaration as values that cannot be invalid: parsed once, never validated again.
//!
//! In a [`Declaration`] names are valid, networks do not overlap, every volume is in its provider's network and every
//! endpoint of a link exists. Sees: place, problem, input. Never: knows the Mac, pf or files.

mod check;
mod conditions;
mod declaration;
mod free;
pub mod regions;
mod value;
mod warn;
mod ways;

pub use crate::input::{Protocol, ProviderAttachment, VolumeAttachment};
pub use conditions::{Conditions, Latency, LinkConditions};
pub(crate) use conditions::{MOST_BANDWIDTH, MOST_LATENCY};
pub use declaration::{
    Declaration, Endpoint, Expectation, Guest, Link, Localhost, Mesh, MeshMac, Party, Provider, Rejected,
    Volume,
};
pub use free::FreeNetworks;
pub use value::{
    AbsolutePath, AnchorPath, InterfaceName, MacAddress, Name, PortRange, PortSet, PublicKey, TunnelEndpoint,
};
pub use ways::LinkDirection;

/// Reads a declaration from its JSON.
///
/// # Errors
/// All problems of the declaration.
pub fn read(json: &[u8]) -> Result<Declaration, Rejected> {
    let (input, problems) = crate::input::read(json);
    check::declaration(input, problems)
}

impl Declaration {
    /// The embedded declaration: five providers, thirteen volumes, every pair of providers linked.
    ///
    /// # Panics
    /// Never: a test reads it.
    pub fn embedded() -> Self {
        read(crate::input::DEFAULT.as_bytes()).expect("the embedded declaration is valid")
    }
}
