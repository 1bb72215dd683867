//! Clouds, their regions, and where on the Earth these are.

use std::cmp::Ordering;

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
}

/// An area of the world inside which cables are assumed to follow the great circle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Area {
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
    pub(super) latitude: f64,
    pub(super) longitude: f64,
    pub(super) area: Area,
}

impl Region {
    /// Where it is.
    pub(super) fn place(&self) -> Place {
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
pub(super) struct Place {
    pub(super) latitude: f64,
    pub(super) longitude: f64,
}

impl Place {
    /// The great-circle distance to another location, in kilometres (haversine).
    pub(super) fn kilometres_to(self, other: Self) -> f64 {
        let (here, there) = (self.latitude.to_radians(), other.latitude.to_radians());
        let north = ((there - here) / 2.0).sin().powi(2);
        let east = ((other.longitude - self.longitude).to_radians() / 2.0).sin().powi(2);
        2.0 * EARTH * (north + here.cos() * there.cos() * east).sqrt().asin()
    }
}
