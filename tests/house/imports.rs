//! What each source file uses of the others, read with `syn`: circles between files, and names of public types.
//!
//! A file *uses* another when a path in it (in an expression, a type, a pattern, a macro's arguments or a private `use`)
//! names an item that the other defines. Re-exports are followed to the file that defines the item, and are not
//! uses themselves: a module file that declares children and re-exports what they define is part of no circle by that.
//! A call of a method is not a use either, because it names no file: the caller names the type.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;

/// A path in the source, from the root of the crate.
type Names = Vec<String>;

/// One module, which is a file or lies in one.
#[derive(Default)]
struct Module {
    file: PathBuf,
    children: BTreeSet<String>,
    defined: BTreeSet<String>,
    /// What `use` brings into scope: the name here, and the path it stands for.
    imported: BTreeMap<String, Names>,
    globs: Vec<Names>,
}

/// All files of the program, parsed.
pub(super) struct Program {
    modules: BTreeMap<Names, Module>,
    uses: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
    types: BTreeMap<String, BTreeSet<PathBuf>>,
}

impl Program {
    pub(super) fn read(files: &[PathBuf]) -> Self {
        let mut program = Self { modules: BTreeMap::new(), uses: BTreeMap::new(), types: BTreeMap::new() };
        let mut parsed = Vec::new();
        for path in files {
            let syntax = syn::parse_file(&super::source_of(path)).expect("a source file parses");
            let module = module_of(path);
            program.declare(path, &module, &syntax.items);
            parsed.push((path, module, syntax));
        }
        for (path, module, syntax) in parsed {
            let mut reader = Reader { program: &program, module, used: BTreeSet::new() };
            reader.visit_file(&syntax);
            let mut used = reader.used;
            used.remove(path);
            program.uses.insert(path.clone(), used);
        }
        program
    }

    fn declare(&mut self, path: &Path, module: &[String], items: &[syn::Item]) {
        // The library and the program share the root: each has modules that the other has not.
        let mut own = self.modules.remove(module).unwrap_or_default();
        path.clone_into(&mut own.file);
        for item in items {
            if let syn::Item::Mod(inside) = item {
                own.children.insert(inside.ident.to_string());
                if let Some((_, items)) = &inside.content {
                    let mut name = module.to_vec();
                    name.push(inside.ident.to_string());
                    self.declare(path, &name, items);
                }
            } else if let syn::Item::Use(used) = item {
                for (name, target) in leaves(&used.tree) {
                    let target = absolute(module, target);
                    match name {
                        Some(name) => drop(own.imported.insert(name, target)),
                        None => own.globs.push(target),
                    }
                }
            } else if let Some((name, public)) = named(item) {
                if public {
                    self.types.entry(name.clone()).or_default().insert(path.to_owned());
                }
                own.defined.insert(name);
            }
        }
        self.modules.insert(module.to_vec(), own);
    }

    /// The file that defines what a path names, if it is one of the program.
    fn file_of(&self, from: &[String], path: &[String], depth: usize) -> Option<&PathBuf> {
        let mut at = from.to_vec();
        for (index, name) in path.iter().enumerate() {
            let module = self.modules.get(&at)?;
            let rest = &path[index + 1..];
            // A module and a function of the same name: only a module has something below it.
            if module.children.contains(name) && !rest.is_empty() {
                at.push(name.clone());
                continue;
            }
            if depth > 0
                && let Some(target) = module.imported.get(name)
            {
                let target: Names = target.iter().chain(rest).cloned().collect();
                return self.file_of(&[], &target, depth - 1);
            }
            if module.children.contains(name) {
                at.push(name.clone());
            } else if module.defined.contains(name) {
                return Some(&module.file);
            } else {
                return module.globs.iter().filter(|_| depth > 0).find_map(|glob| {
                    let target: Names = glob.iter().chain(&path[index..]).cloned().collect();
                    self.file_of(&[], &target, depth - 1)
                });
            }
        }
        None
    }

    /// Groups of files of which each uses each other one, directly or through others; the smallest first.
    pub(super) fn circles(&self) -> Vec<BTreeSet<&Path>> {
        let reached: BTreeMap<&Path, BTreeSet<&Path>> =
            self.uses.keys().map(|file| (file.as_path(), self.reached(file))).collect();
        let mut circles = BTreeSet::new();
        for (file, beyond) in &reached {
            if beyond.contains(file) {
                circles.insert(
                    beyond
                        .iter()
                        .copied()
                        .filter(|other| reached[other].contains(file))
                        .collect::<BTreeSet<_>>(),
                );
            }
        }
        let mut circles: Vec<_> = circles.into_iter().collect();
        circles.sort_by_key(BTreeSet::len);
        circles
    }

    /// Whether one file uses another; both below `generator/src`.
    pub(super) fn is_used(&self, used: &str, by: &str) -> bool {
        let file = |name| Path::new("generator/src").join(name);
        self.uses[&file(by)].contains(&file(used))
    }

    fn reached<'p>(&'p self, file: &'p Path) -> BTreeSet<&'p Path> {
        let mut reached = BTreeSet::new();
        let mut next = vec![file];
        while let Some(file) = next.pop() {
            next.extend(self.uses[file].iter().map(PathBuf::as_path).filter(|used| reached.insert(*used)));
        }
        reached
    }

    /// The uses between the files of a circle, for the message of a failure.
    pub(super) fn between(&self, circle: &BTreeSet<&Path>) -> String {
        let mut lines = Vec::new();
        for file in circle {
            let used = self.uses[*file].iter().filter(|used| circle.contains(used.as_path()));
            lines.extend(used.map(|used| format!("  {} uses {}", file.display(), used.display())));
        }
        lines.join("\n") + "\n"
    }

    /// The names of public types that more than one file defines.
    pub(super) fn doubled(&self) -> BTreeMap<&str, &BTreeSet<PathBuf>> {
        self.types
            .iter()
            .filter(|(_, files)| files.len() > 1)
            .map(|(name, files)| (name.as_str(), files))
            .collect()
    }

    pub(super) fn public_types(&self) -> usize {
        self.types.values().map(BTreeSet::len).sum()
    }
}

fn module_of(path: &Path) -> Names {
    let inside = path.strip_prefix("generator/src").expect("a source file").with_extension("");
    let names: Names = inside.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    if names == ["lib"] || names == ["main"] { Vec::new() } else { names }
}

/// The path from the root of the crate, where it can be told without a scope.
fn absolute(module: &[String], path: Names) -> Names {
    let mut at = module.to_vec();
    for (index, name) in path.iter().enumerate() {
        match name.as_str() {
            "crate" | "nixvol_net" if index == 0 => at.clear(),
            "self" => {}
            "super" => drop(at.pop()),
            _ => return at.into_iter().chain(path[index..].iter().cloned()).collect(),
        }
    }
    at
}

/// What a `use` brings into scope; no name for a glob.
fn leaves(tree: &syn::UseTree) -> Vec<(Option<String>, Names)> {
    match tree {
        syn::UseTree::Path(path) => leaves(&path.tree)
            .into_iter()
            .map(|(name, rest)| {
                let above = path.ident.to_string();
                // `use a::{self}` stands for `use a`.
                if rest == ["self"] {
                    return (name.map(|it| if it == "self" { above.clone() } else { it }), vec![above]);
                }
                (name, [above].into_iter().chain(rest).collect())
            })
            .collect(),
        syn::UseTree::Name(name) => vec![(Some(name.ident.to_string()), vec![name.ident.to_string()])],
        syn::UseTree::Rename(name) => vec![(Some(name.rename.to_string()), vec![name.ident.to_string()])],
        syn::UseTree::Glob(_) => vec![(None, Vec::new())],
        syn::UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
    }
}

/// The name that an item defines, and whether it is a type that other files can name.
fn named(item: &syn::Item) -> Option<(String, bool)> {
    let public = |visibility: &syn::Visibility| matches!(visibility, syn::Visibility::Public(_));
    Some(match item {
        syn::Item::Struct(item) => (item.ident.to_string(), public(&item.vis)),
        syn::Item::Enum(item) => (item.ident.to_string(), public(&item.vis)),
        syn::Item::Union(item) => (item.ident.to_string(), public(&item.vis)),
        syn::Item::Trait(item) => (item.ident.to_string(), public(&item.vis)),
        syn::Item::Type(item) => (item.ident.to_string(), public(&item.vis)),
        syn::Item::Fn(item) => (item.sig.ident.to_string(), false),
        syn::Item::Const(item) => (item.ident.to_string(), false),
        syn::Item::Static(item) => (item.ident.to_string(), false),
        _ => return None,
    })
}

/// Reads one file: which others it uses.
struct Reader<'p> {
    program: &'p Program,
    module: Names,
    used: BTreeSet<PathBuf>,
}

impl<'p> Reader<'p> {
    fn file_of(&self, path: &Names) -> Option<&'p PathBuf> {
        match path.first()?.as_str() {
            // `self` as a value, and `pub(super)`.
            "crate" | "self" | "super" if path.len() == 1 => None,
            "crate" | "nixvol_net" | "self" | "super" => {
                self.program.file_of(&[], &absolute(&self.module, path.clone()), 8)
            }
            _ => self.program.file_of(&self.module, path, 8),
        }
    }

    fn path(&mut self, path: &Names) {
        if let Some(file) = self.file_of(path).cloned() {
            self.used.insert(file);
        }
    }

    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Names = Vec::new();
        let mut colons = 0;
        let mut is_member = false;
        for token in tokens {
            match token {
                TokenTree::Ident(name) if colons == 2 && !path.is_empty() => {
                    path.push(name.to_string());
                    colons = 0;
                }
                TokenTree::Ident(name) => {
                    self.path(&std::mem::take(&mut path));
                    if !is_member {
                        path.push(name.to_string());
                    }
                    colons = 0;
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' => colons += 1,
                TokenTree::Punct(mark) => {
                    is_member = mark.as_char() == '.';
                    self.path(&std::mem::take(&mut path));
                    colons = 0;
                    continue;
                }
                TokenTree::Group(group) => {
                    self.path(&std::mem::take(&mut path));
                    self.tokens(group.stream());
                    colons = 0;
                }
                TokenTree::Literal(_) => self.path(&std::mem::take(&mut path)),
            }
            is_member = false;
        }
        self.path(&path);
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.to_string());
        syn::visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if matches!(item.vis, syn::Visibility::Inherited) {
            for (_, path) in leaves(&item.tree) {
                self.path(&path);
            }
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            self.path(&path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.tokens(item.tokens.clone());
    }
}
