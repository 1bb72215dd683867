//! The page in use: its own script in node, and the page in a headless Chromium, where they are installed.

use std::path::Path;
use std::process::{Command, Stdio};

use nixvol_net::explain::{DeclaredValue, ExplainedHook, Explanation, Through};
use nixvol_net::plan::Plan;
use nixvol_net::render::picture::{self, KernelNames};
use serde_json::{Value, json};

use crate::devtools::Browser;
use crate::report::{Network, between, inputs, large, page};
use crate::support::{declared, default_input, fixture, is_long, skipped};

/// Whether a program is there; says so where it is not.
pub fn has(program: &str, why: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let has = found.is_ok_and(|status| status.success());
    if !has {
        skipped(&format!("{program} is not installed, so {why}"));
    }
    has
}

/// Puts questions to the page's own script, in node.
const ASK: &str = r"
const fs = require('fs');
const page = fs.readFileSync(process.argv[1], 'utf8');
const [, data, script] = page.match(/id=.data.>([^]*?)<\/script>\s*<script>([^]*?)<\/script>/);
globalThis.window = {};
globalThis.document = { getElementById: () => null };
(0, eval)(script);
const { ask } = window.nixvolAsker(JSON.parse(data));
for (const [from, to, protocol] of JSON.parse(fs.readFileSync(0, 'utf8'))) {
  let answer;
  try { answer = ask(from, to, '', protocol); } catch (error) { if (!error.message || error.stack) throw error; answer = null; }
  console.log(JSON.stringify(answer));
}
";

fn asked(page: &str, questions: &[(String, String, String)]) -> Vec<Value> {
    use std::io::Write;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("page.html");
    std::fs::write(&file, page).expect("a page");
    let mut node = Command::new("node")
        .args(["-e", ASK])
        .arg(&file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node");
    let json = serde_json::to_vec(questions).expect("JSON");
    node.stdin.take().expect("a pipe").write_all(&json).expect("questions");
    let output = node.wait_with_output().expect("node ends");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Every kind of end, spelled in every way, and some that are none.
fn ends(plan: &Plan) -> Vec<String> {
    let mut ends: Vec<String> = [
        "internet",
        "lan",
        "localhost",
        "mac",
        "9.9.9.9",
        "127.0.0.9",
        "192.0.2.10",
        "224.0.0.1",
        "0.0.0.0",
        "10.0.1",
        "nobody",
        "aws.nobody",
    ]
    .map(str::to_owned)
    .to_vec();
    for bridge in &plan.bridges {
        ends.extend([
            bridge.provider.to_string(),
            format!("{}.gateway", bridge.provider),
            bridge.gateway.addr().to_string(),
        ]);
        ends.push(bridge.network.broadcast().to_string());
    }
    for volume in &plan.volumes {
        ends.extend([
            volume.name.to_string(),
            volume.address.to_string(),
            format!("{}.localhost", volume.name),
        ]);
        ends.extend(volume.host_names());
        ends.push(format!("{}.{}", volume.name, plan.bridges[0].provider));
    }
    ends
}

/// Questions without a choice of ours: a linear congruential generator, so that a failure comes again.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % sides
    }
}

/// Services, and words that are none: a protocol, and what stands behind the destination.
const SERVICES: [(&str, &str); 22] = [
    ("", ":2379"),
    ("tcp", ":53"),
    ("tcp", ":1"),
    ("udp", ":53"),
    ("icmp", ""),
    ("esp", ""),
    ("tcp", ":6443"),
    ("47", ""),
    ("tcp", ":443"),
    ("udp", ":2380"),
    ("TCP", ":5432"),
    ("tcp", ":2380"),
    ("udp", ":2379"),
    ("tcp", ":9100"),
    ("icmp", ":80"),
    ("tcp", ":0"),
    ("tcp", ":65536"),
    ("wrong", ":1"),
    ("51", ""),
    ("tcp", ":x"),
    ("300", ""),
    ("132", ""),
];

#[test]
fn answers_of_the_page_are_those_of_explain() {
    if !has("node", "the page's script was not asked") {
        return;
    }
    let mut dice = Dice(16);
    let mut total = 0;
    for (topology, input) in inputs() {
        let network = Network::of(&input);
        let page = page(&input, &[]);
        let ends = ends(&network.plan);
        let mut questions: Vec<(String, String, String)> = Vec::new();
        let mut put = |from: &str, to: &str, (protocol, port): (&str, &str)| {
            questions.push((from.to_owned(), format!("{to}{port}"), protocol.to_owned()));
        };
        for _ in 0..320 {
            let (from, to) = (&ends[dice.throw(ends.len())], &ends[dice.throw(ends.len())]);
            put(from, to, SERVICES[dice.throw(SERVICES.len())]);
        }
        // Everyone about itself.
        for end in &ends {
            put(end, end, SERVICES[dice.throw(14)]);
        }
        let answers = asked(&page, &questions);
        assert_eq!(answers.len(), questions.len(), "{topology}");
        total += questions.len();
        let (mut answered, mut blocked) = (0, 0);
        for ((from, to, protocol), answer) in questions.iter().zip(answers) {
            let what = format!("{topology}: {from} -> {to} {protocol}");
            let Some(explanation) = network.explain(from, to, protocol) else {
                assert_eq!(answer, Value::Null, "{what}");
                continue;
            };
            assert_ne!(answer, Value::Null, "{what}");
            assert_eq!(told(&answer), told_by_explain(&explanation), "{what}");
            answered += 1;
            blocked += usize::from(!explanation.passes);
        }
        assert!(answered > 100 && blocked > 10, "{topology}: {answered} answers, {blocked} blocked");
    }
    assert!(total >= 2000, "{total} questions");
}

/// What the page tells of one service.
fn told(answer: &Value) -> Value {
    let parts = answer["parts"].as_array().expect("parts");
    assert_eq!(parts.len(), 1, "{answer}");
    let part = &parts[0];
    let paths = |name: &str| {
        part[name].as_array().expect("values").iter().map(|it| it["path"].clone()).collect::<Value>()
    };
    let places = part["declared"].as_array().expect("values").iter().map(|it| it["place"].clone());
    let pipe = |name: &str| match &part[name] {
        Value::Null => json!([]),
        pipe => json!([[pipe["number"], pipe["line"], pipe["declared"]["path"]]]),
    };
    json!({
        "passes": part["passes"], "refused": part["refused"], "hops": part["hops"], "answered": part["answered"],
        "declared": paths("declared"), "places": places.collect::<Value>(), "near": paths("near"),
        "there": pipe("there"), "back": pipe("back"), "added": part["added"],
        "addresses": [answer["source"]["address"], answer["target"]["address"]],
    })
}

/// The same of an explanation.
fn told_by_explain(explanation: &Explanation) -> Value {
    let packet = &explanation.packet;
    let hops = packet.iter().map(|hop| {
        json!({ "direction": hop.direction.word(), "interface": hop.interface, "passes": hop.passes() })
    });
    // What decides is what blocks, or else the first place that lets it pass.
    let decides = packet.iter().find(|hop| !hop.passes()).or(packet.first());
    let reason = decides.and_then(|hop| hop.reason.as_ref()).filter(|_| explanation.refused.is_none());
    let mut told = packet.iter().filter_map(|hop| hop.reason.as_ref()).flat_map(|reason| &reason.declared);
    let published = told.rfind(|it| it.path.ends_with(".publish"));
    let declared: Vec<&DeclaredValue> = match published.filter(|_| explanation.refused.is_none()) {
        Some(published) => vec![published],
        None => reason.iter().flat_map(|reason| &reason.declared).collect(),
    };
    let near = packet.iter().filter_map(|hop| hop.reason.as_ref()).find(|reason| !reason.near.is_empty());
    let pipes = |hops: &[ExplainedHook]| {
        let pipe = |pipe: &Through| {
            json!([pipe.number, pipe.rule.line, pipe.declared.as_ref().map(|it| it.path.clone())])
        };
        hops.iter().flat_map(|hop| &hop.pipes).map(pipe).filter(|_| explanation.passes).collect::<Value>()
    };
    json!({
        "passes": explanation.passes, "refused": explanation.refused, "hops": hops.collect::<Value>(),
        "answered": decides.and_then(|hop| hop.answered),
        "declared": declared.iter().map(|it| it.path.clone()).collect::<Value>(),
        "places": declared.iter().map(|it| it.place.as_ref().map(ToString::to_string)).collect::<Value>(),
        "near": near.iter().flat_map(|reason| &reason.near).map(|it| it.path.clone()).collect::<Value>(),
        "there": pipes(packet), "back": pipes(&explanation.answer),
        "added": explanation.added.map(|it| json!([it.there_ms, it.back_ms])),
        "addresses": [explanation.source.address, explanation.destination.address],
    })
}

#[test]
fn without_port_and_protocol_the_page_answers_for_all_services() {
    if !has("node", "the page's script was not asked") {
        return;
    }
    let mut dice = Dice(50);
    let mut mixed = 0;
    for (topology, input) in inputs() {
        let network = Network::of(&input);
        let page = page(&input, &[]);
        let ends = ends(&network.plan);
        let pairs: Vec<(String, String, String)> = (0..60)
            .map(|_| {
                (ends[dice.throw(ends.len())].clone(), ends[dice.throw(ends.len())].clone(), String::new())
            })
            .collect();
        for ((from, to, _), answer) in pairs.iter().zip(asked(&page, &pairs)) {
            let what = format!("{topology}: {from} -> {to}");
            if answer == Value::Null {
                assert!(network.explain(from, to, "icmp").is_none(), "{what}");
                continue;
            }
            let parts = answer["parts"].as_array().expect("parts");
            let passing: Vec<bool> = parts.iter().map(|it| it["passes"] == json!(true)).collect();
            assert!(passing.is_sorted_by(|a, b| a >= b), "{what}: what passes stands first");
            mixed += usize::from(passing.contains(&true) && passing.contains(&false));
            let mut counted = [0, 0];
            for part in parts {
                for span in part["spans"].as_array().expect("spans") {
                    let at = |index: usize| span[index].as_u64().expect("a number");
                    if let Some(count) = [6, 17].iter().position(|protocol| *protocol == at(0)) {
                        counted[count] += at(2) - at(1) + 1;
                    }
                    for port in [at(1), at(2)] {
                        let to = if port == 0 { to.clone() } else { format!("{to}:{port}") };
                        let explanation = network.explain(from, &to, &at(0).to_string()).expect("an answer");
                        assert_eq!(part["passes"], json!(explanation.passes), "{what}: {span}");
                        let expected = told_by_explain(&explanation);
                        let paths: Value = part["declared"]
                            .as_array()
                            .expect("values")
                            .iter()
                            .map(|it| it["path"].clone())
                            .collect();
                        assert_eq!(paths, expected["declared"], "{what}: {span}");
                    }
                }
            }
            assert_eq!(counted, [65535, 65535], "{what}: every port once");
        }
    }
    assert!(mixed > 20, "{mixed} answers of both kinds");
}

/// The window of a desktop.
const DESKTOP: (u32, u32) = (1280, 900);

pub const NO_CHROMIUM: &str = "the page was not opened in a browser";

/// What the page says in its panel.
fn panel(dom: &str) -> String {
    let markup = between(dom, "<div id=\"told\"", "</section>");
    let mut words = String::new();
    for part in markup.split('<').skip(1) {
        words += part.split_once('>').map_or("", |(_, text)| text);
        words.push(' ');
    }
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_page_answers_in_a_browser_without_console_messages() {
    if !has("chromium", NO_CHROMIUM) {
        return;
    }
    let mut browser = Browser::new(DESKTOP);
    let mut shown = |page: &str, fragment: &str| {
        browser.show(page, fragment);
        assert_eq!(browser.console, [""; 0]);
        browser.markup()
    };
    let page = page(&fixture("restricted.json"), &["--against", "tests/fixtures/restricted-more.json"]);
    let told = panel(&shown(&page, "#ask?from=etcd-1&to=etcd-2&port=5432&protocol=tcp"));
    assert!(told.contains("refused tcp 5432 answered with a RST"), "{told}");
    assert!(told.contains("has other ports: aws, azure -&gt; aws, azure, tcp 2379-2380"), "{told}");
    let told = panel(&shown(&page, "#ask?from=etcd-1&to=etcd-2&port=&protocol="));
    let passes = told.find("passes tcp 2379-2380").unwrap_or_else(|| panic!("{told}"));
    assert!(told.find("refused everything else").is_some_and(|rest| passes < rest), "{told}");
    let told = panel(&shown(&page, "#ask?from=aws&to=aws&port=&protocol="));
    assert!(told.contains("passes everything inside aws everything passes"), "{told}");
    assert!(!shown(&page, "").contains("id=\"asker\" hidden"), "the asker is hidden");
    let ways = crate::report::page(&fixture("ways.json"), &[]);
    let told = panel(&shown(&ways, "#ask?from=etcd-1&to=etcd-2&port=2379"));
    assert!(told.contains("there through pipe 20000: 40 ms, 1% lost, 100000 kbit/s"), "{told}");
    assert!(told.contains("added to a round trip: 40 ms (40 ms there, 0 ms back)"), "{told}");
}

/// What a script of the test finds in a page.
fn probed(browser: &mut Browser, page: &str, script: &str) -> Value {
    browser.show(page, "");
    let found = browser.eval(&format!("(() => {{ {script} }})()"));
    assert_eq!(browser.console, [""; 0]);
    found
}

#[test]
fn the_keyboard_alone_reaches_everything() {
    if !has("chromium", NO_CHROMIUM) {
        return;
    }
    let script = r#"
        const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
        const told = () => document.getElementById('told').textContent;
        const found = {};
        for (const [name, root, all] of [
          ['picture', '.topology', '.topology [data-provider], .topology g[data-volume]:not([data-volume=""]), .topology [data-link], .topology [data-end]'],
          ['providers', '#provider-matrix', '#provider-matrix tbody td, #provider-matrix th'],
          ['volumes', '#volume-matrix', '#volume-matrix tbody td, #volume-matrix th'],
        ]) {
          const wanted = new Set(document.querySelectorAll(all));
          const stops = document.querySelectorAll(root + ' [tabindex="0"]');
          const start = stops[0];
          start.focus();
          const seen = new Set([start]);
          const silent = [];
          const walk = [start];
          while (walk.length) {
            const from = walk.pop();
            for (const key of ['ArrowRight', 'ArrowDown', 'ArrowLeft', 'ArrowUp']) {
              from.focus();
              press(key);
              const now = document.activeElement;
              if (!seen.has(now)) { seen.add(now); walk.push(now); if (told().length < 10) { silent.push(now.outerHTML); } }
            }
          }
          found[name] = [stops.length, wanted.size, Array.from(wanted).filter((it) => !seen.has(it)).length, silent.length];
        }
        const cell = document.querySelector('#provider-matrix tbody td');
        cell.focus();
        press('Enter');
        found.pinned = document.body.classList.contains('pinned');
        press('Escape');
        found.freed = !document.body.classList.contains('pinned') && !document.body.classList.contains('lit');
        return found;
    "#;
    let mut browser = Browser::new(DESKTOP);
    for (name, input) in
        [("mixed", inputs().pop().expect("an input").1), ("restricted", fixture("restricted.json"))]
    {
        let found = probed(&mut browser, &page(&input, &[]), script);
        for part in ["picture", "providers", "volumes"] {
            let all: Vec<u64> = serde_json::from_value(found[part].clone()).expect("numbers");
            let [stops, wanted, missed, silent] = all[..] else { panic!("{name}: {found}") };
            assert_eq!((stops, missed, silent), (1, 0, 0), "{name}: {part}: {found}");
            assert!(wanted > 5, "{name}: {part}: {found}");
        }
        assert_eq!((&found["pinned"], &found["freed"]), (&json!(true), &json!(true)), "{name}");
    }
}

#[test]
fn related_elements_are_highlighted_and_not_covered_by_the_panel() {
    if !has("chromium", NO_CHROMIUM) {
        return;
    }
    let script = r#"
        const point = (it) => it.dispatchEvent(new PointerEvent('pointerover', { bubbles: true, pointerType: 'mouse' }));
        const covered = [];
        const panel = document.getElementById('panel');
        for (const cell of document.querySelectorAll('.matrix tbody td, .topology [tabindex]')) {
          cell.focus();
          // What a region scrolls away is not seen, and so not covered.
          const [it, region, b] = [cell, cell.closest('.scroll'), panel].map((it) => it.getBoundingClientRect());
          const a = { left: Math.max(it.left, region.left), right: Math.min(it.right, region.right), top: Math.max(it.top, region.top), bottom: Math.min(it.bottom, region.bottom) };
          if (b.width && a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom) { covered.push(cell.outerHTML); }
        }
        document.activeElement.blur();
        document.getElementById('close').click();
        const on = (selector) => Array.from(document.querySelectorAll(selector + '.on'), (it) => it.dataset.provider || it.dataset.volume || it.dataset.link || it.dataset.about || it.id).sort();
        const lit = {};
        const row = document.querySelector('#provider-matrix tbody tr').cells;
        point(row[2]);
        lit.pair = { providers: on('.topology [data-provider]'), links: on('.topology [data-link]'), rows: on('#links tr'), rules: on('.rules tr').length, told: document.querySelector('#told li').textContent };
        point(document.querySelector('.topology [data-link="3"]'));
        lit.link = { volumes: on('.topology g[data-volume]').length, rules: on('.rules tr').length, told: document.getElementById('told').textContent };
        point(document.querySelector('.topology [data-provider="ibm"]'));
        lit.provider = { told: document.getElementById('told').textContent, headers: on('#provider-matrix th') };
        return { covered, lit };
    "#;
    let page = page(&inputs().pop().expect("an input").1, &[]);
    let mut browser = Browser::new(DESKTOP);
    for (width, height) in [(1440, 900), (1280, 800), (600, 900)] {
        let window = format!("{width} x {height}");
        browser.resize(width, height);
        let found = probed(&mut browser, &page, script);
        assert_eq!(found["covered"], json!([]), "{window}");
        let lit = &found["lit"];
        assert_eq!(lit["pair"]["providers"], json!(["aws", "azure"]), "{window}: {lit}");
        assert_eq!(lit["pair"]["links"], json!(["0", "1"]), "{window}: {lit}");
        assert_eq!(lit["pair"]["rows"], json!(["0", "1"]), "{window}: {lit}");
        assert!(lit["pair"]["rules"].as_u64() >= Some(2), "{window}: {lit}");
        let told = lit["pair"]["told"].as_str().expect("words");
        assert!(told.starts_with("passes tcp 443,6443"), "{window}: {told}");
        let told = lit["link"]["told"].as_str().expect("words");
        assert!(told.contains("karpenter-worker-3 -> aws, tcp and udp 53"), "{window}: {told}");
        assert_eq!(lit["provider"]["headers"], json!(["ibm", "ibm"]), "{window}");
        let told = lit["provider"]["told"].as_str().expect("words");
        assert!(told.contains("no internet") && told.contains("May open"), "{window}: {told}");
    }
}

/// Where pictures of the page are put, for people to look at.
pub fn gallery() -> std::path::PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/browser");
    std::fs::create_dir_all(&directory).expect("a directory");
    directory
}

/// Eight providers with links of volumes and of providers.
fn eight() -> Value {
    let mut input = json!({ "version": 1, "providers": {}, "volumes": {}, "links": [] });
    for (n, name) in
        ["aws", "azure", "gcp", "ibm", "digitalocean", "oracle", "hetzner", "linode"].iter().enumerate()
    {
        input["providers"][name] = json!({ "network": format!("10.{n}.0.0/16"), "gateway": format!("10.{n}.1.1/24"), "internet": n != 3 });
        for (host, kind) in ["etcd", "api", "worker"].iter().enumerate().take(2 + n % 2) {
            input["volumes"][format!("{kind}-{}", n + 1)] = json!({ "provider": name, "address": format!("10.{n}.1.{}", host + 2),
                "localhost": format!("127.0.1.{}", 10 + n * 4 + host) });
        }
    }
    let etcd = ["etcd-1", "etcd-2", "etcd-3"];
    input["links"] = json!([
        { "from": etcd, "to": etcd, "protocol": "tcp", "ports": ["2379-2380"], "conditions": { "latencyMs": 20 } },
        { "from": ["aws"], "to": ["azure"], "protocol": "tcp", "ports": [6443] },
        { "from": ["gcp", "ibm"], "to": ["api-1"], "protocol": "tcp", "ports": [443, 8443] },
        { "from": ["hetzner"], "to": ["linode"], "bidirectional": true, "conditions": { "latencyMs": 5, "bandwidthKbit": 100_000 } },
        { "from": ["worker-2"], "to": ["api-1"], "protocol": "tcp", "ports": [6443] },
        { "from": ["oracle"], "to": ["gcp"], "protocol": "udp", "ports": [53] },
        { "from": ["digitalocean"], "to": ["aws", "azure"], "protocol": "icmp" },
        { "from": ["ibm"], "to": ["hetzner"], "protocol": "tcp", "ports": [5432], "masquerade": true },
    ]);
    input
}

/// Two providers, one link in one direction and one of volumes in both.
fn two() -> Value {
    json!({
        "version": 1,
        "providers": {
            "aws": { "network": "10.0.0.0/16", "gateway": "10.0.1.1/24" },
            "azure": { "network": "10.1.0.0/16", "gateway": "10.1.1.1/24", "internet": false },
        },
        "volumes": {
            "etcd-1": { "provider": "aws", "address": "10.0.1.2", "localhost": "127.0.1.11", "publish": [2379] },
            "etcd-2": { "provider": "azure", "address": "10.1.1.2", "localhost": "127.0.1.12" },
            "worker": { "provider": "azure", "address": "10.1.1.3", "attachment": "guest" },
        },
        "links": [
            { "from": ["etcd-1"], "to": ["etcd-2"], "protocol": "tcp", "ports": ["2379-2380"], "bidirectional": true },
            { "from": ["worker"], "to": ["aws"], "protocol": "tcp", "ports": [443], "conditions": { "latencyMs": 40, "loss": 0.01 } },
        ],
    })
}

#[test]
fn the_page_renders_and_prints_on_a_few_pages() {
    if !has("chromium", NO_CHROMIUM) {
        return;
    }
    let directory = gallery();
    let restricted = ["--against", "tests/fixtures/restricted-more.json"];
    let pages = [
        ("default", page(&default_input(), &[]), ""),
        (
            "restricted",
            page(&fixture("restricted.json"), &restricted),
            "#ask?from=etcd-1&to=etcd-2&port=&protocol=",
        ),
        ("two", page(&two(), &[]), "#ask?from=worker&to=etcd-1&port=&protocol="),
        ("eight", page(&eight(), &[]), "#ask?from=worker-2&to=api-1&port=&protocol="),
        ("fifty", page(&large(), &[]), ""),
    ];
    // Of each page one, and of every other page a print; all with `NIXVOL_LONG`.
    let shots = [
        ("desktop", 1440, "light"),
        ("phone", 500, "dark"),
        ("desktop", 1440, "dark"),
        ("phone", 500, "light"),
    ];
    let mut browser = Browser::new(DESKTOP);
    for (turn, (name, page, fragment)) in pages.into_iter().enumerate() {
        browser.show(&page, fragment);
        for (which, (device, width, scheme)) in shots.into_iter().enumerate() {
            if !is_long() && which != turn % shots.len() {
                continue;
            }
            browser.resize(width, 900);
            browser.prefer(scheme);
            browser.keep_picture(&directory.join(format!("{name}-{device}-{scheme}.png")));
        }
        if !is_long() && turn % 2 > 0 {
            continue;
        }
        browser.prefer("light");
        browser.show(&page, "");
        let print = browser.print();
        std::fs::write(directory.join(format!("{name}-print.pdf")), &print).expect("a print");
        let text = String::from_utf8_lossy(&print);
        let count = text.matches("/Type /Page").count() - text.matches("/Type /Pages").count();
        assert!((1..12).contains(&count), "{name}: {count} printed pages");
    }
}

#[test]
fn a_large_page_opens_quickly() {
    if !has("chromium", NO_CHROMIUM) {
        return;
    }
    // The processor's time, as the shell counts it of what it started: other programs' work does not count.
    let seconds = |page: &str| {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("page.html");
        std::fs::write(&file, page).expect("a page");
        let script = format!(
            "chromium --headless --no-sandbox --disable-gpu --window-size=1440,900 --dump-dom \
             --user-data-dir={0}/profile file://{0}/page.html >/dev/null 2>&1; times",
            directory.path().display()
        );
        let output = Command::new("sh").args(["-c", &script]).output().expect("a shell");
        let text = String::from_utf8(output.stdout).expect("text");
        let children = text.lines().nth(1).expect("a line about children").to_owned();
        let second = |word: &str| {
            let (minutes, rest) = word.split_once('m').expect("minutes");
            let number = |text: &str| text.parse::<f64>().expect("a number");
            number(minutes) * 60.0 + number(rest.trim_end_matches('s'))
        };
        children.split(' ').map(second).sum::<f64>()
    };
    let (blank, full) = (seconds("<!DOCTYPE html><p>nothing</p>"), seconds(&page(&large(), &[])));
    assert!(full - blank < 1.0, "{full} seconds, of which {blank} for a blank page");
}

#[test]
fn the_policy_of_the_page_keeps_other_scripts_out() {
    if !has("chromium", NO_CHROMIUM) {
        return;
    }
    let page = page(&default_input(), &[])
        .replace("</body>", "<script>document.title = 'taken over'</script></body>");
    let mut browser = Browser::new(DESKTOP);
    browser.show(&page, "");
    assert!(!browser.markup().contains("<title>taken over"), "a foreign script ran");
    assert!(browser.console.concat().contains("Content Security Policy"), "{:?}", browser.console);
}

/// A script of others, where `tests/run.sh` has put it.
pub fn fetched(path: &str, why: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/npm").join(path);
    let text = std::fs::read_to_string(&path);
    if text.is_err() {
        skipped(&format!("{} is not there (tests/run.sh fetches it), so {why}", path.display()));
    }
    text.ok().filter(|_| has("chromium", NO_CHROMIUM))
}

#[test]
fn an_accessibility_checker_finds_nothing() {
    let axe = fetched("node_modules/axe-core/axe.min.js", "accessibility was not checked");
    let Some(axe) = axe else { return };
    let mut browser = Browser::new(DESKTOP);
    for (input, port, arguments) in [
        ("restricted.json", 5432, &[][..]),
        ("restricted.json", 5432, &["--against", "tests/fixtures/restricted-more.json"]),
        ("ways.json", 2379, &["--against", "tests/fixtures/restricted.json"]),
    ] {
        let fragment = format!("#ask?from=etcd-1&to=etcd-2&port={port}");
        browser.show(&page(&fixture(input), arguments), &fragment);
        assert_eq!(browser.violations(&axe), json!([]), "{input}");
    }
}

#[test]
fn mermaid_renders_our_output() {
    let Some(mermaid) = fetched("package/dist/mermaid.min.js", "Mermaid was not asked") else { return };
    let mut browser = Browser::new(DESKTOP);
    browser.show("<!doctype html><body>", "");
    browser.eval(&format!("{mermaid}; mermaid.initialize({{ startOnLoad: false }});"));
    for (topology, input) in inputs() {
        let plan = Plan::of(&declared(&input));
        let text = picture::mermaid(&plan, &KernelNames::new(), &[]);
        let text = serde_json::to_string(&text).expect("JSON");
        let found = browser.eval(&format!(
            "mermaid.render('drawn', {text}).then((it) => {{ document.body.innerHTML = it.svg;
               return ['.node', '.cluster'].map((kind) => document.querySelectorAll(kind).length); }})"
        ));
        let counts: Vec<usize> = serde_json::from_value(found).expect("two numbers");
        assert!(counts[0] >= plan.volumes.len() && counts[1] > plan.bridges.len(), "{topology}: {counts:?}");
    }
}
