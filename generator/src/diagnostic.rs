//! Problems as text for people and as data for programs.
//!
//! Every place involved is shown with its source line and the value underlined; for an overlap, both networks are.
//! Sees: place, problem, source. Never: reads files; the caller supplies their texts.

mod sarif;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use annotate_snippets::renderer::{DecorStyle, Renderer};
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Snippet};
use schemars::JsonSchema;
use serde::Serialize;

use crate::place::{FieldPath, Place, Positions};
use crate::problem::{Problem, ProblemKind};
use crate::source;

/// The path prefix that `positions` use for the presets of the module.
const PRESETS: &str = "nixvol-net/modules/presets/";

/// Problems that are shown as text. One mistake in a generated file can make 100,000, and nobody reads 20 MB; all of them
/// are in the JSON.
const SHOWN: usize = 100;

/// A problem of a declaration that is valid in itself: an expectation that fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule identifier, for SARIF.
    pub kind: &'static str,
    /// What is wrong, in one line.
    pub message: String,
    /// The path of the expectation.
    pub at: FieldPath,
    /// The paths of the values that decide the outcome.
    pub with: Vec<FieldPath>,
    /// Additional notes, one line each.
    pub notes: Vec<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The context for showing problems.
pub struct Shown<'a> {
    /// The name of the input, for errors in the JSON itself.
    pub input: &'a str,
    /// The source positions that the input supplied.
    pub positions: &'a Positions,
    /// Returns the text of a source file, if it can be read.
    pub text_of: &'a dyn Fn(&str) -> Option<String>,
    /// Whether to use colour.
    pub colour: bool,
}

impl Shown<'_> {
    /// All problems as text, with a last line that counts them.
    pub fn text(&self, problems: &[Problem]) -> String {
        let out = self.groups(problems, Level::ERROR);
        let count = match problems.len() {
            1 => "1 problem".to_owned(),
            count => format!("{count} problems"),
        };
        out + &count + " in the declaration; nothing was written\n" + &more(problems)
    }

    /// All warnings as text: values that are valid but probably a mistake.
    pub fn warnings(&self, problems: &[Problem]) -> String {
        self.groups(problems, Level::WARNING) + &more(problems)
    }

    /// The first [`SHOWN`] problems, and how many more of which kinds there are.
    fn groups(&self, problems: &[Problem], level: Level<'static>) -> String {
        let renderer = self.renderer();
        let (shown, rest) = problems.split_at(problems.len().min(SHOWN));
        let group = |problem| renderer.render(&[self.group(problem, level.clone())]) + "\n\n";
        let mut out: String = shown.iter().map(group).collect();
        let mut codes: BTreeMap<&str, usize> = BTreeMap::new();
        for problem in rest {
            *codes.entry(problem.kind.code()).or_default() += 1;
        }
        if !rest.is_empty() {
            let codes: Vec<String> = codes.iter().map(|(code, count)| format!("{count} {code}")).collect();
            let (rest, codes) = (rest.len(), codes.join(", "));
            let told = format!("{rest} more not shown ({codes}); `check --format json` has all of them\n\n");
            out.push_str(&told);
        }
        out
    }

    fn renderer(&self) -> Renderer {
        let renderer = if self.colour { Renderer::styled() } else { Renderer::plain() };
        renderer.decor_style(DecorStyle::Ascii)
    }

    fn group(&self, problem: &Problem, level: Level<'static>) -> Group<'_> {
        let title = if problem.at == FieldPath::root() {
            problem.message()
        } else {
            format!("{}: {}", problem.at, problem.message())
        };
        let mut group = Group::with_title(level.primary_title(title).id(problem.kind.code()));
        if let ProblemKind::NotJson { line, column, .. } = problem.kind {
            group = group.element(Origin::path(self.input.to_owned()).line(line).char_column(column));
        }
        hinted(self.pointed(group, &problem.at, self.marked_places(problem)), problem.kind.hint())
    }

    /// All findings as text.
    pub fn findings(&self, findings: &[Finding]) -> String {
        let renderer = self.renderer();
        findings.iter().map(|finding| renderer.render(&[self.found(finding)]) + "\n\n").collect()
    }

    fn found<'g>(&self, finding: &'g Finding) -> Group<'g> {
        let title = format!("{}: {}", finding.at, finding.message);
        let group = Group::with_title(Level::ERROR.primary_title(title));
        let group = self.pointed(group, &finding.at, self.places(&finding.at, &finding.with));
        let noted = finding.notes.iter().fold(group, |group, note| group.element(Level::NOTE.message(note)));
        hinted(noted, finding.hint.clone())
    }

    /// Underlines places. The first is primary if the value at fault has a place, even an inherited one; the others are
    /// context.
    fn pointed<'g>(&self, mut group: Group<'g>, at: &FieldPath, spots: Vec<Spot>) -> Group<'g> {
        let own = self.spot(at);
        for (index, spot) in spots.into_iter().enumerate() {
            let is_own = index == 0 && own.is_some();
            let kind = if is_own { AnnotationKind::Primary } else { AnnotationKind::Context };
            group = with_spot(group, spot, kind);
        }
        let has_own = own.is_some_and(|spot| spot.is_whole);
        match at.option().filter(|_| !has_own) {
            Some(option) => group.element(Level::NOTE.message(format!("in Nix this is `{option}`"))),
            None => group,
        }
    }

    /// The places of a value and of others involved, without duplicates; the value's own comes first.
    fn places(&self, at: &FieldPath, with: &[FieldPath]) -> Vec<Spot> {
        distinct(std::iter::once(at).chain(with).filter_map(|path| self.spot(path)))
    }

    /// The places involved in a problem, those in the user's files before those in a preset.
    fn marked_places(&self, problem: &Problem) -> Vec<Spot> {
        let about_names = matches!(
            problem.kind,
            ProblemKind::Name { .. } | ProblemKind::ReservedName { .. } | ProblemKind::NamesCollide { .. }
        );
        let spot = |path: &FieldPath| {
            let mut spot = self.spot(path)?;
            if about_names {
                spot.point_at_name();
            }
            Some(spot)
        };
        let mut spots = distinct(std::iter::once(&problem.at).chain(&problem.with).filter_map(spot));
        spots.sort_by_key(|spot| spot.place.file.starts_with(PRESETS));
        spots
    }

    /// The place of a value, or of its nearest ancestor that has one.
    fn spot(&self, path: &FieldPath) -> Option<Spot> {
        let (place, length) = self.positions.nearest(path)?;
        let (known, below) = path.segments().split_at(length);
        let source = (self.text_of)(&place.file).and_then(|text| {
            let range = match known {
                _ if place.line == 0 => {
                    let option: Vec<&str> = known.iter().map(String::as_str).collect();
                    source::definition(&text, &option, below)
                }
                [list, _] if list == "links" || list == "expect" => {
                    source::element(&text, place.line, place.column, below)
                }
                _ => source::underlined(&text, place.line, place.column, below),
            };
            Some((text, range?))
        });
        let entry = match known {
            [list, name] if list == "providers" || list == "volumes" => Some(name.clone()),
            _ => None,
        };
        Some(Spot { what: path.to_string(), place: place.clone(), source, is_whole: below.is_empty(), entry })
    }

    /// All problems as records for JSON.
    pub fn json(&self, problems: &[Problem]) -> Vec<ProblemRecord> {
        let record = |problem: &Problem| ProblemRecord {
            code: problem.kind.code(),
            message: problem.message(),
            hint: problem.kind.hint(),
            at: self.located(&problem.at),
            with: problem.with.iter().map(|path| self.located(path)).collect(),
        };
        problems.iter().map(record).collect()
    }

    /// A path with its source place, if that is known.
    pub fn located(&self, path: &FieldPath) -> Located {
        Located { field: path.to_string(), place: self.positions.find(path).cloned() }
    }
}

/// A place with its source text, if that can be read.
struct Spot {
    /// The path of the value shown.
    what: String,
    place: Place,
    /// The text of the file, and the byte range to underline.
    source: Option<(String, Range<usize>)>,
    /// Whether it is the place of the value itself, not of an ancestor.
    is_whole: bool,
    /// The name of the provider or volume that is defined there, if there is one.
    entry: Option<String>,
}

impl Spot {
    /// Underlines the name of the provider or volume instead of its definition.
    fn point_at_name(&mut self) {
        if let (Some(name), Some((text, range))) = (&self.entry, &mut self.source)
            && let Some(found) = source::name(text, self.place.line, self.place.column, name)
        {
            *range = found;
        }
    }

    fn is_at(&self, other: &Self) -> bool {
        let range = |spot: &Self| spot.source.as_ref().map(|(_, range)| range.clone());
        self.place.file == other.place.file
            && match (range(self), range(other)) {
                (None, None) => self.place == other.place,
                (one, other) => one == other,
            }
    }
}

/// Removes places that are equal to an earlier one.
fn distinct(places: impl Iterator<Item = Spot>) -> Vec<Spot> {
    places.fold(Vec::new(), |mut spots, spot| {
        if !spots.iter().any(|known| known.is_at(&spot)) {
            spots.push(spot);
        }
        spots
    })
}

fn hinted(group: Group<'_>, hint: Option<String>) -> Group<'_> {
    match hint {
        Some(hint) => group.element(Level::HELP.with_name("hint").message(hint)),
        None => group,
    }
}

/// Adds a place: with its source if that can be read, otherwise by file name, line and column.
fn with_spot(group: Group<'_>, spot: Spot, kind: AnnotationKind) -> Group<'_> {
    let place = spot.place;
    match spot.source {
        Some((text, range)) => {
            group.element(Snippet::source(text).path(place.file).annotation(kind.span(range)))
        }
        None if place.line == 0 => group.element(Origin::path(place.file)),
        None => group.element(Origin::path(place.file).line(place.line).char_column(place.column)),
    }
}

/// An error about byte ranges of one file, as text with each range underlined.
pub fn pointed(
    title: &str,
    file: &str,
    text: &str,
    at: &[Range<usize>],
    hint: Option<&str>,
    colour: bool,
) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let mut group = Group::with_title(Level::ERROR.primary_title(title));
    // A range of several lines is underlined on the first only.
    let first_line = |range: &Range<usize>| {
        let length = text[range.clone()].find(['\r', '\n']).unwrap_or(range.len());
        range.start..range.start + length
    };
    if at.is_empty() {
        group = group.element(Origin::path(file));
    } else {
        let annotations = at.iter().map(|range| AnnotationKind::Primary.span(first_line(range)));
        group = group.element(Snippet::source(text).path(file).annotations(annotations));
    }
    if let Some(hint) = hint {
        group = group.element(Level::HELP.with_name("hint").message(hint));
    }
    renderer.decor_style(DecorStyle::Ascii).render(&[group])
}

/// The line that names the help page of each kind of problem, once; empty without problems.
fn more(problems: &[Problem]) -> String {
    let codes: BTreeSet<&str> = problems.iter().map(|problem| problem.kind.code()).collect();
    let codes: Vec<&str> = codes.into_iter().collect();
    match codes.as_slice() {
        [] => String::new(),
        [code] => format!("more: `nixvol-net help {code}`\n"),
        [first, rest @ ..] => format!("more: `nixvol-net help {first}`, likewise for {}\n", rest.join(", ")),
    }
}

/// A problem as data.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Record")]
pub struct ProblemRecord {
    /// The error code, such as `E041`.
    pub code: &'static str,
    /// What is wrong, in one line.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The value at fault.
    #[serde(flatten)]
    pub at: Located,
    /// Other values that are involved.
    pub with: Vec<Located>,
}

/// A value of the input and, if known, its place in the source.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Located {
    /// The dotted path in the input, such as `volumes.etcd-1.address`.
    pub field: String,
    /// The place in the user's Nix source; null if it is not known.
    pub place: Option<Place>,
}
