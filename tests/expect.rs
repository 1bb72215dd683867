//! Expectations: which flows each endpoint stands for, which flow is reported, which source lines, and which commands
//! check them.

use std::net::Ipv4Addr;

use nixvol_net::expect::{gets_through, hold, meant};
use nixvol_net::model::{Declaration, Endpoint, Expectation, Party, Protocol};
use nixvol_net::plan::Plan;
use nixvol_net::plan::policy::{ICMP, TCP, UDP};
use nixvol_net::reach::{Flow, Flows, Opener, Reach, Reason};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::reach::{Walk, input};
use crate::support::{declared, default_input, run};

/// Two providers with a link, a provider without internet, and a published port.
fn topology() -> Value {
    let mut input = default_input();
    input["links"] = json!([{ "from": ["aws"], "to": ["azure"], "protocol": "tcp", "ports": ["2379-2380"] }]);
    input["providers"]["gcp"]["internet"] = json!(false);
    input["volumes"]["etcd-1"]["publish"] = json!([2379]);
    input
}

/// The failure of an input's only expectation: the flow, its outcome and what declares it. None if the expectation
/// holds.
fn told(expectation: &Value) -> Option<String> {
    let mut input = topology();
    input["expect"] = json!([expectation]);
    let declaration = declared(&input);
    let held = hold(&declaration, &Plan::of(&declaration));
    let failure = held.into_iter().next().expect("one expectation").failure?;
    let Flow { opener, destination, protocol, port } = failure.flow;
    let source = match opener {
        Opener::ThisMac => "mac".to_owned(),
        Opener::Address(address) => address.to_string(),
    };
    let declared: Vec<String> = failure.declared.iter().map(ToString::to_string).collect();
    let fate = failure.outcome.fate;
    Some(format!("{source} -> {destination} {protocol}/{port} {fate} [{}]", declared.join(" ")))
}

#[test]
fn every_endpoint_has_expectations_that_hold_and_that_fail() {
    let rows: [(&str, &str, bool, Option<&str>); 24] = [
        ("aws", "etcd-2", true, Some("10.0.1.2 -> 10.1.1.2 6/443 refused []")),
        ("aws", "etcd-2", false, Some("10.0.1.2 -> 10.1.1.2 6/2379 passed [links.0]")),
        ("azure", "etcd-1", false, None),
        ("azure", "aws", true, Some("10.1.1.2 -> 10.0.1.2 6/443 refused []")),
        ("etcd-1", "talos-control-plane-1", true, None),
        ("aws", "aws", false, Some("10.0.2.2 -> 10.0.1.2 6/443 passed [providers.aws.network]")),
        ("aws", "internet", true, None),
        (
            "etcd-1",
            "internet",
            false,
            Some("10.0.1.2 -> 198.51.100.7 6/443 passed with NAT [providers.aws.internet]"),
        ),
        ("gcp", "internet", false, None),
        ("etcd-3", "internet", true, Some("10.2.1.2 -> 198.51.100.7 6/443 refused [providers.gcp.internet]")),
        ("internet", "any", false, None),
        ("internet", "etcd-1", true, Some("198.51.100.7 -> 10.0.1.2 6/443 dropped []")),
        ("lan", "any", false, None),
        ("lan", "etcd-1", true, Some("192.168.1.77 -> 10.0.1.2 6/443 dropped []")),
        ("aws", "lan", true, None),
        (
            "etcd-1",
            "lan",
            false,
            Some("10.0.1.2 -> 192.168.1.77 6/443 passed with NAT [providers.aws.internet]"),
        ),
        ("mac", "any", true, None),
        ("mac", "etcd-1", false, Some("mac -> 10.0.1.2 6/443 passed []")),
        ("internet", "mac", false, None),
        ("etcd-1", "mac", false, Some("10.0.1.2 -> 10.0.1.1 6/443 passed [providers.aws.network]")),
        ("localhost", "any", true, None),
        ("etcd-1", "localhost", false, Some("10.0.1.2 -> 127.0.0.1 6/443 passed []")),
        ("any", "etcd-1", false, Some("10.0.2.2 -> 10.0.1.2 6/443 passed [providers.aws.network]")),
        ("any", "any", true, Some("10.3.1.2 -> 10.2.1.2 6/443 refused []")),
    ];
    let mut wrong = Vec::new();
    for (from, to, passes, expected) in rows {
        let found = told(&json!({ "from": [from], "to": [to], "passes": passes }));
        if found.as_deref() != expected {
            wrong.push(format!("{from} -> {to} {passes}: {found:?}, expected {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_published_port_is_declared_by_its_volume() {
    let expectation =
        json!({ "from": ["mac"], "to": ["localhost"], "protocol": "tcp", "ports": [2379], "passes": false });
    let found = told(&expectation).expect("the alias answers");
    // Loopback addresses outside this network are open too, so the witness may be any of them.
    assert!(found.starts_with("mac -> 127."), "{found}");
    let expectation =
        json!({ "from": ["mac"], "to": ["any"], "protocol": "udp", "ports": [1], "passes": false });
    assert!(told(&expectation).expect("this Mac may").ends_with("17/1 passed []"));
}

#[test]
fn expectations_are_canonical_and_round_trip_through_the_bundle() {
    let mut input = topology();
    let first = json!({ "from": ["internet"], "to": ["any"], "passes": false, "why": "no way in" });
    let second = json!({ "from": ["etcd-1", "aws"], "to": ["azure"], "protocol": "tcp", "ports": ["2379-2380", 2379], "passes": true });
    input["expect"] = json!([first, second]);
    let one = declared(&input);
    input["expect"] = json!([second, first]);
    let other = declared(&input);
    let network = |declaration: &Declaration| {
        let bundle = nixvol_net::render::bundle(declaration, &Plan::of(declaration)).expect("a bundle");
        bundle.files["network.json"].text.clone()
    };
    assert_eq!(network(&one), network(&other), "the order of the list is in the bundle");
    let again =
        nixvol_net::model::read(network(&one).as_bytes()).expect("a bundle's network.json is an input");
    let said = |it: &Expectation| Expectation { index: 0, ..it.clone() };
    let all = |it: &Declaration| it.expectations.iter().map(said).collect::<Vec<_>>();
    assert_eq!(all(&one), all(&again));
    let held = hold(&other, &Plan::of(&other));
    let order: Vec<usize> = held.iter().map(|held| held.expectation.index).collect();
    assert_eq!(order, [0, 1], "they are told in the order of the user's list");
}

/// Whether an expectation covers a flow, decided independently from the endpoints' names.
fn is_meant(plan: &Plan, expectation: &Expectation, flow: &Flow, reason: Reason) -> bool {
    let provider = |address: Ipv4Addr| plan.bridges.iter().find(|bridge| bridge.region.contains(address));
    let is_lan = |address: Ipv4Addr| address.is_private() || address.is_link_local();
    let named = |party: &Party, address: Ipv4Addr| match party {
        Party::End(Endpoint::Provider(name)) => {
            provider(address).is_some_and(|bridge| bridge.provider == *name)
        }
        Party::End(Endpoint::Volume(name)) => {
            plan.volume(name).is_some_and(|volume| volume.address == address)
        }
        Party::Internet => provider(address).is_none() && !is_lan(address) && !address.is_loopback(),
        Party::Lan => provider(address).is_none() && is_lan(address),
        Party::Localhost => address.is_loopback(),
        Party::Mac | Party::Any => false,
    };
    let is_from = |party: &Party| match (party, flow.opener) {
        (Party::Any, _) => reason != Reason::NotOurs,
        (Party::Mac, opener) => opener == Opener::ThisMac,
        (_, Opener::ThisMac) => false,
        (party, Opener::Address(address)) => named(party, address),
    };
    let is_to = |party: &Party| match party {
        Party::Any => reason != Reason::NotOurs,
        Party::Mac => plan.bridges.iter().any(|bridge| bridge.gateway.addr() == flow.destination),
        party => named(party, flow.destination),
    };
    let is_ported = [TCP, UDP].contains(&flow.protocol);
    let protocol = expectation.protocol.is_none_or(|protocol| match protocol {
        Protocol::Tcp => flow.protocol == TCP,
        Protocol::Udp => flow.protocol == UDP,
        Protocol::Icmp => flow.protocol == ICMP,
    });
    let ports = expectation.ports.as_ref().is_none_or(|ports| is_ported && ports.contains(flow.port));
    expectation.from.iter().any(is_from) && expectation.to.iter().any(is_to) && protocol && ports
}

/// Flows between all addresses that a small network distinguishes.
fn grid(plan: &Plan) -> Vec<Flow> {
    let fixed =
        ["10.0.0.9", "10.1.9.2", "10.2.7.7", "192.168.1.77", "169.254.1.1", "203.0.113.7", "127.0.0.1"];
    let fixed = fixed.map(|address| address.parse::<Ipv4Addr>().expect("an address"));
    let gateways = plan.bridges.iter().map(|bridge| bridge.gateway.addr());
    let volumes = plan.volumes.iter().flat_map(|volume| [Some(volume.address), volume.alias]).flatten();
    let addresses: Vec<Ipv4Addr> = fixed.into_iter().chain(gateways).chain(volumes).collect();
    let openers: Vec<Opener> =
        addresses.iter().map(|address| Opener::Address(*address)).chain([Opener::ThisMac]).collect();
    let services = [(TCP, 80), (TCP, 443), (UDP, 80), (ICMP, 0), (47, 0)];
    let mut all = Vec::new();
    for opener in openers {
        for destination in &addresses {
            let flow = |(protocol, port)| Flow { opener, destination: *destination, protocol, port };
            all.extend(services.map(flow));
        }
    }
    all
}

fn expectation() -> impl Strategy<Value = Value> {
    let words = vec!["aws", "azure", "etcd-1", "etcd-2", "internet", "lan", "mac", "localhost", "any"];
    let ends = move || proptest::sample::subsequence(words.clone(), 1..=3);
    let service = prop_oneof![
        2 => Just(json!({})),
        1 => Just(json!({ "protocol": "tcp" })),
        1 => Just(json!({ "protocol": "icmp" })),
        2 => Just(json!({ "protocol": "tcp", "ports": ["79-81"] })),
        1 => Just(json!({ "ports": [80] })),
    ];
    (ends(), ends(), service, any::<bool>()).prop_map(|(from, to, mut all, passes)| {
        all["from"] = json!(from);
        all["to"] = json!(to);
        all["passes"] = json!(passes);
        all
    })
}

proptest! {
    #![proptest_config(crate::support::cases(40))]

    /// An expectation covers exactly the flows that its endpoints name. It fails if any sampled flow has another
    /// outcome, and the reported flow is covered and has that outcome at the hooks of macOS.
    #[test]
    fn expectations_agree_with_testing_every_flow(mut input in input(), all in proptest::collection::vec(expectation(), 4)) {
        input["expect"] = json!(all);
        let declaration = declared(&input);
        let plan = Plan::of(&declaration);
        let mut flows = Flows::default();
        let reach = Reach::of(&mut flows, &plan);
        let walk = Walk::of(&plan);
        let grid = grid(&plan);
        for held in hold(&declaration, &plan) {
            let expectation = held.expectation;
            let set = meant(&mut flows, &reach, &plan, expectation);
            let mut otherwise = None;
            for flow in &grid {
                let reason = reach.outcome_of(&flows, flow).reason;
                let is_meant = is_meant(&plan, expectation, flow, reason);
                prop_assert_eq!(flows.holds(set, flow), is_meant, "{:?} {:?}", expectation, flow);
                if is_meant && gets_through(walk.fate(flow).0) != expectation.passes {
                    otherwise = Some(*flow);
                }
            }
            match held.failure {
                None => prop_assert_eq!(otherwise, None, "{:?} is said to hold", expectation),
                Some(failure) => {
                    prop_assert!(flows.holds(set, &failure.flow), "{:?} {:?}", expectation, failure);
                    let fate = walk.fate(&failure.flow).0;
                    prop_assert_eq!(fate, failure.outcome.fate, "{:?}", failure);
                    prop_assert!(gets_through(fate) != expectation.passes, "{:?} {:?}", expectation, failure);
                }
            }
        }
    }
}

/// An input whose link contradicts its expectation, and the path of its source file.
fn contradicted(directory: &std::path::Path) -> (String, String) {
    let nix = directory.join("network.nix");
    let source = "{\n  links = [\n    { from = [ \"aws\" ]; to = [ \"azure\" ]; protocol = \"tcp\"; ports = [ \"2379-2380\" ]; }\n  ];\n  \
                  expect = [\n    { from = [ \"karpenter-worker-1\" ]; to = [ \"etcd-2\" ]; passes = false; why = \"keep\\nout\"; }\n  ];\n}\n";
    std::fs::write(&nix, source).expect("a file");
    let mut input = topology();
    input["expect"] =
        json!([{ "from": ["karpenter-worker-1"], "to": ["etcd-2"], "passes": false, "why": "keep\nout" }]);
    let place = |line: usize| json!({ "file": nix, "line": line, "column": 7 });
    input["positions"] = json!({ "links.0": place(3), "expect.0": place(6) });
    (input.to_string(), nix.display().to_string())
}

#[test]
fn a_failing_expectation_is_reported_with_both_places_and_the_rule() {
    let directory = tempfile::tempdir().expect("a directory");
    let (input, nix) = contradicted(directory.path());
    let ran = run(&["check", "--input", "-"], &input);
    assert_eq!(ran.status.code(), Some(1));
    assert!(ran.stdout.is_empty());
    let said = String::from_utf8(ran.stderr).expect("UTF-8").replace(&nix, "network.nix");
    insta::with_settings!({ snapshot_path => "snapshots/problems", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("expectation", said);
    });
}

#[test]
fn a_network_that_fails_an_expectation_is_not_written() {
    let directory = tempfile::tempdir().expect("a directory");
    let (input, _) = contradicted(directory.path());
    let at = |name: &str| directory.path().join(name).display().to_string();
    let (out, page, accepted) = (at("bundle"), at("page.html"), at("accepted"));
    let plain = topology().to_string();
    let ran = run(&["snapshot", "accept", "--input", "-", "--dir", &accepted], &plain);
    assert_eq!(ran.status.code(), Some(0), "{}", String::from_utf8_lossy(&ran.stderr));
    let commands: [&[&str]; 6] = [
        &["render", "--input", "-", "--out", &out],
        &["test", "--input", "-"],
        &["test", "--input", "-", "--format", "json"],
        &["snapshot", "check", "--input", "-", "--dir", &accepted],
        &["snapshot", "accept", "--input", "-", "--dir", &out],
        &["report", "--input", "-", "--out", &page],
    ];
    for command in commands {
        let ran = run(command, &input);
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.code(), Some(1), "{command:?}: {said}");
        assert!(said.contains("error: expect.0: none of this may get through"), "{command:?}: {said}");
        if command.ends_with(&["--format", "json"]) {
            let data: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
            assert_eq!((&data["proven"], &data["expectations"][0]["holds"]), (&json!(true), &json!(false)));
        } else {
            assert!(ran.stdout.is_empty(), "{command:?}");
        }
    }
    assert!(!std::path::Path::new(&out).exists() && !std::path::Path::new(&page).exists());
}

#[test]
fn verify_checks_the_expectations_of_a_bundle() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut input = topology();
    input["expect"] =
        json!([{ "from": ["aws"], "to": ["azure"], "protocol": "tcp", "ports": [2379], "passes": true }]);
    let out = directory.path().join("bundle").display().to_string();
    let ran = run(&["render", "--input", "-", "--out", &out], &input.to_string());
    assert_eq!(ran.status.code(), Some(0), "{}", String::from_utf8_lossy(&ran.stderr));
    let verify = |arguments: &[&str], code: i32| {
        let ran = run(&[&["verify", &out], arguments].concat(), "");
        assert_eq!(ran.status.code(), Some(code), "{}", String::from_utf8_lossy(&ran.stderr));
        [ran.stdout, ran.stderr].map(|bytes| String::from_utf8(bytes).expect("UTF-8"))
    };
    let [said, _] = verify(&[], 0);
    assert!(said.ends_with("as expected: 1 expectation holds, for all packets\n"), "{said}");
    // Editing the expectation in the bundle changes the verdict on the same rules.
    let network = std::path::Path::new(&out).join("network.json");
    let text = std::fs::read_to_string(&network).expect("a file");
    assert!(text.contains("\"passes\": true"), "{text}");
    std::fs::write(&network, text.replace("\"passes\": true", "\"passes\": false")).expect("a file");
    let [said, told] = verify(&[], 1);
    assert!(told.contains("error: expect.0: none of this may get through"), "{told}");
    assert!(told.contains("by pf/anchor.conf:"), "{told}");
    assert!(!said.contains("as expected"), "{said}");
    let data: Value = serde_json::from_str(&verify(&["--format", "json"], 1)[0]).expect("JSON");
    assert_eq!(data["expectations"][0]["holds"], json!(false));
    assert_eq!(data["expectations"][0]["witness"]["port"], json!(2379));
}

#[test]
fn expectations_are_counted_in_text_and_listed_in_json() {
    let mut input = topology();
    input["expect"] = json!([
        { "from": ["internet"], "to": ["any"], "passes": false, "why": "no way in" },
        { "from": ["aws"], "to": ["azure"], "protocol": "tcp", "ports": [2379], "passes": true },
    ]);
    let said = |arguments: &[&str], input: &Value, code: i32| {
        let ran = run(arguments, &input.to_string());
        assert_eq!(ran.status.code(), Some(code), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).expect("UTF-8")
    };
    let text = said(&["check", "--input", "-"], &input, 0);
    assert!(text.ends_with(": valid; 2 expectations hold\n"), "{text}");
    let text = said(&["test", "--input", "-"], &input, 0);
    assert!(text.contains("\nas expected: 2 expectations hold, for all packets\n"), "{text}");
    for command in ["check", "test"] {
        let text = said(&[command, "--input", "-", "--format", "json"], &input, 0);
        let data: Value = serde_json::from_str(&text).expect("JSON");
        let holds: Vec<&Value> = data["expectations"].as_array().expect("a list").iter().collect();
        assert_eq!(holds.len(), 2);
        assert!(holds.iter().all(|it| it["holds"] == json!(true) && it["witness"] == Value::Null));
    }
    input["expect"][1]["ports"] = json!([2381]);
    let text = said(&["check", "--input", "-", "--format", "json"], &input, 1);
    let data: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(data["problems"], json!([]));
    let failing = &data["expectations"][1];
    assert_eq!(failing["holds"], json!(false));
    let witness = &failing["witness"];
    assert_eq!(witness["explain"], json!("nixvol-net explain etcd-1 etcd-2:2381"));
    assert!(witness["rule"].as_str().expect("a rule").starts_with("pf/anchor.conf:"), "{witness}");
    let text = said(&["check", "--input", "-", "--format", "sarif"], &input, 1);
    let log: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(log["runs"][0]["results"][0]["ruleId"], json!("expectation"));
}

#[test]
fn the_report_lists_the_expectations() {
    let mut input = topology();
    input["expect"] = json!([
        { "from": ["internet"], "to": ["any"], "passes": false, "why": "<no> way in\u{202e}" },
        { "from": ["etcd-1", "aws"], "to": ["azure"], "protocol": "tcp", "ports": ["2379-2380"], "passes": true },
    ]);
    let page = crate::report::page(&input, &[]);
    let section = crate::report::between(&page, "<section id=\"expectations\"", "</section>");
    assert!(section.contains("internet -&gt; any, any protocol: nothing gets through"), "{section}");
    assert!(section.contains("&lt;no&gt; way in\\u{202e}"), "{section}");
    assert!(section.contains("aws, etcd-1 -&gt; azure, tcp 2379-2380: everything gets through"), "{section}");
    assert!(!crate::report::page(&topology(), &[]).contains("expectations"));
}

#[test]
fn an_edit_against_an_expectation_is_not_written() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("network.nix");
    let text = "{\n  services.nixvol-net = {\n    preset = \"multi-cloud\";\n    links = [ { from = [ \"ibm\" ]; to = [ \"gcp\" ]; } ];\n    expect = [ { from = [ \"aws\" ]; to = [ \"gcp\" ]; passes = false; } ];\n  };\n}\n";
    std::fs::write(&file, text).expect("a file");
    let name = file.display().to_string();
    let add = ["add", "link", "--from", "aws", "--to", "etcd-3", "--file", &name];
    let ran = run(&add, "");
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(2), "{said}");
    assert!(said.contains("expect.0: none of this may get through"), "{said}");
    assert_eq!(std::fs::read_to_string(&file).expect("the file"), text);
    let add = ["add", "link", "--from", "aws", "--to", "azure", "--file", &name];
    let ran = run(&add, "");
    assert_eq!(ran.status.code(), Some(0), "{}", String::from_utf8_lossy(&ran.stderr));
}
