//! Edits of other people's configurations: our block is inserted into public nix-darwin files, and every edit of it
//! must leave the rest of the file unchanged.
//!
//! The files come from the directory in `NIXVOL_PUBLIC_NIX`: any tree of `.nix` files, such as checkouts of public
//! configurations. None of them is kept here. Without it the test reports that it was skipped.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use nixvol_net::edit::{self, Change, Choice, EntryKind, NixFile};
use rnix::Root;
use rnix::ast::{Apply, AttrSet, AttrpathValue, Expr, HasEntry, LetIn, List};
use rowan::ast::AstNode;
use serde_json::{Value, json};

use crate::edits::declaration;
use crate::nix::nix_instantiate;

/// The block to insert; the networks depend on the host's number.
fn block(host: usize) -> String {
    let net = 40 + host;
    format!(
        "services.nixvol-net = {{ enable = true; \
         providers = {{ aws = {{ network = \"10.{net}.0.0/16\"; gateway = \"10.{net}.1.1/24\"; }}; \
         gcp = {{ network = \"10.{net}.0.0/17\"; gateway = \"10.{net}.2.1/24\"; }}; }}; \
         volumes = {{ etcd-1 = {{ provider = \"aws\"; address = \"10.{net}.1.2\"; }}; }}; \
         links = [ {{ from = [ \"etcd-1\" ]; to = [ \"gcp\" ]; }} ]; }};"
    )
    .replace(&format!("10.{net}.0.0/17"), &format!("10.{}.0.0/16", 140 + host))
    .replace(&format!("10.{net}.2.1/24"), &format!("10.{}.1.1/24", 140 + host))
}

/// Every Nix file below the directory that has to do with nix-darwin.
fn public() -> Option<Vec<(PathBuf, String)>> {
    let Some(root) = std::env::var_os("NIXVOL_PUBLIC_NIX") else {
        let words = b"skipped: NIXVOL_PUBLIC_NIX names no directory of public nix-darwin configurations\n";
        std::io::stderr().write_all(words).expect("standard error");
        return None;
    };
    let mut waiting = vec![PathBuf::from(root)];
    let mut files = Vec::new();
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|it| it == "nix") {
                // Skip broken links and files in other encodings.
                let Ok(text) = fs::read_to_string(&path) else { continue };
                let is_darwin = text.contains("darwin") || path.to_string_lossy().contains("darwin");
                if is_darwin && !text.contains("nixvol-net") && Root::parse(&text).errors().is_empty() {
                    files.push((path, text));
                }
            }
        }
    }
    files.sort();
    Some(files)
}

/// A file with our blocks inserted, and the configurations that each block belongs to; `blocks` is empty for a file
/// that is a single module.
struct Prepared {
    text: String,
    blocks: Vec<Vec<String>>,
}

/// Inserts our block where a user would: into each configuration's list of modules, otherwise into the module's own
/// set.
fn prepared(text: &str) -> Option<Prepared> {
    let root = Root::parse(text).tree();
    let mut at: Vec<(usize, String)> = Vec::new();
    let mut hosts = Vec::new();
    for statement in root.syntax().descendants().filter_map(AttrpathValue::cast) {
        let Some(host) = host_of(&statement) else { continue };
        let lists = statement.syntax().descendants().filter_map(AttrpathValue::cast).filter_map(|inner| {
            let is_modules = inner.attrpath()?.to_string() == "modules";
            match inner.value()? {
                Expr::List(list) if is_modules => Some(list),
                _ => None,
            }
        });
        let mut lists = lists;
        let Some(list) = lists.next() else { continue };
        let inside = usize::from(list.syntax().text_range().start()) + 1;
        if at.iter().any(|(known, _)| *known == inside) {
            continue;
        }
        at.push((inside, format!(" {{ {} }}", block(hosts.len()))));
        hosts.push(vec![host]);
    }
    if at.is_empty()
        && let Some(list) = root.syntax().descendants().filter_map(Apply::cast).find_map(|it| modules_of(&it))
    {
        // One function makes every configuration.
        let mut text = text.to_owned();
        text.insert_str(usize::from(list.syntax().text_range().start()) + 1, &format!(" {{ {} }}", block(0)));
        let names: Vec<String> =
            NixFile::parse(&text, &[]).ok()?.names().into_iter().map(str::to_owned).collect();
        let blocks = if names.len() > 1 { vec![names] } else { Vec::new() };
        return Some(Prepared { text, blocks });
    }
    if at.is_empty() {
        let set = module_set(root.expr()?)?;
        // `services = f { … };` cannot be combined with `services.nixvol-net`.
        let is_closed = |it: AttrpathValue| {
            let path = it.attrpath().map(|path| path.to_string()).unwrap_or_default();
            path == "services" && !matches!(it.value(), Some(Expr::AttrSet(_)))
        };
        if set.attrpath_values().any(is_closed) {
            return None;
        }
        let inside = usize::from(set.syntax().text_range().end()) - 1;
        at.push((inside, format!("{} ", block(0))));
    }
    let mut text = text.to_owned();
    at.sort();
    for (inside, block) in at.iter().rev() {
        text.insert_str(*inside, block);
    }
    Some(Prepared { text, blocks: hosts })
}

/// The list of modules in a call of `darwinSystem`.
fn modules_of(call: &Apply) -> Option<List> {
    let name = call.lambda()?.to_string();
    if !name.ends_with("darwinSystem") {
        return None;
    }
    let mut inner = call.syntax().descendants().filter_map(AttrpathValue::cast);
    inner.find_map(|it| match it.value()? {
        Expr::List(list) if it.attrpath()?.to_string() == "modules" => Some(list),
        _ => None,
    })
}

/// The name of a configuration, if a statement defines one by name.
fn host_of(statement: &AttrpathValue) -> Option<String> {
    if statement.syntax().parent().is_some_and(|it| LetIn::can_cast(it.kind())) {
        return None;
    }
    let own: Vec<String> = statement.attrpath()?.attrs().map(|attr| attr.to_string()).collect();
    let above = statement.syntax().ancestors().skip(1).find_map(AttrpathValue::cast);
    let above = above.and_then(|it| it.attrpath()).map(|path| path.to_string()).unwrap_or_default();
    let named = |name: &str| {
        let name = name.trim_matches('"');
        name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)).then(|| name.to_owned())
    };
    match &own[..] {
        [.., last, name] if last == "darwinConfigurations" => named(name),
        [name] if above.ends_with("darwinConfigurations") => named(name),
        _ => None,
    }
}

/// The attribute set of a module: inside its arguments, `let`, `with` and `config`.
fn module_set(value: Expr) -> Option<AttrSet> {
    match value {
        Expr::Lambda(it) => module_set(it.body()?),
        Expr::LetIn(it) => module_set(it.body()?),
        Expr::With(it) => module_set(it.body()?),
        Expr::Paren(it) => module_set(it.expr()?),
        Expr::AttrSet(set) => {
            let config = set.attrpath_values().find_map(|it| {
                let is_config = it.attrpath()?.to_string() == "config";
                is_config.then(|| it.value())?
            });
            match config {
                Some(Expr::AttrSet(config)) => Some(config),
                // A `config` that is wrapped in a function call is not edited.
                Some(_) => None,
                // A flake, or a set that is not a module, cannot hold options.
                None if set.attrpath_values().any(|it| is_no_module(&it)) => None,
                None => Some(set),
            }
        }
        _ => None,
    }
}

fn is_no_module(statement: &AttrpathValue) -> bool {
    let first = statement.attrpath().and_then(|path| path.attrs().next()).map(|attr| attr.to_string());
    first.is_some_and(|first| {
        ["outputs", "inputs", "options", "darwinConfigurations"].contains(&first.as_str())
    })
}

fn choice(configurations: &[String]) -> Choice {
    Choice { configurations: configurations.to_vec(), line: None }
}

fn changes(before: &Value) -> Vec<Change> {
    let read = declaration(before);
    let address = |provider: &str| read.free_address(provider).expect("an address").to_string();
    let fields = vec![("provider", json!("aws")), ("address", json!(address("aws")))];
    let network = read.free_network().expect("a network");
    let cloud = vec![
        ("network", json!(network)),
        ("gateway", json!(read.gateway_for(network).expect("a gateway").to_string())),
    ];
    let link = vec![("from", json!(["gcp"])), ("to", json!(["aws"])), ("protocol", json!("udp"))];
    let expect = vec![("from", json!(["internet"])), ("to", json!(["any"])), ("passes", json!(false))];
    let rename =
        |kind, old: &str, new: &str| Change::Rename { kind, old: old.to_owned(), new: new.to_owned() };
    vec![
        Change::Add { kind: EntryKind::Volume, name: "etcd-2".to_owned(), fields },
        Change::Add { kind: EntryKind::Provider, name: "ibm".to_owned(), fields: cloud },
        Change::AddItem { list: edit::ListOption::Links, fields: link },
        Change::AddItem { list: edit::ListOption::Expect, fields: expect },
        rename(EntryKind::Volume, "etcd-1", "db"),
        rename(EntryKind::Provider, "aws", "amazon"),
        Change::Move { name: "etcd-1".to_owned(), provider: "gcp".to_owned(), address: address("gcp") },
        Change::Remove { kind: EntryKind::Volume, name: "etcd-1".to_owned() },
        Change::RemoveItem { list: edit::ListOption::Links, index: 0 },
    ]
}

/// The text before, between and after our blocks.
fn without_blocks(text: &str) -> Vec<String> {
    let root = Root::parse(text).tree();
    let mut rest = Vec::new();
    let mut from = 0;
    let ours = root
        .syntax()
        .descendants()
        .filter_map(AttrpathValue::cast)
        .filter(|it| it.attrpath().is_some_and(|path| path.to_string() == "services.nixvol-net"));
    for statement in ours {
        let range = statement.syntax().text_range();
        rest.push(text[from..range.start().into()].to_owned());
        from = range.end().into();
    }
    rest.push(text[from..].to_owned());
    rest
}

/// Adds an empty list where a list is omitted.
fn with_lists(mut declaration: Value) -> Value {
    let fields = declaration.as_object_mut().expect("a declaration");
    for list in ["links", "expect"] {
        fields.entry(list).or_insert_with(|| json!([]));
    }
    declaration
}

fn nix_parses(texts: &BTreeMap<String, String>) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut paths = Vec::new();
    for (index, text) in texts.values().enumerate() {
        let path = directory.path().join(format!("{index}.nix"));
        fs::write(&path, text).expect("a file");
        paths.push(path.display().to_string());
    }
    for paths in paths.chunks(200) {
        let mut arguments = vec!["--parse"];
        arguments.extend(paths.iter().map(String::as_str));
        let output = nix_instantiate(&arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn edits_leave_public_files_unchanged_outside_our_block() {
    let Some(files) = public() else { return };
    let (mut tried, mut several, mut edits) = (0, 0, 0);
    let mut texts = BTreeMap::new();
    for (path, text) in &files {
        let Some(Prepared { text, blocks }) = prepared(text) else { continue };
        tried += 1;
        let macs = blocks.iter().map(Vec::len).sum::<usize>();
        several += usize::from(macs > 1);
        let shown = Path::new(path).display();
        let parse = || NixFile::parse(&text, &[]).unwrap_or_else(|refused| panic!("{shown}: {refused}"));
        if macs > 1 {
            let change = Change::Remove { kind: EntryKind::Volume, name: "etcd-1".to_owned() };
            let none = parse().edited(&change, &json!({}), None);
            assert!(none.is_err(), "{shown}: edited without a choice among {blocks:?}");
        }
        // The configuration names that select each block, and each single configuration.
        let choices = if macs > 1 { blocks.clone() } else { vec![Vec::new()] };
        let single: Vec<(usize, Vec<String>)> = choices
            .iter()
            .enumerate()
            .flat_map(|(index, names)| match names.len() {
                0 | 1 => vec![(index, names.clone())],
                _ => names.iter().map(|name| (index, vec![name.clone()])).collect(),
            })
            .collect();
        let declared = |text: &str, names: &[String], what: &str| {
            let file = NixFile::parse(text, &[]).and_then(|file| file.choose(&choice(names)));
            file.unwrap_or_else(|refused| panic!("{what}: {names:?}: {refused}\n{text}")).declared()
        };
        let before: Vec<Value> = single
            .iter()
            .map(|(index, names)| {
                let declared = declared(&text, names, &shown.to_string());
                assert_eq!(declared.unknown, [], "{shown}");
                let address = format!("10.{}.1.2", 40 + index);
                assert_eq!(declared.json["volumes"]["etcd-1"]["address"], json!(address), "{shown}");
                declared.json
            })
            .collect();
        let rest = without_blocks(&text);
        for (index, names) in choices.iter().enumerate() {
            let file = parse().choose(&choice(names)).unwrap_or_else(|refused| panic!("{shown}: {refused}"));
            let own = file.declared().json;
            for change in changes(&own) {
                let what = format!("{shown}: {names:?}: {change:?}");
                let edited = file.edited(&change, &own, None);
                let edited = edited.unwrap_or_else(|refused| panic!("{what}: {refused}"));
                assert_eq!(without_blocks(&edited), rest, "{what}");
                for ((of, names), was) in single.iter().zip(&before) {
                    let after = declared(&edited, names, &what).json;
                    let wanted = if *of == index { change.applied(was) } else { was.clone() };
                    assert_eq!(with_lists(after), with_lists(wanted), "{what}: {names:?}");
                }
                edits += 1;
                texts.insert(what, edited);
            }
        }
    }
    nix_parses(&texts);
    eprintln!("{tried} files, {several} of them with several Macs, {edits} edits");
    assert!(tried >= 100 && several >= 3, "{tried} files, {several} of them with several Macs: too few");
}
