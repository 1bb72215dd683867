//! What was not converted, and why a file cannot be.

use std::fmt;

/// Something that was not converted, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The line, from 1.
    pub line: usize,
    /// The name or text of it.
    pub what: String,
    /// Why it is not in the draft, or what is there instead.
    pub why: String,
}

/// Why a file cannot be converted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unusable {
    /// It is neither YAML nor JSON.
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong.
        reason: String,
    },
    /// It belongs to none of the tools.
    Unknown,
    /// It has no network and no machine that could be converted.
    Nothing(Vec<Left>),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { line, column, reason } => write!(f, "{line}:{column}: {reason}"),
            Self::Unknown => f.write_str(
                "this is no Compose file (`services`), no kind cluster (`kind: Cluster`) and nothing of Terraform's \
                 (`terraform show -json`, a state, or `.tf.json`)",
            ),
            Self::Nothing(_) => f.write_str("there is no network and no machine in it that could be taken"),
        }
    }
}
