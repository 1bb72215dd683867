//! Edits of random configurations, composed from many ways to write one, and of damaged files.

use proptest::prelude::*;
use proptest::sample::select;

use nixvol_net::edit::{Change, Choice, EntryKind, ListOption, NixFile};
use serde_json::json;

use crate::edits::{corpus, declaration, edited, edited_back, link, opposite, parse, provider, volume};
use crate::support::{cases, is_long};

#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a habit of its own")]
struct Style {
    unit: &'static str,
    tight: bool,
    /// The form of an entry: a set over several lines, a set on one line, or single statements.
    entry: usize,
    /// How volumes are declared: in a set of their own, with dotted names, or each with its full option path.
    holder: usize,
    blank: bool,
    comments: bool,
    newline: &'static str,
    wrapper: usize,
    columns: bool,
}

fn style() -> impl Strategy<Value = Style> {
    let form = (select(vec!["  ", "    ", "\t", " "]), any::<bool>(), 0..3_usize, 0..3_usize);
    let rest = (any::<bool>(), any::<bool>(), select(vec!["\n", "\r\n"]), 0..5_usize, any::<bool>());
    (form, rest).prop_map(|((unit, tight, entry, holder), (blank, comments, newline, wrapper, columns))| {
        Style { unit, tight, entry, holder, blank, comments, newline, wrapper, columns }
    })
}

impl Style {
    fn inside(&self, text: &str) -> String {
        if self.tight { text.to_owned() } else { format!(" {text} ") }
    }

    fn entry(&self, path: &str, fields: &[(&str, String)], indent: &str) -> String {
        let width =
            if self.columns { fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0) } else { 0 };
        match self.entry {
            0 => {
                let field =
                    |(name, value): &(&str, String)| format!("{indent}{}{name:width$} = {value};", self.unit);
                let fields = fields.iter().map(field).collect::<Vec<_>>().join("\n");
                format!("{indent}{path} = {{\n{fields}\n{indent}}};")
            }
            1 => {
                let fields: Vec<String> =
                    fields.iter().map(|(name, value)| format!("{name} = {value};")).collect();
                format!("{indent}{path} = {{{}}};", self.inside(&fields.join(" ")))
            }
            _ => {
                let fields = fields.iter().map(|(name, value)| format!("{indent}{path}.{name} = {value};"));
                fields.collect::<Vec<_>>().join("\n")
            }
        }
    }

    fn file(&self, names: &[String]) -> String {
        let u = self.unit;
        let base = if self.holder == 2 { u.to_owned() } else { format!("{u}{u}") };
        let full = if self.holder == 2 { "services.nixvol-net." } else { "" };
        let gap = if self.blank { "\n\n" } else { "\n" };
        let part = |option: &str, entries: Vec<(String, Vec<(&str, String)>)>| {
            let comment = |index: usize, indent: &str| {
                if self.comments && index % 2 == 1 {
                    format!("{indent}# about the next\n")
                } else {
                    String::new()
                }
            };
            if self.holder == 0 {
                let indent = format!("{base}{u}");
                let entries: Vec<String> = entries
                    .iter()
                    .enumerate()
                    .map(|(index, (name, fields))| {
                        comment(index, &indent) + &self.entry(name, fields, &indent)
                    })
                    .collect();
                if entries.is_empty() {
                    return format!("{base}{option} = {{{}}};", if self.tight { "" } else { " " });
                }
                format!("{base}{option} = {{\n{}\n{base}}};", entries.join(gap))
            } else {
                let entries: Vec<String> = entries
                    .iter()
                    .enumerate()
                    .map(|(index, (name, fields))| {
                        comment(index, &base) + &self.entry(&format!("{full}{option}.{name}"), fields, &base)
                    })
                    .collect();
                entries.join(gap)
            }
        };
        let quoted = |text: &str| format!("\"{text}\"");
        let providers = vec![
            ("aws".to_owned(), vec![("network", quoted("10.0.0.0/16")), ("gateway", quoted("10.0.1.1/24"))]),
            ("lab".to_owned(), vec![("network", quoted("10.1.0.0/16")), ("gateway", quoted("10.1.1.1/24"))]),
        ];
        let volumes = names.iter().enumerate().map(|(index, name)| {
            let fields = vec![
                ("provider", quoted("aws")),
                ("address", quoted(&format!("10.0.1.{}", index + 20))),
                ("publish", if self.tight { "[]".to_owned() } else { "[ ]".to_owned() }),
            ];
            (name.clone(), fields)
        });
        let end = if self.comments { format!(" # end\n{base}# really") } else { String::new() };
        let body = format!(
            "{base}{full}enable = true;\n{}\n\n{}{end}",
            part("providers", providers),
            part("volumes", volumes.collect())
        );
        let body =
            if self.holder == 2 { body } else { format!("{u}services.nixvol-net = {{\n{body}\n{u}}};") };
        let set = format!("{{\n{body}\n}}");
        let text = match self.wrapper {
            0 => set,
            1 => format!("{{ lib, ... }}:\n{set}\n"),
            2 => format!("{{ lib, ... }}: let x = 1; in {{ config = lib.mkIf true {set}; }}\n"),
            3 => format!("{{ lib, ... }}: with lib; {{\nconfig = mkMerge [\n{set}\n];\n}}\n"),
            _ => format!("# first\n{{ pkgs, ... }}:\n\n{set} # last\n\n"),
        };
        text.replace('\n', self.newline)
    }
}

proptest! {
    #![proptest_config(cases(if is_long() { 20_000 } else { 300 }))]
    /// Any file is either edited such that it still parses, or refused, without a panic.
    #[test]
    fn a_damaged_file_is_edited_correctly_or_refused(
        which in any::<prop::sample::Index>(),
        from in any::<prop::sample::Index>(),
        length in 0..12_usize,
        noise in "[{}\\[\\];=.\"'#/* \r\na-z$(é]{0,4}",
    ) {
        let mut corpus = corpus();
        corpus.extend(crate::edits_hosts::hosts());
        let text = which.get(&corpus.values().cloned().collect::<Vec<String>>()).clone();
        let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let start = from.index(starts.len());
        let end = starts.get(start + length).copied().unwrap_or(text.len());
        let damaged = [&text[..starts[start]], &noise, &text[end..]].concat();
        let Ok(file) = NixFile::parse(&damaged, &[]) else { return Ok(()) };
        let host = file.names().first().map(|&name| name.to_owned());
        let choice = Choice { configurations: host.into_iter().collect(), line: None };
        let Ok(file) = file.choose(&choice) else { return Ok(()) };
        let before = file.declared().json;
        let fields = vec![("provider", json!("aws")), ("address", json!("10.0.1.200"))];
        let renamed = |kind, old: &str| Change::Rename { kind, old: old.to_owned(), new: "new-1".to_owned() };
        let moved = |name: &str, provider: &str| Change::Move {
            name: name.to_owned(),
            provider: provider.to_owned(),
            address: "10.1.0.200".to_owned(),
        };
        let mut changes = vec![
            renamed(EntryKind::Volume, "etcd-1"),
            renamed(EntryKind::Volume, "a"),
            renamed(EntryKind::Provider, "aws"),
            moved("etcd-1", "lab"),
            moved("a", "lab"),
            Change::Add { kind: EntryKind::Volume, name: "new-1".to_owned(), fields },
            Change::AddItem {
                list: ListOption::Links,
                fields: vec![("from", json!(["aws"])), ("to", json!(["lab"]))],
            },
            Change::RemoveItem { list: ListOption::Links, index: 0 },
        ];
        let names = before["volumes"].as_object().expect("volumes").keys();
        changes.extend(names.map(|name| Change::Remove { kind: EntryKind::Volume, name: name.clone() }));
        for change in changes {
            if let Ok(edited) = file.edited(&change, &before, None) {
                prop_assert!(NixFile::parse(&edited, &[]).is_ok(), "{}", edited);
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(if is_long() { 5_000 } else { 200 }))]
    #[test]
    fn additions_can_be_removed(
        style in style(),
        names in proptest::collection::btree_set("[a-e][a-z]?(-[0-9]{1,2})?", 0..5),
        shuffled in any::<bool>(),
        new in "[a-z][a-z]?(-[0-9]{1,2})?",
        which in 0..3_usize,
    ) {
        let mut names: Vec<String> = names.into_iter().collect();
        if shuffled {
            names.reverse();
        }
        let keywords = ["if", "in", "or", "aws", "lab"];
        names.retain(|name| !keywords.contains(&name.as_str()));
        prop_assume!(!names.contains(&new) && !["aws", "lab"].contains(&new.as_str()));
        let text = style.file(&names);
        let before = parse(&text).declared();
        prop_assert_eq!(&before.unknown, &[]);
        let declared = declaration(&before.json);
        prop_assert_eq!(declared.volumes.len(), names.len());
        let change = match which {
            0 => volume(&new, &declared),
            1 => provider(&new, &declared),
            _ => link(&declared),
        };
        let edited = edited(&text, &change).map_err(TestCaseError::fail)?;
        let after = parse(&edited).declared();
        prop_assert_eq!(&after.json, &change.applied(&before.json));
        let back = edited_back(&edited, &opposite(&change, &after.json));
        prop_assert_eq!(back, text, "from\n{}", edited);
    }
}

/// A flake of two Macs, each with a module in a style of its own.
fn flake(one: &str, other: &str, newline: &str) -> String {
    let open = |module: &str| {
        let body = module.replace("\r\n", "\n").trim().replace('\n', newline);
        format!("darwinConfigurations.NAME = f {{ modules = [{newline}({body}{newline})]; }};")
    };
    let (one, other) = (open(one).replace("NAME", "one"), open(other).replace("NAME", "other"));
    format!("{{ outputs = {{ f, ... }}: {{{newline}{one}{newline}{other}{newline}}}; }}{newline}")
}

proptest! {
    #![proptest_config(cases(if is_long() { 5_000 } else { 100 }))]
    #[test]
    fn renames_and_moves_can_be_undone(
        style in style(),
        names in proptest::collection::btree_set("[a-e][b-z]?(-[0-9]{1,2})?", 1..5),
        which in any::<prop::sample::Index>(),
        new in "[f-z][a-z]?-[0-9]{1,2}",
    ) {
        let mut names: Vec<String> = names.into_iter().collect();
        names.retain(|name| !["aws", "lab", "in", "if", "or"].contains(&name.as_str()));
        prop_assume!(!names.is_empty());
        let name = which.get(&names).clone();
        let text = style.file(&names);
        let before = parse(&text).declared().json;
        for (kind, old) in [(EntryKind::Volume, name.as_str()), (EntryKind::Provider, "aws"), (EntryKind::Provider, "lab")] {
            let rename = |old: &str, new: &str| Change::Rename { kind, old: old.to_owned(), new: new.to_owned() };
            let edited = edited_back(&text, &rename(old, &new));
            prop_assert_eq!(&parse(&edited).declared().json, &rename(old, &new).applied(&before));
            prop_assert_eq!(edited_back(&edited, &rename(&new, old)), text.clone());
        }
        let to = |provider: &str, address: &str| Change::Move {
            name: name.clone(),
            provider: provider.to_owned(),
            address: address.to_owned(),
        };
        let home = before["volumes"][&name]["address"].as_str().expect("an address");
        let edited = edited_back(&text, &to("lab", "10.1.1.20"));
        prop_assert_eq!(&parse(&edited).declared().json, &to("lab", "10.1.1.20").applied(&before));
        prop_assert_eq!(edited_back(&edited, &to("aws", home)), text);
    }

    #[test]
    fn one_of_two_macs_is_edited(
        (one, other) in (style(), style()),
        shared in proptest::collection::btree_set("[a-e][b-z]?-[0-9]{1,2}", 1..4),
        which in any::<prop::sample::Index>(),
        what in 0..6_usize,
    ) {
        let names: Vec<String> = shared.into_iter().collect();
        let name = which.get(&names).clone();
        let text = flake(&one.file(&names), &other.file(&names), one.newline);
        let of = |text: &str, name: &str| {
            let choice = Choice { configurations: vec![name.to_owned()], line: None };
            let file = NixFile::parse(text, &[]).and_then(|file| file.choose(&choice));
            file.unwrap_or_else(|refused| panic!("{refused}\n{text}")).declared().json
        };
        let before = of(&text, "one");
        prop_assert_eq!(&before, &of(&text, "other"));
        let read = declaration(&before);
        let change = match what {
            0 => volume("new-1", &read),
            1 => provider("new-1", &read),
            2 => link(&read),
            3 => Change::Remove { kind: EntryKind::Volume, name },
            4 => Change::Rename { kind: EntryKind::Provider, old: "aws".to_owned(), new: "new-1".to_owned() },
            _ => Change::Move { name, provider: "lab".to_owned(), address: "10.1.1.20".to_owned() },
        };
        // The other Mac's block must stay unchanged to the byte; the text is split where the second block begins.
        let at = |text: &str| text.find("darwinConfigurations.other").expect("the second");
        for host in ["one", "other"] {
            let choice = Choice { configurations: vec![host.to_owned()], line: None };
            let file = NixFile::parse(&text, &[]).and_then(|file| file.choose(&choice)).expect("a choice");
            let edited = file.edited(&change, &before, None);
            let edited = edited.unwrap_or_else(|refused| panic!("{change:?}: {refused}\n{text}"));
            let left = if host == "one" { "other" } else { "one" };
            prop_assert_eq!(&of(&edited, left), &before);
            prop_assert_eq!(&of(&edited, host), &change.applied(&before));
            let parts = |text: &str| [text[..at(text)].to_owned(), text[at(text)..].to_owned()];
            let same = usize::from(host == "one");
            prop_assert_eq!(&parts(&edited)[same], &parts(&text)[same]);
            if what < 2 {
                let back = NixFile::parse(&edited, &[]).and_then(|file| file.choose(&choice)).expect("a choice");
                let back = back.edited(&opposite(&change, &of(&edited, host)), &of(&edited, host), None);
                prop_assert_eq!(back.expect("an edit"), text.clone());
            }
        }
    }
}
