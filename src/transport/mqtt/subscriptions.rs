//! Which filters the broker is given, so that it sends each message once.
//!
//! A message that matches several of a client's subscriptions may arrive once or once for each (MQTT 3.1.1, 3.3.5):
//! Mosquitto sends one copy unless told otherwise, rumqttd and others send several, and nothing in a copy tells it
//! from an equal message. So the broker never holds two filters of ours that overlap. Where a user's filters do, it is
//! given one filter that covers them, and what that lets through beyond them is filtered out here.

use std::collections::{BTreeMap, BTreeSet};

use crate::topic::TopicFilter;

/// The filters that are wanted, grouped under the disjoint filters that the broker holds.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    /// By what the broker holds: what was asked for and is covered by it.
    groups: BTreeMap<TopicFilter, BTreeSet<TopicFilter>>,
    /// Those keys of `groups` that have wildcards: only they can overlap an exact filter other than itself.
    wild: BTreeSet<TopicFilter>,
}

/// What the broker has to be told: first the new subscriptions, then, once they work, the end of the old.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) subscribe: Vec<TopicFilter>,
    pub(super) unsubscribe: Vec<TopicFilter>,
    /// What the broker holds already and the new subscriptions overlap with until the end of the change.
    pub(super) overlaps: Vec<TopicFilter>,
}

impl Subscriptions {
    /// What the broker has to hold.
    pub(super) fn at_broker(&self) -> impl Iterator<Item = &TopicFilter> {
        self.groups.keys()
    }

    /// The filters that one at the broker stands for, itself among them if it is wanted.
    pub(super) fn group(&self, at_broker: &TopicFilter) -> Vec<TopicFilter> {
        self.groups.get(at_broker).into_iter().flatten().cloned().collect()
    }

    /// Wants a filter. One that is covered already is subscribed to and given back all the same: that is how its
    /// retained messages come and how the broker can refuse it.
    pub(super) fn add(&mut self, filter: &TopicFilter) -> Change {
        let change = self.insert(filter);
        if !change.subscribe.is_empty() {
            return change;
        }
        // To subscribe again to what is held replaces it; the visit of a covered filter ends at once.
        if self.groups.contains_key(filter) {
            return Change { subscribe: vec![filter.clone()], ..Change::default() };
        }
        let visit = vec![filter.clone()];
        Change {
            subscribe: visit.clone(),
            unsubscribe: visit,
            overlaps: self.cover_of(filter).into_iter().collect(),
        }
    }

    /// No longer wants a filter. Its group is planned anew from those that stay.
    pub(super) fn remove(&mut self, filter: &TopicFilter) -> Change {
        let Some(cover) = self.cover_of(filter) else { return Change::default() };
        let mut group = self.forget(&cover);
        group.remove(filter);
        let mut planned = Subscriptions::default();
        for member in &group {
            planned.insert(member);
        }
        let mut unsubscribe = vec![cover];
        let mut subscribe: Vec<_> = planned.groups.keys().cloned().collect();
        // What the broker holds already stays as it is.
        if let Some(at) = subscribe.iter().position(|kept| *kept == unsubscribe[0]) {
            subscribe.remove(at);
            unsubscribe.clear();
        }
        self.groups.append(&mut planned.groups);
        self.wild.append(&mut planned.wild);
        let overlaps = unsubscribe.clone();
        Change { subscribe, unsubscribe, overlaps }
    }

    fn cover_of(&self, filter: &TopicFilter) -> Option<TopicFilter> {
        self.groups.iter().find(|(_, group)| group.contains(filter)).map(|(cover, _)| cover.clone())
    }

    fn insert(&mut self, filter: &TopicFilter) -> Change {
        let mut cover = filter.clone();
        let mut group = BTreeSet::from([filter.clone()]);
        let mut unsubscribe = Vec::new();
        // Each round takes at least one group away, so this ends.
        while let Some(overlapping) = self.overlapping(&cover) {
            cover = join(&cover, &overlapping);
            group.append(&mut self.forget(&overlapping));
            unsubscribe.push(overlapping);
        }
        if !cover.is_exact() {
            self.wild.insert(cover.clone());
        }
        self.groups.insert(cover.clone(), group);
        let mut subscribe = vec![cover];
        if let Some(at) = unsubscribe.iter().position(|held| *held == subscribe[0]) {
            unsubscribe.remove(at);
            subscribe.clear();
        }
        let overlaps = unsubscribe.clone();
        Change { subscribe, unsubscribe, overlaps }
    }

    fn overlapping(&self, filter: &TopicFilter) -> Option<TopicFilter> {
        if let Some((held, _)) = self.groups.get_key_value(filter) {
            return Some(held.clone());
        }
        let overlaps = |held: &&TopicFilter| overlap(held, filter);
        if filter.is_exact() {
            self.wild.iter().find(overlaps).cloned()
        } else {
            self.groups.keys().find(overlaps).cloned()
        }
    }

    fn forget(&mut self, cover: &TopicFilter) -> BTreeSet<TopicFilter> {
        self.wild.remove(cover);
        self.groups.remove(cover).unwrap_or_default()
    }
}

/// Whether a broker finds some topic under both filters. Unlike [`TopicFilter::intersects`], a broker knows nothing
/// of the library's reserved topics, only of those that begin with `$`.
fn overlap(a: &TopicFilter, b: &TopicFilter) -> bool {
    let (a, b) = (a.as_str(), b.as_str());
    let guarded = |a: &str, b: &str| a.starts_with('$') && b.starts_with(['+', '#']);
    if guarded(a, b) || guarded(b, a) {
        return false;
    }
    let (mut left, mut right) = (a.split('/'), b.split('/'));
    loop {
        match (left.next(), right.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some(a), Some(b)) if a == "+" || b == "+" || a == b => {}
            _ => return false,
        }
    }
}

/// The narrowest filter that covers two overlapping ones.
fn join(a: &TopicFilter, b: &TopicFilter) -> TopicFilter {
    let (mut left, mut right) = (a.as_str().split('/'), b.as_str().split('/'));
    let mut levels = Vec::new();
    loop {
        match (left.next(), right.next()) {
            (None, None) => break,
            (Some(a), Some(b)) if a == b && a != "#" => levels.push(a),
            (Some(a), Some(b)) if a != "#" && b != "#" => levels.push("+"),
            _ => {
                levels.push("#");
                break;
            }
        }
    }
    // Never longer than its parts nor deeper, so it is valid; "everything" would be right, too.
    TopicFilter::new(levels.join("/")).unwrap_or_else(|_| a.clone())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::new(text).unwrap()
    }

    fn filters(texts: &[&str]) -> Vec<TopicFilter> {
        texts.iter().map(|text| filter(text)).collect()
    }

    fn change(subscribe: &[&str], unsubscribe: &[&str]) -> Change {
        let overlaps = filters(unsubscribe);
        Change { subscribe: filters(subscribe), unsubscribe: filters(unsubscribe), overlaps }
    }

    #[test]
    fn disjoint_filters_go_to_the_broker_as_they_are() {
        let mut held = Subscriptions::default();
        assert_eq!(held.add(&filter("a/+")), change(&["a/+"], &[]));
        assert_eq!(held.add(&filter("b/#")), change(&["b/#"], &[]));
        assert_eq!(held.remove(&filter("a/+")), change(&[], &["a/+"]));
        assert_eq!(held.remove(&filter("a/+")), Change::default());
    }

    #[test]
    fn a_covered_filter_visits_the_broker_for_its_retained_messages() {
        let mut held = Subscriptions::default();
        held.add(&filter("a/+"));
        let visit = Change { overlaps: filters(&["a/+"]), ..change(&["a/b"], &["a/b"]) };
        assert_eq!(held.add(&filter("a/b")), visit);
        assert_eq!(held.remove(&filter("a/b")), Change::default());
        held.add(&filter("a/b"));
        assert_eq!(held.remove(&filter("a/+")), change(&["a/b"], &["a/+"]));
    }

    #[test]
    fn a_cover_replaces_what_it_covers() {
        let mut held = Subscriptions::default();
        held.add(&filter("a/b"));
        held.add(&filter("a/c"));
        assert_eq!(held.add(&filter("a/#")), change(&["a/#"], &["a/b", "a/c"]));
        assert_eq!(held.remove(&filter("a/#")), change(&["a/b", "a/c"], &["a/#"]));
    }

    #[test]
    fn filters_that_cross_get_a_common_cover() {
        let mut held = Subscriptions::default();
        held.add(&filter("a/+"));
        assert_eq!(held.add(&filter("+/b")), change(&["+/+"], &["a/+"]));
        assert_eq!(held.remove(&filter("+/b")), change(&["a/+"], &["+/+"]));
    }

    #[test]
    fn the_librarys_own_topics_count_as_covered_at_the_broker() {
        let mut held = Subscriptions::default();
        held.add(&filter("@ringbus/inbox/n"));
        assert_eq!(held.add(&filter("#")), change(&["#"], &["@ringbus/inbox/n"]));
        assert_eq!(held.remove(&filter("#")), change(&["@ringbus/inbox/n"], &["#"]));
        assert_eq!(held.add(&filter("$SYS/#")), change(&["$SYS/#"], &[]));
    }

    fn any_filter() -> impl Strategy<Value = TopicFilter> {
        let level = prop_oneof![3 => "[abc]", 1 => Just("+".to_owned()), 1 => Just("#".to_owned())];
        prop::collection::vec(level, 1..4).prop_map(|mut levels| {
            if let Some(at) = levels.iter().position(|level| level == "#") {
                levels.truncate(at + 1);
            }
            filter(&levels.join("/"))
        })
    }

    proptest! {
        #[test]
        fn the_broker_holds_disjoint_filters_that_cover_all_wanted(
            steps in prop::collection::vec((any::<bool>(), any_filter()), 1..40),
        ) {
            let mut held = Subscriptions::default();
            let mut wanted = BTreeSet::new();
            let mut broker = BTreeSet::new();
            for (wants, filter) in steps {
                let change = if wants {
                    wanted.insert(filter.clone());
                    held.add(&filter)
                } else {
                    wanted.remove(&filter);
                    held.remove(&filter)
                };
                broker.extend(change.subscribe);
                for gone in change.unsubscribe {
                    prop_assert!(broker.remove(&gone), "{gone} was not held");
                }
                prop_assert_eq!(held.at_broker().cloned().collect::<BTreeSet<_>>(), broker.clone());
                for (at, a) in broker.iter().enumerate() {
                    prop_assert!(broker.iter().skip(at + 1).all(|b| !overlap(a, b)), "{a} overlaps another");
                    prop_assert!(wanted.iter().any(|filter| overlap(filter, a)), "{a} is not needed");
                }
                for filter in &wanted {
                    prop_assert!(
                        broker.iter().any(|cover| overlap(cover, filter) && join(cover, filter) == *cover),
                        "{filter} is not covered"
                    );
                }
            }
        }
    }
}
