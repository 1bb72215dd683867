//! The client side of the lab's socket: one line of JSON in each direction, and descriptors for a command that enters
//! the lab.

use std::env;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};

use anyhow::{Context, Result, bail};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::geteuid;

use super::protocol::{Reply, Request};

/// Environment variable with the lab's address, for programs that run in it.
pub const VARIABLE: &str = "NIXVOL_LAB";
/// Most descriptors in one reply.
const DESCRIPTORS: usize = 4;

/// The abstract socket address of the lab to use: the one that this process runs in, otherwise the user's own.
pub fn address() -> String {
    match env::var(VARIABLE) {
        Ok(address) if !address.is_empty() => address,
        _ => format!("nixvol-net/{}/lab", geteuid().as_raw()),
    }
}

/// Connects to a lab; `None` if none listens at the address.
pub fn connect(address: &str) -> Result<Option<UnixStream>> {
    let name =
        SocketAddr::from_abstract_name(address.as_bytes()).context("a lab cannot have this address")?;
    let stream = match UnixStream::connect_addr(&name) {
        Ok(stream) => stream,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(None),
        Err(error) => return Err(error).context("cannot connect to the lab"),
    };
    // Any user can bind an abstract address.
    if !is_own(&stream)? {
        bail!("the process at the lab's address belongs to another user");
    }
    Ok(Some(stream))
}

/// Whether the peer of a stream belongs to this user. Only the uid is compared: a peer in another PID namespace may
/// have no pid here.
pub fn is_own(stream: &UnixStream) -> Result<bool> {
    let peer = getsockopt(stream, PeerCredentials).context("cannot determine the owner of the peer")?;
    Ok(peer.uid() == geteuid().as_raw())
}

/// Whether the lab at [`address`] is up.
pub fn is_up() -> Result<bool> {
    Ok(connect(&address())?.is_some())
}

/// Sends a request to a lab; returns the reply, the descriptors that came with it, and the stream.
pub fn ask(address: &str, request: &Request) -> Result<(Reply, Vec<OwnedFd>, UnixStream)> {
    let Some(stream) = connect(address)? else {
        bail!("no lab is up\nhint: `nixvol-net lab up`, or `nixvol-net lab run -- COMMAND`");
    };
    let descriptors = send(&stream, request)?;
    // Reads byte by byte, so that nothing after the reply is consumed; replies are short.
    let reply = reply(BufReader::with_capacity(1, &stream))?;
    Ok((reply, descriptors, stream))
}

/// Sends a request that has a long reply, and nothing after it; `None` if no lab is up.
pub fn ask_at_length(address: &str, request: &Request) -> Result<Option<Reply>> {
    let Some(stream) = connect(address)? else { return Ok(None) };
    send(&stream, request)?;
    reply(BufReader::new(&stream)).map(Some)
}

fn send(mut stream: &UnixStream, request: &Request) -> Result<Vec<OwnedFd>> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line).context("cannot connect to the lab")?;
    receive(stream)
}

fn reply(mut stream: impl BufRead) -> Result<Reply> {
    let mut line = String::new();
    stream.read_line(&mut line).context("cannot read the lab's answer")?;
    if line.is_empty() {
        bail!("the lab has ended");
    }
    Ok(serde_json::from_str(&line)?)
}

/// The descriptors that precede a reply, on one byte that carries them.
fn receive(stream: &UnixStream) -> Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0; 1];
    let mut parts = [std::io::IoSliceMut::new(&mut byte)];
    recvmsg(stream, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        .context("cannot read the lab's answer")?;
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok(descriptors)
}
