//! The reader of pf: what a kernel makes of a ruleset's bytes.
//!
//! It exists so that a ruleset is judged by what it says and not by who wrote it.
//! Sees: bytes. Never: the plan, the templates, or anything else of this project.

pub mod syntax;
