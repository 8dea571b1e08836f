//! What one side alone can get wrong: policies that contradict each other, and policies that this version does not
//! enforce. Both are answered when a publisher or subscriber is built; none is ever silently ignored.

use std::fmt::Display;

use super::{
    DestinationOrder, Durability, History, Liveliness, LivelinessKind, Offered, Overflow, Partition, Period,
    Policy, Presentation, Reliability, Requested, ResourceLimits,
};
use crate::error::{ErrorKind, Result};

impl Offered {
    /// Whether the policies agree with each other.
    ///
    /// # Errors
    /// [`ErrorKind::InconsistentPolicy`] names every contradiction with its values: a history of keep-last 0,
    /// resource limits of 0 or with fewer samples than the history keeps, a liveliness lease of 0, a partition over
    /// its bounds, an overflow of disconnect where nothing waits for subscribers.
    pub fn validate(&self) -> Result<()> {
        let mut contradictions = Contradictions::default();
        contradictions.in_history(self.history, self.resource_limits);
        contradictions.in_liveliness(self.liveliness);
        contradictions.in_partition(&self.partition);
        contradictions.in_overflow(self);
        contradictions.into_result()
    }

    /// Whether this version enforces every policy that is not at its default.
    ///
    /// # Errors
    /// [`ErrorKind::UnsupportedPolicy`] names the first that it does not, with its value.
    pub fn supported(&self) -> Result<()> {
        durability_supported(self.durability)?;
        default_only(Policy::Presentation, self.presentation, self.presentation == Presentation::default())?;
        default_only(Policy::Deadline, self.deadline, self.deadline == Period::Infinite)?;
        let budget = format_args!("{:?}", self.latency_budget);
        default_only(Policy::LatencyBudget, budget, self.latency_budget.is_zero())?;
        liveliness_supported(self.liveliness)?;
        destination_order_supported(self.destination_order)?;
        default_only(Policy::Lifespan, self.lifespan, self.lifespan == Period::Infinite)?;
        default_only(Policy::Partition, &self.partition, self.partition.is_default())?;
        default_only(Policy::TransportPriority, self.transport_priority, self.transport_priority == 0)
    }
}

impl Requested {
    /// Whether the policies agree with each other.
    ///
    /// # Errors
    /// [`ErrorKind::InconsistentPolicy`] names every contradiction with its values: those of [`Offered::validate`],
    /// and a deadline shorter than the time-based filter, which would be missed by filtering alone.
    pub fn validate(&self) -> Result<()> {
        let mut contradictions = Contradictions::default();
        contradictions.in_history(self.history, self.resource_limits);
        contradictions.in_liveliness(self.liveliness);
        contradictions.in_partition(&self.partition);
        if self.deadline < Period::Finite(self.time_based_filter) {
            contradictions.add(format!(
                "{} {} is shorter than {} {:?}: make the deadline at least as long",
                Policy::Deadline,
                self.deadline,
                Policy::TimeBasedFilter,
                self.time_based_filter,
            ));
        }
        contradictions.into_result()
    }

    /// Whether this version enforces every policy that is not at its default.
    ///
    /// # Errors
    /// [`ErrorKind::UnsupportedPolicy`] names the first that it does not, with its value.
    pub fn supported(&self) -> Result<()> {
        durability_supported(self.durability)?;
        default_only(Policy::Presentation, self.presentation, self.presentation == Presentation::default())?;
        default_only(Policy::Deadline, self.deadline, self.deadline == Period::Infinite)?;
        let budget = format_args!("{:?}", self.latency_budget);
        default_only(Policy::LatencyBudget, budget, self.latency_budget.is_zero())?;
        liveliness_supported(self.liveliness)?;
        destination_order_supported(self.destination_order)?;
        let filter = format_args!("{:?}", self.time_based_filter);
        default_only(Policy::TimeBasedFilter, filter, self.time_based_filter.is_zero())?;
        default_only(Policy::Partition, &self.partition, self.partition.is_default())
    }
}

fn durability_supported(durability: Durability) -> Result<()> {
    default_only(Policy::Durability, durability, durability <= Durability::TransientLocal)
}

fn liveliness_supported(liveliness: Liveliness) -> Result<()> {
    default_only(Policy::Liveliness, liveliness.kind, liveliness.kind == LivelinessKind::Automatic)
}

fn destination_order_supported(order: DestinationOrder) -> Result<()> {
    default_only(Policy::DestinationOrder, order, order == DestinationOrder::ByReception)
}

fn default_only(policy: Policy, value: impl Display, supported: bool) -> Result<()> {
    if supported {
        return Ok(());
    }
    Err(ErrorKind::UnsupportedPolicy { policy: policy.name(), value: value.to_string() }.into())
}

#[derive(Default)]
struct Contradictions(Vec<String>);

impl Contradictions {
    fn add(&mut self, text: String) {
        self.0.push(text);
    }

    fn in_history(&mut self, history: History, limits: ResourceLimits) {
        let (name, bounds) = (Policy::History, Policy::ResourceLimits);
        if history == History::KeepLast(0) {
            self.add(format!("{name} {history} keeps nothing: keep at least the last 1"));
        }
        if limits.max_samples == 0 || limits.max_bytes == 0 {
            self.add(format!("{bounds} {limits} admit nothing: set both to at least 1"));
        } else if let History::KeepLast(depth) = history
            && usize::try_from(depth).map_or(true, |depth| depth > limits.max_samples)
        {
            self.add(format!("{bounds} {limits} are smaller than {name} {history}: raise max_samples"));
        }
    }

    fn in_liveliness(&mut self, liveliness: Liveliness) {
        if liveliness.lease.finite().is_some_and(|lease| lease.is_zero()) {
            self.add(format!("{} {liveliness} is over at once: set a longer lease", Policy::Liveliness));
        }
    }

    fn in_partition(&mut self, partition: &Partition) {
        let (name, most, longest) = (Policy::Partition, Partition::MAX_NAMES, Partition::MAX_NAME_LEN);
        let names = partition.0.len();
        if names > most {
            self.add(format!("{name} has {names} names: give at most {most}"));
        }
        if let Some(length) = partition.0.iter().map(String::len).find(|&length| length > longest) {
            self.add(format!("{name} has a name of {length} bytes: give at most {longest}"));
        }
    }

    fn in_overflow(&mut self, offered: &Offered) {
        let waits = (offered.reliability, offered.history) == (Reliability::Reliable, History::KeepAll);
        if offered.overflow == Overflow::Disconnect && !waits {
            let (reliability, history) = (offered.reliability, offered.history);
            self.add(format!(
                "overflow disconnect with {reliability} {history}: only a reliable keep-all publisher waits for subscribers"
            ));
        }
    }

    fn into_result(self) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(ErrorKind::InconsistentPolicy { reason: self.0.join("; ") }.into())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::Error;
    use crate::qos::Access;

    const SECOND: Duration = Duration::from_secs(1);

    fn inconsistent(result: Result<(), Error>) -> Option<String> {
        match result.err()?.kind() {
            ErrorKind::InconsistentPolicy { reason } => Some(reason.clone()),
            other => panic!("{other}"),
        }
    }

    fn unsupported(result: Result<(), Error>) -> Option<(&'static str, String)> {
        match result.err()?.kind() {
            ErrorKind::UnsupportedPolicy { policy, value } => Some((policy, value.clone())),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn what_the_constructors_give_is_consistent_and_supported() {
        for offered in [
            Offered::default(),
            Offered::reliable().transient_local().exclusive(-3).lease(SECOND),
            Offered::best_effort()
                .keep_last(7)
                .resource_limits(ResourceLimits { max_samples: 7, max_bytes: 1 }),
            Offered { partition: Partition(vec![String::new()]), ..Offered::default() },
        ] {
            assert!(offered.validate().is_ok() && offered.supported().is_ok(), "{offered:?}");
        }
        for requested in [
            Requested::default(),
            Requested::reliable().transient_local().exclusive().lease(SECOND).match_history(),
            Requested::best_effort().keep_last(65_536),
        ] {
            assert!(requested.validate().is_ok() && requested.supported().is_ok(), "{requested:?}");
        }
    }

    #[test]
    fn contradictions_name_both_values() {
        let limits = |max_samples, max_bytes| ResourceLimits { max_samples, max_bytes };
        let table = [
            (Offered::default().keep_last(0), vec!["history keep-last 0"]),
            (Offered::default().resource_limits(limits(0, 1)), vec!["resource-limits 0 samples, 1 bytes"]),
            (Offered::default().resource_limits(limits(1, 0)), vec!["resource-limits 1 samples, 0 bytes"]),
            (
                Offered::default().keep_last(9).resource_limits(limits(8, 1)),
                vec!["resource-limits 8 samples", "history keep-last 9"],
            ),
            (Offered::default().keep_last(u32::MAX), vec!["65536 samples", "keep-last 4294967295"]),
            (Offered::default().lease(Duration::ZERO), vec!["liveliness automatic with lease 0ns"]),
            (
                Offered { partition: Partition(vec![String::new(); 33]), ..Offered::default() },
                vec!["33 names", "32"],
            ),
            (
                Offered { partition: Partition(vec!["x".repeat(129)]), ..Offered::default() },
                vec!["129 bytes", "128"],
            ),
            (Offered::default().keep_last(0).lease(Duration::ZERO), vec!["keep-last 0", "lease 0ns"]),
        ];
        for (offered, expected) in table {
            let requested = Requested {
                history: offered.history,
                resource_limits: offered.resource_limits,
                liveliness: offered.liveliness,
                partition: offered.partition.clone(),
                ..Requested::default()
            };
            for reason in [inconsistent(offered.validate()), inconsistent(requested.validate())] {
                let reason = reason.expect("a contradiction");
                assert!(expected.iter().all(|text| reason.contains(text)), "{reason:?} lacks {expected:?}");
                assert!(!reason.contains('\n'));
            }
        }
    }

    #[test]
    fn a_deadline_is_at_least_the_time_based_filter() {
        for (deadline, filter, fits) in [
            (Period::Finite(SECOND), SECOND, true),
            (Period::Finite(SECOND), SECOND * 2, false),
            (Period::Finite(SECOND * 2), SECOND, true),
            (Period::Finite(Duration::ZERO), Duration::ZERO, true),
            (Period::Infinite, Duration::MAX, true),
        ] {
            let requested = Requested { deadline, time_based_filter: filter, ..Requested::default() };
            assert_eq!(requested.validate().is_ok(), fits, "{deadline} {filter:?}");
        }
        let requested =
            Requested { deadline: SECOND.into(), time_based_filter: SECOND * 2, ..Requested::default() };
        let reason = inconsistent(requested.validate()).expect("a contradiction");
        assert!(reason.contains("deadline 1s") && reason.contains("time-based-filter 2s"), "{reason}");
    }

    #[test]
    fn policies_that_are_not_enforced_are_named_with_their_values() {
        let offered = Offered::default;
        let presentation = Presentation { access: Access::Group, coherent: true, ordered: false };
        let manual = |kind| Liveliness { kind, lease: Period::Infinite };
        let lab = Partition(vec!["lab".into()]);
        let table = [
            (Offered { durability: Durability::Transient, ..offered() }, ("durability", "transient")),
            (Offered { durability: Durability::Persistent, ..offered() }, ("durability", "persistent")),
            (Offered { presentation, ..offered() }, ("presentation", "group coherent")),
            (Offered { deadline: SECOND.into(), ..offered() }, ("deadline", "1s")),
            (Offered { latency_budget: SECOND, ..offered() }, ("latency-budget", "1s")),
            (
                Offered { liveliness: manual(LivelinessKind::ManualByParticipant), ..offered() },
                ("liveliness", "manual-by-participant"),
            ),
            (
                Offered { liveliness: manual(LivelinessKind::ManualByTopic), ..offered() },
                ("liveliness", "manual-by-topic"),
            ),
            (
                Offered { destination_order: DestinationOrder::BySource, ..offered() },
                ("destination-order", "by-source"),
            ),
            (Offered { partition: lab, ..offered() }, ("partition", r#"["lab"]"#)),
            (Offered { lifespan: SECOND.into(), ..offered() }, ("lifespan", "1s")),
            (Offered { transport_priority: -1, ..offered() }, ("transport-priority", "-1")),
        ];
        for (offered, (policy, value)) in table {
            assert_eq!(unsupported(offered.supported()), Some((policy, value.to_owned())));
            if ["lifespan", "transport-priority"].contains(&policy) {
                continue; // A request has no such policy.
            }
            let requested = Requested {
                durability: offered.durability,
                presentation: offered.presentation,
                deadline: offered.deadline,
                latency_budget: offered.latency_budget,
                liveliness: offered.liveliness,
                destination_order: offered.destination_order,
                partition: offered.partition.clone(),
                ..Requested::default()
            };
            assert_eq!(unsupported(requested.supported()), Some((policy, value.to_owned())));
        }
        let filtered = Requested { time_based_filter: SECOND, ..Requested::default() };
        assert_eq!(unsupported(filtered.supported()), Some(("time-based-filter", "1s".to_owned())));
    }
}
