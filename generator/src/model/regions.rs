//! The regions of clouds, and the latency between them.
//!
//! No figures are published for regions of different clouds, so latencies are derived from locations. Within an area of
//! the world, cables are assumed to follow the great circle; between areas they follow the shortest route through
//! places where cables land. A round trip takes as long as light in a fibre that is [`DETOUR`] times as long, plus
//! [`FIXED`] for routers and the networks inside both regions. The two constants are fitted to published tables;
//! `tests/regions.rs` bounds the error.
//!
//! Never: reads a declaration, or measures anything.

mod cables;
mod region;
mod table;

use std::fmt;

pub use region::{Cloud, Region};

/// The constant part of a round trip, in milliseconds.
pub const FIXED: f64 = 5.0;
/// The ratio of real cable lengths to the derived route.
pub const DETOUR: f64 = 1.32;
/// The distance that light travels per millisecond in glass (refractive index 1.468), in kilometres.
const LIGHT: f64 = 204.19;

impl Cloud {
    /// Its regions.
    pub fn regions(self) -> &'static [Region] {
        match self {
            Self::Aws => table::AWS,
            Self::Azure => table::AZURE,
            Self::Gcp => table::GCP,
            Self::Ibm => table::IBM,
            Self::DigitalOcean => table::DIGITALOCEAN,
        }
    }
}

impl Region {
    /// All regions of all clouds.
    pub fn all() -> impl Iterator<Item = Self> {
        Cloud::ALL.into_iter().flat_map(|cloud| cloud.regions().iter().copied())
    }

    /// The region with this name.
    pub fn find(name: &str) -> Option<Self> {
        Self::all().find(|region| region.name == name)
    }
}

/// Two regions, and the route between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegionPair {
    /// The region of the sender.
    pub from: Region,
    /// The region of the receiver.
    pub to: Region,
}

impl RegionPair {
    /// The length of the route, in kilometres.
    pub fn kilometres(&self) -> f64 {
        self.way().0
    }

    /// The places where cables land along the route, in order; empty within an area.
    pub fn landings(&self) -> Vec<&'static str> {
        self.way().1
    }

    /// The length of the route, and the places where cables land along it.
    fn way(&self) -> (f64, Vec<&'static str>) {
        let (from, to) = (self.from.place(), self.to.place());
        if self.from.area == self.to.area {
            return (from.kilometres_to(to), Vec::new());
        }
        cables::shortest((from, self.from.area), (to, self.to.area))
    }

    /// The round-trip time in milliseconds.
    pub fn round_trip(&self) -> f64 {
        FIXED + self.kilometres() * DETOUR * 2.0 / LIGHT
    }

    /// The one-way latency in whole milliseconds, the resolution of dummynet.
    pub fn latency_ms(&self) -> u16 {
        // No overflow: at half the Earth's circumference the round-trip time is about 270 ms.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let latency = (self.round_trip() / 2.0).round() as u16;
        latency
    }
}

impl fmt::Display for RegionPair {
    /// In words: `us-east-1 to westeurope, 6100 km`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}, {:.0} km", self.from.name, self.to.name, self.kilometres())
    }
}
