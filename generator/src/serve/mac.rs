//! The Mac, or a capture of one: read-only.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use nixvol_net::live::{Live, LiveSource};
use nixvol_net::render::NETWORK;
use nixvol_net::report::Served;

use super::observer::{Eye, page};
use crate::cli;
use crate::commands::status::{Looked, look};

/// The time between two looks. On a Mac each runs the manager, and with it dozens of commands.
const PAUSE: Duration = Duration::from_secs(5);

/// Looks at a Mac by its manager, or at a capture.
pub struct Mac {
    source: cli::InputSource,
    capture: Option<PathBuf>,
    /// The declaration that the page was made from, as JSON, and the number of the page.
    shown: Option<(String, u64)>,
}

impl Mac {
    /// Nothing is looked at yet.
    pub fn new(input: Option<PathBuf>, capture: Option<PathBuf>) -> Self {
        Self { source: cli::InputSource { input }, capture, shown: None }
    }

    /// A look; unlike [`Eye::look`] it fails where nothing can be seen.
    pub fn first(&mut self) -> Result<(Option<Served>, Live)> {
        let Looked { declaration, anchor, plan: _, capture, status } =
            look(&self.source, self.capture.as_deref())?;
        let json = capture.get(NETWORK).cloned().unwrap_or_default() + &anchor;
        let number = self.shown.as_ref().map_or(0, |(_, number)| *number);
        let served = match &self.shown {
            Some((shown, _)) if *shown == json => None,
            _ => {
                let number = number + 1;
                let served = page(&declaration, &anchor, &number.to_string(), false)?;
                self.shown = Some((json, number));
                Some(served)
            }
        };
        let live = Live::of_mac(&self.page(), &status, &capture, SystemTime::now());
        Ok((served, live))
    }

    fn page(&self) -> String {
        self.shown.as_ref().map_or_else(String::new, |(_, number)| number.to_string())
    }
}

impl Eye for Mac {
    fn look(&mut self) -> (Option<Served>, Live) {
        self.first().unwrap_or_else(|error| {
            (None, Live::unknown(LiveSource::Mac, &self.page(), format!("nothing can be seen: {error:#}")))
        })
    }

    fn pause(&self) -> Duration {
        PAUSE
    }
}
