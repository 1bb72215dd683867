//! The printed form of settings: macros, options, tables.
//!
//! It exists because pfctl prints them while it parses, before any rule. Sees: the printer. Never: a rule.

use super::printer::{Printer, bare, prefixed, quoted};
use crate::pf::syntax::{BlockPolicy, SetOption, Setting, SettingValue, StatePolicy, Table, TableSource};

impl Printer {
    pub(super) fn skips(&mut self, settings: &[Setting]) {
        let names: Vec<_> = settings
            .iter()
            .filter_map(|setting| match &setting.value {
                SettingValue::Option(SetOption::Skip(interface)) => Some(bare(&interface.name)),
                _ => None,
            })
            .collect();
        if names.as_slice() == ["none"] {
            self.put("set skip on none\n");
        } else {
            self.put(format_args!("set skip on {{ {} }}\n", names.join(" ")));
        }
    }

    pub(super) fn setting(&mut self, value: &SettingValue) {
        match value {
            SettingValue::Macro { name, value } => {
                self.put(format_args!("{} = {}\n", bare(name), quoted(value)));
            }
            SettingValue::Table(table) => self.table(table),
            SettingValue::Option(option) => {
                let text = match option {
                    SetOption::Optimization(name) => format!("optimization {}", bare(name)),
                    SetOption::Timeout(name, seconds) => format!("timeout {name} {seconds}"),
                    SetOption::Limit(name, count) => format!("limit {name} {count}"),
                    SetOption::LogInterface(None) => "loginterface none".to_owned(),
                    SetOption::LogInterface(Some(name)) if name == "all" => "loginterface all".to_owned(),
                    SetOption::LogInterface(Some(name)) => format!("loginterface {}", bare(name)),
                    SetOption::HostId(number) => format!("hostid 0x{number:08x}"),
                    SetOption::BlockPolicy(BlockPolicy::Drop) => "block-policy drop".to_owned(),
                    SetOption::BlockPolicy(BlockPolicy::Return) => "block-policy return".to_owned(),
                    SetOption::RequireOrder(true) => "require-order yes".to_owned(),
                    SetOption::RequireOrder(false) => "require-order no".to_owned(),
                    SetOption::Fingerprints(file) => format!("fingerprints {}", quoted(file)),
                    SetOption::StatePolicy(StatePolicy::Floating) => "state-policy floating".to_owned(),
                    SetOption::StatePolicy(StatePolicy::IfBound) => "state-policy if-bound".to_owned(),
                    SetOption::Debug(level) => format!("debug {}", bare(level)),
                    SetOption::Skip(interface) => format!("skip on {{ {} }}", bare(&interface.name)),
                };
                self.put(format_args!("set {text}\n"));
            }
        }
    }

    pub(super) fn table(&mut self, table: &Table) {
        self.put(format_args!("table <{}>", bare(&table.name)));
        for (set, word) in
            [(table.constant, " const"), (table.persist, " persist"), (table.counters, " counters")]
        {
            if set {
                self.put(word);
            }
        }
        for source in &table.sources {
            match source {
                TableSource::File { path, .. } => self.put(format_args!(" file {}", quoted(path))),
                TableSource::List(entries) => {
                    self.put(" {");
                    for entry in entries {
                        self.put(if entry.not { " !" } else { " " });
                        self.put(prefixed(entry.address, entry.prefix));
                    }
                    self.put(" }");
                }
            }
        }
        if table.initialised && table.sources.is_empty() {
            self.put(" { }");
        }
        self.put("\n");
    }
}

pub(super) fn is_skip(setting: &Setting) -> bool {
    matches!(setting.value, SettingValue::Option(SetOption::Skip(_)))
}
