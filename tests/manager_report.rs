//! Reports of the manager for others: everything that it reads, as files, without what identifies the Mac.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::network::{AWKS, Network, SHELLS, small};

/// The files of a report, by name.
fn files(dir: &std::path::Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(dir).expect("the report").flatten();
    let file = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path()).expect("a file of the report");
        (entry.file_name().to_string_lossy().into_owned(), text)
    };
    entries.map(file).collect()
}

#[test]
fn a_report_has_everything_that_is_read_and_no_secrets() {
    for (shell, awk) in [(0, 0), (1, 1), (2, 2), (3, 0)] {
        let mut input = small();
        input["volumes"]["etcd-1"]["mountPoint"] = json!("/Volumes/data");
        let mut network = Network::new(&input);
        network.under(SHELLS[shell], AWKS[awk]);
        network.mac.add("mount\t//jane@files.example.com/secret on /Volumes/secret (smbfs, nodev, nosuid)");
        network.mac.add("mount\t/dev/disk5s1 on /Volumes/data (apfs, local)");
        network.ok("start");
        let dir = network.mac.dir().join("report");
        network.ok(&format!("logs --collect {}", dir.display()));
        let report = files(&dir);
        let names: Vec<&str> = report.keys().map(String::as_str).collect();
        let expected = [
            "anchor.conf",
            "applied",
            "ifconfig",
            "launchctl-print",
            "ledger",
            "log",
            "ls-lden",
            "mount",
            "names",
            "netstat-rn",
            "network.json",
            "pfctl-anchor-labels",
            "pfctl-anchor-sn",
            "pfctl-anchor-sr",
            "pfctl-anchor-tables",
            "pfctl-info",
            "pfctl-interfaces",
            "pfctl-memory",
            "pfctl-others",
            "pfctl-references",
            "pfctl-sn",
            "pfctl-sr",
            "rules.conf",
            "scutil-dns",
            "status.json",
            "sysctl",
            "table",
            "version",
            "wish",
        ];
        assert_eq!(names, expected);
        assert!(report["version"].starts_with("format\t1\nProductName:"), "{}", report["version"]);
        assert_eq!(report["mount"], "- on /Volumes/data (mounted)\n");
        assert_eq!(report["pfctl-interfaces"], "lo0\n");
        assert_eq!(report["pfctl-anchor-sr"], network.mac.ok("pfctl -a com.apple/250.nixvol -s rules"));
        assert!(
            report["pfctl-anchor-tables"].starts_with("nixvol\n   10.0.0.0/16\n   10.3.0.0/16\ninternet\n")
        );
        let tokens: Vec<&str> = report["pfctl-references"]
            .lines()
            .skip(2)
            .filter_map(|line| line.split_whitespace().nth(2))
            .collect();
        assert!(tokens.len() == 2 && tokens[0].starts_with("15") && tokens[1] == "0", "{tokens:?}");
        let status: Value = serde_json::from_str(&report["status.json"]).expect("JSON");
        assert_eq!(status["healthy"], true);
        let all: String = report.values().cloned().collect();
        for secret in [
            "jane",
            "files.example.com",
            "/Volumes/secret",
            "a4:83:e7",
            "f4:92:bf",
            "36.7d.da",
            "inet6",
            "9813589183660731843",
        ] {
            assert!(!all.contains(secret), "{secret} is in the report");
        }
        network.fails(&format!("logs --collect {}", dir.display()), 1, "a directory that does not exist yet");
        network.ok("cleanup");
    }
}

#[test]
fn a_report_is_not_written_through_links() {
    let network = Network::new(&small());
    let (link, target) = (network.mac.dir().join("link"), network.mac.dir().join("target"));
    fs::create_dir(&target).expect("a directory");
    symlink(&target, &link).expect("a link");
    network.fails(&format!("logs --collect {}", link.display()), 1, "cannot create");
    assert_eq!(fs::read_dir(&target).expect("it").count(), 0);
    network.fails("logs --collect", 2, "--collect takes a directory");
}
