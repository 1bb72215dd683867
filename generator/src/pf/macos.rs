//! The names of macOS: its /etc/services and /etc/protocols, and the users and groups of every Mac.
//!
//! It exists because a ruleset contains `port mdns` and `user _mdnsresponder`, whose numbers depend on the system.
//! The tables are compiled in, so that parsing needs no file and has the same result everywhere; `macos/make.sh`
//! generates them from Apple's own files. Sees: nothing. Never: a file of the machine it runs on.

/// `NAME PORT`, sorted by name.
static SERVICES: &str = include_str!("macos/services.txt");
/// `NUMBER NAME ALIAS…`, sorted by number.
static PROTOCOLS: &str = include_str!("macos/protocols.txt");
/// `NAME NUMBER`, sorted by name.
static USERS: &str = include_str!("macos/users.txt");
/// `NAME NUMBER`, sorted by name.
static GROUPS: &str = include_str!("macos/groups.txt");

/// Looks a name up in a table that is sorted by name.
fn look_up(table: &str, name: &str) -> Option<u32> {
    let mut rest = table;
    while !rest.is_empty() {
        let start = rest[..rest.len() / 2].rfind('\n').map_or(0, |at| at + 1);
        let end = start + rest[start..].find('\n')?;
        let (known, number) = rest[start..end].split_once(' ')?;
        rest = match name.cmp(known) {
            std::cmp::Ordering::Less => &rest[..start],
            std::cmp::Ordering::Equal => return number.parse().ok(),
            std::cmp::Ordering::Greater => &rest[end + 1..],
        };
    }
    None
}

pub(super) fn service(name: &str) -> Option<u16> {
    look_up(SERVICES, name).and_then(|port| u16::try_from(port).ok())
}

pub(super) fn user(name: &str) -> Option<u32> {
    look_up(USERS, name)
}

pub(super) fn group(name: &str) -> Option<u32> {
    look_up(GROUPS, name)
}

/// Protocols with their names. `divert`, which macOS numbers 258, is left out: no packet can have that protocol.
fn protocols() -> impl Iterator<Item = (u8, std::str::Split<'static, char>)> {
    PROTOCOLS.lines().filter_map(|line| {
        let (number, names) = line.split_once(' ')?;
        Some((number.parse().ok()?, names.split(' ')))
    })
}

pub(super) fn protocol(name: &str) -> Option<u8> {
    protocols().find(|(_, names)| names.clone().any(|known| known == name)).map(|(number, _)| number)
}

pub(super) fn protocol_name(number: u8) -> Option<&'static str> {
    protocols().find(|(known, _)| *known == number).and_then(|(_, mut names)| names.next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_tables_is_found() {
        for table in [SERVICES, USERS, GROUPS] {
            let mut last = "";
            for line in table.lines() {
                let (name, number) = line.split_once(' ').expect("a name and a number");
                assert!(last < name, "`{name}` stands behind `{last}`");
                assert_eq!(look_up(table, name), number.parse().ok(), "{name}");
                last = name;
            }
            for stranger in ["", " ", "~", "!", "a b", "\u{fffd}", "zzzz", "0"] {
                assert_eq!(look_up(table, stranger), None, "{stranger:?}");
            }
            assert!(table.is_ascii() && table.ends_with('\n'));
        }
        assert_eq!((SERVICES.lines().count(), protocols().count()), (4980, 139));
    }

    #[test]
    fn the_first_name_of_a_protocol_is_its_own() {
        for (number, names) in protocols() {
            assert_eq!(protocol_name(number), names.clone().next());
            for name in names {
                assert_eq!(protocol(name), Some(number), "{name}");
            }
        }
    }
}
