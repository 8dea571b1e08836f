//! A session over ZeroMQ without libzmq: ZMTP on the session's own runtime.
//!
//! - A connection is a [task](connection): it reads, decodes and hands out, to the session's sink where that takes a message,
//!   else to the [inbox] of the receiving half, for which each connection has its own [credit]. One that has used its credit
//!   is not read, and nothing else waits for that.
//! - What is sent is written by the task that sends it, into the socket of each peer that [hears](audience) it. What a socket
//!   does not take waits in a bounded [queue](outgoing), and the connection's task writes it.
//! - A connection of ours is [dialled] as long as it is wanted. Those of peers are accepted at one [port](listener): what a
//!   peer comes as decides what this side is to it.
//! - What the sessions say to each other to find and leave each other is in [links]; what is due by the clock in [upkeep].

mod access;
mod audience;
mod close;
mod connect;
mod connection;
mod credit;
mod dialled;
mod endpoint;
mod half_open;
mod halves;
mod handshake;
mod inbox;
mod incoming;
mod item;
mod links;
mod listener;
mod outgoing;
mod peers;
mod role;
mod routes;
mod session;
mod stream;
mod subscriptions;
mod tasks;
#[cfg(unix)]
mod unix;
mod upkeep;
mod wants;

use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::transport::zmq::curve::Curve;
use crate::transport::zmq::{Addresses, Place};
use crate::transport::{Capabilities, OpenOptions};

use access::Access;
use listener::Listener;
use session::{Owner, Session};

pub(in crate::transport) use halves::{NativeRx, NativeTx};

/// The shortest peer timeout.
const LEAST_TIMEOUT: Duration = Duration::from_millis(100);
/// What a session at a Unix socket states for the port that it publishes at: it has none, and 0 means that nothing is
/// published.
const IPC_PORT: u16 = 1;

/// Binds and starts a session.
///
/// # Errors
/// Those of binding.
pub(in crate::transport) async fn open(
    place: Place,
    peer_timeout: Duration,
    capabilities: Capabilities,
    options: OpenOptions,
    curve: Option<Curve>,
) -> Result<(NativeTx, NativeRx)> {
    let (listener, publications, local, publish_port) = match place {
        Place::Ipc(address) => (Listener::bind_ipc(&address).await?, None, address.locator()?, IPC_PORT),
        Place::Tcp(Addresses { inbound, outbound, advertised }) => {
            let (listener, port) = Listener::bind_tcp(&inbound).await?;
            let (publications, publish_port) = match outbound {
                Some(outbound) if outbound.port != port => {
                    let (listener, port) = Listener::bind_tcp(&outbound).await?;
                    (Some(listener), port)
                }
                // One port is enough: who comes as SUB hears what is published.
                _ => (None, port),
            };
            (listener, publications, advertised.with_port(port).locator()?, publish_port)
        }
    };
    let peer_timeout = peer_timeout.max(LEAST_TIMEOUT);
    let session = Session::new(options, peer_timeout, capabilities, local, publish_port, Access::new(curve));
    for listener in [Some(listener), publications].into_iter().flatten() {
        session.spawn(listener::accept(session.clone(), listener));
    }
    session.spawn(upkeep::keep(session.clone()));
    let owner = Arc::new(Owner(session));
    Ok((NativeTx(owner.clone()), NativeRx(owner)))
}
