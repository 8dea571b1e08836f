//! Runs the relays that a node's core asks for.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use crate::dht::relay::{RelayCommand, RelayPlan};
use crate::message::EntityId;
use crate::pubsub::Relay;
use crate::quiet::lock;
use crate::session::Session;
use crate::topic::Topic;
use crate::transport::{Locator, Transport};

/// After a relay or an attachment failed, it is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

/// The relays that are wanted now: a state rather than a stream of commands, so that it is bounded by the topics.
#[derive(Debug, Default)]
pub(super) struct Plans {
    wanted: Mutex<Wanted>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Wanted {
    plans: BTreeMap<Topic, RelayPlan>,
    /// Topics that no subscriber wants any more, since the relays were last looked after.
    unwanted: HashSet<Topic>,
}

impl Plans {
    pub(super) fn apply(&self, command: RelayCommand) {
        let mut wanted = lock(&self.wanted);
        match command {
            RelayCommand::Run(plan) => {
                wanted.unwanted.remove(&plan.topic);
                wanted.plans.insert(plan.topic.clone(), plan);
            }
            RelayCommand::Stop(topic) => {
                wanted.plans.remove(&topic);
                wanted.unwanted.insert(topic);
            }
            RelayCommand::HandOver(topic) => drop(wanted.plans.remove(&topic)),
        }
        self.changed.notify_one();
    }

    pub(super) fn clear(&self) {
        lock(&self.wanted).plans.clear();
        self.changed.notify_one();
    }
}

/// Starts and stops relays as the plans say, and attaches the session to the publishers concerned.
pub(super) async fn run_relays<T: Transport>(session: Session<T>, plans: Arc<Plans>) {
    let me = session.core().new_entity();
    let mut running: HashMap<Topic, Relay> = HashMap::new();
    let mut attached: HashSet<Locator> = HashSet::new();
    loop {
        let (wanted, unwanted) = {
            let mut state = lock(&plans.wanted);
            (state.plans.clone(), std::mem::take(&mut state.unwanted))
        };
        for (topic, relay) in running.extract_if(|topic, _| !wanted.contains_key(topic)) {
            if unwanted.contains(&topic) {
                relay.dismiss();
            }
        }
        for (topic, plan) in &wanted {
            if let Some(relay) = running.get(topic) {
                relay.set_subscribers(&plan.subscribers);
                continue;
            }
            match Relay::start(&session, topic, plan.subscribers.clone()).await {
                Ok(relay) => drop(running.insert(topic.clone(), relay)),
                Err(_) if session.core().check_open().is_err() => return,
                Err(error) => tracing::warn!(%topic, %error, "cannot relay"),
            }
        }
        let sources: HashSet<Locator> =
            wanted.values().flat_map(|plan| plan.offers.iter().map(|offer| offer.locator.clone())).collect();
        attach(&session, me, &mut attached, &sources).await;
        let complete = running.len() == wanted.len() && attached == sources;
        tokio::select! {
            () = plans.changed.notified() => {}
            () = tokio::time::sleep(RETRY), if !complete => {}
        }
    }
}

async fn attach<T: Transport>(
    session: &Session<T>,
    me: EntityId,
    attached: &mut HashSet<Locator>,
    wanted: &HashSet<Locator>,
) {
    for gone in attached.difference(wanted) {
        if let Err(error) = session.core().detach(me, gone).await {
            tracing::debug!(peer = %gone, %error, "could not detach");
        }
    }
    attached.retain(|peer| wanted.contains(peer));
    let missing: Vec<Locator> = wanted.difference(attached).cloned().collect();
    for new in missing {
        match session.core().attach(me, &new).await {
            Ok(()) => drop(attached.insert(new)),
            Err(_) if session.core().check_open().is_err() => return,
            Err(error) => tracing::warn!(peer = %new, %error, "could not attach to a publisher"),
        }
    }
}
