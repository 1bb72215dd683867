//! What each Mac sees of a declaration that does not say which of several Macs it is for.

use serde_json::{Value, json};

/// A declaration as each of its Macs sees it: a file that several of them import does not say which one it is for. With
/// one Mac, or a `mac`, the declaration itself.
pub fn views(declaration: &Value) -> Vec<(Option<String>, Value)> {
    let macs = declaration["macs"].as_object().filter(|macs| !macs.is_empty());
    let Some(macs) = macs.filter(|_| declaration.get("mac").is_none()) else {
        return vec![(None, declaration.clone())];
    };
    let view = |mac: &String| {
        let mut view = declaration.clone();
        view["mac"] = json!(mac);
        (Some(mac.clone()), view)
    };
    macs.keys().map(view).collect()
}
