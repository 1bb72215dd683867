//! The anchor as it is loaded: with interface names in place of its macros.
//!
//! The rendered anchor uses macros for interfaces that only a Mac knows: `$egress`, an egress interface;
//! `$bridge_NAME`, the bridge of a provider; `$mesh`, the tunnel to the other Macs; `$outside`, any interface except
//! lo0, these bridges and the tunnel. The manager substitutes them when it loads the anchor, with one line per
//! interface, because pf's grammar rejects a list in place of the macro in half of the rules. This module performs the same step for everything else that reads an anchor: the
//! proof, `explain`, the lab. Sees: plan. Never: parses pf; lines are text here.

use std::collections::BTreeMap;

use crate::plan::Plan;

/// The macro for egress interfaces.
pub const EGRESS: &str = "egress";
/// The macro for interfaces that are neither lo0 nor a provider's bridge.
pub const OUTSIDE: &str = "outside";

/// The macro for the tunnel to the other Macs.
pub const MESH: &str = "mesh";
/// What stands for the tunnel while it is absent: a name that no interface has. So a rule for every interface but the
/// tunnel is in force, and what is meant for other Macs leaves by none.
pub const ABSENT: &str = "mesh";

/// The macro for a provider's bridge, such as `bridge_aws`.
pub fn bridge_macro(provider: &str) -> String {
    format!("bridge_{}", provider.replace('-', "_"))
}

/// The macros of all bridges with their logical names, for readers without a Mac.
pub fn logical_bridges(plan: &Plan) -> impl Iterator<Item = (String, String)> {
    plan.own_bridges().map(|bridge| (bridge_macro(bridge.provider.as_str()), bridge.logical.to_string()))
}

/// The interfaces of a Mac, as far as an anchor uses them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interfaces {
    /// The egress interfaces.
    pub egress: Vec<String>,
    /// The interfaces that are neither lo0 nor a provider's bridge, including the egress interfaces.
    pub outside: Vec<String>,
    /// The bridges that exist: kernel name by macro.
    pub bridges: BTreeMap<String, String>,
    /// The tunnel to the other Macs, if it exists.
    pub mesh: Option<String>,
    /// Whether `nat` rules with the address of `$egress` get `extfilter apd`, which the manager adds if pfctl accepts
    /// it.
    pub extfilter: bool,
}

impl Interfaces {
    /// These egress interfaces, and these bridges as pairs of provider and name; no other interfaces.
    pub fn new<'a>(
        egress: impl IntoIterator<Item = &'a str>,
        bridges: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let egress: Vec<String> = egress.into_iter().map(str::to_owned).collect();
        let bridge = |(provider, name): (&str, &str)| (bridge_macro(provider), name.to_owned());
        let bridges = bridges.into_iter().map(bridge).collect();
        Self { outside: egress.clone(), egress, bridges, mesh: None, extfilter: false }
    }

    /// One egress interface, and every bridge of a plan under its logical name.
    pub fn logical(plan: &Plan, egress: &str) -> Self {
        let egress = vec![egress.to_owned()];
        let mesh = plan.mesh.as_ref().map(|_| MESH.to_owned());
        Self {
            outside: egress.clone(),
            egress,
            bridges: logical_bridges(plan).collect(),
            mesh,
            extfilter: true,
        }
    }

    /// The same interfaces without the bridge of a provider.
    #[must_use]
    pub fn without(&self, provider: &str) -> Self {
        let mut left = self.clone();
        left.bridges.remove(&bridge_macro(provider));
        left
    }

    /// The same with additional interfaces of other programs, which are not egress interfaces.
    #[must_use]
    pub fn with_foreign<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.outside.extend(names.into_iter().map(str::to_owned));
        self
    }

    /// The names that replace a macro, if it is one of those above.
    fn names(&self, name: &str) -> Option<Vec<&str>> {
        match name {
            EGRESS => Some(self.egress.iter().map(String::as_str).collect()),
            OUTSIDE => Some(self.outside.iter().map(String::as_str).collect()),
            MESH => Some(vec![self.mesh.as_deref().unwrap_or(ABSENT)]),
            _ if name.starts_with("bridge_") => {
                Some(self.bridges.get(name).map(String::as_str).into_iter().collect())
            }
            _ => None,
        }
    }
}

/// An anchor with interface names in place of macros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedAnchor {
    /// The text that is loaded.
    pub text: String,
    /// For each line of the text, the line of the rendered anchor that it comes from, counted from 1.
    origins: Vec<u32>,
}

impl LoadedAnchor {
    /// The line of the rendered anchor that a line of the text comes from; both count from 1.
    pub fn origin(&self, line: u32) -> u32 {
        let index = usize::try_from(line.saturating_sub(1)).unwrap_or(usize::MAX);
        self.origins.get(index).or(self.origins.last()).copied().unwrap_or(line)
    }
}

/// Substitutes interface names in an anchor. A line is repeated for each interface, and omitted if there is none; only
/// the tunnel has a name while it is absent.
pub fn load(anchor: &str, interfaces: &Interfaces) -> LoadedAnchor {
    let mut loaded = LoadedAnchor { text: String::with_capacity(anchor.len()), origins: Vec::new() };
    let mut add = |line: &str, number: u32| {
        loaded.text.push_str(line);
        loaded.text.push('\n');
        loaded.origins.push(number);
    };
    for (number, line) in (1..).zip(anchor.lines()) {
        // These definitions are for readers that do not substitute the macros.
        if is_definition(line) {
            continue;
        }
        put_in(line, interfaces, &mut |line| add(line, number));
    }
    loaded
}

/// Substitutes every macro of a line; each combination of names yields a line.
fn put_in(line: &str, interfaces: &Interfaces, add: &mut impl FnMut(&str)) {
    // Most lines use none.
    if !line.contains('$') {
        return add(line);
    }
    let used = macros(line).find_map(|name| Some((name, interfaces.names(name)?)));
    let Some((name, names)) = used else { return add(line) };
    for interface in names {
        let mut line = with(line, name, interface);
        let translates = name == EGRESS && line.starts_with("nat ") && !line.contains(" extfilter ");
        if translates && interfaces.extfilter && line.ends_with(&format!("-> ({interface}:0)")) {
            line.push_str(" extfilter apd");
        }
        put_in(&line, interfaces, add);
    }
}

/// A line with a name in place of one macro.
fn with(line: &str, name: &str, interface: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, behind)) = rest.split_once('$') {
        out.push_str(before);
        let word = word(behind);
        if word == name {
            out.push_str(interface);
        } else {
            out.push('$');
            out.push_str(word);
        }
        rest = &behind[word.len()..];
    }
    out + rest
}

/// Whether a line defines one of these macros.
fn is_definition(line: &str) -> bool {
    let name = word(line);
    (name == OUTSIDE || name == MESH || name.starts_with("bridge_"))
        && line[name.len()..].trim_start().starts_with('=')
}

/// The macros that a line uses outside of comments.
pub fn macros(line: &str) -> impl Iterator<Item = &str> {
    let statement = line.split('#').next().unwrap_or_default();
    statement.split('$').skip(1).map(word)
}

/// The identifier at the start of a text.
fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
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
    fn a_line_may_name_two_macros_of_which_one_begins_as_the_other() {
        let anchor =
            "pass on $bridge_a from ($bridge_ab) to any\nnat on $egress from any to any -> ($egress:0)\n";
        let interfaces = Interfaces::new(["en0"], [("a", "bridge2000"), ("ab", "bridge2001")]);
        let with = |interfaces: &Interfaces| load(anchor, interfaces).text;
        let expected = "pass on bridge2000 from (bridge2001) to any\nnat on en0 from any to any -> (en0:0)\n";
        assert_eq!(with(&interfaces), expected);
        // If this Mac's pfctl accepts it, translation is restricted with respect to replies.
        let strict = Interfaces { extfilter: true, ..interfaces };
        assert_eq!(with(&strict), expected.replace("(en0:0)", "(en0:0) extfilter apd"));
        assert_eq!(with(&strict.without("ab")), "nat on en0 from any to any -> (en0:0) extfilter apd\n");
    }

    #[test]
    fn the_rules_of_a_tunnel_hold_without_it() {
        let anchor =
            "mesh = \"mesh\"\npass out quick on $mesh from any to any\nblock out on ! $mesh to any\n";
        let with = |mesh: Option<&str>| {
            load(anchor, &Interfaces { mesh: mesh.map(str::to_owned), ..Interfaces::default() }).text
        };
        assert_eq!(
            with(Some("utun7")),
            "pass out quick on utun7 from any to any\nblock out on ! utun7 to any\n"
        );
        assert_eq!(with(None), "pass out quick on mesh from any to any\nblock out on ! mesh to any\n");
    }

    #[test]
    fn without_interfaces_their_lines_are_left_out() {
        let loaded = load(ANCHOR, &Interfaces::default());
        assert_eq!(loaded.text, "# $egress in a comment\ntable <nixvol> const { 10.0.0.0/16 }\n");
    }
}
