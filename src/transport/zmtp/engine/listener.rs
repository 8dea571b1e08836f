//! The ports that peers connect to.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use super::super::SocketType;
use super::connect::is_want_of_descriptors;
use super::connection;
use super::endpoint::{Caller, Endpoint};
use super::handshake::{Met, handshake};
use super::role::{self, Role};
use super::session::Session;
use super::stream::Stream;
use crate::error::{Error, ErrorKind, Result};
use crate::quiet::afterwards;
use crate::transport::Locator;
use crate::transport::zmq::address::Address;
use crate::transport::zmq::drops::dropped;
use crate::transport::zmq::ipc::IpcAddress;

/// After a connection could not be accepted the next one is tried after this.
const PAUSE: Duration = Duration::from_millis(100);
/// So many connections of peers are served.
const MOST: usize = 16_384;

/// A port, or a Unix socket.
#[derive(Debug)]
pub(super) enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    #[cfg(unix)]
    Ipc(super::unix::Port),
}

impl Listener {
    /// Binds, to a free port if that of the address is 0.
    ///
    /// # Errors
    /// [`AddressInUse`](ErrorKind::AddressInUse), [`InvalidAddress`](ErrorKind::InvalidAddress), or the system's own.
    pub(super) async fn bind_tcp(address: &Address) -> Result<(Self, u16)> {
        let host = match (address.host.as_str(), address.ip()) {
            ("*", _) => "0.0.0.0".to_owned(),
            (_, Some(ip)) => ip.to_string(),
            (host, None) => host.to_owned(),
        };
        let bound = async {
            let listener = TcpListener::bind((host.as_str(), address.port)).await?;
            let port = listener.local_addr()?.port();
            Ok((Self::Tcp(listener), port))
        };
        bound.await.map_err(|error: io::Error| failed(address.endpoint(), error))
    }

    /// Binds a Unix socket.
    ///
    /// # Errors
    /// As for [`bind_tcp`](Self::bind_tcp).
    #[cfg(unix)]
    pub(super) async fn bind_ipc(address: &IpcAddress) -> Result<Self> {
        super::unix::bind(address).await.map(Self::Ipc)
    }

    /// There is none here.
    #[cfg(not(unix))]
    pub(super) async fn bind_ipc(address: &IpcAddress) -> Result<Self> {
        let reason = "this system has no Unix sockets: write tcp://HOST:PORT".into();
        Err(ErrorKind::InvalidAddress { address: address.endpoint(), reason }.into())
    }

    /// Waits for a connection. Cancel-safe.
    async fn accept(&self) -> io::Result<(Stream, Caller)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                let ip = from.ip().to_canonical();
                let is_own = |local: std::net::SocketAddr| local.ip().to_canonical() == ip;
                let is_local = ip.is_loopback() || stream.local_addr().is_ok_and(is_own);
                Ok((Stream::Tcp(stream), Caller { address: Some(from), is_local }))
            }
            #[cfg(unix)]
            Self::Ipc(port) => {
                Ok((Stream::Unix(port.accept().await?), Caller { address: None, is_local: true }))
            }
        }
    }
}

fn failed(address: String, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::AddrInUse => ErrorKind::AddressInUse { address },
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::InvalidInput => {
            let reason = "this machine has no such address: listen on one of its own".into();
            ErrorKind::InvalidAddress { address, reason }
        }
        io::ErrorKind::PermissionDenied => {
            let reason = "permission denied: choose a port above 1023".into();
            ErrorKind::InvalidAddress { address, reason }
        }
        _ => ErrorKind::Transport {
            transport: "zmq+tcp",
            operation: "binding",
            reason: format!("{address}: {error}"),
        },
    };
    Error::with_source(kind, error)
}

/// Accepts connections until the session is closed.
pub(super) async fn accept(session: Arc<Session>, listener: Listener) {
    let mut is_short = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = session.closing() => return,
        };
        match accepted {
            Ok((stream, from)) => {
                is_short = false;
                welcome(&session, stream, from);
            }
            // The connection that waits stays readable: without a pause this would spin.
            Err(error) => {
                if is_want_of_descriptors(&error) && !is_short {
                    is_short = true;
                    tracing::warn!(%error, "zmq: no file descriptor is left for a peer that connects");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Serves a connection in a task of its own, if there is room.
fn welcome(session: &Arc<Session>, stream: Stream, from: Caller) {
    if session.accepted().len() >= MOST {
        return dropped("too many connections", &from);
    }
    let (place, given_up) = session.half_open.enter(session.next_number());
    let serving = session.clone();
    session.spawn(async move {
        let session = serving;
        let config = role::answering(&session);
        let met = tokio::select! {
            met = handshake(stream, &config, session.peer_timeout) => met,
            () = session.closing() => return,
            _ = given_up => return dropped("too many connections that do not greet", &from),
        };
        session.half_open.leave(place);
        match met {
            Ok(met) => serve(&session, met, from).await,
            Err(error) => {
                afterwards(move || tracing::debug!(%error, %from, "zmq: a connection does not greet"));
            }
        }
    });
}

/// Serves a peer that has greeted until its connection ends.
async fn serve(session: &Arc<Session>, met: Met, from: Caller) {
    let number = session.next_number();
    let outgoing = session.outgoing();
    let role = match met.established.socket_type {
        SocketType::Xpub => Role::Subscriber,
        _ => Role::Router(locator(&met.established.peer.identity).filter(|locator| from.may_be(locator))),
    };
    if let Role::Router(Some(peer)) = &role
        && !session.access.enter(peer, number, met.established.peer.client_key)
    {
        return dropped("a name that belongs to another key", peer);
    }
    session.accepted().insert(number, outgoing.clone());
    let _left = Left { session, number, role: &role };
    match &role {
        Role::Subscriber => session.audiences.join(number, outgoing.clone()),
        Role::Router(Some(peer)) => session.on_router_up(peer, number, &outgoing),
        _ => {}
    }
    connection::run(session, met, outgoing, role.clone(), number, Vec::new()).await;
}

/// The locator that a peer has for its routing id; `None` for a stranger.
fn locator(identity: &[u8]) -> Option<Locator> {
    let locator = Locator::new(std::str::from_utf8(identity).ok()?).ok()?;
    Endpoint::of_peer(&locator).is_ok().then_some(locator)
}

/// Notes that a connection is over, also if its task is dropped.
struct Left<'a> {
    session: &'a Arc<Session>,
    number: u64,
    role: &'a Role,
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        let outgoing = self.session.accepted().remove(&self.number);
        match self.role {
            Role::Subscriber => self.session.audiences.leave(self.number),
            Role::Router(Some(peer)) => {
                self.session.access.leave(peer, self.number);
                self.session.on_router_down(peer, self.number);
            }
            _ => {}
        }
        if let Some(outgoing) = outgoing {
            outgoing.close();
        }
    }
}
