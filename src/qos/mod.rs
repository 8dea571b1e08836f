//! Quality of service: what a publisher offers, what a subscriber requests, and whether the two fit.
//!
//! The policies and their defaults are those of the OMG Data Distribution Service 1.4, section 2.2.3. [`check`] is
//! the matching rule; [`Offered::validate`] finds policies that contradict each other, [`Offered::supported`] those
//! that this version cannot enforce, and the same for [`Requested`]. Policy types are part of the wire format: enum
//! variants and fields are only ever added at the end. [`Overflow`] is the exception: each side keeps it to itself.

mod bounded;
mod check;
mod display;
mod mismatch;
mod offered;
mod overflow;
pub(crate) mod ownership;
mod partition;
mod policy;
mod policy_name;
mod requested;
mod validate;

pub use check::check;
pub use mismatch::{Mismatch, PolicyMismatch};
pub use offered::Offered;
pub use overflow::Overflow;
pub use partition::Partition;
pub use policy::{
    Access, DestinationOrder, Durability, History, Liveliness, LivelinessKind, Ownership, Period,
    Presentation, Reliability, ResourceLimits,
};
pub use policy_name::Policy;
pub use requested::Requested;

/// How many samples of each instance a publisher keeps, and how many unread ones of each instance a subscriber, where
/// the builder was given no QoS: reliable, keep-last 1,024 on both sides. DDS's own default, keep-last 1 and a
/// best-effort reader, loses all but the last of what is published at once.
pub const DEFAULT_DEPTH: u32 = 1024;

/// Compiles the examples of the page.
#[cfg(doctest)]
#[doc = include_str!("../../docs/qos.md")]
struct QosPage;
