//! Several Macs that share a declaration: the anchor of each is proven, and every rule that concerns the others is
//! needed.

use nixvol_net::model::{Declaration, Name};
use nixvol_net::plan::Plan;
use nixvol_net::prove::across::{OfMac, compose};
use nixvol_net::render;
use serde_json::{Value, json};

use crate::proof::{is_refuted, rule_lines, with_line};
use crate::proof_edits::{before, refusal, with};
use crate::support::{declared, fixture, is_long, names, providers, rendered, run};

const MACS: [&str; 3] = ["laptop", "mini", "studio"];

fn on(input: &Value, mac: &str) -> Declaration {
    let name = Name::new(mac, Name::LONGEST).expect("a name");
    declared(input).on(&name).expect("a Mac of the declaration")
}

fn plan_and_anchor(input: &Value, mac: &str) -> (Plan, String) {
    let plan = Plan::of(&on(input, mac));
    let anchor = render::anchor(&plan).expect("an anchor");
    (plan, anchor)
}

#[test]
fn the_anchor_of_every_mac_is_proven() {
    for mac in MACS {
        let (plan, anchor) = plan_and_anchor(&fixture("macs.json"), mac);
        assert_eq!(refusal(&plan, &anchor), None, "{mac}\n{anchor}");
    }
}

#[test]
fn without_other_macs_nothing_changes() {
    let mut input = fixture("rich.json");
    let alone = render::anchor(&Plan::of(&declared(&input))).expect("an anchor");
    let providers: Vec<&String> = input["providers"].as_object().expect("providers").keys().collect();
    let mac = json!({ "providers": providers, "endpoint": "a.local:1", "address": "100.127.0.1",
                      "publicKey": fixture("macs.json")["macs"]["mini"]["publicKey"] });
    input["macs"] = json!({ "only": mac });
    input["mac"] = json!("only");
    assert_eq!(render::anchor(&Plan::of(&declared(&input))).expect("an anchor"), alone);
}

#[test]
fn no_rule_of_a_mac_can_be_deleted_or_flipped() {
    let macs = if is_long() { &MACS[..] } else { &MACS[..1] };
    for mac in macs {
        let (plan, anchor) = plan_and_anchor(&fixture("macs.json"), mac);
        for at in rule_lines(&anchor) {
            let line = anchor.lines().nth(at).expect("a line");
            assert!(is_refuted(&plan, &anchor, &with_line(&anchor, at, None)), "{mac}, deleted: {line}");
            let flipped = match line.split_once(' ') {
                Some(("pass", rest)) => {
                    format!("block return {}", rest.replace(" keep state", "").replace(" flags any", ""))
                }
                Some(("block", rest)) => {
                    format!(
                        "pass {}",
                        rest.replacen("return-icmp ", "", 1)
                            .replacen("return ", "", 1)
                            .replacen("drop ", "", 1)
                    )
                }
                _ => continue,
            };
            assert!(
                is_refuted(&plan, &anchor, &with_line(&anchor, at, Some(&flipped))),
                "{mac}, flipped: {line}"
            );
        }
    }
}

#[test]
fn wrong_edits_of_the_rules_for_other_macs_are_refused() {
    let (plan, anchor) = plan_and_anchor(&fixture("macs.json"), "studio");
    let a = anchor.as_str();
    let own = "<aws_azure>";
    let edit = |begins: &str, holds: &str, old: &str, new: &str| {
        let changed = with(a, begins, holds, |line| line.replacen(old, new, 1));
        assert_ne!(changed, a, "nothing was changed");
        changed
    };
    let filter = |new: &str| before(a, "block drop quick", new);
    let edits: Vec<(&str, String, &str)> = vec![
        (
            "NAT into the tunnel",
            before(a, "nat on $egress", "nat on $mesh inet from <internet> to any -> 10.20.1.1"),
            "from 10.20.1.1",
        ),
        (
            "masquerade by the sender's Mac",
            before(
                a,
                "nat on $egress",
                &format!("nat inet proto udp from {own} to 10.22.0.0/16 port 53 -> 10.22.1.1"),
            ),
            "links.3 covers it",
        ),
        (
            "the tunnel as a way out",
            filter("pass out quick on $mesh inet from 10.20.0.0/16 to any keep state"),
            "must be refused",
        ),
        (
            "any source from another Mac",
            edit("pass in quick on $mesh", "macs", "from <macs>", "from any"),
            "must be",
        ),
        ("one Mac too many", edit("table <macs>", "", "{ \\", "{ 100.127.0.9 \\"), "must be"),
        (
            "another Mac to other Macs' volumes",
            edit("pass in quick on $mesh", "macs", &format!("to {own}"), "to <nixvol>"),
            "must be",
        ),
        (
            "this Mac by any of its addresses",
            edit("pass out quick on $mesh", "this-mac", "from 100.127.0.1", "from any"),
            "must be refused",
        ),
        (
            "own sources from the tunnel",
            edit("block drop in quick on $mesh", "forged:mesh", "to any", "to <nixvol>"),
            "dropped silently",
        ),
        (
            "sources of other Macs to the outside",
            edit("block drop quick", "elsewhere", &format!("! {own}"), "<nixvol>"),
            "dropped silently",
        ),
        (
            "a leak past the tunnel over one interface",
            edit("block return out quick on ! $mesh", "", "! $mesh", "$egress"),
            "must be refused",
        ),
        (
            "a leak over the tunnel's own name",
            edit("block return out quick on ! $mesh", "", "! $mesh", "! utun7"),
            "any",
        ),
        (
            "a link that no other Mac has",
            edit("pass quick inet proto tcp", "link:api:db", "10.22.1.10", "10.22.1.20"),
            "must be",
        ),
        (
            "refused without an answer",
            edit("block return-icmp out quick on ! $mesh", "", "return-icmp", "drop"),
            "refused with an ICMP error",
        ),
        (
            "a RST whose checksum is incomplete",
            edit("block return-icmp out quick on ! $mesh", "", "return-icmp", "return"),
            "refused with an ICMP error",
        ),
        (
            "a pipe on the receiver's Mac too",
            before(
                a,
                "dummynet out",
                "dummynet in quick on $mesh inet from 192.168.105.30 to 10.20.1.10 pipe 20001",
            ),
            "pipe 20001",
        ),
    ];
    let mut wrong = Vec::new();
    for (name, edited, reason) in edits {
        let refused = refusal(&plan, &edited).unwrap_or_else(|| "accepted".to_owned());
        if !refused.contains(reason) {
            wrong.push(format!("{name}: no {reason:?} in\n{refused}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// The composition of the anchors of all Macs, with the one of `mac` changed.
fn composed(input: &Value, mac: &str, change: impl Fn(&str) -> String) -> Vec<String> {
    let mut macs: Vec<(Plan, String)> = MACS.iter().map(|mac| plan_and_anchor(input, mac)).collect();
    let at = MACS.iter().position(|known| *known == mac).expect("a Mac");
    macs[at].1 = change(&macs[at].1);
    let macs: Vec<OfMac> = macs.iter().map(|(plan, anchor)| OfMac { plan, anchor }).collect();
    match compose(&macs) {
        Ok(composition) => {
            assert_eq!(composition.pairs, 6);
            Vec::new()
        }
        Err(discords) => discords.iter().map(ToString::to_string).collect(),
    }
}

/// Law 14, and that its proof can fail: each of these changes is one of a single Mac.
#[test]
fn through_two_macs_exactly_the_declared_traffic_passes() {
    let input = fixture("macs.json");
    let unchanged = composed(&input, "mini", str::to_owned);
    assert!(unchanged.is_empty(), "{unchanged:#?}");
    let edit = |old: &'static str, new: &'static str| {
        move |anchor: &str| {
            assert!(anchor.contains(old), "{old} is not in\n{anchor}");
            anchor.replacen(old, new, 1)
        }
    };
    let changed = composed(&input, "mini", edit("port { 5432 }", "port { 5433 }"));
    assert!(
        changed.iter().any(|it| it.starts_with("studio -> mini: ") && it.contains("does not pass both Macs")),
        "{changed:#?}"
    );
    // One Mac alone opens nothing: what passes the other without a link is the report of a refusal.
    let changed = composed(
        &input,
        "mini",
        edit("pass in quick on $mesh inet from <macs> to", "pass in quick on $mesh inet from any to"),
    );
    assert!(!changed.is_empty() && changed.iter().all(|it| it.contains(" type 3 ")), "{changed:#?}");
    let nat = |anchor: &str| {
        let all = "# --- Translation ---\n";
        anchor.replacen(
            all,
            &format!("{all}nat on $mesh inet from 10.22.0.0/16 to 10.20.0.0/16 -> 10.22.1.1\n"),
            1,
        )
    };
    let changed = composed(&input, "mini", nat);
    assert!(
        changed.iter().any(|it| it.starts_with("mini -> studio: ") && it.contains("another source")),
        "{changed:#?}"
    );
    let pipe = |anchor: &str| {
        anchor.replacen(
            "dummynet out quick",
            "dummynet in quick on $mesh inet from any to any pipe 20000\ndummynet out quick",
            1,
        )
    };
    let changed = composed(&input, "mini", pipe);
    assert!(
        changed.is_empty() || changed.iter().all(|it| it.contains("-> mini") && it.contains("too")),
        "{changed:#?}"
    );
}

#[test]
fn a_link_of_both_macs_that_is_wider_on_both_is_found() {
    let input = fixture("macs.json");
    let mut wider = input.clone();
    wider["links"][1]["ports"] = json!(["5432-5440"]);
    let plans: Vec<Plan> = MACS.iter().map(|mac| Plan::of(&on(&input, mac))).collect();
    let anchors: Vec<String> = MACS.iter().map(|mac| plan_and_anchor(&wider, mac).1).collect();
    let macs: Vec<OfMac> = plans.iter().zip(&anchors).map(|(plan, anchor)| OfMac { plan, anchor }).collect();
    let discords = compose(&macs).expect_err("more passes than is declared");
    let told: Vec<String> = discords.iter().map(ToString::to_string).collect();
    assert!(
        told.len() == 1 && told[0].starts_with("studio -> mini: ") && told[0].contains("no link covers it"),
        "{told:#?}"
    );
}

/// The work, in diagram nodes, of rendering and proving one of 20 Macs with 200 providers, and the composition of all.
#[test]
fn twenty_macs_with_two_hundred_providers_are_proven() {
    let mut input = providers(200);
    let all: Vec<String> = input["providers"].as_object().expect("providers").keys().cloned().collect();
    let names = names(20);
    for (number, name) in names.iter().enumerate() {
        let own: Vec<&String> = all.iter().skip(number * 10).take(10).collect();
        let key = format!(
            "{}{}=",
            "ABCDEFGHIJKLMNOPQRSTUVWXYZ".get(number + 1..number + 2).expect("a letter"),
            "A".repeat(42)
        );
        input["macs"][name] = json!({ "providers": own, "endpoint": format!("{name}.local:51820"),
                                      "publicKey": key, "address": format!("100.127.0.{}", number + 1) });
    }
    input["mac"] = json!(names[0]);
    let start = std::time::Instant::now();
    let (plan, anchor) = plan_and_anchor(&input, &names[0]);
    let proof = nixvol_net::prove::prove(&plan, &anchor).expect("it is proven");
    let one = start.elapsed();
    let macs: Vec<(Plan, String)> = names.iter().map(|mac| plan_and_anchor(&input, mac)).collect();
    let macs: Vec<OfMac> = macs.iter().map(|(plan, anchor)| OfMac { plan, anchor }).collect();
    let start = std::time::Instant::now();
    let composition = compose(&macs).expect("they compose");
    eprintln!("{proof:?} {one:?}; {composition:?} {:?}", start.elapsed());
    assert_eq!(composition.pairs, 380);
}

#[test]
fn a_bundle_is_of_one_mac() {
    let bundle = rendered(&fixture("macs.json"));
    let text = |path: &str| bundle.files[path].text.as_str();
    insta::with_settings!({ snapshot_path => "snapshots/macs", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("anchor", text("pf/anchor.conf"));
        insta::assert_snapshot!("wireguard", text("wireguard/nixvol.conf"));
        insta::assert_snapshot!("topology", text("topology.txt"));
    });
    let guests: Vec<&str> = bundle
        .files
        .keys()
        .filter_map(|path| path.strip_prefix("guests/")?.strip_suffix("/talos.yaml"))
        .collect();
    assert_eq!(guests, ["api", "node", "queue"]);
    assert!(text("hosts").contains("db.gcp.nixvol"), "the names of all");
    let manager = text("manage-macos-networking.sh");
    assert!(manager.contains("10.20.1.10") && !manager.contains("10.22.1.10"), "its own volumes only");
    assert!(!text("wireguard/nixvol.conf").to_lowercase().contains("privatekey"));
    // The bundle's own declaration renders it again.
    let again: Value = serde_json::from_str(text("network.json")).expect("JSON");
    assert_eq!(rendered(&again), bundle);
}

#[test]
fn the_program_speaks_of_all_macs() {
    let input = fixture("macs.json").to_string();
    let told = |arguments: &[&str], code: i32| {
        let output = run(arguments, &input);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}{error}");
        (text, error)
    };
    let (text, error) = told(&["test", "--all-macs", "--input", "-"], 0);
    assert!(text.starts_with("laptop: proven: ") && text.contains("6 ways"), "{text}");
    assert!(error.contains("note: macs: "), "{error}");
    let (text, _) = told(&["test", "--all-macs", "--input", "-", "--format", "json"], 0);
    assert!(text.contains("\"pairs\": 6"), "{text}");
    let mut all = String::new();
    for (from, to, protocol, code) in [
        ("api", "db:5432", "tcp", 0),
        ("api", "db:5433", "tcp", 1),
        ("worker", "node:6443", "tcp", 0),
        ("node", "talos:80", "tcp", 0),
        ("mac", "db:5432", "tcp", 0),
    ] {
        let (text, _) = told(&["explain", from, to, "--protocol", protocol, "--input", "-"], code);
        all = format!("{all}== {from} {to}\n{text}\n");
    }
    insta::with_settings!({ snapshot_path => "snapshots/macs", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("explain", all);
    });
    let directory = tempfile::tempdir().expect("a directory");
    let [old, new] = ["old.json", "new.json"].map(|name| directory.path().join(name).display().to_string());
    std::fs::write(&old, &input).expect("a file");
    let mut moved = fixture("macs.json");
    moved["macs"]["mini"]["providers"] = json!(["gcp"]);
    moved["macs"]["laptop"]["providers"] = json!(["lab", "ibm"]);
    std::fs::write(&new, moved.to_string()).expect("a file");
    let (text, _) = told(&["diff", &old, &new], 1);
    assert!(text.contains("mini") && text.contains("laptop"), "{text}");
    let one = run(&["test", "--all-macs"], "");
    assert!(String::from_utf8_lossy(&one.stderr).contains("there is one Mac"));
}
