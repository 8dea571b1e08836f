//! The engine that libzmq is.
//!
//! There is no thread between libzmq and the caller: it is called in the sender's task and in the receiver's, both woken by
//! the sockets' descriptors. Greetings are answered where they are read; while nobody receives, a task reads the directed
//! sockets in the receiver's place, up to one queue of messages.

mod at_once;
mod context;
mod dealer;
mod ffi;
mod frames;
mod incoming;
mod keeper;
mod link;
mod monitor;
mod outgoing;
mod peers;
mod place;
mod reader;
mod receiver;
mod routes;
mod socket;
mod sockets;
mod state;
mod upkeep;

use std::sync::Arc;

use tokio::runtime::Handle;

use super::{Addresses, address, control, drops, lookup, prefix, room};
use crate::error::Result;
use crate::transport::{Capabilities, OpenOptions};

use context::Context;
use receiver::Receiver;
use sockets::{Bound, Setup};
use state::Session;

pub(super) use incoming::LibzmqRx;
pub(super) use outgoing::LibzmqTx;

/// Binds and starts a session.
pub(super) fn open(
    addresses: Addresses,
    peer_timeout: std::time::Duration,
    capabilities: Capabilities,
    options: OpenOptions,
) -> Result<(LibzmqTx, LibzmqRx)> {
    let Addresses { inbound, outbound, advertised } = addresses;
    let outbound = outbound.unwrap_or_else(|| inbound.with_port(0));
    let setup = Setup::new(options, peer_timeout, inbound.is_ipv6());
    let context = Context::new().map_err(sockets::failed("making a context"))?;
    let bound = Bound::bind(&setup, &context, &inbound, &outbound)?;
    let local = advertised.with_port(bound.router_port).locator()?;
    let port = bound.publish_port;
    let publish = (port, vec![advertised.with_port(port).endpoint(), inbound.with_port(port).endpoint()]);
    let (runtime, receiver) = (Handle::current(), Arc::<Receiver>::default());
    let sockets = setup.sockets(&context, bound, &runtime, &receiver)?;
    let session = Arc::new_cyclic(|me| {
        Session::new(me.clone(), setup, capabilities, local, publish, runtime, receiver, sockets, context)
    });
    tokio::spawn(keeper::keep(Arc::downgrade(&session)));
    Ok((LibzmqTx::new(session.clone()), LibzmqRx::new(session)))
}
