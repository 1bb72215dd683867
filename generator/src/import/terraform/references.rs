//! Resolves the expressions of a plan. A plan does not know the ids of what does not exist yet; its configuration has
//! the resources that an argument names, through variables and outputs of modules.

use std::collections::BTreeMap;

use crate::import::node::DocumentNode;

/// The maximum length of a chain of variables and outputs; a longer one is taken for a cycle.
const LONGEST: usize = 16;

/// The configuration of a plan, by the path of each module: `module.a.module.b`, or empty for the root.
#[derive(Default)]
pub struct Configuration<'a> {
    modules: BTreeMap<String, &'a DocumentNode>,
    /// The calls of modules, by the path of the called module.
    calls: BTreeMap<String, &'a DocumentNode>,
}

/// The place of a resource in the configuration: the path of its module, and its type and name.
pub type ResourcePath = (String, String);

impl<'a> Configuration<'a> {
    pub fn of(file: &'a DocumentNode) -> Self {
        let mut configuration = Self::default();
        if let Some(root) = file.at(&["configuration", "root_module"]) {
            configuration.add(String::new(), root);
        }
        configuration
    }

    fn add(&mut self, path: String, module: &'a DocumentNode) {
        for (name, call) in module.get("module_calls").map_or(&[][..], DocumentNode::entries) {
            let inner = joined(&path, name);
            self.calls.insert(inner.clone(), call);
            if let Some(module) = call.get("module") {
                self.add(inner, module);
            }
        }
        self.modules.insert(path, module);
    }

    /// The resources that an argument of a resource names, in order.
    pub fn named(&self, (path, resource): &ResourcePath, argument: &[&str]) -> Vec<ResourcePath> {
        let resources = self.modules.get(path).and_then(|module| module.get("resources"));
        let is_meant = |it: &&DocumentNode| {
            let (kind, name) = (it.text("type"), it.text("name"));
            kind.zip(name).is_some_and(|(kind, name)| format!("{kind}.{name}") == *resource)
        };
        let found = resources.map_or(&[][..], DocumentNode::items).iter().find(is_meant);
        let expression = found.and_then(|it| below(it.get("expressions")?, argument));
        let mut places = Vec::new();
        if let Some(expression) = expression {
            self.follow(path, expression, 0, &mut places);
        }
        places
    }

    /// Follows an expression of a module to the resources that it names.
    fn follow(&self, path: &str, expression: &DocumentNode, depth: usize, places: &mut Vec<ResourcePath>) {
        if depth > LONGEST {
            return;
        }
        for reference in expression.get("references").map_or(&[][..], DocumentNode::items) {
            let Some(reference) = reference.as_text() else { continue };
            let reference = plain(reference);
            let mut words = reference.split('.');
            match (words.next().unwrap_or_default(), words.next().unwrap_or_default()) {
                ("var", name) => {
                    let given = self.calls.get(path).and_then(|call| call.at(&["expressions", name]));
                    if let Some(given) = given {
                        self.follow(outer(path), given, depth + 1, places);
                    }
                }
                ("module", name) => {
                    let inner = joined(path, name);
                    let output = words.next().unwrap_or_default();
                    let module = self.modules.get(&inner);
                    if let Some(value) = module.and_then(|it| it.at(&["outputs", output, "expression"])) {
                        self.follow(&inner, value, depth + 1, places);
                    }
                }
                ("data", kind) => {
                    let name = words.next().unwrap_or_default();
                    places.push((path.to_owned(), format!("{kind}.{name}")));
                }
                ("each" | "count" | "local" | "path" | "self" | "terraform", _) => {}
                (kind, name) => places.push((path.to_owned(), format!("{kind}.{name}"))),
            }
        }
    }
}

/// The expression of an argument, inside nested blocks.
fn below<'a>(expressions: &'a DocumentNode, argument: &[&str]) -> Option<&'a DocumentNode> {
    let Some((key, rest)) = argument.split_first() else { return Some(expressions) };
    expressions.items().iter().find_map(|block| below(block.get(key)?, rest))
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { format!("module.{name}") } else { format!("{path}.module.{name}") }
}

/// The path of the module that calls another.
fn outer(path: &str) -> &str {
    path.rsplit_once(".module.").map_or("", |(outer, _)| outer)
}

/// An address without instance keys: `module.a["x"].aws_subnet.b[0]` is `module.a.aws_subnet.b`.
pub fn plain(address: &str) -> String {
    let mut out = String::new();
    let (mut depth, mut is_quoted) = (0_usize, false);
    for character in address.chars() {
        match character {
            '"' if depth > 0 => is_quoted = !is_quoted,
            '[' if !is_quoted => depth += 1,
            ']' if !is_quoted => depth = depth.saturating_sub(1),
            other if depth == 0 => out.push(other),
            _ => {}
        }
    }
    out
}
