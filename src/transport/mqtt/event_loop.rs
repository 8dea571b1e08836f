//! The task that owns the connection: it reads, writes, pings, reconnects and closes.
//!
//! rumqttc brings the packets and their codec; its own event loop is not used. That one forgets the unacknowledged
//! messages of a clean session when it reconnects, closes the connection over a packet above the limit (a retained one
//! closes it again and again), stops pinging while the application is slow, and makes a system call for each message.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::{Packet, Publish, QoS};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use super::address::BrokerAddress;
use super::alive::Alive;
use super::answers::Answers;
use super::backlog::Backlog;
use super::backoff::Backoff;
use super::claims::Claims;
use super::connection::{Connection, ConnectionError};
use super::denial::Denial;
use super::halves::{Halves, Signal};
use super::level::Level;
use super::opening::Hello;
use super::packets::Packets;
use super::presence::Presence;
use super::proof::Proof;
use super::queue;
use super::reassembly::Reassembly;
use super::received::Received;
use super::refusals::Refusals;
use super::sending::send_own;
use super::subscribing::Subscribing;
use super::suspicion::Suspicion;
use super::tx::{ChangeRequest, CloseRequest};
use super::unproven::Unproven;
use super::window::Window;
use crate::error::Result;
use crate::transport::{Event, Undelivered};

/// How many events may wait here for room in the receiving half's queue before reading stops.
const STAGE: usize = 256;

/// So many bytes are read before those who are to get them have their turn, where they share a thread: what is read further
/// ahead has left the processor's cache when they do, and needs more memory.
const TURN: usize = 256 * 1024;

/// How long peers have to announce themselves again after a reconnect: longer than their own back-off, since the
/// broker may have been restarted under all of them.
const PRESENCE_GRACE: Duration = Duration::from_secs(5);

/// How long the broker may take to close its side after a DISCONNECT.
pub(super) const GOODBYE: Duration = Duration::from_millis(500);

/// What does not change while the session lives.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) broker: BrokerAddress,
    pub(super) hello: Hello,
    pub(super) keep_alive: Duration,
    pub(super) connect_timeout: Duration,
    /// The largest packet that is accepted, in bytes.
    pub(super) max_packet: usize,
    /// The largest payload that is handed out, in bytes.
    pub(super) max_payload: usize,
    /// The bound of each queue, in messages.
    pub(super) queue: usize,
    /// The first level of the library's own topics.
    pub(super) level: Level,
    pub(super) inbox_topic: String,
    /// Where sessions of one name find each other.
    pub(super) claim_topic: String,
    /// Where the session announces itself, unless its last will is another one.
    pub(super) presence_topic: Option<String>,
    /// What tells this session from another one with its name.
    pub(super) nonce: Bytes,
}

/// The ends of the channels that the halves hold the other ends of.
#[derive(Debug)]
pub(super) struct Channels {
    pub(super) messages: queue::Receiver,
    pub(super) changes: mpsc::Receiver<ChangeRequest>,
    pub(super) closes: mpsc::Receiver<CloseRequest>,
    pub(super) events: mpsc::Sender<Event>,
    /// Ended once, when the session works.
    pub(super) proof: Proof,
}

#[derive(Debug)]
pub(super) struct EventLoop {
    pub(super) settings: Settings,
    pub(super) messages: queue::Receiver,
    /// What was taken from the queue while there was no connection.
    pub(super) backlog: Backlog,
    changes: mpsc::Receiver<ChangeRequest>,
    halves: Halves,
    /// While the session opens.
    pub(super) proof: Option<Proof>,
    /// Events on their way to the receiving half.
    pub(super) staged: VecDeque<Event>,
    /// How many bytes were staged in this turn.
    pub(super) taken: usize,
    pub(super) window: Window,
    pub(super) received: Received,
    pub(super) subscribing: Subscribing,
    pub(super) presence: Presence,
    pub(super) answers: Answers,
    pub(super) claims: Claims,
    /// It was said that another session uses the name.
    pub(super) namesake_told: bool,
    pub(super) denial: Denial,
    pub(super) closing: Option<Closing>,
    /// When peers that have not come back are given up.
    pub(super) doubt_until: Option<Instant>,
    /// What the broker said about the session's state when it last accepted us.
    pub(super) session_present: bool,
    /// When the broker was last heard.
    pub(super) alive: Alive,
    /// It was said that the broker takes less than a message asked for.
    pub(super) lowered: bool,
    /// What shows that it does.
    pub(super) lower_why: &'static str,
    /// Which message the broker may close the connection over.
    pub(super) suspicion: Suspicion,
    pub(super) unproven: Unproven,
    pub(super) refusals: Refusals,
    /// How large a packet may be.
    pub(super) packets: Packets,
    /// What the fragments of this session say that they are of, and how many messages went in fragments.
    pub(super) fragment_sender: u64,
    pub(super) fragmented: u32,
    pub(super) reassembly: Reassembly,
    /// Nothing goes out until then: if the connection is lost meanwhile, it was not over a message.
    pub(super) watch_until: Option<Instant>,
    /// How many messages were given up.
    pub(super) given_up: usize,
}

#[derive(Debug)]
pub(super) struct Closing {
    deadline: Instant,
    replies: Vec<oneshot::Sender<Undelivered>>,
    /// Everything handed in was taken from the queue.
    drained: bool,
    /// The retained announcement, if there was one, was taken back.
    cleared: bool,
    /// QoS 0 messages that a connection took with it while closing.
    pub(super) lost: usize,
}

impl EventLoop {
    pub(super) fn new(
        settings: Settings,
        channels: Channels,
        window: Window,
        subscribing: Subscribing,
        presence: Presence,
        denial: Denial,
        (refusals, packets): (Refusals, Packets),
    ) -> Self {
        let Channels { messages, changes, closes, events, proof } = channels;
        Self {
            backlog: Backlog::new(settings.queue),
            reassembly: Reassembly::new(settings.max_payload),
            settings,
            messages,
            changes,
            halves: Halves { closes, events, tx_gone: false, rx_gone: false },
            proof: Some(proof),
            staged: VecDeque::new(),
            taken: 0,
            window,
            received: Received::default(),
            subscribing,
            presence,
            answers: Answers::default(),
            claims: Claims::new(Instant::now()),
            namesake_told: false,
            denial,
            closing: None,
            doubt_until: None,
            session_present: false,
            alive: Alive::new(Instant::now()),
            lowered: false,
            lower_why: "",
            suspicion: Suspicion::none(),
            unproven: Unproven::default(),
            refusals,
            packets,
            fragment_sender: rand::random(),
            fragmented: 0,
            watch_until: None,
            given_up: 0,
        }
    }

    /// Runs until the session is closed or both halves are dropped.
    pub(super) async fn run(mut self, first: Connection) {
        let mut backoff = Backoff::default();
        let mut link = Some(first);
        let mut undelivered = Undelivered::default();
        while let Some(mut connection) = link.take() {
            let since = Instant::now();
            match self.serve(&mut connection).await {
                Ok(()) => {
                    undelivered = self.finish(connection).await;
                    break;
                }
                Err(ConnectionError::NameTaken) => {
                    undelivered = self.undelivered(connection.unwritten());
                    self.give_way(connection).await;
                    break;
                }
                Err(error) => {
                    self.tell_lost(&error);
                    self.lost(&connection, &error);
                    // A connection that does not get past a message is none that stood.
                    if !self.suspicion.stands() {
                        backoff.after(since.elapsed());
                    }
                }
            }
            drop(connection);
            link = self.reconnect(&mut backoff).await;
            if link.is_none() {
                undelivered = self.undelivered(0);
            }
        }
        self.end(undelivered).await;
    }

    /// Works with one connection until it is lost (an error) or no longer needed.
    async fn serve(&mut self, link: &mut Connection) -> Result<(), ConnectionError> {
        self.window.rewind();
        self.judge();
        self.received.clear();
        self.answers.clear();
        self.subscribing.restore(link, &mut self.window)?;
        self.watch_suspect();
        let mut announced = false;
        let mut ping = interval(self.settings.keep_alive / 2);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ping.reset();
        self.alive = Alive::new(Instant::now());
        loop {
            let starved = self.take_in(link)?;
            self.alive.look(Instant::now);
            self.messages.receipts().acknowledge(self.window.acknowledged());
            self.unproven.read(self.window.proven().max(self.alive.read()));
            self.suspicion.acknowledged(self.window.oldest(), announced && self.window.own_in_flight() == 0);
            // Those who hear of the session may write to it at once.
            let may_announce = self.proof.is_none() && self.may_send(link);
            if !announced && may_announce && !self.window.has_repetitions() {
                self.announce(link)?;
                self.claim_name(link)?;
                announced = true;
            }
            if self.watch_until.is_none() {
                self.subscribing.accuse(link, &mut self.window)?;
                self.subscribing.try_again(link, &mut self.window)?;
            }
            self.pump(link)?;
            link.flush()?;
            self.hand_over();
            if self.is_over(link)? {
                return Ok(());
            }
            if self.taken >= TURN {
                self.taken = 0;
                tokio::task::yield_now().await;
            }
            if !starved && self.has_stage_room() {
                continue;
            }
            let deadline = self.deadline();
            let takes_messages = self.may_send(link)
                && self.window.has_room()
                && !self.window.has_repetitions()
                && self.backlog.is_empty()
                && !self.drained();
            tokio::select! {
                read = link.progress(starved) => {
                    self.alive.bytes(read?);
                }
                message = self.messages.recv(), if takes_messages => match message {
                    Some(message) => self.send(message, link)?,
                    None => self.note_drained(),
                },
                Some(request) = self.changes.recv(), if self.subscribing.is_idle() => {
                    self.subscribing.begin(request, link, &mut self.window)?;
                }
                _ = ping.tick() => {
                    let now = Instant::now();
                    if !starved {
                        self.alive.not_read(now);
                    } else if self.alive.is_silent(now, self.settings.keep_alive * 3 / 2) {
                        return Err(ConnectionError::Silent);
                    }
                    if starved {
                        self.subscribing.tick(link, &mut self.window)?;
                        self.note_grant();
                    }
                    self.give_up_unanswered(now);
                    self.reassembly.expire(now);
                    self.alive.ping(self.window.pass_by());
                    link.send(&Packet::PingReq)?;
                }
                () = until(self.watch_until) => self.watch_until = None,
                () = until(self.doubt_until) => self.give_up_doubted(),
                () = until(self.answers.due()), if link.has_room() => self.answer(link)?,
                () = until(self.proof.as_ref().and_then(Proof::due)) => self.prove(link)?,
                signal = self.halves.signal(!self.staged.is_empty()) => self.note(signal),
                () = until(deadline) => return Ok(()),
            }
        }
    }

    /// Tries again until there is a connection. `None` if there is none needed any more.
    async fn reconnect(&mut self, backoff: &mut Backoff) -> Option<Connection> {
        loop {
            if !self.is_needed() {
                return None;
            }
            self.meanwhile(sleep(backoff.next())).await?;
            let Settings { broker, hello, max_packet, connect_timeout, .. } = &self.settings;
            let (broker, hello) = (broker.clone(), hello.clone());
            let (max_packet, deadline) = (*max_packet, Instant::now() + *connect_timeout);
            let attempt = async move { Connection::open(&broker, &hello, max_packet, deadline).await };
            match self.meanwhile(attempt).await? {
                Ok((connection, session_present)) => {
                    self.session_present = session_present;
                    return Some(connection);
                }
                Err(error) => {
                    tracing::debug!(%error, "reconnecting to the broker failed");
                    self.claims.is_away();
                    self.outage();
                    if let ConnectionError::Refused(code) = error {
                        self.note_refusal(code);
                    }
                }
            }
        }
    }

    /// Waits for something while there is no connection. `None` if the session ends meanwhile.
    async fn meanwhile<F: Future>(&mut self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        loop {
            self.hand_over();
            let deadline = self.deadline();
            tokio::select! {
                output = &mut future => return Some(output),
                message = self.messages.recv(), if self.backlog.has_room() && !self.drained() => match message {
                    Some(message) => self.backlog.push(message),
                    None => self.note_drained(),
                },
                signal = self.halves.signal(!self.staged.is_empty()) => self.note(signal),
                () = until(deadline) => return None,
            }
            if !self.is_needed() {
                return None;
            }
        }
    }

    /// Gives events to the receiving half as far as it has room.
    fn hand_over(&mut self) {
        if self.halves.rx_gone {
            self.staged.clear();
        }
        while let Some(event) = self.staged.pop_front() {
            if let Err(mpsc::error::TrySendError::Full(event)) = self.halves.events.try_send(event) {
                self.staged.push_front(event);
                break;
            }
        }
    }

    /// Whether events may still be added without reading getting ahead of the receiving half. While closing, what is
    /// read adds none.
    pub(super) fn has_stage_room(&self) -> bool {
        self.staged.len() < STAGE || self.closing.is_some()
    }

    /// The connection has its subscriptions.
    pub(super) fn is_restored(
        &mut self,
        own: Result<()>,
        link: &mut Connection,
    ) -> Result<(), ConnectionError> {
        if self.proof.is_some() {
            return self.begin_proof(own, link);
        }
        self.doubt_until = Some(Instant::now() + PRESENCE_GRACE);
        self.watch();
        self.denial.end();
        self.staged.push_back(Event::Reconnected { session_present: self.session_present });
        Ok(())
    }

    fn announce(&mut self, link: &mut Connection) -> Result<(), ConnectionError> {
        let Some(topic) = self.settings.presence_topic.as_ref().filter(|_| self.closing.is_none()) else {
            return Ok(());
        };
        let announcement = retained(topic, self.settings.nonce.clone());
        send_own(announcement, link, &mut self.window)
    }

    /// Whether nothing is left to do on this connection; takes the announcement back when it is nearly so.
    fn is_over(&mut self, link: &mut Connection) -> Result<bool, ConnectionError> {
        let Some(closing) = &mut self.closing else { return Ok(self.halves.both_gone()) };
        if !closing.drained || !self.backlog.is_empty() || !self.window.is_empty() || !link.is_flushed() {
            return Ok(false);
        }
        if closing.cleared {
            return Ok(true);
        }
        closing.cleared = true;
        let claim = self.has_claimed().then_some(&self.settings.claim_topic);
        for topic in self.settings.presence_topic.iter().chain(claim) {
            send_own(retained(topic, Bytes::new()), link, &mut self.window)?;
        }
        link.flush()?;
        Ok(self.window.is_empty())
    }

    /// Whether a lost connection has to come back.
    fn is_needed(&mut self) -> bool {
        match &self.closing {
            Some(closing) => {
                Instant::now() < closing.deadline
                    && (self.messages.len() + self.backlog.len() + self.window.undelivered() > 0)
            }
            None => !self.halves.both_gone(),
        }
    }

    /// Warns once of what may take several connections to find out.
    fn tell_lost(&self, error: &ConnectionError) {
        let broker = &self.settings.broker;
        if self.searches() {
            tracing::debug!(%broker, %error, "lost another connection to the broker");
        } else {
            tracing::warn!(%broker, %error, "lost the connection to the broker");
        }
    }

    fn lost(&mut self, link: &Connection, error: &ConnectionError) {
        self.note_lost_proof(error);
        self.note_lost_name(error);
        // A reader that is far behind is told by what it has not read yet.
        if self.closing.is_none() && self.has_stage_room() {
            self.staged.push_back(Event::Disconnected { reason: error.to_string() });
        }
        let lost = link.unwritten();
        self.examine(link, error);
        metrics::counter!("ringbus_mqtt_dropped_total", "cause" => "disconnected").increment(lost as u64);
        if let Some(closing) = &mut self.closing {
            closing.lost += lost;
            // The last will has done it.
            closing.cleared = true;
        }
        self.presence.doubt_all();
        self.doubt_until = None;
    }

    fn give_up_doubted(&mut self) {
        self.doubt_until = None;
        self.presence.drop_doubted(&mut self.staged);
    }

    fn note(&mut self, signal: Signal) {
        let Signal::Close(CloseRequest { deadline, reply }) = signal else { return };
        self.messages.close();
        // Dropping the requests answers them: closed.
        self.changes.close();
        while self.changes.try_recv().is_ok() {}
        match &mut self.closing {
            Some(closing) => closing.replies.push(reply),
            None => {
                let replies = vec![reply];
                self.closing = Some(Closing { deadline, replies, drained: false, cleared: false, lost: 0 });
            }
        }
    }

    pub(super) fn note_drained(&mut self) {
        if let Some(closing) = &mut self.closing {
            closing.drained = true;
        }
    }

    fn drained(&self) -> bool {
        self.halves.tx_gone || self.closing.as_ref().is_some_and(|closing| closing.drained)
    }

    fn deadline(&self) -> Option<Instant> {
        self.closing.as_ref().map(|closing| closing.deadline)
    }

    fn undelivered(&self, unwritten: usize) -> Undelivered {
        let lost = self.closing.as_ref().map_or(0, |closing| closing.lost);
        let waiting = self.messages.len() + self.backlog.len();
        Undelivered { messages: waiting + self.window.undelivered() + unwritten + lost + self.given_up }
    }

    /// Leaves the broker: cleanly if everything is done, else by dropping the connection, which sets off the last will.
    async fn finish(&mut self, link: Connection) -> Undelivered {
        let undelivered = self.undelivered(link.unwritten());
        if self.closing.as_ref().is_some_and(|closing| closing.cleared) && link.is_flushed() {
            match timeout(GOODBYE, link.disconnect()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "the connection ended before the goodbye"),
                Err(_) => tracing::debug!("the broker did not answer the goodbye"),
            }
        }
        undelivered
    }

    /// Answers `close`, and hands out what was received before it for as long as somebody listens.
    async fn end(mut self, undelivered: Undelivered) {
        self.changes.close();
        self.messages.close();
        let receipts = self.messages.receipts();
        receipts.acknowledge(self.window.acknowledged());
        receipts.end();
        for reply in self.closing.take().map(|closing| closing.replies).unwrap_or_default() {
            reply.send(undelivered).ok();
        }
        let Halves { mut closes, events, .. } = self.halves;
        closes.close();
        while let Ok(CloseRequest { reply, .. }) = closes.try_recv() {
            reply.send(undelivered).ok();
        }
        for event in self.staged {
            if events.send(event).await.is_err() {
                break;
            }
        }
    }
}

fn retained(topic: &str, payload: Bytes) -> Publish {
    let mut publish = Publish::from_bytes(topic, QoS::AtLeastOnce, payload);
    publish.retain = true;
    publish
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
