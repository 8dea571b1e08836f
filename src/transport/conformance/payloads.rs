//! Payloads of all sizes, and those that are too large.

use super::super::{Event, Outbound, TransportTx, TrySendError};
use super::member::{Member, filter, named, number, numbered, probe, require, topic, warm_up};
use super::topics::in_order;
use super::{Failure, Harness, OpenOptions};
use crate::error::ErrorKind;

/// The limit of the checks on it, in bytes.
const LIMIT: usize = 64 << 10;

/// Payloads from 16 bytes to 4 MiB arrive unchanged, by topic and to a peer.
///
/// # Errors
/// What was lost or changed.
pub async fn all_sizes<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "all_sizes";
    const SIZES: &[usize] = &[16, 17, 255, 256, 1 << 10, 8191, 64 << 10, (64 << 10) + 1, 1 << 20, 4 << 20];
    let check = async {
        let mut publisher = Member::open(harness, "sizes-a").await?;
        let mut subscriber = Member::open(harness, "sizes-b").await?;
        let topic = topic(harness, CHECK, "t")?;
        subscriber.join(&mut publisher).await?;
        subscriber.subscribe(&(&topic).into()).await?;
        warm_up(&publisher, &mut [&mut subscriber], &topic).await?;
        for (n, &size) in SIZES.iter().enumerate() {
            let payload = numbered(0, n as u64, size);
            for outbound in [
                Outbound::topic(topic.clone(), payload.clone()),
                Outbound::peer(subscriber.local(), payload.clone()),
            ] {
                publisher.send(outbound).await?;
                let (from, heard) =
                    subscriber.message().await.map_err(|what| format!("{size} bytes: {what}"))?;
                require(heard == payload, || {
                    format!("{size} bytes arrived from {from:?} as {} others", heard.len())
                })?;
            }
        }
        Ok(())
    };
    named(CHECK, check.await)
}

/// A payload over the limit is refused as [`ErrorKind::PayloadTooLarge`] before anything of it is sent; what is around
/// it in a batch is not harmed, and the session goes on.
///
/// # Errors
/// What was accepted, or lost with it.
pub async fn over_limit_is_refused<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "over_limit_is_refused";
    let check = async {
        let options = OpenOptions { max_payload: LIMIT, ..harness.options() };
        let mut publisher = Member::open_with(harness, "limit-a", options).await?;
        let mut subscriber = Member::open(harness, "limit-b").await?;
        let topic = topic(harness, CHECK, "t")?;
        subscriber.join(&mut publisher).await?;
        subscriber.subscribe(&(&topic).into()).await?;
        warm_up(&publisher, &mut [&mut subscriber], &topic).await?;
        let limit = publisher.tx.capabilities().max_payload;
        require(limit <= LIMIT, || format!("opened with max_payload {LIMIT}, capabilities state {limit}"))?;
        let names_both = |kind: &ErrorKind| *kind == ErrorKind::PayloadTooLarge { size: limit + 1, limit };

        let to_topic = |n, size| Outbound::topic(topic.clone(), numbered(0, n, size));
        let to_peer = |n, size| Outbound::peer(subscriber.local(), numbered(0, n, size));
        for outbound in [to_topic(9, limit + 1), to_peer(9, limit + 1)] {
            match publisher.tx.try_send(outbound) {
                Err(TrySendError::Failed(error)) if names_both(error.kind()) => {}
                other => return Err(format!("try_send of {} bytes: {other:?}", limit + 1)),
            }
        }
        let mut batch = vec![to_topic(0, limit), to_topic(9, limit + 1), to_topic(1, 16)];
        publisher
            .refused("send_batch over the limit", publisher.tx.send_batch(&mut batch), names_both)
            .await?;
        require(batch == [to_topic(1, 16)], || format!("send_batch left {} messages", batch.len()))?;
        batch.push(to_topic(2, limit));
        publisher.send_all(&mut batch).await?;
        in_order(&mut subscriber, 3).await
    };
    named(CHECK, check.await)
}

/// A payload over the receiver's own limit is dropped there and counted ([`Event::Lagged`]); the session goes on, and
/// so do those who have no such limit.
///
/// # Errors
/// What arrived, was not counted, or did not arrive any more.
pub async fn oversize_from_a_peer<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "oversize_from_a_peer";
    let check = async {
        let options = OpenOptions { max_payload: LIMIT, ..harness.options() };
        let mut publisher = Member::open(harness, "oversize-a").await?;
        let mut narrow = Member::open_with(harness, "oversize-b", options).await?;
        let mut wide = Member::open(harness, "oversize-c").await?;
        let filter = filter(harness, CHECK, "+")?;
        let (before, after) = (topic(harness, CHECK, "before")?, topic(harness, CHECK, "after")?);
        for subscriber in [&mut narrow, &mut wide] {
            subscriber.join(&mut publisher).await?;
            subscriber.subscribe(&filter).await?;
        }
        warm_up(&publisher, &mut [&mut narrow, &mut wide], &before).await?;
        publisher.send(Outbound::topic(before.clone(), numbered(0, 0, 4 * LIMIT))).await?;
        publisher.send(Outbound::topic(before, numbered(0, 1, 16))).await?;
        in_order(&mut wide, 2).await?;
        narrow.signal("Lagged", |event| matches!(event, Event::Lagged(_))).await?;

        // A transport may have dropped the connection as well; it must come back by itself.
        probe(&publisher, &mut [&mut narrow], &after).await?;
        publisher.send(Outbound::topic(after, numbered(0, 2, 16))).await?;
        loop {
            let (_, number) = number(&narrow.message().await?.1)?;
            require(number > 0, || "a payload over the receiver's limit was handed out".to_owned())?;
            if number == 2 {
                return Ok(());
            }
        }
    };
    named(CHECK, check.await)
}
