//! The `nixvol-net` program.

fn main() {}
