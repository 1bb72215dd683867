//! The path of a packet as it is told: goldens, exit codes, captured rulesets, and the policy that it must agree with.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use nixvol_net::explain::{
    Captured, ExplainError, ExplainedRules, Explanation, Question, STOCK_MAIN, explain, ways_out,
};
use nixvol_net::loading::{Interfaces, load};
use nixvol_net::model::Declaration;
use nixvol_net::pf::eval::{Detail, Outcome, Via};
use nixvol_net::plan::Plan;
use nixvol_net::plan::policy::{ACK, ECHO, PolicyInterface, PolicyPacket, SYN, TCP, UDP};
use nixvol_net::render::{ANCHOR, bundle};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{cases, declared, default_input, fixture, root, run};

/// A declaration with everything that is made from it.
pub struct World {
    pub declaration: Declaration,
    pub plan: Plan,
    pub anchor: String,
}

impl World {
    pub fn new(input: &Value) -> Self {
        let declaration = declared(input);
        let plan = Plan::of(&declaration);
        let anchor = bundle(&declaration, &plan).expect("a bundle").files[ANCHOR].text.clone();
        Self { declaration, plan, anchor }
    }

    pub fn ask(&self, from: &str, to: &str, protocol: Option<&str>) -> Result<Explanation, ExplainError> {
        self.captured(from, to, protocol, &[])
    }

    pub fn captured(
        &self,
        source: &str,
        destination: &str,
        protocol: Option<&str>,
        captured: &[Captured],
    ) -> Result<Explanation, ExplainError> {
        let question = Question { source, destination, protocol, egress: "en0" };
        let rules = ExplainedRules { anchor: &self.anchor, name: ANCHOR, captured };
        explain(&self.declaration, &self.plan, &rules, &question)
    }

    /// The text of an explanation, which must have this outcome.
    fn told(&self, from: &str, to: &str, protocol: Option<&str>, passes: bool) -> String {
        let explanation =
            self.ask(from, to, protocol).unwrap_or_else(|error| panic!("{from} {to}: {error:?}"));
        assert_eq!(explanation.passes, passes, "{}", explanation.text());
        assert!(explanation.agrees(), "{}", explanation.text());
        explanation.text()
    }
}

/// The user's own topology, with a few places in the user's source.
pub fn mine() -> World {
    let mut input = default_input();
    input["positions"] = json!({
        "links.0": { "file": "network.nix", "line": 31, "column": 7 },
        "providers.aws": { "file": "network.nix", "line": 4, "column": 5 },
    });
    World::new(&input)
}

/// Guests, vmnet, publishes, masquerade, restricted links, no internet.
pub fn rich() -> World {
    World::new(&fixture("rich.json"))
}

/// A way that is slow there only, one that is slow both ways, and one that is narrower than that.
fn slow() -> World {
    let mut input = fixture("ways.json");
    input["positions"] = json!({
        "links.0.conditions": { "file": "network.nix", "line": 41, "column": 9 },
        "links.1": { "file": "network.nix", "line": 50, "column": 7 },
    });
    World::new(&input)
}

fn golden(name: &str, text: &str) {
    insta::with_settings!({ snapshot_path => "snapshots/explain", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, text);
    });
}

#[test]
fn paths_of_the_default() {
    let mine = mine();
    let told = [
        mine.told("etcd-1", "etcd-2:2379", None, true),
        mine.told("etcd-1.aws.nixvol", "karpenter-worker-1.nixvol", None, true),
        mine.told("karpenter-worker-1", "internet:443", None, true),
        mine.told("lan", "etcd-1:2379", None, false),
        mine.told("mac", "etcd-1:2379", None, true),
        mine.told("aws", "gcp:53", Some("udp"), true),
        mine.told("etcd-1", "aws.gateway", None, true),
        mine.told("192.0.2.10", "10.0.1.2:22", None, true),
    ];
    golden("default", &told.join("\n----\n\n"));
}

#[test]
fn paths_of_the_rich_fixture() {
    let rich = rich();
    let told = [
        rich.told("api", "db:5432", None, true),
        rich.told("api", "db:5433", None, false),
        rich.told("db", "api:5432", None, false),
        rich.told("api", "node:6443", None, true),
        rich.told("node", "talos:80", None, true),
        rich.told("node", "api:2379", None, true),
        rich.told("node", "internet:443", None, true),
        rich.told("probe", "internet", None, false),
        rich.told("probe", "cache", None, true),
        rich.told("mac", "api.localhost:443", None, true),
        rich.told("talos", "localhost:80", None, false),
        rich.told("aws.gateway", "internet", None, false),
        rich.told("192.0.2.10", "lab:22", None, false),
        rich.told("talos", "vm", None, true),
        rich.told("lab", "lab", Some("47"), true),
    ];
    golden("rich", &told.join("\n----\n\n"));
}

#[test]
fn paths_through_pipes() {
    let slow = slow();
    let told = [
        // On lo0 both ways, and to and from a VM.
        slow.told("etcd-1", "etcd-2:2379", None, true),
        slow.told("etcd-1", "etcd-2:22", None, false),
        slow.told("api", "etcd-3", None, true),
        slow.told("etcd-1", "etcd-3", None, true),
        slow.told("etcd-1", "worker:2379", None, true),
        slow.told("worker", "etcd-3", None, true),
        slow.told("etcd-3", "worker", None, true),
        slow.told("etcd-1", "api", None, true),
    ];
    golden("conditions", &told.join("\n----\n\n"));
}

/// The proof reads the anchor by itself; a Mac asks it as a child of `com.apple/*`, which is another matter for
/// dummynet.
#[test]
fn below_the_stock_ruleset_each_packet_goes_through_its_pipe() {
    for fixture_name in ["ways.json", "conditions.json", "rich.json"] {
        let world = World::new(&fixture(fixture_name));
        let volumes = world.plan.volumes.iter().map(|volume| volume.name.to_string());
        let gateways = world.plan.bridges.iter().map(|bridge| format!("{}.gateway", bridge.provider));
        let ends: Vec<String> =
            volumes.chain(gateways).chain(["mac", "internet"].map(str::to_owned)).collect();
        let mut met = 0;
        for (from, to) in ends.iter().flat_map(|from| ends.iter().map(move |to| (from, to))) {
            let Ok(explanation) = world.ask(from, to, None) else { continue };
            assert!(explanation.agrees(), "{fixture_name}: {}", explanation.text());
            let hops = explanation.packet.iter().chain(&explanation.answer);
            met += hops.map(|hop| hop.pipes.len()).sum::<usize>();
        }
        assert!(met > 0, "{fixture_name}");
    }
}

#[test]
fn latency_that_pipes_add_to_a_round_trip() {
    let slow = slow();
    let added = |from: &str, to: &str, protocol| {
        let added = slow.ask(from, to, protocol).expect("an explanation").added;
        added.map(|added| (added.there_ms, added.back_ms, added.round_trip_ms))
    };
    assert_eq!(added("etcd-1", "etcd-2:2379", None), Some((40, 0, 40)));
    assert_eq!(added("api", "etcd-3", None), Some((10, 10, 20)));
    // The narrower way there loses and is not slow; back it is the broad one.
    assert_eq!(added("etcd-1", "etcd-3", None), Some((0, 10, 10)));
    assert_eq!(added("etcd-1", "api", None), None, "inside a provider");
    assert_eq!(added("etcd-1", "etcd-2:22", None), None, "nothing comes back");
    assert_eq!(added("etcd-1", "internet:443", None), None);
}

#[test]
fn the_json_has_the_whole_explanation() {
    let explanation = mine().ask("etcd-1", "etcd-2:2379", None).expect("an explanation");
    golden("json", &serde_json::to_string_pretty(&explanation).expect("JSON"));
    let slow: Value =
        serde_json::to_value(slow().ask("etcd-1", "etcd-2:2379", None).expect("it")).expect("JSON");
    let hop = &slow["packet"][0]["pipes"][0];
    assert_eq!(
        (&hop["kind"], &hop["number"], &hop["latencyMs"]),
        (&json!("pipe"), &json!(20_000), &json!(40))
    );
    assert_eq!(hop["conditions"], "40 ms, 1% lost, 100000 kbit/s");
    assert_eq!(hop["rule"]["file"], ANCHOR);
    assert_eq!(hop["declared"]["path"], "links.0.conditions");
    assert_eq!(hop["declared"]["place"]["line"], 41);
    assert_eq!(slow["packet"][1]["pipes"], json!([]));
    assert_eq!(slow["added"], json!({ "thereMs": 40, "backMs": 0, "roundTripMs": 40 }));
}

#[test]
fn invalid_questions_are_refused_with_a_reason() {
    let rich = rich();
    let wrong = |world: &World, from: &str, to: &str, protocol| match world.ask(from, to, protocol) {
        Err(ExplainError::Question(wrong)) => format!("{from:?} {to:?}: {wrong}\n"),
        other => panic!("{from} {to}: {other:?}"),
    };
    let mut told = String::new();
    for (from, to, protocol) in [
        ("etcd-9", "etcd-1", None),
        ("karpenter", "etcd-1", None),
        ("nobody-knows-whom", "etcd-1", None),
        ("etcd-1.gcp", "etcd-2", None),
        ("awz", "gcp", None),
        ("internett", "gcp", None),
        ("aws.gatway", "gcp", None),
        ("etcd-1:80", "etcd-2", None),
        ("::1", "etcd-2", None),
        ("etcd-1", "[::1]:80", None),
        ("etcd-1", "etcd-2:0", None),
        ("etcd-1", "etcd-2:ssh", None),
        ("etcd-1", "etcd-2:70000", None),
        ("etcd-1", "etcd-2", Some("tcp")),
        ("etcd-1", "etcd-2:80", Some("icmp")),
        ("etcd-1", "etcd-2", Some("sctp")),
        ("etcd-1", "224.0.0.1", None),
        ("internet", "lan", None),
        ("\u{1b}[2J", "lan", None),
    ] {
        told += &wrong(&mine(), from, to, protocol);
    }
    told += &wrong(&rich, "node.localhost", "api", None);
    told += &wrong(&rich, "node", "10.21.0.20", None);
    assert!(!told.contains('\u{1b}'));
    golden("wrong", &told);
}

#[test]
fn exit_codes_and_streams() {
    let check = |arguments: &[&str], code: i32| {
        let output = run(&[&["explain"], arguments].concat(), "");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {out}{err}");
        assert_eq!((out.is_empty(), err.is_empty()), (code == 2, code != 2), "{arguments:?}: {out}{err}");
        out + &err
    };
    let rich = root().join("tests/fixtures/rich.json");
    let rich = rich.to_string_lossy();
    check(&["etcd-1", "etcd-2:2379"], 0);
    check(&["lan", "etcd-2:2379"], 1);
    assert!(check(&["etcd-9", "etcd-2"], 2).starts_with("error: no volume, provider or address"));
    check(&["etcd-1"], 2);
    check(&["api", "db:5432", "--input", &rich], 0);
    check(&["api", "db:5432", "--protocol", "udp", "--input", &rich], 1);
    check(&["etcd-1", "etcd-2", "--ruleset", "/nowhere/capture"], 2);
    check(&["etcd-1", "etcd-2", "--ruleset", "main="], 2);
    let json: Value =
        serde_json::from_str(&check(&["lan", "etcd-1:2379", "--format", "json"], 1)).expect("JSON");
    assert_eq!(json["passes"], false);
    assert_eq!(json["packet"][0]["rule"]["label"], "outside");
    assert_eq!(json["packet"][0]["reason"]["verdict"], "drop");
    check(&["etcd-1", "internet:443", "--egress", "utun3"], 0);
}

#[test]
fn a_capture_in_files_is_read_by_the_program() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("vpn");
    std::fs::write(&file, "block drop quick from any to 10.1.0.0/16\n").expect("a file");
    let code = |name: &str| {
        let ruleset = format!("{name}={}", file.display());
        run(&["explain", "etcd-1", "etcd-2:2379", "--ruleset", &ruleset], "").status.code()
    };
    assert_eq!(code("com.apple/100.vpn"), Some(1), "it comes before ours");
    assert_eq!(code("com.apple/300.vpn"), Some(0), "it comes behind ours");
    assert_eq!(code("com.vpn"), Some(0), "nothing calls it");
    assert_eq!(code("main"), Some(1));
    let piped = |arguments: &[&str]| {
        run(&[&["explain", "etcd-1", "etcd-2:2379"], arguments].concat(), "block drop quick all\n")
            .status
            .code()
    };
    assert_eq!(piped(&["--ruleset", "-"]), Some(1));
    assert_eq!(piped(&["--ruleset", "-", "--ruleset", "com.apple/1=-"]), Some(2));
    assert_eq!(piped(&["--ruleset", "-", "--input", "-"]), Some(2));
    std::fs::write(&file, "pass\n\n  block bogus\n").expect("a file");
    let broken = run(&["explain", "etcd-1", "etcd-2", "--ruleset", &file.to_string_lossy()], "");
    assert_eq!(broken.status.code(), Some(2));
    let place = format!("{}:3:9: ", file.display());
    assert!(String::from_utf8_lossy(&broken.stderr).starts_with(&place));
}

/// What pfctl prints of the main ruleset and of our anchor: rules first, then translation, no tables and no dummynet.
fn capture(world: &World, foreign: &str) -> Captured {
    capture_of(world, foreign, "", |_| String::new())
}

/// The same with what `-s dummynet` prints: of the main ruleset, and what is made of our own.
fn capture_of(world: &World, foreign: &str, main: &str, ours: impl Fn(String) -> String) -> Captured {
    let mut environment = nixvol_net::pf::Environment::default();
    environment.macros.insert("egress".to_owned(), "en0".to_owned());
    let anchor = nixvol_net::pf::parse(&world.anchor, &environment).expect("an anchor");
    let print = |rules: &[nixvol_net::pf::syntax::Rule]| -> String {
        rules.iter().map(|rule| nixvol_net::pf::print_rule(rule) + "\n").collect()
    };
    let rules = anchor.rules;
    let (filter, nat, rdr) = (print(&rules.filter), print(&rules.nat), print(&rules.rdr));
    let filter = print(&rules.scrub) + &filter;
    let dummynet = ours(print(&rules.dummynet));
    let noise = "No ALTQ support in kernel\nALTQ related functions disabled\n";
    let text = format!(
        "{noise}scrub-anchor \"com.apple/*\" all fragment reassemble\nanchor \"com.apple/*\" all\n\
         nat-anchor \"com.apple/*\" all\nrdr-anchor \"com.apple/*\" all\n{main}{foreign}\
         # anchor com.apple/250.nixvol\n{filter}{nat}{rdr}{dummynet}"
    );
    Captured { name: "capture".to_owned(), anchor: None, text }
}

const VPN: &str = "# anchor com.apple/100.vpn
@0 block drop in quick on lo0 proto tcp from any to any port = 2379
  [ Evaluations: 12        Packets: 3         Bytes: 180         States: 0     ]
@1 pass out from <peers> to any flags S/SA keep state
@0 nat on utun3 inet from any to any -> 10.8.0.2
";

#[test]
fn a_foreign_anchor_is_named_when_it_decides() {
    let mine = mine();
    let ask = |to: &str, foreign: &str| {
        mine.captured("etcd-1", to, None, &[capture(&mine, foreign)]).expect("an explanation")
    };
    let blocked = ask("etcd-2:2379", VPN);
    assert!(!blocked.passes && blocked.agrees() && !blocked.disagreements.is_empty());
    let rule = blocked.packet[1].rule.as_ref().expect("a rule");
    assert_eq!((rule.anchor.as_str(), rule.line, rule.ours), ("com.apple/100.vpn", Some(8), false));
    golden("captured", &blocked.text());
    let passes = ask("etcd-2:2380", VPN);
    assert!(passes.passes && passes.disagreements.is_empty(), "{}", passes.text());
    assert!(passes.packet[0].rule.as_ref().is_some_and(|rule| rule.ours));
    let quiet = ask("etcd-2:2379", "");
    assert!(quiet.passes && quiet.notes.is_empty(), "{}", quiet.text());
}

#[test]
fn pipes_are_read_from_a_capture_that_has_them() {
    const CALL: &str = "dummynet-anchor \"com.apple/*\" all\n";
    let slow = slow();
    let ask = |captured: Captured| {
        slow.captured("etcd-1", "etcd-2:2379", None, &[captured]).expect("an explanation")
    };
    // As `pfctl -s rules` and `-s nat` alone print it: nothing is known of pipes, and nothing is said against them.
    let without = ask(capture(&slow, ""));
    assert!(
        without.passes && without.disagreements.is_empty() && without.added.is_none(),
        "{}",
        without.text()
    );
    assert!(without.text().contains("`pfctl -s dummynet`"), "{}", without.text());
    let whole = ask(capture_of(&slow, "", CALL, |ours| ours));
    assert!(whole.disagreements.is_empty() && whole.notes.is_empty(), "{}", whole.text());
    assert_eq!(whole.packet[0].pipes[0].number, 20_000);
    assert_eq!(whole.packet[0].pipes[0].rule.file.as_deref(), Some("capture"));
    let lost = ask(capture_of(&slow, "", CALL, |_| String::new()));
    let says = "as declared this packet goes through pipe 20000, but no rule sends it there";
    assert_eq!(lost.disagreements, [says], "{}", lost.text());
    assert!(lost.agrees() && lost.passes);
    let uncalled = ask(capture_of(&slow, "", "", |ours| ours));
    assert_eq!(uncalled.disagreements, [says], "the main ruleset asks no anchor: {}", uncalled.text());
    let others = "# anchor com.apple/100.slow\n@0 dummynet out quick inet from any to any pipe 7\n  [ Evaluations: 1 ]\n";
    let theirs = ask(capture_of(&slow, others, CALL, |ours| ours));
    let pipe = &theirs.packet[0].pipes[0];
    assert_eq!((pipe.number, pipe.rule.ours, &pipe.conditions), (7, false, &None));
    assert!(theirs.text().contains("pipe 7: not of this network"), "{}", theirs.text());
    assert!(
        theirs.disagreements[0]
            .ends_with("but it matches pipe 7 of the anchor com.apple/100.slow, then pipe 20000"),
        "{}",
        theirs.text()
    );
    // Below the wildcard a rule that is not quick has no effect.
    let idle = others.replace(" quick", "");
    let idle = ask(capture_of(&slow, &idle, CALL, |ours| ours));
    assert!(idle.disagreements.is_empty() && idle.packet[0].pipes.len() == 1, "{}", idle.text());
    let kept_out = ask(capture_of(&slow, "", CALL, |ours| {
        format!("no dummynet out quick inet from any to any\n{ours}")
    }));
    assert!(kept_out.disagreements[0].ends_with("but it matches `no dummynet`"), "{}", kept_out.text());
    let older = ask(capture_of(&slow, "", CALL, |ours| ours.replace("pipe 20000", "pipe 20001")));
    assert!(older.text().contains("is not what this declaration renders"), "{}", older.text());
}

#[test]
fn an_incomplete_capture_is_reported() {
    let mine = mine();
    let ask = |name: Option<&str>, text: &str| {
        let anchor = name.map(str::to_owned);
        let captured = Captured { name: "capture".to_owned(), anchor, text: text.to_owned() };
        mine.captured("lan", "etcd-1:22", None, &[captured]).expect("an explanation")
    };
    let bare = ask(None, STOCK_MAIN);
    assert!(bare.passes && bare.text().contains("none of its rules are in force"), "{}", bare.text());
    let uncalled = ask(Some("main"), "pass all\n");
    assert!(uncalled.disagreements[0].contains("the main ruleset decides instead"), "{}", uncalled.text());
    let kind = ask(Some("com.apple/100.x"), "block drop in quick on en0 all\n");
    assert_eq!(kind.disagreements, ["the anchor com.apple/100.x decides instead, to the same effect"]);
    let older = ask(Some("com.apple/250.nixvol"), "pass quick from any to <nixvol>\n");
    assert!(older.passes && older.text().contains("is not what this declaration renders"));
    assert!(!older.text().contains("taken as empty"), "our tables come from the rendered anchor");
    let skip = ask(Some("main"), &format!("set skip on en0\n{STOCK_MAIN}"));
    assert!(skip.passes && skip.text().contains("set skip"), "{}", skip.text());
    let friends = ask(Some("com.apple/100.x"), "block from <friends> to any\ntable <known> { 10.0.0.1 }\n");
    assert!(friends.text().contains("<friends> of the anchor com.apple/100.x"), "{}", friends.text());
    let nested = ask(
        Some("main"),
        "anchor \"x\" all {\n  block drop in quick on en0 all\n}\nnat on en1 all -> 1.2.3.4\n",
    );
    let rule = nested.packet[0].rule.as_ref().expect("a rule");
    assert_eq!((rule.anchor.as_str(), rule.line), ("x", Some(2)), "{}", nested.text());
}

/// What a Mac holds that the manager has loaded the anchor on.
pub fn held(anchor: &str, interfaces: &Interfaces) -> Captured {
    let text = load(anchor, interfaces).text;
    let rules =
        nixvol_net::pf::parse(&text, &nixvol_net::pf::Environment::default()).expect("an anchor").rules;
    let text =
        rules.lists().into_iter().flatten().map(|rule| nixvol_net::pf::print_rule(rule) + "\n").collect();
    Captured { name: "held".to_owned(), anchor: Some("com.apple/250.nixvol".to_owned()), text }
}

#[test]
fn loaded_rules_match_the_rendered_ones_for_any_interfaces() {
    let mine = mine();
    let names =
        mine.plan.bridges.iter().zip(["bridge2000", "bridge2003", "bridge2001", "bridge2009", "bridge100"]);
    let bridges: Vec<(&str, &str)> = names.map(|(bridge, name)| (bridge.provider.as_str(), name)).collect();
    let strict = |interfaces| Interfaces { extfilter: true, ..interfaces };
    let all = || Interfaces::new(["en5", "utun4"], bridges.clone()).with_foreign(["bridge101", "ap1"]);
    let one_gone = || all().without(bridges[0].0);
    let several = [
        all(),
        strict(all()),
        one_gone(),
        strict(one_gone()),
        Interfaces::new(["en0"], []),
        Interfaces::new([], bridges.clone()),
    ];
    for interfaces in several {
        let captured = [held(&mine.anchor, &interfaces)];
        let told = mine.captured("etcd-1", "etcd-2:2379", None, &captured).expect("an explanation");
        assert!(told.passes && !told.text().contains("is not what"), "{interfaces:?}: {}", told.text());
        assert!(!told.text().contains("no hop is there"), "{interfaces:?}: {}", told.text());
        let rules = ExplainedRules { anchor: &mine.anchor, name: ANCHOR, captured: &captured };
        assert_eq!(ways_out(&mine.plan, &rules), interfaces.egress, "{interfaces:?}");
    }
    let captured = held(&mine.anchor, &strict(all()));
    let ask = |captured: &Captured| {
        mine.captured("etcd-1", "etcd-2:2379", None, std::slice::from_ref(captured))
            .expect("an explanation")
            .text()
    };
    assert!(ask(&captured).contains("is bridge2003"), "{}", ask(&captured));
    assert!(ask(&captured).contains("the capture has the ways out en5, utun4"), "{}", ask(&captured));
    let gone = ask(&held(&mine.anchor, &one_gone()));
    assert!(gone.contains(&format!("no rule of the capture is for bridge-{}", bridges[0].0)), "{gone}");
    // Any rule that is missing, or for another interface, is seen; but for an interface that no other rule is for.
    let lines: Vec<&str> = captured.text.lines().collect();
    for left_out in 0..lines.len() {
        let mut kept = lines.clone();
        let line = kept.remove(left_out);
        let text = kept.join("\n") + "\n";
        let told = ask(&Captured { text, ..captured.clone() });
        let is_seen = told.contains("is not what this declaration renders")
            || told.contains("no rule of the capture is for bridge-") && line.contains("\"forged:");
        assert!(is_seen || line.contains("\"forged:outside\""), "without {line}: {told}");
    }
    let moved = captured.text.replacen("in quick on en5", "in quick on en6", 1);
    assert_ne!(moved, captured.text);
    let moved =
        Captured { text: moved + "block drop in quick on en7 inet from any to any\n", ..captured.clone() };
    assert!(ask(&moved).contains("it holds `block drop in quick on en7"), "{}", ask(&moved));
}

#[test]
fn the_outcome_for_the_client_is_reported_for_a_capture_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let world = World::new(&fixture("restricted.json"));
    let interfaces = Interfaces::new(
        ["en5", "utun4"],
        [("aws", "bridge2000"), ("azure", "bridge2003"), ("gcp", "bridge2004")],
    );
    let file = directory.path().join("held");
    let ask = |captured: &Captured, arguments: &[&str]| {
        fs::write(&file, &captured.text).expect("a file");
        let ruleset = format!("com.apple/250.nixvol={}", file.display());
        let arguments =
            [arguments, &["--input", "tests/fixtures/restricted.json", "--ruleset", &ruleset]].concat();
        let output = run(&[&["explain"], arguments.as_slice()].concat(), "");
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("text");
        text.lines().last().expect("a line").to_owned()
    };
    let captured = held(&world.anchor, &interfaces);
    let late = "the client sees: refused after 1 s: macOS ignores the first RST of a local peer if the SYN asked for ECN";
    assert_eq!(ask(&captured, &["etcd-1", "etcd-2:22"]), late);
    assert_eq!(ask(&captured, &["lan", "etcd-1:22"]), "the client sees: silence");
    // Without the rule that lets an unfinished segment out, its refusal has no sum that is right.
    let older =
        captured.text.lines().filter(|line| !line.contains("between:out")).map(|line| line.to_owned() + "\n");
    let older = Captured { text: older.collect(), ..captured };
    assert_eq!(
        ask(&older, &["etcd-1", "etcd-2:22"]),
        "the client sees: no answer, then a timeout after 75 s"
    );
}

#[test]
fn a_foreign_translation_is_named_too() {
    let mine = mine();
    let vpn = "# anchor com.apple/100.vpn\nnat on en0 inet from any to any -> 10.8.0.2\n";
    let told = mine.captured("etcd-1", "internet:443", None, &[capture(&mine, vpn)]).expect("an explanation");
    assert_eq!(
        told.disagreements,
        ["as declared this packet passes, but the anchor com.apple/100.vpn translates it"]
    );
    assert!(told.text().contains("-> 10.8.0.2  (anchor com.apple/100.vpn)"), "{}", told.text());
}

#[test]
fn rules_that_deviate_from_the_declaration_are_reported_prominently() {
    let mut mine = mine();
    let (before, rest) =
        mine.anchor.split_once("pass quick inet from <nixvol> to <nixvol>").expect("the link");
    mine.anchor = format!("{before}# {rest}");
    let explanation = mine.ask("etcd-1", "etcd-2:2379", None).expect("an explanation");
    assert!(!explanation.passes && !explanation.agrees());
    let text = explanation.text();
    assert!(text.contains("THE RULES ARE WRONG: as declared this packet passes"), "{text}");
    mine.anchor = mine.anchor.replace("-> ($egress:0)", "-> 192.0.2.99");
    let text = mine.ask("etcd-1", "internet:80", None).expect("an explanation").text();
    assert!(text.contains("THE RULES ARE WRONG: as declared this packet becomes 192.0.2.10 ->"), "{text}");
    let mut slow = slow();
    slow.anchor = slow.anchor.replace("\ndummynet out", "\n# dummynet out");
    let text = slow.ask("etcd-1", "etcd-2:2379", None).expect("an explanation").text();
    assert!(text.contains("THE RULES ARE WRONG: as declared this packet goes through pipe 20000"), "{text}");
    mine.anchor = "pass quick from any to".to_owned();
    assert!(matches!(mine.ask("etcd-1", "etcd-2", None), Err(ExplainError::Rules(_))));
}

/// Every way to name an end of these two topologies, and a few other hosts.
const ENDS: [&str; 16] = [
    "api",
    "db",
    "node",
    "probe",
    "talos",
    "cache",
    "aws",
    "gcp",
    "lab",
    "vm",
    "aws.gateway",
    "vm.gateway",
    "internet",
    "lan",
    "mac",
    "api.localhost",
];

const MINE: [&str; 12] = [
    "etcd-1",
    "etcd-2",
    "karpenter-worker-1",
    "talos-control-plane-1",
    "aws",
    "azure",
    "gcp",
    "ibm.gateway",
    "internet",
    "mac",
    "192.0.2.10",
    "localhost",
];

/// The policy's word for the packet of each hop that no state passes, against the hop.
fn agrees_with_the_policy(world: &World, explanation: &Explanation) -> Result<(), TestCaseError> {
    let v4 = |address: IpAddr| match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    };
    let hops = explanation.packet.iter().map(|hop| (hop, true));
    for (hop, opening) in hops.chain(explanation.answer.iter().map(|hop| (hop, false))) {
        if hop.via == Via::State {
            continue;
        }
        let interface = match hop.interface.as_str() {
            "lo0" => PolicyInterface::Loopback,
            "en0" => PolicyInterface::Egress,
            name => {
                let bridges = &world.plan.bridges;
                let found = bridges.iter().position(|bridge| bridge.logical.as_str() == name);
                PolicyInterface::Bridge(found.expect("a bridge"))
            }
        };
        let protocol = explanation.service.protocol;
        let packet = PolicyPacket {
            direction: hop.direction,
            interface,
            source: v4(hop.before.source),
            destination: v4(hop.before.destination),
            protocol,
            port: if let Detail::Ports(_, port) = hop.before.detail { port } else { 0 },
            flags: if opening { SYN } else { ACK },
            icmp: ECHO,
        };
        let decision = world.plan.policy.decide(&packet);
        let passes = !decision.verdict.blocks();
        prop_assert_eq!(hop.action == Outcome::Pass, passes, "{}", explanation.text());
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn the_verdict_agrees_with_the_policy(
        is_rich in any::<bool>(),
        from in 0_usize..16,
        to in 0_usize..16,
        service in prop_oneof![
            prop::sample::select(vec![53_u16, 80, 443, 2379, 5432, 6443]).prop_map(|port| (TCP, port)),
            prop::sample::select(vec![53_u16, 2379]).prop_map(|port| (UDP, port)),
            Just((1, 0)),
            Just((47, 0)),
        ],
    ) {
        let world = if is_rich { rich() } else { mine() };
        let name = |index: usize| if is_rich { ENDS[index] } else { MINE[index % MINE.len()] };
        let (protocol, port) = service;
        let to = if port == 0 { name(to).to_owned() } else { format!("{}:{port}", name(to)) };
        let explanation = match world.ask(name(from), &to, Some(&protocol.to_string())) {
            Ok(explanation) => explanation,
            Err(ExplainError::Question(wrong)) => {
                let known = wrong.message.starts_with("neither") || wrong.message.ends_with("are the same machine");
                prop_assert!(known, "{}", wrong);
                return Ok(());
            }
            Err(error) => return Err(TestCaseError::fail(format!("{error:?}"))),
        };
        prop_assert!(explanation.disagreements.is_empty(), "{}", explanation.text());
        agrees_with_the_policy(&world, &explanation)?;
        let hops = explanation.packet.iter().chain(&explanation.answer);
        let through = explanation.refused.is_none() && hops.clone().all(|hop| hop.action == Outcome::Pass);
        prop_assert_eq!(explanation.passes, through);
        let blocked = hops.filter(|hop| hop.action == Outcome::Block).count();
        prop_assert!(blocked <= 1, "a packet goes on where it was blocked: {}", explanation.text());
    }
}
