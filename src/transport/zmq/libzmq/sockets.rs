//! How the sockets of a session are made: their options, with reasons.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;

use super::address::Address;
use super::context::Context;
use super::ffi;
use super::monitor::Monitor;
use super::receiver::{Holds, Receiver};
use super::socket::Socket;
use crate::error::{Error, ErrorKind, Result};
use crate::quiet::afterwards;
use crate::topic::MAX_TOPIC_LEN;
use crate::transport::{Locator, OpenOptions};

/// Where the own SUB finds the own XPUB, in the session's own context.
const OWN_FEED: &str = "inproc://publications";
/// How long a connection may take to greet.
const HANDSHAKE_MILLIS: i32 = 5000;

/// What every socket of a session needs to know.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) options: OpenOptions,
    pub(super) peer_timeout: Duration,
    pub(super) ipv6: bool,
    monitors: AtomicU64,
}

/// The sockets that a session has from the beginning to its end.
pub(super) struct Sockets {
    pub(super) router: Arc<Socket>,
    pub(super) publisher: Arc<Socket>,
    pub(super) subscriber: Arc<Socket>,
    pub(super) feeds: Monitor,
}

impl Setup {
    pub(super) fn new(options: OpenOptions, peer_timeout: Duration, ipv6: bool) -> Self {
        Self { options, peer_timeout, ipv6, monitors: AtomicU64::new(0) }
    }

    /// Readies the two bound sockets and the SUB.
    pub(super) fn sockets(
        &self,
        context: &Context,
        bound: Bound,
        runtime: &Handle,
        receiver: &Arc<Receiver>,
    ) -> Result<Sockets> {
        let mut subscriber = context.socket(::zmq::SUB).map_err(failed("opening a SUB"))?;
        self.common(&mut subscriber).map_err(failed("setting up a SUB"))?;
        // Subscriptions travel through this queue: one that is full loses them silently, for instance all beyond the
        // thousandth when a connection comes back. It holds nothing else, and no more than there are filters.
        subscriber.set_sndhwm(0).map_err(failed("setting up a SUB"))?;
        bound.publisher.bind(OWN_FEED).map_err(failed("binding the own feed"))?;
        let feeds = self.monitor(context, &subscriber, runtime, receiver)?;
        subscriber.connect(OWN_FEED).map_err(failed("connecting to the own feed"))?;
        let ready =
            |socket, holds| Socket::new(socket, runtime, receiver.clone(), holds).map_err(not_watched);
        Ok(Sockets {
            router: ready(bound.router, Holds::Messages)?,
            publisher: ready(bound.publisher, Holds::Reports)?,
            subscriber: ready(subscriber, Holds::Messages)?,
            feeds,
        })
    }

    /// A DEALER that is not connected yet, with the session's own locator as its routing id.
    pub(super) fn dealer(
        &self,
        context: &Context,
        local: &Locator,
        runtime: &Handle,
        receiver: &Arc<Receiver>,
    ) -> Result<(Arc<Socket>, Monitor)> {
        let mut socket = context.socket(::zmq::DEALER).map_err(failed("opening a DEALER"))?;
        self.common(&mut socket)
            .and_then(|()| socket.set_identity(local.as_str().as_bytes()))
            .map_err(failed("setting up a DEALER"))?;
        let monitor = self.monitor(context, &socket, runtime, receiver)?;
        let socket = Socket::new(socket, runtime, receiver.clone(), Holds::Messages).map_err(not_watched)?;
        Ok((socket, monitor))
    }

    fn monitor(
        &self,
        context: &Context,
        socket: &::zmq::Socket,
        runtime: &Handle,
        receiver: &Arc<Receiver>,
    ) -> Result<Monitor> {
        let name = self.monitors.fetch_add(1, Ordering::Relaxed).to_string();
        Monitor::watch(context, socket, &name, runtime, receiver.clone()).map_err(not_watched)
    }

    /// The options that all share.
    fn common(&self, socket: &mut ::zmq::Socket) -> ::zmq::Result<()> {
        let queue = i32::try_from(self.options.queue.max(1)).unwrap_or(i32::MAX);
        socket.set_sndhwm(queue)?;
        socket.set_rcvhwm(queue)?;
        socket.set_linger(0)?;
        // libzmq cuts, for good, the connection that a longer message arrives on. So this only bounds what a peer can
        // make it allocate; what is a little over the limit is dropped here, after it was received.
        let limit = self.options.max_payload.saturating_mul(2).saturating_add(MAX_TOPIC_LEN + 256);
        socket.set_maxmsgsize(i64::try_from(limit).unwrap_or(i64::MAX))?;
        socket.set_ipv6(self.ipv6)?;
        socket.set_reconnect_ivl(50)?;
        socket.set_reconnect_ivl_max(1000)?;
        // Without it a host that is gone holds an attempt for the two minutes of the system.
        socket.set_connect_timeout(3000)?;
        // Who connects and says nothing has a descriptor for so long.
        socket.set_handshake_ivl(HANDSHAKE_MILLIS)?;
        self.notice_the_dead(socket)
    }

    /// Lets the system give a connection up whose other end is silent, or does not read. Not libzmq's heartbeats: their
    /// timers abort the process when they meet a connection whose reader is too slow (libzmq issues 3937 and 4767, not fixed
    /// in any release), that of a peer's too; and a peer of ZMTP 3.0 closes its connection over them.
    fn notice_the_dead(&self, socket: &mut ::zmq::Socket) -> ::zmq::Result<()> {
        let seconds = i32::try_from(self.peer_timeout.as_secs()).unwrap_or(i32::MAX);
        socket.set_tcp_keepalive(1)?;
        socket.set_tcp_keepalive_idle((seconds / 2).max(1))?;
        socket.set_tcp_keepalive_intvl((seconds / 6).max(1))?;
        socket.set_tcp_keepalive_cnt(3)?;
        // While something is under way it is not the keepalive that counts, but how long it stays unacknowledged, or the
        // other end's window shut (Linux 5.11, and the older ones that are kept up).
        ffi::set_tcp_max_retransmit(socket, self.timeout_millis())
    }

    fn timeout_millis(&self) -> i32 {
        i32::try_from(self.peer_timeout.as_millis()).unwrap_or(i32::MAX).max(100)
    }
}

/// The two sockets that peers connect to, bound.
pub(super) struct Bound {
    pub(super) router: ::zmq::Socket,
    pub(super) publisher: ::zmq::Socket,
    pub(super) router_port: u16,
    pub(super) publish_port: u16,
}

impl Bound {
    /// Binds both, before it is known under which locator: that has the port.
    pub(super) fn bind(
        setup: &Setup,
        context: &Context,
        inbound: &Address,
        outbound: &Address,
    ) -> Result<Self> {
        let mut router = context.socket(::zmq::ROUTER).map_err(failed("opening a ROUTER"))?;
        setup
            .common(&mut router)
            // A peer that comes back under its own id takes over from its dead connection.
            .and_then(|()| router.set_router_handover(true))
            // A message that nobody can take is an error, not silence.
            .and_then(|()| router.set_router_mandatory(true))
            .map_err(failed("setting up a ROUTER"))?;
        let mut publisher = context.socket(::zmq::XPUB).map_err(failed("opening an XPUB"))?;
        setup
            .common(&mut publisher)
            .and_then(|()| ffi::set_nodrop(&mut publisher))
            // Each new subscription is reported, not only the first to a prefix.
            .and_then(|()| publisher.set_xpub_verbose(true))
            // Only subscriptions come in here: a topic and a few bytes. What a peer sends beyond its queue waits in its
            // connection, so that none has the socket taken for longer than a queue of them takes.
            .and_then(|()| publisher.set_maxmsgsize(MAX_TOPIC_LEN as i64 + 256))
            .map_err(failed("setting up an XPUB"))?;
        let router_port = bind(&router, inbound)?;
        let publish_port = bind(&publisher, outbound)?;
        Ok(Self { router, publisher, router_port, publish_port })
    }
}

/// Binds and says to which port.
fn bind(socket: &::zmq::Socket, address: &Address) -> Result<u16> {
    let endpoint = if address.port == 0 { format!("tcp://{}:*", address.host) } else { address.endpoint() };
    socket.bind(&endpoint).map_err(|e| {
        let address = endpoint.clone();
        let kind = match e {
            ::zmq::Error::EADDRINUSE => ErrorKind::AddressInUse { address },
            ::zmq::Error::EADDRNOTAVAIL | ::zmq::Error::ENODEV | ::zmq::Error::EINVAL => {
                let reason = "this machine has no such address: listen on one of its own".into();
                ErrorKind::InvalidAddress { address, reason }
            }
            ::zmq::Error::EACCES => {
                let reason = "permission denied: choose a port above 1023".into();
                ErrorKind::InvalidAddress { address, reason }
            }
            _ => ErrorKind::Transport {
                transport: "zmq+tcp",
                operation: "binding",
                reason: format!("{endpoint}: {e}"),
            },
        };
        Error::with_source(kind, e)
    })?;
    if address.port != 0 {
        return Ok(address.port);
    }
    let bound = socket.get_last_endpoint().map_err(failed("asking for the port"))?.unwrap_or_default();
    Address::parse(&bound).map(|address| address.port)
}

/// Prepares a socket for being closed, after which it may take `linger` to write what it holds.
///
/// Its monitor ends first: libzmq's I/O thread reports by a blocking send, and where the reader of the reports is gone it
/// would wait for ever, and every connection that it serves with it.
pub(super) fn retire(socket: &mut ::zmq::Socket, linger: Duration) {
    if let Err(error) = super::ffi::stop_monitor(socket) {
        afterwards(move || tracing::debug!(%error, "zmq: ending a monitor failed"));
    }
    let millis = i32::try_from(linger.as_millis()).unwrap_or(i32::MAX);
    if let Err(error) = socket.set_linger(millis) {
        afterwards(move || tracing::debug!(%error, "zmq: setting the linger time failed"));
    }
}

/// Connects to a number. A SUB of an IPv4 session is connected to IPv6 publishers, too.
pub(super) fn connect(socket: &::zmq::Socket, to: SocketAddr) -> ::zmq::Result<()> {
    // It counts for the connections that are made from now on.
    socket.set_ipv6(to.is_ipv6())?;
    socket.connect(&endpoint(to))
}

/// Ends [`connect`].
pub(super) fn disconnect(socket: &::zmq::Socket, from: SocketAddr) -> ::zmq::Result<()> {
    // libzmq compares what it makes of the text with what it had made of it.
    socket.set_ipv6(from.is_ipv6())?;
    socket.disconnect(&endpoint(from))
}

fn endpoint(number: SocketAddr) -> String {
    Address::of_number(number).endpoint()
}

/// Turns libzmq's error into ours.
pub(super) fn failed(operation: &'static str) -> impl Fn(::zmq::Error) -> Error {
    move |e| {
        let kind = ErrorKind::Transport { transport: "zmq+tcp", operation, reason: e.to_string() };
        Error::with_source(kind, e)
    }
}

fn not_watched(e: std::io::Error) -> Error {
    let kind =
        ErrorKind::Transport { transport: "zmq+tcp", operation: "watching a socket", reason: e.to_string() };
    Error::with_source(kind, e)
}
