//! The options of the module: their descriptions and examples, and the reference made of them.

use std::fmt::Write;

use serde_json::Value;

use crate::nix::{pure, with_darwin};
use crate::support::root;

/// The same for every option in `modules/options.nix`, without Nixpkgs' lib.
#[test]
fn every_option_has_a_description_and_an_example() {
    let options = pure("options");
    let options = options.as_object().unwrap();
    assert!(options.len() > 40, "{:#?}", options.keys());
    for (name, option) in options {
        let description = option["description"].as_str().unwrap().trim();
        let sentence = description.starts_with(char::is_uppercase) && description.ends_with('.');
        assert!(sentence, "{name}: {description}");
        assert!(option["hasExample"] == true || option["readOnly"] == true, "{name} has no example");
    }
    // Every option of the real module was covered.
    with_darwin("{ }", "options", |real| assert_eq!(real.as_object().unwrap().len(), options.len()));
}

#[test]
fn every_real_option_has_a_description_and_a_valid_example() {
    with_darwin("{ }", "options", |options| {
        let options = options.as_object().unwrap();
        for name in
            ["enable", "providers.network", "volumes.publish", "links.conditions.loss", "hosts.enable"]
        {
            assert!(options.contains_key(name), "{name}: {options:?}");
        }
        assert!(options.len() > 40, "{}", options.len());
        for (name, option) in options {
            let description = option["description"].as_str().unwrap().trim();
            let sentence = description.starts_with(char::is_uppercase) && description.ends_with('.');
            assert!(sentence, "{name}: {description}");
            assert!(option["example"] == true || option["readOnly"] == true, "{name} has no example");
            assert_eq!(option["fits"], true, "the example of {name} is not of its type");
        }
    });
}

/// Renders the option reference from the data of which a manual is made.
fn reference(options: &Value) -> String {
    let mut page =
        "# Options of the nix-darwin module\n\nMade from `modules/options.nix` and `modules/entries.nix`; \
                    `NIXVOL_OPTIONS=update cargo test nix::` makes it again.\n"
            .to_owned();
    for option in options.as_array().unwrap() {
        let text = |field: &str| option[field].as_str();
        let block = |title: &str, code: &str| {
            if code.contains('\n') {
                format!("- {title}:\n\n  ```nix\n{}\n  ```\n", indented(code))
            } else {
                format!("- {title}: `{code}`\n")
            }
        };
        let [name, description, kind] = ["name", "description", "type"].map(|field| text(field).unwrap());
        writeln!(page, "\n## `{name}`\n\n{}\n\n- type: {kind}", plain(description)).unwrap();
        match text("default") {
            _ if option["readOnly"] == true => page += "- read only\n",
            Some(default) => page += &block("default", default),
            None => page += "- must be given\n",
        }
        if let Some(example) = text("example") {
            page += &block("example", example);
        }
    }
    page
}

fn indented(code: &str) -> String {
    code.trim_end().lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// A description without the markup roles of Nixpkgs' manuals: `{option}`, `{file}`, `{command}`.
fn plain(description: &str) -> String {
    ["{option}", "{file}", "{command}"]
        .iter()
        .fold(description.trim().to_owned(), |text, role| text.replace(role, ""))
}

#[test]
fn the_option_reference_is_up_to_date() {
    let path = root().join("modules/options.md");
    let mut page = std::fs::read_to_string(&path).unwrap_or_default();
    with_darwin("{ }", "reference", |options| {
        let made = reference(&options);
        if std::env::var("NIXVOL_OPTIONS").is_ok_and(|value| value == "update") {
            std::fs::write(&path, &made).unwrap();
            page = made;
        } else {
            assert!(
                page == made,
                "modules/options.md is not of these options; hint: NIXVOL_OPTIONS=update cargo test nix::"
            );
        }
    });
    // Without nix-darwin: every option has a section that begins with its description.
    for (name, option) in pure("options").as_object().unwrap() {
        let title = name.replace("providers.", "providers.<name>.").replace("volumes.", "volumes.<name>.");
        let title = title.replace("macs.", "macs.<name>.");
        let title = title.replace("links.", "links.*.").replace("expect.", "expect.*.");
        let (_, part) = page
            .split_once(&format!("## `{title}`\n"))
            .unwrap_or_else(|| panic!("{title} is not in options.md"));
        let described = plain(option["description"].as_str().unwrap());
        let first = described.lines().next().unwrap();
        assert!(part.trim_start().starts_with(first), "{title}: {first}");
    }
}
