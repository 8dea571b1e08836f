//! The suite itself: each of its checks refuses a transport that breaks what the check is about.
// Helpers of tests fail by panicking, as tests do; the lint's exemption covers test functions alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ringbus::transport::conformance::{BadAddress, Harness, TAKEN, checks};
use ringbus::transport::memory::{MemoryRx, MemoryTx, Network};
use ringbus::transport::{
    Capabilities, Event, Locator, MemoryTransport, MessageSink, OpenOptions, Outbound, Transport,
    TransportRx, TransportTx, TrySendError, Undelivered,
};
use ringbus::{Result, Topic, TopicFilter};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    Loses,
    Reorders,
    Doubles,
    Truncates,
    KeepsOneBack,
    QueuesWithoutBound,
    IgnoresTheLimit,
    SpillsWhenSendingIsCancelled,
    SpillsWhenReceivingIsCancelled,
    HearsReservedTopics,
    NeverUnsubscribes,
    ForgetsFilters,
    TakesAnyLocator,
    HidesInterest,
    HidesDepartures,
    TellsDeparturesLate,
    HidesReconnects,
    AnnouncesTwice,
    OffersAndDelivers,
    NeverAcknowledges,
    ClaimsToKeep,
    StaysOpen,
    OpensWhatIsTaken,
    TellsNoRefusals,
}

use Flaw::*;

/// Each flaw with the checks that must find it.
const FINDINGS: &[(Flaw, &[&str])] = &[
    (
        Loses,
        &[
            "ordering",
            "concurrent_senders",
            "fan_out",
            "unheard_topics",
            "directed_both_ways",
            "close_flushes",
        ],
    ),
    (Reorders, &["ordering", "concurrent_senders", "fan_out", "directed_both_ways", "cancelled_receive"]),
    (Doubles, &["ordering", "own_messages", "overlapping_filters", "directed_both_ways"]),
    (Truncates, &["all_sizes"]),
    (KeepsOneBack, &["ordering", "close_flushes"]),
    (QueuesWithoutBound, &["back_pressure"]),
    (IgnoresTheLimit, &["over_limit_is_refused", "oversize_from_a_peer"]),
    (SpillsWhenSendingIsCancelled, &["back_pressure"]),
    (SpillsWhenReceivingIsCancelled, &["cancelled_receive"]),
    (HearsReservedTopics, &["wildcards"]),
    (NeverUnsubscribes, &["overlapping_filters", "changes_under_traffic"]),
    (ForgetsFilters, &["thousand_filters"]),
    (TakesAnyLocator, &["foreign_locators"]),
    (HidesInterest, &["interest"]),
    (HidesDepartures, &["peer_events", "newcomers", "restarted_peer", "dropped_without_close"]),
    (TellsDeparturesLate, &["prompt_departures"]),
    (HidesReconnects, &["interrupted_link"]),
    (AnnouncesTwice, &["peer_events"]),
    (OffersAndDelivers, &["sink"]),
    (NeverAcknowledges, &["acknowledgements"]),
    (ClaimsToKeep, &["retained", "retained_wildcards"]),
    (StaysOpen, &["closed_is_closed"]),
    (OpensWhatIsTaken, &["bad_addresses"]),
    (TellsNoRefusals, &["refused_message"]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_check_finds_its_flaw() {
    let mut runs = tokio::task::JoinSet::new();
    for &(flaw, findings) in FINDINGS {
        for check in checks::<Broken>().into_iter().filter(|check| findings.contains(&check.name)) {
            runs.spawn(async move { (flaw, check.name, check.run(&Broken::with(flaw)).await) });
        }
    }
    let mut found = BTreeSet::new();
    while let Some(run) = runs.join_next().await {
        let (flaw, check, outcome) = run.unwrap();
        let failure = outcome.expect_err(&format!("{check} did not find that the transport is {flaw:?}"));
        assert_eq!(failure.check, check);
        found.insert(check);
    }
    let all: BTreeSet<_> = checks::<Broken>().iter().map(|check| check.name).collect();
    assert_eq!(found, all, "a check without a flaw that it is known to find");
    assert!(FINDINGS.iter().flat_map(|(_, findings)| *findings).all(|name| all.contains(name)));
}

struct Broken {
    network: Network,
    flaw: Flaw,
}

impl Broken {
    fn with(flaw: Flaw) -> Self {
        let network = match flaw {
            Loses => Network::new().with_loss(0.1),
            Reorders => Network::new().with_reorder(0.1),
            _ => Network::new(),
        };
        Self { network, flaw }
    }
}

impl Harness for Broken {
    type Transport = Flawed;

    fn endpoint(&self, name: &str) -> Flawed {
        Flawed {
            inner: MemoryTransport::new(&self.network, name),
            network: self.network.clone(),
            flaw: self.flaw,
        }
    }

    fn bad_addresses(&self) -> Vec<BadAddress<Flawed>> {
        vec![BadAddress::in_use("a name in use", self.endpoint(TAKEN))]
    }

    /// As a transport would have it that passes over what its broker does not take.
    fn refused_message(&self) -> Option<(Topic, Bytes)> {
        let named = || ("conformance/refused".parse().unwrap(), Bytes::from_static(b"refused"));
        (self.flaw == TellsNoRefusals).then(named)
    }

    async fn interrupt(&self) -> bool {
        self.network.stop();
        true
    }

    async fn restore(&self) {
        self.network.start();
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(2)
    }
}

struct Flawed {
    inner: MemoryTransport,
    network: Network,
    flaw: Flaw,
}

impl Transport for Flawed {
    type Tx = FlawedTx;
    type Rx = FlawedRx;

    async fn open(self, mut options: OpenOptions) -> Result<(FlawedTx, FlawedRx)> {
        let Self { inner, network, flaw } = self;
        match flaw {
            QueuesWithoutBound => options.queue = usize::MAX,
            IgnoresTheLimit => options.max_payload = usize::MAX,
            OpensWhatIsTaken => drop(network.kill(TAKEN)),
            _ => {}
        }
        let (tx, rx) = inner.open(options).await?;
        Ok((FlawedTx { inner: tx, flaw, state: Arc::default() }, FlawedRx { inner: rx, flaw, sink: None }))
    }
}

#[derive(Default)]
struct State {
    kept_back: Mutex<Option<Outbound>>,
    filters: AtomicUsize,
}

#[derive(Clone)]
struct FlawedTx {
    inner: MemoryTx,
    flaw: Flaw,
    state: Arc<State>,
}

impl TransportTx for FlawedTx {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn local(&self) -> &Locator {
        self.inner.local()
    }

    fn try_send(&self, outbound: Outbound) -> Result<(), TrySendError> {
        self.inner.try_send(outbound)
    }

    async fn send_batch(&self, batch: &mut Vec<Outbound>) -> Result<()> {
        match self.flaw {
            SpillsWhenSendingIsCancelled => self.inner.send_batch(&mut std::mem::take(batch)).await,
            KeepsOneBack => {
                let kept_back = batch.pop();
                if let Some(before) = std::mem::replace(&mut *self.state.kept_back.lock().unwrap(), kept_back)
                {
                    batch.insert(0, before);
                }
                self.inner.send_batch(batch).await
            }
            TellsNoRefusals => {
                batch.retain(|outbound| outbound.payload != "refused");
                self.inner.send_batch(batch).await
            }
            ClaimsToKeep => {
                batch.iter_mut().for_each(|outbound| outbound.retain = false);
                self.inner.send_batch(batch).await
            }
            _ => self.inner.send_batch(batch).await,
        }
    }

    async fn acknowledged(&self) -> Result<()> {
        if self.flaw == NeverAcknowledges {
            std::future::pending::<()>().await;
        }
        self.inner.acknowledged().await
    }

    async fn subscribe(&self, filter: &TopicFilter) -> Result<()> {
        let filters = self.state.filters.fetch_add(1, Ordering::Relaxed);
        if self.flaw == ForgetsFilters && filters == 500 {
            return Ok(());
        }
        if self.flaw == HearsReservedTopics && filter.as_str() == "#" {
            self.inner.subscribe(&"@ringbus/#".parse()?).await?;
        }
        self.inner.subscribe(filter).await
    }

    async fn unsubscribe(&self, filter: &TopicFilter) -> Result<()> {
        if self.flaw == NeverUnsubscribes { Ok(()) } else { self.inner.unsubscribe(filter).await }
    }

    async fn attach(&self, peer: &Locator) -> Result<()> {
        if self.flaw == TakesAnyLocator { Ok(()) } else { self.inner.attach(peer).await }
    }

    async fn detach(&self, peer: &Locator) -> Result<()> {
        self.inner.detach(peer).await
    }

    async fn close(&self, deadline: Duration) -> Result<Undelivered> {
        if self.flaw == StaysOpen { Ok(Undelivered::default()) } else { self.inner.close(deadline).await }
    }
}

struct FlawedRx {
    inner: MemoryRx,
    flaw: Flaw,
    sink: Option<Arc<dyn MessageSink>>,
}

impl TransportRx for FlawedRx {
    async fn recv_batch(&mut self, events: &mut Vec<Event>, max: usize) -> Result<usize> {
        loop {
            let mut inner = Vec::new();
            self.inner.recv_batch(&mut inner, (max / 2).max(1)).await?;
            if self.flaw == SpillsWhenReceivingIsCancelled {
                tokio::task::yield_now().await;
            }
            if self.flaw == TellsDeparturesLate
                && inner.iter().any(|event| matches!(event, Event::PeerDown(_)))
            {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            if let (OffersAndDelivers, Some(sink)) = (self.flaw, &self.sink) {
                for event in &inner {
                    if let Event::Message { from, payload } = event {
                        drop(sink.take(from, payload.clone()));
                    }
                }
            }
            let before = events.len();
            events.extend(inner.into_iter().flat_map(|event| self.flaw.applied_to(event)));
            if events.len() > before {
                return Ok(events.len() - before);
            }
        }
    }

    fn set_sink(&mut self, sink: Arc<dyn MessageSink>) {
        self.sink = Some(sink);
    }
}

impl Flaw {
    fn applied_to(self, event: Event) -> Vec<Event> {
        match (self, event) {
            (HidesInterest, Event::Interest(_))
            | (HidesDepartures, Event::PeerDown(_))
            | (HidesReconnects, Event::Reconnected { .. }) => vec![],
            (Doubles, event @ Event::Message { .. }) | (AnnouncesTwice, event @ Event::PeerUp(_)) => {
                vec![event.clone(), event]
            }
            (Truncates, Event::Message { from, payload }) => {
                vec![Event::Message { from, payload: payload.slice(..payload.len().min(1 << 20)) }]
            }
            (_, event) => vec![event],
        }
    }
}
