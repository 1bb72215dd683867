//! The command line of the commands that print documentation: `help`, `man`, `completions`, `schema`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use nixvol_net::help::{ERRORS, GUIDES, TABLE};

use super::Format;

/// The arguments of `help`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  nixvol-net help E025
  nixvol-net help errors
  nixvol-net help macos
  nixvol-net help pf eval

Exit: 0 told, 2 there is nothing on this.")]
pub struct HelpArguments {
    /// An error code, such as E025; `errors`, for all of them; a page: `options`, `policy`, `conditions`, `manager`,
    /// `macos`, `review`, `lab`, `json`, `migration`; or a command, as `pf eval`.
    #[arg(value_name = "TOPIC", value_parser = Topics, hide_possible_values = true)]
    pub topic: Vec<String>,
    /// The output format.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// A value parser that accepts any word and offers the topics that have a page for completion.
#[derive(Debug, Clone)]
struct Topics;

impl TypedValueParser for Topics {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let pages = GUIDES.iter().chain(ERRORS).map(|page| PossibleValue::new(page.topic).help(page.title()));
        Some(Box::new(pages.chain([PossibleValue::new(TABLE).help("the table of all errors")])))
    }
}

/// Which manual pages to print, or where to write them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  nixvol-net man explain | mandoc -a
  nixvol-net man --out ~/.local/share/man/man1

Exit: 0 printed or written, 2 no such command, or a directory that cannot be written.")]
pub struct Man {
    /// The command, as `pf eval` [default: the program itself]
    #[arg(value_name = "COMMAND", conflicts_with = "out")]
    pub command: Vec<String>,
    /// Write the pages of the program and of all its commands into this directory.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Which schema to print.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  nixvol-net schema >nixvol-net.schema.json
  nixvol-net schema explain
  nixvol-net schema snapshot check

Exit: 0 printed, 2 no such command, or one that prints no JSON.")]
pub struct Schema {
    /// The command, as `snapshot check` [default: the input]
    #[arg(value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Which completions to print.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  nixvol-net completions bash >~/.local/share/bash-completion/completions/nixvol-net
  nixvol-net completions fish >~/.config/fish/completions/nixvol-net.fish
  nixvol-net completions zsh >~/.zsh/_nixvol-net

The script asks the program, so that it completes the names of the declaration at hand: of `--input`, of `--file`, or of
the embedded topology. zsh looks in the directories of $fpath: `fpath+=(~/.zsh)` in ~/.zshrc, above `compinit`.
The Nix package installs all three.")]
pub struct Completions {
    /// The shell.
    pub shell: clap_complete::Shell,
}
