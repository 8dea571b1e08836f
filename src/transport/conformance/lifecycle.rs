//! Opening and closing.

use super::super::{Guarantee, Outbound, Transport, TransportTx, TrySendError};
use super::member::{Member, Outcome, bounded, filter, named, numbered, require, topic, warm_up};
use super::topics::in_order;
use super::{Failure, Harness, TAKEN};
use crate::error::ErrorKind;

/// `close` delivers what was accepted before it to a peer that reads, and says so.
///
/// # Errors
/// What was not delivered or not told.
pub async fn close_flushes<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "close_flushes";
    const MESSAGES: u64 = 500;
    let check = async {
        for (turn, size) in [16, 16 << 10].into_iter().enumerate() {
            let mut publisher = Member::open(harness, &format!("flush-a{turn}")).await?;
            let mut subscriber = Member::open(harness, &format!("flush-b{turn}")).await?;
            let topic = topic(harness, CHECK, "t")?;
            subscriber.join(&mut publisher).await?;
            subscriber.subscribe(&(&topic).into()).await?;
            warm_up(&publisher, &mut [&mut subscriber], &topic).await?;
            let all = async {
                let outbound = |n| Outbound::topic(topic.clone(), numbered(0, n, size)).reliable();
                publisher.send_all(&mut (0..MESSAGES).map(outbound).collect()).await?;
                publisher.close().await
            };
            let (closed, heard) = futures::join!(all, in_order(&mut subscriber, MESSAGES));
            heard?;
            let undelivered = closed?.messages;
            require(undelivered == 0, || {
                format!("all arrived, and close reports {undelivered} messages undelivered")
            })?;
        }
        Ok(())
    };
    named(CHECK, check.await)
}

/// With each guarantee everything arrives, once and in order, while nothing is in the way, and
/// [`acknowledged`](TransportTx::acknowledged) returns; also after `close`.
///
/// # Errors
/// What did not arrive, or was not acknowledged.
pub async fn acknowledgements<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "acknowledgements";
    const MESSAGES: u64 = 100;
    let check = async {
        let mut publisher = Member::open(harness, "acked-a").await?;
        let mut subscriber = Member::open(harness, "acked-b").await?;
        let topic = topic(harness, CHECK, "t")?;
        subscriber.join(&mut publisher).await?;
        subscriber.subscribe(&(&topic).into()).await?;
        warm_up(&publisher, &mut [&mut subscriber], &topic).await?;
        let patience = harness.patience();
        for guarantee in [Guarantee::AtMostOnce, Guarantee::AtLeastOnce, Guarantee::ExactlyOnce] {
            let all = async {
                let outbound = |n| Outbound::topic(topic.clone(), numbered(0, n, 16)).guaranteed(guarantee);
                publisher.send_all(&mut (0..MESSAGES).map(outbound).collect()).await?;
                bounded(patience, "acknowledged", publisher.tx.acknowledged()).await
            };
            let (acknowledged, heard) = futures::join!(all, in_order(&mut subscriber, MESSAGES));
            heard.map_err(|what| format!("{guarantee:?}: {what}"))?;
            acknowledged?.map_err(|error| format!("acknowledged failed for {guarantee:?}: {error}"))?;
        }
        publisher.close().await?;
        let acknowledged = bounded(patience, "acknowledged after close", publisher.tx.acknowledged()).await?;
        acknowledged.map_err(|error| format!("all was acknowledged before close, and after it: {error}"))
    };
    named(CHECK, check.await)
}

/// After `close` every call fails as [`ErrorKind::Closed`], in clones as well, the receiving half ends, and the
/// endpoint can be opened again. Closing twice is fine.
///
/// # Errors
/// The call that did otherwise.
pub async fn closed_is_closed<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "closed_is_closed";
    let check = async {
        let mut member = Member::open(harness, "closed-a").await?;
        let peer = Member::open(harness, "closed-b").await?;
        let (topic, filter) = (topic(harness, CHECK, "t")?, filter(harness, CHECK, "#")?);
        member.subscribe(&filter).await?;
        let clone = member.tx.clone();
        member.close().await?;
        member.close().await.map_err(|what| format!("the second time: {what}"))?;
        for tx in [&member.tx, &clone] {
            all_refused(&member, tx, &topic, &filter, &peer).await?;
        }
        member.receive_to_the_end().await?;
        member.receive_to_the_end().await?;
        drop((member, clone));
        Member::reopen(harness, "closed-a").await?.close().await.map(drop)
    };
    named(CHECK, check.await)
}

async fn all_refused<T: Transport>(
    member: &Member<T>,
    tx: &T::Tx,
    topic: &crate::Topic,
    filter: &crate::TopicFilter,
    peer: &Member<T>,
) -> Outcome {
    let is_closed = |kind: &ErrorKind| matches!(kind, ErrorKind::Closed { .. });
    let outbound = Outbound::topic(topic.clone(), numbered(0, 0, 16));
    match tx.try_send(outbound.clone()) {
        Err(TrySendError::Failed(error)) if is_closed(error.kind()) => {}
        other => return Err(format!("try_send after close: {other:?}")),
    }
    member.refused("send_batch after close", tx.send_batch(&mut vec![outbound]), is_closed).await?;
    member.refused("subscribe after close", tx.subscribe(filter), is_closed).await?;
    member.refused("unsubscribe after close", tx.unsubscribe(filter), is_closed).await?;
    member.refused("attach after close", tx.attach(peer.tx.local()), is_closed).await?;
    member.refused("detach after close", tx.detach(peer.tx.local()), is_closed).await
}

/// Both halves dropped without `close`: nothing hangs, and the endpoint can be opened again.
///
/// # Errors
/// Why it cannot.
pub async fn dropped_without_close<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "dropped_without_close";
    let check = async {
        let mut peer = Member::open(harness, "dropped-b").await?;
        let topic = topic(harness, CHECK, "t")?;
        for _ in 0..3 {
            let mut member = Member::reopen(harness, "dropped-a").await?;
            member.join(&mut peer).await?;
            member.subscribe(&(&topic).into()).await?;
            warm_up(&peer, &mut [&mut member], &topic).await?;
            peer.send(Outbound::topic(topic.clone(), numbered(0, 0, 16))).await?;
            peer.forget();
            let gone = member.local();
            drop(member);
            peer.peer_down(&gone).await?;
            // What is sent to the dead does no harm.
            peer.try_until_taken(Outbound::topic(topic.clone(), numbered(0, 1, 16))).await?;
        }
        Member::reopen(harness, "dropped-a").await?.close().await.map(drop)
    };
    named(CHECK, check.await)
}

/// Addresses that cannot be opened fail with the right kind of error, in time, and disturb nobody.
///
/// # Errors
/// The address that was opened or that failed otherwise.
pub async fn bad_addresses<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "bad_addresses";
    let check = async {
        let mut taken = Member::open(harness, TAKEN).await?;
        let addresses = harness.bad_addresses();
        require(!addresses.is_empty(), || "the harness names no bad address".to_owned())?;
        for bad in addresses {
            let what = format!("open of {}", bad.what);
            let Err(error) =
                bounded(harness.patience(), &what, bad.transport.open(harness.options())).await?
            else {
                return Err(format!("{what} succeeded"));
            };
            require((bad.expected)(error.kind()), || {
                format!("{what} failed with another kind of error: {:?}: {error}", error.kind())
            })?;
        }
        let topic = topic(harness, CHECK, "t")?;
        taken.subscribe(&(&topic).into()).await?;
        taken.send(Outbound::topic(topic, numbered(0, 0, 16))).await?;
        in_order(&mut taken, 1).await
    };
    named(CHECK, check.await)
}
