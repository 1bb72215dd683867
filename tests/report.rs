//! The page: it says what the other commands say, answers as `explain` does, and lets nothing in or out.
//!
//! What its script does is `browser`'s story.

use std::collections::BTreeMap;

use base64::Engine;
use nixvol_net::explain::{ExplainError, ExplainedRules, Question, explain};
use nixvol_net::model::Declaration;
use nixvol_net::plan::Plan;
use nixvol_net::render::{ANCHOR, bundle};
use roxmltree::{Document, Node, ParsingOptions};
use serde_json::{Value, json};
use sha2::Digest;

use crate::sizes;
use crate::support::{Shape, declared, default_input, fixture, names, program, providers, root, run};

/// The page of an input, as the program writes it.
pub fn page(input: &Value, arguments: &[&str]) -> String {
    let output = run(&[&["report", "--input", "-", "--out", "-"], arguments].concat(), &input.to_string());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The default with links, masquerading, published ports, and a guest.
fn published() -> Value {
    let mut input = default_input();
    input["volumes"]["etcd-1"]["publish"] = json!([2379, 2380]);
    input["volumes"]["etcd-3"]["attachment"] = json!("guest");
    input["links"][0]["masquerade"] = json!(true);
    input
}

/// Guests, links of volumes and of providers in one direction and in both, a provider without internet, a network that is partly
/// another's, and conditions.
fn mixed() -> Value {
    let mut input = default_input();
    input["providers"]["ibm"]["internet"] = json!(false);
    input["allowOverlap"] = json!(["10.2.128.0/17"]);
    for guest in ["etcd-2", "karpenter-worker-1", "talos-control-plane-4"] {
        input["volumes"][guest]["attachment"] = json!("guest");
    }
    input["volumes"]["etcd-1"]["publish"] = json!([2379]);
    input["links"] = json!([
        { "from": ["etcd-1", "etcd-2", "etcd-3"], "to": ["etcd-1", "etcd-2", "etcd-3"], "protocol": "tcp", "ports": ["2379-2380"] },
        { "from": ["aws"], "to": ["azure", "ibm"], "protocol": "tcp", "ports": [443, 6443], "masquerade": true },
        { "from": ["gcp"], "to": ["digitalocean"], "bidirectional": true, "conditions": { "latencyMs": 30 } },
        { "from": ["karpenter-worker-3"], "to": ["aws"], "ports": [53] },
        { "from": ["ibm"], "to": ["gcp"], "protocol": "icmp" },
        { "from": ["azure"], "to": ["etcd-1"], "protocol": "tcp", "ports": [2380, 9100], "conditions": { "latencyMs": 5, "loss": 0.5 } },
    ]);
    input
}

pub fn inputs() -> Vec<(&'static str, Value)> {
    vec![
        ("default", default_input()),
        ("restricted", fixture("restricted.json")),
        ("rich", fixture("rich.json")),
        ("published", published()),
        ("conditions", fixture("ways.json")),
        ("mixed", mixed()),
    ]
}

/// What stands between two marks.
pub fn between<'a>(page: &'a str, from: &str, to: &str) -> &'a str {
    let start = page.find(from).unwrap_or_else(|| panic!("no {from}")) + from.len();
    &page[start..start + page[start..].find(to).unwrap_or_else(|| panic!("no {to}"))]
}

fn script(page: &str) -> &str {
    between(page, "</script>\n<script>", "</script>")
}

fn data(page: &str) -> &str {
    between(page, "<script type=\"application/json\" id=\"data\">", "</script>")
}

/// The page as XML, without what is not a markup in it.
fn markup(page: &str) -> String {
    page.replace(script(page), "").replace(data(page), "")
}

fn parsed(markup: &str) -> Document<'_> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    Document::parse_with_options(markup, options).unwrap_or_else(|error| panic!("{error}"))
}

fn by_id<'a>(document: &'a Document, id: &str) -> Option<Node<'a, 'a>> {
    document.descendants().find(|node| node.attribute("id") == Some(id))
}

fn text(node: Node) -> String {
    node.descendants().filter(Node::is_text).filter_map(|node| node.text()).collect()
}

/// The words of a header, without the mark of a provider.
fn named(node: Node) -> String {
    let is_mark = |node: &Node| node.ancestors().any(|node| node.has_tag_name("i"));
    let words = node.descendants().filter(|node| node.is_text() && !is_mark(node));
    words.filter_map(|node| node.text()).collect::<String>().trim().to_owned()
}

/// A table's cells: by the name of the row, by the name of the column, the word.
fn matrix(document: &Document, id: &str) -> BTreeMap<(String, String), String> {
    let table = by_id(document, id).expect("a matrix");
    let tagged = |node: Node, name: &str| node.has_tag_name(name);
    let columns: Vec<String> = table
        .descendants()
        .filter(|node| tagged(*node, "th") && node.attribute("scope") == Some("col"))
        .map(named)
        .collect();
    let mut cells = BTreeMap::new();
    for row in table.descendants().filter(|node| node.has_tag_name("tr")) {
        let header =
            row.children().find(|node| tagged(*node, "th") && node.attribute("scope") == Some("row"));
        let Some(header) = header else { continue };
        let summary = header.descendants().find(|node| tagged(*node, "summary"));
        let name = named(summary.unwrap_or(header));
        for (column, cell) in columns.iter().zip(row.children().filter(|node| tagged(*node, "td"))) {
            cells.insert((name.clone(), column.clone()), text(cell));
        }
    }
    cells
}

#[test]
fn the_page_is_self_contained_and_allows_only_its_own_script() {
    for (topology, input) in inputs() {
        let page = page(&input, &[]);
        let markup = markup(&page);
        let document = parsed(&markup);
        let policy = document
            .descendants()
            .find(|node| node.attribute("http-equiv") == Some("Content-Security-Policy"))
            .and_then(|node| node.attribute("content"))
            .expect("a policy");
        let hash = base64::prelude::BASE64_STANDARD.encode(sha2::Sha256::digest(script(&page)));
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert!(policy.contains(&format!("script-src 'sha256-{hash}';")), "{topology}: {policy}");
        for node in document.descendants().filter(Node::is_element) {
            for attribute in node.attributes() {
                let (name, value) = (attribute.name(), attribute.value());
                assert!(!name.starts_with("on") && name != "src", "{topology}: {name}");
                assert!(name != "href" || value.starts_with('#'), "{topology}: {value}");
            }
        }
        let links = document.descendants().filter_map(|node| node.attribute("href"));
        for link in links {
            assert!(by_id(&document, &link[1..]).is_some(), "{topology}: {link} leads nowhere");
        }
        for word in ["@import", "url("] {
            assert!(!page.contains(word), "{topology}: {word}");
        }
    }
}

#[test]
fn the_provider_matrix_is_the_one_that_test_prints() {
    for (topology, input) in inputs() {
        let page = page(&input, &[]);
        let markup = markup(&page);
        let document = parsed(&markup);
        let cells = matrix(&document, "provider-matrix");
        let output = run(&["test", "--input", "-", "--format", "json"], &input.to_string());
        let test: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let mut compared = 0;
        for (from, row) in test["reach"].as_object().expect("rows") {
            let is_provider = |name: &String| input["providers"].get(name).is_some();
            let providers = row.as_object().expect("cells").iter().filter(|(to, _)| is_provider(to));
            for (to, reach) in providers.filter(|_| is_provider(from)) {
                let expected = reach["reach"].as_str().expect("a word").replace("none", "-");
                assert_eq!(cells[&(from.clone(), to.clone())], expected, "{topology}: {from} to {to}");
                compared += 1;
            }
        }
        let providers = input["providers"].as_object().expect("providers").len();
        assert_eq!(compared, providers * providers);
        let internet = |from: &String| cells[&(from.clone(), "internet".to_owned())].clone();
        for (name, provider) in input["providers"].as_object().expect("providers") {
            let expected = if provider["internet"] == json!(false) { "-" } else { "NAT" };
            assert_eq!(internet(name), expected, "{topology}: {name}");
            assert_eq!(cells[&("internet".to_owned(), name.clone())], "-");
            assert_eq!(cells[&("this Mac".to_owned(), name.clone())], "all");
        }
    }
}

/// A network that questions are put to.
pub struct Network {
    declaration: Declaration,
    pub plan: Plan,
    anchor: String,
}

impl Network {
    pub fn of(input: &Value) -> Self {
        let declaration = declared(input);
        let plan = Plan::of(&declaration);
        let anchor = bundle(&declaration, &plan).expect("a bundle").files[ANCHOR].text.clone();
        Self { declaration, plan, anchor }
    }

    /// What `explain` says, or nothing where it refuses the question.
    pub fn explain(&self, from: &str, to: &str, protocol: &str) -> Option<nixvol_net::explain::Explanation> {
        let rules = ExplainedRules { anchor: &self.anchor, name: ANCHOR, captured: &[] };
        let protocol = (!protocol.is_empty()).then_some(protocol);
        let question = Question { source: from, destination: to, protocol, egress: "en0" };
        match explain(&self.declaration, &self.plan, &rules, &question) {
            Ok(explanation) => Some(explanation),
            Err(ExplainError::Question(_)) => None,
            Err(ExplainError::Rules(refused)) => panic!("{refused:?}"),
        }
    }
}

#[test]
fn the_volume_matrix_agrees_with_explain() {
    for (topology, input) in inputs() {
        let network = Network::of(&input);
        let page = page(&input, &[]);
        let markup = markup(&page);
        let document = parsed(&markup);
        let cells = matrix(&document, "volume-matrix");
        // Which row each volume is in.
        let mut group = BTreeMap::new();
        let table = by_id(&document, "volume-matrix").expect("a matrix");
        for header in table.descendants().filter(|node| node.attribute("scope") == Some("row")) {
            let summary = header.descendants().find(|node| node.has_tag_name("summary"));
            let name = named(summary.unwrap_or(header));
            let members: Vec<String> =
                header.descendants().filter(|node| node.has_tag_name("li")).map(text).collect();
            for member in if members.is_empty() { vec![name.clone()] } else { members } {
                group.insert(member, name.clone());
            }
        }
        assert_eq!(group.len(), network.plan.volumes.len(), "{topology}");
        let mut services: Vec<String> = ["icmp", "esp", "132", "udp 2379"].map(str::to_owned).to_vec();
        // Links without ports need no more than one.
        let ports = if group.len() > 8 {
            &[53, 443, 2379, 2380][..]
        } else {
            &[1, 53, 2378, 2379, 2381, 5432, 6443, 6444]
        };
        services.extend(ports.iter().flat_map(|port| [format!("tcp {port}"), format!("udp {port}")]));
        for (from, row) in &group {
            for (to, column) in group.iter().filter(|(to, _)| *to != from) {
                let passes = services.iter().filter(|service| {
                    let (protocol, port) = service.split_once(' ').unwrap_or((service, ""));
                    let to = if port.is_empty() { to.clone() } else { format!("{to}:{port}") };
                    network.explain(from, &to, protocol).expect("an answer").passes
                });
                let expected = match passes.count() {
                    0 => "-",
                    all if all == services.len() => "all",
                    _ => "some",
                };
                assert_eq!(cells[&(row.clone(), column.clone())], expected, "{topology}: {from} to {to}");
            }
        }
    }
}

#[test]
fn every_rule_names_the_declaration_it_comes_from() {
    for (topology, input) in inputs() {
        let page = page(&input, &[]);
        let markup = markup(&page);
        let document = parsed(&markup);
        let anchor = Network::of(&input).anchor;
        for (number, line) in (1..).zip(anchor.lines()) {
            let row = by_id(&document, &format!("L{number}")).expect("a line");
            let parts: Vec<String> = row.children().filter(Node::is_element).map(text).collect();
            assert_eq!(parts[1], line, "{topology}");
            let is_rule = ["scrub ", "pass ", "block ", "nat ", "rdr ", "no "]
                .iter()
                .any(|word| line.starts_with(word));
            assert!(!is_rule || !parts[2].trim().is_empty(), "{topology}: nothing asked for {line}");
            for link in line.split("label \"link:").skip(1) {
                assert!(parts[2].contains("links."), "{topology}: {link}: {}", parts[2]);
            }
        }
    }
}

#[test]
fn conditions_are_shown_only_where_there_are_some() {
    let with = page(&fixture("ways.json"), &[]);
    let markup = markup(&with);
    let document = parsed(&markup);
    let table = by_id(&document, "conditions").expect("a table");
    let rows: Vec<String> = table
        .descendants()
        .filter(|node| node.has_tag_name("tr"))
        .skip(1)
        .map(|row| row.children().map(text).collect::<Vec<_>>().join("|"))
        .collect();
    assert_eq!(
        rows,
        [
            "20000|aws|azure|40 ms|1%|100000 kbit/s",
            "20001|aws, azure|gcp|10 ms||",
            "20002|gcp|aws, azure|10 ms||",
            "20003|etcd-1|gcp||25%|",
        ]
    );
    // Each dummynet rule has its reason.
    for line in
        document.descendants().filter(|node| node.attribute("id").is_some_and(|id| id.starts_with('L')))
    {
        let told = text(line);
        if told.contains("dummynet out") && !told.contains('#') && !told.contains("no dummynet") {
            assert!(told.contains("links.") && told.contains(".conditions"), "{told}");
        }
    }
    let without = page(&default_input(), &[]);
    assert!(!without.contains("id=\"conditions\"") && !without.contains("pipe 2"), "none are declared");
}

#[test]
fn hostile_values_stay_in_their_place() {
    let mut input = fixture("rich.json");
    let hostile = "/Volumes/</script><script>alert(1)</script><!-- ' \" & {{ 7 }}";
    input["volumes"]["db"]["mountPoint"] = json!(hostile);
    input["positions"] =
        json!({ "links.0": { "file": "<img src=x onerror=alert(1)></script>.nix", "line": 1, "column": 1 } });
    let page = page(&input, &["--against", "tests/fixtures/restricted.json"]);
    assert_eq!(page.matches("<script").count(), 2);
    assert!(!page.contains("<img") && !page.contains("alert(1)</script>"));
    let markup = markup(&page);
    let document = parsed(&markup);
    assert!(document.descendants().any(|node| node.has_tag_name("td") && text(node) == hostile));
    let data: Value = serde_json::from_str(data(&page)).expect("JSON");
    assert!(data["places"].to_string().contains("</script>.nix"));
}

#[test]
fn a_difference_is_shown_by_signs_and_words() {
    let page = page(&fixture("restricted-more.json"), &["--against", "tests/fixtures/restricted.json"]);
    let markup = markup(&page);
    let document = parsed(&markup);
    let changes = by_id(&document, "changes").expect("changes");
    let output = program()
        .args(["diff", "tests/fixtures/restricted.json", "tests/fixtures/restricted-more.json"])
        .current_dir(root())
        .output()
        .expect("the program runs");
    let diff = String::from_utf8(output.stdout).expect("text");
    let mut count = 0;
    for item in changes.descendants().filter(|node| node.has_tag_name("li")) {
        let class = item.attribute("class").expect("a class");
        let headline = text(item.descendants().find(|node| node.has_tag_name("code")).expect("a headline"));
        assert!(diff.lines().any(|line| line == headline), "{headline}");
        let sign = match class {
            "more" => '+',
            "less" => '-',
            _ => '~',
        };
        assert!(headline.starts_with(sign), "{class}: {headline}");
        count += 1;
    }
    let signed = |line: &&str| line.starts_with(['+', '-', '~']);
    assert_eq!(count, diff.lines().filter(signed).count());
    // What a volume lost that moved, with its sign.
    let mut moved = fixture("restricted.json");
    moved["volumes"]["etcd-3"]["provider"] = json!("aws");
    moved["volumes"]["etcd-3"]["address"] = json!("10.0.1.9");
    let markup = self::markup(&self::page(&moved, &["--against", "tests/fixtures/restricted.json"]));
    let changes = by_id(&parsed(&markup), "changes").map(text).expect("changes");
    for told in ["~ moved etcd-3 from 10.2.1.2 of gcp to 10.0.1.9 of aws", "- may open gcp any protocol"] {
        assert!(changes.contains(told), "{told}: {changes}");
    }
    let same = self::page(&fixture("restricted.json"), &["--against", "tests/fixtures/restricted.json"]);
    assert!(same.contains(": no difference. Signs:"));
    assert!(!self::page(&default_input(), &[]).contains("id=\"changes\""));
}

/// Fifty providers and a thousand volumes, with links of every kind.
pub fn large() -> Value {
    let mut input = providers(50);
    for n in 0..1000 {
        let (provider, host) = (n % 50, n / 50 + 2);
        input["volumes"][format!("vol-{n}")] =
            json!({ "provider": format!("p{provider}"), "address": format!("10.0.{provider}.{host}") });
    }
    let ring = (0..50).map(|n| json!({ "from": [format!("p{n}")], "to": [format!("p{}", (n + 7) % 50)], "protocol": "tcp", "ports": [n + 1] }));
    let far = (0..30).map(
        |n| json!({ "from": [format!("vol-{n}")], "to": [format!("p{}", (n + 5) % 50)], "protocol": "udp" }),
    );
    let mesh = json!({ "from": names(50), "to": names(50), "protocol": "tcp", "ports": ["2379-2380"] });
    input["links"] = ring.chain(far).chain([mesh]).collect();
    input
}

#[test]
fn the_page_of_a_large_network_stays_small() {
    let page = page(&large(), &[]);
    assert!(page.len() < 1_500_000, "{} bytes", page.len());
    let markup = markup(&page);
    let document = parsed(&markup);
    assert_eq!(matrix(&document, "provider-matrix").len(), 50 * 52 + 2 * 50);
    // Thirty volumes have links of their own; the rest of each provider shares a row.
    assert_eq!(matrix(&document, "volume-matrix").len(), 80 * 80);
}

#[test]
fn tables_that_are_too_large_are_left_out() {
    let page = page(&providers(130), &[]);
    assert!(page.contains("<p>130 providers are too many for a table. Ask below.</p>"));
    // Their receivers tell them apart by the port that each has of its own, and nothing else does.
    let page = self::page(&sizes::ports(120), &[]);
    assert!(page.contains("<p>There are more than 100 groups of volumes that differ"));
}

#[test]
fn a_page_is_twice_as_long_for_twice_as_much() {
    let all: [Shape; 3] = [
        ("mesh", |count| sizes::mesh(count, 10 * count)),
        ("links", |count| sizes::links(count, 10 * count)),
        ("hosts", |count| sizes::hosts(4 * count)),
    ];
    for (name, input) in all {
        let length = |count| page(&input(count), &[]).len();
        let (once, twice) = (length(110), length(220));
        assert!(twice * 10 <= once * 22, "{name}: {once}, {twice}");
    }
}

#[test]
fn wrong_use_is_reported() {
    let code = |arguments: &[&str], input: &str| run(arguments, input).status.code();
    assert_eq!(code(&["report", "--input", "-", "--out", "-"], "{}"), Some(2));
    assert_eq!(code(&["report", "--out", "-", "--against", "-"], ""), Some(2));
    assert_eq!(code(&["report", "--out", "-", "--against", "/nowhere"], ""), Some(2));
    assert_eq!(code(&["report", "--out", "/nowhere/page.html"], ""), Some(2));
}
