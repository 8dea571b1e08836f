//! The options that choose a transport at run time, and the session that they open.

#[cfg(feature = "mqtt")]
mod mqtt;
#[cfg(feature = "zmq")]
mod zmq;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Result, anyhow};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use ringbus::transport::{BoxTransport, Locator};
use ringbus::{Dht, Session, SessionOptions};
use tokio::time::{Instant, timeout_at};

use crate::engine::Engine;
use crate::failure::Usage;
use crate::hints::{self, patiently};

/// How long goodbyes may take when a session is closed.
const GOODBYE: Duration = Duration::from_secs(2);
/// And at least when time is up: long enough for those who are there.
const BRIEF_GOODBYE: Duration = Duration::from_millis(100);

/// A session over whichever transport was chosen.
pub(crate) type AnySession = Session<BoxTransport>;

/// The transports that this program was built with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Brokerless ZeroMQ.
    #[cfg(feature = "zmq")]
    Zmq,
    /// Any MQTT broker.
    #[cfg(feature = "mqtt")]
    Mqtt,
}

/// Which transport, and where.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Options {
    /// How to talk: zmq connects the programs to each other, mqtt goes through a broker [default: zmq]
    #[arg(long, value_name = "TRANSPORT", value_parser = kinds())]
    transport: Option<Kind>,

    /// zmq: listen at this address, or at a Unix socket: ipc:///PATH, ipc://@NAME [default: 127.0.0.1:5556 for a node,
    /// otherwise a free port of the host from which the others are reached, or a socket beside theirs]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,

    /// zmq: publish at this port of the same host [default: 5550 beside port 5556, otherwise a free one; with the native
    /// engine the port that is listened on]
    #[arg(long, value_name = "PORT")]
    out_port: Option<u16>,

    /// zmq: what speaks ZeroMQ; programs on different engines understand each other [default: libzmq; native
    /// where an address is ipc://...]
    #[arg(long, value_name = "ENGINE")]
    engine: Option<Engine>,

    /// zmq: tell others to connect to this host; needed with --listen '*:PORT'
    #[arg(long, value_name = "HOST")]
    advertise: Option<String>,

    /// zmq: encrypt with this key, and accept the programs alone that have the same one; 'ringbus keygen' makes it. Goes with
    /// --engine native, which is the default beside it
    #[arg(long, value_name = "FILE")]
    curve_key: Option<PathBuf>,

    /// zmq: accept these public keys, too: lines KEY, or KEY HOST:PORT for a program that is connected to
    #[arg(long, value_name = "FILE", requires = "curve_key")]
    allow: Option<PathBuf>,

    /// mqtt: the broker [default: what the environment says in BROKER, or mqtt://127.0.0.1:1883]
    #[arg(long, value_name = "URL")]
    broker: Option<Url>,

    /// mqtt: the largest packet that the broker takes, 2048 to 268435460 bytes: larger frames go in fragments [default: no
    /// limit, or what the broker is found to refuse]
    #[arg(long, value_name = "BYTES")]
    max_packet: Option<usize>,

    /// mqtt: the user at the broker [default: that of mqtt://USER:PASSWORD@HOST, percent-encoded, or RINGBUS_USER of the
    /// environment]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// mqtt: the user's password is the first line of this file [default: that of the address, or RINGBUS_PASSWORD of the
    /// environment]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// An address that may hold a password.
#[derive(Clone)]
pub(crate) struct Url(String);

impl FromStr for Url {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Everything up to the last '@' may be secret.
        f.write_str(self.0.rsplit_once('@').map_or(&self.0, |(_, host)| host))
    }
}

/// What a subcommand knows about the session that it wants.
#[derive(Debug, Clone, Copy, Default)]
#[cfg_attr(
    not(all(feature = "zmq", feature = "mqtt")),
    allow(dead_code, reason = "each transport takes what concerns it")
)]
pub(crate) struct Endpoint<'a> {
    /// The name at an MQTT broker.
    pub(crate) name: Option<&'a str>,
    /// Where ZeroMQ listens if nothing else was asked for.
    pub(crate) listen: Option<&'a str>,
    /// Whom the session is going to talk to.
    pub(crate) towards: &'a [Locator],
    /// What an MQTT broker publishes should this session die: a topic and a payload.
    pub(crate) will: Option<(&'a str, &'a str)>,
    /// For how long to look for a broker at most.
    pub(crate) patience: Option<Duration>,
}

/// Who else is there; for programs that publish or subscribe.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Client {
    #[command(flatten)]
    options: Options,

    /// Find the others through a ring: any of its nodes, as HOST:PORT or ipc:///PATH (zmq), or by name (mqtt)
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    node: Vec<String>,

    /// zmq: connect to this program without any ring; it was started with --listen HOST:PORT, or with
    /// --listen ipc:///PATH
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    peer: Vec<String>,

    /// mqtt: this session's name at the broker [default: a random one]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// A session, and its access to a ring if there is one.
pub(crate) struct Link {
    pub(crate) session: AnySession,
    pub(crate) dht: Option<Dht<BoxTransport>>,
    /// The nodes that were named; for messages.
    nodes: String,
}

impl Options {
    /// The transport to use.
    ///
    /// # Errors
    /// [`Usage`] if the program was built without any, or if options of another one were given.
    pub(crate) fn kind(&self) -> Result<Kind, Usage> {
        let kind = self.transport.or_else(Kind::first).ok_or_else(|| {
            Usage::new("this ringbus was built without a transport: build it with --features zmq or mqtt")
        })?;
        match kind.foreign(self).into_iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(Usage::new(format!(
                "{option} does not go with --transport {}: leave it out, or choose another --transport",
                kind.name()
            ))),
            None => Ok(kind),
        }
    }

    /// Opens a session.
    ///
    /// # Errors
    /// [`Usage`] and the transport's: an address in use, a broker that is not there.
    pub(crate) async fn open(&self, endpoint: Endpoint<'_>) -> Result<AnySession> {
        let kind = self.kind()?;
        let transport = kind.transport(self, endpoint)?;
        let mut options = SessionOptions::default();
        if let Some(patience) = endpoint.patience {
            options.transport.connect_timeout = options.transport.connect_timeout.min(patience);
        }
        let opened = Session::open_with(transport, options);
        if !kind.is_brokered() {
            return Ok(opened.await?);
        }
        let broker = kind.whereabouts(self, &[]);
        Ok(patiently(|| format!("nobody answers at {broker} yet"), opened).await?)
    }

    /// Says from now on who does not answer or is back.
    pub(crate) fn follow(&self, session: &AnySession, peers: &[Locator], plain: bool) -> Result<(), Usage> {
        let kind = self.kind()?;
        let broker = kind.is_brokered().then(|| kind.whereabouts(self, &[]));
        hints::follow(session, peers, broker, plain);
        Ok(())
    }
}

impl Client {
    /// Opens a session and gets to know everybody who was named.
    ///
    /// # Errors
    /// As for [`Options::open`]; [`Usage`] for addresses that make no sense.
    pub(crate) async fn open(&self, patience: Option<Duration>, plain: bool) -> Result<Link> {
        let kind = self.options.kind()?;
        let nodes = kind.locators(&self.node)?;
        let peers = kind.peers(self)?;
        let towards = [&nodes[..], &peers[..]].concat();
        let name = self.name.as_deref();
        let endpoint = Endpoint { name, towards: &towards, patience, ..Endpoint::default() };
        let session = self.options.open(endpoint).await?;
        self.options.follow(&session, &peers, plain)?;
        for peer in &peers {
            session.attach(peer).await?;
        }
        let dht = (!nodes.is_empty()).then(|| session.dht(nodes));
        Ok(Link { session, dht, nodes: self.node.join(", ") })
    }

    /// Whether a ring was named.
    pub(crate) fn has_ring(&self) -> bool {
        !self.node.is_empty()
    }
}

impl Link {
    /// Waits for a publisher or subscriber to be built and, where there is a ring, registered with it.
    ///
    /// # Errors
    /// The library's; that no node has answered by the deadline.
    pub(crate) async fn registered<B>(
        &self,
        deadline: Option<Instant>,
        built: impl Future<Output = ringbus::Result<B>>,
    ) -> Result<B> {
        if self.dht.is_none() {
            return Ok(built.await?);
        }
        let (nodes, begun) = (&self.nodes, Instant::now());
        let built = patiently(|| format!("no answer from {nodes} yet"), built);
        match deadline {
            None => Ok(built.await?),
            Some(deadline) => timeout_at(deadline, built)
                .await
                .map_err(|_| {
                    let after = begun.elapsed();
                    anyhow!("no answer from {nodes} within {after:.1?}: is a ring node running there?")
                })?
                .map_err(Into::into),
        }
    }

    /// Says goodbye, by the deadline if there is one. Returns how many messages the transport could not deliver.
    pub(crate) async fn close(self, deadline: Option<Instant>) -> Result<usize> {
        let left = deadline.map_or(GOODBYE, |at| at.saturating_duration_since(Instant::now()));
        Ok(self.session.close(left.clamp(BRIEF_GOODBYE, GOODBYE)).await?.messages)
    }
}

#[cfg_attr(
    not(all(feature = "zmq", feature = "mqtt")),
    allow(unused_variables, reason = "each transport takes what concerns it")
)]
impl Kind {
    /// Reads what a user calls a node: its locator, or the part that distinguishes it.
    pub(crate) fn locators(self, texts: &[String]) -> Result<Vec<Locator>> {
        texts.iter().map(|text| self.locator(text)).collect()
    }

    fn locator(self, text: &str) -> Result<Locator> {
        match self {
            #[cfg(feature = "zmq")]
            Self::Zmq => zmq::locator(text),
            #[cfg(feature = "mqtt")]
            Self::Mqtt => mqtt::locator(text),
        }
    }

    /// Whom a member or a client of a successor ring connects to. A broker makes this needless: naming somebody all the
    /// same is a misunderstanding, of which the user should know.
    pub(crate) fn successor_seeds(self, option: &str, texts: &[String]) -> Result<Vec<Locator>> {
        if self.is_brokered() && !texts.is_empty() {
            return Err(Usage::new(format!(
                "{option} does not go with --transport {} and a successor ring: sharing the broker is enough",
                self.name()
            ))
            .into());
        }
        self.locators(texts)
    }

    /// Whether all go through a broker.
    pub(crate) fn is_brokered(self) -> bool {
        match self {
            #[cfg(feature = "zmq")]
            Self::Zmq => false,
            #[cfg(feature = "mqtt")]
            Self::Mqtt => true,
        }
    }

    /// Where a session that was told to ask these nodes looks for an answer; for error messages.
    pub(crate) fn whereabouts(self, options: &Options, nodes: &[String]) -> String {
        match self {
            #[cfg(feature = "zmq")]
            Self::Zmq => nodes.join(", "),
            #[cfg(feature = "mqtt")]
            Self::Mqtt => ringbus::transport::mqtt::redacted_url(&mqtt::broker(options)),
        }
    }

    /// Whom to connect to without a ring.
    fn peers(self, client: &Client) -> Result<Vec<Locator>> {
        match self {
            #[cfg(feature = "zmq")]
            Self::Zmq => zmq::peers(client),
            #[cfg(feature = "mqtt")]
            Self::Mqtt => mqtt::peers(client),
        }
    }

    fn transport(self, options: &Options, endpoint: Endpoint<'_>) -> Result<BoxTransport> {
        match self {
            #[cfg(feature = "zmq")]
            Self::Zmq => Ok(BoxTransport::new(zmq::transport(options, endpoint)?)),
            #[cfg(feature = "mqtt")]
            Self::Mqtt => Ok(BoxTransport::new(mqtt::transport(options, endpoint)?)),
        }
    }

    /// The options that belong to another transport, and whether they were given.
    fn foreign(self, options: &Options) -> Vec<(&'static str, bool)> {
        match self {
            #[cfg(feature = "zmq")]
            Self::Zmq => zmq::foreign(options),
            #[cfg(feature = "mqtt")]
            Self::Mqtt => mqtt::foreign(options),
        }
    }

    fn first() -> Option<Self> {
        ["zmq", "mqtt"].into_iter().find_map(|name| Self::built_in(name).ok())
    }

    fn built_in(name: &str) -> Result<Self, String> {
        match name {
            #[cfg(feature = "zmq")]
            "zmq" => Ok(Self::Zmq),
            #[cfg(feature = "mqtt")]
            "mqtt" => Ok(Self::Mqtt),
            name => Err(format!("this ringbus was built without {name}: build it with --features {name}")),
        }
    }

    fn name(self) -> &'static str {
        match self {
            #[cfg(feature = "zmq")]
            Self::Zmq => "zmq",
            #[cfg(feature = "mqtt")]
            Self::Mqtt => "mqtt",
        }
    }
}

/// Help shows what is built in; what is not is known all the same, so that the error can say so.
fn kinds() -> impl TypedValueParser<Value = Kind> {
    let zmq = PossibleValue::new("zmq").hide(!cfg!(feature = "zmq"));
    let mqtt = PossibleValue::new("mqtt").hide(!cfg!(feature = "mqtt"));
    PossibleValuesParser::new([zmq, mqtt]).try_map(|name| Kind::built_in(&name))
}

/// An address as it may be shown where it is refused: what stands before an `@` may be a user and a password.
#[cfg_attr(
    not(any(feature = "zmq", feature = "mqtt")),
    allow(dead_code, reason = "a transport's addresses are read")
)]
fn shown(address: &str) -> &str {
    address.rfind('@').map_or(address, |at| &address[at..])
}

#[cfg(all(test, feature = "zmq", feature = "mqtt"))]
mod tests {
    use super::*;

    #[test]
    fn no_refused_address_shows_a_password() {
        let refused = [
            (Kind::Zmq, "mqtt://user:s3cret@host:1883"),
            (Kind::Zmq, "user:s3cret@host:port"),
            (Kind::Zmq, "tcp://user:s3cret@host:0"),
            (Kind::Mqtt, "mqtt://user:s3cret@host:1883"),
            (Kind::Mqtt, "tcp://user:s3cret@host"),
        ];
        for (kind, address) in refused {
            let error = kind.locator(address).unwrap_err();
            let shown = format!("{error:#} {error:?}");
            assert!(shown.contains("@host") && !shown.contains("s3cret"), "{shown}");
        }
    }
}
