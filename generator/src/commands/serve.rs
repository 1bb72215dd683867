//! `serve`: shows the running network in a browser.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::cli::serve::Serve;
use crate::serve::{What, serve};

/// Runs `serve`.
pub fn run(arguments: &Serve) -> Result<ExitCode> {
    let Serve { source, from, listen } = arguments;
    if source.input.as_deref() == Some(Path::new("-")) {
        bail!(
            "standard input can be read only once, and `serve` reads the declaration again\nhint: name a file"
        );
    }
    let what = match from {
        Some(directory) => What::Capture(directory.clone()),
        None => match here(arguments)? {
            Ok(what) => what,
            Err(exit) => return Ok(exit),
        },
    };
    serve(what, source.input.clone(), *listen)?;
    Ok(ExitCode::SUCCESS)
}

/// The network of this machine: on Linux the lab.
#[cfg(all(feature = "lab", target_os = "linux"))]
fn here(arguments: &Serve) -> Result<std::result::Result<What, ExitCode>> {
    let proven = super::prove::proven_alone(&arguments.source)?;
    Ok(proven.map(|proven| What::Lab(Box::new((proven.declaration, proven.anchor)))))
}

/// The network of this machine: the one that the installed manager keeps.
#[cfg(not(all(feature = "lab", target_os = "linux")))]
#[expect(clippy::unnecessary_wraps, reason = "on Linux it fails")]
fn here(_: &Serve) -> Result<std::result::Result<What, ExitCode>> {
    Ok(Ok(What::Mac))
}
