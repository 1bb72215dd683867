//! One test binary; this list is its table of contents.

mod hostile;
mod house;
mod laws;
mod problems;
mod program;
mod schema;
mod snapshots;
mod support;
