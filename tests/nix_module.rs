//! The nix-darwin module: what a switch does, and what the module refuses.

use serde_json::{Value, json};

use crate::nix::{nix_instantiate, refused, with_darwin};
use crate::support::{rendered, run};

#[test]
fn the_module_has_a_test_in_the_form_of_nix_darwin() {
    let path = "./tests/nix/services-nixvol-net.nix";
    let form = "{ lib, ... }: { options = { out = lib.mkOption { type = lib.types.raw; }; \
                test = lib.mkOption { type = lib.types.lines; }; }; config.out = \"/out\"; }";
    with_darwin(&format!("{{ imports = [ {path} ({form}) ]; }}"), "test", |test| {
        let test = test.as_str().unwrap();
        assert!(test.contains("grep") && test.contains("/out/activate"), "{test}");
    });
    let parsed = nix_instantiate(&["--parse", path]);
    assert!(parsed.status.success());
}

#[test]
fn switch_installs_before_launchd_and_starts_last() {
    let module =
        r#"{ services.nixvol-net = { enable = true; preset = "multi-cloud"; confirmWithin = 90; }; }"#;
    with_darwin(module, "activate", |text| {
        let text = text.as_str().unwrap();
        let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("`{part}` is not in:\n{text}"));
        let start =
            "\n/opt/nix-volumes/networking/manage-macos-networking.sh start --switch --confirm-within 90\n";
        let check = at("-activate.sh /var/db/org.nix-volumes.networking.receipt check /nix/store/");
        let install = at("-activate.sh /var/db/org.nix-volumes.networking.receipt install /nix/store/");
        assert!(
            at("set -e\n") < check
                && check < at("if [[ \"${checkActivation:-0}\" -eq 1 ]]")
                && check < install
        );
        assert!(install < at("setting up launchd services"));
        assert!(at("setting up launchd services") < at(start));
        assert!(at(start) < at("ln -sfn \"$(readlink -f \"$systemConfig\")\" /run/current-system"));
        assert!(!text.contains("receipt remove"));
    });
    with_darwin(module, "daemons.\"org.nix-volumes.networking.plist\"", |source| {
        let source = source.as_str().unwrap();
        assert!(source.ends_with("-nixvol-net-bundle/launchd/org.nix-volumes.networking.plist"), "{source}");
    });
    with_darwin(module, "bundle", |script| {
        let script = script.as_str().unwrap();
        assert!(
            script.contains("render --input /nix/store/") && script.contains("verify bundle\n"),
            "{script}"
        );
    });
    with_darwin(module, "toplevel", |_| ());
}

#[test]
fn disabling_cleans_up_after_launchd() {
    let declared = "{ services.nixvol-net = import ./tests/nix/declared.nix // { enable = false; confirmWithin = 9; }; }";
    for module in ["{ }", r#"{ services.nixvol-net.preset = "multi-cloud"; }"#, declared] {
        with_darwin(module, "activate", |text| {
            let text = text.as_str().unwrap();
            let remove =
                text.find("-activate.sh /var/db/org.nix-volumes.networking.receipt remove\n").unwrap();
            let check = text
                .find("-activate.sh /var/db/org.nix-volumes.networking.receipt check-remove || exit 2\n")
                .unwrap();
            assert!(check < text.find("checkActivation").unwrap());
            assert!(text.find("setting up launchd services").unwrap() < remove);
            assert!(!text.contains("manage-macos-networking.sh"));
        });
        with_darwin(module, "daemons", |daemons| {
            assert!(daemons.get("org.nix-volumes.networking.plist").is_none());
        });
    }
}

#[test]
fn hostile_values_stay_in_their_place() {
    let volume = |field: &str| {
        format!(r#"{{ services.nixvol-net = {{ enable = true; preset = "multi-cloud"; {field} }}; }}"#)
    };
    let mount = r#"/Volumes/a "b" 'c' \${d} $(e) `f` ; # é"#;
    with_darwin(
        &volume(&format!("volumes.etcd-1.mountPoint = {mount:?};").replace(r"\\$", r"\$")),
        "input",
        |input| {
            assert_eq!(input["volumes"]["etcd-1"]["mountPoint"], mount.replace('\\', ""));
        },
    );

    let option = |field: &str| format!("services.nixvol-net.{field}");
    for (field, value) in [
        ("base", r#""/opt/$(reboot)""#),
        ("stateDir", r#""/var/db/it's""#),
        ("logFile", r#""/var/log/a b""#),
        ("anchor", "\"com.apple/x\\n\""),
        ("volumes.etcd-1.mountPoint", r#""/Volumes/two\nlines""#),
        ("stateDir", "\"/var/db/two\\nlines\""),
        ("logFile", r#""/var/log/\${IFS}.log""#),
        ("anchor", r#""com.apple/a b""#),
        ("anchor", r#""com.apple/a/b""#),
        ("providers.aws.bridge", r#""bridge;reboot""#),
        ("providers.aws.network", "\"10.0.0.0/16\\n\""),
        ("providers.aws.gateway", r#""10.0.1.1/24 #""#),
        ("volumes.etcd-1.address", r#""10.0.1.2; reboot""#),
        ("volumes.etcd-1.localhost", r#""127.0.1.11`reboot`""#),
        ("localhost.bridge", r#""$(reboot)""#),
        ("localhost.gateway", "\"127.0.1.1/24\\n\""),
        ("allowOverlap", r#"[ "10.0.0.0/8 $(reboot)" ]"#),
    ] {
        refused(&volume(&format!("{field} = {value};")), &[&option(field), "is not of type"]);
    }
    for name in [r"a\nb", r"\${x}", r#"\"quoted\""#, "Etcd", "-a", "a.b"] {
        let field = format!(r#"volumes."{name}" = {{ provider = "aws"; address = "10.0.1.77"; }};"#);
        refused(&volume(&field), &["services.nixvol-net.volumes has an entry named", "lower-case"]);
        let field =
            format!(r#"providers."{name}" = {{ network = "10.9.0.0/16"; gateway = "10.9.0.1/16"; }};"#);
        refused(&volume(&field), &["services.nixvol-net.providers has an entry named", "lower-case"]);
        let field = format!(r#"links = [ {{ from = [ "{name}" ]; to = [ "gcp" ]; }} ];"#);
        refused(&volume(&field), &["services.nixvol-net.links, entry 1: `from` names", "not declared"]);
    }
}

/// `nix eval …input` asks for no assertion: the program says what is wrong, and the option that it comes from.
#[test]
fn the_name_of_an_entry_that_is_not_allowed_is_told_by_its_option() {
    for (field, option) in [
        ("providers.AWS = { network = \"10.9.0.0/16\"; gateway = \"10.9.0.1/16\"; };", "providers.AWS"),
        ("volumes.Etcd-9 = { provider = \"aws\"; address = \"10.0.1.77\"; };", "volumes.Etcd-9"),
    ] {
        let module =
            format!("{{ services.nixvol-net = {{ enable = true; preset = \"multi-cloud\"; {field} }}; }}");
        with_darwin(&module, "input", |input| {
            let output = run(&["check", "--input", "-"], &input.to_string());
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{error}");
            for words in
                ["error[E010]", option, "services.nixvol-net", "hint: ", "1 problem in the declaration"]
            {
                assert!(error.contains(words), "{words:?} is not in:\n{error}");
            }
        });
    }
}

#[test]
fn wrong_types_name_the_option() {
    for (field, value) in [
        ("volumes.etcd-1.address", r#""10.0.1""#),
        ("volumes.etcd-1.address", r#""10.0.1.256""#),
        ("volumes.etcd-1.publish", r#"[ "2379" ]"#),
        ("volumes.etcd-1.publish", "[ 65536 ]"),
        ("volumes.etcd-1.attachment", r#""vm""#),
        ("providers.aws.network", r#""10.0.0.0/33""#),
        ("providers.aws.gateway", r#""10.0.0.1""#),
        ("providers.aws.internet", r#""yes""#),
        ("links", r#"[ { from = [ ]; to = [ "aws" ]; } ]"#),
        ("links", r#"[ { from = [ "aws" ]; to = [ "gcp" ]; ports = [ "80:90" ]; } ]"#),
        ("links", r#"[ { from = [ "aws" ]; to = [ "gcp" ]; conditions.loss = 2; } ]"#),
        ("allowOverlap", r#"[ "10.0.0.0" ]"#),
        ("confirmWithin", "0"),
        ("confirmWithin", "100000"),
        ("reconcileInterval", "9"),
        ("reconcileInterval", r#""60""#),
        ("enable", r#""yes""#),
        ("hosts.enable", "1"),
        ("package", r#""nixvol-net""#),
        ("preset", r#""multicloud""#),
        ("base", r#""opt""#),
        ("providers", "[ ]"),
        ("providers.aws", "null"),
        ("volumes", "[ ]"),
        ("volumes.etcd-1", "false"),
        ("volumes.etcd-1.mountPoint", r#""Volumes/etcd-1""#),
        ("volumes.etcd-1.enable", "null"),
        ("localhost.gateway", r#""127.0.1.1""#),
        ("links", "{ }"),
        ("links", r#"[ { from = "aws"; to = [ "gcp" ]; } ]"#),
        ("links", r#"[ { from = [ "aws" ]; to = [ "gcp" ]; protocol = "sctp"; } ]"#),
        ("links", r#"[ { from = [ "aws" ]; to = [ "gcp" ]; ports = [ ]; } ]"#),
        ("links", r#"[ { from = [ "aws" ]; to = [ "gcp" ]; conditions.latencyMs = -1; } ]"#),
    ] {
        let module = format!(
            r#"{{ imports = [ {{ services.nixvol-net.{field} = {value}; }} ];
                  services.nixvol-net = {{ enable = true; preset = "multi-cloud"; }}; }}"#
        );
        refused(&module, &[&format!("services.nixvol-net.{field}"), "is not of type"]);
    }
    refused(
        r#"{ services.nixvol-net = { enable = true; preset = "multi-cloud"; volumes.etcd-1.adress = ""; }; }"#,
        &["services.nixvol-net.volumes.etcd-1.adress", "does not exist"],
    );
}

#[test]
fn assertions_name_the_option_and_the_fix() {
    refused(
        "{ services.nixvol-net.enable = true; }",
        &["no provider is declared", r#"preset = "multi-cloud""#],
    );
    let module = |rest: &str| {
        format!(r#"{{ services.nixvol-net = {{ enable = true; preset = "multi-cloud"; {rest} }}; }}"#)
    };
    refused(
        &module(r#"volumes.etcd-1.provider = "asw";"#),
        &[
            r#"services.nixvol-net.volumes.etcd-1.provider is "asw""#,
            "not declared",
            r#"choose one of: "aws""#,
            "services.nixvol-net.volumes.etcd-1.enable = false",
        ],
    );
    let hosts = r#"environment.etc.hosts.text = "";"#;
    let with_hosts = |rest: &str| {
        format!("{{ {hosts} services.nixvol-net = {{ enable = true; preset = \"multi-cloud\"; {rest} }}; }}")
    };
    refused(&with_hosts(""), &["services.nixvol-net.hosts.enable", "environment.etc.hosts", "= false"]);
    with_darwin(&with_hosts("hosts.enable = false;"), "toplevel", |_| ());
    refused(
        &module(r#"links = [ { from = [ "aws" ]; to = [ "etcd-44" ]; } ];"#),
        &[r#"services.nixvol-net.links, entry 1: `to` names "etcd-44""#],
    );
    refused(
        &module(r#"volumes.etcd-2.enable = false; links = [ { from = [ "etcd-2" ]; to = [ "aws" ]; } ];"#),
        &[r#"`from` names "etcd-2", which is switched off by `enable`"#],
    );
}

/// Two hosts from one file: each has its own providers, and a tunnel to the other.
#[test]
fn several_macs_share_one_file() {
    let module = |host: &str| {
        format!(
            r#"{{
                networking.hostName = "{host}";
                services.nixvol-net = {{
                    enable = true;
                    preset = "multi-cloud";
                    macs.studio = {{
                        providers = [ "aws" "azure" ];
                        endpoint = "studio.local:51820";
                        publicKey = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
                        address = "100.127.0.1";
                    }};
                    macs.mini = {{
                        providers = [ "gcp" "ibm" "digitalocean" ];
                        endpoint = "192.168.1.20:51820";
                        publicKey = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";
                        address = "100.127.0.2";
                        listenPort = 51821;
                    }};
                }};
            }}"#
        )
    };
    let mut macs = Vec::new();
    for (host, mac, port, peer) in
        [("Studio", "studio", 51820, "100.127.0.2/32"), ("mini", "mini", 51821, "100.127.0.1/32")]
    {
        with_darwin(&module(host), "input", |input| {
            assert_eq!(input["mac"], mac);
            let bundle = rendered(&input);
            assert!(bundle.files["wireguard/nixvol.conf"].text.contains(peer));
            macs.push(bundle.files["pf/anchor.conf"].text.clone());
        });
        with_darwin(&module(host), "tunnel", |tunnel| {
            let tunnel = &tunnel["nixvol"];
            assert_eq!(tunnel["listenPort"], port);
            assert_eq!(tunnel["privateKeyFile"], "/etc/wireguard/nixvol.key");
            assert_eq!(tunnel["table"], Value::Null);
            assert_eq!(tunnel["peers"].as_array().unwrap().len(), 1);
            assert_eq!(tunnel["peers"][0]["allowedIPs"][0], peer);
        });
    }
    assert!(macs.is_empty() || macs[0] != macs[1]);
    // One Mac has no tunnel, whatever its name.
    let alone = r#"{ networking.hostName = "studio"; services.nixvol-net = { enable = true; preset = "multi-cloud"; }; }"#;
    with_darwin(alone, "tunnel", |tunnel| assert_eq!(tunnel, json!({})));
    with_darwin(alone, "input", |input| assert_eq!(input["mac"], Value::Null));
    // A host that is none of them fails the build, not the evaluation.
    with_darwin(&module("laptop"), "input", |input| {
        let rejected = nixvol_net::model::read(input.to_string().as_bytes()).unwrap_err();
        assert_eq!(rejected.problems[0].kind.code(), "E070");
    });
    // A switch restarts a tunnel whose configuration changed, before it starts the network.
    with_darwin(&module("mini"), "activate", |text| {
        let text = text.as_str().unwrap();
        let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("`{part}` is not in:\n{text}"));
        let restart = at("launchctl kickstart -k system/org.nixos.wg-quick-nixvol");
        assert!(at("setting up launchd services") < restart);
        assert!(restart < at("manage-macos-networking.sh start --switch"));
    });
    with_darwin(alone, "activate", |text| assert!(!text.as_str().unwrap().contains("wg-quick")));
    let zeros =
        module("mini").replace("192.168.1.20:51820", "192.168.1.20:080").replace("listenPort = 51821;", "");
    with_darwin(&zeros, "tunnel", |tunnel| assert_eq!(tunnel["nixvol"]["listenPort"], 80));
    with_darwin(&zeros, "input", |input| {
        assert!(rendered(&input).files["wireguard/nixvol.conf"].text.contains("\nListenPort = 80\n"));
    });
    // An endpoint that is none is reported by the program, with its position, not by a function of Nixpkgs.
    for endpoint in ["192.168.1.20", "192.168.1.20:", "192.168.1.20:port", "192.168.1.20:0", "::1"] {
        let module =
            module("mini").replace("192.168.1.20:51820", endpoint).replace("listenPort = 51821;", "");
        let port = if endpoint == "::1" { json!(1) } else { Value::Null };
        with_darwin(&module, "tunnel", |tunnel| assert_eq!(tunnel["nixvol"]["listenPort"], port));
        with_darwin(&module, "toplevel", |_| ());
        with_darwin(&module, "input", |input| {
            let rejected = nixvol_net::model::read(input.to_string().as_bytes()).unwrap_err();
            assert_eq!(rejected.problems[0].kind.code(), "E074", "{endpoint}");
            assert!(rejected.problems[0].at.to_string().contains("macs.mini.endpoint"), "{endpoint}");
        });
    }
}
