//! The page in use: its own script in node, and the page in a headless Chromium, where they are installed.

use std::path::Path;
use std::process::{Command, Stdio};

use nixvol_net::plan::Plan;
use nixvol_net::render::picture::{self, KernelNames};
use serde_json::{Value, json};

use crate::report::{Network, between, inputs, page};
use crate::support::{declared, default_input, fixture, skipped};

/// Whether a program is there; says so where it is not.
fn has(program: &str, why: &str) -> bool {
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
const ask = window.nixvolAsker(JSON.parse(data));
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

#[test]
fn its_answers_are_those_of_explain() {
    if !has("node", "the page's script was not asked") {
        return;
    }
    for (topology, input) in inputs() {
        let network = Network::of(&input);
        let page = page(&input, &[]);
        let ends = ends(&network.plan);
        let services = [
            ("", ":2379"),
            ("tcp", ":53"),
            ("tcp", ":1"),
            ("udp", ":53"),
            ("", ""),
            ("icmp", ""),
            ("esp", ""),
            ("tcp", ":6443"),
            ("47", ""),
            ("tcp", ":443"),
            ("udp", ":2380"),
            ("TCP", ":5432"),
            ("tcp", ""),
            ("icmp", ":80"),
            ("tcp", ":0"),
            ("tcp", ":65536"),
            ("wrong", ":1"),
            ("51", ""),
            ("tcp", ":x"),
            ("300", ""),
        ];
        let mut questions = Vec::new();
        for (row, from) in ends.iter().enumerate() {
            for step in 0..12 {
                let (to, service) = (
                    &ends[(row * 5 + step * 13) % ends.len()],
                    services[(row * 3 + step * 7) % services.len()],
                );
                questions.push((from.clone(), format!("{to}{}", service.1), service.0.to_owned()));
            }
        }
        assert!(questions.len() > 200);
        let answers = asked(&page, &questions);
        assert_eq!(answers.len(), questions.len(), "{topology}");
        let (mut answered, mut blocked) = (0, 0);
        for ((from, to, protocol), answer) in questions.iter().zip(answers) {
            let what = format!("{topology}: {from} -> {to} {protocol}");
            let Some(explanation) = network.explain(from, to, protocol) else {
                assert_eq!(answer, Value::Null, "{what}");
                continue;
            };
            assert_ne!(answer, Value::Null, "{what}");
            let expected = serde_json::to_value(&explanation).expect("JSON");
            assert_eq!(told(&answer), told_by_explain(&expected), "{what}");
            answered += 1;
            blocked += usize::from(!explanation.passes);
        }
        assert!(answered > 100 && blocked > 20, "{topology}: {answered} answers, {blocked} blocked");
    }
}

/// What the page tells of an answer.
fn told(answer: &Value) -> Value {
    let hop = |hop: &Value| {
        json!({
            "direction": hop["direction"], "interface": hop["interface"], "passes": hop["passes"], "answered": hop["answered"],
            "state": hop["byState"], "line": hop["line"], "translation": hop["translation"], "because": hop["because"],
            "declared": hop["declared"], "near": hop["near"], "pipes": hop["pipes"],
        })
    };
    let hops = |name: &str| answer[name].as_array().expect("hops").iter().map(hop).collect::<Value>();
    json!({
        "passes": answer["passes"], "verdict": answer["verdict"], "refused": answer["refused"],
        "packet": hops("packet"), "answer": hops("answer"), "added": answer["added"],
    })
}

/// The same of an explanation.
fn told_by_explain(explanation: &Value) -> Value {
    let said = |all: &Value| -> Value {
        let said = |it: &Value| {
            let place = match &it["place"] {
                Value::Null => Value::Null,
                place => json!(format!(
                    "{}:{}:{}",
                    place["file"].as_str().expect("a file"),
                    place["line"],
                    place["column"]
                )),
            };
            json!({ "path": it["path"], "says": it["says"], "place": place })
        };
        all.as_array().map(|all| all.iter().map(said).collect()).unwrap_or(json!([]))
    };
    let pipe = |pipe: &Value| {
        let declared = said(&json!([pipe["declared"]]));
        json!({ "number": pipe["number"], "line": pipe["rule"]["line"], "declared": declared[0] })
    };
    let hop = |hop: &Value| {
        let reason = &hop["reason"];
        let pipes: Value = hop["pipes"].as_array().expect("pipes").iter().map(pipe).collect();
        json!({
            "direction": hop["direction"], "interface": hop["interface"], "passes": hop["action"] == "pass", "answered": hop["answered"],
            "state": hop["via"] == "state", "line": hop["rule"]["line"], "translation": hop["translation"]["line"],
            "because": reason["words"], "declared": said(&reason["declared"]), "near": said(&reason["near"]),
            "pipes": pipes,
        })
    };
    let hops = |name: &str| explanation[name].as_array().expect("hops").iter().map(hop).collect::<Value>();
    json!({
        "passes": explanation["passes"], "verdict": explanation["verdict"], "refused": explanation["refused"],
        "packet": hops("packet"), "answer": hops("answer"),
        "added": explanation["added"].as_object().map(|it| json!([it["thereMs"], it["backMs"]])),
    })
}

/// The page as Chromium has it after its script ran, and what it wrote on its console.
fn browsed(page: &str, fragment: &str) -> (String, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("page.html");
    std::fs::write(&file, page).expect("a page");
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args([
            "--enable-logging=stderr",
            "--window-size=1280,900",
            "--virtual-time-budget=20000",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", directory.path().join("profile").display()))
        .arg(format!("file://{}{fragment}", file.display()))
        .output()
        .expect("chromium");
    let console = String::from_utf8_lossy(&output.stderr);
    let console: String =
        console.lines().filter(|line| line.contains("CONSOLE")).collect::<Vec<_>>().join("\n");
    (String::from_utf8_lossy(&output.stdout).into_owned(), console)
}

const NO_CHROMIUM: &str = "the page was not opened in a browser";

#[test]
fn it_answers_in_a_browser_and_has_nothing_to_complain_of() {
    if !has("chromium", NO_CHROMIUM) {
        return;
    }
    let page = page(&fixture("restricted.json"), &["--against", "tests/fixtures/restricted-more.json"]);
    let (dom, console) = browsed(&page, "#ask?from=etcd-1&to=etcd-2&port=5432&protocol=tcp");
    assert_eq!(console, "");
    let answer = between(&dom, "<div id=\"answer\" role=\"status\">", "<section id=\"providers\"");
    assert!(answer.contains("blocked at hop 2 (in lo0), answered with a RST"), "{answer}");
    assert!(answer.contains("has other ports: aws, azure -&gt; aws, azure, tcp 2379-2380"), "{answer}");
    let (dom, console) = browsed(&page, "");
    assert_eq!(console, "");
    assert!(!dom.contains("id=\"asker\" hidden"), "the asker is hidden");
    let (dom, console) =
        browsed(&crate::report::page(&fixture("ways.json"), &[]), "#ask?from=etcd-1&to=etcd-2&port=2379");
    assert_eq!(console, "");
    let answer = between(&dom, "<div id=\"answer\" role=\"status\">", "<section id=\"providers\"");
    assert!(answer.contains("through pipe 20000: 40 ms, 1% lost, 100000 kbit/s"), "{answer}");
    assert!(answer.contains("added to a round trip: 40 ms (40 ms there, 0 ms back)"), "{answer}");
    let (dom, _) = browsed(&page, "");
    // One cell of each matrix is in the order of tabs; arrows lead to the others.
    assert_eq!(
        dom.matches("tabindex=\"0\">all</a>").count() + dom.matches("tabindex=\"0\">some</a>").count(),
        2
    );
}

#[test]
fn the_policy_of_the_page_keeps_other_scripts_out() {
    if !has("chromium", NO_CHROMIUM) {
        return;
    }
    let page = page(&default_input(), &[])
        .replace("</body>", "<script>document.title = 'taken over'</script></body>");
    let (dom, console) = browsed(&page, "");
    assert!(!dom.contains("<title>taken over"), "a foreign script ran");
    assert!(console.contains("Content Security Policy"), "{console}");
}

/// A script of others, where `tests/run.sh` has put it.
fn fetched(path: &str, why: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/npm").join(path);
    let text = std::fs::read_to_string(&path);
    if text.is_err() {
        skipped(&format!("{} is not there (tests/run.sh fetches it), so {why}", path.display()));
    }
    text.ok().filter(|_| has("chromium", NO_CHROMIUM))
}

#[test]
fn an_accessibility_checker_has_no_serious_finding() {
    let axe = fetched("node_modules/axe-core/axe.min.js", "accessibility was not checked");
    let Some(axe) = axe else { return };
    let run = "axe.run().then((result) => { const found = document.createElement('pre'); found.id = 'found'; \
               found.textContent = JSON.stringify(result.violations.map((it) => [it.impact, it.id, it.nodes.map((node) => node.html)])); \
               document.body.append(found); });";
    for (input, port, arguments) in [
        ("restricted.json", 5432, &[][..]),
        ("restricted.json", 5432, &["--against", "tests/fixtures/restricted-more.json"]),
        ("ways.json", 2379, &["--against", "tests/fixtures/restricted.json"]),
    ] {
        let page = page(&fixture(input), arguments);
        let policy = between(&page, "<meta http-equiv", "/>").to_owned();
        let page = page.replace(&format!("<meta http-equiv{policy}/>"), "");
        let page = page.replace("</body>", &format!("<script>{axe}</script><script>{run}</script></body>"));
        let (dom, _) = browsed(&page, &format!("#ask?from=etcd-1&to=etcd-2&port={port}"));
        let found = between(&dom, "<pre id=\"found\">", "</pre>");
        assert_eq!(found, "[]");
    }
}

#[test]
fn mermaid_draws_what_is_written_for_it() {
    let Some(mermaid) = fetched("package/dist/mermaid.min.js", "Mermaid was not asked") else { return };
    for (topology, input) in inputs() {
        let plan = Plan::of(&declared(&input));
        let text = picture::mermaid(&plan, &KernelNames::new());
        let text = serde_json::to_string(&text).expect("JSON").replace('<', "\\u003c");
        let run = format!(
            "mermaid.initialize({{ startOnLoad: false }});
             const tell = (words) => {{ const found = document.createElement('pre'); found.id = 'found';
               found.textContent = words; document.body.append(found); }};
             mermaid.render('drawn', {text}).then((it) => {{ document.body.innerHTML = it.svg;
               tell([document.querySelectorAll('.node').length, document.querySelectorAll('.cluster').length].join(' ')); }},
               (error) => tell(error.message));"
        );
        let page = format!("<!doctype html><body><script>{mermaid}</script><script>{run}</script></body>");
        let (dom, _) = browsed(&page, "");
        let found = between(&dom, "<pre id=\"found\">", "</pre>");
        let volumes = plan.volumes.len();
        let counts: Vec<usize> = found.split(' ').filter_map(|count| count.parse().ok()).collect();
        let [nodes, groups] = counts.as_slice() else { panic!("{topology}: {found}") };
        assert!(*nodes >= volumes && *groups > plan.bridges.len(), "{topology}: {found}");
    }
}
