//! One test binary; this list is its table of contents.

mod activation;
mod diff;
mod explain;
mod faults;
mod hostile;
mod house;
#[cfg(target_os = "linux")]
mod lab;
mod laws;
mod manager;
mod manager_world;
mod network;
mod nix;
mod pf_corpus;
mod pf_eval;
mod pf_eval_any;
mod pf_eval_states;
mod pf_eval_translate;
mod pf_program;
mod pf_properties;
mod pf_verdicts;
mod pf_words;
mod problems;
mod program;
mod proof;
mod readme;
mod rig;
mod router;
mod schema;
mod snapshots;
mod support;
mod toymac;
