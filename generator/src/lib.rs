//! nixvol-net: a declared network of volumes, proven and rendered for macOS.

pub mod diagnostic;
pub mod diff;
pub mod explain;
pub mod input;
pub mod matrix;
pub mod model;
pub mod pf;
pub mod place;
pub mod plan;
pub mod problem;
pub mod prove;
pub mod render;
pub mod source;
