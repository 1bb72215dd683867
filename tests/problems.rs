//! The exact message of each kind of problem, and all of them at once.

use std::fmt::Write;

use nixvol_net::diagnostic::Shown;
use nixvol_net::model;
use serde_json::{Value, json};

use crate::support::{default_input, fixture, root, run};

/// The code that must be reported, a name, and the change that breaks the default declaration.
type Breakage = (&'static str, &'static str, fn(&mut Value));

const BREAKAGES: &[Breakage] = &[
    ("E002", "wrong type", |input| input["providers"]["aws"]["network"] = json!(["10.0.0.0/16"])),
    ("E002", "a number with a fraction", |input| input["volumes"]["etcd-1"]["publish"] = json!([1.5])),
    ("E002", "an entry that is no object", |input| input["volumes"]["etcd-1"] = json!("10.0.1.2")),
    ("E003", "missing field", |input| {
        input["volumes"]["etcd-1"].as_object_mut().expect("a volume").remove("address");
    }),
    ("E003", "missing providers", |input| {
        input.as_object_mut().expect("an object").remove("providers");
    }),
    ("E004", "unknown field", |input| input["providers"]["aws"]["interet"] = json!(true)),
    ("E004", "unknown field like no other", |input| input["colour"] = json!("red")),
    ("E006", "unknown version", |input| input["version"] = json!(2)),
    ("E007", "no ends", |input| input["links"][0]["from"] = json!([])),
    ("E007", "no ports", |input| input["links"][0]["ports"] = json!([])),
    ("E003", "an expectation without a verdict", |input| {
        input["expect"] = json!([{ "from": ["aws"], "to": ["gcp"] }]);
    }),
    ("E007", "nobody expected", |input| {
        input["expect"] = json!([{ "from": [], "to": ["any"], "passes": true }]);
    }),
    ("E008", "unknown protocol", |input| input["links"][0]["protocol"] = json!("sctp")),
    ("E008", "unknown attachment", |input| input["volumes"]["etcd-1"]["attachment"] = json!("vm")),
    ("E009", "conditions out of range", |input| {
        input["links"][0]["conditions"] = json!({ "latencyMs": -1, "loss": 1.5, "bandwidthKbit": 0 });
    }),
    ("E009", "reconciling without a pause", |input| input["reconcileInterval"] = json!(9)),
    ("E009", "reconciling once a week", |input| input["reconcileInterval"] = json!(604_800)),
    ("E010", "hostile name", |input| {
        input["volumes"]["$(reboot)\n\u{1b}[2J"] = json!({ "provider": "aws", "address": "10.0.1.9" });
    }),
    ("E010", "name of 25 characters", |input| {
        input["volumes"]["a2345678901234567890bcdef"] = json!({ "provider": "aws", "address": "10.0.1.9" });
    }),
    ("E010", "hostile bridge", |input| input["providers"]["aws"]["bridge"] = json!("bridge aws")),
    ("E011", "bridges collide", |input| input["providers"]["aws"]["bridge"] = json!("bridge-azure")),
    ("E011", "bridge and localhost group collide", |input| {
        input["providers"]["aws"]["bridge"] = json!("bridge-localhost");
    }),
    ("E011", "bridge and port collide", |input| input["providers"]["aws"]["bridge"] = json!("veth-etcd-1")),
    ("E011", "provider and volume collide", |input| {
        input["volumes"]["aws"] = json!({ "provider": "aws", "address": "10.0.1.9" });
    }),
    ("E012", "relative base", |input| input["base"] = json!("opt/volumes")),
    ("E012", "base with dots", |input| input["base"] = json!("/opt/../etc")),
    ("E012", "the root as state", |input| input["stateDir"] = json!("/")),
    ("E012", "a log that newsyslog cannot name", |input| input["logFile"] = json!("/var/log/my volumes.log")),
    ("E012", "mount point with a newline", |input| {
        input["volumes"]["etcd-1"]["mountPoint"] = json!("/Volumes/a\nb");
    }),
    ("E012", "mount point that turns the line", |input| {
        input["volumes"]["etcd-1"]["mountPoint"] = json!("/Volumes/\u{202e}a");
    }),
    ("E012", "mount point with a final slash", |input| {
        input["volumes"]["etcd-1"]["mountPoint"] = json!("/Volumes/a/");
    }),
    ("E012", "mount point too long", |input| {
        input["volumes"]["etcd-1"]["mountPoint"] = json!(format!("/{}", "a".repeat(1023)));
    }),
    ("E012", "state in a directory of macOS's", |input| input["stateDir"] = json!("/etc")),
    ("E014", "log in place of the hosts file", |input| input["logFile"] = json!("/etc/hosts")),
    ("E014", "state beside the installed files", |input| {
        input["stateDir"] = json!("/opt/nix-volumes/networking/state");
    }),
    ("E015", "a provider of a reserved name", |input| {
        input["providers"]["internet"] = json!({ "network": "10.9.0.0/16", "gateway": "10.9.1.1/24" });
    }),
    ("E015", "a volume of a reserved name", |input| {
        input["volumes"]["any"] = json!({ "provider": "aws", "address": "10.0.9.9" });
    }),
    ("E013", "anchor that nothing calls", |input| input["anchor"] = json!("nixvol")),
    ("E013", "grandchild anchor", |input| input["anchor"] = json!("com.apple/250.nixvol/aws")),
    ("E013", "anchor of Apple's", |input| input["anchor"] = json!("com.apple/250.ApplicationFirewall")),
    ("E013", "anchor with a quote", |input| input["anchor"] = json!("com.apple/a\"b")),
    ("E013", "anchor too long", |input| input["anchor"] = json!(format!("com.apple/{}", "a".repeat(64)))),
    ("E020", "not a network", |input| input["providers"]["aws"]["network"] = json!("10.0.0.0")),
    ("E020", "overlap that is no network", |input| input["allowOverlap"] = json!(["lan"])),
    ("E021", "not an address", |input| input["volumes"]["etcd-1"]["address"] = json!("10.0.1")),
    ("E021", "an IPv6 alias", |input| input["volumes"]["etcd-1"]["localhost"] = json!("::1")),
    ("E022", "not a network address", |input| input["providers"]["aws"]["network"] = json!("10.0.1.0/16")),
    ("E023", "network in loopback", |input| input["providers"]["aws"]["network"] = json!("127.0.0.0/16")),
    ("E023", "network in multicast", |input| input["providers"]["aws"]["network"] = json!("224.0.0.0/8")),
    ("E023", "network in link-local space", |input| {
        input["providers"]["aws"]["network"] = json!("169.254.0.0/16");
    }),
    ("E023", "network in reserved space", |input| {
        input["providers"]["aws"]["network"] = json!("250.0.0.0/8");
    }),
    ("E023", "network of everything", |input| input["providers"]["aws"]["network"] = json!("0.0.0.0/0")),
    ("E024", "network without room", |input| {
        input["providers"]["tiny"] = json!({ "network": "10.9.0.0/31", "gateway": "10.9.0.1/31" });
    }),
    ("E025", "networks overlap", |input| {
        input["providers"]["new"] = json!({ "network": "10.1.128.0/17", "gateway": "10.1.128.1/24" });
    }),
    ("E025", "the same network twice", |input| {
        input["providers"]["new"] = json!({ "network": "10.1.0.0/16", "gateway": "10.1.1.1/24" });
    }),
    ("E030", "gateway outside", |input| input["providers"]["aws"]["gateway"] = json!("10.1.1.1/24")),
    ("E031", "gateway wider than its network", |input| {
        input["providers"]["aws"]["gateway"] = json!("10.0.1.1/8");
    }),
    ("E032", "gateway on the network address", |input| {
        input["providers"]["aws"]["gateway"] = json!("10.0.1.0/24");
    }),
    ("E032", "address on the broadcast address", |input| {
        input["volumes"]["etcd-1"]["address"] = json!("10.0.255.255");
    }),
    ("E032", "address on the bridge's broadcast address", |input| {
        input["volumes"]["etcd-1"]["address"] = json!("10.0.1.255");
    }),
    ("E032", "address on the network address", |input| {
        input["volumes"]["etcd-1"]["address"] = json!("10.0.0.0");
    }),
    ("E032", "alias on the broadcast address", |input| {
        input["volumes"]["etcd-1"]["localhost"] = json!("127.0.1.255");
    }),
    ("E040", "unknown provider", |input| input["volumes"]["etcd-1"]["provider"] = json!("aw")),
    ("E041", "address outside", |input| input["volumes"]["etcd-1"]["address"] = json!("10.1.9.9")),
    ("E042", "address of the gateway", |input| input["volumes"]["etcd-1"]["address"] = json!("10.0.1.1")),
    ("E043", "address taken", |input| input["volumes"]["etcd-1"]["address"] = json!("10.0.2.2")),
    ("E044", "a MAC address of five bytes", |input| {
        input["volumes"]["etcd-1"]["guest"] = json!({ "mac": "52:54:00:12:34" });
    }),
    ("E044", "a MAC address of a group", |input| {
        input["volumes"]["etcd-1"]["guest"] = json!({ "mac": "53:54:00:12:34:56" });
    }),
    ("E044", "a MAC address of nobody", |input| {
        input["volumes"]["etcd-1"]["guest"] = json!({ "mac": "00:00:00:00:00:00" });
    }),
    ("E045", "a MAC address twice", |input| {
        input["volumes"]["etcd-1"]["guest"] = json!({ "mac": "52:54:00:12:34:AB" });
        input["volumes"]["etcd-2"]["guest"] = json!({ "mac": "52:54:00:12:34:ab" });
    }),
    ("E046", "interfaces by a pattern", |input| {
        input["volumes"]["etcd-1"]["guest"] = json!({ "interface": "en*" });
    }),
    ("E021", "a name server that is a name", |input| {
        input["volumes"]["etcd-1"]["guest"] = json!({ "dns": ["10.0.1.1", "one.one.one.one"] });
    }),
    ("E050", "localhost outside loopback", |input| input["localhost"]["gateway"] = json!("10.9.0.1/24")),
    ("E051", "the Mac's own address", |input| input["localhost"]["gateway"] = json!("127.0.0.1/8")),
    ("E052", "alias outside", |input| input["volumes"]["etcd-1"]["localhost"] = json!("127.0.2.1")),
    ("E053", "alias of the gateway", |input| input["volumes"]["etcd-1"]["localhost"] = json!("127.0.1.1")),
    ("E054", "alias taken", |input| input["volumes"]["etcd-1"]["localhost"] = json!("127.0.1.12")),
    ("E055", "publish without alias", |input| {
        input["volumes"]["etcd-1"] = json!({ "provider": "aws", "address": "10.0.1.2", "publish": [2379] });
    }),
    ("E057", "publish on a guest", |input| {
        input["volumes"]["etcd-1"]["attachment"] = json!("guest");
        input["volumes"]["etcd-1"]["publish"] = json!([2379, 2380]);
    }),
    ("E056", "publish twice", |input| input["volumes"]["etcd-1"]["publish"] = json!([2379, 2380, 2379])),
    ("E060", "unknown end of an expectation", |input| {
        input["expect"] = json!([{ "from": ["interent"], "to": ["etcd-1"], "passes": false }]);
    }),
    ("E064", "an expectation with ports of icmp", |input| {
        input["expect"] =
            json!([{ "from": ["aws"], "to": ["any"], "protocol": "icmp", "ports": [7], "passes": false }]);
    }),
    ("E060", "unknown end", |input| input["links"][0]["to"] = json!(["etcd1"])),
    ("E061", "link to itself", |input| input["links"] = json!([{ "from": ["aws"], "to": ["aws"] }])),
    ("E062", "port zero", |input| {
        input["links"] = json!([{ "from": ["aws"], "to": ["gcp"], "protocol": "tcp", "ports": [0, 65536, "http", "1-2-3", ""] }]);
    }),
    ("E062", "published port out of range", |input| input["volumes"]["etcd-1"]["publish"] = json!([65536])),
    ("E063", "ports reversed", |input| {
        input["links"] =
            json!([{ "from": ["aws"], "to": ["gcp"], "protocol": "tcp", "ports": ["2380-2379"] }]);
    }),
    ("E064", "ports of icmp", |input| {
        input["links"] = json!([{ "from": ["aws"], "to": ["gcp"], "protocol": "icmp", "ports": [80] }]);
    }),
    ("E002", "a latency in words", |input| {
        input["links"][0]["conditions"] = json!({ "latency": 40 });
    }),
    ("E008", "a latency of something else", |input| {
        input["links"][0]["conditions"] = json!({ "latency": "region" });
    }),
    ("E009", "jitter out of range", |input| {
        input["links"][0]["conditions"] = json!({ "jitterMs": 10_001 });
    }),
    ("E033", "a region that is mistyped", |input| input["providers"]["aws"]["region"] = json!("us-est-1")),
    ("E033", "a region like no other", |input| input["providers"]["aws"]["region"] = json!("moon")),
    ("E033", "a region of no cloud", |input| {
        let lab = json!({ "network": "10.9.0.0/16", "gateway": "10.9.1.1/24", "region": "us-east-11" });
        input["providers"]["lab"] = lab;
    }),
    ("E034", "a region that another cloud writes so", |input| {
        input["providers"]["aws"]["region"] = json!("us-east1");
    }),
    ("E034", "a region of another cloud", |input| input["providers"]["aws"]["region"] = json!("westeurope")),
    ("E034", "a region of another cloud in the same city", |input| {
        input["providers"]["azure"]["region"] = json!("us-east-1");
    }),
    ("E066", "latency of regions that nobody named", |input| {
        input["providers"]["aws"]["region"] = json!("us-east-1");
        input["links"][0]["from"] = json!(["aws", "etcd-2"]);
        input["links"][0]["to"] = json!(["aws", "gcp"]);
        input["links"][0]["conditions"] = json!({ "latency": "regions" });
    }),
    ("E067", "latency twice", |input| {
        input["providers"]["aws"]["region"] = json!("us-east-1");
        input["links"][0]["conditions"] = json!({ "latency": "regions", "latencyMs": 40 });
    }),
    ("E065", "two conditions for one way", |input| {
        input["links"] = json!([
            { "from": ["aws"], "to": ["gcp", "etcd-2"], "conditions": { "latencyMs": 40 } },
            { "from": ["gcp"], "to": ["aws"], "bidirectional": true, "conditions": { "latencyMs": 10 } },
            // More specific links do not conflict, and neither do identical conditions.
            { "from": ["etcd-1"], "to": ["gcp"], "conditions": { "latencyMs": 1 } },
            { "from": ["aws"], "to": ["etcd-2"], "conditions": { "latencyMs": 40 } },
            { "from": ["aws"], "to": ["etcd-2", "etcd-3"], "protocol": "udp", "conditions": { "loss": 0.5 } }
        ]);
    }),
    ("E070", "an unknown Mac", |input| {
        two_macs(input);
        input["mac"] = json!("stdio");
    }),
    ("E071", "a Mac among none", |input| input["mac"] = json!("studio")),
    ("E003", "several Macs, and none is this one", |input| {
        two_macs(input);
        input.as_object_mut().expect("an object").remove("mac");
    }),
    ("E072", "a provider on no Mac", |input| {
        two_macs(input);
        input["macs"]["mini"]["providers"] = json!(["gcp", "ibm"]);
    }),
    ("E073", "a provider on two Macs", |input| {
        two_macs(input);
        input["macs"]["mini"]["providers"] = json!(["gcp", "ibm", "aws", "digitalocean"]);
    }),
    ("E073", "a provider twice on a Mac", |input| {
        two_macs(input);
        input["macs"]["studio"]["providers"] = json!(["aws", "azure", "aws"]);
    }),
    ("E040", "an unknown provider on a Mac", |input| {
        two_macs(input);
        input["macs"]["mini"]["providers"] = json!(["gcp", "ibm", "digitalocean", "asw"]);
    }),
    ("E007", "a Mac without providers", |input| {
        two_macs(input);
        input["macs"]["spare"] = input["macs"]["mini"].clone();
        input["macs"]["spare"]["providers"] = json!([]);
    }),
    ("E010", "a Mac with a name in capitals", |input| {
        two_macs(input);
        let mini = input["macs"].as_object_mut().expect("Macs").remove("mini").expect("a Mac");
        input["macs"]["Mac-Mini"] = mini;
    }),
    ("E074", "an endpoint without a port", |input| {
        two_macs(input);
        input["macs"]["mini"]["endpoint"] = json!("mini.local");
    }),
    ("E074", "an endpoint that is a mistyped address", |input| {
        two_macs(input);
        input["macs"]["mini"]["endpoint"] = json!("192.168.1.300:51820");
    }),
    ("E074", "an endpoint that ends its line", |input| {
        two_macs(input);
        input["macs"]["mini"]["endpoint"] = json!("mini.local\nPostUp = reboot:51820");
    }),
    ("E075", "an endpoint behind the tunnel", |input| {
        two_macs(input);
        input["macs"]["mini"]["endpoint"] = json!("10.0.9.9:51820");
    }),
    ("E076", "one endpoint of two Macs", |input| {
        two_macs(input);
        input["macs"]["mini"]["endpoint"] = json!("Studio.local:51820");
    }),
    ("E077", "a public key of 31 bytes", |input| {
        two_macs(input);
        input["macs"]["mini"]["publicKey"] = json!("HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8yg==");
    }),
    ("E077", "a public key of zeros", |input| {
        two_macs(input);
        input["macs"]["mini"]["publicKey"] = json!(format!("{}=", "A".repeat(43)));
    }),
    ("E077", "a public key with more than its bits", |input| {
        two_macs(input);
        input["macs"]["mini"]["publicKey"] = json!("HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykx=");
    }),
    ("E078", "one public key of two Macs", |input| {
        two_macs(input);
        input["macs"]["mini"]["publicKey"] = input["macs"]["studio"]["publicKey"].clone();
    }),
    ("E079", "a tunnel address in multicast", |input| {
        two_macs(input);
        input["macs"]["mini"]["address"] = json!("224.0.0.1");
    }),
    ("E079", "a tunnel address on loopback", |input| {
        two_macs(input);
        input["macs"]["mini"]["address"] = json!("127.0.0.2");
    }),
    ("E080", "a tunnel address in a provider's network", |input| {
        two_macs(input);
        input["macs"]["mini"]["address"] = json!("10.0.9.9");
    }),
    ("E081", "one tunnel address of two Macs", |input| {
        two_macs(input);
        input["macs"]["mini"]["address"] = json!("100.127.0.1");
    }),
    ("E021", "a tunnel address with a prefix", |input| {
        two_macs(input);
        input["macs"]["mini"]["address"] = json!("100.127.0.2/32");
    }),
    ("E009", "a listening port out of range", |input| {
        two_macs(input);
        input["macs"]["mini"]["listenPort"] = json!(65_536);
    }),
];

/// Two Macs for the default declaration.
fn two_macs(input: &mut Value) {
    let macs = fixture("macs.json")["macs"].clone();
    input["mac"] = json!("studio");
    input["macs"] = json!({ "studio": macs["studio"], "mini": macs["mini"] });
    input["macs"]["studio"]["providers"] = json!(["aws", "azure"]);
    input["macs"]["mini"]["providers"] = json!(["gcp", "ibm", "digitalocean"]);
}

fn broken(change: fn(&mut Value)) -> String {
    let mut input = default_input();
    change(&mut input);
    input.to_string()
}

/// The codes, and the program's message without source excerpts.
fn told(json: &str) -> (Vec<&'static str>, String) {
    let rejected = model::read(json.as_bytes()).expect_err("the declaration is broken");
    let shown =
        Shown { input: "input.json", positions: &rejected.positions, text_of: &|_| None, colour: false };
    let codes = rejected.problems.iter().map(|problem| problem.kind.code()).collect();
    (codes, shown.text(&rejected.problems))
}

#[test]
fn each_problem_has_its_wording() {
    let mut all = String::new();
    for (code, name, change) in BREAKAGES {
        let (codes, text) = told(&broken(*change));
        assert!(codes.contains(code), "{name}: {code} is not among {codes:?}");
        writeln!(all, "== {name}\n{text}").expect("a string");
    }
    for (name, json) in [
        ("not JSON", "{\n  \"version\": 1,\n}"),
        ("a key twice", "{\"version\":1,\"version\":1,\"providers\":{\"a\":{},\"a\":{}},\"volumes\":{}}"),
        ("nothing", ""),
        ("a list", "[]"),
    ] {
        writeln!(all, "== {name}\n{}", told(json).1).expect("a string");
    }
    insta::with_settings!({ snapshot_path => "snapshots/problems", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("words", all);
    });
}

#[test]
fn every_code_has_a_snapshot() {
    let words = std::fs::read_to_string(root().join("generator/src/problem/words.rs")).expect("the words");
    let goldens =
        std::fs::read_to_string(root().join("tests/snapshots/problems/words.snap")).expect("the goldens");
    let codes: Vec<&str> = words.split("=> \"E").skip(1).map(|rest| &rest[..3]).collect();
    assert!(codes.len() > 30, "the codes were not found");
    for code in codes {
        assert!(goldens.contains(&format!("error[E{code}]")), "E{code} has no golden");
    }
}

#[test]
fn an_invalid_entry_neither_hides_nor_causes_other_problems() {
    let mut input = default_input();
    for (_, name, change) in BREAKAGES {
        // These remove what others break.
        if !["missing providers", "an entry that is no object", "missing field", "no ends"].contains(name) {
            change(&mut input);
        }
    }
    let (codes, text) = told(&input.to_string());
    assert!(codes.len() > 12, "{text}");

    let mut input = default_input();
    input["providers"]["aws"] = json!({ "network": "nonsense", "gateway": "10.0.1.1/24" });
    let (codes, text) = told(&input.to_string());
    assert_eq!(codes, ["E020"], "{text}");

    let mut input = default_input();
    input["providers"]["aws"] = json!(7);
    assert_eq!(told(&input.to_string()).0, ["E002"]);
}

#[test]
fn every_breakage_is_refused_by_the_program_and_writes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("bundle");
    for (code, name, change) in BREAKAGES {
        let output = run(&["render", "--input", "-", "--out", &out.to_string_lossy()], &broken(*change));
        assert_eq!(output.status.code(), Some(2), "{name}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(&format!("error[{code}]")), "{name}: {stderr}");
        assert!(output.stdout.is_empty() && !out.exists(), "{name} wrote something");
    }
}

#[test]
fn hints_lead_to_a_valid_declaration() {
    for (name, field) in [("address taken", "address"), ("alias taken", "localhost")] {
        let change = BREAKAGES.iter().find(|(_, breakage, _)| *breakage == name).expect("a breakage").2;
        let mut input = default_input();
        change(&mut input);
        let rejected = model::read(input.to_string().as_bytes()).expect_err("broken");
        let hint = rejected.problems[0].kind.hint().expect("a hint");
        let free = hint.split('`').nth(1).expect("an address in the hint");
        let volume = rejected.problems[0].at.to_string();
        let volume = volume.split('.').nth(1).expect("a volume");
        input["volumes"][volume][field] = json!(free);
        assert!(model::read(input.to_string().as_bytes()).is_ok(), "{name}: {free}");
    }
}
