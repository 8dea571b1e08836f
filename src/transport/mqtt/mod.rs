//! MQTT 3.1.1 through any broker.
//!
//! A topic is a PUBLISH topic and the payload travels bare, so that programs which know nothing of this library take
//! part. Messages are sent with QoS 0, 1 or 2, as their [`Guarantee`](super::Guarantee) says. A directed message goes to the receiver's inbox
//! topic, `@ringbus/inbox/NAME`, with the sender's name in front; a session announces itself with a retained message on
//! `@ringbus/presence/NAME`, which its last will clears, unless it has [another will](MqttTransport::last_will). Sessions that
//! hear it answer to its inbox, for brokers that do not bring retained messages. All of this is below
//! [another level](MqttTransport::reserved_level) where one was chosen. Names are client ids; nothing proves them: whoever may publish
//! at the broker can claim any.
//!
//! # What it does beyond the trait
//! - A message arrives once, however many of the session's filters match: the broker is given filters that do not
//!   overlap. `a/+` with `+/b` becomes `+/+` there, and what that brings beyond the two is filtered out here: filters
//!   that cross near their first level cost bandwidth. While such filters come and go, a retained message may be handed
//!   out again.
//! - Messages handed over as reliable are repeated, in order and as often as needed, until the broker has acknowledged
//!   them; a reconnect may thus bring one twice, those with QoS 2 only in the case [below](#exactly-once). The others that were being written when a connection broke are counted
//!   in `ringbus_mqtt_dropped_total{cause="disconnected"}`. While there is no connection, messages wait in the queue.
//! - What waits is bounded in bytes, too: half a MiB (16 messages) in the queue and a quarter to be written while there
//!   is a connection, a MiB and [`OpenOptions::queue`] while there is none, 8 MiB unacknowledged; one message always
//!   goes, however large. A busy connection thus says early that it is full, and publishers make larger batches.
//! - TCP_NODELAY is on here, since each write is all that there is to send. A broker that leaves it off (Mosquitto does
//!   by default) holds a small packet back until the one before is acknowledged. On Linux that is done at once
//!   (TCP_QUICKACK); elsewhere a lone QoS 1 message waits for up to 40 ms unless it is turned on there as well
//!   (Mosquitto: `set_tcp_nodelay true`).
//! - Subscriptions have QoS 2, those to the library's own topics QoS 1: a broker delivers with that or with what a message
//!   was published with, whichever is less. (rumqttd does not: there every message comes with the subscription's.)
//! - A slow reader stops the reading from the broker, not the keep-alive.
//! - The broker counts as alive as long as whole packets come from it, or a large one at 128 KiB a second at least.
//! - A broker may have a lower limit for messages than [`OpenOptions::max_payload`], which MQTT 3.1.1 cannot ask for.
//!   Frames over it go in fragments, if it is [set](MqttTransport::max_packet), or was found out because the broker closes
//!   the connection over them.
//! - A message over which the broker closes the connection again and again is given up, and told by
//!   [`Event::Refused`](super::Event::Refused): everything else goes on. So is a subscription.
//! - Two sessions with one client id throw each other out of the broker. They notice after a few times, by what each leaves
//!   there for the other: the younger one ends ([`Event::NameTaken`](super::Event::NameTaken),
//!   [`ErrorKind::NameTaken`]), and the older one stays and says so once.
//!
//! # Exactly once
//! Frames are never sent with QoS 2: their numbers already drop second copies, and the handshake would double the packets. It
//! is for messages without numbers, those of [plain](crate::pubsub::PublisherBuilder::plain) publishers.
//!
//! As long as the connection lasts, a message with QoS 2 comes to the broker once: PUBLISH, PUBREC, PUBREL, PUBCOMP. Sessions
//! are clean, so with the connection the broker forgets every handshake. What was not acknowledged is then sent again, in
//! order, as new messages:
//! - If PUBREL was not sent, the broker has not passed the message on: nothing comes twice. (Mosquitto and rumqttd do it that
//!   way, method A of the standard. A broker may also pass on what it has not been asked to release, and there it comes twice.)
//! - If PUBREL was sent and PUBCOMP has not come, it is open whether the broker has passed the message on. It is sent again all
//!   the same: it is never lost, and it may come twice.
//!
//! What a broker sends with QoS 2 is handed out once, however often it repeats it before its PUBREL. With the next connection
//! the broker begins anew; what it passed on meanwhile is lost, as with every QoS.
//!
//! At most 16 messages with QoS 2 are unacknowledged, and what is behind them waits. Mosquitto drops, and acknowledges all
//! the same, what is over its `max_inflight_messages`: leave that at its 20, make it more, or 0; with 16 or less plain
//! publishers lose values unless they publish [at least once](crate::pubsub::PublisherBuilder::at_least_once).
//!
//! A broker without QoS 2 (RabbitMQ, NATS, Mosquitto with `max_qos 1`) says so when it grants a subscription. Each connection
//! begins with one that asks for QoS 2, and nothing is published before its answer. Where less is granted, messages are sent
//! with that, which is logged once as a warning; a PUBACK ends a message with QoS 2, too. A message that the broker has read,
//! as its answer to a later ping shows, and has not acknowledged 15 seconds after that is given up.

mod address;
mod alive;
mod answers;
mod backlog;
mod backoff;
#[cfg(feature = "embedded-broker")]
mod broker;
mod buffers;
mod claims;
mod connection;
mod decode;
mod denial;
mod event_loop;
mod halves;
mod inbox;
mod incoming;
mod level;
mod opening;
mod outgoing;
mod overlap;
mod packets;
mod presence;
mod proof;
mod quality;
mod queue;
mod reassembly;
mod receipts;
mod received;
mod refusal;
mod refusals;
mod rx;
mod sending;
mod subscribing;
mod subscriptions;
mod suspicion;
mod tx;
mod unproven;
mod window;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::{Connect, LastWill, Login, Publish, QoS};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use self::address::BrokerAddress;
#[cfg(feature = "embedded-broker")]
pub use self::broker::EmbeddedBroker;
use self::denial::Denial;
use self::event_loop::{Channels, EventLoop, Settings};
use self::level::Level;
use self::opening::{Hello, connect, unreachable};
use self::packets::Packets;
use self::presence::Presence;
use self::proof::Proof;
use self::refusals::Refusals;
pub use self::rx::MqttRx;
use self::subscribing::Subscribing;
pub use self::tx::MqttTx;
use self::tx::Shared;
use self::window::Window;
use crate::error::{ErrorKind, Result};
use crate::text::redacted;
use crate::topic::{MAX_TOPIC_LEN, Topic, TopicFilter};
use crate::transport::{Capabilities, Delivery, OpenOptions, Transport};

/// The longest remaining length that an MQTT packet can state, in bytes.
const MAX_REMAINING_LEN: usize = 268_435_455;

/// What a PUBLISH may have beside its payload, in bytes: topic, its length, packet id, the name in a directed message.
const PACKET_OVERHEAD: usize = MAX_TOPIC_LEN + 2 + 2 + inbox::MAX_OVERHEAD;

/// The longest last will, in bytes: its length is two bytes in MQTT.
const MAX_WILL_LEN: usize = u16::MAX as usize;

/// A session at an MQTT broker, to be.
///
/// ```no_run
/// use ringbus::transport::{MqttTransport, OpenOptions, Transport};
/// # async fn example() -> ringbus::Result<()> {
/// let transport = MqttTransport::new("mqtt://127.0.0.1:1883").client_id("node-7");
/// let (tx, rx) = transport.open(OpenOptions::default()).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MqttTransport {
    url: String,
    client_id: String,
    keep_alive: Duration,
    credentials: Option<Login>,
    will: Option<Will>,
    reserved_level: Option<String>,
    max_packet: Option<usize>,
}

/// What the broker publishes if the session dies.
#[derive(Debug, Clone)]
struct Will {
    topic: String,
    payload: Bytes,
}

impl MqttTransport {
    /// A session at the broker `mqtt://[USER[:PASSWORD]@]HOST[:PORT]` (or `tcp://`), port 1883 if none is given, under a
    /// random client id. User and password are percent-encoded, as in every URL: `%40` for an `@`. They are shown nowhere, in
    /// no error either. Mistakes in the address are reported by [`open`](Transport::open).
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            client_id: random_name(),
            keep_alive: Duration::from_secs(5),
            credentials: None,
            will: None,
            reserved_level: None,
            max_packet: None,
        }
    }

    /// The session's name at the broker: its locator is `mqtt:` and this. 1 to 128 visible ASCII characters other than
    /// `/`, `+` and `#`; each session needs its own.
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = id.into();
        self
    }

    /// How long either side may be silent before the other takes it for dead, in whole seconds from 1 to 65,535
    /// (rounded up); five by default. Brokers wait half as long again, or longer: Mosquitto and RabbitMQ up to three times.
    pub fn keep_alive(mut self, keep_alive: Duration) -> Self {
        self.keep_alive = keep_alive;
        self
    }

    /// A user name and password, instead of those in the address. They travel in clear text.
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Some(Login::new(user, password));
        self
    }

    /// What the broker publishes, with QoS 1 and not retained, if the session ends without a goodbye: its process or its
    /// host died, or it was dropped rather than closed. It is also published, at once, when a lost connection is noticed
    /// by the broker, though the session then comes back. The payload has at most 65,535 bytes.
    ///
    /// MQTT knows one will for each connection, and the library uses it to take the session's presence announcement
    /// back. So a session with a will of its own does not announce its presence: peers get neither
    /// [`PeerUp`](crate::transport::Event::PeerUp) nor [`PeerDown`](crate::transport::Event::PeerDown) for it, its
    /// [`Capabilities::last_will`] is `false`, and another session under its client id is not noticed. Everything else
    /// works, its inbox included.
    pub fn last_will(mut self, topic: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        self.will = Some(Will { topic: topic.into(), payload: payload.into() });
        self
    }

    /// The first level of the library's own topics at the broker, `@ringbus` if not called: one level of 1 to 64 letters,
    /// digits, `-`, `_` and `@`. It is for brokers that lose what begins with `@`, and for rings that share one and are not to
    /// hear each other: sessions with different levels have different inboxes, do not see each other and do not match.
    ///
    /// User topics must not begin with it: they are refused as those below `@ringbus` are.
    pub fn reserved_level(mut self, level: impl Into<String>) -> Self {
        self.reserved_level = Some(level.into());
        self
    }

    /// The largest packet that the broker takes, in bytes, topic and header included: 2,048 to 268,435,460; no limit if
    /// not called. Set what the broker has, less a few bytes for each
    /// header (Mosquitto's `max_packet_size` is the packet, its `message_size_limit` the payload). Frames over it go in
    /// fragments, which other sessions put together again. Plain messages cannot be split: those over it are refused with
    /// [`ErrorKind::PayloadTooLarge`].
    ///
    /// Without it a limit is found out where the broker closes the connection over a large frame; not where it
    /// acknowledges the frame and drops it.
    ///
    /// [`open`](Transport::open) reports a number out of range.
    pub fn max_packet(mut self, bytes: usize) -> Self {
        self.max_packet = Some(bytes);
        self
    }

    fn check_max_packet(&self) -> Result<()> {
        let allowed = packets::SMALLEST..=packets::LARGEST;
        match self.max_packet {
            Some(bytes) if !allowed.contains(&bytes) => Err(ErrorKind::InvalidArgument {
                what: "max_packet",
                value: bytes.to_string(),
                reason: format!("use {} to {} bytes", packets::SMALLEST, packets::LARGEST),
            }
            .into()),
            _ => Ok(()),
        }
    }

    fn keep_alive_secs(&self) -> Result<u16> {
        let rounded_up = self.keep_alive.as_secs() + u64::from(self.keep_alive.subsec_nanos() > 0);
        match u16::try_from(rounded_up) {
            Ok(secs) if secs > 0 => Ok(secs),
            _ => Err(ErrorKind::InvalidArgument {
                what: "MQTT keep-alive",
                value: format!("{:?}", self.keep_alive),
                reason: "use 1 to 65535 seconds".into(),
            }
            .into()),
        }
    }

    fn check_will(&self) -> Result<()> {
        let Some(Will { topic, payload }) = &self.will else { return Ok(()) };
        tx::check_topic(&Topic::new(topic)?)?;
        let size = payload.len();
        if size > MAX_WILL_LEN {
            return Err(ErrorKind::PayloadTooLarge { size, limit: MAX_WILL_LEN }.into());
        }
        Ok(())
    }

    fn hello(&self, level: &Level, keep_alive: u16, of_the_address: Option<Login>) -> Hello {
        let last_will = match &self.will {
            Some(Will { topic, payload }) => LastWill {
                topic: topic.clone(),
                message: payload.clone(),
                qos: QoS::AtLeastOnce,
                retain: false,
            },
            None => LastWill::new(presence::topic(level, &self.client_id), "", QoS::AtLeastOnce, true),
        };
        Hello(Connect {
            keep_alive,
            last_will: Some(last_will),
            login: self.credentials.clone().or(of_the_address),
            ..Connect::new(&self.client_id)
        })
    }
}

impl fmt::Debug for MqttTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Passwords do not belong into logs.
        f.debug_struct("MqttTransport")
            .field("url", &redacted(&self.url))
            .field("client_id", &self.client_id)
            .field("keep_alive", &self.keep_alive)
            .finish_non_exhaustive()
    }
}

impl Transport for MqttTransport {
    type Tx = MqttTx;
    type Rx = MqttRx;

    /// Proves that the session's inbox works before it returns, by a message to itself: one round trip to the broker more.
    ///
    /// Waits for a broker that is not there, or whose name cannot be looked up, yet, up to
    /// [`OpenOptions::connect_timeout`]. Each of the name's addresses is tried, with its share of that time.
    ///
    /// # Errors
    /// Those of the trait, [`ErrorKind::Denied`] if the broker refuses the credentials, [`ErrorKind::Transport`] if it
    /// refuses the connection for another reason or the session's own subscriptions, or if its inbox
    /// does not work under this name, [`ErrorKind::InvalidArgument`] for the client id, the keep-alive or the packet limit, [`ErrorKind::InvalidTopic`] or
    /// [`ErrorKind::PayloadTooLarge`] for the last will.
    async fn open(self, options: OpenOptions) -> Result<(MqttTx, MqttRx)> {
        let deadline = Instant::now() + options.connect_timeout;
        let (broker, login) = BrokerAddress::parse(&self.url)?;
        let locator = address::locator(&self.client_id)?;
        let keep_alive = self.keep_alive_secs()?;
        let level = self.reserved_level.as_deref().map_or(Ok(Level::default()), Level::new)?;
        self.check_will()?;
        self.check_max_packet()?;
        let announces = self.will.is_none();
        let max_payload = options.max_payload.min(MAX_REMAINING_LEN - PACKET_OVERHEAD);
        let nonce = Bytes::from(format!("{:016x}", rand::random::<u64>()));
        let settings = Settings {
            hello: self.hello(&level, keep_alive, login),
            keep_alive: Duration::from_secs(keep_alive.into()),
            connect_timeout: options.connect_timeout,
            max_packet: max_payload + PACKET_OVERHEAD,
            max_payload,
            queue: options.queue.max(1),
            inbox_topic: inbox::topic(&level, &self.client_id),
            presence_topic: announces.then(|| presence::topic(&level, &self.client_id)),
            claim_topic: level.topic(&format!("name/{}", self.client_id)),
            level: level.clone(),
            nonce: nonce.clone(),
            broker,
        };
        let library =
            vec![TopicFilter::new(&settings.inbox_topic)?, TopicFilter::new(presence::filter(&level))?];
        let connection = connect(&settings, deadline).await?;

        let (messages, message_source) = queue::new(options.queue);
        let (changes, change_source) = mpsc::channel(tx::CHANGES);
        let (closes, close_source) = mpsc::channel(1);
        let (event_sink, events) = mpsc::channel(options.queue.max(1));
        let (ready, is_ready) = oneshot::channel();
        let channels = Channels {
            messages: message_source,
            changes: change_source,
            closes: close_source,
            events: event_sink,
            proof: Proof::new(ready, deadline),
        };
        let too_slow =
            "it accepted the connection and then did not confirm a subscription: is it overloaded?";
        let too_slow = unreachable(&settings, too_slow);
        let ended = unreachable(&settings, "it closed the connection at once: see its log");
        let presence = Presence::new(self.client_id.clone(), nonce);
        let fence =
            Publish::from_bytes(&settings.inbox_topic, QoS::AtLeastOnce, inbox::fence(&settings.nonce));
        let subscribing = Subscribing::new(library, fence, level.clone());
        let denial = Denial::new();
        let broker_name = settings.broker.to_string();
        let refusals = Refusals::default();
        let packets = Packets::new(level.clone(), self.max_packet);
        let window = Window::new(options.queue);
        let event_loop = EventLoop::new(
            settings,
            channels,
            window,
            subscribing,
            presence,
            denial.clone(),
            (refusals.clone(), packets.clone()),
        );
        let halves = (
            MqttTx::new(
                Shared {
                    client_id: self.client_id,
                    locator,
                    capabilities: capabilities(max_payload, announces),
                    broker: broker_name,
                    denial,
                    level,
                    refusals,
                    packets,
                },
                messages,
                changes,
                closes,
            ),
            MqttRx::new(events),
        );
        tokio::spawn(event_loop.run(connection));
        // On an error the halves are dropped, which ends the task.
        timeout_at(deadline, is_ready).await.map_err(|_| too_slow)?.map_err(|_| ended)??;
        Ok(halves)
    }
}

/// A broker's URL as it may be shown and logged: what stands before the `@`, a user and a password, is left out. It is for
/// URLs that [`open`](Transport::open) would refuse, too.
///
/// ```
/// assert_eq!(ringbus::transport::mqtt::redacted_url("mqtt://user:pass@host:1883"), "mqtt://***@host:1883");
/// ```
pub fn redacted_url(url: &str) -> String {
    redacted(url).into_owned()
}

/// A name that no other session has.
fn random_name() -> String {
    format!("ringbus-{:012x}", rand::random::<u64>() >> 16)
}

fn capabilities(max_payload: usize, announces: bool) -> Capabilities {
    Capabilities {
        name: "mqtt",
        max_payload,
        brokered: true,
        delivery: Delivery::Acknowledged,
        native_directed: false,
        retained: true,
        last_will: announces,
        confirmed_subscriptions: true,
        interest: false,
    }
}
