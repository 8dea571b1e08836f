//! Where a peer is reached: by TCP, or by a Unix socket of the same host.

use std::fmt;

use crate::error::Result;
use crate::transport::Locator;
use crate::transport::zmq::address::Address;
use crate::transport::zmq::ipc::{IpcAddress, is_ipc};

/// Where a peer is reached.
#[derive(Debug, Clone)]
pub(super) enum Endpoint {
    /// A host and a port.
    Tcp(Address),
    /// A Unix socket.
    Ipc(IpcAddress),
}

impl Endpoint {
    /// The address of a peer.
    ///
    /// # Errors
    /// [`ForeignLocator`](crate::ErrorKind::ForeignLocator) or
    /// [`InvalidAddress`](crate::ErrorKind::InvalidAddress).
    pub(super) fn of_peer(locator: &Locator) -> Result<Self> {
        match IpcAddress::parse(locator.as_str()) {
            Some(address) => address.map(Self::Ipc),
            None => Address::of_peer(locator).map(Self::Tcp),
        }
    }

    /// Where the same peer publishes: at this port of its host, or at its one Unix socket.
    pub(super) fn of_publications(&self, port: u16) -> Self {
        match self {
            Self::Tcp(address) => Self::Tcp(address.with_port(port)),
            Self::Ipc(address) => Self::Ipc(address.clone()),
        }
    }

    /// Why the publications of such a peer may not come.
    pub(super) fn feed_trouble(&self, port: u16) -> String {
        match self {
            Self::Tcp(_) => {
                format!("what it publishes at port {port} does not come: is that port open and forwarded?")
            }
            Self::Ipc(address) => {
                format!("what it publishes at {} does not come: is that socket in reach?", address.endpoint())
            }
        }
    }
}

/// The other end of a connection that was accepted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    /// Where it connects from, if it comes by TCP.
    pub(super) address: Option<std::net::SocketAddr>,
    /// It is a process of this host.
    pub(super) is_local: bool,
}

impl Caller {
    /// Whether a peer that comes this way may be called back at `locator`. A Unix socket is one of the host that names
    /// it: another host must not have this one connect to what happens to have that name here.
    pub(super) fn may_be(&self, locator: &Locator) -> bool {
        self.is_local || !is_ipc(locator)
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => address.fmt(f),
            None => f.write_str("a Unix socket"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_host_cannot_name_a_socket_of_this_one() {
        let tcp = Locator::new("zmq+tcp://10.0.0.1:1").unwrap();
        let ipc = Locator::new("zmq+ipc:///run/x.sock").unwrap();
        let here = Caller { address: None, is_local: true };
        let elsewhere = Caller { address: Some(([10, 0, 0, 1], 1).into()), is_local: false };
        assert!(here.may_be(&tcp) && here.may_be(&ipc) && elsewhere.may_be(&tcp));
        assert!(!elsewhere.may_be(&ipc));
    }
}
