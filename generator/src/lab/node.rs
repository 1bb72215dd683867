//! A node's namespace: created by a thread that enters it, kept alive by a descriptor, so that it ends with this
//! process.

use std::fs::File;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns, unshare};
use nixvol_net::router::Node;
use tun_rs::SyncDevice;

use super::device;

/// A network namespace, and what this process holds of it.
pub struct NodeNamespace {
    /// A descriptor of the namespace.
    pub net: File,
    /// The router's side of the TUN device, whose interface is in the namespace.
    pub device: SyncDevice,
    /// The socket at which the lab answers requests from inside the namespace.
    pub listener: UnixListener,
}

/// Creates the namespace of a node.
pub fn make(node: &Node, address: &str) -> Result<NodeNamespace> {
    let inside = || -> Result<NodeNamespace> {
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
        let net = File::open("/proc/thread-self/ns/net").context("cannot look at the namespace")?;
        let device = device::make(node)?;
        let listener = listen(address)?;
        Ok(NodeNamespace { net, device, listener })
    };
    let made = thread::scope(|scope| scope.spawn(inside).join());
    made.map_err(|_| anyhow!("the thread that makes namespaces failed"))?
        .with_context(|| format!("cannot set up {}", node.name))
}

/// Runs a closure in a network namespace, in a thread of its own.
pub fn inside<T: Send>(net: &File, deed: impl FnOnce() -> T + Send) -> Result<T> {
    let inside = || {
        setns(net, CloneFlags::CLONE_NEWNET).context("cannot enter a network namespace")?;
        Ok(deed())
    };
    let done = thread::scope(|scope| scope.spawn(inside).join());
    done.map_err(|_| anyhow!("a thread failed inside a namespace"))?
}

/// Listens at the lab's abstract address, which is separate in every network namespace and disappears with the
/// process.
pub fn listen(address: &str) -> Result<UnixListener> {
    let address = SocketAddr::from_abstract_name(address.as_bytes())?;
    UnixListener::bind_addr(&address).context("cannot listen")
}
