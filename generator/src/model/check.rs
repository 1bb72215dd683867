//! Builds the model from the raw mirror: validates every value, and keeps every problem.

mod expectations;
mod links;
mod macs;
mod networks;
mod volumes;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use ipnet::Ipv4Net;

use super::declaration::{Declaration, Rejected};
use super::value::{AbsolutePath, AnchorPath, Name};
use crate::input::{HostsFile, Input, VERSION};
use crate::place::{At, FieldPath, Positions};
use crate::problem::{PathReason, Problem, ProblemKind};

/// Directories that several programs share. The state directory must not be one: cleaning up removes files there by
/// name.
const SHARED: &[&str] = &[
    "/Applications",
    "/Library",
    "/System",
    "/Users",
    "/Volumes",
    "/bin",
    "/dev",
    "/etc",
    "/home",
    "/nix",
    "/nix/store",
    "/opt",
    "/private",
    "/private/etc",
    "/private/tmp",
    "/private/var",
    "/private/var/db",
    "/private/var/log",
    "/private/var/root",
    "/private/var/run",
    "/private/var/tmp",
    "/sbin",
    "/tmp",
    "/usr",
    "/usr/local",
    "/var",
    "/var/db",
    "/var/log",
    "/var/root",
    "/var/run",
    "/var/tmp",
];

/// The input being checked, and the problems found so far.
struct Check<'a> {
    input: &'a Input,
    problems: Vec<Problem>,
}

/// The declaration of `input`, or all problems with it; `problems` are those of its shape.
pub fn declaration(mut input: Input, problems: Vec<Problem>) -> Result<Declaration, Rejected> {
    let places = input.positions.take().unwrap_or_default();
    let positions =
        Positions::new(places.into_iter().filter_map(|(path, place)| Some((path, place?))).collect());
    let mut check = Check { input: &input, problems };
    let declaration = check.declaration();
    let mut problems = check.problems;
    if let Some(declaration) = declaration
        && problems.is_empty()
    {
        return Ok(Declaration { positions, ..declaration });
    }
    problems.sort_by(|a, b| (&a.at, a.kind.code()).cmp(&(&b.at, b.kind.code())));
    Err(Rejected { problems, positions })
}

impl Check<'_> {
    fn declaration(&mut self) -> Option<Declaration> {
        if let Some(found) = self.input.version.filter(|version| *version != VERSION) {
            self.wrong(At::of(&["version"]), ProblemKind::Version { found });
        }
        let base = self.path("base", self.input.base.as_deref(), "/opt/nix-volumes", AbsolutePath::new);
        let state_dir = self.path(
            "stateDir",
            self.input.state_dir.as_deref(),
            "/var/db/nix-volumes-networking",
            AbsolutePath::new,
        );
        let log_file = self.path(
            "logFile",
            self.input.log_file.as_deref(),
            "/var/log/nix-volumes-networking.log",
            AbsolutePath::for_log,
        );
        let hosts_file = match &self.input.hosts_file {
            HostsFile::Nowhere => Some(None),
            HostsFile::Unsaid => self.path("hostsFile", None, "/etc/hosts", AbsolutePath::new).map(Some),
            HostsFile::At(path) => self.path("hostsFile", Some(path), "", AbsolutePath::new).map(Some),
        };
        let text = |path: Option<&AbsolutePath>| path.map(ToString::to_string);
        let hosts = hosts_file.as_ref().and_then(Option::as_ref);
        self.separate([
            ("base", base.as_ref().map(|base| format!("{base}/networking"))),
            ("stateDir", text(state_dir.as_ref())),
            ("logFile", text(log_file.as_ref())),
            ("hostsFile", text(hosts)),
        ]);
        let anchor = self.anchor();
        let reconcile_interval = self.reconcile_interval();
        let allow_overlap = self.allow_overlap();
        self.names();
        let providers = self.providers();
        let localhost = self.localhost();
        let volumes = self.volumes(&providers, localhost.as_ref());
        let links = self.links();
        let expectations = self.expectations();
        let mesh = self.mesh(&providers);
        let declaration = Declaration {
            base: base?,
            state_dir: state_dir?,
            log_file: log_file?,
            hosts_file: hosts_file?,
            anchor: anchor?,
            reconcile_interval: reconcile_interval?,
            allow_overlap,
            providers: whole(providers)?,
            volumes: whole(volumes)?,
            localhost: localhost?,
            links: links?,
            expectations: expectations?,
            mesh,
            positions: Positions::default(),
        };
        self.ways(&declaration);
        Some(declaration)
    }

    fn wrong(&mut self, at: impl Into<FieldPath>, kind: ProblemKind) {
        self.problems.push(Problem::new(at, kind));
    }

    /// Checks that the paths the manager writes to are separate: otherwise cleaning up one would remove another.
    fn separate(&mut self, paths: [(&'static str, Option<String>); 4]) {
        let [_, (_, state_dir), ..] = &paths;
        let is_shared = state_dir.as_deref().filter(|state| SHARED.contains(state));
        if let Some(found) = is_shared.map(str::to_owned) {
            self.wrong(At::of(&["stateDir"]), ProblemKind::Path { found, reason: PathReason::Shared });
        }
        let is_in =
            |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
        // The log may be inside the state directory: no file of the manager there ends in `.log`.
        let is_log = |field: &str, path: &str| field == "logFile" && path.strip_suffix(".log").is_some();
        for (index, (field, path)) in paths.iter().enumerate() {
            for (other, with) in &paths[..index] {
                let (Some(path), Some(with)) = (path, with) else { continue };
                let beside = is_log(field, path) && *other == "stateDir" && is_in(path, with);
                if path == with || (is_in(path, with) && !beside) || is_in(with, path) {
                    let kind = ProblemKind::PathsMeet {
                        path: path.clone(),
                        other: (*other).to_owned(),
                        with: with.clone(),
                    };
                    self.problems.push(Problem::new(At::of(&[*field]), kind).with(At::of(&[*other])));
                }
            }
        }
    }

    fn path(
        &mut self,
        field: &str,
        given: Option<&str>,
        default: &str,
        parse: fn(&str) -> Result<AbsolutePath, PathReason>,
    ) -> Option<AbsolutePath> {
        self.path_at(&At::of(&[field]), given.unwrap_or(default), parse)
    }

    fn path_at(
        &mut self,
        at: &At,
        found: &str,
        parse: fn(&str) -> Result<AbsolutePath, PathReason>,
    ) -> Option<AbsolutePath> {
        match parse(found) {
            Ok(path) => Some(path),
            Err(reason) => {
                self.wrong(at, ProblemKind::Path { found: found.to_owned(), reason });
                None
            }
        }
    }

    fn anchor(&mut self) -> Option<AnchorPath> {
        let found = self.input.anchor.as_deref().unwrap_or("com.apple/250.nixvol");
        match AnchorPath::new(found) {
            Ok(anchor) => Some(anchor),
            Err(reason) => {
                self.wrong(At::of(&["anchor"]), ProblemKind::Anchor { found: found.to_owned(), reason });
                None
            }
        }
    }

    /// The minimum is 10 seconds because launchd starts no job more often.
    fn reconcile_interval(&mut self) -> Option<u32> {
        let found = self.input.reconcile_interval.unwrap_or(120);
        let interval = u32::try_from(found).ok().filter(|seconds| (10..=86_400).contains(seconds));
        self.in_range(At::of(&["reconcileInterval"]), found, interval, "from 10 to 86400 seconds")
    }

    fn allow_overlap(&mut self) -> BTreeSet<Ipv4Net> {
        let at = At::of(&["allowOverlap"]);
        let mut allowed = BTreeSet::new();
        for (index, found) in self.input.allow_overlap.iter().flatten().enumerate() {
            if let Some(found) = found {
                allowed.extend(self.network(&at.child(index), found));
            }
        }
        allowed
    }

    /// A network in CIDR notation. If host bits are set, that is reported, and the checks continue with the enclosing
    /// network, so that all problems are found in one run.
    fn network(&mut self, at: &At, text: &str) -> Option<Ipv4Net> {
        let network = self.cidr(at, text)?;
        if network.trunc() != network {
            self.wrong(at, ProblemKind::HostBits { found: network });
        }
        Some(network.trunc())
    }

    /// An address with a prefix length.
    fn cidr(&mut self, at: &At, text: &str) -> Option<Ipv4Net> {
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.wrong(at, ProblemKind::NotANetwork { found: text.to_owned() });
        }
        parsed
    }

    /// Checks every name, and that no name, logical names included, denotes two things.
    fn names(&mut self) {
        let input = self.input;
        let mut logical = LogicalNames::default();
        for (name, provider) in input.providers.iter().flatten() {
            self.own_name("providers", name);
            let given = provider.bridge.as_deref();
            let bridge = given.map_or_else(|| format!("bridge-{name}"), str::to_owned);
            self.claim(&mut logical, bridge, Owner::Provider { name, is_said: given.is_some() });
        }
        let localhost = input.localhost.as_ref().and_then(|group| group.bridge.as_deref());
        self.claim(&mut logical, localhost.unwrap_or("bridge-localhost").to_owned(), Owner::Localhost);
        for name in input.volumes.iter().flatten().map(|(name, _)| name) {
            self.own_name("volumes", name);
            self.claim(&mut logical, format!("veth-{name}"), Owner::Volume(name));
            if input.providers.as_ref().is_some_and(|all| all.contains_key(name)) {
                let (first, second) = (format!("provider `{name}`"), format!("volume `{name}`"));
                let kind = ProblemKind::NamesCollide { name: name.clone(), first, second };
                let at = At::of(&["volumes", name]);
                self.problems.push(Problem::new(at, kind).with(At::of(&["providers", name])));
            }
        }
    }

    /// Checks the name of a provider or volume.
    fn own_name(&mut self, kind: &str, found: &str) {
        if Name::new(found, Name::LONGEST).is_some() && !Name::RESERVED.contains(&found) {
            return;
        }
        let at = At::of(&[kind, found]);
        self.name(&at, found, Name::LONGEST);
        if Name::RESERVED.contains(&found) {
            self.wrong(at, ProblemKind::ReservedName { found: found.to_owned() });
        }
    }

    fn claim<'b>(&mut self, names: &mut LogicalNames<'b>, name: String, owner: Owner<'b>) {
        match names.0.entry(name) {
            Entry::Occupied(entry) => {
                let (name, first) = (entry.key().clone(), entry.get());
                let kind = ProblemKind::NamesCollide { name, first: first.words(), second: owner.words() };
                self.problems.push(Problem::new(owner.at(), kind).with(first.at()));
            }
            Entry::Vacant(entry) => {
                entry.insert(owner);
            }
        }
    }

    fn name(&mut self, at: &At, found: &str, longest: usize) -> Option<Name> {
        let name = Name::new(found, longest);
        if name.is_none() {
            self.wrong(at, ProblemKind::Name { found: found.to_owned(), longest });
        }
        name
    }

    /// Returns the value of a number, or reports that it is out of range.
    fn in_range<T>(
        &mut self,
        at: At,
        found: impl ToString,
        value: Option<T>,
        range: &'static str,
    ) -> Option<T> {
        if value.is_none() {
            self.wrong(at, ProblemKind::NumberOutOfRange { found: found.to_string(), range });
        }
        value
    }

    /// The value of a word, or the default; an unknown word is reported.
    fn word<T>(
        &mut self,
        at: &At,
        given: Option<&str>,
        default: T,
        parse: fn(&str) -> Option<T>,
        known: &'static [&'static str],
    ) -> T {
        let Some(found) = given else { return default };
        if let Some(value) = parse(found) {
            return value;
        }
        self.wrong(at, ProblemKind::UnknownWord { found: found.to_owned(), known });
        default
    }
}

/// The logical names in use, with their owners.
#[derive(Default)]
struct LogicalNames<'a>(BTreeMap<String, Owner<'a>>);

/// The owner of a logical name.
#[derive(Clone, Copy)]
enum Owner<'a> {
    Provider { name: &'a str, is_said: bool },
    Volume(&'a str),
    Localhost,
}

impl Owner<'_> {
    fn words(self) -> String {
        match self {
            Self::Provider { name, is_said: _ } => format!("the bridge of provider `{name}`"),
            Self::Volume(name) => format!("the port of volume `{name}`"),
            Self::Localhost => "the localhost group".to_owned(),
        }
    }

    fn at(&self) -> At<'_> {
        match self {
            Self::Provider { name, is_said: true } => At::of(&["providers", name, "bridge"]),
            Self::Provider { name, is_said: false } => At::of(&["providers", name]),
            Self::Volume(name) => At::of(&["volumes", name]),
            Self::Localhost => At::of(&["localhost", "bridge"]),
        }
    }
}

/// The map, if none of its entries is invalid.
fn whole<T>(map: BTreeMap<String, Option<T>>) -> Option<BTreeMap<Name, T>> {
    map.into_iter().map(|(name, value)| Some((Name::new(&name, Name::LONGEST)?, value?))).collect()
}
