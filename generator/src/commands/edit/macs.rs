//! Edits of a declaration with several Macs: which of them has a provider.

use anyhow::{Result, bail};
use nixvol_net::edit::{Change, EntryKind, ProviderLists};
use serde_json::Value;

use super::super::pf::harmless;
use super::opened::OpenedFile;

/// A change that also changes the providers of Macs, if there are any to change.
pub fn with(change: Change, lists: ProviderLists) -> Change {
    if lists.is_empty() { change } else { Change::WithMacs { change: Box::new(change), lists } }
}

impl OpenedFile<'_> {
    /// The providers of every Mac.
    fn lists(&self) -> ProviderLists {
        let names = |fields: &Value| -> Vec<String> {
            let list = fields["providers"].as_array().into_iter().flatten();
            list.filter_map(|name| name.as_str().map(str::to_owned)).collect()
        };
        let macs = self.declaration()["macs"].as_object();
        macs.into_iter().flatten().map(|(mac, fields)| (mac.clone(), names(fields))).collect()
    }

    /// The lists that have some of these providers, without them.
    pub fn lists_without(&self, providers: &[String]) -> ProviderLists {
        let mut lists = self.lists();
        lists.retain(|(_, list)| list.iter().any(|name| providers.contains(name)));
        for (_, list) in &mut lists {
            list.retain(|name| !providers.contains(name));
        }
        lists
    }

    /// The list of a Mac, with more providers.
    fn list_with(&self, mac: &str, providers: &[String]) -> Result<(String, Vec<String>)> {
        let lists = self.lists();
        let Some((name, mut list)) = lists.iter().find(|(name, _)| name == mac).cloned() else {
            let hint = match names(&lists) {
                names if names.is_empty() => "the declaration has no `macs`".to_owned(),
                names => format!("there is {names}"),
            };
            bail!("there is no Mac `{}`\nhint: {hint}", harmless(mac));
        };
        list.extend(providers.iter().filter(|name| !list.contains(name)).cloned().collect::<Vec<_>>());
        Ok((name, list))
    }

    /// The lists with a new provider, which must be on one of the Macs, if there are any.
    pub fn lists_with_new(&self, provider: &str, mac: Option<&str>) -> Result<ProviderLists> {
        let lists = self.lists();
        match mac {
            Some(mac) => Ok(vec![self.list_with(mac, &[provider.to_owned()])?]),
            None if lists.is_empty() => Ok(Vec::new()),
            None => {
                let names = names(&lists);
                bail!(
                    "a provider is on one of the Macs, and `{}` on none\nhint: say which by --mac: {names}",
                    harmless(provider)
                )
            }
        }
    }

    /// A provider goes from one Mac to another.
    pub fn provider_to_move(&self, name: &str, mac: &str) -> Result<Change> {
        let provider = name.to_owned();
        let to = self.list_with(mac, std::slice::from_ref(&provider))?;
        let mut lists = self.lists_without(std::slice::from_ref(&provider));
        match lists.iter().find(|(_, list)| !list.contains(&provider)) {
            Some((from, _)) if from == mac => {
                bail!("provider `{}` is on Mac `{mac}` already", harmless(name))
            }
            Some(_) => {}
            None => bail!(
                "no Mac has the provider `{}`\nhint: `nixvol-net add provider` adds one",
                harmless(name)
            ),
        }
        lists.push(to);
        Ok(Change::MoveProvider { name: provider, mac: mac.to_owned(), lists })
    }

    /// A Mac is removed; another one gets its providers.
    pub fn mac_to_remove(&self, name: &str, to: Option<&str>) -> Result<Change> {
        let change = Change::Remove { kind: EntryKind::Mac, name: name.to_owned() };
        let lists = self.lists();
        let own = lists.iter().find(|(mac, _)| mac == name).map(|(_, list)| list.clone()).unwrap_or_default();
        let others: ProviderLists = lists.into_iter().filter(|(mac, _)| mac != name).collect();
        match to {
            Some(to) if to == name => bail!("`--to` names the Mac that is removed\nhint: name another Mac"),
            Some(to) => Ok(with(change, vec![self.list_with(to, &own)?])),
            None if own.is_empty() || others.is_empty() => Ok(change),
            None => bail!(
                "Mac `{}` has providers: {}\nhint: say which Mac gets them by --to: {}",
                harmless(name),
                own.join(", "),
                names(&others)
            ),
        }
    }
}

/// The names of Macs.
fn names(lists: &ProviderLists) -> String {
    lists.iter().map(|(mac, _)| mac.as_str()).collect::<Vec<_>>().join(", ")
}
