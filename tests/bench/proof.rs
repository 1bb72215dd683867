//! The time of a proof as declarations grow in every dimension.
//!
//! `cargo bench --bench proof` runs it. `cargo bench --bench proof -- --table [NAME…]` instead measures what
//! `nixvol-net test` costs with each declaration, in instructions (valgrind's callgrind), processor time and memory,
//! and prints the table of the README; `-- --write DIR` writes the declarations.

#[path = "../sizes.rs"]
mod sizes;
#[path = "../support.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod support;
#[path = "../tools.rs"]
mod tools;

use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use nixvol_net::plan::Plan;
use nixvol_net::prove::prove;
use serde_json::Value;

/// Every declaration that is measured: its name, the count of what grows, and the JSON.
fn all() -> Vec<(&'static str, usize, Value)> {
    let default = serde_json::from_str(nixvol_net::input::DEFAULT).expect("the embedded declaration is JSON");
    vec![
        ("default", 5, default),
        ("mesh", 250, sizes::mesh(250, 0)),
        ("mesh", 500, sizes::mesh(500, 0)),
        ("mesh", 1000, sizes::mesh(1000, 0)),
        ("mesh-with-volumes", 500, sizes::mesh(500, 5000)),
        ("mesh-with-volumes", 1000, sizes::mesh(1000, 10_000)),
        ("mesh-with-volumes", 4000, sizes::mesh(4000, 40_000)),
        ("links-with-volumes", 500, sizes::links(500, 5000)),
        ("links-with-volumes", 1000, sizes::links(1000, 10_000)),
        ("chain", 500, sizes::chain(500)),
        ("chain", 1000, sizes::chain(1000)),
        ("star", 500, sizes::star(500)),
        ("star", 1000, sizes::star(1000)),
        ("ports", 495, sizes::ports(495)),
        ("ports", 990, sizes::ports(990)),
        ("hosts", 5000, sizes::hosts(5000)),
        ("hosts", 10_000, sizes::hosts(10_000)),
        ("masquerades", 250, sizes::masquerades(250)),
        ("masquerades", 500, sizes::masquerades(500)),
        ("conditions", 250, sizes::conditions(250)),
        ("conditions", 500, sizes::conditions(500)),
    ]
}

/// The cost of `nixvol-net test` with a declaration, as a row of the table.
fn row(name: &str, file: &Path) -> String {
    let program = env!("CARGO_BIN_EXE_nixvol-net");
    let test = |command: &mut Command| -> String {
        let output = command.arg("test").arg("--input").arg(file).output().expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{name}: {told}");
        told
    };
    let told =
        test(Command::new("valgrind").args(["--tool=callgrind", "--callgrind-out-file=/dev/null", program]));
    let counted = told.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse::<u64>().ok());
    let instructions = counted.expect("callgrind says how many instructions there were");

    let mut child = Command::new(program)
        .arg("test")
        .arg("--input")
        .arg(file)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    // /proc loses a process when it ends, so poll every millisecond; the last values are at most that old.
    let (mut processor, mut peak) = (0, 0);
    while child.try_wait().expect("it can be waited for").is_none() {
        let of =
            |what: &str| std::fs::read_to_string(format!("/proc/{}/{what}", child.id())).unwrap_or_default();
        let nanoseconds = of("schedstat").split(' ').next().and_then(|number| number.parse::<u64>().ok());
        let status = of("status");
        let most = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        (processor, peak) = (nanoseconds.unwrap_or(0).max(processor), most.unwrap_or(0).max(peak));
        sleep(Duration::from_millis(1));
    }
    let output = child.wait_with_output().expect("it ran");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let rules =
        printed.strip_prefix("proven: ").and_then(|rest| rest.split(' ').next()).expect("it is proven");
    format!(
        "| {name} | {rules} | {} | {} | {} |",
        instructions / 1_000_000,
        processor / 1_000_000,
        peak.div_ceil(1024)
    )
}

/// The table of costs, of all declarations or of those named.
fn table(names: &[String]) {
    let directory = tempfile::tempdir().expect("a directory");
    println!(
        "| declaration | rules | million instructions | ms of processor | MB at most |\n|---|--:|--:|--:|--:|"
    );
    for (name, count, input) in
        all().into_iter().filter(|it| names.is_empty() || names.iter().any(|name| name == it.0))
    {
        let file = directory.path().join("input.json");
        std::fs::write(&file, input.to_string()).expect("it is written");
        println!("{}", row(&format!("{name} {count}"), &file));
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--write") {
        let directory = Path::new(arguments.get(at + 1).expect("a directory"));
        for (name, count, input) in all() {
            let file = directory.join(format!("{name}-{count}.json"));
            std::fs::write(file, input.to_string()).expect("it is written");
        }
        return;
    }
    if let Some(at) = arguments.iter().position(|argument| argument == "--table") {
        let names: Vec<String> =
            arguments[at + 1..].iter().filter(|it| !it.starts_with("--")).cloned().collect();
        return table(&names);
    }
    let mut criterion = Criterion::default().configure_from_args();
    for (name, count, input) in all() {
        let declaration = support::declared(&input);
        let plan = Plan::of(&declaration);
        let anchor = support::rendered(&input).files["pf/anchor.conf"].text.clone();
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_with_input(BenchmarkId::from_parameter(count), &anchor, |b, anchor| {
            b.iter(|| prove(&plan, black_box(anchor)).expect("it is proven"));
        });
        group.finish();
    }
    criterion.final_summary();
}
