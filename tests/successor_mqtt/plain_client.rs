//! A client of the plain protocol.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use crate::PATIENCE;
use crate::plain_link::{Heard, Link};

/// One request at a time.
pub(crate) struct PlainClient {
    name: String,
    link: Link,
    heard: UnboundedReceiver<Heard>,
}

impl PlainClient {
    pub(crate) async fn connect(port: u16, name: &str) -> Self {
        let (link, heard) = Link::connect(port, name, &["ack-put", "res-get"]).await;
        Self { name: name.into(), link, heard }
    }

    /// The node that has stored it.
    pub(crate) async fn put(&mut self, key: u32, value: &str) -> u32 {
        self.forget();
        self.link.publish("put", format!("{}/{key} {value}", self.name)).await;
        let acknowledgement = format!("{}/", self.name);
        let answer = self.answer("ack-put", &acknowledgement, PATIENCE).await;
        let node = answer.unwrap_or_else(|| panic!("{}: no ack-put for {key}", self.name));
        node.parse().unwrap()
    }

    /// The value, if anyone answers in time.
    pub(crate) async fn get_within(&mut self, key: u32, patience: Duration) -> Option<String> {
        self.forget();
        self.link.publish("get", key.to_string()).await;
        self.answer("res-get", &format!("{key}/"), patience).await
    }

    pub(crate) async fn get(&mut self, key: u32) -> Option<String> {
        self.get_within(key, PATIENCE).await
    }

    /// Fails unless every pair is answered as it was put.
    pub(crate) async fn verify(&mut self, pairs: impl IntoIterator<Item = (u32, String)>) {
        for (key, value) in pairs {
            assert_eq!(self.get(key).await.as_ref(), Some(&value), "the value of {key}");
        }
    }

    pub(crate) async fn close(self) {
        self.link.close().await;
    }

    /// Answers to earlier requests, and to others'.
    fn forget(&mut self) {
        while self.heard.try_recv().is_ok() {}
    }

    /// What follows the prefix.
    async fn answer(&mut self, topic: &str, prefix: &str, patience: Duration) -> Option<String> {
        let answer = async {
            loop {
                let (heard_topic, payload) = self.heard.recv().await.expect("a broker that stays");
                let text = String::from_utf8(payload).expect("text");
                if let (true, Some(rest)) = (heard_topic == topic, text.strip_prefix(prefix)) {
                    return rest.to_string();
                }
            }
        };
        timeout(patience, answer).await.ok()
    }
}
