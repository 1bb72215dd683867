//! A position in the input.

/// A position in the input: a file (0 is the main one, see [`super::Ruleset::files`]), and line and column, both from 1.
/// Columns count bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Index into [`super::Ruleset::files`] of the main ruleset.
    pub file: u32,
    /// The line, from 1.
    pub line: u32,
    /// The column in bytes, from 1.
    pub column: u32,
}
