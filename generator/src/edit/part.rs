//! Selects which declaration of a file to edit. A flake may declare several Macs, and an edit of one must not change
//! the others.

use std::ops::Range;

use rnix::ast;

use crate::source::find::Definition;
use crate::source::hosts::{self, Evaluation};

/// Which declaration of a file to edit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// The names of configurations.
    pub configurations: Vec<String>,
    /// A line inside the declaration.
    pub line: Option<usize>,
}

/// One declaration of a file: a configuration, an exported module, or the statements that belong to neither.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclarationGroup {
    /// Its name; empty if it has none.
    pub name: String,
    /// Its byte range.
    pub at: Range<usize>,
    pub(super) made_by: Option<String>,
}

/// The declarations of a file, and which of them each definition belongs to.
#[derive(Debug, Clone, Default)]
pub struct FileDeclarations {
    pub(super) groups: Vec<DeclarationGroup>,
    /// For each definition, the indices of its groups.
    pub(super) owners: Vec<Vec<usize>>,
    pub(super) evaluations: Vec<Evaluation>,
}

impl FileDeclarations {
    /// Assigns definitions to declarations.
    pub fn of(file: &ast::Root, definitions: &[Definition]) -> Self {
        if definitions.is_empty() {
            return Self::default();
        }
        let (evaluations, modules) = (hosts::evaluations(file), hosts::modules(file));
        let mut groups: Vec<DeclarationGroup> = Vec::new();
        let mut index = |group: DeclarationGroup| {
            groups.iter().position(|known| known.name == group.name).unwrap_or_else(|| {
                groups.push(group);
                groups.len() - 1
            })
        };
        let owners = definitions.iter().map(|definition| {
            let taking_part = evaluations.iter().filter(|it| it.reaches(&definition.site));
            let mut own: Vec<usize> = taking_part
                .map(|it| {
                    index(DeclarationGroup {
                        name: it.name.clone(),
                        at: it.at.clone(),
                        made_by: it.made_by.clone(),
                    })
                })
                .collect();
            if own.is_empty() {
                let site = &definition.site;
                let holds = |(_, at): &&(String, Range<usize>)| at.start <= site.start && site.end <= at.end;
                let module = modules.iter().find(holds).cloned();
                let (name, at) = module.unwrap_or_else(|| (String::new(), definition.root.clone()));
                own.push(index(DeclarationGroup { name, at, made_by: None }));
            }
            own.sort_unstable();
            own
        });
        let owners = owners.collect();
        Self { groups, owners, evaluations }
    }

    /// Whether there is at most one declaration.
    pub fn is_single(&self) -> bool {
        self.groups.len() < 2
    }

    /// Whether a byte range belongs to one of the declarations with these names.
    pub fn takes_part(&self, range: &Range<usize>, names: &[String]) -> bool {
        let holds = |around: &Range<usize>| around.start <= range.start && range.end <= around.end;
        let is_named = |name: &String| names.contains(name);
        self.is_single()
            || self.evaluations.iter().any(|it| is_named(&it.name) && it.reaches(range))
            || self.groups.iter().any(|group| is_named(&group.name) && holds(&group.at))
    }
}
