//! Put and get with Mosquitto's own programs, as `docs/successor.md` shows.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use tokio::task::spawn_blocking;

use crate::mosquitto::Mosquitto;
use crate::support::successor::Ring;
use crate::support::{Mqtt, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mosquittos_programs_put_and_get() {
    let ring = Ring::of(Mqtt::default(), &[1_000_000_000, 3_000_000_000]).await;
    let broker = &ring.harness.0;
    let line = ask(broker, &["-t", "ack-put", "-C", "1"], &["-t", "put", "-m", "me/42 hello"]).await;
    assert_eq!(line, "me/1000000000");
    let line = ask(broker, &["-t", "res-get", "-C", "1"], &["-t", "get", "-m", "42"]).await;
    assert_eq!(line, "42/hello");
    let line = ask(broker, &["-t", "err-get", "-C", "1"], &["-t", "get", "-m", "43"]).await;
    assert_eq!(line, "43");

    let client = ring.client("client").await;
    assert_eq!(client.get(42).await.unwrap().as_deref(), Some("hello"));
    client.put(2_000_000_000, "a/b c").await.unwrap();
    let line = ask(broker, &["-t", "res-get", "-C", "1"], &["-t", "get", "-m", "2000000000"]).await;
    assert_eq!(line, "2000000000/a/b c");
}

/// What `mosquitto_sub` prints once `mosquitto_pub` has asked. Nobody says when a subscription is there, so it asks until
/// there is an answer, as a user would.
async fn ask(broker: &Mosquitto, subscribe: &[&str], publish: &[&str]) -> String {
    let mut reader = broker.subscribe(subscribe);
    let output = reader.stdout.take().unwrap();
    let mut line = spawn_blocking(move || BufReader::new(output).lines().next().unwrap().unwrap());
    let asking = async {
        loop {
            broker.publish(publish);
            if let Ok(line) = tokio::time::timeout(Duration::from_millis(200), &mut line).await {
                return line.unwrap();
            }
        }
    };
    let line = soon("an answer", asking).await;
    assert!(reader.wait().unwrap().success());
    line
}
