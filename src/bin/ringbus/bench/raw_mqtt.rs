//! The work by crate `rumqttc` alone: a client for each publisher and subscriber, each event loop in a task of its own,
//! as the crate's documentation has it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::future::try_join_all;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, NetworkOptions, Packet, Publish, QoS};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::cpu;
use super::door::Door;
use super::order::{Link, Order, Report, Role};
use super::pace::Pace;
use super::samples::{Body, Number, Numbered};
use super::tally::{self, Tally};
use super::trips::Trips;

/// How many requests wait for an event loop. The crate's usual 10 doubles the processor time.
const REQUESTS: usize = 100;

/// How long a write may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The send buffer, in bytes, of a publisher for many: the broker is the bottleneck then, and the system's own buffer
/// holds what it delivers in a minute.
const BACKLOG: u32 = 64 << 10;

/// What a packet has beside its payload, generously.
const OVERHEAD: usize = 1024;

pub(super) async fn run(door: Door, order: Order) -> anyhow::Result<()> {
    match order.role {
        Role::Publish => publish(door, order).await,
        Role::Subscribe => subscribe(door, order).await,
        Role::Ping => ping(door, order).await,
        Role::Pong => pong(door, order).await,
    }
}

async fn publish(mut door: Door, order: Order) -> anyhow::Result<()> {
    let clients = try_join_all((0..order.crowd.publishers).map(|client| connect(&order, client))).await?;
    door.introduce(Vec::new()).await?;
    door.ready()?;
    door.go().await?;
    let idle = cpu::own();
    let (mut loops, mut floods) = (Vec::new(), Vec::new());
    for (publisher, (client, events)) in clients.into_iter().enumerate() {
        loops.push(joined(tokio::spawn(poll_on(events))));
        floods.push(joined(tokio::spawn(flood(client, publisher, order.clone()))));
    }
    let mut loops = std::pin::pin!(try_join_all(loops));
    let sent: Vec<u64> = tokio::select! {
        sent = try_join_all(floods) => sent?,
        broken = &mut loops => return Err(broken.map(drop).err().context("an event loop ended")?),
    };
    door.done(sent.iter().sum())?;
    // What is still in the channels goes out meanwhile.
    door.finish().await?;
    door.report(Report { cpu: cpu::own() - idle, ..Report::default() })
}

async fn flood(client: AsyncClient, publisher: usize, order: Order) -> anyhow::Result<u64> {
    let (qos, mut body) = (qos(&order)?, Body::new(order.payload.raw_size()));
    let mut pace = Pace::begin(&order, publisher);
    while let Some(number) = pace.next() {
        body.renumber(number);
        client.publish(&order.topic, qos, false, body.0.as_slice()).await?;
    }
    body.renumber(pace.last());
    client.publish(&order.topic, qos, false, body.0).await?;
    Ok(pace.sent())
}

async fn subscribe(mut door: Door, order: Order) -> anyhow::Result<()> {
    let clients = (0..order.crowd.subscribers).map(async |client| {
        let (client, mut events) = connect(&order, client).await?;
        listen(&client, &mut events, &order.topic, qos(&order)?).await?;
        anyhow::Ok((client, events))
    });
    let clients = try_join_all(clients).await?;
    door.introduce(Vec::new()).await?;
    let idle = cpu::own();
    let progress = Arc::<AtomicU64>::default();
    let (end, ended) = watch::channel(false);
    let tasks = clients.into_iter().map(|(client, mut events)| {
        let (mut tally, mut ended) = (Tally::new(&order, &progress), ended.clone());
        let size = order.payload.raw_size();
        joined(tokio::spawn(async move {
            tokio::select! {
                biased;
                received = receive(&mut events, &mut tally, size) => received?,
                _ = ended.wait_for(|ended| *ended) => {}
            }
            Ok((tally, client, events))
        }))
    });
    let all = door.until_silence(try_join_all(tasks), &progress, || _ = end.send_replace(true)).await?;
    // The connections stay until all have ended.
    let (tallies, _clients): (Vec<Tally>, Vec<_>) =
        all.into_iter().map(|(tally, client, events)| (tally, (client, events))).unzip();
    door.finish().await?;
    door.report(tally::report(&tallies, cpu::own() - idle))
}

async fn receive(events: &mut EventLoop, tally: &mut Tally, size: usize) -> anyhow::Result<()> {
    while tally.take(Number::read(&next(events).await?.payload, size))? {}
    Ok(())
}

async fn ping(mut door: Door, order: Order) -> anyhow::Result<()> {
    let (there, back) = (format!("{}/ping", order.topic), format!("{}/pong", order.topic));
    let (client, mut events) = connect(&order, 0).await?;
    listen(&client, &mut events, &back, qos(&order)?).await?;
    door.introduce(Vec::new()).await?;
    door.ready()?;
    door.go().await?;
    let idle = cpu::own();
    let task = tokio::spawn(async move {
        let (qos, mut body) = (qos(&order)?, Body::new(order.payload.raw_size()));
        let mut trips = Trips::begin(&order);
        while let Some(trip) = trips.next() {
            body.renumber(trip.0);
            client.publish(&there, qos, false, body.0.as_slice()).await?;
            let answer = next(&mut events).await?;
            trips.back(trip, Number::read(&answer.payload, body.0.len()))?;
        }
        body.renumber(Number::first_of(0).last());
        client.publish(&there, qos, false, body.0).await?;
        next(&mut events).await?;
        Ok(trips)
    });
    let trips = joined(task).await?;
    let cpu = cpu::own() - idle;
    door.done(trips.made())?;
    door.finish().await?;
    door.report(trips.report(cpu))
}

async fn pong(mut door: Door, order: Order) -> anyhow::Result<()> {
    let (there, back) = (format!("{}/ping", order.topic), format!("{}/pong", order.topic));
    let (client, mut events) = connect(&order, 0).await?;
    listen(&client, &mut events, &there, qos(&order)?).await?;
    door.introduce(Vec::new()).await?;
    door.ready()?;
    let idle = cpu::own();
    let task = tokio::spawn(async move {
        let (qos, mut body) = (qos(&order)?, Body::new(order.payload.raw_size()));
        loop {
            let ping = next(&mut events).await?;
            let number = Number::read(&ping.payload, body.0.len());
            let number = number.context("a sample arrived that nobody published")?;
            body.renumber(number);
            client.publish(&back, qos, false, body.0.as_slice()).await?;
            if number.is_last() {
                return Ok(events);
            }
        }
    });
    let events = joined(task).await?;
    let cpu = cpu::own() - idle;
    // The last answer is still in the channel.
    tokio::select! {
        finished = door.finish() => finished?,
        broken = poll_on(events) => broken?,
    }
    door.report(Report { cpu, ..Report::default() })
}

async fn connect(order: &Order, client: usize) -> anyhow::Result<(AsyncClient, EventLoop)> {
    let Link::Mqtt { host, port, nodelay, .. } = &order.link else { bail!("no broker was named") };
    let name = format!("bench-{}-{client}", std::process::id());
    let mut options = MqttOptions::new(name, host, *port);
    let limit = order.payload.raw_size() + OVERHEAD;
    options.set_max_packet_size(limit, limit);
    options.set_keep_alive(Duration::from_secs(60));
    let (client, mut events) = AsyncClient::new(options, REQUESTS);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(*nodelay);
    // A broker that serves many subscribers is slow to read: that is no failure of the connection.
    network.set_connection_timeout(PATIENCE.as_secs());
    if order.crowd.subscribers > 1 {
        network.set_tcp_send_buffer_size(BACKLOG);
    }
    events.set_network_options(network);
    match events.poll().await? {
        Event::Incoming(Packet::ConnAck(_)) => Ok((client, events)),
        other => bail!("the broker said {other:?} before it accepted the connection"),
    }
}

async fn listen(client: &AsyncClient, events: &mut EventLoop, topic: &str, qos: QoS) -> anyhow::Result<()> {
    client.subscribe(topic, qos).await?;
    while !matches!(events.poll().await?, Event::Incoming(Packet::SubAck(_))) {}
    Ok(())
}

/// The next message.
async fn next(events: &mut EventLoop) -> anyhow::Result<Publish> {
    loop {
        if let Event::Incoming(Packet::Publish(publish)) = events.poll().await? {
            return Ok(publish);
        }
    }
}

/// Keeps a connection going.
async fn poll_on(mut events: EventLoop) -> anyhow::Result<()> {
    loop {
        events.poll().await?;
    }
}

fn qos(order: &Order) -> anyhow::Result<QoS> {
    match order.link {
        Link::Mqtt { qos: 0, .. } => Ok(QoS::AtMostOnce),
        Link::Mqtt { qos: 1, .. } => Ok(QoS::AtLeastOnce),
        _ => bail!("no quality of service that the bench knows"),
    }
}

async fn joined<V>(task: JoinHandle<anyhow::Result<V>>) -> anyhow::Result<V> {
    task.await?
}
