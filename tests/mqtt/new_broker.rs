//! Another broker at the same address, which closes the connection over a filter that the one before has taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ringbus::pubsub::MatchEvent;
use ringbus::qos::{Offered, Requested};
use ringbus::transport::{Event, MqttTransport, TransportTx};
use ringbus::{ErrorKind, TopicFilter};
use rumqttc::Packet;
use tokio::time::{sleep, timeout};

use super::PATIENCE;
use super::mosquitto::Mosquitto;
use super::proxy::{Proxy, Seen, Verdict, Way};
use super::session::Session;

/// The broker as it is now.
#[derive(Default)]
struct Broker {
    /// It closes the connection over a filter with a dot.
    refuses_dots: AtomicBool,
    /// The connection is lost with the next ping.
    ends: AtomicBool,
    /// It takes no connection.
    is_away: AtomicBool,
    /// How many it has not taken.
    turned_away: AtomicUsize,
}

impl Broker {
    fn judge(&self, seen: &Seen) -> Verdict {
        let cuts = match &seen.packet {
            Packet::Subscribe(subscribe) => {
                let is_dotted = subscribe.filters.iter().any(|filter| filter.path.contains('.'));
                is_dotted && self.refuses_dots.load(Ordering::SeqCst)
            }
            Packet::PingReq => self.ends.swap(false, Ordering::SeqCst),
            Packet::Connect(_) if self.is_away.load(Ordering::SeqCst) => {
                self.turned_away.fetch_add(1, Ordering::SeqCst);
                true
            }
            _ => false,
        };
        if seen.way == Way::Up && cuts { Verdict::Cut } else { Verdict::Pass }
    }

    /// The session finds another broker in its place.
    fn comes_anew(&self, refuses_dots: bool) {
        self.refuses_dots.store(refuses_dots, Ordering::SeqCst);
        self.ends.store(true, Ordering::SeqCst);
    }

    /// As [`comes_anew`](Self::comes_anew), after a time with none.
    async fn comes_back(&self, refuses_dots: bool) {
        self.is_away.store(true, Ordering::SeqCst);
        self.comes_anew(refuses_dots);
        let before = self.turned_away.load(Ordering::SeqCst);
        let away = async {
            while self.turned_away.load(Ordering::SeqCst) == before {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, away).await.expect("the session tries to connect");
        self.is_away.store(false, Ordering::SeqCst);
    }
}

async fn start() -> (Mosquitto, Arc<Broker>, Proxy) {
    let (mosquitto, broker) = (Mosquitto::start(), Arc::new(Broker::default()));
    let rule = broker.clone();
    let proxy = Proxy::start(mosquitto.port(), move |seen| rule.judge(seen)).await;
    (mosquitto, broker, proxy)
}

fn is_back(event: &Event) -> bool {
    matches!(event, Event::Reconnected { .. })
}

/// The session is told of these filters, in whatever order, and then has all others.
async fn are_told(session: &mut Session, filters: &[&str]) {
    let mut refused = Vec::new();
    while refused.len() < filters.len() {
        let told = session.until(|event| matches!(event, Event::SubscriptionRefused { .. }));
        let told = timeout(2 * PATIENCE, told).await.expect("it is found");
        let Event::SubscriptionRefused { filter, broker, reason } = told else { unreachable!() };
        assert!(
            broker.starts_with("mqtt://127.0.0.1:") && reason.contains("closes the connection"),
            "{reason}"
        );
        refused.push(filter.to_string());
    }
    refused.sort();
    assert_eq!(refused, filters);
    timeout(2 * PATIENCE, session.until(is_back)).await.expect("it goes on");
}

/// Of what is published to these topics the session hears this.
async fn hears(session: &mut Session, publisher: &Session, topics: &[&str], heard: &[&str]) {
    for topic in topics {
        publisher.publish(topic, topic.to_string()).await;
    }
    publisher.tx.acknowledged().await.unwrap();
    assert_eq!(session.messages_until_fence().await, heard);
}

#[tokio::test]
async fn a_filter_that_a_new_broker_closes_over_is_given_up_alone_until_another_one_comes() {
    let (mosquitto, broker, proxy) = start().await;
    let mut session = Session::open(&proxy.url, "s").await;
    let publisher = Session::open(&mosquitto.url(), "publisher").await;
    // More than one SUBSCRIBE carries; the broker holds "v1.2/#" for the last two.
    for n in 0..70 {
        session.subscribe(&format!("t/{n}")).await;
    }
    for filter in ["u", "v1.2/x", "v1.2/#"] {
        session.subscribe(filter).await;
    }
    let topics = ["t/0", "v1.2/x", "t/69", "v1.2/y", "u"];
    hears(&mut session, &publisher, &topics, &topics).await;

    broker.comes_anew(true);
    are_told(&mut session, &["v1.2/#", "v1.2/x"]).await;
    hears(&mut session, &publisher, &topics, &["t/0", "t/69", "u"]).await;

    broker.comes_back(false).await;
    timeout(2 * PATIENCE, session.until(is_back)).await.expect("it is back");
    hears(&mut session, &publisher, &topics, &topics).await;

    // One that is asked for again is answered; one that is taken back does not come again.
    broker.comes_back(true).await;
    are_told(&mut session, &["v1.2/#", "v1.2/x"]).await;
    let again = TopicFilter::new("v1.2/x").unwrap();
    let refused = timeout(2 * PATIENCE, session.tx.subscribe(&again)).await.expect("it ends").unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Transport { operation: "subscribe", .. }), "{refused}");
    session.unsubscribe("v1.2/#").await;
    // What happened until here is read.
    hears(&mut session, &publisher, &["v1.2/x"], &[]).await;
    broker.comes_back(false).await;
    timeout(2 * PATIENCE, session.until(is_back)).await.expect("it is back");
    hears(&mut session, &publisher, &topics, &["t/0", "t/69", "u"]).await;
}

#[tokio::test]
async fn a_subscriber_whose_filter_a_new_broker_closes_over_is_told_and_others_go_on() {
    let (mosquitto, broker, proxy) = start().await;
    let open = async |url: &str| {
        let transport = MqttTransport::new(url).keep_alive(Duration::from_secs(1));
        ringbus::Session::open(transport).await.unwrap()
    };
    let (session, other) = (open(&proxy.url).await, open(&mosquitto.url()).await);
    let requested = || Requested::reliable().keep_all();
    let dotted = session.subscriber::<u64>("v1.2/x").qos(requested()).build().await.unwrap();
    let mut healthy = session.subscriber::<u64>("healthy").qos(requested()).build().await.unwrap();
    let publisher =
        other.publisher::<u64>("healthy").qos(Offered::reliable().keep_all()).build().await.unwrap();
    timeout(PATIENCE, publisher.matched(1)).await.expect("they match").unwrap();
    broker.comes_anew(true);
    let told = async {
        let events = dotted.events();
        loop {
            if let MatchEvent::SubscriptionRefused { filter, broker, reason } = events.next().await.unwrap() {
                return (filter, broker, reason);
            }
        }
    };
    let (filter, at, reason) = timeout(2 * PATIENCE, told).await.expect("it is told");
    assert_eq!((filter.as_str(), &at), ("v1.2/x", &proxy.url));
    assert!(reason.contains("closes the connection"), "{reason}");
    for n in 0..50 {
        publisher.publish(&n).await.unwrap();
    }
    for n in 0..50 {
        let sample = timeout(PATIENCE, healthy.recv()).await.expect("it goes on").unwrap();
        assert_eq!(sample.unwrap().value().unwrap(), n);
    }
}
