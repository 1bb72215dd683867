//! All tables: those of rulesets, looked up in the rule's anchor and then in the main ruleset, and those of interface
//! addresses.
//!
//! It exists because the table that a name refers to depends on where it is used, and on what else uses it. Sees:
//! definitions and references of tables. Never: rules or packets.

use std::collections::HashMap;

use super::address::{Bits, Ranges};
use super::interface::{addresses_for, table_name};
use super::table::Prefixes;
use crate::pf::environment::InterfaceInfo;
use crate::pf::syntax::{Dynamic, Family, Table};

/// Identifies a table.
pub type TableId = usize;

/// The anchor of interface tables: no ruleset can have this path, so these tables are never cleared.
const OF_INTERFACES: &str = "\0";

/// All tables.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    slots: Vec<Slot>,
    by_name: HashMap<(String, String), TableId>,
    dynamic: HashMap<String, (Dynamic, TableId)>,
}

/// A table, or a reference to one that may be defined later.
#[derive(Clone, Debug, Default)]
struct Slot {
    anchor: String,
    /// Its contents while it is active.
    content: Option<Prefixes>,
    /// Whether a rule of its own anchor uses it.
    is_referenced: bool,
    /// The table of the same name in the main ruleset, which is used while this one is not active.
    root: Option<TableId>,
}

impl Tables {
    /// Whether a table matches an address. A table that is not active anywhere matches none.
    pub fn matches(&self, table: TableId, family: Family, bits: Bits) -> bool {
        self.active(table).is_some_and(|content| content.matches(family, bits))
    }

    /// The table that a name refers to in an anchor, if a rule or definition there contains the name.
    pub fn named(&self, anchor: &str, name: &str) -> Option<TableId> {
        self.by_name.get(&(anchor.to_owned(), name.to_owned())).copied()
    }

    /// The addresses that a table matches.
    pub fn ranges(&self, table: TableId, family: Family) -> Ranges {
        self.active(table).map_or_else(Ranges::none, |content| content.ranges(family).clone())
    }

    /// Whether it is the table of an interface's addresses.
    pub(super) fn is_dynamic(&self, table: TableId) -> bool {
        self.slots.get(table).is_some_and(|slot| slot.anchor == OF_INTERFACES)
    }

    pub(super) fn active(&self, table: TableId) -> Option<&Prefixes> {
        let slot = self.slots.get(table)?;
        let root = || self.slots.get(slot.root?)?.content.as_ref();
        slot.content.as_ref().or_else(root)
    }

    /// Clears the definitions and references of an anchor that is being loaded again.
    pub(super) fn forget(&mut self, anchor: &str) {
        for slot in self.slots.iter_mut().filter(|slot| slot.anchor == anchor) {
            slot.is_referenced = false;
            slot.content = None;
        }
    }

    /// The table that `name` refers to in a rule of `anchor`.
    pub(super) fn reference(&mut self, anchor: &str, name: &str) -> TableId {
        let id = self.slot(anchor, name);
        self.slots[id].is_referenced = true;
        id
    }

    /// Defines a table. It is discarded at once unless something keeps it: `persist`, a rule of its own anchor, or
    /// (for a table of the main ruleset) a rule or table of that name in an anchor loaded by then.
    pub(super) fn define(&mut self, anchor: &str, table: &Table) {
        let id = self.slot(anchor, &table.name);
        let is_root_of =
            |slot: &Slot| slot.root == Some(id) && (slot.is_referenced || slot.content.is_some());
        let is_kept = table.persist || self.slots[id].is_referenced || self.slots.iter().any(is_root_of);
        self.slots[id].content = is_kept.then(|| Prefixes::new(table.entries().copied()));
    }

    /// The table of an interface's addresses.
    pub(super) fn dynamic(&mut self, dynamic: &Dynamic) -> TableId {
        let name = table_name(dynamic);
        if let Some((_, id)) = self.dynamic.get(&name) {
            return *id;
        }
        // Active at once, and empty until [`Self::refresh`].
        let id = self.slots.len();
        self.slots.push(Slot {
            anchor: OF_INTERFACES.to_owned(),
            content: Some(Prefixes::default()),
            ..Slot::default()
        });
        self.dynamic.insert(name, (dynamic.clone(), id));
        id
    }

    /// Fills the tables of interface addresses.
    pub(super) fn refresh(&mut self, interfaces: &[InterfaceInfo]) {
        for (dynamic, id) in self.dynamic.values() {
            let interface = interfaces.iter().find(|interface| interface.name == dynamic.interface);
            let content = interface.map(|interface| addresses_for(interface, dynamic));
            self.slots[*id].content = Some(content.unwrap_or_default());
        }
    }

    fn slot(&mut self, anchor: &str, name: &str) -> TableId {
        let key = (anchor.to_owned(), name.to_owned());
        if let Some(id) = self.by_name.get(&key) {
            return *id;
        }
        let root = (!anchor.is_empty()).then(|| self.slot("", name));
        let id = self.slots.len();
        self.slots.push(Slot { anchor: anchor.to_owned(), root, ..Slot::default() });
        self.by_name.insert(key, id);
        id
    }
}
