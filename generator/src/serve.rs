//! `serve`: the report of a running network, live, for a browser on this machine.
//!
//! One thread observes the lab or the Mac; the server hands what it found to whoever has the token. It listens on the
//! loopback interface only, and may run as root, so `guard` checks every request before anything else sees it.

mod guard;
mod http;
#[cfg(all(feature = "lab", target_os = "linux"))]
mod lab;
mod mac;
mod observer;
mod token;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
#[cfg(all(feature = "lab", target_os = "linux"))]
use nixvol_net::model::Declaration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::commands::print;
use guard::Guard;
use observer::Observer;
use token::Token;

/// What is observed.
pub enum What {
    /// The lab, whichever is up; until one is, a declaration with its anchor.
    #[cfg(all(feature = "lab", target_os = "linux"))]
    Lab(Box<(Declaration, String)>),
    /// This Mac, by its installed manager.
    #[cfg(not(all(feature = "lab", target_os = "linux")))]
    Mac,
    /// A capture of a Mac, read again and again.
    Capture(PathBuf),
}

/// Starts to observe. What cannot be seen at all is an error now, and a message on the page later.
fn observer(what: What, input: Option<PathBuf>) -> Result<Observer> {
    let capture = match what {
        #[cfg(all(feature = "lab", target_os = "linux"))]
        What::Lab(before) => {
            let (declaration, anchor) = *before;
            let mut eyes = lab::Eyes::new(declaration, anchor);
            let first = observer::Eye::look(&mut eyes);
            return Observer::start(Box::new(eyes), first, Some(lab::order));
        }
        #[cfg(not(all(feature = "lab", target_os = "linux")))]
        What::Mac => None,
        What::Capture(directory) => Some(directory),
    };
    let mut mac = mac::Mac::new(input, capture);
    let first = mac.first()?;
    Observer::start(Box::new(mac), first, None)
}

/// Serves until it is interrupted or terminated.
pub fn serve(what: What, input: Option<PathBuf>, listen: SocketAddr) -> Result<()> {
    if !listen.ip().is_loopback() {
        bail!(
            "`--listen {listen}` is not an address of the loopback interface, and others must not reach the page\nhint: \
             listen on 127.0.0.1, and reach it from another machine by `ssh -L`"
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener =
            TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        let address = listener.local_addr()?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let token = Token::new()?;
        let url = format!("http://{address}/?token={}", token.text());
        let observer = observer(what, input)?;
        print(&format!("{url}\n"))?;
        let how = if observer.is_writable() { "" } else { ", read-only" };
        eprintln!("serving on {address}{how}; Ctrl-C ends it. Whoever has this address can use the page.");
        let guard = Arc::new(Guard::new(address, token));
        tokio::select! {
            ended = http::run(listener, guard, observer) => ended,
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
        }
    })
}
