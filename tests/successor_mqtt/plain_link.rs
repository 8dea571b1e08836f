//! A connection to the broker for programs of the plain protocol: rumqttc and nothing else.

use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, NetworkOptions, Packet, QoS};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::PATIENCE;

/// More than the greatest payload of any test; rumqttc's own limit is 10 KiB.
const MAX_PACKET: usize = 32 << 20;

/// A topic, and what was published on it.
pub(crate) type Heard = (String, Vec<u8>);

/// Publishes. What it hears comes through the receiver that was made with it.
pub(crate) struct Link {
    client: AsyncClient,
    pump: JoinHandle<()>,
}

impl Link {
    /// Connects, and returns when the broker has confirmed the subscription of all topics.
    pub(crate) async fn connect(port: u16, name: &str, topics: &[&str]) -> (Self, UnboundedReceiver<Heard>) {
        let mut options = MqttOptions::new(name, "127.0.0.1", port);
        options.set_keep_alive(Duration::from_secs(30)).set_max_packet_size(MAX_PACKET, MAX_PACKET);
        let (client, mut events) = AsyncClient::new(options, 1000);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        events.set_network_options(network);
        let (heard, receiver) = unbounded_channel();
        let (subscribed, all_subscribed) = oneshot::channel();
        let pump = tokio::spawn(pump(events, heard, topics.len(), subscribed));
        for topic in topics {
            client.subscribe(*topic, QoS::AtLeastOnce).await.unwrap();
        }
        if !topics.is_empty() {
            timeout(PATIENCE, all_subscribed).await.expect("subscriptions in time").unwrap();
        }
        (Self { client, pump }, receiver)
    }

    pub(crate) async fn publish(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.client.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
    }

    /// Says goodbye behind everything that was published.
    pub(crate) async fn close(self) {
        self.client.disconnect().await.unwrap();
        timeout(PATIENCE, self.pump).await.expect("the broker closes the connection").unwrap();
    }
}

/// Polls and never publishes, so that a full request channel cannot stop it. Ends with the connection.
async fn pump(
    mut events: EventLoop,
    heard: UnboundedSender<Heard>,
    mut unconfirmed: usize,
    subscribed: oneshot::Sender<()>,
) {
    let mut subscribed = Some(subscribed);
    while let Ok(event) = events.poll().await {
        match event {
            Event::Incoming(Packet::Publish(publish)) => {
                // Nobody may be listening any more.
                heard.send((publish.topic, publish.payload.to_vec())).ok();
            }
            Event::Incoming(Packet::SubAck(_)) => {
                unconfirmed -= 1;
                if let Some(subscribed) = subscribed.take_if(|_| unconfirmed == 0) {
                    // It may have given up.
                    subscribed.send(()).ok();
                }
            }
            _ => {}
        }
    }
}
