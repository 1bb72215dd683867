//! Several Macs that share a declaration: the anchor of each is proven, and every rule that concerns the others is
//! needed.

use nixvol_net::model::{Declaration, Name};
use nixvol_net::plan::Plan;
use nixvol_net::render;
use serde_json::{Value, json};

use crate::proof::{is_refuted, rule_lines, with_line};
use crate::proof_edits::{before, refusal, with};
use crate::support::{declared, fixture};

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
    for mac in MACS {
        let (plan, anchor) = plan_and_anchor(&fixture("macs.json"), mac);
        for at in rule_lines(&anchor) {
            let line = anchor.lines().nth(at).expect("a line");
            assert!(is_refuted(&plan, &anchor, &with_line(&anchor, at, None)), "{mac}, deleted: {line}");
            let flipped = match line.split_once(' ') {
                Some(("pass", rest)) => {
                    format!("block return {}", rest.replace(" keep state", "").replace(" flags any", ""))
                }
                Some(("block", rest)) => {
                    format!("pass {}", rest.replacen("return-icmp ", "", 1).replacen("return ", "", 1).replacen("drop ", "", 1))
                }
                _ => continue,
            };
            assert!(is_refuted(&plan, &anchor, &with_line(&anchor, at, Some(&flipped))), "{mac}, flipped: {line}");
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
        ("NAT into the tunnel", before(a, "nat on $egress", "nat on $mesh inet from <internet> to any -> 10.20.1.1"), "from 10.20.1.1"),
        ("masquerade by the sender's Mac", before(a, "nat on $egress", &format!("nat inet proto udp from {own} to 10.22.0.0/16 port 53 -> 10.22.1.1")), "from 10.22.1.1"),
        ("the tunnel as a way out", filter("pass out quick on $mesh inet from 10.20.0.0/16 to any keep state"), "must be refused"),
        ("any source from another Mac", edit("pass in quick on $mesh", "macs", "from <macs>", "from any"), "must be"),
        ("one Mac too many", edit("table <macs>", "", "{ \\", "{ 100.127.0.9 \\"), "must be"),
        ("another Mac to other Macs' volumes", edit("pass in quick on $mesh", "macs", &format!("to {own}"), "to <nixvol>"), "must be"),
        ("this Mac by any of its addresses", edit("pass out quick on $mesh", "this-mac", "from 100.127.0.1", "from any"), "must be refused"),
        ("own sources from the tunnel", edit("block drop in quick on $mesh", "forged:mesh", "to any", "to <nixvol>"), "dropped silently"),
        ("sources of other Macs to the outside", edit("block drop quick", "elsewhere", &format!("! {own}"), "<nixvol>"), "dropped silently"),
        ("a leak past the tunnel over one interface", edit("block return out quick on ! $mesh", "", "! $mesh", "$egress"), "must be refused"),
        ("a leak over the tunnel's own name", edit("block return out quick on ! $mesh", "", "! $mesh", "! utun7"), "any"),
        ("a link that no other Mac has", edit("pass quick inet proto tcp", "link:api:db", "10.22.1.10", "10.22.1.20"), "must be"),
        ("refused without an answer", edit("block return-icmp out quick on ! $mesh", "", "return-icmp", "drop"), "refused with an ICMP error"),
        ("a RST whose checksum is incomplete", edit("block return-icmp out quick on ! $mesh", "", "return-icmp", "return"), "refused with an ICMP error"),
        ("a pipe on the receiver's Mac too", before(a, "dummynet out", "dummynet in quick on $mesh inet from 192.168.105.30 to 10.20.1.10 pipe 20001"), "pipe 20001"),
    ];
    for (name, edited, reason) in edits {
        let refused = refusal(&plan, &edited).unwrap_or_else(|| panic!("{name} was accepted"));
        assert!(refused.contains(reason), "{name}: no {reason:?} in\n{refused}");
    }
}
