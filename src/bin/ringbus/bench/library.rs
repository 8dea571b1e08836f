//! The work by this library: sessions, publishers, subscribers, in tasks of the runtime.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::Context;
use futures::future::try_join_all;
use ringbus::pubsub::SampleRef;
use ringbus::qos::{Offered, Requested};
use ringbus::transport::{Locator, Transport};
use ringbus::{Encoding, Publisher, Session, Subscriber};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::cpu;
use super::door::Door;
use super::order::{Order, Payload, Report, Role};
use super::pace::Pace;
use super::samples::{Body, Number, Numbered, Reading};
use super::tally::{self, Tally};
use super::trips::Trips;

/// `transport` makes one for each session.
pub(super) async fn run<T: Transport>(
    door: Door,
    order: Order,
    transport: impl Fn() -> T,
) -> anyhow::Result<()> {
    match (order.role, order.payload) {
        (Role::Publish, Payload::Bytes(size)) => {
            publish(door, order, transport, Encoding::Raw, || Body::new(size)).await
        }
        (Role::Publish, Payload::Struct) => {
            publish(door, order, transport, Encoding::Postcard, Reading::new).await
        }
        (Role::Subscribe, Payload::Bytes(size)) => {
            subscribe(door, order, transport, Encoding::Raw, move |sample: SampleRef<'_, Body>| {
                Ok(Number::read(sample.decode::<&[u8]>()?, size))
            })
            .await
        }
        (Role::Subscribe, Payload::Struct) => {
            subscribe(door, order, transport, Encoding::Postcard, |sample: SampleRef<'_, Reading>| {
                Ok(sample.value()?.number())
            })
            .await
        }
        (Role::Ping, _) => ping(door, order, transport()).await,
        (Role::Pong, _) => pong(door, order, transport()).await,
    }
}

async fn publish<T: Transport, M: Numbered>(
    mut door: Door,
    order: Order,
    transport: impl Fn() -> T,
    encoding: Encoding,
    sample: impl Fn() -> M,
) -> anyhow::Result<()> {
    let sessions = try_join_all((0..order.crowd.publishers).map(|_| Session::open(transport()))).await?;
    let publishers =
        sessions.iter().map(|session| publisher::<M, T>(session, &order, &order.topic, encoding));
    let publishers = try_join_all(publishers).await?;
    door.introduce(sessions.iter().map(|session| session.local().to_string()).collect()).await?;
    for publisher in &publishers {
        publisher.matched(order.crowd.subscribers).await?;
    }
    door.ready()?;
    door.go().await?;
    let idle = cpu::own();
    let tasks = publishers.into_iter().enumerate().map(|(number, publisher)| {
        let (order, sample) = (order.clone(), sample());
        joined(tokio::spawn(flood(publisher, sample, number, order)))
    });
    let ended = try_join_all(tasks).await?;
    door.done(ended.iter().map(|(_, sent)| sent).sum())?;
    // The publishers stay until everything has arrived.
    door.finish().await?;
    door.report(Report { cpu: cpu::own() - idle, ..Report::default() })
}

async fn flood<M: Numbered, T: Transport>(
    publisher: Publisher<M, T>,
    mut sample: M,
    number: usize,
    order: Order,
) -> anyhow::Result<(Publisher<M, T>, u64)> {
    let mut pace = Pace::begin(&order, number);
    while let Some(number) = pace.next() {
        sample.renumber(number);
        publisher.publish(&sample).await?;
    }
    sample.renumber(pace.last());
    publisher.publish(&sample).await?;
    publisher.flush().await?;
    Ok((publisher, pace.sent()))
}

async fn subscribe<T: Transport, M: Send + 'static>(
    mut door: Door,
    order: Order,
    transport: impl Fn() -> T,
    encoding: Encoding,
    number: impl Fn(SampleRef<'_, M>) -> anyhow::Result<Option<Number>> + Copy + Send + 'static,
) -> anyhow::Result<()> {
    let sessions = try_join_all((0..order.crowd.subscribers).map(|_| Session::open(transport()))).await?;
    let publishers = door.introduce(Vec::new()).await?;
    let subscribers = sessions.iter().map(async |session| {
        let subscriber = subscriber::<M, T>(session, &order, &order.topic, encoding).await?;
        attach(session, &publishers).await?;
        subscriber.matched(order.crowd.publishers).await?;
        anyhow::Ok(subscriber)
    });
    let subscribers = try_join_all(subscribers).await?;
    let idle = cpu::own();
    let progress = Arc::<AtomicU64>::default();
    let (end, ended) = watch::channel(false);
    let tasks = subscribers.into_iter().map(|mut subscriber| {
        let (mut tally, mut ended) = (Tally::new(&order, &progress), ended.clone());
        joined(tokio::spawn(async move {
            tokio::select! {
                biased;
                received = receive(&mut subscriber, &mut tally, number) => received?,
                _ = ended.wait_for(|ended| *ended) => {}
            }
            // The subscriber stays: what it has received is still to be acknowledged.
            Ok((tally, subscriber))
        }))
    });
    let all = door.until_silence(try_join_all(tasks), &progress, || _ = end.send_replace(true)).await?;
    door.finish().await?;
    let (tallies, _subscribers): (Vec<Tally>, Vec<_>) = all.into_iter().unzip();
    door.report(tally::report(&tallies, cpu::own() - idle))
}

/// The loop of a subscriber, until the last sample of the last publisher.
async fn receive<M, T: Transport>(
    subscriber: &mut Subscriber<M, T>,
    tally: &mut Tally,
    number: impl Fn(SampleRef<'_, M>) -> anyhow::Result<Option<Number>>,
) -> anyhow::Result<()> {
    while let Some(batch) = subscriber.recv_batch().await? {
        for sample in &batch {
            if !tally.take(number(sample)?)? {
                return Ok(());
            }
        }
    }
    anyhow::bail!("the session was closed")
}

async fn ping<T: Transport>(mut door: Door, order: Order, transport: T) -> anyhow::Result<()> {
    let size = order.payload.raw_size();
    let topics = (format!("{}/ping", order.topic), format!("{}/pong", order.topic));
    let (session, publisher, mut subscriber) = pair(&mut door, &order, transport, topics).await?;
    door.ready()?;
    door.go().await?;
    let idle = cpu::own();
    let task = tokio::spawn(async move {
        let mut body = Body::new(size);
        let mut trips = Trips::begin(&order);
        while let Some(trip) = trips.next() {
            body.renumber(trip.0);
            publisher.publish(&body).await?;
            trips.back(trip, next(&mut subscriber, size).await?)?;
        }
        body.renumber(Number::first_of(0).last());
        publisher.publish(&body).await?;
        next(&mut subscriber, size).await?;
        Ok(trips)
    });
    let trips = joined(task).await?;
    let cpu = cpu::own() - idle;
    door.done(trips.made())?;
    door.finish().await?;
    drop(session);
    door.report(trips.report(cpu))
}

async fn pong<T: Transport>(mut door: Door, order: Order, transport: T) -> anyhow::Result<()> {
    let size = order.payload.raw_size();
    let topics = (format!("{}/pong", order.topic), format!("{}/ping", order.topic));
    let (session, publisher, mut subscriber) = pair(&mut door, &order, transport, topics).await?;
    door.ready()?;
    let idle = cpu::own();
    let task = tokio::spawn(async move {
        let mut body = Body::new(size);
        loop {
            let number = next(&mut subscriber, size).await?;
            let number = number.context("a sample arrived that nobody published")?;
            body.renumber(number);
            publisher.publish(&body).await?;
            if number.is_last() {
                return Ok((publisher, subscriber));
            }
        }
    });
    // They come back, so that they are open until the last answer has arrived.
    let (_publisher, _subscriber) = joined(task).await?;
    let cpu = cpu::own() - idle;
    door.finish().await?;
    drop(session);
    door.report(Report { cpu, ..Report::default() })
}

/// A publisher and a subscriber on one session, matched with the other process's.
async fn pair<T: Transport>(
    door: &mut Door,
    order: &Order,
    transport: T,
    (out, incoming): (String, String),
) -> anyhow::Result<(Session<T>, Publisher<Body, T>, Subscriber<Body, T>)> {
    let session = Session::open(transport).await?;
    let publisher = publisher::<Body, T>(&session, order, &out, Encoding::Raw).await?;
    let subscriber = subscriber::<Body, T>(&session, order, &incoming, Encoding::Raw).await?;
    let others = door.introduce(vec![session.local().to_string()]).await?;
    attach(&session, &others).await?;
    publisher.matched(1).await?;
    subscriber.matched(1).await?;
    Ok((session, publisher, subscriber))
}

async fn next<T: Transport>(
    subscriber: &mut Subscriber<Body, T>,
    size: usize,
) -> anyhow::Result<Option<Number>> {
    let sample = subscriber.recv().await?.context("the session was closed")?;
    Ok(Number::read(sample.decode::<&[u8]>()?, size))
}

async fn attach<T: Transport>(session: &Session<T>, others: &[String]) -> anyhow::Result<()> {
    if !session.capabilities().brokered {
        for other in others {
            session.attach(&Locator::new(other)?).await?;
        }
    }
    Ok(())
}

async fn publisher<M: Numbered, T: Transport>(
    session: &Session<T>,
    order: &Order,
    topic: &str,
    encoding: Encoding,
) -> anyhow::Result<Publisher<M, T>> {
    let offered = if order.link.is_reliable() { Offered::reliable() } else { Offered::best_effort() };
    Ok(session.publisher(topic).qos(offered.keep_all()).encoding(encoding).build().await?)
}

async fn subscriber<M, T: Transport>(
    session: &Session<T>,
    order: &Order,
    topic: &str,
    encoding: Encoding,
) -> anyhow::Result<Subscriber<M, T>> {
    let requested = if order.link.is_reliable() { Requested::reliable() } else { Requested::best_effort() };
    Ok(session.subscriber(topic).qos(requested.keep_all()).encoding(encoding).build().await?)
}

async fn joined<V>(task: JoinHandle<anyhow::Result<V>>) -> anyhow::Result<V> {
    task.await?
}
