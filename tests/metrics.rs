//! `status` as metrics: the grammar of OpenMetrics, promtool's verdict where it is installed, and every number against
//! the capture.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nixvol_net::darwin;
use serde_json::json;

use crate::network::{AWKS, Network, SHELLS, small};
use crate::support::{is_long, run};
use crate::tools::tool;

/// The samples of a page, each value as it is written, by name and labels.
type Samples = BTreeMap<String, String>;

/// Whether a text is a valid name of a metric or label.
fn is_name(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The labels between braces, with quotes, backslashes and newlines in their values unescaped.
fn labels(mut text: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"").expect("a label has a value");
        assert!(is_name(name), "{name}");
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next().expect("a value ends") {
                (_, '\\') => match chars.next().expect("something is escaped").1 {
                    'n' => value.push('\n'),
                    it @ ('\\' | '"') => value.push(it),
                    other => panic!("{other} is escaped"),
                },
                (at, '"') => break at,
                (_, it) => value.push(it),
            }
        };
        all.push((name.to_owned(), value));
        text = &rest[end + 1..];
        text = text.strip_prefix(',').unwrap_or(text);
    }
    all
}

/// Parses a page by the grammar: each family is contiguous, has a type and help, and only its own samples.
fn read(page: &str) -> Samples {
    let body = page.strip_suffix("# EOF\n").expect("it ends with the mark of its end");
    let mut samples = Samples::new();
    let mut families = BTreeSet::new();
    let (mut name, mut kind) = (String::new(), String::new());
    for line in body.lines() {
        assert!(!line.is_empty() && line.trim() == line, "{line:?}");
        if let Some(rest) = line.strip_prefix("# ") {
            let words: Vec<&str> = rest.splitn(3, ' ').collect();
            let [keyword, of, what] = words[..] else { panic!("{line}") };
            match keyword {
                "TYPE" => {
                    assert!(families.insert(of.to_owned()), "{of} comes twice");
                    assert!(is_name(of) && of.starts_with("nixvol_") && !of.ends_with("_total"), "{of}");
                    assert!(matches!(what, "gauge" | "counter"), "textfile collectors know no {what}");
                    (name, kind) = (of.to_owned(), what.to_owned());
                }
                "UNIT" => assert!(of == name && name.ends_with(&format!("_{what}")), "{line}"),
                "HELP" => assert!(of == name && what.ends_with('.') && !what.contains('"'), "{line}"),
                other => panic!("{other}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let of = series.split('{').next().expect("a name");
        let wanted = if kind == "counter" { format!("{name}_total") } else { name.clone() };
        assert_eq!(of, wanted, "{line}");
        if let Some(rest) = series.strip_prefix(of).filter(|rest| !rest.is_empty()) {
            let inside = rest.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).expect("braces");
            let names: Vec<String> = labels(inside).into_iter().map(|(name, _)| name).collect();
            assert!(!names.is_empty() && names.is_sorted(), "{names:?}");
        }
        let number: f64 = value.parse().expect("a number");
        assert!(number.is_finite() && (kind != "counter" || number >= 0.0));
        assert!(samples.insert(series.to_owned(), value.to_owned()).is_none(), "{series} comes twice");
    }
    promtool(page);
    samples
}

/// Checks the page with promtool. It expects Prometheus' text format, in which `_total` is part of a counter's name in
/// the help too.
fn promtool(page: &str) {
    let Some(promtool) = tool("promtool") else { return };
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    child.stdin.take().expect("a pipe").write_all(page.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    for line in said.lines() {
        assert!(line.starts_with("nixvol_") && line.ends_with("_total no help text"), "{said}");
    }
}

fn collected(network: &Network, name: &str) -> std::path::PathBuf {
    let directory = network.mac.dir().join(name);
    network.ok(&format!("logs --collect {}", directory.display()));
    directory
}

/// Exit code and page of a capture.
fn page(directory: &Path) -> (Option<i32>, String) {
    let output = run(&["status", "--from", &directory.display().to_string(), "--format", "openmetrics"], "");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(!text.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

/// The page that the manager prints, held against the program's: the same families, series and values.
fn both(network: &Network, name: &str) -> Samples {
    let ran = network.run("status --format openmetrics");
    let (code, text) = page(&collected(network, name));
    assert_eq!(Some(ran.code), code, "{}", ran.err);
    let (manager, program) = (read(&ran.out), read(&text));
    let series = |samples: &Samples| samples.keys().cloned().collect::<Vec<_>>();
    assert_eq!(series(&manager), series(&program), "{name}");
    for (series, value) in &manager {
        let number = |text: &str| text.parse::<f64>().expect("a number");
        // The program counts findings, the manager the changes that it would make.
        if series.starts_with("nixvol_drift{") {
            assert_eq!(number(value) > 0.0, number(&program[series]) > 0.0, "{name}: {series} {value}");
            continue;
        }
        assert!((number(value) - number(&program[series])).abs() < 1e-12, "{name}: {series} {value}");
    }
    let families = |page: &str| {
        page.lines().filter(|line| line.starts_with('#')).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    assert_eq!(families(&ran.out), families(&text));
    manager
}

#[test]
fn the_manager_prints_the_same_metrics() {
    let all = if is_long() { &[(1, 1), (0, 0), (2, 2)][..] } else { &[(1, 1)] };
    for &(shell, awk) in all {
        let mut network = started();
        network.under(SHELLS[shell], AWKS[awk]);
        // Counters of links and of other rules, some of several rules with one label.
        let probed = network.run("test");
        assert!(probed.out.contains(" tried, "), "{}", probed.out);
        network.mac.forget_journal();
        network.ok("status");
        let commands = network.mac.journal().len();
        network.mac.forget_journal();
        let samples = both(&network, "up");
        assert!(samples.keys().any(|it| it.starts_with("nixvol_rule_packets_total{")), "{samples:#?}");
        network.mac.forget_journal();
        network.ok("status --format openmetrics");
        assert_eq!(network.mac.journal().len(), commands + 1, "pf's counters");
        if shell != 1 {
            continue;
        }
        network.ok("partition aws --for 1h");
        network.ok("slow etcd-1 ibm --latency 5 --loss 0.001");
        let samples = both(&network, "faults");
        let cut = "{action=\"partition\",from=\"aws\",to=\"any\"}";
        assert_eq!(samples[&format!("nixvol_fault_in_force{cut}")], "1");
        let deadline: u64 =
            samples[&format!("nixvol_fault_deadline_timestamp_seconds{cut}")].parse().expect("a time");
        assert!(deadline > 1_700_000_000);
        let slow = "{action=\"slow\",from=\"etcd-1\",to=\"ibm\"}";
        assert_eq!(samples[&format!("nixvol_fault_in_force{slow}")], "1");
        assert!(!samples.contains_key(&format!("nixvol_fault_deadline_timestamp_seconds{slow}")));
        network.mac.ok("pfctl -a com.apple/249.nixvol-faults -F all");
        let samples = both(&network, "lost");
        assert_eq!(
            [&samples[&format!("nixvol_fault_in_force{cut}")], &samples["nixvol_drift{part=\"faults\"}"]],
            ["0", "1"]
        );
        network.ok("heal");
        network.mac.ok("ifconfig lo0 inet 10.0.1.2 -alias");
        assert_eq!(both(&network, "drifted")["nixvol_volume_up{provider=\"aws\",volume=\"etcd-1\"}"], "0");
        for (name, damage) in [
            ("forwarding", "sysctl -w net.inet.ip.forwarding=0"),
            ("rules", "pfctl -a com.apple/250.nixvol -F all"),
            ("pipe", "dnctl pipe 20000 config delay 1"),
            ("provider", "ifconfig bridge2000 destroy"),
        ] {
            network.mac.ok(damage);
            assert_ne!(both(&network, name)[&format!("nixvol_drift{{part=\"{name}\"}}")], "0", "{damage}");
        }
        network.ok("reconcile");
        network.ok("stop");
        both(&network, "stopped");
        network.ok("start --confirm-within 600");
        assert_eq!(both(&network, "pending")["nixvol_pending_confirm"], "1");
        network.ok("confirm");
        for (command, why) in [
            ("status --format xml", "--format takes text, json or openmetrics, not 'xml'"),
            ("status --format", "--format takes text, json or openmetrics, not ''"),
            ("plan --format openmetrics", "--format takes text or json, not 'openmetrics'"),
        ] {
            network.fails(command, 2, why);
        }
        assert_eq!(network.ok("status --format json"), network.ok("status --json"));
        assert_eq!(network.ok("plan --format json"), network.ok("plan --json"));
        network.ok("cleanup");
    }
}

/// The program's `status` shows what is cut and slow, as the manager's does.
#[test]
fn faults_are_in_the_status_of_the_program() {
    let network = started();
    network.ok("partition etcd-1 --for 1h");
    network.ok("slow aws ibm --latency 5 --loss 0.5");
    let told = |directory: &Path, format: &str| {
        let output = run(&["status", "--from", &directory.display().to_string(), "--format", format], "");
        String::from_utf8(output.stdout).expect("text")
    };
    let lines = |text: &str| {
        text.lines().filter(|line| line.starts_with("fault ")).map(str::to_owned).collect::<Vec<_>>()
    };
    for (name, state) in [("cut", "in force"), ("lost", "not in force"), ("restarted", "over")] {
        match name {
            "lost" => drop(network.mac.ok("pfctl -a com.apple/249.nixvol-faults -F all")),
            "restarted" => network.mac.reboot(),
            _ => {}
        }
        let directory = collected(&network, name);
        let (program, manager) = (told(&directory, "text"), network.run("status").out);
        assert_eq!((lines(&program), lines(&program).len()), (lines(&manager), 2));
        assert!(program.contains(&format!(" ({state})\n")), "{program}");
        let program: serde_json::Value = serde_json::from_str(&told(&directory, "json")).expect("JSON");
        assert_eq!(program["faults"], network.status().1["faults"]);
        let found =
            program["findings"].as_array().expect("findings").iter().any(|it| it["about"] == "faults");
        assert_eq!(found, name == "lost");
    }
}

/// A network with conditions that is up.
fn started() -> Network {
    let mut input = small();
    input["providers"]["gcp"] = json!({ "network": "10.9.0.0/16", "gateway": "10.9.1.1/24" });
    input["links"] = json!([{ "from": ["aws"], "to": ["gcp"], "protocol": "tcp", "ports": [443],
        "conditions": { "latencyMs": 40, "loss": 0.001, "bandwidthKbit": 8 } }]);
    let network = Network::new(&input);
    network.ok("start");
    network
}

#[test]
fn a_healthy_network_has_the_expected_values() {
    let network = started();
    let directory = collected(&network, "up");
    // A label that two rules share, and a line that cannot be parsed.
    let labels = "link:aws:gcp:tcp:443 9 30 3000 10 1000 20 2000\nbetween 5 4 40 3 30 1 10\nbetween 5 2 20 2 20 0 0\nnonsense\n";
    fs::write(directory.join("pfctl-anchor-labels"), labels).expect("a capture");
    let (code, text) = page(&directory);
    assert_eq!(code, Some(0));
    let samples = read(&text);
    for (series, value) in [
        ("nixvol_wished_up", "1"),
        ("nixvol_healthy", "1"),
        ("nixvol_pending_confirm", "0"),
        ("nixvol_start_refusals", "0"),
        ("nixvol_drift{part=\"rules\"}", "0"),
        ("nixvol_provider_up{provider=\"aws\"}", "1"),
        ("nixvol_volume_up{provider=\"aws\",volume=\"etcd-1\"}", "1"),
        ("nixvol_pipe_up{path=\"aws -> gcp\",pipe=\"20000\"}", "1"),
        ("nixvol_pipe_latency_seconds{path=\"aws -> gcp\",pipe=\"20000\"}", "0.04"),
        ("nixvol_pipe_loss_ratio{path=\"aws -> gcp\",pipe=\"20000\"}", "0.001"),
        ("nixvol_pipe_bandwidth_bytes_per_second{path=\"aws -> gcp\",pipe=\"20000\"}", "1000"),
        ("nixvol_link_packets_total{direction=\"in\",link=\"aws:gcp:tcp:443\"}", "10"),
        ("nixvol_link_packets_total{direction=\"out\",link=\"aws:gcp:tcp:443\"}", "20"),
        ("nixvol_link_bytes_total{direction=\"out\",link=\"aws:gcp:tcp:443\"}", "2000"),
        ("nixvol_rule_packets_total{direction=\"in\",rule=\"between\"}", "5"),
        ("nixvol_rule_bytes_total{direction=\"out\",rule=\"between\"}", "10"),
    ] {
        assert_eq!(samples.get(series).map(String::as_str), Some(value), "{series}\n{text}");
    }
    let capture = |file: &str| fs::read_to_string(directory.join(file)).expect("a file of the capture");
    let states = darwin::states(&capture("pfctl-info"), &capture("pfctl-memory")).expect("states");
    assert_eq!(samples["nixvol_pf_states"], states.0.to_string());
    assert_eq!(samples["nixvol_pf_states_limit"], states.1.to_string());
    let build = format!(
        "nixvol_build_info{{anchor=\"com.apple/250.nixvol\",version=\"{}\"}} 1\n",
        env!("CARGO_PKG_VERSION")
    );
    assert!(text.contains(&build), "{text}");
}

#[test]
fn drift_a_stop_and_a_pending_confirmation_are_reported() {
    let network = started();
    network.mac.ok("ifconfig lo0 inet 10.0.1.2 -alias");
    let (code, text) = page(&collected(&network, "drifted"));
    assert_eq!(code, Some(1));
    let samples = read(&text);
    assert_eq!([&samples["nixvol_healthy"], &samples["nixvol_drift{part=\"volume\"}"]], ["0", "1"], "{text}");
    assert_eq!(samples["nixvol_volume_up{provider=\"aws\",volume=\"etcd-1\"}"], "0");
    network.ok("stop");
    let (_, text) = page(&collected(&network, "stopped"));
    let samples = read(&text);
    assert_eq!([&samples["nixvol_wished_up"], &samples["nixvol_healthy"]], ["0", "1"], "{text}");
    network.ok("start --confirm-within 60");
    let (_, text) = page(&collected(&network, "pending"));
    assert_eq!(read(&text)["nixvol_pending_confirm"], "1", "{text}");
    network.ok("confirm");
    let (_, text) = page(&collected(&network, "confirmed"));
    assert_eq!(read(&text)["nixvol_pending_confirm"], "0", "{text}");
}

#[test]
fn missing_values_are_left_out_and_hostile_labels_are_escaped() {
    let network = started();
    let directory = collected(&network, "less");
    for file in ["pfctl-anchor-labels", "pfctl-info", "dnctl-list"] {
        fs::remove_file(directory.join(file)).expect("a file of the capture");
    }
    let (_, text) = page(&directory);
    let samples = read(&text);
    for family in ["nixvol_link_packets", "nixvol_rule_bytes", "nixvol_pf_states", "nixvol_pipe_up"] {
        assert!(!samples.keys().any(|series| series.starts_with(family)), "{family}\n{text}");
    }
    let hostile = "a\"} 1 x\\n 1 2 3 4 5 6 7\nlink:\\ 1 2 3 4 5 6 18446744073709551615\n1 2 3 4 5 6 7\n";
    fs::write(directory.join("pfctl-anchor-labels"), hostile).expect("a capture");
    let (_, text) = page(&directory);
    let samples = read(&text);
    assert_eq!(samples["nixvol_link_bytes_total{direction=\"out\",link=\"\\\\\"}"], u64::MAX.to_string());
    assert_eq!(
        samples["nixvol_rule_packets_total{direction=\"in\",rule=\"a\\\"} 1 x\\\\n\"}"], "4",
        "{text}"
    );
}
