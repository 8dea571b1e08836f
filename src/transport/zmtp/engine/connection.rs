//! The task of one connection: it reads, decodes and hands out, and writes what its users could not.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{Interval, MissedTickBehavior, timeout};

use super::super::Decoder;
use super::handshake::Met;
use super::incoming::{Broken, Incoming};
use super::item::Item;
use super::outgoing::Outgoing;
use super::role::Role;
use super::session::Session;
use super::stream::{Reader, Writer};
use crate::transport::Event;
use crate::transport::zmq::drops::dropped;

/// How much is read at once: of a connection that has little to say, and of one that has much, in bytes.
const LITTLE: usize = 8 << 10;
const MUCH: usize = 256 << 10;
/// So often within the peer timeout is looked whether the peer is there.
const LOOKS: u32 = 4;
/// How long the peer of a connection that has ended may take to close its own end.
const PARTING: Duration = Duration::from_secs(5);

/// Why a connection has ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the peer has closed it")]
    Closed,
    #[error("the session has written all and closed it")]
    Finished,
    #[error("the session has given it up")]
    GivenUp,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Broken(#[from] Broken),
    #[error("the system takes nothing more for the peer")]
    Unwritable,
    #[error("the peer has read nothing for {0:?}")]
    Stuck(Duration),
    #[error("the peer has said nothing for {0:?}, not even in answer to a PING")]
    Silent(Duration),
}

/// Serves a connection until it ends. `first` is sent before what waits. Dropping it closes the connection.
pub(super) async fn run(
    session: &Arc<Session>,
    met: Met,
    outgoing: Arc<Outgoing>,
    role: Role,
    number: u64,
    first: Vec<Item>,
) {
    let Met { reader, writer, input, established } = met;
    let writer = Arc::new(writer);
    let minor = established.peer.minor;
    outgoing.connect(writer.clone(), established.encoder, minor, first);
    let is_feed = role.is_feed();
    let mut watch = tokio::time::interval(session.peer_timeout / LOOKS);
    watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut connection = Connection {
        session,
        reader,
        input,
        chunk: LITTLE,
        decoder: established.decoder,
        incoming: Incoming::new(session.clone(), outgoing.clone(), role, number),
        pulse: Pulse { watch, minor, heard: true, silent: 0, stuck: 0, progress: 0 },
    };
    let end = connection.live(&outgoing, &writer).await;
    if let End::Broken(Broken::Frame(error)) = &end {
        // What the peer sent is lost with its connection.
        dropped("connection cut by a protocol error", error);
        if is_feed {
            session.inbox.tell(Event::Lagged(1));
        }
    }
    tracing::debug!(%end, number, "zmq: a connection has ended");
    if matches!(end, End::Finished) {
        // The peer sees our end when nobody can write any more; what it still sends must not make the system reset the
        // connection, since that may take what we sent with it.
        outgoing.disconnect(true);
        drop(writer);
        drop(timeout(PARTING, connection.drain()).await);
    }
}

struct Connection<'a> {
    session: &'a Arc<Session>,
    reader: Reader,
    input: BytesMut,
    /// How much is read at once, now.
    chunk: usize,
    decoder: Decoder,
    incoming: Incoming,
    pulse: Pulse,
}

impl Connection<'_> {
    async fn live(&mut self, outgoing: &Outgoing, writer: &Writer) -> End {
        loop {
            let may_read = match self.hand_out() {
                Ok(is_all) => is_all,
                Err(broken) => return broken.into(),
            };
            let is_blocked = outgoing.is_blocked();
            let credit = self.incoming.credit.clone();
            if may_read {
                self.make_room();
            }
            tokio::select! {
                read = self.reader.read(&mut self.input), if may_read => match read {
                    Ok(0) => return End::Closed,
                    Ok(count) => {
                        self.pulse.heard = true;
                        // It was filled.
                        if self.input.len() == self.input.capacity() && count >= self.chunk / 4 {
                            self.chunk = (self.chunk * 2).min(MUCH);
                        }
                    }
                    Err(error) => return error.into(),
                },
                () = credit.half_free(), if !may_read => {}
                ready = writer.writable(), if is_blocked => {
                    if let Err(error) = ready {
                        return error.into();
                    }
                    if !outgoing.resume() {
                        return End::Unwritable;
                    }
                }
                // What publishers have left to this task, where nothing is in the way.
                () = outgoing.attention() => if outgoing.is_blocked() && !outgoing.resume() {
                    return End::Unwritable;
                },
                _ = self.pulse.watch.tick() => {
                    if let Some(end) = self.pulse.look(self.session.peer_timeout, outgoing, may_read) {
                        return end;
                    }
                }
            }
            if outgoing.is_closed() {
                return End::GivenUp;
            }
            if outgoing.is_finishing() && outgoing.waiting() == 0 {
                return End::Finished;
            }
        }
    }

    /// Delivers what was read, while there is credit. `false` if that was spent: whole frames may be left, and there may be
    /// credit again by now.
    fn hand_out(&mut self) -> Result<bool, Broken> {
        let mut delivery = None;
        while !self.incoming.credit.is_spent() {
            let Some(frame) = self.decoder.next(&mut self.input)? else { return Ok(true) };
            self.incoming.take(frame, delivery.get_or_insert_with(|| self.session.inbox.deliver()))?;
        }
        Ok(false)
    }

    /// Makes room for what is to be read. A length that a peer states is not believed: memory comes as its bytes do.
    fn make_room(&mut self) {
        let missing = self.decoder.missing(&self.input).min(self.input.len().max(MUCH));
        let free = self.input.capacity() - self.input.len();
        if free < missing || free < self.chunk / 4 {
            self.input.reserve(missing.max(self.chunk));
        }
    }

    /// Reads to the end, and forgets what comes.
    async fn drain(&mut self) {
        self.input.clear();
        loop {
            self.input.reserve(LITTLE);
            match self.reader.read(&mut self.input).await {
                Ok(1..) => self.input.clear(),
                Ok(0) | Err(_) => return,
            }
        }
    }
}

/// Whether the peer is there. Looks are counted, not time: after this process was stopped it waits for the peer anew.
struct Pulse {
    watch: Interval,
    minor: u8,
    heard: bool,
    /// For so many looks the peer was silent, or took nothing.
    silent: u32,
    stuck: u32,
    progress: usize,
}

impl Pulse {
    fn look(&mut self, peer_timeout: Duration, outgoing: &Outgoing, may_read: bool) -> Option<End> {
        let progress = outgoing.progress();
        let moves = progress != self.progress;
        self.progress = progress;
        self.stuck = if outgoing.is_blocked() && !moves { self.stuck + 1 } else { 0 };
        // While nothing is read there is nothing to be heard, and what is taken is sign enough.
        if std::mem::take(&mut self.heard) || moves || !may_read {
            self.silent = 0;
        } else if self.silent > 0 || (self.minor > 0 && outgoing.waiting() == 0) {
            // From the first PING on.
            self.silent += 1;
        }
        if self.stuck >= LOOKS {
            return Some(End::Stuck(peer_timeout));
        }
        if self.silent > LOOKS {
            return Some(End::Silent(peer_timeout));
        }
        if self.silent == 1 {
            outgoing.force(Item::Ping);
            // Its own bytes are no sign of the peer.
            self.progress = outgoing.progress();
        }
        None
    }
}
