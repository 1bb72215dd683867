//! One test binary; this list is its table of contents.
//!
//! Modules under `cfg(all(feature = "lab", target_os = "linux"))` run the lab, or the manager on the toy Mac, with the
//! shells and tools of a Linux machine. Everywhere else (on a Mac, or on Linux without the feature `lab`) only the
//! remaining modules are compiled, and `elsewhere` reports what was skipped.

mod accepted;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod acting;
mod activation;
mod boundaries;
mod browser;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod cases;
mod devtools;
mod diff;
mod diff_conditions;
mod diff_laws;
mod diff_networks;
mod diff_reader;
mod diff_rectangles;
mod diff_text;
mod diff_volumes;
mod diff_words;
mod edits;
mod edits_changes;
mod edits_generated;
mod edits_hosts;
mod edits_macs;
mod edits_public;
#[cfg(not(all(feature = "lab", target_os = "linux")))]
mod elsewhere;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod examples;
mod expect;
mod explain;
mod explain_differs;
mod explain_ends;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod fault_form;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod faults;
mod fields;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod guests;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod help;
mod hostile;
mod house;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod init;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod lab;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod lab_etcd;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod lab_mesh;
mod laws;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod limits;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod live;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod manager;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod manager_applied;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod manager_company;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod manager_environment;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod manager_faults;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod manager_health;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod manager_mesh;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod manager_others;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod manager_outside;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod manager_owners;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod manager_pipes;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod manager_random;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod manager_report;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod manager_scenario;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod manager_states;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod manager_world;
mod mesh;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod metrics;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod moves;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod network;
mod nix;
mod nix_build;
mod nix_flake;
mod nix_module;
mod nix_options;
mod packets;
mod pf_corpus;
mod pf_eval;
mod pf_eval_any;
mod pf_eval_dummynet;
mod pf_eval_scrub;
mod pf_eval_states;
mod pf_eval_translate;
mod pf_grammar;
mod pf_macos;
mod pf_program;
mod pf_properties;
mod pf_verdicts;
mod pf_words;
mod picture;
mod policy;
mod problem_places;
mod problems;
mod program;
mod proof;
mod proof_conditions;
mod proof_edits;
mod proof_random;
mod proof_refusals;
mod rates;
mod reach;
mod reach_services;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod readme;
mod regions;
mod replay;
mod report;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod rig;
mod router;
mod router_conditions;
mod router_pf;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod sandbox;
mod scenario;
mod schema;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod schema_mac;
mod seen;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod serve;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod serve_browser;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod shells;
mod sizes;
mod snapshots;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod status;
mod support;
mod survey;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod switch;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod terminal;
mod tools;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod toymac;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod toymac_facts;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod upgrade;
mod values;
mod workflows;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod wrong_use;
