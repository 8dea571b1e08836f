//! What libzmq tells about a socket's connections.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::address::Address;
use super::context::Context;
use super::receiver::{Holds, Receiver};
use super::socket::{Interest, Socket};

/// Something happened to a connection that this side has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LinkEvent {
    pub(super) change: Change,
    /// The number that was given to `connect`; `None` for the own feed, which has none.
    pub(super) number: Option<SocketAddr>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Connected, and the ZMTP handshake is done.
    Up,
    /// Lost.
    Down,
    /// libzmq will try again by itself. After a protocol error it does not.
    Retrying,
}

const WATCHED: i32 = (zmq_sys::ZMQ_EVENT_HANDSHAKE_SUCCEEDED
    | zmq_sys::ZMQ_EVENT_DISCONNECTED
    | zmq_sys::ZMQ_EVENT_CONNECT_RETRIED) as i32;

/// The socket on which a monitored socket reports.
#[derive(Debug)]
pub(super) struct Monitor {
    socket: Arc<Socket>,
}

impl Monitor {
    /// Watches `socket`, which is not connected yet, under a name unique in its context.
    pub(super) fn watch(
        context: &Context,
        socket: &::zmq::Socket,
        name: &str,
        runtime: &Handle,
        receiver: Arc<Receiver>,
    ) -> std::io::Result<Self> {
        let endpoint = format!("inproc://monitor/{name}");
        socket.monitor(&endpoint, WATCHED)?;
        let reports = context.socket(::zmq::PAIR)?;
        // libzmq's I/O thread blocks on a monitor that is full. The reports are few: a connection retries at most
        // once a second.
        reports.set_rcvhwm(0)?;
        reports.set_linger(0)?;
        reports.connect(&endpoint)?;
        Ok(Self { socket: Socket::new(reports, runtime, receiver, Holds::Reports)? })
    }

    /// Appends what happened, oldest first. `true` if there may be more.
    pub(super) fn read(&self, interest: Interest, events: &mut Vec<LinkEvent>) -> bool {
        let mut change = None;
        // An even number: an event is two frames, and is not to be torn.
        self.socket.read(interest, 256, |_, frame| {
            if frame.get_more() {
                change = parse_change(&frame);
            } else if let (Some(change), Some(endpoint)) = (change.take(), frame.as_str()) {
                events.push(LinkEvent { change, number: parse_number(endpoint) });
            }
            ControlFlow::Continue(())
        })
    }

    /// The socket, to be dropped.
    pub(super) fn take(&self) -> Option<::zmq::Socket> {
        self.socket.take()
    }
}

/// `tcp://HOST:PORT`, with a number for a host.
fn parse_number(endpoint: &str) -> Option<SocketAddr> {
    let address = Address::parse(endpoint).ok()?;
    Some(SocketAddr::new(address.ip()?.to_canonical(), address.port))
}

/// The first frame is the event's number and a value, both in native byte order.
fn parse_change(frame: &[u8]) -> Option<Change> {
    let (number, _) = frame.split_first_chunk::<2>()?;
    match u32::from(u16::from_ne_bytes(*number)) {
        zmq_sys::ZMQ_EVENT_HANDSHAKE_SUCCEEDED => Some(Change::Up),
        zmq_sys::ZMQ_EVENT_DISCONNECTED => Some(Change::Down),
        zmq_sys::ZMQ_EVENT_CONNECT_RETRIED => Some(Change::Retrying),
        _ => None,
    }
}
