//! The thread that observes the network, and what it has found: the page, and the state as JSON.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use nixvol_net::expect;
use nixvol_net::live::Live;
use nixvol_net::model::Declaration;
use nixvol_net::plan::Plan;
use nixvol_net::prove::prove;
use nixvol_net::report::{Served, Subject, served};
use tokio::sync::{oneshot, watch};

use crate::commands::{proof_words, versioned_line};

/// What a browser asks of the lab.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// Cut or slow a path.
    Fault {
        /// A volume or a provider.
        one: String,
        /// Another; `None` for all others.
        other: Option<String>,
        /// Latency in milliseconds, loss from 0 to 1, bandwidth in kbit/s; `None` to cut it.
        slow: Option<(Option<u16>, Option<f64>, Option<u32>)>,
        /// How long it lasts.
        lasts: Option<Duration>,
    },
    /// Heal the paths between two ends.
    Heal {
        /// A volume or a provider.
        one: String,
        /// Another; `None` for all others.
        other: Option<String>,
    },
}

/// Observes a network, and may change it.
pub trait Eye: Send {
    /// The page, if it is another one than before, and the state.
    fn look(&mut self) -> (Option<Served>, Live);
    /// The time between two looks.
    fn pause(&self) -> Duration;
}

/// Carries out an order; the words are for the person who gave it.
pub type Hand = fn(&Order) -> Result<String>;

/// Told when a look is over.
type Waker = oneshot::Sender<()>;

/// How long one waits for a look. On a Mac it takes a few seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// What was found last.
#[derive(Debug, Clone)]
pub struct Found {
    /// The page.
    pub page: Arc<Served>,
    /// The state, as JSON.
    pub live: Arc<str>,
}

/// The observer, for the server.
pub struct Observer {
    found: watch::Receiver<Found>,
    wake: Sender<Waker>,
    viewers: Arc<AtomicUsize>,
    hand: Option<Hand>,
}

impl Observer {
    /// Continues after a first look.
    pub fn start(mut eye: Box<dyn Eye>, first: (Option<Served>, Live), hand: Option<Hand>) -> Result<Self> {
        let (page, live) = first;
        let page = page.ok_or_else(|| anyhow!("there is nothing to make a page from"))?;
        let (sender, found) = watch::channel(Found { page: Arc::new(page), live: json(&live)? });
        let (wake, woken) = channel();
        let viewers = Arc::new(AtomicUsize::new(0));
        let seen_by = Arc::clone(&viewers);
        thread::spawn(move || observe(&mut *eye, &sender, &woken, &seen_by));
        Ok(Self { found, wake, viewers, hand })
    }

    /// Whether the network can be changed from the page.
    pub fn is_writable(&self) -> bool {
        self.hand.is_some()
    }

    /// What carries out orders; `None` if the network is only looked at.
    pub fn hand(&self) -> Option<Hand> {
        self.hand
    }

    /// What was found last.
    pub fn now(&self) -> Found {
        self.found.borrow().clone()
    }

    /// Looks at once; what is found is there when this returns, unless looking takes longer than [`PATIENCE`].
    pub async fn look_now(&self) {
        let (waker, looked) = oneshot::channel();
        // The thread ends only with the process.
        let _: Result<(), _> = self.wake.send(waker);
        let _: Result<_, _> = tokio::time::timeout(PATIENCE, looked).await;
    }

    /// What is found from now on. While there is a viewer the observer looks again and again.
    pub fn view(&self) -> (Viewer, watch::Receiver<Found>) {
        self.viewers.fetch_add(1, Ordering::Relaxed);
        // Nobody waits for the answer: it is found in the channel.
        let _: Result<(), _> = self.wake.send(oneshot::channel().0);
        (Viewer(Arc::clone(&self.viewers)), self.found.clone())
    }
}

/// Counts as a viewer until it is dropped.
pub struct Viewer(Arc<AtomicUsize>);

impl Drop for Viewer {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn observe(eye: &mut dyn Eye, found: &watch::Sender<Found>, woken: &Receiver<Waker>, viewers: &AtomicUsize) {
    loop {
        let waited = match viewers.load(Ordering::Relaxed) {
            0 => woken.recv().map_err(|_| RecvTimeoutError::Disconnected),
            _ => woken.recv_timeout(eye.pause()),
        };
        let mut wakers: Vec<Waker> = match waited {
            Ok(waker) => vec![waker],
            Err(RecvTimeoutError::Timeout) => Vec::new(),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        wakers.extend(woken.try_iter());
        let (page, live) = eye.look();
        // Strings and numbers are always JSON.
        let Ok(live) = json(&live) else { continue };
        found.send_if_modified(|found| {
            let changed = page.is_some() || found.live != live;
            if let Some(page) = page {
                found.page = Arc::new(page);
            }
            found.live = live;
            changed
        });
        for waker in wakers {
            // One who has stopped to wait needs no answer.
            let _: Result<(), ()> = waker.send(());
        }
    }
}

fn json(live: &Live) -> Result<Arc<str>> {
    Ok(versioned_line(live)?.trim_end().into())
}

/// The page of a declaration with an anchor. Rules that are not proven are shown, and said to be so.
pub fn page(declaration: &Declaration, anchor: &str, name: &str, is_writable: bool) -> Result<Served> {
    let plan = Plan::of(declaration);
    let failed = expect::hold(declaration, &plan).iter().filter(|held| held.failure.is_some()).count();
    let proven = match prove(&plan, anchor) {
        Ok(_) if failed > 0 => {
            Err(format!("{failed} expectations do not hold: `nixvol-net check` tells which"))
        }
        Ok(proof) => Ok(proof_words(&proof)),
        Err(_) => Err("the rules do not do what is declared: `nixvol-net verify` tells which".to_owned()),
    };
    let proven = proven.as_deref().map_err(String::as_str);
    let subject = Subject { declaration, plan: &plan, anchor, proven, against: None };
    Ok(served(&subject, name, is_writable)?)
}
