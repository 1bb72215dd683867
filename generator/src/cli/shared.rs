//! The arguments that several commands share.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Where the declaration comes from.
#[derive(Debug, Args)]
pub struct InputSource {
    /// The JSON that Nix evaluates; `-` is standard input [default: the embedded topology]
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
}

/// The format of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// The format of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum StatusFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
    /// For Prometheus: OpenMetrics, as node_exporter's textfile collector takes it.
    #[value(name = "openmetrics")]
    OpenMetrics,
}

/// The format of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum CheckFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
    /// For code hosts: SARIF 2.1.0.
    Sarif,
}

/// The format of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum DiffFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
    /// For a pull request.
    Markdown,
}

/// The format of a drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum GraphFormat {
    /// Box characters, for a terminal of 100 columns.
    #[default]
    Text,
    /// An image, for light and dark.
    Svg,
    /// For viewers of Markdown.
    Mermaid,
    /// For programs: what the pictures show, in the fields of the declaration.
    Json,
}
