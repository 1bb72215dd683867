//! nixvol-net: a declared network of volumes, proven and rendered for macOS.

pub mod pf;
