//! Reads JSON into the raw mirror. Every value of a wrong shape is reported, and reading continues after it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::raw::{
    DeclaredMac, HostsFile, Ignored, Input, Port, RawConditions, RawExpectation, RawGuest, RawLink,
    RawLocalhost, RawProvider, RawVolume,
};
use super::tree::Tree;
use crate::place::{At, FieldPath, Place};
use crate::problem::{Problem, ProblemKind};

/// Where problems are gathered.
type Problems = Vec<Problem>;

pub fn input(bytes: &[u8]) -> (Input, Problems) {
    let mut problems = Vec::new();
    let input = match serde_json::from_slice(bytes) {
        Ok(tree) => Input::read(tree, At::ROOT, &mut problems).unwrap_or_default(),
        Err(error) => {
            problems.push(Problem::new(FieldPath::root(), not_json(bytes, &error)));
            Input::default()
        }
    };
    (input, problems)
}

/// Why bytes are not JSON, and where. Lines and columns count from 1, even if serde_json reports 0 at the end.
fn not_json(bytes: &[u8], error: &serde_json::Error) -> ProblemKind {
    let (line, column) = (error.line().max(1), error.column().max(1));
    if let Err(error) = std::str::from_utf8(bytes) {
        let before = &bytes[..error.valid_up_to()];
        let lines: Vec<&[u8]> = before.split(|byte| *byte == b'\n').collect();
        let (line, column) = (lines.len(), 1 + lines.last().map_or(0, |last| last.len()));
        return ProblemKind::NotJson { line, column, reason: "invalid UTF-8".to_owned() };
    }
    if bytes.starts_with("\u{feff}".as_bytes()) {
        return ProblemKind::NotJson { line: 1, column: 1, reason: "there is a byte order mark".to_owned() };
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return ProblemKind::NotJson { line: 1, column: 1, reason: "it is empty".to_owned() };
    }
    let reason = error.to_string();
    let reason = reason.split(" at line ").next().unwrap_or_default().to_owned();
    ProblemKind::NotJson { line, column, reason }
}

/// A value that can be read from a JSON tree. `None` means that a problem was reported.
trait Read: Sized {
    fn read(tree: Tree, at: At, problems: &mut Problems) -> Option<Self>;
}

/// Objects with at most this many fields are searched linearly; every valid object is smaller.
const FEW: usize = 32;

/// An object whose fields are being read.
struct Fields<'a> {
    at: At<'a>,
    /// The fields with their values; `None` if the value was taken.
    entries: Vec<(String, Option<Tree>)>,
    known: Vec<&'static str>,
    problems: &'a mut Problems,
}

impl<'a> Fields<'a> {
    fn open(tree: Tree, at: At<'a>, problems: &'a mut Problems) -> Option<Self> {
        let Tree::Map(list) = tree else {
            return wrong("an object", &tree, at, problems);
        };
        if list.len() > FEW {
            let entries = entries(Tree::Map(list), at, problems)?;
            let entries = entries.into_iter().map(|(key, value)| (key, Some(value))).collect();
            return Some(Self { at, entries, known: Vec::new(), problems });
        }
        let mut entries: Vec<(String, Option<Tree>)> = Vec::with_capacity(list.len());
        for (key, value) in list {
            if entries.iter().any(|(known, _)| *known == key) {
                problems.push(Problem::new(at.child(&key).path(), ProblemKind::Duplicate { key }));
            } else {
                entries.push((key, Some(value)));
            }
        }
        Some(Self { at, entries, known: Vec::with_capacity(16), problems })
    }

    fn take(&mut self, name: &'static str) -> Option<Tree> {
        self.known.push(name);
        self.entries.iter_mut().find(|(known, _)| known == name)?.1.take()
    }

    /// Reads a field that may be absent or null.
    fn optional<T: Read>(&mut self, name: &'static str) -> Option<T> {
        match self.take(name)? {
            Tree::Null => None,
            tree => T::read(tree, self.at.child(name), self.problems),
        }
    }

    /// Reads a field that must be present.
    fn required<T: Read>(&mut self, name: &'static str) -> Option<T> {
        if let Some(tree) = self.take(name) {
            return T::read(tree, self.at.child(name), self.problems);
        }
        self.problems.push(Problem::new(self.at, ProblemKind::Missing { field: name }));
        None
    }

    /// Reports the remaining fields as unknown.
    fn close(self) {
        let mut left: Vec<String> =
            self.entries.into_iter().filter(|(_, tree)| tree.is_some()).map(|(field, _)| field).collect();
        left.sort_unstable();
        for field in left {
            let nearest = nearest(&field, self.known.iter().copied());
            self.problems.push(Problem::new(
                self.at.child(&field).path(),
                ProblemKind::UnknownField { field, nearest },
            ));
        }
    }
}

/// The entries of an object. A duplicate key is reported, and its first value kept.
fn entries(tree: Tree, at: At, problems: &mut Problems) -> Option<BTreeMap<String, Tree>> {
    let Tree::Map(list) = tree else {
        return wrong("an object", &tree, at, problems);
    };
    let mut map = BTreeMap::new();
    for (key, value) in list {
        match map.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(value);
            }
            Entry::Occupied(entry) => {
                let key = entry.key().clone();
                problems.push(Problem::new(at.child(&key).path(), ProblemKind::Duplicate { key }));
            }
        }
    }
    Some(map)
}

fn wrong<T>(expected: &'static str, tree: &Tree, at: At, problems: &mut Problems) -> Option<T> {
    problems.push(Problem::new(at, ProblemKind::WrongType { expected, found: tree.describe() }));
    None
}

/// The known word nearest to a mistyped or partial one, if any is near enough to be meant.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let known: Vec<&str> = known.collect();
    let mistyped = known
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min()
        .map(|(_, candidate)| candidate);
    let is_part = |candidate: &&str| is_part(word, candidate);
    mistyped.or_else(|| known.iter().copied().filter(is_part).min_by_key(|it| (it.len(), *it)))
}

/// Whether a word is a prefix of a longer one, or consists of some of its hyphenated parts: `worker-3` of
/// `karpenter-worker-3`.
fn is_part(word: &str, candidate: &str) -> bool {
    let parts = |text: &str| format!("-{text}-");
    !word.is_empty() && (candidate.starts_with(word) || parts(candidate).contains(&parts(word)))
}

/// The edit distance: how many characters must be added, removed or changed to turn one word into the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(80).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().take(80).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

impl Read for String {
    fn read(tree: Tree, at: At, problems: &mut Problems) -> Option<Self> {
        match tree {
            Tree::String(value) => Some(value),
            other => wrong("a string", &other, at, problems),
        }
    }
}

impl Read for bool {
    fn read(tree: Tree, at: At, problems: &mut Problems) -> Option<Self> {
        match tree {
            Tree::Bool(value) => Some(value),
            other => wrong("true or false", &other, at, problems),
        }
    }
}

impl Read for i64 {
    fn read(tree: Tree, at: At, problems: &mut Problems) -> Option<Self> {
        if let Tree::Number(number) = &tree
            && let Some(value) = number.as_i64()
        {
            return Some(value);
        }
        wrong("a whole number", &tree, at, problems)
    }
}

impl Read for f64 {
    fn read(tree: Tree, at: At, problems: &mut Problems) -> Option<Self> {
        match &tree {
            Tree::Number(number) => number.as_f64(),
            other => wrong("a number", other, at, problems),
        }
    }
}

impl Read for Port {
    fn read(tree: Tree, at: At, problems: &mut Problems) -> Option<Self> {
        match tree {
            Tree::String(range) => Some(Port::Range(range)),
            Tree::Number(ref number) if number.is_i64() => number.as_i64().map(Port::Number),
            other => wrong("a port, or a range such as \"2379-2380\"", &other, at, problems),
        }
    }
}

/// The word of `latency`. A number there is probably meant for `latencyMs`, and the error says so.
struct LatencyWord(String);

impl Read for LatencyWord {
    fn read(tree: Tree, at: At, problems: &mut Problems) -> Option<Self> {
        match tree {
            Tree::String(word) => Some(Self(word)),
            other => wrong("the word \"regions\" (milliseconds are `latencyMs`)", &other, at, problems),
        }
    }
}

impl Read for HostsFile {
    fn read(tree: Tree, at: At, problems: &mut Problems) -> Option<Self> {
        String::read(tree, at, problems).map(HostsFile::At)
    }
}

impl Read for Ignored {
    fn read(_: Tree, _: At, _: &mut Problems) -> Option<Self> {
        Some(Ignored)
    }
}

/// A list keeps its length: an element that cannot be read leaves `None`, so that indices remain correct.
impl<T: Read> Read for Vec<Option<T>> {
    fn read(tree: Tree, at: At, problems: &mut Problems) -> Option<Self> {
        let Tree::List(items) = tree else {
            return wrong("a list", &tree, at, problems);
        };
        let read = |(index, item)| T::read(item, at.child(index), problems);
        Some(items.into_iter().enumerate().map(read).collect())
    }
}

/// An entry that cannot be read is kept as an empty one: its name exists, so references to it are not errors.
impl<T: Read + Default> Read for BTreeMap<String, T> {
    fn read(tree: Tree, at: At, problems: &mut Problems) -> Option<Self> {
        let entries = entries(tree, at, problems)?;
        let read = |(key, value)| {
            let value = T::read(value, at.child(&key), problems).unwrap_or_default();
            (key, value)
        };
        Some(entries.into_iter().map(read).collect())
    }
}

impl Read for Input {
    fn read(tree: Tree, at: At, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(tree, at, problems)?;
        let hosts_file_is_null =
            fields.entries.iter().any(|(field, tree)| field == "hostsFile" && *tree == Some(Tree::Null));
        let input = Input {
            version: fields.required("version"),
            base: fields.optional("base"),
            state_dir: fields.optional("stateDir"),
            log_file: fields.optional("logFile"),
            hosts_file: match fields.optional("hostsFile") {
                _ if hosts_file_is_null => HostsFile::Nowhere,
                said => said.unwrap_or_default(),
            },
            anchor: fields.optional("anchor"),
            reconcile_interval: fields.optional("reconcileInterval"),
            allow_overlap: fields.optional("allowOverlap"),
            providers: fields.required("providers"),
            volumes: fields.required("volumes"),
            localhost: fields.optional("localhost"),
            links: fields.optional::<Vec<Option<RawLink>>>("links").map(kept),
            expect: fields.optional::<Vec<Option<RawExpectation>>>("expect").map(kept),
            mac: fields.optional("mac"),
            macs: fields.optional("macs"),
            positions: fields.optional("positions"),
            resolved: fields.optional("resolved").unwrap_or_default(),
        };
        fields.close();
        Some(input)
    }
}

/// Replaces elements that could not be read by empty ones, so that the indices of the others remain correct.
fn kept<T: Default>(entries: Vec<Option<T>>) -> Vec<T> {
    entries.into_iter().map(Option::unwrap_or_default).collect()
}

impl Read for RawProvider {
    fn read(tree: Tree, at: At, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(tree, at, problems)?;
        let provider = RawProvider {
            network: fields.required("network"),
            gateway: fields.required("gateway"),
            bridge: fields.optional("bridge"),
            attachment: fields.optional("attachment"),
            internet: fields.optional("internet"),
            region: fields.optional("region"),
        };
        fields.close();
        Some(provider)
    }
}

impl Read for RawVolume {
    fn read(tree: Tree, at: At, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(tree, at, problems)?;
        let volume = RawVolume {
            provider: fields.required("provider"),
            address: fields.required("address"),
            localhost: fields.optional("localhost"),
            attachment: fields.optional("attachment"),
            publish: fields.optional("publish"),
            mount_point: fields.optional("mountPoint"),
            guest: fields.optional("guest"),
        };
        fields.close();
        Some(volume)
    }
}

impl Read for RawGuest {
    fn read(tree: Tree, at: At, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(tree, at, problems)?;
        let guest = RawGuest {
            mac: fields.optional("mac"),
            interface: fields.optional("interface"),
            dns: fields.optional("dns"),
        };
        fields.close();
        Some(guest)
    }
}

impl Read for DeclaredMac {
    fn read(tree: Tree, at: At, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(tree, at, problems)?;
        let mac = DeclaredMac {
            providers: fields.required("providers"),
            endpoint: fields.required("endpoint"),
            public_key: fields.required("publicKey"),
            address: fields.required("address"),
            listen_port: fields.optional("listenPort"),
        };
        fields.close();
        Some(mac)
    }
}

impl Read for RawLocalhost {
    fn read(tree: Tree, at: At, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(tree, at, problems)?;
        let localhost =
            RawLocalhost { bridge: fields.optional("bridge"), gateway: fields.optional("gateway") };
        fields.close();
        Some(localhost)
    }
}

impl Read for RawLink {
    fn read(tree: Tree, at: At, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(tree, at, problems)?;
        let link = RawLink {
            from: fields.required("from"),
            to: fields.required("to"),
            protocol: fields.optional("protocol"),
            ports: fields.optional("ports"),
            bidirectional: fields.optional("bidirectional"),
            masquerade: fields.optional("masquerade"),
            conditions: fields.optional("conditions"),
        };
        fields.close();
        Some(link)
    }
}

impl Read for RawExpectation {
    fn read(tree: Tree, at: At, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(tree, at, problems)?;
        let expectation = RawExpectation {
            from: fields.required("from"),
            to: fields.required("to"),
            protocol: fields.optional("protocol"),
            ports: fields.optional("ports"),
            passes: fields.required("passes"),
            why: fields.optional("why"),
        };
        fields.close();
        Some(expectation)
    }
}

impl Read for RawConditions {
    fn read(tree: Tree, at: At, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(tree, at, problems)?;
        let conditions = RawConditions {
            latency_ms: fields.optional("latencyMs"),
            latency: fields.optional("latency").map(|LatencyWord(word)| word),
            jitter_ms: fields.optional("jitterMs"),
            loss: fields.optional("loss"),
            bandwidth_kbit: fields.optional("bandwidthKbit"),
        };
        fields.close();
        Some(conditions)
    }
}

impl Read for Option<Place> {
    fn read(tree: Tree, at: At, problems: &mut Problems) -> Option<Self> {
        if tree == Tree::Null {
            return Some(None);
        }
        let mut fields = Fields::open(tree, at, problems)?;
        let file = fields.required("file");
        let line = fields.required("line").and_then(|line: i64| usize::try_from(line).ok());
        let column = fields.required("column").and_then(|column: i64| usize::try_from(column).ok());
        fields.close();
        Some(file.zip(line).zip(column).map(|((file, line), column)| Place { file, line, column }))
    }
}
