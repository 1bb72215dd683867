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
mod table;

use std::cmp::Ordering;
use std::fmt;

/// The constant part of a round trip, in milliseconds.
pub const FIXED: f64 = 5.0;
/// The ratio of real cable lengths to the derived route.
pub const DETOUR: f64 = 1.32;
/// The distance that light travels per millisecond in glass (refractive index 1.468), in kilometres.
const LIGHT: f64 = 204.19;
/// The mean radius of the Earth in kilometres.
const EARTH: f64 = 6371.0;

/// A cloud whose regions are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cloud {
    /// AWS.
    Aws,
    /// Azure.
    Azure,
    /// Google Cloud.
    Gcp,
    /// IBM Cloud.
    Ibm,
    /// DigitalOcean.
    DigitalOcean,
}

impl Cloud {
    /// All clouds.
    pub const ALL: [Self; 5] = [Self::Aws, Self::Azure, Self::Gcp, Self::Ibm, Self::DigitalOcean];

    /// Its name, which is also the name of a provider that stands for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Azure => "azure",
            Self::Gcp => "gcp",
            Self::Ibm => "ibm",
            Self::DigitalOcean => "digitalocean",
        }
    }

    /// The cloud with this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cloud| cloud.name() == name)
    }

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

/// An area of the world inside which cables are assumed to follow the great circle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Area {
    NorthAmerica,
    SouthAmerica,
    Europe,
    Levant,
    Gulf,
    Africa,
    India,
    EastAsia,
    SoutheastAsia,
    Oceania,
}

/// A region of a cloud. It is identified by its name: no two clouds share one.
#[derive(Debug, Clone, Copy)]
pub struct Region {
    /// The cloud that it belongs to.
    pub cloud: Cloud,
    /// The name that the cloud uses, such as `us-east-1`.
    pub name: &'static str,
    /// The city in or near which it is located.
    pub city: &'static str,
    latitude: f64,
    longitude: f64,
    area: Area,
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

    fn place(&self) -> Place {
        Place { latitude: self.latitude, longitude: self.longitude }
    }
}

impl PartialEq for Region {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Region {}

impl PartialOrd for Region {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Region {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name.cmp(other.name)
    }
}

/// A location on the Earth, in degrees.
#[derive(Debug, Clone, Copy)]
struct Place {
    latitude: f64,
    longitude: f64,
}

impl Place {
    /// The great-circle distance to another location, in kilometres (haversine).
    fn kilometres_to(self, other: Self) -> f64 {
        let (here, there) = (self.latitude.to_radians(), other.latitude.to_radians());
        let north = ((there - here) / 2.0).sin().powi(2);
        let east = ((other.longitude - self.longitude).to_radians() / 2.0).sin().powi(2);
        2.0 * EARTH * (north + here.cos() * there.cos() * east).sqrt().asin()
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
