//! What a file's meaning depends on besides its bytes: interfaces, names, macros from outside, other files.
//!
//! It exists so that reading is a function: pfctl asks the kernel, the resolver and the disk; this reader asks a
//! value that its caller made. Sees: names. Never: the machine it runs on.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use super::names::Names;

/// Reads another file by name, for `include`, `load anchor` and `table … file`.
/// The error is a sentence such as `No such file or directory`.
pub type Reader = dyn Fn(&str) -> Result<String, String>;

/// The machine for which a ruleset is read.
pub struct Environment {
    /// Its interfaces, in the order of the kernel.
    pub interfaces: Vec<InterfaceInfo>,
    /// Macros from outside (`-D m=v`); a definition in the file does not replace them.
    pub macros: BTreeMap<String, String>,
    /// Host names that resolve.
    pub hosts: BTreeMap<String, Vec<IpAddr>>,
    /// Whose names of services, protocols, users and groups are read.
    pub names: Names,
    /// Users beside those that every such system has.
    pub users: BTreeMap<String, u32>,
    /// Groups beside those that every such system has.
    pub groups: BTreeMap<String, u32>,
    /// How to read other files; without it `include` and `table … file` are errors, and an anchor that
    /// is to be loaded stays unread.
    pub reader: Option<Box<Reader>>,
}

/// An interface with its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceInfo {
    /// `en0`.
    pub name: String,
    /// Address and prefix length, in the order of the kernel.
    pub addresses: Vec<(IpAddr, u8)>,
    /// True for lo0 and its like.
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
    /// A machine with nothing but lo0 (127.0.0.1/8, ::1, fe80::1) and `localhost`.
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
    /// Gives an address to an interface, which is made where it does not exist. A name that begins with
    /// `lo` is a loopback.
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

    /// The interface of that name.
    pub fn interface(&self, name: &str) -> Option<&InterfaceInfo> {
        self.interfaces.iter().find(|known| known.name == name)
    }
}
