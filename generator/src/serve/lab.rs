//! The lab: whichever is up at the user's address. One that ends is waited for.

use std::time::Duration;

use anyhow::{Result, bail};
use nixvol_net::live::{Live, LiveCounter, LiveFault, LiveFlow, LivePackets, LiveSource, service};
use nixvol_net::model::{self, Declaration};
use nixvol_net::report::Served;

use super::observer::{Eye, Order, page};
use crate::lab::{self, Asked, FaultStatus, FlowCount, Reply, Request, Traffic};

/// The time between two looks.
const PAUSE: Duration = Duration::from_millis(500);
/// The limit of pf's state table on a Mac, which the lab has too.
const STATES: u64 = 10_000;

/// Looks at a lab.
pub struct Eyes {
    /// The declaration and the anchor to show until a lab is up.
    before: Option<(Declaration, String)>,
    /// The generation of the lab that the page was made from; 0 if there was none.
    shown: u64,
    /// Whether it was up at the last look.
    was_up: bool,
}

impl Eyes {
    /// Nothing is looked at yet.
    pub fn new(declaration: Declaration, anchor: String) -> Self {
        Self { before: Some((declaration, anchor)), shown: 0, was_up: false }
    }

    fn try_look(&mut self) -> Result<(Option<Served>, Live)> {
        match lab::ask_at_length(&lab::address(), &Request::Observe)? {
            Some(Reply::Observed { generation, status, traffic }) => {
                let served = if generation == self.shown { None } else { Some(self.remade()?) };
                self.was_up = true;
                Ok((served, live(&self.shown.to_string(), *status, traffic)))
            }
            Some(_) => bail!("the lab is of another version of this program"),
            None => {
                let served = match self.before.take() {
                    Some((declaration, anchor)) => Some(page(&declaration, &anchor, "0", true)?),
                    None => None,
                };
                let words = if self.was_up { "the lab has ended" } else { "no lab is up" };
                let words = format!("{words}: waiting for one, which `nixvol-net lab up` starts");
                Ok((served, Live::unknown(LiveSource::Lab, &self.shown.to_string(), words)))
            }
        }
    }

    /// The page of the lab that is up.
    fn remade(&mut self) -> Result<Served> {
        let reply = lab::ask_at_length(&lab::address(), &Request::Source)?;
        let Some(Reply::Source { generation, input, anchor }) = reply else {
            bail!("the lab has ended");
        };
        let declaration = match model::read(input.as_bytes()) {
            Ok(declaration) => declaration,
            Err(rejected) => bail!("the lab's declaration has {} problems", rejected.problems.len()),
        };
        let served = page(&declaration, &anchor, &generation.to_string(), true)?;
        self.shown = generation;
        self.before = None;
        Ok(served)
    }
}

impl Eye for Eyes {
    fn look(&mut self) -> (Option<Served>, Live) {
        self.try_look().unwrap_or_else(|error| {
            let words = format!("the lab does not answer: {error:#}");
            (None, Live::unknown(LiveSource::Lab, &self.shown.to_string(), words))
        })
    }

    fn pause(&self) -> Duration {
        PAUSE
    }
}

fn live(page: &str, status: lab::LabState, traffic: Traffic) -> Live {
    let Traffic { labels, flows, more } = traffic;
    let counter = |(label, [packets_in, packets_out, bytes_in, bytes_out]): (String, [u64; 4])| LiveCounter {
        label,
        packets: [packets_in, packets_out],
        bytes: [bytes_in, bytes_out],
    };
    let flow = |FlowCount { from, to, protocol, port, count }| LiveFlow {
        from,
        to,
        service: service(protocol, port),
        connections: count,
    };
    let fault = |FaultStatus { action, from, to, conditions, seconds }| LiveFault {
        action,
        from,
        to,
        conditions,
        seconds,
    };
    let lab::LabState { delivered, blocked, dropped, states, faults, .. } = status;
    Live {
        up: true,
        message: None,
        packets: Some(LivePackets { delivered, blocked, dropped }),
        states: Some(states as u64),
        states_limit: Some(STATES),
        counters: labels.into_iter().map(counter).collect(),
        flows: Some(flows.into_iter().map(flow).collect()),
        more_flows: more,
        faults: faults.into_iter().map(fault).collect(),
        ..Live::unknown(LiveSource::Lab, page, String::new())
    }
}

/// Carries out an order in the lab that is up.
pub fn order(order: &Order) -> Result<String> {
    let request = match order.clone() {
        Order::Fault { one, other, slow, lasts } => {
            Request::Fault(Asked { one, other, slow, lasts, owner: None })
        }
        Order::Heal { one, other } => Request::Heal { one: Some(one), other },
    };
    match lab::ask(&lab::address(), &request)?.0 {
        Reply::Done { message } => Ok(message),
        Reply::Wrong { message } => bail!(message),
        _ => bail!("the lab is of another version of this program"),
    }
}
