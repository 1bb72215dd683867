//! The text under construction, and words and addresses in it.
//!
//! It exists so that each part of a ruleset is printed in a file of its own. Sees: names, keywords. Never: a rule.

use std::fmt::{Display, Write as _};
use std::net::{IpAddr, Ipv4Addr};

use crate::pf::names::Names;
use crate::pf::syntax::{Address, Ruleset, SetOption, SettingValue, StatePolicy};
use crate::pf::token::{begins_word, in_word, keyword};

/// A ruleset as text, as far as it is printed.
pub(super) struct Printer {
    pub out: String,
    pub dry_run: bool,
    pub names: Names,
    /// Print the full path of the current anchor: another anchor with rules in braces has the same last component.
    pub whole_path: bool,
    /// The last `set state-policy`: only rules that differ from it print their policy.
    pub policy: StatePolicy,
}

/// An address in the form of inet_ntop.
pub(in crate::pf) fn ip(address: IpAddr) -> String {
    if let IpAddr::V6(v6) = address {
        let segments = v6.segments();
        if segments[..6] == [0; 6] && segments[6] != 0 {
            let low = Ipv4Addr::from((u32::from(segments[6]) << 16) | u32::from(segments[7]));
            return format!("::{low}");
        }
    }
    address.to_string()
}

pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\\\""))
}

pub(super) fn is_bare(word: &str) -> bool {
    let bytes = word.as_bytes();
    bytes.first().copied().is_some_and(begins_word)
        && bytes.iter().copied().all(in_word)
        && !bytes.contains(&b'\\')
        && !bytes.iter().all(u8::is_ascii_digit)
        && keyword(word).is_none()
}

/// A word, quoted if it would otherwise parse as something else.
pub(super) fn bare(word: &str) -> String {
    if is_bare(word) { word.to_owned() } else { quoted(word) }
}

/// The same for several words joined by spaces.
pub(super) fn bare_words(text: &str) -> String {
    if text.split(' ').all(is_bare) { text.to_owned() } else { quoted(text) }
}

/// The part after the last slash.
pub(super) fn last_part(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, last)| last)
}

pub(super) fn prefixed(address: IpAddr, prefix: u8) -> String {
    let full = if address.is_ipv4() { 32 } else { 128 };
    if prefix == full { ip(address) } else { format!("{}/{prefix}", ip(address)) }
}

pub(super) fn show_address(address: &Address) -> String {
    match address {
        Address::Any => "any".to_owned(),
        Address::Prefix { address, prefix } => prefixed(*address, *prefix),
        Address::Range(first, last) => format!("{} - {}", ip(*first), ip(*last)),
        Address::Table(name) => format!("<{}>", bare(name)),
        Address::NoRoute => "no-route".to_owned(),
        Address::UrpfFailed => "urpf-failed".to_owned(),
        Address::RouteLabel(label) => format!("route {}", quoted(label)),
        Address::Dynamic(dynamic) => {
            let mut text = dynamic.interface.clone();
            let modifiers = [
                (dynamic.network, ":network"),
                (dynamic.broadcast, ":broadcast"),
                (dynamic.peer, ":peer"),
                (dynamic.no_alias, ":0"),
            ];
            for (_, modifier) in modifiers.into_iter().filter(|(set, _)| *set) {
                text.push_str(modifier);
            }
            let prefix = dynamic.prefix.map_or_else(String::new, |prefix| format!("/{prefix}"));
            format!("({}){prefix}", bare(&text))
        }
    }
}

impl Printer {
    pub fn new(ruleset: &Ruleset, names: Names, dry_run: bool) -> Self {
        let policies = ruleset.settings.iter().rev().filter_map(|setting| match &setting.value {
            SettingValue::Option(SetOption::StatePolicy(policy)) => Some(*policy),
            _ => None,
        });
        let policy = policies.into_iter().next().unwrap_or_default();
        Self { out: String::new(), dry_run, names, whole_path: false, policy }
    }

    pub fn put(&mut self, text: impl Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.out, "{text}");
    }
}
