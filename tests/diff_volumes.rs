//! `diff`: what new, removed, moved and renamed volumes gain and lose.

use nixvol_net::diff::record::DiffRecord;
use nixvol_net::diff::{markdown, text};
use serde_json::{Value, json};

use crate::diff::{diff, narrow};
use crate::diff_words::networks;

#[test]
fn a_volume_that_moves_takes_its_new_providers_links() {
    let mut old = narrow();
    let link = json!({ "from": ["gcp"], "to": ["etcd-1"], "protocol": "tcp", "ports": [2379] });
    old["links"].as_array_mut().expect("links").push(link);
    let mut new = old.clone();
    new["volumes"]["karpenter-worker-3"]["provider"] = json!("ibm");
    new["volumes"]["karpenter-worker-3"]["address"] = json!("10.3.2.9");
    let diff = diff(&old, &new);
    assert!(diff.flows.is_empty() && diff.translations.is_empty(), "by address nothing changed");
    let shown = text::text(&diff, text::Style::default());
    let told = "Volumes
~ moved karpenter-worker-3 from 10.2.3.2 of gcp to 10.3.2.9 of ibm
    + may open ibm any protocol
    + may be opened by ibm any protocol
    - may open etcd-1 tcp 2379
    - may open gcp any protocol
    - may be opened by gcp any protocol
";
    assert!(shown.contains(told), "{shown}");
    assert!(markdown::markdown(&diff, false).contains("\n    - may open etcd-1 tcp 2379\n"));
    let record = serde_json::to_value(DiffRecord::of(&diff, false)).expect("JSON");
    assert_eq!(record["volumes"][0]["change"], "moved");
    assert_eq!(record["volumes"][0]["lost"][0], json!({ "to": ["etcd-1"], "services": "tcp 2379" }));
}

/// Three providers with a network each, these volumes, and a link by TCP.
fn placed(all: &[(&str, &str, &str)], from: &str, to: &[&str], ports: &[u16]) -> Value {
    let mut input = networks(&[
        ("a", "10.0.0.0/24", "10.0.0.1/24"),
        ("b", "10.1.0.0/24", "10.1.0.1/24"),
        ("c", "10.2.0.0/24", "10.2.0.1/24"),
    ]);
    for (name, provider, address) in all {
        input["volumes"][name] = json!({ "provider": provider, "address": address });
    }
    input["links"] = json!([{ "from": [from], "to": to, "protocol": "tcp", "ports": ports }]);
    input
}

/// The lines about volumes.
fn turns(old: &Value, new: &Value) -> Vec<String> {
    diff(old, new).volumes.iter().flat_map(text::volume).collect()
}

#[test]
fn a_volume_at_the_address_of_one_that_moved_is_new() {
    let old = placed(&[("v", "a", "10.0.0.9")], "b", &["v"], &[80]);
    let new = placed(&[("v", "a", "10.0.0.10"), ("w", "a", "10.0.0.9")], "b", &["v"], &[80]);
    assert_eq!(
        turns(&old, &new),
        [
            "+ new w (10.0.0.9 of a)",
            "    + may open a, localhost, the internet any protocol",
            "    + may be opened by a, localhost, this Mac any protocol",
            "~ moved v from 10.0.0.9 of a to 10.0.0.10 of a",
            "    + may open w (v before) any protocol",
            "    + may be opened by w (v before) any protocol",
        ]
    );
}

#[test]
fn a_volume_of_another_provider_is_not_renamed() {
    let old = placed(&[("v", "a", "10.0.0.9")], "b", &["v"], &[80]);
    let other = |name: &str| {
        let mut input = placed(&[(name, "z", "10.0.0.9")], "b", &[name], &[80]);
        let a = input["providers"].as_object_mut().expect("providers").remove("a").expect("a provider");
        input["providers"]["z"] = a;
        input
    };
    assert_eq!(
        turns(&old, &other("w")),
        [
            "+ new w (10.0.0.9 of z)",
            "    + may open z (a before), localhost, the internet any protocol",
            "    + may be opened by b tcp 80",
            "    + may be opened by z (a before), localhost, this Mac any protocol",
            "- gone v (10.0.0.9 of a)",
            "    - may open a (z now), localhost, the internet any protocol",
            "    - may be opened by a (z now), localhost, this Mac any protocol",
            "    - may be opened by b tcp 80",
        ]
    );
    assert_eq!(turns(&old, &other("v"))[0], "~ moved v from 10.0.0.9 of a to 10.0.0.9 of z");
}

#[test]
fn a_peer_is_the_same_wherever_it_is_and_whatever_its_name() {
    let old = placed(&[("v", "a", "10.0.0.9"), ("w", "b", "10.1.0.9")], "v", &["w"], &[80]);
    let moved = |ports| placed(&[("v", "a", "10.0.0.10"), ("w", "b", "10.1.0.10")], "v", &["w"], ports);
    let [v, w] =
        ["~ moved v from 10.0.0.9 of a to 10.0.0.10 of a", "~ moved w from 10.1.0.9 of b to 10.1.0.10 of b"];
    let nothing = "    nothing gained or lost";
    assert_eq!(turns(&old, &moved(&[80])), [v, nothing, w, nothing]);
    assert_eq!(
        turns(&old, &moved(&[80, 81])),
        [v, "    + may open w (10.1.0.10) tcp 81", w, "    + may be opened by v (10.0.0.10) tcp 81",]
    );
    let renamed = placed(&[("v", "a", "10.0.0.10"), ("x", "b", "10.1.0.9")], "v", &["x"], &[80]);
    assert_eq!(turns(&old, &renamed), [v, nothing, "~ renamed w to x (10.1.0.9 of b)", nothing]);
    let renamed = placed(&[("v", "a", "10.0.0.10"), ("x", "b", "10.1.0.9")], "v", &["x"], &[81]);
    assert_eq!(
        turns(&old, &renamed),
        [
            v,
            "    + may open x (w before) tcp 81",
            "    - may open w (x now) tcp 80",
            "~ renamed w to x (10.1.0.9 of b)",
            "    + may be opened by v (10.0.0.10) tcp 81",
            "    - may be opened by v (10.0.0.9) tcp 80",
        ]
    );
}

#[test]
fn the_address_that_another_volume_left_is_no_exception() {
    let old = placed(&[("v", "a", "10.0.0.9"), ("w", "b", "10.1.0.9")], "c", &["b"], &[80]);
    let new = placed(&[("v", "c", "10.2.0.10"), ("w", "a", "10.0.0.20")], "c", &["b"], &[80]);
    assert_eq!(
        turns(&old, &new),
        [
            "~ moved v from 10.0.0.9 of a to 10.2.0.10 of c",
            "    + may open b tcp 80",
            "    + may open c any protocol",
            "    + may be opened by c any protocol",
            "    - may open a any protocol",
            "    - may be opened by a any protocol",
            "~ moved w from 10.1.0.9 of b to 10.0.0.20 of a",
            "    + may open a any protocol",
            "    + may be opened by a any protocol",
            "    - may open b any protocol",
            "    - may be opened by b any protocol",
            "    - may be opened by c tcp 80",
        ]
    );
}

#[test]
fn providers_that_came_went_or_were_renumbered_are_peers() {
    let old = placed(&[("v", "a", "10.0.0.9"), ("w", "b", "10.1.0.9")], "v", &["b"], &[80]);
    let renumbered = |ports| {
        let mut input = placed(&[("v", "a", "10.0.0.10"), ("w", "b", "10.9.0.9")], "v", &["b"], ports);
        input["providers"]["b"] = json!({ "network": "10.9.0.0/24", "gateway": "10.9.0.1/24" });
        turns(&old, &input)
    };
    let [v, w] =
        ["~ moved v from 10.0.0.9 of a to 10.0.0.10 of a", "~ moved w from 10.1.0.9 of b to 10.9.0.9 of b"];
    let nothing = "    nothing gained or lost";
    assert_eq!(renumbered(&[80]), [v, nothing, w, nothing]);
    assert_eq!(
        renumbered(&[81]),
        [
            v,
            "    + may open b (10.9.0.0/24, outside before) tcp 81",
            "    - may open b (10.1.0.0/24, outside now) tcp 80",
            w,
            "    + may be opened by v (10.0.0.10) tcp 81",
            "    - may be opened by v (10.0.0.9) tcp 80",
        ]
    );
    let old = placed(&[("v", "a", "10.0.0.9")], "v", &["b"], &[80]);
    let mut new = placed(&[("v", "a", "10.0.0.10")], "v", &["b", "d"], &[80]);
    new["providers"]["d"] = json!({ "network": "10.9.0.0/24", "gateway": "10.9.0.1/24" });
    assert_eq!(turns(&old, &new), [v, "    + may open d (outside before) tcp 80"]);
    assert_eq!(
        turns(&new, &old),
        ["~ moved v from 10.0.0.10 of a to 10.0.0.9 of a", "    - may open d (outside now) tcp 80"]
    );
}
