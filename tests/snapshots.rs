//! Every rendered file of several topologies, byte for byte, as a reviewer sees it change.

use insta::{Settings, assert_binary_snapshot};

use crate::support::{rendered, topologies};

#[test]
fn every_file_is_as_it_was_reviewed() {
    for (topology, input) in topologies() {
        for (path, file) in rendered(&input).files {
            let (directory, name) = path.rsplit_once('/').unwrap_or(("", &path));
            // insta wants an extension; a file that has none is kept as text.
            let name = if name.contains('.') { name.to_owned() } else { format!("{name}.txt") };
            // A snapshot is called by its name without the extension, which must then be its own.
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
        // What other stories keep.
        let others = ["diff/", "edits/", "explain/", "init/", "nix/", "problems/", "proof/"];
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
