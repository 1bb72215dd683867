//! The outputs of the flake, on each system, and the template for a new system.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::nix::{evaluate, sources, with_darwin};
use crate::support::{files_below, root};

#[test]
fn the_template_is_a_valid_system() {
    with_darwin("./templates/flake/configuration.nix", "toplevel", |_| ());
    with_darwin("./templates/flake/configuration.nix", "input", |input| {
        assert_eq!(input["volumes"].as_object().unwrap().len(), 14);
    });
}

/// The flake's outputs, with stand-ins for its inputs, and also with the real ones if their sources are available.
fn flakes(x86_darwin: &str) -> Vec<Value> {
    let mut arguments = vec![format!("x86Darwin = {};", json!(x86_darwin))];
    if let Some((nix_darwin, lib)) = sources() {
        arguments.push(format!("{} nixDarwin = {nix_darwin}; nixpkgsLib = {lib};", arguments[0]));
    }
    let outputs = |arguments: &String| evaluate(&format!("import ./tests/nix/flake.nix {{ {arguments} }}"));
    arguments.iter().map(outputs).collect::<Result<_, _>>().unwrap()
}

const SYSTEMS: [&str; 4] = ["aarch64-darwin", "aarch64-linux", "x86_64-darwin", "x86_64-linux"];

/// The attribute path of every leaf of the outputs.
fn leaves(systems: &[&str]) -> BTreeSet<String> {
    let by_system = ["packages", "apps", "checks", "devShells", "formatter"];
    let mut leaves: BTreeSet<String> =
        ["darwinModules.default", "darwinModules.nixvol-net", "lib.snapshotCheck", "overlays.default"]
            .map(str::to_owned)
            .into();
    leaves.extend(["description", "path"].map(|leaf| format!("templates.default.{leaf}")));
    for (kind, system) in by_system.iter().flat_map(|kind| systems.iter().map(move |system| (*kind, *system)))
    {
        let names: &[&str] = match kind {
            "packages" => &[".default", ".nixvol-net"],
            "apps" => &[
                ".default.meta.description",
                ".default.program",
                ".default.type",
                ".nixvol-net.meta.description",
                ".nixvol-net.program",
                ".nixvol-net.type",
            ],
            // The toy Mac runs on Linux only, so the tests are a check there; a Mac's system can only be built on a
            // Mac.
            "checks" if system.ends_with("-linux") => &[".bundle", ".clippy", ".format", ".module", ".tests"],
            "checks" => &[".bundle", ".clippy", ".format", ".module", ".services", ".system"],
            "devShells" => &[".default"],
            _ => &[""],
        };
        leaves.extend(names.iter().map(|name| format!("{kind}.{system}{name}")));
    }
    leaves
}

#[test]
fn every_output_of_the_flake_evaluates() {
    for outputs in flakes("there") {
        let found: BTreeSet<String> = serde_json::from_value(outputs["leaves"].clone()).unwrap();
        assert_eq!(found, leaves(&SYSTEMS));
        assert_eq!(outputs["overlay"], "nixvol-net");
        assert!(outputs["program"].as_str().unwrap().ends_with("-nixvol-net/bin/nixvol-net"));
        let check = outputs["snapshot"].as_str().unwrap();
        assert!(check.starts_with("nixvol-net snapshot check --input /nix/store/"), "{check}");
        let template = ["checks.aarch64-darwin.network", "checks.x86_64-linux.network"];
        assert_eq!(outputs["template"], json!([template[0], template[1], "packages.aarch64-darwin.network"]));
    }
}

#[test]
fn embedded_files_are_in_the_source_of_the_package() {
    let mut count = 0;
    for file in files_below("generator/src") {
        let text = std::fs::read_to_string(root().join(&file)).unwrap();
        for embedded in text.split("include_str!(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let path = root().join(&file).parent().unwrap().join(embedded).canonicalize().unwrap();
            let inside = ["generator", "templates"].iter().any(|part| path.starts_with(root().join(part)));
            assert!(inside, "{} embeds {embedded}, which modules/package.nix leaves out", file.display());
            count += 1;
        }
    }
    assert!(count > 10, "{count}");
}

#[test]
fn a_system_that_nixpkgs_drops_breaks_no_other() {
    let others: Vec<&str> = SYSTEMS.into_iter().filter(|system| *system != "x86_64-darwin").collect();
    for how in ["throws", "missing"] {
        for outputs in flakes(how) {
            let found: BTreeSet<String> = serde_json::from_value(outputs["leaves"].clone()).unwrap();
            assert_eq!(found, leaves(&others), "{how}");
        }
    }
}

#[test]
fn the_lock_file_matches_the_inputs() {
    let lock: Value = serde_json::from_str(include_str!("../flake.lock")).unwrap();
    let inputs = evaluate("(import ./flake.nix).inputs").unwrap();
    assert_eq!(lock["version"], 7);
    for (name, input) in inputs.as_object().unwrap() {
        let node = &lock["nodes"][name];
        let original = &node["original"];
        let mut url =
            format!("github:{}/{}", original["owner"].as_str().unwrap(), original["repo"].as_str().unwrap());
        if let Some(branch) = original["ref"].as_str() {
            url = format!("{url}/{branch}");
        }
        assert_eq!(input["url"], url);
        assert_eq!(lock["nodes"]["root"]["inputs"][name], *name);
        assert_eq!(node["locked"]["rev"].as_str().unwrap().len(), 40);
        assert!(node["locked"]["narHash"].as_str().unwrap().starts_with("sha256-"));
    }
    assert_eq!(inputs["nix-darwin"]["inputs"]["nixpkgs"]["follows"], "nixpkgs");
    assert_eq!(lock["nodes"]["nix-darwin"]["inputs"]["nixpkgs"], json!(["nixpkgs"]));
}
