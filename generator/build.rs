//! Builds the library that `run` puts into programs (`generator/preload`), which the program carries along.
//!
//! Only for a system that it is for. Where the compiler here makes nothing for that system, as in `cargo check --target`,
//! the program is built without it, with a warning, and `run` says so.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

const SOURCE: &str = "generator/preload/preload.c";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-changed=generator/build.rs");
    let var = |name: &str| env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let out = Path::new(&var("OUT_DIR")).join("preload");
    fs::write(&out, []).expect("OUT_DIR can be written");
    let forms: &[&[&str]] = match var("CARGO_CFG_TARGET_OS").as_str() {
        // Programs of both processors run on a Mac, and one with the wrong library does not start at all.
        "macos" => &[&["-dynamiclib", "-arch", "arm64", "-arch", "x86_64"], &["-dynamiclib"]],
        "linux" => &[&["-shared"]],
        _ => return,
    };
    let failures: Vec<String> = match forms.iter().map(|form| compile(form, &out)).collect() {
        Ok(failures) => failures,
        Err(Built) => return,
    };
    let failures = failures.join("\n");
    assert!(var("HOST") != var("TARGET"), "{SOURCE} cannot be compiled:\n{failures}");
    println!(
        "cargo::warning=built without the library of `run`: no compiler here makes it for {}",
        var("TARGET")
    );
    fs::write(&out, []).expect("OUT_DIR can be written");
}

/// There it is.
struct Built;

/// Compiles the library in one form; what the compiler says where it does not. Built, there is nothing more to do.
fn compile(form: &[&str], out: &Path) -> Result<String, Built> {
    let compiler =
        cc::Build::new().cargo_metadata(false).opt_level(2).debug(false).pic(true).try_get_compiler();
    let mut command: Command = match compiler {
        Ok(compiler) => compiler.to_command(),
        Err(error) => return Ok(error.to_string()),
    };
    command
        .args(["-std=gnu11", "-Wall", "-Wextra", "-fvisibility=hidden"])
        .args(form)
        .arg("-o")
        .arg(out)
        .arg(SOURCE);
    if form.contains(&"-shared") {
        command.arg("-ldl");
    }
    match command.output() {
        Ok(output) if output.status.success() => Err(Built),
        Ok(output) => Ok(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Ok(format!("{}: {error}", command.get_program().display())),
    }
}
