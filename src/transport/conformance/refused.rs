//! Messages that a broker does not take.

use super::super::{Destination, Event, OpenOptions, Outbound, Transport, TransportTx};
use super::member::{Member, Outcome, bounded, named, number, numbered, probe, require, topic, warm_up};
use super::{Failure, Harness};
use crate::topic::Topic;

/// How many messages go before the refused one, and behind it.
const AROUND: u64 = 20;

/// A message over which the broker closes the connection costs itself alone: those before and behind it arrive in order,
/// it is told ([`Event::Refused`]) and counted as undelivered, and what follows passes as before. Messages that arrive
/// may come again, since connections were lost behind them.
///
/// Where [`Harness::refused_message`] names none there is nothing to ask.
///
/// # Errors
/// What did not arrive, was not told, or not counted.
pub async fn refused_message<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "refused_message";
    let check = async {
        let Some((bad, payload)) = harness.refused_message() else { return Ok(()) };
        // What is to be over the broker's limit must not be over the transport's.
        let options = harness.options();
        let wide = OpenOptions { max_payload: options.max_payload.max(payload.len()), ..options };
        let publisher = &mut Member::open_with(harness, "refused-a", wide).await?;
        let subscriber = &mut Member::open(harness, "refused-b").await?;
        let good = topic(harness, CHECK, "good")?;
        subscriber.join(publisher).await?;
        subscriber.subscribe(&(&good).into()).await?;
        warm_up(publisher, &mut [subscriber], &good).await?;

        let all_good = |n| Outbound::topic(good.clone(), numbered(1, n, 16)).reliable();
        let mut batch: Vec<_> = (0..2 * AROUND).map(all_good).collect();
        batch.insert(AROUND as usize, Outbound::topic(bad.clone(), payload.clone()).reliable());
        publisher.send_all(&mut batch).await?;
        one_by_one(subscriber, &good, 2 * AROUND).await?;
        let is_told = |event: &Event| {
            let Event::Refused { to, size, broker, reason, payload: told } = event else { return false };
            let is_it = *to == Destination::Topic(bad.clone()) && *told == payload && *size == payload.len();
            is_it && !broker.is_empty() && !reason.is_empty()
        };
        publisher.signal("Refused, of the message that was", is_told).await?;
        let acknowledged = bounded(harness.patience(), "acknowledged", publisher.tx.acknowledged()).await?;
        acknowledged.map_err(|error| format!("acknowledged failed behind a refused message: {error}"))?;
        probe(publisher, &mut [subscriber], &good).await?;
        let undelivered = publisher.close().await?;
        require(undelivered.messages == 1, || {
            format!("one message was refused, close counts {} undelivered ones", undelivered.messages)
        })
    };
    named(CHECK, check.await)
}

/// Expects the numbers from 0 up, all of them; what came before may come again.
async fn one_by_one<T: Transport>(subscriber: &mut Member<T>, topic: &Topic, count: u64) -> Outcome {
    let mut next = 0;
    while next < count {
        let (_, number) = number(&subscriber.message().await?.1)?;
        require(number <= next, || format!("on {topic} message {next} is missing before {number}"))?;
        next += u64::from(number == next);
    }
    Ok(())
}
