//! Peers and brokers that go and come back.

use std::time::{Duration, Instant};

use super::super::{Event, Outbound, Transport, TransportTx, TrySendError};
use super::member::{Member, Outcome, named, number, numbered, probe, probe_peer, require, topic, warm_up};
use super::{Failure, Harness};
use crate::topic::Topic;

/// Peers are announced when they come and when they go, to both sides; attaching twice changes nothing.
///
/// # Errors
/// What was not announced.
pub async fn peer_events<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "peer_events";
    let check = async {
        let mut one = Member::open(harness, "events-a").await?;
        let mut other = Member::open(harness, "events-b").await?;
        one.join(&mut other).await?;
        one.call("attach again", one.tx.attach(&other.local())).await?;
        probe_peer(&one, &mut other).await?;
        probe_peer(&other, &mut one).await?;
        let up_again = |event: &Event| matches!(event, Event::PeerUp(peer) if *peer == other.local());
        require(!one.heard(up_again), || "attaching twice announced the peer twice".to_owned())?;
        other.close().await?;
        one.peer_down(&other.local()).await?;

        // A departure without a goodbye is noticed as well.
        let mut third = Member::open(harness, "events-c").await?;
        one.join(&mut third).await?;
        let gone = third.local();
        drop(third);
        one.peer_down(&gone).await
    };
    named(CHECK, check.await)
}

/// Of several peers that die together without a goodbye each is reported, in a quarter of the
/// harness's [patience](Harness::patience): ownership passes on when it is. Those that live are
/// not, and are still reached; one that died and is opened again is announced.
///
/// # Errors
/// Which was not reported in time, or wrongly.
pub async fn prompt_departures<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "prompt_departures";
    let check = async {
        let mut watcher = Member::open(harness, "death-watcher").await?;
        let mut living = Member::open(harness, "death-living").await?;
        watcher.join(&mut living).await?;
        let mut doomed = Vec::new();
        for name in ["death-a", "death-b", "death-c"] {
            let mut member = Member::reopen(harness, name).await?;
            watcher.join(&mut member).await?;
            doomed.push(member);
        }
        let names: Vec<_> = doomed.iter().map(Member::local).collect();
        drop(doomed);
        let died = Instant::now();
        for name in &names {
            watcher.peer_down(name).await?;
        }
        let (after, promptly) = (died.elapsed(), harness.patience() / 4);
        require(after <= promptly, || {
            format!("three dead peers were all reported after {after:?} only, not within {promptly:?}")
        })?;
        probe_peer(&watcher, &mut living).await?;
        probe_peer(&living, &mut watcher).await?;
        let alive = living.local();
        require(!watcher.heard(|event| matches!(event, Event::PeerDown(peer) if *peer == alive)), || {
            "a living peer was reported lost beside dead ones".to_owned()
        })?;
        let mut again = Member::reopen(harness, "death-a").await?;
        watcher.join(&mut again).await
    };
    named(CHECK, check.await)
}

/// Who comes last and who was there before hear of each other, and all of them of a death.
///
/// # Errors
/// Who did not hear of whom.
pub async fn newcomers<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "newcomers";
    let check = async {
        let mut first = Member::open(harness, "newcomers-a").await?;
        let mut second = Member::open(harness, "newcomers-b").await?;
        second.join(&mut first).await?;
        let mut third = Member::open(harness, "newcomers-c").await?;
        third.join(&mut first).await?;
        third.join(&mut second).await?;
        probe_peer(&third, &mut first).await?;
        probe_peer(&first, &mut third).await?;
        let gone = second.local();
        drop(second);
        first.peer_down(&gone).await?;
        third.peer_down(&gone).await
    };
    named(CHECK, check.await)
}

/// A peer is stopped and started again at its address: whoever had attached to it has it back without doing anything,
/// subscriptions included, in both directions.
///
/// # Errors
/// What did not come back.
pub async fn restarted_peer<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "restarted_peer";
    let check = async {
        let mut steady = Member::open(harness, "restart-steady").await?;
        let mut other = Member::reopen(harness, "restart-other").await?;
        let (inward, outward) = (topic(harness, CHECK, "in")?, topic(harness, CHECK, "out")?);
        steady.join(&mut other).await?;
        steady.subscribe(&(&inward).into()).await?;
        for _ in 0..2 {
            other.subscribe(&(&outward).into()).await?;
            both_ways(&mut steady, &mut other, &inward, &outward).await?;
            steady.forget();
            let before = other.local();
            other.close().await?;
            steady.peer_down(&before).await?;
            drop(other);
            other = Member::reopen(harness, "restart-other").await?;
            require(other.local() == before, || {
                format!("the endpoint at {before} was opened again at {}", other.local())
            })?;
            steady.peer_up(&before).await?;
            other.peer_up(&steady.local()).await?;
        }
        other.subscribe(&(&outward).into()).await?;
        both_ways(&mut steady, &mut other, &inward, &outward).await
    };
    named(CHECK, check.await)
}

/// The broker, or whatever stands between the endpoints, is stopped and started again. Meanwhile sending does not fail;
/// afterwards all is as before: `Reconnected` is announced, and from then on subscriptions are in force.
///
/// Where nothing stands between the endpoints, [`restarted_peer`] is all there is to ask.
///
/// # Errors
/// What failed, or did not come back.
pub async fn interrupted_link<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "interrupted_link";
    let check = async {
        let mut one = Member::open(harness, "link-a").await?;
        let mut other = Member::open(harness, "link-b").await?;
        let (inward, outward) = (topic(harness, CHECK, "in")?, topic(harness, CHECK, "out")?);
        one.join(&mut other).await?;
        one.subscribe(&(&inward).into()).await?;
        other.subscribe(&(&outward).into()).await?;
        both_ways(&mut one, &mut other, &inward, &outward).await?;
        let brokered = one.tx.capabilities().brokered;
        for round in 1..=2 {
            one.forget();
            other.forget();
            if !harness.interrupt().await {
                return require(!brokered, || {
                    "a brokered transport must be tested with its broker gone".to_owned()
                });
            }
            unharmed_while_down(&one, &outward).await?;
            harness.restore().await;
            if brokered {
                for member in [&mut one, &mut other] {
                    let reconnected = |event: &Event| matches!(event, Event::Reconnected { .. });
                    member.signal("Reconnected", reconnected).await?;
                }
                // Announced means in force: no probing here.
                other.send(Outbound::topic(inward.clone(), numbered(2, round, 16)).reliable()).await?;
                one.send(Outbound::topic(outward.clone(), numbered(2, round, 16)).reliable()).await?;
                until(&mut one, (2, round)).await?;
                until(&mut other, (2, round)).await?;
            }
            both_ways(&mut one, &mut other, &inward, &outward).await?;
        }
        Ok(())
    };
    named(CHECK, check.await)
}

/// While there is no broker, a message is taken or given back, but does not fail.
async fn unharmed_while_down<T: Transport>(member: &Member<T>, topic: &Topic) -> Outcome {
    for n in 0..20 {
        let sent = member.tx.try_send(Outbound::topic(topic.clone(), numbered(1, n, 16)));
        if let Err(TrySendError::Failed(error)) = sent {
            return Err(format!("try_send failed while the broker was gone: {error}"));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Topics and directed messages pass in both directions.
async fn both_ways<T: Transport>(
    one: &mut Member<T>,
    other: &mut Member<T>,
    inward: &Topic,
    outward: &Topic,
) -> Outcome {
    warm_up(other, &mut [one], inward).await?;
    warm_up(one, &mut [other], outward).await?;
    probe(other, &mut [one], inward).await?;
    probe(one, &mut [other], outward).await?;
    probe_peer(one, other).await?;
    probe_peer(other, one).await
}

/// Takes messages until this one; older ones may come before it.
async fn until<T: Transport>(member: &mut Member<T>, wanted: (u64, u64)) -> Outcome {
    loop {
        let heard = number(&member.message().await?.1)?;
        if heard == wanted {
            return Ok(());
        }
    }
}
