//! One test binary; this list is its table of contents.

mod activation;
mod hostile;
mod house;
mod laws;
mod nix;
mod pf_corpus;
mod pf_properties;
mod problems;
mod program;
mod schema;
mod snapshots;
mod support;
