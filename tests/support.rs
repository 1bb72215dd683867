//! Topologies that several test modules share, and helpers that run the program.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nixvol_net::input;
use nixvol_net::model::{self, Declaration};
use nixvol_net::plan::Plan;
use nixvol_net::render::{self, Bundle};
use proptest::prelude::ProptestConfig;
use serde_json::{Value, json};

use crate::tools::tool;

/// The root of the source tree.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Parses the JSON of a fixture, by its file name in `tests/fixtures`.
pub fn fixture(name: &str) -> Value {
    let path = root().join("tests/fixtures").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("a fixture is JSON")
}

/// Parses the JSON of the embedded declaration.
pub fn default_input() -> Value {
    serde_json::from_str(input::DEFAULT).expect("the embedded declaration is JSON")
}

/// The topologies for which every rendered file is kept as a snapshot, by name.
pub fn topologies() -> Vec<(&'static str, Value)> {
    vec![
        ("default", default_input()),
        ("single", fixture("single.json")),
        ("rich", fixture("rich.json")),
        ("fifty", fifty()),
    ]
}

/// Providers `p0`, `p1`, … with a /24 each, without volumes or links.
pub fn providers(count: usize) -> Value {
    let providers: serde_json::Map<String, Value> = (0..count)
        .map(|n| {
            let (high, low) = (n / 256, n % 256);
            let network = json!({ "network": format!("10.{high}.{low}.0/24"), "gateway": format!("10.{high}.{low}.1/24") });
            (format!("p{n}"), network)
        })
        .collect();
    json!({ "version": 1, "providers": providers, "volumes": {}, "links": [] })
}

/// The names of [`providers`].
pub fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("p{n}")).collect()
}

/// Fifty providers: links in a ring, a mesh of etcd's ports among all, and a few volumes.
fn fifty() -> Value {
    let mut input = providers(50);
    for n in (0..50).step_by(16) {
        let volume = json!({ "provider": format!("p{n}"), "address": format!("10.0.{n}.2"), "localhost": format!("127.0.1.{}", n + 2) });
        input["volumes"][format!("etcd-{n}")] = volume;
    }
    let ring = (0..50).map(|n| json!({ "from": [format!("p{n}")], "to": [format!("p{}", (n + 1) % 50)] }));
    let mesh = json!({ "from": names(50), "to": names(50), "protocol": "tcp", "ports": ["2379-2380"] });
    input["links"] = ring.chain([mesh]).collect();
    input
}

/// Reads a declaration from JSON; panics if it is not valid.
pub fn declared(input: &Value) -> Declaration {
    model::read(input.to_string().as_bytes()).unwrap_or_else(|rejected| panic!("{:#?}", rejected.problems))
}

/// Renders a declaration from JSON; panics if it is not valid.
pub fn rendered(input: &Value) -> Bundle {
    let declaration = declared(input);
    render::bundle(&declaration, &Plan::of(&declaration)).expect("a valid declaration can be rendered")
}

/// The program's binary, to be run as a user runs it.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nixvol-net"));
    command.env("NO_COLOR", "1");
    command
}

/// Runs the program with these arguments and this standard input.
pub fn run(arguments: &[&str], input: &str) -> Output {
    use std::io::Write;
    use std::process::Stdio;
    let mut child = program()
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // A program that rejects its arguments exits without reading its input.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("the program ends")
}

/// Reports that something was skipped, once, by writing past the test harness, which captures the output of a test that
/// passes.
pub fn skipped(why: &str) {
    use std::io::Write;
    static TOLD: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());
    let mut told = TOLD.lock().expect("no test ends while it says so");
    if !told.iter().any(|known| known == why) {
        told.push(why.to_owned());
        let _ = std::io::stderr().write_all(format!("skipped: {why}\n").as_bytes());
    }
}

/// Whether this machine has a tool. If not, reports what the test leaves out.
pub fn has_tool(name: &str, what: &str) -> bool {
    let has = tool(name).is_some();
    if !has {
        skipped(&format!("{name} is not installed, so {what}"));
    }
    has
}

/// Whether the lab can be created on this machine. Fails instead of returning false if `NIXVOL_LAB_REQUIRED` is set.
#[cfg(all(feature = "lab", target_os = "linux"))]
pub fn has_lab() -> bool {
    static HAS: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *HAS.get_or_init(|| {
        let output = program()
            .args(["lab", "run", "--input", "tests/fixtures/single.json", "--", "true"])
            .current_dir(root())
            .output()
            .expect("the program runs");
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success() || std::env::var_os("NIXVOL_LAB_REQUIRED").is_none(),
            "no lab can be made here: {why}"
        );
        if !output.status.success() {
            skipped(&format!("no lab can be made here: {}", why.trim_end()));
        }
        output.status.success()
    })
}

/// Whether a program can run as a volume here: needs the lab, and a namespace whose loopback has the addresses.
#[cfg(all(feature = "lab", target_os = "linux"))]
pub fn has_namespaces() -> bool {
    has_lab() && has_tool("unshare", "nothing acts as a volume")
}

/// The name of a shape, and its declaration by size.
pub type Shape = (&'static str, fn(usize) -> Value);

/// Whether the long runs are wanted, as by `tests/run.sh --long`.
pub fn is_long() -> bool {
    std::env::var_os("NIXVOL_LONG").is_some()
}

/// Every file below a directory of the source tree, as a path relative to the root.
pub fn files_below(directory: &str) -> Vec<PathBuf> {
    fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).expect("a directory of the tree") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, files);
            } else {
                files.push(path);
            }
        }
    }
    let mut files = Vec::new();
    walk(&root().join(directory), &mut files);
    files.sort();
    files.iter().map(|file| file.strip_prefix(root()).expect("below the root").to_owned()).collect()
}

/// A proptest configuration with this number of cases. A failure is shown with its smallest case; no regression file is
/// written.
pub fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}
