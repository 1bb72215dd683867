//! The packet loop: reads packets from devices, lets the router decide, and delivers packets when they are due.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::{self, IoSlice};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nixvol_net::pf::eval::TCP;
use nixvol_net::router::{NodeAttachment, NodeId, Router, Seen, WatchId};
use nixvol_net::wire::{self, OFFLOAD_HEADER, Offload};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use tun_rs::SyncDevice;

/// Longest packet, with its virtio_net_hdr.
const LONGEST: usize = OFFLOAD_HEADER + 65_536;
/// Most packets read from one device before the next gets its turn.
const TURN: usize = 32;
/// Longest sleep of the loop, so that states expire on time.
const NAP: Duration = Duration::from_secs(1);

/// What the packet loop shares with the threads that serve requests.
pub struct Shared {
    /// The emulated Mac.
    pub router: Mutex<Router>,
    /// Where to send observed packets.
    pub sinks: Mutex<HashMap<WatchId, SyncSender<Seen>>>,
    /// When the lab started: the zero of the router's clock.
    pub began: Instant,
}

impl Shared {
    /// Locks the router. A panic while it was locked has been reported by the thread that panicked.
    pub fn router(&self) -> std::sync::MutexGuard<'_, Router> {
        self.router.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A packet to be delivered later.
struct Late {
    at: Duration,
    number: u64,
    to: NodeId,
    bytes: Vec<u8>,
    offload: Offload,
}

impl PartialEq for Late {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}
impl Eq for Late {}
impl PartialOrd for Late {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Late {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}
impl Late {
    fn order(&self) -> (Duration, u64) {
        (self.at, self.number)
    }
}

/// Forwards packets; returns only on an error.
pub fn pump(shared: &Arc<Shared>, devices: &[SyncDevice]) -> Result<()> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).context("cannot wait for packets")?;
    for (number, device) in devices.iter().enumerate() {
        device.set_nonblocking(true)?;
        epoll::add(&poll, device, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN)?;
    }
    let mut loop_ = Loop { shared, devices, late: BinaryHeap::new(), sent_late: 0, buffer: vec![0; LONGEST] };
    let mut events = Vec::with_capacity(devices.len().max(1));
    loop {
        events.clear();
        let nap = loop_.nap();
        match epoll::wait(&poll, spare_capacity(&mut events), Some(&nap)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for packets"),
        }
        let ready = events.iter().filter_map(|event| usize::try_from(event.data.u64()).ok());
        loop_.turn(ready);
    }
}

struct Loop<'a> {
    shared: &'a Shared,
    devices: &'a [SyncDevice],
    late: BinaryHeap<Reverse<Late>>,
    sent_late: u64,
    buffer: Vec<u8>,
}

impl Loop<'_> {
    fn now(&self) -> Duration {
        self.shared.began.elapsed()
    }

    fn nap(&self) -> Timespec {
        let nap = self.late.peek().map_or(NAP, |Reverse(late)| late.at.saturating_sub(self.now()).min(NAP));
        Timespec { tv_sec: i64::try_from(nap.as_secs()).unwrap_or(1), tv_nsec: i64::from(nap.subsec_nanos()) }
    }

    /// Reads from the ready devices, and delivers the packets that are due.
    fn turn(&mut self, ready: impl Iterator<Item = usize>) {
        let mut router = self.shared.router();
        router.tell_time(self.now());
        for number in ready {
            for _ in 0..TURN {
                if !self.take(&mut router, number) {
                    break;
                }
            }
        }
        let seen = router.watches_mut().take();
        drop(router);
        if !seen.is_empty() {
            self.hand_over(seen);
        }
        self.send_due();
    }

    /// Forwards one packet of a device; false if there is none.
    fn take(&mut self, router: &mut Router, number: usize) -> bool {
        let Ok(length) = self.devices[number].recv(&mut self.buffer) else { return false };
        let now = self.now();
        let Some((header, bytes)) = self.buffer[..length].split_at_mut_checked(OFFLOAD_HEADER) else {
            return true;
        };
        let Some(offload) = Offload::read(header) else { return true };
        if router.topology().node(NodeId(number)).side == NodeAttachment::Here {
            forbid_cutting_as_macos(bytes);
        }
        let (_, deliveries) = router.receive(NodeId(number), bytes, offload, now);
        for delivery in deliveries {
            if delivery.at > now {
                let bytes = delivery.bytes.clone().unwrap_or_else(|| bytes[..delivery.length].to_vec());
                self.sent_late += 1;
                let (number, to, offload) = (self.sent_late, delivery.to, delivery.offload);
                self.late.push(Reverse(Late { at: delivery.at, number, to, bytes, offload }));
            } else {
                let bytes = delivery.bytes.as_deref().unwrap_or_else(|| &bytes[..delivery.length]);
                send(self.devices, delivery.to, bytes, &delivery.offload);
            }
        }
        true
    }

    fn send_due(&mut self) {
        let now = self.now();
        while let Some(Reverse(late)) = self.late.peek()
            && late.at <= now
        {
            send(self.devices, late.to, &late.bytes, &late.offload);
            self.late.pop();
        }
    }

    /// Passes observed packets to their observers. A slow one misses packets; a disconnected one is removed.
    fn hand_over(&self, seen: Vec<(WatchId, Seen)>) {
        let mut sinks = self.shared.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, seen) in seen {
            let gone = sinks
                .get(&id)
                .is_some_and(|sink| matches!(sink.try_send(seen), Err(TrySendError::Disconnected(_))));
            if gone {
                sinks.remove(&id);
                self.shared.router().watches_mut().remove(id);
            }
        }
    }
}

/// Clears the don't-fragment bit except for TCP, as macOS does; Linux sets it on every packet that fits the MTU.
fn forbid_cutting_as_macos(bytes: &mut [u8]) {
    const DONT_FRAGMENT: u8 = 0x40;
    let is_ipv4 = bytes.len() >= 20 && bytes[0] >> 4 == 4;
    if is_ipv4 && bytes[6] & DONT_FRAGMENT != 0 && bytes[9] != TCP {
        wire::clear_df(bytes);
    }
}

/// Sends a packet to a node's device. If the kernel rejects it, it is lost, as on a real host.
fn send(devices: &[SyncDevice], to: NodeId, bytes: &[u8], offload: &Offload) {
    let mut header = [0; OFFLOAD_HEADER];
    offload.write(&mut header);
    let parts = [IoSlice::new(&header), IoSlice::new(bytes)];
    let _: io::Result<usize> = devices[to.0].send_vectored(&parts);
}
