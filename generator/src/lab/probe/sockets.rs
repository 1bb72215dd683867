//! The sockets of probes: listeners, clients, and the result that the stack reports.
//!
//! Everything here acts on the network namespace of the calling thread.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nixvol_net::model::Protocol;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use super::record::{BIG, ProbeResult, ProbedService};

/// Most probes of a node in flight.
const AT_ONCE: usize = 64;
/// Backlog of a listener, on which nothing is ever accepted.
const BACKLOG: i32 = 4096;
/// How often the echo thread checks whether to stop.
const LOOK: Duration = Duration::from_millis(50);
/// An echo request: type, code, checksum, identifier and sequence number; the kernel sets checksum and identifier.
const ECHO: [u8; 8] = [8, 0, 0, 0, 0, 0, 0, 1];
/// A probe to send.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub service: ProbedService,
    /// Payload bytes of a datagram.
    pub size: usize,
}

/// Raises the soft limit of descriptors to the hard limit.
pub fn allow_many() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).context("too few descriptors")
}

/// Listeners in a namespace, open until dropped.
pub struct Listeners {
    /// Never accepted from: the kernel completes the handshake by itself.
    _streams: Vec<Socket>,
    is_over: Arc<AtomicBool>,
    echo: Option<JoinHandle<()>>,
}

impl Listeners {
    /// Listens at these addresses and services.
    pub fn new(at: BTreeSet<(Ipv4Addr, ProbedService)>) -> io::Result<Self> {
        let (mut streams, mut datagrams) = (Vec::new(), Vec::new());
        for (address, service) in at {
            let address = SocketAddrV4::new(address, service.port).into();
            match service.protocol {
                Protocol::Tcp => {
                    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
                    socket.set_reuse_address(true)?;
                    socket.bind(&address)?;
                    socket.listen(BACKLOG)?;
                    streams.push(socket);
                }
                Protocol::Udp => {
                    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
                    socket.set_nonblocking(true)?;
                    socket.bind(&address)?;
                    datagrams.push(socket);
                }
                // The kernel answers pings.
                Protocol::Icmp => {}
            }
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let echo = thread::spawn(move || echo(&datagrams, &ends));
        Ok(Self { _streams: streams, is_over, echo: Some(echo) })
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(echo) = self.echo.take() {
            // A failed echo thread has already shown up as unanswered probes.
            let _ = echo.join();
        }
    }
}

/// Answers every datagram with one of the same size.
fn echo(sockets: &[Socket], is_over: &AtomicBool) {
    let mut bytes = [MaybeUninit::uninit(); 2 * BIG];
    let answer = [b'!'; 2 * BIG];
    while !is_over.load(Ordering::Relaxed) {
        wait(sockets, PollFlags::IN, LOOK);
        for socket in sockets {
            while let Ok((length, from)) = socket.recv_from(&mut bytes) {
                // The client may be gone.
                let _: io::Result<usize> = socket.send_to(&answer[..length], &from);
            }
        }
    }
}

/// Sends the probes, and waits for up to `patience` per batch.
pub fn ask(asks: &[Ask], patience: Duration) -> Result<Vec<ProbeResult>> {
    let mut answers = Vec::with_capacity(asks.len());
    for asks in asks.chunks(AT_ONCE) {
        let mut open: Vec<(Socket, Protocol, Option<ProbeResult>)> = Vec::with_capacity(asks.len());
        for ask in asks {
            let (socket, answer) = begin(ask).with_context(|| format!("cannot ask {ask:?}"))?;
            open.push((socket, ask.service.protocol, answer));
        }
        let ends = Instant::now() + patience;
        while open.iter().any(|(_, _, answer)| answer.is_none()) && Instant::now() < ends {
            let waiting = || open.iter().filter(|(_, _, answer)| answer.is_none());
            let sockets: Vec<&Socket> = waiting().map(|(socket, ..)| socket).collect();
            let flags: Vec<PollFlags> = waiting()
                .map(
                    |(_, protocol, _)| {
                        if *protocol == Protocol::Tcp { PollFlags::OUT } else { PollFlags::IN }
                    },
                )
                .collect();
            wait_for(&sockets, &flags, ends.saturating_duration_since(Instant::now()).min(LOOK));
            for (socket, protocol, answer) in open.iter_mut().filter(|(_, _, answer)| answer.is_none()) {
                *answer = hear(socket, *protocol);
            }
        }
        answers.extend(open.into_iter().map(|(_, _, answer)| answer.unwrap_or(ProbeResult::Silence)));
    }
    Ok(answers)
}

/// Sends one probe; some results are known at once.
fn begin(ask: &Ask) -> io::Result<(Socket, Option<ProbeResult>)> {
    let (kind, protocol) = match ask.service.protocol {
        Protocol::Tcp => (Type::STREAM, None),
        Protocol::Udp => (Type::DGRAM, None),
        Protocol::Icmp => (Type::DGRAM, Some(socket2::Protocol::ICMPV4)),
    };
    let socket = Socket::new(Domain::IPV4, kind, protocol)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddrV4::new(ask.source, 0).into())?;
    let connected = socket.connect(&SocketAddrV4::new(ask.destination, ask.service.port).into());
    let answer = match connected {
        Err(error) if error.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32) => {
            Some(answer_of(&error))
        }
        _ => match ask.service.protocol {
            Protocol::Tcp => None,
            Protocol::Udp => {
                socket.send(&[b'?'; 2 * BIG][..ask.size.min(2 * BIG)]).err().map(|error| answer_of(&error))
            }
            Protocol::Icmp => socket.send(&ECHO).err().map(|error| answer_of(&error)),
        },
    };
    Ok((socket, answer))
}

/// The result so far, if there is one.
fn hear(socket: &mut Socket, protocol: Protocol) -> Option<ProbeResult> {
    match socket.take_error() {
        Ok(Some(error)) | Err(error) => return Some(answer_of(&error)),
        Ok(None) => {}
    }
    if protocol == Protocol::Tcp {
        return socket.peer_addr().is_ok().then_some(ProbeResult::Connected);
    }
    match socket.read(&mut [0; 64]) {
        Ok(_) => Some(ProbeResult::Connected),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(error) => Some(answer_of(&error)),
    }
}

fn answer_of(error: &io::Error) -> ProbeResult {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => ProbeResult::Refused,
        io::ErrorKind::TimedOut => ProbeResult::Silence,
        _ => ProbeResult::Unreachable,
    }
}

fn wait(sockets: &[Socket], flags: PollFlags, patience: Duration) {
    let all: Vec<&Socket> = sockets.iter().collect();
    wait_for(&all, &vec![flags; sockets.len()], patience);
}

/// Waits until one of the sockets is ready. Callers check the sockets again, so an interruption does no harm.
fn wait_for(sockets: &[&Socket], flags: &[PollFlags], patience: Duration) {
    let mut waiting: Vec<PollFd<'_>> = sockets
        .iter()
        .zip(flags)
        .map(|(socket, flags)| PollFd::from_borrowed_fd(socket.as_fd(), *flags))
        .collect();
    let patience = Timespec {
        tv_sec: i64::try_from(patience.as_secs()).unwrap_or(1),
        tv_nsec: i64::from(patience.subsec_nanos()),
    };
    let _: rustix::io::Result<usize> = poll(&mut waiting, Some(&patience));
}
