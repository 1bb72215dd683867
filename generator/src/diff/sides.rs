//! The two sides of a comparison: a declaration with its plan and its rendered files.

use std::collections::BTreeMap;

use crate::model::Declaration;
use crate::plan::Plan;

/// The files of a bundle: text by path.
pub type BundleFiles = BTreeMap<String, String>;

/// One side of a comparison.
#[derive(Debug, Clone, Copy)]
pub struct ComparedSide<'a> {
    /// The declaration.
    pub declaration: &'a Declaration,
    /// The plan that follows from it.
    pub plan: &'a Plan,
    /// The rendered files.
    pub files: &'a BundleFiles,
}
