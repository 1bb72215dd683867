//! The reader of pf: parses the text of a ruleset, and evaluates it as the kernel does.
//!
//! It exists so that a ruleset is judged by its bytes, whatever wrote them. Sees: bytes. Never: the plan, the
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
pub use parse::{ParseError, parse};
pub use print::{print, print_dry_run, print_rule};
pub use syntax::{Position, Ruleset};
