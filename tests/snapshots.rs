//! Every rendered file of several topologies, byte for byte, so that a reviewer sees each change.

use insta::{Settings, assert_binary_snapshot};

use crate::support::{rendered, topologies};

#[test]
fn every_file_matches_its_reviewed_snapshot() {
    for (topology, input) in topologies() {
        for (path, file) in rendered(&input).files {
            let (directory, name) = path.rsplit_once('/').unwrap_or(("", &path));
            // insta requires an extension; files without one are kept as .txt.
            let name = if name.contains('.') { name.to_owned() } else { format!("{name}.txt") };
            // insta drops the extension from the snapshot's name, so names that differ only in it need another name.
            let name = name.replace("topology.svg", "topology-drawn.svg");
            let mut settings = Settings::clone_current();
            settings.set_snapshot_path(format!("snapshots/{topology}/{directory}"));
            settings.set_prepend_module_to_snapshot(false);
            settings.set_omit_expression(true);
            settings.bind(|| assert_binary_snapshot!(&name, file.text.clone().into_bytes()));
        }
    }
}

#[test]
fn every_snapshot_is_still_rendered() {
    let mut expected: Vec<String> = Vec::new();
    for (topology, input) in topologies() {
        expected.extend(rendered(&input).files.into_keys().map(|path| format!("{topology}/{path}")));
    }
    for snapshot in crate::support::files_below("tests/snapshots") {
        let path = snapshot.strip_prefix("tests/snapshots").expect("below it").to_string_lossy().into_owned();
        // Snapshots of other test modules.
        let others = ["diff/", "edits/", "explain/", "init/", "macs/", "nix/", "problems/", "proof/"];
        if others.iter().any(|story| path.starts_with(story)) {
            continue;
        }
        let path = path.replace("topology-drawn.", "topology.");
        let (stem, rest) = path.split_once(".snap").expect("a snapshot's name");
        let found =
            [format!("{stem}{rest}"), stem.to_owned(), format!("{stem}{}", rest.trim_end_matches(".txt"))];
        let of_metadata = rest.is_empty() && expected.iter().any(|path| path.starts_with(stem));
        assert!(
            of_metadata || found.iter().any(|path| expected.contains(path)),
            "{path} is of no rendered file"
        );
    }
}
