//! The kinds of changes, and how each changes a declaration.

use serde_json::{Value, json};

use super::write::Fields;

/// A kind of entry that has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A provider.
    Provider,
    /// A volume.
    Volume,
    /// One of several Macs.
    Mac,
}

impl EntryKind {
    /// The option that contains the entries of this kind.
    pub fn option(self) -> &'static str {
        match self {
            EntryKind::Provider => "providers",
            EntryKind::Volume => "volumes",
            EntryKind::Mac => "macs",
        }
    }

    /// The word for one entry, for messages.
    pub fn word(self) -> &'static str {
        match self {
            EntryKind::Provider => "provider",
            EntryKind::Volume => "volume",
            EntryKind::Mac => "Mac",
        }
    }
}

/// An option that is a list. Its elements have an index instead of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListOption {
    /// The links.
    Links,
    /// The expectations.
    Expect,
}

impl ListOption {
    /// Both lists.
    pub const ALL: [Self; 2] = [Self::Links, Self::Expect];

    /// The name of the option.
    pub fn option(self) -> &'static str {
        match self {
            ListOption::Links => "links",
            ListOption::Expect => "expect",
        }
    }

    /// The word for one element with its article, for messages.
    pub fn one(self) -> &'static str {
        match self {
            ListOption::Links => "a link",
            ListOption::Expect => "an expectation",
        }
    }
}

/// The new lists of providers of some Macs, by the name of the Mac.
pub type ProviderLists = Vec<(String, Vec<String>)>;

/// A change to a declaration.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Adds a provider, volume or Mac.
    Add {
        /// The kind of entry.
        kind: EntryKind,
        /// Its name.
        name: String,
        /// Its fields.
        fields: Fields,
    },
    /// Appends a link or expectation.
    AddItem {
        /// The list that it is appended to.
        list: ListOption,
        /// Its fields.
        fields: Fields,
    },
    /// Removes a provider, volume or Mac.
    Remove {
        /// The kind of entry.
        kind: EntryKind,
        /// Its name.
        name: String,
    },
    /// Removes the link or expectation with this index in the declaration.
    RemoveItem {
        /// The list that has it.
        list: ListOption,
        /// Its index, from 0: N of `links.N`.
        index: usize,
    },
    /// Renames a provider or volume, with every reference to it.
    Rename {
        /// The kind of entry.
        kind: EntryKind,
        /// Its current name.
        old: String,
        /// Its new name.
        new: String,
    },
    /// Moves a volume to another provider.
    Move {
        /// The name of the volume.
        name: String,
        /// Its new provider.
        provider: String,
        /// Its address in the new provider's network.
        address: String,
    },
    /// Moves a provider to another Mac.
    MoveProvider {
        /// The name of the provider.
        name: String,
        /// Its new Mac.
        mac: String,
        /// The providers of the Macs that this changes.
        lists: ProviderLists,
    },
    /// Another change, with the providers of the Macs that it changes.
    WithMacs {
        /// The other change.
        change: Box<Change>,
        /// The providers of these Macs behind it.
        lists: ProviderLists,
    },
}

impl Change {
    /// The declaration with this change applied.
    #[must_use]
    pub fn applied(&self, declaration: &Value) -> Value {
        let mut changed = declaration.clone();
        match self {
            Change::Add { kind, name, fields } => {
                changed[kind.option()][name] = object(fields);
            }
            Change::AddItem { list, fields } => {
                match changed.get_mut(list.option()).and_then(Value::as_array_mut) {
                    Some(items) => items.push(object(fields)),
                    None => changed[list.option()] = json!([object(fields)]),
                }
            }
            Change::Remove { kind, name } => {
                if let Some(entries) = changed.get_mut(kind.option()).and_then(Value::as_object_mut) {
                    entries.remove(name);
                }
                // Without any, there is one Mac, as if the option were absent.
                if changed.get("macs") == Some(&json!({}))
                    && let Some(fields) = changed.as_object_mut()
                {
                    fields.remove("macs");
                }
            }
            Change::RemoveItem { list, index } => {
                if let Some(items) = changed.get_mut(list.option()).and_then(Value::as_array_mut)
                    && *index < items.len()
                {
                    items.remove(*index);
                }
            }
            Change::Rename { kind, old, new } => renamed(&mut changed, *kind, old, new),
            Change::Move { name, provider, address } => {
                if let Some(volume) = changed["volumes"].get_mut(name) {
                    volume["provider"] = json!(provider);
                    volume["address"] = json!(address);
                }
            }
            Change::MoveProvider { name: _, mac: _, lists } => set_lists(&mut changed, lists),
            Change::WithMacs { change, lists } => {
                changed = change.applied(declaration);
                set_lists(&mut changed, lists);
            }
        }
        changed
    }
}

fn set_lists(declaration: &mut Value, lists: &ProviderLists) {
    for (mac, list) in lists {
        if let Some(mac) = declaration["macs"].get_mut(mac) {
            mac["providers"] = json!(list);
        }
    }
}

fn object(fields: &Fields) -> Value {
    Value::Object(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

fn renamed(declaration: &mut Value, kind: EntryKind, old: &str, new: &str) {
    if let Some(entries) = declaration.get_mut(kind.option()).and_then(Value::as_object_mut)
        && let Some(entry) = entries.remove(old)
    {
        entries.insert(new.to_owned(), entry);
    }
    mentions(declaration, kind, &mut |_, name| {
        if name.as_str() == Some(old) {
            *name = json!(new);
        }
    });
    let positions = declaration.get_mut("positions").and_then(Value::as_object_mut);
    let above = format!("{}.{old}", kind.option());
    if let Some(positions) = positions {
        let moved = |(path, place): (String, Value)| match path.strip_prefix(&above) {
            Some(rest) if rest.is_empty() || rest.starts_with('.') => {
                (format!("{}.{new}{rest}", kind.option()), place)
            }
            _ => (path, place),
        };
        *positions = std::mem::take(positions).into_iter().map(moved).collect();
    }
}

/// Calls `found` for every place of a declaration that may refer to a provider or volume by name, with its path and its
/// value.
pub fn mentions(declaration: &mut Value, kind: EntryKind, found: &mut dyn FnMut(&str, &mut Value)) {
    if kind == EntryKind::Mac {
        if let Some(name) = declaration.get_mut("mac") {
            found("mac", name);
        }
        return;
    }
    for list in ListOption::ALL {
        let items = declaration.get_mut(list.option()).and_then(Value::as_array_mut);
        for (index, item) in items.into_iter().flatten().enumerate() {
            for side in ["from", "to"] {
                let names = item.get_mut(side).and_then(Value::as_array_mut);
                for (at, name) in names.into_iter().flatten().enumerate() {
                    found(&format!("{}.{index}.{side}.{at}", list.option()), name);
                }
            }
        }
    }
    if kind == EntryKind::Volume {
        return;
    }
    let volumes = declaration.get_mut("volumes").and_then(Value::as_object_mut);
    for (volume, fields) in volumes.into_iter().flatten() {
        if let Some(name) = fields.get_mut("provider") {
            found(&format!("volumes.{volume}.provider"), name);
        }
    }
    let macs = declaration.get_mut("macs").and_then(Value::as_object_mut);
    for (mac, fields) in macs.into_iter().flatten() {
        let providers = fields.get_mut("providers").and_then(Value::as_array_mut);
        for (at, name) in providers.into_iter().flatten().enumerate() {
            found(&format!("macs.{mac}.providers.{at}"), name);
        }
    }
}
