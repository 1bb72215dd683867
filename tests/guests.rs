//! The files of `guests/NAME`, applied by the systems that they are for, on interfaces that cloud-init configures too.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{declared, has_tool, rendered, root, skipped};

/// The script that boots a system.
const SYSTEM: &str = "tests/guest/system.sh";

fn input() -> Value {
    let guest = |address: &str, guest: Value| json!({ "provider": "aws", "address": address, "attachment": "guest", "guest": guest });
    json!({
        "version": 1,
        "providers": { "aws": { "network": "10.0.0.0/16", "gateway": "10.0.1.1/24", "attachment": "vmnet" } },
        "volumes": {
            "by-mac": guest("10.0.1.8", json!({ "mac": "52:54:00:12:34:56" })),
            "by-name": guest("10.0.1.9", json!({ "interface": "enp0s1", "dns": ["9.9.9.9", "10.0.1.1"] })),
        }
    })
}

fn files() -> std::collections::BTreeMap<String, String> {
    rendered(&input()).files.into_iter().map(|(path, file)| (path, file.text)).collect()
}

/// The addresses, routes and DNS servers that the system ends up with; none where this machine cannot run it.
fn booted(system: &str, file: &str) -> Option<String> {
    let program = match system {
        "networkd" => "networkctl",
        "netplan" => "netplan",
        _ => "NetworkManager",
    };
    if !has_tool(program, &format!("no {system} has taken a guest's file")) {
        return None;
    }
    let namespaces = ["--net", "--mount", "--pid", "--fork"];
    let can =
        Command::new("unshare").args(namespaces).arg("true").status().is_ok_and(|status| status.success());
    if !can {
        skipped("no namespaces can be made here, so no system has taken a guest's file");
        return None;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join(file.rsplit('/').next().expect("a name"));
    std::fs::write(&path, &files()[file]).expect("a file");
    let script = root().join(SYSTEM);
    let output = Command::new("unshare").args(namespaces).arg(&script).arg(system).arg(&path).output();
    let output = output.expect("unshare runs");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{system}: {told}{}", String::from_utf8_lossy(&output.stderr));
    Some(told)
}

fn is_right(system: &str, file: &str, address: &str, dns: &str) {
    let Some(told) = booted(system, file) else { return };
    let wanted = format!("enp0s1 {address}/32\ndefault via 10.0.1.1 dev enp0s1 proto static onlink\n{dns}");
    assert_eq!(told, wanted, "{system} with {file}");
}

#[test]
fn networkd_prefers_our_file_over_that_of_a_cloud_image() {
    is_right("networkd", "guests/by-mac/05-nixvol.network", "10.0.1.8", "dns 10.0.1.1\n");
    is_right("networkd", "guests/by-name/05-nixvol.network", "10.0.1.9", "dns 9.9.9.9\ndns 10.0.1.1\n");
}

#[test]
fn netplan_prefers_our_file_over_that_of_a_cloud_image() {
    // netplan matches the permanent hardware address, which virtual interfaces on Linux do not have.
    is_right("netplan", "guests/by-name/99-nixvol.yaml", "10.0.1.9", "dns 9.9.9.9\ndns 10.0.1.1\n");
    assert!(files()["guests/by-mac/99-nixvol.yaml"].contains("macaddress: \"52:54:00:12:34:56\"\n"));
}

#[test]
fn network_manager_prefers_our_file_over_that_of_a_cloud_image() {
    is_right("NetworkManager", "guests/by-mac/nixvol.nmconnection", "10.0.1.8", "dns 10.0.1.1\n");
    is_right("NetworkManager", "guests/by-name/nixvol.nmconnection", "10.0.1.9", "dns 9.9.9.9 10.0.1.1\n");
}

#[test]
fn omitted_fields_of_a_guest_get_defaults_that_round_trip() {
    let mut input = input();
    input["volumes"]["plain"] = json!({ "provider": "aws", "address": "10.0.1.10", "attachment": "guest" });
    input["providers"]["own"] = json!({ "network": "10.1.0.0/16", "gateway": "10.1.1.1/24" });
    input["volumes"]["own-1"] = json!({ "provider": "own", "address": "10.1.1.2", "guest": { "dns": null } });
    input["volumes"]["by-mac"]["guest"]["mac"] = json!("52:54:00:AB:CD:EF");
    let bundle = rendered(&input);
    let network: Value = serde_json::from_str(&bundle.files["network.json"].text).expect("JSON");
    let guest = |name: &str| network["volumes"][name]["guest"].clone();
    assert_eq!(guest("plain"), json!({ "mac": null, "interface": null, "dns": ["10.0.1.1"] }));
    // Only vmnet answers DNS at a provider's gateway.
    assert_eq!(guest("own-1"), json!({ "mac": null, "interface": null, "dns": [] }));
    assert_eq!(guest("by-mac")["mac"], "52:54:00:ab:cd:ef");
    let (mut first, mut again) = (declared(&input), declared(&network));
    first.positions = nixvol_net::place::Positions::default();
    again.positions = nixvol_net::place::Positions::default();
    assert_eq!(first, again);
    for (path, file) in &bundle.files {
        if path.starts_with("guests/plain/") {
            assert!(file.text.contains("10.0.1.1") && file.text.ends_with('\n'), "{path}");
            assert!(!file.text.contains("\n\n\n") && !file.text.ends_with("\n\n"), "{path}: {}", file.text);
        }
        if path.starts_with("guests/own-1/") {
            let lower = file.text.to_lowercase();
            assert!(!lower.contains("dns") && !lower.contains("nameservers"), "{path}: {}", file.text);
        }
    }
}
