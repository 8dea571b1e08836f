//! The cases, for one engine.

use std::time::{Duration, Instant};

use bytes::Bytes;
use ringbus::transport::zmq::Engine;
use ringbus::transport::{
    Event, Locator, OpenOptions, Origin, Outbound, TransportRx, TransportTx, TrySendError, ZmqTransport,
};
use ringbus::{ErrorKind, Topic};

use super::super::PATIENCE;
use super::super::machine::on_this_machine;
use super::super::node::{Node, filter, free_port, host, reopen, topic};

use super::ENGINE;

fn listening(address: String) -> ZmqTransport {
    ZmqTransport::new(address).engine(ENGINE)
}

fn ephemeral() -> ZmqTransport {
    ZmqTransport::ephemeral().engine(ENGINE)
}

#[tokio::test]
async fn a_peer_that_comes_back_with_another_port_for_publications_is_heard_again() {
    let (port, mut steady) = (free_port(), Node::open(ephemeral()).await);
    let at = |out| listening(format!("tcp://{}:{port}", host())).out_port(out);
    let mut other = Node::open(at(free_port())).await;
    steady.subscribe("weather/#").await;
    steady.tx.attach(&other.local()).await.unwrap();
    steady.up(&other.local()).await;
    other.interest("weather/#").await;
    for round in 0..2 {
        other.publish("weather/1", "before");
        assert_eq!(steady.message().await.1, "before");
        let gone = other.local();
        if round == 0 {
            other.close().await;
        } else {
            drop(other);
        }
        steady.down(&gone).await;
        other = reopen(&at(free_port())).await;
        steady.wait("Reconnected", |event| matches!(event, Event::Reconnected { .. }).then_some(())).await;
        steady.up(&other.local()).await;
        other.interest("weather/#").await;
        other.publish("weather/1", "after");
        assert_eq!(steady.message().await, (Origin::Topic(topic("weather/1")), Bytes::from("after")));
    }
}

#[tokio::test]
async fn the_attached_side_follows_a_restarted_attacher() {
    let mut steady = Node::open(ephemeral()).await;
    let at = listening(format!("tcp://{}:{}", host(), free_port()));
    steady.subscribe("a").await;
    for _ in 0..2 {
        let mut other = reopen(&at).await;
        other.tx.attach(&steady.local()).await.unwrap();
        steady.up(&other.local()).await;
        other.interest("a").await;
        other.publish("a", "here");
        assert_eq!(steady.message().await.1, "here");
        steady.tell(&other.local(), "answer");
        assert_eq!(other.message().await, (Origin::Peer(steady.local()), Bytes::from("answer")));
        let gone = other.local();
        drop(other);
        steady.down(&gone).await;
    }
}

/// A greeting as it stands on the wire: kind, version, variant, then the locator, the port and the nonce.
fn hello(locator: &str, port: u16) -> Vec<u8> {
    let mut frame = vec![b'c', 1, 0, locator.len() as u8];
    frame.extend_from_slice(locator.as_bytes());
    frame.extend([(port & 0x7f) as u8 | 0x80, ((port >> 7) & 0x7f) as u8 | 0x80, (port >> 14) as u8, 7]);
    frame
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_of_strangers_disturbs_nobody() {
    let options = OpenOptions { max_payload: 1000, ..OpenOptions::default() };
    let mut node = Node::open_with(ephemeral(), options).await;
    let mut friend = Node::open(ephemeral()).await;
    node.subscribe("a/+").await;
    node.tx.attach(&friend.local()).await.unwrap();
    node.up(&friend.local()).await;
    friend.interest("a/#").await;

    let context = zmq::Context::new();
    let endpoint = node.endpoint();
    let dealer = |id: Option<&str>| {
        let socket = context.socket(zmq::DEALER).unwrap();
        socket.set_linger(1000).unwrap();
        if let Some(id) = id {
            socket.set_identity(id.as_bytes()).unwrap();
        }
        socket.connect(&endpoint).unwrap();
        socket
    };
    let publisher = context.socket(zmq::XPUB).unwrap();
    publisher.bind("tcp://127.0.0.1:*").unwrap();
    let feed = publisher.get_last_endpoint().unwrap().unwrap();
    let port: u16 = feed.rsplit_once(':').unwrap().1.parse().unwrap();
    let claimed = "zmq+tcp://127.0.0.1:9";
    let friends = friend.local();
    // Each with another identity: none, no locator, another transport's, our own, one of its own.
    let own = node.local();
    for id in [None, Some("somebody"), Some("mqtt:x"), Some(own.as_str()), Some(claimed)] {
        let stranger = dealer(id);
        let oversize = [b"d".to_vec(), vec![0; 1500]].concat();
        let frames: [&[u8]; 8] = [b"", b"x", b"c", b"c\x01", b"c\x01\x00\xff", b"D", b"c\x01\x01", &oversize];
        for frame in frames {
            stranger.send(frame, 0).unwrap();
        }
        stranger.send_multipart(["d", "two"], 0).unwrap();
        stranger.send_multipart(["D", "two", "three"], 0).unwrap();
        stranger.send_multipart(vec!["", "", "", ""], 0).unwrap();
        // Somebody else's name, and a name without an address.
        stranger.send(hello(friends.as_str(), port), 0).unwrap();
        stranger.send(hello("zmq+tcp:x", port), 0).unwrap();
    }
    // A hello in order, by one whose publications are not.
    let stranger = dealer(Some("zmq+tcp://127.0.0.1:10"));
    stranger.send(hello("zmq+tcp://127.0.0.1:10", port), 0).unwrap();
    let publisher = tokio::task::spawn_blocking(move || {
        publisher.set_rcvtimeo(10_000).unwrap();
        publisher.recv_bytes(0).expect("the subscription of the session");
        publisher
    });
    node.up(&Locator::new("zmq+tcp://127.0.0.1:10").unwrap()).await;
    let publisher = publisher.await.unwrap();
    publisher.send("a/without an end", 0).unwrap();
    publisher.send(&b"a/\xff\xff\0payload"[..], 0).unwrap();
    publisher.send(&b"a/+\0payload"[..], 0).unwrap();
    publisher.send_multipart([&b"a/x\0one"[..], b"two"], 0).unwrap();
    publisher.send([b"a/x\0".to_vec(), vec![1; 1001]].concat(), 0).unwrap();
    publisher.send(&b"a/x\0good"[..], 0).unwrap();
    assert_eq!(node.message().await, (Origin::Topic(topic("a/x")), Bytes::from("good")));

    friend.publish("a/b", "undisturbed");
    assert_eq!(node.message().await.1, "undisturbed");
    friend.tell(&node.local(), "directly");
    assert_eq!(node.message().await, (Origin::Peer(friend.local()), Bytes::from("directly")));
    let lagged = node.events.iter().filter(|event| matches!(event, Event::Lagged(1))).count();
    assert_eq!(lagged, 3, "the oversize ones: two of strangers with a possible name, one publication");
    assert!(!node.events.contains(&Event::PeerDown(friend.local())));
}

#[tokio::test]
async fn a_peer_behind_address_translation_is_answered_on_its_own_connection() {
    let mut server = Node::open(ephemeral()).await;
    // Reserved for documentation: nobody can connect there.
    let mut hidden = Node::open(ephemeral().advertise("192.0.2.1")).await;
    assert!(hidden.local().as_str().starts_with("zmq+tcp://192.0.2.1:"));
    hidden.subscribe("news/#").await;
    hidden.tx.attach(&server.local()).await.unwrap();
    hidden.up(&server.local()).await;
    hidden.tell(&server.local(), "question");
    let (from, payload) = server.message().await;
    assert_eq!((&from, &payload), (&Origin::Peer(hidden.local()), &Bytes::from("question")));
    server.tell(&hidden.local(), "answer");
    assert_eq!(hidden.message().await, (Origin::Peer(server.local()), Bytes::from("answer")));
    server.up(&hidden.local()).await;
    server.interest("news/#").await;
    server.publish("news/1", "heard");
    assert_eq!(hidden.message().await.1, "heard");
}

#[tokio::test]
async fn an_answer_needs_no_attach() {
    let mut server = Node::open(ephemeral()).await;
    let mut client = Node::open(ephemeral().advertise("192.0.2.1")).await;
    client.tell(&server.local(), "question");
    assert_eq!(server.message().await, (Origin::Peer(client.local()), Bytes::from("question")));
    server.tell(&client.local(), "answer");
    assert_eq!(client.message().await, (Origin::Peer(server.local()), Bytes::from("answer")));
    // A session can write to itself.
    server.tell(&server.local(), "note");
    assert_eq!(server.message().await, (Origin::Peer(server.local()), Bytes::from("note")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_subscriber_sees_topic_and_payload_in_one_frame() {
    let port = free_port();
    let mut node = Node::open(listening(format!("tcp://{}:0", host())).out_port(port)).await;
    let plain = zmq::Context::new().socket(zmq::SUB).unwrap();
    plain.set_rcvtimeo(10_000).unwrap();
    plain.connect(&format!("tcp://{}:{port}", host())).unwrap();
    plain.set_subscribe(b"weather/98").unwrap();
    node.interest("weather/#").await;
    node.publish("weather/98101", "21 C");
    let message = tokio::task::spawn_blocking(move || plain.recv_multipart(0)).await.unwrap().unwrap();
    assert_eq!(message, [b"weather/98101\x0021 C".to_vec()]);
}

#[tokio::test]
async fn messages_to_a_peer_that_is_not_there_wait_for_it_up_to_the_queue() {
    let at = listening(format!("tcp://{}:{}", host(), free_port()));
    let options = OpenOptions { queue: 10, ..OpenOptions::default() };
    let node = Node::open_with(ephemeral(), options).await;
    let absent = {
        let probe = Node::open(at.clone()).await;
        let locator = probe.local();
        probe.close().await;
        locator
    };
    let mut accepted = 0;
    let refused = loop {
        match node.tx.try_send(Outbound::peer(absent.clone(), format!("{accepted}"))) {
            Ok(()) => accepted += 1,
            Err(TrySendError::Full(back)) => break back,
            Err(error) => panic!("{error}"),
        }
        assert!(accepted <= 100, "the queue has no end");
    };
    assert_eq!(accepted, 10);
    assert_eq!(refused.payload, "10");
    // One that waits gets through as soon as the peer is there.
    let tx = node.tx.clone();
    let waiting = tokio::spawn(async move { tx.send_batch(&mut vec![refused]).await });
    let mut there = reopen(&at).await;
    for expected in 0..=10 {
        assert_eq!(there.message().await, (Origin::Peer(node.local()), format!("{expected}").into()));
    }
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn closing_counts_what_nobody_was_there_to_take() {
    let node = Node::open(ephemeral()).await;
    let absent = Locator::new(format!("zmq+tcp://{}:{}", host(), free_port())).unwrap();
    for _ in 0..3 {
        node.tell(&absent, "lost");
    }
    let begun = Instant::now();
    let undelivered = node.tx.close(Duration::from_millis(300)).await.unwrap();
    assert_eq!(undelivered.messages, 3);
    assert!(begun.elapsed() < on_this_machine(Duration::from_secs(5)));
    let error = node.tx.attach(&absent).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Closed { .. }));
}

#[tokio::test]
async fn what_had_arrived_before_close_is_handed_out_after_it() {
    let mut sender = Node::open(ephemeral()).await;
    let mut receiver = Node::open(ephemeral()).await;
    receiver.subscribe("a").await;
    receiver.tx.attach(&sender.local()).await.unwrap();
    receiver.up(&sender.local()).await;
    sender.interest("a").await;
    for _ in 0..100 {
        sender.publish("a", "early");
    }
    sender.publish("b", "unheard");
    receiver.message().await;
    // The rest is on its way, over loopback: give it time to be in the receiver's queue.
    tokio::time::sleep(Duration::from_millis(500)).await;
    receiver.tx.close(Duration::from_secs(1)).await.unwrap();
    loop {
        match receiver.rx.recv_batch(&mut receiver.events, 7).await {
            Ok(count) => assert!((1..=7).contains(&count)),
            Err(error) => break assert!(matches!(error.kind(), ErrorKind::Closed { .. })),
        }
    }
    assert_eq!(receiver.messages(), 99);
}

#[tokio::test]
async fn peers_that_attach_to_each_other_hear_each_other_once() {
    let mut one = Node::open(ephemeral()).await;
    let mut other = Node::open(ephemeral()).await;
    one.tx.attach(&other.local()).await.unwrap();
    other.tx.attach(&one.local()).await.unwrap();
    one.up(&other.local()).await;
    other.up(&one.local()).await;
    one.subscribe("a").await;
    one.subscribe("#").await;
    other.interest("a").await;
    other.interest("#").await;
    other.publish("a", "once");
    one.message().await;
    // One side lets go, the other has not.
    one.tx.detach(&other.local()).await.unwrap();
    one.linger(Duration::from_millis(300)).await;
    assert_eq!(one.messages(), 0, "{:?}", one.events);
    assert!(!one.events.contains(&Event::PeerDown(other.local())));
    other.publish("a", "still");
    assert_eq!(one.message().await.1, "still");
    other.tx.detach(&one.local()).await.unwrap();
    one.down(&other.local()).await;
    other.publish("a", "to nobody");
    one.linger(Duration::from_millis(300)).await;
    assert_eq!(one.messages(), 0, "{:?}", one.events);
}

#[tokio::test]
async fn a_subscriber_that_never_reads_cannot_hold_its_publisher_up_for_ever() {
    let options = OpenOptions { queue: 4, ..OpenOptions::default() };
    let transport = || ephemeral().peer_timeout(Duration::from_millis(500));
    let mut publisher = Node::open_with(transport(), options.clone()).await;
    let mut stuck = Node::open_with(transport(), options).await;
    stuck.subscribe("a").await;
    stuck.tx.attach(&publisher.local()).await.unwrap();
    publisher.up(&stuck.local()).await;
    publisher.interest("a").await;
    let outbound = || Outbound::topic(topic("a"), vec![0; 1 << 20]);
    let mut refused = false;
    let begun = Instant::now();
    // More than all the buffers between the two hold, many times over.
    for _ in 0..100 {
        refused |= matches!(publisher.tx.try_send(outbound()), Err(TrySendError::Full(_)));
        tokio::time::timeout(PATIENCE, publisher.tx.send_batch(&mut vec![outbound()]))
            .await
            .unwrap()
            .unwrap();
    }
    assert!(refused, "nothing was ever full");
    assert!(begun.elapsed() >= Duration::from_millis(400), "nobody was waited for");
    // It comes back as soon as it reads.
    stuck.linger(Duration::from_millis(500)).await;
    loop {
        publisher.publish("a", "well?");
        stuck.linger(Duration::from_millis(50)).await;
        let heard = |event: &Event| matches!(event, Event::Message { payload, .. } if payload == "well?");
        if stuck.events.iter().any(heard) {
            break;
        }
        assert!(begun.elapsed() < PATIENCE * 3, "it never came back");
    }
}

#[tokio::test]
async fn a_peer_attached_by_another_name_is_one_peer() {
    let mut node = Node::open(ephemeral()).await;
    let mut peer = Node::open(ephemeral()).await;
    let port = peer.endpoint().rsplit_once(':').unwrap().1.to_owned();
    let name = Locator::new(format!("zmq+tcp://localhost:{port}")).unwrap();
    // It knows us already by the time that we find it by name.
    peer.tx.attach(&node.local()).await.unwrap();
    node.up(&peer.local()).await;
    node.tx.attach(&name).await.unwrap();
    node.up(&name).await;
    node.subscribe("a").await;
    peer.interest("a").await;
    peer.publish("a", "once");
    node.message().await;
    node.tell(&peer.local(), "by number");
    node.tell(&name, "by name");
    assert_eq!(peer.message().await.1, "by number");
    assert_eq!(peer.message().await.1, "by name");
    node.linger(Duration::from_millis(300)).await;
    assert_eq!(node.messages(), 0, "{:?}", node.events);
    // It was announced under both, and is gone under both.
    let number = peer.local();
    peer.close().await;
    node.down(&name).await;
    node.down(&number).await;
}

#[tokio::test]
async fn attaching_to_oneself_by_another_name_is_harmless() {
    let mut node = Node::open(ephemeral()).await;
    let port = node.endpoint().rsplit_once(':').unwrap().1.to_owned();
    node.tx.attach(&Locator::new(format!("zmq+tcp://localhost:{port}")).unwrap()).await.unwrap();
    node.subscribe("a").await;
    node.linger(Duration::from_millis(500)).await;
    node.publish("a", "once");
    node.message().await;
    node.linger(Duration::from_millis(300)).await;
    let quiet = |event: &Event| matches!(event, Event::Interest(_));
    assert!(node.events.iter().all(quiet), "{:?}", node.events);
}

#[tokio::test]
async fn one_may_attach_before_the_peer_is_there() {
    let at = listening(format!("tcp://{}:{}", host(), free_port()));
    let mut early = Node::open(ZmqTransport::towards("tcp://127.0.0.1:5556").engine(ENGINE)).await;
    assert!(early.local().as_str().starts_with("zmq+tcp://127.0.0.1:"));
    let late = Node::open(at.clone()).await;
    let locator = late.local();
    late.close().await;
    early.tx.attach(&locator).await.unwrap();
    early.subscribe("a").await;
    let mut late = reopen(&at).await;
    early.up(&locator).await;
    late.interest("a").await;
    late.publish("a", "now");
    assert_eq!(early.message().await.1, "now");
}

/// libzmq's heartbeats would abort the process here, sooner or later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_dies_and_comes_back_while_its_reader_is_stuck_is_heard_again() {
    let at = listening(format!("tcp://{}:{}", host(), free_port()));
    let options = OpenOptions { queue: 4, ..OpenOptions::default() };
    let mut reader = Node::open_with(ephemeral(), options).await;
    reader.subscribe("a").await;
    let mut publisher = Node::open(at.clone()).await;
    let locator = publisher.local();
    reader.tx.attach(&locator).await.unwrap();
    reader.up(&locator).await;
    for _ in 0..3 {
        publisher.interest("a").await;
        // Each of another length, so that the connection dies within a message.
        let mut outbound = (0..10_000).map(|n| Outbound::topic(topic("a"), vec![0; (1 << 19) + n]));
        while publisher.tx.try_send(outbound.next().unwrap()).is_ok() {}
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(publisher);
        publisher = reopen(&at).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        reader.down(&locator).await;
        reader.up(&locator).await;
        reader.events.clear();
    }
    publisher.interest("a").await;
    publisher.publish("a", "again");
    while reader.message().await.1 != "again" {}
}

/// More senders than there is room for, and a receiver that reads in small sips: nobody is forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_senders_that_wait_for_room_all_get_through() {
    const SENDERS: usize = 8;
    const EACH: usize = 2000;
    let options = OpenOptions { queue: 4, ..OpenOptions::default() };
    let sender = Node::open_with(ephemeral(), options.clone()).await;
    let mut receiver = Node::open_with(ephemeral(), options).await;
    receiver.subscribe("a").await;
    sender.tx.attach(&receiver.local()).await.unwrap();
    receiver.up(&sender.local()).await;
    let mut sender = sender;
    sender.interest("a").await;
    let to_receiver = receiver.local();
    let tasks: Vec<_> = (0..SENDERS)
        .map(|n| {
            let (tx, peer) = (sender.tx.clone(), to_receiver.clone());
            tokio::spawn(async move {
                let outbound = |i: usize| match n % 2 {
                    0 => Outbound::topic(topic("a"), vec![n as u8; 1000 + i % 7]),
                    _ => Outbound::peer(peer.clone(), vec![n as u8; 5000]),
                };
                tx.send_batch(&mut (0..EACH).map(outbound).collect()).await
            })
        })
        .collect();
    let mut counts = [0; SENDERS];
    while counts.iter().sum::<usize>() < SENDERS * EACH {
        let (_, payload) = receiver.message().await;
        counts[usize::from(payload[0])] += 1;
    }
    assert_eq!(counts, [EACH; SENDERS]);
    for task in tasks {
        task.await.unwrap().unwrap();
    }
}

/// A peer that is killed and later let go of must not take the others along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letting_go_of_a_dead_peer_keeps_the_others() {
    let mut reader = Node::open(ephemeral()).await;
    let (dead, alive) = (Node::open(ephemeral()).await, Node::open(ephemeral()).await);
    reader.tx.subscribe(&filter("news")).await.unwrap();
    for peer in [&dead, &alive] {
        reader.tx.attach(&peer.local()).await.unwrap();
        reader.up(&peer.local()).await;
    }
    let topic = Topic::new("news").unwrap();
    let sender = alive.tx.clone();
    let busy = tokio::spawn(async move {
        for number in 0u32.. {
            let news = Outbound::topic(topic.clone(), number.to_le_bytes().to_vec());
            if sender.send_batch(&mut vec![news]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    reader.message().await;
    let gone = dead.local();
    drop(dead);
    reader.down(&gone).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    reader.tx.detach(&gone).await.unwrap();
    // Well past every timer of the transport.
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        reader.message().await;
        reader.events.clear();
    }
    busy.abort();
}

/// How many descriptors this process has open.
#[cfg(target_os = "linux")]
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn addresses_that_never_answer_are_given_up() {
    let mut node = Node::open(ephemeral()).await;
    let before = descriptors();
    for _ in 0..20 {
        let absent = Locator::new(format!("zmq+tcp://{}:{}", host(), free_port())).unwrap();
        node.tell(&absent, "is anybody there?");
    }
    if ENGINE == Engine::Libzmq {
        assert!(descriptors() >= before + 20 * 4, "{} of {before}", descriptors());
    }
    let begun = Instant::now();
    while descriptors() > before + 4 {
        assert!(begun.elapsed() < PATIENCE, "{} descriptors, {before} before", descriptors());
        node.linger(Duration::from_millis(100)).await;
    }
    // Who is there is reached as ever.
    let mut peer = Node::open(ephemeral()).await;
    node.tell(&peer.local(), "hello");
    assert_eq!(peer.message().await.1, "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_subscriptions_hold_nobody_up() {
    let publisher = Node::open(ephemeral()).await;
    let mut subscriber = Node::open(ephemeral()).await;
    subscriber.subscribe("good").await;
    subscriber.tx.attach(&publisher.local()).await.unwrap();
    subscriber.up(&publisher.local()).await;
    // Where it publishes is told by its greeting alone; a stranger asks.
    let greeted = zmq::Context::new();
    let dealer = greeted.socket(zmq::DEALER).unwrap();
    let own = format!("zmq+tcp://127.0.0.1:{}", free_port());
    dealer.set_identity(own.as_bytes()).unwrap();
    dealer.set_rcvtimeo(i32::try_from(PATIENCE.as_millis()).unwrap()).unwrap();
    dealer.connect(&publisher.endpoint()).unwrap();
    let mut hello = vec![b'c', 1, 0, u8::try_from(own.len()).unwrap()];
    hello.extend(own.as_bytes());
    hello.extend([1, 7]);
    dealer.send(hello, 0).unwrap();
    let Node { tx, mut rx, .. } = publisher;
    let reading = tokio::spawn(async move { while rx.recv_batch(&mut Vec::new(), 64).await.is_ok() {} });
    let welcome = tokio::task::spawn_blocking(move || dealer.recv_bytes(0).unwrap()).await.unwrap();
    let mut port = &welcome[4 + usize::from(welcome[3])..];
    let mut number = 0_u32;
    for shift in (0..).step_by(7) {
        number |= u32::from(port[0] & 0x7f) << shift;
        let more = port[0] & 0x80 != 0;
        port = &port[1..];
        if !more {
            break;
        }
    }
    let flood = tokio::task::spawn_blocking(move || {
        let stranger = greeted.socket(zmq::SUB).unwrap();
        stranger.set_sndhwm(0).unwrap();
        stranger.set_linger(0).unwrap();
        stranger.connect(&format!("tcp://127.0.0.1:{number}")).unwrap();
        for topic in 0..100_000 {
            stranger.set_subscribe(format!("{topic}/of/a/stranger").as_bytes()).unwrap();
        }
        std::thread::sleep(Duration::from_secs(2));
    });
    let mut longest = Duration::ZERO;
    while !flood.is_finished() {
        let sent = Instant::now();
        tokio::time::timeout(PATIENCE, tx.send_batch(&mut vec![Outbound::topic(topic("good"), "x")]))
            .await
            .unwrap()
            .unwrap();
        subscriber.message().await;
        longest = longest.max(sent.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("the longest took {longest:?}");
    assert!(longest < on_this_machine(Duration::from_secs(3)), "{longest:?}");
    flood.await.unwrap();
    tx.close(Duration::ZERO).await.unwrap();
    reading.await.unwrap();
}
