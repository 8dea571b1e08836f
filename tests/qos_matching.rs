//! `qos::check` against a naive oracle, exhaustively over each policy's domain and by proptest over their product, and
//! against a hand-written table of the rules' text.
#![allow(clippy::panic, reason = "helpers of tests fail by panicking")]

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use ringbus::qos::{
    Access, DestinationOrder, Durability, History, Liveliness, LivelinessKind, Offered, Overflow, Ownership,
    Partition, Period, Policy, Presentation, Reliability, Requested, ResourceLimits, check,
};

const DURABILITIES: [Durability; 4] =
    [Durability::Volatile, Durability::TransientLocal, Durability::Transient, Durability::Persistent];
const ACCESSES: [Access; 3] = [Access::Instance, Access::Topic, Access::Group];
const OVERFLOWS: [Overflow; 4] =
    [Overflow::Wait, Overflow::DropOldest, Overflow::DropNewest, Overflow::Disconnect];
const OWNERSHIPS: [Ownership; 2] = [Ownership::Shared, Ownership::Exclusive];
const KINDS: [LivelinessKind; 3] =
    [LivelinessKind::Automatic, LivelinessKind::ManualByParticipant, LivelinessKind::ManualByTopic];
const RELIABILITIES: [Reliability; 2] = [Reliability::BestEffort, Reliability::Reliable];
const ORDERS: [DestinationOrder; 2] = [DestinationOrder::ByReception, DestinationOrder::BySource];
const HISTORIES: [History; 5] = [
    History::KeepLast(0),
    History::KeepLast(1),
    History::KeepLast(2),
    History::KeepLast(u32::MAX),
    History::KeepAll,
];
const DURATIONS: [Duration; 5] =
    [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(1), Duration::from_secs(2), Duration::MAX];

fn periods() -> Vec<Period> {
    DURATIONS.into_iter().map(Period::Finite).chain([Period::Infinite]).collect()
}

fn presentations() -> Vec<Presentation> {
    let mut all = Vec::new();
    for access in ACCESSES {
        for (coherent, ordered) in [(false, false), (false, true), (true, false), (true, true)] {
            all.push(Presentation { access, coherent, ordered });
        }
    }
    all
}

fn livelinesses() -> Vec<Liveliness> {
    KINDS
        .into_iter()
        .flat_map(|kind| periods().into_iter().map(move |lease| Liveliness { kind, lease }))
        .collect()
}

/// The rules once more, without one comparison operator on a policy type: per policy, what each request accepts.
mod oracle {
    use super::*;

    pub(super) fn mismatches(o: &Offered, r: &Requested) -> Vec<Policy> {
        let rules = [
            (Policy::Durability, durability(o.durability, r.durability)),
            (Policy::Presentation, presentation(o.presentation, r.presentation)),
            (Policy::Deadline, no_longer(o.deadline, r.deadline)),
            (Policy::LatencyBudget, o.latency_budget.as_nanos() <= r.latency_budget.as_nanos()),
            (Policy::Ownership, ownership(o.ownership, r.ownership)),
            (Policy::Liveliness, liveliness(o.liveliness, r.liveliness)),
            (Policy::Reliability, reliability(o.reliability, r.reliability)),
            (Policy::DestinationOrder, destination_order(o.destination_order, r.destination_order)),
            (Policy::History, history(o.history, r.history, r.match_history)),
        ];
        rules.into_iter().filter(|(_, fits)| !fits).map(|(policy, _)| policy).collect()
    }

    fn durability(offered: Durability, requested: Durability) -> bool {
        use Durability::{Persistent, Transient, TransientLocal, Volatile};
        let accepted: &[Durability] = match requested {
            Volatile => &[Volatile, TransientLocal, Transient, Persistent],
            TransientLocal => &[TransientLocal, Transient, Persistent],
            Transient => &[Transient, Persistent],
            Persistent => &[Persistent],
        };
        accepted.contains(&offered)
    }

    fn presentation(offered: Presentation, requested: Presentation) -> bool {
        let scope = match requested.access {
            Access::Instance => matches!(offered.access, Access::Instance | Access::Topic | Access::Group),
            Access::Topic => matches!(offered.access, Access::Topic | Access::Group),
            Access::Group => matches!(offered.access, Access::Group),
        };
        scope && (!requested.coherent || offered.coherent) && (!requested.ordered || offered.ordered)
    }

    fn no_longer(offered: Period, requested: Period) -> bool {
        match (offered, requested) {
            (_, Period::Infinite) => true,
            (Period::Infinite, Period::Finite(_)) => false,
            (Period::Finite(offered), Period::Finite(requested)) => {
                offered.as_nanos() <= requested.as_nanos()
            }
        }
    }

    fn ownership(offered: Ownership, requested: Ownership) -> bool {
        matches!(
            (offered, requested),
            (Ownership::Shared, Ownership::Shared) | (Ownership::Exclusive, Ownership::Exclusive)
        )
    }

    fn liveliness(offered: Liveliness, requested: Liveliness) -> bool {
        use LivelinessKind::{Automatic, ManualByParticipant, ManualByTopic};
        let accepted: &[LivelinessKind] = match requested.kind {
            Automatic => &[Automatic, ManualByParticipant, ManualByTopic],
            ManualByParticipant => &[ManualByParticipant, ManualByTopic],
            ManualByTopic => &[ManualByTopic],
        };
        accepted.contains(&offered.kind) && no_longer(offered.lease, requested.lease)
    }

    fn reliability(offered: Reliability, requested: Reliability) -> bool {
        !matches!((offered, requested), (Reliability::BestEffort, Reliability::Reliable))
    }

    fn destination_order(offered: DestinationOrder, requested: DestinationOrder) -> bool {
        !matches!((offered, requested), (DestinationOrder::ByReception, DestinationOrder::BySource))
    }

    fn history(offered: History, requested: History, asked: bool) -> bool {
        match (asked, offered, requested) {
            (false, _, _) | (true, History::KeepAll, _) => true,
            (true, History::KeepLast(_), History::KeepAll) => false,
            (true, History::KeepLast(offered), History::KeepLast(requested)) => offered >= requested,
        }
    }
}

fn agrees(offered: &Offered, requested: &Requested) -> Result<(), TestCaseError> {
    let expected = oracle::mismatches(offered, requested);
    let found: Vec<_> = match check(offered, requested) {
        Ok(()) => Vec::new(),
        Err(mismatch) => {
            prop_assert!(!mismatch.0.is_empty(), "an empty mismatch: {:?} {:?}", offered, requested);
            mismatch.policies().collect()
        }
    };
    prop_assert_eq!(found, expected, "{:?} {:?}", offered, requested);
    Ok(())
}

/// Every pair of two domains, everything else at its default.
fn exhaustive<T: Copy>(values: &[T], set: impl Fn(&mut Offered, &mut Requested, T, T)) {
    for &left in values {
        for &right in values {
            let (mut offered, mut requested) = (Offered::default(), Requested::default());
            set(&mut offered, &mut requested, left, right);
            agrees(&offered, &requested).unwrap_or_else(|failure| panic!("{failure}"));
        }
    }
}

#[test]
fn each_policy_agrees_with_the_oracle_exhaustively() {
    exhaustive(&DURABILITIES, |o, r, a, b| (o.durability, r.durability) = (a, b));
    exhaustive(&presentations(), |o, r, a, b| (o.presentation, r.presentation) = (a, b));
    exhaustive(&periods(), |o, r, a, b| (o.deadline, r.deadline) = (a, b));
    exhaustive(&DURATIONS, |o, r, a, b| (o.latency_budget, r.latency_budget) = (a, b));
    exhaustive(&OWNERSHIPS, |o, r, a, b| (o.ownership, r.ownership) = (a, b));
    exhaustive(&livelinesses(), |o, r, a, b| (o.liveliness, r.liveliness) = (a, b));
    exhaustive(&RELIABILITIES, |o, r, a, b| (o.reliability, r.reliability) = (a, b));
    exhaustive(&ORDERS, |o, r, a, b| (o.destination_order, r.destination_order) = (a, b));
    for asked in [false, true] {
        exhaustive(&HISTORIES, |o, r, a, b| {
            (o.history, r.history, r.match_history) = (a, b, asked);
        });
    }
}

/// The five policies of small domains, in full: 9,216 pairs.
#[test]
fn the_product_of_the_small_domains_agrees_with_the_oracle() {
    for (durability_o, durability_r) in pairs(&DURABILITIES) {
        for (reliability_o, reliability_r) in pairs(&RELIABILITIES) {
            for (ownership_o, ownership_r) in pairs(&OWNERSHIPS) {
                for (kind_o, kind_r) in pairs(&KINDS) {
                    for (order_o, order_r) in pairs(&ORDERS) {
                        let offered = Offered {
                            durability: durability_o,
                            reliability: reliability_o,
                            ownership: ownership_o,
                            liveliness: Liveliness { kind: kind_o, lease: Period::Infinite },
                            destination_order: order_o,
                            ..Offered::default()
                        };
                        let requested = Requested {
                            durability: durability_r,
                            reliability: reliability_r,
                            ownership: ownership_r,
                            liveliness: Liveliness { kind: kind_r, lease: Period::Infinite },
                            destination_order: order_r,
                            ..Requested::default()
                        };
                        agrees(&offered, &requested).unwrap_or_else(|failure| panic!("{failure}"));
                    }
                }
            }
        }
    }
}

fn pairs<T: Copy>(values: &[T]) -> Vec<(T, T)> {
    values.iter().flat_map(|&left| values.iter().map(move |&right| (left, right))).collect()
}

prop_compose! {
    fn any_offered()(
        (durability, presentation, deadline, latency_budget) in
            (select(&DURABILITIES[..]), select(presentations()), select(periods()), select(&DURATIONS[..])),
        (ownership, strength, liveliness, reliability) in
            (select(&OWNERSHIPS[..]), any::<i32>(), select(livelinesses()), select(&RELIABILITIES[..])),
        (destination_order, history, lifespan, partition) in
            (select(&ORDERS[..]), select(&HISTORIES[..]), select(periods()), any_partition()),
        (max_samples, max_bytes, transport_priority, overflow) in
            (any::<usize>(), any::<usize>(), any::<i32>(), select(&OVERFLOWS[..])),
    ) -> Offered {
        let resource_limits = ResourceLimits { max_samples, max_bytes };
        Offered {
            durability, presentation, deadline, latency_budget, ownership, strength, liveliness, reliability,
            destination_order, history, lifespan, partition, resource_limits, transport_priority, overflow,
        }
    }
}

prop_compose! {
    fn any_requested()(
        (durability, presentation, deadline, latency_budget) in
            (select(&DURABILITIES[..]), select(presentations()), select(periods()), select(&DURATIONS[..])),
        (ownership, liveliness, reliability, destination_order) in
            (select(&OWNERSHIPS[..]), select(livelinesses()), select(&RELIABILITIES[..]), select(&ORDERS[..])),
        (history, match_history, time_based_filter, partition) in
            (select(&HISTORIES[..]), any::<bool>(), select(&DURATIONS[..]), any_partition()),
        (max_samples, max_bytes, overflow) in (any::<usize>(), any::<usize>(), select(&OVERFLOWS[..])),
    ) -> Requested {
        let resource_limits = ResourceLimits { max_samples, max_bytes };
        Requested {
            durability, presentation, deadline, latency_budget, ownership, liveliness, reliability,
            destination_order, history, match_history, time_based_filter, partition, resource_limits, overflow,
        }
    }
}

fn any_partition() -> impl Strategy<Value = Partition> {
    prop::collection::vec("[ab*]{0,2}", 0..3).prop_map(Partition)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn the_product_of_all_policies_agrees_with_the_oracle(o in any_offered(), r in any_requested()) {
        agrees(&o, &r)?;
    }

    /// Strength, lifespan, filter, limits, priority, partition and overflow take no part in matching.
    #[test]
    fn what_is_not_matched_changes_nothing(o in any_offered(), r in any_requested()) {
        let plain_offer = Offered {
            strength: 0,
            lifespan: Period::Infinite,
            partition: Partition::default(),
            resource_limits: ResourceLimits::default(),
            transport_priority: 0,
            overflow: Overflow::Wait,
            ..o
        };
        let plain_request = Requested {
            time_based_filter: Duration::ZERO,
            partition: Partition::default(),
            resource_limits: ResourceLimits::default(),
            overflow: Overflow::Wait,
            ..r
        };
        prop_assert_eq!(check(&o, &r), check(&plain_offer, &plain_request));
    }

    /// Both values of every mismatch are in the one line that a user reads, and in its typed form.
    #[test]
    fn a_mismatch_reads_as_one_line_with_both_values(o in any_offered(), r in any_requested()) {
        if let Err(mismatch) = check(&o, &r) {
            let line = mismatch.to_string();
            prop_assert!(!line.contains('\n'));
            for policy in mismatch.policies() {
                let (offered, requested) = texts(&o, &r, policy);
                let entry = mismatch.get(policy).map(|entry| (entry.offered.clone(), entry.requested.clone()));
                prop_assert_eq!(entry, Some((offered.clone(), requested.clone())));
                let part = format!("{policy}: offered {offered}, requested {requested}");
                prop_assert!(line.contains(&part), "{:?} lacks {:?}", line, part);
            }
        }
    }

    /// All but overflow, which each side keeps to itself.
    #[test]
    fn policies_and_mismatches_survive_the_wire(o in any_offered(), r in any_requested()) {
        let (o, r) = (o.overflow(Overflow::Wait), r.overflow(Overflow::Wait));
        let plain = postcard::to_stdvec(&(&o, &r)).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let (kept_o, kept_r) = (o.clone().overflow(Overflow::DropOldest), r.clone().overflow(Overflow::DropNewest));
        let kept = postcard::to_stdvec(&(kept_o, kept_r)).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(kept, plain);
        let bytes = postcard::to_stdvec(&(&o, &r, check(&o, &r).err())).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let back = postcard::from_bytes(&bytes).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!((o.clone(), r.clone(), check(&o, &r).err()), back);
    }
}

fn texts(o: &Offered, r: &Requested, policy: Policy) -> (String, String) {
    match policy {
        Policy::Durability => (o.durability.to_string(), r.durability.to_string()),
        Policy::Presentation => (o.presentation.to_string(), r.presentation.to_string()),
        Policy::Deadline => (o.deadline.to_string(), r.deadline.to_string()),
        Policy::LatencyBudget => (format!("{:?}", o.latency_budget), format!("{:?}", r.latency_budget)),
        Policy::Ownership => (o.ownership.to_string(), r.ownership.to_string()),
        Policy::Liveliness => (o.liveliness.to_string(), r.liveliness.to_string()),
        Policy::Reliability => (o.reliability.to_string(), r.reliability.to_string()),
        Policy::DestinationOrder => (o.destination_order.to_string(), r.destination_order.to_string()),
        Policy::History => (o.history.to_string(), r.history.to_string()),
        other => panic!("{other} does not take part in matching"),
    }
}

#[test]
fn the_rules_text_holds() {
    let second = Duration::from_secs(1);
    let offer = Offered::default;
    let request = Requested::default;
    let presenting = |access, coherent, ordered| Presentation { access, coherent, ordered };
    let manual = |lease| Liveliness { kind: LivelinessKind::ManualByTopic, lease };
    // The offer, the request, and the line that `check` answers with; an empty one where the two fit.
    let table = [
        (offer(), request(), ""),
        (Offered::reliable(), Requested::reliable(), ""),
        (Offered::best_effort(), request(), ""),
        (
            Offered::best_effort(),
            Requested::reliable(),
            "reliability: offered best-effort, requested reliable",
        ),
        (offer(), request().transient_local(), "durability: offered volatile, requested transient-local"),
        (offer().transient_local(), request(), ""),
        (offer().exclusive(9), request(), "ownership: offered exclusive, requested shared"),
        (offer(), request().exclusive(), "ownership: offered shared, requested exclusive"),
        (offer().exclusive(-1), request().exclusive(), ""),
        (
            offer(),
            Requested { deadline: second.into(), ..request() },
            "deadline: offered infinite, requested 1s",
        ),
        (Offered { deadline: second.into(), ..offer() }, request(), ""),
        (
            Offered { latency_budget: second, ..offer() },
            request(),
            "latency-budget: offered 1s, requested 0ns",
        ),
        (
            offer(),
            request().lease(second),
            "liveliness: offered automatic with lease infinite, requested automatic with lease 1s",
        ),
        (offer().lease(second), request().lease(second * 2), ""),
        (Offered { liveliness: manual(Period::Infinite), ..offer() }, request(), ""),
        (
            Offered { liveliness: manual(Period::Finite(second * 2)), ..offer() },
            request().lease(second),
            "liveliness: offered manual-by-topic with lease 2s, requested automatic with lease 1s",
        ),
        (
            Offered { presentation: presenting(Access::Group, false, true), ..offer() },
            Requested { presentation: presenting(Access::Topic, true, false), ..request() },
            "presentation: offered group ordered, requested topic coherent",
        ),
        (
            offer(),
            Requested { destination_order: DestinationOrder::BySource, ..request() },
            "destination-order: offered by-reception, requested by-source",
        ),
        (offer().keep_last(2), request().keep_last(3), ""),
        (
            offer().keep_last(2),
            request().keep_last(3).match_history(),
            "history: offered keep-last 2, requested keep-last 3",
        ),
        (
            offer().keep_last(u32::MAX),
            request().keep_all().match_history(),
            "history: offered keep-last 4294967295, requested keep-all",
        ),
        (offer().keep_all(), request().keep_all().match_history(), ""),
        (
            Offered::best_effort().exclusive(1),
            Requested::reliable().transient_local().match_history(),
            "durability: offered volatile, requested transient-local; \
             ownership: offered exclusive, requested shared; \
             reliability: offered best-effort, requested reliable; \
             history: offered keep-last 1, requested keep-all",
        ),
    ];
    for (offered, requested, expected) in table {
        let found = check(&offered, &requested).err().map(|mismatch| mismatch.to_string());
        assert_eq!(found.unwrap_or_default(), expected, "{offered:?} {requested:?}");
    }
}

#[test]
fn the_defaults_are_those_of_dds() {
    let (offered, requested) = (Offered::default(), Requested::default());
    assert_eq!(
        (offered.reliability, requested.reliability),
        (Reliability::Reliable, Reliability::BestEffort)
    );
    assert_eq!((offered.history, requested.history), (History::KeepLast(1), History::KeepLast(1)));
    assert_eq!((offered.durability, requested.durability), (Durability::Volatile, Durability::Volatile));
    assert_eq!((offered.ownership, offered.strength), (Ownership::Shared, 0));
    assert_eq!((offered.deadline, offered.lifespan), (Period::Infinite, Period::Infinite));
    assert_eq!(offered.liveliness, Liveliness { kind: LivelinessKind::Automatic, lease: Period::Infinite });
    assert_eq!(offered.destination_order, DestinationOrder::ByReception);
    assert_eq!(
        offered.presentation,
        Presentation { access: Access::Instance, coherent: false, ordered: false }
    );
    assert!(!requested.match_history && requested.time_based_filter.is_zero());
}

#[test]
fn a_mismatch_over_its_bounds_is_refused() {
    use ringbus::qos::{Mismatch, PolicyMismatch};
    let entry =
        |offered: String| PolicyMismatch { policy: Policy::History, offered, requested: String::new() };
    let decodes = |mismatch: &Mismatch| {
        postcard::to_stdvec(mismatch).is_ok_and(|bytes| postcard::from_bytes::<Mismatch>(&bytes).is_ok())
    };
    assert!(decodes(&Mismatch(vec![entry("x".repeat(128)); 32])));
    assert!(!decodes(&Mismatch(vec![entry(String::new()); 33])));
    assert!(!decodes(&Mismatch(vec![entry("x".repeat(129))])));
}

#[test]
fn disconnect_is_for_publishers_that_wait() {
    let disconnect = |offered: Offered| offered.overflow(Overflow::Disconnect).validate();
    assert!(disconnect(Offered::reliable()).is_ok());
    for offered in [Offered::default(), Offered::best_effort(), Offered::best_effort().keep_all()] {
        let error = disconnect(offered).map_err(|error| error.to_string());
        assert!(error.as_ref().is_err_and(|text| text.contains("overflow disconnect with")), "{error:?}");
    }
    for requested in [Requested::default(), Requested::reliable(), Requested::best_effort().keep_all()] {
        assert!(requested.overflow(Overflow::Disconnect).validate().is_ok());
    }
}
