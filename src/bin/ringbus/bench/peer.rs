//! One of the two processes of the bench.

use super::broker;
use super::door::{Door, answer};
use super::library;
use super::order::{Answer, Link, Order, Side};

/// A process of the bench (started by the bench itself)
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keep a broker at this port
    #[arg(long)]
    broker: Option<u16>,

    /// With TCP_NODELAY
    #[arg(long)]
    nodelay: bool,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let outcome = match args.broker {
        Some(port) => broker::keep(port, args.nodelay).await,
        None => play().await,
    };
    if let Err(error) = outcome {
        answer(&Answer::Failed(format!("{error:#}")))?;
    }
    // Threads may still wait at their sockets, and goodbyes of sessions would only take time.
    std::process::exit(0);
}

async fn play() -> anyhow::Result<()> {
    let (door, order) = Door::open().await?;
    work(door, order).await
}

async fn work(door: Door, order: Order) -> anyhow::Result<()> {
    match (order.side, order.link.clone()) {
        #[cfg(feature = "zmq")]
        (Side::Library, Link::Zmq(engine)) => {
            let transport = || ringbus::transport::ZmqTransport::ephemeral().engine(engine.into());
            library::run(door, order, transport).await
        }
        #[cfg(feature = "zmq")]
        (Side::Raw, Link::Zmq(_)) => super::raw_zmq::run(door, order).await,
        #[cfg(feature = "mqtt")]
        (Side::Library, Link::Mqtt { host, port, .. }) => {
            let url = format!("mqtt://{host}:{port}");
            library::run(door, order, || ringbus::transport::MqttTransport::new(&url)).await
        }
        #[cfg(feature = "mqtt")]
        (Side::Raw, Link::Mqtt { .. }) => super::raw_mqtt::run(door, order).await,
        #[allow(unreachable_patterns, reason = "all transports may be compiled in")]
        (_, link) => {
            anyhow::bail!("this ringbus was built without {link}: build it with --features zmq,mqtt")
        }
    }
}
