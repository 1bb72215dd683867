//! Writes captures as pcapng: one packet for every hook at which pf saw it, with the deciding rule as its comment.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use nixvol_net::pf::syntax::Direction;
use nixvol_net::router::{Filter, Seen};
use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::client::{address, ask};
use super::macs::PlayedMac;
use super::protocol::{Reply, Request};
use super::pump::SeenOn;
use super::running::{Lab, OneMac};

/// Most packets queued for a slow reader.
const WAITING: usize = 8192;
/// How often to check whether the reader is still there.
const LOOK: Duration = Duration::from_millis(200);
/// The loopback interface of the Mac.
const LOOPBACK: &str = "lo0";
/// Timestamp resolution, as a negative power of ten.
const NANOSECONDS: u8 = 9;

/// Captures the packets of a node or a link to a file or standard output, for a given time or until interrupted.
pub fn capture(what: &str, out: Option<&Path>, patience: Option<Duration>) -> Result<()> {
    let (reply, _, mut stream) = ask(&address(), &Request::Capture { what: what.to_owned() })?;
    if let Reply::Wrong { message } = reply {
        bail!(message);
    }
    let ends = patience.map(|patience| Instant::now() + patience);
    let mut out: Box<dyn Write> = match out {
        Some(path) => {
            let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
            let until = if ends.is_some() { "" } else { " until Ctrl-C" };
            eprintln!("capturing {what} to {}{until}", path.display());
            Box::new(file)
        }
        None => Box::new(io::stdout().lock()),
    };
    let mut bytes = vec![0; 65_536];
    while ends.is_none_or(|ends| Instant::now() < ends) && !is_reader_gone()? {
        if !has_more(&stream)? {
            continue;
        }
        let length = stream.read(&mut bytes).context("the capture broke off")?;
        match out.write_all(&bytes[..length]).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.context("cannot write the capture")?,
        }
        if length == 0 {
            break;
        }
    }
    Ok(())
}

/// Whether data arrives within a short time.
fn has_more(stream: &UnixStream) -> Result<bool> {
    let nap = Timespec { tv_sec: 0, tv_nsec: i64::from(LOOK.subsec_nanos()) };
    Ok(poll(&mut [PollFd::new(stream, PollFlags::IN)], Some(&nap))? > 0)
}

/// Whether standard output is a pipe whose reader is gone; files and terminals have no reader.
fn is_reader_gone() -> Result<bool> {
    let out = io::stdout();
    let mut waiting = [PollFd::new(&out, PollFlags::empty())];
    poll(&mut waiting, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(waiting[0].revents().contains(PollFlags::ERR))
}

/// Sends captured packets until the reader disconnects.
pub fn serve(lab: &Lab, stream: &UnixStream, filter: Filter) -> Result<()> {
    let (sink, seen) = sync_channel(WAITING);
    let ids = lab.shared.watch(&filter, &sink);
    drop(sink);
    let began = SystemTime::now().duration_since(UNIX_EPOCH)?.saturating_sub(lab.shared.began.elapsed());
    let on = |mac: &OneMac| mac.name().map_or_else(String::new, |name| format!("{name} "));
    let on: Vec<String> = lab.macs.iter().map(on).collect();
    let names: Vec<String> = {
        let macs = lab.shared.macs();
        let of = |(mac, on): (&PlayedMac, &String)| {
            let interfaces = mac.router.topology().interfaces().flat_map(names_of);
            interfaces.map(|name| format!("{on}{name}")).collect::<Vec<_>>()
        };
        macs.all().iter().zip(&on).flat_map(of).collect()
    };
    let written = (|| -> Result<()> {
        let mut writer = Writer::new(BufWriter::new(stream), &names)?;
        loop {
            match seen.recv_timeout(LOOK) {
                Ok(SeenOn { mac, seen }) => writer.packet(&on[mac], &seen, began)?,
                Err(RecvTimeoutError::Timeout) => {
                    writer.flush()?;
                    if is_gone(stream)? {
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    })();
    lab.shared.unwatch(&ids);
    written
}

/// Whether the peer has disconnected: it sends nothing while it reads, so only the end of the stream can arrive.
fn is_gone(mut stream: &UnixStream) -> io::Result<bool> {
    stream.set_nonblocking(true)?;
    let read = stream.read(&mut [0]);
    stream.set_nonblocking(false)?;
    match read {
        Ok(read) => Ok(read == 0),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// The names of an interface in a capture. Packets from the Mac to itself are seen twice on lo0, so it has one per
/// direction.
fn names_of(interface: &str) -> Vec<String> {
    match interface {
        LOOPBACK => [Direction::Out, Direction::In].map(|way| name_of(interface, way)).to_vec(),
        other => vec![other.to_owned()],
    }
}

fn name_of(interface: &str, direction: Direction) -> String {
    match (interface, direction) {
        (LOOPBACK, Direction::Out) => "lo0 out".to_owned(),
        (LOOPBACK, Direction::In) => "lo0 in".to_owned(),
        (other, _) => other.to_owned(),
    }
}

struct Writer<W: Write> {
    pcapng: PcapNgWriter<W>,
    interfaces: HashMap<String, u32>,
}

impl<W: Write> Writer<W> {
    fn new(out: W, names: &[String]) -> Result<Self> {
        let mut pcapng = PcapNgWriter::new(out)?;
        let mut interfaces = HashMap::new();
        for (number, name) in (0..).zip(names) {
            // Not RAW: libpcap maps it to two different link types in a file with more than one interface.
            let mut block = InterfaceDescriptionBlock::new(DataLink::IPV4, 0);
            block.options = vec![
                InterfaceDescriptionOption::IfName(Cow::Borrowed(name)),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ];
            pcapng.write_pcapng_block(block)?;
            interfaces.insert(name.clone(), number);
        }
        Ok(Self { pcapng, interfaces })
    }

    fn packet(&mut self, on: &str, seen: &Seen, began: Duration) -> Result<()> {
        let name = format!("{on}{}", name_of(&seen.interface, seen.direction));
        let block = EnhancedPacketBlock {
            interface_id: self.interfaces.get(&name).copied().unwrap_or(0),
            timestamp: began + seen.at,
            original_len: u32::try_from(seen.bytes.len()).unwrap_or(u32::MAX),
            data: Cow::Borrowed(&seen.bytes),
            options: vec![
                EnhancedPacketOption::Comment(Cow::Borrowed(&seen.comment)),
                EnhancedPacketOption::Flags(match seen.direction {
                    Direction::In => 1,
                    Direction::Out => 2,
                }),
            ],
        };
        self.pcapng.write_pcapng_block(block)?;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pcapng.get_mut().flush()
    }
}
