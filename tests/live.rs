//! `live.sh`, which examines a real Mac, run on the toy Mac: every step succeeds, every question is asked, nothing is
//! left.

use std::collections::BTreeSet;
use std::fs;

use crate::rig::settled;
use crate::support::root;
use crate::switch::Disk;

/// The facts that it asks about. Only a real Mac's answers count; the toy answers as it was programmed.
const FACTS: &[&str] = &[
    "absent-anchor-is-no-error",
    "alias-on-lo0-reaches-the-internet",
    "anchors-are-asked-in-the-order-of-names",
    "block-return-in-answers",
    "block-return-out-is-silent",
    "bound-between-bridges-forwarding-0",
    "bound-between-bridges-forwarding-1",
    "bound-local-to-local",
    "bridge-without-members-answers",
    "bridge-without-members-is-inactive",
    "bridges-of-feth-survive-sleep",
    "destroyed-names-linger",
    "dnctl-list-says",
    "dnctl-makes-a-pipe",
    "dummynet-rules-are-read",
    "extfilter-apd-is-read",
    "extfilter-ei-is-read",
    "feth-joins-a-bridge",
    "flush-all-takes-dummynet",
    "grandchildren-are-not-asked",
    "icmp-type-unreach-is-read",
    "ls-shows-at-sign-before-plus",
    "main-ruleset-calls-com.apple",
    "names-are-a-cloner-and-a-unit",
    "nc-G-is-in-seconds",
    "pf-is-asked-twice-on-lo0",
    "pfctl-E-token-on-stderr",
    "private-relay-is-off",
    "redirection-below-com.apple",
    "return-icmp-is-read",
    "route-exits-0-when-it-fails",
    "run-binds-what-binds-nothing",
    "run-refuses-what-sip-protects",
    "scrub-reassembles",
    "sh-is-bash-3.2",
    "state-limit-is-10000",
    "vmenet-moves-to-another-bridge",
    "vmnet-bridges-a-feth",
    "vmnet-forwards-without-a-lease",
    "vmnet-keeps-call-points",
];

#[test]
fn every_step_passes_and_every_question_is_asked() {
    let Some(disk) = Disk::new() else { return };
    for file in ["tests/mac/live.sh", "templates/activation/activate.sh"] {
        let text = fs::read_to_string(root().join(file)).expect("a file of the tree");
        disk.write(&format!("/source/{file}"), &text, 0o755);
    }
    let before = settled(&disk.mac.kernel());
    let ran = disk.enter(&[
        "/bin/bash",
        "/source/tests/mac/live.sh",
        env!("CARGO_BIN_EXE_nixvol-net"),
        "/tmp/live",
    ]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert_eq!(ran.err, "");
    assert_eq!(settled(&disk.mac.kernel()), before);

    let facts = ran.out.lines().filter_map(|line| line.strip_prefix("fact "));
    let asked: BTreeSet<&str> = facts
        .map(|fact| {
            let (name, answer) = fact.split_once(": ").expect("a name");
            let word = answer.split(' ').next().expect("an answer");
            assert!(matches!(word, "yes" | "no" | "unasked") && answer.ends_with(')'), "{fact}");
            name
        })
        .collect();
    assert_eq!(asked, FACTS.iter().copied().collect());
    let steps = ran.out.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(steps >= 25, "{}", ran.out);
    // It refuses to touch a network that is installed already.
    disk.write("/opt/nix-volumes/notes", "mine\n", 0o644);
    let ran = disk.enter(&[
        "/bin/bash",
        "/source/tests/mac/live.sh",
        env!("CARGO_BIN_EXE_nixvol-net"),
        "/tmp/live",
    ]);
    assert_eq!(ran.code, 3, "{}{}", ran.out, ran.err);
}
