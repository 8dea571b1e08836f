//! The matching rule: DESIGN section 5, after DDS 1.4, section 2.2.3.

use std::fmt::Display;

use super::{History, Liveliness, Mismatch, Offered, Policy, PolicyMismatch, Presentation, Requested};

/// Whether an offer satisfies a request; if not, every policy that stands against it.
///
/// The relation is not symmetric: an offer may be better than what is requested. Partition is not looked at, it gates
/// a match without being a mismatch; see [`Partition::matches`](super::Partition::matches).
///
/// ```
/// use ringbus::qos::{Offered, Policy, Requested, check};
/// let offered = Offered::best_effort().keep_last(10);
/// assert!(check(&offered, &Requested::best_effort()).is_ok());
///
/// let mismatch = check(&offered, &Requested::reliable().transient_local()).unwrap_err();
/// assert!(mismatch.policies().eq([Policy::Durability, Policy::Reliability]));
/// assert_eq!(
///     mismatch.to_string(),
///     "durability: offered volatile, requested transient-local; \
///      reliability: offered best-effort, requested reliable",
/// );
/// ```
///
/// # Errors
/// The [`Mismatch`], with both values of each policy.
pub fn check(offered: &Offered, requested: &Requested) -> Result<(), Mismatch> {
    let mut found = Findings(Vec::new());
    let (o, r) = (offered, requested);
    found.need(Policy::Durability, o.durability, r.durability, o.durability >= r.durability);
    found.need(
        Policy::Presentation,
        o.presentation,
        r.presentation,
        presents(o.presentation, r.presentation),
    );
    found.need(Policy::Deadline, o.deadline, r.deadline, o.deadline <= r.deadline);
    found.need(
        Policy::LatencyBudget,
        format_args!("{:?}", o.latency_budget),
        format_args!("{:?}", r.latency_budget),
        o.latency_budget <= r.latency_budget,
    );
    found.need(Policy::Ownership, o.ownership, r.ownership, o.ownership == r.ownership);
    found.need(Policy::Liveliness, o.liveliness, r.liveliness, asserts(o.liveliness, r.liveliness));
    found.need(Policy::Reliability, o.reliability, r.reliability, o.reliability >= r.reliability);
    found.need(
        Policy::DestinationOrder,
        o.destination_order,
        r.destination_order,
        o.destination_order >= r.destination_order,
    );
    found.need(
        Policy::History,
        o.history,
        r.history,
        !r.match_history || keeps_as_much(o.history, r.history),
    );
    if found.0.is_empty() { Ok(()) } else { Err(Mismatch(found.0)) }
}

struct Findings(Vec<PolicyMismatch>);

impl Findings {
    /// Values become text only where they are reported: the usual answer allocates nothing.
    fn need(&mut self, policy: Policy, offered: impl Display, requested: impl Display, fits: bool) {
        if !fits {
            self.0.push(PolicyMismatch {
                policy,
                offered: offered.to_string(),
                requested: requested.to_string(),
            });
        }
    }
}

fn presents(offered: Presentation, requested: Presentation) -> bool {
    offered.access >= requested.access
        && offered.coherent >= requested.coherent
        && offered.ordered >= requested.ordered
}

fn asserts(offered: Liveliness, requested: Liveliness) -> bool {
    offered.kind >= requested.kind && offered.lease <= requested.lease
}

fn keeps_as_much(offered: History, requested: History) -> bool {
    offered.depth() >= requested.depth()
}
