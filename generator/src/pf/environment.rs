//! What the meaning of a ruleset depends on besides its bytes: interfaces, names, external macros, other files.
//!
//! It exists so that parsing is a pure function: pfctl asks the kernel, the resolver and the disk; this parser asks a
//! value that its caller made. Sees: names. Never: the machine it runs on.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use super::names::Names;

/// Reads another file by name, for `include`, `load anchor` and `table … file`. The error is a message such as `No
/// such file or directory`.
pub type Reader = dyn Fn(&str) -> Result<String, String>;

/// The machine for which a ruleset is parsed.
pub struct Environment {
    /// Its interfaces, in the kernel's order.
    pub interfaces: Vec<InterfaceInfo>,
    /// Macros from the command line (`-D m=v`); a definition in the file does not replace them.
    pub macros: BTreeMap<String, String>,
    /// Host names that resolve, with their addresses.
    pub hosts: BTreeMap<String, Vec<IpAddr>>,
    /// The system whose names of services, protocols, users and groups apply.
    pub names: Names,
    /// User ids by name, besides those of every system.
    pub users: BTreeMap<String, u32>,
    /// Group ids by name, besides those of every system.
    pub groups: BTreeMap<String, u32>,
    /// Reads other files; without it `include` and `table … file` are errors, and the files of `load anchor` are not
    /// read.
    pub reader: Option<Box<Reader>>,
}

/// An interface with its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceInfo {
    /// The name, such as `en0`.
    pub name: String,
    /// Addresses with prefix lengths, in the kernel's order.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Whether it is a loopback interface.
    pub loopback: bool,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("interfaces", &self.interfaces)
            .field("macros", &self.macros)
            .field("hosts", &self.hosts)
            .field("names", &self.names)
            .field("reader", &self.reader.is_some())
            .finish_non_exhaustive()
    }
}

impl Default for Environment {
    /// A machine whose only interface is lo0 (127.0.0.1/8, ::1, fe80::1), and whose only host name is `localhost`.
    fn default() -> Self {
        let mut environment = Self {
            interfaces: Vec::new(),
            macros: BTreeMap::new(),
            hosts: BTreeMap::from([("localhost".to_owned(), vec![IpAddr::from([127, 0, 0, 1])])]),
            names: Names::default(),
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
            reader: None,
        };
        environment.add_address("lo0", IpAddr::from([127, 0, 0, 1]), 8);
        environment.add_address("lo0", IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]), 128);
        environment.add_address("lo0", IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 1]), 64);
        environment
    }
}

impl Environment {
    /// Adds an address to an interface, and the interface if it does not exist. A name that begins with `lo` is a
    /// loopback.
    pub fn add_address(&mut self, interface: &str, address: IpAddr, prefix: u8) {
        let known = self.interfaces.iter().position(|known| known.name == interface);
        let index = known.unwrap_or_else(|| {
            self.interfaces.push(InterfaceInfo {
                name: interface.to_owned(),
                addresses: Vec::new(),
                loopback: interface.starts_with("lo"),
            });
            self.interfaces.len() - 1
        });
        self.interfaces[index].addresses.push((address, prefix));
    }

    /// The interface of that name, if it exists.
    pub fn interface(&self, name: &str) -> Option<&InterfaceInfo> {
        self.interfaces.iter().find(|known| known.name == name)
    }
}
