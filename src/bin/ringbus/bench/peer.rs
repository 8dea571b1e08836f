//! One of the two processes of the bench.

use super::door::{Door, answer};
use super::library;
use super::order::{Answer, Link, Order, Side};

/// A process of the bench (started by the bench itself)
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) async fn run(_: Args) -> anyhow::Result<()> {
    let (door, order) = Door::open().await?;
    if let Err(error) = work(door, order).await {
        answer(&Answer::Failed(format!("{error:#}")))?;
    }
    // Sessions and sockets end with the process: saying goodbye would only take time.
    Ok(())
}

async fn work(door: Door, order: Order) -> anyhow::Result<()> {
    match (order.side, order.link.clone()) {
        #[cfg(feature = "zmq")]
        (Side::Library, Link::Zmq) => {
            library::run(door, order, ringbus::transport::ZmqTransport::ephemeral).await
        }
        #[cfg(feature = "zmq")]
        (Side::Raw, Link::Zmq) => super::raw_zmq::run(door, order).await,
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
