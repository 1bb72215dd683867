//! Coverage-guided fuzzing of the parser: it never panics, and what it prints parses as the same ruleset.
//!
//! `cargo install cargo-fuzz`, and then, on stable Rust with a C++ compiler, from the root:
//! `mkdir -p tests/fuzz/corpus/parse`
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz parse tests/fuzz/corpus/parse tests/pf/accept
//! tests/pf/reject`

#![no_main]

use libfuzzer_sys::fuzz_target;
use nixvol_net::pf::{Environment, Names, parse, print};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut environment = Environment::default();
    environment.add_address("en0", [192, 0, 2, 10].into(), 24);
    let Ok(ruleset) = parse(&text, &environment) else { return };
    let printed = print(&ruleset, Names::MacOs);
    let again = parse(&printed, &environment)
        .unwrap_or_else(|errors| panic!("{text:?}\nprints {printed:?}\nrefused: {errors:?}"));
    assert_eq!(ruleset.without_places(), again.without_places(), "{text:?} prints {printed:?}");
    assert_eq!(print(&again, Names::MacOs), printed, "{text:?}");
});
