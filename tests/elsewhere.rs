//! Reports what is not tested without Linux.

use crate::support::skipped;

#[test]
fn tests_that_need_linux_are_skipped() {
    let main = include_str!("main.rs");
    let modules = main.split("#[cfg(all(feature = \"lab\", target_os = \"linux\"))]\nmod ").skip(1);
    let names: Vec<&str> = modules.filter_map(|rest| rest.split(';').next()).collect();
    assert!(names.len() > 15, "{names:?}");
    skipped(&format!("this is not Linux, so these were not compiled: {}", names.join(", ")));
}
