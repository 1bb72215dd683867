//! The reader of pf: what a kernel does with a ruleset, from its bytes.
//!
//! It exists so that a ruleset is evaluated by its text, whatever wrote it. Sees: bytes. Never: the plan, the
//! templates, or anything else of this project.

pub mod environment;
pub mod eval;
mod expand;
mod host;
mod macos;
mod md5;
mod names;
mod openbsd;
pub mod parse;
pub mod print;
pub mod syntax;
mod token;

pub use environment::{Environment, InterfaceInfo};
pub use names::Names;
pub use parse::{Error, parse};
pub use print::{print, print_dry_run, print_rule};
pub use syntax::{Place, Ruleset};
