//! The packet loop: reads packets from devices, lets the router decide, and delivers packets when they are due.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::{self, IoSlice};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nixvol_net::pf::eval::TCP;
use nixvol_net::router::{Filter, NodeAttachment, NodeId, Seen, WatchId};
use nixvol_net::wire::{self, OFFLOAD_HEADER, Offload};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use tun_rs::SyncDevice;

use super::macs::{Macs, Outlet, PlayedMac};

/// Longest packet, with its virtio_net_hdr.
const LONGEST: usize = OFFLOAD_HEADER + 65_536;
/// Most packets read from one device before the next gets its turn.
const TURN: usize = 32;
/// Longest sleep of the loop, so that states expire on time.
const NAP: Duration = Duration::from_secs(1);
/// How often WireGuard is asked for handshakes and keepalives that are due.
const TICK: Duration = Duration::from_millis(100);

/// What the packet loop shares with the threads that serve requests.
pub struct Shared {
    /// The emulated Macs.
    pub macs: Mutex<Macs>,
    /// Where to send observed packets, by Mac and observer.
    pub sinks: Mutex<HashMap<(usize, WatchId), SyncSender<SeenOn>>>,
    /// When the lab started: the zero of the router's clock.
    pub began: Instant,
}

impl Shared {
    /// Locks the Macs. A panic while they were locked has been reported by the thread that panicked.
    pub fn macs(&self) -> std::sync::MutexGuard<'_, Macs> {
        self.macs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Observes packets on all Macs.
    pub fn watch(&self, filter: &Filter, sink: &SyncSender<SeenOn>) -> Vec<(usize, WatchId)> {
        let mut macs = self.macs();
        let mut sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        let add = |(mac, played): (usize, &mut PlayedMac)| {
            let id = (mac, played.router.watches_mut().add(filter.clone()));
            sinks.insert(id, sink.clone());
            id
        };
        macs.all_mut().iter_mut().enumerate().map(add).collect()
    }

    /// Ends observations.
    pub fn unwatch(&self, ids: &[(usize, WatchId)]) {
        let mut macs = self.macs();
        let mut sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        for (mac, id) in ids {
            macs.router_mut(*mac).watches_mut().remove(*id);
            sinks.remove(&(*mac, *id));
        }
    }
}

/// A packet at a hook of a Mac.
pub struct SeenOn {
    /// The Mac.
    pub mac: usize,
    /// The packet.
    pub seen: Seen,
}

/// A packet to be delivered later.
struct Late {
    at: Duration,
    number: u64,
    mac: usize,
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
pub fn pump(shared: &Arc<Shared>, devices: &[(SyncDevice, usize)]) -> Result<()> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).context("cannot wait for packets")?;
    for (number, (device, _)) in devices.iter().enumerate() {
        device.set_nonblocking(true)?;
        epoll::add(&poll, device, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN)?;
    }
    let outbox = Outbox { devices, late: BinaryHeap::new(), sent_late: 0 };
    let nap = if shared.macs().all().len() > 1 { TICK } else { NAP };
    let mut loop_ = Loop { shared, devices, outbox, buffer: vec![0; LONGEST], nap, ticked: Duration::ZERO };
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
    devices: &'a [(SyncDevice, usize)],
    outbox: Outbox<'a>,
    buffer: Vec<u8>,
    /// Longest sleep.
    nap: Duration,
    /// When the tunnels were last asked for what is due.
    ticked: Duration,
}

/// What leaves the Macs, now or later.
struct Outbox<'a> {
    devices: &'a [(SyncDevice, usize)],
    late: BinaryHeap<Reverse<Late>>,
    sent_late: u64,
}

impl Outlet for Outbox<'_> {
    fn send(&mut self, to: NodeId, bytes: &[u8], offload: &Offload) {
        let Some((device, _)) = self.devices.get(to.0) else { return };
        let mut header = [0; OFFLOAD_HEADER];
        offload.write(&mut header);
        let parts = [IoSlice::new(&header), IoSlice::new(bytes)];
        // If the kernel rejects it, it is lost, as on a real host.
        let _: io::Result<usize> = device.send_vectored(&parts);
    }

    fn later(&mut self, at: Duration, mac: usize, to: NodeId, bytes: Vec<u8>, offload: Offload) {
        self.sent_late += 1;
        self.late.push(Reverse(Late { at, number: self.sent_late, mac, to, bytes, offload }));
    }
}

impl Loop<'_> {
    fn now(&self) -> Duration {
        self.shared.began.elapsed()
    }

    fn nap(&self) -> Timespec {
        let late = self.outbox.late.peek();
        let nap = late.map_or(self.nap, |Reverse(late)| late.at.saturating_sub(self.now()).min(self.nap));
        Timespec { tv_sec: i64::try_from(nap.as_secs()).unwrap_or(1), tv_nsec: i64::from(nap.subsec_nanos()) }
    }

    /// Reads from the ready devices, and delivers the packets that are due.
    fn turn(&mut self, ready: impl Iterator<Item = usize>) {
        let mut macs = self.shared.macs();
        macs.tell_time(self.now());
        for number in ready {
            for _ in 0..TURN {
                if !self.take(&mut macs, number) {
                    break;
                }
            }
        }
        self.send_due(&mut macs);
        let now = self.now();
        if now >= self.ticked + TICK {
            self.ticked = now;
            macs.tick(now, &mut self.outbox);
        }
        let mut seen = Vec::new();
        for (mac, played) in macs.all_mut().iter_mut().enumerate() {
            let of_mac = played.router.watches_mut().take();
            seen.extend(of_mac.into_iter().map(|(id, seen)| (id, SeenOn { mac, seen })));
        }
        drop(macs);
        if !seen.is_empty() {
            self.hand_over(seen);
        }
    }

    /// Forwards one packet of a device; false if there is none.
    fn take(&mut self, macs: &mut Macs, number: usize) -> bool {
        let (device, mac) = &self.devices[number];
        let Ok(length) = device.recv(&mut self.buffer) else { return false };
        let now = self.now();
        let Some((header, bytes)) = self.buffer[..length].split_at_mut_checked(OFFLOAD_HEADER) else {
            return true;
        };
        let Some(offload) = Offload::read(header) else { return true };
        let from = NodeId(number);
        if macs.router(*mac).topology().node(from).side == NodeAttachment::Here {
            forbid_cutting_as_macos(bytes);
        }
        macs.receive((*mac, from), bytes, offload, now, &mut self.outbox);
        true
    }

    fn send_due(&mut self, macs: &mut Macs) {
        let now = self.now();
        while self.outbox.late.peek().is_some_and(|Reverse(late)| late.at <= now) {
            let Some(Reverse(late)) = self.outbox.late.pop() else { break };
            macs.arrive((late.mac, late.to), late.bytes, late.offload, now, &mut self.outbox);
        }
    }

    /// Passes observed packets to their observers. A slow one misses packets; a disconnected one is removed.
    fn hand_over(&self, seen: Vec<(WatchId, SeenOn)>) {
        let sinks = self.shared.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gone = Vec::new();
        for (id, seen) in seen {
            let id = (seen.mac, id);
            let sent = sinks.get(&id).map(|sink| sink.try_send(seen));
            if matches!(sent, Some(Err(TrySendError::Disconnected(_)))) {
                gone.push(id);
            }
        }
        // `unwatch` locks the Macs before it locks the sinks.
        drop(sinks);
        if !gone.is_empty() {
            self.shared.unwatch(&gone);
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
