//! The identity of providers: a colour and a shape for each, the same in pictures, tables, rules and on a terminal.
//!
//! The colours are the palette of Okabe and Ito, which is distinguishable with the usual forms of colour blindness,
//! darkened or lightened until readable on paper or screen. The first eight providers differ in colour and in shape;
//! each further eight reuse the colours with shapes shifted by one, so that 64 are distinguishable. Sees: model, plan.
//! Never: knows where something is drawn.

use std::collections::BTreeMap;

use crate::model::Name;
use crate::plan::Plan;

/// The number of colours, and of shapes.
pub const KINDS: usize = 8;

/// A colour for light backgrounds, for dark backgrounds, and in the 256-colour palette of terminals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour {
    /// Its English name.
    pub name: &'static str,
    /// The hexadecimal RGB value for light backgrounds.
    pub light: &'static str,
    /// The hexadecimal RGB value for dark backgrounds.
    pub dark: &'static str,
    /// The number in the 256-colour palette of terminals.
    pub terminal: u8,
}

/// The colours, in the order in which they are assigned.
pub const COLOURS: [Colour; KINDS] = [
    Colour { name: "blue", light: "#0072b2", dark: "#4aa8e0", terminal: 32 },
    Colour { name: "orange", light: "#b06f00", dark: "#e69f00", terminal: 172 },
    Colour { name: "green", light: "#00805e", dark: "#2fc795", terminal: 36 },
    Colour { name: "purple", light: "#a84d80", dark: "#e59cc4", terminal: 175 },
    Colour { name: "vermilion", light: "#c44f00", dark: "#ff8340", terminal: 166 },
    Colour { name: "sky", light: "#2a86bd", dark: "#86cdf2", terminal: 74 },
    Colour { name: "yellow", light: "#857a00", dark: "#f0e442", terminal: 184 },
    Colour { name: "grey", light: "#5c636b", dark: "#b4bcc4", terminal: 246 },
];

/// A shape: a character for terminals, and an outline around (0, 0) that fits into a circle of radius 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Its English name.
    pub name: &'static str,
    /// The character for terminals.
    pub character: char,
    /// The `d` attribute of its SVG path.
    pub path: &'static str,
}

/// The shapes, in the order in which they are assigned.
pub const SHAPES: [Shape; KINDS] = [
    Shape { name: "circle", character: '●', path: "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z" },
    Shape { name: "square", character: '■', path: "M-4.5-4.5h9v9h-9z" },
    Shape { name: "triangle", character: '▲', path: "M0-5.5L5.5 4.5h-11z" },
    Shape { name: "diamond", character: '◆', path: "M0-6L5.5 0L0 6L-5.5 0z" },
    Shape { name: "star", character: '★', path: "M0-6L1.6-2H6L2.5.7L3.8 5L0 2.4L-3.8 5L-2.5.7L-6-2h4.4z" },
    Shape { name: "triangle that points down", character: '▼', path: "M0 5.5L5.5-4.5h-11z" },
    Shape { name: "plus", character: '✚', path: "M-2-5.5h4v3.5h3.5v4h-3.5v3.5h-4v-3.5h-3.5v-4h3.5z" },
    Shape { name: "half disc", character: '◗', path: "M-3-5.5a5.5 5.5 0 0 1 0 11z" },
];

/// The colour and the shape of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The index of its colour in [`COLOURS`].
    pub colour: usize,
    /// The index of its shape in [`SHAPES`].
    pub shape: usize,
}

impl Identity {
    /// The identity of the provider at this index, from 0, in natural order of names.
    pub fn at(place: usize) -> Self {
        Self { colour: place % KINDS, shape: (place + place / KINDS) % KINDS }
    }

    /// The character of its shape.
    pub fn mark(self) -> char {
        SHAPES[self.shape].character
    }

    /// The `d` attribute of its shape's SVG path.
    pub fn path(self) -> &'static str {
        SHAPES[self.shape].path
    }
}

/// The identities of all providers, by name.
#[derive(Debug, Clone)]
pub struct Identities(BTreeMap<Name, Identity>);

impl Identities {
    /// Assigns identities to the providers of a plan.
    pub fn of(plan: &Plan) -> Self {
        let mut names: Vec<&Name> = plan.bridges.iter().map(|bridge| &bridge.provider).collect();
        names.sort_by_cached_key(|name| natural(name.as_str()));
        Self((0..).zip(names).map(|(place, name)| (name.clone(), Identity::at(place))).collect())
    }

    /// A text for a terminal with colours: every mark directly before its provider's name gets the provider's colour.
    pub fn painted(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len() * 2);
        let mut rest = text;
        while let Some(at) = rest.find(SHAPES.map(|shape| shape.character)) {
            let (before, behind) = rest.split_at(at);
            let mark = behind.chars().next().unwrap_or_default();
            let named = behind[mark.len_utf8()..].strip_prefix(' ').unwrap_or_default();
            let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            let name = &named[..named.find(|c| !is_part(c)).unwrap_or(named.len())];
            let known = self.0.iter().find(|(known, it)| known.as_str() == name && it.mark() == mark);
            out += before;
            match known {
                Some((_, it)) => {
                    let colour = COLOURS[it.colour].terminal;
                    out.extend(["\u{1b}[38;5;", &colour.to_string(), "m", &mark.to_string(), "\u{1b}[39m"]);
                }
                None => out.push(mark),
            }
            rest = &behind[mark.len_utf8()..];
        }
        out + rest
    }

    /// The identity of a provider; that of index 0 if the plan does not have it.
    pub fn provider(&self, name: &Name) -> Identity {
        self.0.get(name).copied().unwrap_or(Identity::at(0))
    }
}

/// A sort key for names in natural order: `p2` before `p10`.
pub fn natural(name: &str) -> Vec<(u64, String)> {
    let mut parts: Vec<(u64, String)> = Vec::new();
    for part in name.split_inclusive(|c: char| !c.is_ascii_digit()) {
        let word = part.trim_start_matches(|c: char| c.is_ascii_digit());
        let digits = &part[..part.len() - word.len()];
        parts.push((digits.parse().unwrap_or(0), word.to_owned()));
    }
    parts.push((0, name.to_owned()));
    parts
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Identities, Identity, KINDS, natural};
    use crate::model::Declaration;
    use crate::plan::Plan;

    #[test]
    fn on_a_terminal_a_mark_before_its_own_name_has_its_colour() {
        let identities = Identities::of(&Plan::of(&Declaration::embedded()));
        let painted = identities.painted("\u{25cf} aws \u{25cf} azure \u{25a0} azure");
        assert_eq!(
            painted,
            "\u{1b}[38;5;32m\u{25cf}\u{1b}[39m aws \u{25cf} azure \u{1b}[38;5;172m\u{25a0}\u{1b}[39m azure"
        );
    }

    #[test]
    fn numbers_in_names_count() {
        let mut names = ["p10", "p2", "p1", "aws", "p2-b", "p2-a", "b10c2", "b2c10"];
        names.sort_by_key(|name| natural(name));
        assert_eq!(names, ["aws", "b2c10", "b10c2", "p1", "p2", "p2-a", "p2-b", "p10"]);
    }

    #[test]
    fn sixty_four_providers_are_told_apart_and_eight_of_them_by_colour_alone_or_shape_alone() {
        let all: BTreeSet<(usize, usize)> =
            (0..KINDS * KINDS).map(Identity::at).map(|it| (it.colour, it.shape)).collect();
        assert_eq!(all.len(), KINDS * KINDS);
        let first = || (0..KINDS).map(Identity::at);
        assert_eq!(first().map(|it| it.colour).collect::<BTreeSet<_>>().len(), KINDS);
        assert_eq!(first().map(Identity::mark).collect::<BTreeSet<_>>().len(), KINDS);
    }
}
