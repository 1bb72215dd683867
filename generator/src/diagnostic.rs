//! Problems as a person reads them, and as a program does.
//!
//! Every place that takes part is shown with its own line of source and the value underlined, both ends of an
//! overlap too. Sees: place, problem, source. Never: reads a file; whoever calls gives the text.

use std::collections::BTreeSet;

use annotate_snippets::renderer::{DecorStyle, Renderer};
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Snippet};
use serde::Serialize;

use crate::place::{FieldPath, Place, Positions};
use crate::problem::{Kind, Problem};
use crate::source;

/// What is needed to show problems.
pub struct Shown<'a> {
    /// The name of the input, where the JSON itself is at fault.
    pub input: &'a str,
    /// The places that the input told.
    pub positions: &'a Positions,
    /// Gives the text of a source file, if it can be read.
    pub text_of: &'a dyn Fn(&str) -> Option<String>,
    /// Whether to use colour.
    pub colour: bool,
}

impl Shown<'_> {
    /// All problems, one behind the other, with a last line that counts them.
    pub fn text(&self, problems: &[Problem]) -> String {
        let renderer = if self.colour { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let out: String =
            problems.iter().map(|problem| renderer.render(&[self.group(problem)]) + "\n\n").collect();
        let count = match problems.len() {
            1 => "1 problem".to_owned(),
            count => format!("{count} problems"),
        };
        out + &count + " in the declaration; nothing was written\n" + &more(problems)
    }

    fn group(&self, problem: &Problem) -> Group<'_> {
        let title = if problem.at == FieldPath::root() {
            problem.message()
        } else {
            format!("{}: {}", problem.at, problem.message())
        };
        let mut group = Group::with_title(Level::ERROR.primary_title(title).id(problem.kind.code()));
        if let Kind::NotJson { line, column, .. } = problem.kind {
            group = group.element(Origin::path(self.input.to_owned()).line(line).char_column(column));
        }
        let mut places = vec![(self.positions.find(&problem.at), AnnotationKind::Primary)];
        places.extend(problem.with.iter().map(|path| (self.positions.find(path), AnnotationKind::Context)));
        for (place, kind) in places {
            if let Some(place) = place {
                group = self.with_place(group, place, kind);
            }
        }
        match problem.kind.hint() {
            Some(hint) => group.element(Level::HELP.with_name("hint").message(hint)),
            None => group,
        }
    }

    /// Shows a place: with its source if that can be read, by name otherwise.
    fn with_place<'a>(&self, group: Group<'a>, place: &Place, kind: AnnotationKind) -> Group<'a> {
        let text = (self.text_of)(&place.file);
        let range = text.as_deref().and_then(|text| source::underlined(text, place.line, place.column));
        match (text, range) {
            (Some(text), Some(range)) => {
                group.element(Snippet::source(text).path(place.file.clone()).annotation(kind.span(range)))
            }
            _ => group.element(Origin::path(place.file.clone()).line(place.line).char_column(place.column)),
        }
    }

    /// All problems as data.
    pub fn json(&self, problems: &[Problem]) -> Vec<Record> {
        let record = |problem: &Problem| Record {
            code: problem.kind.code(),
            message: problem.message(),
            hint: problem.kind.hint(),
            at: self.located(&problem.at),
            with: problem.with.iter().map(|path| self.located(path)).collect(),
        };
        problems.iter().map(record).collect()
    }

    fn located(&self, path: &FieldPath) -> Located {
        Located { field: path.to_string(), place: self.positions.find(path).cloned() }
    }
}

/// Where more is told about each kind of problem, once.
fn more(problems: &[Problem]) -> String {
    let codes: BTreeSet<&str> = problems.iter().map(|problem| problem.kind.code()).collect();
    let codes: Vec<&str> = codes.into_iter().collect();
    match codes.as_slice() {
        [] => String::new(),
        [code] => format!("more: `nixvol-net help {code}`\n"),
        [first, rest @ ..] => format!("more: `nixvol-net help {first}`, and so for {}\n", rest.join(", ")),
    }
}

/// A problem as data.
#[derive(Debug, Serialize)]
pub struct Record {
    /// The code, as `E041`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// The value at fault.
    #[serde(flatten)]
    pub at: Located,
    /// Other values that take part.
    pub with: Vec<Located>,
}

/// A value of the input and its place in the source, where that is known.
#[derive(Debug, Serialize)]
pub struct Located {
    /// The dotted path in the input.
    pub field: String,
    /// The place in the user's Nix source.
    pub place: Option<Place>,
}
