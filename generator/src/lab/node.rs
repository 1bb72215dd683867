//! A node's namespace: created by a thread that enters it, held by a descriptor, gone with the process.

use std::fs::File;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns, unshare};
use nixvol_net::router::Node;
use tun_rs::SyncDevice;

use super::device;

/// A namespace.
pub struct Space {
    /// The namespace itself.
    pub net: File,
    /// The node's end of its device is in the namespace; this is the router's.
    pub device: SyncDevice,
    /// Where the lab answers inside.
    pub listener: UnixListener,
}

/// Makes the namespace of a node.
pub fn make(node: &Node, address: &str) -> Result<Space> {
    let inside = || -> Result<Space> {
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
        let net = File::open("/proc/thread-self/ns/net").context("cannot look at the namespace")?;
        let device = device::make(node)?;
        let listener = listen(address)?;
        Ok(Space { net, device, listener })
    };
    let made = thread::scope(|scope| scope.spawn(inside).join());
    made.map_err(|_| anyhow!("the thread that makes namespaces failed"))?
        .with_context(|| format!("cannot set up {}", node.name))
}

/// Does something in a namespace, in a separate thread.
pub fn inside<T: Send>(net: &File, deed: impl FnOnce() -> T + Send) -> Result<T> {
    let inside = || {
        setns(net, CloneFlags::CLONE_NEWNET).context("cannot enter a network namespace")?;
        Ok(deed())
    };
    let done = thread::scope(|scope| scope.spawn(inside).join());
    done.map_err(|_| anyhow!("a thread failed inside a namespace"))?
}

/// Listens at the lab's address in the namespace of this thread. It is in no file system, and goes with the process.
pub fn listen(address: &str) -> Result<UnixListener> {
    let address = SocketAddr::from_abstract_name(address.as_bytes())?;
    UnixListener::bind_addr(&address).context("cannot listen")
}
