//! ZeroMQ: sessions that reach each other without a broker.
//!
//! | socket | for |
//! |---|---|
//! | ROUTER, bound at the session's address | greetings and directed messages of peers; answers go back the same way |
//! | XPUB, bound beside it | publications; it reports each subscription that reaches it |
//! | SUB | connected to the XPUB of every peer, and to the own one inside the process |
//! | a DEALER for each peer | our side of its ROUTER; its routing id is our locator |
//!
//! A publication is one frame, `topic 0x00 payload`, so that any ZeroMQ program can subscribe to it by prefix. Directed
//! messages begin with a kind byte.
//!
//! Two [engines](Engine) speak this: libzmq, and one of our own in Rust. Sessions on either understand each other.
//!
//! A subscriber that does not read holds its publishers up: they get [`Full`](crate::transport::TrySendError::Full) or
//! wait. One that has not read at all for [`peer_timeout`](ZmqTransport::peer_timeout), with all queues full, is
//! disconnected; it comes back by itself, and what was queued for it is lost.
//!
//! Without CURVE (`ZmqTransport::curve`) peers are not authenticated: who can connect can publish
//! and subscribe. Listen on loopback, or on networks whose hosts are trusted. Two sessions that
//! claim the same locator (two hosts behind NAT that both advertise a private address) take each
//! other's answers.

pub(in crate::transport) mod address;
pub(in crate::transport) mod control;
#[cfg(feature = "zmtp")]
pub(in crate::transport) mod curve;
pub(in crate::transport) mod drops;
mod halves;
pub(in crate::transport) mod ipc;
#[cfg(feature = "zmq")]
mod libzmq;
pub(in crate::transport) mod lookup;
pub(in crate::transport) mod peer_table;
pub(in crate::transport) mod prefix;
#[cfg(feature = "zmq")]
mod room;

use std::time::Duration;

use address::{Address, invalid};
use ipc::IpcAddress;

#[cfg(feature = "zmtp")]
use super::zmtp::engine;
use super::{Capabilities, Delivery, OpenOptions, Transport};
use crate::error::Result;

use halves::{Rx, Tx};

#[cfg(feature = "zmtp")]
pub use curve::{Curve, CurveKeys, CurvePublicKey};
pub use halves::{ZmqRx, ZmqTx};

/// What speaks ZeroMQ. Sessions on different engines understand each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Engine {
    /// libzmq, by crate `zmq`: its own threads own the connections. It binds two ports. Feature `zmq`.
    #[cfg(feature = "zmq")]
    Libzmq,
    /// ZMTP in Rust on the session's own runtime: a connection is read where its messages are handed out, and written where
    /// they are published. It binds one port, unless a second is [asked for](ZmqTransport::out_port). Feature `zmtp`.
    #[cfg(feature = "zmtp")]
    Native,
}

impl Default for Engine {
    /// libzmq, where it was compiled in.
    fn default() -> Self {
        #[cfg(feature = "zmq")]
        {
            Self::Libzmq
        }
        #[cfg(not(feature = "zmq"))]
        {
            Self::Native
        }
    }
}

/// A session over ZeroMQ, described by the address that it listens on.
///
/// ```no_run
/// use ringbus::transport::{OpenOptions, Transport, TransportTx, ZmqTransport};
///
/// # async fn run() -> ringbus::Result<()> {
/// let transport = ZmqTransport::new("tcp://127.0.0.1:5556").out_port(5550);
/// let (tx, rx) = transport.open(OpenOptions::default()).await?;
/// assert_eq!(tx.local().as_str(), "zmq+tcp://127.0.0.1:5556");
/// # drop(rx);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ZmqTransport {
    listen: Listen,
    publish_at: Option<String>,
    out_port: u16,
    advertise: Option<String>,
    peer_timeout: Duration,
    engine: Option<Engine>,
    #[cfg(feature = "zmtp")]
    curve: Option<Curve>,
}

/// Where a session listens, by either kind of socket.
#[derive(Debug)]
pub(in crate::transport) enum Place {
    Tcp(Addresses),
    Ipc(IpcAddress),
}

impl Place {
    fn name(&self) -> &'static str {
        match self {
            Self::Tcp(_) => "zmq+tcp",
            Self::Ipc(_) => "zmq+ipc",
        }
    }

    /// The engine of a session that was told none.
    fn engine(&self) -> Engine {
        match self {
            Self::Tcp(_) => Engine::default(),
            #[cfg(feature = "zmtp")]
            Self::Ipc(_) => Engine::Native,
            // It refuses the address, with the reason.
            #[cfg(not(feature = "zmtp"))]
            Self::Ipc(_) => Engine::Libzmq,
        }
    }

    #[cfg(feature = "zmq")]
    fn tcp(self) -> Result<Addresses> {
        match self {
            Self::Tcp(addresses) => Ok(addresses),
            Self::Ipc(address) => {
                let reason = "the libzmq engine takes tcp://HOST:PORT alone: choose the native engine";
                Err(invalid(&address.endpoint(), reason))
            }
        }
    }
}

/// Where a session listens by TCP.
#[derive(Debug)]
pub(in crate::transport) struct Addresses {
    /// For greetings and directed messages.
    pub(in crate::transport) inbound: Address,
    /// For publications, if the user says where.
    pub(in crate::transport) outbound: Option<Address>,
    /// The host that peers are told, with no port in particular.
    pub(in crate::transport) advertised: Address,
}

#[derive(Debug, Clone)]
enum Listen {
    At(String),
    Towards(String),
}

impl ZmqTransport {
    /// Listens at `tcp://HOST:PORT` (or `zmq+tcp://HOST:PORT`) for peers; port 0 or `*` means a free one. Publications
    /// go out at the same port, with libzmq at a free one of the same host, unless [`out_port`](Self::out_port) names one.
    ///
    /// `ipc:///PATH` (or `zmq+ipc:///PATH`) listens at a Unix socket, on Linux also at the abstract name of `ipc://@NAME`,
    /// for peers of the same host: on the native engine, which such a session takes if none is named. A name has at most 107 bytes.
    /// The socket's file is removed when the session ends, and one that a dead process has left is replaced. Who may
    /// connect is up to its directory, or to the mode that the umask leaves it.
    ///
    /// The address is checked by `open`.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            listen: Listen::At(address.into()),
            publish_at: None,
            out_port: 0,
            advertise: None,
            peer_timeout: Duration::from_secs(10),
            engine: None,
            #[cfg(feature = "zmtp")]
            curve: None,
        }
    }

    /// Listens at a free port of 127.0.0.1.
    pub fn ephemeral() -> Self {
        Self::new("tcp://127.0.0.1:0")
    }

    /// Listens at a free port of the local address from which the system reaches `server`: what a client wants that
    /// knows nothing but a server's address. A host name that is unknown is looked up for five seconds; then `open` fails
    /// with [`ErrorKind::Unreachable`](crate::ErrorKind::Unreachable). Towards `ipc://NAME` it listens at a Unix socket of
    /// that name with a random end.
    pub fn towards(server: impl Into<String>) -> Self {
        Self { listen: Listen::Towards(server.into()), ..Self::ephemeral() }
    }

    /// Publishes at this address, whose host must be the one that is listened on.
    pub fn publish_at(mut self, address: impl Into<String>) -> Self {
        self.publish_at = Some(address.into());
        self
    }

    /// Publishes at this port of the host that is listened on; 0, the default, leaves it to the [`Engine`].
    pub fn out_port(mut self, port: u16) -> Self {
        self.out_port = port;
        self
    }

    /// The host that peers are told to connect to. It is needed where the session listens on all interfaces.
    pub fn advertise(mut self, host: impl Into<String>) -> Self {
        self.advertise = Some(host.into());
        self
    }

    /// How long a host may be silent, or a peer keep its queues full without reading, before the connection is given up;
    /// ten seconds by default, a tenth of a second at least. Hosts are asked in whole seconds. A process that ends is
    /// noticed at once.
    pub fn peer_timeout(mut self, timeout: Duration) -> Self {
        self.peer_timeout = timeout;
        self
    }

    /// The engine; if none is named [`Engine::default`], for `ipc://` the native one.
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = Some(engine);
        self
    }

    /// Encrypts all connections, and accepts the peers alone that prove an allowed key: those with
    /// the same [`CurveKeys`], and what [`Curve`] allows beside them. It is [`Engine::Native`]
    /// then where none is named; with libzmq `open` fails with
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
    #[cfg(feature = "zmtp")]
    pub fn curve(mut self, curve: impl Into<Curve>) -> Self {
        self.curve = Some(curve.into());
        self
    }

    /// The engine that was named, or the one that CURVE needs.
    fn chosen(&self) -> Result<Option<Engine>> {
        #[cfg(feature = "zmtp")]
        if self.curve.is_some() {
            #[cfg(feature = "zmq")]
            if self.engine == Some(Engine::Libzmq) {
                let what = "CURVE on libzmq: choose the native engine, .engine(Engine::Native)";
                return Err(crate::ErrorKind::Unsupported { transport: "zmq+tcp", what }.into());
            }
            return Ok(Some(Engine::Native));
        }
        Ok(self.engine)
    }

    async fn place(&self) -> Result<Place> {
        let ipc = match &self.listen {
            Listen::At(address) => IpcAddress::parse(address).transpose()?,
            Listen::Towards(server) => {
                IpcAddress::parse(server).transpose()?.map(|server| server.beside()).transpose()?
            }
        };
        let Some(ipc) = ipc else { return self.addresses().await.map(Place::Tcp) };
        if self.publish_at.is_some() || self.out_port != 0 || self.advertise.is_some() {
            let reason = "a Unix socket has no port and no host, and serves publications, too: \
                          leave publish_at, out_port and advertise out";
            return Err(invalid(&ipc.endpoint(), reason));
        }
        Ok(Place::Ipc(ipc))
    }

    async fn addresses(&self) -> Result<Addresses> {
        let inbound = match &self.listen {
            Listen::At(address) => Address::parse(address)?.resolve().await?,
            Listen::Towards(server) => Address::towards(&Address::parse(server)?.resolve_patiently().await?)?,
        };
        let outbound = match &self.publish_at {
            None => (self.out_port != 0).then(|| inbound.with_port(self.out_port)),
            Some(address) => {
                let outbound = Address::parse(address)?.resolve().await?;
                if outbound.host != inbound.host && !(outbound.is_unspecified() && inbound.is_unspecified()) {
                    return Err(invalid(
                        address,
                        "publications go out at the host that is listened on: name that one",
                    ));
                }
                Some(outbound)
            }
        };
        let advertised = match &self.advertise {
            Some(host) => {
                let advertised = Address { host: host.clone(), port: 0 };
                address::check_host(host).map_err(|reason| invalid(host, reason))?;
                if advertised.is_unspecified() {
                    return Err(invalid(host, "it is the address of every host: advertise one"));
                }
                advertised
            }
            None if inbound.is_unspecified() => {
                let reason = "it means all interfaces, which nobody can connect to: add .advertise(\"HOST\")";
                return Err(invalid(&inbound.endpoint(), reason));
            }
            None => inbound.clone(),
        };
        Ok(Addresses { inbound, outbound, advertised })
    }
}

impl Transport for ZmqTransport {
    type Tx = ZmqTx;
    type Rx = ZmqRx;

    async fn open(self, options: OpenOptions) -> Result<(ZmqTx, ZmqRx)> {
        let engine = self.chosen()?;
        let place = self.place().await?;
        let capabilities = Capabilities {
            name: place.name(),
            max_payload: options.max_payload,
            brokered: false,
            delivery: Delivery::Queued,
            native_directed: true,
            retained: false,
            last_will: false,
            confirmed_subscriptions: false,
            interest: true,
        };
        match engine.unwrap_or_else(|| place.engine()) {
            #[cfg(feature = "zmq")]
            Engine::Libzmq => {
                let (tx, rx) = libzmq::open(place.tcp()?, self.peer_timeout, capabilities, options)?;
                Ok((ZmqTx(Tx::Libzmq(tx)), ZmqRx(Rx::Libzmq(rx))))
            }
            #[cfg(feature = "zmtp")]
            Engine::Native => {
                let (tx, rx) =
                    engine::open(place, self.peer_timeout, capabilities, options, self.curve).await?;
                Ok((ZmqTx(Tx::Native(tx)), ZmqRx(Rx::Native(rx))))
            }
        }
    }
}
