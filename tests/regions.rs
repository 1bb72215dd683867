//! Latency by regions: compared with published measurements, with physics, and in every command that shows it.

use nixvol_net::model::regions::{Cloud, Region, RegionPair};
use serde_json::{Value, json};

use crate::router::Net;
use crate::support::{fixture, root, run};

/// The tables in `tests/regions`; the first lines of each name its source.
const TABLES: [&str; 4] = ["aws", "azure", "ibm", "aws-gcp"];

/// A published round trip, and the derived one.
struct Row {
    span: RegionPair,
    published: f64,
}

impl Row {
    fn off(&self) -> f64 {
        (self.span.round_trip() - self.published).abs()
    }

    fn share(&self) -> f64 {
        self.off() / self.published
    }
}

fn rows(table: &str) -> Vec<Row> {
    let path = root().join("tests/regions").join(format!("{table}.csv"));
    let text = std::fs::read_to_string(path).expect(table);
    assert!(text.starts_with('#'), "{table} names its source");
    let row = |line: &str| {
        let [from, to, published] = line.split(',').collect::<Vec<_>>()[..] else {
            panic!("{table}: {line}")
        };
        let region = |name: &str| Region::find(name).unwrap_or_else(|| panic!("{table}: no region {name}"));
        Row {
            span: RegionPair { from: region(from), to: region(to) },
            published: published.parse().expect("milliseconds"),
        }
    };
    text.lines().filter(|line| !line.starts_with('#')).skip(1).map(row).collect()
}

/// The value that this share of the values does not exceed.
fn quantile(values: impl Iterator<Item = f64>, share: (usize, usize)) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) * share.0 / share.1]
}

/// A row of the table in the help: the number of pairs, and the median, 90th percentile and maximum error.
fn errors(name: &str, rows: &[Row]) -> String {
    let figures = |share| {
        let percent = 100.0 * quantile(rows.iter().map(Row::share), share);
        format!("{:.0} ms, {percent:.0} %", quantile(rows.iter().map(Row::off), share))
    };
    let [median, most, worst] = [(1, 2), (9, 10), (1, 1)].map(figures);
    format!("| {name} | {} | {median} | {most} | {worst} |\n", rows.len())
}

#[test]
fn the_help_states_the_error_against_the_published_tables() {
    let names = ["AWS 2017", "Azure 2023", "IBM Cloud 2025", "AWS and Google Cloud 2023"];
    let mut table = String::new();
    let mut all = Vec::new();
    for (file, name) in TABLES.into_iter().zip(names) {
        let rows = rows(file);
        table += &errors(name, &rows);
        all.extend(rows);
    }
    table += &errors("all", &all);
    let page = std::fs::read_to_string(root().join("generator/src/help/conditions.md")).expect("the page");
    assert!(page.contains(&table), "conditions.md has no table of\n{table}");
    // No pair is faster than light in fibre.
    for row in &all {
        assert!(row.span.round_trip() > row.span.kilometres() / 102.1, "{}", row.span);
    }
    // The median error is below a twelfth, the 90th percentile below a sixth.
    assert!(quantile(all.iter().map(Row::share), (1, 2)) < 0.08);
    assert!(quantile(all.iter().map(Row::share), (9, 10)) < 0.17);
    let order = all.iter().filter(|row| row.published < 100.0 && row.span.round_trip() > 200.0);
    assert_eq!(order.count(), 0);
}

#[test]
fn the_parameters_of_the_model_are_the_best_fit() {
    let all: Vec<Row> = TABLES.into_iter().flat_map(rows).collect();
    let off = |fixed: f64, detour: f64| {
        let share = |row: &Row| {
            let derived = fixed + row.span.kilometres() * detour * 2.0 / 204.19;
            (derived - row.published).abs() / row.published
        };
        all.iter().map(share).sum::<f64>()
    };
    let (fixed, detour) = (nixvol_net::model::regions::FIXED, nixvol_net::model::regions::DETOUR);
    let here = off(fixed, detour);
    for (fixed, detour) in
        [(fixed + 1.0, detour), (fixed - 1.0, detour), (fixed, detour + 0.02), (fixed, detour - 0.02)]
    {
        assert!(off(fixed, detour) > here, "{fixed} ms and {detour} fit better");
    }
}

#[test]
fn every_region_belongs_to_one_cloud_and_is_listed_in_the_help() {
    let mut names: Vec<&str> = Region::all().map(|region| region.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "a name that two clouds have says nothing");
    assert!(count > 150);
    for cloud in Cloud::ALL {
        assert!(cloud.regions().iter().all(|region| region.cloud == cloud));
        assert_eq!(Cloud::of_name(cloud.name()), Some(cloud));
    }
    let page = std::fs::read_to_string(root().join("generator/src/help/conditions.md")).expect("the page");
    let words: Vec<&str> = page.split([' ', '\n', ',', '.']).collect();
    for region in Region::all() {
        assert!(words.contains(&region.name), "conditions.md does not list {}", region.name);
    }
}

#[test]
fn latency_is_symmetric_and_robust_to_rounding() {
    for from in Region::all() {
        for to in Region::all() {
            let (there, back) = (RegionPair { from, to }, RegionPair { from: to, to: from });
            assert!((there.kilometres() - back.kilometres()).abs() < 1e-6, "{there}");
            let mut landings = back.landings();
            landings.reverse();
            assert_eq!(there.landings(), landings, "{there}");
            assert!(there.kilometres() < 40_000.0 && there.latency_ms() >= 3, "{there}");
            // A Mac's sine may differ from Linux's in the last bit; the bundle must not.
            let half = there.round_trip() / 2.0;
            assert!((half.fract() - 0.5).abs() > 1e-9 || from.city == to.city, "{there}: {half}");
            let km = there.kilometres();
            assert!((km.fract() - 0.5).abs() > 1e-9, "{there}: {km}");
        }
    }
}

#[test]
fn each_pair_of_regions_has_a_pipe_and_specific_links_take_precedence() {
    let net = Net::new(&fixture("regions.json"));
    let pipes: Vec<String> =
        net.plan.pipes.iter().map(|pipe| format!("{}: {}", pipe.way(), pipe.conditions)).collect();
    let jitter = "3 ms of jitter (lab only)";
    let wanted = [
        format!("gcp -> aws: 78 ms (asia-northeast1 to us-east-1, 11654 km), {jitter}"),
        format!("gcp -> azure: 118 ms (asia-northeast1 to westeurope, 17878 km), {jitter}"),
        format!("aws -> gcp: 78 ms (us-east-1 to asia-northeast1, 11654 km), {jitter}"),
        format!("aws -> azure: 44 ms (us-east-1 to westeurope, 6374 km), {jitter}"),
        format!("azure -> gcp: 118 ms (westeurope to asia-northeast1, 17878 km), {jitter}"),
        format!("azure -> aws: 44 ms (westeurope to us-east-1, 6374 km), {jitter}"),
        "etcd-1 -> etcd-2: 5 ms".to_owned(),
    ];
    assert_eq!(pipes, wanted);
}

#[test]
fn providers_of_one_region_share_a_pipe_and_inside_a_provider_there_is_none() {
    let mut input = fixture("regions.json");
    input["providers"]["more"] =
        json!({ "network": "10.3.0.0/16", "gateway": "10.3.1.1/24", "region": "us-east-1" });
    input["links"] = json!([{ "from": ["aws", "more", "etcd-3"], "to": ["aws", "more", "etcd-3"],
        "conditions": { "latency": "regions", "loss": 0.5 } }]);
    let plan = Net::new(&input).plan;
    let ways: Vec<String> = plan.pipes.iter().map(nixvol_net::plan::Pipe::way).collect();
    assert_eq!(ways, ["etcd-3 -> aws, more", "aws, more -> etcd-3", "aws, more -> aws, more"]);
}

#[test]
fn every_command_shows_the_latency_and_its_source() {
    let input = fixture("regions.json").to_string();
    let shown = "44 ms (us-east-1 to westeurope, 6374 km)";
    let out = |words: &[&str]| {
        let output = run(words, &input);
        let text = String::from_utf8(output.stdout).expect("text");
        (output.status.code(), text, String::from_utf8(output.stderr).expect("text"))
    };
    for words in [
        &["explain", "etcd-1", "etcd-2:2379", "--input", "-"][..],
        &["test", "--input", "-"],
        &["graph", "--format", "text", "--input", "-"],
    ] {
        let (code, text, error) = out(words);
        assert_eq!(code, Some(0), "{error}");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let narrower = if words[0] == "explain" { "5 ms" } else { shown };
        assert!(text.contains(narrower), "{words:?} does not show {narrower}: {text}");
    }
    let (_, explained, _) = out(&["explain", "aws", "azure:2379", "--input", "-"]);
    assert!(explained.contains(shown), "{explained}");
    let data: Value =
        serde_json::from_str(&out(&["test", "--format", "json", "--input", "-"]).1).expect("JSON");
    let regions = json!({ "from": "us-east-1", "to": "westeurope", "km": 6374.0 });
    assert!(
        data["conditions"].as_array().expect("ways").iter().any(|way| way["regions"] == regions),
        "{data:#}"
    );
    let (code, _, notes) = out(&["check", "--input", "-"]);
    assert_eq!(code, Some(0));
    assert!(
        notes.contains("warning[W003]: links.0.conditions.jitterMs: jitter is only in the lab"),
        "{notes}"
    );
    let mut moved = fixture("regions.json");
    moved["providers"]["azure"]["region"] = json!("northeurope");
    let directory = tempfile::tempdir().expect("a directory");
    let old = directory.path().join("old.json");
    std::fs::write(&old, &input).expect("it can be written");
    let output = run(&["diff", &old.display().to_string(), "-"], &moved.to_string());
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains(&format!("latency {shown} -> ")), "{text}");
}
