//! Partitions and slow paths that the manager creates at run time: what they affect, what they never touch, when they
//! end.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::network::{AWKS, Network, SHELLS, slow, small};
use crate::rig::{Call, foreign, settled};
use crate::support::run;

const ANCHOR: &str = "com.apple/249.nixvol-faults";
const FOREVER: &str = "until it is healed, a stop or a restart";

fn log(network: &Network) -> String {
    fs::read_to_string(network.mac.dir().join("var/log")).unwrap_or_default()
}

/// The rules in the anchor for faults, as the kernel holds them.
fn cut(network: &Network) -> String {
    let kernel = network.mac.kernel();
    let line = kernel.lines().find(|line| line.contains(ANCHOR)).unwrap_or_default();
    line.replace("\\n", "\n")
}

fn open(network: &Network, from: &str, to: &str) {
    network.mac.edit(|kernel| kernel + &format!("state\ttcp\t{from}\t49152\t{to}\t6443\n"));
}

/// The number of open connections.
fn connected(network: &Network) -> usize {
    network.mac.ok("pfctl -q -s states").lines().count()
}

/// Changes the deadline of the first fault, which has the effect of time passing or of the clock being set.
fn set_deadline(network: &Network, change: impl Fn(u64) -> u64) {
    let file = network.state().join("faults");
    let text = fs::read_to_string(&file).expect("what is cut");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut fields: Vec<String> = lines[1].split('\t').map(str::to_owned).collect();
    fields[3] = change(fields[3].parse().expect("a deadline")).to_string();
    lines[1] = fields.join("\t");
    fs::write(&file, lines.join("\n") + "\n").expect("what is cut");
}

#[test]
fn a_partition_separates_two_endpoints_until_it_is_healed() {
    for (shell, awk) in [(0, 0), (1, 1), (2, 2), (3, 0)] {
        let mut network = Network::new(&small());
        network.under(SHELLS[shell], AWKS[awk]);
        network.ok("start");
        let up = network.mac.kernel();
        for (from, to) in [("10.0.1.2", "10.3.1.2"), ("10.3.1.2", "10.0.1.2"), ("10.3.1.2", "127.0.1.11")] {
            open(&network, from, to);
        }
        for (from, to) in
            [("10.0.1.2", "10.0.1.3"), ("10.0.1.2", "93.184.216.34"), ("192.168.1.23", "10.0.0.9")]
        {
            open(&network, from, to);
        }
        network.mac.forget_journal();
        assert_eq!(network.ok("partition aws ibm"), format!("partition aws ibm, {FOREVER}\n"));
        assert_eq!(foreign(&network.mac.journal()), [""; 0]);
        assert_eq!(connected(&network), 3, "what is between them ends, and nothing else");
        let rules = cut(&network);
        for line in [
            "table <one1-aws> const { 10.0.0.0/16 127.0.1.11 }",
            "no nat inet from <one1-aws> to <two1-ibm>",
            "no rdr inet from <two1-ibm> to <one1-aws>",
            "block drop quick inet from <one1-aws> to <two1-ibm> label \"partition:aws:ibm\"",
            "block drop quick inet from <two1-ibm> to <one1-aws> label \"partition:aws:ibm\"",
        ] {
            assert!(rules.contains(line), "{line}: {rules}");
        }
        assert_eq!(rules.matches("block").count(), 2);
        let (code, status) = network.status();
        let fault = json!({ "action": "partition", "from": "aws", "to": "ibm", "until": null, "state": "in force",
            "conditions": null, "latencyMs": null, "loss": null, "bandwidthKbit": null });
        assert_eq!((code, &status["healthy"], &status["faults"]), (0, &json!(true), &json!([fault])));
        assert!(
            network.ok("status").contains(&format!("fault        partition aws ibm, {FOREVER} (in force)\n"))
        );
        assert!(network.ok("plan").starts_with("fault        partition aws ibm"));
        let plan: Value = serde_json::from_str(&network.ok("plan --json")).expect("JSON");
        assert_eq!(plan["faults"], status["faults"]);
        // `test` expects that partitioned endpoints do not reach each other.
        let tested = network.ok("test");
        assert!(tested.contains("in force: partition aws ibm") && tested.contains(", 0 failed"), "{tested}");
        let nothing = network.mac.kernel();
        network.mac.forget_journal();
        network.ok("reconcile");
        assert_eq!((network.mac.changes(), network.mac.kernel()), (vec![], nothing));
        assert_eq!(network.mac.journal().len(), 18, "six more than with nothing cut");
        assert_eq!(network.ok("heal ibm aws"), "partition aws ibm: healed\n");
        network.mac.remove("state\t");
        let counted = |kernel: &str| {
            settled(kernel).into_iter().filter(|line| !line.starts_with("count\t")).collect::<Vec<_>>()
        };
        assert_eq!(counted(&network.mac.kernel()), counted(&up));
        assert!(!network.state().join("faults").exists() && !network.state().join("faults.seen").exists());
        for line in [&format!("partition: partition aws ibm, {FOREVER}"), "heal: partition aws ibm: healed"] {
            assert!(log(&network).contains(line), "{}", log(&network));
        }
        assert_eq!(network.ok("heal"), "there is nothing to heal\n");
        assert_eq!(network.status().1["faults"], json!([]));
        network.ok("cleanup");
    }
}

#[test]
fn a_partition_ends_at_its_deadline_by_itself() {
    let network = Network::new(&small());
    network.ok("start");
    let up = network.mac.kernel();
    let said = network.ok("partition etcd-1 talos-4 --for 1");
    assert!(said.starts_with("partition etcd-1 talos-4, until 20"), "{said}");
    let since = Instant::now();
    while network.state().join("faults").exists() || network.state().join("lock").exists() {
        assert!(since.elapsed() < Duration::from_secs(60), "{}", log(&network));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(network.mac.kernel(), up);
    let over = "reconcile: partition etcd-1 talos-4: over, because its 1 seconds have passed\n";
    assert!(log(&network).contains(over), "{}", log(&network));
    assert!(!log(&network).contains("another program"), "{}", log(&network));
    network.ok("cleanup");
}

/// No timer fires while a Mac sleeps. The first reconcile after it ends expired faults, even if the rest of the network
/// cannot be repaired.
#[test]
fn the_first_reconcile_after_sleep_ends_expired_faults() {
    for blocked in [false, true] {
        let network = Network::new(&small());
        network.ok("start");
        network.ok("partition aws ibm --for 500");
        network.ok("partition etcd-1 talos-4 --for 900");
        network.ok("partition ibm aws --for 600");
        let (_, status) = network.status();
        assert_eq!(status["faults"].as_array().map(Vec::len), Some(2), "{status:#}");
        set_deadline(&network, |deadline| deadline - 700);
        assert_eq!(network.status().1["faults"][0]["state"], "over");
        if blocked {
            // Another program loaded rules over ours, which the manager does not repair.
            fs::write(network.mac.dir().join("theirs"), "pass quick on lo0 all\n").expect("rules");
            let file = network.mac.dir().join("theirs").display().to_string();
            network.mac.ok(&format!("pfctl -a com.apple/250.nixvol -f {file}"));
        }
        assert_eq!(network.run("reconcile").code, i32::from(blocked));
        assert!(log(&network).contains("partition ibm aws: over, because its 600 seconds have passed"));
        let rules = cut(&network);
        assert!(
            rules.contains("partition:etcd-1:talos-4") && !rules.contains("partition:ibm:aws"),
            "{rules}"
        );
    }
}

#[test]
fn a_clock_set_back_does_not_extend_a_partition() {
    let network = Network::new(&small());
    network.ok("start");
    network.ok("partition aws ibm --for 300");
    set_deadline(&network, |deadline| deadline + 86_400);
    network.ok("reconcile");
    assert_eq!(cut(&network), "");
}

#[test]
fn a_restart_ends_all_faults() {
    let network = Network::new(&slow());
    let bare = network.mac.kernel();
    network.ok("start");
    let up = network.mac.kernel();
    network.ok("partition aws ibm --for 9999");
    network.ok("slow etcd-1 ibm --latency 5");
    network.mac.reboot();
    // If another program uses that number now, its pipe is not touched.
    network.mac.ok("dnctl pipe 29999 config delay 300");
    let (_, status) = network.status();
    assert_eq!(status["faults"][0]["state"], "over");
    network.ok("reconcile");
    assert!(network.mac.kernel().contains("pipe\t29999\t300\t"));
    network.mac.remove("pipe\t29999");
    assert_eq!(settled(&network.mac.kernel()), settled(&up));
    assert!(log(&network).contains("partition aws ibm: over, because the Mac was restarted"));
    assert!(!network.state().join("faults").exists());
    network.ok("partition aws ibm");
    network.mac.reboot();
    network.ok("cleanup");
    network.assert_no_files("");
    assert_eq!(settled(&network.mac.kernel()), settled(&bare));
}

#[test]
fn two_partitions_have_independent_deadlines() {
    let network = Network::new(&small());
    network.ok("start");
    network.ok("partition aws ibm --for 500");
    network.ok("partition etcd-1 talos-4");
    let both = cut(&network);
    assert!(both.contains("partition:aws:ibm") && both.contains("partition:etcd-1:talos-4"), "{both}");
    // The same pair again, in either order, renews the partition without a change to pf.
    network.mac.forget_journal();
    network.ok("partition etcd-1 talos-4 --for 700");
    assert_eq!(network.mac.changes(), [""; 0]);
    let faults = &network.status().1["faults"];
    assert!(faults.as_array().map(Vec::len) == Some(2) && faults[0]["until"].is_string(), "{faults:#}");
    assert_eq!(network.ok("heal talos-4 etcd-1"), "partition etcd-1 talos-4: healed\n");
    let one = cut(&network);
    assert!(one.contains("partition:aws:ibm") && !one.contains("etcd-1"), "{one}");
    network.ok("partition etcd-1 talos-4");
    let healed = network.ok("heal");
    assert_eq!(healed, "partition etcd-1 talos-4: healed\npartition aws ibm: healed\n");
    assert_eq!(cut(&network), "");
}

#[test]
fn invalid_arguments_are_refused_without_a_change() {
    let network = Network::new(&small());
    network.fails("partition aws ibm", 1, "the network is not up: start it first");
    network.ok("start");
    let kept = network.mac.kernel();
    let there = "providers: aws, ibm; volumes: etcd-1, talos-4";
    for (command, said) in [
        ("partition awz ibn", "no provider or volume awz"),
        ("partition awz ibn", "no provider or volume ibn"),
        ("partition awz ibm", there),
        ("heal aws x", there),
        ("slow x ibm --latency 5", there),
        ("partition awz ibm --print", there),
        ("partition aws aws", "both endpoints are aws"),
        ("partition", "takes one or two endpoints"),
        ("slow --latency 5", "takes one or two endpoints"),
        ("partition aws ibm etcd-1", "takes one or two endpoints"),
        ("heal x", there),
        ("partition x", there),
        ("partition aws ../x", "'../x' is not the name of a provider or volume"),
        ("partition aws ibm --for", "not ''"),
        ("partition aws ibm --tag A", "--tag takes lower-case letters"),
        ("heal --for 5", "'heal' has no option '--for'"),
        ("partition aws ibm --loss 1", "'partition' has no option '--loss'"),
        ("slow aws ibm", "slow takes --latency, --loss or --bandwidth"),
        ("slow aws ibm --latency 10001", "from 0 to 10000"),
        ("slow aws ibm --latency 1.5", "--latency takes a number of at most 8 characters, not '1.5'"),
        ("slow aws ibm --loss 1.5", "--loss takes a share from 0 to 1"),
        ("slow aws ibm --bandwidth 0", "from 1 to 2147483"),
    ] {
        network.fails(command, 2, said);
    }
    assert_eq!(network.mac.kernel(), kept);
    assert!(!network.state().join("faults").exists());
    // The fault anchor must be evaluated before ours.
    let mut input = small();
    input["anchor"] = json!("com.apple/100.early");
    network.install(&input);
    network.ok("start");
    network.fails("partition aws ibm", 3, "com.apple/100.early is asked before com.apple/249.nixvol-faults");
    network.ok("cleanup");
}

/// One endpoint against all others: everything declared, and nothing else.
#[test]
fn one_endpoint_is_separated_from_all_others() {
    let network = Network::new(&small());
    network.ok("start");
    let up = network.mac.kernel();
    for (from, to) in [("10.0.1.2", "10.3.1.2"), ("10.0.1.2", "10.0.1.3"), ("10.0.1.3", "10.3.1.2")] {
        open(&network, from, to);
    }
    assert_eq!(network.ok("partition etcd-1"), format!("partition etcd-1, {FOREVER}\n"));
    assert_eq!(connected(&network), 1, "what is between them ends, and nothing else");
    let rules = cut(&network);
    for line in [
        "table <one1-etcd-1> const { 10.0.1.2 127.0.1.11 }",
        "table <two1> const { 10.0.0.0/16 !10.0.1.2 !10.0.1.1 10.3.0.0/16 }",
        "block drop quick inet from <two1> to <one1-etcd-1> label \"partition:etcd-1\"",
    ] {
        assert!(rules.contains(line), "{line}: {rules}");
    }
    let fault = &network.status().1["faults"][0];
    assert_eq!(
        (&fault["from"], &fault["to"], &fault["state"]),
        (&json!("etcd-1"), &json!(null), &json!("in force"))
    );
    let tested = network.ok("test");
    assert!(
        tested.contains("in force: partition etcd-1, until") && tested.contains(", 0 failed"),
        "{tested}"
    );
    network.ok("reconcile");
    network.ok("slow aws --latency 5");
    assert!(network.ok("status").contains("fault        slow aws: 5 ms, until"));
    // A provider means its volumes too; a volume does not mean its provider.
    assert_eq!(network.ok("heal ibm"), "there is nothing to heal of ibm\n");
    assert_eq!(network.ok("heal aws ibm"), "there is nothing to heal between aws and ibm\n");
    assert_eq!(network.ok("heal etcd-1"), format!("partition etcd-1: healed\n"));
    network.ok("partition etcd-1 talos-4");
    assert_eq!(network.ok("heal ibm aws"), "partition etcd-1 talos-4: healed\n");
    assert_eq!(network.ok("heal aws"), "slow aws: 5 ms: healed\n");
    network.mac.remove("state\t");
    let counted = |kernel: &str| {
        settled(kernel).into_iter().filter(|line| !line.starts_with("count\t")).collect::<Vec<_>>()
    };
    assert_eq!(counted(&network.mac.kernel()), counted(&up));
    // There must be others.
    let mut input = small();
    input["providers"].as_object_mut().expect("providers").remove("ibm");
    input["volumes"].as_object_mut().expect("volumes").remove("talos-4");
    input["links"] = json!([]);
    network.install(&input);
    network.ok("start");
    network.fails("partition aws", 2, "nothing else than aws is in this network");
    network.ok("partition etcd-1");
    network.ok("cleanup");
}

#[test]
fn a_tag_limits_what_heal_ends() {
    let network = Network::new(&slow());
    network.ok("start");
    let up = network.mac.kernel();
    network.ok("partition aws ibm --tag s-1");
    network.ok("slow aws ibm --latency 5 --tag s-2");
    network.ok("partition etcd-1 talos-4");
    assert_eq!(network.ok("heal --tag s-3"), "there is nothing to heal\n");
    assert_eq!(network.ok("heal aws ibm --tag s-2"), "slow aws ibm: 5 ms: healed\n");
    // Whoever makes it again has it.
    network.ok("partition ibm aws --tag s-4");
    assert_eq!(network.ok("heal --tag s-1"), "there is nothing to heal\n");
    assert_eq!(network.ok("heal --tag s-4"), "partition ibm aws: healed\n");
    assert_eq!(network.ok("heal"), "partition etcd-1 talos-4: healed\n");
    assert_eq!(settled(&network.mac.kernel()), settled(&up));
}

/// The manager and the program read the same times.
#[test]
fn a_duration_is_read_like_in_the_lab() {
    let mut network = Network::new(&small());
    network.ok("start");
    let texts = [
        "30", "30s", "1m30s", "1h", "2h3m4s", "168h", "604800", "169h", "0", "0s", "08", "0m5s", "1m0s",
        "5m5", "1s1m", "1m1m", "m5s", "10x", "1.5", "-5", "9999999s", "h", "1d", "1h-5s",
    ];
    for (at, text) in texts.into_iter().enumerate() {
        network.under(SHELLS[at % SHELLS.len()], AWKS[0]);
        let ran = network.run(&format!("partition aws ibm --for {text} --print"));
        let known = nixvol_net::scenario::duration(text);
        assert_eq!(ran.code, if known.is_some() { 0 } else { 2 }, "{text}: {known:?} {}", ran.err);
        if known.is_none() {
            let expected = format!("--for takes a time such as 30, 30s or 1m30s, up to a week, not '{text}'");
            assert!(ran.err.contains(&expected), "{}", ran.err);
        }
    }
    network.under(SHELLS[1], AWKS[0]);
    network.ok("partition aws ibm --for 1h1m1s");
    assert!(fs::read_to_string(network.state().join("faults")).expect("what is cut").contains("\t3661\t"));
    network.ok("heal");
}

#[test]
fn stop_and_cleanup_end_all_faults() {
    for command in ["stop", "cleanup"] {
        let network = Network::new(&slow());
        let bare = network.mac.kernel();
        network.ok("start");
        network.ok("partition aws ibm --for 9999");
        network.ok("slow etcd-1 talos-4 --loss 0.5");
        network.mac.forget_journal();
        let said = network.ok(command);
        assert!(said.contains("partition aws ibm: over, because the network goes down\n"), "{said}");
        assert_eq!(foreign(&network.mac.journal()), [""; 0]);
        assert_eq!(network.mac.kernel(), bare);
        assert_eq!(network.status().1["faults"], json!([]));
        network.ok("cleanup");
        network.assert_clean(&bare);
    }
}

#[test]
fn foreign_rules_in_the_fault_anchor_are_left_alone() {
    let network = Network::new(&small());
    network.ok("start");
    let file = network.mac.dir().join("theirs");
    fs::write(&file, "block drop quick inet from any to 10.9.9.9\n").expect("rules");
    let load = format!("pfctl -a {ANCHOR} -f {}", file.display());
    network.mac.ok(&load);
    let theirs = network.mac.kernel();
    network.fails("partition aws ibm", 3, "com.apple/249.nixvol-faults holds rules that");
    assert_eq!(network.mac.kernel(), theirs);
    network.mac.ok(&format!("pfctl -a {ANCHOR} -F all"));
    network.ok("partition aws ibm");
    network.mac.ok(&load);
    network.fails("reconcile", 1, "holds rules that");
    assert_eq!(network.status().1["faults"][0]["state"], "not in force");
    network.ok("stop");
    assert!(cut(&network).contains("10.9.9.9"), "{}", cut(&network));
}

#[test]
fn faults_that_another_program_removed_are_restored() {
    let network = Network::new(&slow());
    network.ok("start");
    network.ok("partition aws ibm");
    network.ok("slow etcd-1 talos-4 --latency 7");
    let up = network.mac.kernel();
    for damage in ["pfctl -a com.apple/249.nixvol-faults -F all", "dnctl pipe delete 29998"] {
        network.mac.ok(damage);
        network.mac.forget_holes();
        let (code, status) = network.status();
        assert_eq!((code, &status["faults"][0]["state"]), (1, &json!("not in force")), "{damage}");
        let repaired = network.run("reconcile");
        assert_eq!(repaired.code, 0, "{damage}: {}", repaired.err);
        // Another program did this, and no run of the manager that died.
        assert!(!(repaired.out + &repaired.err).contains("interrupted"), "{damage}");
        assert_eq!(settled(&network.mac.kernel()), settled(&up), "{damage}");
        network.assert_up();
    }
    network.ok("cleanup");
}

/// A network is repaired also while a fault cannot be: the next run does not take that for one that died.
#[test]
fn a_fault_that_cannot_be_mended_leaves_no_interrupted_run() {
    let network = Network::new(&small());
    network.ok("start");
    network.ok("partition aws ibm");
    network.mac.ok("pfctl -a com.apple/249.nixvol-faults -F all");
    let rules = network.mac.dir().join("theirs");
    fs::write(&rules, "block drop quick inet from 10.9.0.0/16 to any\n").expect("rules");
    network.mac.ok(&format!("pfctl -a com.apple/249.nixvol-faults -f {}", rules.display()));
    network.mac.ok("ifconfig bridge2000 destroy");
    for _ in 0..2 {
        let ran = network.run("reconcile");
        assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
        assert!(!(ran.out + &ran.err).contains("interrupted"));
    }
    assert!(network.mac.kernel().contains("if\tbridge2000\t"), "the network is repaired");
}

/// What is refused is not also called a failed look.
#[test]
fn a_refused_fault_tells_its_reason_alone() {
    let network = Network::new(&small());
    network.ok("start");
    network.mac.edit(|kernel| kernel.replace("\\nanchor \"com.apple/*\" all\\n", "\\n"));
    let ran = network.run("partition aws ibm");
    assert_eq!(ran.code, 3, "{}", ran.err);
    assert!(ran.err.contains("the main ruleset of pf does not call com.apple/*"), "{}", ran.err);
    assert!(!ran.err.contains("could not look"), "{}", ran.err);
}

/// To awk, 10 and 1e1 are the same number.
#[test]
fn names_that_look_like_numbers_are_compared_as_text() {
    let mut input = small();
    input["volumes"] = json!({
        "10": { "provider": "aws", "address": "10.0.1.2" },
        "1e1": { "provider": "ibm", "address": "10.3.1.2" },
    });
    for awk in AWKS {
        let mut network = Network::new(&input);
        network.under(SHELLS[0], awk);
        network.ok("start");
        network.ok("partition 10 1e1");
        network.ok("slow 1e1 --latency 5");
        assert_eq!(network.ok("heal 10"), "partition 10 1e1: healed\n", "{awk}");
        network.fails("partition 10 10", 2, "both endpoints are 10");
        network.assert_up();
        network.ok("cleanup");
    }
}

#[test]
fn a_new_bundle_updates_its_faults_and_ends_the_others() {
    let network = Network::new(&small());
    network.ok("start");
    network.ok("partition aws ibm");
    network.ok("partition etcd-1 talos-4");
    let mut input = small();
    input["volumes"]["talos-5"] = json!({ "provider": "ibm", "address": "10.3.1.9" });
    input["volumes"].as_object_mut().expect("volumes").remove("talos-4");
    input["providers"]["ibm"] = json!({ "network": "10.4.0.0/16", "gateway": "10.4.1.1/24" });
    input["volumes"]["talos-5"]["address"] = json!("10.4.1.9");
    network.install(&input);
    // Installing a bundle changes nothing.
    network.ok("reconcile");
    assert!(cut(&network).contains("10.3.0.0/16"));
    let said = network.ok("start");
    assert!(
        said.contains("partition etcd-1 talos-4: over, because talos-4 is not in this network\n"),
        "{said}"
    );
    let rules = cut(&network);
    assert!(rules.contains("10.4.0.0/16") && !rules.contains("10.3.0.0/16"), "{rules}");
    network.assert_up();
}

#[test]
fn a_slow_path_has_pipes_of_its_own() {
    let network = Network::new(&slow());
    network.ok("start");
    let up = network.mac.kernel();
    network.mac.forget_journal();
    let said = network.ok("slow etcd-1 talos-4 --latency 200 --loss 0.05 --bandwidth 2000 --for 600");
    assert!(said.starts_with("slow etcd-1 talos-4: 200 ms, 5% lost, 2000 kbit/s, until 20"), "{said}");
    assert_eq!(foreign(&network.mac.journal()), [""; 0]);
    let rules = cut(&network);
    for line in [
        "dummynet out quick inet from <one1-etcd-1> to <two1-talos-4> pipe 29999\nno dummynet out quick inet from <one1-etcd-1> to <two1-talos-4>\n",
        "dummynet out quick inet from <two1-talos-4> to <one1-etcd-1> pipe 29998\nno dummynet out quick inet from <two1-talos-4> to <one1-etcd-1>\n",
        "dummynet in quick on ! lo0 inet from <two1-talos-4> to <one1h-etcd-1> pipe 29998\n",
    ] {
        assert!(rules.contains(line), "{line}: {rules}");
    }
    assert!(!rules.contains("block") && !rules.contains("<two1h"), "{rules}");
    assert!(
        network.mac.kernel().contains("pipe\t20000\t40\t")
            && network.mac.kernel().contains("pipe\t29999\t200\t")
    );
    let (code, status) = network.status();
    assert_eq!(code, 0, "{status:#}");
    let fault = &status["faults"][0];
    assert_eq!(
        (&fault["conditions"], &fault["latencyMs"], &fault["loss"], &fault["bandwidthKbit"]),
        (&json!("200 ms, 5% lost, 2000 kbit/s"), &json!(200), &json!(0.05), &json!(2000))
    );
    // A repeated command changes the pipes in place.
    network.ok("slow talos-4 etcd-1 --latency 9");
    assert!(network.mac.kernel().contains("pipe\t29999\t9\t0\t0\n"), "{}", network.mac.kernel());
    network.ok("slow aws ibm --latency 3");
    assert!(network.mac.kernel().contains("pipe\t29997\t3\t0\t0\n"));
    network.ok("partition aws ibm");
    network.mac.forget_journal();
    network.ok("reconcile");
    assert_eq!(network.mac.changes(), [""; 0]);
    network.ok("heal etcd-1 talos-4");
    assert!(!network.mac.kernel().contains("pipe\t2999[89]"));
    network.ok("heal");
    assert_eq!(settled(&network.mac.kernel()), settled(&up));
    assert!(!log(&network).contains("interrupted") && !log(&network).contains("another program"));
    // Without conditions of links there are no dummynet rules before, and none after.
    network.install(&small());
    network.ok("start");
    let plain = network.mac.kernel();
    network.ok("slow aws ibm --latency 3");
    network.ok("heal");
    assert_eq!(settled(&network.mac.kernel()), settled(&plain));
    network.ok("reconcile");
    network.mac.forget_journal();
    network.ok("reconcile");
    assert_eq!(network.mac.journal().len(), 12);
}

/// With `route-to` in another program's rules and any dummynet rule, the kernel dereferences a null pointer.
#[test]
fn slow_is_refused_while_another_program_uses_route_to() {
    let network = Network::new(&small());
    network.ok("start");
    let file = network.mac.dir().join("theirs");
    fs::write(&file, "pass out quick on en0 route-to (en0 192.168.1.9) inet from 192.168.1.23 to any\n")
        .expect("rules");
    network.mac.ok(&format!("pfctl -a com.example.vpn -f {}", file.display()));
    let kernel = network.mac.kernel();
    network.fails("slow aws ibm --latency 5", 3, "the kernel can panic (route-to with dummynet)");
    assert_eq!(network.mac.kernel(), kernel);
    network.ok("partition aws ibm");
}

/// The contents of tables are not part of a capture; they follow from the endpoints that the names of tables tell.
#[test]
fn explain_names_the_faults_of_a_capture() {
    let input = small();
    let network = Network::new(&input);
    network.ok("start");
    let declaration = network.mac.dir().join("input.json");
    fs::write(&declaration, input.to_string()).expect("the input");
    let explain = || {
        let mut capture = String::new();
        for (header, anchor) in [
            ("# main", String::new()),
            ("# anchor com.apple/249.nixvol-faults", format!("-a {ANCHOR} ")),
            ("# anchor com.apple/250.nixvol", "-a com.apple/250.nixvol ".to_owned()),
        ] {
            capture.push_str(header);
            capture.push('\n');
            for what in ["rules", "nat", "dummynet"] {
                capture += &network.mac.ok(&format!("pfctl {anchor}-s {what}"));
            }
        }
        let file = network.mac.dir().join("capture");
        fs::write(&file, capture).expect("the capture");
        let (input, file) = (declaration.display().to_string(), file.display().to_string());
        let output = run(&["explain", "etcd-1", "talos-4:6443", "--input", &input, "--ruleset", &file], "");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(explain().0, Some(0), "{}", explain().1);
    network.ok("partition aws ibm");
    let (code, text) = explain();
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("a partition of aws and ibm is in force, which decides before our rules"),
        "{text}"
    );
    assert!(text.contains("the anchor com.apple/249.nixvol-faults decides instead"), "{text}");
    network.ok("heal");
    network.ok("slow etcd-1 --latency 5");
    let (code, text) = explain();
    assert_eq!(code, Some(0), "{text}");
    for line in [
        "the path between etcd-1 and all others is slowed on demand (`slow`), in place of the conditions of links",
        "through   pipe 29999: `slow etcd-1` of the manager; how slow, a capture of rules does not tell",
        "through   pipe 29998: `slow etcd-1` of the manager",
        "dummynet out quick inet from <one1-etcd-1> to <two1> pipe 29999",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(!text.contains("taken as empty"), "{text}");
    network.ok("heal");
    network.ok("partition aws ibm");
    // `status --from` reports the partition too.
    let report = network.mac.dir().join("report");
    network.ok(&format!("logs --collect {}", report.display()));
    let (input, report) = (declaration.display().to_string(), report.display().to_string());
    let output = run(&["status", "--input", &input, "--from", &report], "");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("a partition of aws and ibm is in force"), "{text}");
}

/// Printing the rules needs neither a running network nor a change.
#[test]
fn the_rules_of_a_pair_can_be_printed() {
    let network = Network::new(&small());
    let printed = network.ok("partition etcd-1 aws --print");
    assert!(printed.contains("table <two1-aws> const { 10.0.0.0/16 !10.0.1.2 !10.0.1.1 }\n"), "{printed}");
    network.ok("start");
    network.ok("partition aws ibm");
    let kernel = network.mac.kernel();
    assert_eq!(network.ok("partition etcd-1 aws --print"), printed);
    assert_eq!(network.mac.kernel(), kernel);
    let changes = network.mac.journal().iter().filter(|call| call.mark == '!').map(Call::line).count();
    assert!(changes > 0);
}
