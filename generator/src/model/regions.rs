//! The regions of clouds, and how long packets take between them.
//!
//! Nobody publishes figures between the regions of different clouds, so they are derived from places. Within a part of the
//! world a cable follows the great circle; between two it runs through places where cables land, by the shortest way. A
//! round trip takes the time that light needs in a fibre that is [`DETOUR`] times as long, and [`FIXED`] for routers and the
//! ways inside both regions. The two numbers are fitted to published tables; `tests/regions.rs` holds how far they are off.
//!
//! Never: a declaration, or anything that is measured here.

mod cables;
mod table;

use std::cmp::Ordering;
use std::fmt;

/// What a round trip takes beside the cable, in milliseconds.
pub const FIXED: f64 = 5.0;
/// How much longer cables are than the way that is derived.
pub const DETOUR: f64 = 1.32;
/// How far light gets in a millisecond in glass (refractive index 1.468), in kilometres.
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
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Aws, Self::Azure, Self::Gcp, Self::Ibm, Self::DigitalOcean];

    /// Its name, as a provider is called that stands for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Azure => "azure",
            Self::Gcp => "gcp",
            Self::Ibm => "ibm",
            Self::DigitalOcean => "digitalocean",
        }
    }

    /// The cloud of this name.
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

/// A part of the world inside which cables follow the great circle.
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

/// A region of a cloud. Its name is its identity: no two clouds have a name in common.
#[derive(Debug, Clone, Copy)]
pub struct Region {
    /// The cloud.
    pub cloud: Cloud,
    /// The cloud's name of it, as `us-east-1`.
    pub name: &'static str,
    /// The city in or near which it is.
    pub city: &'static str,
    latitude: f64,
    longitude: f64,
    area: Area,
}

impl Region {
    /// Every region of every cloud.
    pub fn all() -> impl Iterator<Item = Self> {
        Cloud::ALL.into_iter().flat_map(|cloud| cloud.regions().iter().copied())
    }

    /// The region of this name.
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

/// A place on the Earth, in degrees.
#[derive(Debug, Clone, Copy)]
struct Place {
    latitude: f64,
    longitude: f64,
}

impl Place {
    /// The great circle to another, in kilometres (haversine).
    fn kilometres_to(self, other: Self) -> f64 {
        let (here, there) = (self.latitude.to_radians(), other.latitude.to_radians());
        let north = ((there - here) / 2.0).sin().powi(2);
        let east = ((other.longitude - self.longitude).to_radians() / 2.0).sin().powi(2);
        2.0 * EARTH * (north + here.cos() * there.cos() * east).sqrt().asin()
    }
}

/// Two regions, and the way between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Who sends.
    pub from: Region,
    /// Who receives.
    pub to: Region,
}

impl Span {
    /// How long the way is, in kilometres.
    pub fn kilometres(&self) -> f64 {
        self.way().0
    }

    /// Where cables land on the way, in its order; empty inside a part of the world.
    pub fn landings(&self) -> Vec<&'static str> {
        self.way().1
    }

    /// The length of the way, and where cables land on it.
    fn way(&self) -> (f64, Vec<&'static str>) {
        let (from, to) = (self.from.place(), self.to.place());
        if self.from.area == self.to.area {
            return (from.kilometres_to(to), Vec::new());
        }
        cables::shortest((from, self.from.area), (to, self.to.area))
    }

    /// What a round trip takes, in milliseconds.
    pub fn round_trip(&self) -> f64 {
        FIXED + self.kilometres() * DETOUR * 2.0 / LIGHT
    }

    /// What one way takes, in whole milliseconds, as dummynet counts.
    pub fn latency_ms(&self) -> u16 {
        // Half the circumference of the Earth takes 270 ms.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let latency = (self.round_trip() / 2.0).round() as u16;
        latency
    }
}

impl fmt::Display for Span {
    /// In words: `us-east-1 to westeurope, 6100 km`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}, {:.0} km", self.from.name, self.to.name, self.kilometres())
    }
}
