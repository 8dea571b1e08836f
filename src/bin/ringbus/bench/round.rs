//! One round of one side: two fresh processes, so that nothing of one round weighs on the next.

use std::time::Duration;

use super::cpu;
use super::order::{Cue, Order, Report, Role};
use super::process::Process;

/// What came of it.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    /// By all publishers together.
    pub(super) sent: u64,
    /// Samples that did not arrive, or arrived twice or late, at all subscribers together.
    pub(super) lost: u64,
    /// Samples a second, received and decoded, at all subscribers together.
    pub(super) rate: f64,
    pub(super) publisher: Report,
    pub(super) subscriber: Report,
    pub(super) broker: Option<Duration>,
}

/// Plays it. `order.role` is the sending process's.
pub(super) async fn play(order: Order, broker: Option<u32>) -> anyhow::Result<Outcome> {
    let role = if order.role == Role::Ping { Role::Pong } else { Role::Subscribe };
    let mut sender = Process::start(order.clone()).await?;
    let mut receiver = Process::start(Order { role, ..order.clone() }).await?;
    let (one, two) = (sender.addresses().await?, receiver.addresses().await?);
    receiver.cue(&Cue::Others(one)).await?;
    sender.cue(&Cue::Others(two)).await?;
    receiver.ready().await?;
    sender.ready().await?;
    let before = broker.and_then(cpu::of);
    sender.cue(&Cue::Go).await?;
    let sent = sender.done().await?;
    receiver.cue(&Cue::Finish).await?;
    let subscriber = receiver.report().await?;
    let after = broker.and_then(cpu::of);
    sender.cue(&Cue::Finish).await?;
    let publisher = sender.report().await?;
    sender.ended().await?;
    receiver.ended().await?;
    let lost = match order.role {
        Role::Ping | Role::Pong => 0,
        _ => (sent * order.crowd.subscribers as u64).abs_diff(subscriber.received) + subscriber.repeated,
    };
    let rate = subscriber.counted as f64 / subscriber.span.as_secs_f64().max(1e-9);
    let broker = before.zip(after).map(|(before, after)| after.saturating_sub(before));
    Ok(Outcome { sent, lost, rate, publisher, subscriber, broker })
}
