//! Who fits whom on a topic.

use crate::dht::member::Member;
use crate::dht::message::{FoundOffer, MatchEntry, QosSummary, Verdict};
use crate::dht::record::{Interest, Record, Route};
use crate::message::EntityId;
use crate::qos::{Offered, Ownership, Requested, check};
use crate::topic::Topic;

use super::table::Table;

/// The present matches of one record on one topic.
pub(super) struct MatchList {
    pub(super) owner: Option<EntityId>,
    pub(super) entries: Vec<MatchEntry>,
}

/// The matches of a live record on a topic that it concerns.
pub(super) fn list(table: &Table, topic: &Topic, record: &Record) -> MatchList {
    match &record.registration.interest {
        Interest::Offer { qos, .. } => {
            let entries = table.requests(topic).filter_map(|request| request_entry(request, qos)).collect();
            let exclusive = table.offers(topic).filter_map(exclusive_strength);
            MatchList { owner: exclusive.max().map(|(_, id)| id), entries }
        }
        Interest::Request { qos, route, .. } => {
            let entries: Vec<MatchEntry> =
                table.offers(topic).filter_map(|offer| offer_entry(offer, qos, *route)).collect();
            MatchList { owner: strongest(&entries), entries }
        }
    }
}

/// Whether an offer satisfies a request.
pub(super) fn judge(offered: &Offered, requested: &Requested) -> Verdict {
    match check(offered, requested) {
        Ok(()) => Verdict::Compatible,
        Err(mismatch) => Verdict::Incompatible(mismatch),
    }
}

/// An offer as a lookup finds it; `None` if it is in another partition than the request.
pub(super) fn found(
    record: &Record,
    requested: Option<&Requested>,
    responsible: &Member,
) -> Option<FoundOffer> {
    let Interest::Offer { topic, qos } = &record.registration.interest else { return None };
    if requested.is_some_and(|requested| !qos.partition.matches(&requested.partition)) {
        return None;
    }
    Some(FoundOffer {
        topic: topic.clone(),
        id: record.id(),
        locator: record.registration.locator.clone(),
        encoding: record.registration.encoding,
        offered: (**qos).clone(),
        verdict: requested.map(|requested| judge(qos, requested)),
        responsible: responsible.clone(),
    })
}

/// The strongest compatible exclusive offer; the greater identity breaks ties.
fn strongest(entries: &[MatchEntry]) -> Option<EntityId> {
    let exclusive = entries
        .iter()
        .filter(|entry| entry.qos.ownership == Ownership::Exclusive && entry.verdict.is_compatible());
    exclusive.map(|entry| (entry.qos.strength, entry.peer)).max().map(|(_, peer)| peer)
}

fn exclusive_strength(record: &Record) -> Option<(i32, EntityId)> {
    match &record.registration.interest {
        Interest::Offer { qos, .. } if qos.ownership == Ownership::Exclusive => {
            Some((qos.strength, record.id()))
        }
        _ => None,
    }
}

fn request_entry(record: &Record, offered: &Offered) -> Option<MatchEntry> {
    let Interest::Request { qos, route, .. } = &record.registration.interest else { return None };
    offered.partition.matches(&qos.partition).then(|| MatchEntry {
        peer: record.id(),
        locator: record.registration.locator.clone(),
        encoding: record.registration.encoding,
        route: *route,
        qos: QosSummary::from(&**qos),
        verdict: judge(offered, qos),
    })
}

fn offer_entry(record: &Record, requested: &Requested, route: Route) -> Option<MatchEntry> {
    let Interest::Offer { qos, .. } = &record.registration.interest else { return None };
    qos.partition.matches(&requested.partition).then(|| MatchEntry {
        peer: record.id(),
        locator: record.registration.locator.clone(),
        encoding: record.registration.encoding,
        route,
        qos: QosSummary::from(&**qos),
        verdict: judge(qos, requested),
    })
}
