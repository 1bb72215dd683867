//! `nixvol-net pf` reads and prints like a Mac: its names, its numbers, and clear errors for pasted text that is no
//! ruleset.

use std::fs;
use std::path::Path;
use std::process::Command;

use nixvol_net::pf::{Environment, Names, parse, print_dry_run};
use serde_json::Value;

use crate::pf_grammar::Known;
use crate::support::{root, run};

/// Runs `pf …` with a standard input; returns its exit code, standard output and standard error.
fn pf(arguments: &[&str], input: &str) -> (i32, String, String) {
    let output = run(&[&["pf"], arguments].concat(), input);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("an exit code"), text(&output.stdout), text(&output.stderr))
}

fn case(name: &str) -> String {
    root().join("tests/pf/cases").join(name).display().to_string()
}

/// The only error of an invalid text, without its file name.
fn refused(text: &str) -> String {
    let (code, out, err) = pf(&["check", "-"], text);
    assert_eq!((code, out.as_str(), err.lines().count()), (1, "", 1), "{text:?}: {err}");
    err.trim_end().strip_prefix("stdin:").expect("a place").to_owned()
}

fn printed(names: Names, text: &str) -> String {
    let environment = Environment { names, ..Environment::default() };
    print_dry_run(&parse(text, &environment).unwrap_or_else(|errors| panic!("{text}{errors:?}")), names)
}

#[test]
fn the_names_of_macos_are_read_and_ports_print_as_numbers() {
    let (code, out, err) = pf(&["print", &case("services.conf")], "");
    let wanted = "pass in proto udp from any to any port = 5353 keep state\n\
                  pass in proto udp from any to any port = 1194 keep state\n\
                  pass in proto tcp from any to any port = 6443 flags S/SA keep state\n\
                  pass in proto tcp from any to any port = 8118 flags S/SA keep state\n\
                  pass in proto tcp from any to any port = 3283 flags S/SA keep state\n\
                  block drop proto mobile all\n\
                  pass out proto udp all user = 65 keep state\n";
    assert_eq!((code, out.as_str(), err.as_str()), (0, wanted, ""));
    assert_eq!(pf(&["check", &case("services.conf")], ""), (0, String::new(), String::new()));
    let (code, _, err) = pf(&["check", "--services", "openbsd", &case("services.conf")], "");
    assert_eq!((code, err.lines().count()), (1, 6), "{err}");
}

#[test]
fn names_of_another_system_are_unknown_or_other_ports() {
    let file = case("services-wrong.conf");
    let wanted =
        format!("{file}:2:24: unknown port `spop3`: it is 995 in OpenBSD, and macOS has none of that name\n");
    assert_eq!(pf(&["check", &file], ""), (1, String::new(), wanted));
    let (code, out, _) = pf(&["print", "--services", "openbsd", &file], "");
    assert_eq!(code, 0);
    assert!(out.contains("port = iapp ") && out.contains("port = pop3s "), "{out}");
    // Names that both systems have, for different ports.
    for (name, macos, openbsd) in [
        ("iapp", 2313, 3517),
        ("mtp", 1911, 57),
        ("rje", 5, 77),
        ("link", 245, 87),
        ("webster", 765, 2627),
        ("nameserver", 42, 42),
        ("efs", 520, 521),
    ] {
        for (names, port) in [(Names::MacOs, macos), (Names::OpenBsd, openbsd)] {
            let environment = Environment { names, ..Environment::default() };
            let text = format!("pass proto tcp to port {name}\n");
            let ruleset = parse(&text, &environment).unwrap_or_else(|errors| panic!("{text}{errors:?}"));
            let port = Some(nixvol_net::pf::syntax::NumberMatch::Equal(port));
            assert_eq!(ruleset.rules.filter[0].destination.port, port, "{names:?} {name}");
        }
    }
    assert_eq!(
        refused("pass user alice\n"),
        "1:11: unknown user `alice`: macOS has none of that name; write its number"
    );
    assert_eq!(
        refused("pass group authpf\n"),
        "1:12: unknown group `authpf`: it is 72 in OpenBSD, and macOS has none of that name"
    );
}

#[test]
fn printed_rules_can_be_parsed() {
    let rule = "block drop in proto udp from any to any port = 520\n";
    for services in ["macos", "openbsd"] {
        let (code, out, err) = pf(&["print", "--services", services, &case("port520.conf")], "");
        assert_eq!((code, out.as_str(), err.as_str()), (0, rule, ""), "{services}");
    }
    let (_, once, _) =
        pf(&["print", "-"], "pass in proto tcp keep state (max 5, if-bound) probability 30%\n");
    let wanted = "pass in proto tcp all flags S/SA keep state (max 5, if-bound) probability 30%\n";
    assert_eq!(once, wanted);
    assert_eq!(pf(&["print", "-"], &once), (0, once, String::new()));
    // A protocol whose name is a keyword, or contains an operator.
    assert_eq!(printed(Names::MacOs, "block proto \"skip\"\n"), "block drop proto 57 all\n");
    assert_eq!(printed(Names::MacOs, "block proto \"a/n\"\n"), "block drop proto 107 all\n");
    assert_eq!(printed(Names::MacOs, "block proto { esp, icmp6, ospf }\n").lines().count(), 3);
    assert_eq!(
        printed(Names::OpenBsd, "pass proto tcp to port 80\n"),
        "pass proto tcp from any to any port = www flags S/SA keep state\n"
    );
}

#[test]
fn users_and_groups_are_those_that_every_mac_has() {
    let of = |text: &str| printed(Names::MacOs, text);
    assert_eq!(of("pass user { root, _www, www, nobody, unknown }\n").lines().count(), 5);
    assert_eq!(of("pass user www\n"), "pass all user = 70 flags S/SA keep state\n");
    assert_eq!(of("pass user nobody\n"), "pass all user = 4294967294 flags S/SA keep state\n");
    assert_eq!(
        of("pass group { admin, staff } \n").lines().last(),
        Some("pass all group = 20 flags S/SA keep state")
    );
    assert_eq!(of("pass user unknown\n"), "pass all user = unknown flags S/SA keep state\n");
}

/// Runs the script that makes the tables on a small copy of Apple's files.
#[test]
fn the_script_makes_the_tables_from_apples_files() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |path: &str, text: &str| {
        let file = directory.path().join(path);
        fs::create_dir_all(file.parent().expect("a parent")).expect("directories");
        fs::write(file, text).expect("a file");
    };
    write(
        "private/etc/services",
        "# comment\necho\t4/ddp #AppleTalk\necho 7/udp\necho 7/tcp\n  24/udp # any mail\n\
         two 9/udp\ntwo 8/tcp deux zwei # both\nmsp 18/tcp\nmsp 2438/tcp\nonly-udp 5353/udp\n",
    );
    write("private/etc/protocols", "ip\t0\tIP # pseudo\n#hopopt 0 HOPOPT\nudp 17 UDP\nicmp 1 ICMP\n");
    let record = |key: &str, names: &[&str], number: &str| {
        let names = names.join("</string>\n\t\t<string>");
        format!(
            "<plist version=\"1.0\">\n<dict>\n\t<key>gid</key>\n\t<array>\n\t\t<string>1</string>\n\t</array>\n\
             \t<key>name</key>\n\t<array>\n\t\t<string>{names}</string>\n\t</array>\n\
             \t<key>{key}</key>\n\t<array>\n\t\t<string>{number}</string>\n\t</array>\n\
             \t<key>realname</key>\n\t<array>\n\t\t<string>A Name</string>\n\t</array>\n</dict>\n</plist>\n"
        )
    };
    let records = "System/Library/DirectoryServices/DefaultLocalDB/Default";
    write(&format!("{records}/users/_www.plist"), &record("uid", &["_www", "www"], "70"));
    write(&format!("{records}/users/nobody.plist"), &record("uid", &["nobody"], "-2"));
    write(
        &format!("{records}/groups/admin.plist"),
        &record("gid", &["admin", "BUILTIN\\Administrators"], "80"),
    );
    let tables = directory.path().join("tables");
    fs::create_dir(&tables).expect("a directory");
    let script = root().join("generator/src/pf/macos/make.sh");
    let made = Command::new("sh").arg(script).args([directory.path(), &tables]).output().expect("sh");
    assert!(made.status.success() && made.stderr.is_empty(), "{}", String::from_utf8_lossy(&made.stderr));
    let table = |name: &str| fs::read_to_string(tables.join(name)).expect("a table");
    assert_eq!(table("services.txt"), "deux 8\necho 7\nmsp 18\nonly-udp 5353\ntwo 8\nzwei 8\n");
    assert_eq!(table("protocols.txt"), "0 ip IP\n1 icmp ICMP\n17 udp UDP\n");
    assert_eq!(table("users.txt"), "_www 70\nnobody 4294967294\nwww 70\n");
    assert_eq!(table("groups.txt"), "admin 80\n");
    for name in ["services.txt", "protocols.txt", "users.txt", "groups.txt"] {
        assert!(root().join("generator/src/pf/macos").join(name).is_file());
    }
}

#[test]
fn the_tables_are_as_large_as_apples_files() {
    let known = Known::of(Names::MacOs);
    let sizes = [known.services.len(), known.protocols.len(), known.users.len(), known.groups.len()];
    assert_eq!(sizes, [4980, 280, 158, 190]);
}

#[test]
fn a_file_with_crlf_is_reported_once_with_its_fix() {
    let word = "the line ends in CR LF, as Windows writes it, and pfctl reads LF alone: take the CRs out with \
                `tr -d '\\r' <FILE >NEW`";
    assert_eq!(refused("# a comment may\r\npass in\r\nblock out\r\npass\r\n"), format!("2:8: {word}"));
    assert_eq!(refused("\r\n\r\n"), format!("1:1: {word}"));
    assert_eq!(refused("table <t> { \\\r\n10.0.0.1 }\r\n"), format!("1:14: {word}"));
    assert_eq!(refused("a = \"x\"\r\n"), format!("1:8: {word}"));
    // Earlier errors are reported too; CR LF in a comment alone is no error.
    let (code, _, err) = pf(&["check", "-"], "block bogus\npass in\r\nbogus\r\n");
    assert_eq!((code, err.lines().count()), (1, 2), "{err}");
    assert_eq!(pf(&["check", "-"], "# x\r\npass in # y\r\n").0, 0);
}

#[test]
fn other_output_of_pfctl_is_recognized() {
    let alone =
        "give the reader rules alone, as `pfctl -s nat`, `pfctl -s rules` and `pfctl -s dummynet` print them";
    let all = "TRANSLATION RULES:\nnat-anchor \"com.apple/*\" all\n\nFILTER RULES:\n\
               scrub-anchor \"com.apple/*\" all fragment reassemble\nanchor \"com.apple/*\" all\n\nINFO:\n\
               Status: Enabled for 0 days 00:17:23           Debug: Urgent\n\nLIMITS:\nstates   hard limit    10000\n";
    let heading = |word: &str| {
        format!("`{word}` is what pfctl prints beside rules (`pfctl -s all`), not a rule: {alone}")
    };
    assert_eq!(refused(all), format!("1:1: {}", heading("TRANSLATION RULES:")));
    assert_eq!(
        refused(&format!("No ALTQ support in kernel\nALTQ related functions disabled\n{all}")),
        format!("1:1: {}", heading("No ALTQ"))
    );
    for line in
        ["FILTER RULES:", "DUMMYNET RULES:", "STATES:", "INFO:", "TIMEOUTS:", "TABLES:", "OS FINGERPRINTS:"]
    {
        assert_eq!(refused(&format!("pass all\n{line}\nx y z\n")), format!("2:1: {}", heading(line)));
    }
    assert_eq!(
        refused("pass all flags S/SA keep state\n  [ Evaluations: 7   Packets: 0   Bytes: 0  States: 0 ]\n"),
        "2:3: `[` begins a line of counters of `pfctl -v`: show the rules without `-v`"
    );
    assert!(refused("@0 pass all\n@1 block all\n").starts_with("1:1: `@` begins the number of a rule"));
    // A macro may have such a name.
    assert_eq!(pf(&["check", "-"], "INFO = \"x\"\nOS = \"y\"\nNo = \"z\"\n").0, 0);
    // A Mac's rules in the order in which pfctl prints them.
    let shown = "nat-anchor \"com.apple/*\" all\nscrub-anchor \"com.apple/*\" all fragment reassemble\nanchor \"com.apple/*\" all\n";
    let word = refused(shown);
    assert!(word.ends_with("put `set require-order no` in front of the two)"), "{word}");
    assert_eq!(pf(&["check", "-"], &format!("set require-order no\n{shown}")).0, 0);
}

#[test]
fn absent_files_that_every_mac_has_are_noted() {
    let stock = "/etc/pf.anchors/com.apple";
    if Path::new(stock).exists() {
        println!("skipped: this machine has {stock}");
        return;
    }
    let text = format!("anchor \"com.apple/*\"\nload anchor \"com.apple\" from \"{stock}\"\n");
    let note = format!("stdin:2:1: note: `{stock}`, which every Mac has, is not here: read without it\n");
    assert_eq!(pf(&["check", "-"], &text), (0, String::new(), note.clone()));
    assert_eq!(pf(&["print", "-"], &text), (0, "anchor \"/*\" all\n".to_owned(), note));
    let (code, out, err) = pf(&["check", "-", "--format", "json"], &text);
    let json: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, err.as_str(), &json["errors"]), (0, "", &Value::Array(Vec::new())));
    assert_eq!((&json["notes"][0]["line"], &json["notes"][0]["file"]), (&2.into(), &"stdin".into()));
    assert_eq!(pf(&["check", "-"], "set fingerprints \"/etc/pf.os\"\npass\n").0, 0);
    // Any other missing file is an error, as it is for pfctl.
    let other = "load anchor \"x\" from \"/etc/pf.anchors/nowhere\"\n";
    assert!(refused(other).starts_with("1:1: cannot load `/etc/pf.anchors/nowhere`"));
    let directory = tempfile::tempdir().expect("a directory");
    let main = directory.path().join("pf.conf");
    fs::write(&main, &text).expect("a file");
    let (code, _, err) = pf(&["eval", main.to_str().expect("a path")], "");
    assert_eq!((code, err.contains(":2:1: note: ")), (0, true), "{err}");
}

#[test]
fn translated_flows_to_one_server_all_pass() {
    let anchor = format!("--anchor=com.apple/250.nixvol={}", case("pf-eval-udp-nat.anchor.conf"));
    let packets = fs::read_to_string(case("pf-eval-udp-nat.jsonl")).expect("packets");
    let (code, out, err) = pf(&["eval", &anchor, "-Degress=en0"], &packets);
    assert_eq!((code, err.as_str()), (0, ""));
    let answers: Vec<Value> =
        out.lines().map(|line| serde_json::from_str(line).expect("an answer")).collect();
    assert_eq!(answers.len(), 3);
    let mut ports = std::collections::BTreeSet::new();
    for answer in &answers {
        let told = (&answer["action"], &answer["state"], &answer["out"]["src"]);
        assert_eq!(told, (&"pass".into(), &"created".into(), &"192.0.2.10".into()), "{answer}");
        ports.insert(answer["out"]["sport"].as_u64());
    }
    assert_eq!(ports.len(), 3, "each has a port of its own");
}
