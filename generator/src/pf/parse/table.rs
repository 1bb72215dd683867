//! `table <name> …`.
//!
//! It exists because a table contains only prefixes, from its definition and from files. Sees: the parser, host.
//! Never: a rule.

use crate::pf::host::{self, Host};
use crate::pf::parse::{Parsed, Parser};
use crate::pf::syntax::{Address, SettingValue, Table, TableEntry, TableSource};

impl Parser<'_> {
    pub(super) fn table(&mut self) -> Parsed<()> {
        self.next();
        let mut table = Table {
            name: String::new(),
            constant: false,
            persist: false,
            counters: false,
            sources: Vec::new(),
            initialised: false,
        };
        self.expect_char('<')?;
        table.name = self.word()?;
        self.expect_char('>')?;
        while self.table_option(&mut table)? {}
        self.rule_ends()?;
        if table.name.is_empty() || table.name.len() > super::hosts::LONGEST_TABLE {
            let longest = super::hosts::LONGEST_TABLE;
            return self.fail(format!("table name is empty or too long, max {longest} chars"));
        }
        self.read_files(&mut table)?;
        self.set(SettingValue::Table(table));
        Ok(())
    }

    fn table_option(&mut self, table: &mut Table) -> Parsed<bool> {
        if self.eat_char('{') {
            self.eat_newlines();
            table.initialised = true;
            if !self.eat_char('}') {
                let hosts = self.rest_of_hosts()?;
                let entries = self.entries(&hosts)?;
                match table.sources.last_mut() {
                    _ if entries.is_empty() => {}
                    Some(TableSource::List(list)) => list.extend(entries),
                    _ => table.sources.push(TableSource::List(entries)),
                }
            }
            return Ok(true);
        }
        if self.eat_key("file") {
            let path = self.word()?;
            table.initialised = true;
            table.sources.push(TableSource::File { path, entries: Vec::new() });
            return Ok(true);
        }
        if !self.at_word() {
            return Ok(false);
        }
        match self.word()?.as_str() {
            "const" => table.constant = true,
            "persist" => table.persist = true,
            "counters" => table.counters = true,
            other => return self.fail(format!("invalid table option `{other}`")),
        }
        Ok(true)
    }

    fn entries(&mut self, hosts: &[Host]) -> Parsed<Vec<TableEntry>> {
        let mut entries = Vec::with_capacity(hosts.len());
        for host in hosts {
            let message = match &host.address {
                Address::Prefix { .. } => match entry(host) {
                    Ok(entry) => {
                        entries.push(entry);
                        continue;
                    }
                    Err(message) => message,
                },
                Address::Range(..) => "address ranges are not permitted inside tables".to_owned(),
                Address::Dynamic(_) => "dynamic addresses are not permitted inside tables".to_owned(),
                Address::Table(_) => "tables cannot contain tables".to_owned(),
                Address::NoRoute => "`no-route` is not permitted inside tables".to_owned(),
                Address::UrpfFailed => "`urpf-failed` is not permitted inside tables".to_owned(),
                Address::Any | Address::RouteLabel(_) => {
                    "only addresses are permitted inside tables".to_owned()
                }
            };
            return self.fail(message);
        }
        Ok(entries)
    }

    fn read_files(&mut self, table: &mut Table) -> Parsed<()> {
        for source in &mut table.sources {
            let TableSource::File { path, entries } = source else {
                continue;
            };
            let text = match self.read(path) {
                Ok(text) => text,
                Err(reason) => return self.fail(format!("cannot load `{path}`: {reason}")),
            };
            for line in text.lines() {
                for word in line.split('#').next().unwrap_or("").split_whitespace() {
                    let bare = word.trim_start_matches('!');
                    let not = (word.len() - bare.len()) % 2 == 1;
                    let hosts = host::resolve(self.environment, bare);
                    let found =
                        hosts.and_then(|hosts| hosts.iter().map(entry).collect::<Result<Vec<_>, _>>());
                    match found {
                        Ok(found) => {
                            entries.extend(found.into_iter().map(|found| TableEntry { not, ..found }));
                        }
                        Err(_) => return self.fail(format!("file `{path}` contains bad data: `{word}`")),
                    }
                }
            }
        }
        Ok(())
    }
}

fn entry(host: &Host) -> Result<TableEntry, String> {
    let prefix = host.mask_in(host.family)?;
    match host.address {
        Address::Prefix { address, .. } => Ok(TableEntry { not: host.not, address, prefix }),
        _ => Err("only addresses are permitted inside tables".to_owned()),
    }
}
