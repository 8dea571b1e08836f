//! Messages to one peer.

use super::super::{Locator, Origin, Outbound, TransportTx, TrySendError};
use super::member::{Member, Outcome, filter, named, number, numbered, require, topic, warm_up};
use super::topics::in_order;
use super::{Failure, Harness};
use crate::error::ErrorKind;

/// Directed messages arrive at their peer alone, in order, in both directions; the origin that a receiver sees is one
/// that it can answer to.
///
/// # Errors
/// What was lost, doubled, out of order or overheard.
pub async fn directed_both_ways<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "directed_both_ways";
    const WINDOW: u64 = 100;
    let check = async {
        let mut asker = Member::open(harness, "directed-a").await?;
        let mut answerer = Member::open(harness, "directed-b").await?;
        let mut bystander = Member::open(harness, "directed-c").await?;
        asker.join(&mut answerer).await?;
        bystander.join(&mut asker).await?;
        bystander.join(&mut answerer).await?;
        let fence = topic(harness, CHECK, "fence")?;
        bystander.subscribe(&filter(harness, CHECK, "#")?).await?;
        bystander.see_all_roots();
        warm_up(&asker, &mut [&mut bystander], &fence).await?;

        for start in (0..1000).step_by(WINDOW as usize) {
            let window = start..start + WINDOW;
            let question = |n| Outbound::peer(answerer.local(), numbered(1, n, 32));
            asker.send_all(&mut window.clone().map(question).collect()).await?;
            let mut answers = Vec::new();
            for expected in window.clone() {
                let from = directed(&mut answerer, 1, expected).await?;
                answers.push(Outbound::peer(from, numbered(2, expected, 32)));
            }
            answerer.send_all(&mut answers).await?;
            for expected in window {
                let from = directed(&mut asker, 2, expected).await?;
                require(from == answerer.local(), || {
                    format!("an answer of {} came from {from}", answerer.local())
                })?;
            }
        }
        // The side that was attached speaks first.
        answerer.send(Outbound::peer(asker.local(), numbered(3, 0, 32))).await?;
        directed(&mut asker, 3, 0).await?;

        asker.send(Outbound::topic(fence, numbered(0, 0, 16))).await?;
        in_order(&mut bystander, 1).await.map_err(|what| format!("a bystander overheard: {what}"))
    };
    named(CHECK, check.await)
}

/// Takes the next message, which must be a directed one with these numbers, and returns its sender.
async fn directed<T: super::Transport>(
    member: &mut Member<T>,
    sender: u64,
    expected: u64,
) -> Outcome<Locator> {
    let (from, payload) = member.message().await?;
    let heard = number(&payload)?;
    require(heard == (sender, expected), || {
        format!("{:?} expected directed message {sender}/{expected}, received {heard:?}", member.name)
    })?;
    match from {
        Origin::Peer(peer) => Ok(peer),
        Origin::Topic(topic) => Err(format!("a directed message arrived as one of topic {topic}")),
    }
}

/// A locator of another transport is refused by every call that takes one, and nothing else suffers.
///
/// # Errors
/// The call that took it, or that failed otherwise.
pub async fn foreign_locators<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "foreign_locators";
    let check = async {
        let mut member = Member::open(harness, "foreign-a").await?;
        let mut peer = Member::open(harness, "foreign-b").await?;
        let foreign = harness.foreign_locator().map_err(|error| error.to_string())?;
        let is_foreign = |kind: &ErrorKind| matches!(kind, ErrorKind::ForeignLocator { .. });
        member.refused("attach to a foreign locator", member.tx.attach(&foreign), is_foreign).await?;
        member.refused("detach of a foreign locator", member.tx.detach(&foreign), is_foreign).await?;
        match member.tx.try_send(Outbound::peer(foreign.clone(), numbered(0, 0, 16))) {
            Err(TrySendError::Failed(error)) if is_foreign(error.kind()) => {}
            other => return Err(format!("try_send to a foreign locator: {other:?}")),
        }
        for bad in harness.bad_peers() {
            let is_invalid = |kind: &ErrorKind| matches!(kind, ErrorKind::InvalidAddress { .. });
            member.refused(&format!("attach to {bad}"), member.tx.attach(&bad), is_invalid).await?;
        }

        member.join(&mut peer).await?;
        let good = |n| Outbound::peer(peer.local(), numbered(0, n, 16));
        let mut batch = vec![good(0), Outbound::peer(foreign, numbered(0, 9, 16)), good(1), good(2)];
        member
            .refused("send_batch to a foreign locator", member.tx.send_batch(&mut batch), is_foreign)
            .await?;
        require(batch == [good(1), good(2)], || format!("send_batch left {batch:?}"))?;
        member.send_all(&mut batch).await?;
        in_order(&mut peer, 3).await?;

        // Peers that nobody knows and calls that change nothing are not errors.
        member.call("detach", member.tx.detach(&peer.local())).await?;
        member.call("detach again", member.tx.detach(&peer.local())).await?;
        member.call("attach to itself", member.tx.attach(&member.local())).await
    };
    named(CHECK, check.await)
}
