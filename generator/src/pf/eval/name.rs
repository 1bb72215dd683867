//! Numbers for the names of interfaces and tags.
//!
//! They exist so that no packet compares strings. Sees: names. Never: rules or packets.

use std::collections::HashMap;

/// Identifies the name of an interface or a tag; 0 is no name.
pub(super) type NameId = u32;

/// Stands for a name that no rule contains.
pub(super) const STRANGER: NameId = NameId::MAX;

/// The ids of names.
#[derive(Clone, Debug, Default)]
pub(super) struct NameIds(HashMap<String, NameId>);

impl NameIds {
    pub fn intern(&mut self, name: &str) -> NameId {
        if let Some(id) = self.0.get(name) {
            return *id;
        }
        let id = NameId::try_from(self.0.len() + 1).unwrap_or(STRANGER);
        self.0.insert(name.to_owned(), id);
        id
    }

    pub fn get(&self, name: &str) -> NameId {
        self.0.get(name).copied().unwrap_or(STRANGER)
    }
}
