//! The cables between areas of the world: the places where they land, and which of these are connected.
//!
//! Not a complete list: it has the cables that the usual routes of packets need, and omits those that the published
//! tables show no traffic on (from Brazil to Portugal).

use std::sync::LazyLock;

use super::region::{Area, Place};

/// A place where cables land.
struct Landing {
    name: &'static str,
    place: Place,
    /// The areas that reach it over land or along their coast.
    areas: &'static [Area],
}

const fn landing(name: &'static str, latitude: f64, longitude: f64, areas: &'static [Area]) -> Landing {
    Landing { name, place: Place { latitude, longitude }, areas }
}

#[rustfmt::skip]
const LANDINGS: &[Landing] = &[
    landing("New York", 40.6, -73.9, &[Area::NorthAmerica]),
    landing("Miami", 25.76, -80.19, &[Area::NorthAmerica]),
    landing("Los Angeles", 34.0, -118.5, &[Area::NorthAmerica]),
    landing("Oregon", 45.5, -123.9, &[Area::NorthAmerica]),
    landing("Fortaleza", -3.73, -38.53, &[Area::SouthAmerica]),
    landing("Cornwall", 50.1, -5.5, &[Area::Europe]),
    landing("Lisbon", 38.7, -9.2, &[Area::Europe]),
    landing("Marseille", 43.3, 5.37, &[Area::Europe, Area::Levant]),
    landing("Suez", 29.97, 32.55, &[Area::Levant]),
    landing("Aden", 12.0, 44.5, &[]),
    landing("Fujairah", 25.13, 56.34, &[Area::Gulf]),
    landing("Mumbai", 19.08, 72.88, &[Area::India]),
    landing("Chennai", 13.08, 80.27, &[Area::India]),
    landing("Singapore", 1.35, 103.82, &[Area::SoutheastAsia]),
    landing("Hong Kong", 22.32, 114.17, &[Area::EastAsia]),
    landing("Tokyo", 35.0, 140.0, &[Area::EastAsia]),
    landing("Guam", 13.45, 144.78, &[]),
    landing("Sydney", -33.87, 151.21, &[Area::Oceania]),
    landing("Perth", -31.95, 115.86, &[Area::Oceania]),
    landing("Dakar", 14.7, -17.5, &[]),
    landing("Accra", 3.0, -3.0, &[]),
    landing("Cape Town", -33.92, 18.42, &[Area::Africa]),
];

const CABLES: &[(&str, &str)] = &[
    ("New York", "Cornwall"),
    ("Miami", "Fortaleza"),
    ("Lisbon", "Dakar"),
    ("Dakar", "Accra"),
    ("Accra", "Cape Town"),
    ("Marseille", "Suez"),
    ("Suez", "Aden"),
    ("Aden", "Fujairah"),
    ("Aden", "Mumbai"),
    ("Fujairah", "Mumbai"),
    ("Chennai", "Singapore"),
    ("Singapore", "Hong Kong"),
    ("Singapore", "Tokyo"),
    ("Singapore", "Perth"),
    ("Tokyo", "Oregon"),
    ("Tokyo", "Los Angeles"),
    ("Tokyo", "Guam"),
    ("Hong Kong", "Guam"),
    ("Guam", "Sydney"),
    ("Sydney", "Los Angeles"),
];

/// The shortest routes between all landings: the length, and the next landing.
struct Ways {
    lengths: Vec<Vec<f64>>,
    next: Vec<Vec<usize>>,
}

static WAYS: LazyLock<Ways> = LazyLock::new(|| {
    let count = LANDINGS.len();
    let is_joined = |one: &Landing, other: &Landing| {
        let cable =
            |(a, b): &(&str, &str)| (*a, *b) == (one.name, other.name) || (*b, *a) == (one.name, other.name);
        one.areas.iter().any(|area| other.areas.contains(area)) || CABLES.iter().any(cable)
    };
    let mut lengths = vec![vec![f64::INFINITY; count]; count];
    let next = (0..count).map(|_| (0..count).collect()).collect();
    for (from, one) in LANDINGS.iter().enumerate() {
        for (to, other) in LANDINGS.iter().enumerate() {
            if from == to || is_joined(one, other) {
                lengths[from][to] = one.place.kilometres_to(other.place);
            }
        }
    }
    let mut ways = Ways { lengths, next };
    for by in 0..count {
        for from in 0..count {
            for to in 0..count {
                let length = ways.lengths[from][by] + ways.lengths[by][to];
                if length < ways.lengths[from][to] {
                    ways.lengths[from][to] = length;
                    ways.next[from][to] = ways.next[from][by];
                }
            }
        }
    }
    ways
});

/// The shortest route between locations in two areas: its length, and the places where cables land along it.
pub fn shortest(from: (Place, Area), to: (Place, Area)) -> (f64, Vec<&'static str>) {
    let near = |area: Area| (0..LANDINGS.len()).filter(move |at| LANDINGS[*at].areas.contains(&area));
    let length = |&(first, last): &(usize, usize)| {
        let ends = from.0.kilometres_to(LANDINGS[first].place) + LANDINGS[last].place.kilometres_to(to.0);
        ends + WAYS.lengths[first][last]
    };
    let all = near(from.1).flat_map(|first| near(to.1).map(move |last| (first, last)));
    let best =
        all.min_by(|a, b| length(a).total_cmp(&length(b))).expect("cables land in every part of the world");
    let (mut at, last) = best;
    let mut names = vec![LANDINGS[at].name];
    while at != last {
        at = WAYS.next[at][last];
        names.push(LANDINGS[at].name);
    }
    (length(&best), names)
}
