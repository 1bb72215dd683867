//! The anchor as it is loaded: interface names in place of its macros.
//!
//! The rendered anchor names interfaces that only a Mac knows: `$egress`, an egress interface; `$bridge_NAME`, the
//! bridge of a provider; `$outside`, any other than lo0 and these bridges. The manager substitutes them when it
//! loads the anchor, with a line for each interface, since a list in place of a macro is a syntax error in half of
//! the rules. This is the same step for everything else that reads an anchor: the proof, `explain`, the lab. Sees:
//! plan. Never: pf's grammar. A line is text here.

use std::collections::BTreeMap;

use crate::plan::Plan;

/// The macro of an interface that leads outside.
pub const EGRESS: &str = "egress";
/// The macro of an interface that is neither lo0 nor a provider's bridge.
pub const OUTSIDE: &str = "outside";

/// The macro of a provider's bridge: `bridge_aws`.
pub fn bridge_macro(provider: &str) -> String {
    format!("bridge_{}", provider.replace('-', "_"))
}

/// What a reader without a Mac puts in for the macros of bridges: their logical names.
pub fn logical_bridges(plan: &Plan) -> impl Iterator<Item = (String, String)> {
    plan.bridges.iter().map(|bridge| (bridge_macro(bridge.provider.as_str()), bridge.logical.to_string()))
}

/// The interfaces of a Mac, as far as an anchor asks for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interfaces {
    /// Those that lead outside.
    pub egress: Vec<String>,
    /// Those that are neither lo0 nor a provider's bridge, the former among them.
    pub outside: Vec<String>,
    /// The bridges that exist, by macro.
    pub bridges: BTreeMap<String, String>,
}

impl Interfaces {
    /// Interfaces that all lead outside, and these bridges of providers.
    pub fn new<'a>(
        egress: impl IntoIterator<Item = &'a str>,
        bridges: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let egress: Vec<String> = egress.into_iter().map(str::to_owned).collect();
        let bridge = |(provider, name): (&str, &str)| (bridge_macro(provider), name.to_owned());
        Self { outside: egress.clone(), egress, bridges: bridges.into_iter().map(bridge).collect() }
    }

    /// The same with interfaces of other programs, which lead nowhere.
    #[must_use]
    pub fn with_foreign<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.outside.extend(names.into_iter().map(str::to_owned));
        self
    }

    /// What stands for a macro, if it is one of these.
    fn names(&self, name: &str) -> Option<Vec<&str>> {
        match name {
            EGRESS => Some(self.egress.iter().map(String::as_str).collect()),
            OUTSIDE => Some(self.outside.iter().map(String::as_str).collect()),
            _ if name.starts_with("bridge_") => {
                Some(self.bridges.get(name).map(String::as_str).into_iter().collect())
            }
            _ => None,
        }
    }
}

/// An anchor with names in place of macros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The text.
    pub text: String,
    /// For each of its lines the one of the rendered anchor that it comes from, from 1.
    origins: Vec<u32>,
}

impl Loaded {
    /// The line of the rendered anchor that a line of the text comes from; both from 1.
    pub fn origin(&self, line: u32) -> u32 {
        let index = usize::try_from(line.saturating_sub(1)).unwrap_or(usize::MAX);
        self.origins.get(index).or(self.origins.last()).copied().unwrap_or(line)
    }
}

/// Puts the names of interfaces into an anchor.
pub fn load(anchor: &str, interfaces: &Interfaces) -> Loaded {
    let mut loaded = Loaded { text: String::with_capacity(anchor.len()), origins: Vec::new() };
    let mut add = |line: &str, number: u32| {
        loaded.text.push_str(line);
        loaded.text.push('\n');
        loaded.origins.push(number);
    };
    for (number, line) in (1..).zip(anchor.lines()) {
        // There for readers that know the other macros only.
        if is_definition(line) {
            continue;
        }
        let used = first_macro(line).and_then(|name| Some((name, interfaces.names(name)?)));
        match used {
            None => add(line, number),
            Some((name, names)) => {
                for interface in names {
                    add(&line.replace(&format!("${name}"), interface), number);
                }
            }
        }
    }
    loaded
}

/// Whether a line says what one of these macros is.
fn is_definition(line: &str) -> bool {
    let name = line.split_once('=').map(|(name, _)| name.trim_end());
    name.is_some_and(|name| {
        name == OUTSIDE
            || name.starts_with("bridge_") && name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_')
    })
}

/// The first macro that a line names outside comments.
fn first_macro(line: &str) -> Option<&str> {
    let statement = line.split('#').next().unwrap_or_default();
    let name = statement.split_once('$')?.1;
    let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(name.len());
    Some(&name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANCHOR: &str = "\
# $egress in a comment
outside = $egress
bridge_my_cloud = \"bridge-my-cloud\"
table <nixvol> const { 10.0.0.0/16 }
nat on $egress inet from <nixvol> to any -> ($egress:0)
block drop in quick on $outside inet from <nixvol> to any
block drop in quick on $bridge_my_cloud inet from ! 10.0.0.0/16 to <nixvol>
block drop in quick on $bridge_absent inet from ! 10.1.0.0/16 to <nixvol>
";

    #[test]
    fn a_line_is_loaded_for_each_interface_that_its_macro_stands_for() {
        let interfaces =
            Interfaces::new(["en0", "utun4"], [("my-cloud", "bridge2000")]).with_foreign(["bridge100"]);
        let loaded = load(ANCHOR, &interfaces);
        let expected = "\
# $egress in a comment
table <nixvol> const { 10.0.0.0/16 }
nat on en0 inet from <nixvol> to any -> (en0:0)
nat on utun4 inet from <nixvol> to any -> (utun4:0)
block drop in quick on en0 inet from <nixvol> to any
block drop in quick on utun4 inet from <nixvol> to any
block drop in quick on bridge100 inet from <nixvol> to any
block drop in quick on bridge2000 inet from ! 10.0.0.0/16 to <nixvol>
";
        assert_eq!(loaded.text, expected);
        assert_eq!([1, 2, 3, 4, 8, 99].map(|line| loaded.origin(line)), [1, 4, 5, 5, 7, 7]);
    }

    #[test]
    fn without_interfaces_their_lines_are_left_out() {
        let loaded = load(ANCHOR, &Interfaces::default());
        assert_eq!(loaded.text, "# $egress in a comment\ntable <nixvol> const { 10.0.0.0/16 }\n");
    }
}
