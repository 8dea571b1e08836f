//! What waits where when a broker is slow or away, and what other programs' QoS does to a session.

use std::time::Duration;

use bytes::Bytes;
use ringbus::transport::{OpenOptions, Outbound, TransportTx, TrySendError};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use super::mosquitto::Mosquitto;
use super::session::*;
use super::{PATIENCE, QUIET};

const FRAME: usize = 64 * 1024;

/// A session, and the broker's side of its connection: it was greeted, its subscriptions confirmed, nothing more.
async fn with_a_mute_broker() -> (Session, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let broker = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        greet(&mut socket).await;
        socket
    };
    tokio::join!(Session::open_with(&url, "s", OpenOptions::default()), broker)
}

fn frame(reliable: bool) -> Outbound {
    Outbound::topic(topic("t"), Bytes::from(vec![7; FRAME])).reliable_if(reliable)
}

/// How many frames are taken until none has been for a while.
async fn fill(session: &Session, reliable: bool) -> usize {
    let (mut taken, mut since) = (0, Instant::now());
    while since.elapsed() < QUIET {
        match session.tx.try_send(frame(reliable)) {
            Ok(()) => (taken, since) = (taken + 1, Instant::now()),
            Err(TrySendError::Full(_)) => sleep(Duration::from_millis(1)).await,
            Err(error) => panic!("{error}"),
        }
        assert!(taken * FRAME < 64 << 20, "no bound in bytes");
    }
    taken
}

#[tokio::test]
async fn a_broker_that_does_not_read_fills_little_memory() {
    let (session, mut socket) = with_a_mute_broker().await;
    let taken = fill(&session, false).await;
    // The queue, the write buffer, and what the kernel's two buffers take.
    assert!(taken * FRAME < 16 << 20, "{taken} frames");
    let under_way = session.tx.backlog();
    assert!((2..=16).contains(&under_way), "{under_way} frames");
    assert!(timeout(QUIET, session.tx.drained(1)).await.is_err());
    // It reads after all: who waits is told.
    let mut batch = vec![frame(false)];
    let reading = async {
        let mut sink = vec![0; 1 << 20];
        loop {
            assert!(socket.read(&mut sink).await.unwrap() > 0, "the session keeps its connection");
        }
    };
    let sending = async {
        session.tx.send_batch(&mut batch).await.unwrap();
        session.tx.drained(1).await;
    };
    timeout(PATIENCE, async {
        tokio::select! { () = reading => {} () = sending => {} }
    })
    .await
    .unwrap();
    assert_eq!((session.tx.backlog(), batch.len()), (0, 0));
}

#[tokio::test]
async fn what_a_broker_does_not_acknowledge_is_bounded_in_bytes() {
    let (session, mut socket) = with_a_mute_broker().await;
    let reading = tokio::spawn(async move {
        let mut sink = vec![0; 1 << 20];
        while socket.read(&mut sink).await.is_ok_and(|count| count > 0) {}
    });
    let taken = fill(&session, true).await;
    assert!((8 << 20..16 << 20).contains(&(taken * FRAME)), "{taken} frames");
    let undelivered = session.tx.close(Duration::from_millis(100)).await.unwrap();
    assert_eq!(undelivered.messages, taken);
    reading.await.unwrap();
}

#[tokio::test]
async fn without_a_broker_more_waits_than_a_busy_link_takes() {
    let mut broker = Mosquitto::start();
    let mut session = Session::open(&broker.url(), "s").await;
    session.subscribe("t").await;
    broker.stop();
    sleep(QUIET).await;
    const COUNT: usize = 900;
    for n in 0..COUNT {
        timeout(PATIENCE, session.publish("t", n.to_string())).await.expect("it is taken");
    }
    assert_eq!(session.tx.backlog(), COUNT, "nothing has left");
    broker.restart();
    for n in 0..COUNT {
        assert_eq!(session.message().await.1, n.to_string());
    }
    assert_eq!(session.tx.backlog(), 0);
}

#[tokio::test]
async fn samples_of_every_size_arrive_as_they_were() {
    let broker = Mosquitto::start();
    let mut session = Session::open(&broker.url(), "s").await;
    session.subscribe("t").await;
    let sizes = [0, 1, 8191, 8192, 8193, 65_535, 65_536, 200_000, 16_384, 1 << 20, 3, 40_000];
    for (n, size) in sizes.into_iter().cycle().take(10 * sizes.len()).enumerate() {
        let text = char::from(b'a' + (n % 26) as u8).to_string().repeat(size);
        let message = Outbound::topic(topic("t"), text.clone()).reliable_if(n % 3 == 0);
        session.tx.send_batch(&mut vec![message]).await.unwrap();
        assert!(session.message().await.1 == text, "message {n} of {size} bytes");
    }
}

#[tokio::test]
async fn programs_that_use_qos_2_take_part() {
    let broker = Mosquitto::start();
    let mut session = Session::open(&broker.url(), "s").await;
    session.subscribe("t/+").await;
    for n in 0..20 {
        broker.publish(&["-t", "t/a", "-m", &n.to_string(), "-q", "2"]);
        assert_eq!(session.message().await.1, n.to_string());
    }
    assert_eq!(session.messages_until_fence().await, Vec::<String>::new());
    let mut reader = broker.subscribe(&["-t", "out", "-q", "2", "-C", "3"]);
    while reader.try_wait().unwrap().is_none() {
        session.publish("out", "x").await;
        sleep(Duration::from_millis(20)).await;
    }
    assert!(reader.wait().unwrap().success());
}
