//! The lab: namespaces, devices and processes around the router, on Linux.
//!
//! One process plays the Mac, or all Macs that share a declaration. It is the init process of a PID namespace, so whatever is started in the lab ends with
//! it, however it ends. Network namespaces are held only by its descriptors, the files that resolve host names are
//! mounted where no other process sees them, and its socket is abstract. So nothing is left behind when it is killed.

mod capture;
mod client;
mod control;
mod device;
mod ends;
mod enter;
mod faults;
mod macs;
mod node;
mod observe;
mod play;
mod probe;
mod protocol;
mod pump;
mod running;
mod serve;
mod setup;
mod start;
mod watch;

pub use capture::capture;
pub use client::{address, ask, ask_at_length, is_up};
pub use ends::ends;
pub use enter::exec;
pub use observe::{FlowCount, Traffic};
pub use play::play;
pub use protocol::{
    Asked, FaultStatus, LabState, MacStatus, NodeStatus, PeerStatus, PipeStatus, Reply, Request,
};
pub use serve::serve;
pub use setup::{MacSetup, Setup, Task};
pub use start::{run, up};
pub use watch::Watched;
