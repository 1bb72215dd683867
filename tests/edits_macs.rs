//! Edits of a file that several Macs import: every provider stays on exactly one of them.

use std::fs;

use nixvol_net::edit::NixFile;
use serde_json::{Value, json};

use crate::support::run;

/// A file that two Macs import.
pub const MACS: &str = r#"{
  services.nixvol-net = {
    enable = true;
    providers = {
      aws = { network = "10.0.0.0/16"; gateway = "10.0.1.1/24"; };
      edge = { network = "10.1.0.0/16"; gateway = "10.1.1.1/24"; };
      gcp = { network = "10.2.0.0/16"; gateway = "10.2.1.1/24"; };
      lab = { network = "10.3.0.0/16"; gateway = "10.3.1.1/24"; };
    };
    volumes.db = { provider = "gcp"; address = "10.2.1.2"; };
    macs = {
      studio = {
        providers = [ "aws" "gcp" ];
        endpoint = "studio.local:51820";
        publicKey = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
        address = "100.127.0.1";
      };
      laptop = {
        providers = [ "edge" "lab" ];
        endpoint = "laptop.local:51820";
        publicKey = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=";
        address = "100.127.0.3";
      };
    };
    links = [ { from = [ "aws" ]; to = [ "gcp" "lab" ]; } ];
  };
}
"#;

const MINI: &str = "add mac mini --endpoint 192.168.1.20:51820 --address 100.127.0.2 \
    --public-key HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";

/// A file in a directory of its own.
struct File {
    directory: tempfile::TempDir,
}

impl File {
    fn of(text: &str) -> Self {
        let file = Self { directory: tempfile::tempdir().expect("a directory") };
        fs::write(file.path(), text).expect("a file");
        file
    }

    fn path(&self) -> String {
        self.directory.path().join("macs.nix").display().to_string()
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).expect("the file")
    }

    /// Runs an edit; its exit code, and what it printed.
    fn edit(&self, command: &str) -> (Option<i32>, String) {
        let path = self.path();
        let words: Vec<&str> = command.split_whitespace().chain(["--file", &path]).collect();
        let output = run(&words, "");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    fn ok(&self, command: &str) -> String {
        let (code, said) = self.edit(command);
        assert_eq!(code, Some(0), "{command}: {said}");
        said
    }

    fn refuses(&self, command: &str, why: &str) {
        let before = self.text();
        let (code, said) = self.edit(command);
        assert!(code == Some(2) && said.contains(why), "{command}: {code:?} {said}");
        assert_eq!(self.text(), before, "{command}");
    }

    /// The providers of every Mac, as the file says.
    fn lists(&self) -> Value {
        let text = self.text();
        let file = NixFile::parse(&text, &[]).expect("Nix");
        let macs = file.declared().json["macs"].clone();
        let list = |(name, mac): (&String, &Value)| (name.clone(), mac["providers"].clone());
        macs.as_object().map(|macs| macs.iter().map(list).collect()).unwrap_or_default()
    }
}

#[test]
fn a_provider_is_added_to_a_mac_moved_and_removed() {
    let file = File::of(MACS);
    file.refuses("add provider hetzner", "a provider is on one of the Macs, and `hetzner` on none");
    file.refuses("add provider hetzner", "say which by --mac: laptop, studio");
    file.refuses("add provider hetzner --mac mini", "there is no Mac `mini`");
    file.refuses("move provider lab --to laptop", "provider `lab` is on Mac `laptop` already");
    file.refuses("move provider lob --to studio", "no Mac has the provider `lob`");
    file.refuses("move provider lab --to mini", "there is laptop, studio");
    let said = file.ok("add provider hetzner --mac laptop");
    assert!(
        said.contains("; Mac `laptop` has edge, lab, hetzner\n") && said.contains("In laptop, studio:"),
        "{said}"
    );
    assert_eq!(file.lists(), json!({ "laptop": ["edge", "lab", "hetzner"], "studio": ["aws", "gcp"] }));
    let said = file.ok("move provider gcp --to laptop");
    assert!(said.contains("moved provider `gcp` to Mac `laptop`"), "{said}");
    assert!(said.contains("~ provider gcp: Mac studio -> laptop"), "{said}");
    assert_eq!(file.lists(), json!({ "laptop": ["edge", "lab", "hetzner", "gcp"], "studio": ["aws"] }));
    // The last provider of a Mac: then there is no such Mac.
    file.refuses("move provider aws --to laptop", "the list of providers is empty");
    file.ok("move provider gcp --to studio");
    file.ok("remove provider hetzner");
    assert_eq!(file.text(), MACS, "back to the first byte");
    file.refuses("remove provider gcp", "there is no provider \"gcp\"");
    // Other edits leave the Macs alone.
    file.ok("add volume api --provider edge");
    file.ok("rename provider edge far");
    assert_eq!(file.lists(), json!({ "laptop": ["far", "lab"], "studio": ["aws", "gcp"] }));
}

#[test]
fn a_mac_is_added_and_removed() {
    let file = File::of(MACS);
    let said = file.ok(&format!("{MINI} --provider gcp,lab --listen-port 51821"));
    assert!(
        said.contains("added Mac `mini`") && said.contains("; Mac `laptop` has edge; Mac `studio` has aws"),
        "{said}"
    );
    assert!(said.contains("~ provider lab: Mac laptop -> mini") && !said.contains("unknown"), "{said}");
    assert_eq!(file.lists(), json!({ "laptop": ["edge"], "mini": ["gcp", "lab"], "studio": ["aws"] }));
    assert!(file.text().contains("        listenPort = 51821;\n"), "{}", file.text());
    file.refuses(&format!("{MINI} --provider edge"), "Mac `mini`");
    file.refuses("remove mac mini", "say which Mac gets them by --to: laptop, studio");
    file.refuses("remove mac mini --to mini", "`--to` names the Mac that is removed");
    file.refuses("remove mac mini --to nobody", "there is no Mac `nobody`");
    file.refuses("remove mac nobody --to studio", "nobody");
    let said = file.ok("remove mac mini --to laptop");
    assert!(said.contains("removed Mac `mini`; Mac `laptop` has edge, gcp, lab"), "{said}");
    file.ok("move provider gcp --to studio");
    assert_eq!(file.text(), MACS, "back to the first byte");
    // The last two become one Mac, which has all; then none is left.
    file.ok("remove mac laptop --to studio");
    assert_eq!(file.lists(), json!({ "studio": ["aws", "gcp", "edge", "lab"] }));
    file.ok("remove mac studio");
    assert!(!file.text().contains("providers = ["), "{}", file.text());
    // What no Mac could be.
    for (fields, why) in [
        ("--endpoint a:1 --address 10.0.0.9 --public-key x --provider lab", "is not a WireGuard public key"),
        ("--endpoint a --address 10.0.0.9 --public-key x --provider lab", "is not a host and a port"),
    ] {
        file.refuses(&format!("add mac one {fields}"), why);
    }
}

/// Other ways to write the same, and what only Nix can evaluate.
#[test]
fn macs_are_edited_in_the_style_of_their_file() {
    let key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
    let other = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=";
    let dotted = format!(
        "{{ services.nixvol-net = {{\n  enable = true;\n  mac = \"b\";\n  \
         providers.p1 = {{network = \"10.0.0.0/16\"; gateway = \"10.0.0.1/16\";}};\n  \
         providers.p2 = {{network = \"10.1.0.0/16\"; gateway = \"10.1.0.1/16\";}};\n  \
         providers.p3 = {{network = \"10.2.0.0/16\"; gateway = \"10.2.0.1/16\";}};\n  \
         macs.a.providers = [\"p1\" \"p2\"];\n  macs.a.endpoint = \"a:1\";\n  macs.a.publicKey = \"{key}\";\n  macs.a.address = \"100.127.0.1\";\n  \
         macs.b = {{providers = [\"p3\"]; endpoint = \"b:1\"; publicKey = \"{other}\"; address = \"100.127.0.2\";}};\n}}; }}\n"
    );
    let file = File::of(&dotted);
    file.ok("move provider p2 --to b");
    let expected = dotted.replace("[\"p1\" \"p2\"]", "[\"p1\"]").replace("[\"p3\"]", "[\"p3\" \"p2\"]");
    assert_eq!(file.text(), expected);
    file.refuses("remove mac b --to a", "mac: there is no Mac \"b\"");
    let made = File::of(&dotted.replace("[\"p1\" \"p2\"]", "lib.attrNames somewhere"));
    made.refuses("move provider p3 --to a", "macs.a.providers");
}
