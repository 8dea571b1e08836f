//! A subscriber of the demo, and what it has heard.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use ringbus::pubsub::{MatchEvent, Route};
use ringbus::qos::Requested;
use ringbus::transport::{BoxTransport, Locator};
use ringbus::{Session, Subscriber, Timestamp};
use tokio::task::JoinHandle;

use super::readings::{City, Reading};

/// How long a subscriber may take until all publishers match.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a subscriber takes part.
pub(super) struct Ticket {
    pub(super) name: &'static str,
    pub(super) filter: &'static str,
    pub(super) route: Route,
    pub(super) cities: Vec<City>,
    /// How many publishers there are to match.
    pub(super) publishers: usize,
}

/// A subscriber that writes down what it hears.
pub(super) struct Listener {
    pub(super) name: &'static str,
    cities: Vec<City>,
    notes: Arc<Mutex<Notes>>,
    tasks: [JoinHandle<()>; 2],
}

#[derive(Default)]
struct Notes {
    heard: Vec<Heard>,
    remaps: Vec<Instant>,
}

/// One sample as it was heard.
#[derive(Debug, Clone)]
struct Heard {
    topic: String,
    hour: Timestamp,
    reading: Reading,
    writer: String,
    at: Instant,
}

/// What is to be said about one listener in the end.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    pub(super) name: &'static str,
    pub(super) expected: usize,
    pub(super) received: usize,
    pub(super) duplicates: usize,
    pub(super) gaps: usize,
    /// Every hour of every city once, in order, with the right value.
    pub(super) faultless: bool,
}

impl Listener {
    /// Subscribes through the ring, waits until every publisher matches, then listens in the background.
    pub(super) async fn subscribe(
        session: &Session<BoxTransport>,
        ticket: Ticket,
        nodes: &[Locator],
    ) -> anyhow::Result<Self> {
        let Ticket { name, filter, route, cities, publishers } = ticket;
        let requested = Requested::reliable().transient_local().exclusive();
        let ring = session.dht(nodes.to_vec());
        let builder = session.subscriber::<Reading>(filter).qos(requested).route(route).dht(&ring);
        let subscriber = builder.build().await.with_context(|| format!("subscribing to {filter}"))?;
        tokio::time::timeout(PATIENCE, subscriber.matched(publishers)).await.with_context(|| {
            format!("{} of {publishers} publishers match {filter}", subscriber.publishers())
        })??;
        let notes = Arc::new(Mutex::new(Notes::default()));
        let tasks = [
            tokio::spawn(note_events(subscriber.events(), notes.clone())),
            tokio::spawn(note_samples(subscriber, notes.clone())),
        ];
        Ok(Self { name, cities, notes, tasks })
    }

    /// How many readings this listener is to get.
    pub(super) fn expected(&self) -> anyhow::Result<usize> {
        self.cities.iter().map(|city| city.readings().map(|readings| readings.len())).sum()
    }

    /// How many readings it has got.
    pub(super) fn received(&self) -> usize {
        lock(&self.notes).heard.len()
    }

    /// How many readings of a city it has got.
    pub(super) fn received_of(&self, city: City) -> usize {
        lock(&self.notes).heard.iter().filter(|heard| heard.topic == city.topic()).count()
    }

    /// When it first heard this publisher after a point in time.
    pub(super) fn heard_from(&self, writer: &str, after: Instant) -> Option<Instant> {
        lock(&self.notes)
            .heard
            .iter()
            .find(|heard| heard.writer == writer && heard.at > after)
            .map(|heard| heard.at)
    }

    /// When it was told, after a point in time, that another node is responsible.
    pub(super) fn remapped(&self, after: Instant) -> Option<Instant> {
        lock(&self.notes).remaps.iter().find(|at| **at > after).copied()
    }

    /// When it first heard anything of a city after a point in time.
    pub(super) fn heard_of(&self, city: City, after: Instant) -> Option<Instant> {
        let notes = lock(&self.notes);
        notes.heard.iter().find(|heard| heard.topic == city.topic() && heard.at > after).map(|heard| heard.at)
    }

    /// Compares what was heard with the data.
    pub(super) fn verdict(&self) -> anyhow::Result<Verdict> {
        let notes = lock(&self.notes);
        let (mut gaps, mut distinct, mut faultless) = (0, 0, true);
        for city in &self.cities {
            let expected = city.readings()?;
            let of_city = notes.heard.iter().filter(|heard| heard.topic == city.topic());
            let heard: Vec<(Timestamp, Reading)> = of_city.map(|heard| (heard.hour, heard.reading)).collect();
            let hours: HashSet<Timestamp> = heard.iter().map(|(hour, _)| *hour).collect();
            gaps += expected.iter().filter(|(hour, _)| !hours.contains(hour)).count();
            distinct += hours.len();
            faultless &= heard == expected;
        }
        let received = notes.heard.len();
        let duplicates = received - distinct;
        Ok(Verdict { name: self.name, expected: self.expected()?, received, duplicates, gaps, faultless })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn note_samples(mut subscriber: Subscriber<Reading, BoxTransport>, notes: Arc<Mutex<Notes>>) {
    while let Ok(Some(sample)) = subscriber.recv().await {
        let (info, reading) = (sample.info(), sample.value());
        let Ok(reading) = reading else { continue };
        let heard = Heard {
            topic: info.topic.to_string(),
            hour: info.source_timestamp,
            reading,
            writer: info.writer.map(|writer| writer.to_string()).unwrap_or_default(),
            at: Instant::now(),
        };
        lock(&notes).heard.push(heard);
    }
}

async fn note_events(events: ringbus::pubsub::Events, notes: Arc<Mutex<Notes>>) {
    while let Some(event) = events.next().await {
        if matches!(event, MatchEvent::Remapped { .. }) {
            lock(&notes).remaps.push(Instant::now());
        }
    }
}

fn lock(notes: &Mutex<Notes>) -> MutexGuard<'_, Notes> {
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}
