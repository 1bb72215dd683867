//! Networks of IPv4, as the kernel's tables write them.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An address and the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    pub address: Ipv4Addr,
    pub len: u8,
}

impl Net {
    /// All addresses.
    pub const ALL: Self = Self { address: Ipv4Addr::UNSPECIFIED, len: 0 };

    pub fn new(address: Ipv4Addr, len: u8) -> Option<Self> {
        (len <= 32).then_some(Self { address, len })
    }

    pub fn netmask(self) -> Ipv4Addr {
        u32::MAX.checked_shl(32 - u32::from(self.len)).unwrap_or(0).into()
    }

    /// The network itself, without the bits of a host.
    pub fn trunc(self) -> Self {
        Self { address: self.address & self.netmask(), len: self.len }
    }

    pub fn contains(self, address: Ipv4Addr) -> bool {
        address & self.netmask() == self.address & self.netmask()
    }
}

impl From<Ipv4Addr> for Net {
    fn from(address: Ipv4Addr) -> Self {
        Self { address, len: 32 }
    }
}

impl FromStr for Net {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, len) = text.split_once('/').ok_or(())?;
        Self::new(address.parse().map_err(drop)?, len.parse().map_err(drop)?).ok_or(())
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}
