//! The work by crate `zmq` alone: libzmq's PUB and SUB, blocking threads, nothing dropped at the publisher, topic and
//! payload in one frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Context as _;
use futures::future::try_join_all;
use tokio::task::{JoinHandle, spawn_blocking};
use zmq::{Context, Message, Socket};

use super::cpu;
use super::door::Door;
use super::order::{Order, Report, Role};
use super::pace::Pace;
use super::samples::Number;
use super::tally::{self, Tally};
use super::trips::Trips;
use super::zmq_ffi::set_nodrop;

/// How often a receiver to which nothing comes looks whether all is over, in milliseconds.
const LOOK_UP: i32 = 200;

pub(super) async fn run(door: Door, order: Order) -> anyhow::Result<()> {
    match order.role {
        Role::Publish => publish(door, order).await,
        Role::Subscribe => subscribe(door, order).await,
        Role::Ping => ping(door, order).await,
        Role::Pong => pong(door, order).await,
    }
}

async fn publish(mut door: Door, order: Order) -> anyhow::Result<()> {
    let context = Context::new();
    let sockets = (0..order.crowd.publishers).map(|_| publisher(&context)).collect::<Result<Vec<_>, _>>()?;
    let addresses = sockets.iter().map(address).collect::<anyhow::Result<_>>()?;
    door.introduce(addresses).await?;
    let subscribers = order.crowd.subscribers;
    let sockets = on_thread(move || {
        sockets.iter().try_for_each(|socket| await_subscribers(socket, subscribers))?;
        Ok(sockets)
    });
    let sockets = joined(sockets).await?;
    door.ready()?;
    door.go().await?;
    let idle = cpu::own();
    let threads = sockets.into_iter().enumerate().map(|(publisher, socket)| {
        let order = order.clone();
        joined(on_thread(move || flood(socket, publisher, &order)))
    });
    let ended = try_join_all(threads).await?;
    door.done(ended.iter().map(|(_, sent)| sent).sum())?;
    // The sockets stay open until everything has arrived.
    door.finish().await?;
    door.report(Report { cpu: cpu::own() - idle, ..Report::default() })
}

fn flood(socket: Socket, publisher: usize, order: &Order) -> anyhow::Result<(Socket, u64)> {
    let mut frame = Frame::new(&order.topic, order.payload.raw_size());
    let mut pace = Pace::begin(order, publisher);
    while let Some(number) = pace.next() {
        socket.send(frame.numbered(number), 0)?;
    }
    socket.send(frame.numbered(pace.last()), 0)?;
    Ok((socket, pace.sent()))
}

async fn subscribe(mut door: Door, order: Order) -> anyhow::Result<()> {
    let context = Context::new();
    let publishers = door.introduce(Vec::new()).await?;
    let prefix = prefix(&order.topic);
    let sockets = (0..order.crowd.subscribers)
        .map(|_| subscriber(&context, &publishers, &prefix))
        .collect::<Result<Vec<_>, _>>()?;
    let idle = cpu::own();
    let (progress, over) = (Arc::<AtomicU64>::default(), Arc::new(AtomicBool::new(false)));
    let threads = sockets.into_iter().map(|socket| {
        let (tally, size) = (Tally::new(&order, &progress), order.payload.raw_size());
        let (skip, over) = (prefix.len(), over.clone());
        joined(on_thread(move || receive(&socket, tally, skip, size, &over)))
    });
    let tallies =
        door.until_silence(try_join_all(threads), &progress, || over.store(true, Ordering::Relaxed)).await?;
    door.finish().await?;
    door.report(tally::report(&tallies, cpu::own() - idle))
}

fn receive(
    socket: &Socket,
    mut tally: Tally,
    skip: usize,
    size: usize,
    over: &AtomicBool,
) -> anyhow::Result<Tally> {
    let mut message = Message::new();
    loop {
        match socket.recv(&mut message, 0) {
            Ok(()) if tally.take(number(&message, skip, size))? => {}
            Ok(()) => return Ok(tally),
            Err(zmq::Error::EAGAIN) if over.load(Ordering::Relaxed) => return Ok(tally),
            Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

async fn ping(mut door: Door, order: Order) -> anyhow::Result<()> {
    let (there, back) = (format!("{}/ping", order.topic), format!("{}/pong", order.topic));
    let (_context, out, incoming) = pair(&mut door, &back).await?;
    door.ready()?;
    door.go().await?;
    let idle = cpu::own();
    let (skip, size) = (prefix(&back).len(), order.payload.raw_size());
    let trips = joined(on_thread(move || {
        let mut frame = Frame::new(&there, size);
        let mut message = Message::new();
        let mut trips = Trips::begin(&order);
        while let Some(trip) = trips.next() {
            out.send(frame.numbered(trip.0), 0)?;
            wait(&incoming, &mut message)?;
            trips.back(trip, number(&message, skip, size))?;
        }
        out.send(frame.numbered(Number::first_of(0).last()), 0)?;
        // Open until the other side has ended, which the mark makes it do.
        wait(&incoming, &mut message)?;
        Ok(trips)
    }))
    .await?;
    let cpu = cpu::own() - idle;
    door.done(trips.made())?;
    door.finish().await?;
    door.report(trips.report(cpu))
}

async fn pong(mut door: Door, order: Order) -> anyhow::Result<()> {
    let (there, back) = (format!("{}/ping", order.topic), format!("{}/pong", order.topic));
    let (_context, out, incoming) = pair(&mut door, &there).await?;
    door.ready()?;
    let idle = cpu::own();
    let (skip, size) = (prefix(&there).len(), order.payload.raw_size());
    // The sockets come back, so that they are open until the last answer has arrived.
    let (_out, _incoming) = joined(on_thread(move || {
        let mut frame = Frame::new(&back, size);
        let mut message = Message::new();
        loop {
            wait(&incoming, &mut message)?;
            let number = number(&message, skip, size).context("a sample arrived that nobody published")?;
            out.send(frame.numbered(number), 0)?;
            if number.is_last() {
                return Ok((out, incoming));
            }
        }
    }))
    .await?;
    let cpu = cpu::own() - idle;
    door.finish().await?;
    door.report(Report { cpu, ..Report::default() })
}

/// A socket to publish with and one that hears `topic` of the other process, both connected.
async fn pair(door: &mut Door, topic: &str) -> anyhow::Result<(Context, Socket, Socket)> {
    let context = Context::new();
    let out = publisher(&context)?;
    let others = door.introduce(vec![address(&out)?]).await?;
    let incoming = subscriber(&context, &others, &prefix(topic))?;
    let out = joined(on_thread(move || await_subscribers(&out, 1).map(|()| out))).await?;
    Ok((context, out, incoming))
}

fn publisher(context: &Context) -> zmq::Result<Socket> {
    let mut socket = context.socket(zmq::XPUB)?;
    set_nodrop(&mut socket)?;
    // Every subscriber is reported, not only the first.
    socket.set_xpub_verbose(true)?;
    socket.set_linger(0)?;
    socket.bind("tcp://127.0.0.1:*")?;
    Ok(socket)
}

fn subscriber(context: &Context, publishers: &[String], prefix: &[u8]) -> zmq::Result<Socket> {
    let socket = context.socket(zmq::SUB)?;
    socket.set_linger(0)?;
    socket.set_rcvtimeo(LOOK_UP)?;
    socket.set_subscribe(prefix)?;
    publishers.iter().try_for_each(|publisher| socket.connect(publisher))?;
    Ok(socket)
}

fn address(socket: &Socket) -> anyhow::Result<String> {
    socket.get_last_endpoint()?.ok().context("libzmq gave no address")
}

/// Each subscription arrives as a message.
fn await_subscribers(socket: &Socket, count: usize) -> anyhow::Result<()> {
    (0..count).try_for_each(|_| socket.recv_msg(0).map(drop)).map_err(Into::into)
}

fn wait(socket: &Socket, message: &mut Message) -> zmq::Result<()> {
    loop {
        match socket.recv(message, 0) {
            Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => {}
            done => return done,
        }
    }
}

/// What a subscriber asks for and a frame begins with: the topic and a zero.
fn prefix(topic: &str) -> Vec<u8> {
    [topic.as_bytes(), &[0]].concat()
}

fn number(frame: &[u8], skip: usize, size: usize) -> Option<Number> {
    Number::read(frame.get(skip..)?, size)
}

/// The one buffer that a publisher sends from.
struct Frame {
    bytes: Vec<u8>,
    skip: usize,
}

impl Frame {
    fn new(topic: &str, size: usize) -> Self {
        let mut bytes = prefix(topic);
        let skip = bytes.len();
        bytes.resize(skip + size, 0x5a);
        Self { bytes, skip }
    }

    fn numbered(&mut self, number: Number) -> &[u8] {
        number.write(self.bytes.get_mut(self.skip..).unwrap_or_default());
        &self.bytes
    }
}

fn on_thread<V: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<V> + Send + 'static,
) -> JoinHandle<anyhow::Result<V>> {
    spawn_blocking(work)
}

async fn joined<V>(thread: JoinHandle<anyhow::Result<V>>) -> anyhow::Result<V> {
    thread.await?
}
