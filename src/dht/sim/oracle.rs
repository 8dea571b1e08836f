//! What must hold once a ring is at rest, worked out the naive way.

use std::collections::{BTreeMap, BTreeSet};

use super::world::World;
use crate::dht::HashRing;
use crate::dht::member::NodeName;
use crate::dht::message::Verdict;
use crate::dht::record::{Interest, Record, Registration, Route};
use crate::message::EntityId;
use crate::qos::{Ownership, check};
use crate::topic::Topic;

/// Checks everything; `Err` says what does not hold (yet).
pub(super) fn at_rest(world: &World) -> Result<(), String> {
    let names = agreement(world)?;
    let wanted: Vec<&Registration> =
        world.clients.values().flat_map(|client| client.wanted.values()).collect();
    placement(world, &names, &wanted)?;
    matches(world, &names, &wanted)?;
    relays(world, &names, &wanted)
}

/// All live nodes know exactly each other.
pub(super) fn agreement(world: &World) -> Result<BTreeSet<NodeName>, String> {
    let live = world.nodes.values().filter(|node| !node.ended);
    let names: BTreeSet<NodeName> = live.clone().map(|node| node.core.me().name.clone()).collect();
    for node in live {
        let seen: BTreeSet<NodeName> = node.core.view().members().map(|member| member.name.clone()).collect();
        if seen != names {
            return Err(format!("{} sees {seen:?}, alive are {names:?}", node.core.me().name));
        }
    }
    Ok(names)
}

fn ring_of(names: &BTreeSet<NodeName>) -> HashRing {
    HashRing::new(names.iter().map(NodeName::as_str))
}

fn replica_set(names: &BTreeSet<NodeName>, interest: &Interest) -> BTreeSet<String> {
    let ring = ring_of(names);
    let count = if interest.is_everywhere() { names.len() } else { 3 };
    ring.preference(interest.key().as_bytes(), count).into_iter().map(str::to_owned).collect()
}

/// Every registration is held by exactly its replica set, at one rank, and nothing else is held alive.
pub(super) fn placement(
    world: &World,
    names: &BTreeSet<NodeName>,
    wanted: &[&Registration],
) -> Result<(), String> {
    let mut held: BTreeMap<EntityId, Vec<(String, &Record)>> = BTreeMap::new();
    for node in world.nodes.values().filter(|node| !node.ended) {
        for record in node.core.records().filter(|record| record.is_live()) {
            held.entry(record.id()).or_default().push((node.core.me().name.to_string(), record));
        }
    }
    for registration in wanted {
        let holders = held.remove(&registration.id).unwrap_or_default();
        let expected = replica_set(names, &registration.interest);
        let actual: BTreeSet<String> = holders.iter().map(|(name, _)| name.clone()).collect();
        if actual != expected {
            return Err(format!("{} belongs at {expected:?}, is at {actual:?}", registration.id));
        }
        if holders.windows(2).any(|pair| pair[0].1 != pair[1].1) {
            return Err(format!("copies of {} differ: {holders:?}", registration.id));
        }
        if holders.iter().any(|(_, record)| record.registration.interest != registration.interest) {
            return Err(format!("{} is held with another content", registration.id));
        }
    }
    match held.first_key_value() {
        Some((id, holders)) => Err(format!("{id} is over but held: {holders:?}")),
        None => Ok(()),
    }
}

type Counterparts = BTreeMap<(Topic, EntityId), (Verdict, i32)>;

/// All pairs of a registration, the naive way.
fn counterparts(wanted: &[&Registration], of: &Registration) -> Counterparts {
    let mut found = BTreeMap::new();
    for other in wanted {
        let (offer, request) = match (&of.interest, &other.interest) {
            (Interest::Offer { .. }, Interest::Request { .. }) => (of, *other),
            (Interest::Request { .. }, Interest::Offer { .. }) => (*other, of),
            _ => continue,
        };
        let (Interest::Offer { topic, qos: offered }, Interest::Request { filter, qos: requested, .. }) =
            (&offer.interest, &request.interest)
        else {
            continue;
        };
        if filter.matches(topic) && offered.partition.matches(&requested.partition) {
            let verdict =
                check(offered, requested).map_or_else(Verdict::Incompatible, |()| Verdict::Compatible);
            let strength = if std::ptr::eq(offer, of) { 0 } else { offered.strength };
            found.insert((topic.clone(), other.id), (verdict, strength));
        }
    }
    found
}

/// Every client knows exactly its counterparts, with the right verdicts, and the right responsible nodes.
fn matches(world: &World, names: &BTreeSet<NodeName>, wanted: &[&Registration]) -> Result<(), String> {
    let ring = ring_of(names);
    for client in world.clients.values() {
        for registration in client.wanted.values() {
            let id = registration.id;
            let expected = counterparts(wanted, registration);
            let actual: Counterparts = client
                .core
                .matches(id)
                .map(|(topic, entry)| {
                    ((topic.clone(), entry.peer), (entry.verdict.clone(), entry.qos.strength))
                })
                .collect();
            if actual != expected {
                return Err(format!("{id} should match {expected:?}, matches {actual:?}"));
            }
            let mirror = client.mirror.get(&id).cloned().unwrap_or_default();
            if mirror != expected.keys().cloned().collect() {
                return Err(format!("the events of {id} add up to {mirror:?}, not to {expected:?}"));
            }
            let own = registration.interest.topic();
            let topics: BTreeSet<&Topic> =
                own.iter().chain(expected.keys().map(|(topic, _)| topic)).collect();
            for topic in topics {
                let known = client.core.responsible(id, topic).map(|node| node.name.as_str());
                let owner = ring.owner(topic.as_str().as_bytes());
                if known != owner {
                    return Err(format!("{id} takes {known:?} for the owner of {topic}, it is {owner:?}"));
                }
            }
        }
    }
    Ok(())
}

/// The owner of a topic, and nobody else, relays it if someone wants that and someone offers it.
fn relays(world: &World, names: &BTreeSet<NodeName>, wanted: &[&Registration]) -> Result<(), String> {
    let ring = ring_of(names);
    let mut expected: BTreeMap<(String, Topic), (BTreeSet<EntityId>, i32, bool)> = BTreeMap::new();
    for offer in wanted {
        let Interest::Offer { topic, qos } = &offer.interest else { continue };
        let via = wanted.iter().any(|other| {
            matches!(&other.interest, Interest::Request { filter, route: Route::ViaNode, .. } if filter.matches(topic))
        });
        if via {
            let owner = ring.owner(topic.as_str().as_bytes()).unwrap_or_default().to_owned();
            let plan = expected.entry((owner, topic.clone())).or_insert((BTreeSet::new(), i32::MIN, false));
            plan.0.insert(offer.id);
            plan.1 = plan.1.max(qos.strength);
            plan.2 |= qos.ownership == Ownership::Exclusive;
        }
    }
    for node in world.nodes.values().filter(|node| !node.ended) {
        for (topic, plan) in &node.relays {
            let found = expected.remove(&(node.core.me().name.to_string(), topic.clone()));
            let sources: BTreeSet<EntityId> = plan.offers.iter().map(|source| source.id).collect();
            match found {
                Some((ids, strength, exclusive))
                    if ids == sources
                        && plan.offered.strength == strength
                        && (exclusive || !plan.is_exclusive()) => {}
                other => {
                    return Err(format!("{} relays {topic} by {plan:?}, not {other:?}", node.core.me().name));
                }
            }
        }
    }
    match expected.first_key_value() {
        Some((missing, _)) => Err(format!("{missing:?} is not relayed")),
        None => Ok(()),
    }
}
