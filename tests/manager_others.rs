//! Other programs' rules: main rulesets and anchors that affect ours, as the manager, `status --from` and `explain
//! --ruleset` report them.

use std::fs;

use serde_json::Value;

use crate::network::{Network, slow, small};
use crate::support::{root, run};

/// Replaces the rules of the toy Mac's main ruleset.
fn main_ruleset(network: &Network, rules: &str) {
    let rules = rules.replace('\n', "\\n");
    network.mac.edit(|kernel| {
        let line = |line: &str| match line.strip_prefix("anchor\t\t") {
            Some(_) => format!("anchor\t\t{rules}\n"),
            None => format!("{line}\n"),
        };
        kernel.lines().map(line).collect()
    });
}

const STOCK: &str = "scrub-anchor \"com.apple/*\" all fragment reassemble\nnat-anchor \"com.apple/*\" all\nrdr-anchor \"com.apple/*\" all\ndummynet-anchor \"com.apple/*\" all\nanchor \"com.apple/*\" all\n";

/// The findings and notes of `status --from` with a capture of this Mac.
fn captured(network: &Network, name: &str) -> (Vec<String>, Vec<String>) {
    let directory = network.mac.dir().join(name);
    network.ok(&format!("logs --collect {}", directory.display()));
    let output = run(&["status", "--from", &directory.display().to_string(), "--format", "json"], "");
    let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let texts = |list: &Value, of: &dyn Fn(&Value) -> &Value| -> Vec<String> {
        list.as_array().expect("a list").iter().map(|it| of(it).as_str().expect("text").to_owned()).collect()
    };
    (texts(&status["findings"], &|it| &it["what"]), texts(&status["notes"], &|it| it))
}

fn found(value: &Value) -> Vec<String> {
    value.as_array().expect("a list").iter().map(|it| it["what"].as_str().expect("text").to_owned()).collect()
}

fn list(value: &Value) -> Vec<String> {
    value.as_array().expect("a list").iter().map(|it| it.as_str().expect("text").to_owned()).collect()
}

#[test]
fn rules_that_decide_before_ours_are_reported() {
    // Name, main ruleset, whether it overrides our rules, and the words of the message.
    let cases: [(&str, String, bool, &str); 8] = [
        ("pass-lo0", STOCK.replace("\nanchor \"com", "\npass quick on lo0 all flags S/SA keep state\nanchor \"com"), true, "decides before our rules, and with `quick`"),
        ("block-any", STOCK.replace("\nanchor \"com", "\nblock drop quick inet from any to 10.0.0.0/8\nanchor \"com"), true, "decides before our rules, and with `quick`"),
        ("elsewhere", STOCK.replace("\nanchor \"com", "\npass in quick on en0 inet proto tcp from any to any port = 22 flags S/SA keep state\nanchor \"com"), false, "decides on en0 before our rules"),
        ("limited", STOCK.replace("\nanchor \"com.apple/*\" all", "\nanchor \"com.apple/*\" on en0 all"), true, "only for a part of all traffic"),
        ("inet6", STOCK.replace("rdr-anchor \"com.apple/*\" all", "rdr-anchor \"com.apple/*\" inet6 all"), true, "only for a part of all traffic"),
        ("call", STOCK.replace("\nanchor \"com", "\nanchor \"com.example.vpn\" all\nanchor \"com"), false, "the main ruleset calls other anchors before ours: com.example.vpn"),
        ("no-concern", STOCK.replace("\nanchor \"com", "\npass quick on lo0 inet6 all flags S/SA keep state\npass quick on lo0 inet from 172.27.0.0/16 to 192.168.9.9 flags S/SA keep state\nanchor \"com"), false, ""),
        ("plain", STOCK.replace("\nanchor \"com", "\npass on lo0 all flags S/SA keep state\nanchor \"com"), false, ""),
    ];
    for (name, main, decides, words) in &cases {
        let network = Network::new(&small());
        network.ok("start");
        main_ruleset(&network, main);
        let (code, status) = network.status();
        let (problems, notes) = (found(&status["findings"]), list(&status["notes"]));
        let (findings, others) = captured(&network, name);
        assert_eq!((code == 1, problems.len()), (*decides, usize::from(*decides)), "{name}: {status:#}");
        assert_eq!(findings.len(), usize::from(*decides), "{name}: {findings:?}");
        let said = if *decides { [problems, findings] } else { [notes, others] };
        match *words {
            "" => assert_eq!(said, [vec![], vec![]] as [Vec<String>; 2], "{name}"),
            words => assert!(
                said.iter().all(|list| list.len() == 1 && list[0].contains(words)),
                "{name}: {said:?}"
            ),
        }
        network.ok("stop");
        if *decides {
            network.fails("start", 1, words);
        } else {
            let ran = network.run("start");
            assert!(ran.code == 0 && ran.err.contains(words), "{name}: {}", ran.err);
        }
    }
}

#[test]
fn main_rulesets_of_real_macs_are_parsed() {
    for (file, problems) in [("main-pass-quick-lo0", 1), ("sa-internet-sharing", 0)] {
        let network = Network::new(&small());
        let text = fs::read_to_string(root().join("tests/cases/outputs").join(file)).expect("a ruleset");
        network.ok("start");
        main_ruleset(&network, &text);
        let (code, status) = network.status();
        assert_eq!(
            (code, found(&status["findings"]).len()),
            (problems, usize::try_from(problems).expect("few")),
            "{file}: {status:#}"
        );
        assert_eq!(status["rules"]["called"]["filter"], true, "{file}");
        assert_eq!(captured(&network, file).0.len(), usize::try_from(problems).expect("few"), "{file}");
    }
}

/// An anchor that cannot be read is not taken for empty: it may decide before our rules.
#[test]
fn unreadable_anchors_are_reported() {
    let network = Network::new(&small());
    network.ok("start");
    let words = "the anchor com.example.other cannot be read: whether it decides before ours is not known";
    let places = |command: &str| -> Vec<usize> {
        network.mac.forget_journal();
        network.mac.fault(None);
        network.ok(command);
        let asks = |call: &crate::rig::Call| call.line().starts_with("pfctl -a com.example.other -s ");
        let journal = network.mac.journal();
        (1..=journal.len()).filter(|at| asks(&journal[at - 1])).collect()
    };
    let directory = network.mac.dir().join("whole").display().to_string();
    // `logs --collect` includes the output of status, so it reads the anchor twice as often.
    let (looks, reports) = (places("status"), places(&format!("logs --collect {directory}")));
    assert_eq!((looks.len(), reports.len()), (2, 4));
    for at in looks {
        network.mac.fault(Some(("fail", at)));
        let (code, status) = network.status();
        assert_eq!((code, list(&status["notes"])), (0, vec![words.to_owned()]), "{status:#}");
    }
    for at in &reports[..2] {
        network.mac.fault(Some(("fail", *at)));
        let (findings, notes) = captured(&network, &format!("captured-{at}"));
        assert_eq!((findings, notes), (Vec::new(), vec![words.to_owned()]));
    }
    network.mac.fault(None);
    network.assert_up();
}

#[test]
fn an_rdr_in_an_earlier_anchor_is_reported() {
    let rdr = "rdr pass on lo0 inet proto tcp from any to any port = 80 -> 127.0.0.1 port 8080\\n";
    for (anchor, told) in
        [("com.apple/100.dev", true), ("com.apple/300.dev", false), ("dev", true), ("late", false)]
    {
        let network = Network::new(&small());
        network.ok("start");
        main_ruleset(
            &network,
            &STOCK.replace(
                "rdr-anchor \"com.apple/*\" all\n",
                "rdr-anchor \"dev\" all\nrdr-anchor \"com.apple/*\" all\nrdr-anchor \"late\" all\n",
            ),
        );
        network.mac.add(&format!("anchor\t{anchor}\t{rdr}"));
        let (code, status) = network.status();
        let problems = found(&status["findings"]);
        assert_eq!((code, problems.len()), (i32::from(told), usize::from(told)), "{anchor}: {status:#}");
        assert!(
            !told || problems[0].contains("never reaches a volume") && problems[0].contains(anchor),
            "{problems:?}"
        );
        let (findings, _) = captured(&network, "capture");
        assert_eq!(findings.len(), usize::from(told), "{anchor}: {findings:?}");
        // It takes over a port, which does not stop the network from starting.
        network.ok("stop");
        let ran = network.run("start");
        assert_eq!((ran.code, ran.err.contains("never reaches a volume")), (0, told), "{}", ran.err);
        network.ok("reconcile");
    }
}

#[test]
fn route_to_and_conditions_are_never_in_force_together() {
    let rule = "pass out on en0 route-to (utun4 100.64.7.9) inet proto tcp from any to any port = 443 flags S/SA keep state\\n";
    for kind in ["route-to", "dup-to"] {
        let rule = rule.replace("route-to", kind);
        let network = Network::new(&slow());
        network.mac.add(&format!("anchor\tcom.example.other2\t{rule}"));
        let before = network.mac.kernel();
        network.fails("start", 3, "the kernel can panic");
        assert_eq!(network.mac.kernel(), before);
        assert_eq!(network.run("plan").code, 3);
        // route-to without conditions is harmless, and so are conditions without route-to.
        network.install(&small());
        network.ok("start");
        assert_eq!(captured(&network, "without").0, [""; 0]);
        network.ok("cleanup");
        network.install(&slow());
        network.mac.remove("anchor\tcom.example.other2\t");
        network.ok("start");
        // A rule that is loaded later is reported.
        network.mac.add(&format!("anchor\tcom.example.other2\t{rule}"));
        let (code, status) = network.status();
        assert!(code == 1 && found(&status["findings"])[0].contains("com.example.other2"), "{status:#}");
        assert!(captured(&network, "with").0[0].contains("the kernel can panic"));
        network.mac.remove("anchor\tcom.example.other2\t");
        network.ok("reconcile");
    }
}

#[test]
fn explain_reports_foreign_rules_of_a_capture() {
    let explained = |main: &str| {
        let output = run(&["explain", "etcd-1", "etcd-2:2379", "--ruleset", "-", "--format", "json"], main);
        let explanation: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        list(&explanation["notes"])
    };
    let stock = format!(
        "# main\n{STOCK}# anchor com.apple/250.nixvol\npass quick inet from 10.0.0.0/8 to 10.0.0.0/8 flags any keep state\n"
    );
    let said = |notes: &[String], words: &str| notes.iter().any(|note| note.contains(words));
    assert!(!said(&explained(&stock), "before ours") && !said(&explained(&stock), "nothing calls"));
    let vpn = stock.replace("\nanchor \"com", "\nanchor \"vpn\" all\npass quick on lo0 all\nanchor \"com")
        + "# anchor lost\npass all\n# anchor vpn\nblock drop quick on lo0 inet from any to any\n";
    let notes = explained(&vpn);
    assert!(said(&notes, "the main ruleset calls other anchors before ours: vpn"), "{notes:?}");
    assert!(said(&notes, "of the main ruleset decides before our rules"), "{notes:?}");
    assert!(said(&notes, "of vpn decides before our rules"), "{notes:?}");
    assert!(said(&notes, "nothing calls the anchor lost"), "{notes:?}");
}
